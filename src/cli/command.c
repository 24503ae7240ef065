#include <string.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/cli/command.h"

/* In the order of the overview. */
static const struct fb_command *const commands[] = {
	&fb_cmd_init, &fb_cmd_config, &fb_cmd_doctor, &fb_cmd_keys,
	&fb_cmd_notify, &fb_cmd_driver,
	&fb_cmd_discover, &fb_cmd_topology, &fb_cmd_plan, &fb_cmd_download,
	&fb_cmd_seal,
	&fb_cmd_list, &fb_cmd_show, &fb_cmd_status,
	&fb_cmd_restore, &fb_cmd_verify, &fb_cmd_recover,
	&fb_cmd_prune, &fb_cmd_forget, &fb_cmd_hold, &fb_cmd_copy,
	&fb_cmd_import,
	&fb_cmd_checkpoint, &fb_cmd_state,
	&fb_cmd_help, &fb_cmd_explain, &fb_cmd_version,
};

size_t
fb_commands(const struct fb_command *const **ret_commands)
{
	*ret_commands = commands;
	return FB_COUNT(commands);
}

const struct fb_command *
fb_command_find(const char *name)
{
	for (size_t i = 0; i < FB_COUNT(commands); i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	return NULL;
}

const char *
fb_command_nearest(const char *name)
{
	const char *names[FB_COUNT(commands)];

	for (size_t i = 0; i < FB_COUNT(commands); i++)
		names[i] = commands[i]->name;
	return fb_name_nearest(name, names, FB_COUNT(commands));
}

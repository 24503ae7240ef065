#include <stdint.h>

#include "fleetbak/base/name.h"
#include "fleetbak/cli/cli.h"
#include "fleetbak/cli/help.h"

static int
fail_unknown(const char *name, struct fb_error *err)
{
	const char *names[64] = { 0 };
	const struct fb_help_topic *topics;
	const struct fb_command *const *commands;
	size_t topic_count = fb_help_topics(&topics), used = 0;
	size_t command_count = fb_commands(&commands);
	const char *near;

	for (size_t i = 0; i < topic_count && used < FB_COUNT(names); i++)
		names[used++] = topics[i].name;
	for (size_t i = 0; i < command_count && used < FB_COUNT(names); i++)
		names[used++] = commands[i]->name;
	near = fb_name_nearest(name, names, used);
	(void)fb_fail_id(err, FB_ECONFIG, "E-CMD-UNKNOWN",
	    "there is no command or topic '%s'", name);
	if (near[0] != '\0')
		return fb_hint(err, "did you mean '%s'?", near);
	return fb_hint(err, "fleetbak help lists them");
}

static int
help_run(struct fb_cli *cli, struct fb_error *err)
{
	const char *name = cli->args.count > 0 ? cli->args.items[0] : NULL;
	const struct fb_command *command =
	    name != NULL ? fb_command_find(name) : NULL;

	if (name == NULL)
		fb_help_overview(&cli->text, true);
	else if (command != NULL)
		fb_help_command(&cli->text, command, true);
	else if (!fb_help_topic(&cli->text, name))
		return fail_unknown(name, err);
	cli->data = json_object();
	fb_json_put_str(cli->data, "text", fb_buf_str(&cli->text));
	return FB_OK;
}

const struct fb_command fb_cmd_help = {
	.name = "help",
	.group = "Help",
	.args = "[COMMAND | TOPIC]",
	.args_max = 1,
	.help = "help for a command or a topic",
	.examples = "fleetbak help download\teverything about a command\n"
		    "fleetbak help selectors\thow machines are chosen\n"
		    "fleetbak help exit-codes\twhat the exit status says\n",
	.about = "Prints the whole help of a command, or one of the topics "
		 "config, environment, exit-codes, recovery and selectors.",
	.words = "config environment exit-codes recovery selectors",
	.run = help_run,
};

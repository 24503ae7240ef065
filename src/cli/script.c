#include "fleetbak/cli/script.h"

#include <string.h>

#include "fleetbak/cli/cli.h"

#define WAIT_MS 10000

uint64_t
fb_cli_script_wait_ms(const struct fb_cli *cli)
{
	const struct fb_option_value *wait =
	    &cli->args.options[FB_OPT_LOCK_WAIT];

	return wait->set ? wait->number : WAIT_MS;
}

static int
refuse(const struct fb_cli *cli, const char *why, struct fb_error *err)
{
	(void)fb_fail_id(err, FB_ECONFIG, "E-OPT-VALUE", "%s", why);
	return fb_hint(err, "fleetbak %s %s; VERB is one of: %s",
	    cli->command->name, cli->command->args, cli->command->words);
}

int
fb_cli_script(struct fb_cli *cli, const struct fb_script_verb *verbs,
    size_t count, struct fb_error *err)
{
	const struct fb_arguments *args = &cli->args;

	if (args->count == 0)
		return refuse(cli, "say what to do", err);
	for (size_t i = 0; i < count; i++) {
		if (strcmp(args->items[0], verbs[i].name) != 0)
			continue;
		if (args->count < verbs[i].args_min)
			return refuse(cli, "an argument is missing", err);
		if (args->count > verbs[i].args_max)
			return refuse(
			    cli, "there is an argument too many", err);
		if (verbs[i].changes && cli->dry_run)
			return fb_fail_id(err, FB_ECONFIG, "E-OPT-HERE",
			    "there is no dry run of '%s'", verbs[i].name);
		return verbs[i].run(cli, err);
	}
	return refuse(cli, "there is no such verb", err);
}

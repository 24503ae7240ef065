#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/cli/unattended.h"

/* What systemd says of the unit that failed, to the one that OnFailure= of it
 * names.  A command that ended by itself has told everybody already. */
static bool
was_told(void)
{
	const char *result = getenv("MONITOR_SERVICE_RESULT");

	return result != NULL && strcmp(result, "exit-code") == 0;
}

static char *
words_of(const struct fb_cli *cli, const char *unit)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	const char *result = getenv("MONITOR_SERVICE_RESULT");
	const char *status = getenv("MONITOR_EXIT_STATUS");

	if (unit != NULL)
		fb_buf_add_fmt(&text, "%s failed: %s%s%s\n", unit,
		    result != NULL ? result : "it is not known why",
		    status != NULL ? ", " : "", status != NULL ? status : "");
	else if (cli->args.count == 0)
		fb_buf_add_str(&text, "a test: nothing is wrong\n");
	for (size_t i = 0; i < cli->args.count; i++)
		fb_buf_add_fmt(&text, "%s%s", cli->args.items[i],
		    i + 1 < cli->args.count ? " " : "\n");
	return fb_strdup(fb_buf_str(&text));
}

static int
notify_run(struct fb_cli *cli, struct fb_error *err)
{
	const char *unit = fb_arguments_value(&cli->args, FB_OPT_UNIT);
	FB_AUTO_FREE char *text = NULL;
	size_t before;
	json_t *document;
	int rc = fb_cli_configure(cli, err);

	if (rc < 0)
		return rc;
	cli->data = json_object();
	fb_json_put_u64(cli->data, "notifiers", cli->config->notify_count);
	if (unit != NULL && was_told())
		return FB_OK;
	text = words_of(cli, unit);
	document = fb_notify_document(cli, "failure");
	if (unit != NULL)
		fb_json_put_str(document, "unit", unit);
	(void)json_object_set_new(document, "exit_code",
	    json_integer(unit != NULL ? FB_EXIT_ERROR : FB_EXIT_OK));
	fb_json_put_str(document, "summary", text);
	before = json_array_size(cli->warnings);
	if (!cli->dry_run)
		fb_notify(cli, FB_NOTIFY_FAILURE, document);
	json_decref(document);
	if (json_array_size(cli->warnings) > before)
		return fb_fail_id(
		    err, FB_EFAILED, "E-NOTIFY", "somebody could not be told");
	if (!cli->quiet)
		fb_buf_add_fmt(&cli->text, "told%s: %s",
		    cli->dry_run ? " nobody, as this is a dry run" : "", text);
	return FB_OK;
}

const struct fb_command fb_cmd_notify = {
	.name = "notify",
	.group = "Set up",
	.args = "[TEXT ...]",
	.args_max = SIZE_MAX,
	.help = "tell everybody under notify that something failed",
	.examples = "fleetbak notify\ta test: does it arrive?\n"
	            "fleetbak notify the disk is full\tsay that\n",
	.about =
	    "Sends TEXT, or a word that it is a test, to every notifier of "
	    "the configuration that is told of failures.  With --unit it "
	    "says what became of a unit of systemd: fleetbak-failure@.service "
	    "of 'fleetbak config units' does so when a command was killed "
	    "and could not tell it itself.",
	.run = notify_run,
};

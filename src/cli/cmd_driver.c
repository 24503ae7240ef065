#include <string.h>
#include <unistd.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/cli/cli.h"
#include "fleetbak/cli/progress.h"
#include "fleetbak/driver/conform.h"

static const char *const results[] = { "ok", "FAIL", "skip" };

static void
take_check(void *arg, const char *check, enum fb_conform_result result,
    const char *why)
{
	struct fb_cli *cli = arg;
	json_t *item = json_object();

	fb_json_put_str(item, "check", check);
	fb_json_put_str(item, "result", results[result]);
	if (why[0] != '\0')
		fb_json_put_str(item, "why", why);
	(void)json_array_append_new(
	    json_object_get(cli->data, "checks"), item);
	if (cli->quiet && result != FB_CONFORM_FAIL)
		return;
	fb_buf_add_fmt(&cli->text, "%-5s %s%s%s\n", results[result], check,
	    why[0] != '\0' ? ": " : "", why);
}

/* What follows "test": as if it stood in the configuration. */
static int
make_source(const struct fb_cli *cli, struct fb_config_source *source,
    struct fb_error *err)
{
	const struct fb_option_value *given =
	    &cli->args.options[FB_OPT_OPTION];
	json_t *command = json_array(), *options = json_object();

	source->options = json_pack(
	    "{s:o,s:o}", "command", command, "options", options);
	for (size_t i = 1; i < cli->args.count; i++)
		if (json_array_append_new(
		        command, json_string(cli->args.items[i])) != 0)
			return fb_fail_id(err, FB_ECONFIG, "E-OPT-VALUE",
			    "an argument of the command is not UTF-8");
	for (size_t i = 0; i < given->count; i++) {
		size_t len = strcspn(given->values[i], "=");
		FB_AUTO_FREE char *key =
		    fb_format("%.*s", (int)len, given->values[i]);
		json_t *value = given->values[i][len] == '='
		    ? json_string(given->values[i] + len + 1)
		    : NULL;

		if (!fb_name_ok(key, len) || value == NULL) {
			json_decref(value);
			return fb_fail_id(err, FB_ECONFIG, "E-OPT-VALUE",
			    "--option is KEY=VALUE");
		}
		(void)json_object_set_new(options, key, value);
	}
	return FB_OK;
}

static int
check_name(const char *what, const char *name, struct fb_error *err)
{
	return name != NULL ? fb_name_check(what, name, strlen(name), err)
	                    : FB_OK;
}

static int
test_plugin(struct fb_cli *cli, const struct fb_config_source *source,
    struct fb_error *err)
{
	struct fb_conform conform = { .source = source,
		.machine = fb_arguments_value(&cli->args, FB_OPT_MACHINE),
		.as_new = fb_arguments_value(&cli->args, FB_OPT_AS),
		.cancel = &cli->cancel,
		.report = take_check,
		.arg = cli };
	int rc = check_name("machine id", conform.machine, err);

	if (rc == FB_OK)
		rc = check_name("new machine id", conform.as_new, err);
	if (rc == FB_OK && conform.as_new != NULL && conform.machine == NULL)
		rc = fb_fail_id(err, FB_ECONFIG, "E-OPT-VALUE",
		    "--as makes a new machine of the one that --machine names");
	if (rc == FB_OK)
		rc = fb_conform_run(&conform, err);
	if (rc < 0)
		return rc;
	fb_json_put_u64(cli->data, "passed", conform.passed);
	fb_json_put_u64(cli->data, "failed", conform.failed);
	fb_json_put_u64(cli->data, "skipped", conform.skipped);
	fb_buf_add_fmt(&cli->text, "%zu checks passed, %zu failed, %zu "
	                           "skipped\n",
	    conform.passed, conform.failed, conform.skipped);
	if (conform.failed > 0)
		fb_cli_status(cli, FB_EXIT_ERROR);
	return FB_OK;
}

static int
driver_run(struct fb_cli *cli, struct fb_error *err)
{
	char name[] = "test", driver[] = "plugin";
	FB_AUTO_FREE char *here = getcwd(NULL, 0);
	struct fb_config_source source = { .name = name, .driver = driver,
		.base_dir = here };
	int rc = FB_OK;

	cli->data = json_pack("{s:[]}", "checks");
	if (cli->args.count < 2 || strcmp(cli->args.items[0], "test") != 0) {
		(void)fb_fail_id(err, FB_ECONFIG, "E-OPT-VALUE",
		    "say which plugin to test");
		return fb_hint(err, "fleetbak driver test [--machine ID] "
		                    "[--] COMMAND [ARG ...]");
	}
	rc = make_source(cli, &source, err);
	if (rc == FB_OK)
		rc = test_plugin(cli, &source, err);
	json_decref(source.options);
	return rc;
}

const struct fb_command fb_cmd_driver = {
	.name = "driver",
	.group = "Set up",
	.args = "test [--] COMMAND [ARG ...]",
	.help = "does a plugin keep its contract?",
	.examples = "fleetbak driver test ./my-plugin\tonly what asks\n"
	            "fleetbak driver test --machine m1 -- ./my-plugin -v\t"
	            "stop, freeze, read m1\n"
	            "fleetbak driver test --machine m1 --as m2 ./my-plugin\t"
	            "and make m2 of it\n",
	.about =
	    "Tries out what fleetbak-driver(7) asks of a plugin, for those who "
	    "write one.  Each check has a name and one line; the last line "
	    "counts them.\n"
	    "\n"
	    "Without --machine only questions are asked.  With it that machine "
	    "is stopped, snapshotted, started and read.  With --as a new "
	    "machine is made of what was read; it stays, for you to remove.\n"
	    "\n"
	    "Secrets are given in the environment.  The exit status is 0 when "
	    "no check failed, else 1.",
	.words = "test",
	.args_max = SIZE_MAX,
	.cancels = true,
	.run = driver_run,
};

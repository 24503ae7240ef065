/*
 * From the command line to the exit status: the one place that turns a code
 * into a status, prints the answer, and dies by the signal that came.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/log.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/cli/cli.h"
#include "fleetbak/cli/help.h"
#include "fleetbak/cli/signal.h"
#include "fleetbak/cli/unattended.h"

/* Looked for before parsing, so that a wrong command line too is answered in
 * the form that was asked for. */
static bool
wants_json(int argc, const char *const *argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		const char *next = i + 1 < argc ? argv[i + 1] : "";

		if (strcmp(argv[i], "--json") == 0 ||
		    strcmp(argv[i], "--output=json") == 0 ||
		    strcmp(argv[i], "-ojson") == 0 ||
		    strcmp(argv[i], "-ondjson") == 0 ||
		    strcmp(argv[i], "--output=ndjson") == 0)
			return true;
		if ((strcmp(argv[i], "-o") == 0 ||
			strcmp(argv[i], "--output") == 0) &&
		    (strcmp(next, "json") == 0 || strcmp(next, "ndjson") == 0))
			return true;
	}
	return false;
}

static int
read_output(struct fb_cli *cli, struct fb_error *err)
{
	const char *form = fb_arguments_value(&cli->args, FB_OPT_OUTPUT);
	bool json = fb_arguments_on(&cli->args, FB_OPT_JSON);

	if (json && form != NULL && strcmp(form, "json") != 0) {
		(void)fb_fail_id(err, FB_ECONFIG, "E-OPT-TWICE",
		    "options '--json' and '--output=%s' contradict each other",
		    form);
		return fb_hint(err, "give one of them");
	}
	if (form == NULL)
		form = json ? "json" : "table";
	if (strcmp(form, "json") == 0)
		cli->output = FB_OUTPUT_JSON;
	else if (strcmp(form, "ndjson") == 0)
		cli->output = FB_OUTPUT_NDJSON;
	else if (strcmp(form, "tsv") == 0)
		cli->output = FB_OUTPUT_TSV;
	else
		cli->output = FB_OUTPUT_TABLE;
	return FB_OK;
}

static bool
wants_color(const struct fb_cli *cli)
{
	const char *when = fb_arguments_value(&cli->args, FB_OPT_COLOR);
	const char *none = getenv("NO_COLOR");
	const char *force = getenv("CLICOLOR_FORCE");
	const char *term = getenv("TERM");

	if (when != NULL && strcmp(when, "auto") != 0)
		return strcmp(when, "always") == 0;
	if (none != NULL && none[0] != '\0')
		return false;
	if (force != NULL && force[0] != '\0' && strcmp(force, "0") != 0)
		return true;
	return isatty(STDERR_FILENO) && term != NULL &&
	    strcmp(term, "dumb") != 0;
}

static int
read_settings(struct fb_cli *cli, struct fb_error *err)
{
	const struct fb_arguments *args = &cli->args;

	cli->quiet = fb_arguments_on(args, FB_OPT_QUIET);
	cli->dry_run = fb_arguments_on(args, FB_OPT_DRY_RUN);
	cli->utc = fb_arguments_on(args, FB_OPT_UTC);
	cli->exact_bytes = fb_arguments_on(args, FB_OPT_BYTES);
	cli->no_header = fb_arguments_on(args, FB_OPT_NO_HEADER);
	cli->verbose = args->options[FB_OPT_VERBOSE].times;
	cli->color = wants_color(cli);
	return read_output(cli, err);
}

/* -h, --help and -V answer whatever else is on the line. */
static bool
answer_help(struct fb_cli *cli)
{
	bool full = fb_arguments_on(&cli->args, FB_OPT_HELP_FULL);

	if (!full && !fb_arguments_on(&cli->args, FB_OPT_HELP))
		return false;
	if (cli->command != NULL)
		fb_help_command(&cli->text, cli->command, full);
	else
		fb_help_overview(&cli->text, full);
	cli->schema = "help";
	fb_json_put_str(cli->members, "text", fb_buf_str(&cli->text));
	return true;
}

/* It was stopped in order because its time is over. */
static int
say_late(struct fb_error *err)
{
	(void)fb_fail_id(err, FB_EBUDGET, "E-BUDGET",
	    "the time that it may take is over; it was stopped in order");
	return fb_hint(err, "run it again: what is done is kept");
}

static int
run_command(struct fb_cli *cli, struct fb_error *err)
{
	int rc;

	rc = read_settings(cli, err);
	if (rc < 0)
		return rc;
	if (answer_help(cli))
		return FB_OK;
	if (fb_arguments_on(&cli->args, FB_OPT_VERSION))
		cli->command = &fb_cmd_version;
	if (cli->command == NULL && fb_cli_json(cli)) {
		(void)fb_fail_id(err, FB_ECONFIG, "E-CMD-UNKNOWN",
		    "no command is given");
		return fb_hint(err, "fleetbak -h lists the commands");
	}
	if (cli->command == NULL) {
		fb_help_overview(&cli->summary, false);
		fb_cli_status(cli, FB_EXIT_USAGE);
		return FB_OK;
	}
	if (cli->command->cancels)
		fb_signal_catch(&cli->cancel);
	rc = cli->command->run(cli, err);
	if (rc == FB_ECANCELED && atomic_load(&cli->late) &&
	    fb_signal_caught() == 0)
		rc = say_late(err);
	return rc;
}

/* The document, its envelope first. */
static void
print_document(struct fb_cli *cli, int status)
{
	FB_AUTO_FREE char *schema = NULL;
	const char *name = cli->schema;
	char now[FB_TIME_SIZE];
	json_t *document = json_object();

	if (name == NULL)
		name = cli->command != NULL ? cli->command->name : "error";
	schema = fb_format("fleetbak.%s/1", name);
	fb_time_format(fb_clock_wall_ns(), now);
	fb_json_put_str(document, "schema", schema);
	(void)json_object_set_new(document, "ok", json_boolean(status == 0));
	(void)json_object_set_new(document, "exit_code", json_integer(status));
	fb_json_put_str(document, "exit_name", fb_exit_name(status));
	fb_json_put_str(document, "time", now);
	(void)json_object_update(document, cli->members);
	(void)json_object_set(document, "warnings", cli->warnings);
	(void)json_object_set(document, "errors", cli->errors);
	(void)json_object_set(document, "data",
	    cli->data != NULL ? cli->data : json_null());
	if (cli->output == FB_OUTPUT_NDJSON) {
		fb_cli_event(cli, "run.end", document);
		return;
	}
	fb_cli_print_json(cli, document);
	json_decref(document);
}

static void
print_error(const struct fb_cli *cli, const struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf text = { 0 }, line = { 0 };

	fb_cli_add_failure(&text, err);
	fb_buf_add_fmt(&line, "fleetbak: %s", fb_buf_str(&text));
	if (cli->verbose > 1 && err->file != NULL)
		fb_buf_add_fmt(
		    &line, "  raised %s:%d\n", err->file, err->line);
	fb_log(FB_LOG_ERROR, fb_buf_str(&line));
}

static void
print_answer(struct fb_cli *cli, int rc, const struct fb_error *err,
    int status)
{
	if (rc < 0)
		fb_cli_add_error(cli, NULL, err);
	errno = 0;
	if (fb_cli_json(cli))
		print_document(cli, status);
	else
		fb_cli_print_text(cli);
	fb_cli_flush(cli);
	if (cli->quiet && status == 0)
		fb_log_file(FB_LOG_INFO, fb_buf_str(&cli->summary));
	else if (cli->summary.len > 0)
		fb_log(status == 0 ? FB_LOG_INFO : FB_LOG_ERROR,
		    fb_buf_str(&cli->summary));
	if (rc < 0)
		print_error(cli, err);
}

/* A full disk must not look like success, nor a closed pipe. */
static int
check_stdout(int sys, int status)
{
	struct fb_error err = { 0 };

	if (sys == 0)
		return status;
	if (sys == EPIPE)
		fb_signal_die(SIGPIPE);
	(void)fb_fail_id(&err, FB_ESYS, "E-STDOUT",
	    "cannot write the answer to standard output: %s", strerror(sys));
	(void)fb_wrap(&err, "fleetbak: %s", err.id);
	fb_log(FB_LOG_ERROR, err.msg);
	return status != 0 ? status : (int)FB_EXIT_ERROR;
}

static void
cli_init(struct fb_cli *cli)
{
	cli->members = json_object();
	cli->warnings = json_array();
	cli->errors = json_array();
}

static void
cli_release(struct fb_cli *cli)
{
	json_decref(cli->members);
	json_decref(cli->data);
	json_decref(cli->warnings);
	json_decref(cli->errors);
	for (size_t i = 0; i < cli->list_count; i++)
		fb_spool_release(&cli->lists[i].items);
	fb_spool_release(&cli->pages);
	fb_buf_release(&cli->text);
	fb_buf_release(&cli->summary);
	for (size_t i = 0; i < FB_COUNT(cli->guardian_argv); i++)
		free(cli->guardian_argv[i]);
	json_decref(cli->facts);
	fb_log_close();
	fb_config_free(cli->config);
	fb_arguments_release(&cli->args);
}

static int
status_of(const struct fb_cli *cli, int rc)
{
	if (fb_signal_caught() != 0)
		return 128 + fb_signal_caught();
	if (cli->failed)
		return (int)cli->status;
	return (int)fb_exit_of((enum fb_code)rc);
}

int
fb_cli_main(int argc, const char *const *argv)
{
	struct fb_cli cli = { 0 };
	struct fb_error err = { 0 };
	int rc, status;

	fb_signal_prepare();
	if (argc > 1 && strcmp(argv[1], "__complete") == 0)
		return fb_complete(argc - 2, argv + 2);
	cli_init(&cli);
	rc = fb_arguments_parse(argc, argv, &cli.args, &err);
	if (cli.args.command != NULL)
		cli.command = fb_command_find(cli.args.command);
	if (rc == FB_OK)
		rc = run_command(&cli, &err);
	if (rc < 0 && !fb_cli_json(&cli) && wants_json(argc, argv))
		cli.output = FB_OUTPUT_JSON;
	status = status_of(&cli, rc);
	fb_unattended_end(&cli, rc, &err, status);
	print_answer(&cli, rc, &err, status);
	status = check_stdout(cli.stdout_errno, status);
	cli_release(&cli);
	if (fb_signal_caught() != 0)
		fb_signal_die(fb_signal_caught());
	return status;
}

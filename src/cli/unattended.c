#include "fleetbak/cli/unattended.h"

#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/log.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/service.h"
#include "fleetbak/cli/signal.h"
#include "fleetbak/engine/download.h"
#include "fleetbak/engine/prune.h"

/* The limit on the command line, or that of the configuration. */
static uint64_t
limit_of(const struct fb_cli *cli)
{
	const struct fb_option_value *given =
	    &cli->args.options[FB_OPT_MAX_DURATION];

	if (given->set)
		return given->number;
	return strcmp(cli->command->name, "download") == 0
	    ? cli->config->download.max_duration_ms
	    : 0;
}

static bool
is_unattended(const struct fb_cli *cli)
{
	/* status is the dead man's switch when it checks. */
	return cli->command != NULL && cli->command->unattended &&
	    !cli->dry_run &&
	    (strcmp(cli->command->name, "status") != 0 ||
	        fb_arguments_on(&cli->args, FB_OPT_CHECK));
}

int
fb_unattended_begin(struct fb_cli *cli, struct fb_error *err)
{
	json_t *document;
	int rc;

	if (!is_unattended(cli))
		return FB_OK;
	if (cli->config->log_file != NULL) {
		/* First: who sees the file may send SIGHUP, which stopped us. */
		fb_signal_reopens_log();
		rc = fb_log_open(cli->config->log_file, err);
		if (rc < 0)
			return fb_wrap(err, "log.file");
	}
	cli->began_ns = fb_clock_mono_ns();
	cli->keeper = fb_keeper_start(cli, limit_of(cli));
	fb_service_notify("READY=1\nSTATUS=looking around");
	document = fb_notify_document(cli, "start");
	fb_notify(cli, FB_NOTIFY_START, document);
	json_decref(document);
	return FB_OK;
}

void
fb_unattended_say(struct fb_cli *cli, const char *status)
{
	fb_keeper_say(cli->keeper, status);
}

static const struct {
	enum fb_notify_on on;
	const char *name;
} ends[] = {
	{ FB_NOTIFY_SUCCESS, "success" },
	{ FB_NOTIFY_FAILURE, "failure" },
	{ FB_NOTIFY_BUDGET, "budget" },
};

/* The text that stands at the end: the summary, and what ended it. */
static char *
text_of(const struct fb_cli *cli, int rc, const struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };

	fb_buf_add(&text, fb_buf_str(&cli->summary), cli->summary.len);
	if (text.len == 0 && cli->output == FB_OUTPUT_TABLE)
		fb_buf_add(&text, fb_buf_str(&cli->text), cli->text.len);
	if (rc < 0)
		fb_cli_add_failure(&text, err);
	return fb_strdup(fb_buf_str(&text));
}

static void
tell_end(struct fb_cli *cli, int rc, const struct fb_error *err, int status)
{
	size_t end = status == 0 ? 0 : status == (int)FB_EXIT_BUDGET ? 2 : 1;
	FB_AUTO_FREE char *text = text_of(cli, rc, err);
	json_t *document = fb_notify_document(cli, ends[end].name);
	json_t *errors = json_deep_copy(cli->errors);

	if (rc < 0)
		(void)json_array_append_new(
		    errors, fb_cli_error_json(NULL, err));
	(void)json_object_set_new(document, "exit_code", json_integer(status));
	fb_json_put_str(document, "exit_name", fb_exit_name(status));
	fb_json_put_seconds(document, "seconds", cli->elapsed_ms);
	fb_json_put_str(document, "summary", text);
	(void)json_object_set_new(document, "errors", errors);
	fb_notify(cli, ends[end].on, document);
	json_decref(document);
}

void
fb_unattended_end(
    struct fb_cli *cli, int rc, const struct fb_error *err, int status)
{
	if (cli->began_ns == 0)
		return; /* it did not get that far */
	cli->elapsed_ms =
	    (uint64_t)(fb_clock_mono_ns() - cli->began_ns) / 1000000;
	fb_metrics_write(cli, status);
	tell_end(cli, rc, err, status);
	fb_keeper_stop(FB_STEAL(cli->keeper));
}

void
fb_facts_download(struct fb_cli *cli, const struct fb_download_report *report)
{
	json_t *machines = json_array(), *sources = json_array();

	for (size_t i = 0; i < report->machine_count; i++) {
		const struct fb_download_machine *machine =
		    &report->machines[i];
		json_t *item = json_object();
		int64_t time_ns = 0;
		struct fb_error ignored;

		fb_json_put_str(item, "machine", machine->machine);
		(void)json_object_set_new(
		    item, "result", json_integer((json_int_t)machine->result));
		if (machine->result == FB_RESULT_OK &&
		    fb_time_parse(machine->time, &time_ns, &ignored) == FB_OK)
			(void)json_object_set_new(
			    item, "time", json_integer(time_ns / 1000000000));
		fb_json_put_u64(item, "size", machine->size);
		fb_json_put_u64(item, "read", machine->read_bytes);
		fb_json_put_u64(item, "stored", machine->stored_bytes);
		fb_json_put_seconds(item, "downtime", machine->downtime_ms);
		fb_json_put_seconds(item, "duration", machine->took_ms);
		(void)json_array_append_new(machines, item);
	}
	for (size_t i = 0; i < report->source_count; i++)
		(void)json_array_append_new(
		    sources, json_string(report->sources[i].source));
	json_decref(cli->facts);
	cli->facts = json_object();
	(void)json_object_set_new(cli->facts, "machines", machines);
	(void)json_object_set_new(cli->facts, "unreachable", sources);
	/* Only who asked for every machine knows which have left. */
	(void)json_object_set_new(cli->facts, "whole",
	    json_boolean(report->machine_count > 0 && cli->args.count == 0 &&
	        cli->args.options[FB_OPT_SELECT].count == 0 &&
	        !cli->args.options[FB_OPT_RESUME].set));
}

void
fb_facts_prune(struct fb_cli *cli, const struct fb_prune_plan *plan,
    const struct fb_prune_report *report)
{
	uint64_t all = plan->space.all.bytes, gone = report->gc.removed.bytes;
	json_t *machines = json_array();
	uint64_t snapshots = 0;

	for (size_t i = 0; i < plan->machine_count; i++) {
		const struct fb_prune_machine *machine = &plan->machines[i];
		json_t *item;

		snapshots += machine->kept;
		if (machine->left)
			continue;
		item = json_object();
		fb_json_put_str(item, "machine", machine->name);
		fb_json_put_u64(item, "snapshots", machine->kept);
		(void)json_array_append_new(machines, item);
	}
	json_decref(cli->facts);
	cli->facts = json_object();
	(void)json_object_set_new(cli->facts, "kept", machines);
	fb_json_put_u64(cli->facts, "snapshots", snapshots);
	fb_json_put_u64(
	    cli->facts, "repo_stored", all > gone ? all - gone : 0);
}

void
fb_facts_status(struct fb_cli *cli, uint64_t snapshots, uint64_t bytes)
{
	json_decref(cli->facts);
	cli->facts = json_object();
	fb_json_put_u64(cli->facts, "snapshots", snapshots);
	fb_json_put_u64(cli->facts, "repo_logical", bytes);
}

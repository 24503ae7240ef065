/*
 * How a download went, as text and as JSON.
 */
#include <string.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/cli/download.h"
#include "fleetbak/cli/locks.h"
#include "fleetbak/cli/signal.h"

static const char *
result_name(enum fb_result result)
{
	static const char *const names[] = { "ok", "failed", "skipped" };

	return names[result];
}

/* A file that changed under an offline capture: not what was promised. */
static bool
is_torn(const struct fb_download_machine *machine)
{
	return machine->result == FB_RESULT_OK && machine->changed_files > 0 &&
	    machine->level == FB_LEVEL_OFFLINE;
}

static json_t *
machine_json(const struct fb_download_machine *machine)
{
	json_t *item = json_object();

	fb_json_put_str(item, "machine", machine->machine);
	fb_json_put_str(item, "result", result_name(machine->result));
	fb_json_put_seconds(item, "downtime_seconds", machine->downtime_ms);
	fb_json_put_u64(item, "read_bytes", machine->read_bytes);
	fb_json_put_u64(item, "new_bytes", machine->new_bytes);
	fb_json_put_u64(item, "stored_bytes", machine->stored_bytes);
	if (machine->result == FB_RESULT_OK)
		fb_json_put_str(
		    item, "consistency", fb_level_name(machine->level));
	fb_json_put_u64(item, "changed_files", machine->changed_files);
	(void)json_object_set_new(
	    item, "resumed", json_boolean(machine->resumed));
	if (machine->result == FB_RESULT_FAILED)
		(void)json_object_set_new(
		    item, "error", fb_cli_error_json(NULL, machine->err));
	return item;
}

static void
warn_torn(struct fb_cli *cli, const struct fb_download_machine *machine)
{
	struct fb_error warning = { 0 };

	(void)fb_fail_id(&warning, FB_EFAILED, "E-FILE-CHANGED",
	    "%llu files changed or could not be read, though it was stopped",
	    (unsigned long long)machine->changed_files);
	(void)fb_hint(&warning,
	    "see what was said of each: what cannot be read, make readable; "
	    "what changed, exclude it or stop who writes there");
	fb_cli_warn(cli, machine->machine, &warning);
}

static void
add_bold(const struct fb_cli *cli, struct fb_buf *dst, const char *word)
{
	fb_buf_add_fmt(dst, cli->color ? "\033[1;31m%s\033[0m" : "%s", word);
}

static void
put_machine(struct fb_cli *cli, const struct fb_download_machine *machine,
    struct fb_tally *tally)
{
	switch (machine->result) {
	case FB_RESULT_OK:
		if (is_torn(machine)) {
			warn_torn(cli, machine);
			fb_tally_trouble(tally);
		} else {
			fb_tally_good(tally);
		}
		break;
	case FB_RESULT_FAILED:
		fb_tally_bad(tally, machine->err->code);
		fb_cli_add_error(cli, machine->machine, machine->err);
		add_bold(cli, &cli->summary, "FAILED");
		fb_buf_add_fmt(&cli->summary, "   %s  ", machine->machine);
		fb_cli_add_failure(&cli->summary, machine->err);
		fb_buf_add_fmt(&cli->summary,
		    "  again  fleetbak download %s\n", machine->machine);
		break;
	case FB_RESULT_SKIPPED:
		fb_buf_add_fmt(
		    &cli->summary, "SKIPPED  %s\n", machine->machine);
		break;
	}
}

static void
put_machines(struct fb_cli *cli, const struct fb_download_report *report,
    struct fb_tally *tally)
{
	json_t *list = fb_cli_new_list(cli);

	for (size_t i = 0; i < report->machine_count; i++) {
		if (fb_cli_json(cli))
			fb_cli_add_item(
			    cli, machine_json(&report->machines[i]));
		put_machine(cli, &report->machines[i], tally);
	}
	(void)json_object_set_new(cli->members, "machines", list);
}

static void
put_sources(struct fb_cli *cli, const struct fb_download_report *report,
    struct fb_tally *tally)
{
	json_t *list = json_array();

	for (size_t i = 0; i < report->source_count; i++) {
		const struct fb_source_failure *failure = &report->sources[i];
		json_t *item = json_object();

		fb_json_put_str(item, "source", failure->source);
		(void)json_object_set_new(
		    item, "error", fb_cli_error_json(NULL, &failure->err));
		(void)json_array_append_new(list, item);
		fb_cli_add_error(cli, failure->source, &failure->err);
		fb_tally_bad(tally, failure->err.code);
		add_bold(cli, &cli->summary, "FAILED");
		fb_buf_add_fmt(
		    &cli->summary, "   source %s  ", failure->source);
		fb_cli_add_failure(&cli->summary, &failure->err);
	}
	(void)json_object_set_new(cli->members, "sources", list);
}

static void
put_figures(struct fb_cli *cli, const struct fb_download_report *report)
{
	json_t *m = cli->members;

	fb_json_put_str(m, "run", report->run[0] != '\0' ? report->run : NULL);
	(void)json_object_set_new(
	    m, "committed", json_boolean(report->committed));
	(void)json_object_set_new(
	    m, "resumed", json_boolean(report->resumed));
	fb_json_put_str(m, "closed_run",
	    report->closed_run[0] != '\0' ? report->closed_run : NULL);
	(void)json_object_set_new(m, "drift", json_boolean(report->drift));
	fb_json_put_str(m, "drift_text",
	    report->drift ? report->drift_text : NULL);
	fb_json_put_u64(m, "read_bytes", report->read_bytes);
	fb_json_put_u64(m, "new_bytes", report->new_bytes);
	fb_json_put_u64(m, "stored_bytes", report->stored_bytes);
	fb_json_put_seconds(m, "seconds", report->elapsed_ms);
	if (report->sealed[0] != '\0')
		fb_json_put_str(m, "sealed", report->sealed);
	if (report->shards_missing > 0)
		fb_json_put_u64(m, "shards_missing", report->shards_missing);
	if (report->shards_partial > 0)
		fb_json_put_u64(m, "shards_partial", report->shards_partial);
	cli->data = json_object();
	fb_json_put_str(cli->data, "fleet", cli->config->fleet_name);
	fb_json_put_str(cli->data, "run",
	    report->run[0] != '\0' ? report->run : NULL);
}

static void
add_totals(struct fb_cli *cli, const struct fb_download_report *report)
{
	struct fb_buf *dst = &cli->summary;
	char read[FB_CLI_TEXT], fresh[FB_CLI_TEXT], stored[FB_CLI_TEXT];

	if (report->run[0] == '\0')
		return;
	fb_buf_add_fmt(dst, "read %s   new %s   stored %s\n",
	    fb_cli_size(cli, report->read_bytes, read),
	    fb_cli_size(cli, report->new_bytes, fresh),
	    fb_cli_size(cli, report->stored_bytes, stored));
	if (report->closed_run[0] != '\0')
		fb_buf_add_fmt(dst,
		    "the run that was cut off was kept as %s, partial\n",
		    report->closed_run);
	if (report->drift && report->drift_text != NULL)
		fb_buf_add_fmt(dst,
		    "the fleet changed during the run:\n%s",
		    report->drift_text);
	if (report->committed)
		return;
	if (fb_signal_caught() != 0)
		fb_buf_add_fmt(dst, "stopped by signal %d; ",
		    fb_signal_caught());
	else if (atomic_load(&cli->late))
		fb_buf_add_str(dst, "its time is over; ");
	else
		return;
	fb_buf_add_fmt(dst, "go on: fleetbak download --resume %s   (the next "
	                    "plain download does the same)\n",
	    report->run);
}

static size_t
count_results(const struct fb_download_report *report, enum fb_result result)
{
	size_t count = 0;

	for (size_t i = 0; i < report->machine_count; i++)
		count += report->machines[i].result == result;
	return count;
}

static void
add_head(struct fb_cli *cli, const struct fb_download_report *report)
{
	char span[FB_CLI_TEXT];

	if (report->sealed[0] != '\0')
		fb_buf_add_fmt(&cli->summary,
		    "all shards are there: run %s is sealed\n", report->sealed);
	if (report->shards_missing > 0)
		fb_buf_add_fmt(&cli->summary,
		    "%u shards are missing; the last worker seals the run\n",
		    report->shards_missing);
	if (report->shards_partial > 0)
		fb_buf_add_fmt(&cli->summary,
		    "%u shards were done before, and machines failed in them\n",
		    report->shards_partial);
	if (report->run[0] == '\0' && report->machine_count == 0)
		return; /* refused before there was a run */
	fb_buf_add_fmt(&cli->summary,
	    "run %s%s: %zu stored, %zu failed, %zu skipped in %s\n",
	    report->run[0] != '\0' ? report->run : "-",
	    report->resumed ? " (continued)" : "",
	    count_results(report, FB_RESULT_OK),
	    count_results(report, FB_RESULT_FAILED) + report->source_count,
	    count_results(report, FB_RESULT_SKIPPED),
	    fb_cli_span(report->elapsed_ms, span));
}

static void
add_rows(struct fb_cli *cli, const struct fb_download_report *report)
{
	static const struct fb_column columns[] = { { "MACHINE", false },
		{ "RESULT", false }, { "READ", true }, { "NEW", true },
		{ "STORED", true }, { "DOWN_MS", true } };
	FB_AUTO_TABLE struct fb_table table = { .columns = columns,
		.column_count = FB_COUNT(columns) };

	for (size_t i = 0; i < report->machine_count; i++) {
		const struct fb_download_machine *machine =
		    &report->machines[i];
		uint64_t figures[] = { machine->read_bytes,
			machine->new_bytes, machine->stored_bytes,
			machine->downtime_ms };

		fb_table_row(&table);
		fb_table_cell(&table, machine->machine, NULL);
		fb_table_cell(&table, result_name(machine->result), NULL);
		for (size_t f = 0; f < FB_COUNT(figures); f++) {
			char text[FB_CLI_TEXT];

			(void)snprintf(text, sizeof(text), "%llu",
			    (unsigned long long)figures[f]);
			fb_table_cell(&table, text, NULL);
		}
	}
	fb_cli_add_table(cli, &table);
}

void
fb_cli_download_report(
    struct fb_cli *cli, const struct fb_download_report *report, int rc)
{
	struct fb_tally tally = { 0 };
	enum fb_exit status;

	put_figures(cli, report);
	add_head(cli, report);
	put_machines(cli, report, &tally);
	put_sources(cli, report, &tally);
	if (report->shards_partial > 0)
		fb_tally_trouble(&tally);
	add_totals(cli, report);
	fb_cli_lock_report(cli, &report->locks, cli->members, &tally);
	if (cli->output == FB_OUTPUT_TSV)
		add_rows(cli, report);
	status = fb_tally_exit(&tally);
	if (rc < 0)
		return; /* what stopped the run as a whole decides */
	if (status != FB_EXIT_OK && fb_signal_caught() == 0)
		fb_buf_add_fmt(&cli->summary, "exit %d: %s\n", (int)status,
		    fb_exit_name((int)status));
	if (status != FB_EXIT_OK)
		fb_cli_status(cli, status);
}

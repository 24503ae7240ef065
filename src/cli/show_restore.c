/*
 * A restore, planned and done, as text and as JSON.
 */
#include <string.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/cli/restore.h"
#include "fleetbak/cli/signal.h"

static json_t *
action_json(const struct fb_restore_action *action)
{
	json_t *item = json_object();

	fb_json_put_str(item, "machine", action->machine);
	fb_json_put_str(item, "name", action->name);
	fb_json_put_str(item, "volume", action->volume);
	fb_json_put_str(item, "action", action->action);
	fb_json_put_str(item, "from", action->from);
	fb_json_put_str(item, "from_machine", action->origin != NULL
	        ? action->origin
	        : action->machine);
	fb_json_put_str(item, "from_volume", action->origin_volume != NULL
	        ? action->origin_volume
	        : action->volume);
	fb_json_put_str(item, "to", action->to);
	fb_json_put_u64(item, "size_bytes", action->size);
	fb_json_put_u64(item, "need_bytes", action->need_bytes);
	fb_json_put_str(item, "problem", action->problem);
	return item;
}

/* Whose it was before, where that was another machine; what is wrong. */
static char *
note_of(const struct fb_restore_action *action)
{
	const char *problem = action->problem != NULL ? action->problem : "";

	if (action->origin_volume == NULL)
		return fb_strdup(problem);
	return fb_format("from %s %s%s%s", action->origin,
	    action->origin_volume, problem[0] != '\0' ? ": " : "", problem);
}

static void
add_actions(struct fb_cli *cli, const struct fb_restore_report *report)
{
	static const struct fb_column columns[] = { { "MACHINE", false },
		{ "VOLUME", false }, { "SIZE", true }, { "ACTION", false },
		{ "TO", false }, { "NOTE", false } };
	FB_AUTO_TABLE struct fb_table table = { .columns = columns,
		.column_count = FB_COUNT(columns) };
	char size[FB_CLI_TEXT], exact[FB_CLI_TEXT];

	for (size_t i = 0; i < report->action_count; i++) {
		const struct fb_restore_action *action = &report->actions[i];
		FB_AUTO_FREE char *machine = action->machine != NULL
		    ? fb_cli_machine(action->machine, action->name)
		    : fb_strdup("");
		FB_AUTO_FREE char *note = note_of(action);
		bool whole = strcmp(action->volume, "-") == 0;

		(void)snprintf(exact, sizeof(exact), "%llu",
		    (unsigned long long)action->size);
		(void)fb_cli_size(cli, action->size, size);
		fb_table_row(&table);
		fb_table_cell(&table, machine,
		    action->machine != NULL ? action->machine : "");
		fb_table_cell(&table, action->volume, NULL);
		fb_table_cell(&table, whole ? "-" : size, exact);
		fb_table_cell(&table, action->action, NULL);
		fb_table_cell(
		    &table, action->to != NULL ? action->to : "-", NULL);
		fb_table_cell(&table, note, NULL);
	}
	fb_cli_add_table(cli, &table);
}

static void
add_plan_text(struct fb_cli *cli, const struct fb_restore_report *report)
{
	char time[FB_CLI_TEXT], need[FB_CLI_TEXT], space[FB_CLI_TEXT];
	struct fb_buf *dst = &cli->text;

	if (cli->output == FB_OUTPUT_TSV) {
		add_actions(cli, report);
		return;
	}
	fb_buf_add_fmt(dst, "run %s of %s, signature %s, history %s\n\n",
	    report->run, fb_cli_time(cli, report->run_time, time),
	    report->trusted ? "good" : "NOT TRUSTED",
	    report->history_known
	        ? "unbroken"
	        : "not known here: a rollback cannot be told");
	add_actions(cli, report);
	for (size_t i = 0; i < report->removal_count; i++)
		fb_buf_add_fmt(dst, "%s  %s\n",
		    i == 0 ? "\nremoves" : "       ", report->removals[i]);
	fb_buf_add_fmt(dst, "\nneeds %s, free %s\n",
	    fb_cli_size(cli, report->need_bytes, need),
	    report->space_bytes == UINT64_MAX
	        ? "as much as wanted"
	        : fb_cli_size(cli, report->space_bytes, space));
}

void
fb_cli_restore_show(
    struct fb_cli *cli, const struct fb_restore_report *report)
{
	struct fb_buf answer = cli->text;

	cli->text = (struct fb_buf){ 0 };
	add_plan_text(cli, report);
	fprintf(stderr, "%s\n", fb_buf_str(&cli->text));
	fb_buf_release(&cli->text);
	cli->text = answer;
}

void
fb_cli_restore_plan(
    struct fb_cli *cli, const struct fb_restore_report *report)
{
	json_t *actions = fb_cli_new_list(cli), *removals;

	for (size_t i = 0; fb_cli_json(cli) && i < report->action_count; i++)
		fb_cli_add_item(cli, action_json(&report->actions[i]));
	removals = fb_cli_new_list(cli);
	for (size_t i = 0; fb_cli_json(cli) && i < report->removal_count;
	     i++) {
		json_t *holder = json_object();

		fb_json_put_str(holder, "path", report->removals[i]);
		fb_cli_add_item(cli, holder);
	}
	cli->data = json_object();
	(void)json_object_set_new(cli->data, "actions", actions);
	(void)json_object_set_new(cli->data, "removals", removals);
	fb_json_put_u64(cli->data, "need_bytes", report->need_bytes);
	fb_json_put_u64(cli->data, "free_bytes", report->space_bytes);
	(void)json_object_set_new(
	    cli->data, "trusted", json_boolean(report->trusted));
	(void)json_object_set_new(
	    cli->data, "history_known", json_boolean(report->history_known));
	fb_json_put_str(cli->members, "run", report->run);
	fb_json_put_str(cli->members, "run_time", report->run_time);
	(void)json_object_set_new(
	    cli->members, "dry_run", json_boolean(cli->dry_run));
	fb_json_put_str(cli->members, "plan", report->plan);
	if (cli->dry_run) {
		add_plan_text(cli, report);
		if (cli->output == FB_OUTPUT_TABLE)
			fb_buf_add_fmt(&cli->text,
			    "plan %s\nNothing was changed.\n",
			    report->plan);
		return;
	}
	if (!report->trusted)
		fb_buf_add_str(&cli->summary,
		    "the run is NOT TRUSTED: --allow-untrusted was given\n");
	if (!report->history_known)
		fb_buf_add_str(&cli->summary,
		    "whether this is the newest run cannot be told from "
		    "here\n");
}

static json_t *
result_json(const struct fb_restore_result *result)
{
	static const char *const names[] = { "ok", "failed", "skipped" };
	json_t *item = json_object();

	fb_json_put_str(item, "machine", result->machine);
	fb_json_put_str(item, "name", result->name);
	fb_json_put_str(item, "as", result->as);
	fb_json_put_str(item, "from_machine", result->origin != NULL
	        ? result->origin
	        : result->machine);
	fb_json_put_str(item, "result", names[result->result]);
	fb_json_put_u64(item, "read_bytes", result->read_bytes);
	fb_json_put_u64(item, "written_bytes", result->written_bytes);
	fb_json_put_u64(item, "same_bytes", result->same_bytes);
	fb_json_put_u64(item, "removed_files", result->removed_files);
	(void)json_object_set_new(
	    item, "started", json_boolean(result->started));
	if (result->result == FB_RESULT_FAILED)
		(void)json_object_set_new(
		    item, "error", fb_cli_error_json(NULL, result->err));
	return item;
}

static void
add_result(struct fb_cli *cli, const struct fb_restore_result *result,
    struct fb_tally *tally)
{
	struct fb_buf *dst = &cli->summary;
	char written[FB_CLI_TEXT], same[FB_CLI_TEXT];
	FB_AUTO_FREE char *machine =
	    fb_cli_machine(result->machine, result->name);

	switch (result->result) {
	case FB_RESULT_OK:
		fb_tally_good(tally);
		fb_buf_add_fmt(dst,
		    "restored %s%s%s%s%s: wrote %s, %s was the same%s\n",
		    machine, result->as != NULL ? " as " : "",
		    result->as != NULL ? result->as : "",
		    result->origin != NULL ? " from " : "",
		    result->origin != NULL ? result->origin : "",
		    fb_cli_size(cli, result->written_bytes, written),
		    fb_cli_size(cli, result->same_bytes, same),
		    result->started ? ", started" : "");
		break;
	case FB_RESULT_FAILED:
		fb_tally_bad(tally, result->err->code);
		fb_cli_add_error(cli, result->machine, result->err);
		fb_buf_add_fmt(dst,
		    cli->color ? "\033[1;31mFAILED\033[0m   %s  "
			       : "FAILED   %s  ",
		    machine);
		fb_cli_add_failure(dst, result->err);
		break;
	case FB_RESULT_SKIPPED:
		fb_buf_add_fmt(dst, "SKIPPED  %s\n", machine);
		break;
	}
}

void
fb_cli_restore_report(
    struct fb_cli *cli, const struct fb_restore_report *report, int rc)
{
	struct fb_tally tally = { 0 };
	json_t *list = fb_cli_new_list(cli);
	char span[FB_CLI_TEXT];
	enum fb_exit status;

	for (size_t i = 0; i < report->result_count; i++) {
		if (fb_cli_json(cli))
			fb_cli_add_item(cli, result_json(&report->results[i]));
		add_result(cli, &report->results[i], &tally);
	}
	(void)json_object_set_new(cli->members, "machines", list);
	fb_json_put_str(cli->members, "restore",
	    report->id[0] != '\0' ? report->id : NULL);
	fb_json_put_seconds(cli->members, "seconds", report->elapsed_ms);
	status = fb_tally_exit(&tally);
	if (report->unfinished)
		fb_buf_add_fmt(&cli->summary,
		    "go on with it: fleetbak restore --resume %s\n",
		    report->id);
	if (rc < 0)
		return;
	fb_buf_add_fmt(&cli->summary, "%zu restored, %zu failed in %s\n",
	    tally.good, tally.bad, fb_cli_span(report->elapsed_ms, span));
	if (status != FB_EXIT_OK && fb_signal_caught() == 0)
		fb_buf_add_fmt(&cli->summary, "exit %d: %s\n", (int)status,
		    fb_exit_name((int)status));
	if (status != FB_EXIT_OK)
		fb_cli_status(cli, status);
}

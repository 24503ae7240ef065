#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/cli/snapshots.h"
#include "fleetbak/cli/unattended.h"
#include "fleetbak/engine/recover.h"
#include "fleetbak/engine/restore.h"
#include "fleetbak/engine/shard.h"

/* One machine, as of its newest good backup. */
struct standing {
	char *machine;
	const struct fb_snapshot *good;   /* NULL: none */
	const struct fb_snapshot *newest; /* good or failed */
	uint64_t age_ms;
	bool future; /* its age cannot be told */
	bool over;
};

struct page {
	struct standing *rows;
	size_t count, over, future;
};

/* A backup from the future would be fresh until then, whatever happens. */
static void
measure_age(struct standing *row)
{
	struct fb_error ignored;
	int64_t then, now = fb_clock_wall_ns();

	if (row->good == NULL)
		return;
	if (fb_time_parse(row->good->time, &then, &ignored) < 0 ||
	    then > now + FB_CLOCK_SLACK_NS)
		row->future = true;
	else if (then < now)
		row->age_ms = (uint64_t)((now - then) / 1000000);
}

/* Rows are newest first. */
static void
fill_standings(struct standing *rows, const struct fb_snapshots *all)
{
	for (size_t i = 0; i < all->count; i++) {
		const struct fb_snapshot *snapshot = &all->items[i];
		const struct fb_machine *machine =
		    fb_snapshots_find(all, snapshot->machine);
		struct standing *row;

		if (!snapshot->selected || machine == NULL)
			continue;
		row = &rows[machine - all->fleet.machines];
		if (row->newest == NULL)
			row->newest = snapshot;
		if (row->good == NULL && !snapshot->failed)
			row->good = snapshot;
	}
}

static void
make_page(const struct fb_cli *cli, const struct fb_snapshots *all,
    struct page *page)
{
	uint64_t rpo = cli->config->rpo_ms;

	page->rows = fb_alloc(all->fleet.count + 1, sizeof(*page->rows));
	fill_standings(page->rows, all);
	for (size_t i = 0; i < all->fleet.count; i++) {
		const char *driver = all->fleet.machines[i].driver;
		struct standing *row = &page->rows[page->count];

		*row = page->rows[i];
		if (row->newest == NULL) /* not selected */
			continue;
		row->machine = fb_strdup(row->newest->machine);
		measure_age(row);
		row->over = row->good == NULL || row->future ||
		    (rpo > 0 && row->age_ms > rpo &&
		        !fb_driver_imports(driver));
		page->over += row->over;
		page->future += row->future;
		page->count++;
	}
}

static void
put_rows(struct fb_cli *cli, const struct page *page)
{
	static const struct fb_column columns[] = { { "", false },
		{ "MACHINE", false }, { "NEWEST GOOD", false },
		{ "AGE", true }, { "NOTE", false } };
	FB_AUTO_TABLE struct fb_table table = { .columns = columns,
		.column_count = FB_COUNT(columns) };
	json_t *list = fb_cli_new_list(cli);
	char text[FB_CLI_TEXT], exact[FB_CLI_TEXT];

	for (size_t i = 0; i < page->count; i++) {
		const struct standing *row = &page->rows[i];
		FB_AUTO_FREE char *machine =
		    fb_cli_machine(row->machine, row->newest->name);
		json_t *item;

		fb_table_row(&table);
		fb_table_cell(&table, row->over ? "over" : "ok", NULL);
		fb_table_cell(&table, machine, row->machine);
		fb_table_cell(&table,
		    row->good != NULL ? fb_cli_time(cli, row->good->time, text)
				      : "never",
		    row->good != NULL ? row->good->time : "");
		(void)snprintf(exact, sizeof(exact), "%llu",
		    (unsigned long long)row->age_ms / 1000);
		fb_table_cell(&table,
		    row->good == NULL  ? "-"
		        : row->future ? "?"
		                      : fb_cli_span(row->age_ms, text),
		    row->good != NULL && !row->future ? exact : "");
		fb_table_cell(&table,
		    row->newest->failed ? row->newest->failure->msg
		        : row->future  ? "it is from the future"
		                       : "",
		    NULL);

		if (!fb_cli_json(cli))
			continue;
		item = json_object();
		fb_json_put_str(item, "machine", row->machine);
		fb_json_put_str(item, "run",
		    row->good != NULL ? row->good->run : NULL);
		fb_json_put_str(item, "time",
		    row->good != NULL ? row->good->time : NULL);
		if (row->future)
			(void)json_object_set_new(
			    item, "age_seconds", json_null());
		else
			fb_json_put_seconds(item, "age_seconds", row->age_ms);
		(void)json_object_set_new(
		    item, "over_rpo", json_boolean(row->over));
		(void)json_object_set_new(item, "last_error",
		    row->newest->failed
		        ? fb_cli_error_json(NULL, row->newest->failure)
		        : json_null());
		fb_cli_add_item(cli, item);
	}
	(void)json_object_set_new(cli->data, "machines", list);
	if (table.row_count > 0)
		fb_cli_add_table(cli, &table);
}

/* What a command that is under way has begun and owes is its own affair. */
static bool
put_running(struct fb_cli *cli)
{
	struct fb_error why = { 0 };
	int rc = fb_state_busy(&cli->engine, &why);

	(void)json_object_set_new(
	    cli->data, "running", json_boolean(rc == FB_EBUSY));
	if (rc < 0 && rc != FB_EBUSY)
		fb_cli_warn(cli, NULL, &why);
	if (rc == FB_EBUSY && cli->output == FB_OUTPUT_TABLE)
		fb_buf_add_fmt(&cli->text, "under way: %s\n", why.msg);
	return rc == FB_EBUSY;
}

/* A list of names, and a sentence about each; without one it is for machines
 * only. */
static void
put_list(struct fb_cli *cli, const char *key, const char *before,
    const char *after, json_t *list)
{
	size_t i;
	json_t *value;

	(void)json_object_set_new(cli->data, key, list);
	if (cli->output != FB_OUTPUT_TABLE || after == NULL)
		return;
	json_array_foreach(list, i, value)
		fb_buf_add_fmt(&cli->text, "%s%s %s\n", before,
		    json_string_value(value), after);
}


/* Runs whose directory in the state is still there. */
static json_t *
unfinished_runs(struct fb_cli *cli)
{
	FB_AUTO_FREE char *path = fb_state_path(&cli->engine, "runs");
	FB_AUTO_LISTING char **names = NULL;
	struct fb_error err = { 0 };
	json_t *list = json_array();
	int rc = fb_io_list(path, &names, &err);

	if (rc < 0 && rc != FB_ENOTFOUND)
		fb_cli_warn(cli, NULL, &err);
	for (char **name = names; name != NULL && *name != NULL; name++)
		if (fb_run_id_ok(*name, strlen(*name)))
			(void)json_array_append_new(list, json_string(*name));
	return list;
}

static json_t *
unfinished_restores(struct fb_cli *cli)
{
	struct fb_error err = { 0 };
	json_t *list = json_array();
	char **ids = NULL;
	size_t count = 0;

	if (fb_restore_unfinished(&cli->engine, &ids, &count, &err) < 0)
		fb_cli_warn(cli, NULL, &err);
	for (size_t i = 0; i < count; i++) {
		(void)json_array_append_new(list, json_string(ids[i]));
		free(ids[i]);
	}
	free(ids);
	return list;
}

static json_t *
obligations(struct fb_cli *cli)
{
	struct fb_recover_report report = { 0 };
	struct fb_error err = { 0 };
	json_t *list = json_array();

	if (fb_recover_list(&cli->engine, &report, &err) < 0)
		fb_cli_warn(cli, NULL, &err);
	for (size_t i = 0; i < report.count; i++)
		if (report.items[i].outcome != FB_RECOVERY_SUSPENDED)
			(void)json_array_append_new(
			    list, json_string(report.items[i].machine));
	fb_recover_report_release(&report);
	return list;
}

static void
put_head(struct fb_cli *cli, const struct fb_snapshots *all,
    const struct page *page)
{
	char time[FB_CLI_TEXT];
	const struct fb_run_row *last =
	    all->run_count > 0 ? &all->runs[0] : NULL;

	fb_json_put_str(cli->data, "fleet", cli->config->fleet_name);
	fb_json_put_seconds(cli->data, "rpo_seconds", cli->config->rpo_ms);
	fb_json_put_u64(cli->data, "over_rpo", page->over);
	fb_json_put_str(
	    cli->data, "last_run", last != NULL ? last->ref.run : NULL);
	if (cli->output != FB_OUTPUT_TABLE)
		return;
	if (last == NULL) {
		fb_buf_add_fmt(&cli->text, "%s: no backup yet\n",
		    cli->config->fleet_name);
		return;
	}
	fb_buf_add_fmt(&cli->text,
	    "%s: %s, %zu of %zu machines over their recovery point "
	    "objective; last run %s: %zu stored, %zu failed\n",
	    cli->config->fleet_name, page->over > 0 ? "FAIL" : "ok",
	    page->over, page->count,
	    fb_cli_time(cli, last->ref.time, time), last->good, last->failed);
}

static int
add_shared(
    const struct fb_shared_status *status, void *arg, struct fb_error *err)
{
	FB_AUTO_FREE char *text = fb_format("%s (%s): %u of %u shards are "
	                                    "there, %u under way",
	    status->name, status->run, status->committed, status->shards,
	    status->claimed);

	(void)err;
	(void)json_array_append_new(arg, json_string(text));
	return FB_OK;
}

static json_t *
unsealed_runs(struct fb_cli *cli, struct fb_repo *repo)
{
	struct fb_error err = { 0 };
	json_t *list = json_array();

	if (fb_shared_list(&cli->engine, repo, add_shared, list, &err) < 0)
		fb_cli_warn(cli, NULL, &err);
	return list;
}

static int
add_left(
    const struct fb_shared_status *status, void *arg, struct fb_error *err)
{
	(void)err;
	(void)json_array_append_new(arg, json_string(status->name));
	return FB_OK;
}

static json_t *
left_runs(struct fb_cli *cli, struct fb_repo *repo)
{
	struct fb_error err = { 0 };
	json_t *list = json_array();

	if (fb_shared_left(&cli->engine, repo, add_left, list, &err) < 0)
		fb_cli_warn(cli, NULL, &err);
	return list;
}

/* Runs that are on their way out, or held: newest first. */
static json_t *
runs_with_fate(const struct fb_snapshots *all, bool held)
{
	json_t *list = json_array();

	for (size_t i = 0; i < all->run_count; i++)
		if (held ? all->runs[i].held : all->runs[i].pending)
			(void)json_array_append_new(
			    list, json_string(all->runs[i].ref.run));
	return list;
}

static void
put_page(struct fb_cli *cli, struct fb_repo *repo,
    const struct fb_snapshots *all, const struct page *page)
{
	bool brief = fb_arguments_on(&cli->args, FB_OPT_SHORT);
	bool running;

	cli->data = json_object();
	put_head(cli, all, page);
	if (brief && !fb_cli_json(cli))
		return;
	put_rows(cli, page);
	running = put_running(cli);
	put_list(cli, "unfinished_runs",
	    "run ",
	    running ? NULL : "was cut off: fleetbak download goes on with it",
	    unfinished_runs(cli));
	put_list(cli, "unfinished_restores",
	    "restore ",
	    running ? NULL : "was cut off: fleetbak restore --resume goes on",
	    unfinished_restores(cli));
	put_list(cli, "unsealed_runs", "shared run ", "and it is not sealed",
	    unsealed_runs(cli, repo));
	put_list(cli, "left_runs", "shared run ",
	    "is closed, and a worker has left a machine that is to be "
	    "started, or a snapshot: fleetbak seal --run NAME",
	    left_runs(cli, repo));
	put_list(cli, "obligations", "",
	    running ? NULL
	            : "was stopped and not started again: fleetbak recover",
	    obligations(cli));
	put_list(cli, "pending_runs",
	    "run ", "is to be given up: fleetbak forget --undo keeps it",
	    runs_with_fate(all, false));
	put_list(cli, "held_runs", "run ", "is held", runs_with_fate(all, true));
}

/* Who reads this in a mail wants to know what next. */
static void
put_advice(struct fb_cli *cli, const struct page *page)
{
	if ((page->over > 0 || page->count == 0) &&
	    cli->output == FB_OUTPUT_TABLE &&
	    !fb_arguments_on(&cli->args, FB_OPT_SHORT))
		fb_buf_add_str(&cli->text,
		    "  fix  fleetbak download; if a timer should have done "
		    "it: systemctl status fleetbak-download.timer\n");
}

static void
warn_of_clock(struct fb_cli *cli, const struct page *page)
{
	struct fb_error why = { 0 };

	if (page->future == 0)
		return;
	(void)fb_fail_id(&why, FB_ECONFLICT, "E-CLOCK",
	    "the newest backups of %zu machines are later than this host's "
	    "clock: how old they are cannot be told",
	    page->future);
	(void)fb_hint(&why, "set the clock, or make a new backup if it was "
			    "wrong then");
	fb_cli_warn(cli, NULL, &why);
}

/* Backups that were here and are gone make the page a lie. */
static void
check_history(struct fb_cli *cli, struct fb_repo *repo)
{
	const char *fleet = cli->config->fleet_name;
	FB_AUTO_FREE char *memory = fb_state_memory(
	    &cli->engine, repo->format.repository);
	struct fb_error err = { 0 };
	bool known = false;
	int rc = fb_history_check(repo, fleet, memory, false, &known, &err);

	fb_json_put_str(cli->data, "history",
	    rc < 0 ? "broken" : known ? "unbroken" : "unknown");
	if (rc >= 0)
		return;
	fb_cli_add_error(cli, NULL, &err);
	fb_buf_add_str(&cli->summary, "FAIL  ");
	fb_cli_add_failure(&cli->summary, &err);
	if (!cli->failed || cli->status != FB_EXIT_DAMAGED)
		fb_cli_status(cli, fb_exit_of((enum fb_code)rc));
}

/* For the metrics. */
static void
note_facts(struct fb_cli *cli, const struct fb_snapshots *all)
{
	uint64_t snapshots = 0, bytes = 0;

	for (size_t i = 0; i < all->run_count; i++) {
		snapshots += all->runs[i].good;
		bytes += all->runs[i].size;
	}
	fb_facts_status(cli, snapshots, bytes);
}

static int
status_run(struct fb_cli *cli, struct fb_error *err)
{
	FB_AUTO_SNAPSHOTS struct fb_snapshots all = { 0 };
	FB_AUTO_REPO struct fb_repo *repo = NULL;
	struct page page = { 0 };
	int rc;

	rc = fb_cli_configure(cli, err);
	if (rc == FB_OK)
		rc = fb_engine_repo(&cli->engine, &repo, err);
	if (rc == FB_OK)
		rc = fb_snapshots_load_newest(cli, repo, &all, err);
	if (rc == FB_OK)
		rc = fb_snapshots_select(
		    cli, &all, cli->args.items, cli->args.count, err);
	if (rc < 0)
		return rc;
	make_page(cli, &all, &page);
	put_page(cli, repo, &all, &page);
	put_advice(cli, &page);
	note_facts(cli, &all);
	warn_of_clock(cli, &page);
	if (fb_arguments_on(&cli->args, FB_OPT_CHECK) &&
	    (page.over > 0 || page.count == 0))
		fb_cli_status(cli, FB_EXIT_CHANGES);
	if (fb_tally_exit(&all.tally) != FB_EXIT_OK)
		fb_cli_status(cli, fb_tally_exit(&all.tally));
	check_history(cli, repo);
	for (size_t i = 0; i < page.count; i++)
		free(page.rows[i].machine);
	free(page.rows);
	return FB_OK;
}

const struct fb_command fb_cmd_status = {
	.name = "status",
	.group = "Every day",
	.args = "[MACHINE ...]",
	.args_max = SIZE_MAX,
	.help = "is everything inside its recovery point objective?",
	.examples = "fleetbak status\tthe page to look at\n"
		    "fleetbak status --check -q\texit 4 when a backup is too "
		    "old\n"
		    "fleetbak status --short\tone line\n",
	.about = "Shows the newest good backup of each machine and its age, "
		 "the last run, and what is left over from runs and restores "
		 "that were cut off.  With --check a machine that is over "
		 "the fleet's rpo, or that has no good backup, makes the "
		 "exit status 4.  Runs that were seen from here before "
		 "and are gone make it 13.",
	.unattended = true,
	.reads_state = true,
	.run = status_run,
};

#include <stdlib.h>
#include <stdint.h>
#include <string.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/cli/why.h"
#include "fleetbak/engine/shard.h"

static void
add_snapshot(struct fb_cli *cli, struct fb_table *table,
    const struct fb_snapshot *row, const struct fb_why *why)
{
	FB_AUTO_FREE char *kept_by =
	    why != NULL ? fb_why_text(why, cli, row, NULL) : NULL;
	FB_AUTO_FREE char *machine = fb_cli_machine(row->machine, row->name);
	char text[FB_CLI_TEXT], exact[FB_CLI_TEXT];
	char downtime[FB_CLI_TEXT];

	fb_table_row(table);
	fb_table_cell(table, machine, row->machine);
	fb_table_cell(table, fb_cli_time(cli, row->time, text), row->time);
	(void)snprintf(exact, sizeof(exact), "%llu",
	    (unsigned long long)row->size);
	fb_table_cell(table, fb_cli_size(cli, row->size, text), exact);
	(void)snprintf(exact, sizeof(exact), "%llu",
	    (unsigned long long)row->new_bytes);
	fb_table_cell(table, fb_cli_size(cli, row->new_bytes, text), exact);
	(void)snprintf(exact, sizeof(exact), "%llu.%03llu",
	    (unsigned long long)row->downtime_ms / 1000,
	    (unsigned long long)row->downtime_ms % 1000);
	fb_table_cell(table,
	    row->downtime_ms == 0 ? "-"
				  : fb_cli_span(row->downtime_ms, downtime),
	    exact);
	fb_table_cell(table, fb_level_name(row->level), NULL);
	fb_table_cell(table, row->run, NULL);
	if (kept_by != NULL)
		fb_table_cell(table, kept_by, NULL);
}

static const struct fb_column snapshot_columns[] = { { "MACHINE", false },
	{ "TIME", false }, { "SIZE", true }, { "NEW", true },
	{ "DOWN", true }, { "LEVEL", false }, { "RUN", false },
	{ "KEPT BY", false } };

static json_t *
snapshot_json(struct fb_cli *cli, const struct fb_snapshot *row,
    const struct fb_why *why)
{
	json_t *item = fb_snapshot_json(row);

	if (why != NULL) /* the text is for the table */
		free(fb_why_text(why, cli, row, item));
	return item;
}

/* Rows on their way into the answer; `why` may be NULL. */
struct lister {
	struct fb_cli *cli;
	struct fb_table *table;
	struct fb_why *why;
	char run[FB_RUN_ID_SIZE]; /* that `why` is at */
	uint64_t shown;
};

static int
list_row(const struct fb_snapshot *row, void *arg, struct fb_error *err)
{
	struct lister *lister = arg;
	struct fb_cli *cli = lister->cli;
	int rc = FB_OK;

	if (!row->selected || row->failed)
		return FB_OK;
	lister->shown++;
	if (lister->why != NULL && strcmp(lister->run, row->run) != 0) {
		memcpy(lister->run, row->run, sizeof(lister->run));
		rc = fb_why_run(lister->why, row->run, err);
	}
	if (rc < 0)
		return rc;
	if (fb_cli_json(cli))
		fb_cli_add_item(cli, snapshot_json(cli, row, lister->why));
	else
		add_snapshot(cli, lister->table, row, lister->why);
	return FB_OK;
}

/* Good snapshots: the newest of each machine, which were loaded, or all. */
static int
list_snapshots(struct fb_cli *cli, struct fb_repo *repo,
    struct fb_snapshots *all, bool newest, struct fb_why *why,
    struct fb_error *err)
{
	FB_AUTO_TABLE struct fb_table table = { .columns = snapshot_columns,
		.column_count = FB_COUNT(snapshot_columns) - (why == NULL) };
	struct lister lister = { .cli = cli, .table = &table, .why = why };
	int rc = FB_OK;

	if (!newest)
		rc = fb_snapshots_each(cli, repo, all, list_row, &lister, err);
	for (size_t i = 0; newest && rc == FB_OK && i < all->count; i++)
		rc = list_row(&all->items[i], &lister, err);
	if (table.row_count > 0 || cli->output == FB_OUTPUT_TSV)
		fb_cli_add_table(cli, &table);
	else if (!cli->quiet && lister.shown == 0)
		fb_buf_add_str(&cli->summary, "no backup yet\n");
	return rc;
}

static json_t *
run_json(const struct fb_run_row *row)
{
	json_t *item = json_object();

	fb_json_put_str(item, "run", row->ref.run);
	fb_json_put_str(item, "fleet", row->ref.fleet);
	fb_json_put_str(item, "time", row->ref.time);
	fb_json_put_str(item, "signed_by", row->ref.signer);
	fb_run_put_fate(item, row);
	if (row->problem != NULL) {
		(void)json_object_set_new(
		    item, "error", fb_cli_error_json(NULL, row->problem));
		return item;
	}
	fb_json_put_str(item, "finished", row->finished);
	(void)json_object_set_new(item, "partial", json_boolean(row->partial));
	(void)json_object_set_new(item, "drift", json_boolean(row->drift));
	fb_json_put_u64(item, "machines_ok", row->good);
	fb_json_put_u64(item, "machines_failed", row->failed);
	fb_json_put_u64(item, "size_bytes", row->size);
	fb_json_put_u64(item, "stored_bytes", row->stored_bytes);
	return item;
}

static void
add_number(struct fb_table *table, const char *shown, uint64_t number)
{
	char exact[FB_CLI_TEXT];

	(void)snprintf(
	    exact, sizeof(exact), "%llu", (unsigned long long)number);
	fb_table_cell(table, shown != NULL ? shown : exact, exact);
}

/* What is not sealed is no run yet. */
static int
tell_shared(
    const struct fb_shared_status *status, void *arg, struct fb_error *err)
{
	struct fb_cli *cli = arg;

	(void)err;
	if (!cli->quiet)
		fb_buf_add_fmt(&cli->summary,
		    "shared run %s (%s) is not sealed: %u of %u shards\n",
		    status->name, status->run, status->committed,
		    status->shards);
	return FB_OK;
}

static void
list_runs(struct fb_cli *cli, const struct fb_snapshots *all)
{
	static const struct fb_column columns[] = { { "RUN", false },
		{ "TIME", false }, { "OK", true }, { "FAILED", true },
		{ "SIZE", true }, { "STORED", true }, { "SIGNED BY", false },
		{ "NOTE", false } };
	FB_AUTO_TABLE struct fb_table table = { .columns = columns,
		.column_count = FB_COUNT(columns) };
	char text[FB_CLI_TEXT];

	for (size_t i = 0; i < all->run_count; i++) {
		const struct fb_run_row *row = &all->runs[i];

		if (fb_cli_json(cli))
			fb_cli_add_item(cli, run_json(row));
		fb_table_row(&table);
		fb_table_cell(&table, row->ref.run, NULL);
		fb_table_cell(&table, fb_cli_time(cli, row->ref.time, text),
		    row->ref.time);
		add_number(&table, NULL, row->good);
		add_number(&table, NULL, row->failed);
		add_number(
		    &table, fb_cli_size(cli, row->size, text), row->size);
		add_number(&table, fb_cli_size(cli, row->stored_bytes, text),
		    row->stored_bytes);
		fb_table_cell(&table, row->ref.signer, NULL);
		fb_table_cell(&table,
		    row->problem != NULL       ? row->problem->id
		    : fb_run_fate(row) != NULL ? fb_run_fate(row)
		    : row->partial             ? "partial"
		    : row->drift               ? "drift"
		                               : "",
		    NULL);
	}
	if (table.row_count > 0 || cli->output == FB_OUTPUT_TSV)
		fb_cli_add_table(cli, &table);
	else if (!cli->quiet)
		fb_buf_add_str(&cli->summary, "no backup yet\n");
}

static bool
is_noun(const char *word)
{
	return strcmp(word, "machines") == 0 || strcmp(word, "runs") == 0 ||
	    strcmp(word, "snapshots") == 0;
}

static int
list_run(struct fb_cli *cli, struct fb_error *err)
{
	FB_AUTO_SNAPSHOTS struct fb_snapshots all = { 0 };
	FB_AUTO_WHY struct fb_why *why = NULL;
	FB_AUTO_REPO struct fb_repo *repo = NULL;
	const char *const *machines = cli->args.items;
	size_t count = cli->args.count;
	const struct fb_option_value *select =
	    &cli->args.options[FB_OPT_SELECT];
	const char *noun = "snapshots";
	bool each;
	int rc;

	cli->data = fb_cli_new_list(cli);
	if (count > 0 && is_noun(machines[0])) {
		noun = machines[0];
		machines++;
		count--;
	}
	if (fb_arguments_on(&cli->args, FB_OPT_WHY) &&
	    strcmp(noun, "runs") == 0) {
		(void)fb_fail_id(err, FB_ECONFIG, "E-OPT-HERE",
		    "option '--why': rules keep snapshots, not runs");
		return fb_hint(err, "write: fleetbak list --why");
	}
	rc = fb_cli_configure(cli, err);
	if (rc == FB_OK)
		rc = fb_engine_repo(&cli->engine, &repo, err);
	if (rc == FB_OK && fb_arguments_on(&cli->args, FB_OPT_WHY))
		rc = fb_why_make(cli, repo, &why, err);
	each = strcmp(noun, "snapshots") == 0;
	if (rc == FB_OK) /* to choose, one has to know who there is */
		rc = each && count == 0 && select->count == 0
		    ? fb_snapshots_load_runs(cli, repo, &all, err)
		    : fb_snapshots_load_newest(cli, repo, &all, err);
	if (rc == FB_OK)
		rc = fb_snapshots_select(cli, &all, machines, count, err);
	if (rc < 0)
		return rc;
	fb_json_put_str(cli->members, "fleet", cli->config->fleet_name);
	if (strcmp(noun, "runs") != 0) {
		rc = list_snapshots(cli, repo, &all, !each, why, err);
	} else {
		list_runs(cli, &all);
		rc = fb_shared_list(&cli->engine, repo, tell_shared, cli, err);
	}
	if (rc < 0)
		return rc;
	if (fb_tally_exit(&all.tally) != FB_EXIT_OK)
		fb_cli_status(cli, fb_tally_exit(&all.tally));
	return FB_OK;
}

const struct fb_command fb_cmd_list = {
	.name = "list",
	.group = "Every day",
	.args = "[snapshots | machines | runs] [MACHINE ...]",
	.args_max = SIZE_MAX,
	.help = "what is in the repository",
	.examples = "fleetbak list\tevery backup of every machine\n"
		    "fleetbak list machines\tthe newest of each\n"
		    "fleetbak list web-01\tof one machine\n"
		    "fleetbak list web-01 --why\t... and which rules keep "
		    "them\n"
		    "fleetbak list runs\tevery run\n",
	.about = "Lists what the signed manifests of the repository say, "
		 "newest first: the snapshots of machines, only the newest "
		 "of each machine, or the runs.  Machines that are gone from "
		 "their source are listed as well.",
	.words = "snapshots machines runs",
	.reads_state = true,
	.run = list_run,
};

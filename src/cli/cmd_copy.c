#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/cli/locks.h"
#include "fleetbak/cli/progress.h"
#include "fleetbak/cli/prune.h"
#include "fleetbak/cli/snapshots.h"
#include "fleetbak/cli/unattended.h"
#include "fleetbak/engine/copy.h"

static const char *const outcomes[] = {
	[FB_COPY_PLANNED] = "would copy",
	[FB_COPY_COPIED] = "copied",
	[FB_COPY_REPAIRED] = "repaired",
	[FB_COPY_THERE] = "there",
	[FB_COPY_FORGOTTEN] = "forgotten",
	[FB_COPY_FAILED] = "failed",
	[FB_COPY_SKIPPED] = "skipped",
};

static void
put_row(
    struct fb_cli *cli, const struct fb_copy_item *item, struct fb_table *table)
{
	char text[FB_CLI_TEXT], exact[FB_CLI_TEXT];
	unsigned long long objects = item->missing.packs;

	objects += item->missing.recipes;
	fb_table_row(table);
	fb_table_cell(table, item->run, NULL);
	fb_table_cell(table, outcomes[item->outcome], NULL);
	(void)snprintf(exact, sizeof(exact), "%llu", objects);
	fb_table_cell(table, exact, NULL);
	(void)snprintf(exact, sizeof(exact), "%llu",
	    (unsigned long long)item->missing.bytes);
	fb_table_cell(
	    table, fb_cli_size(cli, item->missing.bytes, text), exact);
}

static json_t *
item_json(const struct fb_copy_item *item)
{
	json_t *row = json_object();

	fb_json_put_str(row, "run", item->run);
	fb_json_put_str(row, "outcome",
	    item->outcome == FB_COPY_PLANNED ? "planned"
	                                     : outcomes[item->outcome]);
	fb_json_put_u64(row, "packs", item->missing.packs);
	fb_json_put_u64(row, "recipes", item->missing.recipes);
	fb_json_put_u64(row, "bytes", item->missing.bytes);
	if (item->err != NULL)
		(void)json_object_set_new(
		    row, "error", fb_cli_error_json(NULL, item->err));
	return row;
}

/* What there is nothing to say of is in no row. */
static bool
is_told(const struct fb_cli *cli, const struct fb_copy_item *item)
{
	return cli->verbose > 0 ||
	    (item->outcome != FB_COPY_THERE &&
	        item->outcome != FB_COPY_FORGOTTEN);
}

static void
put_items(struct fb_cli *cli, const struct fb_copy_repo_report *report,
    struct fb_tally *tally, size_t counts[])
{
	static const struct fb_column columns[] = { { "RUN", false },
		{ "RESULT", false }, { "OBJECTS", true }, { "SIZE", true } };
	FB_AUTO_TABLE struct fb_table table = { .columns = columns,
		.column_count = FB_COUNT(columns) };
	json_t *list = fb_cli_new_list(cli);

	for (size_t i = 0; i < report->count; i++) {
		const struct fb_copy_item *item = &report->items[i];

		counts[item->outcome]++;
		if (fb_cli_json(cli))
			fb_cli_add_item(cli, item_json(item));
		if (is_told(cli, item))
			put_row(cli, item, &table);
		if (item->err == NULL) {
			fb_tally_good(tally);
			continue;
		}
		fb_tally_bad(tally, item->err->code);
		fb_cli_add_error(cli, item->run, item->err);
		fb_buf_add_fmt(&cli->summary, "FAILED   run %s  ", item->run);
		fb_cli_add_failure(&cli->summary, item->err);
	}
	(void)json_object_set_new(cli->data, "runs", list);
	if (table.row_count > 0 && !cli->quiet)
		fb_cli_add_table(cli, &table);
}

static void
put_report(struct fb_cli *cli, const struct fb_copy_repo_request *request,
    const struct fb_copy_repo_report *report, int rc)
{
	size_t counts[FB_COUNT(outcomes)] = { 0 };
	struct fb_tally tally = { 0 };
	char size[FB_CLI_TEXT], span[FB_CLI_TEXT];

	cli->data = json_object();
	fb_json_put_str(cli->data, "from", request->from);
	fb_json_put_str(cli->data, "to", request->to);
	(void)json_object_set_new(
	    cli->data, "made", json_boolean(report->made));
	fb_json_put_u64(cli->data, "bytes", report->bytes);
	fb_json_put_seconds(cli->data, "seconds", report->elapsed_ms);
	put_items(cli, report, &tally, counts);
	if (rc == FB_OK || report->count > 0)
		fb_buf_add_fmt(&cli->summary,
		    "%s -> %s: %zu %s, %zu repaired, %zu there, %zu failed; "
		    "%s in %s\n",
		    request->from, request->to,
		    request->dry_run ? counts[FB_COPY_PLANNED]
		                     : counts[FB_COPY_COPIED],
		    request->dry_run ? "to copy" : "copied",
		    counts[FB_COPY_REPAIRED],
		    counts[FB_COPY_THERE] + counts[FB_COPY_FORGOTTEN],
		    counts[FB_COPY_FAILED],
		    fb_cli_size(cli, report->bytes, size),
		    fb_cli_span(report->elapsed_ms, span));
	if (request->dry_run)
		fb_cli_lock_plan(cli, &report->locks);
	else if (rc == FB_OK || report->locks.objects > 0)
		fb_cli_lock_report(cli, &report->locks, cli->data, &tally);
	if (rc == FB_OK && fb_tally_exit(&tally) != FB_EXIT_OK)
		fb_cli_status(cli, fb_tally_exit(&tally));
}

/* Runs that hold one of the chosen machines; a run is copied whole. */
struct choice {
	char **runs;
	size_t count;
};

static void
choice_release(struct choice *choice)
{
	for (size_t i = 0; i < choice->count; i++)
		free(choice->runs[i]);
	free(choice->runs);
}

static void
choose(struct choice *choice, const char *run)
{
	if (choice->count > 0 &&
	    strcmp(choice->runs[choice->count - 1], run) == 0)
		return; /* the rows of a run come together */
	choice->runs =
	    fb_realloc(choice->runs, choice->count + 1, sizeof(*choice->runs));
	choice->runs[choice->count++] = fb_strdup(run);
}

static int
choose_row(const struct fb_snapshot *row, void *arg, struct fb_error *err)
{
	(void)err;
	if (row->selected)
		choose(arg, row->run);
	return FB_OK;
}

static int
make_choice(struct fb_cli *cli, struct choice *choice, struct fb_error *err)
{
	const char *word = fb_arguments_value(&cli->args, FB_OPT_RUN);
	FB_AUTO_SNAPSHOTS struct fb_snapshots all = { 0 };
	FB_AUTO_REPO struct fb_repo *repo = NULL;
	struct fb_run_ref run;
	int rc = fb_engine_repo(&cli->engine, &repo, err);

	if (rc == FB_OK && word != NULL) {
		rc = fb_cli_run(cli, repo, word, false, &run, err);
		if (rc == FB_OK)
			choose(choice, run.run);
		return rc;
	}
	if (rc == FB_OK)
		rc = fb_snapshots_load_newest(cli, repo, &all, err);
	if (rc == FB_OK)
		rc = fb_snapshots_select(
		    cli, &all, cli->args.items, cli->args.count, err);
	if (rc == FB_OK)
		rc =
		    fb_snapshots_each(cli, repo, &all, choose_row, choice, err);
	return rc;
}

static int
check_names(struct fb_cli *cli, struct fb_copy_repo_request *request,
    struct fb_error *err)
{
	request->from = fb_arguments_value(&cli->args, FB_OPT_FROM);
	request->to = fb_arguments_value(&cli->args, FB_OPT_TO);
	if (request->from == NULL)
		request->from = cli->engine.repository != NULL
		    ? cli->engine.repository
		    : cli->config->repositories[0].name;
	if (request->to == NULL) {
		(void)fb_fail_id(err, FB_ECONFIG, "E-CMD-ARGS",
		    "copy needs --to: the repository that is to be the copy");
		return fb_hint(
		    err, "fleetbak copy --from %s --to NAME", request->from);
	}
	if (cli->args.options[FB_OPT_RUN].set &&
	    (cli->args.count > 0 || cli->args.options[FB_OPT_SELECT].set)) {
		(void)fb_fail_id(err, FB_ECONFIG, "E-OPT-TWICE",
		    "--run and machines choose runs in two ways");
		return fb_hint(err, "give one of them");
	}
	cli->engine.repository = request->from;
	return FB_OK;
}

static int
copy_runs(struct fb_cli *cli, struct fb_copy_repo_request *request,
    struct fb_error *err)
{
	FB_CLEANUP(choice_release) struct choice choice = { 0 };
	FB_AUTO_PROGRESS struct fb_progress *progress = NULL;
	struct fb_copy_repo_report report = { 0 };
	int rc = FB_OK;

	if (cli->args.count > 0 || cli->args.options[FB_OPT_SELECT].set ||
	    cli->args.options[FB_OPT_RUN].set) {
		rc = make_choice(cli, &choice, err);
		request->runs = (const char *const *)choice.runs;
		request->run_count = choice.count;
	}
	if (rc < 0)
		return rc;
	progress = fb_progress_begin(cli);
	cli->engine.observer = fb_progress_observer(progress);
	rc = fb_copy_repo(&cli->engine, request, &report, err);
	fb_progress_end(FB_STEAL(progress));
	put_report(cli, request, &report, rc);
	fb_copy_repo_report_release(&report);
	return rc;
}

static int
copy_run(struct fb_cli *cli, struct fb_error *err)
{
	struct fb_copy_repo_request request = { .dry_run = cli->dry_run };
	int rc = fb_cli_configure(cli, err);

	if (rc == FB_OK)
		rc = check_names(cli, &request, err);
	return rc < 0 ? rc : copy_runs(cli, &request, err);
}

const struct fb_command fb_cmd_copy = {
	.name = "copy",
	.group = "Keep in order",
	.args = "[MACHINE ...]",
	.args_max = SIZE_MAX,
	.help = "copy runs into another repository",
	.examples = "fleetbak copy --to vault -n\twhat is missing there\n"
	            "fleetbak copy --to vault\tcopy it\n"
	            "fleetbak copy --from main --to vault --run latest\tthe "
	            "newest run alone\n",
	.about =
	    "Copies committed runs byte for byte, with their signatures: the "
	    "copy is the same repository in another place, and is restored "
	    "from and verified like the first.  Only what is missing is "
	    "copied, every object is checked on the way, the register comes "
	    "last, and what was cut off goes on with the next copy, which "
	    "also puts back what is missing of runs that are there.\n"
	    "\n"
	    "A run is copied whole, also when a machine of it is named.  What "
	    "a prune there gave up for good is not copied again.",
	.cancels = true,
	.unattended = true,
	.reads_state = true,
	.run = copy_run,
};

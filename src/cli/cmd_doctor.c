#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/cli/locks.h"
#include "fleetbak/engine/doctor.h"

static json_t *
item_json(const struct fb_doctor_item *item, const char *of)
{
	json_t *row = json_object();

	fb_json_put_str(row, "of", item->part ? of : NULL);
	fb_json_put_str(row, "check", item->what);
	fb_json_put_str(row, "status", fb_health_name(item->health));
	fb_json_put_str(row, "text", item->text);
	fb_json_put_str(row, "fix", item->fix);
	if (item->err.code < 0)
		(void)json_object_set_new(
		    row, "error", fb_cli_error_json(NULL, &item->err));
	return row;
}

static void
add_row(struct fb_cli *cli, struct fb_table *table,
    const struct fb_doctor_item *item)
{
	FB_AUTO_BUF struct fb_buf what = { 0 };
	bool plain = cli->output == FB_OUTPUT_TABLE;

	fb_buf_add_fmt(
	    &what, "%s%s", item->part && plain ? "  " : "", item->what);
	fb_table_row(table);
	fb_table_cell(table, fb_buf_str(&what), NULL);
	fb_table_cell(table,
	    item->health == FB_HEALTH_FAIL && plain
	        ? "FAIL"
	        : fb_health_name(item->health),
	    NULL);
	fb_table_cell(table, item->text, NULL);
	fb_table_cell(table, item->fix != NULL ? item->fix : "", NULL);
}

static void
put_items(struct fb_cli *cli, const struct fb_doctor_report *report)
{
	static const struct fb_column columns[] = { { "CHECK", false },
		{ "STATUS", false }, { "FOUND", false }, { "FIX", false } };
	FB_AUTO_TABLE struct fb_table table = { .columns = columns,
		.column_count = FB_COUNT(columns) };
	json_t *list = fb_cli_new_list(cli);
	const char *of = "";

	for (size_t i = 0; i < report->count; i++) {
		const struct fb_doctor_item *item = &report->items[i];

		if (!item->part)
			of = item->what;
		if (fb_cli_json(cli))
			fb_cli_add_item(cli, item_json(item, of));
		if (cli->quiet && item->health == FB_HEALTH_OK)
			continue;
		add_row(cli, &table, item);
		if (item->health == FB_HEALTH_FAIL && item->err.code < 0)
			fb_cli_add_error(cli, NULL, &item->err);
	}
	(void)json_object_set_new(cli->data, "checks", list);
	if (table.row_count > 0)
		fb_cli_add_table(cli, &table);
}

static json_t *
trait_json(enum fb_trait trait)
{
	return trait == FB_TRAIT_UNKNOWN ? json_null()
	                                 : json_boolean(trait == FB_TRAIT_YES);
}

static json_t *
place_json(const struct fb_doctor_repo *repo)
{
	static const char *const modes[] = { NULL, "governance", "compliance" };
	const struct fb_store_traits *traits = &repo->traits;
	json_t *item = json_object();

	(void)json_object_set_new(
	    item, "conditional_create", trait_json(traits->create_if));
	(void)json_object_set_new(
	    item, "conditional_replace", trait_json(traits->replace_if));
	(void)json_object_set_new(
	    item, "read_after_write", trait_json(traits->read_after_write));
	(void)json_object_set_new(
	    item, "list_after_write", trait_json(traits->list_after_write));
	(void)json_object_set_new(
	    item, "versioning", trait_json(traits->versioning));
	(void)json_object_set_new(
	    item, "object_lock", trait_json(traits->object_lock));
	fb_json_put_str(item, "lock_mode", modes[traits->lock_mode]);
	fb_json_put_u64(item, "lock_days", traits->lock_days);
	(void)json_object_set_new(
	    item, "clock_ms", json_integer(traits->clock_ms));
	(void)json_object_set_new(
	    item, "one_writer", json_boolean(repo->one_writer));
	(void)json_object_set_new(
	    item, "lease_service", json_boolean(repo->has_lease));
	fb_json_put_u64(item, "latency_ms", repo->latency_ms);
	return item;
}

static json_t *
tampered_json(const struct fb_tampered_list *list)
{
	json_t *rows = json_array();

	for (size_t i = 0; i < list->count; i++) {
		const struct fb_tampered *tampered = &list->items[i];
		char when[FB_TIME_SIZE], then[FB_TIME_SIZE];
		json_t *row = json_object();

		fb_time_format(tampered->when_ns, when);
		fb_time_format(tampered->good_ns, then);
		fb_json_put_str(row, "object", tampered->key);
		fb_json_put_str(row, "how",
		    tampered->how == FB_TAMPER_DELETED ? "deleted"
		                                       : "overwritten");
		fb_json_put_str(row, "when", when);
		fb_json_put_str(row, "good_version", tampered->good);
		fb_json_put_str(
		    row, "good_time", tampered->good != NULL ? then : NULL);
		(void)json_array_append_new(rows, row);
	}
	return rows;
}

static void
put_repos(struct fb_cli *cli, const struct fb_doctor_report *report)
{
	json_t *list = json_array();

	for (size_t i = 0; i < report->repo_count; i++) {
		const struct fb_doctor_repo *repo = &report->repos[i];
		json_t *item = json_object();

		fb_json_put_str(item, "name", repo->name);
		(void)json_object_set_new(item, "store",
		    repo->probed ? place_json(repo) : json_null());
		(void)json_object_set_new(item, "locks",
		    repo->locks.wanted ? fb_cli_lock_cost_json(&repo->locks)
		                       : json_null());
		(void)json_object_set_new(
		    item, "tampered", tampered_json(&repo->tampered));
		(void)json_array_append_new(list, item);
	}
	(void)json_object_set_new(cli->data, "repositories", list);
}

/* The common cause of what fails, else "error"; warnings alone are 4. */
static enum fb_exit
status_of(const struct fb_doctor_report *report)
{
	struct fb_tally tally = { 0 };

	for (size_t i = 0; i < report->count; i++)
		if (report->items[i].health == FB_HEALTH_FAIL)
			fb_tally_bad(&tally,
			    report->items[i].err.code < 0
			        ? report->items[i].err.code
			        : FB_EFAILED);
	if (report->failures > 0)
		return fb_tally_exit(&tally);
	return report->warnings > 0 ? FB_EXIT_CHANGES : FB_EXIT_OK;
}

static void
put_report(
    struct fb_cli *cli, const struct fb_doctor_report *report, size_t mended)
{
	enum fb_exit status = status_of(report);

	cli->data = json_object();
	fb_json_put_str(cli->data, "fleet", cli->config->fleet_name);
	put_items(cli, report);
	put_repos(cli, report);
	fb_json_put_u64(cli->data, "failures", report->failures);
	fb_json_put_u64(cli->data, "warnings", report->warnings);
	fb_json_put_u64(cli->data, "mendable", report->mendable);
	fb_json_put_u64(cli->data, "mended", mended);
	if (cli->output == FB_OUTPUT_TABLE && mended > 0)
		fb_buf_add_fmt(
		    &cli->text, "%zu objects were brought back\n", mended);
	if (cli->output == FB_OUTPUT_TABLE && report->mendable > 0)
		fb_buf_add_fmt(&cli->text,
		    "%zu objects can be brought back: fleetbak doctor "
		    "--fix\n",
		    report->mendable);
	if (cli->output == FB_OUTPUT_TABLE && !cli->quiet)
		fb_buf_add_fmt(&cli->text, "%zu failures, %zu warnings\n",
		    report->failures, report->warnings);
	if (status != FB_EXIT_OK)
		fb_cli_status(cli, status);
}

static int
confirm(struct fb_cli *cli, const struct fb_doctor_report *report,
    struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf question = { 0 };

	for (size_t i = 0; i < report->repo_count; i++)
		for (size_t k = 0; k < report->repos[i].tampered.count; k++) {
			const struct fb_tampered *tampered =
			    &report->repos[i].tampered.items[k];

			if (tampered->good != NULL &&
			    cli->output == FB_OUTPUT_TABLE)
				fb_buf_add_fmt(&cli->text,
				    "bring back %s in %s: version %s\n",
				    tampered->key, report->repos[i].name,
				    tampered->good);
		}
	if (cli->output == FB_OUTPUT_TABLE)
		fb_cli_print_text(cli);
	fb_buf_add_fmt(&question,
	    "%zu objects that were deleted or overwritten are to be brought "
	    "back",
	    report->mendable);
	return fb_cli_confirm(cli, fb_buf_str(&question), "yes", err);
}

/* Without its format nothing else of a repository can be looked at, so that
 * there may be more once that is back. */
static int
mend(struct fb_cli *cli, struct fb_doctor_report *report, size_t *ret_mended,
    struct fb_error *err)
{
	int rc = FB_OK;

	for (int round = 0; rc == FB_OK && round < 2 && report->mendable > 0;
	     round++) {
		size_t mended = 0;

		rc = confirm(cli, report, err);
		if (rc == FB_OK)
			rc = fb_doctor_mend(&cli->engine, report, &mended, err);
		*ret_mended += mended;
		if (rc < 0)
			return rc;
		fb_doctor_report_release(report);
		rc = fb_doctor(&cli->engine, report, err);
	}
	return rc;
}

static int
doctor_run(struct fb_cli *cli, struct fb_error *err)
{
	struct fb_doctor_report report = { 0 };
	size_t mended = 0;
	int rc = fb_cli_configure(cli, err);

	if (rc == FB_OK)
		rc = fb_doctor(&cli->engine, &report, err);
	if (rc == FB_OK && fb_arguments_on(&cli->args, FB_OPT_FIX) &&
	    !cli->dry_run)
		rc = mend(cli, &report, &mended, err);
	if (rc == FB_OK)
		put_report(cli, &report, mended);
	fb_doctor_report_release(&report);
	return rc;
}

const struct fb_command fb_cmd_doctor = {
	.name = "doctor",
	.group = "Set up",
	.args = "",
	.help = "is everything as it should be?",
	.examples = "fleetbak doctor\teverything, each with what to do\n"
	            "fleetbak doctor -q\tonly what is wrong\n"
	            "fleetbak doctor --fix\tbring back what was deleted or "
	            "overwritten\n",
	.about =
	    "Looks at the configuration, the state directory, what is owed "
	    "and what was left behind, keys, sources, and each repository: "
	    "what its place can do, tried out with an object that is taken "
	    "away again, its clock, locks, open sessions, and, where the "
	    "bucket keeps versions, what somebody has deleted or overwritten "
	    "though a backup needs it.\n"
	    "\n"
	    "It changes nothing.  With --fix it lists which versions it "
	    "would bring back, asks, checks the digest of each, and makes "
	    "them what is read again.\n"
	    "\n"
	    "The exit status is 0 when all is well, 4 when there are only "
	    "warnings, else that of what fails.",
	.cancels = true,
	.run = doctor_run,
};

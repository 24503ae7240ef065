#include <stdint.h>
#include <string.h>

#include "fleetbak/cli/prune.h"

static int
change(struct fb_cli *cli, struct fb_repo *repo, const struct fb_run_ref *run,
    bool removes, struct fb_error *err)
{
	const char *reason = fb_arguments_value(&cli->args, FB_OPT_REASON);

	if (cli->dry_run)
		return FB_OK;
	if (removes)
		return fb_hold_remove(repo, run->session, err);
	return fb_hold_place(repo, run,
	    reason != NULL && reason[0] != '\0' ? reason : "none given", err);
}

static void
put_change(struct fb_cli *cli, const struct fb_run_ref *run, bool removes)
{
	json_t *item = json_object();

	fb_json_put_str(item, "run", run->run);
	(void)json_object_set_new(item, "held", json_boolean(!removes));
	(void)json_array_append_new(cli->data, item);
	if (!cli->quiet)
		fb_buf_add_fmt(&cli->text, "run %s %s %s\n", run->run,
		    cli->dry_run ? "would be" : "is",
		    removes ? "held no more" : "held");
}

/* Without arguments: what is held. */
static int
list_holds(struct fb_cli *cli, struct fb_repo *repo, struct fb_error *err)
{
	static const struct fb_column columns[] = { { "RUN", false },
		{ "SINCE", false }, { "REASON", false } };
	FB_AUTO_TABLE struct fb_table table = { .columns = columns,
		.column_count = FB_COUNT(columns) };
	FB_AUTO_FATES struct fb_fates fates = { 0 };
	char time[FB_CLI_TEXT];
	int rc = fb_fates_load(repo, &fates, err);

	for (size_t i = 0; rc == FB_OK && i < fates.count; i++) {
		const struct fb_fate *fate = &fates.items[i];
		const char *run =
		    fate->run[0] != '\0' ? fate->run : fate->session;
		json_t *item;

		if (!fate->held)
			continue;
		item = json_object();
		fb_json_put_str(item, "run", run);
		(void)json_object_set_new(item, "held", json_true());
		fb_json_put_str(item, "since", fate->held_since);
		fb_json_put_str(item, "reason", fate->held_reason);
		(void)json_array_append_new(cli->data, item);
		fb_table_row(&table);
		fb_table_cell(&table, run, NULL);
		fb_table_cell(&table, fb_cli_time(cli, fate->held_since, time),
		    fate->held_since);
		fb_table_cell(&table, fate->held_reason, NULL);
	}
	if (table.row_count > 0)
		fb_cli_add_table(cli, &table);
	else if (rc == FB_OK && !cli->quiet)
		fb_buf_add_str(&cli->summary, "no run is held\n");
	return rc;
}

static int
hold_run(struct fb_cli *cli, struct fb_error *err)
{
	FB_AUTO_REPO struct fb_repo *repo = NULL;
	bool removes = fb_arguments_on(&cli->args, FB_OPT_REMOVE);
	int rc;

	if (removes && cli->args.count == 0) {
		(void)fb_fail_id(err, FB_ECONFIG, "E-OPT-HERE",
		    "which hold is to go must be said");
		return fb_hint(err, "fleetbak hold --remove RUN");
	}
	cli->data = json_array();
	rc = fb_cli_configure(cli, err);
	if (rc == FB_OK)
		rc = fb_engine_repo(&cli->engine, &repo, err);
	if (rc == FB_OK && cli->args.count == 0)
		return list_holds(cli, repo, err);
	for (size_t i = 0; rc == FB_OK && i < cli->args.count; i++) {
		struct fb_run_ref run;

		rc = fb_cli_run(
		    cli, repo, cli->args.items[i], false, &run, err);
		if (rc == FB_OK)
			rc = change(cli, repo, &run, removes, err);
		if (rc == FB_OK)
			put_change(cli, &run, removes);
	}
	return rc;
}

const struct fb_command fb_cmd_hold = {
	.name = "hold",
	.group = "Keep in order",
	.args = "[RUN | MACHINE@RUN ...]",
	.args_max = SIZE_MAX,
	.help = "keep runs whatever the rules say",
	.examples = "fleetbak hold\twhat is held\n"
		    "fleetbak hold latest --reason 'before the upgrade'\tkeep "
		    "it\n"
		    "fleetbak hold --remove 002a\tthe rules decide again\n",
	.about =
	    "A run that is held is neither forgotten nor pruned, whoever "
	    "asks, until the hold is removed.  A run that is to go already, "
	    "and not yet for good, is brought back.  The hold is in the "
	    "repository and counts for everybody.",
	.words = "latest",
	.reads_state = true,
	.run = hold_run,
};

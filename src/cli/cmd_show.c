#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/cli/show.h"
#include "fleetbak/cli/snapshots.h"

/* What the argument names. */
struct wish {
	char *machine; /* as typed, or NULL: a run */
	char run[FB_RUN_ID_SIZE]; /* "": the newest that has the machine */
};

struct found {
	struct fb_cli *cli;
	const char *machine; /* "source/id" */
	int (*show)(struct fb_cli *cli, struct fb_repo *repo,
	    const struct fb_manifest_machine *machine, struct fb_error *err);
	struct fb_repo *repo;
};

static int
read_wish(const char *arg, struct wish *wish, struct fb_error *err)
{
	const char *at = strrchr(arg, '@');
	const char *run = at != NULL ? at + 1 : arg;
	bool is_run = fb_run_id_ok(run, strlen(run));
	bool latest = strcmp(run, "latest") == 0;

	if (at != NULL && !is_run && !latest) {
		(void)fb_fail_id(err, FB_ECONFIG, "E-RUN-UNKNOWN",
		    "'%s' is not the id of a run", run);
		return fb_hint(err, "fleetbak list runs shows them");
	}
	if (at != NULL || (!is_run && !latest)) {
		wish->machine = fb_strdup(arg);
		if (at != NULL)
			wish->machine[at - arg] = '\0';
	}
	if (is_run)
		memcpy(wish->run, run, FB_RUN_ID_SIZE);
	return FB_OK;
}

static struct fb_run_row *
find_run(const struct fb_snapshots *all, const char *run)
{
	for (size_t i = 0; i < all->run_count; i++)
		if (run[0] == '\0' || strcmp(all->runs[i].ref.run, run) == 0)
			return &all->runs[i];
	return NULL;
}

static int
fail_run(const char *run, struct fb_error *err)
{
	if (run[0] == '\0') {
		(void)fb_fail_id(err, FB_ENOTFOUND, "E-RUN-UNKNOWN",
		    "there is no run yet");
		return fb_hint(err, "fleetbak download makes the first one");
	}
	(void)fb_fail_id(err, FB_ENOTFOUND, "E-RUN-UNKNOWN",
	    "the repository has no run '%s' of this fleet", run);
	return fb_hint(err, "fleetbak list runs shows them");
}

static void
show_row(struct fb_cli *cli, struct fb_table *table,
    const struct fb_snapshot *row)
{
	char text[FB_CLI_TEXT], exact[FB_CLI_TEXT];

	fb_table_row(table);
	fb_table_cell(table, row->machine, NULL);
	fb_table_cell(table, row->failed ? "FAIL" : "ok", NULL);
	(void)snprintf(
	    exact, sizeof(exact), "%llu", (unsigned long long)row->size);
	fb_table_cell(table,
	    row->failed ? "-" : fb_cli_size(cli, row->size, text), exact);
	fb_table_cell(
	    table, row->failed ? "-" : fb_level_name(row->level), NULL);
	fb_table_cell(table,
	    row->failed ? "-" : fb_cli_span(row->downtime_ms, text), NULL);
	fb_table_cell(table, row->failed ? row->failure->msg : "", NULL);
}

struct showing {
	struct fb_cli *cli;
	struct fb_table *table;
};

static int
visit_row(const struct fb_snapshot *row, void *arg, struct fb_error *err)
{
	struct showing *showing = arg;

	(void)err;
	show_row(showing->cli, showing->table, row);
	if (fb_cli_json(showing->cli))
		fb_cli_add_item(showing->cli, fb_snapshot_json(row));
	return FB_OK;
}

static int
show_run(struct fb_cli *cli, struct fb_repo *repo, struct fb_snapshots *all,
    struct fb_run_row *run, struct fb_error *err)
{
	static const struct fb_column columns[] = { { "MACHINE", false },
		{ "RESULT", false }, { "SIZE", true }, { "LEVEL", false },
		{ "DOWN", true }, { "NOTE", false } };
	FB_AUTO_TABLE struct fb_table table = { .columns = columns,
		.column_count = FB_COUNT(columns) };
	struct showing showing = { cli, &table };
	json_t *list = fb_cli_new_list(cli);
	char text[FB_CLI_TEXT];
	int rc = fb_snapshots_of_run(
	    cli, repo, all, run, visit_row, &showing, err);

	cli->data = json_object();
	fb_json_put_str(cli->data, "run", run->ref.run);
	fb_json_put_str(cli->data, "time", run->ref.time);
	fb_json_put_str(cli->data, "finished", run->finished);
	fb_json_put_str(cli->data, "signed_by", run->ref.signer);
	fb_run_put_fate(cli->data, run);
	(void)json_object_set_new(
	    cli->data, "partial", json_boolean(run->partial));
	(void)json_object_set_new(
	    cli->data, "drift", json_boolean(run->drift));
	(void)json_object_set_new(cli->data, "machines", list);
	if (rc < 0)
		return rc;
	if (run->problem != NULL) {
		*err = *run->problem;
		return err->code;
	}
	if (cli->output == FB_OUTPUT_TABLE)
		fb_buf_add_fmt(&cli->text,
		    "run %s of %s, signed by %s%s%s%s%s\n\n", run->ref.run,
		    fb_cli_time(cli, run->ref.time, text), run->ref.signer,
		    run->pending ? ", to be given up" : "",
		    run->held ? ", held" : "",
		    run->partial ? ", partial" : "",
		    run->drift ? ", the fleet changed meanwhile" : "");
	fb_cli_add_table(cli, &table);
	return FB_OK;
}

static int
visit(const struct fb_manifest_machine *machine, void *arg,
    struct fb_error *err)
{
	struct found *found = arg;
	FB_AUTO_FREE char *name = fb_snapshot_machine(machine);

	if (strcmp(name, found->machine) != 0)
		return FB_OK;
	return found->show(found->cli, found->repo, machine, err);
}

/* Which row is meant: of which machine, in which run. */
struct place {
	char *machine; /* NULL: none is */
	char run[FB_RUN_ID_SIZE];
};

static int
take_row(const struct fb_snapshot *row, void *arg, struct fb_error *err)
{
	struct place *place = arg;

	(void)err;
	if (!row->selected || place->machine != NULL)
		return FB_OK;
	place->machine = fb_strdup(row->machine);
	memcpy(place->run, row->run, sizeof(place->run));
	return FB_OK;
}

/* The newest row of the machine, of the run if one was named. */
static int
find_place(struct fb_cli *cli, struct fb_repo *repo, struct fb_snapshots *all,
    const struct wish *wish, struct place *place, struct fb_error *err)
{
	int rc = FB_OK;

	if (wish->run[0] != '\0')
		return fb_snapshots_of_run(cli, repo, all,
		    find_run(all, wish->run), take_row, place, err);
	for (size_t i = 0; rc == FB_OK && i < all->count; i++)
		if (!all->items[i].failed)
			rc = take_row(&all->items[i], place, err);
	return rc;
}

static int
show_machine(struct fb_cli *cli, struct fb_repo *repo,
    struct fb_snapshots *all, const struct wish *wish, struct fb_error *err)
{
	FB_AUTO_MANIFEST struct fb_manifest *manifest = NULL;
	const char *machines[] = { wish->machine };
	struct found found = { cli, NULL, NULL, repo };
	struct fb_error doubt = { 0 };
	struct place place = { 0 };
	FB_AUTO_FREE char *machine = NULL;
	int rc;

	rc = fb_snapshots_select(cli, all, machines, 1, err);
	if (rc == FB_OK)
		rc = find_place(cli, repo, all, wish, &place, err);
	machine = place.machine;
	if (rc < 0)
		return rc;
	if (machine == NULL) {
		(void)fb_fail_id(err, FB_ENOTFOUND, "E-SNAPSHOT-UNKNOWN",
		    "there is no good backup of '%s'%s%s", wish->machine,
		    wish->run[0] != '\0' ? " in run " : "", wish->run);
		return fb_hint(err, "fleetbak list shows what there is");
	}
	found.machine = machine;
	found.show = fb_arguments_on(&cli->args, FB_OPT_FILES)
	    ? fb_cli_show_files
	    : fb_cli_show_machine;
	fb_json_put_str(cli->members, "run", place.run);
	fb_json_put_str(cli->members, "machine", machine);
	rc = fb_manifest_open(repo, &find_run(all, place.run)->ref, false,
	    &doubt, &manifest, err);
	if (rc < 0)
		return rc;
	if (cli->output == FB_OUTPUT_TABLE &&
	    !fb_arguments_on(&cli->args, FB_OPT_FILES))
		fb_buf_add_fmt(&cli->text, "%s  run %s\n", machine,
		    place.run);
	return fb_manifest_machines(manifest, visit, &found, err);
}

static int
show_wish(struct fb_cli *cli, const struct wish *wish, struct fb_error *err)
{
	FB_AUTO_SNAPSHOTS struct fb_snapshots all = { 0 };
	FB_AUTO_REPO struct fb_repo *repo = NULL;
	struct fb_run_row *run;
	int rc;

	rc = fb_cli_configure(cli, err);
	if (rc == FB_OK)
		rc = fb_engine_repo(&cli->engine, &repo, err);
	if (rc == FB_OK)
		rc = wish->machine != NULL
		    ? fb_snapshots_load_newest(cli, repo, &all, err)
		    : fb_snapshots_load_runs(cli, repo, &all, err);
	if (rc < 0)
		return rc;
	run = find_run(&all, wish->run);
	if (run == NULL)
		return fail_run(wish->run, err);
	if (wish->machine != NULL)
		return show_machine(cli, repo, &all, wish, err);
	return show_run(cli, repo, &all, run, err);
}

static int
show_main(struct fb_cli *cli, struct fb_error *err)
{
	bool files = fb_arguments_on(&cli->args, FB_OPT_FILES);
	struct wish wish = { 0 };
	int rc;

	if (cli->args.count == 0 || (cli->args.count > 1 && !files)) {
		(void)fb_fail_id(err, FB_ECONFIG, "E-CMD-ARGS",
		    "'show' needs one run or machine");
		return fb_hint(err, "fleetbak show %s", fb_cmd_show.args);
	}
	rc = read_wish(cli->args.items[0], &wish, err);
	if (rc == FB_OK && files && wish.machine == NULL) {
		(void)fb_fail_id(err, FB_ECONFIG, "E-OPT-HERE",
		    "--files needs a machine");
		rc = fb_hint(err, "fleetbak show MACHINE --files");
	}
	if (rc == FB_OK)
		rc = show_wish(cli, &wish, err);
	free(wish.machine);
	return rc;
}

const struct fb_command fb_cmd_show = {
	.name = "show",
	.group = "Every day",
	.args = "RUN | latest | MACHINE[@RUN] [--files [GLOB]]",
	.args_max = 2,
	.help = "one run or one backup in full",
	.examples = "fleetbak show latest\tthe newest run\n"
		    "fleetbak show web-01\tits newest backup\n"
		    "fleetbak show web-01 --files '*.conf'\tfiles in it\n",
	.about = "Shows a run with its machines, or the backup of a machine "
		 "with its volumes, as the signed manifest has them.  With "
		 "--files the files of its tree volumes are listed, from "
		 "their catalogues, without reading the volumes; a pattern "
		 "without a slash is matched against names, one with a slash "
		 "against whole paths.",
	.words = "latest",
	.reads_state = true,
	.run = show_main,
};

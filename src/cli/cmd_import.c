#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/cli/cli.h"
#include "fleetbak/cli/progress.h"
#include "fleetbak/engine/import.h"

static int
fail_usage(struct fb_error *err)
{
	(void)fb_fail_id(err, FB_ECONFIG, "E-OPT-VALUE",
	    "what is imported, and from where, must be said");
	return fb_hint(err, "fleetbak import canic DIR");
}

static uint64_t
total_size(const struct fb_import_report *report)
{
	uint64_t size = 0;

	for (size_t i = 0; i < report->dir.manifest->count; i++)
		size += report->sizes[i];
	return size;
}

static json_t *
canister_json(const struct fb_import_report *report, size_t i)
{
	const struct fb_canic_member *member = &report->dir.manifest->members[i];
	FB_AUTO_FREE char *machine =
	    fb_format("%s/%s", FB_CANIC_NAME, member->canister);
	json_t *item = json_object();

	fb_json_put_str(item, "machine", machine);
	fb_json_put_str(item, "role", member->role);
	fb_json_put_str(item, "parent", member->parent);
	fb_json_put_str(item, "snapshot", member->snapshot);
	fb_json_put_str(item, "module_hash", member->module_hash);
	fb_json_put_str(
	    item, "identity", member->fixed ? "fixed" : "relocatable");
	fb_json_put_str(
	    item, "checksum", fb_canic_checksum(&report->dir, member));
	fb_json_put_u64(item, "size", report->sizes[i]);
	return item;
}

/* What the directory holds, every byte of it verified. */
static void
put_backup(struct fb_cli *cli, const struct fb_import_report *report)
{
	const struct fb_canic_manifest *manifest = report->dir.manifest;
	json_t *list = fb_cli_new_list(cli);

	cli->data = json_object();
	fb_json_put_str(cli->data, "directory", report->dir.path);
	fb_json_put_str(cli->data, "backup", manifest->backup);
	fb_json_put_str(cli->data, "created", manifest->created);
	fb_json_put_str(cli->data, "tool", manifest->tool);
	fb_json_put_str(cli->data, "tool_version", manifest->tool_version);
	fb_json_put_str(cli->data, "environment", manifest->environment);
	fb_json_put_str(cli->data, "root", manifest->root);
	fb_json_put_u64(cli->data, "size", total_size(report));
	for (size_t i = 0; fb_cli_json(cli) && i < manifest->count; i++)
		fb_cli_add_item(cli, canister_json(report, i));
	(void)json_object_set_new(cli->data, "canisters", list);
}

static void
add_rows(struct fb_cli *cli, const struct fb_import_report *report)
{
	static const struct fb_column columns[] = { { "MACHINE", false },
		{ "ROLE", false }, { "SIZE", true }, { "SNAPSHOT", false } };
	FB_AUTO_TABLE struct fb_table table = { .columns = columns,
		.column_count = FB_COUNT(columns) };

	for (size_t i = 0; i < report->dir.manifest->count; i++) {
		const struct fb_canic_member *member =
		    &report->dir.manifest->members[i];
		FB_AUTO_FREE char *machine =
		    fb_format("%s/%s", FB_CANIC_NAME, member->canister);
		char text[FB_CLI_TEXT], exact[32];

		(void)snprintf(exact, sizeof(exact), "%llu",
		    (unsigned long long)report->sizes[i]);
		fb_table_row(&table);
		fb_table_cell(&table, machine, NULL);
		fb_table_cell(&table, member->role, NULL);
		fb_table_cell(
		    &table, fb_cli_size(cli, report->sizes[i], text), exact);
		fb_table_cell(&table, member->snapshot, NULL);
	}
	fb_cli_add_table(cli, &table);
}

static void
put_failures(struct fb_cli *cli, const struct fb_download_report *download)
{
	struct fb_tally tally = { 0 };
	enum fb_exit status;

	for (size_t i = 0; i < download->machine_count; i++) {
		const struct fb_download_machine *machine =
		    &download->machines[i];

		if (machine->result == FB_RESULT_OK) {
			fb_tally_good(&tally);
			continue;
		}
		if (machine->result != FB_RESULT_FAILED)
			continue;
		fb_tally_bad(&tally, machine->err->code);
		fb_cli_add_error(cli, machine->machine, machine->err);
		fb_buf_add_fmt(
		    &cli->summary, "FAILED   %s  ", machine->machine);
		fb_cli_add_failure(&cli->summary, machine->err);
	}
	status = fb_tally_exit(&tally);
	if (status != FB_EXIT_OK)
		fb_cli_status(cli, status);
}

static size_t
count_failed(const struct fb_download_report *download)
{
	size_t count = 0;

	for (size_t i = 0; i < download->machine_count; i++)
		count += download->machines[i].result == FB_RESULT_FAILED;
	return count;
}

/* The run that has it, or would. */
static void
put_run(struct fb_cli *cli, const struct fb_import_report *report)
{
	const struct fb_download_report *download = &report->download;
	bool already = report->already[0] != '\0';
	size_t failed = count_failed(download);
	const char *run = already ? report->already
	    : download->committed ? download->run
	                          : NULL;

	fb_json_put_str(cli->data, "run", run);
	(void)json_object_set_new(
	    cli->data, "already", json_boolean(already));
	if (already)
		fb_buf_add_fmt(&cli->summary,
		    "run %s has all of it already: nothing is imported\n",
		    run);
	else if (cli->dry_run)
		fb_buf_add_str(&cli->summary,
		    "it is whole and would be imported; nothing was "
		    "changed\n");
	else if (run != NULL && failed > 0)
		fb_buf_add_fmt(&cli->summary,
		    "run %s is partial: %zu canister%s not in it\n", run,
		    failed, failed == 1 ? " is" : "s are");
	else if (run != NULL)
		fb_buf_add_fmt(&cli->summary, "imported as run %s\n", run);
}

static void
put_answer(struct fb_cli *cli, const struct fb_import_report *report, int rc)
{
	const struct fb_canic_manifest *manifest = report->dir.manifest;
	char size[FB_CLI_TEXT];

	put_backup(cli, report);
	if (!fb_cli_json(cli) && !cli->quiet)
		add_rows(cli, report);
	fb_buf_add_fmt(&cli->summary,
	    "backup '%s' of %s %s, created %s: %zu canister%s, %s\n",
	    manifest->backup, manifest->tool, manifest->tool_version,
	    manifest->created, manifest->count,
	    manifest->count == 1 ? "" : "s",
	    fb_cli_size(cli, total_size(report), size));
	put_run(cli, report);
	if (rc == FB_OK)
		put_failures(cli, &report->download);
}

static int
import_canic(struct fb_cli *cli, const char *path, struct fb_error *err)
{
	FB_AUTO_PROGRESS struct fb_progress *progress = NULL;
	struct fb_import_report report = { 0 };
	int rc = fb_cli_configure(cli, err);

	if (rc < 0)
		return rc;
	if (cli->dry_run)
		(void)json_object_set_new(
		    cli->members, "dry_run", json_true());
	progress = fb_progress_begin(cli);
	cli->engine.observer = fb_progress_observer(progress);
	rc = fb_import_canic(&cli->engine, path, cli->dry_run, &report, err);
	fb_progress_end(FB_STEAL(progress));
	if (rc == FB_ECANCELED) {
		err->hint[0] = '\0'; /* a download's */
		(void)fb_hint(err, "the same command goes on with it");
	}
	/* All of it was verified, whatever came then. */
	if (rc == FB_OK || report.download.run[0] != '\0')
		put_answer(cli, &report, rc);
	fb_import_report_release(&report);
	return rc;
}

static int
import_run(struct fb_cli *cli, struct fb_error *err)
{
	FB_AUTO_FREE char *path = NULL;

	if (cli->args.count != 2 || strcmp(cli->args.items[0], "canic") != 0)
		return fail_usage(err);
	path = realpath(cli->args.items[1], NULL);
	if (path == NULL)
		return fb_fail_sys(
		    err, "cannot find '%s'", cli->args.items[1]);
	return import_canic(cli, path, err);
}

const struct fb_command fb_cmd_import = {
	.name = "import",
	.group = "Keep in order",
	.args = "canic DIR",
	.args_max = 2,
	.help = "take over a backup that another program made",
	.examples = "fleetbak import canic DIR -n\tis it whole, and what would "
		    "come of it\n"
		    "fleetbak import canic DIR\tmake a run of it\n"
		    "fleetbak restore canic/CANISTER --target OUT\tits files "
		    "again\n",
	.about =
	    "Verifies a backup directory of canic's, 0.35 or later, by canic's "
	    "own rules, and makes a signed run of it in the repository: each "
	    "canister is a machine of the source \"canic\", with its snapshot "
	    "as a tree and canic's documents as its definition.  list, show, "
	    "verify, copy and restore --target know it like any other.\n"
	    "\n"
	    "What is damaged or was not completed is refused, and nothing is "
	    "stored (exit 14).  What a run has already is not imported again.",
	.words = "canic",
	.cancels = true,
	.reads_state = true,
	.run = import_run,
};

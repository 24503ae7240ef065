#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/cli/progress.h"
#include "fleetbak/engine/download.h"
#include "fleetbak/format/maps.h"
#include "fleetbak/cli/restore.h"

static int
fail_use(struct fb_error *err, const char *what, const char *hint)
{
	(void)fb_fail_id(err, FB_ECONFIG, "E-OPT-HERE", "%s", what);
	return fb_hint(err, "%s", hint);
}

/* Exactly one place to restore to. */
static int
choose_kind(const struct fb_arguments *args,
    struct fb_restore_options *options, struct fb_error *err)
{
	bool in_place = fb_arguments_on(args, FB_OPT_IN_PLACE);

	options->new_id = fb_arguments_value(args, FB_OPT_AS);
	options->directory = fb_arguments_value(args, FB_OPT_TARGET);
	if (in_place + (options->new_id != NULL) +
		(options->directory != NULL) != 1)
		return fail_use(err, "where to restore to must be said, once",
		    "one of --in-place, --as NEW and --target DIR");
	if (in_place)
		options->kind = FB_RESTORE_TO_MACHINE;
	else if (options->new_id != NULL)
		options->kind = FB_RESTORE_TO_NEW;
	else
		options->kind = FB_RESTORE_TO_DIR;
	if (options->kind == FB_RESTORE_TO_NEW &&
	    (options->machine_count > 1 || options->all))
		return fail_use(err, "--as names one new machine",
		    "restore one machine at a time with --as");
	return FB_OK;
}

static int
read_start(const struct fb_arguments *args,
    struct fb_restore_options *options, struct fb_error *err)
{
	const struct fb_option_value *start = &args->options[FB_OPT_START];

	if (!start->set)
		return FB_OK;
	if (options->kind == FB_RESTORE_TO_DIR)
		return fail_use(err,
		    "--start and --no-start need a machine, not a directory",
		    "leave it out");
	options->start = start->on;
	options->no_start = !start->on;
	return FB_OK;
}

static bool
is_pattern(const char *word)
{
	size_t len = strlen(word);

	return strchr(word, '@') == NULL &&
	    (strpbrk(word, "*?[]=,&!") != NULL ||
	        (len > 0 && word[len - 1] == '+'));
}

/* Machines may be named as --select names them: then all the arguments are
 * one expression, which the caller keeps in `expr`. */
static void
take_patterns(struct fb_restore_options *options, char **expr)
{
	FB_AUTO_BUF struct fb_buf joined = { 0 };
	bool any = false;

	for (size_t i = 0; i < options->machine_count; i++)
		any = any || is_pattern(options->machines[i]);
	if (!any || options->selector_count > 0)
		return;
	for (size_t i = 0; i < options->machine_count; i++)
		fb_buf_add_fmt(&joined, "%s%s", i > 0 ? "," : "",
		    options->machines[i]);
	*expr = fb_strdup(fb_buf_str(&joined));
	options->selectors = (const char *const *)expr;
	options->selector_count = 1;
	options->machine_count = 0;
}

/* What the words say is before what a file says of the same; the list is the
 * caller's. */
static int
take_map_file(const struct fb_arguments *args, char ***from_file,
    const char ***ret_all, struct fb_restore_options *options,
    struct fb_error *err)
{
	const char *path = fb_arguments_value(args, FB_OPT_MAP_FILE);
	FB_AUTO_BUF struct fb_buf yaml = { 0 };
	const char **all;
	size_t count = 0;
	int rc = FB_OK;

	if (path == NULL)
		return FB_OK;
	rc = fb_io_read_file(path, FB_MAPS_MAX, &yaml, err);
	if (rc == FB_OK)
		rc = fb_maps_read(fb_buf_span(&yaml), path, from_file, err);
	if (rc < 0)
		return rc;
	while ((*from_file)[count] != NULL)
		count++;
	all = fb_alloc(options->map_count + count + 1, sizeof(*all));
	for (size_t i = 0; i < options->map_count; i++)
		all[i] = options->maps[i];
	for (size_t i = 0; i < count; i++)
		all[options->map_count + i] = (*from_file)[i];
	options->maps = all;
	options->map_count += count;
	*ret_all = all;
	return FB_OK;
}

static int
read_options(const struct fb_arguments *args, char **expr,
    struct fb_restore_options *options, struct fb_error *err)
{
	const struct fb_option_value *volumes = &args->options[FB_OPT_VOLUME];
	const struct fb_option_value *paths = &args->options[FB_OPT_PATH];
	const struct fb_option_value *select = &args->options[FB_OPT_SELECT];
	const struct fb_option_value *maps = &args->options[FB_OPT_MAP];
	int rc;

	*options = (struct fb_restore_options){
		.machines = args->items,
		.machine_count = args->count,
		.selectors = select->values,
		.selector_count = select->count,
		.run = fb_arguments_value(args, FB_OPT_RUN),
		.all = fb_arguments_on(args, FB_OPT_ALL),
		.volumes = volumes->values,
		.volume_count = volumes->count,
		.paths = paths->values,
		.path_count = paths->count,
		.untrusted = fb_arguments_on(args, FB_OPT_ALLOW_UNTRUSTED),
		.rollback = fb_arguments_on(args, FB_OPT_ALLOW_ROLLBACK),
		.maps = maps->values,
		.map_count = maps->count,
		.keep_mac = fb_arguments_on(args, FB_OPT_KEEP_MAC),
		.keep_uuid = fb_arguments_on(args, FB_OPT_KEEP_UUID),
		.resume = fb_arguments_value(args, FB_OPT_RESUME),
	};
	if (options->resume != NULL) {
		if (args->count > 0 || options->all)
			return fail_use(err,
			    "--resume goes on with what was chosen",
			    "give it without machines");
		return FB_OK;
	}
	take_patterns(options, expr);
	if (options->machine_count + options->selector_count == 0 &&
	    !options->all)
		return fail_use(err, "which machine must be said",
		    "name one, or give --run RUN --all");
	if (options->all && options->run == NULL)
		return fail_use(err, "--all needs to know of which run",
		    "--run RUN, or --run latest");
	if (options->all && args->count > 0)
		return fail_use(err, "--all and a machine contradict",
		    "give one of them");
	rc = choose_kind(args, options, err);
	if (rc == FB_OK && fb_arguments_on(args, FB_OPT_BACKUP_FIRST) &&
	    options->kind != FB_RESTORE_TO_MACHINE)
		return fail_use(err, "--backup-first goes with --in-place",
		    "nothing is written over: leave it out");
	return rc < 0 ? rc : read_start(args, options, err);
}

/* Each machine that would be written over is typed, or all of them by their
 * number; --yes answers. */
static int
confirm(struct fb_cli *cli, const struct fb_restore_report *report,
    struct fb_error *err)
{
	const char *only = NULL, *called = NULL;
	FB_AUTO_FREE char *label = NULL;
	FB_AUTO_FREE char *question = NULL;
	char time[FB_CLI_TEXT];

	if (report->kind != FB_RESTORE_TO_MACHINE)
		return FB_OK;
	if (!cli->engine.assume_yes && isatty(STDIN_FILENO))
		fb_cli_restore_show(cli, report);
	for (size_t i = 0; i < report->action_count; i++) {
		const char *machine = report->actions[i].machine;

		if (machine == NULL)
			continue;
		if (only != NULL && strcmp(only, machine) != 0) {
			question = fb_format("Restoring run %s over several "
			    "machines replaces what they hold now",
			    report->run);
			return fb_cli_confirm(cli, question, "all", err);
		}
		only = machine;
		called = report->actions[i].name;
	}
	if (only == NULL)
		return FB_OK;
	label = fb_cli_machine(only, called);
	question = fb_format("Restoring '%s' in place replaces what it holds "
	    "now by what it was at %s", label,
	    fb_cli_time(cli, report->run_time, time));
	return fb_cli_confirm(cli, question, called, err);
}

static int
carry_out(struct fb_cli *cli, struct fb_restore *restore,
    struct fb_restore_report *report, struct fb_error *err)
{
	FB_AUTO_PROGRESS struct fb_progress *progress =
	    fb_progress_begin(cli);
	int rc;

	cli->engine.observer = fb_progress_observer(progress);
	rc = fb_restore_run(restore, report, err);
	fb_progress_end(FB_STEAL(progress));
	fb_cli_restore_report(cli, report, rc);
	return rc;
}

/* All that is written over, as it is now: the way back. */
static int
back_up(struct fb_cli *cli, const struct fb_restore_report *report,
    char ret_run[FB_RUN_ID_SIZE], struct fb_error *err)
{
	FB_AUTO_PROGRESS struct fb_progress *progress = NULL;
	FB_AUTO_FREE const char **machines =
	    fb_alloc(report->action_count + 1, sizeof(*machines));
	struct fb_download_request request = { .machines = machines,
		.anew = true };
	struct fb_download_report download = { 0 };
	int rc;

	for (size_t i = 0; i < report->action_count; i++) {
		const char *machine = report->actions[i].machine;

		if (machine != NULL &&
		    (request.machine_count == 0 ||
		        strcmp(machines[request.machine_count - 1], machine) !=
		            0))
			machines[request.machine_count++] = machine;
	}
	progress = fb_progress_begin(cli);
	cli->engine.observer = fb_progress_observer(progress);
	rc = fb_download(&cli->engine, &request, &download, err);
	fb_progress_end(FB_STEAL(progress));
	for (size_t i = 0; rc == FB_OK && i < download.machine_count; i++)
		if (download.machines[i].result != FB_RESULT_OK)
			rc = fb_fail(err, FB_EREFUSED, "'%s' has no backup%s%s",
			    download.machines[i].machine,
			    download.machines[i].err != NULL ? ": " : "",
			    download.machines[i].err != NULL
			        ? download.machines[i].err->msg
			        : "");
	memcpy(ret_run, download.run, FB_RUN_ID_SIZE);
	fb_download_report_release(&download);
	if (rc >= 0)
		return FB_OK;
	(void)fb_wrap(err, "the backup before the restore");
	return fb_hint(err, "nothing was written over; leave --backup-first "
	                    "out to go without a way back");
}

/* In the words of who wants back. */
static void
tell_way_back(struct fb_cli *cli, const struct fb_restore_report *report,
    const char *run)
{
	const char *last = "";

	fb_json_put_str(cli->members, "before", run);
	for (size_t i = 0; i < report->action_count; i++) {
		const char *machine = report->actions[i].machine;

		if (machine == NULL || strcmp(machine, last) == 0)
			continue;
		last = machine;
		fb_buf_add_fmt(&cli->summary,
		    "undo: fleetbak restore %s@%s --in-place\n", machine,
		    run);
	}
}

static int
open_repo(struct fb_cli *cli, const struct fb_restore_options *options,
    struct fb_repo **ret_repo, struct fb_error *err)
{
	struct fb_error doubt;
	int rc;

	if (!options->untrusted)
		return fb_engine_repo(&cli->engine, ret_repo, err);
	rc = fb_engine_repo_doubting(&cli->engine, &doubt, ret_repo, err);
	if (rc == FB_OK && doubt.code < 0)
		fb_cli_warn(cli, NULL, &doubt);
	return rc;
}

static int
restore_run(struct fb_cli *cli, struct fb_error *err)
{
	FB_AUTO_FREE char *expr = NULL;
	FB_AUTO_MAPS char **mapped = NULL;
	FB_AUTO_FREE const char **maps = NULL;
	FB_AUTO_REPO struct fb_repo *repo = NULL;
	struct fb_restore_options options;
	struct fb_restore_report report = { 0 };
	struct fb_restore *restore = NULL;
	bool before = fb_arguments_on(&cli->args, FB_OPT_BACKUP_FIRST);
	char run[FB_RUN_ID_SIZE] = "";
	int rc;

	rc = read_options(&cli->args, &expr, &options, err);
	if (rc == FB_OK)
		rc = take_map_file(
		    &cli->args, &mapped, &maps, &options, err);
	if (rc == FB_OK)
		rc = fb_cli_configure(cli, err);
	if (rc == FB_OK)
		rc = open_repo(cli, &options, &repo, err);
	if (rc == FB_OK)
		rc = fb_restore_prepare(
		    &cli->engine, repo, &options, &restore, &report, err);
	if (rc == FB_OK) {
		fb_cli_restore_plan(cli, &report);
		if (!cli->dry_run)
			rc = confirm(cli, &report, err);
		if (rc == FB_OK && !cli->dry_run && before)
			rc = back_up(cli, &report, run, err);
		if (rc == FB_OK && !cli->dry_run) {
			rc = carry_out(cli, restore, &report, err);
			if (before)
				tell_way_back(cli, &report, run);
		}
	}
	fb_restore_free(restore);
	fb_restore_report_release(&report);
	return rc;
}

const struct fb_command fb_cmd_restore = {
	.name = "restore",
	.group = "Get back",
	.args = "MACHINE[@RUN] ... (--in-place | --as NEW | --target DIR)",
	.args_max = SIZE_MAX,
	.help = "get machines back",
	.examples =
	    "fleetbak restore web-01 --target /tmp/out\tas images and "
	    "directories\n"
	    "fleetbak restore web-01 --in-place -n\twhat it would change\n"
	    "fleetbak restore web-01 --as web-01-test\tas a new machine\n"
	    "fleetbak restore db --map source:a=b --as x\ton another host\n"
	    "fleetbak restore --run latest --all --in-place\tthe whole "
	    "fleet\n",
	.about =
	    "Restores machines from a signed run, the newest one that has "
	    "them unless @RUN or --run says another.  Where to must be said: "
	    "--in-place writes only the blocks that differ and mirrors trees; "
	    "--as NEW makes a new machine of the same source; --target DIR "
	    "writes DIR/MACHINE/VOLUME.img and DIR/MACHINE/VOLUME/ and needs "
	    "no driver.\n"
	    "\n"
	    "Every byte is checked against the signed manifest while it is "
	    "written.  What cannot be done is said before anything is "
	    "touched.  A restore that was cut off is continued with "
	    "--resume; until then its machine stays down.",
	.cancels = true,
	.reads_state = true,
	.run = restore_run,
};

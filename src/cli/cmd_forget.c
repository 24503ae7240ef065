#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/cli/download.h"
#include "fleetbak/cli/prune.h"
#include "fleetbak/engine/shard.h"

static int
undo(struct fb_cli *cli, const char *word, struct fb_error *err)
{
	FB_AUTO_REPO struct fb_repo *repo = NULL;
	struct fb_run_ref run;
	int rc;

	if (cli->args.count > 0) {
		(void)fb_fail_id(err, FB_ECONFIG, "E-OPT-HERE",
		    "--undo brings back one run, and forgets none");
		return fb_hint(err, "fleetbak forget --undo RUN");
	}
	rc = fb_engine_repo(&cli->engine, &repo, err);
	if (rc == FB_OK)
		rc = fb_cli_run(cli, repo, word, false, &run, err);
	if (rc == FB_OK && !cli->dry_run)
		rc = fb_forget_undo(repo, run.session, err);
	if (rc < 0)
		return rc;
	cli->data = json_object();
	fb_json_put_str(cli->data, "undone", run.run);
	if (!cli->quiet)
		fb_buf_add_fmt(&cli->text, "run %s %s\n", run.run,
		    cli->dry_run ? "would stay" : "stays");
	return FB_OK;
}

static int
carry_out(struct fb_cli *cli, struct fb_repo *repo,
    const struct fb_prune_request *request, struct fb_error *err)
{
	struct fb_prune_report report = { 0 };
	struct fb_prune_plan *plan = NULL;
	int rc = fb_prune_plan_make(&cli->engine, repo, request, &plan, err);

	if (rc < 0)
		return rc;
	rc = fb_cli_prune_plan(cli, plan, err);
	if (rc == FB_OK && !cli->dry_run) {
		rc = fb_cli_prune_confirm(cli, plan, err);
		if (rc == FB_OK)
			rc = fb_prune_carry_out(
			    &cli->engine, repo, request, plan, &report, err);
		fb_cli_prune_report(cli, &report);
		fb_prune_report_release(&report);
	}
	fb_prune_plan_free(plan);
	return rc;
}

static int
forget(struct fb_cli *cli, struct fb_error *err)
{
	FB_AUTO_REPO struct fb_repo *repo = NULL;
	size_t count = cli->args.count;
	FB_AUTO_FREE struct fb_run_ref *runs =
	    fb_alloc(count + 1, sizeof(*runs));
	FB_AUTO_FREE const char **ids = fb_alloc(count + 1, sizeof(*ids));
	struct fb_prune_request request = { .runs = ids, .run_count = count };
	int rc = fb_engine_repo(&cli->engine, &repo, err);

	for (size_t i = 0; rc == FB_OK && i < count; i++) {
		rc = fb_cli_run(
		    cli, repo, cli->args.items[i], true, &runs[i], err);
		ids[i] = runs[i].run;
	}
	return rc < 0 ? rc : carry_out(cli, repo, &request, err);
}

/* One that is not sealed: there is no way back, as it was never whole. */
static int
forget_shared(struct fb_cli *cli, const char *name, struct fb_error *err)
{
	FB_AUTO_REPO struct fb_repo *repo = NULL;
	uint32_t left = 0;
	int rc = fb_engine_repo(&cli->engine, &repo, err);

	if (rc == FB_OK && !cli->dry_run)
		rc = fb_shared_forget(&cli->engine, repo, name, &left, err);
	if (rc < 0)
		return rc;
	cli->data = json_object();
	fb_json_put_str(cli->data, "shared", name);
	if (!cli->quiet)
		fb_buf_add_fmt(&cli->text, "shared run %s %s given up\n", name,
		    cli->dry_run ? "would be" : "is");
	return left > 0 ? fb_cli_look_after(cli, name, err) : FB_OK;
}

static int
forget_run(struct fb_cli *cli, struct fb_error *err)
{
	const char *word = fb_arguments_value(&cli->args, FB_OPT_UNDO);
	const char *shared = fb_arguments_value(&cli->args, FB_OPT_RUN);
	int rc;

	if (shared != NULL && (word != NULL || cli->args.count > 0))
		return fb_fail_id(err, FB_ECONFIG, "E-OPT-HERE",
		    "--run gives up one shared run, and nothing else");
	if (word == NULL && shared == NULL && cli->args.count == 0) {
		(void)fb_fail_id(err, FB_ECONFIG, "E-OPT-HERE",
		    "which run is to go must be said");
		return fb_hint(err, "'fleetbak list runs' shows them");
	}
	rc = fb_cli_configure(cli, err);
	if (rc < 0)
		return rc;
	if (shared != NULL)
		return forget_shared(cli, shared, err);
	return word != NULL ? undo(cli, word, err) : forget(cli, err);
}

const struct fb_command fb_cmd_forget = {
	.name = "forget",
	.group = "Keep in order",
	.args = "RUN ... | --undo RUN | --run NAME",
	.args_max = SIZE_MAX,
	.help = "give up runs, or bring them back while that is possible",
	.examples =
	    "fleetbak forget 20261121-013206456-0000002a\tthis run is to go\n"
	    "fleetbak forget -n 002a\twhat that would free\n"
	    "fleetbak forget --undo 002a\tit stays after all\n",
	.about =
	    "The runs are to go: for retention.grace they are still there, "
	    "can be restored and can be brought back with --undo.  The first "
	    "prune after that gives them up for good and deletes what nobody "
	    "else needs.  A run is given up with all its machines, or not at "
	    "all.  Four of the last digits of its id are enough to name it.",
	.words = "latest",
	.cancels = true,
	.reads_state = true,
	.run = forget_run,
};

#include <stdint.h>

#include "fleetbak/cli/download.h"
#include "fleetbak/cli/progress.h"
#include "fleetbak/cli/unattended.h"

void
fb_cli_download_request(
    const struct fb_cli *cli, struct fb_download_request *request)
{
	const struct fb_arguments *args = &cli->args;

	*request = (struct fb_download_request){
		.machines = args->items,
		.machine_count = args->count,
		.selectors = args->options[FB_OPT_SELECT].values,
		.selector_count = args->options[FB_OPT_SELECT].count,
		.jobs = (unsigned)args->options[FB_OPT_JOBS].number,
		.plan = fb_arguments_value(args, FB_OPT_PLAN),
		.resume = fb_arguments_value(args, FB_OPT_RESUME),
		.full = fb_arguments_on(args, FB_OPT_FULL),
		.rollback = fb_arguments_on(args, FB_OPT_ALLOW_ROLLBACK),
	};
}

static int
check_request(const struct fb_download_request *request, struct fb_error *err)
{
	if (request->shared != NULL && request->plan != NULL) {
		(void)fb_fail_id(err, FB_ECONFIG, "E-OPT-HERE",
		    "option '--plan' is of a run of one worker");
		return fb_hint(err, "give it without --shard and --run");
	}
	if (request->resume == NULL)
		return FB_OK;
	if (request->plan != NULL || request->shared != NULL ||
	    request->machine_count > 0 || request->selector_count > 0) {
		(void)fb_fail_id(err, FB_ECONFIG, "E-OPT-HERE",
		    "option '--resume' goes on with what the run had chosen");
		return fb_hint(err,
		    "give it without machines, --select, --shard and --plan");
	}
	return FB_OK;
}

static int
download_run(struct fb_cli *cli, struct fb_error *err)
{
	FB_AUTO_PROGRESS struct fb_progress *progress = NULL;
	struct fb_download_request request;
	struct fb_download_report report = { 0 };
	int rc;

	if (cli->dry_run)
		return fb_cli_plan(cli, err);
	fb_cli_download_request(cli, &request);
	rc = fb_cli_shard(cli, &request, err);
	if (rc == FB_OK)
		rc = check_request(&request, err);
	if (rc == FB_OK)
		rc = fb_cli_configure(cli, err);
	if (rc < 0)
		return rc;
	progress = fb_progress_begin(cli);
	cli->engine.observer = fb_progress_observer(progress);
	rc = fb_download(&cli->engine, &request, &report, err);
	fb_progress_end(FB_STEAL(progress));
	fb_facts_download(cli, &report);
	fb_cli_download_report(cli, &report, rc);
	fb_download_report_release(&report);
	return rc;
}

const struct fb_command fb_cmd_download = {
	.name = "download",
	.group = "Every day",
	.args = "[MACHINE ...]",
	.args_max = SIZE_MAX,
	.help = "back up machines",
	.examples = "fleetbak download -n\twhat it would do\n"
	            "fleetbak download\tevery machine of every source\n"
	            "fleetbak download web-01 db-01\tthese two\n"
	            "fleetbak download -s 'env=prod,!web-09'\tselected ones\n"
	            "fleetbak download --shard 2/8 --run 4711\tone of eight "
	            "workers\n"
	            "fleetbak download -q\tfor cron: silent when good\n",
	.about =
	    "Discovers the machines, stops each one, takes snapshots of its "
	    "volumes, starts it again, and stores what is new in the "
	    "repository while it already runs.  At the end the run is signed "
	    "and committed.  One failing machine never stops the others.\n"
	    "\n"
	    "A run that was cut off, by a signal, a crash or the power, is "
	    "continued by the next download; machines that it left stopped "
	    "are started again in any case.\n"
	    "\n"
	    "Several workers share a run when each is given the same --run "
	    "NAME and another --shard: nothing else is between them but the "
	    "repository.  The last of them seals the run.  What a dead worker "
	    "leaves is started and finished by the next one that is given its "
	    "shard, or any/N.",
	.cancels = true,
	.unattended = true,
	.reads_state = true,
	.run = download_run,
};

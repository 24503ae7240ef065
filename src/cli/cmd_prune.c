#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/base/text.h"
#include "fleetbak/cli/prune.h"
#include "fleetbak/cli/unattended.h"

static int
read_percent(const char *text, unsigned *ret_percent, struct fb_error *err)
{
	size_t len = strlen(text);
	struct fb_error ignored = { 0 };
	uint64_t value = 0;

	if (len < 2 || text[len - 1] != '%' ||
	    fb_text_u64((struct fb_span){ (const uint8_t *)text, len - 1 },
	        100, &value, &ignored) < 0) {
		(void)fb_fail_id(err, FB_ECONFIG, "E-OPT-VALUE",
		    "option '--max-remove': '%s' is not a percentage", text);
		return fb_hint(err, "write --max-remove 20%%");
	}
	*ret_percent = (unsigned)value;
	return FB_OK;
}

static int
read_request(const struct fb_cli *cli, struct fb_prune_request *request,
    struct fb_error *err)
{
	const struct fb_arguments *args = &cli->args;
	const struct fb_option_value *fence =
	    &args->options[FB_OPT_FENCE_AFTER];
	const struct fb_option_value *dead = &args->options[FB_OPT_FENCE];
	const char *percent = fb_arguments_value(args, FB_OPT_MAX_REMOVE);

	*request = (struct fb_prune_request){
		.selectors = args->options[FB_OPT_SELECT].values,
		.selector_count = args->options[FB_OPT_SELECT].count,
		.max_remove_percent =
		    cli->config->retention.max_remove_percent,
		.force = fb_arguments_on(args, FB_OPT_FORCE),
		.waste = cli->dry_run,
		.waste_whatever = fb_arguments_on(args, FB_OPT_WASTE),
		.fence_after_ms =
		    fence->set ? fence->number : FB_FENCE_AFTER_MS,
		.fence = dead->values,
		.fence_count = dead->count,
	};
	for (size_t i = 0; i < dead->count; i++) {
		const char *id = dead->values[i];

		if (fb_run_id_ok(id, strlen(id)))
			continue;
		(void)fb_fail_id(err, FB_ECONFIG, "E-OPT-VALUE",
		    "option '--fence': '%s' is no session's id", id);
		return fb_hint(err, "fleetbak doctor, and the prune that "
		                    "waits, name the sessions");
	}
	return percent == NULL
	    ? FB_OK
	    : read_percent(percent, &request->max_remove_percent, err);
}

static int
carry_out(struct fb_cli *cli, struct fb_repo *repo,
    const struct fb_prune_request *request, const struct fb_prune_plan *plan,
    struct fb_error *err)
{
	struct fb_prune_report report = { 0 };
	int rc = FB_OK;

	if (plan->refusal.code < 0) {
		*err = plan->refusal;
		return err->code;
	}
	rc = fb_cli_prune_confirm(cli, plan, err);
	if (rc < 0)
		return rc;
	rc = fb_prune_carry_out(
	    &cli->engine, repo, request, plan, &report, err);
	fb_cli_prune_report(cli, &report);
	if (rc == FB_OK)
		fb_facts_prune(cli, plan, &report);
	fb_prune_report_release(&report);
	return rc;
}

static int
prune_run(struct fb_cli *cli, struct fb_error *err)
{
	FB_AUTO_REPO struct fb_repo *repo = NULL;
	struct fb_prune_request request;
	struct fb_prune_plan *plan = NULL;
	int rc = fb_cli_configure(cli, err);

	if (rc == FB_OK)
		rc = read_request(cli, &request, err);
	if (rc == FB_OK)
		rc = fb_engine_repo(&cli->engine, &repo, err);
	if (rc == FB_OK)
		rc = fb_prune_plan_make(
		    &cli->engine, repo, &request, &plan, err);
	if (rc < 0)
		return rc;
	rc = fb_cli_prune_plan(cli, plan, err);
	if (rc == FB_OK && !cli->dry_run)
		rc = carry_out(cli, repo, &request, plan, err);
	else if (rc == FB_OK && plan->refusal.code < 0)
		fb_cli_warn(cli, NULL, &plan->refusal);
	fb_prune_plan_free(plan);
	return rc;
}

const struct fb_command fb_cmd_prune = {
	.name = "prune",
	.group = "Keep in order",
	.args = "",
	.help = "give up old backups, delete what nobody needs any more",
	.examples = "fleetbak prune -n\twhat would go, and why\n"
		    "fleetbak prune --explain -n\tevery snapshot, with the "
		    "rules that keep it\n"
		    "fleetbak prune -y\tfor a timer\n",
	.about =
	    "Gives up the runs in which retention.keep keeps no machine's "
	    "snapshot.  For retention.grace they can be brought back with "
	    "fleetbak forget --undo; the first prune after that gives them "
	    "up for good.  What no run needs is deleted then: whole packs "
	    "and recipes, never a part of one.\n"
	    "\n"
	    "Backups and restores may go on meanwhile.  A session that was "
	    "open before may still need what is to be deleted: then the rest "
	    "is left to the next prune, and the exit status is 11.  A session "
	    "that gave no sign of life for --fence-after is fenced off.",
	.cancels = true,
	.unattended = true,
	.reads_state = true,
	.run = prune_run,
};

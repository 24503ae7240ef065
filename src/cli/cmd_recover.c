#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/cli/cli.h"
#include "fleetbak/engine/recover.h"

/* Between two looks of a guardian that cannot act yet. */
#define GUARDIAN_LOOK_MIN_MS 10
#define GUARDIAN_LOOK_MAX_MS 500

struct outcome {
	const char *name, *text;
	bool good;
};

static const struct outcome outcomes[] = {
	[FB_RECOVERY_STARTED] = { "started", "started again", true },
	[FB_RECOVERY_SEEN_UP] = { "seen-up", "is up already", true },
	[FB_RECOVERY_FAILED] = { "failed", "could not be started", false },
	[FB_RECOVERY_UNKNOWN] = { "unknown",
	    "its state is unknown: not touched", false },
	[FB_RECOVERY_TOO_OLD] = { "too-old",
	    "stopped very long ago: not touched without --force", false },
	[FB_RECOVERY_SUSPENDED] = { "suspended",
	    "half restored: kept down", true },
	[FB_RECOVERY_GONE] = { "gone", "is gone from its source", true },
	[FB_RECOVERY_RELIEVED] = { "relieved",
	    "a snapshot that could have harmed it is undone", true },
	[FB_RECOVERY_BURDENED] = { "burdened",
	    "a snapshot that may harm it could not be undone", false },
};

static enum fb_code
code_of(const struct fb_recover_item *item)
{
	if (item->err.code < 0)
		return item->err.code;
	return item->outcome == FB_RECOVERY_TOO_OLD ? FB_EREFUSED : FB_EFAILED;
}

static void
put_item(struct fb_cli *cli, const struct fb_recover_item *item, bool tried,
    struct fb_tally *tally)
{
	const struct outcome *outcome = &outcomes[item->outcome];
	json_t *row = json_object();

	fb_json_put_str(row, "machine", item->machine);
	fb_json_put_str(row, "run", item->run);
	fb_json_put_str(row, "outcome",
	    tried || item->outcome == FB_RECOVERY_SUSPENDED ? outcome->name
							    : "owed");
	fb_buf_add_fmt(&cli->text, "%s  %s  (run %s)\n", item->machine,
	    tried || item->outcome == FB_RECOVERY_SUSPENDED
	        ? outcome->text
	        : "was up and is to be started again",
	    item->run);
	if (item->err.code < 0) {
		fb_buf_add_str(&cli->text, "  ");
		fb_cli_add_failure(&cli->text, &item->err);
		(void)json_object_set_new(
		    row, "error", fb_cli_error_json(NULL, &item->err));
		fb_cli_add_error(cli, item->machine, &item->err);
	}
	(void)json_array_append_new(cli->data, row);
	if (!tried)
		return;
	if (outcome->good)
		fb_tally_good(tally);
	else
		fb_tally_bad(tally, code_of(item));
}

static void
put_report(struct fb_cli *cli, const struct fb_recover_report *report,
    bool tried)
{
	struct fb_tally tally = { 0 };

	for (size_t i = 0; i < report->count; i++)
		put_item(cli, &report->items[i], tried, &tally);
	if (report->count == 0 && !cli->quiet)
		fb_buf_add_str(&cli->text, "nothing is owed\n");
	if (fb_tally_exit(&tally) != FB_EXIT_OK)
		fb_cli_status(cli, fb_tally_exit(&tally));
	else if (cli->quiet)
		fb_cli_clear_text(cli);
}

/* Where there is no state directory nothing is owed, and none is made: a
 * guardian may outlive the directory it was to look after. */
static int
meet_obligations(struct fb_cli *cli, struct fb_recover_report *report,
    struct fb_error *err)
{
	struct fb_recover_request request = {
		.force = fb_arguments_on(&cli->args, FB_OPT_FORCE),
	};
	int lock, children, rc;

	lock = fb_state_lock(&cli->engine, "recover", err);
	if (lock == FB_ENOTFOUND) {
		*err = (struct fb_error){ 0 };
		return FB_OK;
	}
	if (lock < 0)
		return lock;
	children = fb_state_children(&cli->engine, err);
	if (children < 0) {
		(void)close(lock);
		return children;
	}
	rc = fb_recover(&cli->engine, &request, children, report, err);
	if (rc == FB_OK)
		rc = fb_recover_relieve(&cli->engine, children, report, err);
	if (rc == FB_OK)
		rc = fb_recover_clear(&cli->engine, NULL, err);
	(void)close(children);
	(void)close(lock);
	return rc;
}

/* Soon at first: who holds the lock may be at its end, and somebody may wait
 * for the guardian; an eighth of what it has waited is late by no more. */
static void
look_later(int64_t began_ns)
{
	int64_t pause = (fb_clock_mono_ns() - began_ns) / 8000000;

	if (pause < GUARDIAN_LOOK_MIN_MS)
		pause = GUARDIAN_LOOK_MIN_MS;
	if (pause > GUARDIAN_LOOK_MAX_MS)
		pause = GUARDIAN_LOOK_MAX_MS;
	(void)poll(NULL, 0, (int)pause);
}

/* A command that the dead run started may still be at work; what it does must
 * be known before anything is started, however long it takes.  Whoever holds
 * the lock meanwhile may do this work, or is told what lives. */
static int
stand_guard(struct fb_cli *cli, struct fb_recover_report *report,
    struct fb_error *err)
{
	int64_t began = fb_clock_mono_ns();
	int rc;

	cli->engine.lock_wait_ms = 0;
	while ((rc = meet_obligations(cli, report, err)) == FB_EBUSY)
		look_later(began);
	return rc;
}

static int
recover_run(struct fb_cli *cli, struct fb_error *err)
{
	bool guards = fb_arguments_on(&cli->args, FB_OPT_GUARDIAN);
	struct fb_recover_report report = { 0 };
	int rc;

	rc = fb_cli_configure(cli, err);
	if (rc < 0)
		return rc;
	cli->data = json_array();
	if (guards) { /* the terminal of the run that died is not ours */
		(void)signal(SIGHUP, SIG_IGN);
		(void)signal(SIGINT, SIG_IGN);
		cli->quiet = true;
	}
	if (cli->dry_run)
		rc = fb_recover_list(&cli->engine, &report, err);
	else if (guards)
		rc = stand_guard(cli, &report, err);
	else
		rc = meet_obligations(cli, &report, err);
	if (rc == FB_OK)
		put_report(cli, &report, !cli->dry_run);
	fb_recover_report_release(&report);
	return rc;
}

const struct fb_command fb_cmd_recover = {
	.name = "recover",
	.group = "Get back",
	.args = "",
	.help = "start again what a dead run left stopped",
	.examples = "fleetbak recover -n\twhat is owed\n"
		    "fleetbak recover\tmeet it\n",
	.about =
	    "Before a machine is stopped, fleetbak writes down that it must "
	    "come up again.  Whatever ends the run, a guardian process, this "
	    "command, or the next download meets that obligation.  A machine "
	    "that was down is never started, one whose state is unknown is "
	    "not touched, and one that is half restored stays down until the "
	    "restore is finished.  What else a dead run has left at a machine "
	    "is undone where it may do harm.",
	.cancels = true, /* it says so, and meets what is owed first */
	.run = recover_run,
};

/*
 * Obligations: "this machine was up before we stopped it; it must come up
 * again", durable before the stop; met by the run, its guardian, `recover`,
 * or the next command that takes the lock.
 *
 * Journal records (any run's or restore's journal):
 *	obligation   {"at":time,"machine":"source/id"}
 *	suspended    {"machine":...}   in-place writing began: it stays down
 *	recovering   {"machine":...,"token":...}   recovery is about to start it
 *	discharged   {"how":"started|seen-up|gone|given-up","machine":...}
 *
 * The last of obligation, suspended and discharged holds for a machine.
 */
#ifndef FB_ENGINE_RECOVER_H
#define FB_ENGINE_RECOVER_H

#include "fleetbak/engine/engine.h"
#include "fleetbak/journal/journal.h"

/* Append the records; each is durable on return.  `machine` is "source/id". */
FB_MUST_USE int fb_obligation_begin(struct fb_journal *journal,
    const char *machine, struct fb_error *err);
FB_MUST_USE int fb_obligation_suspend(struct fb_journal *journal,
    const char *machine, struct fb_error *err);
FB_MUST_USE int fb_obligation_end(struct fb_journal *journal,
    const char *machine, const char *how, struct fb_error *err);

enum fb_recovery { FB_RECOVERY_STARTED, FB_RECOVERY_SEEN_UP,
	FB_RECOVERY_FAILED, FB_RECOVERY_UNKNOWN, FB_RECOVERY_TOO_OLD,
	FB_RECOVERY_SUSPENDED, FB_RECOVERY_GONE,
	/* Of a snapshot that a dead run has left: nothing of it can harm its
	 * machine any more; or that is not known. */
	FB_RECOVERY_RELIEVED, FB_RECOVERY_BURDENED };

struct fb_recover_item {
	char *machine; /* "source/id"; "-": the journal cannot be read, `err`
	                * says why, and what it owes is not known */
	char run[FB_RUN_ID_SIZE];
	enum fb_recovery outcome;
	struct fb_error err;
};
struct fb_recover_report {
	struct fb_recover_item *items;
	size_t count;
};

struct fb_recover_request {
	bool dry_run;  /* only list what is owed, like fb_recover_list() */
	bool force;    /* also obligations older than max_obligation_age; and
	                * give up those of sources not configured any more */
};

/*
 * Meet every open obligation of this state directory, whose lock the caller
 * holds; `children_fd`, from fb_state_children(), proves that no child of the
 * dead run lives and goes to children.  engine->cancel does not stop it.  A
 * machine that was down is never started, one whose state is unknown is not
 * touched.  FB_OK even when some could not be met: the report says so.
 */
FB_MUST_USE int fb_recover(const struct fb_engine *engine,
    const struct fb_recover_request *request, int children_fd,
    struct fb_recover_report *report, struct fb_error *err);
/* After it, with the lock still held, when no run follows that would go on with
 * them: undo what snapshots of dead runs may do to their machines, see
 * fb_driver_relieve(). */
FB_MUST_USE int fb_recover_relieve(const struct fb_engine *engine,
    int children_fd, struct fb_recover_report *report, struct fb_error *err);
/* After it, with the lock still held: remove what is kept of runs that have
 * ended and have nothing left to do.  Of a shard, whose last word is said in
 * the repository, only with `repo`, which may be NULL. */
FB_MUST_USE int fb_recover_clear(const struct fb_engine *engine,
    struct fb_repo *repo, struct fb_error *err);
/* "started", "seen-up", "failed", "unknown", "too-old", "suspended", "gone" */
const char *fb_recovery_name(enum fb_recovery recovery);
void fb_recover_report_release(struct fb_recover_report *report);

/* What is owed, read-only and without the lock, for status.  The outcome of
 * each is FB_RECOVERY_UNKNOWN, TOO_OLD or SUSPENDED. */
FB_MUST_USE int fb_recover_list(const struct fb_engine *engine,
    struct fb_recover_report *report, struct fb_error *err);

/*
 * The guardian: a small process that outlives us.  It holds the reading end
 * of a pipe; when we die without a word it runs
 * `<self> -c <config> recover --guardian`.  Start it before the first stop
 * and before any thread.  `argv` (ends with NULL) is what it executes.
 */
struct fb_guardian {
	int pipe_fd;
	int pid;
};
FB_MUST_USE int fb_guardian_start(const char *const *argv,
    struct fb_guardian *ret_guardian, struct fb_error *err);
/* All obligations are met: it may go.  Waits for it. */
void fb_guardian_dismiss(struct fb_guardian *guardian);
/* The run ends without having met all of them: it does what it is for. */
void fb_guardian_leave(struct fb_guardian *guardian);

#endif

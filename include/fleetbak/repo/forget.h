/*
 * Giving up a run: pending and undoable first, one-way afterwards.
 *
 *	fb_forget_begin     pending/<sid>.<n>        it is to be given up
 *	fb_forget_undo      pending/<sid>.<n>.end    ... after all not
 *	fb_forget_finish    pending/<sid>.<n>.end    ... for good, then
 *	                    forgets/<sid>            which is what counts
 *
 * The .end is made once, by whoever comes first: an undo that succeeded and
 * a run that is given up exclude each other.  Nothing of a run is deleted
 * before forgets/<sid> is there; how it is deleted then: repo/gc.h.
 * Spec: fleetbak-format(5), "Forgetting a run".
 */
#ifndef FB_REPO_FORGET_H
#define FB_REPO_FORGET_H

#include "fleetbak/format/pending.h"
#include "fleetbak/repo/repo.h"

/* What stands for or against a run.  No row: nothing does. */
struct fb_fate {
	char session[FB_RUN_ID_SIZE];
	char run[FB_RUN_ID_SIZE];
	bool pending;  /* a trusted record says so, and it is not undone */
	bool one_way;  /* ... and cannot be any more */
	uint64_t number;
	char since[32];
	char reason[FB_REASON_SIZE];
	bool held;
	char held_since[32];
	char held_reason[FB_REASON_SIZE];
};

struct fb_fates { /* sorted by session; forgotten runs are not in it */
	struct fb_fate *items;
	size_t count;
};

/* Read pending/ and holds/. */
FB_MUST_USE int fb_fates_load(
    struct fb_repo *repo, struct fb_fates *ret_fates, struct fb_error *err);
/* NULL: nothing stands for or against it. */
const struct fb_fate *fb_fates_find(
    const struct fb_fates *fates, const char *session);
void fb_fates_release(struct fb_fates *fates);
#define FB_AUTO_FATES FB_CLEANUP(fb_fates_release)

/*
 * The run is to be given up.  FB_OK too when it is pending already.
 * Errors: FB_EREFUSED, id E-HELD.
 */
FB_MUST_USE int fb_forget_begin(struct fb_repo *repo,
    const struct fb_run_ref *run, const struct fb_sign_key *key,
    const char *reason, struct fb_error *err);

/* It stays.  FB_OK too when it was undone before: who lost the answer asks
 * again.  Errors: FB_ENOTFOUND, id E-NOT-PENDING: it was never to go;
 * FB_EREFUSED, id E-FORGOTTEN: too late. */
FB_MUST_USE int fb_forget_undo(
    struct fb_repo *repo, const char *session, struct fb_error *err);

/* Given up for good.  *ret_done false: it was undone, or is held. */
FB_MUST_USE int fb_forget_finish(struct fb_repo *repo,
    const struct fb_run_ref *run, const struct fb_sign_key *key,
    bool *ret_done, struct fb_error *err);

/*
 * The run must not be given up; a pending forget is undone.  FB_OK too when
 * it is held already.  Errors: FB_EREFUSED, id E-FORGOTTEN: too late.
 */
FB_MUST_USE int fb_hold_place(struct fb_repo *repo,
    const struct fb_run_ref *run, const char *reason, struct fb_error *err);
/* Errors: FB_ENOTFOUND, id E-NOT-HELD. */
FB_MUST_USE int fb_hold_remove(
    struct fb_repo *repo, const char *session, struct fb_error *err);

#endif

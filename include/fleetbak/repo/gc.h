/*
 * Deleting what no run needs any more: whole packs and recipes, and the
 * records of runs that were given up (repo/forget.h).
 *
 * Many may collect at once, beside writers and readers, and each may die at
 * any moment or wake up late: the next one goes on from gc/current.  No
 * clock decides what is deleted; one decides only how long a session that
 * gives no more signs of life is waited for.  The steps G1 to G9 are those of
 * tests/model/gc_model.c.  Spec: fleetbak-format(5), "Deletion".
 */
#ifndef FB_REPO_GC_H
#define FB_REPO_GC_H

#include <stdatomic.h>

#include "fleetbak/format/pack.h"
#include "fleetbak/repo/forget.h"
#include "fleetbak/store/store.h"

struct fb_gc_usage {
	uint64_t packs, recipes, bytes;
};

/* What nobody needs and cannot be deleted yet, because it is locked in its
 * place: it stays as it is, and a later prune deletes it. */
#define FB_GC_LOCKED_MAX 64
struct fb_gc_locked {
	char key[FB_OBJECT_KEY_SIZE];
	uint64_t size;
	int64_t until_ns; /* INT64_MAX: no end is known */
};
struct fb_gc_locks {
	uint64_t objects, bytes;
	int64_t first_ns, last_ns; /* when the first, and the last, can go */
	struct fb_gc_locked items[FB_GC_LOCKED_MAX]; /* some of them */
	size_t item_count;
};

/* A session that is waited for. */
struct fb_gc_session {
	char id[FB_RUN_ID_SIZE];
	struct fb_session_doc doc;
	uint64_t age_ms; /* by our clock */
};

struct fb_gc_request {
	uint64_t fence_after_ms; /* a session as old as this is fenced */
	const char *const *fence; /* and these, however young; known dead */
	size_t fence_count;
	const atomic_bool *cancel; /* may be NULL */
	const char *dir; /* for what does not fit into memory; may be NULL */
	size_t set_max;  /* ids that go at a time; 0: what a set holds */
};

struct fb_gc_report {
	struct fb_gc_usage removed; /* by this call */
	uint64_t runs;     /* whose records were removed */
	uint64_t fenced;   /* sessions */
	uint64_t spared;   /* objects of a sealed set that a run needs */
	uint64_t tidied;   /* small objects that nobody needs any more */
	struct fb_gc_locks locks;
	uint64_t uploads;  /* that were begun in parts and never ended */
	struct fb_gc_session *waiting; /* sessions that are still open */
	size_t waiting_count;
};
void fb_gc_report_release(struct fb_gc_report *report);

/*
 * What is in the repository, and what would go: `class_of` says of a run that
 * is not forgotten whether it is kept, is to go later, or is to go now.  With
 * `waste` every recipe of the kept runs is wanted; from far away only those
 * are got that are not in `dir` from the last time, if they are few, or
 * `waste_whatever` they cost.  `dir`: as in the request.
 */
enum fb_gc_class { FB_GC_KEPT, FB_GC_LATER, FB_GC_NOW };
typedef enum fb_gc_class fb_gc_class_of(
    const struct fb_run_ref *run, void *arg);
struct fb_gc_question {
	fb_gc_class_of *class_of;
	void *arg;
	bool waste, waste_whatever;
	const char *dir;
	uint64_t min_storage_ms; /* 0: nothing is paid for being deleted early */
	uint64_t grace_ms;       /* after which `later` goes */
};

/* What is deleted earlier than the store's class of storage allows.  An object
 * is as old as the first run that names it; one that none does is new. */
struct fb_gc_early {
	uint64_t objects, bytes;
	uint64_t kib_minutes; /* that are paid for all the same */
};

struct fb_gc_estimate {
	struct fb_gc_usage all, now, later; /* later: in addition to now */
	struct fb_gc_early early_now, early_later;
	struct fb_store_usage requests; /* of collecting, about */
	struct fb_gc_locks locks; /* of what is in `now` */
	bool weighed;    /* with `waste`, when every recipe could be read: */
	uint64_t waste;  /* bytes in packs of kept runs that none needs */
	uint64_t unread; /* not weighed, because so many would have to be */
};
FB_MUST_USE int fb_gc_estimate(struct fb_repo *repo,
    const struct fb_gc_question *question, struct fb_gc_estimate *ret_estimate,
    struct fb_error *err);

/*
 * Finish a collection that is under way, then make one, or as many as it
 * takes.  FB_OK when all that nothing names is deleted, or is locked and stays
 * (report->locks).
 * Errors: FB_EBUSY, id E-SESSIONS-OPEN: a session that may need what is
 * condemned is still open (report->waiting); the next call goes on.  The same,
 * id E-GC-LOCKED: what is being deleted was locked meanwhile.
 * FB_ECORRUPT, id E-GC-DAMAGE: what a run needs cannot be read, so nothing is
 * deleted.
 */
FB_MUST_USE int fb_gc_collect(struct fb_repo *repo,
    const struct fb_gc_request *request, struct fb_gc_report *report,
    struct fb_error *err);

/* Sessions that have neither a register nor an end.  Owner: free() them. */
FB_MUST_USE int fb_gc_open_sessions(struct fb_repo *repo,
    struct fb_gc_session **ret_sessions, size_t *ret_count,
    struct fb_error *err);

/* gc/current, what is being deleted; no such object is idle, with the tag
 * "". */
FB_MUST_USE int fb_gc_read_current(struct fb_repo *repo,
    struct fb_gc_doc *ret_doc, char tag[FB_STORE_TAG_SIZE],
    struct fb_error *err);

/*
 * One collection, step by step, as fb_gc_collect() makes it: for tests that
 * let others work in between.
 */
struct fb_gc;
struct fb_gc *fb_gc_new(struct fb_repo *repo,
    const struct fb_gc_request *request, struct fb_gc_report *report);
/* *ret_done: this collection is over, or there is nothing to collect. */
FB_MUST_USE int fb_gc_step(
    struct fb_gc *gc, bool *ret_done, struct fb_error *err);
void fb_gc_free(struct fb_gc *gc);

#endif

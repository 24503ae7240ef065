/*
 * Copying committed runs into another store, byte for byte: the copy is the
 * same repository in another place, with the same signatures.
 *
 * Packs and recipes have the names they had, so that only what is missing is
 * copied, and what was cut off goes on.  The order is that of a run: packs,
 * recipes, keys, the run's files, and its register last.  Names are not
 * unique to the session here, so a copy does not rely on what the other
 * store's collector has condemned, and says so (FB_EBUSY) instead.
 * Spec: fleetbak-format(5), "Copies".
 */
#ifndef FB_REPO_CLONE_H
#define FB_REPO_CLONE_H

#include <stdatomic.h>

#include "fleetbak/repo/gc.h"

struct fb_clone;
struct fb_rate;

/* What of a run was in the other store before, or came there otherwise: the
 * run relies on it, and this copy has not put it there. */
struct fb_clone_found {
	struct fb_id_list packs, recipes;
	char **keys; /* of the run's own objects */
	size_t key_count;
};
typedef int fb_clone_use(
    void *arg, const struct fb_clone_found *found, struct fb_error *err);

/*
 * Make `to` the repository that `from` is: format and its signature,
 * RESTORE.txt, restore.sh.  Idempotent; what a crash left out is completed.
 * Errors: FB_EREFUSED, ids E-COPY-OTHER (it is another repository) and
 * E-REPO-FOREIGN (it holds something else).
 */
FB_MUST_USE int fb_clone_format(
    struct fb_repo *from, struct fb_store *to, struct fb_error *err);

struct fb_clone_spec {
	struct fb_repo *from, *to; /* to NULL: a dry run into what is not there
	                            * yet */
	const char *session;       /* announced in `to`; NULL with a dry run */
	const char *spool_dir;     /* of large packs; made if need be */
	struct fb_rate *read, *upload; /* may be NULL */
	const atomic_bool *cancel;     /* may be NULL */
	/* Called with the bytes copied so far of the run at hand, from any
	 * thread, one at a time; may be NULL. */
	void (*progress)(void *arg, uint64_t bytes);
	/* Called before each run is committed, and by a weigh that pretends,
	 * with what was found there and was not told before; a negative return
	 * ends it.  May be NULL. */
	fb_clone_use *use;
	void *arg;
};

/* Look what is in both.  The session has been announced before. */
FB_MUST_USE int fb_clone_open(const struct fb_clone_spec *spec,
    struct fb_clone **ret_clone, struct fb_error *err);
void fb_clone_close(struct fb_clone *clone);
void fb_clone_closep(struct fb_clone **clone);
#define FB_AUTO_CLONE FB_CLEANUP(fb_clone_closep)

enum fb_clone_state {
	FB_CLONE_ABSENT,    /* the run is not there */
	FB_CLONE_DAMAGED,   /* it is, and some of its objects are not */
	FB_CLONE_THERE,     /* all of it is */
	FB_CLONE_FORGOTTEN, /* it was given up there, for good */
};

/* What of a run of `from` is missing.  With `pretend` later runs are weighed
 * as if it had been copied. */
FB_MUST_USE int fb_clone_weigh(struct fb_clone *clone,
    const struct fb_run_ref *run, bool pretend, enum fb_clone_state *ret_state,
    struct fb_gc_usage *ret_missing, struct fb_error *err);

/*
 * Copy it.  Every object is checked against its digest on the way, the run
 * against its register and its signature.
 * Errors: FB_ECORRUPT, FB_EUNTRUSTED: it is damaged in `from`, or another
 * object has its name in `to`; FB_EBUSY, id E-COPY-CONDEMNED; FB_ECONFLICT,
 * id E-COPY-FENCED: a prune there did not wait for us.
 */
FB_MUST_USE int fb_clone_run(
    struct fb_clone *clone, const struct fb_run_ref *run, struct fb_error *err);

/* Copy the records of runs that `from` gave up and `to` never had, so that
 * nobody misses them there. */
FB_MUST_USE int fb_clone_forgets(struct fb_clone *clone, struct fb_error *err);

#endif

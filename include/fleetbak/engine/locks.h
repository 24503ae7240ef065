/*
 * Locks of what a run uses: what it writes is locked by the store; what it
 * uses again, of runs before it, is locked for longer before it is committed.
 * A look is a request for each object, and a longer lock is one more.
 */
#ifndef FB_ENGINE_LOCKS_H
#define FB_ENGINE_LOCKS_H

#include "fleetbak/engine/engine.h"

struct fb_lock_cost {
	bool wanted;       /* the repository has object_lock */
	uint64_t objects;  /* that are looked at */
	uint64_t renewed;  /* whose lock ends too soon: it is made longer */
	uint64_t bytes;    /* of those */
	bool estimated;    /* from some of them */
	int64_t wanted_ns; /* until then all has to be locked */
	int64_t until_ns;  /* and is, once it is made longer */
	uint64_t failed;   /* were not made longer, as ... */
	struct fb_error err;
};

/* Objects that a preview looks at; more are judged by these. */
#define FB_LOCK_SAMPLE 1000

/* What a download that finds nothing new would have to do, told by the newest
 * run of the fleet.  Reads only. */
FB_MUST_USE int fb_locks_preview(const struct fb_engine *engine,
    struct fb_repo *repo, struct fb_lock_cost *ret_cost, struct fb_error *err);

/* Objects whose locks are looked at. */
struct fb_lock_items {
	struct fb_id_list packs, recipes;
	char **keys; /* of others; one that is not there is no error */
	size_t key_count;
	bool common; /* and what every restore needs: the format, the texts for
	              * restoring without us, the wrapped keys */
};
void fb_lock_items_add(struct fb_lock_items *items, const char *key);
void fb_lock_items_release(struct fb_lock_items *items);

/* What fb_locks_renew() would have to do with these.  Reads only. */
FB_MUST_USE int fb_locks_weigh(const struct fb_engine *engine,
    struct fb_repo *repo, const struct fb_lock_items *items,
    struct fb_lock_cost *ret_cost, struct fb_error *err);

/*
 * Look at these and lock for longer what has to be.  What it will cost is told
 * the engine's observer before.  FB_OK also when some could not be: *ret_cost
 * says so.
 */
FB_MUST_USE int fb_locks_renew(const struct fb_engine *engine,
    struct fb_repo *repo, const struct fb_lock_items *items,
    struct fb_lock_cost *ret_cost, struct fb_error *err);

/* Nothing so far; and count one more. */
void fb_lock_cost_begin(
    const struct fb_engine *engine, struct fb_lock_cost *ret_cost);
void fb_lock_cost_add(
    struct fb_lock_cost *sum, const struct fb_lock_cost *cost);

#endif

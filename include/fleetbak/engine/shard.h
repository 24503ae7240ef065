/*
 * A run that several workers share, with nothing between them but the
 * repository.
 *
 * Each does the units that fall to its shard and commits them as a record of
 * its own; `seal` joins the records of all shards into the one signed run.
 * Spec: fleetbak-format(5), "Shared runs".
 */
#ifndef FB_ENGINE_SHARD_H
#define FB_ENGINE_SHARD_H

#include "fleetbak/engine/engine.h"

/* The name that workers share: letters, digits, '_', '-' and '.'. */
#define FB_SHARED_NAME_SIZE 65
#define FB_LEASE_MAX        999999
FB_MUST_USE int fb_shared_name_check(const char *name, struct fb_error *err);

/* Which of `shards` (1 to that) does the unit of this name. */
uint32_t fb_shard_of(const char *unit, uint32_t shards);

/* What has become of a shared run. */
struct fb_shared_status {
	char name[FB_SHARED_NAME_SIZE];
	char run[FB_RUN_ID_SIZE];
	char started[32];
	uint32_t shards;
	uint32_t committed; /* of them */
	uint32_t claimed;   /* ... and under way, or dead */
	bool sealed;
	uint32_t left; /* sessions that may have left something: told by
	                * fb_seal() and fb_shared_left() */
};

/*
 * Join the shards: idempotent.  FB_OK: it is sealed, now or before.
 * Errors: FB_EREFUSED, ids E-SHARDS-MISSING and E-SHARD-NOTHING; FB_ESTALE,
 * id E-SHARD-TOPOLOGY; FB_ECONFLICT, id E-FENCED: it was given up;
 * FB_ENOTFOUND, id E-SHARED-UNKNOWN.
 */
FB_MUST_USE int fb_seal(const struct fb_engine *engine, struct fb_repo *repo,
    const char *name, struct fb_shared_status *ret_status,
    struct fb_error *err);

/* Give a shared run up that is not sealed, at once and for good; workers that
 * are at it are fenced.  *ret_left: sessions that may have left something.
 * FB_EREFUSED, id E-SHARED-SEALED: too late. */
FB_MUST_USE int fb_shared_forget(const struct fb_engine *engine,
    struct fb_repo *repo, const char *name, uint32_t *ret_left,
    struct fb_error *err);

/*
 * What its workers have left of a run that is sealed or given up: machines are
 * started, snapshots removed, by what was told before the effects.  Waits for
 * those who live yet, and for others until they were silent for long enough,
 * unless `take_over` says that they are dead.  A machine that is not seen from
 * here is not gone, unless `count_gone` says so.  Takes the state directory's
 * lock.  *ret_left: those of whom something is left, which a state directory
 * remembers.  What fails at a machine is a warning.
 * Errors: FB_ECONFIG, id E-SHARD-SOURCE: of another configuration, or not seen;
 * those of fb_recover().
 */
FB_MUST_USE int fb_shared_look_after(const struct fb_engine *engine,
    const char *name, bool take_over, bool count_gone, uint32_t *ret_left,
    struct fb_error *err);

/* Those that are neither sealed nor given up. */
typedef int fb_shared_visit(
    const struct fb_shared_status *status, void *arg, struct fb_error *err);
FB_MUST_USE int fb_shared_list(const struct fb_engine *engine,
    struct fb_repo *repo, fb_shared_visit *visit, void *arg,
    struct fb_error *err);
/* Those that are, and of whose workers something is left to be done: name, run,
 * shards and `left`. */
FB_MUST_USE int fb_shared_left(const struct fb_engine *engine,
    struct fb_repo *repo, fb_shared_visit *visit, void *arg,
    struct fb_error *err);

#endif

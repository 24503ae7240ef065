/* What the parts of copying share.  Private to src/repo. */
#ifndef FB_REPO_CLONE_IMPL_H
#define FB_REPO_CLONE_IMPL_H

#include <pthread.h>

#include "fleetbak/format/pack.h"
#include "fleetbak/format/recipe.h"
#include "fleetbak/repo/clone.h"

#include "gc_impl.h"

struct clone_object {
	struct fb_digest id;
	uint64_t size;
	bool told; /* in `to`: put there by us, or passed on as found */
};

struct clone_list { /* sorted by id */
	struct clone_object *items;
	size_t count, cap;
};
struct clone_object *clone_find(
    const struct clone_list *list, const struct fb_digest *id);

struct fb_clone {
	struct fb_clone_spec spec;
	struct clone_list from_packs, from_recipes; /* that are there */
	struct clone_list to_packs, to_recipes;
	struct fb_gc_set condemned;             /* in `to`, when we looked */
	struct fb_run_ids committed, forgotten; /* sessions, in `to` */
	pthread_mutex_t lock;
	uint64_t done;           /* bytes of the run at hand */
	struct fb_run_ids keyed; /* sessions whose keys are in `to` now */
};

/* What a run needs that is not in `to`. */
struct clone_wanted {
	struct fb_digest id;
	uint64_t size;
	bool pack;
};
struct clone_want {
	struct fb_register reg;
	bool committed;
	struct clone_wanted *objects; /* packs first */
	size_t count;
	struct fb_gc_usage usage;
	struct fb_clone_found found; /* guarded by the clone's lock */
};
int clone_want_make(struct fb_clone *clone, const struct fb_run_ref *run,
    struct clone_want *want, struct fb_error *err);
void clone_want_release(struct clone_want *want);
/* Pass on what of it was there before. */
int clone_use_found(
    struct fb_clone *clone, struct clone_want *want, struct fb_error *err);
void clone_note_key(struct clone_want *want, const char *key);
/* All of it is there now, and committed. */
void clone_note_copied(struct fb_clone *clone, const struct clone_want *want);

/* Below runs/<run>/; the last is the signature, which the register makes. */
#define CLONE_RUN_FILES 4
extern const char *const clone_run_files[CLONE_RUN_FILES];

#endif

/*
 * Small objects that never change (registers, records of what is given up),
 * by the hundred.  From far away several are asked for at once, and what came
 * is remembered: which ones there are is asked anew each time, what they say
 * is not.
 *
 * Threads: any, each call by itself.
 */
#ifndef REPO_SMALLS_H
#define REPO_SMALLS_H

#include "fleetbak/store/store.h"

struct fb_smalls;
struct fb_smalls *fb_smalls_new(void);
void fb_smalls_free(struct fb_smalls *smalls);

/*
 * Visit the objects under `prefix`, in order, each with its first `max` bytes,
 * or all of it.  `rc` < 0, with its cause: it could not be read.  A negative
 * return of the visitor ends the listing.  `smalls` may be NULL.
 */
typedef int fb_smalls_visit(const char *key, uint64_t size,
    struct fb_span bytes, int rc, const struct fb_error *cause, void *arg,
    struct fb_error *err);
FB_MUST_USE int fb_smalls_list(struct fb_smalls *smalls, struct fb_store *store,
    const char *prefix, size_t max, fb_smalls_visit *visit, void *arg,
    struct fb_error *err);

/* For one decision that looks several times: until it lets go, what is there
 * is asked once, too.  One thread at a time. */
void fb_smalls_hold(struct fb_smalls *smalls, bool hold);

#endif

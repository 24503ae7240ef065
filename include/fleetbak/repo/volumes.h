/*
 * Several volumes at once, from a store that is far away: what they share is
 * fetched, opened and checked once, and put into every place it belongs.
 *
 * Volumes that are read at the same time go on side by side, the one that is
 * behind first, so that what clones share is met by all of them at about the
 * same time.  Memory is bounded, however many there are and however long.
 */
#ifndef FB_REPO_VOLUMES_H
#define FB_REPO_VOLUMES_H

#include "fleetbak/repo/volume.h"

struct fb_volumes;

/* `workers` threads open what comes (0: all processors).  Owner: borrows
 * `repo`, whose store is far away. */
struct fb_volumes *fb_volumes_new(struct fb_repo *repo, unsigned workers);
/* Nobody reads any more. */
void fb_volumes_free(struct fb_volumes *volumes);

/*
 * Where the bytes of one volume go.  `put` is called by any thread, also by
 * several at once, with data in any order and no byte twice; what is never put
 * are zeros.  `passed` is called by the thread that reads, now and then: all
 * before `offset` has been put.
 */
struct fb_volume_sink {
	int (*put)(void *arg, uint64_t offset, const void *bytes, size_t len,
	    struct fb_error *err);
	int (*passed)(void *arg, uint64_t offset, struct fb_error *err);
	void *arg;
};

/*
 * Read a volume from `offset` to `end`, and return when the last of its bytes
 * was put, or when something failed: the failure is this reader's alone, and
 * `sink` is not called any more.  `expected`: it is one of those that were.
 *
 * Owner: borrows all.  Threads: any, each with a reader of its own.
 * Errors: those of fb_volume_read(), and what `sink` returns.
 */
FB_MUST_USE int fb_volumes_read(struct fb_volumes *volumes,
    struct fb_volume_reader *reader, uint64_t offset, uint64_t end,
    bool expected, const atomic_bool *cancel, const struct fb_volume_sink *sink,
    struct fb_error *err);

/*
 * One more is going to read soon: until then, nothing begins while nothing is
 * under way, so that those who come together also go together.  It ends when
 * one that was expected reads, or by fb_volumes_forgo().  Threads: any.
 */
void fb_volumes_expect(struct fb_volumes *volumes);
void fb_volumes_forgo(struct fb_volumes *volumes);

#endif

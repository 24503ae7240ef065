/*
 * The leaves of one copy, spooled: what the volume is made of, in order.
 *
 * A record of FB_LEAF_LEN bytes each: length, pack (numbered in this run),
 * chunk, its place and length in the pack, id; all little-endian.
 */
#ifndef REPO_DATA_LEAVES_H
#define REPO_DATA_LEAVES_H

#include <stdbool.h>

#include "fleetbak/crypto/digest.h"

struct fb_error;

#define FB_LEAF_LEN  56
#define FB_LEAF_ZERO UINT32_MAX /* the pack of a leaf of zeros */

struct fb_leaf {
	uint64_t length;
	uint32_t pack, chunk;
	uint32_t pack_offset, stored_length;
	struct fb_digest id;
};

struct fb_leaves {
	int fd;
	char *path;
	uint64_t count; /* the ones in `pending` included */
	struct fb_buf pending;
	bool dirty; /* written, not synced */
};

/* Open for appending after the first `count`; the rest is cut off.  The name
 * of a new file is durable when its directory has been synced.
 * Errors: FB_ECORRUPT (E-SPOOL) when there are fewer. */
FB_MUST_USE int fb_leaves_open(struct fb_leaves *leaves, const char *path,
    uint64_t count, struct fb_error *err);
FB_MUST_USE int fb_leaves_add(struct fb_leaves *leaves,
    const struct fb_leaf *leaf, struct fb_error *err);
/* What is written after the last leaf: fb_leaves_sync() makes it last. */
FB_MUST_USE int fb_leaves_end(
    struct fb_leaves *leaves, struct fb_span trailer, struct fb_error *err);
FB_MUST_USE int fb_leaves_sync(struct fb_leaves *leaves, struct fb_error *err);
void fb_leaves_close(struct fb_leaves *leaves);

/* Visit the first `count` leaves of a file. */
typedef int fb_leaves_visit(
    const struct fb_leaf *leaf, void *arg, struct fb_error *err);
FB_MUST_USE int fb_leaves_read(const char *path, uint64_t count,
    fb_leaves_visit *visit, void *arg, struct fb_error *err);

#endif

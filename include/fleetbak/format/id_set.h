/*
 * A set of object ids in no order, each with a mark of its owner's.  For ids
 * that come unsorted, where a sorted list would move all it has for each.
 *
 * All-zero is an empty set.  Threads: one at a time.
 */
#ifndef FB_FORMAT_ID_SET_H
#define FB_FORMAT_ID_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fleetbak/crypto/digest.h"

struct fb_id_slot {
	struct fb_digest id;
	uint8_t used, mark;
};
struct fb_id_set {
	struct fb_id_slot *slots; /* `cap` of them; not all are used */
	size_t cap, count;
};

/* The id's slot, made if it is new (*ret_new); valid until the next call. */
struct fb_id_slot *fb_id_set_add(
    struct fb_id_set *set, const struct fb_digest *id, bool *ret_new);
/* NULL: it is not there. */
struct fb_id_slot *fb_id_set_find(
    const struct fb_id_set *set, const struct fb_digest *id);
/* Forget all ids, and keep the memory for as many. */
void fb_id_set_clear(struct fb_id_set *set);
void fb_id_set_release(struct fb_id_set *set);

#endif

/*
 * Where a chunk may already be: the first 8 bytes of its id, a pack's number
 * and the chunk's number in it.  A hint: a hit is confirmed against the
 * pack's table, and what does not fit any more is stored again.
 *
 * Threads: none; the owner locks.
 */
#ifndef REPO_DATA_INDEX_H
#define REPO_DATA_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fb_index_entry {
	uint64_t prefix;
	uint32_t pack; /* FB_INDEX_NONE: a free slot */
	uint32_t chunk;
};

#define FB_INDEX_NONE UINT32_MAX

/* 64 MiB; beyond that nothing is added, and duplicates are the price. */
#define FB_INDEX_SLOTS_MAX (1u << 22)
/* So many entries from the past, so that the present finds room. */
#define FB_INDEX_PAST_MAX (FB_INDEX_SLOTS_MAX / 8 * 5)

struct fb_index {
	struct fb_index_entry *slots;
	size_t size; /* a power of two, or 0 */
	size_t count;
};

/* NULL when there is none. */
const struct fb_index_entry *fb_index_find(
    const struct fb_index *index, uint64_t prefix);

/* An entry of that prefix stays, or with `replace` goes. */
void fb_index_add(
    struct fb_index *index, const struct fb_index_entry *entry, bool replace);

void fb_index_release(struct fb_index *index);

#endif

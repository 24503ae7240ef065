/*
 * Where a chunk may already be: the first 8 bytes of its id, a pack's number
 * and the chunk's number in it.  A hint: a hit is confirmed against the
 * pack's table, and what does not fit any more is stored again.
 *
 * This is the part in memory, which is bounded; when it is full, its owner
 * moves it into a file (segment.h) and goes on.
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

/* 32 MiB, and 1.8 million chunks. */
#define FB_INDEX_SLOTS_MAX (1u << 21)
#define FB_INDEX_SLOTS_MIN (1u << 6)

struct fb_index {
	/* In the order of their prefixes, but for those that stand beside
	 * the place where they belong. */
	struct fb_index_entry *slots;
	size_t size; /* a power of two, or 0 */
	size_t count;
	size_t slots_max; /* 0: FB_INDEX_SLOTS_MAX; a power of two */
};

/* NULL when there is none. */
const struct fb_index_entry *fb_index_find(
    const struct fb_index *index, uint64_t prefix);

/* An entry of that prefix stays, or with `replace` goes.  A full index takes
 * no more. */
void fb_index_add(
    struct fb_index *index, const struct fb_index_entry *entry, bool replace);

/* So many can be in it. */
size_t fb_index_room(const struct fb_index *index);
bool fb_index_full(const struct fb_index *index);

/* All entries, sorted; the caller frees. */
struct fb_index_entry *fb_index_sorted(const struct fb_index *index);

/* Without an entry, with its memory. */
void fb_index_clear(struct fb_index *index);
void fb_index_release(struct fb_index *index);

#endif

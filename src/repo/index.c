#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/mem.h"

#include "index.h"

#define FIRST_SIZE 4096

static size_t
slots_max(const struct fb_index *index)
{
	return index->slots_max > 0 ? index->slots_max : FB_INDEX_SLOTS_MAX;
}

/* Of so many slots these are used. */
static size_t
usable(size_t size)
{
	return size / 20 * 17;
}

static size_t
home_of(const struct fb_index *index, uint64_t prefix)
{
	unsigned bits = (unsigned)__builtin_ctzll(index->size);

	return (size_t)(prefix >> (64 - bits));
}

/* The slot that holds `prefix`, or the free one where it would go. */
static struct fb_index_entry *
find_slot(const struct fb_index *index, uint64_t prefix)
{
	size_t at = home_of(index, prefix);

	while (index->slots[at].pack != FB_INDEX_NONE &&
	    index->slots[at].prefix != prefix)
		at = (at + 1) & (index->size - 1);
	return &index->slots[at];
}

const struct fb_index_entry *
fb_index_find(const struct fb_index *index, uint64_t prefix)
{
	const struct fb_index_entry *slot;

	if (index->size == 0)
		return NULL;
	slot = find_slot(index, prefix);
	return slot->pack != FB_INDEX_NONE ? slot : NULL;
}

void
fb_index_clear(struct fb_index *index)
{
	index->count = 0;
	for (size_t i = 0; i < index->size; i++)
		index->slots[i].pack = FB_INDEX_NONE;
}

static void
grow(struct fb_index *index)
{
	struct fb_index old = *index;
	size_t first = slots_max(index) < FIRST_SIZE ? slots_max(index)
	                                             : FIRST_SIZE;

	index->size = old.size > 0 ? old.size * 2 : first;
	index->slots = fb_alloc(index->size, sizeof(*index->slots));
	fb_index_clear(index);
	for (size_t i = 0; i < old.size; i++)
		if (old.slots[i].pack != FB_INDEX_NONE)
			*find_slot(index, old.slots[i].prefix) = old.slots[i];
	index->count = old.count;
	free(old.slots);
}

void
fb_index_add(
    struct fb_index *index, const struct fb_index_entry *entry, bool replace)
{
	struct fb_index_entry *slot;

	if (index->count >= usable(index->size) &&
	    index->size < slots_max(index))
		grow(index);
	slot = find_slot(index, entry->prefix);
	if (slot->pack != FB_INDEX_NONE) {
		if (replace)
			*slot = *entry;
		return;
	}
	if (index->count >= usable(index->size))
		return;
	*slot = *entry;
	index->count++;
}

size_t
fb_index_room(const struct fb_index *index)
{
	return usable(slots_max(index));
}

bool
fb_index_full(const struct fb_index *index)
{
	return index->count >= fb_index_room(index);
}

/* Put it where it belongs; mostly that is the end. */
static void
insert(struct fb_index_entry *all, size_t count, struct fb_index_entry entry)
{
	for (; count > 0 && all[count - 1].prefix > entry.prefix; count--)
		all[count] = all[count - 1];
	all[count] = entry;
}

struct fb_index_entry *
fb_index_sorted(const struct fb_index *index)
{
	struct fb_index_entry *all = fb_alloc(index->count + 1, sizeof(*all));
	size_t wrapped = 0, count = 0;

	/* Up to the first free slot: they belong here, or at the end. */
	while (wrapped < index->size &&
	    index->slots[wrapped].pack != FB_INDEX_NONE)
		wrapped++;
	for (size_t i = 0; i < index->size; i++)
		if (index->slots[i].pack != FB_INDEX_NONE &&
		    (i >= wrapped ||
		        home_of(index, index->slots[i].prefix) <= i)) {
			insert(all, count, index->slots[i]);
			count++;
		}
	for (size_t i = 0; i < wrapped; i++)
		if (home_of(index, index->slots[i].prefix) > i) {
			insert(all, count, index->slots[i]);
			count++;
		}
	return all;
}

void
fb_index_release(struct fb_index *index)
{
	size_t max = index->slots_max;

	free(index->slots);
	*index = (struct fb_index){ .slots_max = max };
}

#include <stdlib.h>

#include "fleetbak/base/mem.h"

#include "index.h"

#define FIRST_SIZE 4096

/* The slot that holds `prefix`, or the free one where it would go. */
static struct fb_index_entry *
find_slot(const struct fb_index *index, uint64_t prefix)
{
	size_t at = (size_t)prefix & (index->size - 1);

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

static void
grow(struct fb_index *index)
{
	struct fb_index old = *index;

	index->size = old.size > 0 ? old.size * 2 : FIRST_SIZE;
	index->slots = fb_alloc(index->size, sizeof(*index->slots));
	for (size_t i = 0; i < index->size; i++)
		index->slots[i].pack = FB_INDEX_NONE;
	for (size_t i = 0; i < old.size; i++)
		if (old.slots[i].pack != FB_INDEX_NONE)
			*find_slot(index, old.slots[i].prefix) = old.slots[i];
	free(old.slots);
}

void
fb_index_add(
    struct fb_index *index, const struct fb_index_entry *entry, bool replace)
{
	struct fb_index_entry *slot;

	if (index->count >= index->size / 20 * 17 &&
	    index->size < FB_INDEX_SLOTS_MAX)
		grow(index);
	slot = find_slot(index, entry->prefix);
	if (slot->pack != FB_INDEX_NONE) {
		if (replace)
			*slot = *entry;
		return;
	}
	if (index->count >= index->size / 20 * 17)
		return;
	*slot = *entry;
	index->count++;
}

void
fb_index_release(struct fb_index *index)
{
	free(index->slots);
	*index = (struct fb_index){ 0 };
}

/* A set of ids: open addressing; ids are digests, so they hash themselves. */
#include "fleetbak/format/id_set.h"

#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/mem.h"

#define FIRST_CAP 1024

static struct fb_id_slot *
probe(const struct fb_id_set *set, const struct fb_digest *id)
{
	uint64_t hash;
	size_t at;

	memcpy(&hash, id->bytes, sizeof(hash));
	at = (size_t)hash & (set->cap - 1);
	while (set->slots[at].used &&
	    fb_digest_cmp(&set->slots[at].id, id) != 0)
		at = (at + 1) & (set->cap - 1);
	return &set->slots[at];
}

static void
grow(struct fb_id_set *set)
{
	struct fb_id_set larger = { .cap = set->cap ? 2 * set->cap : FIRST_CAP,
		.count = set->count };

	larger.slots = fb_alloc(larger.cap, sizeof(*larger.slots));
	for (size_t i = 0; i < set->cap; i++)
		if (set->slots[i].used)
			*probe(&larger, &set->slots[i].id) = set->slots[i];
	free(set->slots);
	*set = larger;
}

struct fb_id_slot *
fb_id_set_add(struct fb_id_set *set, const struct fb_digest *id, bool *ret_new)
{
	struct fb_id_slot *slot;

	if (4 * (set->count + 1) > 3 * set->cap)
		grow(set);
	slot = probe(set, id);
	*ret_new = !slot->used;
	if (*ret_new) {
		*slot = (struct fb_id_slot){ .id = *id, .used = 1 };
		set->count++;
	}
	return slot;
}

struct fb_id_slot *
fb_id_set_find(const struct fb_id_set *set, const struct fb_digest *id)
{
	struct fb_id_slot *slot = set->cap == 0 ? NULL : probe(set, id);

	return slot != NULL && slot->used ? slot : NULL;
}

void
fb_id_set_clear(struct fb_id_set *set)
{
	if (set->count > 0)
		memset(set->slots, 0, set->cap * sizeof(*set->slots));
	set->count = 0;
}

void
fb_id_set_release(struct fb_id_set *set)
{
	free(set->slots);
	memset(set, 0, sizeof(*set));
}

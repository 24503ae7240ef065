/* The packs that a packer knows: by number, and by id. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/mem.h"

#include "packer_impl.h"

struct fb_repo *
fb_packer_repo(struct fb_packer *packer)
{
	return packer->repo;
}

uint32_t
fb_packer_pack_count(const struct fb_packer *packer)
{
	return (uint32_t)packer->pack_count;
}

/* The slot of the map that has the pack, or the free one. */
static uint32_t *
find_slot(const struct fb_packer *packer, const struct fb_digest *id)
{
	size_t mask = packer->map_size - 1;
	size_t at = (size_t)fb_id_prefix(id) & mask;

	while (packer->map[at] != LOCAL_NONE &&
	    fb_digest_cmp(&packer->packs[packer->map[at]].id, id) != 0)
		at = (at + 1) & mask;
	return &packer->map[at];
}

static bool
has_id(const struct known_pack *pack)
{
	return pack->kind != PACK_OPEN && pack->kind != PACK_DROPPED;
}

static void
fill_map(struct fb_packer *packer)
{
	for (size_t i = 0; i < packer->map_size; i++)
		packer->map[i] = LOCAL_NONE;
	for (uint32_t i = 0; i < packer->pack_count; i++)
		if (has_id(&packer->packs[i]))
			*find_slot(packer, &packer->packs[i].id) = i;
}

void
fb_packer_map_pack(struct fb_packer *packer, uint32_t number)
{
	if (packer->pack_count * 2 > packer->map_size) {
		packer->map_size =
		    packer->map_size == 0 ? 256 : packer->map_size * 2;
		packer->map = fb_realloc(
		    packer->map, packer->map_size, sizeof(*packer->map));
		fill_map(packer);
	}
	*find_slot(packer, &packer->packs[number].id) = number;
}

uint32_t
fb_packer_new_pack(struct fb_packer *packer, const struct known_pack *pack)
{
	uint32_t number = (uint32_t)packer->pack_count;

	if (packer->pack_count == packer->pack_cap) {
		packer->pack_cap = packer->pack_cap * 3 / 2 + 64;
		packer->packs = fb_realloc(packer->packs, packer->pack_cap,
		    sizeof(*packer->packs));
	}
	packer->packs[packer->pack_count++] = *pack;
	if (has_id(pack))
		fb_packer_map_pack(packer, number);
	return number;
}

void
fb_packer_drop_packs(struct fb_packer *packer, uint32_t first)
{
	for (size_t i = first; i < packer->pack_count; i++)
		packer->packs[i].kind = PACK_DROPPED;
	fill_map(packer);
}

void
fb_packer_forget_packs(struct fb_packer *packer, uint32_t first)
{
	packer->pack_count = first;
	fill_map(packer);
}

static int
compare_ids(const void *a, const void *b)
{
	return fb_digest_cmp(a, b);
}

bool
fb_packer_is_condemned(
    const struct fb_packer *packer, const struct fb_digest *id)
{
	const struct fb_id_list *condemned = &packer->session->condemned;

	return condemned->count > 0 &&
	    bsearch(id, condemned->ids, condemned->count,
	        sizeof(struct fb_digest), compare_ids) != NULL;
}

int64_t
fb_packer_past_pack(
    struct fb_packer *packer, const struct fb_hint_pack *pack)
{
	struct known_pack known = { .id = pack->id,
		.table_digest = pack->table_digest,
		.table_offset = pack->table_offset,
		.table_length = pack->table_length,
		.local = LOCAL_NONE,
		.kind = PACK_PAST };

	if (fb_packer_is_condemned(packer, &pack->id))
		return -1;
	if (packer->map_size > 0) {
		uint32_t number = *find_slot(packer, &pack->id);

		if (number != LOCAL_NONE)
			return number;
	}
	return packer->pack_count >= FB_PAST_PACKS_MAX
	    ? -1
	    : (int64_t)fb_packer_new_pack(packer, &known);
}

/* So many from the past, so that the present finds room. */
size_t
fb_packer_past_room(const struct fb_packer *packer)
{
	return fb_index_room(&packer->index) / 8 * 5;
}

bool
fb_packer_past_chunk(struct fb_packer *packer, uint32_t pack, uint32_t chunk,
    uint64_t prefix)
{
	if (packer->index.count >= fb_packer_past_room(packer))
		return false;
	fb_index_add(&packer->index,
	    &(struct fb_index_entry){ prefix, pack, chunk }, false);
	return true;
}

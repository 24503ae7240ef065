/* Packs that a copy takes over from an earlier run's recipe: each has one
 * number, whether it is known from hints, from a resumption or not yet. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"

#include "packer_impl.h"

/* Where `id` is in the sorted numbers, or where it belongs. */
static size_t
find_place(
    const struct fb_packer *packer, const struct fb_digest *id, bool *ret_there)
{
	size_t low = 0, high = packer->by_id_count;

	*ret_there = false;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = fb_digest_cmp(
		    &packer->packs[packer->by_id[middle]].id, id);

		if (order == 0)
			*ret_there = true;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int
compare_numbers(const void *a, const void *b, void *arg)
{
	const struct known_pack *packs = arg;

	return fb_digest_cmp(
	    &packs[*(const uint32_t *)a].id, &packs[*(const uint32_t *)b].id);
}

static void
reserve_numbers(struct fb_packer *packer, size_t count)
{
	if (count <= packer->by_id_cap)
		return;
	packer->by_id_cap = count * 3 / 2 + 64;
	packer->by_id = fb_realloc(
	    packer->by_id, packer->by_id_cap, sizeof(*packer->by_id));
}

/* Those that are known by now; our own later ones are of no earlier run. */
static void
sort_numbers(struct fb_packer *packer)
{
	packer->by_id_made = true;
	reserve_numbers(packer, packer->pack_count);
	for (size_t i = 0; i < packer->pack_count; i++)
		if (packer->packs[i].kind != PACK_BAD &&
		    packer->packs[i].kind != PACK_OPEN)
			packer->by_id[packer->by_id_count++] = (uint32_t)i;
	if (packer->by_id_count > 1)
		qsort_r(packer->by_id, packer->by_id_count,
		    sizeof(*packer->by_id), compare_numbers, packer->packs);
}

/* With the lock held. */
static int
number_pack(struct fb_packer *packer, const struct fb_recipe_pack *pack,
    uint32_t *ret_number, struct fb_error *err)
{
	struct known_pack known = { .id = pack->id,
		.table_digest = pack->table_digest,
		.table_offset = pack->table_offset,
		.table_length = pack->table_length,
		.local = LOCAL_NONE,
		.kind = PACK_PAST };
	bool there;
	size_t at;

	if (!packer->by_id_made)
		sort_numbers(packer);
	at = find_place(packer, &pack->id, &there);
	if (there) {
		*ret_number = packer->by_id[at];
		return FB_OK;
	}
	if (packer->pack_count >= FB_PAST_PACKS_MAX)
		return fb_fail(
		    err, FB_EUNSUP, "more packs than are kept in mind");
	*ret_number = fb_packer_new_pack(packer, &known);
	reserve_numbers(packer, packer->by_id_count + 1);
	memmove(packer->by_id + at + 1, packer->by_id + at,
	    (packer->by_id_count - at) * sizeof(*packer->by_id));
	packer->by_id[at] = *ret_number;
	packer->by_id_count++;
	return FB_OK;
}

static bool
is_same(const struct known_pack *known, const struct fb_recipe_pack *pack)
{
	return known->table_offset == pack->table_offset &&
	    known->table_length == pack->table_length &&
	    fb_digest_cmp(&known->table_digest, &pack->table_digest) == 0;
}

int
fb_packer_adopt(struct fb_packer *packer, const struct fb_recipe_pack *pack,
    uint32_t *ret_number, struct fb_error *err)
{
	struct known_pack known = { .kind = PACK_BAD };
	int rc;

	if (fb_packer_is_condemned(packer, &pack->id))
		return fb_fail(err, FB_ENOTFOUND,
		    "a pack of it is being deleted");
	(void)pthread_mutex_lock(&packer->lock);
	rc = number_pack(packer, pack, ret_number, err);
	if (rc == FB_OK)
		known = packer->packs[*ret_number];
	(void)pthread_mutex_unlock(&packer->lock);
	if (rc == FB_OK && known.kind == PACK_PAST) {
		rc = fb_packer_check_there(packer, &known, err);
		if (rc != FB_ECANCELED)
			fb_packer_judge(packer, *ret_number, rc == FB_OK);
	}
	if (rc == FB_OK && (known.kind == PACK_BAD || !is_same(&known, pack)))
		rc = fb_fail_id(err, FB_ECORRUPT, "E-PACK-TABLE",
		    "what is known of a pack of it contradicts its recipe");
	return rc;
}

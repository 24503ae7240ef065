/* Packs that a copy takes over from an earlier run's recipe: each has one
 * number, whether it is known from hints, from a resumption or not yet. */
#include "fleetbak/base/err.h"

#include "attested.h"
#include "packer_impl.h"

/* With the lock held. */
static int
number_pack(struct fb_packer *packer, const struct fb_recipe_pack *pack,
    uint32_t *ret_number, struct fb_error *err)
{
	struct fb_hint_pack hint = { pack->id, pack->table_digest,
		pack->table_offset, pack->table_length, 0 };
	int64_t number = fb_packer_past_pack(packer, &hint);

	if (number < 0)
		return fb_fail(
		    err, FB_EUNSUP, "more packs than are kept in mind");
	*ret_number = (uint32_t)number;
	return FB_OK;
}

static bool
is_same(const struct known_pack *known, const struct fb_recipe_pack *pack)
{
	return known->table_offset == pack->table_offset &&
	    known->table_length == pack->table_length &&
	    fb_digest_cmp(&known->table_digest, &pack->table_digest) == 0;
}

/* Its ids are made with our key, or a verifier says what they are in our
 * domain: else they say nothing to us. */
static int
check_domain(struct fb_packer *packer, const struct known_pack *known,
    struct fb_error *err)
{
	struct fb_table_place place = { known->id, known->table_offset,
		known->table_length, &known->table_digest };
	const struct fb_digest *ids;
	struct fb_table *table;
	int rc;

	if (packer->repo->vault == NULL)
		return FB_OK;
	rc = fb_tables_get(packer->repo->tables, &place, &table, err);
	if (rc < 0)
		return rc;
	rc = fb_attested_ids(packer->repo, table, &ids, err);
	if (rc == FB_EUNTRUSTED)
		rc = fb_fail_id(err, FB_EUNTRUSTED, "E-DOMAIN",
		    "a pack of it is of another domain");
	fb_tables_put(packer->repo->tables, table);
	return rc;
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
		if (rc == FB_OK)
			rc = check_domain(packer, &known, err);
		if (rc != FB_ECANCELED)
			fb_packer_judge(packer, *ret_number, rc == FB_OK);
	}
	if (rc == FB_OK && (known.kind == PACK_BAD || !is_same(&known, pack)))
		rc = fb_fail_id(err, FB_ECORRUPT, "E-PACK-TABLE",
		    "what is known of a pack of it contradicts its recipe");
	return rc;
}

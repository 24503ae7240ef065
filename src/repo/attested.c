/* Packs of other domains that a verifier vouches for. */
#include "attested.h"

#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/repo/vault.h"

static int
fail(int code, const char *why, struct fb_error *err)
{
	return fb_fail_id(err, code, "E-ATTEST", "%s", why);
}

/* Of this pack, in this repository, for this domain? */
static int
check_subject(const struct fb_repo *repo, const struct fb_table *table,
    const uint8_t domain[FB_KEY_TAG_LEN],
    const struct fb_attestation *attestation, struct fb_error *err)
{
	if (strcmp(attestation->repository, repo->format.repository) != 0)
		return fail(FB_EUNTRUSTED, "it is of another repository", err);
	if (memcmp(attestation->domain, domain, FB_KEY_TAG_LEN) != 0)
		return fail(FB_EUNTRUSTED, "it is for another domain", err);
	if (fb_digest_cmp(&attestation->pack, &table->pack) != 0 ||
	    fb_digest_cmp(&attestation->table, &table->digest) != 0 ||
	    attestation->offset != table->table.offset ||
	    attestation->length != table->length ||
	    attestation->count != table->table.count)
		return fail(FB_EUNTRUSTED, "it is of another pack", err);
	return FB_OK;
}

int
fb_attestation_check(const struct fb_repo *repo, const struct fb_trust *trust,
    const struct fb_table *table, const uint8_t domain[FB_KEY_TAG_LEN],
    struct fb_span text, struct fb_attestation *ret_attestation,
    struct fb_error *err)
{
	FB_AUTO_ATTESTATION struct fb_attestation attestation = { 0 };
	struct fb_error why = { 0 };
	struct fb_span body;
	int rc = fb_attestation_decode(text, &attestation, &body, &why);

	if (rc < 0)
		return fail(rc, why.msg, err);
	if (fb_trust_verify(trust, body,
	        (struct fb_span){ attestation.signature, FB_SIGNATURE_LEN },
	        NULL, &why) < 0)
		return fail(FB_EUNTRUSTED,
		    "no key of trusted_verifiers signed it", err);
	rc = check_subject(repo, table, domain, &attestation, err);
	if (rc < 0)
		return rc;
	*ret_attestation = attestation;
	attestation = (struct fb_attestation){ 0 };
	return FB_OK;
}

/* It is not believed; nothing is lost but room. */
static int
disbelieve(const struct fb_repo *repo, const char *key, struct fb_error *err)
{
	(void)fb_wrap(err, "'%s' is not believed", key);
	(void)fb_hint(err,
	    "what the pack holds is stored once more; 'fleetbak verify "
	    "--attest' makes it anew");
	if (repo->warn != NULL)
		repo->warn(repo->warn_arg, err);
	return FB_EUNTRUSTED;
}

int
fb_attested_ids(struct fb_repo *repo, struct fb_table *table,
    const struct fb_digest **ret_ids, struct fb_error *err)
{
	const uint8_t *tag = fb_vault_own_tag(repo->vault);
	FB_AUTO_ATTESTATION struct fb_attestation attestation = { 0 };
	FB_AUTO_BUF struct fb_buf text = { 0 };
	char key[FB_ATTEST_KEY_SIZE];
	int rc;

	*ret_ids = NULL;
	if (fb_vault_is_ours(repo->vault, &table->table))
		return FB_OK;
	if (tag == NULL || !table->table.encrypted ||
	    repo->verifiers.count == 0)
		return fb_fail_id(err, FB_EUNTRUSTED, "E-DOMAIN",
		    "a pack is of another domain");
	*ret_ids = fb_tables_attested(repo->tables, table);
	if (*ret_ids != NULL)
		return FB_OK;
	fb_attest_key(tag, &table->pack, key);
	rc = fb_store_get(repo->store, key, FB_ATTEST_MAX, &text, NULL, err);
	if (rc == FB_ENOTFOUND)
		return fb_fail_id(err, FB_EUNTRUSTED, "E-DOMAIN",
		    "a pack is of another domain, and not attested");
	if (rc == FB_OK)
		rc = fb_attestation_check(repo, &repo->verifiers, table, tag,
		    fb_buf_span(&text), &attestation, err);
	if (rc == FB_ECORRUPT || rc == FB_EUNTRUSTED || rc == FB_ETOONEW)
		return disbelieve(repo, key, err);
	if (rc < 0)
		return rc;
	fb_tables_attest(repo->tables, table, FB_STEAL(attestation.ids));
	*ret_ids = fb_tables_attested(repo->tables, table);
	return FB_OK;
}

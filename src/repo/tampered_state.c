/*
 * What is no run's, and comes and goes: which version of it is right, and
 * whether it went as fleetbak lets it go.
 */
#include <stdio.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/format/attest.h"
#include "fleetbak/format/pack.h"
#include "fleetbak/format/pending.h"
#include "fleetbak/format/register.h"

#include "tampered_impl.h"

static int
report(struct fb_repo *repo, const struct past *past, struct fb_span right,
    const char *run, struct fb_tampered_list *list, struct fb_error *err)
{
	struct fb_digest want;

	fb_digest_of(right, &want);
	return past_report(repo->store, past, &want, false, run, list, err);
}

/*
 * Whoever takes a hold away leaves an empty version behind it, see
 * fb_hold_remove(): what was before that does not count.
 */
int
past_judge_hold(struct fb_repo *repo, const struct past *past,
    const char *session, const char *run, struct fb_tampered_list *list,
    struct fb_error *err)
{
	for (size_t i = 0; i < past->count; i++) {
		FB_AUTO_BUF struct fb_buf text = { 0 };
		struct fb_hold hold;
		struct fb_error why;
		int rc;

		if (past->items[i].removed)
			continue;
		if (past->items[i].size == 0)
			return FB_OK;
		rc = past_read(repo->store, past->key, &past->items[i],
		    FB_PENDING_MAX, &text, err);
		if (rc < 0 && rc != FB_ECORRUPT && rc != FB_ENOTFOUND)
			return rc;
		if (rc == FB_OK &&
		    fb_hold_decode(fb_buf_span(&text), &hold, &why) == FB_OK &&
		    strcmp(hold.session, session) == 0)
			return report(repo, past, fb_buf_span(&text), run,
			    list, err);
	}
	return FB_OK;
}

/* The newest version that says something; *ret_doc: what.  Older ones, of which
 * there are as many as there were steps of prunes, are not read. */
static int
read_current(struct fb_store *store, const struct past *past,
    struct fb_buf *dst, struct fb_gc_doc *ret_doc,
    const struct past_version **ret_good, struct fb_error *err)
{
	*ret_doc = (struct fb_gc_doc){ 0 };
	*ret_good = NULL;
	for (size_t i = 0; i < past->count; i++) {
		struct fb_error why;
		int rc;

		if (past->items[i].removed)
			continue;
		fb_buf_clear(dst);
		rc = past_read(store, past->key, &past->items[i],
		    FB_FORMAT_DOC_MAX, dst, err);
		if (rc < 0 && rc != FB_ECORRUPT && rc != FB_ENOTFOUND)
			return rc;
		if (rc == FB_OK &&
		    fb_gc_doc_decode(fb_buf_span(dst), ret_doc, &why) ==
		        FB_OK) {
			*ret_good = &past->items[i];
			return FB_OK;
		}
	}
	return FB_ENOTFOUND;
}

/* The one object that is replaced: it has a past where all is well. */
int
past_judge_current(struct fb_store *store, const struct past *past,
    struct fb_tampered_list *list, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	const struct past_version *good;
	struct fb_digest want;
	struct fb_gc_doc doc;
	int rc = read_current(store, past, &text, &doc, &good, err);

	if (rc < 0)
		return rc == FB_ENOTFOUND ? FB_OK : rc;
	fb_digest_of(fb_buf_span(&text), &want);
	if (good != &past->items[0])
		past_tell(past, good, &want, "", list);
	return FB_OK;
}

/* A set that a prune is about: gc/current names it, or did. */
int
past_judge_set(struct fb_repo *repo, const struct past *past,
    const struct fb_digest *id, struct fb_tampered_list *list,
    struct fb_error *err)
{
	FB_CLEANUP(past_release) struct past current = { 0 };
	FB_AUTO_BUF struct fb_buf text = { 0 };
	const struct past_version *good;
	struct fb_gc_doc doc;
	int rc = past_load(repo->store, "gc/current", &current, err);

	if (rc == FB_OK)
		rc = read_current(
		    repo->store, &current, &text, &doc, &good, err);
	if (rc < 0)
		return rc == FB_ENOTFOUND ? FB_OK : rc;
	return doc.phase != FB_GC_IDLE && fb_digest_cmp(&doc.set, id) == 0
	    ? past_report(repo->store, past, id, true, "", list, err)
	    : FB_OK;
}

/* Prune takes away those that were ended, or have a register. */
int
past_judge_session(struct fb_repo *repo, const struct past *past,
    const char *session, struct fb_tampered_list *list, struct fb_error *err)
{
	FB_AUTO_FREE char *commit = fb_format("commits/%s", session);
	uint64_t size;
	int rc;

	for (size_t i = 0; i < list->count; i++)
		if (strcmp(list->items[i].key, commit) == 0)
			return FB_OK; /* it comes back */
	rc = fb_store_head(repo->store, commit, &size, err);
	return rc == FB_ENOTFOUND ? past_judge_first(repo, past, "", list, err)
	                          : rc;
}

/* Is it of this pack, here?  Signed by a verifier, where any is known. */
static bool
is_attestation(const struct fb_repo *repo, const struct fb_buf *text,
    const struct fb_digest *pack)
{
	FB_AUTO_ATTESTATION struct fb_attestation attestation = { 0 };
	struct fb_span body;
	struct fb_error why;

	return fb_attestation_decode(
	           fb_buf_span(text), &attestation, &body, &why) == FB_OK &&
	    strcmp(attestation.repository, repo->format.repository) == 0 &&
	    fb_digest_cmp(&attestation.pack, pack) == 0 &&
	    (repo->verifiers.count == 0 ||
	        fb_trust_verify(&repo->verifiers, body,
	            (struct fb_span){
	                attestation.signature, FB_SIGNATURE_LEN },
	            NULL, &why) == FB_OK);
}

/* Prune takes away those of packs that are gone; where an overwritten one is
 * of no use its reader sees that. */
int
past_judge_attest(struct fb_repo *repo, const struct past *past,
    const struct fb_id_set *packs, struct fb_tampered_list *list,
    struct fb_error *err)
{
	const struct fb_id_slot *slot;
	char key[FB_OBJECT_KEY_SIZE];
	struct fb_digest pack, want;
	uint64_t size;
	int rc = FB_OK;

	if (!past->items[0].removed || !fb_attest_key_parse(past->key, &pack))
		return FB_OK;
	slot = fb_id_set_find(packs, &pack);
	fb_pack_key(&pack, key);
	if (slot == NULL || slot->mark == 0)
		rc = fb_store_head(repo->store, key, &size, err);
	for (size_t i = 0; rc == FB_OK && i < past->count; i++) {
		FB_AUTO_BUF struct fb_buf text = { 0 };

		if (past->items[i].removed)
			continue;
		rc = past_read(repo->store, past->key, &past->items[i],
		    FB_ATTEST_MAX, &text, err);
		if (rc == FB_OK && is_attestation(repo, &text, &pack)) {
			fb_digest_of(fb_buf_span(&text), &want);
			past_tell(past, &past->items[i], &want, "", list);
			return FB_OK;
		}
		if (rc == FB_ECORRUPT || rc == FB_ENOTFOUND)
			rc = FB_OK;
	}
	return rc == FB_ENOTFOUND ? FB_OK : rc;
}

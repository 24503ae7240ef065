/*
 * The verifier's side of attestations: who holds a private key, and has opened
 * every stored byte of a pack, says to the writers of other domains what is in
 * it, in their ids, so that they need not store it once more.
 *
 * For whom: the domains of sessions whose hints a trusted key sealed.  A domain
 * that nobody trusted has vouched for gets none, for ids say which contents
 * are there.
 *
 * Threads: any, once it is open.
 * Spec: fleetbak-format(5), "Attestations".
 */
#ifndef FB_REPO_ATTEST_H
#define FB_REPO_ATTEST_H

#include "fleetbak/repo/repo.h"
#include "fleetbak/repo/volume.h"

struct fb_attester;

struct fb_attest_report {
	uint64_t domains;  /* that are known */
	uint64_t attested; /* statements made: a pack to a domain */
	uint64_t known;    /* that were there, and are right */
};

/* Borrows all of it.  Errors: FB_EKEY when there is no private key. */
FB_MUST_USE int fb_attester_open(struct fb_repo *repo,
    const struct fb_sign_key *key, struct fb_attester **ret_attester,
    struct fb_error *err);
/* What is not stored yet is dropped. */
void fb_attester_close(struct fb_attester *attester);

/* Before fb_pack_check_run(): have the ids made that are missing. */
FB_MUST_USE int fb_attester_prepare(struct fb_attester *attester,
    struct fb_pack_check *check, struct fb_error *err);
/* After it: the pack is whole. */
FB_MUST_USE int fb_attester_add(struct fb_attester *attester,
    const struct fb_pack_check *check, struct fb_error *err);

/* Store all. */
FB_MUST_USE int fb_attester_finish(struct fb_attester *attester,
    struct fb_attest_report *ret_report, struct fb_error *err);

#endif

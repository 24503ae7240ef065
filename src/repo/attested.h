/* What a verifier says of packs of other domains. */
#ifndef REPO_ATTESTED_H
#define REPO_ATTESTED_H

#include "fleetbak/format/attest.h"
#include "fleetbak/repo/repo.h"

#include "tables.h"

/*
 * May the writer use chunks of the pack with this table, which is in use?
 * *ret_ids: what they are called in the writer's own domain, as long as the
 * table is in use; NULL: as the table calls them, for it is of that domain.
 * Errors: FB_EUNTRUSTED: it is of another domain, and no verifier whom we
 * trust has attested it; repo->warn is told when somebody pretends so.
 */
FB_MUST_USE int fb_attested_ids(struct fb_repo *repo, struct fb_table *table,
    const struct fb_digest **ret_ids, struct fb_error *err);

/*
 * Is the text an attestation of that pack, for the domain with that tag, that
 * one of the keys signed?  Errors: FB_EUNTRUSTED, FB_ECORRUPT, FB_ETOONEW, all
 * with the id E-ATTEST.
 */
FB_MUST_USE int fb_attestation_check(const struct fb_repo *repo,
    const struct fb_trust *trust, const struct fb_table *table,
    const uint8_t domain[FB_KEY_TAG_LEN], struct fb_span text,
    struct fb_attestation *ret_attestation, struct fb_error *err);

#endif

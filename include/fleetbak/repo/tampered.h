/*
 * What somebody has deleted or overwritten though the repository needs it, in
 * a place that keeps versions: found, and brought back.
 *
 * A program that has the key to write, and means harm, leaves marks of removal
 * and newer versions behind.  Which version is the right one is never told by
 * its time alone: objects have their digest in their name or in signed
 * checksums, registers and forget records are signed; what is made once (keys,
 * hints, what is pending, sessions) is told by being the first, and is lost when
 * that cannot be read; the texts for restoring without us are told by what this
 * program would write, by what the oldest run has signed, and then so; of
 * gc/current the newest that says something is right.
 *
 * What fleetbak itself takes away is another matter: hints, records and holds
 * of runs that are given up, sessions that were ended or have a register, sets
 * that are deleted, attestations of packs that are gone, what workers of a
 * shared run told when that is closed and nothing of it is left.  A hold is
 * emptied before it is taken away.
 */
#ifndef FB_REPO_TAMPERED_H
#define FB_REPO_TAMPERED_H

#include "fleetbak/repo/repo.h"
#include "fleetbak/store/versions.h"

enum fb_tamper { FB_TAMPER_DELETED, FB_TAMPER_REPLACED };

struct fb_tampered {
	char key[FB_STORE_KEY_MAX + 1];
	enum fb_tamper how;
	int64_t when_ns; /* by the place's clock */
	char run[FB_RUN_ID_SIZE]; /* whose record it is; "": no one run's */
	char *good;      /* id of the version that is right; NULL: none is */
	int64_t good_ns;
	uint64_t good_size;
	struct fb_digest want; /* digest of the bytes that are right */
};
struct fb_tampered_list {
	struct fb_tampered *items; /* sorted by key */
	size_t count;
	/* What else is kept there, and is not what a get finds. */
	uint64_t old_versions, old_bytes;
};
void fb_tampered_release(struct fb_tampered_list *list);
#define FB_AUTO_TAMPERED FB_CLEANUP(fb_tampered_release)

/*
 * Look for it: a list of all versions, and little more where all is well.  In
 * a place without versions nothing is found.  The one version of a pack that
 * was deleted is taken for good without reading it; fb_tampered_mend() looks.
 */
FB_MUST_USE int fb_tampered_find(struct fb_repo *repo,
    struct fb_tampered_list *ret_list, struct fb_error *err);

/* The same of format/1.json and its signature, without which no repository
 * can be opened: the versions that a trusted key signed. */
FB_MUST_USE int fb_tampered_format(struct fb_store *store,
    const struct fb_trust *trust, struct fb_tampered_list *ret_list,
    struct fb_error *err);

/* Bring one back, after its digest was checked.  FB_ECORRUPT, id
 * E-VERSION-NONE: no version of it is right. */
FB_MUST_USE int fb_tampered_mend(struct fb_store *store,
    const struct fb_tampered *tampered, struct fb_error *err);

/* Raise what it means for who finds the object missing or damaged: FB_ECORRUPT,
 * ids E-VERSION-DELETED and E-VERSION-REPLACED, with what to do. */
int fb_tampered_fail(
    const struct fb_tampered *tampered, struct fb_error *err);

#endif

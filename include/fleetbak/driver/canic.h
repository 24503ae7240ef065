/*
 * A backup directory of canic's, read and verified, and a driver whose machines
 * are its canisters, for the import: they are down, and are read only.
 *
 * Each has the volume "snapshot", the tree of its artifact, and "definition",
 * canic's own documents as they are.
 */
#ifndef FB_DRIVER_CANIC_H
#define FB_DRIVER_CANIC_H

#include "fleetbak/fleet/fleet.h"
#include "fleetbak/format/canic.h"

/* The driver's name, and that of the source an import makes for it. */
#define FB_CANIC_NAME "canic"

struct fb_canic_dir {
	char *path; /* absolute */
	struct fb_canic_manifest *manifest;
	struct fb_canic_journal *journal;
	const char *manifest_name;
	/* Of both files' bytes; the manifest's tells backups apart. */
	struct fb_digest manifest_digest, journal_digest;
};

/*
 * Read both documents of `path` and see that they agree.  No link is followed
 * below it.
 * Owner:  `ret_dir` (FB_AUTO_CANIC_DIR).
 * Errors: FB_ECORRUPT, ids E-CANIC-FORMAT, E-CANIC-MISMATCH and
 *         E-CANIC-INCOMPLETE, also when it is no directory of canic's; of
 *         reading.
 */
FB_MUST_USE int fb_canic_dir_open(
    const char *path, struct fb_canic_dir *ret_dir, struct fb_error *err);
void fb_canic_dir_release(struct fb_canic_dir *dir);
#define FB_AUTO_CANIC_DIR FB_CLEANUP(fb_canic_dir_release)

/* The checksum of a member, as the two documents have it. */
const char *fb_canic_checksum(const struct fb_canic_dir *dir,
    const struct fb_canic_member *member);

/*
 * Do a member's files have its checksum?  *ret_size: their bytes.
 * Errors: FB_ECORRUPT, ids E-CANIC-CHECKSUM, E-CANIC-INCOMPLETE (there are
 *         none) and E-CANIC-ENTRY (one that is no file or directory).
 */
FB_MUST_USE int fb_canic_verify(const struct fb_canic_dir *dir,
    const struct fb_canic_member *member, uint64_t *ret_size,
    struct fb_error *err);

/*
 * canic's checksum of what is at `path`: of a file its SHA-256; of a directory
 * that of, for each file in it in order of path, path, 0, SHA-256 in hex, and
 * a newline.
 */
FB_MUST_USE int fb_canic_sum(const char *path, struct fb_digest *ret_digest,
    uint64_t *ret_size, struct fb_error *err);

/* What tells this snapshot from any other: it names the backup and the
 * canister. */
void fb_canic_describe(const struct fb_canic_dir *dir,
    const struct fb_canic_member *member, struct fb_digest *ret_digest);

#endif

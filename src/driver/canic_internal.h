/*
 * What the files of canic's directories share.
 */
#ifndef FB_DRIVER_CANIC_INTERNAL_H
#define FB_DRIVER_CANIC_INTERNAL_H

#include "fleetbak/crypto/digest.h"
#include "fleetbak/driver/artifact.h"
#include "fleetbak/driver/canic.h"
#include "fleetbak/driver/driver.h"

/* Where a member's artifact is, and whether that is a file.  No part of the
 * way is a link.  FB_ECORRUPT, E-CANIC-INCOMPLETE when it is not there. */
FB_MUST_USE int fb_canic_way(const struct fb_canic_dir *dir,
    const struct fb_canic_member *member, char **ret_path, bool *ret_file,
    struct fb_error *err);

/* Its bytes, without reading them. */
FB_MUST_USE int fb_canic_size(const struct fb_canic_dir *dir,
    const struct fb_canic_member *member, uint64_t *ret_size,
    struct fb_error *err);

/* The archive of a member's snapshot, FB_ECORRUPT (E-CANIC-CHECKSUM) unless
 * the very bytes that went into it have the member's checksum. */
FB_MUST_USE int fb_canic_pack(const struct fb_canic_dir *dir,
    const struct fb_canic_member *member, const struct fb_sink *sink,
    struct fb_error *err);

/* The archive of the directory `path`, and canic's checksum of the very bytes
 * that went into it. */
FB_MUST_USE int fb_canic_pack_tree(const char *path,
    const struct fb_sink *sink, struct fb_digest *ret_digest,
    struct fb_error *err);

/* The archive of both documents, FB_ESTALE (E-DRIFT) unless the very bytes
 * that went into it are those that were read when `dir` was opened. */
FB_MUST_USE int fb_canic_pack_documents(const struct fb_canic_dir *dir,
    const struct fb_sink *sink, struct fb_error *err);

/* Add a file's line to the checksum of its tree.  FB_ECORRUPT, E-CANIC-ENTRY
 * when its path is not UTF-8. */
FB_MUST_USE int fb_canic_sum_line(struct fb_digester *tree, const char *path,
    const char *hex, struct fb_error *err);

/* Is that the member's checksum?  FB_ECORRUPT, E-CANIC-CHECKSUM. */
FB_MUST_USE int fb_canic_check(const struct fb_canic_dir *dir,
    const struct fb_canic_member *member, const struct fb_digest *found,
    struct fb_error *err);

/* Raise E-CANIC-ENTRY: what is at `path` in a snapshot is `why`. */
int fb_canic_fail_entry(
    const char *path, const char *why, struct fb_error *err);

extern const struct fb_driver_ops fb_canic_ops;

#endif

/*
 * What the two files of canic's directories share.
 */
#ifndef FB_DRIVER_CANIC_INTERNAL_H
#define FB_DRIVER_CANIC_INTERNAL_H

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

/* Are the documents the bytes that they were?  FB_ESTALE, E-DRIFT. */
FB_MUST_USE int fb_canic_unchanged(
    const struct fb_canic_dir *dir, struct fb_error *err);

extern const struct fb_driver_ops fb_canic_ops;

#endif

/*
 * A volume of a pool, by libvirt alone: for hosts whose files are not in reach,
 * and for pools whose volumes are no files.  Its bytes are those of its image,
 * so that it is written as a disk only when that is raw.
 */
#ifndef DRIVER_LIBVIRT_UPLOAD_H
#define DRIVER_LIBVIRT_UPLOAD_H

#include "libvirt_internal.h"

/* Open one of `size` bytes; the reference to it is given up, whatever comes. */
FB_MUST_USE int fb_libvirt_upload_open(virConnectPtr connection,
    virStorageVolPtr owned_volume, const char *what, uint64_t size,
    struct fb_target **ret_target, struct fb_error *err);

#endif

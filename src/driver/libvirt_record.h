/*
 * The record of a capture: what it was made for, and from where each of its
 * disks can be read as it was then, in <scratch>/<uuid>/<token>/snapshot.
 */
#ifndef DRIVER_LIBVIRT_RECORD_H
#define DRIVER_LIBVIRT_RECORD_H

#include "libvirt_internal.h"

/* Write it, before the capture counts as whole: of these targets (ends with
 * NULL) of a domain as it is without overlays. */
struct fb_libvirt_made {
	const struct fb_libvirt_driver *driver;
	virConnectPtr connection;
	const struct fb_machine *machine;
	const struct fb_verb *verb;
	enum fb_libvirt_kind kind;
	const struct fb_domain *domain;
	const char *const *wanted;
};
FB_MUST_USE int fb_libvirt_write_record(
    const struct fb_libvirt_made *made, struct fb_error *err);

/*
 * Prove that a disk that was opened, which this takes over, also when it fails,
 * is what the record says: of its size, and of a file that nobody has written to
 * since.  What this returns proves it once more at its end, and that samples of
 * it are what they were at first: fb_artifact_ops.prove.
 *
 * Errors: FB_EFAILED (E-EXPORT); FB_EUNSUP: it was not made to be read.
 */
FB_MUST_USE int fb_libvirt_prove(const struct fb_libvirt_driver *driver,
    const char *uuid, const char *token, const char *target,
    struct fb_artifact *owned_disk, struct fb_artifact **ret_artifact,
    struct fb_error *err);

#endif

/*
 * A guest whose agent comes up while it is read: its images are read while what
 * it writes goes to overlays above them, and is merged back.  libvirt would lose
 * sight of an agent that comes up while a backup job is active.
 *
 * Where the overlays are is durable before they are made, in
 * <scratch>/<uuid>/overlay, and is forgotten when they are gone: the next capture
 * merges them first.  They are merged into the image that
 * was the disk's when they were made, and never further down.
 */
#ifndef DRIVER_LIBVIRT_OVERLAY_H
#define DRIVER_LIBVIRT_OVERLAY_H

#include "libvirt_internal.h"

/* Is it captured that way?  Each disk that is captured is a file; `live` as in
 * fb_libvirt_reads_stopped(): overlays are put above what is not written to. */
bool fb_libvirt_overlays(const struct fb_libvirt_driver *driver, bool live,
    const struct fb_domain *domain);

/* Put overlays above these disks (ends with NULL) of a domain that is paused;
 * `own` is the directory for them. */
FB_MUST_USE int fb_libvirt_overlay_begin(const struct fb_libvirt_driver *driver,
    virDomainPtr domain, const char *uuid, const char *token, const char *own,
    const char *const *wanted, struct fb_error *err);

/* Are they there, all of them, and made for this token?  FB_EFAILED. */
FB_MUST_USE int fb_libvirt_overlay_check(
    const struct fb_libvirt_driver *driver, virDomainPtr domain,
    const char *uuid, const char *token, struct fb_error *err);

/*
 * Merge them and wait until they are gone; FB_OK when there are none.  With a
 * token, only those that were made for it.  A domain that is off is started
 * paused for that, and switched off again.
 */
FB_MUST_USE int fb_libvirt_merge(const struct fb_libvirt_driver *driver,
    virDomainPtr domain, const char *uuid, const char *token,
    struct fb_error *err);

/* The domain went before they were merged: they are kept, and E-OVERLAY says
 * where they are. */
FB_MUST_USE int fb_libvirt_overlay_lost(const struct fb_libvirt_driver *driver,
    const char *uuid, struct fb_error *err);

/* Before the capture's files are removed: does the domain, as it is or as it is
 * defined, name any of them, whatever is recorded?  E-OVERLAY. */
FB_MUST_USE int fb_libvirt_overlay_gone(const struct fb_libvirt_driver *driver,
    virDomainPtr domain, const char *uuid, const char *token,
    struct fb_error *err);

/* Is something to be merged? */
bool fb_libvirt_is_overlaid(
    const struct fb_libvirt_driver *driver, const char *uuid);
/* ... that was made for this token? */
bool fb_libvirt_is_overlaid_for(const struct fb_libvirt_driver *driver,
    const char *uuid, const char *token);

/* The domain as it is without them. */
FB_MUST_USE int fb_libvirt_read_without(
    const struct fb_libvirt_driver *driver, virDomainPtr domain,
    const char *uuid, bool live, struct fb_domain *ret_domain,
    struct fb_error *err);

/* The image below a disk's overlay; both are the caller's.  FB_ENOTFOUND: it has
 * none.  FB_EFAILED: a merge has begun. */
FB_MUST_USE int fb_libvirt_overlay_base(const struct fb_libvirt_driver *driver,
    const char *uuid, const char *target, char **ret_base, char **ret_format,
    struct fb_error *err);

/* Read a disk from below its overlay, with an eye on the guest, as
 * fb_libvirt_watch(), and with its changes, as fb_libvirt_read_image().  What is
 * read counts only when nobody had begun to merge by then: that writes to it. */
FB_MUST_USE int fb_libvirt_read_below(struct fb_libvirt_driver *driver,
    const char *uuid, const char *target, struct fb_libvirt_changes *changes,
    struct fb_artifact **ret_artifact, struct fb_error *err);

/* Before a merge, and without waiting for who reads: what reads below an overlay
 * of this domain fails from now on, and holds no image any more. */
void fb_libvirt_end_readers(
    const struct fb_libvirt_driver *driver, const char *uuid);

#endif

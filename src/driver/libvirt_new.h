/*
 * A domain that a restore makes: as another one (as new), or again, because
 * it is gone.
 */
#ifndef DRIVER_LIBVIRT_NEW_H
#define DRIVER_LIBVIRT_NEW_H

#include "libvirt_internal.h"

/* The verbs of restore, of such a domain. */
FB_MUST_USE int fb_libvirt_new_check(struct fb_libvirt_driver *driver,
    const struct fb_restore_request *request, struct fb_restore_plan *ret_plan,
    struct fb_error *err);
FB_MUST_USE int fb_libvirt_new_begin(struct fb_libvirt_driver *driver,
    const struct fb_restore_request *request, struct fb_error *err);
FB_MUST_USE int fb_libvirt_new_open(struct fb_libvirt_driver *driver,
    const struct fb_restore_request *request, const struct fb_volume *wanted,
    const struct fb_verb *verb, struct fb_target **ret_target,
    struct fb_error *err);
FB_MUST_USE int fb_libvirt_new_finish(struct fb_libvirt_driver *driver,
    const struct fb_restore_request *request, struct fb_error *err);

/*
 * Can it run?  It is started paused, which opens its images and asks for all
 * that it needs of the host, and its disks are looked at; then, unless it is
 * to be started, it is switched off before it has run.
 */
FB_MUST_USE int fb_libvirt_new_try(const struct fb_libvirt_driver *driver,
    virDomainPtr domain, const struct fb_restore_request *request,
    const char *uuid, struct fb_error *err);

#endif

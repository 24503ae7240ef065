/*
 * What belongs to other domains of a libvirt, so that a restore does not write
 * over it: their images, and all that lies below these, be it a template that
 * no domain has for a disk.
 */
#ifndef DRIVER_LIBVIRT_CLASH_H
#define DRIVER_LIBVIRT_CLASH_H

#include "libvirt_internal.h"

/* Of all domains but one. */
struct fb_libvirt_images;
FB_MUST_USE int fb_libvirt_images_read(const struct fb_libvirt_driver *driver,
    virConnectPtr connection, const char *but_uuid,
    struct fb_libvirt_images **ret_images, struct fb_error *err);
void fb_libvirt_images_free(struct fb_libvirt_images **images);
#define FB_AUTO_IMAGES FB_CLEANUP(fb_libvirt_images_free)

/* Whose image a disk has, or is going to have; the caller's, NULL: nobody's.
 * A name that nothing has yet counts as well. */
char *fb_libvirt_clash(const struct fb_libvirt_images *images,
    virConnectPtr connection, const struct fb_domain_disk *disk);

/* Which other disk of the domain itself has the same image; the same. */
char *fb_libvirt_clash_of_own(const struct fb_libvirt_images *images,
    virConnectPtr connection, const struct fb_domain *domain,
    const char *target);

/* Which address another domain has; the same. */
char *fb_libvirt_clash_of_macs(
    virConnectPtr connection, const struct fb_domain *domain);

#endif

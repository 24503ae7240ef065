/*
 * Where the image of a disk goes that a restore makes: where it was, beside
 * that under the new name, into the directory of the configuration, or where a
 * map says:
 *
 *	pool:OLD=NEW        volumes of a pool into another one
 *	disk:TARGET=/DIR/   a file in that directory
 *	disk:TARGET=/PATH   that file, or a device that is there
 *	disk:TARGET=POOL/   a volume of that pool
 *	disk:TARGET=POOL/VOLUME
 *	                    that volume, also when it is there
 *	format:TARGET=raw   and its format
 */
#ifndef DRIVER_LIBVIRT_WHERE_H
#define DRIVER_LIBVIRT_WHERE_H

#include "libvirt_internal.h"

struct fb_libvirt_where {
	char *pool, *volume, *path, *format; /* as they apply */
	char *problem;                       /* NULL: it can go there */
	bool existing; /* it is written over: it was named, and is there */
};
void fb_libvirt_where_release(struct fb_libvirt_where *where);

struct fb_libvirt_made {
	struct fb_libvirt_driver *driver;
	virConnectPtr connection;
	const struct fb_restore_request *request;
	const char *name, *uuid; /* of the domain that is made */
	bool other;              /* another one than the backup's */
};

/* Where this disk of the backup goes; `ret_place` borrows from `ret_where`. */
void fb_libvirt_where(const struct fb_libvirt_made *made,
    const struct fb_domain_disk *disk, struct fb_libvirt_where *ret_where,
    struct fb_domain_place *ret_place);

/* Is there something in each map that the backup has?  E-RST-MAP. */
FB_MUST_USE int fb_libvirt_check_maps(const struct fb_restore_request *request,
    const struct fb_domain *then, struct fb_error *err);

#endif

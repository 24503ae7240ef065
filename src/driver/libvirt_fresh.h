/*
 * Images that a restore makes, by their places: files of this host, or volumes
 * in pools.
 *
 * Before one is made it is claimed, in
 *
 *	<scratch>/new/<token>/<target>
 *
 * so that what a restore which was cut off has made is told from what is
 * somebody else's.
 */
#ifndef DRIVER_LIBVIRT_FRESH_H
#define DRIVER_LIBVIRT_FRESH_H

#include "libvirt_internal.h"

struct fb_libvirt_fresh {
	const struct fb_libvirt_driver *driver;
	virConnectPtr connection;
	const char *token;  /* of the restore */
	const char *target; /* of the disk */
	const char *format; /* "raw", "qcow2" */
	uint64_t size;
	int lock_fd;        /* as of a verb */
	const char *path;   /* of a file; NULL: a volume: */
	const char *pool, *volume;
	bool existing; /* what is there is written over */
};

/* "'/vm/a.qcow2'", "volume 'a.qcow2' of pool 'vm'"; the caller's. */
char *fb_libvirt_fresh_text(const struct fb_libvirt_fresh *place);

/* Nothing is there, or what this restore has made (*ret_made); E-RST-EXISTS.
 * `ret_free`: the space that is there for it. */
FB_MUST_USE int fb_libvirt_fresh_check(const struct fb_libvirt_fresh *place,
    bool *ret_made, uint64_t *ret_free, struct fb_error *err);

/* Make it when it is not there, and open it. */
FB_MUST_USE int fb_libvirt_fresh_open(const struct fb_libvirt_fresh *place,
    struct fb_target **ret_target, struct fb_error *err);

/* Has a restore of this token made anything? */
bool fb_libvirt_fresh_is_claimed(
    const struct fb_libvirt_driver *driver, const char *token);
/* Nothing is claimed any more. */
FB_MUST_USE int fb_libvirt_fresh_done(const struct fb_libvirt_driver *driver,
    const char *token, struct fb_error *err);

#endif

/* Files of the hypervisor's host: this one, or one that is reached by ssh.  All
 * of these: FB_EUNSUP where it cannot be reached. */
#ifndef DRIVER_LIBVIRT_FILES_H
#define DRIVER_LIBVIRT_FILES_H

#include "libvirt_internal.h"

struct fb_libvirt_file {
	bool there; /* all the rest only then */
	bool regular, block;
	bool link; /* its name is a symbolic link, be it to nothing */
	uint64_t size; /* of a device too */
	uint64_t inode;
	char stamp[128]; /* another one when it was written to; "": of what has
	                  * no times */
};
FB_MUST_USE int fb_libvirt_file_look(const struct fb_libvirt_driver *driver,
    const char *path, struct fb_libvirt_file *ret_file, struct fb_error *err);

/* At most FB_LIBVIRT_FILE_MAX bytes of it; FB_ENOTFOUND. */
FB_MUST_USE int fb_libvirt_file_read(const struct fb_libvirt_driver *driver,
    const char *path, struct fb_buf *dst, struct fb_error *err);

/* Whole and durable after FB_OK; its directory is made. */
FB_MUST_USE int fb_libvirt_file_replace(const struct fb_libvirt_driver *driver,
    const char *path, struct fb_span bytes, unsigned mode, unsigned dir_mode,
    struct fb_error *err);
/* Into what is there, so that its owner stays, once all of it has come. */
FB_MUST_USE int fb_libvirt_file_write_over(
    const struct fb_libvirt_driver *driver, const char *path,
    struct fb_span bytes, struct fb_error *err);

/* The space that is free in a directory; FB_ENOTFOUND. */
FB_MUST_USE int fb_libvirt_file_space(const struct fb_libvirt_driver *driver,
    const char *dir, uint64_t *ret_bytes, struct fb_error *err);

#endif

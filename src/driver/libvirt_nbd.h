/*
 * A disk over NBD: where its data is, its bytes, both ways.  Whatever it is
 * asked, a server that does not answer is given up: FB_ETIMEOUT, and nothing
 * is asked any more.
 *
 * Errors:  FB_EFAILED, FB_EPROTO, FB_ETIMEOUT.
 * Threads: one at a time.
 */
#ifndef DRIVER_LIBVIRT_NBD_H
#define DRIVER_LIBVIRT_NBD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fleetbak/base/attr.h"
#include "libvirt_late.h"

struct fb_error;

struct fb_disk_extent {
	uint64_t start, end;
	bool zero;
};

struct fb_disk {
	char *what; /* for messages */
	uint64_t size;
	struct nbd_handle *nbd;
	uint64_t align; /* of requests, a power of two */
	bool maps;      /* it tells where zeros are */
	struct fb_disk_extent
	    *extents; /* what it told last, one after the other */
	size_t count;
	uint64_t told; /* where that ends */
	/* A request was given up whose answer may yet come, to memory that
	 * has been freed: nothing is asked any more. */
	bool dead;
};

/* A server that answers nothing for so long, also while it is connected to, has
 * hung.  A test makes it less. */
extern int64_t fb_disk_patience_ms;

/*
 * Open one: an export of the server at a Unix socket, with a metadata context
 * beside that of where data is, or NULL; or an image, through a qemu-nbd that
 * ends with it.  `what` is for messages.  Close it, also after a failure;
 * `*disk` starts all-zero.
 */
FB_MUST_USE int fb_disk_open_socket(struct fb_disk *disk, const char *what,
    const char *socket, const char *export_, const char *context,
    struct fb_error *err);
FB_MUST_USE int fb_disk_open_image(struct fb_disk *disk, const char *path,
    const char *format, bool write, struct fb_error *err);
/* ... to be read, with a bitmap that it has, and the context of that. */
FB_MUST_USE int fb_disk_open_changes(struct fb_disk *disk, const char *path,
    const char *format, const char *bitmap, const char *context,
    struct fb_error *err);
/* The same of a server that a command has at its standard streams; its words
 * end with NULL. */
FB_MUST_USE int fb_disk_open_command(struct fb_disk *disk, const char *what,
    char *const *words, const char *export_, const char *context,
    struct fb_error *err);
void fb_disk_close(struct fb_disk *disk);

/* The next range from `from` on that is not known to be zeros, or a piece of
 * it; empty, at the end, when there is none. */
FB_MUST_USE int fb_disk_extent(struct fb_disk *disk, uint64_t from,
    uint64_t *ret_start, uint64_t *ret_end, struct fb_error *err);
/* What the server tells of a context from `from` on, for as far as it does. */
FB_MUST_USE int fb_disk_ask(struct fb_disk *disk, uint64_t from,
    nbd_extent_callback callback, struct fb_error *err);

/* Ranges within the disk, aligned or not. */
FB_MUST_USE int fb_disk_read(struct fb_disk *disk, uint64_t offset, void *bytes,
    size_t len, struct fb_error *err);
FB_MUST_USE int fb_disk_write(struct fb_disk *disk, uint64_t offset,
    const void *bytes, size_t len, struct fb_error *err);
/* As a hole, where the image can have one. */
FB_MUST_USE int fb_disk_zero(
    struct fb_disk *disk, uint64_t offset, uint64_t len, struct fb_error *err);
FB_MUST_USE int fb_disk_flush(struct fb_disk *disk, struct fb_error *err);

#endif

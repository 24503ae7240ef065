/*
 * Giving memory back behind a reader: a backup that reads terabytes once
 * must not push out of the page cache what the host works with.
 *
 * Only a file of which hardly anything is in the cache when reading begins
 * is dropped behind the reader: whatever else is there is somebody's.
 */
#ifndef DRIVER_BEHIND_H
#define DRIVER_BEHIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fb_behind {
	int fd; /* borrowed */
	bool drops;
	uint64_t from, to; /* what was read and is not dropped yet */
};

/* Look whether to drop; `size` is that of the file or device. */
void fb_behind_begin(struct fb_behind *behind, int fd, uint64_t size);
/* These bytes were read. */
void fb_behind_note(struct fb_behind *behind, uint64_t offset, size_t len);
void fb_behind_end(struct fb_behind *behind);

#endif

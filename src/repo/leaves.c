#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"

#include "bytes.h"
#include "leaves.h"

#define PENDING_MAX ((size_t)FB_LEAF_LEN * 1024)

static int
fail_short(const char *path, struct fb_error *err)
{
	(void)fb_fail_id(err, FB_ECORRUPT, "E-SPOOL",
	    "'%s' holds less than was journaled", path);
	return fb_hint(err,
	    "the run is given up, and the next one takes everything again");
}

int
fb_leaves_open(struct fb_leaves *leaves, const char *path, uint64_t count,
    struct fb_error *err)
{
	int fd = fb_io_open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600, err);
	off_t end, want = (off_t)(count * FB_LEAF_LEN);
	int rc = FB_OK;

	if (fd < 0)
		return fd;
	end = lseek(fd, 0, SEEK_END);
	if (end < want)
		rc = fail_short(path, err);
	else if (end > want)
		rc = fb_io_truncate(fd, path, want, err);
	if (rc == FB_OK && lseek(fd, want, SEEK_SET) == -1)
		rc = fb_fail_sys(err, "cannot seek in '%s'", path);
	if (rc < 0) {
		(void)close(fd);
		return rc;
	}
	*leaves = (struct fb_leaves){ .fd = fd, .path = fb_strdup(path),
		.count = count };
	return FB_OK;
}

static int
write_pending(struct fb_leaves *leaves, struct fb_error *err)
{
	int rc;

	if (leaves->pending.len == 0)
		return FB_OK;
	rc = fb_io_write_all(
	    leaves->fd, leaves->path, fb_buf_span(&leaves->pending), err);
	fb_buf_clear(&leaves->pending);
	leaves->dirty = true;
	return rc;
}

int
fb_leaves_add(struct fb_leaves *leaves, const struct fb_leaf *leaf,
    struct fb_error *err)
{
	fb_buf_add_le64(&leaves->pending, leaf->length);
	fb_buf_add_le32(&leaves->pending, leaf->pack);
	fb_buf_add_le32(&leaves->pending, leaf->chunk);
	fb_buf_add_le32(&leaves->pending, leaf->pack_offset);
	fb_buf_add_le32(&leaves->pending, leaf->stored_length);
	fb_buf_add(&leaves->pending, leaf->id.bytes, FB_DIGEST_LEN);
	leaves->count++;
	return leaves->pending.len < PENDING_MAX ? FB_OK
	                                         : write_pending(leaves, err);
}

int
fb_leaves_end(
    struct fb_leaves *leaves, struct fb_span trailer, struct fb_error *err)
{
	fb_buf_add(&leaves->pending, trailer.ptr, trailer.len);
	return write_pending(leaves, err);
}

int
fb_leaves_sync(struct fb_leaves *leaves, struct fb_error *err)
{
	int rc = write_pending(leaves, err);

	if (rc == FB_OK && leaves->dirty)
		rc = fb_io_sync(leaves->fd, leaves->path, err);
	if (rc == FB_OK)
		leaves->dirty = false;
	return rc;
}

void
fb_leaves_close(struct fb_leaves *leaves)
{
	if (leaves->path == NULL)
		return;
	(void)close(leaves->fd);
	free(leaves->path);
	fb_buf_release(&leaves->pending);
	*leaves = (struct fb_leaves){ .fd = -1 };
}

static void
decode(const uint8_t *at, struct fb_leaf *leaf)
{
	leaf->length = fb_load_le64(at);
	leaf->pack = fb_load_le32(at + 8);
	leaf->chunk = fb_load_le32(at + 12);
	leaf->pack_offset = fb_load_le32(at + 16);
	leaf->stored_length = fb_load_le32(at + 20);
	memcpy(leaf->id.bytes, at + 24, FB_DIGEST_LEN);
}

int
fb_leaves_read(const char *path, uint64_t count, fb_leaves_visit *visit,
    void *arg, struct fb_error *err)
{
	FB_AUTO_CLOSE int fd = fb_io_open(path, O_RDONLY | O_NOFOLLOW, 0, err);
	FB_AUTO_FREE uint8_t *bytes = fb_alloc(PENDING_MAX, 1);
	uint64_t at = 0, end = count * FB_LEAF_LEN;
	int rc = fd < 0 ? fd : FB_OK;

	while (rc == FB_OK && at < end) {
		size_t want = end - at < PENDING_MAX ? (size_t)(end - at)
		                                     : PENDING_MAX;
		size_t got;

		rc = fb_io_pread(fd, path, bytes, want, at, &got, err);
		if (rc == FB_OK && got < want)
			rc = fail_short(path, err);
		for (size_t i = 0; rc == FB_OK && i < want; i += FB_LEAF_LEN) {
			struct fb_leaf leaf;

			decode(bytes + i, &leaf);
			rc = visit(&leaf, arg, err);
		}
		at += want;
	}
	return rc;
}

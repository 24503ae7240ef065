/* A regular file or a block device, as an artifact and as a target. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/seam.h"
#include "behind.h"
#include "fleetbak/driver/artifact.h"

#define ZERO_STEP (256u * 1024)

/* A file that changed less than this before it was looked at may change once
 * more within the same tick of its file system's clock.  2 s is the coarsest
 * tick there is (FAT). */
#define RACY_NS INT64_C(2000000000)

static int64_t
time_ns(const struct timespec *time)
{
	return (int64_t)time->tv_sec * 1000000000 + time->tv_nsec;
}

void
fb_file_token(const struct stat *st, char ret_token[FB_CHANGE_TOKEN_SIZE])
{
	int64_t newest = time_ns(&st->st_ctim);

	ret_token[0] = '\0';
	if (time_ns(&st->st_mtim) > newest)
		newest = time_ns(&st->st_mtim);
	if (!S_ISREG(st->st_mode) || newest > fb_clock_wall_ns() - RACY_NS)
		return;
	(void)snprintf(ret_token, FB_CHANGE_TOKEN_SIZE,
	    "file:%" PRIuMAX ":%" PRIuMAX ":%" PRIdMAX ":%" PRId64 ":%" PRId64,
	    (uintmax_t)st->st_dev, (uintmax_t)st->st_ino,
	    (intmax_t)st->st_size, time_ns(&st->st_mtim),
	    time_ns(&st->st_ctim));
}

bool
fb_change_token_ok(const char *token)
{
	size_t len = strlen(token);

	for (size_t i = 0; i < len; i++)
		if (token[i] < 0x21 || token[i] > 0x7e)
			return false;
	return len < FB_CHANGE_TOKEN_SIZE;
}

static int
size_of(int fd, const char *path, uint64_t *ret_size, struct stat *ret_st,
    struct fb_error *err)
{
	if (fb_seam_fails(FB_STEP_LOOK, path) || fstat(fd, ret_st) == -1)
		return fb_fail_sys(err, "cannot look at '%s'", path);
	if (S_ISREG(ret_st->st_mode)) {
		*ret_size = (uint64_t)ret_st->st_size;
		return FB_OK;
	}
	if (!S_ISBLK(ret_st->st_mode))
		return fb_fail(err, FB_EUNSUP,
		    "'%s' is neither a regular file nor a block device", path);
	if (ioctl(fd, BLKGETSIZE64, ret_size) == -1)
		return fb_fail_sys(err, "cannot tell the size of '%s'", path);
	return FB_OK;
}

/* See fb_artifact_ops.extent.  What cannot tell its holes has none. */
static int
find_extent(int fd, const char *path, uint64_t size, uint64_t from,
    uint64_t *ret_start, uint64_t *ret_end, struct fb_error *err)
{
	off_t start, end;

	*ret_start = from < size ? from : size;
	*ret_end = size;
	if (from >= size)
		return FB_OK;
	start = fb_seam_fails(FB_STEP_LOOK, path)
	    ? -1
	    : lseek(fd, (off_t)from, SEEK_DATA);
	if (start == -1 && errno == ENXIO) {
		*ret_start = size;
		return FB_OK;
	}
	if (start == -1 && (errno == EINVAL || errno == EOPNOTSUPP ||
	                       errno == ESPIPE))
		return FB_OK;
	if (start == -1)
		return fb_fail_sys(err, "cannot look for data in '%s'", path);
	end = lseek(fd, start, SEEK_HOLE);
	if (end == -1)
		return fb_fail_sys(err, "cannot look for holes in '%s'", path);
	*ret_start = (uint64_t)start < size ? (uint64_t)start : size;
	*ret_end = (uint64_t)end < size ? (uint64_t)end : size;
	return FB_OK;
}

static int
read_exactly(int fd, const char *path, uint64_t offset, void *bytes,
    size_t len, struct fb_error *err)
{
	size_t got;
	int rc = fb_io_pread(fd, path, bytes, len, offset, &got, err);

	if (rc == FB_OK && got < len)
		rc = fb_fail(err, FB_ECONFLICT,
		    "'%s' became shorter while it was read (at %" PRIu64 ")",
		    path, offset + got);
	return rc;
}

struct file_artifact {
	struct fb_artifact base;
	char *path;
	int fd;
	struct stat before;
	bool live;
	struct fb_behind behind;
};

static int
artifact_extent(struct fb_artifact *artifact, uint64_t from,
    uint64_t *ret_start, uint64_t *ret_end, struct fb_error *err)
{
	struct file_artifact *file = (struct file_artifact *)artifact;

	return find_extent(file->fd, file->path, artifact->size, from,
	    ret_start, ret_end, err);
}

static int
artifact_read(struct fb_artifact *artifact, uint64_t offset, void *bytes,
    size_t len, struct fb_error *err)
{
	struct file_artifact *file = (struct file_artifact *)artifact;
	int rc = read_exactly(file->fd, file->path, offset, bytes, len, err);

	if (rc == FB_OK)
		fb_behind_note(&file->behind, offset, len);
	return rc;
}

static bool
artifact_changed(struct fb_artifact *artifact)
{
	struct file_artifact *file = (struct file_artifact *)artifact;
	const struct stat *old = &file->before;
	struct stat now;

	/* A device's own times say nothing about the bytes behind it. */
	if (S_ISBLK(old->st_mode))
		return file->live;
	return fstat(file->fd, &now) == -1 || now.st_size != old->st_size ||
	    now.st_mtim.tv_sec != old->st_mtim.tv_sec ||
	    now.st_mtim.tv_nsec != old->st_mtim.tv_nsec;
}

static void
artifact_close(struct fb_artifact *artifact)
{
	struct file_artifact *file = (struct file_artifact *)artifact;

	fb_behind_end(&file->behind);
	fb_closep(&file->fd);
	free(file->path);
	free(file);
}

static const struct fb_artifact_ops artifact_ops = {
	.extent = artifact_extent,
	.read = artifact_read,
	.changed = artifact_changed,
	.close = artifact_close,
};

int
fb_artifact_open_file(const char *path, struct fb_artifact **ret_artifact,
    struct fb_error *err)
{
	FB_AUTO_ARTIFACT struct fb_artifact *artifact = NULL;
	struct file_artifact *file = fb_alloc(1, sizeof(*file));
	int rc;

	artifact = &file->base;
	artifact->ops = &artifact_ops;
	file->path = fb_strdup(path);
	/* O_NONBLOCK: a fifo in the place of a disk must not hold us up. */
	file->fd = fb_io_open(path, O_RDONLY | O_NONBLOCK, 0, err);
	if (file->fd < 0)
		return file->fd;
	rc = size_of(file->fd, path, &artifact->size, &file->before, err);
	if (rc < 0)
		return rc;
	fb_file_token(&file->before, artifact->token);
	fb_behind_begin(&file->behind, file->fd, artifact->size);
	*ret_artifact = FB_STEAL(artifact);
	return FB_OK;
}

void
fb_artifact_file_is_live(struct fb_artifact *artifact)
{
	((struct file_artifact *)artifact)->live = true;
}

struct file_target {
	struct fb_target base;
	char *path;
	int fd;
	bool device;
};

static int
target_extent(struct fb_target *target, uint64_t from, uint64_t *ret_start,
    uint64_t *ret_end, struct fb_error *err)
{
	struct file_target *file = (struct file_target *)target;

	return find_extent(file->fd, file->path, target->size, from, ret_start,
	    ret_end, err);
}

static int
target_read(struct fb_target *target, uint64_t offset, void *bytes,
    size_t len, struct fb_error *err)
{
	struct file_target *file = (struct file_target *)target;

	return read_exactly(file->fd, file->path, offset, bytes, len, err);
}

static int
check_range(const struct file_target *file, uint64_t offset, uint64_t len,
    struct fb_error *err)
{
	uint64_t size = file->base.size;

	if (offset > size || len > size - offset)
		return fb_fail(err, FB_EBUG,
		    "write past the end of '%s' (%" PRIu64 " + %" PRIu64
		    " of %" PRIu64 ")",
		    file->path, offset, len, size);
	return FB_OK;
}

static int
target_write(struct fb_target *target, uint64_t offset, const void *bytes,
    size_t len, struct fb_error *err)
{
	struct file_target *file = (struct file_target *)target;
	int rc = check_range(file, offset, len, err);

	if (rc < 0)
		return rc;
	return fb_io_pwrite_all(file->fd, file->path,
	    (struct fb_span){ bytes, len }, offset, err);
}

static int
write_zeros(struct file_target *file, uint64_t offset, uint64_t len,
    struct fb_error *err)
{
	FB_AUTO_FREE uint8_t *zeros = fb_alloc(ZERO_STEP, 1);

	while (len > 0) {
		size_t step = len < ZERO_STEP ? (size_t)len : ZERO_STEP;
		int rc = fb_io_pwrite_all(file->fd, file->path,
		    (struct fb_span){ zeros, step }, offset, err);

		if (rc < 0)
			return rc;
		offset += step;
		len -= step;
	}
	return FB_OK;
}

static int
target_zero(struct fb_target *target, uint64_t offset, uint64_t len,
    struct fb_error *err)
{
	struct file_target *file = (struct file_target *)target;
	int rc = check_range(file, offset, len, err);

	if (rc < 0 || len == 0)
		return rc;
	fb_seam_dirty(file->fd);
	/* On a device this discards with zeros as the promise. */
	if (!fb_seam_fails(FB_STEP_WRITE, file->path) &&
	    fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
	        (off_t)offset, (off_t)len) == 0)
		return FB_OK;
	if (errno == ENOSPC)
		return fb_fail_sys(err, "cannot clear '%s'", file->path);
	return write_zeros(file, offset, len, err);
}

static int
target_sync(struct fb_target *target, struct fb_error *err)
{
	struct file_target *file = (struct file_target *)target;

	return fb_io_sync(file->fd, file->path, err);
}

static void
target_close(struct fb_target *target)
{
	struct file_target *file = (struct file_target *)target;

	fb_closep(&file->fd);
	free(file->path);
	free(file);
}

static const struct fb_target_ops target_ops = {
	.extent = target_extent,
	.read = target_read,
	.write = target_write,
	.zero = target_zero,
	.sync = target_sync,
	.close = target_close,
};

static int
fit_target(struct file_target *file, bool create, struct fb_error *err)
{
	uint64_t size, want = file->base.size;
	struct stat st;
	int rc = size_of(file->fd, file->path, &size, &st, err);

	if (rc < 0)
		return rc;
	file->device = S_ISBLK(st.st_mode);
	file->base.fresh = create;
	file->base.parallel = true;
	if (file->device && size < want)
		return fb_fail_id(err, FB_ENOSPACE, "E-RST-SMALL",
		    "'%s' holds %" PRIu64 " bytes, the disk has %" PRIu64,
		    file->path, size, want);
	if (!file->device && size != want) {
		rc = fb_io_truncate(file->fd, file->path, (off_t)want, err);
		if (rc < 0)
			return rc;
	}
	return create ? fb_io_sync_parent(file->path, err) : FB_OK;
}

int
fb_target_open_file(const char *path, uint64_t size, bool create,
    struct fb_target **ret_target, struct fb_error *err)
{
	FB_AUTO_TARGET struct fb_target *target = NULL;
	struct file_target *file = fb_alloc(1, sizeof(*file));
	int flags = O_RDWR | O_NONBLOCK, rc;

	target = &file->base;
	target->ops = &target_ops;
	target->size = size;
	file->path = fb_strdup(path);
	file->fd = -1;
	if (size > INT64_MAX)
		return fb_fail(err, FB_ECORRUPT,
		    "a disk of %" PRIu64 " bytes is not possible", size);
	if (create) {
		flags |= O_CREAT | O_EXCL | O_NOFOLLOW;
		if (fb_seam_fails(FB_STEP_RENAME, path))
			return fb_fail_sys(err, "cannot make '%s'", path);
	}
	file->fd = fb_io_open(path, flags, 0600, err);
	if (file->fd < 0)
		return file->fd;
	rc = fit_target(file, create, err);
	if (rc < 0)
		return rc;
	*ret_target = FB_STEAL(target);
	return FB_OK;
}

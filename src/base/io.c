#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/seam.h"

#define READ_STEP 65536

int
fb_io_openat(
    int dirfd, const char *name, int flags, mode_t mode, const char *what)
{
	int fd;

	if ((flags & O_CREAT) != 0)
		fb_seam_made(dirfd, name);
	do
		fd = fb_seam_fails(FB_STEP_OPEN, what)
		    ? -1
		    : openat(dirfd, name, flags | O_CLOEXEC, mode);
	while (fd == -1 && errno == EINTR);
	return fd;
}

int
fb_io_open(const char *path, int flags, mode_t mode, struct fb_error *err)
{
	int fd = fb_io_openat(AT_FDCWD, path, flags, mode, path);

	if (fd == -1)
		return fb_fail_sys(err, "cannot open '%s'", path);
	return fd;
}

int
fb_io_look(const char *path, struct stat *ret_st, struct fb_error *err)
{
	if (!fb_seam_fails(FB_STEP_LOOK, path) && lstat(path, ret_st) == 0)
		return FB_OK;
	if (errno == ENOTDIR)
		errno = ENOENT;
	return fb_fail_sys(err, "cannot look at '%s'", path);
}

struct dirent *
fb_io_readdir(DIR *dir, const char *what)
{
	struct dirent *entry;

	do {
		errno = 0;
		entry = fb_seam_fails(FB_STEP_READ, what) ? NULL : readdir(dir);
	} while (entry == NULL && errno == EINTR);
	return entry;
}

void
fb_io_listing_freep(char ***names)
{
	for (size_t i = 0; *names != NULL && (*names)[i] != NULL; i++)
		free((*names)[i]);
	free(*names);
	*names = NULL;
}

static int
compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int
fb_io_list(const char *path, char ***ret_names, struct fb_error *err)
{
	FB_AUTO_LISTING char **names = fb_alloc(1, sizeof(*names));
	int fd = fb_io_open(path, O_RDONLY | O_DIRECTORY, 0, err);
	struct dirent *entry;
	size_t count = 0;
	int sys;
	DIR *dir;

	if (fd < 0)
		return fd;
	dir = fdopendir(fd);
	if (dir == NULL) {
		sys = fb_fail_sys(err, "cannot read directory '%s'", path);
		(void)close(fd);
		return sys;
	}
	while ((entry = fb_io_readdir(dir, path)) != NULL) {
		if (strcmp(entry->d_name, ".") == 0 ||
		    strcmp(entry->d_name, "..") == 0)
			continue;
		names = fb_realloc(names, count + 2, sizeof(*names));
		names[count++] = fb_strdup(entry->d_name);
		names[count] = NULL;
	}
	sys = errno;
	(void)closedir(dir);
	errno = sys;
	if (sys != 0)
		return fb_fail_sys(err, "cannot read directory '%s'", path);
	qsort(names, count, sizeof(*names), compare_names);
	*ret_names = FB_STEAL(names);
	return FB_OK;
}

int
fb_io_read_all(int fd, const char *path, size_t max, struct fb_buf *dst,
    struct fb_error *err)
{
	size_t before = dst->len;

	for (;;) {
		size_t want = READ_STEP;
		ssize_t got;

		if (fb_buf_reserve_or_fail(dst, READ_STEP, err) < 0)
			return fb_wrap(err, "cannot read '%s'", path);
		got = fb_seam_read_fails(path, &want)
		    ? -1
		    : read(fd, dst->data + dst->len, want);
		if (got == -1 && errno == EINTR)
			continue;
		if (got == -1)
			return fb_fail_sys(err, "cannot read '%s'", path);
		dst->len += got > 0 ? (size_t)got : 0;
		dst->data[dst->len] = '\0';
		if (got == 0)
			return FB_OK;
		if (dst->len - before > max)
			return fb_fail(err, FB_ECORRUPT,
			    "'%s' is larger than %zu bytes", path, max);
	}
}

int
fb_io_read_file(
    const char *path, size_t max, struct fb_buf *dst, struct fb_error *err)
{
	FB_AUTO_CLOSE int fd = fb_io_open(path, O_RDONLY, 0, err);

	if (fd < 0)
		return fd;
	return fb_io_read_all(fd, path, max, dst, err);
}

int
fb_io_pread(int fd, const char *path, void *bytes, size_t len, uint64_t offset,
    size_t *ret_len, struct fb_error *err)
{
	size_t done = 0;

	while (done < len) {
		size_t want = len - done;
		ssize_t got = fb_seam_read_fails(path, &want)
		    ? -1
		    : pread(fd, (uint8_t *)bytes + done, want,
		          (off_t)(offset + done));

		if (got == -1 && errno == EINTR)
			continue;
		if (got == -1)
			return fb_fail_sys(err, "cannot read '%s'", path);
		if (got == 0)
			break;
		done += (size_t)got;
	}
	*ret_len = done;
	return FB_OK;
}

/* One write, as far as the seam lets it come. */
static ssize_t
put_some(int fd, struct fb_span bytes, int64_t offset, enum fb_fault *fault)
{
	enum fb_fault now = *fault;
	ssize_t put;

	*fault = now == FB_FAULT_HALF ? FB_FAULT_FAIL : FB_FAULT_NONE;
	if (now == FB_FAULT_FAIL) {
		fb_seam_errno();
		return -1;
	}
	if (now != FB_FAULT_NONE)
		bytes.len /= 2;
	put = offset < 0 ? write(fd, bytes.ptr, bytes.len)
	                 : pwrite(fd, bytes.ptr, bytes.len, (off_t)offset);
	if (now == FB_FAULT_TORN)
		fb_seam_crash();
	return put;
}

/* `offset` -1: at the file's own position. */
static int
write_at(int fd, const char *path, struct fb_span bytes, int64_t offset,
    struct fb_error *err)
{
	enum fb_fault fault = fb_seam(FB_STEP_WRITE, path);

	fb_seam_dirty(fd);
	while (bytes.len > 0 || fault != FB_FAULT_NONE) {
		ssize_t put = put_some(fd, bytes, offset, &fault);

		if (put == -1 && errno == EINTR)
			continue;
		if (put == -1)
			return fb_fail_sys(err, "cannot write '%s'", path);
		bytes.ptr += put;
		bytes.len -= (size_t)put;
		offset += offset < 0 ? 0 : put;
	}
	return FB_OK;
}

int
fb_io_write_all(
    int fd, const char *path, struct fb_span bytes, struct fb_error *err)
{
	return write_at(fd, path, bytes, -1, err);
}

int
fb_io_pwrite_all(int fd, const char *path, struct fb_span bytes,
    uint64_t offset, struct fb_error *err)
{
	return write_at(fd, path, bytes, (int64_t)offset, err);
}

int
fb_io_sync(int fd, const char *path, struct fb_error *err)
{
	bool failed;

	do
		failed = fb_seam_fails(FB_STEP_SYNC, path) || fsync(fd) == -1;
	while (failed && errno == EINTR);
	if (failed)
		return fb_fail_sys(err, "cannot sync '%s'", path);
	fb_seam_clean(fd);
	return FB_OK;
}

int
fb_io_sync_all(int fd, const char *path, struct fb_error *err)
{
	bool failed;

	do
		failed = fb_seam_fails(FB_STEP_SYNC, path) || syncfs(fd) == -1;
	while (failed && errno == EINTR);
	if (failed)
		return fb_fail_sys(
		    err, "cannot sync the file system of '%s'", path);
	fb_seam_clean_all(fd);
	return FB_OK;
}

int
fb_io_truncate(int fd, const char *path, off_t size, struct fb_error *err)
{
	bool failed;

	fb_seam_dirty(fd);
	do
		failed = fb_seam_fails(FB_STEP_RENAME, path) ||
		    ftruncate(fd, size) == -1;
	while (failed && errno == EINTR);
	if (failed)
		return fb_fail_sys(err, "cannot cut '%s'", path);
	return FB_OK;
}

static char *
parent_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (slash == NULL)
		return fb_strdup(".");
	if (slash == path)
		return fb_strdup("/");
	return fb_format("%.*s", (int)(slash - path), path);
}

int
fb_io_sync_parent(const char *path, struct fb_error *err)
{
	FB_AUTO_FREE char *dir = parent_of(path);
	FB_AUTO_CLOSE int fd = fb_io_open(dir, O_RDONLY | O_DIRECTORY, 0, err);

	if (fd < 0)
		return fd;
	return fb_io_sync(fd, dir, err);
}

/*
 * A directory that is there need not be durable: whoever made it may be just
 * about to sync it, or dead.  What lies where we may not look was made by
 * somebody else, as we sync each one before we make the next below it.
 */
static int
settle_dir(const char *path, struct fb_error *err)
{
	struct fb_error cause = { 0 };
	int rc = fb_io_sync_parent(path, &cause);

	if (rc < 0 && (cause.sys != EACCES && cause.sys != EPERM))
		*err = cause;
	else
		rc = FB_OK;
	return rc;
}

static int
make_dirs(const char *path, mode_t mode, bool durable, struct fb_error *err)
{
	FB_AUTO_FREE char *parent = NULL;
	struct stat st;
	int rc;

	if (stat(path, &st) == 0) {
		if (!S_ISDIR(st.st_mode))
			return fb_fail(err, FB_EEXISTS,
			    "'%s' is not a directory", path);
		return durable ? settle_dir(path, err) : FB_OK;
	}
	parent = parent_of(path);
	if (strcmp(parent, path) != 0 && strcmp(parent, ".") != 0) {
		rc = make_dirs(parent, mode, durable, err);
		if (rc < 0)
			return rc;
	}
	fb_seam_name(AT_FDCWD, path);
	if (fb_seam_fails(FB_STEP_RENAME, path) ||
	    (mkdir(path, mode) == -1 && errno != EEXIST))
		return fb_fail_sys(err, "cannot make directory '%s'", path);
	return durable ? fb_io_sync_parent(path, err) : FB_OK;
}

int
fb_io_mkdirs(const char *path, mode_t mode, struct fb_error *err)
{
	return make_dirs(path, mode, true, err);
}

int
fb_io_mkdirs_later(const char *path, mode_t mode, struct fb_error *err)
{
	return make_dirs(path, mode, false, err);
}

int
fb_io_unlink(const char *path, struct fb_error *err)
{
	fb_seam_name(AT_FDCWD, path);
	if (fb_seam_fails(FB_STEP_RENAME, path) ||
	    (unlink(path) == -1 && errno != ENOENT))
		return fb_fail_sys(err, "cannot remove '%s'", path);
	return FB_OK;
}

int
fb_io_rename(const char *from, const char *to, bool fresh, struct fb_error *err)
{
	FB_AUTO_FREE char *from_dir = parent_of(from);
	FB_AUTO_FREE char *to_dir = parent_of(to);
	int rc;

	fb_seam_move(from, to);
	if (fb_seam_fails(FB_STEP_RENAME, to) ||
	    renameat2(AT_FDCWD, from, AT_FDCWD, to,
	        fresh ? RENAME_NOREPLACE : 0) == -1)
		return fb_fail_sys(err, "cannot rename '%s' to '%s'", from, to);
	rc = fb_io_sync_parent(to, err);
	if (rc < 0 || strcmp(from_dir, to_dir) == 0)
		return rc;
	return fb_io_sync_parent(from, err);
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path) == -1 && errno != ENOENT ? -1 : 0;
}

int
fb_io_remove_tree(const char *path, struct fb_error *err)
{
	fb_seam_tree(path);
	if (fb_seam_fails(FB_STEP_RENAME, path) ||
	    (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) ==
	            -1 &&
	        errno != ENOENT))
		return fb_fail_sys(err, "cannot remove '%s'", path);
	return FB_OK;
}

/* What a file becomes: bytes, or what another one holds. */
struct content {
	struct fb_span bytes;
	const char *from; /* NULL: `bytes` */
	uint64_t max;
};

/* Of a file that is copied, at a time. */
#define COPY_MAX ((size_t)1 << 18)

static int
write_copy(int fd, const char *path, const struct content *content,
    struct fb_error *err)
{
	FB_AUTO_CLOSE int from = fb_io_open(content->from, O_RDONLY, 0, err);
	FB_AUTO_FREE uint8_t *room = NULL;
	uint64_t done = 0;
	size_t len;

	if (from < 0)
		return from;
	room = fb_alloc(COPY_MAX, 1);
	for (;;) {
		int rc = fb_io_pread(
		    from, content->from, room, COPY_MAX, done, &len, err);

		if (rc < 0 || len == 0)
			return rc;
		done += len;
		if (done > content->max)
			return fb_fail(err, FB_ECORRUPT,
			    "'%s' has more than %" PRIu64 " bytes",
			    content->from, content->max);
		rc = fb_io_write_all(
		    fd, path, (struct fb_span){ room, len }, err);
		if (rc < 0)
			return rc;
	}
}

/* A leftover of a crash goes first: its mode, and what it is, are not ours. */
static int
write_new(const char *path, const struct content *content, mode_t mode,
    struct fb_error *err)
{
	FB_AUTO_CLOSE int fd = -1;
	int rc;

	fb_seam_name(AT_FDCWD, path);
	if (unlink(path) == -1 && errno != ENOENT)
		return fb_fail_sys(err, "cannot replace '%s'", path);
	fd = fb_io_open(path, O_WRONLY | O_CREAT | O_EXCL, mode, err);
	if (fd < 0)
		return fd;
	rc = content->from != NULL
	    ? write_copy(fd, path, content, err)
	    : fb_io_write_all(fd, path, content->bytes, err);
	if (rc < 0)
		return rc;
	return fb_io_sync(fd, path, err);
}

static int
replace(const char *path, const struct content *content, mode_t mode,
    struct fb_error *err)
{
	FB_AUTO_FREE char *temp = fb_format("%s.tmp", path);
	int rc = write_new(temp, content, mode, err);

	if (rc == FB_OK) {
		fb_seam_move(temp, path);
		if (fb_seam_fails(FB_STEP_RENAME, path) ||
		    rename(temp, path) == -1)
			rc = fb_fail_sys(
			    err, "cannot rename '%s' to '%s'", temp, path);
	}
	if (rc < 0) {
		(void)unlink(temp);
		return rc;
	}
	return fb_io_sync_parent(path, err);
}

int
fb_io_replace(
    const char *path, struct fb_span bytes, mode_t mode, struct fb_error *err)
{
	return replace(path, &(struct content){ .bytes = bytes }, mode, err);
}

int
fb_io_replace_by(const char *path, const char *from, uint64_t max, mode_t mode,
    struct fb_error *err)
{
	return replace(
	    path, &(struct content){ .from = from, .max = max }, mode, err);
}

/*
 * The writing half of a store in a directory.
 *
 * An object is written without a name and linked into place when its bytes
 * are durable, so a name always holds a whole object, a name that is taken
 * is never taken over, and a directory that can only be appended to
 * (chattr +a: no rename, no unlink) is enough.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/seam.h"
#include "fleetbak/base/text.h"
#include "fleetbak/crypto/digest.h"
#include "store_dir.h"

#define OBJECT_MODE 0444

/* Written by replace, under the lock; a leftover is overwritten. */
#define REPLACE_NAME ".replacing"
#define LOCK_NAME    ".lock"
#define LOCK_WAIT_NS INT64_C(30000000000)
#define LOCK_STEP_MS 20

#define COPY_STEP (1 << 20)

/* A file on its way: nameless, or, where the file system knows no such
 * thing, under a hidden name. */
struct draft {
	int fd;
	char name[32]; /* "": nameless */
};

static int
fail_at(const struct place *place, const char *verb, struct fb_error *err)
{
	return fb_fail_sys(
	    err, "cannot %s '%s/%s'", verb, place->root, place->key);
}

static int
fail_taken(struct fb_error *err)
{
	return fb_fail(err, FB_EEXISTS, "there is such an object");
}

static int
open_draft(const struct place *place, struct draft *draft, struct fb_error *err)
{
	uint8_t random[8];
	char hex[2 * sizeof(random) + 1];

	draft->name[0] = '\0';
	draft->fd = fb_io_openat(
	    place->dir_fd, ".", O_RDWR | O_TMPFILE, OBJECT_MODE, place->key);
	if (draft->fd >= 0)
		return FB_OK;
	if (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT &&
	    errno != EINVAL)
		return fail_at(place, "write", err);

	fb_random(random, sizeof(random));
	fb_text_hex(random, sizeof(random), hex);
	(void)snprintf(draft->name, sizeof(draft->name), ".new-%s", hex);
	fb_seam_made(place->dir_fd, draft->name);
	draft->fd = fb_seam_fails(FB_STEP_RENAME, draft->name)
	    ? -1
	    : openat(place->dir_fd, draft->name,
	          O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
	          OBJECT_MODE);
	if (draft->fd == -1)
		return fail_at(place, "write", err);
	return FB_OK;
}

static void
close_draft(const struct place *place, struct draft *draft)
{
	if (draft->name[0] != '\0')
		(void)unlinkat(place->dir_fd, draft->name, 0);
	if (draft->fd >= 0)
		(void)close(draft->fd);
}

/* linkat() of a hidden name is refused by file systems without hard links;
 * they can at least rename without replacing. */
static int
link_named(const struct place *place, struct draft *draft)
{
	if (linkat(place->dir_fd, draft->name, place->dir_fd, place->leaf, 0) ==
	    0)
		return 0;
	if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS)
		return -1;
	if (renameat2(place->dir_fd, draft->name, place->dir_fd, place->leaf,
	        RENAME_NOREPLACE) == -1)
		return -1;
	draft->name[0] = '\0';
	return 0;
}

/* Without privilege only the way through /proc names an open file. */
static int
link_nameless(const struct place *place, int fd)
{
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (linkat(AT_FDCWD, path, place->dir_fd, place->leaf,
	        AT_SYMLINK_FOLLOW) == 0)
		return 0;
	if (errno != ENOENT && errno != ENOTDIR)
		return -1;
	return linkat(fd, "", place->dir_fd, place->leaf, AT_EMPTY_PATH);
}

/*
 * What happened to the name, made durable.  Also when it was taken: whoever
 * took it may not have synced it yet, and our caller will rely on it.
 */
static int
settle(const struct place *place, int linked, struct fb_error *err)
{
	bool taken = linked == -1 && errno == EEXIST;
	int rc;

	if (linked == -1 && !taken)
		return fail_at(place, "publish", err);
	rc = fb_io_sync(place->dir_fd, place->root, err);
	if (rc < 0)
		return rc;
	return taken ? fail_taken(err) : FB_OK;
}

static int
publish(const struct place *place, struct draft *draft, struct fb_error *err)
{
	int rc = fb_io_sync(draft->fd, place->key, err);
	int linked;

	if (rc < 0)
		return rc;
	fb_seam_made(place->dir_fd, place->leaf);
	if (fb_seam_fails(FB_STEP_RENAME, place->key))
		linked = -1;
	else if (draft->name[0] != '\0')
		linked = link_named(place, draft);
	else
		linked = link_nameless(place, draft->fd);
	return settle(place, linked, err);
}

/* Before the work of writing it: FB_EEXISTS when the name is taken. */
static int
check_free(const struct place *place, struct fb_error *err)
{
	struct stat st;

	if (fstatat(place->dir_fd, place->leaf, &st, AT_SYMLINK_NOFOLLOW) == -1)
		return errno == ENOENT ? FB_OK : fail_at(place, "make", err);
	errno = EEXIST;
	return settle(place, -1, err);
}

int
fb_dir_create(struct fb_store *store, const char *key, struct fb_span bytes,
    struct fb_error *err)
{
	AUTO_PLACE struct place place = { .dir_fd = -1 };
	struct draft draft = { -1, "" };
	int rc =
	    fb_dir_place((struct dir_store *)store, key, true, &place, err);

	if (rc == FB_OK)
		rc = check_free(&place, err);
	if (rc == FB_OK)
		rc = open_draft(&place, &draft, err);
	if (rc == FB_OK)
		rc = fb_io_write_all(draft.fd, key, bytes, err);
	if (rc == FB_OK)
		rc = publish(&place, &draft, err);
	close_draft(&place, &draft);
	return rc;
}

/* Whether a failure to link says "not this way" rather than "no". */
static bool
is_no_way(int sys)
{
	return sys == EXDEV || sys == EPERM || sys == EMLINK ||
	    sys == EOPNOTSUPP || sys == ENOSYS;
}

/* Give the file itself the name; 1: not possible, copy it. */
static int
link_source(const struct dir_store *dir, const struct place *place, int fd,
    const char *path, struct fb_error *err)
{
	struct stat st;
	int linked, rc;

	if (fstat(fd, &st) == -1)
		return fb_fail_sys(err, "cannot look at '%s'", path);
	if (st.st_nlink != 1)
		return 1;
	if (fb_seam_fails(FB_STEP_RENAME, path) ||
	    fchmod(fd, OBJECT_MODE & ~dir->umask) == -1)
		return 1;
	rc = fb_io_sync(fd, path, err);
	if (rc < 0)
		return rc;
	fb_seam_made(place->dir_fd, place->leaf);
	linked = fb_seam_fails(FB_STEP_RENAME, place->key)
	    ? -1
	    : linkat(AT_FDCWD, path, place->dir_fd, place->leaf, 0);
	if (linked == -1 && is_no_way(errno))
		return 1;
	return settle(place, linked, err);
}

/* Let the kernel copy, which may share the blocks; `*done` says how far it
 * came.  Stops early where it cannot. */
static void
copy_in_kernel(int from, int to, uint64_t size, uint64_t *done)
{
	while (*done < size) {
		off_t in = (off_t)*done, out = (off_t)*done;
		ssize_t put =
		    copy_file_range(from, &in, to, &out, size - *done, 0);

		if (put == -1 && errno == EINTR)
			continue;
		if (put <= 0)
			return;
		*done += (uint64_t)put;
	}
}

static int
copy_bytes(int from, const char *path, int to, const char *key, uint64_t size,
    struct fb_error *err)
{
	enum fb_fault fault = fb_seam(FB_STEP_WRITE, key);
	FB_AUTO_FREE uint8_t *bytes = NULL;
	uint64_t done = 0;

	fb_seam_dirty(to);
	if (fault != FB_FAULT_FAIL)
		copy_in_kernel(
		    from, to, fault == FB_FAULT_NONE ? size : size / 2, &done);
	if (fault == FB_FAULT_TORN)
		fb_seam_crash();
	if (fault == FB_FAULT_HALF || fault == FB_FAULT_FAIL) {
		fb_seam_errno();
		if (errno != EINTR)
			return fb_fail_sys(err, "cannot write '%s'", key);
	}
	if (done < size)
		bytes = fb_alloc(COPY_STEP, 1);
	while (done < size) {
		size_t want =
		    size - done < COPY_STEP ? (size_t)(size - done) : COPY_STEP;
		size_t got = 0;
		int rc = fb_io_pread(from, path, bytes, want, done, &got, err);

		if (rc == FB_OK && got < want)
			rc = fb_fail(
			    err, FB_ECORRUPT, "'%s' became shorter", path);
		if (rc == FB_OK)
			rc = fb_io_pwrite_all(
			    to, key, (struct fb_span){ bytes, got }, done, err);
		if (rc < 0)
			return rc;
		done += got;
	}
	return FB_OK;
}

int
fb_dir_create_file(struct fb_store *store, const char *key, const char *path,
    uint64_t size, struct fb_error *err)
{
	struct dir_store *dir = (struct dir_store *)store;
	FB_AUTO_CLOSE int from = fb_store_open_source(path, size, err);
	AUTO_PLACE struct place place = { .dir_fd = -1 };
	struct draft draft = { -1, "" };
	int rc;

	if (from < 0)
		return from;
	rc = fb_dir_place(dir, key, true, &place, err);
	if (rc == FB_OK)
		rc = check_free(&place, err);
	if (rc == FB_OK)
		rc = link_source(dir, &place, from, path, err);
	if (rc <= 0)
		return rc;
	rc = open_draft(&place, &draft, err);
	if (rc == FB_OK)
		rc = copy_bytes(from, path, draft.fd, key, size, err);
	if (rc == FB_OK)
		rc = publish(&place, &draft, err);
	close_draft(&place, &draft);
	return rc;
}

/* The lock of all replaces in this store, on one host. */
static int
lock_store(const struct dir_store *dir, struct fb_error *err)
{
	int64_t start = fb_clock_mono_ns();
	int fd = fb_io_openat(dir->root_fd, LOCK_NAME,
	    O_RDONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0644, LOCK_NAME);

	if (fd == -1)
		return fb_fail_sys(
		    err, "cannot open '%s/" LOCK_NAME "'", dir->root);
	while (flock(fd, LOCK_EX | LOCK_NB) == -1) {
		int rc = FB_OK;

		if (errno != EWOULDBLOCK && errno != EINTR)
			rc = fb_fail_sys(
			    err, "cannot lock '%s/" LOCK_NAME "'", dir->root);
		else if (fb_clock_mono_ns() - start > LOCK_WAIT_NS)
			rc = fb_fail(err, FB_EBUSY,
			    "'%s/" LOCK_NAME "' is held by another process",
			    dir->root);
		if (rc < 0) {
			(void)close(fd);
			return rc;
		}
		(void)poll(NULL, 0, LOCK_STEP_MS);
	}
	return fd;
}

/* FB_ECONFLICT unless the object is as its tag says. */
static int
check_tag(const struct place *place, const char *tag, struct fb_error *err)
{
	char now[FB_STORE_TAG_SIZE] = "";
	uint64_t size;
	FB_AUTO_CLOSE int fd = fb_dir_open_object(place, &size, err);
	int rc = FB_OK;

	if (fd >= 0)
		rc = fb_dir_tag(fd, place->key, now, err);
	else if (fd != FB_ENOTFOUND)
		rc = fd;
	if (rc < 0)
		return rc;
	if (strcmp(now, tag) != 0)
		return fb_fail(err, FB_ECONFLICT, "the object has changed");
	return FB_OK;
}

static int
write_over(
    const struct place *place, struct fb_span bytes, struct fb_error *err)
{
	FB_AUTO_CLOSE int fd = -1;
	int rc;

	fb_seam_name(place->dir_fd, REPLACE_NAME);
	if (fb_seam_fails(FB_STEP_RENAME, REPLACE_NAME) ||
	    (unlinkat(place->dir_fd, REPLACE_NAME, 0) == -1 && errno != ENOENT))
		return fail_at(place, "replace", err);
	fd = fb_io_openat(place->dir_fd, REPLACE_NAME,
	    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, OBJECT_MODE,
	    REPLACE_NAME);
	if (fd == -1)
		return fail_at(place, "replace", err);
	rc = fb_io_write_all(fd, place->key, bytes, err);
	if (rc == FB_OK)
		rc = fb_io_sync(fd, place->key, err);
	if (rc == FB_OK) {
		fb_seam_name(place->dir_fd, place->leaf);
		if (fb_seam_fails(FB_STEP_RENAME, place->key) ||
		    renameat(place->dir_fd, REPLACE_NAME, place->dir_fd,
		        place->leaf) == -1)
			rc = fail_at(place, "replace", err);
	}
	if (rc < 0) {
		(void)unlinkat(place->dir_fd, REPLACE_NAME, 0);
		return rc;
	}
	return fb_io_sync(place->dir_fd, place->root, err);
}

int
fb_dir_replace(struct fb_store *store, const char *key, struct fb_span bytes,
    const char *tag, struct fb_error *err)
{
	struct dir_store *dir = (struct dir_store *)store;
	AUTO_PLACE struct place place = { .dir_fd = -1 };
	FB_AUTO_CLOSE int lock = -1;
	int rc;

	if (tag[0] == '\0') { /* creating needs neither lock nor rename */
		rc = fb_dir_create(store, key, bytes, err);
		return rc == FB_EEXISTS
		    ? fb_fail(err, FB_ECONFLICT, "there is an object by now")
		    : rc;
	}
	lock = lock_store(dir, err);
	if (lock < 0)
		return lock;
	rc = fb_dir_place(dir, key, false, &place, err);
	if (rc == FB_ENOTFOUND)
		return fb_fail(err, FB_ECONFLICT, "the object is gone");
	if (rc == FB_OK)
		rc = check_tag(&place, tag, err);
	if (rc == FB_OK)
		rc = write_over(&place, bytes, err);
	return rc;
}

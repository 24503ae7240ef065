/* Where a member goes: reached by descriptors, and cleared of what is there. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/seam.h"
#include "tree_unpack.h"

void
fb_unpack_report(struct fb_unpacker *u, const char *path, const char *what)
{
	if (u->options->report != NULL)
		u->options->report(u->options->report_arg, path, what);
}

void
fb_unpack_report_sys(struct fb_unpacker *u, const char *path, const char *what)
{
	FB_AUTO_FREE char *text = fb_format("%s: %s", what, strerror(errno));

	fb_unpack_report(u, path, text);
}

int
fb_unpack_refuse(struct fb_unpacker *u, const char *why, struct fb_error *err)
{
	return fb_fail_id(err, FB_ECORRUPT, "E-TREE-ESCAPE",
	    "member '%.300s' of the archive %s", u->path, why);
}

/* ------------------------------------------------------------- places */

/* Enter or make one directory; a symbolic link is neither. */
static int
enter(struct fb_unpacker *u, int dirfd, const char *name, bool make)
{
	int fd = fb_io_openat(
	    dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, u->path);

	if (fd >= 0 || errno != ENOENT || !make)
		return fd;
	if (fb_seam_fails(FB_STEP_RENAME, u->path) ||
	    (mkdirat(dirfd, name, FB_UNPACK_DIR_MODE) == -1 &&
	        errno != EEXIST))
		return -1;
	return fb_io_openat(
	    dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, u->path);
}

/* Open the directory `path` of `len` bytes; -1 with errno. */
int
fb_unpack_walk(struct fb_unpacker *u, const char *path, size_t len, bool make)
{
	int fd = fb_io_openat(
	    u->root, ".", O_RDONLY | O_DIRECTORY, 0, "root of the tree");

	while (fd >= 0 && len > 0) {
		const char *slash = memchr(path, '/', len);
		size_t part = slash != NULL ? (size_t)(slash - path) : len;
		FB_AUTO_FREE char *name = fb_format("%.*s", (int)part, path);
		int next = enter(u, fd, name, make), sys = errno;

		fb_closep(&fd);
		errno = sys;
		fd = next;
		len -= slash != NULL ? part + 1 : part;
		path += slash != NULL ? part + 1 : part;
	}
	return fd;
}

size_t
fb_unpack_parent_len(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash != NULL ? (size_t)(slash - path) : 0;
}

const char *
fb_unpack_base(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash != NULL ? slash + 1 : path;
}

void
fb_unpack_forget_parent(struct fb_unpacker *u)
{
	fb_closep(&u->parent);
	u->parent = -1;
	free(FB_STEAL(u->parent_path));
}

/* Open (and remember) the directory that holds the member. */
int
fb_unpack_parent(struct fb_unpacker *u, struct fb_error *err)
{
	size_t len = fb_unpack_parent_len(u->path);

	if (u->parent >= 0 && strlen(u->parent_path) == len &&
	    memcmp(u->parent_path, u->path, len) == 0)
		return FB_OK;
	fb_unpack_forget_parent(u);
	u->parent = fb_unpack_walk(u, u->path, len, true);
	if (u->parent == -1 && (errno == ELOOP || errno == ENOTDIR))
		return fb_unpack_refuse(u, "lies behind something that is no directory",
		    err);
	if (u->parent == -1)
		return fb_fail_sys(err, "cannot enter the directory of '%s'",
		    u->path);
	u->parent_path = fb_format("%.*s", (int)len, u->path);
	return FB_OK;
}

/* ------------------------------------------------------------ removal */

static int
remove_content(struct fb_unpacker *u, int fd, const char *path, unsigned depth,
    struct fb_error *err)
{
	FB_AUTO_NAMES struct fb_names names = { 0 };
	int rc = FB_OK;

	if (fb_names_read(fd, &names) == -1)
		return fb_fail_sys(err, "cannot read directory '%s'", path);
	for (size_t i = 0; i < names.count && rc == FB_OK; i++) {
		const char *name = names.bytes + names.at[i];
		FB_AUTO_FREE char *below = fb_format("%s/%s", path, name);

		rc = fb_unpack_remove(u, fd, name, below, depth + 1, err);
	}
	return rc;
}

int
fb_unpack_remove(struct fb_unpacker *u, int dirfd, const char *name,
    const char *path, unsigned depth, struct fb_error *err)
{
	FB_AUTO_CLOSE int fd = -1;
	struct stat st;
	int rc;

	if (fb_tree_excluded(u->options->exclude, path) ||
	    fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == -1 ||
	    S_ISSOCK(st.st_mode))
		return FB_OK;
	if (st.st_dev != u->dev) {
		fb_unpack_report(u, path, "kept: another file system is mounted there");
		return FB_OK;
	}
	if (depth > FB_TREE_PATH_MAX / 8)
		return fb_fail(err, FB_EUNSUP,
		    "'%s' is nested too deeply to be removed", path);
	if (S_ISDIR(st.st_mode)) {
		fd = fb_io_openat(dirfd, name,
		    O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, path);
		rc = fd == -1 ? fb_fail_sys(err, "cannot enter '%s'", path)
		              : remove_content(u, fd, path, depth, err);
		if (rc < 0)
			return rc;
	}
	fb_unpack_report(u, path, "removed: the backup does not have it");
	if (!fb_seam_fails(FB_STEP_RENAME, path) &&
	    unlinkat(dirfd, name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0) ==
	        0) {
		u->stats.removed++;
		return FB_OK;
	}
	if (errno == ENOTEMPTY || errno == EEXIST || errno == EBUSY) {
		fb_unpack_report(u, path, "kept: something in it is excluded");
		return FB_OK;
	}
	return fb_fail_sys(err, "cannot remove '%s'", path);
}

/* Make room for a member that replaces what is there. */
int
fb_unpack_clear(struct fb_unpacker *u, const char *name, struct fb_error *err)
{
	struct stat st;

	if (fstatat(u->parent, name, &st, AT_SYMLINK_NOFOLLOW) == -1)
		return errno == ENOENT
		    ? FB_OK
		    : fb_fail_sys(err, "cannot look at '%s'", u->path);
	if (S_ISDIR(st.st_mode)) {
		if (!u->options->mirror || u->options->keep_extra)
			return fb_fail(err, FB_EEXISTS,
			    "'%s' is a directory, and something else in the "
			    "archive",
			    u->path);
		return fb_unpack_remove(u, u->parent, name, u->path, 0, err);
	}
	if (fb_seam_fails(FB_STEP_RENAME, u->path) ||
	    (unlinkat(u->parent, name, 0) == -1 && errno != ENOENT))
		return fb_fail_sys(err, "cannot replace '%s'", u->path);
	return FB_OK;
}

/*
 * Archives are hostile: what they name is reached part by part from the
 * root's descriptor, through no symbolic link, and nothing is written by a
 * path that the archive could have bent.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/base/seam.h"
#include "fleetbak/driver/tree.h"
#include "tree_internal.h"
#include "tree_file.h"

/* Two blocks of zeros end an archive. */
#define END_MARKER 1024u

#define NEW_DIR_MODE 0700

/* A directory whose members are coming: its own metadata is set after them,
 * for they change its times. */
struct frame {
	char *path;
	struct archive_entry *entry;
	struct fb_names seen; /* with mirror: what the archive has here */
};

struct unpacker {
	const struct fb_tree_options *options;
	struct fb_tree_stats stats;
	const struct fb_pull *pull;
	struct archive *archive;
	int root;
	dev_t dev;               /* of the root: others are not ours */
	bool ended;              /* `pull` has no more */
	int rc;                  /* what `pull` said ... */
	struct fb_error failure; /* ... and why */
	size_t zeros;            /* at the end of what was pulled so far */
	char *path;              /* of the member at hand */
	char *last;              /* of the one before, with mirror */
	int parent;              /* where it goes, -1: not open */
	char *parent_path;
	struct frame *frames;
	size_t depth, room;
};

static void
report(struct unpacker *u, const char *path, const char *what)
{
	if (u->options->report != NULL)
		u->options->report(u->options->report_arg, path, what);
}

static void
note(void *arg, const char *what)
{
	struct unpacker *u = arg;

	report(u, u->path, what);
}

static void
report_sys(struct unpacker *u, const char *path, const char *what)
{
	FB_AUTO_FREE char *text = fb_format("%s: %s", what, strerror(errno));

	report(u, path, text);
}

static void
count_zeros(struct unpacker *u, struct fb_span bytes)
{
	size_t run = 0;

	while (run < bytes.len && run < END_MARKER &&
	    bytes.ptr[bytes.len - 1 - run] == 0)
		run++;
	u->zeros = run == bytes.len ? u->zeros + run : run;
	if (u->zeros > END_MARKER)
		u->zeros = END_MARKER;
}

static la_ssize_t
take(struct archive *archive, void *arg, const void **ret_bytes)
{
	struct unpacker *u = arg;
	struct fb_span bytes = { NULL, 0 };

	if (u->rc == FB_OK && !u->ended)
		u->rc = u->pull->next(u->pull->arg, &bytes, &u->failure);
	if (u->rc != FB_OK) {
		archive_set_error(archive, ECANCELED, "the source failed");
		return -1;
	}
	u->ended = bytes.len == 0;
	count_zeros(u, bytes);
	*ret_bytes = bytes.ptr;
	return (la_ssize_t)bytes.len;
}

static int
fail_archive(struct unpacker *u, struct fb_error *err)
{
	const char *text = archive_error_string(u->archive);

	if (u->rc != FB_OK) {
		*err = u->failure;
		return u->rc;
	}
	return fb_fail(err, FB_ECORRUPT, "the archive is damaged%s%s: %s",
	    u->path != NULL ? " at or after " : "",
	    u->path != NULL ? u->path : "",
	    text != NULL ? text : "unknown error");
}

static int
refuse(struct unpacker *u, const char *why, struct fb_error *err)
{
	return fb_fail_id(err, FB_ECORRUPT, "E-TREE-ESCAPE",
	    "member '%.300s' of the archive %s", u->path, why);
}

/* ------------------------------------------------------------- places */

/* Enter or make one directory; a symbolic link is neither. */
static int
enter(struct unpacker *u, int dirfd, const char *name, bool make)
{
	int fd = openat(dirfd, name,
	    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd >= 0 || errno != ENOENT || !make)
		return fd;
	(void)fb_seam(FB_STEP_RENAME, u->path);
	if (mkdirat(dirfd, name, NEW_DIR_MODE) == -1 && errno != EEXIST)
		return -1;
	return openat(dirfd, name,
	    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Open the directory `path` of `len` bytes; -1 with errno. */
static int
walk_to(struct unpacker *u, const char *path, size_t len, bool make)
{
	int fd = openat(u->root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

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

static size_t
parent_len(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash != NULL ? (size_t)(slash - path) : 0;
}

static const char *
base_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash != NULL ? slash + 1 : path;
}

static void
forget_parent(struct unpacker *u)
{
	fb_closep(&u->parent);
	u->parent = -1;
	free(FB_STEAL(u->parent_path));
}

/* Open (and remember) the directory that holds the member. */
static int
find_parent(struct unpacker *u, struct fb_error *err)
{
	size_t len = parent_len(u->path);

	if (u->parent >= 0 && strlen(u->parent_path) == len &&
	    memcmp(u->parent_path, u->path, len) == 0)
		return FB_OK;
	forget_parent(u);
	u->parent = walk_to(u, u->path, len, true);
	if (u->parent == -1 && (errno == ELOOP || errno == ENOTDIR))
		return refuse(u, "lies behind something that is no directory",
		    err);
	if (u->parent == -1)
		return fb_fail_sys(err, "cannot enter the directory of '%s'",
		    u->path);
	u->parent_path = fb_format("%.*s", (int)len, u->path);
	return FB_OK;
}

/* ------------------------------------------------------------ removal */

/*
 * Remove what is at `path` (`name` in `dirfd`), a directory with what is in
 * it, telling each.  What is excluded stays, and so do the directories that
 * hold it.
 */
static int
remove_extra(struct unpacker *u, int dirfd, const char *name,
    const char *path, unsigned depth, struct fb_error *err);

static int
remove_content(struct unpacker *u, int fd, const char *path, unsigned depth,
    struct fb_error *err)
{
	FB_AUTO_NAMES struct fb_names names = { 0 };
	int rc = FB_OK;

	if (fb_names_read(fd, &names) == -1)
		return fb_fail_sys(err, "cannot read directory '%s'", path);
	for (size_t i = 0; i < names.count && rc == FB_OK; i++) {
		const char *name = names.bytes + names.at[i];
		FB_AUTO_FREE char *below = fb_format("%s/%s", path, name);

		rc = remove_extra(u, fd, name, below, depth + 1, err);
	}
	return rc;
}

static int
remove_extra(struct unpacker *u, int dirfd, const char *name,
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
		report(u, path, "kept: another file system is mounted there");
		return FB_OK;
	}
	if (depth > FB_TREE_PATH_MAX / 8)
		return fb_fail(err, FB_EUNSUP,
		    "'%s' is nested too deeply to be removed", path);
	if (S_ISDIR(st.st_mode)) {
		fd = openat(dirfd, name,
		    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		rc = fd == -1 ? fb_fail_sys(err, "cannot enter '%s'", path)
		              : remove_content(u, fd, path, depth, err);
		if (rc < 0)
			return rc;
	}
	report(u, path, "removed: the backup does not have it");
	(void)fb_seam(FB_STEP_RENAME, path);
	if (unlinkat(dirfd, name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0) ==
	    0) {
		u->stats.removed++;
		return FB_OK;
	}
	if (errno == ENOTEMPTY || errno == EEXIST || errno == EBUSY) {
		report(u, path, "kept: something in it is excluded");
		return FB_OK;
	}
	return fb_fail_sys(err, "cannot remove '%s'", path);
}

/* ------------------------------------------------------------- frames */

static bool
is_below(const char *path, const char *dir)
{
	size_t len = strlen(dir);

	return strcmp(dir, ".") == 0 ||
	    (strncmp(path, dir, len) == 0 && path[len] == '/');
}

static void
set_times(struct unpacker *u, int dirfd, const char *name,
    struct archive_entry *entry)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT },
		{ archive_entry_mtime(entry),
		    archive_entry_mtime_nsec(entry) } };

	if (archive_entry_mtime_is_set(entry) &&
	    utimensat(dirfd, name, times, AT_SYMLINK_NOFOLLOW) == -1)
		report_sys(u, u->path, "cannot set its time");
}

/* Owner, mode, attributes and times, in the order in which none undoes
 * another. */
static void
set_metadata(struct unpacker *u, int dirfd, const char *name,
    struct archive_entry *entry)
{
	bool owners = u->options->owners;
	mode_t mode = archive_entry_perm(entry) & (owners ? 07777 : 01777);
	FB_AUTO_CLOSE int fd =
	    openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	FB_AUTO_FREE char *link = fb_format("/proc/self/fd/%d", fd);

	if (fd == -1) {
		report_sys(u, u->path, "cannot set its metadata");
		return;
	}
	(void)fb_seam(FB_STEP_RENAME, u->path);
	if (owners &&
	    fchownat(dirfd, name, (uid_t)archive_entry_uid(entry),
	        (gid_t)archive_entry_gid(entry), AT_SYMLINK_NOFOLLOW) == -1)
		report_sys(u, u->path, "cannot set its owner");
	if (archive_entry_filetype(entry) != AE_IFLNK &&
	    chmod(link, mode) == -1)
		report_sys(u, u->path, "cannot set its mode");
	fb_tree_meta_write(fd, entry, owners, note, u);
	set_times(u, dirfd, name, entry);
}

static int
remove_unseen(struct unpacker *u, struct frame *frame, int fd,
    struct fb_error *err)
{
	FB_AUTO_NAMES struct fb_names now = { 0 };
	int rc = FB_OK;

	if (fb_names_read(fd, &now) == -1)
		return fb_fail_sys(
		    err, "cannot read directory '%s'", frame->path);
	for (size_t i = 0; i < now.count && rc == FB_OK; i++) {
		const char *name = now.bytes + now.at[i];
		FB_AUTO_FREE char *path = strcmp(frame->path, ".") == 0
		    ? fb_strdup(name)
		    : fb_format("%s/%s", frame->path, name);

		if (!fb_names_have(&frame->seen, name))
			rc = remove_extra(u, fd, name, path, 0, err);
	}
	return rc;
}

/* The last member of a directory has come. */
static int
leave_frame(struct unpacker *u, struct fb_error *err)
{
	struct frame *frame = &u->frames[--u->depth];
	bool root = strcmp(frame->path, ".") == 0;
	FB_AUTO_CLOSE int fd = walk_to(u, root ? "" : frame->path,
	    root ? 0 : strlen(frame->path), false);
	char *shown = u->path;
	struct stat st;
	int rc = FB_OK;

	u->path = frame->path;
	if (fd == -1 || fstat(fd, &st) == -1)
		rc = refuse(u, "was a directory and is none any more", err);
	else if (u->options->mirror && !u->options->keep_extra &&
	    st.st_dev == u->dev) /* what is mounted here was not packed */
		rc = remove_unseen(u, frame, fd, err);
	if (rc == FB_OK)
		set_metadata(u, fd, ".", frame->entry);
	u->path = shown;
	archive_entry_free(frame->entry);
	fb_names_release(&frame->seen);
	free(frame->path);
	return rc;
}

static void
push_frame(struct unpacker *u, struct archive_entry *entry)
{
	if (u->depth == u->room) {
		u->room = 2 * u->room + 16;
		u->frames = fb_realloc(u->frames, u->room, sizeof(*u->frames));
	}
	u->frames[u->depth++] = (struct frame){ .path = fb_strdup(u->path),
		.entry = archive_entry_clone(entry) };
}

/* Leave what the member does not lie in; with mirror, note its name. */
static int
enter_frames(struct unpacker *u, struct fb_error *err)
{
	int rc = FB_OK;

	while (rc == FB_OK && u->depth > 0 &&
	    !is_below(u->path, u->frames[u->depth - 1].path))
		rc = leave_frame(u, err);
	if (rc < 0 || !u->options->mirror)
		return rc;
	if (u->last != NULL && strcmp(u->last, ".") != 0 &&
	    fb_tree_path_cmp(u->last, u->path) >= 0)
		return fb_fail(err, FB_ECORRUPT,
		    "member '%.300s' of the archive is out of order", u->path);
	free(u->last);
	u->last = fb_strdup(u->path);
	for (size_t i = 0; i < u->depth; i++) {
		struct frame *frame = &u->frames[i];
		size_t skip = strcmp(frame->path, ".") == 0
		    ? 0
		    : strlen(frame->path) + 1;
		const char *part = u->path + skip;
		size_t len = strcspn(part, "/");
		FB_AUTO_FREE char *name = fb_format("%.*s", (int)len, part);

		if (strcmp(u->path, ".") != 0 &&
		    (frame->seen.count == 0 ||
		        strcmp(frame->seen.bytes +
		                   frame->seen.at[frame->seen.count - 1],
		            name) != 0))
			fb_names_add(&frame->seen, name);
	}
	return FB_OK;
}

/* ------------------------------------------------------------ members */

/* Make room for a member that replaces what is there. */
static int
clear_place(struct unpacker *u, const char *name, struct fb_error *err)
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
		return remove_extra(u, u->parent, name, u->path, 0, err);
	}
	(void)fb_seam(FB_STEP_RENAME, u->path);
	if (unlinkat(u->parent, name, 0) == -1 && errno != ENOENT)
		return fb_fail_sys(err, "cannot replace '%s'", u->path);
	return FB_OK;
}

static int
unpack_directory(struct unpacker *u, struct archive_entry *entry,
    struct fb_error *err)
{
	const char *name = base_of(u->path);
	struct stat st;
	int rc;

	if (strcmp(u->path, ".") != 0) {
		rc = find_parent(u, err);
		if (rc < 0)
			return rc;
		if (fstatat(u->parent, name, &st, AT_SYMLINK_NOFOLLOW) == -1 ||
		    !S_ISDIR(st.st_mode)) {
			rc = clear_place(u, name, err);
			if (rc < 0)
				return rc;
			(void)fb_seam(FB_STEP_RENAME, u->path);
			if (mkdirat(u->parent, name, NEW_DIR_MODE) == -1)
				return fb_fail_sys(err,
				    "cannot make directory '%s'", u->path);
		}
	}
	push_frame(u, entry);
	return FB_OK;
}

static int
unpack_file(struct unpacker *u, struct archive_entry *entry,
    struct fb_error *err)
{
	struct fb_tree_file file = { .archive = u->archive, .entry = entry,
		.dirfd = u->parent, .name = base_of(u->path), .path = u->path,
		.compare = u->options->mirror };
	int rc = fb_tree_file_write(&file, err);

	if (rc == FB_EEXISTS) { /* something that is no file: make room */
		rc = clear_place(u, file.name, err);
		if (rc == FB_OK)
			rc = fb_tree_file_write(&file, err);
	}
	u->stats.written_bytes += file.written_bytes;
	u->stats.unchanged_bytes += file.unchanged_bytes;
	if (rc == FB_ECORRUPT && file.archive_failed)
		return fail_archive(u, err);
	return rc;
}

static int
unpack_symlink(struct unpacker *u, struct archive_entry *entry,
    struct fb_error *err)
{
	const char *target = archive_entry_symlink(entry);
	const char *name = base_of(u->path);
	char now[FB_TREE_PATH_MAX + 1];
	ssize_t len = readlinkat(u->parent, name, now, sizeof(now));
	int rc;

	if (target == NULL || target[0] == '\0' ||
	    strlen(target) > FB_TREE_PATH_MAX)
		return fb_fail(err, FB_ECORRUPT,
		    "symbolic link '%.300s' of the archive has no good target",
		    u->path);
	if (len >= 0 && (size_t)len == strlen(target) &&
	    memcmp(now, target, (size_t)len) == 0)
		return FB_OK;
	rc = clear_place(u, name, err);
	if (rc < 0)
		return rc;
	(void)fb_seam(FB_STEP_RENAME, u->path);
	if (symlinkat(target, u->parent, name) == -1)
		return fb_fail_sys(err, "cannot make link '%s'", u->path);
	return FB_OK;
}

/* "./a/b/" as "a/b", "" as "."; the caller checks and frees it. */
static char *
plain_path(const char *raw)
{
	size_t len;

	while (raw[0] == '.' && raw[1] == '/') {
		raw += 2;
		raw += strspn(raw, "/");
	}
	len = strlen(raw);
	while (len > 1 && raw[len - 1] == '/')
		len--;
	return len == 0 ? fb_strdup(".") : fb_format("%.*s", (int)len, raw);
}

static int
unpack_hardlink(struct unpacker *u, const char *raw, struct fb_error *err)
{
	FB_AUTO_FREE char *target = plain_path(raw);
	FB_AUTO_CLOSE int from = -1;
	const char *name = base_of(u->path);
	struct stat want, now;
	int rc = fb_path_check_inside("target of a hard link", target,
	    strlen(target), FB_TREE_PATH_MAX, err);

	if (rc < 0)
		return refuse(u, "is a hard link to something outside", err);
	from = walk_to(u, target, parent_len(target), false);
	if (from == -1 && (errno == ELOOP || errno == ENOTDIR))
		return refuse(u, "is a hard link through no directory", err);
	if (from == -1 || fstatat(from, base_of(target), &want,
	                      AT_SYMLINK_NOFOLLOW) == -1) {
		report(u, u->path,
		    "left out: what it is a hard link to is not here");
		return FB_OK;
	}
	if (fstatat(u->parent, name, &now, AT_SYMLINK_NOFOLLOW) == 0 &&
	    now.st_dev == want.st_dev && now.st_ino == want.st_ino)
		return FB_OK;
	rc = clear_place(u, name, err);
	if (rc < 0)
		return rc;
	(void)fb_seam(FB_STEP_RENAME, u->path);
	if (linkat(from, base_of(target), u->parent, name, 0) == -1)
		return fb_fail_sys(err, "cannot link '%s' to '%s'", u->path,
		    target);
	return FB_OK;
}

/* A device or fifo.  `*ret_made` tells whether there is one now. */
static int
unpack_node(struct unpacker *u, struct archive_entry *entry, bool *ret_made,
    struct fb_error *err)
{
	mode_t type = archive_entry_filetype(entry);
	dev_t dev = makedev((unsigned)archive_entry_rdevmajor(entry),
	    (unsigned)archive_entry_rdevminor(entry));
	const char *name = base_of(u->path);
	struct stat st;
	int rc;

	*ret_made = false;
	if (type != AE_IFIFO && type != AE_IFCHR && type != AE_IFBLK)
		return fb_fail(err, FB_ECORRUPT,
		    "member '%.300s' of the archive is of no known type",
		    u->path);
	if (type != AE_IFIFO && !u->options->owners) {
		report(u, u->path, "left out: only root can make a device");
		return FB_OK;
	}
	*ret_made = true;
	if (fstatat(u->parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    (st.st_mode & S_IFMT) == type &&
	    (type == AE_IFIFO || st.st_rdev == dev))
		return FB_OK;
	rc = clear_place(u, name, err);
	if (rc < 0)
		return rc;
	(void)fb_seam(FB_STEP_RENAME, u->path);
	if (mknodat(u->parent, name, type | 0600, type == AE_IFIFO ? 0 : dev) ==
	    -1) {
		*ret_made = false;
		report_sys(u, u->path, "left out: cannot make it");
	}
	return FB_OK;
}

static bool
is_wanted(const struct unpacker *u)
{
	const char *const *only = u->options->only;

	if (only == NULL)
		return true;
	for (; *only != NULL; only++)
		if (strcmp(u->path, *only) == 0 || is_below(u->path, *only))
			return true;
	return false;
}

static int
unpack_other(struct unpacker *u, struct archive_entry *entry,
    struct fb_error *err)
{
	const char *hardlink = archive_entry_hardlink(entry);
	mode_t type = archive_entry_filetype(entry);
	bool made = true;
	int rc;

	if (strcmp(u->path, ".") == 0)
		return refuse(u, "is the root, and no directory", err);
	rc = find_parent(u, err);
	if (rc < 0)
		return rc;
	if (hardlink != NULL)
		return unpack_hardlink(u, hardlink, err);
	if (type == AE_IFREG)
		rc = unpack_file(u, entry, err);
	else if (type == AE_IFLNK)
		rc = unpack_symlink(u, entry, err);
	else
		rc = unpack_node(u, entry, &made, err);
	if (rc == FB_OK && made)
		set_metadata(u, u->parent, base_of(u->path), entry);
	return rc;
}

/* Take the member's name, checked. */
static int
take_path(struct unpacker *u, struct archive_entry *entry,
    struct fb_error *err)
{
	const char *raw = archive_entry_pathname(entry);

	if (raw == NULL)
		raw = archive_entry_pathname_utf8(entry);
	if (raw == NULL)
		return fb_fail(err, FB_ECORRUPT,
		    "a member of the archive has no readable name");
	free(u->path);
	u->path = plain_path(raw);
	if (strcmp(u->path, ".") != 0 &&
	    fb_path_check_inside("member of the archive", u->path,
	        strlen(u->path), FB_TREE_PATH_MAX, err) < 0)
		return refuse(u, "would be written outside", err);
	return FB_OK;
}

static int
unpack_member(struct unpacker *u, struct archive_entry *entry,
    struct fb_error *err)
{
	int rc = take_path(u, entry, err);

	if (rc < 0 || !is_wanted(u))
		return rc;
	rc = enter_frames(u, err);
	if (rc < 0)
		return rc;
	u->stats.entries++;
	if (archive_entry_filetype(entry) == AE_IFDIR &&
	    archive_entry_hardlink(entry) == NULL)
		return unpack_directory(u, entry, err);
	return unpack_other(u, entry, err);
}

static int
unpack_members(struct unpacker *u, struct fb_error *err)
{
	struct archive_entry *entry;
	int got, rc;

	for (;;) {
		got = archive_read_next_header(u->archive, &entry);
		if (got == ARCHIVE_EOF)
			break;
		if (got != ARCHIVE_OK && got != ARCHIVE_WARN)
			return fail_archive(u, err);
		rc = unpack_member(u, entry, err);
		if (rc < 0)
			return rc;
	}
	while (u->depth > 0) {
		rc = leave_frame(u, err);
		if (rc < 0)
			return rc;
	}
	return FB_OK;
}

/* The rest after the end marker; then judge the end. */
static int
drain(struct unpacker *u, struct fb_error *err)
{
	struct fb_span bytes;
	int rc;

	while (!u->ended) {
		rc = u->pull->next(u->pull->arg, &bytes, err);
		if (rc < 0)
			return rc;
		count_zeros(u, bytes);
		u->ended = bytes.len == 0;
	}
	if (u->zeros < END_MARKER)
		return fb_fail(err, FB_ECORRUPT,
		    "the archive stops before its end marker");
	return FB_OK;
}

static int
open_unpacker(struct unpacker *u, const char *root, struct fb_error *err)
{
	struct stat st;

	u->root = fb_io_open(root, O_RDONLY | O_DIRECTORY, 0, err);
	if (u->root < 0)
		return u->root;
	if (fstat(u->root, &st) == -1)
		return fb_fail_sys(err, "cannot look at '%s'", root);
	u->dev = st.st_dev;
	u->archive = archive_read_new();
	if (u->archive == NULL)
		return fb_fail(err, FB_ESYS, "cannot start reading an archive");
	if (archive_read_support_format_tar(u->archive) != ARCHIVE_OK ||
	    archive_read_open(u->archive, u, NULL, take, NULL) != ARCHIVE_OK)
		return fail_archive(u, err);
	return FB_OK;
}

static void
close_unpacker(struct unpacker *u)
{
	while (u->depth > 0) {
		struct frame *frame = &u->frames[--u->depth];

		archive_entry_free(frame->entry);
		fb_names_release(&frame->seen);
		free(frame->path);
	}
	free(u->frames);
	forget_parent(u);
	if (u->archive != NULL)
		(void)archive_read_free(u->archive);
	fb_closep(&u->root);
	free(u->path);
	free(u->last);
}

int
fb_tree_unpack(const char *root, const struct fb_pull *pull,
    const struct fb_tree_options *options, struct fb_tree_stats *ret_stats,
    struct fb_error *err)
{
	struct unpacker u = { .options = options, .pull = pull, .root = -1,
		.parent = -1 };
	locale_t before = fb_tree_locale_enter();
	int rc = open_unpacker(&u, root, err);

	if (rc == FB_OK)
		rc = unpack_members(&u, err);
	if (rc == FB_OK)
		rc = drain(&u, err);
	if (ret_stats != NULL)
		*ret_stats = u.stats;
	close_unpacker(&u);
	(void)uselocale(before);
	return rc;
}

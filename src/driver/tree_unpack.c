/*
 * Archives are hostile: what they name is reached part by part from the
 * root's descriptor, through no symbolic link, and nothing is written by a
 * path that the archive could have bent.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
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
#include "tree_file.h"
#include "tree_unpack.h"

/* Two blocks of zeros end an archive. */
#define END_MARKER 1024u

static void
note(void *arg, const char *what)
{
	struct fb_unpacker *u = arg;

	fb_unpack_report(u, u->path, what);
}

static void
count_zeros(struct fb_unpacker *u, struct fb_span bytes)
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
	struct fb_unpacker *u = arg;
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
fail_archive(struct fb_unpacker *u, struct fb_error *err)
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

/* ------------------------------------------------------------- frames */

static bool
is_below(const char *path, const char *dir)
{
	size_t len = strlen(dir);

	return strcmp(dir, ".") == 0 ||
	    (strncmp(path, dir, len) == 0 && path[len] == '/');
}

/* What is given its metadata: by a descriptor of its own (`opened`), or by one
 * that only says which it is, and by its name. */
struct node {
	int fd;
	bool opened;
	int dirfd;
	const char *name;
};

static void
set_times(struct fb_unpacker *u, const struct node *node,
    struct archive_entry *entry)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT },
		{ archive_entry_mtime(entry),
		    archive_entry_mtime_nsec(entry) } };

	if (!archive_entry_mtime_is_set(entry))
		return;
	if ((node->opened ? futimens(node->fd, times)
	                  : utimensat(node->dirfd, node->name, times,
	                        AT_SYMLINK_NOFOLLOW)) == -1)
		fb_unpack_report_sys(u, u->path, "cannot set its time");
}

static int
set_owner(const struct node *node, struct archive_entry *entry)
{
	uid_t uid = (uid_t)archive_entry_uid(entry);
	gid_t gid = (gid_t)archive_entry_gid(entry);

	return node->opened ? fchown(node->fd, uid, gid)
	                    : fchownat(node->dirfd, node->name, uid, gid,
	                          AT_SYMLINK_NOFOLLOW);
}

static int
set_mode(const struct node *node, mode_t mode)
{
	char link[32];

	if (node->opened)
		return fchmod(node->fd, mode);
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", node->fd);
	return chmod(link, mode);
}

/* Owner, mode, attributes and times, in the order in which none undoes
 * another. */
static void
set_metadata(struct fb_unpacker *u, const struct node *node,
    struct archive_entry *entry)
{
	bool owners = u->options->owners;
	mode_t mode = archive_entry_perm(entry) & (owners ? 07777 : 01777);

	if (fb_seam_fails(FB_STEP_RENAME, u->path) ||
	    (owners && set_owner(node, entry) == -1))
		fb_unpack_report_sys(u, u->path, "cannot set its owner");
	if (archive_entry_filetype(entry) != AE_IFLNK &&
	    set_mode(node, mode) == -1)
		fb_unpack_report_sys(u, u->path, "cannot set its mode");
	fb_tree_meta_write(node->fd, node->opened, entry, owners, note, u);
	set_times(u, node, entry);
}

/* Of the member at hand, which nobody has opened. */
static void
set_metadata_by_name(struct fb_unpacker *u, struct archive_entry *entry)
{
	const char *name = fb_unpack_base(u->path);
	FB_AUTO_CLOSE int fd =
	    openat(u->parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (fd == -1)
		fb_unpack_report_sys(u, u->path, "cannot set its metadata");
	else
		set_metadata(u,
		    &(struct node){ .fd = fd, .dirfd = u->parent,
		        .name = name },
		    entry);
}

static int
remove_unseen(struct fb_unpacker *u, struct fb_unpack_frame *frame, int fd,
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
			rc = fb_unpack_remove(u, fd, name, path, 0, err);
	}
	return rc;
}

/* The last member of a directory has come. */
static int
leave_frame(struct fb_unpacker *u, struct fb_error *err)
{
	struct fb_unpack_frame *frame = &u->frames[--u->depth];
	bool root = strcmp(frame->path, ".") == 0;
	FB_AUTO_CLOSE int fd = fb_unpack_walk(u, root ? "" : frame->path,
	    root ? 0 : strlen(frame->path), false);
	char *shown = u->path;
	struct stat st;
	int rc = FB_OK;

	u->path = frame->path;
	if (fd == -1 &&
	    (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
		rc = fb_unpack_refuse(u, "was a directory and is none any more", err);
	else if (fd == -1 || fstat(fd, &st) == -1)
		rc = fb_fail_sys(
		    err, "cannot enter the directory '%s'", u->path);
	else if (u->options->mirror && !u->options->keep_extra &&
	    st.st_dev == u->dev) /* what is mounted here was not packed */
		rc = remove_unseen(u, frame, fd, err);
	if (rc == FB_OK)
		set_metadata(u, &(struct node){ .fd = fd, .opened = true },
		    frame->entry);
	u->path = shown;
	archive_entry_free(frame->entry);
	fb_names_release(&frame->seen);
	free(frame->path);
	return rc;
}

static void
push_frame(struct fb_unpacker *u, struct archive_entry *entry)
{
	if (u->depth == u->room) {
		u->room = 2 * u->room + 16;
		u->frames = fb_realloc(u->frames, u->room, sizeof(*u->frames));
	}
	u->frames[u->depth++] = (struct fb_unpack_frame){ .path = fb_strdup(u->path),
		.entry = archive_entry_clone(entry) };
}

/* Leave what the member does not lie in; with mirror, note its name. */
static int
enter_frames(struct fb_unpacker *u, struct fb_error *err)
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
		struct fb_unpack_frame *frame = &u->frames[i];
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

static int
unpack_directory(struct fb_unpacker *u, struct archive_entry *entry,
    struct fb_error *err)
{
	const char *name = fb_unpack_base(u->path);
	struct stat st;
	int rc;

	if (strcmp(u->path, ".") != 0) {
		rc = fb_unpack_parent(u, err);
		if (rc < 0)
			return rc;
		if (fstatat(u->parent, name, &st, AT_SYMLINK_NOFOLLOW) == -1 ||
		    !S_ISDIR(st.st_mode)) {
			rc = fb_unpack_clear(u, name, err);
			if (rc < 0)
				return rc;
			if (fb_seam_fails(FB_STEP_RENAME, u->path) ||
			    mkdirat(u->parent, name, FB_UNPACK_DIR_MODE) == -1)
				return fb_fail_sys(err,
				    "cannot make directory '%s'", u->path);
		}
	}
	push_frame(u, entry);
	return FB_OK;
}

static int
unpack_file(struct fb_unpacker *u, struct archive_entry *entry,
    struct fb_error *err)
{
	struct fb_tree_file file = { .archive = u->archive, .entry = entry,
		.dirfd = u->parent, .name = fb_unpack_base(u->path), .path = u->path,
		.compare = u->options->mirror,
		.kept = &u->kept };
	int rc = fb_tree_file_write(&file, err);

	if (rc == FB_EEXISTS) { /* something that is no file: make room */
		rc = fb_unpack_clear(u, file.name, err);
		if (rc == FB_OK)
			rc = fb_tree_file_write(&file, err);
	}
	u->stats.written_bytes += file.written_bytes;
	u->stats.unchanged_bytes += file.unchanged_bytes;
	if (rc == FB_OK)
		set_metadata(u,
		    &(struct node){ .fd = file.fd, .opened = true }, entry);
	fb_closep(&file.fd);
	if (rc == FB_ECORRUPT && file.archive_failed)
		return fail_archive(u, err);
	return rc;
}

static int
unpack_symlink(struct fb_unpacker *u, struct archive_entry *entry,
    struct fb_error *err)
{
	const char *target = archive_entry_symlink(entry);
	const char *name = fb_unpack_base(u->path);
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
	rc = fb_unpack_clear(u, name, err);
	if (rc < 0)
		return rc;
	if (fb_seam_fails(FB_STEP_RENAME, u->path) ||
	    symlinkat(target, u->parent, name) == -1)
		return fb_fail_sys(err, "cannot make link '%s'", u->path);
	return FB_OK;
}

char *
fb_tree_plain_path(const char *raw)
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
unpack_hardlink(struct fb_unpacker *u, const char *raw, struct fb_error *err)
{
	FB_AUTO_FREE char *target = fb_tree_plain_path(raw);
	FB_AUTO_CLOSE int from = -1;
	const char *name = fb_unpack_base(u->path);
	struct fb_tree_link *kept;
	struct stat want, now;
	int rc = fb_path_check_inside("target of a hard link", target,
	    strlen(target), FB_TREE_PATH_MAX, err);

	if (rc < 0)
		return fb_unpack_refuse(u, "is a hard link to something outside", err);
	from = fb_unpack_walk(u, target, fb_unpack_parent_len(target), false);
	if (from == -1 && (errno == ELOOP || errno == ENOTDIR))
		return fb_unpack_refuse(u, "is a hard link through no directory", err);
	if (from == -1 || fb_seam_fails(FB_STEP_LOOK, u->path) ||
	    fstatat(from, fb_unpack_base(target), &want,
	        AT_SYMLINK_NOFOLLOW) == -1) {
		if (errno != ENOENT)
			return fb_fail_sys(
			    err, "cannot look for '%s'", target);
		fb_unpack_report(u, u->path,
		    "left out: what it is a hard link to is not here");
		return FB_OK;
	}
	if (fstatat(u->parent, name, &now, AT_SYMLINK_NOFOLLOW) == 0 &&
	    now.st_dev == want.st_dev && now.st_ino == want.st_ino) {
		kept = fb_tree_link_get(&u->kept, &now);
		if (kept != NULL)
			fb_tree_link_count(&u->kept, kept);
		return FB_OK;
	}
	rc = fb_unpack_clear(u, name, err);
	if (rc < 0)
		return rc;
	if (fb_seam_fails(FB_STEP_RENAME, u->path) ||
	    linkat(from, fb_unpack_base(target), u->parent, name, 0) == -1)
		return fb_fail_sys(err, "cannot link '%s' to '%s'", u->path,
		    target);
	return FB_OK;
}

/* A device or fifo.  `*ret_made` tells whether there is one now. */
static int
unpack_node(struct fb_unpacker *u, struct archive_entry *entry, bool *ret_made,
    struct fb_error *err)
{
	mode_t type = archive_entry_filetype(entry);
	dev_t dev = makedev((unsigned)archive_entry_rdevmajor(entry),
	    (unsigned)archive_entry_rdevminor(entry));
	const char *name = fb_unpack_base(u->path);
	struct stat st;
	int rc;

	*ret_made = false;
	if (type != AE_IFIFO && type != AE_IFCHR && type != AE_IFBLK)
		return fb_fail(err, FB_ECORRUPT,
		    "member '%.300s' of the archive is of no known type",
		    u->path);
	if (type != AE_IFIFO && !u->options->owners) {
		fb_unpack_report(u, u->path, "left out: only root can make a device");
		return FB_OK;
	}
	*ret_made = true;
	if (fstatat(u->parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    (st.st_mode & S_IFMT) == type &&
	    (type == AE_IFIFO || st.st_rdev == dev))
		return FB_OK;
	rc = fb_unpack_clear(u, name, err);
	if (rc < 0)
		return rc;
	if (fb_seam_fails(FB_STEP_RENAME, u->path) ||
	    mknodat(u->parent, name, type | 0600, type == AE_IFIFO ? 0 : dev) ==
	        -1) {
		if (errno != EPERM && errno != EACCES && errno != EOPNOTSUPP)
			return fb_fail_sys(err, "cannot make '%s'", u->path);
		*ret_made = false;
		fb_unpack_report_sys(u, u->path, "left out: cannot make it");
	}
	return FB_OK;
}

static bool
is_wanted(const struct fb_unpacker *u)
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
unpack_other(struct fb_unpacker *u, struct archive_entry *entry,
    struct fb_error *err)
{
	const char *hardlink = archive_entry_hardlink(entry);
	mode_t type = archive_entry_filetype(entry);
	bool made = true;
	int rc;

	if (strcmp(u->path, ".") == 0)
		return fb_unpack_refuse(u, "is the root, and no directory", err);
	rc = fb_unpack_parent(u, err);
	if (rc < 0)
		return rc;
	if (hardlink != NULL)
		return unpack_hardlink(u, hardlink, err);
	if (type == AE_IFREG)
		return unpack_file(u, entry, err);
	if (type == AE_IFLNK)
		rc = unpack_symlink(u, entry, err);
	else
		rc = unpack_node(u, entry, &made, err);
	if (rc == FB_OK && made)
		set_metadata_by_name(u, entry);
	return rc;
}

/* Take the member's name, checked. */
static int
take_path(struct fb_unpacker *u, struct archive_entry *entry,
    struct fb_error *err)
{
	const char *raw = archive_entry_pathname(entry);

	if (raw == NULL)
		raw = archive_entry_pathname_utf8(entry);
	if (raw == NULL)
		return fb_fail(err, FB_ECORRUPT,
		    "a member of the archive has no readable name");
	free(u->path);
	u->path = fb_tree_plain_path(raw);
	if (strcmp(u->path, ".") != 0 &&
	    fb_path_check_inside("member of the archive", u->path,
	        strlen(u->path), FB_TREE_PATH_MAX, err) < 0)
		return fb_unpack_refuse(u, "would be written outside", err);
	return FB_OK;
}

static int
unpack_member(struct fb_unpacker *u, struct archive_entry *entry,
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
unpack_members(struct fb_unpacker *u, struct fb_error *err)
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
drain(struct fb_unpacker *u, struct fb_error *err)
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
open_unpacker(struct fb_unpacker *u, const char *root, struct fb_error *err)
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
close_unpacker(struct fb_unpacker *u)
{
	while (u->depth > 0) {
		struct fb_unpack_frame *frame = &u->frames[--u->depth];

		archive_entry_free(frame->entry);
		fb_names_release(&frame->seen);
		free(frame->path);
	}
	free(u->frames);
	fb_unpack_forget_parent(u);
	if (u->archive != NULL)
		(void)archive_read_free(u->archive);
	fb_closep(&u->root);
	free(u->path);
	free(u->last);
	fb_tree_links_release(&u->kept);
}

int
fb_tree_unpack(const char *root, const struct fb_pull *pull,
    const struct fb_tree_options *options, struct fb_tree_stats *ret_stats,
    struct fb_error *err)
{
	struct fb_unpacker u = { .options = options, .pull = pull, .root = -1,
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

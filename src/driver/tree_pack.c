#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <locale.h>
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
#include "tree_past.h"
#include "tree_seen.h"

#define READ_STEP (256u * 1024)

/* Content of this size gets chunk boundaries of its own; smaller files share
 * chunks that start at an entry, chosen by its path, so that a file that
 * changes does not move the boundaries of its neighbours. */
#define CUT_CONTENT   (64u * 1024)
#define CUT_GROUP_MIN (4u * 1024)
#define CUT_GROUP_MAX (16u * 1024)

struct packer {
	const struct fb_sink *sink;
	struct archive *archive;
	struct archive_entry *entry;
	uint64_t pos;      /* bytes given to the sink */
	uint64_t last_cut; /* where the last boundary was asked for */
	int rc;            /* what the sink said ... */
	struct fb_error failure; /* ... and why */
	uint8_t *room;
	const char *path; /* of the member being written, for notes */
	struct fb_tree_links links;
	struct fb_tree_owners owners;
	bool named;          /* the members are asked for by name */
	bool doubtful;       /* of this member not all could be had */
	struct fb_tree_past past;
};

static void
warn(struct packer *p, const char *what)
{
	p->doubtful = true;
	if (p->sink->warn != NULL)
		p->sink->warn(p->sink->arg, p->path, what);
}

/* The member cannot be had, errno says why: a warning where it is one of
 * many, an error where it was asked for by name or the want is ours. */
static int
miss(struct packer *p, const char *what, struct fb_error *err)
{
	FB_AUTO_FREE char *text = NULL;

	if (errno == ENOENT) {
		warn(p, p->named ? "it does not exist; left out"
		                 : "vanished while the tree was being read");
		return FB_OK;
	}
	if ((p->named && errno != ENOTDIR && errno != ELOOP) || fb_tree_is_our_want(errno))
		return fb_fail_sys(err, "'%s': %s", p->path, what);
	text = fb_format("%s; left out: %s", what, strerror(errno));
	warn(p, text);
	return FB_OK;
}

static void
note(void *arg, const char *what)
{
	warn(arg, what);
}

static void
warn_path(void *arg, const char *path, const char *what)
{
	struct packer *p = arg;

	if (p->sink->warn != NULL)
		p->sink->warn(p->sink->arg, path, what);
}

static la_ssize_t
give(struct archive *archive, void *arg, const void *bytes, size_t len)
{
	struct packer *p = arg;

	if (p->rc == FB_OK)
		p->rc = p->sink->data(p->sink->arg, bytes, len, &p->failure);
	if (p->rc != FB_OK) {
		archive_set_error(archive, ECANCELED, "the sink refused");
		return -1;
	}
	p->pos += len;
	return (la_ssize_t)len;
}

/* What went wrong: the sink's own error, or libarchive's. */
static int
fail_pack(struct packer *p, struct fb_error *err)
{
	const char *text = archive_error_string(p->archive);

	if (p->rc != FB_OK) {
		*err = p->failure;
		return p->rc;
	}
	return fb_fail(err, FB_ESYS, "cannot archive '%s': %s", p->path,
	    text != NULL ? text : "unknown error");
}

static int
ask_cut(struct packer *p, struct fb_error *err)
{
	if (p->pos == p->last_cut || p->sink->cut == NULL)
		return FB_OK;
	p->last_cut = p->pos;
	/* What is the same has the boundaries it had. */
	return p->past.length > 0 ? FB_OK : p->sink->cut(p->sink->arg, err);
}

/* Bytes follow what is the same. */
static int
end_same(struct packer *p, struct fb_error *err)
{
	int rc;

	if (p->past.length == 0)
		return FB_OK;
	rc = fb_tree_past_flush(&p->past, err);
	if (rc < 0 || p->last_cut != p->pos || p->sink->cut == NULL)
		return rc;
	return p->sink->cut(p->sink->arg, err);
}

static uint64_t
hash_path(const char *path)
{
	uint64_t hash = 14695981039346656037u;

	for (; *path != '\0'; path++)
		hash = (hash ^ (uint8_t)*path) * 1099511628211u;
	return hash;
}

static int
cut_group(struct packer *p, struct fb_error *err)
{
	uint64_t since = p->pos - p->last_cut;

	if (since >= CUT_GROUP_MAX ||
	    (since >= CUT_GROUP_MIN && (hash_path(p->path) & 3) == 0))
		return ask_cut(p, err);
	return FB_OK;
}

/* No atime, ctime, device or inode number: what did not change must make
 * the same bytes again. */
static void
fill_entry(struct packer *p, const struct stat *st)
{
	struct archive_entry *e = p->entry;

	(void)archive_entry_clear(e);
	archive_entry_copy_pathname(e, p->path);
	archive_entry_set_mode(e, st->st_mode);
	archive_entry_set_uid(e, st->st_uid);
	archive_entry_set_gid(e, st->st_gid);
	archive_entry_copy_uname(e, fb_tree_owner(&p->owners, st->st_uid, false));
	archive_entry_copy_gname(e, fb_tree_owner(&p->owners, st->st_gid, true));
	archive_entry_set_mtime(e, st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
	archive_entry_set_size(e, S_ISREG(st->st_mode) ? st->st_size : 0);
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)) {
		archive_entry_set_rdevmajor(e, major(st->st_rdev));
		archive_entry_set_rdevminor(e, minor(st->st_rdev));
	}
}

/* Of a file's content. */
static int
write_bytes(struct packer *p, const void *bytes, size_t len,
    struct fb_error *err)
{
	la_ssize_t put = archive_write_data(p->archive, bytes, len);

	if (put < 0 || (size_t)put != len)
		return fail_pack(p, err);
	if (p->sink->content != NULL)
		p->sink->content(p->sink->arg, bytes, len);
	return FB_OK;
}

/* `len` zeros for a hole, or for what a file lost since its size was read:
 * libarchive drops those of holes. */
static int
write_zeros(struct packer *p, uint64_t len, struct fb_error *err)
{
	memset(p->room, 0, READ_STEP);
	while (len > 0) {
		size_t step = len < READ_STEP ? (size_t)len : READ_STEP;
		int rc = write_bytes(p, p->room, step, err);

		if (rc < 0)
			return rc;
		len -= step;
	}
	return FB_OK;
}

/* Read [from, to) of the file into the archive; what is not there any more
 * is zeros. */
static int
copy_range(struct packer *p, int fd, uint64_t from, uint64_t to,
    struct fb_error *err)
{
	struct fb_error read_err;
	size_t got;
	int rc;

	while (from < to) {
		size_t step = to - from < READ_STEP ? (size_t)(to - from)
		                                    : READ_STEP;

		rc = fb_io_pread(
		    fd, p->path, p->room, step, from, &got, &read_err);
		if (rc < 0 && (p->named || fb_tree_is_our_want(read_err.sys))) {
			*err = read_err;
			return rc;
		}
		if (rc < 0) {
			warn(p, "it cannot be read; zeros were put instead");
			return write_zeros(p, to - from, err);
		}
		if (got == 0)
			return write_zeros(p, to - from, err);
		rc = write_bytes(p, p->room, got, err);
		if (rc < 0)
			return rc;
		from += got;
	}
	return FB_OK;
}

static int
copy_content(struct packer *p, int fd, uint64_t size, struct fb_error *err)
{
	int64_t start, len;
	uint64_t at = 0;
	int rc = FB_OK;

	if (archive_entry_sparse_reset(p->entry) == 0)
		return copy_range(p, fd, 0, size, err);
	while (rc == FB_OK &&
	    archive_entry_sparse_next(p->entry, &start, &len) == ARCHIVE_OK) {
		rc = write_zeros(p, (uint64_t)start - at, err);
		at = (uint64_t)start + (uint64_t)len;
		if (rc == FB_OK)
			rc = copy_range(p, fd, (uint64_t)start, at, err);
	}
	return rc < 0 ? rc : write_zeros(p, size - at, err);
}

static void
check_unchanged(struct packer *p, int fd, const struct stat *before)
{
	struct stat now;

	if (fstat(fd, &now) == -1 || now.st_size != before->st_size ||
	    now.st_mtim.tv_sec != before->st_mtim.tv_sec ||
	    now.st_mtim.tv_nsec != before->st_mtim.tv_nsec ||
	    now.st_ctim.tv_sec != before->st_ctim.tv_sec ||
	    now.st_ctim.tv_nsec != before->st_ctim.tv_nsec)
		warn(p, "changed while it was being read");
}

static enum fb_entry_type
type_of(const struct stat *st)
{
	switch (st->st_mode & S_IFMT) {
	case S_IFDIR:
		return FB_ENTRY_DIR;
	case S_IFLNK:
		return FB_ENTRY_SYMLINK;
	case S_IFCHR:
		return FB_ENTRY_CHAR;
	case S_IFBLK:
		return FB_ENTRY_BLOCK;
	case S_IFIFO:
		return FB_ENTRY_FIFO;
	case S_IFSOCK:
		return FB_ENTRY_SOCKET;
	default:
		return FB_ENTRY_FILE;
	}
}

static struct fb_span
span_of(const char *text)
{
	return (struct fb_span){ (const uint8_t *)text,
		text != NULL ? strlen(text) : 0 };
}

static int
tell_entry(struct packer *p, enum fb_entry_type type, const struct stat *st,
    uint64_t offset, const char *target, struct fb_error *err)
{
	struct fb_entry entry = {
		.type = type,
		.mode = st->st_mode & 07777,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.size = type == FB_ENTRY_FILE ? (uint64_t)st->st_size : 0,
		.mtime_s = st->st_mtim.tv_sec,
		.mtime_ns = (uint32_t)st->st_mtim.tv_nsec,
		.offset = offset,
		.length = p->pos - offset,
		.path = span_of(p->path),
		.target = span_of(target),
	};

	if (p->sink->entry == NULL)
		return FB_OK;
	/* What is asked for by name is a copy in a snapshot: what the file
	 * system calls it says nothing of the original, and the same machine
	 * must make the same bytes. */
	if (!p->named && !p->doubtful) {
		entry.ctime_s = st->st_ctim.tv_sec;
		entry.ctime_ns = (uint32_t)st->st_ctim.tv_nsec;
	}
	if (!p->named) {
		entry.dev = st->st_dev;
		entry.ino = st->st_ino;
	}
	return p->sink->entry(p->sink->arg, &entry, err);
}

/* Of other names libarchive warns that it takes them as bytes: just so. */
static bool
is_ascii(const char *path)
{
	for (; *path != '\0'; path++)
		if ((uint8_t)*path >= 0x80)
			return false;
	return true;
}

/* Header, content (of `fd`, when it is not -1) and padding of one member. */
static int
write_member(struct packer *p, int fd, const struct stat *st,
    struct fb_error *err)
{
	uint64_t size = fd >= 0 ? (uint64_t)st->st_size : 0;
	int rc = archive_write_header(p->archive, p->entry);

	if (rc == ARCHIVE_WARN && is_ascii(p->path))
		warn(p, archive_error_string(p->archive));
	else if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN)
		return fail_pack(p, err);
	rc = size >= CUT_CONTENT ? ask_cut(p, err) : FB_OK;
	if (rc == FB_OK && size > 0)
		rc = copy_content(p, fd, size, err);
	if (rc < 0)
		return rc;
	if (archive_write_finish_entry(p->archive) != ARCHIVE_OK)
		return fail_pack(p, err);
	if (fd >= 0)
		check_unchanged(p, fd, st);
	return size >= CUT_CONTENT ? ask_cut(p, err) : FB_OK;
}

static int
pack_file(struct packer *p, const struct fb_tree_node *node,
    struct fb_error *err)
{
	FB_AUTO_CLOSE int fd = fb_io_openat(node->dirfd, node->name,
	    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0, p->path);
	uint64_t offset = p->pos;
	struct stat st;
	int rc;

	if (fd == -1 || fstat(fd, &st) == -1 || !S_ISREG(st.st_mode)) {
		rc = fd == -1 ? miss(p, "it cannot be opened", err) : FB_OK;
		if (fd != -1)
			warn(p, "it is no file any more; left out");
		if (node->st.st_nlink > 1)
			fb_tree_link_forget(&p->links, &node->st);
		return rc;
	}
	fill_entry(p, &st);
	fb_tree_meta_read(fd, -1, NULL, p->entry, note, p);
	fb_tree_map_holes(p->entry, fd, (uint64_t)st.st_size);
	rc = write_member(p, fd, &st, err);
	if (rc < 0)
		return rc;
	return tell_entry(p, FB_ENTRY_FILE, &st, offset, NULL, err);
}

static int
pack_symlink(struct packer *p, const struct fb_tree_node *node,
    struct fb_error *err)
{
	char target[FB_TREE_PATH_MAX + 1];
	uint64_t offset = p->pos;
	ssize_t len = readlinkat(
	    node->dirfd, node->name, target, sizeof(target) - 1);
	int rc;

	if (len == -1)
		return miss(p, "the symbolic link cannot be read", err);
	target[len] = '\0';
	fill_entry(p, &node->st);
	archive_entry_copy_symlink(p->entry, target);
	fb_tree_meta_read(-1, node->dirfd, node->name, p->entry, note, p);
	rc = write_member(p, -1, &node->st, err);
	if (rc < 0)
		return rc;
	return tell_entry(p, FB_ENTRY_SYMLINK, &node->st, offset, target, err);
}

static int
pack_hardlink(struct packer *p, const struct fb_tree_node *node,
    struct fb_tree_link *first, struct fb_error *err)
{
	uint64_t offset = p->pos;
	int rc;

	fill_entry(p, &node->st);
	archive_entry_set_size(p->entry, 0);
	archive_entry_copy_hardlink(p->entry, first->path);
	rc = write_member(p, -1, &node->st, err);
	if (rc == FB_OK)
		rc = tell_entry(p, FB_ENTRY_HARDLINK, &node->st, offset,
		    first->path, err);
	fb_tree_link_count(&p->links, first);
	return rc;
}

/* A directory, fifo or device. */
static int
pack_other(struct packer *p, const struct fb_tree_node *node,
    struct fb_error *err)
{
	uint64_t offset = p->pos;
	int rc;

	fill_entry(p, &node->st);
	fb_tree_meta_read(
	    node->fd, node->dirfd, node->name, p->entry, note, p);
	rc = write_member(p, -1, &node->st, err);
	if (rc < 0)
		return rc;
	return tell_entry(
	    p, type_of(&node->st), &node->st, offset, NULL, err);
}

/* Nothing of it is read: it is as an earlier run has it. */
static int
keep_member(struct packer *p, const struct fb_tree_node *node,
    const struct fb_entry *entry, struct fb_error *err)
{
	FB_AUTO_FREE char *target = entry->target.len > 0
	    ? fb_format("%.*s", (int)entry->target.len, entry->target.ptr)
	    : NULL;
	enum fb_entry_type type = entry->type;
	uint64_t offset = p->pos, length = entry->length;
	bool large = type == FB_ENTRY_FILE && entry->size >= CUT_CONTENT;
	int rc = fb_tree_past_take(&p->past, entry, err);

	if (rc < 0)
		return rc;
	p->pos += length;
	if (large)
		p->last_cut = p->pos;
	return tell_entry(p, type, &node->st, offset, target, err);
}

static int
pack_member(struct packer *p, const struct fb_tree_node *node,
    struct fb_error *err)
{
	if (S_ISREG(node->st.st_mode))
		return pack_file(p, node, err);
	if (S_ISLNK(node->st.st_mode))
		return pack_symlink(p, node, err);
	return pack_other(p, node, err);
}

static int
pack_node(void *arg, const struct fb_tree_node *node, struct fb_error *err)
{
	struct packer *p = arg;
	struct fb_tree_link *first = NULL;
	const struct fb_entry *kept = NULL;
	int rc;

	p->path = node->path;
	p->doubtful = false;
	if (S_ISSOCK(node->st.st_mode))
		return tell_entry(
		    p, FB_ENTRY_SOCKET, &node->st, p->pos, NULL, err);
	rc = cut_group(p, err);
	if (rc < 0)
		return rc;
	if (!S_ISDIR(node->st.st_mode) && node->st.st_nlink > 1)
		first = fb_tree_link_find(&p->links, &node->st, node->path);
	rc = fb_tree_past_find(&p->past, node,
	    first != NULL ? FB_ENTRY_HARDLINK : type_of(&node->st),
	    first != NULL ? first->path : NULL, &kept, err);
	if (rc == FB_OK && kept != NULL) {
		if (first != NULL)
			fb_tree_link_count(&p->links, first);
		return keep_member(p, node, kept, err);
	}
	if (rc == FB_OK)
		rc = end_same(p, err);
	if (rc < 0)
		return rc;
	return first != NULL ? pack_hardlink(p, node, first, err)
	                     : pack_member(p, node, err);
}

static int
open_packer(struct packer *p, const struct fb_sink *sink, struct fb_error *err)
{
	p->sink = sink;
	p->path = ".";
	p->archive = archive_write_new();
	p->entry = archive_entry_new();
	p->room = fb_alloc(READ_STEP, 1);
	if (p->archive == NULL || p->entry == NULL)
		return fb_fail(err, FB_ESYS, "cannot start an archive");
	/* One form of attributes instead of two. */
	if (archive_write_set_format_pax(p->archive) != ARCHIVE_OK ||
	    archive_write_set_options(p->archive, "xattrheader=SCHILY") !=
	        ARCHIVE_OK ||
	    archive_write_set_bytes_per_block(p->archive, 0) != ARCHIVE_OK ||
	    archive_write_set_bytes_in_last_block(p->archive, 1) !=
	        ARCHIVE_OK ||
	    archive_write_open(p->archive, p, NULL, give, NULL) != ARCHIVE_OK)
		return fail_pack(p, err);
	return FB_OK;
}

static int
finish_packer(struct packer *p, struct fb_error *err)
{
	int rc = end_same(p, err);

	if (rc < 0)
		return rc;
	p->path = ".";
	if (archive_write_close(p->archive) != ARCHIVE_OK)
		return fail_pack(p, err);
	return FB_OK;
}

static void
free_packer(struct packer *p)
{
	if (p->archive != NULL) {
		/* Closing frees what freeing alone forgets after a failure;
		 * the sink shall hear nothing of it. */
		if (p->rc == FB_OK)
			p->rc = FB_ECANCELED;
		(void)archive_write_close(p->archive);
		(void)archive_write_free(p->archive);
	}
	archive_entry_free(p->entry);
	free(p->room);
	fb_tree_links_release(&p->links);
	fb_tree_past_release(&p->past);
	free(p);
}

int
fb_tree_pack(const char *root, const char *const *exclude,
    const struct fb_sink *sink, struct fb_error *err)
{
	struct packer *p = fb_alloc(1, sizeof(*p));
	struct fb_tree_walk walk = { .exclude = exclude, .visit = pack_node,
		.warn = warn_path, .arg = p };
	locale_t before = fb_tree_locale_enter();
	int rc = open_packer(p, sink, err);

	fb_tree_past_begin(&p->past, root, sink);
	if (rc == FB_OK)
		rc = fb_tree_walk(root, &walk, err);
	if (rc == FB_OK)
		rc = finish_packer(p, err);
	free_packer(p);
	(void)uselocale(before);
	return rc;
}

/* Open the directory that holds `path`, part by part, following no link. */
static int
open_parent(int root, const char *path)
{
	int fd = fb_io_openat(root, ".", O_RDONLY | O_DIRECTORY, 0, path);

	for (const char *slash; fd >= 0 && (slash = strchr(path, '/')) != NULL;
	     path = slash + 1) {
		FB_AUTO_FREE char *part =
		    fb_format("%.*s", (int)(slash - path), path);
		int next = fb_io_openat(
		    fd, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, path);

		fb_closep(&fd);
		fd = next;
	}
	return fd;
}

static int
pack_path(struct packer *p, int root, const char *path, struct fb_error *err)
{
	FB_AUTO_CLOSE int dirfd = -1;
	const char *slash = strrchr(path, '/');
	struct fb_tree_node node = { .path = path, .fd = -1,
		.name = slash != NULL ? slash + 1 : path };
	int rc = fb_path_check_inside(
	    "path of a member", path, strlen(path), FB_TREE_PATH_MAX, err);

	if (rc < 0)
		return rc;
	p->path = path;
	dirfd = open_parent(root, path);
	if (dirfd == -1 || fb_seam_fails(FB_STEP_LOOK, path) ||
	    fstatat(dirfd, node.name, &node.st, AT_SYMLINK_NOFOLLOW) == -1)
		return miss(p, "it cannot be reached", err);
	node.dirfd = dirfd;
	return pack_node(p, &node, err);
}

static int
compare_paths(const void *a, const void *b)
{
	return fb_tree_path_cmp(
	    *(const char *const *)a, *(const char *const *)b);
}

static int
pack_paths(struct packer *p, const char *root, const char *const *paths,
    struct fb_error *err)
{
	FB_AUTO_CLOSE int fd =
	    fb_io_open(root, O_RDONLY | O_DIRECTORY, 0, err);
	FB_AUTO_FREE const char **sorted = NULL;
	size_t count = 0;
	int rc = FB_OK;

	if (fd < 0)
		return fd;
	while (paths[count] != NULL)
		count++;
	sorted = fb_alloc(count, sizeof(*sorted));
	memcpy(sorted, paths, count * sizeof(*sorted));
	qsort(sorted, count, sizeof(*sorted), compare_paths);
	for (size_t i = 0; i < count && rc == FB_OK; i++)
		if (i == 0 || strcmp(sorted[i], sorted[i - 1]) != 0)
			rc = pack_path(p, fd, sorted[i], err);
	return rc;
}

int
fb_tree_pack_files(const char *root, const char *const *paths,
    const struct fb_sink *sink, struct fb_error *err)
{
	struct packer *p = fb_alloc(1, sizeof(*p));
	locale_t before = fb_tree_locale_enter();
	int rc = open_packer(p, sink, err);

	p->named = true;
	p->past.sink = sink;
	if (rc == FB_OK)
		rc = pack_paths(p, root, paths, err);
	if (rc == FB_OK)
		rc = finish_packer(p, err);
	free_packer(p);
	(void)uselocale(before);
	return rc;
}

/*
 * One archive, of those that the provider packs of directories: their members
 * are read by libarchive and written again under the names that they have in
 * ours, with their metadata.  What a name of theirs would leave is refused.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "tree_internal.h"

#include "miosa_internal.h"

/* Content of this size gets chunk boundaries of its own. */
#define CUT_CONTENT (64u * 1024)

#define ZEROS_STEP 65536

struct fb_miosa_tar {
	const struct fb_sink *sink;
	struct archive *archive;
	uint64_t pos, last_cut;
	int rc; /* what the sink said */
	struct fb_error failure;
	uint8_t *zeros;
};

static la_ssize_t
give(struct archive *archive, void *arg, const void *bytes, size_t len)
{
	struct fb_miosa_tar *tar = arg;

	if (tar->rc == FB_OK)
		tar->rc = tar->sink->data(
		    tar->sink->arg, bytes, len, &tar->failure);
	if (tar->rc != FB_OK) {
		archive_set_error(archive, ECANCELED, "the sink refused");
		return -1;
	}
	tar->pos += len;
	return (la_ssize_t)len;
}

static int
fail_writing(struct fb_miosa_tar *tar, struct fb_error *err)
{
	const char *text = archive_error_string(tar->archive);

	if (tar->rc != FB_OK) {
		*err = tar->failure;
		return tar->rc;
	}
	return fb_fail(err, FB_ESYS, "cannot write an archive: %s",
	    text != NULL ? text : "unknown error");
}

int
fb_miosa_tar_new(const struct fb_sink *sink, struct fb_miosa_tar **ret_tar,
    struct fb_error *err)
{
	struct fb_miosa_tar *tar = fb_alloc(1, sizeof(*tar));

	*ret_tar = tar;
	tar->sink = sink;
	tar->zeros = fb_alloc(ZEROS_STEP, 1);
	tar->archive = archive_write_new();
	if (tar->archive == NULL)
		return fb_fail(err, FB_ESYS, "cannot start an archive");
	if (archive_write_set_format_pax(tar->archive) != ARCHIVE_OK ||
	    archive_write_set_options(tar->archive, "xattrheader=SCHILY") !=
	        ARCHIVE_OK ||
	    archive_write_set_bytes_per_block(tar->archive, 0) !=
	        ARCHIVE_OK ||
	    archive_write_set_bytes_in_last_block(tar->archive, 1) !=
	        ARCHIVE_OK ||
	    archive_write_open(tar->archive, tar, NULL, give, NULL) !=
	        ARCHIVE_OK)
		return fail_writing(tar, err);
	return FB_OK;
}

int
fb_miosa_tar_end(struct fb_miosa_tar *tar, struct fb_error *err)
{
	return archive_write_close(tar->archive) == ARCHIVE_OK
	    ? FB_OK
	    : fail_writing(tar, err);
}

void
fb_miosa_tar_free(struct fb_miosa_tar *tar)
{
	if (tar == NULL)
		return;
	if (tar->archive != NULL) {
		/* The sink shall hear nothing of what is not finished. */
		if (tar->rc == FB_OK)
			tar->rc = FB_ECANCELED;
		(void)archive_write_close(tar->archive);
		(void)archive_write_free(tar->archive);
	}
	free(tar->zeros);
	free(tar);
}

void
fb_miosa_tar_freep(struct fb_miosa_tar **tar)
{
	fb_miosa_tar_free(*tar);
	*tar = NULL;
}

/* -------------------------------------------------------------- writing */

static struct fb_span
span_of(const char *text)
{
	return (struct fb_span){ (const uint8_t *)text,
		text != NULL ? strlen(text) : 0 };
}

static int
write_bytes(struct fb_miosa_tar *tar, const void *bytes, size_t len,
    struct fb_error *err)
{
	la_ssize_t put = archive_write_data(tar->archive, bytes, len);

	return put >= 0 && (size_t)put == len ? FB_OK
	                                      : fail_writing(tar, err);
}

static int
write_zeros(struct fb_miosa_tar *tar, uint64_t len, struct fb_error *err)
{
	int rc = FB_OK;

	while (rc == FB_OK && len > 0) {
		size_t step = len < ZEROS_STEP ? (size_t)len : ZEROS_STEP;

		rc = write_bytes(tar, tar->zeros, step, err);
		len -= step;
	}
	return rc;
}

static int
ask_cut(struct fb_miosa_tar *tar, uint64_t size, struct fb_error *err)
{
	if (size < CUT_CONTENT || tar->sink->cut == NULL ||
	    tar->pos == tar->last_cut)
		return FB_OK;
	tar->last_cut = tar->pos;
	return tar->sink->cut(tar->sink->arg, err);
}

static enum fb_entry_type
type_of(struct archive_entry *entry)
{
	if (archive_entry_hardlink(entry) != NULL)
		return FB_ENTRY_HARDLINK;
	switch (archive_entry_filetype(entry)) {
	case AE_IFDIR: return FB_ENTRY_DIR;
	case AE_IFLNK: return FB_ENTRY_SYMLINK;
	case AE_IFCHR: return FB_ENTRY_CHAR;
	case AE_IFBLK: return FB_ENTRY_BLOCK;
	case AE_IFIFO: return FB_ENTRY_FIFO;
	case AE_IFSOCK: return FB_ENTRY_SOCKET;
	default: return FB_ENTRY_FILE;
	}
}

/* The member has ended: tell of it. */
static int
end_member(struct fb_miosa_tar *tar, struct archive_entry *entry,
    uint64_t offset, struct fb_error *err)
{
	enum fb_entry_type type = type_of(entry);
	/* libarchive has put a "/" behind a directory's. */
	FB_AUTO_FREE char *path =
	    fb_tree_plain_path(archive_entry_pathname(entry));
	struct fb_entry tell = { .type = type,
		.mode = (uint32_t)archive_entry_perm(entry) & 07777,
		.uid = (uint32_t)archive_entry_uid(entry),
		.gid = (uint32_t)archive_entry_gid(entry),
		.size = type == FB_ENTRY_FILE
		    ? (uint64_t)archive_entry_size(entry)
		    : 0,
		.mtime_s = archive_entry_mtime(entry),
		.mtime_ns = (uint32_t)archive_entry_mtime_nsec(entry),
		.offset = offset,
		.path = span_of(path) };

	if (archive_write_finish_entry(tar->archive) != ARCHIVE_OK)
		return fail_writing(tar, err);
	tell.length = tar->pos - offset;
	if (type == FB_ENTRY_HARDLINK)
		tell.target = span_of(archive_entry_hardlink(entry));
	if (type == FB_ENTRY_SYMLINK)
		tell.target = span_of(archive_entry_symlink(entry));
	return tar->sink->entry != NULL
	    ? tar->sink->entry(tar->sink->arg, &tell, err)
	    : FB_OK;
}

static int
pull_content(struct fb_miosa_tar *tar, const char *path, uint64_t size,
    const struct fb_pull *pull, struct fb_error *err)
{
	for (uint64_t done = 0;;) {
		struct fb_span bytes;
		int rc = pull->next(pull->arg, &bytes, err);

		if (rc < 0)
			return rc;
		if (bytes.len > size - done || (bytes.len == 0 && done < size))
			return fb_fail(err, FB_EPROTO,
			    "'%s' has another size than was said", path);
		if (bytes.len == 0)
			return FB_OK;
		rc = write_bytes(tar, bytes.ptr, bytes.len, err);
		if (rc < 0)
			return rc;
		done += bytes.len;
	}
}

int
fb_miosa_tar_add(struct fb_miosa_tar *tar, const char *path, uint32_t mode,
    uint64_t size, const struct fb_pull *pull, struct fb_error *err)
{
	locale_t before = fb_tree_locale_enter();
	struct archive_entry *entry = archive_entry_new();
	uint64_t offset;
	int rc = ask_cut(tar, size, err);

	offset = tar->pos;
	archive_entry_copy_pathname(entry, path);
	archive_entry_set_mode(
	    entry, (pull != NULL ? S_IFREG : S_IFDIR) | (mode & 07777));
	archive_entry_set_size(entry, (la_int64_t)size);
	archive_entry_set_mtime(entry, 0, 0);
	if (rc == FB_OK &&
	    archive_write_header(tar->archive, entry) != ARCHIVE_OK)
		rc = fail_writing(tar, err);
	if (rc == FB_OK && pull != NULL)
		rc = pull_content(tar, path, size, pull, err);
	if (rc == FB_OK)
		rc = end_member(tar, entry, offset, err);
	if (rc == FB_OK)
		rc = ask_cut(tar, size, err);
	archive_entry_free(entry);
	(void)uselocale(before);
	return rc;
}

/* -------------------------------------------------------------- merging */

/* How the members of an archive are called. */
enum calling { CALLED_UNKNOWN, CALLED_WITHIN, CALLED_BY_LAST, CALLED_BY_ALL };

struct merging {
	struct fb_miosa_tar *tar;
	const struct fb_pull *pull;
	struct archive *archive;
	int rc;
	struct fb_error failure;
	const char *all, *last; /* of the directory; all: without "/" */
	const char *path;       /* in ours */
	const char *const *names;
	bool *seen;
	enum calling calling;
};

static la_ssize_t
fetch(struct archive *archive, void *arg, const void **ret_bytes)
{
	struct merging *m = arg;
	struct fb_span bytes;

	m->rc = m->pull->next(m->pull->arg, &bytes, &m->failure);
	if (m->rc < 0) {
		archive_set_error(archive, ECANCELED, "the source failed");
		return -1;
	}
	*ret_bytes = bytes.ptr;
	return (la_ssize_t)bytes.len;
}

static int
broken(struct merging *m, const char *what, struct fb_error *err)
{
	const char *text = what != NULL ? what
	                                : archive_error_string(m->archive);

	if (m->rc < 0) {
		*err = m->failure;
		return m->rc;
	}
	return fb_fail_id(err, FB_EPROTO, "E-MIOSA-TAR",
	    "the archive of '/%s' is none that can be used: %.200s", m->all,
	    text != NULL ? text : "it is damaged");
}

/* Behind "<prefix>/": the rest; at "<prefix>": "."; else NULL. */
static const char *
behind(const char *name, const char *prefix)
{
	size_t len = strlen(prefix);

	if (len == 0)
		return name;
	if (strncmp(name, prefix, len) != 0)
		return NULL;
	if (name[len] == '\0')
		return ".";
	return name[len] == '/' ? name + len + 1 : NULL;
}

static bool
is_name(const struct merging *m, const char *name)
{
	size_t len = strcspn(name, "/");

	for (size_t i = 0; m->names[i] != NULL; i++)
		if (strlen(m->names[i]) == len &&
		    strncmp(m->names[i], name, len) == 0)
			return true;
	return false;
}

/* By the first member.  What two ways could explain is not guessed at. */
static int
decide(struct merging *m, const char *name, struct fb_error *err)
{
	bool within = strcmp(name, ".") == 0 || is_name(m, name);
	bool by_last = m->last[0] != '\0' && behind(name, m->last) != NULL;
	bool by_all = strcmp(m->all, m->last) != 0 &&
	    behind(name, m->all) != NULL;

	if (m->all[0] == '\0')
		within = true;
	if ((int)within + (int)by_last + (int)by_all > 1)
		return fb_fail(err, FB_ECONFLICT,
		    "it cannot be told how the archive of '/%s' calls what "
		    "is in it", m->all);
	if (!within && !by_last && !by_all)
		return broken(
		    m, "its first member is of another directory", err);
	m->calling = within ? CALLED_WITHIN
	    : by_last       ? CALLED_BY_LAST
	                    : CALLED_BY_ALL;
	return FB_OK;
}

static void
note_seen(struct merging *m, const char *rest)
{
	size_t len = strcspn(rest, "/");

	for (size_t i = 0; m->names[i] != NULL; i++)
		if (strlen(m->names[i]) == len &&
		    strncmp(m->names[i], rest, len) == 0)
			m->seen[i] = true;
}

/* What a name of theirs is in ours; the caller frees. */
static int
translate(struct merging *m, const char *raw, char **ret_path,
    struct fb_error *err)
{
	FB_AUTO_FREE char *name = NULL;
	const char *rest;
	struct fb_error why = { 0 };
	int rc = FB_OK;

	if (raw == NULL)
		return broken(m, "a member has no readable name", err);
	while (*raw == '/')
		raw++;
	name = fb_tree_plain_path(raw);
	if (strcmp(name, ".") != 0 &&
	    fb_path_check_inside(
	        "member", name, strlen(name), FB_TREE_PATH_MAX, &why) < 0)
		return broken(m, why.msg, err);
	if (m->calling == CALLED_UNKNOWN)
		rc = decide(m, name, err);
	if (rc < 0)
		return rc;
	rest = m->calling == CALLED_WITHIN
	    ? name
	    : behind(name, m->calling == CALLED_BY_LAST ? m->last : m->all);
	if (rest == NULL)
		return broken(m, "a member is of another directory", err);
	note_seen(m, rest);
	if (strcmp(rest, ".") == 0)
		*ret_path = fb_strdup(m->path);
	else if (strcmp(m->path, ".") == 0)
		*ret_path = fb_strdup(rest);
	else
		*ret_path = fb_format("%s/%s", m->path, rest);
	return FB_OK;
}

/* Holes are zeros. */
static int
copy_content(struct merging *m, uint64_t size, struct fb_error *err)
{
	uint64_t at = 0;
	int rc = FB_OK;

	while (rc == FB_OK) {
		const void *bytes;
		size_t len;
		int64_t offset;
		int got = archive_read_data_block(
		    m->archive, &bytes, &len, &offset);

		if (got == ARCHIVE_EOF)
			return at <= size ? write_zeros(m->tar, size - at, err)
			                  : FB_OK;
		if (got != ARCHIVE_OK && got != ARCHIVE_WARN)
			return broken(m, NULL, err);
		if (offset < 0 || (uint64_t)offset < at ||
		    (uint64_t)offset > size ||
		    len > size - (uint64_t)offset)
			return broken(m, "a member is larger than it says",
			    err);
		rc = write_zeros(m->tar, (uint64_t)offset - at, err);
		if (rc == FB_OK)
			rc = write_bytes(m->tar, bytes, len, err);
		at = (uint64_t)offset + len;
	}
	return rc;
}

static int
rename_entry(struct merging *m, struct archive_entry *entry,
    struct fb_error *err)
{
	const char *target = archive_entry_hardlink(entry);
	FB_AUTO_FREE char *path = NULL;
	FB_AUTO_FREE char *link = NULL;
	int rc = translate(m, archive_entry_pathname(entry), &path, err);

	if (rc == FB_OK && target != NULL)
		rc = translate(m, target, &link, err);
	if (rc < 0)
		return rc;
	archive_entry_copy_pathname(entry, path);
	if (link != NULL)
		archive_entry_copy_hardlink(entry, link);
	archive_entry_unset_atime(entry);
	archive_entry_unset_ctime(entry);
	archive_entry_unset_birthtime(entry);
	archive_entry_set_dev(entry, 0);
	archive_entry_set_ino(entry, 0);
	archive_entry_sparse_clear(entry);
	return FB_OK;
}

static bool
is_in_range(struct archive_entry *entry)
{
	return archive_entry_size(entry) >= 0 &&
	    archive_entry_uid(entry) >= 0 &&
	    archive_entry_uid(entry) <= UINT32_MAX &&
	    archive_entry_gid(entry) >= 0 &&
	    archive_entry_gid(entry) <= UINT32_MAX;
}

static int
merge_member(struct merging *m, struct archive_entry *entry,
    struct fb_error *err)
{
	struct fb_miosa_tar *tar = m->tar;
	uint64_t size = 0, offset;
	int rc;

	if (!is_in_range(entry))
		return broken(m, "a size or an owner is out of range", err);
	if (type_of(entry) == FB_ENTRY_FILE)
		size = (uint64_t)archive_entry_size(entry);
	else
		archive_entry_set_size(entry, 0);
	rc = rename_entry(m, entry, err);
	if (rc == FB_OK)
		rc = ask_cut(tar, size, err);
	if (rc < 0)
		return rc;
	offset = tar->pos;
	if (archive_write_header(tar->archive, entry) < ARCHIVE_WARN)
		return fail_writing(tar, err);
	if (size > 0)
		rc = copy_content(m, size, err);
	if (rc == FB_OK)
		rc = end_member(tar, entry, offset, err);
	return rc < 0 ? rc : ask_cut(tar, size, err);
}

static int
merge_members(struct merging *m, struct fb_error *err)
{
	for (;;) {
		struct archive_entry *entry;
		int got = archive_read_next_header(m->archive, &entry);
		int rc;

		if (got == ARCHIVE_EOF)
			return FB_OK;
		if (got != ARCHIVE_OK && got != ARCHIVE_WARN)
			return broken(m, NULL, err);
		rc = merge_member(m, entry, err);
		if (rc < 0)
			return rc;
	}
}

int
fb_miosa_tar_merge(struct fb_miosa_tar *tar, const struct fb_pull *pull,
    const char *dir, const char *path, const char *const *names,
    bool *ret_seen, struct fb_error *err)
{
	locale_t before = fb_tree_locale_enter();
	const char *slash = strrchr(dir, '/');
	struct merging m = { .tar = tar, .pull = pull,
		.all = dir + strspn(dir, "/"),
		.last = slash != NULL ? slash + 1 : dir,
		.path = path, .names = names, .seen = ret_seen };
	int rc = FB_OK;

	m.archive = archive_read_new();
	if (m.archive == NULL)
		rc = fb_fail(err, FB_ESYS, "cannot start reading an archive");
	if (rc == FB_OK &&
	    (archive_read_support_format_tar(m.archive) != ARCHIVE_OK ||
	        archive_read_open(m.archive, &m, NULL, fetch, NULL) !=
	            ARCHIVE_OK))
		rc = broken(&m, NULL, err);
	if (rc == FB_OK)
		rc = merge_members(&m, err);
	if (m.archive != NULL)
		(void)archive_read_free(m.archive);
	(void)uselocale(before);
	return rc;
}

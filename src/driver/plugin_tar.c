/*
 * The catalogue of a tar archive that somebody else wrote.  Its bytes go on
 * as they are; a piece behind what libarchive has read, so that a boundary
 * can be asked for where a member begins.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "plugin_internal.h"
#include "tree_internal.h"

/* Content of this size gets chunk boundaries of its own. */
#define CUT_CONTENT (64u * 1024)

/* The end marker, padded to a record of tar's. */
#define TAIL_MAX (2u << 20)

/* What libarchive may read ahead: no header is longer. */
#define LATE_MAX (8u << 20)

struct reading {
	const struct fb_pull *pull;
	const struct fb_sink *sink;
	struct archive *archive;
	struct fb_buf late;  /* read by libarchive, not yet given on */
	size_t given;        /* of `late` */
	uint64_t pos;        /* bytes given on */
	uint64_t last_cut;
	bool ended;
	int rc;              /* why a piece could not be had ... */
	struct fb_error failure; /* ... or given on */
	char *path, *target;
	struct fb_entry entry; /* the member that is being read */
	bool open;
};

static la_ssize_t
take(struct archive *archive, void *arg, const void **ret_bytes)
{
	struct reading *r = arg;
	struct fb_span bytes;

	r->rc = r->pull->next(r->pull->arg, &bytes, &r->failure);
	if (r->rc < 0) {
		archive_set_error(archive, ECANCELED, "the source failed");
		return -1;
	}
	if (bytes.len > LATE_MAX - (r->late.len - r->given)) {
		(void)fb_fail(&r->failure, FB_EPROTO,
		    "the plugin's archive: a header is longer than %u bytes",
		    LATE_MAX);
		r->rc = fb_plugin_broken(&r->failure);
		archive_set_error(archive, ECANCELED, "too much at once");
		return -1;
	}
	r->ended = bytes.len == 0;
	fb_buf_add(&r->late, bytes.ptr, bytes.len);
	*ret_bytes = bytes.ptr;
	return (la_ssize_t)bytes.len;
}

/* Give on what lies before `pos`. */
static int
give_on(struct reading *r, uint64_t pos, struct fb_error *err)
{
	size_t left = r->late.len - r->given, len;
	int rc;

	if (pos <= r->pos)
		return FB_OK;
	len = pos - r->pos < left ? (size_t)(pos - r->pos) : left;
	if (len == 0)
		return FB_OK;
	rc = r->sink->data(
	    r->sink->arg, r->late.data + r->given, len, err);
	r->given += len;
	r->pos += len;
	if (r->given == r->late.len || r->given > 4u * 1024 * 1024) {
		memmove(r->late.data, r->late.data + r->given,
		    r->late.len - r->given);
		r->late.len -= r->given;
		r->given = 0;
	}
	return rc;
}

static int
broken(struct reading *r, struct fb_error *err)
{
	const char *text = archive_error_string(r->archive);

	if (r->rc < 0) {
		*err = r->failure;
		return r->rc;
	}
	(void)fb_fail(err, FB_EPROTO, "the plugin's archive: %s",
	    text != NULL ? text : "it is damaged");
	return fb_plugin_broken(err);
}

static int
check_path(const char *raw, char **ret_path, struct fb_error *err)
{
	if (raw == NULL) {
		(void)fb_fail(err, FB_EPROTO,
		    "a member of the plugin's archive has no readable name");
		return fb_plugin_broken(err);
	}
	free(*ret_path);
	*ret_path = fb_tree_plain_path(raw);
	if (strcmp(*ret_path, ".") == 0)
		return FB_OK;
	if (fb_path_check_inside("member of the plugin's archive", *ret_path,
	        strlen(*ret_path), FB_TREE_PATH_MAX, err) < 0)
		return fb_plugin_broken(err);
	return FB_OK;
}

static struct fb_span
span_of(const char *text)
{
	return (struct fb_span){ (const uint8_t *)text,
		text != NULL ? strlen(text) : 0 };
}

static int
type_of(struct archive_entry *entry, enum fb_entry_type *ret_type,
    struct fb_error *err)
{
	if (archive_entry_hardlink(entry) != NULL)
		*ret_type = FB_ENTRY_HARDLINK;
	else
		switch (archive_entry_filetype(entry)) {
		case AE_IFREG: *ret_type = FB_ENTRY_FILE; break;
		case AE_IFDIR: *ret_type = FB_ENTRY_DIR; break;
		case AE_IFLNK: *ret_type = FB_ENTRY_SYMLINK; break;
		case AE_IFCHR: *ret_type = FB_ENTRY_CHAR; break;
		case AE_IFBLK: *ret_type = FB_ENTRY_BLOCK; break;
		case AE_IFIFO: *ret_type = FB_ENTRY_FIFO; break;
		default:
			(void)fb_fail(err, FB_EPROTO,
			    "a member of the plugin's archive is of no known "
			    "type");
			return fb_plugin_broken(err);
		}
	return FB_OK;
}

/* The member before this place has ended. */
static int
end_member(struct reading *r, uint64_t pos, struct fb_error *err)
{
	int rc = give_on(r, pos, err);

	if (rc < 0 || !r->open)
		return rc;
	r->open = false;
	r->entry.length = pos - r->entry.offset;
	return r->sink->entry != NULL
	    ? r->sink->entry(r->sink->arg, &r->entry, err)
	    : FB_OK;
}

static int
ask_cut(struct reading *r, struct fb_error *err)
{
	if (r->sink->cut == NULL || r->pos == r->last_cut)
		return FB_OK;
	r->last_cut = r->pos;
	return r->sink->cut(r->sink->arg, err);
}

static int
begin_member(
    struct reading *r, struct archive_entry *entry, struct fb_error *err)
{
	uint64_t before = r->entry.size;
	uint64_t pos = (uint64_t)archive_read_header_position(r->archive);
	int64_t size = archive_entry_size(entry);
	int rc = end_member(r, pos, err);

	r->entry = (struct fb_entry){ .offset = pos };
	if (rc == FB_OK && (size < 0 || archive_entry_uid(entry) < 0 ||
	        archive_entry_uid(entry) > UINT32_MAX ||
	        archive_entry_gid(entry) < 0 ||
	        archive_entry_gid(entry) > UINT32_MAX)) {
		(void)fb_fail(err, FB_EPROTO,
		    "a member of the plugin's archive has a size or an owner "
		    "out of range");
		rc = fb_plugin_broken(err);
	}
	if (rc == FB_OK)
		rc = type_of(entry, &r->entry.type, err);
	if (rc == FB_OK)
		rc = check_path(archive_entry_pathname(entry), &r->path, err);
	if (rc == FB_OK && r->entry.type == FB_ENTRY_HARDLINK)
		rc = check_path(
		    archive_entry_hardlink(entry), &r->target, err);
	if (rc < 0)
		return rc;
	r->entry.mode = (uint32_t)archive_entry_perm(entry) & 07777;
	r->entry.uid = (uint32_t)archive_entry_uid(entry);
	r->entry.gid = (uint32_t)archive_entry_gid(entry);
	r->entry.size =
	    r->entry.type == FB_ENTRY_FILE ? (uint64_t)size : 0;
	r->entry.mtime_s = archive_entry_mtime(entry);
	r->entry.mtime_ns = (uint32_t)archive_entry_mtime_nsec(entry);
	r->entry.path = span_of(r->path);
	if (r->entry.type == FB_ENTRY_HARDLINK)
		r->entry.target = span_of(r->target);
	else if (r->entry.type == FB_ENTRY_SYMLINK)
		r->entry.target = span_of(archive_entry_symlink(entry));
	r->open = true;
	return before >= CUT_CONTENT || r->entry.size >= CUT_CONTENT
	    ? ask_cut(r, err)
	    : FB_OK;
}

/* Its content, of which only the place counts. */
static int
pass_content(struct reading *r, struct fb_error *err)
{
	for (;;) {
		const void *bytes;
		size_t len;
		int64_t offset;
		int got = archive_read_data_block(
		    r->archive, &bytes, &len, &offset);
		int rc;

		if (got == ARCHIVE_EOF)
			return FB_OK;
		if (got != ARCHIVE_OK && got != ARCHIVE_WARN)
			return broken(r, err);
		rc = give_on(r,
		    (uint64_t)archive_filter_bytes(r->archive, 0), err);
		if (rc < 0)
			return rc;
	}
}

static int
pass_members(struct reading *r, struct fb_error *err)
{
	for (;;) {
		struct archive_entry *entry;
		int got = archive_read_next_header(r->archive, &entry);
		int rc;

		if (got == ARCHIVE_EOF)
			return FB_OK;
		if (got != ARCHIVE_OK && got != ARCHIVE_WARN)
			return broken(r, err);
		rc = begin_member(r, entry, err);
		/* A link target that is not kept by us lives in `entry`. */
		if (rc == FB_OK && r->entry.type == FB_ENTRY_SYMLINK) {
			free(r->target);
			r->target = fb_format("%.*s",
			    (int)r->entry.target.len,
			    (const char *)r->entry.target.ptr);
			r->entry.target = span_of(r->target);
		}
		if (rc == FB_OK)
			rc = pass_content(r, err);
		if (rc < 0)
			return rc;
	}
}

/* The end marker and what pads it: zeros, and not for ever. */
static int
pass_tail(struct reading *r, struct fb_error *err)
{
	uint64_t end = (uint64_t)archive_read_header_position(r->archive);
	int rc = end_member(r, end, err);

	while (rc == FB_OK) {
		const void *bytes;

		for (size_t i = r->given; i < r->late.len; i++)
			if (r->late.data[i] != 0) {
				(void)fb_fail(err, FB_EPROTO,
				    "the plugin's archive goes on behind its "
				    "end");
				return fb_plugin_broken(err);
			}
		rc = give_on(r, UINT64_MAX, err);
		if (rc < 0 || r->ended || r->pos - end > TAIL_MAX)
			break;
		if (take(r->archive, r, &bytes) < 0)
			return broken(r, err);
	}
	if (rc == FB_OK && (r->pos - end < 1024 || r->pos - end > TAIL_MAX)) {
		(void)fb_fail(err, FB_EPROTO,
		    "the plugin's archive has no end marker, or does not end "
		    "after it");
		return fb_plugin_broken(err);
	}
	return rc;
}

int
fb_plugin_tar(const struct fb_pull *pull, const struct fb_sink *sink,
    struct fb_error *err)
{
	struct reading r = { .pull = pull, .sink = sink };
	locale_t before = fb_tree_locale_enter();
	int rc = FB_OK;

	r.archive = archive_read_new();
	if (r.archive == NULL)
		rc = fb_fail(err, FB_ESYS, "cannot start reading an archive");
	if (rc == FB_OK &&
	    (archive_read_support_format_tar(r.archive) != ARCHIVE_OK ||
	        archive_read_open(r.archive, &r, NULL, take, NULL) !=
	            ARCHIVE_OK))
		rc = broken(&r, err);
	if (rc == FB_OK)
		rc = pass_members(&r, err);
	if (rc == FB_OK)
		rc = pass_tail(&r, err);
	if (r.archive != NULL)
		(void)archive_read_free(r.archive);
	fb_buf_release(&r.late);
	free(r.path);
	free(r.target);
	(void)uselocale(before);
	return rc;
}

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/seam.h"
#include "fleetbak/base/text.h"
#include "fleetbak/crypto/digest.h"
#include "tree_file.h"
#include "tree_seen.h"

#define STEP (128u * 1024)

struct writer {
	struct fb_tree_file *file;
	uint64_t size; /* of the whole file */
	uint64_t at;   /* so far */
	int old;       /* compared with; -1: none */
	struct stat was; /* what it is compared with */
	bool same;     /* equal so far, and nothing written */
	int fd;        /* written to; -1: nothing yet */
	uint64_t end;  /* of what was written to it */
	char temp[32]; /* its name until it is whole, "" if that is final */
	uint8_t *room; /* for what is there; NULL: not needed so far */
};

static int
make_file(struct writer *w, const char *name, struct fb_error *err)
{
	w->fd = fb_seam_fails(FB_STEP_RENAME, w->file->path)
	    ? -1
	    : openat(w->file->dirfd, name,
	          O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (w->fd == -1 && errno == EEXIST && !w->file->compare)
		return fb_fail(err, FB_EEXISTS, "'%s' exists", w->file->path);
	if (w->fd == -1)
		return fb_fail_sys(err, "cannot make '%s'", w->file->path);
	return FB_OK;
}

static uint8_t *
room_of(struct writer *w)
{
	if (w->room == NULL)
		w->room = fb_alloc(STEP, 1);
	return w->room;
}

static int
write_at(struct writer *w, uint64_t offset, const void *bytes, size_t len,
    struct fb_error *err)
{
	w->file->written_bytes += len;
	if (w->end < offset + len)
		w->end = offset + len;
	return fb_io_pwrite_all(w->fd, w->file->path,
	    (struct fb_span){ bytes, len }, offset, err);
}

/* Copy what was equal so far, leaving its holes. */
static int
copy_prefix(struct writer *w, struct fb_error *err)
{
	uint64_t at = 0;
	size_t got;
	int rc;

	while (at < w->at) {
		off_t data = lseek(w->old, (off_t)at, SEEK_DATA);
		size_t step = STEP;

		if (data == -1 && errno == ENXIO)
			break;
		if (data > 0 && (uint64_t)data > at)
			at = (uint64_t)data;
		if (at >= w->at)
			break;
		if (w->at - at < step)
			step = (size_t)(w->at - at);
		rc = fb_io_pread(
		    w->old, w->file->path, room_of(w), step, at, &got, err);
		if (rc == FB_OK && got == 0)
			rc = fb_fail(err, FB_ECONFLICT,
			    "'%s' became shorter meanwhile", w->file->path);
		if (rc == FB_OK)
			rc = write_at(w, at, w->room, got, err);
		if (rc < 0)
			return rc;
		at += got;
	}
	return FB_OK;
}

/* From now on the file is written anew, beside the old one. */
static int
start_rewrite(struct writer *w, struct fb_error *err)
{
	uint8_t random[6];
	char hex[2 * sizeof(random) + 1];
	int rc;

	fb_random(random, sizeof(random));
	fb_text_hex(random, sizeof(random), hex);
	hex[2 * sizeof(random)] = '\0';
	(void)snprintf(w->temp, sizeof(w->temp), ".fleetbak-%s", hex);
	rc = make_file(w, w->temp, err);
	if (rc < 0) {
		w->temp[0] = '\0';
		return rc;
	}
	return w->same ? copy_prefix(w, err) : FB_OK;
}

static int
differ(struct writer *w, struct fb_error *err)
{
	int rc = start_rewrite(w, err);

	w->same = false;
	return rc;
}

/* Is [w->at, w->at + len) of the old file the same?  bytes NULL: zeros. */
static int
compare(struct writer *w, const uint8_t *bytes, uint64_t len, bool *ret_same,
    struct fb_error *err)
{
	static const uint8_t zeros[4096];
	uint64_t at = w->at, end = w->at + len;
	size_t got;
	int rc;

	*ret_same = true;
	while (at < end && *ret_same) {
		size_t step = bytes != NULL ? STEP : sizeof(zeros);
		off_t data = bytes != NULL
		    ? (off_t)at
		    : lseek(w->old, (off_t)at, SEEK_DATA);

		if (data == -1 && errno == ENXIO)
			break;
		if (data > 0 && (uint64_t)data > at)
			at = (uint64_t)data;
		if (at >= end)
			break;
		if (end - at < step)
			step = (size_t)(end - at);
		rc = fb_io_pread(
		    w->old, w->file->path, room_of(w), step, at, &got, err);
		if (rc < 0)
			return rc;
		*ret_same = got == step &&
		    memcmp(w->room,
		        bytes != NULL ? bytes + (at - w->at) : zeros,
		        step) == 0;
		at += step;
	}
	return FB_OK;
}

/* The next `len` bytes of the file; bytes NULL: a hole. */
static int
put(struct writer *w, const uint8_t *bytes, uint64_t len,
    struct fb_error *err)
{
	bool same;
	int rc = FB_OK;

	if (len == 0)
		return FB_OK;
	if (w->same) {
		rc = compare(w, bytes, len, &same, err);
		if (rc == FB_OK && !same)
			rc = differ(w, err);
	}
	if (rc == FB_OK && !w->same && bytes != NULL)
		rc = write_at(w, w->at, bytes, (size_t)len, err);
	w->at += len;
	return rc;
}

static int
copy_blocks(struct writer *w, struct fb_error *err)
{
	const void *bytes;
	size_t len;
	la_int64_t offset;
	int got, rc;

	for (;;) {
		got = archive_read_data_block(
		    w->file->archive, &bytes, &len, &offset);
		if (got == ARCHIVE_EOF)
			return put(w, NULL, w->size - w->at, err);
		if (got != ARCHIVE_OK && got != ARCHIVE_WARN) {
			w->file->archive_failed = true;
			return fb_fail(err, FB_ECORRUPT,
			    "content of '%s' is damaged", w->file->path);
		}
		if (offset < 0 || (uint64_t)offset < w->at ||
		    (uint64_t)offset > w->size ||
		    len > w->size - (uint64_t)offset)
			return fb_fail(err, FB_ECORRUPT,
			    "content of '%s' lies outside the file",
			    w->file->path);
		rc = put(w, NULL, (uint64_t)offset - w->at, err);
		if (rc == FB_OK)
			rc = put(w, bytes, len, err);
		if (rc < 0)
			return rc;
	}
}

static int
finish(struct writer *w, struct fb_error *err)
{
	int rc = FB_OK;

	if (w->same) {
		w->file->unchanged_bytes += w->size;
		if (w->was.st_nlink > 1)
			(void)fb_tree_link_find(
			    w->file->kept, &w->was, w->file->path);
		return FB_OK;
	}
	if (w->end != w->size) /* it ends with a hole */
		rc = fb_io_truncate(
		    w->fd, w->file->path, (off_t)w->size, err);
	if (rc < 0 || w->temp[0] == '\0')
		return rc;
	if (fb_seam_fails(FB_STEP_RENAME, w->file->path) ||
	    renameat(w->file->dirfd, w->temp, w->file->dirfd,
	        w->file->name) == -1)
		return fb_fail_sys(err, "cannot replace '%s'", w->file->path);
	w->temp[0] = '\0';
	return FB_OK;
}

/* Look at what is there.  A file that another member of the archive keeps
 * under its own name is not this one's too: this one is written anew. */
static int
look_at_old(struct writer *w, struct fb_error *err)
{
	struct fb_tree_file *file = w->file;
	struct stat st;

	if (!file->compare) /* nothing, or making it fails */
		return FB_OK;
	if (fstatat(file->dirfd, file->name, &st, AT_SYMLINK_NOFOLLOW) == -1)
		return errno == ENOENT
		    ? FB_OK
		    : fb_fail_sys(err, "cannot look at '%s'", file->path);
	if (!S_ISREG(st.st_mode))
		return fb_fail(err, FB_EEXISTS, "'%s' exists", file->path);
	if ((uint64_t)st.st_size != w->size ||
	    (st.st_nlink > 1 && fb_tree_link_get(file->kept, &st) != NULL))
		return FB_OK;
	w->was = st;
	w->old = fb_io_openat(file->dirfd, file->name,
	    O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, file->path);
	w->same = w->old >= 0;
	return FB_OK;
}

static int
write_content(struct writer *w, struct fb_error *err)
{
	int rc = FB_OK;

	if (!w->same)
		rc = w->file->compare ? start_rewrite(w, err)
		                      : make_file(w, w->file->name, err);
	if (rc == FB_OK)
		rc = copy_blocks(w, err);
	if (rc == FB_OK)
		rc = finish(w, err);
	return rc;
}

int
fb_tree_file_write(struct fb_tree_file *file, struct fb_error *err)
{
	struct writer w = { .file = file, .old = -1, .fd = -1 };
	int64_t size = archive_entry_size(file->entry);
	int rc;

	file->fd = -1;
	if (size < 0)
		return fb_fail(err, FB_ECORRUPT,
		    "'%s' has a size below nothing", file->path);
	w.size = (uint64_t)size;
	rc = look_at_old(&w, err);
	if (rc < 0)
		return rc;
	rc = write_content(&w, err);
	if (rc == FB_OK) {
		int *now = w.same ? &w.old : &w.fd;

		file->fd = *now;
		*now = -1;
	}
	if (w.temp[0] != '\0')
		(void)unlinkat(file->dirfd, w.temp, 0);
	fb_closep(&w.old);
	fb_closep(&w.fd);
	fb_freep(&w.room);
	return rc;
}

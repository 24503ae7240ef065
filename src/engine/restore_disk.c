/*
 * Disks from one end to the other, in windows that are aligned in the target,
 * whatever the chunks are, with zero blocks left out so that holes come back.
 */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "restore_blocks.h"

#define WINDOW           (UINT64_C(1) << 20)
#define CHECKPOINT_EVERY (UINT64_C(256) << 20)

static const uint8_t zeros[65536];

int
rst_clear_blocks(struct fb_rst_disk *d, uint64_t offset, const uint8_t *bytes,
    size_t len, struct fb_error *err)
{
	uint64_t stop = offset + len, from = offset;
	int rc = FB_OK;

	while (rc >= 0 && from < stop) {
		uint64_t to = from;

		while (to < stop) {
			uint64_t next = rst_block_end(to, stop);

			if (rst_is_zero(bytes + (to - offset),
			        (size_t)(next - to)))
				break;
			to = next;
		}
		if (to > from) {
			d->written_bytes += to - from;
			rc = d->target->ops->zero(
			    d->target, from, to - from, err);
		}
		from = to < stop ? rst_block_end(to, stop) : stop;
	}
	return rc;
}

/* Zeros where the target holds something else, of one stretch of data. */
static int
clear_data(struct fb_rst_disk *d, uint64_t offset, uint64_t end,
    uint8_t *scratch, struct fb_error *err)
{
	while (offset < end) {
		size_t len = end - offset < WINDOW ? (size_t)(end - offset)
		                                   : (size_t)WINDOW;
		int rc = d->target->ops->read(
		    d->target, offset, scratch, len, err);

		if (rc >= 0)
			rc = rst_clear_blocks(d, offset, scratch, len, err);
		if (rc < 0)
			return rc;
		offset += len;
	}
	return FB_OK;
}

/* Make zeros of a range of a target that is not fresh. */
static int
clear_range(struct fb_rst_disk *d, uint64_t offset, uint64_t len,
    struct fb_error *err)
{
	FB_AUTO_FREE uint8_t *scratch = fb_alloc(WINDOW, 1);
	uint64_t end = offset + len;

	while (offset < end) {
		uint64_t from, to;
		int rc = d->target->ops->extent(
		    d->target, offset, &from, &to, err);

		if (rc < 0)
			return rc;
		if (rst_canceled(d))
			return fb_fail(err, FB_ECANCELED, "canceled");
		if (from >= end)
			break;
		to = to < end ? to : end;
		rc = clear_data(d, from, to, scratch, err);
		if (rc < 0)
			return rc;
		offset = to;
	}
	return FB_OK;
}

int
fb_rst_disk_clear_rest(struct fb_rst_disk *d, struct fb_error *err)
{
	int rc;

	if (d->end <= d->size)
		return FB_OK;
	rc = clear_range(d, d->size, d->end - d->size, err);
	return rc < 0 ? rc : d->target->ops->sync(d->target, err);
}

static void
digest_zeros(struct fb_digester *flat, uint64_t len)
{
	while (len > 0) {
		size_t step =
		    len < sizeof(zeros) ? (size_t)len : sizeof(zeros);

		fb_digester_add(flat, (struct fb_span){ zeros, step });
		len -= step;
	}
}

/* Writing from one end to the other. */
struct writer {
	struct fb_rst_disk *disk;
	uint8_t *window;
	uint64_t start;  /* of what the window holds */
	size_t held;
	uint64_t at;     /* next byte that comes */
	uint64_t noted;  /* last checkpoint */
};

static size_t
window_room(const struct writer *w)
{
	return (size_t)(WINDOW - w->at % WINDOW);
}

int
rst_checkpoint(struct fb_rst_disk *d, uint64_t offset, struct fb_error *err)
{
	int rc = d->target->ops->sync(d->target, err);

	return rc < 0 ? rc : d->checkpoint(d->arg, offset, err);
}

/* Put the window down without its zero blocks. */
static int
flush_window(struct writer *w, struct fb_error *err)
{
	struct fb_rst_disk *d = w->disk;
	uint64_t from = w->start, end = w->start + w->held;
	int rc = FB_OK;

	while (from < end && rc >= 0) {
		uint64_t to = rst_block_end(from, end);
		bool zero = rst_is_zero(
		    w->window + (from - w->start), (size_t)(to - from));

		while (to < end) {
			uint64_t next = rst_block_end(to, end);

			if (rst_is_zero(w->window + (to - w->start),
			        (size_t)(next - to)) != zero)
				break;
			to = next;
		}
		if (!zero)
			rc = rst_write(d, from,
			    w->window + (from - w->start), (size_t)(to - from),
			    err);
		else if (!d->target->fresh)
			rc = clear_range(d, from, to - from, err);
		from = to;
	}
	w->start = w->at;
	w->held = 0;
	if (rc >= 0 && w->at - w->noted >= CHECKPOINT_EVERY) {
		w->noted = w->at;
		rc = rst_checkpoint(d, w->at, err);
	}
	return rc;
}

/* `bytes` NULL: zeros, at most as many as the window has room for. */
static int
fill_window(struct writer *w, const uint8_t *bytes, size_t len,
    struct fb_error *err)
{
	if (bytes)
		memcpy(w->window + w->held, bytes, len);
	else
		memset(w->window + w->held, 0, len);
	w->held += len;
	w->at += len;
	return w->at % WINDOW == 0 ? flush_window(w, err) : FB_OK;
}

static int
put_zeros(struct writer *w, uint64_t len, struct fb_error *err)
{
	int rc = FB_OK;

	if (w->disk->flat)
		digest_zeros(w->disk->flat, len);
	while (len > 0 && rc >= 0) {
		uint64_t step = window_room(w);

		if (w->held == 0 && len >= step) {
			/* Whole windows of nothing. */
			step = step + (len - step) / WINDOW * WINDOW;
			if (!w->disk->target->fresh)
				rc = clear_range(w->disk, w->at, step, err);
			w->at += step;
			w->start = w->at;
		} else {
			step = step < len ? step : len;
			rc = fill_window(w, NULL, (size_t)step, err);
		}
		len -= step;
	}
	return rc;
}

static int
put_data(struct writer *w, const uint8_t *bytes, uint64_t len,
    struct fb_error *err)
{
	int rc = FB_OK;

	w->disk->read_bytes += len;
	if (w->disk->flat)
		fb_digester_add(w->disk->flat,
		    (struct fb_span){ bytes, (size_t)len });
	while (len > 0 && rc >= 0) {
		size_t step = window_room(w);

		step = step < len ? step : (size_t)len;
		rc = fill_window(w, bytes, step, err);
		bytes += step;
		len -= step;
	}
	return rc;
}

/* Pieces are whole chunks: the first may begin before what is wanted. */
static int
visit_piece(uint64_t offset, const void *bytes, uint64_t length, void *arg,
    struct fb_error *err)
{
	struct writer *w = arg;
	uint64_t end = offset + length;
	const uint8_t *from = bytes;
	int rc;

	if (rst_canceled(w->disk))
		return fb_fail(err, FB_ECANCELED, "canceled");
	if (end > w->disk->size)
		end = w->disk->size;
	if (offset > w->at)
		return fb_fail(err, FB_EBUG,
		    "the volume's pieces leave a gap at %llu",
		    (unsigned long long)w->at);
	if (end <= w->at)
		return FB_OK;
	if (from == NULL)
		rc = put_zeros(w, end - w->at, err);
	else
		rc = put_data(w, from + (w->at - offset), end - w->at, err);
	if (rc >= 0 && w->disk->progress)
		w->disk->progress(w->disk->arg, w->at);
	return rc;
}

int
fb_rst_disk_write(struct fb_rst_disk *d, struct fb_error *err)
{
	FB_AUTO_FREE uint8_t *window = fb_alloc(WINDOW, 1);
	struct writer w = { .disk = d, .window = window, .start = d->from,
		.at = d->from, .noted = d->from };
	int rc = FB_OK;

	if (d->from < d->size)
		rc = fb_volume_read(d->reader, d->from, d->size, 0, d->cancel,
		    visit_piece, &w, err);
	if (rc >= 0 && w.at != d->size)
		rc = fb_fail(err, FB_EBUG, "the volume ends early");
	if (rc >= 0 && w.held > 0)
		rc = flush_window(&w, err);
	if (rc >= 0)
		rc = d->target->ops->sync(d->target, err);
	return rc;
}

/*
 * Disks.  A fresh target is written in windows that are aligned in the
 * target, whatever the chunks are, with zero blocks left out so that holes
 * come back.  A target with content is read once, window by window, and its
 * chunks hashed; only what differs is fetched, and of that only the blocks
 * that differ are written.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/group.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/cipher.h"
#include "fleetbak/format/pack.h"
#include "restore_parts.h"

#define BLOCK            4096u
#define WINDOW           (UINT64_C(1) << 20)
#define COMPARE_WINDOW   (UINT64_C(16) << 20)
#define COMPARE_STEP     (UINT64_C(1) << 20)
#define COMPARE_PIECES   256
#define CHECKPOINT_EVERY (UINT64_C(256) << 20)
#define COMPARE_THREADS  16

static const uint8_t zeros[65536];

static bool
is_zero(const uint8_t *bytes, size_t len)
{
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0;
}

static bool
canceled(const struct fb_rst_disk *d)
{
	return d->cancel && atomic_load(d->cancel);
}

static int
write_target(struct fb_rst_disk *d, uint64_t offset, const uint8_t *bytes,
    size_t len, struct fb_error *err)
{
	d->written_bytes += len;
	return d->target->ops->write(d->target, offset, bytes, len, err);
}

/* The end of the block that holds `offset`, at most `end`. */
static uint64_t
block_end(uint64_t offset, uint64_t end)
{
	uint64_t next = (offset / BLOCK + 1) * BLOCK;

	return next < end ? next : end;
}

/* Zeros where the target holds something else, of one stretch of data. */
static int
clear_data(struct fb_rst_disk *d, uint64_t offset, uint64_t end,
    uint8_t *scratch, struct fb_error *err)
{
	while (offset < end) {
		size_t len = end - offset < WINDOW ? (size_t)(end - offset)
		                                   : (size_t)WINDOW;
		uint64_t stop = offset + len, from = offset;
		int rc = d->target->ops->read(
		    d->target, offset, scratch, len, err);

		while (rc >= 0 && from < stop) {
			uint64_t to = from;

			while (to < stop) {
				uint64_t next = block_end(to, stop);

				if (is_zero(scratch + (to - offset),
				        (size_t)(next - to)))
					break;
				to = next;
			}
			if (to > from) {
				d->written_bytes += to - from;
				rc = d->target->ops->zero(
				    d->target, from, to - from, err);
			}
			from = to < stop ? block_end(to, stop) : stop;
		}
		if (rc < 0)
			return rc;
		offset = stop;
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
		if (canceled(d))
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

static int
checkpoint(struct fb_rst_disk *d, uint64_t offset, struct fb_error *err)
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
		uint64_t to = block_end(from, end);
		bool zero = is_zero(
		    w->window + (from - w->start), (size_t)(to - from));

		while (to < end) {
			uint64_t next = block_end(to, end);

			if (is_zero(w->window + (to - w->start),
			        (size_t)(next - to)) != zero)
				break;
			to = next;
		}
		if (!zero)
			rc = write_target(d, from,
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
		rc = checkpoint(d, w->at, err);
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

	if (canceled(w->disk))
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

/* Comparing. */
struct piece {
	uint64_t offset;
	uint32_t length;
	bool differs;
	struct fb_digest id;
};

struct compare {
	struct fb_rst_disk *disk;
	const struct fb_cipher_key *domain; /* NULL: ids are plain digests */
	struct piece *pieces;
	size_t count, cap;
	uint64_t at;   /* next byte to look at */
	uint64_t stop; /* of this window */
	uint8_t *old;  /* what the target holds, from the first piece on */
	pthread_mutex_t lock;
	size_t next; /* piece to look at; under the lock */
};

/* The first piece may begin before the window, the last may end after it. */
#define OLD_BYTES (COMPARE_WINDOW + 2 * (uint64_t)FB_CHUNK_MAX)

static uint8_t *
old_bytes(const struct compare *c, uint64_t offset)
{
	return c->old + (offset - c->pieces[0].offset);
}

static int
visit_chunk(uint64_t offset, uint64_t length, const struct fb_digest *id,
    void *arg, struct fb_error *err)
{
	struct compare *c = arg;
	uint64_t end = offset + length;

	if (end > c->disk->size)
		end = c->disk->size;
	if (end <= c->at)
		return FB_OK;
	if (id == NULL) {
		uint64_t from = c->at;

		c->at = end;
		return clear_range(c->disk, from, end - from, err);
	}
	if (length > FB_CHUNK_MAX)
		return fb_fail(err, FB_EBUG, "a chunk is too long");
	if (c->count == c->cap) {
		c->cap = c->cap ? 2 * c->cap : 1024;
		c->pieces = fb_realloc(c->pieces, c->cap, sizeof(*c->pieces));
	}
	c->pieces[c->count++] = (struct piece){ .offset = offset,
		.length = (uint32_t)length, .id = *id };
	c->at = end;
	return FB_OK;
}

/* The next pieces that follow each other, together no longer than a step (or
 * one that is). */
static size_t
take_pieces(struct compare *c, size_t *ret_first)
{
	size_t first, end;

	(void)pthread_mutex_lock(&c->lock);
	first = end = c->next;
	while (end < c->count && end - first < COMPARE_PIECES) {
		const struct piece *p = &c->pieces[end];

		if (end > first &&
		    (p->offset != p[-1].offset + p[-1].length ||
		        p->offset + p->length - c->pieces[first].offset >
		            COMPARE_STEP))
			break;
		end++;
	}
	c->next = end;
	(void)pthread_mutex_unlock(&c->lock);
	*ret_first = first;
	return end - first;
}

/* Read the target there, once, and hash it. */
static int
compare_pieces(struct compare *c, struct piece *pieces, size_t count,
    struct fb_error *err)
{
	struct fb_target *target = c->disk->target;
	struct fb_digest_job jobs[COMPARE_PIECES];
	const struct piece *last = &pieces[count - 1];
	uint64_t from = pieces[0].offset;
	int rc = target->ops->read(target, from, old_bytes(c, from),
	    (size_t)(last->offset + last->length - from), err);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < count; i++)
		jobs[i].bytes =
		    (struct fb_span){ old_bytes(c, pieces[i].offset),
			    pieces[i].length };
	fb_cipher_ids(c->domain, jobs, count);
	for (size_t i = 0; i < count; i++)
		pieces[i].differs =
		    fb_digest_cmp(&jobs[i].digest, &pieces[i].id) != 0;
	return FB_OK;
}

/* One thread. */
static int
compare_chunks(void *arg, struct fb_error *err)
{
	struct compare *c = arg;
	size_t first, count;

	while ((count = take_pieces(c, &first)) > 0) {
		int rc = canceled(c->disk)
		    ? fb_fail(err, FB_ECANCELED, "canceled")
		    : compare_pieces(c, &c->pieces[first], count, err);

		if (rc < 0)
			return rc;
	}
	return FB_OK;
}

static int
compare_window(struct compare *c, struct fb_error *err)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	const struct piece *last;
	struct fb_group *group;

	c->next = 0;
	if (c->count == 0)
		return FB_OK;
	last = &c->pieces[c->count - 1];
	if (last->offset + last->length - c->pieces[0].offset > OLD_BYTES)
		return fb_fail(err, FB_EBUG, "the chunks leave their window");
	if (c->count < 4 || cpus < 2)
		return compare_chunks(c, err);
	group = fb_group_new();
	for (long i = 0; i < cpus && i < COMPARE_THREADS; i++)
		fb_group_start(group, compare_chunks, c);
	return fb_group_wait(group, err);
}

/* Of a chunk that differs, the blocks that do. */
struct patch {
	struct fb_rst_disk *disk;
	const struct compare *compare;
	uint64_t from, end;
};

enum block_is { BLOCK_SAME, BLOCK_ZERO, BLOCK_NEW };

static enum block_is
judge_block(const uint8_t *now, const uint8_t *wanted, size_t len)
{
	if (memcmp(now, wanted, len) == 0)
		return BLOCK_SAME;
	return is_zero(wanted, len) ? BLOCK_ZERO : BLOCK_NEW;
}

static int
put_blocks(struct patch *p, uint64_t from, uint64_t to, const uint8_t *bytes,
    enum block_is what, struct fb_error *err)
{
	struct fb_rst_disk *d = p->disk;

	switch (what) {
	case BLOCK_SAME:
		d->same_bytes += to - from;
		return FB_OK;
	case BLOCK_ZERO:
		d->written_bytes += to - from;
		return d->target->ops->zero(d->target, from, to - from, err);
	case BLOCK_NEW:
		return write_target(d, from, bytes, (size_t)(to - from), err);
	}
	return FB_OK;
}

static int
patch_chunk(uint64_t offset, const void *bytes, uint64_t length, void *arg,
    struct fb_error *err)
{
	struct patch *p = arg;
	struct fb_rst_disk *d = p->disk;
	const uint8_t *new = bytes;
	uint64_t from = offset, end = offset + length;
	const uint8_t *old;
	int rc = FB_OK;

	if (canceled(d))
		return fb_fail(err, FB_ECANCELED, "canceled");
	if (bytes == NULL || offset < p->from || end > p->end ||
	    length > FB_CHUNK_MAX)
		return fb_fail(err, FB_EBUG, "a chunk is not where it was");
	d->read_bytes += length;
	old = old_bytes(p->compare, offset);
	while (rc >= 0 && from < end) {
		uint64_t to = block_end(from, end);
		enum block_is what = judge_block(old + (from - offset),
		    new + (from - offset), (size_t)(to - from));

		while (to < end) {
			uint64_t next = block_end(to, end);

			if (judge_block(old + (to - offset),
			        new + (to - offset),
			        (size_t)(next - to)) != what)
				break;
			to = next;
		}
		rc = put_blocks(
		    p, from, to, new + (from - offset), what, err);
		from = to;
	}
	return rc;
}

/* Fetch each stretch of chunks that differ. */
static int
patch_window(struct compare *c, struct fb_error *err)
{
	struct patch p = { .disk = c->disk, .compare = c };
	size_t i = 0;

	while (i < c->count) {
		size_t k = i;
		int rc;

		if (!c->pieces[i].differs) {
			c->disk->same_bytes += c->pieces[i++].length;
			continue;
		}
		p.from = c->pieces[i].offset;
		for (p.end = p.from; k < c->count && c->pieces[k].differs &&
		     c->pieces[k].offset == p.end; k++)
			p.end += c->pieces[k].length;
		rc = fb_volume_read(c->disk->reader, p.from, p.end, 0,
		    c->disk->cancel, patch_chunk, &p, err);
		if (rc < 0)
			return rc;
		i = k;
	}
	return FB_OK;
}

static int
update_windows(struct compare *c, struct fb_error *err)
{
	struct fb_rst_disk *d = c->disk;
	uint64_t noted = c->at;
	int rc = FB_OK;

	while (c->at < d->size && rc >= 0) {
		uint64_t before = c->at;

		c->count = 0;
		c->stop = d->size - c->at < COMPARE_WINDOW
		    ? d->size
		    : c->at + COMPARE_WINDOW;
		rc = fb_volume_chunks(
		    d->reader, c->at, c->stop, visit_chunk, c, err);
		if (rc >= 0 && c->at == before)
			rc = fb_fail(err, FB_EBUG, "the volume ends early");
		if (rc >= 0)
			rc = compare_window(c, err);
		if (rc >= 0)
			rc = patch_window(c, err);
		if (rc >= 0 && d->progress)
			d->progress(d->arg, c->at);
		if (rc >= 0 && c->at - noted >= 8 * CHECKPOINT_EVERY) {
			noted = c->at;
			rc = checkpoint(d, c->at, err);
		}
	}
	return rc;
}

int
fb_rst_disk_update(struct fb_rst_disk *d, struct fb_error *err)
{
	struct compare c = { .disk = d, .at = d->from };
	struct fb_cipher_key domain;
	int rc = fb_volume_domain(d->reader, &domain, &c.domain, err);

	if (rc < 0)
		return rc;
	c.old = fb_alloc(OLD_BYTES, 1);
	(void)pthread_mutex_init(&c.lock, NULL);
	rc = update_windows(&c, err);
	(void)pthread_mutex_destroy(&c.lock);
	free(c.pieces);
	free(c.old);
	if (c.domain != NULL)
		fb_cipher_wipe(&domain);
	if (rc >= 0)
		rc = d->target->ops->sync(d->target, err);
	return rc;
}

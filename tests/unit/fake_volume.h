/*
 * A volume reader over bytes in memory, in the place of the repository's.
 * It defines what repo/volume.h declares, so the real one is not linked.
 */
#ifndef UNIT_FAKE_VOLUME_H
#define UNIT_FAKE_VOLUME_H

#include <stdatomic.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/crypto/digest_many.h"
#include "fleetbak/engine/recover.h"
#include "fleetbak/repo/volumes.h"

/* A volume: its bytes, cut into pieces; a piece may be a run of zeros. */
struct fake_piece {
	uint64_t offset, length;
	bool zero;
};

struct fb_volume_reader {
	struct fb_recipe_head head;
	uint8_t *bytes;
	struct fake_piece *pieces;
	size_t count;
	uint64_t pull_at, pull_end;
	atomic_uint_fast64_t fetched; /* bytes given out */
	uint64_t damaged; /* offset of a piece that cannot be read, 0: none */
};

static struct fb_volume_reader volume;

int
fb_volume_open(struct fb_repo *repo, const struct fb_digest *id,
    struct fb_volume_reader **ret_reader, struct fb_error *err)
{
	(void)repo;
	(void)id;
	(void)err;
	*ret_reader = &volume;
	return FB_OK;
}

void
fb_volume_close(struct fb_volume_reader *reader)
{
	(void)reader;
}

void
fb_volume_closep(struct fb_volume_reader **reader)
{
	(void)reader;
}

const struct fb_recipe_head *
fb_volume_head(const struct fb_volume_reader *reader)
{
	return &reader->head;
}

bool
fb_volume_is_far(const struct fb_volume_reader *reader)
{
	(void)reader;
	return false;
}

uint64_t
fb_volume_data_size(const struct fb_volume_reader *reader)
{
	return reader->head.size;
}

int
fb_volume_read(struct fb_volume_reader *reader, uint64_t offset, uint64_t end,
    unsigned workers, const atomic_bool *cancel, fb_volume_visit *visit,
    void *arg, struct fb_error *err)
{
	(void)workers;
	(void)cancel;
	for (size_t i = 0; i < reader->count; i++) {
		const struct fake_piece *p = &reader->pieces[i];
		int rc;

		if (p->offset + p->length <= offset || p->offset >= end)
			continue;
		if (reader->damaged && p->offset >= reader->damaged)
			return fb_fail(err, FB_ECORRUPT, "damaged");
		if (!p->zero)
			atomic_fetch_add(&reader->fetched, p->length);
		rc = visit(p->offset,
		    p->zero ? NULL : reader->bytes + p->offset, p->length,
		    arg, err);
		if (rc < 0)
			return rc;
	}
	return FB_OK;
}

int
fb_volume_chunks(struct fb_volume_reader *reader, uint64_t offset,
    uint64_t end, fb_volume_visit_chunk *visit, void *arg,
    struct fb_error *err)
{
	for (size_t i = 0; i < reader->count; i++) {
		const struct fake_piece *p = &reader->pieces[i];
		struct fb_volume_chunk chunk = { .number = (uint32_t)i,
			.stored.length = (uint32_t)p->length };
		int rc;

		if (p->offset + p->length <= offset || p->offset >= end)
			continue;
		fb_digest_pieces((struct fb_span){ reader->bytes + p->offset,
		    (size_t)p->length }, &chunk.stored.id);
		rc = visit(
		    p->offset, p->length, p->zero ? NULL : &chunk, arg, err);
		if (rc < 0)
			return rc;
	}
	return FB_OK;
}

int
fb_volume_domain(struct fb_volume_reader *reader, struct fb_cipher_key *domain,
    const struct fb_cipher_key **ret_use, struct fb_error *err)
{
	(void)reader;
	(void)domain;
	(void)err;
	*ret_use = NULL;
	return FB_OK;
}

struct fb_chunk_reader *
fb_chunk_reader_new(void)
{
	return NULL;
}

void
fb_chunk_reader_free(struct fb_chunk_reader *opener)
{
	(void)opener;
}

int
fb_chunk_reader_read(struct fb_chunk_reader *opener,
    struct fb_volume_reader *reader, const struct fb_volume_chunk *chunks,
    const bool *wanted, size_t count, uint8_t *content, struct fb_error *err)
{
	(void)opener;
	for (size_t i = 0; i < count; i++) {
		const struct fake_piece *p = &reader->pieces[chunks[i].number];

		if (wanted != NULL && !wanted[i]) {
			content += p->length;
			continue;
		}
		if (reader->damaged && p->offset >= reader->damaged)
			return fb_fail(err, FB_ECORRUPT, "damaged");
		atomic_fetch_add(&volume.fetched, p->length);
		memcpy(content, reader->bytes + p->offset, (size_t)p->length);
		content += p->length;
	}
	return FB_OK;
}

static int
pull_next(void *arg, struct fb_span *ret_bytes, struct fb_error *err)
{
	struct fb_volume_reader *reader = arg;
	uint64_t len = reader->pull_end - reader->pull_at;

	(void)err;
	/* Odd steps, so that lines are split anywhere. */
	len = len < 37 ? len : 37;
	*ret_bytes = (struct fb_span){ reader->bytes + reader->pull_at,
		(size_t)len };
	reader->pull_at += len;
	return FB_OK;
}

int
fb_volume_pull(struct fb_volume_reader *reader, uint64_t offset, uint64_t end,
    struct fb_pull *ret_pull, struct fb_error *err)
{
	(void)err;
	reader->pull_at = offset;
	reader->pull_end = end;
	*ret_pull = (struct fb_pull){ reader, pull_next };
	return FB_OK;
}

int
fb_volume_check(struct fb_volume_reader *reader, struct fb_error *err)
{
	(void)reader;
	(void)err;
	return FB_OK;
}

int
fb_volume_packs(struct fb_volume_reader *reader, fb_volume_visit_pack *visit,
    void *arg, struct fb_error *err)
{
	(void)reader;
	(void)visit;
	(void)arg;
	(void)err;
	return FB_OK;
}

/* Reading several at once: here it is one, in this thread. */
struct fb_volumes *
fb_volumes_new(struct fb_repo *repo, unsigned workers)
{
	(void)repo;
	(void)workers;
	return NULL;
}

void
fb_volumes_free(struct fb_volumes *volumes)
{
	(void)volumes;
}

void
fb_volumes_expect(struct fb_volumes *volumes)
{
	(void)volumes;
}

void
fb_volumes_forgo(struct fb_volumes *volumes)
{
	(void)volumes;
}

struct fake_reading {
	const struct fb_volume_sink *sink;
	uint64_t offset, end;
};

static int
put_piece(uint64_t offset, const void *bytes, uint64_t length, void *arg,
    struct fb_error *err)
{
	const struct fake_reading *r = arg;
	uint64_t from = offset > r->offset ? offset : r->offset;
	uint64_t end = offset + length < r->end ? offset + length : r->end;
	int rc = FB_OK;

	if (bytes != NULL)
		rc = r->sink->put(r->sink->arg, from,
		    (const uint8_t *)bytes + (from - offset),
		    (size_t)(end - from), err);
	return rc < 0 ? rc : r->sink->passed(r->sink->arg, end, err);
}

int
fb_volumes_read(struct fb_volumes *volumes, struct fb_volume_reader *reader,
    uint64_t offset, uint64_t end, bool expected, const atomic_bool *cancel,
    const struct fb_volume_sink *sink, struct fb_error *err)
{
	struct fake_reading reading = { sink, offset, end };

	(void)volumes;
	(void)expected;
	return fb_volume_read(
	    reader, offset, end, 1, cancel, put_piece, &reading, err);
}

/* No run that died has left anything: to ask would take the real ones. */
int
fb_recover_relieve(const struct fb_engine *engine, int children_fd,
    struct fb_recover_report *report, struct fb_error *err)
{
	(void)engine, (void)children_fd, (void)report, (void)err;
	return FB_OK;
}

#endif

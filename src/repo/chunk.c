/* Opening chunks. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/cipher.h"
#include "fleetbak/crypto/digest_many.h"

#include "frame.h"
#include "volume_impl.h"

/* Chunks that lie one behind the other, and where they go. */
struct opening {
	ZSTD_DCtx *dctx;
	struct fb_cipher_stream *cipher; /* NULL: nothing is encrypted */
	const struct fb_cipher_key *domain;
	const struct fb_pack_chunk *chunks;
	uint32_t count, first;
	uint8_t *frames, *content;
	const char *key;
	/* Those whose frame has been passed by: only their content is checked. */
	bool taken[OPEN_CHUNKS_MAX];
	struct fb_digest_job jobs[OPEN_CHUNKS_MAX];
};

/*
 * A frame that holds its content as it is needs nothing but its lengths to be
 * read, and these fit or they do not: so of such chunks the content alone is
 * hashed, and not the same bytes once more as they are stored.
 */
static void
take_plain(struct opening *o)
{
	const uint8_t *frame = o->frames;
	uint8_t *to = o->content;

	for (uint32_t i = 0; i < o->count; i++) {
		const struct fb_pack_chunk *chunk = &o->chunks[i];
		size_t stored = chunk->stored_length;

		if (fb_frame_may_be_plain(stored, chunk->length)) {
			if (o->cipher != NULL)
				fb_cipher_stream_seek(o->cipher, chunk->offset);
			o->taken[i] = fb_frame_take_plain(
			    o->cipher, frame, stored, to, chunk->length);
		}
		frame += stored;
		to += chunk->length;
	}
}

static int
check_frames(struct opening *o, struct fb_error *err)
{
	const uint8_t *frame = o->frames;
	uint32_t count = 0;

	for (uint32_t i = 0; i < o->count; i++) {
		size_t stored = o->chunks[i].stored_length;

		if (!o->taken[i])
			o->jobs[count++].bytes =
			    (struct fb_span){ frame, stored };
		frame += stored;
	}
	fb_digest_pieces_many(o->jobs, count);
	for (uint32_t i = 0, k = 0; i < o->count; i++) {
		const struct fb_pack_chunk *chunk = &o->chunks[i];

		if (o->taken[i] ||
		    memcmp(o->jobs[k++].digest.bytes, chunk->stored_digest,
		        FB_STORED_DIGEST_LEN) == 0)
			continue;
		return fb_fail_id(err, FB_ECORRUPT, "E-CHUNK",
		    "'%s': chunk %" PRIu32 ", %" PRIu32 " bytes at %" PRIu32
		    ": they do not have their digest",
		    o->key, o->first + i, chunk->stored_length, chunk->offset);
	}
	return FB_OK;
}

static int
open_frame(struct opening *o, uint32_t i, uint8_t *frame, uint8_t *to,
    struct fb_error *err)
{
	const struct fb_pack_chunk *chunk = &o->chunks[i];
	size_t len;

	if (o->cipher != NULL) {
		fb_cipher_stream_seek(o->cipher, chunk->offset);
		fb_cipher_stream_apply(
		    o->cipher, frame, frame, chunk->stored_length);
	}
	len = ZSTD_decompressDCtx(
	    o->dctx, to, chunk->length, frame, chunk->stored_length);
	if (ZSTD_isError(len) || len != chunk->length)
		return fb_fail_id(err, FB_ECORRUPT, "E-CHUNK",
		    "'%s': chunk %" PRIu32 " does not open: %s", o->key,
		    o->first + i,
		    ZSTD_isError(len) ? ZSTD_getErrorName(len)
		                      : "it has another length");
	return FB_OK;
}

static int
open_frames(struct opening *o, struct fb_error *err)
{
	uint8_t *frame = o->frames, *to = o->content;
	int rc = FB_OK;

	for (uint32_t i = 0; rc == FB_OK && i < o->count; i++) {
		if (!o->taken[i])
			rc = open_frame(o, i, frame, to, err);
		frame += o->chunks[i].stored_length;
		to += o->chunks[i].length;
	}
	return rc;
}

/* What was stored comes first in what is told. */
static int
fail_content(struct opening *o, uint32_t number, struct fb_error *err)
{
	int rc;

	for (uint32_t i = 0; i < o->count; i++)
		o->taken[i] = i != number || !o->taken[i];
	rc = check_frames(o, err);
	return rc < 0 ? rc
	              : fb_fail_id(err, FB_ECORRUPT, "E-CHUNK",
	                    "'%s': chunk %" PRIu32
	                    ": its content is not its id",
	                    o->key, o->first + number);
}

static int
check_contents(struct opening *o, struct fb_error *err)
{
	const uint8_t *content = o->content;

	for (uint32_t i = 0; i < o->count; i++) {
		o->jobs[i].bytes =
		    (struct fb_span){ content, o->chunks[i].length };
		content += o->chunks[i].length;
	}
	fb_cipher_ids(o->domain, o->jobs, o->count);
	for (uint32_t i = 0; i < o->count; i++)
		if (fb_digest_cmp(&o->jobs[i].digest, &o->chunks[i].id) != 0)
			return fail_content(o, i, err);
	return FB_OK;
}

static int
open_chunks(struct opening *o, const struct fb_pack_secret *secret,
    bool every_byte, struct fb_error *err)
{
	int rc;

	if (secret != NULL) {
		o->domain = &secret->domain;
		o->cipher = fb_cipher_stream_new(&secret->key);
	}
	if (!every_byte)
		take_plain(o);
	rc = check_frames(o, err);
	if (rc == FB_OK)
		rc = open_frames(o, err);
	if (rc == FB_OK)
		rc = check_contents(o, err);
	fb_cipher_stream_free(o->cipher);
	return rc;
}

int
fb_chunks_open(ZSTD_DCtx *dctx, const struct fb_pack_secret *secret,
    const struct fb_pack_chunk *chunks, uint32_t count, uint8_t *frames,
    uint8_t *content, const char *key, uint32_t first, struct fb_error *err)
{
	struct opening opening = { .dctx = dctx, .chunks = chunks,
		.count = count, .first = first, .frames = frames,
		.content = content, .key = key };

	return open_chunks(&opening, secret, false, err);
}

int
fb_chunks_verify(ZSTD_DCtx *dctx, const struct fb_pack_secret *secret,
    const struct fb_pack_chunk *chunks, uint32_t count, uint8_t *frames,
    uint8_t *content, const char *key, uint32_t first, struct fb_error *err)
{
	struct opening opening = { .dctx = dctx, .chunks = chunks,
		.count = count, .first = first, .frames = frames,
		.content = content, .key = key };

	return open_chunks(&opening, secret, true, err);
}

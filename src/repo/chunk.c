/* Opening chunks. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/digest_many.h"

#include "volume_impl.h"

static int
check_frames(struct fb_digest_job *jobs, const struct fb_pack_chunk *chunks,
    uint32_t count, const uint8_t *frames, const char *key, uint32_t first,
    struct fb_error *err)
{
	for (uint32_t i = 0; i < count; i++) {
		jobs[i].bytes =
		    (struct fb_span){ frames, chunks[i].stored_length };
		frames += chunks[i].stored_length;
	}
	fb_digest_pieces_many(jobs, count);
	for (uint32_t i = 0; i < count; i++)
		if (memcmp(jobs[i].digest.bytes, chunks[i].stored_digest,
		        FB_STORED_DIGEST_LEN) != 0)
			return fb_fail_id(err, FB_ECORRUPT, "E-CHUNK",
			    "'%s': chunk %" PRIu32 ", %" PRIu32
			    " bytes at %" PRIu32
			    ": they do not have their digest",
			    key, first + i, chunks[i].stored_length,
			    chunks[i].offset);
	return FB_OK;
}

static int
check_contents(struct fb_digest_job *jobs, const struct fb_cipher_key *domain,
    const struct fb_pack_chunk *chunks, uint32_t count, const uint8_t *content,
    const char *key, uint32_t first, struct fb_error *err)
{
	for (uint32_t i = 0; i < count; i++) {
		jobs[i].bytes = (struct fb_span){ content, chunks[i].length };
		content += chunks[i].length;
	}
	fb_cipher_ids(domain, jobs, count);
	for (uint32_t i = 0; i < count; i++)
		if (fb_digest_cmp(&jobs[i].digest, &chunks[i].id) != 0)
			return fb_fail_id(err, FB_ECORRUPT, "E-CHUNK",
			    "'%s': chunk %" PRIu32 ": its content is not its id",
			    key, first + i);
	return FB_OK;
}

static size_t
stored_length(const struct fb_pack_chunk *chunks, uint32_t count)
{
	const struct fb_pack_chunk *last = &chunks[count - 1];

	return last->offset + last->stored_length - chunks[0].offset;
}

int
fb_chunks_open(ZSTD_DCtx *dctx, const struct fb_pack_secret *secret,
    const struct fb_pack_chunk *chunks, uint32_t count, uint8_t *frames,
    uint8_t *content, const char *key, uint32_t first, struct fb_error *err)
{
	struct fb_digest_job jobs[OPEN_CHUNKS_MAX];
	uint8_t *to = content;
	int rc =
	    check_frames(jobs, chunks, count, frames, key, first, err);

	if (rc < 0)
		return rc;
	if (secret != NULL)
		fb_cipher_apply(&secret->key, chunks[0].offset, frames,
		    stored_length(chunks, count));
	for (uint32_t i = 0; i < count; i++) {
		size_t len = ZSTD_decompressDCtx(dctx, to, chunks[i].length,
		    frames, chunks[i].stored_length);

		if (ZSTD_isError(len) || len != chunks[i].length)
			return fb_fail_id(err, FB_ECORRUPT, "E-CHUNK",
			    "'%s': chunk %" PRIu32 " does not open: %s", key,
			    first + i,
			    ZSTD_isError(len) ? ZSTD_getErrorName(len)
			                      : "it has another length");
		frames += chunks[i].stored_length;
		to += len;
	}
	return check_contents(jobs, secret != NULL ? &secret->domain : NULL,
	    chunks, count, content, key, first, err);
}

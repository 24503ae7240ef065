/* Opening one chunk, and reading whole packs. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"

#include "volume_impl.h"

#define FETCH_STEP (1u << 20)

int
fb_chunk_open(ZSTD_DCtx *dctx, const struct fb_pack_chunk *chunk,
    struct fb_span frame, uint8_t *content, const char *key, uint32_t number,
    struct fb_error *err)
{
	struct fb_digest digest;
	size_t len;

	fb_digest_of(frame, &digest);
	if (memcmp(digest.bytes, chunk->stored_digest,
	        FB_STORED_DIGEST_LEN) != 0)
		return fb_fail_id(err, FB_ECORRUPT, "E-CHUNK",
		    "'%s': chunk %" PRIu32 ", %zu bytes at %" PRIu32
		    ": they do not have their digest",
		    key, number, frame.len, chunk->offset);
	len = ZSTD_decompressDCtx(
	    dctx, content, chunk->length, frame.ptr, frame.len);
	if (ZSTD_isError(len) || len != chunk->length)
		return fb_fail_id(err, FB_ECORRUPT, "E-CHUNK",
		    "'%s': chunk %" PRIu32 " does not open: %s", key, number,
		    ZSTD_isError(len) ? ZSTD_getErrorName(len)
		                      : "it has another length");
	fb_digest_of((struct fb_span){ content, len }, &digest);
	if (fb_digest_cmp(&digest, &chunk->id) != 0)
		return fb_fail_id(err, FB_ECORRUPT, "E-CHUNK",
		    "'%s': chunk %" PRIu32 ": its content is not its id", key,
		    number);
	return FB_OK;
}

/* A pack, read from its beginning to its end. */
struct pass {
	struct fb_store *store;
	char key[FB_OBJECT_KEY_SIZE];
	struct fb_digester *digester;
	uint64_t size, offset; /* of the object; after the window */
	size_t at, len;
	uint8_t *window; /* FETCH_STEP + FB_STORED_MAX */
};

/* Have at least `want` bytes in the window. */
static int
fill(struct pass *pass, size_t want, struct fb_error *err)
{
	size_t part = FETCH_STEP;
	int rc;

	if (pass->len - pass->at >= want)
		return FB_OK;
	memmove(pass->window, pass->window + pass->at, pass->len - pass->at);
	pass->len -= pass->at;
	pass->at = 0;
	if (part < want - pass->len)
		part = want - pass->len;
	if (part > pass->size - pass->offset)
		part = (size_t)(pass->size - pass->offset);
	rc = fb_store_get_range(pass->store, pass->key, pass->offset,
	    pass->window + pass->len, part, err);
	if (rc < 0)
		return rc;
	fb_digester_add(pass->digester,
	    (struct fb_span){ pass->window + pass->len, part });
	pass->offset += part;
	pass->len += part;
	if (pass->len < want)
		return fb_fail_id(err, FB_ECORRUPT, "E-PACK-TABLE",
		    "'%s' is shorter than its table says", pass->key);
	return FB_OK;
}

static int
open_chunks(struct pass *pass, const struct fb_pack_table *table,
    struct fb_error *err)
{
	ZSTD_DCtx *dctx = ZSTD_createDCtx();
	FB_AUTO_FREE uint8_t *content = fb_alloc(FB_CHUNK_MAX, 1);
	int rc = FB_OK;

	for (uint32_t i = 0; rc == FB_OK && i < table->count; i++) {
		const struct fb_pack_chunk *chunk = &table->chunks[i];
		struct fb_span frame;

		rc = fill(pass, chunk->stored_length, err);
		if (rc < 0)
			break;
		frame = (struct fb_span){ pass->window + pass->at,
			chunk->stored_length };
		rc = fb_chunk_open(
		    dctx, chunk, frame, content, pass->key, i, err);
		pass->at += frame.len;
	}
	ZSTD_freeDCtx(dctx);
	return rc;
}

/* Read the rest and judge the whole. */
static int
end_pass(struct pass *pass, const struct fb_digest *id, struct fb_error *err)
{
	struct fb_digest digest;
	int rc = FB_OK;

	while (rc == FB_OK && pass->offset < pass->size) {
		pass->at = pass->len;
		rc = fill(pass, 1, err);
	}
	if (rc < 0)
		return rc;
	fb_digester_peek(pass->digester, &digest);
	if (fb_digest_cmp(&digest, id) != 0)
		return fb_fail_id(err, FB_ECORRUPT, "E-PACK-NAME",
		    "'%s': its bytes do not have the digest it is named after",
		    pass->key);
	return FB_OK;
}

int
fb_pack_verify(struct fb_repo *repo, const struct fb_digest *id, bool open,
    uint64_t *ret_bytes, struct fb_error *err)
{
	FB_AUTO_DIGESTER struct fb_digester *digester = fb_digester_new();
	FB_AUTO_FREE uint8_t *window =
	    fb_alloc(FETCH_STEP + FB_STORED_MAX, 1);
	struct fb_table_place place = { .pack = *id };
	struct fb_table table = { 0 };
	struct pass pass = { .store = repo->store,
		.digester = digester,
		.window = window };
	int rc;

	fb_pack_key(id, pass.key);
	rc = fb_store_head(repo->store, pass.key, &pass.size, err);
	if (rc == FB_OK && open)
		rc = fb_table_fetch(repo->store, &place, &table, err);
	if (rc == FB_OK && open)
		rc = open_chunks(&pass, &table.table, err);
	if (rc == FB_OK)
		rc = end_pass(&pass, id, err);
	fb_pack_table_release(&table.table);
	if (rc == FB_OK)
		*ret_bytes = pass.size;
	return rc;
}

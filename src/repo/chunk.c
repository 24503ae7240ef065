/* Opening one chunk, and reading whole packs. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/digest_many.h"

#include "volume_impl.h"

#define FETCH_STEP (1u << 20)

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

/* How many chunks from `first` on go into one step, and their bytes. */
static uint32_t
count_chunks(
    const struct fb_pack_table *table, uint32_t first, size_t *ret_stored)
{
	size_t stored = 0, length = 0;
	uint32_t count = 0;

	for (; first + count < table->count && count < OPEN_CHUNKS_MAX;
	     count++) {
		const struct fb_pack_chunk *chunk =
		    &table->chunks[first + count];

		if (stored + chunk->stored_length > FB_STORED_MAX ||
		    length + chunk->length > FB_CHUNK_MAX)
			break;
		stored += chunk->stored_length;
		length += chunk->length;
	}
	*ret_stored = stored;
	return count;
}

static int
open_chunks(struct pass *pass, const struct fb_pack_table *table,
    const struct fb_pack_secret *secret, struct fb_error *err)
{
	ZSTD_DCtx *dctx = ZSTD_createDCtx();
	FB_AUTO_FREE uint8_t *content = fb_alloc(FB_CHUNK_MAX, 1);
	uint32_t first = 0;
	int rc = FB_OK;

	while (rc == FB_OK && first < table->count) {
		size_t stored;
		uint32_t count = count_chunks(table, first, &stored);

		rc = fill(pass, stored, err);
		if (rc < 0)
			break;
		rc = fb_chunks_open(dctx, secret, table->chunks + first, count,
		    pass->window + pass->at, content, pass->key, first, err);
		pass->at += stored;
		first += count;
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
	struct fb_pack_secret secret;
	struct pass pass = {
		.store = repo->store, .digester = digester, .window = window
	};
	int rc;

	fb_pack_key(id, pass.key);
	rc = fb_store_head(repo->store, pass.key, &pass.size, err);
	if (rc == FB_OK && pass.size > FB_PACK_SIZE_MAX + FB_PACK_SKIP_LEN +
	            FB_PACK_TABLE_MAX)
		rc = fb_fail_id(err, FB_ECORRUPT, "E-PACK-TABLE",
		    "'%s' is larger than a pack can be", pass.key);
	if (rc == FB_OK && open)
		rc = fb_table_fetch(repo->store, &place, &table, err);
	if (rc == FB_OK && open)
		rc = fb_vault_check_kind(
		    repo->vault, &table.table, pass.key, err);
	if (rc == FB_OK && open && repo->vault != NULL)
		rc = fb_vault_secret(repo->vault, &table.table, &secret, err);
	if (rc == FB_OK && open)
		rc = open_chunks(&pass, &table.table,
		    repo->vault != NULL ? &secret : NULL, err);
	if (rc == FB_OK)
		rc = end_pass(&pass, id, err);
	fb_pack_table_release(&table.table);
	if (rc == FB_OK)
		*ret_bytes = pass.size;
	return rc;
}

/*
 * What an earlier run made of a volume, taken over in parts: whole chunks by
 * reference, the rest of a chunk by its bytes.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"

#include "attested.h"
#include "copier_impl.h"
#include "volume_impl.h"

struct fb_past {
	struct fb_copier *copier;
	struct fb_volume_reader *reader;
	struct cursor cursor;
	uint32_t *numbers; /* from the recipe's number of a pack to ours */
	bool failed;

	/* The chunk that was opened last. */
	ZSTD_DCtx *dctx;
	struct fb_buf stored, content;
	uint64_t content_offset; /* UINT64_MAX: none */
};

static int
adopt_packs(struct fb_past *past, struct fb_error *err)
{
	struct fb_volume_reader *reader = past->reader;

	past->numbers =
	    fb_alloc(reader->pack_count + 1, sizeof(*past->numbers));
	for (uint32_t i = 0; i < reader->pack_count; i++) {
		int rc = fb_packer_adopt(past->copier->packer,
		    &reader->packs[i], &past->numbers[i], err);

		if (rc < 0)
			return rc;
	}
	return FB_OK;
}

static int
check_head(const struct fb_past *past, const struct fb_past_spec *spec,
    struct fb_error *err)
{
	const struct fb_recipe_head *head = &past->reader->head;

	if (strcmp(head->kind, spec->kind) != 0 || head->size != spec->size ||
	    fb_digest_cmp(&head->root, &spec->root) != 0)
		return fb_fail_id(err, FB_ECORRUPT, "E-RECIPE",
		    "'%s' is not the volume that its manifest has",
		    past->reader->key);
	return FB_OK;
}

int
fb_past_open(struct fb_copier *copier, const struct fb_past_spec *spec,
    uint64_t from, struct fb_past **ret_past, struct fb_error *err)
{
	struct fb_past *past = fb_alloc(1, sizeof(*past));
	int rc;

	past->copier = copier;
	past->content_offset = UINT64_MAX;
	rc = fb_volume_open(
	    copier->spec.repo, &spec->recipe, &past->reader, err);
	if (rc == FB_OK)
		rc = check_head(past, spec, err);
	if (rc == FB_OK)
		rc = adopt_packs(past, err);
	if (rc < 0) {
		fb_past_close(past);
		return rc;
	}
	fb_cursor_open(&past->cursor, past->reader, from, spec->size);
	*ret_past = past;
	return FB_OK;
}

void
fb_past_close(struct fb_past *past)
{
	if (past == NULL)
		return;
	fb_cursor_close(&past->cursor);
	fb_volume_close(past->reader);
	ZSTD_freeDCtx(past->dctx);
	fb_buf_release(&past->stored);
	fb_buf_release(&past->content);
	free(past->numbers);
	free(past);
}

void
fb_past_closep(struct fb_past **past)
{
	fb_past_close(*past);
}

bool
fb_past_failed(const struct fb_past *past)
{
	return past->failed;
}

static int
peek(struct fb_past *past, struct piece *piece, struct fb_error *err)
{
	int rc = fb_cursor_peek(&past->cursor, piece, err);

	past->failed |= rc < 0;
	return rc;
}

int
fb_past_peek(struct fb_past *past, struct fb_past_piece *ret_piece,
    struct fb_error *err)
{
	const struct fb_digest *ids;
	struct piece piece;
	int rc = peek(past, &piece, err);

	*ret_piece = (struct fb_past_piece){ 0 };
	if (rc < 0)
		return rc;
	ret_piece->offset = piece.offset;
	ret_piece->length = piece.length;
	ret_piece->zeros = piece.chunk == NULL;
	if (piece.chunk == NULL)
		return FB_OK;
	ret_piece->id = piece.chunk->id;
	rc = fb_attested_ids(
	    past->reader->repo, past->cursor.table, &ids, err);
	if (rc == FB_OK && ids != NULL)
		ret_piece->id = ids[piece.number];
	past->failed |= rc < 0;
	return rc;
}

int
fb_past_skip(struct fb_past *past, struct fb_error *err)
{
	struct piece piece;
	int rc = peek(past, &piece, err);

	if (rc == FB_OK && piece.length > 0)
		fb_cursor_take(&past->cursor, &piece);
	return rc;
}

/* The content of a chunk, fetched and checked. */
static int
open_chunk(struct fb_past *past, const struct piece *piece,
    struct fb_error *err)
{
	const struct fb_pack_chunk *chunk = piece->chunk;
	const struct fb_pack_secret *use = NULL;
	struct fb_pack_secret secret;
	char key[FB_OBJECT_KEY_SIZE];
	int rc;

	if (past->content_offset == piece->offset)
		return FB_OK;
	past->content_offset = UINT64_MAX;
	if (past->dctx == NULL)
		past->dctx = ZSTD_createDCtx();
	fb_buf_clear(&past->stored);
	fb_buf_clear(&past->content);
	fb_pack_key(&past->reader->packs[piece->pack].id, key);
	rc = fb_volume_secret(past->reader, piece->pack, &secret, &use, err);
	if (rc == FB_OK)
		rc = fb_store_get_range(past->reader->repo->store, key,
		    chunk->offset,
		    fb_buf_reserve(&past->stored, chunk->stored_length),
		    chunk->stored_length, err);
	if (rc == FB_OK)
		rc =
		    fb_chunks_open(past->dctx, use, chunk, 1, past->stored.data,
		        fb_buf_reserve(&past->content, chunk->length), key,
		        piece->number, err);
	if (rc == FB_OK)
		past->content_offset = piece->offset;
	past->failed |= rc < 0;
	return rc;
}

/* [from, to) of the volume, inside the piece. */
static int
take_part(struct fb_copy *copy, struct fb_past *past,
    const struct piece *piece, uint64_t from, uint64_t to,
    struct fb_error *err)
{
	const struct fb_pack_chunk *chunk = piece->chunk;
	int rc;

	if (chunk == NULL)
		return fb_copy_zero(copy, to - from, err);
	if (from == piece->offset && to - from == piece->length)
		return fb_copy_take_over(copy, chunk,
		    past->numbers[piece->pack], piece->number, err);
	rc = open_chunk(past, piece, err);
	return rc < 0 ? rc
	              : fb_copy_data(copy,
	                    past->content.data + (from - piece->offset),
	                    (size_t)(to - from), err);
}

int
fb_copy_same(struct fb_copy *copy, struct fb_past *past, uint64_t offset,
    uint64_t length, struct fb_error *err)
{
	uint64_t end = offset + length;

	while (offset < end) {
		struct piece piece;
		uint64_t piece_end, until;
		int rc = peek(past, &piece, err);

		if (rc < 0)
			return rc;
		piece_end = piece.offset + piece.length;
		if (piece.length == 0 || piece.offset > offset) {
			past->failed = true;
			return fb_fail(err, FB_ECORRUPT,
			    "no %" PRIu64 " bytes at %" PRIu64
			    " of the earlier volume",
			    end - offset, offset);
		}
		if (piece_end <= offset) {
			fb_cursor_take(&past->cursor, &piece);
			continue;
		}
		until = piece_end < end ? piece_end : end;
		rc = take_part(copy, past, &piece, offset, until, err);
		if (rc < 0)
			return rc;
		if (until == piece_end)
			fb_cursor_take(&past->cursor, &piece);
		offset = until;
	}
	return FB_OK;
}

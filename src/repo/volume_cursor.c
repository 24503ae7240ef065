/* Going over what a recipe is made of; its tables are fetched on the way. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"

#include "volume_impl.h"

/* The last mark whose run ends at or before `offset`, or NULL. */
static const struct mark *
find_mark(const struct fb_volume_reader *reader, uint64_t offset)
{
	size_t low = 0, high = reader->mark_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct fb_recipe_run *run =
		    &reader->marks[middle].decoder.run;

		if (run->offset + run->length <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low > 0 ? &reader->marks[low - 1] : NULL;
}

void
fb_cursor_open(struct cursor *cursor, struct fb_volume_reader *reader,
    uint64_t offset, uint64_t end)
{
	const struct mark *mark = find_mark(reader, offset);

	*cursor = (struct cursor){ .reader = reader,
		.decoder = reader->at_runs,
		.end = end < reader->head.size ? end : reader->head.size,
		.from = offset };
	cursor->lines = fb_alloc(1, sizeof(*cursor->lines));
	cursor->lines->reader = reader;
	cursor->lines->offset = reader->runs_offset;
	if (mark != NULL) {
		cursor->decoder = mark->decoder;
		cursor->lines->offset = mark->offset;
		cursor->offset =
		    mark->decoder.run.offset + mark->decoder.run.length;
	}
}

void
fb_cursor_close(struct cursor *cursor)
{
	if (cursor->reader != NULL)
		fb_tables_put(cursor->reader->repo->tables, cursor->table);
	free(cursor->lines);
	*cursor = (struct cursor){ 0 };
}

/* The run must be what the table says about its chunks. */
static int
check_run(const struct cursor *cursor, struct fb_error *err)
{
	const struct fb_pack_table *table = &cursor->table->table;
	const struct fb_recipe_run *run = &cursor->run;
	uint64_t stored = 0, length = 0;
	bool fits = (uint64_t)run->first + run->count <= table->count &&
	    table->chunks[run->first].offset == run->pack_offset;

	for (uint32_t i = 0; fits && i < run->count; i++) {
		stored += table->chunks[run->first + i].stored_length;
		length += table->chunks[run->first + i].length;
	}
	if (!fits || stored != run->pack_length || length != run->length)
		return fb_fail_id(err, FB_ECORRUPT, "E-RECIPE",
		    "'%s': the run at %" PRIu64
		    " is not what its pack's table says",
		    cursor->reader->key, run->offset);
	return FB_OK;
}

static int
open_table(struct cursor *cursor, struct fb_error *err)
{
	struct fb_volume_reader *reader = cursor->reader;
	const struct fb_recipe_pack *pack = &reader->packs[cursor->run.pack];
	struct fb_table_place place = { pack->id, pack->table_offset,
		pack->table_length, &pack->table_digest };

	fb_tables_put(reader->repo->tables, cursor->table);
	cursor->table = NULL;
	return fb_tables_get(
	    reader->repo->tables, &place, &cursor->table, err);
}

/* Make the first run that ends after `from` the current one. */
static int
next_run(struct cursor *cursor, struct fb_error *err)
{
	enum fb_recipe_step step;
	struct fb_span line;
	int rc;

	while (!cursor->have_run && cursor->decoder.runs_left > 0) {
		rc = fb_recipe_lines_next(cursor->lines, &line, err);
		if (rc == FB_OK)
			rc = fb_recipe_decode_line(
			    &cursor->decoder, line, &step, err);
		if (rc < 0)
			return rc;
		cursor->run = cursor->decoder.run;
		if (cursor->run.offset + cursor->run.length <= cursor->from) {
			cursor->offset =
			    cursor->run.offset + cursor->run.length;
			continue;
		}
		cursor->have_run = true;
		cursor->index = 0;
		if (cursor->run.offset >= cursor->end)
			return FB_OK; /* zeros up to the end */
		rc = open_table(cursor, err);
		return rc == FB_OK ? check_run(cursor, err) : rc;
	}
	return FB_OK;
}

/* Zeros before the run, or at the end; false: there are none here. */
static bool
peek_zeros(struct cursor *cursor, struct piece *piece)
{
	uint64_t until = cursor->end;

	if (cursor->have_run && cursor->run.offset < until)
		until = cursor->run.offset;
	if (cursor->offset >= until)
		return false;
	if (cursor->offset < cursor->from)
		cursor->offset = cursor->from < until ? cursor->from : until;
	*piece = (struct piece){ .offset = cursor->offset,
		.length = until - cursor->offset };
	return piece->length > 0;
}

int
fb_cursor_peek(
    struct cursor *cursor, struct piece *ret_piece, struct fb_error *err)
{
	struct piece piece = { .offset = cursor->offset };

	*ret_piece = piece;
	if (cursor->offset >= cursor->end)
		return FB_OK;
	if (cursor->rc == FB_OK)
		cursor->rc = next_run(cursor, &cursor->err);
	if (cursor->rc < 0) {
		*err = cursor->err;
		return cursor->rc;
	}
	if (peek_zeros(cursor, ret_piece) || !cursor->have_run ||
	    cursor->offset >= cursor->end)
		return FB_OK;
	for (;;) {
		piece.number = cursor->run.first + cursor->index;
		piece.chunk = &cursor->table->table.chunks[piece.number];
		piece.offset = cursor->offset;
		piece.length = piece.chunk->length;
		piece.pack = cursor->run.pack;
		if (piece.offset + piece.length > cursor->from)
			break;
		fb_cursor_take(cursor, &piece);
	}
	*ret_piece = piece;
	return FB_OK;
}

void
fb_cursor_take(struct cursor *cursor, const struct piece *piece)
{
	cursor->offset = piece->offset + piece->length;
	if (piece->chunk != NULL && ++cursor->index == cursor->run.count)
		cursor->have_run = false;
}

int
fb_volume_chunks(struct fb_volume_reader *reader, uint64_t offset,
    uint64_t end, fb_volume_visit_chunk *visit, void *arg,
    struct fb_error *err)
{
	struct cursor cursor;
	struct piece piece;
	int rc;

	fb_cursor_open(&cursor, reader, offset, end);
	while ((rc = fb_cursor_peek(&cursor, &piece, err)) == FB_OK &&
	    piece.length > 0) {
		struct fb_volume_chunk chunk;

		if (piece.chunk != NULL)
			chunk = (struct fb_volume_chunk){ *piece.chunk,
				piece.pack, piece.number };
		rc = visit(piece.offset, piece.length,
		    piece.chunk != NULL ? &chunk : NULL, arg, err);
		if (rc < 0)
			break;
		fb_cursor_take(&cursor, &piece);
	}
	fb_cursor_close(&cursor);
	return rc;
}

static int
add_leaf(uint64_t offset, uint64_t length, const struct fb_volume_chunk *chunk,
    void *arg, struct fb_error *err)
{
	(void)offset;
	(void)err;
	if (chunk != NULL)
		fb_merkle_add_data(arg, length, &chunk->stored.id);
	else
		fb_merkle_add_zero(arg, length);
	return FB_OK;
}

int
fb_volume_check(struct fb_volume_reader *reader, struct fb_error *err)
{
	struct fb_merkle merkle;
	struct fb_digest root;
	int rc;

	fb_merkle_init(&merkle);
	rc = fb_volume_chunks(
	    reader, 0, reader->head.size, add_leaf, &merkle, err);
	if (rc < 0)
		return rc;
	fb_merkle_root(&merkle, &root);
	if (merkle.size != reader->head.size ||
	    fb_digest_cmp(&root, &reader->head.root) != 0)
		return fb_fail_id(err, FB_ECORRUPT, "E-ROOT",
		    "'%s': its chunks do not make the volume it is for",
		    reader->key);
	return FB_OK;
}

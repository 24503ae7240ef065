#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/format/pack.h"

#include "fields.h"

#define TAIL_DIGITS 20

/* The shortest line of a chunk: "1 1 <id> <digest>\n". */
#define LINE_MIN (4 + 64 + 1 + 32 + 1)

void
fb_pack_table_encode(const struct fb_pack_table *table, struct fb_buf *dst)
{
	fb_buf_add_fmt(dst, "fleetbak-pack 1\nsession %s\n", table->session);
	if (table->encrypted) {
		fb_buf_add_str(dst, "domain ");
		put_hex(dst, table->domain, FB_KEY_TAG_LEN);
		fb_buf_add_str(dst, "\nkey ");
		put_hex(dst, table->key, FB_KEY_TAG_LEN);
		fb_buf_add_str(dst, "\n");
	}
	fb_buf_add_fmt(dst, "chunks %zu\n", table->count);
	for (size_t i = 0; i < table->count; i++) {
		const struct fb_pack_chunk *chunk = &table->chunks[i];

		fb_buf_add_fmt(dst, "%" PRIu32 " %" PRIu32 " ",
		    chunk->stored_length, chunk->length);
		put_hex(dst, chunk->id.bytes, FB_DIGEST_LEN);
		fb_buf_add(dst, " ", 1);
		put_hex(dst, chunk->stored_digest, FB_STORED_DIGEST_LEN);
		fb_buf_add(dst, "\n", 1);
	}
	fb_buf_add_fmt(dst, "table %0*" PRIu64 "\n", TAIL_DIGITS,
	    table->offset);
}

static int
fail_table(struct fb_error *err, const char *what)
{
	return fb_fail_id(
	    err, FB_ECORRUPT, "E-PACK-TABLE", "damaged pack table: %s", what);
}

static bool
decode_keys(struct fb_span *rest, struct fb_pack_table *table)
{
	table->encrypted = take_literal(rest, "domain ");
	return !table->encrypted ||
	    (take_hex(rest, table->domain, FB_KEY_TAG_LEN) &&
	        take_literal(rest, "\nkey ") &&
	        take_hex(rest, table->key, FB_KEY_TAG_LEN) &&
	        take_literal(rest, "\n"));
}

static bool
decode_head(struct fb_span *rest, struct fb_pack_table *table)
{
	struct fb_span id;
	uint64_t count;

	if (!take_literal(rest, "fleetbak-pack 1\nsession ") ||
	    !take_until(rest, '\n', &id) ||
	    !fb_run_id_ok((const char *)id.ptr, id.len) ||
	    id.len >= sizeof(table->session) || !decode_keys(rest, table) ||
	    !take_literal(rest, "chunks ") ||
	    !take_number(rest, FB_PACK_CHUNKS_MAX, &count) ||
	    !take_literal(rest, "\n"))
		return false;
	memcpy(table->session, id.ptr, id.len);
	table->session[id.len] = '\0';
	table->count = (size_t)count;
	return true;
}

static bool
decode_chunk(struct fb_span *rest, uint64_t offset,
    struct fb_pack_chunk *chunk)
{
	chunk->offset = (uint32_t)offset;
	return take_u32(rest, FB_STORED_MAX, &chunk->stored_length) &&
	    take_literal(rest, " ") &&
	    take_u32(rest, FB_CHUNK_MAX, &chunk->length) &&
	    take_literal(rest, " ") &&
	    take_hex(rest, chunk->id.bytes, FB_DIGEST_LEN) &&
	    take_literal(rest, " ") &&
	    take_hex(rest, chunk->stored_digest, FB_STORED_DIGEST_LEN) &&
	    take_literal(rest, "\n") && chunk->stored_length > 0 &&
	    chunk->length > 0 &&
	    offset + chunk->stored_length <= FB_PACK_SIZE_MAX;
}

int
fb_pack_table_decode(struct fb_span text, struct fb_pack_table *ret_table,
    struct fb_error *err)
{
	struct fb_pack_table table = { 0 };
	uint64_t tail;
	int rc;

	if (text.len > FB_PACK_TABLE_MAX)
		return fail_table(err, "larger than the format allows");
	if (!decode_head(&text, &table))
		return fail_table(err, "not the head of one");
	if (table.count > text.len / LINE_MIN)
		return fail_table(err, "fewer lines than it counts");
	table.chunks = fb_alloc_or_fail(
	    table.count + 1, sizeof(*table.chunks), err);
	if (table.chunks == NULL)
		return fb_wrap(err, "pack table");
	for (size_t i = 0; i < table.count; i++) {
		if (!decode_chunk(&text, table.offset, &table.chunks[i])) {
			fb_pack_table_release(&table);
			return fb_fail_id(err, FB_ECORRUPT, "E-PACK-TABLE",
			    "damaged pack table: line of chunk %zu", i);
		}
		table.offset += table.chunks[i].stored_length;
	}
	rc = fb_pack_tail_decode(text, &tail, err);
	if (rc == FB_OK && tail != table.offset)
		rc = fail_table(err, "its offset is not the sum of lengths");
	if (rc < 0) {
		fb_pack_table_release(&table);
		return rc;
	}
	*ret_table = table;
	return FB_OK;
}

void
fb_pack_table_release(struct fb_pack_table *table)
{
	free(table->chunks);
	*table = (struct fb_pack_table){ 0 };
}

int
fb_pack_tail_decode(
    struct fb_span tail, uint64_t *ret_offset, struct fb_error *err)
{
	uint64_t offset = 0;

	if (tail.len != FB_PACK_TAIL_LEN || !take_literal(&tail, "table ") ||
	    tail.ptr[TAIL_DIGITS] != '\n')
		return fail_table(err, "no last line that says where it is");
	for (size_t i = 0; i < TAIL_DIGITS; i++) {
		uint8_t c = tail.ptr[i];

		if (c < '0' || c > '9' || offset > FB_PACK_SIZE_MAX)
			return fail_table(err, "its place is not a number");
		offset = offset * 10 + (uint64_t)(c - '0');
	}
	if (offset > FB_PACK_SIZE_MAX)
		return fail_table(err, "its place is beyond any pack");
	*ret_offset = offset;
	return FB_OK;
}

static void
format_key(const char *prefix, const struct fb_digest *id, const char *suffix,
    char key[FB_OBJECT_KEY_SIZE])
{
	char hex[FB_DIGEST_HEX_SIZE];

	fb_digest_hex(id, hex);
	(void)snprintf(key, FB_OBJECT_KEY_SIZE, "%s/%.2s/%s%s", prefix, hex,
	    hex, suffix);
}

void
fb_pack_key(const struct fb_digest *id, char key[FB_OBJECT_KEY_SIZE])
{
	format_key("packs", id, ".pack", key);
}

void
fb_recipe_key(const struct fb_digest *id, char key[FB_OBJECT_KEY_SIZE])
{
	format_key("recipes", id, "", key);
}

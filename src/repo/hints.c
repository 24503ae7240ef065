/*
 * Hints: which chunks the packs of a run hold.
 *
 *	fleetbak-hints 1 <session id>
 *	<pack id> <table offset> <table length> <table digest> <count>
 *	count * 8 bytes: the beginnings of the ids, in the pack's order
 *	...
 *
 * They say where to look, and which table a pack has: a chunk that is found
 * is not stored again, so a table that lies would make a backup of nothing.
 * Hence the seal: hints that no trusted key sealed are as good as none, and
 * damage costs duplicates.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/repo/volume.h"

#include "bytes.h"
#include "packer.h"

#define WINDOW   65536
#define HINT_LINE_MAX 256

struct input {
	const struct fb_hint_source *source;
	uint64_t offset; /* of the byte after the window */
	size_t at, len;  /* in the window */
	uint8_t *window;
};

void
fb_hints_add_head(struct fb_buf *dst, const char *session)
{
	fb_buf_add_fmt(dst, "fleetbak-hints 1 %s\n", session);
}

static void
add_pack_line(struct fb_buf *dst, const struct fb_hint_pack *pack)
{
	char id[FB_DIGEST_HEX_SIZE], table[FB_DIGEST_HEX_SIZE];

	fb_digest_hex(&pack->id, id);
	fb_digest_hex(&pack->table_digest, table);
	fb_buf_add_fmt(dst, "%s %" PRIu32 " %" PRIu32 " %s %" PRIu32 "\n", id,
	    pack->table_offset, pack->table_length, table, pack->count);
}

void
fb_hints_add_pack(struct fb_buf *dst, const struct fb_hint_pack *pack,
    const struct fb_pack_table *table)
{
	add_pack_line(dst, pack);
	for (size_t i = 0; i < table->count; i++)
		fb_buf_add(dst, table->chunks[i].id.bytes, 8);
}

void
fb_hints_add_ids(struct fb_buf *dst, const struct fb_hint_pack *pack,
    const struct fb_digest *ids)
{
	add_pack_line(dst, pack);
	for (size_t i = 0; i < pack->count; i++)
		fb_buf_add(dst, ids[i].bytes, 8);
}

/* Have `want` bytes in the window, or as many as there are. */
static size_t
fill(struct input *input, size_t want)
{
	struct fb_error ignored = { 0 };
	size_t got = 0;

	if (input->len - input->at >= want)
		return want;
	memmove(input->window, input->window + input->at,
	    input->len - input->at);
	input->len -= input->at;
	input->at = 0;
	if (input->source->read(input->source->arg, input->offset,
	        input->window + input->len, WINDOW - input->len, &got,
	        &ignored) == FB_OK) {
		input->len += got;
		input->offset += got;
	}
	return input->len < want ? input->len : want;
}

/* One line, NUL-terminated in place of its newline, and its length. */
static const char *
take_line(struct input *input, size_t *ret_len)
{
	size_t len = fill(input, HINT_LINE_MAX);
	char *line = (char *)input->window + input->at;
	char *end = len > 0 ? memchr(line, '\n', len) : NULL;

	if (end == NULL)
		return NULL;
	*end = '\0';
	*ret_len = (size_t)(end - line);
	input->at += *ret_len + 1;
	return line;
}

static bool
parse_pack(const char *line, size_t len, struct fb_hint_pack *ret_pack)
{
	FB_AUTO_BUF struct fb_buf again = { 0 };
	struct fb_error ignored = { 0 };
	char id[FB_DIGEST_HEX_SIZE], table[FB_DIGEST_HEX_SIZE];

	if (sscanf(line, "%64s %9" SCNu32 " %9" SCNu32 " %64s %9" SCNu32, id,
	        &ret_pack->table_offset, &ret_pack->table_length, table,
	        &ret_pack->count) != 5 ||
	    fb_digest_parse(
	        (struct fb_span){ (const uint8_t *)id, strlen(id) },
	        &ret_pack->id, &ignored) < 0 ||
	    fb_digest_parse(
	        (struct fb_span){ (const uint8_t *)table, strlen(table) },
	        &ret_pack->table_digest, &ignored) < 0)
		return false;
	/* There is one spelling. */
	add_pack_line(&again, ret_pack);
	return again.len == len + 1 && memcmp(again.data, line, len) == 0 &&
	    ret_pack->table_length > 0 &&
	    ret_pack->table_offset <= FB_PACK_SIZE_MAX &&
	    ret_pack->table_length <= FB_PACK_TABLE_MAX &&
	    ret_pack->count <= FB_PACK_CHUNKS_MAX;
}

/* The prefixes of one pack; false: no more of them, or none wanted. */
static bool
read_chunks(struct input *input, const struct fb_hint_pack *pack, bool wanted,
    const struct fb_hint_visitor *visitor)
{
	for (uint32_t i = 0; i < pack->count; i++) {
		uint64_t prefix;

		if (fill(input, 8) < 8)
			return false;
		prefix = fb_load_le64(input->window + input->at);
		input->at += 8;
		if (wanted && !visitor->chunk(visitor->arg, i, prefix))
			return false;
	}
	return true;
}

void
fb_hints_read(const struct fb_hint_source *source, const char *session,
    const struct fb_hint_visitor *visitor)
{
	FB_AUTO_FREE uint8_t *window = fb_alloc(WINDOW, 1);
	struct input input = { .source = source, .window = window };
	FB_AUTO_FREE char *head = fb_format("fleetbak-hints 1 %s", session);
	size_t len;
	const char *line = take_line(&input, &len);
	struct fb_hint_pack pack;

	if (line == NULL || len != strlen(head) ||
	    memcmp(line, head, len) != 0)
		return;
	while ((line = take_line(&input, &len)) != NULL &&
	    parse_pack(line, len, &pack))
		if (!read_chunks(&input, &pack,
		        visitor->pack(visitor->arg, &pack) >= 0, visitor))
			return;
}

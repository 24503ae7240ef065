#include <inttypes.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/format/pack.h"
#include "fleetbak/format/recipe.h"

#include "fields.h"

/* What the next line must be: fb_recipe_decoder.state. */
enum state {
	AT_MAGIC,
	AT_SESSION,
	AT_KIND,
	AT_SIZE,
	AT_ROOT,
	AT_PACKS,
	AT_PACK,
	AT_RUNS,
	AT_RUN,
	AT_END,
	AFTER_END,
};

static const char *const kinds[] = { "disk", "tree", "definition",
	"catalogue", "memory", "opaque" };

void
fb_recipe_add_head(struct fb_buf *dst, const struct fb_recipe_head *head)
{
	fb_buf_add_fmt(dst,
	    "fleetbak-recipe 1\nsession %s\nkind %s\nsize %" PRIu64 "\nroot ",
	    head->session, head->kind, head->size);
	put_hex(dst, head->root.bytes, FB_DIGEST_LEN);
	fb_buf_add_fmt(dst, "\npacks %" PRIu32 "\n", head->pack_count);
}

void
fb_recipe_add_pack(struct fb_buf *dst, const struct fb_recipe_pack *pack)
{
	put_hex(dst, pack->id.bytes, FB_DIGEST_LEN);
	fb_buf_add_fmt(dst, " %" PRIu32 " %" PRIu32 " ", pack->table_offset,
	    pack->table_length);
	put_hex(dst, pack->table_digest.bytes, FB_DIGEST_LEN);
	fb_buf_add(dst, "\n", 1);
}

void
fb_recipe_add_runs(struct fb_buf *dst, uint64_t run_count)
{
	fb_buf_add_fmt(dst, "runs %" PRIu64 "\n", run_count);
}

void
fb_recipe_add_run(struct fb_buf *dst, const struct fb_recipe_run *run)
{
	fb_buf_add_fmt(dst,
	    "%" PRIu64 " %" PRIu64 " %" PRIu32 " %" PRIu32 " %" PRIu32
	    " %" PRIu32 " %" PRIu32 "\n",
	    run->offset, run->length, run->pack, run->pack_offset,
	    run->pack_length, run->first, run->count);
}

void
fb_recipe_add_end(struct fb_buf *dst)
{
	fb_buf_add_str(dst, "end\n");
}

static bool
decode_session(struct fb_span line, struct fb_recipe_head *head)
{
	if (!take_literal(&line, "session ") ||
	    line.len >= sizeof(head->session) ||
	    !fb_run_id_ok((const char *)line.ptr, line.len))
		return false;
	memcpy(head->session, line.ptr, line.len);
	head->session[line.len] = '\0';
	return true;
}

static bool
decode_kind(struct fb_span line, struct fb_recipe_head *head)
{
	if (!take_literal(&line, "kind "))
		return false;
	for (size_t i = 0; i < FB_COUNT(kinds); i++)
		if (line.len == strlen(kinds[i]) &&
		    memcmp(line.ptr, kinds[i], line.len) == 0) {
			memcpy(head->kind, kinds[i], line.len + 1);
			return true;
		}
	return false;
}

static bool
decode_number(
    struct fb_span line, const char *word, uint64_t max, uint64_t *ret)
{
	return take_literal(&line, word) && take_number(&line, max, ret) &&
	    line.len == 0;
}

static bool
decode_root(struct fb_span line, struct fb_digest *root)
{
	return take_literal(&line, "root ") &&
	    take_hex(&line, root->bytes, FB_DIGEST_LEN) && line.len == 0;
}

static bool
decode_pack(struct fb_span line, struct fb_recipe_pack *pack)
{
	return take_hex(&line, pack->id.bytes, FB_DIGEST_LEN) &&
	    take_literal(&line, " ") &&
	    take_u32(&line, FB_PACK_SIZE_MAX, &pack->table_offset) &&
	    take_literal(&line, " ") &&
	    take_u32(&line, FB_PACK_TABLE_MAX, &pack->table_length) &&
	    take_literal(&line, " ") &&
	    take_hex(&line, pack->table_digest.bytes, FB_DIGEST_LEN) &&
	    line.len == 0 && pack->table_length > 0;
}

static bool
run_fields(struct fb_span line, struct fb_recipe_run *run)
{
	return take_number(&line, INT64_MAX, &run->offset) &&
	    take_literal(&line, " ") &&
	    take_number(&line, INT64_MAX, &run->length) &&
	    take_literal(&line, " ") &&
	    take_u32(&line, UINT32_MAX, &run->pack) &&
	    take_literal(&line, " ") &&
	    take_u32(&line, FB_PACK_SIZE_MAX, &run->pack_offset) &&
	    take_literal(&line, " ") &&
	    take_u32(&line, FB_PACK_SIZE_MAX, &run->pack_length) &&
	    take_literal(&line, " ") &&
	    take_u32(&line, FB_PACK_CHUNKS_MAX, &run->first) &&
	    take_literal(&line, " ") &&
	    take_u32(&line, FB_PACK_CHUNKS_MAX, &run->count) && line.len == 0;
}

static bool
decode_run(struct fb_recipe_decoder *decoder, struct fb_span line)
{
	struct fb_recipe_run *run = &decoder->run;

	if (!run_fields(line, run) || run->count == 0 ||
	    run->length < run->count || run->pack_length < run->count ||
	    run->first + run->count > FB_PACK_CHUNKS_MAX ||
	    run->length > (uint64_t)run->count * FB_CHUNK_MAX ||
	    run->pack >= decoder->head.pack_count ||
	    run->offset < decoder->next_offset ||
	    run->length > decoder->head.size ||
	    run->offset > decoder->head.size - run->length)
		return false;
	decoder->next_offset = run->offset + run->length;
	return true;
}

static bool
is_line(struct fb_span line, const char *text)
{
	return line.len == strlen(text) &&
	    memcmp(line.ptr, text, line.len) == 0;
}

static bool
decode_head_line(struct fb_recipe_decoder *decoder, struct fb_span line)
{
	struct fb_recipe_head *head = &decoder->head;

	switch (decoder->state) {
	case AT_MAGIC:
		return is_line(line, "fleetbak-recipe 1");
	case AT_SESSION:
		return decode_session(line, head);
	case AT_KIND:
		return decode_kind(line, head);
	case AT_SIZE:
		return decode_number(line, "size ", INT64_MAX, &head->size);
	case AT_ROOT:
		return decode_root(line, &head->root);
	default:
		if (!decode_number(line, "packs ", FB_RECIPE_PACKS_MAX,
		        &decoder->packs_left))
			return false;
		head->pack_count = (uint32_t)decoder->packs_left;
		return true;
	}
}

/* Judge one line; on success `state` is what the next one must be. */
static bool
decode_line(struct fb_recipe_decoder *decoder, struct fb_span line,
    enum fb_recipe_step *step)
{
	*step = FB_RECIPE_OTHER;
	switch (decoder->state) {
	case AT_PACK:
		*step = FB_RECIPE_PACK;
		if (!decode_pack(line, &decoder->pack))
			return false;
		decoder->state = --decoder->packs_left ? AT_PACK : AT_RUNS;
		return true;
	case AT_RUNS:
		if (!decode_number(
		        line, "runs ", INT64_MAX, &decoder->runs_left))
			return false;
		decoder->state = decoder->runs_left ? AT_RUN : AT_END;
		return true;
	case AT_RUN:
		*step = FB_RECIPE_RUN;
		if (!decode_run(decoder, line))
			return false;
		decoder->state = --decoder->runs_left ? AT_RUN : AT_END;
		return true;
	case AT_END:
		*step = FB_RECIPE_END;
		decoder->state = AFTER_END;
		return is_line(line, "end");
	case AFTER_END:
		return false;
	default:
		if (!decode_head_line(decoder, line))
			return false;
		if (decoder->state++ == AT_PACKS) {
			*step = FB_RECIPE_HEAD;
			if (decoder->packs_left == 0)
				decoder->state = AT_RUNS;
		}
		return true;
	}
}

int
fb_recipe_decode_line(struct fb_recipe_decoder *decoder, struct fb_span line,
    enum fb_recipe_step *ret_step, struct fb_error *err)
{
	decoder->line++;
	if (line.len >= FB_RECIPE_LINE_MAX ||
	    !decode_line(decoder, line, ret_step))
		return fb_fail_id(err, FB_ECORRUPT, "E-RECIPE",
		    "damaged recipe: line %" PRIu64, decoder->line);
	return FB_OK;
}

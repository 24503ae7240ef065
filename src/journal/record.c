#include <inttypes.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/text.h"
#include "fleetbak/format/json.h"
#include "fleetbak/journal/record.h"

#define SEED "fleetbak-journal 1"

void
fb_journal_seed(struct fb_digest *ret_chain)
{
	fb_digest_of(
	    (struct fb_span){ (const uint8_t *)SEED, strlen(SEED) }, ret_chain);
}

void
fb_journal_link(const struct fb_digest *before, const char *type,
    struct fb_span json, struct fb_digest *ret_chain)
{
	FB_AUTO_BUF struct fb_buf head = { 0 };

	/* A type is a name and holds no "{", with which the JSON starts. */
	fb_buf_add(&head, before->bytes, sizeof(before->bytes));
	fb_buf_add_str(&head, type);
	fb_digest_of2(fb_buf_span(&head), json, ret_chain);
}

int
fb_journal_line_add(struct fb_buf *dst, uint64_t sequence,
    struct fb_digest *chain, const char *type, const json_t *body,
    struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf json = { 0 };
	char hex[FB_DIGEST_HEX_SIZE];

	if (!fb_name_ok(type, strlen(type)) || !json_is_object(body))
		return fb_fail(err, FB_EBUG,
		    "a journal record is a name and a JSON object");
	fb_json_add(&json, body);
	/* What stands before it takes less than 512 bytes. */
	if (json.len > FB_JOURNAL_LINE_MAX - 512)
		return fb_fail(err, FB_EBUG,
		    "journal record '%s' is %zu bytes long", type, json.len);

	if (fb_json_shape_fault(fb_buf_span(&json)) != NULL)
		return fb_fail(err, FB_EBUG,
		    "journal record '%s' could not be read again: %s", type,
		    fb_json_shape_fault(fb_buf_span(&json)));

	fb_journal_link(chain, type, fb_buf_span(&json), chain);
	fb_digest_hex(chain, hex);
	fb_buf_add_fmt(dst, "%" PRIu64 " %s %s ", sequence, hex, type);
	fb_buf_add(dst, json.data, json.len);
	fb_buf_add(dst, "\n", 1);
	return FB_OK;
}

/* Take the bytes up to the next space off `rest`. */
static struct fb_span
take_word(struct fb_span *rest)
{
	const uint8_t *space =
	    rest->len > 0 ? memchr(rest->ptr, ' ', rest->len) : NULL;
	struct fb_span word = *rest;

	if (space == NULL) {
		*rest = (struct fb_span){ 0 };
		return word;
	}
	word.len = (size_t)(space - rest->ptr);
	rest->ptr += word.len + 1;
	rest->len -= word.len + 1;
	return word;
}

int
fb_journal_line_decode(
    struct fb_span line, struct fb_journal_line *ret, struct fb_error *err)
{
	struct fb_span rest = line, word;

	*ret = (struct fb_journal_line){ 0 };
	word = take_word(&rest);
	if (fb_text_u64(word, UINT64_MAX - 1, &ret->sequence, err) < 0 ||
	    ret->sequence == 0)
		return fb_fail(err, FB_ECORRUPT, "no sequence number");
	word = take_word(&rest);
	if (word.len != 2 * FB_DIGEST_LEN ||
	    fb_digest_parse(word, &ret->chain, err) < 0)
		return fb_fail(err, FB_ECORRUPT, "no chain");
	word = take_word(&rest);
	if (word.len > FB_NAME_MAX ||
	    !fb_name_ok((const char *)word.ptr, word.len))
		return fb_fail(err, FB_ECORRUPT, "no record type");
	memcpy(ret->type, word.ptr, word.len);

	ret->json = rest;
	if (rest.len == 0 || rest.ptr[0] != '{')
		return fb_fail(err, FB_ECORRUPT, "no JSON object");
	if (fb_json_parse(rest, FB_JOURNAL_LINE_MAX, "journal record",
	        &ret->body, err) < 0)
		return FB_ECORRUPT; /* what begins so is an object, or none */
	return FB_OK;
}

void
fb_journal_line_release(struct fb_journal_line *line)
{
	json_decref(line->body);
	line->body = NULL;
}

/*
 * The small documents beside a run: what was cut off or altered anywhere is
 * refused, by every decoder, at every byte.
 */
#include <stdlib.h>

#include "test.h"

#include "fleetbak/base/mem.h"
#include "fleetbak/format/id_set.h"
#include "fleetbak/format/pending.h"

#define SID "20261121-013205123-3fa92c17"
#define RUN "20261121-013206456-00000001"
#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const char forget_text[] = "fleetbak-forget 1\n"
				  "session " SID "\n"
				  "run " RUN "\n"
				  "fleet demo\n"
				  "sums " HEX "\n"
				  "time 2026-11-21T01:40:00Z\n"
				  "signer 0123456789abcdef\n"
				  "signature " HEX HEX "\n";
static const char pending_text[] = "fleetbak-pending 1\n"
				   "session " SID "\n"
				   "run " RUN "\n"
				   "fleet demo\n"
				   "sums " HEX "\n"
				   "number 2\n"
				   "time 2026-11-21T01:40:00Z\n"
				   "reason the%0apolicy\n"
				   "signer 0123456789abcdef\n"
				   "signature " HEX HEX "\n";
static const char undo_text[] = "fleetbak-undo 1\n"
				"session " SID "\n"
				"number 2\n"
				"time 2026-11-21T01:40:00Z\n"
				"end\n";
static const char hold_text[] = "fleetbak-hold 1\n"
				"session " SID "\n"
				"run " RUN "\n"
				"time 2026-11-21T01:40:00Z\n"
				"reason before%20the%20upgrade\n"
				"end\n";
static const char set_text[] = "fleetbak-gc-set 1\n"
			       "generation 3\n"
			       "forgotten 2\n" SID "\n" RUN "\n"
			       "packs 1\n" HEX "\n"
			       "recipes 1\n" HEX "\n"
			       "end\n";
static const char seal_text[] = "fleetbak-hint-seal 1\n"
				"session " SID "\n"
				"size 4711\n"
				"sha256 " HEX "\n"
				"signature " HEX HEX "\n";
static const char fence_text[] = "fleetbak-fence 1\n"
				 "session " SID "\n"
				 "reason open%20for%20a%20week\n"
				 "end\n";
static const char doc_text[] =
    "{\"generation\":3,\"phase\":\"delete\",\"set\":\"" HEX
    "\",\"version\":1}\n";
static const char session_text[] =
    "{\"fleet\":\"demo\",\"host\":\"h\",\"kind\":\"download\",\"pid\":7,"
    "\"started\":\"2026-11-21T01:40:00Z\",\"tool\":\"fleetbak 0.1.0\","
    "\"version\":1}\n";

static const char format_text[] =
    "{\"chunking\":{\"average\":98304,\"max\":1048576,\"min\":16384,"
    "\"rule\":\"shift-add-32\"},\"created\":\"2026-11-21T01:40:00Z\","
    "\"domain\":\"0123456789abcdef0123456789abcdef\",\"mode\":\"clear\","
    "\"repository\":\"0123456789abcdef0123456789abcdef\",\"version\":1}\n";
static const char commit_text[] = "fleetbak-commit 1\n"
				  "session " SID "\n"
				  "run " RUN "\n"
				  "fleet demo\n"
				  "time 2026-11-21T01:40:00Z\n"
				  "sums " HEX "\n"
				  "signer 0123456789abcdef\n"
				  "signature " HEX HEX "\n"
				  "predecessors 2\n"
				  "20261119-013206456-00000001 " HEX "\n"
				  "20261120-013206456-00000001 " HEX "\n"
				  "recipes 1\n" HEX "\n"
				  "packs 1\n" HEX "\n"
				  "end\n";

static struct fb_error err;

/* Read the text; when that works, write it again into `again`. */
typedef int reader(struct fb_span text, struct fb_buf *again);

static int
read_forget(struct fb_span text, struct fb_buf *again)
{
	struct fb_forget forget;
	struct fb_span part;
	int rc = fb_forget_decode(text, &forget, &part, &err);

	if (rc == FB_OK) {
		fb_forget_encode_signed(&forget, again);
		assert_int_equal(again->len, part.len);
		fb_forget_encode_signature(&forget, again);
	}
	return rc;
}

static int
read_pending(struct fb_span text, struct fb_buf *again)
{
	struct fb_pending pending;
	struct fb_span part;
	int rc = fb_pending_decode(text, &pending, &part, &err);

	if (rc == FB_OK) {
		fb_pending_encode_signed(&pending, again);
		assert_int_equal(again->len, part.len);
		fb_pending_encode_signature(&pending, again);
	}
	return rc;
}

static int
read_undo(struct fb_span text, struct fb_buf *again)
{
	struct fb_undo undo;
	int rc = fb_undo_decode(text, &undo, &err);

	if (rc == FB_OK)
		fb_undo_encode(&undo, again);
	return rc;
}

static int
read_hold(struct fb_span text, struct fb_buf *again)
{
	struct fb_hold hold;
	int rc = fb_hold_decode(text, &hold, &err);

	if (rc == FB_OK)
		fb_hold_encode(&hold, again);
	return rc;
}

static int
read_set(struct fb_span text, struct fb_buf *again)
{
	struct fb_gc_set set;
	int rc = fb_gc_set_decode(text, &set, &err);

	if (rc == FB_OK) {
		fb_gc_set_encode(&set, again);
		fb_gc_set_release(&set);
	}
	return rc;
}

static int
read_seal(struct fb_span text, struct fb_buf *again)
{
	struct fb_hint_seal seal;
	struct fb_span part;
	int rc = fb_hint_seal_decode(text, &seal, &part, &err);

	if (rc == FB_OK) {
		fb_hint_seal_encode_signed(&seal, again);
		assert_int_equal(again->len, part.len);
		fb_hint_seal_encode_signature(&seal, again);
	}
	return rc;
}

static int
read_register(struct fb_span text, struct fb_buf *again)
{
	struct fb_register reg;
	int rc = fb_register_decode(text, &reg, &err);

	if (rc == FB_OK) {
		fb_register_encode(&reg, again);
		fb_register_release(&reg);
	}
	return rc;
}

static int
read_doc(struct fb_span text, struct fb_buf *again)
{
	struct fb_gc_doc doc;
	int rc = fb_gc_doc_decode(text, &doc, &err);

	if (rc == FB_OK)
		fb_gc_doc_encode(&doc, again);
	return rc;
}

static int
read_format(struct fb_span text, struct fb_buf *again)
{
	struct fb_format_doc doc;
	int rc = fb_format_doc_decode(text, &doc, &err);

	if (rc == FB_OK)
		fb_format_doc_encode(&doc, again);
	return rc;
}

static int
read_session(struct fb_span text, struct fb_buf *again)
{
	struct fb_session_doc doc;
	int rc = fb_session_doc_decode(text, &doc, &err);

	if (rc == FB_OK)
		fb_session_doc_encode(&doc, again);
	return rc;
}

static const struct document {
	const char *text;
	reader *read;
} documents[] = {
	{ forget_text, read_forget },
	{ pending_text, read_pending },
	{ undo_text, read_undo },
	{ hold_text, read_hold },
	{ set_text, read_set },
	{ seal_text, read_seal },
	{ fence_text, read_register },
	{ doc_text, read_doc },
	{ session_text, read_session },
	{ format_text, read_format },
	{ commit_text, read_register },
};

static int
read_text(const struct document *document, const char *text, size_t len)
{
	FB_AUTO_BUF struct fb_buf again = { 0 };
	int rc = document->read(
	    (struct fb_span){ (const uint8_t *)text, len }, &again);

	if (rc == FB_OK) { /* what is read is what would be written */
		assert_int_equal(again.len, len);
		assert_memory_equal(again.data, text, len);
	}
	return rc;
}

static void
each_is_read_back_byte_for_byte(void **state)
{
	(void)state;
	for (size_t i = 0; i < FB_COUNT(documents); i++)
		assert_ok(read_text(&documents[i], documents[i].text,
		    strlen(documents[i].text)));
}

static void
every_cut_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < FB_COUNT(documents); i++)
		for (size_t len = 0; len < strlen(documents[i].text); len++)
			assert_fails(FB_ECORRUPT,
			    read_text(
			        &documents[i], documents[i].text, len));
}

/* Wherever one byte is another, it is refused, or means that other thing and
 * is written so again. */
static void
no_altered_byte_is_overlooked(void **state)
{
	(void)state;
	for (size_t i = 0; i < FB_COUNT(documents); i++) {
		FB_AUTO_FREE char *text = fb_strdup(documents[i].text);
		size_t len = strlen(text);

		for (size_t at = 0; at < len; at++) {
			for (int bit = 0; bit < 8; bit++) {
				text[at] ^= (char)(1 << bit);
				(void)read_text(&documents[i], text, len);
				text[at] ^= (char)(1 << bit);
			}
		}
	}
}

/* One altered place each; `document` is one of the texts above. */
static void
what_breaks_a_rule_is_refused(void **state)
{
	static const struct {
		const char *document, *from, *to;
		int code;
	} cases[] = {
		{ pending_text, "pending 1", "pending 2", FB_ETOONEW },
		{ pending_text, "number 2", "number 0", FB_ECORRUPT },
		{ pending_text, "number 2", "number 1000000", FB_ECORRUPT },
		{ pending_text, "the%0a", "the%00", FB_ECORRUPT },
		{ pending_text, "the%0a", "the%q", FB_ECORRUPT },
		{ undo_text, "number 2", "number 0", FB_ECORRUPT },
		{ undo_text, "end\n", "end\nend\n", FB_ECORRUPT },
		{ hold_text, "reason before", "reason %0", FB_ECORRUPT },
		{ fence_text, "open", "%00", FB_ECORRUPT },
		{ fence_text, "fence 1", "fence 2", FB_ETOONEW },
		{ set_text, "forgotten 2\n" SID, "forgotten 2\n" RUN,
		    FB_ECORRUPT },
		{ set_text, "forgotten 2\n" SID,
		    "forgotten 2\n" SID "x", FB_ECORRUPT },
		{ set_text, "forgotten 2\n" SID "\n" RUN "\n",
		    "forgotten 0\n", FB_OK },
		{ doc_text, "delete", "remove", FB_ECORRUPT },
		{ doc_text, "\"delete\"", "7", FB_ECORRUPT },
		{ doc_text, "delete", "idle", FB_ECORRUPT },
		{ doc_text, "\"" HEX "\"", "\"beef\"", FB_ECORRUPT },
		{ doc_text, "\"" HEX "\"", "null", FB_ECORRUPT },
		{ doc_text, "n\":1}", "n\":2}", FB_ETOONEW },
		{ doc_text, "\"version\":1", "\"other\":1", FB_ECORRUPT },
		{ doc_text, ":3,", ": 3,", FB_ECORRUPT },
		{ session_text, "\"version\":1", "\"other\":1", FB_ECORRUPT },
		{ session_text, "n\":1}", "n\":2}", FB_ETOONEW },
		{ session_text, "n\":1}", "n\":0}", FB_ECORRUPT },
		{ session_text, "\"download\"", "7", FB_ECORRUPT },
		{ session_text, "download", "a-kind-that-is-too-long",
		    FB_ECORRUPT },
		{ session_text, "2026-11-21T01:40:00Z", "now", FB_ECORRUPT },
		{ session_text, ":7,", ": 7,", FB_ECORRUPT },
		{ format_text, "\"rule\":\"shift-add-32\"", "\"rule\":7",
		    FB_ECORRUPT },
		{ format_text, "{\"average\":98304", "{\"other\":98304",
		    FB_ECORRUPT },
		{ format_text, "\"created\":", "\"creator\":", FB_ECORRUPT },
		{ format_text, "\"2026-11-21T01:40:00Z\"", "7", FB_ECORRUPT },
		{ format_text, "\"mode\":\"clear\"", "\"mode\":7",
		    FB_ECORRUPT },
		{ format_text, "\"mode\":\"clear\"",
		    "\"mode\":\"encrypted\",\"odd\":1", FB_ECORRUPT },
		{ format_text, "\"mode\":\"clear\"",
		    "\"mode\":\"encrypted\"", FB_ECORRUPT },
		{ commit_text, "20261119-013206456-00000001 " HEX,
		    "20261121-013206456-00000001 " HEX, FB_ECORRUPT },
		{ commit_text, "20261119-013206456-00000001 0",
		    "20261119-013206456-00000001 x", FB_ECORRUPT },
		{ commit_text, "2026-11-21T01:40:00Z",
		    "2026-11-21T01:40:00.000000000000000Z", FB_ECORRUPT },
	};

	(void)state;
	for (size_t i = 0; i < FB_COUNT(cases); i++) {
		const struct document *document = documents;
		const char *at = strstr(cases[i].document, cases[i].from);
		FB_AUTO_FREE char *text = NULL;
		int rc;

		assert_non_null(at);
		while (document->text != cases[i].document)
			document++;
		text = fb_format("%.*s%s%s", (int)(at - cases[i].document),
		    cases[i].document, cases[i].to,
		    at + strlen(cases[i].from));
		rc = read_text(document, text, strlen(text));
		if (rc != cases[i].code)
			print_error("'%s' for '%s'\n", cases[i].to,
			    cases[i].from);
		assert_int_equal(rc, cases[i].code);
	}
}

static void
a_reason_that_is_too_long_is_refused(void **state)
{
	static const struct {
		const struct document *document;
		const char *word;
	} cases[] = {
		{ &documents[1], "policy" },
		{ &documents[3], "upgrade" },
		{ &documents[6], "week" },
	};
	char filler[400];

	(void)state;
	memset(filler, 'a', sizeof(filler) - 1);
	filler[sizeof(filler) - 1] = '\0';
	for (size_t i = 0; i < FB_COUNT(cases); i++) {
		const char *whole = cases[i].document->text;
		const char *at = strstr(whole, cases[i].word);
		FB_AUTO_FREE char *text = fb_format(
		    "%.*s%s%s", (int)(at - whole), whole, filler, at);

		assert_fails(FB_ECORRUPT,
		    read_text(cases[i].document, text, strlen(text)));
	}
}

static void
a_list_of_ids_stays_sorted_and_unique(void **state)
{
	static const char *const ids[] = { "20261121-013205123-00000003",
		"20261121-013205123-00000001", "20261121-013205123-00000005",
		"20261121-013205123-00000003", "20261121-013205123-00000002" };
	struct fb_run_ids list = { 0 };

	(void)state;
	assert_false(fb_run_ids_have(&list, ids[0]));
	for (size_t i = 0; i < FB_COUNT(ids); i++)
		fb_run_ids_add(&list, ids[i]);
	assert_int_equal(list.count, 4);
	for (size_t i = 1; i < list.count; i++)
		assert_true(strcmp(list.ids[i - 1], list.ids[i]) < 0);
	for (size_t i = 0; i < FB_COUNT(ids); i++)
		assert_true(fb_run_ids_have(&list, ids[i]));
	assert_false(fb_run_ids_have(&list, "20261121-013205123-00000004"));
	assert_false(fb_run_ids_have(&list, "20261121-013205123-00000006"));
	fb_run_ids_release(&list);
	assert_int_equal(list.count, 0);
}

/* Ids that want the same place, and more of them than a set begins with. */
static void
a_set_of_ids_grows(void **state)
{
	struct fb_id_set set = { 0 };
	struct fb_digest id = { 0 };
	bool fresh;

	(void)state;
	assert_null(fb_id_set_find(&set, &id));
	for (int pass = 0; pass < 2; pass++)
		for (unsigned i = 0; i < 3000; i++) {
			id.bytes[0] = (uint8_t)(i % 7);
			id.bytes[20] = (uint8_t)(i / 256);
			id.bytes[21] = (uint8_t)i;
			fb_id_set_add(&set, &id, &fresh)->mark = (uint8_t)i;
			assert_int_equal(fresh, pass == 0);
		}
	assert_int_equal(set.count, 3000);
	assert_int_equal(fb_id_set_find(&set, &id)->mark, (uint8_t)2999);
	id.bytes[31] = 1;
	assert_null(fb_id_set_find(&set, &id));
	fb_id_set_clear(&set);
	id.bytes[31] = 0;
	assert_null(fb_id_set_find(&set, &id));
	fb_id_set_release(&set);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_is_read_back_byte_for_byte),
		cmocka_unit_test(every_cut_is_refused),
		cmocka_unit_test(no_altered_byte_is_overlooked),
		cmocka_unit_test(what_breaks_a_rule_is_refused),
		cmocka_unit_test(a_reason_that_is_too_long_is_refused),
		cmocka_unit_test(a_list_of_ids_stays_sorted_and_unique),
		cmocka_unit_test(a_set_of_ids_grows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

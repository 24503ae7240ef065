/* The small documents of a repository: bytes, then damage. */
#include <stdio.h>
#include <stdlib.h>

#include "test.h"

#include "fleetbak/base/mem.h"
#include "fleetbak/format/pending.h"
#include "fleetbak/format/register.h"

#define SID   "20261121-013205123-3fa92c17"
#define RUN   "20261121-013206456-00000001"
#define OLDER "20261120-013206456-00000001"
#define HEX   "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define HEX2  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdff"

static const char commit_text[] =
    "fleetbak-commit 1\n"
    "session " SID "\n"
    "run " RUN "\n"
    "fleet demo\n"
    "time 2026-11-21T01:40:00Z\n"
    "sums " HEX "\n"
    "signer 0123456789abcdef\n"
    "signature " HEX HEX "\n"
    "predecessors 1\n" OLDER " " HEX "\n"
    "recipes 1\n" HEX "\n"
    "packs 2\n" HEX "\n" HEX2 "\n"
    "end\n";

static struct fb_span
span_of(const char *text)
{
	return (struct fb_span){ (const uint8_t *)text, strlen(text) };
}

/* `text` with the first `from` replaced by `to`; the caller frees. */
static char *
altered(const char *text, const char *from, const char *to)
{
	const char *at = strstr(text, from);

	assert_non_null(at);
	return fb_format("%.*s%s%s", (int)(at - text), text, to,
	    at + strlen(from));
}

static void
a_register_is_read_back_byte_for_byte(void **state)
{
	struct fb_register reg;
	struct fb_buf again = { 0 };
	struct fb_error err = { 0 };

	(void)state;
	assert_ok(fb_register_decode(span_of(commit_text), &reg, &err));
	assert_false(reg.fence);
	assert_string_equal(reg.run, RUN);
	assert_string_equal(reg.fleet, "demo");
	assert_int_equal(reg.predecessor_count, 1);
	assert_string_equal(reg.predecessors[0].run, OLDER);
	assert_int_equal(reg.recipes.count, 1);
	assert_int_equal(reg.packs.count, 2);
	fb_register_encode(&reg, &again);
	assert_string_equal(fb_buf_str(&again), commit_text);
	fb_buf_release(&again);
	fb_register_release(&reg);
}

static void
every_cut_of_a_register_is_refused(void **state)
{
	struct fb_register reg = { 0 };
	struct fb_error err = { 0 };

	(void)state;
	for (size_t len = 0; len < sizeof(commit_text) - 1; len++)
		assert_fails(FB_ECORRUPT,
		    fb_register_decode(
		        (struct fb_span){ (const uint8_t *)commit_text, len },
		        &reg, &err));
}

static void
a_head_is_read_without_the_lists_or_asks_for_more(void **state)
{
	size_t head = (size_t)(strstr(commit_text, "recipes") - commit_text);
	struct fb_register reg;
	struct fb_error err = { 0 };

	(void)state;
	for (size_t len = 0; len < sizeof(commit_text); len++) {
		struct fb_span text = { (const uint8_t *)commit_text, len };

		if (len < head) {
			assert_fails(FB_ERETRY,
			    fb_register_decode_head(text, &reg, &err));
			continue;
		}
		assert_ok(fb_register_decode_head(text, &reg, &err));
		assert_string_equal(reg.run, RUN);
		assert_int_equal(reg.packs.count, 0);
		fb_register_release(&reg);
	}
}

static void
an_altered_register_is_refused(void **state)
{
	static const struct {
		const char *from, *to;
		int code;
	} cases[] = {
		{ "fleetbak-commit 1", "fleetbak-commit 2", FB_ETOONEW },
		{ "fleetbak-commit 1", "fleetbak-commit 0", FB_ECORRUPT },
		{ "fleetbak-commit 1", "fleetbak-commit 01", FB_ECORRUPT },
		{ "fleetbak-commit 1", "fleetbak-other 1", FB_ECORRUPT },
		{ "session " SID, "session ../../etc/passwd", FB_ECORRUPT },
		{ "fleet demo", "fleet ../demo", FB_ECORRUPT },
		{ "fleet demo", "fleet", FB_ECORRUPT },
		{ "2026-11-21T01:40:00Z", "2026-11-21 01:40", FB_ECORRUPT },
		{ "2026-11-21T01:40:00Z",
		    "2026-11-21T01:40:00Z2026-11-21T01:40:00Z", FB_ECORRUPT },
		{ "signer 0123", "signer 012G", FB_ECORRUPT },
		{ "signature 0", "signature A", FB_ECORRUPT },
		{ "predecessors 1", "predecessors 2", FB_ECORRUPT },
		{ "predecessors 1", "predecessors 99999999", FB_ECORRUPT },
		{ OLDER " " HEX, RUN " " HEX, FB_ECORRUPT },
		{ "recipes 1", "recipes 99999999", FB_ECORRUPT },
		{ "recipes 1", "recipes -1", FB_ECORRUPT },
		{ "packs 2\n" HEX "\n" HEX2, "packs 2\n" HEX2 "\n" HEX,
		    FB_ECORRUPT },
		{ "packs 2\n" HEX "\n" HEX2, "packs 2\n" HEX "\n" HEX,
		    FB_ECORRUPT },
		{ "end\n", "end\nmore\n", FB_ECORRUPT },
		{ "end\n", "END\n", FB_ECORRUPT },
	};
	struct fb_register reg = { 0 };
	struct fb_error err = { 0 };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(cases); i++) {
		FB_AUTO_FREE char *text =
		    altered(commit_text, cases[i].from, cases[i].to);

		assert_fails(cases[i].code,
		    fb_register_decode(span_of(text), &reg, &err));
	}
}

static void
a_fence_is_read_back_byte_for_byte(void **state)
{
	struct fb_register reg = { .fence = true,
		.session = SID,
		.reason = "given up: 100 % silent" };
	struct fb_register there;
	struct fb_buf text = { 0 }, again = { 0 };
	struct fb_error err = { 0 };

	(void)state;
	fb_register_encode(&reg, &text);
	assert_ok(fb_register_decode(fb_buf_span(&text), &there, &err));
	assert_true(there.fence);
	assert_string_equal(there.session, SID);
	assert_string_equal(there.reason, reg.reason);
	fb_register_encode(&there, &again);
	assert_string_equal(fb_buf_str(&again), fb_buf_str(&text));
	fb_buf_release(&text);
	fb_buf_release(&again);
	fb_register_release(&there);
}

static void
a_shard_says_of_which_run_it_is(void **state)
{
	static const char of[] = "fleetbak-shard 1\nof " SID
				 "\nnumber 2\ncount 3\n";
	static const struct {
		const char *from, *to;
	} cases[] = {
		{ "number 2", "number 0" },
		{ "number 2", "number 4" },
		{ "count 3", "count 1001" },
		{ "count 3\n", "" },
		{ "shard 1\nof", "shard 1\nOF" },
	};
	FB_AUTO_FREE char *text =
	    altered(commit_text, "fleetbak-commit 1\n", of);
	struct fb_register reg = { 0 }, head = { 0 };
	struct fb_buf again = { 0 };
	struct fb_error err = { 0 };

	(void)state;
	assert_ok(fb_register_decode(span_of(text), &reg, &err));
	assert_string_equal(reg.shard.of, SID);
	assert_int_equal(reg.shard.number, 2);
	assert_int_equal(reg.shard.count, 3);
	fb_register_encode(&reg, &again);
	assert_string_equal(fb_buf_str(&again), text);
	assert_ok(fb_register_decode_head(span_of(text), &head, &err));
	assert_int_equal(head.shard.number, 2);
	fb_register_release(&head);
	fb_register_release(&reg);
	fb_buf_release(&again);
	for (size_t i = 0; i < FB_COUNT(cases); i++) {
		FB_AUTO_FREE char *wrong =
		    altered(text, cases[i].from, cases[i].to);

		assert_fails(FB_ECORRUPT,
		    fb_register_decode(span_of(wrong), &reg, &err));
	}
}

static const char format_text[] =
    "{\"chunking\":{\"average\":65536,\"max\":524288,\"min\":16384,"
    "\"rule\":\"shift-add-32\"},\"created\":\"2026-11-21T01:40:00Z\","
    "\"domain\":\"00112233445566778899aabbccddeeff\",\"mode\":\"clear\","
    "\"repository\":\"ffeeddccbbaa99887766554433221100\",\"version\":1}\n";

static void
a_format_is_read_back_byte_for_byte(void **state)
{
	struct fb_format_doc doc;
	struct fb_buf again = { 0 };
	struct fb_error err = { 0 };

	(void)state;
	assert_ok(fb_format_doc_decode(span_of(format_text), &doc, &err));
	assert_int_equal(doc.chunk_average, 65536);
	assert_string_equal(doc.mode, "clear");
	fb_format_doc_encode(&doc, &again);
	assert_string_equal(fb_buf_str(&again), format_text);
	fb_buf_release(&again);
}

static void
a_format_says_that_only_one_may_write(void **state)
{
	FB_AUTO_FREE char *text = altered(
	    format_text, "\"version\":1", "\"version\":1,\"writers\":1");
	struct fb_format_doc doc;
	struct fb_buf again = { 0 };
	struct fb_error err = { 0 };

	(void)state;
	assert_ok(fb_format_doc_decode(span_of(text), &doc, &err));
	assert_true(doc.one_writer);
	fb_format_doc_encode(&doc, &again);
	assert_string_equal(fb_buf_str(&again), text);
	fb_buf_release(&again);
	assert_ok(fb_format_doc_decode(span_of(format_text), &doc, &err));
	assert_false(doc.one_writer);
}

static void
an_altered_format_is_refused(void **state)
{
	static const struct {
		const char *from, *to;
		int code;
	} cases[] = {
		{ "\"version\":1", "\"version\":2", FB_ETOONEW },
		{ "\"version\":1", "\"version\":2,\"zoo\":[]", FB_ETOONEW },
		{ "\"version\":1", "\"version\":0", FB_ECORRUPT },
		{ "\"version\":1", "\"version\":\"1\"", FB_ECORRUPT },
		{ "\"version\":1", "\"version\":1,\"zoo\":1", FB_ECORRUPT },
		{ "\"mode\":\"clear\"", "\"mode\":\"quantum\"", FB_ETOONEW },
		{ "\"mode\":\"clear\"", "\"mode\":\"encrypted\"",
		    FB_ECORRUPT },
		{ "\"version\":1", "\"version\":1,\"writers\":2",
		    FB_ECORRUPT },
		{ "shift-add-32", "rabin", FB_ETOONEW },
		{ "\"min\":16384", "\"min\":0", FB_ECORRUPT },
		{ "\"min\":16384", "\"min\":65537", FB_ECORRUPT },
		{ "\"max\":524288", "\"max\":99999999", FB_ECORRUPT },
		{ "ffee", "FFEE", FB_ECORRUPT },
		{ "ffee", "ffe", FB_ECORRUPT },
		{ "2026-11-21T", "2026-13-21T", FB_ECORRUPT },
		{ "{\"chunking", "{ \"chunking", FB_ECORRUPT },
		{ "}\n", "}", FB_ECORRUPT },
		{ "}\n", "}\n{}\n", FB_ECORRUPT },
	};
	struct fb_format_doc doc;
	struct fb_error err = { 0 };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(cases); i++) {
		FB_AUTO_FREE char *text =
		    altered(format_text, cases[i].from, cases[i].to);

		assert_fails(cases[i].code,
		    fb_format_doc_decode(span_of(text), &doc, &err));
	}
}

static void
a_forget_tells_which_bytes_are_signed(void **state)
{
	struct fb_forget forget = { .session = SID,
		.run = RUN,
		.fleet = "demo",
		.time = "2026-11-21T01:40:00Z",
		.signer = "0123456789abcdef" };
	struct fb_forget there;
	struct fb_buf text = { 0 };
	struct fb_span body;
	struct fb_error err = { 0 };
	size_t signed_len;

	(void)state;
	fb_forget_encode_signed(&forget, &text);
	signed_len = text.len;
	fb_forget_encode_signature(&forget, &text);
	assert_ok(fb_forget_decode(fb_buf_span(&text), &there, &body, &err));
	assert_ptr_equal(body.ptr, text.data);
	assert_int_equal(body.len, signed_len);
	assert_string_equal(there.run, RUN);
	for (size_t len = 0; len < text.len; len++)
		assert_fails(FB_ECORRUPT,
		    fb_forget_decode((struct fb_span){ text.data, len },
		        &there, &body, &err));
	fb_buf_release(&text);
}

static void
a_session_says_who_and_when(void **state)
{
	struct fb_session_doc doc = { .kind = "download",
		.fleet = "demo",
		.host = "backup-1",
		.started = "2026-11-21T01:40:00Z",
		.tool = "fleetbak 0.1.0",
		.pid = 4711 };
	struct fb_session_doc there;
	struct fb_buf text = { 0 };
	struct fb_error err = { 0 };

	(void)state;
	fb_session_doc_encode(&doc, &text);
	assert_ok(fb_session_doc_decode(fb_buf_span(&text), &there, &err));
	assert_string_equal(there.host, "backup-1");
	assert_int_equal(there.pid, 4711);
	text.data[0] = ' ';
	assert_fails(FB_ECORRUPT,
	    fb_session_doc_decode(fb_buf_span(&text), &there, &err));
	fb_buf_release(&text);
}

static void
deletion_names_its_set_or_none(void **state)
{
	struct fb_gc_doc doc = { .generation = 7 }, there;
	struct fb_buf text = { 0 };
	struct fb_error err = { 0 };

	(void)state;
	fb_gc_doc_encode(&doc, &text);
	assert_string_equal(fb_buf_str(&text),
	    "{\"generation\":7,\"phase\":\"idle\",\"set\":null,"
	    "\"version\":1}\n");
	assert_ok(fb_gc_doc_decode(fb_buf_span(&text), &there, &err));
	assert_int_equal(there.generation, 7);
	fb_buf_clear(&text);
	doc.phase = FB_GC_CONDEMNED;
	fb_gc_doc_encode(&doc, &text);
	assert_ok(fb_gc_doc_decode(fb_buf_span(&text), &there, &err));
	assert_int_equal(there.phase, FB_GC_CONDEMNED);
	assert_fails(FB_ECORRUPT,
	    fb_gc_doc_decode(SPAN("{\"generation\":7,\"phase\":\"delete\","
	                          "\"set\":null,\"version\":1}\n"),
	        &there, &err));
	assert_fails(FB_ECORRUPT,
	    fb_gc_doc_decode(SPAN("{\"generation\":7,\"phase\":\"later\","
	                          "\"set\":null,\"version\":1}\n"),
	        &there, &err));
	assert_fails(FB_ETOONEW,
	    fb_gc_doc_decode(SPAN("{\"version\":2}\n"), &there, &err));
	fb_buf_release(&text);
}

static void
a_delete_set_is_read_back_byte_for_byte(void **state)
{
	static const char text[] = "fleetbak-gc-set 1\ngeneration 3\n"
	                           "forgotten 1\n" RUN "\n"
	                           "packs 2\n" HEX "\n" HEX2 "\n"
	                           "recipes 0\nend\n";
	struct fb_gc_set set;
	struct fb_buf again = { 0 };
	struct fb_error err = { 0 };

	(void)state;
	assert_ok(fb_gc_set_decode(SPAN(text), &set, &err));
	assert_int_equal(set.packs.count, 2);
	fb_gc_set_encode(&set, &again);
	assert_string_equal(fb_buf_str(&again), text);
	fb_gc_set_release(&set);
	fb_buf_release(&again);
}

static void
pending_records_undoing_and_holds_are_read_back(void **state)
{
	static const char pending_text[] = "fleetbak-pending 1\n"
	    "session " SID "\nrun " RUN "\nfleet demo\nsums " HEX
	    "\nnumber 2\ntime 2026-11-21T01:32:06Z\n"
	    "reason asked%20for\nsigner 0123456789abcdef\n";
	static const char undo_text[] = "fleetbak-undo 1\nsession " SID
	    "\nnumber 2\ntime 2026-11-21T01:32:06Z\nend\n";
	static const char hold_text[] = "fleetbak-hold 1\nsession " SID
	    "\nrun " RUN "\ntime 2026-11-21T01:32:06Z\n"
	    "reason evidence\nend\n";
	FB_AUTO_BUF struct fb_buf text = { 0 }, again = { 0 };
	struct fb_pending pending;
	struct fb_undo undo;
	struct fb_hold hold;
	struct fb_span body;
	struct fb_error err = { 0 };

	(void)state;
	fb_buf_add_fmt(&text, "%ssignature %s%s\n", pending_text, HEX, HEX2);
	assert_ok(fb_pending_decode(
	    fb_buf_span(&text), &pending, &body, &err));
	assert_int_equal(body.len, strlen(pending_text));
	assert_int_equal(pending.number, 2);
	assert_string_equal(pending.reason, "asked for");
	fb_pending_encode_signed(&pending, &again);
	fb_pending_encode_signature(&pending, &again);
	assert_string_equal(fb_buf_str(&again), fb_buf_str(&text));
	/* Every cut is damage. */
	for (size_t len = 0; len < text.len; len++)
		assert_fails(FB_ECORRUPT,
		    fb_pending_decode((struct fb_span){ text.data, len },
		        &pending, &body, &err));

	assert_ok(fb_undo_decode(SPAN(undo_text), &undo, &err));
	fb_buf_clear(&again);
	fb_undo_encode(&undo, &again);
	assert_string_equal(fb_buf_str(&again), undo_text);
	assert_ok(fb_hold_decode(SPAN(hold_text), &hold, &err));
	fb_buf_clear(&again);
	fb_hold_encode(&hold, &again);
	assert_string_equal(fb_buf_str(&again), hold_text);
	assert_fails(FB_ECORRUPT,
	    fb_undo_decode(SPAN("fleetbak-undo 1\nsession " SID
	        "\nnumber 0\ntime 2026-11-21T01:32:06Z\nend\n"),
	        &undo, &err));
	assert_fails(FB_ETOONEW,
	    fb_hold_decode(SPAN("fleetbak-hold 2\n"), &hold, &err));
}

static void
an_id_list_stays_sorted_and_unique(void **state)
{
	struct fb_id_list list = { 0 };
	struct fb_digest id = { { 0 } };

	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		id.bytes[0] = (uint8_t)(i * 7);
		id.bytes[1] = (uint8_t)(i * 13 >> 8);
		fb_id_list_add(&list, &id);
		assert_true(fb_id_list_has(&list, &id));
	}
	for (size_t i = 1; i < list.count; i++)
		assert_true(
		    fb_digest_cmp(&list.ids[i - 1], &list.ids[i]) < 0);
	id.bytes[31] = 1;
	assert_false(fb_id_list_has(&list, &id));
	fb_id_list_release(&list);
	assert_false(fb_id_list_has(&list, &id));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_register_is_read_back_byte_for_byte),
		cmocka_unit_test(every_cut_of_a_register_is_refused),
		cmocka_unit_test(
		    a_head_is_read_without_the_lists_or_asks_for_more),
		cmocka_unit_test(an_altered_register_is_refused),
		cmocka_unit_test(a_fence_is_read_back_byte_for_byte),
		cmocka_unit_test(a_shard_says_of_which_run_it_is),
		cmocka_unit_test(a_format_is_read_back_byte_for_byte),
		cmocka_unit_test(a_format_says_that_only_one_may_write),
		cmocka_unit_test(an_altered_format_is_refused),
		cmocka_unit_test(a_forget_tells_which_bytes_are_signed),
		cmocka_unit_test(a_session_says_who_and_when),
		cmocka_unit_test(deletion_names_its_set_or_none),
		cmocka_unit_test(a_delete_set_is_read_back_byte_for_byte),
		cmocka_unit_test(
		    pending_records_undoing_and_holds_are_read_back),
		cmocka_unit_test(an_id_list_stays_sorted_and_unique),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Server-sent events by the standard's grammar, wherever the pieces are cut.
 */
#include <stdio.h>

#include "fleetbak/base/sse.h"
#include "test.h"

static struct fb_error err;

static int
note(void *arg, const struct fb_sse_event *event, struct fb_error *unused)
{
	struct fb_buf *all = arg;

	(void)unused;
	fb_buf_add_fmt(all, "[%s|%s|", event->type, event->id);
	fb_buf_add(all, event->data.ptr, event->data.len);
	fb_buf_add_str(all, "]");
	return FB_OK;
}

/* Whole, and cut into pieces of each size. */
static void
reads(const char *stream, size_t len, bool flush, const char *expected)
{
	for (size_t step = 1; step <= len; step++) {
		FB_AUTO_BUF struct fb_buf all = { 0 };
		FB_AUTO_SSE struct fb_sse sse = { .visit = note,
			.arg = &all };

		for (size_t at = 0; at < len; at += step)
			assert_ok(fb_sse_feed(&sse,
			    (struct fb_span){ (const uint8_t *)stream + at,
			        len - at < step ? len - at : step },
			    &err));
		assert_ok(fb_sse_end(&sse, flush, &err));
		assert_string_equal(fb_buf_str(&all), expected);
	}
}

#define READS(stream, expected) \
	reads(stream, sizeof(stream) - 1, false, expected)

static void
lines_end_in_three_ways(void **state)
{
	(void)state;
	READS("data: a\n\ndata: b\n\n", "[message||a][message||b]");
	READS("data: a\r\n\r\ndata: b\r\n\r\n", "[message||a][message||b]");
	READS("data: a\r\rdata: b\r\r", "[message||a][message||b]");
	READS("data: a\r\n\ndata: b\n\r", "[message||a][message||b]");
}

static void
fields_are_those_of_the_standard(void **state)
{
	(void)state;
	READS("event: x\nid: 7\ndata: a\ndata: b\n\n", "[x|7|a\nb]");
	READS("id: 7\n\ndata: a\n\nid\ndata: b\n\n",
	    "[message|7|a][message||b]");
	READS("id: a\0b\ndata: c\n\n", "[message||c]");
	READS(": nobody\n\ndata:a\ndata:  b\nother: c\nData: d\n\n",
	    "[message||a\n b]");
	READS("data\n\ndata:\n\n", "[message||][message||]");
	READS("event: gone\n\ndata: a\n\n", "[message||a]");
	READS("data: a: b\n\n", "[message||a: b]");
}

static void
a_bom_before_all_is_skipped(void **state)
{
	(void)state;
	READS("\xef\xbb\xbf" "data: a\n\n", "[message||a]");
	READS("\xef\xbb" "data: a\n\ndata: b\n\n", "[message||b]");
	READS("data: a\n\n\xef\xbb\xbf" "data: b\n\n", "[message||a]");
}

static void
an_end_without_a_blank_line_gives_nothing_unless_it_is_flushed(void **state)
{
	(void)state;
	READS("data: a\n\ndata: b\n", "[message||a]");
	reads("data: a\n\ndata: b\n", 17, true, "[message||a][message||b]");
	reads("data: a\n\ndata: b", 16, true, "[message||a][message||b]");
}

static void
a_wish_to_wait_is_a_number_or_nothing(void **state)
{
	FB_AUTO_BUF struct fb_buf all = { 0 };
	FB_AUTO_SSE struct fb_sse sse = { .visit = note, .arg = &all };

	(void)state;
	assert_ok(fb_sse_feed(&sse, SPAN("retry: 1500\nretry: x\n"), &err));
	assert_int_equal(sse.retry_ms, 1500);
	assert_ok(fb_sse_feed(
	    &sse, SPAN("retry: 99999999999999999999999\n"), &err));
	assert_int_equal(sse.retry_ms, 86400000);
}

static void
an_event_has_a_bound(void **state)
{
	FB_AUTO_BUF struct fb_buf all = { 0 };
	FB_AUTO_SSE struct fb_sse sse = { .visit = note, .arg = &all,
		.max = 32 };
	int rc = FB_OK;

	(void)state;
	for (int i = 0; i < 8 && rc == FB_OK; i++)
		rc = fb_sse_feed(&sse, SPAN("data: 12345678\n"), &err);
	assert_int_equal(rc, FB_EPROTO);
	assert_int_equal(all.len, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_end_in_three_ways),
		cmocka_unit_test(fields_are_those_of_the_standard),
		cmocka_unit_test(a_bom_before_all_is_skipped),
		cmocka_unit_test(
		    an_end_without_a_blank_line_gives_nothing_unless_it_is_flushed),
		cmocka_unit_test(a_wish_to_wait_is_a_number_or_nothing),
		cmocka_unit_test(an_event_has_a_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

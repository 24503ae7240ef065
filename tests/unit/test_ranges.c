#include "test.h"

#include "fleetbak/format/ranges.h"

#define SIZE 1000

static struct fb_error err;
static char token[FB_RANGES_TOKEN_MAX + 1];

static int
parse(const char *text, struct fb_ranges *ranges)
{
	return fb_ranges_parse(
	    (struct fb_span){ (const uint8_t *)text, strlen(text) }, SIZE,
	    token, ranges, &err);
}

static void
ranges_are_sorted_and_joined(void **state)
{
	FB_AUTO_RANGES struct fb_ranges ranges = { 0 };
	uint64_t start, end;

	(void)state;
	assert_ok(parse("token t-1\n500 100\n10 5\n0 0\n15 5\n550 10\n"
	                "999 1\n1000 0\n",
	    &ranges));
	assert_string_equal(token, "t-1");
	assert_false(ranges.all);
	assert_int_equal(ranges.count, 3);
	assert_int_equal(ranges.items[0].offset, 10);
	assert_int_equal(ranges.items[0].end, 20);
	assert_int_equal(ranges.items[1].offset, 500);
	assert_int_equal(ranges.items[1].end, 600);
	assert_int_equal(ranges.items[2].offset, 999);

	assert_false(fb_ranges_touch(&ranges, 0, 10));
	assert_true(fb_ranges_touch(&ranges, 0, 11));
	assert_true(fb_ranges_touch(&ranges, 19, 30));
	assert_false(fb_ranges_touch(&ranges, 20, 500));
	assert_true(fb_ranges_touch(&ranges, 0, SIZE));
	fb_ranges_next(&ranges, 15, SIZE, &start, &end);
	assert_int_equal(start, 15);
	assert_int_equal(end, 20);
	fb_ranges_next(&ranges, 20, SIZE, &start, &end);
	assert_int_equal(start, 500);
	fb_ranges_next(&ranges, SIZE, SIZE, &start, &end);
	assert_int_equal(start, SIZE);
}

static void
ranges_are_added_one_after_the_other(void **state)
{
	FB_AUTO_RANGES struct fb_ranges ranges = { 0 };

	(void)state;
	for (uint64_t i = 0; i < 100; i++)
		fb_ranges_add(&ranges, i * 10, i * 10 + 3, 100);
	assert_int_equal(ranges.count, 100);
	assert_int_equal(ranges.items[99].offset, 990);
	assert_int_equal(ranges.items[99].end, 993);
	/* What touches is one; when there are too many, so is the rest. */
	fb_ranges_add(&ranges, 993, 999, 100);
	assert_int_equal(ranges.count, 100);
	assert_int_equal(ranges.items[99].end, 999);
	fb_ranges_add(&ranges, 5000, 5001, 100);
	assert_int_equal(ranges.count, 100);
	assert_int_equal(ranges.items[99].offset, 990);
	assert_int_equal(ranges.items[99].end, 5001);
}

static void
no_range_is_nothing_and_all_is_all(void **state)
{
	FB_AUTO_RANGES struct fb_ranges none = { 0 };
	FB_AUTO_RANGES struct fb_ranges all = { 0 };

	(void)state;
	assert_ok(parse("token x\n", &none));
	assert_int_equal(none.count, 0);
	assert_false(none.all);
	assert_false(fb_ranges_touch(&none, 0, SIZE));
	assert_ok(parse("token x\nall\n", &all));
	assert_true(all.all);
}

static void
anything_else_is_refused(void **state)
{
	static const char *const bad[] = { "", "\n", "token x", "token \n",
		"10 5\n", "token x y\n", "token x\n10\n", "token x\n10 \n",
		"token x\n10 5 \n", "token x\n10 5", "token x\n 10 5\n",
		"token x\n-1 5\n", "token x\n1001 0\n", "token x\n999 2\n",
		"token x\n18446744073709551615 2\n",
		"token x\n18446744073709551616 2\n",
		"token x\n10 99999999999999999999\n", "token x\n0x1 1\n",
		"token x\nALL\n", "token x\n\n", "token x\ntoken x\n",
		"token \x7f\n", "token \x01\n" };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(bad); i++) {
		struct fb_ranges ranges = { 0 };

		assert_fails(FB_EPROTO, parse(bad[i], &ranges));
		assert_null(ranges.items);
	}
}

static void
a_token_has_its_limit(void **state)
{
	FB_AUTO_RANGES struct fb_ranges ranges = { 0 };
	char text[FB_RANGES_TOKEN_MAX + 16];

	(void)state;
	memset(text, 'a', sizeof(text));
	memcpy(text, "token ", 6);
	memcpy(text + 6 + FB_RANGES_TOKEN_MAX, "\n", 2);
	assert_ok(parse(text, &ranges));
	assert_int_equal(strlen(token), FB_RANGES_TOKEN_MAX);
	memcpy(text + 6 + FB_RANGES_TOKEN_MAX, "a\n", 3);
	assert_fails(FB_EPROTO, parse(text, &ranges));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranges_are_sorted_and_joined),
		cmocka_unit_test(ranges_are_added_one_after_the_other),
		cmocka_unit_test(no_range_is_nothing_and_all_is_all),
		cmocka_unit_test(anything_else_is_refused),
		cmocka_unit_test(a_token_has_its_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

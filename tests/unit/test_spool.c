#include "test.h"

#include <stdlib.h>

#include "fleetbak/cli/spool.h"

static void
collect(struct fb_span piece, void *arg)
{
	fb_buf_add(arg, piece.ptr, piece.len);
}

static void
fill(struct fb_spool *spool, struct fb_buf *expected, unsigned count)
{
	char text[64];

	for (unsigned i = 0; i < count; i++) {
		int len = snprintf(text, sizeof(text), "line %u of many\n", i);

		fb_spool_add(spool, text, (size_t)len);
		fb_buf_add(expected, text, (size_t)len);
	}
}

static void
assert_holds(struct fb_spool *spool, const struct fb_buf *expected)
{
	FB_AUTO_BUF struct fb_buf all = { 0 };

	fb_spool_each(spool, collect, &all);
	assert_int_equal(all.len, expected->len);
	assert_memory_equal(all.data, expected->data, all.len);
}

static void
what_goes_in_comes_out_and_memory_stays_small(void **state)
{
	FB_AUTO_BUF struct fb_buf expected = { 0 };
	struct fb_spool spool = { 0 };

	(void)state;
	assert_true(fb_spool_empty(&spool));
	fill(&spool, &expected, 200000);
	assert_true(expected.len > 3u << 20);
	assert_non_null(spool.file);
	assert_true(spool.tail.cap < 3u << 20);
	assert_holds(&spool, &expected);
	fill(&spool, &expected, 100000); /* after it was read */
	assert_holds(&spool, &expected);
	fb_spool_release(&spool);
	assert_true(fb_spool_empty(&spool));
}

static void
without_a_file_memory_has_to_do(void **state)
{
	FB_AUTO_BUF struct fb_buf expected = { 0 };
	struct fb_spool spool = { 0 };

	(void)state;
	assert_int_equal(setenv("TMPDIR", "/nonexistent", 1), 0);
	fill(&spool, &expected, 100000);
	assert_int_equal(unsetenv("TMPDIR"), 0);
	assert_null(spool.file);
	assert_holds(&spool, &expected);
	fb_spool_release(&spool);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_goes_in_comes_out_and_memory_stays_small),
		cmocka_unit_test(without_a_file_memory_has_to_do),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

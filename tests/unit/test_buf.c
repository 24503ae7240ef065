#include "test.h"

#include <stdlib.h>

#include "fleetbak/base/mem.h"

static void
an_empty_buffer_is_an_empty_string(void **state)
{
	FB_AUTO_BUF struct fb_buf buf = { 0 };

	(void)state;
	assert_string_equal(fb_buf_str(&buf), "");
	fb_buf_add(&buf, NULL, 0);
	assert_string_equal(fb_buf_str(&buf), "");
	assert_int_equal(fb_buf_span(&buf).len, 0);
	fb_buf_release(&buf);
	fb_buf_release(&buf);
}

static void
one_nul_follows_whatever_was_added(void **state)
{
	FB_AUTO_BUF struct fb_buf buf = { 0 };

	(void)state;
	for (size_t i = 0; i < 1000; i++) {
		fb_buf_add(&buf, "x", 1);
		assert_int_equal(buf.len, i + 1);
		assert_int_equal(buf.data[buf.len], 0);
	}
	fb_buf_clear(&buf);
	assert_int_equal(buf.len, 0);
	assert_string_equal(fb_buf_str(&buf), "");
}

static void
one_nul_follows_room_that_was_not_used(void **state)
{
	FB_AUTO_BUF struct fb_buf buf = { 0 };

	(void)state;
	(void)fb_buf_reserve(&buf, 1000);
	assert_string_equal(fb_buf_str(&buf), "");
	fb_buf_add_str(&buf, "abc");
	(void)fb_buf_reserve(&buf, 100000);
	assert_string_equal(fb_buf_str(&buf), "abc");
}

static void
text_and_numbers_are_appended(void **state)
{
	FB_AUTO_BUF struct fb_buf buf = { 0 };

	(void)state;
	fb_buf_add_str(&buf, "a");
	fb_buf_add_fmt(&buf, "%d-%0100d", 7, 1);
	assert_int_equal(buf.len, 103);
	assert_memory_equal(buf.data, "a7-0", 4);
	fb_buf_clear(&buf);
	fb_buf_add_le16(&buf, 0x0102);
	fb_buf_add_le32(&buf, 0x03040506);
	fb_buf_add_le64(&buf, UINT64_C(0x0708090a0b0c0d0e));
	assert_int_equal(buf.len, 14);
	assert_memory_equal(buf.data,
	    "\x02\x01\x06\x05\x04\x03\x0e\x0d\x0c\x0b\x0a\x09\x08\x07", 14);
}

static void
stolen_bytes_are_the_callers(void **state)
{
	FB_AUTO_BUF struct fb_buf buf = { 0 };
	FB_AUTO_FREE uint8_t *bytes = NULL;

	(void)state;
	fb_buf_add_str(&buf, "mine");
	bytes = fb_buf_steal(&buf);
	assert_string_equal((char *)bytes, "mine");
	assert_null(buf.data);
	assert_int_equal(buf.len, 0);
	fb_buf_add_str(&buf, "new");
	assert_string_equal(fb_buf_str(&buf), "new");
}

static void
memory_comes_zeroed_and_strings_are_copies(void **state)
{
	FB_AUTO_FREE char *zero = fb_alloc(100, 1);
	FB_AUTO_FREE char *copy = fb_strdup("text");
	FB_AUTO_FREE char *made = fb_format("%s/%u", copy, 9u);
	FB_AUTO_FREE char *nothing = fb_alloc(0, 0);

	(void)state;
	for (size_t i = 0; i < 100; i++)
		assert_int_equal(zero[i], 0);
	assert_string_equal(made, "text/9");
	assert_non_null(nothing);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_buffer_is_an_empty_string),
		cmocka_unit_test(one_nul_follows_whatever_was_added),
		cmocka_unit_test(one_nul_follows_room_that_was_not_used),
		cmocka_unit_test(text_and_numbers_are_appended),
		cmocka_unit_test(stolen_bytes_are_the_callers),
		cmocka_unit_test(memory_comes_zeroed_and_strings_are_copies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

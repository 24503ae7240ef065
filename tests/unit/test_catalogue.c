#include "test.h"

#include "fleetbak/base/text.h"
#include "fleetbak/format/catalogue.h"

static struct fb_error err;

static struct fb_entry
sample(enum fb_entry_type type, const char *path, const char *target)
{
	return (struct fb_entry){
		.type = type, .mode = 04755, .uid = 1000, .gid = UINT32_MAX,
		.size = UINT64_MAX, .mtime_s = -5, .mtime_ns = 999999999,
		.ctime_s = 1700000000, .ctime_ns = 1, .dev = 64769,
		.ino = 42, .offset = 1024, .length = 2048,
		.path = { (const uint8_t *)path, strlen(path) },
		.target = { (const uint8_t *)target, strlen(target) },
	};
}

static struct fb_span
without_newline(const struct fb_buf *line)
{
	assert_int_equal(line->data[line->len - 1], '\n');
	return (struct fb_span){ line->data, line->len - 1 };
}

static void
every_field_comes_back(void **state)
{
	FB_AUTO_BUF struct fb_buf line = { 0 };
	FB_AUTO_BUF struct fb_buf again = { 0 };
	FB_AUTO_BUF struct fb_buf scratch = { 0 };
	struct fb_entry in = sample(FB_ENTRY_SYMLINK, "a b\n\xff/c", "../%");
	struct fb_entry out;

	(void)state;
	fb_catalogue_add(&line, &in);
	assert_ok(fb_catalogue_decode(
	    without_newline(&line), &scratch, &out, &err));
	assert_int_equal(out.type, FB_ENTRY_SYMLINK);
	assert_int_equal(out.mtime_s, -5);
	assert_int_equal(out.path.len, in.path.len);
	assert_memory_equal(out.path.ptr, in.path.ptr, in.path.len);
	fb_catalogue_add(&again, &out);
	assert_string_equal(fb_buf_str(&line), fb_buf_str(&again));
}

static void
the_line_is_as_specified(void **state)
{
	FB_AUTO_BUF struct fb_buf line = { 0 };
	struct fb_entry in = sample(FB_ENTRY_FILE, "etc/my file", "ignored");

	(void)state;
	fb_catalogue_add(&line, &in);
	assert_string_equal(fb_buf_str(&line),
	    "f 4755 1000 4294967295 18446744073709551615 -5.999999999 "
	    "1700000000.000000001 64769 42 1024 2048 etc/my%20file\n");
}

static void
each_damage_is_refused(void **state)
{
	static const char *const lines[] = {
		"",
		"f",
		"x 644 0 0 1 1.000000000 1.000000000 1 1 0 512 a",
		"ff 644 0 0 1 1.000000000 1.000000000 1 1 0 512 a",
		"f 0644 0 0 1 1.000000000 1.000000000 1 1 0 512 a",
		"f 10000 0 0 1 1.000000000 1.000000000 1 1 0 512 a",
		"f 648 0 0 1 1.000000000 1.000000000 1 1 0 512 a",
		"f 644 4294967296 0 1 1.000000000 1.000000000 1 1 0 512 a",
		"f 644 0 0 18446744073709551616 1.000000000 1.000000000 1 1 0 "
		"512 a",
		"f 644 0 0 1 1.00000000 1.000000000 1 1 0 512 a",
		"f 644 0 0 1 1 1.000000000 1 1 0 512 a",
		"f 644 0 0 1 -0.000000000 1.000000000 1 1 0 512 a",
		"f 644 0 0 1 01.000000000 1.000000000 1 1 0 512 a",
		"f 644 0 0 1 1.000000000 1.000000000 1 1 0 512",
		"f 644 0 0 1 1.000000000 1.000000000 1 1 0 512 ",
		"f 644 0 0 1 1.000000000 1.000000000 1 1 0 512 a ",
		"f 644 0 0 1 1.000000000 1.000000000 1 1 0 512 a b",
		"f 644  0 0 1 1.000000000 1.000000000 1 1 0 512 a",
		"l 777 0 0 1 1.000000000 1.000000000 1 1 0 512 a",
		"l 777 0 0 1 1.000000000 1.000000000 1 1 0 512 a ",
		"f 644 0 0 1 1.000000000 1.000000000 1 1 2 "
		"18446744073709551615 a",
		"f 644 0 0 1 1.000000000 1.000000000 1 1 0 512 %6",
		"f 644 0 0 1 1.000000000 1.000000000 1 1 0 512 %61",
	};
	FB_AUTO_BUF struct fb_buf scratch = { 0 };
	struct fb_entry out;

	(void)state;
	for (size_t i = 0; i < FB_COUNT(lines); i++) {
		struct fb_span line = { (const uint8_t *)lines[i],
			strlen(lines[i]) };

		assert_fails(FB_ECORRUPT,
		    fb_catalogue_decode(line, &scratch, &out, &err));
	}
}

static void
an_overlong_line_is_refused(void **state)
{
	FB_AUTO_BUF struct fb_buf line = { 0 };
	FB_AUTO_BUF struct fb_buf scratch = { 0 };
	struct fb_entry out;

	(void)state;
	fb_buf_add_str(
	    &line, "f 644 0 0 1 1.000000000 1.000000000 1 1 0 512 ");
	while (line.len < FB_CATALOGUE_LINE_MAX)
		fb_buf_add(&line, "a", 1);
	assert_fails(FB_ECORRUPT,
	    fb_catalogue_decode(fb_buf_span(&line), &scratch, &out, &err));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_field_comes_back),
		cmocka_unit_test(the_line_is_as_specified),
		cmocka_unit_test(each_damage_is_refused),
		cmocka_unit_test(an_overlong_line_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

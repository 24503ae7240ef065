#include "test.h"

#include <stdlib.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"

static struct fb_error err;

static void
a_name_is_letters_digits_dots_dashes_and_underscores(void **state)
{
	static const char *const good[] = { "a", "_", "db-1.example.org", "0",
		"A_b.c-d" };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(good); i++)
		assert_ok(fb_name_check(
		    "machine id", good[i], strlen(good[i]), &err));
}

static void
a_name_that_could_hurt_is_refused(void **state)
{
	static const char *const bad[] = { "", ".", "..", ".hidden", "-rf",
		"a/b", "a b", "a\n", "a\x1b[2J", "\xc3\xa9", "a%", "a:b" };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(bad); i++) {
		assert_fails(FB_ECONFIG,
		    fb_name_check("machine id", bad[i], strlen(bad[i]), &err));
		assert_string_equal(err.id, "E-NAME");
	}
	assert_false(fb_name_ok("a\0b", 3));
}

static void
a_name_has_a_longest(void **state)
{
	char name[FB_NAME_MAX + 1];

	(void)state;
	memset(name, 'x', sizeof(name));
	assert_true(fb_name_ok(name, FB_NAME_MAX));
	assert_false(fb_name_ok(name, FB_NAME_MAX + 1));
}

static void
a_wrong_name_is_shown_escaped(void **state)
{
	(void)state;
	assert_fails(FB_ECONFIG, fb_name_check("host", "a\x1b[2J b", 7, &err));
	assert_string_equal(err.msg, "host 'a%1b[2J%20b' is not a name");
	assert_true(err.hint[0] != '\0');
}

static void
a_path_stays_inside(void **state)
{
	static const char *const good[] = { "a", "a/b", "a b/\xff", "...",
		"a/..b/c..", ".x/.y" };
	static const char *const bad[] = { "", "/", "/etc", "a//b", "a/", ".",
		"..", "a/.", "a/..", "../a", "a/../b", "./a" };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(good); i++)
		assert_ok(fb_path_check_inside(
		    "path", good[i], strlen(good[i]), 100, &err));
	for (size_t i = 0; i < FB_COUNT(bad); i++) {
		assert_fails(FB_ECONFIG,
		    fb_path_check_inside(
		        "path", bad[i], strlen(bad[i]), 100, &err));
		assert_string_equal(err.id, "E-PATH");
	}
	assert_fails(
	    FB_ECONFIG, fb_path_check_inside("path", "a\0b", 3, 100, &err));
	assert_ok(fb_path_check_inside("path", "abc", 3, 3, &err));
	assert_fails(
	    FB_ECONFIG, fb_path_check_inside("path", "abcd", 4, 3, &err));
}

static void
a_run_id_is_a_time_and_eight_hex_digits(void **state)
{
	static const char *const bad[] = { "20261121-013205123-3fa92c1",
		"20261121-013205123-3fa92c177", "20261121-013205123-3FA92C17",
		"20261321-013205123-3fa92c17", "20261131-013205123-3fa92c17",
		"20261121-243205123-3fa92c17", "20261121_013205123-3fa92c17",
		"2026112a-013205123-3fa92c17", "" };

	(void)state;
	assert_true(fb_run_id_ok("20261121-013205123-3fa92c17", FB_RUN_ID_LEN));
	for (size_t i = 0; i < FB_COUNT(bad); i++)
		assert_false(fb_run_id_ok(bad[i], strlen(bad[i])));
}

static void
a_near_name_is_found_and_a_far_one_is_not(void **state)
{
	static const char *const names[] = { "download", "restore", "verify",
		"list" };
	const size_t count = FB_COUNT(names);

	(void)state;
	assert_string_equal(
	    fb_name_nearest("donwload", names, count), "download");
	assert_string_equal(fb_name_nearest("lsit", names, count), "list");
	assert_string_equal(fb_name_nearest("verfy", names, count), "verify");
	assert_string_equal(
	    fb_name_nearest("restore", names, count), "restore");
	assert_string_equal(fb_name_nearest("upload-all", names, count), "");
	assert_string_equal(fb_name_nearest("", names, count), "");
	assert_string_equal(fb_name_nearest("x", names, 0), "");
}

static void
paths_are_joined_with_one_slash(void **state)
{
	static const char *const cases[][3] = { { "a", "b", "a/b" },
		{ "a/", "b", "a/b" }, { "a", "/b", "/b" }, { "/", "b", "/b" },
		{ "", "b", "b" } };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(cases); i++) {
		FB_AUTO_FREE char *path =
		    fb_path_join(cases[i][0], cases[i][1]);

		assert_string_equal(path, cases[i][2]);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    a_name_is_letters_digits_dots_dashes_and_underscores),
		cmocka_unit_test(a_name_that_could_hurt_is_refused),
		cmocka_unit_test(a_name_has_a_longest),
		cmocka_unit_test(a_wrong_name_is_shown_escaped),
		cmocka_unit_test(a_path_stays_inside),
		cmocka_unit_test(a_run_id_is_a_time_and_eight_hex_digits),
		cmocka_unit_test(a_near_name_is_found_and_a_far_one_is_not),
		cmocka_unit_test(paths_are_joined_with_one_slash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

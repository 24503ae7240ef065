/*
 * Names that a computer-host gets from us: it joins them to paths, unchecked.
 */
#include <string.h>

#include "../../src/driver/computer_host_internal.h"
#include "fleetbak/base/name.h"
#include "test.h"

static struct fb_error err;

static void
ids_of_snapshots_are_safe_and_one_of_each(void **state)
{
	static const char *const machines[] = { "m1", "m2", ".hidden", "_" };
	static const char *const tokens[] = {
		"20261129-012345678-3fa92c17.1",
		"20261129-012345678-3fa92c17.18446744073709551615", ".", "..",
		"a_b", "a.b", "_", "a-b",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	};
	char sids[FB_COUNT(machines) * FB_COUNT(tokens)][FB_CHOST_SID_SIZE];
	size_t count = 0;

	(void)state;
	for (size_t m = 0; m < FB_COUNT(machines); m++)
		for (size_t t = 0; t < FB_COUNT(tokens); t++)
			fb_chost_sid(machines[m], tokens[t], sids[count++]);
	for (size_t i = 0; i < count; i++) {
		assert_in_range(strlen(sids[i]), 4, 64);
		assert_memory_equal(sids[i], "fb-", 3);
		assert_int_equal(strspn(sids[i],
		                     "abcdefghijklmnopqrstuvwxyz"
		                     "0123456789_-"),
		    strlen(sids[i]));
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(sids[i], sids[k]);
	}
}

static void
names_of_disks_are_no_paths(void **state)
{
	static const char *const good[] = { "system", "user-0", "user-7",
		"user-123" };
	static const char *const bad[] = { "", "system/../x", "user-", "user-x",
		"user-0/..", "user-01", "user-1234", "../../evil", "System",
		"definition", "memory", "user-0.img", "user--1" };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(good); i++)
		assert_true(fb_chost_disk_ok(good[i]));
	for (size_t i = 0; i < FB_COUNT(bad); i++)
		assert_false(fb_chost_disk_ok(bad[i]));
}

static void
addresses_to_serve_at_are_numbers(void **state)
{
	static const char *const good[] = { "127.0.0.1:0", "[::1]:8080",
		"192.0.2.1:65535" };
	static const char *const bad[] = { "", ":1", "localhost:1", "127.0.0.1",
		"127.0.0.1:", "127.0.0.1:http", "::1:x" };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(good); i++)
		assert_ok(fb_chost_serve_check(good[i], &err));
	for (size_t i = 0; i < FB_COUNT(bad); i++) {
		assert_fails(FB_ECONFIG, fb_chost_serve_check(bad[i], &err));
		assert_string_equal(err.id, "E-CHOST-SERVE");
	}
}

static void
what_a_source_says_is_checked_when_it_is_opened(void **state)
{
	static const char *const bad[] = { "{}",
		"{\"socket\":\"/s\",\"server\":\"http://127.0.0.1:1\"}",
		"{\"socket\":\"/s\",\"memory\":{\"m1\":\"much\"}}",
		"{\"socket\":\"/s\",\"storage\":{\"m1\":\"-1\"}}" };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(bad); i++) {
		struct fb_driver *driver = NULL;
		FB_AUTO_JSON json_t *options = json_loads(bad[i], 0, NULL);
		struct fb_config_source source = { .name = (char[]){ "lab" },
			.driver = (char[]){ "computer-host" },
			.options = options };

		assert_fails(
		    FB_ECONFIG, fb_driver_open(&source, &driver, &err));
		assert_null(driver);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ids_of_snapshots_are_safe_and_one_of_each),
		cmocka_unit_test(names_of_disks_are_no_paths),
		cmocka_unit_test(addresses_to_serve_at_are_numbers),
		cmocka_unit_test(
		    what_a_source_says_is_checked_when_it_is_opened),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What every unit test includes: cmocka and its prerequisites, in order. */
#ifndef UNIT_TEST_H
#define UNIT_TEST_H

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fleetbak/base/buf.h"
#include "fleetbak/base/err.h"

/* The bytes of a string literal, without its NUL. */
#define SPAN(literal) \
	((struct fb_span){ (const uint8_t *)(literal), sizeof(literal) - 1 })

#define assert_ok(call)                                                \
	do {                                                           \
		int rc_ = (call);                                      \
		if (rc_ != FB_OK) {                                    \
			print_error("%s: %s: %s\n", #call,             \
			    fb_code_name((enum fb_code)rc_), err.msg); \
			fail();                                        \
		}                                                      \
	} while (0)

#define assert_fails(expected, call) assert_int_equal((call), (expected))

/* How many descriptors this process holds. */
static inline size_t
open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t count = 0;

	if (dir == NULL)
		return 0;
	while (readdir(dir) != NULL)
		count++;
	(void)closedir(dir);
	return count;
}

/* Whatever the tests of a program did and failed to do, every descriptor is
 * given back: an assertion of all of them. */
static inline int
run_group(const char *name, const struct CMUnitTest *tests, size_t count,
    CMFixtureFunction setup, CMFixtureFunction teardown)
{
	size_t before = open_descriptors(), after;
	int failed =
	    _cmocka_run_group_tests(name, tests, count, setup, teardown);

	after = open_descriptors();
	if (after == before)
		return failed;
	print_error("%zu descriptors open before, %zu after\n", before, after);
	return failed + 1;
}

#undef cmocka_run_group_tests
#define cmocka_run_group_tests(tests, setup, teardown)               \
	run_group(#tests, tests, sizeof(tests) / sizeof((tests)[0]), \
	    setup, teardown)
#undef cmocka_run_group_tests_name
#define cmocka_run_group_tests_name(name, tests, setup, teardown)  \
	run_group(name, tests, sizeof(tests) / sizeof((tests)[0]), \
	    setup, teardown)

#endif

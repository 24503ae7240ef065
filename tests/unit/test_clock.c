#include "test.h"

#include <stdio.h>
#include <stdlib.h>

#include "fleetbak/base/clock.h"

static struct fb_error err;

static const struct {
	const char *text;
	int64_t ns;
} times[] = {
	{ "1970-01-01T00:00:00Z", 0 },
	{ "1969-12-31T23:59:59Z", -1000000000 },
	{ "1970-01-01T00:00:00.001Z", 1000000 },
	{ "2000-02-29T12:00:00Z", 951825600000000000 },
	{ "2026-11-21T01:02:03.004Z", 1795222923004000000 },
	{ "2100-03-01T00:00:00Z", 4107542400000000000 },
	{ "2262-04-11T23:47:16Z", 9223372036000000000 },
};

static void
a_time_is_written_and_read_back(void **state)
{
	(void)state;
	for (size_t i = 0; i < FB_COUNT(times); i++) {
		char text[FB_TIME_SIZE];
		int64_t ns = 1;

		if (strchr(times[i].text, '.') != NULL)
			fb_time_format_ms(times[i].ns, text);
		else
			fb_time_format(times[i].ns, text);
		assert_string_equal(text, times[i].text);
		assert_ok(fb_time_parse(times[i].text, &ns, &err));
		assert_int_equal(ns, times[i].ns);
	}
}

static void
every_day_has_its_date(void **state)
{
	static const int lengths[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31,
		30, 31 };
	int year = 1970, month = 1, day = 1;

	(void)state;
	for (int64_t n = 0; n < 100000; n++) {
		char text[FB_TIME_SIZE], expected[FB_TIME_SIZE];
		int leap =
		    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

		fb_time_format(n * 86400 * 1000000000, text);
		(void)snprintf(expected, sizeof(expected),
		    "%04u-%02u-%02uT00:00:00Z", year % 10000u, month % 100u,
		    day % 100u);
		assert_string_equal(text, expected);
		if (++day > lengths[month - 1] + (month == 2 && leap)) {
			day = 1;
			if (++month > 12) {
				month = 1;
				year++;
			}
		}
	}
}

static void
what_is_not_exactly_a_time_is_refused(void **state)
{
	static const char *const bad[] = { "", "2026", "2026-11-21",
		"2026-11-21T01:02:03", "2026-11-21 01:02:03Z",
		"2026-11-21T01:02:03z", "2026-11-31T01:02:03Z",
		"2026-02-29T01:02:03Z", "2026-13-01T01:02:03Z",
		"2026-00-01T01:02:03Z", "2026-01-00T01:02:03Z",
		"2026-11-21T24:00:00Z", "2026-11-21T23:60:00Z",
		"2026-11-21T23:59:60Z", "2026-11-21T01:02:03.04Z",
		"2026-11-21T01:02:03.0041Z", "2026-11-21T01:02:03+00Z",
		"+026-11-21T01:02:03Z", "2026-11-21T01:02:03ZZ",
		"2262-04-11T23:47:17Z", "9999-01-01T00:00:00Z",
		"0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z",
		"2026-11-21T01:02:03.-04Z",
		"2026-11-21T01:02:03.004Z and much more than fits" };
	int64_t ns = 42;

	(void)state;
	for (size_t i = 0; i < FB_COUNT(bad); i++)
		assert_fails(FB_ECORRUPT, fb_time_parse(bad[i], &ns, &err));
	assert_int_equal(ns, 42);
}

#ifdef FB_FAULTS
static void
the_wall_clock_can_be_fixed_for_a_test(void **state)
{
	(void)state;
	assert_int_equal(setenv("FLEETBAK_CLOCK", "1795222923.004", 1), 0);
	assert_int_equal(fb_clock_wall_ns(), 1795222923004000000);
	assert_int_equal(setenv("FLEETBAK_CLOCK", "17", 1), 0);
	assert_int_equal(fb_clock_wall_ns(), 17000000000);
	assert_int_equal(setenv("FLEETBAK_CLOCK", "soon", 1), 0);
	assert_true(fb_clock_wall_ns() > 1700000000000000000);
	assert_int_equal(unsetenv("FLEETBAK_CLOCK"), 0);
}
#endif

static void
the_monotonic_clock_does_not_go_back(void **state)
{
	int64_t last = fb_clock_mono_ns();

	(void)state;
	for (int i = 0; i < 1000; i++) {
		int64_t now = fb_clock_mono_ns();

		assert_true(now >= last);
		last = now;
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_time_is_written_and_read_back),
		cmocka_unit_test(every_day_has_its_date),
		cmocka_unit_test(what_is_not_exactly_a_time_is_refused),
#ifdef FB_FAULTS
		cmocka_unit_test(the_wall_clock_can_be_fixed_for_a_test),
#endif
		cmocka_unit_test(the_monotonic_clock_does_not_go_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Limits by the time of day: the words, the windows, and what they make of a
 * time in a zone. */
#include <stdlib.h>
#include <time.h>

#include "test.h"

#include "fleetbak/base/clock.h"
#include "fleetbak/base/rate.h"
#include "fleetbak/engine/limits.h"

static struct fb_error err;

#define S   INT64_C(1000000000)
#define MIB (UINT64_C(1) << 20)

static void
reads_as(const char *text, const char *canonical)
{
	FB_AUTO_BUF struct fb_buf out = { 0 };
	FB_AUTO_BUF struct fb_buf twice = { 0 };
	struct fb_limits limits, again;

	assert_ok(fb_limits_parse(text, &limits, &err));
	fb_limits_add_text(&out, &limits);
	assert_string_equal(fb_buf_str(&out), canonical);
	assert_ok(fb_limits_parse(fb_buf_str(&out), &again, &err));
	fb_limits_add_text(&twice, &again);
	assert_string_equal(fb_buf_str(&twice), canonical);
	assert_int_equal(again.count, limits.count);
	for (size_t i = 0; i < limits.count; i++)
		assert_int_equal(
		    again.windows[i].bytes, limits.windows[i].bytes);
}

static void
limits_are_read_and_written_back(void **state)
{
	(void)state;
	reads_as("20MiB/s", "20MiB/s");
	reads_as("unlimited", "unlimited");
	reads_as("* unlimited", "unlimited");
	reads_as("Mon-Fri 07:00-19:00 20MiB/s, * unlimited",
	    "Mon-Fri 07:00-19:00 20MiB/s, unlimited");
	reads_as(" mon-sun   00:00-24:00 160Mbit/s", "160Mbit/s");
	reads_as("Fri-Mon 1MB/s,Sun 22:00-06:00 unlimited",
	    "Fri-Mon 1MB/s, Sun 22:00-06:00 unlimited");
	reads_as("* 12:30-12:31 1KiB/s", "12:30-12:31 1KiB/s");
}

static void
refuses(const char *text, const char *id, const char *word)
{
	struct fb_limits limits;

	assert_fails(FB_ECONFIG, fb_limits_parse(text, &limits, &err));
	assert_string_equal(err.id, id);
	assert_non_null(strstr(err.msg, word));
	assert_true(err.hint[0] != '\0');
}

static void
what_is_no_limit_is_refused(void **state)
{
	(void)state;
	refuses("", "E-CFG-UNIT", "a limit is missing");
	refuses("20MiB/s,", "E-CFG-UNIT", "a limit is missing");
	refuses("Mon", "E-CFG-UNIT", "'Mon': not a rate");
	refuses("Mon-Fri 07:00-19:00", "E-CFG-UNIT", "'07:00-19:00'");
	refuses("Mondays 20MiB/s", "E-CFG-TYPE", "'Mondays': not days");
	refuses("Mon-Fry 20MiB/s", "E-CFG-TYPE", "'Mon-Fry': not days");
	refuses("07:00 20MiB/s", "E-CFG-TYPE", "'07:00': not a time");
	refuses("7:00-19:00 20MiB/s", "E-CFG-TYPE", "'7:00-19:00'");
	refuses("07:60-19:00 20MiB/s", "E-CFG-TYPE", "'07:60-19:00'");
	refuses("07:00-24:01 20MiB/s", "E-CFG-TYPE", "'07:00-24:01'");
	refuses("24:00-24:00 20MiB/s", "E-CFG-TYPE", "'24:00-24:00'");
	refuses("12:00-00:00 20MiB/s", "E-CFG-TYPE", "write 07:00-19:00");
	refuses("07:00-07:00 20MiB/s", "E-CFG-RANGE", "ends when it begins");
	refuses("07:00-19:00 Mon 20MiB/s", "E-CFG-TYPE", "days come before");
	refuses("Mon 07:00-19:00 20MiB/s more", "E-CFG-TYPE", "'more'");
	refuses("Mon 20MiB", "E-CFG-UNIT", "'20MiB': not a rate");
	refuses("Mon 100B/s", "E-CFG-RANGE", "1KiB/s at least");
	refuses("Mon 111111111111111111111MiB/s", "E-CFG-UNIT", "not a rate");
}

static void
no_more_windows_than_fit(void **state)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_limits limits;

	(void)state;
	for (int i = 0; i < FB_LIMIT_WINDOWS_MAX; i++)
		fb_buf_add_fmt(&text, "%s1MB/s", i > 0 ? "," : "");
	assert_ok(fb_limits_parse(fb_buf_str(&text), &limits, &err));
	fb_buf_add_str(&text, ",1MB/s");
	assert_fails(
	    FB_ECONFIG, fb_limits_parse(fb_buf_str(&text), &limits, &err));
	assert_string_equal(err.id, "E-CFG-RANGE");
}

/* What is in force on a day (0: Monday) at hour:minute. */
static const char *
at(const char *text, unsigned day, unsigned hour, unsigned minute)
{
	static struct fb_limits limits;
	const struct fb_limit_window *window;

	assert_ok(fb_limits_parse(text, &limits, &err));
	window = fb_limits_at(&limits, day, hour * 60 + minute);
	return window != NULL ? window->rate : "none";
}

static void
the_first_window_counts(void **state)
{
	static const char office[] =
	    "Mon-Fri 07:00-19:00 20MiB/s, Sat 1MB/s, * unlimited";
	static const char night[] = "Fri-Sun 22:00-06:00 9MB/s";

	(void)state;
	assert_string_equal(at(office, 0, 6, 59), "unlimited");
	assert_string_equal(at(office, 0, 7, 0), "20MiB/s");
	assert_string_equal(at(office, 4, 18, 59), "20MiB/s");
	assert_string_equal(at(office, 4, 19, 0), "unlimited");
	assert_string_equal(at(office, 5, 12, 0), "1MB/s");
	assert_string_equal(at(office, 6, 12, 0), "unlimited");

	assert_string_equal(at(night, 4, 5, 59), "none"); /* Thursday's */
	assert_string_equal(at(night, 4, 22, 0), "9MB/s");
	assert_string_equal(at(night, 5, 5, 59), "9MB/s");
	assert_string_equal(at(night, 5, 6, 0), "none");
	assert_string_equal(at(night, 0, 5, 59), "9MB/s"); /* Sunday's */
	assert_string_equal(at(night, 0, 22, 0), "none");
}

static int64_t
when(const char *utc)
{
	int64_t ns;

	assert_ok(fb_time_parse(utc, &ns, &err));
	return ns;
}

static void
looks(const char *text, const char *utc, const char *rate, const char *until,
    const char *then)
{
	struct fb_limits limits;
	struct fb_limits_view view;
	char found[FB_TIME_SIZE];

	assert_ok(fb_limits_parse(text, &limits, &err));
	fb_limits_look(&limits, when(utc), &view);
	assert_string_equal(view.rate, rate);
	if (until == NULL) {
		assert_null(view.then);
		assert_true(view.until_ns == INT64_MAX);
		return;
	}
	assert_string_equal(view.then, then);
	fb_time_format(view.until_ns, found);
	assert_string_equal(found, until);
}

static void
the_time_is_that_of_the_zone(void **state)
{
	static const char office[] = "Mon-Fri 07:00-19:00 2MB/s";

	(void)state;
	assert_ok(fb_clock_set_zone("UTC", &err));
	/* 2026-11-27 is a Friday. */
	looks(office, "2026-11-27T18:00:30Z", "2MB/s", "2026-11-27T19:00:00Z",
	    "unlimited");
	looks(office, "2026-11-27T19:00:00Z", "unlimited",
	    "2026-11-30T07:00:00Z", "2MB/s");
	looks("2MB/s", "2026-11-27T19:00:00Z", "2MB/s", NULL, NULL);
	/* A change into the same is none. */
	looks("Sun 2MB/s, 2MB/s", "2026-11-27T19:00:00Z", "2MB/s", NULL, NULL);
	assert_ok(fb_clock_set_zone("Europe/Berlin", &err));
	looks(office, "2026-11-27T17:59:59Z", "2MB/s", "2026-11-27T18:00:00Z",
	    "unlimited");
	/* Summer ends on a Sunday: the Monday begins an hour later. */
	looks(office, "2026-10-23T17:00:00Z", "unlimited",
	    "2026-10-26T06:00:00Z", "2MB/s");
	looks(office, "2026-03-27T18:00:00Z", "unlimited",
	    "2026-03-30T05:00:00Z", "2MB/s");
	assert_ok(fb_clock_set_zone("UTC", &err));
}

static void
a_limit_without_windows_is_a_plain_rate(void **state)
{
	struct fb_limits limits = { 0 };
	struct fb_rate *rate;

	(void)state;
	assert_null(fb_limits_rate(&limits));
	assert_ok(fb_limits_parse("unlimited", &limits, &err));
	assert_null(fb_limits_rate(&limits));
	assert_ok(fb_limits_parse("1MiB/s", &limits, &err));
	rate = fb_limits_rate(&limits);
	assert_int_equal(fb_rate_take(rate, MIB, 0), S);
	fb_rate_free(rate);
	/* Two halves of every day, so that one of them is now. */
	assert_ok(fb_limits_parse(
	    "00:00-12:00 1MiB/s, 12:00-24:00 1MiB/s", &limits, &err));
	rate = fb_limits_rate(&limits);
	assert_int_equal(fb_rate_take(rate, MIB, 0), S);
	fb_rate_free(rate);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(limits_are_read_and_written_back),
		cmocka_unit_test(what_is_no_limit_is_refused),
		cmocka_unit_test(no_more_windows_than_fit),
		cmocka_unit_test(the_first_window_counts),
		cmocka_unit_test(the_time_is_that_of_the_zone),
		cmocka_unit_test(a_limit_without_windows_is_a_plain_rate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What a policy in words keeps, on real calendars and against a slow and
 * simple reading of the same words. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "test.h"

#include "fleetbak/base/clock.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/fleet/retention.h"

static struct fb_error err;

#define S    INT64_C(1000000000)
#define HOUR (3600 * S)
#define DAY  (24 * HOUR)

/* -- words ----------------------------------------------------------- */

static void
reads_as(const char *text, const char *canonical)
{
	struct fb_retention policy, again;
	FB_AUTO_BUF struct fb_buf out = { 0 };
	FB_AUTO_BUF struct fb_buf twice = { 0 };

	assert_ok(fb_retention_parse(text, &policy, &err));
	assert_int_equal(policy.min, 2);
	fb_retention_add_text(&out, &policy);
	assert_string_equal(fb_buf_str(&out), canonical);
	assert_ok(fb_retention_parse(fb_buf_str(&out), &again, &err));
	fb_retention_add_text(&twice, &again);
	assert_string_equal(fb_buf_str(&twice), canonical);
	assert_memory_equal(&policy, &again, sizeof(policy));
}

static void
a_policy_is_read_and_written_back(void **state)
{
	(void)state;
	reads_as("all within 48h, 14 daily, 8 weekly, 12 monthly, 3 yearly",
	    "all within 48h, 14 daily, 8 weekly, 12 monthly, 3 yearly");
	reads_as("daily within 30d", "daily within 30d");
	reads_as("3 last", "last 3");
	reads_as("last 3", "last 3");
	reads_as("  24   hourly ,1 daily  ", "24 hourly, 1 daily");
	reads_as("all", "all");
	reads_as("3 daily,daily within 1mo,100000 hourly",
	    "3 daily, daily within 1mo, 100000 hourly");
	reads_as("all within 1ms, last 1, 1 hourly, hourly within 1s, 1 daily, "
	         "daily within 1min, 1 weekly, weekly within 1w, 1 monthly, "
	         "monthly within 1y, 1 yearly, yearly within 100y",
	    "all within 1ms, last 1, 1 hourly, hourly within 1s, 1 daily, "
	    "daily within 1min, 1 weekly, weekly within 1w, 1 monthly, monthly "
	    "within 1y, 1 yearly, yearly within 100y");
}

static void
refuses(const char *text, const char *id, const char *msg, const char *hint)
{
	struct fb_retention policy = { .rule_count = 77 };
	int rc = fb_retention_parse(text, &policy, &err);

	assert_int_equal(rc, FB_ECONFIG);
	assert_int_equal(policy.rule_count, 77);
	if (strcmp(err.id, id) != 0 || strstr(err.msg, msg) == NULL ||
	    strstr(err.hint, hint) == NULL)
		fail_msg("%s: %s (%s)\nwanted %s: %s (%s)", err.id, err.msg,
		    err.hint, id, msg, hint);
}

static void
a_wrong_word_is_named_with_its_place(void **state)
{
	(void)state;
	refuses("14 dayly", "E-CFG-REFERENCE",
	    "'dayly' at character 4: not one of", "did you mean 'daily'?");
	refuses("all within 48h, 14 weakly", "E-CFG-REFERENCE",
	    "'weakly' at character 20", "did you mean 'weekly'?");
	refuses("", "E-CFG-REFERENCE", "at character 1: a word is missing",
	    "all within 48h");
	refuses("3 daily,", "E-CFG-REFERENCE",
	    "at character 9: a word is missing", "");
	refuses("3 daily,,4 weekly", "E-CFG-REFERENCE", "at character 9", "");
	refuses("14", "E-CFG-REFERENCE", "at character 3: a word is missing",
	    "");
	refuses("0 daily", "E-CFG-RANGE",
	    "'0' at character 1: must be 1 to 100000", "");
	refuses("100001 daily", "E-CFG-RANGE", "1 to 100000", "");
	refuses("99999999999999999999999 daily", "E-CFG-RANGE", "", "");
	refuses("07 daily", "E-CFG-RANGE", "'07' at character 1", "");
	refuses("3d daily", "E-CFG-TYPE", "'3d' at character 1: not a whole",
	    "");
	refuses("-3 daily", "E-CFG-REFERENCE", "'-3' at character 1", "");
	refuses("last", "E-CFG-TYPE", "at character 5: a number is missing",
	    "");
	refuses("last three", "E-CFG-TYPE", "'three' at character 6", "");
	refuses("all within", "E-CFG-UNIT",
	    "at character 11: a span is missing", "");
	refuses("all within 48", "E-CFG-UNIT",
	    "'48' at character 12: not a span", "");
	refuses("daily within 6m", "E-CFG-UNIT", "'6m' at character 14", "");
	refuses("daily within 0d", "E-CFG-RANGE", "more than nothing", "");
	refuses("daily within 101y", "E-CFG-RANGE", "at most 100 years", "");
	refuses("daily within 111111111111111111111111d", "E-CFG-UNIT",
	    "not a span", "");
	refuses("daily", "E-CFG-REFERENCE",
	    "at character 6: 'within SPAN' is missing", "");
	refuses("daily withn 3d", "E-CFG-REFERENCE", "'withn' at character 7",
	    "did you mean 'within'?");
	refuses("3 daily within 3d", "E-CFG-TYPE",
	    "'within' at character 9: a rule has a number or a span", "");
	refuses("3 daily 4 weekly", "E-CFG-TYPE",
	    "'4' at character 9: the rule ends before this", "");
	refuses("3 all", "E-CFG-TYPE", "'all' at character 3: goes without",
	    "");
	refuses("3 daily, all within 2d, 4 daily", "E-CFG-DUPLICATE",
	    "'4 daily' at character 25: a rule of this kind", "");
	refuses("all, all within 3d", "E-CFG-DUPLICATE", "", "");
	refuses("3\tdaily", "E-CFG-TYPE", "", "");
	refuses("3 Daily", "E-CFG-REFERENCE", "'Daily' at character 3",
	    "did you mean 'daily'?");
}

/* -- calendars ------------------------------------------------------- */

/* One line of a calendar: when, and what is kept of it; "" for nothing. */
struct day {
	const char *time; /* UTC; before it "#": held, "?": not whole */
	const char *kept;
};

#define DAYS_MAX 40

static void
keeps_at(const char *keep, const char *zone, const char *now,
    const struct day *days)
{
	struct fb_retention_snapshot all[DAYS_MAX] = { 0 };
	char runs[DAYS_MAX][8];
	struct fb_retention policy;
	int64_t now_ns;
	size_t count = 0;

	assert_ok(fb_retention_parse(keep, &policy, &err));
	policy.min = 0;
	assert_ok(fb_time_parse(now, &now_ns, &err));
	for (; days[count].time != NULL; count++) {
		const char *time = days[count].time;
		size_t marks = strspn(time, "#?");

		assert_true(count < DAYS_MAX);
		(void)snprintf(runs[count], sizeof(runs[count]), "%02zu",
		    count);
		all[count] = (struct fb_retention_snapshot){ .machine = "m",
			.run = runs[count],
			.held = strcspn(time, "#") < marks,
			.whole = strcspn(time, "?") >= marks };
		assert_ok(fb_time_parse(
		    time + marks, &all[count].time_ns, &err));
	}
	assert_ok(fb_retention_apply(&policy, zone, now_ns, all, count, &err));
	for (size_t i = 0; i < count; i++) {
		const char *reasons =
		    all[i].reasons != NULL ? all[i].reasons : "";

		if (strcmp(reasons, days[i].kept) != 0)
			print_error("%s in %s: %s: '%s', wanted '%s'\n", keep,
			    zone, days[i].time, reasons, days[i].kept);
		assert_string_equal(reasons, days[i].kept);
		assert_int_equal(all[i].keep, all[i].reasons != NULL);
		free(all[i].reasons);
	}
}

static void
keeps(const char *keep, const char *zone, const struct day *days)
{
	keeps_at(keep, zone, "2200-01-01T00:00:00Z", days);
}

#define DAYS(...) ((const struct day[]){ __VA_ARGS__, { NULL, NULL } })

static void
the_words_keep_what_they_say(void **state)
{
	(void)state;
	keeps("all within 48h, 3 daily", "UTC",
	    DAYS({ "2026-11-20T02:00:00Z", "all within 48h, daily 1" },
	        { "2026-11-19T14:00:00Z", "all within 48h, daily 2" },
	        { "2026-11-19T02:00:00Z", "all within 48h" },
	        { "2026-11-18T02:00:00Z", "all within 48h, daily 3" },
	        { "2026-11-18T01:59:59Z", "" },
	        { "2026-11-17T02:00:00Z", "" }));
	keeps("last 2", "UTC",
	    DAYS({ "2026-11-01T00:00:00Z", "" },
	        { "2026-11-20T02:00:00Z", "last 1" },
	        { "2026-11-20T01:00:00Z", "last 2" }));
	keeps("all", "UTC",
	    DAYS({ "2026-11-20T02:00:00Z", "all" },
	        { "1971-11-20T02:00:00Z", "all" }));
	keeps("2 monthly, 2 yearly", "UTC",
	    DAYS({ "2026-02-28T23:59:59Z", "monthly 1, yearly 1" },
	        { "2026-02-01T00:00:00Z", "" },
	        { "2026-01-31T23:59:59Z", "monthly 2" },
	        { "2025-12-31T23:59:59Z", "yearly 2" },
	        { "2024-02-29T12:00:00Z", "" }));
}

/* Days that have a snapshot count, not days of the calendar. */
static void
a_pause_costs_nothing(void **state)
{
	(void)state;
	keeps("3 daily", "UTC",
	    DAYS({ "2026-11-20T02:00:00Z", "daily 1" },
	        { "2026-10-20T02:00:00Z", "daily 2" },
	        { "2026-10-19T02:00:00Z", "daily 3" },
	        { "2026-10-18T02:00:00Z", "" }));
	/* A window says that it is one; it ends at the newest snapshot. */
	keeps("daily within 2d", "UTC",
	    DAYS({ "2026-10-20T02:00:00Z", "daily within 2d" },
	        { "2026-10-19T02:00:00Z", "daily within 2d" },
	        { "2026-10-18T02:00:00Z", "daily within 2d" },
	        { "2026-10-18T01:59:59Z", "" }));
	keeps("daily within 2d", "UTC",
	    DAYS({ "2026-11-20T02:00:00Z", "daily within 2d" },
	        { "2026-10-20T02:00:00Z", "" }));
}

static void
an_hour_that_is_there_twice_is_two_hours(void **state)
{
	(void)state;
	/* 25 October 2026, 03:00 +02:00 is 02:00 +01:00. */
	keeps("3 hourly", "Europe/Berlin",
	    DAYS({ "2026-10-25T01:30:00Z", "hourly 1" },
	        { "2026-10-25T01:00:00Z", "" },
	        { "2026-10-25T00:59:59Z", "hourly 2" },
	        { "2026-10-25T00:00:00Z", "" },
	        { "2026-10-24T23:59:59Z", "hourly 3" },
	        { "2026-10-24T22:59:59Z", "" }));
	/* 29 March 2026: 02:00 +01:00 is 03:00 +02:00. */
	keeps("2 hourly", "Europe/Berlin",
	    DAYS({ "2026-03-29T01:00:00Z", "hourly 1" },
	        { "2026-03-29T00:59:59Z", "hourly 2" },
	        { "2026-03-28T23:59:59Z", "" }));
	/* Half an hour back: 5 April 2026, 02:00 +11:00 is 01:30 +10:30. */
	keeps("3 hourly", "Australia/Lord_Howe",
	    DAYS({ "2026-04-04T15:15:00Z", "hourly 1" },
	        { "2026-04-04T14:59:59Z", "hourly 2" },
	        { "2026-04-04T14:30:00Z", "" },
	        { "2026-04-04T13:59:59Z", "hourly 3" }));
}

static void
days_begin_in_the_fleets_zone(void **state)
{
	static const struct day berlin[] = {
		{ "2026-10-25T22:59:59Z", "daily 1" }, /* a day of 25 hours */
		{ "2026-10-24T22:00:00Z", "" },
		{ "2026-10-24T21:59:59Z", "daily 2" },
		{ "2026-10-23T22:00:00Z", "" },
		{ "2026-10-23T21:59:59Z", "" },
		{ NULL, NULL },
	};

	(void)state;
	keeps("2 daily", "Europe/Berlin", berlin);
	keeps("2 daily", "Europe/Berlin",
	    DAYS({ "2026-03-29T21:59:59Z", "daily 1" }, /* of 23 hours */
	        { "2026-03-28T23:00:00Z", "" },
	        { "2026-03-28T22:59:59Z", "daily 2" }));
	keeps("2 daily", "Pacific/Kiritimati", /* +14 */
	    DAYS({ "2026-06-10T10:00:00Z", "daily 1" },
	        { "2026-06-10T09:59:59Z", "daily 2" },
	        { "2026-06-09T10:00:00Z", "" },
	        { "2026-06-09T09:59:59Z", "" }));
	keeps("2 daily", "Etc/GMT+12", /* -12 */
	    DAYS({ "2026-06-10T12:00:00Z", "daily 1" },
	        { "2026-06-10T11:59:59Z", "daily 2" },
	        { "2026-06-09T12:00:00Z", "" },
	        { "2026-06-09T11:59:59Z", "" }));
	/* There was no 30 December 2011. */
	keeps("2 daily", "Pacific/Apia",
	    DAYS({ "2011-12-30T10:00:00Z", "daily 1" },
	        { "2011-12-30T09:59:59Z", "daily 2" },
	        { "2011-12-29T09:59:59Z", "" }));
	/* At one minute past midnight it was an hour earlier, the day before:
	 * 1 November 2009. */
	keeps("2 daily", "America/St_Johns",
	    DAYS({ "2009-11-01T02:45:00Z", "" },     /* 31st, 23:15 -03:30 */
	        { "2009-11-01T02:30:30Z", "daily 1" }, /* 1st, 00:00 -02:30 */
	        { "2009-11-01T02:29:00Z", "" },      /* 31st, 23:59 -02:30 */
	        { "2009-11-01T03:29:00Z", "daily 2" }));
}

static void
weeks_begin_on_monday_and_cross_the_year(void **state)
{
	(void)state;
	/* 2026 has a week 53: 28 December to 3 January. */
	keeps("3 weekly", "UTC",
	    DAYS({ "2027-01-04T00:00:00Z", "weekly 1" },
	        { "2027-01-03T23:59:59Z", "weekly 2" },
	        { "2027-01-01T00:00:00Z", "" },
	        { "2026-12-31T23:59:59Z", "" },
	        { "2026-12-28T00:00:00Z", "" },
	        { "2026-12-27T23:59:59Z", "weekly 3" },
	        { "2026-12-20T23:59:59Z", "" }));
	/* 31 December 2024 is in week 1 of 2025; years know nothing of it. */
	keeps("2 weekly, 2 yearly", "UTC",
	    DAYS({ "2025-01-05T23:59:59Z", "weekly 1, yearly 1" },
	        { "2025-01-01T00:00:00Z", "" },
	        { "2024-12-31T23:59:59Z", "yearly 2" },
	        { "2024-12-30T00:00:00Z", "" },
	        { "2024-12-29T23:59:59Z", "weekly 2" }));
	/* The same moments further east and west. */
	keeps("2 weekly", "Pacific/Kiritimati",
	    DAYS({ "2027-01-03T10:00:00Z", "weekly 1" },
	        { "2027-01-03T09:59:59Z", "weekly 2" }));
	keeps("2 weekly", "Etc/GMT+12",
	    DAYS({ "2027-01-04T12:00:00Z", "weekly 1" },
	        { "2027-01-04T11:59:59Z", "weekly 2" },
	        { "2027-01-04T00:00:00Z", "" }));
	/* Before 1970 as after it: 28 December 1969 was a Sunday. */
	keeps("3 weekly, 2 yearly", "UTC",
	    DAYS({ "1970-01-01T00:00:00Z", "weekly 1, yearly 1" },
	        { "1969-12-29T00:00:00Z", "yearly 2" },
	        { "1969-12-28T23:59:59Z", "weekly 2" },
	        { "1969-12-21T00:00:00Z", "weekly 3" }));
}

static void
years_and_months_end_in_the_fleets_zone(void **state)
{
	(void)state;
	keeps("2 yearly, 3 monthly", "Europe/Berlin",
	    DAYS({ "2025-12-31T23:00:00Z", "yearly 1, monthly 1" },
	        { "2025-12-31T22:59:59Z", "yearly 2, monthly 2" },
	        { "2025-11-30T23:00:00Z", "" },
	        { "2025-11-30T22:59:59Z", "monthly 3" }));
	keeps("2 monthly", "America/New_York", /* leap years */
	    DAYS({ "2024-03-01T05:00:00Z", "monthly 1" },
	        { "2024-03-01T04:59:59Z", "monthly 2" },
	        { "2024-02-29T04:59:59Z", "" }));
	keeps("2 monthly", "UTC",
	    DAYS({ "2100-03-01T00:00:00Z", "monthly 1" },
	        { "2100-02-28T23:59:59Z", "monthly 2" }));
}

static void
of_equal_times_the_later_run_is_the_newer(void **state)
{
	(void)state;
	keeps("last 1, 1 daily", "UTC",
	    DAYS({ "2026-11-20T02:00:00Z", "" },
	        { "2026-11-20T02:00:00Z", "" },
	        { "2026-11-20T02:00:00Z", "last 1, daily 1" }));
}

static void
what_is_not_whole_takes_no_place(void **state)
{
	(void)state;
	keeps("2 daily", "UTC",
	    DAYS({ "?2026-11-20T14:00:00Z", "" },
	        { "2026-11-20T02:00:00Z", "daily 1" },
	        { "?2026-11-19T14:00:00Z", "daily (not whole)" },
	        { "?2026-11-19T02:00:00Z", "" },
	        { "2026-11-18T02:00:00Z", "daily 2" },
	        { "?2026-11-17T02:00:00Z", "" },
	        { "2026-11-16T02:00:00Z", "" }));
	keeps("last 2", "UTC",
	    DAYS({ "?2026-11-20T02:00:00Z", "last (not whole)" },
	        { "2026-11-19T02:00:00Z", "last 1" },
	        { "?2026-11-18T02:00:00Z", "last (not whole)" },
	        { "2026-11-17T02:00:00Z", "last 2" },
	        { "?2026-11-16T02:00:00Z", "" }));
	/* Windows end at the newest whole one. */
	keeps("all within 1d", "UTC",
	    DAYS({ "?2026-11-20T02:00:00Z", "all within 1d (not whole)" },
	        { "?2026-11-15T02:00:00Z", "all within 1d (not whole)" },
	        { "2026-11-10T02:00:00Z", "all within 1d" },
	        { "?2026-11-09T02:00:00Z", "all within 1d (not whole)" },
	        { "2026-11-09T01:59:59Z", "" }));
	keeps("all within 1d, 1 daily", "UTC",
	    DAYS({ "?2026-11-20T02:00:00Z",
	             "all within 1d (not whole), daily (not whole)" },
	        { "?2026-11-10T02:00:00Z", "daily (not whole)" }));
}

static void
what_is_held_is_kept_and_changes_nothing_else(void **state)
{
	(void)state;
	keeps("2 daily", "UTC",
	    DAYS({ "#2026-11-20T02:00:00Z", "held, daily 1" },
	        { "#2026-11-20T01:00:00Z", "held" },
	        { "2026-11-19T02:00:00Z", "daily 2" },
	        { "#?2026-11-18T02:00:00Z", "held" },
	        { "2026-11-17T02:00:00Z", "" }));
}

static void
what_is_in_the_future_is_kept_and_not_looked_at(void **state)
{
	static const struct day days[] = {
		{ "2027-11-20T02:00:00Z", "in the future" },
		{ "#2027-11-19T02:00:00Z", "held, in the future" },
		{ "2026-11-20T02:00:00Z", "all within 1d, daily 1" },
		{ "2026-11-19T02:00:00Z", "all within 1d, daily 2" },
		{ "2026-11-18T02:00:00Z", "" },
		{ NULL, NULL },
	};

	(void)state;
	keeps_at("all within 1d, 2 daily", "UTC", "2026-11-20T02:00:00Z", days);
}

static void
min_is_kept_whatever_the_rules_say(void **state)
{
	struct fb_retention policy;
	struct fb_retention_snapshot all[] = {
		{ .run = "1", .time_ns = 1 * DAY, .whole = true },
		{ .run = "2", .time_ns = 2 * DAY, .whole = true },
		{ .run = "3", .time_ns = 3 * DAY, .whole = true },
		{ .run = "4", .time_ns = 4 * DAY },
		{ .run = "5", .time_ns = 5 * DAY, .whole = true },
		{ .run = "6", .time_ns = 9 * DAY, .whole = true },
	};
	static const char *const kept[] = { NULL, NULL, "min 3", NULL,
		"last 1", "in the future" };

	(void)state;
	assert_ok(fb_retention_parse("last 1", &policy, &err));
	assert_int_equal(policy.min, FB_RETENTION_MIN);
	for (policy.min = 2; policy.min < 4; policy.min++) {
		assert_ok(fb_retention_apply(&policy, "UTC", 6 * DAY, all,
		    FB_COUNT(all), &err));
		assert_int_equal(all[1].keep, policy.min == 3);
		assert_string_equal(all[2].reasons,
		    policy.min == 2 ? "min 2" : kept[2]);
		assert_string_equal(all[4].reasons, kept[4]);
		assert_string_equal(all[5].reasons, kept[5]);
		assert_false(all[0].keep);
		assert_false(all[3].keep);
		for (size_t i = 0; i < FB_COUNT(all); i++)
			free(all[i].reasons);
	}
}

static void
without_a_policy_everything_is_kept(void **state)
{
	static const struct fb_retention none;
	struct fb_retention_snapshot all[] = {
		{ .run = "1", .time_ns = INT64_MIN },
		{ .run = "2", .time_ns = INT64_MAX, .held = true },
	};

	(void)state;
	assert_ok(fb_retention_apply(&none, NULL, 0, all, 2, &err));
	assert_true(all[0].keep && all[1].keep);
	assert_string_equal(all[0].reasons, "no policy");
	assert_string_equal(
	    all[1].reasons, "held, in the future, no policy");
	free(all[0].reasons);
	free(all[1].reasons);
	assert_ok(fb_retention_apply(&none, NULL, 0, NULL, 0, &err));
}

static void
times_at_both_ends_of_64_bits_are_judged(void **state)
{
	struct fb_retention policy;
	struct fb_retention_snapshot all[] = {
		{ .run = "1", .time_ns = INT64_MIN, .whole = true },
		{ .run = "2", .time_ns = INT64_MAX, .whole = true },
		{ .run = "3", .time_ns = INT64_MAX - DAY, .whole = true },
	};

	(void)state;
	assert_ok(fb_retention_parse(
	    "all within 1d, 3 hourly, 3 daily, 2 weekly, 2 monthly, 1 yearly",
	    &policy, &err));
	assert_ok(fb_retention_apply(
	    &policy, "Europe/Berlin", INT64_MAX, all, 3, &err));
	assert_string_equal(all[0].reasons, "hourly 3, daily 3, weekly 2, "
	                                    "monthly 2");
	assert_string_equal(all[1].reasons, "all within 1d, hourly 1, daily "
	                                    "1, weekly 1, monthly 1, yearly 1");
	assert_string_equal(
	    all[2].reasons, "all within 1d, hourly 2, daily 2");
	for (size_t i = 0; i < 3; i++)
		free(all[i].reasons);
}

static void
an_unknown_zone_is_refused_and_tz_stays_what_it_was(void **state)
{
	struct fb_retention_snapshot one = { .run = "1", .whole = true };
	struct fb_retention policy;

	(void)state;
	assert_ok(fb_retention_parse("1 daily", &policy, &err));
	(void)setenv("TZ", "Asia/Tokyo", 1);
	if (!fb_clock_zone_known("Europe/Berlinn")) {
		assert_fails(FB_ECONFIG,
		    fb_retention_apply(
		        &policy, "Europe/Berlinn", 1, &one, 1, &err));
		assert_string_equal(err.id, "E-CFG-REFERENCE");
		assert_null(one.reasons);
	}
	assert_ok(
	    fb_retention_apply(&policy, "Europe/Berlin", 1, &one, 1, &err));
	free(one.reasons);
	assert_string_equal(getenv("TZ"), "Asia/Tokyo");
	(void)unsetenv("TZ");
	assert_ok(
	    fb_retention_apply(&policy, "Europe/Berlin", 1, &one, 1, &err));
	free(one.reasons);
	assert_null(getenv("TZ"));
}

/* -- groups and machines that left ------------------------------------ */

static void
add_machine(struct fb_fleet *fleet, const char *id, const char *role)
{
	struct fb_machine *machine = fb_fleet_add(fleet);

	machine->source = fb_strdup("lab");
	machine->id = fb_strdup(id);
	machine->role = fb_strdup(role);
}

static void
the_last_group_that_chooses_a_machine_counts(void **state)
{
	struct fb_config_group groups[] = {
		{ .name = (char *)"dbs", .select = (char *)"db-*,pay-01" },
		{ .name = (char *)"one", .select = (char *)"db-02" },
		{ .name = (char *)"typo", .select = (char *)"db-*,dp-01" },
	};
	struct fb_config config = { .path = (char *)"f.yaml",
		.groups = groups,
		.group_count = 2 };
	struct fb_fleet fleet = { 0 };
	FB_AUTO_FREE size_t *of = NULL;
	size_t *none = NULL;

	(void)state;
	add_machine(&fleet, "db-01", "db");
	add_machine(&fleet, "db-02", "db");
	add_machine(&fleet, "pay-01", "");
	add_machine(&fleet, "web-01", "web");
	fb_fleet_settle(&fleet);
	fleet.machines[3].selected = true;
	assert_ok(fb_retention_assign(&config, &fleet, &of, &err));
	assert_int_equal(of[0], 0);
	assert_int_equal(of[1], 1);
	assert_int_equal(of[2], 0);
	assert_true(of[3] == SIZE_MAX);
	assert_ptr_equal(fb_retention_of(&config, of[1]), &groups[1].keep);
	assert_ptr_equal(
	    fb_retention_of(&config, of[3]), &config.retention.keep);

	/* A mistyped name gives no machine another policy in silence. */
	config.group_count = 3;
	assert_fails(FB_ECONFIG,
	    fb_retention_assign(&config, &fleet, &none, &err));
	assert_string_equal(err.id, "E-SEL-NONE");
	assert_non_null(strstr(err.msg, "f.yaml: groups.typo: "));
	assert_null(none);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(fleet.machines[i].selected, i == 3);
	fb_fleet_release(&fleet);
}

static void
a_machine_that_left_goes_by_runs_and_not_by_the_clock(void **state)
{
	const uint64_t keep = 90 * 24 * UINT64_C(3600000);

	(void)state;
	assert_false(fb_retention_expired(keep, 0, 90 * DAY, INT64_MAX));
	assert_true(
	    fb_retention_expired(keep, 0, 90 * DAY + S / 1000, INT64_MAX));
	/* Neither a clock ahead nor a run that was made by one decides. */
	assert_false(fb_retention_expired(keep, 0, DAY, 400 * DAY));
	assert_false(fb_retention_expired(keep, 0, 400 * DAY, DAY));
	assert_false(fb_retention_expired(keep, 400 * DAY, DAY, 2 * DAY));
	assert_false(fb_retention_expired(0, INT64_MIN, INT64_MAX, INT64_MAX));
	assert_true(
	    fb_retention_expired(keep, INT64_MIN, INT64_MAX, INT64_MAX));
	assert_false(fb_retention_expired(
	    UINT64_MAX, INT64_MIN, -1 - INT64_MAX / 2, 0));
}

/* -- random policies and histories ------------------------------------ */

#define MANY 36

static uint64_t seed;

static uint64_t
roll(uint64_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % below;
}

static const char *const zones[] = { "UTC", "Europe/Berlin",
	"America/New_York", "Pacific/Kiritimati", "Etc/GMT+12",
	"Australia/Lord_Howe", "America/St_Johns", "Asia/Kathmandu",
	"Pacific/Apia", "Africa/Casablanca" };

struct history {
	struct fb_retention policy;
	const char *zone;
	int64_t now_ns;
	struct fb_retention_snapshot all[MANY];
	char runs[MANY][8];
	size_t count;
};

static void
random_policy(struct fb_retention *policy)
{
	static const char *const spans[] = { "1s", "2h", "48h", "7d", "1mo",
		"1y", "3y", "100y" };
	static const uint64_t hours[] = { 0, 2, 48, 7 * 24, 30 * 24, 365 * 24,
		3 * 365 * 24, UINT64_C(100) * 365 * 24 };
	unsigned left = 1 + (unsigned)roll(4);

	*policy = (struct fb_retention){ .min = (uint32_t)roll(4) };
	for (unsigned kind = 0; kind < 12; kind++) {
		struct fb_retention_rule *rule =
		    &policy->rules[policy->rule_count];
		size_t span = roll(FB_COUNT(spans));

		if (roll(12 - kind) >= left)
			continue;
		left--;
		policy->rule_count++;
		rule->unit = kind < 2
		    ? (enum fb_retention_unit)kind
		    : (enum fb_retention_unit)(2 + (kind - 2) / 2);
		if (kind == 1 || (kind > 1 && kind % 2 == 0)) {
			rule->count = 1 + (uint32_t)roll(roll(2) == 0 ? 3 : 12);
			continue;
		}
		rule->within_ms = span == 0 ? 1000 : hours[span] * 3600000;
		(void)strcpy(rule->span, spans[span]);
	}
}

/* Snapshots around a few moments where calendars are difficult, from seconds
 * to years apart. */
static void
random_history(struct history *h)
{
	static const char *const moments[] = { "2026-10-25T01:00:00Z",
		"2026-03-29T01:00:00Z", "2027-01-03T23:59:59Z",
		"2011-12-30T10:00:00Z", "2009-11-01T02:30:59Z",
		"1970-01-01T00:00:00Z", "2024-02-29T12:00:00Z",
		"2026-04-04T15:00:00Z" };
	static const int64_t steps[] = { S, 600 * S, HOUR, 12 * HOUR, DAY,
		7 * DAY, 30 * DAY, 200 * DAY };
	int64_t at;

	memset(h, 0, sizeof(*h));
	random_policy(&h->policy);
	h->zone = zones[roll(FB_COUNT(zones))];
	h->count = roll(MANY + 1);
	assert_ok(fb_time_parse(moments[roll(FB_COUNT(moments))], &at, &err));
	for (size_t i = 0; i < h->count; i++) {
		(void)snprintf(h->runs[i], sizeof(h->runs[i]), "%02u",
		    (unsigned)i);
		at += ((int64_t)roll(5) - 1) * steps[roll(FB_COUNT(steps))];
		h->all[i] = (struct fb_retention_snapshot){ .machine = "m",
			.run = h->runs[i],
			.time_ns = at,
			.held = roll(9) == 0,
			.whole = roll(5) != 0 };
	}
	h->now_ns = at + ((int64_t)roll(5) - 1) * 100 * DAY;
	if (roll(2) == 0)
		h->now_ns = INT64_MAX;
}

#define NAME_SIZE 64

/* A name for the bucket that sorts as the bucket does. */
static void
name_bucket(char name[NAME_SIZE], enum fb_retention_unit unit,
    const struct fb_retention_snapshot *s)
{
	time_t seconds = (time_t)(s->time_ns / S);
	struct tm parts;
	size_t len = 1;

	assert_non_null(localtime_r(&seconds, &parts));
	switch (unit) {
	case FB_RETENTION_ALL:
	case FB_RETENTION_LAST:
		(void)snprintf(name, NAME_SIZE, "%020llu %s",
		    (unsigned long long)s->time_ns + (UINT64_C(1) << 63),
		    s->run);
		break;
	case FB_RETENTION_HOURLY:
		len = strftime(name, NAME_SIZE, "%Y-%m-%d %H", &parts);
		(void)snprintf(name + len, NAME_SIZE - len, " %06d",
		    100000 - (int)parts.tm_gmtoff);
		break;
	case FB_RETENTION_DAILY:
		len = strftime(name, NAME_SIZE, "%Y-%m-%d", &parts);
		break;
	case FB_RETENTION_WEEKLY:
		len = strftime(name, NAME_SIZE, "%G-%V", &parts);
		break;
	case FB_RETENTION_MONTHLY:
		len = strftime(name, NAME_SIZE, "%Y-%m", &parts);
		break;
	case FB_RETENTION_YEARLY:
		len = strftime(name, NAME_SIZE, "%Y", &parts);
		break;
	}
	assert_true(len > 0);
}

static bool
is_newer(const struct fb_retention_snapshot *a,
    const struct fb_retention_snapshot *b)
{
	return a->time_ns != b->time_ns ? a->time_ns > b->time_ns
	                                : strcmp(a->run, b->run) > 0;
}

/* The reference: each rule asked of each snapshot, by its words. */
static bool
rule_keeps(const struct history *h, const struct fb_retention_rule *rule,
    size_t i, char reason[64])
{
	const struct fb_retention_snapshot *one = &h->all[i], *newest = NULL;
	char own[NAME_SIZE], seen[MANY][NAME_SIZE];
	size_t newer = 0;

	if (one->time_ns > h->now_ns)
		return false;
	name_bucket(own, rule->unit, one);
	for (size_t j = 0; j < h->count; j++) {
		const struct fb_retention_snapshot *other = &h->all[j];
		char name[NAME_SIZE];
		bool known = false;

		if (other->time_ns > h->now_ns)
			continue;
		if (newest == NULL || (other->whole && !newest->whole) ||
		    (other->whole == newest->whole && is_newer(other, newest)))
			newest = other;
		name_bucket(name, rule->unit, other);
		if (strcmp(name, own) == 0 &&
		    ((other->whole && !one->whole) ||
		        (other->whole == one->whole && is_newer(other, one))))
			return false;
		for (size_t k = 0; k < newer; k++)
			known |= strcmp(seen[k], name) == 0;
		if (other->whole && !known && strcmp(name, own) > 0)
			(void)strcpy(seen[newer++], name);
	}
	if (rule->count > 0 && newer >= rule->count)
		return false;
	if (rule->within_ms > 0 && one->time_ns < newest->time_ns &&
	    newest->time_ns - one->time_ns >
	        (int64_t)rule->within_ms * 1000000)
		return false;
	if (rule->within_ms > 0)
		(void)snprintf(reason, 64, "%s within %s",
		    fb_retention_unit_name(rule->unit), rule->span);
	else if (rule->count > 0 && one->whole)
		(void)snprintf(reason, 64, "%s %zu",
		    fb_retention_unit_name(rule->unit), newer + 1);
	else
		(void)snprintf(
		    reason, 64, "%s", fb_retention_unit_name(rule->unit));
	if (!one->whole)
		(void)strcat(reason, " (not whole)");
	return true;
}

static void
add_reason(char reasons[512], const char *reason)
{
	if (reasons[0] != '\0')
		(void)strcat(reasons, ", ");
	(void)strcat(reasons, reason);
}

static void
refer(const struct history *h, char reasons[MANY][512])
{
	char rules[MANY][512] = { { 0 } };
	bool counted[MANY] = { 0 };

	for (size_t i = 0; i < h->count; i++)
		for (size_t r = 0; r < h->policy.rule_count; r++) {
			char reason[64];

			if (rule_keeps(h, &h->policy.rules[r], i, reason))
				add_reason(rules[i], reason);
		}
	for (size_t n = 0; n < h->policy.min; n++) {
		char reason[16];
		size_t best = MANY;

		for (size_t i = 0; i < h->count; i++)
			if (h->all[i].whole && !counted[i] &&
			    h->all[i].time_ns <= h->now_ns &&
			    (best == MANY ||
			        is_newer(&h->all[i], &h->all[best])))
				best = i;
		if (best == MANY)
			break;
		counted[best] = true;
		(void)snprintf(
		    reason, sizeof(reason), "min %u", h->policy.min);
		if (rules[best][0] == '\0')
			add_reason(rules[best], reason);
	}
	for (size_t i = 0; i < h->count; i++) {
		reasons[i][0] = '\0';
		if (h->all[i].held)
			add_reason(reasons[i], "held");
		if (h->all[i].time_ns > h->now_ns)
			add_reason(reasons[i], "in the future");
		if (rules[i][0] != '\0')
			add_reason(reasons[i], rules[i]);
	}
}

static void
print_history(const struct history *h, uint64_t from)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	char time[FB_TIME_SIZE];

	fb_retention_add_text(&text, &h->policy);
	fb_time_format(h->now_ns, time);
	print_error("seed %llu: %s, min %u, in %s at %s\n",
	    (unsigned long long)from, fb_buf_str(&text), h->policy.min, h->zone,
	    time);
	for (size_t i = 0; i < h->count; i++) {
		fb_time_format(h->all[i].time_ns, time);
		print_error("  %s%s%s %s: %s\n", h->all[i].held ? "#" : "",
		    h->all[i].whole ? "" : "?", time, h->all[i].run,
		    h->all[i].reasons != NULL ? h->all[i].reasons : "-");
	}
}

static void
apply(struct history *h)
{
	assert_ok(fb_retention_apply(
	    &h->policy, h->zone, h->now_ns, h->all, h->count, &err));
}

static void
forget(struct history *h)
{
	for (size_t i = 0; i < h->count; i++)
		fb_freep(&h->all[i].reasons);
}

#define CASES 4000

static void
the_rules_do_what_a_slow_reading_does(void **state)
{
	static struct history h;
	static char wanted[MANY][512];

	(void)state;
	for (uint64_t n = 1; n <= CASES; n++) {
		seed = n * UINT64_C(0x9e3779b97f4a7c15);
		random_history(&h);
		apply(&h);
		refer(&h, wanted);
		for (size_t i = 0; i < h.count; i++) {
			const char *got = h.all[i].reasons;

			if (h.all[i].keep == (got != NULL) &&
			    strcmp(got != NULL ? got : "", wanted[i]) == 0)
				continue;
			print_history(&h, n);
			fail_msg("%s: wanted '%s'", h.all[i].run, wanted[i]);
		}
		forget(&h);
	}
}

/* What one is kept for in `a` is kept in `b`, by the name of its run. */
static bool
keeps_all_of(const struct history *a, const struct history *b, bool only_whole)
{
	for (size_t i = 0; i < a->count; i++)
		for (size_t j = 0; j < b->count; j++)
			if (strcmp(a->all[i].run, b->all[j].run) == 0 &&
			    (a->all[i].whole || !only_whole) &&
			    a->all[i].keep && !b->all[j].keep)
				return false;
	return true;
}

static void
must(bool holds, const struct history *a, const struct history *b, uint64_t n,
    const char *what)
{
	if (holds)
		return;
	print_history(a, n);
	print_history(b, n);
	fail_msg("%s", what);
}

/* `b` is `a` without what `gone` says of a snapshot. */
static void
copy_without(const struct history *a, struct history *b,
    bool (*gone)(const struct history *, const struct fb_retention_snapshot *))
{
	*b = *a;
	b->count = 0;
	for (size_t i = 0; i < a->count; i++)
		if (!gone(a, &a->all[i]))
			b->all[b->count++] = a->all[i];
	for (size_t i = 0; i < b->count; i++)
		b->all[i].reasons = NULL;
	apply(b);
}

static bool
in_future(const struct history *h, const struct fb_retention_snapshot *s)
{
	return s->time_ns > h->now_ns;
}

static bool
not_whole(const struct history *h, const struct fb_retention_snapshot *s)
{
	(void)h;
	return !s->whole;
}

static bool
not_kept(const struct history *h, const struct fb_retention_snapshot *s)
{
	(void)h;
	return !s->keep;
}

static bool
the_newest_run(const struct history *h, const struct fb_retention_snapshot *s)
{
	return strcmp(s->run, h->runs[h->count - 1]) == 0;
}

static void
a_clock_that_jumps_only_keeps_more(void **state)
{
	static const int64_t jumps[] = { -365 * DAY, -DAY, -1, 0, 1, DAY,
		365 * DAY };
	static struct history h, jumped;

	(void)state;
	for (uint64_t n = 1; n <= CASES / 4; n++) {
		seed = n * UINT64_C(0xd1342543de82ef95);
		random_history(&h);
		h.now_ns = INT64_MAX;
		apply(&h);
		jumped = h;
		for (size_t i = 0; i < FB_COUNT(jumps); i++) {
			if (h.count == 0)
				continue;
			jumped.now_ns = h.all[h.count / 2].time_ns + jumps[i];
			apply(&jumped);
			must(keeps_all_of(&h, &jumped, false), &h, &jumped, n,
			    "the clock took one away");
			forget(&jumped);
		}
		forget(&h);
	}
}

/* And of two clocks the earlier keeps more. */
static void
the_earlier_clock_keeps_more(void **state)
{
	static struct history h, earlier;

	(void)state;
	for (uint64_t n = 1; n <= CASES / 4; n++) {
		seed = n * UINT64_C(0xa0761d6478bd642f);
		random_history(&h);
		apply(&h);
		earlier = h;
		earlier.now_ns -= (int64_t)roll(400) * DAY;
		apply(&earlier);
		must(keeps_all_of(&h, &earlier, false), &h, &earlier, n,
		    "an earlier clock took one away");
		forget(&earlier);
		forget(&h);
	}
}

static void
a_snapshot_taken_by_a_clock_ahead_pushes_nothing_out(void **state)
{
	static struct history h, without;

	(void)state;
	for (uint64_t n = 1; n <= CASES / 4; n++) {
		seed = n * UINT64_C(0xe7037ed1a0b428db);
		random_history(&h);
		apply(&h);
		copy_without(&h, &without, in_future);
		must(keeps_all_of(&without, &h, false) &&
		        keeps_all_of(&h, &without, false),
		    &h, &without, n, "the future decided");
		forget(&without);
		forget(&h);
	}
}

static void
what_is_not_whole_pushes_no_whole_one_out(void **state)
{
	static struct history h, without;

	(void)state;
	for (uint64_t n = 1; n <= CASES / 4; n++) {
		seed = n * UINT64_C(0x8ebc6af09c88c6e3);
		random_history(&h);
		apply(&h);
		copy_without(&h, &without, not_whole);
		must(keeps_all_of(&without, &h, true) &&
		        keeps_all_of(&h, &without, true),
		    &h, &without, n, "one that is not whole decided");
		forget(&without);
		forget(&h);
	}
}

static void
a_hold_adds_itself_and_nothing_else(void **state)
{
	static struct history h, freed;

	(void)state;
	for (uint64_t n = 1; n <= CASES / 4; n++) {
		seed = n * UINT64_C(0x589965cc75374cc3);
		random_history(&h);
		apply(&h);
		freed = h;
		for (size_t i = 0; i < freed.count; i++)
			freed.all[i].held = false;
		apply(&freed);
		for (size_t i = 0; i < h.count; i++)
			must(h.all[i].keep ==
			        (freed.all[i].keep || h.all[i].held),
			    &h, &freed, n, "a hold decided");
		forget(&freed);
		forget(&h);
	}
}

static void
a_second_prune_removes_nothing_more(void **state)
{
	static struct history h, again;

	(void)state;
	for (uint64_t n = 1; n <= CASES / 4; n++) {
		seed = n * UINT64_C(0x1d8e4e27c47d124f);
		random_history(&h);
		apply(&h);
		copy_without(&h, &again, not_kept);
		must(keeps_all_of(&h, &again, false), &h, &again, n,
		    "the second time removes more");
		forget(&again);
		forget(&h);
	}
}

static void
the_order_says_nothing(void **state)
{
	static struct history h, mixed;

	(void)state;
	for (uint64_t n = 1; n <= CASES / 4; n++) {
		seed = n * UINT64_C(0xeb44accab455d165);
		random_history(&h);
		mixed = h;
		for (size_t i = mixed.count; i > 1; i--) {
			size_t j = roll(i);
			struct fb_retention_snapshot s = mixed.all[i - 1];

			mixed.all[i - 1] = mixed.all[j];
			mixed.all[j] = s;
		}
		apply(&h);
		apply(&mixed);
		must(keeps_all_of(&h, &mixed, false) &&
		        keeps_all_of(&mixed, &h, false),
		    &h, &mixed, n, "the order decided");
		forget(&mixed);
		forget(&h);
	}
}

/* A snapshot whose time is wrong and in the past takes one place in each
 * rule, and so pushes out one whole one of each at most. */
static void
one_more_in_the_past_costs_one_of_each_rule(void **state)
{
	static struct history h, without;

	(void)state;
	for (uint64_t n = 1; n <= CASES / 4; n++) {
		size_t lost = 0;

		seed = n * UINT64_C(0x2127599bf4325c37);
		random_history(&h);
		if (h.count < 2)
			continue;
		h.policy.min = 0;
		for (size_t i = 0; i + 1 < h.count; i++)
			if (h.all[i].whole && h.all[i].time_ns <= h.now_ns &&
			    h.all[i].time_ns > h.all[h.count - 1].time_ns)
				lost = SIZE_MAX;
		if (lost == 0)
			continue; /* it is the newest: windows move */
		apply(&h);
		copy_without(&h, &without, the_newest_run);
		lost = 0;
		for (size_t i = 0; i < without.count; i++)
			lost += without.all[i].whole && without.all[i].keep &&
			    !h.all[i].keep;
		must(lost <= h.policy.rule_count, &h, &without, n,
		    "it cost more");
		forget(&without);
		forget(&h);
	}
}

static void
a_hundred_thousand_are_judged(void **state)
{
	const size_t count = 100000;
	FB_AUTO_FREE struct fb_retention_snapshot *all =
	    fb_alloc(count, sizeof(*all));
	struct fb_retention policy;
	size_t kept = 0;

	(void)state;
	seed = 7;
	for (size_t i = 0; i < count; i++)
		all[i] = (struct fb_retention_snapshot){ .run = "r",
			.time_ns = (int64_t)i * HOUR,
			.whole = true };
	for (size_t i = count; i > 1; i--) {
		size_t j = roll(i);
		struct fb_retention_snapshot s = all[i - 1];

		all[i - 1] = all[j];
		all[j] = s;
	}
	assert_ok(fb_retention_parse(
	    "all within 99h, last 1, 1 hourly, hourly within 1s, 1 daily, "
	    "daily within 1min, 1 weekly, weekly within 1w, 1 monthly, monthly "
	    "within 1s, 1 yearly, yearly within 1s",
	    &policy, &err));
	assert_ok(fb_retention_apply(
	    &policy, "UTC", INT64_MAX, all, count, &err));
	for (size_t i = 0; i < count; i++) {
		kept += all[i].keep;
		assert_int_equal(all[i].keep, all[i].reasons != NULL);
		free(all[i].reasons);
	}
	/* The last 100 hours, and the Sunday before: the last is on a
	 * Friday. */
	assert_int_equal(kept, 101);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_policy_is_read_and_written_back),
		cmocka_unit_test(a_wrong_word_is_named_with_its_place),
		cmocka_unit_test(the_words_keep_what_they_say),
		cmocka_unit_test(a_pause_costs_nothing),
		cmocka_unit_test(an_hour_that_is_there_twice_is_two_hours),
		cmocka_unit_test(days_begin_in_the_fleets_zone),
		cmocka_unit_test(weeks_begin_on_monday_and_cross_the_year),
		cmocka_unit_test(years_and_months_end_in_the_fleets_zone),
		cmocka_unit_test(of_equal_times_the_later_run_is_the_newer),
		cmocka_unit_test(what_is_not_whole_takes_no_place),
		cmocka_unit_test(what_is_held_is_kept_and_changes_nothing_else),
		cmocka_unit_test(
		    what_is_in_the_future_is_kept_and_not_looked_at),
		cmocka_unit_test(min_is_kept_whatever_the_rules_say),
		cmocka_unit_test(without_a_policy_everything_is_kept),
		cmocka_unit_test(times_at_both_ends_of_64_bits_are_judged),
		cmocka_unit_test(
		    an_unknown_zone_is_refused_and_tz_stays_what_it_was),
		cmocka_unit_test(the_last_group_that_chooses_a_machine_counts),
		cmocka_unit_test(
		    a_machine_that_left_goes_by_runs_and_not_by_the_clock),
		cmocka_unit_test(the_rules_do_what_a_slow_reading_does),
		cmocka_unit_test(a_clock_that_jumps_only_keeps_more),
		cmocka_unit_test(the_earlier_clock_keeps_more),
		cmocka_unit_test(
		    a_snapshot_taken_by_a_clock_ahead_pushes_nothing_out),
		cmocka_unit_test(what_is_not_whole_pushes_no_whole_one_out),
		cmocka_unit_test(a_hold_adds_itself_and_nothing_else),
		cmocka_unit_test(a_second_prune_removes_nothing_more),
		cmocka_unit_test(the_order_says_nothing),
		cmocka_unit_test(one_more_in_the_past_costs_one_of_each_rule),
		cmocka_unit_test(a_hundred_thousand_are_judged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

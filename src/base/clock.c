#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/base/seam.h"

#define NS_PER_S  1000000000
#define NS_PER_MS 1000000
#define S_PER_DAY 86400

#define WAIT_MAX_NS 100000000

#define ZONES "/usr/share/zoneinfo"

#ifdef FB_FAULTS
/* "<seconds>[.<fraction>]", or false when there is no such thing. */
static bool
parse_fixed(const char *text, int64_t *ret_ns)
{
	int64_t ns = 0, scale = NS_PER_S;

	if (text == NULL || *text < '0' || *text > '9')
		return false;
	for (; *text >= '0' && *text <= '9'; text++)
		if (__builtin_mul_overflow(ns, 10, &ns) ||
		    __builtin_add_overflow(ns, *text - '0', &ns))
			return false;
	if (__builtin_mul_overflow(ns, NS_PER_S, &ns))
		return false;
	if (*text == '.')
		for (text++; *text >= '0' && *text <= '9'; text++) {
			scale /= 10;
			if (__builtin_add_overflow(
			        ns, (*text - '0') * scale, &ns))
				return false;
		}
	*ret_ns = ns;
	return *text == '\0';
}
#endif

static int64_t
read_clock(clockid_t clock)
{
	struct timespec now;

	if (clock_gettime(clock, &now) == -1)
		abort(); /* both clocks always exist on Linux */
	return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

int64_t
fb_clock_wall_ns(void)
{
	int64_t off = fb_seam_clock(FB_STEP_CLOCK);

#ifdef FB_FAULTS
	int64_t fixed;

	if (parse_fixed(getenv("FLEETBAK_CLOCK"), &fixed))
		return fixed + off;
#endif
	return read_clock(CLOCK_REALTIME) + off;
}

int64_t
fb_clock_mono_ns(void)
{
	return read_clock(CLOCK_MONOTONIC) + fb_seam_clock(FB_STEP_MONO);
}

void
fb_clock_wait(int64_t until_mono_ns)
{
	int64_t left = until_mono_ns - fb_clock_mono_ns();
	struct timespec pause = { .tv_nsec = WAIT_MAX_NS };

	if (left <= 0)
		return;
	if (left < WAIT_MAX_NS)
		pause.tv_nsec = (long)left;
	(void)nanosleep(&pause, NULL); /* a signal ends it: look again */
}

int64_t
fb_clock_boot_ns(void)
{
	return read_clock(CLOCK_BOOTTIME) + fb_seam_clock(FB_STEP_MONO);
}

void
fb_clock_boot_id(char id[FB_BOOT_ID_SIZE])
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t got = -1;

	if (fd >= 0) {
		got = read(fd, id, FB_BOOT_ID_SIZE - 1);
		(void)close(fd);
	}
	id[got == FB_BOOT_ID_SIZE - 1 ? got : 0] = '\0';
}

bool
fb_clock_zone_known(const char *zone)
{
	FB_AUTO_FREE char *path = fb_path_join(ZONES, zone);

	return access(ZONES "/UTC", R_OK) < 0 || access(path, R_OK) == 0;
}

int
fb_clock_set_zone(const char *zone, struct fb_error *err)
{
	const char *now = getenv("TZ");
	FB_AUTO_FREE char *before = NULL;

	if (!fb_clock_zone_known(zone))
		return fb_fail_id(err, FB_ECONFIG, "E-CFG-REFERENCE",
		    "this host knows no time zone '%.64s'", zone);
	if (now != NULL)
		before = fb_strdup(now);
	(void)setenv("TZ", zone, 1);
	tzset();
	if (before != NULL)
		(void)setenv("TZ", before, 1);
	else
		(void)unsetenv("TZ");
	return FB_OK;
}

void
fb_clock_local(int64_t wall_ns, unsigned *ret_weekday, unsigned *ret_minute)
{
	time_t seconds = (time_t)(wall_ns / NS_PER_S - (wall_ns % NS_PER_S < 0));
	struct tm local = { 0 };

	if (localtime_r(&seconds, &local) == NULL)
		(void)gmtime_r(&seconds, &local);
	*ret_weekday = (unsigned)(local.tm_wday + 6) % 7;
	*ret_minute = (unsigned)local.tm_hour * 60 + (unsigned)local.tm_min;
}

/* The calendar is computed here, because gmtime() looks at locale and
 * environment, and because years of four digits are all that exist: 64 bits
 * of nanoseconds end in 2262. */
struct civil {
	int year, month, day; /* month and day from 1 */
	int hour, minute, second, ms;
};

/* Days since 1970-01-01 of a date of the proleptic Gregorian calendar, whose
 * years are counted from March so that the leap day comes last. */
static int64_t
days_of(int year, int month, int day)
{
	int y = month > 2 ? year : year - 1;
	int era = y / 400, of_era = y % 400;
	int of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5;

	return (int64_t)era * 146097 + of_era * 365 + of_era / 4 -
	    of_era / 100 + of_year + day - 1 - 719468;
}

static void
date_of(int64_t days, struct civil *civil)
{
	int n = (int)(days + 719468); /* since 0000-03-01; never negative */
	int era = n / 146097, of_era = n % 146097;
	int year =
	    (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	int of_year = of_era - (365 * year + year / 4 - year / 100);
	int month = (5 * of_year + 2) / 153;

	civil->day = of_year - (153 * month + 2) / 5 + 1;
	civil->month = month < 10 ? month + 3 : month - 9;
	civil->year = year + era * 400 + (civil->month <= 2);
}

static int64_t
floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

static void
civil_of(int64_t wall_ns, struct civil *civil)
{
	int64_t seconds = floor_div(wall_ns, NS_PER_S);
	int64_t days = floor_div(seconds, S_PER_DAY);
	int of_day = (int)(seconds - days * S_PER_DAY);

	date_of(days, civil);
	civil->hour = of_day / 3600;
	civil->minute = of_day / 60 % 60;
	civil->second = of_day % 60;
	civil->ms = (int)((wall_ns - seconds * NS_PER_S) / NS_PER_MS);
}

void
fb_time_format(int64_t wall_ns, char text[FB_TIME_SIZE])
{
	struct civil c;

	civil_of(wall_ns, &c);
	(void)snprintf(text, FB_TIME_SIZE, "%04u-%02u-%02uT%02u:%02u:%02uZ",
	    c.year % 10000u, c.month % 100u, c.day % 100u, c.hour % 100u,
	    c.minute % 100u, c.second % 100u);
}

void
fb_time_format_ms(int64_t wall_ns, char text[FB_TIME_SIZE])
{
	struct civil c;

	civil_of(wall_ns, &c);
	(void)snprintf(text, FB_TIME_SIZE,
	    "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", c.year % 10000u,
	    c.month % 100u, c.day % 100u, c.hour % 100u, c.minute % 100u,
	    c.second % 100u, c.ms % 1000u);
}

/* The number in `count` digits, or -1. */
static int
digits_at(const char *text, size_t count)
{
	int value = 0;

	for (size_t i = 0; i < count; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -1;
		value = value * 10 + (text[i] - '0');
	}
	return value;
}

int
fb_time_parse(const char *text, int64_t *ret_wall_ns, struct fb_error *err)
{
	size_t len = strnlen(text, FB_TIME_SIZE);
	bool with_ms = len == strlen("2026-11-21T01:02:03.004Z");
	struct civil c = { 0 };
	char again[FB_TIME_SIZE];
	int64_t ns;

	if (!with_ms && len != strlen("2026-11-21T01:02:03Z"))
		goto bad;
	c = (struct civil){ digits_at(text, 4), digits_at(text + 5, 2),
		digits_at(text + 8, 2), digits_at(text + 11, 2),
		digits_at(text + 14, 2), digits_at(text + 17, 2),
		with_ms ? digits_at(text + 20, 3) : 0 };
	if (c.year < 1 || c.month < 1 || c.month > 12 || c.day < 1 ||
	    c.hour < 0 || c.minute < 0 || c.second < 0 || c.ms < 0)
		goto bad;
	ns = days_of(c.year, c.month, c.day) * S_PER_DAY + c.hour * 3600 +
	    c.minute * 60 + c.second;
	if (__builtin_mul_overflow(ns, NS_PER_S, &ns) ||
	    __builtin_add_overflow(ns, (int64_t)c.ms * NS_PER_MS, &ns))
		goto bad;

	/* What it reads must be what we would write: that catches 31 April,
	 * 24:00 and every wrong separator at once. */
	if (with_ms)
		fb_time_format_ms(ns, again);
	else
		fb_time_format(ns, again);
	if (strcmp(text, again) != 0)
		goto bad;
	*ret_wall_ns = ns;
	return FB_OK;
bad:
	return fb_fail(err, FB_ECORRUPT, "'%.40s' is not a UTC time", text);
}

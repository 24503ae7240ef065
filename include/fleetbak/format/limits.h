/*
 * How fast bytes may go, by the time of day, in words:
 *
 *	limits  window { "," window }
 *	window  [days] [from "-" to] limit
 *	days    DAY | DAY "-" DAY | "*"      Mon Tue Wed Thu Fri Sat Sun
 *	limit   RATE | "unlimited"           20MiB/s, 160Mbit/s
 *
 * The first window that the time is in counts; in none there is no limit.
 * "22:00-06:00" goes over midnight, and is of the day on which it begins.
 * Spec: fleetbak.conf(5), "Limits by time of day".  Pure.
 */
#ifndef FB_FORMAT_LIMITS_H
#define FB_FORMAT_LIMITS_H

#include <stddef.h>
#include <stdint.h>

#include "fleetbak/base/buf.h"

struct fb_error;

#define FB_LIMIT_RATE_SIZE   24
#define FB_LIMIT_WINDOWS_MAX 32
#define FB_LIMIT_UNLIMITED   "unlimited"

/* Minutes of a day: one over midnight has `to` <= `from`. */
#define FB_LIMIT_DAY 1440

struct fb_limit_window {
	uint8_t days;                  /* bit 0: Monday, ... bit 6: Sunday */
	uint16_t from, to;             /* 0 and FB_LIMIT_DAY: the whole day */
	uint64_t bytes;                /* a second; 0: unlimited */
	char rate[FB_LIMIT_RATE_SIZE]; /* as written */
};

/* A plain value, nothing to release.  All zero: no limit at any time. */
struct fb_limits {
	struct fb_limit_window windows[FB_LIMIT_WINDOWS_MAX]; /* as written */
	size_t count;
};

/* Errors: FB_ECONFIG, ids E-CFG-TYPE, E-CFG-UNIT, E-CFG-RANGE; the message
 * names the word; *ret is untouched. */
FB_MUST_USE int fb_limits_parse(
    const char *text, struct fb_limits *ret, struct fb_error *err);

/* The text again in its one form; it reads as the same windows. */
void fb_limits_add_text(struct fb_buf *dst, const struct fb_limits *limits);

/* The window that counts on that weekday (0: Monday) at that minute of the
 * day; NULL: none. */
const struct fb_limit_window *fb_limits_at(
    const struct fb_limits *limits, unsigned weekday, unsigned minute);

#endif

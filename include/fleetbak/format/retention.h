/*
 * Which snapshots are kept, in words:
 *
 *	policy  rule { "," rule }
 *	rule    NUMBER unit | "last" NUMBER | unit "within" SPAN
 *	        | "all" "within" SPAN | "all"
 *	unit    "last" "hourly" "daily" "weekly" "monthly" "yearly"
 *
 * "14 daily" counts days that have a snapshot, not days of the calendar;
 * "daily within 30d" is a window that ends at the newest snapshot.
 * Spec: fleetbak.conf(5), "Retention".  Pure.
 */
#ifndef FB_FORMAT_RETENTION_H
#define FB_FORMAT_RETENTION_H

#include <stddef.h>
#include <stdint.h>

#include "fleetbak/base/buf.h"

struct fb_error;

enum fb_retention_unit {
	FB_RETENTION_ALL,
	FB_RETENTION_LAST,
	FB_RETENTION_HOURLY,
	FB_RETENTION_DAILY,
	FB_RETENTION_WEEKLY,
	FB_RETENTION_MONTHLY,
	FB_RETENTION_YEARLY,
};

#define FB_RETENTION_COUNT_MAX 100000
#define FB_RETENTION_SPAN_SIZE 24

struct fb_retention_rule {
	enum fb_retention_unit unit;
	uint32_t count;     /* of a rule with a number, else 0 */
	uint64_t within_ms; /* of a window, else 0 */
	char span[FB_RETENTION_SPAN_SIZE]; /* the window as written: "48h" */
};

/* No rule stands twice: five units in two forms, all, last. */
#define FB_RETENTION_RULES_MAX 12

/* What `min` is when nothing is said. */
#define FB_RETENTION_MIN 2

/* A plain value, nothing to release.  All zero is a policy without rules:
 * everything is kept. */
struct fb_retention {
	struct fb_retention_rule rules[FB_RETENTION_RULES_MAX]; /* as written */
	size_t rule_count;
	uint32_t min; /* whole snapshots that are kept whatever the rules say */
};

/*
 * Read a policy; `min` becomes FB_RETENTION_MIN.
 *
 * Errors: FB_ECONFIG, ids E-CFG-TYPE, E-CFG-REFERENCE, E-CFG-RANGE,
 *         E-CFG-UNIT, E-CFG-DUPLICATE; the message names the word and the
 *         character where it begins, counted from 1; *ret is untouched.
 */
FB_MUST_USE int fb_retention_parse(
    const char *text, struct fb_retention *ret, struct fb_error *err);

/* The text again in its one form: "all within 48h, last 3, 14 daily".  It
 * reads as the same rules. */
void fb_retention_add_text(
    struct fb_buf *dst, const struct fb_retention *policy);

/* "daily", "last". */
const char *fb_retention_unit_name(enum fb_retention_unit unit);

#endif

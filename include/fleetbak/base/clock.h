/*
 * The clocks.  The wall clock is for people and names; spans are measured
 * with the monotonic one, which a test cannot fix and an operator cannot set.
 */
#ifndef FB_BASE_CLOCK_H
#define FB_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "fleetbak/base/attr.h"

struct fb_error;

/* Nanoseconds since 1970-01-01T00:00:00Z; passes the seam. */
int64_t fb_clock_wall_ns(void);

/* Nanoseconds since some fixed point of this boot; never goes back. */
int64_t fb_clock_mono_ns(void);

/* Wait until then, but no longer than a tenth of a second: who waits longer
 * looks in between whether it is to stop. */
void fb_clock_wait(int64_t until_mono_ns);

/* Does this host know the time zone "Europe/Berlin"?  Of a host without time
 * zones nothing can be said: yes. */
bool fb_clock_zone_known(const char *zone);

/*
 * Make `zone` the zone of localtime_r() in this process, until something calls
 * tzset(); what the process starts keeps its own TZ.
 *
 * Errors:  FB_ECONFIG, id E-CFG-REFERENCE: the host does not know it.
 * Threads: while there is only one: it changes the environment for a moment.
 */
FB_MUST_USE int fb_clock_set_zone(const char *zone, struct fb_error *err);

/* The day of the week (0: Monday) and the minute of the day at a time, in the
 * zone of localtime_r().  Threads: any. */
void fb_clock_local(
    int64_t wall_ns, unsigned *ret_weekday, unsigned *ret_minute);

/*
 * What no operator sets: nanoseconds since this boot, asleep or not, and the
 * boot's id, "" where it cannot be told.  Two readings under one id are apart
 * by the time that passed.
 */
#define FB_BOOT_ID_SIZE 37
int64_t fb_clock_boot_ns(void);
void fb_clock_boot_id(char id[FB_BOOT_ID_SIZE]);

/* Clocks of two hosts may be this far apart without anything being wrong. */
#define FB_CLOCK_SLACK_NS (INT64_C(300) * 1000000000)

/* "2026-11-21T01:02:03Z" or, with milliseconds, "2026-11-21T01:02:03.004Z".
 * `text` has room for FB_TIME_SIZE bytes. */
#define FB_TIME_SIZE 32
void fb_time_format(int64_t wall_ns, char text[FB_TIME_SIZE]);
void fb_time_format_ms(int64_t wall_ns, char text[FB_TIME_SIZE]);

/* Parse exactly what the two functions above write.  Errors: FB_ECORRUPT. */
FB_MUST_USE int fb_time_parse(
    const char *text, int64_t *ret_wall_ns, struct fb_error *err);

#endif

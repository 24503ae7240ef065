/*
 * Limits by the time of day, at work: on the wall clock, in the time zone of
 * localtime_r(), which is the fleet's.
 */
#ifndef FB_ENGINE_LIMITS_H
#define FB_ENGINE_LIMITS_H

#include <stdint.h>

#include "fleetbak/format/limits.h"

struct fb_rate;

/* What keeps them; it borrows `limits` for as long as it lives, and looks at
 * the clock again and again.  NULL: there is no limit at any time.  The
 * caller's: fb_rate_free(). */
struct fb_rate *fb_limits_rate(const struct fb_limits *limits);

/* What is in force at a time, and until when. */
struct fb_limits_view {
	const char *rate; /* as written, or "unlimited"; of `limits` */
	int64_t until_ns; /* INT64_MAX: it does not change */
	const char *then; /* NULL: it does not change */
};
void fb_limits_look(const struct fb_limits *limits, int64_t wall_ns,
    struct fb_limits_view *ret_view);

#endif

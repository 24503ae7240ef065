#include "fleetbak/engine/limits.h"

#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/rate.h"

#define MINUTE_NS INT64_C(60000000000)

/* A week, and the day on which it was an hour longer. */
#define AHEAD (8 * FB_LIMIT_DAY)

static const struct fb_limit_window *
window_at(const struct fb_limits *limits, int64_t wall_ns)
{
	unsigned weekday, minute;

	fb_clock_local(wall_ns, &weekday, &minute);
	return fb_limits_at(limits, weekday, minute);
}

static uint64_t
bytes_now(const void *limits)
{
	const struct fb_limit_window *window =
	    window_at(limits, fb_clock_wall_ns());

	return window != NULL ? window->bytes : 0;
}

struct fb_rate *
fb_limits_rate(const struct fb_limits *limits)
{
	const struct fb_limit_window *only = &limits->windows[0];

	if (limits->count == 0)
		return NULL;
	if (limits->count == 1 && only->days == 0x7f && only->from == 0 &&
	    only->to == FB_LIMIT_DAY)
		return fb_rate_new(only->bytes);
	return fb_rate_new_timed(bytes_now, limits);
}

static const char *
rate_of(const struct fb_limit_window *window)
{
	return window != NULL ? window->rate : FB_LIMIT_UNLIMITED;
}

void
fb_limits_look(const struct fb_limits *limits, int64_t wall_ns,
    struct fb_limits_view *ret_view)
{
	int64_t minute = wall_ns / MINUTE_NS * MINUTE_NS;

	*ret_view = (struct fb_limits_view){
		.rate = rate_of(window_at(limits, wall_ns)),
		.until_ns = INT64_MAX,
	};
	for (int i = 0; i < AHEAD; i++) {
		const char *rate;

		minute += MINUTE_NS;
		rate = rate_of(window_at(limits, minute));
		if (strcmp(rate, ret_view->rate) == 0)
			continue;
		ret_view->until_ns = minute;
		ret_view->then = rate;
		return;
	}
}

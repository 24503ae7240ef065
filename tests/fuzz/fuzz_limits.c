/* Limits by the time of day: what is read is written in one form that reads as
 * the same, and says the same at every minute of the week. */
#include "fleetbak/format/limits.h"
#include "fuzz.h"

static uint64_t
at(const struct fb_limits *limits, unsigned day, unsigned minute)
{
	const struct fb_limit_window *window =
	    fb_limits_at(limits, day, minute);

	return window != NULL ? window->bytes : 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	FB_AUTO_BUF struct fb_buf once = { 0 };
	FB_AUTO_BUF struct fb_buf twice = { 0 };
	struct fb_limits limits, again;
	struct fb_error err = { 0 };

	fb_buf_add(&text, data, size);
	if (fb_limits_parse(fb_buf_str(&text), &limits, &err) < 0) {
		must(err.code == FB_ECONFIG && err.msg[0] != '\0');
		return 0;
	}
	must(limits.count > 0 && limits.count <= FB_LIMIT_WINDOWS_MAX);
	fb_limits_add_text(&once, &limits);
	must(fb_limits_parse(fb_buf_str(&once), &again, &err) == FB_OK);
	fb_limits_add_text(&twice, &again);
	must(same_bytes(fb_buf_span(&once), fb_buf_span(&twice)));
	for (unsigned day = 0; day < 7; day++)
		for (unsigned minute = 0; minute < FB_LIMIT_DAY; minute += 10)
			must(at(&limits, day, minute) ==
			    at(&again, day, minute));
	return 0;
}

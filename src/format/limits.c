#include "fleetbak/format/limits.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/text.h"

#define DAYS      7
#define EVERY_DAY 0x7fu
#define WORDS_MAX 3
#define RATE_MIN  1024
#define DIGITS    "0123456789"

static const char *const day_names[DAYS] = { "Mon", "Tue", "Wed", "Thu", "Fri",
	"Sat", "Sun" };

static int
fail_word(
    struct fb_span word, const char *id, const char *why, struct fb_error *err)
{
	(void)fb_fail_id(err, FB_ECONFIG, id, "'%.*s': %s",
	    (int)(word.len < 40 ? word.len : 40),
	    word.len > 0 ? (const char *)word.ptr : "", why);
	return fb_hint(err,
	    "write 20MiB/s, or windows: Mon-Fri 07:00-19:00 20MiB/s, * "
	    "unlimited");
}

/* The next word before a comma or the end; empty: there is none. */
static struct fb_span
next_word(const char **at)
{
	struct fb_span word;

	*at += strspn(*at, " ");
	word.ptr = (const uint8_t *)*at;
	word.len = strcspn(*at, " ,");
	*at += word.len;
	return word;
}

static bool
take_day(const uint8_t *text, unsigned *ret_day)
{
	for (unsigned day = 0; day < DAYS; day++)
		if (strncasecmp((const char *)text, day_names[day], 3) == 0) {
			*ret_day = day;
			return true;
		}
	return false;
}

static int
take_days(struct fb_span word, uint8_t *ret_days, struct fb_error *err)
{
	unsigned first = 0, last;
	bool range = word.len == 7 && word.ptr[3] == '-';

	*ret_days = 0;
	if (word.len == 1 && word.ptr[0] == '*') {
		*ret_days = EVERY_DAY;
		return FB_OK;
	}
	if ((!range && word.len != 3) || !take_day(word.ptr, &first) ||
	    (range && !take_day(word.ptr + 4, &last)))
		return fail_word(word, "E-CFG-TYPE",
		    "not days of the week: write Mon-Fri, Sun or *", err);
	if (!range)
		last = first;
	for (unsigned day = first;; day = (day + 1) % DAYS) {
		*ret_days |= (uint8_t)(1u << day);
		if (day == last)
			return FB_OK;
	}
}

/* "07:30" in minutes, at most 24:00. */
static bool
take_minute(const uint8_t *text, uint16_t *ret_minute)
{
	unsigned hour, minute;

	for (size_t i = 0; i < 5; i++)
		if (i == 2 ? text[i] != ':' : strchr(DIGITS, text[i]) == NULL)
			return false;
	hour = (text[0] - '0') * 10u + (text[1] - '0');
	minute = (text[3] - '0') * 10u + (text[4] - '0');
	*ret_minute = (uint16_t)(hour * 60 + minute);
	return minute < 60 && *ret_minute <= FB_LIMIT_DAY;
}

static int
take_times(
    struct fb_span word, struct fb_limit_window *window, struct fb_error *err)
{
	if (word.len != 11 || word.ptr[5] != '-' ||
	    !take_minute(word.ptr, &window->from) ||
	    !take_minute(word.ptr + 6, &window->to) ||
	    window->from == FB_LIMIT_DAY || window->to == 0)
		return fail_word(word, "E-CFG-TYPE",
		    "not a time of day: write 07:00-19:00, or 22:00-24:00",
		    err);
	if (window->from == window->to)
		return fail_word(word, "E-CFG-RANGE",
		    "ends when it begins: leave it out for the whole day", err);
	return FB_OK;
}

static int
take_limit(
    struct fb_span word, struct fb_limit_window *window, struct fb_error *err)
{
	struct fb_error why;

	if (word.len == 0)
		return fail_word(word, "E-CFG-UNIT", "a limit is missing", err);
	if (word.len >= sizeof(window->rate))
		return fail_word(word, "E-CFG-UNIT", "not a rate", err);
	memcpy(window->rate, word.ptr, word.len);
	window->rate[word.len] = '\0';
	if (strcmp(window->rate, FB_LIMIT_UNLIMITED) == 0)
		return FB_OK;
	if (fb_text_rate(window->rate, &window->bytes, &why) < 0)
		return fail_word(word, "E-CFG-UNIT",
		    "not a rate: write 20MiB/s, 160Mbit/s or unlimited", err);
	if (window->bytes < RATE_MIN)
		return fail_word(
		    word, "E-CFG-RANGE", "must be 1KiB/s at least", err);
	return FB_OK;
}

static int
read_window(
    const char **at, struct fb_limit_window *window, struct fb_error *err)
{
	struct fb_span words[WORDS_MAX + 1];
	size_t count = 0, used = 0;
	int rc = FB_OK;

	*window =
	    (struct fb_limit_window){ .days = EVERY_DAY, .to = FB_LIMIT_DAY };
	while (count <= WORDS_MAX && (words[count] = next_word(at)).len > 0)
		count++;
	if (count == 0)
		return take_limit((struct fb_span){ 0 }, window, err);
	if (count > WORDS_MAX)
		return fail_word(words[WORDS_MAX], "E-CFG-TYPE",
		    "the window ends before this: put a comma between windows",
		    err);
	if (count > 1 && strchr(DIGITS, words[used].ptr[0]) == NULL)
		rc = take_days(words[used++], &window->days, err);
	if (rc == FB_OK && used + 1 < count)
		rc = take_times(words[used++], window, err);
	if (rc == FB_OK && used + 1 < count)
		rc = fail_word(words[used + 1], "E-CFG-TYPE",
		    "days come before times, and times before the limit", err);
	return rc < 0 ? rc : take_limit(words[used], window, err);
}

int
fb_limits_parse(const char *text, struct fb_limits *ret, struct fb_error *err)
{
	struct fb_limits limits = { 0 };

	for (const char *at = text;; at++) {
		int rc = limits.count < FB_LIMIT_WINDOWS_MAX
		    ? read_window(&at, &limits.windows[limits.count++], err)
		    : fb_fail_id(err, FB_ECONFIG, "E-CFG-RANGE",
		          "more than %d windows", FB_LIMIT_WINDOWS_MAX);

		if (rc < 0)
			return rc;
		if (*at == '\0')
			break;
	}
	*ret = limits;
	return FB_OK;
}

/* What was read is one day, or some that follow each other. */
static void
add_days(struct fb_buf *dst, unsigned days)
{
	unsigned first = 0, last;

	if (days == EVERY_DAY)
		return;
	while ((days >> first & 1) == 0 ||
	    (days >> (first + DAYS - 1) % DAYS & 1) != 0)
		first++;
	for (last = first; (days >> (last + 1) % DAYS & 1) != 0;)
		last = (last + 1) % DAYS;
	fb_buf_add_str(dst, day_names[first]);
	if (last != first)
		fb_buf_add_fmt(dst, "-%s", day_names[last]);
	fb_buf_add_str(dst, " ");
}

void
fb_limits_add_text(struct fb_buf *dst, const struct fb_limits *limits)
{
	for (size_t i = 0; i < limits->count; i++) {
		const struct fb_limit_window *window = &limits->windows[i];

		if (i > 0)
			fb_buf_add_str(dst, ", ");
		add_days(dst, window->days);
		if (window->from != 0 || window->to != FB_LIMIT_DAY)
			fb_buf_add_fmt(dst, "%02u:%02u-%02u:%02u ",
			    window->from / 60u, window->from % 60u,
			    window->to / 60u, window->to % 60u);
		fb_buf_add_str(dst, window->rate);
	}
}

static bool
is_in(const struct fb_limit_window *window, unsigned weekday, unsigned minute)
{
	bool today = (window->days >> weekday & 1) != 0;
	bool before = (window->days >> (weekday + DAYS - 1) % DAYS & 1) != 0;

	if (window->from < window->to)
		return today && minute >= window->from && minute < window->to;
	return (today && minute >= window->from) ||
	    (before && minute < window->to);
}

const struct fb_limit_window *
fb_limits_at(const struct fb_limits *limits, unsigned weekday, unsigned minute)
{
	for (size_t i = 0; i < limits->count; i++)
		if (is_in(&limits->windows[i], weekday, minute))
			return &limits->windows[i];
	return NULL;
}

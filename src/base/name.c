#include <stdio.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/base/text.h"

/* What of a wrong name an error shows. */
#define SHOWN_MAX 80

static bool
is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	    (c >= '0' && c <= '9');
}

bool
fb_name_ok(const char *name, size_t len)
{
	if (len < 1 || len > FB_NAME_MAX || name[0] == '.' || name[0] == '-')
		return false;
	for (size_t i = 0; i < len; i++)
		if (!is_alnum(name[i]) && name[i] != '.' && name[i] != '_' &&
		    name[i] != '-')
			return false;
	return true;
}

static void
escape_for_show(const char *text, size_t len, struct fb_buf *shown)
{
	fb_text_add_escaped(shown,
	    (struct fb_span){
	        (const uint8_t *)text, len < SHOWN_MAX ? len : SHOWN_MAX });
	if (len > SHOWN_MAX)
		fb_buf_add_str(shown, "...");
}

int
fb_name_check(
    const char *what, const char *name, size_t len, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf shown = { 0 };

	if (fb_name_ok(name, len))
		return FB_OK;
	escape_for_show(name, len, &shown);
	(void)fb_fail_id(err, FB_ECONFIG, "E-NAME", "%s '%s' is not a name",
	    what, fb_buf_str(&shown));
	return fb_hint(err,
	    "a name is 1 to %d letters, digits, '.', '_' and '-', and begins "
	    "with a letter, a digit or '_'",
	    FB_NAME_MAX);
}

/* Why the path is refused, or NULL. */
static const char *
path_fault(const char *path, size_t len, size_t max)
{
	size_t start = 0;

	if (len == 0)
		return "is empty";
	if (len > max)
		return "is too long";
	if (memchr(path, '\0', len) != NULL)
		return "contains a NUL byte";
	if (path[0] == '/')
		return "is absolute";
	for (size_t i = 0; i <= len; i++) {
		size_t part = i - start;

		if (i < len && path[i] != '/')
			continue;
		if (part == 0)
			return "has an empty part";
		if (path[start] == '.' &&
		    (part == 1 || (part == 2 && path[start + 1] == '.')))
			return "has a '.' or '..' part";
		start = i + 1;
	}
	return NULL;
}

int
fb_path_check_inside(const char *what, const char *path, size_t len, size_t max,
    struct fb_error *err)
{
	const char *fault = path_fault(path, len, max);
	FB_AUTO_BUF struct fb_buf shown = { 0 };

	if (fault == NULL)
		return FB_OK;
	escape_for_show(path, len, &shown);
	return fb_fail_id(err, FB_ECONFIG, "E-PATH", "%s '%s' %s", what,
	    fb_buf_str(&shown), fault);
}

bool
fb_run_id_ok(const char *id, size_t len)
{
	struct fb_error err;
	char time[FB_TIME_SIZE];
	int64_t ns;

	if (len != FB_RUN_ID_LEN || id[8] != '-' || id[18] != '-')
		return false;
	for (size_t i = 19; i < len; i++)
		if (!(id[i] >= '0' && id[i] <= '9') &&
		    !(id[i] >= 'a' && id[i] <= 'f'))
			return false;
	(void)snprintf(time, sizeof(time),
	    "%.4s-%.2s-%.2sT%.2s:%.2s:%.2s.%.3sZ", id, id + 4, id + 6, id + 9,
	    id + 11, id + 13, id + 15);
	return fb_time_parse(time, &ns, &err) == FB_OK;
}

static size_t
min3(size_t a, size_t b, size_t c)
{
	size_t least = a < b ? a : b;

	return least < c ? least : c;
}

/* Optimal string alignment distance of two strings of at most FB_NAME_MAX
 * bytes: insertions, deletions, changes, and swaps of neighbours. */
static size_t
distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
	size_t rows[3][FB_NAME_MAX + 1];
	size_t *before = rows[0], *last = rows[1], *now = rows[2];

	for (size_t j = 0; j <= b_len; j++)
		last[j] = j;
	for (size_t i = 1; i <= a_len; i++) {
		size_t *oldest = before;

		now[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			now[j] = min3(last[j] + 1, now[j - 1] + 1,
			    last[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] &&
			    a[i - 2] == b[j - 1] && before[j - 2] + 1 < now[j])
				now[j] = before[j - 2] + 1;
		}
		before = last;
		last = now;
		now = oldest;
	}
	return last[b_len];
}

const char *
fb_name_nearest(const char *wrong, const char *const *names, size_t count)
{
	size_t len = strlen(wrong);
	size_t best = len / 3 + 1;
	const char *nearest = "";

	if (len > FB_NAME_MAX)
		return nearest;
	for (size_t i = 0; i < count; i++) {
		size_t name_len = strlen(names[i]);
		size_t far;

		if (name_len > FB_NAME_MAX)
			continue;
		far = distance(wrong, len, names[i], name_len);
		if (far < best) {
			best = far;
			nearest = names[i];
		}
	}
	return nearest;
}

char *
fb_path_join(const char *dir, const char *name)
{
	size_t len = strlen(dir);

	if (name[0] == '/' || len == 0)
		return fb_strdup(name);
	return fb_format("%s%s%s", dir, dir[len - 1] == '/' ? "" : "/", name);
}

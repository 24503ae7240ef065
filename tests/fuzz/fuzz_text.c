/* Text of base: numbers, sizes, spans, times, names, hex and escapes.  What
 * has one form is written as it was read; any bytes survive the escape. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/base/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct fb_error err;

static void
must(bool holds)
{
	if (!holds)
		abort();
}

static void
try_numbers(struct fb_span input, const char *text)
{
	FB_AUTO_BUF struct fb_buf shown = { 0 };
	char again[32];
	uint64_t value;

	if (fb_text_u64(input, UINT64_MAX, &value, &err) == FB_OK) {
		(void)snprintf(
		    again, sizeof(again), "%llu", (unsigned long long)value);
		must(strlen(again) == input.len &&
		    memcmp(again, input.ptr, input.len) == 0);
	}
	if (fb_text_size(text, &value, &err) == FB_OK)
		fb_text_add_size(&shown, value);
	if (fb_text_span(text, &value, &err) == FB_OK)
		fb_text_add_span(&shown, value);
}

static void
try_time(const char *text)
{
	char again[FB_TIME_SIZE];
	int64_t ns;

	if (fb_time_parse(text, &ns, &err) < 0)
		return;
	if (strchr(text, '.') != NULL)
		fb_time_format_ms(ns, again);
	else
		fb_time_format(ns, again);
	must(strcmp(text, again) == 0);
}

static void
try_escapes(struct fb_span input)
{
	FB_AUTO_BUF struct fb_buf out = { 0 };
	FB_AUTO_BUF struct fb_buf back = { 0 };
	FB_AUTO_BUF struct fb_buf again = { 0 };

	fb_text_add_escaped(&out, input);
	must(fb_text_unescape(fb_buf_span(&out), &back, &err) == FB_OK);
	must(back.len == input.len &&
	    (back.len == 0 || memcmp(back.data, input.ptr, back.len) == 0));

	fb_buf_clear(&back);
	if (fb_text_unescape(input, &back, &err) == FB_OK) {
		fb_text_add_escaped(&again, fb_buf_span(&back));
		must(again.len == input.len &&
		    (again.len == 0 ||
		        memcmp(again.data, input.ptr, again.len) == 0));
	}
}

static void
try_names(struct fb_span input, const char *text)
{
	static const char *const names[] = { "download", "restore", "list" };
	size_t len = strlen(text);
	uint8_t bytes[4];
	char hex[9];

	(void)fb_name_nearest(text, names, FB_COUNT(names));
	(void)fb_run_id_ok(text, len);
	if (fb_path_check_inside("path", (const char *)input.ptr, input.len,
	        4096, &err) == FB_OK)
		must(input.ptr[0] != '/' &&
		    memmem(input.ptr, input.len, "/../", 4) == NULL);
	if (fb_name_check("name", (const char *)input.ptr, input.len, &err) ==
	    FB_OK)
		must(fb_path_check_inside(
		         "name", text, len, FB_NAME_MAX, &err) == FB_OK);
	if (fb_text_unhex(input, bytes, sizeof(bytes), &err) == FB_OK) {
		fb_text_hex(bytes, sizeof(bytes), hex);
		must(memcmp(hex, input.ptr, 8) == 0);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	FB_AUTO_FREE char *text = fb_alloc(size + 1, 1);
	struct fb_span input = { data, size };

	if (size > 0)
		memcpy(text, data, size);
	try_numbers(input, text);
	try_time(text);
	try_escapes(input);
	try_names(input, text);
	return 0;
}

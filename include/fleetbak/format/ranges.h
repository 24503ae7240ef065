/*
 * Ranges of a disk that may have changed, as a command tells them:
 *
 *	token <text>
 *	<offset> <length>
 *	...
 *
 * decimal bytes, one line each, in any order; "all" instead of ranges when it
 * cannot tell.  The text is printable, without spaces.
 * Spec: fleetbak-driver(7), "Change maps".
 */
#ifndef FB_FORMAT_RANGES_H
#define FB_FORMAT_RANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fleetbak/base/buf.h"

struct fb_error;

#define FB_RANGES_TOKEN_MAX 128
#define FB_RANGES_TEXT_MAX  (16u << 20)

struct fb_range {
	uint64_t offset, end;
};

/* Sorted, apart from each other, inside the disk; all-zero is none. */
struct fb_ranges {
	struct fb_range *items;
	size_t count;
	bool all; /* it is not known what changed */
};
void fb_ranges_release(struct fb_ranges *ranges);
#define FB_AUTO_RANGES FB_CLEANUP(fb_ranges_release)

/* Errors: FB_EPROTO naming the line. */
FB_MUST_USE int fb_ranges_parse(struct fb_span text, uint64_t size,
    char ret_token[FB_RANGES_TOKEN_MAX + 1], struct fb_ranges *ret_ranges,
    struct fb_error *err);

/* Append one that begins behind all that are there.  When there are `max`, the
 * last one grows over what lies between. */
void fb_ranges_add(
    struct fb_ranges *ranges, uint64_t offset, uint64_t end, size_t max);

/* Does [offset, end) share a byte with one of them? */
bool fb_ranges_touch(
    const struct fb_ranges *ranges, uint64_t offset, uint64_t end);
/* The first place at or after `offset` that is in a range (SIZE: none), and
 * where that range ends. */
void fb_ranges_next(const struct fb_ranges *ranges, uint64_t offset,
    uint64_t size, uint64_t *ret_start, uint64_t *ret_end);

#endif

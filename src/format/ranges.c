#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/format/ranges.h"

void
fb_ranges_release(struct fb_ranges *ranges)
{
	free(ranges->items);
	*ranges = (struct fb_ranges){ 0 };
}

/* One decimal number at the beginning; false: there is none. */
static bool
take_number(struct fb_span *line, uint64_t *ret_value)
{
	uint64_t value = 0;
	size_t len = 0;

	for (; len < line->len && line->ptr[len] >= '0' &&
	     line->ptr[len] <= '9'; len++)
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(
		        value, (uint64_t)(line->ptr[len] - '0'), &value))
			return false;
	line->ptr += len;
	line->len -= len;
	*ret_value = value;
	return len > 0;
}

static bool
take_range(struct fb_span line, uint64_t size, struct fb_range *ret_range)
{
	uint64_t length;

	if (!take_number(&line, &ret_range->offset) || line.len < 2 ||
	    line.ptr[0] != ' ')
		return false;
	line.ptr++;
	line.len--;
	if (!take_number(&line, &length) || line.len > 0 ||
	    ret_range->offset > size || length > size - ret_range->offset)
		return false;
	ret_range->end = ret_range->offset + length;
	return true;
}

static bool
take_token(struct fb_span line, char ret_token[FB_RANGES_TOKEN_MAX + 1])
{
	static const char word[] = "token ";
	size_t len = sizeof(word) - 1;

	if (line.len <= len || line.len - len > FB_RANGES_TOKEN_MAX ||
	    memcmp(line.ptr, word, len) != 0)
		return false;
	for (size_t i = len; i < line.len; i++)
		if (line.ptr[i] < 0x21 || line.ptr[i] > 0x7e)
			return false;
	memcpy(ret_token, line.ptr + len, line.len - len);
	ret_token[line.len - len] = '\0';
	return true;
}

static int
compare_ranges(const void *a, const void *b)
{
	const struct fb_range *x = a, *y = b;

	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Sort, join what touches, drop what is empty. */
static void
settle(struct fb_ranges *ranges)
{
	size_t kept = 0;

	if (ranges->count > 1)
		qsort(ranges->items, ranges->count, sizeof(*ranges->items),
		    compare_ranges);
	for (size_t i = 0; i < ranges->count; i++) {
		const struct fb_range *next = &ranges->items[i];

		if (next->offset == next->end)
			continue;
		if (kept > 0 && next->offset <= ranges->items[kept - 1].end) {
			if (next->end > ranges->items[kept - 1].end)
				ranges->items[kept - 1].end = next->end;
		} else {
			ranges->items[kept++] = *next;
		}
	}
	ranges->count = kept;
}

static bool
take_line(struct fb_span line, uint64_t number, uint64_t size,
    char ret_token[FB_RANGES_TOKEN_MAX + 1], struct fb_ranges *ranges,
    size_t *room)
{
	if (number == 1)
		return take_token(line, ret_token);
	if (line.len == 3 && memcmp(line.ptr, "all", 3) == 0) {
		ranges->all = true;
		return true;
	}
	if (ranges->count == *room) {
		*room = *room * 2 + 64;
		ranges->items = fb_realloc(
		    ranges->items, *room, sizeof(*ranges->items));
	}
	return take_range(line, size, &ranges->items[ranges->count++]);
}

int
fb_ranges_parse(struct fb_span text, uint64_t size,
    char ret_token[FB_RANGES_TOKEN_MAX + 1], struct fb_ranges *ret_ranges,
    struct fb_error *err)
{
	FB_AUTO_RANGES struct fb_ranges ranges = { 0 };
	uint64_t number = 0;
	size_t room = 0;

	while (text.len > 0) {
		const uint8_t *end = memchr(text.ptr, '\n', text.len);
		struct fb_span line = { text.ptr,
			end != NULL ? (size_t)(end - text.ptr) : text.len };

		if (end == NULL ||
		    !take_line(line, ++number, size, ret_token, &ranges,
		        &room))
			return fb_fail(err, FB_EPROTO,
			    "line %" PRIu64 " is no token, no range of the disk "
			    "and not 'all'",
			    end == NULL ? number + 1 : number);
		text.ptr = end + 1;
		text.len -= line.len + 1;
	}
	if (number == 0)
		return fb_fail(err, FB_EPROTO, "it says nothing");
	settle(&ranges);
	*ret_ranges = ranges;
	ranges = (struct fb_ranges){ 0 };
	return FB_OK;
}

void
fb_ranges_add(
    struct fb_ranges *ranges, uint64_t offset, uint64_t end, size_t max)
{
	size_t count = ranges->count;

	if (count > 0 &&
	    (count >= max || offset <= ranges->items[count - 1].end)) {
		ranges->items[count - 1].end = end;
		return;
	}
	if ((count & (count - 1)) == 0) /* full at each power of two */
		ranges->items = fb_realloc(ranges->items,
		    count > 0 ? count * 2 : 1, sizeof(*ranges->items));
	ranges->items[ranges->count++] = (struct fb_range){ offset, end };
}

void
fb_ranges_next(const struct fb_ranges *ranges, uint64_t offset, uint64_t size,
    uint64_t *ret_start, uint64_t *ret_end)
{
	size_t low = 0, high = ranges->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (ranges->items[middle].end <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	*ret_start = *ret_end = size;
	if (low == ranges->count)
		return;
	*ret_end = ranges->items[low].end;
	*ret_start = ranges->items[low].offset > offset
	    ? ranges->items[low].offset
	    : offset;
}

bool
fb_ranges_touch(const struct fb_ranges *ranges, uint64_t offset, uint64_t end)
{
	uint64_t start, until;

	fb_ranges_next(ranges, offset, end, &start, &until);
	return start < end;
}

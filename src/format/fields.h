/*
 * Lines of words for the text formats: each word is taken once, strictly,
 * from left to right.  Private to src/format.
 */
#ifndef FORMAT_FIELDS_H
#define FORMAT_FIELDS_H

#include <stdbool.h>
#include <string.h>

#include "fleetbak/base/buf.h"
#include "fleetbak/crypto/digest.h"

/* Take the bytes up to `end` (not included) and `end` itself. */
static inline bool
take_until(struct fb_span *rest, uint8_t end, struct fb_span *ret_part)
{
	const uint8_t *at =
	    rest->len > 0 ? memchr(rest->ptr, end, rest->len) : NULL;

	if (at == NULL)
		return false;
	*ret_part = (struct fb_span){ rest->ptr, (size_t)(at - rest->ptr) };
	rest->len -= ret_part->len + 1;
	rest->ptr = at + 1;
	return true;
}

static inline bool
take_literal(struct fb_span *rest, const char *literal)
{
	size_t len = strlen(literal);

	if (rest->len < len || memcmp(rest->ptr, literal, len) != 0)
		return false;
	rest->ptr += len;
	rest->len -= len;
	return true;
}

/* A decimal number up to `max`, without sign or leading zero. */
static inline bool
take_number(struct fb_span *rest, uint64_t max, uint64_t *ret_value)
{
	uint64_t value = 0;
	size_t i = 0;

	for (; i < rest->len && rest->ptr[i] >= '0' && rest->ptr[i] <= '9';
	     i++) {
		uint64_t digit = (uint64_t)(rest->ptr[i] - '0');

		if (value > (max - digit) / 10 || digit > max ||
		    (i > 0 && value == 0))
			return false;
		value = value * 10 + digit;
	}
	if (i == 0)
		return false;
	rest->ptr += i;
	rest->len -= i;
	*ret_value = value;
	return true;
}

static inline bool
take_u32(struct fb_span *rest, uint64_t max, uint32_t *ret_value)
{
	uint64_t value;

	if (!take_number(rest, max < UINT32_MAX ? max : UINT32_MAX, &value))
		return false;
	*ret_value = (uint32_t)value;
	return true;
}

static inline int
hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* 2*len lower-case hex digits. */
static inline bool
take_hex(struct fb_span *rest, uint8_t *bytes, size_t len)
{
	if (rest->len < 2 * len)
		return false;
	for (size_t i = 0; i < len; i++) {
		int high = hex_digit(rest->ptr[2 * i]);
		int low = hex_digit(rest->ptr[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		bytes[i] = (uint8_t)(high << 4 | low);
	}
	rest->ptr += 2 * len;
	rest->len -= 2 * len;
	return true;
}

static inline void
put_hex(struct fb_buf *dst, const uint8_t *bytes, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	char text[2 * FB_DIGEST_LEN];

	for (size_t i = 0; i < len; i++) {
		text[2 * i] = digits[bytes[i] >> 4];
		text[2 * i + 1] = digits[bytes[i] & 15];
	}
	fb_buf_add(dst, text, 2 * len);
}

#endif

#include <stdbool.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/text.h"

/* More digits after the point than anybody means. */
#define FRACTION_DIGITS_MAX 6

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit size_units[] = {
	{ "", 1 },
	{ "B", 1 },
	{ "KiB", UINT64_C(1) << 10 },
	{ "MiB", UINT64_C(1) << 20 },
	{ "GiB", UINT64_C(1) << 30 },
	{ "TiB", UINT64_C(1) << 40 },
	{ "PiB", UINT64_C(1) << 50 },
	{ "EiB", UINT64_C(1) << 60 },
	{ "kB", 1000 },
	{ "KB", 1000 },
	{ "MB", 1000000 },
	{ "GB", 1000000000 },
	{ "TB", UINT64_C(1000000000000) },
	{ "PB", UINT64_C(1000000000000000) },
	{ "EB", UINT64_C(1000000000000000000) },
};

#define SECOND UINT64_C(1000)
#define DAY    (86400 * SECOND)

static const struct unit span_units[] = {
	{ "ms", 1 },
	{ "s", SECOND },
	{ "min", 60 * SECOND },
	{ "h", 3600 * SECOND },
	{ "d", DAY },
	{ "w", 7 * DAY },
	{ "mo", 30 * DAY },
	{ "y", 365 * DAY },
};

static const struct unit *
find_unit(const struct unit *units, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(units[i].name, name) == 0)
			return &units[i];
	return NULL;
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Eat digits, no leading zero but "0"; false when there are none, or they
 * say more than 64 bits. */
static bool
eat_u64(const char **text, uint64_t *ret_value)
{
	const char *p = *text;
	uint64_t value = 0;

	if (!is_digit(*p) || (p[0] == '0' && is_digit(p[1])))
		return false;
	for (; is_digit(*p); p++)
		if (__builtin_mul_overflow(value, 10u, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
			return false;
	*text = p;
	*ret_value = value;
	return true;
}

int
fb_text_u64(struct fb_span text, uint64_t max, uint64_t *ret_value,
    struct fb_error *err)
{
	uint64_t value = 0;
	bool fits = text.len > 0 && (text.len == 1 || text.ptr[0] != '0');

	for (size_t i = 0; fits && i < text.len; i++) {
		fits = is_digit((char)text.ptr[i]) &&
		    !__builtin_mul_overflow(value, 10u, &value) &&
		    !__builtin_add_overflow(
		        value, (uint64_t)(text.ptr[i] - '0'), &value);
	}
	if (!fits || value > max)
		return fb_fail(err, FB_ECONFIG,
		    "'%.*s' is not a number from 0 to %llu",
		    text.len < 40 ? (int)text.len : 40,
		    text.len > 0 ? (const char *)text.ptr : "",
		    (unsigned long long)max);
	*ret_value = value;
	return FB_OK;
}

int
fb_text_amount(
    const char *text, uint64_t *ret_billionths, struct fb_error *err)
{
	size_t whole = strspn(text, "0123456789");
	const char *rest = text + whole;
	uint64_t value = 0, part = 100000000;
	struct fb_error ignored = { 0 };
	bool fits = fb_text_u64(
	                (struct fb_span){ (const uint8_t *)text, whole },
	                1000000, &value, &ignored) == FB_OK;

	value *= 1000000000;
	if (fits && *rest == '.') {
		fits = is_digit(*++rest);
		for (; is_digit(*rest) && part > 0; rest++, part /= 10)
			value += (uint64_t)(*rest - '0') * part;
	}
	if (!fits || *rest != '\0')
		return fb_fail(err, FB_ECONFIG,
		    "'%.40s' is no amount: write 0.005, with at most 9 digits "
		    "behind the point", text);
	*ret_billionths = value;
	return FB_OK;
}

static int
bad_size(const char *text, const char *why, struct fb_error *err)
{
	(void)fb_fail(err, FB_ECONFIG, "size '%.40s' %s", text, why);
	return fb_hint(err, "write sizes like 512, 64KiB, 1.5GiB or 10MB");
}

int
fb_text_size(const char *text, uint64_t *ret_bytes, struct fb_error *err)
{
	uint64_t whole, fraction = 0, scale = 1, bytes;
	const char *p = text;
	const struct unit *unit;

	if (!eat_u64(&p, &whole))
		return bad_size(text, "is not a number with a unit", err);
	if (*p == '.') {
		size_t digits = strspn(++p, "0123456789");

		if (digits == 0 || digits > FRACTION_DIGITS_MAX)
			return bad_size(text, "has a strange fraction", err);
		for (; digits > 0; digits--, p++) {
			fraction = fraction * 10 + (uint64_t)(*p - '0');
			scale *= 10;
		}
	}
	if (*p != '\0' && p[1] == '\0' && strchr("KMGTPEkmgtpe", *p) != NULL)
		return bad_size(text, "is ambiguous: KiB or kB?", err);
	unit = find_unit(size_units, FB_COUNT(size_units), p);
	if (unit == NULL)
		return bad_size(text, "has an unknown unit", err);
	if (scale > 1 && unit->factor == 1)
		return bad_size(text, "has a fraction of a byte", err);

	if (__builtin_mul_overflow(whole, unit->factor, &bytes) ||
	    __builtin_add_overflow(bytes,
	        unit->factor / scale * fraction +
	            unit->factor % scale * fraction / scale,
	        &bytes))
		return bad_size(text, "is too large", err);
	*ret_bytes = bytes;
	return FB_OK;
}

static int
bad_rate(const char *text, const char *why, struct fb_error *err)
{
	(void)fb_fail(err, FB_ECONFIG, "rate '%.40s' %s", text, why);
	return fb_hint(err, "write 20MiB/s, or 160Mbit/s");
}

int
fb_text_rate(const char *text, uint64_t *ret_bytes, struct fb_error *err)
{
	static const char each_second[] = "/s", bit[] = "bit";
	char size[48];
	size_t len = strlen(text);
	uint64_t bytes;
	bool bits;

	if (len >= sizeof(size) || len < sizeof(each_second) ||
	    strcmp(text + len - strlen(each_second), each_second) != 0)
		return bad_rate(text, "is not so much a second", err);
	len -= strlen(each_second);
	memcpy(size, text, len);
	size[len] = '\0';
	if (is_digit(size[len - 1]))
		return bad_rate(text, "has no unit", err);
	bits = len > strlen(bit) &&
	    strcmp(size + len - strlen(bit), bit) == 0;
	if (bits) {
		len -= strlen(bit);
		memcpy(size + len, "B", sizeof("B"));
	}
	if (fb_text_size(size, &bytes, err) < 0)
		return bad_rate(text, "has an unknown unit or number", err);
	if (bits)
		bytes /= 8;
	if (bytes == 0)
		return bad_rate(text, "lets nothing through", err);
	*ret_bytes = bytes;
	return FB_OK;
}

static int
bad_span(const char *text, const char *why, struct fb_error *err)
{
	(void)fb_fail(err, FB_ECONFIG, "time span '%.40s' %s", text, why);
	return fb_hint(
	    err, "write spans like 250ms, 30s, 5min, 26h, 7d, 2w, 1mo or 1y");
}

int
fb_text_span(const char *text, uint64_t *ret_ms, struct fb_error *err)
{
	const struct unit *unit;
	const char *p = text;
	uint64_t value, ms;

	if (!eat_u64(&p, &value))
		return bad_span(text, "is not a number with a unit", err);
	if (*p == '\0')
		return bad_span(text, "has no unit", err);
	if (strcmp(p, "m") == 0)
		return bad_span(text, "is ambiguous: min or mo?", err);
	unit = find_unit(span_units, FB_COUNT(span_units), p);
	if (unit == NULL)
		return bad_span(text, "has an unknown unit", err);
	if (__builtin_mul_overflow(value, unit->factor, &ms))
		return bad_span(text, "is too long", err);
	*ret_ms = ms;
	return FB_OK;
}

/* bytes / unit in thousandths, for less than 2^54 bytes. */
static uint64_t
thousandths_of(uint64_t bytes, uint64_t unit)
{
	return bytes / unit * 1000 + bytes % unit * 1000 / unit;
}

void
fb_text_add_size(struct fb_buf *dst, uint64_t bytes)
{
	static const char prefixes[] = "KMGTPE";
	const char *prefix = prefixes;
	uint64_t unit = 1024, n;

	if (bytes < 1024) {
		fb_buf_add_fmt(dst, "%u B", (unsigned)bytes);
		return;
	}
	if (bytes >> 54 != 0) { /* nobody sees the last ten bits */
		bytes >>= 10;
		prefix++;
	}
	/* 1023.6 KiB would be rounded to 1024 KiB: that is 1.00 MiB. */
	while ((n = thousandths_of(bytes, unit)) >= 1023500) {
		unit *= 1024;
		prefix++;
	}
	if (n < 9995)
		fb_buf_add_fmt(dst, "%u.%02u", (unsigned)(n + 5) / 1000,
		    (unsigned)(n + 5) % 1000 / 10);
	else if (n < 99950)
		fb_buf_add_fmt(dst, "%u.%u", (unsigned)(n + 50) / 1000,
		    (unsigned)(n + 50) % 1000 / 100);
	else
		fb_buf_add_fmt(dst, "%u", (unsigned)(n + 500) / 1000);
	fb_buf_add_fmt(dst, " %ciB", *prefix);
}

static void
add_two(struct fb_buf *dst, uint64_t a, const char *a_unit, uint64_t b,
    const char *b_unit)
{
	fb_buf_add_fmt(dst, "%llu %s", (unsigned long long)a, a_unit);
	if (b != 0)
		fb_buf_add_fmt(dst, " %llu %s", (unsigned long long)b, b_unit);
}

void
fb_text_add_span(struct fb_buf *dst, uint64_t ms)
{
	uint64_t s = ms / SECOND;

	if (ms < SECOND)
		add_two(dst, ms, "ms", 0, "");
	else if (ms < 10 * SECOND && ms % SECOND >= 100)
		fb_buf_add_fmt(
		    dst, "%u.%u s", (unsigned)s, (unsigned)(ms % SECOND) / 100);
	else if (s < 60)
		add_two(dst, s, "s", 0, "");
	else if (s < 3600)
		add_two(dst, s / 60, "min", s % 60, "s");
	else if (s < 86400)
		add_two(dst, s / 3600, "h", s / 60 % 60, "min");
	else
		add_two(dst, s / 86400, "d", s / 3600 % 24, "h");
}

static const char hex_digits[] = "0123456789abcdef";

static bool
is_plain(uint8_t byte)
{
	return byte > ' ' && byte < 0x7f && byte != '%' && byte != '"';
}

void
fb_text_add_escaped(struct fb_buf *dst, struct fb_span bytes)
{
	for (size_t i = 0; i < bytes.len; i++) {
		char escape[3] = { '%', hex_digits[bytes.ptr[i] >> 4],
			hex_digits[bytes.ptr[i] & 15] };

		if (is_plain(bytes.ptr[i]))
			fb_buf_add(dst, &bytes.ptr[i], 1);
		else
			fb_buf_add(dst, escape, sizeof(escape));
	}
}

/* The value of a lower-case hex digit, or -1. */
static int
hex_value(uint8_t digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	if (digit >= 'a' && digit <= 'f')
		return digit - 'a' + 10;
	return -1;
}

int
fb_text_unescape(struct fb_span text, struct fb_buf *dst, struct fb_error *err)
{
	for (size_t i = 0; i < text.len; i++) {
		uint8_t byte = text.ptr[i];
		int high, low;

		if (byte == '%') {
			high =
			    i + 2 < text.len ? hex_value(text.ptr[i + 1]) : -1;
			low =
			    i + 2 < text.len ? hex_value(text.ptr[i + 2]) : -1;
			if (high < 0 || low < 0)
				return fb_fail(err, FB_ECORRUPT,
				    "broken escape at byte %zu", i);
			byte = (uint8_t)(high * 16 + low);
			if (is_plain(byte))
				return fb_fail(err, FB_ECORRUPT,
				    "needless escape at byte %zu", i);
			i += 2;
		} else if (!is_plain(byte)) {
			return fb_fail(
			    err, FB_ECORRUPT, "byte %zu is not escaped", i);
		}
		fb_buf_add(dst, &byte, 1);
	}
	return FB_OK;
}

void
fb_text_hex(const uint8_t *bytes, size_t len, char *text)
{
	for (size_t i = 0; i < len; i++) {
		text[2 * i] = hex_digits[bytes[i] >> 4];
		text[2 * i + 1] = hex_digits[bytes[i] & 15];
	}
	text[2 * len] = '\0';
}

int
fb_text_unhex(
    struct fb_span text, uint8_t *bytes, size_t len, struct fb_error *err)
{
	if (text.len != 2 * len)
		return fb_fail(err, FB_ECORRUPT,
		    "%zu characters where %zu hex digits belong", text.len,
		    2 * len);
	for (size_t i = 0; i < len; i++) {
		int high = hex_value(text.ptr[2 * i]);
		int low = hex_value(text.ptr[2 * i + 1]);

		if (high < 0 || low < 0)
			return fb_fail(err, FB_ECORRUPT,
			    "not a lower-case hex digit at byte %zu", 2 * i);
		bytes[i] = (uint8_t)(high * 16 + low);
	}
	return FB_OK;
}

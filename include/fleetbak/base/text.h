/*
 * Numbers, sizes, spans and escapes as text.  Pure.
 */
#ifndef FB_BASE_TEXT_H
#define FB_BASE_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "fleetbak/base/buf.h"

struct fb_error;

/* Decimal digits only, no sign, no leading zero but "0", at most `max`.
 * Errors: FB_ECONFIG (the caller wraps with what and where). */
FB_MUST_USE int fb_text_u64(struct fb_span text, uint64_t max,
    uint64_t *ret_value, struct fb_error *err);

/* Bytes: "512", "64KiB", "1.5GiB", "10MB"; a bare K, M or G is refused as
 * ambiguous.  Parts of a byte are dropped.  Errors: FB_ECONFIG. */
FB_MUST_USE int fb_text_size(
    const char *text, uint64_t *ret_bytes, struct fb_error *err);

/* Bytes a second: a size with its unit and "/s", "20MiB/s", or bits,
 * "160Mbit/s".  Never 0.  Errors: FB_ECONFIG. */
FB_MUST_USE int fb_text_rate(
    const char *text, uint64_t *ret_bytes, struct fb_error *err);

/* Spans: "250ms", "30s", "5min", "26h", "7d", "2w", "1mo", "1y"; a bare "m"
 * and a number without a unit are refused; a month is 30 days, a year 365.
 * Errors: FB_ECONFIG. */
FB_MUST_USE int fb_text_span(
    const char *text, uint64_t *ret_ms, struct fb_error *err);

/* An amount of money, "0.005", in billionths: at most 9 digits behind the
 * point, and at most 1,000,000 in all.  Errors: FB_ECONFIG. */
FB_MUST_USE int fb_text_amount(
    const char *text, uint64_t *ret_billionths, struct fb_error *err);

/* "1.50 GiB", three digits (four from 1000 to 1023); "250 ms", "4.2 s",
 * "4 min 27 s", "3 h 5 min", "2 d 4 h". */
void fb_text_add_size(struct fb_buf *dst, uint64_t bytes);
void fb_text_add_span(struct fb_buf *dst, uint64_t ms);

/* Percent-escape ("%0a", lower-case hex) everything but printable ASCII
 * without space, '%' and '"'; unescape accepts exactly what escape writes.
 * Errors: FB_ECORRUPT. */
void fb_text_add_escaped(struct fb_buf *dst, struct fb_span bytes);
FB_MUST_USE int fb_text_unescape(
    struct fb_span text, struct fb_buf *dst, struct fb_error *err);

/* Lower-case hex; `text` has room for 2*len+1.  Parse wants exactly 2*len
 * lower-case digits.  Errors: FB_ECORRUPT. */
void fb_text_hex(const uint8_t *bytes, size_t len, char *text);
FB_MUST_USE int fb_text_unhex(
    struct fb_span text, uint8_t *bytes, size_t len, struct fb_error *err);

#endif

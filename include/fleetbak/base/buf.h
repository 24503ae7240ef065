/*
 * A growing byte buffer, and a borrowed view of bytes.
 *
 * All-zero is an empty buffer.  `data` may be NULL while `len` is 0.  One NUL
 * always follows the bytes, outside `len`, so fb_buf_str() is a C string
 * whenever the bytes hold no NUL themselves.
 */
#ifndef FB_BASE_BUF_H
#define FB_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

#include "fleetbak/base/attr.h"

struct fb_buf {
	uint8_t *data;
	size_t len; /* bytes in use */
	size_t cap; /* bytes allocated, the NUL included */
};

struct fb_error;

/* Bytes owned by somebody else; valid as long as their owner says. */
struct fb_span {
	const uint8_t *ptr;
	size_t len;
};

#define FB_AUTO_BUF FB_CLEANUP(fb_buf_release)

void fb_buf_add(struct fb_buf *buf, const void *bytes, size_t len);
void fb_buf_add_str(struct fb_buf *buf, const char *str);
void fb_buf_add_fmt(struct fb_buf *buf, const char *fmt, ...) FB_PRINTF(2, 3);
void fb_buf_add_le16(struct fb_buf *buf, uint16_t value);
void fb_buf_add_le32(struct fb_buf *buf, uint32_t value);
void fb_buf_add_le64(struct fb_buf *buf, uint64_t value);

/* Make room for `len` more bytes and return where they go. */
uint8_t *fb_buf_reserve(struct fb_buf *buf, size_t len);

/* The same for a length that came from outside: that there is no memory for
 * it is an error then (FB_ESYS), not our end.  The room is at data + len. */
FB_MUST_USE int fb_buf_reserve_or_fail(
    struct fb_buf *buf, size_t len, struct fb_error *err);

/* Empty the buffer but keep its memory for reuse. */
void fb_buf_clear(struct fb_buf *buf);

/* Free the memory; the buffer is as good as new. */
void fb_buf_release(struct fb_buf *buf);

/* Hand the bytes (and their NUL) to the caller, who frees them. */
FB_MUST_USE uint8_t *fb_buf_steal(struct fb_buf *buf);

static inline const char *
fb_buf_str(const struct fb_buf *buf)
{
	return buf->data ? (const char *)buf->data : "";
}

static inline struct fb_span
fb_buf_span(const struct fb_buf *buf)
{
	return (struct fb_span){ buf->data, buf->len };
}

#endif

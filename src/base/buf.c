#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/buf.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/seam.h"

#define BUF_CAP_MIN 64

/* The size that it grows to when `len` more bytes come. */
static size_t
grown(const struct fb_buf *buf, size_t len)
{
	size_t need = buf->len + len + 1;
	size_t cap = buf->cap ? buf->cap : BUF_CAP_MIN;

	if (need <= len) /* the sum wrapped round */
		need = SIZE_MAX;
	while (cap < need)
		cap = cap > SIZE_MAX / 2 ? need : cap * 2;
	return cap;
}

int
fb_buf_reserve_or_fail(struct fb_buf *buf, size_t len, struct fb_error *err)
{
	size_t cap = grown(buf, len);
	uint8_t *data;

	if (cap == buf->cap)
		return FB_OK;
	data = fb_seam_fails(FB_STEP_ALLOC, "buffer") ? NULL
	                                              : realloc(buf->data, cap);
	if (data == NULL)
		return fb_fail_sys(err, "cannot get memory for %zu bytes", cap);
	buf->data = data;
	buf->cap = cap;
	buf->data[buf->len] = '\0';
	return FB_OK;
}

uint8_t *
fb_buf_reserve(struct fb_buf *buf, size_t len)
{
	size_t cap = grown(buf, len);

	if (cap != buf->cap) {
		buf->data = fb_realloc(buf->data, cap, 1);
		buf->cap = cap;
		buf->data[buf->len] = '\0';
	}
	return buf->data + buf->len;
}

void
fb_buf_add(struct fb_buf *buf, const void *bytes, size_t len)
{
	uint8_t *room = fb_buf_reserve(buf, len);

	if (len != 0)
		memcpy(room, bytes, len);
	buf->len += len;
	buf->data[buf->len] = '\0';
}

void
fb_buf_add_str(struct fb_buf *buf, const char *str)
{
	fb_buf_add(buf, str, strlen(str));
}

void
fb_buf_add_fmt(struct fb_buf *buf, const char *fmt, ...)
{
	va_list args;
	int len;

	va_start(args, fmt);
	len = vsnprintf(NULL, 0, fmt, args);
	va_end(args);

	va_start(args, fmt);
	(void)vsnprintf((char *)fb_buf_reserve(buf, (size_t)len),
	    (size_t)len + 1, fmt, args);
	va_end(args);
	buf->len += (size_t)len;
}

static void
add_le(struct fb_buf *buf, uint64_t value, size_t width)
{
	uint8_t bytes[8];

	for (size_t i = 0; i < width; i++)
		bytes[i] = (uint8_t)(value >> (8 * i));
	fb_buf_add(buf, bytes, width);
}

void
fb_buf_add_le16(struct fb_buf *buf, uint16_t value)
{
	add_le(buf, value, 2);
}

void
fb_buf_add_le32(struct fb_buf *buf, uint32_t value)
{
	add_le(buf, value, 4);
}

void
fb_buf_add_le64(struct fb_buf *buf, uint64_t value)
{
	add_le(buf, value, 8);
}

void
fb_buf_clear(struct fb_buf *buf)
{
	buf->len = 0;
	if (buf->data != NULL)
		buf->data[0] = '\0';
}

void
fb_buf_release(struct fb_buf *buf)
{
	free(buf->data);
	*buf = (struct fb_buf){ 0 };
}

uint8_t *
fb_buf_steal(struct fb_buf *buf)
{
	uint8_t *data = buf->data;

	*buf = (struct fb_buf){ 0 };
	return data;
}

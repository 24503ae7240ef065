#include "fleetbak/base/sse.h"

#include <string.h>

#include "fleetbak/base/err.h"

#define EVENT_MAX ((size_t)1 << 20)
#define RETRY_MAX UINT64_C(86400000) /* a day: more is nobody's wish */

static const uint8_t bom[] = { 0xef, 0xbb, 0xbf };

static bool
field_is(struct fb_span field, const char *name)
{
	return field.len == strlen(name) &&
	    memcmp(field.ptr, name, field.len) == 0;
}

static void
set(struct fb_buf *buf, struct fb_span value)
{
	fb_buf_clear(buf);
	if (value.len > 0)
		fb_buf_add(buf, value.ptr, value.len);
}

/* Digits and nothing else, or it is ignored. */
static void
take_retry(struct fb_sse *sse, struct fb_span value)
{
	uint64_t ms = 0;

	for (size_t i = 0; i < value.len; i++) {
		if (value.ptr[i] < '0' || value.ptr[i] > '9')
			return;
		ms = ms * 10 + (uint64_t)(value.ptr[i] - '0');
		if (ms > RETRY_MAX)
			ms = RETRY_MAX;
	}
	if (value.len > 0)
		sse->retry_ms = ms;
}

static void
take_field(struct fb_sse *sse, struct fb_span field, struct fb_span value)
{
	if (field_is(field, "event")) {
		set(&sse->type, value);
	} else if (field_is(field, "data")) {
		if (sse->has_data)
			fb_buf_add(&sse->data, "\n", 1);
		if (value.len > 0)
			fb_buf_add(&sse->data, value.ptr, value.len);
		sse->has_data = true;
	} else if (field_is(field, "id")) {
		if (value.len == 0 ||
		    memchr(value.ptr, '\0', value.len) == NULL)
			set(&sse->id, value);
	} else if (field_is(field, "retry")) {
		take_retry(sse, value);
	}
}

static int
dispatch(struct fb_sse *sse, struct fb_error *err)
{
	struct fb_sse_event event = {
		.type = sse->type.len > 0 ? fb_buf_str(&sse->type)
		                          : "message",
		.id = fb_buf_str(&sse->id),
		.data = { (const uint8_t *)fb_buf_str(&sse->data),
		    sse->data.len },
	};
	int rc = sse->has_data ? sse->visit(sse->arg, &event, err) : FB_OK;

	sse->has_data = false;
	fb_buf_clear(&sse->data);
	fb_buf_clear(&sse->type);
	return rc;
}

static int
take_line(struct fb_sse *sse, struct fb_error *err)
{
	struct fb_span field = fb_buf_span(&sse->line), value = { 0 };
	const uint8_t *colon;

	if (field.len == 0)
		return dispatch(sse, err);
	colon = memchr(field.ptr, ':', field.len);
	if (colon != NULL) {
		value.ptr = colon + 1;
		value.len = field.len - (size_t)(value.ptr - field.ptr);
		field.len = (size_t)(colon - field.ptr);
		if (value.len > 0 && value.ptr[0] == ' ') {
			value.ptr++;
			value.len--;
		}
	}
	take_field(sse, field, value);
	fb_buf_clear(&sse->line);
	return FB_OK;
}

/* A BOM that is cut anywhere; what only looks like one is content. */
static bool
is_bom(struct fb_sse *sse, uint8_t byte)
{
	if (sse->bom >= sizeof(bom))
		return false;
	if (byte == bom[sse->bom]) {
		sse->bom++;
		return true;
	}
	fb_buf_add(&sse->line, bom, sse->bom);
	sse->bom = sizeof(bom) + 1;
	return false;
}

static int
check_room(const struct fb_sse *sse, size_t more, struct fb_error *err)
{
	size_t max = sse->max > 0 ? sse->max : EVENT_MAX;

	return sse->line.len + sse->data.len + sse->type.len + more <= max
	    ? FB_OK
	    : fb_fail(err, FB_EPROTO,
	          "an event of the stream is larger than %zu bytes", max);
}

int
fb_sse_feed(struct fb_sse *sse, struct fb_span piece, struct fb_error *err)
{
	size_t i = 0;

	while (i < piece.len) {
		const uint8_t *at = piece.ptr + i;
		bool cr = sse->cr;
		size_t len = 0;
		int rc;

		sse->cr = false;
		if (is_bom(sse, *at) || (cr && *at == '\n')) {
			i++;
			continue;
		}
		while (i + len < piece.len && at[len] != '\n' &&
		    at[len] != '\r')
			len++;
		rc = check_room(sse, len, err);
		if (rc < 0)
			return rc;
		fb_buf_add(&sse->line, at, len);
		i += len;
		if (i == piece.len)
			break;
		sse->cr = piece.ptr[i++] == '\r';
		rc = take_line(sse, err);
		if (rc < 0)
			return rc;
	}
	return FB_OK;
}

int
fb_sse_end(struct fb_sse *sse, bool flush, struct fb_error *err)
{
	int rc = FB_OK;

	if (flush && sse->line.len > 0)
		rc = take_line(sse, err);
	if (rc == FB_OK && flush)
		rc = dispatch(sse, err);
	fb_buf_clear(&sse->line);
	return rc;
}

void
fb_sse_release(struct fb_sse *sse)
{
	fb_buf_release(&sse->id);
	fb_buf_release(&sse->line);
	fb_buf_release(&sse->data);
	fb_buf_release(&sse->type);
}

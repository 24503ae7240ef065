#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lines.h"

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"

int
fb_lines_fail(const struct fb_lines *lines, struct fb_error *err,
    const char *fmt, ...)
{
	char text[256];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	return fb_fail(err, FB_ECORRUPT, "%s: line %" PRIu64 ": %s",
	    lines->what, lines->number, text);
}

int
fb_lines_next(
    struct fb_lines *lines, struct fb_span *ret_line, struct fb_error *err)
{
	const uint8_t *end = lines->rest.len == 0
	    ? NULL
	    : memchr(lines->rest.ptr, '\n', lines->rest.len);

	lines->number++;
	if (end == NULL) {
		lines->cut = true;
		return fb_lines_fail(lines, err, "it is cut short");
	}
	*ret_line = (struct fb_span){ lines->rest.ptr,
		(size_t)(end - lines->rest.ptr) };
	lines->rest.len -= ret_line->len + 1;
	lines->rest.ptr = end + 1;
	return FB_OK;
}

int
fb_lines_value(struct fb_lines *lines, const char *key,
    struct fb_span *ret_value, struct fb_error *err)
{
	size_t len = strlen(key);
	struct fb_span line;
	int rc = fb_lines_next(lines, &line, err);

	if (rc < 0)
		return rc;
	if (line.len < len + 2 || memcmp(line.ptr, key, len) != 0 ||
	    line.ptr[len] != ' ')
		return fb_lines_fail(lines, err, "'%s' and a value expected",
		    key);
	*ret_value =
	    (struct fb_span){ line.ptr + len + 1, line.len - len - 1 };
	return FB_OK;
}

/* The cause is in `err`; say where. */
static int
wrap_line(const struct fb_lines *lines, const char *key, struct fb_error *err)
{
	struct fb_error cause = *err;

	return fb_fail(err, FB_ECORRUPT, "%s: line %" PRIu64 ": %s: %s",
	    lines->what, lines->number, key, cause.msg);
}

int
fb_lines_u64(struct fb_lines *lines, const char *key, uint64_t max,
    uint64_t *ret_value, struct fb_error *err)
{
	struct fb_span value;
	int rc = fb_lines_value(lines, key, &value, err);

	if (rc < 0)
		return rc;
	rc = fb_text_u64(value, max, ret_value, err);
	return rc < 0 ? wrap_line(lines, key, err) : FB_OK;
}

int
fb_lines_digest(struct fb_lines *lines, const char *key,
    struct fb_digest *ret_digest, struct fb_error *err)
{
	struct fb_span value;
	int rc = fb_lines_value(lines, key, &value, err);

	if (rc < 0)
		return rc;
	rc = fb_digest_parse(value, ret_digest, err);
	return rc < 0 ? wrap_line(lines, key, err) : FB_OK;
}

int
fb_lines_run_id(struct fb_lines *lines, const char *key,
    char ret_id[FB_RUN_ID_SIZE], struct fb_error *err)
{
	struct fb_span value;
	int rc = fb_lines_value(lines, key, &value, err);

	if (rc < 0)
		return rc;
	if (!fb_run_id_ok((const char *)value.ptr, value.len))
		return fb_lines_fail(lines, err, "%s: not a run id", key);
	memcpy(ret_id, value.ptr, FB_RUN_ID_LEN);
	ret_id[FB_RUN_ID_LEN] = '\0';
	return FB_OK;
}

int
fb_lines_name(struct fb_lines *lines, const char *key,
    char ret_name[FB_NAME_MAX + 1], struct fb_error *err)
{
	struct fb_span value;
	int rc = fb_lines_value(lines, key, &value, err);

	if (rc < 0)
		return rc;
	if (!fb_name_ok((const char *)value.ptr, value.len))
		return fb_lines_fail(lines, err, "%s: not a name", key);
	memcpy(ret_name, value.ptr, value.len);
	ret_name[value.len] = '\0';
	return FB_OK;
}

int
fb_lines_time(struct fb_lines *lines, const char *key, char ret_time[32],
    struct fb_error *err)
{
	struct fb_span value;
	int64_t ignored;
	char text[32];
	int rc = fb_lines_value(lines, key, &value, err);

	if (rc < 0)
		return rc;
	if (value.len >= sizeof(text))
		return fb_lines_fail(lines, err, "%s: not a time", key);
	memcpy(text, value.ptr, value.len);
	text[value.len] = '\0';
	if (strlen(text) != value.len)
		return fb_lines_fail(lines, err, "%s: not a time", key);
	rc = fb_time_parse(text, &ignored, err);
	if (rc < 0)
		return wrap_line(lines, key, err);
	memcpy(ret_time, text, sizeof(text));
	return FB_OK;
}

int
fb_lines_signer(struct fb_lines *lines, char ret_signer[FB_KEY_ID_SIZE],
    struct fb_error *err)
{
	uint8_t raw[(FB_KEY_ID_SIZE - 1) / 2];
	struct fb_span value;
	int rc = fb_lines_value(lines, "signer", &value, err);

	if (rc < 0)
		return rc;
	rc = fb_text_unhex(value, raw, sizeof(raw), err);
	if (rc < 0)
		return wrap_line(lines, "signer", err);
	memcpy(ret_signer, value.ptr, FB_KEY_ID_SIZE - 1);
	ret_signer[FB_KEY_ID_SIZE - 1] = '\0';
	return FB_OK;
}

int
fb_lines_signature(struct fb_lines *lines,
    uint8_t ret_signature[FB_SIGNATURE_LEN], struct fb_error *err)
{
	struct fb_span value;
	int rc = fb_lines_value(lines, "signature", &value, err);

	if (rc < 0)
		return rc;
	rc = fb_text_unhex(value, ret_signature, FB_SIGNATURE_LEN, err);
	return rc < 0 ? wrap_line(lines, "signature", err) : FB_OK;
}

int
fb_lines_ids(struct fb_lines *lines, const char *key,
    struct fb_id_list *ret_list, struct fb_error *err)
{
	uint64_t count;
	int rc = fb_lines_u64(lines, key,
	    lines->rest.len / FB_DIGEST_HEX_SIZE, &count, err);

	if (rc < 0)
		return rc;
	ret_list->ids = count == 0
	    ? NULL
	    : fb_alloc((size_t)count, sizeof(*ret_list->ids));
	for (uint64_t i = 0; i < count; i++) {
		struct fb_digest *id = &ret_list->ids[i];
		struct fb_span line;

		rc = fb_lines_next(lines, &line, err);
		if (rc < 0)
			return rc;
		rc = fb_digest_parse(line, id, err);
		if (rc < 0)
			return wrap_line(lines, key, err);
		if (i > 0 && fb_digest_cmp(id - 1, id) >= 0)
			return fb_lines_fail(lines, err, "%s: not in order",
			    key);
		ret_list->count = (size_t)i + 1;
	}
	return FB_OK;
}

int
fb_lines_exactly(
    struct fb_lines *lines, const char *text, struct fb_error *err)
{
	struct fb_span line;
	int rc = fb_lines_next(lines, &line, err);

	if (rc < 0)
		return rc;
	if (line.len != strlen(text) || memcmp(line.ptr, text, line.len) != 0)
		return fb_lines_fail(lines, err, "'%s' expected", text);
	return FB_OK;
}

int
fb_lines_end(const struct fb_lines *lines, struct fb_error *err)
{
	if (lines->rest.len > 0)
		return fb_fail(err, FB_ECORRUPT,
		    "%s: bytes follow the last line", lines->what);
	return FB_OK;
}

int
fb_lines_version(const struct fb_lines *lines, struct fb_span line,
    const char *name, uint64_t version, struct fb_error *err)
{
	size_t len = strlen(name);
	struct fb_span rest;
	uint64_t found;

	if (line.len < len + 2 || memcmp(line.ptr, name, len) != 0 ||
	    line.ptr[len] != ' ')
		return fb_lines_fail(lines, err, "'%s' expected", name);
	rest = (struct fb_span){ line.ptr + len + 1, line.len - len - 1 };
	if (fb_text_u64(rest, UINT32_MAX, &found, err) < 0)
		return wrap_line(lines, name, err);
	if (found > version)
		return fb_fail(err, FB_ETOONEW,
		    "%s: version %" PRIu64 " is newer than this program",
		    lines->what, found);
	if (found != version)
		return fb_lines_fail(lines, err, "no version %" PRIu64, found);
	return FB_OK;
}

void
fb_lines_add_ids(
    struct fb_buf *dst, const char *key, const struct fb_id_list *list)
{
	char hex[FB_DIGEST_HEX_SIZE];

	fb_buf_add_fmt(dst, "%s %zu\n", key, list->count);
	for (size_t i = 0; i < list->count; i++) {
		fb_digest_hex(&list->ids[i], hex);
		hex[FB_DIGEST_HEX_SIZE - 1] = '\n';
		fb_buf_add(dst, hex, sizeof(hex));
	}
}

void
fb_lines_add_digest(
    struct fb_buf *dst, const char *key, const struct fb_digest *digest)
{
	char hex[FB_DIGEST_HEX_SIZE];

	fb_digest_hex(digest, hex);
	fb_buf_add_fmt(dst, "%s %s\n", key, hex);
}

void
fb_lines_add_signature(
    struct fb_buf *dst, const uint8_t signature[FB_SIGNATURE_LEN])
{
	char hex[2 * FB_SIGNATURE_LEN + 1];

	fb_text_hex(signature, FB_SIGNATURE_LEN, hex);
	fb_buf_add_fmt(dst, "signature %s\n", hex);
}

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/text.h"
#include "fleetbak/format/catalogue.h"

#define NS_PER_S 1000000000u

static const char types[] = "fdlhcbps";

static bool
has_target(enum fb_entry_type type)
{
	return type == FB_ENTRY_SYMLINK || type == FB_ENTRY_HARDLINK;
}

void
fb_catalogue_add(struct fb_buf *dst, const struct fb_entry *entry)
{
	fb_buf_add_fmt(dst, "%c %o %" PRIu32 " %" PRIu32 " %" PRIu64,
	    (char)entry->type, entry->mode & 07777u, entry->uid, entry->gid,
	    entry->size);
	fb_buf_add_fmt(dst, " %" PRId64 ".%09" PRIu32 " %" PRId64 ".%09" PRIu32,
	    entry->mtime_s, entry->mtime_ns, entry->ctime_s, entry->ctime_ns);
	fb_buf_add_fmt(dst,
	    " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " ", entry->dev,
	    entry->ino, entry->offset, entry->length);
	fb_text_add_escaped(dst, entry->path);
	if (has_target(entry->type)) {
		fb_buf_add(dst, " ", 1);
		fb_text_add_escaped(dst, entry->target);
	}
	fb_buf_add(dst, "\n", 1);
}

/* A line being taken apart; `bad` names the first field that is wrong. */
struct line {
	struct fb_span rest;
	const char *bad;
};

static struct fb_span
next_field(struct line *line, const char *name)
{
	const uint8_t *space = NULL;
	struct fb_span field = line->rest;

	if (field.len > 0)
		space = memchr(field.ptr, ' ', field.len);
	if (space != NULL) {
		field.len = (size_t)(space - field.ptr);
		line->rest.ptr += field.len + 1;
		line->rest.len -= field.len + 1;
		if (line->rest.len == 0 && line->bad == NULL)
			line->bad = "end";
	} else {
		line->rest = (struct fb_span){ NULL, 0 };
	}
	if (field.len == 0 && line->bad == NULL)
		line->bad = name;
	return field;
}

static uint64_t
next_number(struct line *line, const char *name, unsigned base, uint64_t max)
{
	struct fb_span field = next_field(line, name);
	uint64_t value = 0;
	bool good = field.len > 0 &&
	    (field.ptr[0] != '0' || field.len == 1);

	for (size_t i = 0; good && i < field.len; i++) {
		unsigned digit = field.ptr[i] - (unsigned)'0';

		good = digit < base && value <= (max - digit) / base;
		value = value * base + digit;
	}
	if (!good && line->bad == NULL)
		line->bad = name;
	return good ? value : 0;
}

/* Nine digits. */
static bool
parse_fraction(struct fb_span text, uint32_t *ret_ns)
{
	*ret_ns = 0;
	if (text.len != 9)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] < '0' || text.ptr[i] > '9')
			return false;
		*ret_ns = *ret_ns * 10 + (uint32_t)(text.ptr[i] - '0');
	}
	return true;
}

static bool
parse_seconds(struct fb_span text, int64_t *ret_seconds)
{
	bool minus = text.len > 0 && text.ptr[0] == '-';
	uint64_t value = 0;

	if (minus) {
		text.ptr++;
		text.len--;
	}
	if (text.len == 0 || text.len > 18 ||
	    (text.ptr[0] == '0' && (text.len > 1 || minus)))
		return false;
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] < '0' || text.ptr[i] > '9')
			return false;
		value = value * 10 + (uint64_t)(text.ptr[i] - '0');
	}
	*ret_seconds = minus ? -(int64_t)value : (int64_t)value;
	return true;
}

static void
next_time(struct line *line, const char *name, int64_t *ret_s, uint32_t *ret_ns)
{
	struct fb_span field = next_field(line, name);
	const uint8_t *dot = NULL;
	struct fb_span whole = field, part = { NULL, 0 };

	if (field.len > 0)
		dot = memchr(field.ptr, '.', field.len);
	if (dot != NULL) {
		whole.len = (size_t)(dot - field.ptr);
		part.ptr = dot + 1;
		part.len = field.len - whole.len - 1;
	}
	if ((dot == NULL || !parse_seconds(whole, ret_s) ||
	        !parse_fraction(part, ret_ns) || *ret_ns >= NS_PER_S) &&
	    line->bad == NULL)
		line->bad = name;
}

static enum fb_entry_type
next_type(struct line *line)
{
	struct fb_span field = next_field(line, "type");

	if (field.len == 1 && field.ptr[0] != '\0' &&
	    strchr(types, field.ptr[0]) != NULL)
		return (enum fb_entry_type)field.ptr[0];
	if (line->bad == NULL)
		line->bad = "type";
	return FB_ENTRY_FILE;
}

/* Unescape into `scratch`; where in it is told by offsets, for it may move. */
static int
next_escaped(struct line *line, const char *name, struct fb_buf *scratch,
    size_t *ret_offset, struct fb_error *err)
{
	struct fb_span field = next_field(line, name);

	*ret_offset = scratch->len;
	if (line->bad != NULL)
		return FB_OK;
	return fb_text_unescape(field, scratch, err);
}

static void
take_numbers(struct line *line, struct fb_entry *entry)
{
	entry->type = next_type(line);
	entry->mode = (uint32_t)next_number(line, "mode", 8, 07777);
	entry->uid = (uint32_t)next_number(line, "uid", 10, UINT32_MAX);
	entry->gid = (uint32_t)next_number(line, "gid", 10, UINT32_MAX);
	entry->size = next_number(line, "size", 10, UINT64_MAX);
	next_time(line, "mtime", &entry->mtime_s, &entry->mtime_ns);
	next_time(line, "ctime", &entry->ctime_s, &entry->ctime_ns);
	entry->dev = next_number(line, "dev", 10, UINT64_MAX);
	entry->ino = next_number(line, "ino", 10, UINT64_MAX);
	entry->offset = next_number(line, "offset", 10, UINT64_MAX);
	entry->length = next_number(line, "length", 10, UINT64_MAX);
	if (entry->length > UINT64_MAX - entry->offset && line->bad == NULL)
		line->bad = "length";
}

int
fb_catalogue_decode(struct fb_span text, struct fb_buf *scratch,
    struct fb_entry *ret_entry, struct fb_error *err)
{
	struct line line = { text, NULL };
	struct fb_entry entry = { 0 };
	size_t path_at, target_at;
	int rc;

	if (text.len >= FB_CATALOGUE_LINE_MAX)
		return fb_fail(err, FB_ECORRUPT,
		    "catalogue line of %zu bytes is too long", text.len);
	fb_buf_clear(scratch);
	take_numbers(&line, &entry);
	rc = next_escaped(&line, "path", scratch, &path_at, err);
	target_at = scratch->len;
	if (rc == FB_OK && has_target(entry.type))
		rc = next_escaped(&line, "target", scratch, &target_at, err);
	if (rc < 0)
		return fb_wrap(err, "catalogue line");
	if (line.bad == NULL && line.rest.len > 0)
		line.bad = "end";
	if (line.bad != NULL)
		return fb_fail(err, FB_ECORRUPT,
		    "catalogue line: bad or missing %s", line.bad);

	entry.path = (struct fb_span){ scratch->data + path_at,
		target_at - path_at };
	if (has_target(entry.type))
		entry.target = (struct fb_span){ scratch->data + target_at,
			scratch->len - target_at };
	*ret_entry = entry;
	return FB_OK;
}

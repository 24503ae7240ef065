#include <inttypes.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/format/json.h"
#include "replay.h"

#define READ_STEP 65536
#define FORMAT    1

/* Lines of a file, in memory bounded by the longest legal one. */
struct line_reader {
	int fd;
	const char *path;
	struct fb_buf window; /* bytes read and not yet handed out ... */
	size_t start;         /* ... from here on */
	uint64_t offset;      /* of `start` in the file */
	uint64_t read;        /* bytes read from the file */
	bool at_end;
};

struct line {
	struct fb_span bytes; /* without its newline; valid until the next */
	bool whole;           /* ended by a newline, and not too long */
};

static int
fill_window(struct line_reader *reader, struct fb_error *err)
{
	struct fb_buf *window = &reader->window;
	size_t got;
	uint8_t *room;
	int rc;

	if (reader->start > 0) {
		memmove(window->data, window->data + reader->start,
		    window->len - reader->start);
		window->len -= reader->start;
		reader->start = 0;
	}
	room = fb_buf_reserve(window, READ_STEP);
	rc = fb_io_pread(reader->fd, reader->path, room, READ_STEP,
	    reader->read, &got, err);
	if (rc < 0)
		return rc;
	window->len += got;
	reader->read += got;
	reader->at_end = got < READ_STEP;
	return FB_OK;
}

/* FB_PENDING when the file is over. */
static int
next_line(struct line_reader *reader, struct line *ret, struct fb_error *err)
{
	bool too_long = false;
	size_t looked = 0;

	for (;;) {
		size_t len = reader->window.len - reader->start;
		const uint8_t *from = len > 0
		    ? reader->window.data + reader->start
		    : NULL;
		const uint8_t *newline = len > looked
		    ? memchr(from + looked, '\n', len - looked)
		    : NULL;
		int rc;

		if (newline != NULL || (reader->at_end && len > 0)) {
			size_t used = newline != NULL
			    ? (size_t)(newline - from) + 1
			    : len;

			ret->whole = newline != NULL && !too_long &&
			    used <= FB_JOURNAL_LINE_MAX;
			ret->bytes = (struct fb_span){ from,
				newline != NULL ? used - 1 : used };
			reader->start += used;
			reader->offset += used;
			return FB_OK;
		}
		if (reader->at_end && !too_long)
			return FB_PENDING;
		if (reader->at_end) {
			*ret = (struct line){ 0 };
			return FB_OK;
		}
		looked = len;
		if (len > FB_JOURNAL_LINE_MAX) { /* no record: drop it */
			too_long = true;
			reader->start += len;
			reader->offset += len;
			looked = 0;
		}
		rc = fill_window(reader, err);
		if (rc < 0)
			return rc;
	}
}

/* The file's own first record says which format follows. */
static int
check_header(const struct fb_journal_line *line, struct fb_error *err)
{
	uint64_t format, from = 0;
	int rc;

	if (strcmp(line->type, "journal") != 0)
		return fb_fail(err, FB_ECORRUPT,
		    "the first record is '%s', not 'journal'", line->type);
	rc = fb_json_u64(
	    line->body, "format", "journal", UINT64_MAX, &format, err);
	if (rc < 0)
		return rc;
	if (format > FORMAT)
		return fb_fail(err, FB_ETOONEW,
		    "journal format %" PRIu64 " is newer than this program",
		    format);
	if (json_object_get(line->body, "compacted_from") != NULL) {
		rc = fb_json_u64(line->body, "compacted_from", "journal",
		    UINT64_MAX - 1, &from, err);
		if (rc < 0)
			return rc;
	}
	if (line->sequence != from + 1)
		return fb_fail(err, FB_ECORRUPT,
		    "the first record has number %" PRIu64 ", not %" PRIu64,
		    line->sequence, from + 1);
	return FB_OK;
}

static int
check_record(const struct fb_journal_line *line, const struct replay_end *end,
    struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf json = { 0 };
	struct fb_digest chain;
	int rc;

	if (end->size == 0) {
		rc = check_header(line, err);
		if (rc < 0)
			return rc;
	} else if (line->sequence != end->sequence + 1) {
		return fb_fail(err, FB_ECORRUPT,
		    "record %" PRIu64 " follows record %" PRIu64,
		    line->sequence, end->sequence);
	}
	fb_journal_link(&end->chain, line->type, line->json, &chain);
	if (fb_digest_cmp(&chain, &line->chain) != 0)
		return fb_fail(err, FB_ECORRUPT,
		    "record %" PRIu64 " does not fit its chain",
		    line->sequence);
	fb_json_add(&json, line->body);
	if (json.len != line->json.len ||
	    memcmp(json.data, line->json.ptr, json.len) != 0)
		return fb_fail(err, FB_ECORRUPT,
		    "record %" PRIu64 " is not canonical JSON",
		    line->sequence);
	return FB_OK;
}

/* A tail is torn when no record stands behind it. */
static int
check_tail(struct line_reader *reader, struct fb_error *err)
{
	for (;;) {
		FB_AUTO_JOURNAL_LINE struct fb_journal_line record = { 0 };
		struct fb_error why = { 0 };
		struct line line;
		int rc = next_line(reader, &line, err);

		if (rc == FB_PENDING)
			return FB_OK;
		if (rc < 0)
			return rc;
		if (line.whole &&
		    fb_journal_line_decode(line.bytes, &record, &why) == FB_OK)
			return fb_fail(err, FB_ECORRUPT,
			    "damaged, with record %" PRIu64 " behind it",
			    record.sequence);
	}
}

/* One line; FB_PENDING at the end, which `end->torn` describes. */
static int
replay_line(struct line_reader *reader, fb_journal_visit *visit, void *arg,
    struct replay_end *end, struct fb_error *err)
{
	FB_AUTO_JOURNAL_LINE struct fb_journal_line record = { 0 };
	struct fb_error why = { 0 };
	struct line line;
	int rc = next_line(reader, &line, err);

	if (rc != FB_OK)
		return rc;
	if (!line.whole ||
	    fb_journal_line_decode(line.bytes, &record, &why) < 0) {
		end->torn = true;
		rc = check_tail(reader, err);
		return rc < 0 ? rc : FB_PENDING;
	}
	rc = check_record(&record, end, err);
	if (rc < 0)
		return rc;
	if (end->size > 0 && visit != NULL) {
		struct fb_journal_record view = { record.sequence, record.type,
			record.body };

		rc = visit(&view, arg, err);
		if (rc < 0) {
			end->size = UINT64_MAX; /* the visitor's error */
			return rc;
		}
	}
	end->sequence = record.sequence;
	end->chain = record.chain;
	end->size = reader->offset;
	return FB_OK;
}

/* Say where, and that nothing was changed. */
static int
refuse(const char *path, const struct replay_end *end, struct fb_error *err)
{
	struct fb_error inner = *err;

	if (inner.code != FB_ECORRUPT)
		return fb_wrap(err, "journal '%s'", path);
	(void)fb_fail_id(err, FB_ECORRUPT, "E-JOURNAL",
	    "journal '%s': after record %" PRIu64 ", at byte %" PRIu64 ": %s",
	    path, end->sequence, end->size, inner.msg);
	return fb_hint(err, "nothing was changed; see fleetbak-journal(5)");
}

int
replay_file(int fd, const char *path, fb_journal_visit *visit, void *arg,
    struct replay_end *ret_end, struct fb_error *err)
{
	struct line_reader reader = { .fd = fd, .path = path };
	struct replay_end end = { 0 };
	int rc;

	fb_journal_seed(&end.chain);
	do
		rc = replay_line(&reader, visit, arg, &end, err);
	while (rc == FB_OK);
	fb_buf_release(&reader.window);

	if (rc < 0)
		return end.size == UINT64_MAX ? rc : refuse(path, &end, err);
	if (end.size == 0) {
		(void)fb_fail(err, FB_ECORRUPT, "the first record is missing");
		return refuse(path, &end, err);
	}
	*ret_end = end;
	return FB_OK;
}

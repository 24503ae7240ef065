#include "fleetbak/base/rows.h"

#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"

#define MEMORY   ((size_t)16 << 20)
#define WRITE_AT ((size_t)256 << 10)
#define READ_AT  ((size_t)64 << 10)

/* So many runs are merged at a time. */
#define FAN 64

#define LENGTH_SIZE 4

/* A part of the file that is in order. */
struct run {
	uint64_t at, end;
};

/* A run that is read; `head` is its row at hand. */
struct source {
	struct run run;
	struct fb_buf buf;
	size_t used; /* of buf */
	struct fb_span head;
	size_t number; /* decides between equal rows */
};

struct fb_rows {
	const char *dir;
	size_t memory;
	fb_rows_compare *compare;
	void *arg;

	struct fb_buf held; /* length, bytes, length, bytes ... */
	size_t *places;     /* in `held`; only where they are sorted */
	size_t place_count, place_cap;
	uint64_t count;

	int fd; /* -1: all is in memory */
	uint64_t size;
	struct fb_buf out; /* to be written at `size` */
	struct run *runs;
	size_t run_count;

	bool reading;
	size_t next;            /* place, or byte, in `held` */
	struct source *sources; /* sources[0 .. open - 1] are a heap */
	size_t source_count, open;
	bool taken; /* the head of the first one was given out */
};

/* A test wants little to be much. */
static size_t
memory_otherwise(void)
{
#ifdef FB_FAULTS
	const char *text = getenv("FLEETBAK_ROWS");

	if (text != NULL)
		return (size_t)strtoul(text, NULL, 10);
#endif
	return MEMORY;
}

struct fb_rows *
fb_rows_new(const char *dir, size_t memory, fb_rows_compare *compare, void *arg)
{
	struct fb_rows *rows = fb_alloc(1, sizeof(*rows));

	*rows = (struct fb_rows){ .dir = dir,
		.memory = memory > 0 ? memory : memory_otherwise(),
		.compare = compare,
		.arg = arg,
		.fd = -1 };
	return rows;
}

static void
close_sources(struct fb_rows *rows)
{
	for (size_t i = 0; i < rows->source_count; i++)
		fb_buf_release(&rows->sources[i].buf);
	fb_freep(&rows->sources);
	rows->source_count = rows->open = 0;
	rows->taken = false;
}

void
fb_rows_free(struct fb_rows *rows)
{
	if (rows == NULL)
		return;
	close_sources(rows);
	fb_buf_release(&rows->held);
	fb_buf_release(&rows->out);
	free(rows->places);
	free(rows->runs);
	if (rows->fd >= 0)
		(void)close(rows->fd);
	free(rows);
}

void
fb_rows_freep(struct fb_rows **rows)
{
	fb_rows_free(*rows);
	*rows = NULL;
}

uint64_t
fb_rows_count(const struct fb_rows *rows)
{
	return rows->count;
}

static size_t
length_at(const uint8_t *bytes)
{
	uint32_t len;

	memcpy(&len, bytes, LENGTH_SIZE);
	return len;
}

static struct fb_span
row_at(const struct fb_rows *rows, size_t place)
{
	const uint8_t *bytes = rows->held.data + place;

	return (struct fb_span){ bytes + LENGTH_SIZE, length_at(bytes) };
}

static int
compare_places(const void *a, const void *b, void *arg)
{
	const struct fb_rows *rows = arg;
	size_t x = *(const size_t *)a, y = *(const size_t *)b;
	int order = rows->compare(row_at(rows, x), row_at(rows, y), rows->arg);

	return order != 0 ? order : x < y ? -1 : x > y;
}

static void
sort_held(struct fb_rows *rows)
{
	if (rows->place_count > 0)
		qsort_r(rows->places, rows->place_count, sizeof(*rows->places),
		    compare_places, rows);
}

/* ------------------------------------------------------------- the file */

static int
open_file(struct fb_rows *rows, struct fb_error *err)
{
	const char *dir = getenv("TMPDIR");
	struct fb_error ignored = { 0 };

	if (rows->dir != NULL)
		rows->fd =
		    fb_io_open(rows->dir, O_TMPFILE | O_RDWR, 0600, &ignored);
	if (rows->fd >= 0)
		return FB_OK;
	if (dir == NULL || dir[0] != '/')
		dir = "/tmp";
	rows->fd = fb_io_open(dir, O_TMPFILE | O_RDWR, 0600, err);
	if (rows->fd >= 0)
		return FB_OK;
	rows->fd = -1;
	return fb_wrap(err, "temporary file in '%s'", dir);
}

static int
flush(struct fb_rows *rows, struct fb_error *err)
{
	int rc = fb_io_pwrite_all(rows->fd, "a temporary file",
	    fb_buf_span(&rows->out), rows->size, err);

	if (rc < 0)
		return rc;
	rows->size += rows->out.len;
	fb_buf_clear(&rows->out);
	return FB_OK;
}

static int
write_row(struct fb_rows *rows, struct fb_span row, struct fb_error *err)
{
	uint32_t len = (uint32_t)row.len;

	fb_buf_add(&rows->out, &len, LENGTH_SIZE);
	fb_buf_add(&rows->out, row.ptr, row.len);
	return rows->out.len >= WRITE_AT ? flush(rows, err) : FB_OK;
}

/* The run that begins at `at` is complete. */
static int
end_run(struct fb_rows *rows, uint64_t at, struct fb_error *err)
{
	int rc = flush(rows, err);

	if (rc < 0)
		return rc;
	if (rows->compare == NULL && rows->run_count > 0) {
		rows->runs[0].end = rows->size; /* it goes on */
		return FB_OK;
	}
	rows->runs =
	    fb_realloc(rows->runs, rows->run_count + 1, sizeof(*rows->runs));
	rows->runs[rows->run_count++] = (struct run){ at, rows->size };
	return FB_OK;
}

/* What is held becomes a run. */
static int
spill(struct fb_rows *rows, struct fb_error *err)
{
	uint64_t at = rows->size;
	int rc = rows->fd < 0 ? open_file(rows, err) : FB_OK;

	if (rc < 0)
		return rc;
	sort_held(rows);
	if (rows->compare == NULL) {
		fb_buf_add(&rows->out, rows->held.data, rows->held.len);
	} else {
		for (size_t i = 0; rc == FB_OK && i < rows->place_count; i++)
			rc =
			    write_row(rows, row_at(rows, rows->places[i]), err);
	}
	if (rc == FB_OK)
		rc = end_run(rows, at, err);
	fb_buf_clear(&rows->held);
	rows->place_count = 0;
	return rc;
}

int
fb_rows_add(struct fb_rows *rows, struct fb_span row, struct fb_error *err)
{
	size_t most = rows->compare != NULL ? rows->memory
	    : rows->memory < WRITE_AT       ? rows->memory
	                                    : WRITE_AT;
	size_t used = rows->held.len + rows->place_count * sizeof(size_t);
	uint32_t len = (uint32_t)row.len;
	int rc;

	assert(!rows->reading && row.len <= FB_ROW_MAX);
	if (rows->held.len > 0 && used + row.len + LENGTH_SIZE > most) {
		rc = spill(rows, err);
		if (rc < 0)
			return rc;
	}
	if (rows->compare != NULL) {
		if (rows->place_count == rows->place_cap) {
			rows->place_cap = 2 * rows->place_cap + 64;
			rows->places = fb_realloc(rows->places, rows->place_cap,
			    sizeof(*rows->places));
		}
		rows->places[rows->place_count++] = rows->held.len;
	}
	fb_buf_add(&rows->held, &len, LENGTH_SIZE);
	fb_buf_add(&rows->held, row.ptr, row.len);
	rows->count++;
	return FB_OK;
}

/* ------------------------------------------------------------ the merge */

/* Have so many bytes of the run at hand; *ret_there: there are. */
static int
fill(const struct fb_rows *rows, struct source *source, size_t want,
    struct fb_error *err)
{
	size_t have = source->buf.len - source->used, got;
	uint64_t left = source->run.end - source->run.at;
	size_t more = want > READ_AT ? want : READ_AT;
	int rc;

	if (have >= want)
		return FB_OK;
	if (have > 0)
		memmove(
		    source->buf.data, source->buf.data + source->used, have);
	source->buf.len = have;
	source->used = 0;
	if (more > left)
		more = (size_t)left;
	(void)fb_buf_reserve(&source->buf, more);
	rc = fb_io_pread(rows->fd, "a temporary file", source->buf.data + have,
	    more, source->run.at, &got, err);
	if (rc < 0)
		return rc;
	source->buf.len += got;
	source->run.at += got;
	return have + got >= want
	    ? FB_OK
	    : fb_fail(err, FB_ECORRUPT, "a temporary file was cut short");
}

static bool
at_end(const struct source *source)
{
	return source->used == source->buf.len &&
	    source->run.at == source->run.end;
}

static int
advance(const struct fb_rows *rows, struct source *source, struct fb_error *err)
{
	int rc = fill(rows, source, LENGTH_SIZE, err);
	size_t len;

	if (rc < 0)
		return rc;
	len = length_at(source->buf.data + source->used);
	rc = fill(rows, source, LENGTH_SIZE + len, err);
	if (rc < 0)
		return rc;
	source->head =
	    (struct fb_span){ source->buf.data + source->used + LENGTH_SIZE,
		    len };
	source->used += LENGTH_SIZE + len;
	return FB_OK;
}

static bool
is_before(
    const struct fb_rows *rows, const struct source *a, const struct source *b)
{
	int order = rows->compare != NULL
	    ? rows->compare(a->head, b->head, rows->arg)
	    : 0;

	return order != 0 ? order < 0 : a->number < b->number;
}

static void
sink(struct fb_rows *rows, size_t at)
{
	for (;;) {
		size_t best = at;

		for (size_t child = 2 * at + 1;
		     child <= 2 * at + 2 && child < rows->open; child++)
			if (is_before(rows, &rows->sources[child],
			        &rows->sources[best]))
				best = child;
		if (best == at)
			return;
		{
			struct source other = rows->sources[at];

			rows->sources[at] = rows->sources[best];
			rows->sources[best] = other;
		}
		at = best;
	}
}

/* Read the first `count` runs. */
static int
open_sources(struct fb_rows *rows, size_t count, struct fb_error *err)
{
	int rc = FB_OK;

	close_sources(rows);
	rows->sources = fb_alloc(count + 1, sizeof(*rows->sources));
	rows->source_count = count;
	for (size_t i = 0; rc == FB_OK && i < count; i++) {
		rows->sources[i].run = rows->runs[i];
		rows->sources[i].number = i;
		rc = advance(rows, &rows->sources[i], err);
	}
	rows->open = count;
	for (size_t i = count / 2; rc == FB_OK && i-- > 0;)
		sink(rows, i);
	return rc;
}

/* The first source goes on, behind the others if need be. */
static int
go_on(struct fb_rows *rows, struct fb_error *err)
{
	struct source *first = &rows->sources[0];
	int rc = FB_OK;

	if (at_end(first)) {
		struct source ended = *first;

		*first = rows->sources[--rows->open];
		rows->sources[rows->open] = ended;
	} else {
		rc = advance(rows, first, err);
	}
	if (rc == FB_OK && rows->open > 0)
		sink(rows, 0);
	return rc;
}

/* The first runs become one, in their place, so that equal rows stay in
 * order. */
static int
merge_first(struct fb_rows *rows, struct fb_error *err)
{
	uint64_t at = rows->size;
	int rc = open_sources(rows, FAN, err);

	while (rc == FB_OK && rows->open > 0) {
		rc = write_row(rows, rows->sources[0].head, err);
		if (rc == FB_OK)
			rc = go_on(rows, err);
	}
	close_sources(rows);
	if (rc == FB_OK)
		rc = flush(rows, err);
	if (rc < 0)
		return rc;
	rows->runs[0] = (struct run){ at, rows->size };
	memmove(rows->runs + 1, rows->runs + FAN,
	    (rows->run_count - FAN) * sizeof(*rows->runs));
	rows->run_count -= FAN - 1;
	return FB_OK;
}

int
fb_rows_rewind(struct fb_rows *rows, struct fb_error *err)
{
	int rc = FB_OK;

	rows->next = 0;
	if (!rows->reading && rows->fd >= 0)
		rc = rows->held.len > 0 ? spill(rows, err) : FB_OK;
	else if (!rows->reading)
		sort_held(rows);
	if (rc < 0)
		return rc;
	rows->reading = true;
	if (rows->fd < 0)
		return FB_OK;
	fb_buf_release(&rows->held);
	fb_freep(&rows->places);
	while (rc == FB_OK && rows->run_count > FAN)
		rc = merge_first(rows, err);
	return rc < 0 ? rc : open_sources(rows, rows->run_count, err);
}

static bool
next_held(struct fb_rows *rows, struct fb_span *ret_row)
{
	if (rows->compare != NULL) {
		if (rows->next == rows->place_count)
			return false;
		*ret_row = row_at(rows, rows->places[rows->next++]);
		return true;
	}
	if (rows->next == rows->held.len)
		return false;
	*ret_row = row_at(rows, rows->next);
	rows->next += LENGTH_SIZE + ret_row->len;
	return true;
}

int
fb_rows_next(struct fb_rows *rows, struct fb_span *ret_row, bool *ret_more,
    struct fb_error *err)
{
	int rc = FB_OK;

	assert(rows->reading);
	*ret_row = (struct fb_span){ 0 };
	if (rows->fd < 0) {
		*ret_more = next_held(rows, ret_row);
		return FB_OK;
	}
	if (rows->taken)
		rc = go_on(rows, err);
	rows->taken = rc == FB_OK && rows->open > 0;
	*ret_more = rows->taken;
	if (rows->taken)
		*ret_row = rows->sources[0].head;
	return rc;
}

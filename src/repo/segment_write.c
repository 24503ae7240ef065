/* Writing segments, and making one of several. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"

#include "segment_impl.h"

#define STREAM_AT ((size_t)256 << 10)

/* A part of the file that is written from its beginning to its end. */
struct stream {
	struct fb_buf buf;
	uint64_t offset;
	struct fb_digester *digester; /* NULL: of none */
};

struct fb_segment_writer {
	int fd;
	char *path;
	struct fb_segment_shape shape;
	uint64_t most;
	bool began; /* the packs are complete */
	struct stream parts[SEGMENT_PARTS], entries;
	struct fb_digester *digesters[SEGMENT_PARTS];
	uint64_t last; /* prefix */
	size_t share;  /* fences up to this one are written */
	uint64_t block_number;
	uint8_t block[SEGMENT_BLOCK_LEN];
};

void
fb_segment_plan(uint64_t most, struct fb_segment_shape *shape)
{
	uint64_t bytes = most / 4 * 3 + SEGMENT_BLOCK_LEN; /* 6 bits each */

	if (bytes > FB_SEGMENT_FILTER_MAX)
		bytes = FB_SEGMENT_FILTER_MAX;
	shape->blocks = bytes / SEGMENT_BLOCK_LEN;
	shape->fence_bits = 0;
	while (shape->fence_bits < 19 && most >> shape->fence_bits > 256)
		shape->fence_bits++;
}

static int
flush(struct fb_segment_writer *writer, struct stream *stream,
    struct fb_error *err)
{
	struct fb_span bytes = fb_buf_span(&stream->buf);
	int rc;

	if (bytes.len == 0)
		return FB_OK;
	if (stream->digester != NULL)
		fb_digester_add(stream->digester, bytes);
	rc = fb_io_pwrite_all(
	    writer->fd, writer->path, bytes, stream->offset, err);
	stream->offset += bytes.len;
	fb_buf_clear(&stream->buf);
	return rc;
}

static int
flush_full(struct fb_segment_writer *writer, struct stream *stream,
    struct fb_error *err)
{
	return stream->buf.len < STREAM_AT ? FB_OK
	                                   : flush(writer, stream, err);
}

int
fb_segment_begin(const char *path, uint64_t most,
    struct fb_segment_writer **ret_writer, struct fb_error *err)
{
	struct fb_segment_writer *writer = fb_alloc(1, sizeof(*writer));

	writer->path = fb_strdup(path);
	writer->most = most;
	for (size_t i = 0; i < SEGMENT_PARTS; i++)
		writer->parts[i].digester = writer->digesters[i] =
		    fb_digester_new();
	writer->parts[SEGMENT_PACKS].offset = SEGMENT_HEAD_LEN;
	fb_segment_plan(most, &writer->shape);
	writer->fd = fb_io_open(path,
	    O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600, err);
	if (writer->fd < 0) {
		int rc = writer->fd;

		fb_segment_abandon(writer);
		return rc;
	}
	*ret_writer = writer;
	return FB_OK;
}

static void
free_writer(struct fb_segment_writer *writer)
{
	if (writer->fd >= 0)
		(void)close(writer->fd);
	for (size_t i = 0; i < SEGMENT_PARTS; i++) {
		fb_buf_release(&writer->parts[i].buf);
		fb_digester_free(writer->digesters[i]);
	}
	fb_buf_release(&writer->entries.buf);
	free(writer->path);
	free(writer);
}

void
fb_segment_abandon(struct fb_segment_writer *writer)
{
	struct fb_error ignored = { 0 };

	if (writer == NULL)
		return;
	if (writer->fd >= 0)
		(void)!fb_io_unlink(writer->path, &ignored);
	free_writer(writer);
}

int
fb_segment_add_pack(struct fb_segment_writer *writer,
    const struct fb_hint_pack *pack, struct fb_error *err)
{
	struct stream *stream = &writer->parts[SEGMENT_PACKS];

	fb_buf_add(&stream->buf, pack->id.bytes, FB_DIGEST_LEN);
	fb_buf_add_le32(&stream->buf, pack->table_offset);
	fb_buf_add_le32(&stream->buf, pack->table_length);
	fb_buf_add(&stream->buf, pack->table_digest.bytes, FB_DIGEST_LEN);
	writer->shape.packs++;
	return flush_full(writer, stream, err);
}

static void
begin_entries(struct fb_segment_writer *writer)
{
	const struct fb_segment_shape *shape = &writer->shape;

	writer->began = true;
	writer->parts[SEGMENT_FENCES].offset = fb_segment_fences_at(shape);
	writer->parts[SEGMENT_FILTER].offset = fb_segment_filter_at(shape);
	writer->entries.offset = fb_segment_entries_at(shape);
	fb_buf_add_le64(&writer->parts[SEGMENT_FENCES].buf, 0);
}

/* The shares up to `share` begin here, or before. */
static int
add_fences(
    struct fb_segment_writer *writer, size_t share, struct fb_error *err)
{
	struct stream *stream = &writer->parts[SEGMENT_FENCES];
	int rc = FB_OK;

	for (; rc == FB_OK && writer->share < share; writer->share++) {
		fb_buf_add_le64(&stream->buf, writer->shape.entries);
		rc = flush_full(writer, stream, err);
	}
	return rc;
}

/* The blocks before `number` are complete. */
static int
add_blocks(
    struct fb_segment_writer *writer, uint64_t number, struct fb_error *err)
{
	struct stream *stream = &writer->parts[SEGMENT_FILTER];
	int rc = FB_OK;

	for (; rc == FB_OK && writer->block_number < number;
	     writer->block_number++) {
		fb_buf_add(&stream->buf, writer->block, SEGMENT_BLOCK_LEN);
		memset(writer->block, 0, SEGMENT_BLOCK_LEN);
		rc = flush_full(writer, stream, err);
	}
	return rc;
}

int
fb_segment_add(struct fb_segment_writer *writer,
    const struct fb_index_entry *entry, struct fb_error *err)
{
	struct fb_buf *buf = &writer->entries.buf;
	uint64_t bits = fb_segment_bits(entry->prefix);
	int rc;

	if (!writer->began)
		begin_entries(writer);
	if (writer->shape.entries > 0 && entry->prefix == writer->last)
		return FB_OK;
	if (writer->shape.entries >= writer->most ||
	    (writer->shape.entries > 0 && entry->prefix < writer->last))
		return fb_fail(err, FB_ECORRUPT,
		    "'%s': entries of the index are not in order",
		    writer->path);
	rc = add_fences(
	    writer, fb_segment_share(&writer->shape, entry->prefix), err);
	if (rc == FB_OK)
		rc = add_blocks(writer,
		    fb_segment_block(&writer->shape, entry->prefix), err);
	if (rc < 0)
		return rc;
	for (unsigned i = 0; i < 3; i++, bits >>= 9)
		writer->block[(bits & 511) / 8] |=
		    (uint8_t)(1u << (bits & 7));
	fb_buf_add_le64(buf, entry->prefix);
	fb_buf_add_le32(buf, entry->pack);
	fb_buf_add_le32(buf, entry->chunk);
	writer->last = entry->prefix;
	writer->shape.entries++;
	return flush_full(writer, &writer->entries, err);
}

void
fb_segment_seal(const struct fb_segment_shape *shape,
    struct fb_digester *const parts[SEGMENT_PARTS],
    struct fb_digest *ret_digest)
{
	FB_AUTO_BUF struct fb_buf all = { 0 };

	fb_segment_head_encode(shape, &all);
	for (size_t i = 0; i < SEGMENT_PARTS; i++) {
		struct fb_digest part;

		fb_digester_peek(parts[i], &part);
		fb_buf_add(&all, part.bytes, FB_DIGEST_LEN);
	}
	fb_digest_of(fb_buf_span(&all), ret_digest);
}

/* The digest, then the head: without it the file is nothing. */
static int
write_ends(struct fb_segment_writer *writer, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf head = { 0 };
	struct fb_digest digest;
	int rc;

	fb_segment_seal(&writer->shape, writer->digesters, &digest);
	rc = fb_io_pwrite_all(writer->fd, writer->path,
	    (struct fb_span){ digest.bytes, FB_DIGEST_LEN },
	    fb_segment_digest_at(&writer->shape), err);
	if (rc < 0)
		return rc;
	fb_segment_head_encode(&writer->shape, &head);
	return fb_io_pwrite_all(
	    writer->fd, writer->path, fb_buf_span(&head), 0, err);
}

int
fb_segment_end(
    struct fb_segment_writer *writer, bool sync, struct fb_error *err)
{
	int rc;

	if (!writer->began)
		begin_entries(writer);
	rc = add_fences(
	    writer, fb_segment_fence_count(&writer->shape) - 1, err);
	if (rc == FB_OK)
		rc = add_blocks(writer, writer->shape.blocks, err);
	for (size_t i = 0; rc == FB_OK && i < SEGMENT_PARTS; i++)
		rc = flush(writer, &writer->parts[i], err);
	if (rc == FB_OK)
		rc = flush(writer, &writer->entries, err);
	if (rc == FB_OK)
		rc = write_ends(writer, err);
	if (rc == FB_OK && sync)
		rc = fb_io_sync(writer->fd, writer->path, err);
	if (rc < 0) {
		fb_segment_abandon(writer);
		return rc;
	}
	free_writer(writer);
	return FB_OK;
}

/* Merging. */

struct source {
	struct fb_segment_cursor cursor;
	uint32_t first_pack; /* its pack 0 in the new segment */
	uint64_t pack_count;
	bool ended;
};

static int
copy_packs(struct fb_segment_writer *writer, const struct fb_segment *segment,
    struct fb_error *err)
{
	uint64_t count = fb_segment_get_shape(segment)->packs;
	int rc = FB_OK;

	for (uint32_t i = 0; rc == FB_OK && i < count; i++) {
		struct fb_hint_pack pack;

		rc = fb_segment_pack(segment, i, &pack, err);
		if (rc == FB_OK)
			rc = fb_segment_add_pack(writer, &pack, err);
	}
	return rc;
}

/* The smallest prefix, of several the last one's; NULL: all have ended. */
static struct source *
choose(struct source *sources, size_t count)
{
	struct source *best = NULL;

	for (size_t i = 0; i < count; i++)
		if (!sources[i].ended &&
		    (best == NULL ||
		        sources[i].cursor.entry.prefix <=
		            best->cursor.entry.prefix))
			best = &sources[i];
	return best;
}

static int
merge_entries(struct fb_segment_writer *writer, struct source *sources,
    size_t count, struct fb_error *err)
{
	struct source *source;
	int rc = FB_OK;

	for (size_t i = 0; rc == FB_OK && i < count; i++)
		rc = fb_segment_step(
		    &sources[i].cursor, &sources[i].ended, err);
	while (rc == FB_OK && (source = choose(sources, count)) != NULL) {
		struct fb_index_entry entry = source->cursor.entry;

		if (entry.pack < source->pack_count) {
			entry.pack += source->first_pack;
			rc = fb_segment_add(writer, &entry, err);
		}
		if (rc == FB_OK)
			rc = fb_segment_step(
			    &source->cursor, &source->ended, err);
	}
	return rc;
}

int
fb_segment_merge(struct fb_segment *const *segments, size_t count,
    const char *path, bool sync, struct fb_error *err)
{
	struct fb_segment_writer *writer = NULL;
	struct source *sources = fb_alloc(count + 1, sizeof(*sources));
	uint64_t most = 0, packs = 0;
	int rc;

	for (size_t i = 0; i < count; i++)
		most += fb_segment_count(segments[i]);
	rc = fb_segment_begin(path, most, &writer, err);
	for (size_t i = 0; rc == FB_OK && i < count; i++) {
		sources[i].cursor.segment = segments[i];
		sources[i].first_pack = (uint32_t)packs;
		sources[i].pack_count =
		    fb_segment_get_shape(segments[i])->packs;
		packs += sources[i].pack_count;
		rc = packs < FB_INDEX_NONE
		    ? copy_packs(writer, segments[i], err)
		    : fb_fail(err, FB_EUNSUP, "too many packs for an index");
	}
	if (rc == FB_OK)
		rc = merge_entries(writer, sources, count, err);
	if (rc == FB_OK)
		rc = fb_segment_end(writer, sync, err);
	else
		fb_segment_abandon(writer);
	for (size_t i = 0; i < count; i++)
		free(sources[i].cursor.bytes);
	free(sources);
	return rc;
}

/* Reading segments. */
#include "segment_impl.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"

#include "bytes.h"

static const char magic[] = "fleetbak-index1";

/* Entries that are read at once, when a share has more. */
#define NARROW 256

struct fb_segment {
	int fd;
	char *path;
	struct fb_segment_shape shape;
	struct fb_digest digest;
	uint64_t *fences;
	uint8_t *filter; /* NULL: it stays on the disk */
};

void
fb_segment_head_encode(
    const struct fb_segment_shape *shape, struct fb_buf *dst)
{
	static const uint8_t rest[SEGMENT_HEAD_LEN - 16 - 4 * 8] = { 0 };

	fb_buf_add(dst, magic, sizeof(magic));
	fb_buf_add_le64(dst, shape->entries);
	fb_buf_add_le64(dst, shape->packs);
	fb_buf_add_le64(dst, shape->blocks);
	fb_buf_add_le64(dst, shape->fence_bits);
	fb_buf_add(dst, rest, sizeof(rest));
}

bool
fb_segment_head_decode(
    const uint8_t *head, struct fb_segment_shape *ret_shape)
{
	FB_AUTO_BUF struct fb_buf again = { 0 };
	uint64_t bits = fb_load_le64(head + 40);

	*ret_shape = (struct fb_segment_shape){
		.entries = fb_load_le64(head + 16),
		.packs = fb_load_le64(head + 24),
		.blocks = fb_load_le64(head + 32),
		.fence_bits = bits <= 19 ? (uint32_t)bits : 20,
	};
	fb_segment_head_encode(ret_shape, &again);
	return memcmp(again.data, head, SEGMENT_HEAD_LEN) == 0 &&
	    ret_shape->entries < UINT64_C(1) << 48 &&
	    ret_shape->packs < FB_INDEX_NONE && ret_shape->blocks > 0 &&
	    ret_shape->blocks <= FB_SEGMENT_FILTER_MAX / SEGMENT_BLOCK_LEN;
}

static int
fail_damaged(const char *path, struct fb_error *err)
{
	return fb_fail(err, FB_ECORRUPT, "'%s' is damaged", path);
}

static int
read_exactly(const struct fb_segment *segment, void *bytes, size_t len,
    uint64_t offset, struct fb_error *err)
{
	size_t got;
	int rc = fb_io_pread(
	    segment->fd, segment->path, bytes, len, offset, &got, err);

	return rc == FB_OK && got < len ? fail_damaged(segment->path, err)
	                                : rc;
}

static int
read_head(struct fb_segment *segment, struct fb_error *err)
{
	uint8_t head[SEGMENT_HEAD_LEN];
	struct stat st;
	int rc = read_exactly(segment, head, sizeof(head), 0, err);

	if (rc < 0)
		return rc;
	if (!fb_segment_head_decode(head, &segment->shape) ||
	    fstat(segment->fd, &st) != 0 ||
	    (uint64_t)st.st_size !=
	        fb_segment_entries_at(&segment->shape) +
	            segment->shape.entries * SEGMENT_ENTRY_LEN)
		return fail_damaged(segment->path, err);
	return FB_OK;
}

/* Digest a part; what is to be held goes to `dst`, which may be NULL. */
static int
read_part(const struct fb_segment *segment, uint64_t from, uint64_t end,
    struct fb_digester *digester, uint8_t *dst, struct fb_error *err)
{
	FB_AUTO_FREE uint8_t *window = fb_alloc(65536, 1);
	int rc = FB_OK;

	while (rc == FB_OK && from < end) {
		size_t len = end - from < 65536 ? (size_t)(end - from) : 65536;

		rc = read_exactly(segment, window, len, from, err);
		if (rc < 0)
			break;
		fb_digester_add(digester, (struct fb_span){ window, len });
		if (dst != NULL) {
			memcpy(dst, window, len);
			dst += len;
		}
		from += len;
	}
	return rc;
}

static bool
fences_ascend(const struct fb_segment *segment)
{
	size_t count = fb_segment_fence_count(&segment->shape);

	for (size_t i = 1; i < count; i++)
		if (segment->fences[i] < segment->fences[i - 1])
			return false;
	return segment->fences[0] == 0 &&
	    segment->fences[count - 1] == segment->shape.entries;
}

static int
read_fences(struct fb_segment *segment, struct fb_digester *digester,
    struct fb_error *err)
{
	const struct fb_segment_shape *shape = &segment->shape;
	size_t count = fb_segment_fence_count(shape);
	FB_AUTO_FREE uint8_t *bytes = fb_alloc(count, 8);
	int rc = read_part(segment, fb_segment_fences_at(shape),
	    fb_segment_filter_at(shape), digester, bytes, err);

	segment->fences = fb_alloc(count, sizeof(*segment->fences));
	for (size_t i = 0; rc == FB_OK && i < count; i++)
		segment->fences[i] = fb_load_le64(bytes + 8 * i);
	return rc == FB_OK && !fences_ascend(segment)
	    ? fail_damaged(segment->path, err)
	    : rc;
}

static int
read_parts(struct fb_segment *segment, size_t filter_max, struct fb_error *err)
{
	const struct fb_segment_shape *shape = &segment->shape;
	struct fb_digester *digesters[SEGMENT_PARTS];
	struct fb_digest digest;
	int rc;

	if (fb_segment_filter_size(segment) <= filter_max)
		segment->filter = fb_alloc(fb_segment_filter_size(segment), 1);
	for (size_t i = 0; i < SEGMENT_PARTS; i++)
		digesters[i] = fb_digester_new();
	rc = read_part(segment, SEGMENT_HEAD_LEN, fb_segment_fences_at(shape),
	    digesters[SEGMENT_PACKS], NULL, err);
	if (rc == FB_OK)
		rc = read_fences(segment, digesters[SEGMENT_FENCES], err);
	if (rc == FB_OK)
		rc = read_part(segment, fb_segment_filter_at(shape),
		    fb_segment_digest_at(shape), digesters[SEGMENT_FILTER],
		    segment->filter, err);
	if (rc == FB_OK)
		rc = read_exactly(segment, digest.bytes, FB_DIGEST_LEN,
		    fb_segment_digest_at(shape), err);
	fb_segment_seal(shape, digesters, &segment->digest);
	if (rc == FB_OK && fb_digest_cmp(&digest, &segment->digest) != 0)
		rc = fail_damaged(segment->path, err);
	for (size_t i = 0; i < SEGMENT_PARTS; i++)
		fb_digester_free(digesters[i]);
	return rc;
}

int
fb_segment_open(const char *path, size_t filter_max,
    struct fb_segment **ret_segment, struct fb_error *err)
{
	struct fb_segment *segment = fb_alloc(1, sizeof(*segment));
	int rc;

	segment->path = fb_strdup(path);
	rc = segment->fd = fb_io_open(path, O_RDONLY | O_NOFOLLOW, 0, err);
	if (rc >= 0)
		rc = read_head(segment, err);
	if (rc == FB_OK)
		rc = read_parts(segment, filter_max, err);
	if (rc < 0) {
		fb_segment_close(segment);
		return rc;
	}
	/* From here on a few bytes here and there. */
	(void)posix_fadvise(segment->fd, 0, 0, POSIX_FADV_RANDOM);
	*ret_segment = segment;
	return FB_OK;
}

void
fb_segment_close(struct fb_segment *segment)
{
	if (segment == NULL)
		return;
	if (segment->fd >= 0)
		(void)close(segment->fd);
	free(segment->fences);
	free(segment->filter);
	free(segment->path);
	free(segment);
}

const char *
fb_segment_path(const struct fb_segment *segment)
{
	return segment->path;
}

const struct fb_digest *
fb_segment_digest(const struct fb_segment *segment)
{
	return &segment->digest;
}

uint64_t
fb_segment_count(const struct fb_segment *segment)
{
	return segment->shape.entries;
}

const struct fb_segment_shape *
fb_segment_get_shape(const struct fb_segment *segment)
{
	return &segment->shape;
}

size_t
fb_segment_filter_size(const struct fb_segment *segment)
{
	return (size_t)segment->shape.blocks * SEGMENT_BLOCK_LEN;
}

void
fb_segment_drop_filter(struct fb_segment *segment)
{
	fb_freep(&segment->filter);
}

static bool
may_have(const struct fb_segment *segment, uint64_t prefix)
{
	uint64_t bits = fb_segment_bits(prefix);
	const uint8_t *block;

	if (segment->filter == NULL)
		return true;
	block = segment->filter +
	    fb_segment_block(&segment->shape, prefix) * SEGMENT_BLOCK_LEN;
	for (unsigned i = 0; i < 3; i++, bits >>= 9)
		if ((block[(bits & 511) / 8] & 1u << (bits & 7)) == 0)
			return false;
	return true;
}

static struct fb_index_entry
load_entry(const uint8_t *at)
{
	return (struct fb_index_entry){ fb_load_le64(at),
		fb_load_le32(at + 8), fb_load_le32(at + 12) };
}

static int
read_entries(const struct fb_segment *segment, uint64_t from, size_t count,
    uint8_t *bytes, struct fb_error *err)
{
	return read_exactly(segment, bytes, count * SEGMENT_ENTRY_LEN,
	    fb_segment_entries_at(&segment->shape) + from * SEGMENT_ENTRY_LEN,
	    err);
}

/* Between `*low` and `*high`, until they can be read at once. */
static int
narrow(const struct fb_segment *segment, uint64_t prefix, uint64_t *low,
    uint64_t *high, struct fb_error *err)
{
	uint8_t bytes[SEGMENT_ENTRY_LEN];
	int rc = FB_OK;

	while (rc == FB_OK && *high - *low > NARROW) {
		uint64_t middle = *low + (*high - *low) / 2;

		rc = read_entries(segment, middle, 1, bytes, err);
		if (rc < 0)
			break;
		if (load_entry(bytes).prefix <= prefix)
			*low = middle;
		else
			*high = middle;
	}
	return rc;
}

int
fb_segment_find(const struct fb_segment *segment, uint64_t prefix,
    struct fb_index_entry *ret_entry, bool *ret_found, struct fb_error *err)
{
	uint8_t bytes[NARROW * SEGMENT_ENTRY_LEN];
	size_t share = fb_segment_share(&segment->shape, prefix);
	uint64_t low = segment->fences[share];
	uint64_t high = segment->fences[share + 1];
	int rc;

	*ret_found = false;
	if (low == high || !may_have(segment, prefix))
		return FB_OK;
	rc = narrow(segment, prefix, &low, &high, err);
	if (rc == FB_OK)
		rc = read_entries(
		    segment, low, (size_t)(high - low), bytes, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < high - low; i++) {
		*ret_entry = load_entry(bytes + i * SEGMENT_ENTRY_LEN);
		*ret_found = ret_entry->prefix == prefix &&
		    ret_entry->pack < segment->shape.packs;
		if (ret_entry->prefix >= prefix)
			break;
	}
	return FB_OK;
}

int
fb_segment_pack(const struct fb_segment *segment, uint32_t number,
    struct fb_hint_pack *ret_pack, struct fb_error *err)
{
	uint8_t at[SEGMENT_PACK_LEN];
	int rc = read_exactly(segment, at, sizeof(at),
	    SEGMENT_HEAD_LEN + (uint64_t)number * SEGMENT_PACK_LEN, err);

	*ret_pack = (struct fb_hint_pack){
		.table_offset = fb_load_le32(at + 32),
		.table_length = fb_load_le32(at + 36),
	};
	memcpy(ret_pack->id.bytes, at, FB_DIGEST_LEN);
	memcpy(ret_pack->table_digest.bytes, at + 40, FB_DIGEST_LEN);
	return rc;
}

int
fb_segment_step(struct fb_segment_cursor *cursor, bool *ret_end,
    struct fb_error *err)
{
	uint64_t left = cursor->segment->shape.entries - cursor->next;
	int rc;

	*ret_end = cursor->at == cursor->count && left == 0;
	if (*ret_end)
		return FB_OK;
	if (cursor->at == cursor->count) {
		if (cursor->bytes == NULL)
			cursor->bytes =
			    fb_alloc(SEGMENT_PIECE, SEGMENT_ENTRY_LEN);
		cursor->at = 0;
		cursor->count =
		    left < SEGMENT_PIECE ? (size_t)left : SEGMENT_PIECE;
		rc = read_entries(cursor->segment, cursor->next,
		    cursor->count, cursor->bytes, err);
		if (rc < 0)
			return rc;
		cursor->next += cursor->count;
	}
	cursor->entry =
	    load_entry(cursor->bytes + cursor->at++ * SEGMENT_ENTRY_LEN);
	return FB_OK;
}

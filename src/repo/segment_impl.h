/* What the writer and the reader of segments share. */
#ifndef REPO_SEGMENT_IMPL_H
#define REPO_SEGMENT_IMPL_H

#include "segment.h"

#define SEGMENT_HEAD_LEN  64
#define SEGMENT_PACK_LEN  72
#define SEGMENT_ENTRY_LEN 16
#define SEGMENT_BLOCK_LEN 64
#define SEGMENT_DIGEST_LEN FB_DIGEST_LEN

/* What the head says, and what follows from it. */
struct fb_segment_shape {
	uint64_t entries, packs, blocks; /* blocks: of the filter */
	uint32_t fence_bits;
};

static inline uint64_t
fb_segment_fences_at(const struct fb_segment_shape *shape)
{
	return SEGMENT_HEAD_LEN + shape->packs * SEGMENT_PACK_LEN;
}

/* One more than there are shares: the last is the number of entries. */
static inline size_t
fb_segment_fence_count(const struct fb_segment_shape *shape)
{
	return ((size_t)1 << shape->fence_bits) + 1;
}

static inline uint64_t
fb_segment_filter_at(const struct fb_segment_shape *shape)
{
	return fb_segment_fences_at(shape) + fb_segment_fence_count(shape) * 8;
}

static inline uint64_t
fb_segment_digest_at(const struct fb_segment_shape *shape)
{
	return fb_segment_filter_at(shape) + shape->blocks * SEGMENT_BLOCK_LEN;
}

static inline uint64_t
fb_segment_entries_at(const struct fb_segment_shape *shape)
{
	return fb_segment_digest_at(shape) + SEGMENT_DIGEST_LEN;
}

static inline size_t
fb_segment_share(const struct fb_segment_shape *shape, uint64_t prefix)
{
	return shape->fence_bits == 0
	    ? 0
	    : (size_t)(prefix >> (64 - shape->fence_bits));
}

/* The block of the filter that a prefix belongs to: they ascend together.
 * In it three bits, whose numbers are 9 bits each of what this gives. */
static inline uint64_t
fb_segment_block(const struct fb_segment_shape *shape, uint64_t prefix)
{
	return (prefix >> 32) * shape->blocks >> 32;
}

static inline uint64_t
fb_segment_bits(uint64_t prefix)
{
	return prefix * UINT64_C(0x9e3779b97f4a7c15) >> 37;
}

/* The shape of a segment of at most so many entries. */
void fb_segment_plan(uint64_t most, struct fb_segment_shape *shape);
void fb_segment_head_encode(
    const struct fb_segment_shape *shape, struct fb_buf *dst);
/* false: such a segment is not written. */
bool fb_segment_head_decode(
    const uint8_t *head, struct fb_segment_shape *ret_shape);

/* The digest: of the head and of the digests of the parts. */
enum { SEGMENT_PACKS, SEGMENT_FENCES, SEGMENT_FILTER, SEGMENT_PARTS };
void fb_segment_seal(const struct fb_segment_shape *shape,
    struct fb_digester *const parts[SEGMENT_PARTS],
    struct fb_digest *ret_digest);

/* The entries one after the other, by pieces. */
struct fb_segment_cursor {
	const struct fb_segment *segment;
	uint64_t next; /* to be read */
	size_t at, count;
	uint8_t *bytes;
	struct fb_index_entry entry; /* the one at hand */
};
#define SEGMENT_PIECE 4096 /* entries */
/* *ret_end: there are no more. */
FB_MUST_USE int fb_segment_step(struct fb_segment_cursor *cursor,
    bool *ret_end, struct fb_error *err);
const struct fb_segment_shape *fb_segment_get_shape(
    const struct fb_segment *segment);

#endif

/* Blocks of a disk: what writing and updating one share. */
#ifndef ENGINE_RESTORE_BLOCKS_H
#define ENGINE_RESTORE_BLOCKS_H

#include <string.h>

#include "restore_parts.h"

#define RST_BLOCK 4096u

static inline bool
rst_is_zero(const uint8_t *bytes, size_t len)
{
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0;
}

static inline bool
rst_canceled(const struct fb_rst_disk *d)
{
	return d->cancel && atomic_load(d->cancel);
}

/* The end of the block that holds `offset`, at most `end`. */
static inline uint64_t
rst_block_end(uint64_t offset, uint64_t end)
{
	uint64_t next = (offset / RST_BLOCK + 1) * RST_BLOCK;

	return next < end ? next : end;
}

static inline int
rst_write(struct fb_rst_disk *d, uint64_t offset, const uint8_t *bytes,
    size_t len, struct fb_error *err)
{
	d->written_bytes += len;
	return d->target->ops->write(d->target, offset, bytes, len, err);
}

/* Make zeros of the blocks that are none: the target holds `bytes` at
 * `offset`. */
FB_MUST_USE int rst_clear_blocks(struct fb_rst_disk *d, uint64_t offset,
    const uint8_t *bytes, size_t len, struct fb_error *err);

/* What lies before `offset` is durable: see to that, and note it. */
FB_MUST_USE int rst_checkpoint(
    struct fb_rst_disk *d, uint64_t offset, struct fb_error *err);

#endif

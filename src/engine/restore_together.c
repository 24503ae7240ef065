/*
 * Disks that have no content yet, several at once: threads write straight from
 * what they opened, with zero blocks left out so that holes come back.
 */
#include <stdatomic.h>

#include "fleetbak/base/err.h"
#include "restore_blocks.h"

#define CHECKPOINT_EVERY (UINT64_C(256) << 20)

struct writer {
	struct fb_rst_disk *disk;
	uint64_t noted; /* last checkpoint */
	atomic_ullong read, written;
};

/* What of a block is zeros already is so in the target. */
static int
put_blocks(void *arg, uint64_t offset, const void *bytes, size_t len,
    struct fb_error *err)
{
	struct writer *w = arg;
	struct fb_target *target = w->disk->target;
	const uint8_t *at = bytes;
	uint64_t end = offset + len, from = offset;
	int rc = FB_OK;

	atomic_fetch_add(&w->read, len);
	while (from < end && rc >= 0) {
		uint64_t to = rst_block_end(from, end);
		bool zero =
		    rst_is_zero(at + (from - offset), (size_t)(to - from));

		while (to < end) {
			uint64_t next = rst_block_end(to, end);

			if (rst_is_zero(at + (to - offset),
			        (size_t)(next - to)) != zero)
				break;
			to = next;
		}
		if (!zero) {
			atomic_fetch_add(&w->written, to - from);
			rc = target->ops->write(target, from,
			    at + (from - offset), (size_t)(to - from), err);
		}
		from = to;
	}
	return rc;
}

static int
note_passed(void *arg, uint64_t offset, struct fb_error *err)
{
	struct writer *w = arg;
	struct fb_rst_disk *d = w->disk;

	if (d->progress)
		d->progress(d->arg, offset);
	if (offset - w->noted < CHECKPOINT_EVERY || offset >= d->size)
		return FB_OK;
	w->noted = offset;
	return rst_checkpoint(d, offset, err);
}

int
fb_rst_disk_together(struct fb_rst_disk *d, struct fb_error *err)
{
	struct writer w = { .disk = d, .noted = d->from };
	const struct fb_volume_sink sink = { put_blocks, note_passed, &w };
	int rc = fb_volumes_read(d->together, d->reader, d->from, d->size,
	    d->expected, d->cancel, &sink, err);

	d->read_bytes += atomic_load(&w.read);
	d->written_bytes += atomic_load(&w.written);
	return rc < 0 ? rc : d->target->ops->sync(d->target, err);
}

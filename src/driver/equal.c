/* A target that is compared, not written. */
#include "equal.h"

#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"

/* What is written is on the host already, or it is not the same. */
struct equal {
	struct fb_target base;
	struct fb_artifact *disk;
	uint64_t next; /* all before it was compared */
	const struct fb_equal_words *words;
};

static int
differs(const struct equal *equal, struct fb_error *err)
{
	const struct fb_equal_words *words = equal->words;

	(void)fb_fail_id(err, FB_ECONFLICT, words->id, "%s", words->text);
	return fb_hint(err, "%s", words->hint);
}

/* [offset, offset + len) as `bytes`, NULL: zeros. */
static int
compare(struct equal *equal, uint64_t offset, const uint8_t *bytes,
    uint64_t len, struct fb_error *err)
{
	size_t step = (size_t)1 << 20;
	FB_AUTO_FREE uint8_t *there = fb_alloc(step, 1);
	FB_AUTO_FREE uint8_t *zeros = NULL;

	if (bytes == NULL)
		zeros = fb_alloc(step, 1);
	for (uint64_t done = 0; done < len; done += step) {
		int rc;

		if (len - done < step)
			step = (size_t)(len - done);
		rc = equal->disk->ops->read(
		    equal->disk, offset + done, there, step, err);
		if (rc < 0)
			return rc;
		if (memcmp(there, bytes != NULL ? bytes + done : zeros,
		        step) != 0)
			return differs(equal, err);
	}
	return FB_OK;
}

/* What is left out between two writes of one that is fresh is zeros. */
static int
equal_reach(struct equal *equal, uint64_t offset, struct fb_error *err)
{
	int rc = FB_OK;

	if (equal->base.fresh && offset > equal->next)
		rc = compare(
		    equal, equal->next, NULL, offset - equal->next, err);
	if (rc == FB_OK && offset > equal->next)
		equal->next = offset;
	return rc;
}

static int
equal_write(struct fb_target *target, uint64_t offset, const void *bytes,
    size_t len, struct fb_error *err)
{
	struct equal *equal = (struct equal *)target;
	int rc = equal_reach(equal, offset, err);

	if (rc == FB_OK)
		rc = compare(equal, offset, bytes, len, err);
	if (rc == FB_OK && offset + len > equal->next)
		equal->next = offset + len;
	return rc;
}

static int
equal_zero(struct fb_target *target, uint64_t offset, uint64_t len,
    struct fb_error *err)
{
	struct equal *equal = (struct equal *)target;
	int rc = equal_reach(equal, offset, err);

	if (rc == FB_OK)
		rc = compare(equal, offset, NULL, len, err);
	if (rc == FB_OK && offset + len > equal->next)
		equal->next = offset + len;
	return rc;
}

static int
equal_read(struct fb_target *target, uint64_t offset, void *bytes, size_t len,
    struct fb_error *err)
{
	struct fb_artifact *disk = ((struct equal *)target)->disk;

	return disk->ops->read(disk, offset, bytes, len, err);
}

static int
equal_extent(struct fb_target *target, uint64_t from, uint64_t *ret_start,
    uint64_t *ret_end, struct fb_error *err)
{
	struct fb_artifact *disk = ((struct equal *)target)->disk;

	return disk->ops->extent(disk, from, ret_start, ret_end, err);
}

static int
equal_sync(struct fb_target *target, struct fb_error *err)
{
	return equal_reach((struct equal *)target, target->size, err);
}

static void
equal_close(struct fb_target *target)
{
	struct equal *equal = (struct equal *)target;

	fb_artifact_closep(&equal->disk);
	free(equal);
}

static const struct fb_target_ops equal_ops = {
	.extent = equal_extent,
	.read = equal_read,
	.write = equal_write,
	.zero = equal_zero,
	.sync = equal_sync,
	.close = equal_close,
};

struct fb_target *
fb_target_equal(struct fb_artifact *disk, bool fresh,
    const struct fb_equal_words *words)
{
	struct equal *equal = fb_alloc(1, sizeof(*equal));

	equal->base.ops = &equal_ops;
	equal->base.size = disk->size;
	equal->base.fresh = fresh;
	equal->disk = disk;
	equal->words = words;
	return &equal->base;
}

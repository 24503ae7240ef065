/*
 * A disk that is read from a backup job, with an eye on the guest: what it
 * overwrites goes to the job's scratch file first, and when that has no room
 * QEMU holds the guest.  Then the capture is given up, for a guest that stands
 * still is worse than one without a backup.
 */
#include <stdlib.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "libvirt_internal.h"

#define LOOK_NS (INT64_C(1) * 1000000000)

struct watched {
	struct fb_artifact base;
	struct fb_artifact *disk;
	struct fb_libvirt_driver *driver;
	char *uuid;
	int64_t next_ns; /* when it is looked at again */
};

/* That it cannot be looked at is no reason to stop. */
static int
look(struct watched *watched, struct fb_error *err)
{
	FB_AUTO_REF struct fb_libvirt_ref ref = { 0 };
	struct fb_error ignored = { 0 };

	if (fb_libvirt_find(watched->driver, watched->uuid, &ref, &ignored) <
	        0 ||
	    !fb_libvirt_is_held_up(ref.domain))
		return FB_OK;
	if (fb_libvirt_end_job(ref.domain, err) < 0)
		return err->code;
	(void)fb_fail_id(err, FB_EFAILED, "E-SCRATCH-FULL",
	    "'%s' has no room for what the guest overwrites: it was held, and "
	    "goes on without its backup",
	    watched->driver->scratch);
	return fb_hint(err, "give scratch of its source more room");
}

static int
watched_extent(struct fb_artifact *base, uint64_t from, uint64_t *ret_start,
    uint64_t *ret_end, struct fb_error *err)
{
	struct watched *watched = (struct watched *)base;

	return watched->disk->ops->extent(
	    watched->disk, from, ret_start, ret_end, err);
}

static int
watched_read(struct fb_artifact *base, uint64_t offset, void *bytes,
    size_t len, struct fb_error *err)
{
	struct watched *watched = (struct watched *)base;
	int64_t now = fb_clock_mono_ns();
	int rc = FB_OK;

	if (now >= watched->next_ns) {
		rc = look(watched, err);
		watched->next_ns = now + LOOK_NS;
	}
	return rc < 0 ? rc
	              : watched->disk->ops->read(
	                    watched->disk, offset, bytes, len, err);
}

static int
watched_changed(struct fb_artifact *base, const char *since,
    struct fb_ranges *ret_changed, struct fb_error *err)
{
	struct watched *watched = (struct watched *)base;

	return watched->disk->ops->changed_blocks(
	    watched->disk, since, ret_changed, err);
}

static void
watched_close(struct fb_artifact *base)
{
	struct watched *watched = (struct watched *)base;

	watched->disk->ops->close(watched->disk);
	free(watched->uuid);
	free(watched);
}

static const struct fb_artifact_ops plain_ops = {
	.extent = watched_extent,
	.read = watched_read,
	.close = watched_close,
};

static const struct fb_artifact_ops changes_ops = {
	.extent = watched_extent,
	.read = watched_read,
	.changed_blocks = watched_changed,
	.close = watched_close,
};

struct fb_artifact *
fb_libvirt_watch(struct fb_libvirt_driver *driver, const char *uuid,
    struct fb_artifact *owned_disk)
{
	struct watched *watched = fb_alloc(1, sizeof(*watched));

	watched->base = *owned_disk;
	watched->base.ops = owned_disk->ops->changed_blocks != NULL
	    ? &changes_ops
	    : &plain_ops;
	watched->disk = owned_disk;
	watched->driver = driver;
	watched->uuid = fb_strdup(uuid);
	return &watched->base;
}

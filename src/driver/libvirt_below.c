/* Reading an image below its overlay, with an eye on the guest. */
#include <stdlib.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "libvirt_overlay.h"

struct below {
	struct fb_artifact base;
	struct fb_artifact *image; /* NULL: it has been given up */
	struct fb_libvirt_driver *driver;
	char *uuid;
};

/* The image is let go of before it fails: it is what is written to next. */
static int
check_full(struct below *below, struct fb_error *err)
{
	int rc = fb_libvirt_check_full(below->driver, below->uuid, err);

	if (rc < 0 && below->image != NULL)
		below->image->ops->close(FB_STEAL(below->image));
	return rc == FB_OK && below->image == NULL
	    ? fb_fail(err, FB_EFAILED, "it was given up before")
	    : rc;
}

static int
below_extent(struct fb_artifact *base, uint64_t from, uint64_t *ret_start,
    uint64_t *ret_end, struct fb_error *err)
{
	struct below *below = (struct below *)base;
	int rc = check_full(below, err);

	return rc < 0 ? rc
	              : below->image->ops->extent(
	                    below->image, from, ret_start, ret_end, err);
}

static int
below_read(struct fb_artifact *base, uint64_t offset, void *bytes, size_t len,
    struct fb_error *err)
{
	struct below *below = (struct below *)base;
	int rc = check_full(below, err);

	return rc < 0 ? rc
	              : below->image->ops->read(
	                    below->image, offset, bytes, len, err);
}

static int
below_changed(struct fb_artifact *base, const char *since,
    struct fb_ranges *ret_changed, struct fb_error *err)
{
	struct below *below = (struct below *)base;
	int rc = check_full(below, err);

	return rc < 0 ? rc
	              : below->image->ops->changed_blocks(
	                    below->image, since, ret_changed, err);
}

static void
below_close(struct fb_artifact *base)
{
	struct below *below = (struct below *)base;

	if (below->image != NULL)
		below->image->ops->close(below->image);
	free(below->uuid);
	free(below);
}

static const struct fb_artifact_ops below_ops = {
	.extent = below_extent,
	.read = below_read,
	.close = below_close,
};

static const struct fb_artifact_ops below_changes_ops = {
	.extent = below_extent,
	.read = below_read,
	.changed_blocks = below_changed,
	.close = below_close,
};

/* A guest that is held already is let go before anything is read. */
static int
look_first(struct fb_libvirt_driver *driver, const char *uuid,
    struct fb_error *err)
{
	FB_AUTO_REF struct fb_libvirt_ref ref = { 0 };
	int rc = fb_libvirt_find(driver, uuid, &ref, err);

	if (rc == FB_OK && fb_libvirt_is_held_up(ref.domain)) {
		fb_libvirt_note_full(driver, uuid);
		rc = fb_libvirt_merge(driver, ref.domain, uuid, NULL, err);
	}
	if (rc == FB_OK)
		rc = fb_libvirt_begin_watch(driver, err);
	return rc < 0 ? rc : fb_libvirt_check_full(driver, uuid, err);
}

int
fb_libvirt_read_below(struct fb_libvirt_driver *driver, const char *uuid,
    const char *target, struct fb_libvirt_changes *changes,
    struct fb_artifact **ret_artifact, struct fb_error *err)
{
	FB_AUTO_FREE char *path = NULL;
	FB_AUTO_FREE char *format = NULL;
	FB_AUTO_ARTIFACT struct fb_artifact *image = NULL;
	struct below *below;
	int rc = look_first(driver, uuid, err);

	if (rc == FB_OK)
		rc = fb_libvirt_overlay_base(
		    driver, uuid, target, &path, &format, err);
	if (rc == FB_OK)
		rc = fb_libvirt_read_image(driver->far,
		    path, format, changes, &image, err);
	if (rc < 0)
		return rc;
	below = fb_alloc(1, sizeof(*below));
	below->base = *image;
	below->base.ops = image->ops->changed_blocks != NULL
	    ? &below_changes_ops
	    : &below_ops;
	below->image = FB_STEAL(image);
	below->driver = driver;
	below->uuid = fb_strdup(uuid);
	*ret_artifact = &below->base;
	return FB_OK;
}

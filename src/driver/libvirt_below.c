/*
 * A disk below its overlay: its image, which a merge writes to.  Whoever merges
 * ends those who read first, without asking them: they may wait for something
 * else, and the guest for its merge.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "libvirt_overlay.h"

struct fb_libvirt_below {
	struct fb_artifact base;
	struct fb_artifact *image; /* NULL: it has been given up */
	struct fb_libvirt_driver *driver;
	char *uuid;
	struct fb_libvirt_below *next; /* of the driver's, by its lock: */
	int fd;    /* our own of the connection that serves it */
	bool gone; /* it is merged, or is going to be */
};

static void
enlist(struct fb_libvirt_below *below)
{
	struct fb_libvirt_driver *driver = below->driver;

	(void)pthread_mutex_lock(&driver->lock);
	below->next = driver->below;
	driver->below = below;
	(void)pthread_mutex_unlock(&driver->lock);
}

static void
delist(struct fb_libvirt_below *below)
{
	struct fb_libvirt_driver *driver = below->driver;
	struct fb_libvirt_below **at;

	(void)pthread_mutex_lock(&driver->lock);
	for (at = &driver->below; *at != NULL && *at != below;)
		at = &(*at)->next;
	if (*at != NULL)
		*at = below->next;
	fb_closep(&below->fd);
	(void)pthread_mutex_unlock(&driver->lock);
}

/* qemu-nbd ends with its only client, and lets go of the image. */
void
fb_libvirt_end_readers(const struct fb_libvirt_driver *driver, const char *uuid)
{
	struct fb_libvirt_driver *own = (struct fb_libvirt_driver *)driver;

	(void)pthread_mutex_lock(&own->lock);
	for (struct fb_libvirt_below *at = own->below; at != NULL;
	     at = at->next) {
		if (strcmp(at->uuid, uuid) != 0)
			continue;
		at->gone = true;
		if (at->fd >= 0)
			(void)shutdown(at->fd, SHUT_RDWR);
	}
	(void)pthread_mutex_unlock(&own->lock);
}

static bool
is_gone(struct fb_libvirt_below *below)
{
	bool gone;

	(void)pthread_mutex_lock(&below->driver->lock);
	gone = below->gone;
	(void)pthread_mutex_unlock(&below->driver->lock);
	return gone;
}

/* Before something is read, and after it: only then it is known to be what lay
 * there before any merge. */
static int
check_there(struct fb_libvirt_below *below, struct fb_error *err)
{
	struct fb_error why = { 0 };

	if (below->image != NULL && !is_gone(below))
		return FB_OK;
	if (below->image != NULL)
		below->image->ops->close(FB_STEAL(below->image));
	if (fb_libvirt_check_full(below->driver, below->uuid, &why) == FB_OK)
		(void)fb_fail(&why, FB_EFAILED,
		    "its overlay was merged before it was read");
	*err = why;
	return err->code;
}

static int
settle(struct fb_libvirt_below *below, int rc, struct fb_error *err)
{
	int there = check_there(below, err);

	return there < 0 ? there : rc;
}

static int
below_extent(struct fb_artifact *base, uint64_t from, uint64_t *ret_start,
    uint64_t *ret_end, struct fb_error *err)
{
	struct fb_libvirt_below *below = (struct fb_libvirt_below *)base;
	int rc = check_there(below, err);

	return rc < 0 ? rc
	              : settle(below,
	                    below->image->ops->extent(below->image, from,
	                        ret_start, ret_end, err),
	                    err);
}

static int
below_read(struct fb_artifact *base, uint64_t offset, void *bytes, size_t len,
    struct fb_error *err)
{
	struct fb_libvirt_below *below = (struct fb_libvirt_below *)base;
	int rc = check_there(below, err);

	return rc < 0 ? rc
	              : settle(below,
	                    below->image->ops->read(
	                        below->image, offset, bytes, len, err),
	                    err);
}

static int
below_changed(struct fb_artifact *base, const char *since,
    struct fb_ranges *ret_changed, struct fb_error *err)
{
	struct fb_libvirt_below *below = (struct fb_libvirt_below *)base;
	int rc = check_there(below, err);

	if (rc == FB_OK)
		rc = settle(below,
		    below->image->ops->changed_blocks(
		        below->image, since, ret_changed, err),
		    err);
	if (rc < 0)
		fb_ranges_release(ret_changed);
	return rc;
}

static void
below_close(struct fb_artifact *base)
{
	struct fb_libvirt_below *below = (struct fb_libvirt_below *)base;

	/* Ours would keep its server alive. */
	delist(below);
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

/* Who began to merge before it was enlisted has not seen it, but has said so. */
static int
look_again(const struct fb_libvirt_below *below, const char *target,
    struct fb_error *err)
{
	FB_AUTO_FREE char *path = NULL;
	FB_AUTO_FREE char *format = NULL;

	return fb_libvirt_overlay_base(
	    below->driver, below->uuid, target, &path, &format, err);
}

int
fb_libvirt_read_below(struct fb_libvirt_driver *driver, const char *uuid,
    const char *target, struct fb_libvirt_changes *changes,
    struct fb_artifact **ret_artifact, struct fb_error *err)
{
	FB_AUTO_ARTIFACT struct fb_artifact *made = NULL;
	FB_AUTO_FREE char *path = NULL;
	FB_AUTO_FREE char *format = NULL;
	struct fb_artifact *image = NULL;
	struct fb_libvirt_below *below;
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
	made = &below->base;
	below->base = *image;
	below->base.ops = image->ops->changed_blocks != NULL
	    ? &below_changes_ops
	    : &below_ops;
	below->image = image;
	below->driver = driver;
	below->uuid = fb_strdup(uuid);
	below->fd = fb_libvirt_image_fd(image);
	enlist(below);
	if (below->fd < 0)
		return fb_fail_sys(err, "cannot keep the connection to '%s'",
		    path);
	rc = look_again(below, target, err);
	if (rc == FB_OK)
		rc = check_there(below, err);
	if (rc == FB_OK)
		*ret_artifact = FB_STEAL(made);
	return rc;
}

/*
 * A disk as what is read, and as what is written to: that of a backup job, or
 * an image.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/seam.h"
#include "libvirt_checkpoint.h"
#include "libvirt_nbd.h"

struct artifact {
	struct fb_artifact base;
	struct fb_disk disk;
	struct fb_libvirt_changes changes;
};

/* A target is used by several threads; one at a time. */
struct target {
	struct fb_target base;
	struct fb_disk disk;
	pthread_mutex_t lock;
};

static int
artifact_extent(struct fb_artifact *base, uint64_t from, uint64_t *ret_start,
    uint64_t *ret_end, struct fb_error *err)
{
	return fb_disk_extent(
	    &((struct artifact *)base)->disk, from, ret_start, ret_end, err);
}

static int
artifact_read(struct fb_artifact *base, uint64_t offset, void *bytes,
    size_t len, struct fb_error *err)
{
	return fb_disk_read(
	    &((struct artifact *)base)->disk, offset, bytes, len, err);
}

static void
artifact_close(struct fb_artifact *base)
{
	struct artifact *artifact = (struct artifact *)base;

	fb_disk_close(&artifact->disk);
	fb_libvirt_changes_release(&artifact->changes);
	free(artifact);
}

static const struct fb_artifact_ops artifact_ops = {
	.extent = artifact_extent,
	.read = artifact_read,
	.close = artifact_close,
};

int
fb_libvirt_ask_context(struct fb_artifact *base, const char *context,
    uint64_t from, nbd_extent_callback callback, struct fb_error *err)
{
	struct fb_disk *disk = &((struct artifact *)base)->disk;

	return fb_nbd.nbd_can_meta_context(disk->nbd, context) == 1
	    ? fb_disk_ask(disk, from, callback, err)
	    : fb_fail(
	          err, FB_EFAILED, "%s: it has no '%s'", disk->what, context);
}

static int
changed_blocks(struct fb_artifact *base, const char *since,
    struct fb_ranges *ret_changed, struct fb_error *err)
{
	return fb_libvirt_tell_changes(
	    base, &((struct artifact *)base)->changes, since, ret_changed, err);
}

static const struct fb_artifact_ops changes_ops = {
	.extent = artifact_extent,
	.read = artifact_read,
	.changed_blocks = changed_blocks,
	.close = artifact_close,
};

static int
target_extent(struct fb_target *base, uint64_t from, uint64_t *ret_start,
    uint64_t *ret_end, struct fb_error *err)
{
	struct target *target = (struct target *)base;
	int rc;

	(void)pthread_mutex_lock(&target->lock);
	rc = fb_disk_extent(&target->disk, from, ret_start, ret_end, err);
	(void)pthread_mutex_unlock(&target->lock);
	return rc;
}

static int
target_read(struct fb_target *base, uint64_t offset, void *bytes, size_t len,
    struct fb_error *err)
{
	struct target *target = (struct target *)base;
	int rc;

	(void)pthread_mutex_lock(&target->lock);
	rc = fb_disk_read(&target->disk, offset, bytes, len, err);
	(void)pthread_mutex_unlock(&target->lock);
	return rc;
}

static int
check_range(const struct fb_disk *disk, uint64_t offset, uint64_t len,
    struct fb_error *err)
{
	return offset > disk->size || len > disk->size - offset
	    ? fb_fail(err, FB_EBUG, "%s: write past its end", disk->what)
	    : FB_OK;
}

static int
target_write(struct fb_target *base, uint64_t offset, const void *bytes,
    size_t len, struct fb_error *err)
{
	struct target *target = (struct target *)base;
	int rc = check_range(&target->disk, offset, len, err);

	if (rc == FB_OK && fb_seam_fails(FB_STEP_WRITE, target->disk.what))
		rc = fb_fail_sys(err, "%s: cannot write", target->disk.what);
	if (rc < 0)
		return rc;
	(void)pthread_mutex_lock(&target->lock);
	target->disk.count = 0; /* what it said of zeros is past */
	rc = fb_disk_write(&target->disk, offset, bytes, len, err);
	(void)pthread_mutex_unlock(&target->lock);
	return rc;
}

static int
target_zero(
    struct fb_target *base, uint64_t offset, uint64_t len, struct fb_error *err)
{
	struct target *target = (struct target *)base;
	int rc = check_range(&target->disk, offset, len, err);

	if (rc == FB_OK && fb_seam_fails(FB_STEP_WRITE, target->disk.what))
		rc = fb_fail_sys(err, "%s: cannot clear", target->disk.what);
	if (rc < 0 || len == 0)
		return rc;
	(void)pthread_mutex_lock(&target->lock);
	target->disk.count = 0;
	rc = fb_disk_zero(&target->disk, offset, len, err);
	(void)pthread_mutex_unlock(&target->lock);
	return rc;
}

static int
target_sync(struct fb_target *base, struct fb_error *err)
{
	struct target *target = (struct target *)base;
	int rc;

	if (fb_seam_fails(FB_STEP_SYNC, target->disk.what))
		return fb_fail_sys(err, "%s: cannot flush", target->disk.what);
	(void)pthread_mutex_lock(&target->lock);
	rc = fb_disk_flush(&target->disk, err);
	(void)pthread_mutex_unlock(&target->lock);
	return rc;
}

static void
target_close(struct fb_target *base)
{
	struct target *target = (struct target *)base;

	fb_disk_close(&target->disk);
	(void)pthread_mutex_destroy(&target->lock);
	free(target);
}

static const struct fb_target_ops target_ops = {
	.extent = target_extent,
	.read = target_read,
	.write = target_write,
	.zero = target_zero,
	.sync = target_sync,
	.close = target_close,
};

static struct artifact *
new_artifact(struct fb_libvirt_changes *changes)
{
	struct artifact *artifact = fb_alloc(1, sizeof(*artifact));

	artifact->base.ops = changes->token != NULL || changes->why != NULL
	    ? &changes_ops
	    : &artifact_ops;
	artifact->changes = *changes;
	*changes = (struct fb_libvirt_changes){ 0 };
	if (artifact->changes.token != NULL)
		(void)snprintf(artifact->base.token,
		    sizeof(artifact->base.token), "%s",
		    artifact->changes.token);
	return artifact;
}

/* In a session of its own: what interrupts us is not meant for it. */
static int
open_far(struct fb_disk *disk, const char *what, char **owned_words,
    const char *export_, const char *context, struct fb_error *err)
{
	FB_AUTO_WORDS char **words = owned_words;
	FB_AUTO_FREE char **all = NULL;
	size_t count = 0;

	while (words[count] != NULL)
		count++;
	all = fb_alloc(count + 2, sizeof(*all));
	all[0] = (char *)(uintptr_t)"setsid";
	for (size_t i = 0; i < count; i++)
		all[i + 1] = words[i];
	return fb_disk_open_command(disk, what, all, export_, context, err);
}

static int
open_socket(const struct fb_libvirt_far *far, struct fb_disk *disk,
    const char *what, const char *socket, const char *export_,
    const char *context, struct fb_error *err)
{
	return far == NULL
	    ? fb_disk_open_socket(disk, what, socket, export_, context, err)
	    : open_far(disk, what, fb_libvirt_far_to_socket(far, socket),
	          export_, context, err);
}

static int
open_image(const struct fb_libvirt_far *far, struct fb_disk *disk,
    const char *path, const char *format, bool write, const char *bitmap,
    struct fb_error *err)
{
	FB_AUTO_FREE char *context =
	    bitmap != NULL ? fb_libvirt_context(bitmap) : NULL;
	FB_AUTO_FREE char *what = NULL;
	int rc;

	if (far == NULL && bitmap != NULL)
		return fb_disk_open_changes(
		    disk, path, format, bitmap, context, err);
	if (far == NULL)
		return fb_disk_open_image(disk, path, format, write, err);
	if (path[0] != '/')
		return fb_fail(
		    err, FB_EPROTO, "'%s' is no absolute path", path);
	what = fb_format("image '%s'", path);
	rc = open_far(disk, what,
	    fb_libvirt_far_to_image(far, path, format, write, bitmap), "",
	    context, err);
	return rc < 0
	    ? fb_hint(err, "is qemu-nbd installed there (qemu-utils), and the "
	                   "image not in use?")
	    : FB_OK;
}

int
fb_libvirt_read_job(const struct fb_libvirt_far *far, const char *socket,
    const char *export_, struct fb_libvirt_changes *changes,
    struct fb_artifact **ret_artifact, struct fb_error *err)
{
	FB_AUTO_FREE char *what = fb_format("backup job, disk '%s'", export_);
	FB_AUTO_FREE char *context = changes->bitmap != NULL
	    ? fb_libvirt_context(changes->bitmap)
	    : NULL;
	struct artifact *artifact = new_artifact(changes);
	FB_AUTO_ARTIFACT struct fb_artifact *base = &artifact->base;
	int rc = open_socket(
	    far, &artifact->disk, what, socket, export_, context, err);

	if (rc < 0)
		return rc;
	base->size = artifact->disk.size;
	*ret_artifact = FB_STEAL(base);
	return FB_OK;
}

/* What its bitmap is worth is seen before it is served: qemu-nbd would not
 * serve the image with a broken one, and with that of an image below it. */
static int
open_to_read(const struct fb_libvirt_far *far, struct artifact *artifact,
    const char *path, const char *format, struct fb_error *err)
{
	struct fb_libvirt_changes *changes = &artifact->changes;
	struct fb_error why = { 0 };

	if (changes->bitmap != NULL && changes->why == NULL &&
	    fb_libvirt_check_bitmap(far, path, changes->bitmap, &why) < 0)
		changes->why = fb_strdup(why.msg);
	return open_image(far, &artifact->disk, path, format, false,
	    changes->why == NULL ? changes->bitmap : NULL, err);
}

int
fb_libvirt_read_image(const struct fb_libvirt_far *far, const char *path,
    const char *format, struct fb_libvirt_changes *changes,
    struct fb_artifact **ret_artifact, struct fb_error *err)
{
	struct artifact *artifact = new_artifact(changes);
	FB_AUTO_ARTIFACT struct fb_artifact *base = &artifact->base;
	int rc = open_to_read(far, artifact, path, format, err);

	if (rc < 0)
		return rc;
	base->size = artifact->disk.size;
	*ret_artifact = FB_STEAL(base);
	return FB_OK;
}

int
fb_libvirt_image_fd(struct fb_artifact *image)
{
	return fcntl(fb_nbd.nbd_aio_get_fd(
	                 ((struct artifact *)image)->disk.nbd),
	    F_DUPFD_CLOEXEC, 3);
}

int
fb_libvirt_write_image(const struct fb_libvirt_far *far, const char *path,
    const char *format, struct fb_target **ret_target, struct fb_error *err)
{
	FB_AUTO_TARGET struct fb_target *base = NULL;
	struct target *target = fb_alloc(1, sizeof(*target));
	int rc;

	(void)pthread_mutex_init(&target->lock, NULL);
	base = &target->base;
	base->ops = &target_ops;
	rc = open_image(far, &target->disk, path, format, true, NULL, err);
	if (rc < 0)
		return rc;
	base->size = target->disk.size;
	*ret_target = FB_STEAL(base);
	return FB_OK;
}

/*
 * An eye on the guests that are captured: what one overwrites while it is read
 * goes to its job's scratch file first, and when that has no room QEMU holds
 * the guest.  Then its job is ended, whatever is read just now: a guest that
 * stands still is worse than one without a backup.
 */
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "libvirt_internal.h"
#include "libvirt_overlay.h"

/* Between two looks. */
#define LOOK_S 1

/* That it cannot be looked at is no reason for anything. */
static bool
is_held_up(struct fb_libvirt_driver *driver, const char *uuid)
{
	FB_AUTO_REF struct fb_libvirt_ref ref = { 0 };
	struct fb_error ignored = { 0 };

	return fb_libvirt_find(driver, uuid, &ref, &ignored) == FB_OK &&
	    fb_libvirt_is_held_up(ref.domain);
}

/* Who reads it is told first why that ends. */
static void
let_go_on(struct fb_libvirt_driver *driver, const char *uuid)
{
	FB_AUTO_REF struct fb_libvirt_ref ref = { 0 };
	struct fb_error ignored = { 0 };
	enum fb_libvirt_job job;

	if (fb_libvirt_find(driver, uuid, &ref, &ignored) < 0)
		return;
	if (fb_libvirt_is_overlaid(driver, uuid)) {
		fb_libvirt_note_full(driver, uuid);
		(void)!fb_libvirt_merge(
		    driver, ref.domain, uuid, NULL, &ignored);
		return;
	}
	if (fb_libvirt_job(driver, ref.domain, uuid, "", &job, &ignored) < 0 ||
	    job != FB_LIBVIRT_OLD_JOB)
		return;
	fb_libvirt_note_full(driver, uuid);
	(void)!fb_libvirt_end_job(ref.domain, &ignored);
}

/* In a thread of its own: a merge takes its time, and a full scratch holds more
 * than one guest. */
struct rescue {
	struct fb_libvirt_driver *driver;
	char *uuid;
};

static void *
carry_out(void *arg)
{
	struct rescue *rescue = arg;

	let_go_on(rescue->driver, rescue->uuid);
	fb_libvirt_end_rescue(rescue->driver, rescue->uuid);
	free(rescue->uuid);
	free(rescue);
	return NULL;
}

static void
look(struct fb_libvirt_driver *driver, const char *uuid)
{
	struct rescue *rescue;
	pthread_t thread;

	if (!is_held_up(driver, uuid) ||
	    !fb_libvirt_begin_rescue(driver, uuid))
		return;
	rescue = fb_alloc(1, sizeof(*rescue));
	*rescue = (struct rescue){ driver, fb_strdup(uuid) };
	if (pthread_create(&thread, NULL, carry_out, rescue) == 0)
		(void)pthread_detach(thread);
	else
		(void)carry_out(rescue);
}

static bool
await_turn(struct fb_libvirt_driver *driver)
{
	struct timespec until;
	int rc = 0;
	bool ends;

	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += LOOK_S;
	(void)pthread_mutex_lock(&driver->lock);
	while (!driver->watch_ends && rc == 0)
		rc = pthread_cond_timedwait(
		    &driver->watch_cond, &driver->lock, &until);
	ends = driver->watch_ends;
	(void)pthread_mutex_unlock(&driver->lock);
	return !ends;
}

static void *
watch(void *arg)
{
	struct fb_libvirt_driver *driver = arg;

	while (await_turn(driver)) {
		char **uuids = fb_libvirt_list_held(driver);

		for (size_t i = 0; uuids[i] != NULL; i++) {
			look(driver, uuids[i]);
			free(uuids[i]);
		}
		free(uuids);
	}
	return NULL;
}

int
fb_libvirt_begin_watch(struct fb_libvirt_driver *driver, struct fb_error *err)
{
	sigset_t all, before;
	int rc = 0;

	(void)pthread_mutex_lock(&driver->lock);
	if (!driver->watches) {
		/* Signals are for the others. */
		(void)sigfillset(&all);
		(void)pthread_sigmask(SIG_SETMASK, &all, &before);
		rc = pthread_create(
		    &driver->watch_thread, NULL, watch, driver);
		(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
		driver->watches = rc == 0;
	}
	(void)pthread_mutex_unlock(&driver->lock);
	return rc == 0 ? FB_OK
	               : fb_fail(err, FB_ESYS, "cannot start a thread");
}

/* Nobody will look at the guest any more. */
static void
end_unwatched(struct fb_libvirt_driver *driver, const char *uuid)
{
	FB_AUTO_REF struct fb_libvirt_ref ref = { 0 };
	struct fb_error ignored = { 0 };
	enum fb_libvirt_job job;

	if (fb_libvirt_find(driver, uuid, &ref, &ignored) < 0)
		return;
	(void)!fb_libvirt_merge(driver, ref.domain, uuid, NULL, &ignored);
	if (fb_libvirt_job(driver, ref.domain, uuid, "", &job, &ignored) ==
	        FB_OK &&
	    job == FB_LIBVIRT_OLD_JOB)
		(void)!fb_libvirt_end_job(ref.domain, &ignored);
}

void
fb_libvirt_end_watch(struct fb_libvirt_driver *driver)
{
	char **uuids;

	if (!driver->watches)
		return;
	(void)pthread_mutex_lock(&driver->lock);
	driver->watch_ends = true;
	(void)pthread_cond_signal(&driver->watch_cond);
	(void)pthread_mutex_unlock(&driver->lock);
	(void)pthread_join(driver->watch_thread, NULL);
	driver->watches = false;
	(void)pthread_mutex_lock(&driver->lock);
	while (driver->rescues > 0)
		(void)pthread_cond_wait(&driver->watch_cond, &driver->lock);
	(void)pthread_mutex_unlock(&driver->lock);
	uuids = fb_libvirt_list_held(driver);
	for (size_t i = 0; uuids[i] != NULL; i++) {
		end_unwatched(driver, uuids[i]);
		free(uuids[i]);
	}
	free(uuids);
}

/*
 * A disk of a job, which is no failure of the disk when it ends so.
 */

struct watched {
	struct fb_artifact base;
	struct fb_artifact *disk;
	struct fb_libvirt_driver *driver;
	char *uuid;
};

int
fb_libvirt_check_full(struct fb_libvirt_driver *driver, const char *uuid,
    struct fb_error *err)
{
	if (!fb_libvirt_is_full(driver, uuid))
		return FB_OK;
	(void)fb_fail_id(err, FB_EFAILED, "E-SCRATCH-FULL",
	    "'%s' has no room for what the guest overwrites: it was held, and "
	    "goes on without its backup",
	    driver->scratch);
	return fb_hint(err, "give scratch of its source more room");
}

static int
tell(const struct watched *watched, int rc, struct fb_error *err)
{
	struct fb_error full = { 0 };

	if (rc == FB_OK ||
	    fb_libvirt_check_full(watched->driver, watched->uuid, &full) ==
	        FB_OK)
		return rc;
	*err = full;
	return err->code;
}

static int
watched_extent(struct fb_artifact *base, uint64_t from, uint64_t *ret_start,
    uint64_t *ret_end, struct fb_error *err)
{
	struct watched *watched = (struct watched *)base;

	return tell(watched,
	    watched->disk->ops->extent(
	        watched->disk, from, ret_start, ret_end, err),
	    err);
}

static int
watched_read(struct fb_artifact *base, uint64_t offset, void *bytes,
    size_t len, struct fb_error *err)
{
	struct watched *watched = (struct watched *)base;

	return tell(watched,
	    watched->disk->ops->read(watched->disk, offset, bytes, len, err),
	    err);
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

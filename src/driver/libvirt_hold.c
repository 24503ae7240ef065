/* One fleetbak at a time captures a domain: a lock on its directory. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "libvirt_internal.h"

/* A directory may be removed by who had it between its opening and its lock. */
#define TRIES 20

/* Who only looks has it for a moment. */
#define LOOK_NS (INT64_C(500) * 1000000)

struct fb_libvirt_held {
	struct fb_libvirt_held *next;
	char *uuid;
	int fd;
	bool full; /* its job was ended: there was no room in scratch */
	bool rescued; /* somebody is about to let its guest go on */
};

static struct fb_libvirt_held **
find_held(struct fb_libvirt_driver *driver, const char *uuid)
{
	struct fb_libvirt_held **at = &driver->held;

	while (*at != NULL && strcmp((*at)->uuid, uuid) != 0)
		at = &(*at)->next;
	return at;
}

static int
fail_busy(struct fb_error *err)
{
	return fb_fail_id(err, FB_EBUSY, "E-DOMAIN-BUSY",
	    "another run of fleetbak is at work on it");
}

/* To have it, or to look whether somebody has: several may look at once.
 * FB_ERETRY: it is not the directory of that name any more. */
static int
try_lock(const char *path, bool have, int *ret_fd, struct fb_error *err)
{
	FB_AUTO_CLOSE int fd =
	    fb_io_open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, err);
	struct stat opened, named;

	if (fd < 0)
		return fd;
	if (flock(fd, (have ? LOCK_EX : LOCK_SH) | LOCK_NB) == -1)
		return errno == EWOULDBLOCK
		    ? fail_busy(err)
		    : fb_fail_sys(err, "cannot lock '%s'", path);
	if (fstat(fd, &opened) == -1 || stat(path, &named) == -1 ||
	    opened.st_dev != named.st_dev || opened.st_ino != named.st_ino)
		return fb_fail(err, FB_ERETRY, "'%s' has gone", path);
	*ret_fd = fd;
	fd = -1;
	return FB_OK;
}

static int
lock_place(const struct fb_libvirt_driver *driver, const char *uuid,
    int *ret_fd, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_libvirt_place(driver, uuid, "");
	int64_t give_up = fb_clock_mono_ns() + LOOK_NS;
	int rc = FB_OK;

	for (int i = 0; i < TRIES; i++) {
		rc = fb_libvirt_make_place(driver, uuid, "", err);
		if (rc == FB_OK)
			rc = try_lock(path, true, ret_fd, err);
		if (rc == FB_EBUSY && fb_clock_mono_ns() < give_up)
			fb_clock_wait(fb_clock_mono_ns() + LOOK_NS / TRIES);
		else if (rc != FB_ERETRY && rc != FB_ENOTFOUND)
			break;
	}
	return rc;
}

int
fb_libvirt_hold(struct fb_libvirt_driver *driver, const char *uuid,
    struct fb_error *err)
{
	struct fb_libvirt_held **at;
	int fd = -1, rc = FB_OK;

	if (!fb_libvirt_reaches(driver))
		return FB_OK;
	(void)pthread_mutex_lock(&driver->lock);
	at = find_held(driver, uuid);
	if (*at != NULL)
		goto out;
	rc = lock_place(driver, uuid, &fd, err);
	if (rc == FB_OK) {
		*at = fb_alloc(1, sizeof(**at));
		(*at)->uuid = fb_strdup(uuid);
		(*at)->fd = fd;
	}
out:
	(void)pthread_mutex_unlock(&driver->lock);
	return rc;
}

bool
fb_libvirt_has_hold(struct fb_libvirt_driver *driver, const char *uuid)
{
	bool has;

	(void)pthread_mutex_lock(&driver->lock);
	has = *find_held(driver, uuid) != NULL;
	(void)pthread_mutex_unlock(&driver->lock);
	return has;
}

int
fb_libvirt_check_held(const struct fb_libvirt_driver *driver, const char *uuid,
    struct fb_error *err)
{
	struct fb_libvirt_driver *own = (struct fb_libvirt_driver *)driver;
	FB_AUTO_FREE char *path = fb_libvirt_place(driver, uuid, "");
	struct fb_error why = { 0 };
	int fd = -1, rc = FB_OK;

	if (!fb_libvirt_has_hold(own, uuid) && fb_libvirt_reaches(driver))
		rc = try_lock(path, false, &fd, &why);
	if (fd >= 0)
		(void)close(fd);
	if (rc != FB_EBUSY)
		return FB_OK;
	*err = why;
	return rc;
}

char **
fb_libvirt_list_held(struct fb_libvirt_driver *driver)
{
	size_t count = 0;
	char **uuids;

	(void)pthread_mutex_lock(&driver->lock);
	for (struct fb_libvirt_held *at = driver->held; at != NULL;
	     at = at->next)
		count++;
	uuids = fb_alloc(count + 1, sizeof(*uuids));
	for (struct fb_libvirt_held *at = driver->held; at != NULL;
	     at = at->next)
		uuids[--count] = fb_strdup(at->uuid);
	(void)pthread_mutex_unlock(&driver->lock);
	return uuids;
}

static void
set_full(struct fb_libvirt_driver *driver, const char *uuid, bool full)
{
	struct fb_libvirt_held *held;

	(void)pthread_mutex_lock(&driver->lock);
	held = *find_held(driver, uuid);
	if (held != NULL)
		held->full = full;
	(void)pthread_mutex_unlock(&driver->lock);
}

void
fb_libvirt_note_full(struct fb_libvirt_driver *driver, const char *uuid)
{
	set_full(driver, uuid, true);
}

void
fb_libvirt_note_new_job(struct fb_libvirt_driver *driver, const char *uuid)
{
	set_full(driver, uuid, false);
}

bool
fb_libvirt_is_full(struct fb_libvirt_driver *driver, const char *uuid)
{
	const struct fb_libvirt_held *held;
	bool full;

	(void)pthread_mutex_lock(&driver->lock);
	held = *find_held(driver, uuid);
	full = held != NULL && held->full;
	(void)pthread_mutex_unlock(&driver->lock);
	return full;
}

bool
fb_libvirt_begin_rescue(struct fb_libvirt_driver *driver, const char *uuid)
{
	struct fb_libvirt_held *held;
	bool begins;

	(void)pthread_mutex_lock(&driver->lock);
	held = *find_held(driver, uuid);
	begins = held != NULL && !held->rescued;
	if (begins) {
		held->rescued = true;
		driver->rescues++;
	}
	(void)pthread_mutex_unlock(&driver->lock);
	return begins;
}

void
fb_libvirt_end_rescue(struct fb_libvirt_driver *driver, const char *uuid)
{
	struct fb_libvirt_held *held;

	(void)pthread_mutex_lock(&driver->lock);
	held = *find_held(driver, uuid);
	if (held != NULL)
		held->rescued = false;
	driver->rescues--;
	(void)pthread_cond_broadcast(&driver->watch_cond);
	(void)pthread_mutex_unlock(&driver->lock);
}

void
fb_libvirt_let_go_of(struct fb_libvirt_driver *driver, const char *uuid)
{
	struct fb_libvirt_held **at;

	(void)pthread_mutex_lock(&driver->lock);
	at = uuid != NULL ? find_held(driver, uuid) : &driver->held;
	while (*at != NULL) {
		struct fb_libvirt_held *held = *at;

		*at = held->next;
		(void)close(held->fd);
		free(held->uuid);
		free(held);
		if (uuid != NULL)
			break;
	}
	(void)pthread_mutex_unlock(&driver->lock);
}

/*
 * What a run that died has left at a guest.  Overlays grow, and a job's scratch
 * files: when they have no room QEMU holds the guest, and nobody is there to let
 * it go on.
 */
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "libvirt_internal.h"
#include "libvirt_overlay.h"

/* For each byte of a disk that a scratch file holds, and what that needs
 * besides: its tables have 1/4096. */
#define ROOM(size) ((size) + (size) / 1024)

/* What the jobs may take that this process has left to the next run.  They may
 * be of several sources, whose scratches are on one file system more often than
 * not: all count as if they were. */
static uint64_t promised;
static pthread_mutex_t promised_lock = PTHREAD_MUTEX_INITIALIZER;

/* May all that the guest overwrites go to scratch?  Then whoever takes the job
 * over has it still. */
static bool
has_room_locked(const struct fb_libvirt_driver *driver,
    const struct fb_machine *machine)
{
	uint64_t room = fb_libvirt_room(driver->scratch), needs = 0;

	/* Of another host's nothing is known. */
	if (!driver->local || promised > room)
		return false;
	room -= promised;
	for (size_t i = 0; i < machine->volume_count; i++) {
		uint64_t size = ROOM(machine->volumes[i].size);

		if (machine->volumes[i].kind != FB_VOLUME_DISK ||
		    !fb_volume_is_captured(&machine->volumes[i]))
			continue;
		/* A network disk's is not known. */
		if (machine->volumes[i].size == 0 || size > room)
			return false;
		room -= size;
		needs += size;
	}
	promised += needs;
	return true;
}

static bool
has_room(const struct fb_libvirt_driver *driver,
    const struct fb_machine *machine)
{
	bool has;

	(void)pthread_mutex_lock(&promised_lock);
	has = has_room_locked(driver, machine);
	(void)pthread_mutex_unlock(&promised_lock);
	return has;
}

static int
relieve_of_job(struct fb_libvirt_driver *driver,
    const struct fb_machine *machine, virDomainPtr domain, const char *token,
    bool *ret_done, struct fb_error *err)
{
	enum fb_libvirt_job job;
	int rc = fb_libvirt_job(
	    driver, domain, machine->id, token, &job, err);

	if (rc < 0 || job != FB_LIBVIRT_OUR_JOB ||
	    (!fb_libvirt_is_held_up(domain) && has_room(driver, machine)))
		return rc;
	rc = fb_libvirt_end_job(domain, err);
	*ret_done = rc == FB_OK;
	return rc;
}

static int
relieve(struct fb_libvirt_driver *driver, const struct fb_machine *machine,
    const char *token, bool *ret_done, struct fb_error *err)
{
	FB_AUTO_REF struct fb_libvirt_ref ref = { 0 };
	bool overlaid = fb_libvirt_is_overlaid_for(driver, machine->id, token);
	int rc = fb_libvirt_find(driver, machine->id, &ref, err);

	if (rc == FB_ENOTFOUND)
		return overlaid
		    ? fb_libvirt_overlay_lost(driver, machine->id, err)
		    : FB_OK;
	if (rc < 0)
		return rc;
	if (!overlaid)
		return relieve_of_job(
		    driver, machine, ref.domain, token, ret_done, err);
	rc = fb_libvirt_merge(driver, ref.domain, machine->id, token, err);
	*ret_done = rc == FB_OK;
	return rc;
}

int
fb_libvirt_relieve(struct fb_driver *base, const struct fb_machine *machine,
    const struct fb_verb *verb, bool *ret_done, struct fb_error *err)
{
	struct fb_libvirt_driver *driver = (struct fb_libvirt_driver *)base;
	struct fb_error ignored;
	struct stat st;
	FB_AUTO_FREE char *place =
	    fb_libvirt_place(driver, machine->id, verb->token);
	int rc;

	if (fb_io_look(place, &st, &ignored) < 0)
		return FB_OK;
	rc = fb_libvirt_hold(driver, machine->id, err);
	if (rc < 0)
		return rc;
	rc = relieve(driver, machine, verb->token, ret_done, err);
	fb_libvirt_let_go_of(driver, machine->id);
	return rc;
}

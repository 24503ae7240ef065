/* Whether a domain that was made can run, before it does. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/seam.h"
#include "libvirt_new.h"

/* The claim comes first: a domain that is paused without it is somebody
 * else's. */
static int
start_paused(const struct fb_libvirt_driver *driver, virDomainPtr domain,
    const struct fb_restore_request *request, const char *uuid,
    struct fb_error *err)
{
	FB_AUTO_FREE char *mark =
	    fb_libvirt_place(driver, uuid, FB_LIBVIRT_PAUSED);
	struct fb_span token = { (const uint8_t *)request->token,
		strlen(request->token) };
	int rc = fb_libvirt_make_place(driver, uuid, "", err);

	if (rc == FB_OK)
		rc = fb_io_replace(mark, token, 0600, err);
	if (rc == FB_OK)
		rc = fb_libvirt_effect(domain, "start-paused", err);
	if (rc == FB_OK &&
	    fb_libvirt.virDomainCreateWithFlags(
	        domain, VIR_DOMAIN_START_PAUSED) < 0) {
		struct fb_error ignored;

		rc = fb_libvirt_fail(err, true, "it cannot be started");
		if (rc != FB_EUNKNOWN)
			(void)!fb_io_unlink(mark, &ignored);
	}
	return rc;
}

static int
look_at_disks(virDomainPtr domain, const struct fb_machine *machine,
    struct fb_error *err)
{
	for (size_t i = 0; i < machine->volume_count; i++) {
		const struct fb_volume *volume = &machine->volumes[i];
		virDomainBlockInfo info;

		if (volume->kind != FB_VOLUME_DISK ||
		    !fb_volume_is_captured(volume))
			continue;
		if (fb_libvirt.virDomainGetBlockInfo(
		        domain, volume->name, &info, 0) < 0)
			return fb_libvirt_fail(err, false,
			    "its disk '%s' cannot be looked at",
			    volume->name);
		/* A pool may have given more. */
		if (info.capacity < volume->size)
			return fb_fail(err, FB_EFAILED,
			    "its disk '%s' has %llu bytes and not %llu",
			    volume->name, (unsigned long long)info.capacity,
			    (unsigned long long)volume->size);
	}
	return FB_OK;
}

static int
switch_off(const struct fb_libvirt_driver *driver, virDomainPtr domain,
    const char *uuid, struct fb_error *err)
{
	FB_AUTO_FREE char *place = fb_libvirt_place(driver, uuid, "");
	FB_AUTO_FREE char *mark =
	    fb_libvirt_place(driver, uuid, FB_LIBVIRT_PAUSED);
	int rc = fb_libvirt_effect(domain, "switch-off", err);

	if (rc == FB_OK &&
	    fb_libvirt.virDomainDestroyFlags(
	        domain, VIR_DOMAIN_DESTROY_GRACEFUL) < 0)
		rc = fb_libvirt_fail(err, true, "cannot switch it off again");
	if (rc == FB_OK)
		rc = fb_io_unlink(mark, err);
	if (rc == FB_OK && !fb_seam_fails(FB_STEP_RENAME, place))
		(void)rmdir(place);
	return rc;
}

int
fb_libvirt_new_try(const struct fb_libvirt_driver *driver,
    virDomainPtr domain, const struct fb_restore_request *request,
    const char *uuid, struct fb_error *err)
{
	struct fb_error ignored;
	int state, rc = fb_libvirt_state(domain, &state, err);

	/* One that somebody has started since runs. */
	if (rc < 0 || (!fb_libvirt_is_off(state) &&
	                  !(state == VIR_DOMAIN_PAUSED &&
	                      fb_libvirt_is_ours_paused(driver, uuid))))
		return rc;
	if (fb_libvirt_is_off(state))
		rc = start_paused(driver, domain, request, uuid, err);
	if (rc == FB_OK)
		rc = look_at_disks(domain, request->machine, err);
	if (rc == FB_OK && request->start)
		return FB_OK; /* the engine lets it go on */
	if (rc == FB_OK)
		return switch_off(driver, domain, uuid, err);
	if (rc != FB_EUNKNOWN && fb_libvirt_is_ours_paused(driver, uuid))
		(void)!switch_off(driver, domain, uuid, &ignored);
	(void)fb_wrap(err, "it is defined and its disks are whole, but");
	return err->code;
}

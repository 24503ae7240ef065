/* Backup jobs of libvirt on a domain: whose they are, and their end. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "libvirt_internal.h"

/* How long the end of a job may take: libvirt answers before it has ended,
 * and may be busy with the guest's agent for half a minute. */
#define END_NS  (INT64_C(90) * 1000000000)
#define LOOK_NS INT64_C(20000000)

/* The socket that the domain's backup job has, or NULL. */
static char *
job_socket(virDomainPtr domain)
{
	char *xml = fb_libvirt.virDomainBackupGetXMLDesc(domain, 0);
	char *socket = NULL;

	if (xml != NULL)
		socket = fb_domain_backup_socket(
		    (struct fb_span){ (const uint8_t *)xml, strlen(xml) });
	free(xml);
	return socket;
}

enum fb_libvirt_job
fb_libvirt_job(const struct fb_libvirt_driver *driver, virDomainPtr domain,
    const char *uuid, const char *token)
{
	FB_AUTO_FREE char *socket = job_socket(domain);
	FB_AUTO_FREE char *own = fb_libvirt_socket(driver, uuid, token);
	FB_AUTO_FREE char *place = fb_libvirt_place(driver, uuid, "");
	size_t len = strlen(place);
	virDomainJobInfo info;

	if (socket != NULL)
		return strcmp(socket, own) == 0 ? FB_LIBVIRT_OUR_JOB
		    : strncmp(socket, place, len) == 0 && socket[len] == '/'
		    ? FB_LIBVIRT_OLD_JOB
		    : FB_LIBVIRT_FOREIGN_JOB;
	/* Asked before anything is begun: a second job would wait for the
	 * first one for half a minute, and then fail. */
	return fb_libvirt.virDomainGetJobInfo(domain, &info) == 0 &&
	        info.type != VIR_DOMAIN_JOB_NONE
	    ? FB_LIBVIRT_FOREIGN_JOB
	    : FB_LIBVIRT_NO_JOB;
}

int
fb_libvirt_check_job(const struct fb_libvirt_driver *driver,
    virDomainPtr domain, const char *uuid, struct fb_error *err)
{
	if (fb_libvirt_job(driver, domain, uuid, "") != FB_LIBVIRT_FOREIGN_JOB)
		return FB_OK;
	(void)fb_fail_id(err, FB_EBUSY, "E-DOMAIN-BUSY",
	    "a job that is not fleetbak's is under way on it");
	return fb_hint(err, "virsh domjobinfo shows it");
}

int
fb_libvirt_end_job(virDomainPtr domain, struct fb_error *err)
{
	int64_t deadline = fb_clock_mono_ns() + END_NS;

	if (fb_libvirt_effect(domain, "abort-job", err) < 0)
		return err->code;
	if (fb_libvirt.virDomainAbortJob(domain) < 0) {
		FB_AUTO_FREE char *socket = NULL;
		int rc =
		    fb_libvirt_fail(err, true, "cannot end the backup job");

		socket = job_socket(domain);
		return socket != NULL ? rc : FB_OK;
	}
	for (;;) {
		FB_AUTO_FREE char *socket = job_socket(domain);
		int64_t now = fb_clock_mono_ns();

		if (socket == NULL)
			return FB_OK;
		if (now >= deadline)
			return fb_fail(
			    err, FB_ETIMEOUT, "the backup job does not end");
		fb_clock_wait(now + LOOK_NS);
	}
}

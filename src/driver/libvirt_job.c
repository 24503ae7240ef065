/* Backup jobs of libvirt on a domain: whose they are, and their end. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "libvirt_internal.h"
#include "libvirt_overlay.h"

/* How long the end of a job may take: libvirt answers before it has ended,
 * and may be busy with the guest's agent for half a minute. */
#define END_NS  (INT64_C(90) * 1000000000)
#define LOOK_NS INT64_C(20000000)

/* Does libvirt's last error say that there is no such job, or that there could
 * be none?  Whatever else it says, nobody knows. */
static bool
is_none(void)
{
	const virError *error = fb_libvirt.virGetLastError();

	if (error == NULL)
		return false;
	switch (error->code) {
	case VIR_ERR_NO_DOMAIN_BACKUP:
	case VIR_ERR_NO_DOMAIN:
	case VIR_ERR_NO_SUPPORT:
	case VIR_ERR_OPERATION_INVALID: /* it is off */
		return true;
	default:
		return false;
	}
}

/* The socket that the domain's backup job has, or NULL: the caller's. */
static int
job_socket(virDomainPtr domain, char **ret_socket, struct fb_error *err)
{
	char *xml = fb_libvirt.virDomainBackupGetXMLDesc(domain, 0);

	*ret_socket = NULL;
	if (xml == NULL)
		return is_none() ? FB_OK
		                 : fb_libvirt_fail(err, false,
		                       "cannot tell its backup job");
	*ret_socket = fb_domain_backup_socket(
	    (struct fb_span){ (const uint8_t *)xml, strlen(xml) });
	free(xml);
	return FB_OK;
}

/* Asked before anything is begun: a second job would wait for the first one
 * for half a minute, and then fail. */
static int
is_busy(virDomainPtr domain, bool *ret_busy, struct fb_error *err)
{
	virDomainJobInfo info;

	*ret_busy = false;
	if (fb_libvirt.virDomainGetJobInfo(domain, &info) < 0)
		return is_none() ? FB_OK
		                 : fb_libvirt_fail(
		                       err, false, "cannot tell its job");
	*ret_busy = info.type != VIR_DOMAIN_JOB_NONE;
	return FB_OK;
}

int
fb_libvirt_job(const struct fb_libvirt_driver *driver, virDomainPtr domain,
    const char *uuid, const char *token, enum fb_libvirt_job *ret_job,
    struct fb_error *err)
{
	FB_AUTO_FREE char *own = fb_libvirt_socket(driver, uuid, token);
	FB_AUTO_FREE char *socket = NULL;
	bool busy;
	int rc = job_socket(domain, &socket, err);

	if (rc < 0)
		return rc;
	if (socket != NULL) {
		*ret_job = strcmp(socket, own) == 0 ? FB_LIBVIRT_OUR_JOB
		    : fb_libvirt_is_our_socket(driver, uuid, socket)
		    ? FB_LIBVIRT_OLD_JOB
		    : FB_LIBVIRT_FOREIGN_JOB;
		return FB_OK;
	}
	rc = is_busy(domain, &busy, err);
	*ret_job = busy ? FB_LIBVIRT_FOREIGN_JOB : FB_LIBVIRT_NO_JOB;
	return rc;
}

/* What works on single disks (copies, commits) is no job of the domain. */
static int
check_disks(virDomainPtr domain, struct fb_error *err)
{
	FB_AUTO_DOMAIN struct fb_domain live = { 0 };
	int rc = fb_libvirt_read(domain, true, &live, err);

	for (size_t i = 0; rc == FB_OK && i < live.disk_count; i++) {
		virDomainBlockJobInfo info;

		if (live.disks[i].device == FB_DOMAIN_CDROM ||
		    live.disks[i].device == FB_DOMAIN_FLOPPY ||
		    fb_libvirt.virDomainGetBlockJobInfo(
		        domain, live.disks[i].target, &info, 0) != 1)
			continue;
		(void)fb_fail_id(err, FB_EBUSY, "E-DOMAIN-BUSY",
		    "somebody works on its disk '%s'", live.disks[i].target);
		return fb_hint(
		    err, "virsh blockjob shows it; a stop would end it");
	}
	return rc;
}

int
fb_libvirt_check_job(const struct fb_libvirt_driver *driver,
    virDomainPtr domain, const char *uuid, struct fb_error *err)
{
	enum fb_libvirt_job job;
	int rc = fb_libvirt_job(driver, domain, uuid, "", &job, err);

	if (rc < 0)
		return rc;
	/* What works on its disks then merges them, or will be merged. */
	if (job == FB_LIBVIRT_NO_JOB && fb_libvirt_is_overlaid(driver, uuid))
		return fb_libvirt_check_held(driver, uuid, err);
	if (job == FB_LIBVIRT_NO_JOB)
		return check_disks(domain, err);
	if (job != FB_LIBVIRT_FOREIGN_JOB)
		return fb_libvirt_check_held(driver, uuid, err);
	(void)fb_fail_id(err, FB_EBUSY, "E-DOMAIN-BUSY",
	    "a job that is not fleetbak's is under way on it");
	return fb_hint(err, "virsh domjobinfo shows it");
}

/*
 * The end of one.
 */

/* What a guest overwrites goes to a job's scratch file first: when that has no
 * room QEMU holds the guest, until the job is gone and somebody resumes it. */
bool
fb_libvirt_is_held_up(virDomainPtr domain)
{
	int state, reason;

	return fb_libvirt.virDomainGetState(domain, &state, &reason, 0) == 0 &&
	    state == VIR_DOMAIN_PAUSED && reason == VIR_DOMAIN_PAUSED_IOERROR;
}

int
fb_libvirt_let_go_on(virDomainPtr domain, struct fb_error *err)
{
	int rc = fb_libvirt_is_held_up(domain)
	    ? fb_libvirt_effect(domain, "resume-held-up", err)
	    : FB_OK;

	if (rc == FB_OK && fb_libvirt_is_held_up(domain) &&
	    fb_libvirt.virDomainResume(domain) < 0)
		rc = fb_libvirt_fail(err, true, "cannot resume it");
	return rc;
}

static int
await_end(virDomainPtr domain, struct fb_error *err)
{
	int64_t deadline = fb_clock_mono_ns() + END_NS;

	for (;;) {
		FB_AUTO_FREE char *socket = NULL;
		int rc = job_socket(domain, &socket, err);
		int64_t now = fb_clock_mono_ns();

		if (rc < 0 || socket == NULL)
			return rc;
		if (now >= deadline)
			return fb_fail(err, FB_ETIMEOUT,
			    "the backup job does not end");
		fb_clock_wait(now + LOOK_NS);
	}
}

int
fb_libvirt_end_job(virDomainPtr domain, struct fb_error *err)
{
	FB_AUTO_FREE char *socket = NULL;
	struct fb_error ignored;
	int rc = fb_libvirt_effect(domain, "abort-job", err);

	if (rc == FB_OK && fb_libvirt.virDomainAbortJob(domain) < 0)
		rc = fb_libvirt_fail(err, true, "cannot end the backup job");
	/* It may have ended by itself. */
	if (rc < 0 && rc != FB_EUNKNOWN &&
	    job_socket(domain, &socket, &ignored) == FB_OK && socket == NULL)
		rc = FB_OK;
	if (rc == FB_OK)
		rc = await_end(domain, err);
	return rc < 0 ? rc : fb_libvirt_let_go_on(domain, err);
}

/* Is there anything of fleetbak's at all?  Its place is there then. */
static int
is_burdened(const struct fb_libvirt_driver *driver, virDomainPtr domain,
    const char *uuid, bool *ret_is, struct fb_error *err)
{
	enum fb_libvirt_job job = FB_LIBVIRT_NO_JOB;
	bool overlaid = fb_libvirt_is_overlaid(driver, uuid);
	int rc = overlaid
	    ? FB_OK
	    : fb_libvirt_job(driver, domain, uuid, "", &job, err);

	*ret_is = overlaid || job == FB_LIBVIRT_OLD_JOB;
	return rc;
}

/* Looked at anew by who has it: it may have been another fleetbak's. */
static int
free_now(const struct fb_libvirt_driver *driver, virDomainPtr domain,
    const char *uuid, struct fb_error *err)
{
	bool burdened;
	int rc = is_burdened(driver, domain, uuid, &burdened, err);

	if (rc < 0 || !burdened || !fb_libvirt_is_held_up(domain))
		return rc;
	return fb_libvirt_is_overlaid(driver, uuid)
	    ? fb_libvirt_merge(driver, domain, uuid, NULL, err)
	    : fb_libvirt_end_job(domain, err);
}

int
fb_libvirt_free_held_up(struct fb_libvirt_driver *driver,
    virDomainPtr domain, const char *uuid, struct fb_error *err)
{
	bool burdened, had = fb_libvirt_has_hold(driver, uuid);
	int rc = FB_OK;

	if (!fb_libvirt_is_held_up(domain))
		return FB_OK;
	rc = is_burdened(driver, domain, uuid, &burdened, err);
	if (rc < 0 || !burdened)
		return rc;
	rc = fb_libvirt_hold(driver, uuid, err);
	if (rc < 0)
		return rc;
	rc = free_now(driver, domain, uuid, err);
	if (!had)
		fb_libvirt_let_go_of(driver, uuid);
	return rc;
}

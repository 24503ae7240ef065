/* What a capture has of a domain besides its disks: the volume "definition". */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "libvirt_files.h"
#include "libvirt_rest.h"

static int
write_xml(virDomainPtr domain, bool live, const char *dir, const char *name,
    struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_format("%s/%s", dir, name);
	FB_AUTO_BUF struct fb_buf xml = { 0 };
	int rc = fb_libvirt_xml(domain, live, &xml, err);

	return rc < 0 ? rc : fb_io_replace(path, fb_buf_span(&xml), 0600, err);
}

bool
fb_libvirt_is_too_large(
    const struct fb_libvirt_driver *driver, const char *path)
{
	struct fb_libvirt_file file;
	struct fb_error err = { 0 };

	if (path[0] != '/')
		return true;
	/* One that cannot be looked at fails when it is read. */
	if (fb_libvirt_file_look(driver, path, &file, &err) < 0)
		return false;
	return file.there &&
	    ((!file.regular && !file.block) ||
	        file.size > FB_LIBVIRT_FILE_MAX);
}

static int
keep_far_file(const struct fb_libvirt_driver *driver, const char *from,
    const char *path, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	int rc = fb_libvirt_file_read(driver, from, &bytes, err);

	return rc < 0 ? rc
	              : fb_io_replace(path, fb_buf_span(&bytes), 0600, err);
}

/* A file that the domain starts with, into the definition under this name.
 * One that is not there, as an NVRAM before the first start, is none, and of
 * one that is too large the plan says so. */
static int
keep_file(const struct fb_libvirt_driver *driver, const char *dir,
    const char *from, const char *name, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_format("%s/%s", dir, name);
	int rc;

	if (from == NULL || fb_libvirt_is_too_large(driver, from))
		return FB_OK;
	rc = driver->local
	    ? fb_io_replace_by(path, from, FB_LIBVIRT_FILE_MAX, 0600, err)
	    : keep_far_file(driver, from, path, err);
	if (rc == FB_ENOTFOUND)
		return FB_OK;
	return rc < 0 ? fb_wrap(err, "%s", name) : FB_OK;
}

/* What the guest writes to first, and what others change after. */
int
fb_libvirt_keep_definition(const struct fb_libvirt_driver *driver,
    virDomainPtr domain, bool running, const char *dir, struct fb_error *err)
{
	FB_AUTO_DOMAIN struct fb_domain defined = { 0 };
	int rc = write_xml(domain, false, dir, "domain.xml", err);

	if (rc == FB_OK && running)
		rc = write_xml(domain, true, dir, "live.xml", err);
	if (rc == FB_OK)
		rc = fb_libvirt_read(domain, false, &defined, err);
	if (rc == FB_OK)
		rc = keep_file(
		    driver, dir, defined.nvram, FB_LIBVIRT_NVRAM, err);
	if (rc == FB_OK)
		rc = fb_libvirt_tpm_keep(driver, &defined, dir, err);
	if (rc == FB_OK)
		rc = fb_libvirt_past_keep(domain, dir, err);
	return rc < 0 ? rc
	              : fb_libvirt_host_keep(
	                    fb_libvirt.virDomainGetConnect(domain), &defined,
	                    dir, err);
}

int
fb_libvirt_keep_kernel(const struct fb_libvirt_driver *driver,
    virDomainPtr domain, const char *dir, struct fb_error *err)
{
	FB_AUTO_DOMAIN struct fb_domain defined = { 0 };
	int rc = fb_libvirt_read(domain, false, &defined, err);

	if (rc == FB_OK)
		rc = keep_file(driver, dir, defined.kernel, "kernel", err);
	if (rc == FB_OK)
		rc = keep_file(driver, dir, defined.initrd, "initrd", err);
	return rc;
}

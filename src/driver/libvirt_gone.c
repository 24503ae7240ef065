/* Is a capture that is to be removed used by nobody? */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "libvirt_internal.h"
#include "libvirt_overlay.h"

static int
check_text(virDomainPtr domain, bool live, const char *place,
    struct fb_error *err)
{
	FB_AUTO_DOMAIN struct fb_domain read = { 0 };
	FB_AUTO_BUF struct fb_buf xml = { 0 };
	/* Of what is below others the text tells alone. */
	bool names;
	int rc = fb_libvirt_xml(domain, live, &xml, err);

	if (rc == FB_OK)
		rc = fb_domain_read(fb_buf_span(&xml), &read, err);
	if (rc < 0)
		return rc;
	names = strstr(fb_buf_str(&xml), place) != NULL;
	for (size_t i = 0; i < read.disk_count; i++)
		names = names ||
		    (read.disks[i].source != NULL &&
		        strncmp(read.disks[i].source, place,
		            strlen(place)) == 0);
	if (!names)
		return FB_OK;
	(void)fb_fail_id(err, FB_ECONFLICT, "E-OVERLAY",
	    "it has a disk in '%s', which is left as it is", place);
	/* Neither may go further down: that may be another guest's. */
	return fb_hint(err,
	    "give the disk its image back, with 'virsh blockcommit DOMAIN DISK "
	    "--active --pivot --shallow', or 'qemu-img commit -b IMAGE "
	    "OVERLAY' and 'virsh edit' while the machine is off");
}

int
fb_libvirt_overlay_gone(const struct fb_libvirt_driver *driver,
    virDomainPtr domain, const char *uuid, const char *token,
    struct fb_error *err)
{
	FB_AUTO_FREE char *place = fb_libvirt_part(driver, uuid, token, "");
	int rc = check_text(domain, true, place, err);

	return rc < 0 ? rc : check_text(domain, false, place, err);
}

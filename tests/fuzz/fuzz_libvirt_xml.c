/*
 * A domain's XML, which whoever may define domains writes: what is read of it
 * is a machine with a UUID, a name and disks that can be told apart, and the
 * same bytes mean the same.
 */
#include "../../src/driver/libvirt_xml.h"
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fb_span xml = { data, size };
	struct fb_domain domain = { 0 }, again = { 0 };
	struct fb_error err;

	if (fb_domain_read(xml, &domain, &err) == FB_OK) {
		must(strlen(domain.uuid) == FB_UUID_LEN);
		must(domain.name != NULL && domain.name[0] != '\0');
		for (size_t i = 0; i < domain.disk_count; i++) {
			struct fb_domain_disk *disk = &domain.disks[i];

			must(fb_domain_disk(&domain, disk->target) == disk);
			must(disk->type != NULL && disk->format != NULL);
			must(disk->device != FB_DOMAIN_DISK ||
			    disk->why != NULL || disk->source != NULL);
		}
		must(fb_domain_read(xml, &again, &err) == FB_OK);
		must(fb_digest_cmp(&domain.digest, &again.digest) == 0);
		must(again.disk_count == domain.disk_count);
	} else {
		must(err.code == FB_EPROTO);
	}
	fb_domain_release(&domain);
	fb_domain_release(&again);
	return 0;
}

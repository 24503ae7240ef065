/*
 * A domain's XML, which whoever may define domains writes: what is read of it
 * is a machine with a UUID, a name and disks that can be told apart, and the
 * same bytes mean the same.  Made another one it is a domain with the name and
 * the UUID that it is given.
 */
#include "../../src/driver/libvirt_xml.h"
#include "fuzz.h"

static void
make_another(struct fb_span xml, const struct fb_domain *domain)
{
	static const struct fb_digest seed = { { 7 } };
	struct fb_domain_place place = { .kind = FB_PLACE_FILE,
		.path = "/new/<image>" };
	struct fb_domain_change change = { .name = "new & other",
		.uuid = "0d5f4a7e-2b7c-4d0c-9a35-3a9f1c6e8b11",
		.nvram = "/new/vars",
		.places = &place,
		.beside = &seed };
	struct fb_buf made = { 0 };
	struct fb_domain other = { 0 };
	struct fb_error err;

	if (domain->disk_count > 0) {
		place.target = domain->disks[0].target;
		change.place_count = 1;
	}
	must(fb_domain_change(xml, &change, &made, &err) == FB_OK);
	if (made.len <= FB_DOMAIN_XML_MAX) {
		must(fb_domain_read(fb_buf_span(&made), &other, &err) ==
		    FB_OK);
		must(strcmp(other.name, change.name) == 0);
		must(strcmp(other.uuid, change.uuid) == 0);
		must(other.host_devices == 0);
		must(domain->nvram == NULL ||
		    strcmp(other.nvram, change.nvram) == 0);
		must(change.place_count == 0 ||
		    strcmp(other.disks[0].source, place.path) == 0);
	}
	fb_domain_release(&other);
	fb_buf_release(&made);
}

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
		make_another(xml, &domain);
	} else {
		must(err.code == FB_EPROTO);
	}
	fb_domain_release(&domain);
	fb_domain_release(&again);
	return 0;
}

/*
 * What a server of object storage answers: whatever it is, what is taken from
 * it is bounded, and a version has a key and an id.
 */
#include "../../src/store/s3.h"
#include "../../src/store/s3_xml.h"
#include "fuzz.h"

static int
visit(void *arg, const char *root, const char *path, const char *text,
    struct fb_error *err)
{
	size_t *total = arg;

	(void)err;
	*total += strlen(root) + strlen(path) + strlen(text);
	return FB_OK;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fb_span xml = { data, size };
	struct s3_versions page = { .prefix = "pre/" };
	FB_AUTO_FREE char *text = fb_format("%.*s", (int)(size < 64 ? size : 64),
	    size > 0 ? (const char *)data : "");
	struct fb_error err;
	size_t total = 0;
	int64_t ns;

	if (s3_xml_read(xml, visit, &total, &err) < 0)
		must(err.code == FB_EPROTO);
	if (s3_versions_read(xml, &page, &err) == FB_OK)
		must(!page.more || page.key_marker[0] != '\0');
	for (size_t i = 0; i < page.count; i++) {
		must(page.items[i].key != NULL && page.items[i].id[0] != '\0');
		must(strlen(page.items[i].id) < FB_STORE_VERSION_SIZE);
		must(page.items[i].time_ns >= 0);
	}
	s3_versions_release(&page);
	if (s3_time(text, &ns))
		must(ns >= 0);
	return 0;
}

/* A manifest that is accepted can be read to its end, twice alike. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/manifest/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int
count(const struct fb_manifest_machine *machine, void *arg,
    struct fb_error *err)
{
	(void)err;
	*(size_t *)arg += 1 + machine->volume_count;
	return FB_OK;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fb_manifest *manifest;
	struct fb_digest volumes;
	struct fb_error err = { 0 };
	size_t once = 0, twice = 0;

	if (fb_manifest_parse((struct fb_span){ data, size }, &manifest,
	        &err) < 0)
		return 0;
	assert(fb_manifest_machines(manifest, count, &once, &err) == FB_OK);
	assert(fb_manifest_machines(manifest, count, &twice, &err) == FB_OK);
	assert(once == twice);
	assert(fb_manifest_volumes_digest(manifest, &volumes, &err) == FB_OK);
	fb_manifest_close(manifest);
	return 0;
}

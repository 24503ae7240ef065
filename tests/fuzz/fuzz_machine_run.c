/* SOURCE/MACHINE@RUN, as restore takes it: its parts are names, and
 * put together again they are the same words. */
#include "../../src/engine/restore_parts.h"
#include "fleetbak/base/name.h"
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	FB_AUTO_FREE char *text = fb_alloc(size + 1, 1);
	FB_AUTO_FREE char *source = NULL;
	FB_AUTO_FREE char *id = NULL;
	FB_AUTO_FREE char *run = NULL;
	FB_AUTO_FREE char *again = NULL;
	struct fb_error err;

	if (size > 0)
		memcpy(text, data, size);
	if (fb_rst_parse(text, &source, &id, &run, &err) < 0) {
		must(err.code == FB_ECONFIG);
		return 0;
	}
	must(source == NULL || fb_name_ok(source, strlen(source)));
	must(id[0] != '\0' && strchr(id, '/') == NULL);
	for (const char *at = id; *at != '\0'; at++)
		must((unsigned char)*at >= ' ' && *at != 0x7f);
	must(run == NULL || strcmp(run, "latest") == 0 ||
	    fb_run_id_ok(run, strlen(run)));
	again = fb_format("%s%s%s%s%s", source != NULL ? source : "",
	    source != NULL ? "/" : "", id, run != NULL ? "@" : "",
	    run != NULL ? run : "");
	must(strcmp(again, text) == 0);
	return 0;
}

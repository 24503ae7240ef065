/* Lines of VOLUMES, which verify reads when the manifest is damaged, and which
 * may be as damaged themselves: what is taken for names is names, as they
 * stand in the line. */
#include "fleetbak/base/name.h"
#include "fleetbak/manifest/manifest.h"
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fb_span rest = { data, size };

	while (rest.len > 0) {
		struct fb_span line = take_line(&rest);
		FB_AUTO_FREE char *text = fb_alloc(line.len + 1, 1);
		FB_AUTO_FREE char *again = NULL;
		char *source, *machine, *volume;

		if (line.len > 0)
			memcpy(text, line.ptr, line.len);
		if (!fb_volumes_line(text, &source, &machine, &volume))
			continue;
		must(fb_name_ok(source, strlen(source)) &&
		    fb_name_ok(machine, strlen(machine)) &&
		    fb_name_ok(volume, strlen(volume)));
		again = fb_format("%s/%s %s ", source, machine, volume);
		must(strlen(again) <= line.len &&
		    memcmp(again, line.ptr, strlen(again)) == 0);
	}
	return 0;
}

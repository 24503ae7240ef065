/* The catalogue: a line that is read is written again as the same bytes. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/format/catalogue.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_line(struct fb_span line)
{
	FB_AUTO_BUF struct fb_buf scratch = { 0 };
	FB_AUTO_BUF struct fb_buf again = { 0 };
	struct fb_entry entry;
	struct fb_error err;

	if (fb_catalogue_decode(line, &scratch, &entry, &err) < 0)
		return;
	fb_catalogue_add(&again, &entry);
	if (again.len != line.len + 1 ||
	    memcmp(again.data, line.ptr, line.len) != 0)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	while (size > 0) {
		const uint8_t *end = memchr(data, '\n', size);
		size_t len = end != NULL ? (size_t)(end - data) : size;

		check_line((struct fb_span){ data, len });
		len += end != NULL;
		data += len;
		size -= len;
	}
	return 0;
}

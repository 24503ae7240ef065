#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/format/pack.h"

/* Whatever decodes must encode back to the bytes it came from. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fb_error err = { 0 };
	FB_AUTO_BUF struct fb_buf again = { 0 };
	struct fb_pack_table table;
	uint64_t offset;

	(void)!fb_pack_tail_decode((struct fb_span){ data, size }, &offset, &err);
	if (fb_pack_table_decode((struct fb_span){ data, size }, &table, &err) <
	    0)
		return 0;
	fb_pack_table_encode(&table, &again);
	fb_pack_table_release(&table);
	if (again.len != size || memcmp(again.data, data, size) != 0)
		abort();
	return 0;
}

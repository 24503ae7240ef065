/* JSON: what is read has one canonical form, which reads as itself. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/format/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fb_error err;
	FB_AUTO_JSON json_t *value = NULL;
	FB_AUTO_JSON json_t *again = NULL;
	FB_AUTO_BUF struct fb_buf text = { 0 };
	FB_AUTO_BUF struct fb_buf twice = { 0 };

	if (fb_json_parse((struct fb_span){ data, size }, 1u << 16, "input",
	        &value, &err) < 0)
		return 0;
	fb_json_add(&text, value);
	if (fb_json_parse(fb_buf_span(&text), 1u << 20, "canonical form",
	        &again, &err) < 0)
		abort();
	fb_json_add(&twice, again);
	if (text.len != twice.len ||
	    memcmp(text.data, twice.data, text.len) != 0)
		abort();
	return 0;
}

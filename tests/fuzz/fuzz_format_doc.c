/* What decodes as a format, session or gc/current encodes to the same
 * bytes. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/format/register.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
assert_same(struct fb_buf *again, struct fb_span text)
{
	assert(again->len == text.len);
	assert(memcmp(again->data, text.ptr, text.len) == 0);
	fb_buf_release(again);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fb_span text = { data, size };
	struct fb_format_doc format;
	struct fb_session_doc session;
	struct fb_gc_doc gc;
	struct fb_buf again = { 0 };
	struct fb_error err = { 0 };

	if (fb_format_doc_decode(text, &format, &err) == FB_OK) {
		fb_format_doc_encode(&format, &again);
		assert_same(&again, text);
	}
	if (fb_session_doc_decode(text, &session, &err) == FB_OK) {
		fb_session_doc_encode(&session, &again);
		assert_same(&again, text);
	}
	if (fb_gc_doc_decode(text, &gc, &err) == FB_OK) {
		fb_gc_doc_encode(&gc, &again);
		assert_same(&again, text);
	}
	return 0;
}

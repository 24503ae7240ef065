/* What decodes as a register, forget, delete set or seal of hints encodes to
 * the same bytes. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/format/pending.h"
#include "fleetbak/format/register.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
assert_same(struct fb_buf *again, struct fb_span text)
{
	assert(again->len == text.len);
	assert(memcmp(again->data, text.ptr, text.len) == 0);
	fb_buf_release(again);
}

static void
try_register(struct fb_span text)
{
	struct fb_register reg = { 0 };
	struct fb_buf again = { 0 };
	struct fb_error err = { 0 };

	if (fb_register_decode_head(text, &reg, &err) == FB_OK)
		fb_register_release(&reg);
	if (fb_register_decode(text, &reg, &err) < 0)
		return;
	fb_register_encode(&reg, &again);
	fb_register_release(&reg);
	assert_same(&again, text);
}

static void
try_forget(struct fb_span text)
{
	struct fb_forget forget;
	struct fb_span body;
	struct fb_buf again = { 0 };
	struct fb_error err = { 0 };

	if (fb_forget_decode(text, &forget, &body, &err) < 0)
		return;
	fb_forget_encode_signed(&forget, &again);
	assert(again.len == body.len);
	fb_forget_encode_signature(&forget, &again);
	assert_same(&again, text);
}

static void
try_seal(struct fb_span text)
{
	struct fb_hint_seal seal;
	struct fb_span body;
	struct fb_buf again = { 0 };
	struct fb_error err = { 0 };

	if (fb_hint_seal_decode(text, &seal, &body, &err) < 0)
		return;
	fb_hint_seal_encode_signed(&seal, &again);
	assert(again.len == body.len);
	fb_hint_seal_encode_signature(&seal, &again);
	assert_same(&again, text);
}

static void
try_pending(struct fb_span text)
{
	struct fb_pending pending;
	struct fb_undo undo;
	struct fb_hold hold;
	struct fb_span body;
	struct fb_buf again = { 0 };
	struct fb_error err = { 0 };

	if (fb_pending_decode(text, &pending, &body, &err) == FB_OK) {
		fb_pending_encode_signed(&pending, &again);
		assert(again.len == body.len);
		fb_pending_encode_signature(&pending, &again);
		assert_same(&again, text);
	}
	if (fb_undo_decode(text, &undo, &err) == FB_OK) {
		fb_undo_encode(&undo, &again);
		assert_same(&again, text);
	}
	if (fb_hold_decode(text, &hold, &err) == FB_OK) {
		fb_hold_encode(&hold, &again);
		assert_same(&again, text);
	}
}

static void
try_set(struct fb_span text)
{
	struct fb_gc_set set;
	struct fb_buf again = { 0 };
	struct fb_error err = { 0 };

	if (fb_gc_set_decode(text, &set, &err) < 0)
		return;
	fb_gc_set_encode(&set, &again);
	fb_gc_set_release(&set);
	assert_same(&again, text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fb_span text = { data, size };

	try_register(text);
	try_forget(text);
	try_pending(text);
	try_seal(text);
	try_set(text);
	return 0;
}

/* Keys of packs, and the envelopes and certificates around them: whatever is
 * under keys/ was written by anybody who can write to the store. */
#include "fuzz.h"

#include "fleetbak/crypto/envelope.h"
#include "fleetbak/format/pack_keys.h"

/* One that nothing here is sealed to; made once. */
static struct fb_opener *
opener(void)
{
	static struct fb_opener *made;
	struct fb_error err = { 0 };
	FB_AUTO_BUF struct fb_buf pem = { 0 };

	if (made == NULL) {
		must(fb_opener_generate(&pem, &err) == FB_OK);
		must(fb_opener_parse(fb_buf_span(&pem), &made, &err) == FB_OK);
	}
	return made;
}

static void
open_envelope(struct fb_span bytes)
{
	FB_AUTO_RECIPIENTS struct fb_recipients *to = fb_recipients_new();
	FB_AUTO_BUF struct fb_buf plain = { 0 };
	struct fb_error err = { 0 };

	(void)!fb_recipients_add(to, bytes, &err);
	(void)fb_envelope_is_for(to, bytes);
	must(fb_envelope_open(opener(), bytes, &plain, &err) < 0);
	must(plain.len == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	FB_AUTO_BUF struct fb_buf again = { 0 };
	FB_AUTO_BUF struct fb_buf name = { 0 };
	FB_AUTO_PACK_KEYS struct fb_pack_keys keys = { 0 };
	struct fb_span text = { data, size };
	char session[FB_RUN_ID_SIZE], key[FB_KEYS_KEY_SIZE];
	struct fb_error err = { 0 };
	uint64_t number;

	open_envelope(text);
	fb_buf_add(&name, data, size);
	if (fb_keys_key_parse(fb_buf_str(&name), session, &number)) {
		fb_keys_key(session, number, key);
		must(strcmp(key, fb_buf_str(&name)) == 0);
	}
	if (fb_pack_keys_decode(text, &keys, &err) < 0)
		return 0;
	fb_pack_keys_encode(&keys, &again);
	must(again.len == size && memcmp(again.data, data, size) == 0);
	return 0;
}

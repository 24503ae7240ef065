/* Attestations: anybody who can write to the store can put one there. */
#include "fuzz.h"

#include "fleetbak/format/attest.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	FB_AUTO_ATTESTATION struct fb_attestation attestation = { 0 };
	FB_AUTO_BUF struct fb_buf again = { 0 };
	FB_AUTO_BUF struct fb_buf name = { 0 };
	struct fb_span text = { data, size }, body;
	char key[FB_ATTEST_KEY_SIZE];
	struct fb_error err = { 0 };
	struct fb_digest pack;

	fb_buf_add(&name, data, size);
	(void)fb_attest_key_parse(fb_buf_str(&name), &pack);
	if (fb_attestation_decode(text, &attestation, &body, &err) < 0)
		return 0;
	fb_attestation_encode_signed(&attestation, &again);
	must(body.ptr == data && body.len == again.len);
	fb_attestation_encode_signature(&attestation, &again);
	must(again.len == size && memcmp(again.data, data, size) == 0);
	fb_attest_key(attestation.domain, &attestation.pack, key);
	must(fb_attest_key_parse(key, &pack));
	must(fb_digest_cmp(&pack, &attestation.pack) == 0);
	return 0;
}

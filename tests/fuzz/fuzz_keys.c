/* Key files: a key that is read has a public half, which reads as itself. */
#include "fleetbak/crypto/sign.h"
#include "fuzz.h"

static void
check_private(struct fb_span pem)
{
	FB_AUTO_SIGN_KEY struct fb_sign_key *key = NULL;
	FB_AUTO_VERIFY_KEY struct fb_verify_key *public = NULL;
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_trust trust = { 0 };
	uint8_t signature[FB_SIGNATURE_LEN];
	struct fb_error err;

	if (fb_sign_key_parse(pem, &key, &err) < 0) {
		must(err.code == FB_EKEY);
		return;
	}
	must(fb_sign_key_public(key, &text, &err) == FB_OK);
	must(fb_verify_key_parse(fb_buf_span(&text), &public, &err) == FB_OK);
	must(strcmp(fb_sign_key_id(key), fb_verify_key_id(public)) == 0);
	must(fb_sign(key, pem, signature, &err) == FB_OK);
	fb_trust_add(&trust, FB_STEAL(public));
	must(fb_trust_verify(&trust, pem,
	         (struct fb_span){ signature, sizeof(signature) }, NULL,
	         &err) == FB_OK);
	signature[0] ^= 1;
	must(fb_trust_verify(&trust, pem,
	         (struct fb_span){ signature, sizeof(signature) }, NULL,
	         &err) == FB_EUNTRUSTED);
	fb_trust_release(&trust);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fb_span pem = { data, size };
	FB_AUTO_VERIFY_KEY struct fb_verify_key *key = NULL;
	struct fb_error err;

	check_private(pem);
	if (fb_verify_key_parse(pem, &key, &err) < 0)
		must(err.code == FB_EKEY);
	else
		must(strlen(fb_verify_key_id(key)) == FB_KEY_ID_SIZE - 1);
	return 0;
}

/* What the workers of a shared run tell each other, signed. */
#include "fleetbak/repo/shared_text.h"

#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"

#define HEAD      "fleetbak-shared 1 "
#define SIGNATURE "signature "
#define TAIL      (sizeof(SIGNATURE) + 2 * FB_SIGNATURE_LEN)

int
fb_shared_text_encode(const struct fb_sign_key *sign, const char *key,
    struct fb_span body, struct fb_buf *dst, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	uint8_t signature[FB_SIGNATURE_LEN];
	char hex[2 * FB_SIGNATURE_LEN + 1];
	int rc;

	fb_buf_add_fmt(&text, HEAD "%s\n", key);
	fb_buf_add(&text, body.ptr, body.len);
	rc = fb_sign(sign, fb_buf_span(&text), signature, err);
	if (rc < 0)
		return rc;
	fb_text_hex(signature, sizeof(signature), hex);
	fb_buf_add(dst, text.data, text.len);
	fb_buf_add_fmt(dst, SIGNATURE "%s\n", hex);
	return FB_OK;
}

int
fb_shared_text_check(const struct fb_trust *trust, const char *key,
    struct fb_span text, struct fb_span *ret_body, struct fb_error *err)
{
	FB_AUTO_FREE char *head = fb_format(HEAD "%s\n", key);
	size_t head_len = strlen(head);
	uint8_t signature[FB_SIGNATURE_LEN];
	struct fb_span tail, body;

	if (text.len < head_len + TAIL || memcmp(text.ptr, head, head_len) != 0)
		return fb_fail(err, FB_ECORRUPT, "it is another object");
	tail = (struct fb_span){ text.ptr + text.len - TAIL, TAIL };
	body = (struct fb_span){ text.ptr, text.len - TAIL };
	if (memcmp(tail.ptr, SIGNATURE, sizeof(SIGNATURE) - 1) != 0 ||
	    tail.ptr[TAIL - 1] != '\n' ||
	    fb_text_unhex((struct fb_span){ tail.ptr + sizeof(SIGNATURE) - 1,
	                      2 * FB_SIGNATURE_LEN },
	        signature, sizeof(signature), err) < 0)
		return fb_fail(err, FB_ECORRUPT, "it has no signature");
	*ret_body =
	    (struct fb_span){ body.ptr + head_len, body.len - head_len };
	return fb_trust_verify(trust, body,
	    (struct fb_span){ signature, sizeof(signature) }, NULL, err);
}

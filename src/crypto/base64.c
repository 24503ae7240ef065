#include "fleetbak/crypto/base64.h"

#include <string.h>

#include <openssl/evp.h>

#include "fleetbak/base/err.h"

/* OpenSSL counts in int; this is a multiple of three. */
#define STEP ((size_t)3 << 20)

void
fb_base64_add(struct fb_buf *dst, struct fb_span bytes)
{
	while (bytes.len > 0) {
		size_t len = bytes.len < STEP ? bytes.len : STEP;
		uint8_t *to = fb_buf_reserve(dst, (len + 2) / 3 * 4 + 1);

		dst->len += (size_t)EVP_EncodeBlock(to, bytes.ptr, (int)len);
		bytes.ptr += len;
		bytes.len -= len;
	}
	fb_buf_add(dst, "", 0);
}

int
fb_base64_decode(const char *text, struct fb_buf *dst, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf again = { 0 };
	size_t before = dst->len, len = strlen(text), done = 0;

	while (done < len && len % 4 == 0) {
		size_t piece =
		    len - done < STEP / 3 * 4 ? len - done : STEP / 3 * 4;
		uint8_t *to = fb_buf_reserve(dst, piece / 4 * 3);
		int got = EVP_DecodeBlock(
		    to, (const uint8_t *)text + done, (int)piece);

		if (got < 0)
			break;
		dst->len += (size_t)got;
		done += piece;
	}
	/* What stood for the padding are zeros. */
	if (done == len)
		for (size_t i = len; i > 0 && i > len - 2 &&
		     text[i - 1] == '=' && dst->len > before;
		     i--)
			dst->len--;
	fb_buf_add(dst, "", 0);
	if (done == len)
		fb_base64_add(&again,
		    (struct fb_span){ dst->data + before, dst->len - before });
	if (done == len && strcmp(fb_buf_str(&again), text) == 0)
		return FB_OK;
	dst->len = before;
	return fb_fail(err, FB_ECORRUPT, "it is not in base64");
}

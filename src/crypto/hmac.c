#include <string.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>

#include "broken.h"
#include "fleetbak/crypto/hmac.h"

void
fb_hmac(struct fb_span key, struct fb_span message, struct fb_digest *ret_mac)
{
	static const uint8_t none[1] = { 0 };
	char digest[] = "SHA256";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(
		    OSSL_MAC_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_end(),
	};
	size_t len = 0;

	/* A key of no bytes is one too, but not for OpenSSL's NULL. */
	if (EVP_Q_mac(NULL, "HMAC", NULL, NULL, params,
	        key.len > 0 ? key.ptr : none, key.len, message.ptr, message.len,
	        ret_mac->bytes, sizeof(ret_mac->bytes), &len) == NULL ||
	    len != sizeof(ret_mac->bytes))
		fb_crypto_broken("HMAC failed");
}

void
fb_md5_of(struct fb_span bytes, uint8_t ret_md5[FB_MD5_LEN])
{
	if (EVP_Q_digest(
	        NULL, "MD5", NULL, bytes.ptr, bytes.len, ret_md5, NULL) != 1)
		fb_crypto_broken("MD5 is not to be had");
}

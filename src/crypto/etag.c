#include "fleetbak/crypto/etag.h"

#include <stdlib.h>

#include <openssl/evp.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"

struct fb_etag {
	EVP_MD_CTX *context; /* NULL: there is no MD5 */
};

struct fb_etag *
fb_etag_new(void)
{
	struct fb_etag *etag = fb_alloc(1, sizeof(*etag));
	EVP_MD *md5 = EVP_MD_fetch(NULL, "MD5", NULL);

	etag->context = md5 != NULL ? EVP_MD_CTX_new() : NULL;
	if (etag->context != NULL &&
	    EVP_DigestInit_ex2(etag->context, md5, NULL) != 1) {
		EVP_MD_CTX_free(etag->context);
		etag->context = NULL;
	}
	EVP_MD_free(md5);
	return etag;
}

void
fb_etag_add(struct fb_etag *etag, struct fb_span bytes)
{
	if (etag->context != NULL)
		(void)EVP_DigestUpdate(etag->context, bytes.ptr, bytes.len);
}

void
fb_etag_end(struct fb_etag *etag, char hex[FB_ETAG_SIZE])
{
	uint8_t raw[EVP_MAX_MD_SIZE];

	hex[0] = '\0';
	if (etag->context != NULL &&
	    EVP_DigestFinal_ex(etag->context, raw, NULL) == 1)
		fb_text_hex(raw, FB_ETAG_LEN, hex);
	EVP_MD_CTX_free(etag->context);
	free(etag);
}

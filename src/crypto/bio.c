#include "bio.h"

#include <openssl/crypto.h>

#include "broken.h"

void
fb_crypto_take_bio(BIO *bio, struct fb_buf *dst)
{
	char *bytes = NULL;
	long len = BIO_get_mem_data(bio, &bytes);

	if (len <= 0)
		fb_crypto_broken("no memory for a key");
	fb_buf_add(dst, bytes, (size_t)len);
	OPENSSL_cleanse(bytes, (size_t)len);
	(void)BIO_free(bio);
}

/*
 * What OpenSSL has written to memory, as a buffer of ours.
 */
#ifndef FB_SRC_CRYPTO_BIO_H
#define FB_SRC_CRYPTO_BIO_H

#include <openssl/bio.h>

#include "fleetbak/base/buf.h"

/* Append what was written to `bio` to `dst`, wipe it there, as it may be a
 * private key, and free `bio`. */
void fb_crypto_take_bio(BIO *bio, struct fb_buf *dst);

#endif

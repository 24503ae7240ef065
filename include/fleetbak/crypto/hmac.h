/*
 * HMAC-SHA-256 (RFC 2104, by OpenSSL), and the MD5 that protocols of others
 * ask for: nothing here relies on it.
 */
#ifndef FB_CRYPTO_HMAC_H
#define FB_CRYPTO_HMAC_H

#include "fleetbak/crypto/digest.h"

#define FB_MD5_LEN 16

/* Threads: any. */
void fb_hmac(
    struct fb_span key, struct fb_span message, struct fb_digest *ret_mac);

void fb_md5_of(struct fb_span bytes, uint8_t ret_md5[FB_MD5_LEN]);

#endif

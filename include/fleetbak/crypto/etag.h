/*
 * MD5 (by OpenSSL), which is what S3 says of stored bytes.  It tells whether
 * they were damaged; nothing relies on it against anybody.  A library that has
 * none (FIPS) gives "".
 */
#ifndef FB_CRYPTO_ETAG_H
#define FB_CRYPTO_ETAG_H

#include "fleetbak/base/buf.h"

#define FB_ETAG_LEN  16
#define FB_ETAG_SIZE (2 * FB_ETAG_LEN + 1)

struct fb_etag; /* a running one */
struct fb_etag *fb_etag_new(void);
void fb_etag_add(struct fb_etag *etag, struct fb_span bytes);
/* In hex; frees it. */
void fb_etag_end(struct fb_etag *etag, char hex[FB_ETAG_SIZE]);

#endif

/*
 * Base64 (RFC 4648, section 4), by OpenSSL.
 * Pure.  Threads: any.
 */
#ifndef FB_CRYPTO_BASE64_H
#define FB_CRYPTO_BASE64_H

#include "fleetbak/base/buf.h"

struct fb_error;

/* Append the text, in one line, with its padding. */
void fb_base64_add(struct fb_buf *dst, struct fb_span bytes);

/* Append the bytes of a text that fb_base64_add() writes for them, and no
 * other.  Errors: FB_ECORRUPT. */
FB_MUST_USE int fb_base64_decode(
    const char *text, struct fb_buf *dst, struct fb_error *err);

#endif

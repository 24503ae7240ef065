/*
 * What the workers of a shared run tell each other: bytes that are signed
 * together with the key of their object, so that none is put in the place of
 * another.
 *
 * Spec:    fleetbak-format(5), "Shared runs".          Threads: any.
 */
#ifndef FB_REPO_SHARED_TEXT_H
#define FB_REPO_SHARED_TEXT_H

#include "fleetbak/crypto/sign.h"

/* Append the object that `key` names.  Errors: those of fb_sign(). */
FB_MUST_USE int fb_shared_text_encode(const struct fb_sign_key *sign,
    const char *key, struct fb_span body, struct fb_buf *dst,
    struct fb_error *err);

/* *ret_body is what was signed, borrowed from `text`.  Errors: FB_ECORRUPT: it
 * is no such object, or another one's; FB_EUNTRUSTED. */
FB_MUST_USE int fb_shared_text_check(const struct fb_trust *trust,
    const char *key, struct fb_span text, struct fb_span *ret_body,
    struct fb_error *err);

#endif

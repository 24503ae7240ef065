/*
 * Envelopes: secrets that only the holders of some private keys can open.
 * CMS (RFC 5652, 5083) with AES-256-GCM, by OpenSSL, as
 *
 *	openssl cms -encrypt -aes-256-gcm -binary -outform DER RECIPIENT.crt
 *	openssl cms -decrypt -inform DER -inkey RECIPIENT.pem
 *
 * make and open them.  An RSA recipient gets its copy by OAEP with SHA-256,
 * one on a NIST curve by ECDH.
 */
#ifndef FB_CRYPTO_ENVELOPE_H
#define FB_CRYPTO_ENVELOPE_H

#include <stdbool.h>

#include "fleetbak/base/buf.h"

struct fb_error;

/* First 16 hex digits of the SHA-256 over the SubjectPublicKeyInfo. */
#define FB_RECIPIENT_ID_SIZE 17

/* No secret that is sealed is larger; an envelope has a little more. */
#define FB_ENVELOPE_PLAIN_MAX (1u << 20)
#define FB_ENVELOPE_MAX       (FB_ENVELOPE_PLAIN_MAX + (256u << 10))

#define FB_RECIPIENTS_MAX 64

struct fb_recipients; /* public keys */
struct fb_opener;     /* a private key */

struct fb_recipients *fb_recipients_new(void);
void fb_recipients_free(struct fb_recipients *recipients);
void fb_recipients_freep(struct fb_recipients **recipients);
#define FB_AUTO_RECIPIENTS FB_CLEANUP(fb_recipients_freep)

/*
 * Add the X.509 certificate or the public key (SubjectPublicKeyInfo) that is
 * in `pem`; one that is there already counts once.  Dates and issuers of a
 * certificate do not matter: the key does.
 * Errors: FB_EKEY (E-RECIPIENT): not such a text, or a key that cannot be
 * sealed to (RSA from 2048 bits on, and P-256, P-384 and P-521 can).
 */
FB_MUST_USE int fb_recipients_add(
    struct fb_recipients *recipients, struct fb_span pem, struct fb_error *err);
size_t fb_recipients_count(const struct fb_recipients *recipients);
/* Which key the recipient number `at` has; and what to call it: the subject
 * of the certificate, printable, or "" of a public key. */
const char *fb_recipients_id(const struct fb_recipients *recipients, size_t at);
const char *fb_recipients_name(
    const struct fb_recipients *recipients, size_t at);

/* Append the envelope of `secret` to `dst`.  Errors: FB_EKEY without any
 * recipient.  Threads: any, for one set of recipients too. */
FB_MUST_USE int fb_envelope_seal(const struct fb_recipients *recipients,
    struct fb_span secret, struct fb_buf *dst, struct fb_error *err);

/* Whether it is sealed to nobody but (some of) these, by what it says: nothing
 * is opened. */
bool fb_envelope_is_for(
    const struct fb_recipients *recipients, struct fb_span envelope);

/* Read a private key from PEM (PKCS#8, or what OpenSSL wrote before it), not
 * encrypted.  Errors: FB_EKEY. */
FB_MUST_USE int fb_opener_parse(
    struct fb_span pem, struct fb_opener **ret_opener, struct fb_error *err);
void fb_opener_free(struct fb_opener *opener);
void fb_opener_freep(struct fb_opener **opener);
#define FB_AUTO_OPENER FB_CLEANUP(fb_opener_freep)
const char *fb_opener_id(const struct fb_opener *opener);

/*
 * Append what is in the envelope to `dst`, which fb_secret_release() wipes.
 * Errors: FB_EKEY: it is not sealed to this key, or was altered (which cannot
 * be told apart); FB_ECORRUPT: it is no envelope.  Threads: any.
 */
FB_MUST_USE int fb_envelope_open(const struct fb_opener *opener,
    struct fb_span envelope, struct fb_buf *dst, struct fb_error *err);

/* Make a private key: P-256, PKCS#8 PEM. */
FB_MUST_USE int fb_opener_generate(
    struct fb_buf *private_pem, struct fb_error *err);

/* Append a certificate of this key, in PEM, that it signs itself: valid for
 * a hundred years, with this subject. */
void fb_opener_certificate(const struct fb_opener *opener, const char *subject,
    struct fb_buf *certificate_pem);

#endif

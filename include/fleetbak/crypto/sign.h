/*
 * Ed25519 signatures (RFC 8032, by OpenSSL) and key files (PKCS#8 and
 * SubjectPublicKeyInfo PEM), and references to secrets.
 */
#ifndef FB_CRYPTO_SIGN_H
#define FB_CRYPTO_SIGN_H

#include <stdbool.h>

#include "fleetbak/base/buf.h"
#include "fleetbak/crypto/digest.h"

struct fb_error;

#define FB_SIGNATURE_LEN 64

/* First 16 hex digits of SHA-256 over the raw public key. */
#define FB_KEY_ID_SIZE 17

struct fb_sign_key;   /* private: signs */
struct fb_verify_key; /* public: verifies */

/*
 * Resolve a reference to a secret: "file:PATH" (relative to `base_dir`;
 * refused when group or others can read it and `private` is set),
 * "env:NAME", "cmd:ARG ARG..." (words split at spaces, no shell), "fd:N"
 * (read to its end by the first call, and the same bytes ever after),
 * "cred:NAME" ($CREDENTIALS_DIRECTORY/NAME, else
 * /etc/fleetbak/credentials/NAME).  At most FB_SECRET_MAX bytes.
 *
 * Owner:  append to `dst`; fb_secret_release() wipes it.
 * Errors: FB_ECONFIG for a bad reference (never echoing a literal secret);
 *         FB_EKEY when it cannot be read or its permissions are too open.
 */
#define FB_SECRET_MAX 65536
FB_MUST_USE int fb_secret_check(const char *reference, struct fb_error *err);
FB_MUST_USE int fb_secret_read(const char *reference, const char *base_dir,
    bool private_key, struct fb_buf *dst, struct fb_error *err);
void fb_secret_release(struct fb_buf *secret);
#define FB_AUTO_SECRET FB_CLEANUP(fb_secret_release)

/* Make a new key pair: PKCS#8 PEM and SPKI PEM. */
FB_MUST_USE int fb_sign_generate(struct fb_buf *private_pem,
    struct fb_buf *public_pem, struct fb_error *err);

/* Read a key from PEM.  Errors: FB_EKEY. */
FB_MUST_USE int fb_sign_key_parse(
    struct fb_span pem, struct fb_sign_key **ret_key, struct fb_error *err);
FB_MUST_USE int fb_verify_key_parse(
    struct fb_span pem, struct fb_verify_key **ret_key, struct fb_error *err);
/* The public half of a private key, as SPKI PEM. */
FB_MUST_USE int fb_sign_key_public(const struct fb_sign_key *key,
    struct fb_buf *public_pem, struct fb_error *err);

void fb_sign_key_free(struct fb_sign_key *key);
void fb_sign_key_freep(struct fb_sign_key **key);
void fb_verify_key_free(struct fb_verify_key *key);
void fb_verify_key_freep(struct fb_verify_key **key);
#define FB_AUTO_SIGN_KEY   FB_CLEANUP(fb_sign_key_freep)
#define FB_AUTO_VERIFY_KEY FB_CLEANUP(fb_verify_key_freep)

const char *fb_sign_key_id(const struct fb_sign_key *key);
const char *fb_verify_key_id(const struct fb_verify_key *key);

FB_MUST_USE int fb_sign(const struct fb_sign_key *key, struct fb_span message,
    uint8_t ret_signature[FB_SIGNATURE_LEN], struct fb_error *err);

/* The keys whose signatures count. */
struct fb_trust {
	struct fb_verify_key **keys;
	size_t count;
};

void fb_trust_add(struct fb_trust *trust, struct fb_verify_key *key); /* owns */
void fb_trust_release(struct fb_trust *trust);

/* Some trusted key made this signature; *ret_key_id (may be NULL) says which.
 * Errors: FB_EUNTRUSTED, id E-SIGNATURE. */
FB_MUST_USE int fb_trust_verify(const struct fb_trust *trust,
    struct fb_span message, struct fb_span signature, const char **ret_key_id,
    struct fb_error *err);

#endif

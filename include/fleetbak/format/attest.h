/*
 * An attestation: who holds a private key has opened every byte of a pack, and
 * says to the writers of another domain which contents are in it.
 *
 *	fleetbak-attestation 1
 *	repository <32 hex>
 *	domain <32 hex>         the tag of the domain that it is for
 *	pack <64 hex>
 *	offset <of its table>
 *	length <of its table>
 *	table <SHA-256 of its table, 64 hex>
 *	chunks <count>
 *	<64 hex>                count times, in the table's order: the id that
 *	                        the content has in that domain
 *	signature <128 hex>     Ed25519, of the lines before
 *
 * Spec: fleetbak-format(5), "Attestations".
 */
#ifndef FB_FORMAT_ATTEST_H
#define FB_FORMAT_ATTEST_H

#include "fleetbak/crypto/sign.h"
#include "fleetbak/format/pack.h"

/* Of as many chunks as a pack has. */
#define FB_ATTEST_MAX ((size_t)FB_PACK_CHUNKS_MAX * FB_DIGEST_HEX_SIZE + 1024)

struct fb_attestation {
	char repository[33];
	uint8_t domain[FB_KEY_TAG_LEN];
	struct fb_digest pack;
	struct fb_digest table;  /* digest of its text ... */
	uint32_t offset, length; /* ... and where it is, without its head */
	struct fb_digest *ids;   /* owned */
	size_t count;
	uint8_t signature[FB_SIGNATURE_LEN];
};

/* Append the lines that are signed; then the line of the signature. */
void fb_attestation_encode_signed(
    const struct fb_attestation *attestation, struct fb_buf *dst);
void fb_attestation_encode_signature(
    const struct fb_attestation *attestation, struct fb_buf *dst);

/* *ret_signed is what the signature is of, borrowed from `text`.
 * Owner: the caller releases.  Errors: FB_ECORRUPT, FB_ETOONEW. */
FB_MUST_USE int fb_attestation_decode(struct fb_span text,
    struct fb_attestation *ret_attestation, struct fb_span *ret_signed,
    struct fb_error *err);
void fb_attestation_release(struct fb_attestation *attestation);
#define FB_AUTO_ATTESTATION FB_CLEANUP(fb_attestation_release)

/* "attests/<tag>/<pack>" */
#define FB_ATTEST_KEY_SIZE 112
void fb_attest_key(const uint8_t domain[FB_KEY_TAG_LEN],
    const struct fb_digest *pack, char key[FB_ATTEST_KEY_SIZE]);
/* Whether `key` is one of those, in that spelling. */
bool fb_attest_key_parse(const char *key, struct fb_digest *ret_pack);

#endif

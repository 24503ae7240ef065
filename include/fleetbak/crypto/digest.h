/*
 * SHA-256 (FIPS 180-4, by OpenSSL) and the hash tree over a volume.
 */
#ifndef FB_CRYPTO_DIGEST_H
#define FB_CRYPTO_DIGEST_H

#include <stdint.h>

#include "fleetbak/base/buf.h"

struct fb_error;

#define FB_DIGEST_LEN      32
#define FB_DIGEST_HEX_SIZE (2 * FB_DIGEST_LEN + 1)

struct fb_digest {
	uint8_t bytes[FB_DIGEST_LEN];
};

/* Digest of all the bytes at once.  Threads: any; the fastest way for small
 * messages (a context is kept per thread). */
void fb_digest_of(struct fb_span bytes, struct fb_digest *ret_digest);

/* Digest of two spans, one after the other. */
void fb_digest_of2(
    struct fb_span a, struct fb_span b, struct fb_digest *ret_digest);

struct fb_digester; /* a running digest */
struct fb_digester *fb_digester_new(void);
void fb_digester_add(struct fb_digester *digester, struct fb_span bytes);
/* The digest so far; the digester goes on. */
void fb_digester_peek(
    const struct fb_digester *digester, struct fb_digest *ret_digest);
void fb_digester_free(struct fb_digester *digester);
void fb_digester_freep(struct fb_digester **digester);
#define FB_AUTO_DIGESTER FB_CLEANUP(fb_digester_freep)

void fb_digest_hex(const struct fb_digest *digest, char text[FB_DIGEST_HEX_SIZE]);
/* As headers of object storage have it. */
#define FB_DIGEST_BASE64_SIZE 45
void fb_digest_base64(
    const struct fb_digest *digest, char text[FB_DIGEST_BASE64_SIZE]);
FB_MUST_USE int fb_digest_parse(struct fb_span text, struct fb_digest *ret_digest,
    struct fb_error *err);
static inline int
fb_digest_cmp(const struct fb_digest *a, const struct fb_digest *b)
{
	return __builtin_memcmp(a->bytes, b->bytes, FB_DIGEST_LEN);
}

/*
 * The hash tree of a volume, built from left to right in O(log n) memory.
 *
 *	data leaf   SHA-256(0x00 || offset || length || chunk id)
 *	zero leaf   SHA-256(0x02 || offset || length)
 *	node        SHA-256(0x01 || left || right)
 *	root        SHA-256(0x03 || size || top), top of no leaf: 32 zero bytes
 *
 * offset, length and size are 64-bit little-endian bytes.  The shape is that
 * of RFC 6962, 2.1: the left subtree of n leaves holds the largest power of
 * two below n.  Leaves are contiguous from 0 to size; neighbouring zero
 * leaves must have been joined by the caller.
 *
 * Spec: fleetbak-format(5), "Content digest".
 */
struct fb_merkle {
	struct fb_digest stack[64];
	uint64_t leaf_count;
	uint64_t size; /* bytes covered so far */
};

void fb_merkle_init(struct fb_merkle *merkle);
void fb_merkle_add_data(
    struct fb_merkle *merkle, uint64_t length, const struct fb_digest *id);
void fb_merkle_add_zero(struct fb_merkle *merkle, uint64_t length);
void fb_merkle_root(const struct fb_merkle *merkle, struct fb_digest *ret_root);

/* Fill `bytes` with cryptographically strong random ones; never fails. */
void fb_random(void *bytes, size_t len);

/* A new run or session id (base/name.h) from the wall clock and randomness;
 * `id` has FB_RUN_ID_SIZE bytes. */
void fb_random_run_id(char *id);

/*
 * The same, but sorted after the id `after` (may be NULL) even when the clock
 * says that it is older: then it is dated a millisecond later than that.
 * Returns by how many nanoseconds the clock is behind `after`, 0 if it is not.
 */
int64_t fb_random_run_id_after(const char *after, char *id);

#endif

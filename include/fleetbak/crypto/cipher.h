/*
 * Encryption of stored bytes (AES-256-CTR) and keyed digests (HMAC-SHA-256),
 * by OpenSSL.
 *
 * Nothing here authenticates: stored bytes are checked by signed digests
 * before they are opened, or what is in them is before anybody has it.
 * Threads: any, but a stream's is one at a time.
 */
#ifndef FB_CRYPTO_CIPHER_H
#define FB_CRYPTO_CIPHER_H

#include <stdint.h>

#include "fleetbak/crypto/digest.h"
#include "fleetbak/crypto/digest_many.h"

#define FB_CIPHER_KEY_LEN 32

struct fb_cipher_key {
	uint8_t bytes[FB_CIPHER_KEY_LEN];
};

/*
 * Encrypt or decrypt in place: `bytes` lie at `offset` of the stream that
 * `key` makes.  Byte o is in the block whose counter is o / 16, a 128-bit
 * big-endian number.  A place of a key's stream must never be used for two
 * different messages.
 */
void fb_cipher_apply(
    const struct fb_cipher_key *key, uint64_t offset, void *bytes, size_t len);

/*
 * The same from one place to another, piece after piece: each goes on where
 * the one before it ended, and the first where fb_cipher_stream_seek() says.
 * `from` and `to` may be the same, else they do not overlap.
 */
struct fb_cipher_stream;
struct fb_cipher_stream *fb_cipher_stream_new(const struct fb_cipher_key *key);
void fb_cipher_stream_seek(struct fb_cipher_stream *stream, uint64_t offset);
void fb_cipher_stream_apply(struct fb_cipher_stream *stream, const void *from,
    void *to, size_t len);
void fb_cipher_stream_free(struct fb_cipher_stream *stream); /* or NULL */

/* HMAC-SHA-256. */
void fb_cipher_mac(const struct fb_cipher_key *key, struct fb_span message,
    struct fb_digest *ret_mac);

/*
 * Ids of contents.  With `domain` NULL: their digests by pieces; else
 * HMAC-SHA-256(domain, what the digest by pieces is the SHA-256 of), so that
 * nobody without the key can tell whether a content is stored.
 */
void fb_cipher_ids(const struct fb_cipher_key *domain,
    struct fb_digest_job *jobs, size_t count);

/*
 * What stands for the SHA-256 `digest` of a whole volume: itself, or with a
 * domain HMAC-SHA-256(domain, 0x04 || digest).
 */
void fb_cipher_flat(
    const struct fb_cipher_key *domain, struct fb_digest *digest);

/* Overwrite a key; the compiler keeps that. */
void fb_cipher_wipe(struct fb_cipher_key *key);

#endif

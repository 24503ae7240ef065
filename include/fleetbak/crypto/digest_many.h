/*
 * Digests by pieces: SHA-256 made so that a processor can hash one message in
 * several lanes of its vector registers, and many messages at once.
 *
 * The digest by pieces of a message is the SHA-256 of the SHA-256s, one after
 * the other, of its pieces of FB_PIECE_LEN bytes; the last piece may be
 * shorter, and an empty message has none.  Where the bytes lie, stock tools
 * make it too:
 *
 *	split -b 8K --filter='openssl dgst -sha256 -binary' FILE | sha256sum
 *
 * Spec: fleetbak-format(5), "Digests by pieces".
 */
#ifndef FB_CRYPTO_DIGEST_MANY_H
#define FB_CRYPTO_DIGEST_MANY_H

#include <stddef.h>

#include "fleetbak/crypto/digest.h"

#define FB_PIECE_LEN 8192u

struct fb_digest_job {
	struct fb_span bytes;
	struct fb_digest digest; /* the result */
};

/* The digest by pieces of each job's bytes.  The more bytes there are in all,
 * the fuller are the lanes: 256 KiB fill them.  Threads: any. */
void fb_digest_pieces_many(struct fb_digest_job *jobs, size_t count);

/* The same, but `join` makes each result of the SHA-256s of its pieces, one
 * after the other, instead of another SHA-256. */
typedef void fb_digest_join(
    void *arg, struct fb_span digests, struct fb_digest *ret_digest);
void fb_digest_pieces_join(
    struct fb_digest_job *jobs, size_t count, fb_digest_join *join, void *arg);

/* The digest by pieces of one message. */
void fb_digest_pieces(struct fb_span bytes, struct fb_digest *ret_digest);

#endif

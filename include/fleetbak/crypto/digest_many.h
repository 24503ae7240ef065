/*
 * SHA-256 of many messages at once: all the chunks of a batch.  The library
 * hashes one after the other; whatever hashes several side by side belongs
 * here and nowhere else.
 */
#ifndef FB_CRYPTO_DIGEST_MANY_H
#define FB_CRYPTO_DIGEST_MANY_H

#include <stddef.h>

#include "fleetbak/crypto/digest.h"

struct fb_digest_job {
	struct fb_span bytes;
	struct fb_digest digest; /* the result */
};

/* Threads: any. */
void fb_digest_many(struct fb_digest_job *jobs, size_t count);

#endif

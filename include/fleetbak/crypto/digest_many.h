/*
 * SHA-256 of many messages at once: what a processor without instructions
 * for SHA-256 does fastest, each message in a lane of its wide registers.
 */
#ifndef FB_CRYPTO_DIGEST_MANY_H
#define FB_CRYPTO_DIGEST_MANY_H

#include <stdbool.h>
#include <stddef.h>

#include "fleetbak/crypto/digest.h"

struct fb_digest_job {
	struct fb_span bytes;
	struct fb_digest digest; /* the result */
};

/* Threads: any. */
void fb_digest_many(struct fb_digest_job *jobs, size_t count);

/* The same in one way, for tests; false: this processor cannot. */
enum fb_digest_way { FB_DIGEST_SINGLE, FB_DIGEST_LANES_8, FB_DIGEST_LANES_16 };
bool fb_digest_many_by(
    enum fb_digest_way way, struct fb_digest_job *jobs, size_t count);

#endif

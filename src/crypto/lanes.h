/*
 * SHA-256 of several messages side by side, each in a lane of the vector
 * registers: by libipsec-mb, where it was there when fleetbak was built and
 * this processor gains from it.
 */
#ifndef FB_SRC_CRYPTO_LANES_H
#define FB_SRC_CRYPTO_LANES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The library counts in 16 bits. */
#define FB_LANE_MESSAGE_MAX 65534u

struct fb_lane_message {
	const uint8_t *bytes;
	size_t len; /* at most FB_LANE_MESSAGE_MAX */
	uint8_t *digest;
};

/*
 * Hash them, or return false and leave it to the caller: there are no lanes,
 * or they would be too empty to be faster than one message after the other.
 * The longest messages should come first: then all lanes end together.
 */
bool fb_lanes_hash(const struct fb_lane_message *messages, size_t count);

#endif

/* Little-endian numbers in bytes that somebody else checked the length of. */
#ifndef REPO_DATA_BYTES_H
#define REPO_DATA_BYTES_H

#include <stdint.h>

static inline uint32_t
fb_load_le32(const uint8_t *at)
{
	return (uint32_t)at[0] | (uint32_t)at[1] << 8 |
	    (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static inline uint64_t
fb_load_le64(const uint8_t *at)
{
	return fb_load_le32(at) | (uint64_t)fb_load_le32(at + 4) << 32;
}

#endif

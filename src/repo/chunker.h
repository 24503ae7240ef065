/*
 * Where chunks end.
 *
 * X(i) is the sum over k = 0..31 of byte[i-k] << k, modulo 2^32; a chunk ends
 * after byte i when X(i) * 0x9E3779B1 + 0x7F4A7C15 (modulo 2^32) is below
 * 2^32 / average.  No end is looked for before `min` bytes, and `max` bytes
 * are an end anyway.  The rule has no memory beyond 32 bytes, so wide
 * registers compute it exactly.
 * Spec: fleetbak-format(5), "Chunks".
 */
#ifndef REPO_DATA_CHUNKER_H
#define REPO_DATA_CHUNKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FB_CHUNK_WINDOW 32

struct fb_chunker {
	size_t min, max; /* min >= FB_CHUNK_WINDOW */
	uint32_t limit;  /* 2^32 / average */
};

enum fb_chunker_kind {
	FB_CHUNKER_SCALAR,
	FB_CHUNKER_AVX2,
	FB_CHUNKER_AVX512,
	FB_CHUNKER_VNNI
};

/* Length of the chunk that begins at `bytes`; 0 when its end is not among
 * the `len` bytes.  The fastest kind this processor has. */
size_t fb_chunker_cut(const struct fb_chunker *chunker, const uint8_t *bytes,
    size_t len);

/* The same by one kind, for tests; false: this processor has it not. */
bool fb_chunker_cut_by(enum fb_chunker_kind kind,
    const struct fb_chunker *chunker, const uint8_t *bytes, size_t len,
    size_t *ret_length);

bool fb_chunker_is_zero(const uint8_t *bytes, size_t len);

#endif

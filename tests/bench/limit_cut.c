/*
 * Where chunks end, sixteen bytes at a step.
 *
 * X of a byte is the sum of b[i - k] << k over the 32 bytes that end with it;
 * a chunk ends where X * FACTOR + ADDEND < 2^16, once in 64 KiB.
 */
#include "limit.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define FACTOR    0x9E3779B1u
#define ADDEND    0x7F4A7C15u
#define THRESHOLD (1u << 16)

static inline __m512i
load(const uint8_t *at)
{
	return _mm512_cvtepu8_epi32(
	    _mm_loadu_si128((const __m128i *)(const void *)at));
}

/* Sums over twice as many bytes: what stood `n` bytes before, shifted. */
#define DOUBLE(now, before, n) \
	_mm512_add_epi32(now, \
	    _mm512_slli_epi32( \
	        _mm512_alignr_epi32(now, before, 16 - (n)), n))

static size_t
cut_slowly(const uint8_t *bytes, size_t at, size_t len)
{
	uint32_t x = 0;

	for (size_t i = at - 32; i < at; i++)
		x = (x << 1) + bytes[i];
	for (; at < len; at++) {
		x = (x << 1) + bytes[at];
		if (x * FACTOR + ADDEND < THRESHOLD)
			return at + 1;
	}
	return len;
}

size_t
limit_cut(const uint8_t *bytes, size_t len)
{
	const __m512i factor = _mm512_set1_epi32((int)FACTOR);
	const __m512i addend = _mm512_set1_epi32((int)ADDEND);
	const __m512i threshold = _mm512_set1_epi32((int)THRESHOLD);
	const __m512i zero = _mm512_setzero_si512();
	size_t at = CHUNK_MIN;
	__m512i x1, x2, x4, x8, x16, before;

	if (len <= CHUNK_MIN)
		return len;
	if (len > CHUNK_MAX)
		len = CHUNK_MAX;
	before = load(bytes + at - 32);
	x1 = load(bytes + at - 16);
	x2 = DOUBLE(x1, before, 1);
	before = DOUBLE(before, zero, 1);
	x4 = DOUBLE(x2, before, 2);
	before = DOUBLE(before, zero, 2);
	x8 = DOUBLE(x4, before, 4);
	before = DOUBLE(before, zero, 4);
	x16 = DOUBLE(x8, before, 8);
	for (; at + 16 <= len; at += 16) {
		__m512i y1 = load(bytes + at);
		__m512i y2 = DOUBLE(y1, x1, 1);
		__m512i y4 = DOUBLE(y2, x2, 2);
		__m512i y8 = DOUBLE(y4, x4, 4);
		__m512i y16 = DOUBLE(y8, x8, 8);
		__m512i y32 =
		    _mm512_add_epi32(y16, _mm512_slli_epi32(x16, 16));
		__mmask16 found = _mm512_cmplt_epu32_mask(
		    _mm512_add_epi32(
		        _mm512_mullo_epi32(y32, factor), addend),
		    threshold);

		if (found != 0)
			return at + (size_t)__builtin_ctz(found) + 1;
		x1 = y1;
		x2 = y2;
		x4 = y4;
		x8 = y8;
		x16 = y16;
	}
	return cut_slowly(bytes, at, len);
}

bool
limit_is_zero(const uint8_t *bytes, size_t len)
{
	size_t at = 0;

	for (; at + 256 <= len; at += 256) {
		__m512i low = _mm512_or_si512(_mm512_loadu_si512(bytes + at),
		    _mm512_loadu_si512(bytes + at + 64));
		__m512i high =
		    _mm512_or_si512(_mm512_loadu_si512(bytes + at + 128),
		        _mm512_loadu_si512(bytes + at + 192));
		__m512i all = _mm512_or_si512(low, high);

		if (_mm512_test_epi64_mask(all, all) != 0)
			return false;
	}
	for (; at < len; at++)
		if (bytes[at] != 0)
			return false;
	return true;
}

#endif

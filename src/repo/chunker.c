#include <string.h>

#include "chunker.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define HAVE_X86 1
#endif

#define MULTIPLIER 0x9E3779B1u
#define ADDEND     0x7F4A7C15u

/* Look for an end after one of the bytes [from, end). */
typedef size_t find_end(
    const uint8_t *bytes, size_t from, size_t end, uint32_t limit);

/* The definition; the others must agree with it to the byte. */
static size_t
find_end_scalar(const uint8_t *bytes, size_t from, size_t end, uint32_t limit)
{
	uint32_t x = 0;

	for (size_t i = from - FB_CHUNK_WINDOW; i < from; i++)
		x = (x << 1) + bytes[i];
	for (size_t i = from; i < end; i++) {
		x = (x << 1) + bytes[i];
		if (x * MULTIPLIER + ADDEND < limit)
			return i + 1;
	}
	return 0;
}

#ifdef HAVE_X86
/*
 * Eight positions at once: sums over 2, 4 and 8 bytes come from shifting
 * lanes in from the vector before; those over 16 and 32 from whole vectors
 * before.  The first 32 bytes only fill the window.
 */
__attribute__((target("avx2"))) static __m256i
add_lanes_1(__m256i now, __m256i before)
{
	__m256i cross = _mm256_permute2x128_si256(before, now, 0x21);

	return _mm256_add_epi32(now,
	    _mm256_slli_epi32(_mm256_alignr_epi8(now, cross, 12), 1));
}

__attribute__((target("avx2"))) static __m256i
add_lanes_2(__m256i now, __m256i before)
{
	__m256i cross = _mm256_permute2x128_si256(before, now, 0x21);

	return _mm256_add_epi32(now,
	    _mm256_slli_epi32(_mm256_alignr_epi8(now, cross, 8), 2));
}

__attribute__((target("avx2"))) static __m256i
add_lanes_4(__m256i now, __m256i before)
{
	__m256i cross = _mm256_permute2x128_si256(before, now, 0x21);

	return _mm256_add_epi32(now, _mm256_slli_epi32(cross, 4));
}

__attribute__((target("avx2"))) static size_t
find_end_avx2(const uint8_t *bytes, size_t from, size_t end, uint32_t limit)
{
	const __m256i flip = _mm256_set1_epi32((int)0x80000000u);
	const __m256i below =
	    _mm256_set1_epi32((int)(limit ^ 0x80000000u));
	const __m256i multiplier = _mm256_set1_epi32((int)MULTIPLIER);
	const __m256i addend = _mm256_set1_epi32((int)ADDEND);
	__m256i sum1 = _mm256_setzero_si256(), sum2 = sum1, sum4 = sum1,
		sum8 = sum1, sum16 = sum1, sum16_old = sum1;
	size_t i = from - FB_CHUNK_WINDOW;

	for (; i + 8 <= end; i += 8) {
		__m256i s1 = _mm256_cvtepu8_epi32(
		    _mm_loadl_epi64((const __m128i *)(const void *)(bytes + i)));
		__m256i s2 = add_lanes_1(s1, sum1);
		__m256i s4 = add_lanes_2(s2, sum2);
		__m256i s8 = add_lanes_4(s4, sum4);
		__m256i s16 =
		    _mm256_add_epi32(s8, _mm256_slli_epi32(sum8, 8));
		__m256i x =
		    _mm256_add_epi32(s16, _mm256_slli_epi32(sum16_old, 16));
		int hits;

		x = _mm256_add_epi32(
		    _mm256_mullo_epi32(x, multiplier), addend);
		hits = _mm256_movemask_ps(_mm256_castsi256_ps(
		    _mm256_cmpgt_epi32(below, _mm256_xor_si256(x, flip))));
		if (hits != 0 && i >= from)
			return i + (size_t)__builtin_ctz((unsigned)hits) + 1;
		sum1 = s1, sum2 = s2, sum4 = s4, sum8 = s8;
		sum16_old = sum16, sum16 = s16;
	}
	return find_end_scalar(bytes, i < from ? from : i, end, limit);
}

#define ADD_LANES_512(now, before, n)                                     \
	_mm512_add_epi32((now),                                           \
	    _mm512_slli_epi32(                                            \
	        _mm512_alignr_epi32((now), (before), 16 - (n)), (n)))

/* The same with sixteen positions. */
__attribute__((target("avx512f"))) static size_t
find_end_avx512(const uint8_t *bytes, size_t from, size_t end, uint32_t limit)
{
	const __m512i below = _mm512_set1_epi32((int)limit);
	const __m512i multiplier = _mm512_set1_epi32((int)MULTIPLIER);
	const __m512i addend = _mm512_set1_epi32((int)ADDEND);
	__m512i sum1 = _mm512_setzero_si512(), sum2 = sum1, sum4 = sum1,
		sum8 = sum1, sum16 = sum1;
	size_t i = from - FB_CHUNK_WINDOW;

	for (; i + 16 <= end; i += 16) {
		__m512i s1 = _mm512_cvtepu8_epi32(
		    _mm_loadu_si128((const __m128i *)(const void *)(bytes + i)));
		__m512i s2 = ADD_LANES_512(s1, sum1, 1);
		__m512i s4 = ADD_LANES_512(s2, sum2, 2);
		__m512i s8 = ADD_LANES_512(s4, sum4, 4);
		__m512i s16 = ADD_LANES_512(s8, sum8, 8);
		__m512i x =
		    _mm512_add_epi32(s16, _mm512_slli_epi32(sum16, 16));
		__mmask16 hits = _mm512_cmplt_epu32_mask(
		    _mm512_add_epi32(
		        _mm512_mullo_epi32(x, multiplier), addend),
		    below);

		if (hits != 0 && i >= from)
			return i + (size_t)__builtin_ctz(hits) + 1;
		sum1 = s1, sum2 = s2, sum4 = s4, sum8 = s8, sum16 = s16;
	}
	return find_end_scalar(bytes, i < from ? from : i, end, limit);
}

#define SHIFT_LANES_512(now, before, n, bits)                             \
	_mm512_slli_epi32(_mm512_alignr_epi32((now), (before), 16 - (n)), (bits))

/* What is kept of the 64 positions before, for those that are r modulo 4. */
struct vnni_lanes {
	__m512i sum4, sum8, sum16;
};

/*
 * Sixteen positions, four apart; the sums over four bytes are one
 * instruction, those over 8, 16 and 32 come from lanes 1, 2 and 4 before.
 */
__attribute__((target("avx512f,avx512bw,avx512vnni"), always_inline))
static inline __mmask16
hits_vnni(const uint8_t *bytes, struct vnni_lanes *lanes, uint32_t limit)
{
	const __m512i weights = _mm512_set1_epi32(0x01020408);
	__m512i s4 = _mm512_dpbusd_epi32(_mm512_setzero_si512(),
	    _mm512_loadu_si512((const void *)(bytes - 3)), weights);
	__m512i s8 =
	    _mm512_add_epi32(s4, SHIFT_LANES_512(s4, lanes->sum4, 1, 4));
	__m512i s16 =
	    _mm512_add_epi32(s8, SHIFT_LANES_512(s8, lanes->sum8, 2, 8));
	__m512i x =
	    _mm512_add_epi32(s16, SHIFT_LANES_512(s16, lanes->sum16, 4, 16));

	*lanes = (struct vnni_lanes){ s4, s8, s16 };
	x = _mm512_mullo_epi32(x, _mm512_set1_epi32((int)MULTIPLIER));
	x = _mm512_add_epi32(x, _mm512_set1_epi32((int)ADDEND));
	return _mm512_cmplt_epu32_mask(x, _mm512_set1_epi32((int)limit));
}

/* 64 positions at once; which one it was, the definition says. */
__attribute__((target("avx512f,avx512bw,avx512vnni"))) static size_t
find_end_vnni(const uint8_t *bytes, size_t from, size_t end, uint32_t limit)
{
	struct vnni_lanes zero = { _mm512_setzero_si512(),
		_mm512_setzero_si512(), _mm512_setzero_si512() };
	struct vnni_lanes a = zero, b = zero, c = zero, d = zero;
	size_t i = from - FB_CHUNK_WINDOW;

	/* The first lanes look three bytes further back, for nothing. */
	if (i < 3)
		return find_end_avx512(bytes, from, end, limit);
	for (; i + 64 <= end; i += 64) {
		unsigned hits = hits_vnni(bytes + i, &a, limit);

		hits |= hits_vnni(bytes + i + 1, &b, limit);
		hits |= hits_vnni(bytes + i + 2, &c, limit);
		hits |= hits_vnni(bytes + i + 3, &d, limit);
		if (hits != 0) {
			size_t found = find_end_scalar(
			    bytes, i < from ? from : i, i + 64, limit);

			if (found != 0)
				return found;
		}
	}
	return find_end_avx512(bytes, i < from ? from : i, end, limit);
}
#endif

static find_end *
find_by_kind(enum fb_chunker_kind kind)
{
#ifdef HAVE_X86
	if (kind == FB_CHUNKER_VNNI)
		return __builtin_cpu_supports("avx512vnni") &&
		        __builtin_cpu_supports("avx512bw")
		    ? find_end_vnni
		    : NULL;
	if (kind == FB_CHUNKER_AVX512)
		return __builtin_cpu_supports("avx512f") ? find_end_avx512
		                                         : NULL;
	if (kind == FB_CHUNKER_AVX2)
		return __builtin_cpu_supports("avx2") ? find_end_avx2 : NULL;
#endif
	return kind == FB_CHUNKER_SCALAR ? find_end_scalar : NULL;
}

static size_t
cut_with(find_end *find, const struct fb_chunker *chunker,
    const uint8_t *bytes, size_t len)
{
	size_t end = len < chunker->max ? len : chunker->max;
	size_t cut = 0;

	/* The first `min` bytes are never looked at for an end. */
	if (end >= chunker->min)
		cut = find(bytes, chunker->min, end, chunker->limit);
	if (cut == 0 && len >= chunker->max)
		return chunker->max;
	return cut;
}

bool
fb_chunker_cut_by(enum fb_chunker_kind kind, const struct fb_chunker *chunker,
    const uint8_t *bytes, size_t len, size_t *ret_length)
{
	find_end *find = find_by_kind(kind);

	if (find == NULL)
		return false;
	*ret_length = cut_with(find, chunker, bytes, len);
	return true;
}

size_t
fb_chunker_cut(
    const struct fb_chunker *chunker, const uint8_t *bytes, size_t len)
{
	find_end *find = find_by_kind(FB_CHUNKER_VNNI);

	if (find == NULL)
		find = find_by_kind(FB_CHUNKER_AVX512);
	if (find == NULL)
		find = find_by_kind(FB_CHUNKER_AVX2);
	if (find == NULL)
		find = find_end_scalar;
	return cut_with(find, chunker, bytes, len);
}

/* All equal to the byte before them, and the first is zero. */
bool
fb_chunker_is_zero(const uint8_t *bytes, size_t len)
{
	return len == 0 ||
	    (bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0);
}

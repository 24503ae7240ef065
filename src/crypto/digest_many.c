#include <pthread.h>
#include <string.h>

#include "fleetbak/crypto/digest_many.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#define HAVE_X86 1
#endif

static void
digest_each(struct fb_digest_job *jobs, size_t count)
{
	for (size_t i = 0; i < count; i++)
		fb_digest_of(jobs[i].bytes, &jobs[i].digest);
}

#ifdef HAVE_X86

#define BLOCK     64
#define LANES_MAX 16

static const uint32_t round_constants[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1,
	0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3,
	0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
	0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
	0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
	0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
	0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
	0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
	0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2
};

static const uint32_t initial[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372,
	0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };

/* state[word][lane]; `blocks` blocks from each of the lanes' pointers. */
typedef void compress_lanes(uint32_t state[8][LANES_MAX],
    const uint8_t *const from[LANES_MAX], size_t blocks);

typedef uint32_t lanes_8 __attribute__((vector_size(32), aligned(32)));
typedef uint32_t lanes_16 __attribute__((vector_size(64), aligned(64)));

#define ROTATE(x, n) ((x) >> (n) | (x) << (32 - (n)))
#define SUM_0(x)     (ROTATE(x, 2) ^ ROTATE(x, 13) ^ ROTATE(x, 22))
#define SUM_1(x)     (ROTATE(x, 6) ^ ROTATE(x, 11) ^ ROTATE(x, 25))
#define SIGMA_0(x)   (ROTATE(x, 7) ^ ROTATE(x, 18) ^ (x) >> 3)
#define SIGMA_1(x)   (ROTATE(x, 17) ^ ROTATE(x, 19) ^ (x) >> 10)

/* FIPS 180-4, 6.2.2, in vectors: v[(i - r) & 7] is the i-th variable in
 * round r, w[r & 15] the schedule. */
#define V(i) v[((i) - r) & 7]
#define ROUNDS(T, v, w)                                                     \
	for (int part = 0; part < 64; part += 16) {                         \
		_Pragma("GCC unroll 16") for (int r = 0; r < 16; r++)       \
		{                                                           \
			T one, two;                                         \
			if (part > 0)                                       \
				w[r] += SIGMA_1(w[(r + 14) & 15]) +         \
				    w[(r + 9) & 15] +                       \
				    SIGMA_0(w[(r + 1) & 15]);               \
			one = V(7) + SUM_1(V(4)) +                          \
			    ((V(4) & V(5)) ^ (~V(4) & V(6))) +              \
			    round_constants[part + r] + w[r];               \
			two = SUM_0(V(0)) +                                 \
			    ((V(0) & V(1)) | (V(2) & (V(0) | V(1))));       \
			V(3) += one;                                        \
			V(7) = one + two;                                   \
		}                                                           \
	}

/* Words 8*half .. 8*half+7 of eight blocks, big-endian, one lane each. */
__attribute__((target("avx2"))) static inline void
load_8(lanes_8 w[8], const uint8_t *const from[], size_t offset)
{
	const __m256i swap = _mm256_setr_epi8(3, 2, 1, 0, 7, 6, 5, 4, 11, 10,
	    9, 8, 15, 14, 13, 12, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14,
	    13, 12);
	__m256i t[8], u[8];

	for (int i = 0; i < 8; i++)
		u[i] = _mm256_shuffle_epi8(
		    _mm256_loadu_si256(
		        (const __m256i *)(const void *)(from[i] + offset)),
		    swap);
	for (int i = 0; i < 8; i += 2) {
		t[i] = _mm256_unpacklo_epi32(u[i], u[i + 1]);
		t[i + 1] = _mm256_unpackhi_epi32(u[i], u[i + 1]);
	}
	for (int i = 0; i < 8; i += 4)
		for (int j = 0; j < 2; j++) {
			u[i + 2 * j] =
			    _mm256_unpacklo_epi64(t[i + j], t[i + j + 2]);
			u[i + 2 * j + 1] =
			    _mm256_unpackhi_epi64(t[i + j], t[i + j + 2]);
		}
	for (int j = 0; j < 4; j++) {
		w[j] = (lanes_8)_mm256_permute2x128_si256(
		    u[j], u[j + 4], 0x20);
		w[j + 4] = (lanes_8)_mm256_permute2x128_si256(
		    u[j], u[j + 4], 0x31);
	}
}

__attribute__((target("avx2"))) static void
compress_8(uint32_t state[8][LANES_MAX],
    const uint8_t *const from[LANES_MAX], size_t blocks)
{
	lanes_8 kept[8], v[8], w[16];

	for (int i = 0; i < 8; i++)
		memcpy(&kept[i], state[i], sizeof(kept[i]));
	for (size_t block = 0; block < blocks; block++) {
		load_8(w, from, block * BLOCK);
		load_8(w + 8, from, block * BLOCK + BLOCK / 2);
		memcpy(v, kept, sizeof(v));
		ROUNDS(lanes_8, v, w)
		for (int i = 0; i < 8; i++)
			kept[i] += v[i];
	}
	for (int i = 0; i < 8; i++)
		memcpy(state[i], &kept[i], sizeof(kept[i]));
}

/* A block is a register: sixteen of them, transposed. */
__attribute__((target("avx512f,avx512bw"))) static inline void
load_16(lanes_16 w[16], const uint8_t *const from[], size_t offset)
{
	const __m512i swap = _mm512_set4_epi32(
	    0x0c0d0e0f, 0x08090a0b, 0x04050607, 0x00010203);
	__m512i t[16], u[16];

	for (int i = 0; i < 16; i++)
		u[i] = _mm512_shuffle_epi8(
		    _mm512_loadu_si512(from[i] + offset), swap);
	for (int i = 0; i < 16; i += 2) {
		t[i] = _mm512_unpacklo_epi32(u[i], u[i + 1]);
		t[i + 1] = _mm512_unpackhi_epi32(u[i], u[i + 1]);
	}
	for (int i = 0; i < 16; i += 4)
		for (int j = 0; j < 2; j++) {
			u[i + 2 * j] =
			    _mm512_unpacklo_epi64(t[i + j], t[i + j + 2]);
			u[i + 2 * j + 1] =
			    _mm512_unpackhi_epi64(t[i + j], t[i + j + 2]);
		}
	for (int j = 0; j < 4; j++) {
		__m512i a = _mm512_shuffle_i32x4(u[j], u[j + 4], 0x88);
		__m512i b = _mm512_shuffle_i32x4(u[j + 8], u[j + 12], 0x88);
		__m512i c = _mm512_shuffle_i32x4(u[j], u[j + 4], 0xdd);
		__m512i d = _mm512_shuffle_i32x4(u[j + 8], u[j + 12], 0xdd);

		w[j] = (lanes_16)_mm512_shuffle_i32x4(a, b, 0x88);
		w[j + 4] = (lanes_16)_mm512_shuffle_i32x4(c, d, 0x88);
		w[j + 8] = (lanes_16)_mm512_shuffle_i32x4(a, b, 0xdd);
		w[j + 12] = (lanes_16)_mm512_shuffle_i32x4(c, d, 0xdd);
	}
}

__attribute__((target("avx512f,avx512bw"))) static void
compress_16(uint32_t state[8][LANES_MAX],
    const uint8_t *const from[LANES_MAX], size_t blocks)
{
	lanes_16 kept[8], v[8], w[16];

	for (int i = 0; i < 8; i++)
		memcpy(&kept[i], state[i], sizeof(kept[i]));
	for (size_t block = 0; block < blocks; block++) {
		load_16(w, from, block * BLOCK);
		memcpy(v, kept, sizeof(v));
		ROUNDS(lanes_16, v, w)
		for (int i = 0; i < 8; i++)
			kept[i] += v[i];
	}
	for (int i = 0; i < 8; i++)
		memcpy(state[i], &kept[i], sizeof(kept[i]));
}

/* One message on its way: its whole blocks, then the padded tail. */
struct lane {
	struct fb_digest_job *job; /* NULL: idle */
	const uint8_t *from;
	size_t blocks;
	size_t tail_blocks; /* 0 once the tail is what `from` points to */
	uint8_t tail[2 * BLOCK];
};

struct lanes {
	compress_lanes *compress;
	size_t width, busy;
	uint32_t state[8][LANES_MAX];
	struct lane lane[LANES_MAX];
};

static void
start_tail(struct lane *lane)
{
	lane->from = lane->tail;
	lane->blocks = lane->tail_blocks;
	lane->tail_blocks = 0;
}

static void
start_lane(struct lanes *lanes, size_t index, struct fb_digest_job *job)
{
	struct lane *lane = &lanes->lane[index];
	size_t rest = job->bytes.len % BLOCK;
	uint64_t bits = (uint64_t)job->bytes.len * 8;

	lane->job = job;
	lane->from = job->bytes.ptr;
	lane->blocks = job->bytes.len / BLOCK;
	lane->tail_blocks = rest < BLOCK - 8 ? 1 : 2;
	memset(lane->tail, 0, sizeof(lane->tail));
	if (rest > 0)
		memcpy(lane->tail,
		    job->bytes.ptr + job->bytes.len - rest, rest);
	lane->tail[rest] = 0x80;
	for (size_t i = 0; i < 8; i++)
		lane->tail[lane->tail_blocks * BLOCK - 1 - i] =
		    (uint8_t)(bits >> (8 * i));
	for (size_t i = 0; i < 8; i++)
		lanes->state[i][index] = initial[i];
	if (lane->blocks == 0)
		start_tail(lane);
	lanes->busy++;
}

static void
end_lane(struct lanes *lanes, size_t index)
{
	struct lane *lane = &lanes->lane[index];

	for (size_t i = 0; i < 8; i++)
		for (size_t b = 0; b < 4; b++)
			lane->job->digest.bytes[4 * i + b] =
			    (uint8_t)(lanes->state[i][index] >> (24 - 8 * b));
	lane->job = NULL;
	lanes->busy--;
}

/* As many blocks as every busy lane has; idle ones go along with one. */
static void
step(struct lanes *lanes)
{
	const uint8_t *from[LANES_MAX];
	const uint8_t *any = NULL;
	size_t blocks = SIZE_MAX;

	for (size_t i = 0; i < lanes->width; i++) {
		struct lane *lane = &lanes->lane[i];

		if (lane->job == NULL)
			continue;
		any = lane->from;
		if (lane->blocks < blocks)
			blocks = lane->blocks;
	}
	for (size_t i = 0; i < lanes->width; i++)
		from[i] = lanes->lane[i].job ? lanes->lane[i].from : any;
	lanes->compress(lanes->state, from, blocks);
	for (size_t i = 0; i < lanes->width; i++) {
		struct lane *lane = &lanes->lane[i];

		if (lane->job == NULL)
			continue;
		lane->from += blocks * BLOCK;
		lane->blocks -= blocks;
		if (lane->blocks == 0 && lane->tail_blocks > 0)
			start_tail(lane);
		else if (lane->blocks == 0)
			end_lane(lanes, i);
	}
}

static void
digest_in_lanes(struct fb_digest_job *jobs, size_t count,
    compress_lanes *compress, size_t width)
{
	struct lanes lanes = { .compress = compress, .width = width };
	size_t next = 0;

	while (next < count || lanes.busy > 0) {
		for (size_t i = 0; i < width && next < count; i++)
			if (lanes.lane[i].job == NULL)
				start_lane(&lanes, i, &jobs[next++]);
		step(&lanes);
	}
}

static bool
has_sha_instructions(void)
{
	unsigned a, b, c, d;

	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b >> 29 & 1) != 0;
}

static bool
has_16_lanes(void)
{
	return __builtin_cpu_supports("avx512f") &&
	    __builtin_cpu_supports("avx512bw");
}
#endif

bool
fb_digest_many_by(
    enum fb_digest_way way, struct fb_digest_job *jobs, size_t count)
{
#ifdef HAVE_X86
	if (way == FB_DIGEST_LANES_16 && has_16_lanes()) {
		digest_in_lanes(jobs, count, compress_16, 16);
		return true;
	}
	if (way == FB_DIGEST_LANES_8 && __builtin_cpu_supports("avx2")) {
		digest_in_lanes(jobs, count, compress_8, 8);
		return true;
	}
#endif
	if (way == FB_DIGEST_SINGLE)
		digest_each(jobs, count);
	return way == FB_DIGEST_SINGLE;
}

static enum fb_digest_way best_way = FB_DIGEST_SINGLE;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void
choose_way(void)
{
#ifdef HAVE_X86
	if (has_sha_instructions())
		best_way = FB_DIGEST_SINGLE;
	else if (has_16_lanes())
		best_way = FB_DIGEST_LANES_16;
	else if (__builtin_cpu_supports("avx2"))
		best_way = FB_DIGEST_LANES_8;
#endif
}

void
fb_digest_many(struct fb_digest_job *jobs, size_t count)
{
	(void)pthread_once(&once, choose_way);
	/* A lane alone is slower than the library. */
	if (count < 3 || !fb_digest_many_by(best_way, jobs, count))
		digest_each(jobs, count);
}

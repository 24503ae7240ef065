/*
 * SHA-256 of many messages with the processor's own instructions, three
 * streams interleaved: while one waits for a result the others go on.
 */
#include "limit.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>

#define LANES  3
#define UNROLL _Pragma("GCC unroll 16")

static const uint32_t round_key[64] __attribute__((aligned(64))) = {
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

static inline __m128i
load(const void *at)
{
	return _mm_loadu_si128((const __m128i *)at);
}

/*
 * `blocks` blocks of 64 bytes from each of `lanes` streams (a constant where
 * this is expanded, so that all of it stays in registers).
 *
 * The SHA instructions have no VEX form: Intel's processors save and restore
 * the upper halves of the wide registers around each of them, sixty times
 * slower, unless these are known to be zero.
 */
static inline __attribute__((always_inline)) void
compress(uint32_t (*state)[8], const uint8_t *const *from, size_t blocks,
    const int lanes)
{
	const __m128i swap = _mm_set_epi64x(
	    0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
	__m128i abef[LANES], cdgh[LANES];

	_mm256_zeroupper();
	UNROLL for (int w = 0; w < lanes; w++) {
		__m128i a = _mm_shuffle_epi32(load(&state[w][0]), 0xB1);
		__m128i e = _mm_shuffle_epi32(load(&state[w][4]), 0x1B);

		abef[w] = _mm_alignr_epi8(a, e, 8);
		cdgh[w] = _mm_blend_epi16(e, a, 0xF0);
	}
	for (size_t b = 0; b < blocks; b++) {
		__m128i abef0[LANES], cdgh0[LANES], m[LANES][4], k[LANES];

		UNROLL for (int w = 0; w < lanes; w++) {
			abef0[w] = abef[w];
			cdgh0[w] = cdgh[w];
			UNROLL for (int i = 0; i < 4; i++)
				m[w][i] = _mm_shuffle_epi8(
				    load(from[w] + b * 64 + 16 * i), swap);
		}
		UNROLL for (int r = 0; r < 16; r++) {
			const __m128i key = load(&round_key[r * 4]);

			UNROLL for (int w = 0; w < lanes; w++) {
				k[w] = _mm_add_epi32(m[w][r & 3], key);
				cdgh[w] = _mm_sha256rnds2_epu32(
				    cdgh[w], abef[w], k[w]);
			}
			if (r < 12)
				UNROLL for (int w = 0; w < lanes; w++) {
				__m128i next = m[w][(r + 3) & 3];
				__m128i t = _mm_alignr_epi8(
				    next, m[w][(r + 2) & 3], 4);

				t = _mm_add_epi32(t, _mm_sha256msg1_epu32(
				    m[w][r & 3], m[w][(r + 1) & 3]));
				m[w][r & 3] = _mm_sha256msg2_epu32(t, next);
			}
			UNROLL for (int w = 0; w < lanes; w++)
				abef[w] = _mm_sha256rnds2_epu32(abef[w],
				    cdgh[w], _mm_shuffle_epi32(k[w], 0x0E));
		}
		UNROLL for (int w = 0; w < lanes; w++) {
			abef[w] = _mm_add_epi32(abef[w], abef0[w]);
			cdgh[w] = _mm_add_epi32(cdgh[w], cdgh0[w]);
		}
	}
	UNROLL for (int w = 0; w < lanes; w++) {
		__m128i a = _mm_shuffle_epi32(abef[w], 0x1B);
		__m128i e = _mm_shuffle_epi32(cdgh[w], 0xB1);

		_mm_storeu_si128((__m128i *)(void *)&state[w][0],
		    _mm_blend_epi16(a, e, 0xF0));
		_mm_storeu_si128((__m128i *)(void *)&state[w][4],
		    _mm_alignr_epi8(e, a, 8));
	}
}

static __attribute__((noinline)) void
compress_3(uint32_t (*state)[8], const uint8_t *const *from, size_t blocks)
{
	compress(state, from, blocks, 3);
}

static __attribute__((noinline)) void
compress_2(uint32_t (*state)[8], const uint8_t *const *from, size_t blocks)
{
	compress(state, from, blocks, 2);
}

static __attribute__((noinline)) void
compress_1(uint32_t (*state)[8], const uint8_t *const *from, size_t blocks)
{
	compress(state, from, blocks, 1);
}

/* A stream: a message's whole blocks, then its end with the padding. */
struct lane {
	struct message *message;
	const uint8_t *from;
	size_t blocks, tail_blocks; /* tail_blocks is 0 when `from` is it */
	uint8_t tail[128];
};

static void
start_lane(struct lane *lane, uint32_t state[8], struct message *message)
{
	size_t rest = message->len % 64;
	uint64_t bits = (uint64_t)message->len * 8;

	lane->message = message;
	lane->from = message->bytes;
	lane->blocks = message->len / 64;
	lane->tail_blocks = rest < 56 ? 1 : 2;
	memcpy(state, initial, sizeof(initial));
	memset(lane->tail, 0, sizeof(lane->tail));
	memcpy(lane->tail, message->bytes + message->len - rest, rest);
	lane->tail[rest] = 0x80;
	for (size_t i = 0; i < 8; i++)
		lane->tail[lane->tail_blocks * 64 - 1 - i] =
		    (uint8_t)(bits >> (8 * i));
}

static void
store_digest(const uint32_t state[8], uint8_t digest[32])
{
	for (size_t i = 0; i < 8; i++) {
		uint32_t word = __builtin_bswap32(state[i]);

		memcpy(digest + 4 * i, &word, sizeof(word));
	}
}

/* The blocks are through: does the lane go on, with its tail? */
static bool
turn_to_tail(struct lane *lane)
{
	if (lane->tail_blocks == 0)
		return false;
	lane->from = lane->tail;
	lane->blocks = lane->tail_blocks;
	lane->tail_blocks = 0;
	return true;
}

/* As many blocks as the shortest lane has. */
static void
advance(struct lane *lanes, uint32_t (*state)[8], int active)
{
	const uint8_t *from[LANES];
	size_t blocks = lanes[0].blocks;

	for (int i = 1; i < active; i++)
		if (lanes[i].blocks < blocks)
			blocks = lanes[i].blocks;
	for (int i = 0; i < active; i++) {
		from[i] = lanes[i].from;
		lanes[i].from += blocks * 64;
		lanes[i].blocks -= blocks;
	}
	if (active == 3)
		compress_3(state, from, blocks);
	else if (active == 2)
		compress_2(state, from, blocks);
	else
		compress_1(state, from, blocks);
}

void
limit_hash(struct message *messages, size_t count)
{
	struct lane lanes[LANES];
	uint32_t state[LANES][8];
	size_t next = 0;
	int active = 0;

	for (; active < LANES && next < count; active++)
		start_lane(&lanes[active], state[active], &messages[next++]);
	while (active > 0) {
		advance(lanes, state, active);
		for (int i = active - 1; i >= 0; i--) {
			struct lane *lane = &lanes[i], *last;

			if (lane->blocks > 0 || turn_to_tail(lane))
				continue;
			store_digest(state[i], lane->message->digest);
			if (next < count) {
				start_lane(lane, state[i], &messages[next++]);
				continue;
			}
			last = &lanes[--active];
			if (last == lane)
				continue;
			*lane = *last;
			memcpy(state[i], state[active], sizeof(state[i]));
			if (last->tail_blocks == 0)
				lane->from =
				    lane->tail + (last->from - last->tail);
		}
	}
}

#endif

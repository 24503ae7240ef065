#include <stdlib.h>

#include "test.h"

#include "../../src/repo/chunker.h"
#include "fleetbak/base/mem.h"

#define INPUT_LEN (3u << 20)

static const struct fb_chunker normal = { 16384, 262144, 1u << 16 };
static const struct fb_chunker small = { 64, 1024, 1u << 24 };
static const struct fb_chunker tiny = { 33, 400, 1u << 25 };

static uint64_t
next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Every kind cuts `bytes` as the definition does, from any alignment. */
static void
compare_kinds(
    const struct fb_chunker *chunker, const uint8_t *bytes, size_t len)
{
	size_t want, got, chunks = 0;

	for (size_t at = 0; at < len; chunks++) {
		assert_true(fb_chunker_cut_by(FB_CHUNKER_SCALAR, chunker,
		    bytes + at, len - at, &want));
		for (int kind = FB_CHUNKER_AVX2; kind <= FB_CHUNKER_VNNI;
		     kind++)
			if (fb_chunker_cut_by((enum fb_chunker_kind)kind,
			        chunker, bytes + at, len - at, &got))
				assert_int_equal(got, want);
		assert_int_equal(
		    fb_chunker_cut(chunker, bytes + at, len - at), want);
		at += want ? want : len - at;
	}
	assert_true(chunks > 0);
}

static void
all_kinds_cut_random_bytes_alike(void **unused)
{
	FB_AUTO_FREE uint8_t *bytes = fb_alloc(INPUT_LEN, 1);
	uint64_t seed = 88172645463325252u;

	(void)unused;
	for (size_t i = 0; i < INPUT_LEN; i++)
		bytes[i] = (uint8_t)next_random(&seed);
	compare_kinds(&normal, bytes, INPUT_LEN);
	compare_kinds(&small, bytes, INPUT_LEN);
	compare_kinds(&tiny, bytes, INPUT_LEN);
	for (size_t len = 0; len < 2048; len += 7)
		compare_kinds(&small, bytes + len % 61, len + 1);
}

static void
all_kinds_cut_text_and_runs_alike(void **unused)
{
	FB_AUTO_FREE uint8_t *bytes = fb_alloc(INPUT_LEN, 1);
	uint64_t seed = 42;

	(void)unused;
	compare_kinds(&normal, bytes, INPUT_LEN); /* zeros */
	for (size_t i = 0; i < INPUT_LEN; i++)
		bytes[i] = (uint8_t)("etaoin shrdlu\n"[next_random(&seed) % 14]);
	compare_kinds(&normal, bytes, INPUT_LEN);
	compare_kinds(&small, bytes, INPUT_LEN);
	compare_kinds(&tiny, bytes, INPUT_LEN);
	for (int byte = 1; byte < 256; byte++) {
		memset(bytes, byte, 300000);
		compare_kinds(&normal, bytes, 300000);
	}
}

static void
lengths_stay_between_min_and_max(void **unused)
{
	FB_AUTO_FREE uint8_t *bytes = fb_alloc(INPUT_LEN, 1);
	uint64_t seed = 7;
	size_t at = 0, chunks = 0;

	(void)unused;
	for (size_t i = 0; i < INPUT_LEN; i++)
		bytes[i] = (uint8_t)next_random(&seed);
	for (;;) {
		size_t cut =
		    fb_chunker_cut(&normal, bytes + at, INPUT_LEN - at);

		if (cut == 0)
			break;
		assert_in_range(cut, normal.min + 1, normal.max);
		at += cut;
		chunks++;
	}
	assert_in_range(chunks, 20, 80); /* 3 MiB by some 80 KiB */
	assert_int_equal(fb_chunker_cut(&normal, bytes, normal.min), 0);
}

static void
one_byte_tells_zeros_from_data(void **unused)
{
	FB_AUTO_FREE uint8_t *bytes = fb_alloc(65536, 1);

	(void)unused;
	assert_true(fb_chunker_is_zero(bytes, 65536));
	assert_true(fb_chunker_is_zero(bytes, 0));
	for (size_t i = 0; i < 65536; i += 4095) {
		bytes[i] = 1;
		assert_false(fb_chunker_is_zero(bytes, 65536));
		assert_false(fb_chunker_is_zero(bytes, i + 1));
		bytes[i] = 0;
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_kinds_cut_random_bytes_alike),
		cmocka_unit_test(all_kinds_cut_text_and_runs_alike),
		cmocka_unit_test(lengths_stay_between_min_and_max),
		cmocka_unit_test(one_byte_tells_zeros_from_data),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}


#include "test.h"

#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/digest_many.h"

static uint8_t bytes[1 << 18];

static void
compare_ways(struct fb_digest_job *jobs, size_t count)
{
	for (int way = FB_DIGEST_SINGLE; way <= FB_DIGEST_LANES_16; way++) {
		if (!fb_digest_many_by((enum fb_digest_way)way, jobs, count))
			continue;
		for (size_t i = 0; i < count; i++) {
			struct fb_digest want;

			fb_digest_of(jobs[i].bytes, &want);
			assert_memory_equal(
			    &jobs[i].digest, &want, sizeof(want));
			memset(&jobs[i].digest, 0, sizeof(want));
		}
	}
	fb_digest_many(jobs, count);
	for (size_t i = 0; i < count; i++) {
		struct fb_digest want;

		fb_digest_of(jobs[i].bytes, &want);
		assert_memory_equal(&jobs[i].digest, &want, sizeof(want));
	}
}

static void
every_length_has_the_library_s_digest(void **unused)
{
	struct fb_digest_job jobs[300];

	(void)unused;
	for (size_t i = 0; i < FB_COUNT(jobs); i++)
		jobs[i].bytes = (struct fb_span){ bytes + i * 7, i };
	compare_ways(jobs, FB_COUNT(jobs));
}

static void
any_number_of_messages_is_hashed(void **unused)
{
	struct fb_digest_job jobs[40];
	uint32_t seed = 5;

	(void)unused;
	for (size_t count = 0; count <= FB_COUNT(jobs); count++) {
		for (size_t i = 0; i < count; i++) {
			seed = seed * 1664525u + 1013904223u;
			jobs[i].bytes = (struct fb_span){ bytes + seed % 1000,
				seed >> 8 & 0x7fff };
		}
		compare_ways(jobs, count);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_length_has_the_library_s_digest),
		cmocka_unit_test(any_number_of_messages_is_hashed),
	};

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 2654435761u >> 13);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

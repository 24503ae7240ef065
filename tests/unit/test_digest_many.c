#include "test.h"

#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/digest_many.h"

#define COUNT 70

static void
each_message_gets_its_own_digest(void **state)
{
	FB_AUTO_FREE uint8_t *bytes = fb_alloc(COUNT * 1000, 1);
	struct fb_digest_job jobs[COUNT];
	struct fb_digest one;

	(void)state;
	for (size_t i = 0; i < COUNT * 1000; i++)
		bytes[i] = (uint8_t)(i * 7 + i / 251);
	for (size_t i = 0; i < COUNT; i++)
		jobs[i].bytes = (struct fb_span){ bytes + i * 13, i * i % 977 };
	fb_digest_many(jobs, COUNT);
	for (size_t i = 0; i < COUNT; i++) {
		fb_digest_of(jobs[i].bytes, &one);
		assert_int_equal(fb_digest_cmp(&one, &jobs[i].digest), 0);
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_message_gets_its_own_digest),
	};

	return cmocka_run_group_tests_name("digest_many", tests, NULL, NULL);
}

/* What deleting costs: ages, early deletion, requests. */
#include "test.h"

#include "../../src/repo/gc_impl.h"
#include "fleetbak/store/store.h"

static struct fb_error err;

#define DAY_NS (INT64_C(24) * 3600 * 1000000000)
#define DAY_MS (UINT64_C(24) * 3600 * 1000)

static struct fb_digest
digest(uint8_t first)
{
	return (struct fb_digest){ { first } };
}

static void
an_object_is_as_old_as_the_first_run_that_names_it(void **state)
{
	struct fb_id_list both = { 0 }, one = { 0 };
	struct fb_digest a = digest(1), b = digest(2), c = digest(3);
	struct fb_gc_ages ages;
	int64_t time_ns;

	(void)state;
	fb_id_list_add(&both, &a);
	fb_id_list_add(&both, &b);
	fb_id_list_add(&one, &a);
	fb_gc_ages_make(&ages, NULL);
	assert_ok(fb_gc_ages_add(&ages, &one, 30 * DAY_NS, &err));
	assert_ok(fb_gc_ages_add(&ages, &both, 20 * DAY_NS, &err));
	assert_ok(fb_gc_ages_add(&ages, &one, 40 * DAY_NS, &err));
	assert_ok(fb_gc_ages_begin(&ages, &err));
	assert_ok(fb_gc_ages_find(&ages, &a, &time_ns, &err));
	assert_true(time_ns == 20 * DAY_NS);
	assert_ok(fb_gc_ages_find(&ages, &b, &time_ns, &err));
	assert_true(time_ns == 20 * DAY_NS);
	assert_ok(fb_gc_ages_find(&ages, &c, &time_ns, &err));
	assert_true(time_ns == INT64_MAX);
	fb_gc_ages_release(&ages);
	fb_id_list_release(&both);
	fb_id_list_release(&one);
}

static void
what_goes_early_is_paid_for_to_the_end(void **state)
{
	struct fb_gc_early early = { 0 };

	(void)state;
	/* old enough; ten days too young; of nobody, so new */
	fb_gc_early_add(&early, 4096, 0, 30 * DAY_NS, 30 * DAY_MS);
	assert_true(early.objects == 0 && early.kib_minutes == 0);
	fb_gc_early_add(&early, 4096, 10 * DAY_NS, 30 * DAY_NS, 30 * DAY_MS);
	assert_true(early.objects == 1 && early.bytes == 4096);
	assert_true(early.kib_minutes == 4 * 10 * 24 * 60);
	fb_gc_early_add(&early, 1, INT64_MAX, 30 * DAY_NS, 30 * DAY_MS);
	assert_true(early.objects == 2 && early.bytes == 4097);
	assert_true(early.kib_minutes == (4 * 10 + 30) * 24 * 60);
}

static void
a_store_counts_what_it_is_asked(void **state)
{
	FB_AUTO_STORE struct fb_store *store = NULL;
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	struct fb_store_usage usage;
	uint64_t size;
	char byte;

	(void)state;
	assert_ok(fb_store_open("mem:", true, NULL, &store, &err));
	assert_ok(fb_store_create(store, "a/b", SPAN("four"), &err));
	assert_ok(fb_store_get(store, "a/b", 10, &bytes, NULL, &err));
	assert_ok(fb_store_get_range(store, "a/b", 1, &byte, 1, &err));
	assert_ok(fb_store_head(store, "a/b", &size, &err));
	assert_ok(fb_store_remove(store, "a/b", &err));
	fb_store_get_usage(store, &usage);
	assert_int_equal(usage.puts, 1);
	assert_int_equal(usage.gets, 3);
	assert_int_equal(usage.removes, 1);
	assert_int_equal(usage.lists, 0);
	assert_int_equal(usage.read_bytes, 5);
	assert_int_equal(usage.written_bytes, 4);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    an_object_is_as_old_as_the_first_run_that_names_it),
		cmocka_unit_test(what_goes_early_is_paid_for_to_the_end),
		cmocka_unit_test(a_store_counts_what_it_is_asked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

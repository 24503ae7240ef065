#include "test.h"

#include <pthread.h>

#include "fleetbak/base/rate.h"

#define MIB    (UINT64_C(1) << 20)
#define SECOND INT64_C(1000000000)

/* A reader whose clock is `now`: it takes, waits until then, and is `busy`
 * with what it took for a while. */
static int64_t
read_all(struct fb_rate *rate, uint64_t len, uint64_t step, int64_t now,
    int64_t busy)
{
	for (uint64_t done = 0; done < len; done += step) {
		int64_t due = fb_rate_take(rate, step, now);

		now = due > now ? due : now;
		now += busy;
	}
	return now;
}

static void
a_rate_holds_whatever_the_steps(void **state)
{
	static const uint64_t steps[] = { 512, 3 * 1000, 64 << 10, MIB,
		4 * MIB };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(steps); i++) {
		struct fb_rate *rate = fb_rate_new(10 * MIB);
		int64_t now = read_all(rate, 200 * MIB, steps[i], 7, 0);

		assert_true(now >= 20 * SECOND + 7);
		assert_true(now <= 20 * SECOND + SECOND);
		fb_rate_free(rate);
	}
}

static void
time_at_work_is_not_lost(void **state)
{
	struct fb_rate *rate = fb_rate_new(10 * MIB);
	/* 64 KiB take 6.25 ms; the work on them, 3, is within that. */
	int64_t now = read_all(rate, 100 * MIB, 64 << 10, 0, 3000000);

	(void)state;
	assert_true(now >= 10 * SECOND - FB_RATE_BURST_NS);
	assert_true(now <= 10 * SECOND + FB_RATE_BURST_NS);
	fb_rate_free(rate);
}

static void
an_idle_bucket_saves_up_little(void **state)
{
	struct fb_rate *rate = fb_rate_new(100 * MIB);
	int64_t due;

	(void)state;
	assert_int_equal(fb_rate_take(rate, MIB, 0), SECOND / 100);
	/* An hour later a tenth of a second is there, and no more. */
	due = fb_rate_take(rate, MIB, 3600 * SECOND);
	assert_int_equal(due, 3600 * SECOND - FB_RATE_BURST_NS + SECOND / 100);
	fb_rate_free(rate);
}

/* What comes late and is large goes at once; what follows makes up for it. */
static void
a_late_piece_goes_at_once(void **state)
{
	struct fb_rate *rate = fb_rate_new(MIB);

	(void)state;
	assert_int_equal(fb_rate_take(rate, MIB, 0), SECOND);
	assert_int_equal(fb_rate_take(rate, MIB, 7 * SECOND / 4), 2 * SECOND);
	assert_int_equal(fb_rate_take(rate, MIB, 9 * SECOND / 4), 3 * SECOND);
	/* An hour later one is there, and no more. */
	assert_int_equal(
	    fb_rate_take(rate, MIB, 3600 * SECOND), 3600 * SECOND);
	assert_int_equal(
	    fb_rate_take(rate, MIB, 3600 * SECOND), 3601 * SECOND);
	fb_rate_free(rate);
}

static void
takers_go_one_after_the_other(void **state)
{
	struct fb_rate *rate = fb_rate_new(MIB);

	(void)state;
	for (int i = 1; i <= 16; i++)
		assert_int_equal(fb_rate_take(rate, MIB, 0), i * SECOND);
	fb_rate_free(rate);
}

#define TAKES 10000

static void *
take_many(void *arg)
{
	for (int i = 0; i < TAKES; i++)
		(void)fb_rate_take(arg, 1000, 0);
	return NULL;
}

static void
threads_share_one_rate(void **state)
{
	struct fb_rate *rate = fb_rate_new(1000 * TAKES);
	pthread_t threads[4];

	(void)state;
	for (size_t i = 0; i < FB_COUNT(threads); i++)
		assert_int_equal(
		    pthread_create(&threads[i], NULL, take_many, rate), 0);
	for (size_t i = 0; i < FB_COUNT(threads); i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(fb_rate_take(rate, 0, 0), 4 * SECOND);
	fb_rate_free(rate);
}

static void
no_rate_is_no_limit(void **state)
{
	(void)state;
	assert_null(fb_rate_new(0));
	assert_int_equal(fb_rate_take(NULL, UINT64_MAX, 42), 42);
	assert_int_equal(fb_rate_step(NULL, 4 * MIB), 4 * MIB);
	fb_rate_free(NULL);
}

static void
the_slowest_and_the_fastest(void **state)
{
	struct fb_rate *slow = fb_rate_new(1);
	struct fb_rate *fast = fb_rate_new(UINT64_MAX);

	(void)state;
	assert_int_equal(fb_rate_step(slow, MIB), 4096);
	assert_true(fb_rate_take(slow, UINT64_MAX, 0) > 1000 * SECOND);
	for (int i = 0; i < 8; i++)
		(void)fb_rate_take(slow, UINT64_MAX, 0);
	assert_int_equal(fb_rate_take(slow, 1, 0), INT64_MAX);
	assert_int_equal(fb_rate_take(fast, MIB, 5), 5);
	assert_int_equal(fb_rate_step(fast, MIB), MIB);
	fb_rate_free(slow);
	fb_rate_free(fast);
}

static uint64_t limit_now;

static uint64_t
limit_of_test(const void *arg)
{
	assert_ptr_equal(arg, &limit_now);
	return limit_now;
}

/* What waits when the limit changes has waited for a part of it. */
static void
a_limit_changes_for_those_who_wait(void **state)
{
	struct fb_rate *rate = fb_rate_new_timed(limit_of_test, &limit_now);
	uint64_t first, second;

	(void)state;
	limit_now = MIB;
	first = fb_rate_queue(rate, 10 * MIB, 0);
	second = fb_rate_queue(rate, 10 * MIB, 0);
	assert_int_equal(fb_rate_due(rate, first, 0), 10 * SECOND);
	assert_int_equal(fb_rate_due(rate, second, 0), 20 * SECOND);
	assert_int_equal(fb_rate_step(rate, MIB), MIB / 10);
	/* At 4 s, 6 and 16 MiB are left: at half the speed, then at four
	 * times that. */
	limit_now = MIB / 2;
	assert_int_equal(fb_rate_due(rate, first, 4 * SECOND), 16 * SECOND);
	assert_int_equal(fb_rate_due(rate, second, 4 * SECOND), 36 * SECOND);
	limit_now = 2 * MIB;
	/* It is not asked twice in a second. */
	assert_int_equal(
	    fb_rate_due(rate, first, 4 * SECOND + 1), 16 * SECOND);
	assert_int_equal(fb_rate_due(rate, first, 12 * SECOND), 13 * SECOND);
	assert_int_equal(fb_rate_due(rate, second, 12 * SECOND), 18 * SECOND);
	/* As fast as it goes: at once, and so does what comes then. */
	limit_now = 0;
	assert_int_equal(fb_rate_due(rate, second, 14 * SECOND), 14 * SECOND);
	assert_int_equal(fb_rate_take(rate, UINT64_MAX / 2, 14 * SECOND),
	    14 * SECOND);
	assert_int_equal(fb_rate_step(rate, 64 * MIB), 64 * MIB);
	/* And a limit again, which owes nothing. */
	limit_now = MIB;
	assert_int_equal(fb_rate_take(rate, MIB, 20 * SECOND), 20 * SECOND);
	assert_int_equal(fb_rate_take(rate, MIB, 20 * SECOND), 21 * SECOND);
	fb_rate_free(rate);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_rate_holds_whatever_the_steps),
		cmocka_unit_test(time_at_work_is_not_lost),
		cmocka_unit_test(an_idle_bucket_saves_up_little),
		cmocka_unit_test(a_late_piece_goes_at_once),
		cmocka_unit_test(takers_go_one_after_the_other),
		cmocka_unit_test(threads_share_one_rate),
		cmocka_unit_test(no_rate_is_no_limit),
		cmocka_unit_test(the_slowest_and_the_fastest),
		cmocka_unit_test(a_limit_changes_for_those_who_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

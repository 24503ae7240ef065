#include "test.h"

#include <stdlib.h>

#include "fleetbak/base/group.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/queue.h"

static struct fb_error err;
static int freed;

static void
count_freed(void *item)
{
	freed++;
	free(item);
}

static int *
number(int value)
{
	int *item = fb_alloc(1, sizeof(*item));

	*item = value;
	return item;
}

static int
take_number(struct fb_queue *queue)
{
	void *item = NULL;
	int value;

	assert_ok(fb_queue_take(queue, &item, &err));
	if (item == NULL)
		return -1;
	value = *(int *)item;
	free(item);
	return value;
}

static void
items_come_out_in_their_order(void **state)
{
	FB_AUTO_QUEUE struct fb_queue *queue = fb_queue_new(3, 1, free);

	(void)state;
	for (int round = 0; round < 5; round++) {
		assert_ok(fb_queue_put(queue, number(round), &err));
		assert_ok(fb_queue_put(queue, number(round + 100), &err));
		assert_int_equal(take_number(queue), round);
		assert_int_equal(take_number(queue), round + 100);
	}
}

static void
the_end_comes_after_all_producers_and_all_items(void **state)
{
	FB_AUTO_QUEUE struct fb_queue *queue = fb_queue_new(3, 2, free);

	(void)state;
	assert_ok(fb_queue_put(queue, number(1), &err));
	fb_queue_close(queue);
	assert_ok(fb_queue_put(queue, number(2), &err));
	fb_queue_close(queue);
	assert_int_equal(take_number(queue), 1);
	assert_int_equal(take_number(queue), 2);
	assert_int_equal(take_number(queue), -1);
	assert_int_equal(take_number(queue), -1);
}

static void
a_canceled_queue_takes_and_gives_nothing_and_frees_all(void **state)
{
	struct fb_queue *queue = fb_queue_new(3, 1, count_freed);
	void *item = &freed;

	(void)state;
	freed = 0;
	assert_ok(fb_queue_put(queue, number(1), &err));
	fb_queue_cancel(queue);
	assert_fails(FB_ECANCELED, fb_queue_put(queue, number(2), &err));
	assert_int_equal(freed, 1);
	assert_fails(FB_ECANCELED, fb_queue_take(queue, &item, &err));
	assert_null(item);
	fb_queue_free(queue);
	assert_int_equal(freed, 2);
	fb_queue_free(NULL);
}

static int
take_one(void *arg, struct fb_error *task_err)
{
	void *item;

	return fb_queue_take(arg, &item, task_err);
}

static int
fill(void *arg, struct fb_error *task_err)
{
	int rc;

	do
		rc = fb_queue_put(arg, number(0), task_err);
	while (rc == FB_OK);
	return rc;
}

static int
fail_now(void *arg, struct fb_error *task_err)
{
	(void)arg;
	return fb_fail(task_err, FB_ECORRUPT, "the cause");
}

/* Those who wait in both directions are woken, and what they then report
 * does not hide the cause. */
static void
a_failure_wakes_all_who_wait_and_is_the_groups(void **state)
{
	FB_AUTO_QUEUE struct fb_queue *empty = fb_queue_new(1, 1, free);
	FB_AUTO_QUEUE struct fb_queue *full = fb_queue_new(1, 1, free);

	(void)state;
	for (int i = 0; i < 20; i++) {
		struct fb_group *group = fb_group_new();

		fb_group_guard(group, empty);
		fb_group_guard(group, full);
		fb_group_start(group, take_one, empty);
		fb_group_start(group, take_one, empty);
		fb_group_start(group, fill, full);
		fb_group_start(group, fail_now, NULL);
		assert_fails(FB_ECORRUPT, fb_group_wait(group, &err));
		assert_string_equal(err.msg, "the cause");
	}
}

static void
a_group_only_canceled_says_so(void **state)
{
	FB_AUTO_QUEUE struct fb_queue *queue = fb_queue_new(1, 1, free);
	struct fb_group *group = fb_group_new();

	(void)state;
	fb_group_start(group, take_one, queue);
	fb_queue_cancel(queue);
	assert_fails(FB_ECANCELED, fb_group_wait(group, &err));
}

static void
a_group_of_nobody_succeeds(void **state)
{
	(void)state;
	assert_ok(fb_group_wait(fb_group_new(), &err));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(items_come_out_in_their_order),
		cmocka_unit_test(
		    the_end_comes_after_all_producers_and_all_items),
		cmocka_unit_test(
		    a_canceled_queue_takes_and_gives_nothing_and_frees_all),
		cmocka_unit_test(
		    a_failure_wakes_all_who_wait_and_is_the_groups),
		cmocka_unit_test(a_group_only_canceled_says_so),
		cmocka_unit_test(a_group_of_nobody_succeeds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

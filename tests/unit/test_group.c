#include <stdlib.h>

#include "fleetbak/base/group.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/queue.h"
#include "test.h"

#define NUMBERS 5000

struct line {
	struct fb_queue *numbers;
	struct fb_queue *negated;
	int fail_at; /* a negator fails on this number; 0 = never */
	long sum;    /* the adder's alone */
};

static int
produce(void *arg, struct fb_error *err)
{
	struct line *line = arg;

	for (int i = 1; i <= NUMBERS; i++) {
		int *item = fb_alloc(1, sizeof(*item));
		int rc;

		*item = i;
		rc = fb_queue_put(line->numbers, item, err);
		if (rc < 0)
			return rc;
	}
	fb_queue_close(line->numbers);
	return FB_OK;
}

static int
negate(void *arg, struct fb_error *err)
{
	struct line *line = arg;
	void *item;
	int rc;

	while ((rc = fb_queue_take(line->numbers, &item, err)) == FB_OK &&
	    item != NULL) {
		int *number = item;

		if (*number == line->fail_at) {
			free(number);
			return fb_fail(err, FB_ECORRUPT, "a bad number");
		}
		*number = -*number;
		rc = fb_queue_put(line->negated, number, err);
		if (rc < 0)
			return rc;
	}
	if (rc == FB_OK)
		fb_queue_close(line->negated);
	return rc;
}

static int
add_up(void *arg, struct fb_error *err)
{
	struct line *line = arg;
	void *item;
	int rc;

	while ((rc = fb_queue_take(line->negated, &item, err)) == FB_OK &&
	    item != NULL) {
		line->sum += *(int *)item;
		free(item);
	}
	return rc;
}

static int
run_line(struct line *line, struct fb_error *err)
{
	FB_AUTO_QUEUE struct fb_queue *numbers = fb_queue_new(8, 1, free);
	FB_AUTO_QUEUE struct fb_queue *negated = fb_queue_new(8, 3, free);
	struct fb_group *group = fb_group_new();

	line->numbers = numbers;
	line->negated = negated;
	fb_group_guard(group, numbers);
	fb_group_guard(group, negated);
	fb_group_start(group, produce, line);
	for (int i = 0; i < 3; i++)
		fb_group_start(group, negate, line);
	fb_group_start(group, add_up, line);
	return fb_group_wait(group, err);
}

static void
everything_put_in_comes_out(void **state)
{
	struct fb_error err = { 0 };
	struct line line = { .fail_at = 0 };

	(void)state;
	assert_ok(run_line(&line, &err));
	assert_int_equal(line.sum, -(long)NUMBERS * (NUMBERS + 1) / 2);
}

static void
one_failure_stops_the_line_and_is_the_one_reported(void **state)
{
	(void)state;
	for (int at = 1; at <= NUMBERS; at += 97) {
		struct fb_error err = { 0 };
		struct line line = { .fail_at = at };

		assert_fails(FB_ECORRUPT, run_line(&line, &err));
		assert_string_equal(err.msg, "a bad number");
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_put_in_comes_out),
		cmocka_unit_test(
		    one_failure_stops_the_line_and_is_the_one_reported),
	};

	return cmocka_run_group_tests_name("group", tests, NULL, NULL);
}

#include "test.h"

#include <stdio.h>
#include <stdlib.h>

#include "fleetbak/base/rows.h"

#include "faults.h"

struct row {
	uint32_t key, number;
	char pad[20];
};

static int
by_key(struct fb_span a, struct fb_span b, void *arg)
{
	uint32_t x, y;

	(void)arg;
	memcpy(&x, a.ptr, sizeof(x));
	memcpy(&y, b.ptr, sizeof(y));
	return x < y ? -1 : x > y;
}

/* Rows of different lengths, whose keys come in no order and often twice. */
static struct fb_rows *
filled(size_t memory, fb_rows_compare *compare, uint32_t count)
{
	struct fb_rows *rows = fb_rows_new(NULL, memory, compare, NULL);
	struct fb_error err = { 0 };

	for (uint32_t i = 0; i < count; i++) {
		struct row row = { .key = i * 2654435761u % (count / 3 + 1),
			.number = i };

		memset(row.pad, (int)('a' + i % 26), sizeof(row.pad));
		assert_ok(fb_rows_add(rows,
		    (struct fb_span){ (const uint8_t *)&row, 8 + i % 21 },
		    &err));
	}
	assert_int_equal(fb_rows_count(rows), count);
	return rows;
}

static void
check(struct fb_rows *rows, bool sorted, uint32_t count)
{
	uint32_t seen = 0, last_key = 0, last_number = 0;
	struct fb_error err = { 0 };
	struct fb_span span;
	bool more;

	for (int turn = 0; turn < 2; turn++) {
		assert_ok(fb_rows_rewind(rows, &err));
		for (seen = 0;; seen++) {
			struct row row = { 0 };

			assert_ok(fb_rows_next(rows, &span, &more, &err));
			if (!more)
				break;
			assert_in_range(span.len, 8, 28);
			memcpy(&row, span.ptr, span.len);
			assert_int_equal(span.len, 8 + row.number % 21);
			for (size_t i = 8; i < span.len; i++)
				assert_int_equal(
				    span.ptr[i], 'a' + row.number % 26);
			assert_int_equal(row.key,
			    row.number * 2654435761u % (count / 3 + 1));
			if (!sorted)
				assert_int_equal(row.number, seen);
			else if (seen > 0)
				assert_true(row.key > last_key ||
				    (row.key == last_key &&
				        row.number > last_number));
			last_key = row.key;
			last_number = row.number;
		}
		assert_int_equal(seen, count);
		assert_ok(fb_rows_next(rows, &span, &more, &err));
		assert_false(more);
	}
}

static void
rows_come_out_in_order_whatever_the_memory(void **state)
{
	static const size_t memories[] = { 1, 100, 1000, 50000, 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(memories) / sizeof(*memories); i++) {
		FB_AUTO_ROWS struct fb_rows *rows =
		    filled(memories[i], by_key, 6000);

		check(rows, true, 6000);
	}
}

static void
without_an_order_they_come_as_they_were_put_in(void **state)
{
	(void)state;
	for (size_t memory = 1; memory < 2000000; memory *= 100) {
		FB_AUTO_ROWS struct fb_rows *rows = filled(memory, NULL, 30000);

		check(rows, false, 30000);
	}
}

static void
none_is_fine(void **state)
{
	FB_AUTO_ROWS struct fb_rows *rows = fb_rows_new(NULL, 0, by_key, NULL);

	(void)state;
	check(rows, true, 0);
}

static void
few_touch_no_disk(void **state)
{
	size_t before = open_descriptors();
	FB_AUTO_ROWS struct fb_rows *rows = filled(0, by_key, 6000);

	(void)state;
	check(rows, true, 6000);
	assert_int_equal(open_descriptors(), before);
}

static void
where_there_is_no_directory_another_one_does(void **state)
{
	FB_AUTO_ROWS struct fb_rows *rows =
	    fb_rows_new("/nowhere/at/all", 1, by_key, NULL);
	struct fb_error err = { 0 };
	struct fb_span row;
	bool more;

	(void)state;
	assert_ok(fb_rows_add(rows, SPAN("two "), &err));
	assert_ok(fb_rows_add(rows, SPAN("one "), &err));
	assert_ok(fb_rows_rewind(rows, &err));
	assert_ok(fb_rows_next(rows, &row, &more, &err));
	assert_true(more);
	assert_int_equal(row.len, 4);
}

static int
sort_a_few(void)
{
	FB_AUTO_ROWS struct fb_rows *rows = fb_rows_new(NULL, 1, by_key, NULL);
	struct fb_error err = { 0 };
	struct fb_span row;
	bool more = true;
	int rc = FB_OK, seen = 0;

	for (int i = 0; rc == FB_OK && i < 100; i++)
		rc = fb_rows_add(rows, SPAN("some row"), &err);
	if (rc == FB_OK)
		rc = fb_rows_rewind(rows, &err);
	while (rc == FB_OK && more) {
		rc = fb_rows_next(rows, &row, &more, &err);
		seen += more;
	}
	assert_true(rc < 0 || seen == 100);
	return rc;
}

static void
a_disk_that_fails_is_an_error(void **state)
{
	unsigned long at, failed = 0;

	(void)state;
	for (at = faults_begin(); faults_arm(at, "EIO"); at++) {
		int rc = sort_a_few();

		faults_disarm();
		assert_true(rc == FB_ESYS || rc == FB_OK);
		failed += rc == FB_ESYS;
	}
	assert_int_equal(failed, at - 2); /* the last try had no fault */
	assert_true(failed > 200);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_come_out_in_order_whatever_the_memory),
		cmocka_unit_test(
		    without_an_order_they_come_as_they_were_put_in),
		cmocka_unit_test(none_is_fine),
		cmocka_unit_test(few_touch_no_disk),
		cmocka_unit_test(where_there_is_no_directory_another_one_does),
		cmocka_unit_test(a_disk_that_fails_is_an_error),
	};

	return run_group(
	    "rows", tests, sizeof(tests) / sizeof(*tests), NULL, NULL);
}

/* What MIOSA says, and what is believed of it. */
#include <string.h>

#include "test.h"

#include "../../src/driver/miosa_internal.h"
#include "fleetbak/base/mem.h"

static struct fb_error err;

static void
only_ready_is_ready(void **state)
{
	static const char *const others[] = { "", "READY", "ready ", "creating",
		"uploading", "restoring", "saving", "levitating", "done",
		"running" };

	(void)state;
	assert_int_equal(fb_miosa_state_class("ready"), FB_MIOSA_READY);
	for (size_t i = 0; i < FB_COUNT(others); i++)
		assert_int_equal(
		    fb_miosa_state_class(others[i]), FB_MIOSA_MAKING);
	assert_int_equal(
	    fb_miosa_state_class("quarantined"), FB_MIOSA_BROKEN);
	assert_int_equal(fb_miosa_power_class("active"), FB_MIOSA_UP);
	assert_int_equal(fb_miosa_power_class("paused"), FB_MIOSA_HELD);
	assert_int_equal(fb_miosa_power_class("Running"), FB_MIOSA_PENDING);
}

static void
a_label_is_read_as_it_was_written(void **state)
{
	static const char *const bad[] = { "", "fleetbak.", "fleetbak.0123.t",
		"fleetbak.0123456g.t", "fleetbak.01234567.",
		"fleetbak.01234567.a/b", "fleetbak.01234567..",
		"xfleetbak.01234567.t" };
	FB_AUTO_FREE char *ours = fb_miosa_label("r1", "run-1.2");
	FB_AUTO_FREE char *nobodys = fb_miosa_label(NULL, "run-1.2");
	char owner[FB_MIOSA_OWNER_SIZE];
	const char *token;

	(void)state;
	assert_true(fb_miosa_label_parse(ours, owner, &token));
	assert_string_equal(token, "run-1.2");
	assert_string_not_equal(owner, "00000000");
	assert_true(fb_miosa_label_parse(nobodys, owner, &token));
	assert_string_equal(owner, "00000000");
	for (size_t i = 0; i < FB_COUNT(bad); i++)
		assert_false(fb_miosa_label_parse(bad[i], owner, &token));
}

static void
a_key_is_the_same_for_the_same_words(void **state)
{
	FB_AUTO_FREE char *a = fb_miosa_key("create", "comp_a", "t1");
	FB_AUTO_FREE char *b = fb_miosa_key("create", "comp_a", "t1");
	FB_AUTO_FREE char *c = fb_miosa_key("create", "comp_a", "t2");

	(void)state;
	assert_string_equal(a, b);
	assert_string_not_equal(a, c);
	assert_int_equal(strlen(a), 36);
	assert_int_equal(a[14], '4');
	assert_non_null(strchr("89ab", a[19]));
}

static void
events_end_only_what_they_are_of(void **state)
{
	static const struct {
		const char *data;
		bool ends;
	} cases[] = {
		{ "[DONE]", true },
		{ "{\"snapshot_id\":\"s1\",\"status\":\"ready\"}", true },
		{ "{\"status\":\"failed\"}", true },
		{ "{\"snapshot_id\":\"s2\",\"status\":\"ready\"}", false },
		{ "{\"snapshot_id\":\"s1\",\"status\":\"odd\"}", false },
		{ "{\"progress\":100}", false },
		{ "no JSON", false },
	};

	(void)state;
	for (size_t i = 0; i < FB_COUNT(cases); i++) {
		struct fb_sse_event event = { .type = "message", .id = "",
			.data = { (const uint8_t *)cases[i].data,
			    strlen(cases[i].data) } };

		assert_int_equal(
		    fb_miosa_event_ends(&event, "s1"), cases[i].ends);
	}
}

static void
ids_and_places_leave_nothing(void **state)
{
	static const char *const roots[] = { "", "data", "/data/", "/a//b",
		"/..", "/a/../b", "/a/.", "/a'b", "/a\nb", "/a\\b" };

	(void)state;
	assert_true(fb_miosa_root_ok("/"));
	assert_true(fb_miosa_root_ok("/srv/..data/x y"));
	for (size_t i = 0; i < FB_COUNT(roots); i++)
		assert_false(fb_miosa_root_ok(roots[i]));
	assert_true(fb_miosa_id_ok("snap_1"));
	assert_false(fb_miosa_id_ok(".."));
	assert_false(fb_miosa_id_ok("."));
	assert_false(fb_miosa_id_ok("a/b"));
}

static void
lists_of_directories_are_checked(void **state)
{
	static const char *const bad[] = { "{}", "{\"entries\":[{}]}",
		"{\"entries\":[{\"name\":\"..\",\"path\":\"/d/..\","
		"\"type\":\"file\",\"size\":1}]}",
		"{\"entries\":[{\"name\":\"a\",\"path\":\"/x/a\","
		"\"type\":\"file\",\"size\":1}]}",
		"{\"entries\":[{\"name\":\"a\",\"path\":\"/d/a\","
		"\"type\":\"file\"}]}",
		"{\"entries\":[{\"name\":\"a\",\"path\":\"/d/a\","
		"\"type\":\"symlink\"},{\"name\":\"a\",\"path\":\"/d/a\","
		"\"type\":\"symlink\"}]}" };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(bad); i++) {
		FB_AUTO_JSON json_t *json = json_loads(bad[i], 0, NULL);
		struct fb_miosa_entry *entries = NULL;
		size_t count;

		assert_fails(FB_EPROTO,
		    fb_miosa_entries(json, "/d", &entries, &count, &err));
		assert_null(entries);
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_ready_is_ready),
		cmocka_unit_test(a_label_is_read_as_it_was_written),
		cmocka_unit_test(a_key_is_the_same_for_the_same_words),
		cmocka_unit_test(events_end_only_what_they_are_of),
		cmocka_unit_test(ids_and_places_leave_nothing),
		cmocka_unit_test(lists_of_directories_are_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

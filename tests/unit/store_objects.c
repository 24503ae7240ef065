/* What is put, got, replaced and removed. */
#include "store_suite.h"

#include "fleetbak/base/io.h"
#include <stdio.h>
#include <stdlib.h>

static struct fb_error err;

static void
what_is_put_is_got(void **state)
{
	struct fb_store *store = store_of(state);
	uint8_t all[256];
	FB_AUTO_BUF struct fb_buf bytes = { 0 };

	for (size_t i = 0; i < sizeof(all); i++)
		all[i] = (uint8_t)i;
	assert_ok(fb_store_create(store, "packs/ab/object-1.pack",
	    (struct fb_span){ all, sizeof(all) }, &err));
	fb_buf_add_str(&bytes, "before");
	assert_ok(fb_store_get(
	    store, "packs/ab/object-1.pack", sizeof(all), &bytes, NULL, &err));
	assert_int_equal(bytes.len, 6 + sizeof(all));
	assert_memory_equal(bytes.data, "before", 6);
	assert_memory_equal(bytes.data + 6, all, sizeof(all));
}

static void
an_object_may_be_empty(void **state)
{
	struct fb_store *store = store_of(state);
	uint64_t size = 1;

	assert_ok(
	    fb_store_create(store, "empty", (struct fb_span){ NULL, 0 }, &err));
	suite_assert_object(store, "empty", "");
	assert_ok(fb_store_head(store, "empty", &size, &err));
	assert_int_equal(size, 0);
	assert_ok(fb_store_get_range(store, "empty", 0, &size, 0, &err));
}

static void
a_taken_key_keeps_its_object(void **state)
{
	struct fb_store *store = store_of(state);
	FB_AUTO_FREE char *path = suite_file(state, "spool", SPAN("third"));

	suite_put(store, "a/k", "first");
	assert_fails(
	    FB_EEXISTS, fb_store_create(store, "a/k", SPAN("second"), &err));
	assert_non_null(strstr(err.msg, "put 'a/k'"));
	assert_fails(
	    FB_EEXISTS, fb_store_create(store, "a/k", SPAN("first"), &err));
	assert_fails(
	    FB_EEXISTS, fb_store_create_file(store, "a/k", path, 5, &err));
	suite_assert_object(store, "a/k", "first");
}

static void
what_is_not_there_is_not_found(void **state)
{
	struct fb_store *store = store_of(state);
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	uint64_t size;
	char byte;

	suite_put(store, "a/b", "x");
	assert_fails(
	    FB_ENOTFOUND, fb_store_get(store, "a/c", 10, &bytes, NULL, &err));
	assert_non_null(strstr(err.msg, "get 'a/c'"));
	assert_fails(FB_ENOTFOUND,
	    fb_store_get(store, "no/such/place", 10, &bytes, NULL, &err));
	assert_fails(
	    FB_ENOTFOUND, fb_store_head(store, "no/such", &size, &err));
	assert_fails(
	    FB_ENOTFOUND, fb_store_get_range(store, "no", 0, &byte, 1, &err));
	assert_int_equal(bytes.len, 0);
}

static void
an_object_larger_than_asked_for_is_refused(void **state)
{
	struct fb_store *store = store_of(state);
	FB_AUTO_BUF struct fb_buf bytes = { 0 };

	suite_put(store, "k", "12345");
	assert_ok(fb_store_get(store, "k", 5, &bytes, NULL, &err));
	assert_fails(
	    FB_ECORRUPT, fb_store_get(store, "k", 4, &bytes, NULL, &err));
}

static void
a_range_is_read_whole_or_not_at_all(void **state)
{
	struct fb_store *store = store_of(state);
	char bytes[4] = "";

	suite_put(store, "k", "0123456789");
	assert_ok(fb_store_get_range(store, "k", 0, bytes, 4, &err));
	assert_memory_equal(bytes, "0123", 4);
	assert_ok(fb_store_get_range(store, "k", 6, bytes, 4, &err));
	assert_memory_equal(bytes, "6789", 4);
	assert_ok(fb_store_get_range(store, "k", 10, bytes, 0, &err));
	assert_fails(
	    FB_ECORRUPT, fb_store_get_range(store, "k", 7, bytes, 4, &err));
	assert_fails(
	    FB_ECORRUPT, fb_store_get_range(store, "k", 99, bytes, 1, &err));
	assert_fails(FB_ECORRUPT,
	    fb_store_get_range(store, "k", UINT64_MAX, bytes, 4, &err));
	assert_fails(FB_ECORRUPT,
	    fb_store_get_range(store, "k", INT64_MAX, bytes, 4, &err));
}

static void
text_ends_at_its_first_nul(void **state)
{
	struct fixture *fix = *state;
	static const size_t sizes[] = { 0, 1, 1000, (1u << 20) + 1,
		(3u << 20) };
	char key[32];

	for (size_t i = 0; i < FB_COUNT(sizes); i++) {
		size_t size = sizes[i];
		FB_AUTO_FREE uint8_t *bytes = fb_alloc(size + 1, 1);
		FB_AUTO_BUF struct fb_buf got = { 0 };

		memset(bytes, 'x', size);
		(void)snprintf(key, sizeof(key), "text/%zu", i);
		assert_ok(fb_store_create(
		    fix->store, key, (struct fb_span){ bytes, size }, &err));
		assert_ok(
		    fb_store_get_text(fix->store, key, 4u << 20, &got, &err));
		assert_int_equal(got.len, size);
		assert_memory_equal(fb_buf_str(&got), (char *)bytes, size + 1);
		if (size == 0)
			continue;
		assert_fails(FB_ECORRUPT,
		    fb_store_get_text(fix->store, key, size - 1, &got, &err));
		bytes[size - 1] = '\0';
		assert_ok(fb_store_remove(fix->store, key, &err));
		assert_ok(fb_store_create(
		    fix->store, key, (struct fb_span){ bytes, size }, &err));
		assert_fails(FB_ECORRUPT,
		    fb_store_get_text(fix->store, key, 4u << 20, &got, &err));
	}
	assert_fails(FB_ENOTFOUND,
	    fb_store_get_text(fix->store, "text/none", 4u << 20,
	        &(struct fb_buf){ 0 }, &err));
}

static void
a_key_that_could_lead_elsewhere_is_refused(void **state)
{
	static const char *const bad[] = { "", "/", "/etc/passwd", "a/", "a//b",
		".", "..", "../x", "a/../b", "a/.", ".hidden", "a/.lock", "a b",
		"a\n", "a%41", "\xc3\xa9", "a\\b", "a:b" };
	struct fb_store *store = store_of(state);
	FB_AUTO_FREE char *path = suite_file(state, "spool", SPAN("x"));
	char longest[FB_STORE_KEY_MAX + 2];
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	uint64_t size;
	char byte;

	for (size_t i = 0; i < FB_COUNT(bad); i++) {
		const char *key = bad[i];

		assert_fails(
		    FB_ECONFIG, fb_store_create(store, key, SPAN("x"), &err));
		assert_string_equal(err.id, "E-STORE-KEY");
		assert_fails(FB_ECONFIG,
		    fb_store_create_file(store, key, path, 1, &err));
		assert_fails(FB_ECONFIG,
		    fb_store_replace(store, key, SPAN("x"), "", &err));
		assert_fails(FB_ECONFIG,
		    fb_store_get(store, key, 9, &bytes, NULL, &err));
		assert_fails(FB_ECONFIG,
		    fb_store_get_range(store, key, 0, &byte, 1, &err));
		assert_fails(
		    FB_ECONFIG, fb_store_head(store, key, &size, &err));
		assert_fails(FB_ECONFIG, fb_store_remove(store, key, &err));
	}
	memset(longest, 'k', sizeof(longest));
	longest[FB_STORE_KEY_MAX + 1] = '\0';
	assert_fails(
	    FB_ECONFIG, fb_store_create(store, longest, SPAN("x"), &err));
	longest[FB_STORE_KEY_MAX] = '\0';
	suite_put(store, longest, "x");
	suite_assert_object(store, longest, "x");
}

static void
a_removed_object_is_gone_and_its_key_free(void **state)
{
	struct fb_store *store = store_of(state);
	uint64_t size;

	suite_put(store, "a/k", "first");
	assert_ok(fb_store_remove(store, "a/k", &err));
	assert_fails(FB_ENOTFOUND, fb_store_head(store, "a/k", &size, &err));
	assert_ok(fb_store_remove(store, "a/k", &err));
	assert_ok(fb_store_remove(store, "no/such/thing", &err));
	suite_put(store, "a/k", "second");
	suite_assert_object(store, "a/k", "second");
}

static int
count_down(void *arg, struct fb_error *check_err)
{
	int *left = arg;

	return --*left >= 0 ? FB_OK
	                    : fb_fail(check_err, FB_ECONFLICT, "no more");
}

static void
many_are_removed_and_no_others(void **state)
{
	static const char *const keys[] = { "a/1", "a/2", "a/none", "a.b_c-d",
		"a/3" };
	bool gone[FB_COUNT(keys)];
	struct fb_store *store = store_of(state);
	struct fb_store_removal removal = {
		.keys = keys, .count = FB_COUNT(keys), .gone = gone
	};

	for (size_t i = 0; i < FB_COUNT(keys); i++)
		if (i != 2)
			suite_put(store, keys[i], "x");
	suite_put(store, "a/10", "x");
	suite_put(store, "a.b", "x");
	assert_ok(fb_store_remove_many(store, &removal, &err));
	for (size_t i = 0; i < FB_COUNT(keys); i++)
		assert_true(gone[i]);
	suite_assert_list(store, "", "a.b=1 a/10=1 ");
	removal.count = 0;
	assert_ok(fb_store_remove_many(store, &removal, &err));
	removal.count = 1;
	suite_put(store, keys[0], "again");
	assert_ok(fb_store_remove_many(store, &removal, &err));
	suite_assert_list(store, "", "a.b=1 a/10=1 ");
}

static void
a_removal_of_many_can_be_stopped(void **state)
{
	static const char *const keys[] = { "a/1", "a/2", "../a" };
	bool gone[FB_COUNT(keys)];
	struct fb_store *store = store_of(state);
	int left = 0;
	struct fb_store_removal removal = { .keys = keys,
		.count = 2,
		.gone = gone,
		.check = count_down,
		.arg = &left };

	suite_put(store, keys[0], "x");
	suite_put(store, keys[1], "x");
	assert_fails(FB_ECONFLICT, fb_store_remove_many(store, &removal, &err));
	assert_false(gone[0] || gone[1]);
	left = 9;
	removal.count = 3; /* one of them is no key */
	assert_fails(FB_ECONFIG, fb_store_remove_many(store, &removal, &err));
	assert_string_equal(err.id, "E-STORE-KEY");
	assert_false(gone[0] || gone[1] || gone[2]);
	suite_assert_list(store, "", "a/1=1 a/2=1 ");
	removal.count = 2;
	assert_ok(fb_store_remove_many(store, &removal, &err));
	suite_assert_list(store, "", "");
}

/* Where answers get lost it may be that nobody knows. */
static void
assert_conflict(int rc)
{
	if (rc != FB_EUNKNOWN || getenv("FB_STORE_FAULTS") == NULL)
		assert_fails(FB_ECONFLICT, rc);
}

static void
replace_wants_the_tag_of_what_is_there(void **state)
{
	struct fb_store *store = store_of(state);
	char tag[FB_STORE_TAG_SIZE], old[FB_STORE_TAG_SIZE];
	FB_AUTO_BUF struct fb_buf bytes = { 0 };

	assert_conflict(
	    fb_store_replace(store, "gc/current", SPAN("x"), "tag", &err));
	assert_ok(fb_store_replace(store, "gc/current", SPAN("1"), "", &err));
	assert_conflict(
	    fb_store_replace(store, "gc/current", SPAN("x"), "", &err));
	assert_ok(fb_store_get(store, "gc/current", 9, &bytes, old, &err));
	assert_true(old[0] != '\0');
	assert_ok(fb_store_replace(store, "gc/current", SPAN("22"), old, &err));
	assert_conflict(
	    fb_store_replace(store, "gc/current", SPAN("x"), old, &err));
	suite_assert_object(store, "gc/current", "22");

	assert_ok(fb_store_get(store, "gc/current", 9, &bytes, tag, &err));
	assert_string_not_equal(tag, old);
	assert_ok(fb_store_remove(store, "gc/current", &err));
	assert_conflict(
	    fb_store_replace(store, "gc/current", SPAN("x"), tag, &err));
	suite_assert_list(store, "", "");
}

static void
a_file_that_is_not_what_was_said_is_refused(void **state)
{
	struct fb_store *store = store_of(state);
	FB_AUTO_FREE char *path = suite_file(state, "spool", SPAN("12345"));

	assert_fails(
	    FB_ECORRUPT, fb_store_create_file(store, "k", path, 4, &err));
	assert_fails(
	    FB_ECORRUPT, fb_store_create_file(store, "k", path, 6, &err));
	assert_ok(fb_io_unlink(path, &err));
	assert_fails(
	    FB_ENOTFOUND, fb_store_create_file(store, "k", path, 5, &err));
	suite_assert_list(store, "", "");
}

static void
there_is_space(void **state)
{
	uint64_t bytes = 0;

	assert_ok(fb_store_space(store_of(state), &bytes, &err));
	assert_true(bytes > 0);
}

/* For stores that outlive their handle. */
static void
another_handle_sees_the_same(void **state)
{
	const struct fixture *fix = *state;
	FB_AUTO_STORE struct fb_store *other = suite_open_again(fix);

	if (other == NULL)
		return;
	suite_put(fix->store, "runs/x/manifest.json", "{}");
	suite_assert_object(other, "runs/x/manifest.json", "{}");
	assert_fails(FB_EEXISTS,
	    fb_store_create(other, "runs/x/manifest.json", SPAN("x"), &err));
	assert_ok(fb_store_remove(other, "runs/x/manifest.json", &err));
	suite_put(fix->store, "runs/x/manifest.json", "{2}");
	suite_assert_object(other, "runs/x/manifest.json", "{2}");
}

/* Every character a key may have, where it could be taken for another. */
static void
keys_of_all_characters_are_told_apart(void **state)
{
	static const char *const keys[] = { "0123456789",
		"ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz",
		"a.-_z", "-", "_", "a-", "a_", "a.", "a..b", "a/-/_/b", "A/B",
		"a/B", "A/b", "a/b", "x/y.z/w-v_u.t" };
	struct fb_store *store = store_of(state);

	for (size_t i = 0; i < FB_COUNT(keys); i++)
		suite_put(store, keys[i], keys[i]);
	for (size_t i = 0; i < FB_COUNT(keys); i++)
		suite_assert_object(store, keys[i], keys[i]);
	for (size_t i = 0; i < FB_COUNT(keys); i++)
		assert_ok(fb_store_remove(store, keys[i], &err));
	suite_assert_list(store, "", "");
}

/* A failed get leaves what was in the buffer. */
static void
what_was_in_the_buffer_stays(void **state)
{
	struct fb_store *store = store_of(state);
	FB_AUTO_BUF struct fb_buf bytes = { 0 };

	suite_put(store, "k", "12345");
	fb_buf_add_str(&bytes, "before");
	assert_fails(
	    FB_ENOTFOUND, fb_store_get(store, "none", 9, &bytes, NULL, &err));
	assert_string_equal(fb_buf_str(&bytes), "before");
	assert_fails(
	    FB_ECORRUPT, fb_store_get(store, "k", 4, &bytes, NULL, &err));
	assert_memory_equal(bytes.data, "before", 6);
	assert_int_equal(bytes.len, 6);
}

/* The same content twice is two versions, or a change in between is lost. */
static void
a_tag_is_of_one_version(void **state)
{
	struct fb_store *store = store_of(state);
	char first[FB_STORE_TAG_SIZE], second[FB_STORE_TAG_SIZE];
	FB_AUTO_BUF struct fb_buf bytes = { 0 };

	assert_ok(fb_store_replace(store, "t", SPAN("a"), "", &err));
	assert_ok(fb_store_get(store, "t", 9, &bytes, first, &err));
	assert_ok(fb_store_get(store, "t", 9, &bytes, second, &err));
	assert_string_equal(first, second);
	assert_ok(fb_store_replace(store, "t", SPAN("b"), first, &err));
	assert_conflict(fb_store_replace(store, "t", SPAN("c"), first, &err));
	assert_ok(fb_store_get(store, "t", 9, &bytes, second, &err));
	assert_ok(fb_store_replace(store, "t", SPAN(""), second, &err));
	suite_assert_object(store, "t", "");
	assert_ok(fb_store_get(store, "t", 9, &bytes, second, &err));
	assert_true(second[0] != '\0');
	assert_ok(fb_store_replace(store, "t", SPAN("d"), second, &err));
	suite_assert_object(store, "t", "d");
}

const struct promise store_object_promises[] = {
	PROMISE(what_is_put_is_got),
	PROMISE(an_object_may_be_empty),
	PROMISE(a_taken_key_keeps_its_object),
	PROMISE(what_is_not_there_is_not_found),
	PROMISE(an_object_larger_than_asked_for_is_refused),
	PROMISE(a_range_is_read_whole_or_not_at_all),
	PROMISE(text_ends_at_its_first_nul),
	PROMISE(a_key_that_could_lead_elsewhere_is_refused),
	PROMISE(a_removed_object_is_gone_and_its_key_free),
	PROMISE(many_are_removed_and_no_others),
	PROMISE(a_removal_of_many_can_be_stopped),
	PROMISE(replace_wants_the_tag_of_what_is_there),
	PROMISE(a_file_that_is_not_what_was_said_is_refused),
	PROMISE(there_is_space),
	PROMISE(another_handle_sees_the_same),
	PROMISE(keys_of_all_characters_are_told_apart),
	PROMISE(what_was_in_the_buffer_stays),
	PROMISE(a_tag_is_of_one_version),
	{ 0 },
};

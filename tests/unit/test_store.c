/*
 * What every store promises, tried on every store.  A new kind of store adds
 * an opener to `kinds` and nothing else.
 */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fleetbak/base/group.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/digest.h"
#include "fleetbak/store/store.h"

static struct fb_error err;

struct fixture {
	struct fb_store *store;
	char *url;
	char *dir; /* for spool files, and for what the store keeps */
};

static char *
dir_url(const char *dir)
{
	return fb_format("file:%s/repo", dir);
}

static char *
mem_url(const char *dir)
{
	(void)dir;
	return fb_strdup("mem:");
}

static int
set_up(void **state, char *(*url_of)(const char *dir))
{
	struct fixture *fix = fb_alloc(1, sizeof(*fix));

	fix->dir = fb_strdup("/tmp/fb-store-XXXXXX");
	if (mkdtemp(fix->dir) == NULL)
		return -1;
	fix->url = url_of(fix->dir);
	*state = fix;
	return fb_store_open(fix->url, true, NULL, &fix->store, &err);
}

static int
set_up_dir(void **state)
{
	return set_up(state, dir_url);
}

static int
set_up_mem(void **state)
{
	return set_up(state, mem_url);
}

static int
tear_down(void **state)
{
	struct fixture *fix = *state;

	fb_store_close(fix->store);
	if (fb_io_remove_tree(fix->dir, &err) < 0)
		return -1;
	free(fix->dir);
	free(fix->url);
	free(fix);
	return 0;
}

static struct fb_store *
store_of(void **state)
{
	return ((struct fixture *)*state)->store;
}

static struct fb_span
text(const char *string)
{
	return (struct fb_span){ (const uint8_t *)string, strlen(string) };
}

static void
put(struct fb_store *store, const char *key, const char *content)
{
	assert_ok(fb_store_create(store, key, text(content), &err));
}

static void
assert_object(struct fb_store *store, const char *key, const char *content)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };

	assert_ok(fb_store_get(store, key, 1 << 20, &bytes, NULL, &err));
	assert_string_equal(fb_buf_str(&bytes), content);
}

static char *
make_file(void **state, const char *name, struct fb_span bytes)
{
	const struct fixture *fix = *state;
	char *path = fb_format("%s/%s", fix->dir, name);

	assert_ok(fb_io_replace(path, bytes, 0600, &err));
	return path;
}

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
	assert_object(store, "empty", "");
	assert_ok(fb_store_head(store, "empty", &size, &err));
	assert_int_equal(size, 0);
	assert_ok(fb_store_get_range(store, "empty", 0, &size, 0, &err));
}

static void
a_taken_key_keeps_its_object(void **state)
{
	struct fb_store *store = store_of(state);
	FB_AUTO_FREE char *path = make_file(state, "spool", SPAN("third"));

	put(store, "a/k", "first");
	assert_fails(
	    FB_EEXISTS, fb_store_create(store, "a/k", SPAN("second"), &err));
	assert_non_null(strstr(err.msg, "put 'a/k'"));
	assert_fails(
	    FB_EEXISTS, fb_store_create(store, "a/k", SPAN("first"), &err));
	assert_fails(
	    FB_EEXISTS, fb_store_create_file(store, "a/k", path, 5, &err));
	assert_object(store, "a/k", "first");
}

static void
what_is_not_there_is_not_found(void **state)
{
	struct fb_store *store = store_of(state);
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	uint64_t size;
	char byte;

	put(store, "a/b", "x");
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

	put(store, "k", "12345");
	assert_ok(fb_store_get(store, "k", 5, &bytes, NULL, &err));
	assert_fails(
	    FB_ECORRUPT, fb_store_get(store, "k", 4, &bytes, NULL, &err));
}

static void
a_range_is_read_whole_or_not_at_all(void **state)
{
	struct fb_store *store = store_of(state);
	char bytes[4] = "";

	put(store, "k", "0123456789");
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
		assert_ok(fb_store_create(fix->store, key,
		    (struct fb_span){ bytes, size }, &err));
		assert_ok(fb_store_get_text(
		    fix->store, key, 4u << 20, &got, &err));
		assert_int_equal(got.len, size);
		assert_memory_equal(fb_buf_str(&got), (char *)bytes, size + 1);
		if (size == 0)
			continue;
		assert_fails(FB_ECORRUPT,
		    fb_store_get_text(
		        fix->store, key, size - 1, &got, &err));
		bytes[size - 1] = '\0';
		assert_ok(fb_store_remove(fix->store, key, &err));
		assert_ok(fb_store_create(fix->store, key,
		    (struct fb_span){ bytes, size }, &err));
		assert_fails(FB_ECORRUPT,
		    fb_store_get_text(
		        fix->store, key, 4u << 20, &got, &err));
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
	FB_AUTO_FREE char *path = make_file(state, "spool", SPAN("x"));
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
	put(store, longest, "x");
	assert_object(store, longest, "x");
}

static int
collect(const char *key, uint64_t size, void *arg, struct fb_error *visit_err)
{
	(void)visit_err;
	fb_buf_add_fmt(arg, "%s=%llu ", key, (unsigned long long)size);
	return FB_OK;
}

static void
assert_list(struct fb_store *store, const char *prefix, const char *expected)
{
	FB_AUTO_BUF struct fb_buf keys = { 0 };

	assert_ok(fb_store_list(store, prefix, collect, &keys, &err));
	assert_string_equal(fb_buf_str(&keys), expected);
}

static void
keys_are_listed_in_the_order_of_their_bytes(void **state)
{
	static const char *const keys[] = { "b", "a/x", "a.b", "a-b", "a_b",
		"A", "a/x-1", "a0", "ab/c/d", "ab/c-d", "a/w/deep" };
	struct fb_store *store = store_of(state);

	for (size_t i = 0; i < FB_COUNT(keys); i++)
		put(store, keys[i], "12");
	assert_list(store, "",
	    "A=2 a-b=2 a.b=2 a/w/deep=2 a/x=2 a/x-1=2 a0=2 a_b=2 "
	    "ab/c-d=2 ab/c/d=2 b=2 ");
}

static void
a_prefix_may_end_anywhere(void **state)
{
	struct fb_store *store = store_of(state);

	assert_list(store, "", "");
	put(store, "packs/ab/1", "1");
	put(store, "packs/ab/2", "22");
	put(store, "packs/ac/1", "333");
	put(store, "packsy", "");
	assert_list(store, "packs/ab/", "packs/ab/1=1 packs/ab/2=2 ");
	assert_list(
	    store, "packs/a", "packs/ab/1=1 packs/ab/2=2 packs/ac/1=3 ");
	assert_list(
	    store, "packs", "packs/ab/1=1 packs/ab/2=2 packs/ac/1=3 packsy=0 ");
	assert_list(store, "packs/ab/2", "packs/ab/2=2 ");
	assert_list(store, "packs/ab/3", "");
	assert_list(store, "nothing/", "");
	assert_list(store, "packsy/", "");
	assert_fails(
	    FB_ECONFIG, fb_store_list(store, "../", collect, NULL, &err));
	assert_fails(
	    FB_ECONFIG, fb_store_list(store, "/", collect, NULL, &err));
}

static int
remove_it(const char *key, uint64_t size, void *arg, struct fb_error *visit_err)
{
	(void)size;
	return fb_store_remove(arg, key, visit_err);
}

static int
refuse(const char *key, uint64_t size, void *arg, struct fb_error *visit_err)
{
	(void)size;
	++*(int *)arg;
	return fb_fail(visit_err, FB_EREFUSED, "enough at %s", key);
}

static void
a_visitor_may_change_the_store_or_stop(void **state)
{
	struct fb_store *store = store_of(state);
	int visits = 0;

	put(store, "a/1", "x");
	put(store, "a/2", "x");
	put(store, "b", "x");
	assert_fails(
	    FB_EREFUSED, fb_store_list(store, "", refuse, &visits, &err));
	assert_int_equal(visits, 1);
	assert_string_equal(err.msg, "enough at a/1");
	assert_ok(fb_store_list(store, "a/", remove_it, store, &err));
	assert_list(store, "", "b=1 ");
}

static void
a_removed_object_is_gone_and_its_key_free(void **state)
{
	struct fb_store *store = store_of(state);
	uint64_t size;

	put(store, "a/k", "first");
	assert_ok(fb_store_remove(store, "a/k", &err));
	assert_fails(FB_ENOTFOUND, fb_store_head(store, "a/k", &size, &err));
	assert_ok(fb_store_remove(store, "a/k", &err));
	assert_ok(fb_store_remove(store, "no/such/thing", &err));
	put(store, "a/k", "second");
	assert_object(store, "a/k", "second");
}

static void
replace_wants_the_tag_of_what_is_there(void **state)
{
	struct fb_store *store = store_of(state);
	char tag[FB_STORE_TAG_SIZE], old[FB_STORE_TAG_SIZE];
	FB_AUTO_BUF struct fb_buf bytes = { 0 };

	assert_fails(FB_ECONFLICT,
	    fb_store_replace(store, "gc/current", SPAN("x"), "tag", &err));
	assert_ok(fb_store_replace(store, "gc/current", SPAN("1"), "", &err));
	assert_fails(FB_ECONFLICT,
	    fb_store_replace(store, "gc/current", SPAN("x"), "", &err));
	assert_ok(fb_store_get(store, "gc/current", 9, &bytes, old, &err));
	assert_true(old[0] != '\0');
	assert_ok(fb_store_replace(store, "gc/current", SPAN("22"), old, &err));
	assert_fails(FB_ECONFLICT,
	    fb_store_replace(store, "gc/current", SPAN("x"), old, &err));
	assert_object(store, "gc/current", "22");

	assert_ok(fb_store_get(store, "gc/current", 9, &bytes, tag, &err));
	assert_string_not_equal(tag, old);
	assert_ok(fb_store_remove(store, "gc/current", &err));
	assert_fails(FB_ECONFLICT,
	    fb_store_replace(store, "gc/current", SPAN("x"), tag, &err));
	assert_list(store, "", "");
}

#define LARGE (5 << 20)

static void
a_large_file_becomes_an_object(void **state)
{
	struct fb_store *store = store_of(state);
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	FB_AUTO_BUF struct fb_buf back = { 0 };
	FB_AUTO_FREE char *path = NULL;
	uint64_t size;

	for (uint32_t i = 0; i < LARGE / 4; i++)
		fb_buf_add_le32(&bytes, i * 2654435761u);
	path = make_file(state, "spool", fb_buf_span(&bytes));
	assert_ok(fb_store_create_file(store, "packs/00/p", path, LARGE, &err));
	assert_ok(fb_io_unlink(path, &err));
	assert_ok(fb_store_head(store, "packs/00/p", &size, &err));
	assert_int_equal(size, LARGE);
	assert_ok(fb_store_get(store, "packs/00/p", LARGE, &back, NULL, &err));
	assert_int_equal(back.len, bytes.len);
	assert_memory_equal(back.data, bytes.data, bytes.len);
}

static void
a_file_that_is_not_what_was_said_is_refused(void **state)
{
	struct fb_store *store = store_of(state);
	FB_AUTO_FREE char *path = make_file(state, "spool", SPAN("12345"));

	assert_fails(
	    FB_ECORRUPT, fb_store_create_file(store, "k", path, 4, &err));
	assert_fails(
	    FB_ECORRUPT, fb_store_create_file(store, "k", path, 6, &err));
	assert_ok(fb_io_unlink(path, &err));
	assert_fails(
	    FB_ENOTFOUND, fb_store_create_file(store, "k", path, 5, &err));
	assert_list(store, "", "");
}

static void
there_is_space(void **state)
{
	uint64_t bytes = 0;

	assert_ok(fb_store_space(store_of(state), &bytes, &err));
	assert_true(bytes > 0);
}

/* Each thread tries every key; each key must have exactly one winner, whose
 * object it holds. */
#define RACERS 8
#define KEYS   40

struct racer {
	struct fb_store *store;
	unsigned number;
	bool won[KEYS];
};

static int
race(void *arg, struct fb_error *task_err)
{
	struct racer *racer = arg;

	for (unsigned i = 0; i < KEYS; i++) {
		FB_AUTO_FREE char *key = fb_format("race/%02u/k", i);
		FB_AUTO_FREE char *mine = fb_format("by %u", racer->number);
		int rc =
		    fb_store_create(racer->store, key, text(mine), task_err);

		if (rc < 0 && rc != FB_EEXISTS)
			return rc;
		racer->won[i] = rc == FB_OK;
	}
	return FB_OK;
}

static void
of_many_creators_exactly_one_wins(void **state)
{
	struct fb_group *group = fb_group_new();
	struct racer racers[RACERS] = { 0 };

	for (unsigned n = 0; n < RACERS; n++) {
		racers[n].store = store_of(state);
		racers[n].number = n;
		fb_group_start(group, race, &racers[n]);
	}
	assert_ok(fb_group_wait(group, &err));
	for (unsigned i = 0; i < KEYS; i++) {
		FB_AUTO_FREE char *key = fb_format("race/%02u/k", i);
		unsigned winners = 0;

		for (unsigned n = 0; n < RACERS; n++) {
			FB_AUTO_FREE char *mine = fb_format("by %u", n);

			if (!racers[n].won[i])
				continue;
			winners++;
			assert_object(store_of(state), key, mine);
		}
		assert_int_equal(winners, 1);
	}
}

/* A counter raised by compare and swap loses no step. */
static int
raise_counter(void *arg, struct fb_error *task_err)
{
	int raised = 0;

	while (raised < 10) {
		FB_AUTO_BUF struct fb_buf bytes = { 0 };
		char tag[FB_STORE_TAG_SIZE];
		FB_AUTO_FREE char *next = NULL;
		int rc =
		    fb_store_get(arg, "counter", 20, &bytes, tag, task_err);

		if (rc < 0)
			return rc;
		next =
		    fb_format("%lu", strtoul(fb_buf_str(&bytes), NULL, 10) + 1);
		rc =
		    fb_store_replace(arg, "counter", text(next), tag, task_err);
		if (rc < 0 && rc != FB_ECONFLICT)
			return rc;
		raised += rc == FB_OK;
	}
	return FB_OK;
}

static void
no_replace_is_lost_among_threads(void **state)
{
	struct fb_group *group = fb_group_new();

	put(store_of(state), "counter", "0");
	for (int i = 0; i < 4; i++)
		fb_group_start(group, raise_counter, store_of(state));
	assert_ok(fb_group_wait(group, &err));
	assert_object(store_of(state), "counter", "40");
}

/* For stores that outlive their handle. */
static void
another_handle_sees_the_same(void **state)
{
	const struct fixture *fix = *state;
	FB_AUTO_STORE struct fb_store *other = NULL;

	if (strcmp(fix->url, "mem:") == 0)
		return;
	put(fix->store, "runs/x/manifest.json", "{}");
	assert_ok(fb_store_open(fix->url, false, NULL, &other, &err));
	assert_object(other, "runs/x/manifest.json", "{}");
	assert_fails(FB_EEXISTS,
	    fb_store_create(other, "runs/x/manifest.json", SPAN("x"), &err));
}

static const struct {
	const char *name;
	CMFixtureFunction set_up;
} kinds[] = {
	{ "dir", set_up_dir },
	{ "mem", set_up_mem },
};

static const struct {
	const char *name;
	CMUnitTestFunction test;
} promises[] = {
#define PROMISE(test)       \
	{                   \
#test, test \
	}
	PROMISE(what_is_put_is_got),
	PROMISE(an_object_may_be_empty),
	PROMISE(a_taken_key_keeps_its_object),
	PROMISE(what_is_not_there_is_not_found),
	PROMISE(an_object_larger_than_asked_for_is_refused),
	PROMISE(a_range_is_read_whole_or_not_at_all),
	PROMISE(text_ends_at_its_first_nul),
	PROMISE(a_key_that_could_lead_elsewhere_is_refused),
	PROMISE(keys_are_listed_in_the_order_of_their_bytes),
	PROMISE(a_prefix_may_end_anywhere),
	PROMISE(a_visitor_may_change_the_store_or_stop),
	PROMISE(a_removed_object_is_gone_and_its_key_free),
	PROMISE(replace_wants_the_tag_of_what_is_there),
	PROMISE(a_large_file_becomes_an_object),
	PROMISE(a_file_that_is_not_what_was_said_is_refused),
	PROMISE(there_is_space),
	PROMISE(of_many_creators_exactly_one_wins),
	PROMISE(no_replace_is_lost_among_threads),
	PROMISE(another_handle_sees_the_same),
};

int
main(void)
{
	struct CMUnitTest tests[FB_COUNT(kinds) * FB_COUNT(promises)];
	char names[FB_COUNT(tests)][80];
	size_t n = 0;

	for (size_t i = 0; i < FB_COUNT(kinds); i++)
		for (size_t j = 0; j < FB_COUNT(promises); j++, n++) {
			(void)snprintf(names[n], sizeof(names[n]), "%s: %s",
			    kinds[i].name, promises[j].name);
			tests[n] =
			    (struct CMUnitTest){ names[n], promises[j].test,
				    kinds[i].set_up, tear_down, NULL };
		}
	return cmocka_run_group_tests(tests, NULL, NULL);
}

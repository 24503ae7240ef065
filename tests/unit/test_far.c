/* From a store that is far away: what is asked once, and what before. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "test.h"

#include "../../src/repo/smalls.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/repo/repo.h"

static struct fb_error err;
static const struct fb_store_ops *store_ops;
static atomic_size_t lists, reads, gets;

static int
count_list(struct fb_store *store, const char *prefix, fb_store_visit *visit,
    void *arg, struct fb_error *error)
{
	lists++;
	return store_ops->list(store, prefix, visit, arg, error);
}

static int
count_range(struct fb_store *store, const char *key, uint64_t offset,
    void *bytes, size_t len, struct fb_error *error)
{
	reads++;
	return store_ops->get_range(store, key, offset, bytes, len, error);
}

static int
count_get(struct fb_store *store, const char *key, size_t max,
    struct fb_buf *dst, char tag[FB_STORE_TAG_SIZE], struct fb_error *error)
{
	gets++;
	return store_ops->get(store, key, max, dst, tag, error);
}

static struct fb_store *
open_far(struct fb_store_ops *far)
{
	struct fb_store *store;

	assert_ok(fb_store_open("mem:", true, NULL, &store, &err));
	store_ops = store->ops;
	*far = *store_ops;
	far->parallel = 16;
	far->list = count_list;
	far->get_range = count_range;
	far->get = count_get;
	store->ops = far;
	lists = reads = gets = 0;
	return store;
}

static void
close_far(struct fb_store *store)
{
	store->ops = store_ops;
	fb_store_close(store);
}

static void
put(struct fb_store *store, const char *key, const char *text)
{
	assert_ok(fb_store_create(store, key,
	    (struct fb_span){ (const uint8_t *)text, strlen(text) }, &err));
}

/* "key=bytes " each; "key! " what could not be read. */
static int
note(const char *key, uint64_t size, struct fb_span bytes, int rc,
    const struct fb_error *cause, void *arg, struct fb_error *error)
{
	struct fb_buf *seen = arg;

	(void)size;
	(void)error;
	assert_true((rc < 0) == (cause != NULL));
	fb_buf_add_fmt(seen, "%s%s", key, rc < 0 ? "!" : "=");
	if (rc == FB_OK)
		fb_buf_add(seen, bytes.ptr, bytes.len);
	fb_buf_add_str(seen, " ");
	return FB_OK;
}

static void
assert_listed(
    struct fb_smalls *smalls, struct fb_store *store, const char *expected)
{
	FB_AUTO_BUF struct fb_buf seen = { 0 };

	assert_ok(fb_smalls_list(smalls, store, "s/", 3, note, &seen, &err));
	assert_string_equal(fb_buf_str(&seen), expected);
}

static void
what_small_objects_say_is_asked_once(void **state)
{
	struct fb_store_ops far;
	struct fb_store *store = open_far(&far);
	struct fb_smalls *smalls = fb_smalls_new();

	(void)state;
	assert_listed(smalls, store, "");
	put(store, "s/b", "bb");
	put(store, "s/d", "d");
	put(store, "t/x", "x");
	assert_listed(smalls, store, "s/b=bb s/d=d ");
	assert_int_equal(reads, 2);
	put(store, "s/a", "aaaa");
	put(store, "s/c", "");
	put(store, "s/e", "e");
	assert_listed(smalls, store, "s/a=aaa s/b=bb s/c= s/d=d s/e=e ");
	assert_int_equal(reads, 5);
	/* Which ones there are is asked each time. */
	assert_int_equal(lists, 3);
	assert_ok(fb_store_remove(store, "s/b", &err));
	assert_listed(smalls, store, "s/a=aaa s/c= s/d=d s/e=e ");
	assert_int_equal(reads, 5);
	/* Another one of that name and another length is another one. */
	put(store, "s/b", "b");
	assert_listed(smalls, store, "s/a=aaa s/b=b s/c= s/d=d s/e=e ");
	assert_int_equal(reads, 6);
	assert_listed(NULL, store, "s/a=aaa s/b=b s/c= s/d=d s/e=e ");
	fb_smalls_free(smalls);
	close_far(store);
}

static void
one_decision_sees_one_list(void **state)
{
	struct fb_store_ops far;
	struct fb_store *store = open_far(&far);
	struct fb_smalls *smalls = fb_smalls_new();

	(void)state;
	put(store, "s/a", "a");
	assert_listed(smalls, store, "s/a=a ");
	put(store, "s/b", "b");
	fb_smalls_hold(smalls, true);
	assert_listed(smalls, store, "s/a=a s/b=b "); /* not that of before */
	put(store, "s/c", "c");
	assert_listed(smalls, store, "s/a=a s/b=b ");
	fb_smalls_hold(smalls, false);
	assert_listed(smalls, store, "s/a=a s/b=b s/c=c ");
	assert_int_equal(lists, 3);
	assert_int_equal(reads, 3);
	fb_smalls_free(smalls);
	close_far(store);
}

static int
fail_range(struct fb_store *store, const char *key, uint64_t offset,
    void *bytes, size_t len, struct fb_error *error)
{
	if (strcmp(key, "s/b") == 0)
		return fb_fail(error, FB_EUNREACH, "not now");
	return count_range(store, key, offset, bytes, len, error);
}

static void
what_cannot_be_read_is_told_and_asked_again(void **state)
{
	struct fb_store_ops far;
	struct fb_store *store = open_far(&far);
	struct fb_smalls *smalls = fb_smalls_new();

	(void)state;
	put(store, "s/a", "a");
	put(store, "s/b", "b");
	put(store, "s/c", "c");
	far.get_range = fail_range;
	assert_listed(smalls, store, "s/a=a s/b! s/c=c ");
	far.get_range = count_range;
	assert_listed(smalls, store, "s/a=a s/b=b s/c=c ");
	assert_int_equal(reads, 3);
	fb_smalls_free(smalls);
	close_far(store);
}

#define OBJECTS 60

static void
what_is_got_ahead_comes_in_any_choice(void **state)
{
	struct fb_store_ops far;
	struct fb_repo repo = { .store = open_far(&far) };
	char *keys[OBJECTS];

	(void)state;
	for (size_t i = 0; i < OBJECTS; i++) {
		keys[i] = fb_format("o/%zu", i);
		if (i % 7 != 3) /* one is missing now and then */
			put(repo.store, keys[i], keys[i]);
	}
	fb_repo_read_ahead(&repo, keys, OBJECTS);
	for (size_t i = 0; i < OBJECTS; i++) {
		FB_AUTO_BUF struct fb_buf bytes = { 0 };

		if (i % 5 == 4 || (i > 20 && i < 50))
			continue; /* nobody wants it after all */
		if (i % 7 == 3) {
			assert_fails(FB_ENOTFOUND,
			    fb_repo_get(&repo, keys[i], 9, &bytes, &err));
			continue;
		}
		assert_ok(fb_repo_get(&repo, keys[i], 9, &bytes, &err));
		assert_string_equal(fb_buf_str(&bytes), keys[i]);
	}
	fb_repo_read_ahead_end(&repo);
	assert_null(repo.ahead);
	/* Begun and not wanted at all; and what is too large is left. */
	fb_repo_read_ahead(&repo, keys, OBJECTS);
	fb_repo_read_ahead_end(&repo);
	for (size_t i = 0; i < OBJECTS; i++)
		free(keys[i]);
	close_far(repo.store);
}

static void
what_is_larger_than_asked_for_is_refused(void **state)
{
	struct fb_store_ops far;
	struct fb_repo repo = { .store = open_far(&far) };
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	char *keys[] = { (char *)"o" };

	(void)state;
	put(repo.store, "o", "12345");
	fb_repo_read_ahead(&repo, keys, 1);
	assert_fails(FB_ECORRUPT, fb_repo_get(&repo, "o", 4, &bytes, &err));
	assert_ok(fb_repo_get(&repo, "o", 5, &bytes, &err));
	fb_repo_read_ahead_end(&repo);
	close_far(repo.store);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_small_objects_say_is_asked_once),
		cmocka_unit_test(one_decision_sees_one_list),
		cmocka_unit_test(what_cannot_be_read_is_told_and_asked_again),
		cmocka_unit_test(what_is_got_ahead_comes_in_any_choice),
		cmocka_unit_test(what_is_larger_than_asked_for_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Lists, also those that come in pages. */
#include "store_suite.h"

#include <stdio.h>
#include <stdlib.h>

#include "fleetbak/base/group.h"

#define MAKERS 8

/* Three pages of a server that gives a thousand; a disk has to sync each. */
#define MANY ((unsigned)(getenv("FB_STORE_URL") != NULL ? 2103 : 303))

static struct fb_error err;

static int
remove_it(const char *key, uint64_t size, void *arg, struct fb_error *visit_err)
{
	(void)size;
	return fb_store_remove(arg, key, visit_err);
}

static void
keys_are_listed_in_the_order_of_their_bytes(void **state)
{
	static const char *const keys[] = { "b", "a/x", "a.b", "a-b", "a_b",
		"A", "a/x-1", "a0", "ab/c/d", "ab/c-d", "a/w/deep" };
	struct fb_store *store = store_of(state);

	for (size_t i = 0; i < FB_COUNT(keys); i++)
		suite_put(store, keys[i], "12");
	suite_assert_list(store, "",
	    "A=2 a-b=2 a.b=2 a/w/deep=2 a/x=2 a/x-1=2 a0=2 a_b=2 "
	    "ab/c-d=2 ab/c/d=2 b=2 ");
}

static void
a_prefix_may_end_anywhere(void **state)
{
	struct fb_store *store = store_of(state);

	suite_assert_list(store, "", "");
	suite_put(store, "packs/ab/1", "1");
	suite_put(store, "packs/ab/2", "22");
	suite_put(store, "packs/ac/1", "333");
	suite_put(store, "packsy", "");
	suite_assert_list(store, "packs/ab/", "packs/ab/1=1 packs/ab/2=2 ");
	suite_assert_list(
	    store, "packs/a", "packs/ab/1=1 packs/ab/2=2 packs/ac/1=3 ");
	suite_assert_list(
	    store, "packs", "packs/ab/1=1 packs/ab/2=2 packs/ac/1=3 packsy=0 ");
	suite_assert_list(store, "packs/ab/2", "packs/ab/2=2 ");
	suite_assert_list(store, "packs/ab/3", "");
	suite_assert_list(store, "nothing/", "");
	suite_assert_list(store, "packsy/", "");
	assert_fails(
	    FB_ECONFIG, fb_store_list(store, "../", remove_it, store, &err));
	assert_fails(
	    FB_ECONFIG, fb_store_list(store, "/", remove_it, store, &err));
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

	suite_put(store, "a/1", "x");
	suite_put(store, "a/2", "x");
	suite_put(store, "b", "x");
	assert_fails(
	    FB_EREFUSED, fb_store_list(store, "", refuse, &visits, &err));
	assert_int_equal(visits, 1);
	assert_string_equal(err.msg, "enough at a/1");
	assert_ok(fb_store_list(store, "a/", remove_it, store, &err));
	suite_assert_list(store, "", "b=1 ");
}

struct maker {
	struct fb_store *store;
	unsigned number;
};

static char *
key_of(unsigned i)
{
	return fb_format("many/%02x/%u-%u", i % 7, i * 7919 % 100003, i);
}

static int
make_keys(void *arg, struct fb_error *task_err)
{
	const struct maker *maker = arg;
	int rc = FB_OK;

	for (unsigned i = maker->number; i < MANY && rc == FB_OK; i += MAKERS) {
		FB_AUTO_FREE char *key = key_of(i);

		rc = fb_store_create(maker->store, key,
		    (struct fb_span){ (const uint8_t *)"abcdefg", i % 7 },
		    task_err);
	}
	return rc;
}

static int
remove_keys(void *arg, struct fb_error *task_err)
{
	const struct maker *maker = arg;
	int rc = FB_OK;

	for (unsigned i = maker->number; i < MANY && rc == FB_OK; i += MAKERS) {
		FB_AUTO_FREE char *key = key_of(i);

		if (i % 3 == 0)
			rc = fb_store_remove(maker->store, key, task_err);
	}
	return rc;
}

static void
in_threads(void **state, fb_task *task)
{
	struct fb_group *group = fb_group_new();
	struct maker makers[MAKERS];

	for (unsigned n = 0; n < MAKERS; n++) {
		makers[n] = (struct maker){ store_of(state), n };
		fb_group_start(group, task, &makers[n]);
	}
	assert_ok(fb_group_wait(group, &err));
}

struct seen {
	struct fb_store *store;
	char last[FB_STORE_KEY_MAX + 1];
	unsigned count, wrong;
	bool look; /* at each object, while the list is being read */
};

/* In order, each once, with its size, which the key tells. */
static int
see(const char *key, uint64_t size, void *arg, struct fb_error *visit_err)
{
	struct seen *seen = arg;
	const char *dash = strrchr(key, '-');
	unsigned long i = dash != NULL ? strtoul(dash + 1, NULL, 10) : MANY;
	FB_AUTO_FREE char *expected = key_of((unsigned)i);

	seen->wrong += strcmp(key, expected) != 0 || size != i % 7 ||
	    strcmp(seen->last, key) >= 0;
	(void)snprintf(seen->last, sizeof(seen->last), "%s", key);
	if (seen->look && seen->count % 100 == 0) {
		uint64_t again = 0;
		int rc = fb_store_head(seen->store, key, &again, visit_err);

		if (rc < 0)
			return rc;
		seen->wrong += again != size;
	}
	seen->count++;
	return FB_OK;
}

static void
assert_seen(void **state, const char *prefix, unsigned count, bool look)
{
	struct seen seen = { .store = store_of(state), .look = look };

	assert_ok(fb_store_list(seen.store, prefix, see, &seen, &err));
	assert_int_equal(seen.count, count);
	assert_int_equal(seen.wrong, 0);
}

static int
stop_late(const char *key, uint64_t size, void *arg, struct fb_error *visit_err)
{
	(void)size;
	if (++*(int *)arg < (int)(MANY / 3 * 2))
		return FB_OK;
	return fb_fail(visit_err, FB_EREFUSED, "enough at %s", key);
}

static int
remove_and_count(
    const char *key, uint64_t size, void *arg, struct fb_error *visit_err)
{
	struct seen *seen = arg;

	(void)size;
	seen->count++;
	return seen->count % 10 != 0
	    ? FB_OK
	    : fb_store_remove(seen->store, key, visit_err);
}

/* Also those that are gone already. */
static void
remove_all_of_them(struct fb_store *store)
{
	FB_AUTO_FREE char **keys = fb_alloc(MANY, sizeof(*keys));
	FB_AUTO_FREE bool *gone = fb_alloc(MANY, sizeof(*gone));
	const struct fb_store_removal removal = {
		.keys = (const char *const *)keys, .count = MANY, .gone = gone
	};

	for (unsigned i = 0; i < MANY; i++)
		keys[i] = key_of(i);
	assert_ok(fb_store_remove_many(store, &removal, &err));
	for (unsigned i = 0; i < MANY; i++) {
		assert_true(gone[i]);
		free(keys[i]);
	}
}

static void
a_list_of_thousands_is_whole_and_in_order(void **state)
{
	struct seen seen = { .store = store_of(state) };
	unsigned left = MANY - (MANY + 2) / 3, in_one = 0;
	int visits = 0;

	in_threads(state, make_keys);
	assert_seen(state, "", MANY, false);
	assert_seen(state, "many/", MANY, true);
	for (unsigned i = 3; i < MANY; i += 7)
		in_one++;
	assert_seen(state, "many/03/", in_one, false);
	assert_fails(FB_EREFUSED,
	    fb_store_list(store_of(state), "", stop_late, &visits, &err));
	assert_int_equal(visits, MANY / 3 * 2);
	in_threads(state, remove_keys);
	assert_seen(state, "many", left, false);

	/* What is not removed is seen, whatever goes meanwhile. */
	assert_ok(
	    fb_store_list(store_of(state), "", remove_and_count, &seen, &err));
	assert_int_equal(seen.count, left);
	assert_seen(state, "many/", left - left / 10, false);
	suite_put(seen.store, "other", "x");
	remove_all_of_them(seen.store);
	suite_assert_list(seen.store, "", "other=1 ");
}

const struct promise store_list_promises[] = {
	PROMISE(keys_are_listed_in_the_order_of_their_bytes),
	PROMISE(a_prefix_may_end_anywhere),
	PROMISE(a_visitor_may_change_the_store_or_stop),
	PROMISE(a_list_of_thousands_is_whole_and_in_order),
	{ 0 },
};

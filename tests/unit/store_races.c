/* Many at once. */
#include "store_suite.h"

#include "fleetbak/base/group.h"
#include "fleetbak/base/io.h"
#include <stdlib.h>

#define RACERS 8
#define KEYS   40

static struct fb_error err;

/* Each thread tries every key; each key must have exactly one winner, whose
 * object it holds. */
struct racer {
	struct fb_store *store;
	const char *dir;
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

/* A counter raised by compare and swap loses no step, and gains none but where
 * it is said that nobody knows. */
struct raiser {
	struct fb_store *store;
	int doubts;
};

static int
raise_counter(void *arg, struct fb_error *task_err)
{
	struct raiser *raiser = arg;
	int raised = 0;

	while (raised < 10) {
		FB_AUTO_BUF struct fb_buf bytes = { 0 };
		char tag[FB_STORE_TAG_SIZE];
		FB_AUTO_FREE char *next = NULL;
		int rc = fb_store_get(
		    raiser->store, "counter", 20, &bytes, tag, task_err);

		if (rc < 0)
			return rc;
		next =
		    fb_format("%lu", strtoul(fb_buf_str(&bytes), NULL, 10) + 1);
		rc = fb_store_replace(
		    raiser->store, "counter", text(next), tag, task_err);
		if (rc < 0 && rc != FB_ECONFLICT && rc != FB_EUNKNOWN)
			return rc;
		raised += rc == FB_OK;
		raiser->doubts += rc == FB_EUNKNOWN;
	}
	return FB_OK;
}

static void
no_replace_is_lost_among_threads(void **state)
{
	struct fb_group *group = fb_group_new();
	struct raiser raisers[4];
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	long doubts = 0, steps;

	suite_put(store_of(state), "counter", "0");
	for (int i = 0; i < 4; i++) {
		raisers[i] = (struct raiser){ store_of(state), 0 };
		fb_group_start(group, raise_counter, &raisers[i]);
	}
	assert_ok(fb_group_wait(group, &err));
	for (int i = 0; i < 4; i++)
		doubts += raisers[i].doubts;
	assert_ok(
	    fb_store_get(store_of(state), "counter", 20, &bytes, NULL, &err));
	steps = strtol(fb_buf_str(&bytes), NULL, 10);
	assert_in_range(steps, 40, 40 + doubts);
}

/* The same with files, which large objects are made from. */
static int
race_files(void *arg, struct fb_error *task_err)
{
	struct racer *racer = arg;
	FB_AUTO_FREE char *path =
	    fb_format("%s/racer-%u", racer->dir, racer->number);
	FB_AUTO_FREE char *mine = fb_format("by %u", racer->number);
	int rc = FB_OK;

	for (unsigned i = 0; i < KEYS / 4 && rc == FB_OK; i++) {
		FB_AUTO_FREE char *key = fb_format("race/%02u/k", i);

		rc = fb_io_replace(path, text(mine), 0600, task_err);
		if (rc == FB_OK)
			rc = fb_store_create_file(
			    racer->store, key, path, strlen(mine), task_err);
		racer->won[i] = rc == FB_OK;
		if (rc == FB_EEXISTS)
			rc = FB_OK;
	}
	return rc;
}

static int
race_replacing(void *arg, struct fb_error *task_err)
{
	struct racer *racer = arg;
	FB_AUTO_FREE char *mine = fb_format("by %u", racer->number);

	for (unsigned i = 0; i < KEYS / 4; i++) {
		FB_AUTO_FREE char *key = fb_format("race/%02u/k", i);
		int rc = fb_store_replace(
		    racer->store, key, text(mine), "", task_err);

		/* Nobody replaces what is there, so it is not ours. */
		if (rc < 0 && rc != FB_ECONFLICT && rc != FB_EUNKNOWN)
			return rc;
		racer->won[i] = rc == FB_OK;
	}
	return FB_OK;
}

static void
assert_one_winner_each(void **state, const struct racer *racers, unsigned keys)
{
	for (unsigned i = 0; i < keys; i++) {
		FB_AUTO_FREE char *key = fb_format("race/%02u/k", i);
		unsigned winners = 0;

		for (unsigned n = 0; n < RACERS; n++) {
			FB_AUTO_FREE char *mine = fb_format("by %u", n);

			if (!racers[n].won[i])
				continue;
			winners++;
			suite_assert_object(store_of(state), key, mine);
		}
		assert_int_equal(winners, 1);
	}
}

static void
let_race(void **state, fb_task *task, struct racer *racers)
{
	const struct fixture *fix = *state;
	struct fb_group *group = fb_group_new();

	for (unsigned n = 0; n < RACERS; n++) {
		racers[n].store = fix->store;
		racers[n].dir = fix->dir;
		racers[n].number = n;
		fb_group_start(group, task, &racers[n]);
	}
	assert_ok(fb_group_wait(group, &err));
}

static void
of_many_creators_exactly_one_wins(void **state)
{
	struct racer racers[RACERS] = { 0 };

	let_race(state, race, racers);
	assert_one_winner_each(state, racers, KEYS);
}

static void
of_many_creators_from_files_exactly_one_wins(void **state)
{
	struct racer racers[RACERS] = { 0 };

	let_race(state, race_files, racers);
	assert_one_winner_each(state, racers, KEYS / 4);
}

static void
of_many_first_replacers_exactly_one_wins(void **state)
{
	struct racer racers[RACERS] = { 0 };

	let_race(state, race_replacing, racers);
	assert_one_winner_each(state, racers, KEYS / 4);
}

/* One replaces an object by others, of one letter each and another length, as
 * long as every store replaces one; whoever reads meanwhile gets one of them
 * whole. */
#define LONGEST 65536

static int
replace_often(void *arg, struct fb_error *task_err)
{
	FB_AUTO_FREE char *bytes = fb_alloc(1, LONGEST);
	int rc = FB_OK;

	for (unsigned i = 0; i < 12 && rc == FB_OK; i++) {
		FB_AUTO_BUF struct fb_buf old = { 0 };
		char tag[FB_STORE_TAG_SIZE];

		memset(bytes, 'a' + (int)i, LONGEST);
		rc = fb_store_get(arg, "letters", LONGEST, &old, tag, task_err);
		if (rc == FB_OK)
			rc = fb_store_replace(arg, "letters",
			    (struct fb_span){
			        (uint8_t *)bytes, LONGEST - i * 4799 },
			    tag, task_err);
	}
	return rc;
}

static int
read_often(void *arg, struct fb_error *task_err)
{
	for (unsigned i = 0; i < 20; i++) {
		FB_AUTO_BUF struct fb_buf bytes = { 0 };
		int rc = fb_store_get(
		    arg, "letters", LONGEST, &bytes, NULL, task_err);

		if (rc < 0)
			return rc;
		for (size_t j = 1; j < bytes.len; j++)
			if (bytes.data[j] != bytes.data[0])
				return fb_fail(task_err, FB_ECORRUPT,
				    "two objects in one, at %zu", j);
	}
	return FB_OK;
}

static void
a_reader_sees_one_version_whole(void **state)
{
	struct fb_group *group = fb_group_new();

	suite_put(store_of(state), "letters", "zzz");
	fb_group_start(group, replace_often, store_of(state));
	for (int i = 0; i < 3; i++)
		fb_group_start(group, read_often, store_of(state));
	assert_ok(fb_group_wait(group, &err));
}

/* Each thread with keys of its own, every verb in turn. */
static int
live(void *arg, struct fb_error *task_err)
{
	struct racer *racer = arg;
	int rc = FB_OK;

	for (unsigned i = 0; i < 12 && rc == FB_OK; i++) {
		FB_AUTO_FREE char *key =
		    fb_format("own/%u/%u", racer->number, i);
		FB_AUTO_FREE char *bytes = fb_format("%s's object", key);
		FB_AUTO_BUF struct fb_buf back = { 0 };
		uint64_t size = 0;
		char range[3] = "";

		rc = fb_store_create(racer->store, key, text(bytes), task_err);
		if (rc == FB_OK)
			rc = fb_store_get(
			    racer->store, key, 99, &back, NULL, task_err);
		if (rc == FB_OK)
			rc = fb_store_head(racer->store, key, &size, task_err);
		if (rc == FB_OK)
			rc = fb_store_get_range(
			    racer->store, key, 1, range, 2, task_err);
		if (rc == FB_OK &&
		    (strcmp(fb_buf_str(&back), bytes) != 0 ||
		        size != strlen(bytes) || strcmp(range, "wn") != 0))
			rc = fb_fail(
			    task_err, FB_ECORRUPT, "another object at %s", key);
		if (rc == FB_OK && i % 2 == 0)
			rc = fb_store_remove(racer->store, key, task_err);
	}
	return rc;
}

static void
threads_do_not_disturb_each_other(void **state)
{
	struct racer racers[RACERS] = { 0 };
	FB_AUTO_BUF struct fb_buf left = { 0 };

	let_race(state, live, racers);
	for (unsigned n = 0; n < RACERS; n++)
		for (unsigned i = 1; i < 12; i += 2)
			/* "11" stands before "3" */
			fb_buf_add_fmt(&left, "own/%u/%u=%zu ", n,
			    i == 3       ? 11
			        : i == 1 ? 1
			                 : i - 2,
			    strlen("own/0/0's object") + (i == 3));
	suite_assert_list(store_of(state), "own/", fb_buf_str(&left));
}

const struct promise store_race_promises[] = {
	PROMISE(of_many_creators_exactly_one_wins),
	PROMISE(of_many_creators_from_files_exactly_one_wins),
	PROMISE(of_many_first_replacers_exactly_one_wins),
	PROMISE(no_replace_is_lost_among_threads),
	PROMISE(a_reader_sees_one_version_whole),
	PROMISE(threads_do_not_disturb_each_other),
	{ 0 },
};

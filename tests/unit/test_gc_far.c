/* Deletion in a store that is far away: how often it is asked. */
#include "gc_world.h"

#include <stdatomic.h>
#include <unistd.h>

#include "fleetbak/base/io.h"
#include "fleetbak/format/recipe.h"

#define KEPT 5

static const struct fb_store_ops *near_ops;
static struct fb_store_ops far_ops;
static atomic_size_t gets, heads, bulks, recipes;

static int
count_get(struct fb_store *store, const char *key, size_t max,
    struct fb_buf *dst, char tag[FB_STORE_TAG_SIZE], struct fb_error *error)
{
	gets += strncmp(key, "commits/", 8) == 0 ||
	    strstr(key, "/SHA256SUMS") != NULL;
	recipes += strncmp(key, "recipes/", 8) == 0;
	return near_ops->get(store, key, max, dst, tag, error);
}

static int
count_head(struct fb_store *store, const char *key, uint64_t *ret_size,
    struct fb_error *error)
{
	heads +=
	    strncmp(key, "packs/", 6) == 0 || strncmp(key, "recipes/", 8) == 0;
	return near_ops->head(store, key, ret_size, error);
}

static size_t
bulk(struct fb_store *store)
{
	(void)store;
	return 1000;
}

static int
remove_many(struct fb_store *store, const struct fb_store_removal *removal,
    struct fb_error *error)
{
	int rc = FB_OK;

	bulks++;
	for (size_t i = 0; rc == FB_OK && i < removal->count; i++) {
		rc = near_ops->remove(store, removal->keys[i], removal, error);
		removal->gone[i] = rc == FB_OK;
	}
	return rc;
}

static int
make_far_world(void **state)
{
	struct world *world;

	if (make_world(state) != 0)
		return -1;
	world = *state;
	near_ops = world->repo->store->ops;
	far_ops = *near_ops;
	far_ops.parallel = 16;
	far_ops.get = count_get;
	far_ops.head = count_head;
	far_ops.bulk = bulk;
	far_ops.remove_many = remove_many;
	world->repo->store->ops = &far_ops;
	gets = heads = bulks = recipes = 0;
	return 0;
}

static void
what_runs_need_is_asked_once(void **state)
{
	struct world *world = *state;
	struct fb_gc_report report;
	struct fb_digest pack, going[3];
	char run[FB_RUN_ID_SIZE];

	for (size_t i = 0; i < KEPT; i++)
		make_run(world, run, &pack);
	for (size_t i = 0; i < FB_COUNT(going); i++) {
		make_run(world, run, &going[i]);
		forget(world, run);
	}
	gets = heads = bulks = 0;
	collect(world, FB_OK, &report);
	assert_int_equal(report.removed.packs, FB_COUNT(going));
	assert_int_equal(report.removed.recipes, FB_COUNT(going));
	assert_int_equal(report.removed.bytes, 2 * FB_COUNT(going));
	assert_int_equal(report.runs, FB_COUNT(going));
	assert_true(is_there(world, &pack));
	for (size_t i = 0; i < FB_COUNT(going); i++)
		assert_false(is_there(world, &going[i]));
	/* Registers and checksums of those that stay; registers of those that
	 * go; the sessions' ends. */
	assert_in_range(gets, 2 * KEPT, 2 * KEPT + 2 * FB_COUNT(going) + KEPT);
	assert_int_equal(heads, 1 + FB_COUNT(going)); /* of this test */
	/* Packs, recipes, what was of the runs. */
	assert_in_range(bulks, 3, 6);
}

/* It is remembered what runs need, not which there are. */
static void
a_run_that_commits_meanwhile_keeps_what_it_names(void **state)
{
	struct world *world = *state;
	struct fb_gc_request request = { .fence_after_ms = UINT64_MAX };
	struct fb_gc_report report = { 0 };
	struct fb_session session = { 0 };
	struct fb_gc_doc doc = { 0 };
	struct fb_digest pack, used, recipe;
	char run[FB_RUN_ID_SIZE], late[FB_RUN_ID_SIZE], tag[FB_STORE_TAG_SIZE];
	struct fb_gc *gc;
	bool done = false;

	make_run(world, run, &pack);
	make_run(world, run, &used);
	forget(world, run);
	new_id(world, late);
	assert_ok(fb_session_begin(
	    world->repo, late, "download", "demo", &session, &err));
	gc = fb_gc_new(world->repo, &request, &report);
	while (doc.phase != FB_GC_CONDEMNED) {
		assert_ok(fb_gc_step(gc, &done, &err));
		assert_ok(fb_gc_read_current(world->repo, &doc, tag, &err));
	}
	recipe = put_object(world, false);
	assert_ok(commit(world, late, &used, &recipe));
	fb_session_release(&session);
	while (!done)
		assert_ok(fb_gc_step(gc, &done, &err));
	fb_gc_free(gc);
	fb_gc_report_release(&report);
	assert_true(is_there(world, &used));
	assert_int_equal(report.removed.packs, 0);
	assert_int_equal(report.removed.recipes, 1);
}

/* A set that another has fixed: nobody knows its sizes. */
static void
a_set_of_another_is_removed_as_well(void **state)
{
	struct world *world = *state;
	struct fb_gc_request request = { .fence_after_ms = UINT64_MAX };
	struct fb_gc_report report = { 0 };
	struct fb_gc_doc doc = { 0 };
	struct fb_digest pack;
	char run[FB_RUN_ID_SIZE], tag[FB_STORE_TAG_SIZE];
	struct fb_gc *gc;
	bool done = false;

	make_run(world, run, &pack);
	forget(world, run);
	gc = fb_gc_new(world->repo, &request, &report);
	while (doc.phase != FB_GC_DELETE) {
		assert_ok(fb_gc_step(gc, &done, &err));
		assert_ok(fb_gc_read_current(world->repo, &doc, tag, &err));
	}
	fb_gc_free(gc);
	fb_gc_report_release(&report);
	collect(world, FB_OK, &report);
	assert_int_equal(report.removed.packs, 1);
	assert_int_equal(report.removed.bytes, 2);
	assert_false(is_there(world, &pack));
}

/* A recipe that uses the middle of a pack of 100 bytes. */
static struct fb_digest
put_recipe(struct world *world, const struct fb_digest *pack, uint32_t len)
{
	struct fb_recipe_head head = {
		.kind = "disk", .size = 65536, .pack_count = 1
	};
	struct fb_recipe_pack line = {
		.id = *pack, .table_offset = 100, .table_length = 10
	};
	struct fb_recipe_run run = { .length = 65536,
		.pack_offset = 10,
		.pack_length = len,
		.count = 1 };
	FB_AUTO_BUF struct fb_buf text = { 0 };
	char key[FB_OBJECT_KEY_SIZE];
	struct fb_digest id;

	new_id(world, head.session);
	fb_recipe_add_head(&text, &head);
	fb_recipe_add_pack(&text, &line);
	fb_recipe_add_runs(&text, 1);
	fb_recipe_add_run(&text, &run);
	fb_recipe_add_end(&text);
	fb_digest_of(fb_buf_span(&text), &id);
	fb_recipe_key(&id, key);
	assert_ok(
	    fb_store_create(world->repo->store, key, fb_buf_span(&text), &err));
	return id;
}

static void
make_run_of(struct world *world, uint32_t used)
{
	struct fb_digest pack = put_object(world, true);
	struct fb_digest recipe = put_recipe(world, &pack, used);
	char run[FB_RUN_ID_SIZE];

	new_id(world, run);
	assert_ok(commit(world, run, &pack, &recipe));
}

static enum fb_gc_class
everything_stays(const struct fb_run_ref *run, void *arg)
{
	(void)run;
	(void)arg;
	return FB_GC_KEPT;
}

/* So much waste. */
static void
weigh(struct world *world, const char *dir, uint64_t waste)
{
	const struct fb_gc_question question = {
		.class_of = everything_stays, .waste = true, .dir = dir
	};
	struct fb_gc_estimate estimate;

	recipes = 0;
	assert_ok(fb_gc_estimate(world->repo, &question, &estimate, &err));
	assert_true(estimate.weighed);
	assert_int_equal(estimate.waste, waste);
	assert_int_equal(estimate.unread, 0);
}

/* ... and so many recipes were got for that. */
static void
assert_waste(struct world *world, const char *dir, uint64_t waste, size_t got)
{
	weigh(world, dir, waste);
	assert_int_equal(recipes, got);
}

static char *
kept_file(const struct world *world, const char *dir)
{
	return fb_format(
	    "%s/cache/recipes-%s", dir, world->repo->format.repository);
}

static void
recipes_are_got_once(void **state)
{
	struct world *world = *state;
	char dir[] = "/tmp/fleetbak-gc-XXXXXX";
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	FB_AUTO_FREE char *path = NULL;

	assert_non_null(mkdtemp(dir));
	path = kept_file(world, dir);
	make_run_of(world, 60);
	make_run_of(world, 100 - 10);
	assert_waste(world, dir, 40 + 10, 2);
	assert_waste(world, dir, 40 + 10, 0);
	make_run_of(world, 90);
	assert_waste(world, dir, 40 + 10 + 10, 1);
	assert_waste(world, dir, 40 + 10 + 10, 0);

	/* What was damaged is got again; so is all when it is gone. */
	assert_ok(fb_io_read_file(path, 1u << 20, &bytes, &err));
	bytes.data[bytes.len / 2] ^= 1;
	assert_ok(fb_io_replace(path, fb_buf_span(&bytes), 0600, &err));
	weigh(world, dir, 60);
	assert_in_range(recipes, 1, 3);
	assert_waste(world, dir, 60, 0);
	bytes.len /= 2;
	assert_ok(fb_io_replace(path, fb_buf_span(&bytes), 0600, &err));
	weigh(world, dir, 60);
	assert_waste(world, dir, 60, 0);
	for (size_t i = 0; i < 4; i++)
		bytes.data[i] = 0xff;
	assert_ok(fb_io_replace(path, fb_buf_span(&bytes), 0600, &err));
	assert_waste(world, dir, 60, 3);
	assert_ok(fb_io_unlink(path, &err));
	assert_waste(world, dir, 60, 3);
	assert_waste(world, NULL, 60, 3);
	assert_ok(fb_io_remove_tree(dir, &err));
}

static void
too_many_recipes_are_not_got_unasked(void **state)
{
	struct world *world = *state;
	struct fb_gc_question question = { .class_of = everything_stays,
		.waste = true };
	struct fb_gc_estimate estimate;
	struct fb_digest pack;
	char run[FB_RUN_ID_SIZE];

	for (size_t i = 0; i < 1001; i++)
		make_run(world, run, &pack);
	assert_ok(fb_gc_estimate(world->repo, &question, &estimate, &err));
	assert_false(estimate.weighed);
	assert_int_equal(estimate.unread, 1001);
	assert_int_equal(recipes, 0);
	question.waste_whatever = true;
	assert_ok(fb_gc_estimate(world->repo, &question, &estimate, &err));
	assert_true(recipes > 0);
	assert_false(estimate.weighed); /* these are no recipes */
	assert_int_equal(estimate.unread, 0);
}

#define FAR(test) \
	cmocka_unit_test_setup_teardown(test, make_far_world, end_world)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		FAR(what_runs_need_is_asked_once),
		FAR(a_run_that_commits_meanwhile_keeps_what_it_names),
		FAR(a_set_of_another_is_removed_as_well),
		FAR(recipes_are_got_once),
		FAR(too_many_recipes_are_not_got_unasked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

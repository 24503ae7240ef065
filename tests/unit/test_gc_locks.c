/* Deletion in a place that locks objects. */
#include "gc_world.h"

#include "fleetbak/store/versions.h"

/* The object that is locked; "": none is. */
static char locked_key[FB_OBJECT_KEY_SIZE];
#define UNTIL_NS INT64_C(4000000000000000000)

static bool
fake_locks(struct fb_store *store)
{
	(void)store;
	return true;
}

static int
fake_locked(struct fb_store *store, const char *key, uint64_t *ret_size,
    int64_t *ret_until_ns, struct fb_error *error)
{
	*ret_until_ns = strcmp(key, locked_key) == 0 ? UNTIL_NS : 0;
	return store->ops->head(store, key, ret_size, error);
}

static const struct fb_store_past_ops locking = { .locks = fake_locks,
	.locked = fake_locked };
static struct fb_store_ops ops;

static int
make_locking_world(void **state)
{
	struct world *world;

	if (make_world(state) != 0)
		return -1;
	world = *state;
	ops = *world->repo->store->ops;
	ops.past = &locking;
	world->repo->store->ops = &ops;
	locked_key[0] = '\0';
	return 0;
}

static void
what_is_locked_stays_and_goes_later(void **state)
{
	struct world *world = *state;
	struct fb_session session = { 0 };
	struct fb_gc_report report;
	struct fb_digest pack;
	char run[FB_RUN_ID_SIZE];

	make_run(world, run, &pack);
	fb_pack_key(&pack, locked_key);
	forget(world, run);
	collect(world, FB_OK, &report);
	assert_int_equal(report.removed.packs, 0);
	assert_int_equal(report.removed.recipes, 1);
	assert_int_equal(report.locks.objects, 1);
	assert_true(report.locks.first_ns == UNTIL_NS);
	assert_true(report.locks.last_ns == UNTIL_NS);
	assert_string_equal(report.locks.items[0].key, locked_key);
	assert_true(is_there(world, &pack));

	/* It is in no set, so that whoever finds it may use it again. */
	assert_ok(fb_session_begin(
	    world->repo, "", "download", "demo", &session, &err));
	assert_int_equal(session.condemned.count, 0);
	assert_ok(fb_session_end(world->repo, &session, &err));
	fb_session_release(&session);

	locked_key[0] = '\0';
	collect(world, FB_OK, &report);
	assert_int_equal(report.removed.packs, 1);
	assert_int_equal(report.locks.objects, 0);
	assert_false(is_there(world, &pack));
}

static void
a_run_that_is_locked_is_counted(void **state)
{
	struct world *world = *state;
	struct fb_gc_report report;
	struct fb_digest pack;
	char run[FB_RUN_ID_SIZE];

	make_run(world, run, &pack);
	(void)snprintf(
	    locked_key, sizeof(locked_key), "runs/%s/SHA256SUMS", run);
	forget(world, run);
	collect(world, FB_OK, &report);
	assert_int_equal(report.removed.packs, 1);
	assert_int_equal(report.locks.objects, 1);
	assert_string_equal(report.locks.items[0].key, locked_key);
	locked_key[0] = '\0';
	collect(world, FB_OK, &report);
	assert_int_equal(report.runs, 1);
}

/* A writer locked it that did not come to commit. */
static void
what_is_locked_while_it_is_deleted_keeps_its_set(void **state)
{
	struct world *world = *state;
	struct fb_gc_request request = { .fence_after_ms = UINT64_MAX };
	struct fb_gc_report report = { 0 };
	struct fb_digest pack;
	struct fb_gc_doc doc = { 0 };
	char run[FB_RUN_ID_SIZE], tag[FB_STORE_TAG_SIZE];
	struct fb_gc *gc;
	bool done = false;

	make_run(world, run, &pack);
	forget(world, run);
	gc = fb_gc_new(world->repo, &request, &report);
	while (doc.phase != FB_GC_DELETE) {
		assert_ok(fb_gc_step(gc, &done, &err));
		assert_false(done);
		assert_ok(fb_gc_read_current(world->repo, &doc, tag, &err));
	}
	fb_gc_free(gc);
	fb_pack_key(&pack, locked_key);
	collect(world, FB_EBUSY, &report);
	assert_string_equal(err.id, "E-GC-LOCKED");
	assert_int_equal(report.removed.recipes, 1);
	assert_true(is_there(world, &pack));
	assert_ok(fb_gc_read_current(world->repo, &doc, tag, &err));
	assert_int_equal(doc.phase, FB_GC_DELETE);

	locked_key[0] = '\0';
	collect(world, FB_OK, &report);
	assert_false(is_there(world, &pack));
	assert_ok(fb_gc_read_current(world->repo, &doc, tag, &err));
	assert_int_equal(doc.phase, FB_GC_IDLE);
}

static enum fb_gc_class
everything_goes(const struct fb_run_ref *run, void *arg)
{
	(void)run;
	(void)arg;
	return FB_GC_NOW;
}

static void
an_estimate_tells_what_is_locked(void **state)
{
	struct world *world = *state;
	const struct fb_gc_question question = { .class_of =
		                                     everything_goes };
	struct fb_gc_estimate estimate;
	struct fb_digest pack;
	char run[FB_RUN_ID_SIZE];

	make_run(world, run, &pack);
	fb_pack_key(&pack, locked_key);
	assert_ok(
	    fb_gc_estimate(world->repo, &question, &estimate, &err));
	assert_int_equal(estimate.now.packs, 1);
	assert_int_equal(estimate.locks.objects, 1);
	assert_int_equal(estimate.locks.bytes, 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) \
	cmocka_unit_test_setup_teardown(f, make_locking_world, end_world)
		T(what_is_locked_stays_and_goes_later),
		T(a_run_that_is_locked_is_counted),
		T(what_is_locked_while_it_is_deleted_keeps_its_set),
		T(an_estimate_tells_what_is_locked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Deletion where the store's list of registers lags. */
#include "gc_world.h"

#include "../../src/repo/gc_impl.h"
#include "fleetbak/format/recipe.h"

static const struct fb_store_ops *plain_ops;
static struct fb_store_ops lagging_ops;
static char hidden[64]; /* a key that no list shows; "": all are shown */

struct hiding {
	fb_store_visit *visit;
	void *arg;
};

static int
pass_on(const char *key, uint64_t size, void *arg, struct fb_error *error)
{
	const struct hiding *hiding = arg;

	return strcmp(key, hidden) == 0
	    ? FB_OK
	    : hiding->visit(key, size, hiding->arg, error);
}

static int
list(struct fb_store *store, const char *prefix, fb_store_visit *visit,
    void *arg, struct fb_error *error)
{
	struct hiding hiding = { visit, arg };

	return plain_ops->list(store, prefix, pass_on, &hiding, error);
}

static int
make_lagging_world(void **state)
{
	struct world *world;

	if (make_world(state) != 0)
		return -1;
	world = *state;
	plain_ops = world->repo->store->ops;
	lagging_ops = *plain_ops;
	lagging_ops.list = list;
	world->repo->store->ops = &lagging_ops;
	hidden[0] = '\0';
	return 0;
}

static void
hide(const char *session)
{
	(void)snprintf(hidden, sizeof(hidden), "commits/%s", session);
}

static void
collects(struct world *world, int expected)
{
	struct fb_gc_request request = { .fence_after_ms = 0 };
	struct fb_gc_report report = { 0 };
	int rc = fb_gc_collect(world->repo, &request, &report, &err);

	assert_int_equal(rc, expected);
	if (rc < 0)
		assert_string_equal(err.id, "E-LIST-BEHIND");
	if (rc < 0)
		assert_int_equal(
		    report.removed.packs + report.removed.recipes, 0);
	fb_gc_report_release(&report);
}

static void
collects_and_spares(struct world *world, uint64_t spared)
{
	struct fb_gc_report report;

	collect(world, FB_OK, &report);
	assert_int_equal(report.spared, spared);
	fb_gc_report_release(&report);
}

/* Its session is known, so that its register is asked for. */
static void
a_run_that_is_not_listed_stops_the_collection(void **state)
{
	struct world *world = *state;
	struct fb_digest old, pack;
	char first[FB_RUN_ID_SIZE], second[FB_RUN_ID_SIZE];

	make_run(world, first, &old);
	make_run(world, second, &pack);
	forget(world, first);
	hide(second);
	collects(world, FB_EBUSY);
	collects(world, FB_EBUSY);
	assert_true(is_there(world, &pack));
	assert_true(is_there(world, &old));
	hidden[0] = '\0';
	collects(world, FB_OK);
	assert_true(is_there(world, &pack));
	assert_false(is_there(world, &old));
}

/* The list begins to lag when the set is published already. */
static void
the_second_marking_is_not_deceived_either(void **state)
{
	struct world *world = *state;
	struct fb_gc_request request = { .fence_after_ms = UINT64_MAX };
	struct fb_gc_report report = { 0 };
	struct fb_session session = { 0 };
	struct fb_digest old, used, recipe;
	char first[FB_RUN_ID_SIZE], late[FB_RUN_ID_SIZE];
	struct fb_gc *gc = fb_gc_new(world->repo, &request, &report);
	struct fb_gc_doc doc = { 0 };
	char tag[FB_STORE_TAG_SIZE];
	bool done = false;
	int rc;

	make_run(world, first, &old);
	make_run(world, first, &used);
	forget(world, first);
	new_id(world, late);
	assert_ok(fb_session_begin(
	    world->repo, late, "download", "demo", &session, &err));
	while (doc.phase != FB_GC_CONDEMNED) {
		assert_ok(fb_gc_step(gc, &done, &err));
		assert_ok(fb_gc_read_current(world->repo, &doc, tag, &err));
	}
	recipe = put_object(world, false);
	assert_ok(commit(world, late, &used, &recipe));
	fb_session_release(&session);
	hide(late);
	do
		rc = fb_gc_step(gc, &done, &err);
	while (rc == FB_OK && !done);
	assert_int_equal(rc, FB_EBUSY);
	assert_string_equal(err.id, "E-LIST-BEHIND");
	assert_true(is_there(world, &used));
	hidden[0] = '\0';
	fb_gc_free(gc);
	fb_gc_report_release(&report);
	collects(world, FB_OK);
	assert_true(is_there(world, &used));
}

/* Nothing shows the run until the set is sealed; what it uses again says of
 * another one that it made it. */
static void
a_sealed_set_gives_up_what_turns_out_to_be_needed(void **state)
{
	struct world *world = *state;
	struct fb_gc_request request = { .fence_after_ms = UINT64_MAX };
	struct fb_gc_report report = { 0 };
	struct fb_digest old, used, recipe;
	char first[FB_RUN_ID_SIZE], second[FB_RUN_ID_SIZE];
	char late[FB_RUN_ID_SIZE], tag[FB_STORE_TAG_SIZE];
	struct fb_gc *gc = fb_gc_new(world->repo, &request, &report);
	struct fb_gc_doc doc = { 0 };
	bool done = false;

	make_run(world, first, &old);
	make_run(world, second, &used);
	new_id(world, late);
	recipe = put_object(world, false);
	assert_ok(commit(world, late, &used, &recipe));
	forget(world, first);
	forget(world, second);
	hide(late);
	while (doc.phase != FB_GC_DELETE) {
		assert_ok(fb_gc_step(gc, &done, &err));
		assert_ok(fb_gc_read_current(world->repo, &doc, tag, &err));
	}
	fb_gc_free(gc);
	fb_gc_report_release(&report);
	hidden[0] = '\0';
	collects_and_spares(world, 2);
	assert_true(is_there(world, &used));
	assert_false(is_there(world, &old));
	collects_and_spares(world, 0);
}

/* A pack or a recipe that says whose it is. */
static struct fb_digest
put_signed(struct world *world, bool pack, const char *session)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	struct fb_digest id = { { 0 } };
	char key[FB_OBJECT_KEY_SIZE];

	world->made++;
	id.bytes[0] = (uint8_t)world->made;
	id.bytes[31] = pack;
	if (pack) {
		struct fb_pack_table table = { 0 };
		FB_AUTO_BUF struct fb_buf text = { 0 };

		memcpy(table.session, session, sizeof(table.session));
		fb_pack_table_encode(&table, &text);
		assert_in_range(text.len, 1, 255);
		fb_buf_add(&bytes,
		    (uint8_t[]){
		        0x5e, 0x2a, 0x4d, 0x18, (uint8_t)text.len, 0, 0, 0 },
		    FB_PACK_SKIP_LEN);
		fb_buf_add(&bytes, text.data, text.len);
		fb_pack_key(&id, key);
	} else {
		struct fb_recipe_head head = { .kind = "disk" };

		memcpy(head.session, session, sizeof(head.session));
		fb_recipe_add_head(&bytes, &head);
		fb_recipe_key(&id, key);
	}
	assert_ok(fb_store_create(
	    world->repo->store, key, fb_buf_span(&bytes), &err));
	return id;
}

/* All that tells of the run is a recipe that does not go this time; `late`
 * others make the set and come by its end. */
static void
what_is_left_out_says_whose_it_is(struct world *world, bool late)
{
	struct fb_gc_request request = { .fence_after_ms = 0, .set_max = 1 };
	struct fb_gc_report report = { 0 };
	struct fb_gc *gc = fb_gc_new(world->repo, &request, &report);
	FB_AUTO_FREE char *session = NULL;
	char first[FB_RUN_ID_SIZE], run[FB_RUN_ID_SIZE];
	struct fb_digest used, recipe;
	struct fb_gc_doc doc = { 0 };
	char tag[FB_STORE_TAG_SIZE];
	bool done = false;
	int rc = FB_OK;

	make_run(world, first, &used);
	new_id(world, run);
	recipe = put_signed(world, false, run);
	assert_ok(commit(world, run, &used, &recipe));
	session = fb_format("sessions/%s", run);
	(void)!fb_store_remove(world->repo->store, session, &err);
	forget(world, first);
	hide(run);
	while (late && doc.phase != FB_GC_CONDEMNED) {
		assert_ok(fb_gc_step(gc, &done, &err));
		assert_ok(fb_gc_read_current(world->repo, &doc, tag, &err));
	}
	if (late) {
		fb_gc_free(gc);
		gc = fb_gc_new(world->repo, &request, &report);
	}
	while (rc == FB_OK && !done)
		rc = fb_gc_step(gc, &done, &err);
	assert_int_equal(rc, FB_EBUSY);
	assert_string_equal(err.id, "E-LIST-BEHIND");
	assert_true(is_there(world, &used));
	fb_gc_free(gc);
	fb_gc_report_release(&report);
	hidden[0] = '\0';
	collects(world, FB_OK);
	assert_true(is_there(world, &used));
}

static void
what_does_not_go_yet_says_whose_it_is_too(void **state)
{
	what_is_left_out_says_whose_it_is(*state, false);
	what_is_left_out_says_whose_it_is(*state, true);
}

/* It is at work, and no list shows it: what it stored says that it is. */
static void
a_writer_that_is_not_listed_is_waited_for(void **state)
{
	struct world *world = *state;
	struct fb_session session = { 0 };
	struct fb_digest used, recipe, own;
	char first[FB_RUN_ID_SIZE], run[FB_RUN_ID_SIZE];
	struct fb_gc_report report;

	make_run(world, first, &used);
	new_id(world, run);
	assert_ok(fb_session_begin(
	    world->repo, run, "download", "demo", &session, &err));
	own = put_signed(world, true, run);
	forget(world, first);
	(void)snprintf(hidden, sizeof(hidden), "sessions/%s", run);
	for (int i = 0; i < 2; i++) {
		collect(world, FB_EBUSY, &report);
		assert_string_equal(err.id, "E-SESSIONS-OPEN");
		assert_int_equal(report.waiting_count, 1);
		assert_string_equal(report.waiting[0].id, run);
		fb_gc_report_release(&report);
	}
	assert_true(is_there(world, &used));
	assert_true(is_there(world, &own));
	recipe = put_object(world, false);
	assert_ok(commit(world, run, &used, &recipe));
	fb_session_release(&session);
	collect(world, FB_OK, &report);
	fb_gc_report_release(&report);
	assert_true(is_there(world, &used));
	assert_false(is_there(world, &own));
}

/* ... and one that died is fenced. */
static void
a_dead_writer_that_is_not_listed_is_fenced(void **state)
{
	struct world *world = *state;
	struct fb_session session = { 0 };
	struct fb_gc_request request = { .fence_after_ms = 0 };
	struct fb_gc_report report = { 0 };
	struct fb_digest own, pack;
	char run[FB_RUN_ID_SIZE];

	new_id(world, run);
	assert_ok(fb_session_begin(
	    world->repo, run, "download", "demo", &session, &err));
	fb_session_release(&session);
	own = put_signed(world, true, run);
	(void)snprintf(hidden, sizeof(hidden), "sessions/%s", run);
	assert_ok(fb_gc_collect(world->repo, &request, &report, &err));
	assert_int_equal(report.fenced, 1);
	fb_gc_report_release(&report);
	assert_false(is_there(world, &own));
	pack = put_object(world, true);
	own = put_object(world, false);
	assert_fails(FB_ECONFLICT, commit(world, run, &pack, &own));
}

/* Nothing but what is to go tells of the run. */
static void
what_is_to_go_says_whose_it_is(void **state)
{
	struct world *world = *state;

	for (int pack = 0; pack < 2; pack++) {
		FB_AUTO_FREE char *session = NULL;
		char run[FB_RUN_ID_SIZE];
		struct fb_digest ids[2];

		new_id(world, run);
		ids[0] = pack ? put_object(world, false)
		              : put_signed(world, false, run);
		ids[1] = pack ? put_signed(world, true, run)
		              : put_object(world, true);
		assert_ok(commit(world, run, &ids[1], &ids[0]));
		session = fb_format("sessions/%s", run);
		(void)!fb_store_remove(world->repo->store, session, &err);
		hide(run);
		collects(world, FB_EBUSY);
		assert_true(is_there(world, &ids[1]));
		hidden[0] = '\0';
		collects(world, FB_OK);
		assert_true(is_there(world, &ids[1]));
	}
}

/* Who was fenced off has a register too, and nothing that anybody needs. */
static void
a_fence_that_is_not_listed_does_not_matter(void **state)
{
	struct world *world = *state;
	struct fb_session session = { 0 };
	struct fb_digest pack;
	char id[FB_RUN_ID_SIZE];
	FB_AUTO_FREE char *key = NULL;

	new_id(world, id);
	assert_ok(fb_session_begin(
	    world->repo, id, "download", "demo", &session, &err));
	fb_session_release(&session);
	pack = put_signed(world, true, id);
	hide(id);
	collects(world, FB_OK);
	assert_false(is_there(world, &pack));
}

/* The session of a run that is not listed is what the next prune goes by. */
static void
tidying_leaves_what_the_next_one_goes_by(void **state)
{
	struct world *world = *state;
	struct fb_gc_request request = { .fence_after_ms = 0 };
	struct fb_gc_report report = { 0 };
	struct fb_digest pack;
	char id[FB_RUN_ID_SIZE];
	FB_AUTO_FREE char *key = NULL;
	uint64_t size;

	make_run(world, id, &pack);
	key = fb_format("sessions/%s", id);
	hide(id);
	assert_ok(fb_gc_tidy(world->repo, &report, &err));
	assert_ok(fb_store_head(world->repo->store, key, &size, &err));
	hidden[0] = '\0';
	assert_ok(fb_gc_collect(world->repo, &request, &report, &err));
	assert_fails(
	    FB_ENOTFOUND, fb_store_head(world->repo->store, key, &size, &err));
	fb_gc_report_release(&report);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, make_lagging_world, end_world)
		T(a_run_that_is_not_listed_stops_the_collection),
		T(the_second_marking_is_not_deceived_either),
		T(a_sealed_set_gives_up_what_turns_out_to_be_needed),
		T(what_is_to_go_says_whose_it_is),
		T(a_writer_that_is_not_listed_is_waited_for),
		T(a_dead_writer_that_is_not_listed_is_fenced),
		T(what_does_not_go_yet_says_whose_it_is_too),
		T(a_fence_that_is_not_listed_does_not_matter),
		T(tidying_leaves_what_the_next_one_goes_by),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

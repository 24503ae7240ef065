/* Deletion and forgetting, with others at work between the steps. */
#include "gc_world.h"

#define SEEDS   8
#define STEPS   250
#define WRITERS 3
#define RUNS    64

static unsigned
draw(struct world *world, unsigned below)
{
	world->random ^= world->random << 13;
	world->random ^= world->random >> 7;
	world->random ^= world->random << 17;
	return (unsigned)(world->random % below);
}

/* Every committed run that is not forgotten has what it names. */
static int
check_run(const struct fb_run_ref *run, void *arg, struct fb_error *error)
{
	struct world *world = arg;
	struct fb_register reg = { 0 };
	char key[FB_OBJECT_KEY_SIZE];
	uint64_t size;

	assert_null(run->damage);
	assert_ok(fb_repo_register(
	    world->repo, run->session, &reg, error));
	for (size_t i = 0; i < reg.packs.count; i++) {
		fb_pack_key(&reg.packs.ids[i], key);
		assert_ok(fb_store_head(
		    world->repo->store, key, &size, error));
	}
	for (size_t i = 0; i < reg.recipes.count; i++) {
		fb_recipe_key(&reg.recipes.ids[i], key);
		assert_ok(fb_store_head(
		    world->repo->store, key, &size, error));
	}
	fb_register_release(&reg);
	return FB_OK;
}

static void
nothing_is_lost(struct world *world)
{
	assert_ok(fb_repo_runs(world->repo, check_run, world, &err));
}

static void
what_no_run_names_is_deleted_and_nothing_else(void **state)
{
	struct world *world = *state;
	struct fb_gc_report report;
	struct fb_digest kept, gone;
	char first[FB_RUN_ID_SIZE], second[FB_RUN_ID_SIZE];

	make_run(world, first, &gone);
	make_run(world, second, &kept);
	collect(world, FB_OK, &report);
	assert_int_equal(report.removed.packs, 0);
	forget(world, first);
	collect(world, FB_OK, &report);
	assert_int_equal(report.removed.packs, 1);
	assert_int_equal(report.removed.recipes, 1);
	assert_int_equal(report.runs, 1);
	assert_false(is_there(world, &gone));
	assert_true(is_there(world, &kept));
	nothing_is_lost(world);
	collect(world, FB_OK, &report);
	assert_int_equal(report.removed.packs + report.tidied, 0);
}

/* More than a set holds, and more than memory does. */
static void
it_goes_in_parts_when_it_is_much(void **state)
{
	struct world *world = *state;
	struct fb_gc_request request = { .fence_after_ms = UINT64_MAX,
		.set_max = 2 };
	struct fb_gc_report report = { 0 };
	struct fb_digest kept, packs[5];
	char id[FB_RUN_ID_SIZE];

	(void)setenv("FLEETBAK_ROWS", "40", 1);
	make_run(world, id, &kept);
	for (int i = 0; i < 5; i++) {
		make_run(world, id, &packs[i]);
		forget(world, id);
	}
	make_run(world, id, &kept);
	assert_ok(fb_gc_collect(world->repo, &request, &report, &err));
	assert_int_equal(report.removed.packs, 5);
	assert_int_equal(report.removed.recipes, 5);
	for (int i = 0; i < 5; i++)
		assert_false(is_there(world, &packs[i]));
	assert_true(is_there(world, &kept));
	nothing_is_lost(world);
	(void)unsetenv("FLEETBAK_ROWS");
}

static void
a_session_that_is_open_is_waited_for(void **state)
{
	struct world *world = *state;
	struct fb_session session = { 0 };
	struct fb_gc_report report;
	struct fb_digest old, recipe;
	char first[FB_RUN_ID_SIZE], id[FB_RUN_ID_SIZE];

	make_run(world, first, &old);
	new_id(world, id);
	assert_ok(fb_session_begin(
	    world->repo, id, "download", "demo", &session, &err));
	forget(world, first);
	collect(world, FB_EBUSY, &report);
	assert_string_equal(err.id, "E-SESSIONS-OPEN");
	assert_int_equal(report.waiting_count, 1);
	assert_string_equal(report.waiting[0].id, id);
	fb_gc_report_release(&report);
	assert_true(is_there(world, &old));

	/* It uses the pack again: it began before, so it may. */
	assert_false(fb_id_list_has(&session.condemned, &old));
	recipe = put_object(world, false);
	assert_ok(commit(world, id, &old, &recipe));
	fb_session_release(&session);
	collect(world, FB_OK, &report);
	assert_true(is_there(world, &old));
	nothing_is_lost(world);
}

static void
a_session_that_begins_later_sees_what_is_condemned(void **state)
{
	struct world *world = *state;
	struct fb_session before = { 0 }, after = { 0 };
	struct fb_gc_report report;
	struct fb_digest old;
	char first[FB_RUN_ID_SIZE], id[FB_RUN_ID_SIZE];

	make_run(world, first, &old);
	new_id(world, id);
	assert_ok(fb_session_begin(
	    world->repo, id, "download", "demo", &before, &err));
	forget(world, first);
	collect(world, FB_EBUSY, &report);
	fb_gc_report_release(&report);
	new_id(world, id);
	assert_ok(fb_session_begin(
	    world->repo, id, "download", "demo", &after, &err));
	assert_true(fb_id_list_has(&after.condemned, &old));
	fb_session_release(&before);
	fb_session_release(&after);
}

static void
a_fenced_session_cannot_commit(void **state)
{
	struct world *world = *state;
	struct fb_gc_request request = { .fence_after_ms = 0 };
	struct fb_session session = { 0 };
	struct fb_gc_report report = { 0 };
	struct fb_digest old, recipe;
	char first[FB_RUN_ID_SIZE], id[FB_RUN_ID_SIZE];

	make_run(world, first, &old);
	new_id(world, id);
	assert_ok(fb_session_begin(
	    world->repo, id, "download", "demo", &session, &err));
	recipe = put_object(world, false);
	forget(world, first);
	assert_ok(fb_gc_collect(world->repo, &request, &report, &err));
	assert_int_equal(report.fenced, 1);
	assert_false(is_there(world, &old));
	assert_fails(FB_ECONFLICT, commit(world, id, &old, &recipe));
	assert_string_equal(err.id, "E-FENCED");
	fb_session_release(&session);
	nothing_is_lost(world);
}

static void
nothing_is_deleted_while_a_run_cannot_be_read(void **state)
{
	struct world *world = *state;
	struct fb_gc_report report;
	struct fb_digest old, kept;
	char first[FB_RUN_ID_SIZE], second[FB_RUN_ID_SIZE];
	FB_AUTO_FREE char *key = NULL;

	make_run(world, first, &old);
	make_run(world, second, &kept);
	forget(world, first);
	key = fb_format("runs/%s/SHA256SUMS", second);
	assert_ok(fb_store_remove(world->repo->store, key, &err));
	collect(world, FB_ECORRUPT, &report);
	assert_string_equal(err.id, "E-GC-DAMAGE");
	assert_true(is_there(world, &old));
	/* Given up as well, it does not matter any more. */
	forget(world, second);
	collect(world, FB_OK, &report);
	assert_false(is_there(world, &old));
	assert_false(is_there(world, &kept));
}

static void
an_undo_and_the_one_way_step_exclude_each_other(void **state)
{
	struct world *world = *state;
	struct fb_digest pack;
	struct fb_run_ref run;
	char id[FB_RUN_ID_SIZE];
	bool done;

	make_run(world, id, &pack);
	run = ref_of(world, id);
	assert_fails(FB_ENOTFOUND, fb_forget_undo(world->repo, id, &err));
	assert_ok(fb_forget_begin(world->repo, &run, world->key, "x", &err));
	assert_ok(fb_forget_undo(world->repo, id, &err));
	assert_ok(fb_forget_finish(
	    world->repo, &run, world->key, &done, &err));
	assert_false(done);
	assert_ok(fb_forget_undo(world->repo, id, &err)); /* again */
	assert_ok(fb_forget_begin(world->repo, &run, world->key, "x", &err));
	assert_ok(fb_forget_begin(world->repo, &run, world->key, "x", &err));
	assert_ok(fb_forget_finish(
	    world->repo, &run, world->key, &done, &err));
	assert_true(done);
	assert_fails(FB_EREFUSED, fb_forget_undo(world->repo, id, &err));
	assert_string_equal(err.id, "E-FORGOTTEN");
	assert_fails(
	    FB_EREFUSED, fb_hold_place(world->repo, &run, "late", &err));
}

static void
a_hold_undoes_and_forbids(void **state)
{
	struct world *world = *state;
	struct fb_fates fates;
	struct fb_digest pack;
	struct fb_run_ref run;
	FB_AUTO_BUF struct fb_buf text = { 0 };
	char id[FB_RUN_ID_SIZE], key[64];
	bool done;

	make_run(world, id, &pack);
	run = ref_of(world, id);
	assert_ok(fb_forget_begin(world->repo, &run, world->key, "x", &err));
	assert_ok(fb_hold_place(world->repo, &run, "evidence", &err));
	assert_ok(fb_forget_finish(
	    world->repo, &run, world->key, &done, &err));
	assert_false(done);
	assert_fails(FB_EREFUSED,
	    fb_forget_begin(world->repo, &run, world->key, "x", &err));
	assert_string_equal(err.id, "E-HELD");
	assert_ok(fb_fates_load(world->repo, &fates, &err));
	assert_true(fb_fates_find(&fates, id)->held);
	assert_false(fb_fates_find(&fates, id)->pending);
	assert_string_equal(
	    fb_fates_find(&fates, id)->held_reason, "evidence");
	fb_fates_release(&fates);
	assert_ok(fb_hold_remove(world->repo, id, &err));
	assert_fails(FB_ENOTFOUND, fb_hold_remove(world->repo, id, &err));
	/* One that was let go and could not be taken away. */
	(void)snprintf(key, sizeof(key), "holds/%s", id);
	assert_ok(fb_store_create(
	    world->repo->store, key, (struct fb_span){ 0 }, &err));
	assert_ok(fb_hold_place(world->repo, &run, "again", &err));
	assert_ok(fb_store_get(
	    world->repo->store, key, 4096, &text, NULL, &err));
	assert_non_null(strstr(fb_buf_str(&text), "again"));
	assert_ok(fb_hold_place(world->repo, &run, "later", &err));
	fb_buf_clear(&text);
	assert_ok(fb_store_get(
	    world->repo->store, key, 4096, &text, NULL, &err));
	assert_non_null(strstr(fb_buf_str(&text), "again"));
	assert_ok(fb_hold_remove(world->repo, id, &err));
	forget(world, id);
}

/* A record that nobody trusted signed gives nothing up. */
static void
a_strangers_record_does_not_count(void **state)
{
	struct world *world = *state;
	FB_AUTO_SIGN_KEY struct fb_sign_key *stranger = NULL;
	struct fb_buf private_pem = { 0 }, public_pem = { 0 };
	struct fb_digest pack;
	struct fb_run_ref run;
	char id[FB_RUN_ID_SIZE];
	bool done;

	make_run(world, id, &pack);
	run = ref_of(world, id);
	assert_ok(fb_sign_generate(&private_pem, &public_pem, &err));
	assert_ok(fb_sign_key_parse(
	    fb_buf_span(&private_pem), &stranger, &err));
	assert_ok(fb_forget_begin(world->repo, &run, stranger, "x", &err));
	assert_ok(fb_forget_finish(
	    world->repo, &run, world->key, &done, &err));
	assert_false(done);
	assert_fails(FB_ENOTFOUND, fb_forget_undo(world->repo, id, &err));
	fb_buf_release(&private_pem);
	fb_buf_release(&public_pem);
}

/* A writer, step by step: any pack that is there and not condemned, or one of
 * its own; then a recipe; then the commit. */
struct writer {
	unsigned step;
	struct fb_session session;
	char id[FB_RUN_ID_SIZE];
	struct fb_digest pack, recipe;
};

struct choice {
	struct world *world;
	const struct fb_id_list *condemned;
	struct fb_digest pack;
	bool found;
};

static int
choose_pack(const char *key, uint64_t size, void *arg, struct fb_error *error)
{
	struct choice *choice = arg;
	struct fb_digest id;

	(void)size;
	assert_ok(fb_digest_parse(
	    (struct fb_span){ (const uint8_t *)key + strlen("packs/hh/"),
	        FB_DIGEST_HEX_SIZE - 1 },
	    &id, error));
	if (!fb_id_list_has(choice->condemned, &id) &&
	    (!choice->found || draw(choice->world, 3) == 0)) {
		choice->pack = id;
		choice->found = true;
	}
	return FB_OK;
}

static void
write_on(struct world *world, struct writer *writer)
{
	struct choice choice = { .world = world,
		.condemned = &writer->session.condemned };
	int rc;

	switch (writer->step++) {
	case 0:
		new_id(world, writer->id);
		assert_ok(fb_session_begin(world->repo, writer->id,
		    "download", "demo", &writer->session, &err));
		return;
	case 1:
		assert_ok(fb_store_list(world->repo->store, "packs/",
		    choose_pack, &choice, &err));
		writer->pack = choice.found && draw(world, 3) > 0
		    ? choice.pack
		    : put_object(world, true);
		return;
	case 2:
		writer->recipe = put_object(world, false);
		return;
	default:
		rc = commit(
		    world, writer->id, &writer->pack, &writer->recipe);
		assert_true(rc == FB_OK || rc == FB_ECONFLICT);
		fb_session_release(&writer->session);
		*writer = (struct writer){ 0 };
		return;
	}
}

struct listing {
	struct fb_run_ref runs[RUNS];
	size_t count;
};

static int
list_run(const struct fb_run_ref *run, void *arg, struct fb_error *error)
{
	struct listing *listing = arg;

	(void)error;
	if (listing->count < RUNS)
		listing->runs[listing->count++] = *run;
	return FB_OK;
}

static void
forget_something(struct world *world)
{
	struct listing *listing = fb_alloc(1, sizeof(*listing));
	const struct fb_run_ref *run;
	bool done;
	int rc = fb_repo_runs(world->repo, list_run, listing, &err);

	assert_ok(rc);
	if (listing->count > 0) {
		run = &listing->runs[draw(world, (unsigned)listing->count)];
		switch (draw(world, 3)) {
		case 0:
			assert_ok(fb_forget_begin(
			    world->repo, run, world->key, "x", &err));
			break;
		case 1:
			assert_ok(fb_forget_finish(
			    world->repo, run, world->key, &done, &err));
			break;
		default:
			rc = fb_forget_undo(
			    world->repo, run->session, &err);
			assert_true(rc == FB_OK || rc == FB_ENOTFOUND);
			break;
		}
	}
	free(listing);
}

static void
collect_on(struct world *world, struct fb_gc **gc, struct fb_gc_report *report)
{
	/* Now and then one loses patience with every session. */
	struct fb_gc_request request = { .fence_after_ms =
		draw(world, 4) == 0 ? 0 : UINT64_MAX };
	bool done;
	int rc;

	if (*gc == NULL)
		*gc = fb_gc_new(world->repo, &request, report);
	rc = fb_gc_step(*gc, &done, &err);
	if (rc != FB_OK && rc != FB_EBUSY)
		fail_msg("%s: %s", err.id, err.msg);
	if (done || draw(world, 40) == 0) { /* it dies */
		fb_gc_free(*gc);
		*gc = NULL;
	}
}

static void
walk(struct world *world, uint64_t seed)
{
	struct writer writers[WRITERS] = { 0 };
	struct fb_gc *gcs[2] = { NULL, NULL };
	struct fb_gc_report report = { 0 };

	world->random = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
	for (int i = 0; i < STEPS; i++) {
		unsigned who = draw(world, 12);

		if (who < 4)
			write_on(world, &writers[draw(world, WRITERS)]);
		else if (who < 7)
			forget_something(world);
		else
			collect_on(world, &gcs[who & 1], &report);
		nothing_is_lost(world);
	}
	for (size_t i = 0; i < WRITERS; i++)
		fb_session_release(&writers[i].session);
	fb_gc_free(gcs[0]);
	fb_gc_free(gcs[1]);
	fb_gc_report_release(&report);
}

static void
nothing_is_lost_whoever_works_in_between(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		void *world;
		struct fb_gc_request request = { .fence_after_ms = 0 };
		struct fb_gc_report report = { 0 };

		assert_int_equal(make_world(&world), 0);
		walk(world, seed);
		assert_ok(fb_gc_collect(((struct world *)world)->repo,
		    &request, &report, &err));
		nothing_is_lost(world);
		fb_gc_report_release(&report);
		(void)end_world(&world);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, make_world, end_world)
		T(what_no_run_names_is_deleted_and_nothing_else),
		T(it_goes_in_parts_when_it_is_much),
		T(a_session_that_is_open_is_waited_for),
		T(a_session_that_begins_later_sees_what_is_condemned),
		T(a_fenced_session_cannot_commit),
		T(nothing_is_deleted_while_a_run_cannot_be_read),
		T(an_undo_and_the_one_way_step_exclude_each_other),
		T(a_hold_undoes_and_forbids),
		T(a_strangers_record_does_not_count),
		cmocka_unit_test(nothing_is_lost_whoever_works_in_between),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

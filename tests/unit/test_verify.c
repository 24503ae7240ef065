/* verify: every damage is named with all that it harms. */
#include "repo_tools.h"

#include "faults.h"

#include "fleetbak/engine/verify.h"
#include "fleetbak/format/pack.h"
#include "fleetbak/repo/gc.h"

#define RUN1 "20261121-010000000-00000001"
#define RUN2 "20261121-020000000-00000002"
#define LEN  300000

/* Two runs: db and web; in the second web has changed at its end. */
struct scene {
	uint8_t *db, *web, *web2;
};

static int
make_scene(void **state)
{
	struct depot *depot;
	struct scene scene = { make_noise(LEN, 1), make_noise(LEN, 2), NULL };
	struct content first[] = { { "db", "root", scene.db, LEN },
		{ "web", "root", scene.web, LEN } };
	struct content second[] = { { "db", "root", scene.db, LEN },
		{ "web", "root", NULL, LEN } };

	if (make_repository(state) != 0)
		return -1;
	depot = *state;
	scene.web2 = memcpy(fb_alloc(LEN, 1), scene.web, LEN);
	memset(scene.web2 + LEN - 5000, 'x', 5000);
	second[1].bytes = scene.web2;
	make_run(depot, RUN1, first, 2);
	make_run(depot, RUN2, second, 2);
	free(scene.db);
	free(scene.web);
	free(scene.web2);
	return 0;
}

static void
look(struct depot *depot, enum fb_verify_depth depth,
    struct fb_verify_report *report)
{
	struct fb_verify_request request = { .depth = depth };

	assert_ok(fb_verify(NULL, depot->repo, &request, report, &err));
}

/* The damage of an object, or NULL. */
static const struct fb_verify_damage *
find_damage(const struct fb_verify_report *report, const char *object)
{
	for (size_t i = 0; i < report->damage_count; i++)
		if (strcmp(report->damages[i].object, object) == 0)
			return &report->damages[i];
	return NULL;
}

static bool
harms(const struct fb_verify_damage *damage, const char *what)
{
	for (size_t i = 0; i < damage->harm_count; i++)
		if (strcmp(damage->harms[i], what) == 0)
			return true;
	return false;
}

static void
a_whole_repository_is_whole_at_every_depth(void **state)
{
	struct depot *depot = *state;

	for (int depth = FB_VERIFY_SIGNATURES; depth <= FB_VERIFY_FULL;
	     depth++) {
		struct fb_verify_report report;

		look(depot, (enum fb_verify_depth)depth, &report);
		if (report.damage_count > 0)
			fail_msg("depth %d: %s: %s", depth,
			    report.damages[0].object,
			    report.damages[0].err.msg);
		assert_int_equal(report.runs, 2);
		assert_string_equal(report.newest_whole, RUN2);
		assert_int_equal(report.whole_count, 0);
		if (depth >= FB_VERIFY_STRUCTURE)
			assert_int_equal(report.volumes, 4);
		if (depth >= FB_VERIFY_PACKS) {
			assert_int_equal(report.packs, 2);
			assert_true(report.bytes > LEN);
		}
		fb_verify_report_release(&report);
	}
}

/* The register is not signed: what it says, the signed manifest must say. */
static void
a_register_does_not_choose_the_time_of_its_run(void **state)
{
	struct depot *depot = *state;
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	FB_AUTO_BUF struct fb_buf other = { 0 };
	struct fb_verify_report report;
	char *time;

	read_object(depot, "commits/" RUN2, &bytes);
	fb_buf_add(&other, bytes.data, bytes.len);
	time = strstr((char *)other.data, "time 20");
	assert_non_null(time);
	time[sizeof("time 20")] = '1'; /* it was made in another year */
	write_object(depot, "commits/" RUN2, fb_buf_span(&other));
	look(depot, FB_VERIFY_SIGNATURES, &report);
	assert_int_equal(report.damage_count, 1);
	assert_non_null(strstr(report.damages[0].err.msg, "M20"));
	assert_string_equal(report.newest_whole, RUN1);
	fb_verify_report_release(&report);
	write_object(depot, "commits/" RUN2, fb_buf_span(&bytes));
}

/* Every object of the runs that is spoiled or missing is named. */
static void
each_signed_object_is_named_when_it_is_damaged(void **state)
{
	static const char *const keys[] = {
		"commits/" RUN2,
		"runs/" RUN2 "/SHA256SUMS",
		"runs/" RUN2 "/SHA256SUMS.sig",
		"runs/" RUN2 "/manifest.json",
		"runs/" RUN2 "/VOLUMES",
		"restore.sh",
		"format/1.json",
		"format/1.json.sig",
	};
	struct depot *depot = *state;

	for (size_t i = 0; i < FB_COUNT(keys); i++)
		for (int missing = 0; missing < 2; missing++) {
			FB_AUTO_BUF struct fb_buf bytes = { 0 };
			struct fb_verify_report report;

			if (missing && strncmp(keys[i], "commits/", 8) == 0)
				continue; /* then there is no such run */
			if (missing && strcmp(keys[i],
			                   "runs/" RUN2 "/SHA256SUMS.sig") == 0)
				continue; /* then it is made */
			read_object(depot, keys[i], &bytes);
			if (missing)
				remove_object(depot, keys[i]);
			else
				spoil_object(depot, keys[i], 25);
			look(depot, FB_VERIFY_SIGNATURES, &report);
			if (find_damage(&report, keys[i]) == NULL)
				fail_msg("'%s' is not named", keys[i]);
			if (strstr(keys[i], RUN2) != NULL) {
				assert_string_equal(
				    report.newest_whole, RUN1);
				assert_int_equal(report.damage_count, 1);
				assert_true(harms(&report.damages[0],
				    "lab/db root @" RUN2));
				assert_int_equal(report.whole_count, 2);
				assert_string_equal(
				    report.whole[0].run, RUN1);
			}
			fb_verify_report_release(&report);
			write_object(depot, keys[i], fb_buf_span(&bytes));
		}
}

/* A writer may have died, or be, between the register and it. */
static void
a_signature_that_is_not_there_yet_is_no_damage(void **state)
{
	static const char key[] = "runs/" RUN2 "/SHA256SUMS.sig";
	struct depot *depot = *state;
	FB_AUTO_BUF struct fb_buf before = { 0 };
	FB_AUTO_BUF struct fb_buf after = { 0 };
	struct fb_verify_report report;

	read_object(depot, key, &before);
	remove_object(depot, key);
	look(depot, FB_VERIFY_SIGNATURES, &report);
	assert_int_equal(report.damage_count, 0);
	fb_verify_report_release(&report);
	read_object(depot, key, &after);
	assert_int_equal(after.len, before.len);
	assert_memory_equal(after.data, before.data, before.len);
}

/* The keys of the packs, or of the recipes, of a run. */
static char *
nth_object(struct depot *depot, const char *sid, const char *what, size_t n)
{
	struct fb_register reg;
	char key[FB_OBJECT_KEY_SIZE];
	const struct fb_id_list *list;

	assert_ok(fb_repo_register(depot->repo, sid, &reg, &err));
	list = strcmp(what, "packs") == 0 ? &reg.packs : &reg.recipes;
	assert_true(n < list->count);
	if (list == &reg.packs)
		fb_pack_key(&list->ids[n], key);
	else
		fb_recipe_key(&list->ids[n], key);
	fb_register_release(&reg);
	return fb_strdup(key);
}

static void
a_missing_recipe_harms_its_volume_only(void **state)
{
	struct depot *depot = *state;
	struct fb_verify_report report;
	FB_AUTO_FREE char *key = nth_object(depot, RUN2, "recipes", 0);
	const struct fb_verify_damage *damage;

	remove_object(depot, key);
	look(depot, FB_VERIFY_STRUCTURE, &report);
	assert_int_equal(report.damage_count, 1);
	damage = find_damage(&report, key);
	assert_non_null(damage);
	assert_int_equal(damage->harm_count, 1);
	assert_string_equal(report.newest_whole, RUN1);
	assert_int_equal(report.whole_count, 1);
	assert_string_equal(report.whole[0].run, RUN1);
	fb_verify_report_release(&report);
}

/* The pack of the first run is shared by both. */
static void
a_shared_pack_is_named_once_with_all_that_it_harms(void **state)
{
	struct depot *depot = *state;
	FB_AUTO_FREE char *key = nth_object(depot, RUN1, "packs", 0);

	for (int how = 0; how < 3; how++) {
		FB_AUTO_BUF struct fb_buf bytes = { 0 };
		struct fb_verify_report report;
		const struct fb_verify_damage *damage;

		read_object(depot, key, &bytes);
		if (how == 0)
			remove_object(depot, key);
		else /* its table */
			spoil_object(depot, key, bytes.len - 60);
		look(depot,
		    how < 2 ? FB_VERIFY_STRUCTURE : FB_VERIFY_PACKS, &report);
		assert_int_equal(report.damage_count, 1);
		damage = find_damage(&report, key);
		assert_non_null(damage);
		assert_true(harms(damage, "lab/db root @" RUN1));
		assert_true(harms(damage, "lab/db root @" RUN2));
		assert_true(harms(damage, "lab/web root @" RUN1));
		assert_true(harms(damage, "lab/web root @" RUN2));
		assert_int_equal(damage->harm_count, 4);
		assert_string_equal(report.newest_whole, "");
		assert_int_equal(report.whole_count, 2);
		assert_string_equal(report.whole[0].run, "");
		fb_verify_report_release(&report);
		write_object(depot, key, fb_buf_span(&bytes));
	}
}

/* One bit of one chunk: others that only share the pack are whole. */
static void
a_damaged_chunk_harms_who_needs_it(void **state)
{
	struct depot *depot = *state;
	FB_AUTO_FREE char *key = nth_object(depot, RUN1, "packs", 0);

	for (int depth = FB_VERIFY_PACKS; depth <= FB_VERIFY_FULL; depth++) {
		FB_AUTO_BUF struct fb_buf bytes = { 0 };
		struct fb_verify_report report;
		const struct fb_verify_damage *damage;

		read_object(depot, key, &bytes);
		spoil_object(depot, key, 1000);
		look(depot, (enum fb_verify_depth)depth, &report);
		assert_int_equal(report.damage_count, 1);
		damage = find_damage(&report, key);
		assert_non_null(damage);
		assert_true(damage->harm_count > 0);
		assert_true(damage->harm_count < 4);
		assert_int_equal(report.whole_count, 1);
		/* Both runs name the pack: sha256sum -c fails for both. */
		assert_string_equal(report.newest_whole, "");
		fb_verify_report_release(&report);
		write_object(depot, key, fb_buf_span(&bytes));
	}
}

static void
a_machine_that_was_not_asked_for_is_not_looked_at(void **state)
{
	struct depot *depot = *state;
	static const char *const machines[] = { "lab/d*" };
	struct fb_verify_request request = { .depth = FB_VERIFY_STRUCTURE,
		.run = "latest",
		.machines = machines,
		.machine_count = 1 };
	struct fb_verify_report report;

	assert_ok(fb_verify(NULL, depot->repo, &request, &report, &err));
	assert_int_equal(report.runs, 1);
	assert_int_equal(report.volumes, 1);
	fb_verify_report_release(&report);
	request.run = RUN1;
	assert_ok(fb_verify(NULL, depot->repo, &request, &report, &err));
	assert_string_equal(report.newest_whole, RUN1);
	fb_verify_report_release(&report);
	request.run = "20200101-000000000-00000000";
	assert_fails(FB_ENOTFOUND,
	    fb_verify(NULL, depot->repo, &request, &report, &err));
	fb_verify_report_release(&report);
}

/* It announced itself before it learnt that: nobody waits for it for ever. */
static void
a_broken_pointer_is_told_and_no_session_left(void **state)
{
	struct depot *depot = *state;
	FB_AUTO_FREE struct fb_gc_session *sessions = NULL;
	struct fb_verify_report report;
	size_t count = 1;

	assert_ok(fb_store_create(
	    depot->repo->store, "gc/current", SPAN("broken"), &err));
	look(depot, FB_VERIFY_STRUCTURE, &report);
	assert_non_null(find_damage(&report, "gc/current"));
	fb_verify_report_release(&report);
	assert_ok(fb_gc_open_sessions(depot->repo, &sessions, &count, &err));
	assert_int_equal(count, 0);
}

static void
the_damage_of_several_objects_is_all_told(void **state)
{
	struct depot *depot = *state;
	struct fb_verify_report report;
	FB_AUTO_FREE char *recipe = nth_object(depot, RUN1, "recipes", 1);
	FB_AUTO_FREE char *pack = nth_object(depot, RUN1, "packs", 0);

	spoil_object(depot, recipe, 50);
	spoil_object(depot, pack, 500);
	spoil_object(depot, "runs/" RUN2 "/VOLUMES", 3);
	look(depot, FB_VERIFY_FULL, &report);
	assert_non_null(find_damage(&report, recipe));
	assert_non_null(find_damage(&report, pack));
	assert_non_null(find_damage(&report, "runs/" RUN2 "/VOLUMES"));
	assert_int_equal(report.damage_count, 3);
	fb_verify_report_release(&report);
}

/* A register that forgets a pack would let it be deleted. */
static void
a_register_that_names_too_little_is_damage(void **state)
{
	struct depot *depot = *state;
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_verify_report report;
	struct fb_register reg;

	assert_ok(fb_repo_register(depot->repo, RUN2, &reg, &err));
	reg.packs.count--;
	fb_register_encode(&reg, &text);
	fb_register_release(&reg);
	write_object(depot, "commits/" RUN2, fb_buf_span(&text));
	look(depot, FB_VERIFY_SIGNATURES, &report);
	assert_non_null(find_damage(&report, "commits/" RUN2));
	fb_verify_report_release(&report);
}

#ifdef FB_FAULTS
/* It may be whole, and be read the next time; the rest is looked at. */
static void
what_cannot_be_read_is_not_called_damaged(void **state)
{
	struct depot *depot = *state;
	struct fb_verify_request request = { .depth = FB_VERIFY_FULL };
	size_t told = 0;

	for (unsigned long at = faults_begin(); faults_arm(at, "EIO"); at++) {
		struct fb_verify_report report;
		int rc = fb_verify(NULL, depot->repo, &request, &report, &err);

		faults_disarm();
		assert_true(rc == FB_OK || rc == FB_ESYS);
		for (size_t i = 0; rc == FB_OK && i < report.damage_count; i++) {
			const struct fb_error *cause = &report.damages[i].err;

			if (cause->code != FB_ESYS)
				fail_msg("step %lu: %s: %s", at,
				    report.damages[i].object, cause->msg);
			assert_string_equal(cause->id, "E-SYSTEM");
			told++;
		}
		if (rc == FB_OK && report.damage_count == 0)
			assert_string_equal(report.newest_whole, RUN2);
		fb_verify_report_release(&report);
	}
	assert_true(told > 20);
}
#endif

int
main(void)
{
#define IN(test) \
	cmocka_unit_test_setup_teardown(test, make_scene, remove_depot)
	const struct CMUnitTest tests[] = {
		IN(a_whole_repository_is_whole_at_every_depth),
		IN(each_signed_object_is_named_when_it_is_damaged),
		IN(a_signature_that_is_not_there_yet_is_no_damage),
		IN(a_missing_recipe_harms_its_volume_only),
		IN(a_shared_pack_is_named_once_with_all_that_it_harms),
		IN(a_damaged_chunk_harms_who_needs_it),
		IN(a_machine_that_was_not_asked_for_is_not_looked_at),
		IN(a_broken_pointer_is_told_and_no_session_left),
		IN(the_damage_of_several_objects_is_all_told),
		IN(a_register_that_names_too_little_is_damage),
		IN(a_register_does_not_choose_the_time_of_its_run),
#ifdef FB_FAULTS
		IN(what_cannot_be_read_is_not_called_damaged),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

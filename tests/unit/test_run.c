#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../../src/engine/facts.h"
#include "../../src/engine/run.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"

#define RUN "20261121-013205123-3fa92c17"

static struct fb_error err;
static char dir[64], fleet[] = "demo";
static struct fb_config config;
static struct fb_engine engine;
static struct fb_repo repo;
static const struct fb_error *its_problem; /* of the machine of a run */

/* A run of one machine with one volume, its journal begun. */
static struct fb_run *
make_run(void)
{
	struct fb_machine *machine = fb_alloc(1, sizeof(*machine));
	struct fb_volume *volume = fb_machine_add_volume(machine);
	struct fb_run *run;
	struct fb_job *job;

	assert_ok(fb_run_new(&engine, &repo, RUN, &run, &err));
	(void)snprintf(run->tool, sizeof(run->tool), "0.0.9");
	(void)snprintf(
	    run->started, sizeof(run->started), "2026-11-21T01:32:05.123Z");
	run->sources = fb_alloc(1, sizeof(*run->sources));
	run->sources[run->source_count++] =
	    (struct fb_run_source){ fb_strdup("lab"), fb_strdup("local") };
	machine->source = fb_strdup("lab");
	machine->driver = fb_strdup("local");
	machine->id = fb_strdup("web");
	machine->name = fb_strdup("web");
	machine->role = fb_strdup("");
	if (its_problem != NULL)
		machine->problem = fb_error_keep(its_problem);
	volume->name = fb_strdup("root");
	volume->method = "reflink";
	run->jobs = job = fb_alloc(1, sizeof(*job));
	run->job_count = 1;
	job->machine = machine;
	job->name = fb_strdup("lab/web");
	job->parts = fb_alloc(1, sizeof(*job->parts));
	job->parts[0].volume = volume;
	assert_ok(fb_run_begin_journal(run, &err));
	return run;
}

static void
append(struct fb_run *run, const char *type, json_t *owned_body)
{
	FB_AUTO_JSON json_t *body = owned_body;

	assert_non_null(body);
	assert_ok(fb_journal_append(run->journal, type, body, true, &err));
}

static void
append_checkpoint(struct fb_run *run, int serial)
{
	append(run, "checkpoint", json_pack("{s:i}", "serial", serial));
}

static void
append_volume(struct fb_run *run, uint64_t serial)
{
	run->jobs[0].parts[0].result.serial = serial;
	append(run, "volume", fb_run_part_json(&run->jobs[0], 0));
}

static struct fb_run *
replay(struct fb_run *run)
{
	fb_run_free(run);
	assert_ok(fb_run_replay(
	    &engine, &repo, RUN, false, &run, NULL, &err));
	return run;
}

/* The sender journals a state only when its pack is stored; meanwhile a copy
 * may have ended that the state does not know. */
static void
a_checkpoint_taken_before_a_copy_ended_does_not_vouch_for_it(void **state)
{
	struct fb_run *run = make_run();

	(void)state;
	append_volume(run, 3);
	append_checkpoint(run, 3);
	run = replay(run);
	assert_false(run->jobs[0].parts[0].done);
	fb_run_free(run);
}

static void
a_checkpoint_taken_after_a_copy_ended_vouches_for_it(void **state)
{
	struct fb_run *run = make_run();

	(void)state;
	append_volume(run, 3);
	append_checkpoint(run, 3);
	append_checkpoint(run, 4);
	run = replay(run);
	assert_true(run->jobs[0].parts[0].done);
	fb_run_free(run);
}

static void
a_volume_captured_again_needs_a_checkpoint_again(void **state)
{
	struct fb_run *run = make_run();

	(void)state;
	append_volume(run, 3);
	append_checkpoint(run, 4);
	append_volume(run, 4);
	run = replay(run);
	assert_false(run->jobs[0].parts[0].done);
	fb_run_free(run);
}

static void
the_manifest_names_who_began_the_run_not_who_ends_it(void **state)
{
	struct fb_run *run = replay(make_run());

	(void)state;
	assert_string_equal(run->tool, "0.0.9");
	assert_int_equal(run->source_count, 1);
	assert_string_equal(run->sources[0].name, "lab");
	assert_string_equal(run->sources[0].driver, "local");
	fb_run_free(run);
}

static void
what_a_dead_run_owes_is_not_taken_for_a_stop_of_ours(void **state)
{
	struct fb_run *run = make_run();

	(void)state;
	assert_ok(fb_obligation_begin(run->journal, "lab/web", &err));
	run = replay(run);
	assert_true(run->jobs[0].owed_before);
	assert_false(run->jobs[0].owes_start);
	fb_run_free(run);
}

/* A run of which every kind of record was written. */
static void
make_full_run(void)
{
	struct fb_run *run = make_run();
	struct fb_job *job = &run->jobs[0];
	struct fb_error cause;

	run->predecessors = fb_alloc(1, sizeof(*run->predecessors));
	append(run, "source",
	    json_pack("{s:s,s:{s:i,s:s,s:s,s:s}}", "source", "away", "error",
	        "code", FB_EUNREACH, "id", "E-SRC-UNREACHABLE", "message",
	        "it is away", "hint", "look"));
	assert_ok(fb_obligation_begin(run->journal, "lab/web", &err));
	append(run, "machine", fb_run_machine_json(job));
	job->parts[0].result.has_flat = true;
	append_volume(run, 3);
	append_checkpoint(run, 4);
	assert_ok(
	    fb_obligation_end(run->journal, "lab/web", "started", &err));
	job->state = FB_MACHINE_FAILED;
	(void)fb_fail_id(&cause, FB_EFAILED, "E-COMMAND", "it did not stop");
	job->err = fb_error_keep(&cause);
	append(run, "machine", fb_run_machine_json(job));
	append(run, "finish",
	    json_pack("{s:s,s:s,s:b}", "finished", "2026-11-21T01:33:00.000Z",
	        "topology_after",
	        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab"
	        "cdef",
	        "drift", false));
	append(run, "commit", json_pack("{s:s}", "manifest", "x"));
	append(run, "end", json_pack("{s:b}", "committed", true));
	fb_run_free(run);
}

struct copied {
	char type[32];
	json_t *body;
};
static struct copied copies[64];
static size_t copy_count;

static int
copy_record(const struct fb_journal_record *record, void *arg,
    struct fb_error *e)
{
	struct copied *copy = &copies[copy_count++];

	(void)arg;
	(void)e;
	assert_true(copy_count < FB_COUNT(copies));
	(void)snprintf(copy->type, sizeof(copy->type), "%s", record->type);
	copy->body = json_deep_copy(record->body);
	return FB_OK;
}

/* The records as they are now, in a journal whose chain is right. */
static int
replay_copies(void)
{
	FB_AUTO_FREE char *path = fb_format("%s/runs/%s/journal", dir, RUN);
	struct fb_journal *journal = NULL;
	struct fb_run *run = NULL;
	json_t *checkpoint = NULL;
	int rc;

	(void)unlink(path);
	assert_ok(fb_journal_create(path, &journal, &err));
	for (size_t i = 0; i < copy_count; i++)
		assert_ok(fb_journal_append(
		    journal, copies[i].type, copies[i].body, false, &err));
	fb_journal_closep(&journal);
	rc = fb_run_replay(
	    &engine, &repo, RUN, false, &run, &checkpoint, &err);
	if (rc == FB_OK) {
		json_decref(checkpoint);
		fb_run_free(run);
	} else {
		assert_null(run);
	}
	return rc;
}

/* Somebody without a member, or with one of another type, is refused, or is
 * one that says nothing; nobody is believed half. */
static void
try_without(json_t *object, unsigned *refused)
{
	char *keys[32];
	size_t count = 0;
	const char *key;
	json_t *value;

	json_object_foreach(object, key, value)
		keys[count++] = fb_strdup(key);
	assert_true(count < FB_COUNT(keys));
	for (size_t i = 0; i < count; i++) {
		value = json_incref(json_object_get(object, keys[i]));
		assert_int_equal(json_object_del(object, keys[i]), 0);
		*refused += replay_copies() < 0;
		assert_int_equal(
		    json_object_set_new(object, keys[i], json_real(0.5)), 0);
		*refused += replay_copies() < 0;
		assert_int_equal(
		    json_object_set_new(object, keys[i], value), 0);
		free(keys[i]);
	}
}

static void
a_record_that_lacks_a_member_or_has_an_odd_one_is_refused(void **state)
{
	static const char *const inner[] = { "result", "catalogue", "error" };
	unsigned refused = 0;

	(void)state;
	make_full_run();
	copy_count = 0;
	{
		FB_AUTO_FREE char *path =
		    fb_format("%s/runs/%s/journal", dir, RUN);

		assert_ok(fb_journal_read(path, copy_record, NULL, &err));
	}
	(void)json_array_append_new(
	    json_object_get(copies[0].body, "predecessors"),
	    json_pack("{s:s,s:O}", "run", RUN, "manifest",
	        json_object_get(copies[0].body, "topology")));
	assert_ok(replay_copies());
	for (size_t i = 0; i < copy_count; i++) {
		try_without(copies[i].body, &refused);
		for (size_t k = 0; k < FB_COUNT(inner); k++)
			if (json_is_object(json_object_get(
			        copies[i].body, inner[k])))
				try_without(json_object_get(copies[i].body,
				                inner[k]),
				    &refused);
	}
	try_without(json_array_get(json_object_get(copies[0].body,
	                               "predecessors"), 0), &refused);
	try_without(
	    json_array_get(json_object_get(copies[0].body, "sources"), 0),
	    &refused);
	/* Nothing of what it was is lost on the way. */
	assert_ok(replay_copies());
	assert_true(refused > 80);
	for (size_t i = 0; i < copy_count; i++)
		json_decref(copies[i].body);
}

static void
a_record_of_another_run_or_machine_is_refused(void **state)
{
	struct fb_run *run = make_run();

	(void)state;
	append(run, "machine",
	    json_pack("{s:s,s:s}", "machine", "lab/ghost", "state", "up"));
	fb_run_free(run);
	assert_fails(FB_ECORRUPT,
	    fb_run_replay(&engine, &repo, RUN, false, &run, NULL, &err));
	assert_non_null(strstr(err.msg, "ghost"));
}

/* Ids of errors outlive their journal, in bounded memory: of a hostile one
 * with too many, the rest get a general one. */
static void
a_flood_of_error_ids_is_bounded(void **state)
{
	struct fb_error told = { 0 };

	(void)state;
	for (int i = 0; i < 600; i++) {
		FB_AUTO_FREE char *id = fb_format("E-FLOOD-%d", i);
		FB_AUTO_JSON json_t *body = json_pack(
		    "{s:{s:i,s:s,s:s,s:s}}", "error", "code", FB_EFAILED, "id",
		    id, "message", "m", "hint", "");

		assert_ok(fb_fact_error(body, "error", &told, &err));
		if (i == 0)
			assert_string_equal(told.id, id);
	}
	assert_string_equal(told.id, "E-FAILED");
}

static void
a_machine_that_was_refused_stays_so(void **state)
{
	struct fb_error cause = { 0 };
	struct fb_run *run;

	(void)state;
	(void)fb_fail_id(&cause, FB_EUNSUP, "E-LOCAL-FILE", "no such file");
	its_problem = &cause;
	run = replay(make_run());
	its_problem = NULL;
	assert_non_null(run->jobs[0].machine->problem);
	assert_string_equal(run->jobs[0].machine->problem->id, "E-LOCAL-FILE");
	assert_string_equal(
	    run->jobs[0].machine->problem->msg, "no such file");
	fb_run_free(run);
}

static void
a_label_that_is_no_text_is_refused(void **state)
{
	struct fb_run *run = make_run();
	FB_AUTO_FREE char *path = fb_format("%s/runs/%s/journal", dir, RUN);

	(void)state;
	fb_run_free(run);
	copy_count = 0;
	assert_ok(fb_journal_read(path, copy_record, NULL, &err));
	for (size_t i = 0; i < copy_count; i++) {
		if (strcmp(copies[i].type, "plan") == 0)
			(void)json_object_set_new(copies[i].body, "labels",
			    json_pack("{s:i}", "rack", 7));
	}
	assert_fails(FB_ECORRUPT, replay_copies());
	assert_non_null(strstr(err.msg, "a label is no text"));
	for (size_t i = 0; i < copy_count; i++)
		json_decref(copies[i].body);
}

static void
a_name_that_is_no_run_leads_nowhere(void **state)
{
	struct fb_run *run = NULL;

	(void)state;
	assert_fails(FB_ECONFIG,
	    fb_run_replay(
	        &engine, &repo, "../" RUN, true, &run, NULL, &err));
	assert_null(run);
}

static void
a_run_that_had_not_begun_is_none(void **state)
{
	FB_AUTO_FREE char *run_dir = fb_format("%s/runs/%s", dir, RUN);
	FB_AUTO_FREE char *path = fb_format("%s/journal", run_dir);
	struct fb_journal *journal = NULL;
	struct fb_run *run = NULL;

	(void)state;
	assert_ok(fb_io_mkdirs(run_dir, 0700, &err));
	assert_ok(fb_journal_create(path, &journal, &err));
	fb_journal_closep(&journal);
	assert_fails(FB_ENOTFOUND,
	    fb_run_replay(&engine, &repo, RUN, true, &run, NULL, &err));
	assert_non_null(strstr(err.msg, "before it began"));
}

static void
how_long_it_was_down_lies_between_two_records(void **state)
{
	struct fb_run *run = make_run();

	(void)state;
	append(run, "obligation",
	    json_pack("{s:s,s:s}", "at", "2026-11-21T01:32:10.000Z",
	        "machine", "lab/web"));
	append(run, "discharged",
	    json_pack("{s:s,s:s,s:s}", "at", "2026-11-21T01:32:12.500Z",
	        "how", "started", "machine", "lab/web"));
	fb_run_free(run);
	assert_ok(fb_run_replay(
	    &engine, &repo, RUN, true, &run, NULL, &err));
	assert_int_equal(run->jobs[0].downtime_ms, 2500);
	assert_false(run->jobs[0].owes_start);
	/* It was opened to go on. */
	append_checkpoint(run, 9);
	fb_run_free(run);
}

static void
a_run_that_is_another_ones_is_left_alone(void **state)
{
	static char other[] = "other";
	struct fb_run *run = make_run();

	(void)state;
	fb_run_free(run);
	config.fleet_name = other;
	assert_fails(FB_ECONFLICT,
	    fb_run_replay(&engine, &repo, RUN, false, &run, NULL, &err));
	config.fleet_name = fleet;
	(void)snprintf(repo.format.repository, sizeof(repo.format.repository),
	    "00000000000000000000000000000000");
	assert_fails(FB_ECONFLICT,
	    fb_run_replay(&engine, &repo, RUN, false, &run, NULL, &err));
}

static void
unfinished_runs_are_listed_by_their_ids(void **state)
{
	FB_AUTO_FREE char *stray = fb_format("%s/runs/stray", dir);
	FB_AUTO_FREE char *runs = fb_format("%s/runs", dir);
	char(*ids)[FB_RUN_ID_SIZE] = NULL;
	size_t count = 7;

	(void)state;
	assert_ok(fb_run_unfinished(&engine, &ids, &count, &err));
	assert_int_equal(count, 0);
	fb_run_free(make_run());
	assert_ok(fb_io_mkdirs(stray, 0700, &err));
	free(ids);
	assert_ok(fb_run_unfinished(&engine, &ids, &count, &err));
	assert_int_equal(count, 1);
	assert_string_equal(ids[0], RUN);
	free(ids);
	ids = NULL;
	assert_ok(fb_io_remove_tree(runs, &err));
	assert_ok(fb_io_replace(runs, SPAN("no directory"), 0600, &err));
	assert_true(fb_run_unfinished(&engine, &ids, &count, &err) < 0);
}

static int
make_dir(void **state)
{
	(void)state;
	(void)snprintf(dir, sizeof(dir), "/tmp/fb-run-XXXXXX");
	if (mkdtemp(dir) == NULL)
		return -1;
	config = (struct fb_config){ .fleet_name = fleet,
		.state_dir = dir };
	engine = (struct fb_engine){ .config = &config };
	(void)snprintf(repo.format.repository, sizeof(repo.format.repository),
	    "3fa92c1700004000800000000000abcd");
	return 0;
}

static int
remove_dir(void **state)
{
	(void)state;
	return fb_io_remove_tree(dir, &err);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_dir, remove_dir)
		TEST(a_checkpoint_taken_before_a_copy_ended_does_not_vouch_for_it),
		TEST(a_checkpoint_taken_after_a_copy_ended_vouches_for_it),
		TEST(a_volume_captured_again_needs_a_checkpoint_again),
		TEST(the_manifest_names_who_began_the_run_not_who_ends_it),
		TEST(what_a_dead_run_owes_is_not_taken_for_a_stop_of_ours),
		TEST(a_record_that_lacks_a_member_or_has_an_odd_one_is_refused),
		TEST(a_record_of_another_run_or_machine_is_refused),
		TEST(a_machine_that_was_refused_stays_so),
		TEST(a_label_that_is_no_text_is_refused),
		TEST(a_name_that_is_no_run_leads_nowhere),
		TEST(a_run_that_had_not_begun_is_none),
		TEST(how_long_it_was_down_lies_between_two_records),
		TEST(a_run_that_is_another_ones_is_left_alone),
		TEST(unfinished_runs_are_listed_by_their_ids),
		TEST(a_flood_of_error_ids_is_bounded), /* last: it fills up */
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../../src/engine/run.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"

#define RUN "20261121-013205123-3fa92c17"

static struct fb_error err;
static char dir[64], fleet[] = "demo";
static struct fb_config config;
static struct fb_engine engine;
static struct fb_repo repo;

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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Machines through a driver: what is journaled before what is done, and what
 * becomes of a machine when something fails.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "test.h"

#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "../../src/engine/restore_parts.h"
#include "fake_volume.h"

/* The world: up to four machines m0, m1, ..., and what was done to them. */
struct world {
	struct fb_driver driver;
	enum fb_power power[4];
	char log[1024];
	const char *fails; /* "stop", "open", "finish", "start", or "" */
	bool lacks;        /* what is finished lacks something */
	unsigned warned;
	char *dir;
	struct fb_config config;
	struct fb_engine engine;
	struct fb_restore restore;
	struct fb_restore_report report;
	struct fb_machine now[4];
};

static struct world *world;

struct journaled {
	const char *machine;
	bool owed, suspended;
};

static int
visit_record(const struct fb_journal_record *record, void *arg,
    struct fb_error *err)
{
	struct journaled *j = arg;
	const char *machine =
	    json_string_value(json_object_get(record->body, "machine"));

	(void)err;
	if (machine == NULL || strcmp(machine, j->machine) != 0)
		return FB_OK;
	if (strcmp(record->type, "obligation") == 0) {
		j->owed = true;
		j->suspended = false;
	}
	if (strcmp(record->type, "suspended") == 0)
		j->suspended = true;
	if (strcmp(record->type, "discharged") == 0)
		j->owed = j->suspended = false;
	return FB_OK;
}

/* What a reader of the journal would know at this moment. */
static struct journaled
journal_of(const char *id)
{
	FB_AUTO_FREE char *path = fb_format("%s/journal", world->restore.dir);
	static char key[64];
	struct journaled j = { .machine = key };
	struct fb_error err = { 0 };

	(void)snprintf(key, sizeof(key), "lab/%s", id);
	assert_ok(fb_journal_read(path, visit_record, &j, &err));
	return j;
}

static int
act(const char *verb, const char *id, struct fb_error *err)
{
	size_t len = strlen(world->log);

	(void)snprintf(world->log + len, sizeof(world->log) - len, "%s %s,",
	    verb, id);
	if (strcmp(world->fails, verb) == 0)
		return fb_fail(err, FB_EFAILED, "told to fail");
	return FB_OK;
}

static int
fake_power(struct fb_driver *d, const struct fb_machine *m,
    const struct fb_verb *verb, enum fb_power *ret_power,
    struct fb_error *err)
{
	(void)d;
	(void)verb;
	(void)err;
	*ret_power = world->power[m->id[1] - '0'];
	return FB_OK;
}

static int
fake_stop(struct fb_driver *d, const struct fb_machine *m,
    const struct fb_verb *verb, struct fb_error *err)
{
	int rc = act("stop", m->id, err);

	(void)d;
	(void)verb;
	assert_true(journal_of(m->id).owed);
	if (rc >= 0)
		world->power[m->id[1] - '0'] = FB_POWER_DOWN;
	return rc;
}

static int
fake_start(struct fb_driver *d, const struct fb_machine *m,
    const struct fb_verb *verb, struct fb_error *err)
{
	int rc = act("start", m->id, err);

	(void)d;
	(void)verb;
	if (rc >= 0)
		world->power[m->id[1] - '0'] = FB_POWER_UP;
	return rc;
}

static int
fake_begin(struct fb_driver *d, const struct fb_restore_request *request,
    const struct fb_verb *verb, struct fb_error *err)
{
	const char *id = request->machine->id;

	(void)d;
	(void)verb;
	(void)err;
	assert_int_equal(world->power[id[1] - '0'], FB_POWER_DOWN);
	assert_true(journal_of(id).suspended);
	return FB_OK;
}

static int
target_nothing(struct fb_target *t, struct fb_error *err)
{
	(void)t;
	(void)err;
	return FB_OK;
}

static void
target_close(struct fb_target *t)
{
	free(t);
}

static int
fake_open(struct fb_driver *d, const struct fb_restore_request *request,
    const struct fb_volume *v, const struct fb_verb *verb,
    struct fb_target **ret_target, struct fb_error *err)
{
	static const struct fb_target_ops ops = { .sync = target_nothing,
		.close = target_close };
	struct fb_target *target;
	int rc = act("open", request->machine->id, err);

	(void)d;
	(void)v;
	(void)verb;
	if (rc < 0)
		return rc;
	target = fb_alloc(1, sizeof(*target));
	target->ops = &ops;
	*ret_target = target;
	return FB_OK;
}

static int
fake_finish(struct fb_driver *d, const struct fb_restore_request *request,
    const struct fb_verb *verb, struct fb_error *err)
{
	(void)d;
	if (world->lacks)
		(void)fb_fail(verb->ret_missing, FB_EFAILED, "a record");
	return act("finish", request->machine->id, err);
}

static const struct fb_driver_ops ops = {
	.name = "fake",
	.power_get = fake_power,
	.stop = fake_stop,
	.start = fake_start,
	.restore_begin = fake_begin,
	.restore_open = fake_open,
	.restore_finish = fake_finish,
};

static void
add_machine(struct world *w, const char *id, const char *parent,
    enum fb_power power)
{
	struct fb_manifest_volume disk = { .name = (char *)"root",
		.kind = FB_VOLUME_DISK, .captured = true };
	struct fb_manifest_machine record = { .source = (char *)"lab",
		.driver = (char *)"fake", .id = (char *)id,
		.name = (char *)id, .role = (char *)"",
		.parent = (char *)parent, .power = FB_POWER_UP,
		.volumes = &disk, .volume_count = 1 };
	struct fb_rst_machine *m = fb_rst_add(&w->restore, &record);

	m->driver = &w->driver;
	m->volumes[0].chosen = true;
	w->power[id[1] - '0'] = power;
}

static void
release_results(struct world *w)
{
	for (size_t i = 0; i < w->report.result_count; i++)
		fb_error_drop(w->report.results[i].err);
	free(w->report.results);
	w->report.results = NULL;
	w->report.result_count = 0;
}

static void
run(struct world *w)
{
	struct fb_restore *r = &w->restore;
	struct fb_error err = { 0 };

	fb_rst_order(r);
	for (size_t i = 0; i < r->count; i++) {
		struct fb_rst_machine *m = &r->machines[i];

		w->now[i] = m->model;
		m->now = &w->now[i];
	}
	release_results(w);
	w->report.result_count = r->count;
	w->report.results =
	    fb_alloc(r->count, sizeof(*w->report.results));
	w->log[0] = '\0';
	assert_ok(fb_rst_journal_open(r, &err));
	fb_rst_run_machines(r);
	fb_journal_close(r->journal);
	r->journal = NULL;
	r->resumed = true;
}

static int
set_up(void **state)
{
	struct world *w = fb_alloc(1, sizeof(*w));
	struct fb_error err = { 0 };
	const char *tmp = getenv("TMPDIR");

	w->dir = fb_format("%s/fbrst.XXXXXX", tmp ? tmp : "/tmp");
	if (mkdtemp(w->dir) == NULL)
		return -1;
	w->fails = "";
	w->driver = (struct fb_driver){ .ops = &ops, .source = "lab" };
	w->config.state_dir = w->dir;
	w->config.fleet_name = (char *)"demo";
	w->engine.config = &w->config;
	w->restore.engine = &w->engine;
	w->restore.report = &w->report;
	w->restore.kind = FB_RESTORE_TO_MACHINE;
	w->restore.children_fd = -1;
	fb_random_run_id(w->restore.id);
	w->restore.dir =
	    fb_format("%s/restores/%s", w->dir, w->restore.id);
	w->restore.spec = json_pack("{s:[s]}", "machines", "lab/m0");
	assert_ok(fb_io_mkdirs(w->restore.dir, 0700, &err));
	world = w;
	*state = w;
	return 0;
}

static int
tear_down(void **state)
{
	struct world *w = *state;
	struct fb_error err = { 0 };

	for (size_t i = 0; i < w->restore.count; i++)
		fb_rst_machine_release(&w->restore.machines[i]);
	free(w->restore.machines);
	free(w->restore.dir);
	json_decref(w->restore.spec);
	fb_rst_others_free(w->restore.others);
	release_results(w);
	assert_ok(fb_io_remove_tree(w->dir, &err));
	free(w->dir);
	free(w);
	return 0;
}

static void
it_is_stopped_written_and_started_again(void **state)
{
	struct world *w = *state;

	add_machine(w, "m0", NULL, FB_POWER_UP);
	run(w);
	assert_string_equal(w->log, "stop m0,open m0,finish m0,start m0,");
	assert_int_equal(w->report.results[0].result, FB_RESULT_OK);
	assert_true(w->report.results[0].started);
	assert_false(journal_of("m0").owed);
	assert_false(journal_of("m0").suspended);
}

static void
count_warning(void *arg, const struct fb_event *event)
{
	struct world *w = arg;

	if (event->kind == FB_EVENT_WARNING)
		w->warned++;
}

static void
what_it_can_do_without_keeps_it_not_down(void **state)
{
	struct world *w = *state;

	w->lacks = true;
	w->engine.observer =
	    (struct fb_observer){ .notify = count_warning, .arg = w };
	add_machine(w, "m0", NULL, FB_POWER_UP);
	run(w);
	assert_string_equal(w->log, "stop m0,open m0,finish m0,start m0,");
	assert_int_equal(w->report.results[0].result, FB_RESULT_OK);
	assert_int_equal(w->warned, 1);
}

static void
what_was_down_stays_down(void **state)
{
	struct world *w = *state;

	add_machine(w, "m0", NULL, FB_POWER_DOWN);
	run(w);
	assert_string_equal(w->log, "open m0,finish m0,");
	assert_false(journal_of("m0").owed);
}

static void
no_start_leaves_it_down_and_owes_nothing(void **state)
{
	struct world *w = *state;

	w->restore.no_start = true;
	add_machine(w, "m0", NULL, FB_POWER_UP);
	run(w);
	assert_string_equal(w->log, "stop m0,open m0,finish m0,");
	assert_false(journal_of("m0").owed);
	assert_false(journal_of("m0").suspended);
}

static void
children_stop_first_and_start_last(void **state)
{
	struct world *w = *state;

	add_machine(w, "m0", "m1", FB_POWER_UP);
	add_machine(w, "m1", NULL, FB_POWER_UP);
	run(w);
	assert_string_equal(w->log,
	    "stop m0,stop m1,open m1,finish m1,open m0,finish m0,"
	    "start m1,start m0,");
}

static void
one_that_does_not_stop_is_not_written(void **state)
{
	struct world *w = *state;

	w->fails = "stop";
	add_machine(w, "m0", NULL, FB_POWER_UP);
	run(w);
	assert_string_equal(w->log, "stop m0,start m0,");
	assert_int_equal(w->report.results[0].result, FB_RESULT_FAILED);
	assert_false(journal_of("m0").owed);
}

static void
an_unknown_state_is_not_touched(void **state)
{
	struct world *w = *state;

	add_machine(w, "m0", NULL, FB_POWER_UNKNOWN);
	run(w);
	assert_string_equal(w->log, "");
	assert_int_equal(w->report.results[0].result, FB_RESULT_FAILED);
	assert_string_equal(w->report.results[0].err->id, "E-RST-POWER");
}

static void
a_half_restored_machine_stays_down_until_it_is_resumed(void **state)
{
	struct world *w = *state;

	w->fails = "finish";
	add_machine(w, "m0", NULL, FB_POWER_UP);
	run(w);
	assert_string_equal(w->log, "stop m0,open m0,finish m0,");
	assert_true(journal_of("m0").suspended);
	assert_int_equal(w->power[0], FB_POWER_DOWN);

	/* It was up before, and the volume is whole: neither is forgotten. */
	w->fails = "";
	run(w);
	assert_string_equal(w->log, "finish m0,start m0,");
	assert_int_equal(w->report.results[0].result, FB_RESULT_OK);
	assert_false(journal_of("m0").suspended);
}

static void
a_machine_that_does_not_come_up_is_owed_its_start(void **state)
{
	struct world *w = *state;

	w->fails = "start";
	add_machine(w, "m0", NULL, FB_POWER_UP);
	run(w);
	assert_int_equal(w->report.results[0].result, FB_RESULT_FAILED);
	assert_true(journal_of("m0").owed);
	assert_false(journal_of("m0").suspended);

	w->fails = "";
	run(w);
	assert_string_equal(w->log, "start m0,");
	assert_int_equal(w->report.results[0].result, FB_RESULT_OK);
}

static void
a_later_restore_takes_over_what_an_earlier_one_left(void **state)
{
	struct world *w = *state;
	FB_AUTO_FREE char *first = NULL;
	struct fb_error err = { 0 };
	size_t count = 0;
	char **ids = NULL;

	w->fails = "open";
	add_machine(w, "m0", NULL, FB_POWER_UP);
	run(w);
	assert_true(journal_of("m0").suspended);
	assert_ok(fb_restore_unfinished(&w->engine, &ids, &count, &err));
	assert_int_equal(count, 1);
	free(ids[0]);
	free(ids);

	first = w->restore.dir;
	fb_rst_others_free(w->restore.others);
	w->restore.others = NULL;
	fb_rst_machine_release(&w->restore.machines[0]);
	w->restore.count = 0;
	w->restore.resumed = false;
	fb_random_run_id(w->restore.id);
	w->restore.dir =
	    fb_format("%s/restores/%s", w->dir, w->restore.id);
	assert_ok(fb_io_mkdirs(w->restore.dir, 0700, &err));
	w->fails = "";
	add_machine(w, "m0", NULL, FB_POWER_DOWN);
	run(w);
	/* It was up before the first of them. */
	assert_string_equal(w->log, "open m0,finish m0,start m0,");
	assert_int_equal(access(first, F_OK), -1);
}

static void
a_canceled_restore_touches_nothing_more(void **state)
{
	struct world *w = *state;
	atomic_bool cancel = true;

	w->engine.cancel = &cancel;
	add_machine(w, "m0", NULL, FB_POWER_UP);
	run(w);
	assert_string_equal(w->log, "");
	assert_int_equal(w->report.results[0].err->code, FB_ECANCELED);
	w->engine.cancel = NULL;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(a_half_restored_machine_stays_down_until_it_is_resumed),
		TEST(a_later_restore_takes_over_what_an_earlier_one_left),
		TEST(a_machine_that_does_not_come_up_is_owed_its_start),
		TEST(a_canceled_restore_touches_nothing_more),
		TEST(one_that_does_not_stop_is_not_written),
		TEST(an_unknown_state_is_not_touched),
		TEST(it_is_stopped_written_and_started_again),
		TEST(what_it_can_do_without_keeps_it_not_down),
		TEST(what_was_down_stays_down),
		TEST(no_start_leaves_it_down_and_owes_nothing),
		TEST(children_stop_first_and_start_last),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

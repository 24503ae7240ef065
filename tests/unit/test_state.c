#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "faults.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/format/json.h"
#include "fleetbak/journal/journal.h"
#include "fleetbak/journal/state.h"

static struct fb_error err;
static char dir[64];

static int
make_dir(void **state)
{
	(void)state;
	(void)snprintf(dir, sizeof(dir), "/tmp/fb-state-XXXXXX");
	return mkdtemp(dir) == NULL ? -1 : 0;
}

static int
remove_dir(void **state)
{
	(void)state;
	return fb_io_remove_tree(dir, &err);
}

static struct fb_state *
open_state(void)
{
	struct fb_state *state = NULL;

	assert_int_equal(FB_OK, fb_state_open(dir, 30000, NULL, &state, &err));
	return state;
}

static int
change_now(struct fb_state *state, const char *text, bool durable)
{
	FB_AUTO_JSON json_t *changes = json_loads(text, 0, NULL);

	assert_non_null(changes);
	return fb_state_change(state, changes, durable, &err);
}

static int
change(struct fb_state *state, const char *text)
{
	return change_now(state, text, true);
}

static void
assert_entry(const struct fb_state *state, enum fb_state_kind kind,
    const char *id, const char *want)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	const json_t *entry;

	if (want == NULL) {
		assert_int_equal(FB_ENOTFOUND,
		    fb_state_get(state, kind, id, &entry, &err));
		assert_string_equal("E-STATE-NONE", err.id);
		return;
	}
	assert_int_equal(FB_OK, fb_state_get(state, kind, id, &entry, &err));
	fb_json_add(&text, entry);
	assert_string_equal(want, fb_buf_str(&text));
}

static size_t
count(const struct fb_state *state, enum fb_state_kind kind,
    const char *machine)
{
	FB_AUTO_JSON json_t *list = fb_state_list(state, kind, machine);

	return json_array_size(list);
}

static void
test_ids_are_unique(void **state)
{
	FB_AUTO_STATE struct fb_state *store = open_state();

	(void)state;
	assert_int_equal(FB_OK, change(store, "[{\"do\":\"create\",\"kind\":"
	    "\"machine\",\"id\":\"a\",\"entry\":{\"Phase\":\"running\"}}]"));
	assert_int_equal(FB_EEXISTS, change(store, "[{\"do\":\"create\","
	    "\"kind\":\"machine\",\"id\":\"a\",\"entry\":{}}]"));
	assert_string_equal("E-STATE-EXISTS", err.id);
	/* Another kind has its own ids. */
	assert_int_equal(FB_OK, change(store, "[{\"do\":\"create\",\"kind\":"
	    "\"volume\",\"id\":\"a\",\"entry\":{\"machine\":\"a\"}}]"));
	assert_entry(store, FB_STATE_MACHINE, "a", "{\"Phase\":\"running\"}");
	assert_int_equal(1, count(store, FB_STATE_VOLUME, "a"));
	assert_int_equal(0, count(store, FB_STATE_VOLUME, "b"));
	assert_int_equal(1, count(store, FB_STATE_MACHINE, "a"));
	assert_int_equal(0, count(store, FB_STATE_SNAPSHOT, NULL));
}

static void
test_what_is_not_there(void **state)
{
	FB_AUTO_STATE struct fb_state *store = open_state();

	(void)state;
	assert_int_equal(FB_ENOTFOUND, change(store, "[{\"do\":\"update\","
	    "\"kind\":\"mount\",\"id\":\"a\",\"entry\":{}}]"));
	assert_string_equal("E-STATE-NONE", err.id);
	assert_int_equal(FB_ENOTFOUND, change(store,
	    "[{\"do\":\"delete\",\"kind\":\"mount\",\"id\":\"a\"}]"));
	assert_int_equal(
	    FB_OK, change(store, "[{\"do\":\"done\",\"id\":\"a\"}]"));
	assert_entry(store, FB_STATE_MOUNT, "a", NULL);
}

static void
test_artifacts_are_put(void **state)
{
	FB_AUTO_STATE struct fb_state *store = open_state();

	(void)state;
	for (int i = 0; i < 2; i++)
		assert_int_equal(FB_OK, change(store, "[{\"do\":\"put\","
		    "\"kind\":\"artifact\",\"id\":\"http://k http://r\","
		    "\"entry\":{\"x\":1,\"newer\":{\"kept\":[null]}}}]"));
	assert_entry(store, FB_STATE_ARTIFACT, "http://k http://r",
	    "{\"newer\":{\"kept\":[null]},\"x\":1}");
	assert_int_equal(1, count(store, FB_STATE_ARTIFACT, NULL));
	assert_int_equal(FB_ECONFIG, change(store, "[{\"do\":\"put\","
	    "\"kind\":\"machine\",\"id\":\"a\",\"entry\":{}}]"));
}

static void
test_one_operation_is_pending(void **state)
{
	FB_AUTO_STATE struct fb_state *store = open_state();

	(void)state;
	assert_int_equal(FB_OK, change(store, "[{\"do\":\"begin\",\"id\":\"a\","
	    "\"type\":\"snapshot\",\"entry\":{\"n\":1}}]"));
	assert_int_equal(FB_OK, change(store, "[{\"do\":\"begin\",\"id\":\"a\","
	    "\"type\":\"snapshot\",\"entry\":{\"n\":2}}]"));
	assert_int_equal(FB_ECONFLICT, change(store, "[{\"do\":\"begin\","
	    "\"id\":\"a\",\"type\":\"stop\",\"entry\":{}}]"));
	assert_string_equal("E-STATE-PENDING", err.id);
	assert_entry(store, FB_STATE_OPERATION, "a",
	    "{\"entry\":{\"n\":2},\"type\":\"snapshot\"}");
	/* What came of it, and that it is over: at once or not at all. */
	assert_int_equal(FB_ENOTFOUND, change(store, "[{\"do\":\"done\","
	    "\"id\":\"a\"},{\"do\":\"update\",\"kind\":\"machine\","
	    "\"id\":\"a\",\"entry\":{}}]"));
	assert_int_equal(1, count(store, FB_STATE_OPERATION, "a"));
	assert_int_equal(FB_OK, change(store, "[{\"do\":\"create\",\"kind\":"
	    "\"snapshot\",\"id\":\"s\",\"entry\":{\"machine\":\"a\"}},"
	    "{\"do\":\"done\",\"id\":\"a\"}]"));
	assert_int_equal(0, count(store, FB_STATE_OPERATION, NULL));
	assert_int_equal(1, count(store, FB_STATE_SNAPSHOT, "a"));
}

#define PORT(verb, id, port) \
	"[{\"do\":\"" verb "\",\"kind\":\"port\",\"id\":\"" id "\"," \
	"\"entry\":{\"host_port\":" port "}}]"

static void
test_ports_of_the_host(void **state)
{
	FB_AUTO_STATE struct fb_state *store = open_state();

	(void)state;
	assert_int_equal(FB_OK, change(store, PORT("create", "p", "80")));
	assert_int_equal(FB_EEXISTS, change(store, PORT("create", "q", "80")));
	assert_non_null(strstr(err.msg, "'p'"));
	assert_int_equal(FB_OK, change(store, PORT("update", "p", "81")));
	assert_int_equal(FB_OK, change(store, PORT("create", "q", "80")));
	assert_int_equal(FB_EEXISTS, change(store, PORT("update", "p", "80")));
	assert_int_equal(FB_OK, change(store,
	    "[{\"do\":\"delete\",\"kind\":\"port\",\"id\":\"q\"}]"));
	/* A refused change leaves no port taken. */
	assert_int_equal(FB_EEXISTS, change(store, "[{\"do\":\"create\","
	    "\"kind\":\"port\",\"id\":\"r\",\"entry\":{\"host_port\":90}},"
	    "{\"do\":\"create\",\"kind\":\"port\",\"id\":\"r\",\"entry\":"
	    "{\"host_port\":91}}]"));
	assert_int_equal(FB_OK, change(store, PORT("create", "s", "90")));
	assert_int_equal(FB_ECONFIG, change(store, PORT("create", "t", "0")));
	assert_int_equal(
	    FB_ECONFIG, change(store, PORT("create", "t", "65536")));
	assert_int_equal(
	    FB_ECONFIG, change(store, PORT("create", "t", "\"80\"")));
	assert_int_equal(2, count(store, FB_STATE_PORT, NULL));
}

static void
test_bad_changes(void **state)
{
	static const char *const bad[] = {
		"{}", "[1]", "[{}]", "[{\"do\":\"drop\",\"id\":\"a\"}]",
		"[{\"do\":\"done\"}]", "[{\"do\":\"done\",\"id\":1}]",
		"[{\"do\":\"done\",\"id\":\"../a\"}]",
		"[{\"do\":\"done\",\"id\":\"a\",\"kind\":\"machine\"}]",
		"[{\"do\":\"create\",\"id\":\"a\",\"entry\":{}}]",
		"[{\"do\":\"create\",\"kind\":\"x\",\"id\":\"a\","
		"\"entry\":{}}]",
		"[{\"do\":\"create\",\"kind\":\"machine\",\"id\":\"a\"}]",
		"[{\"do\":\"create\",\"kind\":\"machine\",\"id\":\"a\","
		"\"entry\":[]}]",
		"[{\"do\":\"create\",\"kind\":\"operation\",\"id\":\"a\","
		"\"entry\":{}}]",
		"[{\"do\":\"delete\",\"kind\":\"operation\",\"id\":\"a\"}]",
		"[{\"do\":\"begin\",\"id\":\"a\",\"entry\":{}}]",
		"[{\"do\":\"begin\",\"id\":\"a\",\"type\":\"a b\","
		"\"entry\":{}}]",
		"[{\"do\":\"put\",\"kind\":\"artifact\",\"id\":\"a\\nb\","
		"\"entry\":{}}]",
		"[{\"do\":\"put\",\"kind\":\"artifact\",\"id\":\"\","
		"\"entry\":{}}]",
		"[{\"do\":\"done\",\"id\":\"a\",\"\":\"\"}]",
		"[{\"do\":\"create\",\"kind\":\"machine\",\"id\":\"a\","
		"\"entry\":{},\"\":\"\"}]",
		"[{\"do\":\"create\",\"kind\":\"machine\",\"id\":\"a\","
		"\"entry\":{},\"kind entry\":\"\"}]",
	};
	FB_AUTO_STATE struct fb_state *store = open_state();

	(void)state;
	for (size_t i = 0; i < FB_COUNT(bad); i++) {
		assert_int_equal(FB_ECONFIG, change(store, bad[i]));
		assert_true(strcmp(err.id, "E-STATE-CHANGE") == 0 ||
		    strcmp(err.id, "E-NAME") == 0);
	}
	for (size_t i = 0; i < FB_STATE_KIND_COUNT; i++)
		assert_int_equal(0, count(store, (enum fb_state_kind)i, NULL));
}

/* An entry that would make too long a line is refused, not lost. */
static void
test_entries_are_bounded(void **state)
{
	FB_AUTO_STATE struct fb_state *store = open_state();
	FB_AUTO_JSON json_t *changes = json_array();
	char *text = fb_alloc(1, FB_STATE_ENTRY_MAX);

	(void)state;
	(void)memset(text, 'x', FB_STATE_ENTRY_MAX - 1);
	for (int i = 0; i < 3; i++) {
		char id[2] = { (char)('a' + i), '\0' };

		(void)json_array_append_new(changes,
		    json_pack("{s:s,s:s,s:s,s:{s:s}}", "do", "create", "kind",
		        "machine", "id", id, "entry", "t", text));
	}
	assert_int_equal(
	    FB_ECONFIG, fb_state_change(store, changes, true, &err));
	text[FB_STATE_ENTRY_MAX - 16] = '\0';
	for (int i = 0; i < 3; i++)
		(void)json_object_set_new(json_object_get(
		    json_array_get(changes, (size_t)i), "entry"), "t",
		    json_string(text));
	assert_int_equal(
	    FB_ECONFIG, fb_state_change(store, changes, true, &err));
	assert_int_equal(0, count(store, FB_STATE_MACHINE, NULL));
	(void)json_array_remove(changes, 2);
	(void)json_object_set_new(json_object_get(
	    json_array_get(changes, 1), "entry"), "t", json_string("short"));
	assert_int_equal(
	    FB_OK, fb_state_change(store, changes, true, &err));
	assert_int_equal(2, count(store, FB_STATE_MACHINE, NULL));
	free(text);
}

/* Nested as deep as JSON may be that is read, or with as many values: what is
 * kept can be read again, what cannot is refused. */
static void
test_shapes_are_kept_or_refused(void **state)
{
	size_t kept = 0, refused = 0;

	(void)state;
	for (size_t depth = 50; depth <= 64; depth++) {
		FB_AUTO_STATE struct fb_state *store = open_state();
		FB_AUTO_FREE char *id = fb_format("m%zu", depth);
		json_t *entry = json_object();
		FB_AUTO_JSON json_t *changes = NULL;
		int rc;

		for (size_t i = 1; i < depth; i++)
			entry = json_pack("{s:o}", "a", entry);
		changes = json_pack("[{s:s,s:s,s:s,s:o}]", "do", "create",
		    "kind", "machine", "id", id, "entry", entry);
		rc = fb_state_change(store, changes, true, &err);
		kept += rc == FB_OK;
		refused += rc == FB_ECONFIG;
		assert_int_equal(kept, count(store, FB_STATE_MACHINE, NULL));
		fb_state_close(store);
		store = open_state();
		assert_int_equal(kept, count(store, FB_STATE_MACHINE, NULL));
	}
	assert_true(kept > 8 && refused > 0 && kept + refused == 15);
	/* Many small values, alone and beside a long text. */
	for (int beside = 0; beside < 2; beside++) {
		FB_AUTO_STATE struct fb_state *store = open_state();
		char *text = fb_alloc(1, 200001);
		json_t *list = json_array();
		FB_AUTO_JSON json_t *changes = json_array();

		(void)memset(text, 'x', 200000);
		for (int i = 0; i < 40000; i++)
			(void)json_array_append_new(list, json_integer(1));
		(void)json_array_append_new(changes,
		    json_pack("{s:s,s:s,s:s,s:{s:o}}", "do", "create", "kind",
		        "machine", "id", "dense", "entry", "l", list));
		if (beside)
			(void)json_array_append_new(changes,
			    json_pack("{s:s,s:s,s:s,s:{s:s}}", "do", "create",
			        "kind", "machine", "id", "long", "entry", "t",
			        text));
		free(text);
		assert_int_equal(FB_ECONFIG,
		    fb_state_change(store, changes, true, &err));
		assert_string_equal("E-STATE-CHANGE", err.id);
		assert_int_equal(kept, count(store, FB_STATE_MACHINE, NULL));
	}
}

static void
create_machines(struct fb_state *store, char prefix, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++) {
		FB_AUTO_FREE char *id = fb_format("%c%zu", prefix, i);
		FB_AUTO_JSON json_t *changes =
		    json_pack("[{s:s,s:s,s:s,s:{s:I}}]", "do", "create",
		        "kind", "machine", "id", id, "entry", "n",
		        (json_int_t)i);

		assert_int_equal(
		    FB_OK, fb_state_change(store, changes, false, &err));
	}
}

/* Two processes, 400 creates, nothing lost. */
static void
test_two_processes(void **state)
{
	pid_t children[2];

	(void)state;
	for (int who = 0; who < 2; who++) {
		children[who] = fork();
		assert_int_not_equal(-1, children[who]);
		if (children[who] > 0)
			continue;
		for (size_t i = 0; i < 200; i++) {
			FB_AUTO_STATE struct fb_state *store = open_state();

			create_machines(store, (char)('a' + who), i, i + 1);
			if (fb_state_sync(store, &err) < 0)
				_exit(1);
		}
		_exit(0);
	}
	for (int who = 0; who < 2; who++) {
		int status;

		assert_int_equal(
		    children[who], waitpid(children[who], &status, 0));
		assert_int_equal(0, status);
	}
	{
		FB_AUTO_STATE struct fb_state *store = open_state();

		assert_int_equal(400, count(store, FB_STATE_MACHINE, NULL));
	}
}

static uint64_t
journal_size(void)
{
	FB_AUTO_FREE char *path = fb_path_join(dir, "journal");
	struct stat st;

	assert_int_equal(0, stat(path, &st));
	assert_int_equal(0600, st.st_mode & 0777);
	return (uint64_t)st.st_size;
}

/* Each create takes the same bytes, however many are there; changes of few
 * entries do not make the journal grow without end. */
static void
test_many_records(void **state)
{
	FB_AUTO_STATE struct fb_state *store = open_state();
	uint64_t half, whole;

	(void)state;
	create_machines(store, 'm', 10000, 15000);
	half = journal_size();
	create_machines(store, 'm', 15000, 20000);
	whole = journal_size();
	assert_true(whole < 2 * half + 1024);
	fb_state_close(store);
	store = open_state();
	assert_int_equal(10000, count(store, FB_STATE_MACHINE, NULL));
	assert_int_equal(whole, journal_size());
	for (int round = 0; round < 12000; round++)
		assert_int_equal(FB_OK, change_now(store, round % 2 == 0
		    ? PORT("create", "p", "80")
		    : "[{\"do\":\"delete\",\"kind\":\"port\","
		      "\"id\":\"p\"}]", false));
	assert_true(journal_size() > whole + 500000);
	fb_state_close(store);
	store = open_state();
	assert_true(journal_size() <= whole + 1024 * 1024);
	assert_int_equal(10000, count(store, FB_STATE_MACHINE, NULL));
	assert_int_equal(0, count(store, FB_STATE_PORT, NULL));
	assert_entry(store, FB_STATE_MACHINE, "m12345", "{\"n\":12345}");
	assert_int_equal(FB_OK, change(store, PORT("create", "p", "80")));
}

/* Each step fails in turn: a change is there or it is not, and the next who
 * opens goes on. */
static void
test_each_step_fails(void **state)
{
	unsigned long at;
	bool over = false;

	(void)state;
	for (at = faults_begin(); !over && faults_arm(at, "EIO"); at++) {
		struct fb_state *store = NULL;
		int rc = fb_state_open(dir, 0, NULL, &store, &err);
		size_t machines;

		if (rc == FB_OK)
			rc = change(store, "[{\"do\":\"create\",\"kind\":"
			    "\"machine\",\"id\":\"a\",\"entry\":{}},"
			    "{\"do\":\"create\",\"kind\":\"volume\","
			    "\"id\":\"v\",\"entry\":{}}]");
		faults_disarm();
		/* What follows takes steps too. */
		over = faults_steps() < faults_ahead;
		fb_state_close(store);
		store = open_state();
		machines = count(store, FB_STATE_MACHINE, NULL);
		assert_int_equal(
		    machines, count(store, FB_STATE_VOLUME, NULL));
		assert_true(rc < 0 || machines == 1);
		if (machines == 1)
			assert_int_equal(FB_OK, change(store,
			    "[{\"do\":\"delete\",\"kind\":\"machine\","
			    "\"id\":\"a\"},{\"do\":\"delete\",\"kind\":"
			    "\"volume\",\"id\":\"v\"}]"));
		fb_state_close(store);
	}
	assert_true(at > 5);
}

/* Another format, or another thing, is refused and left as it is. */
static void
test_another_journal(void **state)
{
	FB_AUTO_FREE char *path = fb_path_join(dir, "journal");
	struct fb_journal *journal = NULL;
	struct fb_state *store = NULL;
	json_t *body = json_pack("{s:i}", "format", 2);

	(void)state;
	assert_int_equal(FB_ENOTFOUND, fb_state_look(dir, &store, &err));
	assert_string_equal("E-STATE-NONE", err.id);
	assert_int_equal(FB_OK, fb_journal_create(path, &journal, &err));
	assert_int_equal(
	    FB_OK, fb_journal_append(journal, "run", body, true, &err));
	fb_journal_close(journal);
	assert_int_equal(
	    FB_ECORRUPT, fb_state_open(dir, 0, NULL, &store, &err));
	assert_string_equal("E-STATE", err.id);
	assert_int_equal(0, unlink(path));
	assert_int_equal(FB_OK, fb_journal_create(path, &journal, &err));
	assert_int_equal(
	    FB_OK, fb_journal_append(journal, "state", body, true, &err));
	fb_journal_close(journal);
	assert_int_equal(FB_ETOONEW, fb_state_look(dir, &store, &err));
	json_decref(body);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_dir, remove_dir)
	const struct CMUnitTest tests[] = {
		TEST(test_ids_are_unique),
		TEST(test_what_is_not_there),
		TEST(test_artifacts_are_put),
		TEST(test_one_operation_is_pending),
		TEST(test_ports_of_the_host),
		TEST(test_bad_changes),
		TEST(test_entries_are_bounded),
		TEST(test_shapes_are_kept_or_refused),
		TEST(test_two_processes),
		TEST(test_many_records),
		TEST(test_each_step_fails),
		TEST(test_another_journal),
	};
#undef TEST
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Plugins that keep their contract, and above all such as do not. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/file.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/log.h"
#include "fleetbak/driver/driver.h"
#include "tree_tools.h"

static struct fb_error err;

/* What is over by then has not waited for the ten minutes of a "sleep 600". */
#define SOON_NS INT64_C(60000000000)

#define VERBS                                                                 \
	"[\"probe\",\"discover\",\"power_get\",\"stop\",\"start\","           \
	"\"create_snapshot\",\"find_by_token\",\"list_snapshots\","           \
	"\"read_blocks\",\"read_stream\",\"restore_check\",\"write_blocks\"," \
	"\"write_stream\",\"restore_list\"]"
#define HELLO(protocol)                                                \
	"read h; echo '{\"id\":1,\"answer\":\"DONE\",\"result\":{"     \
	"\"protocol\":" protocol ",\"name\":\"x\",\"version\":\"1\","  \
	"\"verbs\":" VERBS "}}'; read v || exit 0; "
#define DONE "echo '{\"id\":2,\"answer\":\"DONE\"}'"
#define UP "echo '{\"id\":2,\"answer\":\"DONE\",\"result\":{\"power\":\"up\"}}'"

static char machine_id[] = "m1", disk_name[] = "root", tree_name[] = "data";
static const struct fb_machine machine = { .id = machine_id,
	.stop_timeout_ms = 600000, .start_timeout_ms = 600000 };
static const struct fb_volume disk = { .name = disk_name,
	.kind = FB_VOLUME_DISK, .size = 8192 };
static const struct fb_volume tree = { .name = tree_name,
	.kind = FB_VOLUME_TREE };

/* A plugin that is this script after hello; `options` is taken over. */
static struct fb_driver *
open_script(const char *script, json_t *options)
{
	char source_name[] = "lab", driver_name[] = "plugin";
	struct fb_config_source source = { .name = source_name,
		.driver = driver_name, .options = options };
	struct fb_driver *driver;

	(void)json_object_set_new(options, "command",
	    json_pack("[s,s,s]", "/bin/sh", "-c", script));
	assert_ok(fb_driver_open(&source, &driver, &err));
	json_decref(options);
	return driver;
}

static struct fb_verb
verb(void)
{
	return (struct fb_verb){
		.token = "t1", .timeout_ms = 600000, .lock_fd = -1
	};
}

static int
ask_power(const char *script)
{
	struct fb_driver *driver = open_script(script, json_object());
	struct fb_verb v = verb();
	enum fb_power power;
	int rc = fb_driver_power_get(driver, &machine, &v, &power, &err);

	fb_driver_close(driver);
	return rc;
}

static int
stop(const char *script)
{
	struct fb_driver *driver = open_script(script, json_object());
	struct fb_verb v = verb();
	int rc = fb_driver_stop(driver, &machine, &v, &err);

	fb_driver_close(driver);
	return rc;
}

/* -------------------------------------------------------------- answers */

static void
a_question_that_is_answered_wrong_is_refused_and_an_effect_unknown(
    void **state)
{
	static const char *const bodies[] = {
		"echo garbage",
		"echo '[]'",
		"printf '{\"id\":2,\"answer\":\"DONE\"}'",
		"printf '{\"id\":2,\"ans'",
		"echo '{\"id\":3,\"answer\":\"DONE\"}'",
		"echo '{\"id\":-2,\"answer\":\"DONE\"}'",
		"echo '{\"id\":2.0,\"answer\":\"DONE\"}'",
		"echo '{\"id\":99999999999999999999,\"answer\":\"DONE\"}'",
		"echo '{\"id\":1e999,\"answer\":\"DONE\"}'",
		"echo '{\"answer\":\"DONE\"}'",
		"echo '{\"id\":2,\"answer\":\"done\"}'",
		"echo '{\"id\":2,\"answer\":2}'",
		"echo '{\"id\":2,\"answer\":\"DONE\",\"x\":1}'",
		"echo '{\"id\":2,\"id\":2,\"answer\":\"DONE\"}'",
		"echo '{\"id\":2,\"answer\":\"DONE\",\"text\":\"\\u0000\"}'",
		"echo '{\"id\":2,\"answer\":\"DONE\",\"result\":[]}'",
		"echo '{\"id\":2,\"item\":{}}'; " DONE,
		"printf '\\377\\n'",
		DONE "; " DONE,
		DONE "; printf x",
		"echo; " DONE,
		":",
		"yes 2>/dev/null",
		"yes '{\"id\":2,\"warn\":\"w\"}' 2>/dev/null",
		"head -c 3000000 /dev/zero | tr '\\0' '['",
	};

	(void)state;
	for (size_t i = 0; i < FB_COUNT(bodies); i++) {
		FB_AUTO_FREE char *script =
		    fb_format(HELLO("1") "%s", bodies[i]);
		struct fb_driver *driver = open_script(script, json_object());
		struct fb_verb v = verb();
		enum fb_power power;

		if (fb_driver_power_get(driver, &machine, &v, &power, &err) !=
		    FB_EPROTO)
			fail_msg("%s: %s", bodies[i], err.msg);
		assert_string_equal(err.id, "E-PLUGIN-ANSWER");
		if (fb_driver_stop(driver, &machine, &v, &err) != FB_EUNKNOWN)
			fail_msg("%s: %s", bodies[i], err.msg);
		fb_driver_close(driver);
	}
}

static void
a_result_that_makes_no_sense_is_refused(void **state)
{
	(void)state;
	assert_fails(FB_EPROTO, ask_power(HELLO("1") DONE));
	assert_fails(FB_EPROTO,
	    ask_power(HELLO("1") "echo '{\"id\":2,\"answer\":\"DONE\","
	                         "\"result\":{\"power\":\"sideways\"}}'"));
	assert_fails(FB_EPROTO,
	    ask_power(HELLO("1") "echo '{\"id\":2,\"answer\":\"DONE\","
	                         "\"result\":{\"power\":\"up\",\"x\":1}}'"));
	assert_ok(ask_power(HELLO("1") UP));
}

static void
each_answer_has_its_code(void **state)
{
	static const struct {
		const char *answer;
		int code;
	} table[] = {
		{ "CONFLICT", FB_ECONFLICT },
		{ "NOT_FOUND", FB_ENOTFOUND },
		{ "UNSUPPORTED", FB_EUNSUP },
		{ "UNREACHABLE", FB_EUNREACH },
		{ "AUTH", FB_EDENIED },
		{ "QUOTA", FB_ENOSPACE },
		{ "PROTOCOL", FB_EPROTO },
		{ "FAILED", FB_EFAILED },
		{ "UNKNOWN_OUTCOME", FB_EUNKNOWN },
		{ "TIMEOUT", FB_ETIMEOUT },
	};

	(void)state;
	for (size_t i = 0; i < FB_COUNT(table); i++) {
		FB_AUTO_FREE char *script = fb_format(HELLO("1")
		    "echo '{\"id\":2,\"answer\":\"%s\",\"text\":\"why\"}'",
		    table[i].answer);

		assert_fails(table[i].code, stop(script));
		assert_non_null(strstr(err.msg, table[i].answer));
		assert_non_null(strstr(err.msg, "why"));
	}
}

static void
what_is_pending_is_asked_again_until_it_is_done(void **state)
{
	AUTO_DIR char *dir = new_dir();
	FB_AUTO_FREE char *script = fb_format(HELLO("1")
	    "echo x >>%s/n; case $(wc -l <%s/n) in "
	    "1) echo '{\"id\":2,\"answer\":\"PENDING\",\"retry_ms\":1}' ;; "
	    "2) echo '{\"id\":2,\"answer\":\"RETRY_AFTER\",\"retry_ms\":1}' ;;"
	    "*) " DONE " ;; esac",
	    dir, dir);

	(void)state;
	assert_ok(stop(script));
}

static void
what_stays_pending_times_out(void **state)
{
	struct fb_driver *driver = open_script(HELLO("1")
	    "echo '{\"id\":2,\"answer\":\"PENDING\",\"retry_ms\":3600000}'",
	    json_object());
	struct fb_verb v = verb();

	(void)state;
	assert_fails(
	    FB_ETIMEOUT, fb_driver_stop(driver, &machine, &v, &err));
	fb_driver_close(driver);
}

/* ---------------------------------------------------------------- hello */

static void
a_plugin_of_another_protocol_is_not_used(void **state)
{
	(void)state;
	assert_fails(FB_EPROTO, ask_power(HELLO("2") UP));
	assert_fails(FB_EPROTO, stop(HELLO("2") DONE));
	assert_fails(FB_EPROTO, stop("read h; echo hello"));
	assert_fails(FB_EDENIED,
	    stop("read h; echo '{\"id\":1,\"answer\":\"AUTH\"}'"));
}

static void
a_refused_hello_says_nothing_of_the_verb(void **state)
{
	AUTO_DIR char *dir = new_dir();
	FB_AUTO_FREE char *later = fb_format(
	    "[ ! -d %s/x ] || { read h; "
	    "echo '{\"id\":1,\"answer\":\"NOT_FOUND\"}'; exit 0; }; "
	    "mkdir %s/x; " HELLO("1") DONE,
	    dir, dir);

	(void)state;
	/* Not that there is no such machine. */
	assert_fails(FB_EUNREACH,
	    stop("read h; echo '{\"id\":1,\"answer\":\"NOT_FOUND\"}'"));
	assert_fails(FB_EUNREACH, stop(later));
}

static void
a_verb_that_it_lacks_is_not_asked_for(void **state)
{
	AUTO_DIR char *dir = new_dir();
	FB_AUTO_FREE char *mark = fb_format("%s/mark", dir);
	FB_AUTO_FREE char *script =
	    fb_format(HELLO("1") "echo >%s; " DONE, mark);
	struct fb_driver *driver = open_script(script, json_object());
	struct fb_verb v = verb();

	(void)state;
	assert_fails(FB_EUNSUP,
	    fb_driver_remove_snapshot(driver, &machine, &v, &err));
	assert_int_equal(access(mark, F_OK), -1);
	assert_ok(fb_driver_stop(driver, &machine, &v, &err));
	assert_int_equal(access(mark, F_OK), 0);
	fb_driver_close(driver);
}

static void
what_cannot_be_started_did_nothing(void **state)
{
	char source_name[] = "lab", driver_name[] = "plugin";
	struct fb_config_source source = { .name = source_name,
		.driver = driver_name,
		.options = json_pack("{s:[s]}", "command", "/no/such/thing") };
	struct fb_driver *driver;
	struct fb_verb v = verb();

	(void)state;
	assert_ok(fb_driver_open(&source, &driver, &err));
	/* Not NOT_FOUND: that would say that there is no such machine. */
	assert_fails(FB_EUNREACH,
	    fb_driver_find_by_token(driver, &machine, "t1", &err));
	assert_fails(
	    FB_EUNREACH, fb_driver_stop(driver, &machine, &v, &err));
	assert_string_equal(err.id, "E-PLUGIN-START");
	fb_driver_close(driver);
	json_decref(source.options);
}

/* --------------------------------------------------- deaths and hangs */

static void
a_plugin_that_dies_leaves_an_effect_unknown(void **state)
{
	(void)state;
	assert_fails(FB_EUNKNOWN, stop(HELLO("1") "kill -9 $$"));
	assert_string_equal(err.id, "E-PLUGIN-DIED");
	assert_fails(FB_EUNKNOWN, stop(HELLO("1") DONE "; kill -9 $$"));
	assert_fails(FB_EUNKNOWN, stop(HELLO("1") DONE "; exit 3"));
	assert_fails(FB_EUNREACH, ask_power(HELLO("1") UP "; exit 3"));
}

static void
a_plugin_that_hangs_is_ended_with_all_it_started(void **state)
{
	AUTO_DIR char *dir = new_dir();
	FB_AUTO_FREE char *mark = fb_format("%s/pid", dir);
	FB_AUTO_FREE char *script = fb_format(
	    HELLO("1") "sleep 600 & echo $! >%s; sleep 600", mark);
	struct fb_driver *driver =
	    open_script(script, json_pack("{s:s}", "timeout", "1500ms"));
	FB_AUTO_BUF struct fb_buf text = { 0 };
	int64_t began = fb_clock_mono_ns();

	(void)state;
	assert_fails(FB_ETIMEOUT,
	    fb_driver_find_by_token(driver, &machine, "t1", &err));
	assert_string_equal(err.id, "E-PLUGIN-TIMEOUT");
	assert_true(fb_clock_mono_ns() - began < SOON_NS);
	fb_driver_close(driver);
	/* On a busy computer it may not have got that far. */
	if (fb_io_read_file(mark, 64, &text, &err) == FB_OK && text.len > 1)
		while (kill((pid_t)strtol(fb_buf_str(&text), NULL, 10), 0) ==
		    0) {
			assert_true(fb_clock_mono_ns() - began < SOON_NS);
			fb_clock_wait(fb_clock_mono_ns() + 10000000);
		}
}

static void
a_verb_is_canceled(void **state)
{
	atomic_bool cancel = true;
	struct fb_driver *driver =
	    open_script(HELLO("1") "sleep 600", json_object());
	struct fb_verb v = verb();

	(void)state;
	v.cancel = &cancel;
	assert_fails(
	    FB_ECANCELED, fb_driver_stop(driver, &machine, &v, &err));
	fb_driver_close(driver);
}

static void
what_a_start_leaves_running_holds_nothing(void **state)
{
	AUTO_DIR char *dir = new_dir();
	FB_AUTO_FREE char *lock_path = fb_format("%s/lock", dir);
	FB_AUTO_FREE char *mark = fb_format("%s/pid", dir);
	FB_AUTO_FREE char *script =
	    fb_format(HELLO("1") "sleep 600 & echo $! >%s; " DONE, mark);
	struct fb_driver *driver = open_script(script, json_object());
	FB_AUTO_CLOSE int other = -1;
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_verb v = verb();
	int64_t began = fb_clock_mono_ns();

	(void)state;
	v.lock_fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(v.lock_fd >= 0);
	assert_int_equal(flock(v.lock_fd, LOCK_EX), 0);
	assert_ok(fb_driver_start(driver, &machine, &v, &err));
	assert_true(fb_clock_mono_ns() - began < SOON_NS);
	(void)close(v.lock_fd);
	other = open(lock_path, O_RDWR | O_CLOEXEC);
	assert_int_equal(flock(other, LOCK_EX | LOCK_NB), 0);
	assert_ok(fb_io_read_file(mark, 64, &text, &err));
	assert_int_equal(
	    kill((pid_t)strtol(fb_buf_str(&text), NULL, 10), SIGKILL), 0);
	fb_driver_close(driver);
}

static void
a_flood_on_standard_error_costs_nothing(void **state)
{
	(void)state;
	assert_ok(ask_power(
	    HELLO("1") "head -c 4000000 /dev/zero | tr '\\0' e >&2; " UP));
	assert_fails(FB_EUNREACH,
	    ask_power(HELLO("1") "echo 'the last words' >&2; exit 1"));
	assert_non_null(strstr(err.msg, "it said: the last words"));
}

static void
a_secret_reaches_the_plugin_and_nobody_else(void **state)
{
	AUTO_DIR char *dir = new_dir();
	FB_AUTO_FREE char *path = fb_format("%s/secret", dir);
	FB_AUTO_FREE char *reference = fb_format("file:%s", path);
	struct fb_driver *driver;
	struct fb_verb v = verb();

	(void)state;
	put_text(dir, "secret", "hunter2-hunter2\n");
	assert_int_equal(chmod(path, 0600), 0);
	driver = open_script(HELLO("1")
	    "[ \"$PASSWORD\" = hunter2-hunter2 ] || exit 9; "
	    "[ \"$COLOUR\" = blue ] || exit 9; "
	    "echo \"it is $PASSWORD\" >&2; "
	    "echo \"{\\\"id\\\":2,\\\"answer\\\":\\\"AUTH\\\","
	    "\\\"text\\\":\\\"bad $PASSWORD, hunter2\\\\u002dhunter2\\\"}\"",
	    json_pack("{s:{s:s},s:{s:s}}", "secrets", "PASSWORD", reference,
	        "environment", "COLOUR", "blue"));
	assert_fails(
	    FB_EDENIED, fb_driver_stop(driver, &machine, &v, &err));
	assert_non_null(strstr(err.msg, "bad [secret], [secret]"));
	assert_null(strstr(err.msg, "hunter2"));
	fb_driver_close(driver);
}

static void
a_variable_that_is_ours_is_not_given(void **state)
{
	static const char *const names[] = { "LD_PRELOAD", "FLEETBAK_CONFIG",
		"1X", "a.b" };
	char source_name[] = "lab", driver_name[] = "plugin";

	(void)state;
	for (size_t i = 0; i < FB_COUNT(names); i++) {
		struct fb_config_source source = { .name = source_name,
			.driver = driver_name,
			.options = json_pack("{s:[s],s:{s:s}}", "command",
			    "true", "environment", names[i], "x") };
		struct fb_driver *driver;

		assert_fails(
		    FB_ECONFIG, fb_driver_open(&source, &driver, &err));
		json_decref(source.options);
	}
}

/* ------------------------------------------------------------- machines */

static int
discover(const char *members)
{
	FB_AUTO_FREE char *script = fb_format(
	    HELLO("1") "cat <<'END'\n{\"id\":2,\"item\":{%s}}\nEND\n" DONE,
	    members);
	struct fb_driver *driver = open_script(script, json_object());
	struct fb_fleet fleet = { 0 };
	int rc = fb_driver_discover(driver, &fleet, &err);

	fb_fleet_settle(&fleet);
	fb_fleet_release(&fleet);
	fb_driver_close(driver);
	return rc;
}

#define M(id, lifecycle, volumes)                                     \
	"\"id\":" id ",\"power\":\"up\",\"lifecycle\":\"" lifecycle   \
	"\",\"description\":{},\"volumes\":[" volumes "]"
#define V(rest) "{\"name\":\"d\",\"kind\":\"disk\"" rest "}"

static void
a_machine_is_judged_whole(void **state)
{
	static const char *const bad[] = {
		M("\"../m\"", "stop-snapshot-start", ""),
		M("7", "stop-snapshot-start", ""),
		M("\"m\"", "read-down", ""),
		M("\"m\"", "sometimes", ""),
		M("\"m\"", "stop-snapshot-start", V("")),
		M("\"m\"", "stop-snapshot-start", V(",\"size\":-1")),
		M("\"m\"", "stop-snapshot-start", V(",\"size\":1.5")),
		M("\"m\"", "stop-snapshot-start",
		    V(",\"size\":9223372036854775808")),
		M("\"m\"", "stop-snapshot-start",
		    V(",\"size\":1,\"read\":\"stopped\"")),
		M("\"m\"", "stop-copy-start", V(",\"size\":1")),
		M("\"m\"", "stop-snapshot-start",
		    V(",\"size\":1,\"read\":\"never\"")),
		M("\"m\"", "stop-snapshot-start",
		    V(",\"size\":1,\"token\":\"a b\"")),
		M("\"m\"", "stop-snapshot-start", V(",\"size\":1,\"x\":1")),
		M("\"m\"", "stop-snapshot-start",
		    "{\"name\":\"a/b\",\"kind\":\"tree\"}"),
		M("\"m\"", "stop-snapshot-start", "") ",\"name\":\"a\\nb\"",
		M("\"m\"", "stop-snapshot-start", "") ",\"labels\":{\"k\":1}",
		M("\"m\"", "stop-snapshot-start", "") ",\"labels\":{\"/\":\"\"}",
		M("\"m\"", "stop-snapshot-start", "") ",\"extra\":1",
		"\"id\":\"m\"",
	};

	(void)state;
	assert_ok(discover(M("\"m\"", "stop-snapshot-start",
	    V(",\"size\":1") ",{\"name\":\"cd\",\"kind\":\"cdrom\"}")));
	assert_ok(discover(M("\"m\"", "snapshot-live", V(",\"size\":1"))));
	for (size_t i = 0; i < FB_COUNT(bad); i++)
		if (discover(bad[i]) != FB_EPROTO)
			fail_msg("%s: %s", bad[i], err.msg);
}

/* ---------------------------------------------------------------- disks */

static int
read_disk(const char *body, const char *stall, struct fb_buf *bytes)
{
	FB_AUTO_FREE char *script = fb_format(HELLO("1") "%s", body);
	struct fb_driver *driver =
	    open_script(script, json_pack("{s:s}", "stall_timeout", stall));
	struct fb_artifact *artifact = NULL;
	uint64_t start = 0, end = 0;
	int rc = fb_driver_open_volume(
	    driver, &machine, &disk, "t1", &artifact, &err);

	if (rc == FB_OK)
		rc = artifact->ops->extent(artifact, 0, &start, &end, &err);
	if (rc == FB_OK) {
		uint8_t *room = fb_buf_reserve(bytes, (size_t)(end - start));

		rc = artifact->ops->read(
		    artifact, start, room, (size_t)(end - start), &err);
		bytes->len += (size_t)(end - start);
	}
	fb_artifact_closep(&artifact);
	fb_driver_close(driver);
	return rc;
}

#define DISK(info, extent, read)                                       \
	"while read -r w a b <&3; do case $w in "                      \
	"info) echo '" info "' >&4 ;; extent) echo '" extent "' >&4 ;; " \
	"read) " read " >&4 ;; esac; done; " DONE

static void
a_disk_is_read_by_commands_and_replies(void **state)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	static const struct {
		int code;
		const char *body;
	} bad[] = {
		{ FB_EPROTO, DISK("ok", "ok 0 8192", ":") },
		{ FB_EPROTO, DISK("ok 8192", "ok 0 8192", ":") },
		{ FB_EPROTO,
		    DISK("ok 99999999999999999999 used", "ok 0 8192", ":") },
		{ FB_EPROTO, DISK("yes", "ok 0 8192", ":") },
		{ FB_EFAILED, DISK("no disk there", "ok 0 8192", ":") },
		{ FB_EPROTO, DISK("ok 8192 used", "ok 1 0", ":") },
		{ FB_EPROTO, DISK("ok 8192 used", "ok 0 0", ":") },
		{ FB_EPROTO, DISK("ok 8192 used", "ok 0 8193", ":") },
		{ FB_EPROTO, DISK("ok 8192 used", "ok 0 1 2", ":") },
		{ FB_EFAILED,
		    DISK("ok 8192 used", "ok 0 8192", "echo no not now") },
		{ FB_EPROTO,
		    DISK("ok 8192 used", "ok 0 8192",
		        "{ echo ok; exec 3<&-; }") },
		/* A reply before its command. */
		{ FB_EPROTO,
		    "while read -r w a b <&3; do case $w in "
		    "info) printf 'ok 8192 used\\nok 0 8192\\n' ;; "
		    "read) echo ok; head -c $b /dev/zero ;; "
		    "esac >&4; done; " DONE },
		{ FB_EPROTO, "head -c 100000 /dev/zero >&4; " DONE },
		{ FB_EPROTO, "yes | tr -d '\\n' >&4; " DONE },
		{ FB_EPROTO, DONE },
		{ FB_ENOTFOUND,
		    "echo '{\"id\":2,\"answer\":\"NOT_FOUND\"}'" },
		{ FB_EUNREACH, "kill -9 $$" },
	};

	(void)state;
	assert_ok(read_disk(DISK("ok 8192 used", "ok 4096 8192",
	                        "{ echo ok; head -c $b /dev/zero | "
	                        "tr '\\0' z; }"),
	    "10min", &bytes));
	assert_int_equal(bytes.len, 4096);
	assert_int_equal(bytes.data[0], 'z');
	assert_int_equal(bytes.data[4095], 'z');
	for (size_t i = 0; i < FB_COUNT(bad); i++)
		if (read_disk(bad[i].body, "10min", &bytes) != bad[i].code)
			fail_msg("%s: %s: %s", bad[i].body,
			    fb_code_name(err.code), err.msg);
}

static void
a_disk_tells_what_changed_where_its_plugin_can(void **state)
{
	static const char *const hellos[] = { "\"resume\":true",
		"\"changes\":true" };

	(void)state;
	for (int i = 0; i < 2; i++) {
		FB_AUTO_FREE char *script = fb_format(
		    "read h; echo '{\"id\":1,\"answer\":\"DONE\",\"result\":{"
		    "\"protocol\":1,\"name\":\"x\",\"version\":\"1\",%s,"
		    "\"verbs\":" VERBS "}}'; read v || exit 0; "
		    "while read -r w a b <&3; do case $w in "
		    "info) echo 'ok 8192 used' ;; "
		    "changed) printf 'ok 19\\ntoken %%s\\n4096 512\\n' $a ;; "
		    "esac >&4; done; " DONE,
		    hellos[i]);
		struct fb_driver *driver = open_script(script, json_object());
		FB_AUTO_RANGES struct fb_ranges changed = { 0 };
		struct fb_artifact *artifact = NULL;

		assert_ok(fb_driver_open_volume(
		    driver, &machine, &disk, "t1", &artifact, &err));
		assert_int_equal(artifact->ops->changed_blocks != NULL, i);
		if (i == 1) {
			assert_ok(artifact->ops->changed_blocks(
			    artifact, "gen", &changed, &err));
			assert_int_equal(changed.count, 1);
			assert_int_equal(changed.items[0].offset, 4096);
			assert_string_equal(artifact->token, "gen");
		}
		fb_artifact_closep(&artifact);
		fb_driver_close(driver);
	}
}

/* A disk that is read well, and what its plugin says at the end. */
#define WHOLE(end)                                                        \
	"while read -r w a b <&3; do case $w in info) echo 'ok 8192 used' " \
	">&4 ;; extent) echo 'ok 0 8192' >&4 ;; read) { echo ok; head -c "  \
	"$b /dev/zero; } >&4 ;; esac; done; " end

static int
prove_disk(const char *end)
{
	FB_AUTO_FREE char *script = fb_format(HELLO("1") WHOLE("%s"), end);
	struct fb_driver *driver = open_script(
	    script, json_pack("{s:s}", "stall_timeout", "500ms"));
	struct fb_artifact *artifact = NULL;
	uint8_t room[8192];
	int rc;

	assert_ok(fb_driver_open_volume(
	    driver, &machine, &disk, "t1", &artifact, &err));
	assert_ok(artifact->ops->read(artifact, 0, room, sizeof(room), &err));
	assert_non_null(artifact->ops->prove);
	rc = artifact->ops->prove(artifact, &err);
	fb_artifact_closep(&artifact);
	fb_driver_close(driver);
	return rc;
}

static void
a_disk_counts_when_its_end_was_said(void **state)
{
	static const struct {
		int code;
		const char *end;
	} rows[] = {
		{ FB_OK, DONE },
		{ FB_OK, "sleep 0.1; " DONE },
		{ FB_EPROTO, ":" },
		{ FB_EPROTO, "echo garbage" },
		{ FB_EPROTO, DONE "; " DONE },
		{ FB_EPROTO, "printf '{\"id\":2,\"ans'" },
		{ FB_EPROTO, "echo '{\"id\":2,\"answer\":\"PENDING\"}'" },
		{ FB_EPROTO, "echo 'ok 1 2' >&4; " DONE },
		{ FB_EFAILED, "echo '{\"id\":2,\"answer\":\"FAILED\"}'" },
		{ FB_ENOTFOUND,
		    "echo '{\"id\":2,\"answer\":\"NOT_FOUND\"}'" },
		{ FB_EUNREACH, DONE "; exit 1" },
		{ FB_EUNREACH, "kill -9 $$" },
		{ FB_ETIMEOUT, "sleep 600" },
	};

	(void)state;
	for (size_t i = 0; i < FB_COUNT(rows); i++)
		if (prove_disk(rows[i].end) != rows[i].code)
			fail_msg("%s: %s: %s", rows[i].end,
			    fb_code_name(err.code), err.msg);
}

static void
a_disk_of_which_no_byte_moves_is_given_up(void **state)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	int64_t began = fb_clock_mono_ns();

	(void)state;
	assert_fails(FB_ETIMEOUT, read_disk("sleep 600", "500ms", &bytes));
	assert_true(fb_clock_mono_ns() - began < SOON_NS);
}

/* -------------------------------------------------------------- streams */

static int
read_tree(const char *body, struct catch *c)
{
	FB_AUTO_FREE char *script = fb_format(HELLO("1") "%s", body);
	struct fb_driver *driver = open_script(script, json_object());
	struct fb_sink sink = catch_sink(c);
	struct fb_artifact *artifact = NULL;
	int rc = fb_driver_open_volume(
	    driver, &machine, &tree, "t1", &artifact, &err);

	if (rc == FB_OK)
		rc = artifact->ops->produce(artifact, &sink, &err);
	fb_artifact_closep(&artifact);
	fb_driver_close(driver);
	return rc;
}

static void
a_foreign_archive_gets_a_catalogue(void **state)
{
	AUTO_DIR char *dir = new_dir();
	AUTO_CATCH struct catch c = { 0 };
	FB_AUTO_FREE char *script = fb_format(
	    "cd %s && mkdir -p t/sub && echo hello >t/sub/file && "
	    "ln t/sub/file t/hard && ln -s sub/file t/soft && "
	    "head -c 300000 /dev/zero >t/big && "
	    "tar -C t -cf - . >&4; " DONE,
	    dir);

	(void)state;
	assert_ok(read_tree(script, &c));
	assert_true(c.bytes.len > 300000 && c.bytes.len % 512 == 0);
	assert_string_equal(fb_buf_str(&c.warnings), "");
	assert_non_null(strstr(fb_buf_str(&c.catalogue), " sub/file"));
	assert_non_null(strstr(fb_buf_str(&c.catalogue), " soft sub/file\n"));
	assert_non_null(strstr(fb_buf_str(&c.catalogue), " big\n"));
	assert_true(c.cuts.len > 0);
}

static void
an_archive_that_is_none_is_refused(void **state)
{
	AUTO_DIR char *dir = new_dir();
	static const char *const bodies[] = {
		"echo not an archive >&4",
		":",
		"tar -cf - t >&4; echo more >&4",
		"tar -cf - t | head -c 1024 >&4",
		"tar -cf - t | head -c 700 >&4",
		"tar -P --transform 's,t/f,../f,' -cf - t >&4",
		"tar -P --transform 's,t/f,/etc/f,' -cf - t >&4",
		"tar -cf - t >&4; head -c 5000000 /dev/zero >&4",
	};

	(void)state;
	put_dir(dir, "t");
	put_text(dir, "t/f", "content");
	for (size_t i = 0; i < FB_COUNT(bodies); i++) {
		AUTO_CATCH struct catch c = { 0 };
		FB_AUTO_FREE char *script =
		    fb_format("cd %s; %s; " DONE, dir, bodies[i]);

		if (read_tree(script, &c) != FB_EPROTO)
			fail_msg("%s: %s", bodies[i], err.msg);
	}
}

static void
a_stream_counts_when_its_end_was_said(void **state)
{
	AUTO_DIR char *dir = new_dir();
	AUTO_CATCH struct catch a = { 0 }, b = { 0 }, c = { 0 };
	FB_AUTO_FREE char *dead = NULL, *wrong = NULL, *warned = NULL;

	(void)state;
	put_dir(dir, "t");
	dead = fb_format("cd %s; tar -cf - t >&4; kill -9 $$", dir);
	assert_fails(FB_EUNREACH, read_tree(dead, &a));
	wrong = fb_format("cd %s; tar -cf - t >&4; echo '{\"id\":2,\"answer\":"
	                  "\"DONE\",\"result\":{\"bytes\":7}}'",
	    dir);
	assert_fails(FB_EPROTO, read_tree(wrong, &b));
	warned = fb_format("cd %s; tar -cf - t >&4; echo '{\"id\":2,\"warn\":"
	                   "\"it moved\",\"path\":\"f\"}'; " DONE,
	    dir);
	assert_ok(read_tree(warned, &c));
	assert_non_null(strstr(fb_buf_str(&c.warnings), "it moved"));
}

static void
a_stream_that_broke_off_goes_on(void **state)
{
	AUTO_DIR char *dir = new_dir();
	AUTO_CATCH struct catch whole = { 0 }, pieced = { 0 };
	struct catch *catches[] = { &whole, &pieced };
	static const char *const cuts[] = { "0", "20000" };

	(void)state;
	put_dir(dir, "m1");
	put_dir(dir, "m1/data");
	put_text(dir, "m1/disk.img", "");
	for (int i = 0; i < 9; i++) {
		FB_AUTO_FREE char *name = fb_format("m1/data/f%d", i);
		char bytes[5000];

		memset(bytes, 'a' + i, sizeof(bytes));
		put_file(dir, name, bytes, sizeof(bytes));
	}
	for (int i = 0; i < 2; i++) {
		char source_name[] = "lab", driver_name[] = "plugin";
		FB_AUTO_FREE char *base = realpath("tests/servers", NULL);
		struct fb_config_source source = { .name = source_name,
			.driver = driver_name, .base_dir = base,
			.options = json_pack("{s:[s],s:{s:s,s:s}}", "command",
			    "./plugin_dir.py", "options", "root", dir,
			    "cut_stream", cuts[i]) };
		struct fb_sink sink = catch_sink(catches[i]);
		struct fb_artifact *artifact = NULL;
		struct fb_driver *driver;

		assert_ok(fb_driver_open(&source, &driver, &err));
		assert_ok(fb_driver_open_volume(
		    driver, &machine, &tree, NULL, &artifact, &err));
		assert_ok(artifact->ops->produce(artifact, &sink, &err));
		fb_artifact_closep(&artifact);
		fb_driver_close(driver);
		json_decref(source.options);
	}
	assert_int_equal(whole.bytes.len, pieced.bytes.len);
	assert_memory_equal(
	    whole.bytes.data, pieced.bytes.data, whole.bytes.len);
}

/* What it says while the archive is in the making. */
static void
a_stream_that_is_pending_is_asked_for_again(void **state)
{
	AUTO_DIR char *dir = new_dir();
	AUTO_CATCH struct catch c = { 0 }, cut = { 0 };
	FB_AUTO_FREE char *script = fb_format(
	    "cd %s; echo x >>n; [ $(wc -l <n) -ge 8 ] || { echo '{\"id\":2,"
	    "\"answer\":\"PENDING\",\"retry_ms\":1}'; exit 0; }; "
	    "tar -cf - n >&4; " DONE,
	    dir);

	(void)state;
	assert_ok(read_tree(script, &c));
	assert_non_null(strstr(fb_buf_str(&c.catalogue), " n\n"));
	/* What came cannot come again when it does not go on from there. */
	assert_fails(FB_EPROTO,
	    read_tree("head -c 512 /dev/zero >&4; echo '{\"id\":2,"
	              "\"answer\":\"PENDING\",\"retry_ms\":1}'",
	        &cut));
}

static void *
set_later(void *arg)
{
	fb_clock_wait(fb_clock_mono_ns() + 200000000);
	atomic_store((atomic_bool *)arg, true);
	return NULL;
}

static void
a_read_is_canceled(void **state)
{
	static const struct {
		bool stream;
		const char *body;
	} rows[] = {
		{ false, "sleep 600" },
		{ false,
		    "while read -r w a b <&3; do case $w in info) echo 'ok "
		    "8192 used' >&4 ;; *) sleep 600 ;; esac; done" },
		{ false, WHOLE("sleep 600") },
		{ true, "sleep 600" },
		{ true,
		    "echo '{\"id\":2,\"answer\":\"PENDING\",\"retry_ms\":"
		    "600000}'" },
	};
	int64_t began = fb_clock_mono_ns();

	(void)state;
	for (size_t i = 0; i < FB_COUNT(rows); i++) {
		FB_AUTO_FREE char *script =
		    fb_format(HELLO("1") "%s", rows[i].body);
		struct fb_driver *driver = open_script(script, json_object());
		AUTO_CATCH struct catch c = { 0 };
		struct fb_sink sink = catch_sink(&c);
		struct fb_artifact *artifact = NULL;
		atomic_bool cancel = false;
		bool stream = rows[i].stream;
		pthread_t later;
		uint8_t room[512];
		int rc;

		driver->cancel = &cancel;
		assert_int_equal(
		    pthread_create(&later, NULL, set_later, &cancel), 0);
		rc = fb_driver_open_volume(driver, &machine,
		    stream ? &tree : &disk, "t1", &artifact, &err);
		if (rc == FB_OK && stream)
			rc = artifact->ops->produce(artifact, &sink, &err);
		else if (rc == FB_OK)
			rc = artifact->ops->read(
			    artifact, 0, room, sizeof(room), &err);
		if (rc == FB_OK && !stream)
			rc = artifact->ops->prove(artifact, &err);
		if (rc != FB_ECANCELED)
			fail_msg("%s: %s", script, err.msg);
		fb_artifact_closep(&artifact);
		fb_driver_close(driver);
		assert_int_equal(pthread_join(later, NULL), 0);
	}
	assert_true(fb_clock_mono_ns() - began < SOON_NS);
}

static int
write_tree(const char *body, size_t size)
{
	FB_AUTO_FREE char *script = fb_format(HELLO("1") "%s", body);
	FB_AUTO_FREE char *bytes = fb_alloc(size, 1);
	struct fb_driver *driver = open_script(script, json_object());
	struct fb_machine old = machine;
	struct fb_volume volumes[] = { tree };
	struct fb_restore_request request = { .machine = &old,
		.new_id = machine_id };
	struct fb_verb v = verb();
	struct feed feed = { { (const uint8_t *)bytes, size }, 65536 };
	struct fb_pull pull = { &feed, feed_next };
	struct fb_target *target = NULL;
	int rc;

	old.volumes = volumes;
	old.volume_count = 1;
	rc = fb_driver_restore_open(
	    driver, &request, &volumes[0], &v, &target, &err);
	if (rc == FB_OK)
		rc = target->ops->absorb(target, &pull, &err);
	fb_target_closep(&target);
	fb_driver_close(driver);
	return rc;
}

static void
a_stream_is_written_when_all_of_it_was_read(void **state)
{
	(void)state;
	assert_ok(write_tree("cat <&3 >/dev/null; " DONE, 1000000));
	assert_fails(FB_EPROTO, write_tree(DONE, 1000));
	assert_fails(FB_EPROTO, write_tree(DONE, 1000000));
	assert_fails(FB_EUNKNOWN, write_tree("exit 1", 1000000));
	assert_fails(FB_EUNKNOWN,
	    write_tree("cat <&3 >/dev/null; kill -9 $$", 1000000));
	assert_fails(FB_ENOSPACE,
	    write_tree("echo '{\"id\":2,\"answer\":\"QUOTA\"}'", 1000000));
	/* It was given to it once: nobody can ask for more. */
	assert_fails(FB_EUNKNOWN,
	    write_tree("cat <&3 >/dev/null; echo '{\"id\":2,\"answer\":"
	               "\"PENDING\",\"retry_ms\":1}'",
	        1000));
}

static int
fail_midway(void *arg, struct fb_span *ret_bytes, struct fb_error *error)
{
	size_t *left = arg;
	static const uint8_t bytes[512];

	if (*left == 0)
		return fb_fail(error, FB_ECORRUPT, "a chunk is damaged");
	*left -= 1;
	*ret_bytes = (struct fb_span){ bytes, sizeof(bytes) };
	return FB_OK;
}

static void
a_stream_that_breaks_off_does_not_look_complete(void **state)
{
	AUTO_DIR char *dir = new_dir();
	FB_AUTO_FREE char *mark = fb_format("%s/mark", dir);
	FB_AUTO_FREE char *script = fb_format(
	    HELLO("1") "cat <&3 >/dev/null; echo >%s; " DONE, mark);
	struct fb_driver *driver = open_script(script, json_object());
	struct fb_restore_request request = { .machine = &machine,
		.new_id = machine_id };
	struct fb_verb v = verb();
	size_t left = 2;
	struct fb_pull pull = { &left, fail_midway };
	struct fb_target *target = NULL;

	(void)state;
	assert_ok(fb_driver_restore_open(
	    driver, &request, &tree, &v, &target, &err));
	assert_fails(FB_ECORRUPT, target->ops->absorb(target, &pull, &err));
	fb_target_closep(&target);
	assert_int_equal(access(mark, F_OK), -1);
	fb_driver_close(driver);
}

static int
visit(void *arg, const char *path, struct fb_error *error)
{
	(void)error;
	fb_buf_add_fmt(arg, "%s\n", path);
	return FB_OK;
}

static void
paths_of_a_tree_are_listed_with_nuls(void **state)
{
	static const struct {
		int code;
		const char *body, *list;
	} rows[] = {
		{ FB_OK, "printf 'a/b\\0c\\0' >&4; " DONE, "a/b\nc\n" },
		{ FB_OK, DONE, "" },
		{ FB_EPROTO, "printf 'a' >&4; " DONE, "" },
		{ FB_EPROTO, "printf '../a\\0' >&4; " DONE, "" },
		{ FB_EPROTO, "printf '\\0' >&4; " DONE, "" },
		{ FB_EPROTO, "head -c 9000 /dev/zero | tr '\\0' a >&4; " DONE,
		    "" },
	};

	(void)state;
	for (size_t i = 0; i < FB_COUNT(rows); i++) {
		FB_AUTO_FREE char *script =
		    fb_format(HELLO("1") "%s", rows[i].body);
		struct fb_driver *driver = open_script(script, json_object());
		struct fb_restore_request request = { .machine = &machine,
			.new_id = machine_id };
		FB_AUTO_BUF struct fb_buf list = { 0 };

		assert_fails(rows[i].code,
		    fb_driver_restore_list(
		        driver, &request, &tree, visit, &list, &err));
		if (rows[i].code == FB_OK)
			assert_string_equal(
			    fb_buf_str(&list), rows[i].list);
		fb_driver_close(driver);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    a_question_that_is_answered_wrong_is_refused_and_an_effect_unknown),
		cmocka_unit_test(a_result_that_makes_no_sense_is_refused),
		cmocka_unit_test(each_answer_has_its_code),
		cmocka_unit_test(
		    what_is_pending_is_asked_again_until_it_is_done),
		cmocka_unit_test(what_stays_pending_times_out),
		cmocka_unit_test(a_plugin_of_another_protocol_is_not_used),
		cmocka_unit_test(a_refused_hello_says_nothing_of_the_verb),
		cmocka_unit_test(a_verb_that_it_lacks_is_not_asked_for),
		cmocka_unit_test(what_cannot_be_started_did_nothing),
		cmocka_unit_test(a_plugin_that_dies_leaves_an_effect_unknown),
		cmocka_unit_test(
		    a_plugin_that_hangs_is_ended_with_all_it_started),
		cmocka_unit_test(a_verb_is_canceled),
		cmocka_unit_test(what_a_start_leaves_running_holds_nothing),
		cmocka_unit_test(a_flood_on_standard_error_costs_nothing),
		cmocka_unit_test(a_secret_reaches_the_plugin_and_nobody_else),
		cmocka_unit_test(a_variable_that_is_ours_is_not_given),
		cmocka_unit_test(a_machine_is_judged_whole),
		cmocka_unit_test(a_disk_is_read_by_commands_and_replies),
		cmocka_unit_test(
		    a_disk_tells_what_changed_where_its_plugin_can),
		cmocka_unit_test(a_disk_counts_when_its_end_was_said),
		cmocka_unit_test(a_disk_of_which_no_byte_moves_is_given_up),
		cmocka_unit_test(a_foreign_archive_gets_a_catalogue),
		cmocka_unit_test(an_archive_that_is_none_is_refused),
		cmocka_unit_test(a_stream_counts_when_its_end_was_said),
		cmocka_unit_test(a_stream_that_broke_off_goes_on),
		cmocka_unit_test(a_stream_that_is_pending_is_asked_for_again),
		cmocka_unit_test(a_read_is_canceled),
		cmocka_unit_test(a_stream_is_written_when_all_of_it_was_read),
		cmocka_unit_test(
		    a_stream_that_breaks_off_does_not_look_complete),
		cmocka_unit_test(paths_of_a_tree_are_listed_with_nuls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fleetbak/base/child.h"
#include "fleetbak/base/clock.h"
#include "fleetbak/base/group.h"
#include "fleetbak/base/mem.h"

static struct fb_error err;

/* A shell has begun its work by then, also beside others; and what is over by
 * then has not waited for the ten minutes of a "sleep 600". */
#define BUSY_MS 1500
#define SOON_NS INT64_C(60000000000)

#define SHELL(script)                         \
	(const char *const[])                 \
	{                                     \
		"/bin/sh", "-c", script, NULL \
	}

static int
run_spec(struct fb_child_spec *spec, struct fb_child_result *result)
{
	if (spec->lock_fd == 0)
		spec->lock_fd = -1;
	return fb_child_run(spec, result, &err);
}

static void
the_result_says_how_it_ended_and_what_it_said(void **state)
{
	struct fb_child_spec spec = { .argv = SHELL(
		                          "echo out; echo err >&2; exit 7") };
	FB_AUTO_CHILD struct fb_child_result result = { 0 };

	(void)state;
	assert_ok(run_spec(&spec, &result));
	assert_int_equal(result.exit_code, 7);
	assert_int_equal(result.signal, 0);
	assert_false(result.timed_out);
	assert_string_equal(fb_buf_str(&result.out), "out\n");
	assert_string_equal(fb_buf_str(&result.err), "err\n");
}

static void
a_signal_is_told_from_an_exit(void **state)
{
	struct fb_child_spec spec = { .argv = SHELL("kill -9 $$") };
	FB_AUTO_CHILD struct fb_child_result result = { 0 };

	(void)state;
	assert_ok(run_spec(&spec, &result));
	assert_int_equal(result.exit_code, -1);
	assert_int_equal(result.signal, SIGKILL);
}

static void
what_cannot_be_started_is_an_error_that_names_it(void **state)
{
	struct fb_child_spec spec = { .argv = (const char *const[]){
		                          "/nowhere/prog", NULL } };
	FB_AUTO_CHILD struct fb_child_result result = { 0 };

	(void)state;
	assert_fails(FB_ENOTFOUND, run_spec(&spec, &result));
	assert_non_null(strstr(err.msg, "/nowhere/prog"));

	spec.argv = (const char *const[]){ "fleetbak-no-such-program", NULL };
	assert_fails(FB_ENOTFOUND, run_spec(&spec, &result));

	spec.argv = (const char *const[]){ "/etc/passwd", NULL };
	assert_fails(FB_EDENIED, run_spec(&spec, &result));

	spec.argv = (const char *const[]){ "/etc", NULL };
	assert_fails(FB_EDENIED, run_spec(&spec, &result));

	spec.argv = SHELL("true");
	spec.dir = "/nowhere";
	assert_fails(FB_ENOTFOUND, run_spec(&spec, &result));
	assert_non_null(strstr(err.msg, "/nowhere"));
}

static void
a_program_without_a_slash_is_found_in_path(void **state)
{
	struct fb_child_spec spec = { .argv = (const char *const[]){
		                          "sh", "-c", "exit 3", NULL } };
	FB_AUTO_CHILD struct fb_child_result result = { 0 };

	(void)state;
	assert_ok(run_spec(&spec, &result));
	assert_int_equal(result.exit_code, 3);
}

static void
arguments_reach_it_without_a_shell(void **state)
{
	struct fb_child_spec spec = { .argv = (const char *const[]){ "printf",
		                          "%s|", "$HOME `id`", "; exit 1", "",
		                          NULL } };
	FB_AUTO_CHILD struct fb_child_result result = { 0 };

	(void)state;
	assert_ok(run_spec(&spec, &result));
	assert_string_equal(fb_buf_str(&result.out), "$HOME `id`|; exit 1||");
}

static void
it_runs_in_its_directory_with_its_environment(void **state)
{
	struct fb_child_spec spec = {
		.argv = SHELL("pwd; echo $FB_A $FB_B $FB_AB"),
		.dir = "/usr",
		.env = (const char *const[]){ "FB_A=new", "FB_B=b", NULL },
	};
	FB_AUTO_CHILD struct fb_child_result result = { 0 };

	(void)state;
	assert_int_equal(setenv("FB_A", "old", 1), 0);
	assert_int_equal(setenv("FB_AB", "kept", 1), 0);
	assert_ok(run_spec(&spec, &result));
	assert_string_equal(fb_buf_str(&result.out), "/usr\nnew b kept\n");
}

static void
its_signals_are_as_after_boot(void **state)
{
	struct fb_child_spec spec = {
		.argv = SHELL(
		    "grep -E '^Sig(Blk|Ign)' /proc/self/status | cut -f2")
	};
	FB_AUTO_CHILD struct fb_child_result result = { 0 };
	unsigned long long blocked, ignored;
	sigset_t mask, before;
	char *rest;

	(void)state;
	assert_true(signal(SIGHUP, SIG_IGN) != SIG_ERR);
	(void)sigemptyset(&mask);
	(void)sigaddset(&mask, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &mask, &before);
	assert_ok(run_spec(&spec, &result));
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	(void)signal(SIGHUP, SIG_DFL);
	blocked = strtoull(fb_buf_str(&result.out), &rest, 16);
	ignored = strtoull(rest, NULL, 16);
	assert_true(blocked == 0);
	/* 32 and 33 are the C library's own: it lets nobody reset them. */
	assert_true((ignored & ~UINT64_C(0x180000000)) == 0);
}

/* The directory that ls reads takes the lowest free descriptor, 3. */
static void
it_inherits_its_streams_and_the_lock_alone(void **state)
{
	FB_AUTO_CLOSE int other = open("/dev/null", O_RDONLY);
	FB_AUTO_CLOSE int lock = fcntl(other, F_DUPFD_CLOEXEC, 10);
	FB_AUTO_FREE char *expected = fb_format("0\n1\n%d\n2\n3\n", lock);
	struct fb_child_spec spec = {
		.argv = (const char *const[]){ "ls", "/proc/self/fd", NULL },
		.env = (const char *const[]){ "LC_ALL=C", NULL },
		.lock_fd = lock,
	};
	FB_AUTO_CHILD struct fb_child_result result = { 0 };

	(void)state;
	assert_ok(run_spec(&spec, &result));
	assert_string_equal(fb_buf_str(&result.out), expected);
}

static void
input_reaches_it_whole(void **state)
{
	FB_AUTO_BUF struct fb_buf input = { 0 };
	struct fb_child_spec spec = {
		.argv = (const char *const[]){ "cat", NULL },
		.stdout_max = 2000000,
	};
	FB_AUTO_CHILD struct fb_child_result result = { 0 };

	(void)state;
	for (uint32_t i = 0; i < 400000; i++)
		fb_buf_add_le32(&input, i);
	spec.input = fb_buf_span(&input);
	assert_ok(run_spec(&spec, &result));
	assert_int_equal(result.out.len, input.len);
	assert_memory_equal(result.out.data, input.data, input.len);
}

static void
input_it_does_not_want_is_no_harm(void **state)
{
	FB_AUTO_BUF struct fb_buf input = { 0 };
	struct fb_child_spec spec = { .argv = SHELL("exec <&-; exit 4") };
	FB_AUTO_CHILD struct fb_child_result result = { 0 };

	(void)state;
	memset(fb_buf_reserve(&input, 1000000), 'x', 1000000);
	spec.input = (struct fb_span){ input.data, 1000000 };
	assert_ok(run_spec(&spec, &result));
	assert_int_equal(result.exit_code, 4);
}

static void
the_last_of_much_output_is_kept(void **state)
{
	struct fb_child_spec spec = {
		.argv = SHELL("i=0; while [ $i -lt 30000 ]; do echo line $i; "
		              "echo err $i >&2; i=$((i+1)); done")
	};
	FB_AUTO_CHILD struct fb_child_result result = { 0 };

	(void)state;
	assert_ok(run_spec(&spec, &result));
	assert_int_equal(result.out.len, FB_CHILD_OUTPUT_MAX);
	assert_int_equal(result.err.len, FB_CHILD_OUTPUT_MAX);
	assert_string_equal(
	    fb_buf_str(&result.out) + result.out.len - 11, "line 29999\n");
	assert_string_equal(
	    fb_buf_str(&result.err) + result.err.len - 10, "err 29999\n");
}

static void
more_output_than_allowed_ends_it(void **state)
{
	struct fb_child_spec spec = {
		.argv = SHELL("while :; do echo yyyyyyyyyyyyyyyyyyy; done"),
		.stdout_max = 1000,
	};
	FB_AUTO_CHILD struct fb_child_result result = { 0 };

	(void)state;
	assert_fails(FB_EPROTO, run_spec(&spec, &result));
	assert_int_equal(result.out.len, 1000);
}

static void
the_deadline_ends_the_whole_group(void **state)
{
	struct fb_child_spec spec = {
		.argv = SHELL("sleep 600 & sleep 600"),
		.timeout_ms = 100,
	};
	FB_AUTO_CHILD struct fb_child_result result = { 0 };
	int64_t start = fb_clock_mono_ns();

	(void)state;
	assert_ok(run_spec(&spec, &result));
	assert_true(result.timed_out);
	assert_int_equal(result.signal, SIGTERM);
	assert_true(fb_clock_mono_ns() - start < SOON_NS);
}

static void
cancel_ends_it(void **state)
{
	atomic_bool cancel = true;
	struct fb_child_spec spec = {
		.argv = (const char *const[]){ "sleep", "600", NULL },
		.cancel = &cancel,
	};
	FB_AUTO_CHILD struct fb_child_result result = { 0 };

	(void)state;
	assert_ok(run_spec(&spec, &result));
	assert_true(result.canceled);
	assert_false(result.timed_out);
	assert_int_equal(result.signal, SIGTERM);
}

static void
who_survives_sigterm_is_killed(void **state)
{
	struct fb_child_spec spec = {
		.argv = SHELL("trap '' TERM; "
		              "(while :; do sleep 1; done) & wait; "
		              "while :; do sleep 1; done"),
		.timeout_ms = BUSY_MS, /* by then it ignores SIGTERM */
		.grace_ms = 200,
	};
	FB_AUTO_CHILD struct fb_child_result result = { 0 };
	int64_t start = fb_clock_mono_ns(), took;

	(void)state;
	assert_ok(run_spec(&spec, &result));
	took = (fb_clock_mono_ns() - start) / 1000000;
	assert_true(result.timed_out);
	assert_int_equal(result.signal, SIGKILL);
	assert_true(took >= BUSY_MS + 200);
}

/* Its grace would be ten minutes: it hears of the SIGTERM because it is let
 * go on. */
static void
who_stopped_itself_is_ended(void **state)
{
	struct fb_child_spec spec = {
		.argv = SHELL("kill -STOP $$; sleep 600"),
		.timeout_ms = 100,
		.grace_ms = 600000,
	};
	FB_AUTO_CHILD struct fb_child_result result = { 0 };

	(void)state;
	assert_ok(run_spec(&spec, &result));
	assert_true(result.timed_out);
	assert_int_equal(result.signal, SIGTERM);
}

/* The child ends at once, while we are stopped until its deadline is over. */
static void
who_ended_while_we_were_stopped_was_in_time(void **state)
{
	struct fb_child_spec spec = {
		.argv = SHELL("(exec >/dev/null 2>&1; sleep 2.2; "
		              "kill -CONT $PPID) & kill -STOP $PPID; exit 3"),
		.timeout_ms = BUSY_MS,
	};
	FB_AUTO_CHILD struct fb_child_result result = { 0 };

	(void)state;
	assert_ok(run_spec(&spec, &result));
	assert_false(result.timed_out);
	assert_int_equal(result.exit_code, 3);
}

/* It is out of our group: neither waited for nor ended, and what it holds is
 * not held against us. */
static void
a_session_that_keeps_the_output_does_not_hold_us_up(void **state)
{
	struct fb_child_spec spec = {
		.argv = SHELL("setsid sleep 600 & echo $!; sleep 600"),
		.timeout_ms = BUSY_MS,
	};
	FB_AUTO_CHILD struct fb_child_result result = { 0 };
	int64_t start = fb_clock_mono_ns();
	pid_t grandchild;

	(void)state;
	assert_ok(run_spec(&spec, &result));
	assert_true(fb_clock_mono_ns() - start < SOON_NS);
	assert_true(result.timed_out);
	grandchild = (pid_t)strtol(fb_buf_str(&result.out), NULL, 10);
	assert_true(grandchild > 1);
	assert_int_equal(kill(grandchild, SIGKILL), 0);
}

static void
a_grandchild_that_keeps_the_output_does_not_hold_us_up(void **state)
{
	struct fb_child_spec spec = { .argv = SHELL(
		                          "sleep 600 & echo $!; exit 0") };
	FB_AUTO_CHILD struct fb_child_result result = { 0 };
	int64_t start = fb_clock_mono_ns();
	pid_t grandchild;

	(void)state;
	assert_ok(run_spec(&spec, &result));
	assert_true(fb_clock_mono_ns() - start < SOON_NS);
	assert_int_equal(result.exit_code, 0);

	/* It was started on purpose, as a machine is, and lives. */
	grandchild = (pid_t)strtol(fb_buf_str(&result.out), NULL, 10);
	assert_true(grandchild > 1);
	assert_int_equal(kill(grandchild, SIGKILL), 0);
}

static void
the_lock_is_held_while_a_grandchild_lives(void **state)
{
	char path[] = "/tmp/fb-child-XXXXXX";
	FB_AUTO_CLOSE int held = mkostemp(path, O_CLOEXEC);
	FB_AUTO_CLOSE int again = open(path, O_RDWR | O_CLOEXEC);
	struct fb_child_spec spec = {
		.argv = SHELL("sleep 600 >/dev/null 2>&1 & echo $!"),
		.lock_fd = held,
	};
	FB_AUTO_CHILD struct fb_child_result result = { 0 };
	pid_t grandchild;

	(void)state;
	assert_true(held >= 0 && again >= 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(flock(held, LOCK_EX | LOCK_NB), 0);
	assert_ok(run_spec(&spec, &result));
	assert_int_equal(close(held), 0);
	held = -1;
	assert_int_equal(flock(again, LOCK_EX | LOCK_NB), -1);

	grandchild = (pid_t)strtol(fb_buf_str(&result.out), NULL, 10);
	assert_true(grandchild > 1);
	assert_int_equal(kill(grandchild, SIGKILL), 0);
	assert_int_equal(flock(again, LOCK_EX), 0);
}

static void
a_service_that_it_leaves_behind_has_no_lock(void **state)
{
	char path[] = "/tmp/fb-child-XXXXXX";
	FB_AUTO_CLOSE int held = mkostemp(path, O_CLOEXEC);
	FB_AUTO_CLOSE int again = open(path, O_RDWR | O_CLOEXEC);
	struct fb_child_spec spec = {
		.argv = SHELL("sleep 600 >/dev/null 2>&1 & echo $!; exit 7"),
		.lock_fd = held,
		.service = true,
	};
	FB_AUTO_CHILD struct fb_child_result result = { 0 };
	pid_t service;

	(void)state;
	assert_true(held >= 0 && again >= 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(flock(held, LOCK_EX | LOCK_NB), 0);
	assert_ok(run_spec(&spec, &result));
	assert_int_equal(result.exit_code, 7);
	assert_int_equal(close(held), 0);
	held = -1;
	assert_int_equal(flock(again, LOCK_EX | LOCK_NB), 0);

	service = (pid_t)strtol(fb_buf_str(&result.out), NULL, 10);
	assert_true(service > 1);
	assert_int_equal(kill(service, SIGKILL), 0);
}

static void
a_service_command_ends_by_its_own_signal(void **state)
{
	char path[] = "/tmp/fb-child-XXXXXX";
	FB_AUTO_CLOSE int held = mkostemp(path, O_CLOEXEC);
	struct fb_child_spec spec = {
		.argv = SHELL("kill -USR1 $$"),
		.lock_fd = held,
		.service = true,
	};
	FB_AUTO_CHILD struct fb_child_result result = { 0 };

	(void)state;
	assert_int_equal(unlink(path), 0);
	assert_ok(run_spec(&spec, &result));
	assert_int_equal(result.exit_code, -1);
	assert_int_equal(result.signal, SIGUSR1);
}

static int
run_many(void *arg, struct fb_error *task_err)
{
	(void)arg;
	for (int i = 0; i < 20; i++) {
		struct fb_child_spec spec = { .argv = SHELL("cat"),
			.lock_fd = -1,
			.input = SPAN("hello") };
		FB_AUTO_CHILD struct fb_child_result result = { 0 };
		int rc = fb_child_run(&spec, &result, task_err);

		if (rc < 0)
			return rc;
		if (strcmp(fb_buf_str(&result.out), "hello") != 0)
			return fb_fail(task_err, FB_EBUG, "lost output");
	}
	return FB_OK;
}

/* A pipe that leaked into a sibling would keep a cat from ending. */
static void
threads_run_children_at_the_same_time(void **state)
{
	struct fb_group *group = fb_group_new();

	(void)state;
	for (int i = 0; i < 4; i++)
		fb_group_start(group, run_many, NULL);
	assert_ok(fb_group_wait(group, &err));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_result_says_how_it_ended_and_what_it_said),
		cmocka_unit_test(a_signal_is_told_from_an_exit),
		cmocka_unit_test(
		    what_cannot_be_started_is_an_error_that_names_it),
		cmocka_unit_test(a_program_without_a_slash_is_found_in_path),
		cmocka_unit_test(arguments_reach_it_without_a_shell),
		cmocka_unit_test(it_runs_in_its_directory_with_its_environment),
		cmocka_unit_test(its_signals_are_as_after_boot),
		cmocka_unit_test(it_inherits_its_streams_and_the_lock_alone),
		cmocka_unit_test(a_service_that_it_leaves_behind_has_no_lock),
		cmocka_unit_test(a_service_command_ends_by_its_own_signal),
		cmocka_unit_test(input_reaches_it_whole),
		cmocka_unit_test(input_it_does_not_want_is_no_harm),
		cmocka_unit_test(the_last_of_much_output_is_kept),
		cmocka_unit_test(more_output_than_allowed_ends_it),
		cmocka_unit_test(the_deadline_ends_the_whole_group),
		cmocka_unit_test(cancel_ends_it),
		cmocka_unit_test(who_survives_sigterm_is_killed),
		cmocka_unit_test(who_stopped_itself_is_ended),
		cmocka_unit_test(who_ended_while_we_were_stopped_was_in_time),
		cmocka_unit_test(
		    a_session_that_keeps_the_output_does_not_hold_us_up),
		cmocka_unit_test(
		    a_grandchild_that_keeps_the_output_does_not_hold_us_up),
		cmocka_unit_test(the_lock_is_held_while_a_grandchild_lives),
		cmocka_unit_test(threads_run_children_at_the_same_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

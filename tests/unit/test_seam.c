/*
 * The seam is tried from outside: this program runs itself, with a plan of
 * its end in the environment, and looks at what is left of a file.
 */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fleetbak/base/child.h"
#include "fleetbak/base/clock.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/seam.h"
#include "fleetbak/store/store.h"

static struct fb_error err;

#ifdef FB_FAULTS

/* Steps: 1 write, 2 sync, 3 write, 4 sync, 5 write. */
static int
write_in_steps(const char *path)
{
	FB_AUTO_CLOSE int fd = fb_io_open(path, O_WRONLY | O_CREAT, 0600, &err);

	(void)fb_clock_wall_ns(); /* counts for no crash */
	if (fd < 0 || fb_io_write_all(fd, path, SPAN("aaaa"), &err) < 0 ||
	    fb_io_sync(fd, path, &err) < 0 ||
	    fb_io_write_all(fd, path, SPAN("bbbb"), &err) < 0 ||
	    fb_io_sync(fd, path, &err) < 0 ||
	    fb_io_write_all(fd, path, SPAN("cccc"), &err) < 0)
		return 1;
	return 0;
}

static void
assert_left(const char *plan, int exit_code, const char *content)
{
	char dir[] = "/tmp/fb-seam-XXXXXX";
	FB_AUTO_FREE char *crash = fb_format("FLEETBAK_CRASH=%s", plan);
	FB_AUTO_FREE char *path = NULL;
	struct fb_child_spec spec = { .lock_fd = -1 };
	FB_AUTO_CHILD struct fb_child_result result = { 0 };
	FB_AUTO_BUF struct fb_buf left = { 0 };

	assert_non_null(mkdtemp(dir));
	path = fb_format("%s/file", dir);
	assert_ok(fb_io_replace(path, SPAN(""), 0600, &err));
	spec.argv = (const char *const[]){ "/proc/self/exe", path, NULL };
	spec.env = (const char *const[]){ crash, NULL };
	assert_ok(fb_child_run(&spec, &result, &err));
	assert_int_equal(result.exit_code, exit_code);
	assert_ok(fb_io_read_file(path, 99, &left, &err));
	assert_string_equal(fb_buf_str(&left), content);
	assert_ok(fb_io_remove_tree(dir, &err));
}

static void
a_killed_process_leaves_what_it_wrote(void **state)
{
	(void)state;
	assert_left("1:kill", FB_EXIT_CRASH, "");
	assert_left("2:kill", FB_EXIT_CRASH, "aaaa");
	assert_left("4:kill", FB_EXIT_CRASH, "aaaabbbb");
	assert_left("5", FB_EXIT_CRASH, "aaaabbbb");
}

static void
a_torn_write_puts_down_half(void **state)
{
	(void)state;
	assert_left("1:torn", FB_EXIT_CRASH, "aa");
	assert_left("3:torn", FB_EXIT_CRASH, "aaaabb");
	assert_left("4:torn", FB_EXIT_CRASH, "aaaabbbb");
}

static void
power_loss_takes_what_was_not_synced(void **state)
{
	(void)state;
	assert_left("2:lost", FB_EXIT_CRASH, "");
	assert_left("3:lost", FB_EXIT_CRASH, "aaaa");
	assert_left("4:lost", FB_EXIT_CRASH, "aaaa");
	assert_left("5:lost", FB_EXIT_CRASH, "aaaabbbb");
}

/* Steps: 1 write, 2 sync, 3 rename, 4 sync; 5 unlink, 6 sync of the directory;
 * 7 write of a new file, 8 sync, 9 sync of the directory; 10 write over it. */
static int
change_names(const char *path)
{
	FB_AUTO_CLOSE int fd = -1;

	if (fb_io_replace(path, SPAN("new"), 0600, &err) < 0 ||
	    fb_io_unlink(path, &err) < 0 || fb_io_sync_parent(path, &err) < 0)
		return 1;
	fd = fb_io_open(path, O_RDWR | O_CREAT, 0600, &err);
	if (fd < 0 || fb_io_write_all(fd, path, SPAN("made"), &err) < 0 ||
	    fb_io_sync(fd, path, &err) < 0 ||
	    fb_io_sync_parent(path, &err) < 0 ||
	    fb_io_pwrite_all(fd, path, SPAN("over"), 0, &err) < 0 ||
	    fb_io_sync(fd, path, &err) < 0)
		return 1;
	return 0;
}

/* `content` NULL: the file is not there. */
static void
assert_lost(int step, const char *content)
{
	char dir[] = "/tmp/fb-seam-XXXXXX";
	FB_AUTO_FREE char *crash = fb_format("FLEETBAK_CRASH=%d:lost", step);
	FB_AUTO_FREE char *path = NULL;
	FB_AUTO_CHILD struct fb_child_result result = { 0 };
	FB_AUTO_BUF struct fb_buf left = { 0 };

	assert_non_null(mkdtemp(dir));
	path = fb_format("%s/file", dir);
	assert_ok(fb_io_replace(path, SPAN("old"), 0600, &err));
	assert_ok(fb_child_run(
	    &(struct fb_child_spec){
	        .lock_fd = -1,
	        .argv = (const char *const[]){ "/proc/self/exe",
	            "change_names", path, NULL },
	        .env = (const char *const[]){ crash, NULL } },
	    &result, &err));
	assert_int_equal(result.exit_code, FB_EXIT_CRASH);
	if (content == NULL) {
		assert_int_equal(access(path, F_OK), -1);
	} else {
		assert_ok(fb_io_read_file(path, 99, &left, &err));
		assert_string_equal(fb_buf_str(&left), content);
	}
	assert_ok(fb_io_remove_tree(dir, &err));
}

static void
power_loss_takes_names_back(void **state)
{
	(void)state;
	assert_lost(3, "old");
	assert_lost(4, "old");  /* renamed, not synced */
	assert_lost(5, "new");
	assert_lost(6, "new");  /* removed, not synced */
	assert_lost(7, NULL);
	assert_lost(9, NULL);   /* its bytes are synced, its name is not */
	assert_lost(10, "made");
	assert_lost(11, "made"); /* written over, not synced */
}

static void
a_step_that_never_comes_changes_nothing(void **state)
{
	(void)state;
	assert_left("6:kill", 0, "aaaabbbbcccc");
	assert_left("0:kill", 0, "aaaabbbbcccc");
}

static void
the_steps_are_logged(void **state)
{
	char dir[] = "/tmp/fb-seam-XXXXXX";
	FB_AUTO_FREE char *path = NULL, *log = NULL, *env = NULL;
	FB_AUTO_FREE char *expected = NULL;
	struct fb_child_spec spec = { .lock_fd = -1 };
	FB_AUTO_CHILD struct fb_child_result result = { 0 };
	FB_AUTO_BUF struct fb_buf steps = { 0 };

	(void)state;
	assert_non_null(mkdtemp(dir));
	path = fb_format("%s/file", dir);
	log = fb_format("%s/log", dir);
	env = fb_format("FLEETBAK_CRASH_LOG=%s", log);
	expected = fb_format("1 write %s\n2 sync %s\n3 write %s\n"
	                     "4 sync %s\n5 write %s\n",
	    path, path, path, path, path);
	spec.argv = (const char *const[]){ "/proc/self/exe", path, NULL };
	spec.env = (const char *const[]){ env, NULL };
	assert_ok(fb_child_run(&spec, &result, &err));
	assert_int_equal(result.exit_code, 0);
	assert_ok(fb_io_read_file(log, 9999, &steps, &err));
	assert_string_equal(fb_buf_str(&steps), expected);
	assert_ok(fb_io_remove_tree(dir, &err));
}

/* ------------------------------------------------------------- faults */

static int
write_file(const char *path)
{
	return write_in_steps(path) == 0 ? 0 : err.sys;
}

static int
read_file(const char *path)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };

	if (fb_io_replace(path, SPAN("0123456789"), 0600, &err) < 0)
		return 1;
	if (fb_io_read_file(path, 99, &bytes, &err) < 0)
		return err.sys;
	return strcmp(fb_buf_str(&bytes), "0123456789") == 0 ? 0 : 2;
}

static int
list_dir(const char *path)
{
	FB_AUTO_FREE char *dir =
	    fb_format("%.*s", (int)(strrchr(path, '/') - path), path);
	FB_AUTO_LISTING char **names = NULL;

	if (fb_io_replace(path, SPAN("x"), 0600, &err) < 0)
		return 1;
	if (fb_io_list(dir, &names, &err) < 0)
		return err.sys;
	return strcmp(names[0], "file") == 0 && names[1] == NULL ? 0 : 2;
}

static int
take_memory(const char *path)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	FB_AUTO_FREE void *array = NULL;

	(void)path;
	fb_buf_add_str(&bytes, "kept");
	if (fb_buf_reserve_or_fail(&bytes, 1000, &err) < 0)
		return strcmp(fb_buf_str(&bytes), "kept") == 0 ? err.sys : 1;
	array = fb_alloc_or_fail(7, 1000, &err);
	return array == NULL ? err.sys : 0;
}

/* 0: it is there and known to be; else how it was refused, or lost. */
static int
put_object(const char *path)
{
	FB_AUTO_STORE struct fb_store *store = NULL;
	uint64_t size;
	int put;

	(void)path;
	if (fb_store_open("mem:", true, NULL, &store, &err) < 0)
		return 99;
	put = fb_store_create(store, "key", SPAN("bytes"), &err);
	if (fb_store_head(store, "key", &size, &err) == FB_OK)
		return put == FB_OK ? 0 : -put;
	return put == FB_OK ? 98 : 64 - put;
}

static int
run_a_child(const char *path)
{
	FB_AUTO_CHILD struct fb_child_result result = { 0 };
	struct fb_child_spec spec = { .lock_fd = -1,
		.argv = (const char *const[]){ "touch", path, NULL } };

	if (fb_child_run(&spec, &result, &err) < 0)
		return err.sys;
	if (result.timed_out)
		return 100;
	return result.signal != 0 ? 101 : result.exit_code;
}

static int
read_clocks(const char *path)
{
	int64_t wall = fb_clock_wall_ns() / 1000000000;
	int64_t mono = fb_clock_mono_ns() / 1000000000;

	(void)path;
	wall = fb_clock_wall_ns() / 1000000000 - wall;
	mono = fb_clock_mono_ns() / 1000000000 - mono;
	return (int)(wall / 1000 * 10 + mono / 1000);
}

static const struct {
	const char *name;
	int (*run)(const char *path);
} bodies[] = {
	{ "write_file", write_file },
	{ "read_file", read_file },
	{ "list_dir", list_dir },
	{ "take_memory", take_memory },
	{ "put_object", put_object },
	{ "run_a_child", run_a_child },
	{ "change_names", change_names },
	{ "read_clocks", read_clocks },
};

static int
run_body(const char *name, const char *path)
{
	for (size_t i = 0; i < FB_COUNT(bodies); i++)
		if (strcmp(bodies[i].name, name) == 0)
			return bodies[i].run(path);
	return 127;
}

/* What a body answers with this plan, in a process of its own, because steps
 * are counted from its start on; `content` is what it must leave. */
static int
scripted(const char *plan, const char *body, const char *content)
{
	char dir[] = "/tmp/fb-seam-XXXXXX";
	FB_AUTO_FREE char *env = fb_format("FLEETBAK_FAULT=%s", plan);
	FB_AUTO_FREE char *path = NULL;
	FB_AUTO_BUF struct fb_buf left = { 0 };
	FB_AUTO_CHILD struct fb_child_result result = { 0 };
	struct fb_child_spec spec = { .lock_fd = -1 };

	assert_non_null(mkdtemp(dir));
	path = fb_format("%s/file", dir);
	spec.argv = (const char *const[]){ "/proc/self/exe", body, path, NULL };
	spec.env = (const char *const[]){ env, NULL };
	assert_ok(fb_child_run(&spec, &result, &err));
	if (content != NULL) {
		assert_ok(fb_io_read_file(path, 99, &left, &err));
		assert_string_equal(fb_buf_str(&left), content);
	}
	assert_ok(fb_io_remove_tree(dir, &err));
	return result.exit_code;
}

static void
a_step_fails_as_it_is_told(void **state)
{
	(void)state;
	/* 1 open, 2 clock, 3 write, 4 sync, 5 write, 6 sync, 7 write */
	assert_int_equal(scripted("1:EMFILE", "write_file", NULL), EMFILE);
	assert_int_equal(scripted("3:EIO", "write_file", ""), EIO);
	assert_int_equal(scripted("4:EIO", "write_file", "aaaa"), EIO);
	assert_int_equal(
	    scripted("sync.2:EROFS", "write_file", "aaaabbbb"), EROFS);
	assert_int_equal(scripted("8:EIO", "write_file", "aaaabbbbcccc"), 0);
	assert_int_equal(
	    scripted("store.1:EIO,7:EIO", "write_file", "aaaabbbb"), EIO);
}

static void
a_full_disk_takes_half(void **state)
{
	(void)state;
	assert_int_equal(
	    scripted("write.2:ENOSPC", "write_file", "aaaabb"), ENOSPC);
	assert_int_equal(
	    scripted("write.1:EDQUOT", "write_file", "aa"), EDQUOT);
}

static void
interruptions_and_short_writes_change_nothing(void **state)
{
	(void)state;
	assert_int_equal(scripted("1:EINTR", "write_file", "aaaabbbbcccc"), 0);
	for (int i = 3; i <= 7; i++) {
		FB_AUTO_FREE char *interrupted = fb_format("%d:EINTR", i);
		FB_AUTO_FREE char *less = fb_format("%d:short", i);

		assert_int_equal(
		    scripted(interrupted, "write_file", "aaaabbbbcccc"), 0);
		assert_int_equal(
		    scripted(less, "write_file", "aaaabbbbcccc"), 0);
	}
}

static void
reads_fail_too(void **state)
{
	(void)state;
	assert_int_equal(
	    scripted("read.1:EIO", "read_file", "0123456789"), EIO);
	assert_int_equal(
	    scripted("read.1:EINTR", "read_file", "0123456789"), 0);
	assert_int_equal(
	    scripted("read.1:short", "read_file", "0123456789"), 0);
	assert_int_equal(
	    scripted("read.2+:EIO", "read_file", "0123456789"), EIO);
}

static void
a_listing_is_whole_or_fails(void **state)
{
	(void)state;
	/* A descriptor, then ".", "..", the file and the end, in any order. */
	assert_int_equal(scripted("open.3:EMFILE", "list_dir", NULL), EMFILE);
	for (int i = 1; i <= 4; i++) {
		FB_AUTO_FREE char *broken = fb_format("read.%d:EIO", i);
		FB_AUTO_FREE char *interrupted = fb_format("read.%d:EINTR", i);

		assert_int_equal(scripted(broken, "list_dir", NULL), EIO);
		assert_int_equal(scripted(interrupted, "list_dir", NULL), 0);
	}
	assert_int_equal(scripted("read.5:EIO", "list_dir", NULL), 0);
}

static void
no_memory_for_what_came_from_outside_is_an_error(void **state)
{
	(void)state;
	assert_int_equal(
	    scripted("alloc.1:ENOMEM", "take_memory", NULL), ENOMEM);
	assert_int_equal(
	    scripted("alloc.2:ENOMEM", "take_memory", NULL), ENOMEM);
	assert_int_equal(scripted("alloc.3:ENOMEM", "take_memory", NULL), 0);
	assert_int_equal(
	    scripted("alloc.1:ENOMEM", "read_file", "0123456789"), ENOMEM);
}

static void
an_answer_is_lost_after_the_effect(void **state)
{
	(void)state;
	assert_int_equal(scripted("store.3:lost", "put_object", NULL), 0);
	assert_int_equal(
	    scripted("store.2:lost", "put_object", NULL), -FB_EUNKNOWN);
	assert_int_equal(
	    scripted("store.2:late", "put_object", NULL), -FB_ETIMEOUT);
}

static void
a_refused_call_has_no_effect(void **state)
{
	(void)state;
	assert_int_equal(
	    scripted("store.2:timeout", "put_object", NULL), 64 - FB_ETIMEOUT);
	assert_int_equal(
	    scripted("store.2:ENOSPC", "put_object", NULL), 64 - FB_ENOSPACE);
	assert_int_equal(
	    scripted("store.2:EIO", "put_object", NULL), 64 - FB_ESYS);
}

static void
a_child_fails_to_start_or_to_tell(void **state)
{
	(void)state;
	assert_int_equal(
	    scripted("2:EIO", "run_a_child", NULL), EIO); /* a pipe */
	assert_int_equal(
	    scripted("child.1:EAGAIN", "run_a_child", NULL), EAGAIN);
	assert_int_equal(scripted("child.1:lost", "run_a_child", ""), 101);
	assert_int_equal(scripted("child.1:late", "run_a_child", ""), 100);
	assert_int_equal(scripted("child.2:EIO", "run_a_child", ""), 0);
}

static void
a_clock_jumps(void **state)
{
	(void)state;
	assert_int_equal(scripted("clock.2:+3005", "read_clocks", NULL), 30);
	assert_int_equal(
	    scripted("2:+3005,mono.2:+7005", "read_clocks", NULL), 37);
	assert_int_equal(scripted("clock.1:+3005", "read_clocks", NULL), 0);
	assert_int_equal(
	    scripted("clock.1:+7005,clock.2:-4002", "read_clocks", NULL),
	    256 - 40);
}

static void
a_process_stops_before_a_step_and_takes_it(void **state)
{
	char path[] = "/tmp/fb-seam-XXXXXX";
	FB_AUTO_CLOSE int fd = mkostemp(path, O_CLOEXEC);
	FB_AUTO_BUF struct fb_buf left = { 0 };
	pid_t pid = fork();
	int status;

	(void)state;
	if (pid == 0) {
		(void)setenv("FLEETBAK_FAULT", "write.2:stop", 1);
		(void)execl("/proc/self/exe", "test_seam", path, NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
	assert_ok(fb_io_read_file(path, 99, &left, &err));
	assert_string_equal(fb_buf_str(&left), "aaaa");
	assert_int_equal(kill(pid, SIGCONT), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	fb_buf_clear(&left);
	assert_ok(fb_io_read_file(path, 99, &left, &err));
	assert_string_equal(fb_buf_str(&left), "aaaabbbbcccc");
	assert_int_equal(unlink(path), 0);
}

static void
all_steps_are_logged(void **state)
{
	char dir[] = "/tmp/fb-seam-XXXXXX";
	FB_AUTO_FREE char *path = NULL, *log = NULL, *env = NULL;
	FB_AUTO_FREE char *expected = NULL;
	struct fb_child_spec spec = { .lock_fd = -1 };
	FB_AUTO_CHILD struct fb_child_result result = { 0 };
	FB_AUTO_BUF struct fb_buf steps = { 0 };

	(void)state;
	assert_non_null(mkdtemp(dir));
	path = fb_format("%s/file", dir);
	log = fb_format("%s/log", dir);
	env = fb_format("FLEETBAK_FAULT_LOG=%s", log);
	expected = fb_format("1 open %s\n2 clock wall\n3 write %s\n"
	                     "4 sync %s\n5 write %s\n6 sync %s\n"
	                     "7 write %s\n",
	    path, path, path, path, path, path);
	spec.argv = (const char *const[]){ "/proc/self/exe", path, NULL };
	spec.env = (const char *const[]){ env, NULL };
	assert_ok(fb_child_run(&spec, &result, &err));
	assert_int_equal(result.exit_code, 0);
	assert_ok(fb_io_read_file(log, 9999, &steps, &err));
	assert_string_equal(fb_buf_str(&steps), expected);
	assert_ok(fb_io_remove_tree(dir, &err));
}

static volatile sig_atomic_t caught;

static void
on_signal(int number)
{
	caught = number;
}

static int
steps_with_a_signal(void)
{
	(void)setenv("FLEETBAK_CRASH", "2:SIGTERM", 1);
	(void)signal(SIGTERM, on_signal);
	if (fb_seam(FB_STEP_WRITE, "one") != FB_FAULT_NONE || caught != 0)
		return 1;
	if (fb_seam(FB_STEP_SYNC, "two") != FB_FAULT_NONE || caught != SIGTERM)
		return 2;
	caught = 0;
	return fb_seam(FB_STEP_WRITE, "three") != FB_FAULT_NONE || caught != 0;
}

static void
a_signal_comes_at_its_step_and_no_other(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	if (pid == 0)
		_exit(steps_with_a_signal());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_signal_comes_at_its_step_and_no_other),
		cmocka_unit_test(a_killed_process_leaves_what_it_wrote),
		cmocka_unit_test(a_torn_write_puts_down_half),
		cmocka_unit_test(power_loss_takes_what_was_not_synced),
		cmocka_unit_test(power_loss_takes_names_back),
		cmocka_unit_test(a_step_that_never_comes_changes_nothing),
		cmocka_unit_test(the_steps_are_logged),
		cmocka_unit_test(a_step_fails_as_it_is_told),
		cmocka_unit_test(a_full_disk_takes_half),
		cmocka_unit_test(interruptions_and_short_writes_change_nothing),
		cmocka_unit_test(reads_fail_too),
		cmocka_unit_test(a_listing_is_whole_or_fails),
		cmocka_unit_test(
		    no_memory_for_what_came_from_outside_is_an_error),
		cmocka_unit_test(an_answer_is_lost_after_the_effect),
		cmocka_unit_test(a_refused_call_has_no_effect),
		cmocka_unit_test(a_child_fails_to_start_or_to_tell),
		cmocka_unit_test(a_clock_jumps),
		cmocka_unit_test(a_process_stops_before_a_step_and_takes_it),
		cmocka_unit_test(all_steps_are_logged),
	};

	if (argc == 2)
		return write_in_steps(argv[1]);
	if (argc == 3)
		return run_body(argv[1], argv[2]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

/* Without faults there is no seam: nothing in the environment matters. */
static void
a_release_knows_no_such_variable(void **state)
{
	(void)state;
	assert_int_equal(setenv("FLEETBAK_CRASH", "1:kill", 1), 0);
	assert_int_equal(fb_seam(FB_STEP_WRITE, "x"), FB_FAULT_NONE);
	assert_int_equal(fb_seam(FB_STEP_WRITE, "x"), FB_FAULT_NONE);
	(void)err;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_release_knows_no_such_variable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif

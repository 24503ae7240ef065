#include "test.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fleetbak/base/buf.h"
#include "fleetbak/base/clock.h"
#include "fleetbak/base/group.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/lock.h"
#include "fleetbak/base/mem.h"

static struct fb_error err;
static char dir[] = "/tmp/fb-lock-XXXXXX";

static int
make_dir(void **state)
{
	(void)state;
	return mkdtemp(dir) != NULL ? 0 : -1;
}

static int
remove_dir(void **state)
{
	(void)state;
	return fb_io_remove_tree(dir, &err);
}

static void
the_second_is_told_who_holds_it(void **state)
{
	FB_AUTO_FREE char *path = fb_format("%s/one", dir);
	FB_AUTO_FREE char *pid = fb_format("pid %ld, run", (long)getpid());
	FB_AUTO_CLOSE int fd =
	    fb_lock_take(path, 0, NULL, "run\x1b[2J of tonight", &err);
	struct stat st;

	(void)state;
	assert_true(fd >= 0);
	assert_fails(FB_EBUSY, fb_lock_take(path, 0, NULL, "other", &err));
	assert_string_equal(err.id, "E-LOCKED");
	assert_non_null(strstr(err.msg, pid));
	assert_non_null(strstr(err.msg, "%1b[2J of tonight"));
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

static void
closing_gives_it_up(void **state)
{
	FB_AUTO_FREE char *path = fb_format("%s/two", dir);
	int fd = fb_lock_take(path, 0, NULL, "a long note of the first", &err);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(close(fd), 0);
	fd = fb_lock_take(path, 0, NULL, "b", &err);
	assert_true(fd >= 0);
	assert_fails(FB_EBUSY, fb_lock_take(path, 0, NULL, "c", &err));
	assert_null(strstr(err.msg, "first"));
	assert_int_equal(close(fd), 0);
}

static int
give_up_soon(void *arg, struct fb_error *task_err)
{
	(void)task_err;
	(void)poll(NULL, 0, 60);
	return close(*(int *)arg);
}

static void
who_waits_gets_it(void **state)
{
	FB_AUTO_FREE char *path = fb_format("%s/three", dir);
	int first = fb_lock_take(path, 0, NULL, "first", &err), second;
	struct fb_group *group = fb_group_new();

	(void)state;
	assert_true(first >= 0);
	fb_group_start(group, give_up_soon, &first);
	second = fb_lock_take(path, 60000, NULL, "second", &err);
	assert_true(second >= 0);
	assert_ok(fb_group_wait(group, &err));
	assert_int_equal(close(second), 0);
}

static void
who_waits_in_vain_waits_as_long_as_said(void **state)
{
	FB_AUTO_FREE char *path = fb_format("%s/four", dir);
	FB_AUTO_CLOSE int fd = fb_lock_take(path, 0, NULL, "first", &err);
	int64_t start = fb_clock_mono_ns();

	(void)state;
	assert_true(fd >= 0);
	assert_fails(FB_EBUSY, fb_lock_take(path, 120, NULL, "second", &err));
	assert_true(fb_clock_mono_ns() - start >= 120000000);
}

static int
cancel_soon(void *arg, struct fb_error *task_err)
{
	(void)task_err;
	(void)poll(NULL, 0, 60);
	atomic_store((atomic_bool *)arg, true);
	return FB_OK;
}

static void
who_waits_can_be_called_off(void **state)
{
	FB_AUTO_FREE char *path = fb_format("%s/five", dir);
	FB_AUTO_CLOSE int fd = fb_lock_take(path, 0, NULL, "first", &err);
	struct fb_group *group = fb_group_new();
	atomic_bool cancel = false;

	(void)state;
	assert_true(fd >= 0);
	fb_group_start(group, cancel_soon, &cancel);
	assert_fails(FB_ECANCELED,
	    fb_lock_take(path, 600000, &cancel, "second", &err));
	assert_ok(fb_group_wait(group, &err));
}

/* The kernel gives up what the dead held: a lock is never stale. */
static void
the_dead_hold_nothing(void **state)
{
	FB_AUTO_FREE char *path = fb_format("%s/six", dir);
	FB_AUTO_CLOSE int again = -1;
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		if (fb_lock_take(path, 0, NULL, "who dies", &err) >= 0)
			(void)raise(SIGKILL);
		_exit(1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	again = fb_lock_take(path, 0, NULL, "the next", &err);
	assert_true(again >= 0);
}

static void
who_has_it_open_is_named(void **state)
{
	FB_AUTO_FREE char *path = fb_format("%s/seven", dir);
	FB_AUTO_CLOSE int fd = fb_lock_take(path, 0, NULL, "mine", &err);
	FB_AUTO_BUF struct fb_buf who = { 0 };
	FB_AUTO_FREE char *expected = NULL;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		(void)pause();
		_exit(0);
	}
	fb_lock_add_holders(&who, fd);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	expected = fb_format("pid %ld (test_lock)", (long)pid);
	assert_string_equal(fb_buf_str(&who), expected);
	fb_buf_clear(&who);
	fb_lock_add_holders(&who, fd);
	assert_int_equal(who.len, 0); /* we do not count */
}

static void
only_a_regular_file_is_a_lock(void **state)
{
	FB_AUTO_FREE char *target = fb_format("%s/target", dir);
	FB_AUTO_FREE char *link_path = fb_format("%s/link", dir);
	FB_AUTO_FREE char *fifo = fb_format("%s/fifo", dir);

	(void)state;
	assert_int_equal(symlink(target, link_path), 0);
	assert_fails(FB_ESYS, fb_lock_take(link_path, 0, NULL, "x", &err));
	assert_int_equal(access(target, F_OK), -1);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_fails(FB_ESYS, fb_lock_take(fifo, 0, NULL, "x", &err));
	assert_fails(FB_ESYS, fb_lock_take(dir, 0, NULL, "x", &err));
}

static void
looking_keeps_nobody_out(void **state)
{
	FB_AUTO_FREE char *path = fb_format("%s/look", dir);
	FB_AUTO_FREE char *none = fb_format("%s/none/look", dir);
	int looking, fd;

	(void)state;
	assert_ok(fb_lock_look(path, &err));
	assert_int_equal(access(path, F_OK), -1);
	assert_ok(fb_lock_look(none, &err));
	fd = fb_lock_take(path, 0, NULL, "the first", &err);
	assert_true(fd >= 0);
	assert_fails(FB_EBUSY, fb_lock_look(path, &err));
	assert_string_equal(err.id, "E-LOCKED");
	assert_non_null(strstr(err.msg, "the first"));
	assert_int_equal(close(fd), 0);
	assert_ok(fb_lock_look(path, &err));

	looking = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(flock(looking, LOCK_SH | LOCK_NB), 0);
	assert_ok(fb_lock_look(path, &err));
	{
		struct fb_group *group = fb_group_new();

		fb_group_start(group, give_up_soon, &looking);
		fd = fb_lock_take(path, 0, NULL, "not kept out", &err);
		assert_true(fd >= 0);
		assert_ok(fb_group_wait(group, &err));
	}
	assert_int_equal(close(fd), 0);
	assert_fails(FB_ESYS, fb_lock_look(dir, &err));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_second_is_told_who_holds_it),
		cmocka_unit_test(closing_gives_it_up),
		cmocka_unit_test(who_waits_gets_it),
		cmocka_unit_test(who_waits_in_vain_waits_as_long_as_said),
		cmocka_unit_test(who_waits_can_be_called_off),
		cmocka_unit_test(the_dead_hold_nothing),
		cmocka_unit_test(who_has_it_open_is_named),
		cmocka_unit_test(looking_keeps_nobody_out),
		cmocka_unit_test(only_a_regular_file_is_a_lock),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}

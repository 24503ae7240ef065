/*
 * The seam is tried from outside: this program runs itself, with a plan of
 * its end in the environment, and looks at what is left of a file.
 */
#include "test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fleetbak/base/child.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/seam.h"

static struct fb_error err;

#ifdef FB_FAULTS

/* Steps: 1 write, 2 sync, 3 write, 4 sync, 5 write. */
static int
write_in_steps(const char *path)
{
	FB_AUTO_CLOSE int fd = fb_io_open(path, O_WRONLY | O_CREAT, 0600, &err);

	(void)fb_seam(FB_STEP_READ, "not counted");
	(void)fb_seam(FB_STEP_CLOCK, "not counted");
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

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_killed_process_leaves_what_it_wrote),
		cmocka_unit_test(a_torn_write_puts_down_half),
		cmocka_unit_test(power_loss_takes_what_was_not_synced),
		cmocka_unit_test(a_step_that_never_comes_changes_nothing),
		cmocka_unit_test(the_steps_are_logged),
	};

	if (argc == 2)
		return write_in_steps(argv[1]);
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

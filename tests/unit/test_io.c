#include "test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "faults.h"

#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"

static struct fb_error err;

static int
make_dir(void **state)
{
	*state = fb_strdup("/tmp/fb-io-XXXXXX");
	return mkdtemp(*state) != NULL ? 0 : -1;
}

static int
remove_dir(void **state)
{
	int rc = fb_io_remove_tree(*state, &err);

	free(*state);
	return rc;
}

static void
assert_file(const char *path, const char *content)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };

	assert_ok(fb_io_read_file(path, 1000, &bytes, &err));
	assert_string_equal(fb_buf_str(&bytes), content);
}

static void
a_replaced_file_has_the_new_bytes_and_mode(void **state)
{
	FB_AUTO_FREE char *path = fb_format("%s/file", (char *)*state);
	FB_AUTO_FREE char *temp = fb_format("%s.tmp", path);
	struct stat st;

	assert_ok(fb_io_replace(path, SPAN("one"), 0600, &err));
	assert_file(path, "one");
	assert_ok(fb_io_replace(path, SPAN(""), 0400, &err));
	assert_file(path, "");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0400);
	assert_int_equal(access(temp, F_OK), -1);
}

static void
a_file_becomes_what_another_one_holds(void **state)
{
	FB_AUTO_FREE char *path = fb_format("%s/file", (char *)*state);
	FB_AUTO_FREE char *from = fb_format("%s/from", (char *)*state);
	size_t len = (3u << 18) + 5;
	FB_AUTO_FREE char *text = fb_alloc(len + 1, 1);
	FB_AUTO_BUF struct fb_buf got = { 0 };
	struct stat st;

	memset(text, 'x', len);
	text[len - 1] = 'y';
	assert_ok(fb_io_replace(path, SPAN("one"), 0600, &err));
	assert_fails(FB_ENOTFOUND,
	    fb_io_replace_by(path, from, len, 0400, &err));
	assert_ok(fb_io_replace(from,
	    (struct fb_span){ (uint8_t *)text, len }, 0600, &err));
	assert_fails(FB_ECORRUPT,
	    fb_io_replace_by(path, from, len - 1, 0400, &err));
	assert_file(path, "one");
	assert_ok(fb_io_replace_by(path, from, len, 0400, &err));
	assert_ok(fb_io_read_file(path, len, &got, &err));
	assert_int_equal(got.len, len);
	assert_memory_equal(got.data, text, len);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0400);
}

static void
a_leftover_of_a_crash_does_not_stop_a_replace(void **state)
{
	FB_AUTO_FREE char *path = fb_format("%s/file", (char *)*state);
	FB_AUTO_FREE char *temp = fb_format("%s.tmp", path);
	struct stat st;

	assert_ok(fb_io_replace(temp, SPAN("half of a longer"), 0444, &err));
	assert_ok(fb_io_replace(path, SPAN("whole"), 0600, &err));
	assert_file(path, "whole");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

static void
a_temporary_name_that_is_a_link_is_not_followed(void **state)
{
	FB_AUTO_FREE char *path = fb_format("%s/file", (char *)*state);
	FB_AUTO_FREE char *temp = fb_format("%s.tmp", path);
	FB_AUTO_FREE char *victim = fb_format("%s/victim", (char *)*state);

	assert_ok(fb_io_replace(victim, SPAN("safe"), 0600, &err));
	assert_int_equal(symlink(victim, temp), 0);
	assert_ok(fb_io_replace(path, SPAN("new"), 0600, &err));
	assert_file(victim, "safe");
	assert_file(path, "new");
}

static void
a_replace_that_fails_leaves_the_former_file(void **state)
{
	FB_AUTO_FREE char *path = fb_format("%s/no/such", (char *)*state);
	FB_AUTO_FREE char *dir = fb_format("%s/dir", (char *)*state);
	FB_AUTO_FREE char *temp = fb_format("%s.tmp", dir);

	assert_fails(FB_ENOTFOUND, fb_io_replace(path, SPAN("x"), 0600, &err));
	assert_non_null(strstr(err.msg, path));
	assert_ok(fb_io_mkdirs(dir, 0700, &err));
	assert_true(fb_io_replace(dir, SPAN("x"), 0600, &err) < 0);
	assert_int_equal(access(temp, F_OK), -1);
}

static void
a_file_larger_than_allowed_is_refused(void **state)
{
	FB_AUTO_FREE char *path = fb_format("%s/file", (char *)*state);
	FB_AUTO_BUF struct fb_buf bytes = { 0 };

	assert_ok(fb_io_replace(path, SPAN("12345"), 0600, &err));
	assert_ok(fb_io_read_file(path, 5, &bytes, &err));
	assert_fails(FB_ECORRUPT, fb_io_read_file(path, 4, &bytes, &err));
	assert_fails(FB_ECORRUPT, fb_io_read_file(path, 0, &bytes, &err));
}

static void
bytes_are_read_and_written_where_asked(void **state)
{
	FB_AUTO_FREE char *path = fb_format("%s/file", (char *)*state);
	FB_AUTO_CLOSE int fd = fb_io_open(path, O_RDWR | O_CREAT, 0600, &err);
	char bytes[8] = "";
	size_t len;

	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_ok(fb_io_write_all(fd, path, SPAN("abcdef"), &err));
	assert_ok(fb_io_pwrite_all(fd, path, SPAN("XY"), 2, &err));
	assert_ok(fb_io_sync(fd, path, &err));
	assert_ok(fb_io_pread(fd, path, bytes, 4, 1, &len, &err));
	assert_int_equal(len, 4);
	assert_memory_equal(bytes, "bXYe", 4);
	assert_ok(fb_io_pread(fd, path, bytes, 8, 4, &len, &err));
	assert_int_equal(len, 2);
	assert_ok(fb_io_pread(fd, path, bytes, 8, 99, &len, &err));
	assert_int_equal(len, 0);
	assert_ok(fb_io_truncate(fd, path, 3, &err));
	assert_file(path, "abX");
	assert_fails(FB_ESYS, fb_io_sync(-1, path, &err));
}

static void
directories_are_made_with_their_parents(void **state)
{
	FB_AUTO_FREE char *path = fb_format("%s/a/b/c", (char *)*state);
	FB_AUTO_FREE char *file = fb_format("%s/file", (char *)*state);
	FB_AUTO_FREE char *below = fb_format("%s/file/x", (char *)*state);
	struct stat st;

	assert_ok(fb_io_mkdirs(path, 0700, &err));
	assert_ok(fb_io_mkdirs(path, 0700, &err));
	assert_int_equal(stat(path, &st), 0);
	assert_true(S_ISDIR(st.st_mode));
	assert_ok(fb_io_replace(file, SPAN("x"), 0600, &err));
	assert_fails(FB_EEXISTS, fb_io_mkdirs(file, 0700, &err));
	assert_fails(FB_EEXISTS, fb_io_mkdirs(below, 0700, &err));
}

#ifdef FB_FAULTS
/* What the seam logs while a directory that is there is asked for. */
static int
ask_for_dir(const char *path, const char *log, struct fb_buf *ret_steps)
{
	int rc;

	(void)setenv("FLEETBAK_FAULT_LOG", log, 1);
	rc = fb_io_mkdirs(path, 0700, &err);
	(void)unsetenv("FLEETBAK_FAULT_LOG");
	assert_ok(fb_io_read_file(log, 4096, ret_steps, &err));
	return rc;
}

/* Whoever made it may have died before it was durable. */
static void
a_directory_that_is_there_is_made_durable(void **state)
{
	FB_AUTO_FREE char *path = fb_format("%s/made", (char *)*state);
	FB_AUTO_FREE char *log = fb_format("%s/log", (char *)*state);
	FB_AUTO_FREE char *sync = fb_format(" sync %s\n", (char *)*state);
	FB_AUTO_BUF struct fb_buf steps = { 0 };

	assert_int_equal(mkdir(path, 0700), 0);
	assert_ok(ask_for_dir(path, log, &steps));
	assert_non_null(strstr(fb_buf_str(&steps), sync));
}

/* One that lies where we may not look is somebody else's, and is there. */
static void
a_parent_that_may_not_be_read_needs_no_sync(void **state)
{
	FB_AUTO_FREE char *path = fb_format("%s/made", (char *)*state);
	unsigned long first;

	assert_int_equal(mkdir(path, 0700), 0);
	first = faults_begin();
	assert_true(faults_arm(first, "EACCES"));
	assert_ok(fb_io_mkdirs(path, 0700, &err));
	assert_true(faults_arm(first, "EIO"));
	assert_fails(FB_ESYS, fb_io_mkdirs(path, 0700, &err));
	faults_disarm();
	assert_ok(fb_io_mkdirs(path, 0700, &err));
}
#endif

static void
a_fresh_rename_replaces_nothing(void **state)
{
	FB_AUTO_FREE char *a = fb_format("%s/a", (char *)*state);
	FB_AUTO_FREE char *b = fb_format("%s/b", (char *)*state);

	assert_ok(fb_io_replace(a, SPAN("a"), 0600, &err));
	assert_ok(fb_io_replace(b, SPAN("b"), 0600, &err));
	assert_fails(FB_EEXISTS, fb_io_rename(a, b, true, &err));
	assert_file(b, "b");
	assert_ok(fb_io_rename(a, b, false, &err));
	assert_file(b, "a");
	assert_fails(FB_ENOTFOUND, fb_io_rename(a, b, false, &err));
	assert_ok(fb_io_rename(b, a, true, &err));
	assert_file(a, "a");
}

static void
removing_what_is_gone_is_no_error(void **state)
{
	FB_AUTO_FREE char *path = fb_format("%s/x", (char *)*state);

	assert_ok(fb_io_unlink(path, &err));
	assert_ok(fb_io_remove_tree(path, &err));
	assert_ok(fb_io_replace(path, SPAN("x"), 0600, &err));
	assert_ok(fb_io_unlink(path, &err));
	assert_int_equal(access(path, F_OK), -1);
}

static void
removing_a_tree_does_not_follow_links_out_of_it(void **state)
{
	FB_AUTO_FREE char *tree = fb_format("%s/tree", (char *)*state);
	FB_AUTO_FREE char *deep = fb_format("%s/tree/a/b", (char *)*state);
	FB_AUTO_FREE char *file = fb_format("%s/tree/a/b/f", (char *)*state);
	FB_AUTO_FREE char *out = fb_format("%s/out", (char *)*state);
	FB_AUTO_FREE char *kept = fb_format("%s/out/kept", (char *)*state);
	FB_AUTO_FREE char *link_path = fb_format("%s/l", tree);

	assert_ok(fb_io_mkdirs(deep, 0700, &err));
	assert_ok(fb_io_mkdirs(out, 0700, &err));
	assert_ok(fb_io_replace(file, SPAN("x"), 0400, &err));
	assert_ok(fb_io_replace(kept, SPAN("kept"), 0600, &err));
	assert_int_equal(symlink(out, link_path), 0);
	assert_ok(fb_io_remove_tree(tree, &err));
	assert_int_equal(access(tree, F_OK), -1);
	assert_file(kept, "kept");
}

static void
a_listing_is_sorted_and_knows_no_dots(void **state)
{
	FB_AUTO_FREE char *gone = fb_format("%s/gone", (char *)*state);
	FB_AUTO_LISTING char **names = NULL;

	assert_ok(fb_io_list(*state, &names, &err));
	assert_null(names[0]);
	fb_io_listing_freep(&names);
	for (const char *name = "cab.\0"; *name != '\0'; name++) {
		FB_AUTO_FREE char *path =
		    fb_format("%s/%c+", (char *)*state, *name);

		assert_ok(fb_io_replace(path, SPAN("x"), 0600, &err));
	}
	assert_ok(fb_io_list(*state, &names, &err));
	assert_string_equal(names[0], ".+");
	assert_string_equal(names[1], "a+");
	assert_string_equal(names[2], "b+");
	assert_string_equal(names[3], "c+");
	assert_null(names[4]);
	fb_io_listing_freep(&names);
	assert_fails(FB_ENOTFOUND, fb_io_list(gone, &names, &err));
	assert_null(names);
}

int
main(void)
{
#define IN_DIR(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)
	const struct CMUnitTest tests[] = {
		IN_DIR(a_replaced_file_has_the_new_bytes_and_mode),
		IN_DIR(a_file_becomes_what_another_one_holds),
		IN_DIR(a_leftover_of_a_crash_does_not_stop_a_replace),
		IN_DIR(a_temporary_name_that_is_a_link_is_not_followed),
		IN_DIR(a_replace_that_fails_leaves_the_former_file),
		IN_DIR(a_file_larger_than_allowed_is_refused),
		IN_DIR(bytes_are_read_and_written_where_asked),
		IN_DIR(directories_are_made_with_their_parents),
#ifdef FB_FAULTS
		IN_DIR(a_directory_that_is_there_is_made_durable),
		IN_DIR(a_parent_that_may_not_be_read_needs_no_sync),
#endif
		IN_DIR(a_fresh_rename_replaces_nothing),
		IN_DIR(a_listing_is_sorted_and_knows_no_dots),
		IN_DIR(removing_what_is_gone_is_no_error),
		IN_DIR(removing_a_tree_does_not_follow_links_out_of_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

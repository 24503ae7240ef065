#include "test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "faults.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/journal/checkpoint.h"
#include "fleetbak/journal/state.h"

static struct fb_error err;
static char dir[64];

static int
make_dir(void **state)
{
	(void)state;
	(void)snprintf(dir, sizeof(dir), "/tmp/fb-checkpoint-XXXXXX");
	return mkdtemp(dir) == NULL ? -1 : 0;
}

static int
remove_dir(void **state)
{
	(void)state;
	return fb_io_remove_tree(dir, &err);
}

static struct fb_span
span(const char *text)
{
	return (struct fb_span){ (const uint8_t *)text, strlen(text) };
}

static struct fb_checkpoints *
open_all(void)
{
	struct fb_checkpoints *all = NULL;

	assert_int_equal(FB_OK, fb_checkpoints_open(dir, 0, NULL, &all, &err));
	return all;
}

static uint64_t
add(struct fb_checkpoints *all, const char *label, const char *text)
{
	uint64_t id = 0;

	assert_int_equal(
	    FB_OK, fb_checkpoints_add(all, label, span(text), &id, &err));
	return id;
}

static void
assert_holds(uint64_t id, const char *label, const char *text)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	struct fb_checkpoint item;

	assert_int_equal(
	    FB_OK, fb_checkpoint_load(dir, id, &item, &bytes, &err));
	assert_string_equal(label, item.label);
	assert_int_equal(strlen(text), bytes.len);
	assert_string_equal(text, fb_buf_str(&bytes));
}

static void
assert_none(uint64_t id)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	struct fb_checkpoint item;

	assert_int_equal(FB_ENOTFOUND,
	    fb_checkpoint_load(dir, id, &item, &bytes, &err));
	assert_string_equal("E-CHECKPOINT-NONE", err.id);
}

static size_t
data_files(void)
{
	FB_AUTO_LISTING char **names = NULL;
	size_t count = 0;

	assert_int_equal(FB_OK, fb_io_list(dir, &names, &err));
	for (char **name = names; *name != NULL; name++)
		count += strstr(*name, ".data") != NULL;
	return count;
}

static void
test_the_newest_is_found(void **state)
{
	FB_AUTO_CHECKPOINTS struct fb_checkpoints *all = open_all();
	size_t count;

	(void)state;
	assert_none(0);
	assert_int_equal(1, add(all, "", "one"));
	assert_int_equal(2, add(all, "half-way", "two"));
	assert_int_equal(3, add(all, "nothing", ""));
	assert_holds(1, "", "one");
	assert_holds(2, "half-way", "two");
	assert_holds(3, "nothing", "");
	assert_holds(0, "nothing", "");
	assert_none(4);
	assert_string_equal(
	    "half-way", fb_checkpoints_list(all, &count)[1].label);
	assert_int_equal(3, count);
}

/* Nobody else reads what may be secret. */
static void
test_files_are_private(void **state)
{
	FB_AUTO_CHECKPOINTS struct fb_checkpoints *all = open_all();
	FB_AUTO_FREE char *data = fb_path_join(dir, "1.data");
	struct stat st;

	(void)state;
	(void)add(all, "", "secret");
	assert_int_equal(0, stat(data, &st));
	assert_int_equal(0600, st.st_mode & 0777);
}

/* A number means one thing for ever. */
static void
test_numbers_are_never_given_again(void **state)
{
	FB_AUTO_CHECKPOINTS struct fb_checkpoints *all = open_all();

	(void)state;
	(void)add(all, "a", "one");
	(void)add(all, "b", "two");
	assert_int_equal(FB_OK, fb_checkpoints_compact(all, NULL, &err));
	assert_none(1);
	assert_holds(2, "b", "two");
	assert_int_equal(1, data_files());
	assert_int_equal(FB_OK, fb_checkpoints_compact(all, "c", &err));
	assert_holds(2, "c", "two");
	assert_int_equal(FB_OK,
	    fb_checkpoints_finish(all, FB_CHECKPOINTS_COMPLETE, &err));
	assert_none(2);
	assert_non_null(strstr(err.msg, "complete"));
	assert_int_equal(0, data_files());
	fb_checkpoints_close(all);
	all = open_all();
	assert_int_equal(
	    FB_CHECKPOINTS_COMPLETE, fb_checkpoints_ended(all));
	assert_int_equal(3, add(all, "", "three"));
	assert_int_equal(FB_CHECKPOINTS_OPEN, fb_checkpoints_ended(all));
	assert_int_equal(FB_OK,
	    fb_checkpoints_finish(all, FB_CHECKPOINTS_CLEARED, &err));
	assert_none(0);
	assert_non_null(strstr(err.msg, "cleared"));
	assert_int_equal(FB_OK, fb_checkpoints_compact(all, NULL, &err));
}

/* A label is a name, and a directory is not left. */
static void
test_bad_labels(void **state)
{
	static const char *const bad[] = { "/../../esc", "/x", "..", "a b",
		"-x", "\303\251" };
	FB_AUTO_CHECKPOINTS struct fb_checkpoints *all = open_all();
	uint64_t id;

	(void)state;
	(void)add(all, "ok", "one");
	for (size_t i = 0; i < FB_COUNT(bad); i++) {
		assert_int_equal(FB_ECONFIG,
		    fb_checkpoints_add(all, bad[i], span("x"), &id, &err));
		assert_string_equal("E-NAME", err.id);
		assert_int_equal(
		    FB_ECONFIG, fb_checkpoints_compact(all, bad[i], &err));
	}
	assert_int_equal(2, add(all, "ok", "two"));
}

static void
write_file(const char *name, const char *text)
{
	FB_AUTO_FREE char *path = fb_path_join(dir, name);

	assert_int_equal(FB_OK, fb_io_replace(path, span(text), 0600, &err));
}

/* What others put there is neither state nor removed. */
static void
test_foreign_files(void **state)
{
	static const char *const foreign[] = { "zzzzzzzznote.chk",
		"note.data", "007.data", "1.database", ".data", "0.data",
		"17.data" };
	FB_AUTO_CHECKPOINTS struct fb_checkpoints *all = open_all();
	size_t found = 0;

	(void)state;
	for (size_t i = 0; i < FB_COUNT(foreign); i++)
		write_file(foreign[i], "not yours");
	write_file("3.data", "a step that a crash cut off");
	(void)add(all, "", "one");
	(void)add(all, "", "two");
	assert_holds(0, "", "two");
	assert_int_equal(FB_OK,
	    fb_checkpoints_finish(all, FB_CHECKPOINTS_COMPLETE, &err));
	for (size_t i = 0; i < FB_COUNT(foreign); i++) {
		FB_AUTO_FREE char *path = fb_path_join(dir, foreign[i]);

		found += access(path, F_OK) == 0;
	}
	assert_int_equal(FB_COUNT(foreign), found);
	assert_int_equal(6, data_files());
}

/* A lock is not written over what is somebody's. */
static void
test_another_directory(void **state)
{
	FB_AUTO_CHECKPOINTS struct fb_checkpoints *all = NULL;
	FB_AUTO_FREE char *path = fb_path_join(dir, "lock");
	FB_AUTO_BUF struct fb_buf bytes = { 0 };

	(void)state;
	write_file("lock", "of a door");
	assert_int_equal(FB_EREFUSED,
	    fb_checkpoints_open(dir, 0, NULL, &all, &err));
	assert_string_equal("E-SCRIPT-DIR", err.id);
	assert_int_equal(FB_OK, fb_io_read_file(path, 99, &bytes, &err));
	assert_string_equal("of a door", fb_buf_str(&bytes));
	/* One who died before there was a journal is no reason. */
	write_file("lock", "pid 1\ncheckpoints\n");
	all = open_all();
	assert_int_equal(1, add(all, "", "one"));
}

/* Bytes that are not those that were kept are never given out. */
static void
test_damaged_bytes(void **state)
{
	static const char *const damaged[] = { "", "on", "oNe", "one more" };
	FB_AUTO_CHECKPOINTS struct fb_checkpoints *all = open_all();
	FB_AUTO_FREE char *path = fb_path_join(dir, "1.data");
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	struct fb_checkpoint item;

	(void)state;
	(void)add(all, "", "one");
	for (size_t i = 0; i < FB_COUNT(damaged); i++) {
		write_file("1.data", damaged[i]);
		assert_int_equal(FB_ECORRUPT,
		    fb_checkpoint_load(dir, 0, &item, &bytes, &err));
		assert_string_equal("E-CHECKPOINT-DATA", err.id);
		assert_int_equal(0, bytes.len);
	}
	assert_int_equal(0, unlink(path));
	assert_int_equal(
	    FB_ECORRUPT, fb_checkpoint_load(dir, 1, &item, &bytes, &err));
	assert_string_equal("E-CHECKPOINT-DATA", err.id);
}

/* One at a time, and who waits is told who has it. */
static void
test_the_lock(void **state)
{
	FB_AUTO_CHECKPOINTS struct fb_checkpoints *all = open_all();
	struct fb_checkpoints *other = NULL;

	(void)state;
	assert_int_equal(
	    FB_EBUSY, fb_checkpoints_open(dir, 0, NULL, &other, &err));
	assert_string_equal("E-LOCKED", err.id);
	(void)add(all, "", "one");
	assert_holds(0, "", "one");
}

/* A journal of something else is refused, and left as it is. */
static void
test_another_journal(void **state)
{
	struct fb_checkpoints *all = NULL;
	struct fb_state *store = NULL;

	(void)state;
	assert_int_equal(FB_OK, fb_state_open(dir, 0, NULL, &store, &err));
	fb_state_close(store);
	assert_int_equal(
	    FB_ECORRUPT, fb_checkpoints_open(dir, 0, NULL, &all, &err));
	assert_string_equal("E-CHECKPOINT", err.id);
	assert_int_equal(FB_OK, fb_state_open(dir, 0, NULL, &store, &err));
	fb_state_close(store);
}

/* Each step fails in turn: what counted before counts still, and the next who
 * opens goes on. */
/* What is too large to be read again is not kept. */
static void
test_too_large(void **state)
{
	FB_AUTO_CHECKPOINTS struct fb_checkpoints *all = open_all();
	FB_AUTO_FREE uint8_t *bytes =
	    fb_alloc((size_t)FB_CHECKPOINT_MAX + 1, 1);
	uint64_t id;

	(void)state;
	assert_int_equal(FB_ECONFIG,
	    fb_checkpoints_add(all, "",
	        (struct fb_span){ bytes, (size_t)FB_CHECKPOINT_MAX + 1 }, &id,
	        &err));
	assert_string_equal("E-CHECKPOINT-SIZE", err.id);
	assert_int_equal(1, add(all, "", "x"));
}

static void
test_each_step_fails(void **state)
{
	uint64_t id, last;
	unsigned long at;
	bool over = false;

	(void)state;
	{
		FB_AUTO_CHECKPOINTS struct fb_checkpoints *all = open_all();

		last = add(all, "", "x");
	}
	for (at = faults_begin(); !over && faults_arm(at, "EIO"); at++) {
		struct fb_checkpoints *all = NULL;
		FB_AUTO_BUF struct fb_buf bytes = { 0 };
		struct fb_checkpoint item;
		int rc = fb_checkpoints_open(dir, 0, NULL, &all, &err);

		if (rc == FB_OK)
			rc = fb_checkpoints_add(
			    all, "", span("y"), &id, &err);
		if (rc == FB_OK)
			rc = fb_checkpoints_compact(all, NULL, &err);
		faults_disarm();
		/* What follows takes steps too. */
		over = faults_steps() < faults_ahead;
		fb_checkpoints_close(all);
		assert_int_equal(FB_OK,
		    fb_checkpoint_load(dir, 0, &item, &bytes, &err));
		assert_true(item.id >= last);
		assert_int_equal(1, bytes.len);
		last = item.id;
		all = open_all();
		assert_true(add(all, "", "x") > last);
		last++;
		assert_int_equal(
		    FB_OK, fb_checkpoints_compact(all, NULL, &err));
		fb_checkpoints_close(all);
	}
	assert_true(at > 8);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_dir, remove_dir)
	const struct CMUnitTest tests[] = {
		TEST(test_the_newest_is_found),
		TEST(test_files_are_private),
		TEST(test_numbers_are_never_given_again),
		TEST(test_bad_labels),
		TEST(test_foreign_files),
		TEST(test_another_directory),
		TEST(test_damaged_bytes),
		TEST(test_the_lock),
		TEST(test_another_journal),
		TEST(test_too_large),
		TEST(test_each_step_fails),
	};
#undef TEST
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What is special about a store in a directory. */
#include "test.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fleetbak/base/child.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/seam.h"
#include "fleetbak/store/store.h"

static struct fb_error err;

struct fixture {
	struct fb_store *store;
	char *dir;
	char *repo;
	char *url;
};

static int
set_up(void **state)
{
	struct fixture *fix = fb_alloc(1, sizeof(*fix));

	fix->dir = fb_strdup("/tmp/fb-storedir-XXXXXX");
	if (mkdtemp(fix->dir) == NULL)
		return -1;
	fix->repo = fb_format("%s/a/repo", fix->dir);
	fix->url = fb_format("file:%s", fix->repo);
	*state = fix;
	return fb_store_open(fix->url, true, NULL, &fix->store, &err);
}

static int
tear_down(void **state)
{
	struct fixture *fix = *state;

	fb_store_close(fix->store);
	if (fb_io_remove_tree(fix->dir, &err) < 0)
		return -1;
	free(fix->dir);
	free(fix->repo);
	free(fix->url);
	free(fix);
	return 0;
}

static void
inode_of(const char *dir, const char *name, struct stat *st)
{
	FB_AUTO_FREE char *path = fb_format("%s/%s", dir, name);

	assert_int_equal(lstat(path, st), 0);
}

static void
a_missing_directory_is_no_repository(void **state)
{
	const struct fixture *fix = *state;
	FB_AUTO_FREE char *url = fb_format("file:%s/nowhere", fix->dir);
	FB_AUTO_FREE char *file = fb_format("file:%s/file", fix->dir);
	struct fb_store *store = NULL;

	assert_fails(FB_ENOREPO, fb_store_open(url, false, NULL, &store, &err));
	assert_true(err.hint[0] != '\0');
	assert_ok(fb_io_replace(file + 5, SPAN("x"), 0600, &err));
	assert_fails(FB_ENOREPO, fb_store_open(file, false, NULL, &store, &err));
	assert_fails(FB_ECONFIG, fb_store_open("file:rel", true, NULL, &store, &err));
	assert_fails(FB_ECONFIG, fb_store_open("ftp:x", true, NULL, &store, &err));
	assert_fails(FB_ECONFIG, fb_store_open("mem:x", true, NULL, &store, &err));
	assert_null(store);
}

static void
objects_are_read_only_and_directories_are_not(void **state)
{
	const struct fixture *fix = *state;
	FB_AUTO_FREE char *spool = fb_format("%s/spool", fix->dir);
	mode_t mask = umask(022);
	struct fb_store *store;
	struct stat st;

	assert_ok(fb_store_open(fix->url, false, NULL, &store, &err));
	assert_ok(fb_store_create(store, "packs/aa/1", SPAN("x"), &err));
	assert_ok(fb_io_replace(spool, SPAN("y"), 0600, &err));
	assert_ok(fb_store_create_file(store, "packs/aa/2", spool, 1, &err));
	(void)umask(mask);
	inode_of(fix->repo, "packs/aa", &st);
	assert_int_equal(st.st_mode & 07777, 0755);
	inode_of(fix->repo, "packs/aa/1", &st);
	assert_int_equal(st.st_mode & 07777, 0444);
	inode_of(fix->repo, "packs/aa/2", &st);
	assert_int_equal(st.st_mode & 07777, 0444);
	fb_store_close(store);
}

static void
a_file_of_ours_is_linked_and_not_copied(void **state)
{
	const struct fixture *fix = *state;
	FB_AUTO_FREE char *spool = fb_format("%s/spool", fix->dir);
	struct stat before, after;

	assert_ok(fb_io_replace(spool, SPAN("content"), 0600, &err));
	inode_of(fix->dir, "spool", &before);
	assert_ok(fb_store_create_file(fix->store, "p/1", spool, 7, &err));
	inode_of(fix->repo, "p/1", &after);
	assert_int_equal(before.st_ino, after.st_ino);

	/* It has two names now: a third would be somebody else's file. */
	assert_ok(fb_store_create_file(fix->store, "p/2", spool, 7, &err));
	inode_of(fix->repo, "p/2", &after);
	assert_int_not_equal(before.st_ino, after.st_ino);
}

static void
a_file_from_another_file_system_is_copied(void **state)
{
	const struct fixture *fix = *state;
	char spool[] = "/dev/shm/fb-spool-XXXXXX";
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	FB_AUTO_BUF struct fb_buf back = { 0 };
	FB_AUTO_CLOSE int fd = mkostemp(spool, O_CLOEXEC);
	struct stat here, there;

	if (fd < 0) /* no second file system: nothing is promised */
		return;
	for (uint32_t i = 0; i < 700000; i++)
		fb_buf_add_le32(&bytes, i);
	assert_ok(fb_io_write_all(fd, spool, fb_buf_span(&bytes), &err));
	assert_int_equal(fstat(fd, &there), 0);
	assert_ok(
	    fb_store_create_file(fix->store, "p/1", spool, bytes.len, &err));
	assert_ok(fb_io_unlink(spool, &err));
	inode_of(fix->repo, "p/1", &here);
	assert_true(here.st_ino != there.st_ino || here.st_dev != there.st_dev);
	assert_ok(
	    fb_store_get(fix->store, "p/1", bytes.len, &back, NULL, &err));
	assert_int_equal(back.len, bytes.len);
	assert_memory_equal(back.data, bytes.data, bytes.len);
}

static int
count_keys(const char *key, uint64_t size, void *arg, struct fb_error *e)
{
	(void)size;
	(void)e;
	fb_buf_add_fmt(arg, "%s ", key);
	return FB_OK;
}

static void
symbolic_links_lead_nowhere(void **state)
{
	const struct fixture *fix = *state;
	FB_AUTO_FREE char *secret = fb_format("%s/secret", fix->dir);
	FB_AUTO_FREE char *file_link = fb_format("%s/link", fix->repo);
	FB_AUTO_FREE char *dir_link = fb_format("%s/dir", fix->repo);
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	uint64_t size;
	char byte;

	assert_ok(fb_io_replace(secret, SPAN("secret"), 0600, &err));
	assert_int_equal(symlink(secret, file_link), 0);
	assert_int_equal(symlink(fix->dir, dir_link), 0);
	assert_fails(FB_ECORRUPT,
	    fb_store_get(fix->store, "link", 99, &bytes, NULL, &err));
	assert_fails(FB_ECORRUPT,
	    fb_store_get_range(fix->store, "link", 0, &byte, 1, &err));
	assert_fails(
	    FB_ECORRUPT, fb_store_head(fix->store, "link", &size, &err));
	assert_fails(FB_ECORRUPT,
	    fb_store_get(fix->store, "dir/secret", 99, &bytes, NULL, &err));
	assert_fails(FB_ECORRUPT,
	    fb_store_create(fix->store, "dir/new", SPAN("x"), &err));
	assert_fails(
	    FB_ECORRUPT, fb_store_remove(fix->store, "dir/secret", &err));
	assert_fails(
	    FB_EEXISTS, fb_store_create(fix->store, "link", SPAN("x"), &err));
	assert_ok(fb_store_list(fix->store, "", count_keys, &bytes, &err));
	assert_string_equal(fb_buf_str(&bytes), "");
	assert_int_equal(access(secret, F_OK), 0);
}

static void
what_is_no_object_is_not_listed(void **state)
{
	static const char *const odd[] = { ".hidden", "lost+found", "a b",
		".new-0123456789abcdef" };
	const struct fixture *fix = *state;
	FB_AUTO_FREE char *fifo = fb_format("%s/fifo", fix->repo);
	FB_AUTO_BUF struct fb_buf keys = { 0 };
	FB_AUTO_BUF struct fb_buf bytes = { 0 };

	for (size_t i = 0; i < FB_COUNT(odd); i++) {
		FB_AUTO_FREE char *path = fb_format("%s/%s", fix->repo, odd[i]);

		assert_ok(fb_io_replace(path, SPAN("x"), 0600, &err));
	}
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_ok(fb_store_create(fix->store, "x", SPAN("x"), &err));
	assert_ok(fb_store_list(fix->store, "", count_keys, &keys, &err));
	assert_string_equal(fb_buf_str(&keys), "x ");
	assert_fails(FB_ECORRUPT,
	    fb_store_get(fix->store, "fifo", 9, &bytes, NULL, &err));
}

static void
no_file_is_left_behind(void **state)
{
	const struct fixture *fix = *state;
	struct fb_child_spec find = {
		.argv = (const char *const[]){ "find", fix->repo, "-type", "f",
		    "-name", ".[rn]*", NULL },
		.lock_fd = -1,
	};
	FB_AUTO_CHILD struct fb_child_result found = { 0 };
	char tag[FB_STORE_TAG_SIZE];
	FB_AUTO_BUF struct fb_buf bytes = { 0 };

	assert_ok(fb_store_create(fix->store, "k", SPAN("1"), &err));
	assert_fails(
	    FB_EEXISTS, fb_store_create(fix->store, "k", SPAN("2"), &err));
	assert_ok(fb_store_get(fix->store, "k", 9, &bytes, tag, &err));
	assert_ok(fb_store_replace(fix->store, "k", SPAN("2"), tag, &err));
	assert_fails(FB_ECONFLICT,
	    fb_store_replace(fix->store, "k", SPAN("3"), tag, &err));
	assert_ok(fb_child_run(&find, &found, &err));
	assert_int_equal(found.exit_code, 0);
	assert_string_equal(fb_buf_str(&found.out), "");
}

static bool
set_append_only(const char *path, bool on)
{
	FB_AUTO_CLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	unsigned flags = 0;

	if (fd < 0 || ioctl(fd, FS_IOC_GETFLAGS, &flags) == -1)
		return false;
	flags = on ? flags | FS_APPEND_FL : flags & ~(unsigned)FS_APPEND_FL;
	return ioctl(fd, FS_IOC_SETFLAGS, &flags) == 0;
}

/* Setting the flag is for root, on file systems that have it. */
static void
an_append_only_directory_is_enough(void **state)
{
	const struct fixture *fix = *state;
	FB_AUTO_FREE char *packs = fb_format("%s/packs", fix->repo);
	FB_AUTO_FREE char *spool = fb_format("%s/spool", fix->dir);
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	int created, linked, taken, removed;

	assert_ok(fb_store_create(fix->store, "packs/0", SPAN("x"), &err));
	assert_ok(fb_io_replace(spool, SPAN("yy"), 0600, &err));
	if (!set_append_only(packs, true))
		return;
	created = fb_store_create(fix->store, "packs/1", SPAN("y"), &err);
	linked = fb_store_create_file(fix->store, "packs/2", spool, 2, &err);
	taken = fb_store_create(fix->store, "packs/1", SPAN("z"), &err);
	removed = fb_store_remove(fix->store, "packs/1", &err);
	assert_true(set_append_only(packs, false));
	assert_int_equal(created, FB_OK);
	assert_int_equal(linked, FB_OK);
	assert_int_equal(taken, FB_EEXISTS);
	assert_int_equal(removed, FB_EDENIED);
	assert_ok(fb_store_get(fix->store, "packs/2", 2, &bytes, NULL, &err));
	assert_string_equal(fb_buf_str(&bytes), "yy");
}

/* Mounting is for root. */
static void
a_full_disk_is_told_as_such(void **state)
{
	const struct fixture *fix = *state;
	struct fb_span much = { fb_alloc(1, 1 << 20), 1 << 20 };
	struct fb_store *store = NULL;
	FB_AUTO_FREE char *point = fb_format("%s/a", fix->dir);
	FB_AUTO_BUF struct fb_buf keys = { 0 };

	if (mount("none", point, "tmpfs", 0, "size=64k") == 0) {
		int rc;

		assert_ok(fb_store_open(fix->url, true, NULL, &store, &err));
		rc = fb_store_create(store, "p/1", much, &err);
		assert_ok(fb_store_list(store, "", count_keys, &keys, &err));
		fb_store_close(store);
		assert_int_equal(umount(point), 0);
		assert_int_equal(rc, FB_ENOSPACE);
		assert_string_equal(fb_buf_str(&keys), "");
	}
	free((void *)(uintptr_t)much.ptr);
}

#ifdef FB_FAULTS
/* What the child of a crash test does: this program again, so that its
 * durable steps are counted from one. */
static int
create_and_exit(const char *url, const char *spool)
{
	FB_AUTO_STORE struct fb_store *store = NULL;
	int rc = fb_store_open(url, false, NULL, &store, &err);

	if (rc == FB_OK && *spool != '\0')
		rc = fb_store_create_file(store, "new/k", spool, 12, &err);
	else if (rc == FB_OK)
		rc =
		    fb_store_create(store, "new/k", SPAN("whole object"), &err);
	return rc == FB_OK ? 0 : 1;
}

static bool
crash_create(const struct fixture *fix, const char *spool, unsigned n)
{
	FB_AUTO_FREE char *plan = fb_format("FLEETBAK_CRASH=%u:lost", n);
	struct fb_child_spec spec = {
		.argv = (const char *const[]){ "/proc/self/exe", fix->url,
		    spool, NULL },
		.env = (const char *const[]){ plan, NULL },
		.lock_fd = -1,
	};
	FB_AUTO_CHILD struct fb_child_result result = { 0 };

	assert_ok(fb_child_run(&spec, &result, &err));
	if (result.exit_code != FB_EXIT_CRASH)
		assert_int_equal(result.exit_code, 0);
	return result.exit_code != 0;
}

/* Whenever it dies, there is the whole object or none. */
static void
crash_everywhere(const struct fixture *fix, bool from_file)
{
	FB_AUTO_FREE char *spool = fb_format("%s/spool", fix->dir);
	FB_AUTO_FREE char *made = fb_format("%s/new", fix->repo);
	unsigned crashes = 0;

	for (bool died = true; died; crashes++) {
		FB_AUTO_BUF struct fb_buf bytes = { 0 };
		int rc;

		assert_ok(fb_io_remove_tree(made, &err));
		assert_ok(
		    fb_io_replace(spool, SPAN("whole object"), 0600, &err));
		died = crash_create(fix, from_file ? spool : "", crashes + 1);
		rc = fb_store_get(fix->store, "new/k", 99, &bytes, NULL, &err);
		if (rc == FB_OK)
			assert_string_equal(fb_buf_str(&bytes), "whole object");
		else
			assert_int_equal(rc, FB_ENOTFOUND);
		assert_true(died || rc == FB_OK);
	}
	assert_true(crashes >= 6);
}

static void
a_crash_leaves_a_whole_object_or_none(void **state)
{
	crash_everywhere(*state, false);
	crash_everywhere(*state, true);
}
#endif

int
main(int argc, char **argv)
{
#define WITH_STORE(test) \
	cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		WITH_STORE(a_missing_directory_is_no_repository),
		WITH_STORE(objects_are_read_only_and_directories_are_not),
		WITH_STORE(a_file_of_ours_is_linked_and_not_copied),
		WITH_STORE(a_file_from_another_file_system_is_copied),
		WITH_STORE(symbolic_links_lead_nowhere),
		WITH_STORE(what_is_no_object_is_not_listed),
		WITH_STORE(no_file_is_left_behind),
		WITH_STORE(an_append_only_directory_is_enough),
		WITH_STORE(a_full_disk_is_told_as_such),
#ifdef FB_FAULTS
		WITH_STORE(a_crash_leaves_a_whole_object_or_none),
#endif
	};

#ifdef FB_FAULTS
	if (argc == 3)
		return create_and_exit(argv[1], argv[2]);
#endif
	(void)argc;
	(void)argv;
	return cmocka_run_group_tests(tests, NULL, NULL);
}

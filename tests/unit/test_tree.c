#include <errno.h>
#include <linux/posix_acl_xattr.h>
#include <locale.h>
#include <sys/resource.h>
#include <sys/sysmacros.h>

#include "tree_tools.h"

static struct fb_error err;

/* user::rw-, user:1234:r--, group::r--, mask::rw-, other::--- */
static const uint8_t acl[] = { 2, 0, 0, 0,
	1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff,
	2, 0, 4, 0, 0xd2, 0x04, 0, 0,
	4, 0, 4, 0, 0xff, 0xff, 0xff, 0xff,
	16, 0, 6, 0, 0xff, 0xff, 0xff, 0xff,
	32, 0, 0, 0, 0xff, 0xff, 0xff, 0xff };

static void
put_sparse(const char *dir, const char *name, uint64_t size,
    const uint64_t *data, size_t count)
{
	FB_AUTO_FREE char *path = fb_format("%s/%s", dir, name);
	FB_AUTO_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	char block[4096];

	assert_true(fd >= 0);
	memset(block, 'x', sizeof(block));
	for (size_t i = 0; i < count; i++)
		assert_int_equal(pwrite(fd, block, sizeof(block),
		                     (off_t)data[i]),
		    sizeof(block));
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
}

static void
put_long_path(const char *dir)
{
	char name[201];
	int fd = open(dir, O_RDONLY | O_DIRECTORY), next;

	memset(name, 'n', 200);
	name[200] = '\0';
	for (int i = 0; i < 5; i++) {
		assert_int_equal(mkdirat(fd, name, 0750), 0);
		next = openat(fd, name, O_RDONLY | O_DIRECTORY);
		(void)close(fd);
		fd = next;
	}
	next = openat(fd, name, O_WRONLY | O_CREAT, 0600);
	assert_int_equal(write(next, "deep", 4), 4);
	(void)close(next);
	(void)close(fd);
}

static void
put_times(const char *dir, const char *name, time_t s, long ns)
{
	FB_AUTO_FREE char *path = fb_format("%s/%s", dir, name);
	struct timespec times[2] = { { s, ns }, { s, ns } };

	assert_int_equal(
	    utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW), 0);
}

static char *
at(const char *dir, const char *name)
{
	return fb_format("%s/%s", dir, name);
}

static void
put_special(const char *dir)
{
	FB_AUTO_FREE char *fifo = at(dir, "fifo");
	FB_AUTO_FREE char *chr = at(dir, "null");
	FB_AUTO_FREE char *file = at(dir, "plain");
	FB_AUTO_FREE char *second = at(dir, "zz-link");
	FB_AUTO_FREE char *out = at(dir, "out");
	FB_AUTO_FREE char *acls = at(dir, "acl");
	FB_AUTO_FREE char *sub = at(dir, "sub");

	assert_int_equal(mkfifo(fifo, 0640), 0);
	put_text(dir, "plain", "two names");
	assert_int_equal(link(file, second), 0);
	assert_int_equal(symlink("/etc/passwd", out), 0);
	put_text(dir, "acl", "guarded");
	assert_int_equal(setxattr(acls, "system.posix_acl_access", acl,
	                     sizeof(acl), 0),
	    0);
	put_dir(dir, "sub");
	assert_int_equal(setxattr(sub, "system.posix_acl_default", acl,
	                     sizeof(acl), 0),
	    0);
	assert_int_equal(setxattr(file, "user.colour", "r\0d\n", 4, 0), 0);
	assert_int_equal(setxattr(file, "user.a", "1", 1, 0), 0);
	if (geteuid() == 0) {
		FB_AUTO_FREE char *owned = at(dir, "owned");

		assert_int_equal(mknod(chr, S_IFCHR | 0666, makedev(1, 3)), 0);
		put_text(dir, "owned", "");
		assert_int_equal(chown(owned, 12345, 3000000), 0);
		assert_int_equal(chmod(owned, 06755), 0);
		assert_int_equal(
		    lsetxattr(out, "trusted.t", "link", 4, 0), 0);
	}
}

/* Everything a tree may hold. */
static char *
new_tree(void)
{
	static const uint64_t data[] = { 1 << 20, 3 << 20 };
	char *dir = new_dir();

	put_special(dir);
	put_text(dir, "empty", "");
	put_text(dir, "new\nline", "n");
	put_text(dir, "latin\xe9", "not UTF-8");
	put_text(dir, "gr\xc3\xbc\xc3\x9f", "UTF-8");
	put_text(dir, "gru\xcc\x88n", "UTF-8, decomposed");
	put_text(dir, "a.txt", "sorts before a/");
	put_dir(dir, "a");
	put_text(dir, "a/b", "below");
	put_sparse(dir, "sparse", 5 << 20, data, 2);
	put_sparse(dir, "hole", 1 << 20, NULL, 0);
	put_sparse(dir, "trailing", 2 << 20, data, 1);
	put_long_path(dir);
	put_times(dir, "plain", 1700000000, 123456789);
	put_times(dir, "out", -77, 0);
	put_times(dir, "a", 1600000000, 1);
	put_times(dir, "sub", 1600000000, 2);
	return dir;
}

static void
pack(const char *dir, struct catch *c)
{
	struct fb_sink sink = catch_sink(c);

	assert_ok(fb_tree_pack(dir, NULL, &sink, &err));
}

static struct fb_tree_options
as_is(struct catch *c, bool mirror)
{
	return (struct fb_tree_options){ .mirror = mirror,
		.owners = geteuid() == 0, .report = catch_report,
		.report_arg = c };
}

static void
assert_same_archive(struct catch *a, struct catch *b)
{
	assert_int_equal(a->bytes.len, b->bytes.len);
	assert_memory_equal(a->bytes.data, b->bytes.data, a->bytes.len);
}

static void
a_tree_comes_back_as_it_was(void **state)
{
	AUTO_DIR char *from = new_tree();
	AUTO_DIR char *to = new_dir();
	AUTO_CATCH struct catch first = { 0 }, again = { 0 };
	struct fb_tree_options options = as_is(&again, false);
	struct fb_tree_stats stats;

	(void)state;
	put_times(from, ".", 1500000000, 3);
	pack(from, &first);
	assert_string_equal(fb_buf_str(&first.warnings), "");
	assert_ok(unpack(
	    to, fb_buf_span(&first.bytes), &options, &stats, &err));
	assert_string_equal(fb_buf_str(&again.reports), "");
	pack(to, &again);
	assert_same_archive(&first, &again);
	assert_int_equal(stats.removed, 0);
}

static void
names_are_bytes_in_every_locale(void **state)
{
	if (setlocale(LC_ALL, "C.UTF-8") != NULL)
		a_tree_comes_back_as_it_was(state);
	if (setlocale(LC_ALL, "de_DE.ISO-8859-1") != NULL)
		a_tree_comes_back_as_it_was(state);
	(void)setlocale(LC_ALL, "C");
}

static void
the_same_tree_makes_the_same_bytes(void **state)
{
	AUTO_DIR char *dir = new_tree();
	AUTO_CATCH struct catch a = { 0 }, b = { 0 };

	(void)state;
	pack(dir, &a);
	pack(dir, &b);
	assert_same_archive(&a, &b);
	assert_string_equal(fb_buf_str(&a.cuts), fb_buf_str(&b.cuts));
}

static void
holes_are_neither_stored_nor_filled(void **state)
{
	AUTO_DIR char *from = new_dir();
	AUTO_DIR char *to = new_dir();
	AUTO_CATCH struct catch c = { 0 };
	struct fb_tree_options options = as_is(&c, false);
	FB_AUTO_FREE char *path = at(to, "sparse");
	static const uint64_t data[] = { 8 << 20 };
	struct stat st;

	(void)state;
	put_sparse(from, "sparse", 1 << 30, data, 1);
	pack(from, &c);
	assert_true(c.bytes.len < 64 * 1024);
	assert_ok(
	    unpack(to, fb_buf_span(&c.bytes), &options, NULL, &err));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 1 << 30);
	assert_true(st.st_blocks < 256);
}

static void
gnu_tar_reads_what_we_write(void **state)
{
	AUTO_DIR char *from = new_tree();
	AUTO_DIR char *to = new_dir();
	AUTO_CATCH struct catch first = { 0 }, again = { 0 };
	const char *argv[] = { "tar", "--xattrs", "--xattrs-include=*",
		"--acls", "--numeric-owner", "-x", "-p", "-f", "-", NULL };

	(void)state;
	put_times(from, ".", 1500000000, 3);
	pack(from, &first);
	assert_int_equal(run(to, fb_buf_span(&first.bytes), argv), 0);
	pack(to, &again);
	assert_same_archive(&first, &again);
}

/* Every range of the catalogue, with an end marker, is an archive. */
static void
a_member_can_be_cut_out_by_its_range(void **state)
{
	AUTO_DIR char *from = new_tree();
	AUTO_CATCH struct catch c = { 0 };
	FB_AUTO_BUF struct fb_buf scratch = { 0 };
	uint64_t expected = 0;
	unsigned members = 0;

	(void)state;
	pack(from, &c);
	for (char *line = (char *)c.catalogue.data, *end;
	     (end = strchr(line, '\n')) != NULL; line = end + 1) {
		struct fb_span text = { (uint8_t *)line,
			(size_t)(end - line) };
		FB_AUTO_BUF struct fb_buf part = { 0 };
		AUTO_CATCH struct catch out = { 0 };
		struct fb_tree_options options = as_is(&out, false);
		AUTO_DIR char *to = new_dir();
		struct fb_tree_stats stats;
		struct fb_entry entry;

		assert_ok(fb_catalogue_decode(text, &scratch, &entry, &err));
		assert_int_equal(entry.offset, expected);
		expected += entry.length;
		fb_buf_add(&part, c.bytes.data + entry.offset, entry.length);
		memset(fb_buf_reserve(&part, 1024), 0, 1024);
		part.len += 1024;
		assert_ok(unpack(
		    to, fb_buf_span(&part), &options, &stats, &err));
		assert_int_equal(stats.entries, 1);
		members++;
	}
	assert_true(members > 20);
	assert_int_equal(expected + 1024, c.bytes.len);
}

static void
big_content_has_boundaries_of_its_own(void **state)
{
	AUTO_DIR char *from = new_dir();
	AUTO_CATCH struct catch c = { 0 };
	FB_AUTO_FREE char *big = fb_alloc(100 * 1024, 1);
	FB_AUTO_FREE char *cuts = NULL;

	(void)state;
	put_file(from, "big", big, 100 * 1024);
	pack(from, &c);
	/* ".": header and attributes; then those of "big". */
	cuts = fb_format(
	    "%zu\n%zu\n", c.bytes.len - 1024 - 100 * 1024,
	    c.bytes.len - 1024);
	assert_string_equal(fb_buf_str(&c.cuts), cuts);
}

static void
excluded_files_are_left_out(void **state)
{
	AUTO_DIR char *from = new_dir();
	AUTO_CATCH struct catch c = { 0 };
	static const char *const exclude[] = { "*.tmp", "/top", "cache/",
		"a/*.o", NULL };
	struct fb_sink sink = catch_sink(&c);

	(void)state;
	put_dir(from, "a");
	put_dir(from, "a/cache");
	put_text(from, "a/cache/x", "");
	put_text(from, "a/1.o", "");
	put_text(from, "1.o", "");
	put_text(from, "a/top", "");
	put_text(from, "top", "");
	put_text(from, "a/x.tmp", "");
	assert_ok(fb_tree_pack(from, exclude, &sink, &err));
	assert_null(strstr(fb_buf_str(&c.catalogue), "cache"));
	assert_null(strstr(fb_buf_str(&c.catalogue), "tmp"));
	assert_null(strstr(fb_buf_str(&c.catalogue), " a/1.o"));
	assert_null(strstr(fb_buf_str(&c.catalogue), " top"));
	assert_non_null(strstr(fb_buf_str(&c.catalogue), " 1.o"));
	assert_non_null(strstr(fb_buf_str(&c.catalogue), " a/top"));
}

static void
a_sink_that_fails_stops_the_packing(void **state)
{
	AUTO_DIR char *from = new_tree();
	AUTO_CATCH struct catch c = { .refuse_after = 20000 };
	struct fb_sink sink = catch_sink(&c);

	(void)state;
	assert_fails(FB_ENOSPACE, fb_tree_pack(from, NULL, &sink, &err));
	assert_string_equal(err.msg, "no more, please");
}

static void
no_tree_is_an_error(void **state)
{
	AUTO_DIR char *from = new_dir();
	AUTO_CATCH struct catch c = { 0 };
	struct fb_sink sink = catch_sink(&c);
	FB_AUTO_FREE char *gone = at(from, "gone");

	(void)state;
	assert_fails(FB_ENOTFOUND, fb_tree_pack(gone, NULL, &sink, &err));
}

/* Changes a file between two pieces of it. */
struct meddler {
	struct catch c;
	const char *path;
	bool done;
	bool shorter;
};

static int
meddle(void *arg, const void *bytes, size_t len, struct fb_error *error)
{
	struct meddler *m = arg;

	if (!m->done && m->c.bytes.len > 300000) {
		m->done = true;
		if (m->shorter)
			assert_int_equal(truncate(m->path, 1000), 0);
		else
			assert_int_equal(truncate(m->path, 2000000), 0);
	}
	return catch_data(&m->c, bytes, len, error);
}

static void
file_changes(bool shorter)
{
	AUTO_DIR char *from = new_dir();
	AUTO_DIR char *to = new_dir();
	FB_AUTO_FREE char *bytes = fb_alloc(1000000, 1);
	FB_AUTO_FREE char *path = at(from, "big");
	FB_AUTO_FREE char *restored = at(to, "big");
	struct meddler m = { .path = path, .shorter = shorter };
	struct fb_tree_options options = as_is(&m.c, false);
	struct fb_sink sink = catch_sink(&m.c);
	struct stat st;

	memset(bytes, 'x', 1000000);
	put_file(from, "big", bytes, 1000000);
	put_text(from, "later", "still there");
	sink.data = meddle;
	sink.arg = &m;
	assert_ok(fb_tree_pack(from, NULL, &sink, &err));
	assert_non_null(strstr(fb_buf_str(&m.c.warnings), "big: changed"));
	assert_ok(unpack(
	    to, fb_buf_span(&m.c.bytes), &options, NULL, &err));
	assert_int_equal(stat(restored, &st), 0);
	assert_int_equal(st.st_size, 1000000);
	assert_text(to, "later", "still there");
	catch_release(&m.c);
}

static void
a_file_that_changes_is_reported_and_the_archive_stays_whole(void **state)
{
	(void)state;
	file_changes(true);
	file_changes(false);
}

static void
a_very_deep_tree_is_walked(void **state)
{
	AUTO_DIR char *from = new_dir();
	AUTO_CATCH struct catch c = { 0 };
	int fd = open(from, O_RDONLY | O_DIRECTORY), next;
	char path[2048];
	size_t lines = 0;

	(void)state;
	for (int i = 0; i < 700; i++) {
		assert_int_equal(mkdirat(fd, "d", 0700), 0);
		next = openat(fd, "z", O_WRONLY | O_CREAT, 0600);
		(void)close(next);
		next = openat(fd, "d", O_RDONLY | O_DIRECTORY);
		(void)close(fd);
		fd = next;
	}
	(void)close(fd);
	pack(from, &c);
	for (size_t i = 0; i < c.catalogue.len; i++)
		lines += c.catalogue.data[i] == '\n';
	assert_int_equal(lines, 1 + 2 * 700);
	(void)snprintf(path, sizeof(path), "%s", fb_buf_str(&c.warnings));
	assert_string_equal(path, "");
}

static void
a_mirror_removes_rewrites_and_leaves_alone(void **state)
{
	AUTO_DIR char *from = new_tree();
	AUTO_DIR char *to = new_dir();
	AUTO_CATCH struct catch c = { 0 }, again = { 0 };
	static const char *const exclude[] = { "*.keep", NULL };
	struct fb_tree_options options = as_is(&again, true);
	struct fb_tree_stats stats;
	FB_AUTO_FREE char *same = at(to, "a.txt");
	FB_AUTO_FREE char *both = at(to, "both");
	FB_AUTO_FREE char *other = at(to, "gr\xc3\xbc\xc3\x9f");
	struct stat before, after;

	(void)state;
	put_times(from, ".", 1500000000, 3);
	pack(from, &c);
	assert_ok(unpack(to, fb_buf_span(&c.bytes), &options, &stats, &err));

	assert_int_equal(stat(same, &before), 0);
	put_text(to, "a/b", "BELOW");
	put_text(to, "empty", "not empty");
	put_dir(to, "extra");
	put_text(to, "extra/file", "x");
	put_dir(to, "keeping");
	put_text(to, "keeping/me.keep", "k");
	put_text(to, "keeping/not", "k");
	put_text(to, "a/extra", "x");
	assert_int_equal(unlink(other), 0);
	assert_int_equal(mkdir(other, 0700), 0);
	put_text(other, "inside", "x");
	assert_int_equal(link(same, both), 0);
	assert_int_equal(chmod(same, 0777), 0);
	assert_int_equal(unlink(both), 0);
	options.exclude = exclude;
	assert_ok(unpack(to, fb_buf_span(&c.bytes), &options, &stats, &err));

	assert_text(to, "a/b", "below");
	assert_text(to, "keeping/me.keep", "k");
	assert_false(is_there(to, "keeping/not"));
	assert_false(is_there(to, "extra"));
	assert_false(is_there(to, "a/extra"));
	assert_int_equal(stat(same, &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	assert_non_null(strstr(fb_buf_str(&again.reports), "extra/file: rem"));
	assert_int_equal(stats.removed, 6);
	assert_true(stats.unchanged_bytes > stats.written_bytes);

	{
		FB_AUTO_FREE char *keeping = at(to, "keeping");

		assert_ok(fb_io_remove_tree(keeping, &err));
	}
	options.exclude = NULL;
	assert_ok(unpack(to, fb_buf_span(&c.bytes), &options, &stats, &err));
	pack(to, &again);
	assert_same_archive(&c, &again);
}

/* Files of several names: what is the same stays the same file, and names that
 * were tied together wrongly come apart. */
static void
a_mirror_leaves_hard_links_that_are_right(void **state)
{
	AUTO_DIR char *from = new_dir();
	AUTO_DIR char *to = new_dir();
	AUTO_CATCH struct catch c = { 0 }, again = { 0 };
	struct fb_tree_options options = as_is(&again, true);
	struct fb_tree_stats stats;
	FB_AUTO_FREE char *a = at(from, "a"), *b = at(from, "b");
	FB_AUTO_FREE char *to_a = at(to, "a"), *to_b = at(to, "b");
	FB_AUTO_FREE char *to_c = at(to, "c"), *to_d = at(to, "d");
	FB_AUTO_FREE char *extra = at(to, "extra");
	struct stat before, after;

	(void)state;
	put_text(from, "a", "one file, two names");
	assert_int_equal(link(a, b), 0);
	put_text(from, "c", "the same bytes");
	put_text(from, "d", "the same bytes");
	pack(from, &c);
	assert_ok(unpack(to, fb_buf_span(&c.bytes), &options, &stats, &err));

	assert_int_equal(stat(to_a, &before), 0);
	assert_ok(unpack(to, fb_buf_span(&c.bytes), &options, &stats, &err));
	assert_int_equal(stats.written_bytes, 0);
	assert_int_equal(stat(to_b, &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);

	/* all four names, and one more, are one file with d's bytes */
	assert_int_equal(unlink(to_a), 0);
	assert_int_equal(unlink(to_b), 0);
	assert_int_equal(unlink(to_c), 0);
	assert_int_equal(link(to_d, to_a), 0);
	assert_int_equal(link(to_d, to_b), 0);
	assert_int_equal(link(to_d, to_c), 0);
	assert_int_equal(link(to_d, extra), 0);
	assert_ok(unpack(to, fb_buf_span(&c.bytes), &options, &stats, &err));
	assert_text(to, "a", "one file, two names");
	assert_text(to, "c", "the same bytes");
	assert_text(to, "d", "the same bytes");
	assert_false(is_there(to, "extra"));
	pack(to, &again);
	assert_same_archive(&c, &again);
}

static void
a_difference_in_the_middle_is_found(void **state)
{
	AUTO_DIR char *from = new_dir();
	AUTO_DIR char *to = new_dir();
	AUTO_CATCH struct catch c = { 0 }, again = { 0 };
	struct fb_tree_options options = as_is(&again, true);
	FB_AUTO_FREE char *bytes = fb_alloc(1000000, 1);
	static const uint64_t data[] = { 0, 512 * 1024 };

	(void)state;
	memset(bytes, 'a', 1000000);
	put_file(from, "f", bytes, 1000000);
	put_sparse(from, "s", 1 << 20, data, 2);
	pack(from, &c);
	bytes[500000] = 'b';
	put_file(to, "f", bytes, 1000000);
	put_sparse(to, "s", 1 << 20, (uint64_t[]){ 0, 256 * 1024 }, 2);
	assert_ok(unpack(to, fb_buf_span(&c.bytes), &options, NULL, &err));
	put_times(to, ".", 1, 0);
	put_times(from, ".", 1, 0);
	fb_buf_clear(&c.bytes);
	pack(from, &c);
	pack(to, &again);
	assert_same_archive(&c, &again);
}

static void
only_what_was_asked_for_is_extracted(void **state)
{
	AUTO_DIR char *from = new_tree();
	AUTO_DIR char *to = new_dir();
	AUTO_CATCH struct catch c = { 0 };
	static const char *const only[] = { "a", "empty", NULL };
	struct fb_tree_options options = as_is(&c, false);

	(void)state;
	options.only = only;
	pack(from, &c);
	assert_ok(unpack(to, fb_buf_span(&c.bytes), &options, NULL, &err));
	assert_text(to, "a/b", "below");
	assert_text(to, "empty", "");
	assert_false(is_there(to, "a.txt"));
	assert_false(is_there(to, "plain"));
}

static void
chosen_files_make_an_archive(void **state)
{
	AUTO_DIR char *from = new_tree();
	AUTO_CATCH struct catch c = { 0 };
	struct fb_sink sink = catch_sink(&c);
	static const char *const paths[] = { "plain", "a/b", "gone", "a/b",
		NULL };
	static const char *const bad[] = { "../x", NULL };
	static const char *const through[] = { "dir/passwd", NULL };
	FB_AUTO_FREE char *link = at(from, "dir");
	size_t lines = 0;

	(void)state;
	assert_ok(fb_tree_pack_files(from, paths, &sink, &err));
	for (size_t i = 0; i < c.catalogue.len; i++)
		lines += c.catalogue.data[i] == '\n';
	assert_int_equal(lines, 2);
	assert_non_null(strstr(fb_buf_str(&c.warnings), "gone: "));
	assert_fails(
	    FB_ECONFIG, fb_tree_pack_files(from, bad, &sink, &err));
	assert_int_equal(symlink("/etc", link), 0);
	assert_ok(fb_tree_pack_files(from, through, &sink, &err));
	assert_non_null(strstr(fb_buf_str(&c.warnings), "dir/passwd: "));
}

/* Nothing is left out because we have no descriptor to spare: however few
 * there are, an archive is whole or not made at all. */
static void
want_of_descriptors_leaves_nothing_out(void **state)
{
	AUTO_DIR char *from = new_dir();
	AUTO_CATCH struct catch whole = { 0 };
	struct rlimit before, fewer;
	unsigned failed = 0;

	(void)state;
	put_dir(from, "a");
	put_dir(from, "a/b");
	put_dir(from, "a/b/c");
	put_text(from, "a/b/c/d", "deep");
	put_text(from, "a/z", "on the way back");
	pack(from, &whole);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	fewer = before;
	for (fewer.rlim_cur = 4; fewer.rlim_cur < 24; fewer.rlim_cur++) {
		AUTO_CATCH struct catch c = { 0 };
		struct fb_sink sink = catch_sink(&c);
		int rc;

		assert_int_equal(setrlimit(RLIMIT_NOFILE, &fewer), 0);
		rc = fb_tree_pack(from, NULL, &sink, &err);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
		failed += rc < 0;
		if (rc == FB_OK)
			assert_string_equal(fb_buf_str(&c.catalogue),
			    fb_buf_str(&whole.catalogue));
		else
			assert_int_equal(err.sys, EMFILE);
	}
	assert_in_range(failed, 2, 19);
}

static int
collect(void *arg, const char *path, struct fb_error *error)
{
	(void)error;
	fb_buf_add_fmt(arg, "%s\n", path);
	return FB_OK;
}

static void
a_list_names_what_a_pack_would_hold(void **state)
{
	AUTO_DIR char *from = new_dir();
	FB_AUTO_BUF struct fb_buf list = { 0 };
	static const char *const exclude[] = { "*.tmp", NULL };

	(void)state;
	put_dir(from, "b");
	put_text(from, "b/x", "");
	put_text(from, "b/x.tmp", "");
	put_text(from, "a", "");
	assert_ok(fb_tree_list(from, exclude, collect, &list, &err));
	assert_string_equal(fb_buf_str(&list), "a\nb\nb/x\n");
}

/* --------------------------------------------------- hostile archives */

/* One ustar member. */
static void
add_member(struct fb_buf *dst, const char *name, char type,
    const char *target, const char *content)
{
	uint8_t block[512] = { 0 };
	size_t size = content != NULL ? strlen(content) : 0;
	unsigned sum = 0;

	(void)snprintf((char *)block, 100, "%s", name);
	(void)snprintf((char *)block + 100, 8, "%07o",
	    type == '5' ? 0755u : 0644u);
	(void)snprintf((char *)block + 108, 8, "%07o", 0);
	(void)snprintf((char *)block + 116, 8, "%07o", 0);
	(void)snprintf((char *)block + 124, 12, "%011o",
	    (unsigned)size & 07777777);
	(void)snprintf((char *)block + 136, 12, "%011o", 1000);
	memset(block + 148, ' ', 8);
	block[156] = (uint8_t)type;
	(void)snprintf((char *)block + 157, 100, "%s", target);
	memcpy(block + 257, "ustar\00000", 8);
	if (type == '3' || type == '4') {
		(void)snprintf((char *)block + 329, 8, "%07o", 1);
		(void)snprintf((char *)block + 337, 8, "%07o", 3);
	}
	for (size_t i = 0; i < sizeof(block); i++)
		sum += block[i];
	(void)snprintf((char *)block + 148, 8, "%06o", sum);
	fb_buf_add(dst, block, sizeof(block));
	if (size > 0) {
		memset(block, 0, sizeof(block));
		memcpy(block, content, size);
		fb_buf_add(dst, block, sizeof(block));
	}
}

static void
add_end(struct fb_buf *dst)
{
	memset(fb_buf_reserve(dst, 1024), 0, 1024);
	dst->len += 1024;
}

struct member {
	const char *name;
	char type;
	const char *target, *content;
};

/* Extract below DIR/in: nothing may appear or change beside it. */
static int
extract_hostile(const struct member *members, size_t count, bool mirror)
{
	AUTO_DIR char *dir = new_dir();
	AUTO_CATCH struct catch c = { 0 };
	FB_AUTO_FREE char *root = at(dir, "in");
	struct fb_tree_options options = as_is(&c, mirror);
	FB_AUTO_FREE char *link = at(root, "old");
	int rc;

	put_dir(dir, "in");
	put_dir(dir, "outside");
	put_text(dir, "outside/file", "untouched");
	assert_int_equal(symlink("../outside", link), 0);
	for (size_t i = 0; i < count; i++)
		add_member(&c.bytes, members[i].name, members[i].type,
		    members[i].target, members[i].content);
	add_end(&c.bytes);
	rc = unpack(root, fb_buf_span(&c.bytes), &options, NULL, &err);
	assert_text(dir, "outside/file", "untouched");
	assert_false(is_there(dir, "outside/new"));
	assert_false(is_there(dir, "new"));
	assert_false(is_there("/", "fleetbak-test-new"));
	return rc;
}

#define HOSTILE(mirror, ...)                                            \
	extract_hostile((const struct member[]){ __VA_ARGS__ },         \
	    FB_COUNT(((const struct member[]){ __VA_ARGS__ })), mirror)

static void
nothing_is_written_outside(void **state)
{
	(void)state;
	for (int mirror = 0; mirror < 2; mirror++) {
		assert_fails(FB_ECORRUPT,
		    HOSTILE(mirror, { "../new", '0', "", "x" }));
		assert_string_equal(err.id, "E-TREE-ESCAPE");
		assert_fails(FB_ECORRUPT,
		    HOSTILE(mirror, { "/fleetbak-test-new", '0', "", "x" }));
		assert_fails(FB_ECORRUPT,
		    HOSTILE(mirror, { "a/../../new", '0', "", "x" }));
		assert_fails(FB_ECORRUPT,
		    HOSTILE(mirror, { "a/./b", '0', "", "x" }));
		assert_fails(FB_ECORRUPT,
		    HOSTILE(mirror, { "..", '5', "", "" }));
		assert_fails(FB_ECORRUPT,
		    HOSTILE(mirror, { "old/new", '0', "", "x" }));
		assert_string_equal(err.id, "E-TREE-ESCAPE");
		assert_fails(FB_ECORRUPT,
		    HOSTILE(mirror, { "l", '2', "../outside", "" },
		        { "l/new", '0', "", "x" }));
		assert_fails(FB_ECORRUPT,
		    HOSTILE(mirror, { "l", '2', "../outside", "" },
		        { "l/file", '5', "", "" }));
		assert_fails(FB_ECORRUPT,
		    HOSTILE(mirror, { "h", '1', "../outside/file", "" }));
		assert_string_equal(err.id, "E-TREE-ESCAPE");
		assert_fails(FB_ECORRUPT,
		    HOSTILE(mirror, { "h", '1', "old/file", "" }));
		assert_fails(FB_ECORRUPT,
		    HOSTILE(mirror, { "h", '1', "/etc/passwd", "" }));
		assert_fails(FB_ECORRUPT, HOSTILE(mirror, { ".", '0', "", "x" }));
	}
}

static void
a_link_is_replaced_and_never_written_through(void **state)
{
	(void)state;
	/* A file that stands where a link to outside is. */
	assert_ok(HOSTILE(false, { "l", '2', "../outside/file", "" },
	    { "l", '0', "", "overwritten" }));
	assert_ok(HOSTILE(true, { "old", '0', "", "overwritten" }));
	assert_ok(HOSTILE(true, { "old", '5', "", "" },
	    { "old/new", '0', "", "in the tree now" }));
	assert_ok(HOSTILE(false, { "old", '5', "", "" },
	    { "old/new", '0', "", "in the tree now" }));
	/* A hard link to a symbolic link is that link, not its target. */
	assert_ok(HOSTILE(false, { "h", '1', "old", "" },
	    { "h", '0', "", "overwritten" }));
}

static void
a_mirror_wants_its_order(void **state)
{
	(void)state;
	assert_fails(FB_ECORRUPT,
	    HOSTILE(true, { "b", '0', "", "1" }, { "a", '0', "", "2" }));
	assert_fails(FB_ECORRUPT,
	    HOSTILE(true, { "a", '0', "", "1" }, { "a", '0', "", "2" }));
	assert_fails(FB_ECORRUPT,
	    HOSTILE(true, { "a.b", '0', "", "1" }, { "a", '5', "", "" }));
	assert_ok(HOSTILE(true, { "./", '5', "", "" }, { "./a", '5', "", "" },
	    { "./a/b", '0', "", "1" }, { "./a.b", '0', "", "1" }));
}

static void
a_cut_off_archive_is_damaged(void **state)
{
	AUTO_DIR char *from = new_tree();
	AUTO_CATCH struct catch c = { 0 };
	struct fb_tree_options options = as_is(&c, false);

	(void)state;
	pack(from, &c);
	for (size_t len = 0; len < c.bytes.len; len += 4608 + 256) {
		AUTO_DIR char *to = new_dir();
		struct fb_span bytes = { c.bytes.data, len };

		assert_fails(
		    FB_ECORRUPT, unpack(to, bytes, &options, NULL, &err));
	}
	{
		AUTO_DIR char *to = new_dir();
		struct fb_span bytes = { c.bytes.data, c.bytes.len - 1024 };

		assert_fails(
		    FB_ECORRUPT, unpack(to, bytes, &options, NULL, &err));
	}
}

static void
what_is_no_archive_is_damaged(void **state)
{
	AUTO_DIR char *to = new_dir();
	AUTO_CATCH struct catch c = { 0 };
	struct fb_tree_options options = as_is(&c, false);

	(void)state;
	assert_fails(FB_ECORRUPT,
	    unpack(to, SPAN("PK\3\4 not this one"), &options, NULL, &err));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_tree_comes_back_as_it_was),
		cmocka_unit_test(names_are_bytes_in_every_locale),
		cmocka_unit_test(the_same_tree_makes_the_same_bytes),
		cmocka_unit_test(holes_are_neither_stored_nor_filled),
		cmocka_unit_test(gnu_tar_reads_what_we_write),
		cmocka_unit_test(a_member_can_be_cut_out_by_its_range),
		cmocka_unit_test(big_content_has_boundaries_of_its_own),
		cmocka_unit_test(excluded_files_are_left_out),
		cmocka_unit_test(a_sink_that_fails_stops_the_packing),
		cmocka_unit_test(no_tree_is_an_error),
		cmocka_unit_test(
		    a_file_that_changes_is_reported_and_the_archive_stays_whole),
		cmocka_unit_test(a_very_deep_tree_is_walked),
		cmocka_unit_test(a_mirror_removes_rewrites_and_leaves_alone),
		cmocka_unit_test(a_mirror_leaves_hard_links_that_are_right),
		cmocka_unit_test(a_difference_in_the_middle_is_found),
		cmocka_unit_test(only_what_was_asked_for_is_extracted),
		cmocka_unit_test(chosen_files_make_an_archive),
		cmocka_unit_test(a_list_names_what_a_pack_would_hold),
		cmocka_unit_test(want_of_descriptors_leaves_nothing_out),
		cmocka_unit_test(nothing_is_written_outside),
		cmocka_unit_test(a_link_is_replaced_and_never_written_through),
		cmocka_unit_test(a_mirror_wants_its_order),
		cmocka_unit_test(a_cut_off_archive_is_damaged),
		cmocka_unit_test(what_is_no_archive_is_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Trees, sinks and pulls for tests. */
#ifndef UNIT_TREE_TOOLS_H
#define UNIT_TREE_TOOLS_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fleetbak/base/buf.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/driver/tree.h"
#include "fleetbak/format/catalogue.h"
#include "test.h"

/* What a packer said. */
struct catch {
	struct fb_buf bytes, catalogue, warnings, cuts, reports;
	size_t refuse_after; /* bytes; 0: never */
};

static inline void
catch_release(struct catch *c)
{
	fb_buf_release(&c->bytes);
	fb_buf_release(&c->catalogue);
	fb_buf_release(&c->warnings);
	fb_buf_release(&c->cuts);
	fb_buf_release(&c->reports);
}
#define AUTO_CATCH FB_CLEANUP(catch_release)

static inline int
catch_data(void *arg, const void *bytes, size_t len, struct fb_error *err)
{
	struct catch *c = arg;

	fb_buf_add(&c->bytes, bytes, len);
	if (c->refuse_after > 0 && c->bytes.len > c->refuse_after)
		return fb_fail(err, FB_ENOSPACE, "no more, please");
	return FB_OK;
}

static inline int
catch_cut(void *arg, struct fb_error *err)
{
	struct catch *c = arg;

	(void)err;
	fb_buf_add_fmt(&c->cuts, "%zu\n", c->bytes.len);
	return FB_OK;
}

static inline int
catch_entry(void *arg, const struct fb_entry *entry, struct fb_error *err)
{
	struct catch *c = arg;

	(void)err;
	fb_catalogue_add(&c->catalogue, entry);
	return FB_OK;
}

static inline void
catch_warn(void *arg, const char *path, const char *what)
{
	struct catch *c = arg;

	fb_buf_add_fmt(&c->warnings, "%s: %s\n", path, what);
}

static inline void
catch_report(void *arg, const char *path, const char *what)
{
	struct catch *c = arg;

	fb_buf_add_fmt(&c->reports, "%s: %s\n", path, what);
}

static inline struct fb_sink
catch_sink(struct catch *c)
{
	return (struct fb_sink){ .arg = c,
		.data = catch_data,
		.cut = catch_cut,
		.entry = catch_entry,
		.warn = catch_warn };
}

/* Bytes in odd pieces. */
struct feed {
	struct fb_span rest;
	size_t step;
};

static inline int
feed_next(void *arg, struct fb_span *ret_bytes, struct fb_error *err)
{
	struct feed *f = arg;
	size_t len = f->rest.len < f->step ? f->rest.len : f->step;

	(void)err;
	*ret_bytes = (struct fb_span){ f->rest.ptr, len };
	f->rest.ptr += len;
	f->rest.len -= len;
	return FB_OK;
}

static inline int
unpack(const char *root, struct fb_span bytes,
    const struct fb_tree_options *options, struct fb_tree_stats *stats,
    struct fb_error *err)
{
	struct feed feed = { bytes, 10007 };
	struct fb_pull pull = { &feed, feed_next };

	return fb_tree_unpack(root, &pull, options, stats, err);
}

/* A directory of its own. */
static inline char *
new_dir(void)
{
	const char *base = getenv("TMPDIR");
	char *path = fb_format("%s/fbtest-XXXXXX", base ? base : "/tmp");

	assert_non_null(mkdtemp(path));
	return path;
}

static inline void
drop_dir(char **path)
{
	struct fb_error err;

	if (*path != NULL)
		assert_int_equal(fb_io_remove_tree(*path, &err), FB_OK);
	free(*path);
}
#define AUTO_DIR FB_CLEANUP(drop_dir)

static inline void
put_file(const char *dir, const char *name, const void *bytes, size_t len)
{
	FB_AUTO_FREE char *path = fb_format("%s/%s", dir, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), len);
	(void)close(fd);
}

static inline void
put_text(const char *dir, const char *name, const char *text)
{
	put_file(dir, name, text, strlen(text));
}

static inline void
put_dir(const char *dir, const char *name)
{
	FB_AUTO_FREE char *path = fb_format("%s/%s", dir, name);

	assert_int_equal(mkdir(path, 0755), 0);
}

static inline bool
is_there(const char *dir, const char *name)
{
	FB_AUTO_FREE char *path = fb_format("%s/%s", dir, name);
	struct stat st;

	return lstat(path, &st) == 0;
}

static inline void
assert_text(const char *dir, const char *name, const char *text)
{
	FB_AUTO_FREE char *path = fb_format("%s/%s", dir, name);
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	struct fb_error err;

	assert_ok(fb_io_read_file(path, 1 << 24, &bytes, &err));
	assert_string_equal(fb_buf_str(&bytes), text);
}

/* Run a program, its input from `input`; its exit status. */
static inline int
run(const char *dir, struct fb_span input, const char *const *argv)
{
	char path[] = "/tmp/fbinput-XXXXXX";
	int fd = mkstemp(path), status;
	pid_t pid;

	assert_true(fd >= 0);
	(void)unlink(path);
	assert_int_equal(write(fd, input.ptr, input.len), input.len);
	(void)lseek(fd, 0, SEEK_SET);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (dup2(fd, 0) == 0 && chdir(dir) == 0)
			(void)execvp(argv[0], (char *const *)argv);
		_exit(127);
	}
	(void)close(fd);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#endif

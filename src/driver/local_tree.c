/* A directory as an artifact and as a target. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/driver/tree.h"
#include "local_internal.h"

static char **
copy_strings(const char *const *strings)
{
	size_t count = 0;
	char **copy;

	if (strings == NULL)
		return NULL;
	while (strings[count] != NULL)
		count++;
	copy = fb_alloc(count + 1, sizeof(*copy));
	for (size_t i = 0; i < count; i++)
		copy[i] = fb_strdup(strings[i]);
	return copy;
}

struct tree_artifact {
	struct fb_artifact base;
	char *path;
	char **exclude, **files;
};

static int
tree_produce(struct fb_artifact *artifact, const struct fb_sink *sink,
    struct fb_error *err)
{
	struct tree_artifact *tree = (struct tree_artifact *)artifact;

	if (tree->files != NULL)
		return fb_tree_pack_files(tree->path,
		    (const char *const *)tree->files, sink, err);
	return fb_tree_pack(
	    tree->path, (const char *const *)tree->exclude, sink, err);
}

static void
artifact_close(struct fb_artifact *artifact)
{
	struct tree_artifact *tree = (struct tree_artifact *)artifact;

	free(tree->path);
	fb_local_strings_free(&tree->exclude);
	fb_local_strings_free(&tree->files);
	free(tree);
}

static const struct fb_artifact_ops artifact_ops = {
	.produce = tree_produce,
	.close = artifact_close,
};

struct fb_artifact *
fb_local_tree_artifact(const char *path, const char *const *exclude,
    const char *const *files)
{
	struct tree_artifact *tree = fb_alloc(1, sizeof(*tree));

	tree->base.ops = &artifact_ops;
	tree->path = fb_strdup(path);
	tree->exclude = copy_strings(exclude);
	tree->files = copy_strings(files);
	return &tree->base;
}

struct tree_target {
	struct fb_target base;
	char *path;
	char **exclude;
	bool mirror;
};

static int
tree_absorb(struct fb_target *target, const struct fb_pull *pull,
    struct fb_error *err)
{
	struct tree_target *tree = (struct tree_target *)target;
	struct fb_tree_options options = { .mirror = tree->mirror,
		.keep_extra = target->partial,
		.exclude = (const char *const *)tree->exclude,
		.owners = geteuid() == 0,
		.report = target->report,
		.report_arg = target->report_arg };
	struct fb_tree_stats stats = { 0 };
	int rc = fb_tree_unpack(tree->path, pull, &options, &stats, err);

	target->written_bytes = stats.written_bytes;
	target->unchanged_bytes = stats.unchanged_bytes;
	target->removed = stats.removed;
	return rc;
}

static int
tree_sync(struct fb_target *target, struct fb_error *err)
{
	struct tree_target *tree = (struct tree_target *)target;
	FB_AUTO_CLOSE int fd =
	    fb_io_open(tree->path, O_RDONLY | O_DIRECTORY, 0, err);

	if (fd < 0)
		return fd;
	return fb_io_sync_all(fd, tree->path, err);
}

static void
target_close(struct fb_target *target)
{
	struct tree_target *tree = (struct tree_target *)target;

	free(tree->path);
	fb_local_strings_free(&tree->exclude);
	free(tree);
}

static const struct fb_target_ops target_ops = {
	.absorb = tree_absorb,
	.sync = tree_sync,
	.close = target_close,
};

int
fb_local_tree_target(const char *path, const char *const *exclude, bool mirror,
    struct fb_target **ret_target, struct fb_error *err)
{
	FB_AUTO_CLOSE int fd =
	    fb_io_open(path, O_RDONLY | O_DIRECTORY, 0, err);
	struct tree_target *tree;

	if (fd < 0)
		return fd;
	tree = fb_alloc(1, sizeof(*tree));
	tree->base.ops = &target_ops;
	tree->path = fb_strdup(path);
	tree->exclude = copy_strings(exclude);
	tree->mirror = mirror;
	*ret_target = &tree->base;
	return FB_OK;
}

/* ------------------------------------------------------------ copying */

/* A definition is small: packed into memory, and unpacked again. */
struct packed {
	struct fb_buf bytes;
	bool given;
	bool incomplete;
};

static int
keep_bytes(void *arg, const void *bytes, size_t len, struct fb_error *err)
{
	struct packed *packed = arg;

	/* Headers come on top. */
	if (packed->bytes.len + len > 2 * (size_t)FB_LOCAL_DEFINITION_MAX)
		return fb_fail(err, FB_EUNSUP, "it is too large");
	fb_buf_add(&packed->bytes, bytes, len);
	return FB_OK;
}

static int
no_cut(void *arg, struct fb_error *err)
{
	(void)arg;
	(void)err;
	return FB_OK;
}

static void
keep_warning(void *arg, const char *path, const char *what)
{
	struct packed *packed = arg;

	(void)path;
	(void)what;
	packed->incomplete = true;
}

static int
give_bytes(void *arg, struct fb_span *ret_bytes, struct fb_error *err)
{
	struct packed *packed = arg;

	(void)err;
	*ret_bytes = packed->given ? (struct fb_span){ NULL, 0 }
	                           : fb_buf_span(&packed->bytes);
	packed->given = true;
	return FB_OK;
}

int
fb_local_copy_files(const char *from, const char *const *files, const char *to,
    struct fb_error *err)
{
	static const char *const everything[] = { "*", NULL };
	struct packed packed = { 0 };
	struct fb_sink sink = { .arg = &packed,
		.data = keep_bytes,
		.cut = no_cut,
		.warn = keep_warning };
	struct fb_pull pull = { &packed, give_bytes };
	struct fb_tree_options options = { .mirror = true,
		.keep_extra = true, .exclude = everything,
		.owners = geteuid() == 0 };
	int rc = fb_tree_pack_files(from, files, &sink, err);

	if (rc == FB_OK && packed.incomplete)
		rc = fb_fail(err, FB_ECONFLICT,
		    "a file of the definition changes, or cannot be read");
	if (rc == FB_OK)
		rc = fb_tree_unpack(to, &pull, &options, NULL, err);
	fb_buf_release(&packed.bytes);
	return rc;
}

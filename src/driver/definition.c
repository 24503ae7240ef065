/* A definition that is one document. */
#include "definition.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "local_internal.h"

/* It is written to a directory of its own, which goes with it. */
struct definition {
	struct fb_artifact base;
	char *dir; /* NULL: there is none */
	struct fb_artifact *tree;
};

static int
definition_produce(struct fb_artifact *artifact, const struct fb_sink *sink,
    struct fb_error *err)
{
	struct fb_artifact *tree = ((struct definition *)artifact)->tree;

	return tree->ops->produce(tree, sink, err);
}

static void
definition_close(struct fb_artifact *artifact)
{
	struct definition *definition = (struct definition *)artifact;
	struct fb_error ignored = { 0 };

	fb_artifact_closep(&definition->tree);
	if (definition->dir != NULL)
		(void)!fb_io_remove_tree(definition->dir, &ignored);
	free(definition->dir);
	free(definition);
}

static const struct fb_artifact_ops definition_ops = {
	.produce = definition_produce,
	.close = definition_close,
};

/* In the spool, where whatever a crash leaves is looked for. */
static int
make_dir(const char *spool, char **ret_dir, struct fb_error *err)
{
	struct stat st;
	bool there = spool != NULL && stat(spool, &st) == 0 &&
	    S_ISDIR(st.st_mode);
	char *dir = fb_format("%s/fleetbak-definition-XXXXXX",
	    there ? spool : "/tmp");

	if (mkdtemp(dir) != NULL) {
		*ret_dir = dir;
		return FB_OK;
	}
	(void)fb_fail_sys(err, "cannot make the directory '%s'", dir);
	free(dir);
	return err->code;
}

int
fb_definition_open(const char *spool, const json_t *document,
    struct fb_artifact **ret_artifact, struct fb_error *err)
{
	static const char *const files[] = { FB_DEFINITION_FILE, NULL };
	static const struct timespec times[2] = { { 0 }, { 0 } };
	struct definition *definition = fb_alloc(1, sizeof(*definition));
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	FB_AUTO_FREE char *path = NULL;
	int rc = make_dir(spool, &definition->dir, err);

	definition->base.ops = &definition_ops;
	if (rc == FB_OK) {
		fb_json_add(&bytes, document);
		fb_buf_add_str(&bytes, "\n");
		path = fb_format(
		    "%s/" FB_DEFINITION_FILE, definition->dir);
		rc = fb_io_replace(path, fb_buf_span(&bytes), 0600, err);
	}
	if (rc < 0) {
		definition_close(&definition->base);
		return rc;
	}
	/* The same machine is the same archive in each night. */
	(void)utimensat(AT_FDCWD, path, times, 0);
	definition->tree =
	    fb_local_tree_artifact(definition->dir, NULL, files);
	*ret_artifact = &definition->base;
	return FB_OK;
}

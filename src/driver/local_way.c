/*
 * The way to a volume that is restored.  What a tree of the backup put there
 * is not to be trusted: a link or a device in it, with a volume whose path
 * lies behind it or is it, would lead the restore to anywhere.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "local_internal.h"
#include "tree_internal.h"

/* As many as the kernel follows. */
#define LINKS_MAX 40

void
fb_local_written_add(struct fb_local_written *written, const char *dir)
{
	char *real = realpath(dir, NULL);

	if (real == NULL) /* not there: nothing lies in it */
		return;
	written->dirs = fb_realloc(
	    written->dirs, written->count + 1, sizeof(*written->dirs));
	written->dirs[written->count++] = real;
}

void
fb_local_written_release(struct fb_local_written *written)
{
	for (size_t i = 0; i < written->count; i++)
		free(written->dirs[i]);
	free(written->dirs);
	*written = (struct fb_local_written){ 0 };
}

static bool
lies_in(const char *real, const char *dir)
{
	size_t len = strlen(dir);

	return strncmp(real, dir, len) == 0 &&
	    (real[len] == '\0' || real[len] == '/' || len == 1);
}

/* Does `path` stand in a directory that the restore writes? */
static bool
is_written(const struct fb_local_written *written, const char *path)
{
	FB_AUTO_FREE char *parent = fb_local_parent(path);
	FB_AUTO_FREE char *real = realpath(parent, NULL);

	for (size_t i = 0; real != NULL && i < written->count; i++)
		if (lies_in(real, written->dirs[i]))
			return true;
	return false;
}

/* Where the link leads, with what follows it; NULL with errno. */
static char *
follow(const char *link, const char *rest)
{
	FB_AUTO_FREE char *parent = fb_local_parent(link);
	FB_AUTO_FREE char *target = fb_alloc(FB_TREE_PATH_MAX + 1, 1);
	ssize_t len = readlink(link, target, FB_TREE_PATH_MAX);

	if (len == -1)
		return NULL;
	return target[0] == '/' ? fb_format("%s%s", target, rest)
	                        : fb_format("%s/%s%s", parent, target, rest);
}

static int
refuse(const char *path, const char *what, struct fb_error *err)
{
	return fb_fail_id(err, FB_ECORRUPT, "E-TREE-ESCAPE",
	    "a volume's way leads through '%s', which is %s in a tree that "
	    "is restored",
	    path, what);
}

static int
check_way(const struct fb_local_written *written, const char *path,
    unsigned links, struct fb_error *err)
{
	size_t end = 0;

	while (path[end] != '\0') {
		FB_AUTO_FREE char *part = NULL;
		FB_AUTO_FREE char *next = NULL;
		struct stat st;

		end += strspn(path + end, "/");
		end += strcspn(path + end, "/");
		part = fb_format("%.*s", (int)end, path);
		if (lstat(part, &st) == -1)
			return errno == ENOENT
			    ? FB_OK
			    : fb_fail_sys(err, "cannot look at '%s'", part);
		if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))
			continue;
		if (is_written(written, part))
			return refuse(part,
			    S_ISLNK(st.st_mode) ? "a link" : "no file", err);
		if (!S_ISLNK(st.st_mode))
			continue;
		next = follow(part, path + end);
		if (next == NULL || links == LINKS_MAX)
			return fb_fail(err, FB_ESYS,
			    "cannot follow the link '%s'", part);
		return check_way(written, next, links + 1, err);
	}
	return FB_OK;
}

int
fb_local_check_way(const struct fb_local_written *written, const char *path,
    struct fb_error *err)
{
	return check_way(written, path, 0, err);
}

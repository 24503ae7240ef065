/* Where the machines of a local source are, and what belongs to one. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/base/seam.h"
#include "local_internal.h"
#include "tree_internal.h"

void
fb_local_found_release(struct fb_local_found *found)
{
	free(found->dir);
	fb_buf_release(&found->yaml);
	fb_local_machine_free(found->spec);
	*found = (struct fb_local_found){ 0 };
}

void
fb_local_strings_free(char ***strings)
{
	for (size_t i = 0; *strings != NULL && (*strings)[i] != NULL; i++)
		free((*strings)[i]);
	free(*strings);
	*strings = NULL;
}

int
fb_local_load(
    const char *dir, struct fb_local_found *found, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_path_join(dir, FB_LOCAL_YAML);
	FB_AUTO_CLOSE int fd =
	    fb_io_open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, err);
	struct stat st;
	int rc;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) == -1 || !S_ISREG(st.st_mode))
		return fb_fail(
		    err, FB_ECONFIG, "'%s' is no regular file", path);
	rc = fb_io_read_all(fd, path, FB_LOCAL_YAML_MAX, &found->yaml, err);
	if (rc == FB_ECORRUPT) /* too large: nothing that we stored */
		rc = fb_fail_id(err, FB_ECONFIG, "E-CFG-SYNTAX",
		    "'%s' is larger than %u bytes", path, FB_LOCAL_YAML_MAX);
	if (rc < 0)
		return rc;
	found->dir = fb_strdup(dir);
	return fb_local_machine_parse(
	    fb_buf_span(&found->yaml), path, &found->spec, err);
}

/* A directory of its own, not a link to one, and not a hidden one. */
static bool
may_be_machine(int root, const char *name)
{
	struct stat st;

	if (name[0] == '.')
		return false;
	if (fb_seam_fails(FB_STEP_LOOK, name) ||
	    fstatat(root, name, &st, AT_SYMLINK_NOFOLLOW) == -1)
		return errno != ENOENT; /* who looks closer will say why */
	return S_ISDIR(st.st_mode);
}

int
fb_local_dirs(const struct fb_local_driver *driver, char ***ret_dirs,
    struct fb_error *err)
{
	FB_AUTO_CLOSE int fd =
	    fb_io_open(driver->root, O_RDONLY | O_DIRECTORY, 0, err);
	FB_AUTO_NAMES struct fb_names names = { 0 };
	size_t count = 0;
	char **dirs;
	int rc = 0;

	if (fd >= 0)
		rc = fb_names_read(fd, &names);
	if (fd == FB_EDENIED || (rc == -1 && errno == EACCES))
		return fb_fail_id(err, FB_EDENIED, "E-SRC-DENIED",
		    "the root '%s' cannot be read: permission denied",
		    driver->root);
	if (fd < 0 || rc == -1) {
		(void)fb_fail_id(err, FB_EUNREACH, "E-SRC-UNREACHABLE",
		    "the root '%s' cannot be read: %s", driver->root,
		    strerror(fd < 0 && err->sys != 0 ? err->sys : errno));
		return fb_hint(err,
		    "is it mounted? check 'root' of source '%s'; on a bare "
		    "host, make the directory first",
		    driver->name);
	}
	dirs = fb_alloc(names.count + 1, sizeof(*dirs));
	for (size_t i = 0; i < names.count; i++) {
		const char *name = names.bytes + names.at[i];

		if (may_be_machine(fd, name))
			dirs[count++] = fb_format("%s/%s", driver->root, name);
	}
	*ret_dirs = dirs;
	return FB_OK;
}

int
fb_local_find(const struct fb_local_driver *driver, const char *id,
    struct fb_local_found *found, struct fb_error *err)
{
	FB_AUTO_FREE char *usual = fb_path_join(driver->root, id);
	FB_AUTO_STRINGS char **dirs = NULL;
	struct fb_error doubt = { 0 }; /* it may be the one that is broken */
	struct stat st;
	int rc = fb_io_look(usual, &st, &doubt);

	if (rc == FB_OK && S_ISDIR(st.st_mode)) {
		rc = fb_local_load(usual, found, &doubt);
		if (rc == FB_OK && strcmp(found->spec->id, id) == 0)
			return FB_OK;
		fb_local_found_release(found);
	}
	if (rc == FB_OK || rc == FB_ENOTFOUND || doubt.sys == 0)
		doubt.code = FB_OK; /* not there, or not one any more */
	rc = fb_local_dirs(driver, &dirs, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; dirs[i] != NULL; i++) {
		struct fb_error why;

		rc = fb_local_load(dirs[i], found, &why);
		if (rc == FB_OK && strcmp(found->spec->id, id) == 0)
			return FB_OK;
		fb_local_found_release(found);
		if (rc < 0 && rc != FB_ENOTFOUND && why.sys != 0)
			doubt = why;
	}
	if (doubt.code < 0) {
		*err = doubt;
		return fb_wrap(err, "machine '%s'", id);
	}
	return fb_fail(err, FB_ENOTFOUND, "no machine '%s' under '%s'", id,
	    driver->root);
}

const struct fb_local_volume *
fb_local_volume(const struct fb_local_machine *spec, const char *name)
{
	for (size_t i = 0; i < spec->volume_count; i++)
		if (strcmp(spec->volumes[i].name, name) == 0)
			return &spec->volumes[i];
	return NULL;
}

/* Without "/" at its end and "./" at its start: its parent is what it says. */
char *
fb_local_volume_path(
    const struct fb_local_found *found, const struct fb_local_volume *volume)
{
	const char *path = volume->path;
	char *joined;
	size_t len;

	while (path[0] == '.' && path[1] == '/')
		path += 1 + strspn(path + 1, "/");
	joined = path[0] == '\0' || strcmp(path, ".") == 0
	    ? fb_strdup(found->dir)
	    : fb_path_join(found->dir, path);
	len = strlen(joined);
	while (len > 1 && joined[len - 1] == '/')
		joined[--len] = '\0';
	return joined;
}

char *
fb_local_parent(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (slash == NULL)
		return fb_strdup(".");
	return slash == path ? fb_strdup("/")
	                     : fb_format("%.*s", (int)(slash - path), path);
}

const char **
fb_local_excludes(const struct fb_local_volume *volume)
{
	size_t count = 0;
	const char **all;

	while (volume->exclude != NULL && volume->exclude[count] != NULL)
		count++;
	all = fb_alloc(count + 2, sizeof(*all));
	for (size_t i = 0; i < count; i++)
		all[i] = volume->exclude[i];
	all[count] = FB_LOCAL_PLACE;
	return all;
}

/* "./ctl" as "ctl"; NULL when it is no path of a file inside `dir`. */
static const char *
inside(const char *dir, const char *argument)
{
	struct fb_error ignored;
	struct stat st;
	int rc;

	while (argument[0] == '.' && argument[1] == '/')
		argument += 1 + strspn(argument + 1, "/");
	if (fb_path_check_inside("file of a command", argument,
	        strlen(argument), FB_TREE_PATH_MAX, &ignored) == FB_OK) {
		FB_AUTO_FREE char *path = fb_path_join(dir, argument);

		rc = fb_io_look(path, &st, &ignored);
		if (rc == FB_OK ? S_ISREG(st.st_mode) : rc != FB_ENOTFOUND)
			return argument; /* who packs it will say why */
	}
	return NULL;
}

struct files {
	char **items;
	size_t count, room;
};

static void
add_files(struct files *files, const char *dir, char *const *arg)
{
	for (; arg != NULL && *arg != NULL; arg++) {
		const char *path = inside(dir, *arg);

		if (path == NULL)
			continue;
		if (files->count + 2 > files->room) {
			files->room *= 2;
			files->items = fb_realloc(files->items, files->room,
			    sizeof(*files->items));
		}
		files->items[files->count++] = fb_strdup(path);
	}
}

char **
fb_local_definition_files(const char *dir, const struct fb_local_machine *spec)
{
	char *const *const commands[] = { spec->start, spec->stop,
		spec->status };
	struct files files = { .room = 8 };

	files.items = fb_alloc(files.room, sizeof(*files.items));
	files.items[files.count++] = fb_strdup(FB_LOCAL_YAML);
	for (size_t c = 0; c < FB_COUNT(commands); c++)
		add_files(&files, dir, commands[c]);
	for (size_t i = 0; i < spec->volume_count; i++)
		add_files(&files, dir, spec->volumes[i].changed);
	files.items[files.count] = NULL;
	return files.items;
}

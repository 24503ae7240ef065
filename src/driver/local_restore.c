/*
 * Restoring a local machine.  One that is there is written over where it is;
 * one that is gone, or new, is built in the hidden directory
 *
 *	<root>/.fleetbak-new/<token>/<id>
 *
 * and renamed to <root>/<id> when it is whole.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "local_internal.h"
#include "tree_internal.h"

#define STAGE     ".fleetbak-new"
#define DIR_MODE  0755
#define YAML_MODE 0644

/* Where a request leads. */
struct site {
	const struct fb_restore_request *request;
	const char *id;
	struct fb_local_found now;  /* as it is; empty: it is gone, or new */
	struct fb_local_found then; /* as the backup's definition says; may be
	                             * empty */
	const struct fb_local_machine *spec; /* the one that places volumes */
	char *final; /* the machine's directory afterwards */
	char *stage; /* <root>/.fleetbak-new/<token>, NULL: written in place */
	char *dir;   /* where files are written now */
};

static void
release_site(struct site *site)
{
	fb_local_found_release(&site->now);
	fb_local_found_release(&site->then);
	free(site->final);
	free(site->stage);
	free(site->dir);
}
#define AUTO_SITE FB_CLEANUP(release_site)

static bool
is_dir(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static int
find_now(const struct fb_local_driver *driver, struct site *site,
    struct fb_error *err)
{
	int rc;

	if (site->request->mode == FB_RESTORE_AS_NEW)
		return FB_OK;
	rc = fb_local_find(driver, site->id, &site->now, err);
	return rc == FB_ENOTFOUND ? FB_OK : rc;
}

static int
find_site(const struct fb_local_driver *driver,
    const struct fb_restore_request *request, const char *token,
    struct site *site, struct fb_error *err)
{
	const char *definition = request->definition_dir;
	int rc;

	site->request = request;
	site->id = request->mode == FB_RESTORE_AS_NEW ? request->new_id
	                                              : request->machine->id;
	rc = find_now(driver, site, err);
	if (rc == FB_OK && definition != NULL && definition[0] != '\0') {
		rc = fb_local_load(definition, &site->then, err);
		if (rc < 0)
			return fb_wrap(err, "the backup's definition");
	}
	if (rc < 0)
		return rc;
	/* A whole machine becomes what its definition says. */
	site->spec = request->all_volumes || site->now.spec == NULL
	    ? site->then.spec
	    : site->now.spec;
	if (site->spec == NULL)
		site->spec = site->now.spec;
	if (site->spec == NULL) {
		(void)fb_fail_id(err, FB_EUNSUP, "E-RST-DEFINITION",
		    "machine '%s' is not there, and the backup has no "
		    "definition of it",
		    site->id);
		return fb_hint(err, "restore its volumes with --target DIR");
	}
	site->final = site->now.dir != NULL
	    ? fb_strdup(site->now.dir)
	    : fb_path_join(driver->root, site->id);
	/* A directory that lost its machine.yaml is filled where it is. */
	if (site->now.dir == NULL &&
	    (request->mode == FB_RESTORE_AS_NEW || !is_dir(site->final)))
		site->stage = fb_format(
		    "%s/%s/%s", driver->root, STAGE, token);
	site->dir = site->stage != NULL ? fb_path_join(site->stage, site->id)
	                                : fb_strdup(site->final);
	return FB_OK;
}

/* Does the volume lie in the machine's own directory? */
static bool
is_inside(const struct fb_local_volume *volume)
{
	struct fb_error ignored;
	const char *path = volume->path;
	size_t len = strlen(path);

	while (path[0] == '.' && path[1] == '/') {
		path += 2;
		len -= 2;
	}
	while (len > 1 && path[len - 1] == '/')
		len--;
	return fb_path_check_inside(
	           "path", path, len, FB_TREE_PATH_MAX, &ignored) == FB_OK;
}

static char *
path_of(const struct site *site, const struct fb_local_volume *volume)
{
	struct fb_local_found found = {
		.dir = is_inside(volume) ? site->dir : site->final
	};

	return fb_local_volume_path(&found, volume);
}

/* -------------------------------------------------------------- check */

/* Is this path what the machine has now for this volume? */
static bool
is_own(const struct site *site, const char *name, const char *path)
{
	const struct fb_local_volume *volume;
	FB_AUTO_FREE char *now = NULL;

	if (site->now.spec == NULL)
		return site->stage == NULL;
	volume = fb_local_volume(site->now.spec, name);
	if (volume == NULL)
		return false;
	now = fb_local_volume_path(&site->now, volume);
	return strcmp(now, path) == 0;
}

static const char *
kind_problem(const struct fb_local_volume *volume, const struct stat *st)
{
	if (volume->kind == FB_LOCAL_TREE && !S_ISDIR(st->st_mode))
		return "it is a directory in the backup, and none there";
	if (volume->kind == FB_LOCAL_DISK && !S_ISREG(st->st_mode) &&
	    !S_ISBLK(st->st_mode))
		return "it is neither a regular file nor a block device there";
	return NULL;
}

static uint64_t
more_than(uint64_t want, uint64_t have)
{
	return want > have ? want - have : 0;
}

/* What an existing volume may still grow. */
static uint64_t
growth(const struct site *site, const struct fb_local_volume *volume,
    const struct fb_volume *wanted, const struct stat *st)
{
	struct fb_local_found found = {
		.dir = is_inside(volume) ? site->dir : site->final
	};
	struct fb_local_shape shape = { .method = FB_LOCAL_NONE };
	struct fb_error ignored;

	if (S_ISBLK(st->st_mode))
		return 0;
	(void)!fb_local_shape(&found, volume, true, &shape, &ignored);
	return more_than(wanted->size, shape.allocated) < wanted->allocated
	    ? more_than(wanted->size, shape.allocated)
	    : wanted->allocated;
}

static void
check_place(const struct site *site, const struct fb_local_volume *volume,
    const struct fb_volume *wanted, struct fb_restore_volume_plan *plan)
{
	const char *problem = NULL;
	FB_AUTO_FREE char *path = path_of(site, volume);
	struct stat st;

	plan->exists = stat(path, &st) == 0;
	plan->need_bytes = wanted->allocated;
	if (site->request->mode == FB_RESTORE_AS_NEW && !is_inside(volume))
		problem = "its path leads out of the machine's directory, so "
			  "it would collide with the machine it is a copy of";
	else if (plan->exists)
		problem = kind_problem(volume, &st);
	else if (!site->request->all_volumes)
		problem = "it is not there, and only a whole machine is made "
			  "anew";
	if (problem == NULL && plan->exists && !S_ISBLK(st.st_mode) &&
	    !is_own(site, wanted->name, path))
		problem = "something else is there already";
	if (problem == NULL && plan->exists)
		plan->need_bytes = growth(site, volume, wanted, &st);
	plan->problem = problem != NULL ? fb_strdup(problem) : NULL;
}

static void
check_volume(const struct site *site, const struct fb_volume *wanted,
    struct fb_restore_volume_plan *plan)
{
	const struct fb_local_volume *volume;

	plan->volume = fb_strdup(wanted->name);
	if (wanted->kind == FB_VOLUME_DEFINITION) {
		plan->location = fb_path_join(site->final, FB_LOCAL_YAML);
		plan->exists = site->stage == NULL;
		plan->need_bytes = wanted->size;
		return;
	}
	volume = fb_local_volume(site->spec, wanted->name);
	if (volume == NULL) {
		plan->location = fb_strdup(site->final);
		plan->problem = fb_format(
		    "machine.yaml has no volume '%s'", wanted->name);
		return;
	}
	if ((volume->kind == FB_LOCAL_TREE) !=
	    (wanted->kind == FB_VOLUME_TREE)) {
		plan->location = fb_strdup(volume->path);
		plan->problem =
		    fb_strdup("machine.yaml says it is of another kind");
		return;
	}
	{
		/* People want to know where it ends up. */
		struct fb_local_found found = { .dir = site->final };

		plan->location = fb_local_volume_path(&found, volume);
	}
	check_place(site, volume, wanted, plan);
}

int
fb_local_restore_check(struct fb_driver *base, const struct fb_fleet *fleet,
    const struct fb_restore_request *request, struct fb_restore_plan *ret_plan,
    struct fb_error *err)
{
	const struct fb_local_driver *driver = (struct fb_local_driver *)base;
	const struct fb_machine *machine = request->machine;
	AUTO_SITE struct site site = { 0 };
	struct statvfs fs;
	int rc = find_site(driver, request, "check", &site, err);

	if (rc < 0)
		return rc;
	if (request->mode == FB_RESTORE_AS_NEW && is_dir(site.final) &&
	    fb_fleet_find(fleet, base->source, site.id) == NULL) {
		(void)fb_fail_id(err, FB_EREFUSED, "E-RST-EXISTS",
		    "'%s' exists already", site.final);
		return fb_hint(err, "choose another name, or remove it");
	}
	if (statvfs(driver->root, &fs) == -1)
		return fb_fail_sys(err, "cannot look at '%s'", driver->root);
	ret_plan->space_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	ret_plan->now = fb_fleet_find(fleet, base->source, site.id);
	ret_plan->volumes = fb_alloc(
	    machine->volume_count, sizeof(*ret_plan->volumes));
	for (size_t i = 0; i < machine->volume_count; i++)
		if (fb_volume_captured(machine->volumes[i].kind))
			check_volume(&site, &machine->volumes[i],
			    &ret_plan->volumes[ret_plan->volume_count++]);
	return FB_OK;
}

int
fb_local_restore_list(struct fb_driver *base,
    const struct fb_restore_request *request, const struct fb_volume *wanted,
    fb_tree_visit *visit, void *arg, struct fb_error *err)
{
	AUTO_SITE struct site site = { 0 };
	FB_AUTO_FREE const char **exclude = NULL;
	FB_AUTO_FREE char *path = NULL;
	const struct fb_local_volume *volume;
	int rc = find_site(
	    (struct fb_local_driver *)base, request, "check", &site, err);

	if (rc < 0)
		return rc;
	volume = fb_local_volume(site.spec, wanted->name);
	if (volume == NULL || volume->kind != FB_LOCAL_TREE)
		return FB_OK;
	path = path_of(&site, volume);
	exclude = fb_local_excludes(volume);
	rc = fb_tree_list(path, exclude, visit, arg, err);
	return rc == FB_ENOTFOUND ? FB_OK : rc;
}

/* -------------------------------------------------------------- write */

/* Was the machine built and renamed before? */
static bool
is_finished(const struct site *site)
{
	FB_AUTO_FOUND struct fb_local_found found = { 0 };
	struct fb_error ignored;

	return site->stage != NULL && !is_dir(site->dir) &&
	    fb_local_load(site->final, &found, &ignored) == FB_OK &&
	    strcmp(found.spec->id, site->id) == 0;
}

int
fb_local_restore_begin(struct fb_driver *base,
    const struct fb_restore_request *request, const struct fb_verb *verb,
    struct fb_error *err)
{
	AUTO_SITE struct site site = { 0 };
	int rc = find_site(
	    (struct fb_local_driver *)base, request, verb->token, &site, err);

	if (rc < 0 || site.stage == NULL || is_finished(&site))
		return rc;
	if (is_dir(site.final))
		return fb_fail_id(err, FB_EREFUSED, "E-RST-EXISTS",
		    "'%s' exists already", site.final);
	return fb_io_mkdirs(site.dir, DIR_MODE, err);
}

static bool
is_empty(const char *dir)
{
	FB_AUTO_NAMES struct fb_names names = { 0 };
	FB_AUTO_CLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd >= 0 && fb_names_read(fd, &names) == 0 && names.count == 0;
}

static int
open_tree(const struct fb_local_volume *volume, const char *path,
    struct fb_target **ret_target, struct fb_error *err)
{
	FB_AUTO_FREE const char **exclude = fb_local_excludes(volume);
	int rc = fb_io_mkdirs(path, DIR_MODE, err);

	if (rc < 0)
		return rc;
	return fb_local_tree_target(
	    path, exclude, !is_empty(path), ret_target, err);
}

static int
open_disk(const char *path, uint64_t size, struct fb_target **ret_target,
    struct fb_error *err)
{
	FB_AUTO_FREE char *parent = fb_local_parent(path);
	struct stat st;
	int rc = fb_io_mkdirs(parent, DIR_MODE, err);

	if (rc < 0)
		return rc;
	return fb_target_open_file(
	    path, size, stat(path, &st) == -1, ret_target, err);
}

/* What the backup's trees brought is not followed to another volume. */
static int
check_way(const struct site *site, const struct fb_local_volume *volume,
    const char *path, struct fb_error *err)
{
	FB_AUTO_WRITTEN struct fb_local_written written = { 0 };

	if (site->stage != NULL)
		fb_local_written_add(&written, site->stage);
	for (size_t i = 0; i < site->spec->volume_count; i++) {
		const struct fb_local_volume *other = &site->spec->volumes[i];
		FB_AUTO_FREE char *tree = path_of(site, other);

		if (other->kind == FB_LOCAL_TREE && other != volume)
			fb_local_written_add(&written, tree);
	}
	return fb_local_check_way(&written, path, err);
}

int
fb_local_restore_open(struct fb_driver *base,
    const struct fb_restore_request *request, const struct fb_volume *wanted,
    const struct fb_verb *verb, struct fb_target **ret_target,
    struct fb_error *err)
{
	static const char *const everything[] = { "*", NULL };
	AUTO_SITE struct site site = { 0 };
	FB_AUTO_FREE char *path = NULL;
	const struct fb_local_volume *volume;
	int rc = find_site(
	    (struct fb_local_driver *)base, request, verb->token, &site, err);

	if (rc < 0)
		return rc;
	/* The machine's directory holds more than its definition: nothing of
	 * that is removed. */
	if (wanted->kind == FB_VOLUME_DEFINITION)
		return fb_local_tree_target(
		    site.dir, everything, true, ret_target, err);
	volume = fb_local_volume(site.spec, wanted->name);
	if (volume == NULL)
		return fb_fail(err, FB_ENOTFOUND,
		    "machine.yaml has no volume '%s'", wanted->name);
	if (request->mode == FB_RESTORE_AS_NEW && !is_inside(volume))
		return fb_fail(err, FB_EUNSUP,
		    "volume '%s' leads out of the machine's directory",
		    wanted->name);
	path = path_of(&site, volume);
	rc = check_way(&site, volume, path, err);
	if (rc < 0)
		return rc;
	if (wanted->kind == FB_VOLUME_TREE)
		return open_tree(volume, path, ret_target, err);
	return open_disk(path, wanted->size, ret_target, err);
}

/* ------------------------------------------------------------- finish */

/* The backup's machine.yaml, with another id if the machine gets one. */
static int
make_yaml(const struct site *site, struct fb_buf *yaml, struct fb_error *err)
{
	FB_AUTO_LOCAL_MACHINE struct fb_local_machine *check = NULL;
	const struct fb_local_machine *spec = site->then.spec;
	const struct fb_buf *old = &site->then.yaml;
	size_t end = spec->id_offset + spec->id_length;
	int rc;

	if (strcmp(spec->id, site->id) == 0) {
		fb_buf_add(yaml, old->data, old->len);
		return FB_OK;
	}
	if (end > old->len)
		return fb_fail(err, FB_EBUG, "the id is not where it was");
	fb_buf_add(yaml, old->data, spec->id_offset);
	fb_buf_add_fmt(yaml, "\"%s\"", site->id);
	fb_buf_add(yaml, old->data + end, old->len - end);
	rc = fb_local_machine_parse(
	    fb_buf_span(yaml), "the new machine.yaml", &check, err);
	if (rc == FB_OK && strcmp(check->id, site->id) != 0)
		rc = fb_fail(err, FB_EBUG, "the new id is not read back");
	return rc;
}

/* The other files of the definition, from where it was unpacked. */
struct file_list {
	const char *dir;
	char **paths;
	size_t count;
};

static int
add_file(void *arg, const char *path, struct fb_error *err)
{
	struct file_list *list = arg;
	FB_AUTO_FREE char *full = fb_path_join(list->dir, path);
	struct stat st;
	int rc = fb_io_look(full, &st, err);

	if (rc < 0 || strcmp(path, FB_LOCAL_YAML) == 0 || S_ISDIR(st.st_mode))
		return rc;
	list->paths = fb_realloc(
	    list->paths, list->count + 2, sizeof(*list->paths));
	list->paths[list->count++] = fb_strdup(path);
	list->paths[list->count] = NULL;
	return FB_OK;
}

static int
put_files(const struct site *site, struct fb_error *err)
{
	struct file_list list = { .dir = site->then.dir };
	int rc = fb_tree_list(list.dir, NULL, add_file, &list, err);

	if (rc == FB_OK && list.count > 0)
		rc = fb_local_copy_files(list.dir,
		    (const char *const *)list.paths, site->dir, err);
	fb_local_strings_free(&list.paths);
	return rc;
}

static int
put_definition(const struct site *site, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_path_join(site->dir, FB_LOCAL_YAML);
	FB_AUTO_BUF struct fb_buf yaml = { 0 };
	int rc = make_yaml(site, &yaml, err);

	if (rc == FB_OK)
		rc = put_files(site, err);
	/* Last: with it, the directory is a machine. */
	if (rc == FB_OK)
		rc = fb_io_replace(path, fb_buf_span(&yaml), YAML_MODE, err);
	return rc < 0 ? fb_wrap(err, "definition") : FB_OK;
}

/* Nothing is left where the machine was built. */
static void
clear_stage(const struct fb_local_driver *driver, const struct site *site)
{
	FB_AUTO_FREE char *stages = fb_path_join(driver->root, STAGE);

	if (rmdir(site->stage) == 0 || errno == ENOENT)
		(void)rmdir(stages);
}

static int
publish(const struct site *site, struct fb_error *err)
{
	FB_AUTO_CLOSE int fd =
	    fb_io_open(site->dir, O_RDONLY | O_DIRECTORY, 0, err);
	int rc;

	if (fd < 0)
		return fd;
	rc = fb_io_sync_all(fd, site->dir, err);
	if (rc == FB_OK)
		rc = fb_io_rename(site->dir, site->final, true, err);
	if (rc == FB_EEXISTS)
		return fb_fail_id(err, FB_EREFUSED, "E-RST-EXISTS",
		    "'%s' exists already", site->final);
	return rc;
}

int
fb_local_restore_finish(struct fb_driver *base,
    const struct fb_restore_request *request, const struct fb_verb *verb,
    struct fb_error *err)
{
	const struct fb_local_driver *driver = (struct fb_local_driver *)base;
	AUTO_SITE struct site site = { 0 };
	int rc = find_site(driver, request, verb->token, &site, err);

	if (rc < 0)
		return rc;
	if (is_finished(&site)) /* by a dead run, which may not have synced */
		rc = fb_io_sync_parent(site.final, err);
	else if (site.then.spec != NULL &&
	    (request->all_volumes || site.now.spec == NULL))
		rc = put_definition(&site, err);
	if (rc == FB_OK && site.stage != NULL && is_dir(site.dir))
		rc = publish(&site, err);
	if (rc == FB_OK && site.stage != NULL)
		clear_stage(driver, &site);
	return rc;
}

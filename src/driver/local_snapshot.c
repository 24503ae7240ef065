/*
 * Snapshots of a local machine live beside its volumes:
 *
 *	<directory of the volume>/.fleetbak/<machine>/<token>/<volume>
 *
 * and, with the machine's directory, its definition.  Each such place is
 * filled under the name "+<token>", which is no token, and renamed when it is
 * whole; so what a crash leaves can be told from a snapshot.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/base/seam.h"
#include "local_internal.h"
#include "tree_internal.h"

#define PLACE_MODE 0700

/* Inode of the root of every btrfs subvolume. */
#define BTRFS_ROOT_INODE 256

/* Where snapshots of a machine go, and what goes there. */
struct places {
	char **paths; /* ".../.fleetbak/<machine>"; the first one also takes
	               * the definition */
	size_t count;
};

static void
release_places(struct places *places)
{
	for (size_t i = 0; i < places->count; i++)
		free(places->paths[i]);
	free(places->paths);
}
#define AUTO_PLACES FB_CLEANUP(release_places)

static char *
place_in(const char *dir, const struct fb_local_found *found)
{
	return fb_format("%s/%s/%s", strcmp(dir, "/") == 0 ? "" : dir,
	    FB_LOCAL_PLACE, found->spec->id);
}

static char *
place_of(
    const struct fb_local_found *found, const struct fb_local_volume *volume)
{
	FB_AUTO_FREE char *path = fb_local_volume_path(found, volume);
	FB_AUTO_FREE char *parent = fb_local_parent(path);

	return place_in(parent, found);
}

static void
add_place(struct places *places, char *path)
{
	for (size_t i = 0; i < places->count; i++)
		if (strcmp(places->paths[i], path) == 0) {
			free(path);
			return;
		}
	places->paths = fb_realloc(
	    places->paths, places->count + 1, sizeof(*places->paths));
	places->paths[places->count++] = path;
}

/* With `all`, also where volumes of another method would go: what an earlier
 * machine.yaml or file system left there is found too. */
static int
find_places(const struct fb_local_found *found, bool all,
    struct places *places, struct fb_error *err)
{
	add_place(places, place_in(found->dir, found));
	for (size_t i = 0; i < found->spec->volume_count; i++) {
		const struct fb_local_volume *volume =
		    &found->spec->volumes[i];
		struct fb_local_shape shape = { .method = FB_LOCAL_NONE };
		int rc = all ? FB_OK
		             : fb_local_shape(
		                   found, volume, false, &shape, err);

		if (rc < 0)
			return fb_wrap(err, "volume '%s'", volume->name);
		if (all || shape.method == FB_LOCAL_REFLINK ||
		    shape.method == FB_LOCAL_BTRFS)
			add_place(places, place_of(found, volume));
	}
	return FB_OK;
}

/* 1: it is there; 0: it is not; else what keeps us from telling. */
static int
exists(const char *dir, const char *prefix, const char *token,
    struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_format("%s/%s%s", dir, prefix, token);
	struct stat st;
	int rc = fb_io_look(path, &st, err);

	if (rc < 0)
		return rc == FB_ENOTFOUND ? 0 : rc;
	return S_ISDIR(st.st_mode);
}

static int
judge(const struct fb_local_found *found, const char *token,
    struct fb_error *err)
{
	AUTO_PLACES struct places needed = { 0 }, all = { 0 };
	size_t whole = 0, traces = 0;
	int rc = find_places(found, false, &needed, err);

	if (rc == FB_OK)
		rc = find_places(found, true, &all, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < needed.count; i++) {
		rc = exists(needed.paths[i], "", token, err);
		if (rc < 0)
			return rc;
		whole += (size_t)rc;
	}
	for (size_t i = 0; i < all.count; i++) {
		rc = exists(all.paths[i], "", token, err);
		if (rc == 0)
			rc = exists(all.paths[i], "+", token, err);
		if (rc < 0)
			return rc;
		traces += (size_t)rc;
	}
	if (traces == 0)
		return fb_fail(err, FB_ENOTFOUND, "no snapshot '%s'", token);
	if (whole < needed.count)
		return fb_fail(err, FB_EFAILED,
		    "snapshot '%s' is not whole", token);
	return FB_OK;
}

int
fb_local_find_by_token(struct fb_driver *base,
    const struct fb_machine *machine, const char *token, struct fb_error *err)
{
	FB_AUTO_FOUND struct fb_local_found found = { 0 };
	int rc = fb_local_find(
	    (struct fb_local_driver *)base, machine->id, &found, err);

	return rc < 0 ? rc : judge(&found, token, err);
}

/* ------------------------------------------------------------ removal */

static int
drop_subvolume(const char *dir, const char *name, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_path_join(dir, name);
	FB_AUTO_CLOSE int fd = -1;
	struct btrfs_ioctl_vol_args args = { .fd = 0 };
	struct stat st, up;

	if (lstat(path, &st) == -1 || lstat(dir, &up) == -1 ||
	    !S_ISDIR(st.st_mode) || st.st_ino != BTRFS_ROOT_INODE ||
	    st.st_dev == up.st_dev || strlen(name) >= sizeof(args.name))
		return FB_OK;
	fd = fb_io_open(dir, O_RDONLY | O_DIRECTORY, 0, err);
	if (fd < 0)
		return fd;
	memcpy(args.name, name, strlen(name));
	if (fb_seam_fails(FB_STEP_RENAME, path) ||
	    ioctl(fd, BTRFS_IOC_SNAP_DESTROY, &args) == -1)
		return fb_fail_sys(
		    err, "cannot remove the btrfs snapshot '%s'", path);
	return FB_OK;
}

static int
drop_dir(const char *dir, struct fb_error *err)
{
	FB_AUTO_NAMES struct fb_names names = { 0 };
	FB_AUTO_CLOSE int fd =
	    fb_io_open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, err);

	if (fd == FB_ENOTFOUND)
		return FB_OK;
	if (fd < 0)
		return fd;
	if (fb_names_read(fd, &names) == -1)
		return fb_fail_sys(err, "cannot read '%s'", dir);
	for (size_t i = 0; i < names.count; i++) {
		int rc = drop_subvolume(
		    dir, names.bytes + names.at[i], err);

		if (rc < 0)
			return rc;
	}
	return fb_io_remove_tree(dir, err);
}

/* First it stops being a snapshot, then it goes. */
static int
drop_place(const char *place, const char *token, struct fb_error *err)
{
	FB_AUTO_FREE char *whole = fb_path_join(place, token);
	FB_AUTO_FREE char *part = fb_format("%s/+%s", place, token);
	FB_AUTO_FREE char *parent = fb_local_parent(place);
	int rc = drop_dir(part, err);

	if (rc == FB_OK)
		rc = exists(place, "", token, err);
	if (rc > 0) {
		rc = fb_io_rename(whole, part, false, err);
		if (rc == FB_OK)
			rc = drop_dir(part, err);
	}
	if (rc < 0)
		return rc;
	/* Leave nothing behind, if this was the last. */
	if (fb_seam_fails(FB_STEP_RENAME, place) || rmdir(place) == -1)
		return errno == ENOENT || errno == ENOTEMPTY || errno == EEXIST
		    ? FB_OK
		    : fb_fail_sys(err, "cannot remove '%s'", place);
	(void)rmdir(parent);
	return FB_OK;
}

static int
drop_token(const struct fb_local_found *found, const char *token,
    struct fb_error *err)
{
	AUTO_PLACES struct places places = { 0 };
	int rc = find_places(found, true, &places, err);

	for (size_t i = 0; i < places.count && rc == FB_OK; i++)
		rc = drop_place(places.paths[i], token, err);
	return rc;
}

int
fb_local_remove_snapshot(struct fb_driver *base,
    const struct fb_machine *machine, const struct fb_verb *verb,
    struct fb_error *err)
{
	FB_AUTO_FOUND struct fb_local_found found = { 0 };
	int rc = fb_local_find(
	    (struct fb_local_driver *)base, machine->id, &found, err);

	if (rc == FB_ENOTFOUND)
		return FB_OK;
	return rc < 0 ? rc : drop_token(&found, verb->token, err);
}

/* ----------------------------------------------------------- creation */

/* What the original's metadata say is kept beside its clone, whose own say
 * nothing of it. */
static int
keep_token(int fd, const char *to, struct fb_error *err)
{
	char token[FB_CHANGE_TOKEN_SIZE];
	FB_AUTO_CLOSE int out = -1;
	struct stat st;

	if (fstat(fd, &st) == -1)
		return fb_fail_sys(err, "cannot look at the original of '%s'", to);
	fb_file_token(&st, token);
	if (token[0] == '\0')
		return FB_OK;
	out = fb_io_open(to, O_WRONLY | O_CREAT | O_EXCL, 0600, err);
	if (out < 0)
		return out;
	return fb_io_write_all(out, to,
	    (struct fb_span){ (const uint8_t *)token, strlen(token) }, err);
}

static char *
token_path(const char *dir, const char *volume)
{
	return fb_format("%s/+%s", dir, volume); /* no volume's name */
}

static int
clone_file(const char *from, const char *to, const char *token,
    struct fb_error *err)
{
	FB_AUTO_CLOSE int in = fb_io_open(from, O_RDONLY | O_NONBLOCK, 0, err);
	FB_AUTO_CLOSE int out = -1;
	bool failed;
	int rc;

	if (in < 0)
		return in;
	rc = keep_token(in, token, err); /* before its bytes are taken */
	if (rc < 0)
		return rc;
	if (fb_seam_fails(FB_STEP_RENAME, to))
		return fb_fail_sys(err, "cannot make '%s'", to);
	out = fb_io_open(to, O_WRONLY | O_CREAT | O_EXCL, 0600, err);
	if (out < 0)
		return out;
	do
		failed = fb_seam_fails(FB_STEP_WRITE, to) ||
		    ioctl(out, FICLONE, in) == -1;
	while (failed && errno == EINTR);
	if (!failed)
		return FB_OK; /* synced with its place */
	if (errno != EOPNOTSUPP && errno != EXDEV && errno != EINVAL &&
	    errno != ENOTTY)
		return fb_fail_sys(err, "cannot clone '%s'", from);
	(void)fb_fail_id(err, FB_EUNSUP, "E-SNAPSHOT",
	    "cannot clone '%s' on its own file system: %s", from,
	    strerror(errno));
	return fb_hint(err, "the file must allow reflinks: no swap file, not "
	                    "immutable, copy-on-write not switched off");
}

static int
snapshot_subvolume(const char *from, const char *dir, const char *name,
    struct fb_error *err)
{
	FB_AUTO_CLOSE int in =
	    fb_io_open(from, O_RDONLY | O_DIRECTORY, 0, err);
	FB_AUTO_CLOSE int out = -1;
	struct btrfs_ioctl_vol_args_v2 args = {
		.flags = BTRFS_SUBVOL_RDONLY
	};

	if (in < 0)
		return in;
	out = fb_io_open(dir, O_RDONLY | O_DIRECTORY, 0, err);
	if (out < 0)
		return out;
	args.fd = in;
	memcpy(args.name, name, strlen(name)); /* a name: short enough */
	if (fb_seam_fails(FB_STEP_WRITE, dir) ||
	    ioctl(out, BTRFS_IOC_SNAP_CREATE_V2, &args) == -1)
		return fb_fail_sys(
		    err, "cannot make a btrfs snapshot of '%s'", from);
	return FB_OK; /* synced with its place */
}

static int
capture_volume(const struct fb_local_found *found,
    const struct fb_local_volume *volume, const char *token,
    struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_local_volume_path(found, volume);
	FB_AUTO_FREE char *place = place_of(found, volume);
	FB_AUTO_FREE char *part = fb_format("%s/+%s", place, token);
	FB_AUTO_FREE char *to = fb_path_join(part, volume->name);
	FB_AUTO_FREE char *token_file = token_path(part, volume->name);
	struct fb_local_shape shape;
	int rc = fb_local_shape(found, volume, false, &shape, err);

	if (rc == FB_OK && shape.method == FB_LOCAL_REFLINK)
		rc = clone_file(path, to, token_file, err);
	else if (rc == FB_OK && shape.method == FB_LOCAL_BTRFS)
		rc = snapshot_subvolume(path, part, volume->name, err);
	return rc < 0 ? fb_wrap(err, "volume '%s'", volume->name) : FB_OK;
}

static int
capture_definition(
    const struct fb_local_found *found, const char *part, struct fb_error *err)
{
	FB_AUTO_STRINGS char **files =
	    fb_local_definition_files(found->dir, found->spec);
	FB_AUTO_FREE char *dir = fb_path_join(part, FB_LOCAL_DEFINITION);
	int rc = fb_io_mkdirs_later(dir, PLACE_MODE, err);

	if (rc == FB_OK)
		rc = fb_local_copy_files(
		    found->dir, (const char *const *)files, dir, err);
	return rc < 0 ? fb_wrap(err, "definition") : FB_OK;
}

/* All that was made for the snapshot there, the directories included. */
static int
sync_place(const char *path, struct fb_error *err)
{
	FB_AUTO_CLOSE int fd =
	    fb_io_open(path, O_RDONLY | O_DIRECTORY, 0, err);

	if (fd < 0)
		return fd;
	return fb_io_sync_all(fd, path, err);
}

static int
fill_places(const struct fb_local_found *found, const struct places *places,
    const char *token, struct fb_error *err)
{
	FB_AUTO_FREE char *home = fb_format("%s/+%s", places->paths[0], token);
	int rc = FB_OK;

	for (size_t i = 0; i < places->count && rc == FB_OK; i++) {
		FB_AUTO_FREE char *part =
		    fb_format("%s/+%s", places->paths[i], token);

		rc = fb_io_mkdirs_later(part, PLACE_MODE, err);
	}
	for (size_t i = 0; i < found->spec->volume_count && rc == FB_OK; i++)
		rc = capture_volume(
		    found, &found->spec->volumes[i], token, err);
	if (rc == FB_OK)
		rc = capture_definition(found, home, err);
	return rc;
}

static int
publish_places(const struct places *places, const char *token,
    struct fb_error *err)
{
	int rc = FB_OK;

	for (size_t i = 0; i < places->count && rc == FB_OK; i++) {
		FB_AUTO_FREE char *part =
		    fb_format("%s/+%s", places->paths[i], token);
		FB_AUTO_FREE char *whole =
		    fb_path_join(places->paths[i], token);

		rc = sync_place(part, err);
		if (rc == FB_OK)
			rc = fb_io_rename(part, whole, true, err);
	}
	return rc;
}

int
fb_local_create_snapshot(struct fb_driver *base,
    const struct fb_machine *machine, const struct fb_verb *verb,
    struct fb_error *err)
{
	AUTO_PLACES struct places places = { 0 };
	FB_AUTO_FOUND struct fb_local_found found = { 0 };
	struct fb_error ignored;
	int rc = fb_local_find(
	    (struct fb_local_driver *)base, machine->id, &found, err);

	if (rc < 0)
		return rc;
	rc = judge(&found, verb->token, err);
	if (rc != FB_ENOTFOUND && rc != FB_EFAILED)
		return rc;
	if (rc == FB_EFAILED)
		rc = drop_token(&found, verb->token, err);
	else
		rc = FB_OK;
	if (rc == FB_OK)
		rc = find_places(&found, false, &places, err);
	if (rc == FB_OK)
		rc = fill_places(&found, &places, verb->token, err);
	if (rc == FB_OK)
		rc = publish_places(&places, verb->token, err);
	if (rc < 0)
		(void)drop_token(&found, verb->token, &ignored);
	return rc;
}

/* ------------------------------------------------------------ reading */

static int
visit_place(const struct fb_local_found *found, const char *place,
    fb_driver_visit_token *visit, void *arg, struct fb_error *err)
{
	FB_AUTO_NAMES struct fb_names names = { 0 };
	FB_AUTO_CLOSE int fd = fb_io_openat(AT_FDCWD, place,
	    O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, place);
	int rc = FB_OK;

	if (fd == -1 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
		return FB_OK;
	if (fd == -1 || fb_names_read(fd, &names) == -1)
		return fb_fail_sys(err, "cannot read '%s'", place);
	for (size_t i = 0; i < names.count && rc == FB_OK; i++) {
		const char *name = names.bytes + names.at[i];

		name += *name == '+';
		if (fb_name_ok(name, strlen(name)))
			rc = visit(found->spec->id, name, arg, err);
	}
	return rc;
}

int
fb_local_list_snapshots(struct fb_driver *base, fb_driver_visit_token *visit,
    void *arg, struct fb_error *err)
{
	const struct fb_local_driver *driver = (struct fb_local_driver *)base;
	FB_AUTO_STRINGS char **dirs = NULL;
	int rc = fb_local_dirs(driver, &dirs, err);

	for (size_t i = 0; rc == FB_OK && dirs[i] != NULL; i++) {
		AUTO_PLACES struct places places = { 0 };
		FB_AUTO_FOUND struct fb_local_found found = { 0 };
		struct fb_error ignored;

		if (fb_local_load(dirs[i], &found, &ignored) < 0)
			continue;
		rc = find_places(&found, true, &places, err);
		for (size_t p = 0; p < places.count && rc == FB_OK; p++)
			rc = visit_place(
			    &found, places.paths[p], visit, arg, err);
	}
	return rc;
}

static int
open_definition(const struct fb_local_found *found, const char *token,
    struct fb_artifact **ret_artifact, struct fb_error *err)
{
	FB_AUTO_FREE char *place = place_in(found->dir, found);
	FB_AUTO_FREE char *dir = token != NULL
	    ? fb_format("%s/%s/%s", place, token, FB_LOCAL_DEFINITION)
	    : fb_strdup(found->dir);
	FB_AUTO_FOUND struct fb_local_found then = { 0 };
	FB_AUTO_STRINGS char **files = NULL;
	int rc = fb_local_load(dir, &then, err);

	if (rc < 0)
		return rc;
	files = fb_local_definition_files(dir, then.spec);
	*ret_artifact = fb_local_tree_artifact(
	    dir, NULL, (const char *const *)files);
	return FB_OK;
}

static int
open_tree(const char *path, const struct fb_local_volume *volume,
    struct fb_artifact **ret_artifact, struct fb_error *err)
{
	FB_AUTO_FREE const char **exclude = fb_local_excludes(volume);
	FB_AUTO_CLOSE int fd =
	    fb_io_open(path, O_RDONLY | O_DIRECTORY, 0, err);

	if (fd < 0)
		return fd;
	*ret_artifact = fb_local_tree_artifact(path, exclude, NULL);
	return FB_OK;
}

static int
open_disk(const char *path, bool live, struct fb_artifact **ret_artifact,
    struct fb_error *err)
{
	int rc = fb_artifact_open_file(path, ret_artifact, err);

	if (rc == FB_OK && live)
		fb_artifact_file_is_live(*ret_artifact);
	return rc;
}

/* The clone has the original's token, if that had one. */
static int
open_clone(const char *dir, const char *volume,
    struct fb_artifact **ret_artifact, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_path_join(dir, volume);
	FB_AUTO_FREE char *token_file = token_path(dir, volume);
	FB_AUTO_BUF struct fb_buf token = { 0 };
	struct fb_error ignored = { 0 };
	int rc = fb_artifact_open_file(path, ret_artifact, err);

	if (rc < 0)
		return rc;
	(*ret_artifact)->token[0] = '\0';
	/* Without it more is read. */
	if (fb_io_read_file(token_file, FB_CHANGE_TOKEN_SIZE - 1, &token,
	        &ignored) == FB_OK &&
	    fb_change_token_ok(fb_buf_str(&token)))
		memcpy((*ret_artifact)->token, fb_buf_str(&token),
		    strlen(fb_buf_str(&token)) + 1);
	return FB_OK;
}

int
fb_local_open_volume(struct fb_driver *base, const struct fb_machine *machine,
    const struct fb_volume *wanted, const char *token,
    struct fb_artifact **ret_artifact, struct fb_error *err)
{
	FB_AUTO_FOUND struct fb_local_found found = { 0 };
	FB_AUTO_FREE char *path = NULL;
	FB_AUTO_FREE char *dir = NULL;
	const struct fb_local_volume *volume;
	int rc = fb_local_find(
	    (struct fb_local_driver *)base, machine->id, &found, err);

	if (rc < 0)
		return rc;
	if (wanted->kind == FB_VOLUME_DEFINITION)
		return open_definition(&found, token, ret_artifact, err);
	volume = fb_local_volume(found.spec, wanted->name);
	if (volume == NULL || !fb_volume_captured(wanted->kind))
		return fb_fail(err, FB_ENOTFOUND,
		    "machine '%s' has no volume '%s' that could be read",
		    machine->id, wanted->name);
	if (token == NULL) {
		path = fb_local_volume_path(&found, volume);
	} else {
		FB_AUTO_FREE char *place = place_of(&found, volume);

		dir = fb_path_join(place, token);
		path = fb_path_join(dir, volume->name);
	}
	if (volume->kind == FB_LOCAL_TREE)
		return open_tree(path, volume, ret_artifact, err);
	if (dir != NULL)
		return open_clone(dir, volume->name, ret_artifact, err);
	rc = open_disk(path, found.spec->stop == NULL, ret_artifact, err);
	if (rc == FB_OK && volume->changed != NULL)
		*ret_artifact =
		    fb_local_mapped_artifact(*ret_artifact, &found, volume);
	return rc;
}

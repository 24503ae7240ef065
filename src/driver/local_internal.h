/*
 * The `local` driver: directories with a machine.yaml under one root.
 *
 * It keeps no state but its configuration: every verb reads machine.yaml
 * again, so that verbs run in parallel and after any crash alike.
 */
#ifndef FB_DRIVER_LOCAL_INTERNAL_H
#define FB_DRIVER_LOCAL_INTERNAL_H

#include <stdbool.h>

#include "fleetbak/driver/driver.h"

/* Largest machine.yaml, and most that a definition may hold. */
#define FB_LOCAL_YAML_MAX       (1u << 20)
#define FB_LOCAL_DEFINITION_MAX (64u << 20)

#define FB_LOCAL_DEFINITION "definition"
#define FB_LOCAL_YAML       "machine.yaml"

/* Beside each volume; nothing in it is ever archived. */
#define FB_LOCAL_PLACE ".fleetbak"

struct fb_local_driver {
	struct fb_driver base;
	char *name;
	char *root;
	struct fb_labels labels;
};

/* One machine as its directory says. */
struct fb_local_found {
	char *dir;
	struct fb_buf yaml;
	struct fb_local_machine *spec;
};
void fb_local_found_release(struct fb_local_found *found);
#define FB_AUTO_FOUND FB_CLEANUP(fb_local_found_release)

/* Read `dir`/machine.yaml.  FB_ENOTFOUND when there is none. */
FB_MUST_USE int fb_local_load(
    const char *dir, struct fb_local_found *found, struct fb_error *err);
/* Look a machine up by id.  FB_ENOTFOUND. */
FB_MUST_USE int fb_local_find(const struct fb_local_driver *driver,
    const char *id, struct fb_local_found *found, struct fb_error *err);
/* Directories under the root that may be machines, sorted; ends with NULL,
 * the caller frees all.  FB_EUNREACH. */
FB_MUST_USE int fb_local_dirs(const struct fb_local_driver *driver,
    char ***ret_dirs, struct fb_error *err);
void fb_local_strings_free(char ***strings);
#define FB_AUTO_STRINGS FB_CLEANUP(fb_local_strings_free)

const struct fb_local_volume *fb_local_volume(
    const struct fb_local_machine *spec, const char *name);
/* Absolute, the caller's. */
char *fb_local_volume_path(
    const struct fb_local_found *found, const struct fb_local_volume *volume);
char *fb_local_parent(const char *path);
/* The volume's patterns and ours; ends with NULL; free the array only. */
const char **fb_local_excludes(const struct fb_local_volume *volume);

/* machine.yaml and the files in the machine's directory that its commands
 * name, relative to it; ends with NULL. */
char **fb_local_definition_files(
    const char *dir, const struct fb_local_machine *spec);

/* How a volume is captured. */
enum fb_local_method {
	FB_LOCAL_NONE,
	FB_LOCAL_REFLINK,
	FB_LOCAL_BTRFS,
	FB_LOCAL_STOPPED
};
struct fb_local_shape {
	enum fb_local_method method;
	uint64_t size, allocated;
	char token[FB_CHANGE_TOKEN_SIZE];
	bool at_least; /* a tree too large to be counted at each discovery */
};
FB_MUST_USE int fb_local_shape(const struct fb_local_found *found,
    const struct fb_local_volume *volume, bool count,
    struct fb_local_shape *ret_shape, struct fb_error *err);

/* Fill a machine from what was found; what is wrong is its problem. */
void fb_local_describe(const struct fb_local_driver *driver,
    const struct fb_local_found *found, struct fb_machine *machine);

/* Run `status`.  `*ret_why` (may be NULL) tells why it is unknown. */
FB_MUST_USE int fb_local_status(const struct fb_local_found *found,
    const struct fb_verb *verb, enum fb_power *ret_power,
    struct fb_error *err);

/* The verbs, for the table in local.c. */
int fb_local_power_get(struct fb_driver *, const struct fb_machine *,
    const struct fb_verb *, enum fb_power *, struct fb_error *);
int fb_local_stop(struct fb_driver *, const struct fb_machine *,
    const struct fb_verb *, struct fb_error *);
int fb_local_start(struct fb_driver *, const struct fb_machine *,
    const struct fb_verb *, struct fb_error *);
int fb_local_create_snapshot(struct fb_driver *, const struct fb_machine *,
    const struct fb_verb *, struct fb_error *);
int fb_local_find_by_token(struct fb_driver *, const struct fb_machine *,
    const char *token, struct fb_error *);
int fb_local_list_snapshots(struct fb_driver *, fb_driver_visit_token *,
    void *arg, struct fb_error *);
int fb_local_remove_snapshot(struct fb_driver *, const struct fb_machine *,
    const struct fb_verb *, struct fb_error *);
int fb_local_open_volume(struct fb_driver *, const struct fb_machine *,
    const struct fb_volume *, const char *token, struct fb_artifact **,
    struct fb_error *);
int fb_local_restore_check(struct fb_driver *, const struct fb_fleet *,
    const struct fb_restore_request *, struct fb_restore_plan *,
    struct fb_error *);
int fb_local_restore_list(struct fb_driver *,
    const struct fb_restore_request *, const struct fb_volume *,
    fb_tree_visit *, void *arg, struct fb_error *);
int fb_local_restore_begin(struct fb_driver *,
    const struct fb_restore_request *, const struct fb_verb *,
    struct fb_error *);
int fb_local_restore_open(struct fb_driver *,
    const struct fb_restore_request *, const struct fb_volume *,
    const struct fb_verb *, struct fb_target **, struct fb_error *);
int fb_local_restore_finish(struct fb_driver *,
    const struct fb_restore_request *, const struct fb_verb *,
    struct fb_error *);

/* Directories that a restore fills with what the backup says; real paths. */
struct fb_local_written {
	char **dirs;
	size_t count;
};
/* A directory that is not there yet holds nothing, and is left out. */
void fb_local_written_add(struct fb_local_written *written, const char *dir);
void fb_local_written_release(struct fb_local_written *written);
#define FB_AUTO_WRITTEN FB_CLEANUP(fb_local_written_release)

/* Is `path` reached, as far as it is there, without a link of a directory in
 * `written`, and no device or fifo in one?  Else E-TREE-ESCAPE. */
FB_MUST_USE int fb_local_check_way(const struct fb_local_written *written,
    const char *path, struct fb_error *err);

/* A directory as the target of a tree (local_tree.c). */
FB_MUST_USE int fb_local_tree_target(const char *path,
    const char *const *exclude, bool mirror, struct fb_target **ret_target,
    struct fb_error *err);
/* A directory as an artifact: all of it but `exclude`, or with `files` (may
 * be NULL) only those.  It copies what it is given. */
struct fb_artifact *fb_local_tree_artifact(const char *path,
    const char *const *exclude, const char *const *files);

/* A disk with a `changed` command; takes `disk` over. */
struct fb_artifact *fb_local_mapped_artifact(struct fb_artifact *disk,
    const struct fb_local_found *found, const struct fb_local_volume *volume);

/* Copy files of a definition, with all that an archive keeps; what is equal
 * already is left alone. */
FB_MUST_USE int fb_local_copy_files(const char *from,
    const char *const *files, const char *to, struct fb_error *err);

extern const struct fb_driver_ops fb_local_ops;

#endif

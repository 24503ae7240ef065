/* The canisters of a backup directory of canic's as machines to be read. */
#include <stdlib.h>
#include <string.h>

#include "canic_internal.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"

#define SNAPSHOT   "snapshot"
#define DEFINITION "definition"

/* The directory as it was when this was opened: read once, for its documents
 * grow with the fleet.  Each reading sees that it still is that. */
struct canic_driver {
	struct fb_driver base;
	char *name;
	struct fb_canic_dir dir;
};

static void
canic_close(struct fb_driver *base)
{
	struct canic_driver *driver = (struct canic_driver *)base;

	free(driver->name);
	fb_canic_dir_release(&driver->dir);
	free(driver);
}

static int
canic_open(const struct fb_config_source *source, struct fb_driver **ret_driver,
    struct fb_error *err)
{
	const char *dir =
	    json_string_value(json_object_get(source->options, "dir"));
	struct fb_canic_dir found = { 0 };
	struct canic_driver *driver;
	int rc;

	if (dir == NULL || dir[0] != '/')
		return fb_fail(
		    err, FB_EBUG, "an import without its directory");
	rc = fb_canic_dir_open(dir, &found, err);
	if (rc < 0)
		return rc;
	driver = fb_alloc(1, sizeof(*driver));
	driver->name = fb_strdup(source->name);
	driver->dir = found;
	driver->base.ops = &fb_canic_ops;
	driver->base.source = driver->name;
	*ret_driver = &driver->base;
	return FB_OK;
}

/* ----------------------------------------------------------- discovery */

/* What people look for; the whole is in the definition. */
static void
add_label(struct fb_machine *machine, const char *key, const char *value)
{
	struct fb_labels *labels = &machine->labels;

	if (value == NULL)
		return;
	labels->items = fb_realloc(
	    labels->items, labels->count + 1, sizeof(*labels->items));
	labels->items[labels->count++] =
	    (struct fb_label){ fb_strdup(key), fb_strdup(value) };
}

/* In the order of their keys. */
static void
add_labels(struct fb_machine *machine, const struct fb_canic_dir *dir,
    const struct fb_canic_member *member)
{
	const struct fb_canic_manifest *manifest = dir->manifest;

	add_label(machine, "canic-backup", manifest->backup);
	add_label(machine, "canic-code-version", member->code_version);
	add_label(machine, "canic-created", manifest->created);
	add_label(machine, "canic-environment", manifest->environment);
	add_label(machine, "canic-identity",
	    member->fixed ? "fixed" : "relocatable");
	add_label(machine, "canic-module-hash", member->module_hash);
	add_label(machine, "canic-parent", member->parent);
	add_label(machine, "canic-snapshot", member->snapshot);
}

static void
add_volume(struct fb_machine *machine, const char *name,
    enum fb_volume_kind kind, uint64_t size)
{
	struct fb_volume *volume = fb_machine_add_volume(machine);

	volume->name = fb_strdup(name);
	volume->kind = kind;
	volume->size = volume->allocated = size;
	volume->method = "read-stopped";
	volume->read_stopped = true;
}

static int
describe(const struct canic_driver *driver,
    const struct fb_canic_member *member, struct fb_machine *machine,
    struct fb_error *err)
{
	const struct fb_canic_dir *dir = &driver->dir;
	uint64_t size;
	int rc = fb_canic_size(dir, member, &size, err);

	if (rc < 0)
		return rc;
	machine->source = fb_strdup(driver->name);
	machine->driver = fb_strdup(FB_CANIC_NAME);
	machine->id = fb_strdup(member->canister);
	machine->name = fb_strdup(member->canister);
	machine->role = fb_strdup(member->role);
	/* One that is not in this backup is no machine; its label says it. */
	if (member->parent_at != SIZE_MAX)
		machine->parent = fb_strdup(member->parent);
	add_labels(machine, dir, member);
	machine->power = FB_POWER_DOWN;
	machine->lifecycle = FB_LIFECYCLE_READ_DOWN;
	fb_canic_describe(dir, member, &machine->description);
	add_volume(machine, DEFINITION, FB_VOLUME_DEFINITION, 0);
	add_volume(machine, SNAPSHOT, FB_VOLUME_TREE, size);
	return FB_OK;
}

static int
canic_discover(
    struct fb_driver *base, struct fb_fleet *fleet, struct fb_error *err)
{
	const struct canic_driver *driver = (struct canic_driver *)base;
	const struct fb_canic_manifest *manifest = driver->dir.manifest;
	int rc = FB_OK;

	for (size_t i = 0; rc == FB_OK && i < manifest->count; i++)
		rc = describe(driver, &manifest->members[i],
		    fb_fleet_add(fleet), err);
	return rc;
}

/* --------------------------------------------------------------- verbs */

static int
canic_power_get(struct fb_driver *base, const struct fb_machine *machine,
    const struct fb_verb *verb, enum fb_power *ret_power, struct fb_error *err)
{
	(void)base;
	(void)machine;
	(void)verb;
	(void)err;
	*ret_power = FB_POWER_DOWN;
	return FB_OK;
}

/* The directory is the snapshot, whole as long as it is what it was. */
static int
nothing_to_do(struct fb_driver *base, const struct fb_machine *machine,
    const struct fb_verb *verb, struct fb_error *err)
{
	(void)base;
	(void)machine;
	(void)verb;
	(void)err;
	return FB_OK;
}

static int
find_by_token(struct fb_driver *base, const struct fb_machine *machine,
    const char *token, struct fb_error *err)
{
	(void)base;
	(void)machine;
	(void)token;
	(void)err;
	return FB_OK;
}

static int
list_snapshots(struct fb_driver *base, fb_driver_visit_token *visit, void *arg,
    struct fb_error *err)
{
	(void)base;
	(void)visit;
	(void)arg;
	(void)err;
	return FB_OK;
}

/* ------------------------------------------------------------- reading */

struct canic_artifact {
	struct fb_artifact base;
	const struct fb_canic_dir *dir; /* the driver's */
	const struct fb_canic_member *member;
};

/* What was packed is what has the checksum, or it is worth nothing. */
static int
produce_snapshot(struct fb_artifact *base, const struct fb_sink *sink,
    struct fb_error *err)
{
	const struct canic_artifact *artifact = (struct canic_artifact *)base;

	return fb_canic_pack(artifact->dir, artifact->member, sink, err);
}

static int
produce_documents(struct fb_artifact *base, const struct fb_sink *sink,
    struct fb_error *err)
{
	const struct canic_artifact *artifact = (struct canic_artifact *)base;

	return fb_canic_pack_documents(artifact->dir, sink, err);
}

static void
artifact_close(struct fb_artifact *base)
{
	free((struct canic_artifact *)base);
}

static const struct fb_artifact_ops snapshot_ops = {
	.produce = produce_snapshot,
	.close = artifact_close,
};

static const struct fb_artifact_ops documents_ops = {
	.produce = produce_documents,
	.close = artifact_close,
};

/* The member that the machine was made of, still. */
static int
find_member(const struct fb_canic_dir *dir, const struct fb_machine *machine,
    const struct fb_canic_member **ret, struct fb_error *err)
{
	const struct fb_canic_manifest *manifest = dir->manifest;
	struct fb_digest now;

	for (size_t i = 0; i < manifest->count; i++) {
		*ret = &manifest->members[i];
		if (strcmp((*ret)->canister, machine->id) != 0)
			continue;
		fb_canic_describe(dir, *ret, &now);
		if (fb_digest_cmp(&now, &machine->description) == 0)
			return FB_OK;
	}
	return fb_fail_id(err, FB_ESTALE, "E-DRIFT",
	    "'%s' is not the backup any more that it was", dir->path);
}

static int
canic_open_volume(struct fb_driver *base, const struct fb_machine *machine,
    const struct fb_volume *volume, const char *token,
    struct fb_artifact **ret_artifact, struct fb_error *err)
{
	const struct canic_driver *driver = (struct canic_driver *)base;
	const struct fb_canic_member *member = NULL;
	struct canic_artifact *artifact;
	int rc = find_member(&driver->dir, machine, &member, err);

	(void)token;
	if (rc < 0)
		return rc;
	artifact = fb_alloc(1, sizeof(*artifact));
	artifact->base.ops = volume->kind == FB_VOLUME_DEFINITION
	    ? &documents_ops
	    : &snapshot_ops;
	artifact->dir = &driver->dir;
	artifact->member = member;
	*ret_artifact = &artifact->base;
	return FB_OK;
}

const struct fb_driver_ops fb_canic_ops = {
	.name = FB_CANIC_NAME,
	.imports = true,
	.open = canic_open,
	.discover = canic_discover,
	.power_get = canic_power_get,
	.create_snapshot = nothing_to_do,
	.find_by_token = find_by_token,
	.list_snapshots = list_snapshots,
	.remove_snapshot = nothing_to_do,
	.open_volume = canic_open_volume,
	.close = canic_close,
};

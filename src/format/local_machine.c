/*
 * machine.yaml of the local driver.
 */
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"

#include "schema.h"

/* The volume every machine has; the driver makes it. */
#define RESERVED_VOLUME "definition"

/* In the order of enum fb_local_volume_kind. */
static const char *const kinds[] = { "disk", "tree", "cdrom", "floppy",
	NULL };

/* clang-format off */
#define NAME   .kind = FB_SETTING_NAME, .type = "name"
#define SPAN   .kind = FB_SETTING_SPAN, .type = "span"
#define CHOICE .kind = FB_SETTING_CHOICE, .type = "choice"
#define PATH   .kind = FB_SETTING_RAW_PATH, .type = "path"
#define LABELS .kind = FB_SETTING_LABELS, .type = "map of texts"
#define VECTOR .kind = FB_SETTING_VECTOR, .type = "list of texts"
/* clang-format on */

static const struct fb_setting settings[] = {
	{ .path = "id", NAME, .required = true,
	    .help = "write id: NAME, the machine's stable identity" },
	{ .path = "role", NAME },
	{ .path = "parent", NAME },
	{ .path = "labels", LABELS },
	{ .path = "start", VECTOR, .min = 1 },
	{ .path = "stop", VECTOR, .min = 1 },
	{ .path = "status", VECTOR, .min = 1 },
	{ .path = "stop_timeout", SPAN, .fallback = "30s", .min = 1 },
	{ .path = "start_timeout", SPAN, .fallback = "60s", .min = 1 },
	{ .path = "volumes.[].name", NAME, .required = true,
	    .help = "write {name: NAME, kind: disk, path: PATH}" },
	{ .path = "volumes.[].kind", CHOICE, .choices = kinds,
	    .required = true,
	    .help = "write kind: disk, tree, cdrom or floppy" },
	{ .path = "volumes.[].path", PATH, .required = true,
	    .help = "write path: the file, device or directory" },
	{ .path = "volumes.[].exclude", VECTOR },
	{ .path = "volumes.[].changed", VECTOR, .min = 1 },
};

static char *
copy_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text == NULL ? NULL : fb_strdup(text);
}

/* A vector, ends with NULL; NULL when absent. */
static char **
copy_vector(const json_t *object, const char *key)
{
	const json_t *list = json_object_get(object, key);
	char **vector;
	size_t i;
	json_t *value;

	if (list == NULL)
		return NULL;
	vector = fb_alloc(json_array_size(list) + 1, sizeof(*vector));
	json_array_foreach(list, i, value)
	    vector[i] = fb_strdup(json_string_value(value));
	return vector;
}

/* The schema has judged the text, and filled in the default. */
static uint64_t
span_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	struct fb_error err;
	uint64_t ms = 0;

	if (text == NULL || fb_text_span(text, &ms, &err) < 0)
		/* uncovered: the schema has checked it */
		return 0;
	return ms;
}

static void
fill_volume(struct fb_local_volume *volume, const json_t *value)
{
	const char *kind = json_string_value(json_object_get(value, "kind"));

	volume->name = copy_text(value, "name");
	volume->path = copy_text(value, "path");
	for (size_t i = 0; kinds[i] != NULL; i++)
		if (strcmp(kind, kinds[i]) == 0)
			volume->kind = (enum fb_local_volume_kind)i;
	volume->exclude = copy_vector(value, "exclude");
	volume->changed = copy_vector(value, "changed");
	if (volume->exclude == NULL)
		volume->exclude = fb_alloc(1, sizeof(*volume->exclude));
}

static void
fill(struct fb_local_machine *machine, const json_t *values,
    const struct fb_yaml_node *root)
{
	const json_t *volumes = json_object_get(values, "volumes");
	const struct fb_yaml_node *id = fb_yaml_get(root, "id");
	size_t i;
	json_t *value;

	machine->id = copy_text(values, "id");
	machine->id_offset = id->offset;
	machine->id_length = id->length;
	machine->role = copy_text(values, "role");
	if (machine->role == NULL)
		machine->role = fb_strdup("");
	machine->parent = copy_text(values, "parent");
	fb_labels_fill(&machine->labels, json_object_get(values, "labels"));
	machine->start = copy_vector(values, "start");
	machine->stop = copy_vector(values, "stop");
	machine->status = copy_vector(values, "status");
	machine->stop_timeout_ms = span_of(values, "stop_timeout");
	machine->start_timeout_ms = span_of(values, "start_timeout");
	machine->volumes = fb_alloc(
	    json_array_size(volumes) + 1, sizeof(*machine->volumes));
	json_array_foreach(volumes, i, value)
	    fill_volume(&machine->volumes[machine->volume_count++], value);
}

/* Half of the three would leave a machine down, or guess whether it is up. */
static int
check_commands(const struct fb_schema *schema, struct fb_error *err)
{
	static const char *const names[] = { "start", "stop", "status" };
	const char *given = NULL;
	const char *missing = NULL;

	for (size_t i = 0; i < FB_COUNT(names); i++) {
		if (json_object_get(schema->values, names[i]) != NULL)
			given = names[i];
		else
			missing = names[i];
	}
	if (given == NULL || missing == NULL)
		return FB_OK;
	(void)fb_schema_fail(schema, given, NULL, "E-CFG-MISSING", err,
	    "start, stop and status belong together, but there is no '%s'",
	    missing);
	return fb_hint(err, "write all three, or none for a machine that is "
	                    "not run and only holds data");
}

static int
check_volume(const struct fb_schema *schema, const json_t *volumes, size_t i,
    struct fb_error *err)
{
	FB_AUTO_FREE char *name_path = fb_format("volumes.%zu.name", i);
	FB_AUTO_FREE char *exclude_path = fb_format("volumes.%zu.exclude", i);
	FB_AUTO_FREE char *changed_path = fb_format("volumes.%zu.changed", i);
	const json_t *volume = json_array_get(volumes, i);
	const char *name = json_string_value(json_object_get(volume, "name"));
	const char *kind = json_string_value(json_object_get(volume, "kind"));

	if (strcmp(name, RESERVED_VOLUME) == 0)
		return fb_schema_fail(schema, name_path, name, "E-CFG-REFERENCE",
		    err, "reserved: the volume that holds machine.yaml itself");
	for (size_t j = 0; j < i; j++) {
		FB_AUTO_FREE char *first = fb_format("volumes.%zu.name", j);
		const char *other = json_string_value(
		    json_object_get(json_array_get(volumes, j), "name"));

		if (strcmp(name, other) == 0)
			return fb_schema_fail(schema, name_path, name,
			    "E-CFG-DUPLICATE", err,
			    "another volume has this name, see %s",
			    fb_schema_place(schema, first));
	}
	if (strcmp(kind, "tree") != 0 &&
	    json_object_get(volume, "exclude") != NULL)
		return fb_schema_fail(schema, exclude_path, NULL, "E-CFG-KEY",
		    err, "only a tree can leave files out, not a %s", kind);
	if (strcmp(kind, "disk") != 0 &&
	    json_object_get(volume, "changed") != NULL)
		return fb_schema_fail(schema, changed_path, NULL, "E-CFG-KEY",
		    err, "only a disk has a change map, not a %s", kind);
	return FB_OK;
}

static int
check_whole(const struct fb_schema *schema, const struct fb_yaml_node *root,
    struct fb_error *err)
{
	const json_t *volumes = json_object_get(schema->values, "volumes");
	const char *id =
	    json_string_value(json_object_get(schema->values, "id"));
	const char *parent =
	    json_string_value(json_object_get(schema->values, "parent"));
	int rc = check_commands(schema, err);

	/* A restore under a new name writes another id in its place. */
	if (rc == FB_OK && fb_yaml_get(root, "id")->block)
		rc = fb_schema_fail(schema, "id", id, "E-CFG-TYPE", err,
		    "must stand on the line of its key");
	if (rc == FB_OK && parent != NULL && strcmp(parent, id) == 0)
		rc = fb_schema_fail(schema, "parent", parent,
		    "E-CFG-REFERENCE", err, "a machine is not its own parent");
	for (size_t i = 0; rc == FB_OK && i < json_array_size(volumes); i++)
		rc = check_volume(schema, volumes, i, err);
	return rc;
}

int
fb_local_machine_parse(struct fb_span yaml, const char *path,
    struct fb_local_machine **ret_machine, struct fb_error *err)
{
	FB_CLEANUP(fb_schema_release) struct fb_schema schema = {
		.rows = settings, .row_count = FB_COUNT(settings), .file = path
	};
	FB_AUTO_YAML struct fb_yaml_node *root = NULL;
	struct fb_local_machine *machine;
	int rc = fb_yaml_parse(yaml, FB_CONFIG_MAX, path, &root, err);

	if (rc == FB_OK)
		rc = fb_schema_read(&schema, root, err);
	if (rc == FB_OK)
		rc = check_whole(&schema, root, err);
	if (rc < 0)
		return rc;
	machine = fb_alloc(1, sizeof(*machine));
	fill(machine, schema.values, root);
	*ret_machine = machine;
	return FB_OK;
}

static void
free_vector(char **vector)
{
	for (size_t i = 0; vector != NULL && vector[i] != NULL; i++)
		fb_freep(&vector[i]);
	fb_freep(&vector);
}

void
fb_local_machine_free(struct fb_local_machine *machine)
{
	if (machine == NULL)
		return;
	for (size_t i = 0; i < machine->volume_count; i++) {
		fb_freep(&machine->volumes[i].name);
		fb_freep(&machine->volumes[i].path);
		free_vector(machine->volumes[i].exclude);
		free_vector(machine->volumes[i].changed);
	}
	fb_freep(&machine->volumes);
	free_vector(machine->start);
	free_vector(machine->stop);
	free_vector(machine->status);
	fb_labels_release(&machine->labels);
	fb_freep(&machine->id);
	fb_freep(&machine->role);
	fb_freep(&machine->parent);
	fb_freep(&machine);
}

void
fb_local_machine_freep(struct fb_local_machine **machine)
{
	fb_local_machine_free(*machine);
	*machine = NULL;
}

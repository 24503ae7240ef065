/* A machine, as a plugin describes it. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/driver/artifact.h"
#include "plugin_answer.h"

#define TEXT_MAX    512
#define LABELS_MAX  256
#define TIMEOUT_MAX 86400000

/* Of a machine that does not say. */
#define STOP_TIMEOUT_MS  180000
#define START_TIMEOUT_MS 120000

static int
check_text(const char *key, const char *text, struct fb_error *err)
{
	if (strlen(text) > TEXT_MAX)
		return fb_fail(err, FB_EPROTO,
		    "machine: '%s' is longer than %d bytes", key, TEXT_MAX);
	for (const char *c = text; *c != '\0'; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			return fb_fail(err, FB_EPROTO,
			    "machine: '%s' holds a control character", key);
	return FB_OK;
}

static int
take_text(const json_t *object, const char *key, const char *fallback,
    char **ret, struct fb_error *err)
{
	const char *text;
	int rc = fb_json_str_opt(object, key, "machine", &text, err);

	if (rc == FB_OK && text == NULL)
		text = fallback;
	if (rc == FB_OK && text != NULL)
		rc = check_text(key, text, err);
	if (rc == FB_OK && text != NULL)
		*ret = fb_strdup(text);
	return rc;
}

static int
take_u64(const json_t *object, const char *key, uint64_t max,
    uint64_t fallback, uint64_t *ret, struct fb_error *err)
{
	*ret = fallback;
	if (json_object_get(object, key) == NULL)
		return FB_OK;
	return fb_json_u64(object, key, "machine", max, ret, err);
}

static int
compare_labels(const void *a, const void *b)
{
	const struct fb_label *x = a, *y = b;

	return strcmp(x->key, y->key);
}

/* The machine's own win over the source's. */
static int
take_labels(const json_t *item, const struct fb_labels *source,
    struct fb_labels *labels, struct fb_error *err)
{
	json_t *own = json_object_get(item, "labels"), *value;
	const char *key;

	if (own != NULL && !json_is_object(own))
		return fb_fail(
		    err, FB_EPROTO, "machine: 'labels' is no object");
	if (json_object_size(own) > LABELS_MAX)
		return fb_fail(err, FB_EPROTO, "machine: more than %d labels",
		    LABELS_MAX);
	labels->items = fb_alloc(source->count + json_object_size(own) + 1,
	    sizeof(*labels->items));
	json_object_foreach(own, key, value) {
		int rc = fb_name_check("label", key, strlen(key), err);

		if (rc == FB_OK && !json_is_string(value))
			rc = fb_fail(err, FB_EPROTO,
			    "machine: label '%s' is no string", key);
		if (rc == FB_OK)
			rc = check_text(key, json_string_value(value), err);
		if (rc < 0)
			return rc;
		labels->items[labels->count++] = (struct fb_label){
			fb_strdup(key), fb_strdup(json_string_value(value))
		};
	}
	for (size_t i = 0; i < source->count; i++)
		if (json_object_get(own, source->items[i].key) == NULL)
			labels->items[labels->count++] = (struct fb_label){
				fb_strdup(source->items[i].key),
				fb_strdup(source->items[i].value)
			};
	if (labels->count > 1)
		qsort(labels->items, labels->count, sizeof(*labels->items),
		    compare_labels);
	return FB_OK;
}

/* How it is read: "snapshot", "stopped"; what is removable, not at all. */
static int
take_method(
    const json_t *item, struct fb_volume *volume, struct fb_error *err)
{
	const char *read;
	int rc = fb_json_str_opt(item, "read", "volume", &read, err);

	if (rc < 0)
		return rc;
	if (!fb_volume_captured(volume->kind)) {
		volume->method = "none";
		return FB_OK;
	}
	if (read == NULL || strcmp(read, "snapshot") == 0)
		volume->method = volume->kind == FB_VOLUME_DEFINITION
		    ? "copy"
		    : "snapshot";
	else if (strcmp(read, "stopped") == 0)
		volume->method = "read-stopped";
	else if (strcmp(read, "left-out") == 0)
		volume->method = FB_METHOD_LEFT_OUT;
	else
		return fb_fail(err, FB_EPROTO,
		    "volume: 'read' is '%.32s', not snapshot, stopped or "
		    "left-out",
		    read);
	volume->read_stopped = strcmp(volume->method, "read-stopped") == 0;
	return FB_OK;
}

static int
take_volume(
    const json_t *item, struct fb_volume *volume, struct fb_error *err)
{
	static const char *const keys[] = { "allocated", "kind", "name",
		"note", "read", "size", "token", NULL };
	const char *kind, *name;
	int rc = fb_json_only(item, "volume", keys, err);

	if (rc == FB_OK)
		rc = fb_json_str(item, "name", "volume", &name, err);
	if (rc == FB_OK)
		rc = fb_name_check("volume name", name, strlen(name), err);
	if (rc == FB_OK)
		volume->name = fb_strdup(name);
	if (rc == FB_OK)
		rc = fb_json_str(item, "kind", "volume", &kind, err);
	if (rc == FB_OK)
		rc = fb_volume_kind_parse(kind, &volume->kind, err);
	if (rc == FB_OK)
		rc = take_u64(
		    item, "size", INT64_MAX, 0, &volume->size, err);
	if (rc == FB_OK)
		rc = take_u64(item, "allocated", INT64_MAX, volume->size,
		    &volume->allocated, err);
	if (rc == FB_OK)
		rc = take_text(item, "note", NULL, &volume->note, err);
	if (rc == FB_OK)
		rc = take_text(item, "token", NULL, &volume->token, err);
	if (rc == FB_OK && volume->token != NULL &&
	    (volume->token[0] == '\0' || !fb_change_token_ok(volume->token)))
		rc = fb_fail(err, FB_EPROTO,
		    "volume '%s': 'token' is no change token", volume->name);
	if (rc == FB_OK && volume->kind == FB_VOLUME_DISK &&
	    json_object_get(item, "size") == NULL)
		rc = fb_fail(err, FB_EPROTO, "disk '%s' has no 'size'",
		    volume->name);
	return rc == FB_OK ? take_method(item, volume, err) : rc;
}

static int
take_volumes(
    const json_t *item, struct fb_machine *machine, struct fb_error *err)
{
	const json_t *volume;
	json_t *list;
	size_t index;
	int rc = fb_json_array(item, "volumes", "machine", &list, err);

	if (rc == FB_OK && json_array_size(list) > FB_FLEET_VOLUMES_MAX)
		rc = fb_fail(err, FB_EPROTO, "machine: too many volumes");
	if (rc < 0)
		return rc;
	json_array_foreach(list, index, volume) {
		rc = take_volume(
		    volume, fb_machine_add_volume(machine), err);
		if (rc < 0)
			return rc;
	}
	return FB_OK;
}

/* A lifecycle that fits how its volumes are read. */
static int
take_lifecycle(
    const json_t *item, struct fb_machine *machine, struct fb_error *err)
{
	bool stopped = false;
	const char *name;
	int rc = fb_json_str(item, "lifecycle", "machine", &name, err);

	if (rc == FB_OK)
		rc = fb_lifecycle_parse(name, &machine->lifecycle, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < machine->volume_count; i++)
		stopped = stopped || machine->volumes[i].read_stopped;
	if (machine->lifecycle == FB_LIFECYCLE_READ_DOWN)
		return fb_fail(err, FB_EPROTO,
		    "machine: 'lifecycle' is what it goes through when it is "
		    "up, not read-down");
	if (stopped !=
	        (machine->lifecycle == FB_LIFECYCLE_STOP_COPY_START) &&
	    machine->lifecycle != FB_LIFECYCLE_SNAPSHOT_LIVE)
		return fb_fail(err, FB_EPROTO,
		    "machine: lifecycle %s, and %s volume is read while it is "
		    "stopped",
		    name, stopped ? "a" : "no");
	return FB_OK;
}

static int
take_description(
    const json_t *item, struct fb_machine *machine, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	json_t *description;
	int rc = fb_json_object(
	    item, "description", "machine", &description, err);

	if (rc < 0)
		return rc;
	fb_json_add(&bytes, description);
	fb_digest_of(fb_buf_span(&bytes), &machine->description);
	return FB_OK;
}

static int
take_problem(
    const json_t *item, struct fb_machine *machine, struct fb_error *err)
{
	FB_AUTO_FREE char *text = NULL;
	struct fb_error problem = { 0 };
	int rc = take_text(item, "problem", NULL, &text, err);

	if (rc < 0 || text == NULL)
		return rc;
	(void)fb_fail(&problem, FB_EFAILED, "%s", text);
	fb_machine_refuse(machine, &problem);
	return FB_OK;
}

static int
take_rest(const json_t *item, const struct fb_labels *labels,
    struct fb_machine *machine, struct fb_error *err)
{
	const char *power;
	int rc = fb_json_str(item, "power", "machine", &power, err);

	if (rc == FB_OK)
		rc = fb_power_parse(power, &machine->power, err);
	if (rc == FB_OK)
		rc = take_text(
		    item, "name", machine->id, &machine->name, err);
	if (rc == FB_OK)
		rc = take_text(item, "role", "", &machine->role, err);
	if (rc == FB_OK)
		rc = take_text(item, "parent", NULL, &machine->parent, err);
	if (rc == FB_OK)
		rc = take_u64(item, "stop_timeout_ms", TIMEOUT_MAX,
		    STOP_TIMEOUT_MS, &machine->stop_timeout_ms, err);
	if (rc == FB_OK)
		rc = take_u64(item, "start_timeout_ms", TIMEOUT_MAX,
		    START_TIMEOUT_MS, &machine->start_timeout_ms, err);
	if (rc == FB_OK)
		rc = take_labels(item, labels, &machine->labels, err);
	if (rc == FB_OK)
		rc = take_volumes(item, machine, err);
	if (rc == FB_OK)
		rc = take_lifecycle(item, machine, err);
	if (rc == FB_OK)
		rc = take_description(item, machine, err);
	return rc == FB_OK ? take_problem(item, machine, err) : rc;
}

int
fb_plugin_machine(const json_t *item, const char *source,
    const struct fb_labels *labels, struct fb_machine *machine,
    struct fb_error *err)
{
	static const char *const keys[] = { "description", "id", "labels",
		"lifecycle", "name", "parent", "power", "problem", "role",
		"start_timeout_ms", "stop_timeout_ms", "volumes", NULL };
	const char *id;
	int rc = fb_json_only(item, "machine", keys, err);

	machine->source = fb_strdup(source);
	machine->driver = fb_strdup("plugin");
	if (rc == FB_OK)
		rc = fb_json_str(item, "id", "machine", &id, err);
	if (rc == FB_OK)
		rc = fb_name_check("machine id", id, strlen(id), err);
	if (rc < 0)
		return fb_plugin_broken(err);
	machine->id = fb_strdup(id);
	rc = take_rest(item, labels, machine, err);
	if (rc < 0) {
		(void)fb_wrap(err, "machine '%s'", machine->id);
		return fb_plugin_broken(err);
	}
	return FB_OK;
}

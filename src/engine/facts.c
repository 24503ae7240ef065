/* Facts of a journal, from JSON. */
#include <string.h>

#include "fleetbak/base/mem.h"
#include "facts.h"

int
fb_fact_digest(const json_t *body, const char *key, struct fb_digest *ret,
    struct fb_error *err)
{
	const char *hex;
	int rc = fb_json_str(body, key, "journal", &hex, err);

	if (rc < 0)
		return rc;
	return fb_digest_parse(
	    (struct fb_span){ (const uint8_t *)hex, strlen(hex) }, ret, err);
}

int
fb_fact_text(const json_t *body, const char *key, char *text, size_t size,
    struct fb_error *err)
{
	const char *value;
	int rc = fb_json_str(body, key, "journal", &value, err);
	size_t len;

	if (rc < 0)
		return rc;
	len = strlen(value);
	if (len >= size)
		return fb_fail(err, FB_ECORRUPT, "'%s' is too long", key);
	memcpy(text, value, len + 1);
	return FB_OK;
}

int
fb_fact_copy(const json_t *body, const char *key, char **ret, struct fb_error *err)
{
	const char *value;
	int rc = fb_json_str(body, key, "journal", &value, err);

	if (rc == FB_OK)
		*ret = fb_strdup(value);
	return rc;
}

/* Ids of errors outlive the journal: the few that occur are kept for ever. */
static const char *
intern(const char *id)
{
	static const char *known[512];
	static size_t count;

	for (size_t i = 0; i < count; i++)
		if (strcmp(known[i], id) == 0)
			return known[i];
	if (count == FB_COUNT(known))
		return "E-FAILED";
	known[count] = fb_strdup(id);
	return known[count++];
}

int
fb_fact_error(const json_t *body, const char *key, struct fb_error *ret,
    struct fb_error *err)
{
	const char *id, *message, *hint;
	json_t *object;
	json_int_t code;
	int rc = fb_json_object(body, key, "journal", &object, err);

	if (rc == FB_OK)
		rc = fb_json_str(object, "id", "journal", &id, err);
	if (rc == FB_OK)
		rc = fb_json_str(object, "message", "journal", &message, err);
	if (rc == FB_OK)
		rc = fb_json_str(object, "hint", "journal", &hint, err);
	if (rc < 0)
		return rc;
	code = json_integer_value(json_object_get(object, "code"));
	if (code >= 0 || code < FB_EFAILED)
		code = FB_EFAILED;
	(void)fb_fail_id(
	    ret, (enum fb_code)code, intern(id), "%s", message);
	if (hint[0] != '\0')
		(void)fb_hint(ret, "%s", hint);
	return FB_OK;
}

int
fb_fact_kept_error(const json_t *body, const char *key, const struct fb_error **ret,
    struct fb_error *err)
{
	struct fb_error found = { 0 };
	int rc = fb_fact_error(body, key, &found, err);

	if (rc < 0)
		return rc;
	fb_error_drop(*ret);
	*ret = fb_error_keep(&found);
	return FB_OK;
}

static int
read_labels(
    const json_t *body, struct fb_labels *labels, struct fb_error *err)
{
	json_t *object, *value;
	const char *key;
	int rc = fb_json_object(body, "labels", "journal", &object, err);

	if (rc < 0)
		return rc;
	labels->items =
	    fb_alloc(json_object_size(object), sizeof(*labels->items));
	json_object_foreach(object, key, value) {
		if (!json_is_string(value))
			return fb_fail(err, FB_ECORRUPT, "a label is no text");
		labels->items[labels->count++] = (struct fb_label){
			fb_strdup(key),
			fb_strdup(json_string_value(value)),
		};
	}
	return FB_OK;
}

static int
read_volumes(
    const json_t *body, struct fb_machine *machine, struct fb_error *err)
{
	json_t *list;
	int rc = fb_json_array(body, "volumes", "journal", &list, err);

	for (size_t i = 0; rc == FB_OK && i < json_array_size(list); i++) {
		const json_t *entry = json_array_get(list, i);
		struct fb_volume *volume = fb_machine_add_volume(machine);
		const char *kind, *method;

		rc = fb_fact_copy(entry, "name", &volume->name, err);
		if (rc == FB_OK)
			rc = fb_json_str(entry, "kind", "journal", &kind, err);
		if (rc == FB_OK)
			rc = fb_volume_kind_parse(kind, &volume->kind, err);
		if (rc == FB_OK)
			rc = fb_json_u64(entry, "size", "journal", INT64_MAX,
			    &volume->size, err);
		if (rc == FB_OK)
			rc = fb_json_str(
			    entry, "method", "journal", &method, err);
		if (rc == FB_OK)
			rc = fb_json_bool(entry, "read_stopped", "journal",
			    &volume->read_stopped, err);
		if (rc == FB_OK)
			volume->method = intern(method);
	}
	return rc;
}

int
fb_fact_machine(
    const json_t *body, struct fb_machine *machine, struct fb_error *err)
{
	const char *text;
	int rc = fb_fact_copy(body, "source", &machine->source, err);

	if (rc == FB_OK)
		rc = fb_fact_copy(body, "driver", &machine->driver, err);
	if (rc == FB_OK)
		rc = fb_fact_copy(body, "id", &machine->id, err);
	if (rc == FB_OK)
		rc = fb_fact_copy(body, "name", &machine->name, err);
	if (rc == FB_OK)
		rc = fb_fact_copy(body, "role", &machine->role, err);
	if (rc == FB_OK && !json_is_null(json_object_get(body, "parent")))
		rc = fb_fact_copy(body, "parent", &machine->parent, err);
	if (rc == FB_OK)
		rc = read_labels(body, &machine->labels, err);
	if (rc == FB_OK)
		rc = fb_json_str(body, "power", "journal", &text, err);
	if (rc == FB_OK)
		rc = fb_power_parse(text, &machine->power, err);
	if (rc == FB_OK)
		rc = fb_json_str(body, "lifecycle", "journal", &text, err);
	if (rc == FB_OK)
		rc = fb_lifecycle_parse(text, &machine->lifecycle, err);
	if (rc == FB_OK)
		rc = fb_fact_digest(
		    body, "description", &machine->description, err);
	if (rc == FB_OK)
		rc = fb_json_u64(body, "stop_timeout_ms", "journal", INT64_MAX,
		    &machine->stop_timeout_ms, err);
	if (rc == FB_OK)
		rc = fb_json_u64(body, "start_timeout_ms", "journal", INT64_MAX,
		    &machine->start_timeout_ms, err);
	if (rc == FB_OK)
		rc = read_volumes(body, machine, err);
	if (rc == FB_OK && json_object_get(body, "problem") != NULL)
		rc = fb_fact_kept_error(body, "problem", &machine->problem, err);
	return rc;
}

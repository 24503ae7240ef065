/*
 * The walk over a tree of YAML by a table of settings.
 *
 * A row's path has one of four forms: "leaf", "section.leaf",
 * "section.*.leaf" (a map of things with names) and "section.[].leaf" (a
 * list of things).  A key of a section holds no dot, so that a path is what
 * it seems; a name may.
 */
#include "schema.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"

/* A value being read: what it is, and who says so. */
struct reading {
	struct fb_schema *schema;
	const char *outside; /* origin of an override; NULL: the file */
	const char *driver;  /* of the source around it; NULL: any */
	const char *pattern; /* "sources.*" */
	const char *path;    /* "sources.lab" */
};

static int read_value(const struct reading *at,
    const struct fb_yaml_node *node, json_t **ret_value,
    struct fb_error *err);

const char *
fb_schema_place(const struct fb_schema *schema, const char *path)
{
	const char *place =
	    json_string_value(json_object_get(schema->places, path));

	return place != NULL ? place : schema->file;
}

int
fb_schema_fail(const struct fb_schema *schema, const char *path,
    const char *value, const char *id, struct fb_error *err, const char *fmt,
    ...)
{
	char why[256];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(why, sizeof(why), fmt, args);
	va_end(args);
	if (value == NULL)
		return fb_fail_id(err, FB_ECONFIG, id, "%s: %s: %s",
		    fb_schema_place(schema, path), path, why);
	return fb_fail_id(err, FB_ECONFIG, id, "%s: %s '%.64s': %s",
	    fb_schema_place(schema, path), path, value, why);
}

bool
fb_schema_matches(const char *pattern, const char *path)
{
	const char *star = strchr(pattern, '*');
	size_t head, tail, len = strlen(path);

	if (star == NULL)
		return strcmp(pattern, path) == 0;
	head = (size_t)(star - pattern);
	tail = strlen(star + 1);
	return len > head + tail && strncmp(pattern, path, head) == 0 &&
	    strcmp(path + len - tail, star + 1) == 0;
}

static bool
row_applies(const struct fb_setting *row, const char *driver)
{
	return row->driver == NULL || driver == NULL ||
	    strcmp(row->driver, driver) == 0;
}

static const struct fb_setting *
find_row(const struct reading *at)
{
	const struct fb_schema *schema = at->schema;

	for (size_t i = 0; i < schema->row_count; i++)
		if (row_applies(&schema->rows[i], at->driver) &&
		    strcmp(schema->rows[i].path, at->pattern) == 0)
			return &schema->rows[i];
	return NULL;
}

/* Are there rows below "<pattern>.<part>"? */
static bool
has_rows(const struct reading *at, const char *part)
{
	FB_AUTO_FREE char *prefix = fb_format("%s.%s", at->pattern, part);

	for (size_t i = 0; i < at->schema->row_count; i++)
		if (strncmp(at->schema->rows[i].path, prefix,
		        strlen(prefix)) == 0)
			return true;
	return false;
}

static char *
place_of(const struct reading *at, const struct fb_yaml_node *node)
{
	if (at->outside != NULL)
		return fb_strdup(at->outside);
	return fb_format(
	    "%s:%zu:%zu", at->schema->file, node->line, node->column);
}

/* Remember where a value stands. */
static void
record(const struct reading *at, const struct fb_yaml_node *node)
{
	FB_AUTO_FREE char *place = place_of(at, node);
	FB_AUTO_FREE char *origin =
	    at->outside != NULL
	        ? fb_strdup(at->outside)
	        : fb_format("%s:%zu", at->schema->file, node->line);

	(void)json_object_set_new(
	    at->schema->places, at->path, json_string(place));
	(void)json_object_set_new(
	    at->schema->origins, at->path, json_string(origin));
}

static const char *
kind_name(enum fb_yaml_kind kind)
{
	switch (kind) {
	case FB_YAML_MAP:
		return "a map";
	case FB_YAML_LIST:
		return "a list";
	case FB_YAML_SCALAR:
		break;
	}
	return "a single value";
}

/* The node is of this kind; a key with nothing after it is none. */
static int
want_kind(const struct reading *at, const struct fb_yaml_node *node,
    enum fb_yaml_kind kind, struct fb_error *err)
{
	FB_AUTO_FREE char *place = NULL;

	if (node->kind == kind &&
	    (kind != FB_YAML_SCALAR || !node->plain || node->text[0] != '\0'))
		return FB_OK;
	place = place_of(at, node);
	if (node->kind == FB_YAML_SCALAR && node->text[0] == '\0')
		return fb_fail_id(err, FB_ECONFIG, "E-CFG-TYPE",
		    "%s: %s: has no value, %s belongs here", place, at->path,
		    kind_name(kind));
	if (node->kind == FB_YAML_SCALAR)
		return fb_fail_id(err, FB_ECONFIG, "E-CFG-TYPE",
		    "%s: %s '%.64s': a single value where %s belongs", place,
		    at->path, node->text, kind_name(kind));
	return fb_fail_id(err, FB_ECONFIG, "E-CFG-TYPE",
	    "%s: %s: %s where %s belongs", place, at->path,
	    kind_name(node->kind), kind_name(kind));
}

static int
read_scalar(const struct reading *at, const struct fb_setting *row,
    const struct fb_yaml_node *node, json_t **ret_value, struct fb_error *err)
{
	FB_AUTO_FREE char *place = place_of(at, node);
	const struct fb_scalar scalar = { .row = row,
		.place = place,
		.what = at->path,
		.text = node->text,
		.base_dir = at->schema->base_dir };
	int rc = want_kind(at, node, FB_YAML_SCALAR, err);

	return rc < 0 ? rc : fb_scalar_check(&scalar, ret_value, err);
}

static int
read_texts(const struct reading *at, const struct fb_setting *row,
    const struct fb_yaml_node *node, json_t **ret_value, struct fb_error *err)
{
	FB_AUTO_JSON json_t *list = json_array();
	int rc = want_kind(at, node, FB_YAML_LIST, err);

	if (rc < 0)
		return rc;
	if (node->count < row->min)
		return fb_fail_id(err, FB_ECONFIG, "E-CFG-RANGE",
		    "%s: %s: an empty list, write at least one",
		    fb_schema_place(at->schema, at->path), at->path);
	for (size_t i = 0; i < node->count; i++) {
		json_t *value = NULL;

		rc = read_scalar(at, row, node->items[i], &value, err);
		if (rc < 0)
			return rc;
		(void)json_array_append_new(list, value);
	}
	*ret_value = FB_STEAL(list);
	return FB_OK;
}

static int
check_key_name(const struct reading *at, const char *what,
    const struct fb_yaml_node *key, struct fb_error *err)
{
	FB_AUTO_FREE char *place = NULL;

	if (fb_name_ok(key->text, strlen(key->text)))
		return FB_OK;
	place = place_of(at, key);
	return fb_fail_id(err, FB_ECONFIG, "E-NAME",
	    "%s: %s '%.64s': not a name: 1 to %d of A-Z a-z 0-9 . _ -, the "
	    "first one a letter, a digit or _",
	    place, what, key->text, FB_NAME_MAX);
}

static int
read_labels(const struct reading *at, const struct fb_setting *row,
    const struct fb_yaml_node *node, json_t **ret_value, struct fb_error *err)
{
	FB_AUTO_JSON json_t *map = json_object();
	int rc = want_kind(at, node, FB_YAML_MAP, err);

	for (size_t i = 0; rc == FB_OK && i < node->count; i++) {
		const char *key = node->keys[i]->text;
		FB_AUTO_FREE char *path = fb_format("%s.%s", at->path, key);
		struct reading below = *at;
		json_t *value = NULL;

		below.path = path;
		rc = check_key_name(at, "label", node->keys[i], err);
		if (rc == FB_OK)
			rc = read_scalar(
			    &below, row, node->items[i], &value, err);
		if (rc == FB_OK)
			(void)json_object_set_new(map, key, value);
	}
	if (rc < 0)
		return rc;
	*ret_value = FB_STEAL(map);
	return FB_OK;
}

static int
read_leaf(const struct reading *at, const struct fb_setting *row,
    const struct fb_yaml_node *node, json_t **ret_value, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_yaml_node joined;

	switch (row->kind) {
	case FB_SETTING_SECRETS:
	case FB_SETTING_VECTOR:
		return read_texts(at, row, node, ret_value, err);
	case FB_SETTING_LABELS:
	case FB_SETTING_REFERENCES:
		return read_labels(at, row, node, ret_value, err);
	case FB_SETTING_LIMITS:
		joined = fb_yaml_join(node, &text);
		return read_scalar(at, row, &joined, ret_value, err);
	default:
		return read_scalar(at, row, node, ret_value, err);
	}
}

/* The key after the pattern, if the row has one: "jobs" of "download". */
static const char *
next_key(const struct reading *at, const struct fb_setting *row, size_t *len)
{
	size_t prefix = strlen(at->pattern);

	if (!row_applies(row, at->driver) ||
	    strncmp(row->path, at->pattern, prefix) != 0)
		return NULL;
	if (prefix > 0 && row->path[prefix++] != '.')
		return NULL;
	*len = strcspn(row->path + prefix, ".");
	return row->path + prefix;
}

static int
fail_unknown(const struct reading *at, const struct fb_yaml_node *key,
    struct fb_error *err)
{
	const struct fb_schema *schema = at->schema;
	FB_AUTO_FREE char *place = place_of(at, key);
	FB_AUTO_FREE char **names =
	    fb_alloc(schema->row_count, sizeof(*names));
	FB_AUTO_BUF struct fb_buf known = { 0 };
	const char *near;
	size_t count = 0;

	for (size_t i = 0; i < schema->row_count; i++) {
		size_t len = 0;
		const char *name = next_key(at, &schema->rows[i], &len);

		/* Rows of one section stand together. */
		if (name == NULL || (count > 0 &&
		    strlen(names[count - 1]) == len &&
		    strncmp(names[count - 1], name, len) == 0))
			continue;
		names[count++] = fb_format("%.*s", (int)len, name);
		fb_buf_add_fmt(&known, "%s%s", count == 1 ? "" : ", ",
		    names[count - 1]);
	}
	near = fb_name_nearest(
	    key->text, (const char *const *)names, count);
	(void)fb_fail_id(err, FB_ECONFIG, "E-CFG-KEY",
	    "%s: key '%.64s': unknown%s%s", place, key->text,
	    at->path[0] != '\0' ? " in " : "", at->path);
	if (near[0] != '\0')
		(void)fb_hint(err, "did you mean '%s'?", near);
	else
		(void)fb_hint(err, "known here are: %s", fb_buf_str(&known));
	for (size_t i = 0; i < count; i++)
		fb_freep(&names[i]);
	return FB_ECONFIG;
}

static bool
is_known(const struct reading *at, const char *key)
{
	for (size_t i = 0; i < at->schema->row_count; i++) {
		size_t len = 0;
		const char *name = next_key(at, &at->schema->rows[i], &len);

		if (name != NULL && strlen(key) == len &&
		    strncmp(name, key, len) == 0)
			return true;
	}
	return false;
}

/* A section, or one thing of a list or with a name. */
static int
read_section(const struct reading *at, const struct fb_yaml_node *node,
    json_t **ret_value, struct fb_error *err)
{
	const char *dot = at->path[0] == '\0' ? "" : ".";
	FB_AUTO_JSON json_t *map = json_object();
	int rc = want_kind(at, node, FB_YAML_MAP, err);

	for (size_t i = 0; rc == FB_OK && i < node->count; i++) {
		const char *key = node->keys[i]->text;
		FB_AUTO_FREE char *path =
		    fb_format("%s%s%s", at->path, dot, key);
		FB_AUTO_FREE char *pattern =
		    fb_format("%s%s%s", at->pattern, dot, key);
		struct reading below = *at;
		json_t *value = NULL;

		if (!is_known(at, key))
			return fail_unknown(at, node->keys[i], err);
		below.path = path;
		below.pattern = pattern;
		record(&below, node->items[i]);
		rc = read_value(&below, node->items[i], &value, err);
		if (rc == FB_OK)
			(void)json_object_set_new(map, key, value);
	}
	if (rc < 0)
		return rc;
	*ret_value = FB_STEAL(map);
	return FB_OK;
}

/* The driver that decides which keys a source has; NULL: not a known one,
 * which is the driver key's own error. */
static const char *
known_driver(const struct fb_schema *schema, const char *name)
{
	for (size_t i = 0; name != NULL && i < schema->row_count; i++)
		if (schema->rows[i].driver != NULL &&
		    strcmp(schema->rows[i].driver, name) == 0)
			return schema->rows[i].driver;
	return NULL;
}

static const char *
driver_of(const struct reading *at, const struct fb_yaml_node *node)
{
	FB_AUTO_FREE char *path = fb_format("%s.driver", at->path);
	const struct fb_yaml_node *own = fb_yaml_get(node, "driver");
	const char *name = own != NULL ? own->text : NULL;

	for (size_t i = 0; i < at->schema->override_count; i++)
		if (strcmp(at->schema->overrides[i].path, path) == 0)
			name = at->schema->overrides[i].text;
	return known_driver(at->schema, name);
}

static int
read_named(const struct reading *at, const struct fb_yaml_node *node,
    json_t **ret_value, struct fb_error *err)
{
	FB_AUTO_FREE char *pattern = fb_format("%s.*", at->pattern);
	FB_AUTO_JSON json_t *map = json_object();
	int rc = want_kind(at, node, FB_YAML_MAP, err);

	for (size_t i = 0; rc == FB_OK && i < node->count; i++) {
		const char *name = node->keys[i]->text;
		FB_AUTO_FREE char *path = fb_format("%s.%s", at->path, name);
		struct reading below = *at;
		json_t *value = NULL;

		rc = check_key_name(at, at->path, node->keys[i], err);
		if (rc < 0)
			break;
		below.path = path;
		below.pattern = pattern;
		below.driver = driver_of(&below, node->items[i]);
		record(&below, node->keys[i]);
		rc = read_section(&below, node->items[i], &value, err);
		if (rc == FB_OK)
			(void)json_object_set_new(map, name, value);
	}
	if (rc < 0)
		return rc;
	*ret_value = FB_STEAL(map);
	return FB_OK;
}

static int
read_list(const struct reading *at, const struct fb_yaml_node *node,
    json_t **ret_value, struct fb_error *err)
{
	FB_AUTO_FREE char *pattern = fb_format("%s.[]", at->pattern);
	FB_AUTO_JSON json_t *list = json_array();
	int rc = want_kind(at, node, FB_YAML_LIST, err);

	for (size_t i = 0; rc == FB_OK && i < node->count; i++) {
		FB_AUTO_FREE char *path = fb_format("%s.%zu", at->path, i);
		struct reading below = *at;
		json_t *value = NULL;

		below.path = path;
		below.pattern = pattern;
		record(&below, node->items[i]);
		rc = read_section(&below, node->items[i], &value, err);
		if (rc == FB_OK)
			(void)json_array_append_new(list, value);
	}
	if (rc < 0)
		return rc;
	*ret_value = FB_STEAL(list);
	return FB_OK;
}

static int
read_value(const struct reading *at, const struct fb_yaml_node *node,
    json_t **ret_value, struct fb_error *err)
{
	const struct fb_setting *row = find_row(at);

	if (row != NULL)
		return read_leaf(at, row, node, ret_value, err);
	if (has_rows(at, "*."))
		return read_named(at, node, ret_value, err);
	if (has_rows(at, "[]."))
		return read_list(at, node, ret_value, err);
	return read_section(at, node, ret_value, err);
}

/* The object under a key, made if there is none. */
static json_t *
ensure(json_t *object, const char *key, size_t len)
{
	FB_AUTO_FREE char *name = fb_format("%.*s", (int)len, key);
	json_t *value = json_object_get(object, name);

	if (value == NULL) {
		value = json_object();
		(void)json_object_set_new(object, name, value);
	}
	return value;
}

/* The object that holds the leaf of a path, and the leaf's key. */
static json_t *
parent_of(json_t *values, const char *pattern, const char *path,
    const char **ret_leaf)
{
	const char *leaf = strrchr(path, '.');
	size_t head = strcspn(path, ".");
	json_t *parent;

	if (leaf == NULL) {
		*ret_leaf = path;
		return values;
	}
	*ret_leaf = leaf + 1;
	parent = ensure(values, path, head);
	if (strchr(pattern, '*') != NULL)
		parent = ensure(parent, path + head + 1,
		    (size_t)(leaf - path) - head - 1);
	return parent;
}

static const struct fb_setting *
row_of_override(const struct fb_schema *schema, const char *path)
{
	const struct fb_setting *found = NULL;

	for (size_t i = 0; i < schema->row_count && found == NULL; i++)
		if (fb_schema_matches(schema->rows[i].path, path))
			found = &schema->rows[i];
	return found;
}

static int
fail_override(const struct fb_schema *schema,
    const struct fb_override *override, struct fb_error *err)
{
	FB_AUTO_FREE const char **paths =
	    fb_alloc(schema->row_count, sizeof(*paths));
	const char *near;

	for (size_t i = 0; i < schema->row_count; i++)
		paths[i] = schema->rows[i].path;
	near = fb_name_nearest(override->path, paths, schema->row_count);
	(void)fb_fail_id(err, FB_ECONFIG, "E-CFG-KEY",
	    "%s: setting '%.64s': unknown", override->origin, override->path);
	if (near[0] != '\0')
		return fb_hint(err, "did you mean '%s'?", near);
	return fb_hint(err, "'fleetbak config schema' prints every setting");
}

static int
read_override(const struct reading *at, const struct fb_setting *row,
    const char *text, json_t **ret_value, struct fb_error *err)
{
	FB_AUTO_YAML struct fb_yaml_node *node = NULL;
	struct fb_span bytes = { (const uint8_t *)text, strlen(text) };
	struct fb_yaml_node plain = { .kind = FB_YAML_SCALAR,
		.text = (char *)(uintptr_t)text };
	int rc;

	record(at, &plain);
	/* Lists and maps are written as in the file; a text is itself. */
	if (row->kind != FB_SETTING_SECRETS &&
	    row->kind != FB_SETTING_LABELS &&
	    row->kind != FB_SETTING_REFERENCES &&
	    row->kind != FB_SETTING_VECTOR)
		return read_scalar(at, row, &plain, ret_value, err);
	rc = fb_yaml_parse(bytes, FB_CONFIG_MAX, at->outside, &node, err);
	return rc < 0 ? rc : read_leaf(at, row, node, ret_value, err);
}

/* What stands for the star is a name. */
static bool
name_is_good(const char *pattern, const char *path)
{
	const char *star = strchr(pattern, '*');
	size_t head, tail;

	if (star == NULL)
		return true;
	head = (size_t)(star - pattern);
	tail = strlen(star + 1);
	return fb_name_ok(path + head, strlen(path) - head - tail);
}

static int
apply_override(struct fb_schema *schema, const struct fb_override *override,
    struct fb_error *err)
{
	const struct fb_setting *row = row_of_override(schema, override->path);
	const struct reading at = { .schema = schema,
		.outside = override->origin,
		.path = override->path };
	json_t *value = NULL;
	json_t *parent;
	const char *leaf;
	int rc;

	if (row == NULL || !name_is_good(row->path, override->path))
		return fail_override(schema, override, err);
	rc = read_override(&at, row, override->text, &value, err);
	if (rc < 0)
		return rc;
	parent = parent_of(schema->values, row->path, override->path, &leaf);
	(void)json_object_set_new(parent, leaf, value);
	return FB_OK;
}

/* One thing that a row speaks of: fill in the default, or miss it. */
static int
complete(struct fb_schema *schema, const struct fb_setting *row,
    json_t *parent, const char *path, struct fb_error *err)
{
	const char *dot = strrchr(path, '.');
	const char *leaf = dot != NULL ? dot + 1 : path;
	FB_AUTO_FREE char *above =
	    fb_format("%.*s", dot != NULL ? (int)(dot - path) : 0, path);
	const char *driver =
	    json_string_value(json_object_get(parent, "driver"));
	const struct fb_scalar scalar = { .row = row,
		.place = "built-in",
		.what = path,
		.text = row->fallback,
		.base_dir = schema->base_dir };
	json_t *value = NULL;
	int rc;

	if (json_object_get(parent, leaf) != NULL ||
	    (row->driver != NULL &&
	        (driver == NULL || strcmp(driver, row->driver) != 0)))
		return FB_OK;
	if (row->required) {
		(void)fb_fail_id(err, FB_ECONFIG, "E-CFG-MISSING",
		    "%s: setting '%s': required, but missing",
		    fb_schema_place(schema, above), path);
		return fb_hint(err, "%s", row->help);
	}
	if (row->fallback == NULL)
		return FB_OK;
	rc = fb_scalar_check(&scalar, &value, err);
	if (rc < 0)
		return rc;
	(void)json_object_set_new(parent, leaf, value);
	(void)json_object_set_new(
	    schema->origins, path, json_string("built-in"));
	return FB_OK;
}

static int
complete_each(struct fb_schema *schema, const struct fb_setting *row,
    struct fb_error *err)
{
	const char *leaf = strrchr(row->path, '.');
	FB_AUTO_FREE char *head =
	    fb_format("%.*s", (int)strcspn(row->path, "."), row->path);
	json_t *things = json_object_get(schema->values, head);
	const char *name;
	json_t *thing;
	size_t i;
	int rc = FB_OK;

	if (leaf == NULL)
		return complete(schema, row, schema->values, row->path, err);
	if (strstr(row->path, ".*.") == NULL &&
	    strstr(row->path, ".[].") == NULL)
		return complete(schema, row,
		    ensure(schema->values, head, strlen(head)), row->path,
		    err);
	json_object_foreach(things, name, thing)
	{
		FB_AUTO_FREE char *path = fb_format("%s.%s%s", head, name, leaf);

		rc = complete(schema, row, thing, path, err);
		if (rc < 0)
			return rc;
	}
	json_array_foreach(things, i, thing)
	{
		FB_AUTO_FREE char *path = fb_format("%s.%zu%s", head, i, leaf);

		rc = complete(schema, row, thing, path, err);
		if (rc < 0)
			return rc;
	}
	return FB_OK;
}

int
fb_schema_read(struct fb_schema *schema, const struct fb_yaml_node *root,
    struct fb_error *err)
{
	const struct reading top = {
		.schema = schema, .pattern = "", .path = ""
	};
	int rc;

	schema->values = NULL;
	schema->places = json_object();
	schema->origins = json_object();
	rc = read_section(&top, root, &schema->values, err);
	for (size_t i = 0; rc == FB_OK && i < schema->override_count; i++)
		rc = apply_override(schema, &schema->overrides[i], err);
	for (size_t i = 0; rc == FB_OK && i < schema->row_count; i++)
		rc = complete_each(schema, &schema->rows[i], err);
	return rc;
}

void
fb_schema_release(struct fb_schema *schema)
{
	fb_json_decrefp(&schema->values);
	fb_json_decrefp(&schema->places);
	fb_json_decrefp(&schema->origins);
}

/*
 * The configuration: file, environment and --set to one checked struct.
 */
#include "fleetbak/format/config.h"

#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/base/seam.h"
#include "fleetbak/base/text.h"

#include "schema.h"

#define PREFIX "FLEETBAK_"

/* Variables that are no settings. */
static const char *const other_variables[] = { "FLEETBAK_CONFIG",
	"FLEETBAK_PAGER", FB_SEAM_VARIABLES };

struct overrides {
	struct fb_override *items;
	size_t count;
};

static void
release_overrides(struct overrides *list)
{
	for (size_t i = 0; i < list->count; i++) {
		fb_freep(&list->items[i].path);
		fb_freep(&list->items[i].text);
		fb_freep(&list->items[i].origin);
	}
	fb_freep(&list->items);
}

/* Takes the three strings over. */
static void
add_override(struct overrides *list, char *path, char *text, char *origin)
{
	list->items =
	    fb_realloc(list->items, list->count + 1, sizeof(*list->items));
	list->items[list->count++] = (struct fb_override){
		.path = path, .text = text, .origin = origin
	};
}

/* "web-farm" in a variable's name: "WEB_FARM". */
static char *
variable_part(const char *name)
{
	char *part = fb_strdup(name);

	for (char *c = part; *c != '\0'; c++) {
		if (*c >= 'a' && *c <= 'z')
			*c = (char)(*c - 'a' + 'A');
		else if ((*c < 'A' || *c > 'Z') && (*c < '0' || *c > '9'))
			*c = '_';
	}
	return part;
}

/* Does "FLEETBAK_SOURCES_<NAME>_ROOT" stand for this variable?  The part in
 * the place of <NAME> is then borrowed; it is empty for a fixed one. */
static bool
variable_matches(const char *pattern, struct fb_span variable,
    struct fb_span *ret_name)
{
	const char *open = strchr(pattern, '<');
	const char *close = strchr(pattern, '>');
	size_t head = open != NULL ? (size_t)(open - pattern) : strlen(pattern);
	size_t tail = close != NULL ? strlen(close + 1) : 0;

	*ret_name = (struct fb_span){ variable.ptr + head, 0 };
	if (open == NULL)
		return variable.len == head &&
		    memcmp(pattern, variable.ptr, head) == 0;
	if (variable.len <= head + tail ||
	    memcmp(pattern, variable.ptr, head) != 0 ||
	    memcmp(close + 1, variable.ptr + variable.len - tail, tail) != 0)
		return false;
	ret_name->len = variable.len - head - tail;
	return true;
}

static const struct fb_setting *
setting_of_variable(struct fb_span variable, struct fb_span *ret_name)
{
	const struct fb_setting *settings;
	size_t count = fb_config_settings(&settings);

	for (size_t i = 0; i < count; i++)
		if (variable_matches(settings[i].variable, variable, ret_name))
			return &settings[i];
	return NULL;
}

/* The one name in the file that the variable's part means. */
static int
find_named(const struct fb_yaml_node *root, const struct fb_setting *row,
    struct fb_span part, const char *origin, const char **ret_name,
    struct fb_error *err)
{
	FB_AUTO_FREE char *section =
	    fb_format("%.*s", (int)strcspn(row->path, "."), row->path);
	const struct fb_yaml_node *map = fb_yaml_get(root, section);
	const char *found = NULL;

	for (size_t i = 0; map != NULL && map->keys != NULL && i < map->count;
	     i++) {
		FB_AUTO_FREE char *own = variable_part(map->keys[i]->text);

		if (strlen(own) != part.len ||
		    memcmp(own, part.ptr, part.len) != 0)
			continue;
		if (found != NULL)
			return fb_fail_id(err, FB_ECONFIG, "E-CFG-REFERENCE",
			    "%s: means both '%s' and '%s' of %s", origin,
			    found, map->keys[i]->text, section);
		found = map->keys[i]->text;
	}
	if (found == NULL)
		return fb_fail_id(err, FB_ECONFIG, "E-CFG-REFERENCE",
		    "%s: nothing in %s has the name '%.*s'", origin, section,
		    (int)part.len, (const char *)part.ptr);
	*ret_name = found;
	return FB_OK;
}

static int
add_variable(struct overrides *list, const struct fb_yaml_node *root,
    const char *variable, struct fb_error *err)
{
	struct fb_span key = { (const uint8_t *)variable,
		strcspn(variable, "=") };
	struct fb_span part = { 0 };
	const struct fb_setting *row = setting_of_variable(key, &part);
	const char *star;
	const char *name = "";
	FB_AUTO_FREE char *origin =
	    fb_format("environment %.*s", (int)key.len, variable);
	char *path;
	int rc;

	if (row == NULL || variable[key.len] == '\0')
		return FB_OK;
	star = strchr(row->path, '*');
	if (star == NULL) {
		path = fb_strdup(row->path);
	} else {
		rc = find_named(root, row, part, origin, &name, err);
		if (rc < 0)
			return rc;
		path = fb_format("%.*s%s%s", (int)(star - row->path),
		    row->path, name, star + 1);
	}
	add_override(list, path, fb_strdup(variable + key.len + 1),
	    FB_STEAL(origin));
	return FB_OK;
}

static int
add_set(struct overrides *list, const char *set, struct fb_error *err)
{
	size_t len = strcspn(set, "=");

	if (set[len] == '\0')
		return fb_fail_id(err, FB_ECONFIG, "E-CFG-SYNTAX",
		    "--set: '%.64s': write SETTING=VALUE, such as "
		    "download.jobs=8",
		    set);
	add_override(list, fb_format("%.*s", (int)len, set),
	    fb_strdup(set + len + 1), fb_strdup("--set"));
	return FB_OK;
}

static int
collect_overrides(struct overrides *list, const struct fb_yaml_node *root,
    const char *const *environ_, const char *const *sets,
    struct fb_error *err)
{
	int rc = FB_OK;

	for (; rc == FB_OK && environ_ != NULL && *environ_ != NULL;
	     environ_++)
		rc = add_variable(list, root, *environ_, err);
	for (; rc == FB_OK && sets != NULL && *sets != NULL; sets++)
		rc = add_set(list, *sets, err);
	return rc;
}

void
fb_config_unknown_variables(const char *const *environ_, struct fb_buf *dst)
{
	const struct fb_setting *settings;
	size_t count = fb_config_settings(&settings);
	size_t others = FB_COUNT(other_variables);
	FB_AUTO_FREE const char **known =
	    fb_alloc(count + others, sizeof(*known));

	for (size_t i = 0; i < count; i++)
		known[i] = settings[i].variable;
	for (size_t i = 0; i < others; i++)
		known[count + i] = other_variables[i];
	for (; environ_ != NULL && *environ_ != NULL; environ_++) {
		FB_AUTO_FREE char *name = fb_format(
		    "%.*s", (int)strcspn(*environ_, "="), *environ_);
		struct fb_span key = { (const uint8_t *)name, strlen(name) };
		struct fb_span part = { 0 };
		const char *near;
		bool other = false;

		for (size_t i = 0; i < others; i++)
			other |= strcmp(name, other_variables[i]) == 0;
		if (other || strncmp(name, PREFIX, strlen(PREFIX)) != 0 ||
		    setting_of_variable(key, &part) != NULL)
			continue;
		near = fb_name_nearest(name, known, count + others);
		fb_buf_add_str(dst, name);
		if (near[0] != '\0')
			fb_buf_add_fmt(dst, " (did you mean %s?)", near);
		fb_buf_add_str(dst, "\n");
	}
}

/* A value of the checked tree: "download", "jobs". */
static const json_t *
get(const json_t *object, const char *section, const char *key)
{
	return json_object_get(json_object_get(object, section), key);
}

static char *
copy_text(const json_t *value)
{
	return value == NULL ? NULL : fb_strdup(json_string_value(value));
}

static char **
copy_texts(const json_t *list, size_t *ret_count)
{
	char **texts = NULL;

	*ret_count = json_array_size(list);
	if (*ret_count > 0)
		texts = fb_alloc(*ret_count, sizeof(*texts));
	for (size_t i = 0; i < *ret_count; i++)
		texts[i] = copy_text(json_array_get(list, i));
	return texts;
}

/* The schema has judged the text: what is not there is 0. */
static uint64_t
span_of(const json_t *value)
{
	struct fb_error err;
	uint64_t ms = 0;

	if (value == NULL ||
	    fb_text_span(json_string_value(value), &ms, &err) < 0)
		return 0;
	return ms;
}

static struct fb_limits
limits_of(const json_t *value)
{
	struct fb_limits limits = { 0 };
	struct fb_error judged;

	if (value != NULL &&
	    fb_limits_parse(json_string_value(value), &limits, &judged) < 0)
		/* uncovered: the schema has checked it */
		limits.count = 0;
	return limits;
}

/* What leaves the house is encrypted unless somebody says otherwise. */
static void
fill_encryption(struct fb_config_repository *repository, const json_t *value)
{
	const json_t *to = json_object_get(value, "encrypt_to");

	repository->decrypt_with =
	    copy_text(json_object_get(value, "decrypt_with"));
	repository->encrypt_given =
	    to != NULL || repository->decrypt_with != NULL;
	if (repository->encrypt_given ||
	    strncmp(repository->url, "s3:", 3) != 0) {
		repository->encrypt_to =
		    copy_texts(to, &repository->encrypt_to_count);
		return;
	}
	repository->encrypt_to = fb_alloc(1, sizeof(char *));
	repository->encrypt_to[0] = fb_strdup(FB_CONFIG_ENCRYPT_TO);
	repository->encrypt_to_count = 1;
	repository->decrypt_with = fb_strdup(FB_CONFIG_DECRYPT_WITH);
}

/* A copy is opened with what opens the one that it is a copy of. */
static void
inherit_encryption(struct fb_config *config)
{
	for (size_t i = 0; i < config->repository_count; i++) {
		struct fb_config_repository *copy = &config->repositories[i];

		if (copy->copy_of == NULL || copy->encrypt_given)
			continue;
		for (size_t k = 0; k < config->repository_count; k++) {
			const struct fb_config_repository *of =
			    &config->repositories[k];

			if (of == copy ||
			    strcmp(of->name, copy->copy_of) != 0 ||
			    of->decrypt_with == NULL)
				continue;
			free(copy->decrypt_with);
			copy->decrypt_with = fb_strdup(of->decrypt_with);
			copy->encrypt_given = of->encrypt_given;
		}
	}
}

static void
fill_repositories(struct fb_config *config, json_t *map)
{
	const char *name;
	json_t *value;

	config->repositories = fb_alloc(
	    json_object_size(map) + 1, sizeof(*config->repositories));
	json_object_foreach(map, name, value)
	{
		struct fb_config_repository *repository =
		    &config->repositories[config->repository_count++];

		repository->name = fb_strdup(name);
		repository->url = copy_text(json_object_get(value, "url"));
		repository->sign_with =
		    copy_text(json_object_get(value, "sign_with"));
		repository->copy_of =
		    copy_text(json_object_get(value, "copy_of"));
		fb_config_fill_s3(repository, value);
		fill_encryption(repository, value);
	}
	inherit_encryption(config);
}

/* The keys of the source that only its driver knows. */
static json_t *
driver_options(const json_t *source, const char *driver)
{
	json_t *options = json_object();
	const struct fb_setting *settings;
	size_t count = fb_config_settings(&settings);

	for (size_t i = 0; i < count; i++) {
		const char *key = strrchr(settings[i].path, '.');
		json_t *value;

		if (settings[i].driver == NULL ||
		    strcmp(settings[i].driver, driver) != 0)
			continue;
		value = json_object_get(source, key + 1);
		if (value != NULL)
			(void)json_object_set(options, key + 1, value);
	}
	return options;
}

static void
fill_sources(struct fb_config *config, json_t *map)
{
	const char *name;
	json_t *value;

	config->sources =
	    fb_alloc(json_object_size(map) + 1, sizeof(*config->sources));
	json_object_foreach(map, name, value)
	{
		struct fb_config_source *source =
		    &config->sources[config->source_count++];

		source->name = fb_strdup(name);
		source->driver = copy_text(json_object_get(value, "driver"));
		fb_labels_fill(
		    &source->labels, json_object_get(value, "labels"));
		source->jobs = (unsigned)json_integer_value(
		    json_object_get(value, "jobs"));
		source->limit_read =
		    limits_of(json_object_get(value, "limit_read"));
		source->options = driver_options(value, source->driver);
		source->base_dir = fb_strdup(config->base_dir);
	}
}

static void
fill_units(struct fb_config *config, json_t *map)
{
	const char *name;
	json_t *value;

	config->units =
	    fb_alloc(json_object_size(map) + 1, sizeof(*config->units));
	json_object_foreach(map, name, value)
	{
		struct fb_config_unit *unit =
		    &config->units[config->unit_count++];

		unit->name = fb_strdup(name);
		unit->subtree = copy_text(json_object_get(value, "subtree"));
		unit->label = copy_text(json_object_get(value, "label"));
	}
}

static void
fill_download(struct fb_config_download *download, const json_t *map)
{
	const char *digest =
	    json_string_value(json_object_get(map, "digest"));

	download->jobs =
	    (unsigned)json_integer_value(json_object_get(map, "jobs"));
	download->level = (int)json_integer_value(json_object_get(map, "level"));
	download->limit_read = limits_of(json_object_get(map, "limit_read"));
	download->limit_upload =
	    limits_of(json_object_get(map, "limit_upload"));
	download->verify_unchanged_percent = fb_percent_of(
	    json_object_get(map, "verify_unchanged"));
	download->max_duration_ms =
	    span_of(json_object_get(map, "max_duration"));
	download->max_downtime_ms =
	    span_of(json_object_get(map, "max_downtime"));
	download->resume_within_ms =
	    span_of(json_object_get(map, "resume_within"));
	download->max_obligation_age_ms =
	    span_of(json_object_get(map, "max_obligation_age"));
	download->digest =
	    strcmp(digest, "flat") == 0 ? FB_DIGEST_FLAT : FB_DIGEST_TREE;
}

static void
fill(struct fb_config *config, const json_t *values)
{
	config->fleet_name = copy_text(get(values, "fleet", "name"));
	config->rpo_ms = span_of(get(values, "fleet", "rpo"));
	config->timezone = copy_text(get(values, "fleet", "timezone"));
	config->state_dir = copy_text(json_object_get(values, "state_dir"));
	fill_repositories(config, json_object_get(values, "repositories"));
	config->trusted_signers =
	    copy_texts(json_object_get(values, "trusted_signers"),
	        &config->trusted_signer_count);
	config->trusted_verifiers =
	    copy_texts(json_object_get(values, "trusted_verifiers"),
	        &config->trusted_verifier_count);
	fill_sources(config, json_object_get(values, "sources"));
	fill_units(config, json_object_get(values, "units"));
	fill_download(&config->download, json_object_get(values, "download"));
	fb_config_fill_retention(config, values);
	fb_config_fill_unattended(config, values);
}

static int
check_not_empty(
    const struct fb_schema *schema, const char *section, const char *example,
    struct fb_error *err)
{
	if (json_object_size(json_object_get(schema->values, section)) > 0)
		return FB_OK;
	(void)fb_schema_fail(schema, section, NULL, "E-CFG-MISSING", err,
	    "required, but none is given");
	return fb_hint(err, "write %s", example);
}

/* A unit's root machine may name its source: there must be one. */
static int
check_subtree(const struct fb_schema *schema, const char *path,
    const char *subtree, struct fb_error *err)
{
	json_t *sources = json_object_get(schema->values, "sources");
	FB_AUTO_FREE char *name =
	    fb_format("%.*s", (int)strcspn(subtree, "/"), subtree);
	FB_AUTO_FREE const char **names =
	    fb_alloc(json_object_size(sources) + 1, sizeof(*names));
	const char *key;
	const char *near;
	json_t *value;
	size_t count = 0;

	if (strchr(subtree, '/') == NULL ||
	    json_object_get(sources, name) != NULL)
		return FB_OK;
	json_object_foreach(sources, key, value)
	{
		(void)value;
		names[count++] = key;
	}
	near = fb_name_nearest(name, names, count);
	(void)fb_schema_fail(schema, path, subtree, "E-CFG-REFERENCE", err,
	    "there is no source '%s'", name);
	if (near[0] != '\0')
		return fb_hint(err, "did you mean '%s'?", near);
	return FB_ECONFIG;
}

static int
check_units(const struct fb_schema *schema, struct fb_error *err)
{
	const char *name;
	json_t *unit;
	int rc = FB_OK;

	json_object_foreach(
	    json_object_get(schema->values, "units"), name, unit)
	{
		FB_AUTO_FREE char *path = fb_format("units.%s", name);
		FB_AUTO_FREE char *below = fb_format("%s.subtree", path);
		const json_t *subtree = json_object_get(unit, "subtree");
		const json_t *label = json_object_get(unit, "label");

		if ((subtree == NULL) == (label == NULL)) {
			(void)fb_schema_fail(schema, path, NULL,
			    "E-CFG-MISSING", err,
			    "%s of subtree and label",
			    label == NULL ? "needs one" : "can have only one");
			return fb_hint(err, "write %s: {subtree: db-01} or "
			                    "%s: {label: rack}",
			    name, name);
		}
		if (subtree != NULL)
			rc = check_subtree(
			    schema, below, json_string_value(subtree), err);
		if (rc < 0)
			return rc;
	}
	return FB_OK;
}

static int
check_whole(const struct fb_schema *schema, struct fb_error *err)
{
	int rc = check_not_empty(schema, "repositories",
	    "repositories: {main: {url: \"file:./repo\"}}", err);

	if (rc == FB_OK)
		rc = check_not_empty(schema, "sources",
		    "sources: {lab: {driver: local, root: ./machines}}", err);
	if (rc == FB_OK)
		rc = fb_config_check_s3(schema, err);
	if (rc == FB_OK)
		rc = check_units(schema, err);
	if (rc == FB_OK)
		rc = fb_config_check_copies(schema, err);
	if (rc == FB_OK)
		rc = fb_config_check_notify(schema, err);
	return rc;
}

static int
read_config(struct fb_schema *schema, struct overrides *list,
    struct fb_span yaml, const char *const *environ_,
    const char *const *sets, struct fb_error *err)
{
	FB_AUTO_YAML struct fb_yaml_node *root = NULL;
	int rc = fb_yaml_parse(yaml, FB_CONFIG_MAX, schema->file, &root, err);

	if (rc == FB_OK)
		rc = collect_overrides(list, root, environ_, sets, err);
	schema->overrides = list->items;
	schema->override_count = list->count;
	if (rc == FB_OK)
		rc = fb_schema_read(schema, root, err);
	if (rc == FB_OK)
		rc = check_whole(schema, err);
	return rc;
}

int
fb_config_parse(struct fb_span yaml, const char *path, const char *base_dir,
    const char *const *environ_, const char *const *sets,
    struct fb_config **ret_config, struct fb_error *err)
{
	FB_CLEANUP(release_overrides) struct overrides list = { 0 };
	FB_CLEANUP(fb_schema_release) struct fb_schema schema = {
		.file = path, .base_dir = base_dir
	};
	struct fb_config *config;
	int rc;

	schema.row_count = fb_config_settings(&schema.rows);
	rc = read_config(&schema, &list, yaml, environ_, sets, err);
	if (rc < 0)
		return rc;
	config = fb_alloc(1, sizeof(*config));
	config->path = fb_strdup(path);
	config->base_dir = fb_strdup(base_dir);
	fill(config, schema.values);
	config->effective = FB_STEAL(schema.values);
	config->origins = FB_STEAL(schema.origins);
	*ret_config = config;
	return FB_OK;
}

static void
free_texts(char **texts, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(texts[i]);
	free(texts);
}

static void
free_sources(struct fb_config *config)
{
	for (size_t i = 0; i < config->source_count; i++) {
		struct fb_config_source *source = &config->sources[i];

		fb_freep(&source->name);
		fb_freep(&source->driver);
		fb_labels_release(&source->labels);
		fb_json_decrefp(&source->options);
		fb_freep(&source->base_dir);
	}
	fb_freep(&config->sources);
}

void
fb_config_free(struct fb_config *config)
{
	if (config == NULL)
		return;
	for (size_t i = 0; i < config->repository_count; i++) {
		fb_freep(&config->repositories[i].name);
		fb_freep(&config->repositories[i].url);
		fb_freep(&config->repositories[i].sign_with);
		fb_freep(&config->repositories[i].copy_of);
		fb_config_free_s3(&config->repositories[i]);
		fb_freep(&config->repositories[i].decrypt_with);
		free_texts(config->repositories[i].encrypt_to,
		    config->repositories[i].encrypt_to_count);
	}
	free_texts(config->trusted_signers, config->trusted_signer_count);
	free_texts(config->trusted_verifiers, config->trusted_verifier_count);
	for (size_t i = 0; i < config->unit_count; i++) {
		fb_freep(&config->units[i].name);
		fb_freep(&config->units[i].subtree);
		fb_freep(&config->units[i].label);
	}
	for (size_t i = 0; i < config->group_count; i++) {
		fb_freep(&config->groups[i].name);
		fb_freep(&config->groups[i].select);
	}
	free_sources(config);
	fb_config_free_unattended(config);
	fb_freep(&config->groups);
	fb_freep(&config->repositories);
	fb_freep(&config->units);
	fb_freep(&config->path);
	fb_freep(&config->base_dir);
	fb_freep(&config->fleet_name);
	fb_freep(&config->timezone);
	fb_freep(&config->state_dir);
	fb_json_decrefp(&config->effective);
	fb_json_decrefp(&config->origins);
	fb_freep(&config);
}

void
fb_config_freep(struct fb_config **config)
{
	fb_config_free(*config);
	*config = NULL;
}

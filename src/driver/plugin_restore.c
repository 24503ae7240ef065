/* Restoring through a plugin. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "plugin_internal.h"
#include "tree_internal.h"

/* Longest text about a volume that is for people. */
#define TEXT_MAX 1024

/* Answers of restore_check: a line of some hundred bytes per volume. */
#define CHECK_MAX (16u << 20)

static json_t *
volumes_json(const struct fb_machine *machine)
{
	json_t *list = json_array();

	for (size_t i = 0; i < machine->volume_count; i++) {
		const struct fb_volume *volume = &machine->volumes[i];

		if (fb_volume_is_captured(volume))
			(void)json_array_append_new(list,
			    json_pack("{s:s,s:s,s:I}", "name", volume->name,
			        "kind", fb_volume_kind_name(volume->kind),
			        "size", (json_int_t)volume->size));
	}
	return list;
}

static json_t *
request_json(const struct fb_restore_request *request)
{
	bool as_new = request->mode == FB_RESTORE_AS_NEW;
	const char *definition = request->definition_dir;
	json_t *json = json_pack("{s:s,s:s,s:s*,s:s*,s:b,s:b,s:o}", "machine",
	    request->machine->id, "mode", as_new ? "as-new" : "in-place",
	    "new_id", as_new ? request->new_id : NULL, "definition",
	    definition != NULL && definition[0] != '\0' ? definition : NULL,
	    "whole", request->all_volumes, "start", request->start,
	    "volumes", volumes_json(request->machine));

	return json;
}

static int
call_restore(struct fb_driver *base, enum fb_plugin_verb name,
    const struct fb_restore_request *request, const struct fb_verb *verb,
    json_t **ret_result, struct fb_error *err)
{
	FB_AUTO_JSON json_t *params = request_json(request);
	struct fb_plugin_call call = { .verb = name,
		.effect = verb != NULL, .params = params, .how = verb,
		.said_max = CHECK_MAX };

	if (params == NULL)
		return fb_fail(err, FB_ECORRUPT,
		    "the restore holds text that is not UTF-8");
	return fb_plugin_call(
	    (struct fb_plugin *)base, &call, ret_result, err);
}

/* -------------------------------------------------------------- check */

static int
take_text(const json_t *object, const char *key, char **ret,
    struct fb_error *err)
{
	const char *text;
	int rc = fb_json_str_opt(object, key, "volume", &text, err);

	if (rc == FB_OK && text != NULL && strlen(text) > TEXT_MAX)
		rc = fb_fail(err, FB_EPROTO, "volume: '%s' is too long", key);
	if (rc == FB_OK && text != NULL)
		*ret = fb_strdup(text);
	return rc;
}

static int
take_volume(const json_t *item, struct fb_restore_volume_plan *volume,
    struct fb_error *err)
{
	static const char *const keys[] = { "exists", "location", "name",
		"need_bytes", "problem", NULL };
	const char *name;
	int rc = fb_json_only(item, "volume", keys, err);

	if (rc == FB_OK)
		rc = fb_json_str(item, "name", "volume", &name, err);
	if (rc == FB_OK)
		rc = fb_name_check("volume name", name, strlen(name), err);
	if (rc < 0)
		return rc;
	volume->volume = fb_strdup(name);
	rc = take_text(item, "location", &volume->location, err);
	if (rc == FB_OK && volume->location == NULL)
		volume->location = fb_strdup(name);
	if (rc == FB_OK)
		rc = take_text(item, "problem", &volume->problem, err);
	if (rc == FB_OK)
		rc = fb_json_bool(
		    item, "exists", "volume", &volume->exists, err);
	if (rc == FB_OK && json_object_get(item, "need_bytes") != NULL)
		rc = fb_json_u64(item, "need_bytes", "volume", INT64_MAX,
		    &volume->need_bytes, err);
	return rc;
}

static bool
is_planned(const struct fb_restore_plan *plan, const char *name)
{
	for (size_t i = 0; i < plan->volume_count; i++)
		if (strcmp(plan->volumes[i].volume, name) == 0)
			return true;
	return false;
}

/* Each volume once, and no other. */
static int
check_volumes(const struct fb_machine *machine,
    const struct fb_restore_plan *plan, struct fb_error *err)
{
	size_t captured = 0;

	for (size_t i = 0; i < machine->volume_count; i++) {
		const struct fb_volume *volume = &machine->volumes[i];

		if (!fb_volume_is_captured(volume))
			continue;
		captured++;
		if (!is_planned(plan, volume->name))
			return fb_fail(err, FB_EPROTO,
			    "it says nothing of volume '%s'", volume->name);
	}
	if (plan->volume_count != captured)
		return fb_fail(err, FB_EPROTO,
		    "it speaks of %zu volumes, there are %zu",
		    plan->volume_count, captured);
	return FB_OK;
}

static int
take_plan(const json_t *result, const struct fb_machine *machine,
    struct fb_restore_plan *plan, struct fb_error *err)
{
	static const char *const keys[] = { "id", "space_bytes", "volumes",
		NULL };
	const json_t *item;
	const char *id;
	json_t *list;
	size_t index;
	int rc = fb_json_array(result, "volumes", "result", &list, err);

	if (rc == FB_OK)
		rc = fb_json_only(result, "result", keys, err);
	if (rc == FB_OK)
		rc = fb_json_u64(result, "space_bytes", "result", INT64_MAX,
		    &plan->space_bytes, err);
	if (rc == FB_OK)
		rc = fb_json_str_opt(result, "id", "result", &id, err);
	if (rc == FB_OK && id != NULL)
		rc = fb_name_check("machine id", id, strlen(id), err);
	if (rc < 0)
		return rc;
	if (id != NULL)
		plan->id = fb_strdup(id);
	if (json_array_size(list) > machine->volume_count)
		return fb_fail(err, FB_EPROTO, "it speaks of %zu volumes",
		    json_array_size(list));
	plan->volumes =
	    fb_alloc(json_array_size(list) + 1, sizeof(*plan->volumes));
	json_array_foreach(list, index, item) {
		struct fb_restore_volume_plan *volume =
		    &plan->volumes[plan->volume_count++];

		volume->volume = NULL;
		rc = take_volume(item, volume, err);
		if (rc < 0)
			return rc;
	}
	return check_volumes(machine, plan, err);
}

int
fb_plugin_restore_check(struct fb_driver *base, const struct fb_fleet *fleet,
    const struct fb_restore_request *request, struct fb_restore_plan *ret_plan,
    struct fb_error *err)
{
	FB_AUTO_JSON json_t *result = NULL;
	bool as_new = request->mode == FB_RESTORE_AS_NEW;
	int rc = call_restore(base, FB_PLUGIN_RESTORE_CHECK, request, NULL,
	    &result, err);

	if (rc < 0)
		return rc;
	rc = take_plan(result, request->machine, ret_plan, err);
	if (rc < 0)
		return fb_plugin_broken(err);
	ret_plan->now = fb_fleet_find(fleet, base->source,
	    as_new ? (ret_plan->id != NULL ? ret_plan->id : request->new_id)
	           : request->machine->id);
	return FB_OK;
}

/* --------------------------------------------------------------- list */

/* Paths, each with a NUL behind it. */
struct names {
	fb_tree_visit *visit;
	void *arg;
	char path[FB_TREE_PATH_MAX + 1];
	size_t len;
};

static int
take_names(struct names *n, const char *bytes, size_t len,
    struct fb_error *err)
{
	for (size_t i = 0; i < len; i++) {
		int rc;

		if (n->len == sizeof(n->path)) {
			(void)fb_fail(err, FB_EPROTO, "a path is too long");
			return fb_plugin_broken(err);
		}
		n->path[n->len++] = bytes[i];
		if (bytes[i] != '\0')
			continue;
		rc = strcmp(n->path, ".") == 0
		    ? FB_OK
		    : fb_path_check_inside("path", n->path, n->len - 1,
		          FB_TREE_PATH_MAX, err);
		if (rc < 0)
			return fb_plugin_broken(err);
		rc = n->visit(n->arg, n->path, err);
		if (rc < 0)
			return rc;
		n->len = 0;
	}
	return FB_OK;
}

static json_t *
volume_request(const struct fb_restore_request *request,
    const struct fb_volume *volume)
{
	json_t *params = request_json(request);

	(void)json_object_set_new(
	    params, "volume", json_string(volume->name));
	(void)json_object_set_new(
	    params, "kind", json_string(fb_volume_kind_name(volume->kind)));
	(void)json_object_set_new(
	    params, "size", json_integer((json_int_t)volume->size));
	return params;
}

int
fb_plugin_restore_list(struct fb_driver *base,
    const struct fb_restore_request *request, const struct fb_volume *volume,
    fb_tree_visit *visit, void *arg, struct fb_error *err)
{
	struct fb_plugin *plugin = (struct fb_plugin *)base;
	FB_AUTO_JSON json_t *params = volume_request(request, volume);
	struct fb_plugin_call call = { .verb = FB_PLUGIN_RESTORE_LIST,
		.params = params,
		.cancel = plugin->base.cancel };
	FB_AUTO_PIPE struct fb_pipe *pipe = NULL;
	struct names names = { .visit = visit, .arg = arg };
	char bytes[4096];
	size_t len = 1;
	int rc = fb_plugin_can(plugin, call.verb, err);

	if (rc == FB_EUNSUP)
		return FB_OK;
	if (rc == FB_OK)
		rc = fb_pipe_open(plugin, &call, &pipe, err);
	while (rc == FB_OK && len > 0) {
		rc = fb_pipe_read(pipe, bytes, sizeof(bytes), &len, err);
		if (rc == FB_OK)
			rc = take_names(&names, bytes, len, err);
	}
	if (rc == FB_OK)
		rc = fb_pipe_end(pipe, NULL, err);
	if (rc == FB_OK && names.len > 0) {
		(void)fb_fail(err, FB_EPROTO, "the last path has no NUL");
		rc = fb_plugin_broken(err);
	}
	return rc;
}

/* -------------------------------------------------------------- write */

int
fb_plugin_restore_begin(struct fb_driver *base,
    const struct fb_restore_request *request, const struct fb_verb *verb,
    struct fb_error *err)
{
	return call_restore(
	    base, FB_PLUGIN_RESTORE_BEGIN, request, verb, NULL, err);
}

int
fb_plugin_restore_open(struct fb_driver *base,
    const struct fb_restore_request *request, const struct fb_volume *volume,
    const struct fb_verb *verb, struct fb_target **ret_target,
    struct fb_error *err)
{
	struct fb_plugin *plugin = (struct fb_plugin *)base;
	json_t *params = volume_request(request, volume);

	if (volume->kind == FB_VOLUME_DISK)
		return fb_plugin_target_blocks(
		    plugin, params, volume->size, verb, ret_target, err);
	return fb_plugin_target_stream(plugin, params, verb, ret_target, err);
}

int
fb_plugin_restore_finish(struct fb_driver *base,
    const struct fb_restore_request *request, const struct fb_verb *verb,
    struct fb_error *err)
{
	return call_restore(
	    base, FB_PLUGIN_RESTORE_FINISH, request, verb, NULL, err);
}

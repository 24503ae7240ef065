/* The plugin driver: its configuration, and the verbs but for restores. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/log.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/base/text.h"
#include "fleetbak/crypto/sign.h"
#include "plugin_internal.h"

/* Machines of a fleet are many; what one says of itself is little. */
#define DISCOVER_MAX (32u << 20)

#define TIMEOUT_MS 300000
#define STALL_MS   300000

static void
free_strings(char **strings)
{
	for (size_t i = 0; strings != NULL && strings[i] != NULL; i++) {
		explicit_bzero(strings[i], strlen(strings[i]));
		free(strings[i]);
	}
	free(strings);
}

static void
plugin_close(struct fb_driver *base)
{
	struct fb_plugin *plugin = (struct fb_plugin *)base;

	free(plugin->name);
	free(plugin->dir);
	free_strings(plugin->argv);
	free_strings(plugin->env);
	json_decref(plugin->options);
	fb_labels_release(&plugin->labels);
	(void)pthread_mutex_destroy(&plugin->lock);
	free(plugin);
}

/* A variable that a plugin may be given: none that fleetbak or the loader of
 * programs looks at. */
static int
check_variable(const char *name, struct fb_error *err)
{
	bool good = name[0] != '\0' && !isdigit((unsigned char)name[0]);

	for (const char *c = name; *c != '\0'; c++)
		good = good && (isalnum((unsigned char)*c) || *c == '_');
	if (!good || strncmp(name, "FLEETBAK_", 9) == 0 ||
	    strncmp(name, "LD_", 3) == 0)
		return fb_fail(err, FB_ECONFIG,
		    "'%.64s' is no name of a variable for a plugin", name);
	return FB_OK;
}

static void
add_variable(struct fb_plugin *plugin, const char *name, const char *value)
{
	size_t count = 0;

	while (plugin->env[count] != NULL)
		count++;
	plugin->env =
	    fb_realloc(plugin->env, count + 2, sizeof(*plugin->env));
	plugin->env[count] = fb_format("%s=%s", name, value);
	plugin->env[count + 1] = NULL;
}

static int
add_secret(struct fb_plugin *plugin, const char *name, const char *reference,
    struct fb_error *err)
{
	FB_AUTO_SECRET struct fb_buf secret = { 0 };
	int rc = fb_secret_read(reference, plugin->dir, true, &secret, err);

	while (rc == FB_OK && secret.len > 0 &&
	    (secret.data[secret.len - 1] == '\n' ||
	        secret.data[secret.len - 1] == '\r'))
		secret.data[--secret.len] = '\0';
	if (rc == FB_OK && memchr(fb_buf_str(&secret), '\0', secret.len))
		rc = fb_fail(err, FB_EKEY, "it holds a NUL");
	if (rc < 0)
		return fb_wrap(err, "secret '%s'", name);
	fb_redact_add(fb_buf_span(&secret));
	add_variable(plugin, name, fb_buf_str(&secret));
	return FB_OK;
}

static int
fill_environment(
    struct fb_plugin *plugin, const json_t *options, struct fb_error *err)
{
	json_t *variables = json_object_get(options, "environment");
	json_t *secrets = json_object_get(options, "secrets"), *value;
	const char *name;

	plugin->env = fb_alloc(1, sizeof(*plugin->env));
	json_object_foreach(variables, name, value) {
		int rc = check_variable(name, err);

		if (rc < 0)
			return rc;
		add_variable(plugin, name, json_string_value(value));
	}
	json_object_foreach(secrets, name, value) {
		int rc = check_variable(name, err);

		if (rc == FB_OK)
			rc = add_secret(
			    plugin, name, json_string_value(value), err);
		if (rc < 0)
			return rc;
	}
	return FB_OK;
}

static void
fill_labels(struct fb_labels *labels, const struct fb_labels *from)
{
	labels->items = fb_alloc(from->count + 1, sizeof(*labels->items));
	for (size_t i = 0; i < from->count; i++)
		labels->items[labels->count++] =
		    (struct fb_label){ fb_strdup(from->items[i].key),
			    fb_strdup(from->items[i].value) };
}

static uint64_t
span_of(const json_t *options, const char *key, uint64_t fallback)
{
	const char *text = json_string_value(json_object_get(options, key));
	struct fb_error ignored;
	uint64_t ms;

	return text != NULL && fb_text_span(text, &ms, &ignored) == FB_OK
	    ? ms
	    : fallback;
}

static int
plugin_open(const struct fb_config_source *source,
    struct fb_driver **ret_driver, struct fb_error *err)
{
	const json_t *options = source->options;
	json_t *command = json_object_get(options, "command");
	json_t *own = json_object_get(options, "options");
	struct fb_plugin *plugin;
	size_t count = json_array_size(command);
	int rc;

	if (count == 0)
		return fb_fail(err, FB_ECONFIG,
		    "the plugin driver needs 'command', what it runs");
	plugin = fb_alloc(1, sizeof(*plugin));
	plugin->base.ops = &fb_plugin_ops;
	plugin->name = fb_strdup(source->name);
	plugin->base.source = plugin->name;
	plugin->dir =
	    fb_strdup(source->base_dir != NULL ? source->base_dir : "/");
	plugin->argv = fb_alloc(count + 1, sizeof(*plugin->argv));
	for (size_t i = 0; i < count; i++)
		plugin->argv[i] = fb_strdup(
		    json_string_value(json_array_get(command, i)));
	plugin->options = own != NULL ? json_incref(own) : json_object();
	plugin->timeout_ms = span_of(options, "timeout", TIMEOUT_MS);
	plugin->stall_ms = span_of(options, "stall_timeout", STALL_MS);
	fill_labels(&plugin->labels, &source->labels);
	(void)pthread_mutex_init(&plugin->lock, NULL);
	rc = fill_environment(plugin, options, err);
	if (rc < 0) {
		plugin_close(&plugin->base);
		return rc;
	}
	*ret_driver = &plugin->base;
	return FB_OK;
}

static int
plugin_probe(struct fb_driver *base, struct fb_error *err)
{
	struct fb_plugin_call call = { .verb = FB_PLUGIN_PROBE };

	return fb_plugin_call((struct fb_plugin *)base, &call, NULL, err);
}

struct discovery {
	struct fb_plugin *plugin;
	struct fb_fleet *fleet;
	size_t volumes;
};

static int
take_machine(void *arg, const json_t *item, struct fb_error *err)
{
	struct discovery *d = arg;
	struct fb_machine *machine = fb_fleet_add(d->fleet);
	int rc = fb_plugin_machine(
	    item, d->plugin->name, &d->plugin->labels, machine, err);

	d->volumes += machine->volume_count;
	if (rc == FB_OK && (d->fleet->count > FB_FLEET_MACHINES_MAX ||
	        d->volumes > FB_FLEET_VOLUMES_MAX))
		rc = fb_fail(err, FB_EPROTO, "too many machines or volumes");
	return rc;
}

static int
plugin_discover(
    struct fb_driver *base, struct fb_fleet *fleet, struct fb_error *err)
{
	struct discovery d = { .plugin = (struct fb_plugin *)base,
		.fleet = fleet };
	struct fb_plugin_call call = { .verb = FB_PLUGIN_DISCOVER,
		.said_max = DISCOVER_MAX,
		.listener = { .item = take_machine, .arg = &d } };

	return fb_plugin_call(d.plugin, &call, NULL, err);
}

/* ------------------------------------------------ verbs of a machine */

static int
call_machine(struct fb_driver *base, enum fb_plugin_verb name,
    const struct fb_machine *machine, const struct fb_verb *verb,
    json_t **ret_result, struct fb_error *err)
{
	FB_AUTO_JSON json_t *params =
	    json_pack("{s:s}", "machine", machine->id);
	struct fb_plugin_call call = { .verb = name,
		.effect = name == FB_PLUGIN_STOP ||
		    name == FB_PLUGIN_START ||
		    name == FB_PLUGIN_CREATE_SNAPSHOT ||
		    name == FB_PLUGIN_REMOVE_SNAPSHOT,
		.params = params, .how = verb };

	if (name == FB_PLUGIN_CREATE_SNAPSHOT) {
		(void)json_object_set_new(
		    params, "for_backup", json_boolean(verb->for_backup));
		(void)json_object_set_new(
		    params, "for_export", json_boolean(verb->for_export));
	}
	return fb_plugin_call(
	    (struct fb_plugin *)base, &call, ret_result, err);
}

static int
bad_result(int rc, struct fb_error *err)
{
	return rc < 0 ? fb_plugin_broken(err) : rc;
}

static int
plugin_power_get(struct fb_driver *base, const struct fb_machine *machine,
    const struct fb_verb *verb, enum fb_power *ret_power,
    struct fb_error *err)
{
	static const char *const keys[] = { "power", NULL };
	FB_AUTO_JSON json_t *result = NULL;
	const char *power;
	int rc = call_machine(
	    base, FB_PLUGIN_POWER_GET, machine, verb, &result, err);

	if (rc < 0)
		return rc;
	rc = fb_json_str(result, "power", "result", &power, err);
	if (rc == FB_OK)
		rc = fb_json_only(result, "result", keys, err);
	if (rc == FB_OK)
		rc = fb_power_parse(power, ret_power, err);
	return bad_result(rc, err);
}

/* Is it as wanted after an effect whose outcome is open?  Then it was done;
 * of all else the caller is told, and looks again. */
static int
change_power(struct fb_driver *base, const struct fb_machine *machine,
    const struct fb_verb *verb, bool up, struct fb_error *err)
{
	struct fb_verb own = *verb;
	uint64_t timeout =
	    up ? machine->start_timeout_ms : machine->stop_timeout_ms;

	if (own.timeout_ms == 0 || (timeout > 0 && timeout < own.timeout_ms))
		own.timeout_ms = timeout;
	return call_machine(base, up ? FB_PLUGIN_START : FB_PLUGIN_STOP,
	    machine, &own, NULL, err);
}

static int
plugin_stop(struct fb_driver *base, const struct fb_machine *machine,
    const struct fb_verb *verb, struct fb_error *err)
{
	return change_power(base, machine, verb, false, err);
}

static int
plugin_start(struct fb_driver *base, const struct fb_machine *machine,
    const struct fb_verb *verb, struct fb_error *err)
{
	return change_power(base, machine, verb, true, err);
}

static int
plugin_create_snapshot(struct fb_driver *base,
    const struct fb_machine *machine, const struct fb_verb *verb,
    struct fb_error *err)
{
	static const char *const keys[] = { "unclean", NULL };
	FB_AUTO_JSON json_t *result = NULL;
	bool unclean = false;
	int rc = call_machine(
	    base, FB_PLUGIN_CREATE_SNAPSHOT, machine, verb, &result, err);

	if (rc < 0 || result == NULL)
		return rc;
	rc = fb_json_only(result, "result", keys, err);
	if (rc == FB_OK && json_object_get(result, "unclean") != NULL)
		rc = fb_json_bool(result, "unclean", "result", &unclean, err);
	if (rc < 0) { /* it is there, for find_by_token to say */
		(void)fb_plugin_broken(err);
		return err->code = FB_EUNKNOWN;
	}
	if (verb->ret_unclean != NULL && unclean)
		*verb->ret_unclean = true;
	return FB_OK;
}

static int
plugin_find_by_token(struct fb_driver *base, const struct fb_machine *machine,
    const char *token, struct fb_error *err)
{
	static const char *const keys[] = { "snapshot", NULL };
	struct fb_verb verb = { .token = token, .lock_fd = -1 };
	FB_AUTO_JSON json_t *result = NULL;
	const char *state;
	int rc = call_machine(
	    base, FB_PLUGIN_FIND_BY_TOKEN, machine, &verb, &result, err);

	if (rc < 0)
		return rc;
	rc = fb_json_str(result, "snapshot", "result", &state, err);
	if (rc == FB_OK)
		rc = fb_json_only(result, "result", keys, err);
	if (rc < 0)
		return fb_plugin_broken(err);
	if (strcmp(state, "whole") == 0)
		return FB_OK;
	if (strcmp(state, "part") == 0)
		return fb_fail(err, FB_EFAILED,
		    "there is a part of snapshot '%s'", token);
	if (strcmp(state, "none") == 0)
		return fb_fail(
		    err, FB_ENOTFOUND, "there is no snapshot '%s'", token);
	(void)fb_fail(err, FB_EPROTO,
	    "a snapshot is whole, part or none, not '%.32s'", state);
	return fb_plugin_broken(err);
}

struct listing {
	fb_driver_visit_token *visit;
	void *arg;
	int rc; /* what the visitor said */
	struct fb_error failure;
};

static int
take_snapshot(void *arg, const json_t *item, struct fb_error *err)
{
	static const char *const keys[] = { "machine", "token", NULL };
	struct listing *l = arg;
	const char *machine, *token;
	int rc = fb_json_only(item, "snapshot", keys, err);

	if (rc == FB_OK)
		rc = fb_json_str(item, "machine", "snapshot", &machine, err);
	if (rc == FB_OK)
		rc = fb_json_str(item, "token", "snapshot", &token, err);
	if (rc == FB_OK)
		rc = fb_name_check("machine id", machine, strlen(machine), err);
	if (rc == FB_OK)
		rc = fb_name_check("token", token, strlen(token), err);
	if (rc == FB_OK && l->rc == FB_OK)
		l->rc = l->visit(machine, token, l->arg, &l->failure);
	return rc;
}

static int
plugin_list_snapshots(struct fb_driver *base, fb_driver_visit_token *visit,
    void *arg, struct fb_error *err)
{
	struct listing l = { .visit = visit, .arg = arg };
	struct fb_plugin_call call = { .verb = FB_PLUGIN_LIST_SNAPSHOTS,
		.said_max = DISCOVER_MAX,
		.listener = { .item = take_snapshot, .arg = &l } };
	int rc = fb_plugin_call((struct fb_plugin *)base, &call, NULL, err);

	if (rc == FB_EUNSUP)
		return FB_OK;
	if (rc == FB_OK && l.rc < 0)
		*err = l.failure;
	return rc == FB_OK ? l.rc : rc;
}

static int
plugin_remove_snapshot(struct fb_driver *base,
    const struct fb_machine *machine, const struct fb_verb *verb,
    struct fb_error *err)
{
	return call_machine(
	    base, FB_PLUGIN_REMOVE_SNAPSHOT, machine, verb, NULL, err);
}

json_t *
fb_plugin_volume_params(const struct fb_machine *machine,
    const struct fb_volume *volume, const char *token)
{
	return json_pack("{s:s,s:s,s:s,s:s*}", "machine", machine->id,
	    "volume", volume->name, "kind", fb_volume_kind_name(volume->kind),
	    "token", token);
}

static int
plugin_open_volume(struct fb_driver *base, const struct fb_machine *machine,
    const struct fb_volume *volume, const char *token,
    struct fb_artifact **ret_artifact, struct fb_error *err)
{
	struct fb_plugin *plugin = (struct fb_plugin *)base;
	json_t *params = fb_plugin_volume_params(machine, volume, token);

	if (volume->kind == FB_VOLUME_DISK)
		return fb_plugin_open_blocks(
		    plugin, params, ret_artifact, err);
	return fb_plugin_open_stream(
	    plugin, params, volume->kind, ret_artifact, err);
}

const struct fb_driver_ops fb_plugin_ops = {
	.name = "plugin",
	.takes = FB_TAKES(FB_VOLUME_DISK) | FB_TAKES(FB_VOLUME_TREE),
	.open = plugin_open,
	.probe = plugin_probe,
	.discover = plugin_discover,
	.power_get = plugin_power_get,
	.stop = plugin_stop,
	.start = plugin_start,
	.create_snapshot = plugin_create_snapshot,
	.find_by_token = plugin_find_by_token,
	.list_snapshots = plugin_list_snapshots,
	.remove_snapshot = plugin_remove_snapshot,
	.open_volume = plugin_open_volume,
	.restore_check = fb_plugin_restore_check,
	.restore_list = fb_plugin_restore_list,
	.restore_begin = fb_plugin_restore_begin,
	.restore_open = fb_plugin_restore_open,
	.restore_finish = fb_plugin_restore_finish,
	.close = plugin_close,
};

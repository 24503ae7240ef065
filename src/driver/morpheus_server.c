/* A server of Morpheus: what it says, its description, its power. */
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"

#include "morpheus_internal.h"

#define NS_PER_MS INT64_C(1000000)

#define VOLUMES_MAX 256

void
fb_morpheus_server_release(struct fb_morpheus_server *server)
{
	json_decref(server->json);
	*server = (struct fb_morpheus_server){ 0 };
}

int
fb_morpheus_server_read(json_t *json, struct fb_morpheus_server *ret_server,
    struct fb_error *err)
{
	struct fb_morpheus_server server = { .json = json,
		.power = FB_POWER_UNKNOWN };

	if (fb_morpheus_id(json, "id") < 0)
		return fb_fail(err, FB_EPROTO,
		    "a server of morpheus has no id");
	server.power_text = fb_morpheus_text(json, "powerState");
	server.status = fb_morpheus_text(json, "status");
	server.host = fb_morpheus_text(
	    json_object_get(json, "parentServer"), "name");
	server.instance =
	    fb_morpheus_id(json_object_get(json, "instance"), "id");
	if (strcmp(server.power_text, "on") == 0)
		server.power = FB_POWER_UP;
	if (strcmp(server.power_text, "off") == 0)
		server.power = FB_POWER_DOWN;
	server.json = json_incref(json);
	*ret_server = server;
	return FB_OK;
}

int
fb_morpheus_id_check(const char *id, struct fb_error *err)
{
	return id[0] != '\0' && id[strspn(id, "0123456789")] == '\0'
	    ? FB_OK
	    : fb_fail(err, FB_ENOTFOUND,
	          "morpheus has no server '%s': its ids are numbers", id);
}

int
fb_morpheus_server(struct fb_morpheus *m, const char *id,
    struct fb_morpheus_server *ret_server, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_morpheus_server_path(id, "");
	FB_AUTO_JSON json_t *json = NULL;
	FB_AUTO_FREE char *told = NULL;
	int rc = fb_morpheus_id_check(id, err);

	if (rc == FB_OK)
		rc = fb_morpheus_get(m, path, "server", &json, err);

	if (rc < 0)
		return rc;
	told = fb_format("%lld", (long long)fb_morpheus_id(json, "id"));
	if (strcmp(told, id) != 0)
		return fb_fail(err, FB_EPROTO,
		    "morpheus' answer about server '%s' is not about it", id);
	return fb_morpheus_server_read(json, ret_server, err);
}

/* ------------------------------------------------------------- volumes */

void
fb_morpheus_volumes_release(struct fb_morpheus_volumes *volumes)
{
	for (size_t i = 0; i < volumes->count; i++)
		free(volumes->items[i].name);
	free(volumes->items);
	*volumes = (struct fb_morpheus_volumes){ 0 };
}

/* Kinds of media, as categories, codes and names begin with them. */
static bool
is_media(const char *text)
{
	static const char *const words[] = { "cd", "cdrom", "cd-rom", "dvd",
		"dvdrom", "iso", "floppy" };

	for (size_t i = 0; i < FB_COUNT(words); i++) {
		size_t len = strlen(words[i]);
		const char *rest = text + len;

		if (strncasecmp(text, words[i], len) != 0)
			continue;
		rest += strspn(rest, "-_ ");
		if (rest[strspn(rest, "0123456789")] == '\0')
			return true;
	}
	return false;
}

/* The API's documents show no type; where there is one it is looked at. */
static bool
has_media_type(const json_t *volume)
{
	static const char *const texts[] = { "type", "volumeType", "category",
		"volumeCategory" };
	static const char *const keys[] = { "code", "category",
		"volumeCategory", "name" };

	for (size_t i = 0; i < FB_COUNT(texts); i++) {
		const json_t *value = json_object_get(volume, texts[i]);
		const char *text = json_string_value(value);

		if (text != NULL && is_media(text))
			return true;
		for (size_t k = 0; k < FB_COUNT(keys); k++)
			if (is_media(fb_morpheus_text(value, keys[k])))
				return true;
	}
	return false;
}

static bool
matches(const struct fb_morpheus *m, const char *name)
{
	for (size_t i = 0; m->removable[i] != NULL; i++)
		if (fnmatch(m->removable[i], name, 0) == 0)
			return true;
	return false;
}

/* Does it end like a name that is made, with the id of a volume? */
static bool
ends_with_id(const char *name, int64_t id)
{
	FB_AUTO_FREE char *end = fb_format("-%lld", (long long)id);
	size_t len = strlen(name), end_len = strlen(end);

	return len >= end_len && strcmp(name + len - end_len, end) == 0;
}

/* By its name a volume is read: no two have the same, nor one that is made for
 * another or is the driver's own. */
static char *
name_of(const json_t *list, const char *name, int64_t id)
{
	bool alone = strcmp(name, "definition") != 0;
	const json_t *other;
	size_t index, same = 0;

	json_array_foreach(list, index, other) {
		int64_t its = fb_morpheus_id(other, "id");

		if (strcmp(fb_morpheus_text(other, "name"), name) == 0)
			same++;
		if (its != id && ends_with_id(name, its))
			alone = false;
	}
	if (!fb_name_ok(name, strlen(name)))
		return fb_format("volume-%lld", (long long)id);
	return alone && same == 1 ? fb_strdup(name)
	                          : fb_format("%.64s-%lld", name,
	                                (long long)id);
}

static int
add_volume(const struct fb_morpheus *m, const json_t *list,
    const json_t *item, struct fb_morpheus_volumes *volumes,
    struct fb_error *err)
{
	struct fb_morpheus_volume *volume = &volumes->items[volumes->count];
	const char *name = fb_morpheus_text(item, "name");
	const json_t *size = json_object_get(item, "maxStorage");

	volume->id = fb_morpheus_id(item, "id");
	if (volume->id < 0)
		return fb_fail(err, FB_EPROTO, "a volume has no id");
	volume->name = name_of(list, name, volume->id);
	if (json_is_integer(size) && json_integer_value(size) > 0)
		volume->size = (uint64_t)json_integer_value(size);
	volume->removable = has_media_type(item) || matches(m, name);
	volume->guessed = !volume->removable && is_media(name);
	volume->removable |= volume->guessed;
	volumes->count++;
	return FB_OK;
}

int
fb_morpheus_volumes(const struct fb_morpheus *m, const json_t *server,
    struct fb_morpheus_volumes *ret_volumes, struct fb_error *err)
{
	const json_t *list = json_object_get(server, "volumes"), *item;
	size_t index;
	int rc = FB_OK;

	if (!json_is_array(list) || json_array_size(list) > VOLUMES_MAX)
		return fb_fail(err, FB_EPROTO,
		    "morpheus does not tell the volumes of the server");
	ret_volumes->items =
	    fb_alloc(json_array_size(list) + 1, sizeof(*ret_volumes->items));
	json_array_foreach(list, index, item)
		if (rc == FB_OK)
			rc = add_volume(m, list, item, ret_volumes, err);
	return rc;
}

/* --------------------------------------------------------- description */

static json_t *
chosen(const json_t *from, const char *const *keys)
{
	json_t *to = json_object();

	for (size_t i = 0; keys[i] != NULL; i++) {
		json_t *value = json_object_get(from, keys[i]);

		if (value != NULL && !json_is_null(value) &&
		    !json_is_object(value) && !json_is_array(value))
			(void)json_object_set(to, keys[i], value);
	}
	return to;
}

static void
add_each(json_t *document, const json_t *server, const char *key,
    const char *const *keys)
{
	const json_t *item;
	json_t *list = json_array();
	size_t index;

	json_array_foreach(json_object_get(server, key), index, item)
		(void)json_array_append_new(list, chosen(item, keys));
	(void)json_object_set_new(document, key, list);
}

static void
add_reference(json_t *document, const json_t *server, const char *key)
{
	static const char *const keys[] = { "id", "name", "code", NULL };
	const json_t *value = json_object_get(server, key);

	if (json_is_object(value))
		(void)json_object_set_new(document, key, chosen(value, keys));
}

/* Where it runs passes, like its state: it may move while it lives. */
json_t *
fb_morpheus_document(const json_t *server)
{
	static const char *const own[] = { "id", "uuid", "externalId",
		"externalUniqueId", "name", "hostname", "platform", "maxCores",
		"coresPerSocket", "maxMemory", NULL };
	static const char *const volume[] = { "id", "uuid", "name",
		"rootVolume", "unitNumber", "controllerMountPoint",
		"datastoreId", "maxStorage", "displayOrder", "typeId", NULL };
	static const char *const controller[] = { "id", "name", "busNumber",
		"unitNumber", "typeId", NULL };
	static const char *const interface[] = { "id", "name", "macAddress",
		NULL };
	json_t *document = chosen(server, own);

	add_each(document, server, "volumes", volume);
	add_each(document, server, "controllers", controller);
	add_each(document, server, "interfaces", interface);
	add_reference(document, server, "zone");
	add_reference(document, server, "instance");
	add_reference(document, server, "computeServerType");
	return document;
}

static void
add_disk(
    struct fb_machine *machine, const struct fb_morpheus_volume *volume)
{
	struct fb_volume *disk = fb_machine_add_volume(machine);

	disk->name = fb_strdup(volume->name);
	disk->kind = volume->removable ? FB_VOLUME_CDROM : FB_VOLUME_DISK;
	disk->size = volume->size;
	disk->allocated = volume->removable ? 0 : volume->size;
	disk->method = volume->removable ? "none" : "snapshot";
	if (volume->guessed)
		disk->note = fb_strdup("it is left out as removable medium, "
				       "because of its name");
}

static void
refuse_without_host(
    struct fb_machine *machine, const struct fb_morpheus_server *server)
{
	struct fb_error why = { 0 };

	if (fb_name_ok(server->host, strlen(server->host)))
		return;
	(void)fb_fail_id(&why, FB_EUNSUP, "E-MORPHEUS-HOST",
	    server->host[0] == '\0'
	        ? "morpheus names no hypervisor for it, and the bytes are "
	          "read there"
	        : "its hypervisor has a name that is none for ssh");
	(void)fb_hint(&why, "a hypervisor is called in ssh's configuration as "
			    "it is in morpheus: letters, digits, '.', '_', "
			    "'-'");
	fb_machine_refuse(machine, &why);
}

int
fb_morpheus_describe(struct fb_morpheus *m,
    const struct fb_morpheus_server *server, struct fb_machine *machine,
    struct fb_error *err)
{
	FB_AUTO_MORPHEUS_VOLUMES struct fb_morpheus_volumes volumes = { 0 };
	FB_AUTO_JSON json_t *document = fb_morpheus_document(server->json);
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	struct fb_volume *definition;
	int rc;

	machine->lifecycle = FB_LIFECYCLE_STOP_SNAPSHOT_START;
	machine->stop_timeout_ms = m->stop_ms;
	machine->start_timeout_ms = m->start_ms;
	machine->power = server->power;
	definition = fb_machine_add_volume(machine);
	definition->name = fb_strdup("definition");
	definition->kind = FB_VOLUME_DEFINITION;
	definition->method = "snapshot";
	rc = fb_morpheus_volumes(m, server->json, &volumes, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < volumes.count; i++)
		add_disk(machine, &volumes.items[i]);
	fb_json_add(&bytes, document);
	fb_digest_of(fb_buf_span(&bytes), &machine->description);
	refuse_without_host(machine, server);
	return FB_OK;
}

/* --------------------------------------------------------------- power */

/*
 * Its power, once no stop that was given up can come late: the appliance is
 * told to do it and does it some time, and what it says of the power lags
 * behind that.
 */
static int
look_settled(struct fb_morpheus *m, const char *id,
    const struct fb_verb *verb, enum fb_power *ret_power,
    struct fb_error *err)
{
	struct fb_morpheus_wait wait = fb_morpheus_wait_for(
	    verb->timeout_ms > 0 ? verb->timeout_ms
	                         : m->settle_ms + m->stop_ms,
	    verb->cancel);
	int64_t since = fb_clock_mono_ns();

	for (*ret_power = FB_POWER_UNKNOWN;;) {
		FB_AUTO_MORPHEUS_SERVER struct fb_morpheus_server now = { 0 };
		int rc = fb_morpheus_server(m, id, &now, err);

		if (rc < 0)
			return rc;
		if (now.power != *ret_power || now.power == FB_POWER_UNKNOWN)
			since = fb_clock_mono_ns();
		*ret_power = now.power;
		if (now.power == FB_POWER_DOWN ||
		    (now.power == FB_POWER_UP &&
		        fb_clock_mono_ns() - since >=
		            (int64_t)m->settle_ms * NS_PER_MS))
			return FB_OK;
		rc = fb_morpheus_wait(
		    &wait, "it is not known whether it stays up", err);
		if (rc < 0)
			return rc;
	}
}

static int
look_now(struct fb_morpheus *m, const char *id, enum fb_power *ret_power,
    struct fb_error *err)
{
	FB_AUTO_MORPHEUS_SERVER struct fb_morpheus_server now = { 0 };
	int rc = fb_morpheus_server(m, id, &now, err);

	*ret_power = rc == FB_OK ? now.power : FB_POWER_UNKNOWN;
	return rc;
}

int
fb_morpheus_power_get(struct fb_driver *base,
    const struct fb_machine *machine, const struct fb_verb *verb,
    enum fb_power *ret_power, struct fb_error *err)
{
	struct fb_morpheus *m = (struct fb_morpheus *)base;
	int rc = verb->settle
	    ? look_settled(m, machine->id, verb, ret_power, err)
	    : look_now(m, machine->id, ret_power, err);

	if (rc != FB_ETIMEOUT || !verb->settle)
		return rc;
	*ret_power = FB_POWER_UNKNOWN;
	*err = (struct fb_error){ 0 };
	return FB_OK;
}

int
fb_morpheus_bring(struct fb_morpheus *m, const char *id,
    enum fb_power wanted, uint64_t timeout_ms, const atomic_bool *cancel,
    struct fb_error *err)
{
	bool up = wanted == FB_POWER_UP;
	FB_AUTO_FREE char *path =
	    fb_morpheus_server_path(id, up ? "/start" : "/stop");
	struct fb_morpheus_wait wait =
	    fb_morpheus_wait_for(timeout_ms, cancel);
	enum fb_power power;
	int rc = look_now(m, id, &power, err);

	if (rc < 0 || power == wanted)
		return rc;
	if (power == FB_POWER_UNKNOWN)
		return fb_fail_id(err, FB_ECONFLICT, "E-POWER-UNKNOWN",
		    "it is not known whether it is up; it is not touched");
	rc = fb_morpheus_do(m, "PUT", path, NULL, false, NULL, err);
	while (rc == FB_OK) {
		rc = look_now(m, id, &power, err);
		if (rc == FB_OK && power == wanted)
			return FB_OK;
		if (rc == FB_OK)
			rc = fb_morpheus_wait(&wait,
			    up ? "it is not up" : "it is not down", err);
	}
	return rc;
}

static uint64_t
least(uint64_t own_ms, const struct fb_verb *verb)
{
	return verb->timeout_ms > 0 && verb->timeout_ms < own_ms
	    ? verb->timeout_ms
	    : own_ms;
}

int
fb_morpheus_stop(struct fb_driver *base, const struct fb_machine *machine,
    const struct fb_verb *verb, struct fb_error *err)
{
	struct fb_morpheus *m = (struct fb_morpheus *)base;

	return fb_morpheus_bring(m, machine->id, FB_POWER_DOWN,
	    least(machine->stop_timeout_ms, verb), verb->cancel, err);
}

/* Up, and to stay so: what goes down late is started again. */
int
fb_morpheus_start(struct fb_driver *base, const struct fb_machine *machine,
    const struct fb_verb *verb, struct fb_error *err)
{
	struct fb_morpheus *m = (struct fb_morpheus *)base;
	int64_t deadline =
	    fb_clock_mono_ns() + (int64_t)verb->timeout_ms * NS_PER_MS;
	uint64_t ms = least(machine->start_timeout_ms, verb);
	enum fb_power power = FB_POWER_UNKNOWN;
	int rc = FB_OK;

	while (verb->settle && rc == FB_OK) {
		rc = look_settled(m, machine->id, verb, &power, err);
		if (rc < 0 || power == FB_POWER_UP)
			return rc;
		if (verb->timeout_ms > 0 && fb_clock_mono_ns() >= deadline)
			return fb_fail(err, FB_ETIMEOUT,
			    "machine '%s' does not stay up", machine->id);
		rc = fb_morpheus_bring(m, machine->id, FB_POWER_UP, ms,
		    verb->cancel, err);
	}
	return rc < 0 ? rc
	              : fb_morpheus_bring(m, machine->id, FB_POWER_UP, ms,
	                    verb->cancel, err);
}

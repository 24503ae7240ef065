/* What the `icp` command says, read strictly: all of it comes from outside. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/base/text.h"
#include "fleetbak/format/canic.h"
#include "fleetbak/format/json.h"

#include "icp_internal.h"

/* 1.2.0 and later, below 2. */
#define VERSION_MAJOR 1
#define VERSION_MINOR 2

/* The platform keeps ten. */
#define SNAPSHOTS_MAX   1000
#define CONTROLLERS_MAX 100

#define MODULE_BYTES 32
#define TEXT_MAX     128

static int
bad_answer(struct fb_error *err, const char *what)
{
	return fb_fail_id(err, FB_EPROTO, "E-ICP-ANSWER",
	    "the icp command's answer %s", what);
}

static int
parse(struct fb_span text, size_t max, const char *what, json_t **ret_value,
    struct fb_error *err)
{
	struct fb_error why = { 0 };

	if (fb_json_parse(text, max, what, ret_value, &why) == FB_OK)
		return FB_OK;
	return fb_fail_id(err, FB_EPROTO, "E-ICP-ANSWER",
	    "the icp command's answer is not what was asked for: %.200s",
	    why.msg);
}

/* ------------------------------------------------------------- version */

/* A number and what ends it; false when there is none. */
static bool
take_number(const char **at, const char *end, char stop, unsigned *ret)
{
	const char *from = *at;

	for (*ret = 0; *at < end && **at >= '0' && **at <= '9'; (*at)++) {
		if (*at - from == 6)
			return false;
		*ret = *ret * 10 + (unsigned)(**at - '0');
	}
	if (*at == from || (stop != '\0' && (*at == end || **at != stop)))
		return false;
	*at += stop != '\0';
	return true;
}

int
fb_icp_check_version(struct fb_span text, struct fb_error *err)
{
	const char *at = (const char *)text.ptr, *end = at + text.len;
	unsigned major = 0, minor = 0, patch = 0;
	size_t line;

	while (end > at && strchr("\r\n ", end[-1]) != NULL)
		end--;
	line = (size_t)(end - at);
	if (line > 4 && memcmp(at, "icp ", 4) == 0)
		at += 4;
	if (take_number(&at, end, '.', &major) &&
	    take_number(&at, end, '.', &minor) &&
	    take_number(&at, end, '\0', &patch) &&
	    (at == end || *at == '-' || *at == '+' || *at == ' ') &&
	    major == VERSION_MAJOR && minor >= VERSION_MINOR)
		return FB_OK;
	(void)fb_fail_id(err, FB_EUNSUP, "E-ICP-VERSION",
	    "the icp command is '%.*s', and this driver speaks with 1.2.0 and "
	    "later of version 1",
	    line > 40 ? 40 : (int)line, (const char *)text.ptr);
	return fb_hint(err, "install such a one, or name it: icp of the source");
}

/* ---------------------------------------------------------------- parts */

/* Text without what would go astray in lists and messages. */
static bool
is_plain(const char *text)
{
	size_t len = strlen(text);

	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return false;
	return len <= TEXT_MAX;
}

/* "0x" or nothing, and bytes in hex, as lower case. */
static bool
module_of_text(const char *text, char module[FB_ICP_MODULE_SIZE])
{
	size_t len;

	if (strncmp(text, "0x", 2) == 0)
		text += 2;
	len = strlen(text);
	if (len == 0 || len >= FB_ICP_MODULE_SIZE || len % 2 != 0 ||
	    strspn(text, "0123456789abcdefABCDEF") != len)
		return false;
	for (size_t i = 0; i <= len; i++)
		module[i] = text[i] >= 'A' && text[i] <= 'F'
		    ? (char)(text[i] - 'A' + 'a')
		    : text[i];
	return true;
}

static bool
module_of_bytes(const json_t *list, char module[FB_ICP_MODULE_SIZE])
{
	uint8_t bytes[MODULE_BYTES];
	size_t count = json_array_size(list);

	if (count > sizeof(bytes))
		return false;
	for (size_t i = 0; i < count; i++) {
		const json_t *item = json_array_get(list, i);

		if (!json_is_integer(item) || json_integer_value(item) < 0 ||
		    json_integer_value(item) > 255)
			return false;
		bytes[i] = (uint8_t)json_integer_value(item);
	}
	if (count > 0)
		fb_text_hex(bytes, count, module);
	return true;
}

/* Text, or an array of bytes, or one of those as Candid's option; null: there
 * is none. */
static bool
module_of(const json_t *value, char module[FB_ICP_MODULE_SIZE])
{
	module[0] = '\0';
	if (json_array_size(value) == 1 &&
	    !json_is_integer(json_array_get(value, 0)))
		value = json_array_get(value, 0);
	if (value == NULL || json_is_null(value))
		return true;
	if (json_is_string(value))
		return module_of_text(json_string_value(value), module);
	return json_is_array(value) && module_of_bytes(value, module);
}

/* ------------------------------------------------------------- registry */

void
fb_icp_registry_release(struct fb_icp_registry *registry)
{
	for (size_t i = 0; i < registry->count; i++) {
		free(registry->rows[i].id);
		free(registry->rows[i].role);
		free(registry->rows[i].kind);
		free(registry->rows[i].parent);
	}
	free(registry->rows);
	*registry = (struct fb_icp_registry){ 0 };
}

static int
bad_row(size_t index, const char *why, struct fb_error *err)
{
	return fb_fail_id(err, FB_EPROTO, "E-ICP-REGISTRY",
	    "row %zu of the root's registry %s", index, why);
}

/* A member of the row, or of its record. */
static const json_t *
member(const json_t *row, const char *key)
{
	const json_t *value = json_object_get(row, key);

	return value != NULL
	    ? value
	    : json_object_get(json_object_get(row, "record"), key);
}

/* Null, text, or text in an array of one. */
static bool
optional_text(const json_t *value, const char **ret)
{
	*ret = NULL;
	if (json_is_array(value) && json_array_size(value) == 1)
		value = json_array_get(value, 0);
	if (value == NULL || json_is_null(value) ||
	    (json_is_array(value) && json_array_size(value) == 0))
		return true;
	*ret = json_string_value(value);
	return *ret != NULL && is_plain(*ret);
}

static int
take_row(const json_t *json, size_t index, struct fb_icp_row *row,
    struct fb_error *err)
{
	const char *id, *role, *kind, *parent;

	if (!optional_text(member(json, "pid"), &id) || id == NULL ||
	    !fb_canic_principal_ok(id))
		return bad_row(index, "names no canister by its principal", err);
	if (!optional_text(member(json, "role"), &role) ||
	    !optional_text(member(json, "kind"), &kind))
		return bad_row(index, "has a role or a kind that is none", err);
	if (!optional_text(member(json, "parent_pid"), &parent) ||
	    (parent != NULL && !fb_canic_principal_ok(parent)))
		return bad_row(index, "has a parent that is no principal", err);
	if (!module_of(member(json, "module_hash"), row->module))
		return bad_row(index, "has a module hash that is none", err);
	row->id = fb_strdup(id);
	row->role = fb_strdup(role != NULL ? role : "");
	row->kind = fb_strdup(kind != NULL ? kind : "");
	row->parent = parent != NULL ? fb_strdup(parent) : NULL;
	return FB_OK;
}

/* Rows, Ok of them, or what a call's answer says in Candid. */
static const json_t *
rows_of(const json_t *answer, json_t **ret_candid)
{
	const char *candid =
	    json_string_value(json_object_get(answer, "response_candid"));

	if (candid != NULL) {
		*ret_candid = fb_icp_candid(candid);
		answer = *ret_candid;
	}
	return json_is_array(answer) ? answer : json_object_get(answer, "Ok");
}

int
fb_icp_parse_registry(struct fb_span text,
    struct fb_icp_registry *ret_registry, struct fb_error *err)
{
	FB_AUTO_JSON json_t *answer = NULL;
	FB_AUTO_JSON json_t *candid = NULL;
	FB_AUTO_ICP_REGISTRY struct fb_icp_registry registry = { 0 };
	const json_t *rows, *row;
	size_t index;
	int rc = parse(text, FB_ICP_REGISTRY_MAX, "registry", &answer, err);

	if (rc < 0)
		return rc;
	rows = rows_of(answer, &candid);
	if (!json_is_array(rows))
		return fb_fail_id(err, FB_EPROTO, "E-ICP-REGISTRY",
		    "the root's answer is no registry: neither rows nor Ok");
	if (json_array_size(rows) > FB_FLEET_MACHINES_MAX)
		return fb_fail_id(err, FB_EPROTO, "E-ICP-REGISTRY",
		    "the root's registry has %zu rows, more than %d",
		    json_array_size(rows), FB_FLEET_MACHINES_MAX);
	registry.rows =
	    fb_alloc(json_array_size(rows) + 1, sizeof(*registry.rows));
	json_array_foreach(rows, index, row) {
		rc = take_row(row, index, &registry.rows[index], err);
		if (rc < 0)
			return rc;
		registry.count++;
	}
	*ret_registry = registry;
	registry = (struct fb_icp_registry){ 0 };
	return FB_OK;
}

/* --------------------------------------------------------------- status */

static const char *const states[] = {
	[FB_ICP_RUNNING] = "running",
	[FB_ICP_STOPPING] = "stopping",
	[FB_ICP_STOPPED] = "stopped",
};

const char *
fb_icp_state_name(enum fb_icp_state state)
{
	return states[state];
}

void
fb_icp_status_release(struct fb_icp_status *status)
{
	json_decref(status->controllers);
	*status = (struct fb_icp_status){ 0 };
}

/* "1_234_567", or a number: bytes of memory, 0 when it cannot be told. */
static uint64_t
bytes_of(const json_t *value)
{
	const char *text = json_string_value(value);
	uint64_t bytes = 0;

	if (json_is_integer(value))
		return json_integer_value(value) > 0
		    ? (uint64_t)json_integer_value(value)
		    : 0;
	for (; text != NULL && *text != '\0'; text++) {
		if (*text == '_')
			continue;
		if (*text < '0' || *text > '9' || bytes > INT64_MAX / 20)
			return 0;
		bytes = bytes * 10 + (uint64_t)(*text - '0');
	}
	return bytes;
}

static int
compare_texts(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int
take_controllers(
    const json_t *list, struct fb_icp_status *status, struct fb_error *err)
{
	size_t count = json_array_size(list);
	FB_AUTO_FREE const char **ids = NULL;

	if (!json_is_array(list))
		return FB_OK;
	if (count > CONTROLLERS_MAX)
		return bad_answer(err, "has too many controllers");
	ids = fb_alloc(count + 1, sizeof(*ids));
	for (size_t i = 0; i < count; i++) {
		ids[i] = json_string_value(json_array_get(list, i));
		if (ids[i] == NULL || !is_plain(ids[i]))
			return bad_answer(
			    err, "has a controller that is none");
	}
	if (count > 1)
		qsort(ids, count, sizeof(*ids), compare_texts);
	status->controllers = json_array();
	for (size_t i = 0; i < count; i++)
		(void)json_array_append_new(
		    status->controllers, json_string(ids[i]));
	return FB_OK;
}

static int
take_state(const json_t *answer, struct fb_icp_status *status,
    struct fb_error *err)
{
	const json_t *value = json_object_get(answer, "status");
	const char *text = json_string_value(value);

	if (value == NULL) {
		(void)fb_fail_id(err, FB_EDENIED, "E-ICP-CONTROLLER",
		    "only what is public is told of the canister: the "
		    "identity is none of its controllers");
		return fb_hint(err, "give the source an identity that is");
	}
	for (size_t i = 0; text != NULL && i < FB_COUNT(states); i++)
		if (strcasecmp(text, states[i]) == 0) {
			status->state = (enum fb_icp_state)i;
			return FB_OK;
		}
	return bad_answer(err, "has a status that nobody knows");
}

int
fb_icp_parse_status(struct fb_span text, const char *id,
    struct fb_icp_status *ret_status, struct fb_error *err)
{
	FB_AUTO_JSON json_t *answer = NULL;
	FB_AUTO_ICP_STATUS struct fb_icp_status status = { 0 };
	const json_t *settings;
	const char *of;
	int rc = parse(text, FB_ICP_ANSWER_MAX, "status", &answer, err);

	if (rc < 0)
		return rc;
	of = json_string_value(json_object_get(answer, "id"));
	if (of == NULL || strcmp(of, id) != 0)
		return bad_answer(err, "is about another canister");
	settings = json_object_get(answer, "settings");
	rc = take_state(answer, &status, err);
	if (rc == FB_OK &&
	    !module_of(
	        json_object_get(answer, "module_hash"), status.module))
		rc = bad_answer(err, "has a module hash that is none");
	if (rc == FB_OK)
		rc = take_controllers(
		    json_object_get(settings, "controllers"), &status, err);
	if (rc < 0)
		return rc;
	status.memory = bytes_of(json_object_get(answer, "memory_size"));
	*ret_status = status;
	status = (struct fb_icp_status){ 0 };
	return FB_OK;
}

/* ------------------------------------------------------------ snapshots */

void
fb_icp_inventory_release(struct fb_icp_inventory *inventory)
{
	free(inventory->items);
	*inventory = (struct fb_icp_inventory){ 0 };
}

/* An id becomes an argument of the command: a name is never an option. */
static int
take_snapshot(const json_t *json, struct fb_icp_snapshot *snapshot,
    struct fb_error *err)
{
	const char *id =
	    json_string_value(json_object_get(json, "snapshot_id"));

	if (id == NULL || !fb_name_ok(id, strlen(id)))
		return bad_answer(err, "has a snapshot without a good id");
	(void)snprintf(snapshot->id, sizeof(snapshot->id), "%s", id);
	snapshot->taken_ns =
	    bytes_of(json_object_get(json, "taken_at_timestamp"));
	snapshot->size = bytes_of(json_object_get(json, "total_size_bytes"));
	return FB_OK;
}

int
fb_icp_parse_made(struct fb_span text, struct fb_icp_snapshot *ret_made,
    struct fb_error *err)
{
	FB_AUTO_JSON json_t *answer = NULL;
	int rc = parse(text, FB_ICP_ANSWER_MAX, "snapshot", &answer, err);

	return rc < 0 ? rc : take_snapshot(answer, ret_made, err);
}

const struct fb_icp_snapshot *
fb_icp_inventory_find(
    const struct fb_icp_inventory *inventory, const char *id)
{
	for (size_t i = 0; i < inventory->count; i++)
		if (strcmp(inventory->items[i].id, id) == 0)
			return &inventory->items[i];
	return NULL;
}

int
fb_icp_parse_inventory(struct fb_span text,
    struct fb_icp_inventory *ret_inventory, struct fb_error *err)
{
	FB_AUTO_JSON json_t *answer = NULL;
	FB_AUTO_ICP_INVENTORY struct fb_icp_inventory inventory = { 0 };
	const json_t *list, *item;
	size_t index;
	int rc = parse(
	    text, FB_ICP_REGISTRY_MAX, "list of snapshots", &answer, err);

	if (rc < 0)
		return rc;
	list = json_object_get(answer, "snapshots");
	if (!json_is_array(list) || json_array_size(list) > SNAPSHOTS_MAX)
		return bad_answer(err, "is no list of snapshots");
	inventory.items =
	    fb_alloc(json_array_size(list) + 1, sizeof(*inventory.items));
	json_array_foreach(list, index, item) {
		struct fb_icp_snapshot one;

		rc = take_snapshot(item, &one, err);
		if (rc < 0)
			return rc;
		if (fb_icp_inventory_find(&inventory, one.id) != NULL)
			return bad_answer(err, "has a snapshot twice");
		inventory.items[inventory.count++] = one;
	}
	*ret_inventory = inventory;
	inventory = (struct fb_icp_inventory){ 0 };
	return FB_OK;
}

static bool
is_among(const json_t *ids, const char *id)
{
	const json_t *item;
	size_t index;

	json_array_foreach(ids, index, item) {
		const char *text = json_string_value(item);

		if (text != NULL && strcmp(text, id) == 0)
			return true;
	}
	return false;
}

size_t
fb_icp_new_ones(const json_t *before, const struct fb_icp_inventory *now,
    const struct fb_icp_snapshot **ret_one, bool *ret_lost)
{
	const json_t *item;
	size_t index, count = 0;

	*ret_one = NULL;
	*ret_lost = false;
	for (size_t i = 0; i < now->count; i++)
		if (!is_among(before, now->items[i].id)) {
			*ret_one = &now->items[i];
			count++;
		}
	json_array_foreach(before, index, item) {
		const char *id = json_string_value(item);

		*ret_lost = *ret_lost || id == NULL ||
		    fb_icp_inventory_find(now, id) == NULL;
	}
	return count;
}

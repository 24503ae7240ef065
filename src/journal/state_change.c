/* Changes of a state, as they are given: what there may be in one. */
#include "state_change.h"

#include <stdio.h>
#include <string.h>

#include "fleetbak/base/buf.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/name.h"
#include "fleetbak/format/json.h"

#define ID_MAX   4096
#define PORT_MAX 65535

static const char *const kind_names[] = { "machine", "volume", "snapshot",
	"port", "mount", "artifact", "operation" };

const char *
fb_state_kind_name(enum fb_state_kind kind)
{
	return kind_names[kind];
}

int
fb_state_kind_parse(
    const char *name, enum fb_state_kind *ret_kind, struct fb_error *err)
{
	for (size_t i = 0; i < FB_STATE_KIND_COUNT; i++)
		if (strcmp(name, kind_names[i]) == 0) {
			*ret_kind = (enum fb_state_kind)i;
			return FB_OK;
		}
	(void)fb_fail_id(
	    err, FB_ECONFIG, "E-STATE-CHANGE", "there is no kind '%s'", name);
	return fb_hint(err,
	    "machine, volume, snapshot, port, mount, artifact "
	    "or operation");
}

bool
state_port_key(const json_t *entry, char key[STATE_PORT_KEY])
{
	const json_t *port = json_object_get(entry, "host_port");
	json_int_t value = json_integer_value(port);

	if (!json_is_integer(port) || value < 1 || value > PORT_MAX)
		return false;
	(void)snprintf(key, STATE_PORT_KEY, "%" JSON_INTEGER_FORMAT, value);
	return true;
}

int
state_change_fail(struct fb_error *err, const char *why)
{
	(void)fb_fail_id(err, FB_ECONFIG, "E-STATE-CHANGE", "a change %s", why);
	return fb_hint(err, "fleetbak-state(1) describes changes");
}

/* Text without control characters, which JSON made sure is UTF-8. */
static bool
is_plain(const char *text)
{
	size_t len = strlen(text);

	if (len == 0 || len > ID_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < ' ' || text[i] == '\177')
			return false;
	return true;
}

static int
check_id(const struct change *change, struct fb_error *err)
{
	if (change->kind != FB_STATE_ARTIFACT)
		return fb_name_check(kind_names[change->kind], change->id,
		    strlen(change->id), err);
	return is_plain(change->id)
	    ? FB_OK
	    : state_change_fail(err,
	          "names an artifact by no text of 1 to 4096 "
	          "bytes without control characters");
}

static int
check_entry(const struct change *change, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	char key[STATE_PORT_KEY];

	if (!json_is_object(change->entry))
		return state_change_fail(err, "has no object 'entry'");
	fb_json_add(&text, change->entry);
	if (text.len > FB_STATE_ENTRY_MAX)
		return state_change_fail(
		    err, "has an entry of more than 256 KiB");
	if (change->kind == FB_STATE_PORT &&
	    !state_port_key(change->entry, key))
		return state_change_fail(
		    err, "of a port has no 'host_port' of 1 to 65535");
	return FB_OK;
}

int
state_change_check(const struct change *change, struct fb_error *err)
{
	int rc = check_id(change, err);

	return rc < 0 ? rc : check_entry(change, err);
}

/* Which verbs there are, and what each must have. */
static const struct verb {
	const char *name;
	const char *members[2]; /* those it has, but for "do" and "id" */
	int kind;               /* the only one, or -1 */
} verbs[] = {
	{ "create", { "kind", "entry" }, -1 },
	{ "update", { "kind", "entry" }, -1 },
	{ "delete", { "kind" }, -1 },
	{ "put", { "kind", "entry" }, FB_STATE_ARTIFACT },
	{ "begin", { "type", "entry" }, FB_STATE_OPERATION },
	{ "done", { NULL }, FB_STATE_OPERATION },
};

static bool
has_member(const struct verb *verb, const char *name)
{
	for (size_t i = 0; i < FB_COUNT(verb->members); i++)
		if (verb->members[i] != NULL &&
		    strcmp(verb->members[i], name) == 0)
			return true;
	return false;
}

static const struct verb *
find_verb(const json_t *value)
{
	const char *name = json_string_value(json_object_get(value, "do"));

	for (size_t i = 0; name != NULL && i < FB_COUNT(verbs); i++)
		if (strcmp(name, verbs[i].name) == 0)
			return &verbs[i];
	return NULL;
}

static int
check_members(
    const json_t *value, const struct verb *verb, struct fb_error *err)
{
	const char *key;
	json_t *member;

	/* jansson looks things up in what it walks through: no const. */
	json_object_foreach((json_t *)value, key, member)
	{
		bool known = strcmp(key, "do") == 0 || strcmp(key, "id") == 0 ||
		    has_member(verb, key);

		if (!known ||
		    (strcmp(key, "entry") != 0 && !json_is_string(member))) {
			(void)fb_fail_id(err, FB_ECONFIG, "E-STATE-CHANGE",
			    "'%s' of a change '%s' %s", key, verb->name,
			    known ? "is no text" : "is not known");
			return fb_hint(
			    err, "fleetbak-state(1) describes changes");
		}
	}
	return FB_OK;
}

int
state_change_parse(
    const json_t *value, struct change *ret, struct fb_error *err)
{
	const struct verb *verb = find_verb(value);
	const char *kind;
	int rc;

	*ret = (struct change){ 0 };
	if (verb == NULL)
		return state_change_fail(err, "has no known 'do'");
	rc = check_members(value, verb, err);
	if (rc < 0)
		return rc;
	ret->verb = verb->name;
	ret->id = json_string_value(json_object_get(value, "id"));
	ret->type = json_string_value(json_object_get(value, "type"));
	kind = json_string_value(json_object_get(value, "kind"));
	ret->entry = json_object_get(value, "entry");
	if (ret->id == NULL)
		return state_change_fail(err, "has no 'id'");
	if (!has_member(verb, "kind"))
		ret->kind = (enum fb_state_kind)verb->kind;
	else if (kind == NULL)
		return state_change_fail(err, "has no 'kind'");
	else
		rc = fb_state_kind_parse(kind, &ret->kind, err);
	if (rc == FB_OK && verb->kind >= 0 && (int)ret->kind != verb->kind)
		return state_change_fail(err, "'put' is for artifacts only");
	if (rc == FB_OK && verb->kind < 0 && ret->kind == FB_STATE_OPERATION)
		return state_change_fail(
		    err, "of an operation is 'begin' or 'done'");
	if (rc == FB_OK)
		rc = check_id(ret, err);
	if (rc == FB_OK && has_member(verb, "entry"))
		rc = check_entry(ret, err);
	if (rc == FB_OK && has_member(verb, "type"))
		rc = ret->type == NULL
		    ? state_change_fail(err, "'begin' has no 'type'")
		    : fb_name_check(
		          "operation type", ret->type, strlen(ret->type), err);
	return rc;
}

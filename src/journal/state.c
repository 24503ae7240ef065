#include "fleetbak/journal/state.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/lock.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/format/json.h"
#include "fleetbak/journal/journal.h"
#include "own_dir.h"
#include "state_change.h"

#define FORMAT 1

/* A journal with fewer records than this is not worth writing anew. */
#define SMALL 1000

struct fb_state {
	char *dir;
	int lock; /* -1: only to look */
	struct fb_journal *journal; /* NULL: only to look */
	bool begun; /* the record that says what this is */
	json_t *kinds[FB_STATE_KIND_COUNT]; /* objects: id to entry */
	json_t *ports; /* of the host, to the id of what is published there */
	uint64_t records;
};

/* What was there before: to go back when a later change is refused. */
struct undo {
	enum fb_state_kind kind;
	char *id;
	json_t *before; /* NULL: nothing */
};

struct undos {
	struct undo *items;
	size_t count, room;
};

static struct fb_state *
new_state(const char *dir)
{
	struct fb_state *state = fb_alloc(1, sizeof(*state));

	state->dir = fb_strdup(dir);
	state->lock = -1;
	for (size_t i = 0; i < FB_STATE_KIND_COUNT; i++)
		state->kinds[i] = json_object();
	state->ports = json_object();
	return state;
}

/* Entries in memory. */

/* Set the entry (borrowed), or remove it with NULL. */
static void
set_entry(struct fb_state *state, enum fb_state_kind kind, const char *id,
    json_t *entry)
{
	json_t *all = state->kinds[kind];
	char key[STATE_PORT_KEY];

	if (kind == FB_STATE_PORT) {
		if (state_port_key(json_object_get(all, id), key))
			(void)json_object_del(state->ports, key);
		if (entry != NULL && state_port_key(entry, key))
			(void)json_object_set_new(
			    state->ports, key, json_string(id));
	}
	if (entry != NULL)
		(void)json_object_set(all, id, entry);
	else
		(void)json_object_del(all, id);
}

static void
note_undo(struct undos *undos, const struct fb_state *state,
    enum fb_state_kind kind, const char *id)
{
	if (undos->count == undos->room) {
		undos->room = undos->room > 0 ? 2 * undos->room : 8;
		undos->items = fb_realloc(
		    undos->items, undos->room, sizeof(*undos->items));
	}
	undos->items[undos->count++] = (struct undo){ kind, fb_strdup(id),
		json_incref(json_object_get(state->kinds[kind], id)) };
}

/* With `state`, go back; then let go of what was noted. */
static void
end_undos(struct undos *undos, struct fb_state *state)
{
	while (undos->count > 0) {
		struct undo *undo = &undos->items[--undos->count];

		if (state != NULL)
			set_entry(state, undo->kind, undo->id, undo->before);
		json_decref(undo->before);
		free(undo->id);
	}
	free(undos->items);
}

/* Changes. */

/* What an operation is kept as: its type beside what was given. */
static json_t *
operation_entry(const struct change *change)
{
	return json_pack("{s:s,s:O}", "type", change->type, "entry",
	    change->entry);
}

static int
check_pending(const struct fb_state *state, const struct change *change,
    struct fb_error *err)
{
	const json_t *there = json_object_get(
	    state->kinds[FB_STATE_OPERATION], change->id);
	const char *type = json_string_value(json_object_get(there, "type"));

	if (type == NULL || strcmp(type, change->type) == 0)
		return FB_OK;
	(void)fb_fail_id(err, FB_ECONFLICT, "E-STATE-PENDING",
	    "machine '%s' has an operation '%s' pending", change->id, type);
	return fb_hint(err, "finish that one first: fleetbak state done");
}

static int
check_port(const struct fb_state *state, const struct change *change,
    struct fb_error *err)
{
	const char *owner;
	char key[STATE_PORT_KEY];

	if (change->kind != FB_STATE_PORT || !state_port_key(change->entry, key))
		return FB_OK;
	owner = json_string_value(json_object_get(state->ports, key));
	if (owner == NULL || strcmp(owner, change->id) == 0)
		return FB_OK;
	return fb_fail_id(err, FB_EEXISTS, "E-STATE-EXISTS",
	    "port %s of the host is published by '%s' already", key, owner);
}

/* Is what the verb needs there, or not there? */
static int
check_presence(const struct fb_state *state, const struct change *change,
    struct fb_error *err)
{
	bool there =
	    json_object_get(state->kinds[change->kind], change->id) != NULL;

	if (strcmp(change->verb, "create") == 0 && there)
		return fb_fail_id(err, FB_EEXISTS, "E-STATE-EXISTS",
		    "there is a %s '%s' already", fb_state_kind_name(change->kind),
		    change->id);
	if ((strcmp(change->verb, "update") == 0 ||
	        strcmp(change->verb, "delete") == 0) && !there)
		return fb_fail_id(err, FB_ENOTFOUND, "E-STATE-NONE",
		    "there is no %s '%s'", fb_state_kind_name(change->kind),
		    change->id);
	return FB_OK;
}

/* An entry as it is, of a journal that is written anew. */
static json_t *
entry_record(enum fb_state_kind kind, const char *id, json_t *entry)
{
	return json_pack("{s:s,s:s,s:O}", "kind", fb_state_kind_name(kind), "id", id,
	    "entry", entry);
}

/* What is kept is read again: refuse now what could not be then. */
static int
check_shape(const json_t *body, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	const char *fault;

	fb_json_add(&text, body);
	fault = fb_json_shape_fault(fb_buf_span(&text));
	if (fault == NULL)
		return FB_OK;
	(void)fb_fail_id(err, FB_ECONFIG, "E-STATE-CHANGE",
	    "a change cannot be kept: %s", fault);
	return fb_hint(err, "fleetbak-state(1) describes changes");
}

static int
keep_entry(struct fb_state *state, const struct change *change, json_t *entry,
    struct undos *undos, struct fb_error *err)
{
	FB_AUTO_JSON json_t *record = NULL;
	int rc = FB_OK;

	if (entry != NULL) {
		record = entry_record(change->kind, change->id, entry);
		rc = check_shape(record, err);
	}
	if (rc < 0)
		return rc;
	note_undo(undos, state, change->kind, change->id);
	set_entry(state, change->kind, change->id, entry);
	return FB_OK;
}

static int
make_change(struct fb_state *state, const json_t *value, struct undos *undos,
    struct fb_error *err)
{
	FB_AUTO_JSON json_t *operation = NULL;
	struct change change;
	int rc = state_change_parse(value, &change, err);

	if (rc == FB_OK)
		rc = check_presence(state, &change, err);
	if (rc == FB_OK)
		rc = check_port(state, &change, err);
	if (rc == FB_OK && change.type != NULL)
		rc = check_pending(state, &change, err);
	if (rc == FB_OK && change.type != NULL)
		operation = operation_entry(&change);
	return rc < 0 ? rc
	              : keep_entry(state, &change,
	                    operation != NULL ? operation : change.entry,
	                    undos, err);
}

static int
make_changes(struct fb_state *state, const json_t *changes,
    struct undos *undos, struct fb_error *err)
{
	int rc = FB_OK;

	if (!json_is_array(changes))
		return state_change_fail(err, "is an object, several are an array");
	for (size_t i = 0; rc == FB_OK && i < json_array_size(changes); i++)
		rc = make_change(state, json_array_get(changes, i), undos, err);
	return rc;
}

/* One record: what its line may hold was checked when it was made. */
static int
append_changes(struct fb_state *state, const json_t *changes, bool durable,
    struct fb_error *err)
{
	FB_AUTO_JSON json_t *body = json_pack("{s:O}", "changes", changes);
	FB_AUTO_BUF struct fb_buf text = { 0 };
	int rc;

	fb_json_add(&text, changes);
	if (text.len > FB_STATE_CHANGE_MAX)
		return state_change_fail(
		    err, "together with those beside it has over 512 KiB");
	rc = check_shape(body, err);
	if (rc < 0)
		return rc;
	rc = fb_journal_append(state->journal, "change", body, durable, err);
	if (rc == FB_OK)
		state->records++;
	return rc;
}

int
fb_state_change(struct fb_state *state, const json_t *changes, bool durable,
    struct fb_error *err)
{
	/* A deep copy: entries must not change behind our back. */
	FB_AUTO_JSON json_t *own = json_deep_copy(changes);
	struct undos undos = { 0 };
	int rc = make_changes(state, own, &undos, err);

	if (rc == FB_OK && undos.count > 0)
		rc = append_changes(state, own, durable, err);
	end_undos(&undos, rc < 0 ? state : NULL);
	return rc;
}

int
fb_state_sync(struct fb_state *state, struct fb_error *err)
{
	FB_AUTO_JSON json_t *body = json_object();

	return fb_journal_append(state->journal, "sync", body, true, err);
}

/* The journal. */

static int
see_begin(struct fb_state *state, const json_t *body, struct fb_error *err)
{
	uint64_t format;
	int rc =
	    fb_json_u64(body, "format", "state", UINT64_MAX, &format, err);

	if (rc < 0)
		return rc;
	if (format > FORMAT)
		return fb_fail(err, FB_ETOONEW,
		    "a state of format %" PRIu64 " is newer than this program",
		    format);
	state->begun = true;
	return FB_OK;
}

/* Entries as they are, of a journal that was written anew. */
static int
see_entry(struct fb_state *state, const json_t *body, struct fb_error *err)
{
	const char *kind_name, *id;
	enum fb_state_kind kind = FB_STATE_KIND_COUNT;
	json_t *entry;
	int rc = fb_json_str(body, "kind", "entry", &kind_name, err);

	if (rc == FB_OK)
		rc = fb_state_kind_parse(kind_name, &kind, err);
	if (rc == FB_OK)
		rc = fb_json_str(body, "id", "entry", &id, err);
	if (rc == FB_OK)
		rc = fb_json_object(body, "entry", "entry", &entry, err);
	if (rc == FB_OK)
		rc = state_change_check(
		    &(struct change){ .kind = kind, .id = id, .entry = entry },
		    err);
	if (rc == FB_OK)
		set_entry(state, kind, id, entry);
	return rc;
}

static int
see_changes(struct fb_state *state, const json_t *body, struct fb_error *err)
{
	struct undos undos = { 0 };
	int rc = make_changes(
	    state, json_object_get(body, "changes"), &undos, err);

	end_undos(&undos, NULL);
	return rc;
}

static int
see(const struct fb_journal_record *record, void *arg, struct fb_error *err)
{
	struct fb_state *state = arg;
	struct fb_error inner;
	int rc = FB_OK;

	state->records++;
	if (strcmp(record->type, "state") == 0)
		rc = see_begin(state, record->body, err);
	else if (!state->begun)
		rc = fb_fail(err, FB_ECORRUPT,
		    "it is a journal, but not one of a state");
	else if (strcmp(record->type, "entry") == 0)
		rc = see_entry(state, record->body, err);
	else if (strcmp(record->type, "change") == 0)
		rc = see_changes(state, record->body, err);
	else if (strcmp(record->type, "sync") != 0)
		rc = fb_fail(err, FB_ECORRUPT, "a record '%s'", record->type);
	if (rc == FB_OK || rc == FB_ETOONEW)
		return rc;
	inner = *err;
	(void)fb_fail_id(err, FB_ECORRUPT, "E-STATE",
	    "journal '%s/journal': record %" PRIu64 ": %s", state->dir,
	    record->sequence, inner.msg);
	return fb_hint(err, "nothing was changed; see fleetbak-state(1)");
}

static json_t *
begin_record(void)
{
	return json_pack("{s:i}", "format", FORMAT);
}

/* Write the journal anew, with what there is. */
static int
compact(struct fb_state *state, size_t live, struct fb_error *err)
{
	FB_AUTO_JSON json_t *bodies = json_array();
	struct fb_journal_record *records =
	    fb_alloc(live + 1, sizeof(*records));
	size_t count = 0;
	int rc;

	(void)json_array_append_new(bodies, begin_record());
	records[count++] = (struct fb_journal_record){ 0, "state",
		json_array_get(bodies, 0) };
	for (size_t kind = 0; kind < FB_STATE_KIND_COUNT; kind++) {
		const char *id;
		json_t *entry;

		json_object_foreach(state->kinds[kind], id, entry) {
			json_t *body =
			    entry_record((enum fb_state_kind)kind, id, entry);

			(void)json_array_append_new(bodies, body);
			records[count++] =
			    (struct fb_journal_record){ 0, "entry", body };
		}
	}
	rc = fb_journal_compact(state->journal, records, count, err);
	free(records);
	if (rc == FB_OK)
		state->records = count;
	return rc;
}

static int
compact_if_worth(struct fb_state *state, struct fb_error *err)
{
	size_t live = 0;

	for (size_t i = 0; i < FB_STATE_KIND_COUNT; i++)
		live += json_object_size(state->kinds[i]);
	if (state->records < SMALL || state->records / 2 < live)
		return FB_OK;
	return compact(state, live, err);
}

static int
open_journal(struct fb_state *state, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_path_join(state->dir, "journal");
	FB_AUTO_JSON json_t *begin = begin_record();
	int rc = fb_journal_open(path, see, state, &state->journal, err);

	if (rc == FB_ENOTFOUND)
		rc = fb_journal_create(path, &state->journal, err);
	/* Whoever made it may have died before its second record. */
	if (rc == FB_OK && !state->begun)
		rc = fb_journal_append(
		    state->journal, "state", begin, true, err);
	if (rc == FB_OK)
		state->begun = true;
	if (rc == FB_OK)
		rc = compact_if_worth(state, err);
	return rc;
}

int
fb_state_open(const char *dir, uint64_t wait_ms, const atomic_bool *cancel,
    struct fb_state **ret, struct fb_error *err)
{
	FB_AUTO_STATE struct fb_state *state = new_state(dir);
	FB_AUTO_FREE char *lock = fb_path_join(dir, "lock");
	int rc = own_dir_take(dir, err);

	if (rc < 0)
		return rc;
	state->lock = fb_lock_take(lock, wait_ms, cancel, "state", err);
	if (state->lock < 0)
		return state->lock;
	rc = open_journal(state, err);
	if (rc < 0)
		return rc;
	*ret = FB_STEAL(state);
	return FB_OK;
}

int
fb_state_look(const char *dir, struct fb_state **ret, struct fb_error *err)
{
	FB_AUTO_STATE struct fb_state *state = new_state(dir);
	FB_AUTO_FREE char *path = fb_path_join(dir, "journal");
	int rc = own_dir_read(path, see, state, err);

	if (rc == FB_ENOTFOUND)
		return fb_fail_id(err, FB_ENOTFOUND, "E-STATE-NONE",
		    "there is no state in '%s'", dir);
	if (rc < 0)
		return rc;
	*ret = FB_STEAL(state);
	return FB_OK;
}

void
fb_state_close(struct fb_state *state)
{
	if (state == NULL)
		return;
	fb_journal_close(state->journal);
	if (state->lock >= 0)
		(void)close(state->lock);
	for (size_t i = 0; i < FB_STATE_KIND_COUNT; i++)
		json_decref(state->kinds[i]);
	json_decref(state->ports);
	free(state->dir);
	free(state);
}

void
fb_state_closep(struct fb_state **state)
{
	fb_state_close(*state);
}

/* Questions. */

int
fb_state_get(const struct fb_state *state, enum fb_state_kind kind,
    const char *id, const json_t **ret_entry, struct fb_error *err)
{
	*ret_entry = json_object_get(state->kinds[kind], id);
	return *ret_entry != NULL
	    ? FB_OK
	    : fb_fail_id(err, FB_ENOTFOUND, "E-STATE-NONE",
	          "there is no %s '%s'", fb_state_kind_name(kind), id);
}

static bool
is_of(enum fb_state_kind kind, const char *id, const json_t *entry,
    const char *machine)
{
	const char *its = kind == FB_STATE_MACHINE || kind == FB_STATE_OPERATION
	    ? id
	    : json_string_value(json_object_get(entry, "machine"));

	return its != NULL && strcmp(its, machine) == 0;
}

json_t *
fb_state_list(const struct fb_state *state, enum fb_state_kind kind,
    const char *machine)
{
	json_t *list = json_array();
	json_t *entry;
	const char *id;

	json_object_foreach(state->kinds[kind], id, entry) {
		if (machine == NULL || is_of(kind, id, entry, machine))
			(void)json_array_append_new(list,
			    json_pack("{s:s,s:O}", "id", id, "entry", entry));
	}
	return list;
}

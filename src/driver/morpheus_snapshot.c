/* Snapshots of Morpheus: made under a name of ours, found, removed. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/crypto/digest.h"

#include "morpheus_internal.h"

#define PREFIX      "fleetbak-"
#define OWNER_CHARS 8

/* What the description of one says of where it is read. */
#define MADE "Made by fleetbak; read on "

void
fb_morpheus_snapshot_release(struct fb_morpheus_snapshot *snapshot)
{
	json_decref(snapshot->json);
	*snapshot = (struct fb_morpheus_snapshot){ 0 };
}

/* --------------------------------------------------------------- names */

char *
fb_morpheus_name(const char *machine, const char *token, const char *owner)
{
	char hex[FB_DIGEST_HEX_SIZE] = "0";
	struct fb_digest digest;

	if (owner != NULL) {
		fb_digest_of((struct fb_span){ (const uint8_t *)owner,
		                 strlen(owner) },
		    &digest);
		fb_digest_hex(&digest, hex);
	}
	return fb_format(PREFIX "%s-%.*s-%s", machine, OWNER_CHARS, hex, token);
}

const char *
fb_morpheus_token_of(
    const char *name, const char *machine, const char **ret_owner)
{
	size_t prefix = strlen(PREFIX), len = strlen(machine), digits;

	if (strncmp(name, PREFIX, prefix) != 0 ||
	    strncmp(name + prefix, machine, len) != 0 ||
	    name[prefix + len] != '-')
		return NULL;
	*ret_owner = name + prefix + len + 1;
	digits = strspn(*ret_owner, "0123456789abcdef");
	if ((digits != OWNER_CHARS && (digits != 1 || **ret_owner != '0')) ||
	    (*ret_owner)[digits] != '-')
		return NULL;
	name = *ret_owner + digits + 1;
	return fb_name_ok(name, strlen(name)) ? name : NULL;
}

static bool
same_owner(const char *a, const char *b)
{
	size_t len = strcspn(a, "-");

	return len == strcspn(b, "-") && strncmp(a, b, len) == 0;
}

bool
fb_morpheus_is_whole(const struct fb_morpheus_snapshot *snapshot)
{
	return strcmp(snapshot->status, "complete") == 0;
}

static bool
is_failed(const struct fb_morpheus_snapshot *snapshot)
{
	return strcmp(snapshot->status, "failed") == 0 ||
	    strcmp(snapshot->status, "error") == 0;
}

/* ------------------------------------------------------------- looking */

typedef int visit_mine(void *arg, const struct fb_morpheus_snapshot *mine,
    const char *token, const char *owner, struct fb_error *err);

struct looking {
	const char *machine;
	visit_mine *visit;
	void *arg;
};

static int
judge(void *arg, const json_t *item, struct fb_error *err)
{
	const struct looking *looking = arg;
	struct fb_morpheus_snapshot mine = {
		.json = (json_t *)(uintptr_t)item,
		.id = fb_morpheus_id(item, "id"),
		.name = fb_morpheus_text(item, "name"),
		.status = fb_morpheus_text(item, "status")
	};
	const char *owner, *token =
	    fb_morpheus_token_of(mine.name, looking->machine, &owner);

	return token == NULL || mine.id < 0
	    ? FB_OK
	    : looking->visit(looking->arg, &mine, token, owner, err);
}

/* Those of ours that a machine has. */
static int
visit_mines(struct fb_morpheus *m, const char *machine, visit_mine *visit,
    void *arg, struct fb_error *err)
{
	static const char *const keys[] = { "snapshots", NULL };
	FB_AUTO_FREE char *path =
	    fb_morpheus_server_path(machine, "/snapshots");
	FB_AUTO_PAGE struct fb_page page = { .style = FB_PAGE_NONE,
		.keys = keys, .id = "id" };
	struct looking looking = { machine, visit, arg };
	int rc = fb_morpheus_id_check(machine, err);

	return rc < 0 ? rc
	              : fb_api_list(m->api, path, &page, NULL, judge,
	                    &looking, err);
}

struct wanted {
	const char *token;
	struct fb_morpheus_snapshot *found;
};

static int
take_wanted(void *arg, const struct fb_morpheus_snapshot *mine,
    const char *token, const char *owner, struct fb_error *err)
{
	const struct wanted *wanted = arg;
	struct fb_morpheus_snapshot *found = wanted->found;

	(void)owner;
	(void)err;
	if (strcmp(token, wanted->token) != 0)
		return FB_OK;
	if (found->json != NULL &&
	    (fb_morpheus_is_whole(mine) == fb_morpheus_is_whole(found)
	            ? mine->id > found->id
	            : fb_morpheus_is_whole(found)))
		return FB_OK;
	json_decref(found->json);
	*found = *mine;
	(void)json_incref(found->json);
	return FB_OK;
}

int
fb_morpheus_look(struct fb_morpheus *m, const char *machine,
    const char *token, struct fb_morpheus_snapshot *ret_snapshot,
    struct fb_error *err)
{
	struct wanted wanted = { token, ret_snapshot };
	int rc;

	fb_morpheus_snapshot_release(ret_snapshot);
	rc = visit_mines(m, machine, take_wanted, &wanted, err);
	if (rc < 0 || ret_snapshot->json != NULL)
		return rc;
	return fb_fail(err, FB_ENOTFOUND,
	    "machine '%s' has no snapshot of '%s'", machine, token);
}

/* Until it is listed, and then until it is whole.  What is not listed for
 * `appear_ms` is not there. */
static int
await_whole(struct fb_morpheus *m, const char *machine, const char *token,
    uint64_t appear_ms, uint64_t whole_ms, const atomic_bool *cancel,
    struct fb_morpheus_snapshot *found, struct fb_error *err)
{
	struct fb_morpheus_wait appear =
	    fb_morpheus_wait_for(appear_ms, cancel);
	struct fb_morpheus_wait whole = fb_morpheus_wait_for(whole_ms, cancel);
	struct fb_error late = { 0 };
	int rc;

	for (;;) {
		rc = fb_morpheus_look(m, machine, token, found, err);
		if (rc == FB_OK && fb_morpheus_is_whole(found))
			return FB_OK;
		if (rc == FB_OK && is_failed(found))
			return fb_fail_id(err, FB_EFAILED,
			    "E-MORPHEUS-PROCESS",
			    "the snapshot '%s' has failed", found->name);
		if (rc < 0 && rc != FB_ENOTFOUND)
			return rc;
		if (fb_morpheus_wait(rc == FB_OK ? &whole : &appear,
		        "the snapshot is being made", &late) == FB_OK) {
			*err = (struct fb_error){ 0 };
			continue;
		}
		if (rc == FB_ENOTFOUND && late.code == FB_ETIMEOUT)
			return rc;
		*err = late;
		return late.code;
	}
}

/* What was asked for without an answer may appear late. */
int
fb_morpheus_find_by_token(struct fb_driver *base,
    const struct fb_machine *machine, const char *token, struct fb_error *err)
{
	struct fb_morpheus *m = (struct fb_morpheus *)base;
	FB_AUTO_MORPHEUS_SNAPSHOT struct fb_morpheus_snapshot found = { 0 };

	return await_whole(m, machine->id, token, m->settle_ms, m->settle_ms,
	    NULL, &found, err);
}

/* -------------------------------------------------------------- making */

const char *
fb_morpheus_host_of(const struct fb_morpheus_snapshot *snapshot,
    const struct fb_morpheus_server *server)
{
	const char *text = fb_morpheus_text(snapshot->json, "description");
	size_t len = strlen(MADE);

	return strncmp(text, MADE, len) == 0 &&
	        fb_name_ok(text + len, strlen(text + len))
	    ? text + len
	    : server->host;
}

static int
ask_create(struct fb_morpheus *m, const struct fb_machine *machine,
    const struct fb_verb *verb, struct fb_api_answer *ret_answer,
    struct fb_error *err)
{
	FB_AUTO_FREE char *path =
	    fb_morpheus_server_path(machine->id, "/snapshot");
	FB_AUTO_FREE char *name =
	    fb_morpheus_name(machine->id, verb->token, verb->owner);
	FB_AUTO_MORPHEUS_SERVER struct fb_morpheus_server server = { 0 };
	FB_AUTO_FREE char *text = NULL;
	FB_AUTO_JSON json_t *body = NULL;
	int rc = fb_morpheus_server(m, machine->id, &server, err);

	if (rc < 0)
		return rc;
	text = fb_format(MADE "%s", server.host);
	body = json_pack("{s:{s:s,s:s,s:b,s:b}}", "snapshot", "name", name,
	    "description", text, "memorySnapshot", 0, "forExport",
	    verb->for_export);
	return fb_morpheus_do(m, "PUT", path, body, false, ret_answer, err);
}

/* Of a process that has ended: FB_PENDING it has not. */
static int
judge_process(const json_t *process, int64_t id, struct fb_error *err)
{
	static const char *const bad[] = { "failed", "expired", "cancelled",
		"canceled" };
	static const char *const keys[] = { "reason", "error", "message" };
	const char *status = fb_morpheus_text(process, "status");
	const char *why = "";

	if (strcmp(status, "complete") == 0)
		return FB_OK;
	for (size_t i = 0; i < FB_COUNT(keys) && why[0] == '\0'; i++)
		why = fb_morpheus_text(process, keys[i]);
	for (size_t i = 0; i < FB_COUNT(bad); i++)
		if (strcmp(status, bad[i]) == 0)
			return fb_fail_id(err, FB_EFAILED,
			    "E-MORPHEUS-PROCESS",
			    "process %lld, which makes the snapshot, is "
			    "%s%s%.200s",
			    (long long)id, status, why[0] != '\0' ? ": " : "",
			    why);
	return FB_PENDING; /* also of a word that nobody knows */
}

static int
await_process(struct fb_morpheus *m, int64_t id, struct fb_morpheus_wait *wait,
    struct fb_error *err)
{
	FB_AUTO_FREE char *path =
	    fb_format("/api/processes/%lld", (long long)id);

	for (;;) {
		FB_AUTO_JSON json_t *process = NULL;
		int rc = fb_morpheus_get(m, path, "process", &process, err);

		if (rc == FB_ENOTFOUND) { /* then the list tells */
			*err = (struct fb_error){ 0 };
			return FB_OK;
		}
		if (rc == FB_OK)
			rc = judge_process(process, id, err);
		if (rc == FB_PENDING)
			rc = fb_morpheus_wait(
			    wait, "the snapshot is being made", err);
		else
			return rc;
		if (rc < 0)
			return rc;
	}
}

static int
await_processes(struct fb_morpheus *m, const json_t *answer,
    const struct fb_verb *verb, struct fb_error *err)
{
	struct fb_morpheus_wait wait = fb_morpheus_wait_for(
	    verb->timeout_ms > 0 ? verb->timeout_ms : m->create_ms,
	    verb->cancel);
	const json_t *list = json_object_get(answer, "processIds"), *id;
	size_t index;
	int rc = FB_OK;

	json_array_foreach(list, index, id)
		if (rc == FB_OK && json_is_integer(id) &&
		    json_integer_value(id) > 0)
			rc = await_process(
			    m, json_integer_value(id), &wait, err);
	return rc;
}

int
fb_morpheus_check_export(struct fb_morpheus *m, const char *machine,
    const struct fb_morpheus_snapshot *snapshot, struct fb_error *err)
{
	FB_AUTO_MORPHEUS_SERVER struct fb_morpheus_server server = { 0 };
	FB_AUTO_MORPHEUS_VOLUMES struct fb_morpheus_volumes volumes = { 0 };
	int rc = fb_morpheus_server(m, machine, &server, err);

	if (rc == FB_OK)
		rc = fb_morpheus_volumes(m, server.json, &volumes, err);
	for (size_t i = 0; rc == FB_OK && i < volumes.count; i++) {
		const struct fb_morpheus_volume *volume = &volumes.items[i];
		FB_AUTO_MORPHEUS_PLACE struct fb_morpheus_place place = { 0 };
		struct fb_error ignored = { 0 };
		struct fb_morpheus_file file;
		bool qcow2;

		if (volume->guessed &&
		    fb_morpheus_file_of(
		        snapshot, volume->id, &file, &ignored) == FB_OK) {
			(void)fb_fail_id(err, FB_EUNSUP, "E-MORPHEUS-EXPORT",
			    "volume '%s' looks like a removable medium by its "
			    "name, and the snapshot has it",
			    volume->name);
			return fb_hint(err, "say so in 'removable' of the "
					    "source, or rename it");
		}
		if (volume->removable)
			continue;
		rc = fb_morpheus_place(m,
		    fb_morpheus_host_of(snapshot, &server), snapshot,
		    volume->id, &place, err);
		if (rc == FB_OK)
			rc = fb_morpheus_look_at(&place, &qcow2, err);
		if (rc < 0)
			(void)fb_wrap(err, "volume '%s'", volume->name);
	}
	return rc;
}

static int
make(struct fb_morpheus *m, const struct fb_machine *machine,
    const struct fb_verb *verb, struct fb_morpheus_snapshot *found,
    struct fb_error *err)
{
	FB_AUTO_API_ANSWER struct fb_api_answer answer = { 0 };
	int rc = ask_create(m, machine, verb, &answer, err);

	/* Without an answer it may come about all the same. */
	if (rc == FB_EUNKNOWN || rc == FB_ETIMEOUT) {
		struct fb_error lost = *err;

		rc = await_whole(m, machine->id, verb->token, m->settle_ms,
		    m->create_ms, verb->cancel, found, err);
		if (rc == FB_ENOTFOUND)
			*err = lost;
		return rc == FB_ENOTFOUND ? lost.code : rc;
	}
	if (rc == FB_OK)
		rc = await_processes(m, answer.json, verb, err);
	if (rc < 0)
		return rc;
	rc = await_whole(m, machine->id, verb->token, m->settle_ms,
	    m->create_ms, verb->cancel, found, err);
	if (rc == FB_ENOTFOUND)
		rc = fb_fail(err, FB_EUNKNOWN,
		    "morpheus has ended making the snapshot, and does not "
		    "list it");
	return rc;
}

int
fb_morpheus_create_snapshot(struct fb_driver *base,
    const struct fb_machine *machine, const struct fb_verb *verb,
    struct fb_error *err)
{
	struct fb_morpheus *m = (struct fb_morpheus *)base;
	FB_AUTO_MORPHEUS_SNAPSHOT struct fb_morpheus_snapshot found = { 0 };
	int rc =
	    fb_morpheus_look(m, machine->id, verb->token, &found, err);

	if (rc == FB_ENOTFOUND && !verb->adopts) {
		*err = (struct fb_error){ 0 };
		rc = make(m, machine, verb, &found, err);
	} else if (rc == FB_OK)
		rc = await_whole(m, machine->id, verb->token, 0, m->create_ms,
		    verb->cancel, &found, err);
	return rc < 0 || !verb->for_export
	    ? rc
	    : fb_morpheus_check_export(m, machine->id, &found, err);
}

/* ------------------------------------------------------------- listing */

struct mine {
	struct fb_morpheus_snapshot snapshot;
	const char *token, *owner; /* in its JSON */
};

struct mines {
	struct mine *items;
	size_t count;
};

static void
release_mines(struct mines *mines)
{
	for (size_t i = 0; i < mines->count; i++)
		fb_morpheus_snapshot_release(&mines->items[i].snapshot);
	free(mines->items);
}

static int
take_mine(void *arg, const struct fb_morpheus_snapshot *mine,
    const char *token, const char *owner, struct fb_error *err)
{
	struct mines *mines = arg;

	(void)err;
	mines->items = fb_realloc(
	    mines->items, mines->count + 1, sizeof(*mines->items));
	mines->items[mines->count++] = (struct mine){ *mine, token, owner };
	(void)json_incref(mine->json);
	return FB_OK;
}

/* Is it the one that stays?  Each owner has one: his newest that is whole. */
static bool
is_kept(const struct fb_morpheus *m, const struct mines *mines, size_t index)
{
	const struct mine *mine = &mines->items[index];

	if (!m->keep || !fb_morpheus_is_whole(&mine->snapshot))
		return false;
	for (size_t i = 0; i < mines->count; i++)
		if (same_owner(mines->items[i].owner, mine->owner) &&
		    fb_morpheus_is_whole(&mines->items[i].snapshot) &&
		    mines->items[i].snapshot.id > mine->snapshot.id)
			return false;
	return true;
}

struct ids {
	json_t *list;
};

static int
take_id(void *arg, const json_t *item, struct fb_error *err)
{
	(void)err;
	(void)json_array_append_new(((struct ids *)arg)->list,
	    json_integer(fb_morpheus_id(item, "id")));
	return FB_OK;
}

/* One that went away meanwhile has none. */
static int
list_of(struct fb_morpheus *m, const char *machine,
    fb_driver_visit_token *visit, void *arg, struct fb_error *err)
{
	FB_CLEANUP(release_mines) struct mines mines = { 0 };
	int rc = visit_mines(m, machine, take_mine, &mines, err);

	if (rc == FB_ENOTFOUND) {
		*err = (struct fb_error){ 0 };
		return FB_OK;
	}
	for (size_t i = 0; rc == FB_OK && i < mines.count; i++)
		if (!is_kept(m, &mines, i))
			rc = visit(machine, mines.items[i].token, arg, err);
	return rc;
}

int
fb_morpheus_list_snapshots(struct fb_driver *base,
    fb_driver_visit_token *visit, void *arg, struct fb_error *err)
{
	struct fb_morpheus *m = (struct fb_morpheus *)base;
	FB_AUTO_JSON json_t *list = json_array();
	struct ids ids = { list };
	const json_t *id;
	size_t index;
	int rc = fb_morpheus_servers(m, true, take_id, &ids, err);

	json_array_foreach(list, index, id) {
		FB_AUTO_FREE char *machine = fb_format(
		    "%lld", (long long)json_integer_value(id));

		if (rc == FB_OK)
			rc = list_of(m, machine, visit, arg, err);
	}
	return rc;
}

/* ------------------------------------------------------------ removing */

/* The appliance says that it has begun to remove it, and nothing more. */
static int
ask_remove(struct fb_morpheus *m, const char *machine,
    const struct fb_morpheus_snapshot *snapshot, struct fb_error *err)
{
	FB_AUTO_FREE char *path =
	    fb_format("/api/snapshots/%lld", (long long)snapshot->id);
	FB_AUTO_MORPHEUS_SERVER struct fb_morpheus_server server = { 0 };
	struct fb_error ignored = { 0 };
	int rc;

	if (fb_morpheus_server(m, machine, &server, &ignored) == FB_OK)
		fb_morpheus_let_go(m,
		    fb_morpheus_host_of(snapshot, &server), snapshot);
	rc = fb_morpheus_do(m, "DELETE", path, NULL, true, NULL, err);
	if (rc == FB_ENOTFOUND) {
		*err = (struct fb_error){ 0 };
		rc = FB_OK;
	}
	return rc;
}

static bool
is_listed(const struct mines *mines, int64_t id)
{
	for (size_t i = 0; i < mines->count; i++)
		if (mines->items[i].snapshot.id == id)
			return true;
	return false;
}

static int
remove_one(struct fb_morpheus *m, const char *machine,
    const struct fb_morpheus_snapshot *snapshot, const struct fb_verb *verb,
    struct fb_error *err)
{
	struct fb_morpheus_wait wait = fb_morpheus_wait_for(
	    verb->timeout_ms > 0 ? verb->timeout_ms : m->create_ms,
	    verb->cancel);
	int rc = ask_remove(m, machine, snapshot, err);

	while (rc == FB_OK) {
		FB_CLEANUP(release_mines) struct mines mines = { 0 };

		rc = visit_mines(m, machine, take_mine, &mines, err);
		if (rc == FB_OK && !is_listed(&mines, snapshot->id))
			return FB_OK;
		if (rc == FB_OK)
			rc = fb_morpheus_wait(
			    &wait, "its snapshot is being removed", err);
	}
	if (rc == FB_ENOTFOUND) {
		*err = (struct fb_error){ 0 };
		rc = FB_OK;
	}
	return rc;
}

/* All of the token, of which there may be two when an answer was lost; where
 * the newest one stays, all others of the owner. */
int
fb_morpheus_remove_snapshot(struct fb_driver *base,
    const struct fb_machine *machine, const struct fb_verb *verb,
    struct fb_error *err)
{
	struct fb_morpheus *m = (struct fb_morpheus *)base;
	FB_AUTO_FREE char *own =
	    fb_morpheus_name(machine->id, verb->token, verb->owner);
	FB_CLEANUP(release_mines) struct mines mines = { 0 };
	const char *owner = NULL;
	int rc = visit_mines(m, machine->id, take_mine, &mines, err);

	(void)fb_morpheus_token_of(own, machine->id, &owner);
	if (rc == FB_ENOTFOUND) {
		*err = (struct fb_error){ 0 };
		return FB_OK;
	}
	for (size_t i = 0; rc == FB_OK && i < mines.count; i++) {
		const struct mine *mine = &mines.items[i];
		bool ours = strcmp(mine->token, verb->token) == 0 ||
		    (m->keep && owner != NULL &&
		        same_owner(mine->owner, owner));

		if (ours && !is_kept(m, &mines, i))
			rc = remove_one(
			    m, machine->id, &mine->snapshot, verb, err);
	}
	return rc;
}

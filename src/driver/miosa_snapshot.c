/* Snapshots of MIOSA: made, looked for by our name, listed, removed. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/base/text.h"
#include "fleetbak/crypto/digest.h"

#include "miosa_internal.h"

/* A create without an answer may come about yet. */
#define LOST_MS 8000
#define REMOVE_MS 60000

#define PREFIX      "fleetbak."
#define NOBODY      "00000000"
#define OWNER_CHARS (FB_MIOSA_OWNER_SIZE - 1)

enum fb_miosa_state
fb_miosa_state_class(const char *status)
{
	static const struct {
		const char *word;
		enum fb_miosa_state state;
	} words[] = {
		{ "ready", FB_MIOSA_READY },
		{ "failed", FB_MIOSA_BROKEN },
		{ "error", FB_MIOSA_BROKEN },
		{ "quarantined", FB_MIOSA_BROKEN },
		{ "deleted", FB_MIOSA_GONE },
		{ "deleting", FB_MIOSA_GONE },
	};

	for (size_t i = 0; i < FB_COUNT(words); i++)
		if (strcmp(status, words[i].word) == 0)
			return words[i].state;
	return FB_MIOSA_MAKING;
}

const char *
fb_miosa_status_of(const json_t *snapshot)
{
	const char *status = fb_miosa_text(snapshot, "status");

	return status[0] != '\0' ? status : fb_miosa_text(snapshot, "state");
}

/* --------------------------------------------------------------- labels */

char *
fb_miosa_label(const char *owner, const char *token)
{
	char hex[FB_DIGEST_HEX_SIZE];
	struct fb_digest digest;

	if (owner == NULL)
		return fb_format(PREFIX NOBODY ".%s", token);
	fb_digest_of(
	    (struct fb_span){ (const uint8_t *)owner, strlen(owner) },
	    &digest);
	fb_digest_hex(&digest, hex);
	return fb_format(PREFIX "%.*s.%s", OWNER_CHARS, hex, token);
}

bool
fb_miosa_label_parse(const char *label, char owner[FB_MIOSA_OWNER_SIZE],
    const char **ret_token)
{
	const char *at = label + strlen(PREFIX);

	if (strncmp(label, PREFIX, strlen(PREFIX)) != 0 ||
	    strspn(at, "0123456789abcdef") != OWNER_CHARS ||
	    at[OWNER_CHARS] != '.')
		return false;
	memcpy(owner, at, OWNER_CHARS);
	owner[OWNER_CHARS] = '\0';
	*ret_token = at + OWNER_CHARS + 1;
	return fb_name_ok(*ret_token, strlen(*ret_token));
}

const char *
fb_miosa_label_of(const json_t *snapshot)
{
	static const char *const keys[] = { "name", "comment" };
	char owner[FB_MIOSA_OWNER_SIZE];
	const char *token;

	for (size_t i = 0; i < FB_COUNT(keys); i++) {
		const char *text = fb_miosa_text(snapshot, keys[i]);

		if (fb_miosa_label_parse(text, owner, &token))
			return text;
	}
	return NULL;
}

/* -------------------------------------------------------------- looking */

char *
fb_miosa_snapshot_path(enum fb_miosa_family family, const char *computer,
    const char *sid, const char *rest)
{
	FB_AUTO_BUF struct fb_buf path = { 0 };

	fb_buf_add_str(&path, "/computers/");
	fb_api_add_encoded(&path, computer);
	fb_buf_add_fmt(&path, "/%s",
	    family == FB_MIOSA_CHECKPOINTS ? "checkpoints" : "snapshots");
	if (sid != NULL) {
		fb_buf_add_str(&path, "/");
		fb_api_add_encoded(&path, sid);
	}
	fb_buf_add_str(&path, rest);
	return (char *)fb_buf_steal(&path);
}

/* One of ours. */
struct mine {
	char *id, *computer, *token;
	char owner[FB_MIOSA_OWNER_SIZE];
	enum fb_miosa_state state;
};

struct mines {
	const char *computer; /* whose the list is; NULL: it says it */
	struct mine *items;
	size_t count;
};

static void
release_mines(struct mines *mines)
{
	for (size_t i = 0; i < mines->count; i++) {
		free(mines->items[i].id);
		free(mines->items[i].computer);
		free(mines->items[i].token);
	}
	free(mines->items);
}

static int
add_mine(void *arg, const json_t *item, struct fb_error *err)
{
	struct mines *mines = arg;
	const char *label = fb_miosa_label_of(item);
	const char *computer = mines->computer, *token;
	struct mine mine = { .state = fb_miosa_state_class(
		                 fb_miosa_status_of(item)) };

	(void)err;
	if (label == NULL || mine.state == FB_MIOSA_GONE ||
	    !fb_miosa_label_parse(label, mine.owner, &token) ||
	    !fb_miosa_id_ok(fb_miosa_text(item, "id")))
		return FB_OK;
	if (computer == NULL)
		computer = fb_miosa_text(
		    json_object_get(item, "resource"), "id");
	if (computer[0] == '\0')
		computer = fb_miosa_text(item, "computer_id");
	if (!fb_name_ok(computer, strlen(computer)))
		return FB_OK;
	mine.id = fb_strdup(fb_miosa_text(item, "id"));
	mine.computer = fb_strdup(computer);
	mine.token = fb_strdup(token);
	mines->items = fb_realloc(
	    mines->items, mines->count + 1, sizeof(*mines->items));
	mines->items[mines->count++] = mine;
	return FB_OK;
}

static int
list_of(struct fb_miosa *miosa, enum fb_miosa_family family,
    const char *computer, struct mines *mines, struct fb_error *err)
{
	FB_AUTO_FREE char *path =
	    fb_miosa_snapshot_path(family, computer, NULL, "");

	mines->computer = computer;
	return fb_miosa_list(miosa, path, add_mine, mines, err);
}

/* The same of one that may be gone: then the account still has them. */
static int
list_left(struct fb_miosa *miosa, enum fb_miosa_family family,
    const char *computer, struct mines *mines, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf path = { 0 };
	int rc = list_of(miosa, family, computer, mines, err);

	if (rc != FB_ENOTFOUND)
		return rc;
	*err = (struct fb_error){ 0 };
	if (family != FB_MIOSA_ACCOUNT)
		return FB_OK;
	fb_buf_add_str(&path, "/snapshots?resource_id=");
	fb_api_add_encoded(&path, computer);
	return fb_miosa_list(
	    miosa, fb_buf_str(&path), add_mine, mines, err);
}

/* The whole one; else one that is being made, else what is left of one. */
static const struct mine *
best_of(const struct mines *mines, const char *token)
{
	const struct mine *best = NULL;

	for (size_t i = 0; i < mines->count; i++) {
		const struct mine *mine = &mines->items[i];

		if (strcmp(mine->token, token) != 0)
			continue;
		if (best == NULL || mine->state == FB_MIOSA_READY ||
		    (best->state == FB_MIOSA_BROKEN &&
		        mine->state == FB_MIOSA_MAKING))
			best = mine;
		if (best->state == FB_MIOSA_READY)
			break;
	}
	return best;
}

static int
none(const char *computer, const char *token, struct fb_error *err)
{
	return fb_fail(err, FB_ENOTFOUND,
	    "MIOSA has no snapshot of '%s' with '%s' in its name or comment",
	    computer, token);
}

/* That of a token, in whatever state; FB_ENOTFOUND. */
static int
look(struct fb_miosa *miosa, enum fb_miosa_family family,
    const char *computer, const char *token, char **ret_sid,
    enum fb_miosa_state *ret_state, struct fb_error *err)
{
	FB_CLEANUP(release_mines) struct mines mines = { 0 };
	const struct mine *mine;
	int rc = list_left(miosa, family, computer, &mines, err);

	if (rc < 0)
		return rc;
	mine = best_of(&mines, token);
	if (mine == NULL)
		return none(computer, token, err);
	*ret_sid = fb_strdup(mine->id);
	*ret_state = mine->state;
	return FB_OK;
}

/* ------------------------------------------------------------- awaiting */

static int
failed(const json_t *snapshot, const char *sid, struct fb_error *err)
{
	const char *why = fb_miosa_text(snapshot, "error");

	(void)fb_fail_id(err, FB_EFAILED, "E-MIOSA-FAILED",
	    "MIOSA says of snapshot '%s': %.32s%s%.200s", sid,
	    fb_miosa_status_of(snapshot), why[0] != '\0' ? ": " : "", why);
	return fb_hint(err, "run the command again; what is left of it is "
			    "removed");
}

/* Its state alone decides.  Where there are events they tell when it is worth
 * asking; right after it was made it may not be there yet, once. */
static int
await_ready(struct fb_miosa *miosa, enum fb_miosa_family family,
    const char *computer, const char *sid, struct fb_miosa_wait *wait,
    bool *ret_labeled, struct fb_error *err)
{
	FB_AUTO_FREE char *path =
	    fb_miosa_snapshot_path(family, computer, sid, "");
	bool missed = false, watched = family == FB_MIOSA_CHECKPOINTS;

	for (;;) {
		FB_AUTO_JSON json_t *snapshot = NULL;
		int rc = fb_miosa_get(miosa, path, &snapshot, err);
		enum fb_miosa_state state =
		    fb_miosa_state_class(fb_miosa_status_of(snapshot));

		if (rc == FB_ENOTFOUND && !missed) {
			*err = (struct fb_error){ 0 };
			missed = true;
		} else if (rc < 0 || state == FB_MIOSA_READY) {
			*ret_labeled = fb_miosa_label_of(snapshot) != NULL;
			return rc;
		} else if (state == FB_MIOSA_BROKEN) {
			return failed(snapshot, sid, err);
		} else if (state == FB_MIOSA_GONE) {
			return none(computer, sid, err);
		} else if (!watched) {
			watched = true;
			fb_miosa_watch(miosa, computer, sid, wait->cancel);
			continue;
		}
		rc = fb_miosa_pause(wait, sid, err);
		if (rc == FB_ETIMEOUT)
			return fb_fail(err, FB_ETIMEOUT,
			    "snapshot '%s' is still '%.64s'", sid,
			    fb_miosa_status_of(snapshot));
		if (rc < 0)
			return rc;
	}
}

int
fb_miosa_find(struct fb_miosa *miosa, const char *computer, const char *token,
    char **ret_sid, struct fb_error *err)
{
	struct fb_miosa_wait wait =
	    fb_miosa_wait_until(miosa->create_ms, 0, NULL);
	enum fb_miosa_family family;
	enum fb_miosa_state state;
	FB_AUTO_FREE char *sid = NULL;
	bool labeled;
	int rc = fb_miosa_family(miosa, computer, &family, err);

	if (rc == FB_OK)
		rc = look(miosa, family, computer, token, &sid, &state, err);
	if (rc == FB_OK && state != FB_MIOSA_READY)
		rc = await_ready(
		    miosa, family, computer, sid, &wait, &labeled, err);
	if (rc == FB_OK)
		*ret_sid = FB_STEAL(sid);
	return rc;
}

int
fb_miosa_find_by_token(struct fb_driver *base,
    const struct fb_machine *machine, const char *token, struct fb_error *err)
{
	FB_AUTO_FREE char *sid = NULL;

	return fb_miosa_find(
	    (struct fb_miosa *)base, machine->id, token, &sid, err);
}

/* --------------------------------------------------------------- making */

/* Whichever of name and comment a deployment keeps. */
static json_t *
make_body(enum fb_miosa_family family, const char *label)
{
	return family == FB_MIOSA_CHECKPOINTS
	    ? json_pack("{s:s,s:s}", "name", label, "comment", label)
	    : json_pack("{s:s}", "comment", label);
}

/* It cannot be found again: it goes at once. */
static int
give_up_nameless(struct fb_miosa *miosa, enum fb_miosa_family family,
    const char *computer, const char *sid, struct fb_error *err)
{
	FB_AUTO_FREE char *path =
	    fb_miosa_snapshot_path(family, computer, sid, "");
	struct fb_error why = { 0 };

	(void)!fb_miosa_do(
	    miosa, "DELETE", path, NULL, NULL, NULL, NULL, &why);
	(void)fb_fail_id(err, FB_EUNSUP, "E-MIOSA-TOKEN",
	    "MIOSA keeps neither the name nor the comment that snapshot '%s' "
	    "was given%s", sid,
	    why.code < 0 ? "; and it cannot be removed" : "");
	return fb_hint(err, "without them no snapshot is known as ours; see "
			    "to the family of the source");
}

/* Without an answer, or with one that says nothing: it may come about yet. */
static int
look_for_lost(struct fb_miosa *miosa, enum fb_miosa_family family,
    const char *computer, const struct fb_verb *verb, int rc, char **ret_sid,
    struct fb_error *err)
{
	struct fb_miosa_wait wait =
	    fb_miosa_wait_until(LOST_MS, verb->timeout_ms, verb->cancel);

	for (;;) {
		struct fb_error why = { 0 };
		enum fb_miosa_state state;

		if (look(miosa, family, computer, verb->token, ret_sid,
		        &state, &why) == FB_OK) {
			*err = (struct fb_error){ 0 };
			return FB_OK;
		}
		if (fb_miosa_pause(&wait, "looking", &why) < 0)
			return rc;
	}
}

static int
ask_create(struct fb_miosa *miosa, enum fb_miosa_family family,
    const char *computer, const struct fb_verb *verb, char **ret_sid,
    struct fb_error *err)
{
	FB_AUTO_FREE char *path =
	    fb_miosa_snapshot_path(family, computer, NULL, "");
	FB_AUTO_FREE char *label = fb_miosa_label(verb->owner, verb->token);
	FB_AUTO_FREE char *key =
	    fb_miosa_key("create", computer, label);
	FB_AUTO_JSON json_t *body = make_body(family, label);
	FB_AUTO_API_ANSWER struct fb_api_answer answer = { 0 };
	static const char *const keys[] = { "data", "checkpoint", "snapshot",
		NULL };
	const char *sid;
	int rc = fb_miosa_do(miosa, "POST", path, body, key, verb->cancel,
	    &answer, err);

	sid = fb_miosa_text(fb_api_object(answer.json, keys), "id");
	if (rc == FB_OK && !fb_miosa_id_ok(sid))
		rc = fb_fail(err, FB_EPROTO,
		    "MIOSA does not say which snapshot it makes");
	if (rc == FB_EUNKNOWN || rc == FB_ETIMEOUT || rc == FB_EUNREACH ||
	    rc == FB_ERETRY || rc == FB_EPROTO)
		return look_for_lost(
		    miosa, family, computer, verb, rc, ret_sid, err);
	if (rc == FB_OK)
		*ret_sid = fb_strdup(sid);
	return rc;
}

/* One that is paused has in its memory what is not on its disk. */
static int
note_held(struct fb_miosa *miosa, const char *computer,
    const struct fb_verb *verb, struct fb_error *err)
{
	FB_AUTO_MIOSA_COMPUTER struct fb_miosa_computer now = { 0 };
	int rc = fb_miosa_computer(miosa, computer, &now, err);

	if (rc == FB_OK && now.power == FB_MIOSA_HELD &&
	    verb->ret_unclean != NULL)
		*verb->ret_unclean = true;
	return rc;
}

int
fb_miosa_create_snapshot(struct fb_driver *base,
    const struct fb_machine *machine, const struct fb_verb *verb,
    struct fb_error *err)
{
	struct fb_miosa *miosa = (struct fb_miosa *)base;
	struct fb_miosa_wait wait = fb_miosa_wait_until(
	    miosa->create_ms, verb->timeout_ms, verb->cancel);
	enum fb_miosa_family family = FB_MIOSA_AUTO;
	enum fb_miosa_state state = FB_MIOSA_MAKING;
	FB_AUTO_FREE char *sid = NULL;
	bool labeled = true;
	int rc = fb_miosa_family(miosa, machine->id, &family, err);

	if (rc == FB_OK && family == FB_MIOSA_CHECKPOINTS)
		rc = note_held(miosa, machine->id, verb, err);
	if (rc == FB_OK)
		rc = look(miosa, family, machine->id, verb->token, &sid,
		    &state, err);
	if (rc == FB_ENOTFOUND && !verb->adopts) {
		*err = (struct fb_error){ 0 };
		rc = ask_create(
		    miosa, family, machine->id, verb, &sid, err);
	}
	if (rc == FB_OK && state != FB_MIOSA_READY)
		rc = await_ready(miosa, family, machine->id, sid, &wait,
		    &labeled, err);
	return rc < 0 || labeled
	    ? rc
	    : give_up_nameless(miosa, family, machine->id, sid, err);
}

/* -------------------------------------------------------------- listing */

struct computers {
	struct fb_miosa *miosa;
	struct mines *mines;
};

static int
add_computer(void *arg, const json_t *item, struct fb_error *err)
{
	const struct computers *all = arg;
	const char *id = fb_miosa_text(item, "id");
	enum fb_miosa_family family;
	int rc;

	if (strcmp(fb_miosa_text(item, "status"), "destroyed") == 0 ||
	    !fb_miosa_id_ok(id))
		return FB_OK;
	rc = fb_miosa_family(all->miosa, id, &family, err);
	if (rc == FB_OK)
		rc = list_of(all->miosa, family, id, all->mines, err);
	if (rc != FB_ENOTFOUND)
		return rc;
	*err = (struct fb_error){ 0 }; /* it went meanwhile */
	return FB_OK;
}

/* The account's list has those of computers that are gone, too. */
static int
list_mines(struct fb_miosa *miosa, struct mines *mines, struct fb_error *err)
{
	struct computers all = { miosa, mines };
	int rc = fb_miosa_list(miosa, "/computers", add_computer, &all, err);

	if (rc < 0 || miosa->family != FB_MIOSA_ACCOUNT)
		return rc;
	mines->computer = NULL;
	return fb_miosa_list(miosa, "/snapshots", add_mine, mines, err);
}

/* Is it the one that stays?  Each owner has one of each computer, the newest
 * that is whole: tokens begin with the time of their run. */
static bool
is_kept(const struct fb_miosa *miosa, const struct mines *mines, size_t index)
{
	const struct mine *mine = &mines->items[index];

	if (!miosa->keep || mine->state != FB_MIOSA_READY)
		return false;
	for (size_t i = 0; i < mines->count; i++)
		if (mines->items[i].state == FB_MIOSA_READY &&
		    strcmp(mines->items[i].computer, mine->computer) == 0 &&
		    strcmp(mines->items[i].owner, mine->owner) == 0 &&
		    strcmp(mines->items[i].token, mine->token) > 0)
			return false;
	return true;
}

int
fb_miosa_list_snapshots(struct fb_driver *base, fb_driver_visit_token *visit,
    void *arg, struct fb_error *err)
{
	struct fb_miosa *miosa = (struct fb_miosa *)base;
	FB_CLEANUP(release_mines) struct mines mines = { 0 };
	int rc = list_mines(miosa, &mines, err);

	for (size_t i = 0; rc == FB_OK && i < mines.count; i++) {
		bool told = is_kept(miosa, &mines, i);

		for (size_t k = 0; k < i && !told; k++)
			told = strcmp(mines.items[k].token,
			           mines.items[i].token) == 0 &&
			    strcmp(mines.items[k].computer,
			        mines.items[i].computer) == 0;
		if (!told)
			rc = visit(mines.items[i].computer,
			    mines.items[i].token, arg, err);
	}
	return rc;
}

/* ------------------------------------------------------------- removing */

/* Who needs it is told by the account's family alone. */
static void
add_dependents(struct fb_miosa *miosa, const char *sid, struct fb_buf *text)
{
	FB_AUTO_FREE char *path = fb_miosa_path("snapshots", sid, "");
	FB_AUTO_API_ANSWER struct fb_api_answer answer = { 0 };
	struct fb_api_call call = { .method = "GET", .path = path,
		.what = "dependents", .safe = true };
	struct fb_error ignored = { 0 };
	const json_t *item;
	size_t index;

	fb_buf_add_str(text, "");
	if (miosa->family != FB_MIOSA_ACCOUNT ||
	    fb_api_send(miosa->api, &call, &answer, &ignored) < 0)
		return;
	json_array_foreach(
	    json_object_get(answer.json, "dependents"), index, item) {
		if (index == 4) {
			fb_buf_add_str(text, ", ...");
			break;
		}
		fb_buf_add_str(text, index == 0 ? ": " : ", ");
		fb_text_add_escaped(text, (struct fb_span){
		    (const uint8_t *)fb_miosa_text(item, "type"),
		    strnlen(fb_miosa_text(item, "type"), 64) });
		fb_buf_add_str(text, " ");
		fb_text_add_escaped(text, (struct fb_span){
		    (const uint8_t *)fb_miosa_text(item, "id"),
		    strnlen(fb_miosa_text(item, "id"), 64) });
	}
}

static int
in_use(struct fb_miosa *miosa, const char *sid, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };

	add_dependents(miosa, sid, &text);
	(void)fb_fail_id(err, FB_ECONFLICT, "E-MIOSA-IN-USE",
	    "MIOSA does not remove snapshot '%s', because something needs "
	    "it%s", sid, fb_buf_str(&text));
	return fb_hint(err, "see to that with the provider; it is removed by "
			    "a later prune or recover");
}

static int
remove_one(struct fb_miosa *miosa, enum fb_miosa_family family,
    const struct mine *mine, const struct fb_verb *verb, struct fb_error *err)
{
	FB_AUTO_FREE char *path = family == FB_MIOSA_ACCOUNT
	    ? fb_miosa_path("snapshots", mine->id, "")
	    : fb_miosa_snapshot_path(family, mine->computer, mine->id, "");
	struct fb_miosa_wait wait = fb_miosa_wait_until(
	    REMOVE_MS, verb->timeout_ms, verb->cancel);

	for (;;) {
		FB_AUTO_API_ANSWER struct fb_api_answer answer = { 0 };
		/* A second removal removes nothing else. */
		int rc = fb_miosa_do(miosa, "DELETE", path, NULL, NULL,
		    verb->cancel, &answer, err);

		if (rc == FB_ENOTFOUND) {
			*err = (struct fb_error){ 0 };
			return FB_OK;
		}
		if (rc == FB_ECONFLICT)
			return in_use(miosa, mine->id, err);
		if (rc != FB_EUNKNOWN && rc != FB_ETIMEOUT)
			return rc;
		*err = (struct fb_error){ 0 };
		if (fb_miosa_pause(&wait, mine->id, err) < 0)
			return rc;
	}
}

static bool
is_to_go(const struct fb_miosa *miosa, const struct mines *mines,
    size_t index, const char *owner, const char *token)
{
	const struct mine *mine = &mines->items[index];

	if (!miosa->keep)
		return strcmp(mine->token, token) == 0;
	return strcmp(mine->owner, owner) == 0 &&
	    !is_kept(miosa, mines, index) &&
	    (mine->state != FB_MIOSA_MAKING ||
	        strcmp(mine->token, token) == 0);
}

int
fb_miosa_remove_snapshot(struct fb_driver *base,
    const struct fb_machine *machine, const struct fb_verb *verb,
    struct fb_error *err)
{
	struct fb_miosa *miosa = (struct fb_miosa *)base;
	FB_CLEANUP(release_mines) struct mines mines = { 0 };
	FB_AUTO_FREE char *label = fb_miosa_label(verb->owner, verb->token);
	char owner[FB_MIOSA_OWNER_SIZE];
	enum fb_miosa_family family = FB_MIOSA_AUTO;
	const char *token;
	int rc = fb_miosa_family(miosa, machine->id, &family, err);

	if (!fb_miosa_label_parse(label, owner, &token))
		return fb_fail(err, FB_EBUG, "'%s' is no label", label);
	if (rc == FB_OK)
		rc = list_left(miosa, family, machine->id, &mines, err);
	if (rc == FB_ENOTFOUND) { /* with its computer */
		*err = (struct fb_error){ 0 };
		return FB_OK;
	}
	for (size_t i = 0; rc == FB_OK && i < mines.count; i++)
		if (is_to_go(miosa, &mines, i, owner, token))
			rc = remove_one(
			    miosa, family, &mines.items[i], verb, err);
	return rc;
}

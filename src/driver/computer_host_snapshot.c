/* Snapshots of computer-host: made under an id of ours, found, removed. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/crypto/digest.h"

#include "computer_host_internal.h"

/* The daemon puts right what was cut off every five seconds. */
#define SETTLE_MS 6000
#define SETTLES   5

/* After a create without an answer it may still be at work. */
#define LOST_MS 8000
#define LOOK_MS 500

#define REMOVE_MS 120000

#define PREFIX     "fb-"
#define HASH_CHARS 12
#define OWNER_CHARS 8
#define SUFFIX_SIZE (1 + OWNER_CHARS + 1)

bool
fb_chost_disk_ok(const char *name)
{
	const char *digits = name + strlen("user-");

	if (strcmp(name, "system") == 0)
		return true;
	return strncmp(name, "user-", 5) == 0 && strlen(digits) >= 1 &&
	    strlen(digits) <= 3 &&
	    digits[strspn(digits, "0123456789")] == '\0' &&
	    (digits[0] != '0' || digits[1] == '\0');
}

/*
 * "fb-TOKEN-HASH", the dots of the token as "_"; the hash is of the machine
 * and the token, for one token serves many machines.  A token that does not
 * fit is only in the hash.  So it is always [A-Za-z0-9_-]{1,64}: of an id like
 * "." the daemon would remove every snapshot that it has.
 */
static void
make_stem(
    const char *machine, const char *token, char stem[FB_CHOST_SID_SIZE])
{
	FB_AUTO_FREE char *both = fb_format("%s %s", machine, token);
	size_t room = FB_CHOST_SID_SIZE - 1 - strlen(PREFIX) - 1 -
	    HASH_CHARS - 1 - OWNER_CHARS;
	char hex[FB_DIGEST_HEX_SIZE];
	struct fb_digest digest;
	char *at;

	fb_digest_of(
	    (struct fb_span){ (const uint8_t *)both, strlen(both) }, &digest);
	fb_digest_hex(&digest, hex);
	if (strlen(token) > room || strchr(token, '_') != NULL) {
		(void)snprintf(stem, FB_CHOST_SID_SIZE, PREFIX "x%.48s", hex);
		return;
	}
	(void)snprintf(stem, FB_CHOST_SID_SIZE, PREFIX "%s-%.*s", token,
	    HASH_CHARS, hex);
	for (at = stem; *at != '\0'; at++)
		if (*at == '.')
			*at = '_';
}

/* "-OWNER": a hash of whose it is; "" nobody's. */
static void
make_suffix(const char *owner, char suffix[SUFFIX_SIZE])
{
	char hex[FB_DIGEST_HEX_SIZE];
	struct fb_digest digest;

	suffix[0] = '\0';
	if (owner == NULL)
		return;
	fb_digest_of(
	    (struct fb_span){ (const uint8_t *)owner, strlen(owner) },
	    &digest);
	fb_digest_hex(&digest, hex);
	(void)snprintf(suffix, SUFFIX_SIZE, "-%.*s", OWNER_CHARS, hex);
}

void
fb_chost_sid(const char *machine, const char *token, const char *owner,
    char sid[FB_CHOST_SID_SIZE])
{
	char stem[FB_CHOST_SID_SIZE], suffix[SUFFIX_SIZE];

	make_stem(machine, token, stem); /* which leaves room for the other */
	make_suffix(owner, suffix);
	(void)snprintf(sid, FB_CHOST_SID_SIZE, "%.*s%s",
	    FB_CHOST_SID_SIZE - SUFFIX_SIZE, stem, suffix);
}

static bool
is_suffix(const char *text)
{
	return text[0] == '\0' ||
	    (text[0] == '-' && strlen(text) == SUFFIX_SIZE - 1 &&
	        strspn(text + 1, "0123456789abcdef") == OWNER_CHARS);
}

/* The token of what would be its stem, or "". */
static void
token_of_stem(const char *sid, size_t len, const char *machine,
    char token[FB_NAME_MAX + 1])
{
	size_t skip = strlen(PREFIX);
	char again[FB_CHOST_SID_SIZE];

	token[0] = '\0';
	if (len <= skip + 1 + HASH_CHARS)
		return;
	(void)snprintf(token, FB_CHOST_SID_SIZE, "%.*s",
	    (int)(len - skip - 1 - HASH_CHARS), sid + skip);
	for (char *c = token; *c != '\0'; c++)
		if (*c == '_')
			*c = '.';
	make_stem(machine, token, again);
	if (strlen(again) != len || strncmp(again, sid, len) != 0 ||
	    !fb_name_ok(token, strlen(token)))
		token[0] = '\0';
}

/* The token that it was made of, or "": it is not one of ours.  And the
 * suffix, which points into `sid`. */
static void
token_of(const char *sid, const char *machine, char token[FB_NAME_MAX + 1],
    const char **ret_suffix)
{
	size_t len = strlen(sid);

	*ret_suffix = sid + len;
	token_of_stem(sid, len, machine, token);
	if (token[0] != '\0' || len < SUFFIX_SIZE ||
	    !is_suffix(sid + len - (SUFFIX_SIZE - 1)))
		return;
	*ret_suffix = sid + len - (SUFFIX_SIZE - 1);
	token_of_stem(sid, len - (SUFFIX_SIZE - 1), machine, token);
}

/* ------------------------------------------------------------- looking */

static int
look(struct fb_chost *host, const char *sid, json_t **ret_snapshot,
    struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_chost_snapshot_path(sid, "");

	return fb_chost_get(host, path, "snapshot", ret_snapshot, err);
}

int
fb_chost_find_sid(struct fb_chost *host, const char *machine,
    const char *token, char sid[FB_CHOST_SID_SIZE], struct fb_error *err)
{
	FB_AUTO_FREE char *path =
	    fb_chost_machine_path(machine, "/snapshots");
	FB_AUTO_JSON json_t *list = NULL;
	char stem[FB_CHOST_SID_SIZE];
	const json_t *item;
	size_t index;
	int rc = fb_chost_get(host, path, "snapshots", &list, err);

	if (rc < 0)
		return rc;
	make_stem(machine, token, stem);
	json_array_foreach(list, index, item) {
		const char *id =
		    json_string_value(json_object_get(item, "id"));
		const char *of =
		    json_string_value(json_object_get(item, "machine_id"));

		if (id == NULL || of == NULL || strcmp(of, machine) != 0 ||
		    strncmp(id, stem, strlen(stem)) != 0 ||
		    !is_suffix(id + strlen(stem)))
			continue;
		(void)snprintf(sid, FB_CHOST_SID_SIZE, "%s", id);
		return FB_OK;
	}
	return fb_fail(err, FB_ENOTFOUND,
	    "there is no snapshot '%s' of machine '%s' on the host", stem,
	    machine);
}

int
fb_chost_find_by_token(struct fb_driver *base,
    const struct fb_machine *machine, const char *token, struct fb_error *err)
{
	char sid[FB_CHOST_SID_SIZE];

	return fb_chost_find_sid(
	    (struct fb_chost *)base, machine->id, token, sid, err);
}

/* -------------------------------------------------------------- making */

/* Only here the daemon tells the digests. */
static int
take_artifacts(struct fb_chost *host, const char *sid,
    const json_t *artifacts, struct fb_error *err)
{
	const json_t *item;
	size_t index;
	int rc = FB_OK;

	(void)pthread_mutex_lock(&host->lock);
	json_array_foreach(artifacts, index, item) {
		const char *id =
		    json_string_value(json_object_get(item, "id"));
		const char *hex =
		    json_string_value(json_object_get(item, "sha256_hex"));
		struct fb_digest digest;
		FB_AUTO_FREE char *key = NULL;

		if (rc < 0 || id == NULL || hex == NULL)
			continue;
		rc = fb_digest_parse(
		    (struct fb_span){ (const uint8_t *)hex, strlen(hex) },
		    &digest, err);
		key = fb_format("%s/%s", sid, id);
		if (rc == FB_OK)
			(void)json_object_set_new(
			    host->digests, key, json_string(hex));
	}
	(void)pthread_mutex_unlock(&host->lock);
	return rc < 0 ? fb_fail(err, FB_EPROTO,
	                    "a digest of snapshot '%s' is none", sid)
	              : FB_OK;
}

static int
ask_create(struct fb_chost *host, const char *machine, const char *sid,
    struct fb_error *err)
{
	FB_AUTO_FREE char *path =
	    fb_chost_machine_path(machine, "/snapshots");
	FB_AUTO_JSON json_t *body = json_pack("{s:s}", "snapshot_id", sid);
	FB_AUTO_API_ANSWER struct fb_api_answer answer = { 0 };
	const char *id;
	int rc = fb_chost_do(
	    host, "POST", path, body, host->create_ms, &answer, err);

	if (rc == FB_ECONFLICT && answer.status == 409)
		return FB_EEXISTS; /* for the caller alone */
	if (rc < 0)
		return rc;
	id = json_string_value(json_object_get(
	    json_object_get(answer.json, "snapshot"), "id"));
	if (id == NULL || strcmp(id, sid) != 0)
		return fb_fail(err, FB_EUNKNOWN,
		    "computer-host made another snapshot than '%s'", sid);
	return take_artifacts(
	    host, sid, json_object_get(answer.json, "artifacts"), err);
}

/* Without an answer: it may come about yet, as long as the daemon works. */
static int
look_for_lost(struct fb_driver *base, const struct fb_machine *machine,
    const struct fb_verb *verb, int rc, struct fb_error *err)
{
	for (int i = 0; i < LOST_MS / LOOK_MS; i++) {
		struct fb_error why = { 0 };

		if (fb_chost_find_by_token(
		        base, machine, verb->token, &why) == FB_OK) {
			*err = (struct fb_error){ 0 };
			return FB_OK;
		}
		fb_chost_wait(LOOK_MS, verb->cancel);
	}
	return rc;
}

/* A directory of that name without a record of it, or something else under
 * way: the daemon clears both away by itself. */
static int
settle(const struct fb_verb *verb, const char *sid, int rc,
    struct fb_error *err)
{
	if (rc == FB_EEXISTS)
		rc = fb_fail_id(err, FB_ECONFLICT, "E-CHOST-PENDING",
		    "something of snapshot '%s' is left on the host", sid);
	fb_chost_wait(SETTLE_MS, verb->cancel);
	return rc;
}

int
fb_chost_create_snapshot(struct fb_driver *base,
    const struct fb_machine *machine, const struct fb_verb *verb,
    struct fb_error *err)
{
	struct fb_chost *host = (struct fb_chost *)base;
	char sid[FB_CHOST_SID_SIZE];
	int rc = fb_chost_find_by_token(base, machine, verb->token, err);

	if (rc != FB_ENOTFOUND || verb->adopts)
		return rc;
	fb_chost_sid(machine->id, verb->token, verb->owner, sid);
	for (int i = 0;; i++) {
		*err = (struct fb_error){ 0 };
		rc = ask_create(host, machine->id, sid, err);
		if (rc == FB_EUNKNOWN || rc == FB_ETIMEOUT)
			return look_for_lost(base, machine, verb, rc, err);
		if (rc == FB_EEXISTS && fb_chost_find_by_token(base, machine,
		                            verb->token, err) == FB_OK)
			return FB_OK;
		if (rc != FB_EEXISTS &&
		    strcmp(rc < 0 ? err->id : "", "E-CHOST-PENDING") != 0)
			return rc;
		rc = settle(verb, sid, rc, err);
		if (i + 1 == SETTLES ||
		    (verb->cancel != NULL && atomic_load(verb->cancel)))
			return rc;
	}
}

/* ------------------------------------------------------------- listing */

/* One of ours: what it is of, when it was made. */
struct mine {
	char sid[FB_CHOST_SID_SIZE], token[FB_NAME_MAX + 1];
	char suffix[SUFFIX_SIZE]; /* whose */
	char *machine, *created;
};

struct mines {
	struct mine *items;
	size_t count;
};

static void
release_mines(struct mines *mines)
{
	for (size_t i = 0; i < mines->count; i++) {
		free(mines->items[i].machine);
		free(mines->items[i].created);
	}
	free(mines->items);
}

static int
add_mine(struct fb_chost *host, const char *sid, struct mines *mines,
    struct fb_error *err)
{
	FB_AUTO_JSON json_t *snapshot = NULL;
	const char *machine, *created, *suffix;
	struct mine mine;
	int rc;

	if (sid == NULL || strncmp(sid, PREFIX, strlen(PREFIX)) != 0 ||
	    strlen(sid) >= sizeof(mine.sid))
		return FB_OK;
	rc = look(host, sid, &snapshot, err);
	if (rc == FB_ENOTFOUND) {
		*err = (struct fb_error){ 0 };
		return FB_OK;
	}
	if (rc < 0)
		return rc;
	machine = json_string_value(json_object_get(snapshot, "machine_id"));
	created = json_string_value(json_object_get(snapshot, "created_at"));
	if (machine == NULL || !fb_name_ok(machine, strlen(machine)))
		return FB_OK;
	token_of(sid, machine, mine.token, &suffix);
	if (mine.token[0] == '\0')
		return FB_OK;
	(void)snprintf(mine.sid, sizeof(mine.sid), "%s", sid);
	(void)snprintf(mine.suffix, sizeof(mine.suffix), "%s", suffix);
	mine.machine = fb_strdup(machine);
	mine.created = fb_strdup(created != NULL ? created : "");
	mines->items = fb_realloc(
	    mines->items, mines->count + 1, sizeof(*mines->items));
	mines->items[mines->count++] = mine;
	return FB_OK;
}

/* Those of machines that are gone are among them. */
static int
list_mines(struct fb_chost *host, struct mines *mines, struct fb_error *err)
{
	FB_AUTO_JSON json_t *report = NULL;
	const json_t *item;
	size_t index;
	int rc = fb_chost_get(host, "/storage/report", "report", &report, err);

	if (rc < 0)
		return rc;
	json_array_foreach(
	    json_object_get(report, "snapshots"), index, item) {
		rc = add_mine(host,
		    json_string_value(json_object_get(item, "snapshot_id")),
		    mines, err);
		if (rc < 0)
			return rc;
	}
	return FB_OK;
}

/* Times of the daemon are UTC with nanoseconds, or fewer digits where they
 * end in zeros: compared by what they say. */
static int
compare_times(const char *a, const char *b)
{
	size_t x = strcspn(a, "Z"), y = strcspn(b, "Z");
	size_t least = x < y ? x : y;
	int diff = memcmp(a, b, least);

	return diff != 0 ? diff : (x > y) - (x < y);
}

/* Is it the one that stays?  Each owner has one. */
static bool
is_kept(const struct fb_chost *host, const struct mines *mines, size_t index)
{
	const struct mine *mine = &mines->items[index];

	for (size_t i = 0; i < mines->count; i++)
		if (strcmp(mines->items[i].machine, mine->machine) == 0 &&
		    strcmp(mines->items[i].suffix, mine->suffix) == 0 &&
		    compare_times(
		        mines->items[i].created, mine->created) > 0)
			return false;
	return host->keep;
}

int
fb_chost_list_snapshots(struct fb_driver *base, fb_driver_visit_token *visit,
    void *arg, struct fb_error *err)
{
	struct fb_chost *host = (struct fb_chost *)base;
	FB_CLEANUP(release_mines) struct mines mines = { 0 };
	int rc = list_mines(host, &mines, err);

	for (size_t i = 0; rc == FB_OK && i < mines.count; i++)
		if (!is_kept(host, &mines, i))
			rc = visit(mines.items[i].machine,
			    mines.items[i].token, arg, err);
	return rc;
}

/* ------------------------------------------------------------ removing */

static int
remove_one(struct fb_chost *host, const char *sid, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_chost_snapshot_path(sid, "");
	int rc =
	    fb_chost_do(host, "DELETE", path, NULL, REMOVE_MS, NULL, err);

	if (rc == FB_ENOTFOUND) {
		*err = (struct fb_error){ 0 };
		rc = FB_OK;
	}
	return rc;
}

/* The newest one of the machine stays, and all others of that owner go. */
static int
remove_others(struct fb_chost *host, const char *machine, const char *owner,
    struct fb_error *err)
{
	char suffix[SUFFIX_SIZE];
	FB_CLEANUP(release_mines) struct mines mines = { 0 };
	int rc = list_mines(host, &mines, err);

	make_suffix(owner, suffix);
	for (size_t i = 0; rc == FB_OK && i < mines.count; i++)
		if (strcmp(mines.items[i].machine, machine) == 0 &&
		    strcmp(mines.items[i].suffix, suffix) == 0 &&
		    !is_kept(host, &mines, i))
			rc = remove_one(host, mines.items[i].sid, err);
	return rc;
}

int
fb_chost_remove_snapshot(struct fb_driver *base,
    const struct fb_machine *machine, const struct fb_verb *verb,
    struct fb_error *err)
{
	struct fb_chost *host = (struct fb_chost *)base;
	char sid[FB_CHOST_SID_SIZE];

	fb_chost_sid(machine->id, verb->token, verb->owner, sid);
	return host->keep
	    ? remove_others(host, machine->id, verb->owner, err)
	    : remove_one(host, sid, err);
}

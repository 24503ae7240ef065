/*
 * What those who had a shard leave: told to the repository, put into a state
 * directory again, looked after there, and taken away when nothing is owed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "fleetbak/engine/shard.h"
#include "fleetbak/format/json.h"
#include "shared.h"

/*
 * What a dead worker told, as a journal of ours: recovery knows what to do.
 */

struct told {
	struct fb_journal *journal;
	struct fb_repo *repo;
	uint64_t sequence; /* of the last record taken */
	const char *prefix;
	char (*keys)[SHARED_KEY_SIZE];
	size_t count;
};

/* "<sequence> <type> <JSON>"; what was told twice, because an answer was lost,
 * is taken once. */
static int
take_line(struct told *told, struct fb_span line, struct fb_error *err)
{
	FB_AUTO_JSON json_t *body = NULL;
	const uint8_t *type, *json;
	char name[64];
	uint64_t sequence;
	int rc;

	type = memchr(line.ptr, ' ', line.len);
	if (type == NULL)
		return fb_fail(err, FB_ECORRUPT, "a record is cut short");
	rc =
	    fb_text_u64((struct fb_span){ line.ptr, (size_t)(type - line.ptr) },
	        INT64_MAX, &sequence, err);
	type++;
	json = memchr(type, ' ', line.len - (size_t)(type - line.ptr));
	if (rc < 0 || json == NULL || (size_t)(json - type) >= sizeof(name))
		return fb_fail(err, FB_ECORRUPT, "a record is cut short");
	if (sequence <= told->sequence)
		return FB_OK;
	memcpy(name, type, (size_t)(json - type));
	name[json - type] = '\0';
	json++;
	rc = fb_json_parse(
	    (struct fb_span){ json, line.len - (size_t)(json - line.ptr) },
	    SHARED_OBJECT_MAX, "record", &body, err);
	if (rc == FB_OK)
		rc = fb_journal_append(told->journal, name, body, false, err);
	told->sequence = sequence;
	return rc;
}

static int
take_object(struct told *told, const char *key, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_span rest;
	int rc = shared_get(told->repo, key, &text, err);

	rest = fb_buf_span(&text);
	while (rc == FB_OK && rest.len > 0) {
		const uint8_t *end = memchr(rest.ptr, '\n', rest.len);
		size_t len = end != NULL ? (size_t)(end - rest.ptr) : rest.len;

		rc = take_line(told, (struct fb_span){ rest.ptr, len }, err);
		if (rc < 0)
			return fb_wrap(err, "'%s'", key);
		if (end == NULL)
			break;
		rest.ptr += len + 1;
		rest.len -= len + 1;
	}
	return rc;
}

static int
visit_told(const char *key, uint64_t size, void *arg, struct fb_error *err)
{
	struct told *told = arg;
	const char *rest = key + strlen(told->prefix);

	(void)size;
	(void)err;
	if (rest[0] < '0' || rest[0] > '9')
		return FB_OK; /* a lease, a sign of life, a mark */
	if (strchr(rest, '-') != NULL)
		told->count = 0; /* all over again, after a crash */
	told->keys =
	    fb_realloc(told->keys, told->count + 1, sizeof(*told->keys));
	(void)snprintf(told->keys[told->count++], SHARED_KEY_SIZE, "%s", key);
	return FB_OK;
}

int
shared_write_told(const struct shared *shared, uint32_t shard, uint32_t epoch,
    const char *dir, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_format("%s/journal", dir);
	FB_AUTO_FREE char *spool = fb_format("%s/spool", dir);
	FB_AUTO_JOURNAL struct fb_journal *journal = NULL;
	FB_AUTO_JSON json_t *none = json_object();
	char prefix[SHARED_KEY_SIZE];
	struct told told = { .repo = shared->repo, .prefix = prefix };
	int rc = fb_io_mkdirs(spool, 0700, err);

	shared_key(shared->name, shard, epoch, "", prefix);
	if (rc == FB_OK)
		rc = fb_journal_create(path, &journal, err);
	if (rc == FB_OK)
		rc = fb_store_list(
		    shared->repo->store, prefix, visit_told, &told, err);
	told.journal = journal;
	for (size_t i = 0; rc == FB_OK && i < told.count; i++)
		rc = take_object(&told, told.keys[i], err);
	if (rc == FB_OK)
		rc = fb_journal_append(journal, "adopted", none, true, err);
	free(told.keys);
	return rc;
}

bool
shared_is_here(const struct shared *shared, const char *session)
{
	FB_AUTO_FREE char *dir =
	    fb_state_path(shared->engine, "runs/%s", session);
	struct stat st;

	return lstat(dir, &st) == 0;
}

static int
is_over(const struct shared *shared, uint32_t shard, uint32_t epoch,
    bool *ret_over, struct fb_error *err)
{
	char key[SHARED_KEY_SIZE];
	uint64_t size;
	int rc;

	shared_key(shared->name, shard, epoch, SHARED_END, key);
	rc = fb_store_head(shared->repo->store, key, &size, err);
	*ret_over = rc == FB_OK;
	return rc == FB_ENOTFOUND ? FB_OK : rc;
}

/* Whole, or not at all. */
static int
adopt(const struct shared *shared, uint32_t shard, uint32_t epoch,
    struct fb_error *err)
{
	FB_AUTO_FREE char *dir = NULL, *new_dir = NULL;
	char session[FB_RUN_ID_SIZE];
	bool over;
	int rc = is_over(shared, shard, epoch, &over, err);

	if (rc < 0 || over)
		return rc;
	rc = shared_lease_session(shared, shard, epoch, session, err);
	if (rc < 0) /* not found: it is over, and was tidied away */
		return rc == FB_ENOTFOUND ? FB_OK : rc;
	if (shared_is_here(shared, session))
		return FB_OK;
	dir = fb_state_path(shared->engine, "runs/%s", session);
	new_dir = fb_format("%s.told", dir);
	rc = fb_io_remove_tree(new_dir, err);
	if (rc == FB_OK)
		rc = shared_write_told(shared, shard, epoch, new_dir, err);
	if (rc == FB_OK)
		rc = fb_io_rename(new_dir, dir, true, err);
	return rc < 0 ? fb_wrap(err, "what session %s had begun", session)
	              : FB_OK;
}

int
shared_adopt(const struct shared *shared, uint32_t shard, uint32_t epoch,
    struct fb_error *err)
{
	int rc = FB_OK;

	for (uint32_t e = 1; rc == FB_OK && e <= epoch; e++)
		rc = adopt(shared, shard, e, err);
	return rc;
}

static int
make_mark(const struct shared *shared, uint32_t shard, uint32_t epoch,
    const char *name, struct fb_error *err)
{
	char key[SHARED_KEY_SIZE];
	int rc;

	shared_key(shared->name, shard, epoch, name, key);
	rc = fb_store_create(
	    shared->repo->store, key, (struct fb_span){ 0 }, err);
	return rc == FB_EEXISTS ? FB_OK : rc;
}

int
shared_settle(const struct shared *shared, uint32_t shard, uint32_t epoch,
    struct fb_error *err)
{
	bool over;
	int rc = FB_OK;

	for (uint32_t e = 1; rc == FB_OK && e <= epoch; e++) {
		char session[FB_RUN_ID_SIZE];

		rc = is_over(shared, shard, e, &over, err);
		if (rc < 0 || over)
			continue;
		rc = shared_lease_session(shared, shard, e, session, err);
		if (rc == FB_ENOTFOUND)
			rc = FB_OK;
		else if (rc == FB_OK && !shared_is_here(shared, session))
			rc = make_mark(shared, shard, e, SHARED_END, err);
	}
	return rc;
}

/*
 * Taking it away, when the run is closed.
 */

struct keys {
	char (*items)[SHARED_KEY_SIZE];
	size_t count;
	size_t prefix; /* length of "shared/<name>/" */
};

/* Length of "shared/<name>/<shard>/<epoch>/"; 0: the key has none. */
static size_t
epoch_len(const struct keys *keys, const char *key)
{
	const char *slash = strchr(key + keys->prefix, '/');

	slash = slash != NULL ? strchr(slash + 1, '/') : NULL;
	return slash != NULL ? (size_t)(slash + 1 - key) : 0;
}

static int
visit_key(const char *key, uint64_t size, void *arg, struct fb_error *err)
{
	struct keys *keys = arg;

	(void)size;
	(void)err;
	if (epoch_len(keys, key) == 0 || strlen(key) >= SHARED_KEY_SIZE)
		return FB_OK;
	keys->items =
	    fb_realloc(keys->items, keys->count + 1, sizeof(*keys->items));
	(void)snprintf(keys->items[keys->count++], SHARED_KEY_SIZE, "%s", key);
	return FB_OK;
}

/* Of one epoch: all but its end, and that last: what is cut off in between is
 * not taken for something that is owed. */
static int
tidy_epoch(const struct shared *shared, const struct keys *keys, size_t first,
    size_t end, struct fb_error *err)
{
	struct fb_store *store = shared->repo->store;
	size_t len = epoch_len(keys, keys->items[first]), last = end;
	FB_AUTO_FREE const char **doomed =
	    fb_alloc(end - first + 1, sizeof(*doomed));
	FB_AUTO_FREE bool *gone = fb_alloc(end - first + 1, sizeof(*gone));
	struct fb_store_removal removal = { .keys = doomed, .gone = gone };
	bool leased = false;
	int rc;

	for (size_t i = first; i < end; i++) {
		if (strcmp(keys->items[i] + len, SHARED_END) == 0)
			last = i;
		leased |= strcmp(keys->items[i] + len, "lease") == 0;
	}
	if (leased && last == end)
		return FB_PENDING;
	for (size_t i = first; i < end; i++)
		if (i != last)
			doomed[removal.count++] = keys->items[i];
	rc = fb_store_remove_many(store, &removal, err);
	return rc == FB_OK && last < end
	    ? fb_store_remove(store, keys->items[last], err)
	    : rc;
}

static int
tidy_under(const struct shared *shared, const char *prefix, uint32_t *ret_left,
    struct fb_error *err)
{
	struct keys keys = { .prefix =
		                 strlen("shared/") + strlen(shared->name) + 1 };
	int rc =
	    fb_store_list(shared->repo->store, prefix, visit_key, &keys, err);
	size_t end;

	*ret_left = 0;
	for (size_t i = 0; rc == FB_OK && i < keys.count; i = end) {
		size_t len = epoch_len(&keys, keys.items[i]);

		for (end = i + 1; end < keys.count &&
		     strncmp(keys.items[i], keys.items[end], len) == 0;)
			end++;
		rc = tidy_epoch(shared, &keys, i, end, err);
		*ret_left += rc == FB_PENDING;
		if (rc == FB_PENDING || rc == FB_EDENIED)
			rc = FB_OK; /* where nothing can be removed it stays */
	}
	free(keys.items);
	return rc;
}

int
shared_tidy(
    const struct shared *shared, uint32_t *ret_left, struct fb_error *err)
{
	FB_AUTO_FREE char *prefix = fb_format("shared/%s/", shared->name);

	return tidy_under(shared, prefix, ret_left, err);
}

/*
 * Those of which something is left.
 */

struct behind {
	char epoch[SHARED_KEY_SIZE]; /* the lease whose keys come now */
	bool leased, ended;
	uint32_t left; /* of this run */
	struct fb_shared_status *items;
	size_t count;
};

static void
end_epoch(struct behind *behind)
{
	behind->left += behind->leased && !behind->ended;
	behind->leased = behind->ended = false;
	behind->epoch[0] = '\0';
}

/* "closed" and "run" come after all leases. */
static void
note_left(struct behind *behind, const char *name, size_t len)
{
	struct fb_shared_status *status;

	end_epoch(behind);
	if (behind->left > 0 && len < FB_SHARED_NAME_SIZE) {
		behind->items = fb_realloc(behind->items, behind->count + 1,
		    sizeof(*behind->items));
		status = &behind->items[behind->count++];
		*status = (struct fb_shared_status){ .left = behind->left };
		memcpy(status->name, name, len);
	}
	behind->left = 0;
}

static int
visit_lease(const char *key, uint64_t size, void *arg, struct fb_error *err)
{
	struct behind *behind = arg;
	const char *name = key + strlen("shared/");
	const char *slash = strchr(name, '/'), *rest;
	size_t len;

	(void)size;
	(void)err;
	if (slash == NULL || strlen(key) >= sizeof(behind->epoch))
		return FB_OK;
	rest = slash + 1;
	if (strcmp(rest, "closed") == 0) {
		note_left(behind, name, (size_t)(slash - name));
		return FB_OK;
	}
	if (strcmp(rest, "run") == 0) { /* it was not closed */
		end_epoch(behind);
		behind->left = 0;
		return FB_OK;
	}
	rest = strrchr(key, '/') + 1;
	len = (size_t)(rest - key);
	if (strlen(behind->epoch) != len ||
	    memcmp(behind->epoch, key, len) != 0) {
		end_epoch(behind);
		memcpy(behind->epoch, key, len);
		behind->epoch[len] = '\0';
	}
	behind->leased |= strcmp(rest, "lease") == 0;
	behind->ended |= strcmp(rest, SHARED_END) == 0;
	return FB_OK;
}

int
fb_shared_left(const struct fb_engine *engine, struct fb_repo *repo,
    fb_shared_visit *visit, void *arg, struct fb_error *err)
{
	struct behind behind = { .left = 0 };
	int rc =
	    fb_store_list(repo->store, "shared/", visit_lease, &behind, err);

	for (size_t i = 0; rc >= 0 && i < behind.count; i++) {
		AUTO_SHARED struct shared shared = { 0 };
		struct fb_shared_status *status = &behind.items[i];

		rc = shared_open(engine, repo, status->name, &shared, err);
		if (rc == FB_ECONFLICT) { /* of another fleet */
			rc = FB_OK;
			continue;
		}
		if (rc < 0)
			break;
		memcpy(status->run, shared.run, sizeof(status->run));
		status->shards = shared.shards;
		rc = visit(status, arg, err);
	}
	free(behind.items);
	return rc < 0 ? rc : FB_OK;
}

int
shared_part_committed(struct fb_run *run, struct fb_error *err)
{
	FB_AUTO_JSON json_t *body = json_pack("{s:b}", "found", true);
	struct fb_register reg = { 0 };
	int rc = fb_repo_register(run->repo, run->id, &reg, err);
	bool fence = reg.fence;

	fb_register_release(&reg);
	if (rc < 0 || fence)
		return rc == FB_ENOTFOUND ? FB_OK : rc;
	rc = fb_journal_append(run->journal, "commit", body, true, err);
	run->committed = rc == FB_OK;
	return rc;
}

void
shared_tidy_part(const struct fb_run *run)
{
	struct shared shared = { .engine = run->engine, .repo = run->repo };
	char prefix[SHARED_KEY_SIZE];
	struct fb_error ignored = { 0 };
	bool closed = false;
	uint32_t left;

	memcpy(shared.name, run->shared, sizeof(shared.name));
	if (shared_is_closed(&shared, &closed, &ignored) < 0 || !closed)
		return;
	shared_key(shared.name, run->shard.number, run->lease, "", prefix);
	(void)!tidy_under(&shared, prefix, &left, &ignored);
}

bool
shared_part_end(const struct fb_run *run)
{
	struct shared shared = { .engine = run->engine, .repo = run->repo };
	struct fb_error ignored = { 0 };

	if (run->shared[0] == '\0')
		return true;
	memcpy(shared.name, run->shared, sizeof(shared.name));
	if (make_mark(&shared, run->shard.number, run->lease,
	        fb_run_holds(run) ? SHARED_KEPT : SHARED_END, &ignored) < 0)
		return false; /* somebody else asks the machines again */
	shared_tidy_part(run);
	return true;
}

/*
 * Who does which shard of a shared run: leases, and what the dead leave.
 *
 * A lease is made once, by conditional create; its epoch is its place in the
 * line.  Whoever takes a shard over fences the session before it first: from
 * then on that can commit nothing, whatever it still does.  Only how long
 * one waits before that is told by a clock, the waiting one's own.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "fleetbak/format/json.h"
#include "shared.h"

#define POLL_MAX_MS 5000
#define SESSION     "session "

/*
 * Looking.
 */

struct survey {
	const char *prefix;
	uint32_t epoch;
	size_t told;
};

static int
visit_object(const char *key, uint64_t size, void *arg, struct fb_error *err)
{
	struct survey *survey = arg;
	const char *rest = key + strlen(survey->prefix);
	struct fb_error ignored = { 0 };
	uint64_t epoch;

	(void)size;
	(void)err;
	if (strlen(rest) < 7 || rest[6] != '/' ||
	    fb_text_u64(
	        (struct fb_span){ (const uint8_t *)rest + strspn(rest, "0"),
	            6 - strspn(rest, "0") },
	        FB_LEASE_MAX, &epoch, &ignored) < 0)
		return FB_OK;
	if (epoch > survey->epoch) { /* they come in order */
		survey->epoch = (uint32_t)epoch;
		survey->told = 0;
	}
	survey->told += epoch == survey->epoch;
	return FB_OK;
}

int
shared_lease_session(const struct shared *shared, uint32_t shard,
    uint32_t epoch, char session[FB_RUN_ID_SIZE], struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf body = { 0 };
	char key[SHARED_KEY_SIZE];
	int rc;

	shared_key(shared->name, shard, epoch, "lease", key);
	rc = shared_get(shared->repo, key, &body, err);
	if (rc < 0)
		return rc;
	if (body.len != sizeof(SESSION) - 1 + FB_RUN_ID_LEN + 1 ||
	    memcmp(body.data, SESSION, sizeof(SESSION) - 1) != 0 ||
	    !fb_run_id_ok(
	        (const char *)body.data + sizeof(SESSION) - 1, FB_RUN_ID_LEN))
		return fb_fail(err, FB_ECORRUPT, "'%s' is no lease", key);
	memcpy(session, body.data + sizeof(SESSION) - 1, FB_RUN_ID_LEN);
	session[FB_RUN_ID_LEN] = '\0';
	return FB_OK;
}

int
shared_look(const struct shared *shared, uint32_t shard,
    struct shared_lease *ret_lease, struct fb_error *err)
{
	FB_AUTO_FREE char *prefix =
	    fb_format("shared/%s/%04u/", shared->name, shard);
	struct survey survey = { .prefix = prefix };
	struct fb_register reg = { 0 };
	int rc = fb_store_list(
	    shared->repo->store, prefix, visit_object, &survey, err);

	*ret_lease =
	    (struct shared_lease){ .epoch = survey.epoch, .told = survey.told };
	if (rc < 0 || survey.epoch == 0)
		return rc;
	rc = shared_lease_session(
	    shared, shard, survey.epoch, ret_lease->session, err);
	if (rc < 0)
		return rc;
	rc = fb_repo_register(shared->repo, ret_lease->session, &reg, err);
	ret_lease->committed = rc == FB_OK && !reg.fence;
	ret_lease->fenced = rc == FB_OK && reg.fence;
	fb_register_release(&reg);
	return rc == FB_ENOTFOUND ? FB_OK : rc;
}

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
		return FB_OK; /* a lease, a sign of life, an end */
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

static bool
is_there(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

/* Whole, or not at all. */
static int
adopt(const struct shared *shared, uint32_t shard, uint32_t epoch,
    struct fb_error *err)
{
	FB_AUTO_FREE char *dir = NULL, *new_dir = NULL;
	char session[FB_RUN_ID_SIZE], key[SHARED_KEY_SIZE];
	uint64_t size;
	int rc;

	shared_key(shared->name, shard, epoch, "end", key);
	rc = fb_store_head(shared->repo->store, key, &size, err);
	if (rc != FB_ENOTFOUND)
		return rc; /* over */
	rc = shared_lease_session(shared, shard, epoch, session, err);
	if (rc < 0)
		return rc;
	dir = fb_state_path(shared->engine, "runs/%s", session);
	if (is_there(dir))
		return FB_OK;
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
shared_settle(const struct shared *shared, uint32_t shard, uint32_t epoch,
    struct fb_error *err)
{
	int rc = FB_OK;

	for (uint32_t e = 1; rc == FB_OK && e < epoch; e++) {
		FB_AUTO_FREE char *dir = NULL;
		char session[FB_RUN_ID_SIZE], key[SHARED_KEY_SIZE];

		rc = shared_lease_session(shared, shard, e, session, err);
		if (rc < 0)
			break;
		dir = fb_state_path(shared->engine, "runs/%s", session);
		if (is_there(dir))
			continue; /* something is still owed */
		shared_key(shared->name, shard, e, "end", key);
		rc = fb_store_create(
		    shared->repo->store, key, (struct fb_span){ 0 }, err);
		if (rc == FB_EEXISTS)
			rc = FB_OK;
	}
	return rc;
}

/*
 * Claiming.
 */

/* Since when nothing more was told. */
struct watch {
	uint32_t epoch;
	size_t told;
	int64_t since_ns;
	bool said;
};

static void
say_waiting(const struct shared *shared, uint32_t shard,
    const struct shared_lease *lease)
{
	struct fb_error why = { 0 };

	(void)fb_fail_id(&why, FB_EBUSY, "E-SHARD-HELD",
	    "shard %u of '%s' is done by session %s: it is taken over when "
	    "that gives no sign of life for %llu s",
	    shard, shared->name, lease->session,
	    (unsigned long long)shared->dead_after_ms / 1000);
	(void)fb_hint(&why, "if it is known to be dead: download --take-over");
	fb_observe(&shared->engine->observer,
	    &(struct fb_event){ .kind = FB_EVENT_WARNING, .error = &why });
}

/* Look again in a while; *ret_dead: it has been silent for too long. */
static int
wait_for(const struct shared *shared, uint32_t shard,
    const struct shared_lease *lease, struct watch *watch, bool *ret_dead,
    struct fb_error *err)
{
	uint64_t poll_ms = shared->dead_after_ms / 8;
	int64_t now = fb_clock_mono_ns(), until;

	if (lease->epoch != watch->epoch || lease->told != watch->told) {
		watch->epoch = lease->epoch;
		watch->told = lease->told;
		watch->since_ns = now;
	}
	*ret_dead = (uint64_t)(now - watch->since_ns) / 1000000 >=
	    shared->dead_after_ms;
	if (*ret_dead)
		return FB_OK;
	if (!watch->said)
		say_waiting(shared, shard, lease);
	watch->said = true;
	until = now +
	    (int64_t)(poll_ms < POLL_MAX_MS ? poll_ms : POLL_MAX_MS) * 1000000;
	while (fb_clock_mono_ns() < until) {
		if (shared->engine->cancel != NULL &&
		    atomic_load(shared->engine->cancel))
			return fb_fail_id(err, FB_ECANCELED, "E-INTERRUPTED",
			    "interrupted while waiting for shard %u", shard);
		fb_clock_wait(until);
	}
	return FB_OK;
}

/* FB_EEXISTS: somebody else was faster. */
static int
take_lease(const struct shared *shared, uint32_t shard, uint32_t epoch,
    struct download_part *part, struct fb_error *err)
{
	char key[SHARED_KEY_SIZE], body[sizeof(SESSION) + FB_RUN_ID_SIZE];

	if (epoch > FB_LEASE_MAX)
		return fb_fail(err, FB_EREFUSED,
		    "shard %u has been taken "
		    "over too often",
		    shard);
	fb_random_run_id(part->session);
	part->lease = epoch;
	(void)snprintf(body, sizeof(body), SESSION "%s\n", part->session);
	shared_key(shared->name, shard, epoch, "lease", key);
	return shared_put(shared->engine, shared->repo, key,
	    (struct fb_span){ (const uint8_t *)body, strlen(body) }, err);
}

static bool
is_ours(const struct shared *shared, const struct shared_lease *lease)
{
	FB_AUTO_FREE char *dir =
	    fb_state_path(shared->engine, "runs/%s", lease->session);

	return lease->epoch > 0 && !lease->fenced && is_there(dir);
}

/* One look, and what follows from it.  *ret_taken: the lease is ours. */
static int
try_claim(const struct shared *shared, uint32_t shard, bool take_over,
    struct watch *watch, struct download_part *part, bool *ret_taken,
    bool *ret_committed, struct fb_error *err)
{
	struct shared_lease lease;
	bool dead = take_over;
	int rc = shared_look(shared, shard, &lease, err);

	*ret_taken = false;
	if (rc < 0)
		return rc;
	if (lease.committed) {
		*ret_committed = true;
		return FB_OK;
	}
	if (is_ours(shared, &lease)) { /* cut off: it goes on */
		memcpy(part->session, lease.session, sizeof(part->session));
		part->lease = lease.epoch;
		*ret_taken = true;
		return FB_OK;
	}
	if (lease.epoch > 0 && !lease.fenced && !dead)
		rc = wait_for(shared, shard, &lease, watch, &dead, err);
	if (rc < 0)
		return rc;
	if (lease.epoch > 0 && !lease.fenced && !dead)
		return FB_OK;
	if (lease.epoch > 0 && !lease.fenced)
		rc = fb_repo_fence(shared->repo, lease.session,
		    "its shard was taken over", ret_committed, err);
	if (rc < 0 || *ret_committed)
		return rc;
	rc = take_lease(shared, shard, lease.epoch + 1, part, err);
	*ret_taken = rc == FB_OK;
	return rc == FB_EEXISTS ? FB_OK : rc;
}

/* Who seals takes the leases away: one that is taken after that is of a shard
 * that was committed. */
static int
give_up_closed(const struct shared *shared, uint32_t shard,
    const struct download_part *part, bool *ret_closed, struct fb_error *err)
{
	char key[SHARED_KEY_SIZE];
	struct fb_error ignored = { 0 };
	int rc = shared_is_closed(shared, ret_closed, err);

	if (rc < 0 || !*ret_closed)
		return rc;
	shared_key(shared->name, shard, part->lease, "lease", key);
	(void)!fb_store_remove(shared->repo->store, key, &ignored);
	return FB_OK;
}

int
shared_claim(const struct shared *shared, uint32_t shard, bool take_over,
    struct download_part *ret_part, bool *ret_committed, struct fb_error *err)
{
	struct download_part part = { .lease = 0 };
	struct watch watch = { 0 };
	bool taken = false;
	int rc = FB_OK;

	*ret_committed = false;
	while (rc == FB_OK && !taken && !*ret_committed)
		rc = try_claim(shared, shard, take_over, &watch, &part, &taken,
		    ret_committed, err);
	if (rc == FB_OK && taken)
		rc = give_up_closed(shared, shard, &part, ret_committed, err);
	if (*ret_committed)
		taken = false;
	for (uint32_t e = 1; rc == FB_OK && taken && e < part.lease; e++)
		rc = adopt(shared, shard, e, err);
	if (rc < 0 || *ret_committed)
		return rc < 0
		    ? fb_wrap(err, "shard %u of '%s'", shard, shared->name)
		    : FB_OK;
	memcpy(part.shard.of, shared->run, sizeof(part.shard.of));
	memcpy(part.shared, shared->name, sizeof(part.shared));
	part.shard.number = shard;
	part.shard.count = shared->shards;
	part.predecessors = shared->predecessors;
	part.predecessor_count = shared->predecessor_count;
	*ret_part = part;
	return FB_OK;
}

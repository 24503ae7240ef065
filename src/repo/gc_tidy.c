/*
 * Small objects that nobody needs any more: of sessions that are over, of
 * runs that are forgotten, of generations that are past.  None of it is
 * named by a run, so that nothing here can cost one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/format/attest.h"
#include "fleetbak/format/pack.h"

#include "gc_impl.h"
#include "packer.h"

struct keys {
	char **items;
	size_t count;
};

static void
release_keys(struct keys *keys)
{
	for (size_t i = 0; i < keys->count; i++)
		free(keys->items[i]);
	free(keys->items);
}
#define AUTO_KEYS FB_CLEANUP(release_keys)

static void
add_key(struct keys *keys, const char *key)
{
	keys->items = fb_realloc(
	    keys->items, keys->count + 1, sizeof(*keys->items));
	keys->items[keys->count++] = fb_strdup(key);
}

static int
visit_key(const char *key, uint64_t size, void *arg, struct fb_error *err)
{
	(void)size;
	(void)err;
	add_key(arg, key);
	return FB_OK;
}

static int
list_keys(struct fb_repo *repo, const char *prefix, struct keys *keys,
    struct fb_error *err)
{
	return fb_store_list(repo->store, prefix, visit_key, keys, err);
}

/* What the parts of tidying share. */
struct tidying {
	struct fb_repo *repo;
	struct fb_gc_report *report;
	struct fb_run_ids forgotten;      /* sessions */
	struct fb_run_ids kept, kept_runs; /* committed, not forgotten */
	struct keys doomed;
};

static void
doom(struct tidying *tidying, const char *key)
{
	add_key(&tidying->doomed, key);
}

/* What was doomed goes. */
static int
remove_doomed(struct tidying *tidying, struct fb_error *err)
{
	struct keys *keys = &tidying->doomed;
	const struct fb_gc_doomed doomed = { keys->items, keys->count, NULL,
		NULL };
	FB_AUTO_FREE bool *gone = fb_alloc(keys->count + 1, sizeof(*gone));
	int rc = fb_gc_remove_keys(
	    tidying->repo, &doomed, &tidying->report->locks, gone, err);

	for (size_t i = 0; i < keys->count; i++)
		tidying->report->tidied += gone[i];
	release_keys(keys);
	*keys = (struct keys){ 0 };
	return rc;
}

/* ... and these only after it. */
static int
remove_in_order(
    struct tidying *tidying, struct keys *others, struct fb_error *err)
{
	int rc = remove_doomed(tidying, err);

	if (rc < 0)
		return rc;
	tidying->doomed = *others;
	*others = (struct keys){ 0 };
	return remove_doomed(tidying, err);
}

static int
note_kept(const struct fb_run_ref *run, void *arg, struct fb_error *err)
{
	struct tidying *tidying = arg;

	(void)err;
	/* A damaged register keeps what it can be thought to name. */
	fb_run_ids_add(&tidying->kept, run->session);
	fb_run_ids_add(&tidying->kept_runs, run->run);
	return FB_OK;
}

/* The id that follows the prefix; false: there is none. */
static bool
id_of(const char *key, const char *prefix, char id[FB_RUN_ID_SIZE])
{
	const char *text = key + strlen(prefix);

	if (strlen(text) < FB_RUN_ID_LEN || !fb_run_id_ok(text, FB_RUN_ID_LEN))
		return false;
	memcpy(id, text, FB_RUN_ID_LEN);
	id[FB_RUN_ID_LEN] = '\0';
	return true;
}

/* pending/ and holds/ of forgotten runs: forgets/ says it for ever. */
static int
tidy_forgotten(
    struct tidying *tidying, const char *prefix, struct fb_error *err)
{
	AUTO_KEYS struct keys keys = { 0 };
	int rc = list_keys(tidying->repo, prefix, &keys, err);

	for (size_t i = 0; rc == FB_OK && i < keys.count; i++) {
		char id[FB_RUN_ID_SIZE];

		if (id_of(keys.items[i], prefix, id) &&
		    fb_run_ids_have(&tidying->forgotten, id))
			doom(tidying, keys.items[i]);
	}
	return rc < 0 ? rc : remove_doomed(tidying, err);
}

/* FB_ENOTFOUND: it has no register. */
static int
is_fenced(struct fb_repo *repo, const char *session, bool *ret_fenced,
    struct fb_error *err)
{
	struct fb_register reg = { 0 };
	int rc = fb_repo_register(repo, session, &reg, err);

	*ret_fenced = rc == FB_OK && reg.fence;
	fb_register_release(&reg);
	/* Whatever it is, it is not a fence. */
	return rc == FB_ECORRUPT || rc == FB_ETOONEW ? FB_OK : rc;
}

/* A session that is committed, and not listed so yet, stays: it is what the
 * next prune knows that by. */
static bool
is_unlisted(const struct tidying *tidying, const char *session, bool fenced)
{
	return !fenced && !fb_run_ids_have(&tidying->kept, session) &&
	    !fb_run_ids_have(&tidying->forgotten, session);
}

/* A session that has ended without a commit never makes one, even when
 * somebody should resume it. */
static int
settle_ended(
    struct tidying *tidying, const char *session, struct fb_error *err)
{
	struct fb_gc_session ended = { 0 };
	FB_AUTO_BUF struct fb_buf text = { 0 };
	FB_AUTO_FREE char *key = fb_format("sessions/%s", session);
	struct fb_error ignored = { 0 };
	int rc = fb_store_get(tidying->repo->store, key, FB_SESSION_DOC_MAX,
	    &text, NULL, err);

	if (rc == FB_ENOTFOUND)
		return FB_OK;
	if (rc < 0 && rc != FB_ECORRUPT)
		return rc;
	if (rc < 0 ||
	    fb_session_doc_decode(
	        fb_buf_span(&text), &ended.doc, &ignored) < 0)
		ended.doc = (struct fb_session_doc){ .kind = "unknown" };
	memcpy(ended.id, session, FB_RUN_ID_SIZE);
	return fb_gc_fence(tidying->repo, &ended, err);
}

/* First the session, then its end: an end alone says nothing, a session
 * alone would be waited for. */
static int
tidy_sessions(struct tidying *tidying, struct fb_error *err)
{
	static const char prefix[] = "sessions/";
	AUTO_KEYS struct keys keys = { 0 }, ends = { 0 };
	int rc = list_keys(tidying->repo, prefix, &keys, err);

	for (size_t i = 0; rc == FB_OK && i < keys.count; i++) {
		const char *key = keys.items[i];
		bool fenced, ended;
		char id[FB_RUN_ID_SIZE];

		if (!id_of(key, prefix, id))
			continue;
		ended = strlen(key) > strlen(prefix) + FB_RUN_ID_LEN ||
		    (i + 1 < keys.count &&
		        strncmp(keys.items[i + 1], key, strlen(key)) == 0);
		if (ended && strlen(key) == strlen(prefix) + FB_RUN_ID_LEN)
			rc = settle_ended(tidying, id, err);
		if (rc == FB_OK && !ended)
			rc = is_fenced(tidying->repo, id, &fenced, err);
		if (rc == FB_ENOTFOUND)
			rc = FB_OK; /* it is open */
		else if (rc == FB_OK &&
		    (ended || !is_unlisted(tidying, id, fenced)))
			add_key(strlen(key) > strlen(prefix) + FB_RUN_ID_LEN
			        ? &ends
			        : &tidying->doomed,
			    key);
	}
	return rc < 0 ? rc : remove_in_order(tidying, &ends, err);
}

/* runs/ of sessions that were fenced on their way to the commit. */
static int
tidy_runs(struct tidying *tidying, struct fb_error *err)
{
	static const char prefix[] = "runs/";
	AUTO_KEYS struct keys keys = { 0 };
	int rc = list_keys(tidying->repo, prefix, &keys, err);

	for (size_t i = 0; rc == FB_OK && i < keys.count; i++) {
		char id[FB_RUN_ID_SIZE];
		bool fenced = false;

		if (!id_of(keys.items[i], prefix, id) ||
		    fb_run_ids_have(&tidying->kept_runs, id))
			continue;
		rc = is_fenced(tidying->repo, id, &fenced, err);
		if (rc == FB_ENOTFOUND)
			rc = FB_OK;
		if (rc == FB_OK && fenced)
			doom(tidying, keys.items[i]);
	}
	return rc < 0 ? rc : remove_doomed(tidying, err);
}

/* Hints serve as long as one of their packs is there, also when their own
 * run is not.  Their seals go first: without hints nobody judges them. */
static int
tidy_hints(struct tidying *tidying, struct fb_error *err)
{
	static const char prefix[] = "hints/";
	AUTO_KEYS struct keys keys = { 0 }, hints_keys = { 0 };
	struct fb_repo *repo = tidying->repo;
	int rc = list_keys(repo, prefix, &keys, err);

	for (size_t i = 0; rc == FB_OK && i < keys.count; i++) {
		const char *key = keys.items[i];
		struct gc_hints hints;
		char id[FB_RUN_ID_SIZE];

		if (!id_of(key, prefix, id) ||
		    fb_run_ids_have(&tidying->kept, id))
			continue;
		rc = gc_hints_look(repo, id, &hints, err);
		if (rc == FB_OK && !hints.any)
			add_key(strlen(key) > strlen(prefix) + FB_RUN_ID_LEN
			        ? &tidying->doomed
			        : &hints_keys,
			    key);
		if (rc == FB_ENOTFOUND)
			rc = FB_OK;
	}
	return rc < 0 ? rc : remove_in_order(tidying, &hints_keys, err);
}

/* Attestations of packs that are gone: a pack that comes back, with a copy,
 * can be attested again. */
static int
tidy_attests(struct tidying *tidying, struct fb_error *err)
{
	AUTO_KEYS struct keys keys = { 0 };
	struct fb_repo *repo = tidying->repo;
	int rc = list_keys(repo, "attests/", &keys, err);

	for (size_t i = 0; rc == FB_OK && i < keys.count; i++) {
		char pack[FB_OBJECT_KEY_SIZE];
		struct fb_digest id;
		uint64_t size;

		if (!fb_attest_key_parse(keys.items[i], &id))
			continue;
		fb_pack_key(&id, pack);
		rc = fb_store_head(repo->store, pack, &size, err);
		if (rc != FB_ENOTFOUND)
			continue;
		doom(tidying, keys.items[i]);
		rc = FB_OK;
	}
	return rc < 0 ? rc : remove_doomed(tidying, err);
}

/* Sets of generations that are over; one of the next may be on its way. */
static int
tidy_sets(struct tidying *tidying, struct fb_error *err)
{
	static const char prefix[] = "gc/sets/";
	AUTO_KEYS struct keys keys = { 0 };
	char tag[FB_STORE_TAG_SIZE];
	struct fb_gc_doc doc;
	int rc = fb_gc_read_current(tidying->repo, &doc, tag, err);

	if (rc == FB_OK)
		rc = list_keys(tidying->repo, prefix, &keys, err);
	for (size_t i = 0; rc == FB_OK && i < keys.count; i++) {
		const char *hex = keys.items[i] + strlen(prefix);
		struct fb_error ignored = { 0 };
		struct fb_gc_set set = { 0 };
		struct fb_digest id;
		bool past;

		if (fb_digest_parse((struct fb_span){ (const uint8_t *)hex,
		                        strlen(hex) },
		        &id, &ignored) < 0 ||
		    fb_gc_read_set(tidying->repo, &id, &set, &ignored) < 0)
			continue;
		past = set.generation < doc.generation ||
		    (set.generation == doc.generation &&
		        doc.phase == FB_GC_IDLE);
		fb_gc_set_release(&set);
		if (past)
			doom(tidying, keys.items[i]);
	}
	return rc < 0 ? rc : remove_doomed(tidying, err);
}

int
fb_gc_remove_runs(struct fb_repo *repo, const struct fb_run_ids *runs,
    struct fb_gc_report *report, struct fb_error *err)
{
	static const char prefix[] = "runs/";
	AUTO_KEYS struct keys all = { 0 }, keys = { 0 };
	char id[FB_RUN_ID_SIZE], last[FB_RUN_ID_SIZE] = "";
	FB_AUTO_FREE bool *gone = NULL;
	int rc;

	if (runs->count == 0)
		return FB_OK;
	rc = list_keys(repo, prefix, &all, err);
	for (size_t i = 0; rc == FB_OK && i < all.count; i++)
		if (id_of(all.items[i], prefix, id) &&
		    fb_run_ids_have(runs, id))
			add_key(&keys, all.items[i]);
	if (rc < 0)
		return rc;
	gone = fb_alloc(keys.count + 1, sizeof(*gone));
	rc = fb_gc_remove_keys(repo,
	    &(struct fb_gc_doomed){ keys.items, keys.count, NULL, NULL },
	    &report->locks, gone, err);
	for (size_t i = 0; i < keys.count; i++) {
		if (!gone[i] || !id_of(keys.items[i], prefix, id))
			continue;
		report->runs += strcmp(id, last) != 0;
		memcpy(last, id, sizeof(last));
	}
	return rc;
}

int
fb_gc_tidy(
    struct fb_repo *repo, struct fb_gc_report *report, struct fb_error *err)
{
	struct tidying tidying = { .repo = repo, .report = report };
	int rc = fb_gc_forgotten(repo, &tidying.forgotten, NULL, err);

	if (rc == FB_OK)
		rc = fb_repo_kept_runs(repo, note_kept, &tidying, err);
	if (rc == FB_OK)
		rc = tidy_forgotten(&tidying, "pending/", err);
	if (rc == FB_OK)
		rc = tidy_forgotten(&tidying, "holds/", err);
	if (rc == FB_OK)
		rc = tidy_sessions(&tidying, err);
	if (rc == FB_OK)
		rc = tidy_runs(&tidying, err);
	/* The hints are asked which packs a session had. */
	if (rc == FB_OK && repo->vault != NULL)
		rc = fb_gc_tidy_keys(
		    repo, &tidying.kept, &tidying.forgotten, report, err);
	if (rc == FB_OK && repo->vault != NULL)
		rc = tidy_attests(&tidying, err);
	if (rc == FB_OK)
		rc = tidy_hints(&tidying, err);
	if (rc == FB_OK)
		rc = tidy_sets(&tidying, err);
	fb_run_ids_release(&tidying.forgotten);
	fb_run_ids_release(&tidying.kept);
	fb_run_ids_release(&tidying.kept_runs);
	release_keys(&tidying.doomed);
	return rc;
}

/* Clocks of a server and of those who ask it are nearer to each other. */
#define CLOCKS_NS (INT64_C(20) * 60 * 1000000000)

int
fb_gc_tidy_uploads(struct fb_repo *repo, const struct fb_gc_request *request,
    struct fb_gc_report *report, struct fb_error *err)
{
	int64_t now = fb_clock_wall_ns(), before = now;
	uint64_t patience = request->fence_after_ms < INT64_MAX / 1000000
	    ? request->fence_after_ms * 1000000
	    : INT64_MAX;
	struct fb_gc_session *sessions = NULL;
	size_t count = 0;
	int rc;

	if (repo->store->ops->abandon == NULL)
		return FB_OK;
	rc = fb_gc_open_sessions(repo, &sessions, &count, err);
	for (size_t i = 0; rc == FB_OK && i < count; i++) {
		int64_t began = now - (int64_t)(sessions[i].age_ms * 1000000);

		before = began < before ? began : before;
	}
	free(sessions);
	before -= CLOCKS_NS;
	if (now - (int64_t)patience > before)
		before = now - (int64_t)patience;
	if (rc == FB_OK)
		rc = fb_store_abandon(
		    repo->store, before, &report->uploads, err);
	return rc;
}

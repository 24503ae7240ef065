/* doctor: a repository, the place where it is, and what was done to it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/buf.h"
#include "fleetbak/base/clock.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "fleetbak/engine/shard.h"
#include "fleetbak/repo/gc.h"
#include "fleetbak/repo/vault.h"

#include "doctor_impl.h"

/* So many objects that were tampered with are told one by one. */
#define TAMPERED_TOLD 20

/* Signed requests stop being good at 15 minutes. */
#define CLOCK_APART_MS 60000

/* A session that has been open for a day has died. */
#define SESSION_OLD_MS (UINT64_C(24) * 3600 * 1000)

#define DAY_MS (UINT64_C(24) * 3600 * 1000)

struct looking {
	const struct fb_engine *engine;
	const struct fb_config_repository *config;
	struct fb_doctor_report *report;
	struct fb_doctor_repo *repo;
};

static void
add_yes(struct looking *looking, const char *what, enum fb_trait trait,
    const char *text)
{
	if (trait == FB_TRAIT_YES)
		doctor_add(looking->report, true, what, FB_HEALTH_OK, NULL,
		    "%s", text);
}

static void
look_at_conditions(struct looking *looking)
{
	const struct fb_store_traits *traits = &looking->repo->traits;

	if (looking->repo->one_writer && looking->repo->has_lease)
		doctor_add(looking->report, true, "conditional writes",
		    FB_HEALTH_OK, NULL,
		    "the server refuses them: etcd decides");
	else if (looking->repo->one_writer)
		doctor_add(looking->report, true, "conditional writes",
		    FB_HEALTH_WARN,
		    "let one host alone write, or choose another server",
		    "the server refuses them: only one host may write at a "
		    "time");
	else
		add_yes(looking, "conditional writes", traits->create_if,
		    "create and replace");
	add_yes(looking, "read after write", traits->read_after_write,
	    "what was written is read at once");
	add_yes(looking, "list after write", traits->list_after_write,
	    "what was written is listed at once");
}

static const char *
mode_name(enum fb_lock_mode mode)
{
	return mode == FB_LOCK_COMPLIANCE ? "compliance" : "governance";
}

static void
look_at_lock(struct looking *looking)
{
	const struct fb_store_traits *traits = &looking->repo->traits;
	const char *wanted = looking->config->object_lock;
	FB_AUTO_BUF struct fb_buf span = { 0 };

	fb_text_add_span(&span, looking->config->lock_ms);
	if (traits->object_lock != FB_TRAIT_YES && wanted != NULL) {
		struct fb_error why = { 0 };

		(void)fb_fail_id(&why, FB_ECONFIG, "E-S3-LOCK",
		    "the bucket has no object lock, and object_lock is %s: "
		    "downloads fail",
		    wanted);
		(void)fb_hint(&why,
		    "a bucket that is made with object lock, as 'fleetbak "
		    "init' makes it; or take object_lock away");
		doctor_add_error(
		    looking->report, true, "object lock", FB_HEALTH_FAIL, &why);
	} else if (traits->object_lock != FB_TRAIT_YES) {
		doctor_add(looking->report, true, "object lock", FB_HEALTH_OK,
		    NULL, "off");
	} else if (wanted != NULL) {
		doctor_add(looking->report, true, "object lock", FB_HEALTH_OK,
		    NULL, "%s, at least %s for what a run writes or uses",
		    wanted, fb_buf_str(&span));
	} else if (traits->lock_days > 0) {
		fb_buf_clear(&span);
		fb_text_add_span(&span, traits->lock_days * DAY_MS);
		doctor_add(looking->report, true, "object lock", FB_HEALTH_WARN,
		    "set object_lock and lock_for, so that locks are renewed",
		    "the bucket locks each object (%s, %s), and nothing makes "
		    "that longer for what is used again",
		    mode_name(traits->lock_mode), fb_buf_str(&span));
	} else {
		doctor_add(looking->report, true, "object lock", FB_HEALTH_WARN,
		    "set object_lock and lock_for",
		    "the bucket can lock objects, and nothing does");
	}
	if (wanted != NULL && traits->lock_days > 0)
		doctor_add(looking->report, true, "default retention",
		    FB_HEALTH_OK, NULL,
		    "%s, %llu days, for what says nothing "
		    "of its own",
		    mode_name(traits->lock_mode),
		    (unsigned long long)traits->lock_days);
}

static void
look_at_place(struct looking *looking)
{
	const struct fb_store_traits *traits = &looking->repo->traits;
	int64_t apart = traits->clock_ms;
	bool far = apart > CLOCK_APART_MS || apart < -CLOCK_APART_MS;

	look_at_conditions(looking);
	if (strncmp(looking->config->url, "s3:", 3) != 0)
		return;
	doctor_add(looking->report, true, "versioning", FB_HEALTH_OK, NULL,
	    "%s",
	    traits->versioning == FB_TRAIT_YES
	        ? "on: what is deleted or overwritten can be brought back"
	        : "off");
	look_at_lock(looking);
	doctor_add(looking->report, true, "clock",
	    far ? FB_HEALTH_WARN : FB_HEALTH_OK,
	    far ? "set this host's clock: timedatectl" : NULL, "%+.1f s",
	    (double)apart / 1000);
}

/* How much can still be stored, where that is known. */
static void
look_at_space(struct looking *looking, struct fb_store *store)
{
	FB_AUTO_BUF struct fb_buf size = { 0 };
	struct fb_error why = { 0 };
	uint64_t space;

	if (fb_store_space(store, &space, &why) < 0) {
		doctor_add_error(
		    looking->report, true, "space", FB_HEALTH_FAIL, &why);
	} else if (space != UINT64_MAX) {
		fb_text_add_size(&size, space);
		doctor_add(looking->report, true, "space", FB_HEALTH_OK, NULL,
		    "%s free", fb_buf_str(&size));
	}
}

static int
look_at_store(struct looking *looking, const char *what,
    struct fb_store **ret_store, struct fb_error *err)
{
	int64_t began = fb_clock_mono_ns();
	int rc = engine_open_store(
	    looking->engine, looking->config, false, ret_store, err);

	if (rc == FB_OK) {
		rc = fb_store_probe(*ret_store, &looking->repo->traits, err);
		if (rc < 0)
			fb_store_close(*ret_store);
	}
	if (rc < 0) {
		doctor_add_error(
		    looking->report, false, what, FB_HEALTH_FAIL, err);
		return rc;
	}
	looking->repo->probed = true;
	looking->repo->one_writer = fb_store_one_writer(*ret_store);
	looking->repo->has_lease = fb_store_has_lease(*ret_store);
	looking->repo->latency_ms =
	    (uint64_t)(fb_clock_mono_ns() - began) / 1000000;
	doctor_add(looking->report, false, what, FB_HEALTH_OK, NULL,
	    "%s, tried out in %llu ms", looking->config->url,
	    (unsigned long long)looking->repo->latency_ms);
	look_at_place(looking);
	look_at_space(looking, *ret_store);
	return FB_OK;
}

static void
look_at_signing(struct looking *looking, const struct fb_trust *trust)
{
	FB_AUTO_SIGN_KEY struct fb_sign_key *key = NULL;
	struct fb_error why = { 0 };
	bool trusted = false;

	if (looking->config->sign_with == NULL) {
		doctor_add(looking->report, true, "signing key", FB_HEALTH_OK,
		    NULL, "none: this host restores, and does not back up");
		return;
	}
	if (fb_engine_sign_key(looking->engine, &key, &why) < 0) {
		doctor_add_error(
		    looking->report, true, "signing key", FB_HEALTH_FAIL, &why);
		return;
	}
	for (size_t i = 0; i < trust->count; i++)
		trusted = trusted ||
		    strcmp(fb_verify_key_id(trust->keys[i]),
		        fb_sign_key_id(key)) == 0;
	if (trusted) {
		doctor_add(looking->report, true, "signing key", FB_HEALTH_OK,
		    NULL, "%s", fb_sign_key_id(key));
		return;
	}
	(void)fb_fail_id(&why, FB_EKEY, "E-KEY-MISMATCH",
	    "the signing key %s is none of the trusted signers",
	    fb_sign_key_id(key));
	(void)fb_hint(&why, "its public half belongs into trusted_signers");
	doctor_add_error(
	    looking->report, true, "signing key", FB_HEALTH_FAIL, &why);
}

static void
look_at_encryption(struct looking *looking, const struct fb_repo *repo)
{
	struct fb_recipients *recipients = NULL;
	struct fb_error why = { 0 };

	if (repo->vault == NULL) {
		doctor_add(looking->report, true, "encryption", FB_HEALTH_OK,
		    NULL, "none: made in clear");
		return;
	}
	if (fb_engine_recipients(looking->engine, &recipients, &why) < 0)
		doctor_add_error(
		    looking->report, true, "encryption", FB_HEALTH_FAIL, &why);
	else if (fb_vault_opens(repo->vault))
		doctor_add(looking->report, true, "encryption", FB_HEALTH_WARN,
		    "print fleetbak keys sheet; move decrypt_with to a safe "
		    "place off this host",
		    "the private key is here: who takes this host over opens "
		    "every backup");
	else
		doctor_add(looking->report, true, "encryption", FB_HEALTH_OK,
		    NULL, "to %zu recipients; nothing here opens it",
		    looking->config->encrypt_to_count);
	fb_recipients_free(recipients);
}

static void
add_tampered(struct looking *looking)
{
	struct fb_tampered_list *list = &looking->repo->tampered;
	size_t told = 0;

	for (size_t i = 0; i < list->count; i++) {
		struct fb_error why = { 0 };

		looking->repo->mendable += list->items[i].good != NULL;
		if (told++ >= TAMPERED_TOLD)
			continue;
		(void)fb_tampered_fail(&list->items[i], &why);
		doctor_add_error(looking->report, true, list->items[i].key,
		    FB_HEALTH_FAIL, &why);
	}
	if (told > TAMPERED_TOLD)
		doctor_add(looking->report, true, "versions", FB_HEALTH_FAIL,
		    "fleetbak doctor --fix",
		    "and %zu more were deleted or overwritten",
		    told - TAMPERED_TOLD);
	looking->report->mendable += looking->repo->mendable;
}

static void
look_at_versions(struct looking *looking, struct fb_repo *repo)
{
	struct fb_tampered_list *list = &looking->repo->tampered;
	FB_AUTO_BUF struct fb_buf size = { 0 };
	struct fb_error why = { 0 };
	bool keeps = looking->repo->traits.versioning == FB_TRAIT_YES;
	int rc;

	rc = fb_tampered_find(repo, list, &why);
	if (!keeps && (rc == FB_EDENIED || rc == FB_EUNSUP))
		return;
	if (rc < 0) {
		doctor_add_error(
		    looking->report, true, "versions", FB_HEALTH_FAIL, &why);
		return;
	}
	/* A bucket that has stopped keeping them has old ones. */
	if (!keeps && list->count == 0 && list->old_versions == 0)
		return;
	fb_text_add_size(&size, list->old_bytes);
	doctor_add(looking->report, true, "versions", FB_HEALTH_OK, NULL,
	    "%llu older ones, %s%s", (unsigned long long)list->old_versions,
	    fb_buf_str(&size),
	    list->count == 0 ? "; nothing that is needed was deleted or "
	                       "overwritten"
	                     : "");
	add_tampered(looking);
}

/* Without its format no repository can be opened. */
static bool
look_at_format(struct looking *looking, struct fb_store *store,
    const struct fb_trust *trust)
{
	struct fb_error why = { 0 };

	bool keeps = looking->repo->traits.versioning == FB_TRAIT_YES;
	int rc = fb_tampered_format(
	    store, trust, &looking->repo->tampered, &why);

	if (!keeps && (rc == FB_EDENIED || rc == FB_EUNSUP))
		return true;
	if (rc < 0) {
		doctor_add_error(
		    looking->report, true, "versions", FB_HEALTH_FAIL, &why);
		return true;
	}
	add_tampered(looking);
	return looking->repo->tampered.count == 0;
}

static void
look_at_sessions(struct looking *looking, struct fb_repo *repo)
{
	FB_AUTO_FREE struct fb_gc_session *sessions = NULL;
	struct fb_error why = { 0 };
	size_t count = 0, old = 0;

	if (fb_gc_open_sessions(repo, &sessions, &count, &why) < 0) {
		doctor_add_error(
		    looking->report, true, "sessions", FB_HEALTH_FAIL, &why);
		return;
	}
	for (size_t i = 0; i < count; i++) {
		FB_AUTO_BUF struct fb_buf age = { 0 };

		if (sessions[i].age_ms < SESSION_OLD_MS)
			continue;
		old++;
		fb_text_add_span(&age, sessions[i].age_ms);
		doctor_add(looking->report, true, "sessions", FB_HEALTH_WARN,
		    "fleetbak prune --fence with its id, if it is dead",
		    "%s (%s by '%s') has been open for %s, so nothing can be "
		    "deleted",
		    sessions[i].id, sessions[i].doc.kind, sessions[i].doc.host,
		    fb_buf_str(&age));
	}
	if (old == 0)
		doctor_add(looking->report, true, "sessions", FB_HEALTH_OK,
		    NULL, "%zu open", count);
}

static void
look_at_deletion(struct looking *looking, struct fb_repo *repo)
{
	char tag[FB_STORE_TAG_SIZE];
	struct fb_error why = { 0 };
	struct fb_gc_doc doc;

	if (fb_gc_read_current(repo, &doc, tag, &why) < 0)
		doctor_add_error(
		    looking->report, true, "deletion", FB_HEALTH_FAIL, &why);
	else if (doc.phase != FB_GC_IDLE)
		doctor_add(looking->report, true, "deletion", FB_HEALTH_WARN,
		    "fleetbak prune goes on with it",
		    "a prune has begun and is not over");
}

static int
add_shared(
    const struct fb_shared_status *status, void *arg, struct fb_error *err)
{
	struct looking *looking = arg;
	FB_AUTO_FREE char *fix =
	    fb_format("fleetbak download --run %s --shard any/%u", status->name,
	        status->shards);

	(void)err;
	if (!status->sealed)
		doctor_add(looking->report, true, "shared run", FB_HEALTH_WARN,
		    fix, "%s: %u of %u shards are there", status->name,
		    status->committed, status->shards);
	return FB_OK;
}

static int
add_left(
    const struct fb_shared_status *status, void *arg, struct fb_error *err)
{
	struct looking *looking = arg;
	FB_AUTO_FREE char *fix =
	    fb_format("fleetbak seal --run %s", status->name);

	(void)err;
	doctor_add(looking->report, true, "shared run", FB_HEALTH_WARN, fix,
	    "%s is closed, and %u of its workers have left a machine that is "
	    "to be started, or a snapshot",
	    status->name, status->left);
	return FB_OK;
}

static void
look_at_shared(struct looking *looking, struct fb_repo *repo)
{
	struct fb_error why = { 0 };
	int rc =
	    fb_shared_list(looking->engine, repo, add_shared, looking, &why);

	if (rc == FB_OK)
		rc = fb_shared_left(
		    looking->engine, repo, add_left, looking, &why);
	if (rc < 0)
		doctor_add_error(
		    looking->report, true, "shared run", FB_HEALTH_FAIL, &why);
}

static void
look_at_locks(struct looking *looking, struct fb_repo *repo)
{
	struct fb_lock_cost *cost = &looking->repo->locks;
	FB_AUTO_BUF struct fb_buf size = { 0 };
	char until[FB_TIME_SIZE];
	struct fb_error why = { 0 };

	if (looking->repo->traits.object_lock != FB_TRAIT_YES)
		return;
	if (fb_locks_preview(looking->engine, repo, cost, &why) < 0) {
		doctor_add_error(
		    looking->report, true, "locks", FB_HEALTH_FAIL, &why);
		return;
	}
	if (!cost->wanted)
		return;
	if (cost->failed > 0)
		doctor_add_error(
		    looking->report, true, "locks", FB_HEALTH_FAIL, &cost->err);
	fb_text_add_size(&size, cost->bytes);
	fb_time_format(cost->until_ns, until);
	doctor_add(looking->report, true, "locks", FB_HEALTH_OK, NULL,
	    "the next download looks at %llu objects (a request each) and "
	    "locks %s%llu of them, %s, until %s (a request each)",
	    (unsigned long long)cost->objects, cost->estimated ? "about " : "",
	    (unsigned long long)cost->renewed, fb_buf_str(&size), until);
}

/* Whoever writes here asks the lease service first: does it answer? */
static void
look_at_lease(struct looking *looking, const struct fb_repo *repo)
{
	struct fb_error why = { 0 };

	if (fb_store_ready(repo->store, &why) < 0)
		doctor_add_error(looking->report, true, "lease service",
		    FB_HEALTH_FAIL, &why);
	else
		doctor_add(looking->report, true, "lease service", FB_HEALTH_OK,
		    NULL, "etcd answers");
}

/* A repository that was made for many, in a place that has come to forget
 * about conditions, as a bucket may when versions are switched on. */
static void
look_at_writers(struct looking *looking, const struct fb_repo *repo)
{
	struct fb_error why = { 0 };

	if (repo->format.leased) {
		look_at_lease(looking, repo);
		return;
	}
	if (repo->format.one_writer && looking->repo->has_lease)
		doctor_add(looking->report, true, "lease service",
		    FB_HEALTH_WARN, "take etcd away, or make a new repository",
		    "not used: the repository was made without it, for one "
		    "writer");
	if (repo->format.one_writer || !looking->repo->one_writer)
		return;
	(void)fb_fail_id(&why, FB_EUNSUP, "E-STORE-PROBE",
	    "it was made for many writers, and its place does not keep "
	    "conditional writes any more");
	(void)fb_hint(&why,
	    "let one host alone write; on radosgw: make a new bucket without "
	    "versions");
	doctor_add_error(
	    looking->report, true, "writers", FB_HEALTH_FAIL, &why);
}

static void
look_inside(struct looking *looking)
{
	FB_AUTO_REPO struct fb_repo *repo = NULL;
	struct fb_error why = { 0 };

	if (fb_engine_repo(looking->engine, &repo, &why) < 0) {
		doctor_add_error(
		    looking->report, true, "repository", FB_HEALTH_FAIL, &why);
		return;
	}
	doctor_add(looking->report, true, "repository", FB_HEALTH_OK, NULL,
	    "%s, format %d", repo->format.repository, FB_FORMAT_VERSION);
	look_at_writers(looking, repo);
	look_at_encryption(looking, repo);
	look_at_versions(looking, repo);
	look_at_locks(looking, repo);
	look_at_sessions(looking, repo);
	look_at_deletion(looking, repo);
	look_at_shared(looking, repo);
}

void
doctor_look_at_repo(
    const struct fb_engine *engine, struct fb_doctor_report *report)
{
	const struct fb_config_repository *config =
	    fb_engine_repo_config(engine);
	FB_AUTO_FREE char *what = fb_format("repo %s", config->name);
	struct looking looking = { engine, config, report, NULL };
	struct fb_trust trust = { 0 };
	struct fb_store *store = NULL;
	struct fb_error why = { 0 };
	bool opens;

	report->repos = fb_realloc(
	    report->repos, report->repo_count + 1, sizeof(*report->repos));
	looking.repo = &report->repos[report->repo_count++];
	*looking.repo =
	    (struct fb_doctor_repo){ .name = fb_strdup(config->name) };
	if (look_at_store(&looking, what, &store, &why) < 0)
		return;
	if (engine_read_trust(engine, &trust, &why) < 0) {
		doctor_add_error(
		    report, true, "trusted signers", FB_HEALTH_FAIL, &why);
		fb_store_close(store);
		return;
	}
	look_at_signing(&looking, &trust);
	opens = look_at_format(&looking, store, &trust);
	fb_trust_release(&trust);
	fb_store_close(store);
	if (opens)
		look_inside(&looking);
}

static int
mend_repo(const struct fb_engine *engine, const struct fb_doctor_repo *repo,
    size_t *ret_mended, struct fb_error *err)
{
	struct fb_engine one = *engine;
	const struct fb_config_repository *config;
	struct fb_store *store;
	struct fb_error first = { 0 };
	int rc;

	one.repository = repo->name;
	rc = engine_need_repo(&one, &config, err);
	if (rc == FB_OK)
		rc = engine_open_store(&one, config, false, &store, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < repo->tampered.count; i++) {
		if (repo->tampered.items[i].good == NULL)
			continue;
		rc = fb_tampered_mend(store, &repo->tampered.items[i], err);
		*ret_mended += rc == FB_OK;
		if (rc < 0 && first.code == 0)
			first = *err;
		if (rc == FB_EDENIED || rc == FB_EUNREACH)
			break; /* the others would fare no better */
	}
	fb_store_close(store);
	*err = first;
	return first.code;
}

int
fb_doctor_mend(const struct fb_engine *engine,
    const struct fb_doctor_report *report, size_t *ret_mended,
    struct fb_error *err)
{
	int rc = FB_OK;

	*ret_mended = 0;
	for (size_t i = 0; rc == FB_OK && i < report->repo_count; i++)
		if (report->repos[i].mendable > 0)
			rc = mend_repo(
			    engine, &report->repos[i], ret_mended, err);
	return rc;
}

/* gc/current, its sets, and the sessions that are waited for. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"

#include "gc_impl.h"

#define SESSIONS "sessions/"

int
fb_gc_read_current(struct fb_repo *repo, struct fb_gc_doc *ret_doc,
    char tag[FB_STORE_TAG_SIZE], struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	int rc;

	*ret_doc = (struct fb_gc_doc){ 0 };
	tag[0] = '\0';
	rc = fb_store_get(
	    repo->store, "gc/current", FB_FORMAT_DOC_MAX, &text, tag, err);
	if (rc == FB_ENOTFOUND)
		return FB_OK; /* nothing was ever deleted */
	return rc < 0
	    ? rc
	    : fb_gc_doc_decode(fb_buf_span(&text), ret_doc, err);
}

int
fb_gc_read_set(struct fb_repo *repo, const struct fb_digest *id,
    struct fb_gc_set *ret_set, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	char key[8 + FB_DIGEST_HEX_SIZE], hex[FB_DIGEST_HEX_SIZE];
	struct fb_digest digest;
	int rc;

	fb_digest_hex(id, hex);
	(void)snprintf(key, sizeof(key), "gc/sets/%s", hex);
	rc = fb_store_get_text(
	    repo->store, key, FB_REGISTER_MAX, &text, err);
	if (rc < 0)
		return rc;
	fb_digest_of(fb_buf_span(&text), &digest);
	if (fb_digest_cmp(&digest, id) != 0)
		return fb_fail(
		    err, FB_ECORRUPT, "'%s' is not what its name says", key);
	rc = fb_gc_set_decode(fb_buf_span(&text), ret_set, err);
	return rc < 0 ? fb_wrap(err, "'%s'", key) : FB_OK;
}

/* Every session, and whether it has ended. */
struct listing {
	struct fb_repo *repo;
	struct fb_gc_session *items;
	size_t count;
};

static int
visit_session(const char *key, uint64_t size, void *arg, struct fb_error *err)
{
	struct listing *listing = arg;
	const char *id = key + strlen(SESSIONS);
	size_t len = strlen(id);

	(void)size;
	(void)err;
	if (fb_run_id_ok(id, len)) {
		listing->items = fb_realloc(listing->items,
		    listing->count + 1, sizeof(*listing->items));
		listing->items[listing->count] = (struct fb_gc_session){ 0 };
		memcpy(listing->items[listing->count++].id, id, len + 1);
	} else if (listing->count > 0 && len > FB_RUN_ID_LEN &&
	    strcmp(id + FB_RUN_ID_LEN, ".end") == 0 &&
	    memcmp(id, listing->items[listing->count - 1].id,
	        FB_RUN_ID_LEN) == 0) {
		listing->count--; /* it follows its session */
	}
	return FB_OK;
}

/* When it began: what its id says, unless it says so itself. */
static void
time_of_id(const char *id, char time[32])
{
	(void)snprintf(time, 32, "%.4s-%.2s-%.2sT%.2s:%.2s:%.2sZ", id, id + 4,
	    id + 6, id + 9, id + 11, id + 13);
}

/* What it says of itself; how old it is by our clock.  FB_ENOTFOUND: it is
 * over, and was tidied away. */
static int
read_session(struct fb_repo *repo, struct fb_gc_session *session,
    struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	char key[GC_KEY_SIZE];
	struct fb_error ignored = { 0 };
	int64_t started = 0, now = fb_clock_wall_ns();
	int rc;

	(void)snprintf(key, sizeof(key), SESSIONS "%s", session->id);
	rc = fb_store_get(
	    repo->store, key, FB_SESSION_DOC_MAX, &text, NULL, err);
	if (rc == FB_OK)
		rc = fb_session_doc_decode(
		    fb_buf_span(&text), &session->doc, err);
	if (rc == FB_ETOONEW || rc == FB_ECORRUPT) {
		/* Whoever wrote that: it is waited for as for any other. */
		session->doc = (struct fb_session_doc){ .kind = "unknown" };
		time_of_id(session->id, session->doc.started);
		rc = FB_OK;
	}
	if (rc < 0)
		return rc;
	if (fb_time_parse(session->doc.started, &started, &ignored) == FB_OK &&
	    started < now)
		session->age_ms = (uint64_t)(now - started) / 1000000;
	return FB_OK;
}

int
fb_gc_resolved_sessions(
    struct fb_repo *repo, struct fb_run_ids *there, struct fb_error *err)
{
	struct listing listing = { .repo = repo };
	struct fb_run_ids sessions = { 0 };
	int rc = fb_store_list(
	    repo->store, SESSIONS, visit_session, &listing, err);

	for (size_t i = 0; rc == FB_OK && i < listing.count; i++)
		fb_run_ids_add(&sessions, listing.items[i].id);
	if (rc == FB_OK)
		rc = fb_gc_have_registers(repo, &sessions, there, err);
	fb_run_ids_release(&sessions);
	free(listing.items);
	return rc;
}

/* One that was announced and has no end: is it open, and what does it say? */
static int
look_at_session(struct fb_repo *repo, struct fb_gc_session *session,
    bool *ret_open, struct fb_error *err)
{
	char key[GC_KEY_SIZE];
	uint64_t size;
	int rc;

	*ret_open = false;
	(void)snprintf(key, sizeof(key), "commits/%s", session->id);
	rc = fb_store_head(repo->store, key, &size, err);
	if (rc == FB_OK)
		return FB_OK; /* committed, or fenced */
	if (rc == FB_ENOTFOUND)
		rc = read_session(repo, session, err);
	*ret_open = rc == FB_OK;
	return rc == FB_ENOTFOUND ? FB_OK : rc;
}

int
fb_gc_open_sessions(struct fb_repo *repo, struct fb_gc_session **ret_sessions,
    size_t *ret_count, struct fb_error *err)
{
	struct listing listing = { .repo = repo };
	size_t count = 0;
	int rc = fb_store_list(
	    repo->store, SESSIONS, visit_session, &listing, err);

	for (size_t i = 0; rc == FB_OK && i < listing.count; i++) {
		bool open;

		rc = look_at_session(repo, &listing.items[i], &open, err);
		if (rc == FB_OK && open)
			listing.items[count++] = listing.items[i];
	}
	if (rc < 0) {
		free(listing.items);
		return rc;
	}
	*ret_sessions = listing.items;
	*ret_count = count;
	return FB_OK;
}

int
fb_gc_open_among(struct fb_repo *repo, const struct fb_run_ids *ids,
    const struct fb_run_ids *there, struct fb_gc_session **ret_sessions,
    size_t *ret_count, struct fb_error *err)
{
	struct fb_gc_session *sessions =
	    fb_alloc(ids->count + 1, sizeof(*sessions));
	size_t count = 0;
	int rc = FB_OK;

	for (size_t i = 0; rc == FB_OK && i < ids->count; i++) {
		struct fb_gc_session *session = &sessions[count];
		char key[GC_KEY_SIZE];
		bool open = false;
		uint64_t size;

		if (fb_run_ids_have(there, ids->ids[i]))
			continue;
		*session = (struct fb_gc_session){ 0 };
		memcpy(session->id, ids->ids[i], FB_RUN_ID_SIZE);
		(void)snprintf(
		    key, sizeof(key), SESSIONS "%s.end", session->id);
		rc = fb_store_head(repo->store, key, &size, err);
		if (rc == FB_ENOTFOUND)
			rc = look_at_session(repo, session, &open, err);
		count += rc == FB_OK && open;
	}
	if (rc < 0) {
		free(sessions);
		return rc;
	}
	*ret_sessions = sessions;
	*ret_count = count;
	return FB_OK;
}

/* Only these are known never to commit under their own name. */
static bool
is_reader(const struct fb_gc_session *session)
{
	return strcmp(session->doc.kind, "restore") == 0 ||
	    strcmp(session->doc.kind, "verify") == 0 ||
	    strcmp(session->doc.kind, "copy") == 0;
}

int
fb_gc_fence(struct fb_repo *repo, const struct fb_gc_session *session,
    struct fb_error *err)
{
	struct fb_register fence = { .fence = true };
	FB_AUTO_BUF struct fb_buf text = { 0 };
	char key[GC_KEY_SIZE];
	int rc;

	if (is_reader(session)) {
		(void)snprintf(
		    key, sizeof(key), SESSIONS "%s.end", session->id);
	} else {
		memcpy(fence.session, session->id, sizeof(fence.session));
		(void)snprintf(fence.reason, sizeof(fence.reason),
		    "no sign of life for %llu h",
		    (unsigned long long)session->age_ms / 3600000);
		fb_register_encode(&fence, &text);
		(void)snprintf(key, sizeof(key), "commits/%s", session->id);
	}
	rc = fb_store_create(repo->store, key, fb_buf_span(&text), err);
	return rc == FB_EEXISTS ? FB_OK : rc; /* resolved either way */
}

static bool
is_named(const struct fb_gc_request *request, const char *id)
{
	for (size_t i = 0; i < request->fence_count; i++)
		if (strcmp(request->fence[i], id) == 0)
			return true;
	return false;
}

/* Whom it waits for, and what can be done: a reader that was killed is known
 * as dead only where its lock is. */
static int
fail_waiting(const struct fb_gc_request *request,
    const struct fb_gc_report *report, struct fb_error *err)
{
	const struct fb_gc_session *first = &report->waiting[0];
	uint64_t left_ms = request->fence_after_ms - first->age_ms;
	FB_AUTO_FREE char *others = report->waiting_count > 1
	    ? fb_format(", and so may %zu more", report->waiting_count - 1)
	    : NULL;
	FB_AUTO_FREE char *end = NULL;
	char time[FB_TIME_SIZE];

	(void)fb_fail_id(err, FB_EBUSY, "E-SESSIONS-OPEN",
	    "session %s (%s by '%s', since %s) may still need what is to be "
	    "deleted%s", first->id, first->doc.kind, first->doc.host,
	    first->doc.started, others != NULL ? others : "");
	if (left_ms < INT64_MAX / 2 / 1000000) {
		fb_time_format(
		    fb_clock_wall_ns() + (int64_t)left_ms * 1000000, time);
		end = fb_format(", by itself at %s", time);
	}
	return fb_hint(err,
	    "wait while it works on that host; %s; if the host is lost: "
	    "fleetbak prune --fence %s%s",
	    is_reader(first) ? "if it was killed, a prune there ends it"
	                     : "if it was cut off, the next download there "
	                       "goes on",
	    first->id, end != NULL ? end : "");
}

int
fb_gc_settle(struct fb_repo *repo, const struct fb_gc_request *request,
    const struct fb_gc_session *sessions, size_t count,
    struct fb_gc_report *report, struct fb_error *err)
{
	fb_gc_report_release(report);
	for (size_t i = 0; i < count; i++) {
		const struct fb_gc_session *session = &sessions[i];
		int rc = FB_OK;

		if (session->age_ms >= request->fence_after_ms ||
		    is_named(request, session->id)) {
			rc = fb_gc_fence(repo, session, err);
			report->fenced += rc == FB_OK;
		} else {
			report->waiting = fb_realloc(report->waiting,
			    report->waiting_count + 1,
			    sizeof(*report->waiting));
			report->waiting[report->waiting_count++] = *session;
		}
		if (rc < 0)
			return rc;
	}
	if (report->waiting_count == 0)
		return FB_OK;
	return fail_waiting(request, report, err);
}

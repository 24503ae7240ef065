/*
 * Giving up a run.  The steps are those of tests/model/gc_model.c, whose
 * names stand beside them: F1 to F3, U1 and U2, H1 and H2.
 */
#include "fleetbak/repo/forget.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"

#define KEY_SIZE 96
#define PENDING  "pending/"
#define HOLDS    "holds/"

/* So often is a hold made that others change meanwhile. */
#define ATTEMPTS 8
#define END      ".end"

/* What a pending record came to. */
enum outcome { OPEN, UNDONE, ONE_WAY };

struct record {
	struct fb_pending doc;
	enum outcome outcome;
	struct fb_buf end; /* ONE_WAY: the bytes of the forget record */
};

struct records {
	struct fb_repo *repo;
	struct record *items; /* trusted ones, sorted by session */
	size_t count;
	uint64_t highest; /* number of any, trusted or not */
};

static void
release_records(struct records *records)
{
	for (size_t i = 0; i < records->count; i++)
		fb_buf_release(&records->items[i].end);
	free(records->items);
	*records = (struct records){ 0 };
}
#define AUTO_RECORDS FB_CLEANUP(release_records)

static void
record_key(const char *session, uint64_t number, const char *suffix,
    char key[KEY_SIZE])
{
	(void)snprintf(key, KEY_SIZE, PENDING "%s.%" PRIu64 "%s", session,
	    number, suffix);
}

static void
forget_key(const char *session, char key[KEY_SIZE])
{
	(void)snprintf(key, KEY_SIZE, "forgets/%s", session);
}

static bool
is_trusted(struct fb_repo *repo, struct fb_span body,
    const uint8_t signature[FB_SIGNATURE_LEN])
{
	struct fb_error ignored = { 0 };

	return fb_trust_verify(&repo->trust, body,
	           (struct fb_span){ signature, FB_SIGNATURE_LEN }, NULL,
	           &ignored) == FB_OK;
}

/* Does the end of a record say that its run is given up?  Anything else
 * that stands there lets the run live. */
static bool
is_forget(struct fb_repo *repo, struct fb_span text,
    const struct fb_pending *doc)
{
	struct fb_error ignored = { 0 };
	struct fb_forget forget;
	struct fb_span body;

	return fb_forget_decode(text, &forget, &body, &ignored) == FB_OK &&
	    strcmp(forget.session, doc->session) == 0 &&
	    strcmp(forget.run, doc->run) == 0 &&
	    fb_digest_cmp(&forget.sums, &doc->sums) == 0 &&
	    is_trusted(repo, body, forget.signature);
}

static int
read_end(struct fb_repo *repo, struct record *record, struct fb_error *err)
{
	char key[KEY_SIZE];
	int rc;

	record_key(record->doc.session, record->doc.number, END, key);
	rc = fb_store_get(
	    repo->store, key, FB_PENDING_MAX, &record->end, NULL, err);
	if (rc == FB_ENOTFOUND) {
		record->outcome = OPEN;
		return FB_OK;
	}
	if (rc < 0 && rc != FB_ECORRUPT)
		return rc;
	record->outcome = rc == FB_OK &&
	        is_forget(repo, fb_buf_span(&record->end), &record->doc)
	    ? ONE_WAY
	    : UNDONE;
	return FB_OK;
}

/* "pending/<sid>.<n>"; false: an end, or nothing of ours. */
static bool
parse_key(const char *key, char session[FB_RUN_ID_SIZE], uint64_t *ret_number)
{
	const char *id = key + strlen(PENDING);
	const char *number = id + FB_RUN_ID_LEN + 1;
	struct fb_error ignored = { 0 };

	if (strlen(id) <= FB_RUN_ID_SIZE || id[FB_RUN_ID_LEN] != '.' ||
	    !fb_run_id_ok(id, FB_RUN_ID_LEN) ||
	    fb_text_u64((struct fb_span){ (const uint8_t *)number,
	                    strlen(number) },
	        FB_PENDING_NUMBER_MAX, ret_number, &ignored) < 0)
		return false;
	memcpy(session, id, FB_RUN_ID_LEN);
	session[FB_RUN_ID_LEN] = '\0';
	return *ret_number > 0;
}

static int
visit_record(
    const char *key, uint64_t size, void *arg, struct fb_error *err)
{
	struct records *records = arg;
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct record record = { 0 };
	struct fb_error ignored = { 0 };
	char session[FB_RUN_ID_SIZE];
	struct fb_span body;
	uint64_t number;
	int rc;

	(void)size;
	if (!parse_key(key, session, &number))
		return FB_OK;
	if (number > records->highest)
		records->highest = number;
	rc = fb_store_get(records->repo->store, key, FB_PENDING_MAX, &text,
	    NULL, err);
	if (rc == FB_ENOTFOUND || rc == FB_ECORRUPT)
		return FB_OK;
	if (rc < 0)
		return rc;
	if (fb_pending_decode(
	        fb_buf_span(&text), &record.doc, &body, &ignored) < 0 ||
	    strcmp(record.doc.session, session) != 0 ||
	    record.doc.number != number ||
	    !is_trusted(records->repo, body, record.doc.signature))
		return FB_OK;
	rc = read_end(records->repo, &record, err);
	if (rc < 0)
		return rc;
	records->items = fb_realloc(records->items, records->count + 1,
	    sizeof(*records->items));
	records->items[records->count++] = record;
	return FB_OK;
}

static int
load_records(struct fb_repo *repo, const char *session,
    struct records *records, struct fb_error *err)
{
	char prefix[KEY_SIZE];

	records->repo = repo;
	(void)snprintf(prefix, sizeof(prefix), PENDING "%s%s", session,
	    session[0] != '\0' ? "." : "");
	return fb_store_list(
	    repo->store, prefix, visit_record, records, err);
}

/* An object that is or is not there. */
static int
exists(struct fb_repo *repo, const char *key, bool *ret_there,
    struct fb_error *err)
{
	uint64_t size;
	int rc = fb_store_head(repo->store, key, &size, err);

	*ret_there = rc == FB_OK;
	return rc == FB_ENOTFOUND ? FB_OK : rc;
}

static int
is_held(struct fb_repo *repo, const char *session, bool *ret_held,
    struct fb_error *err)
{
	char key[KEY_SIZE];

	(void)snprintf(key, sizeof(key), HOLDS "%s", session);
	return exists(repo, key, ret_held, err);
}

static int
fail_held(const char *run, struct fb_error *err)
{
	(void)fb_fail_id(err, FB_EREFUSED, "E-HELD", "run %s is held", run);
	return fb_hint(err, "fleetbak hold --remove %s", run);
}

static int
fail_forgotten(const char *session, struct fb_error *err)
{
	return fb_fail_id(err, FB_EREFUSED, "E-FORGOTTEN",
	    "session %s: its run is given up for good", session);
}

/* U1: make the end of an open record, unless somebody else did. */
static int
undo_record(
    struct fb_repo *repo, struct record *record, struct fb_error *err)
{
	struct fb_undo undo = { .number = record->doc.number };
	FB_AUTO_BUF struct fb_buf text = { 0 };
	char key[KEY_SIZE];
	int rc;

	memcpy(undo.session, record->doc.session, sizeof(undo.session));
	fb_time_format(fb_clock_wall_ns(), undo.time);
	fb_undo_encode(&undo, &text);
	record_key(undo.session, undo.number, END, key);
	rc = fb_store_create(repo->store, key, fb_buf_span(&text), err);
	if (rc == FB_EEXISTS)
		return read_end(repo, record, err);
	record->outcome = UNDONE;
	return rc;
}

/* U2: the end of a record of a forgotten run may have been tidied away, so
 * that another could be made: forgets/ has the last word. */
static int
undo_all(struct fb_repo *repo, const char *session, bool *ret_any,
    struct fb_error *err)
{
	AUTO_RECORDS struct records records = { 0 };
	char key[KEY_SIZE];
	bool forgotten = false;
	int rc = load_records(repo, session, &records, err);

	*ret_any = false;
	for (size_t i = 0; rc == FB_OK && i < records.count; i++) {
		struct record *record = &records.items[i];

		if (record->outcome == OPEN)
			rc = undo_record(repo, record, err);
		*ret_any = *ret_any || record->outcome == UNDONE;
		forgotten = forgotten || record->outcome == ONE_WAY;
	}
	forget_key(session, key);
	if (rc == FB_OK && !forgotten)
		rc = exists(repo, key, &forgotten, err);
	return rc == FB_OK && forgotten ? fail_forgotten(session, err) : rc;
}

int
fb_forget_undo(struct fb_repo *repo, const char *session, struct fb_error *err)
{
	bool any;
	int rc = undo_all(repo, session, &any, err);

	if (rc == FB_OK && !any)
		rc = fb_fail_id(err, FB_ENOTFOUND, "E-NOT-PENDING",
		    "session %s: its run is not to be given up", session);
	return rc;
}

static int
make_pending(struct fb_repo *repo, const struct fb_run_ref *run,
    const struct fb_sign_key *key, const char *reason, uint64_t number,
    struct fb_error *err)
{
	struct fb_pending doc = { .sums = run->sums, .number = number };
	FB_AUTO_BUF struct fb_buf text = { 0 };
	char name[KEY_SIZE];
	int rc;

	memcpy(doc.session, run->session, sizeof(doc.session));
	memcpy(doc.run, run->run, sizeof(doc.run));
	memcpy(doc.fleet, run->fleet, sizeof(doc.fleet));
	memcpy(doc.signer, fb_sign_key_id(key), FB_KEY_ID_SIZE);
	(void)snprintf(doc.reason, sizeof(doc.reason), "%s", reason);
	fb_time_format(fb_clock_wall_ns(), doc.time);
	fb_pending_encode_signed(&doc, &text);
	rc = fb_sign(key, fb_buf_span(&text), doc.signature, err);
	if (rc < 0)
		return rc;
	fb_pending_encode_signature(&doc, &text);
	record_key(doc.session, number, "", name);
	return fb_store_create(repo->store, name, fb_buf_span(&text), err);
}

static bool
any_open(const struct records *records)
{
	for (size_t i = 0; i < records->count; i++)
		if (records->items[i].outcome != UNDONE)
			return true;
	return false;
}

int
fb_forget_begin(struct fb_repo *repo, const struct fb_run_ref *run,
    const struct fb_sign_key *key, const char *reason, struct fb_error *err)
{
	bool held = false, any;
	int rc = FB_EEXISTS;

	/* F1: the next number; another one may take it before us. */
	while (rc == FB_EEXISTS) {
		AUTO_RECORDS struct records records = { 0 };

		rc = load_records(repo, run->session, &records, err);
		if (rc == FB_OK && any_open(&records))
			break;
		if (rc == FB_OK)
			rc = make_pending(repo, run, key, reason,
			    records.highest + 1, err);
	}
	/* H2: a hold is made before it looks for records, a record before it
	 * looks for a hold: one of the two sees the other. */
	if (rc == FB_OK)
		rc = is_held(repo, run->session, &held, err);
	if (rc == FB_OK && held) {
		rc = undo_all(repo, run->session, &any, err);
		if (rc == FB_OK)
			rc = fail_held(run->run, err);
	}
	return rc < 0 ? fb_wrap(err, "forgetting run %s", run->run) : FB_OK;
}

static int
encode_forget(const struct fb_pending *doc, const struct fb_sign_key *key,
    struct fb_buf *dst, struct fb_error *err)
{
	struct fb_forget forget = { .sums = doc->sums };
	int rc;

	memcpy(forget.session, doc->session, sizeof(forget.session));
	memcpy(forget.run, doc->run, sizeof(forget.run));
	memcpy(forget.fleet, doc->fleet, sizeof(forget.fleet));
	memcpy(forget.signer, fb_sign_key_id(key), FB_KEY_ID_SIZE);
	fb_time_format(fb_clock_wall_ns(), forget.time);
	fb_forget_encode_signed(&forget, dst);
	rc = fb_sign(key, fb_buf_span(dst), forget.signature, err);
	if (rc == FB_OK)
		fb_forget_encode_signature(&forget, dst);
	return rc;
}

/* F2: the one step after which there is no undoing. */
static int
end_record(struct fb_repo *repo, struct record *record,
    const struct fb_sign_key *key, struct fb_error *err)
{
	char name[KEY_SIZE];
	int rc = encode_forget(&record->doc, key, &record->end, err);

	record_key(record->doc.session, record->doc.number, END, name);
	if (rc == FB_OK)
		rc = fb_store_create(
		    repo->store, name, fb_buf_span(&record->end), err);
	if (rc == FB_EEXISTS) {
		fb_buf_clear(&record->end);
		return read_end(repo, record, err);
	}
	record->outcome = ONE_WAY;
	return rc;
}

/* F3: what counts.  Any of the records that became one-way will do. */
static int
put_forget(
    struct fb_repo *repo, const struct record *record, struct fb_error *err)
{
	char key[KEY_SIZE];
	int rc;

	forget_key(record->doc.session, key);
	rc = fb_store_create(
	    repo->store, key, fb_buf_span(&record->end), err);
	return rc == FB_EEXISTS ? FB_OK : rc;
}

/* Is it a record of this very run? */
static bool
is_of(const struct fb_pending *doc, const struct fb_run_ref *run)
{
	return strcmp(doc->run, run->run) == 0 &&
	    strcmp(doc->session, run->session) == 0 &&
	    fb_digest_cmp(&doc->sums, &run->sums) == 0;
}

int
fb_forget_finish(struct fb_repo *repo, const struct fb_run_ref *run,
    const struct fb_sign_key *key, bool *ret_done, struct fb_error *err)
{
	AUTO_RECORDS struct records records = { 0 };
	bool held = false;
	int rc = load_records(repo, run->session, &records, err);

	*ret_done = false;
	for (size_t i = 0; rc == FB_OK && !*ret_done && i < records.count;
	     i++) {
		struct record *record = &records.items[i];

		if (!is_of(&record->doc, run))
			continue;
		if (record->outcome == OPEN)
			rc = is_held(repo, run->session, &held, err);
		if (rc == FB_OK && record->outcome == OPEN && !held)
			rc = end_record(repo, record, key, err);
		if (rc < 0 || record->outcome != ONE_WAY)
			continue;
		rc = put_forget(repo, record, err);
		*ret_done = rc == FB_OK;
	}
	return rc < 0 ? fb_wrap(err, "forgetting run %s", run->run) : FB_OK;
}

/* One that was let go, and is not taken away yet, or cannot be, is as good as
 * none: it is made again over it. */
static int
make_hold(struct fb_repo *repo, const char *key, struct fb_span text,
    struct fb_error *err)
{
	int rc = FB_EEXISTS;

	for (int i = 0; i < ATTEMPTS && rc == FB_EEXISTS; i++) {
		FB_AUTO_BUF struct fb_buf there = { 0 };
		char tag[FB_STORE_TAG_SIZE];

		rc = fb_store_create(repo->store, key, text, err);
		if (rc != FB_EEXISTS)
			return rc;
		rc = fb_store_get(
		    repo->store, key, FB_PENDING_MAX, &there, tag, err);
		if (rc == FB_ECORRUPT || (rc == FB_OK && there.len > 0))
			return FB_OK; /* it is held */
		if (rc == FB_OK)
			rc = fb_store_replace(repo->store, key, text, tag, err);
		if (rc == FB_ENOTFOUND || rc == FB_ECONFLICT ||
		    rc == FB_EUNKNOWN)
			rc = FB_EEXISTS; /* somebody else is about it, too */
	}
	return rc == FB_EEXISTS
	    ? fb_fail(err, FB_ECONFLICT, "'%s' changes all the time", key)
	    : rc;
}

int
fb_hold_place(struct fb_repo *repo, const struct fb_run_ref *run,
    const char *reason, struct fb_error *err)
{
	struct fb_hold hold = { 0 };
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_error ignored = { 0 };
	char key[KEY_SIZE];
	bool any;
	int rc;

	memcpy(hold.session, run->session, sizeof(hold.session));
	memcpy(hold.run, run->run, sizeof(hold.run));
	fb_time_format(fb_clock_wall_ns(), hold.time);
	(void)snprintf(hold.reason, sizeof(hold.reason), "%s", reason);
	fb_hold_encode(&hold, &text);
	(void)snprintf(key, sizeof(key), HOLDS "%s", run->session);
	/* H1: first the hold, then what it undoes. */
	rc = make_hold(repo, key, fb_buf_span(&text), err);
	if (rc == FB_OK)
		rc = undo_all(repo, run->session, &any, err);
	if (rc == FB_EREFUSED)
		(void)!fb_store_remove(repo->store, key, &ignored);
	return rc < 0 ? fb_wrap(err, "holding run %s", run->run) : FB_OK;
}

/* Where versions are kept an empty one says that the hold was let go, and not
 * taken away by somebody who deletes what there is.  Until it is removed it
 * holds. */
static int
let_go(struct fb_repo *repo, const char *key, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	char tag[FB_STORE_TAG_SIZE];
	int rc;

	if (repo->store->ops->past == NULL)
		return FB_OK;
	rc = fb_store_get(repo->store, key, FB_PENDING_MAX, &text, tag, err);
	if (rc == FB_OK)
		rc = fb_store_replace(
		    repo->store, key, (struct fb_span){ 0 }, tag, err);
	/* Somebody else is about it, too. */
	return rc == FB_ENOTFOUND || rc == FB_ECORRUPT ||
	        rc == FB_ECONFLICT || rc == FB_EUNKNOWN
	    ? FB_OK
	    : rc;
}

int
fb_hold_remove(struct fb_repo *repo, const char *session, struct fb_error *err)
{
	char key[KEY_SIZE];
	bool held;
	int rc = is_held(repo, session, &held, err);

	if (rc == FB_OK && !held)
		return fb_fail_id(err, FB_ENOTFOUND, "E-NOT-HELD",
		    "session %s: its run is not held", session);
	(void)snprintf(key, sizeof(key), HOLDS "%s", session);
	if (rc == FB_OK)
		rc = let_go(repo, key, err);
	return rc < 0 ? rc : fb_store_remove(repo->store, key, err);
}

/* What stands for or against each run. */

static struct fb_fate *
fate_of(struct fb_fates *fates, const char *session)
{
	struct fb_fate *fate = NULL;

	for (size_t i = fates->count; fate == NULL && i-- > 0;)
		if (strcmp(fates->items[i].session, session) == 0)
			fate = &fates->items[i];
	if (fate != NULL)
		return fate;
	fates->items = fb_realloc(
	    fates->items, fates->count + 1, sizeof(*fates->items));
	fate = &fates->items[fates->count++];
	*fate = (struct fb_fate){ 0 };
	(void)snprintf(fate->session, sizeof(fate->session), "%s", session);
	return fate;
}

static void
add_pending(struct fb_fates *fates, const struct record *record)
{
	const struct fb_pending *doc = &record->doc;
	struct fb_fate *fate;

	if (record->outcome == UNDONE)
		return;
	fate = fate_of(fates, doc->session);
	fate->pending = true;
	fate->one_way = fate->one_way || record->outcome == ONE_WAY;
	fate->number = doc->number;
	memcpy(fate->run, doc->run, sizeof(fate->run));
	memcpy(fate->since, doc->time, sizeof(fate->since));
	memcpy(fate->reason, doc->reason, sizeof(fate->reason));
}

struct hold_listing {
	struct fb_repo *repo;
	struct fb_fates *fates;
};

/* A hold that cannot be read holds all the same. */
static int
visit_hold(const char *key, uint64_t size, void *arg, struct fb_error *err)
{
	const struct hold_listing *listing = arg;
	const char *session = key + strlen(HOLDS);
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_error ignored = { 0 };
	struct fb_hold hold = { 0 };
	struct fb_fate *fate;
	int rc;

	(void)size;
	if (!fb_run_id_ok(session, strlen(session)))
		return FB_OK;
	rc = fb_store_get(
	    listing->repo->store, key, FB_PENDING_MAX, &text, NULL, err);
	if (rc == FB_ENOTFOUND)
		return FB_OK;
	if (rc < 0 && rc != FB_ECORRUPT)
		return rc;
	fate = fate_of(listing->fates, session);
	fate->held = true;
	if (rc == FB_OK &&
	    fb_hold_decode(fb_buf_span(&text), &hold, &ignored) == FB_OK &&
	    strcmp(hold.session, session) == 0) {
		memcpy(fate->run, hold.run, sizeof(fate->run));
		memcpy(fate->held_since, hold.time, sizeof(hold.time));
		memcpy(fate->held_reason, hold.reason, sizeof(hold.reason));
	}
	return FB_OK;
}

static int
compare_fates(const void *a, const void *b)
{
	return strcmp(((const struct fb_fate *)a)->session,
	    ((const struct fb_fate *)b)->session);
}

static int
compare_session(const void *session, const void *fate)
{
	return strcmp(session, ((const struct fb_fate *)fate)->session);
}

const struct fb_fate *
fb_fates_find(const struct fb_fates *fates, const char *session)
{
	return fates->count == 0
	    ? NULL
	    : bsearch(session, fates->items, fates->count,
	          sizeof(*fates->items), compare_session);
}

static int
drop_forgotten(
    const struct fb_forget *forget, void *arg, struct fb_error *err)
{
	struct fb_fates *fates = arg;
	struct fb_fate *fate =
	    (struct fb_fate *)fb_fates_find(fates, forget->session);

	(void)err;
	if (fate != NULL) {
		fates->count--;
		memmove(fate, fate + 1,
		    (size_t)(&fates->items[fates->count] - fate) *
		        sizeof(*fate));
	}
	return FB_OK;
}

int
fb_fates_load(
    struct fb_repo *repo, struct fb_fates *ret_fates, struct fb_error *err)
{
	AUTO_RECORDS struct records records = { 0 };
	struct fb_fates fates = { 0 };
	struct hold_listing listing = { repo, &fates };
	int rc = load_records(repo, "", &records, err);

	for (size_t i = 0; rc == FB_OK && i < records.count; i++)
		add_pending(&fates, &records.items[i]);
	if (rc == FB_OK)
		rc = fb_store_list(
		    repo->store, HOLDS, visit_hold, &listing, err);
	if (rc == FB_OK && fates.count > 0) {
		qsort(fates.items, fates.count, sizeof(*fates.items),
		    compare_fates);
		rc = fb_repo_forgets(repo, drop_forgotten, &fates, err);
	}
	if (rc < 0) {
		fb_fates_release(&fates);
		return fb_wrap(err, "reading what is to be given up");
	}
	*ret_fates = fates;
	return FB_OK;
}

void
fb_fates_release(struct fb_fates *fates)
{
	free(fates->items);
	*fates = (struct fb_fates){ 0 };
}

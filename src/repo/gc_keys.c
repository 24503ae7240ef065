/*
 * Keys of packs that are gone.
 *
 * A session that was fenced off has packs that nobody uses: only a commit is
 * followed by hints, and only a run's recipe leads to a pack otherwise.  The
 * packs of one that was committed and is given up may be in use elsewhere, so
 * its keys stay as long as one of them is there: its sealed hints name them
 * all, and without these the tables of all packs are asked.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/format/pack.h"
#include "fleetbak/format/pack_keys.h"

#include "gc_impl.h"
#include "packer.h"

#define PREFIX "keys/"
#define STEP   ((size_t)1 << 20)

struct key_tidying {
	struct fb_repo *repo;
	struct fb_gc_report *report;
	const struct fb_run_ids *kept, *forgotten;
	struct fb_run_ids all;    /* sessions that have keys */
	struct fb_run_ids over;   /* nobody uses their packs */
	struct fb_run_ids doubts; /* only tables know */
	char **keys;              /* to go */
	size_t key_count;
};

static int
note_session(const char *key, uint64_t size, void *arg, struct fb_error *err)
{
	struct key_tidying *tidying = arg;
	char id[FB_RUN_ID_SIZE];

	(void)size;
	(void)err;
	if (fb_keys_key_parse(key, id, NULL) &&
	    !fb_run_ids_have(tidying->kept, id))
		fb_run_ids_add(&tidying->all, id);
	return FB_OK;
}

/* Are the hints the ones that a trusted key sealed, so that none is missing in
 * them? */
static bool
are_sealed(const struct gc_hints *hints, const char *session)
{
	FB_AUTO_FREE char *key = fb_format("hints/%s.seal", session);
	FB_AUTO_DIGESTER struct fb_digester *digester = fb_digester_new();
	FB_AUTO_FREE uint8_t *bytes = fb_alloc(STEP, 1);
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_error ignored = { 0 };
	struct fb_digest digest;
	struct fb_hint_seal seal;
	struct fb_span body;
	size_t got = 1;

	if (fb_store_get(hints->repo->store, key, FB_HINT_SEAL_MAX, &text, NULL,
	        &ignored) < 0 ||
	    fb_hint_seal_decode(fb_buf_span(&text), &seal, &body, &ignored) <
	        0 ||
	    strcmp(seal.session, session) != 0 || seal.size != hints->size ||
	    fb_trust_verify(&hints->repo->trust, body,
	        (struct fb_span){ seal.signature, FB_SIGNATURE_LEN }, NULL,
	        &ignored) < 0)
		return false;
	for (uint64_t at = 0; got > 0; at += got) {
		if (gc_hints_bytes((void *)(uintptr_t)hints, at, bytes, STEP,
		        &got, &ignored) < 0)
			return false;
		fb_digester_add(digester, (struct fb_span){ bytes, got });
	}
	fb_digester_peek(digester, &digest);
	return fb_digest_cmp(&digest, &seal.digest) == 0;
}

/* One that was committed, and whose run is given up. */
static int
judge_committed(
    struct key_tidying *tidying, const char *session, struct fb_error *err)
{
	struct gc_hints hints;
	int rc = gc_hints_look(tidying->repo, session, &hints, err);

	if (rc < 0 && rc != FB_ENOTFOUND)
		return rc;
	if (hints.any)
		return FB_OK;
	fb_run_ids_add(rc == FB_OK && are_sealed(&hints, session)
	        ? &tidying->over
	        : &tidying->doubts,
	    session);
	return FB_OK;
}

static int
judge(struct key_tidying *tidying, const char *session, struct fb_error *err)
{
	struct fb_register reg = { 0 };
	int rc = fb_repo_register(tidying->repo, session, &reg, err);
	bool fence = reg.fence;

	fb_register_release(&reg);
	if (rc == FB_ENOTFOUND || rc == FB_ECORRUPT || rc == FB_ETOONEW)
		return FB_OK; /* it is open, or not to be judged */
	if (rc < 0)
		return rc;
	if (!fence && !fb_run_ids_have(tidying->forgotten, session))
		return FB_OK; /* its run is not listed yet */
	if (!fence)
		return judge_committed(tidying, session, err);
	fb_run_ids_add(&tidying->over, session);
	return FB_OK;
}

struct asking {
	struct fb_repo *repo;
	struct fb_run_ids seen; /* sessions */
};

/* Whose is this pack? */
static int
ask_pack(
    const struct fb_digest *id, uint64_t size, void *arg, struct fb_error *err)
{
	struct asking *asking = arg;
	struct fb_table_place place = { .pack = *id };
	struct fb_table table = { 0 };
	int rc = fb_table_fetch(asking->repo->store, &place, &table, err);

	(void)size;
	if (rc < 0)
		return rc;
	fb_run_ids_add(&asking->seen, table.table.session);
	fb_pack_table_release(&table.table);
	return FB_OK;
}

/* A pack that does not say whose it is leaves every doubt. */
static int
ask_packs(struct key_tidying *tidying, struct fb_error *err)
{
	struct asking asking = { .repo = tidying->repo };
	const struct fb_run_ids *doubts = &tidying->doubts;
	int rc;

	if (doubts->count == 0)
		return FB_OK;
	rc = fb_gc_list_packs(tidying->repo, ask_pack, &asking, err);
	for (size_t i = 0; rc == FB_OK && i < doubts->count; i++)
		if (!fb_run_ids_have(&asking.seen, doubts->ids[i]))
			fb_run_ids_add(&tidying->over, doubts->ids[i]);
	fb_run_ids_release(&asking.seen);
	return rc == FB_ECORRUPT || rc == FB_ENOTFOUND || rc == FB_ETOONEW
	    ? FB_OK
	    : rc;
}

/* A copy puts packs there under the names they had, and their keys only after
 * them: what it may just be bringing back is left to the next prune. */
static int
is_copied_to(struct fb_repo *repo, bool *ret_is, struct fb_error *err)
{
	struct fb_gc_session *sessions = NULL;
	size_t count = 0;
	int rc = fb_gc_open_sessions(repo, &sessions, &count, err);

	*ret_is = false;
	for (size_t i = 0; rc == FB_OK && i < count; i++)
		*ret_is |= strcmp(sessions[i].doc.kind, "download") != 0 &&
		    strcmp(sessions[i].doc.kind, "restore") != 0 &&
		    strcmp(sessions[i].doc.kind, "verify") != 0;
	free(sessions);
	return rc;
}

static int
nobody_copies(void *arg, struct fb_error *err)
{
	bool copied = false;
	int rc = is_copied_to(arg, &copied, err);

	return rc == FB_OK && copied
	    ? fb_fail(err, FB_ECONFLICT, "somebody copies into it")
	    : rc;
}

static int
note_key(const char *key, uint64_t size, void *arg, struct fb_error *err)
{
	struct key_tidying *tidying = arg;
	char id[FB_RUN_ID_SIZE];

	(void)size;
	(void)err;
	if (!fb_keys_key_parse(key, id, NULL) ||
	    !fb_run_ids_have(&tidying->over, id))
		return FB_OK;
	tidying->keys = fb_realloc(
	    tidying->keys, tidying->key_count + 1, sizeof(*tidying->keys));
	tidying->keys[tidying->key_count++] = fb_strdup(key);
	return FB_OK;
}

static int
remove_keys(struct key_tidying *tidying, struct fb_error *err)
{
	FB_AUTO_FREE bool *gone = NULL;
	int rc =
	    fb_store_list(tidying->repo->store, PREFIX, note_key, tidying, err);

	gone = fb_alloc(tidying->key_count + 1, sizeof(*gone));
	if (rc == FB_OK)
		rc = fb_gc_remove_keys(tidying->repo,
		    &(struct fb_gc_doomed){ tidying->keys, tidying->key_count,
		        nobody_copies, tidying->repo },
		    &tidying->report->locks, gone, err);
	if (rc == FB_ECONFLICT) /* the next prune does it */
		rc = FB_OK;
	for (size_t i = 0; i < tidying->key_count; i++)
		tidying->report->tidied += gone[i];
	for (size_t i = 0; i < tidying->key_count; i++)
		free(tidying->keys[i]);
	free(tidying->keys);
	return rc;
}

int
fb_gc_tidy_keys(struct fb_repo *repo, const struct fb_run_ids *kept,
    const struct fb_run_ids *forgotten, struct fb_gc_report *report,
    struct fb_error *err)
{
	struct key_tidying tidying = { .repo = repo,
		.report = report,
		.kept = kept,
		.forgotten = forgotten };
	bool copied = false;
	int rc =
	    fb_store_list(repo->store, PREFIX, note_session, &tidying, err);

	for (size_t i = 0; rc == FB_OK && i < tidying.all.count; i++)
		rc = judge(&tidying, tidying.all.ids[i], err);
	if (rc == FB_OK)
		rc = ask_packs(&tidying, err);
	if (rc == FB_OK && tidying.over.count > 0)
		rc = is_copied_to(repo, &copied, err);
	if (rc == FB_OK && tidying.over.count > 0 && !copied)
		rc = remove_keys(&tidying, err);
	fb_run_ids_release(&tidying.all);
	fb_run_ids_release(&tidying.over);
	fb_run_ids_release(&tidying.doubts);
	return rc;
}

/*
 * A repository: a store with fleetbak's layout in it.
 */
#ifndef FB_REPO_REPO_H
#define FB_REPO_REPO_H

#include "fleetbak/crypto/sign.h"
#include "fleetbak/format/register.h"
#include "fleetbak/store/store.h"

struct fb_repo {
	struct fb_store *store; /* owned */
	struct fb_format_doc format;
	struct fb_trust trust; /* owned */
	struct fb_tables *tables; /* owned: the packs' latest used ones */
	struct fb_vault *vault;   /* owned; NULL: it is not encrypted */
	struct fb_trust verifiers; /* owned: whose attestations count */
	/* Told of what is not believed, from any thread; NULL: nobody is. */
	void (*warn)(void *arg, const struct fb_error *err);
	void *warn_arg;
	struct fb_smalls *smalls; /* owned: registers and records; may be NULL */
	struct fb_ahead *ahead;   /* see fb_repo_read_ahead(); else NULL */
	struct fb_gc_needs *needs; /* owned: what runs need; may be NULL */
};

/*
 * Make a repository in an empty store: format/1.json, its signature,
 * RESTORE.txt, restore.sh.  Idempotent: on a repository of ours nothing is
 * changed (what a crash left out is completed) and *ret_made is false.
 * Errors: FB_EREFUSED when the store holds something else.
 */
FB_MUST_USE int fb_repo_init(struct fb_store *store,
    const struct fb_sign_key *key, bool *ret_made, struct fb_error *err);

/* The same, of an encrypted one, if one is made.  `keep` is called before with
 * the domain key and the id that the repository will have, and makes the key
 * durable. */
struct fb_cipher_key;
typedef int fb_repo_keep_domain(void *arg, const char *repository,
    const struct fb_cipher_key *domain, struct fb_error *err);
FB_MUST_USE int fb_repo_init_encrypted(struct fb_store *store,
    const struct fb_sign_key *key, fb_repo_keep_domain *keep, void *arg,
    bool *ret_made, struct fb_error *err);

/*
 * Open.  Takes `store` and `trust` over, on success and on failure.
 * Errors: FB_ENOREPO, FB_ETOONEW, FB_ECORRUPT; FB_EUNTRUSTED when the format
 * is not signed by a trusted key.
 */
FB_MUST_USE int fb_repo_open(struct fb_store *store, struct fb_trust *trust,
    struct fb_repo **ret_repo, struct fb_error *err);
/* The same for who was told to go on: a format that no trusted key signed is
 * opened, and why not stands in *ret_doubt (code 0: it is signed). */
FB_MUST_USE int fb_repo_open_doubting(struct fb_store *store,
    struct fb_trust *trust, struct fb_error *ret_doubt,
    struct fb_repo **ret_repo, struct fb_error *err);
void fb_repo_close(struct fb_repo *repo);
void fb_repo_closep(struct fb_repo **repo);
#define FB_AUTO_REPO FB_CLEANUP(fb_repo_closep)

/*
 * Sessions.  A writer or reader announces itself before it decides anything,
 * then learns what is being deleted (gc/current).
 */
struct fb_session {
	char id[FB_RUN_ID_SIZE];
	struct fb_id_list condemned; /* packs that must not be reused */
};

/* `kind`: "download", "restore", "verify", "copy".  `id` may be given (a
 * resumed run announces itself again: FB_OK when it is there), or "" for a
 * new one.  A reader that may not write gets FB_EDENIED and goes on:
 * *ret_session is set then too.  When it was announced, and then what is being
 * deleted cannot be read, the id alone is set: a reader has to end it. */
FB_MUST_USE int fb_session_begin(struct fb_repo *repo, const char *id,
    const char *kind, const char *fleet, struct fb_session *ret_session,
    struct fb_error *err);
FB_MUST_USE int fb_session_end(struct fb_repo *repo,
    const struct fb_session *session, struct fb_error *err);
void fb_session_release(struct fb_session *session);

/*
 * THE COMMIT: create commits/<sid>.  FB_OK also when the same bytes are
 * there already; FB_ECONFLICT (E-FENCED) when it was fenced; then runs/<run>/
 * SHA256SUMS.sig is made from it.  The predecessors of the register are
 * those of the manifest, see fb_manifest_register().
 */
FB_MUST_USE int fb_repo_commit(
    struct fb_repo *repo, const struct fb_register *reg, struct fb_error *err);
/* Nobody commits this session any more, unless somebody has: *ret_committed.
 * FB_OK too when it was fenced before. */
FB_MUST_USE int fb_repo_fence(struct fb_repo *repo, const char *sid,
    const char *reason, bool *ret_committed, struct fb_error *err);
struct fb_run_ref;

/* Make a SHA256SUMS.sig that a crash after the commit left out. */
FB_MUST_USE int fb_repo_complete(struct fb_repo *repo,
    const struct fb_run_ref *run, struct fb_error *err);

/* Read and decode commits/<sid>; FB_ENOTFOUND. */
FB_MUST_USE int fb_repo_register(struct fb_repo *repo, const char *sid,
    struct fb_register *ret_reg, struct fb_error *err);

/*
 * Committed runs, newest first, from their registers (fences, forgotten runs
 * and shards, which are no runs yet, left out).  A register that cannot be read
 * is visited with `damage` (its error), and the listing goes on.
 */
struct fb_run_ref {
	char run[FB_RUN_ID_SIZE];
	char session[FB_RUN_ID_SIZE];
	char fleet[FB_NAME_MAX + 1];
	char time[32];
	struct fb_digest sums;
	char signer[FB_KEY_ID_SIZE];
	uint8_t signature[FB_SIGNATURE_LEN];
	struct fb_shard_ref shard; /* of[0] == 0: a whole run */
	/* Of the register; borrowed for the visit, as is `damage`. */
	const struct fb_predecessor *predecessors;
	size_t predecessor_count;
	const struct fb_error *damage; /* NULL: fine; else run is the sid */
};
typedef int fb_repo_visit_run(
    const struct fb_run_ref *run, void *arg, struct fb_error *err);
FB_MUST_USE int fb_repo_runs(struct fb_repo *repo, fb_repo_visit_run *visit,
    void *arg, struct fb_error *err);
/* The same with the shards that are not sealed, which keep what they name. */
FB_MUST_USE int fb_repo_kept_runs(struct fb_repo *repo,
    fb_repo_visit_run *visit, void *arg, struct fb_error *err);
/* The same with the forgotten ones too. */
FB_MUST_USE int fb_repo_all_runs(struct fb_repo *repo, fb_repo_visit_run *visit,
    void *arg, struct fb_error *err);
/* A run of this session is there, and a list of all runs did not show it.
 * Returns FB_EBUSY, id E-LIST-BEHIND. */
int fb_repo_fail_unlisted(const char *session, struct fb_error *err);


/* The forgets/ records that a trusted key signed. */
typedef int fb_repo_visit_forget(
    const struct fb_forget *forget, void *arg, struct fb_error *err);
FB_MUST_USE int fb_repo_forgets(struct fb_repo *repo,
    fb_repo_visit_forget *visit, void *arg, struct fb_error *err);

/* Both at once: the records, listed first, decide which runs are left out. */
FB_MUST_USE int fb_repo_runs_and_forgets(struct fb_repo *repo,
    fb_repo_visit_run *visit_run, fb_repo_visit_forget *visit_forget,
    void *arg, struct fb_error *err);

/* For one decision that asks several times which runs there are, and wants
 * one answer: until it lets go, the lists are those of the first time, where
 * the store is far away.  Not for what deletion relies on, which looks anew.
 * Threads: one at a time. */
void fb_repo_hold_lists(struct fb_repo *repo, bool hold);

/* Is the run of this session given up for good? */
FB_MUST_USE int fb_repo_is_forgotten(struct fb_repo *repo,
    const char *session, bool *ret_forgotten, struct fb_error *err);

/*
 * These objects are going to be asked for, in this order, though perhaps not
 * all: where the store is far away they are got before, until the end is said.
 * Threads: one at a time, which also asks.
 */
void fb_repo_read_ahead(struct fb_repo *repo, char **keys, size_t count);
void fb_repo_read_ahead_end(struct fb_repo *repo);
void fb_gc_needs_free(struct fb_gc_needs *needs);
/* fb_store_get() of an object, which may be here already. */
FB_MUST_USE int fb_repo_get(struct fb_repo *repo, const char *key, size_t max,
    struct fb_buf *dst, struct fb_error *err);

/*
 * SHA256SUMS of a run, checked against its register, the trusted keys and
 * its signature.  Appends the bytes, on FB_EUNTRUSTED too (they are what the
 * register says, and nobody trusted signed them).
 * Errors: FB_EUNTRUSTED, FB_ECORRUPT.
 */
#define FB_SUMS_MAX (128u << 20)
FB_MUST_USE int fb_repo_run_sums(struct fb_repo *repo,
    const struct fb_run_ref *run, struct fb_buf *dst, struct fb_error *err);

/* The digest SHA256SUMS gives a path ("runs/R/manifest.json"). */
FB_MUST_USE int fb_sums_find(struct fb_span sums, const char *path,
    struct fb_digest *ret_digest, struct fb_error *err);

/* RESTORE.txt and restore.sh as this program writes them. */
struct fb_span fb_repo_restore_txt(void);
struct fb_span fb_repo_restore_sh(void);

#endif

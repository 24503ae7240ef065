/*
 * A shared run in the repository: what its workers agree on, who does which
 * shard, and what they have told.  Private to src/engine.
 *
 *	shared/<name>/run                        what all agree on; made once
 *	shared/<name>/<shard>/<epoch>/lease      who does the shard; made once
 *	shared/<name>/<shard>/<epoch>/<number>   records of its journal
 *	shared/<name>/<shard>/<epoch>/alive-...  signs of life
 *	shared/<name>/<shard>/<epoch>/end        nothing is left to do for it
 *	shared/<name>/<shard>/<epoch>/kept       something is, and a node that
 *	                                         lives remembers it
 *	shared/<name>/<shard>/<epoch>/heir-<n>   who looks after what is left
 *	shared/<name>/closed                     sealed, or given up
 *
 * Every object but the signs of life and the marks is signed together with
 * its key, by any key that the repository trusts.
 */
#ifndef ENGINE_SHARED_H
#define ENGINE_SHARED_H

#include "download_impl.h"

#define SHARED_KEY_SIZE   192
#define SHARED_OBJECT_MAX (16u << 20)
#define SHARED_END        "end"
#define SHARED_KEPT       "kept"

struct shared {
	const struct fb_engine *engine;
	struct fb_repo *repo;
	char name[FB_SHARED_NAME_SIZE];
	/* From its document: */
	char run[FB_RUN_ID_SIZE];
	char fleet[FB_NAME_MAX + 1];
	char started[FB_TIME_SIZE];
	char selection[FB_DIGEST_HEX_SIZE];
	struct fb_digest topology, topology_selection;
	uint32_t shards;
	uint64_t dead_after_ms;
	struct fb_predecessor *predecessors;
	size_t predecessor_count;
};
void shared_release(struct shared *shared);
#define AUTO_SHARED FB_CLEANUP(shared_release)

/* Objects that are signed together with their key. */
FB_MUST_USE int shared_put(const struct fb_engine *engine, struct fb_repo *repo,
    const char *key, struct fb_span body, struct fb_error *err);
FB_MUST_USE int shared_get(struct fb_repo *repo, const char *key,
    struct fb_buf *dst, struct fb_error *err);

/* Read what its workers have agreed on.  FB_ENOTFOUND, id E-SHARED-UNKNOWN. */
FB_MUST_USE int shared_open(const struct fb_engine *engine,
    struct fb_repo *repo, const char *name, struct shared *ret_shared,
    struct fb_error *err);
/* Agree: the first worker says what the run is, the others must see the same
 * fleet.  FB_ESTALE, id E-SHARD-TOPOLOGY; FB_EREFUSED, id E-SHARED-SEALED. */
FB_MUST_USE int shared_agree(const struct fb_engine *engine,
    struct fb_repo *repo, const struct fb_plan *plan,
    const struct fb_download_request *request, struct shared *ret_shared,
    struct fb_error *err);
/* The document itself, in its one form; the repository's id is of shared->repo.
 * Errors: FB_ECORRUPT, FB_ETOONEW. */
void shared_encode(const struct shared *shared, struct fb_buf *dst);
FB_MUST_USE int shared_decode(
    struct fb_span text, struct shared *shared, struct fb_error *err);
/* Is it sealed, or given up? */
FB_MUST_USE int shared_is_closed(
    const struct shared *shared, bool *ret_closed, struct fb_error *err);
FB_MUST_USE int shared_close(const struct shared *shared, struct fb_error *err);

void shared_key(const char *name, uint32_t shard, uint32_t epoch,
    const char *rest, char key[SHARED_KEY_SIZE]);

/* The newest lease of a shard. */
struct shared_lease {
	uint32_t epoch; /* 0: nobody has it */
	size_t told;    /* objects of that epoch: they become more */
	uint32_t heirs; /* of that epoch */
	uint32_t left;  /* epochs for which something may be left to do */
	bool kept;      /* there are some, and all that is remembered */
	char session[FB_RUN_ID_SIZE];
	bool committed, fenced; /* the session */
};
FB_MUST_USE int shared_look(const struct shared *shared, uint32_t shard,
    struct shared_lease *ret_lease, struct fb_error *err);
/* The session of one lease. */
FB_MUST_USE int shared_lease_session(const struct shared *shared,
    uint32_t shard, uint32_t epoch, char session[FB_RUN_ID_SIZE],
    struct fb_error *err);

/*
 * Take the shard: *ret_part is ours then, a new session or the one that this
 * state directory began, or *ret_committed.  Waits for whoever has it to give
 * signs of life; who gives none is fenced, and what it had begun is put into
 * the state directory, for recovery.
 */
FB_MUST_USE int shared_claim(const struct shared *shared, uint32_t shard,
    bool take_over, struct download_part *ret_part, bool *ret_committed,
    struct fb_error *err);
/* What the worker of that epoch has told, as a journal in the directory. */
FB_MUST_USE int shared_write_told(const struct shared *shared, uint32_t shard,
    uint32_t epoch, const char *dir, struct fb_error *err);
/* All of them up to that epoch that are not over, into the state directory. */
FB_MUST_USE int shared_adopt(const struct shared *shared, uint32_t shard,
    uint32_t epoch, struct fb_error *err);
/* Is it in the state directory? */
bool shared_is_here(const struct shared *shared, const char *session);

/*
 * Claim what is left by those who had the shard: a start that is owed, a
 * snapshot.  It is ours when it is in the state directory already; else who
 * had it last must be silent for long enough, or `take_over`, and one heir is
 * told by conditional create.  Then it is in the state directory, and
 * ret_left->epoch is the newest.  0: nothing is left for us to do, as when
 * somebody does the shard yet.
 */
struct shared_left {
	uint32_t epoch;
	bool ours;
};
FB_MUST_USE int shared_claim_left(const struct shared *shared, uint32_t shard,
    bool take_over, struct shared_left *ret_left, struct fb_error *err);
/* Say of the leases up to `epoch` that nothing is left to do for them, where
 * that is so. */
FB_MUST_USE int shared_settle(const struct shared *shared, uint32_t shard,
    uint32_t epoch, struct fb_error *err);
/* Was the shard that a run in progress is committed already?  Then its journal
 * says so from now on: who commits dies before he can say it, or with it. */
FB_MUST_USE int shared_part_committed(struct fb_run *run, struct fb_error *err);
/* The last word about a run that ended, after its mirror: nothing is owed any
 * more, or this node remembers it.  Without a shard: nothing.  False: it could
 * not be said. */
bool shared_part_end(const struct fb_run *run);
/* What it has said after the shared run was closed. */
void shared_tidy_part(const struct fb_run *run);
/* Of a run that is closed: take away what serves nobody any more.  *ret_left:
 * leases for which something may be left to do.  Where nothing can be removed
 * it stays. */
FB_MUST_USE int shared_tidy(
    const struct shared *shared, uint32_t *ret_left, struct fb_error *err);

#endif

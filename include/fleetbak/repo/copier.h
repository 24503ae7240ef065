/*
 * The copier turns streams of volume bytes into packs and recipes:
 *
 *	chunk -> hash -> known? -> compress -> pack -> store -> recipe
 *
 * One per run; worker threads on all cores; a fixed pool of buffers, so a slow
 * store makes the readers wait.  Any number of copies (volumes) may be open at
 * once, each fed by one thread.  With one copy at a time the bytes of every
 * object follow from the content, the session id and the order alone.
 *
 * The open packs, spooled in a directory of the run, are FB_PACKER_LANES at
 * most: a copy that stores more than a little gets one to itself as long as
 * there are enough, so that it is read back in long stretches.  When one is
 * full, all that hold a quarter of that are closed: what is left open has to be
 * synced with the state, and encrypted anew.  The spool holds as many again on
 * their way to the store at most; of what is encrypted anew both forms.
 *
 * Durability: a checkpoint syncs the open packs' spools and each copy's
 * spooled leaves, then calls `checkpoint` with a JSON value to be journaled;
 * fb_copier_open() with the newest one continues from exactly there.  It is
 * made at every pack cut, by fb_copier_checkpoint() and by fb_copier_flush().
 */
#ifndef FB_REPO_COPIER_H
#define FB_REPO_COPIER_H

#include <jansson.h>
#include <stdatomic.h>

#include "fleetbak/repo/repo.h"

struct fb_copier;
struct fb_copy;
struct fb_rate;

struct fb_copier_spec {
	struct fb_repo *repo;
	const struct fb_session *session;
	const char *spool_dir; /* exists, private, ours alone */
	/* Where the index of known chunks has its files when memory does not
	 * hold it; private, made if need be, kept for the next run; NULL:
	 * nowhere, then not all chunks are known again. */
	const char *index_dir;
	size_t index_slots;    /* 0; a small power of two for tests */
	unsigned workers;      /* 0: number of processors */
	int level;             /* zstd */
	uint64_t pack_size;    /* 0: 48 MiB of stored bytes before a cut */
	const atomic_bool *cancel; /* may be NULL */
	struct fb_rate *upload;    /* of packs into the store; may be NULL */
	const atomic_bool *hurry;  /* set: it holds no more; may be NULL */
	/* Journal `state` durably.  Called from any thread, one at a time. */
	int (*checkpoint)(void *arg, const json_t *state, struct fb_error *err);
	void *arg;
};

/* `state`: NULL for a new run.  Loads the hints for the chunks that packs of
 * committed runs hold. */
FB_MUST_USE int fb_copier_open(const struct fb_copier_spec *spec,
    const json_t *state, struct fb_copier **ret_copier, struct fb_error *err);
void fb_copier_close(struct fb_copier *copier); /* spool stays */

/*
 * Begin, or continue after a crash, the copy named `key` (a name, unique in
 * the run: "m0003-root").  *ret_offset is where the next byte belongs: 0, or
 * with `resume` what the checkpoint had.  `kind` is the recipe's.  `flat`:
 * also compute the SHA-256 of the bytes (then a resumed copy starts at 0).
 */
FB_MUST_USE int fb_copy_begin(struct fb_copier *copier, const char *key,
    const char *kind, bool flat, bool resume, struct fb_copy **ret_copy,
    uint64_t *ret_offset, struct fb_error *err);

/* Where to put the next bytes: at least one; then say how many came. */
FB_MUST_USE int fb_copy_room(struct fb_copy *copy, void **ret_bytes,
    size_t *ret_len, struct fb_error *err);
FB_MUST_USE int fb_copy_filled(
    struct fb_copy *copy, size_t len, struct fb_error *err);
/* The same for bytes that lie elsewhere. */
FB_MUST_USE int fb_copy_data(struct fb_copy *copy, const void *bytes,
    size_t len, struct fb_error *err);
/* `len` zeros that need not be looked at (a hole). */
FB_MUST_USE int fb_copy_zero(
    struct fb_copy *copy, uint64_t len, struct fb_error *err);
/* Content starts or ends here: prefer a chunk boundary. */
FB_MUST_USE int fb_copy_cut(struct fb_copy *copy, struct fb_error *err);

/*
 * What an earlier, committed run made of the same volume: its parts can be
 * taken over instead of being read.  They are protected from deletion as any
 * chunk that is used again: the session was announced before, and no pack of
 * the recipe is being deleted; each is looked at.
 *
 * `from`: where the first part that is wanted lies.  Used by one thread, in
 * ascending order.  Errors: FB_ENOTFOUND, FB_ECORRUPT, FB_EUNSUP: it cannot
 * be used, which is no harm but more to read.
 */
struct fb_past;
struct fb_past_spec {
	struct fb_digest recipe, root; /* as the signed manifest has them */
	uint64_t size;
	const char *kind;
};
FB_MUST_USE int fb_past_open(struct fb_copier *copier,
    const struct fb_past_spec *spec, uint64_t from, struct fb_past **ret_past,
    struct fb_error *err);
void fb_past_close(struct fb_past *past);
void fb_past_closep(struct fb_past **past);
#define FB_AUTO_PAST FB_CLEANUP(fb_past_closep)

/* The piece that comes next; `length` 0 at the end. */
struct fb_past_piece {
	uint64_t offset, length;
	bool zeros;
	struct fb_digest id; /* unless zeros */
};
FB_MUST_USE int fb_past_peek(struct fb_past *past,
    struct fb_past_piece *ret_piece, struct fb_error *err);
FB_MUST_USE int fb_past_skip(struct fb_past *past, struct fb_error *err);
/* Whether what failed is the past, and the copy may begin anew without it. */
bool fb_past_failed(const struct fb_past *past);

/* The next `length` bytes are those at `offset` of the past: whole chunks by
 * reference, holes as holes, parts of a chunk from the repository. */
FB_MUST_USE int fb_copy_same(struct fb_copy *copy, struct fb_past *past,
    uint64_t offset, uint64_t length, struct fb_error *err);

struct fb_copy_result {
	uint64_t size;         /* bytes of the volume */
	uint64_t zero_bytes;   /* of them in zero leaves */
	uint64_t new_bytes;    /* content bytes not known before */
	uint64_t stored_bytes; /* what they take, compressed */
	uint64_t serial;       /* durable in each state with a higher one */
	struct fb_digest root;
	bool has_flat;
	struct fb_digest flat;
};

/*
 * Wait until every byte is in the spool or known; frees the copy.  A state
 * that was taken before may be journaled after this: what says that the copy
 * is whole is only a state whose "serial" is above the result's.
 */
FB_MUST_USE int fb_copy_finish(struct fb_copy *copy,
    struct fb_copy_result *ret_result, struct fb_error *err);
/* Give the copy up; what it added to the pack stays there, unused. */
void fb_copy_abandon(struct fb_copy *copy);

FB_MUST_USE int fb_copier_checkpoint(
    struct fb_copier *copier, struct fb_error *err);

/* Put the open packs into the store. */
FB_MUST_USE int fb_copier_flush(struct fb_copier *copier, struct fb_error *err);

/* Is the copy, which was finished before a crash, still in the spool?
 * Errors: FB_ECORRUPT (E-SPOOL): it is not; FB_ESYS ... */
FB_MUST_USE int fb_copier_holds(
    struct fb_copier *copier, const char *key, struct fb_error *err);

/*
 * After fb_copier_flush(): make and store the recipe of a finished copy,
 * having checked that it reproduces the root; *ret_recipe is its id.
 * Idempotent.  Adds the ids of its packs to `packs` (kept sorted, unique).
 */
FB_MUST_USE int fb_copier_recipe(struct fb_copier *copier, const char *key,
    struct fb_digest *ret_recipe, struct fb_id_list *packs,
    struct fb_error *err);

/* After the commit: store the hints of this run's new chunks, sealed with
 * `key` (disposable: a failure is the caller's to ignore). */
FB_MUST_USE int fb_copier_hints(struct fb_copier *copier,
    const struct fb_sign_key *key, struct fb_error *err);

#endif

/*
 * Inside the copier.
 *
 * A copy's thread fills batches and finds the chunks in them; workers hash,
 * look up and compress; whichever worker completes the batch at the head of
 * a copy's line appends it, one appender at a time.  So the order of every
 * copy's chunks is that of its bytes, whatever the threads do.
 *
 * Locks: `lock` is held for moments; who sets `appending` owns the packer's
 * appending side, the leaves and all the sums until it clears it.
 */
#ifndef REPO_COPIER_IMPL_H
#define REPO_COPIER_IMPL_H

#include <pthread.h>
#include <zstd.h>

#include "fleetbak/crypto/digest_many.h"
#include "fleetbak/repo/copier.h"
#include "fleetbak/repo/vault.h"

#include "chunker.h"
#include "leaves.h"
#include "packer.h"
#include "sender.h"

/* Of a batch, without room for one chunk more: enough to fill all lanes of a
 * hash, and little enough to stay in a core's cache from there to zstd. */
#define BATCH_SIZE (1u << 20)
#define ZERO_BLOCK 65536u

/* A chunk or a stretch of zeros of a batch. */
struct item {
	uint64_t zeros; /* 0: a chunk */
	bool taken_over; /* known by an earlier run's recipe: without bytes */
	uint32_t start, length;
	struct fb_digest id;
	bool known;
	struct fb_place place;
	uint32_t out_start, out_length; /* 0: not compressed */
	uint8_t stored_digest[FB_STORED_DIGEST_LEN];
};

struct batch {
	struct batch *next;         /* free, or waiting for a worker */
	struct batch *next_in_copy; /* the line of the copy */
	struct fb_copy *copy;
	uint8_t *data;
	struct fb_buf out; /* from when a worker takes it until it is appended */
	struct item *items;
	size_t item_count, item_cap;
	struct fb_digest_job *jobs;
	size_t job_cap;
	bool done;
};

struct fb_copy {
	struct fb_copier *copier;
	struct fb_copy *next, *previous;
	char *key;
	char kind[16];

	/* The feeding thread's. */
	struct batch *current;
	size_t fill, scanned, start; /* in current->data */
	uint64_t offset;             /* in the volume, at `fill` */
	size_t *cuts;
	size_t cut_count, cut_cap;
	struct fb_digester *flat;

	/* Under the copier's lock. */
	struct batch *head, **tail;
	unsigned inflight; /* batches that are submitted and not appended */
	bool dead;

	/* The appender's. */
	bool has_lane;
	unsigned lane; /* then: whose open pack its chunks go into */
	struct fb_leaves leaves;
	struct fb_merkle merkle;
	uint64_t pending_zeros;
	uint64_t zero_bytes, new_bytes, stored_bytes;
};

struct worker {
	struct fb_copier *copier;
	pthread_t thread;
	ZSTD_CCtx *cctx;
};

struct fb_copier {
	struct fb_copier_spec spec;
	struct fb_session session; /* borrowed inside */
	char *spool_dir;
	struct fb_chunker chunker;
	size_t batch_bytes;
	struct fb_packer *packer;
	struct fb_sender *sender;
	struct worker *workers;
	unsigned worker_count;

	pthread_mutex_t lock; /* all below */
	pthread_cond_t work, room, changed;
	struct batch *free_batches;
	size_t batch_count, batch_limit;
	struct fb_buf *outs; /* room for what is compressed, not in use */
	size_t out_count, out_cap;
	struct batch *queue, **queue_tail;
	size_t queued;
	struct fb_copy *copies;
	bool appending, closing;
	int rc; /* of the first failure; nothing goes on after it */
	struct fb_error err;

	/* The appender's. */
	unsigned users[FB_PACKER_LANES]; /* copies that have the lane */
	unsigned lane; /* of what is being appended */
	ZSTD_CCtx *cctx;
	uint64_t serial;  /* of the last state that was taken */
	json_t *resumed; /* copies of the state that were not begun again */
	struct fb_leaves *ended; /* of finished copies, to be synced */
	size_t ended_count, ended_cap;
};

/* copier.c */
int fb_copier_check(struct fb_copier *copier, struct fb_error *err);
int fb_copier_fail(struct fb_copier *copier, int rc, const struct fb_error *err);
int fb_copier_take_batch(struct fb_copier *copier, struct batch **ret_batch,
    struct fb_error *err);
void fb_copier_submit(struct fb_copier *copier, struct batch *batch);
/* Become the appender, in any case, but fail if the copier did; then let go,
 * having appended what is ready. */
int fb_copier_own(struct fb_copier *copier, struct fb_error *err);
void fb_copier_disown(struct fb_copier *copier);
char *fb_copier_path(
    const struct fb_copier *copier, const char *key, const char *suffix);

/* copier_feed.c: a chunk that an earlier run stored comes next. */
int fb_copy_take_over(struct fb_copy *copy, const struct fb_pack_chunk *chunk,
    uint32_t pack, uint32_t number, struct fb_error *err);

/* copier_work.c: on worker threads, and appending. */
int fb_batch_process(struct fb_copier *copier, ZSTD_CCtx *cctx,
    struct batch *batch, struct fb_error *err);
int fb_batch_append(
    struct fb_copier *copier, struct batch *batch, struct fb_error *err);
int fb_copy_flush_zeros(struct fb_copy *copy, struct fb_error *err);
ZSTD_CCtx *fb_copier_new_cctx(const struct fb_copier *copier);

/* copier_state.c */
/* Describe everything, to be journaled; the appender only. */
int fb_copier_state(
    struct fb_copier *copier, json_t **ret_state, struct fb_error *err);
/* Close the open packs of `least` bytes and more, and the one of the lane at
 * hand, and send them off; the appender only. */
int fb_copier_cut_packs(
    struct fb_copier *copier, uint64_t least, struct fb_error *err);
/* The record of a finished copy, which stands behind its leaves.  It counts
 * once a state was journaled after it; so it is synced with that state. */
struct finished {
	char kind[16];
	uint64_t leaves;
	struct fb_copy_result result;
};
int fb_finished_write(struct fb_copy *copy, const struct finished *finished,
    struct fb_error *err);
void fb_copier_drop_ended(struct fb_copier *copier);
int fb_finished_read(struct fb_copier *copier, const char *key,
    struct finished *ret_finished, struct fb_error *err);
/* Remove what the state does not know of from the spool directory. */
int fb_copier_clean(
    struct fb_copier *copier, const json_t *state, struct fb_error *err);
/* Open the leaves: as the state or a finished record has them, or none. */
int fb_copy_open_leaves(
    struct fb_copy *copy, bool resume, struct fb_error *err);

#endif

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/format/json.h"

#include "copier_impl.h"

#define PACK_SIZE_DEFAULT (UINT64_C(48) << 20)
#define PACK_SIZE_MOST    (UINT64_C(192) << 20)
#define WORKERS_MAX       16

char *
fb_copier_path(
    const struct fb_copier *copier, const char *key, const char *suffix)
{
	return fb_format("%s/%s%s", copier->spool_dir, key, suffix);
}

/* With the lock held. */
static void
fail_locked(struct fb_copier *copier, int rc, const struct fb_error *err)
{
	if (copier->rc == FB_OK) {
		copier->rc = rc;
		copier->err = *err;
	}
	(void)pthread_cond_broadcast(&copier->room);
	(void)pthread_cond_broadcast(&copier->changed);
}

int
fb_copier_fail(struct fb_copier *copier, int rc, const struct fb_error *err)
{
	(void)pthread_mutex_lock(&copier->lock);
	fail_locked(copier, rc, err);
	(void)pthread_mutex_unlock(&copier->lock);
	return rc;
}

/* With the lock held. */
static int
check_locked(struct fb_copier *copier, struct fb_error *err)
{
	if (copier->rc < 0)
		*err = copier->err;
	return copier->rc;
}

int
fb_copier_check(struct fb_copier *copier, struct fb_error *err)
{
	int rc;

	if (copier->spec.cancel != NULL && atomic_load(copier->spec.cancel))
		return fb_fail(err, FB_ECANCELED, "stopped on request");
	(void)pthread_mutex_lock(&copier->lock);
	rc = check_locked(copier, err);
	(void)pthread_mutex_unlock(&copier->lock);
	return rc;
}

static struct batch *
new_batch(struct fb_copier *copier)
{
	struct batch *batch = fb_alloc(1, sizeof(*batch));

	batch->data = fb_alloc(copier->batch_bytes, 1);
	return batch;
}

static void
free_batch(struct batch *batch)
{
	free(batch->data);
	fb_buf_release(&batch->out);
	free(batch->items);
	free(batch->jobs);
	free(batch);
}

/*
 * With the lock held.  As long as enough is waiting for the workers nobody
 * fills more: what waits leaves the caches, and has to be fetched from memory
 * again.
 */
static bool
has_room(const struct fb_copier *copier)
{
	return copier->queued <= copier->worker_count &&
	    (copier->free_batches != NULL ||
	        copier->batch_count < copier->batch_limit);
}

int
fb_copier_take_batch(struct fb_copier *copier, struct batch **ret_batch,
    struct fb_error *err)
{
	struct batch *batch = NULL;
	int rc;

	(void)pthread_mutex_lock(&copier->lock);
	while (copier->rc == FB_OK && !has_room(copier))
		(void)pthread_cond_wait(&copier->room, &copier->lock);
	rc = check_locked(copier, err);
	if (rc == FB_OK && copier->free_batches != NULL) {
		batch = copier->free_batches;
		copier->free_batches = batch->next;
	} else if (rc == FB_OK) {
		batch = new_batch(copier);
		copier->batch_count++;
	}
	(void)pthread_mutex_unlock(&copier->lock);
	*ret_batch = batch;
	return rc;
}

/* With the lock held: room for what is compressed, the latest used first. */
static void
take_out(struct fb_copier *copier, struct batch *batch)
{
	if (copier->out_count > 0)
		batch->out = copier->outs[--copier->out_count];
}

static void
give_out_back(struct fb_copier *copier, struct batch *batch)
{
	if (batch->out.data == NULL)
		return;
	if (copier->out_count == copier->out_cap) {
		copier->out_cap = copier->out_cap * 2 + 8;
		copier->outs = fb_realloc(
		    copier->outs, copier->out_cap, sizeof(*copier->outs));
	}
	fb_buf_clear(&batch->out);
	copier->outs[copier->out_count++] = batch->out;
	batch->out = (struct fb_buf){ 0 };
}

/* With the lock held. */
static void
recycle(struct fb_copier *copier, struct batch *batch)
{
	batch->copy = NULL;
	batch->item_count = 0;
	batch->done = false;
	give_out_back(copier, batch);
	batch->next = copier->free_batches;
	copier->free_batches = batch;
	(void)pthread_cond_signal(&copier->room);
}

void
fb_copier_submit(struct fb_copier *copier, struct batch *batch)
{
	struct fb_copy *copy = batch->copy;

	(void)pthread_mutex_lock(&copier->lock);
	batch->next = batch->next_in_copy = NULL;
	*copier->queue_tail = batch;
	copier->queue_tail = &batch->next;
	copier->queued++;
	*copy->tail = batch;
	copy->tail = &batch->next_in_copy;
	copy->inflight++;
	(void)pthread_cond_signal(&copier->work);
	(void)pthread_mutex_unlock(&copier->lock);
}

/* A batch that is done and at the head of its copy's line. */
static struct batch *
take_ready(struct fb_copier *copier)
{
	for (struct fb_copy *copy = copier->copies; copy != NULL;
	     copy = copy->next) {
		struct batch *batch = copy->head;

		if (batch == NULL || !batch->done)
			continue;
		copy->head = batch->next_in_copy;
		if (copy->head == NULL)
			copy->tail = &copy->head;
		return batch;
	}
	return NULL;
}

/* With the lock held and `appending` ours: append what is ready, let go. */
static void
drain(struct fb_copier *copier)
{
	struct batch *batch;

	while ((batch = take_ready(copier)) != NULL) {
		struct fb_copy *copy = batch->copy;
		struct fb_error err = { 0 };
		int rc = FB_OK;

		if (copier->rc == FB_OK && !copy->dead) {
			(void)pthread_mutex_unlock(&copier->lock);
			rc = fb_batch_append(copier, batch, &err);
			(void)pthread_mutex_lock(&copier->lock);
		}
		if (rc < 0)
			fail_locked(copier, rc, &err);
		copy->inflight--;
		recycle(copier, batch);
	}
	copier->appending = false;
	(void)pthread_cond_broadcast(&copier->changed);
}

int
fb_copier_own(struct fb_copier *copier, struct fb_error *err)
{
	int rc;

	(void)pthread_mutex_lock(&copier->lock);
	while (copier->appending)
		(void)pthread_cond_wait(&copier->changed, &copier->lock);
	rc = check_locked(copier, err);
	copier->appending = true;
	(void)pthread_mutex_unlock(&copier->lock);
	return rc;
}

void
fb_copier_disown(struct fb_copier *copier)
{
	(void)pthread_mutex_lock(&copier->lock);
	drain(copier);
	(void)pthread_mutex_unlock(&copier->lock);
}

/* With the lock held. */
static void
work_one(struct worker *worker, struct batch *batch)
{
	struct fb_copier *copier = worker->copier;
	bool skip = copier->rc < 0 || batch->copy->dead;
	struct fb_error err = { 0 };
	int rc = FB_OK;

	if (!skip) {
		take_out(copier, batch);
		(void)pthread_mutex_unlock(&copier->lock);
		rc = fb_batch_process(copier, worker->cctx, batch, &err);
		(void)pthread_mutex_lock(&copier->lock);
	}
	if (rc < 0)
		fail_locked(copier, rc, &err);
	batch->done = true;
	if (!copier->appending) {
		copier->appending = true;
		drain(copier);
	}
}

static void *
work(void *arg)
{
	struct worker *worker = arg;
	struct fb_copier *copier = worker->copier;

	(void)pthread_mutex_lock(&copier->lock);
	while (!copier->closing || copier->queue != NULL) {
		struct batch *batch = copier->queue;

		if (batch == NULL) {
			(void)pthread_cond_wait(&copier->work, &copier->lock);
			continue;
		}
		copier->queue = batch->next;
		if (copier->queue == NULL)
			copier->queue_tail = &copier->queue;
		copier->queued--;
		(void)pthread_cond_signal(&copier->room);
		work_one(worker, batch);
	}
	(void)pthread_mutex_unlock(&copier->lock);
	return NULL;
}

static int
journal(void *arg, const json_t *state, struct fb_error *err)
{
	struct fb_copier *copier = arg;

	return copier->spec.checkpoint == NULL
	    ? FB_OK
	    : copier->spec.checkpoint(copier->spec.arg, state, err);
}

static void
start_threads(struct fb_copier *copier)
{
	copier->sender =
	    fb_sender_new(&(struct fb_sender_spec){
	        .store = copier->spec.repo->store,
	        .upload = copier->spec.upload,
	        .hurry = copier->spec.hurry,
	        .checkpoint = journal,
	        .arg = copier });
	copier->workers =
	    fb_alloc(copier->worker_count, sizeof(*copier->workers));
	for (unsigned i = 0; i < copier->worker_count; i++) {
		struct worker *worker = &copier->workers[i];

		worker->copier = copier;
		worker->cctx = fb_copier_new_cctx(copier);
		if (pthread_create(&worker->thread, NULL, work, worker) != 0)
			abort();
	}
}

static int
set_chunker(struct fb_copier *copier, struct fb_error *err)
{
	const struct fb_format_doc *format = &copier->spec.repo->format;

	if (format->chunk_min < FB_CHUNK_WINDOW ||
	    format->chunk_min > format->chunk_max ||
	    format->chunk_average < 2 || format->chunk_max > FB_CHUNK_MAX)
		return fb_fail_id(err, FB_ECORRUPT, "E-FORMAT-CHUNKS",
		    "the repository's chunk sizes make no sense");
	copier->chunker = (struct fb_chunker){ format->chunk_min,
		format->chunk_max,
		(uint32_t)((UINT64_C(1) << 32) / format->chunk_average) };
	copier->batch_bytes = format->chunk_max + BATCH_SIZE;
	return FB_OK;
}

static unsigned
count_workers(unsigned wanted)
{
	long cpus = wanted > 0 ? (long)wanted : sysconf(_SC_NPROCESSORS_ONLN);

	return cpus < 1 ? 1 : cpus > WORKERS_MAX ? WORKERS_MAX : (unsigned)cpus;
}

static int
prepare(struct fb_copier *copier, const json_t *state, struct fb_error *err)
{
	json_t *packer = NULL, *copies;
	int rc = set_chunker(copier, err);

	if (rc == FB_OK && state != NULL) {
		static const char what[] = "journaled state of the copier";

		rc = fb_json_u64(state, "serial", what, INT64_MAX,
		    &copier->serial, err);
		if (rc == FB_OK)
			rc = fb_json_object(
			    state, "packer", what, &packer, err);
		if (rc == FB_OK)
			rc = fb_json_object(
			    state, "copies", what, &copies, err);
		if (rc == FB_OK)
			copier->resumed = json_deep_copy(copies);
	}
	if (rc == FB_OK)
		rc = fb_copier_clean(copier, state, err);
	if (rc == FB_OK)
		rc = fb_packer_open(copier->spec.repo, &copier->session,
		    copier->spool_dir, copier->spec.index_slots, packer,
		    &copier->packer, err);
	if (rc == FB_OK)
		rc = fb_packer_load_hints(
		    copier->packer, copier->spec.index_dir, err);
	return rc;
}

int
fb_copier_open(const struct fb_copier_spec *spec, const json_t *state,
    struct fb_copier **ret_copier, struct fb_error *err)
{
	struct fb_copier *copier = fb_alloc(1, sizeof(*copier));
	int rc;

	copier->spec = *spec;
	copier->session = *spec->session;
	copier->spool_dir = fb_strdup(spec->spool_dir);
	if (spec->pack_size == 0)
		copier->spec.pack_size = PACK_SIZE_DEFAULT;
	else if (spec->pack_size > PACK_SIZE_MOST)
		copier->spec.pack_size = PACK_SIZE_MOST;
	copier->worker_count = count_workers(spec->workers);
	copier->batch_limit = copier->worker_count * 3 / 2 + 3;
	copier->queue_tail = &copier->queue;
	(void)pthread_mutex_init(&copier->lock, NULL);
	(void)pthread_cond_init(&copier->work, NULL);
	(void)pthread_cond_init(&copier->room, NULL);
	(void)pthread_cond_init(&copier->changed, NULL);
	rc = prepare(copier, state, err);
	if (rc < 0) {
		fb_copier_close(copier);
		return fb_wrap(err, "copier");
	}
	if (copier->resumed == NULL)
		copier->resumed = json_object();
	start_threads(copier);
	*ret_copier = copier;
	return FB_OK;
}

static void
stop_threads(struct fb_copier *copier)
{
	(void)pthread_mutex_lock(&copier->lock);
	copier->closing = true;
	(void)pthread_cond_broadcast(&copier->work);
	(void)pthread_mutex_unlock(&copier->lock);
	for (unsigned i = 0; copier->workers && i < copier->worker_count;
	     i++) {
		(void)pthread_join(copier->workers[i].thread, NULL);
		ZSTD_freeCCtx(copier->workers[i].cctx);
	}
	free(copier->workers);
	fb_sender_free(copier->sender);
}

void
fb_copier_close(struct fb_copier *copier)
{
	if (copier == NULL)
		return;
	stop_threads(copier);
	while (copier->free_batches != NULL) {
		struct batch *batch = copier->free_batches;

		copier->free_batches = batch->next;
		free_batch(batch);
	}
	for (size_t i = 0; i < copier->out_count; i++)
		fb_buf_release(&copier->outs[i]);
	free(copier->outs);
	ZSTD_freeCCtx(copier->cctx);
	fb_copier_drop_ended(copier);
	free(copier->ended);
	fb_packer_close(copier->packer);
	json_decref(copier->resumed);
	(void)pthread_cond_destroy(&copier->changed);
	(void)pthread_cond_destroy(&copier->room);
	(void)pthread_cond_destroy(&copier->work);
	(void)pthread_mutex_destroy(&copier->lock);
	free(copier->spool_dir);
	free(copier);
}

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/rate.h"
#include "fleetbak/format/json.h"

#include "sender.h"

/* No more threads than this: each pack under way is spooled until then. */
#define SENDERS_MAX 4

/* A pack to send. */
struct job {
	struct fb_sealed_pack pack;
	json_t *state;
	uint64_t number; /* in the order they came */
};

struct fb_sender {
	struct fb_sender_spec spec;
	pthread_t threads[SENDERS_MAX];
	unsigned thread_count;

	pthread_mutex_t lock; /* all below */
	pthread_cond_t changed;
	struct job waiting[SENDERS_MAX]; /* taken by no thread yet */
	unsigned waiting_count;
	struct fb_sealed_pack stored[FB_PACKER_LANES]; /* no state says so yet */
	unsigned stored_count;
	uint64_t put;  /* so many came */
	uint64_t done; /* so many are stored and journaled, or given up */
	bool closing;
	int rc; /* of the first failure */
	struct fb_error err;
};

/* The object is there; is it as long as ours?  Its name is its digest. */
static int
check_taken(struct fb_store *store, const char *key, uint64_t size,
    struct fb_error *err)
{
	uint64_t there;
	int rc = fb_store_head(store, key, &there, err);

	if (rc == FB_OK && there != size)
		return fb_fail_id(err, FB_ECORRUPT, "E-PACK-NAME",
		    "'%s' is in the store with another length", key);
	return rc;
}

static bool
hurries(const struct fb_sender *sender)
{
	return sender->spec.hurry != NULL && atomic_load(sender->spec.hurry);
}

/* Until `size` bytes may go. */
static void
wait_for_room(const struct fb_sender *sender, uint64_t size)
{
	struct fb_rate *rate = sender->spec.upload;
	int64_t now = rate != NULL ? fb_clock_mono_ns() : 0;
	uint64_t place = fb_rate_queue(rate, size, now);
	int64_t due;

	while ((due = fb_rate_due(rate, place, now)) > now &&
	    !hurries(sender)) {
		fb_clock_wait(due);
		now = fb_clock_mono_ns();
	}
}

static int
send_pack(struct fb_sender *sender, const struct fb_sealed_pack *pack,
    struct fb_error *err)
{
	char key[FB_OBJECT_KEY_SIZE];
	int rc;

	fb_pack_key(&pack->id, key);
	wait_for_room(sender, pack->size);
	rc = fb_store_create_file( /* which syncs it */
	    sender->spec.store, key, pack->path, pack->size, err);
	if (rc == FB_EEXISTS)
		rc = check_taken(sender->spec.store, key, pack->size, err);
	return rc;
}

/* What an older state calls open stays in the spool until a newer one does
 * not.  In the order of the packs, by one thread at a time. */
static int
journal_pack(struct fb_sender *sender, struct job *job, struct fb_error *err)
{
	int rc = FB_OK;

	sender->stored[sender->stored_count++] = job->pack;
	job->pack = (struct fb_sealed_pack){ .fd = -1 };
	if (job->state == NULL)
		return FB_OK;
	rc = sender->spec.checkpoint(sender->spec.arg, job->state, err);
	while (rc == FB_OK && sender->stored_count > 0) {
		struct fb_sealed_pack *pack =
		    &sender->stored[--sender->stored_count];

		rc = fb_sealed_pack_remove(pack, err);
		fb_sealed_pack_release(pack);
	}
	return rc;
}

/*
 * Store one pack.  Its state speaks of all packs before it too, so it is
 * journaled when they are stored, and not at all when one of them failed.
 * With the lock held, but not while sending and journaling.
 */
static void
send_one(struct fb_sender *sender, struct job *job)
{
	struct fb_error err = { 0 };
	int rc;

	(void)pthread_mutex_unlock(&sender->lock);
	rc = send_pack(sender, &job->pack, &err);
	(void)pthread_mutex_lock(&sender->lock);
	while (sender->done != job->number)
		(void)pthread_cond_wait(&sender->changed, &sender->lock);
	if (rc == FB_OK && sender->rc == FB_OK) {
		(void)pthread_mutex_unlock(&sender->lock);
		rc = journal_pack(sender, job, &err);
		(void)pthread_mutex_lock(&sender->lock);
	}
	if (rc < 0 && sender->rc == FB_OK) {
		sender->rc = rc;
		sender->err = err;
	}
	sender->done++;
	fb_sealed_pack_release(&job->pack);
	json_decref(job->state);
	(void)pthread_cond_broadcast(&sender->changed);
}

static void *
run(void *arg)
{
	struct fb_sender *sender = arg;

	(void)pthread_mutex_lock(&sender->lock);
	while (sender->waiting_count > 0 || !sender->closing) {
		struct job job;

		if (sender->waiting_count == 0) {
			(void)pthread_cond_wait(
			    &sender->changed, &sender->lock);
			continue;
		}
		job = sender->waiting[0];
		sender->waiting_count--;
		memmove(&sender->waiting[0], &sender->waiting[1],
		    sender->waiting_count * sizeof(job));
		send_one(sender, &job);
	}
	(void)pthread_mutex_unlock(&sender->lock);
	return NULL;
}

/* A store that is far away keeps several connections busy. */
static unsigned
senders_of(const struct fb_store *store)
{
	unsigned count = store->ops->parallel / SENDERS_MAX;

	return count < 1 ? 1 : count < SENDERS_MAX ? count : SENDERS_MAX;
}

struct fb_sender *
fb_sender_new(const struct fb_sender_spec *spec)
{
	struct fb_sender *sender = fb_alloc(1, sizeof(*sender));

	sender->spec = *spec;
	sender->thread_count = senders_of(spec->store);
	(void)pthread_mutex_init(&sender->lock, NULL);
	(void)pthread_cond_init(&sender->changed, NULL);
	for (unsigned i = 0; i < sender->thread_count; i++)
		if (pthread_create(
		        &sender->threads[i], NULL, run, sender) != 0)
			abort();
	return sender;
}

void
fb_sender_free(struct fb_sender *sender)
{
	if (sender == NULL)
		return;
	(void)pthread_mutex_lock(&sender->lock);
	sender->closing = true;
	(void)pthread_cond_broadcast(&sender->changed);
	(void)pthread_mutex_unlock(&sender->lock);
	for (unsigned i = 0; i < sender->thread_count; i++)
		(void)pthread_join(sender->threads[i], NULL);
	while (sender->stored_count > 0)
		fb_sealed_pack_release(&sender->stored[--sender->stored_count]);
	(void)pthread_cond_destroy(&sender->changed);
	(void)pthread_mutex_destroy(&sender->lock);
	free(sender);
}

/* Until at most `left` packs are under way.  With the lock held. */
static int
wait_for(struct fb_sender *sender, unsigned left, struct fb_error *err)
{
	while (sender->put - sender->done > left)
		(void)pthread_cond_wait(&sender->changed, &sender->lock);
	if (sender->rc < 0)
		*err = sender->err;
	return sender->rc;
}

int
fb_sender_put(struct fb_sender *sender, struct fb_sealed_pack *pack,
    json_t *state, struct fb_error *err)
{
	int rc;

	(void)pthread_mutex_lock(&sender->lock);
	rc = wait_for(sender, sender->thread_count - 1, err);
	if (rc == FB_OK) {
		sender->waiting[sender->waiting_count++] =
		    (struct job){ *pack, state, sender->put++ };
		*pack = (struct fb_sealed_pack){ .fd = -1 };
		(void)pthread_cond_broadcast(&sender->changed);
	} else {
		json_decref(state);
	}
	(void)pthread_mutex_unlock(&sender->lock);
	return rc;
}

int
fb_sender_wait(struct fb_sender *sender, struct fb_error *err)
{
	int rc;

	(void)pthread_mutex_lock(&sender->lock);
	rc = wait_for(sender, 0, err);
	(void)pthread_mutex_unlock(&sender->lock);
	return rc;
}

int
fb_sender_journal(
    struct fb_sender *sender, const json_t *state, struct fb_error *err)
{
	return sender->spec.checkpoint(sender->spec.arg, state, err);
}

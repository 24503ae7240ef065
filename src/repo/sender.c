#include <pthread.h>
#include <stdlib.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/rate.h"
#include "fleetbak/format/json.h"

#include "sender.h"

struct fb_sender {
	struct fb_sender_spec spec;
	pthread_t thread;

	pthread_mutex_t lock; /* all below */
	pthread_cond_t changed;
	struct fb_sealed_pack pack; /* path NULL: none is under way */
	json_t *state;
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
	int64_t due;

	if (sender->spec.upload == NULL)
		return;
	due = fb_rate_take(sender->spec.upload, size, fb_clock_mono_ns());
	while (fb_clock_mono_ns() < due && !hurries(sender))
		fb_clock_wait(due);
}

static int
send_pack(struct fb_sender *sender, struct fb_sealed_pack *pack,
    const json_t *state, struct fb_error *err)
{
	char key[FB_OBJECT_KEY_SIZE];
	int rc;

	fb_pack_key(&pack->id, key);
	wait_for_room(sender, pack->size);
	rc = fb_store_create_file( /* which syncs it */
	    sender->spec.store, key, pack->path, pack->size, err);
	if (rc == FB_EEXISTS)
		rc = check_taken(sender->spec.store, key, pack->size, err);
	if (rc == FB_OK)
		rc = sender->spec.checkpoint(sender->spec.arg, state, err);
	return rc < 0 ? rc : fb_sealed_pack_remove(pack, err);
}

/* With the lock held, but not while sending. */
static void
send_one(struct fb_sender *sender)
{
	struct fb_error err = { 0 };
	int rc;

	(void)pthread_mutex_unlock(&sender->lock);
	rc = send_pack(sender, &sender->pack, sender->state, &err);
	(void)pthread_mutex_lock(&sender->lock);
	if (rc < 0 && sender->rc == FB_OK) {
		sender->rc = rc;
		sender->err = err;
	}
	fb_sealed_pack_release(&sender->pack);
	json_decref(sender->state);
	sender->state = NULL;
	(void)pthread_cond_broadcast(&sender->changed);
}

static void *
run(void *arg)
{
	struct fb_sender *sender = arg;

	(void)pthread_mutex_lock(&sender->lock);
	while (sender->pack.path != NULL || !sender->closing) {
		if (sender->pack.path != NULL)
			send_one(sender);
		else
			(void)pthread_cond_wait(
			    &sender->changed, &sender->lock);
	}
	(void)pthread_mutex_unlock(&sender->lock);
	return NULL;
}

struct fb_sender *
fb_sender_new(const struct fb_sender_spec *spec)
{
	struct fb_sender *sender = fb_alloc(1, sizeof(*sender));

	sender->spec = *spec;
	sender->pack.fd = -1;
	(void)pthread_mutex_init(&sender->lock, NULL);
	(void)pthread_cond_init(&sender->changed, NULL);
	if (pthread_create(&sender->thread, NULL, run, sender) != 0)
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
	(void)pthread_join(sender->thread, NULL);
	(void)pthread_cond_destroy(&sender->changed);
	(void)pthread_mutex_destroy(&sender->lock);
	free(sender);
}

/* With the lock held. */
static int
wait_idle(struct fb_sender *sender, struct fb_error *err)
{
	while (sender->pack.path != NULL)
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
	rc = wait_idle(sender, err);
	if (rc == FB_OK) {
		sender->pack = *pack;
		sender->state = state;
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
	rc = wait_idle(sender, err);
	(void)pthread_mutex_unlock(&sender->lock);
	return rc;
}

int
fb_sender_journal(
    struct fb_sender *sender, const json_t *state, struct fb_error *err)
{
	return sender->spec.checkpoint(sender->spec.arg, state, err);
}

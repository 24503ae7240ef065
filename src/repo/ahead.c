/* Objects that are going to be asked for, got before: several at once. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/repo/repo.h"

#define READERS 8

/* So many are here, or on their way, at once; a larger one is left to whoever
 * asks for it. */
#define WINDOW    16
#define AHEAD_MAX ((size_t)1 << 20)

struct ahead_item {
	char *key;
	struct fb_buf bytes;
	bool over; /* here, or not to be had: the asker will see */
	bool here;
};

struct fb_ahead {
	struct fb_store *store;
	struct ahead_item *items;
	size_t count;
	pthread_t threads[READERS];

	pthread_mutex_t lock; /* all below, and the items' state */
	pthread_cond_t changed;
	size_t next, taken; /* for readers; by askers */
	bool closing;
};

static void *
run(void *arg)
{
	struct fb_ahead *ahead = arg;

	(void)pthread_mutex_lock(&ahead->lock);
	while (!ahead->closing && ahead->next < ahead->count) {
		struct fb_buf bytes = { 0 };
		struct fb_error ignored = { 0 };
		struct ahead_item *item;
		size_t number;
		int rc;

		if (ahead->next >= ahead->taken + WINDOW) {
			(void)pthread_cond_wait(&ahead->changed, &ahead->lock);
			continue;
		}
		number = ahead->next++;
		item = &ahead->items[number];
		(void)pthread_mutex_unlock(&ahead->lock);
		rc = fb_store_get(
		    ahead->store, item->key, AHEAD_MAX, &bytes, NULL, &ignored);
		(void)pthread_mutex_lock(&ahead->lock);
		item->over = true;
		item->here = rc == FB_OK && number >= ahead->taken;
		if (item->here)
			item->bytes = bytes;
		else
			fb_buf_release(&bytes);
		(void)pthread_cond_broadcast(&ahead->changed);
	}
	(void)pthread_mutex_unlock(&ahead->lock);
	return NULL;
}

void
fb_repo_read_ahead(struct fb_repo *repo, char **keys, size_t count)
{
	struct fb_ahead *ahead;

	if (!fb_store_is_far(repo->store) || count == 0)
		return;
	ahead = fb_alloc(1, sizeof(*ahead));
	ahead->store = repo->store;
	ahead->count = count;
	ahead->items = fb_alloc(count, sizeof(*ahead->items));
	for (size_t i = 0; i < count; i++)
		ahead->items[i].key = fb_strdup(keys[i]);
	(void)pthread_mutex_init(&ahead->lock, NULL);
	(void)pthread_cond_init(&ahead->changed, NULL);
	for (size_t i = 0; i < READERS; i++)
		if (pthread_create(&ahead->threads[i], NULL, run, ahead) != 0)
			abort();
	repo->ahead = ahead;
}

void
fb_repo_read_ahead_end(struct fb_repo *repo)
{
	struct fb_ahead *ahead = repo->ahead;

	if (ahead == NULL)
		return;
	repo->ahead = NULL;
	(void)pthread_mutex_lock(&ahead->lock);
	ahead->closing = true;
	(void)pthread_cond_broadcast(&ahead->changed);
	(void)pthread_mutex_unlock(&ahead->lock);
	for (size_t i = 0; i < READERS; i++)
		(void)pthread_join(ahead->threads[i], NULL);
	for (size_t i = 0; i < ahead->count; i++) {
		free(ahead->items[i].key);
		fb_buf_release(&ahead->items[i].bytes);
	}
	free(ahead->items);
	(void)pthread_cond_destroy(&ahead->changed);
	(void)pthread_mutex_destroy(&ahead->lock);
	free(ahead);
}

/* The item of that key, if it is one of the next. */
static struct ahead_item *
find(struct fb_ahead *ahead, const char *key)
{
	size_t end = ahead->taken + WINDOW;

	for (size_t i = ahead->taken; i < end && i < ahead->count; i++)
		if (strcmp(ahead->items[i].key, key) == 0)
			return &ahead->items[i];
	return NULL;
}

/* What came before it is not going to be asked for any more. */
static bool
take(struct fb_ahead *ahead, const char *key, size_t max, struct fb_buf *dst)
{
	struct ahead_item *item;
	bool here = false;

	(void)pthread_mutex_lock(&ahead->lock);
	item = find(ahead, key);
	if (item != NULL) {
		size_t number = (size_t)(item - ahead->items);

		for (; ahead->taken < number; ahead->taken++)
			fb_buf_release(&ahead->items[ahead->taken].bytes);
		(void)pthread_cond_broadcast(&ahead->changed);
		while (!item->over)
			(void)pthread_cond_wait(&ahead->changed, &ahead->lock);
		here = item->here && item->bytes.len <= max;
		if (here)
			fb_buf_add(dst, item->bytes.data, item->bytes.len);
		fb_buf_release(&item->bytes);
		ahead->taken++;
		(void)pthread_cond_broadcast(&ahead->changed);
	}
	(void)pthread_mutex_unlock(&ahead->lock);
	return here;
}

int
fb_repo_get(struct fb_repo *repo, const char *key, size_t max,
    struct fb_buf *dst, struct fb_error *err)
{
	if (repo->ahead != NULL && take(repo->ahead, key, max, dst))
		return FB_OK;
	return fb_store_get(repo->store, key, max, dst, NULL, err);
}

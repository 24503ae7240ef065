#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/queue.h"

struct fb_queue {
	pthread_mutex_t lock; /* guards everything below */
	pthread_cond_t changed;
	void **items;
	size_t capacity;
	size_t first;
	size_t count;
	unsigned producers; /* that have not closed yet */
	bool canceled;
	fb_queue_free_item *free_item;
};

struct fb_queue *
fb_queue_new(size_t capacity, unsigned producers, fb_queue_free_item *free_item)
{
	struct fb_queue *queue = fb_alloc(1, sizeof(*queue));

	(void)pthread_mutex_init(&queue->lock, NULL);
	(void)pthread_cond_init(&queue->changed, NULL);
	queue->items = fb_alloc(capacity, sizeof(*queue->items));
	queue->capacity = capacity;
	queue->producers = producers;
	queue->free_item = free_item;
	return queue;
}

int
fb_queue_put(struct fb_queue *queue, void *item, struct fb_error *err)
{
	bool canceled;

	(void)pthread_mutex_lock(&queue->lock);
	while (queue->count == queue->capacity && !queue->canceled)
		(void)pthread_cond_wait(&queue->changed, &queue->lock);
	canceled = queue->canceled;
	if (!canceled) {
		queue->items[(queue->first + queue->count) % queue->capacity] =
		    item;
		queue->count++;
		(void)pthread_cond_broadcast(&queue->changed);
	}
	(void)pthread_mutex_unlock(&queue->lock);

	if (!canceled)
		return FB_OK;
	queue->free_item(item);
	return fb_fail(err, FB_ECANCELED, "canceled");
}

int
fb_queue_take(struct fb_queue *queue, void **ret_item, struct fb_error *err)
{
	bool canceled;

	*ret_item = NULL;
	(void)pthread_mutex_lock(&queue->lock);
	while (queue->count == 0 && queue->producers > 0 && !queue->canceled)
		(void)pthread_cond_wait(&queue->changed, &queue->lock);
	canceled = queue->canceled;
	if (!canceled && queue->count > 0) {
		*ret_item = queue->items[queue->first];
		queue->first = (queue->first + 1) % queue->capacity;
		queue->count--;
		(void)pthread_cond_broadcast(&queue->changed);
	}
	(void)pthread_mutex_unlock(&queue->lock);

	if (canceled)
		return fb_fail(err, FB_ECANCELED, "canceled");
	return FB_OK;
}

void
fb_queue_close(struct fb_queue *queue)
{
	(void)pthread_mutex_lock(&queue->lock);
	queue->producers--;
	(void)pthread_cond_broadcast(&queue->changed);
	(void)pthread_mutex_unlock(&queue->lock);
}

void
fb_queue_cancel(struct fb_queue *queue)
{
	(void)pthread_mutex_lock(&queue->lock);
	queue->canceled = true;
	(void)pthread_cond_broadcast(&queue->changed);
	(void)pthread_mutex_unlock(&queue->lock);
}

void
fb_queue_free(struct fb_queue *queue)
{
	if (queue == NULL)
		return;
	for (size_t i = 0; i < queue->count; i++)
		queue->free_item(
		    queue->items[(queue->first + i) % queue->capacity]);
	(void)pthread_cond_destroy(&queue->changed);
	(void)pthread_mutex_destroy(&queue->lock);
	free(queue->items);
	free(queue);
}

void
fb_queue_freep(struct fb_queue **queue)
{
	fb_queue_free(*queue);
}

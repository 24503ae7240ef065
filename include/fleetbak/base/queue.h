/*
 * A bounded queue of pointers between threads: the only thing two stages of
 * a pipeline share.  Being bounded, it is also the limit on memory: a slow
 * consumer makes its producers wait.
 */
#ifndef FB_BASE_QUEUE_H
#define FB_BASE_QUEUE_H

#include <stddef.h>

#include "fleetbak/base/attr.h"

struct fb_error;
struct fb_queue;

typedef void fb_queue_free_item(void *item);

/*
 * A queue of at most `capacity` items fed by `producers` threads, each of
 * which calls fb_queue_close() once.  `free_item` disposes of the items that
 * nobody took.
 */
struct fb_queue *fb_queue_new(
    size_t capacity, unsigned producers, fb_queue_free_item *free_item);

/* Wait for room, then add `item` (not NULL), which the queue owns from the
 * call on, even when it fails.  Errors: FB_ECANCELED. */
FB_MUST_USE int fb_queue_put(
    struct fb_queue *queue, void *item, struct fb_error *err);

/* Wait for an item, now the caller's.  *ret_item is NULL when every producer
 * has closed and nothing is left.  Errors: FB_ECANCELED. */
FB_MUST_USE int fb_queue_take(
    struct fb_queue *queue, void **ret_item, struct fb_error *err);

void fb_queue_close(struct fb_queue *queue);

/* Make every put and take, present and future, fail with FB_ECANCELED. */
void fb_queue_cancel(struct fb_queue *queue);

/* Free the queue and what is left in it; no thread may be using it. */
void fb_queue_free(struct fb_queue *queue);
void fb_queue_freep(struct fb_queue **queue);
#define FB_AUTO_QUEUE FB_CLEANUP(fb_queue_freep)

#endif

/*
 * A group of threads that succeed or fail together.
 *
 * No thread outlives the function that started it: whoever makes a group
 * waits for it.  The first task that fails cancels the group's queues, which
 * wakes the others; its error is the group's error.
 */
#ifndef FB_BASE_GROUP_H
#define FB_BASE_GROUP_H

#include <stdbool.h>

#include "fleetbak/base/attr.h"

struct fb_error;
struct fb_group;
struct fb_queue;

typedef int fb_task(void *arg, struct fb_error *err);

struct fb_group *fb_group_new(void);

/* Cancel `queue` when a task fails.  Call before the first fb_group_start();
 * the queue must live until fb_group_wait() returns. */
void fb_group_guard(struct fb_group *group, struct fb_queue *queue);

/* Run task(arg) on a thread of its own.  False: there is none to be had, and
 * fb_group_wait() says why. */
bool fb_group_start(struct fb_group *group, fb_task *task, void *arg);

/* Wait for every task and free the group.  Returns FB_OK, or the failure
 * that came first; FB_ECANCELED only if nothing else failed. */
FB_MUST_USE int fb_group_wait(struct fb_group *group, struct fb_error *err);

#endif

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/group.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/queue.h"

struct worker {
	struct worker *next;
	struct fb_group *group;
	fb_task *task;
	void *arg;
	pthread_t thread;
};

struct fb_group {
	struct worker *workers;    /* the starting thread only */
	struct fb_queue **guarded; /* fixed before the first start */
	size_t guarded_count;
	pthread_mutex_t lock; /* guards `first` */
	struct fb_error first;
};

struct fb_group *
fb_group_new(void)
{
	struct fb_group *group = fb_alloc(1, sizeof(*group));

	(void)pthread_mutex_init(&group->lock, NULL);
	return group;
}

void
fb_group_guard(struct fb_group *group, struct fb_queue *queue)
{
	group->guarded = fb_realloc(
	    group->guarded, group->guarded_count + 1, sizeof(*group->guarded));
	group->guarded[group->guarded_count++] = queue;
}

static void
group_fail(struct fb_group *group, const struct fb_error *err)
{
	(void)pthread_mutex_lock(&group->lock);
	if (group->first.code == FB_OK || group->first.code == FB_ECANCELED)
		group->first = *err;
	(void)pthread_mutex_unlock(&group->lock);

	for (size_t i = 0; i < group->guarded_count; i++)
		fb_queue_cancel(group->guarded[i]);
}

static void *
worker_main(void *arg)
{
	struct worker *worker = arg;
	struct fb_error err = { 0 };

	if (worker->task(worker->arg, &err) < 0)
		group_fail(worker->group, &err);
	return NULL;
}

bool
fb_group_start(struct fb_group *group, fb_task *task, void *arg)
{
	struct worker *worker = fb_alloc(1, sizeof(*worker));
	struct fb_error err = { 0 };
	int sys;

	*worker = (struct worker){ NULL, group, task, arg, 0 };
	sys = pthread_create(&worker->thread, NULL, worker_main, worker);
	if (sys != 0) {
		(void)fb_fail(
		    &err, FB_ESYS, "cannot start a thread: %s", strerror(sys));
		group_fail(group, &err);
		free(worker);
		return false;
	}
	worker->next = group->workers;
	group->workers = worker;
	return true;
}

int
fb_group_wait(struct fb_group *group, struct fb_error *err)
{
	int rc;

	while (group->workers != NULL) {
		struct worker *worker = group->workers;

		group->workers = worker->next;
		(void)pthread_join(worker->thread, NULL);
		free(worker);
	}
	rc = group->first.code;
	if (rc < 0)
		*err = group->first;
	(void)pthread_mutex_destroy(&group->lock);
	free(group->guarded);
	free(group);
	return rc;
}

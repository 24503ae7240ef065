/* Inside reading several volumes at once: volumes.c and volumes_put.c. */
#ifndef REPO_VOLUMES_IMPL_H
#define REPO_VOLUMES_IMPL_H

#include "fleetbak/repo/volumes.h"

#include "stream_impl.h"

#define READINGS_MAX 8
#define JOBS         128

/* One volume on its way. */
struct reading {
	struct fb_volume_reader *reader;
	const struct fb_volume_sink *sink;
	const atomic_bool *cancel;
	uint64_t from, end;

	/* The planner's. */
	struct cursor cursor;
	uint64_t last; /* jobs before this one may be for it */
	bool ended;    /* it has no more pieces */

	/* With the lock held. */
	pthread_cond_t changed;
	uint64_t passed, told;
	bool admitted, over;
	int rc;
	struct fb_error err;
};

/* Where a part of a job belongs. */
struct place {
	struct reading *reading;
	uint64_t offset, length;
	uint32_t first, count; /* chunks of the job */
};

/* What a job of the ring has besides. */
struct shares {
	struct place *places;
	uint32_t count, cap;
	/* When it is out, all before these was put, for each slot. */
	uint64_t passed[READINGS_MAX];
};

struct fb_volumes {
	struct stream stream; /* its lock protects what is below, too */
	struct shares *shares;
	pthread_t planner;
	pthread_cond_t slot_free;
	struct reading *slots[READINGS_MAX];
	unsigned expected;

	struct reading *active[READINGS_MAX]; /* the planner's */
};

static inline struct shares *
shares_at(struct fb_volumes *v, uint64_t number)
{
	return &v->shares[number % JOBS];
}

/* With the lock held: the first failure counts. */
static inline void
fail_reading(struct reading *reading, int rc, const struct fb_error *err)
{
	if (reading->rc < 0)
		return;
	reading->rc = rc;
	reading->err = *err;
}

/* A thread's life: opens jobs, and puts what they hold into their places. */
void *fb_volumes_work(void *volumes);

#endif

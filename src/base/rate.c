#include "fleetbak/base/rate.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "fleetbak/base/mem.h"

#define NS_PER_S UINT64_C(1000000000)
#define STEP_MIN UINT64_C(4096)

/* How often a limit that changes is asked for. */
#define ASK_NS INT64_C(1000000000)

__extension__ typedef unsigned __int128 wide;

struct fb_rate {
	fb_rate_limit *limit; /* NULL: it does not change */
	const void *arg;
	pthread_mutex_t lock; /* all below */
	uint64_t bytes;       /* a second; 0: there is no limit now */
	bool begun, asked;
	int64_t asked_ns;
	int64_t next_ns; /* when all that was taken has gone */
	uint64_t rest;   /* of a nanosecond, in 1/bytes of it */
	uint64_t taken;  /* bytes, in all */
};

static struct fb_rate *
new_rate(uint64_t bytes, fb_rate_limit *limit, const void *arg)
{
	struct fb_rate *rate = fb_alloc(1, sizeof(*rate));

	rate->bytes = bytes;
	rate->limit = limit;
	rate->arg = arg;
	(void)pthread_mutex_init(&rate->lock, NULL);
	return rate;
}

struct fb_rate *
fb_rate_new(uint64_t bytes)
{
	return bytes > 0 ? new_rate(bytes, NULL, NULL) : NULL;
}

struct fb_rate *
fb_rate_new_timed(fb_rate_limit *limit, const void *arg)
{
	return new_rate(0, limit, arg);
}

void
fb_rate_free(struct fb_rate *rate)
{
	if (rate == NULL)
		return;
	(void)pthread_mutex_destroy(&rate->lock);
	free(rate);
}

static int64_t
cap(wide ns)
{
	return ns > INT64_MAX / 4 ? INT64_MAX / 4 : (int64_t)ns;
}

/* The time that `len` bytes take, exactly: what is left over is kept. */
static int64_t
time_of(struct fb_rate *rate, uint64_t len)
{
	wide parts = (wide)len * NS_PER_S + rate->rest;

	rate->rest = (uint64_t)(parts % rate->bytes);
	return cap(parts / rate->bytes);
}

/* What waits goes on waiting at the new limit. */
static void
change(struct fb_rate *rate, uint64_t bytes, int64_t now_ns)
{
	int64_t left = rate->next_ns - now_ns;

	if (rate->begun && rate->bytes > 0 && left > 0)
		rate->next_ns = now_ns +
		    (bytes > 0 ? cap((wide)left * rate->bytes / bytes) : 0);
	rate->rest = 0;
	rate->bytes = bytes;
}

static void
ask(struct fb_rate *rate, int64_t now_ns)
{
	uint64_t bytes;

	if (rate->limit == NULL ||
	    (rate->asked && now_ns >= rate->asked_ns &&
	        now_ns - rate->asked_ns < ASK_NS))
		return;
	rate->asked = true;
	rate->asked_ns = now_ns;
	bytes = rate->limit(rate->arg);
	if (bytes != rate->bytes)
		change(rate, bytes, now_ns);
}

/* With the lock held. */
static void
queue(struct fb_rate *rate, uint64_t len, int64_t now_ns)
{
	int64_t time, saved = FB_RATE_BURST_NS;

	rate->taken += len;
	if (rate->bytes == 0) {
		rate->next_ns = now_ns;
		rate->begun = true;
		return;
	}
	time = time_of(rate, len);
	if (saved < time)
		saved = time;
	if (!rate->begun)
		rate->next_ns = now_ns;
	else if (rate->next_ns < now_ns - saved)
		rate->next_ns = now_ns - saved;
	rate->begun = true;
	if (__builtin_add_overflow(rate->next_ns, time, &rate->next_ns))
		rate->next_ns = INT64_MAX;
}

static int64_t
due(const struct fb_rate *rate, uint64_t place, int64_t now_ns)
{
	uint64_t behind = rate->taken - place; /* of it, in the queue */

	if (rate->bytes == 0)
		return now_ns;
	return rate->next_ns - cap((wide)behind * NS_PER_S / rate->bytes);
}

uint64_t
fb_rate_queue(struct fb_rate *rate, uint64_t len, int64_t now_ns)
{
	uint64_t place;

	if (rate == NULL)
		return 0;
	(void)pthread_mutex_lock(&rate->lock);
	ask(rate, now_ns);
	queue(rate, len, now_ns);
	place = rate->taken;
	(void)pthread_mutex_unlock(&rate->lock);
	return place;
}

int64_t
fb_rate_due(struct fb_rate *rate, uint64_t place, int64_t now_ns)
{
	int64_t at;

	if (rate == NULL)
		return now_ns;
	(void)pthread_mutex_lock(&rate->lock);
	ask(rate, now_ns);
	at = due(rate, place, now_ns);
	(void)pthread_mutex_unlock(&rate->lock);
	return at;
}

int64_t
fb_rate_take(struct fb_rate *rate, uint64_t len, int64_t now_ns)
{
	int64_t at;

	if (rate == NULL)
		return now_ns;
	(void)pthread_mutex_lock(&rate->lock);
	ask(rate, now_ns);
	queue(rate, len, now_ns);
	at = due(rate, rate->taken, now_ns);
	(void)pthread_mutex_unlock(&rate->lock);
	return at;
}

uint64_t
fb_rate_step(struct fb_rate *rate, uint64_t max)
{
	uint64_t bytes, step;

	if (rate == NULL)
		return max;
	(void)pthread_mutex_lock(&rate->lock);
	bytes = rate->bytes;
	(void)pthread_mutex_unlock(&rate->lock);
	if (bytes == 0)
		return max;
	step = bytes / 10;
	if (step < STEP_MIN)
		step = STEP_MIN;
	return step < max ? step : max;
}

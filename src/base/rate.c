#include "fleetbak/base/rate.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "fleetbak/base/mem.h"

#define NS_PER_S UINT64_C(1000000000)
#define STEP_MIN UINT64_C(4096)

struct fb_rate {
	uint64_t bytes; /* a second */
	pthread_mutex_t lock;
	bool begun;
	int64_t next_ns; /* when all that was taken has gone */
	uint64_t rest;   /* of a nanosecond, in 1/bytes of it */
};

struct fb_rate *
fb_rate_new(uint64_t bytes)
{
	struct fb_rate *rate;

	if (bytes == 0)
		return NULL;
	rate = fb_alloc(1, sizeof(*rate));
	rate->bytes = bytes;
	(void)pthread_mutex_init(&rate->lock, NULL);
	return rate;
}

void
fb_rate_free(struct fb_rate *rate)
{
	if (rate == NULL)
		return;
	(void)pthread_mutex_destroy(&rate->lock);
	free(rate);
}

/* The time that `len` bytes take, exactly: what is left over is kept. */
static int64_t
time_of(struct fb_rate *rate, uint64_t len)
{
	__extension__ typedef unsigned __int128 wide;
	wide parts = (wide)len * NS_PER_S + rate->rest;

	rate->rest = (uint64_t)(parts % rate->bytes);
	parts /= rate->bytes;
	return parts > INT64_MAX / 4 ? INT64_MAX / 4 : (int64_t)parts;
}

int64_t
fb_rate_take(struct fb_rate *rate, uint64_t len, int64_t now_ns)
{
	int64_t due, time, saved = FB_RATE_BURST_NS;

	if (rate == NULL)
		return now_ns;
	(void)pthread_mutex_lock(&rate->lock);
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
	due = rate->next_ns;
	(void)pthread_mutex_unlock(&rate->lock);
	return due;
}

uint64_t
fb_rate_step(const struct fb_rate *rate, uint64_t max)
{
	uint64_t step;

	if (rate == NULL)
		return max;
	step = rate->bytes / 10;
	if (step < STEP_MIN)
		step = STEP_MIN;
	return step < max ? step : max;
}

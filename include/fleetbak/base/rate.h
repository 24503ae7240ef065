/*
 * How fast bytes may go: a token bucket, for any number of threads.
 */
#ifndef FB_BASE_RATE_H
#define FB_BASE_RATE_H

#include <stdint.h>

/* What an idle bucket saves up: so much time's worth of bytes, or what is taken
 * next, if that is more: whoever comes late with a large piece has not lost
 * the time in which it could have gone. */
#define FB_RATE_BURST_NS INT64_C(100000000)

struct fb_rate;

/* `bytes` a second; NULL, which every function below takes, when it is 0:
 * there is no limit.  The caller's: fb_rate_free(). */
struct fb_rate *fb_rate_new(uint64_t bytes);

/* One that changes while bytes go: `limit` says how many a second now, 0 for
 * as many as there are.  It is asked once a second at most, by whoever takes
 * or waits, one thread at a time, and keeps `arg` for as long as the rate
 * lives. */
typedef uint64_t fb_rate_limit(const void *arg);
struct fb_rate *fb_rate_new_timed(fb_rate_limit *limit, const void *arg);

void fb_rate_free(struct fb_rate *rate);

/*
 * Take `len` bytes at `now_ns`, after all that were taken before.  Returns the
 * place in the queue, for fb_rate_due().  Whoever takes waits until then, or
 * gives up: nothing is put back.
 *
 * Threads: any.
 */
uint64_t fb_rate_queue(struct fb_rate *rate, uint64_t len, int64_t now_ns);

/* The time at which the bytes of a place may go, which may have passed; it is
 * another one when the limit has changed, so who waits asks again and again.
 * `now_ns` without a limit. */
int64_t fb_rate_due(struct fb_rate *rate, uint64_t place, int64_t now_ns);

/* Both at once, for who need not ask again. */
int64_t fb_rate_take(struct fb_rate *rate, uint64_t len, int64_t now_ns);

/* How many bytes to take at once, of at most `max`, so that a wait is short
 * and what goes meanwhile is even. */
uint64_t fb_rate_step(struct fb_rate *rate, uint64_t max);

#endif

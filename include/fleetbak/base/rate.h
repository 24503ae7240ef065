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
void fb_rate_free(struct fb_rate *rate);

/*
 * Take `len` bytes at `now_ns`, after all that were taken before: the time at
 * which they may go, which may have passed; `now_ns` without a limit.
 * Whoever takes waits until then, or gives up: nothing is put back.
 *
 * Threads: any.
 */
int64_t fb_rate_take(struct fb_rate *rate, uint64_t len, int64_t now_ns);

/* How many bytes to take at once, of at most `max`, so that a wait is short
 * and what goes meanwhile is even. */
uint64_t fb_rate_step(const struct fb_rate *rate, uint64_t max);

#endif

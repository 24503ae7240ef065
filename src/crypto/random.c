#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "broken.h"
#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/base/text.h"
#include "fleetbak/crypto/digest.h"

#define NS_PER_MS 1000000

FB_NORETURN void
fb_crypto_broken(const char *why)
{
	(void)!write(STDERR_FILENO, "fleetbak: ", 10);
	(void)!write(STDERR_FILENO, why, strlen(why));
	(void)!write(STDERR_FILENO, "\n", 1);
	_exit(FB_EXIT_NOMEM);
}

void
fb_random(void *bytes, size_t len)
{
	uint8_t *to = bytes;

	while (len > 0) {
		ssize_t got = getrandom(to, len, 0);

		if (got == -1 && errno != EINTR)
			fb_crypto_broken("the kernel gives no random bytes");
		if (got > 0) {
			to += got;
			len -= (size_t)got;
		}
	}
}

#ifdef FB_FAULTS
static pthread_once_t first = PTHREAD_ONCE_INIT;
static _Thread_local char *fixed_into;

/* Copy the id a test has fixed, if there is one. */
static void
take_fixed(void)
{
	const char *id = getenv("FLEETBAK_SESSION");

	if (id != NULL && fb_run_id_ok(id, strlen(id)))
		memcpy(fixed_into, id, FB_RUN_ID_SIZE);
}
#endif

/* The time that a run id begins with, or -1. */
static int64_t
time_of_id(const char *id)
{
	struct fb_error ignored;
	char text[FB_TIME_SIZE];
	int64_t ns;

	(void)snprintf(text, sizeof(text),
	    "%.4s-%.2s-%.2sT%.2s:%.2s:%.2s.%.3sZ", id, id + 4, id + 6, id + 9,
	    id + 11, id + 13, id + 15);
	return fb_time_parse(text, &ns, &ignored) < 0 ? -1 : ns;
}

int64_t
fb_random_run_id_after(const char *after, char *id)
{
	int64_t now = fb_clock_wall_ns(), then = -1;
	char time[FB_TIME_SIZE], hex[9];
	uint8_t bytes[4];

	id[0] = '\0';
#ifdef FB_FAULTS
	fixed_into = id;
	(void)pthread_once(&first, take_fixed);
	if (id[0] != '\0')
		return 0;
#endif
	if (after != NULL && fb_run_id_ok(after, strlen(after)))
		then = time_of_id(after);
	/* Ids count milliseconds. */
	fb_time_format_ms(
	    then >= now - now % NS_PER_MS ? then + NS_PER_MS : now, time);
	fb_random(bytes, sizeof(bytes));
	fb_text_hex(bytes, sizeof(bytes), hex);
	(void)snprintf(id, FB_RUN_ID_SIZE, "%.4s%.2s%.2s-%.2s%.2s%.2s%.3s-%s",
	    time, time + 5, time + 8, time + 11, time + 14, time + 17,
	    time + 20, hex);
	return then > now ? then - now : 0;
}

void
fb_random_run_id(char *id)
{
	(void)fb_random_run_id_after(NULL, id);
}

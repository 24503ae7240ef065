/*
 * The thread beside a command that looks at the time: the supervisor's
 * watchdog and its wish to hear how far we are, and the limit of
 * --max-duration.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/service.h"
#include "fleetbak/cli/signal.h"
#include "fleetbak/cli/unattended.h"

#define LOOK_NS   INT64_C(500000000)
#define SAY_NS    INT64_C(2000000000)
#define EXTEND_NS INT64_C(5000000000)

struct fb_keeper {
	struct fb_cli *cli;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop;
	char *status;        /* NULL: said */
	int64_t deadline_ns; /* 0: none */
	int64_t watchdog_ns, watched_ns, said_ns, extended_ns;
};

static void
keep_time(struct fb_keeper *keeper, int64_t now)
{
	if (keeper->deadline_ns == 0 || now < keeper->deadline_ns)
		return;
	keeper->deadline_ns = 0;
	atomic_store(&keeper->cli->late, true);
	atomic_store(&keeper->cli->cancel, true);
}

/* While it stops in order it asks for time, as long as it lives: what is
 * still done, starting machines, has deadlines of its own. */
static void
tell_stopping(struct fb_keeper *keeper, int64_t now)
{
	if (!atomic_load(&keeper->cli->cancel))
		return;
	if (keeper->extended_ns == 0)
		fb_service_notify(atomic_load(&keeper->cli->late)
		        ? "STATUS=the time is used up: stopping in order"
		        : "STOPPING=1\nSTATUS=stopping in order");
	else if (now - keeper->extended_ns < EXTEND_NS)
		return;
	keeper->extended_ns = now;
	fb_service_notify("EXTEND_TIMEOUT_USEC=30000000");
}

static void
tell_status(struct fb_keeper *keeper, int64_t now)
{
	FB_AUTO_FREE char *text = NULL;

	if (keeper->status == NULL || keeper->extended_ns != 0 ||
	    now - keeper->said_ns < SAY_NS)
		return;
	keeper->said_ns = now;
	text = fb_format("STATUS=%s", keeper->status);
	fb_freep(&keeper->status);
	fb_service_notify(text);
}

static void *
keep(void *arg)
{
	struct fb_keeper *keeper = arg;

	(void)pthread_mutex_lock(&keeper->lock);
	while (!keeper->stop) {
		int64_t now = fb_clock_mono_ns(), until = now + LOOK_NS;
		struct timespec at;

		keep_time(keeper, now);
		tell_stopping(keeper, now);
		tell_status(keeper, now);
		if (keeper->watchdog_ns > 0 &&
		    now - keeper->watched_ns >= keeper->watchdog_ns / 3) {
			keeper->watched_ns = now;
			fb_service_notify("WATCHDOG=1");
		}
		if (keeper->watchdog_ns > 0 &&
		    keeper->watchdog_ns / 4 < LOOK_NS)
			until = now + keeper->watchdog_ns / 4;
		if (keeper->deadline_ns != 0 && keeper->deadline_ns < until)
			until = keeper->deadline_ns;
		at.tv_sec = until / 1000000000;
		at.tv_nsec = until % 1000000000;
		(void)pthread_cond_timedwait(&keeper->wake, &keeper->lock, &at);
	}
	tell_stopping(keeper, fb_clock_mono_ns());
	(void)pthread_mutex_unlock(&keeper->lock);
	return NULL;
}

/* A signal is for the command's own threads. */
static int
start_thread(struct fb_keeper *keeper)
{
	sigset_t all, before;
	int rc;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_BLOCK, &all, &before);
	rc = pthread_create(&keeper->thread, NULL, keep, keeper);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc;
}

struct fb_keeper *
fb_keeper_start(struct fb_cli *cli, uint64_t max_ms)
{
	struct fb_keeper *keeper;
	pthread_condattr_t attr;

	if (max_ms == 0 && !fb_service_listens())
		return NULL; /* nothing to keep */
	keeper = fb_alloc(1, sizeof(*keeper));
	keeper->cli = cli;
	keeper->watchdog_ns = fb_service_watchdog_ns();
	keeper->said_ns = fb_clock_mono_ns() - SAY_NS;
	if (max_ms > 0)
		keeper->deadline_ns = fb_clock_mono_ns() +
		    (max_ms < INT64_MAX / 2000000 ? (int64_t)max_ms * 1000000
		                                  : INT64_MAX / 2);
	(void)pthread_mutex_init(&keeper->lock, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&keeper->wake, &attr);
	(void)pthread_condattr_destroy(&attr);
	if (start_thread(keeper) != 0)
		fb_freep(&keeper); /* uncovered: no thread is to be had */
	return keeper;
}

void
fb_keeper_say(struct fb_keeper *keeper, const char *status)
{
	if (keeper == NULL)
		return;
	(void)pthread_mutex_lock(&keeper->lock);
	free(keeper->status);
	keeper->status = fb_strdup(status);
	(void)pthread_mutex_unlock(&keeper->lock);
}

void
fb_keeper_stop(struct fb_keeper *keeper)
{
	if (keeper == NULL)
		return;
	(void)pthread_mutex_lock(&keeper->lock);
	keeper->stop = true;
	(void)pthread_cond_signal(&keeper->wake);
	(void)pthread_mutex_unlock(&keeper->lock);
	(void)pthread_join(keeper->thread, NULL);
	(void)pthread_cond_destroy(&keeper->wake);
	(void)pthread_mutex_destroy(&keeper->lock);
	free(keeper->status);
	free(keeper);
}

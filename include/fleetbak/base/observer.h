/*
 * What the engine tells whoever watches: the terminal, cron's plain lines,
 * ndjson, a test.  The engine decides nothing by it.
 *
 * Threads: calls come from any thread, one at a time (the engine serialises).
 */
#ifndef FB_BASE_OBSERVER_H
#define FB_BASE_OBSERVER_H

#include <stdint.h>

struct fb_error;

enum fb_event_kind {
	FB_EVENT_RUN_START,      /* text: run id; total: bytes to read */
	FB_EVENT_MACHINE_START,  /* machine */
	FB_EVENT_STATE,          /* machine, text: the state it entered */
	FB_EVENT_PROGRESS,       /* machine, volume, done of total bytes */
	FB_EVENT_MACHINE_COPIED, /* machine, done: read, but not committed */
	FB_EVENT_MACHINE_OK,     /* machine, text: one line of figures; it is
	                          * committed, or restored */
	FB_EVENT_MACHINE_FAILED, /* machine, error */
	FB_EVENT_WARNING,        /* machine or NULL, error */
	FB_EVENT_NOTE,           /* text: for -v */
	FB_EVENT_RUN_END,        /* text: run id */
};

struct fb_event {
	enum fb_event_kind kind;
	const char *machine; /* "source/id" */
	const char *volume;
	const char *text;
	uint64_t done, total; /* bytes */
	const struct fb_error *error;
};

struct fb_observer {
	void (*notify)(void *arg, const struct fb_event *event);
	void *arg;
};

static inline void
fb_observe(const struct fb_observer *observer, const struct fb_event *event)
{
	if (observer != 0 && observer->notify != 0)
		observer->notify(observer->arg, event);
}

#endif

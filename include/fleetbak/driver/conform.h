/*
 * The conformance suite of plugins: what fleetbak-driver(7) asks of one,
 * tried out.
 *
 * Without a machine only questions are asked.  With one it is stopped,
 * snapshotted, started and read; with a name for a new one, that is made of
 * what was read, and stays.
 *
 * Threads: any, one plugin at a time.
 */
#ifndef FB_DRIVER_CONFORM_H
#define FB_DRIVER_CONFORM_H

#include <stdatomic.h>
#include <stddef.h>

#include "fleetbak/format/config.h"

struct fb_error;

enum fb_conform_result { FB_CONFORM_PASS, FB_CONFORM_FAIL, FB_CONFORM_SKIP };

struct fb_conform {
	/* Of any driver; what only plugins say is asked of them alone. */
	const struct fb_config_source *source;
	const char *machine; /* id; NULL: only questions */
	const char *as_new;  /* id or name; NULL: no restore */
	const atomic_bool *cancel; /* may be NULL */
	/* Each check, when it is over; `why` is "" of one that passed. */
	void (*report)(void *arg, const char *check,
	    enum fb_conform_result result, const char *why);
	void *arg;
	size_t passed, failed, skipped; /* out */
};

/* FB_OK when the suite ran to its end, however the checks went.  Errors:
 * FB_ECONFIG, FB_ECANCELED. */
FB_MUST_USE int fb_conform_run(
    struct fb_conform *conform, struct fb_error *err);

#endif

/*
 * Libraries that are loaded when they are first needed, and not before: a
 * machine without one can do all that does not need it.
 *
 * A list of functions X(name) makes the struct of their pointers and the rows
 * that fill it:
 *
 *	#define ROW(name) { #name, (void **)&fb_thing.name },
 *	static const struct fb_late_row rows[] = { FB_THING_FUNCTIONS(ROW) };
 */
#ifndef FB_BASE_LATE_H
#define FB_BASE_LATE_H

#include <stdbool.h>
#include <stddef.h>

#include "fleetbak/base/attr.h"

struct fb_late_row {
	const char *name; /* as the library has it */
	void **place;     /* of the pointer to it */
};

/* Room for why a library cannot be used; "" while it can. */
#define FB_LATE_TROUBLE 256

/*
 * Load `library` ("libcurl.so.4"), for good, and fill the places; false, with
 * the reason in `trouble`, when it or one of the functions is not there.
 * Threads: the caller sees to it that a library is loaded once.
 */
FB_MUST_USE bool fb_late_load(const char *library,
    const struct fb_late_row *rows, size_t count,
    char trouble[FB_LATE_TROUBLE]);

#endif

/*
 * Server-sent events, by the grammar of the HTML standard (9.2): lines end
 * with LF, CR or CRLF wherever the pieces are cut, a blank line ends an event,
 * `data` lines are joined by LF, a BOM before all is skipped, what begins with
 * ":" says only that somebody is there.
 *
 * Pure: pieces in, events out.  Threads: one at a time.
 */
#ifndef FB_BASE_SSE_H
#define FB_BASE_SSE_H

#include <stdbool.h>
#include <stdint.h>

#include "fleetbak/base/buf.h"

struct fb_error;

struct fb_sse_event {
	const char *type;    /* "message" when the stream names none */
	const char *id;      /* the last one the stream named; "" before */
	struct fb_span data; /* NUL-terminated; may hold NULs of its own */
};

/* A negative return ends the reading and is what fb_sse_feed() returns. */
typedef int fb_sse_visit(
    void *arg, const struct fb_sse_event *event, struct fb_error *err);

/* All-zero is one that has read nothing, but for what the caller sets. */
struct fb_sse {
	fb_sse_visit *visit; /* set by the caller, as `arg` and `max` */
	void *arg;
	size_t max;          /* bytes of one event; 0: 1 MiB */

	uint64_t retry_ms;   /* what the stream asks for; 0: nothing */
	struct fb_buf id;

	/* Its own. */
	struct fb_buf line, data, type;
	unsigned bom;        /* bytes of it seen; 4: none may come any more */
	bool cr, has_data;
};

/* Errors: FB_EPROTO, an event is too large; the visitor's. */
FB_MUST_USE int fb_sse_feed(
    struct fb_sse *sse, struct fb_span piece, struct fb_error *err);

/*
 * The stream has ended.  The standard drops an event that no blank line ended;
 * with `flush` it is given all the same, for servers that leave it out.
 */
FB_MUST_USE int fb_sse_end(
    struct fb_sse *sse, bool flush, struct fb_error *err);
void fb_sse_release(struct fb_sse *sse);
#define FB_AUTO_SSE FB_CLEANUP(fb_sse_release)

#endif

/*
 * Bytes in the order they come, as many as there are: what does not fit into
 * a little memory waits in a file without a name under TMPDIR.  Where no such
 * file can be made, memory has to do.
 */
#ifndef FB_CLI_SPOOL_H
#define FB_CLI_SPOOL_H

#include <stdbool.h>
#include <stdio.h>

#include "fleetbak/base/buf.h"

/* All-zero is an empty spool. */
struct fb_spool {
	struct fb_buf tail; /* the newest bytes */
	FILE *file;         /* all before; NULL: there are none */
	bool full;          /* the file takes no more */
};

void fb_spool_add(struct fb_spool *spool, const void *bytes, size_t len);
bool fb_spool_empty(const struct fb_spool *spool);

/* Visit all bytes from the first; the pieces are as they come. */
typedef void fb_spool_visit(struct fb_span piece, void *arg);
void fb_spool_each(struct fb_spool *spool, fb_spool_visit *visit, void *arg);
/* Write all of it; a failure is the stream's. */
void fb_spool_print(struct fb_spool *spool, FILE *out);

void fb_spool_release(struct fb_spool *spool);

#endif

/*
 * Memory that does not fail.
 *
 * These functions never return NULL: when the allocator does, they print one
 * line and exit with FB_EXIT_NOMEM.  That is safe here and only here, because
 * fleetbak is crash-only: whatever kills a run, the journal resumes it.
 *
 * A size read from a file or a socket is not a small allocation.  Check it
 * against the format's documented maximum first; that check is what reports.
 */
#ifndef FB_BASE_MEM_H
#define FB_BASE_MEM_H

#include <stddef.h>

#include "fleetbak/base/attr.h"

struct fb_error;

/* Exit status of a run that ran out of memory (EX_OSERR of sysexits.h). */
#define FB_EXIT_NOMEM 71

/* Zero-filled array of `count` elements; the product is overflow-checked. */
void *fb_alloc(size_t count, size_t size);
/* The same where `count` came from outside: NULL, with the error FB_ESYS. */
FB_MUST_USE void *fb_alloc_or_fail(
    size_t count, size_t size, struct fb_error *err);
void *fb_realloc(void *ptr, size_t count, size_t size);
char *fb_strdup(const char *str);
char *fb_format(const char *fmt, ...) FB_PRINTF(1, 2);

/* Scope cleanup: FB_AUTO_FREE char *path = fb_format(...);  The pointer is
 * NULL afterwards, so that releasing twice is harmless. */
void fb_freep(void *ptr_to_ptr);
void fb_closep(const int *fd);
#define FB_AUTO_FREE  FB_CLEANUP(fb_freep)
#define FB_AUTO_CLOSE FB_CLEANUP(fb_closep)

#endif

/*
 * Rows of bytes, as many as there are, in little memory: put in one by one,
 * then read in order, as often as one likes.
 *
 * What does not fit into a bounded memory is sorted, waits in a file without
 * a name, and is merged when it is read: time grows with n log n, memory does
 * not.  Few rows never touch a disk.
 *
 * Threads: one at a time.
 */
#ifndef FB_BASE_ROWS_H
#define FB_BASE_ROWS_H

#include <stdbool.h>

#include "fleetbak/base/buf.h"

struct fb_error;
struct fb_rows;

/* A row is at most so long. */
#define FB_ROW_MAX ((size_t)1 << 20)

/* The order of two rows: below 0, 0, above 0.  `arg` is fb_rows_new()'s. */
typedef int fb_rows_compare(struct fb_span a, struct fb_span b, void *arg);

/*
 * Rows that will be read in the order of `compare`; of equal ones, in the
 * order they were put in.  NULL: in the order they were put in.
 *
 * `dir` is where the file would be, borrowed; where that cannot be, or it is
 * NULL, TMPDIR, else /tmp.  `memory` bytes of rows are held at most; 0 is a
 * number that suits.
 */
struct fb_rows *fb_rows_new(
    const char *dir, size_t memory, fb_rows_compare *compare, void *arg);
void fb_rows_free(struct fb_rows *rows);
void fb_rows_freep(struct fb_rows **rows);
#define FB_AUTO_ROWS FB_CLEANUP(fb_rows_freep)

/* Put a row in, a copy; not after the first fb_rows_rewind(). */
FB_MUST_USE int fb_rows_add(
    struct fb_rows *rows, struct fb_span row, struct fb_error *err);
uint64_t fb_rows_count(const struct fb_rows *rows);

/* Read from the first one, again too.  Errors: FB_ESYS. */
FB_MUST_USE int fb_rows_rewind(struct fb_rows *rows, struct fb_error *err);

/* The next one, borrowed until the next call; *ret_more is false, and the row
 * empty, when there are no more. */
FB_MUST_USE int fb_rows_next(struct fb_rows *rows, struct fb_span *ret_row,
    bool *ret_more, struct fb_error *err);

#endif

/*
 * Locks between processes of one host: flock(2) on a file that stays.
 */
#ifndef FB_BASE_LOCK_H
#define FB_BASE_LOCK_H

#include <stdatomic.h>
#include <stdint.h>

#include "fleetbak/base/attr.h"

struct fb_buf;
struct fb_error;

/*
 * Open `path` (0600, no symlink, a regular file, made if missing), wait up to
 * `wait_ms` for the exclusive lock, then write "pid <pid>\n<note>\n" into it.
 * The wait ends when `cancel` (may be NULL) is set.
 *
 * Returns the descriptor (>= 0), close-on-exec; closing it gives the lock up.
 * Errors: FB_EBUSY (E-LOCKED) naming what the holder wrote; FB_ECANCELED;
 *         FB_ESYS ...
 */
FB_MUST_USE int fb_lock_take(const char *path, uint64_t wait_ms,
    const atomic_bool *cancel, const char *note, struct fb_error *err);

/*
 * Does somebody hold the lock?  Takes nothing from who comes for it meanwhile,
 * waits for nothing and makes no file.
 *
 * FB_OK: nobody.  Errors: FB_EBUSY (E-LOCKED) as above; FB_ESYS ...
 */
FB_MUST_USE int fb_lock_look(const char *path, struct fb_error *err);

/*
 * Append the processes other than ours that have the file of `fd` open, as
 * far as we may look: "pid 71 (sleep), pid 72 (sh)"; nothing when it cannot
 * be told.
 */
void fb_lock_add_holders(struct fb_buf *dst, int fd);

#endif

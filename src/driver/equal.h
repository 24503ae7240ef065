/*
 * A target of which all is there already, in a snapshot that the source still
 * has: what is written must be what that holds.
 */
#ifndef DRIVER_EQUAL_H
#define DRIVER_EQUAL_H

#include "fleetbak/driver/artifact.h"

/* Of the error of a difference, FB_ECONFLICT. */
struct fb_equal_words {
	const char *id, *text, *hint;
};

/*
 * Takes `disk` over, and borrows `words`.  `fresh`: what is not written are
 * zeros.  It may be read from as many threads as the disk.
 */
struct fb_target *fb_target_equal(struct fb_artifact *disk, bool fresh,
    const struct fb_equal_words *words);

#endif

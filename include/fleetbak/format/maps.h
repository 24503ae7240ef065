/*
 * What is to become something else where it is restored, as a file says it:
 *
 *	network: {default: "br lan"}
 *	disk: {vda: "fast/", vdb: "/dev/vg/web"}
 *
 * Pure.
 */
#ifndef FB_FORMAT_MAPS_H
#define FB_FORMAT_MAPS_H

#include <stdbool.h>
#include <stddef.h>

#include "fleetbak/base/attr.h"
#include "fleetbak/base/buf.h"

struct fb_error;

/* Largest file, and longest map, that is read. */
#define FB_MAPS_MAX      ((size_t)1 << 20)
#define FB_MAP_BYTES_MAX 8192

/* Is there such a kind? */
bool fb_map_kind_ok(const char *kind, size_t len);

/*
 * Read a file of maps as the words that --map takes, "KIND:OLD=NEW"; `path` is
 * for messages.
 *
 * Owner:  the list, which ends with NULL, and its words are the caller's:
 *         fb_maps_free().
 * Errors: FB_ECONFIG, with ids of a configuration.
 */
FB_MUST_USE int fb_maps_read(struct fb_span yaml, const char *path,
    char ***ret_maps, struct fb_error *err);
void fb_maps_free(char ***maps);
#define FB_AUTO_MAPS FB_CLEANUP(fb_maps_free)

#endif

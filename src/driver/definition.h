/*
 * The definition of a machine that a system describes by one JSON document: an
 * archive of that alone.
 */
#ifndef DRIVER_DEFINITION_H
#define DRIVER_DEFINITION_H

#include "fleetbak/driver/artifact.h"
#include "fleetbak/format/json.h"

#define FB_DEFINITION_FILE "machine.json"

/* It is written below `spool`, when that is a directory, else below /tmp, and
 * goes with the artifact. */
FB_MUST_USE int fb_definition_open(const char *spool, const json_t *document,
    struct fb_artifact **ret_artifact, struct fb_error *err);

#endif

/*
 * Which machines are meant.
 *
 *	expression  term { "," term }         or; a leading "&" intersects,
 *	                                      a leading "!" takes away
 *	term        [source "/"] glob ["+"]   id or name; "+": with descendants
 *	            key "=" glob              label; "role=", "source=" as well
 *	glob        fnmatch(3) without "/"
 *
 * Fails closed: a term that matches nothing, or a plain name that matches
 * machines of several sources, is an error with the nearest names.
 * Spec: fleetbak(1), "Selecting machines".
 */
#ifndef FB_FLEET_SELECTOR_H
#define FB_FLEET_SELECTOR_H

#include "fleetbak/fleet/fleet.h"

/*
 * Set `selected` on every machine that all of `expressions` (each narrows)
 * and, if `machines` has any, one of the machine arguments choose; with none
 * of either, on all.  Errors: FB_ECONFIG, ids E-SEL-NONE, E-SEL-AMBIGUOUS,
 * E-SEL-SYNTAX; nothing is selected then.
 */
FB_MUST_USE int fb_select(struct fb_fleet *fleet,
    const char *const *expressions, size_t expression_count,
    const char *const *machines, size_t machine_count, struct fb_error *err);

#endif

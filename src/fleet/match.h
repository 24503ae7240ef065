/*
 * One term of a selector, for selections and units.
 */
#ifndef FLEET_MATCH_H
#define FLEET_MATCH_H

#include "fleetbak/fleet/fleet.h"

/* Has no glob characters. */
bool match_is_plain(const char *text);

/* Set `set`[i] for each machine that the term, without "&" or "!", means;
 * with `one_only` it means exactly one, and "+" its descendants. */
FB_MUST_USE int match_term(const struct fb_fleet *fleet, const char *term,
    bool one_only, bool *set, struct fb_error *err);

#endif

/*
 * The second half of canic's manifest: which members belong together, and what
 * is verified of them.  Private to src/format.
 */
#ifndef FORMAT_CANIC_UNITS_H
#define FORMAT_CANIC_UNITS_H

#include "canic_fields.h"

/* A role: a name. */
FB_MUST_USE int canic_role(const json_t *object, const char *key,
    const char *what, const char **ret, struct fb_error *err);

/* A list of verification checks; that their roles exist, canic_units() says. */
FB_MUST_USE int canic_checks(
    const json_t *list, bool strict, struct fb_error *err);

/* Find each member's parent, and check units, the plan of verification and the
 * roles that they name. */
FB_MUST_USE int canic_units(
    struct fb_canic_manifest *manifest, struct fb_error *err);

#endif

/*
 * What canic's two documents have in common.  Private to src/format.
 */
#ifndef FORMAT_CANIC_FIELDS_H
#define FORMAT_CANIC_FIELDS_H

#include "fleetbak/format/canic.h"

/* Raise E-CANIC-FORMAT. */
#define canic_fail(err, ...) \
	fb_fail_id((err), FB_ECORRUPT, "E-CANIC-FORMAT", __VA_ARGS__)

/* Members of an object.  "_opt": NULL when it is null or absent. */
FB_MUST_USE int canic_text(const json_t *object, const char *key,
    const char *what, const char **ret, struct fb_error *err);
FB_MUST_USE int canic_text_opt(const json_t *object, const char *key,
    const char *what, const char **ret, struct fb_error *err);
FB_MUST_USE int canic_principal(const json_t *object, const char *key,
    const char *what, const char **ret, struct fb_error *err);
FB_MUST_USE int canic_principal_opt(const json_t *object, const char *key,
    const char *what, const char **ret, struct fb_error *err);
FB_MUST_USE int canic_hash(const json_t *object, const char *key,
    const char *what, const char **ret, struct fb_error *err);
FB_MUST_USE int canic_hash_opt(const json_t *object, const char *key,
    const char *what, const char **ret, struct fb_error *err);
/* "sha256", exactly. */
FB_MUST_USE int canic_sha256(const json_t *object, const char *key,
    const char *what, struct fb_error *err);
FB_MUST_USE int canic_path(const json_t *object, const char *what,
    const char **ret, struct fb_error *err);
/* A list of `min` to `max` entries. */
FB_MUST_USE int canic_list(const json_t *object, const char *key,
    const char *what, size_t min, size_t max, const json_t **ret,
    struct fb_error *err);

/* 1, exactly. */
FB_MUST_USE int canic_version(const json_t *object, const char *key,
    const char *what, struct fb_error *err);
/* Unknown members are refused, where `strict`. */
FB_MUST_USE int canic_only(const json_t *object, bool strict,
    const char *what, const char *const *keys, struct fb_error *err);

/* What jansson or a helper of JSON refused is canic's format. */
int canic_settle(int rc, struct fb_error *err);

#endif

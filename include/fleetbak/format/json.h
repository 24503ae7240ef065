/*
 * JSON by jansson, strict: duplicate keys, trailing bytes, invalid UTF-8 and
 * NUL in strings are errors; nesting and size are bounded.
 */
#ifndef FB_FORMAT_JSON_H
#define FB_FORMAT_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "fleetbak/base/buf.h"

struct fb_error;

void fb_json_decrefp(json_t **value);
#define FB_AUTO_JSON FB_CLEANUP(fb_json_decrefp)

/* Parse one document of at most `max` bytes.  `what` names it in the
 * message.  Errors: FB_ECORRUPT with line and column. */
FB_MUST_USE int fb_json_parse(struct fb_span text, size_t max,
    const char *what, json_t **ret_value, struct fb_error *err);

/* What fb_json_parse() would not even begin with, however small it may be:
 * nested too deep, too many values for its size.  NULL: nothing.  Who writes
 * what is read again later asks first. */
const char *fb_json_shape_fault(struct fb_span text);

/* Append the canonical form: sorted keys, no white space, UTF-8 as it is. */
void fb_json_add(struct fb_buf *dst, const json_t *value);

/*
 * Take members of an object with their type checked.  An absent key is an
 * error unless the function is named _opt, which then gives NULL or
 * `fallback`.  Strings are borrowed from the object.  Errors: FB_ECORRUPT
 * naming `what` and the key.
 */
FB_MUST_USE int fb_json_str(const json_t *object, const char *key,
    const char *what, const char **ret, struct fb_error *err);
FB_MUST_USE int fb_json_str_opt(const json_t *object, const char *key,
    const char *what, const char **ret, struct fb_error *err);
FB_MUST_USE int fb_json_u64(const json_t *object, const char *key,
    const char *what, uint64_t max, uint64_t *ret, struct fb_error *err);
FB_MUST_USE int fb_json_bool(const json_t *object, const char *key,
    const char *what, bool *ret, struct fb_error *err);
FB_MUST_USE int fb_json_array(const json_t *object, const char *key,
    const char *what, json_t **ret_borrowed, struct fb_error *err);
FB_MUST_USE int fb_json_object(const json_t *object, const char *key,
    const char *what, json_t **ret_borrowed, struct fb_error *err);

/* The object has no other keys than these.  `keys` ends with NULL. */
FB_MUST_USE int fb_json_only(const json_t *object, const char *what,
    const char *const *keys, struct fb_error *err);

#endif

/*
 * The one validator of names that come from outside: machine ids, source,
 * volume, repository, fleet and unit names, run and session ids, labels,
 * and paths inside a tree or the repository.
 */
#ifndef FB_BASE_NAME_H
#define FB_BASE_NAME_H

#include <stdbool.h>
#include <stddef.h>

#include "fleetbak/base/attr.h"

struct fb_error;

/* Longest name, without its NUL. */
#define FB_NAME_MAX 128

/*
 * A name: 1 to FB_NAME_MAX of [A-Za-z0-9._-], the first one [A-Za-z0-9_]; so
 * never "." or "..", never an option, safe as a file name and in a selector.
 * `what` ("machine id") and the escaped value stand in the message.
 * Errors: FB_ECONFIG, id E-NAME.
 */
FB_MUST_USE int fb_name_check(
    const char *what, const char *name, size_t len, struct fb_error *err);
bool fb_name_ok(const char *name, size_t len);

/*
 * A relative path that stays inside: no empty, "." or ".." part, not
 * absolute, no NUL, at most `max` bytes.  Any other bytes are allowed.
 * Errors: FB_ECONFIG, id E-PATH.
 */
FB_MUST_USE int fb_path_check_inside(const char *what, const char *path,
    size_t len, size_t max, struct fb_error *err);

/* A run or session id: "20261121-013205123-3fa92c17" (UTC date, time with
 * milliseconds, 8 random hex digits); sorts by time. */
#define FB_RUN_ID_LEN  27
#define FB_RUN_ID_SIZE (FB_RUN_ID_LEN + 1)
bool fb_run_id_ok(const char *id, size_t len);

/* "" when nothing among `names` is near; else the nearest spelling
 * (optimal string alignment distance at most a third of the length). */
const char *fb_name_nearest(
    const char *wrong, const char *const *names, size_t count);

/* `dir`/`name`, the caller's to free; `name` absolute: a copy of it. */
char *fb_path_join(const char *dir, const char *name);

#endif

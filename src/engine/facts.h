/*
 * Facts of a journal, from JSON: what run_journal.c wrote, run_replay.c reads.
 * Private to src/engine.
 *
 * Each takes the member `key` of a record's body.  FB_ECORRUPT when it is
 * missing or of another kind; what is returned is then left as it was, or
 * empty.
 */
#ifndef FB_ENGINE_FACTS_H
#define FB_ENGINE_FACTS_H

#include <jansson.h>

#include "fleetbak/fleet/fleet.h"

FB_MUST_USE int fb_fact_digest(const json_t *body, const char *key,
    struct fb_digest *ret, struct fb_error *err);
/* Into a text of `size` bytes, its NUL included. */
FB_MUST_USE int fb_fact_text(const json_t *body, const char *key, char *text,
    size_t size, struct fb_error *err);
/* A copy on the heap, the caller's. */
FB_MUST_USE int fb_fact_copy(const json_t *body, const char *key, char **ret,
    struct fb_error *err);
FB_MUST_USE int fb_fact_error(const json_t *body, const char *key,
    struct fb_error *ret, struct fb_error *err);
/* A kept one, instead of what *ret holds. */
FB_MUST_USE int fb_fact_kept_error(const json_t *body, const char *key,
    const struct fb_error **ret, struct fb_error *err);
/* A planned machine. */
FB_MUST_USE int fb_fact_machine(
    const json_t *body, struct fb_machine *machine, struct fb_error *err);

#endif

/*
 * What commands say of locks in the repository's place.
 */
#ifndef FB_CLI_LOCKS_H
#define FB_CLI_LOCKS_H

#include "fleetbak/cli/cli.h"
#include "fleetbak/engine/locks.h"
#include "fleetbak/repo/gc.h"

/* What a download would have to lock for longer, into `text` and `data`. */
void fb_cli_lock_preview(struct fb_cli *cli, struct fb_repo *repo);
/* The same of what was weighed already. */
void fb_cli_lock_plan(struct fb_cli *cli, const struct fb_lock_cost *cost);
/* One line of it. */
void fb_cli_add_lock_cost(const struct fb_cli *cli, struct fb_buf *dst,
    const struct fb_lock_cost *cost);
json_t *fb_cli_lock_cost_json(const struct fb_lock_cost *cost);

/* What was locked for longer, into `summary` and a member of `object`; what
 * could not be locked is a warning and trouble. */
void fb_cli_lock_report(struct fb_cli *cli, const struct fb_lock_cost *cost,
    json_t *object, struct fb_tally *tally);

/* What prune would leave, or has left, because it is locked. */
void fb_cli_gc_locks(
    struct fb_cli *cli, const struct fb_gc_locks *locks, bool done);

#endif

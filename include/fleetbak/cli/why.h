/*
 * Why snapshots are kept: what the next prune would make of them.
 */
#ifndef FB_CLI_WHY_H
#define FB_CLI_WHY_H

#include "fleetbak/cli/snapshots.h"

struct fb_why;

/* Errors: those of fb_prune_plan_make(). */
FB_MUST_USE int fb_why_make(struct fb_cli *cli, struct fb_repo *repo,
    struct fb_why **ret_why, struct fb_error *err);
void fb_why_free(struct fb_why *why);
void fb_why_freep(struct fb_why **why);
#define FB_AUTO_WHY FB_CLEANUP(fb_why_freep)

/* Rows of this run are asked for next.  Runs come newest first, and each only
 * once: of all of them no more than one run's are in memory. */
FB_MUST_USE int fb_why_run(
    struct fb_why *why, const char *run, struct fb_error *err);

/*
 * "all within 48h, daily 3": the rules that keep it, or what else becomes of
 * it; "" when nothing is known of it.  The caller frees.  `item`, when not
 * NULL, gets "kept_by", a list, and of one that goes "action" and
 * "final_time".
 */
char *fb_why_text(const struct fb_why *why, struct fb_cli *cli,
    const struct fb_snapshot *row, json_t *item);

#endif

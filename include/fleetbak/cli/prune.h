/*
 * What prune, forget and hold have in common on the command line.
 */
#ifndef FB_CLI_PRUNE_H
#define FB_CLI_PRUNE_H

#include "fleetbak/cli/cli.h"
#include "fleetbak/engine/prune.h"

/*
 * The run that a word names: its id, "latest", at least four of the last
 * eight digits of its id, or MACHINE@ and one of these (then the run has to
 * have that machine, and `alone` asks that it has no other).
 * Errors: FB_ENOTFOUND, id E-RUN-NONE; FB_ECONFIG, ids E-RUN-UNKNOWN and
 * E-FORGET-PART.
 */
FB_MUST_USE int fb_cli_run(struct fb_cli *cli, struct fb_repo *repo,
    const char *word, bool alone, struct fb_run_ref *ret_run,
    struct fb_error *err);

/* The plan into the answer.  Errors: FB_ESYS, when its rows cannot be read. */
FB_MUST_USE int fb_cli_prune_plan(
    struct fb_cli *cli, struct fb_prune_plan *plan, struct fb_error *err);
void fb_cli_prune_report(
    struct fb_cli *cli, const struct fb_prune_report *report);

/* What carrying it out costs: into the answer, and into the question; what it
 * asked for, into the answer. */
void fb_cli_prune_cost(struct fb_cli *cli, const struct fb_prune_cost *cost);
void fb_cli_prune_cost_question(struct fb_cli *cli,
    const struct fb_prune_cost *cost, struct fb_buf *question);
void fb_cli_prune_requests(
    struct fb_cli *cli, const struct fb_store_usage *requests);

/* Ask, when anything is to go. */
FB_MUST_USE int fb_cli_prune_confirm(struct fb_cli *cli,
    const struct fb_prune_plan *plan, struct fb_error *err);

#endif

/*
 * What `restore` shows, apart from doing it.
 */
#ifndef FB_CLI_RESTORE_H
#define FB_CLI_RESTORE_H

#include "fleetbak/cli/cli.h"
#include "fleetbak/engine/restore.h"

/* The plan: into the answer of a dry run, else above the summary. */
void fb_cli_restore_plan(
    struct fb_cli *cli, const struct fb_restore_report *report);
/* The plan as text on standard error, before a question about it. */
void fb_cli_restore_show(
    struct fb_cli *cli, const struct fb_restore_report *report);
/* How it went, and the status it has. */
void fb_cli_restore_report(
    struct fb_cli *cli, const struct fb_restore_report *report, int rc);

#endif

/*
 * What is seen while a run goes on: one line redrawn on a terminal, one
 * plain line per finished machine elsewhere, events with -o ndjson, nothing
 * with --quiet.
 */
#ifndef FB_CLI_PROGRESS_H
#define FB_CLI_PROGRESS_H

#include "fleetbak/cli/cli.h"

struct fb_progress;

struct fb_progress *fb_progress_begin(struct fb_cli *cli);
/* For fb_engine.observer. */
struct fb_observer fb_progress_observer(struct fb_progress *progress);
/* Leaves the terminal as it was. */
void fb_progress_end(struct fb_progress *progress);
void fb_progress_endp(struct fb_progress **progress);
#define FB_AUTO_PROGRESS FB_CLEANUP(fb_progress_endp)

#endif

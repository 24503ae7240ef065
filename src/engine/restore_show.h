/*
 * The plan of a restore as rows for people and programs, and its digest.
 */
#ifndef FB_ENGINE_RESTORE_SHOW_H
#define FB_ENGINE_RESTORE_SHOW_H

struct fb_restore;

/* Fill the report's actions, results (none tried yet) and plan id. */
void fb_rst_show_plan(struct fb_restore *restore);

#endif

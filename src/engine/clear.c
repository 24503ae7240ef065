/*
 * Runs that have ended and are kept for nothing any more.
 */
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "run.h"
#include "shared.h"

/* Others wait for the last word about a shard: it goes with that, or stays. */
static bool
may_go(const struct fb_engine *engine, struct fb_repo *repo, const char *id)
{
	FB_AUTO_RUN struct fb_run *run = NULL;
	struct fb_error ignored = { 0 };

	return repo != NULL &&
	    fb_run_replay(engine, repo, id, false, &run, NULL, &ignored) ==
	    FB_OK &&
	    shared_part_end(run);
}

/* A run that ended keeps its directory only for what is left to do. */
static void
clear_run(const struct fb_engine *engine, struct fb_repo *repo, const char *id)
{
	FB_AUTO_RUN struct fb_run *run = NULL;
	struct fb_error ignored = { 0 };

	if (fb_run_replay(engine, NULL, id, false, &run, NULL, &ignored) ==
	        FB_OK &&
	    run->ended && !fb_run_holds(run) &&
	    (run->shared[0] == '\0' || may_go(engine, repo, id)))
		(void)!fb_io_remove_tree(run->dir, &ignored);
}

int
fb_recover_clear(const struct fb_engine *engine, struct fb_repo *repo,
    struct fb_error *err)
{
	FB_AUTO_FREE void *owned = NULL;
	char(*ids)[FB_RUN_ID_SIZE] = NULL;
	size_t count = 0;
	int rc = fb_run_unfinished(engine, &ids, &count, err);

	owned = ids;
	for (size_t i = 0; rc == FB_OK && i < count; i++)
		clear_run(engine, repo, ids[i]);
	return rc;
}

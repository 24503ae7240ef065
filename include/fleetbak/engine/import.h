/*
 * import: a backup that another program made becomes a run of ours, by what a
 * download does with machines that are down.
 */
#ifndef FB_ENGINE_IMPORT_H
#define FB_ENGINE_IMPORT_H

#include "fleetbak/driver/canic.h"
#include "fleetbak/engine/download.h"

struct fb_import_report {
	struct fb_canic_dir dir; /* as verified */
	uint64_t *sizes;         /* by its members; bytes */
	char already[FB_RUN_ID_SIZE]; /* the run that has all of it; or "" */
	struct fb_download_report download;
};

/*
 * Verify the backup in `path`, absolute, and make it a run, unless one has all
 * of it; with `dry_run` only say so.
 * Owner:  release the report in any case.
 * Errors: those of driver/canic.h, before anything is stored; those of
 *         fb_download(); FB_ECONFIG, id E-IMPORT-SOURCE.
 */
FB_MUST_USE int fb_import_canic(const struct fb_engine *engine,
    const char *path, bool dry_run, struct fb_import_report *report,
    struct fb_error *err);
void fb_import_report_release(struct fb_import_report *report);

#endif

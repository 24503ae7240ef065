/*
 * copy: committed runs from one repository of the configuration to another,
 * which is, or becomes, the same repository in another place.
 */
#ifndef FB_ENGINE_COPY_H
#define FB_ENGINE_COPY_H

#include "fleetbak/engine/locks.h"
#include "fleetbak/repo/gc.h"

struct fb_copy_repo_request {
	const char *from, *to;   /* names in the configuration */
	const char *const *runs; /* only these ids; NULL: every run */
	size_t run_count;
	bool dry_run;
};

enum fb_copy_outcome {
	FB_COPY_PLANNED, /* dry run: it would be copied */
	FB_COPY_COPIED,
	FB_COPY_REPAIRED, /* it was there, and objects of it were not */
	FB_COPY_THERE,
	FB_COPY_FORGOTTEN, /* it was given up there, for good */
	FB_COPY_FAILED,
	FB_COPY_SKIPPED, /* not begun: what came before stopped it all */
};

struct fb_copy_item {
	char run[FB_RUN_ID_SIZE];
	enum fb_copy_outcome outcome;
	struct fb_gc_usage missing; /* before */
	const struct fb_error *err; /* kept, when failed */
};

struct fb_copy_repo_report {
	bool made;                  /* there was no repository before */
	struct fb_copy_item *items; /* oldest first */
	size_t count;
	uint64_t bytes;            /* copied, or with a dry run to be copied */
	struct fb_lock_cost locks; /* of what was there and is used again: was,
	                            * or would be, locked for longer */
	uint64_t elapsed_ms;
};

/*
 * Copy what is missing, oldest run first, so that no run is there before the
 * ones it follows.  A run that is damaged in `from` fails and the others go
 * on.  FB_OK when every run was tried.
 * Errors: FB_EREFUSED, ids E-COPY-SELF, E-COPY-OTHER, E-REPO-FOREIGN; those
 * of the stores.  Owner: release the report in either case.
 */
FB_MUST_USE int fb_copy_repo(const struct fb_engine *engine,
    const struct fb_copy_repo_request *request,
    struct fb_copy_repo_report *report, struct fb_error *err);
void fb_copy_repo_report_release(struct fb_copy_repo_report *report);

#endif

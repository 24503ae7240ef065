/*
 * What download.c and download_shard.c share.
 */
#ifndef ENGINE_DOWNLOAD_IMPL_H
#define ENGINE_DOWNLOAD_IMPL_H

#include "run.h"

/* The shard that this download does at present. */
struct download_part {
	struct fb_shard_ref shard;
	char shared[FB_SHARED_NAME_SIZE];
	char session[FB_RUN_ID_SIZE];              /* of the worker */
	uint32_t lease;                            /* its epoch */
	const struct fb_predecessor *predecessors; /* borrowed */
	size_t predecessor_count;
};

/* What one call of fb_download() holds. */
struct download {
	const struct fb_engine *engine;
	const struct fb_download_request *request;
	struct fb_download_report *report;
	struct fb_repo *repo;
	struct fb_plan *plan;
	struct fb_plan *agreed; /* of a shared run: what its workers see */
	const struct download_part *part; /* NULL: a run of its own */
	struct fb_recover_report owed;    /* what came of it, at the start */
	int lock_fd, children_fd;
	int64_t began_ns;
};

void download_release(struct download *download);
#define AUTO_DOWNLOAD FB_CLEANUP(download_release)

/* Everything that can be refused before anything is touched; the lock is held
 * then, and obligations are met. */
int download_prepare(struct download *download, struct fb_error *err);
/* download_alone.c: fails while there is anything to end that is not this
 * download's own; E-IMPORT-WAITS. */
int download_check_alone(const struct download *download, struct fb_error *err);
/* Machines that an earlier run left stopped come first. */
int download_meet_obligations(struct download *download, struct fb_error *err);
/* What is still down of them fails. */
void download_refuse_owed(struct download *download);
/* Of the part, or of everything that is selected. */
int download_make_plan(struct download *download, struct fb_error *err);
/* Take up one cut-off run: continue it, or close it.  *ret_done says that it was
 * continued, and so is this download. */
int download_take_up(struct download *download, const char *id, bool *ret_done,
    bool *ret_closed, struct fb_error *err);
/* Cut-off runs: continued (*ret_done), closed, or left to others. */
int download_take_up_all(struct download *download, bool *ret_done,
    bool *ret_closed, struct fb_error *err);
/* `part` NULL: a whole run. */
int download_new_run(struct download *download,
    const struct download_part *part, struct fb_error *err);

/* download_shard.c: may a run that was cut off be continued yet? */
bool download_is_young(
    const struct download *download, const struct fb_run *run);
/* Is it a shard that this download is not about, and others may do? */
bool download_leaves(
    const struct download *download, const struct fb_run *run);
/* download_shard.c: it is this part's. */
void download_take_part(struct fb_run *run, const struct download_part *part);
/* download_shard.c: the shards that were asked for, and the seal. */
int download_shared(struct download *download, struct fb_error *err);

#endif

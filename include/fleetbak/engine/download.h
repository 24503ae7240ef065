/*
 * download: plan it, show it, do it, resume it.
 */
#ifndef FB_ENGINE_DOWNLOAD_H
#define FB_ENGINE_DOWNLOAD_H

#include "fleetbak/engine/locks.h"
#include "fleetbak/manifest/manifest.h"

struct fb_download_request {
	const char *const *machines; /* arguments */
	size_t machine_count;
	const char *const *selectors;
	size_t selector_count;
	unsigned jobs;     /* 0: as configured */
	const char *plan;  /* carry out exactly this plan id, or NULL */
	const char *resume; /* run id, or NULL */
	bool anew; /* one that was cut off is closed, not gone on with: what it
	            * has is older than this request */
	bool rollback;      /* go on although newer runs are missing */
	bool full;          /* read what has not changed, too */
	bool alone; /* it knows other sources than the fleet's: while anything
	             * of another run is left to do it is refused, FB_EBUSY,
	             * id E-IMPORT-WAITS */
	/* A part of a run that several workers share; engine/shard.h. */
	const char *shared;     /* the name they know it by, or NULL */
	uint32_t shard, shards; /* which of how many; shard 0: every one that
	                         * nobody does */
	uint64_t dead_after_ms; /* a worker that long silent is dead; 0: 5 min.
	                         * Who comes first says so for all. */
	bool take_over;         /* whoever had the shard is dead: no waiting */
	bool count_gone; /* machines that a dead worker has left something at
	                  * and that are not seen from here are gone */
};

/* One step of one machine, in order. */
struct fb_plan_step {
	const char *verb;   /* "stop", "snapshot", "read", "start", ... */
	char *detail;       /* "root: disk, reflink clone" */
};

struct fb_plan_steps {
	struct fb_plan_step *items;
	size_t count;
};

/* What the newest run that has a volume says of it: what did not change since
 * can be taken over from there.  From a manifest that a trusted key signed. */
struct fb_plan_past {
	bool known;
	bool unchanged; /* by what its source says now: it will not be read,
	                 * unless it changes before */
	struct fb_digest recipe, root;
	uint64_t size;
	bool has_flat;
	struct fb_digest flat;
	char *token; /* what its source said of it, or NULL */
	bool has_catalogue;
	struct fb_digest catalogue_recipe, catalogue_root;
	uint64_t catalogue_size;
	int64_t time_ns; /* the moment that its content is of */
};

struct fb_plan_machine {
	const struct fb_machine *machine; /* in plan->fleet */
	struct fb_plan_past *past; /* by machine->volumes; NULL: nothing */
	uint64_t read_bytes;
	uint64_t downtime_ms;   /* expected */
	const char *change;     /* "new", "changed", "same": since the last run */
	const struct fb_error *refusal; /* kept: why it will fail; or NULL */
};

struct fb_plan {
	char id[17];            /* first 16 hex digits of the plan's digest */
	struct fb_fleet fleet;
	struct fb_units units;
	struct fb_drivers drivers;
	bool full;              /* nothing is taken over */
	struct fb_digest topology, topology_selection;
	struct fb_plan_machine *machines; /* the selected ones, fleet order */
	size_t machine_count;
	char **gone;            /* "source/id" of the last run, not found now */
	size_t gone_count;
	char newest_run[FB_RUN_ID_SIZE]; /* "" when there is none */
	struct fb_predecessor *predecessors;
	size_t predecessor_count;
	uint64_t read_bytes, space_bytes, need_bytes;
	char unfinished_run[FB_RUN_ID_SIZE]; /* that a download would continue */
};

/* Writes nothing anywhere; drivers run reading verbs only. */
FB_MUST_USE int fb_plan_make(const struct fb_engine *engine,
    struct fb_repo *repo, const struct fb_download_request *request,
    struct fb_plan **ret_plan, struct fb_error *err);
void fb_plan_free(struct fb_plan *plan);

/* What is done with a machine, made when it is asked for: a fleet may be
 * large.  None when its problem forbids all.  Owner: release them. */
void fb_plan_steps_make(
    const struct fb_plan_machine *planned, struct fb_plan_steps *ret_steps);
void fb_plan_steps_release(struct fb_plan_steps *steps);

/* Will this one of the machine's volumes not be read? */
static inline bool
fb_plan_leaves(const struct fb_plan_machine *planned, size_t volume)
{
	return planned->past != NULL && planned->past[volume].unchanged;
}

/* The plan of a machine, or NULL.  O(log n). */
struct fb_plan_machine *fb_plan_find(
    const struct fb_plan *plan, const char *source, const char *id);

/* It will fail, and why; the last word counts. */
void fb_plan_refuse(
    struct fb_plan_machine *planned, const struct fb_error *why);

struct fb_download_machine {
	char *machine; /* "source/id" */
	enum fb_result result;
	const struct fb_error *err; /* kept, when failed */
	char time[32]; /* the moment the content is of; "": none */
	uint64_t downtime_ms, size, read_bytes, new_bytes, stored_bytes;
	uint64_t took_ms; /* from its first step to its last byte */
	enum fb_level level;
	uint64_t changed_files; /* while being read */
	bool resumed;
};

struct fb_download_report {
	char run[FB_RUN_ID_SIZE];
	char sealed[FB_RUN_ID_SIZE]; /* the shared run that is whole; or "" */
	uint32_t shards_missing;     /* of a shared run that is not */
	uint32_t shards_partial;     /* that were asked for and done before, not
	                              * with all of their machines */
	bool committed;              /* there is a run in the repository */
	bool resumed;
	char closed_run[FB_RUN_ID_SIZE]; /* an old cut-off run committed as
	                                  * partial first; or "" */
	bool drift;
	char *drift_text;
	uint64_t read_bytes, new_bytes, stored_bytes;
	uint64_t elapsed_ms;
	struct fb_lock_cost locks;
	struct fb_download_machine *machines; /* fleet order */
	size_t machine_count;
	struct fb_source_failure *sources; /* that could not be asked */
	size_t source_count;
};

/*
 * Do it.  FB_OK when a run was committed or nothing had to be; the report
 * says how each machine fared.  An error is what stopped the run as a whole.
 * Owner: release the report in either case.
 */
FB_MUST_USE int fb_download(const struct fb_engine *engine,
    const struct fb_download_request *request,
    struct fb_download_report *report, struct fb_error *err);
void fb_download_report_release(struct fb_download_report *report);

#endif

/*
 * prune, forget and hold: what goes, why, and doing it.
 *
 * A run is given up only when no machine's snapshot in it is kept.  What the
 * policy gives up is pending first: it can be undone until retention.grace is
 * over and a prune makes it final.  All of it may be done again after a
 * crash: what is done is in the repository.
 */
#ifndef FB_ENGINE_PRUNE_H
#define FB_ENGINE_PRUNE_H

#include "fleetbak/base/rows.h"
#include "fleetbak/engine/engine.h"
#include "fleetbak/repo/gc.h"

#define FB_FENCE_AFTER_MS (7 * 24 * 3600 * UINT64_C(1000))

struct fb_prune_request {
	const char *const *selectors; /* only these machines' snapshots go */
	size_t selector_count;
	const char *const *runs; /* forget: give up exactly these runs, and
	                          * nothing else; the policy is not asked */
	size_t run_count;
	bool only_judge;         /* neither limits nor space are looked at:
	                          * such a plan is to be read only */
	unsigned max_remove_percent; /* of the snapshots */
	bool force;              /* go over that limit */
	bool waste;              /* weigh what packs hold in vain ... */
	bool waste_whatever;     /* ... however many requests that takes */
	uint64_t fence_after_ms; /* sessions as old as this are fenced */
	const char *const *fence; /* and these, by their ids */
	size_t fence_count;
};

enum fb_prune_action {
	FB_PRUNE_KEEP,
	FB_PRUNE_PENDING, /* it is to go, and its grace is not over */
	FB_PRUNE_REMOVE,  /* it becomes pending now */
	FB_PRUNE_FINAL,   /* its grace is over: it goes for good now */
};
/* "keep", "pending", "remove", "final" */
const char *fb_prune_action_name(enum fb_prune_action action);

struct fb_prune_run {
	struct fb_run_ref ref; /* without predecessors and damage */
	enum fb_prune_action action;
	bool held;
	char *why;             /* it goes, or stays although no rule wants it */
	int64_t final_ns;      /* of one that goes: when its grace is over */
	size_t snapshots;
	struct fb_error *problem; /* NULL, or it cannot be read: it stays */
};

struct fb_prune_snapshot {
	uint32_t run, machine; /* numbers in the plan */
	int64_t time_ns;
	bool keep;             /* a rule wants it, or it is held */
	const char *reasons;   /* which; NULL: none */
};

struct fb_prune_machine {
	char *name;            /* "source/id" */
	bool selected, left;   /* left: it is not in the newest run */
	const struct fb_retention *policy; /* of the configuration */
	const char *group;     /* whose policy; NULL: the fleet's */
	size_t snapshots, kept; /* kept: in runs that stay */
	int64_t oldest_ns;     /* of those that are kept */
	size_t held_back;      /* no rule wants them, their runs stay */
};

/*
 * What carrying a plan out asks of the store, about, and what that costs where
 * the configuration has prices.  Money in billionths of a unit.
 */
struct fb_prune_cost {
	struct fb_store_usage requests;
	uint64_t deleted_bytes;
	uint64_t min_storage_ms; /* 0: not configured */
	struct fb_gc_early early_now, early_later;
	bool priced;
	const char *currency;    /* of the configuration; "": not given */
	uint64_t requests_price;
	uint64_t early_price, early_later_price; /* paid for nothing */
	uint64_t saved_price;    /* in 30 days, by what is deleted now */
};

struct fb_prune_plan {
	struct fb_prune_run *runs; /* newest first */
	size_t run_count;
	struct fb_prune_machine *machines; /* sorted by name */
	size_t machine_count;
	struct fb_rows *snapshots; /* of any number; see below */
	size_t removed;        /* snapshots of runs that become pending now */
	struct fb_gc_estimate space;
	struct fb_prune_cost cost;
	struct fb_error refusal; /* code < 0: a limit forbids it */
};

/* Writes nothing. */
FB_MUST_USE int fb_prune_plan_make(const struct fb_engine *engine,
    struct fb_repo *repo, const struct fb_prune_request *request,
    struct fb_prune_plan **ret_plan, struct fb_error *err);
void fb_prune_plan_free(struct fb_prune_plan *plan);

/* Read the snapshots, by machine, newest first, one after the other: they
 * need not fit into memory.  What is in the next one is borrowed until the
 * call after it; *ret_more: there was one.  Errors: FB_ESYS. */
FB_MUST_USE int fb_prune_rewind(
    struct fb_prune_plan *plan, struct fb_error *err);
FB_MUST_USE int fb_prune_next(struct fb_prune_plan *plan,
    struct fb_prune_snapshot *ret_snapshot, bool *ret_more,
    struct fb_error *err);

struct fb_prune_report {
	size_t pending, final; /* runs that became so */
	size_t saved; /* were undone or held meanwhile: they stay */
	struct fb_gc_report gc;
	struct fb_store_usage requests; /* that carrying out asked for */
};

/*
 * Carry the plan out: runs become pending, those whose grace is over go for
 * good, and what no run needs any more is deleted.  With `runs` in the
 * request nothing is deleted.
 * Errors: FB_EREFUSED when the plan has a refusal; those of fb_gc_collect().
 */
FB_MUST_USE int fb_prune_carry_out(const struct fb_engine *engine,
    struct fb_repo *repo, const struct fb_prune_request *request,
    const struct fb_prune_plan *plan, struct fb_prune_report *report,
    struct fb_error *err);
void fb_prune_report_release(struct fb_prune_report *report);

#endif

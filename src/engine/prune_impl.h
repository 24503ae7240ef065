/* What the parts of prune share.  Private to src/engine. */
#ifndef ENGINE_PRUNE_IMPL_H
#define ENGINE_PRUNE_IMPL_H

#include "fleetbak/engine/prune.h"
#include "fleetbak/fleet/retention.h"
#include "fleetbak/manifest/manifest.h"

/* A snapshot, as it waits in a file. */
struct prune_row {
	uint32_t run, machine; /* numbers in the plan */
	int64_t time_ns;
	bool keep;
};

struct pruning {
	const struct fb_engine *engine;
	struct fb_repo *repo;
	const struct fb_prune_request *request;
	struct fb_prune_plan *plan;
	struct fb_fates fates;
	struct fb_fleet fleet;  /* every machine that occurs */
	struct fb_rows *rows;   /* prune_row, by machine, newest first */
	size_t *kept;           /* by run: its snapshots that a rule wants */
	int64_t now_ns;
	struct fb_store_usage before; /* what the store was asked before */
	size_t next;            /* the run that is asked for next, probably */
	int64_t whole_ns;       /* of the newest run of the whole fleet, which
	                         * machines->left is judged by; 0: none */
};

/* Runs, machines and snapshots of the fleet, from the signed manifests. */
int prune_load(struct pruning *pruning, struct fb_error *err);

/* Rows of the plan or for it, in the state directory where they are many. */
struct fb_rows *prune_rows(
    const struct pruning *pruning, fb_rows_compare *compare);
int prune_add_row(struct fb_rows *rows, const struct prune_row *row,
    const char *reasons, struct fb_error *err);

/* What carrying the plan out costs, from its estimate of space. */
void prune_weigh_cost(
    struct pruning *pruning, const struct fb_store_usage *planning);
/* What was asked for since `before`. */
void prune_count_requests(const struct fb_repo *repo,
    const struct fb_store_usage *before, struct fb_store_usage *ret_usage);

/* Which snapshots the policies keep: `rows` become the plan's snapshots.  When
 * the policy is not asked, none is. */
int prune_judge(struct pruning *pruning, struct fb_error *err);

#endif

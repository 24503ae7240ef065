/* What the parts of prune share.  Private to src/engine. */
#ifndef ENGINE_PRUNE_IMPL_H
#define ENGINE_PRUNE_IMPL_H

#include "fleetbak/engine/prune.h"
#include "fleetbak/fleet/retention.h"
#include "fleetbak/manifest/manifest.h"

struct pruning {
	const struct fb_engine *engine;
	struct fb_repo *repo;
	const struct fb_prune_request *request;
	struct fb_prune_plan *plan;
	struct fb_fates fates;
	struct fb_fleet fleet;  /* every machine that occurs */
	int64_t now_ns;
	size_t next;            /* the run that is asked for next, probably */
	int64_t whole_ns;       /* of the newest run of the whole fleet, which
	                         * machines->left is judged by; 0: none */
};

/* Runs, machines and snapshots of the fleet, from the signed manifests. */
int prune_load(struct pruning *pruning, struct fb_error *err);

/* Which snapshots the policies keep. */
int prune_judge(struct pruning *pruning, struct fb_error *err);

#endif

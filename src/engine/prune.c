/* prune: the plan, and carrying it out. */
#include "fleetbak/engine/prune.h"

#include <stdlib.h>
#include <string.h>

#include "fleetbak/engine/shard.h"
#include "prune_impl.h"

#include "fleetbak/base/clock.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/engine/reader.h"

const char *
fb_prune_action_name(enum fb_prune_action action)
{
	static const char *const names[] = {
		[FB_PRUNE_KEEP] = "keep",
		[FB_PRUNE_PENDING] = "pending",
		[FB_PRUNE_REMOVE] = "remove",
		[FB_PRUNE_FINAL] = "final",
	};

	return names[action];
}

static int64_t
grace_ns(const struct pruning *pruning)
{
	return (int64_t)pruning->engine->config->retention.grace_ms * 1000000;
}

/* What is on its way out already, and what must stay. */
static void
apply_fates(struct pruning *pruning)
{
	struct fb_prune_plan *plan = pruning->plan;

	for (size_t i = 0; i < plan->run_count; i++) {
		struct fb_prune_run *run = &plan->runs[i];
		const struct fb_fate *fate =
		    fb_fates_find(&pruning->fates, run->ref.session);
		struct fb_error ignored = { 0 };
		int64_t since = pruning->now_ns;

		if (fate == NULL)
			continue;
		run->held = fate->held;
		if (!fate->pending || (fate->held && !fate->one_way))
			continue;
		(void)!fb_time_parse(fate->since, &since, &ignored);
		run->final_ns = since + grace_ns(pruning);
		run->why = fb_strdup(fate->reason);
		run->action = fate->one_way ||
		        run->final_ns <= pruning->now_ns
		    ? FB_PRUNE_FINAL
		    : FB_PRUNE_PENDING;
	}
}

static void
give_up(struct pruning *pruning, struct fb_prune_run *run, const char *why)
{
	run->action = FB_PRUNE_REMOVE;
	run->final_ns = pruning->now_ns + grace_ns(pruning);
	free(run->why);
	run->why = fb_strdup(why);
}

/* A run goes when nobody's snapshot in it is kept. */
static void
judge_runs(struct pruning *pruning)
{
	struct fb_prune_plan *plan = pruning->plan;

	for (size_t i = 0; i < plan->run_count; i++) {
		struct fb_prune_run *run = &plan->runs[i];

		if (run->action != FB_PRUNE_KEEP)
			continue;
		if (run->problem != NULL)
			run->why = fb_strdup("it cannot be read");
		else if (run->held)
			run->why = fb_strdup("held");
		else if (run->snapshots > 0 && pruning->kept[i] == 0)
			give_up(pruning, run,
			    "no rule keeps a snapshot in it");
	}
}

static int
choose_runs(struct pruning *pruning, struct fb_error *err)
{
	const struct fb_prune_request *request = pruning->request;
	struct fb_prune_plan *plan = pruning->plan;

	for (size_t k = 0; k < request->run_count; k++) {
		struct fb_prune_run *run = NULL;

		for (size_t i = 0; run == NULL && i < plan->run_count; i++)
			if (strcmp(plan->runs[i].ref.run, request->runs[k]) ==
			    0)
				run = &plan->runs[i];
		if (run == NULL) {
			(void)fb_fail_id(err, FB_ENOTFOUND, "E-RUN-NONE",
			    "there is no run '%s'", request->runs[k]);
			return fb_hint(err, "'fleetbak list' shows the runs");
		}
		if (run->held && run->action == FB_PRUNE_KEEP) {
			(void)fb_fail_id(err, FB_EREFUSED, "E-HELD",
			    "run %s is held", run->ref.run);
			return fb_hint(err, "fleetbak hold --remove %s",
			    run->ref.run);
		}
		if (run->action == FB_PRUNE_KEEP)
			give_up(pruning, run, "asked for");
	}
	return FB_OK;
}

static bool
stays(const struct fb_prune_run *run)
{
	return run->action == FB_PRUNE_KEEP;
}

int
fb_prune_rewind(struct fb_prune_plan *plan, struct fb_error *err)
{
	return fb_rows_rewind(plan->snapshots, err);
}

int
fb_prune_next(struct fb_prune_plan *plan,
    struct fb_prune_snapshot *ret_snapshot, bool *ret_more,
    struct fb_error *err)
{
	struct prune_row row;
	struct fb_span bytes;
	int rc = fb_rows_next(plan->snapshots, &bytes, ret_more, err);

	if (rc < 0 || !*ret_more)
		return rc;
	memcpy(&row, bytes.ptr, sizeof(row));
	*ret_snapshot = (struct fb_prune_snapshot){
		.run = row.run,
		.machine = row.machine,
		.time_ns = row.time_ns,
		.keep = row.keep,
		.reasons = bytes.len > sizeof(row)
		    ? (const char *)bytes.ptr + sizeof(row)
		    : NULL,
	};
	return FB_OK;
}

static int
count_machines(
    struct fb_prune_plan *plan, size_t *ret_all, struct fb_error *err)
{
	struct fb_prune_snapshot snapshot;
	bool more = true;
	int rc = fb_prune_rewind(plan, err);

	*ret_all = 0;
	while (rc == FB_OK &&
	    (rc = fb_prune_next(plan, &snapshot, &more, err)) == FB_OK &&
	    more) {
		const struct fb_prune_run *run = &plan->runs[snapshot.run];
		struct fb_prune_machine *machine =
		    &plan->machines[snapshot.machine];

		plan->removed += run->action == FB_PRUNE_REMOVE;
		*ret_all += stays(run) || run->action == FB_PRUNE_REMOVE;
		if (!stays(run))
			continue;
		machine->kept++;
		machine->oldest_ns = snapshot.time_ns; /* newest first */
		machine->held_back += !snapshot.keep;
	}
	return rc;
}

static void
check_limit(struct pruning *pruning, size_t all)
{
	const struct fb_prune_request *request = pruning->request;
	struct fb_prune_plan *plan = pruning->plan;

	if (request->force || request->run_count > 0 ||
	    plan->removed * 100 <= all * (size_t)request->max_remove_percent)
		return;
	(void)fb_fail_id(&plan->refusal, FB_EREFUSED, "E-PRUNE-LIMIT",
	    "%zu of %zu snapshots would go, and at most %u%% may at a time",
	    plan->removed, all, request->max_remove_percent);
	(void)fb_hint(&plan->refusal,
	    "look: fleetbak prune -n; then --max-remove or --force");
}

static enum fb_gc_class
class_of(const struct fb_run_ref *ref, void *arg)
{
	struct pruning *pruning = arg;
	const struct fb_prune_plan *plan = pruning->plan;

	/* They come as they are in the plan: mostly it is the next one. */
	for (size_t i = 0; i < plan->run_count; i++) {
		size_t at = (pruning->next + i) % plan->run_count;
		const struct fb_prune_run *run = &plan->runs[at];

		if (strcmp(run->ref.session, ref->session) != 0)
			continue;
		pruning->next = at + 1;
		if (run->action == FB_PRUNE_KEEP)
			return FB_GC_KEPT;
		return run->action == FB_PRUNE_FINAL ||
		        (run->action == FB_PRUNE_REMOVE &&
		            run->final_ns <= pruning->now_ns)
		    ? FB_GC_NOW
		    : FB_GC_LATER;
	}
	return FB_GC_KEPT; /* another fleet's */
}

/* Runs that were seen and are gone, or are not listed: whoever removed them,
 * prune does not build upon that. */
static int
check_history(struct pruning *pruning, struct fb_error *err)
{
	const struct fb_engine *engine = pruning->engine;
	const char *fleet = engine->config->fleet_name;
	FB_AUTO_FREE char *path = fb_state_memory(
	    engine, pruning->repo->format.repository);

	return fb_history_check_lists(pruning->repo, fleet, path, err);
}

static int
estimate(struct pruning *pruning, struct fb_error *err)
{
	const struct fb_config *config = pruning->engine->config;
	const struct fb_config_repository *repository =
	    fb_engine_repo_config(pruning->engine);
	struct fb_store_usage planning;
	struct fb_gc_question question = {
		.class_of = class_of,
		.arg = pruning,
		.waste = pruning->request->waste,
		.waste_whatever = pruning->request->waste_whatever,
		.dir = config->state_dir,
		.min_storage_ms =
		    repository != NULL ? repository->min_storage_ms : 0,
		.grace_ms = config->retention.grace_ms,
	};
	int rc;

	/* Who carries it out plans it first. */
	prune_count_requests(pruning->repo, &pruning->before, &planning);
	rc = fb_gc_estimate(
	    pruning->repo, &question, &pruning->plan->space, err);
	if (rc == FB_OK)
		prune_weigh_cost(pruning, &planning);
	return rc;
}

static int
make_plan(struct pruning *pruning, struct fb_error *err)
{
	const struct fb_prune_request *request = pruning->request;
	struct fb_prune_plan *plan = pruning->plan;
	size_t all = 0;
	int rc;

	fb_store_get_usage(pruning->repo->store, &pruning->before);
	rc = check_history(pruning, err);
	if (rc == FB_OK)
		rc = prune_load(pruning, err);
	if (rc < 0)
		return rc;
	apply_fates(pruning);
	if (request->run_count > 0)
		rc = choose_runs(pruning, err);
	if (rc == FB_OK)
		rc = prune_judge(pruning, err);
	if (rc == FB_OK && request->run_count == 0)
		judge_runs(pruning);
	if (rc == FB_OK)
		rc = count_machines(plan, &all, err);
	if (rc < 0 || request->only_judge)
		return rc;
	check_limit(pruning, all);
	rc = estimate(pruning, err);
	/* Who forgets a run that is damaged mends something. */
	return rc == FB_ECORRUPT && request->run_count > 0 ? FB_OK : rc;
}

int
fb_prune_plan_make(const struct fb_engine *engine, struct fb_repo *repo,
    const struct fb_prune_request *request, struct fb_prune_plan **ret_plan,
    struct fb_error *err)
{
	struct pruning pruning = { .engine = engine,
		.repo = repo,
		.request = request,
		.plan = fb_alloc(1, sizeof(*pruning.plan)),
		.now_ns = fb_clock_wall_ns() };
	int rc = make_plan(&pruning, err);

	fb_fates_release(&pruning.fates);
	fb_fleet_release(&pruning.fleet);
	fb_rows_free(pruning.rows);
	free(pruning.kept);
	if (rc < 0)
		fb_prune_plan_free(pruning.plan);
	else
		*ret_plan = pruning.plan;
	return rc;
}

void
fb_prune_plan_free(struct fb_prune_plan *plan)
{
	if (plan == NULL)
		return;
	for (size_t i = 0; i < plan->run_count; i++) {
		free(plan->runs[i].why);
		free(plan->runs[i].problem);
	}
	for (size_t i = 0; i < plan->machine_count; i++)
		free(plan->machines[i].name);
	free(plan->runs);
	free(plan->machines);
	fb_rows_free(plan->snapshots);
	free(plan);
}

/* Held, or forgotten by another, since the plan was made. */
static int
begin_forget(struct fb_repo *repo, const struct fb_prune_run *run,
    const struct fb_sign_key *key, const char *reason,
    struct fb_prune_report *report, struct fb_error *err)
{
	int rc = fb_forget_begin(repo, &run->ref, key, reason, err);

	if (rc == FB_EREFUSED) {
		report->saved++;
		return FB_OK;
	}
	report->pending += rc == FB_OK;
	return rc;
}

static int
finish_forget(struct fb_repo *repo, const struct fb_prune_run *run,
    const struct fb_sign_key *key, struct fb_prune_report *report,
    struct fb_error *err)
{
	bool done;
	int rc = fb_forget_finish(repo, &run->ref, key, &done, err);

	if (rc == FB_OK) {
		report->final += done;
		report->saved += !done;
	}
	return rc;
}

static int
change_runs(const struct fb_engine *engine, struct fb_repo *repo,
    const struct fb_prune_request *request, const struct fb_prune_plan *plan,
    struct fb_prune_report *report, struct fb_error *err)
{
	FB_AUTO_SIGN_KEY struct fb_sign_key *key = NULL;
	bool asked = request->run_count > 0;
	bool at_once = engine->config->retention.grace_ms == 0 && !asked;
	int rc = FB_OK;

	for (size_t i = 0; rc == FB_OK && i < plan->run_count; i++) {
		const struct fb_prune_run *run = &plan->runs[i];
		bool begin = run->action == FB_PRUNE_REMOVE;
		bool finish = !asked && (run->action == FB_PRUNE_FINAL ||
		    (begin && at_once));

		if ((begin || finish) && key == NULL)
			rc = fb_engine_sign_key(engine, &key, err);
		if (rc == FB_OK && begin)
			rc = begin_forget(
			    repo, run, key, run->why, report, err);
		if (rc == FB_OK && finish)
			rc = finish_forget(repo, run, key, report, err);
	}
	return rc;
}

struct sealing {
	const struct fb_engine *engine;
	struct fb_repo *repo;
};

/* A seal that was cut off after its commit has left records of shards. */
static int
complete_seal(
    const struct fb_shared_status *status, void *arg, struct fb_error *err)
{
	const struct sealing *sealing = arg;
	struct fb_shared_status ignored;

	return status->sealed ? fb_seal(sealing->engine, sealing->repo,
	                            status->name, &ignored, err)
	                      : FB_OK;
}

int
fb_prune_carry_out(const struct fb_engine *engine, struct fb_repo *repo,
    const struct fb_prune_request *request, const struct fb_prune_plan *plan,
    struct fb_prune_report *report, struct fb_error *err)
{
	struct fb_gc_request collect = {
		.fence_after_ms = request->fence_after_ms,
		.fence = request->fence,
		.fence_count = request->fence_count,
		.cancel = engine->cancel,
		.dir = engine->config->state_dir,
	};
	struct sealing sealing = { engine, repo };
	struct fb_store_usage before;
	int rc;

	memset(report, 0, sizeof(*report));
	if (plan->refusal.code < 0) {
		*err = plan->refusal;
		return err->code;
	}
	fb_store_get_usage(repo->store, &before);
	rc = change_runs(engine, repo, request, plan, report, err);
	if (rc == FB_OK && request->run_count == 0)
		rc = fb_shared_list(engine, repo, complete_seal, &sealing, err);
	if (rc == FB_OK && request->run_count == 0)
		rc = fb_reader_sweep(engine, repo, err);
	if (rc == FB_OK && request->run_count == 0)
		rc = fb_gc_collect(repo, &collect, &report->gc, err);
	prune_count_requests(repo, &before, &report->requests);
	return rc;
}

void
fb_prune_report_release(struct fb_prune_report *report)
{
	fb_gc_report_release(&report->gc);
}

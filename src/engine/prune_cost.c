/* What carrying a plan out costs. */
#include "prune_impl.h"

#define KIB_MINUTES (UINT64_C(1) << 20) /* of a GiB, in a minute */
#define MINUTES     (UINT64_C(30) * 24 * 60)

/* Giving a run up: its mark or its record, and what is looked at before. */
#define GETS_OF_RUN 6
#define PUTS_OF_RUN 2

/* Below runs/, its session, hints and keys, and what says that it is pending. */
#define REMOVES_OF_RUN 10

static uint64_t
price_of(uint64_t requests, uint64_t price)
{
	return (uint64_t)((double)requests * (double)price / 1000);
}

static uint64_t
price_of_time(uint64_t kib_minutes, uint64_t price)
{
	return (uint64_t)((double)kib_minutes / (double)KIB_MINUTES /
	    (double)MINUTES * (double)price);
}

/* ... and that is so many where many go with one request. */
#define REMOVES_IN_BULK 7

static void
add_runs(const struct fb_prune_plan *plan, const struct fb_prune_request *asked,
    int64_t now_ns, bool bulk, struct fb_store_usage *requests)
{
	uint64_t removes = 0;

	for (size_t i = 0; i < plan->run_count; i++) {
		const struct fb_prune_run *run = &plan->runs[i];
		bool begin = run->action == FB_PRUNE_REMOVE;
		bool finish = asked->run_count == 0 &&
		    (run->action == FB_PRUNE_FINAL ||
		        (begin && run->final_ns <= now_ns));

		requests->gets += GETS_OF_RUN * ((size_t)begin + finish);
		requests->puts += PUTS_OF_RUN * ((size_t)begin + finish);
		removes += finish ? REMOVES_OF_RUN : 0;
	}
	requests->removes +=
	    bulk && removes > 0 ? REMOVES_IN_BULK : removes;
}

void
prune_weigh_cost(
    struct pruning *pruning, const struct fb_store_usage *planning)
{
	const struct fb_config_repository *config =
	    fb_engine_repo_config(pruning->engine);
	struct fb_prune_plan *plan = pruning->plan;
	const struct fb_gc_estimate *space = &plan->space;
	struct fb_prune_cost *cost = &plan->cost;

	/* To forget deletes nothing. */
	if (pruning->request->run_count == 0) {
		cost->requests = space->requests;
		cost->requests.lists += planning->lists;
		cost->requests.gets += planning->gets;
		cost->requests.read_bytes += planning->read_bytes;
		cost->deleted_bytes = space->now.bytes;
		cost->early_now = space->early_now;
		cost->early_later = space->early_later;
	}
	add_runs(plan, pruning->request, pruning->now_ns,
	    fb_store_bulk(pruning->repo->store) > 1, &cost->requests);
	if (config == NULL)
		return;
	cost->min_storage_ms = config->min_storage_ms;
	cost->currency = config->currency != NULL ? config->currency : "";
	cost->priced =
	    config->price_put + config->price_get + config->price_storage > 0;
	cost->requests_price =
	    price_of(
	        cost->requests.puts + cost->requests.lists, config->price_put) +
	    price_of(cost->requests.gets, config->price_get);
	cost->early_price =
	    price_of_time(cost->early_now.kib_minutes, config->price_storage);
	cost->early_later_price =
	    price_of_time(cost->early_later.kib_minutes, config->price_storage);
	cost->saved_price = price_of_time(
	    cost->deleted_bytes / 1024 * MINUTES, config->price_storage);
}

void
prune_count_requests(const struct fb_repo *repo,
    const struct fb_store_usage *before, struct fb_store_usage *ret_usage)
{
	struct fb_store_usage now;

	fb_store_get_usage(repo->store, &now);
	*ret_usage = (struct fb_store_usage){
		.lists = now.lists - before->lists,
		.gets = now.gets - before->gets,
		.puts = now.puts - before->puts,
		.removes = now.removes - before->removes,
		.read_bytes = now.read_bytes - before->read_bytes,
		.written_bytes = now.written_bytes - before->written_bytes,
	};
}

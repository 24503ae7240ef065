/*
 * What a download would do.  Writes nothing anywhere.
 */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "fleetbak/engine/recover.h"
#include "fleetbak/engine/shard.h"
#include "fleetbak/fleet/selector.h"
#include "run.h"

/* Bytes per second that reading while stopped is assumed to reach, for the
 * expected downtime; the plan says that it is an estimate. */
#define DRAIN_RATE (UINT64_C(200) << 20)

/* What stopping, snapshotting and starting is assumed to take. */
#define STOP_START_MS 2000

static void
release_machine(struct fb_plan_machine *planned)
{
	fb_error_drop(planned->refusal);
	for (size_t i = 0;
	     planned->past != NULL && i < planned->machine->volume_count; i++)
		free(planned->past[i].token);
	free(planned->past);
}

void
fb_plan_free(struct fb_plan *plan)
{
	if (plan == NULL)
		return;
	for (size_t i = 0; i < plan->machine_count; i++)
		release_machine(&plan->machines[i]);
	free(plan->machines);
	for (size_t i = 0; i < plan->gone_count; i++)
		free(plan->gone[i]);
	free(plan->gone);
	free(plan->predecessors);
	fb_units_release(&plan->units);
	fb_fleet_release(&plan->fleet);
	fb_drivers_close(&plan->drivers);
	free(plan);
}

void
fb_plan_refuse(struct fb_plan_machine *planned, const struct fb_error *why)
{
	fb_error_drop(planned->refusal);
	planned->refusal = fb_error_keep(why);
}

static void
add_step(struct fb_plan_steps *steps, const char *verb, char *detail)
{
	steps->items = fb_realloc(
	    steps->items, steps->count + 1, sizeof(*steps->items));
	steps->items[steps->count++] = (struct fb_plan_step){ verb, detail };
}

static void
add_timed_step(
    struct fb_plan_steps *steps, const char *verb, uint64_t timeout_ms)
{
	FB_AUTO_BUF struct fb_buf span = { 0 };

	fb_text_add_span(&span, timeout_ms);
	add_step(steps, verb, fb_format("at most %s", fb_buf_str(&span)));
}

/* One that is down already is neither stopped nor started. */
static bool
is_stopped(const struct fb_machine *machine)
{
	return machine->power != FB_POWER_DOWN &&
	    (machine->lifecycle == FB_LIFECYCLE_STOP_SNAPSHOT_START ||
	        machine->lifecycle == FB_LIFECYCLE_STOP_COPY_START);
}

static bool
has_snapshot(const struct fb_volume *volume)
{
	return fb_volume_is_captured(volume) && !volume->read_stopped &&
	    strcmp(volume->method, "none") != 0;
}

static void
add_snapshot_steps(
    struct fb_plan_steps *steps, const struct fb_machine *machine)
{

	for (size_t i = 0; i < machine->volume_count; i++)
		if (has_snapshot(&machine->volumes[i]))
			add_step(steps, "snapshot",
			    fb_format("%s: %s", machine->volumes[i].name,
			        machine->volumes[i].method));
}

static void
add_read_steps(struct fb_plan_steps *steps, const struct fb_machine *machine,
    bool stopped, const char *when)
{
	for (size_t i = 0; i < machine->volume_count; i++) {
		const struct fb_volume *volume = &machine->volumes[i];

		if (!fb_volume_is_captured(volume) ||
		    has_snapshot(volume) == stopped)
			continue;
		add_step(steps, "read",
		    fb_format("%s: %s, %s", volume->name,
		        fb_volume_kind_name(volume->kind), when));
	}
}

static bool
is_paused(const struct fb_machine *machine)
{
	for (size_t i = 0; i < machine->volume_count; i++)
		if (strcmp(machine->volumes[i].method, "pause") == 0)
			return true;
	return false;
}

/* The same steps, in the same order, that window.c and finish.c take. */
void
fb_plan_steps_make(
    const struct fb_plan_machine *planned, struct fb_plan_steps *ret)
{
	const struct fb_machine *machine = planned->machine;
	bool stops = is_stopped(machine);

	*ret = (struct fb_plan_steps){ 0 };
	if (machine->problem != NULL)
		return;
	if (stops)
		add_timed_step(ret, "stop", machine->stop_timeout_ms);
	else if (machine->power != FB_POWER_DOWN)
		add_step(ret, "run",
		    fb_strdup(machine->lifecycle != FB_LIFECYCLE_PAUSE_IN_CREATE
		            ? "it is not stopped: as after a power cut, at "
		              "best"
		            : is_paused(machine)
		            ? "it is not stopped: paused while its disks are "
		              "copied"
		            : "it is not stopped: file systems frozen by its "
		              "guest agent"));
	add_snapshot_steps(ret, machine);
	add_read_steps(ret, machine, true,
	    stops ? "while it is stopped"
	          : machine->power == FB_POWER_DOWN ? "it is down"
	                                            : "live");
	if (stops)
		add_timed_step(ret, "start", machine->start_timeout_ms);
	add_read_steps(ret, machine, false, "from the snapshot");
	add_step(ret, "remove", fb_strdup("the snapshot"));
	for (size_t i = 0; i < machine->volume_count; i++)
		if (!fb_volume_is_captured(&machine->volumes[i]))
			add_step(ret, "leave",
			    fb_format("%s: %s is not captured",
			        machine->volumes[i].name,
			        fb_volume_kind_name(machine->volumes[i].kind)));
}

void
fb_plan_steps_release(struct fb_plan_steps *steps)
{
	for (size_t i = 0; i < steps->count; i++)
		free(steps->items[i].detail);
	free(steps->items);
	*steps = (struct fb_plan_steps){ 0 };
}

static void
estimate(const struct fb_engine *engine, struct fb_plan_machine *plan)
{
	const struct fb_machine *machine = plan->machine;
	uint64_t cap = engine->config->download.max_downtime_ms;
	struct fb_error err = { 0 };
	uint64_t drained = 0;

	for (size_t i = 0; i < machine->volume_count; i++) {
		const struct fb_volume *volume = &machine->volumes[i];

		if (!fb_volume_is_captured(volume))
			continue;
		plan->read_bytes += volume->allocated;
		if (volume->read_stopped)
			drained += volume->allocated;
	}
	if (!is_stopped(machine))
		return;
	plan->downtime_ms = STOP_START_MS + drained / (DRAIN_RATE / 1000);
	if (cap == 0 || plan->downtime_ms <= cap)
		return;
	(void)fb_fail_id(&err, FB_EREFUSED, "E-DOWNTIME",
	    "machine '%s/%s' would be down for about %llu s, over max_downtime "
	    "of %llu s",
	    machine->source, machine->id,
	    (unsigned long long)(plan->downtime_ms / 1000),
	    (unsigned long long)(cap / 1000));
	(void)fb_hint(&err,
	    "raise download.max_downtime, or move it to a file system with "
	    "reflinks or btrfs");
	fb_plan_refuse(plan, &err);
}

static void
plan_machine(const struct fb_engine *engine, const struct fb_machine *machine,
    struct fb_plan_machine *ret)
{
	*ret = (struct fb_plan_machine){ .machine = machine, .change = "new" };
	ret->refusal = fb_error_share(machine->problem);
	if (ret->refusal == NULL)
		estimate(engine, ret);
}

/* A run may have been of some machines only: how many to ask, newest first,
 * before a machine counts as new; what was imported does not count. */
#define COMPARED_RUNS 16
#define LOOKED_AT     128

/* What the newest runs know, against what was found now. */
struct comparison {
	struct fb_plan *plan;
	bool *seen; /* by plan->machines */
	bool newest, ours;
	bool own; /* the run is more than an import */
};

struct newest_runs {
	const char *fleet;
	struct fb_run_ref items[LOOKED_AT];
	size_t count;
};

static bool
same_volumes(const struct fb_machine *now,
    const struct fb_manifest_machine *then)
{
	size_t known = 0;

	for (size_t i = 0; i < now->volume_count; i++)
		for (size_t k = 0; k < then->volume_count; k++)
			known += strcmp(now->volumes[i].name,
			             then->volumes[k].name) == 0 &&
			    now->volumes[i].kind == then->volumes[k].kind;
	return known == now->volume_count && known == then->volume_count;
}

/* Planned machines are in fleet order: by source, then id. */
struct fb_plan_machine *
fb_plan_find(const struct fb_plan *plan, const char *source, const char *id)
{
	size_t low = 0, high = plan->machine_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct fb_machine *machine =
		    plan->machines[middle].machine;
		int order = strcmp(machine->source, source);

		if (order == 0)
			order = strcmp(machine->id, id);
		if (order == 0)
			return &plan->machines[middle];
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

static bool
source_answered(const struct fb_plan *plan, const char *source)
{
	for (size_t i = 0; i < plan->fleet.failure_count; i++)
		if (strcmp(plan->fleet.failures[i].source, source) == 0)
			return false;
	return true;
}

static int
compare_machine(const struct fb_manifest_machine *then, void *arg,
    struct fb_error *err)
{
	struct comparison *comparison = arg;
	struct fb_plan *plan = comparison->plan;
	struct fb_plan_machine *planned;

	(void)err;
	if (!fb_driver_imports(then->driver))
		comparison->own = true;
	planned = fb_plan_find(plan, then->source, then->id);
	if (planned != NULL) {
		if (!then->failed && !plan->full && comparison->ours)
			fb_plan_note_past(planned, then);
		if (!then->failed)
			comparison->seen[planned - plan->machines] = true;
		if (strcmp(planned->change, "new") != 0)
			return FB_OK; /* a newer run knew it */
		planned->change =
		    fb_digest_cmp(&planned->machine->description,
		        &then->description) == 0 &&
		        same_volumes(planned->machine, then)
		    ? "same"
		    : "changed";
		return FB_OK;
	}
	/* Of a source that cannot be asked nothing is known to be gone. */
	if (comparison->newest && source_answered(plan, then->source) &&
	    !fb_driver_imports(then->driver) &&
	    fb_fleet_find(&plan->fleet, then->source, then->id) == NULL) {
		plan->gone = fb_realloc(
		    plan->gone, plan->gone_count + 1, sizeof(*plan->gone));
		plan->gone[plan->gone_count++] =
		    fb_format("%s/%s", then->source, then->id);
	}
	return FB_OK;
}

static int
note_run(const struct fb_run_ref *run, void *arg, struct fb_error *err)
{
	struct newest_runs *newest = arg;

	(void)err;
	if (newest->count < LOOKED_AT && run->damage == NULL &&
	    strcmp(run->fleet, newest->fleet) == 0)
		newest->items[newest->count++] = *run;
	return FB_OK;
}

static bool
all_seen(const struct fb_plan *plan, const bool *seen)
{
	for (size_t i = 0; i < plan->machine_count; i++)
		if (!seen[i])
			return false;
	return true;
}

/* A chunk of what is read may be new; of a machine that is known, most is
 * not.  Half of the estimate must fit: compression is not promised. */
static void
estimate_need(struct fb_plan *plan, const bool *seen)
{
	for (size_t i = 0; i < plan->machine_count; i++) {
		if (plan->machines[i].refusal != NULL)
			continue;
		plan->read_bytes += plan->machines[i].read_bytes;
		plan->need_bytes += seen[i] ? plan->machines[i].read_bytes / 10
		                            : plan->machines[i].read_bytes / 2;
	}
}

/* In an encrypted repository nothing can be looked into before it is taken
 * over: then only what this host itself signed counts. */
static bool
is_ours(const struct fb_engine *engine, const struct fb_repo *repo,
    const struct fb_run_ref *run)
{
	FB_AUTO_SIGN_KEY struct fb_sign_key *key = NULL;
	struct fb_error ignored = { 0 };

	return repo->vault == NULL ||
	    (fb_engine_sign_key(engine, &key, &ignored) == FB_OK &&
	        strcmp(fb_sign_key_id(key), run->signer) == 0);
}

static int
compare_with_newest(const struct fb_engine *engine, struct fb_repo *repo,
    struct fb_plan *plan, struct fb_error *err)
{
	FB_AUTO_FREE bool *seen = fb_alloc(plan->machine_count, sizeof(*seen));
	FB_AUTO_FREE struct newest_runs *newest = fb_alloc(1, sizeof(*newest));
	struct comparison comparison = { .plan = plan, .seen = seen };
	size_t compared = 0;
	int rc;

	newest->fleet = plan->fleet.name;
	rc = fb_repo_runs(repo, note_run, newest, err);
	for (size_t i = 0; rc == FB_OK && i < newest->count &&
	     compared < COMPARED_RUNS; i++) {
		FB_AUTO_MANIFEST struct fb_manifest *manifest = NULL;
		struct fb_error ignored = { 0 };

		if (i > 0 && all_seen(plan, seen))
			break;
		if (fb_manifest_open(repo, &newest->items[i], false, &ignored,
		        &manifest, &ignored) < 0)
			continue;
		comparison.newest = compared == 0;
		comparison.own = false;
		comparison.ours = is_ours(engine, repo, &newest->items[i]);
		if (i == 0)
			memcpy(plan->newest_run, newest->items[i].run,
			    sizeof(plan->newest_run));
		rc = fb_manifest_machines(
		    manifest, compare_machine, &comparison, err);
		compared += comparison.own;
	}
	if (rc == FB_OK)
		estimate_need(plan, seen);
	return rc;
}

/*
 * The id covers what would be done, not how long it would take: machines,
 * steps, methods, power, topology, predecessors.
 */
static void
make_id(const struct fb_repo *repo, struct fb_plan *plan)
{
	FB_AUTO_DIGESTER struct fb_digester *digester = fb_digester_new();
	FB_AUTO_BUF struct fb_buf text = { 0 };
	char hex[FB_DIGEST_HEX_SIZE];
	struct fb_digest digest;

	fb_buf_add_fmt(&text, "fleetbak-plan 1\nfleet %s\nrepository %s\n",
	    plan->fleet.name, repo->format.repository);
	fb_digest_hex(&plan->topology, hex);
	fb_buf_add_fmt(&text, "topology %s\n", hex);
	fb_digest_hex(&plan->topology_selection, hex);
	fb_buf_add_fmt(&text, "selection %s\n", hex);
	for (size_t i = 0; i < plan->predecessor_count; i++)
		fb_buf_add_fmt(
		    &text, "after %s\n", plan->predecessors[i].run);
	for (size_t i = 0; i < plan->fleet.failure_count; i++)
		fb_buf_add_fmt(&text, "unreachable %s\n",
		    plan->fleet.failures[i].source);
	for (size_t i = 0; i < plan->machine_count; i++) {
		const struct fb_plan_machine *planned = &plan->machines[i];
		struct fb_plan_steps steps;

		fb_buf_add_fmt(&text, "machine %s/%s %s %s %s\n",
		    planned->machine->source, planned->machine->id,
		    fb_power_name(planned->machine->power),
		    fb_lifecycle_name(planned->machine->lifecycle),
		    planned->refusal != NULL ? planned->refusal->id : "-");
		fb_plan_steps_make(planned, &steps);
		for (size_t k = 0; k < steps.count; k++)
			fb_buf_add_fmt(&text, "step %s %s\n",
			    steps.items[k].verb, steps.items[k].detail);
		fb_plan_steps_release(&steps);
		fb_digester_add(digester, fb_buf_span(&text));
		fb_buf_clear(&text);
	}
	fb_digester_add(digester, fb_buf_span(&text));
	fb_digester_peek(digester, &digest);
	fb_digest_hex(&digest, hex);
	memcpy(plan->id, hex, sizeof(plan->id) - 1);
	plan->id[sizeof(plan->id) - 1] = '\0';
}

static void
hash_topology(struct fb_plan *plan)
{
	fb_topology_digest(&plan->fleet, false, &plan->topology);
	fb_topology_digest(&plan->fleet, true, &plan->topology_selection);
}

static int
find_unfinished(const struct fb_engine *engine, struct fb_plan *plan,
    struct fb_error *err)
{
	char(*ids)[FB_RUN_ID_SIZE] = NULL;
	size_t count = 0;
	int rc = fb_run_unfinished(engine, &ids, &count, err);

	if (rc == FB_OK && count > 0)
		memcpy(plan->unfinished_run, ids[count - 1], FB_RUN_ID_SIZE);
	free(ids);
	return rc;
}

static struct fb_machine *
machine_of(struct fb_plan *plan, const struct fb_recover_item *item)
{
	FB_AUTO_FREE char *source = fb_strdup(item->machine);
	char *slash = strchr(source, '/');

	if (slash == NULL)
		return NULL;
	*slash = '\0';
	return fb_fleet_find(&plan->fleet, source, slash + 1);
}

/* A machine that an earlier run left stopped is started before anything else:
 * the plan is for one that is up, or it would be stale as soon as it begins. */
static void
expect_owed(struct fb_plan *plan, const struct fb_recover_report *owed)
{
	for (size_t i = 0; i < owed->count; i++) {
		struct fb_machine *machine = machine_of(plan, &owed->items[i]);

		if (owed->items[i].outcome == FB_RECOVERY_UNKNOWN &&
		    machine != NULL && machine->power == FB_POWER_DOWN)
			machine->power = FB_POWER_UP;
	}
}

/* A half-restored machine holds neither its old state nor its new one. */
static void
refuse_half_restored(
    struct fb_plan *plan, const struct fb_recover_report *owed)
{
	for (size_t i = 0; i < owed->count; i++) {
		const struct fb_recover_item *item = &owed->items[i];
		const struct fb_machine *machine = machine_of(plan, item);
		struct fb_plan_machine *planned;
		struct fb_error why = { 0 };

		if (item->outcome != FB_RECOVERY_SUSPENDED || machine == NULL)
			continue;
		planned = fb_plan_find(plan, machine->source, machine->id);
		if (planned == NULL)
			continue;
		(void)fb_fail_id(&why, FB_EREFUSED, "E-HALF-RESTORED",
		    "machine '%s' is half restored", item->machine);
		(void)fb_hint(&why, "finish it: fleetbak restore --resume %s",
		    item->run);
		fb_plan_refuse(planned, &why);
	}
}

static int
plan_machines(const struct fb_engine *engine, struct fb_plan *plan,
    struct fb_error *err)
{
	struct fb_recover_report owed = { 0 };
	int rc = fb_recover_list(engine, &owed, err);

	if (rc == FB_OK) {
		expect_owed(plan, &owed);
		plan->machines =
		    fb_alloc(plan->fleet.count, sizeof(*plan->machines));
		for (size_t i = 0; i < plan->fleet.count; i++)
			if (plan->fleet.machines[i].selected)
				plan_machine(engine, &plan->fleet.machines[i],
				    &plan->machines[plan->machine_count++]);
		refuse_half_restored(plan, &owed);
	}
	fb_recover_report_release(&owed);
	return rc;
}

/* What other workers do is not planned here. */
static void
keep_shard(struct fb_plan *plan, uint32_t shard, uint32_t shards)
{
	size_t kept = 0;

	for (size_t i = 0; i < plan->units.count; i++) {
		struct fb_unit *unit = &plan->units.items[i];
		bool ours = fb_shard_of(unit->name, shards) == shard;

		for (size_t k = 0; !ours && k < unit->count; k++)
			plan->fleet.machines[unit->members[k]].selected = false;
		if (ours) {
			plan->units.items[kept++] = *unit;
		} else {
			free(unit->name);
			free(unit->members);
		}
	}
	plan->units.count = kept;
}

static int
fill_plan(const struct fb_engine *engine, struct fb_repo *repo,
    const struct fb_download_request *request, struct fb_plan *plan,
    struct fb_error *err)
{
	int rc = fb_engine_discover(engine, &plan->drivers, &plan->fleet, err);

	plan->full = request->full;
	if (rc == FB_OK)
		rc = fb_fleet_check_size(&plan->fleet, err);
	if (rc == FB_OK)
		rc = fb_select(&plan->fleet, request->selectors,
		    request->selector_count, request->machines,
		    request->machine_count, err);
	if (rc == FB_OK)
		rc = fb_units_make(
		    &plan->fleet, engine->config, &plan->units, err);
	if (rc < 0)
		return rc;
	hash_topology(plan);
	if (request->shard > 0)
		keep_shard(plan, request->shard, request->shards);

	rc = plan_machines(engine, plan, err);
	if (rc < 0)
		return rc;
	fb_repo_hold_lists(repo, true);
	rc = fb_history_heads(repo, plan->fleet.name, &plan->predecessors,
	    &plan->predecessor_count, err);
	if (rc == FB_OK)
		rc = compare_with_newest(engine, repo, plan, err);
	fb_repo_hold_lists(repo, false);
	if (rc == FB_OK)
		rc = fb_store_space(repo->store, &plan->space_bytes, err);
	if (rc == FB_OK)
		rc = find_unfinished(engine, plan, err);
	return rc;
}

int
fb_plan_make(const struct fb_engine *engine, struct fb_repo *repo,
    const struct fb_download_request *request, struct fb_plan **ret_plan,
    struct fb_error *err)
{
	struct fb_plan *plan = fb_alloc(1, sizeof(*plan));
	int rc = fill_plan(engine, repo, request, plan, err);

	if (rc < 0) {
		fb_plan_free(plan);
		return rc;
	}
	make_id(repo, plan);
	*ret_plan = plan;
	return FB_OK;
}

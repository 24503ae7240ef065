/* Which snapshots the policies keep, and which runs that leaves. */
#include <stdlib.h>
#include <string.h>

#include "prune_impl.h"

#include "fleetbak/base/mem.h"

static int
choose_policies(struct pruning *pruning, struct fb_error *err)
{
	const struct fb_config *config = pruning->engine->config;
	struct fb_prune_plan *plan = pruning->plan;
	FB_AUTO_FREE size_t *groups = NULL;
	int rc = fb_retention_assign(config, &pruning->fleet, &groups, err);

	for (size_t i = 0; rc == FB_OK && i < plan->machine_count; i++) {
		plan->machines[i].policy = fb_retention_of(config, groups[i]);
		if (groups[i] < config->group_count)
			plan->machines[i].group =
			    config->groups[groups[i]].name;
	}
	return rc;
}

/* It left the fleet, and was kept long enough after that. */
static bool
is_over(const struct pruning *pruning, const struct fb_prune_machine *machine,
    int64_t newest_ns)
{
	return machine->left && machine->policy->rule_count > 0 &&
	    fb_retention_expired(
	        pruning->engine->config->retention.orphans_ms, newest_ns,
	        pruning->whole_ns, pruning->now_ns);
}

static void
keep_for(struct fb_prune_snapshot *snapshot, const char *reason)
{
	snapshot->keep = true;
	free(snapshot->reasons);
	snapshot->reasons = fb_strdup(reason);
}

/* The policy sees what is not on its way out already. */
static int
apply_policy(struct pruning *pruning, const struct fb_prune_machine *machine,
    struct fb_prune_snapshot *snapshots, size_t count, struct fb_error *err)
{
	const struct fb_prune_plan *plan = pruning->plan;
	FB_AUTO_FREE struct fb_retention_snapshot *rows =
	    fb_alloc(count + 1, sizeof(*rows));
	FB_AUTO_FREE struct fb_prune_snapshot **of =
	    fb_alloc(count + 1, sizeof(*of));
	size_t used = 0;
	int rc;

	for (size_t i = 0; i < count; i++) {
		const struct fb_prune_run *run = &plan->runs[snapshots[i].run];

		if (run->action != FB_PRUNE_KEEP)
			continue;
		of[used] = &snapshots[i];
		rows[used++] = (struct fb_retention_snapshot){
			.machine = machine->name,
			.run = run->ref.run,
			.time_ns = snapshots[i].time_ns,
			.held = run->held,
			.whole = true,
		};
	}
	rc = fb_retention_apply(machine->policy,
	    pruning->engine->config->timezone, pruning->now_ns, rows, used,
	    err);
	for (size_t i = 0; rc == FB_OK && i < used; i++) {
		of[i]->keep = rows[i].keep;
		of[i]->reasons = rows[i].reasons;
	}
	return rc;
}

static int
judge_machine(struct pruning *pruning, size_t number,
    struct fb_prune_snapshot *snapshots, size_t count, struct fb_error *err)
{
	struct fb_prune_plan *plan = pruning->plan;
	const struct fb_prune_machine *machine = &plan->machines[number];

	if (machine->selected &&
	    !is_over(pruning, machine, snapshots[0].time_ns))
		return apply_policy(pruning, machine, snapshots, count, err);
	for (size_t i = 0; i < count; i++)
		if (plan->runs[snapshots[i].run].action != FB_PRUNE_KEEP)
			continue;
		else if (!machine->selected)
			keep_for(&snapshots[i], "not selected");
		else if (plan->runs[snapshots[i].run].held)
			keep_for(&snapshots[i], "held");
	return FB_OK;
}

int
prune_judge(struct pruning *pruning, struct fb_error *err)
{
	struct fb_prune_plan *plan = pruning->plan;
	int rc = choose_policies(pruning, err);

	for (size_t i = 0, next; rc == FB_OK && i < plan->snapshot_count;
	     i = next) {
		struct fb_prune_snapshot *first = &plan->snapshots[i];

		for (next = i + 1; next < plan->snapshot_count &&
		     plan->snapshots[next].machine == first->machine; next++)
			;
		rc = judge_machine(
		    pruning, first->machine, first, next - i, err);
	}
	return rc;
}

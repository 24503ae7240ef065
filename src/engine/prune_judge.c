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

/* One machine's snapshots, newest first, as they are judged. */
struct judged {
	struct prune_row *rows;
	char **reasons;
	size_t count, room;
};

static void
add_judged(struct judged *judged, const struct prune_row *row)
{
	if (judged->count == judged->room) {
		judged->room = 2 * judged->room + 64;
		judged->rows = fb_realloc(
		    judged->rows, judged->room, sizeof(*judged->rows));
		judged->reasons = fb_realloc(judged->reasons, judged->room,
		    sizeof(*judged->reasons));
	}
	judged->rows[judged->count] = *row;
	judged->reasons[judged->count++] = NULL;
}

static void
clear_judged(struct judged *judged)
{
	for (size_t i = 0; i < judged->count; i++)
		free(judged->reasons[i]);
	judged->count = 0;
}

static void
release_judged(struct judged *judged)
{
	clear_judged(judged);
	free(judged->rows);
	free(judged->reasons);
}

static void
keep_for(struct judged *judged, size_t i, const char *reason)
{
	judged->rows[i].keep = true;
	free(judged->reasons[i]);
	judged->reasons[i] = fb_strdup(reason);
}

/* The policy sees what is not on its way out already. */
static int
apply_policy(struct pruning *pruning, const struct fb_prune_machine *machine,
    struct judged *judged, struct fb_error *err)
{
	const struct fb_prune_plan *plan = pruning->plan;
	FB_AUTO_FREE struct fb_retention_snapshot *rows =
	    fb_alloc(judged->count + 1, sizeof(*rows));
	FB_AUTO_FREE size_t *of = fb_alloc(judged->count + 1, sizeof(*of));
	size_t used = 0;
	int rc;

	for (size_t i = 0; i < judged->count; i++) {
		const struct fb_prune_run *run =
		    &plan->runs[judged->rows[i].run];

		if (run->action != FB_PRUNE_KEEP)
			continue;
		of[used] = i;
		rows[used++] = (struct fb_retention_snapshot){
			.machine = machine->name,
			.run = run->ref.run,
			.time_ns = judged->rows[i].time_ns,
			.held = run->held,
			.whole = true,
		};
	}
	rc = fb_retention_apply(machine->policy,
	    pruning->engine->config->timezone, pruning->now_ns, rows, used,
	    err);
	for (size_t i = 0; rc == FB_OK && i < used; i++) {
		judged->rows[of[i]].keep = rows[i].keep;
		judged->reasons[of[i]] = rows[i].reasons;
	}
	return rc;
}

static int
judge_machine(
    struct pruning *pruning, struct judged *judged, struct fb_error *err)
{
	struct fb_prune_plan *plan = pruning->plan;
	const struct fb_prune_machine *machine =
	    &plan->machines[judged->rows[0].machine];

	if (machine->selected &&
	    !is_over(pruning, machine, judged->rows[0].time_ns))
		return apply_policy(pruning, machine, judged, err);
	for (size_t i = 0; i < judged->count; i++) {
		const struct fb_prune_run *run =
		    &plan->runs[judged->rows[i].run];

		if (run->action != FB_PRUNE_KEEP)
			continue;
		if (!machine->selected)
			keep_for(judged, i, "not selected");
		else if (run->held)
			keep_for(judged, i, "held");
	}
	return FB_OK;
}

/* All of a machine are there: what becomes of them? */
static int
settle_machine(
    struct pruning *pruning, struct judged *judged, struct fb_error *err)
{
	int rc = FB_OK;

	if (judged->count == 0)
		return FB_OK;
	if (pruning->request->run_count == 0)
		rc = judge_machine(pruning, judged, err);
	for (size_t i = 0; rc == FB_OK && i < judged->count; i++) {
		pruning->kept[judged->rows[i].run] += judged->rows[i].keep;
		rc = prune_add_row(pruning->plan->snapshots, &judged->rows[i],
		    judged->reasons[i], err);
	}
	clear_judged(judged);
	return rc;
}

int
prune_judge(struct pruning *pruning, struct fb_error *err)
{
	struct fb_prune_plan *plan = pruning->plan;
	struct judged judged = { 0 };
	struct prune_row row;
	struct fb_span bytes;
	bool more = true;
	int rc = pruning->request->run_count == 0
	    ? choose_policies(pruning, err)
	    : FB_OK;

	pruning->kept = fb_alloc(plan->run_count + 1, sizeof(*pruning->kept));
	plan->snapshots = prune_rows(pruning, NULL);
	if (rc == FB_OK)
		rc = fb_rows_rewind(pruning->rows, err);
	while (rc == FB_OK && more) {
		rc = fb_rows_next(pruning->rows, &bytes, &more, err);
		if (rc < 0 || !more)
			break;
		memcpy(&row, bytes.ptr, sizeof(row));
		if (judged.count > 0 && judged.rows[0].machine != row.machine)
			rc = settle_machine(pruning, &judged, err);
		add_judged(&judged, &row);
	}
	if (rc == FB_OK)
		rc = settle_machine(pruning, &judged, err);
	release_judged(&judged);
	return rc;
}

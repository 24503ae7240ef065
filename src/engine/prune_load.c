/* What there is to prune: the fleet's runs and whom they have. */
#include <stdlib.h>
#include <string.h>

#include "prune_impl.h"

#include "fleetbak/base/clock.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/driver/driver.h"
#include "fleetbak/fleet/selector.h"

struct loading {
	struct pruning *pruning;
	json_t *seen; /* machine -> number in fleet.machines, plus one */
	size_t run;
	struct fb_rows *rows; /* in the order of the manifests */
	struct prune_row *of_run; /* those of the run at hand */
	size_t count, room;
	bool *in_whole; /* by machine: it is in the newest run of all */
	size_t in_whole_room;
	bool whole; /* the run at hand may be that one */
	bool own;   /* it has a machine that was not imported */
};

static int
visit_run(const struct fb_run_ref *ref, void *arg, struct fb_error *err)
{
	struct pruning *pruning = arg;
	struct fb_prune_plan *plan = pruning->plan;
	struct fb_prune_run *run;

	(void)err;
	if (ref->damage == NULL &&
	    strcmp(ref->fleet, pruning->engine->config->fleet_name) != 0)
		return FB_OK;
	plan->runs = fb_realloc(
	    plan->runs, plan->run_count + 1, sizeof(*plan->runs));
	run = &plan->runs[plan->run_count++];
	*run = (struct fb_prune_run){ .ref = *ref };
	run->ref.predecessors = NULL;
	run->ref.predecessor_count = 0;
	run->ref.damage = NULL;
	if (ref->damage != NULL) {
		run->problem = fb_alloc(1, sizeof(*run->problem));
		*run->problem = *ref->damage;
	}
	return FB_OK;
}

/* The machine as the newest run that has it describes it. */
static size_t
add_machine(struct loading *loading, const char *name,
    const struct fb_manifest_machine *from)
{
	struct fb_fleet *fleet = &loading->pruning->fleet;
	struct fb_machine *machine = fb_fleet_add(fleet);

	machine->source = fb_strdup(from->source);
	machine->driver = fb_strdup(from->driver);
	machine->id = fb_strdup(from->id);
	machine->name = fb_strdup(from->name);
	machine->role = fb_strdup(from->role);
	if (from->parent != NULL)
		machine->parent = fb_strdup(from->parent);
	machine->labels.items =
	    fb_alloc(from->labels.count + 1, sizeof(*machine->labels.items));
	machine->labels.count = from->labels.count;
	for (size_t i = 0; i < from->labels.count; i++)
		machine->labels.items[i] = (struct fb_label){
			fb_strdup(from->labels.items[i].key),
			fb_strdup(from->labels.items[i].value) };
	(void)json_object_set_new(loading->seen, name,
	    json_integer((json_int_t)fleet->count));
	return fleet->count - 1;
}

static void
note_in_whole(struct loading *loading, size_t machine)
{
	if (!loading->whole)
		return;
	if (machine >= loading->in_whole_room) {
		size_t room = 2 * machine + 16;

		loading->in_whole = fb_realloc(
		    loading->in_whole, room, sizeof(*loading->in_whole));
		memset(loading->in_whole + loading->in_whole_room, 0,
		    room - loading->in_whole_room);
		loading->in_whole_room = room;
	}
	loading->in_whole[machine] = true;
}

static int
visit_machine(
    const struct fb_manifest_machine *machine, void *arg, struct fb_error *err)
{
	struct loading *loading = arg;
	FB_AUTO_FREE char *name =
	    fb_format("%s/%s", machine->source, machine->id);
	json_int_t number =
	    json_integer_value(json_object_get(loading->seen, name));
	size_t place = number > 0 ? (size_t)number - 1
	                          : add_machine(loading, name, machine);
	int64_t time_ns = 0;
	int rc;

	if (!fb_driver_imports(machine->driver)) {
		loading->own = true;
		note_in_whole(loading, place);
	}
	if (machine->failed)
		return FB_OK; /* nothing of it is there */
	rc = fb_time_parse(machine->snapshot_time, &time_ns, err);
	if (rc < 0)
		return rc;
	if (loading->count == loading->room) {
		loading->room = 2 * loading->room + 64;
		loading->of_run = fb_realloc(loading->of_run, loading->room,
		    sizeof(*loading->of_run));
	}
	loading->of_run[loading->count++] = (struct prune_row){
		.run = (uint32_t)loading->run,
		.machine = (uint32_t)place,
		.time_ns = time_ns,
	};
	return FB_OK;
}

struct fb_rows *
prune_rows(const struct pruning *pruning, fb_rows_compare *compare)
{
	return fb_rows_new(pruning->engine->config->state_dir, 0, compare, NULL);
}

int
prune_add_row(struct fb_rows *rows, const struct prune_row *row,
    const char *reasons, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };

	fb_buf_add(&bytes, row, sizeof(*row));
	if (reasons != NULL)
		fb_buf_add(&bytes, reasons, strlen(reasons) + 1);
	return fb_rows_add(rows, fb_buf_span(&bytes), err);
}

/* A run of every machine of every source: who is not in it has left.  So is
 * an import of its own source, but that is none of the fleet's. */
static bool
is_whole(const struct fb_manifest_head *head)
{
	return fb_digest_cmp(&head->topology, &head->topology_selection) == 0;
}

static int
read_manifest(struct loading *loading, struct fb_error *err)
{
	struct pruning *pruning = loading->pruning;
	struct fb_prune_run *run = &pruning->plan->runs[loading->run];
	FB_AUTO_MANIFEST struct fb_manifest *manifest = NULL;
	struct fb_error doubt = { 0 }, ignored = { 0 };
	int rc = fb_manifest_open(
	    pruning->repo, &run->ref, false, &doubt, &manifest, err);

	if (rc < 0)
		return rc;
	loading->whole = pruning->whole_ns == 0 &&
	    is_whole(fb_manifest_get_head(manifest));
	loading->own = false;
	loading->count = 0;
	rc = fb_manifest_machines(manifest, visit_machine, loading, err);
	if (rc < 0) /* half of it is worse than nothing */
		return rc;
	if (loading->whole && loading->own)
		(void)!fb_time_parse(
		    run->ref.time, &pruning->whole_ns, &ignored);
	run->snapshots = loading->count;
	for (size_t i = 0; rc == FB_OK && i < loading->count; i++)
		rc = prune_add_row(
		    loading->rows, &loading->of_run[i], NULL, err);
	return rc;
}

static void
read_ahead(const struct pruning *pruning)
{
	const struct fb_prune_plan *plan = pruning->plan;
	FB_AUTO_FREE const char **runs =
	    fb_alloc(plan->run_count + 1, sizeof(*runs));
	size_t count = 0;

	for (size_t i = 0; i < plan->run_count; i++)
		if (plan->runs[i].problem == NULL)
			runs[count++] = plan->runs[i].ref.run;
	fb_manifests_ahead(pruning->repo, runs, count);
}

/* Damage is the run's own: it stays, and the others are judged. */
static int
read_manifests(struct loading *loading, struct fb_error *err)
{
	struct fb_prune_plan *plan = loading->pruning->plan;
	const struct fb_engine *engine = loading->pruning->engine;

	for (size_t i = 0; i < plan->run_count; i++) {
		struct fb_prune_run *run = &plan->runs[i];
		int rc;

		if (engine->cancel != NULL && atomic_load(engine->cancel))
			return fb_fail(err, FB_ECANCELED, "stopped on request");
		loading->run = i;
		if (run->problem != NULL)
			continue;
		rc = read_manifest(loading, err);
		if (rc == FB_OK)
			continue;
		if (rc != FB_ECORRUPT && rc != FB_EUNTRUSTED &&
		    rc != FB_ENOTFOUND && rc != FB_ETOONEW)
			return rc;
		run->problem = fb_alloc(1, sizeof(*run->problem));
		*run->problem = *err;
	}
	return FB_OK;
}

static int
compare_rows(struct fb_span a, struct fb_span b, void *arg)
{
	struct prune_row x, y;

	(void)arg;
	memcpy(&x, a.ptr, sizeof(x));
	memcpy(&y, b.ptr, sizeof(y));
	if (x.machine != y.machine)
		return x.machine < y.machine ? -1 : 1;
	if (x.time_ns != y.time_ns)
		return x.time_ns > y.time_ns ? -1 : 1;
	return x.run < y.run ? -1 : x.run > y.run;
}

/* By machine, with the machines' numbers in the plan. */
static int
sort_rows(struct loading *loading, const uint32_t *numbers,
    struct fb_error *err)
{
	struct pruning *pruning = loading->pruning;
	struct prune_row row;
	struct fb_span bytes;
	bool more = true;
	int rc = fb_rows_rewind(loading->rows, err);

	pruning->rows = prune_rows(pruning, compare_rows);
	while (rc == FB_OK &&
	    (rc = fb_rows_next(loading->rows, &bytes, &more, err)) == FB_OK &&
	    more) {
		memcpy(&row, bytes.ptr, sizeof(row));
		row.machine = numbers[row.machine];
		pruning->plan->machines[row.machine].snapshots++;
		rc = prune_add_row(pruning->rows, &row, NULL, err);
	}
	return rc;
}

/* Machines by name: fleet.machines is sorted by settling, the numbers that
 * the snapshots have are those of before. */
static int
number_machines(struct loading *loading, struct fb_error *err)
{
	struct pruning *pruning = loading->pruning;
	struct fb_prune_plan *plan = pruning->plan;
	struct fb_fleet *fleet = &pruning->fleet;
	FB_AUTO_FREE uint32_t *numbers =
	    fb_alloc(fleet->count + 1, sizeof(*numbers));

	fb_fleet_settle(fleet);
	plan->machine_count = fleet->count;
	plan->machines = fb_alloc(fleet->count + 1, sizeof(*plan->machines));
	for (size_t i = 0; i < fleet->count; i++) {
		struct fb_prune_machine *machine = &plan->machines[i];
		size_t before;

		machine->name = fb_format("%s/%s", fleet->machines[i].source,
		    fleet->machines[i].id);
		before = (size_t)json_integer_value(json_object_get(
		             loading->seen, machine->name)) - 1;
		numbers[before] = (uint32_t)i;
		machine->left = pruning->whole_ns != 0 &&
		    !fb_driver_imports(fleet->machines[i].driver) &&
		    !(before < loading->in_whole_room &&
		        loading->in_whole[before]);
	}
	return sort_rows(loading, numbers, err);
}

static int
select_machines(struct pruning *pruning, struct fb_error *err)
{
	const struct fb_prune_request *request = pruning->request;
	struct fb_prune_plan *plan = pruning->plan;
	int rc = FB_OK;

	if (request->selector_count > 0)
		rc = fb_select(&pruning->fleet, request->selectors,
		    request->selector_count, NULL, 0, err);
	for (size_t i = 0; rc == FB_OK && i < plan->machine_count; i++)
		plan->machines[i].selected = request->selector_count == 0 ||
		    pruning->fleet.machines[i].selected;
	return rc;
}

int
prune_load(struct pruning *pruning, struct fb_error *err)
{
	struct loading loading = { .pruning = pruning };
	int rc = fb_fates_load(pruning->repo, &pruning->fates, err);

	if (rc == FB_OK)
		rc = fb_repo_runs(pruning->repo, visit_run, pruning, err);
	if (rc < 0)
		return rc;
	loading.seen = json_object();
	loading.rows = prune_rows(pruning, NULL);
	read_ahead(pruning);
	rc = read_manifests(&loading, err);
	fb_repo_read_ahead_end(pruning->repo);
	if (rc == FB_OK)
		rc = number_machines(&loading, err);
	json_decref(loading.seen);
	fb_rows_free(loading.rows);
	free(loading.of_run);
	free(loading.in_whole);
	return rc < 0 ? rc : select_machines(pruning, err);
}

#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/cli/snapshots.h"
#include "fleetbak/fleet/selector.h"
#include "fleetbak/repo/forget.h"

/* A machine that occurs, and its newest rows, when only those are kept; a
 * row that is not there yet has no run. */
struct occurrence {
	struct fb_snapshot newest, good;
};

struct loader {
	struct fb_snapshots *out;
	const char *fleet;
	bool all; /* rows of the run at hand, not the newest of each machine */
	json_t *seen; /* name -> number of its occurrence, plus one */
	struct occurrence *occurrences;
	size_t count;
	struct fb_run_row *run;
};

char *
fb_snapshot_machine(const struct fb_manifest_machine *machine)
{
	return fb_format("%s/%s", machine->source, machine->id);
}

uint64_t
fb_snapshot_size(const struct fb_manifest_machine *machine)
{
	uint64_t size = 0;

	for (size_t i = 0; i < machine->volume_count; i++)
		if (machine->volumes[i].captured)
			size += machine->volumes[i].size;
	return size;
}

static void
copy_labels(struct fb_labels *dst, const struct fb_labels *src)
{
	dst->items = fb_alloc(src->count + 1, sizeof(*dst->items));
	dst->count = src->count;
	for (size_t i = 0; i < src->count; i++) {
		dst->items[i].key = fb_strdup(src->items[i].key);
		dst->items[i].value = fb_strdup(src->items[i].value);
	}
}

/* A newer run said already what it is, or this one does. */
static struct occurrence *
remember_machine(struct loader *loader,
    const struct fb_manifest_machine *from, const char *name)
{
	json_int_t number =
	    json_integer_value(json_object_get(loader->seen, name));
	struct fb_machine *machine;

	if (number > 0)
		return &loader->occurrences[number - 1];
	if ((loader->count & (loader->count + 1)) == 0)
		loader->occurrences = fb_realloc(loader->occurrences,
		    2 * loader->count + 1, sizeof(*loader->occurrences));
	memset(&loader->occurrences[loader->count++], 0,
	    sizeof(*loader->occurrences));
	(void)json_object_set_new(
	    loader->seen, name, json_integer((json_int_t)loader->count));
	machine = fb_fleet_add(&loader->out->fleet);
	machine->source = fb_strdup(from->source);
	machine->driver = fb_strdup(from->driver);
	machine->id = fb_strdup(from->id);
	machine->name = fb_strdup(from->name);
	machine->role = fb_strdup(from->role);
	if (from->parent != NULL)
		machine->parent = fb_strdup(from->parent);
	copy_labels(&machine->labels, &from->labels);
	return &loader->occurrences[loader->count - 1];
}

static void
fill_row(struct fb_snapshot *row, const struct fb_run_row *run,
    const struct fb_manifest_machine *machine)
{
	*row = (struct fb_snapshot){ .failed = machine->failed,
		.level = machine->level,
		.lifecycle = machine->lifecycle,
		.downtime_ms = machine->downtime_ms,
		.size = fb_snapshot_size(machine) };
	memcpy(row->run, run->ref.run, sizeof(row->run));
	(void)snprintf(row->time, sizeof(row->time), "%s",
	    machine->failed || machine->snapshot_time[0] == '\0'
	        ? run->ref.time
	        : machine->snapshot_time);
	for (size_t i = 0; i < machine->volume_count; i++) {
		row->read_bytes += machine->volumes[i].read_bytes;
		row->new_bytes += machine->volumes[i].new_bytes;
		row->stored_bytes += machine->volumes[i].stored_bytes;
	}
}

static struct fb_snapshot *
add_row(struct fb_snapshots *out)
{
	if ((out->count & (out->count + 1)) == 0)
		out->items = fb_realloc(out->items, 2 * out->count + 1,
		    sizeof(*out->items));
	return &out->items[out->count++];
}

static void
keep_row(struct fb_snapshot *kept, const struct fb_snapshot *row,
    const struct fb_manifest_machine *machine)
{
	*kept = *row;
	kept->machine = fb_snapshot_machine(machine);
	kept->name = fb_strdup(machine->name);
	if (row->failed) {
		kept->failure = fb_error_share(machine->failure);
	}
}

static void
release_row(struct fb_snapshot *row)
{
	free(row->machine);
	free(row->name);
	fb_error_drop(row->failure);
}

static void
keep_newer(struct fb_snapshot *kept, const struct fb_snapshot *row,
    const struct fb_manifest_machine *machine)
{
	if (kept->run[0] != '\0' && strcmp(row->run, kept->run) < 0)
		return;
	release_row(kept);
	keep_row(kept, row, machine);
}

/* The newest row, and behind a failed one the newest good one. */
static void
add_newest(struct loader *loader)
{
	for (size_t i = 0; i < loader->count; i++) {
		struct occurrence *of = &loader->occurrences[i];

		*add_row(loader->out) = of->newest;
		if (of->newest.failed && of->good.run[0] != '\0')
			*add_row(loader->out) = of->good;
		else
			release_row(&of->good);
	}
}

static int
visit_machine(
    const struct fb_manifest_machine *machine, void *arg, struct fb_error *err)
{
	struct loader *loader = arg;
	FB_AUTO_FREE char *name = fb_snapshot_machine(machine);
	struct occurrence *of;
	struct fb_snapshot row;

	(void)err;
	fill_row(&row, loader->run, machine);
	loader->run->good += !row.failed;
	loader->run->failed += row.failed;
	loader->run->size += row.size;
	loader->run->stored_bytes += row.stored_bytes;
	if (loader->all) {
		keep_row(add_row(loader->out), &row, machine);
		return FB_OK;
	}
	of = remember_machine(loader, machine, name);
	keep_newer(&of->newest, &row, machine);
	if (!row.failed)
		keep_newer(&of->good, &row, machine);
	return FB_OK;
}

static void
note_problem(struct fb_run_row *row, const struct fb_error *err)
{
	row->problem = fb_alloc(1, sizeof(*row->problem));
	*row->problem = *err;
}

static int
visit_run(const struct fb_run_ref *run, void *arg, struct fb_error *err)
{
	struct loader *loader = arg;
	struct fb_snapshots *out = loader->out;
	struct fb_run_row *row;

	(void)err;
	if (run->damage == NULL && strcmp(run->fleet, loader->fleet) != 0)
		return FB_OK; /* another fleet's */
	out->runs =
	    fb_realloc(out->runs, out->run_count + 1, sizeof(*out->runs));
	row = &out->runs[out->run_count++];
	*row = (struct fb_run_row){ 0 };
	row->ref = *run;
	row->ref.damage = NULL;
	if (run->damage != NULL)
		note_problem(row, run->damage);
	return FB_OK;
}

static int
read_manifest(struct fb_repo *repo, struct loader *loader,
    struct fb_error *err)
{
	FB_AUTO_MANIFEST struct fb_manifest *manifest = NULL;
	struct fb_error doubt = { 0 };
	const struct fb_manifest_head *head;
	int rc;

	rc = fb_manifest_open(
	    repo, &loader->run->ref, false, &doubt, &manifest, err);
	if (rc < 0)
		return rc;
	head = fb_manifest_get_head(manifest);
	memcpy(loader->run->finished, head->finished, sizeof(head->finished));
	loader->run->partial = head->partial;
	loader->run->drift = head->drift;
	return fb_manifest_machines(manifest, visit_machine, loader, err);
}

/* By run, as a restore chooses: runs are in order whatever clock dated them. */
static int
newest_first(const void *a, const void *b)
{
	const struct fb_snapshot *x = a, *y = b;
	int order = strcmp(y->run, x->run);

	if (order == 0)
		order = strcmp(y->time, x->time);
	return order != 0 ? order : strcmp(x->machine, y->machine);
}

static void
read_ahead(struct fb_repo *repo, const struct fb_snapshots *snapshots)
{
	FB_AUTO_FREE const char **runs =
	    fb_alloc(snapshots->run_count + 1, sizeof(*runs));
	size_t count = 0;

	for (size_t i = 0; i < snapshots->run_count; i++)
		if (snapshots->runs[i].problem == NULL)
			runs[count++] = snapshots->runs[i].ref.run;
	fb_manifests_ahead(repo, runs, count);
}

/* Its damage is a run's own. */
static void
read_run(struct fb_cli *cli, struct fb_repo *repo, struct loader *loader,
    struct fb_run_row *run)
{
	struct fb_error err = { 0 };

	loader->run = run;
	run->good = run->failed = 0;
	run->size = run->stored_bytes = 0;
	if (run->problem == NULL && read_manifest(repo, loader, &err) == FB_OK)
		return;
	if (run->problem == NULL)
		note_problem(run, &err);
	err = *run->problem;
	if (strncmp(err.msg, "run ", 4) != 0)
		(void)fb_wrap(&err, "run %s", run->ref.run);
	fb_cli_warn(cli, NULL, &err);
}

static void
count_run(struct fb_snapshots *snapshots, const struct fb_run_row *run)
{
	if (run->problem == NULL)
		fb_tally_good(&snapshots->tally);
	else
		fb_tally_bad(&snapshots->tally, run->problem->code);
}

/* Which runs are to go, and which must not. */
static int
load_fates(struct fb_repo *repo, struct fb_snapshots *out,
    struct fb_error *err)
{
	FB_AUTO_FATES struct fb_fates fates = { 0 };
	int rc = fb_fates_load(repo, &fates, err);

	for (size_t i = 0; rc == FB_OK && i < out->run_count; i++) {
		struct fb_run_row *row = &out->runs[i];
		const struct fb_fate *fate =
		    fb_fates_find(&fates, row->ref.session);

		if (fate == NULL)
			continue;
		row->held = fate->held;
		row->pending = fate->pending;
		if (fate->pending)
			memcpy(row->pending_since, fate->since,
			    sizeof(row->pending_since));
	}
	return rc;
}

const char *
fb_run_fate(const struct fb_run_row *row)
{
	return row->pending ? "pending" : row->held ? "held" : NULL;
}

void
fb_run_put_fate(json_t *object, const struct fb_run_row *row)
{
	fb_json_put_str(object, "pending_since",
	    row->pending ? row->pending_since : NULL);
	(void)json_object_set_new(object, "held", json_boolean(row->held));
}

int
fb_snapshots_load_runs(struct fb_cli *cli, struct fb_repo *repo,
    struct fb_snapshots *snapshots, struct fb_error *err)
{
	struct loader loader = { .out = snapshots,
		.fleet = cli->config->fleet_name };
	int rc;

	snapshots->fleet.name = fb_strdup(cli->config->fleet_name);
	rc = fb_repo_runs(repo, visit_run, &loader, err);
	return rc < 0 ? rc : load_fates(repo, snapshots, err);
}

int
fb_snapshots_load_newest(struct fb_cli *cli, struct fb_repo *repo,
    struct fb_snapshots *snapshots, struct fb_error *err)
{
	struct loader loader = { .out = snapshots };
	int rc = fb_snapshots_load_runs(cli, repo, snapshots, err);

	if (rc < 0)
		return rc;
	loader.seen = json_object();
	read_ahead(repo, snapshots);
	for (size_t i = 0; i < snapshots->run_count; i++) {
		read_run(cli, repo, &loader, &snapshots->runs[i]);
		count_run(snapshots, &snapshots->runs[i]);
	}
	fb_repo_read_ahead_end(repo);
	snapshots->looked = true;
	add_newest(&loader);
	json_decref(loader.seen);
	free(loader.occurrences);
	fb_fleet_settle(&snapshots->fleet);
	if (snapshots->count > 0)
		qsort(snapshots->items, snapshots->count,
		    sizeof(*snapshots->items), newest_first);
	return FB_OK;
}

const struct fb_machine *
fb_snapshots_find(const struct fb_snapshots *snapshots, const char *name)
{
	const char *slash = strchr(name, '/');
	FB_AUTO_FREE char *source = fb_strdup(name);

	if (slash == NULL)
		return NULL;
	source[slash - name] = '\0';
	return fb_fleet_find(&snapshots->fleet, source, slash + 1);
}

static bool
is_selected(const struct fb_snapshots *snapshots, const char *name)
{
	const struct fb_machine *machine;

	if (!snapshots->chosen)
		return true;
	machine = fb_snapshots_find(snapshots, name);
	return machine != NULL && machine->selected;
}

int
fb_snapshots_select(const struct fb_cli *cli, struct fb_snapshots *snapshots,
    const char *const *machines, size_t machine_count, struct fb_error *err)
{
	const struct fb_option_value *select =
	    &cli->args.options[FB_OPT_SELECT];
	int rc;

	snapshots->chosen = select->count + machine_count > 0;
	if (snapshots->chosen) {
		rc = fb_select(&snapshots->fleet, select->values,
		    select->count, machines, machine_count, err);
		if (rc < 0)
			return rc;
	}
	for (size_t i = 0; i < snapshots->count; i++)
		snapshots->items[i].selected =
		    is_selected(snapshots, snapshots->items[i].machine);
	return FB_OK;
}

static int
visit_rows(struct fb_snapshots *of_run, const struct fb_snapshots *snapshots,
    fb_snapshots_visit *visit, void *arg, struct fb_error *err)
{
	int rc = FB_OK;

	if (of_run->count > 0)
		qsort(of_run->items, of_run->count, sizeof(*of_run->items),
		    newest_first);
	for (size_t i = 0; rc == FB_OK && i < of_run->count; i++) {
		struct fb_snapshot *row = &of_run->items[i];

		row->selected = is_selected(snapshots, row->machine);
		rc = visit(row, arg, err);
	}
	return rc;
}

int
fb_snapshots_of_run(struct fb_cli *cli, struct fb_repo *repo,
    struct fb_snapshots *snapshots, struct fb_run_row *run,
    fb_snapshots_visit *visit, void *arg, struct fb_error *err)
{
	FB_AUTO_SNAPSHOTS struct fb_snapshots of_run = { 0 };
	struct loader loader = { .out = &of_run, .all = true };

	if (run->problem == NULL || !snapshots->looked)
		read_run(cli, repo, &loader, run);
	if (!snapshots->looked)
		count_run(snapshots, run);
	/* Half of a manifest is worse than nothing. */
	return run->problem != NULL
	    ? FB_OK
	    : visit_rows(&of_run, snapshots, visit, arg, err);
}

int
fb_snapshots_each(struct fb_cli *cli, struct fb_repo *repo,
    struct fb_snapshots *snapshots, fb_snapshots_visit *visit, void *arg,
    struct fb_error *err)
{
	int rc = FB_OK;

	read_ahead(repo, snapshots);
	for (size_t i = 0; rc == FB_OK && i < snapshots->run_count; i++)
		rc = fb_snapshots_of_run(cli, repo, snapshots,
		    &snapshots->runs[i], visit, arg, err);
	fb_repo_read_ahead_end(repo);
	return rc;
}

void
fb_snapshots_release(struct fb_snapshots *snapshots)
{
	for (size_t i = 0; i < snapshots->count; i++)
		release_row(&snapshots->items[i]);
	for (size_t i = 0; i < snapshots->run_count; i++)
		free(snapshots->runs[i].problem);
	free(snapshots->items);
	free(snapshots->runs);
	fb_fleet_release(&snapshots->fleet);
}

json_t *
fb_snapshot_json(const struct fb_snapshot *row)
{
	json_t *item = json_object();

	fb_json_put_str(item, "run", row->run);
	fb_json_put_str(item, "machine", row->machine);
	fb_json_put_str(item, "name", row->name);
	fb_json_put_str(item, "time", row->time);
	fb_json_put_str(item, "result", row->failed ? "failed" : "ok");
	if (row->failed) {
		(void)json_object_set_new(
		    item, "error", fb_cli_error_json(NULL, row->failure));
		return item;
	}
	fb_json_put_str(item, "consistency", fb_level_name(row->level));
	fb_json_put_str(item, "lifecycle", fb_lifecycle_name(row->lifecycle));
	fb_json_put_seconds(item, "downtime_seconds", row->downtime_ms);
	fb_json_put_u64(item, "size_bytes", row->size);
	fb_json_put_u64(item, "read_bytes", row->read_bytes);
	fb_json_put_u64(item, "new_bytes", row->new_bytes);
	fb_json_put_u64(item, "stored_bytes", row->stored_bytes);
	return item;
}

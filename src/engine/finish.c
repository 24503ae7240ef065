/*
 * The end of a download: recipes, manifest, the commit, and what the sources
 * are relieved of.  Everything here may be done again after a crash.
 */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/manifest/manifest.h"
#include "run.h"

/* Who computed a flat digest: never the source, so far. */
static char digested_by_us[] = "fleetbak";

struct commit {
	struct fb_run *run;
	struct fb_id_list recipes, packs;
	struct fb_digest manifest, volumes;
};

/* In the manifest and in its register.  The clock may have been set back
 * during the run, which is no reason to lose it. */
static const char *
finished(const struct fb_run *run)
{
	struct fb_error ignored = { 0 };
	int64_t from, to;

	return fb_time_parse(run->started, &from, &ignored) == FB_OK &&
	        fb_time_parse(run->finished, &to, &ignored) == FB_OK &&
	        to < from
	    ? run->started
	    : run->finished;
}

static void
add_recipe(struct commit *commit, const struct fb_digest *id)
{
	struct fb_id_list *list = &commit->recipes;

	if ((list->count & (list->count + 1)) == 0)
		list->ids = fb_realloc(
		    list->ids, list->count * 2 + 1, sizeof(*list->ids));
	list->ids[list->count++] = *id;
}

static int
store_recipe(struct commit *commit, const struct fb_job *job, size_t part,
    bool catalogue, struct fb_digest *ret, struct fb_error *err)
{
	char key[64];
	int rc;

	fb_run_copy_key(job, part, catalogue, key, sizeof(key));
	rc = fb_copier_recipe(
	    commit->run->copier, key, ret, &commit->packs, err);
	if (rc == FB_OK)
		add_recipe(commit, ret);
	return rc;
}

static int
store_recipes(struct commit *commit, struct fb_job *job, struct fb_error *err)
{
	struct fb_run *run = commit->run;
	int rc = FB_OK;

	for (size_t i = 0; rc == FB_OK && i < job->machine->volume_count; i++) {
		struct fb_part *part = &job->parts[i];

		if (!part->done)
			continue;
		rc = store_recipe(commit, job, i, false, &part->recipe, err);
		if (rc == FB_OK && part->has_catalogue)
			rc = store_recipe(commit, job, i, true,
			    &part->catalogue_recipe, err);
		part->has_recipe = rc == FB_OK;
	}
	if (rc == FB_OK && job->state == FB_MACHINE_COPIED)
		rc = fb_run_state(run, job, FB_MACHINE_VERIFIED, false, err);
	if (rc == FB_OK && job->state == FB_MACHINE_VERIFIED)
		rc = fb_run_state(run, job, FB_MACHINE_DURABLE, false, err);
	return rc;
}

static bool
succeeded(const struct fb_job *job)
{
	return job->state >= FB_MACHINE_COPIED &&
	    job->state != FB_MACHINE_FAILED;
}

static void
fill_volume(const struct fb_part *part, struct fb_manifest_volume *ret)
{
	*ret = (struct fb_manifest_volume){
		.name = part->volume->name,
		.kind = part->volume->kind,
		.size = part->volume->size,
		.method = fb_strdup(part->volume->method),
		.captured = part->has_recipe,
	};
	if (!part->has_recipe)
		return;
	ret->size = part->result.size;
	ret->recipe = part->recipe;
	ret->root = part->result.root;
	ret->has_flat = part->result.has_flat;
	ret->flat = part->result.flat;
	ret->flat_by = ret->has_flat ? digested_by_us : NULL;
	ret->has_catalogue = part->has_catalogue;
	ret->catalogue_size = part->catalogue.size;
	ret->catalogue_recipe = part->catalogue_recipe;
	ret->catalogue_root = part->catalogue.root;
	if (part->token != NULL)
		ret->change_token = fb_strdup(part->token);
	ret->read_bytes = part->read_bytes;
	ret->new_bytes =
	    part->result.new_bytes + part->catalogue.new_bytes;
	ret->stored_bytes =
	    part->result.stored_bytes + part->catalogue.stored_bytes;
	ret->changed_files = part->changed_files;
}

static int
add_machine(struct fb_manifest_writer *writer, struct fb_job *job,
    struct fb_error *err)
{
	const struct fb_machine *machine = job->machine;
	FB_AUTO_FREE struct fb_manifest_volume *volumes =
	    fb_alloc(machine->volume_count, sizeof(*volumes));
	struct fb_manifest_machine entry = {
		.source = machine->source,
		.driver = machine->driver,
		.id = machine->id,
		.name = machine->name,
		.role = machine->role,
		.parent = machine->parent,
		.labels = machine->labels,
		.description = machine->description,
		.power = machine->power,
		.failed = !succeeded(job),
		.failure = job->err,
		.lifecycle = job->lifecycle,
		.level = fb_job_level(job),
		.epoch = job->epoch,
		.token = job->token,
		.downtime_ms = job->downtime_ms,
		.stop_timeout_ms = machine->stop_timeout_ms,
		.start_timeout_ms = machine->start_timeout_ms,
		.volumes = volumes,
		.volume_count = machine->volume_count,
	};
	int rc;

	memcpy(entry.snapshot_time, job->snapshot_time,
	    sizeof(job->snapshot_time));
	for (size_t i = 0; i < machine->volume_count; i++)
		fill_volume(&job->parts[i], &volumes[i]);
	rc = fb_manifest_add(writer, &entry, err);
	for (size_t i = 0; i < machine->volume_count; i++) {
		free(volumes[i].method);
		free(volumes[i].change_token);
	}
	return rc;
}

static void
fill_sources(struct fb_run *run, struct fb_manifest_head *head)
{
	head->source_count = run->source_count;
	head->sources = fb_alloc(run->source_count, sizeof(*head->sources));
	for (size_t i = 0; i < run->source_count; i++) {
		head->sources[i].name = fb_strdup(run->sources[i].name);
		head->sources[i].driver = fb_strdup(run->sources[i].driver);
		for (size_t k = 0; k < run->failure_count; k++)
			if (strcmp(run->failures[k].source,
			        run->sources[i].name) == 0)
				head->sources[i].problem =
				    run->failures[k].err;
	}
}

static void
fill_units(struct fb_run *run, struct fb_manifest_head *head)
{
	head->unit_count = run->unit_count;
	head->units = fb_alloc(run->unit_count, sizeof(*head->units));
	for (size_t i = 0; i < run->unit_count; i++) {
		struct fb_manifest_unit *unit = &head->units[i];

		unit->name = fb_strdup(run->units[i].name);
		unit->epoch = run->units[i].epoch;
		unit->machines =
		    fb_alloc(run->units[i].count, sizeof(*unit->machines));
		for (size_t k = 0; k < run->units[i].count; k++)
			unit->machines[unit->machine_count++] = fb_strdup(
			    run->jobs[run->units[i].jobs[k]].name);
	}
}

static bool
is_partial(const struct fb_run *run)
{
	for (size_t i = 0; i < run->job_count; i++)
		if (!succeeded(&run->jobs[i]))
			return true;
	return run->failure_count > 0;
}

static void
fill_head(struct fb_run *run, struct fb_manifest_head *head)
{
	memcpy(head->run, run->id, sizeof(head->run));
	memcpy(head->session, run->session.id, sizeof(head->session));
	head->shard = run->shard;
	head->fleet = fb_strdup(run->engine->config->fleet_name);
	head->tool_version = fb_strdup(run->tool);
	head->host = fb_strdup(run->host);
	memcpy(head->started, run->started, sizeof(head->started));
	memcpy(head->finished, finished(run), sizeof(head->finished));
	head->topology = run->topology;
	head->topology_selection = run->topology_selection;
	head->topology_after = run->topology_after;
	head->drift = run->drift;
	head->partial = is_partial(run);
	head->predecessor_count = run->predecessor_count;
	head->predecessors =
	    fb_alloc(run->predecessor_count, sizeof(*head->predecessors));
	memcpy(head->predecessors, run->predecessors,
	    run->predecessor_count * sizeof(*head->predecessors));
	fill_sources(run, head);
	fill_units(run, head);
}

static int
write_manifest(struct commit *commit, const char *manifest_path,
    const char *volumes_path, struct fb_error *err)
{
	struct fb_run *run = commit->run;
	struct fb_manifest_writer *writer = NULL;
	struct fb_manifest_head head = { 0 };
	int rc = fb_io_unlink(manifest_path, err);

	if (rc == FB_OK)
		rc = fb_io_unlink(volumes_path, err);
	if (rc < 0)
		return rc;
	fill_head(run, &head);
	rc = fb_manifest_begin(
	    manifest_path, volumes_path, &head, &writer, err);
	for (size_t i = 0; rc == FB_OK && i < run->job_count; i++) {
		rc = add_machine(writer, &run->jobs[i], err);
		if (rc < 0)
			fb_manifest_abandon(writer);
	}
	if (rc == FB_OK)
		rc = fb_manifest_finish(
		    writer, &commit->manifest, &commit->volumes, err);
	fb_manifest_head_release(&head);
	return rc;
}

static int
commit_objects(struct commit *commit, struct fb_error *err)
{
	struct fb_run *run = commit->run;
	FB_AUTO_FREE char *manifest = fb_format("%s/manifest.json", run->dir);
	FB_AUTO_FREE char *volumes = fb_format("%s/VOLUMES", run->dir);
	FB_AUTO_SIGN_KEY struct fb_sign_key *key = NULL;
	struct fb_publication what = {
		.run = run->id,
		.session = run->session.id,
		.fleet = run->engine->config->fleet_name,
		.time = finished(run),
		.shard = &run->shard,
		.predecessors = run->predecessors,
		.predecessor_count = run->predecessor_count,
		.manifest_path = manifest,
		.volumes_path = volumes,
		.recipes = &commit->recipes,
		.packs = &commit->packs,
	};
	struct fb_error ignored;
	int rc = write_manifest(commit, manifest, volumes, err);

	what.manifest = commit->manifest;
	what.volumes = commit->volumes;
	if (rc == FB_OK)
		rc = fb_publish(run->engine, run->repo, &what, err);
	if (rc == FB_OK)
		rc = fb_engine_sign_key(run->engine, &key, err);
	if (rc == FB_OK) /* without them the next run stores more: no more */
		(void)!fb_copier_hints(run->copier, key, &ignored);
	return rc;
}

static int
journal_commit(struct commit *commit, struct fb_error *err)
{
	char hex[FB_DIGEST_HEX_SIZE];
	FB_AUTO_JSON json_t *body = NULL;

	fb_digest_hex(&commit->manifest, hex);
	body = json_pack("{s:s}", "manifest", hex);
	return fb_journal_append(
	    commit->run->journal, "commit", body, true, err);
}

/* Before the commit, so that a run is never there with less than it should
 * have.  Where it fails the backup is worth more than its locks: the report
 * says so. */
static void
renew_locks(struct commit *commit)
{
	struct fb_run *run = commit->run;
	struct fb_lock_cost *locks = &run->locks;
	const struct fb_lock_items items = { .packs = commit->packs,
		.recipes = commit->recipes,
		.common = true };
	struct fb_error why = { 0 };

	if (fb_locks_renew(run->engine, run->repo, &items, locks, &why) ==
	    FB_OK)
		return;
	locks->failed = locks->failed > 0 ? locks->failed : 1;
	locks->err = why;
}

int
fb_run_commit(struct fb_run *run, struct fb_error *err)
{
	struct commit commit = { .run = run };
	int rc = fb_copier_flush(run->copier, err);

	for (size_t i = 0; rc == FB_OK && i < run->job_count; i++)
		if (succeeded(&run->jobs[i]))
			rc = store_recipes(&commit, &run->jobs[i], err);
	fb_id_list_settle(&commit.recipes);
	if (rc == FB_OK)
		renew_locks(&commit);
	if (rc == FB_OK)
		rc = commit_objects(&commit, err);
	if (rc == FB_OK)
		rc = journal_commit(&commit, err);
	run->committed = run->committed || rc == FB_OK;
	free(commit.recipes.ids);
	free(commit.packs.ids);
	return rc < 0 ? fb_wrap(err, "run '%s'", run->id) : FB_OK;
}

/* The snapshot is gone: of a machine that failed, its record says so by
 * having no token any more. */
static int
record_release(struct fb_run *run, struct fb_job *job, bool tracked,
    struct fb_error *err)
{
	FB_AUTO_JSON json_t *body = NULL;

	if (tracked)
		return fb_run_state(
		    run, job, FB_MACHINE_RELEASED, false, err);
	job->token[0] = '\0';
	body = fb_run_machine_json(job);
	return fb_journal_append(run->journal, "machine", body, false, err);
}

/* What another node has begun may be at a machine that only that node sees. */
static int
fail_unseen(const struct fb_job *job, struct fb_error *err)
{
	(void)fb_fail_id(err, FB_ECONFIG, "E-SHARD-SOURCE",
	    "its snapshot was made by another node, and the machine is not "
	    "seen from this one");
	return fb_hint(err,
	    "do it where machine '%s' is seen; if it is gone for good: "
	    "--force",
	    job->name);
}

/* A machine that is gone, or whose source is not configured any more, has no
 * snapshot of ours; of one whose source is away nothing is known. */
static int
remove_snapshot(struct fb_run *run, struct fb_job *job, struct fb_error *err)
{
	struct fb_error lookup = { 0 };
	struct fb_verb verb;
	int rc;

	if (job->away)
		return fb_fail_id(err, FB_EUNREACH, "E-SRC-UNREACHABLE",
		    "its snapshot cannot be removed before its source "
		    "answers");
	if (job->driver == NULL || job->now == NULL)
		return run->adopted ? fail_unseen(job, err) : FB_OK;
	fb_run_verb(run, job, 0, &verb);
	rc = fb_driver_remove_snapshot(job->driver, job->now, &verb, err);
	if ((rc == FB_EUNKNOWN || rc == FB_ETIMEOUT) &&
	    fb_driver_find_by_token(job->driver, job->now, job->token,
	        &lookup) == FB_ENOTFOUND)
		rc = FB_OK; /* only the answer was lost */
	return rc;
}

/* Remove the snapshot of one machine; what is left is said, not fatal: a
 * later run tries again. */
static int
release_job(struct fb_run *run, struct fb_job *job, struct fb_error *err)
{
	bool tracked = job->state == FB_MACHINE_DURABLE ||
	    job->state == FB_MACHINE_RELEASING;
	struct fb_error failure = { 0 };
	int rc = FB_OK;

	if (tracked)
		rc = fb_run_state(run, job, FB_MACHINE_RELEASING, false, err);
	if (rc < 0)
		return rc;
	if (remove_snapshot(run, job, &failure) == FB_OK)
		return record_release(run, job, tracked, err);
	fb_run_notify(run,
	    &(struct fb_event){ .kind = FB_EVENT_WARNING,
	        .machine = job->name,
	        .error = &failure });
	return FB_OK;
}

bool
fb_job_has_snapshot(const struct fb_job *job)
{
	return job->token[0] != '\0' && job->state != FB_MACHINE_RELEASED;
}

void
fb_run_take_over(const struct fb_run *run)
{
	for (size_t i = 0; i < run->job_count; i++) {
		const struct fb_job *job = &run->jobs[i];
		struct fb_error ignored = { 0 };

		if (fb_job_has_snapshot(job) && job->driver != NULL &&
		    job->now != NULL && job->driver->ops->relieve != NULL)
			(void)!fb_driver_find_by_token(
			    job->driver, job->now, job->token, &ignored);
	}
}

int
fb_run_release(struct fb_run *run, struct fb_error *err)
{
	int rc = FB_OK;

	for (size_t i = 0; rc == FB_OK && i < run->job_count; i++)
		if (fb_job_has_snapshot(&run->jobs[i]))
			rc = release_job(run, &run->jobs[i], err);
	return rc;
}

bool
fb_job_holds(const struct fb_job *job)
{
	return fb_job_has_snapshot(job) || job->owes_start || job->owed_before;
}

bool
fb_run_holds(const struct fb_run *run)
{
	for (size_t i = 0; i < run->job_count; i++)
		if (fb_job_holds(&run->jobs[i]))
			return true;
	return false;
}

int
fb_job_give_up(struct fb_run *run, struct fb_job *job, struct fb_error *err)
{
	FB_AUTO_JSON json_t *body = NULL;
	int rc = job->owed_before
	    ? fb_obligation_end(run->journal, job->name, "given-up", err)
	    : FB_OK;

	if (rc < 0)
		return rc;
	job->owed_before = false;
	job->token[0] = '\0';
	body = fb_run_machine_json(job);
	return fb_journal_append(run->journal, "machine", body, true, err);
}

int
fb_run_check_fence(const struct fb_run *run, bool *ret_fenced,
    struct fb_error *ret_cause, struct fb_error *err)
{
	struct fb_register reg = { 0 };
	int rc = fb_repo_register(run->repo, run->id, &reg, err);

	*ret_fenced = rc == FB_OK && reg.fence;
	if (*ret_fenced)
		(void)fb_fail_id(ret_cause, FB_ECONFLICT, "E-FENCED",
		    "run %s was fenced off while it was cut off: %s", run->id,
		    reg.reason);
	fb_register_release(&reg);
	return rc == FB_ENOTFOUND ? FB_OK : rc;
}

/*
 * A cut-off download: its journal back into a run.
 */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "facts.h"
#include "run.h"

struct replay {
	struct fb_run *run;
	json_t *checkpoint;
	bool started; /* its "run" record came ... */
	bool begun;   /* ... and its plan is complete */
	size_t job_room;
};

static int
replay_predecessors(
    struct fb_run *run, const json_t *body, struct fb_error *err)
{
	json_t *list;
	int rc = fb_json_array(body, "predecessors", "journal", &list, err);

	if (rc < 0)
		return rc;
	run->predecessors =
	    fb_alloc(json_array_size(list), sizeof(*run->predecessors));
	for (size_t i = 0; i < json_array_size(list); i++) {
		struct fb_predecessor *item = &run->predecessors[i];
		const json_t *entry = json_array_get(list, i);

		rc = fb_fact_text(entry, "run", item->run, sizeof(item->run), err);
		if (rc == FB_OK)
			rc = fb_fact_digest(
			    entry, "manifest", &item->manifest, err);
		if (rc < 0)
			return rc;
		run->predecessor_count++;
	}
	return FB_OK;
}

static int
replay_sources(struct fb_run *run, const json_t *body, struct fb_error *err)
{
	json_t *list;
	int rc = fb_json_array(body, "sources", "journal", &list, err);

	if (rc < 0)
		return rc;
	run->sources = fb_alloc(json_array_size(list), sizeof(*run->sources));
	for (size_t i = 0; rc == FB_OK && i < json_array_size(list); i++) {
		const json_t *entry = json_array_get(list, i);
		struct fb_run_source *source =
		    &run->sources[run->source_count++];

		rc = fb_fact_copy(entry, "source", &source->name, err);
		if (rc == FB_OK)
			rc = fb_fact_copy(entry, "driver", &source->driver, err);
	}
	return rc;
}

/* The part of a shared run that it is. */
static int
replay_shard(struct fb_run *run, const json_t *body, struct fb_error *err)
{
	uint64_t number = 0, count = 0, lease = 0;
	json_t *shard;
	int rc;

	if (json_object_get(body, "shard") == NULL)
		return FB_OK;
	rc = fb_json_object(body, "shard", "journal", &shard, err);
	if (rc == FB_OK)
		rc = fb_fact_text(
		    shard, "of", run->shard.of, sizeof(run->shard.of), err);
	if (rc == FB_OK)
		rc = fb_fact_text(
		    shard, "shared", run->shared, sizeof(run->shared), err);
	if (rc == FB_OK)
		rc = fb_json_u64(
		    shard, "number", "journal", FB_SHARDS_MAX, &number, err);
	if (rc == FB_OK)
		rc = fb_json_u64(
		    shard, "count", "journal", FB_SHARDS_MAX, &count, err);
	if (rc == FB_OK)
		rc = fb_json_u64(
		    shard, "lease", "journal", FB_LEASE_MAX, &lease, err);
	if (rc == FB_OK)
		rc = fb_shared_name_check(run->shared, err);
	run->shard.number = (uint32_t)number;
	run->shard.count = (uint32_t)count;
	run->lease = (uint32_t)lease;
	return rc;
}

/* Of another fleet or repository? */
static int
check_owner(const struct fb_run *run, const char *fleet,
    const char *repository, struct fb_error *err)
{
	if (strcmp(fleet, run->engine->config->fleet_name) != 0)
		return fb_fail(err, FB_ECONFLICT, "it is of fleet '%s'", fleet);
	if (run->repo != NULL &&
	    strcmp(repository, run->repo->format.repository) != 0)
		return fb_fail(err, FB_ECONFLICT,
		    "it is of repository %s", repository);
	return FB_OK;
}

static int
replay_run(struct replay *replay, const json_t *body, struct fb_error *err)
{
	struct fb_run *run = replay->run;
	char id[FB_RUN_ID_SIZE], repository[64], fleet[FB_NAME_MAX + 1];
	int rc = replay->started
	    ? fb_fail(err, FB_ECORRUPT, "it begins twice")
	    : fb_fact_text(body, "run", id, sizeof(id), err);

	replay->started = true;
	if (rc == FB_OK)
		rc = fb_fact_text(
		    body, "repository", repository, sizeof(repository), err);
	if (rc == FB_OK)
		rc = fb_fact_text(body, "fleet", fleet, sizeof(fleet), err);
	if (rc == FB_OK)
		rc = fb_fact_text(body, "started", run->started,
		    sizeof(run->started), err);
	if (rc == FB_OK)
		rc = fb_fact_text(body, "host", run->host, sizeof(run->host), err);
	if (rc == FB_OK)
		rc = fb_fact_text(body, "tool", run->tool, sizeof(run->tool), err);
	if (rc == FB_OK)
		rc = fb_fact_text(body, "config", run->config_digest,
		    sizeof(run->config_digest), err);
	if (rc == FB_OK)
		rc = fb_fact_text(body, "selection", run->selection_digest,
		    sizeof(run->selection_digest), err);
	if (rc == FB_OK)
		rc = fb_fact_digest(body, "topology", &run->topology, err);
	if (rc == FB_OK)
		rc = fb_fact_digest(body, "topology_selection",
		    &run->topology_selection, err);
	if (rc == FB_OK)
		rc = replay_predecessors(run, body, err);
	if (rc == FB_OK)
		rc = replay_sources(run, body, err);
	if (rc == FB_OK)
		rc = replay_shard(run, body, err);
	if (rc < 0)
		return rc;
	if (strcmp(id, run->id) != 0)
		return fb_fail(err, FB_ECORRUPT, "it is of run %s", id);
	return check_owner(run, fleet, repository, err);
}

static int
replay_source(struct replay *replay, const json_t *body, struct fb_error *err)
{
	struct fb_run *run = replay->run;
	struct fb_source_failure *failure;

	run->failures = fb_realloc(
	    run->failures, run->failure_count + 1, sizeof(*run->failures));
	failure = &run->failures[run->failure_count++];
	*failure = (struct fb_source_failure){ 0 };
	if (fb_fact_copy(body, "source", &failure->source, err) < 0)
		return err->code;
	return fb_fact_error(body, "error", &failure->err, err);
}

static bool
comes_after(const struct fb_job *before, const struct fb_job *job)
{
	int order = strcmp(before->machine->source, job->machine->source);

	return order < 0 ||
	    (order == 0 && strcmp(before->machine->id, job->machine->id) < 0);
}

static int
replay_plan(struct replay *replay, const json_t *body, struct fb_error *err)
{
	struct fb_run *run = replay->run;
	struct fb_job *job;
	int rc;

	if (run->job_count == replay->job_room) {
		replay->job_room = replay->job_room * 2 + 16;
		run->jobs = fb_realloc(
		    run->jobs, replay->job_room, sizeof(*run->jobs));
	}
	job = &run->jobs[run->job_count++];
	*job = (struct fb_job){ .index = run->job_count - 1 };
	job->machine = fb_alloc(1, sizeof(*job->machine));
	rc = fb_fact_machine(body, job->machine, err);
	if (rc < 0)
		return rc;
	job->name =
	    fb_format("%s/%s", job->machine->source, job->machine->id);
	/* They are looked up by halving. */
	if (job->index > 0 && !comes_after(job - 1, job))
		return fb_fail(err, FB_ECORRUPT,
		    "its machine '%s' is out of order", job->name);
	job->lifecycle = job->machine->lifecycle;
	job->resumed = true;
	job->parts =
	    fb_alloc(job->machine->volume_count, sizeof(*job->parts));
	for (size_t i = 0; i < job->machine->volume_count; i++)
		job->parts[i].volume = &job->machine->volumes[i];
	return FB_OK;
}

static int
find_job(const struct fb_run *run, const json_t *body, struct fb_job **ret_job,
    struct fb_error *err)
{
	const char *name;
	int rc = fb_json_str(body, "machine", "journal", &name, err);

	if (rc < 0)
		return rc;
	*ret_job = fb_run_job(run, name);
	if (*ret_job == NULL)
		return fb_fail(err, FB_ECORRUPT,
		    "it names a machine '%s' that is not planned", name);
	return FB_OK;
}

static int
replay_unit(struct replay *replay, const json_t *body, struct fb_error *err)
{
	struct fb_run *run = replay->run;
	struct fb_job *job;
	const char *name;
	size_t i = run->unit_count;
	int rc = find_job(run, body, &job, err);

	if (rc == FB_OK)
		rc = fb_json_str(body, "unit", "journal", &name, err);
	if (rc < 0)
		return rc;
	if (i == 0 || strcmp(run->units[i - 1].name, name) != 0) {
		run->units =
		    fb_realloc(run->units, i + 1, sizeof(*run->units));
		memset(&run->units[i], 0, sizeof(run->units[i]));
		run->units[i].name = fb_strdup(name);
		run->unit_count = ++i;
	}
	run->units[i - 1].jobs = fb_realloc(run->units[i - 1].jobs,
	    run->units[i - 1].count + 1, sizeof(*run->units[i - 1].jobs));
	run->units[i - 1].jobs[run->units[i - 1].count++] = job->index;
	return FB_OK;
}

static int
replay_machine(struct replay *replay, const json_t *body, struct fb_error *err)
{
	struct fb_job *job;
	const char *text;
	int rc = find_job(replay->run, body, &job, err);

	if (rc == FB_OK)
		rc = fb_json_str(body, "state", "journal", &text, err);
	if (rc == FB_OK)
		rc = fb_machine_state_parse(text, &job->state, err);
	if (rc == FB_OK)
		rc = fb_json_u64(
		    body, "epoch", "journal", 1000000, &job->epoch, err);
	if (rc == FB_OK)
		rc = fb_fact_text(
		    body, "token", job->token, sizeof(job->token), err);
	if (rc == FB_OK)
		rc = fb_json_str(body, "lifecycle", "journal", &text, err);
	if (rc == FB_OK)
		rc = fb_lifecycle_parse(text, &job->lifecycle, err);
	if (rc == FB_OK)
		rc = fb_fact_text(body, "snapshot_time", job->snapshot_time,
		    sizeof(job->snapshot_time), err);
	if (rc == FB_OK)
		rc = fb_json_u64(body, "downtime_ms", "journal", INT64_MAX,
		    &job->downtime_ms, err);
	if (rc == FB_OK && job->state == FB_MACHINE_FAILED)
		rc = fb_fact_kept_error(body, "error", &job->err, err);
	if (rc == FB_OK && job->state != FB_MACHINE_FAILED)
		fb_error_drop(FB_STEAL(job->err));
	if (rc == FB_OK && job->state == FB_MACHINE_PLANNED)
		for (size_t i = 0; i < job->machine->volume_count; i++)
			fb_part_reset(&job->parts[i]);
	return rc;
}

static int
read_result(const json_t *body, const char *key, struct fb_copy_result *ret,
    struct fb_error *err)
{
	json_t *object;
	int rc = fb_json_object(body, key, "journal", &object, err);

	if (rc == FB_OK)
		rc = fb_json_u64(
		    object, "size", "journal", INT64_MAX, &ret->size, err);
	if (rc == FB_OK)
		rc = fb_json_u64(object, "zero_bytes", "journal", INT64_MAX,
		    &ret->zero_bytes, err);
	if (rc == FB_OK)
		rc = fb_json_u64(object, "new_bytes", "journal", INT64_MAX,
		    &ret->new_bytes, err);
	if (rc == FB_OK)
		rc = fb_json_u64(object, "stored_bytes", "journal", INT64_MAX,
		    &ret->stored_bytes, err);
	if (rc == FB_OK)
		rc = fb_json_u64(object, "serial", "journal", INT64_MAX,
		    &ret->serial, err);
	if (rc == FB_OK)
		rc = fb_fact_digest(object, "root", &ret->root, err);
	if (rc == FB_OK && json_object_get(object, "flat") != NULL) {
		rc = fb_fact_digest(object, "flat", &ret->flat, err);
		ret->has_flat = true;
	}
	return rc;
}

static int
find_part(struct replay *replay, const json_t *body, struct fb_job **ret_job,
    struct fb_part **ret_part, struct fb_error *err)
{
	const char *volume;
	int rc = find_job(replay->run, body, ret_job, err);

	if (rc == FB_OK)
		rc = fb_json_str(body, "volume", "journal", &volume, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < (*ret_job)->machine->volume_count; i++) {
		*ret_part = &(*ret_job)->parts[i];
		if (strcmp((*ret_part)->volume->name, volume) == 0)
			return FB_OK;
	}
	return fb_fail(err, FB_ECORRUPT,
	    "it names a volume '%s' that is not planned", volume);
}

static int
replay_volume(struct replay *replay, const json_t *body, struct fb_error *err)
{
	struct fb_job *job;
	struct fb_part *part = NULL;
	int rc = find_part(replay, body, &job, &part, err);

	if (rc < 0)
		return rc;
	part->done = part->spooled = false;
	rc = fb_json_u64(body, "read_bytes", "journal", INT64_MAX,
	    &part->read_bytes, err);
	if (rc == FB_OK)
		rc = fb_json_u64(body, "changed_files", "journal", INT64_MAX,
		    &part->changed_files, err);
	if (rc == FB_OK)
		rc = fb_json_bool(body, "fuzzy", "journal", &part->fuzzy, err);
	free(FB_STEAL(part->token));
	if (rc == FB_OK && json_object_get(body, "change_token") != NULL)
		rc = fb_fact_copy(body, "change_token", &part->token, err);
	if (rc == FB_OK)
		rc = read_result(body, "result", &part->result, err);
	if (rc == FB_OK && json_object_get(body, "catalogue") != NULL) {
		rc = read_result(body, "catalogue", &part->catalogue, err);
		part->has_catalogue = true;
	}
	part->spooled = rc == FB_OK;
	return rc;
}

/* Was the checkpoint taken after the copy had ended?  It may have been taken
 * before, and journaled late: it waits for its pack to be stored. */
static bool
covers(uint64_t serial, const struct fb_part *part)
{
	return part->spooled && part->result.serial < serial &&
	    (!part->has_catalogue || part->catalogue.serial < serial);
}

/* What was copied is on disk once a checkpoint covers it. */
static int
replay_checkpoint(
    struct replay *replay, const json_t *body, struct fb_error *err)
{
	const struct fb_run *run = replay->run;
	uint64_t serial;
	int rc = fb_json_u64(
	    body, "serial", "journal", INT64_MAX, &serial, err);

	if (rc < 0)
		return rc;
	json_decref(replay->checkpoint);
	replay->checkpoint = json_deep_copy(body);
	for (size_t i = 0; i < run->job_count; i++)
		for (size_t k = 0; k < run->jobs[i].machine->volume_count; k++)
			if (covers(serial, &run->jobs[i].parts[k]))
				run->jobs[i].parts[k].done = true;
	return FB_OK;
}

static int
replay_finish(struct replay *replay, const json_t *body, struct fb_error *err)
{
	struct fb_run *run = replay->run;
	int rc = fb_fact_text(
	    body, "finished", run->finished, sizeof(run->finished), err);

	if (rc == FB_OK)
		rc = fb_fact_digest(
		    body, "topology_after", &run->topology_after, err);
	if (rc == FB_OK)
		rc = fb_json_bool(body, "drift", "journal", &run->drift, err);
	return rc;
}

/* The time of a record; 0 when it has none, as in older journals. */
static int
read_time(const json_t *body, int64_t *ret_ns, struct fb_error *err)
{
	const char *at;
	int rc;

	*ret_ns = 0;
	if (json_object_get(body, "at") == NULL)
		return FB_OK;
	rc = fb_json_str(body, "at", "journal", &at, err);
	return rc < 0 ? rc : fb_time_parse(at, ret_ns, err);
}

static int
replay_obligation(
    struct replay *replay, const json_t *body, struct fb_error *err)
{
	struct fb_job *job;
	int rc = find_job(replay->run, body, &job, err);

	if (rc < 0)
		return rc;
	job->owes_start = true;
	return read_time(body, &job->owed_since_ns, err);
}

/* Whoever started it, the run, its guardian or recovery: how long it was down
 * is between the two records.  A later one of the machine knows better.  Once
 * the run has all its facts its manifest may be stored, which says no more. */
static int
replay_discharge(
    struct replay *replay, const json_t *body, struct fb_error *err)
{
	struct fb_job *job;
	int64_t at_ns = 0;
	int rc = find_job(replay->run, body, &job, err);

	if (rc == FB_OK)
		rc = read_time(body, &at_ns, err);
	if (rc < 0)
		return rc;
	job->owes_start = false;
	if (replay->run->finished[0] == '\0' && job->owed_since_ns > 0 &&
	    at_ns > job->owed_since_ns)
		job->downtime_ms =
		    (uint64_t)(at_ns - job->owed_since_ns) / 1000000;
	return FB_OK;
}

static int
replay_record(const struct fb_journal_record *record, void *arg,
    struct fb_error *err)
{
	struct replay *replay = arg;
	const json_t *body = record->body;

	if (strcmp(record->type, "run") == 0)
		return replay_run(replay, body, err);
	if (strcmp(record->type, "source") == 0)
		return replay_source(replay, body, err);
	if (strcmp(record->type, "plan") == 0)
		return replay_plan(replay, body, err);
	if (strcmp(record->type, "unit") == 0)
		return replay_unit(replay, body, err);
	if (strcmp(record->type, "begin") == 0)
		replay->begun = true;
	if (strcmp(record->type, "machine") == 0)
		return replay_machine(replay, body, err);
	if (strcmp(record->type, "volume") == 0)
		return replay_volume(replay, body, err);
	if (strcmp(record->type, "checkpoint") == 0)
		return replay_checkpoint(replay, body, err);
	if (strcmp(record->type, "finish") == 0)
		return replay_finish(replay, body, err);
	if (strcmp(record->type, "obligation") == 0)
		return replay_obligation(replay, body, err);
	if (strcmp(record->type, "discharged") == 0)
		return replay_discharge(replay, body, err);
	if (strcmp(record->type, "adopted") == 0)
		replay->run->adopted = true;
	if (strcmp(record->type, "commit") == 0)
		replay->run->committed = true;
	if (strcmp(record->type, "end") == 0)
		replay->run->ended = true;
	return FB_OK;
}

int
fb_run_replay(const struct fb_engine *engine, struct fb_repo *repo,
    const char *id, bool write, struct fb_run **ret_run,
    json_t **ret_checkpoint, struct fb_error *err)
{
	FB_AUTO_RUN struct fb_run *run = NULL;
	FB_AUTO_FREE char *path = NULL;
	struct replay replay = { 0 };
	int rc = fb_run_new(engine, repo, id, &run, err);

	if (rc < 0)
		return rc;
	path = fb_format("%s/journal", run->dir);
	replay.run = run;
	run->resumed = true;
	if (write)
		rc = fb_journal_open(
		    path, replay_record, &replay, &run->journal, err);
	else
		rc = fb_journal_read(path, replay_record, &replay, err);
	if (rc == FB_OK && !replay.begun)
		rc = fb_fail(err, FB_ENOTFOUND,
		    "run %s was cut off before it began", id);
	if (rc < 0) {
		json_decref(replay.checkpoint);
		return rc == FB_ENOTFOUND ? rc
		                          : fb_wrap(err, "run '%s'", id);
	}
	for (size_t i = 0; i < run->unit_count; i++)
		for (size_t k = 0; k < run->units[i].count; k++)
			if (run->jobs[run->units[i].jobs[k]].epoch >
			    run->units[i].epoch)
				run->units[i].epoch =
				    run->jobs[run->units[i].jobs[k]].epoch;
	for (size_t i = 0; i < run->job_count; i++) {
		run->jobs[i].owed_before = run->jobs[i].owes_start;
		run->jobs[i].owes_start = false;
	}
	*ret_run = FB_STEAL(run);
	if (ret_checkpoint != NULL)
		*ret_checkpoint = replay.checkpoint;
	else
		json_decref(replay.checkpoint);
	return FB_OK;
}

int
fb_run_unfinished(const struct fb_engine *engine,
    char (**ret_ids)[FB_RUN_ID_SIZE], size_t *ret_count, struct fb_error *err)
{
	FB_AUTO_FREE char *dir = fb_state_path(engine, "runs");
	FB_AUTO_LISTING char **names = NULL;
	char(*ids)[FB_RUN_ID_SIZE] = NULL;
	size_t count = 0;
	int rc = fb_io_list(dir, &names, err);

	if (rc < 0 && rc != FB_ENOTFOUND)
		return rc;
	for (char **name = names; name != NULL && *name != NULL; name++) {
		if (!fb_run_id_ok(*name, strlen(*name)))
			continue;
		ids = fb_realloc(ids, count + 1, sizeof(*ids));
		memcpy(ids[count++], *name, FB_RUN_ID_SIZE);
	}
	*ret_ids = ids;
	*ret_count = count;
	return FB_OK;
}

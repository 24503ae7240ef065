/*
 * A download in progress: facts to JSON and back.  Every byte of a manifest
 * comes from here, so that a resumed run writes the one it would have.
 * Spec: fleetbak-journal(5), "Records of a download".
 */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "run.h"

static json_t *
digest_json(const struct fb_digest *digest)
{
	char hex[FB_DIGEST_HEX_SIZE];

	fb_digest_hex(digest, hex);
	return json_string(hex);
}

static json_t *
error_json(const struct fb_error *error)
{
	return json_pack("{s:i, s:s, s:s, s:s}", "code", error->code, "id",
	    error->id, "message", error->msg, "hint", error->hint);
}

static json_t *
labels_json(const struct fb_labels *labels)
{
	json_t *object = json_object();

	for (size_t i = 0; i < labels->count; i++)
		(void)json_object_set_new(object, labels->items[i].key,
		    json_string(labels->items[i].value));
	return object;
}

static json_t *
volume_json(const struct fb_volume *volume)
{
	return json_pack("{s:s, s:s, s:I, s:s, s:b}", "name", volume->name,
	    "kind", fb_volume_kind_name(volume->kind), "size",
	    (json_int_t)volume->size, "method", volume->method,
	    "read_stopped", volume->read_stopped);
}

/* "plan": the machine as it was planned. */
static json_t *
plan_json(const struct fb_job *job)
{
	const struct fb_machine *machine = job->machine;
	json_t *volumes = json_array();
	json_t *body;

	for (size_t i = 0; i < machine->volume_count; i++)
		(void)json_array_append_new(
		    volumes, volume_json(&machine->volumes[i]));
	body = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s?, s:o, s:s, s:s, s:o, "
			 "s:I, s:I, s:o}",
	    "source", machine->source, "driver", machine->driver, "id",
	    machine->id, "name", machine->name, "role", machine->role,
	    "parent", machine->parent, "labels", labels_json(&machine->labels),
	    "power", fb_power_name(machine->power), "lifecycle",
	    fb_lifecycle_name(machine->lifecycle), "description",
	    digest_json(&machine->description), "stop_timeout_ms",
	    (json_int_t)machine->stop_timeout_ms, "start_timeout_ms",
	    (json_int_t)machine->start_timeout_ms, "volumes", volumes);
	if (machine->problem != NULL)
		(void)json_object_set_new(
		    body, "problem", error_json(machine->problem));
	return body;
}

/* "machine": a state it has entered. */
json_t *
fb_run_machine_json(const struct fb_job *job)
{
	json_t *body = json_pack("{s:s, s:s, s:I, s:s, s:s, s:s, s:I}",
	    "machine", job->name, "state",
	    fb_lifecycle_row(job->state)->name, "epoch",
	    (json_int_t)job->epoch, "token", job->token, "lifecycle",
	    fb_lifecycle_name(job->lifecycle), "snapshot_time",
	    job->snapshot_time, "downtime_ms", (json_int_t)job->downtime_ms);

	if (job->state == FB_MACHINE_FAILED)
		(void)json_object_set_new(body, "error", error_json(job->err));
	return body;
}

static json_t *
result_json(const struct fb_copy_result *result)
{
	json_t *body = json_pack("{s:I, s:I, s:I, s:I, s:I, s:o}", "size",
	    (json_int_t)result->size, "zero_bytes",
	    (json_int_t)result->zero_bytes, "new_bytes",
	    (json_int_t)result->new_bytes, "stored_bytes",
	    (json_int_t)result->stored_bytes, "serial",
	    (json_int_t)result->serial, "root", digest_json(&result->root));

	if (result->has_flat)
		(void)json_object_set_new(
		    body, "flat", digest_json(&result->flat));
	return body;
}

/* "volume": what has been captured of it. */
json_t *
fb_run_part_json(const struct fb_job *job, size_t index)
{
	const struct fb_part *part = &job->parts[index];
	json_t *body = json_pack("{s:s, s:s, s:I, s:I, s:I, s:b, s:o}",
	    "machine", job->name, "volume", part->volume->name, "epoch",
	    (json_int_t)job->epoch, "read_bytes",
	    (json_int_t)part->read_bytes, "changed_files",
	    (json_int_t)part->changed_files, "fuzzy", part->fuzzy, "result",
	    result_json(&part->result));

	if (part->token != NULL)
		(void)json_object_set_new(
		    body, "change_token", json_string(part->token));
	if (part->has_catalogue)
		(void)json_object_set_new(
		    body, "catalogue", result_json(&part->catalogue));
	return body;
}

static json_t *
sources_json(const struct fb_run *run)
{
	json_t *sources = json_array();

	for (size_t i = 0; i < run->source_count; i++)
		(void)json_array_append_new(sources,
		    json_pack("{s:s, s:s}", "source", run->sources[i].name,
		        "driver", run->sources[i].driver));
	return sources;
}

/* "run": what the run is. */
json_t *
fb_run_start_json(const struct fb_run *run)
{
	json_t *predecessors = json_array(), *body;

	for (size_t i = 0; i < run->predecessor_count; i++)
		(void)json_array_append_new(predecessors,
		    json_pack("{s:s, s:o}", "run", run->predecessors[i].run,
		        "manifest",
		        digest_json(&run->predecessors[i].manifest)));
	body = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, "
	                 "s:o, s:o}",
	    "run", run->id, "fleet", run->engine->config->fleet_name,
	    "repository", run->repo->format.repository, "started", run->started,
	    "host", run->host, "tool", run->tool, "config", run->config_digest,
	    "selection", run->selection_digest, "topology",
	    digest_json(&run->topology), "topology_selection",
	    digest_json(&run->topology_selection), "predecessors", predecessors,
	    "sources", sources_json(run));
	if (run->shard.of[0] != '\0')
		(void)json_object_set_new(body, "shard",
		    json_pack("{s:I, s:I, s:I, s:s, s:s}", "count",
		        (json_int_t)run->shard.count, "lease",
		        (json_int_t)run->lease, "number",
		        (json_int_t)run->shard.number, "of", run->shard.of,
		        "shared", run->shared));
	return body;
}

static int
append_new(struct fb_run *run, const char *type, json_t *body, bool durable,
    struct fb_error *err)
{
	int rc = fb_journal_append(run->journal, type, body, durable, err);

	json_decref(body);
	return rc;
}

static int
append_plan(struct fb_run *run, struct fb_error *err)
{
	int rc = append_new(run, "run", fb_run_start_json(run), false, err);

	for (size_t i = 0; rc == FB_OK && i < run->failure_count; i++)
		rc = append_new(run, "source",
		    json_pack("{s:s, s:o}", "source", run->failures[i].source,
		        "error", error_json(&run->failures[i].err)),
		    false, err);
	for (size_t i = 0; rc == FB_OK && i < run->job_count; i++)
		rc = append_new(
		    run, "plan", plan_json(&run->jobs[i]), false, err);
	for (size_t i = 0; rc == FB_OK && i < run->unit_count; i++)
		for (size_t k = 0; rc == FB_OK && k < run->units[i].count; k++)
			rc = append_new(run, "unit",
			    json_pack("{s:s, s:s}", "unit", run->units[i].name,
			        "machine",
			        run->jobs[run->units[i].jobs[k]].name),
			    false, err);
	if (rc == FB_OK)
		rc = append_new(run, "begin", json_object(), true, err);
	return rc;
}

int
fb_run_begin_journal(struct fb_run *run, struct fb_error *err)
{
	FB_AUTO_FREE char *spool = fb_format("%s/spool", run->dir);
	FB_AUTO_FREE char *path = fb_format("%s/journal", run->dir);
	int rc = fb_io_mkdirs(spool, 0700, err);

	if (rc == FB_OK)
		rc = fb_journal_create(path, &run->journal, err);
	if (rc == FB_OK)
		rc = append_plan(run, err);
	return rc;
}

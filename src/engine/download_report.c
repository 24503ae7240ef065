/*
 * What came of a run, for who asked for it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/mem.h"
#include "run.h"

static enum fb_result
result_of(const struct fb_run *run, const struct fb_job *job)
{
	if (job->state == FB_MACHINE_FAILED)
		return FB_RESULT_FAILED;
	return run->committed ? FB_RESULT_OK : FB_RESULT_SKIPPED;
}

static void
report_job(const struct fb_run *run, const struct fb_job *job,
    struct fb_download_report *report)
{
	struct fb_download_machine *machine =
	    &report->machines[report->machine_count++];

	*machine = (struct fb_download_machine){
		.machine = fb_strdup(job->name),
		.result = result_of(run, job),
		.err = fb_error_share(job->err),
		.downtime_ms = job->downtime_ms,
		.took_ms = job->took_ms,
		.level = fb_job_level(job),
		.resumed = job->resumed,
	};
	(void)snprintf(machine->time, sizeof(machine->time), "%s",
	    job->snapshot_time);
	for (size_t i = 0; i < job->machine->volume_count; i++) {
		const struct fb_part *part = &job->parts[i];

		machine->size += part->result.size;
		machine->read_bytes += part->read_bytes;
		machine->new_bytes +=
		    part->result.new_bytes + part->catalogue.new_bytes;
		machine->stored_bytes +=
		    part->result.stored_bytes + part->catalogue.stored_bytes;
		machine->changed_files += part->changed_files;
	}
	report->read_bytes += machine->read_bytes;
	report->new_bytes += machine->new_bytes;
	report->stored_bytes += machine->stored_bytes;
}

void
fb_run_report(const struct fb_run *run, struct fb_download_report *report)
{
	memcpy(report->run, run->id, sizeof(report->run));
	report->committed = run->committed;
	report->resumed = run->resumed;
	report->drift = run->drift;
	report->locks = run->locks;
	/* Who does several shards tells of all. */
	report->machines = fb_realloc(report->machines,
	    report->machine_count + run->job_count + 1,
	    sizeof(*report->machines));
	for (size_t i = 0; i < run->job_count; i++)
		report_job(run, &run->jobs[i], report);
	if (report->sources != NULL)
		return;
	report->sources =
	    fb_alloc(run->failure_count, sizeof(*report->sources));
	for (size_t i = 0; i < run->failure_count; i++)
		report->sources[report->source_count++] =
		    (struct fb_source_failure){
			    fb_strdup(run->failures[i].source),
			    run->failures[i].err,
		    };
}

void
fb_download_report_release(struct fb_download_report *report)
{
	for (size_t i = 0; i < report->machine_count; i++) {
		free(report->machines[i].machine);
		fb_error_drop(report->machines[i].err);
	}
	for (size_t i = 0; i < report->source_count; i++)
		free(report->sources[i].source);
	free(report->machines);
	free(report->sources);
	free(report->drift_text);
	*report = (struct fb_download_report){ 0 };
}

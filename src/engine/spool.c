/*
 * What a run has copied and not stored yet lies in the spool of its state
 * directory.  When it is gone, the run is given up; what it owes is not.
 */
#include <string.h>

#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"

#include "run.h"

static int
journal_checkpoint(void *arg, const json_t *state, struct fb_error *err)
{
	struct fb_run *run = arg;

	return fb_journal_append(run->journal, "checkpoint", state, true, err);
}

static int
open_copier(struct fb_run *run, const char *spool, const json_t *state,
    struct fb_error *err)
{
	FB_AUTO_FREE char *index = fb_state_path(
	    run->engine, "index/%s", run->repo->format.repository);
	struct fb_copier_spec spec = {
		.repo = run->repo,
		.session = &run->session,
		.spool_dir = spool,
		.index_dir = index,
		.level = run->engine->config->download.level,
		.upload = run->upload_rate,
		.hurry = run->engine->cancel,
		.checkpoint = journal_checkpoint,
		.arg = run,
	};

	fb_run_hear_warnings(run);
	return fb_copier_open(&spec, state, &run->copier, err);
}

static int
check_part(const struct fb_run *run, const struct fb_job *job, size_t part,
    bool catalogue, struct fb_error *err)
{
	char key[64];

	fb_run_copy_key(job, part, catalogue, key, sizeof(key));
	return fb_copier_holds(run->copier, key, err);
}

static bool
is_lost(int rc, const struct fb_error *err)
{
	return rc == FB_ECORRUPT && strcmp(err->id, "E-SPOOL") == 0;
}

/* A machine that is being copied copies again what is not there: a crash may
 * have undone it after the journal had it, and a later one have begun anew. */
static int
check_job(const struct fb_run *run, struct fb_job *job, struct fb_error *err)
{
	int rc = FB_OK;

	for (size_t k = 0; rc == FB_OK && k < job->machine->volume_count;
	     k++) {
		if (!job->parts[k].done)
			continue;
		rc = check_part(run, job, k, false, err);
		if (rc == FB_OK && job->parts[k].has_catalogue)
			rc = check_part(run, job, k, true, err);
		if (is_lost(rc, err) && fb_job_active(job)) {
			job->parts[k].done = job->parts[k].spooled = false;
			rc = FB_OK;
		}
	}
	return rc;
}

/* Is all there that the journal calls copied? */
static int
check_spool(const struct fb_run *run, struct fb_error *err)
{
	int rc = FB_OK;

	for (size_t i = 0; rc == FB_OK && i < run->job_count; i++)
		if (run->jobs[i].state != FB_MACHINE_FAILED)
			rc = check_job(run, &run->jobs[i], err);
	return rc;
}

/* Everything of it has failed, and the next run takes it again.  The journal
 * first: cut off here, it comes here again. */
static int
lose_spool(struct fb_run *run, const char *spool, struct fb_error *err)
{
	struct fb_error cause = *err;
	int rc = fb_run_fail_jobs(run, true, &cause, err);

	if (run->copier != NULL)
		fb_copier_close(FB_STEAL(run->copier));
	if (rc == FB_OK)
		rc = fb_io_remove_tree(spool, err);
	if (rc == FB_OK)
		rc = fb_io_mkdirs(spool, 0700, err);
	if (rc == FB_OK)
		rc = open_copier(run, spool, NULL, err);
	run->spool_lost = rc == FB_OK;
	return rc;
}

int
fb_run_open_copier(
    struct fb_run *run, const json_t *checkpoint, struct fb_error *err)
{
	FB_AUTO_FREE char *spool = fb_format("%s/spool", run->dir);
	int rc = fb_io_mkdirs(spool, 0700, err);

	if (rc == FB_OK)
		rc = open_copier(run, spool, checkpoint, err);
	if (rc == FB_OK && checkpoint != NULL)
		rc = check_spool(run, err);
	if (is_lost(rc, err))
		rc = lose_spool(run, spool, err);
	return rc;
}

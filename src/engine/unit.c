/*
 * One unit of a download, from wherever a crash left it to copied.
 */
#include <string.h>

#include "fleetbak/base/buf.h"
#include "fleetbak/base/text.h"
#include "run.h"

_Static_assert(FB_MACHINE_FAILED > FB_MACHINE_COPIED,
    "a machine that failed counts as one that nothing is left to do for");

/* Is there anything left to do for it before the commit? */
bool
fb_job_active(const struct fb_job *job)
{
	return job->state < FB_MACHINE_COPIED;
}

bool
fb_job_is_live(const struct fb_job *job)
{
	return job->lifecycle == FB_LIFECYCLE_SNAPSHOT_LIVE ||
	    job->lifecycle == FB_LIFECYCLE_PAUSE_IN_CREATE;
}

/* Its driver stops it for a moment; nobody in it was asked to be ready. */
static bool
is_paused(const struct fb_job *job)
{
	for (size_t i = 0; i < job->machine->volume_count; i++)
		if (strcmp(job->machine->volumes[i].method, "pause") == 0)
			return true;
	return false;
}

enum fb_level
fb_job_level(const struct fb_job *job)
{
	for (size_t i = 0; i < job->machine->volume_count; i++)
		if (job->parts[i].fuzzy)
			return FB_LEVEL_FUZZY;
	switch (job->lifecycle) {
	case FB_LIFECYCLE_PAUSE_IN_CREATE:
		return is_paused(job) ? FB_LEVEL_PAUSED : FB_LEVEL_FROZEN;
	case FB_LIFECYCLE_SNAPSHOT_LIVE:
		return FB_LEVEL_CRASH;
	case FB_LIFECYCLE_STOP_SNAPSHOT_START:
	case FB_LIFECYCLE_STOP_COPY_START:
	case FB_LIFECYCLE_READ_DOWN:
		break;
	}
	return FB_LEVEL_OFFLINE;
}

/* Is this volume captured, stopped (or live) or from the snapshot? */
bool
fb_job_captures(const struct fb_job *job, size_t part, bool stopped)
{
	const struct fb_volume *volume = job->parts[part].volume;

	return fb_volume_is_captured(volume) &&
	    (volume->read_stopped || strcmp(volume->method, "none") == 0) ==
	    stopped;
}

static bool
drained(const struct fb_job *job)
{
	for (size_t i = 0; i < job->machine->volume_count; i++)
		if (fb_job_captures(job, i, true) && !job->parts[i].done)
			return false;
	return true;
}

/* May the capture that a dead run began be used?  Its machine may be up
 * again: what counts is that the snapshot is whole and nothing is missing
 * that had to be read while it was stopped. */
static bool
adoptable(const struct fb_job *job)
{
	struct fb_error ignored = { 0 };

	/* Was it frozen?  Only who made it has heard. */
	if (job->state == FB_MACHINE_SNAPSHOTTING &&
	    job->lifecycle == FB_LIFECYCLE_PAUSE_IN_CREATE)
		return false;
	return job->state >= FB_MACHINE_SNAPSHOTTING && drained(job) &&
	    fb_driver_find_by_token(
	        job->driver, job->now, job->token, &ignored) == FB_OK;
}

static int
adopt(struct fb_run *run, struct fb_job *job, struct fb_error *err)
{
	int rc = FB_OK;

	if (job->state == FB_MACHINE_SNAPSHOTTING)
		rc = fb_run_adopt_snapshot(run, job, err);
	if (rc == FB_OK && job->state == FB_MACHINE_STARTING)
		rc = fb_run_state(run, job, FB_MACHINE_UP, true, err);
	return rc;
}

static int
begin_again(struct fb_run *run, struct fb_job *job, struct fb_error *err)
{
	struct fb_verb verb;
	int rc = FB_OK;

	if (job->token[0] != '\0') {
		fb_run_verb(run, job, 0, &verb);
		rc = fb_driver_remove_snapshot(
		    job->driver, job->now, &verb, err);
	}
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < job->machine->volume_count; i++)
		fb_part_reset(&job->parts[i]);
	job->token[0] = '\0';
	job->lifecycle = job->machine->lifecycle;
	job->unclean = job->unsure = false;
	job->down_since_ns = 0;
	job->downtime_ms = 0;
	return job->state == FB_MACHINE_PLANNED
	    ? FB_OK
	    : fb_run_state(run, job, FB_MACHINE_PLANNED, true, err);
}

static void
fail_or_stop(struct fb_run *run, struct fb_job *job, struct fb_error *cause)
{
	struct fb_error err = { 0 };

	if (cause->code != FB_ECANCELED &&
	    fb_run_fail(run, job, cause, &err) < 0)
		fb_run_fatal(run, &err);
}

/* A machine whose plan is refused, or that has gone since, fails here. */
static void
fail_impossible(struct fb_run *run, struct fb_job *job)
{
	struct fb_error err = { 0 };

	if (job->machine->problem != NULL)
		err = *job->machine->problem;
	else if (job->refused != NULL)
		err = *job->refused;
	else if (job->driver == NULL)
		(void)fb_fail_id(&err, FB_EUNREACH, "E-SRC-UNREACHABLE",
		    "its source cannot be asked");
	else if (job->now == NULL)
		(void)fb_fail_id(&err, FB_ENOTFOUND, "E-MACHINE-GONE",
		    "it has gone since the run began");
	else if (fb_digest_cmp(&job->now->description,
	             &job->machine->description) != 0)
		(void)fb_fail_id(&err, FB_ESTALE, "E-DRIFT",
		    "it has changed since the run began");
	if (err.code < 0)
		fail_or_stop(run, job, &err);
}

/*
 * Where does the unit stand?  All its captures are adopted, or, because a
 * unit has one quiescence window, all begin again.
 */
static int
take_stock(
    struct fb_run *run, size_t unit, bool *ret_window, struct fb_error *err)
{
	bool window = false;

	for (size_t i = 0; i < run->units[unit].count; i++) {
		struct fb_job *job = &run->jobs[run->units[unit].jobs[i]];

		if (fb_job_active(job))
			fail_impossible(run, job);
		if (fb_job_active(job) && !adoptable(job))
			window = true;
	}
	*ret_window = window;
	for (size_t i = 0; window && i < run->units[unit].count; i++) {
		struct fb_job *job = &run->jobs[run->units[unit].jobs[i]];

		if (job->state == FB_MACHINE_COPIED)
			fail_impossible(run, job); /* it has to be there too */
	}
	for (size_t i = 0; i < run->units[unit].count; i++) {
		struct fb_job *job = &run->jobs[run->units[unit].jobs[i]];
		int rc = FB_OK;

		if (!fb_job_active(job) &&
		    !(window && job->state == FB_MACHINE_COPIED))
			continue;
		rc = window ? begin_again(run, job, err) : adopt(run, job, err);
		if (rc == FB_ESYS || rc == FB_EBUG)
			return rc;
		if (rc < 0)
			fail_or_stop(run, job, err);
	}
	return FB_OK;
}

/* What the copier cannot keep is not the machine's fault: the run ends, and
 * the machine is copied when it is taken up again. */
static int
checkpoint(struct fb_run *run, struct fb_error *err)
{
	int rc = fb_copier_checkpoint(run->copier, err);

	if (rc == FB_OK)
		return FB_OK;
	fb_run_fatal(run, err);
	return fb_fail(err, FB_ECANCELED, "canceled");
}

static int
copy_job(struct fb_run *run, struct fb_job *job, struct fb_error *err)
{
	int rc = fb_run_state(run, job, FB_MACHINE_COPYING, false, err);

	for (size_t i = 0; rc == FB_OK && i < job->machine->volume_count; i++)
		if (fb_job_captures(job, i, false) && !job->parts[i].done)
			rc = fb_run_copy(run, job, i, 0, err);
	if (rc == FB_OK)
		rc = checkpoint(run, err);
	if (rc == FB_OK)
		rc = fb_run_state(run, job, FB_MACHINE_COPIED, true, err);
	return rc;
}

int
fb_run_unit(struct fb_run *run, size_t unit, struct fb_error *err)
{
	bool window = false;
	int rc = take_stock(run, unit, &window, err);

	if (rc == FB_OK && window)
		rc = fb_run_window(run, unit, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < run->units[unit].count; i++) {
		struct fb_job *job = &run->jobs[run->units[unit].jobs[i]];
		struct fb_error failure = { 0 };

		if (!fb_job_active(job) || fb_run_stopping(run))
			continue;
		if (copy_job(run, job, &failure) == FB_OK)
			fb_run_announce(run, job, FB_EVENT_MACHINE_COPIED);
		else
			fail_or_stop(run, job, &failure);
	}
	return FB_OK;
}

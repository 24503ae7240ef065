/*
 * The quiescence window of a unit: stop its machines, snapshot them, read
 * what no snapshot holds, start them again.  Whatever fails in between,
 * every machine that was up is started.
 */
#include <string.h>

#include "fleetbak/base/buf.h"
#include "fleetbak/base/clock.h"
#include "fleetbak/base/lock.h"
#include "fleetbak/base/mem.h"
#include "run.h"

/* The cap on downtime leaves at least this for a verb. */
#define VERB_MIN_MS 100

static bool
is_stopped_lifecycle(const struct fb_job *job)
{
	return job->lifecycle == FB_LIFECYCLE_STOP_SNAPSHOT_START ||
	    job->lifecycle == FB_LIFECYCLE_STOP_COPY_START;
}

static uint64_t
ms_since(int64_t mono_ns)
{
	return (uint64_t)(fb_clock_mono_ns() - mono_ns) / 1000000;
}

/* Time of the verb: its own limit, or what the cap on downtime leaves. */
static uint64_t
verb_timeout(uint64_t own_ms, int64_t deadline_ns)
{
	int64_t left_ms;

	if (deadline_ns == 0)
		return own_ms;
	left_ms = (deadline_ns - fb_clock_mono_ns()) / 1000000;
	if (left_ms < VERB_MIN_MS)
		left_ms = VERB_MIN_MS;
	return own_ms != 0 && own_ms < (uint64_t)left_ms ? own_ms
	                                                 : (uint64_t)left_ms;
}

static enum fb_power
observe(struct fb_run *run, struct fb_job *job, bool settle)
{
	struct fb_error ignored = { 0 };
	enum fb_power power = FB_POWER_UNKNOWN;
	struct fb_verb verb;

	fb_run_verb(run, job, job->machine->stop_timeout_ms, &verb);
	verb.token = "";
	verb.settle = settle;
	if (fb_driver_power_get(job->driver, job->now, &verb, &power,
	        &ignored) != FB_OK)
		return FB_POWER_UNKNOWN;
	return power;
}

/* Is it still as it was planned? */
static int
check_power(struct fb_run *run, struct fb_job *job, struct fb_error *err)
{
	struct fb_verb verb;
	enum fb_power power;
	int rc;

	if (job->lifecycle == FB_LIFECYCLE_SNAPSHOT_LIVE ||
	    job->lifecycle == FB_LIFECYCLE_PAUSE_IN_CREATE)
		return FB_OK;
	fb_run_verb(run, job, job->machine->stop_timeout_ms, &verb);
	verb.token = "";
	rc = fb_driver_power_get(job->driver, job->now, &verb, &power, err);
	if (rc < 0)
		return rc;
	if (power == FB_POWER_UNKNOWN)
		return fb_fail_id(err, FB_ECONFLICT, "E-POWER-UNKNOWN",
		    "it is not known whether it is up; it is not touched");
	if (power == FB_POWER_DOWN)
		job->lifecycle = FB_LIFECYCLE_READ_DOWN;
	else if (job->lifecycle == FB_LIFECYCLE_READ_DOWN)
		return fb_fail_id(err, FB_ECONFLICT, "E-POWER-CHANGED",
		    "it was down when this was planned and is up now");
	return FB_OK;
}

static int
stop_now(struct fb_run *run, struct fb_job *job, int64_t deadline_ns,
    struct fb_error *err)
{
	struct fb_verb verb;
	int rc = fb_obligation_begin(run->journal, job->name, err);

	if (rc == FB_OK)
		rc = fb_run_state(run, job, FB_MACHINE_STOPPING, true, err);
	if (rc < 0)
		return rc;
	job->owes_start = true;
	job->down_since_ns = fb_clock_mono_ns();
	fb_run_verb(run, job,
	    verb_timeout(job->machine->stop_timeout_ms, deadline_ns), &verb);
	rc = fb_driver_stop(job->driver, job->now, &verb, err);
	if (rc < 0 && observe(run, job, false) != FB_POWER_DOWN) {
		job->stop_failed = true;
		return rc;
	}
	return fb_run_state(run, job, FB_MACHINE_STOPPED, true, err);
}

static int
stop_job(struct fb_run *run, struct fb_job *job, int64_t deadline_ns,
    struct fb_error *err)
{
	/* Without what its records need nothing is begun. */
	int rc = fb_store_ready(run->repo->store, err);

	if (rc == FB_OK)
		rc = check_power(run, job, err);
	if (rc == FB_OK && is_stopped_lifecycle(job))
		rc = stop_now(run, job, deadline_ns, err);
	return rc;
}

/* Who made a snapshot is asked once more what it is worth: that waits no longer
 * than this, for its machine may be down. */
#define LOOK_UP_MS 60000

/* The answer was lost: is it there, and what did it say of its machine?  What
 * nobody says is not taken for good. */
static int
look_up_snapshot(struct fb_run *run, struct fb_job *job,
    const struct fb_verb *made, int64_t deadline_ns, struct fb_error *ret_live,
    int rc)
{
	struct fb_error ignored = { 0 };
	struct fb_verb verb;

	if ((rc != FB_EUNKNOWN && rc != FB_ETIMEOUT) ||
	    fb_driver_find_by_token(
	        job->driver, job->now, job->token, &ignored) < 0)
		return rc;
	(void)fb_fail(ret_live, FB_EUNKNOWN,
	    "it is not known whether it was frozen");
	fb_run_verb(run, job, verb_timeout(LOOK_UP_MS, deadline_ns), &verb);
	verb.will_start = made->will_start;
	verb.adopts = true;
	verb.for_backup = made->for_backup;
	verb.for_export = made->for_export;
	verb.ret_unclean = &job->unclean;
	if ((made->adopts ||
	        fb_driver_create_snapshot(
	            job->driver, job->now, &verb, &ignored) < 0) &&
	    job->lifecycle != FB_LIFECYCLE_SNAPSHOT_LIVE &&
	    job->lifecycle != FB_LIFECYCLE_PAUSE_IN_CREATE && !job->unclean)
		job->unclean = job->unsure = true;
	return FB_OK;
}

static int
make_snapshot(struct fb_run *run, struct fb_job *job, int64_t deadline_ns,
    bool adopts, struct fb_error *ret_live, struct fb_error *err)
{
	size_t count = job->now->volume_count;
	FB_AUTO_FREE const char **since = fb_alloc(count + 1, sizeof(*since));
	struct fb_verb verb;
	int rc;

	for (size_t i = 0; i < count; i++) {
		const struct fb_plan_past *past =
		    fb_job_past(job, &job->now->volumes[i]);

		since[i] = past != NULL ? past->token : NULL;
	}
	fb_run_verb(run, job, verb_timeout(0, deadline_ns), &verb);
	verb.will_start = job->owes_start && is_stopped_lifecycle(job);
	verb.adopts = adopts;
	verb.for_backup = true;
	verb.for_export = true;
	verb.ret_unclean = &job->unclean;
	if (job->lifecycle == FB_LIFECYCLE_PAUSE_IN_CREATE)
		verb.ret_live = ret_live;
	verb.since = since;
	rc = fb_driver_create_snapshot(job->driver, job->now, &verb, err);
	return look_up_snapshot(run, job, &verb, deadline_ns, ret_live, rc);
}

/* Its disks are worth what those of a live machine are. */
static void
note_unclean(struct fb_run *run, struct fb_job *job)
{
	struct fb_error why = { 0 };

	job->lifecycle = FB_LIFECYCLE_SNAPSHOT_LIVE;
	(void)fb_fail_id(&why, FB_ECONFLICT, "E-STOP-UNCLEAN",
	    "%s: what is captured is what a power cut leaves%s",
	    job->unsure
	        ? "it is not known whether it was shut down or cut off"
	        : "it was cut off instead of shut down",
	    job->unsure ? ", or better" : "");
	fb_run_notify(run,
	    &(struct fb_event){ .kind = FB_EVENT_WARNING,
	        .machine = job->name,
	        .error = &why });
}

static void
note_live(struct fb_run *run, struct fb_job *job, const struct fb_error *why)
{
	job->lifecycle = FB_LIFECYCLE_SNAPSHOT_LIVE;
	fb_run_notify(run,
	    &(struct fb_event){ .kind = FB_EVENT_WARNING,
	        .machine = job->name,
	        .error = why });
}

static int discharge(
    struct fb_run *run, struct fb_job *job, struct fb_error *err);

/* It is paused inside create_snapshot, and runs again when that is done; in
 * between it is owed like one that was stopped. */
static int
pause_begin(struct fb_run *run, struct fb_job *job, struct fb_error *err)
{
	int rc;

	if (job->lifecycle != FB_LIFECYCLE_PAUSE_IN_CREATE)
		return FB_OK;
	rc = fb_obligation_begin(run->journal, job->name, err);
	if (rc < 0)
		return rc;
	job->owes_start = true;
	job->down_since_ns = fb_clock_mono_ns();
	return FB_OK;
}

static int
pause_end(struct fb_run *run, struct fb_job *job,
    const struct fb_error *live, struct fb_error *err)
{
	if (job->lifecycle != FB_LIFECYCLE_PAUSE_IN_CREATE)
		return FB_OK;
	if (live->code < 0)
		note_live(run, job, live);
	else
		job->downtime_ms = ms_since(job->down_since_ns);
	return discharge(run, job, err);
}

static int
snapshot_job(struct fb_run *run, struct fb_job *job, int64_t deadline_ns,
    struct fb_error *err)
{
	struct fb_error live = { 0 };
	int rc;

	if (deadline_ns != 0 && fb_clock_mono_ns() > deadline_ns)
		return fb_fail_id(err, FB_ETIMEOUT, "E-DOWNTIME",
		    "max_downtime passed before its snapshot was taken");
	rc = fb_run_state(run, job, FB_MACHINE_SNAPSHOTTING, true, err);
	if (rc == FB_OK)
		rc = pause_begin(run, job, err);
	if (rc == FB_OK)
		rc = make_snapshot(run, job, deadline_ns, false, &live, err);
	if (rc == FB_OK)
		rc = pause_end(run, job, &live, err);
	if (rc < 0)
		return rc;
	fb_time_format_ms(fb_clock_wall_ns(), job->snapshot_time);
	if (job->unclean)
		note_unclean(run, job);
	return fb_run_state(run, job, FB_MACHINE_SNAPSHOTTED, true, err);
}

int
fb_run_adopt_snapshot(
    struct fb_run *run, struct fb_job *job, struct fb_error *err)
{
	struct fb_error live = { 0 };
	int rc = make_snapshot(run, job, 0, true, &live, err);

	if (rc < 0)
		return rc;
	fb_time_format_ms(fb_clock_wall_ns(), job->snapshot_time);
	if (job->unclean)
		note_unclean(run, job);
	return fb_run_state(run, job, FB_MACHINE_SNAPSHOTTED, true, err);
}

/* It was down and came up meanwhile: what was captured is that of a live
 * machine, and what was read without a snapshot may be torn.  Said before
 * anything relies on it. */
static int
record_came_up(struct fb_run *run, struct fb_job *job, struct fb_error *err)
{
	FB_AUTO_JSON json_t *body = NULL;
	int rc = FB_OK;

	job->lifecycle = FB_LIFECYCLE_SNAPSHOT_LIVE;
	for (size_t i = 0; rc == FB_OK && i < job->machine->volume_count;
	     i++) {
		FB_AUTO_JSON json_t *part = NULL;

		if (!job->parts[i].done)
			continue;
		job->parts[i].fuzzy = true;
		part = fb_run_part_json(job, i);
		rc = fb_journal_append(
		    run->journal, "volume", part, false, err);
	}
	if (rc < 0)
		return rc;
	body = fb_run_machine_json(job);
	return fb_journal_append(run->journal, "machine", body, true, err);
}

/* Read what no snapshot holds, now. */
static int
drain_job(struct fb_run *run, struct fb_job *job, int64_t deadline_ns,
    struct fb_error *err)
{
	bool began = false;

	for (size_t i = 0; i < job->machine->volume_count; i++) {
		int rc = FB_OK;

		if (!fb_job_captures(job, i, true))
			continue;
		if (!began)
			rc = fb_run_state(
			    run, job, FB_MACHINE_DRAINING, true, err);
		began = true;
		if (rc == FB_OK)
			rc = fb_run_copy(run, job, i, deadline_ns, err);
		if (rc < 0)
			return rc;
	}
	if ((job->lifecycle == FB_LIFECYCLE_READ_DOWN ||
	        (job->unclean && !job->owes_start)) &&
	    observe(run, job, false) == FB_POWER_UP)
		return record_came_up(run, job, err);
	return FB_OK;
}

static void
fail_job(struct fb_run *run, struct fb_job *job, struct fb_error *cause)
{
	struct fb_error err = { 0 };

	if (cause->code == FB_ECANCELED)
		return; /* a later run goes on with it */
	if (fb_run_fail(run, job, cause, &err) < 0)
		fb_run_fatal(run, &err);
}

/* A machine that failed may lie in any state: only the driver is asked. */
static int
start_verb(struct fb_run *run, struct fb_job *job, struct fb_error *err)
{
	struct fb_verb verb;
	int rc;

	fb_run_verb(run, job, job->machine->start_timeout_ms, &verb);
	rc = fb_driver_start(job->driver, job->now, &verb, err);
	if (rc < 0 && observe(run, job, false) == FB_POWER_UP)
		rc = FB_OK;
	if (rc < 0)
		return rc;
	job->downtime_ms = ms_since(job->down_since_ns);
	return FB_OK;
}

/* Record that it is up again.  How long it was down is known only now, and
 * the manifest says it of one that failed as well: its record is replaced. */
static int
discharge(struct fb_run *run, struct fb_job *job, struct fb_error *err)
{
	FB_AUTO_JSON json_t *body = NULL;
	int rc = fb_obligation_end(run->journal, job->name, "started", err);

	if (rc < 0)
		return rc;
	job->owes_start = job->owed_before = false;
	if (job->state != FB_MACHINE_FAILED)
		return FB_OK;
	body = fb_run_machine_json(job);
	return fb_journal_append(run->journal, "machine", body, false, err);
}

/* A journal that takes nothing more must not keep it down: what allows the
 * start is the obligation, and that is durable.  A machine that is up because
 * its stop failed may go down late: that it was looked at settles nothing
 * before the run ends. */
static int
start_job(struct fb_run *run, struct fb_job *job, struct fb_error *err)
{
	bool whole = job->state == FB_MACHINE_SNAPSHOTTED ||
	    job->state == FB_MACHINE_DRAINING;
	struct fb_error failure = { 0 };
	int rc = FB_OK;

	if (whole)
		rc = fb_run_state(run, job, FB_MACHINE_STARTING, true, err);
	if (start_verb(run, job, &failure) < 0) {
		*err = failure;
		return err->code;
	}
	if (rc == FB_OK && !job->stop_failed)
		rc = discharge(run, job, err);
	if (rc == FB_OK && whole)
		rc = fb_run_state(run, job, FB_MACHINE_UP, true, err);
	return rc;
}

/* Does what a stop began, and has not ended, live still?  *ret_who, which may
 * be NULL, says what that is. */
static bool
leaves_behind(
    const struct fb_run *run, const struct fb_job *job, struct fb_buf *ret_who)
{
	FB_AUTO_BUF struct fb_buf who = { 0 };

	if (job->stop_failed)
		fb_lock_add_holders(&who, run->children_fd);
	if (ret_who != NULL)
		fb_buf_add(ret_who, who.data, who.len);
	return who.len > 0;
}

/* What a stop that failed left behind may take the machine down yet: then it
 * stays owed, and the guardian waits for it. */
static int
check_left_behind(struct fb_run *run, struct fb_job *job, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf who = { 0 };

	if (!leaves_behind(run, job, &who))
		return FB_OK;
	run->leaves_guard = true;
	return fb_fail_id(err, FB_EBUSY, "E-CHILD-ALIVE",
	    "its stop has failed and what it left behind still lives (%s): it "
	    "is looked at again when that has ended",
	    fb_buf_str(&who));
}

static int
settle_job(struct fb_run *run, struct fb_job *job, struct fb_error *err)
{
	int rc = check_left_behind(run, job, err);
	enum fb_power power;

	if (rc < 0)
		return rc;
	power = observe(run, job, true);
	if (power == FB_POWER_UNKNOWN)
		return fb_fail_id(err, FB_ECONFLICT, "E-POWER-UNKNOWN",
		    "it is not known whether it is up; it is not started");
	if (power == FB_POWER_DOWN)
		rc = start_verb(run, job, err);
	return rc < 0 ? rc : discharge(run, job, err);
}

void
fb_run_settle(struct fb_run *run)
{
	for (size_t i = run->job_count; i-- > 0;) {
		struct fb_job *job = &run->jobs[i];
		struct fb_error err = { 0 };

		if (!job->owes_start || job->driver == NULL ||
		    job->now == NULL || settle_job(run, job, &err) == FB_OK)
			continue;
		(void)fb_hint(&err, "look at it, then: fleetbak recover");
		fb_run_notify(run,
		    &(struct fb_event){ .kind = FB_EVENT_WARNING,
		        .machine = job->name,
		        .error = &err });
	}
}

typedef int step_function(struct fb_run *run, struct fb_job *job,
    int64_t deadline_ns, struct fb_error *err);

/* One step for each machine of the unit, in stop order.  A machine whose
 * step fails leaves the window; the others go on. */
static void
take_step(struct fb_run *run, size_t unit, int64_t deadline_ns,
    step_function *step)
{
	for (size_t i = 0; i < run->units[unit].count; i++) {
		struct fb_job *job = &run->jobs[run->units[unit].jobs[i]];
		struct fb_error err = { 0 };

		if (!fb_job_active(job) || fb_run_stopping(run))
			continue;
		if (step(run, job, deadline_ns, &err) < 0)
			fail_job(run, job, &err);
	}
}

static void
start_all(struct fb_run *run, size_t unit)
{
	for (size_t i = run->units[unit].count; i-- > 0;) {
		struct fb_job *job = &run->jobs[run->units[unit].jobs[i]];
		struct fb_error err = { 0 };

		if (!job->owes_start)
			continue;
		if (start_job(run, job, &err) < 0) {
			(void)fb_hint(
			    &err, "look at it, then: fleetbak recover");
			fail_job(run, job, &err);
		}
	}
}

/* One that went down late is started now, not when all else has been copied.
 * Nothing is settled by that: its obligation stays until the run ends. */
static void
start_late(struct fb_run *run, size_t unit)
{
	for (size_t i = run->units[unit].count; i-- > 0;) {
		struct fb_job *job = &run->jobs[run->units[unit].jobs[i]];
		struct fb_error err = { 0 };

		if (!job->owes_start || !job->stop_failed ||
		    fb_run_stopping(run) || leaves_behind(run, job, NULL) ||
		    observe(run, job, true) != FB_POWER_DOWN ||
		    start_verb(run, job, &err) == FB_OK)
			continue;
		fb_run_notify(run,
		    &(struct fb_event){ .kind = FB_EVENT_WARNING,
		        .machine = job->name,
		        .error = &err });
	}
}

static void
open_epoch(struct fb_run *run, size_t unit)
{
	uint64_t epoch = ++run->units[unit].epoch;

	for (size_t i = 0; i < run->units[unit].count; i++) {
		struct fb_job *job = &run->jobs[run->units[unit].jobs[i]];
		FB_AUTO_FREE char *token = fb_format(
		    "%s.%llu", run->id, (unsigned long long)epoch);

		if (!fb_job_active(job))
			continue;
		job->epoch = epoch;
		memcpy(job->token, token, strlen(token) + 1);
	}
}

int
fb_run_window(struct fb_run *run, size_t unit, struct fb_error *err)
{
	uint64_t cap_ms = run->engine->config->download.max_downtime_ms;
	int64_t deadline_ns = cap_ms == 0
	    ? 0
	    : fb_clock_mono_ns() + (int64_t)cap_ms * 1000000;

	open_epoch(run, unit);
	take_step(run, unit, deadline_ns, stop_job);
	take_step(run, unit, deadline_ns, snapshot_job);
	take_step(run, unit, deadline_ns, drain_job);
	start_all(run, unit);
	start_late(run, unit);
	if (fb_run_stopping(run))
		return fb_fail(err, FB_ECANCELED, "canceled");
	return FB_OK;
}

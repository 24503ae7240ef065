/*
 * download: from the lock to the report.
 */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "shared.h"

#define CUT_OFF "E-CUT-OFF"

void
download_release(struct download *download)
{
	fb_plan_free(download->plan);
	fb_plan_free(download->agreed);
	fb_recover_report_release(&download->owed);
	fb_repo_close(download->repo);
	fb_closep(&download->children_fd);
	fb_closep(&download->lock_fd);
}

static void
warn(const struct fb_engine *engine, const char *machine,
    const struct fb_error *error)
{
	fb_observe(&engine->observer,
	    &(struct fb_event){ .kind = FB_EVENT_WARNING,
	        .machine = machine,
	        .error = error });
}

/* Known from the first write on. */
static void
warn_one_writer(const struct fb_engine *engine, const struct fb_run *run)
{
	struct fb_error only = { 0 };

	if (!fb_store_one_writer(run->repo->store))
		return;
	(void)fb_fail_id(&only, FB_EUNSUP, "E-STORE-ONE-WRITER",
	    "the server refuses conditional writes: only one host may write "
	    "to this repository at a time");
	warn(engine, NULL, &only);
}

/* Machines that an earlier run left stopped come first. */
int
download_meet_obligations(struct download *download, struct fb_error *err)
{
	struct fb_recover_request request = { 0 };
	struct fb_recover_report *report = &download->owed;
	int rc;

	fb_recover_report_release(report); /* of before, if any */
	rc = fb_recover(
	    download->engine, &request, download->children_fd, report, err);

	for (size_t i = 0; i < report->count; i++)
		if (report->items[i].err.code < 0)
			warn(download->engine, report->items[i].machine,
			    &report->items[i].err);
	return rc < 0 ? rc : fb_recover_clear(
	                          download->engine, download->repo, err);
}

static bool
is_still_owed(enum fb_recovery outcome)
{
	return outcome == FB_RECOVERY_FAILED ||
	    outcome == FB_RECOVERY_UNKNOWN || outcome == FB_RECOVERY_TOO_OLD;
}

/* A machine that an earlier run stopped and that is still down is not taken
 * for one that somebody wants to be down: it fails, until it is up. */
void
download_refuse_owed(struct download *download)
{
	struct fb_plan *plan = download->plan;

	for (size_t i = 0; i < plan->machine_count; i++) {
		struct fb_plan_machine *planned = &plan->machines[i];
		FB_AUTO_FREE char *name =
		    fb_format("%s/%s", planned->machine->source,
		        planned->machine->id);

		for (size_t k = 0; k < download->owed.count; k++) {
			const struct fb_recover_item *item =
			    &download->owed.items[k];
			struct fb_error why = { 0 };

			if (!is_still_owed(item->outcome) ||
			    strcmp(item->machine, name) != 0)
				continue;
			(void)fb_fail_id(&why, FB_EREFUSED, "E-OWED",
			    "machine '%s' was stopped by run %s and has not "
			    "come up again",
			    name, item->run);
			(void)fb_hint(
			    &why, "look at it, then: fleetbak recover");
			fb_plan_refuse(planned, &why);
		}
	}
}

static int
check_history(struct download *download, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_state_memory(
	    download->engine, download->repo->format.repository);
	const char *fleet = download->engine->config->fleet_name;
	bool known;
	int rc = fb_history_check(
	    download->repo, fleet, path, true, &known, err);

	if (rc != FB_EUNTRUSTED || strcmp(err->id, "E-ROLLBACK") != 0)
		return rc;
	if (!download->request->rollback) {
		err->hint[0] = '\0';
		return fb_hint(err,
		    "find out who removed runs or put an older copy back; "
		    "if it was meant, download --allow-rollback goes on with "
		    "what is there");
	}
	fb_observe(&download->engine->observer,
	    &(struct fb_event){ .kind = FB_EVENT_WARNING, .error = err });
	return fb_history_accept(download->repo, fleet, path, err);
}

int
download_prepare(struct download *download, struct fb_error *err)
{
	FB_AUTO_SIGN_KEY struct fb_sign_key *key = NULL;
	const struct fb_engine *engine = download->engine;
	const struct fb_config_repository *config =
	    fb_engine_repo_config(engine);
	int rc;

	if (config != NULL && config->copy_of != NULL) {
		(void)fb_fail_id(err, FB_EREFUSED, "E-COPY-OF",
		    "repository '%s' is a copy of '%s': nothing else goes "
		    "there", config->name, config->copy_of);
		return fb_hint(err, "take copy_of away when it is to take the "
				    "other's place");
	}
	rc = fb_engine_repo(engine, &download->repo, err);
	if (rc == FB_OK)
		rc = fb_engine_sign_key(engine, &key, err);
	if (rc == FB_OK)
		rc = fb_state_make(engine, err);
	if (rc < 0)
		return rc;
	download->lock_fd = fb_state_lock(engine, "download", err);
	if (download->lock_fd < 0)
		return download->lock_fd;
	download->children_fd = fb_state_children(engine, err);
	if (download->children_fd < 0)
		return download->children_fd;
	rc = check_history(download, err);
	if (rc == FB_OK && download->request->alone)
		rc = download_check_alone(download, err);
	if (rc == FB_OK)
		rc = download_meet_obligations(download, err);
	if (rc == FB_OK)
		rc = fb_engine_encrypt(engine, download->repo, err);
	return rc;
}

int
download_make_plan(struct download *download, struct fb_error *err)
{
	struct fb_download_request all = { 0 }, request = *download->request;
	const struct fb_plan *plan;
	int rc;

	request.shard =
	    download->part != NULL ? download->part->shard.number : 0;
	fb_plan_free(FB_STEAL(download->plan));
	rc = fb_plan_make(download->engine, download->repo,
	    request.resume != NULL ? &all : &request, &download->plan, err);
	if (rc < 0)
		return rc;
	plan = download->plan;
	if (download->part != NULL) /* a shard may have nothing to do */
		return FB_OK;
	if (plan->machine_count == 0 && plan->fleet.failure_count > 0) {
		*err = plan->fleet.failures[0].err; /* it names the source */
		return err->code;
	}
	if (plan->machine_count == 0)
		return fb_fail_id(err, FB_ECONFIG, "E-SEL-NONE",
		    "no source has any machine");
	return FB_OK;
}

static int
check_plan(const struct download *download, struct fb_error *err)
{
	const struct fb_plan *plan = download->plan;
	const char *wanted = download->request->plan;

	if (wanted != NULL && strcmp(wanted, plan->id) != 0) {
		(void)fb_fail_id(err, FB_ESTALE, "E-PLAN-STALE",
		    "the plan is now %s, not %s: machines, methods, power "
		    "states, topology or the newest run have changed",
		    plan->id, wanted);
		return fb_hint(err, "look again: fleetbak download --dry-run");
	}
	return FB_OK;
}

static int
check_space(const struct download *download, struct fb_error *err)
{
	const struct fb_plan *plan = download->plan;

	if (plan->space_bytes >= plan->need_bytes)
		return FB_OK;
	(void)fb_fail_id(err, FB_ENOSPACE, "E-SPACE",
	    "the repository has %llu MiB free and about %llu MiB are needed",
	    (unsigned long long)(plan->space_bytes >> 20),
	    (unsigned long long)(plan->need_bytes >> 20));
	return fb_hint(err, "free space there; nothing was touched");
}

/* The fleet once more, immediately before the first effect.  What cannot be
 * looked at, now or before, has not changed for all we know: that is trouble
 * of its own machines. */
static int
check_drift(const struct download *download, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf difference = { 0 };
	struct fb_drivers drivers = { 0 };
	struct fb_fleet fleet = { 0 };
	size_t changes = 0;
	int rc = fb_engine_discover(
	    download->engine, &drivers, &fleet, err);

	if (rc == FB_OK)
		changes = fb_topology_diff(
		    &download->plan->fleet, &fleet, &difference);
	fb_fleet_release(&fleet);
	fb_drivers_close(&drivers);
	if (rc < 0 || changes == 0)
		return rc;
	download->report->drift_text = fb_strdup(fb_buf_str(&difference));
	for (size_t i = 0; i < difference.len; i++)
		if (difference.data[i] == '\n')
			difference.data[i] = i + 1 < difference.len ? ';' : '\0';
	(void)fb_fail_id(err, FB_ESTALE, "E-DRIFT",
	    "the fleet changed while the run was being prepared: %s",
	    fb_buf_str(&difference));
	return fb_hint(err, "nothing was touched; run it again");
}

/* The fleet after the last snapshot, and the time: facts of the manifest. */
static int
record_finish(struct download *download, struct fb_run *run,
    struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf difference = { 0 };
	FB_AUTO_JSON json_t *body = NULL;
	struct fb_drivers drivers = { 0 };
	struct fb_fleet fleet = { 0 };
	char hex[FB_DIGEST_HEX_SIZE];
	int rc = fb_engine_discover(run->engine, &drivers, &fleet, err);

	if (rc == FB_OK) {
		fb_topology_digest(&fleet, false, &run->topology_after);
		run->drift = fb_digest_cmp(
		                 &run->topology, &run->topology_after) != 0;
		(void)fb_topology_diff(
		    &download->plan->fleet, &fleet, &difference);
	}
	fb_fleet_release(&fleet);
	fb_drivers_close(&drivers);
	if (rc < 0)
		return rc;
	free(FB_STEAL(download->report->drift_text)); /* of a closed run */
	if (difference.len > 0)
		download->report->drift_text =
		    fb_strdup(fb_buf_str(&difference));
	fb_time_format_ms(fb_clock_wall_ns(), run->finished);
	fb_digest_hex(&run->topology_after, hex);
	body = json_pack("{s:s, s:s, s:b}", "finished", run->finished,
	    "topology_after", hex, "drift", run->drift);
	return fb_journal_append(run->journal, "finish", body, true, err);
}

/* Journal the end; the run's directory is not needed any more. */
static int
end_run(struct fb_run *run, struct fb_error *err)
{
	FB_AUTO_JSON json_t *body = json_pack("{s:b}", "committed",
	    run->committed);
	struct fb_error ignored = { 0 };
	int rc;

	if (!run->committed)
		(void)!fb_session_end(run->repo, &run->session, &ignored);
	rc = fb_journal_append(run->journal, "end", body, true, err);
	run->ended = rc == FB_OK;
	if (rc < 0 || fb_run_holds(run)) /* it is still needed */
		return rc;
	fb_copier_close(FB_STEAL(run->copier));
	return fb_io_remove_tree(run->dir, err);
}

/* A shard tells of its machines whatever came of them: who seals must know. */
static bool
is_part(const struct fb_run *run)
{
	return run->shard.of[0] != '\0' && !run->fenced;
}

/* Best effort. */
static void
remember_run(struct download *download, const struct fb_run *run)
{
	FB_AUTO_FREE char *path = fb_state_memory(
	    download->engine, download->repo->format.repository);
	struct fb_error ignored = { 0 };
	int rc = check_history(download, &ignored);

	/* Above all this one, which a list may not show yet; but what was lost
	 * meanwhile is for the next run to find. */
	if (rc != FB_EUNTRUSTED && !is_part(run))
		(void)!fb_history_remember(download->repo,
		    download->engine->config->fleet_name, path, run->id,
		    &ignored);
}

static int
conclude(struct download *download, struct fb_run *run, struct fb_error *err)
{
	int rc = FB_OK;

	if (run->finished[0] == '\0')
		rc = record_finish(download, run, err);
	if (rc == FB_OK && !run->committed &&
	    (fb_run_any_succeeded(run) || is_part(run)))
		rc = fb_run_commit(run, err);
	if (rc == FB_OK && run->committed) {
		for (size_t i = 0; i < run->job_count; i++)
			if (run->jobs[i].state != FB_MACHINE_FAILED)
				fb_run_announce(run, &run->jobs[i],
				    FB_EVENT_MACHINE_OK);
		remember_run(download, run);
	}
	if (rc == FB_OK)
		rc = fb_run_release(run, err);
	if (rc == FB_OK)
		rc = end_run(run, err);
	return rc;
}

/* Carry a run out, fresh or cut off, under the eyes of its guardian. */
static int
carry_out(struct download *download, struct fb_run *run,
    const json_t *checkpoint, struct fb_error *err)
{
	const struct fb_engine *engine = download->engine;
	struct fb_guardian guardian = { -1, 0 };
	int rc = FB_OK;

	run->children_fd = download->children_fd;
	run->full = download->request->full;
	fb_run_bind(run, download->plan);
	if (engine->guardian_argv != NULL && fb_run_needs_guard(run))
		rc = fb_guardian_start(engine->guardian_argv, &guardian, err);
	if (rc == FB_OK)
		fb_run_take_over(run);
	/* The journal first: it is what remembers to end the session. */
	if (rc == FB_OK && run->journal == NULL)
		rc = fb_run_begin_journal(run, err);
	if (rc == FB_OK)
		rc = fb_session_begin(run->repo, run->id, "download",
		    engine->config->fleet_name, &run->session, err);
	warn_one_writer(engine, run);
	if (rc == FB_OK && is_part(run))
		rc = fb_mirror_start(run, err);
	if (rc == FB_OK && !run->committed)
		rc = fb_run_open_copier(run, checkpoint, err);
	fb_observe(&engine->observer,
	    &(struct fb_event){ .kind = FB_EVENT_RUN_START,
	        .text = run->id,
	        .total = download->plan->read_bytes });
	if (rc == FB_OK && !run->committed && run->finished[0] == '\0')
		rc = fb_run_units(run, download->request->jobs, err);
	if (rc == FB_OK)
		rc = conclude(download, run, err);
	fb_mirror_stop(run);
	if (rc == FB_OK && run->ended)
		(void)shared_part_end(run);
	if (run->leaves_guard)
		fb_guardian_leave(&guardian);
	fb_guardian_dismiss(&guardian);
	fb_observe(&engine->observer,
	    &(struct fb_event){ .kind = FB_EVENT_RUN_END, .text = run->id });
	return rc;
}

/* A cut-off run that is not continued: what it captured is committed as a
 * partial run, the rest fails. */
static int
close_run(struct download *download, struct fb_run *run,
    const json_t *checkpoint, struct fb_error *err)
{
	struct fb_error cause = { 0 };
	int rc;

	(void)fb_fail_id(&cause, FB_EFAILED, CUT_OFF,
	    "run %s was cut off before this machine was copied", run->id);
	rc = fb_run_fail_jobs(run, false, &cause, err);
	if (rc == FB_OK)
		rc = carry_out(download, run, checkpoint, err);
	if (rc == FB_OK && run->committed)
		memcpy(download->report->closed_run, run->id, sizeof(run->id));
	return rc;
}

/* Nothing of it is kept; what it owes is. */
static int
give_up_run(struct download *download, struct fb_run *run,
    const json_t *checkpoint, const struct fb_error *cause,
    struct fb_error *err)
{
	int rc = fb_run_fail_jobs(run, true, cause, err);

	if (rc == FB_OK)
		rc = carry_out(download, run, checkpoint, err);
	if (rc == FB_OK)
		warn(download->engine, NULL, cause);
	return rc;
}

/* Somebody began to close it: what it had not copied has failed for good. */
static bool
was_being_closed(const struct fb_run *run)
{
	for (size_t i = 0; i < run->job_count; i++)
		if (run->jobs[i].state == FB_MACHINE_FAILED &&
		    strcmp(run->jobs[i].err->id, CUT_OFF) == 0)
			return true;
	return false;
}

/* All machines failed in it and it is over but for its commit: going on with
 * it would only tell old failures, and a new run tries again. */
static bool
holds_only_failures(const struct fb_run *run)
{
	bool failed = false;

	if (run->finished[0] == '\0')
		return false; /* it tries again itself */
	for (size_t i = 0; i < run->job_count; i++)
		if (run->jobs[i].state == FB_MACHINE_FAILED)
			failed = true;
		else if (!fb_job_active(&run->jobs[i]))
			return false;
	return failed;
}

static bool
is_continued(const struct download *download, const struct fb_run *run)
{
	char config[FB_DIGEST_HEX_SIZE], selection[FB_DIGEST_HEX_SIZE];

	if (download->request->resume != NULL)
		return strcmp(download->request->resume, run->id) == 0;
	if (download->request->anew || was_being_closed(run) ||
	    holds_only_failures(run))
		return false;
	if (is_part(run) != (download->part != NULL))
		return false;
	fb_run_config_digest(download->engine, config);
	fb_run_selection_digest(download->plan, selection);
	return strcmp(config, run->config_digest) == 0 &&
	    strcmp(selection, run->selection_digest) == 0 &&
	    download_is_young(download, run);
}

/* A run that ended, but could not remove a snapshot or start a machine. */
static int
release_ended(struct download *download, struct fb_run *run,
    struct fb_error *err)
{
	int rc;

	run->children_fd = download->children_fd;
	fb_run_bind(run, download->plan);
	rc = fb_run_release(run, err);
	/* The word first: without the directory nobody would say it. */
	if (rc == FB_OK && shared_part_end(run) && !fb_run_holds(run))
		rc = fb_io_remove_tree(run->dir, err);
	return rc;
}

/* It was cut off before it did anything. */
static int
forget_run(struct download *download, const char *id, struct fb_error *err)
{
	FB_AUTO_FREE char *dir = fb_state_path(download->engine, "runs/%s", id);

	return fb_io_remove_tree(dir, err);
}

/* To close a run makes a newer one: the plan would be stale behind it. */
static int
refuse_planned(const char *id, struct fb_error *err)
{
	(void)fb_fail_id(err, FB_ESTALE, "E-PLAN-STALE",
	    "run %s was cut off and has to be ended first, which the plan "
	    "does not hold; nothing was touched", id);
	return fb_hint(err, "go on with it: fleetbak download --resume %s; "
	                    "then plan again", id);
}

int
download_take_up(struct download *download, const char *id, bool *ret_done,
    bool *ret_closed, struct fb_error *err)
{
	FB_AUTO_RUN struct fb_run *run = NULL;
	FB_AUTO_JSON json_t *checkpoint = NULL;
	struct fb_error cause = { 0 };
	bool fenced = false;
	int rc = fb_run_replay(download->engine, download->repo, id, true,
	    &run, &checkpoint, err);

	if (rc == FB_ENOTFOUND)
		return forget_run(download, id, err);
	if (rc == FB_ECONFLICT) { /* of another repository: not ours to end */
		warn(download->engine, NULL, err);
		return FB_OK;
	}
	if (rc < 0)
		return fb_hint(err, "its packs are kept; to give it up, move "
				    "runs/%s out of the state directory",
		    id);
	if (run->ended)
		return release_ended(download, run, err);
	if (!run->committed)
		rc = fb_run_check_fence(run, &fenced, &cause, err);
	if (rc == FB_OK && is_part(run) && !run->committed && !fenced)
		rc = shared_part_committed(run, err);
	if (rc < 0)
		return rc;
	run->fenced = fenced;
	if (fenced) {
		*ret_closed = true;
		return give_up_run(download, run, checkpoint, &cause, err);
	}
	if (is_part(run) && !run->committed && download_leaves(download, run))
		return FB_OK;
	*ret_closed = !is_continued(download, run);
	if (*ret_closed && download->request->plan != NULL)
		return refuse_planned(id, err);
	if (*ret_closed)
		return run->committed
		    ? carry_out(download, run, checkpoint, err)
		    : close_run(download, run, checkpoint, err);
	if (!run->committed && run->finished[0] == '\0')
		rc = fb_run_retry_failed(run, err);
	if (rc == FB_OK)
		rc = carry_out(download, run, checkpoint, err);
	/* What it had is lost: a new one, unless it was asked for. */
	*ret_closed = rc == FB_OK && run->spool_lost && !is_part(run) &&
	    download->request->resume == NULL &&
	    download->request->plan == NULL;
	if (*ret_closed)
		return FB_OK;
	*ret_done = true;
	fb_run_report(run, download->report);
	return rc;
}

static int
refuse_unknown(const char *id, struct fb_error *err)
{
	(void)fb_fail_id(err, FB_ECONFIG, "E-RUN-UNKNOWN",
	    "there is no unfinished run '%s' of this fleet", id);
	return fb_hint(err, "see: fleetbak status");
}

/* All of them, oldest first; with --resume that one and no other. */
int
download_take_up_all(struct download *download, bool *ret_done,
    bool *ret_closed, struct fb_error *err)
{
	const char *wanted = download->request->resume;
	FB_AUTO_FREE void *owned = NULL;
	char(*ids)[FB_RUN_ID_SIZE] = NULL;
	size_t count = 0;
	int rc = fb_run_unfinished(download->engine, &ids, &count, err);

	owned = ids;
	for (size_t i = 0; rc == FB_OK && i < count && !*ret_done; i++) {
		bool closed = false;

		if (wanted != NULL && strcmp(wanted, ids[i]) != 0)
			continue;
		rc = download_take_up(download, ids[i], ret_done, &closed, err);
		*ret_closed |= closed;
	}
	if (rc == FB_OK && wanted != NULL && !*ret_done)
		rc = refuse_unknown(wanted, err);
	return rc;
}

int
download_new_run(struct download *download, const struct download_part *part,
    struct fb_error *err)
{
	FB_AUTO_RUN struct fb_run *run = NULL;
	char id[FB_RUN_ID_SIZE];
	int rc = check_space(download, err);

	if (rc == FB_OK)
		rc = check_drift(download, err);
	if (rc < 0)
		return rc;
	if (part != NULL)
		memcpy(id, part->session, sizeof(id));
	else
		fb_run_number(download->engine, download->plan, id);
	rc = fb_run_new(download->engine, download->repo, id, &run, err);
	if (rc < 0)
		return rc;
	fb_time_format_ms(fb_clock_wall_ns(), run->started);
	fb_run_adopt_plan(run, download->plan);
	if (part != NULL)
		download_take_part(run, part);
	rc = carry_out(download, run, NULL, err);
	fb_run_report(run, download->report);
	return rc;
}

static int
run_download(struct download *download, struct fb_error *err)
{
	bool done = false, closed = false;
	int rc = download_prepare(download, err);

	if (rc == FB_OK && download->request->shared != NULL)
		return download_shared(download, err);
	if (rc == FB_OK)
		rc = download_make_plan(download, err);
	if (rc == FB_OK)
		rc = check_plan(download, err);
	if (rc < 0)
		return rc;
	download_refuse_owed(download);
	rc = download_take_up_all(download, &done, &closed, err);
	if (rc < 0 || done)
		return rc;
	if (closed) { /* the newest run is another one now */
		rc = download_make_plan(download, err);
		if (rc == FB_OK)
			rc = check_plan(download, err);
		if (rc == FB_OK)
			download_refuse_owed(download);
	}
	if (rc == FB_OK)
		rc = download_new_run(download, NULL, err);
	return rc;
}

int
fb_download(const struct fb_engine *engine,
    const struct fb_download_request *request,
    struct fb_download_report *report, struct fb_error *err)
{
	AUTO_DOWNLOAD struct download download = { .engine = engine,
		.request = request,
		.report = report,
		.lock_fd = -1,
		.children_fd = -1,
		.began_ns = fb_clock_mono_ns() };
	int rc = run_download(&download, err);

	report->elapsed_ms =
	    (uint64_t)(fb_clock_mono_ns() - download.began_ns) / 1000000;
	return rc;
}

/*
 * A download that does shards of a run which several workers share.
 */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "shared.h"

bool
download_is_young(const struct download *download, const struct fb_run *run)
{
	uint64_t within_ms =
	    download->engine->config->download.resume_within_ms;
	struct fb_error ignored = { 0 };
	int64_t started_ns = 0, age_ms;

	if (fb_time_parse(run->started, &started_ns, &ignored) < 0)
		return false;
	/* Begun in the future: its age is not known, and it may be old. */
	age_ms = (fb_clock_wall_ns() - started_ns) / 1000000;
	return age_ms >= -FB_CLOCK_SLACK_NS / 1000000 &&
	    age_ms <= (int64_t)within_ms;
}

/* A shard that this download is not about: whoever is told to do it goes on
 * with it, here or elsewhere, as long as it is young. */
bool
download_leaves(const struct download *download, const struct fb_run *run)
{
	const struct download_part *part = download->part;

	if (download->request->resume != NULL)
		return false;
	if (part != NULL)
		return strcmp(part->shard.of, run->shard.of) != 0 ||
		    part->shard.number != run->shard.number;
	return download_is_young(download, run);
}

/* All shards follow the same runs. */
void
download_take_part(struct fb_run *run, const struct download_part *part)
{
	run->shard = part->shard;
	run->lease = part->lease;
	memcpy(run->shared, part->shared, sizeof(run->shared));
	free(run->predecessors);
	run->predecessor_count = part->predecessor_count;
	run->predecessors =
	    fb_alloc(part->predecessor_count, sizeof(*run->predecessors));
	for (size_t i = 0; i < part->predecessor_count; i++)
		run->predecessors[i] = part->predecessors[i];
}

/* A session of another configuration cannot be looked after: a machine whose
 * source is not known here is not gone. */
static int
check_sources(const struct download *download, const struct fb_run *run,
    struct fb_error *err)
{
	const struct fb_config *config = download->engine->config;

	for (size_t i = 0; i < run->job_count; i++) {
		const char *source = run->jobs[i].machine->source;
		size_t s = 0;

		while (s < config->source_count &&
		    strcmp(config->sources[s].name, source) != 0)
			s++;
		if (s < config->source_count)
			continue;
		(void)fb_fail_id(err, FB_ECONFIG, "E-SHARD-SOURCE",
		    "session %s has left something of source '%s', which is "
		    "not configured here",
		    run->id, source);
		return fb_hint(err, "do it where that source is configured");
	}
	return FB_OK;
}

/* Or its source does not answer, and it may be: that fails by itself. */
static bool
is_seen(const struct fb_fleet *fleet, const struct fb_machine *machine)
{
	for (size_t i = 0; i < fleet->failure_count; i++)
		if (strcmp(fleet->failures[i].source, machine->source) == 0)
			return true;
	return fb_fleet_find(fleet, machine->source, machine->id) != NULL;
}

/* Nor is a machine that is not seen from here, as on a host with a disk less,
 * or a connection. */
static int
check_seen(const struct download *download, const struct fb_fleet *fleet,
    struct fb_run *run, struct fb_error *err)
{
	int rc = FB_OK;

	for (size_t i = 0; rc == FB_OK && i < run->job_count; i++) {
		struct fb_job *job = &run->jobs[i];

		if (!fb_job_holds(job) || is_seen(fleet, job->machine))
			continue;
		if (download->request->count_gone) {
			rc = fb_job_give_up(run, job, err);
			continue;
		}
		(void)fb_fail_id(err, FB_ECONFIG, "E-SHARD-SOURCE",
		    "session %s has left something of machine '%s', which is "
		    "not seen from here",
		    run->id, job->name);
		return fb_hint(err,
		    "do it where that machine is seen; if it is gone for "
		    "good: --force");
	}
	return rc;
}

/* Can it be done here, whatever it is that the session has left? */
static int
check_session(
    const struct download *download, const char *session, struct fb_error *err)
{
	FB_AUTO_RUN struct fb_run *run = NULL;
	struct fb_drivers drivers = { 0 };
	struct fb_fleet fleet = { 0 };
	int rc = fb_run_replay(download->engine, download->repo, session,
	    download->request->count_gone, &run, NULL, err);

	if (rc < 0) /* not found: it did nothing */
		return rc == FB_ENOTFOUND ? FB_OK : rc;
	rc = check_sources(download, run, err);
	if (rc < 0 || !run->adopted || !fb_run_holds(run))
		return rc;
	rc = fb_engine_discover(download->engine, &drivers, &fleet, err);
	if (rc == FB_OK) {
		rc = check_seen(download, &fleet, run, err);
		fb_fleet_release(&fleet);
		fb_drivers_close(&drivers);
	}
	return rc;
}

/* It is in the repository; what this node has begun itself stays. */
static int
drop_adopted(
    const struct download *download, const char *session, struct fb_error *err)
{
	FB_AUTO_FREE char *dir = NULL;
	FB_AUTO_RUN struct fb_run *run = NULL;
	int rc = fb_run_replay(download->engine, download->repo, session, false,
	    &run, NULL, err);

	if (rc < 0 || !run->adopted)
		return rc;
	dir = fb_state_path(download->engine, "runs/%s", session);
	return fb_io_remove_tree(dir, err);
}

static int
for_those_here(const struct download *download, const struct shared *shared,
    uint32_t shard, uint32_t epoch,
    int (*visit)(const struct download *, const char *, struct fb_error *),
    struct fb_error *err)
{
	struct fb_error ignored = { 0 };
	int rc = FB_OK;

	for (uint32_t e = 1; rc == FB_OK && e <= epoch; e++) {
		char session[FB_RUN_ID_SIZE];

		if (shared_lease_session(shared, shard, e, session, &ignored) ==
		        FB_OK &&
		    shared_is_here(shared, session))
			rc = visit(download, session, err);
	}
	return rc;
}

/* What others have begun is not kept here when it cannot be done here. */
static int
check_left(const struct download *download, const struct shared *shared,
    uint32_t shard, const struct shared_left *left, struct fb_error *err)
{
	struct fb_error ignored = { 0 };
	int rc = for_those_here(
	    download, shared, shard, left->epoch, check_session, err);

	if (rc < 0 && !left->ours)
		(void)!for_those_here(download, shared, shard, left->epoch,
		    drop_adopted, &ignored);
	return rc;
}

/* What those who had the shard have left: machines come up, snapshots go. */
static int
look_after(struct download *download, const struct shared *shared,
    uint32_t shard, bool take_over, struct fb_error *err)
{
	struct shared_left left = { .epoch = 0 };
	bool done = false, closed = false;
	int rc = shared_claim_left(shared, shard, take_over, &left, err);

	if (rc < 0 || left.epoch == 0)
		return rc;
	rc = check_left(download, shared, shard, &left, err);
	if (rc == FB_OK)
		rc = download_meet_obligations(download, err);
	if (rc == FB_OK)
		rc = download_make_plan(download, err);
	for (uint32_t e = 1; rc == FB_OK && e <= left.epoch; e++) {
		char session[FB_RUN_ID_SIZE];

		rc = shared_lease_session(shared, shard, e, session, err);
		if (rc == FB_OK && shared_is_here(shared, session))
			rc = download_take_up(
			    download, session, &done, &closed, err);
		if (rc == FB_ENOTFOUND)
			rc = FB_OK;
	}
	return rc < 0 ? rc : shared_settle(shared, shard, left.epoch, err);
}

static int
look_after_all(struct download *download, const struct shared *shared,
    bool take_over, uint32_t *ret_left, struct fb_error *err)
{
	int rc = FB_OK;

	for (uint32_t k = 1; rc == FB_OK && k <= shared->shards; k++)
		rc = look_after(download, shared, k, take_over, err);
	return rc < 0 ? rc : shared_tidy(shared, ret_left, err);
}

int
fb_shared_look_after(const struct fb_engine *engine, const char *name,
    bool take_over, bool count_gone, uint32_t *ret_left, struct fb_error *err)
{
	struct fb_download_request request = { .take_over = take_over,
		.count_gone = count_gone };
	struct fb_download_report report = { 0 };
	AUTO_DOWNLOAD struct download download = { .engine = engine,
		.request = &request,
		.report = &report,
		.lock_fd = -1,
		.children_fd = -1 };
	AUTO_SHARED struct shared shared = { 0 };
	int rc = download_prepare(&download, err);

	if (rc == FB_OK)
		rc = shared_open(engine, download.repo, name, &shared, err);
	if (rc == FB_OK)
		rc = look_after_all(
		    &download, &shared, take_over, ret_left, err);
	fb_download_report_release(&report);
	return rc;
}

/* The machines of the shard are those that were agreed on, but for a source
 * that does not answer now. */
static bool
selects_same(const struct fb_plan *agreed, const struct fb_plan *plan,
    const struct fb_shard_ref *shard)
{
	size_t wanted = 0, selected = 0;

	for (size_t i = 0; i < agreed->units.count; i++) {
		const struct fb_unit *unit = &agreed->units.items[i];
		bool ours = fb_shard_of(unit->name, shard->count) ==
		    shard->number;

		for (size_t k = 0; ours && k < unit->count; k++) {
			const struct fb_machine *then =
			    &agreed->fleet.machines[unit->members[k]];
			const struct fb_machine *now = fb_fleet_find(
			    &plan->fleet, then->source, then->id);

			wanted += now != NULL;
		}
	}
	for (size_t i = 0; i < plan->fleet.count; i++)
		selected += plan->fleet.machines[i].selected;
	return wanted == selected;
}

/* The plan of the part is of what was agreed on, or the shard could never be
 * joined with the others.  What cannot be looked at just now has not changed
 * for all we know, and fails. */
static int
plan_part(struct download *download, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf difference = { 0 };
	struct fb_plan *plan;
	int rc = download_make_plan(download, err);

	if (rc < 0)
		return rc;
	plan = download->plan;
	if (fb_topology_diff(
	        &download->agreed->fleet, &plan->fleet, &difference) > 0 ||
	    !selects_same(download->agreed, plan, &download->part->shard)) {
		(void)fb_fail_id(err, FB_ESTALE, "E-SHARD-TOPOLOGY",
		    "the fleet has changed since the shared run was begun");
		return fb_hint(err, "run it again under another name");
	}
	plan->topology = download->agreed->topology;
	plan->topology_selection = download->agreed->topology_selection;
	download_refuse_owed(download);
	return FB_OK;
}

/* It has done nothing and remembers nothing: nobody has to wait for it. */
static void
give_back(const struct shared *shared, const struct download_part *part)
{
	struct fb_error ignored = { 0 };
	bool committed;

	if (!shared_is_here(shared, part->session) &&
	    fb_repo_fence(shared->repo, part->session,
	        "its worker could not begin", &committed, &ignored) == FB_OK)
		(void)!shared_settle(
		    shared, part->shard.number, part->lease, &ignored);
}

/* The shard is ours: first what whoever had it left behind, then itself. */
static int
do_part(struct download *download, const struct shared *shared,
    const struct download_part *part, struct fb_error *err)
{
	bool done = false, closed = false;
	int rc;

	download->part = part;
	rc = download_meet_obligations(download, err);
	if (rc == FB_OK)
		rc = plan_part(download, err);
	if (rc == FB_OK)
		rc = download_take_up_all(download, &done, &closed, err);
	if (rc == FB_OK && closed && !done)
		rc = plan_part(download, err);
	if (rc == FB_OK)
		rc = shared_settle(
		    shared, part->shard.number, part->lease - 1, err);
	if (rc == FB_OK && !done)
		rc = download_new_run(download, part, err);
	if (rc < 0)
		give_back(shared, part);
	download->part = NULL;
	return rc;
}

struct found {
	const char *session;
	struct fb_run_ref ref;
};

static int
find_record(const struct fb_run_ref *run, void *arg, struct fb_error *err)
{
	struct found *found = arg;

	(void)err;
	if (strcmp(run->session, found->session) != 0)
		return FB_OK;
	found->ref = *run;
	found->ref.predecessors = NULL;
	found->ref.predecessor_count = 0;
	return FB_OK;
}

/* It was committed before: who is asked for it now says how that went.  In a
 * run that was sealed meanwhile its worker has said so. */
static int
note_failures(struct download *download, const struct shared *shared,
    uint32_t number, struct fb_error *err)
{
	FB_AUTO_MANIFEST struct fb_manifest *manifest = NULL;
	struct shared_lease lease;
	struct found found = { .session = lease.session };
	int rc = shared_look(shared, number, &lease, err);

	if (rc == FB_OK && lease.committed)
		rc = fb_repo_kept_runs(download->repo, find_record, &found, err);
	if (rc < 0 || found.ref.session[0] == '\0')
		return rc;
	rc = fb_manifest_open(
	    download->repo, &found.ref, false, NULL, &manifest, err);
	if (rc == FB_OK && fb_manifest_get_head(manifest)->partial)
		download->report->shards_partial++;
	return rc == FB_ENOTFOUND ? FB_OK : rc;
}

static int
do_shard(struct download *download, const struct shared *shared,
    uint32_t number, struct fb_error *err)
{
	struct download_part part = { .lease = 0 };
	bool committed;
	int rc = shared_claim(shared, number, download->request->take_over,
	    &part, &committed, err);

	if (rc < 0)
		return rc;
	if (!committed)
		return do_part(download, shared, &part, err);
	rc = look_after(
	    download, shared, number, download->request->take_over, err);
	return rc < 0 ? rc : note_failures(download, shared, number, err);
}

/* Who sees that all are there seals; who does not leaves it to the others. */
static int
try_seal(struct download *download, const struct shared *shared,
    struct fb_error *err)
{
	struct fb_download_report *report = download->report;
	struct fb_shared_status status = { .shards = 0 };
	struct fb_error why = { 0 };
	int rc = fb_seal(
	    download->engine, download->repo, shared->name, &status, err);

	if (rc == FB_EREFUSED && strcmp(err->id, "E-SHARDS-MISSING") == 0) {
		report->shards_missing = status.shards - status.committed;
		return FB_OK;
	}
	if (rc < 0)
		return rc;
	memcpy(report->sealed, status.run, sizeof(report->sealed));
	/* Of the others: that it fails is no failure of what was asked, and
	 * nobody said that they are dead. */
	if (status.left > 0)
		rc = look_after_all(
		    download, shared, false, &status.left, &why);
	if (rc < 0 && rc != FB_ECANCELED) {
		fb_observe(&download->engine->observer,
		    &(struct fb_event){
		        .kind = FB_EVENT_WARNING, .error = &why });
		return FB_OK;
	}
	if (rc < 0)
		*err = why;
	return rc;
}

int
download_shared(struct download *download, struct fb_error *err)
{
	const struct fb_download_request *request = download->request;
	AUTO_SHARED struct shared shared = { 0 };
	uint32_t first = request->shard > 0 ? request->shard : 1;
	uint32_t last = request->shard > 0 ? request->shard : request->shards;
	int rc = download_make_plan(download, err);

	if (rc == FB_OK)
		rc = shared_agree(download->engine, download->repo,
		    download->plan, request, &shared, err);
	if (rc < 0)
		return rc;
	download->agreed = FB_STEAL(download->plan);
	for (uint32_t k = first; rc == FB_OK && k <= last; k++)
		rc = do_shard(download, &shared, k, err);
	return rc < 0 ? rc : try_seal(download, &shared, err);
}

/*
 * A download that does shards of a run which several workers share.
 */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
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
		rc = download_make_plan(download, err);
	if (rc == FB_OK) {
		download_refuse_owed(download);
		rc = download_take_up_all(download, &done, &closed, err);
	}
	if (rc == FB_OK && closed && !done) {
		rc = download_make_plan(download, err);
		if (rc == FB_OK)
			download_refuse_owed(download);
	}
	if (rc == FB_OK)
		rc =
		    shared_settle(shared, part->shard.number, part->lease, err);
	if (rc == FB_OK && !done)
		rc = download_new_run(download, part, err);
	download->part = NULL;
	return rc;
}

static int
do_shard(struct download *download, const struct shared *shared,
    uint32_t number, struct fb_error *err)
{
	struct download_part part = { .lease = 0 };
	bool committed;
	int rc = shared_claim(shared, number, download->request->take_over,
	    &part, &committed, err);

	return rc < 0 || committed ? rc : do_part(download, shared, &part, err);
}

/* Who sees that all are there seals; who does not leaves it to the others. */
static int
try_seal(struct download *download, const struct shared *shared,
    struct fb_error *err)
{
	struct fb_download_report *report = download->report;
	struct fb_shared_status status = { .shards = 0 };
	int rc = fb_seal(
	    download->engine, download->repo, shared->name, &status, err);

	if (rc == FB_EREFUSED && strcmp(err->id, "E-SHARDS-MISSING") == 0) {
		report->shards_missing = status.shards - status.committed;
		return FB_OK;
	}
	if (rc == FB_OK)
		memcpy(report->sealed, status.run, sizeof(report->sealed));
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
	for (uint32_t k = first; rc == FB_OK && k <= last; k++)
		rc = do_shard(download, &shared, k, err);
	return rc < 0 ? rc : try_seal(download, &shared, err);
}

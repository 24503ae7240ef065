/*
 * Which unit of a run is carried out when.  The units of each source wait in
 * a line of their own, in order; the next one is taken from the source that
 * has the fewest under way, of those that bear one more.  So a source that is
 * slow, or busy, holds up its own units and no others.
 */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/group.h"
#include "fleetbak/base/mem.h"
#include "run.h"

struct lane {
	size_t *units; /* those of this source alone, in order */
	size_t count, next;
	unsigned running;
	unsigned limit; /* 0: none */
};

/* A unit, and the lanes of its machines, each once. */
struct waiting {
	size_t *lanes;
	size_t count;
	bool taken;
};

/* Guarded by run->lock, once the threads run. */
struct schedule {
	struct fb_run *run;
	struct lane *lanes; /* by configured source; the last: not configured */
	size_t lane_count;
	struct waiting *units;
	size_t *mixed; /* units over several sources, in order */
	size_t mixed_count;
};

static size_t
lane_of(const struct fb_run *run, const struct fb_job *job)
{
	const struct fb_config *config = run->engine->config;
	size_t s = 0;

	while (s < config->source_count &&
	    strcmp(job->machine->source, config->sources[s].name) != 0)
		s++;
	return s;
}

/* `seen` has room for a mark of each lane: the last unit that is in it. */
static void
find_lanes(struct schedule *schedule, size_t unit, size_t *seen)
{
	const struct fb_run *run = schedule->run;
	struct waiting *waiting = &schedule->units[unit];

	waiting->lanes =
	    fb_alloc(run->units[unit].count, sizeof(*waiting->lanes));
	for (size_t i = 0; i < run->units[unit].count; i++) {
		size_t lane = lane_of(run, &run->jobs[run->units[unit].jobs[i]]);

		if (seen[lane] == unit + 1)
			continue;
		seen[lane] = unit + 1;
		waiting->lanes[waiting->count++] = lane;
	}
}

static void
line_up(struct schedule *schedule, size_t unit)
{
	const struct waiting *waiting = &schedule->units[unit];
	struct lane *lane = &schedule->lanes[waiting->lanes[0]];

	if (waiting->count == 1)
		lane->units[lane->count++] = unit;
	else
		schedule->mixed[schedule->mixed_count++] = unit;
}

static void
schedule_init(struct schedule *schedule, struct fb_run *run)
{
	const struct fb_config *config = run->engine->config;
	FB_AUTO_FREE size_t *seen = NULL;

	schedule->run = run;
	schedule->lane_count = config->source_count + 1;
	schedule->lanes =
	    fb_alloc(schedule->lane_count, sizeof(*schedule->lanes));
	schedule->units = fb_alloc(run->unit_count, sizeof(*schedule->units));
	schedule->mixed = fb_alloc(run->unit_count, sizeof(*schedule->mixed));
	seen = fb_alloc(schedule->lane_count, sizeof(*seen));
	for (size_t i = 0; i < run->unit_count; i++) {
		find_lanes(schedule, i, seen);
		schedule->lanes[schedule->units[i].lanes[0]].count++;
	}
	for (size_t s = 0; s < schedule->lane_count; s++) {
		struct lane *lane = &schedule->lanes[s];

		lane->units = fb_alloc(lane->count, sizeof(*lane->units));
		lane->count = 0;
		lane->limit =
		    s < config->source_count ? config->sources[s].jobs : 0;
	}
	for (size_t i = 0; i < run->unit_count; i++)
		line_up(schedule, i);
}

static void
schedule_release(struct schedule *schedule)
{
	for (size_t s = 0; s < schedule->lane_count; s++)
		free(schedule->lanes[s].units);
	for (size_t i = 0; i < schedule->run->unit_count; i++)
		free(schedule->units[i].lanes);
	free(schedule->lanes);
	free(schedule->units);
	free(schedule->mixed);
}

/* What its busiest source has under way; false when one bears no more. */
static bool
weigh(const struct schedule *schedule, size_t unit, unsigned *ret_running)
{
	const struct waiting *waiting = &schedule->units[unit];

	*ret_running = 0;
	for (size_t i = 0; i < waiting->count; i++) {
		const struct lane *lane = &schedule->lanes[waiting->lanes[i]];

		if (lane->limit != 0 && lane->running >= lane->limit)
			return false;
		if (lane->running > *ret_running)
			*ret_running = lane->running;
	}
	return true;
}

/* The better of it and *unit, if it can be carried out at all. */
static void
prefer(const struct schedule *schedule, size_t candidate, size_t *unit,
    unsigned *running)
{
	unsigned now;

	if (!weigh(schedule, candidate, &now))
		return;
	if (*unit == SIZE_MAX || now < *running ||
	    (now == *running && candidate < *unit)) {
		*unit = candidate;
		*running = now;
	}
}

/* SIZE_MAX: none can be carried out now; *ret_left: are there others? */
static size_t
choose(const struct schedule *schedule, bool *ret_left)
{
	size_t unit = SIZE_MAX;
	unsigned running = 0;

	*ret_left = false;
	for (size_t s = 0; s < schedule->lane_count; s++) {
		const struct lane *lane = &schedule->lanes[s];

		if (lane->next == lane->count)
			continue;
		*ret_left = true;
		prefer(schedule, lane->units[lane->next], &unit, &running);
	}
	for (size_t i = 0; i < schedule->mixed_count; i++) {
		if (schedule->units[schedule->mixed[i]].taken)
			continue;
		*ret_left = true;
		prefer(schedule, schedule->mixed[i], &unit, &running);
	}
	return unit;
}

static void
take(struct schedule *schedule, size_t unit)
{
	struct waiting *waiting = &schedule->units[unit];

	waiting->taken = true;
	if (waiting->count == 1)
		schedule->lanes[waiting->lanes[0]].next++;
	for (size_t i = 0; i < waiting->count; i++)
		schedule->lanes[waiting->lanes[i]].running++;
}

/* Wait for a unit that can be carried out; false when there is none left. */
static bool
next_unit(struct schedule *schedule, size_t *ret_unit)
{
	struct fb_run *run = schedule->run;
	size_t unit = SIZE_MAX;
	bool left = true;

	(void)pthread_mutex_lock(&run->lock);
	while (unit == SIZE_MAX && left && !fb_run_stopping_locked(run)) {
		unit = choose(schedule, &left);
		if (unit != SIZE_MAX)
			take(schedule, unit);
		else if (left)
			(void)pthread_cond_wait(&run->changed, &run->lock);
	}
	(void)pthread_mutex_unlock(&run->lock);
	*ret_unit = unit;
	return unit != SIZE_MAX;
}

static void
unit_ended(struct schedule *schedule, size_t unit)
{
	const struct waiting *waiting = &schedule->units[unit];

	(void)pthread_mutex_lock(&schedule->run->lock);
	for (size_t i = 0; i < waiting->count; i++)
		schedule->lanes[waiting->lanes[i]].running--;
	(void)pthread_cond_broadcast(&schedule->run->changed);
	(void)pthread_mutex_unlock(&schedule->run->lock);
}

static int
work(void *arg, struct fb_error *err)
{
	struct schedule *schedule = arg;
	size_t unit;

	while (next_unit(schedule, &unit)) {
		int rc = fb_run_unit(schedule->run, unit, err);

		unit_ended(schedule, unit);
		if (rc < 0 && rc != FB_ECANCELED)
			fb_run_fatal(schedule->run, err);
	}
	return FB_OK;
}

int
fb_run_units(struct fb_run *run, unsigned jobs, struct fb_error *err)
{
	struct fb_group *group = fb_group_new();
	struct schedule schedule = { 0 };
	int rc;

	schedule_init(&schedule, run);
	if (jobs == 0)
		jobs = run->engine->config->download.jobs;
	for (unsigned i = 0; i < jobs && i < run->unit_count; i++)
		fb_group_start(group, work, &schedule);
	rc = fb_group_wait(group, err);
	schedule_release(&schedule);
	fb_run_settle(run);
	if (rc == FB_OK)
		rc = fb_run_save_kept(run, err);
	if (rc == FB_OK && run->fatal.code < 0) {
		*err = run->fatal;
		rc = err->code;
	}
	if (rc == FB_OK && fb_run_stopping(run)) {
		(void)fb_fail_id(err, FB_ECANCELED, "E-INTERRUPTED",
		    "run %s was interrupted; what it has copied is kept",
		    run->id);
		rc = fb_hint(err, "fleetbak download --resume %s (the next "
				  "plain download does the same)",
		    run->id);
	}
	return rc;
}

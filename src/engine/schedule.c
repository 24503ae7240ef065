/*
 * Which unit of a run is carried out when: units in order, as many at a time
 * as there are jobs, and as each source bears.
 */
#include <string.h>

#include "fleetbak/base/group.h"
#include "run.h"

/* Slots of the sources of a unit's machines, with run->lock held. */
static bool
take_slots(struct fb_run *run, size_t unit, int by)
{
	const struct fb_config *config = run->engine->config;

	for (size_t s = 0; s < config->source_count; s++)
		for (size_t k = 0; k < run->units[unit].count; k++) {
			const struct fb_job *job =
			    &run->jobs[run->units[unit].jobs[k]];

			if (strcmp(job->machine->source,
			        config->sources[s].name) != 0)
				continue;
			if (by == 0 && config->sources[s].jobs != 0 &&
			    run->source_jobs[s] >= config->sources[s].jobs)
				return false;
			run->source_jobs[s] += (unsigned)by;
			break;
		}
	return true;
}

/* The next unit whose sources have room; false when there is none left.  A
 * slot is taken only for a unit that is carried out: others wait for it. */
static bool
next_unit(struct fb_run *run, size_t *ret_unit)
{
	bool found = false;

	(void)pthread_mutex_lock(&run->lock);
	while (!found && run->next_unit < run->unit_count &&
	    !fb_run_stopping_locked(run)) {
		found = take_slots(run, run->next_unit, 0);
		if (found) {
			(void)take_slots(run, run->next_unit, 1);
			*ret_unit = run->next_unit++;
		} else {
			(void)pthread_cond_wait(&run->changed, &run->lock);
		}
	}
	(void)pthread_mutex_unlock(&run->lock);
	return found;
}

static int
work(void *arg, struct fb_error *err)
{
	struct fb_run *run = arg;
	size_t unit;

	while (next_unit(run, &unit)) {
		int rc = fb_run_unit(run, unit, err);

		(void)pthread_mutex_lock(&run->lock);
		(void)take_slots(run, unit, -1);
		(void)pthread_cond_broadcast(&run->changed);
		(void)pthread_mutex_unlock(&run->lock);
		if (rc < 0 && rc != FB_ECANCELED)
			fb_run_fatal(run, err);
	}
	return FB_OK;
}

int
fb_run_units(struct fb_run *run, unsigned jobs, struct fb_error *err)
{
	struct fb_group *group = fb_group_new();
	int rc;

	if (jobs == 0)
		jobs = run->engine->config->download.jobs;
	for (unsigned i = 0; i < jobs && i < run->unit_count; i++)
		fb_group_start(group, work, run);
	rc = fb_group_wait(group, err);
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

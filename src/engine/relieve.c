/*
 * Snapshots that dead runs have left, and what these may do to machines that
 * run.  A source is asked only when there is one, and its driver knows of such
 * harm.
 */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/mem.h"
#include "owed.h"
#include "run.h"

#define VERB_TIMEOUT_MS 60000 /* of a source that says nothing */

struct left {
	char *source, *id; /* of the machine */
	char token[FB_NAME_MAX + 1];
	char run[FB_RUN_ID_SIZE];
};

struct left_list {
	struct left *items;
	size_t count;
};

static void
left_release(struct left_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		free(list->items[i].source);
		free(list->items[i].id);
	}
	free(list->items);
}

static bool
relieves(const struct fb_engine *engine, const char *source)
{
	const struct fb_config *config = engine->config;

	for (size_t i = 0; i < config->source_count; i++) {
		const struct fb_driver_ops *ops;

		if (strcmp(config->sources[i].name, source) != 0)
			continue;
		ops = fb_driver_find(config->sources[i].driver);
		return ops != NULL && ops->relieve != NULL;
	}
	return false;
}

static void
add_left(struct left_list *list, const struct fb_run *run,
    const struct fb_job *job)
{
	struct left *left;

	list->items = fb_realloc(
	    list->items, list->count + 1, sizeof(*list->items));
	left = &list->items[list->count++];
	*left = (struct left){ .source = fb_strdup(job->machine->source),
		.id = fb_strdup(job->machine->id) };
	memcpy(left->token, job->token, sizeof(left->token));
	memcpy(left->run, run->id, sizeof(left->run));
}

/* One whose journal cannot be read is said so with what it owes. */
static void
scan_run(const struct fb_engine *engine, const char *id,
    struct left_list *list)
{
	FB_AUTO_RUN struct fb_run *run = NULL;
	struct fb_error ignored = { 0 };

	if (fb_run_replay(engine, NULL, id, false, &run, NULL, &ignored) < 0)
		return;
	for (size_t i = 0; i < run->job_count; i++)
		if (fb_job_has_snapshot(&run->jobs[i]) &&
		    relieves(engine, run->jobs[i].machine->source))
			add_left(list, run, &run->jobs[i]);
}

static bool
any_relieves(const struct fb_engine *engine)
{
	for (size_t i = 0; i < engine->config->source_count; i++)
		if (relieves(engine, engine->config->sources[i].name))
			return true;
	return false;
}

static int
scan(const struct fb_engine *engine, struct left_list *list,
    struct fb_error *err)
{
	FB_AUTO_FREE void *owned = NULL;
	char(*ids)[FB_RUN_ID_SIZE] = NULL;
	size_t count = 0;
	int rc = any_relieves(engine)
	    ? fb_run_unfinished(engine, &ids, &count, err)
	    : FB_OK;

	owned = ids;
	for (size_t i = 0; rc == FB_OK && i < count; i++)
		scan_run(engine, ids[i], list);
	return rc;
}

struct relief {
	const struct fb_engine *engine;
	int children_fd;
	struct fb_drivers drivers;
	struct fb_fleet fleet;
	struct fb_recover_report *report;
};

static struct fb_recover_item *
report_left(const struct relief *relief, const struct left *left,
    enum fb_recovery outcome)
{
	FB_AUTO_FREE char *name = fb_format("%s/%s", left->source, left->id);

	return owed_report(relief->report, name, left->run, outcome);
}

/* Its source did not answer: then nobody knows. */
static bool
is_silent(const struct relief *relief, const struct left *left,
    struct fb_error *err)
{
	for (size_t i = 0; i < relief->fleet.failure_count; i++)
		if (strcmp(relief->fleet.failures[i].source, left->source) ==
		    0) {
			*err = relief->fleet.failures[i].err;
			return true;
		}
	return false;
}

/* Of a machine that is gone, or that another node sees, nothing is here. */
static void
relieve(struct relief *relief, const struct left *left)
{
	const struct fb_machine *machine =
	    fb_fleet_find(&relief->fleet, left->source, left->id);
	struct fb_driver *driver = fb_engine_driver(
	    relief->engine, &relief->drivers, left->source);
	struct fb_verb verb = { .token = left->token,
		.timeout_ms = VERB_TIMEOUT_MS,
		.lock_fd = relief->children_fd };
	struct fb_error err = { 0 };
	bool done = false;

	if (!is_silent(relief, left, &err) && machine != NULL &&
	    driver != NULL)
		(void)!fb_driver_relieve(driver, machine, &verb, &done, &err);
	if (err.code < 0)
		report_left(relief, left, FB_RECOVERY_BURDENED)->err = err;
	else if (done)
		(void)report_left(relief, left, FB_RECOVERY_RELIEVED);
}

static int
ask_sources(struct relief *relief, const struct left_list *list,
    struct fb_error *err)
{
	const struct fb_config *config = relief->engine->config;
	FB_AUTO_FREE bool *wanted =
	    fb_alloc(config->source_count, sizeof(*wanted));
	struct fb_engine undeterred = *relief->engine;

	undeterred.cancel = NULL;
	for (size_t i = 0; i < list->count; i++)
		for (size_t s = 0; s < config->source_count; s++)
			wanted[s] |= strcmp(config->sources[s].name,
			                 list->items[i].source) == 0;
	return fb_engine_discover_only(
	    &undeterred, wanted, &relief->drivers, &relief->fleet, err);
}

int
fb_recover_relieve(const struct fb_engine *engine, int children_fd,
    struct fb_recover_report *report, struct fb_error *err)
{
	FB_CLEANUP(left_release) struct left_list list = { 0 };
	struct relief relief = { .engine = engine,
		.children_fd = children_fd,
		.report = report };
	int rc = scan(engine, &list, err);

	if (rc < 0 || list.count == 0)
		return rc;
	rc = ask_sources(&relief, &list, err);
	for (size_t i = 0; rc == FB_OK && i < list.count; i++)
		relieve(&relief, &list.items[i]);
	fb_fleet_release(&relief.fleet);
	fb_drivers_close(&relief.drivers);
	return rc;
}

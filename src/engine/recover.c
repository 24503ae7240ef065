/*
 * Meeting obligations.  For each, in the order in which machines start:
 * observe; record what is about to happen; start; observe; record.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/format/json.h"
#include "owed.h"

#define VERB_TIMEOUT_MS 60000 /* of a machine that says nothing */

struct recovery {
	const struct fb_engine *engine;
	bool force;
	int children_fd;
	struct fb_drivers drivers;
	struct fb_fleet fleet;
	struct fb_recover_report *report;
};

/* "source/id" in two; the caller frees. */
static char *
split_machine(const char *machine, const char **ret_id)
{
	char *source = fb_strdup(machine);
	char *slash = strchr(source, '/');

	*slash = '\0';
	*ret_id = slash + 1;
	return source;
}

static struct fb_machine *
find_machine(const struct recovery *recovery, const char *machine)
{
	const char *id;
	FB_AUTO_FREE char *source = split_machine(machine, &id);

	return fb_fleet_find(&recovery->fleet, source, id);
}

static bool
is_configured(const struct fb_engine *engine, const char *source)
{
	for (size_t i = 0; i < engine->config->source_count; i++)
		if (strcmp(engine->config->sources[i].name, source) == 0)
			return true;
	return false;
}

/* Record the end of an obligation in the journal that owes it. */
static int
discharge(const struct owed *owed, const char *how, struct fb_error *err)
{
	FB_AUTO_JOURNAL struct fb_journal *journal = NULL;
	int rc = fb_journal_open(owed->journal, NULL, NULL, &journal, err);

	return rc < 0 ? rc
	              : fb_obligation_end(journal, owed->machine, how, err);
}

static void
settle_owed(struct fb_recover_item *item, const struct owed *owed,
    enum fb_recovery outcome, const char *how)
{
	item->outcome =
	    discharge(owed, how, &item->err) < 0 ? FB_RECOVERY_FAILED : outcome;
}

static struct fb_verb
make_verb(const struct recovery *recovery, const struct fb_machine *machine,
    const char *token)
{
	return (struct fb_verb){ .token = token,
		.timeout_ms = machine->start_timeout_ms > 0
		    ? machine->start_timeout_ms
		    : VERB_TIMEOUT_MS,
		.lock_fd = recovery->children_fd };
}

static enum fb_power
observe(const struct recovery *recovery, struct fb_driver *driver,
    const struct fb_machine *machine, struct fb_error *err)
{
	struct fb_verb verb = make_verb(recovery, machine, "");
	enum fb_power power;

	verb.settle = true;
	if (fb_driver_power_get(driver, machine, &verb, &power, err) != FB_OK)
		return FB_POWER_UNKNOWN;
	return power;
}

/* Durable before the start: a crash in between is seen by the next one. */
static int
record_start(
    const struct owed *owed, const char *token, struct fb_error *err)
{
	FB_AUTO_JOURNAL struct fb_journal *journal = NULL;
	FB_AUTO_JSON json_t *body = json_pack(
	    "{s:s,s:s}", "machine", owed->machine, "token", token);
	int rc = fb_journal_open(owed->journal, NULL, NULL, &journal, err);

	return rc < 0 ? rc
	              : fb_journal_append(
	                    journal, "recovering", body, true, err);
}

static void
start_machine(const struct recovery *recovery, struct fb_driver *driver,
    const struct fb_machine *machine, const struct owed *owed,
    struct fb_recover_item *item)
{
	FB_AUTO_FREE char *token = fb_format("recover-%s", owed->run);
	struct fb_verb verb = make_verb(recovery, machine, token);
	struct fb_error ignored = { 0 };
	int rc = record_start(owed, token, &item->err);

	if (rc == FB_OK)
		rc = fb_driver_start(driver, machine, &verb, &item->err);
	/* Whatever it answered: what counts is whether the machine runs. */
	if (rc != FB_OK &&
	    observe(recovery, driver, machine, &ignored) != FB_POWER_UP) {
		item->outcome = FB_RECOVERY_FAILED;
		(void)fb_wrap(&item->err, "machine '%s'", owed->machine);
		return;
	}
	item->err = (struct fb_error){ 0 };
	settle_owed(item, owed, FB_RECOVERY_STARTED, "started");
}

static void
meet_machine(const struct recovery *recovery, struct fb_driver *driver,
    const struct fb_machine *machine, const struct owed *owed,
    struct fb_recover_item *item)
{
	enum fb_power power;

	if (machine->problem != NULL &&
	    strcmp(machine->problem->id, "E-TOPO-DUPLICATE") == 0) {
		item->err = *machine->problem; /* which one is it? */
		return;
	}
	power = observe(recovery, driver, machine, &item->err);
	if (power == FB_POWER_UP)
		settle_owed(item, owed, FB_RECOVERY_SEEN_UP, "seen-up");
	else if (power == FB_POWER_DOWN && !recovery->force &&
	    owed_too_old(recovery->engine, owed))
		item->outcome = FB_RECOVERY_TOO_OLD;
	else if (power == FB_POWER_DOWN)
		start_machine(recovery, driver, machine, owed, item);
	else if (item->err.code == FB_OK)
		(void)fb_fail_id(&item->err, FB_EUNKNOWN, "E-POWER-UNKNOWN",
		    "machine '%s' does not say whether it is up or down",
		    owed->machine);
}

/* Its source did not answer, or is not configured any more. */
static bool
meet_silent_source(const struct recovery *recovery, const struct owed *owed,
    struct fb_recover_item *item)
{
	const char *id;
	FB_AUTO_FREE char *source = split_machine(owed->machine, &id);

	for (size_t i = 0; i < recovery->fleet.failure_count; i++)
		if (strcmp(recovery->fleet.failures[i].source, source) == 0) {
			item->err = recovery->fleet.failures[i].err;
			return true;
		}
	if (is_configured(recovery->engine, source))
		return false;
	(void)fb_fail(&item->err, FB_ECONFIG,
	    "source '%s' is not configured any more", source);
	(void)fb_hint(&item->err, "'fleetbak recover --force' gives it up");
	if (recovery->force)
		settle_owed(item, owed, FB_RECOVERY_GONE, "given-up");
	return true;
}

/* The machine of another node is not gone for not being seen from here. */
static void
meet_unseen(const struct recovery *recovery, const struct owed *owed,
    struct fb_recover_item *item)
{
	if (!owed->adopted || recovery->force) {
		settle_owed(item, owed, FB_RECOVERY_GONE,
		    owed->adopted ? "given-up" : "gone");
		return;
	}
	(void)fb_fail_id(&item->err, FB_ECONFIG, "E-SHARD-SOURCE",
	    "machine '%s' was stopped by another node, and is not seen from "
	    "this one",
	    owed->machine);
	(void)fb_hint(&item->err,
	    "start it where it is seen; if it is gone for good: fleetbak "
	    "recover --force");
}

static void
meet(const struct recovery *recovery, const struct owed *owed)
{
	struct fb_recover_item *item = owed_report(recovery->report,
	    owed->machine, owed->run, FB_RECOVERY_UNKNOWN);
	const struct fb_machine *machine;
	const char *id;
	FB_AUTO_FREE char *source = split_machine(owed->machine, &id);
	struct fb_driver *driver;

	if (owed->suspended) {
		item->outcome = FB_RECOVERY_SUSPENDED;
		return;
	}
	if (meet_silent_source(recovery, owed, item))
		return;
	machine = find_machine(recovery, owed->machine);
	driver = fb_engine_driver(
	    recovery->engine, &recovery->drivers, source);
	if (machine == NULL || driver == NULL)
		meet_unseen(recovery, owed, item);
	else
		meet_machine(recovery, driver, machine, owed, item);
}

/*
 * The order of starts: parents first, or last where they are controllers.
 */

struct turn {
	const struct owed *owed;
	size_t place; /* smaller ones start first */
	size_t index;
};

static int
compare_turns(const void *a, const void *b)
{
	const struct turn *one = a, *two = b;

	if (one->place != two->place)
		return one->place < two->place ? -1 : 1;
	return one->index < two->index ? -1 : 1;
}

static size_t
place_of(const struct recovery *recovery, const char *name)
{
	const struct fb_machine *machine = find_machine(recovery, name);
	bool last = machine != NULL && machine->parent_first;
	size_t depth = 0; /* ancestors it has */

	while (machine != NULL && machine->parent != NULL &&
	    depth < recovery->fleet.count) {
		machine = fb_fleet_find(
		    &recovery->fleet, machine->source, machine->parent);
		depth++;
	}
	return last ? recovery->fleet.count - depth : depth;
}

static void
meet_all(const struct recovery *recovery, const struct owed_list *list)
{
	FB_AUTO_FREE struct turn *turns =
	    fb_alloc(list->count, sizeof(*turns));

	for (size_t i = 0; i < list->count; i++)
		turns[i] = (struct turn){ &list->items[i],
			place_of(recovery, list->items[i].machine), i };
	qsort(turns, list->count, sizeof(*turns), compare_turns);
	for (size_t i = 0; i < list->count; i++)
		meet(recovery, turns[i].owed);
}

/* Ask only the sources that have something to do with it. */
static int
ask_sources(struct recovery *recovery, const struct owed_list *list,
    struct fb_error *err)
{
	const struct fb_config *config = recovery->engine->config;
	FB_AUTO_FREE bool *wanted =
	    fb_alloc(config->source_count, sizeof(*wanted));
	struct fb_engine undeterred = *recovery->engine;

	undeterred.cancel = NULL;
	for (size_t i = 0; i < list->count; i++)
		for (size_t s = 0; s < config->source_count; s++) {
			size_t length = strlen(config->sources[s].name);
			const char *machine = list->items[i].machine;

			wanted[s] |= !list->items[i].suspended &&
			    strncmp(machine, config->sources[s].name,
			        length) == 0 &&
			    machine[length] == '/';
		}
	return fb_engine_discover_only(&undeterred, wanted,
	    &recovery->drivers, &recovery->fleet, err);
}

int
fb_recover(const struct fb_engine *engine,
    const struct fb_recover_request *request, int children_fd,
    struct fb_recover_report *report, struct fb_error *err)
{
	AUTO_OWED struct owed_list list = { 0 };
	struct recovery recovery = { .engine = engine,
		.force = request->force,
		.children_fd = children_fd,
		.report = report };
	int rc;

	if (request->dry_run)
		return fb_recover_list(engine, report, err);
	*report = (struct fb_recover_report){ 0 };
	rc = owed_scan(engine, &list, report, err);
	if (rc == FB_OK && list.count > 0)
		rc = ask_sources(&recovery, &list, err);
	if (rc == FB_OK && list.count > 0)
		meet_all(&recovery, &list);
	fb_fleet_release(&recovery.fleet);
	fb_drivers_close(&recovery.drivers);
	return rc;
}

/*
 * The reference model of the machines: what happened to them, and what may.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "soak.h"

#define OLD_MS (INT64_C(6) * 86400 * 1000) /* a little under a week */

static void
note_moment(struct machine *machine, bool stop)
{
	struct moment *last;

	if (!stop && machine->moment_count > 0) {
		last = &machine->moments[machine->moment_count - 1];
		if (last->step == walk.step && !last->stop &&
		    digest_same(&last->content, &machine->content))
			return;
	}
	machine->moments = realloc(machine->moments,
	    (machine->moment_count + 1) * sizeof(*machine->moments));
	if (machine->moments == NULL)
		abort();
	machine->moments[machine->moment_count++] =
	    (struct moment){ walk.step, machine->content, walk.events, stop };
}

void
model_begin_step(void)
{
	walk.step_ms =
	    realloc(walk.step_ms, (walk.step + 1) * sizeof(*walk.step_ms));
	if (walk.step_ms == NULL)
		abort();
	walk.step_ms[walk.step] = walk.now_ms;
	walk.step_ms_count = walk.step + 1;
}

/* What is not running may be read as it lies there. */
void
model_before_command(void)
{
	for (size_t i = 0; i < walk.machine_count; i++) {
		struct machine *machine = &walk.machines[i];

		if (machine->present && !machine->half &&
		    (!machine->commands || !machine_is_up(machine)))
			note_moment(machine, false);
	}
}

static void
parse_digest(const char *text, struct digest *digest)
{
	for (int i = 0; i < 32; i++) {
		unsigned byte;

		if (sscanf(text + 2 * i, "%2x", &byte) != 1)
			fail("an effect without a digest: %s", text);
		digest->bytes[i] = (uint8_t)byte;
	}
}

static void
stopped(struct machine *machine, const char *digest)
{
	parse_digest(digest, &machine->content);
	machine->last_stop = walk.events;
	note_moment(machine, true);
}

/* Nothing is ever started over content that is neither what it was nor what
 * was restored. */
static void
started(struct machine *machine, const char *before, const char *after,
    const struct digest *restoring)
{
	struct digest found;

	parse_digest(before, &found);
	if (!(restoring != NULL && digest_same(&found, restoring)) &&
	    (machine->half || !digest_same(&found, &machine->content)))
		fail("%s was started over half a restore", machine->id);
	if (!machine->up && !machine->forgiving && restoring == NULL)
		fail("%s was started, and it had been down", machine->id);
	parse_digest(after, &machine->content);
	machine->last_start = walk.events;
}

static void
one_event(struct outcome *outcome, const char *line, const char *restored,
    const struct digest *restoring)
{
	char id[ID_MAX], verb[16], before[65] = "", after[65] = "";
	struct machine *machine;

	if (sscanf(line, "%39s %15s %64s %64s", id, verb, before, after) < 2)
		fail("a torn line of effects: %s", line);
	machine = find_machine(id);
	if (machine == NULL)
		fail("an effect on %s, which is not there", id);
	walk.events++;
	if (strcmp(verb, "stop") == 0) {
		outcome->stops++;
		stopped(machine, before);
	} else if (strcmp(verb, "start") == 0) {
		outcome->starts++;
		started(machine, before, after,
		    restored != NULL && strcmp(restored, id) == 0 ? restoring
		                                                  : NULL);
	} else if (strstr(verb, "-again") != NULL) {
		fail("an effect is repeated: %s %s", id, verb);
	}
}

void
model_events(struct outcome *outcome, const char *restored,
    const struct digest *restoring)
{
	size_t size = 0;
	char *text = read_file(path_of("events"), &size);
	char *line = text + walk.events_read, *end;

	while ((end = strchr(line, '\n')) != NULL) {
		*end = '\0';
		one_event(outcome, line, restored, restoring);
		line = end + 1;
	}
	walk.events_read = (off_t)size;
	free(text);
}

void
model_no_effects(const struct outcome *outcome)
{
	if (outcome->starts > 0 || outcome->stops > 0)
		fail("a command that only looks had an effect");
}

static bool
maybe_too_old(const struct machine *machine)
{
	return machine->owed &&
	    (walk.now_ms < machine->owed_ms ||
	        walk.now_ms - machine->owed_ms > OLD_MS);
}

/* Whose parent is not there is refused. */
bool
has_lost_parent(const struct machine *machine)
{
	char *yaml =
	    read_file(path_of("machines/%s/machine.yaml", machine->id), NULL);
	const char *line = yaml != NULL ? strstr(yaml, "\nparent: ") : NULL;
	const struct machine *parent = NULL;
	char id[ID_MAX];
	bool lost;

	if (line != NULL && sscanf(line, " parent: %39s", id) == 1)
		parent = find_machine(id);
	lost = line != NULL && (parent == NULL || !parent->present);
	free(yaml);
	return lost;
}

bool
has_trouble(const struct machine *machine)
{
	return has_lost_parent(machine) || machine->half ||
	    machine->fail_stop || machine->fail_start || machine->unknown ||
	    machine->forgiving || machine->pending[0] != '\0' ||
	    maybe_too_old(machine);
}

bool
model_any_trouble(void)
{
	for (size_t i = 0; i < walk.machine_count; i++)
		if (walk.machines[i].present && has_trouble(&walk.machines[i]))
			return true;
	return false;
}

static void
owe(struct machine *machine)
{
	if (!machine->owed)
		machine->owed_ms = walk.now_ms;
	machine->owed = true;
}

static void
check_power(struct machine *machine, const struct outcome *outcome, bool meets)
{
	bool up = machine_is_up(machine);

	if (machine->unknown || machine->forgiving)
		return;
	if (machine->half) {
		if (up)
			fail("%s is half restored and up", machine->id);
		return;
	}
	if (up && !machine->up)
		fail("%s was down and is up", machine->id);
	if (up || !machine->up) {
		machine->owed = false;
		return;
	}
	if (outcome->disturbed || machine->fail_start || machine->fail_stop ||
	    machine->pending[0] != '\0')
		owe(machine);
	else if (!machine->owed)
		fail("%s was left down", machine->id);
	else if (meets && !maybe_too_old(machine))
		fail("%s is still down, after a command that had to start it",
		    machine->id);
}

void
model_power(const struct outcome *outcome, bool meets)
{
	for (size_t i = 0; i < walk.machine_count; i++)
		if (walk.machines[i].present && walk.machines[i].commands)
			check_power(&walk.machines[i], outcome, meets);
}

void
model_content(void)
{
	for (size_t i = 0; i < walk.machine_count; i++) {
		struct machine *machine = &walk.machines[i];
		struct digest now;

		if (!machine->present)
			continue;
		digest_machine(machine_dir(machine), false, &now);
		if (!machine->half && !digest_same(&now, &machine->content))
			fail("the content of %s changed", machine->id);
	}
}

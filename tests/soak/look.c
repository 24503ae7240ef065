/*
 * What the program says about itself agrees with the model.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "soak.h"

static json_t *
ask(const char *const *words)
{
	struct outcome outcome;
	json_error_t error;
	json_t *answer;

	run_program(&outcome, NULL, words);
	model_events(&outcome, NULL, NULL);
	model_no_effects(&outcome);
	if (outcome.status != 0)
		fail("%s: exit %d", words[0], outcome.status);
	answer = json_loads(outcome.out, 0, &error);
	if (answer == NULL)
		fail("%s: no JSON: %s", words[0], error.text);
	outcome_release(&outcome);
	return answer;
}
#define ASK(...) ask((const char *const[]){ __VA_ARGS__, NULL })

static const char *
text_of(json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text != NULL ? text : "";
}

static void
look_at_runs(void)
{
	json_t *answer = ASK("list", "runs", "--json");
	json_t *data = json_object_get(answer, "data"), *row;
	size_t i, there = 0;

	for (i = 0; i < walk.run_count; i++)
		there += !walk.runs[i].gone;
	if (json_array_size(data) != there)
		fail("list runs: %zu instead of %zu", json_array_size(data),
		    there);
	json_array_foreach(data, i, row)
	{
		const struct run *run = find_run(text_of(row, "run"));
		size_t good = 0;

		if (run == NULL || run->gone)
			fail("list: unknown run %s", text_of(row, "run"));
		for (size_t j = 0; j < run->kept_count; j++)
			good += run->kept[j].ok;
		if ((size_t)json_integer_value(
		        json_object_get(row, "machines_ok")) != good)
			fail("list: run %s has another count", run->id);
		if (json_is_true(json_object_get(row, "partial")) !=
		    run->partial)
			fail("list: run %s: partial", run->id);
	}
	json_decref(answer);
}

static void
look_at_snapshots(void)
{
	json_t *answer = ASK("list", "snapshots", "--json");
	json_t *data = json_object_get(answer, "data"), *row;
	size_t i, known = 0;

	json_array_foreach(data, i, row)
	{
		const struct run *run = find_run(text_of(row, "run"));
		const struct kept *kept = run == NULL
		    ? NULL
		    : run_keeps(run, text_of(row, "machine") + 4);

		if (kept == NULL || !kept->ok || run->gone)
			fail("list: unknown backup of %s",
			    text_of(row, "machine"));
	}
	for (size_t j = 0; j < walk.run_count; j++)
		for (i = 0; i < walk.runs[j].kept_count; i++)
			known += walk.runs[j].kept[i].ok && !walk.runs[j].gone;
	if (json_array_size(data) != known)
		fail("list: %zu backups instead of %zu", json_array_size(data),
		    known);
	json_decref(answer);
}

static bool
lists(json_t *list, const char *text)
{
	json_t *item;
	size_t i;

	json_array_foreach(list, i,
	    item) if (strcmp(json_string_value(item), text) == 0) return true;
	return false;
}

static void
look_at_owed(json_t *data)
{
	json_t *owed = json_object_get(data, "obligations"), *item;
	json_t *restores = json_object_get(data, "unfinished_restores");
	size_t i;

	json_array_foreach(owed, i, item)
	{
		const char *id = strchr(json_string_value(item), '/') + 1;
		const struct machine *machine = find_machine(id);

		if (machine == NULL)
			fail("status: %s is owed and unknown", id);
		if (machine->present && !machine->forgiving && !machine->up)
			fail("status: %s was down and is owed", id);
	}
	for (i = 0; i < walk.machine_count; i++) {
		const struct machine *machine = &walk.machines[i];
		char name[ID_MAX + 8];

		(void)snprintf(name, sizeof(name), "lab/%s", machine->id);
		if (!machine->present || machine->forgiving)
			continue;
		if (machine->pending[0] != '\0' &&
		    !lists(restores, machine->pending))
			fail("status: restore %s is not listed",
			    machine->pending);
		if (machine->owed && !machine->half && !machine->unknown &&
		    machine->pending[0] == '\0' && !machine_is_up(machine) &&
		    !lists(owed, name))
			fail("status: %s is owed and not listed", machine->id);
	}
}

static void
look_at_status(void)
{
	json_t *answer = ASK("status", "--json");
	json_t *data = json_object_get(answer, "data"), *row;
	size_t i;

	json_array_foreach(json_object_get(data, "machines"), i, row)
	{
		const char *id = text_of(row, "machine") + 4;
		const struct run *newest = newest_with(id);

		if (strcmp(text_of(row, "run"),
		        newest != NULL ? newest->id : "") != 0)
			fail("status: newest good of %s is %s, not %s", id,
			    text_of(row, "run"),
			    newest != NULL ? newest->id : "none");
	}
	look_at_owed(data);
	json_decref(answer);
}

static void
look_at_one(void)
{
	const struct run *run;
	json_t *answer, *machines;

	if (walk.run_count == 0)
		return;
	run = &walk.runs[random_below((unsigned)walk.run_count)];
	if (run->gone)
		return;
	answer = ASK("show", run->id, "--json");
	machines = json_object_get(json_object_get(answer, "data"), "machines");
	if (json_array_size(machines) != run->kept_count)
		fail("show %s: %zu machines", run->id,
		    json_array_size(machines));
	json_decref(answer);
}

void
step_look(void)
{
	say("list, status, show");
	look_at_runs();
	look_at_snapshots();
	look_at_status();
	look_at_one();
}

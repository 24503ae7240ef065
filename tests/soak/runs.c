/*
 * The reference model of the repository: a run that was committed is there,
 * whole, and gives back the content of its moment.
 */
#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "soak.h"

struct run *
find_run(const char *id)
{
	for (size_t i = 0; i < walk.run_count; i++)
		if (strcmp(walk.runs[i].id, id) == 0)
			return &walk.runs[i];
	return NULL;
}

const struct kept *
run_keeps(const struct run *run, const char *id)
{
	for (size_t i = 0; i < run->kept_count; i++)
		if (strcmp(run->kept[i].id, id) == 0)
			return &run->kept[i];
	return NULL;
}

/* Runs are numbered in the order in which they follow each other. */
struct run *
newest_with(const char *id)
{
	struct run *newest = NULL;

	for (size_t i = 0; i < walk.run_count; i++) {
		struct run *run = &walk.runs[i];
		const struct kept *kept = run_keeps(run, id);

		if (kept != NULL && kept->ok && !run->gone &&
		    (newest == NULL || strcmp(run->id, newest->id) > 0))
			newest = run;
	}
	return newest;
}

/* The step in which a run began: each has a time of its own. */
static unsigned
step_of_run(const struct run *run)
{
	for (size_t i = walk.step_ms_count; i-- > 0;) {
		char text[80];
		time_t seconds = (time_t)(walk.step_ms[i] / 1000);
		struct tm tm;

		(void)gmtime_r(&seconds, &tm);
		(void)snprintf(text, sizeof(text),
		    "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900,
		    tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
		    tm.tm_sec, (int)(walk.step_ms[i] % 1000));
		if (strcmp(text, run->started) == 0)
			return (unsigned)i;
	}
	fail("run %s began in no step", run->id);
}

static void
check_moment(const struct run *run, const struct kept *kept)
{
	const struct machine *machine = find_machine(kept->id);
	unsigned since = step_of_run(run);

	if (kept->torn)
		return;
	for (size_t i = 0; machine != NULL && i < machine->moment_count; i++)
		if (machine->moments[i].step >= since &&
		    digest_same(&machine->moments[i].content, &kept->content))
			return;
	fail("%s in run %s is no moment of the machine since step %u", kept->id,
	    run->id, since);
}

static void
load_kept(struct run *run, json_t *machine)
{
	struct kept *kept = &run->kept[run->kept_count++];
	json_t *volume;
	size_t i;

	if (run->kept_count == MACHINES_MAX * 2)
		fail("too many machines in %s", run->id);
	(void)snprintf(kept->id, sizeof(kept->id), "%s",
	    json_string_value(json_object_get(machine, "id")));
	kept->ok = json_is_null(json_object_get(machine, "failure"));
	kept->up = strcmp(json_string_value(json_object_get(machine, "power")),
	               "up") == 0;
	json_array_foreach(json_object_get(machine, "volumes"), i, volume)
	{
		if (strcmp(json_string_value(json_object_get(volume, "name")),
		        "data") == 0)
			kept->tree = true;
		if (json_integer_value(
		        json_object_get(volume, "changed_files")) > 0)
			kept->torn = true;
	}
	if (kept->torn && !walk.faulted)
		fail("%s in run %s: files changed of a machine that is down",
		    kept->id, run->id);
}

/* Members of a unit that were stopped by this command shared one window, a
 * child stopped before its parent and started after it. */
static void
check_window(
    const struct outcome *outcome, json_t *manifest, const json_t *unit)
{
	uint64_t last_stop = 0, first_start = UINT64_MAX;
	json_t *name, *entry;
	size_t i;

	json_array_foreach(json_object_get(unit, "machines"), i, name)
	{
		const char *id = strchr(json_string_value(name), '/') + 1;
		const struct machine *machine = find_machine(id);

		if (machine == NULL ||
		    machine->last_stop <= outcome->first_event ||
		    machine->last_start < machine->last_stop)
			continue;
		if (machine->last_stop > last_stop)
			last_stop = machine->last_stop;
		if (machine->last_start < first_start)
			first_start = machine->last_start;
	}
	if (last_stop > first_start)
		fail("the machines of a unit were not all down at once");
	json_array_foreach(json_object_get(manifest, "machines"), i, entry)
	{
		const char *parent =
		    json_string_value(json_object_get(entry, "parent"));
		const struct machine *child = find_machine(
		    json_string_value(json_object_get(entry, "id")));
		const struct machine *above =
		    parent != NULL ? find_machine(parent) : NULL;
		char both[2][100];
		int members = 0;
		size_t j;

		if (above == NULL || child == NULL ||
		    child->last_stop <= outcome->first_event ||
		    above->last_stop <= outcome->first_event ||
		    child->last_start < child->last_stop ||
		    above->last_start < above->last_stop)
			continue;
		(void)snprintf(both[0], 100, "lab/%s", child->id);
		(void)snprintf(both[1], 100, "lab/%s", above->id);
		json_array_foreach(json_object_get(unit, "machines"), j, name)
		    members += strcmp(json_string_value(name), both[0]) == 0 ||
		    strcmp(json_string_value(name), both[1]) == 0;
		if (members == 2 &&
		    (child->last_stop > above->last_stop ||
		        child->last_start < above->last_start))
			fail("%s and its parent %s were not stopped and "
			     "started in order",
			    child->id, above->id);
	}
}

static void
check_units(const struct run *run, const struct outcome *outcome,
    json_t *manifest)
{
	json_t *unit, *machine;
	size_t i, j, k;

	json_array_foreach(json_object_get(manifest, "units"), i, unit)
	{
		json_int_t epoch = 0;
		json_t *name;

		/* A run that is only closed was captured before. */
		if (!outcome->disturbed && step_of_run(run) == walk.step)
			check_window(outcome, manifest, unit);
		json_array_foreach(
		    json_object_get(manifest, "machines"), j, machine)
		{
			json_int_t own = json_integer_value(
			    json_object_get(machine, "epoch"));

			if (!json_is_null(json_object_get(machine, "failure")))
				continue;
			json_array_foreach(
			    json_object_get(unit, "machines"), k, name)
			{
				if (strcmp(
				        strchr(json_string_value(name), '/') +
				            1,
				        json_string_value(json_object_get(
				            machine, "id"))) != 0)
					continue;
				if (epoch != 0 && own != epoch)
					fail("two epochs in one unit");
				epoch = own;
			}
		}
	}
}

static void
load_run(struct run *run, const struct outcome *outcome)
{
	json_error_t error;
	json_t *manifest = json_load_file(
	    path_of("repo/runs/%s/manifest.json", run->id), 0, &error);
	json_t *machine;
	size_t i;

	if (manifest == NULL)
		fail("run %s is committed and has no manifest", run->id);
	(void)snprintf(run->started, sizeof(run->started), "%s",
	    json_string_value(json_object_get(manifest, "started")));
	run->partial = json_is_true(json_object_get(manifest, "partial"));
	json_array_foreach(json_object_get(manifest, "machines"), i, machine)
	    load_kept(run, machine);
	check_units(run, outcome, manifest);
	json_decref(manifest);
}

/* A new run gives back what the machines held. */
static void
restore_run(struct run *run)
{
	char words[MACHINES_MAX * 2][ID_MAX + RUN_MAX + 2];
	const char *argv[MACHINES_MAX * 2 + 8] = { "restore", "--target",
		"check" };
	struct outcome outcome;
	int argc = 3;

	for (size_t i = 0; i < run->kept_count; i++)
		if (run->kept[i].ok) {
			(void)snprintf(words[i], sizeof(words[i]), "%s@%s",
			    run->kept[i].id, run->id);
			argv[argc++] = words[i];
		}
	if (argc == 3)
		return;
	remove_tree(path_of("check"));
	run_program(&outcome, NULL, argv);
	model_events(&outcome, NULL, NULL); /* it may start what is owed */
	if (outcome.status != 0)
		fail("run %s cannot be restored: exit %d", run->id,
		    outcome.status);
	outcome_release(&outcome);
	for (size_t i = 0; i < run->kept_count; i++) {
		struct kept *kept = &run->kept[i];

		if (!kept->ok)
			continue;
		digest_machine(
		    path_of("check/%s", kept->id), true, &kept->content);
		(void)digest_file(
		    path_of("check/%s/data/hello", kept->id), &kept->hello);
		check_moment(run, kept);
		count("machines compared");
	}
	remove_tree(path_of("check"));
}

/* Every object a run names is there. */
static void
check_objects(const struct run *run)
{
	char *sums =
	    read_file(path_of("repo/runs/%s/SHA256SUMS", run->id), NULL);
	char *line = sums, *end;

	if (sums == NULL)
		fail("run %s lost its SHA256SUMS", run->id);
	while ((end = strchr(line, '\n')) != NULL) {
		*end = '\0';
		if (strlen(line) < 67 || !exists(path_of("repo/%s", line + 66)))
			fail("run %s lost %s", run->id, line);
		line = end + 1;
	}
	free(sums);
}

static bool
is_run(const char *id)
{
	return exists(path_of("repo/runs/%s/manifest.json", id));
}

void
runs_check(struct outcome *outcome)
{
	DIR *dir = opendir(path_of("repo/commits"));
	struct dirent *entry;
	size_t before = walk.run_count;

	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		struct run *run;

		if (entry->d_name[0] == '.' ||
		    find_run(entry->d_name) != NULL || !is_run(entry->d_name))
			continue;
		if (walk.run_count == RUNS_MAX)
			fail("too many runs");
		run = &walk.runs[walk.run_count++];
		*run = (struct run){ 0 };
		(void)snprintf(
		    run->id, sizeof(run->id), "%.39s", entry->d_name);
		count("runs committed");
	}
	if (dir != NULL)
		(void)closedir(dir);
	for (size_t i = 0; i < walk.run_count; i++) {
		if (!exists(path_of("repo/commits/%s", walk.runs[i].id)))
			fail("run %s lost its register", walk.runs[i].id);
		if (!walk.runs[i].gone)
			check_objects(&walk.runs[i]);
	}
	for (size_t i = before; i < walk.run_count; i++) {
		load_run(&walk.runs[i], outcome);
		restore_run(&walk.runs[i]);
	}
}

void
runs_forget_all(void)
{
	free(walk.runs);
	walk.runs = calloc(RUNS_MAX, sizeof(*walk.runs));
	walk.run_count = 0;
	if (walk.runs == NULL)
		abort();
}

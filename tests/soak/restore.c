/*
 * Steps that restore: in place, as new, into a directory; cut off, resumed,
 * given up.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "soak.h"

/* A backup of any machine that `fits`; both NULL when there is none. */
static const struct kept *
choose_backup(bool (*fits)(const struct kept *), const struct run **ret_run)
{
	const struct kept *found[512];
	const struct run *of[512];
	size_t n = 0;
	unsigned chosen;

	for (size_t i = 0; i < walk.run_count; i++)
		for (size_t j = 0; j < walk.runs[i].kept_count; j++) {
			const struct kept *kept = &walk.runs[i].kept[j];

			if (n < 512 && kept->ok && !walk.runs[i].gone &&
			    fits(kept)) {
				found[n] = kept;
				of[n++] = &walk.runs[i];
			}
		}
	if (n == 0)
		return NULL;
	/* The newest ones most of the time. */
	chosen = random_below((unsigned)n);
	if (random_chance(50) && n > 3)
		chosen = (unsigned)n - 1 - random_below(3);
	*ret_run = of[chosen];
	return found[chosen];
}

static bool
any(const struct kept *kept)
{
	(void)kept;
	return true;
}

static bool
can_be_overwritten(const struct kept *kept)
{
	const struct machine *machine = find_machine(kept->id);

	return machine != NULL && machine->present && !machine->unknown &&
	    !machine->fail_stop && !machine->fail_start && !machine->forgiving;
}

static bool
is_gone(const struct kept *kept)
{
	const struct machine *machine = find_machine(kept->id);

	return machine != NULL && !machine->present;
}

/* Nothing was begun before it says what it is for, and nothing is left when
 * its machine is closed: it died between that and its journal's removal. */
static bool
is_unfinished(const char *id, const char *machine)
{
	char *journal =
	    read_file(path_of("state/restores/%s/journal", id), NULL);
	char name[ID_MAX + 8];
	bool unfinished;

	(void)snprintf(name, sizeof(name), "\"lab/%s\"", machine);
	unfinished = journal != NULL &&
	    strstr(journal, " restore {") != NULL &&
	    strstr(journal, " closed {") == NULL &&
	    strstr(journal, name) != NULL;

	free(journal);
	return unfinished;
}

/* The id of a restore that is not finished and that we did not know of. */
static bool
find_unfinished(const char *machine, char *id)
{
	DIR *dir = opendir(path_of("state/restores"));
	struct dirent *entry;

	id[0] = '\0';
	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		bool known = entry->d_name[0] == '.' ||
		    !is_unfinished(entry->d_name, machine);

		for (size_t i = 0; i < walk.machine_count; i++)
			known = known ||
			    strcmp(walk.machines[i].pending, entry->d_name) ==
			        0;
		if (!known)
			(void)snprintf(id, RUN_MAX, "%.39s", entry->d_name);
	}
	if (dir != NULL)
		(void)closedir(dir);
	return id[0] != '\0';
}

static void
in_place_done(struct machine *machine, const struct digest *content)
{
	struct digest now;

	digest_machine(machine_dir(machine), false, &now);
	machine->half = false;
	machine->pending[0] = '\0';
	if (!machine_is_up(machine) || !machine->commands)
		machine->content = now;
	if (!digest_same(&now, &machine->content))
		fail("%s changed while it was restored", machine->id);
	if (!(machine->commands && machine_is_up(machine)) &&
	    !digest_same(&now, content))
		fail(
		    "%s was restored, and its content is another", machine->id);
}

/* A restore in place did not get to its end: what is there now? */
static void
in_place_cut(struct machine *machine, const struct digest *content)
{
	struct digest now;
	bool whole, untouched;
	char id[RUN_MAX];

	/* It took the place of an earlier one, or that one still stands. */
	if (find_unfinished(machine->id, id)) {
		memcpy(machine->pending, id, sizeof(id));
		machine->pending_content = *content;
	} else if (!is_unfinished(machine->pending, machine->id)) {
		machine->pending[0] = '\0';
	}
	digest_machine(machine_dir(machine), false, &now);
	untouched = digest_same(&now, &machine->content);
	whole = digest_same(&now, content);
	if (machine->commands && machine_is_up(machine)) {
		if (!untouched)
			fail("%s is half restored and up", machine->id);
		machine->half = false;
		return;
	}
	machine->half = !untouched;
	if (whole && machine->pending[0] == '\0') { /* it died behind its end */
		machine->half = false;
		machine->content = now;
	}
	count(untouched ? "cut: untouched"
	        : whole ? "cut: whole"
	                : "cut: half");
	if (!machine->commands || !machine->up)
		return;
	/* Who suspended the obligation and wrote nothing keeps it down too;
	 * recover knows. */
	machine->owed = true;
	machine->owed_ms = walk.now_ms;
	if (!machine->half && machine->pending[0] != '\0') {
		recover_clean(false);
		machine->half = !machine_is_up(machine);
	}
}

static void
run_in_place(struct machine *machine, const struct digest *content,
    const struct harm *harm, const char *const *argv)
{
	struct outcome outcome;

	run_program(&outcome, harm, argv);
	model_events(&outcome, machine->id, content);
	if (outcome.status == 0) {
		in_place_done(machine, content);
	} else if (outcome.disturbed) {
		in_place_cut(machine, content);
	} else if (strstr(outcome.err, "E-RST-RESUME") != NULL &&
	    strcmp(argv[1], "--resume") == 0) {
		count("resume refused");
		remove_tree(path_of("state/restores/%s", machine->pending));
		machine->pending[0] = '\0';
		machine->half = machine->half || !machine_is_up(machine);
	} else {
		fail("restore in place: exit %d", outcome.status);
	}
	model_power(&outcome, false);
	runs_check(&outcome);
	outcome_release(&outcome);
}

void
step_restore_in_place(void)
{
	const struct run *run;
	const struct kept *kept = choose_backup(can_be_overwritten, &run);
	struct machine *machine;
	struct digest content;
	struct harm harm;
	char what[ID_MAX + RUN_MAX + 2];

	if (kept == NULL)
		return;
	machine = find_machine(kept->id);
	content = kept->content;
	harm_choose(&harm, machine->commands);
	if (harm.kind == HARM_DIE)
		(void)snprintf(
		    harm.machine, sizeof(harm.machine), "%s", machine->id);
	(void)snprintf(what, sizeof(what), "%s@%s", kept->id, run->id);
	say("restore %s in place%s%s", what, machine->half ? ", again" : "",
	    harm.text);
	run_in_place(machine, &content, &harm,
	    (const char *const[]){ "restore", what, "--in-place", "--yes",
	        "--json", "--lock-wait", "60s", NULL });
}

static void
resume_pending(struct machine *machine, const struct harm *harm)
{
	struct digest content = machine->pending_content;
	char id[RUN_MAX];

	(void)snprintf(id, sizeof(id), "%s", machine->pending);
	run_in_place(machine, &content, harm,
	    (const char *const[]){ "restore", "--resume", id, "--yes", "--json",
	        "--lock-wait", "60s", NULL });
}

static bool
is_pending(const struct machine *machine)
{
	return machine->pending[0] != '\0' && !machine->unknown &&
	    !machine->fail_stop && !machine->fail_start && !machine->forgiving;
}

void
step_resume(void)
{
	struct machine *machine = random_machine(is_pending);
	struct harm harm;

	if (machine == NULL)
		return;
	harm_choose(&harm, false);
	say("resume the restore of %s%s", machine->id, harm.text);
	resume_pending(machine, &harm);
}

/* Whatever hangs over is brought to its end. */
void
restore_finish_pending(void)
{
	for (size_t i = 0; i < walk.machine_count; i++) {
		struct machine *machine = &walk.machines[i];
		struct run *run;

		if (!machine->present)
			continue;
		if (machine->pending[0] != '\0')
			resume_pending(machine, NULL);
		if (!machine->half)
			continue;
		run = newest_with(machine->id);
		if (run == NULL)
			fail("%s is half and has no backup", machine->id);
		run_in_place(machine, &run_keeps(run, machine->id)->content,
		    NULL,
		    (const char *const[]){ "restore", machine->id, "--run",
		        run->id, "--in-place", "--yes", "--lock-wait", "60s",
		        NULL });
	}
}

/* A restore that makes something new was cut off: it is resumed, or given
 * up as the manual says. */
static void
finish_new(const char *of, const char *restored,
    const struct digest *content)
{
	struct outcome outcome;
	char id[RUN_MAX];

	while (find_unfinished(of, id)) {
		if (random_chance(50)) {
			run_program(&outcome, NULL,
			    (const char *const[]){ "restore", "--resume", id,
			        "--yes", "--lock-wait", "60s", NULL });
			model_events(&outcome, restored, content);
			if (outcome.status != 0 &&
			    strstr(outcome.err, "E-RST-RESUME") == NULL)
				fail("resume: exit %d", outcome.status);
			count(outcome.status == 0 ? "new: resumed"
			                          : "new: resume refused");
			outcome_release(&outcome);
		}
		remove_tree(path_of("state/restores/%s", id));
	}
}

void
step_restore_dir(void)
{
	const struct run *run;
	const struct kept *kept = choose_backup(any, &run);
	bool path = random_chance(30);
	struct outcome outcome;
	struct digest found;
	struct harm harm;
	char what[ID_MAX + RUN_MAX + 2];

	if (kept == NULL)
		return;
	path = path && kept->tree;
	harm_choose(&harm, false);
	(void)snprintf(what, sizeof(what), "%s@%s", kept->id, run->id);
	say("restore %s to a directory%s%s", what, path ? ", one path" : "",
	    harm.text);
	remove_tree(path_of("target"));
	if (path)
		RUN(&outcome, &harm, "restore", what, "--target", "target",
		    "--volume", "data", "--path", "hello", "--lock-wait",
		    "60s");
	else
		RUN(&outcome, &harm, "restore", what, "--target", "target",
		    "--lock-wait", "60s");
	model_events(&outcome, NULL, NULL);
	if (outcome.status != 0 && !outcome.disturbed)
		fail("restore to a directory: exit %d", outcome.status);
	if (outcome.status != 0 || outcome.disturbed)
		finish_new(kept->id, NULL, NULL);
	if (outcome.status == 0 || exists(path_of("target/%s", kept->id))) {
		if (path) {
			if (!digest_file(
			        path_of("target/%s/data/hello", kept->id),
			        &found) ||
			    !digest_same(&found, &kept->hello))
				fail("the path came back as something else");
		} else {
			digest_machine(
			    path_of("target/%s", kept->id), true, &found);
			if (!digest_same(&found, &kept->content))
				fail("the directory holds something else");
		}
	}
	remove_tree(path_of("target"));
	model_power(&outcome, false);
	outcome_release(&outcome);
}

/* Once it has its name, a new machine is whole. */
static void
adopt(const char *id, const struct kept *kept, bool finished, bool up)
{
	struct machine *machine = find_machine(id);
	struct digest now;

	machine->present = exists(path_of("machines/%s/machine.yaml", id));
	if (!machine->present) {
		if (finished)
			fail("%s was restored and is not there", id);
		return;
	}
	digest_machine(machine_dir(machine), false, &now);
	if (machine->last_start == 0)
		machine->content = now;
	if (!digest_same(&now, &machine->content) ||
	    (machine->last_start == 0 && !digest_same(&now, &kept->content)))
		fail("%s has its name and is not whole", id);
	if (finished && machine->commands && machine_is_up(machine) != up)
		fail("%s is %s", id, up ? "down" : "up");
	machine->up = machine->commands && machine_is_up(machine);
	if (!finished && machine->commands)
		machine->forgiving = true;
}

static struct machine *
row_for(const char *id, const struct kept *kept)
{
	struct machine *machine = find_machine(id);
	const struct machine *old = find_machine(kept->id);
	bool commands = old != NULL && old->commands;

	if (machine == NULL) {
		if (walk.machine_count == MACHINES_MAX * 4)
			return NULL;
		machine = &walk.machines[walk.machine_count++];
	}
	free(machine->moments);
	*machine = (struct machine){ .commands = commands };
	(void)snprintf(machine->id, sizeof(machine->id), "%s", id);
	return machine;
}

/* As new under another name, or a machine that is gone, in place. */
void
step_restore_new(void)
{
	const struct run *run;
	bool gone = random_chance(50);
	const struct kept *kept = choose_backup(gone ? is_gone : any, &run);
	bool start = random_chance(50);
	struct outcome outcome;
	struct machine *machine;
	struct harm harm;
	char what[ID_MAX + RUN_MAX + 2], id[ID_MAX];
	size_t present = 0;

	for (size_t i = 0; i < walk.machine_count; i++)
		present += walk.machines[i].present;
	if (kept == NULL || present >= MACHINES_MAX - 1)
		return;
	(void)snprintf(id, sizeof(id), "c%u", walk.step);
	if (gone)
		(void)snprintf(id, sizeof(id), "%s", kept->id);
	machine = row_for(id, kept);
	if (machine == NULL)
		return;
	start = start && machine->commands;
	harm_choose(&harm, false);
	(void)snprintf(what, sizeof(what), "%s@%s", kept->id, run->id);
	say("restore %s as %s%s%s", what, gone ? "what is gone" : id,
	    start && !gone ? ", started" : "", harm.text);
	if (gone)
		RUN(&outcome, &harm, "restore", what, "--in-place", "--yes",
		    "--lock-wait", "60s");
	else
		RUN(&outcome, &harm, "restore", what, "--as", id,
		    start ? "--start" : "--no-start", "--lock-wait", "60s");
	model_events(&outcome, id, &kept->content);
	if (outcome.status != 0 && !outcome.disturbed)
		fail("restore as %s: exit %d", id, outcome.status);
	if (outcome.status != 0 || outcome.disturbed)
		finish_new(kept->id, id, &kept->content);
	adopt(id, kept, outcome.status == 0 && !outcome.disturbed,
	    gone ? kept->up : start);
	remove_tree(path_of("machines/.fleetbak-new"));
	model_power(&outcome, false);
	outcome_release(&outcome);
}

/*
 * The steps of a walk, and how often each is taken.
 */
#include <dirent.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "soak.h"

static bool
has_commands(const struct machine *machine)
{
	return machine->commands;
}

/* How the next command is disturbed, if it is.  `may_die`: a machine whose
 * commands are called may kill the program. */
void
harm_choose(struct harm *harm, bool may_die)
{
	static const char *const crashes[] = { "kill", "kill", "torn", "lost" };
	static const char *const signals[] = { "SIGKILL", "SIGINT", "SIGTERM",
		"SIGTERM" };
	static const char *const deaths[] = { "stop before 9 one",
		"stop after 9 one", "start before 9 one", "start after 9 one",
		"stop before 9 all", "stop after 9 all", "start before 9 all",
		"start after 9 all", "stop after 15 one", "start after 2 one" };
	static const char *const faults[] = { "EIO", "ENOSPC", "EROFS",
		"EMFILE", "EACCES", "timeout", "lost", "late", "EINTR",
		"short" };
	const struct machine *machine = random_machine(has_commands);
	unsigned kind = random_below(100);

	*harm = (struct harm){ .kind = HARM_NONE };
	/* Short commands take few steps, long ones many. */
	harm->at = 1 + random_below(random_chance(40) ? 30 : 300);
	if (kind < 40)
		return;
	if (kind < 70) {
		harm->kind = HARM_CRASH;
		harm->how = crashes[random_below(4)];
		(void)snprintf(harm->text, sizeof(harm->text),
		    ", crash at %u: %s", harm->at, harm->how);
		count("harm: crash");
	} else if (kind < 85) {
		harm->kind = HARM_FAULT;
		harm->at *= 2; /* all steps are counted */
		harm->how = faults[random_below(10)];
		(void)snprintf(harm->text, sizeof(harm->text),
		    ", fault at %u: %s", harm->at, harm->how);
		count("harm: fault");
	} else if (kind < 93 || !may_die || machine == NULL) {
		harm->kind = HARM_SIGNAL;
		harm->how = signals[random_below(4)];
		(void)snprintf(harm->text, sizeof(harm->text), ", %s at %u",
		    harm->how, harm->at);
		count("harm: signal");
	} else {
		harm->kind = HARM_DIE;
		harm->how = deaths[random_below(10)];
		(void)snprintf(
		    harm->machine, sizeof(harm->machine), "%s", machine->id);
		(void)snprintf(harm->text, sizeof(harm->text),
		    ", dies at %s of %s", harm->how, machine->id);
		count("harm: killed by a machine");
	}
}

static void
check_whole_fleet(const struct run *run)
{
	for (size_t i = 0; i < walk.machine_count; i++)
		if (walk.machines[i].present &&
		    run_keeps(run, walk.machines[i].id) == NULL)
			fail("download: done, and %s was left out",
			    walk.machines[i].id);
}

/* Exit status 0 means that all that was asked is done. */
static void
check_done(const struct outcome *outcome, bool all)
{
	json_error_t error;
	json_t *answer = json_loads(outcome->out, 0, &error), *row;
	json_t *machines = json_object_get(answer, "machines");
	const char *id = json_string_value(json_object_get(answer, "run"));
	const struct run *continued = id != NULL ? find_run(id) : NULL;
	size_t i;

	if (answer == NULL)
		fail("download: no JSON: %s", error.text);
	/* Cut off after its commit, a run may be known already. */
	if (continued == NULL)
		fail("download: done, and there is no run");
	if (json_array_size(machines) == 0)
		fail("download: done, and no machine");
	json_array_foreach(machines, i, row)
	{
		const struct kept *kept = run_keeps(continued,
		    json_string_value(json_object_get(row, "machine")) + 4);

		if (kept == NULL || !kept->ok)
			fail("download: done, and run %s has no %s",
			    continued->id,
			    json_string_value(json_object_get(row, "machine")));
	}
	if (all)
		check_whole_fleet(continued);
	json_decref(answer);
}

static size_t
present_machines(void)
{
	size_t n = 0;

	for (size_t i = 0; i < walk.machine_count; i++)
		n += walk.machines[i].present;
	return n;
}

static void
after_download(struct outcome *outcome, bool all, bool trouble)
{
	trouble = trouble || walk.stale_failures;
	/* A failure of a run that is cut off stays in it when it goes on, and
	 * where nothing was chosen nothing went on. */
	if (outcome->status != 2 || outcome->disturbed)
		walk.stale_failures = outcome->disturbed && trouble;
	model_events(outcome, NULL, NULL);
	runs_check(outcome);
	model_power(outcome, true);
	model_content();
	if (outcome->status == 0) {
		check_done(outcome, all);
	} else if (!outcome->disturbed && !trouble &&
	    !(outcome->status == 2 && !all)) {
		fail("download: exit %d\n%s%s", outcome->status, outcome->err,
		    outcome->out);
	}
	if (!outcome->disturbed && outcome->stops > present_machines())
		fail("more stops than machines");
}

static void
download(const struct harm *harm)
{
	bool trouble = model_any_trouble();
	struct outcome outcome;

	world_write_config();
	RUN(&outcome, harm, "download", "--json", "--lock-wait", "60s");
	after_download(&outcome, true, trouble);
	outcome_release(&outcome);
}

static void
step_download(void)
{
	struct harm harm;

	if (present_machines() == 0)
		return;
	harm_choose(&harm, true);
	say("download%s", harm.text);
	download(&harm);
}

static void
step_download_some(void)
{
	static const char *const selectors[] = { "role=web", "rack=r1",
		"site=a", "rack=r2,role=db" };
	const struct machine *machine = random_machine(NULL);
	bool trouble = model_any_trouble();
	bool named = random_chance(50);
	const char *selector = selectors[random_below(4)];
	struct outcome outcome;
	struct harm harm;

	if (machine == NULL)
		return;
	harm_choose(&harm, true);
	say("download %s%s", named ? machine->id : selector, harm.text);
	world_write_config();
	if (named)
		RUN(&outcome, &harm, "download", machine->id, "--json",
		    "--lock-wait", "60s");
	else
		RUN(&outcome, &harm, "download", "-s", selector, "--json",
		    "--lock-wait", "60s");
	after_download(&outcome, false, trouble);
	outcome_release(&outcome);
}

/* Plan, then carry out exactly that, unless the world changed. */
static void
step_download_plan(void)
{
	bool change = random_chance(50), trouble = model_any_trouble();
	struct outcome outcome;
	json_error_t error;
	json_t *answer;
	char plan[40];

	if (present_machines() == 0 || present_machines() > MACHINES_MAX - 2)
		return;
	say("download -n, then --plan%s", change ? ", a machine comes" : "");
	world_write_config();
	RUN(&outcome, NULL, "download", "-n", "--json");
	model_events(&outcome, NULL, NULL);
	model_no_effects(&outcome);
	if (outcome.status != 0 && !trouble)
		fail("download -n: exit %d", outcome.status);
	answer = json_loads(outcome.out, 0, &error);
	(void)snprintf(plan, sizeof(plan), "%s",
	    answer != NULL &&
	            json_string_value(json_object_get(answer, "plan")) != NULL
	        ? json_string_value(json_object_get(answer, "plan"))
	        : "");
	json_decref(answer);
	outcome_release(&outcome);
	if (plan[0] == '\0') {
		if (!trouble)
			fail("download -n: no plan");
		return;
	}
	if (change) {
		char id[ID_MAX];

		(void)snprintf(id, sizeof(id), "p%u", walk.step);
		(void)world_add_machine(id);
	}
	RUN(&outcome, NULL, "download", "--plan", plan, "--json", "--lock-wait",
	    "60s");
	if (change && !trouble && outcome.status != 19)
		fail("a stale plan was carried out: exit %d", outcome.status);
	/* A cut-off run of another selection has to be closed first, and then
	 * the plan has another newest run. */
	if (outcome.status == 19 &&
	    (strstr(outcome.out, "\"closed_run\":null") == NULL ||
	        strstr(outcome.out, "has to be ended first") != NULL))
		change = true;
	after_download(&outcome, !change, trouble || change);
	outcome_release(&outcome);
}

static void
step_verify(void)
{
	static const char *const depths[] = { "--signatures", "--structure",
		"--packs", "--full" };
	const char *depth = depths[random_below(4)];
	struct outcome outcome;

	say("verify %s", depth);
	RUN(&outcome, NULL, "verify", depth, "--json");
	model_events(&outcome, NULL, NULL);
	model_no_effects(&outcome);
	if (outcome.status != 0)
		fail("verify %s: exit %d", depth, outcome.status);
	outcome_release(&outcome);
}

/* Undisturbed: what was forgiven is now as it is. */
void
recover_clean(bool force)
{
	struct outcome outcome;

	if (force)
		RUN(&outcome, NULL, "recover", "--force", "--lock-wait", "60s");
	else
		RUN(&outcome, NULL, "recover", "--lock-wait", "60s");
	model_events(&outcome, NULL, NULL);
	for (size_t i = 0; i < walk.machine_count; i++) {
		struct machine *machine = &walk.machines[i];

		if (!machine->present || !machine->forgiving ||
		    machine->unknown || machine->fail_start)
			continue;
		machine->forgiving = false;
		machine->owed = false;
		machine->up = machine->commands && machine_is_up(machine);
	}
	model_power(&outcome, true);
	model_content();
	if (outcome.status != 0 && !model_any_trouble())
		fail("recover: exit %d", outcome.status);
	outcome_release(&outcome);
}

static void
step_recover(void)
{
	struct outcome outcome;
	struct harm harm;

	harm_choose(&harm, false);
	harm.at = 1 + harm.at % 25;
	if (harm.kind == HARM_NONE) {
		say("recover");
		recover_clean(false);
		return;
	}
	(void)snprintf(harm.text, sizeof(harm.text), ", harm %d at %u",
	    (int)harm.kind, harm.at);
	say("recover%s", harm.text);
	RUN(&outcome, &harm, "recover", "--lock-wait", "60s");
	model_events(&outcome, NULL, NULL);
	model_power(&outcome, true);
	outcome_release(&outcome);
}

static bool
can_change(const struct machine *machine)
{
	return !machine->half && machine->pending[0] == '\0';
}

static bool
can_go(const struct machine *machine)
{
	return can_change(machine) && !machine->owed && !machine->forgiving;
}

static bool
has_power(const struct machine *machine)
{
	return machine->commands && can_go(machine);
}

static void
step_mutate(void)
{
	struct machine *machine = random_machine(can_change);

	if (machine == NULL)
		return;
	say("the content of %s changes", machine->id);
	world_mutate(machine);
}

static void
step_power(void)
{
	struct machine *machine = random_machine(has_power);

	if (machine == NULL)
		return;
	say("%s is %s by its owner", machine->id,
	    machine->up ? "stopped" : "started");
	world_power(machine, !machine->up);
}

static void
step_machines(void)
{
	struct machine *machine = random_machine(can_go);
	unsigned what = random_below(3);
	char id[ID_MAX];

	(void)snprintf(id, sizeof(id), "n%u", walk.step);
	if (what == 0 && present_machines() < 7) {
		say("%s is added", id);
		(void)world_add_machine(id);
	} else if (what == 1 && machine != NULL && present_machines() > 1) {
		say("%s is removed", machine->id);
		world_remove_machine(machine);
	} else if (machine != NULL) {
		say("%s is renamed to %s", machine->id, id);
		world_rename_machine(machine, id);
	}
}

static void
step_flag(void)
{
	static const char *const flags[] = { "fail-stop", "fail-start",
		"unknown" };
	struct machine *machine = random_machine(has_commands);
	unsigned which = random_below(3);
	bool on;

	if (machine == NULL)
		return;
	on = which == 0  ? !machine->fail_stop
	    : which == 1 ? !machine->fail_start
	                 : !machine->unknown;
	/* More are mended than broken. */
	on = on && random_chance(50);
	say("%s: %s %s", machine->id, flags[which], on ? "on" : "off");
	world_flag(machine, flags[which], on);
}

static void
step_config(void)
{
	unsigned what = random_below(3);

	if (what == 0)
		walk.level = 1 + walk.level % 3;
	else if (what == 1)
		walk.units = (walk.units + 1) % 3;
	else
		walk.jobs = walk.jobs == 1 && random_chance(20) ? 2 : 1;
	say("configuration: level %u, units %d, jobs %u", walk.level,
	    walk.units, walk.jobs);
	world_write_config();
}

static void
step_clock(void)
{
	int64_t year = INT64_C(365) * 86400 * 1000;
	int64_t jump = (int64_t)(random_u64() % (uint64_t)year);

	if (random_chance(60))
		jump /= 50;
	if (random_chance(40))
		jump = -jump;
	say("the clock jumps by %lld s", (long long)jump / 1000);
	walk.now_ms += jump;
}

/* A file of the repository that a run names. */
static const char *
choose_victim(const struct run *run, char *victim, size_t size)
{
	char *sums =
	    read_file(path_of("repo/runs/%s/SHA256SUMS", run->id), NULL);
	char *lines[600], *line = sums, *end;
	unsigned n = 0;

	while ((end = strchr(line, '\n')) != NULL && n < 600) {
		*end = '\0';
		lines[n++] = line + 66;
		line = end + 1;
	}
	(void)snprintf(victim, size, "repo/%s", lines[random_below(n)]);
	if (random_chance(10))
		(void)snprintf(victim, size, "repo/commits/%s", run->id);
	else if (random_chance(10))
		(void)snprintf(
		    victim, size, "repo/runs/%s/SHA256SUMS", run->id);
	free(sums);
	return victim;
}

static void
alter(const char *path)
{
	size_t size = 0;
	char *bytes = read_file(path, &size);
	unsigned how = random_below(3);

	if (bytes == NULL)
		fail("no victim %s", path);
	(void)chmod(path, 0600);
	(void)unlink(path);
	if (how == 0) {
		bytes[random_below((unsigned)size)] ^=
		    (char)(1 << random_below(8));
		put_file(path, bytes, size);
	} else if (how == 1) {
		put_file(path, bytes, random_below((unsigned)size));
	}
	free(bytes);
}

/* Somebody edits the repository: verify says so, restore gives back the
 * truth or nothing, and looking does no harm. */
static void
step_hostile(void)
{
	const struct run *run;
	const struct kept *kept;
	struct outcome outcome;
	struct digest found;
	char victim[300], what[ID_MAX + RUN_MAX + 2];

	if (walk.run_count == 0)
		return;
	run = &walk.runs[random_below((unsigned)walk.run_count)];
	if (run->gone)
		return;
	copy_tree(path_of("repo"), path_of("good"));
	copy_tree(path_of("state"), path_of("good-state"));
	(void)choose_victim(run, victim, sizeof(victim));
	say("somebody edits %s", victim);
	alter(path_of("%s", victim));
	RUN(&outcome, NULL, "verify", "--full", "--json");
	if (outcome.status != 13 && outcome.status != 14 &&
	    !(strstr(victim, "/format/") != NULL &&
	        (outcome.status == 10 || outcome.status == 18)))
		fail("verify of an edited repository: exit %d", outcome.status);
	outcome_release(&outcome);
	kept = &run->kept[random_below((unsigned)run->kept_count)];
	if (kept->ok) {
		(void)snprintf(what, sizeof(what), "%s@%s", kept->id, run->id);
		remove_tree(path_of("target"));
		RUN(&outcome, NULL, "restore", what, "--target", "target");
		model_events(&outcome, NULL, NULL);
		digest_machine(path_of("target/%s", kept->id), true, &found);
		if (outcome.status == 0 && !digest_same(&found, &kept->content))
			fail("an edited repository restores something else");
		if (outcome.status != 0 &&
		    exists(path_of("target/%s", kept->id)))
			fail("a refused restore has its name");
		outcome_release(&outcome);
		remove_tree(path_of("target"));
	}
	RUN(&outcome, NULL, "status");
	outcome_release(&outcome);
	RUN(&outcome, NULL, "list", "snapshots");
	outcome_release(&outcome);
	shell("chmod -R u+w '%s'", path_of("repo"));
	remove_tree(path_of("repo"));
	(void)rename(path_of("good"), path_of("repo"));
	remove_tree(path_of("state"));
	(void)rename(path_of("good-state"), path_of("state"));
}

static const struct kind {
	const char *name;
	unsigned weight;
	void (*take)(void);
} kinds[] = {
	{ "download", 22, step_download },
	{ "download some", 8, step_download_some },
	{ "download --plan", 3, step_download_plan },
	{ "restore in place", 9, step_restore_in_place },
	{ "restore as new", 5, step_restore_new },
	{ "restore to a directory", 6, step_restore_dir },
	{ "resume a restore", 6, step_resume },
	{ "recover", 6, step_recover },
	{ "verify", 4, step_verify },
	{ "look", 5, step_look },
	{ "content changes", 12, step_mutate },
	{ "power by the owner", 4, step_power },
	{ "machines come and go", 4, step_machines },
	{ "machine breaks", 5, step_flag },
	{ "configuration", 3, step_config },
	{ "clock", 2, step_clock },
	{ "hostile edit", 3, step_hostile },
	{ "forget", 5, step_forget },
	{ "hold", 2, step_hold },
	{ "prune", 5, step_prune },
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

void
step_once(void)
{
	unsigned total = 0, drawn;
	char name[60];

	for (size_t i = 0; i < KINDS; i++)
		total += kinds[i].weight;
	drawn = random_below(total);
	for (size_t i = 0; i < KINDS; i++) {
		if (drawn >= kinds[i].weight) {
			drawn -= kinds[i].weight;
			continue;
		}
		(void)snprintf(name, sizeof(name), "step: %s", kinds[i].name);
		count(name);
		kinds[i].take();
		return;
	}
}

static void
check_nothing_left(void)
{
	struct outcome outcome;

	RUN(&outcome, NULL, "status", "--json");
	if (outcome.status != 0 ||
	    strstr(outcome.out, "\"unfinished_runs\":[]") == NULL ||
	    strstr(outcome.out, "\"unfinished_restores\":[]") == NULL ||
	    strstr(outcome.out, "\"obligations\":[]") == NULL)
		fail("after all is settled something is left: exit %d",
		    outcome.status);
	outcome_release(&outcome);
	shell("test -z \"$(find '%s' -path '*/.fleetbak/*')\"",
	    path_of("machines"));
}

/* The world is mended; then everything works, at the first try. */
void
step_settle(void)
{
	struct outcome outcome;

	say("settle");
	for (size_t i = 0; i < walk.machine_count; i++)
		if (walk.machines[i].present) {
			world_flag(&walk.machines[i], "fail-stop", false);
			world_flag(&walk.machines[i], "fail-start", false);
			world_flag(&walk.machines[i], "unknown", false);
		}
	recover_clean(true);
	restore_finish_pending();
	for (size_t i = 0; i < walk.machine_count; i++)
		if (walk.machines[i].present &&
		    has_lost_parent(&walk.machines[i]))
			shell("sed -i '/^parent: /d' '%s/machine.yaml'",
			    machine_dir(&walk.machines[i]));
	if (model_any_trouble())
		fail("trouble that cannot be settled");
	if (walk.stale_failures)
		download(NULL);
	download(NULL);
	RUN(&outcome, NULL, "verify", "--full");
	if (outcome.status != 0)
		fail("verify --full: exit %d", outcome.status);
	outcome_release(&outcome);
	check_nothing_left();
	step_look();
}

/*
 * Steps that give runs up: forget, undo, hold, prune.
 *
 * The model: a run is kept, pending or gone for good.  Only what was pending
 * for as long as the grace lasts, and is not held, ever goes; nothing that
 * another run names goes with it.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "soak.h"

/* pending/<run>.<n> says it; pending/<run>.<n>.end takes it back, or makes it
 * final. */
static enum pending
read_pending(const char *name)
{
	char *end = read_file(path_of("repo/pending/%s.end", name), NULL);
	enum pending state = end == NULL               ? PENDING
	    : strncmp(end, "fleetbak-forget", 15) == 0 ? ONE_WAY
	                                               : NOT_PENDING;

	free(end);
	return state;
}

/* `ret_undone`: one of its records was undone; may be NULL. */
static enum pending
pending_of(const struct run *run, bool *ret_undone)
{
	DIR *dir = opendir(path_of("repo/pending"));
	struct dirent *entry;
	enum pending state = NOT_PENDING;
	size_t len = strlen(run->id);
	bool undone = false;

	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		const char *name = entry->d_name;
		enum pending own;

		if (strncmp(name, run->id, len) != 0 ||
		    strcmp(name + strlen(name) - 4, ".end") == 0)
			continue;
		own = read_pending(name);
		state = own > state ? own : state;
		undone = undone || own == NOT_PENDING;
	}
	if (dir != NULL)
		(void)closedir(dir);
	if (ret_undone != NULL)
		*ret_undone = undone;
	return state;
}

static bool
is_newest_of_any(const struct run *run)
{
	for (size_t i = 0; i < run->kept_count; i++)
		if (run->kept[i].ok && newest_with(run->kept[i].id) == run)
			return true;
	return false;
}

/* It goes for good: it must have been pending long enough, and not held. */
static void
check_final(const struct run *run, bool pruning)
{
	if (!pruning)
		fail("run %s was given up, and nobody pruned", run->id);
	if (run->pending == NOT_PENDING)
		fail("run %s was given up, and was not pending", run->id);
	if (run->held)
		fail("run %s was given up, and is held", run->id);
	if (run->pending == PENDING && walk.now_ms < run->pending_ms + GRACE_MS)
		fail("run %s was given up before its grace was over", run->id);
}

static void
check_run(struct run *run, bool asked, bool pruning)
{
	enum pending state = pending_of(run, NULL);

	run->gone = exists(path_of("repo/forgets/%s", run->id));
	if (run->gone || (state == ONE_WAY && run->pending != ONE_WAY))
		check_final(run, pruning);
	if (run->gone) {
		count("runs gone");
		return;
	}
	if (state == PENDING && run->pending == NOT_PENDING && !asked &&
	    (!pruning || walk.keep_all || run->held || is_newest_of_any(run)))
		fail("run %s became pending", run->id);
	if (state < run->pending && (run->pending == ONE_WAY || !asked))
		fail("run %s is pending no more", run->id);
	if (state == PENDING && run->pending == NOT_PENDING)
		run->pending_ms = walk.now_ms;
	run->pending = state;
	run->held = exists(path_of("repo/holds/%s", run->id));
}

/* What became of the runs.  `asked`: the run that was to be forgotten, undone
 * or held; `pruning`: the policy may have made some pending. */
static void
check_runs(const struct run *asked, bool pruning)
{
	for (size_t i = 0; i < walk.run_count; i++)
		if (!walk.runs[i].gone)
			check_run(
			    &walk.runs[i], &walk.runs[i] == asked, pruning);
}

static struct run *
choose_run(void)
{
	struct run *found[RUNS_MAX];
	unsigned n = 0;

	for (size_t i = 0; i < walk.run_count; i++)
		if (!walk.runs[i].gone)
			found[n++] = &walk.runs[i];
	return n == 0 ? NULL : found[random_below(n)];
}

static void
finish(struct outcome *outcome, struct run *run, bool pruning)
{
	model_events(outcome, NULL, NULL);
	model_no_effects(outcome);
	check_runs(run, pruning);
	runs_check(outcome);
}

/* What forget, undo and hold answer, undisturbed. */
static void
expect_status(const struct outcome *outcome, int wanted)
{
	if (outcome->status != wanted && !outcome->disturbed)
		fail("exit %d, not %d", outcome->status, wanted);
}

void
step_forget(void)
{
	struct run *run = choose_run();
	bool undo = random_chance(40);
	enum pending was = run != NULL ? run->pending : NOT_PENDING;
	bool undone = false;
	struct outcome outcome;
	struct harm harm;

	if (run == NULL)
		return;
	(void)pending_of(run, &undone);
	harm_choose(&harm, false);
	say("forget %s%s%s", undo ? "--undo " : "", run->id, harm.text);
	if (undo)
		RUN(&outcome, &harm, "forget", "--undo", run->id);
	else
		RUN(&outcome, &harm, "forget", run->id, "-y");
	finish(&outcome, run, false);
	if (undo)
		expect_status(&outcome,
		    was == ONE_WAY                 ? 20
		        : was == PENDING || undone ? 0
		                                   : 1);
	else
		expect_status(&outcome, run->held ? 20 : 0);
	if (outcome.status == 0 && (run->pending != NOT_PENDING) == undo)
		fail("forget: done, and it is %spending", undo ? "" : "not ");
	outcome_release(&outcome);
}

void
step_hold(void)
{
	struct run *run = choose_run();
	struct outcome outcome;
	struct harm harm;
	bool was;

	if (run == NULL)
		return;
	was = run->held;
	harm_choose(&harm, false);
	say("hold %s%s%s", was ? "--remove " : "", run->id, harm.text);
	if (was)
		RUN(&outcome, &harm, "hold", "--remove", run->id);
	else
		RUN(&outcome, &harm, "hold", run->id);
	finish(&outcome, run, false);
	expect_status(&outcome, !was && run->pending == ONE_WAY ? 20 : 0);
	if (outcome.status == 0 &&
	    (run->held == was || (!was && run->pending != NOT_PENDING)))
		fail("hold: done, and it is not");
	outcome_release(&outcome);
}

void
step_prune(void)
{
	struct outcome outcome;
	struct harm harm;

	harm_choose(&harm, false);
	say("prune%s", harm.text);
	world_write_config();
	RUN(&outcome, &harm, "prune", "-y");
	finish(&outcome, NULL, true);
	if (outcome.status != 0 && outcome.status != 11 &&
	    outcome.status != 20 && !outcome.disturbed)
		fail("prune: exit %d\n%s", outcome.status, outcome.err);
	outcome_release(&outcome);
}

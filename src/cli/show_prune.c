/* What prune and forget say. */
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/cli/locks.h"
#include "fleetbak/cli/prune.h"

static const char *
show_ns(const struct fb_cli *cli, int64_t ns, char text[FB_CLI_TEXT])
{
	char utc[FB_TIME_SIZE];

	fb_time_format(ns, utc);
	return fb_cli_time(cli, utc, text);
}

static void
put_ns(json_t *object, const char *key, int64_t ns)
{
	char utc[FB_TIME_SIZE];

	fb_time_format(ns, utc);
	fb_json_put_str(object, key, utc);
}

static json_t *
run_json(const struct fb_prune_run *run)
{
	json_t *item = json_object();

	fb_json_put_str(item, "run", run->ref.run);
	fb_json_put_str(item, "time", run->ref.time);
	fb_json_put_str(item, "action", fb_prune_action_name(run->action));
	fb_json_put_str(item, "why", run->why);
	(void)json_object_set_new(item, "held", json_boolean(run->held));
	fb_json_put_u64(item, "snapshots", run->snapshots);
	if (run->action != FB_PRUNE_KEEP)
		put_ns(item, "final_time", run->final_ns);
	if (run->problem != NULL)
		(void)json_object_set_new(
		    item, "error", fb_cli_error_json(NULL, run->problem));
	return item;
}

static void
put_runs(struct fb_cli *cli, const struct fb_prune_plan *plan)
{
	static const struct fb_column columns[] = { { "RUN", false },
		{ "TIME", false }, { "WHAT", false }, { "FINAL", false },
		{ "WHY", false } };
	FB_AUTO_TABLE struct fb_table table = { .columns = columns,
		.column_count = FB_COUNT(columns) };
	json_t *list = fb_cli_new_list(cli);
	char text[FB_CLI_TEXT], exact[FB_TIME_SIZE];

	for (size_t i = 0; i < plan->run_count; i++) {
		const struct fb_prune_run *run = &plan->runs[i];

		if (fb_cli_json(cli))
			fb_cli_add_item(cli, run_json(run));
		if (run->action == FB_PRUNE_KEEP && run->problem == NULL &&
		    !run->held)
			continue;
		fb_table_row(&table);
		fb_table_cell(&table, run->ref.run, NULL);
		fb_table_cell(&table, fb_cli_time(cli, run->ref.time, text),
		    run->ref.time);
		fb_table_cell(
		    &table, fb_prune_action_name(run->action), NULL);
		fb_time_format(run->final_ns, exact);
		fb_table_cell(&table,
		    run->action == FB_PRUNE_KEEP
		        ? "-"
		        : show_ns(cli, run->final_ns, text),
		    run->action == FB_PRUNE_KEEP ? "" : exact);
		fb_table_cell(&table, run->why != NULL ? run->why : "", NULL);
	}
	(void)json_object_set_new(cli->data, "runs", list);
	if (table.row_count > 0) {
		fb_cli_add_table(cli, &table);
		fb_buf_add_str(&cli->text, "\n");
	}
}

static void
add_number(struct fb_table *table, size_t number)
{
	FB_AUTO_FREE char *text = fb_format("%zu", number);

	fb_table_cell(table, number == 0 ? "-" : text, text);
}

static json_t *
machine_json(const struct fb_prune_machine *machine)
{
	json_t *item = json_object();

	fb_json_put_str(item, "machine", machine->name);
	fb_json_put_str(item, "group", machine->group);
	(void)json_object_set_new(
	    item, "selected", json_boolean(machine->selected));
	(void)json_object_set_new(item, "left", json_boolean(machine->left));
	fb_json_put_u64(item, "snapshots", machine->snapshots);
	fb_json_put_u64(item, "kept", machine->kept);
	fb_json_put_u64(item, "held_back", machine->held_back);
	if (machine->kept > 0)
		put_ns(item, "oldest_kept", machine->oldest_ns);
	return item;
}

static void
put_machines(struct fb_cli *cli, const struct fb_prune_plan *plan)
{
	static const struct fb_column columns[] = { { "MACHINE", false },
		{ "SNAPSHOTS", true }, { "KEEP", true }, { "REMOVE", true },
		{ "OLDEST KEPT", false }, { "WHY NOT MORE", false } };
	FB_AUTO_TABLE struct fb_table table = { .columns = columns,
		.column_count = FB_COUNT(columns) };
	json_t *list = fb_cli_new_list(cli);
	char text[FB_CLI_TEXT], exact[FB_TIME_SIZE];

	for (size_t i = 0; i < plan->machine_count; i++) {
		const struct fb_prune_machine *machine = &plan->machines[i];
		FB_AUTO_FREE char *note = machine->held_back == 0
		    ? NULL
		    : fb_format("%zu held back by others in their run",
		          machine->held_back);

		if (fb_cli_json(cli))
			fb_cli_add_item(cli, machine_json(machine));
		fb_table_row(&table);
		fb_table_cell(&table, machine->name, NULL);
		add_number(&table, machine->snapshots);
		add_number(&table, machine->kept);
		add_number(&table, machine->snapshots - machine->kept);
		fb_time_format(machine->oldest_ns, exact);
		fb_table_cell(&table,
		    machine->kept == 0
		        ? "none"
		        : show_ns(cli, machine->oldest_ns, text),
		    machine->kept == 0 ? "" : exact);
		fb_table_cell(&table,
		    !machine->selected ? "not selected"
		    : note != NULL     ? note
		                       : "",
		    NULL);
	}
	(void)json_object_set_new(cli->data, "machines", list);
	if (table.row_count > 0)
		fb_cli_add_table(cli, &table);
}

static void
explain_one(struct fb_cli *cli, const struct fb_prune_plan *plan,
    const struct fb_prune_snapshot *snapshot)
{
	const struct fb_prune_run *run = &plan->runs[snapshot->run];
	const char *why = snapshot->reasons != NULL ? snapshot->reasons
	    : run->action != FB_PRUNE_KEEP          ? run->why
	                                   : "kept by its run only";
	char text[FB_CLI_TEXT];
	json_t *item;

	if (!fb_cli_json(cli)) {
		fb_buf_add_fmt(&cli->text, "  %s  %-7s  %s\n",
		    show_ns(cli, snapshot->time_ns, text),
		    fb_prune_action_name(run->action),
		    why != NULL ? why : "");
		fb_cli_turn_page(cli);
		return;
	}
	item = json_object();
	fb_json_put_str(
	    item, "machine", plan->machines[snapshot->machine].name);
	fb_json_put_str(item, "run", run->ref.run);
	put_ns(item, "time", snapshot->time_ns);
	fb_json_put_str(item, "action", fb_prune_action_name(run->action));
	(void)json_object_set_new(
	    item, "wanted", json_boolean(snapshot->keep));
	fb_json_put_str(item, "why", why);
	fb_cli_add_item(cli, item);
}

/* Each snapshot with the rules that keep it, as a calendar of its machine. */
static int
explain(struct fb_cli *cli, struct fb_prune_plan *plan, struct fb_error *err)
{
	json_t *list = fb_cli_new_list(cli);
	struct fb_prune_snapshot snapshot;
	uint32_t last = UINT32_MAX;
	bool more = true;
	int rc = fb_prune_rewind(plan, err);

	(void)json_object_set_new(cli->data, "snapshots", list);
	while (rc == FB_OK &&
	    (rc = fb_prune_next(plan, &snapshot, &more, err)) == FB_OK &&
	    more) {
		const struct fb_prune_machine *machine =
		    &plan->machines[snapshot.machine];

		if (snapshot.machine != last)
			fb_buf_add_fmt(&cli->text, "\n%s%s%s\n", machine->name,
			    machine->group != NULL ? ", as all of " : "",
			    machine->group != NULL ? machine->group : "");
		last = snapshot.machine;
		explain_one(cli, plan, &snapshot);
	}
	return rc;
}

static void
put_usage(json_t *object, const char *key, const struct fb_gc_usage *usage)
{
	json_t *item = json_object();

	fb_json_put_u64(item, "packs", usage->packs);
	fb_json_put_u64(item, "recipes", usage->recipes);
	fb_json_put_u64(item, "bytes", usage->bytes);
	(void)json_object_set_new(object, key, item);
}

static void
put_space(struct fb_cli *cli, const struct fb_prune_plan *plan)
{
	const struct fb_gc_estimate *space = &plan->space;
	char now[FB_CLI_TEXT], later[FB_CLI_TEXT], all[FB_CLI_TEXT];
	size_t count = 0;

	put_usage(cli->data, "stored", &space->all);
	put_usage(cli->data, "freed_now", &space->now);
	put_usage(cli->data, "freed_after_grace", &space->later);
	fb_json_put_u64(cli->data, "removed_snapshots", plan->removed);
	for (size_t i = 0; i < plan->run_count; i++)
		count += plan->runs[i].action != FB_PRUNE_KEEP;
	fb_buf_add_fmt(&cli->text,
	    "%zu of %zu runs go; freed now %s, when their grace is over "
	    "%s, of %s\n",
	    count, plan->run_count, fb_cli_size(cli, space->now.bytes, now),
	    fb_cli_size(cli, space->later.bytes, later),
	    fb_cli_size(cli, space->all.bytes, all));
	fb_cli_gc_locks(cli, &space->locks, false);
	if (space->unread > 0) {
		fb_json_put_u64(cli->data, "unread_recipes", space->unread);
		fb_buf_add_fmt(&cli->text,
		    "How much of what stays is needed by nobody was not "
		    "weighed: %llu recipes would have to be read (--waste "
		    "does)\n",
		    (unsigned long long)space->unread);
	}
	if (!space->weighed)
		return;
	fb_json_put_u64(cli->data, "waste_bytes", space->waste);
	fb_buf_add_fmt(&cli->text,
	    "%s of what stays is needed by nobody: packs go whole\n",
	    fb_cli_size(cli, space->waste, now));
}

int
fb_cli_prune_plan(
    struct fb_cli *cli, struct fb_prune_plan *plan, struct fb_error *err)
{
	int rc = FB_OK;

	cli->data = json_object();
	fb_json_put_str(cli->data, "fleet", cli->config->fleet_name);
	put_runs(cli, plan);
	put_machines(cli, plan);
	if (fb_arguments_on(&cli->args, FB_OPT_EXPLAIN))
		rc = explain(cli, plan, err);
	put_space(cli, plan);
	fb_cli_prune_cost(cli, &plan->cost);
	if (rc < 0 || !cli->dry_run)
		return rc;
	(void)json_object_set_new(cli->members, "dry_run", json_true());
	fb_buf_add_str(&cli->text, "Nothing was changed.\n");
	return FB_OK;
}

static void
put_waiting(struct fb_cli *cli, const struct fb_gc_report *gc)
{
	json_t *list = json_array();

	for (size_t i = 0; i < gc->waiting_count; i++) {
		const struct fb_gc_session *session = &gc->waiting[i];
		json_t *item = json_object();

		fb_json_put_str(item, "session", session->id);
		fb_json_put_str(item, "kind", session->doc.kind);
		fb_json_put_str(item, "host", session->doc.host);
		fb_json_put_str(item, "started", session->doc.started);
		(void)json_array_append_new(list, item);
	}
	(void)json_object_set_new(cli->data, "waiting_for", list);
}

/* Nothing is lost by it; but lists that lag, and people who put sets there,
 * are to be known of. */
static void
warn_spared(struct fb_cli *cli, const struct fb_gc_report *gc)
{
	struct fb_error why = { 0 };

	fb_json_put_u64(cli->data, "spared_objects", gc->spared);
	if (gc->spared == 0)
		return;
	(void)fb_fail_id(&why, FB_ECORRUPT, "E-GC-SET",
	    "%llu objects that runs need were in what was to be deleted, and "
	    "were taken out of it",
	    (unsigned long long)gc->spared);
	(void)fb_hint(&why,
	    "run fleetbak doctor, and see 'fleetbak explain E-GC-SET': a list "
	    "of the store lagged, or somebody else wrote gc/current");
	fb_cli_warn(cli, NULL, &why);
}

void
fb_cli_prune_report(struct fb_cli *cli, const struct fb_prune_report *report)
{
	const struct fb_gc_report *gc = &report->gc;
	char size[FB_CLI_TEXT];

	fb_json_put_u64(cli->data, "made_pending", report->pending);
	fb_json_put_u64(cli->data, "made_final", report->final);
	fb_json_put_u64(cli->data, "saved", report->saved);
	put_usage(cli->data, "removed", &gc->removed);
	fb_json_put_u64(cli->data, "fenced_sessions", gc->fenced);
	fb_json_put_u64(cli->data, "abandoned_uploads", gc->uploads);
	warn_spared(cli, gc);
	put_waiting(cli, gc);
	fb_cli_prune_requests(cli, &report->requests);
	fb_buf_add_fmt(&cli->text,
	    "%zu runs are pending now, %zu were given up for good; %llu packs "
	    "and %llu recipes deleted: %s\n",
	    report->pending, report->final,
	    (unsigned long long)gc->removed.packs,
	    (unsigned long long)gc->removed.recipes,
	    fb_cli_size(cli, gc->removed.bytes, size));
	fb_cli_gc_locks(cli, &gc->locks, true);
	if (report->saved > 0)
		fb_buf_add_fmt(&cli->text,
		    "%zu stay: they were undone or held meanwhile\n",
		    report->saved);
	if (gc->fenced > 0)
		fb_buf_add_fmt(&cli->text,
		    "%llu sessions gave no sign of life any more and were "
		    "fenced off\n", (unsigned long long)gc->fenced);
	if (gc->uploads > 0)
		fb_buf_add_fmt(&cli->text,
		    "%llu uploads that nobody ended were given up\n",
		    (unsigned long long)gc->uploads);
	if (report->pending > 0)
		fb_buf_add_str(&cli->text,
		    "undo: fleetbak forget --undo RUN\n");
	if (cli->quiet && !cli->failed)
		fb_cli_clear_text(cli);
}

int
fb_cli_prune_confirm(struct fb_cli *cli, const struct fb_prune_plan *plan,
    struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf question = { 0 };
	size_t pending = 0, final = 0, bare = 0;
	char grace[FB_CLI_TEXT];

	for (size_t i = 0; i < plan->run_count; i++) {
		pending += plan->runs[i].action == FB_PRUNE_REMOVE;
		final += plan->runs[i].action == FB_PRUNE_FINAL;
	}
	for (size_t i = 0; i < plan->machine_count; i++)
		bare += plan->machines[i].snapshots > 0 &&
		    plan->machines[i].kept == 0;
	if (pending + final == 0)
		return FB_OK;
	fb_buf_add_fmt(&question, "%zu runs are to go", pending);
	if (pending > 0 && cli->config->retention.grace_ms > 0)
		fb_buf_add_fmt(&question, ", which can be undone for %s",
		    fb_cli_span(cli->config->retention.grace_ms, grace));
	if (final > 0)
		fb_buf_add_fmt(
		    &question, ", and %zu go for good now", final);
	if (bare > 0)
		fb_buf_add_fmt(&question,
		    "; %zu machines are left without any backup", bare);
	fb_cli_prune_cost_question(cli, &plan->cost, &question);
	return fb_cli_confirm(cli, fb_buf_str(&question),
	    bare > 0 ? "remove the last ones" : "yes", err);
}

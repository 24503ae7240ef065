/*
 * A plan of a download, as text and as JSON.
 */
#include <string.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/cli/download.h"
#include "fleetbak/cli/locks.h"

static void
add_steps(struct fb_buf *dst, const struct fb_plan_machine *machine)
{
	struct fb_plan_steps steps;

	fb_plan_steps_make(machine, &steps);
	for (size_t i = 0; i < steps.count; i++) {
		const struct fb_plan_step *step = &steps.items[i];
		const char *detail = step->detail != NULL ? step->detail : "";

		fb_buf_add_fmt(dst, "  %2zu  %-9s%s%s\n", i + 1, step->verb,
		    detail[0] != '\0' ? " " : "", detail);
	}
	fb_plan_steps_release(&steps);
}

static void
add_machine(struct fb_cli *cli, const struct fb_plan_machine *machine,
    const char *name)
{
	struct fb_buf *dst = &cli->text;
	FB_AUTO_FREE char *label =
	    fb_cli_machine(name, machine->machine->name);
	char size[FB_CLI_TEXT], span[FB_CLI_TEXT];

	fb_buf_add_fmt(dst, "\n%s  %s, %s", label,
	    fb_power_name(machine->machine->power),
	    machine->change != NULL ? machine->change : "");
	if (machine->refusal != NULL) {
		fb_buf_add_str(dst, "\n  FAIL  ");
		fb_cli_add_failure(dst, machine->refusal);
		return;
	}
	fb_buf_add_fmt(dst, ": reads %s",
	    fb_cli_size(cli, machine->read_bytes, size));
	if (machine->downtime_ms > 0)
		fb_buf_add_fmt(dst, ", down about %s",
		    fb_cli_span(machine->downtime_ms, span));
	else if (machine->machine->power != FB_POWER_DOWN)
		fb_buf_add_str(dst, ", not stopped");
	fb_buf_add_str(dst, "\n");
	add_steps(dst, machine);
	for (size_t i = 0; i < machine->machine->volume_count; i++) {
		const struct fb_volume *volume =
		    &machine->machine->volumes[i];

		if (volume->note != NULL)
			fb_buf_add_fmt(dst, "      %s: %s\n", volume->name,
			    volume->note);
		if (fb_plan_leaves(machine, i))
			fb_buf_add_fmt(dst,
			    "      %s: unchanged so far: not read\n",
			    volume->name);
	}
}

static json_t *
not_read_json(const struct fb_plan_machine *planned)
{
	json_t *list = json_array();

	for (size_t i = 0; i < planned->machine->volume_count; i++)
		if (fb_plan_leaves(planned, i))
			(void)json_array_append_new(list,
			    json_string(planned->machine->volumes[i].name));
	return list;
}

/* Why a volume is captured the way it is, or is not. */
static json_t *
notes_json(const struct fb_machine *machine)
{
	json_t *list = json_array();

	for (size_t i = 0; i < machine->volume_count; i++) {
		json_t *item;

		if (machine->volumes[i].note == NULL)
			continue;
		item = json_object();
		fb_json_put_str(item, "volume", machine->volumes[i].name);
		fb_json_put_str(item, "note", machine->volumes[i].note);
		(void)json_array_append_new(list, item);
	}
	return list;
}

static json_t *
machine_json(const struct fb_plan_machine *machine, const char *name)
{
	json_t *item = json_object(), *list = json_array();
	struct fb_plan_steps steps;

	fb_plan_steps_make(machine, &steps);
	for (size_t i = 0; i < steps.count; i++) {
		json_t *step = json_object();

		fb_json_put_str(step, "step", steps.items[i].verb);
		fb_json_put_str(step, "detail", steps.items[i].detail);
		(void)json_array_append_new(list, step);
	}
	fb_plan_steps_release(&steps);
	fb_json_put_str(item, "machine", name);
	fb_json_put_str(item, "name", machine->machine->name);
	fb_json_put_str(
	    item, "state", fb_power_name(machine->machine->power));
	fb_json_put_str(item, "change", machine->change);
	fb_json_put_str(item, "lifecycle",
	    fb_lifecycle_name(machine->machine->lifecycle));
	fb_json_put_u64(item, "read_bytes", machine->read_bytes);
	fb_json_put_seconds(item, "downtime_seconds", machine->downtime_ms);
	(void)json_object_set_new(item, "steps", list);
	(void)json_object_set_new(item, "not_read", not_read_json(machine));
	(void)json_object_set_new(
	    item, "notes", notes_json(machine->machine));
	if (machine->refusal != NULL)
		(void)json_object_set_new(item, "error",
		    fb_cli_error_json(NULL, machine->refusal));
	return item;
}

static void
put_machines(
    struct fb_cli *cli, const struct fb_plan *plan, struct fb_tally *tally)
{
	json_t *list = fb_cli_new_list(cli);

	for (size_t i = 0; i < plan->machine_count; i++) {
		const struct fb_plan_machine *machine = &plan->machines[i];
		FB_AUTO_FREE char *name = fb_format("%s/%s",
		    machine->machine->source, machine->machine->id);

		if (fb_cli_json(cli))
			fb_cli_add_item(cli, machine_json(machine, name));
		else
			add_machine(cli, machine, name);
		fb_cli_turn_page(cli);
		if (machine->refusal == NULL) {
			fb_tally_good(tally);
			continue;
		}
		fb_tally_bad(tally, machine->refusal->code);
		fb_cli_add_error(cli, name, machine->refusal);
	}
	(void)json_object_set_new(cli->data, "machines", list);
}

/* Machines that are stopped together: which, and in which order. */
static void
put_units(struct fb_cli *cli, const struct fb_plan *plan)
{
	json_t *list = fb_cli_new_list(cli);

	for (size_t i = 0; i < plan->units.count; i++) {
		const struct fb_unit *unit = &plan->units.items[i];
		json_t *item = json_object(), *members = json_array();

		fb_json_put_str(item, "unit", unit->name);
		(void)json_object_set_new(item, "stop_order", members);
		if (unit->count > 1)
			fb_buf_add_fmt(&cli->text,
			    "\nunit %s  stops, in this order, and starts the "
			    "other way round:\n", unit->name);
		for (size_t k = 0; k < unit->count; k++) {
			const struct fb_machine *machine =
			    &plan->fleet.machines[unit->members[k]];
			FB_AUTO_FREE char *name = fb_format(
			    "%s/%s", machine->source, machine->id);
			FB_AUTO_FREE char *label =
			    fb_cli_machine(name, machine->name);

			(void)json_array_append_new(
			    members, json_string(name));
			if (unit->count > 1)
				fb_buf_add_fmt(&cli->text, "  %2zu  %s\n",
				    k + 1, label);
		}
		fb_cli_add_item(cli, item);
		fb_cli_turn_page(cli);
	}
	(void)json_object_set_new(cli->data, "units", list);
}

static void
put_sources(
    struct fb_cli *cli, const struct fb_fleet *fleet, struct fb_tally *tally)
{
	for (size_t i = 0; i < fleet->failure_count; i++) {
		const struct fb_source_failure *failure = &fleet->failures[i];

		fb_buf_add_fmt(
		    &cli->text, "\nsource %s\n  FAIL  ", failure->source);
		fb_cli_add_failure(&cli->text, &failure->err);
		fb_cli_add_error(cli, failure->source, &failure->err);
		fb_tally_bad(tally, failure->err.code);
	}
}

static bool
is_same(const struct fb_plan_machine *machine)
{
	return machine->change != NULL && strcmp(machine->change, "same") == 0;
}

static bool
is_change(const struct fb_plan *plan)
{
	if (plan->gone_count > 0)
		return true;
	for (size_t i = 0; i < plan->machine_count; i++)
		if (!is_same(&plan->machines[i]))
			return true;
	return false;
}

static void
put_changes(struct fb_cli *cli, const struct fb_plan *plan)
{
	struct fb_buf *dst = &cli->text;
	json_t *gone = json_array();

	for (size_t i = 0; i < plan->gone_count; i++)
		(void)json_array_append_new(gone, json_string(plan->gone[i]));
	(void)json_object_set_new(cli->data, "gone", gone);
	fb_json_put_str(cli->data, "newest_run",
	    plan->newest_run[0] != '\0' ? plan->newest_run : NULL);
	fb_json_put_str(cli->data, "unfinished_run",
	    plan->unfinished_run[0] != '\0' ? plan->unfinished_run : NULL);

	if (plan->newest_run[0] == '\0')
		fb_buf_add_str(dst, "\nThis is the first run.\n");
	else if (!is_change(plan))
		fb_buf_add_fmt(dst,
		    "\nSince the last run (%s): the same fleet.\n",
		    plan->newest_run);
	else
		fb_buf_add_fmt(
		    dst, "\nSince the last run (%s):\n", plan->newest_run);
	for (size_t i = 0; i < plan->machine_count; i++)
		if (!is_same(&plan->machines[i]))
			fb_buf_add_fmt(dst, "  %s: %s/%s\n",
			    plan->machines[i].change != NULL
			        ? plan->machines[i].change
			        : "failed",
			    plan->machines[i].machine->source,
			    plan->machines[i].machine->id);
	for (size_t i = 0; i < plan->gone_count; i++)
		fb_buf_add_fmt(dst,
		    "  gone: %s; its backups stay\n", plan->gone[i]);
	if (plan->unfinished_run[0] != '\0')
		fb_buf_add_fmt(dst,
		    "\nRun %s was cut off: a download goes on with it first.\n",
		    plan->unfinished_run);
}

/* The command that carries out exactly this. */
static void
add_command(struct fb_cli *cli, const struct fb_plan *plan)
{
	const struct fb_option_value *select =
	    &cli->args.options[FB_OPT_SELECT];

	fb_buf_add_fmt(&cli->text,
	    "Nothing was changed.  To do exactly this:  "
	    "fleetbak download --plan %s",
	    plan->id);
	for (size_t i = 0; i < select->count; i++)
		fb_buf_add_fmt(&cli->text, " -s '%s'", select->values[i]);
	for (size_t i = 0; i < cli->args.count; i++)
		fb_buf_add_fmt(&cli->text, " %s", cli->args.items[i]);
	fb_buf_add_str(&cli->text, "\n");
}

static void
put_totals(struct fb_cli *cli, const struct fb_plan *plan)
{
	char read[FB_CLI_TEXT], need[FB_CLI_TEXT], space[FB_CLI_TEXT];

	fb_buf_add_fmt(&cli->text,
	    "\n%zu machine%s, %s to read; needs about %s, free %s\n",
	    plan->machine_count, plan->machine_count == 1 ? "" : "s",
	    fb_cli_size(cli, plan->read_bytes, read),
	    fb_cli_size(cli, plan->need_bytes, need),
	    plan->space_bytes == UINT64_MAX
	        ? "as much as wanted"
	        : fb_cli_size(cli, plan->space_bytes, space));
	fb_json_put_u64(cli->data, "read_bytes", plan->read_bytes);
	fb_json_put_u64(cli->data, "need_bytes", plan->need_bytes);
	fb_json_put_u64(cli->data, "free_bytes", plan->space_bytes);
	fb_json_put_digest(cli->data, "topology_hash", &plan->topology);
	fb_json_put_digest(cli->data, "topology_hash_selection",
	    &plan->topology_selection);
}

static void
show_plan(struct fb_cli *cli, const struct fb_plan *plan, struct fb_repo *opened)
{
	const struct fb_config_repository *repo =
	    fb_engine_repo_config(&cli->engine);
	struct fb_tally tally = { 0 };
	enum fb_exit status;

	(void)json_object_set_new(cli->members, "dry_run", json_true());
	fb_json_put_str(cli->members, "plan", plan->id);
	cli->data = json_object();
	fb_json_put_str(cli->data, "fleet", cli->config->fleet_name);
	fb_json_put_str(cli->data, "repository", repo->name);
	fb_json_put_str(cli->data, "url", repo->url);
	fb_buf_add_fmt(&cli->text, "%s -> %s (%s)\n",
	    cli->config->fleet_name, repo->name, repo->url);
	put_machines(cli, plan, &tally);
	put_units(cli, plan);
	put_sources(cli, &plan->fleet, &tally);
	put_changes(cli, plan);
	(void)json_object_set_new(cli->data, "limits", fb_cli_limits(cli));
	put_totals(cli, plan);
	fb_cli_lock_preview(cli, opened);
	fb_buf_add_fmt(&cli->text, "plan %s\n", plan->id);
	add_command(cli, plan);
	status = fb_tally_exit(&tally);
	if (plan->machine_count == 0 && plan->fleet.failure_count == 0) {
		struct fb_error none = { 0 };

		(void)fb_fail_id(&none, FB_ECONFIG, "E-SEL-NONE",
		    "no source has any machine");
		fb_cli_add_error(cli, NULL, &none);
		fb_buf_add_str(&cli->summary, "fleetbak: ");
		fb_cli_add_failure(&cli->summary, &none);
		status = FB_EXIT_USAGE;
	}
	if (status == FB_EXIT_OK && is_change(plan) &&
	    fb_arguments_on(&cli->args, FB_OPT_EXIT_CODE))
		status = FB_EXIT_CHANGES;
	if (status != FB_EXIT_OK)
		fb_cli_status(cli, status);
}

int
fb_cli_plan(struct fb_cli *cli, struct fb_error *err)
{
	FB_AUTO_REPO struct fb_repo *repo = NULL;
	struct fb_download_request request;
	struct fb_plan *plan = NULL;
	int rc;

	cli->schema = "plan";
	rc = fb_cli_configure(cli, err);
	if (rc == FB_OK)
		rc = fb_engine_repo(&cli->engine, &repo, err);
	if (rc < 0)
		return rc;
	fb_cli_download_request(cli, &request);
	rc = fb_cli_shard(cli, &request, err);
	if (rc < 0)
		return rc;
	rc = fb_plan_make(&cli->engine, repo, &request, &plan, err);
	if (rc < 0)
		return rc;
	show_plan(cli, plan, repo);
	fb_plan_free(plan);
	return FB_OK;
}

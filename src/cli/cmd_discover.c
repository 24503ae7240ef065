#include <stdint.h>
#include <string.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/cli/cli.h"
#include "fleetbak/fleet/selector.h"

static json_t *
volumes_json(const struct fb_machine *machine)
{
	json_t *list = json_array();

	for (size_t i = 0; i < machine->volume_count; i++) {
		const struct fb_volume *volume = &machine->volumes[i];
		json_t *item = json_object();

		fb_json_put_str(item, "volume", volume->name);
		fb_json_put_str(
		    item, "kind", fb_volume_kind_name(volume->kind));
		fb_json_put_u64(item, "size_bytes", volume->size);
		fb_json_put_u64(item, "allocated_bytes", volume->allocated);
		fb_json_put_str(item, "method", volume->method);
		(void)json_object_set_new(item, "read_stopped",
		    json_boolean(volume->read_stopped));
		(void)json_array_append_new(list, item);
	}
	return list;
}

static json_t *
machine_json(const struct fb_machine *machine, const char *name)
{
	json_t *item = json_object();

	fb_json_put_str(item, "machine", name);
	fb_json_put_str(item, "source", machine->source);
	fb_json_put_str(item, "id", machine->id);
	fb_json_put_str(item, "name", machine->name);
	fb_json_put_str(item, "driver", machine->driver);
	fb_json_put_str(item, "role", machine->role);
	fb_json_put_str(item, "parent", machine->parent);
	fb_json_put_str(item, "state", fb_power_name(machine->power));
	(void)json_object_set_new(
	    item, "selected", json_boolean(machine->selected));
	(void)json_object_set_new(
	    item, "labels", fb_json_labels(&machine->labels));
	if (machine->problem != NULL) {
		(void)json_object_set_new(item, "error",
		    fb_cli_error_json(NULL, machine->problem));
		return item;
	}
	fb_json_put_str(
	    item, "lifecycle", fb_lifecycle_name(machine->lifecycle));
	fb_json_put_digest(item, "description", &machine->description);
	(void)json_object_set_new(item, "volumes", volumes_json(machine));
	return item;
}

static uint64_t
size_of(const struct fb_machine *machine)
{
	uint64_t size = 0;

	for (size_t i = 0; i < machine->volume_count; i++)
		if (fb_volume_is_captured(&machine->volumes[i]))
			size += machine->volumes[i].size;
	return size;
}

static void
add_labels(struct fb_buf *dst, const struct fb_labels *labels)
{
	for (size_t i = 0; i < labels->count; i++)
		fb_buf_add_fmt(dst, "%s%s=%s", i > 0 ? " " : "",
		    labels->items[i].key, labels->items[i].value);
}

static void
add_volumes(struct fb_buf *dst, const struct fb_machine *machine)
{
	for (size_t i = 0; i < machine->volume_count; i++)
		if (machine->volumes[i].kind != FB_VOLUME_DEFINITION)
			fb_buf_add_fmt(dst, "%s%s", dst->len > 0 ? " " : "",
			    machine->volumes[i].name);
}

static void
add_machine(struct fb_cli *cli, struct fb_table *table,
    const struct fb_machine *machine, const char *name)
{
	FB_AUTO_BUF struct fb_buf labels = { 0 };
	FB_AUTO_BUF struct fb_buf volumes = { 0 };
	char size[FB_CLI_TEXT], exact[FB_CLI_TEXT];

	add_labels(&labels, &machine->labels);
	add_volumes(&volumes, machine);
	fb_table_row(table);
	fb_table_cell(table, name, NULL);
	fb_table_cell(table,
	    machine->problem != NULL ? "FAIL" : fb_power_name(machine->power),
	    NULL);
	fb_table_cell(table, machine->role != NULL ? machine->role : "", NULL);
	fb_table_cell(
	    table, machine->parent != NULL ? machine->parent : "-", NULL);
	fb_table_cell(table, fb_buf_str(&volumes), NULL);
	(void)snprintf(exact, sizeof(exact), "%llu",
	    (unsigned long long)size_of(machine));
	fb_table_cell(table, fb_cli_size(cli, size_of(machine), size), exact);
	fb_table_cell(table,
	    machine->problem != NULL
	        ? ""
	        : fb_lifecycle_name(machine->lifecycle),
	    NULL);
	fb_table_cell(table, fb_buf_str(&labels), NULL);
}

static void
report_failure(struct fb_cli *cli, const char *what,
    const struct fb_error *error, struct fb_tally *tally)
{
	fb_buf_add_fmt(&cli->summary, "FAIL  %s  ", what);
	fb_cli_add_failure(&cli->summary, error);
	fb_cli_add_error(cli, what, error);
	fb_tally_bad(tally, error->code);
}

static void
report_fleet(struct fb_cli *cli, const struct fb_fleet *fleet)
{
	static const struct fb_column columns[] = { { "MACHINE", false },
		{ "STATE", false }, { "ROLE", false }, { "PARENT", false },
		{ "VOLUMES", false }, { "SIZE", true },
		{ "LIFECYCLE", false }, { "LABELS", false } };
	FB_AUTO_TABLE struct fb_table table = { .columns = columns,
		.column_count = FB_COUNT(columns) };
	struct fb_tally tally = { 0 };

	for (size_t i = 0; i < fleet->count; i++) {
		const struct fb_machine *machine = &fleet->machines[i];
		FB_AUTO_FREE char *name =
		    fb_format("%s/%s", machine->source, machine->id);

		if (!machine->selected)
			continue;
		add_machine(cli, &table, machine, name);
		if (fb_cli_json(cli))
			fb_cli_add_item(cli, machine_json(machine, name));
		if (machine->problem != NULL)
			report_failure(cli, name, machine->problem, &tally);
		else
			fb_tally_good(&tally);
	}
	fb_cli_add_table(cli, &table);
	for (size_t i = 0; i < fleet->failure_count; i++)
		report_failure(cli, fleet->failures[i].source,
		    &fleet->failures[i].err, &tally);
	if (fb_tally_exit(&tally) != FB_EXIT_OK)
		fb_cli_status(cli, fb_tally_exit(&tally));
	fb_buf_add_fmt(&cli->summary, "%zu of %zu machines, %zu failed\n",
	    tally.good + tally.bad - fleet->failure_count, fleet->count,
	    tally.bad);
}

static int
discover_run(struct fb_cli *cli, struct fb_error *err)
{
	const struct fb_option_value *select =
	    &cli->args.options[FB_OPT_SELECT];
	struct fb_drivers drivers = { 0 };
	struct fb_fleet fleet = { 0 };
	int rc;

	cli->data = fb_cli_new_list(cli);
	rc = fb_cli_configure(cli, err);
	if (rc == FB_OK)
		rc = fb_engine_discover(&cli->engine, &drivers, &fleet, err);
	if (rc == FB_OK)
		rc = fb_select(&fleet, select->values, select->count,
		    cli->args.items, cli->args.count, err);
	if (rc == FB_OK) {
		fb_json_put_str(
		    cli->members, "fleet", cli->config->fleet_name);
		report_fleet(cli, &fleet);
	}
	fb_fleet_release(&fleet);
	fb_drivers_close(&drivers);
	return rc;
}

const struct fb_command fb_cmd_discover = {
	.name = "discover",
	.group = "Every day",
	.args = "[MACHINE ...]",
	.args_max = SIZE_MAX,
	.help = "what machines are out there",
	.examples = "fleetbak discover\tevery machine of every source\n"
		    "fleetbak discover -s env=prod\tsome of them\n",
	.about = "Asks every source for its machines and shows them with "
		 "their state, volumes and labels.  A machine whose "
		 "description is wrong, and a source that cannot be asked, "
		 "are shown as failed; the others are listed all the same.",
	.cancels = true,
	.run = discover_run,
};

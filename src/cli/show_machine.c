#include "fleetbak/cli/show.h"
#include "fleetbak/cli/snapshots.h"

static json_t *
volume_json(const struct fb_manifest_volume *volume)
{
	json_t *item = json_object();

	fb_json_put_str(item, "volume", volume->name);
	fb_json_put_str(item, "kind", fb_volume_kind_name(volume->kind));
	(void)json_object_set_new(
	    item, "captured", json_boolean(volume->captured));
	if (!volume->captured)
		return item;
	fb_json_put_u64(item, "size_bytes", volume->size);
	fb_json_put_u64(item, "read_bytes", volume->read_bytes);
	fb_json_put_u64(item, "new_bytes", volume->new_bytes);
	fb_json_put_u64(item, "stored_bytes", volume->stored_bytes);
	fb_json_put_str(item, "method", volume->method);
	fb_json_put_digest(item, "root", &volume->root);
	fb_json_put_digest(item, "recipe", &volume->recipe);
	if (volume->has_flat)
		fb_json_put_digest(item, "sha256", &volume->flat);
	fb_json_put_u64(item, "changed_files", volume->changed_files);
	return item;
}

static void
add_volume(struct fb_cli *cli, struct fb_table *table,
    const struct fb_manifest_volume *volume)
{
	char text[FB_CLI_TEXT], exact[FB_CLI_TEXT], hex[FB_DIGEST_HEX_SIZE];

	fb_table_row(table);
	fb_table_cell(table, volume->name, NULL);
	fb_table_cell(table, fb_volume_kind_name(volume->kind), NULL);
	if (!volume->captured) {
		fb_table_cell(table, "-", "0");
		fb_table_cell(table, "-", "0");
		fb_table_cell(table, "not captured", NULL);
		return;
	}
	(void)snprintf(exact, sizeof(exact), "%llu",
	    (unsigned long long)volume->size);
	fb_table_cell(table, fb_cli_size(cli, volume->size, text), exact);
	(void)snprintf(exact, sizeof(exact), "%llu",
	    (unsigned long long)volume->read_bytes);
	fb_table_cell(
	    table, fb_cli_size(cli, volume->read_bytes, text), exact);
	fb_table_cell(
	    table, volume->method != NULL ? volume->method : "-", NULL);
	fb_digest_hex(&volume->root, hex);
	(void)snprintf(text, sizeof(text), "%.16s", hex);
	fb_table_cell(table, text, hex);
}

static void
put_head(struct fb_cli *cli, const struct fb_manifest_machine *machine)
{
	char time[FB_CLI_TEXT], down[FB_CLI_TEXT];
	json_t *data = cli->data;

	fb_json_put_str(data, "id", machine->id);
	fb_json_put_str(data, "source", machine->source);
	fb_json_put_str(data, "driver", machine->driver);
	fb_json_put_str(data, "name", machine->name);
	fb_json_put_str(data, "role", machine->role);
	fb_json_put_str(data, "parent", machine->parent);
	(void)json_object_set_new(
	    data, "labels", fb_json_labels(&machine->labels));
	fb_json_put_str(data, "state", fb_power_name(machine->power));
	fb_json_put_str(data, "time", machine->snapshot_time);
	fb_json_put_str(data, "consistency", fb_level_name(machine->level));
	fb_json_put_str(
	    data, "lifecycle", fb_lifecycle_name(machine->lifecycle));
	fb_json_put_seconds(data, "downtime_seconds", machine->downtime_ms);
	fb_json_put_u64(data, "size_bytes", fb_snapshot_size(machine));
	if (cli->output != FB_OUTPUT_TABLE)
		return;
	fb_buf_add_fmt(&cli->text, "  of        %s, %s\n",
	    fb_cli_time(cli, machine->snapshot_time, time),
	    fb_level_name(machine->level));
	fb_buf_add_fmt(&cli->text, "  was       %s; down for %s (%s)\n",
	    fb_power_name(machine->power),
	    fb_cli_span(machine->downtime_ms, down),
	    fb_lifecycle_name(machine->lifecycle));
	if (machine->role != NULL && machine->role[0] != '\0')
		fb_buf_add_fmt(&cli->text, "  role      %s\n", machine->role);
	if (machine->parent != NULL)
		fb_buf_add_fmt(
		    &cli->text, "  parent    %s\n", machine->parent);
	for (size_t i = 0; i < machine->labels.count; i++)
		fb_buf_add_fmt(&cli->text, "%s%s=%s%s",
		    i == 0 ? "  labels    " : " ",
		    machine->labels.items[i].key,
		    machine->labels.items[i].value,
		    i + 1 == machine->labels.count ? "\n" : "");
	fb_buf_add_str(&cli->text, "\n");
}

int
fb_cli_show_machine(struct fb_cli *cli, struct fb_repo *repo,
    const struct fb_manifest_machine *machine, struct fb_error *err)
{
	static const struct fb_column columns[] = { { "VOLUME", false },
		{ "KIND", false }, { "SIZE", true }, { "READ", true },
		{ "METHOD", false }, { "ROOT", false } };
	FB_AUTO_TABLE struct fb_table table = { .columns = columns,
		.column_count = FB_COUNT(columns) };
	json_t *volumes = json_array();

	(void)repo;
	cli->data = json_object();
	put_head(cli, machine);
	for (size_t i = 0; i < machine->volume_count; i++) {
		add_volume(cli, &table, &machine->volumes[i]);
		(void)json_array_append_new(
		    volumes, volume_json(&machine->volumes[i]));
	}
	(void)json_object_set_new(cli->data, "volumes", volumes);
	fb_cli_add_table(cli, &table);
	if (!machine->failed)
		return FB_OK;
	*err = *machine->failure;
	return err->code < 0
	    ? err->code
	    : fb_fail_id(err, FB_EFAILED, "E-SNAPSHOT-UNKNOWN",
	          "the machine failed in this run");
}

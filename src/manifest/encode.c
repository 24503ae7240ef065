/* Manifest structs as JSON. */
#include <stdio.h>
#include <string.h>

#include "model.h"

#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"

static json_t *
text_json(const char *text)
{
	json_t *value = json_string(text != NULL ? text : "");
	FB_AUTO_BUF struct fb_buf escaped = { 0 };

	if (value != NULL)
		return value;
	/* Not UTF-8: a message from outside.  Show its bytes. */
	fb_text_add_escaped(&escaped,
	    (struct fb_span){ (const uint8_t *)text, strlen(text) });
	return json_string(fb_buf_str(&escaped));
}

static json_t *
text_or_null(const char *text)
{
	return text == NULL || text[0] == '\0' ? json_null() : text_json(text);
}

static json_t *
digest_json(const struct fb_digest *digest)
{
	char hex[FB_DIGEST_HEX_SIZE];

	fb_digest_hex(digest, hex);
	return json_string(hex);
}

static json_t *
number_json(uint64_t number)
{
	return json_integer((json_int_t)number);
}

static json_t *
problem_json(const struct fb_error *problem)
{
	if (problem->code >= 0)
		return json_null();
	return json_pack("{s:s,s:o,s:o}", "code", fb_code_name(problem->code),
	    "id",
	    text_json(problem->id != NULL ? problem->id
	                                  : fb_code_id(problem->code)),
	    "message", text_json(problem->msg));
}

static json_t *
sources_json(const struct fb_manifest_head *head)
{
	json_t *list = json_array();

	for (size_t i = 0; i < head->source_count; i++)
		(void)json_array_append_new(list,
		    json_pack("{s:o,s:o,s:o}", "driver",
		        text_json(head->sources[i].driver), "name",
		        text_json(head->sources[i].name), "problem",
		        problem_json(&head->sources[i].problem)));
	return list;
}

static json_t *
predecessors_json(const struct fb_manifest_head *head)
{
	json_t *list = json_array();

	for (size_t i = 0; i < head->predecessor_count; i++)
		(void)json_array_append_new(list,
		    json_pack("{s:o,s:s}", "manifest",
		        digest_json(&head->predecessors[i].manifest), "run",
		        head->predecessors[i].run));
	return list;
}

static json_t *
units_json(const struct fb_manifest_head *head)
{
	json_t *list = json_array();

	for (size_t i = 0; i < head->unit_count; i++) {
		const struct fb_manifest_unit *unit = &head->units[i];
		json_t *machines = json_array();

		for (size_t j = 0; j < unit->machine_count; j++)
			(void)json_array_append_new(
			    machines, text_json(unit->machines[j]));
		(void)json_array_append_new(list,
		    json_pack("{s:o,s:o,s:o}", "epoch",
		        number_json(unit->epoch), "machines", machines, "name",
		        text_json(unit->name)));
	}
	return list;
}

json_t *
head_to_json(const struct fb_manifest_head *head)
{
	json_t *fleet = json_pack("{s:o,s:o,s:s,s:s,s:o,s:o}", "name",
	    text_json(head->fleet), "topology_after",
	    digest_json(&head->topology_after), "topology_algorithm", "sha256",
	    "topology_input", "fleetbak-topology 1", "topology_hash",
	    digest_json(&head->topology), "topology_selection",
	    digest_json(&head->topology_selection));
	json_t *tool = json_pack("{s:s,s:o}", "name", "fleetbak", "version",
	    text_json(head->tool_version));

	json_t *value = json_pack(
	    "{s:b,s:s,s:o,s:o,s:[],s:b,s:o,s:s,s:s,s:o,s:s,s:o,s:o,s:i}",
	    "drift", head->drift, "finished", head->finished, "fleet", fleet,
	    "host", text_json(head->host), "machines", "partial", head->partial,
	    "predecessors", predecessors_json(head), "run", head->run,
	    "session", head->session, "sources", sources_json(head), "started",
	    head->started, "tool", tool, "units", units_json(head), "version",
	    MANIFEST_VERSION);

	if (value != NULL && head->shard.of[0] != '\0')
		(void)json_object_set_new(value, "shard",
		    json_pack("{s:I,s:I,s:s}", "count",
		        (json_int_t)head->shard.count, "number",
		        (json_int_t)head->shard.number, "of", head->shard.of));
	return value;
}

static json_t *
flat_json(const struct fb_manifest_volume *volume)
{
	return volume->has_flat
	    ? json_pack("{s:o,s:o}", "by", text_json(volume->flat_by),
	          "digest", digest_json(&volume->flat))
	    : json_null();
}

static json_t *
catalogue_json(const struct fb_manifest_volume *volume)
{
	return volume->has_catalogue
	    ? json_pack("{s:o,s:o,s:o}", "recipe",
	          digest_json(&volume->catalogue_recipe), "root",
	          digest_json(&volume->catalogue_root), "size",
	          number_json(volume->catalogue_size))
	    : json_null();
}

static json_t *
volume_to_json(const struct fb_manifest_volume *volume)
{
	const char *method =
	    volume->method != NULL ? volume->method : "none";
	json_t *item;

	if (!volume->captured)
		return json_pack("{s:b,s:s,s:o,s:o,s:o}", "captured", 0,
		    "kind", fb_volume_kind_name(volume->kind), "method",
		    text_json(method), "name", text_json(volume->name), "size",
		    number_json(volume->size));
	item = json_pack(
	    "{s:b,s:o,s:o,s:o,s:s,s:o,s:o,s:o,s:o,s:o,s:{s:s,s:o},s:o,s:o}",
	    "captured", 1, "catalogue", catalogue_json(volume),
	    "changed_files", number_json(volume->changed_files), "flat",
	    flat_json(volume), "kind", fb_volume_kind_name(volume->kind),
	    "method", text_json(method), "name", text_json(volume->name),
	    "new_bytes", number_json(volume->new_bytes), "read_bytes",
	    number_json(volume->read_bytes), "recipe",
	    digest_json(&volume->recipe), "root", "by", "fleetbak", "digest",
	    digest_json(&volume->root), "size", number_json(volume->size),
	    "stored_bytes", number_json(volume->stored_bytes));
	if (volume->change_token != NULL)
		(void)json_object_set_new(
		    item, "change_token", text_json(volume->change_token));
	return item;
}

static json_t *
labels_json(const struct fb_labels *labels)
{
	json_t *object = json_object();

	for (size_t i = 0; i < labels->count; i++)
		(void)json_object_set_new(object, labels->items[i].key,
		    text_json(labels->items[i].value));
	return object;
}

json_t *
machine_to_json(const struct fb_manifest_machine *machine)
{
	bool failed = machine->failed;
	json_t *volumes = json_array();

	for (size_t i = 0; i < machine->volume_count; i++)
		(void)json_array_append_new(
		    volumes, volume_to_json(&machine->volumes[i]));
	return json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:s,s:o,s:o,s:s,"
	                 "s:o,s:o,s:o,s:o,s:o,s:o,s:o}",
	    "description", digest_json(&machine->description), "downtime_ms",
	    number_json(machine->downtime_ms), "driver",
	    text_json(machine->driver), "epoch",
	    failed ? json_null() : number_json(machine->epoch), "failure",
	    failed ? problem_json(machine->failure) : json_null(), "id",
	    text_json(machine->id), "labels", labels_json(&machine->labels),
	    "level",
	    failed ? json_null() : json_string(fb_level_name(machine->level)),
	    "lifecycle", fb_lifecycle_name(machine->lifecycle), "name",
	    text_json(machine->name), "parent", text_or_null(machine->parent),
	    "power", fb_power_name(machine->power), "role",
	    text_json(machine->role), "snapshot_time",
	    failed ? json_null() : text_or_null(machine->snapshot_time),
	    "source", text_json(machine->source), "start_timeout_ms",
	    number_json(machine->start_timeout_ms), "stop_timeout_ms",
	    number_json(machine->stop_timeout_ms), "token",
	    failed ? json_null() : text_or_null(machine->token), "volumes",
	    volumes);
}

static void
add_field(struct fb_buf *dst, const char *text)
{
	fb_text_add_escaped(
	    dst, (struct fb_span){ (const uint8_t *)text, strlen(text) });
}

void
add_volume_lines(
    struct fb_buf *dst, const struct fb_manifest_machine *machine)
{
	char recipe[FB_DIGEST_HEX_SIZE], root[FB_DIGEST_HEX_SIZE];

	for (size_t i = 0; i < machine->volume_count; i++) {
		const struct fb_manifest_volume *volume = &machine->volumes[i];

		if (!volume->captured)
			continue;
		fb_digest_hex(&volume->recipe, recipe);
		fb_digest_hex(&volume->root, root);
		add_field(dst, machine->source);
		fb_buf_add_str(dst, "/");
		add_field(dst, machine->id);
		fb_buf_add_str(dst, " ");
		add_field(dst, volume->name);
		fb_buf_add_fmt(dst, " %s %llu %s %s\n",
		    fb_volume_kind_name(volume->kind),
		    (unsigned long long)volume->size, recipe, root);
	}
}

void
fb_manifest_register(
    const struct fb_manifest_head *head, struct fb_register *reg)
{
	memcpy(reg->run, head->run, sizeof(reg->run));
	memcpy(reg->session, head->session, sizeof(reg->session));
	memcpy(reg->time, head->finished, sizeof(reg->time));
	(void)snprintf(reg->fleet, sizeof(reg->fleet), "%s", head->fleet);
	reg->shard = head->shard;
	reg->predecessor_count = head->predecessor_count;
	reg->predecessors = head->predecessor_count == 0
	    ? NULL
	    : fb_alloc(head->predecessor_count, sizeof(*reg->predecessors));
	for (size_t i = 0; i < head->predecessor_count; i++)
		reg->predecessors[i] = head->predecessors[i];
}

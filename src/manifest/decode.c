/*
 * Manifest structs from JSON: shapes and types.  Everything is taken straight
 * through; the first thing wrong is remembered and told once.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

#include "fleetbak/base/mem.h"
#include "fleetbak/format/json.h"

#define LIST_MAX (1u << 20)
#define SOURCES_MAX 4096 /* each machine is looked for among them */
#define IDS_MAX  1024

struct taker {
	const char *what;
	int rc; /* FB_OK, or the first failure, which is in err */
	struct fb_error *err;
};

static void
note(struct taker *taker, int rc)
{
	if (rc < 0 && taker->rc == FB_OK) {
		taker->rc = rc;
		(void)fb_wrap(taker->err, "manifest rule M02 (shape)");
	}
}

/* A failed taker asks no more, so that the first reason stays. */
#define TAKE(taker, call) ((taker)->rc == FB_OK ? note(taker, call) : (void)0)

static const char *
take_str(struct taker *taker, const json_t *object, const char *key)
{
	const char *text = "";

	TAKE(taker, fb_json_str(object, key, taker->what, &text, taker->err));
	return text;
}

static char *
take_text(struct taker *taker, const json_t *object, const char *key)
{
	return fb_strdup(take_str(taker, object, key));
}

/* A string into a field of `size` bytes. */
static void
take_field(struct taker *taker, const json_t *object, const char *key,
    char *dst, size_t size)
{
	const char *text = take_str(taker, object, key);

	if (strlen(text) >= size)
		TAKE(taker,
		    fb_fail(taker->err, FB_ECORRUPT,
		        "%s: member '%s' is too long", taker->what, key));
	else
		memcpy(dst, text, strlen(text) + 1);
}

static bool
is_null(struct taker *taker, const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	if (value == NULL)
		TAKE(taker,
		    fb_fail(taker->err, FB_ECORRUPT,
		        "%s: member '%s' is missing", taker->what, key));
	return value == NULL || json_is_null(value);
}

static uint64_t
take_number(struct taker *taker, const json_t *object, const char *key)
{
	uint64_t number = 0;

	TAKE(taker,
	    fb_json_u64(
	        object, key, taker->what, INT64_MAX, &number, taker->err));
	return number;
}

static bool
take_bool(struct taker *taker, const json_t *object, const char *key)
{
	bool value = false;

	TAKE(taker, fb_json_bool(object, key, taker->what, &value, taker->err));
	return value;
}

static void
take_digest(struct taker *taker, const json_t *object, const char *key,
    struct fb_digest *dst)
{
	const char *text = take_str(taker, object, key);
	struct fb_span span = { (const uint8_t *)text, strlen(text) };

	if (taker->rc == FB_OK &&
	    fb_digest_parse(span, dst, taker->err) < 0) {
		struct fb_error cause = *taker->err;

		note(taker,
		    fb_fail(taker->err, FB_ECORRUPT, "%s: member '%s': %s",
		        taker->what, key, cause.msg));
	}
}

static const json_t *
take_object(struct taker *taker, const json_t *object, const char *key)
{
	json_t *value = NULL;

	TAKE(taker,
	    fb_json_object(object, key, taker->what, &value, taker->err));
	return value;
}

static size_t
take_list(struct taker *taker, const json_t *object, const char *key,
    const json_t **ret)
{
	json_t *value = NULL;

	TAKE(taker,
	    fb_json_array(object, key, taker->what, &value, taker->err));
	*ret = value;
	if (json_array_size(value) > LIST_MAX) {
		TAKE(taker,
		    fb_fail(taker->err, FB_ECORRUPT, "%s: '%s' is too long",
		        taker->what, key));
		return 0;
	}
	return json_array_size(value);
}

static void
take_only(struct taker *taker, const json_t *object, const char *const *keys)
{
	TAKE(taker, fb_json_only(object, taker->what, keys, taker->err));
}

/* Ids of errors are static memory by contract; those of a manifest are kept
 * for ever in a bounded table. */
const char *
keep_id(const char *id)
{
	static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	static char *kept[IDS_MAX];
	static size_t count;
	const char *found = NULL;

	(void)pthread_mutex_lock(&mutex);
	for (size_t i = 0; i < count && found == NULL; i++)
		if (strcmp(kept[i], id) == 0)
			found = kept[i];
	if (found == NULL && count < IDS_MAX)
		found = kept[count++] = fb_strdup(id);
	(void)pthread_mutex_unlock(&mutex);
	return found;
}

static enum fb_code
code_of(struct taker *taker, const char *name)
{
	for (int code = FB_ESYS; code >= FB_EFAILED; code--)
		if (strcmp(fb_code_name((enum fb_code)code), name) == 0)
			return (enum fb_code)code;
	TAKE(taker,
	    fb_fail(taker->err, FB_ECORRUPT, "%s: no error code '%s'",
	        taker->what, name));
	return FB_EFAILED;
}

/* {"code","id","message"} or null. */
static void
take_problem(struct taker *taker, const json_t *object, const char *key,
    struct fb_error *dst)
{
	static const char *const keys[] = { "code", "id", "message", NULL };
	const json_t *problem;
	const char *id, *kept;

	if (is_null(taker, object, key))
		return;
	problem = take_object(taker, object, key);
	take_only(taker, problem, keys);
	dst->code = code_of(taker, take_str(taker, problem, "code"));
	id = take_str(taker, problem, "id");
	if (id[0] == '\0' || strlen(id) > 64)
		TAKE(taker,
		    fb_fail(taker->err, FB_ECORRUPT, "%s: no error id '%.80s'",
		        taker->what, id));
	kept = taker->rc == FB_OK ? keep_id(id) : NULL;
	dst->id = kept != NULL ? kept : fb_code_id(dst->code);
	dst->file = "";
	take_field(taker, problem, "message", dst->msg, sizeof(dst->msg));
}

static void
take_fleet(
    struct taker *taker, const json_t *value, struct fb_manifest_head *head)
{
	static const char *const keys[] = { "name", "topology_after",
		"topology_algorithm", "topology_hash", "topology_input",
		"topology_selection", NULL };
	const json_t *fleet = take_object(taker, value, "fleet");

	take_only(taker, fleet, keys);
	head->fleet = take_text(taker, fleet, "name");
	take_digest(taker, fleet, "topology_after", &head->topology_after);
	take_digest(taker, fleet, "topology_hash", &head->topology);
	take_digest(
	    taker, fleet, "topology_selection", &head->topology_selection);
	if (strcmp(take_str(taker, fleet, "topology_algorithm"), "sha256") !=
	        0 ||
	    strcmp(take_str(taker, fleet, "topology_input"),
	        "fleetbak-topology 1") != 0)
		TAKE(taker,
		    fb_fail(taker->err, FB_ECORRUPT,
		        "%s: another topology encoding", taker->what));
}

static void
take_tool(
    struct taker *taker, const json_t *value, struct fb_manifest_head *head)
{
	static const char *const keys[] = { "name", "version", NULL };
	const json_t *tool = take_object(taker, value, "tool");

	take_only(taker, tool, keys);
	head->tool_version = take_text(taker, tool, "version");
	if (strcmp(take_str(taker, tool, "name"), "fleetbak") != 0)
		TAKE(taker,
		    fb_fail(taker->err, FB_ECORRUPT, "%s: another tool",
		        taker->what));
}

static void
take_sources(
    struct taker *taker, const json_t *value, struct fb_manifest_head *head)
{
	static const char *const keys[] = { "driver", "name", "problem",
		NULL };
	const json_t *list;
	size_t count = take_list(taker, value, "sources", &list);

	if (count > SOURCES_MAX) {
		TAKE(taker,
		    fb_fail(taker->err, FB_ECORRUPT, "%s: %zu sources",
		        taker->what, count));
		return;
	}
	head->sources = fb_alloc(count, sizeof(*head->sources));
	for (size_t i = 0; i < count; i++) {
		const json_t *item = json_array_get(list, i);

		take_only(taker, item, keys);
		head->source_count = i + 1;
		head->sources[i].name = take_text(taker, item, "name");
		head->sources[i].driver = take_text(taker, item, "driver");
		take_problem(
		    taker, item, "problem", &head->sources[i].problem);
	}
}

static void
take_predecessors(
    struct taker *taker, const json_t *value, struct fb_manifest_head *head)
{
	static const char *const keys[] = { "manifest", "run", NULL };
	const json_t *list;
	size_t count = take_list(taker, value, "predecessors", &list);

	head->predecessors = fb_alloc(count, sizeof(*head->predecessors));
	for (size_t i = 0; i < count; i++) {
		const json_t *item = json_array_get(list, i);

		take_only(taker, item, keys);
		head->predecessor_count = i + 1;
		take_field(taker, item, "run", head->predecessors[i].run,
		    FB_RUN_ID_SIZE);
		take_digest(taker, item, "manifest",
		    &head->predecessors[i].manifest);
	}
}

static void
take_unit(
    struct taker *taker, const json_t *item, struct fb_manifest_unit *unit)
{
	static const char *const keys[] = { "epoch", "machines", "name",
		NULL };
	const json_t *machines;
	size_t count;

	take_only(taker, item, keys);
	unit->name = take_text(taker, item, "name");
	unit->epoch = take_number(taker, item, "epoch");
	count = take_list(taker, item, "machines", &machines);
	unit->machines = fb_alloc(count, sizeof(*unit->machines));
	for (size_t i = 0; i < count; i++) {
		const char *machine =
		    json_string_value(json_array_get(machines, i));

		if (machine == NULL)
			TAKE(taker,
			    fb_fail(taker->err, FB_ECORRUPT,
			        "%s: a unit's machine is not a string",
			        taker->what));
		unit->machines[i] = fb_strdup(machine != NULL ? machine : "");
		unit->machine_count = i + 1;
	}
}

static void
take_units(
    struct taker *taker, const json_t *value, struct fb_manifest_head *head)
{
	const json_t *list;
	size_t count = take_list(taker, value, "units", &list);

	head->units = fb_alloc(count, sizeof(*head->units));
	for (size_t i = 0; i < count; i++) {
		head->unit_count = i + 1;
		take_unit(taker, json_array_get(list, i), &head->units[i]);
	}
}

/* What a newer program may have changed is asked first. */
static void
take_version(struct taker *taker, const json_t *value)
{
	uint64_t version = take_number(taker, value, "version");

	if (taker->rc < 0 || version == MANIFEST_VERSION)
		return;
	taker->rc = break_rule(
	    version > MANIFEST_VERSION ? FB_ETOONEW : FB_ECORRUPT, taker->err,
	    "M01", "version %llu; this program reads 1",
	    (unsigned long long)version);
}

/* Only a part of a run has it. */
static void
take_shard(struct taker *taker, const json_t *value, struct fb_shard_ref *shard)
{
	static const char *const keys[] = { "count", "number", "of", NULL };
	const json_t *item;
	uint64_t number, count;

	if (json_object_get(value, "shard") == NULL)
		return;
	item = take_object(taker, value, "shard");
	take_only(taker, item, keys);
	take_field(taker, item, "of", shard->of, sizeof(shard->of));
	number = take_number(taker, item, "number");
	count = take_number(taker, item, "count");
	if (!fb_run_id_ok(shard->of, strlen(shard->of)) || number == 0 ||
	    number > count || count > FB_SHARDS_MAX)
		TAKE(taker,
		    fb_fail(taker->err, FB_ECORRUPT, "%s: no such shard",
		        taker->what));
	shard->number = (uint32_t)number;
	shard->count = (uint32_t)count;
}

int
head_from_json(const json_t *value, struct fb_manifest_head *ret,
    struct fb_error *err)
{
	static const char *const keys[] = { "drift", "finished", "fleet",
		"host", "machines", "partial", "predecessors", "run", "session",
		"shard", "sources", "started", "tool", "units", "version",
		NULL };
	struct taker taker = { .what = "manifest", .err = err };
	struct fb_manifest_head head = { 0 };

	take_version(&taker, value);
	take_only(&taker, value, keys);
	head.drift = take_bool(&taker, value, "drift");
	head.partial = take_bool(&taker, value, "partial");
	take_field(&taker, value, "run", head.run, sizeof(head.run));
	take_field(
	    &taker, value, "session", head.session, sizeof(head.session));
	take_field(
	    &taker, value, "started", head.started, sizeof(head.started));
	take_field(&taker, value, "finished", head.finished,
	    sizeof(head.finished));
	head.host = take_text(&taker, value, "host");
	take_fleet(&taker, value, &head);
	take_tool(&taker, value, &head);
	take_sources(&taker, value, &head);
	take_predecessors(&taker, value, &head);
	take_units(&taker, value, &head);
	take_shard(&taker, value, &head.shard);
	if (taker.rc < 0) {
		fb_manifest_head_release(&head);
		return taker.rc;
	}
	*ret = head;
	return FB_OK;
}

static void
take_catalogue(
    struct taker *taker, const json_t *item, struct fb_manifest_volume *volume)
{
	static const char *const keys[] = { "recipe", "root", "size", NULL };
	const json_t *catalogue;

	if (is_null(taker, item, "catalogue"))
		return;
	catalogue = take_object(taker, item, "catalogue");
	take_only(taker, catalogue, keys);
	volume->has_catalogue = true;
	volume->catalogue_size = take_number(taker, catalogue, "size");
	take_digest(taker, catalogue, "recipe", &volume->catalogue_recipe);
	take_digest(taker, catalogue, "root", &volume->catalogue_root);
}

static void
take_digests(
    struct taker *taker, const json_t *item, struct fb_manifest_volume *volume)
{
	static const char *const keys[] = { "by", "digest", NULL };
	const json_t *root = take_object(taker, item, "root"), *flat;

	take_only(taker, root, keys);
	take_digest(taker, root, "digest", &volume->root);
	if (strcmp(take_str(taker, root, "by"), "fleetbak") != 0)
		TAKE(taker,
		    fb_fail(taker->err, FB_ECORRUPT,
		        "%s: a root that is not by fleetbak", taker->what));
	if (is_null(taker, item, "flat"))
		return;
	flat = take_object(taker, item, "flat");
	take_only(taker, flat, keys);
	volume->has_flat = true;
	take_digest(taker, flat, "digest", &volume->flat);
	volume->flat_by = take_text(taker, flat, "by");
}

static void
take_volume(
    struct taker *taker, const json_t *item, struct fb_manifest_volume *volume)
{
	static const char *const listed_keys[] = { "captured", "kind",
		"method", "name", "size", NULL };
	static const char *const keys[] = { "captured", "catalogue",
		"change_token", "changed_files", "flat", "kind", "method", "name", "new_bytes",
		"read_bytes", "recipe", "root", "size", "stored_bytes", NULL };

	volume->captured = take_bool(taker, item, "captured");
	volume->name = take_text(taker, item, "name");
	volume->method = take_text(taker, item, "method");
	volume->size = take_number(taker, item, "size");
	TAKE(taker,
	    fb_volume_kind_parse(
	        take_str(taker, item, "kind"), &volume->kind, taker->err));
	take_only(taker, item, volume->captured ? keys : listed_keys);
	if (!volume->captured)
		return;
	volume->changed_files = take_number(taker, item, "changed_files");
	volume->new_bytes = take_number(taker, item, "new_bytes");
	volume->read_bytes = take_number(taker, item, "read_bytes");
	volume->stored_bytes = take_number(taker, item, "stored_bytes");
	take_digest(taker, item, "recipe", &volume->recipe);
	if (json_object_get(item, "change_token") != NULL)
		volume->change_token = take_text(taker, item, "change_token");
	take_digests(taker, item, volume);
	take_catalogue(taker, item, volume);
}

static void
take_volumes(struct taker *taker, const json_t *value,
    struct fb_manifest_machine *machine)
{
	const json_t *list;
	size_t count = take_list(taker, value, "volumes", &list);

	machine->volumes = fb_alloc(count, sizeof(*machine->volumes));
	for (size_t i = 0; i < count; i++) {
		machine->volume_count = i + 1;
		take_volume(
		    taker, json_array_get(list, i), &machine->volumes[i]);
	}
}

static int
compare_labels(const void *a, const void *b)
{
	return strcmp(((const struct fb_label *)a)->key,
	    ((const struct fb_label *)b)->key);
}

static void
take_labels(struct taker *taker, const json_t *value,
    struct fb_manifest_machine *machine)
{
	const json_t *object = take_object(taker, value, "labels");
	struct fb_labels *labels = &machine->labels;
	const char *key;
	json_t *item;

	labels->items =
	    fb_alloc(json_object_size(object), sizeof(*labels->items));
	/* jansson's iterator takes no const; it changes nothing. */
	json_object_foreach((json_t *)(uintptr_t)object, key, item)
	{
		struct fb_label *label = &labels->items[labels->count++];

		label->key = fb_strdup(key);
		label->value = take_text(taker, object, key);
	}
	if (labels->count > 0)
		qsort(labels->items, labels->count, sizeof(*labels->items),
		    compare_labels);
}

static void
take_identity(struct taker *taker, const json_t *value,
    struct fb_manifest_machine *machine)
{
	machine->source = take_text(taker, value, "source");
	machine->driver = take_text(taker, value, "driver");
	machine->id = take_text(taker, value, "id");
	machine->name = take_text(taker, value, "name");
	machine->role = take_text(taker, value, "role");
	if (!is_null(taker, value, "parent"))
		machine->parent = take_text(taker, value, "parent");
	take_labels(taker, value, machine);
	take_digest(taker, value, "description", &machine->description);
	TAKE(taker,
	    fb_power_parse(take_str(taker, value, "power"), &machine->power,
	        taker->err));
	TAKE(taker,
	    fb_lifecycle_parse(take_str(taker, value, "lifecycle"),
	        &machine->lifecycle, taker->err));
	machine->start_timeout_ms =
	    take_number(taker, value, "start_timeout_ms");
	machine->stop_timeout_ms =
	    take_number(taker, value, "stop_timeout_ms");
}

/* What a good machine has and a failed one has not. */
static void
take_outcome(struct taker *taker, const json_t *value,
    struct fb_manifest_machine *machine)
{
	static const char *const keys[] = { "epoch", "level", "snapshot_time",
		"token" };
	struct fb_error failure = { 0 };

	machine->failed = !is_null(taker, value, "failure");
	take_problem(taker, value, "failure", &failure);
	machine->failure = fb_error_keep(&failure);
	if (machine->failed) {
		for (size_t i = 0; i < FB_COUNT(keys); i++)
			if (!is_null(taker, value, keys[i]))
				TAKE(taker,
				    fb_fail(taker->err, FB_ECORRUPT,
				        "%s: '%s' of a failed machine",
				        taker->what, keys[i]));
		return;
	}
	machine->epoch = take_number(taker, value, "epoch");
	TAKE(taker,
	    fb_level_parse(take_str(taker, value, "level"), &machine->level,
	        taker->err));
	take_field(taker, value, "snapshot_time", machine->snapshot_time,
	    sizeof(machine->snapshot_time));
	if (!is_null(taker, value, "token"))
		machine->token = take_text(taker, value, "token");
}

int
machine_from_json(const json_t *value, struct fb_manifest_machine *ret,
    struct fb_error *err)
{
	static const char *const keys[] = { "description", "downtime_ms",
		"driver", "epoch", "failure", "id", "labels", "level",
		"lifecycle", "name", "parent", "power", "role",
		"snapshot_time", "source", "start_timeout_ms",
		"stop_timeout_ms", "token", "volumes", NULL };
	struct taker taker = { .what = "machine", .err = err };
	struct fb_manifest_machine machine = { 0 };

	take_only(&taker, value, keys);
	take_identity(&taker, value, &machine);
	take_outcome(&taker, value, &machine);
	machine.downtime_ms = take_number(&taker, value, "downtime_ms");
	take_volumes(&taker, value, &machine);
	if (taker.rc < 0) {
		if (taker.rc != FB_ETOONEW)
			taker.rc = err->code = FB_ECORRUPT;
		fb_manifest_machine_release(&machine);
		return taker.rc;
	}
	*ret = machine;
	return FB_OK;
}

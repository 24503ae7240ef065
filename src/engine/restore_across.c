/*
 * What goes to a machine that is another one, perhaps another system's: its
 * disks into that one's disks, its trees into that one's trees.  That machine
 * is there, and keeps its definition.  Which one it is and which volume becomes
 * which is said by maps, or by equal names; nothing is guessed.
 */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/base/text.h"
#include "restore_parts.h"

#define SPEC "restore journal"

/* ---------------------------------------------------------------- maps */

/* The first map of a kind that names one of `words`; else that of "*". */
static const struct fb_restore_map *
map_of(const struct fb_restore *r, const char *kind, const char *const *words,
    size_t count)
{
	const struct fb_restore_map *rest = NULL;

	for (size_t i = 0; i < r->map_count; i++) {
		const struct fb_restore_map *map = &r->maps[i];

		if (strcmp(map->kind, kind) != 0)
			continue;
		for (size_t k = 0; k < count; k++)
			if (words[k] != NULL && strcmp(map->from, words[k]) == 0)
				return map;
		if (rest == NULL && strcmp(map->from, "*") == 0)
			rest = map;
	}
	return rest;
}

/* By "SOURCE/ID", id or name. */
static const struct fb_restore_map *
machine_map(const struct fb_restore *r, const struct fb_rst_machine *m)
{
	const char *const words[] = { m->origin, m->record.id,
		m->record.name };

	return map_of(r, "machine", words, FB_COUNT(words));
}

/* By name, or "MACHINE/NAME".  "*" are those that have content. */
static const struct fb_restore_map *
volume_map(const struct fb_restore *r, const struct fb_rst_machine *m,
    const struct fb_manifest_volume *volume)
{
	FB_AUTO_FREE char *by_id =
	    fb_format("%s/%s", m->record.id, volume->name);
	FB_AUTO_FREE char *by_name = m->record.name != NULL
	    ? fb_format("%s/%s", m->record.name, volume->name)
	    : NULL;
	const char *const words[] = { by_id, by_name, volume->name };
	const struct fb_restore_map *map =
	    map_of(r, "volume", words, FB_COUNT(words));

	return map != NULL && volume->kind == FB_VOLUME_DEFINITION &&
	        strcmp(map->from, "*") == 0
	    ? NULL
	    : map;
}

static bool
is_mapped(const struct fb_restore *r, const struct fb_rst_machine *m)
{
	if (machine_map(r, m) != NULL)
		return true;
	for (size_t i = 0; i < m->record.volume_count; i++)
		if (m->volumes[i].chosen &&
		    volume_map(r, m, &m->record.volumes[i]) != NULL)
			return true;
	return false;
}

/* -------------------------------------------------------------- target */

static int
find_driver(struct fb_restore *r, struct fb_rst_machine *m,
    struct fb_error *err)
{
	const char *source = fb_rst_source(r, m);

	m->driver = fb_engine_driver(r->engine, &r->drivers, source);
	for (size_t i = 0; i < r->fleet.failure_count; i++) {
		if (strcmp(r->fleet.failures[i].source, source) != 0)
			continue;
		*err = r->fleet.failures[i].err;
		return (int)err->code;
	}
	if (m->driver != NULL)
		return FB_OK;
	(void)fb_fail_id(err, FB_ECONFIG, "E-RST-SOURCE",
	    "source '%s' is not in the configuration", source);
	return fb_hint(
	    err, "add it, or restore into a directory with --target DIR");
}

/* The one of this id, or the only one of this name. */
static int
find_target(const struct fb_restore *r, const char *source, const char *word,
    bool mapped, const struct fb_machine **ret_now, struct fb_error *err)
{
	size_t called = 0;

	*ret_now = fb_fleet_find(&r->fleet, source, word);
	if (*ret_now != NULL)
		return FB_OK;
	for (size_t i = 0; mapped && i < r->fleet.count; i++) {
		const struct fb_machine *now = &r->fleet.machines[i];

		if (strcmp(now->source, source) != 0 ||
		    strcmp(now->name, word) != 0)
			continue;
		*ret_now = now;
		called++;
	}
	if (called == 1)
		return FB_OK;
	(void)fb_fail_id(err, FB_ECONFIG,
	    called > 1 ? "E-RST-AMBIGUOUS" : "E-RST-MAP",
	    called > 1 ? "several machines of source '%s' are called '%s'"
	               : "source '%s' has no machine '%s' to write over",
	    source, word);
	return fb_hint(err, called > 1
	        ? "say its id: `fleetbak discover`"
	        : "make one there with volumes for it, and say which: "
	          "--map machine:OLD=NEW; `fleetbak discover` lists them");
}

/* What a machine gets by its definition is not for one that keeps its own. */
static int
check_maps(const struct fb_restore *r, struct fb_error *err)
{
	for (size_t i = 0; i < r->map_count; i++)
		if (!fb_restore_map_places(r->maps[i].kind))
			return fb_fail_id(err, FB_EREFUSED, "E-RST-MAP",
			    "the machine that is written over keeps its "
			    "definition: --map %s goes with one that is made",
			    r->maps[i].kind);
	return FB_OK;
}

/* ------------------------------------------------------------- volumes */

static const struct fb_volume *
volume_of(const struct fb_machine *now, const char *name)
{
	for (size_t i = 0; i < now->volume_count; i++)
		if (strcmp(now->volumes[i].name, name) == 0)
			return &now->volumes[i];
	return NULL;
}

static int
no_volume(const struct fb_rst_machine *m, const struct fb_machine *now,
    const char *old, const char *name, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf has = { 0 };

	for (size_t i = 0; i < now->volume_count; i++)
		if ((m->driver->ops->takes &
		        FB_TAKES(now->volumes[i].kind)) != 0)
			fb_buf_add_fmt(&has, "%s%s (%s)",
			    has.len > 0 ? ", " : "", now->volumes[i].name,
			    fb_volume_kind_name(now->volumes[i].kind));
	(void)fb_fail_id(err, FB_ECONFIG, "E-RST-MAP",
	    "volume '%s': machine '%s/%s' has no volume '%s'", old,
	    now->source, now->id, name);
	return fb_hint(err, "--map volume:%s=NEW, of %s; or --volume for those "
			    "that fit", old,
	    has.len > 0 ? fb_buf_str(&has) : "which it has none");
}

static int
fail_fit(const char *name, const char *why, struct fb_error *err)
{
	(void)fb_fail_id(err, FB_EUNSUP, "E-RST-ACROSS", "volume '%s': %s",
	    name, why);
	return fb_hint(err, "--volume NAME takes those that fit, --target DIR "
			    "all of them");
}

/* Does what is in the backup fit into what is there? */
static int
check_fit(const struct fb_rst_machine *m,
    const struct fb_manifest_volume *volume, const struct fb_volume *has,
    struct fb_error *err)
{
	FB_AUTO_FREE char *why = NULL;

	if (has->kind != volume->kind)
		why = fb_format("it is %s, and '%s' of '%s' is %s",
		    fb_volume_kind_name(volume->kind), has->name, m->called,
		    fb_volume_kind_name(has->kind));
	else if (!fb_volume_is_captured(has))
		why = fb_format("'%s' of '%s' cannot be written%s%s",
		    has->name, m->called, has->note != NULL ? ": " : "",
		    has->note != NULL ? has->note : "");
	if (why != NULL)
		return fail_fit(volume->name, why, err);
	if (volume->kind == FB_VOLUME_DISK && has->size > 0 &&
	    has->size < volume->size)
		return fb_fail_id(err, FB_ENOSPACE, "E-RST-SMALL",
		    "volume '%s': it has %llu bytes, and '%s' of '%s' holds "
		    "%llu", volume->name, (unsigned long long)volume->size,
		    has->name, m->called, (unsigned long long)has->size);
	return FB_OK;
}

static int
match_volume(const struct fb_restore *r, const struct fb_rst_machine *m,
    const struct fb_machine *now, struct fb_rst_volume *v,
    struct fb_error *err)
{
	const struct fb_manifest_volume *record = v->record;
	const struct fb_restore_map *map = volume_map(r, m, record);
	const char *name = map != NULL ? map->to : record->name;
	const struct fb_volume *has = volume_of(now, name);
	FB_AUTO_FREE char *why = NULL;
	int rc;

	if ((m->driver->ops->takes & FB_TAKES(record->kind)) == 0) {
		why = fb_format("driver '%s' takes no %s of another machine",
		    m->driver->ops->name, fb_volume_kind_name(record->kind));
		return fail_fit(record->name, why, err);
	}
	if (has == NULL)
		return no_volume(m, now, record->name, name, err);
	rc = check_fit(m, record, has, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < m->record.volume_count; i++)
		if (m->volumes[i].called != NULL &&
		    strcmp(m->volumes[i].called, name) == 0)
			return fb_fail_id(err, FB_ECONFIG, "E-RST-MAP",
			    "volumes '%s' and '%s' would both become '%s'",
			    m->volumes[i].record->name, record->name, name);
	v->called = fb_strdup(name);
	return FB_OK;
}

/* Its definition is not for that machine; whoever asks for it is told. */
static int
leave_definition(const struct fb_restore *r, const struct fb_rst_machine *m,
    struct fb_rst_volume *v, struct fb_error *err)
{
	if (r->volume_count > 0 || volume_map(r, m, v->record) != NULL)
		return fail_fit(v->record->name,
		    "a machine that is written over keeps its definition",
		    err);
	v->chosen = false;
	return FB_OK;
}

static bool
covers(const struct fb_rst_machine *m, const struct fb_machine *now)
{
	for (size_t i = 0; i < now->volume_count; i++) {
		const struct fb_volume *has = &now->volumes[i];
		bool given = has->kind == FB_VOLUME_DEFINITION ||
		    !fb_volume_is_captured(has);

		for (size_t k = 0; !given && k < m->record.volume_count; k++)
			given = m->volumes[k].called != NULL &&
			    strcmp(m->volumes[k].called, has->name) == 0;
		if (!given)
			return false;
	}
	return true;
}

static int
match_volumes(const struct fb_restore *r, struct fb_rst_machine *m,
    const struct fb_machine *now, struct fb_error *err)
{
	size_t count = 0;
	int rc = FB_OK;

	for (size_t i = 0; i < m->record.volume_count && rc >= 0; i++) {
		struct fb_rst_volume *v = &m->volumes[i];

		if (!v->chosen)
			continue;
		rc = v->record->kind == FB_VOLUME_DEFINITION
		    ? leave_definition(r, m, v, err)
		    : match_volume(r, m, now, v, err);
		count += v->chosen;
	}
	if (rc >= 0 && count == 0)
		rc = fb_fail_id(err, FB_EUNSUP, "E-RST-ACROSS",
		    "it has no volume that another machine could take");
	return rc;
}

/* ---------------------------------------------------------------- model */

/* The driver sees the machine that is written, with what it gets, as large as
 * it has it; `sizes`, by the volumes of the backup. */
static void
build_model(struct fb_rst_machine *m, const uint64_t *sizes)
{
	struct fb_volume *list =
	    fb_alloc(m->record.volume_count + 1, sizeof(*list));
	size_t count = 0;

	for (size_t i = 0; i < m->record.volume_count; i++) {
		struct fb_rst_volume *v = &m->volumes[i];
		uint64_t allocated = v->there->allocated;

		v->there = NULL;
		if (v->called == NULL)
			continue;
		v->there = &list[count++];
		v->there->name = v->called;
		v->there->kind = v->record->kind;
		v->there->size = sizes[i];
		v->there->allocated = allocated;
		v->there->method = "none";
	}
	free(m->model.volumes);
	m->model.volumes = list;
	m->model.volume_count = count;
	m->model.id = m->as;
	m->model.name = m->called;
	m->across = true;
}

static void
take_now(struct fb_rst_machine *m, const struct fb_machine *now)
{
	m->model.source = now->source;
	m->model.driver = now->driver;
	m->model.parent = now->parent;
	m->model.lifecycle = now->lifecycle;
	m->model.stop_timeout_ms = now->stop_timeout_ms;
	m->model.start_timeout_ms = now->start_timeout_ms;
}

static void
write_over(struct fb_rst_machine *m, const struct fb_machine *now)
{
	FB_AUTO_FREE uint64_t *sizes =
	    fb_alloc(m->record.volume_count + 1, sizeof(*sizes));

	for (size_t i = 0; i < m->record.volume_count; i++) {
		const struct fb_rst_volume *v = &m->volumes[i];
		const struct fb_volume *has =
		    v->called != NULL ? volume_of(now, v->called) : NULL;

		sizes[i] = v->record->size;
		if (has != NULL && has->kind == FB_VOLUME_DISK &&
		    has->size > sizes[i])
			sizes[i] = has->size;
	}
	free(m->key);
	free(m->as);
	m->key = fb_format("%s/%s", now->source, now->id);
	m->as = fb_strdup(now->id);
	m->covers = covers(m, now);
	build_model(m, sizes);
	take_now(m, now);
}

/* A new machine is made of a definition, which must be its driver's own. */
static int
check_kind(const struct fb_restore *r, const struct fb_rst_machine *m,
    struct fb_error *err)
{
	if (r->kind == FB_RESTORE_TO_MACHINE)
		return FB_OK;
	(void)fb_fail_id(err, FB_EUNSUP, "E-RST-ACROSS",
	    "source '%s' has driver '%s' and the backup is of '%s': no new "
	    "machine is made of that", fb_rst_source(r, m),
	    m->driver->ops->name, m->record.driver);
	return fb_hint(err, "make one there with volumes for it, then "
			    "--in-place --map machine:%s=NEW", m->record.id);
}

int
fb_rst_across(struct fb_restore *r, struct fb_rst_machine *m,
    struct fb_error *err)
{
	const struct fb_restore_map *map = machine_map(r, m);
	const char *source = fb_rst_source(r, m);
	const struct fb_machine *now;
	int rc = find_driver(r, m, err);

	if (rc < 0)
		return rc;
	if (m->across) { /* as it was planned; it may be gone meanwhile */
		now = fb_fleet_find(&r->fleet, source, m->as);
		if (now != NULL)
			take_now(m, now);
		return FB_OK;
	}
	if (strcmp(m->driver->ops->name, m->record.driver) == 0 &&
	    !is_mapped(r, m))
		return FB_OK;
	rc = check_kind(r, m, err);
	if (rc >= 0)
		rc = find_target(r, source,
		    map != NULL ? map->to : m->record.id, map != NULL, &now,
		    err);
	if (rc >= 0)
		rc = check_maps(r, err);
	if (rc < 0)
		return rc;
	free(m->called);
	m->called = fb_strdup(now->name);
	rc = match_volumes(r, m, now, err);
	if (rc >= 0)
		write_over(m, now);
	return rc;
}

/* --------------------------------------------------------------- judge */

static bool
has_volume(const struct fb_rst_machine *m, const char *from)
{
	const char *slash = strrchr(from, '/');
	const char *name = slash != NULL ? slash + 1 : from;
	size_t len = slash != NULL ? (size_t)(slash - from) : 0;

	if (slash != NULL &&
	    (strlen(m->record.id) != len ||
	        memcmp(m->record.id, from, len) != 0) &&
	    (m->record.name == NULL || strlen(m->record.name) != len ||
	        memcmp(m->record.name, from, len) != 0))
		return false;
	for (size_t i = 0; i < m->record.volume_count; i++)
		if (strcmp(m->record.volumes[i].name, name) == 0)
			return true;
	return false;
}

static bool
is_used(const struct fb_restore *r, const struct fb_restore_map *map)
{
	bool machine = strcmp(map->kind, "machine") == 0;

	if ((!machine && strcmp(map->kind, "volume") != 0) ||
	    strcmp(map->from, "*") == 0)
		return true;
	for (size_t i = 0; i < r->count; i++) {
		const struct fb_rst_machine *m = &r->machines[i];

		if (machine ? strcmp(map->from, m->origin) == 0 ||
		            strcmp(map->from, m->record.id) == 0 ||
		            (m->record.name != NULL &&
		                strcmp(map->from, m->record.name) == 0)
		            : has_volume(m, map->from))
			return true;
	}
	return false;
}

static void
refuse_both(struct fb_rst_machine *a, struct fb_rst_machine *b)
{
	struct fb_rst_machine *const both[] = { a, b };

	for (size_t i = 0; i < FB_COUNT(both); i++) {
		struct fb_error why = { 0 };

		(void)fb_fail_id(&why, FB_ECONFIG, "E-RST-MAP",
		    "'%s' would be written over by '%s' and by '%s'", a->key,
		    a->origin, b->origin);
		fb_rst_refuse(both[i], &why);
	}
}

int
fb_rst_across_judge(struct fb_restore *r, struct fb_error *err)
{
	struct fb_rst_index index;

	for (size_t i = 0; !r->resumed && i < r->map_count; i++)
		if (!is_used(r, &r->maps[i]))
			return fb_fail_id(err, FB_ECONFIG, "E-RST-MAP",
			    "'--map %s:%s=%s': the backup has no such %s",
			    r->maps[i].kind, r->maps[i].from, r->maps[i].to,
			    r->maps[i].kind);
	fb_rst_index_make(r, false, &index);
	for (size_t i = 1; i < index.count; i++)
		if (strcmp(index.sorted[i - 1]->key, index.sorted[i]->key) == 0)
			refuse_both(index.sorted[i - 1], index.sorted[i]);
	fb_rst_index_release(&index);
	return FB_OK;
}

/* ----------------------------------------------------------------- pin */

void
fb_rst_across_pin(const struct fb_rst_machine *m, json_t *item)
{
	json_t *volumes = json_array();

	for (size_t i = 0; i < m->record.volume_count; i++) {
		const struct fb_rst_volume *v = &m->volumes[i];

		if (v->there != NULL)
			json_array_append_new(volumes,
			    json_pack("{s:s,s:s,s:I}", "volume",
			        v->record->name, "as", v->called, "size",
			        (json_int_t)v->there->size));
	}
	json_object_set_new(item, "from", json_string(m->origin));
	json_object_set_new(item, "called", json_string(m->called));
	json_object_set_new(item, "covers", json_boolean(m->covers));
	json_object_set_new(item, "volumes", volumes);
}

static int
unpin_volume(struct fb_rst_machine *m, const json_t *item, uint64_t *sizes,
    struct fb_error *err)
{
	const char *name, *as;
	uint64_t size;
	int rc = fb_json_str(item, "volume", SPEC, &name, err);

	if (rc >= 0)
		rc = fb_json_str(item, "as", SPEC, &as, err);
	if (rc >= 0)
		rc = fb_name_check("volume name", as, strlen(as), err);
	if (rc >= 0)
		rc = fb_json_u64(item, "size", SPEC, INT64_MAX, &size, err);
	for (size_t i = 0; rc >= 0 && i < m->record.volume_count; i++) {
		struct fb_rst_volume *v = &m->volumes[i];

		if (strcmp(v->record->name, name) != 0)
			continue;
		if (size < v->record->size || v->called != NULL)
			break;
		v->called = fb_strdup(as);
		sizes[i] = size;
		return FB_OK;
	}
	return rc < 0 ? rc
	              : fb_fail(err, FB_ECORRUPT,
	                    SPEC ": what volume '%s' becomes is wrong", name);
}

static int
unpin(struct fb_rst_machine *m, const json_t *item, struct fb_error *err)
{
	FB_AUTO_FREE uint64_t *sizes =
	    fb_alloc(m->record.volume_count + 1, sizeof(*sizes));
	FB_AUTO_FREE char *source = NULL, *id = NULL, *run = NULL;
	const char *key, *called;
	json_t *volumes, *volume;
	size_t i;
	int rc = fb_json_str(item, "machine", SPEC, &key, err);

	if (rc >= 0)
		rc = fb_rst_parse(key, &source, &id, &run, err);
	if (rc >= 0)
		rc = fb_json_str(item, "called", SPEC, &called, err);
	if (rc >= 0)
		rc = fb_json_array(item, "volumes", SPEC, &volumes, err);
	if (rc < 0)
		return rc;
	json_array_foreach(volumes, i, volume)
	{
		rc = unpin_volume(m, volume, sizes, err);
		if (rc < 0)
			return rc;
	}
	free(m->key);
	free(m->as);
	free(m->called);
	m->key = fb_strdup(key);
	m->as = FB_STEAL(id);
	m->called = fb_strdup(called);
	m->covers = json_is_true(json_object_get(item, "covers"));
	build_model(m, sizes);
	return FB_OK;
}

int
fb_rst_across_pinned(struct fb_restore *r, struct fb_error *err)
{
	const json_t *list = json_object_get(r->spec, "machines"), *item;
	struct fb_rst_index index;
	size_t i;
	int rc = FB_OK;

	fb_rst_index_make(r, true, &index);
	json_array_foreach(list, i, item)
	{
		const char *from =
		    json_string_value(json_object_get(item, "from"));
		struct fb_rst_machine *m =
		    from != NULL ? fb_rst_index_find(&index, from) : NULL;

		if (m != NULL && !m->across)
			rc = unpin(m, item, err);
		if (rc < 0)
			break;
	}
	fb_rst_index_release(&index);
	return rc;
}

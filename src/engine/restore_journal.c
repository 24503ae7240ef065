/*
 * What survives a crash.  Records, beside those of obligations:
 *
 *	machines   some of those of a large restore
 *	restore    what was asked for and which (other) machines of which runs
 *	was        {"machine","existed","power"}: before it was touched
 *	act        {"machine","verb"}: an effect that may happen now
 *	begun      {"machine","volume"}: its bytes may be touched now
 *	progress   {"machine","volume","offset"}: durable up to there
 *	volume     {"machine","volume"}: all of it, durably
 *	finishing  {"machine"}: it may be made visible now
 *	finished   {"machine"}: it is
 *	closed     {"machine","how"}: nothing is left to do
 *	end        {}
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/lock.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "restore_parts.h"

const char *
fb_rst_member(const struct fb_journal_record *record, const char *key)
{
	const char *value =
	    json_string_value(json_object_get(record->body, key));

	return value ? value : "";
}

char *
fb_rst_journal_path(const struct fb_engine *engine, const char *id)
{
	return fb_state_path(engine, "restores/%s/journal", id);
}

/* Machines that one record names at most: it has an end, a fleet has none. */
#define RECORD_MACHINES 256

/* What was asked for, with all its machines; nothing before it is complete. */
struct spec_visit {
	json_t *spec;
	json_t *machines; /* of the records before it */
	bool ended;
};

static json_t *
machines_of(const json_t *body)
{
	return json_object_get(body, "machines");
}

static void
take_spec(struct spec_visit *v, const json_t *body)
{
	json_t *list = machines_of(body);

	v->spec = json_deep_copy(body);
	if (v->machines == NULL || !json_is_array(list))
		return;
	json_array_extend(v->machines, list);
	json_object_set_new(v->spec, "machines", v->machines);
	v->machines = NULL;
}

static void
take_machines(struct spec_visit *v, const json_t *body)
{
	FB_AUTO_JSON json_t *list = json_deep_copy(machines_of(body));

	if (v->machines == NULL)
		v->machines = json_array();
	if (json_is_array(list))
		json_array_extend(v->machines, list);
}

static int
visit_spec(const struct fb_journal_record *record, void *arg,
    struct fb_error *err)
{
	struct spec_visit *v = arg;

	(void)err;
	if (strcmp(record->type, "machines") == 0 && v->spec == NULL)
		take_machines(v, record->body);
	if (strcmp(record->type, "restore") == 0 && v->spec == NULL)
		take_spec(v, record->body);
	if (strcmp(record->type, "end") == 0)
		v->ended = true;
	return FB_OK;
}

int
fb_rst_journal_spec(const struct fb_engine *engine, const char *id,
    json_t **ret_spec, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_rst_journal_path(engine, id);
	struct spec_visit v = { 0 };
	int rc = FB_OK;

	if (!fb_run_id_ok(id, strlen(id)))
		rc = fb_fail(err, FB_ENOTFOUND, "that is no id");
	if (rc >= 0)
		rc = fb_journal_read(path, visit_spec, &v, err);
	json_decref(v.machines);
	if (rc >= 0 && (v.spec == NULL || v.ended))
		rc = fb_fail(err, FB_ENOTFOUND, "it is finished");
	if (rc < 0) {
		json_decref(v.spec);
		if (rc != FB_ENOTFOUND)
			return rc;
		(void)fb_fail_id(err, FB_ECONFIG, "E-RST-RESUME",
		    "there is no unfinished restore '%s'", id);
		return fb_hint(err, "`fleetbak status` lists them");
	}
	*ret_spec = v.spec;
	return FB_OK;
}

static struct fb_rst_volume *
find_volume(struct fb_rst_machine *m, const char *name)
{
	for (size_t i = 0; i < m->record.volume_count; i++)
		if (strcmp(m->volumes[i].record->name, name) == 0)
			return &m->volumes[i];
	return NULL;
}

static void
apply_volume(struct fb_rst_volume *v, const struct fb_journal_record *record)
{
	json_int_t offset;

	if (strcmp(record->type, "begun") == 0)
		v->begun = true;
	if (strcmp(record->type, "volume") == 0)
		v->whole = true;
	if (strcmp(record->type, "progress") != 0)
		return;
	v->begun = true;
	offset = json_integer_value(json_object_get(record->body, "offset"));
	if (offset > 0)
		v->offset = (uint64_t)offset;
}

static void
apply_machine(struct fb_rst_machine *m, const struct fb_journal_record *record)
{
	const char *type = record->type;

	if (strcmp(type, "was") == 0) {
		m->noted = true;
		m->existed =
		    json_is_true(json_object_get(record->body, "existed"));
		m->was = strcmp(fb_rst_member(record, "power"), "up") == 0
		    ? FB_POWER_UP
		    : FB_POWER_DOWN;
	} else if (strcmp(type, "obligation") == 0) {
		m->owed = true;
	} else if (strcmp(type, "suspended") == 0) {
		m->suspended = true;
	} else if (strcmp(type, "discharged") == 0) {
		m->owed = m->suspended = false;
	} else if (strcmp(type, "finishing") == 0) {
		m->finishing = true;
	} else if (strcmp(type, "finished") == 0) {
		m->finished = true;
	} else if (strcmp(type, "closed") == 0) {
		m->closed = true;
	}
}

static int
apply_record(const struct fb_journal_record *record, void *arg,
    struct fb_error *err)
{
	const struct fb_rst_index *index = arg;
	struct fb_rst_machine *m =
	    fb_rst_index_find(index, fb_rst_member(record, "machine"));
	struct fb_rst_volume *v;

	(void)err;
	if (m == NULL)
		return FB_OK;
	apply_machine(m, record);
	v = find_volume(m, fb_rst_member(record, "volume"));
	if (v)
		apply_volume(v, record);
	return FB_OK;
}

static void
forget_progress(struct fb_restore *r)
{
	for (size_t i = 0; i < r->count; i++) {
		struct fb_rst_machine *m = &r->machines[i];

		m->noted = m->owed = m->suspended = false;
		m->finishing = m->finished = m->closed = false;
		for (size_t k = 0; k < m->record.volume_count; k++) {
			m->volumes[k].begun = m->volumes[k].whole = false;
			m->volumes[k].offset = 0;
		}
	}
}

int
fb_rst_journal_peek(struct fb_restore *r, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_rst_journal_path(r->engine, r->id);
	struct fb_rst_index index;
	int rc;

	forget_progress(r);
	fb_rst_index_make(r, false, &index);
	rc = fb_journal_read(path, apply_record, &index, err);
	fb_rst_index_release(&index);
	return rc;
}

/* Some machines of a list, counted from `first` on. */
static json_t *
slice(const json_t *list, size_t first, size_t count)
{
	json_t *part = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append(part, json_array_get(list, first + i));
	return part;
}

/* The last machines stand with what was asked for, so that this record says
 * that the list is whole. */
static int
append_spec(struct fb_restore *r, struct fb_error *err)
{
	FB_AUTO_JSON json_t *last = json_copy(r->spec);
	const json_t *list = machines_of(r->spec);
	size_t count = json_array_size(list), at = 0;
	int rc = FB_OK;

	for (; rc >= 0 && count - at > RECORD_MACHINES; at += RECORD_MACHINES) {
		FB_AUTO_JSON json_t *body = json_object();

		json_object_set_new(
		    body, "machines", slice(list, at, RECORD_MACHINES));
		rc = fb_journal_append(
		    r->journal, "machines", body, false, err);
	}
	if (at > 0) {
		if (json_integer_value(json_object_get(last, "version")) <
		    FB_RST_SPEC_PARTS)
			json_object_set_new(last, "version",
			    json_integer(FB_RST_SPEC_PARTS));
		json_object_set_new(
		    last, "machines", slice(list, at, count - at));
	}
	return rc < 0
	    ? rc
	    : fb_journal_append(r->journal, "restore", last, true, err);
}

int
fb_rst_journal_open(struct fb_restore *r, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_rst_journal_path(r->engine, r->id);
	struct fb_rst_index index;
	int rc;

	if (!r->resumed) {
		rc = fb_journal_create(path, &r->journal, err);
		return rc < 0 ? rc : append_spec(r, err);
	}
	forget_progress(r);
	fb_rst_index_make(r, false, &index);
	rc = fb_journal_open(path, apply_record, &index, &r->journal, err);
	fb_rst_index_release(&index);
	return rc;
}

int
fb_rst_note(struct fb_restore *r, const char *type,
    const struct fb_rst_machine *machine, const char *key, const char *value,
    struct fb_error *err)
{
	FB_AUTO_JSON json_t *body = json_object();

	if (machine)
		json_object_set_new(
		    body, "machine", json_string(machine->key));
	if (key)
		json_object_set_new(body, key, json_string(value));
	return fb_journal_append(r->journal, type, body, true, err);
}

int
fb_rst_note_was(struct fb_restore *r, struct fb_rst_machine *machine,
    struct fb_error *err)
{
	FB_AUTO_JSON json_t *body = json_pack("{s:s,s:b,s:s}", "machine",
	    machine->key, "existed", (int)machine->existed, "power",
	    fb_power_name(machine->was));

	machine->noted = true;
	return fb_journal_append(r->journal, "was", body, true, err);
}

int
fb_rst_note_progress(struct fb_restore *r,
    const struct fb_rst_machine *machine, const char *volume,
    uint64_t offset, struct fb_error *err)
{
	FB_AUTO_JSON json_t *body =
	    json_pack("{s:s,s:s,s:I}", "machine", machine->key, "volume",
	        volume, "offset", (json_int_t)offset);

	return fb_journal_append(r->journal, "progress", body, true, err);
}

int
fb_rst_each(const struct fb_engine *engine, fb_rst_visit *visit, void *arg,
    struct fb_error *err)
{
	FB_AUTO_FREE char *dir = fb_state_path(engine, "restores");
	FB_AUTO_LISTING char **names = NULL;
	int rc = fb_io_list(dir, &names, err);

	if (rc == FB_ENOTFOUND)
		return FB_OK;
	for (char **name = names; rc >= 0 && *name != NULL; name++)
		if (fb_run_id_ok(*name, strlen(*name)))
			rc = visit(*name, arg, err);
	return rc;
}

/* Is anything left to do in it? */
static bool
is_open(const struct fb_rst_open *v)
{
	return v->begun && !v->ended && v->closed < v->machines;
}

int
fb_rst_visit_open(const struct fb_journal_record *record, void *arg,
    struct fb_error *err)
{
	struct fb_rst_open *v = arg;

	(void)err;
	if (strcmp(record->type, "restore") == 0 ||
	    strcmp(record->type, "machines") == 0)
		v->machines += json_array_size(machines_of(record->body));
	if (strcmp(record->type, "restore") == 0)
		v->begun = true;
	if (strcmp(record->type, "closed") == 0)
		v->closed++;
	if (strcmp(record->type, "end") == 0)
		v->ended = true;
	return FB_OK;
}

struct id_list {
	const struct fb_engine *engine;
	char **ids;
	size_t count;
};

/* Somebody is at it right now. */
static bool
is_running(const struct fb_engine *engine, const char *id)
{
	FB_AUTO_FREE char *path =
	    fb_state_path(engine, "restores/%s/lock", id);
	struct fb_error ignored = { 0 };
	FB_AUTO_CLOSE int fd =
	    fb_io_open(path, O_RDONLY | O_NOFOLLOW, 0, &ignored);

	return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) == -1 &&
	    errno == EWOULDBLOCK;
}

static int
add_unfinished(const char *id, void *arg, struct fb_error *err)
{
	struct id_list *list = arg;
	FB_AUTO_FREE char *path = fb_rst_journal_path(list->engine, id);
	struct fb_rst_open v = { 0 };
	int rc = fb_journal_read(path, fb_rst_visit_open, &v, err);

	/* Without a journal nothing was begun. */
	if (rc == FB_ENOTFOUND || is_running(list->engine, id))
		return FB_OK;
	if (rc < 0)
		return rc;
	if (!is_open(&v))
		return FB_OK;
	list->ids = fb_realloc(
	    list->ids, list->count + 1, sizeof(*list->ids));
	list->ids[list->count++] = fb_strdup(id);
	return FB_OK;
}

int
fb_restore_unfinished(const struct fb_engine *engine, char ***ret_ids,
    size_t *ret_count, struct fb_error *err)
{
	struct id_list list = { .engine = engine };
	int rc = fb_rst_each(engine, add_unfinished, &list, err);

	if (rc < 0) {
		for (size_t i = 0; i < list.count; i++)
			free(list.ids[i]);
		free(list.ids);
		return rc;
	}
	*ret_ids = list.ids;
	*ret_count = list.count;
	return FB_OK;
}

static int
sweep_one(const char *id, void *arg, struct fb_error *err)
{
	struct fb_restore *r = arg;
	FB_AUTO_FREE char *path = fb_rst_journal_path(r->engine, id);
	FB_AUTO_FREE char *dir = fb_state_path(r->engine, "restores/%s", id);
	struct fb_rst_open v = { 0 };
	int rc = fb_journal_read(path, fb_rst_visit_open, &v, err);

	/* Without a journal nothing was begun; who is alive holds his lock
	 * until he is done. */
	if ((rc == FB_ENOTFOUND || (rc >= 0 && !is_open(&v))) &&
	    strcmp(id, r->id) != 0 && !is_running(r->engine, id) &&
	    fb_io_remove_tree(dir, err) < 0)
		fb_rst_warn(r, NULL, err);
	return FB_OK;
}

/* A sweeper may have found the directory before its lock was there. */
#define CLAIM_TRIES 3

static bool
is_at(const char *path, int fd)
{
	struct stat there, ours;

	return stat(path, &there) == 0 && fstat(fd, &ours) == 0 &&
	    there.st_dev == ours.st_dev && there.st_ino == ours.st_ino;
}

int
fb_rst_claim(struct fb_restore *r, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_format("%s/lock", r->dir);
	int rc = FB_OK;

	for (int i = 0; i < CLAIM_TRIES && r->own_fd < 0; i++) {
		rc = fb_io_mkdirs(r->dir, 0700, err);
		if (rc < 0)
			return rc;
		rc = fb_lock_take(path, 0, NULL, "restore", err);
		if (rc >= 0 && is_at(path, rc))
			r->own_fd = rc;
		else if (rc >= 0)
			(void)close(rc);
		else if (rc != FB_ENOTFOUND)
			return rc;
	}
	if (r->own_fd >= 0)
		return FB_OK;
	return rc < 0 ? rc
	              : fb_fail(err, FB_ECONFLICT,
	                    "'%s' is removed as fast as it is made", r->dir);
}

void
fb_rst_sweep(struct fb_restore *r)
{
	struct fb_error err = { 0 };

	if (fb_rst_each(r->engine, sweep_one, r, &err) < 0)
		fb_rst_warn(r, NULL, &err);
}

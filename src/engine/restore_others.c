/* What other restores in place left of the machines of this one. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "restore_parts.h"

/* What one journal says of a machine. */
enum {
	NAMED = 1, /* it is one of its machines */
	OPEN = 2,  /* ... in place, and not closed */
	HALF = 4,  /* its bytes may have been touched */
	UP = 8,    /* it was up before that */
};

struct other {
	char id[FB_RUN_ID_SIZE];
	json_t *machines; /* key -> the above */
	struct fb_rst_open count;
	struct fb_journal *journal; /* once there was something to write */
};

struct fb_rst_others {
	const struct fb_engine *engine;
	const char *own; /* id of the restore that asks */
	struct other *items;
	size_t count;
};

static json_int_t
flags_of(const struct other *other, const char *key)
{
	return json_integer_value(json_object_get(other->machines, key));
}

static void
change(struct other *other, const char *key, json_int_t clear, json_int_t set)
{
	json_int_t before = flags_of(other, key);
	json_int_t flags = (before & ~clear) | set;

	if (flags != before)
		(void)json_object_set_new(
		    other->machines, key, json_integer(flags));
}

static void
name_machines(struct other *other, const json_t *body)
{
	json_t *machine;
	size_t i;

	json_array_foreach(json_object_get(body, "machines"), i, machine)
	{
		const char *key = json_string_value(
		    json_object_get(machine, "machine"));

		if (key != NULL)
			change(other, key, 0, NAMED);
	}
}

/* The list of machines is complete, and this is what is done to them. */
static void
begin(struct other *other, const json_t *spec)
{
	const char *kind = json_string_value(json_object_get(spec, "kind"));
	bool in_place = kind != NULL && strcmp(kind, FB_RST_IN_PLACE) == 0;
	const char *key;
	json_t *flags;

	json_object_foreach(other->machines, key, flags)
	{
		json_int_t now = json_integer_value(flags);

		if (now & NAMED)
			(void)json_integer_set(flags,
			    in_place ? now | OPEN : now & ~(json_int_t)OPEN);
	}
}

static int
visit(const struct fb_journal_record *record, void *arg, struct fb_error *err)
{
	struct other *other = arg;
	const char *key = fb_rst_member(record, "machine");
	const char *type = record->type;

	(void)fb_rst_visit_open(record, &other->count, err);
	if (strcmp(type, "restore") == 0 || strcmp(type, "machines") == 0)
		name_machines(other, record->body);
	if (strcmp(type, "restore") == 0)
		begin(other, record->body);
	else if (strcmp(type, "closed") == 0)
		change(other, key, OPEN | HALF, 0);
	else if (strcmp(type, "discharged") == 0)
		change(other, key, HALF, 0);
	else if (strcmp(type, "suspended") == 0)
		change(other, key, 0, HALF);
	else if (strcmp(type, "was") == 0)
		change(other, key, UP,
		    strcmp(fb_rst_member(record, "power"), "up") == 0 ? UP
		                                                      : 0);
	return FB_OK;
}

static void
release_other(struct other *other)
{
	json_decref(other->machines);
	fb_journal_close(other->journal);
}

static int
add_other(const char *id, void *arg, struct fb_error *err)
{
	struct fb_rst_others *others = arg;
	FB_AUTO_FREE char *path = fb_rst_journal_path(others->engine, id);
	struct other other = { 0 };
	int rc;

	if (strcmp(id, others->own) == 0)
		return FB_OK;
	memcpy(other.id, id, sizeof(other.id));
	other.machines = json_object();
	rc = fb_journal_read(path, visit, &other, err);
	if (rc < 0) {
		release_other(&other);
		return rc == FB_ENOTFOUND ? FB_OK : rc;
	}
	others->items = fb_realloc(
	    others->items, others->count + 1, sizeof(*others->items));
	others->items[others->count++] = other;
	return FB_OK;
}

void
fb_rst_others_free(struct fb_rst_others *others)
{
	if (others == NULL)
		return;
	for (size_t i = 0; i < others->count; i++)
		release_other(&others->items[i]);
	free(others->items);
	free(others);
}

static int
read_others(struct fb_restore *r, struct fb_error *err)
{
	struct fb_rst_others *others;
	int rc;

	if (r->others != NULL)
		return FB_OK;
	others = fb_alloc(1, sizeof(*others));
	others->engine = r->engine;
	others->own = r->id;
	rc = fb_rst_each(r->engine, add_other, others, err);
	if (rc < 0)
		fb_rst_others_free(others);
	else
		r->others = others;
	return rc;
}

int
fb_rst_inherited(struct fb_restore *r, const struct fb_rst_machine *machine,
    bool *ret_half, bool *ret_up, struct fb_error *err)
{
	int rc = read_others(r, err);

	*ret_half = *ret_up = false;
	for (size_t i = 0; rc >= 0 && i < r->others->count; i++) {
		json_int_t flags = flags_of(&r->others->items[i], machine->key);

		*ret_half |= (flags & HALF) != 0;
		*ret_up |= (flags & HALF) != 0 && (flags & UP) != 0;
	}
	return rc;
}

/* Close the machine in the journal of the restore that left it. */
static int
overtake(struct fb_restore *r, struct other *other, const char *key,
    struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_rst_journal_path(r->engine, other->id);
	FB_AUTO_FREE char *dir =
	    fb_state_path(r->engine, "restores/%s", other->id);
	FB_AUTO_JSON json_t *body = json_pack("{s:s,s:s,s:s}", "machine", key,
	    "how", "overtaken", "by", r->id);
	int rc = FB_OK;

	if (other->journal == NULL) {
		other->count = (struct fb_rst_open){ 0 };
		rc = fb_journal_open(path, fb_rst_visit_open, &other->count,
		    &other->journal, err);
	}
	if (rc >= 0)
		rc = fb_obligation_end(other->journal, key, "given-up", err);
	if (rc >= 0)
		rc = fb_journal_append(
		    other->journal, "closed", body, true, err);
	if (rc < 0) { /* it takes no further record: it is opened again */
		fb_journal_close(other->journal);
		other->journal = NULL;
		return rc;
	}
	change(other, key, OPEN | HALF, 0);
	other->count.closed++;
	return other->count.closed >= other->count.machines
	    ? fb_io_remove_tree(dir, err)
	    : FB_OK;
}

int
fb_rst_supersede(struct fb_restore *r, const struct fb_rst_machine *machine,
    struct fb_error *err)
{
	int rc = read_others(r, err);

	for (size_t i = 0; rc >= 0 && i < r->others->count; i++) {
		struct other *other = &r->others->items[i];

		if ((flags_of(other, machine->key) & (OPEN | HALF)) != 0)
			rc = overtake(r, other, machine->key, err);
	}
	return rc;
}

#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/fleet/selector.h"
#include "restore_parts.h"

/* Names kept to suggest one of. */
#define NAMES_MAX 20000

/* One machine that is asked for. */
struct want {
	char *source; /* NULL: any */
	char *id;     /* or, until that is known, what it is called */
	bool known;
	size_t called; /* machines of this run that are called so ... */
	char *called_source, *called_id; /* ... and the first of them */
	char *run;    /* NULL: the newest in which it did not fail */
	const char *argument;
	bool found;
	size_t matches;
	struct fb_rst_machine *machine; /* the last match in this run */
	char failed_run[FB_RUN_ID_SIZE]; /* newest in which it failed */
	char *failed_source;
};

struct picker {
	struct fb_restore *restore;
	struct want *wants;
	struct want **by_id; /* the same, sorted */
	size_t want_count;
	struct fb_run_ref *runs; /* newest first */
	size_t run_count, damaged;
	struct fb_error damage; /* of the newest of them ... */
	char damaged_run[FB_RUN_ID_SIZE]; /* ... which is this */
	const struct fb_run_ref *run; /* being read */
	bool every;            /* take every machine of the run */
	bool again;            /* a name became an id: from the newest run on */
	struct fb_fleet fleet; /* to apply selectors to */
	char **names;
	size_t name_count;
};

static void
remember_name(struct picker *p, const struct fb_manifest_machine *record)
{
	if (p->name_count + 3 > NAMES_MAX)
		return;
	p->names =
	    fb_realloc(p->names, p->name_count + 3, sizeof(*p->names));
	p->names[p->name_count++] = fb_strdup(record->id);
	p->names[p->name_count++] = fb_strdup(record->name);
	p->names[p->name_count++] =
	    fb_format("%s/%s", record->source, record->id);
}

static void
tag_machine(const struct picker *p, struct fb_rst_machine *m,
    const struct fb_digest *manifest)
{
	memcpy(m->run, p->run->run, sizeof(m->run));
	memcpy(m->session, p->run->session, sizeof(m->session));
	memcpy(m->run_time, p->run->time, sizeof(m->run_time));
	m->manifest = *manifest;
}

struct visit {
	struct picker *picker;
	const struct fb_digest *manifest;
};

static bool
want_accepts(const struct want *w, const struct picker *p)
{
	if (w->found)
		return false;
	if (w->run != NULL)
		return strcmp(w->run, p->run->run) == 0;
	return strcmp(
	    p->run->fleet, p->restore->engine->config->fleet_name) == 0;
}

/* Note a machine that was asked for; the copy waits for the run's end. */
static void
match_want(struct visit *v, struct want *w,
    const struct fb_manifest_machine *record)
{
	struct picker *p = v->picker;

	if (!want_accepts(w, p) || (w->source && strcmp(w->source, record->source) != 0))
		return;
	if (w->matches++ > 0)
		return;
	if (record->failed) {
		if (w->failed_run[0] == '\0')
			memcpy(w->failed_run, p->run->run,
			    sizeof(w->failed_run));
		free(w->failed_source);
		w->failed_source = fb_strdup(record->source);
		return;
	}
	w->machine = fb_alloc(1, sizeof(*w->machine));
	fb_rst_copy_record(&w->machine->record, record);
	tag_machine(p, w->machine, v->manifest);
}

/* Note one that is called what was asked for. */
static void
match_name(struct visit *v, struct want *w,
    const struct fb_manifest_machine *record)
{
	if (w->known || !want_accepts(w, v->picker) ||
	    (w->source && strcmp(w->source, record->source) != 0) ||
	    w->called++ > 0)
		return;
	w->called_source = fb_strdup(record->source);
	w->called_id = fb_strdup(record->id);
}

static int
compare_wants(const void *a, const void *b)
{
	const struct want *const *x = a, *const *y = b;

	return strcmp((*x)->id, (*y)->id);
}

static void
sort_wants(struct picker *p)
{
	free(p->by_id);
	p->by_id = fb_alloc(p->want_count + 1, sizeof(struct want *));
	for (size_t i = 0; i < p->want_count; i++)
		p->by_id[i] = &p->wants[i];
	if (p->want_count > 1)
		qsort(p->by_id, p->want_count, sizeof(struct want *),
		    compare_wants);
}

/* The first of those with this id, by_id. */
static size_t
first_want(const struct picker *p, const char *id)
{
	size_t low = 0, high = p->want_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(p->by_id[middle]->id, id) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int
visit_machine(const struct fb_manifest_machine *record, void *arg,
    struct fb_error *err)
{
	struct visit *v = arg;
	struct picker *p = v->picker;

	(void)err;
	remember_name(p, record);
	for (size_t i = first_want(p, record->id);
	     i < p->want_count && strcmp(p->by_id[i]->id, record->id) == 0; i++)
		match_want(v, p->by_id[i], record);
	for (size_t i = first_want(p, record->name); i < p->want_count &&
	     strcmp(p->by_id[i]->id, record->name) == 0; i++)
		match_name(v, p->by_id[i], record);
	if (p->every)
		tag_machine(p, fb_rst_add(p->restore, record), v->manifest);
	return FB_OK;
}

static int
read_run(struct picker *p, const struct fb_run_ref *run, struct fb_error *err)
{
	struct fb_restore *r = p->restore;
	FB_AUTO_MANIFEST struct fb_manifest *manifest = NULL;
	struct fb_error doubt = { 0 };
	struct visit visit = { p, NULL };
	int rc = fb_manifest_open(
	    r->repo, run, r->untrusted, &doubt, &manifest, err);

	if (rc < 0) {
		if (strncmp(err->msg, "run ", 4) != 0)
			(void)fb_wrap(err, "run %s", run->run);
		return rc == FB_EUNTRUSTED
		    ? fb_hint(err, "--allow-untrusted restores it all the "
		                   "same; an older run can be named with "
		                   "MACHINE@RUN")
		    : fb_hint(err, "an older run can be named with "
		                   "MACHINE@RUN");
	}
	if (doubt.code < 0) {
		r->report->trusted = false;
		fb_rst_warn(r, NULL, &doubt);
	}
	p->run = run;
	visit.manifest = fb_manifest_digest(manifest);
	if (r->report->run[0] == '\0') {
		memcpy(r->report->run, run->run, sizeof(run->run));
		memcpy(r->report->run_time, run->time, sizeof(run->time));
	}
	return fb_manifest_machines(manifest, visit_machine, &visit, err);
}

static int
add_run(const struct fb_run_ref *run, void *arg, struct fb_error *err)
{
	struct picker *p = arg;
	struct fb_predecessor *list;
	struct fb_run_ref *copy;

	(void)err;
	if (run->damage) {
		if (p->damaged++ == 0) {
			p->damage = *run->damage;
			memcpy(p->damaged_run, run->run, FB_RUN_ID_SIZE);
		}
		fb_rst_warn(p->restore, NULL, run->damage);
		return FB_OK;
	}
	p->runs = fb_realloc(p->runs, p->run_count + 1, sizeof(*p->runs));
	copy = &p->runs[p->run_count++];
	*copy = *run;
	list = fb_alloc(run->predecessor_count + 1, sizeof(*list));
	for (size_t i = 0; i < run->predecessor_count; i++)
		list[i] = run->predecessors[i];
	copy->predecessors = list;
	return FB_OK;
}

/*
 * Of a newer run there is a register that cannot be read: this may not be the
 * newest, and who spoils a register must not choose what is restored.
 */
static int
refuse_older(const struct picker *p, const char *run, struct fb_error *err)
{
	if (p->restore->rollback || strcmp(p->damaged_run, run) <= 0)
		return FB_OK;
	*err = p->damage;
	(void)fb_wrap(err, "run %s may not be the newest", run);
	return fb_hint(err,
	    "MACHINE@%s takes it all the same, as does --allow-rollback", run);
}

/* The run named `id`, or with "latest" (NULL) the fleet's newest. */
static int
find_run(const struct picker *p, const char *id,
    const struct fb_run_ref **ret_run, struct fb_error *err)
{
	const char *fleet = p->restore->engine->config->fleet_name;
	bool latest = id == NULL || strcmp(id, "latest") == 0;

	for (size_t i = 0; i < p->run_count; i++) {
		*ret_run = &p->runs[i];
		if (latest && strcmp(p->runs[i].fleet, fleet) == 0)
			return refuse_older(p, p->runs[i].run, err);
		if (!latest && strcmp(p->runs[i].run, id) == 0)
			return FB_OK;
	}
	if (p->damaged > 0) {
		*err = p->damage;
		return fb_wrap(err, "run %s may be a damaged one",
		    latest ? "latest" : id);
	}
	if (latest)
		(void)fb_fail_id(err, FB_ECONFIG, "E-RST-RUN",
		    "the repository holds no run of fleet '%s'", fleet);
	else
		(void)fb_fail_id(err, FB_ECONFIG, "E-RST-RUN",
		    "the repository holds no run '%s'", id);
	return fb_hint(err, "`fleetbak list` shows the runs");
}

static int
no_machine(const struct picker *p, const struct want *w, struct fb_error *err)
{
	FB_AUTO_FREE char *name = w->source
	    ? fb_format("%s/%s", w->source, w->id)
	    : fb_strdup(w->id);
	const char *near = fb_name_nearest(
	    name, (const char *const *)p->names, p->name_count);

	if (w->failed_run[0] != '\0') {
		(void)fb_fail_id(err, FB_ECONFIG, "E-RST-FAILED",
		    "machine '%s' failed in run %s%s: there is no backup of "
		    "it there", name, w->failed_run,
		    w->run ? "" : " and in every run before it");
		return fb_hint(err, "`fleetbak list %s` shows its backups",
		    name);
	}
	if (w->run)
		(void)fb_fail_id(err, FB_ECONFIG, "E-RST-MACHINE",
		    "run %s has no machine '%s'", w->run, name);
	else
		(void)fb_fail_id(err, FB_ECONFIG, "E-RST-MACHINE",
		    "no run of fleet '%s' has a machine '%s'",
		    p->restore->engine->config->fleet_name, name);
	return near[0] != '\0' ? fb_hint(err, "did you mean '%s'?", near)
	                       : fb_hint(err, "`fleetbak list` shows what "
	                                      "is there");
}

/* A word that is no id of this run is a name.  What was called so in the
 * newest run that knows the name is the machine; it may have newer backups,
 * under another name. */
static int
settle_name(struct picker *p, struct want *w, struct fb_error *err)
{
	if (w->called > 1) {
		(void)fb_fail_id(err, FB_ECONFIG, "E-RST-AMBIGUOUS",
		    "%zu machines are called '%s' in run %s, one of them "
		    "'%s/%s'", w->called, w->id, p->run->run,
		    w->called_source, w->called_id);
		return fb_hint(err, "say SOURCE/%s, or its id: `fleetbak list "
		                    "machines`", w->id);
	}
	free(w->id);
	free(w->source);
	w->id = FB_STEAL(w->called_id);
	w->source = FB_STEAL(w->called_source);
	w->called = 0;
	w->known = p->again = true;
	return FB_OK;
}

/* After a run was read: what did it give each of those who wait? */
static int
settle_wants(struct picker *p, struct fb_error *err)
{
	for (size_t i = 0; i < p->want_count; i++) {
		struct want *w = &p->wants[i];

		if (w->matches == 0 && w->called > 0 &&
		    settle_name(p, w, err) < 0)
			return err->code;
		w->known = w->known || w->matches > 0;
		if (w->matches > 1 && !w->found) {
			(void)fb_fail_id(err, FB_ECONFIG, "E-RST-AMBIGUOUS",
			    "several sources have a machine '%s' in run %s",
			    w->id, p->run->run);
			return fb_hint(err, "say SOURCE/%s", w->id);
		}
		if (w->machine && !w->found) {
			struct fb_rst_machine *m;

			if (w->run == NULL &&
			    refuse_older(p, p->run->run, err) < 0)
				return err->code;
			m = fb_rst_add(p->restore, &w->machine->record);
			tag_machine(p, m, &w->machine->manifest);
			w->found = true;
		}
		/* Older runs must speak of the same machine. */
		if (w->matches == 1 && !w->found && w->source == NULL)
			w->source = FB_STEAL(w->failed_source);
		w->matches = 0;
	}
	return FB_OK;
}

static bool
run_is_wanted(struct picker *p, const struct fb_run_ref *run)
{
	p->run = run;
	for (size_t i = 0; i < p->want_count; i++)
		if (want_accepts(&p->wants[i], p))
			return true;
	return false;
}

static int
pick_wants(struct picker *p, struct fb_error *err)
{
	const struct fb_run_ref *run;
	int rc = FB_OK;

	sort_wants(p);
	for (size_t i = 0; i < p->want_count && rc >= 0; i++)
		if (p->wants[i].run)
			rc = find_run(p, p->wants[i].run, &run, err);
	for (size_t i = 0; i < p->run_count && rc >= 0; i++) {
		if (!run_is_wanted(p, &p->runs[i]))
			continue;
		rc = read_run(p, &p->runs[i], err);
		if (rc >= 0)
			rc = settle_wants(p, err);
		if (rc >= 0 && p->again) {
			p->again = false;
			sort_wants(p);
			i = SIZE_MAX; /* the next one is the newest */
		}
	}
	for (size_t i = 0; i < p->want_count && rc >= 0; i++)
		if (!p->wants[i].found)
			rc = p->damaged > 0 && p->run_count == 0
			    ? find_run(p, NULL, &run, err)
			    : no_machine(p, &p->wants[i], err);
	return rc;
}

static int
parse_wants(struct picker *p, const struct fb_restore_options *o,
    struct fb_error *err)
{
	p->wants = fb_alloc(o->machine_count + 1, sizeof(*p->wants));
	for (size_t i = 0; i < o->machine_count; i++) {
		struct want *w = &p->wants[p->want_count];
		int rc = fb_rst_parse(
		    o->machines[i], &w->source, &w->id, &w->run, err);

		if (rc < 0)
			return rc;
		p->want_count++;
		w->argument = o->machines[i];
		if (o->run && w->run && strcmp(o->run, w->run) != 0)
			return fb_fail(err, FB_ECONFIG,
			    "'%s' and --run %s name two runs", w->argument,
			    o->run);
		if (o->run && !w->run)
			w->run = fb_strdup(o->run);
		if (w->run && strcmp(w->run, "latest") == 0)
			free(FB_STEAL(w->run));
	}
	return FB_OK;
}

/* Is it an import of what other systems saved, and none of the fleet's? */
static bool
is_imported(const struct fb_restore *r)
{
	for (size_t i = 0; i < r->count; i++)
		if (!fb_driver_imports(r->machines[i].record.driver))
			return false;
	return r->count > 0;
}

static int
read_another(struct picker *p, const struct fb_run_ref *run,
    struct fb_error *err)
{
	struct fb_restore *r = p->restore;
	int rc = refuse_older(p, run->run, err);

	if (rc < 0)
		return rc;
	while (r->count > 0)
		fb_rst_machine_release(&r->machines[--r->count]);
	r->report->run[0] = '\0';
	return read_run(p, run, err);
}

/* The fleet's newest run is not one that was imported since, unless there is
 * no other. */
static int
pass_imports(struct picker *p, const struct fb_run_ref **run,
    struct fb_error *err)
{
	const char *fleet = p->restore->engine->config->fleet_name;
	const struct fb_run_ref *first = *run, *end = p->runs + p->run_count;
	int rc = FB_OK;

	for (const struct fb_run_ref *at = first + 1;
	     rc >= 0 && at < end && is_imported(p->restore); at++) {
		if (strcmp(at->fleet, fleet) != 0)
			continue;
		*run = at;
		rc = read_another(p, at, err);
	}
	if (rc < 0 || *run == first || !is_imported(p->restore))
		return rc;
	*run = first;
	return read_another(p, first, err);
}

/* Every machine of one run, or those that selectors choose. */
static int
pick_run(struct picker *p, const struct fb_restore_options *o,
    struct fb_error *err)
{
	struct fb_restore *r = p->restore;
	const struct fb_run_ref *run;
	size_t kept = 0;
	int rc = find_run(p, o->run, &run, err);

	p->every = true;
	if (rc >= 0)
		rc = read_run(p, run, err);
	if (rc >= 0 && (o->run == NULL || strcmp(o->run, "latest") == 0))
		rc = pass_imports(p, &run, err);
	p->every = false;
	if (rc < 0 || o->selector_count == 0)
		return rc;
	fb_rst_fill_fleet(&p->fleet, r);
	rc = fb_select(
	    &p->fleet, o->selectors, o->selector_count, NULL, 0, err);
	if (rc < 0)
		return fb_wrap(err, "run %s", run->run);
	for (size_t i = 0; i < r->count; i++) {
		if (p->fleet.machines[i].selected)
			r->machines[kept++] = r->machines[i];
		else
			fb_rst_machine_release(&r->machines[i]);
	}
	r->count = kept;
	return FB_OK;
}

static void
picker_release(struct picker *p)
{
	for (size_t i = 0; i < p->want_count; i++) {
		struct want *w = &p->wants[i];

		free(w->source);
		free(w->id);
		free(w->run);
		free(w->failed_source);
		free(w->called_source);
		free(w->called_id);
		if (w->machine)
			fb_manifest_machine_release(&w->machine->record);
		free(w->machine);
	}
	free(p->wants);
	free(p->by_id);
	for (size_t i = 0; i < p->run_count; i++)
		free((void *)p->runs[i].predecessors);
	free(p->runs);
	for (size_t i = 0; i < p->name_count; i++)
		free(p->names[i]);
	free(p->names);
	fb_fleet_release(&p->fleet);
}

int
fb_rst_pick(struct fb_restore *restore, const struct fb_restore_options *o,
    struct fb_error *err)
{
	struct picker p = { .restore = restore };
	int rc = parse_wants(&p, o, err);

	if (rc >= 0)
		rc = fb_repo_runs(restore->repo, add_run, &p, err);
	if (rc >= 0 && o->machine_count > 0)
		rc = pick_wants(&p, err);
	else if (rc >= 0)
		rc = pick_run(&p, o, err);
	picker_release(&p);
	if (rc >= 0 && o->machine_count > 0)
		rc = fb_rst_check_twice(restore, err);
	return rc;
}

/* What the journal of an unfinished restore pinned. */
static int
pinned_want(struct fb_restore *r, const json_t *item, struct want *w,
    struct fb_digest *ret_manifest, struct fb_error *err)
{
	const char *machine, *run, *manifest;
	char *none = NULL;
	int rc = fb_json_str(item,
	    json_object_get(item, "from") != NULL ? "from" : "machine",
	    "restore", &machine, err);

	(void)r;
	if (rc >= 0)
		rc = fb_json_str(item, "run", "restore", &run, err);
	if (rc >= 0)
		rc = fb_json_str(item, "manifest", "restore", &manifest, err);
	if (rc >= 0)
		rc = fb_digest_parse((struct fb_span){
		    (const uint8_t *)manifest, strlen(manifest) },
		    ret_manifest, err);
	if (rc >= 0)
		rc = fb_rst_parse(machine, &w->source, &w->id, &none, err);
	if (rc < 0)
		return rc;
	free(none);
	w->known = true;
	w->run = fb_strdup(run);
	w->argument = machine;
	return FB_OK;
}

static int
compare_digests(const void *a, const void *b)
{
	return fb_digest_cmp(a, b);
}

int
fb_rst_pick_again(struct fb_restore *r, struct fb_error *err)
{
	struct picker p = { .restore = r };
	FB_AUTO_FREE struct fb_digest *manifests = NULL;
	json_t *list, *item;
	size_t i;
	int rc = fb_json_array(r->spec, "machines", "restore", &list, err);

	if (rc < 0)
		return rc;
	p.wants = fb_alloc(json_array_size(list) + 1, sizeof(*p.wants));
	manifests = fb_alloc(json_array_size(list) + 1, sizeof(*manifests));
	json_array_foreach(list, i, item) {
		rc = pinned_want(r, item, &p.wants[i], &manifests[i], err);
		if (rc < 0)
			break;
		p.want_count++;
	}
	if (rc >= 0)
		rc = fb_repo_runs(r->repo, add_run, &p, err);
	if (rc >= 0)
		rc = pick_wants(&p, err);
	if (p.want_count > 1)
		qsort(manifests, p.want_count, sizeof(*manifests),
		    compare_digests);
	for (i = 0; i < r->count && rc >= 0; i++) {
		if (bsearch(&r->machines[i].manifest, manifests, p.want_count,
		        sizeof(*manifests), compare_digests) == NULL)
			rc = fb_fail(err, FB_EUNTRUSTED,
			    "the manifest of run %s is not the one this "
			    "restore began with", r->machines[i].run);
	}
	picker_release(&p);
	return rc < 0 ? rc : fb_rst_across_pinned(r, err);
}

/* The position of a machine's parent among those chosen, or its own. */
static size_t
parent_of(const struct fb_restore *r, const struct fb_rst_index *index,
    size_t i)
{
	const struct fb_manifest_machine *record = &r->machines[i].record;
	FB_AUTO_FREE char *key = NULL;
	const struct fb_rst_machine *parent;

	if (record->parent == NULL)
		return i;
	key = fb_format("%s/%s", record->source, record->parent);
	parent = fb_rst_index_find(index, key);
	return parent != NULL ? (size_t)(parent - r->machines) : i;
}

static int
compare_family(const void *a, const void *b)
{
	const struct fb_rst_machine *x = a, *y = b;

	if (x->root != y->root)
		return x->root < y->root ? -1 : 1;
	if (x->turn != y->turn)
		return x->turn < y->turn ? -1 : 1;
	return strcmp(x->origin, y->origin);
}

/* Where parents are controllers they come last. */
static size_t
turn_of(const struct fb_restore *r, const struct fb_rst_machine *machine)
{
	const struct fb_driver_ops *ops =
	    fb_driver_find(machine->record.driver);

	return ops != NULL && ops->parents_first ? r->count - machine->depth
	                                         : machine->depth;
}

void
fb_rst_order(struct fb_restore *r)
{
	FB_AUTO_FREE size_t *parents =
	    fb_alloc(r->count + 1, sizeof(*parents));
	struct fb_rst_index index;

	fb_rst_index_make(r, true, &index);
	for (size_t i = 0; i < r->count; i++)
		parents[i] = parent_of(r, &index, i);
	fb_rst_index_release(&index);
	for (size_t i = 0; i < r->count; i++) {
		size_t at = i;

		/* A signed manifest has no cycle; an untrusted one may. */
		while (parents[at] != at && r->machines[i].depth < r->count) {
			at = parents[at];
			r->machines[i].depth++;
		}
		r->machines[i].root = at;
		r->machines[i].turn = turn_of(r, &r->machines[i]);
	}
	if (r->count > 1)
		qsort(r->machines, r->count, sizeof(*r->machines),
		    compare_family);
}

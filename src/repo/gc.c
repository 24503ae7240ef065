/*
 * A collection.  States as data: each step is one of G1 to G8 and leaves in
 * gc->next what follows; whoever takes over finds the place by gc/current.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/format/pack.h"
#include "fleetbak/format/recipe.h"

#include "gc_impl.h"

#define CURRENT "gc/current"

/* A set is a text of at most FB_REGISTER_MAX bytes; what is not in it goes
 * with the next one. */
#define SET_MAX ((FB_REGISTER_MAX / 2) / FB_DIGEST_HEX_SIZE)

enum step {
	STEP_LOOK,     /* where does gc/current stand? */
	STEP_MARK,     /* G1 */
	STEP_PUBLISH,  /* G2 */
	STEP_SESSIONS, /* G3 */
	STEP_RESOLVE,  /* G4 */
	STEP_REMARK,   /* G5 */
	STEP_SEAL,     /* G6 */
	STEP_REMOVE,   /* G7 */
	STEP_CLOSE,    /* G8 */
	STEP_OVER,
};

struct fb_gc {
	struct fb_repo *repo;
	struct fb_gc_request request;
	struct fb_gc_report *report;
	enum step next;
	bool fresh; /* a collection that began with us is over ... */
	bool part;  /* ... and there was more than its set could hold */
	struct fb_gc_doc doc;
	char tag[FB_STORE_TAG_SIZE]; /* of doc */
	struct fb_gc_set set;        /* condemned, or fixed */
	struct fb_gc_session *sessions;
	size_t session_count;
	struct fb_gc_sizes packs, recipes; /* of what we condemned */
	struct fb_gc_makers makers;  /* of what is in the set ... */
	uint64_t makers_of;          /* ... of this generation; 0: of none */
	struct fb_id_list left_out;  /* recipes that no run needs either ... */
	uint64_t left_out_of;        /* ... and that generation's set lacks */
};

struct fb_gc *
fb_gc_new(struct fb_repo *repo, const struct fb_gc_request *request,
    struct fb_gc_report *report)
{
	struct fb_gc *gc = fb_alloc(1, sizeof(*gc));

	gc->repo = repo;
	gc->request = *request;
	if (gc->request.set_max == 0)
		gc->request.set_max = SET_MAX;
	gc->report = report;
	return gc;
}

void
fb_gc_free(struct fb_gc *gc)
{
	if (gc == NULL)
		return;
	fb_gc_set_release(&gc->set);
	fb_gc_sizes_release(&gc->packs);
	fb_gc_sizes_release(&gc->recipes);
	fb_gc_makers_release(&gc->makers);
	fb_id_list_release(&gc->left_out);
	free(gc->sessions);
	free(gc);
}

void
fb_gc_report_release(struct fb_gc_report *report)
{
	free(report->waiting);
	report->waiting = NULL;
	report->waiting_count = 0;
}

static int
check_cancel(const struct fb_gc *gc, struct fb_error *err)
{
	if (gc->request.cancel != NULL && atomic_load(gc->request.cancel))
		return fb_fail(err, FB_ECANCELED, "stopped on request");
	return FB_OK;
}

/* Somebody else was faster, or nobody knows who was: look where things stand
 * now. */
static int
look_again(struct fb_gc *gc, int rc)
{
	if (rc != FB_ECONFLICT && rc != FB_EUNKNOWN && rc != FB_ENOTFOUND)
		return rc;
	gc->next = STEP_LOOK;
	return FB_OK;
}

/*
 * gc/current and its set are signed by nobody, and whoever may write to the
 * store may put others there.  So what they say is held against what is
 * signed: that a run is given up, and what the others need.  The record is
 * asked for by its name: a list that lags is no liar.
 */
static int
check_one_forgotten(
    struct fb_repo *repo, const char *session, struct fb_error *err)
{
	bool forgotten;
	int rc = fb_repo_is_forgotten(repo, session, &forgotten, err);

	if (rc < 0 || forgotten)
		return rc;
	(void)fb_fail_id(err, FB_ECORRUPT, "E-GC-SET",
	    "nothing more is deleted, because the set that '" CURRENT
	    "' names counts as given up, though nobody signed it, the run of "
	    "session '%s'",
	    session);
	return fb_hint(err, "no prune makes such a set: find out who did");
}

static int
check_forgotten(struct fb_gc *gc, struct fb_error *err)
{
	struct fb_run_ids known = { 0 };
	int rc = fb_gc_forgotten(gc->repo, &known, NULL, err);

	for (size_t i = 0; rc == FB_OK && i < gc->set.forgotten.count; i++)
		if (!fb_run_ids_have(&known, gc->set.forgotten.ids[i]))
			rc = check_one_forgotten(
			    gc->repo, gc->set.forgotten.ids[i], err);
	fb_run_ids_release(&known);
	return rc;
}

/* Who made a set knows what is not in it; who takes it over looks. */
static int
find_left_out(struct fb_gc *gc, struct fb_error *err)
{
	int rc;

	if (gc->left_out_of == gc->set.generation)
		return FB_OK;
	fb_id_list_release(&gc->left_out);
	rc = fb_gc_unneeded_recipes(gc->repo, &gc->request,
	    &gc->set.forgotten, &gc->left_out, err);
	if (rc == FB_OK)
		gc->left_out_of = gc->set.generation;
	return rc;
}

static int
find_makers(struct fb_gc *gc, struct fb_error *err)
{
	int rc;

	if (gc->makers_of == gc->set.generation)
		return FB_OK;
	fb_gc_makers_release(&gc->makers);
	rc = find_left_out(gc, err);
	if (rc == FB_OK)
		rc = fb_gc_find_makers(gc->repo, &gc->request, &gc->set,
		    &gc->left_out, &gc->makers, err);
	if (rc == FB_OK)
		rc = check_cancel(gc, err);
	if (rc == FB_OK)
		gc->makers_of = gc->set.generation;
	return rc;
}

/* Who made what is in the set was announced before the set was: if it is open,
 * the list of sessions did not show it. */
static int
settle_makers(
    struct fb_gc *gc, struct fb_run_ids *there, struct fb_error *err)
{
	int rc = fb_gc_have_registers(
	    gc->repo, &gc->makers.all, there, err);

	free(gc->sessions);
	gc->sessions = NULL;
	gc->session_count = 0;
	if (rc == FB_OK)
		rc = fb_gc_open_among(gc->repo, &gc->makers.of_set, there,
		    &gc->sessions, &gc->session_count, err);
	if (rc == FB_OK && gc->session_count > 0)
		rc = fb_gc_settle(gc->repo, &gc->request, gc->sessions,
		    gc->session_count, gc->report, err);
	/* It may have committed instead. */
	return rc < 0 || gc->session_count == 0
	    ? rc
	    : fb_gc_have_registers(gc->repo, &gc->makers.all, there, err);
}

/* What runs need, and with `makers` of those above all who made what is to
 * go.  Registers are asked for before they are listed: then whatever commits
 * in between is no sign of a list that lags. */
static int
mark_needs(struct fb_gc *gc, bool makers, struct fb_gc_marks *marks,
    struct fb_error *err)
{
	struct fb_run_ids there = { 0 };
	int rc = fb_gc_resolved_sessions(gc->repo, &there, err);

	if (rc == FB_OK && makers)
		rc = find_makers(gc, err);
	if (rc == FB_OK && makers)
		rc = settle_makers(gc, &there, err);
	fb_gc_marks_make(marks, gc->request.dir);
	if (rc == FB_OK)
		rc = fb_gc_mark(
		    gc->repo, &gc->set.forgotten, &there, marks, err);
	fb_run_ids_release(&there);
	return rc;
}

static int
look(struct fb_gc *gc, struct fb_error *err)
{
	int rc;

	fb_gc_set_release(&gc->set);
	gc->set = (struct fb_gc_set){ 0 };
	rc = fb_gc_read_current(gc->repo, &gc->doc, gc->tag, err);
	if (rc < 0)
		return rc;
	if (gc->doc.phase == FB_GC_IDLE) {
		gc->next = gc->fresh && !gc->part ? STEP_OVER : STEP_MARK;
		return FB_OK;
	}
	rc = fb_gc_read_set(gc->repo, &gc->doc.set, &gc->set, err);
	if (rc < 0) {
		struct fb_gc_doc now = { 0 };
		char tag[FB_STORE_TAG_SIZE];

		/* Gone with its generation, or gone? */
		if (rc == FB_ENOTFOUND &&
		    fb_gc_read_current(gc->repo, &now, tag, err) == FB_OK &&
		    strcmp(tag, gc->tag) == 0)
			return fb_fail(err, FB_ECORRUPT,
			    "the set that '" CURRENT "' names is missing");
		return look_again(gc, rc);
	}
	gc->next = gc->doc.phase == FB_GC_CONDEMNED ? STEP_SESSIONS
	                                             : STEP_REMOVE;
	return check_forgotten(gc, err);
}

/* What a run needs may be missing because somebody else went on meanwhile,
 * and gave the run up. */
static int
judge_damage(struct fb_gc *gc, int rc)
{
	struct fb_error ignored = { 0 };
	struct fb_gc_doc now;
	char tag[FB_STORE_TAG_SIZE];

	if (rc != FB_ECORRUPT ||
	    fb_gc_read_current(gc->repo, &now, tag, &ignored) < 0 ||
	    strcmp(tag, gc->tag) == 0)
		return rc;
	gc->next = STEP_LOOK;
	return FB_OK;
}

struct finding {
	struct fb_gc *gc;
	struct fb_gc_mark_list *marked;
	struct fb_id_list *ids;
	struct fb_gc_sizes *sizes;
	void (*key_of)(const struct fb_digest *id, char *key);
};

static int
find_unmarked(const struct fb_digest *id, uint64_t size, void *arg,
    struct fb_error *err)
{
	const struct finding *finding = arg;
	struct fb_gc *gc = finding->gc;
	char key[FB_OBJECT_KEY_SIZE];
	bool needed, locked;
	int rc = fb_gc_has(finding->marked, id, &needed, err);

	if (rc < 0 || needed)
		return rc;
	finding->key_of(id, key);
	rc = fb_gc_look_at_lock(
	    gc->repo, key, &gc->report->locks, &locked, err);
	if (rc < 0)
		return rc;
	if (!locked)
		gc->part = gc->set.packs.count + gc->set.recipes.count >=
		    gc->request.set_max;
	if (locked || gc->part) {
		if (finding->ids == &gc->set.recipes)
			fb_id_list_add(&gc->left_out, id);
		return FB_OK;
	}
	fb_id_list_add(finding->ids, id);
	fb_gc_sizes_add(finding->sizes, id, size);
	return FB_OK;
}

struct leftovers {
	const struct fb_run_ids *runs;
	bool any;
};

static int
find_run(const char *key, uint64_t size, void *arg, struct fb_error *err)
{
	struct leftovers *leftovers = arg;
	char run[FB_RUN_ID_SIZE];

	(void)size;
	(void)err;
	if (strlen(key) <= strlen("runs/") + FB_RUN_ID_LEN)
		return FB_OK;
	memcpy(run, key + strlen("runs/"), FB_RUN_ID_LEN);
	run[FB_RUN_ID_LEN] = '\0';
	leftovers->any =
	    leftovers->any || fb_run_ids_have(leftovers->runs, run);
	return FB_OK;
}

/* G1: what is there and no run names. */
static int
mark(struct fb_gc *gc, struct fb_error *err)
{
	struct fb_gc_marks marks;
	struct finding packs = { gc, &marks.packs, &gc->set.packs, &gc->packs,
		fb_pack_key };
	struct finding recipes = { gc, &marks.recipes, &gc->set.recipes,
		&gc->recipes, fb_recipe_key };
	struct fb_run_ids runs = { 0 };
	struct leftovers leftovers = { &runs, false };
	int rc = fb_gc_forgotten(gc->repo, &gc->set.forgotten, &runs, err);

	gc->part = false;
	gc->left_out_of = 0;
	fb_id_list_release(&gc->left_out);
	fb_gc_sizes_release(&gc->packs);
	fb_gc_sizes_release(&gc->recipes);
	gc->report->locks = (struct fb_gc_locks){ 0 };
	if (rc < 0) {
		fb_run_ids_release(&runs);
		return rc;
	}
	rc = mark_needs(gc, false, &marks, err);
	if (rc == FB_OK)
		rc = fb_gc_list_packs(gc->repo, find_unmarked, &packs, err);
	if (rc == FB_OK)
		rc = fb_gc_list_recipes(
		    gc->repo, find_unmarked, &recipes, err);
	if (rc == FB_OK)
		rc = fb_store_list(
		    gc->repo->store, "runs/", find_run, &leftovers, err);
	fb_gc_marks_release(&marks);
	fb_run_ids_release(&runs);
	if (rc < 0)
		return judge_damage(gc, rc);
	gc->next = gc->set.packs.count + gc->set.recipes.count > 0 ||
	        leftovers.any
	    ? STEP_PUBLISH
	    : STEP_OVER;
	return FB_OK;
}

/* Put the set, then point gc/current to it. */
static int
put_set(struct fb_gc *gc, enum fb_gc_phase phase, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	FB_AUTO_BUF struct fb_buf doc_text = { 0 };
	struct fb_gc_doc doc = { .generation = gc->set.generation,
		.phase = phase };
	char key[8 + FB_DIGEST_HEX_SIZE], hex[FB_DIGEST_HEX_SIZE];
	int rc;

	fb_gc_set_encode(&gc->set, &text);
	if (text.len > FB_REGISTER_MAX)
		return fb_fail(err, FB_EUNSUP,
		    "there is more to delete than a set holds");
	fb_digest_of(fb_buf_span(&text), &doc.set);
	fb_digest_hex(&doc.set, hex);
	(void)snprintf(key, sizeof(key), "gc/sets/%s", hex);
	rc = fb_store_create(gc->repo->store, key, fb_buf_span(&text), err);
	if (rc < 0 && rc != FB_EEXISTS)
		return rc;
	fb_gc_doc_encode(&doc, &doc_text);
	return fb_store_replace(gc->repo->store, CURRENT,
	    fb_buf_span(&doc_text), gc->tag, err);
}

/* G2 */
static int
publish(struct fb_gc *gc, struct fb_error *err)
{
	int rc;

	gc->set.generation = gc->doc.generation + 1;
	rc = put_set(gc, FB_GC_CONDEMNED, err);
	if (rc < 0)
		return look_again(gc, rc);
	/* The next look reads the tag, and leads to G3. */
	gc->left_out_of = gc->set.generation;
	gc->fresh = true;
	gc->next = STEP_LOOK;
	return FB_OK;
}

/* G3: after the set was published.  A session that is announced later sees
 * it; one that was announced before is listed here. */
static int
list_sessions(struct fb_gc *gc, struct fb_error *err)
{
	int rc;

	free(gc->sessions);
	gc->sessions = NULL;
	rc = fb_gc_open_sessions(
	    gc->repo, &gc->sessions, &gc->session_count, err);
	if (rc < 0)
		return rc;
	gc->next = STEP_RESOLVE;
	return FB_OK;
}

/* G4: each one resolves itself, or is fenced. */
static int
resolve(struct fb_gc *gc, struct fb_error *err)
{
	int rc = fb_gc_settle(gc->repo, &gc->request, gc->sessions,
	    gc->session_count, gc->report, err);

	if (rc == FB_OK)
		gc->next = STEP_REMARK;
	else if (gc->report->waiting_count > 0)
		gc->next = STEP_SESSIONS;
	return rc;
}

static int
subtract(struct fb_id_list *from, struct fb_gc_mark_list *what,
    struct fb_error *err)
{
	size_t kept = 0;

	for (size_t i = 0; i < from->count; i++) {
		bool needed;
		int rc = fb_gc_has(what, &from->ids[i], &needed, err);

		if (rc < 0)
			return rc;
		if (!needed)
			from->ids[kept++] = from->ids[i];
	}
	from->count = kept;
	return FB_OK;
}

static int
leave_out_needed(struct fb_gc *gc, struct fb_error *err)
{
	struct fb_gc_marks marks;
	int rc = mark_needs(gc, true, &marks, err);

	if (rc == FB_OK)
		rc = subtract(&gc->set.packs, &marks.packs, err);
	if (rc == FB_OK)
		rc = subtract(&gc->set.recipes, &marks.recipes, err);
	fb_gc_marks_release(&marks);
	return rc;
}

/* G5: without what was committed meanwhile.  Runs that were forgotten since
 * the set was published count as if they were not: a reader may have seen
 * them there. */
static int
remark(struct fb_gc *gc, struct fb_error *err)
{
	int rc = leave_out_needed(gc, err);

	if (rc == FB_OK)
		gc->next = STEP_SEAL;
	else if (gc->report->waiting_count > 0)
		gc->next = STEP_SESSIONS;
	return rc < 0 ? judge_damage(gc, rc) : FB_OK;
}

/* G6: from here on every collector deletes the same set, or less (G9). */
static int
seal(struct fb_gc *gc, struct fb_error *err)
{
	int rc = put_set(gc, FB_GC_DELETE, err);

	gc->next = STEP_LOOK;
	return rc < 0 ? look_again(gc, rc) : FB_OK;
}

/*
 * G9: the sealed set once more, before anything goes.  What a run needs of it
 * after all is given up: a set gets smaller, never larger, so that nobody who
 * still has the one before deletes what is used again by then.  It happens
 * where a list of the registers lagged until the set was sealed; by a copy that
 * was given up and committed a run all the same, as it does not commit under
 * its own name; or somebody put the set there.
 */
static int
spare_needed(struct fb_gc *gc, struct fb_error *err)
{
	size_t before = gc->set.packs.count + gc->set.recipes.count;
	size_t spared;
	int rc = leave_out_needed(gc, err);

	spared = before - gc->set.packs.count - gc->set.recipes.count;
	if (rc < 0 || spared == 0)
		return rc;
	rc = put_set(gc, FB_GC_DELETE, err);
	gc->report->spared += rc == FB_OK ? spared : 0;
	gc->next = STEP_LOOK;
	return rc < 0 ? look_again(gc, rc) : FB_OK;
}

/* The runs that the set counts as forgotten, and nobody else has. */
struct runs {
	const struct fb_run_ids *forgotten;
	struct fb_run_ids kept, gone;
};

static int
add_kept(const struct fb_run_ref *run, void *arg, struct fb_error *err)
{
	struct runs *runs = arg;

	(void)err;
	if (!fb_run_ids_have(runs->forgotten, run->session))
		fb_run_ids_add(&runs->kept, run->run);
	return FB_OK;
}

static int
add_gone(const struct fb_forget *forget, void *arg, struct fb_error *err)
{
	struct runs *runs = arg;

	(void)err;
	if (fb_run_ids_have(runs->forgotten, forget->session) &&
	    !fb_run_ids_have(&runs->kept, forget->run))
		fb_run_ids_add(&runs->gone, forget->run);
	return FB_OK;
}

static int
remove_runs(struct fb_gc *gc, struct fb_error *err)
{
	struct runs runs = { .forgotten = &gc->set.forgotten };
	int rc = fb_repo_all_runs(gc->repo, add_kept, &runs, err);

	if (rc == FB_OK)
		rc = fb_repo_forgets(gc->repo, add_gone, &runs, err);
	if (rc == FB_OK)
		rc = fb_gc_remove_runs(
		    gc->repo, &runs.gone, gc->report, err);
	fb_run_ids_release(&runs.kept);
	fb_run_ids_release(&runs.gone);
	return rc;
}

/* Locked since it was condemned, by a writer who used it again and did not
 * come to commit.  The generation stays open: were it closed, others could use
 * what one who comes late still deletes. */
static int
fail_stuck(const struct fb_gc_locks *locks, struct fb_error *err)
{
	char until[FB_TIME_SIZE];

	fb_time_format(locks->last_ns, until);
	(void)fb_fail_id(err, FB_EBUSY, "E-GC-LOCKED",
	    "some of what is being deleted was locked meanwhile, as '%s', the "
	    "last of it until %s; the rest is deleted",
	    locks->items[0].key, until);
	return fb_hint(err, "run it again after that");
}

/* G7: names are unique to a session, so that one who comes late removes
 * nothing that was made since. */
static int
remove_all(struct fb_gc *gc, struct fb_error *err)
{
	struct fb_gc_removing removing = { .repo = gc->repo,
		.request = &gc->request,
		.report = gc->report,
		.set = &gc->set,
		.tag = gc->tag,
		.packs = &gc->packs,
		.recipes = &gc->recipes };
	int rc = spare_needed(gc, err);

	if (rc < 0)
		return judge_damage(gc, rc);
	if (gc->next != STEP_REMOVE)
		return FB_OK;
	rc = fb_gc_remove_set(&removing, err);
	if (rc == FB_OK)
		rc = remove_runs(gc, err);
	if (rc == FB_OK && removing.stuck)
		return fail_stuck(&gc->report->locks, err);
	if (rc == FB_OK)
		gc->next = STEP_CLOSE;
	return rc == FB_ECONFLICT ? look_again(gc, rc) : rc;
}

/* G8 */
static int
close_generation(struct fb_gc *gc, struct fb_error *err)
{
	struct fb_gc_doc doc = { .generation = gc->doc.generation };
	FB_AUTO_BUF struct fb_buf text = { 0 };
	int rc;

	fb_gc_doc_encode(&doc, &text);
	rc = fb_store_replace(gc->repo->store, CURRENT, fb_buf_span(&text),
	    gc->tag, err);
	gc->next = STEP_LOOK;
	return rc < 0 ? look_again(gc, rc) : FB_OK;
}

int
fb_gc_step(struct fb_gc *gc, bool *ret_done, struct fb_error *err)
{
	static int (*const steps[])(struct fb_gc *, struct fb_error *) = {
		[STEP_LOOK] = look,
		[STEP_MARK] = mark,
		[STEP_PUBLISH] = publish,
		[STEP_SESSIONS] = list_sessions,
		[STEP_RESOLVE] = resolve,
		[STEP_REMARK] = remark,
		[STEP_SEAL] = seal,
		[STEP_REMOVE] = remove_all,
		[STEP_CLOSE] = close_generation,
	};
	int rc = check_cancel(gc, err);

	if (rc == FB_OK && gc->next != STEP_OVER)
		rc = steps[gc->next](gc, err);
	*ret_done = rc == FB_OK && gc->next == STEP_OVER;
	return rc;
}

int
fb_gc_collect(struct fb_repo *repo, const struct fb_gc_request *request,
    struct fb_gc_report *report, struct fb_error *err)
{
	struct fb_gc *gc = fb_gc_new(repo, request, report);
	bool done = false;
	int rc = FB_OK;

	while (rc == FB_OK && !done)
		rc = fb_gc_step(gc, &done, err);
	fb_gc_free(gc);
	if (rc == FB_OK)
		rc = fb_gc_tidy(repo, report, err);
	if (rc == FB_OK)
		rc = fb_gc_tidy_uploads(repo, request, report, err);
	return rc < 0 ? fb_wrap(err, "deleting what no run needs") : FB_OK;
}

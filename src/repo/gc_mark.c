/* What the committed runs need, and what is there. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/format/pack.h"
#include "fleetbak/format/recipe.h"

#include "gc_impl.h"

void
fb_id_list_join(struct fb_id_list *list, const struct fb_id_list *more)
{
	struct fb_id_list all = { 0 };
	size_t i = 0, k = 0;

	if (more->count == 0)
		return;
	all.ids = fb_alloc(list->count + more->count, sizeof(*all.ids));
	while (i < list->count || k < more->count) {
		int order = i == list->count ? 1
		    : k == more->count       ? -1
		    : fb_digest_cmp(&list->ids[i], &more->ids[k]);

		all.ids[all.count++] =
		    order <= 0 ? list->ids[i] : more->ids[k];
		i += order <= 0;
		k += order >= 0;
	}
	fb_id_list_release(list);
	*list = all;
}

struct forgotten {
	struct fb_run_ids *sessions, *runs;
};

static int
add_forgotten(
    const struct fb_forget *forget, void *arg, struct fb_error *err)
{
	const struct forgotten *forgotten = arg;

	(void)err;
	fb_run_ids_add(forgotten->sessions, forget->session);
	if (forgotten->runs != NULL)
		fb_run_ids_add(forgotten->runs, forget->run);
	return FB_OK;
}

int
fb_gc_forgotten(struct fb_repo *repo, struct fb_run_ids *sessions,
    struct fb_run_ids *runs, struct fb_error *err)
{
	struct forgotten forgotten = { sessions, runs };

	return fb_repo_forgets(repo, add_forgotten, &forgotten, err);
}

/* "packs/hh/<64>.pack", "recipes/hh/<64>" */
static bool
parse_object(const char *key, const char *prefix, const char *suffix,
    struct fb_digest *ret_id)
{
	size_t skip = strlen(prefix) + 3;
	size_t len = strlen(key);
	struct fb_error ignored = { 0 };
	const char *id = key + skip;

	return len == skip + FB_DIGEST_HEX_SIZE - 1 + strlen(suffix) &&
	    strcmp(key + len - strlen(suffix), suffix) == 0 &&
	    key[skip - 1] == '/' &&
	    memcmp(key + strlen(prefix), id, 2) == 0 &&
	    fb_digest_parse((struct fb_span){ (const uint8_t *)id,
	                        FB_DIGEST_HEX_SIZE - 1 },
	        ret_id, &ignored) == FB_OK;
}

struct object_listing {
	const char *prefix, *suffix;
	fb_gc_visit_object *visit;
	void *arg;
};

static int
visit_object(const char *key, uint64_t size, void *arg, struct fb_error *err)
{
	const struct object_listing *listing = arg;
	struct fb_digest id;

	/* What has another name is not ours. */
	return parse_object(key, listing->prefix, listing->suffix, &id)
	    ? listing->visit(&id, size, listing->arg, err)
	    : FB_OK;
}

int
fb_gc_list_packs(struct fb_repo *repo, fb_gc_visit_object *visit, void *arg,
    struct fb_error *err)
{
	struct object_listing listing = { "packs/", ".pack", visit, arg };

	return fb_store_list(
	    repo->store, "packs/", visit_object, &listing, err);
}

int
fb_gc_list_recipes(struct fb_repo *repo, fb_gc_visit_object *visit,
    void *arg, struct fb_error *err)
{
	struct object_listing listing = { "recipes/", "", visit, arg };

	return fb_store_list(
	    repo->store, "recipes/", visit_object, &listing, err);
}

/* The packs and recipes that SHA256SUMS names. */
static void
add_sums(struct fb_span sums, struct fb_id_list *packs,
    struct fb_id_list *recipes)
{
	const size_t head = FB_DIGEST_HEX_SIZE - 1 + 2;
	char key[FB_OBJECT_KEY_SIZE];

	while (sums.len > 0) {
		const uint8_t *end = memchr(sums.ptr, '\n', sums.len);
		size_t len = end != NULL ? (size_t)(end - sums.ptr) : sums.len;
		struct fb_digest id;

		if (len > head && len - head < sizeof(key)) {
			memcpy(key, sums.ptr + head, len - head);
			key[len - head] = '\0';
			if (parse_object(key, "packs/", ".pack", &id))
				fb_id_list_add(packs, &id);
			else if (parse_object(key, "recipes/", "", &id))
				fb_id_list_add(recipes, &id);
		}
		if (end == NULL)
			break;
		sums.ptr += len + 1;
		sums.len -= len + 1;
	}
}

/*
 * One run: what its register names, and what its checksums name.  They are
 * the same; but a bit that turned round in one of them must not cost what the
 * other one knows of, and when both are needed to be sure, both have to be
 * there.
 */
static int
read_needs(struct fb_repo *repo, const struct fb_run_ref *run,
    struct fb_id_list *packs, struct fb_id_list *recipes, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf sums = { 0 };
	struct fb_register reg = { 0 };
	int rc = fb_repo_register(repo, run->session, &reg, err);

	if (rc < 0)
		return rc;
	rc = fb_repo_run_sums(repo, run, &sums, err);
	if (rc == FB_EUNTRUSTED && sums.len > 0)
		rc = FB_OK; /* it needs them, whoever signed */
	if (rc == FB_OK) {
		add_sums(fb_buf_span(&sums), packs, recipes);
		fb_id_list_join(packs, &reg.packs);
		fb_id_list_join(recipes, &reg.recipes);
	}
	fb_register_release(&reg);
	return rc;
}

static int
mark_run(struct fb_repo *repo, const struct fb_run_ref *run,
    struct fb_gc_marks *marks, struct fb_error *err)
{
	const struct fb_id_list *known_packs, *known_recipes;
	struct fb_id_list packs = { 0 }, recipes = { 0 };
	int rc;

	if (fb_gc_needs_find(repo, run, &known_packs, &known_recipes)) {
		rc = fb_gc_marks_add(&marks->packs, known_packs, err);
		return rc < 0 ? rc
		              : fb_gc_marks_add(
		                    &marks->recipes, known_recipes, err);
	}
	rc = read_needs(repo, run, &packs, &recipes, err);
	if (rc == FB_OK)
		rc = fb_gc_marks_add(&marks->packs, &packs, err);
	if (rc == FB_OK)
		rc = fb_gc_marks_add(&marks->recipes, &recipes, err);
	if (rc == FB_OK)
		fb_gc_needs_keep(repo, run, &packs, &recipes);
	fb_id_list_release(&packs);
	fb_id_list_release(&recipes);
	return rc;
}

struct marking {
	struct fb_repo *repo;
	const struct fb_run_ids *except;
	const struct fb_run_ids *there;
	struct fb_run_ids listed; /* of those */
	struct fb_gc_marks *marks;
	bool damaged;
	struct fb_error damage; /* the first */
};

static bool
is_marked(const struct fb_run_ref *run, void *arg)
{
	const struct marking *marking = arg;

	return !fb_run_ids_have(marking->except, run->session);
}

static int
visit_run(const struct fb_run_ref *run, void *arg, struct fb_error *err)
{
	struct marking *marking = arg;
	int rc;

	if (fb_run_ids_have(marking->there, run->session))
		fb_run_ids_add(&marking->listed, run->session);
	if (fb_run_ids_have(marking->except, run->session))
		return FB_OK;
	if (run->damage != NULL) {
		*err = *run->damage;
		rc = err->code;
	} else {
		rc = mark_run(marking->repo, run, marking->marks, err);
	}
	if (rc == FB_OK || (rc != FB_ECORRUPT && rc != FB_ENOTFOUND &&
	        rc != FB_ETOONEW))
		return rc;
	/* All of them are looked at, so that the first is not the only one
	 * that is ever found; none is passed over. */
	if (!marking->damaged)
		marking->damage = *err;
	marking->damaged = true;
	return FB_OK;
}

static int
fail_damage(const struct fb_error *damage, struct fb_error *err)
{
	(void)fb_fail_id(err, FB_ECORRUPT, "E-GC-DAMAGE",
	    "nothing is deleted, because what a run needs cannot be read: %s",
	    damage->msg);
	return fb_hint(err,
	    "fleetbak verify tells more; put the object back, or forget the "
	    "run");
}

int
fb_gc_mark(struct fb_repo *repo, const struct fb_run_ids *except,
    const struct fb_run_ids *there, struct fb_gc_marks *marks,
    struct fb_error *err)
{
	struct marking marking = { .repo = repo,
		.except = except,
		.there = there,
		.marks = marks };
	int rc = fb_gc_needs_ahead(
	    repo, FB_GC_ALL_RUNS, is_marked, &marking, err);

	if (rc == FB_OK)
		rc = fb_repo_all_runs(repo, visit_run, &marking, err);
	fb_repo_read_ahead_end(repo);
	if (rc == FB_OK)
		rc = fb_gc_check_listed(repo, there, &marking.listed, err);
	fb_run_ids_release(&marking.listed);
	if (rc == FB_OK && marking.damaged)
		return fail_damage(&marking.damage, err);
	return rc < 0 ? rc : fb_gc_marks_begin(marks, err);
}

/* What would go. */

struct estimating {
	struct fb_repo *repo;
	const struct fb_gc_question *question;
	struct fb_gc_marks kept, later; /* later: by those too */
	struct fb_gc_ages packs, recipes;
	int64_t now_ns;
	uint64_t going; /* runs, whose registers are asked once more */
	struct fb_gc_estimate *estimate;
};

static enum fb_gc_class
class_of(const struct estimating *e, const struct fb_run_ref *run)
{
	return run->shard.of[0] != '\0'
	    ? FB_GC_KEPT /* no run that somebody could give up */
	    : e->question->class_of(run, e->question->arg);
}

static bool
is_read(const struct fb_run_ref *run, void *arg)
{
	return class_of(arg, run) != FB_GC_NOW;
}

static int
classify(const struct fb_run_ref *run, void *arg, struct fb_error *err)
{
	struct estimating *estimating = arg;
	enum fb_gc_class class;
	struct fb_error damage;
	bool forgotten = false;

	if (run->damage != NULL)
		return fail_damage(run->damage, err);
	class = class_of(estimating, run);
	estimating->going += class == FB_GC_NOW;
	if (class == FB_GC_NOW)
		return FB_OK;
	if (mark_run(estimating->repo, run,
	        class == FB_GC_KEPT ? &estimating->kept : &estimating->later,
	        err) == FB_OK)
		return FB_OK;
	if (err->code != FB_ECORRUPT && err->code != FB_ENOTFOUND &&
	    err->code != FB_ETOONEW)
		return err->code;
	damage = *err;
	/* Somebody else may just have given it up. */
	if (fb_repo_is_forgotten(
	        estimating->repo, run->session, &forgotten, err) == FB_OK &&
	    forgotten)
		return FB_OK;
	return fail_damage(&damage, err);
}

static void
count(struct fb_gc_usage *usage, bool pack, uint64_t size)
{
	usage->packs += pack;
	usage->recipes += !pack;
	usage->bytes += size;
}

/* It goes: is that early? */
static int
count_early(struct estimating *e, bool pack, const struct fb_digest *id,
    uint64_t size, bool later, struct fb_error *err)
{
	struct fb_gc_estimate *estimate = e->estimate;
	uint64_t min_ms = e->question->min_storage_ms;
	int64_t time_ns, at_ns = e->now_ns;
	int rc;

	if (min_ms == 0)
		return FB_OK;
	rc = fb_gc_ages_find(pack ? &e->packs : &e->recipes, id, &time_ns, err);
	if (later)
		at_ns += (int64_t)e->question->grace_ms * 1000000;
	if (rc == FB_OK)
		fb_gc_early_add(
		    later ? &estimate->early_later : &estimate->early_now,
		    size, time_ns, at_ns, min_ms);
	return rc;
}

/* It is to go now: is it locked? */
static int
look_at_lock(struct estimating *e, bool pack, const struct fb_digest *id,
    struct fb_error *err)
{
	char key[FB_OBJECT_KEY_SIZE];
	bool locked;

	if (pack)
		fb_pack_key(id, key);
	else
		fb_recipe_key(id, key);
	return fb_gc_look_at_lock(
	    e->repo, key, &e->estimate->locks, &locked, err);
}

static int
weigh(struct estimating *e, bool pack, const struct fb_digest *id,
    uint64_t size, struct fb_error *err)
{
	struct fb_gc_estimate *estimate = e->estimate;
	bool kept, later = false;
	int rc = fb_gc_has(pack ? &e->kept.packs : &e->kept.recipes, id,
	    &kept, err);

	if (rc == FB_OK)
		rc = fb_gc_has(pack ? &e->later.packs : &e->later.recipes,
		    id, &later, err);
	if (rc < 0)
		return rc;
	count(&estimate->all, pack, size);
	if (kept)
		return FB_OK;
	count(later ? &estimate->later : &estimate->now, pack, size);
	if (!later)
		rc = look_at_lock(e, pack, id, err);
	return rc < 0 ? rc : count_early(e, pack, id, size, later, err);
}

static int
weigh_pack(const struct fb_digest *id, uint64_t size, void *arg,
    struct fb_error *err)
{
	return weigh(arg, true, id, size, err);
}

static int
weigh_recipe(const struct fb_digest *id, uint64_t size, void *arg,
    struct fb_error *err)
{
	return weigh(arg, false, id, size, err);
}

/* One look at everything, which says what the next ones will ask for. */
static int
look_once(struct estimating *e, struct fb_error *err)
{
	struct fb_store_usage before, after;
	int rc;

	fb_store_get_usage(e->repo->store, &before);
	rc = fb_gc_needs_ahead(e->repo, FB_GC_KEPT_RUNS, is_read, e, err);
	if (rc == FB_OK)
		rc = fb_repo_kept_runs(e->repo, classify, e, err);
	fb_repo_read_ahead_end(e->repo);
	if (rc == FB_OK && e->question->min_storage_ms > 0)
		rc = fb_gc_ages_load(e->repo, &e->packs, &e->recipes, err);
	if (rc == FB_OK)
		rc = fb_gc_marks_begin(&e->kept, err);
	if (rc == FB_OK)
		rc = fb_gc_marks_begin(&e->later, err);
	if (rc == FB_OK)
		rc = fb_gc_list_packs(e->repo, weigh_pack, e, err);
	if (rc == FB_OK)
		rc = fb_gc_list_recipes(e->repo, weigh_recipe, e, err);
	fb_store_get_usage(e->repo->store, &after);
	after.lists -= before.lists;
	after.gets -= before.gets;
	after.read_bytes -= before.read_bytes;
	fb_gc_forecast(e->repo->store, e->estimate, &after);
	e->estimate->requests.gets += e->going;
	return rc;
}

int
fb_gc_estimate(struct fb_repo *repo, const struct fb_gc_question *question,
    struct fb_gc_estimate *ret_estimate, struct fb_error *err)
{
	struct estimating estimating = { .repo = repo,
		.question = question,
		.now_ns = fb_clock_wall_ns(),
		.estimate = ret_estimate };
	struct fb_error ignored = { 0 };
	int rc;

	memset(ret_estimate, 0, sizeof(*ret_estimate));
	fb_gc_marks_make(&estimating.kept, question->dir);
	fb_gc_marks_make(&estimating.later, question->dir);
	fb_gc_ages_make(&estimating.packs, question->dir);
	fb_gc_ages_make(&estimating.recipes, question->dir);
	rc = look_once(&estimating, err);
	if (rc == FB_OK && question->waste)
		(void)!fb_gc_weigh_waste(repo, &estimating.kept, question,
		    ret_estimate, &ignored);
	fb_gc_marks_release(&estimating.kept);
	fb_gc_marks_release(&estimating.later);
	fb_gc_ages_release(&estimating.packs);
	fb_gc_ages_release(&estimating.recipes);
	return rc;
}

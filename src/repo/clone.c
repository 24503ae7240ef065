/* What is where, and what of a run is missing. */
#include "fleetbak/repo/clone.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"

#include "clone_impl.h"

static int
refuse_other(const struct fb_store *to, struct fb_error *err)
{
	(void)fb_fail_id(err, FB_EREFUSED, "E-COPY-OTHER",
	    "'%s' is another repository: a copy is the same one in another "
	    "place",
	    to->url);
	return fb_hint(err,
	    "name a place that is empty, or holds a copy of "
	    "this one; it needs no 'fleetbak init'");
}

static int
refuse_foreign(const char *key, uint64_t size, void *arg, struct fb_error *err)
{
	(void)size;
	(void)arg;
	(void)fb_fail_id(err, FB_EREFUSED, "E-REPO-FOREIGN",
	    "it holds something else already: '%s'", key);
	return fb_hint(err, "name an empty or new place for the copy");
}

/* The format comes first: what has none may not be one of ours. */
int
fb_clone_format(struct fb_repo *from, struct fb_store *to, struct fb_error *err)
{
	static const char *const keys[] = { "format/1.json",
		"format/1.json.sig", "restore.sh", "RESTORE.txt" };

	for (size_t i = 0; i < FB_COUNT(keys); i++) {
		FB_AUTO_BUF struct fb_buf ours = { 0 }, theirs = { 0 };
		int rc = fb_store_get(
		    from->store, keys[i], FB_FORMAT_DOC_MAX, &ours, NULL, err);

		if (rc == FB_OK)
			rc = fb_store_get(
			    to, keys[i], FB_FORMAT_DOC_MAX, &theirs, NULL, err);
		if (rc == FB_OK && i == 0 &&
		    (ours.len != theirs.len ||
		        memcmp(ours.data, theirs.data, ours.len) != 0))
			return refuse_other(to, err);
		if (rc == FB_ENOTFOUND && i == 0) {
			rc = fb_store_list(to, "", refuse_foreign, NULL, err);
			if (rc == FB_OK)
				rc = FB_ENOTFOUND;
		}
		if (rc == FB_ENOTFOUND && ours.len > 0)
			rc = fb_store_create(
			    to, keys[i], fb_buf_span(&ours), err);
		if (rc < 0 && rc != FB_EEXISTS)
			return fb_wrap(err, "copy '%s'", to->url);
	}
	return FB_OK;
}

static int
add_object(
    const struct fb_digest *id, uint64_t size, void *arg, struct fb_error *err)
{
	struct clone_list *list = arg;

	(void)err;
	if (list->count == list->cap) {
		list->cap = list->cap > 0 ? 2 * list->cap : 64;
		list->items =
		    fb_realloc(list->items, list->cap, sizeof(*list->items));
	}
	list->items[list->count++] = (struct clone_object){ *id, size, false };
	return FB_OK;
}

static int
compare_objects(const void *a, const void *b)
{
	return fb_digest_cmp(&((const struct clone_object *)a)->id,
	    &((const struct clone_object *)b)->id);
}

struct clone_object *
clone_find(const struct clone_list *list, const struct fb_digest *id)
{
	struct clone_object key = { .id = *id };

	return list->count == 0 ? NULL
	                        : bsearch(&key, list->items, list->count,
	                              sizeof(*list->items), compare_objects);
}

/* Keys are sorted, and so are ids: the key begins with the id. */
static int
list_objects(struct fb_repo *repo, struct clone_list *packs,
    struct clone_list *recipes, struct fb_error *err)
{
	int rc = fb_gc_list_packs(repo, add_object, packs, err);

	if (rc == FB_OK)
		rc = fb_gc_list_recipes(repo, add_object, recipes, err);
	return rc;
}

/* What a collector there is about to delete. */
static int
load_condemned(struct fb_clone *clone, struct fb_error *err)
{
	char tag[FB_STORE_TAG_SIZE], before[FB_STORE_TAG_SIZE] = "none";
	struct fb_gc_doc doc;
	int rc;

	for (;;) {
		rc = fb_gc_read_current(clone->spec.to, &doc, tag, err);
		if (rc < 0 || doc.phase == FB_GC_IDLE)
			return rc;
		rc = fb_gc_read_set(
		    clone->spec.to, &doc.set, &clone->condemned, err);
		if (rc != FB_ENOTFOUND || strcmp(tag, before) == 0)
			return rc; /* a set that is gone is of the past */
		memcpy(before, tag, sizeof(before));
	}
}

static int
note_run(const struct fb_run_ref *run, void *arg, struct fb_error *err)
{
	struct fb_clone *clone = arg;

	(void)err;
	fb_run_ids_add(&clone->committed, run->session);
	return FB_OK;
}

static int
note_forget(const struct fb_forget *forget, void *arg, struct fb_error *err)
{
	struct fb_clone *clone = arg;

	(void)err;
	fb_run_ids_add(&clone->forgotten, forget->session);
	return FB_OK;
}

int
fb_clone_open(const struct fb_clone_spec *spec, struct fb_clone **ret_clone,
    struct fb_error *err)
{
	FB_AUTO_CLONE struct fb_clone *clone = fb_alloc(1, sizeof(*clone));
	int rc;

	clone->spec = *spec;
	(void)pthread_mutex_init(&clone->lock, NULL);
	rc = list_objects(
	    spec->from, &clone->from_packs, &clone->from_recipes, err);
	if (rc == FB_OK && spec->to != NULL)
		rc = load_condemned(clone, err);
	if (rc == FB_OK && spec->to != NULL)
		rc = list_objects(
		    spec->to, &clone->to_packs, &clone->to_recipes, err);
	if (rc == FB_OK && spec->to != NULL)
		rc = fb_repo_all_runs(spec->to, note_run, clone, err);
	if (rc == FB_OK && spec->to != NULL)
		rc = fb_repo_forgets(spec->to, note_forget, clone, err);
	if (rc < 0)
		return fb_wrap(err, "looking what is to be copied");
	*ret_clone = FB_STEAL(clone);
	return FB_OK;
}

void
fb_clone_close(struct fb_clone *clone)
{
	if (clone == NULL)
		return;
	free(clone->from_packs.items);
	free(clone->from_recipes.items);
	free(clone->to_packs.items);
	free(clone->to_recipes.items);
	fb_gc_set_release(&clone->condemned);
	fb_run_ids_release(&clone->committed);
	fb_run_ids_release(&clone->forgotten);
	fb_run_ids_release(&clone->keyed);
	(void)pthread_mutex_destroy(&clone->lock);
	free(clone);
}

void
fb_clone_closep(struct fb_clone **clone)
{
	fb_clone_close(*clone);
	*clone = NULL;
}

static int
fail_missing(const char *key, struct fb_error *err)
{
	(void)fb_fail(err, FB_ECORRUPT, "'%s' is missing", key);
	return fb_hint(err, "fleetbak verify tells what it harms");
}

/* One object that the run needs. */
static int
weigh_object(const struct fb_digest *id, bool pack, struct fb_clone *clone,
    struct clone_want *want, struct fb_error *err)
{
	struct clone_object *here =
	    clone_find(pack ? &clone->from_packs : &clone->from_recipes, id);
	struct clone_object *there =
	    clone_find(pack ? &clone->to_packs : &clone->to_recipes, id);
	char key[FB_OBJECT_KEY_SIZE];

	(pack ? fb_pack_key : fb_recipe_key)(id, key);
	if (fb_id_list_has(
	        pack ? &clone->condemned.packs : &clone->condemned.recipes,
	        id)) {
		(void)fb_fail_id(err, FB_EBUSY, "E-COPY-CONDEMNED",
		    "'%s' is being deleted there", key);
		return fb_hint(err,
		    "let a prune there come to its end, then "
		    "copy again");
	}
	if (there != NULL && (here == NULL || here->size == there->size)) {
		/* The copy may be all that is left of it. */
		if (!there->told)
			fb_id_list_add(
			    pack ? &want->found.packs : &want->found.recipes,
			    id);
		return FB_OK;
	}
	if (here == NULL)
		return fail_missing(key, err);
	if (there != NULL)
		return fb_fail(err, FB_ECORRUPT,
		    "'%s' has %llu bytes there instead of %llu", key,
		    (unsigned long long)there->size,
		    (unsigned long long)here->size);
	want->objects =
	    fb_realloc(want->objects, want->count + 1, sizeof(*want->objects));
	want->objects[want->count++] =
	    (struct clone_wanted){ *id, here->size, pack };
	want->usage.packs += pack;
	want->usage.recipes += !pack;
	want->usage.bytes += here->size;
	return FB_OK;
}

int
clone_want_make(struct fb_clone *clone, const struct fb_run_ref *run,
    struct clone_want *want, struct fb_error *err)
{
	int rc =
	    fb_repo_register(clone->spec.from, run->session, &want->reg, err);

	for (size_t i = 0; rc == FB_OK && i < want->reg.packs.count; i++)
		rc = weigh_object(
		    &want->reg.packs.ids[i], true, clone, want, err);
	for (size_t i = 0; rc == FB_OK && i < want->reg.recipes.count; i++)
		rc = weigh_object(
		    &want->reg.recipes.ids[i], false, clone, want, err);
	want->committed = fb_run_ids_have(&clone->committed, run->session);
	return rc;
}

void
clone_want_release(struct clone_want *want)
{
	fb_register_release(&want->reg);
	free(want->objects);
	fb_id_list_release(&want->found.packs);
	fb_id_list_release(&want->found.recipes);
	for (size_t i = 0; i < want->found.key_count; i++)
		free(want->found.keys[i]);
	free(want->found.keys);
}

void
clone_note_key(struct clone_want *want, const char *key)
{
	struct fb_clone_found *found = &want->found;

	found->keys =
	    fb_realloc(found->keys, found->key_count + 1, sizeof(*found->keys));
	found->keys[found->key_count++] = fb_strdup(key);
}

static void
mark_told(const struct clone_list *list, const struct fb_id_list *found)
{
	for (size_t i = 0; i < found->count; i++) {
		struct clone_object *object = clone_find(list, &found->ids[i]);

		if (object != NULL)
			object->told = true;
	}
}

/* A run that is put back relies on its own objects, too. */
int
clone_use_found(
    struct fb_clone *clone, struct clone_want *want, struct fb_error *err)
{
	if (clone->spec.use == NULL)
		return FB_OK;
	if (want->committed) {
		FB_AUTO_FREE char *commit =
		    fb_format("commits/%s", want->reg.session);

		clone_note_key(want, commit);
		for (size_t i = 0; i < CLONE_RUN_FILES; i++) {
			FB_AUTO_FREE char *key = fb_format(
			    "runs/%s/%s", want->reg.run, clone_run_files[i]);

			clone_note_key(want, key);
		}
	}
	fb_id_list_settle(&want->found.packs);
	fb_id_list_settle(&want->found.recipes);
	mark_told(&clone->to_packs, &want->found.packs);
	mark_told(&clone->to_recipes, &want->found.recipes);
	return clone->spec.use(clone->spec.arg, &want->found, err);
}

void
clone_note_copied(struct fb_clone *clone, const struct clone_want *want)
{
	struct clone_list *lists[] = { &clone->to_packs, &clone->to_recipes };
	struct fb_error ignored;

	for (size_t i = 0; i < want->count; i++) {
		struct clone_list *list = lists[!want->objects[i].pack];

		(void)add_object(&want->objects[i].id, want->objects[i].size,
		    list, &ignored);
		list->items[list->count - 1].told = true;
	}
	for (size_t i = 0; i < FB_COUNT(lists); i++)
		if (lists[i]->count > 0)
			qsort(lists[i]->items, lists[i]->count,
			    sizeof(*lists[i]->items), compare_objects);
	fb_run_ids_add(&clone->committed, want->reg.session);
}

/* The run's own files; what a crash or somebody took away. */
static int
has_files(struct fb_clone *clone, const char *run, bool *ret_has,
    struct fb_error *err)
{
	int rc = FB_OK;

	*ret_has = true;
	for (size_t i = 0; rc == FB_OK && i < CLONE_RUN_FILES; i++) {
		FB_AUTO_FREE char *key =
		    fb_format("runs/%s/%s", run, clone_run_files[i]);
		uint64_t size;

		rc = fb_store_head(clone->spec.to->store, key, &size, err);
		if (rc == FB_ENOTFOUND) {
			*ret_has = false;
			return FB_OK;
		}
	}
	return rc;
}

int
fb_clone_weigh(struct fb_clone *clone, const struct fb_run_ref *run,
    bool pretend, enum fb_clone_state *ret_state,
    struct fb_gc_usage *ret_missing, struct fb_error *err)
{
	FB_CLEANUP(clone_want_release) struct clone_want want = { 0 };
	bool has = false;
	int rc;

	*ret_missing = (struct fb_gc_usage){ 0 };
	if (fb_run_ids_have(&clone->forgotten, run->session)) {
		*ret_state = FB_CLONE_FORGOTTEN;
		return FB_OK;
	}
	rc = clone_want_make(clone, run, &want, err);
	if (rc == FB_OK && want.committed)
		rc = has_files(clone, run->run, &has, err);
	if (rc < 0)
		return rc;
	*ret_missing = want.usage;
	*ret_state = !want.committed ? FB_CLONE_ABSENT
	    : has && want.count == 0 ? FB_CLONE_THERE
	                             : FB_CLONE_DAMAGED;
	if (pretend && *ret_state != FB_CLONE_THERE)
		rc = clone_use_found(clone, &want, err);
	if (pretend)
		clone_note_copied(clone, &want);
	return rc;
}

/*
 * Runs that are committed and that a list does not show yet.
 *
 * Marking goes by a list of the registers, and deletion relies on lists that
 * show all that was put before.  Where one does not, a run would lose what it
 * needs.  So the registers of sessions that may matter are asked for, each by
 * its name, before they are listed: of those that sessions/ has, and of those
 * that made what is to go, or a recipe that is to go later: a run has one of
 * its own, and packs of others.  One that is there and not in the list stops
 * the collection.  And a session that made what is to go, and that neither the
 * list of sessions shows nor a register ends, is waited for like the others.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/group.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/format/pack.h"
#include "fleetbak/format/recipe.h"

#include "gc_impl.h"
#include "tables.h"

#define READERS 8

/* The session stands in a recipe's second line. */
#define HEAD_SIZE 256

/* It is what it is, and says not whose. */
static bool
is_silent(int rc)
{
	return rc == FB_ENOTFOUND || rc == FB_ECORRUPT || rc == FB_ETOONEW;
}

static int
session_of_recipe(struct fb_repo *repo, const struct fb_digest *id,
    char session[FB_RUN_ID_SIZE], struct fb_error *err)
{
	struct fb_recipe_decoder decoder = { 0 };
	char key[FB_OBJECT_KEY_SIZE];
	uint8_t bytes[HEAD_SIZE];
	struct fb_span text = { bytes, 0 };
	const uint8_t *end;
	uint64_t size;
	int rc;

	fb_recipe_key(id, key);
	rc = fb_store_head(repo->store, key, &size, err);
	if (rc < 0)
		return rc;
	text.len = size < sizeof(bytes) ? (size_t)size : sizeof(bytes);
	if (text.len > 0)
		rc = fb_store_get_range(
		    repo->store, key, 0, bytes, text.len, err);
	while (rc == FB_OK && decoder.head.session[0] == '\0' &&
	    (end = memchr(text.ptr, '\n', text.len)) != NULL) {
		size_t len = (size_t)(end - text.ptr);
		enum fb_recipe_step step;

		rc = fb_recipe_decode_line(
		    &decoder, (struct fb_span){ text.ptr, len }, &step, err);
		text.ptr += len + 1;
		text.len -= len + 1;
	}
	memcpy(session, decoder.head.session, FB_RUN_ID_SIZE);
	return rc;
}

static int
session_of_pack(struct fb_repo *repo, const struct fb_digest *id,
    char session[FB_RUN_ID_SIZE], struct fb_error *err)
{
	struct fb_table_place place = { .pack = *id };
	struct fb_table table = { 0 };
	int rc = fb_table_fetch(repo->store, &place, &table, err);

	if (rc < 0)
		return rc;
	memcpy(session, table.table.session, FB_RUN_ID_SIZE);
	fb_pack_table_release(&table.table);
	return FB_OK;
}

/* Objects that are asked whose they are, several at once. */
struct asking {
	struct fb_repo *repo;
	const struct fb_gc_request *request;
	const struct fb_gc_set *set;
	struct fb_id_list packs, recipes;
	pthread_mutex_t lock; /* all below */
	size_t next;
	struct fb_gc_makers *makers;
};

void
fb_gc_makers_release(struct fb_gc_makers *makers)
{
	fb_run_ids_release(&makers->of_set);
	fb_run_ids_release(&makers->all);
}

static bool
take_next(struct asking *asking, size_t *ret_at)
{
	const atomic_bool *cancel = asking->request->cancel;

	if (cancel != NULL && atomic_load(cancel))
		return false; /* the next step says so */
	(void)pthread_mutex_lock(&asking->lock);
	*ret_at = asking->next++;
	(void)pthread_mutex_unlock(&asking->lock);
	return *ret_at < asking->recipes.count + asking->packs.count;
}

static int
ask_some(void *arg, struct fb_error *err)
{
	struct asking *asking = arg;
	size_t at, recipes = asking->recipes.count;

	while (take_next(asking, &at)) {
		char session[FB_RUN_ID_SIZE] = "";
		int rc = at < recipes
		    ? session_of_recipe(
		          asking->repo, &asking->recipes.ids[at], session, err)
		    : session_of_pack(asking->repo,
		          &asking->packs.ids[at - recipes], session, err);

		if (rc < 0 && !is_silent(rc))
			return rc;
		if (rc < 0 || !fb_run_id_ok(session, strlen(session)))
			continue;
		(void)pthread_mutex_lock(&asking->lock);
		fb_run_ids_add(&asking->makers->all, session);
		if (at >= recipes ||
		    fb_id_list_has(
		        &asking->set->recipes, &asking->recipes.ids[at]))
			fb_run_ids_add(&asking->makers->of_set, session);
		(void)pthread_mutex_unlock(&asking->lock);
	}
	return FB_OK;
}

static int
ask(struct asking *asking, struct fb_error *err)
{
	size_t count = asking->recipes.count + asking->packs.count;
	struct fb_group *group;
	int rc;

	if (count == 0)
		return FB_OK;
	(void)pthread_mutex_init(&asking->lock, NULL);
	group = fb_group_new();
	for (size_t i = 0; i < READERS && i < count; i++)
		fb_group_start(group, ask_some, asking);
	rc = fb_group_wait(group, err);
	(void)pthread_mutex_destroy(&asking->lock);
	return rc;
}

/* What the registers of forgotten runs name needs not be asked: they are
 * listed, and so is, by its signed word, who came before them. */
struct naming {
	struct fb_repo *repo;
	const struct fb_run_ids *forgotten; /* sessions */
	struct fb_run_ids runs;             /* that are not cleared away yet */
	struct fb_run_ids sessions;         /* theirs */
};

static int
note_run(const char *key, uint64_t size, void *arg, struct fb_error *err)
{
	struct naming *naming = arg;
	const char *text = key + strlen("runs/");
	char run[FB_RUN_ID_SIZE];

	(void)size;
	(void)err;
	if (strlen(text) <= FB_RUN_ID_LEN || !fb_run_id_ok(text, FB_RUN_ID_LEN))
		return FB_OK;
	memcpy(run, text, FB_RUN_ID_LEN);
	run[FB_RUN_ID_LEN] = '\0';
	fb_run_ids_add(&naming->runs, run);
	return FB_OK;
}

static int
note_forget(const struct fb_forget *forget, void *arg, struct fb_error *err)
{
	struct naming *naming = arg;

	(void)err;
	if (fb_run_ids_have(naming->forgotten, forget->session) &&
	    fb_run_ids_have(&naming->runs, forget->run))
		fb_run_ids_add(&naming->sessions, forget->session);
	return FB_OK;
}

static int
add_names(struct fb_repo *repo, const char *session, struct fb_gc_marks *marks,
    struct fb_error *err)
{
	struct fb_register reg = { 0 };
	int rc = fb_repo_register(repo, session, &reg, err);

	if (rc == FB_OK)
		rc = fb_gc_marks_add(&marks->packs, &reg.packs, err);
	if (rc == FB_OK)
		rc = fb_gc_marks_add(&marks->recipes, &reg.recipes, err);
	fb_register_release(&reg);
	return is_silent(rc) ? FB_OK : rc;
}

static int
load_names(
    struct naming *naming, struct fb_gc_marks *marks, struct fb_error *err)
{
	struct fb_repo *repo = naming->repo;
	int rc = fb_store_list(repo->store, "runs/", note_run, naming, err);

	if (rc == FB_OK)
		rc = fb_repo_forgets(repo, note_forget, naming, err);
	for (size_t i = 0; rc == FB_OK && i < naming->sessions.count; i++)
		rc = add_names(repo, naming->sessions.ids[i], marks, err);
	return rc < 0 ? rc : fb_gc_marks_begin(marks, err);
}

static int
add_unnamed(const struct fb_id_list *from, struct fb_gc_mark_list *named,
    struct fb_id_list *to, struct fb_error *err)
{
	int rc = FB_OK;

	for (size_t i = 0; rc == FB_OK && i < from->count; i++) {
		bool is_named;

		rc = fb_gc_has(named, &from->ids[i], &is_named, err);
		if (rc == FB_OK && !is_named)
			fb_id_list_add(to, &from->ids[i]);
	}
	return rc;
}

int
fb_gc_find_makers(struct fb_repo *repo, const struct fb_gc_request *request,
    const struct fb_gc_set *set, const struct fb_id_list *others,
    struct fb_gc_makers *ret_makers, struct fb_error *err)
{
	struct fb_id_list recipes = { 0 };
	struct naming naming = { .repo = repo, .forgotten = &set->forgotten };
	struct asking asking = {
		.repo = repo,
		.request = request,
		.set = set,
		.makers = ret_makers
	};
	struct fb_gc_marks named;
	int rc;

	if (set->packs.count + set->recipes.count == 0)
		return FB_OK;
	fb_id_list_join(&recipes, &set->recipes);
	fb_id_list_join(&recipes, others);
	fb_gc_marks_make(&named, request->dir);
	rc = load_names(&naming, &named, err);
	if (rc == FB_OK)
		rc = add_unnamed(
		    &recipes, &named.recipes, &asking.recipes, err);
	if (rc == FB_OK)
		rc = add_unnamed(&set->packs, &named.packs, &asking.packs, err);
	if (rc == FB_OK)
		rc = ask(&asking, err);
	fb_gc_marks_release(&named);
	fb_run_ids_release(&naming.runs);
	fb_run_ids_release(&naming.sessions);
	fb_id_list_release(&asking.packs);
	fb_id_list_release(&asking.recipes);
	fb_id_list_release(&recipes);
	return rc;
}

struct finding {
	struct fb_gc_mark_list *needed;
	struct fb_id_list *ids;
};

static int
note_unneeded(const struct fb_digest *id, uint64_t size, void *arg,
    struct fb_error *err)
{
	const struct finding *finding = arg;
	bool needed;
	int rc = fb_gc_has(finding->needed, id, &needed, err);

	(void)size;
	if (rc == FB_OK && !needed)
		fb_id_list_add(finding->ids, id);
	return rc;
}

int
fb_gc_unneeded_recipes(struct fb_repo *repo,
    const struct fb_gc_request *request, const struct fb_run_ids *forgotten,
    struct fb_id_list *ret_ids, struct fb_error *err)
{
	const struct fb_run_ids nobody = { 0 };
	struct fb_gc_marks marks;
	struct finding finding = { &marks.recipes, ret_ids };
	int rc;

	fb_gc_marks_make(&marks, request->dir);
	rc = fb_gc_mark(repo, forgotten, &nobody, &marks, err);
	if (rc == FB_OK)
		rc = fb_gc_list_recipes(repo, note_unneeded, &finding, err);
	fb_gc_marks_release(&marks);
	return rc;
}

int
fb_gc_have_registers(struct fb_repo *repo, const struct fb_run_ids *sessions,
    struct fb_run_ids *there, struct fb_error *err)
{
	int rc = FB_OK;

	for (size_t i = 0; rc == FB_OK && i < sessions->count; i++) {
		char key[GC_KEY_SIZE];
		uint64_t size;

		if (fb_run_ids_have(there, sessions->ids[i]))
			continue;
		(void)snprintf(
		    key, sizeof(key), "commits/%s", sessions->ids[i]);
		rc = fb_store_head(repo->store, key, &size, err);
		if (rc == FB_OK)
			fb_run_ids_add(there, sessions->ids[i]);
		else if (rc == FB_ENOTFOUND)
			rc = FB_OK;
	}
	return rc;
}

int
fb_gc_check_listed(struct fb_repo *repo, const struct fb_run_ids *there,
    const struct fb_run_ids *listed, struct fb_error *err)
{
	for (size_t i = 0; i < there->count; i++) {
		const char *session = there->ids[i];
		struct fb_register reg = { 0 };
		bool fence;
		int rc;

		if (fb_run_ids_have(listed, session))
			continue;
		rc = fb_repo_register(repo, session, &reg, err);
		fence = rc == FB_OK && reg.fence;
		fb_register_release(&reg);
		if (rc < 0 && !is_silent(rc))
			return rc;
		if (!fence)
			return fb_repo_fail_unlisted(session, err);
	}
	return FB_OK;
}

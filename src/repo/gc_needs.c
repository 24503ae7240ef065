/*
 * What runs need, remembered: neither registers nor checksums ever change, and
 * a prune asks several times what all runs need.  From far away only; what is
 * near is read anew each time.
 */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"

#include "gc_impl.h"

/* So many ids are remembered: 32 MiB of them. */
#define IDS_MAX ((size_t)1 << 20)

struct need {
	char session[FB_RUN_ID_SIZE];
	struct fb_digest sums;
	struct fb_id_list packs, recipes;
};

struct fb_gc_needs {
	struct need *items;
	size_t count, cap;
	size_t ids;
	size_t next; /* probably asked for next: runs come in one order */
};

static const struct need *
find(const struct fb_repo *repo, const struct fb_run_ref *run)
{
	struct fb_gc_needs *needs = repo->needs;

	for (size_t i = 0; needs != NULL && i < needs->count; i++) {
		size_t at = (needs->next + i) % needs->count;
		const struct need *need = &needs->items[at];

		if (strcmp(need->session, run->session) != 0 ||
		    fb_digest_cmp(&need->sums, &run->sums) != 0)
			continue;
		needs->next = at + 1;
		return need;
	}
	return NULL;
}

bool
fb_gc_needs_find(const struct fb_repo *repo, const struct fb_run_ref *run,
    const struct fb_id_list **ret_packs, const struct fb_id_list **ret_recipes)
{
	const struct need *need = find(repo, run);

	if (need == NULL)
		return false;
	*ret_packs = &need->packs;
	*ret_recipes = &need->recipes;
	return true;
}

void
fb_gc_needs_keep(struct fb_repo *repo, const struct fb_run_ref *run,
    struct fb_id_list *packs, struct fb_id_list *recipes)
{
	size_t ids = packs->count + recipes->count;
	struct fb_gc_needs *needs = repo->needs;
	struct need *need;

	if (!fb_store_is_far(repo->store))
		return;
	if (needs == NULL)
		needs = repo->needs = fb_alloc(1, sizeof(*needs));
	if (ids > IDS_MAX - needs->ids)
		return;
	if (needs->count == needs->cap) {
		needs->cap = needs->cap > 0 ? 2 * needs->cap : 64;
		needs->items =
		    fb_realloc(needs->items, needs->cap, sizeof(*needs->items));
	}
	need = &needs->items[needs->count++];
	*need = (struct need){
		.sums = run->sums, .packs = *packs, .recipes = *recipes
	};
	memcpy(need->session, run->session, sizeof(need->session));
	needs->ids += ids;
	*packs = *recipes = (struct fb_id_list){ 0 };
}

void
fb_gc_needs_free(struct fb_gc_needs *needs)
{
	if (needs == NULL)
		return;
	for (size_t i = 0; i < needs->count; i++) {
		fb_id_list_release(&needs->items[i].packs);
		fb_id_list_release(&needs->items[i].recipes);
	}
	free(needs->items);
	free(needs);
}

struct upcoming {
	const struct fb_repo *repo;
	enum fb_gc_scope scope;
	fb_gc_wants *wants;
	void *arg;
	char **keys;
	size_t count, cap;
};

static void
add_key(struct upcoming *upcoming, char *key)
{
	if (upcoming->count == upcoming->cap) {
		upcoming->cap = upcoming->cap > 0 ? 2 * upcoming->cap : 64;
		upcoming->keys = fb_realloc(
		    upcoming->keys, upcoming->cap, sizeof(*upcoming->keys));
	}
	upcoming->keys[upcoming->count++] = key;
}

static int
note_run(const struct fb_run_ref *run, void *arg, struct fb_error *err)
{
	struct upcoming *upcoming = arg;

	(void)err;
	if (run->damage != NULL || find(upcoming->repo, run) != NULL ||
	    (upcoming->wants != NULL && !upcoming->wants(run, upcoming->arg)))
		return FB_OK;
	add_key(upcoming, fb_format("commits/%s", run->session));
	if (upcoming->scope != FB_GC_REGISTERS)
		add_key(upcoming, fb_format("runs/%s/SHA256SUMS", run->run));
	return FB_OK;
}

int
fb_gc_needs_ahead(struct fb_repo *repo, enum fb_gc_scope scope,
    fb_gc_wants *wants, void *arg, struct fb_error *err)
{
	struct upcoming upcoming = {
		.repo = repo, .scope = scope, .wants = wants, .arg = arg
	};
	int rc;

	if (!fb_store_is_far(repo->store) || repo->ahead != NULL)
		return FB_OK;
	rc = scope == FB_GC_KEPT_RUNS
	    ? fb_repo_kept_runs(repo, note_run, &upcoming, err)
	    : fb_repo_all_runs(repo, note_run, &upcoming, err);
	if (rc == FB_OK)
		fb_repo_read_ahead(repo, upcoming.keys, upcoming.count);
	for (size_t i = 0; i < upcoming.count; i++)
		free(upcoming.keys[i]);
	free(upcoming.keys);
	return rc;
}

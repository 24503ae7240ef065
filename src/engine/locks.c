/* Looking at locks, and making them longer: many at once. */
#include "fleetbak/engine/locks.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/buf.h"
#include "fleetbak/base/clock.h"
#include "fleetbak/base/group.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "fleetbak/format/pack.h"
#include "fleetbak/store/versions.h"

#define NS_PER_MS   1000000
#define WORKERS_MAX 16

/* Beside packs and recipes; restoring needs them. */
static const char *const always[] = { "format/1.json", "format/1.json.sig",
	"restore.sh", "RESTORE.txt" };

struct locking {
	struct fb_repo *repo;
	const struct fb_lock_items *items;
	struct fb_lock_items others; /* keys alone */
	size_t count, step;
	bool change;       /* the second time: make them longer */
	uint8_t *too_soon; /* of each, whether it has to be */
	struct fb_lock_cost *cost;
	pthread_mutex_t lock; /* guards the rest, and the cost */
	size_t next;
};

static void
key_of(const struct locking *locking, size_t i, char key[FB_STORE_KEY_MAX + 1])
{
	const struct fb_lock_items *items = locking->items;
	const char *other;

	if (i < items->packs.count) {
		fb_pack_key(&items->packs.ids[i], key);
		return;
	}
	i -= items->packs.count;
	if (i < items->recipes.count) {
		fb_recipe_key(&items->recipes.ids[i], key);
		return;
	}
	i -= items->recipes.count;
	other = i < items->key_count
	    ? items->keys[i]
	    : locking->others.keys[i - items->key_count];
	(void)snprintf(key, FB_STORE_KEY_MAX + 1, "%s", other);
}

void
fb_lock_items_add(struct fb_lock_items *items, const char *key)
{
	items->keys =
	    fb_realloc(items->keys, items->key_count + 1, sizeof(*items->keys));
	items->keys[items->key_count++] = fb_strdup(key);
}

void
fb_lock_items_release(struct fb_lock_items *items)
{
	for (size_t i = 0; i < items->key_count; i++)
		free(items->keys[i]);
	free(items->keys);
	fb_id_list_release(&items->packs);
	fb_id_list_release(&items->recipes);
	*items = (struct fb_lock_items){ 0 };
}

static int
visit_key(const char *key, uint64_t size, void *arg, struct fb_error *err)
{
	(void)size;
	(void)err;
	fb_lock_items_add(arg, key);
	return FB_OK;
}

static void
release_locking(struct locking *locking)
{
	fb_lock_items_release(&locking->others);
	free(locking->too_soon);
	(void)pthread_mutex_destroy(&locking->lock);
}

/* The keys of all sessions: the packs that are used are of any. */
static int
prepare(struct locking *locking, size_t sample, struct fb_error *err)
{
	const struct fb_lock_items *items = locking->items;
	struct fb_lock_items *others = &locking->others;
	int rc = FB_OK;

	for (size_t i = 0; items->common && i < FB_COUNT(always); i++)
		fb_lock_items_add(others, always[i]);
	if (items->common && locking->repo->vault != NULL)
		rc = fb_store_list(
		    locking->repo->store, "keys/", visit_key, others, err);
	locking->count = items->packs.count + items->recipes.count +
	    items->key_count + others->key_count;
	locking->step = locking->count / sample + 1;
	locking->too_soon = fb_alloc(locking->count, 1);
	locking->cost->objects = locking->count;
	locking->cost->estimated = locking->step > 1;
	return rc;
}

/* The next one to ask for; false: none is left. */
static bool
take_next(struct locking *locking, size_t *ret_i)
{
	bool any = false;

	(void)pthread_mutex_lock(&locking->lock);
	while (locking->next < locking->count && !any) {
		*ret_i = locking->next;
		locking->next += locking->change ? 1 : locking->step;
		any = !locking->change || locking->too_soon[*ret_i];
	}
	(void)pthread_mutex_unlock(&locking->lock);
	return any;
}

static int
look(struct locking *locking, size_t i, const char *key, struct fb_error *err)
{
	struct fb_lock_cost *cost = locking->cost;
	bool other =
	    i >= locking->items->packs.count + locking->items->recipes.count;
	int64_t until_ns;
	uint64_t size;
	int rc =
	    fb_store_locked(locking->repo->store, key, &size, &until_ns, err);

	if (rc == FB_ENOTFOUND && other)
		return FB_OK; /* a repository does without it */
	if (rc < 0 || until_ns >= cost->wanted_ns)
		return rc;
	(void)pthread_mutex_lock(&locking->lock);
	locking->too_soon[i] = 1;
	cost->renewed++;
	cost->bytes += size;
	(void)pthread_mutex_unlock(&locking->lock);
	return FB_OK;
}

static int
work(void *arg, struct fb_error *err)
{
	struct locking *locking = arg;
	struct fb_lock_cost *cost = locking->cost;
	size_t i;

	while (take_next(locking, &i)) {
		char key[FB_STORE_KEY_MAX + 1];
		int rc;

		key_of(locking, i, key);
		rc = locking->change ? fb_store_extend(locking->repo->store,
		                           key, cost->until_ns, err)
		                     : look(locking, i, key, err);
		if (rc == FB_OK)
			continue;
		/* One that fails keeps no other from being locked. */
		(void)pthread_mutex_lock(&locking->lock);
		if (cost->failed++ == 0)
			cost->err = *err;
		(void)pthread_mutex_unlock(&locking->lock);
	}
	return FB_OK;
}

static int
work_all(struct locking *locking, bool change, struct fb_error *err)
{
	struct fb_group *group = fb_group_new();
	unsigned workers = locking->repo->store->ops->parallel;

	locking->change = change;
	locking->next = 0;
	for (unsigned i = 0; i < workers && i < WORKERS_MAX; i++)
		fb_group_start(group, work, locking);
	return fb_group_wait(group, err);
}

/* An eighth longer than is wanted, as what is written is: so that what is used
 * each night is renewed in one night of many. */
static void
set_times(const struct fb_config_repository *config, struct fb_lock_cost *cost)
{
	int64_t span = (int64_t)config->lock_ms * NS_PER_MS;
	int64_t now = fb_clock_wall_ns();

	*cost = (struct fb_lock_cost){ .wanted = true,
		.wanted_ns = now + span,
		.until_ns = now + span + span / 8 };
}

void
fb_lock_cost_begin(
    const struct fb_engine *engine, struct fb_lock_cost *ret_cost)
{
	const struct fb_config_repository *config =
	    fb_engine_repo_config(engine);

	*ret_cost = (struct fb_lock_cost){ 0 };
	if (config != NULL && config->object_lock != NULL)
		set_times(config, ret_cost);
}

static void
scale(const struct locking *locking)
{
	struct fb_lock_cost *cost = locking->cost;
	uint64_t looked = (locking->count + locking->step - 1) / locking->step;

	if (!cost->estimated || looked == 0)
		return;
	cost->renewed = cost->renewed * locking->count / looked;
	cost->bytes = cost->bytes / looked * locking->count;
}

struct newest {
	const char *fleet;
	char session[FB_RUN_ID_SIZE];
};

static int
note_newest(const struct fb_run_ref *run, void *arg, struct fb_error *err)
{
	struct newest *newest = arg;

	(void)err;
	if (newest->session[0] == '\0' && run->damage == NULL &&
	    strcmp(run->fleet, newest->fleet) == 0)
		memcpy(newest->session, run->session, FB_RUN_ID_SIZE);
	return FB_OK;
}

int
fb_locks_weigh(const struct fb_engine *engine, struct fb_repo *repo,
    const struct fb_lock_items *items, struct fb_lock_cost *ret_cost,
    struct fb_error *err)
{
	FB_CLEANUP(release_locking)
	struct locking locking = { .repo = repo,
		.items = items,
		.cost = ret_cost,
		.lock = PTHREAD_MUTEX_INITIALIZER };
	int rc;

	fb_lock_cost_begin(engine, ret_cost);
	if (!ret_cost->wanted)
		return FB_OK;
	rc = prepare(&locking, FB_LOCK_SAMPLE, err);
	if (rc == FB_OK)
		rc = work_all(&locking, false, err);
	if (rc == FB_OK)
		scale(&locking);
	return rc;
}

int
fb_locks_preview(const struct fb_engine *engine, struct fb_repo *repo,
    struct fb_lock_cost *ret_cost, struct fb_error *err)
{
	struct newest newest = { .fleet = engine->config->fleet_name };
	struct fb_register reg = { 0 };
	int rc = FB_OK;

	*ret_cost = (struct fb_lock_cost){ 0 };
	if (fb_engine_repo_config(engine)->object_lock == NULL)
		return FB_OK;
	rc = fb_repo_runs(repo, note_newest, &newest, err);
	if (rc == FB_OK && newest.session[0] != '\0')
		rc = fb_repo_register(repo, newest.session, &reg, err);
	if (rc == FB_OK) {
		/* Each run has recipes of its own. */
		const struct fb_lock_items items = { .packs = reg.packs,
			.common = true };

		rc = fb_locks_weigh(engine, repo, &items, ret_cost, err);
	}
	fb_register_release(&reg);
	return rc;
}

static void
tell(const struct fb_engine *engine, const struct fb_lock_cost *cost)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	char until[FB_TIME_SIZE];

	fb_time_format(cost->until_ns, until);
	fb_buf_add_fmt(&text, "locks: %llu objects looked at; %llu of them, ",
	    (unsigned long long)cost->objects,
	    (unsigned long long)cost->renewed);
	fb_text_add_size(&text, cost->bytes);
	fb_buf_add_fmt(
	    &text, ", are locked until %s now, with a request for each", until);
	fb_observe(&engine->observer,
	    &(struct fb_event){
	        .kind = FB_EVENT_NOTE, .text = fb_buf_str(&text) });
}

int
fb_locks_renew(const struct fb_engine *engine, struct fb_repo *repo,
    const struct fb_lock_items *items, struct fb_lock_cost *ret_cost,
    struct fb_error *err)
{
	FB_CLEANUP(release_locking)
	struct locking locking = { .repo = repo,
		.items = items,
		.cost = ret_cost,
		.lock = PTHREAD_MUTEX_INITIALIZER };
	int rc;

	fb_lock_cost_begin(engine, ret_cost);
	if (!ret_cost->wanted)
		return FB_OK;
	rc = prepare(&locking, SIZE_MAX, err);
	if (rc == FB_OK)
		rc = work_all(&locking, false, err);
	if (rc < 0 || ret_cost->renewed == 0)
		return rc;
	tell(engine, ret_cost);
	return work_all(&locking, true, err);
}

void
fb_lock_cost_add(struct fb_lock_cost *sum, const struct fb_lock_cost *cost)
{
	if (sum->failed == 0 && cost->failed > 0)
		sum->err = cost->err;
	sum->objects += cost->objects;
	sum->renewed += cost->renewed;
	sum->bytes += cost->bytes;
	sum->failed += cost->failed;
	sum->estimated = sum->estimated || cost->estimated;
}

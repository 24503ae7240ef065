/* G7: removing what a fixed set names, many at a time where the store knows
 * how. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/format/pack.h"
#include "fleetbak/store/versions.h"

#include "gc_impl.h"

#define BATCH ((size_t)1000)

/* For so long what was seen in gc/current is relied on. */
#define CURRENT_NS INT64_C(1000000000)

void
fb_gc_sizes_add(
    struct fb_gc_sizes *sizes, const struct fb_digest *id, uint64_t size)
{
	if (sizes->count == sizes->cap) {
		sizes->cap = sizes->cap > 0 ? 2 * sizes->cap : 256;
		sizes->items =
		    fb_realloc(sizes->items, sizes->cap, sizeof(*sizes->items));
	}
	sizes->items[sizes->count++] = (struct fb_gc_size){ *id, size };
}

void
fb_gc_sizes_release(struct fb_gc_sizes *sizes)
{
	free(sizes->items);
	*sizes = (struct fb_gc_sizes){ 0 };
}

static int
compare_ids(const void *id, const void *item)
{
	return fb_digest_cmp(id, &((const struct fb_gc_size *)item)->id);
}

static const struct fb_gc_size *
find_size(const struct fb_gc_sizes *sizes, const struct fb_digest *id)
{
	return sizes->count == 0 ? NULL
	                         : bsearch(id, sizes->items, sizes->count,
	                               sizeof(*sizes->items), compare_ids);
}

int
fb_gc_remove_keys(struct fb_repo *repo, const struct fb_gc_doomed *doomed,
    struct fb_gc_locks *locks, bool *gone, struct fb_error *err)
{
	char *const *keys = doomed->keys;
	size_t count = doomed->count;
	FB_AUTO_FREE const char **left = fb_alloc(count + 1, sizeof(*left));
	FB_AUTO_FREE size_t *places = fb_alloc(count + 1, sizeof(*places));
	FB_AUTO_FREE bool *went = fb_alloc(count + 1, sizeof(*went));
	struct fb_store_removal removal = { .keys = left,
		.gone = went,
		.check = doomed->check,
		.arg = doomed->arg };
	int rc = FB_OK;

	memset(gone, 0, count * sizeof(*gone));
	for (size_t i = 0; rc == FB_OK && i < count; i++) {
		bool locked;

		rc = fb_gc_look_at_lock(repo, keys[i], locks, &locked, err);
		if (rc < 0 || locked)
			continue;
		places[removal.count] = i;
		left[removal.count++] = keys[i];
	}
	if (rc == FB_OK)
		rc = fb_store_remove_many(repo->store, &removal, err);
	for (size_t i = 0; i < removal.count; i++)
		gone[places[i]] = went[i];
	return rc;
}

/* A copy puts objects there under the names they had.  So one who was held up
 * for a while does not go on with a set that others have finished since. */
static int
check(void *arg, struct fb_error *err)
{
	struct fb_gc_removing *removing = arg;
	const atomic_bool *cancel = removing->request->cancel;
	int64_t now = fb_clock_boot_ns();
	char tag[FB_STORE_TAG_SIZE];
	struct fb_gc_doc doc;
	int rc;

	if (cancel != NULL && atomic_load(cancel))
		return fb_fail(err, FB_ECANCELED, "stopped on request");
	if (now - removing->looked_ns < CURRENT_NS)
		return FB_OK;
	rc = fb_gc_read_current(removing->repo, &doc, tag, err);
	if (rc == FB_OK && strcmp(tag, removing->tag) != 0)
		rc = fb_fail(err, FB_ECONFLICT, "the set is of the past");
	removing->looked_ns = now;
	return rc;
}

/* Of one kind. */
struct batch {
	struct fb_gc_removing *removing;
	const struct fb_gc_sizes *sizes;
	void (*key_of)(const struct fb_digest *id, char *key);
	uint64_t *removed;
	bool ask; /* each, what it is like now */
	char (*texts)[FB_OBJECT_KEY_SIZE];
	const char **keys;
	uint64_t *bytes;
	bool *gone;
	size_t count;
};

static void
release_batch(struct batch *batch)
{
	free(batch->texts);
	free(batch->keys);
	free(batch->bytes);
	free(batch->gone);
}

/* What was listed a moment ago, and cannot be locked, is not asked for. */
static int
add_object(
    struct batch *batch, const struct fb_digest *id, struct fb_error *err)
{
	struct fb_gc_removing *removing = batch->removing;
	const struct fb_gc_size *known =
	    batch->ask ? NULL : find_size(batch->sizes, id);
	char *key = batch->texts[batch->count];
	int64_t until_ns = 0;
	uint64_t size = 0;
	int rc = FB_OK;

	batch->key_of(id, key);
	if (known != NULL) {
		size = known->size;
	} else {
		rc = check(removing, err);
		if (rc == FB_OK)
			rc = fb_store_locked(
			    removing->repo->store, key, &size, &until_ns, err);
	}
	if (rc == FB_ENOTFOUND)
		return FB_OK; /* removed already */
	if (rc < 0)
		return rc;
	if (until_ns > 0) {
		removing->stuck = true;
		fb_gc_count_lock(&removing->report->locks, key, size, until_ns);
		return FB_OK;
	}
	batch->keys[batch->count] = key;
	batch->bytes[batch->count++] = size;
	return FB_OK;
}

static int
remove_batch(struct batch *batch, struct fb_error *err)
{
	struct fb_gc_removing *removing = batch->removing;
	const struct fb_store_removal removal = { .keys = batch->keys,
		.count = batch->count,
		.gone = batch->gone,
		.check = check,
		.arg = removing };
	int rc = fb_store_remove_many(removing->repo->store, &removal, err);

	for (size_t i = 0; i < batch->count; i++) {
		if (!batch->gone[i])
			continue;
		removing->report->removed.bytes += batch->bytes[i];
		++*batch->removed;
	}
	batch->count = 0;
	return rc;
}

static int
remove_kind(
    struct batch *all, const struct fb_id_list *ids, struct fb_error *err)
{
	struct fb_store *store = all->removing->repo->store;
	FB_CLEANUP(release_batch) struct batch batch = *all;
	size_t room = ids->count < BATCH ? ids->count : BATCH;
	int rc = FB_OK;

	batch.texts = fb_alloc(room + 1, sizeof(*batch.texts));
	batch.keys = fb_alloc(room + 1, sizeof(*batch.keys));
	batch.bytes = fb_alloc(room + 1, sizeof(*batch.bytes));
	batch.gone = fb_alloc(room + 1, sizeof(*batch.gone));
	batch.ask = !fb_store_is_far(store) || fb_store_locks(store);
	for (size_t i = 0; rc == FB_OK && i < ids->count; i++) {
		rc = add_object(&batch, &ids->ids[i], err);
		if (rc == FB_OK && (batch.count == room || i + 1 == ids->count))
			rc = remove_batch(&batch, err);
	}
	return rc;
}

int
fb_gc_remove_set(struct fb_gc_removing *removing, struct fb_error *err)
{
	struct fb_gc_usage *removed = &removing->report->removed;
	struct batch recipes = { .removing = removing,
		.sizes = removing->recipes,
		.key_of = fb_recipe_key,
		.removed = &removed->recipes };
	struct batch packs = { .removing = removing,
		.sizes = removing->packs,
		.key_of = fb_pack_key,
		.removed = &removed->packs };
	int rc;

	removing->stuck = false;
	rc = remove_kind(&recipes, &removing->set->recipes, err);
	return rc < 0 ? rc : remove_kind(&packs, &removing->set->packs, err);
}

#include "smalls.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/group.h"
#include "fleetbak/base/mem.h"

#define PREFIXES_MAX 4
#define READERS      8
#define BATCH        256

/* Remembered bytes of one prefix. */
#define KEEP_MAX ((size_t)8 << 20)

struct small {
	char *key;
	uint64_t size;
	struct fb_buf bytes;
	bool known; /* what its bytes are */
	int rc;
	struct fb_error *cause;
};

/* All objects under a prefix, sorted by key. */
struct shelf {
	char *prefix; /* NULL: none */
	struct small *items;
	size_t count, cap;
	bool held; /* seen since fb_smalls_hold() */
};

struct fb_smalls {
	pthread_mutex_t lock;
	struct shelf shelves[PREFIXES_MAX];
	bool hold;
};

struct fb_smalls *
fb_smalls_new(void)
{
	struct fb_smalls *smalls = fb_alloc(1, sizeof(*smalls));

	(void)pthread_mutex_init(&smalls->lock, NULL);
	return smalls;
}

static void
release_shelf(struct shelf *shelf)
{
	for (size_t i = 0; i < shelf->count; i++) {
		free(shelf->items[i].key);
		free(shelf->items[i].cause);
		fb_buf_release(&shelf->items[i].bytes);
	}
	free(shelf->items);
	free(shelf->prefix);
	*shelf = (struct shelf){ 0 };
}

void
fb_smalls_free(struct fb_smalls *smalls)
{
	if (smalls == NULL)
		return;
	for (size_t i = 0; i < PREFIXES_MAX; i++)
		release_shelf(&smalls->shelves[i]);
	(void)pthread_mutex_destroy(&smalls->lock);
	free(smalls);
}

void
fb_smalls_hold(struct fb_smalls *smalls, bool hold)
{
	if (smalls == NULL)
		return;
	(void)pthread_mutex_lock(&smalls->lock);
	smalls->hold = hold;
	for (size_t i = 0; i < PREFIXES_MAX; i++)
		smalls->shelves[i].held = false;
	(void)pthread_mutex_unlock(&smalls->lock);
}

/* What is remembered of the prefix, if anything is: the caller's now. */
static struct shelf
take_shelf(struct fb_smalls *smalls, const char *prefix)
{
	struct shelf shelf = { 0 };

	if (smalls == NULL)
		return shelf;
	(void)pthread_mutex_lock(&smalls->lock);
	for (size_t i = 0; i < PREFIXES_MAX; i++) {
		struct shelf *slot = &smalls->shelves[i];

		if (slot->prefix == NULL || strcmp(slot->prefix, prefix) != 0)
			continue;
		shelf = *slot;
		*slot = (struct shelf){ 0 };
		break;
	}
	(void)pthread_mutex_unlock(&smalls->lock);
	return shelf;
}

/* Put it back, unless another thread was faster, or there is no place. */
static void
give_shelf(struct fb_smalls *smalls, struct shelf *shelf)
{
	struct shelf *free_slot = NULL;
	bool taken = false;

	if (smalls == NULL) {
		release_shelf(shelf);
		return;
	}
	(void)pthread_mutex_lock(&smalls->lock);
	for (size_t i = 0; i < PREFIXES_MAX; i++) {
		struct shelf *slot = &smalls->shelves[i];

		if (slot->prefix == NULL)
			free_slot = slot;
		else
			taken |= strcmp(slot->prefix, shelf->prefix) == 0;
	}
	shelf->held = smalls->hold;
	if (!taken && free_slot != NULL) {
		*free_slot = *shelf;
		*shelf = (struct shelf){ 0 };
	}
	(void)pthread_mutex_unlock(&smalls->lock);
	release_shelf(shelf);
}

static int
add_name(const char *key, uint64_t size, void *arg, struct fb_error *err)
{
	struct shelf *shelf = arg;

	(void)err;
	if (shelf->count == shelf->cap) {
		shelf->cap = shelf->cap > 0 ? 2 * shelf->cap : 64;
		shelf->items =
		    fb_realloc(shelf->items, shelf->cap, sizeof(*shelf->items));
	}
	shelf->items[shelf->count++] =
	    (struct small){ .key = fb_strdup(key), .size = size };
	return FB_OK;
}

/* Of what is still there, the bytes need not be asked for. */
static void
remember(struct shelf *shelf, struct shelf *before)
{
	size_t at = 0;

	for (size_t i = 0; i < shelf->count; i++) {
		struct small *item = &shelf->items[i];

		while (at < before->count &&
		    strcmp(before->items[at].key, item->key) < 0)
			at++;
		if (at == before->count)
			break;
		if (strcmp(before->items[at].key, item->key) != 0 ||
		    before->items[at].size != item->size)
			continue;
		item->bytes = before->items[at].bytes;
		item->known = before->items[at].known;
		before->items[at].bytes = (struct fb_buf){ 0 };
	}
}

static void
read_one(struct fb_store *store, struct small *item, size_t max)
{
	struct fb_error err = { 0 };
	size_t len = item->size < max ? (size_t)item->size : max;

	fb_buf_clear(&item->bytes);
	item->rc = fb_buf_reserve_or_fail(&item->bytes, len + 1, &err);
	if (item->rc == FB_OK)
		item->rc = fb_store_get_range(
		    store, item->key, 0, item->bytes.data, len, &err);
	item->known = item->rc == FB_OK;
	if (item->known)
		item->bytes.len = len;
	else if (item->cause == NULL)
		item->cause = fb_alloc(1, sizeof(*item->cause));
	if (!item->known)
		*item->cause = err;
}

struct crew {
	struct fb_store *store;
	struct small *items;
	size_t count, max;
	atomic_size_t next;
};

static int
work(void *arg, struct fb_error *err)
{
	struct crew *crew = arg;
	size_t i;

	(void)err;
	while ((i = atomic_fetch_add(&crew->next, 1)) < crew->count)
		if (!crew->items[i].known)
			read_one(crew->store, &crew->items[i], crew->max);
	return FB_OK;
}

/* Each of these objects: known, or with the reason why it is not. */
static int
read_batch(struct fb_store *store, struct small *items, size_t count,
    size_t max, struct fb_error *err)
{
	struct crew crew = { store, items, count, max, 0 };
	size_t unknown = 0;
	struct fb_group *group;

	for (size_t i = 0; i < count; i++)
		unknown += !items[i].known;
	if (unknown < 2)
		return work(&crew, err);
	group = fb_group_new();
	for (size_t i = 0; i < READERS && i < unknown; i++)
		fb_group_start(group, work, &crew);
	return fb_group_wait(group, err);
}

static int
visit_all(struct fb_store *store, struct shelf *shelf, size_t max,
    fb_smalls_visit *visit, void *arg, struct fb_error *err)
{
	size_t kept = 0;
	int rc = FB_OK;

	for (size_t i = 0; rc >= 0 && i < shelf->count; i++) {
		struct small *item = &shelf->items[i];

		if (i % BATCH == 0)
			rc = read_batch(store, item,
			    shelf->count - i < BATCH ? shelf->count - i : BATCH,
			    max, err);
		if (rc >= 0)
			rc = visit(item->key, item->size,
			    fb_buf_span(&item->bytes), item->rc, item->cause,
			    arg, err);
		kept += item->bytes.cap;
		if (kept > KEEP_MAX || !item->known) {
			fb_buf_release(&item->bytes);
			item->known = false;
		}
	}
	return rc;
}

/* One after the other, where that costs nothing. */
struct near {
	struct fb_store *store;
	size_t max;
	fb_smalls_visit *visit;
	void *arg;
};

static int
visit_near(const char *key, uint64_t size, void *arg, struct fb_error *err)
{
	const struct near *near = arg;
	struct small item = { .key = (char *)key, .size = size };
	int rc;

	read_one(near->store, &item, near->max);
	rc = near->visit(key, size, fb_buf_span(&item.bytes), item.rc,
	    item.cause, near->arg, err);
	fb_buf_release(&item.bytes);
	free(item.cause);
	return rc;
}

int
fb_smalls_list(struct fb_smalls *smalls, struct fb_store *store,
    const char *prefix, size_t max, fb_smalls_visit *visit, void *arg,
    struct fb_error *err)
{
	struct near near = { store, max, visit, arg };
	struct shelf shelf = { 0 }, before;
	int rc = FB_OK;

	if (!fb_store_is_far(store))
		return fb_store_list(store, prefix, visit_near, &near, err);
	before = take_shelf(smalls, prefix);
	if (before.held) {
		shelf = before;
		before = (struct shelf){ 0 };
	} else {
		shelf.prefix = fb_strdup(prefix);
		rc = fb_store_list(store, prefix, add_name, &shelf, err);
		remember(&shelf, &before);
	}
	release_shelf(&before);
	if (rc == FB_OK)
		rc = visit_all(store, &shelf, max, visit, arg, err);
	if (rc < 0)
		release_shelf(&shelf);
	else
		give_shelf(smalls, &shelf);
	return rc;
}

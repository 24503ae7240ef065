/*
 * What is locked is left alone: it is not condemned, so that writers may use it
 * again and no collector that comes late finds it in a set.
 */
#include <stdio.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/store/versions.h"

#include "gc_impl.h"

void
fb_gc_count_lock(
    struct fb_gc_locks *locks, const char *key, uint64_t size, int64_t until_ns)
{
	struct fb_gc_locked *item;

	if (locks->objects == 0 || until_ns < locks->first_ns)
		locks->first_ns = until_ns;
	if (locks->objects == 0 || until_ns > locks->last_ns)
		locks->last_ns = until_ns;
	locks->objects++;
	locks->bytes += size;
	if (locks->item_count == FB_GC_LOCKED_MAX)
		return;
	item = &locks->items[locks->item_count++];
	(void)snprintf(item->key, sizeof(item->key), "%s", key);
	item->size = size;
	item->until_ns = until_ns;
}

int
fb_gc_look_at_lock(struct fb_repo *repo, const char *key,
    struct fb_gc_locks *locks, bool *ret_locked, struct fb_error *err)
{
	int64_t until_ns;
	uint64_t size;
	int rc;

	*ret_locked = false;
	if (!fb_store_locks(repo->store))
		return FB_OK;
	rc = fb_store_locked(repo->store, key, &size, &until_ns, err);
	if (rc == FB_ENOTFOUND)
		return FB_OK;
	if (rc < 0 || until_ns == 0)
		return rc;
	*ret_locked = true;
	fb_gc_count_lock(locks, key, size, until_ns);
	return FB_OK;
}

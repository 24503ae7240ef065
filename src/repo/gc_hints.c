/* The hints of a session, as the collector asks them: is one of its packs
 * there? */
#include <stdio.h>

#include "fleetbak/base/err.h"
#include "fleetbak/format/pack.h"

#include "gc_impl.h"
#include "packer.h"

int
gc_hints_bytes(void *arg, uint64_t offset, void *bytes, size_t len,
    size_t *ret_len, struct fb_error *err)
{
	const struct gc_hints *hints = arg;

	if (len > hints->size - offset)
		len = (size_t)(hints->size - offset);
	*ret_len = len;
	return len == 0 ? FB_OK
	                : fb_store_get_range(hints->repo->store, hints->key,
	                      offset, bytes, len, err);
}

static int
look_for_pack(void *arg, const struct fb_hint_pack *pack)
{
	struct gc_hints *hints = arg;
	struct fb_error ignored = { 0 };
	char key[FB_OBJECT_KEY_SIZE];
	uint64_t size;

	fb_pack_key(&pack->id, key);
	if (!hints->any)
		hints->any = fb_store_head(hints->repo->store, key, &size,
		                 &ignored) != FB_ENOTFOUND;
	return -1; /* the chunks do not matter */
}

static bool
skip_chunk(void *arg, uint32_t chunk, uint64_t prefix)
{
	(void)arg;
	(void)chunk;
	(void)prefix;
	return true;
}

int
gc_hints_look(struct fb_repo *repo, const char *session,
    struct gc_hints *ret_hints, struct fb_error *err)
{
	struct fb_hint_source source = { gc_hints_bytes, ret_hints };
	struct fb_hint_visitor visitor = { look_for_pack, skip_chunk,
		ret_hints };
	int rc;

	*ret_hints = (struct gc_hints){ .repo = repo };
	(void)snprintf(
	    ret_hints->key, sizeof(ret_hints->key), "hints/%s", session);
	rc = fb_store_head(repo->store, ret_hints->key, &ret_hints->size, err);
	if (rc == FB_OK)
		fb_hints_read(&source, session, &visitor);
	return rc;
}

/*
 * A store in memory, for tests: each one opened is empty and its own.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/digest.h"
#include "stores.h"

struct object {
	char *key;
	struct fb_buf bytes;
};

struct mem_store {
	struct fb_store base;
	pthread_mutex_t lock;   /* guards all below */
	struct object *objects; /* sorted by key */
	size_t count;
};

static struct mem_store *
lock_store(struct fb_store *store)
{
	struct mem_store *mem = (struct mem_store *)store;

	(void)pthread_mutex_lock(&mem->lock);
	return mem;
}

static int
unlock_store(struct mem_store *mem, int rc)
{
	(void)pthread_mutex_unlock(&mem->lock);
	return rc;
}

/* Index of the first object whose key is not below `key`. */
static size_t
place_of(const struct mem_store *mem, const char *key)
{
	size_t low = 0, high = mem->count;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (strcmp(mem->objects[mid].key, key) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct object *
find(const struct mem_store *mem, const char *key)
{
	size_t at = place_of(mem, key);

	if (at < mem->count && strcmp(mem->objects[at].key, key) == 0)
		return &mem->objects[at];
	return NULL;
}

static int
no_object(struct fb_error *err)
{
	return fb_fail(err, FB_ENOTFOUND, "no such object");
}

static void
insert(struct mem_store *mem, const char *key, struct fb_span bytes)
{
	size_t at = place_of(mem, key);

	mem->objects =
	    fb_realloc(mem->objects, mem->count + 1, sizeof(*mem->objects));
	memmove(&mem->objects[at + 1], &mem->objects[at],
	    (mem->count - at) * sizeof(*mem->objects));
	mem->objects[at] = (struct object){ .key = fb_strdup(key) };
	fb_buf_add(&mem->objects[at].bytes, bytes.ptr, bytes.len);
	mem->count++;
}

static int
mem_create(struct fb_store *store, const char *key, struct fb_span bytes,
    struct fb_error *err)
{
	struct mem_store *mem = lock_store(store);

	if (find(mem, key) != NULL)
		return unlock_store(
		    mem, fb_fail(err, FB_EEXISTS, "there is such an object"));
	insert(mem, key, bytes);
	return unlock_store(mem, FB_OK);
}

static int
mem_create_file(struct fb_store *store, const char *key, const char *path,
    uint64_t size, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	int rc = fb_io_read_file(path, (size_t)size, &bytes, err);

	if (rc < 0)
		return rc;
	if (bytes.len != size)
		return fb_fail(err, FB_ECORRUPT,
		    "'%s' is %zu bytes long, not %llu", path, bytes.len,
		    (unsigned long long)size);
	return mem_create(store, key, fb_buf_span(&bytes), err);
}

static void
tag_of(const struct object *object, char tag[FB_STORE_TAG_SIZE])
{
	struct fb_digest digest;

	tag[0] = '\0';
	if (object == NULL)
		return;
	fb_digest_of(fb_buf_span(&object->bytes), &digest);
	fb_digest_hex(&digest, tag);
}

static int
mem_replace(struct fb_store *store, const char *key, struct fb_span bytes,
    const char *tag, struct fb_error *err)
{
	struct mem_store *mem = lock_store(store);
	struct object *object = find(mem, key);
	char now[FB_STORE_TAG_SIZE];

	tag_of(object, now);
	if (strcmp(now, tag) != 0)
		return unlock_store(
		    mem, fb_fail(err, FB_ECONFLICT, "the object has changed"));
	if (object == NULL) {
		insert(mem, key, bytes);
	} else {
		fb_buf_clear(&object->bytes);
		fb_buf_add(&object->bytes, bytes.ptr, bytes.len);
	}
	return unlock_store(mem, FB_OK);
}

static int
mem_get(struct fb_store *store, const char *key, size_t max, struct fb_buf *dst,
    char tag[FB_STORE_TAG_SIZE], struct fb_error *err)
{
	struct mem_store *mem = lock_store(store);
	const struct object *object = find(mem, key);

	if (object == NULL)
		return unlock_store(mem, no_object(err));
	if (object->bytes.len > max)
		return unlock_store(mem,
		    fb_fail(err, FB_ECORRUPT,
		        "the object is larger than %zu bytes", max));
	fb_buf_add(dst, object->bytes.data, object->bytes.len);
	if (tag != NULL)
		tag_of(object, tag);
	return unlock_store(mem, FB_OK);
}

static int
mem_get_range(struct fb_store *store, const char *key, uint64_t offset,
    void *bytes, size_t len, struct fb_error *err)
{
	struct mem_store *mem = lock_store(store);
	const struct object *object = find(mem, key);

	if (object == NULL)
		return unlock_store(mem, no_object(err));
	if (offset + len > object->bytes.len)
		return unlock_store(mem,
		    fb_fail(err, FB_ECORRUPT,
		        "the object ends before byte %llu",
		        (unsigned long long)offset + len));
	if (len > 0)
		memcpy(bytes, object->bytes.data + offset, len);
	return unlock_store(mem, FB_OK);
}

static int
mem_head(struct fb_store *store, const char *key, uint64_t *ret_size,
    struct fb_error *err)
{
	struct mem_store *mem = lock_store(store);
	const struct object *object = find(mem, key);

	if (object == NULL)
		return unlock_store(mem, no_object(err));
	*ret_size = object->bytes.len;
	return unlock_store(mem, FB_OK);
}

/* Copy the first key from `from` on that has the prefix; false: none. */
static bool
next_key(struct fb_store *store, const char *prefix, const char *from,
    char key[FB_STORE_KEY_MAX + 1], uint64_t *size)
{
	struct mem_store *mem = lock_store(store);
	size_t at = place_of(mem, from);
	bool found;

	if (at < mem->count && strcmp(mem->objects[at].key, from) == 0 &&
	    strcmp(from, key) == 0)
		at++;
	found = at < mem->count &&
	    strncmp(mem->objects[at].key, prefix, strlen(prefix)) == 0;
	if (found) {
		memcpy(key, mem->objects[at].key,
		    strlen(mem->objects[at].key) + 1);
		*size = mem->objects[at].bytes.len;
	}
	(void)unlock_store(mem, FB_OK);
	return found;
}

/* One key at a time, so that the visitor may use the store. */
static int
mem_list(struct fb_store *store, const char *prefix, fb_store_visit *visit,
    void *arg, struct fb_error *err)
{
	char key[FB_STORE_KEY_MAX + 1] = "";
	const char *from = prefix;
	uint64_t size;

	while (next_key(store, prefix, from, key, &size)) {
		int rc = visit(key, size, arg, err);

		if (rc < 0)
			return rc;
		from = key;
	}
	return FB_OK;
}

static int
mem_remove(struct fb_store *store, const char *key,
    const struct fb_store_removal *of, struct fb_error *err)
{
	struct mem_store *mem = lock_store(store);
	struct object *object = find(mem, key);

	(void)of;
	(void)err;
	if (object != NULL) {
		free(object->key);
		fb_buf_release(&object->bytes);
		mem->count--;
		memmove(object, object + 1,
		    (size_t)(&mem->objects[mem->count] - object) *
		        sizeof(*object));
	}
	return unlock_store(mem, FB_OK);
}

static int
mem_space(struct fb_store *store, uint64_t *ret_bytes, struct fb_error *err)
{
	(void)store;
	(void)err;
	*ret_bytes = UINT64_MAX;
	return FB_OK;
}

static void
mem_close(struct fb_store *store)
{
	struct mem_store *mem = (struct mem_store *)store;

	for (size_t i = 0; i < mem->count; i++) {
		free(mem->objects[i].key);
		fb_buf_release(&mem->objects[i].bytes);
	}
	(void)pthread_mutex_destroy(&mem->lock);
	free(mem->objects);
	free(mem);
}

static const struct fb_store_ops mem_ops = {
	.scheme = "mem",
	.parallel = 1,
	.create = mem_create,
	.create_file = mem_create_file,
	.replace = mem_replace,
	.get = mem_get,
	.get_range = mem_get_range,
	.head = mem_head,
	.list = mem_list,
	.remove = mem_remove,
	.space = mem_space,
	.close = mem_close,
};

int
fb_store_mem_open(const char *rest, bool make,
    const struct fb_store_options *options, struct fb_store **ret_store,
    struct fb_error *err)
{
	struct mem_store *mem;

	(void)make;
	(void)options;
	if (*rest != '\0')
		return fb_fail(
		    err, FB_ECONFIG, "'mem:' is all there is to say");
	mem = fb_alloc(1, sizeof(*mem));
	mem->base.ops = &mem_ops;
	(void)pthread_mutex_init(&mem->lock, NULL);
	*ret_store = &mem->base;
	return FB_OK;
}

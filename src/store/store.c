#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/seam.h"
#include "fleetbak/store/store.h"
#include "stores.h"

#define TEXT_PIECE ((size_t)1 << 20)
#define PAGE       1000 /* keys that one answer lists */
#define READ_PIECE ((size_t)1 << 20)

/* A store that wants as many calls at once waits for answers. */
#define FAR_PARALLEL 8

static const struct {
	const char *scheme; /* with its colon */
	int (*open)(const char *rest, bool make,
	    const struct fb_store_options *, struct fb_store **,
	    struct fb_error *);
} schemes[] = {
	{ "file:", fb_store_dir_open },
	{ "s3:", fb_store_s3_open },
	{ "mem:", fb_store_mem_open },
};

int
fb_store_open(const char *url, bool make,
    const struct fb_store_options *options, struct fb_store **ret_store,
    struct fb_error *err)
{
	static const struct fb_store_options none = { 0 };

	for (size_t i = 0; i < FB_COUNT(schemes); i++) {
		size_t len = strlen(schemes[i].scheme);
		enum fb_fault fault;
		int rc;

		if (strncmp(url, schemes[i].scheme, len) != 0)
			continue;
		fault = fb_seam(make ? FB_STEP_STORE : FB_STEP_ASK, url);
		rc = fb_seam_refuse(fault, err);
		if (rc == FB_OK)
			rc = schemes[i].open(url + len, make,
			    options != NULL ? options : &none, ret_store, err);
		if (rc < 0)
			return fb_wrap(err, "open '%s'", url);
		(*ret_store)->url = fb_strdup(url);
		return FB_OK;
	}
	(void)fb_fail_id(
	    err, FB_ECONFIG, "E-STORE-URL", "'%s' names no kind of store", url);
	return fb_hint(err,
	    "write a directory as file:/absolute/path, a "
	    "bucket as s3://bucket/prefix");
}

void
fb_store_close(struct fb_store *store)
{
	char *url;

	if (store == NULL)
		return;
	url = store->url;
	store->ops->close(store);
	free(url);
}

void
fb_store_closep(struct fb_store **store)
{
	fb_store_close(*store);
}

static bool
is_key_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	    (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-' ||
	    c == '/';
}

/* A prefix may end in the middle of a part, a key may not be empty. */
static bool
is_prefix(const char *prefix)
{
	size_t len = strnlen(prefix, FB_STORE_KEY_MAX + 1);
	char before = '/';

	if (len > FB_STORE_KEY_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!is_key_char(prefix[i]))
			return false;
		if (before == '/' && (prefix[i] == '/' || prefix[i] == '.'))
			return false;
		before = prefix[i];
	}
	return true;
}

bool
fb_store_key_ok(const char *key)
{
	size_t len = strnlen(key, FB_STORE_KEY_MAX + 1);

	return len > 0 && is_prefix(key) && key[len - 1] != '/';
}

static int
check_key(const char *verb, const char *key, struct fb_error *err)
{
	if (fb_store_key_ok(key))
		return FB_OK;
	(void)fb_fail_id(err, FB_ECONFIG, "E-STORE-KEY",
	    "'%.80s' is not a key of an object", key);
	return fb_wrap(err, "%s", verb);
}

static int
wrap(int rc, const char *verb, const char *key, struct fb_error *err)
{
	return rc < 0 ? fb_wrap(err, "%s '%s'", verb, key) : rc;
}

enum use { USED_LIST, USED_GET, USED_PUT, USED_REMOVE, USED_READ, USED_WRITTEN };

static void
note(struct fb_store *store, enum use use, uint64_t read, uint64_t written)
{
	(void)atomic_fetch_add(&store->used[use], 1);
	(void)atomic_fetch_add(&store->used[USED_READ], read);
	(void)atomic_fetch_add(&store->used[USED_WRITTEN], written);
}

void
fb_store_get_usage(
    const struct fb_store *store, struct fb_store_usage *ret_usage)
{
	*ret_usage = (struct fb_store_usage){
		.lists = atomic_load(&store->used[USED_LIST]),
		.gets = atomic_load(&store->used[USED_GET]),
		.puts = atomic_load(&store->used[USED_PUT]),
		.removes = atomic_load(&store->used[USED_REMOVE]),
		.read_bytes = atomic_load(&store->used[USED_READ]),
		.written_bytes = atomic_load(&store->used[USED_WRITTEN]),
	};
}

int
fb_store_create(struct fb_store *store, const char *key, struct fb_span bytes,
    struct fb_error *err)
{
	enum fb_fault fault;
	int rc = check_key("put", key, err);

	if (rc < 0)
		return rc;
	fault = fb_seam(FB_STEP_STORE, key);
	rc = fb_seam_refuse(fault, err);
	note(store, USED_PUT, 0, bytes.len);
	if (rc == FB_OK)
		rc = fb_seam_answer(
		    fault, store->ops->create(store, key, bytes, err), err);
	return wrap(rc, "put", key, err);
}

int
fb_store_open_source(const char *path, uint64_t size, struct fb_error *err)
{
	struct stat st;
	int fd = fb_io_open(
	    path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0, err);

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
	    (uint64_t)st.st_size == size)
		return fd;
	fb_closep(&fd);
	return fb_fail(err, FB_ECORRUPT, "'%s' is not a file of %" PRIu64
	    " bytes", path, size);
}

int
fb_store_create_file(struct fb_store *store, const char *key, const char *path,
    uint64_t size, struct fb_error *err)
{
	enum fb_fault fault;
	int rc = check_key("put", key, err);

	if (rc < 0)
		return rc;
	fault = fb_seam(FB_STEP_STORE, key);
	rc = fb_seam_refuse(fault, err);
	note(store, USED_PUT, 0, size);
	if (rc == FB_OK)
		rc = fb_seam_answer(fault,
		    store->ops->create_file(store, key, path, size, err), err);
	return wrap(rc, "put", key, err);
}

int
fb_store_replace(struct fb_store *store, const char *key, struct fb_span bytes,
    const char *tag, struct fb_error *err)
{
	enum fb_fault fault;
	int rc = check_key("replace", key, err);

	if (rc < 0)
		return rc;
	fault = fb_seam(FB_STEP_STORE, key);
	rc = fb_seam_refuse(fault, err);
	note(store, USED_PUT, 0, bytes.len);
	if (rc == FB_OK)
		rc = fb_seam_answer(fault,
		    store->ops->replace(store, key, bytes, tag, err), err);
	return wrap(rc, "replace", key, err);
}

int
fb_store_get(struct fb_store *store, const char *key, size_t max,
    struct fb_buf *dst, char tag[FB_STORE_TAG_SIZE], struct fb_error *err)
{
	enum fb_fault fault;
	size_t before = dst->len;
	int rc = check_key("get", key, err);

	if (rc < 0)
		return rc;
	fault = fb_seam(FB_STEP_ASK, key);
	rc = fb_seam_refuse(fault, err);
	if (rc == FB_OK)
		rc = fb_seam_answer(fault,
		    store->ops->get(store, key, max, dst, tag, err), err);
	note(store, USED_GET, dst->len - before, 0);
	return wrap(rc, "get", key, err);
}

/* The object in pieces, each looked at before the next one. */
static int
get_pieces(struct fb_store *store, const char *key, size_t max,
    struct fb_buf *dst, struct fb_error *err)
{
	uint64_t size, at = 0;
	int rc = fb_store_head(store, key, &size, err);

	if (rc == FB_OK && size > max)
		rc = fb_fail(err, FB_ECORRUPT,
		    "get '%s': the object is larger than %zu bytes", key, max);
	while (rc == FB_OK && at < size) {
		size_t len =
		    size - at < TEXT_PIECE ? (size_t)(size - at) : TEXT_PIECE;
		uint8_t *piece = fb_buf_reserve(dst, len);

		rc = fb_store_get_range(store, key, at, piece, len, err);
		if (rc == FB_OK && memchr(piece, '\0', len) != NULL)
			rc = fb_fail(
			    err, FB_ECORRUPT, "get '%s': it is no text", key);
		if (rc == FB_OK) {
			dst->len += len;
			dst->data[dst->len] = '\0';
		}
		at += len;
	}
	return rc;
}

int
fb_store_get_text(struct fb_store *store, const char *key, size_t max,
    struct fb_buf *dst, struct fb_error *err)
{
	size_t before = dst->len;
	int rc = fb_store_get(
	    store, key, max < TEXT_PIECE ? max : TEXT_PIECE, dst, NULL, err);

	/* Most are small, and one request is enough. */
	if (rc == FB_ECORRUPT && max > TEXT_PIECE)
		return get_pieces(store, key, max, dst, err);
	if (rc == FB_OK && dst->len > before &&
	    memchr(dst->data + before, '\0', dst->len - before) != NULL)
		return fb_fail(
		    err, FB_ECORRUPT, "get '%s': it is no text", key);
	return rc;
}

/* The key, and that the range can be one. */
static int
check_range(
    const char *key, uint64_t offset, uint64_t len, struct fb_error *err)
{
	int rc = check_key("get", key, err);

	if (rc < 0)
		return rc;
	if (offset > INT64_MAX || len > INT64_MAX - offset) {
		rc = fb_fail(err, FB_ECORRUPT,
		    "a range of %llu bytes at %llu ends nowhere",
		    (unsigned long long)len, (unsigned long long)offset);
		return wrap(rc, "get", key, err);
	}
	return FB_OK;
}

int
fb_store_get_range(struct fb_store *store, const char *key, uint64_t offset,
    void *bytes, size_t len, struct fb_error *err)
{
	enum fb_fault fault;
	int rc = check_range(key, offset, len, err);

	if (rc < 0)
		return rc;
	fault = fb_seam(FB_STEP_ASK, key);
	rc = fb_seam_refuse(fault, err);
	note(store, USED_GET, len, 0);
	if (rc == FB_OK)
		rc = fb_seam_answer(fault,
		    store->ops->get_range(store, key, offset, bytes, len, err),
		    err);
	return wrap(rc, "get", key, err);
}

static int
read_by_ranges(struct fb_store *store, const char *key, uint64_t offset,
    uint64_t len, fb_store_take *take, void *arg, struct fb_error *err)
{
	size_t step = len < READ_PIECE ? (size_t)len : READ_PIECE;
	FB_AUTO_FREE uint8_t *bytes = fb_alloc(step + 1, 1);
	int rc = FB_OK;

	while (rc == FB_OK && len > 0) {
		if (step > len)
			step = (size_t)len;
		rc = store->ops->get_range(
		    store, key, offset, bytes, step, err);
		if (rc == FB_OK)
			rc = take(arg, (struct fb_span){ bytes, step }, err);
		offset += step;
		len -= step;
	}
	return rc;
}

struct taker {
	fb_store_take *take;
	void *arg;
	bool stopped; /* by it, whose error it is */
};

static int
pass_on(void *arg, struct fb_span piece, struct fb_error *err)
{
	struct taker *taker = arg;
	int rc = taker->take(taker->arg, piece, err);

	taker->stopped = rc < 0;
	return rc;
}

int
fb_store_read(struct fb_store *store, const char *key, uint64_t offset,
    uint64_t len, fb_store_take *take, void *arg, struct fb_error *err)
{
	struct taker taker = { take, arg, false };
	enum fb_fault fault;
	int rc = check_range(key, offset, len, err);

	if (rc < 0)
		return rc;
	fault = fb_seam(FB_STEP_ASK, key);
	rc = fb_seam_refuse(fault, err);
	if (rc == FB_OK)
		rc = fb_seam_answer(fault,
		    (store->ops->read != NULL ? store->ops->read
		                              : read_by_ranges)(
		        store, key, offset, len, pass_on, &taker, err),
		    err);
	return taker.stopped ? rc : wrap(rc, "get", key, err);
}

bool
fb_store_is_far(const struct fb_store *store)
{
	return store->ops->parallel >= FAR_PARALLEL;
}

int
fb_store_head(struct fb_store *store, const char *key, uint64_t *ret_size,
    struct fb_error *err)
{
	enum fb_fault fault;
	int rc = check_key("head", key, err);

	if (rc < 0)
		return rc;
	fault = fb_seam(FB_STEP_ASK, key);
	rc = fb_seam_refuse(fault, err);
	note(store, USED_GET, 0, 0);
	if (rc == FB_OK)
		rc = fb_seam_answer(
		    fault, store->ops->head(store, key, ret_size, err), err);
	return wrap(rc, "head", key, err);
}

/* What a store lists is checked before a caller relies on it. */
struct listing {
	struct fb_store *store;
	uint64_t count;
	const char *prefix;
	fb_store_visit *visit;
	void *arg;
	char last[FB_STORE_KEY_MAX + 1];
	bool stopped; /* by the visitor, whose error it is */
};

static int
check_listed(const char *key, uint64_t size, void *arg, struct fb_error *err)
{
	struct listing *listing = arg;
	int rc;

	if (!fb_store_key_ok(key) ||
	    strncmp(key, listing->prefix, strlen(listing->prefix)) != 0 ||
	    strcmp(key, listing->last) <= 0)
		return fb_fail(err, FB_EPROTO,
		    "the store lists '%.80s' after '%s'", key, listing->last);
	memcpy(listing->last, key, strlen(key) + 1);
	if (++listing->count % PAGE == 0)
		note(listing->store, USED_LIST, 0, 0);
	rc = listing->visit(key, size, listing->arg, err);
	listing->stopped = rc < 0;
	return rc;
}

int
fb_store_list(struct fb_store *store, const char *prefix, fb_store_visit *visit,
    void *arg, struct fb_error *err)
{
	struct listing listing = { store, 0, prefix, visit, arg, "", false };
	int rc;

	if (!is_prefix(prefix))
		return fb_fail_id(err, FB_ECONFIG, "E-STORE-KEY",
		    "list: '%.80s' is not the start of a key", prefix);
	rc = fb_seam_refuse(fb_seam(FB_STEP_ASK, prefix), err);
	note(store, USED_LIST, 0, 0);
	if (rc == FB_OK)
		rc = store->ops->list(
		    store, prefix, check_listed, &listing, err);
	if (listing.stopped)
		return rc;
	return wrap(rc, "list", prefix, err);
}

static int
remove_of(struct fb_store *store, const char *key,
    const struct fb_store_removal *of, struct fb_error *err)
{
	enum fb_fault fault;
	int rc = check_key("remove", key, err);

	if (rc < 0)
		return rc;
	fault = fb_seam(FB_STEP_STORE, key);
	rc = fb_seam_refuse(fault, err);
	note(store, USED_REMOVE, 0, 0);
	if (rc == FB_OK)
		rc = fb_seam_answer(
		    fault, store->ops->remove(store, key, of, err), err);
	return wrap(rc, "remove", key, err);
}

int
fb_store_remove(struct fb_store *store, const char *key, struct fb_error *err)
{
	return remove_of(store, key, NULL, err);
}

size_t
fb_store_bulk(struct fb_store *store)
{
	return store->ops->bulk != NULL ? store->ops->bulk(store) : 1;
}

static int
ask_first(const struct fb_store_removal *removal, struct fb_error *err)
{
	return removal->check != NULL ? removal->check(removal->arg, err)
	                              : FB_OK;
}

static int
remove_at_once(struct fb_store *store, const struct fb_store_removal *part,
    struct fb_error *err)
{
	enum fb_fault fault = fb_seam(FB_STEP_STORE, part->keys[0]);
	int rc = fb_seam_refuse(fault, err);

	note(store, USED_REMOVE, 0, 0);
	if (rc == FB_OK)
		rc = fb_seam_answer(
		    fault, store->ops->remove_many(store, part, err), err);
	return wrap(rc, "remove", part->keys[0], err);
}

/* What is left after the one request for all of them, one by one. */
static int
remove_part(struct fb_store *store, const struct fb_store_removal *part,
    struct fb_error *err)
{
	int rc = part->count > 1 ? remove_at_once(store, part, err) : FB_OK;

	for (size_t i = 0; rc == FB_OK && i < part->count; i++) {
		if (part->gone[i])
			continue;
		rc = ask_first(part, err);
		if (rc == FB_OK)
			rc = remove_of(store, part->keys[i], part, err);
		part->gone[i] = rc == FB_OK;
	}
	return rc;
}

int
fb_store_remove_many(struct fb_store *store,
    const struct fb_store_removal *removal, struct fb_error *err)
{
	int rc = FB_OK;

	memset(removal->gone, 0, removal->count * sizeof(*removal->gone));
	for (size_t i = 0; rc == FB_OK && i < removal->count; i++)
		rc = check_key("remove", removal->keys[i], err);
	for (size_t at = 0, len; rc == FB_OK && at < removal->count;
	     at += len) {
		struct fb_store_removal part = *removal;

		len = fb_store_bulk(store);
		if (len > removal->count - at)
			len = removal->count - at;
		part.keys += at;
		part.gone += at;
		part.count = len;
		rc = remove_part(store, &part, err);
	}
	return rc;
}

int
fb_store_space(
    struct fb_store *store, uint64_t *ret_bytes, struct fb_error *err)
{
	if (fb_seam_refuse(fb_seam(FB_STEP_ASK, "space"), err) < 0 ||
	    store->ops->space(store, ret_bytes, err) < 0)
		return fb_wrap(err, "free space of '%s'", store->url);
	return FB_OK;
}

int
fb_store_abandon(struct fb_store *store, int64_t before_ns,
    uint64_t *ret_count, struct fb_error *err)
{
	int rc;

	*ret_count = 0;
	if (store->ops->abandon == NULL)
		return FB_OK;
	rc = fb_seam_refuse(fb_seam(FB_STEP_STORE, "uploads"), err);
	if (rc == FB_OK)
		rc = store->ops->abandon(store, before_ns, ret_count, err);
	if (rc == FB_EDENIED || rc == FB_EUNSUP)
		return FB_OK;
	return rc < 0 ? fb_wrap(err, "uploads of '%s'", store->url) : FB_OK;
}

/* Both are promises that everything above relies on. */
static int
check_traits(const struct fb_store_traits *traits, struct fb_error *err)
{
	const char *what = NULL;

	if (traits->read_after_write == FB_TRAIT_NO)
		what = "what was written is not read back";
	else if (traits->list_after_write == FB_TRAIT_NO)
		what = "a list does not show what was written before";
	if (what == NULL)
		return FB_OK;
	(void)fb_fail_id(err, FB_EUNSUP, "E-STORE-PROBE", "%s", what);
	return fb_hint(err, "a repository cannot be kept on this server");
}

int
fb_store_probe(struct fb_store *store, struct fb_store_traits *ret_traits,
    struct fb_error *err)
{
	int rc;

	*ret_traits = (struct fb_store_traits){
		.create_if = FB_TRAIT_YES,
		.replace_if = FB_TRAIT_YES,
		.read_after_write = FB_TRAIT_YES,
		.list_after_write = FB_TRAIT_YES,
	};
	if (store->ops->probe == NULL)
		return FB_OK;
	rc = store->ops->probe(store, ret_traits, err);
	if (rc == FB_OK)
		rc = check_traits(ret_traits, err);
	return rc < 0 ? fb_wrap(err, "probe '%s'", store->url) : FB_OK;
}

void
fb_store_set_one_writer(struct fb_store *store, bool one)
{
	atomic_store(&store->one_writer, one);
}

bool
fb_store_one_writer(const struct fb_store *store)
{
	return atomic_load(&store->one_writer);
}

void
fb_store_set_lease(struct fb_store *store, const char *space)
{
	if (store->ops->lease != NULL)
		store->ops->lease(store, space);
}

bool
fb_store_has_lease(const struct fb_store *store)
{
	return store->has_lease;
}

int
fb_store_ready(struct fb_store *store, struct fb_error *err)
{
	if (store->ops->ready == NULL || store->ops->ready(store, err) == FB_OK)
		return FB_OK;
	return fb_wrap(err, "'%s'", store->url);
}

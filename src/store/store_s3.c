/*
 * A store in a bucket of S3.
 *
 * Create is a PUT with If-None-Match: *, replace one with If-Match.  The
 * bytes' SHA-256 is signed with each upload, so the server refuses what was
 * damaged on the way; the length of each download is checked here, and its
 * digest by those who know it.
 */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "lease.h"
#include "s3.h"

static struct s3_store *
s3_of(struct fb_store *store)
{
	return (struct s3_store *)store;
}

static int
no_object(struct fb_error *err)
{
	return fb_fail(err, FB_ENOTFOUND, "no such object");
}

void
s3_make_nonce(char nonce[S3_NONCE_SIZE])
{
	uint8_t raw[S3_NONCE_SIZE / 2];

	fb_random(raw, sizeof(raw));
	fb_text_hex(raw, sizeof(raw), nonce);
}

/* The tag of an object, without its quotes: radosgw compares with that, AWS
 * with either. */
static bool
take_tag(const struct s3_answer *answer, char tag[FB_STORE_TAG_SIZE])
{
	const char *etag = fb_http_header(&answer->http, "etag");
	size_t len;

	if (etag == NULL)
		return false;
	etag += etag[0] == '"';
	len = strcspn(etag, "\"");
	if (len == 0 || len >= FB_STORE_TAG_SIZE)
		return false;
	memcpy(tag, etag, len);
	tag[len] = '\0';
	return true;
}

static int
head(struct s3_store *s3, const char *key, struct s3_answer *answer,
    struct fb_error *err)
{
	const struct s3_ask ask = { .method = "HEAD", .key = key };

	return s3_ask(s3, &ask, answer, err);
}

int
s3_is_ours(struct s3_store *s3, const char *key, const char *nonce,
    uint64_t size, bool *ret_ours, struct fb_error *err)
{
	AUTO_ANSWER struct s3_answer answer = { 0 };
	int rc = head(s3, key, &answer, err);
	const char *found = fb_http_header(&answer.http, S3_NONCE_HEADER);
	const char *length = fb_http_header(&answer.http, "content-length");
	FB_AUTO_FREE char *wanted = fb_format("%llu", (unsigned long long)size);

	if (rc < 0)
		return rc;
	*ret_ours = answer.http.status == 200 && found != NULL &&
	    strcmp(found, nonce) == 0 && length != NULL &&
	    strcmp(length, wanted) == 0;
	return FB_OK;
}

static int
fail_taken(enum fb_code taken, struct fb_error *err)
{
	return taken == FB_EEXISTS
	    ? fb_fail(err, FB_EEXISTS, "there is such an object")
	    : fb_fail(err, FB_ECONFLICT, "the object has changed");
}

/*
 * Put bytes under a condition.  "It does not hold" may be the work of an
 * earlier try of ours whose answer was lost: then the object there has our
 * nonce, and this one succeeded.  Otherwise `taken`.
 */
static int
put_if(struct s3_store *s3, struct s3_ask *ask, const struct s3_pair *condition,
    enum fb_code taken, struct fb_error *err)
{
	AUTO_ANSWER struct s3_answer answer = { 0 };
	char nonce[S3_NONCE_SIZE];
	struct s3_pair headers[2] = { { S3_NONCE_HEADER, nonce }, *condition };
	uint64_t size = ask->body_path != NULL ? ask->body_size : ask->body.len;
	bool ours = false;
	int rc;

	s3_make_nonce(nonce);
	ask->method = "PUT";
	ask->headers = headers;
	ask->header_count = 2;
	/* What it has put may be replaced again before one could look. */
	ask->once = taken == FB_ECONFLICT;
	rc = s3_ask(s3, ask, &answer, err);
	if (rc < 0)
		return rc;
	if (answer.http.status >= 200 && answer.http.status <= 299)
		return FB_OK;
	if (answer.http.status != 412 && answer.http.status != 404)
		return s3_fail(s3, &answer, err);
	/* Also without a doubt of ours: libcurl sends again by itself where a
	 * connection that was idle ends without an answer. */
	rc = s3_is_ours(s3, ask->key, nonce, size, &ours, err);
	if (rc < 0 || ours)
		return rc;
	/* What an earlier try has put may have been replaced since. */
	if (answer.doubt && taken == FB_ECONFLICT)
		return fb_fail(err, FB_EUNKNOWN,
		    "the object has changed, perhaps by a request of ours "
		    "whose answer was lost");
	return fail_taken(taken, err);
}

int
s3_tag_of(struct s3_store *s3, const char *key, char tag[FB_STORE_TAG_SIZE],
    struct fb_error *err)
{
	AUTO_ANSWER struct s3_answer answer = { 0 };
	int rc = head(s3, key, &answer, err);

	tag[0] = '\0';
	if (rc < 0)
		return rc;
	if (answer.http.status == 200 && !take_tag(&answer, tag))
		return fb_fail(err, FB_EPROTO, "the answer has no ETag");
	if (answer.http.status != 200 && answer.http.status != 404)
		return s3_fail(s3, &answer, err);
	return FB_OK;
}

/*
 * On a server without conditions: look whether it holds, then write.  Two
 * hosts that do so at once overwrite each other, so only one may.
 */
static int
look_and_put(struct s3_store *s3, struct s3_ask *ask,
    const struct s3_pair *condition, enum fb_code taken, struct fb_error *err)
{
	AUTO_ANSWER struct s3_answer answer = { 0 };
	bool create = strcmp(condition->name, "if-none-match") == 0;
	char tag[FB_STORE_TAG_SIZE] = "";
	int rc = s3_tag_of(s3, ask->key, tag, err);

	if (rc < 0)
		return rc;
	if (strcmp(tag, create ? "" : condition->value) != 0)
		return fail_taken(taken, err);
	ask->method = "PUT";
	ask->header_count = 0;
	rc = s3_ask(s3, ask, &answer, err);
	if (rc == FB_OK && answer.http.status >= 300)
		rc = s3_fail(s3, &answer, err);
	return rc;
}

static const struct s3_pair if_none = { "if-none-match", "*" };

/* The digest that an object's name is, if it is one: nothing needs to be
 * hashed once more, and the server checks that the bytes have it. */
static bool
digest_in_name(const char *key, char hex[FB_DIGEST_HEX_SIZE])
{
	const char *slash = strrchr(key, '/');
	const char *leaf = slash != NULL ? slash + 1 : key;
	size_t len = strspn(leaf, "0123456789abcdef");

	if (len != FB_DIGEST_HEX_SIZE - 1 ||
	    (leaf[len] != '\0' && leaf[len] != '.'))
		return false;
	memcpy(hex, leaf, len);
	hex[len] = '\0';
	return true;
}

static int
fail_no_lease(struct fb_error *err)
{
	(void)fb_fail_id(err, FB_ECONFIG, "E-LEASE-NONE",
	    "who writes to this repository needs its lease service (etcd), "
	    "and none is configured");
	return fb_hint(err,
	    "give the repository the key etcd, as its other writers have it");
}

/* Whoever puts under the name of the bytes puts the same. */
static int
create(struct s3_store *s3, struct s3_ask *ask, struct fb_error *err)
{
	bool one_writer = atomic_load(&s3->base.one_writer);
	char hex[FB_DIGEST_HEX_SIZE];
	int rc = FB_OK;

	if (s3->leased && s3->lease == NULL)
		return fail_no_lease(err);
	if (s3->leased && !digest_in_name(ask->key, hex))
		return s3_lease_create(s3, ask, err);
	if (!s3->leased && !one_writer)
		return put_if(s3, ask, &if_none, FB_EEXISTS, err);
	/* There is no repository yet: one makes it at a time. */
	if (!s3->leased && s3->lease != NULL)
		rc = lease_hold_init(s3->lease, err);
	return rc < 0 ? rc : look_and_put(s3, ask, &if_none, FB_EEXISTS, err);
}

static int
s3_create(struct fb_store *store, const char *key, struct fb_span bytes,
    struct fb_error *err)
{
	struct s3_ask ask = { .key = key, .body = bytes };

	return create(s3_of(store), &ask, err);
}

static int
s3_replace(struct fb_store *store, const char *key, struct fb_span bytes,
    const char *tag, struct fb_error *err)
{
	struct s3_store *s3 = s3_of(store);
	const struct s3_pair if_match = { "if-match", tag };
	const struct s3_pair *condition =
	    tag[0] == '\0' ? &if_none : &if_match;
	struct s3_ask ask = { .key = key, .body = bytes };

	if (s3->leased && s3->lease == NULL)
		return fail_no_lease(err);
	if (s3->leased)
		return s3_lease_replace(s3, key, bytes, tag, err);
	return atomic_load(&s3->base.one_writer)
	    ? look_and_put(s3, &ask, condition, FB_ECONFLICT, err)
	    : put_if(s3, &ask, condition, FB_ECONFLICT, err);
}

/* Did the server see other bytes than were signed? */
static bool
is_mismatch(const struct fb_error *err)
{
	return strcmp(err->id, "E-S3-DIGEST") == 0;
}

int
s3_create_file(struct fb_store *store, const char *key, const char *path,
    uint64_t size, struct fb_error *err)
{
	struct s3_store *s3 = s3_of(store);
	FB_AUTO_CLOSE int fd = fb_store_open_source(path, size, err);
	char named[FB_DIGEST_HEX_SIZE] = "", hex[FB_DIGEST_HEX_SIZE];
	struct s3_ask ask = { .key = key,
		.body_path = path,
		.body_fd = fd,
		.body_size = size,
		.payload = named };
	bool parts = s3_in_parts(size);
	int rc = fd;

	if (fd < 0)
		return fd;
	/* What a lease decides about goes whole. */
	if (s3->leased)
		parts = parts && s3->lease != NULL && digest_in_name(key, hex);
	if (digest_in_name(key, named) && !parts) {
		rc = create(s3, &ask, err);
		if (rc == FB_OK || !is_mismatch(err))
			return rc;
	}
	/* A byte was lost on the way, or the file is not what it was; or the
	 * server is not going to see all of it at once. */
	rc = s3_payload_file(fd, path, 0, size, hex, err);
	if (rc == FB_OK && named[0] != '\0' && strcmp(named, hex) != 0)
		rc = fb_fail(err, FB_ECORRUPT,
		    "'%s' has changed: its digest is %s", path, hex);
	ask.payload = hex;
	if (rc == FB_OK && parts)
		return s3_create_in_parts(s3, key, path, fd, size, hex, err);
	return rc < 0 ? rc : create(s3, &ask, err);
}

/* Where the bytes of an answer go. */
struct taking {
	struct fb_buf *buf; /* or ... */
	uint8_t *bytes;     /* ... a place for exactly `max` */
	size_t max, got, before;
	bool too_large;
};

static int
take_piece(void *arg, struct fb_span piece, struct fb_error *err)
{
	struct taking *taking = arg;

	if (piece.len > taking->max - taking->got) {
		taking->too_large = true;
		return fb_fail(err, FB_ECORRUPT,
		    "the object is larger than %zu bytes", taking->max);
	}
	if (taking->buf != NULL)
		fb_buf_add(taking->buf, piece.ptr, piece.len);
	else
		memcpy(taking->bytes + taking->got, piece.ptr, piece.len);
	taking->got += piece.len;
	return FB_OK;
}

static void
take_again(void *arg)
{
	struct taking *taking = arg;

	taking->got = 0;
	if (taking->buf != NULL) {
		taking->buf->len = taking->before;
		if (taking->buf->data != NULL)
			taking->buf->data[taking->before] = '\0';
	}
}

static int
s3_get(struct fb_store *store, const char *key, size_t max, struct fb_buf *dst,
    char tag[FB_STORE_TAG_SIZE], struct fb_error *err)
{
	struct s3_store *s3 = s3_of(store);
	AUTO_ANSWER struct s3_answer answer = { 0 };
	struct taking taking = { .buf = dst, .max = max, .before = dst->len };
	const struct s3_ask ask = { .method = "GET",
		.key = key,
		.sink = take_piece,
		.again = take_again,
		.sink_arg = &taking };
	bool there = false;
	int rc = FB_OK;

	/* Who wants the tag wants what is true now. */
	if (tag != NULL && s3->leased && s3->lease != NULL)
		rc = s3_lease_get(s3, key, max, dst, tag, &there, err);
	if (rc < 0 || there)
		return rc;
	rc = s3_ask(s3, &ask, &answer, err);
	if (rc == FB_OK && answer.http.status == 404)
		rc = no_object(err);
	else if (rc == FB_OK && answer.http.status != 200)
		rc = s3_fail(s3, &answer, err);
	if (rc == FB_OK && tag != NULL && !take_tag(&answer, tag))
		rc = fb_fail(err, FB_EPROTO, "the answer has no ETag");
	if (rc < 0)
		take_again(&taking);
	return rc;
}

static int
get_range(struct s3_store *s3, const char *key, uint64_t offset,
    struct taking *taking, struct fb_error *err)
{
	AUTO_ANSWER struct s3_answer answer = { 0 };
	FB_AUTO_FREE char *range =
	    fb_format("bytes=%llu-%llu", (unsigned long long)offset,
	        (unsigned long long)offset + taking->max - 1);
	FB_AUTO_FREE char *begin =
	    fb_format("bytes %llu-", (unsigned long long)offset);
	const struct s3_pair headers[] = { { "range", range } };
	const struct s3_ask ask = { .method = "GET",
		.key = key,
		.headers = headers,
		.header_count = 1,
		.sink = take_piece,
		.again = take_again,
		.sink_arg = taking };
	int rc = s3_ask(s3, &ask, &answer, err);
	const char *what = fb_http_header(&answer.http, "content-range");

	if (rc < 0 && !taking->too_large)
		return rc;
	if (answer.http.status == 404)
		return no_object(err);
	if (answer.http.status == 416 ||
	    (answer.http.status == 206 && taking->got < taking->max))
		return fb_fail(err, FB_ECORRUPT,
		    "the object ends before byte %llu",
		    (unsigned long long)offset + taking->max);
	if (answer.http.status != 206 || what == NULL || rc < 0 ||
	    strncmp(what, begin, strlen(begin)) != 0)
		return fb_fail(err, FB_EPROTO,
		    "the server does not answer with the range that was "
		    "asked for");
	return FB_OK;
}

static int
s3_get_range(struct fb_store *store, const char *key, uint64_t offset,
    void *bytes, size_t len, struct fb_error *err)
{
	struct taking taking = { .bytes = bytes, .max = len };
	uint64_t size = 0;
	int rc;

	if (len > 0)
		return get_range(s3_of(store), key, offset, &taking, err);
	rc = store->ops->head(store, key, &size, err);
	if (rc == FB_OK && offset > size)
		return fb_fail(err, FB_ECORRUPT,
		    "the object ends before byte %llu",
		    (unsigned long long)offset);
	return rc;
}

/* A HEAD has no body that would say why: ask the bucket in its place. */
static int
explain_head(struct s3_store *s3, struct fb_error *err)
{
	AUTO_ANSWER struct s3_answer answer = { 0 };
	static const struct s3_pair query[] = { { "list-type", "2" },
		{ "max-keys", "1" } };
	const struct s3_ask ask = {
		.method = "GET", .query = query, .query_count = FB_COUNT(query)
	};
	struct fb_error why = *err;
	int rc = s3_ask(s3, &ask, &answer, &why);

	if (rc < 0)
		*err = why;
	return err->code;
}

static int
s3_head(struct fb_store *store, const char *key, uint64_t *ret_size,
    struct fb_error *err)
{
	struct s3_store *s3 = s3_of(store);
	AUTO_ANSWER struct s3_answer answer = { 0 };
	int rc = head(s3, key, &answer, err);
	const char *length = fb_http_header(&answer.http, "content-length");
	struct fb_error why;

	if (rc < 0 && answer.http.status >= 300 && answer.http.status < 500)
		return explain_head(s3, err);
	if (rc < 0)
		return rc;
	if (answer.http.status == 404)
		return no_object(err);
	if (answer.http.status != 200 || length == NULL ||
	    fb_text_u64(
	        (struct fb_span){ (const uint8_t *)length, strlen(length) },
	        INT64_MAX, ret_size, &why) < 0)
		return fb_fail(err, FB_EPROTO, "the answer tells no length");
	return FB_OK;
}

static int
remove_object(struct fb_store *store, const char *key,
    const struct fb_store_removal *of, struct fb_error *err)
{
	struct s3_store *s3 = s3_of(store);
	char hex[FB_DIGEST_HEX_SIZE];
	int rc = FB_OK;

	if (s3->leased && s3->lease == NULL)
		return fail_no_lease(err);
	if (s3->leased && !digest_in_name(key, hex))
		rc = s3_lease_remove(s3, key, err);
	return rc < 0 ? rc : s3_remove(store, key, of, err);
}

/* What the lease service knows it forgets first. */
static int
remove_many(struct fb_store *store, const struct fb_store_removal *removal,
    struct fb_error *err)
{
	struct s3_store *s3 = s3_of(store);
	char hex[FB_DIGEST_HEX_SIZE];
	int rc = FB_OK;

	if (s3->leased && s3->lease == NULL)
		return fail_no_lease(err);
	for (size_t i = 0; s3->leased && rc == FB_OK && i < removal->count; i++)
		if (!digest_in_name(removal->keys[i], hex))
			rc = s3_lease_remove(s3, removal->keys[i], err);
	return rc < 0 ? rc : s3_remove_many(store, removal, err);
}

static int
s3_space(struct fb_store *store, uint64_t *ret_bytes, struct fb_error *err)
{
	(void)store;
	(void)err;
	*ret_bytes = UINT64_MAX;
	return FB_OK;
}

static void
s3_lease(struct fb_store *store, const char *space)
{
	struct s3_store *s3 = s3_of(store);

	s3->leased = space != NULL;
	if (space != NULL && s3->lease != NULL)
		lease_set_space(s3->lease, space);
	if (space != NULL)
		return;
	lease_free(s3->lease); /* it has nothing to decide */
	s3->lease = NULL;
}

static int
s3_ready(struct fb_store *store, struct fb_error *err)
{
	struct s3_store *s3 = s3_of(store);

	if (!s3->leased)
		return FB_OK;
	return s3->lease == NULL ? fail_no_lease(err)
	                         : lease_ready(s3->lease, err);
}

static void
s3_close(struct fb_store *store)
{
	struct s3_store *s3 = s3_of(store);

	lease_free(s3->lease);
	fb_http_free(s3->http);
	s3_cred_free(s3->cred);
	(void)pthread_mutex_destroy(&s3->lock);
	(void)pthread_cond_destroy(&s3->room);
	free(s3->server);
	free(s3->host);
	free(s3->bucket);
	free(s3->region);
	free(s3->root);
	free(s3->prefix);
	free(s3);
}

const struct fb_store_ops fb_s3_ops = {
	.scheme = "s3",
	.parallel = S3_PARALLEL,
	.create = s3_create,
	.create_file = s3_create_file,
	.replace = s3_replace,
	.get = s3_get,
	.get_range = s3_get_range,
	.read = s3_read,
	.head = s3_head,
	.list = s3_list_keys,
	.remove = remove_object,
	.bulk = s3_bulk,
	.remove_many = remove_many,
	.space = s3_space,
	.probe = s3_probe,
	.lease = s3_lease,
	.ready = s3_ready,
	.abandon = s3_abandon,
	.close = s3_close,
	.past = &fb_s3_past,
};

/*
 * The versions that a bucket keeps: listed, read, removed, and one of them
 * made the one that is read.
 */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "s3.h"
#include "s3_xml.h"

#define LIST_MAX   "1000"
#define LIST_BYTES ((size_t)16 << 20)

/* So many of one object, at most, are looked at. */
#define OF_ONE_MAX 10000

static void
release_version(struct s3_version *version)
{
	free(version->key);
	free(version->id);
	*version = (struct s3_version){ 0 };
}

void
s3_versions_release(struct s3_versions *page)
{
	for (size_t i = 0; i < page->count; i++)
		release_version(&page->items[i]);
	free(page->items);
	release_version(&page->next);
	free(page->key_marker);
	free(page->id_marker);
}

/* An object, or what a bucket is tried out with. */
static bool
key_ok(const char *key)
{
	return fb_store_key_ok(key[0] == '.' ? key + 1 : key);
}

static int
take_key(struct s3_versions *page, const char *text, struct fb_error *err)
{
	FB_AUTO_FREE char *key = s3_decoded(text);
	size_t len = strlen(page->prefix);

	if (key == NULL || strncmp(key, page->prefix, len) != 0)
		return fb_fail(
		    err, FB_EPROTO, "the server lists '%.80s'", text);
	free(page->next.key);
	page->next.key = key_ok(key + len) ? fb_strdup(key + len) : NULL;
	return FB_OK;
}

static int
take_id(char **id, const char *text, struct fb_error *err)
{
	if (strlen(text) >= FB_STORE_VERSION_SIZE)
		return fb_fail(
		    err, FB_EPROTO, "the id of a version is too long");
	free(*id);
	*id = fb_strdup(text);
	return FB_OK;
}

/* What is in a Version, or a DeleteMarker. */
static int
take_member(struct s3_versions *page, const char *name, const char *text,
    struct fb_error *err)
{
	struct s3_version *next = &page->next;

	if (strcmp(name, "Key") == 0)
		return take_key(page, text, err);
	if (strcmp(name, "VersionId") == 0)
		return take_id(&next->id, text, err);
	if (strcmp(name, "IsLatest") == 0)
		next->latest = strcmp(text, "true") == 0;
	else if (strcmp(name, "LastModified") == 0 &&
	    !s3_time(text, &next->time_ns))
		next->time_ns = 0;
	else if (strcmp(name, "Size") == 0)
		return fb_text_u64(
		    (struct fb_span){ (const uint8_t *)text, strlen(text) },
		    INT64_MAX, &next->size, err);
	return FB_OK;
}

static void
add_version(struct s3_versions *page, bool removed)
{
	page->next.removed = removed;
	if (page->next.key == NULL || page->next.id == NULL ||
	    page->next.id[0] == '\0') {
		release_version(&page->next);
		return;
	}
	page->items =
	    fb_realloc(page->items, page->count + 1, sizeof(*page->items));
	page->items[page->count++] = page->next;
	page->next = (struct s3_version){ 0 };
}

static int
take_listed(void *arg, const char *root, const char *path, const char *text,
    struct fb_error *err)
{
	static const char version[] = "Version/", marker[] = "DeleteMarker/";
	struct s3_versions *page = arg;

	if (strcmp(root, "ListVersionsResult") != 0)
		return FB_OK;
	page->good = true;
	if (strncmp(path, version, strlen(version)) == 0)
		return take_member(page, path + strlen(version), text, err);
	if (strncmp(path, marker, strlen(marker)) == 0)
		return take_member(page, path + strlen(marker), text, err);
	if (strcmp(path, "Version") == 0) {
		add_version(page, false);
	} else if (strcmp(path, "DeleteMarker") == 0) {
		add_version(page, true);
	} else if (strcmp(path, "IsTruncated") == 0) {
		page->more = strcmp(text, "true") == 0;
	} else if (strcmp(path, "NextKeyMarker") == 0) {
		free(page->key_marker);
		page->key_marker = s3_decoded(text);
	} else if (strcmp(path, "NextVersionIdMarker") == 0) {
		return take_id(&page->id_marker, text, err);
	}
	return FB_OK;
}

int
s3_versions_read(
    struct fb_span xml, struct s3_versions *page, struct fb_error *err)
{
	int rc = s3_xml_read(xml, take_listed, page, err);

	if (rc == FB_OK &&
	    (!page->good ||
	        (page->more &&
	            (page->key_marker == NULL || page->key_marker[0] == '\0'))))
		rc = fb_fail(err, FB_EPROTO, "the answer lists no versions");
	return rc;
}

/* The page behind the one that is there. */
static int
fetch_page(struct s3_store *s3, const char *prefix, struct s3_versions *page,
    struct fb_error *err)
{
	AUTO_ANSWER struct s3_answer answer = { 0 };
	FB_AUTO_FREE char *whole = fb_format("%s%s", s3->prefix, prefix);
	struct s3_versions next = { .prefix = s3->prefix };
	struct s3_pair query[6] = { { "versions", "" },
		{ "encoding-type", "url" }, { "max-keys", LIST_MAX },
		{ "prefix", whole } };
	struct s3_ask ask = { .method = "GET",
		.query = query,
		.query_count = 4,
		.body_max = LIST_BYTES };
	int rc;

	if (page->key_marker != NULL)
		query[ask.query_count++] =
		    (struct s3_pair){ "key-marker", page->key_marker };
	if (page->key_marker != NULL && page->id_marker != NULL &&
	    page->id_marker[0] != '\0')
		query[ask.query_count++] =
		    (struct s3_pair){ "version-id-marker", page->id_marker };
	rc = s3_ask(s3, &ask, &answer, err);
	if (rc == FB_OK && answer.http.status != 200)
		rc = s3_fail(s3, &answer, err);
	if (rc == FB_OK)
		rc = s3_versions_read(
		    fb_buf_span(&answer.http.body), &next, err);
	if (rc == FB_OK && next.more && page->key_marker != NULL &&
	    strcmp(next.key_marker, page->key_marker) == 0 &&
	    (page->id_marker == NULL || next.id_marker == NULL ||
	        strcmp(next.id_marker, page->id_marker) == 0))
		rc = fb_fail(
		    err, FB_EPROTO, "the list of versions does not end");
	s3_versions_release(page);
	*page = next;
	return rc;
}

static int
list_versions(struct fb_store *store, const char *prefix,
    fb_store_visit_version *visit, void *arg, struct fb_error *err)
{
	struct s3_store *s3 = (struct s3_store *)store;
	FB_CLEANUP(s3_versions_release)
	struct s3_versions page = { .more = true };
	int rc = FB_OK;

	if (!s3_keeps_versions(s3))
		return FB_OK;
	while (rc == FB_OK && page.more) {
		rc = fetch_page(s3, prefix, &page, err);
		for (size_t i = 0; rc == FB_OK && i < page.count; i++) {
			const struct s3_version *item = &page.items[i];
			const struct fb_store_version version = {
				.key = item->key,
				.id = item->id,
				.size = item->size,
				.time_ns = item->time_ns,
				.latest = item->latest,
				.removed = item->removed,
			};

			if (item->key[0] != '.' || prefix[0] == '.')
				rc = visit(&version, arg, err);
		}
	}
	return rc;
}

static int
read_version(struct fb_store *store, const char *key, const char *id,
    uint64_t offset, void *bytes, size_t len, struct fb_error *err)
{
	struct s3_store *s3 = (struct s3_store *)store;
	AUTO_ANSWER struct s3_answer answer = { 0 };
	FB_AUTO_FREE char *range = fb_format("bytes=%llu-%llu",
	    (unsigned long long)offset, (unsigned long long)offset + len - 1);
	const struct s3_pair query = { "versionId", id };
	const struct s3_pair header = { "range", range };
	const struct s3_ask ask = { .method = "GET",
		.key = key,
		.query = &query,
		.query_count = 1,
		.headers = &header,
		.header_count = 1,
		.body_max = len };
	int rc = s3_ask(s3, &ask, &answer, err);

	if (rc < 0)
		return rc;
	if (answer.http.status == 404 || answer.http.status == 405)
		return fb_fail(err, FB_ENOTFOUND, "no such version");
	if (answer.http.status != 206 || answer.http.body.len != len)
		return fb_fail(err, FB_ECORRUPT,
		    "the version ends before byte %llu",
		    (unsigned long long)offset + len);
	memcpy(bytes, answer.http.body.data, len);
	return FB_OK;
}

/* The versions of one object, newest first. */
struct history {
	const char *key;
	const char *until; /* of this id, older ones do not matter; or NULL */
	struct s3_version *items; /* without their keys */
	size_t count;
};

static void
release_history(struct history *history)
{
	for (size_t i = 0; i < history->count; i++)
		release_version(&history->items[i]);
	free(history->items);
}
#define AUTO_HISTORY FB_CLEANUP(release_history)

static int
add_to_history(
    const struct fb_store_version *version, void *arg, struct fb_error *err)
{
	struct history *history = arg;

	if (strcmp(version->key, history->key) != 0)
		return FB_PENDING; /* all of them were before */
	if (history->count == OF_ONE_MAX)
		return fb_fail(
		    err, FB_EPROTO, "it has more than %d versions", OF_ONE_MAX);
	history->items = fb_realloc(
	    history->items, history->count + 1, sizeof(*history->items));
	history->items[history->count++] = (struct s3_version){
		.id = fb_strdup(version->id),
		.removed = version->removed,
		.latest = version->latest,
	};
	return history->until != NULL &&
	        strcmp(version->id, history->until) == 0
	    ? FB_PENDING
	    : FB_OK;
}

static int
read_history(struct s3_store *s3, struct history *history, struct fb_error *err)
{
	int rc = list_versions(
	    &s3->base, history->key, add_to_history, history, err);

	return rc == FB_PENDING ? FB_OK : rc;
}

/* *ret_refused: it may not go, because it is locked or for want of a right. */
static int
remove_one(struct s3_store *s3, const char *key, const char *id,
    const struct fb_store_removal *of, bool *ret_refused, struct fb_error *err)
{
	const struct s3_pair query = { "versionId", id };
	const struct s3_ask ask = { .method = "DELETE",
		.key = key,
		.query = &query,
		.query_count = id != NULL,
		.check = of != NULL ? of->check : NULL,
		.check_arg = of != NULL ? of->arg : NULL };
	AUTO_ANSWER struct s3_answer answer = { 0 };
	int rc = s3_ask(s3, &ask, &answer, err);
	int status = answer.http.status;

	*ret_refused = false;
	if (rc < 0 && !answer.stopped && id != NULL && status >= 400 &&
	    status < 500 && (rc == FB_EDENIED || rc == FB_EPROTO)) {
		*ret_refused = true;
		return FB_OK;
	}
	if (rc == FB_OK && status >= 300 && status != 404)
		rc = s3_fail(s3, &answer, err);
	return rc;
}

/*
 * In a bucket that keeps versions all of them go, or nothing would ever be
 * freed: the oldest first, so that it stays gone whenever we die.  What may
 * not go is hidden behind a mark, as a plain removal makes it.
 */
int
s3_remove(struct fb_store *store, const char *key,
    const struct fb_store_removal *of, struct fb_error *err)
{
	struct s3_store *s3 = (struct s3_store *)store;
	AUTO_HISTORY struct history history = { .key = key };
	bool left = false, refused;
	int rc;

	if (!s3_keeps_versions(s3))
		return remove_one(s3, key, NULL, of, &refused, err);
	rc = read_history(s3, &history, err);
	if (rc == FB_EDENIED) /* it may remove, and not look back */
		return remove_one(s3, key, NULL, of, &refused, err);
	for (size_t i = history.count; rc == FB_OK && i-- > 0;) {
		rc =
		    remove_one(s3, key, history.items[i].id, of, &refused, err);
		left = left || (refused && !history.items[i].removed);
	}
	return rc == FB_OK && left
	    ? remove_one(s3, key, NULL, of, &refused, err)
	    : rc;
}

/* An error may stand in an answer that says 200. */
static int
note_copied(void *arg, const char *root, const char *path, const char *text,
    struct fb_error *err)
{
	bool *copied = arg;

	(void)path;
	(void)text;
	(void)err;
	*copied = strcmp(root, "CopyObjectResult") == 0;
	return FB_OK;
}

static int
copy_version(
    struct s3_store *s3, const char *key, const char *id, struct fb_error *err)
{
	AUTO_ANSWER struct s3_answer answer = { 0 };
	FB_AUTO_BUF struct fb_buf source = { 0 };
	FB_AUTO_FREE char *path =
	    fb_format("/%s/%s%s", s3->bucket, s3->prefix, key);
	struct s3_pair header = { "x-amz-copy-source", NULL };
	const struct s3_ask ask = { .method = "PUT",
		.key = key,
		.headers = &header,
		.header_count = 1 };
	bool copied = false;
	int rc;

	s3_add_encoded(&source, path, true);
	fb_buf_add_str(&source, "?versionId=");
	s3_add_encoded(&source, id, false);
	header.value = fb_buf_str(&source);
	rc = s3_ask(s3, &ask, &answer, err);
	if (rc == FB_OK && answer.http.status != 200)
		rc = s3_fail(s3, &answer, err);
	if (rc == FB_OK)
		rc = s3_xml_read(
		    fb_buf_span(&answer.http.body), note_copied, &copied, err);
	if (rc == FB_OK && !copied)
		rc = fb_fail(
		    err, FB_EFAILED, "the server has not copied the version");
	return rc;
}

static int
bring_back(struct fb_store *store, const char *key, const char *id,
    struct fb_error *err)
{
	struct s3_store *s3 = (struct s3_store *)store;
	AUTO_HISTORY struct history history = { .key = key, .until = id };
	bool refused = false, marks = true;
	size_t wanted = 0;
	int rc = read_history(s3, &history, err);

	if (rc < 0)
		return rc;
	while (
	    wanted < history.count && strcmp(history.items[wanted].id, id) != 0)
		marks = history.items[wanted++].removed && marks;
	if (wanted == history.count || history.items[wanted].removed)
		return fb_fail(err, FB_ENOTFOUND, "no such version");
	/* Marks alone are before it: it is there again without them. */
	for (size_t i = 0; rc == FB_OK && marks && !refused && i < wanted; i++)
		rc = remove_one(
		    s3, key, history.items[i].id, NULL, &refused, err);
	return rc == FB_OK && (!marks || refused)
	    ? copy_version(s3, key, id, err)
	    : rc;
}

const struct fb_store_past_ops fb_s3_past = {
	.locks = s3_locks,
	.locked = s3_locked,
	.extend = s3_extend,
	.versions = list_versions,
	.read = read_version,
	.bring_back = bring_back,
};

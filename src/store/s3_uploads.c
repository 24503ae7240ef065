/*
 * Uploads in parts that were begun: which there are, and what they have.
 */
#include "s3_parts.h"

#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "s3_xml.h"

#define PAGE_MAX   "1000"
#define PAGE_BYTES ((size_t)16 << 20)

bool
s3_take_tag(const char *from, char tag[FB_STORE_TAG_SIZE])
{
	size_t len;

	if (from == NULL)
		return false;
	from += from[0] == '"';
	len = strspn(from,
	    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-");
	if (len == 0 || len >= FB_STORE_TAG_SIZE ||
	    (from[len] != '\0' && from[len] != '"'))
		return false;
	memcpy(tag, from, len);
	tag[len] = '\0';
	return true;
}

static int
copy_text(char *to, size_t size, const char *from, struct fb_error *err)
{
	size_t len = strlen(from);

	if (len >= size)
		return fb_fail(
		    err, FB_EPROTO, "the answer has a name that is too long");
	memcpy(to, from, len + 1);
	return FB_OK;
}

static int
take_number(const char *text, uint64_t *ret_number, struct fb_error *err)
{
	return fb_text_u64(
	    (struct fb_span){ (const uint8_t *)text, strlen(text) }, INT64_MAX,
	    ret_number, err);
}

/* Ask for an answer that is XML.  FB_ENOTFOUND: 404. */
static int
ask_xml(struct s3_store *s3, const struct s3_ask *ask,
    struct s3_answer *answer, struct fb_error *err)
{
	int rc = s3_ask(s3, ask, answer, err);

	if (rc < 0)
		return rc;
	if (answer->http.status == 404)
		return fb_fail(err, FB_ENOTFOUND, "no such upload");
	return answer->http.status != 200 ? s3_fail(s3, answer, err) : FB_OK;
}

static int
take_upload_id(void *arg, const char *root, const char *path, const char *text,
    struct fb_error *err)
{
	if (strcmp(root, "InitiateMultipartUploadResult") == 0 &&
	    strcmp(path, "UploadId") == 0)
		return copy_text(arg, S3_UPLOAD_SIZE, text, err);
	return FB_OK;
}

int
s3_begun_read(struct fb_span xml, char ret_upload[S3_UPLOAD_SIZE],
    struct fb_error *err)
{
	int rc;

	ret_upload[0] = '\0';
	rc = s3_xml_read(xml, take_upload_id, ret_upload, err);
	if (rc == FB_OK && ret_upload[0] == '\0')
		rc = fb_fail(err, FB_EPROTO, "the answer names no upload");
	return rc;
}

int
s3_upload_begin(struct s3_store *s3, const char *key, const char *nonce,
    char ret_upload[S3_UPLOAD_SIZE], struct fb_error *err)
{
	static const struct s3_pair query[] = { { "uploads", "" } };
	const struct s3_pair headers[] = { { S3_NONCE_HEADER, nonce } };
	const struct s3_ask ask = { .method = "POST",
		.key = key,
		.query = query,
		.query_count = 1,
		.headers = headers,
		.header_count = 1 };
	AUTO_ANSWER struct s3_answer answer = { 0 };
	int rc = ask_xml(s3, &ask, &answer, err);

	ret_upload[0] = '\0';
	return rc < 0 ? rc
	              : s3_begun_read(fb_buf_span(&answer.http.body),
	                    ret_upload, err);
}

/* One page of the uploads below a prefix. */
struct page {
	char key[FB_STORE_KEY_MAX + 256], upload[S3_UPLOAD_SIZE];
	char begun[FB_TIME_SIZE];
	bool more, good, odd; /* odd: the one at hand is none of ours */
	char next_key[4096], next_upload[S3_UPLOAD_SIZE];
	s3_visit_upload *take;
	void *arg;
};

static int
end_upload(struct page *page, struct fb_error *err)
{
	int rc = page->odd || page->key[0] == '\0' || page->upload[0] == '\0'
	    ? FB_OK
	    : page->take(
	          page->key, page->upload, page->begun, page->arg, err);

	page->key[0] = page->upload[0] = page->begun[0] = '\0';
	page->odd = false;
	return rc;
}

static int
take_upload(void *arg, const char *root, const char *path, const char *text,
    struct fb_error *err)
{
	struct page *page = arg;
	FB_AUTO_FREE char *key = NULL;

	if (strcmp(root, "ListMultipartUploadsResult") != 0)
		return FB_OK;
	page->good = true;
	if (strcmp(path, "Upload/Key") == 0) {
		key = s3_decoded(text);
		page->odd |= key == NULL || strlen(key) >= sizeof(page->key);
		if (!page->odd)
			memcpy(page->key, key, strlen(key) + 1);
	} else if (strcmp(path, "Upload/UploadId") == 0) {
		return copy_text(page->upload, sizeof(page->upload), text, err);
	} else if (strcmp(path, "Upload/Initiated") == 0) {
		page->odd |= strlen(text) >= sizeof(page->begun);
		if (!page->odd)
			memcpy(page->begun, text, strlen(text) + 1);
	} else if (strcmp(path, "Upload") == 0) {
		return end_upload(page, err);
	} else if (strcmp(path, "IsTruncated") == 0) {
		page->more = strcmp(text, "true") == 0;
	} else if (strcmp(path, "NextKeyMarker") == 0) {
		key = s3_decoded(text);
		return copy_text(page->next_key, sizeof(page->next_key),
		    key != NULL ? key : "", err);
	} else if (strcmp(path, "NextUploadIdMarker") == 0) {
		return copy_text(
		    page->next_upload, sizeof(page->next_upload), text, err);
	}
	return FB_OK;
}

static int
read_uploads(struct fb_span xml, struct page *page, struct fb_error *err)
{
	int rc;

	page->more = page->good = page->odd = false;
	page->key[0] = page->upload[0] = page->begun[0] = '\0';
	rc = s3_xml_read(xml, take_upload, page, err);
	if (rc == FB_OK && !page->good)
		rc = fb_fail(err, FB_EPROTO, "the answer is no list of uploads");
	return rc;
}

int
s3_uploads_page(struct fb_span xml, s3_visit_upload *visit, void *arg,
    bool *ret_more, struct fb_error *err)
{
	FB_AUTO_FREE struct page *page = fb_alloc(1, sizeof(*page));
	int rc;

	page->take = visit;
	page->arg = arg;
	rc = read_uploads(xml, page, err);
	*ret_more = page->more;
	return rc;
}

/* Each upload whose key begins with the prefix, which is the whole key's. */
static int
list_uploads(struct s3_store *s3, const char *prefix, struct page *page,
    struct fb_error *err)
{
	int rc = FB_OK;

	page->more = true;
	while (rc == FB_OK && page->more) {
		FB_AUTO_FREE char *last =
		    fb_format("%s\n%s", page->next_key, page->next_upload);
		FB_AUTO_FREE char *next = NULL;
		const struct s3_pair query[] = { { "uploads", "" },
			{ "encoding-type", "url" }, { "max-uploads", PAGE_MAX },
			{ "prefix", prefix }, { "key-marker", page->next_key },
			{ "upload-id-marker", page->next_upload } };
		const struct s3_ask ask = { .method = "GET",
			.query = query,
			.query_count = FB_COUNT(query) -
			    (page->next_key[0] == '\0' ? 2 : 0),
			.body_max = PAGE_BYTES };

		AUTO_ANSWER struct s3_answer answer = { 0 };

		rc = ask_xml(s3, &ask, &answer, err);
		if (rc == FB_OK)
			rc = read_uploads(
			    fb_buf_span(&answer.http.body), page, err);
		next = fb_format("%s\n%s", page->next_key, page->next_upload);
		/* Markers that do not change would never end. */
		if (rc == FB_OK && page->more && strcmp(next, last) == 0)
			rc = fb_fail(
			    err, FB_EPROTO, "the answer is no list of uploads");
	}
	return rc;
}

struct finding {
	const char *key; /* whole */
	char begun[FB_TIME_SIZE];
	char *upload;
};

static int
take_newest(const char *key, const char *upload, const char *begun, void *arg,
    struct fb_error *err)
{
	struct finding *finding = arg;

	if (strcmp(key, finding->key) != 0 ||
	    strcmp(begun, finding->begun) < 0)
		return FB_OK;
	return copy_text(
	           finding->begun, sizeof(finding->begun), begun, err) < 0
	    ? err->code
	    : copy_text(finding->upload, S3_UPLOAD_SIZE, upload, err);
}

int
s3_upload_find(struct s3_store *s3, const char *key,
    char ret_upload[S3_UPLOAD_SIZE], struct fb_error *err)
{
	FB_AUTO_FREE char *whole = fb_format("%s%s", s3->prefix, key);
	struct finding finding = { whole, "", ret_upload };
	FB_AUTO_FREE struct page *page = fb_alloc(1, sizeof(*page));

	ret_upload[0] = '\0';
	page->take = take_newest;
	page->arg = &finding;
	return list_uploads(s3, whole, page, err);
}

/* One page of the parts of an upload. */
struct parts_page {
	uint64_t number, size;
	char etag[FB_STORE_TAG_SIZE];
	bool more, good;
	char next[32];
	s3_visit_part *visit;
	void *arg;
};

static int
take_part(void *arg, const char *root, const char *path, const char *text,
    struct fb_error *err)
{
	struct parts_page *page = arg;

	if (strcmp(root, "ListPartsResult") != 0)
		return FB_OK;
	page->good = true;
	if (strcmp(path, "Part/PartNumber") == 0)
		return take_number(text, &page->number, err);
	if (strcmp(path, "Part/Size") == 0)
		return take_number(text, &page->size, err);
	if (strcmp(path, "Part/ETag") == 0) {
		if (!s3_take_tag(text, page->etag))
			page->etag[0] = '\0';
	} else if (strcmp(path, "Part") == 0) {
		page->visit(page->arg, page->number, page->size, page->etag);
		page->number = page->size = 0;
		page->etag[0] = '\0';
	} else if (strcmp(path, "IsTruncated") == 0) {
		page->more = strcmp(text, "true") == 0;
	} else if (strcmp(path, "NextPartNumberMarker") == 0) {
		return copy_text(page->next, sizeof(page->next), text, err);
	}
	return FB_OK;
}

static int
read_parts(struct fb_span xml, struct parts_page *page, struct fb_error *err)
{
	int rc;

	page->more = page->good = false;
	page->number = page->size = 0;
	page->etag[0] = '\0';
	rc = s3_xml_read(xml, take_part, page, err);
	if (rc == FB_OK && !page->good)
		rc = fb_fail(err, FB_EPROTO, "the answer is no list of parts");
	return rc;
}

int
s3_parts_page(struct fb_span xml, s3_visit_part *visit, void *arg,
    bool *ret_more, struct fb_error *err)
{
	struct parts_page page = { .visit = visit, .arg = arg };
	int rc = read_parts(xml, &page, err);

	*ret_more = page.more;
	return rc;
}

int
s3_upload_parts(struct s3_store *s3, const char *key, const char *upload,
    s3_visit_part *visit, void *arg, struct fb_error *err)
{
	struct parts_page page = { .visit = visit, .arg = arg, .more = true };
	int rc = FB_OK;

	while (rc == FB_OK && page.more) {
		char marker[32];
		const struct s3_pair query[] = { { "uploadId", upload },
			{ "max-parts", PAGE_MAX },
			{ "part-number-marker", marker } };
		const struct s3_ask ask = { .method = "GET",
			.key = key,
			.query = query,
			.query_count = FB_COUNT(query) - (page.next[0] == '\0'),
			.body_max = PAGE_BYTES };

		memcpy(marker, page.next, sizeof(marker));
		AUTO_ANSWER struct s3_answer answer = { 0 };

		rc = ask_xml(s3, &ask, &answer, err);
		if (rc == FB_OK)
			rc = read_parts(
			    fb_buf_span(&answer.http.body), &page, err);
		/* A marker that does not change would never end. */
		if (rc == FB_OK && page.more &&
		    strcmp(page.next, marker) == 0)
			rc = fb_fail(
			    err, FB_EPROTO, "the answer is no list of parts");
	}
	return rc;
}

/* 200 may be the status of an error that came late. */
static int
take_root(void *arg, const char *root, const char *path, const char *text,
    struct fb_error *err)
{
	(void)path;
	(void)text;
	(void)err;
	*(bool *)arg = strcmp(root, "CompleteMultipartUploadResult") == 0;
	return FB_OK;
}

int
s3_completed_read(struct fb_span xml, bool *ret_done, struct fb_error *err)
{
	bool done = false;
	int rc = s3_xml_read(xml, take_root, &done, err);

	*ret_done = rc == FB_OK && done;
	return rc;
}

int
s3_upload_abort(struct s3_store *s3, const char *key, const char *upload,
    struct fb_error *err)
{
	AUTO_ANSWER struct s3_answer answer = { 0 };
	const struct s3_pair query[] = { { "uploadId", upload } };
	const struct s3_ask ask = {
		.method = "DELETE", .key = key, .query = query, .query_count = 1
	};
	int rc = s3_ask(s3, &ask, &answer, err);

	if (rc == FB_OK && answer.http.status >= 300 &&
	    answer.http.status != 404)
		rc = s3_fail(s3, &answer, err);
	return rc;
}

/* Those that were begun before a time. */
struct old {
	struct s3_store *s3;
	int64_t before_ns;
	char **keys, **uploads;
	size_t count;
};

static int
take_old(const char *key, const char *upload, const char *begun_text,
    void *arg, struct fb_error *err)
{
	struct old *old = arg;
	size_t len = strlen(old->s3->prefix);
	struct fb_error ignored = { 0 };
	int64_t begun;

	(void)err;
	if (strncmp(key, old->s3->prefix, len) != 0 ||
	    !fb_store_key_ok(key + len) ||
	    fb_time_parse(begun_text, &begun, &ignored) < 0 ||
	    begun >= old->before_ns)
		return FB_OK;
	old->keys = fb_realloc(old->keys, old->count + 1, sizeof(*old->keys));
	old->uploads =
	    fb_realloc(old->uploads, old->count + 1, sizeof(*old->uploads));
	old->keys[old->count] = fb_strdup(key + len);
	old->uploads[old->count++] = fb_strdup(upload);
	return FB_OK;
}

int
s3_abandon(struct fb_store *store, int64_t before_ns, uint64_t *ret_count,
    struct fb_error *err)
{
	struct s3_store *s3 = (struct s3_store *)store;
	struct old old = { .s3 = s3, .before_ns = before_ns };
	FB_AUTO_FREE struct page *page = fb_alloc(1, sizeof(*page));
	int rc;

	page->take = take_old;
	page->arg = &old;
	rc = list_uploads(s3, s3->prefix, page, err);
	for (size_t i = 0; i < old.count; i++) {
		if (rc == FB_OK)
			rc = s3_upload_abort(
			    s3, old.keys[i], old.uploads[i], err);
		*ret_count += rc == FB_OK;
		free(old.keys[i]);
		free(old.uploads[i]);
	}
	free(old.keys);
	free(old.uploads);
	return rc;
}

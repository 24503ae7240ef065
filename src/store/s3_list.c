/*
 * Listing a bucket, page by page.
 */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "s3.h"
#include "s3_xml.h"

#define LIST_MAX   "1000"
#define LIST_BYTES ((size_t)16 << 20)
#define TOKEN_MAX  4096

/* One page of a listing. */
struct listed {
	char *key; /* NULL: no object of ours */
	uint64_t size;
};

struct page {
	const char *prefix; /* of the store */
	struct listed *items;
	size_t count;
	struct listed next; /* being read */
	bool more, good;
	char token[TOKEN_MAX];
};

static void
release_page(struct page *page)
{
	for (size_t i = 0; i < page->count; i++)
		free(page->items[i].key);
	free(page->items);
	free(page->next.key);
}

char *
s3_decoded(const char *text)
{
	FB_AUTO_BUF struct fb_buf out = { 0 };

	for (; *text != '\0'; text++) {
		char hex[3] = { 0 };
		char *end;
		uint8_t byte;

		if (*text != '%') {
			fb_buf_add(&out, text, 1);
			continue;
		}
		memcpy(hex, text + 1, strnlen(text + 1, 2));
		byte = (uint8_t)strtoul(hex, &end, 16);
		if (end != hex + 2 || byte == 0)
			return NULL;
		fb_buf_add(&out, &byte, 1);
		text += 2;
	}
	return fb_strdup(fb_buf_str(&out));
}

static int
take_key(struct page *page, const char *text, struct fb_error *err)
{
	FB_AUTO_FREE char *key = s3_decoded(text);
	size_t len = strlen(page->prefix);

	if (key == NULL || strncmp(key, page->prefix, len) != 0)
		return fb_fail(
		    err, FB_EPROTO, "the server lists '%.80s'", text);
	free(page->next.key);
	page->next.key =
	    fb_store_key_ok(key + len) ? fb_strdup(key + len) : NULL;
	return FB_OK;
}

static int
take_listed(void *arg, const char *root, const char *path, const char *text,
    struct fb_error *err)
{
	struct page *page = arg;

	if (strcmp(root, "ListBucketResult") != 0)
		return FB_OK;
	page->good = true;
	if (strcmp(path, "Contents/Key") == 0)
		return take_key(page, text, err);
	if (strcmp(path, "Contents/Size") == 0)
		return fb_text_u64(
		    (struct fb_span){ (const uint8_t *)text, strlen(text) },
		    INT64_MAX, &page->next.size, err);
	if (strcmp(path, "Contents") == 0 && page->next.key != NULL) {
		page->items = fb_realloc(
		    page->items, page->count + 1, sizeof(*page->items));
		page->items[page->count++] = page->next;
		page->next = (struct listed){ NULL, 0 };
	} else if (strcmp(path, "IsTruncated") == 0) {
		page->more = strcmp(text, "true") == 0;
	} else if (strcmp(path, "NextContinuationToken") == 0) {
		if (strlen(text) >= sizeof(page->token))
			return fb_fail(
			    err, FB_EPROTO, "the listing's token is too long");
		memcpy(page->token, text, strlen(text) + 1);
	}
	return FB_OK;
}

static int
read_page(struct fb_span xml, const char *prefix, struct page *page,
    struct fb_error *err)
{
	int rc;

	page->prefix = prefix;
	rc = s3_xml_read(xml, take_listed, page, err);
	if (rc == FB_OK &&
	    (!page->good || (page->more && page->token[0] == '\0')))
		rc = fb_fail(err, FB_EPROTO, "the answer is no listing");
	return rc;
}

int
s3_list_page(struct fb_span xml, const char *prefix, fb_store_visit *visit,
    void *arg, struct fb_error *err)
{
	FB_CLEANUP(release_page) struct page page = { 0 };
	int rc = read_page(xml, prefix, &page, err);

	for (size_t i = 0; rc == FB_OK && i < page.count; i++)
		rc = visit(page.items[i].key, page.items[i].size, arg, err);
	return rc;
}

static int
fetch_page(struct s3_store *s3, const char *prefix, const char *token,
    struct page *page, struct fb_error *err)
{
	AUTO_ANSWER struct s3_answer answer = { 0 };
	FB_AUTO_FREE char *whole = fb_format("%s%s", s3->prefix, prefix);
	const struct s3_pair query[] = { { "list-type", "2" },
		{ "encoding-type", "url" }, { "max-keys", LIST_MAX },
		{ "prefix", whole }, { "continuation-token", token } };
	const struct s3_ask ask = { .method = "GET",
		.query = query,
		.query_count = FB_COUNT(query) - (token[0] == '\0'),
		.body_max = LIST_BYTES };
	int rc = s3_ask(s3, &ask, &answer, err);

	if (rc < 0)
		return rc;
	if (answer.http.status != 200)
		return s3_fail(s3, &answer, err);
	return read_page(
	    fb_buf_span(&answer.http.body), s3->prefix, page, err);
}

int
s3_list_keys(struct fb_store *store, const char *prefix, fb_store_visit *visit,
    void *arg, struct fb_error *err)
{
	char token[TOKEN_MAX] = "";
	bool more = true;

	while (more) {
		FB_CLEANUP(release_page) struct page page = { 0 };
		int rc = fetch_page(
		    (struct s3_store *)store, prefix, token, &page, err);

		for (size_t i = 0; rc == FB_OK && i < page.count; i++)
			rc = visit(
			    page.items[i].key, page.items[i].size, arg, err);
		if (rc < 0)
			return rc;
		more = page.more;
		if (more && strcmp(page.token, token) == 0)
			return fb_fail(
			    err, FB_EPROTO, "the listing does not go on");
		memcpy(token, page.token, sizeof(token));
	}
	return FB_OK;
}

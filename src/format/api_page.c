/* Envelopes, lists in pages, and pieces of URLs. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/format/api.h"

#define SIZE_DEFAULT 100
#define CURSOR_MAX   4096

void
fb_api_add_encoded(struct fb_buf *dst, const char *text)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	                            "abcdefghijklmnopqrstuvwxyz0123456789-._~";

	for (const char *c = text; *c != '\0'; c++)
		if (strchr(plain, *c) != NULL)
			fb_buf_add(dst, c, 1);
		else
			fb_buf_add_fmt(dst, "%%%02X", (unsigned char)*c);
}

json_t *
fb_api_object(const json_t *body, const char *const *keys)
{
	for (size_t i = 0; keys[i] != NULL; i++) {
		json_t *value = json_object_get(body, keys[i]);

		if (json_is_object(value))
			return value;
	}
	return json_is_object(body) ? (json_t *)(uintptr_t)body : NULL;
}

json_t *
fb_api_array(const json_t *body, const char *const *keys)
{
	for (size_t i = 0; keys[i] != NULL; i++) {
		json_t *value = json_object_get(body, keys[i]);

		if (json_is_array(value))
			return value;
	}
	return json_is_array(body) ? (json_t *)(uintptr_t)body : NULL;
}

static uint64_t
page_size(const struct fb_page *page)
{
	return page->size > 0 ? page->size : SIZE_DEFAULT;
}

void
fb_page_query(const struct fb_page *page, struct fb_buf *dst)
{
	uint64_t size = page_size(page), next = page->pages + 1;

	switch (page->style) {
	case FB_PAGE_NONE:
		return;
	case FB_PAGE_NUMBER:
		fb_buf_add_fmt(
		    dst, "page=%" PRIu64 "&per_page=%" PRIu64, next, size);
		return;
	case FB_PAGE_SIZE:
		fb_buf_add_fmt(
		    dst, "page=%" PRIu64 "&page_size=%" PRIu64, next, size);
		return;
	case FB_PAGE_OFFSET:
		fb_buf_add_fmt(dst, "limit=%" PRIu64 "&offset=%" PRIu64, size,
		    page->items);
		return;
	case FB_PAGE_MAX:
		fb_buf_add_fmt(dst, "max=%" PRIu64 "&offset=%" PRIu64, size,
		    page->items);
		return;
	case FB_PAGE_CURSOR:
		fb_buf_add_fmt(dst, "limit=%" PRIu64, size);
		if (page->cursor.len > 0) {
			fb_buf_add_str(dst, "&cursor=");
			fb_api_add_encoded(dst, fb_buf_str(&page->cursor));
		}
		return;
	}
}

static int
broken(struct fb_error *err, const char *what)
{
	return fb_fail_id(
	    err, FB_EPROTO, "E-API-LIST", "the list is none: %s", what);
}

static void
take_total(struct fb_page *page, const json_t *body)
{
	static const char *const places[] = { "meta", "page", "pagination" };
	const json_t *total = json_object_get(body, "total");

	for (size_t i = 0; i < FB_COUNT(places) && total == NULL; i++)
		total = json_object_get(
		    json_object_get(body, places[i]), "total");
	page->has_total =
	    json_is_integer(total) && json_integer_value(total) >= 0;
	if (page->has_total)
		page->total = (uint64_t)json_integer_value(total);
}

/* Where the next page begins; "" behind the last one. */
static int
take_cursor(struct fb_page *page, const json_t *body, struct fb_error *err)
{
	const json_t *next = json_object_get(body, "next_cursor");
	const char *text;

	if (next == NULL)
		next = json_object_get(
		    json_object_get(body, "meta"), "next_cursor");
	if (next == NULL)
		next = json_object_get(
		    json_object_get(body, "page"), "next_cursor");
	text = json_string_value(next);
	if (text == NULL)
		text = "";
	if (strlen(text) > CURSOR_MAX)
		return broken(err, "a cursor is too long");
	if (text[0] != '\0' && strcmp(text, fb_buf_str(&page->cursor)) == 0)
		return broken(err, "its next page is the same one again");
	fb_buf_clear(&page->cursor);
	fb_buf_add_str(&page->cursor, text);
	return FB_OK;
}

/* An id may be a number. */
static int
item_id(const struct fb_page *page, const json_t *item, char *text,
    size_t size, struct fb_error *err)
{
	const json_t *id = json_object_get(item, page->id);

	if (json_is_integer(id))
		(void)snprintf(text, size, "%lld",
		    (long long)json_integer_value(id));
	else if (json_is_string(id) && json_string_length(id) > 0 &&
	    json_string_length(id) < size)
		(void)snprintf(text, size, "%s", json_string_value(id));
	else
		return broken(err, "an item has no id");
	return FB_OK;
}

static int
take_items(struct fb_page *page, const json_t *list, fb_page_visit *visit,
    void *arg, struct fb_error *err)
{
	const json_t *item;
	size_t index;

	if (page->seen == NULL)
		page->seen = json_object();
	json_array_foreach(list, index, item) {
		char id[512];
		int rc = item_id(page, item, id, sizeof(id), err);

		if (rc < 0)
			return rc;
		if (json_object_get(page->seen, id) != NULL)
			continue;
		(void)json_object_set_new(page->seen, id, json_true());
		rc = visit(arg, item, err);
		if (rc < 0)
			return rc;
	}
	return FB_OK;
}

/* A page that is not full is the last one, unless a count says otherwise; one
 * that brings nothing new while there should be more will never end. */
static int
judge_end(struct fb_page *page, size_t got, size_t fresh, bool *ret_more,
    struct fb_error *err)
{
	uint64_t unique = json_object_size(page->seen);
	bool more = got > 0 && got >= page_size(page);

	if (page->style == FB_PAGE_NONE)
		more = false;
	else if (page->style == FB_PAGE_CURSOR)
		more = page->cursor.len > 0;
	else if (page->has_total)
		more = got > 0 && page->items < page->total;
	if (more && fresh == 0)
		return broken(err, "a page brings nothing new, and is not "
				   "the last one");
	if (more && page->pages >= FB_PAGES_MAX)
		return broken(err, "it has too many pages");
	if (!more && page->has_total && unique != page->total) {
		char what[96];

		(void)snprintf(what, sizeof(what),
		    "%" PRIu64 " came, and there are %" PRIu64, unique,
		    page->total);
		return broken(err, what);
	}
	*ret_more = more;
	return FB_OK;
}

int
fb_page_take(struct fb_page *page, const json_t *body, fb_page_visit *visit,
    void *arg, bool *ret_more, struct fb_error *err)
{
	const json_t *list = fb_api_array(body, page->keys);
	size_t before = json_object_size(page->seen);
	int rc;

	if (list == NULL)
		return broken(err, "the answer holds no array");
	rc = take_items(page, list, visit, arg, err);
	if (rc < 0)
		return rc;
	page->pages++;
	page->items += json_array_size(list);
	take_total(page, body);
	if (page->style == FB_PAGE_CURSOR)
		rc = take_cursor(page, body, err);
	if (rc == FB_OK)
		rc = judge_end(page, json_array_size(list),
		    json_object_size(page->seen) - before, ret_more, err);
	return rc;
}

void
fb_page_release(struct fb_page *page)
{
	fb_buf_release(&page->cursor);
	json_decref(page->seen);
	page->seen = NULL;
}

/* Digits at *at, which moves behind them. */
static bool
take_number(const char **at, uint64_t *ret)
{
	uint64_t value = 0;
	const char *c = *at;

	for (; *c >= '0' && *c <= '9'; c++)
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(
		        value, (uint64_t)(*c - '0'), &value))
			return false;
	if (c == *at)
		return false;
	*at = c;
	*ret = value;
	return true;
}

bool
fb_content_range_parse(const char *text, uint64_t *ret_first,
    uint64_t *ret_last, uint64_t *ret_total)
{
	const char *at = text;
	bool ranged;

	*ret_first = *ret_last = *ret_total = UINT64_MAX;
	if (strncmp(at, "bytes ", 6) != 0)
		return false;
	at += 6;
	ranged = *at != '*';
	if (!ranged)
		at++;
	else if (!take_number(&at, ret_first) || *at++ != '-' ||
	    !take_number(&at, ret_last) || *ret_last < *ret_first)
		return false;
	if (*at++ != '/')
		return false;
	if (*at == '*')
		return ranged && at[1] == '\0';
	return take_number(&at, ret_total) && *at == '\0' &&
	    (!ranged || *ret_last < *ret_total);
}

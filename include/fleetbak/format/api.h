/*
 * What JSON APIs have in common, and each says in its own way: errors, lists
 * in pages, objects in envelopes.
 *
 * Pure: bytes and values in, facts out; nothing here sends anything.
 */
#ifndef FB_FORMAT_API_H
#define FB_FORMAT_API_H

#include "fleetbak/format/json.h"

/* ------------------------------------------------------------- errors */

/*
 * Why a request was not answered as asked.  The shapes:
 *
 *	{"error":{"code","message","request_id","retryable","retry_after_ms"}}
 *	{"error":TEXT,"code":CODE}    {"error":CODE,"detail":TEXT}
 *	{"error":TEXT}                {"error":CODE,"error_description":TEXT}
 *	{"message":TEXT,"code":CODE}  {"message":TEXT}
 *	{"errors":[TEXT...]}          {"errors":{FIELD:TEXT or [TEXT...]}}
 *	{"success":false,"msg":TEXT,"errors":{...}}
 *	anything else: text that is no JSON, HTML, nothing
 *
 * Texts are of one line, cut, and without what a terminal would act on.
 */
struct fb_api_error {
	char code[64];       /* "" when it gives none */
	char message[256];   /* "" when it says nothing */
	char request_id[80];
	int retryable;       /* what it says of another try: 1, 0; -1: nothing */
	uint64_t retry_after_ms; /* 0: it says nothing */
};

/* Never fails: what is no error of any shape gives an empty one. */
void fb_api_error_parse(struct fb_span body, struct fb_api_error *ret_error);

/* Does the body of an answer with a status of 2xx say that it failed:
 * "success":false, or "errors" that are not empty? */
bool fb_api_is_failure(const json_t *body, struct fb_api_error *ret_error);

/* ----------------------------------------------------------- envelopes */

/* The object under the first of `keys` (ends with NULL) that holds one, or
 * `body` itself; NULL when there is none.  Borrowed. */
json_t *fb_api_object(const json_t *body, const char *const *keys);
/* The array in the same way. */
json_t *fb_api_array(const json_t *body, const char *const *keys);

/* --------------------------------------------------------------- pages */

enum fb_page_style {
	FB_PAGE_NONE,    /* one answer holds all */
	FB_PAGE_NUMBER,  /* ?page=N&per_page=SIZE, meta{total,page,per_page} */
	FB_PAGE_SIZE,    /* ?page=N&page_size=SIZE, page{page,page_size,total} */
	FB_PAGE_OFFSET,  /* ?limit=SIZE&offset=N */
	FB_PAGE_MAX,     /* ?max=SIZE&offset=N, meta{offset,max,size,total} */
	FB_PAGE_CURSOR,  /* ?limit=SIZE&cursor=TEXT, next_cursor */
};

/* Most pages of one list. */
#define FB_PAGES_MAX 10000

/* Where a list stands; all-zero but for what the caller sets. */
struct fb_page {
	enum fb_page_style style;
	uint64_t size;            /* items of a page; 0: 100 */
	const char *const *keys;  /* of the array; see fb_api_array() */
	const char *id;           /* the key that makes an item unique */

	uint64_t pages, items;    /* taken so far */
	bool has_total;
	uint64_t total;           /* as the newest page says */
	struct fb_buf cursor;
	json_t *seen;             /* ids */
};

/* Append the query of the next page, without "?"; nothing for NONE. */
void fb_page_query(const struct fb_page *page, struct fb_buf *dst);

typedef int fb_page_visit(
    void *arg, const json_t *item, struct fb_error *err);

/*
 * Take the page that was asked for: each item that none before it was is
 * visited.  *ret_more: there is another page.
 * Errors: FB_EPROTO, id E-API-LIST: no list, an item without an id, or one
 *         that never ends or ends before its own count; the visitor's.
 */
FB_MUST_USE int fb_page_take(struct fb_page *page, const json_t *body,
    fb_page_visit *visit, void *arg, bool *ret_more, struct fb_error *err);
void fb_page_release(struct fb_page *page);
#define FB_AUTO_PAGE FB_CLEANUP(fb_page_release)

/* A segment of a path, or a value of a query, percent-encoded. */
void fb_api_add_encoded(struct fb_buf *dst, const char *text);

/* "bytes 0-99/1234", "bytes 0-99/" "*" or "bytes " "*" "/1234"; what it does
 * not say is UINT64_MAX.  False: it is no such header. */
bool fb_content_range_parse(const char *text, uint64_t *ret_first,
    uint64_t *ret_last, uint64_t *ret_total);

#endif

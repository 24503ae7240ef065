/* What MIOSA is asked: objects, effects, lists of any style, and waiting. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/crypto/digest.h"

#include "miosa_internal.h"

#define NS_PER_MS INT64_C(1000000)

/* Items of a page: more than a deployment gives at once. */
#define PAGE_SIZE 100

#define PAUSE_MIN_MS 100
#define PAUSE_MAX_MS 5000

/* One "starting" or "not ready" that passes by itself. */
#define CONFLICT_MS 60000

static const char *const object_keys[] = { "data", "computer", "checkpoint",
	"snapshot", NULL };
static const char *const list_keys[] = { "data", "computers", "checkpoints",
	"snapshots", "items", NULL };

bool
fb_miosa_id_ok(const char *id)
{
	return fb_name_ok(id, strlen(id));
}

char *
fb_miosa_path(const char *kind, const char *id, const char *rest)
{
	FB_AUTO_BUF struct fb_buf path = { 0 };

	fb_buf_add_fmt(&path, "/%s/", kind);
	fb_api_add_encoded(&path, id);
	fb_buf_add_str(&path, rest);
	return (char *)fb_buf_steal(&path);
}

char *
fb_miosa_key(const char *what, const char *id, const char *token)
{
	FB_AUTO_FREE char *words = fb_format("%s %s %s", what, id, token);
	char hex[FB_DIGEST_HEX_SIZE];
	struct fb_digest digest;

	fb_digest_of(
	    (struct fb_span){ (const uint8_t *)words, strlen(words) },
	    &digest);
	/* Of the form that its clients send: version 4. */
	digest.bytes[6] = (uint8_t)(0x40 | (digest.bytes[6] & 0x0f));
	digest.bytes[8] = (uint8_t)(0x80 | (digest.bytes[8] & 0x3f));
	fb_digest_hex(&digest, hex);
	return fb_format("%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12,
	    hex + 16, hex + 20);
}

int
fb_miosa_get(struct fb_miosa *miosa, const char *path, json_t **ret_object,
    struct fb_error *err)
{
	FB_AUTO_API_ANSWER struct fb_api_answer answer = { 0 };
	struct fb_api_call call = { .method = "GET", .path = path,
		.what = "get", .safe = true,
		.answer_max = (size_t)16 << 20 };
	json_t *object;
	int rc = fb_api_send(miosa->api, &call, &answer, err);

	if (rc < 0)
		return rc;
	object = fb_api_object(answer.json, object_keys);
	if (object == NULL)
		return fb_fail(err, FB_EPROTO,
		    "MIOSA answers GET %.*s with no object",
		    (int)strcspn(path, "?"), path);
	*ret_object = json_incref(object);
	return FB_OK;
}

/* A conflict that passes: what is starting, or not ready yet. */
static bool
passes(const struct fb_api_answer *answer)
{
	static const char *const codes[] = { "COMPUTER_STARTING",
		"SANDBOX_STARTING", "SANDBOX_NOT_COMMAND_READY",
		"SNAPSHOT_NOT_READY" };

	if (answer->status != 409)
		return false;
	for (size_t i = 0; i < FB_COUNT(codes); i++)
		if (strcmp(answer->error.code, codes[i]) == 0)
			return true;
	return answer->error.retryable == 1;
}

int
fb_miosa_do(struct fb_miosa *miosa, const char *method, const char *path,
    const json_t *body, const char *key, const atomic_bool *cancel,
    struct fb_api_answer *ret_answer, struct fb_error *err)
{
	FB_AUTO_API_ANSWER struct fb_api_answer own = { 0 };
	struct fb_api_answer *answer = ret_answer ? ret_answer : &own;
	struct fb_api_call call = { .method = method, .path = path,
		.what = method, .body = body, .idempotency_key = key,
		.cancel = cancel };
	struct fb_miosa_wait wait =
	    fb_miosa_wait_until(CONFLICT_MS, 0, cancel);

	for (;;) {
		struct fb_error why = { 0 };
		int rc = fb_api_send(miosa->api, &call, answer, err);

		if (rc != FB_ECONFLICT || !passes(answer) ||
		    fb_miosa_pause(&wait, path, &why) < 0)
			return rc;
		*err = (struct fb_error){ 0 };
		fb_api_answer_release(answer);
		*answer = (struct fb_api_answer){ 0 };
	}
}

/* ---------------------------------------------------------------- lists */

/*
 * Nobody says which style a deployment has, and what it does not know it
 * leaves alone: each page is asked for in all of them at once, which mean the
 * same page.  The first answer tells where the end is said.
 */
static char *
page_path(const char *path, const struct fb_page *page)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };

	fb_buf_add_fmt(&text,
	    "%s%cpage=%" PRIu64 "&per_page=%d&page_size=%d&limit=%d"
	    "&offset=%" PRIu64, path, strchr(path, '?') != NULL ? '&' : '?',
	    page->pages + 1, PAGE_SIZE, PAGE_SIZE, PAGE_SIZE, page->items);
	if (page->cursor.len > 0) {
		fb_buf_add_str(&text, "&cursor=");
		fb_api_add_encoded(&text, fb_buf_str(&page->cursor));
	}
	return (char *)fb_buf_steal(&text);
}

static enum fb_page_style
style_of(const json_t *body)
{
	static const char *const places[] = { "meta", "page", "pagination" };

	if (json_is_string(json_object_get(body, "next_cursor")))
		return FB_PAGE_CURSOR;
	for (size_t i = 0; i < FB_COUNT(places); i++) {
		const json_t *place = json_object_get(body, places[i]);

		if (json_is_string(json_object_get(place, "next_cursor")))
			return FB_PAGE_CURSOR;
		if (json_is_integer(json_object_get(place, "total")))
			return FB_PAGE_NUMBER;
	}
	return json_is_integer(json_object_get(body, "total"))
	    ? FB_PAGE_NUMBER
	    : FB_PAGE_NONE;
}

static int
take_page(struct fb_miosa *miosa, const char *path, struct fb_page *page,
    fb_page_visit *visit, void *arg, bool *ret_more, struct fb_error *err)
{
	FB_AUTO_API_ANSWER struct fb_api_answer answer = { 0 };
	FB_AUTO_FREE char *whole = page_path(path, page);
	struct fb_api_call call = { .method = "GET", .path = whole,
		.what = "list", .safe = true,
		.answer_max = (size_t)16 << 20 };
	size_t before = json_object_size(page->seen);
	int rc = fb_api_send(miosa->api, &call, &answer, err);

	if (rc < 0)
		return rc;
	if (page->pages == 0)
		page->style = style_of(answer.json);
	rc = fb_page_take(page, answer.json, visit, arg, ret_more, err);
	/* Where no end is said it is behind the last page that brings more. */
	if (rc == FB_OK && page->style == FB_PAGE_NONE)
		*ret_more = json_object_size(page->seen) > before;
	if (rc == FB_OK && *ret_more && page->pages >= FB_PAGES_MAX)
		rc = fb_fail_id(err, FB_EPROTO, "E-API-LIST",
		    "the list is none: it has too many pages");
	return rc;
}

int
fb_miosa_list(struct fb_miosa *miosa, const char *path, fb_page_visit *visit,
    void *arg, struct fb_error *err)
{
	FB_AUTO_PAGE struct fb_page page = { .size = 1, .keys = list_keys,
		.id = "id" };
	bool more = true;
	int rc = FB_OK;

	while (rc == FB_OK && more)
		rc = take_page(miosa, path, &page, visit, arg, &more, err);
	return rc;
}

/* -------------------------------------------------------------- waiting */

struct fb_miosa_wait
fb_miosa_wait_until(
    uint64_t own_ms, uint64_t verb_ms, const atomic_bool *cancel)
{
	uint64_t ms = own_ms;

	if (verb_ms > 0 && verb_ms < ms)
		ms = verb_ms;
	return (struct fb_miosa_wait){ .deadline_ns =
		                           fb_clock_mono_ns() +
		    (int64_t)ms * NS_PER_MS,
		.cancel = cancel, .next_ms = PAUSE_MIN_MS };
}

int
fb_miosa_pause(
    struct fb_miosa_wait *wait, const char *what, struct fb_error *err)
{
	int64_t now = fb_clock_mono_ns();
	int64_t until = now + (int64_t)wait->next_ms * NS_PER_MS;

	if (now >= wait->deadline_ns)
		return fb_fail(err, FB_ETIMEOUT, "%s: the time is over", what);
	if (until > wait->deadline_ns)
		until = wait->deadline_ns;
	wait->next_ms += wait->next_ms / 2;
	if (wait->next_ms > PAUSE_MAX_MS)
		wait->next_ms = PAUSE_MAX_MS;
	while (fb_clock_mono_ns() < until) {
		if (wait->cancel != NULL && atomic_load(wait->cancel))
			return fb_fail(err, FB_ECANCELED, "canceled");
		fb_clock_wait(until);
	}
	return FB_OK;
}

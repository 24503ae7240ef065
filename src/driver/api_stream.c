/* Large bodies that go on where they broke off, and streams of events. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"

#include "api_internal.h"

/* Tries that bring nothing, in a row. */
#define TRIES_MAX 4

/* One try of a fetch. */
struct fetching {
	struct fb_api *api;
	struct fb_api_fetch *fetch;
	struct fb_http_response *response;
	bool judged; /* the headers were looked at */
};

static int
changed(const struct fb_api_fetch *fetch, const char *how, struct fb_error *err)
{
	return fb_fail_id(err, FB_ECONFLICT, "E-API-CHANGED",
	    "'%.*s' cannot be gone on with at byte %" PRIu64 ": %s",
	    (int)strcspn(fetch->path, "?"), fetch->path,
	    fetch->from + fetch->got, how);
}

/* A validator that two answers have in common; a weak ETag says nothing of
 * bytes. */
static const char *
validator_of(const struct fb_http_response *response)
{
	const char *etag = fb_http_header(response, "etag");

	if (etag != NULL && etag[0] == '"' &&
	    strlen(etag) < sizeof(((struct fb_api_fetch *)NULL)->validator))
		return etag;
	return fb_http_header(response, "last-modified");
}

static int
judge_validator(struct fetching *f, struct fb_error *err)
{
	struct fb_api_fetch *fetch = f->fetch;
	const char *now = validator_of(f->response);

	if (now == NULL || strlen(now) >= sizeof(fetch->validator))
		now = "";
	if (fetch->validator[0] == '\0')
		(void)snprintf(fetch->validator, sizeof(fetch->validator),
		    "%s", now);
	else if (strcmp(now, fetch->validator) != 0)
		return changed(fetch, "it has another date or tag", err);
	return FB_OK;
}

static int
judge_total(struct fb_api_fetch *fetch, uint64_t total, struct fb_error *err)
{
	if (total == UINT64_MAX)
		return FB_OK;
	if (fetch->total == UINT64_MAX)
		fetch->total = total;
	return total == fetch->total
	    ? FB_OK
	    : changed(fetch, "it has another size", err);
}

/* Are these the bytes that were asked for? */
static int
judge(struct fetching *f, struct fb_error *err)
{
	struct fb_api_fetch *fetch = f->fetch;
	const char *text = fb_http_header(f->response, "content-range");
	const char *length = fb_http_header(f->response, "content-length");
	uint64_t at = fetch->from + fetch->got, first, last, total;
	int rc;

	if (f->response->status == 206) {
		if (text == NULL ||
		    !fb_content_range_parse(text, &first, &last, &total) ||
		    first != at || last >= fetch->end)
			return changed(
			    fetch, "another range came than was asked for",
			    err);
		rc = judge_total(fetch, total, err);
	} else {
		if (at > 0 || fetch->end != UINT64_MAX)
			return changed(fetch,
			    "all of it came in place of a range", err);
		total = UINT64_MAX;
		if (length != NULL)
			total = strtoull(length, NULL, 10);
		rc = judge_total(fetch, total, err);
	}
	return rc < 0 ? rc : judge_validator(f, err);
}

static int
take_piece(void *arg, struct fb_span piece, struct fb_error *err)
{
	struct fetching *f = arg;
	struct fb_api_fetch *fetch = f->fetch;
	int rc = f->judged ? FB_OK : judge(f, err);

	f->judged = true;
	if (rc == FB_OK && piece.len > fetch->end - fetch->from - fetch->got)
		rc = changed(fetch, "more came than was asked for", err);
	if (rc == FB_OK)
		rc = fetch->sink(fetch->arg, piece, err);
	if (rc == FB_OK)
		fetch->got += piece.len;
	return rc;
}

static bool
is_whole(const struct fb_api_fetch *fetch)
{
	uint64_t at = fetch->from + fetch->got;

	return at == fetch->end ||
	    (fetch->total != UINT64_MAX && at == fetch->total);
}

static bool
is_framed(const struct fb_http_response *response)
{
	const char *coding = fb_http_header(response, "transfer-encoding");

	return fb_http_header(response, "content-length") != NULL ||
	    (coding != NULL && strcasecmp(coding, "chunked") == 0);
}

static int
judge_end(struct fetching *f, struct fb_error *err)
{
	struct fb_api_fetch *fetch = f->fetch;
	struct fb_api_error why;
	int rc = FB_OK;

	if (f->response->status == 416 && is_whole(fetch))
		return FB_OK;
	if (f->response->status == 416)
		return changed(fetch, "it is shorter", err);
	if (f->response->status < 200 || f->response->status > 299) {
		fb_api_error_parse(fb_buf_span(&f->response->body), &why);
		return fb_api_fail(f->api, "GET", fetch->path,
		    f->response->status, &why, true, err);
	}
	if (!f->judged)
		rc = judge(f, err);
	if (rc == FB_OK && !is_whole(fetch) &&
	    (fetch->total != UINT64_MAX || fetch->end != UINT64_MAX))
		rc = fb_fail(err, FB_EUNKNOWN,
		    "%s: '%.*s' ends at byte %" PRIu64, f->api->name,
		    (int)strcspn(fetch->path, "?"), fetch->path,
		    fetch->from + fetch->got);
	return rc;
}

static int
try_fetch(struct fb_api *api, struct fb_api_fetch *fetch,
    uint64_t *ret_retry_ms, struct fb_error *err)
{
	FB_AUTO_HTTP_RESPONSE struct fb_http_response response = { 0 };
	FB_AUTO_FREE char *range = NULL;
	FB_AUTO_FREE char *only = NULL;
	struct fetching f = { api, fetch, &response, false };
	struct fb_api_try try = { .method = "GET",
		.path = fetch->path,
		.what = fetch->what != NULL ? fetch->what : "bytes",
		.accept = "*/*",
		.timeout_ms = fetch->step_ms,
		.cancel = fetch->cancel,
		.sink = take_piece,
		.arg = &f };
	uint64_t at = fetch->from + fetch->got;
	size_t count = 0;
	int rc;

	if (fetch->end != UINT64_MAX)
		range = fb_format("Range: bytes=%" PRIu64 "-%" PRIu64, at,
		    fetch->end - 1);
	else if (at > 0)
		range = fb_format("Range: bytes=%" PRIu64 "-", at);
	if (range != NULL)
		try.lines[count++] = range;
	if (range != NULL && fetch->validator[0] != '\0') {
		only = fb_format("If-Range: %s", fetch->validator);
		try.lines[count++] = only;
	}
	*ret_retry_ms = 0;
	fetch->status = 0;
	rc = fb_api_try(api, &try, &response, err);
	if (rc < 0)
		return rc;
	fetch->status = response.status;
	fetch->framed = is_framed(&response);
	if (response.retry_after_s < UINT32_MAX)
		*ret_retry_ms = response.retry_after_s * 1000;
	return judge_end(&f, err);
}

int
fb_api_get_bytes(
    struct fb_api *api, struct fb_api_fetch *fetch, struct fb_error *err)
{
	unsigned tries = 0;

	fetch->got = 0;
	if (fetch->from >= fetch->end)
		return FB_OK;
	for (;;) {
		uint64_t before = fetch->got, retry_ms;
		int rc = try_fetch(api, fetch, &retry_ms, err);

		if (rc != FB_EUNREACH && rc != FB_EUNKNOWN &&
		    rc != FB_ETIMEOUT && rc != FB_ERETRY)
			return rc;
		if (is_whole(fetch)) /* only its end was lost */
			return FB_OK;
		if (fetch->whole)
			return rc;
		tries = fetch->got > before ? 1 : tries + 1;
		if (tries >= TRIES_MAX ||
		    !fb_api_pause(
		        api, tries, retry_ms, INT64_MAX, fetch->cancel))
			return rc;
		*err = (struct fb_error){ 0 };
	}
}

/* --------------------------------------------------------------- events */

struct watching {
	struct fb_sse sse;
	fb_sse_visit *visit;
	void *arg;
	bool closed;
};

static int
visit_event(void *arg, const struct fb_sse_event *event, struct fb_error *err)
{
	struct watching *w = arg;
	int rc = w->visit(w->arg, event, err);

	if (rc != FB_PENDING)
		return rc;
	w->closed = true;
	return fb_fail(err, FB_ECANCELED, "it has seen enough");
}

static int
take_events(void *arg, struct fb_span piece, struct fb_error *err)
{
	struct watching *w = arg;

	return fb_sse_feed(&w->sse, piece, err);
}

static int
watch_once(struct fb_api *api, const char *path, const char *accept,
    uint64_t idle_ms, const atomic_bool *cancel, struct watching *w,
    struct fb_http_response *response, struct fb_error *err)
{
	struct fb_api_try try = { .method = "GET",
		.path = path,
		.what = "events",
		.accept = accept,
		.lines = { "Cache-Control: no-cache" },
		.once = true,
		.timeout_ms = api->call_ms,
		.idle_ms = idle_ms,
		.cancel = cancel,
		.sink = take_events,
		.arg = w };
	struct fb_api_error why;
	int rc = fb_api_try(api, &try, response, err);

	if (rc < 0)
		return rc;
	if (response->status < 200 || response->status > 299) {
		fb_api_error_parse(fb_buf_span(&response->body), &why);
		return fb_api_fail(
		    api, "GET", path, response->status, &why, false, err);
	}
	return fb_sse_end(&w->sse, true, err);
}

int
fb_api_events(struct fb_api *api, const char *path, uint64_t idle_ms,
    const atomic_bool *cancel, fb_sse_visit *visit, void *arg,
    enum fb_api_end *ret_end, struct fb_error *err)
{
	FB_AUTO_HTTP_RESPONSE struct fb_http_response response = { 0 };
	struct watching w = { .visit = visit, .arg = arg };
	int rc;

	w.sse = (struct fb_sse){ .visit = visit_event, .arg = &w };
	rc = watch_once(api, path, "text/event-stream", idle_ms, cancel, &w,
	    &response, err);
	/* Servers that decide by it alone want JSON named. */
	if (rc < 0 && response.status == 406) {
		*err = (struct fb_error){ 0 };
		rc = watch_once(api, path,
		    "text/event-stream, application/json, */*", idle_ms,
		    cancel, &w, &response, err);
	}
	fb_sse_release(&w.sse);
	if (rc < 0 && w.closed)
		*err = (struct fb_error){ 0 };
	*ret_end = w.closed ? FB_API_CLOSED : FB_API_ENDED;
	return w.closed ? FB_OK : rc;
}

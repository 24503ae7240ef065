/* Calls: tries, what lies between them, and what an answer means. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/digest.h"

#include "api_internal.h"

#define NS_PER_MS INT64_C(1000000)

#define TRIES_MAX    4
#define PAUSE_MAX_MS 30000
#define ANSWER_MAX   ((size_t)1 << 20)

void
fb_api_answer_release(struct fb_api_answer *answer)
{
	json_decref(answer->json);
	answer->json = NULL;
}

static enum fb_code
code_of(int status, bool safe)
{
	switch (status) {
	case 401:
	case 403:
		return FB_EDENIED;
	case 402:
	case 413:
	case 507:
		return FB_ENOSPACE;
	case 404:
	case 410:
		return FB_ENOTFOUND;
	case 405:
	case 501:
		return FB_EUNSUP;
	case 409:
	case 412:
	case 423:
		return FB_ECONFLICT;
	case 429:
	case 503:
		return FB_ERETRY;
	default:
		break;
	}
	if (status >= 300 && status <= 399)
		return FB_EPROTO;
	if (status >= 500)
		return safe ? FB_EUNREACH : FB_EUNKNOWN;
	return FB_EFAILED;
}

int
fb_api_fail(const struct fb_api *api, const char *method, const char *path,
    int status, const struct fb_api_error *error, bool safe,
    struct fb_error *err)
{
	const char *text = error->message[0] != '\0' ? error->message
	    : error->code[0] != '\0'                 ? error->code
	                                             : "it does not say why";

	return fb_fail_id(err, code_of(status, safe), "E-API-STATUS",
	    "%s answers %s %.*s with %d: %s%s%s%s", api->name, method,
	    (int)strcspn(path, "?"), path, status, text,
	    error->request_id[0] != '\0' ? " (request " : "",
	    error->request_id, error->request_id[0] != '\0' ? ")" : "");
}

static bool
is_canceled(const atomic_bool *cancel)
{
	return cancel != NULL && atomic_load(cancel);
}

bool
fb_api_pause(struct fb_api *api, unsigned tries, uint64_t asked_ms,
    int64_t deadline_ns, const atomic_bool *cancel)
{
	uint64_t ms = api->pause_ms;
	uint32_t chance;
	int64_t until;

	for (unsigned i = 1; i < tries && ms < PAUSE_MAX_MS; i++)
		ms *= 2;
	if (ms > PAUSE_MAX_MS)
		ms = PAUSE_MAX_MS;
	fb_random(&chance, sizeof(chance));
	ms = ms / 2 + chance % (ms / 2 + 1);
	if (asked_ms > 0)
		ms = asked_ms;
	if (ms > api->wait_max_ms)
		return false;
	until = fb_clock_mono_ns() + (int64_t)ms * NS_PER_MS;
	if (until > deadline_ns)
		return false;
	while (!is_canceled(cancel) && fb_clock_mono_ns() < until)
		fb_clock_wait(until);
	return !is_canceled(cancel);
}

/* One call under way. */
struct calling {
	struct fb_api *api;
	const struct fb_api_call *call;
	struct fb_api_answer *answer;
	struct fb_buf body;
	char *key; /* the header */
	int64_t deadline_ns;
	uint64_t step_ms;
	bool safe; /* or it carries a key */
};

static int
take_answer(struct calling *c, const struct fb_http_response *response,
    struct fb_error *err)
{
	const struct fb_api_call *call = c->call;
	struct fb_span body = fb_buf_span(&response->body);
	struct fb_api_answer *answer = c->answer;
	size_t max = call->answer_max > 0 ? call->answer_max : ANSWER_MAX;
	int rc;

	answer->status = response->status;
	answer->error = (struct fb_api_error){ .retryable = -1 };
	answer->retry_after_ms = response->retry_after_s > UINT32_MAX
	    ? UINT64_C(1000) * UINT32_MAX
	    : response->retry_after_s * 1000;
	if (response->status < 200 || response->status > 299) {
		fb_api_error_parse(body, &answer->error);
		if (answer->retry_after_ms == 0)
			answer->retry_after_ms = answer->error.retry_after_ms;
		return fb_api_fail(c->api, call->method, call->path,
		    response->status, &answer->error, c->safe, err);
	}
	if (body.len == 0)
		return FB_OK;
	rc = fb_json_parse(body, max, "answer", &answer->json, err);
	if (rc < 0) {
		struct fb_error why = *err;

		return fb_fail(err, FB_EPROTO,
		    "%s answers %s %.*s with what is no JSON: %.200s",
		    c->api->name, call->method, (int)strcspn(call->path, "?"),
		    call->path, why.msg);
	}
	if (fb_api_is_failure(answer->json, &answer->error))
		return fb_api_fail(c->api, call->method, call->path,
		    response->status, &answer->error, c->safe, err);
	return FB_OK;
}

/* Would another try do no harm, and may it help? */
static bool
may_try_again(const struct calling *c, int rc)
{
	const struct fb_api_answer *answer = c->answer;

	if (rc == FB_OK || rc == FB_ECANCELED || rc == FB_EPROTO ||
	    answer->error.retryable == 0)
		return false;
	if (answer->status == 0)
		return rc == FB_EUNREACH ||
		    (c->safe && (rc == FB_EUNKNOWN || rc == FB_ETIMEOUT));
	if (answer->status == 429)
		return true;
	if (answer->status == 503 && answer->retry_after_ms > 0)
		return true;
	/* That it may be tried again is not that nothing was done. */
	return c->safe &&
	    (answer->error.retryable == 1 || answer->status == 500 ||
	        answer->status == 502 ||
	        answer->status == 503 || answer->status == 504);
}

static int
try_call(struct calling *c, struct fb_error *err)
{
	const struct fb_api_call *call = c->call;
	FB_AUTO_HTTP_RESPONSE struct fb_http_response response = { 0 };
	int64_t left_ms = (c->deadline_ns - fb_clock_mono_ns()) / NS_PER_MS;
	struct fb_api_try try = { .method = call->method,
		.path = call->path,
		.what = call->what != NULL ? call->what : "api",
		.body = fb_buf_span(&c->body),
		.accept = "application/json",
		.timeout_ms = c->step_ms,
		.once = !c->safe,
		.patient = call->patient,
		.body_max = call->answer_max,
		.cancel = call->cancel };
	size_t count = 0;
	int rc;

	if (left_ms < 1)
		left_ms = 1;
	if (try.timeout_ms > (uint64_t)left_ms)
		try.timeout_ms = (uint64_t)left_ms;
	if (call->body != NULL)
		try.lines[count++] = "Content-Type: application/json";
	else if (call->form != NULL)
		try.lines[count++] =
		    "Content-Type: application/x-www-form-urlencoded";
	if (c->key != NULL)
		try.lines[count++] = c->key;
	fb_api_answer_release(c->answer);
	*c->answer = (struct fb_api_answer){ .error.retryable = -1,
		.tries = c->answer->tries + 1 };
	rc = fb_api_try(c->api, &try, &response, err);
	return rc < 0 ? rc : take_answer(c, &response, err);
}

int
fb_api_send(struct fb_api *api, const struct fb_api_call *call,
    struct fb_api_answer *ret_answer, struct fb_error *err)
{
	struct calling c = { .api = api,
		.call = call,
		.answer = ret_answer,
		.safe = call->safe || call->idempotency_key != NULL };
	uint64_t call_ms = call->call_ms > 0 ? call->call_ms : api->call_ms;
	int rc;

	c.step_ms = call->step_ms > 0 ? call->step_ms : api->step_ms;
	if (call_ms < c.step_ms && call->call_ms == 0)
		call_ms = c.step_ms;
	c.deadline_ns = fb_clock_mono_ns() + (int64_t)call_ms * NS_PER_MS;
	if (call->body != NULL)
		fb_json_add(&c.body, call->body);
	else if (call->form != NULL)
		fb_buf_add_str(&c.body, call->form);
	if (call->idempotency_key != NULL)
		c.key = fb_format(
		    "Idempotency-Key: %s", call->idempotency_key);
	for (;;) {
		rc = try_call(&c, err);
		if (!may_try_again(&c, rc) ||
		    ret_answer->tries >= TRIES_MAX ||
		    !fb_api_pause(api, ret_answer->tries,
		        ret_answer->retry_after_ms, c.deadline_ns,
		        call->cancel))
			break;
		*err = (struct fb_error){ 0 };
	}
	if (c.body.data != NULL)
		explicit_bzero(c.body.data, c.body.len);
	fb_buf_release(&c.body);
	free(c.key);
	return rc;
}

int
fb_api_list(struct fb_api *api, const char *path, struct fb_page *page,
    const atomic_bool *cancel, fb_page_visit *visit, void *arg,
    struct fb_error *err)
{
	bool more = true;
	int rc = FB_OK;

	while (rc == FB_OK && more) {
		FB_AUTO_API_ANSWER struct fb_api_answer answer = { 0 };
		FB_AUTO_BUF struct fb_buf query = { 0 };
		FB_AUTO_FREE char *whole = NULL;
		struct fb_api_call call = { .method = "GET",
			.what = "list",
			.safe = true,
			.answer_max = (size_t)16 << 20,
			.cancel = cancel };

		fb_page_query(page, &query);
		whole = fb_format("%s%s%s", path,
		    query.len > 0 && strchr(path, '?') == NULL ? "?" : "",
		    fb_buf_str(&query));
		call.path = whole;
		rc = fb_api_send(api, &call, &answer, err);
		if (rc == FB_OK)
			rc = fb_page_take(
			    page, answer.json, visit, arg, &more, err);
	}
	return rc;
}

/*
 * The JSON gateway of etcd 3.4 and later: POST /v3/..., keys and values in
 * base64, 64-bit numbers as texts, and what is zero left out.
 */
#include "etcd.h"

#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/http.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "fleetbak/crypto/base64.h"
#include "fleetbak/crypto/digest.h"
#include "fleetbak/format/json.h"

#define NS_PER_MS INT64_C(1000000)

#define TIMEOUT_MS 5000
#define CONNECT_MS 3000
#define HURRY_MS   5000
#define ANSWER_MAX ((size_t)1 << 20)

#define PAUSE_FIRST_NS (50 * NS_PER_MS)
#define PAUSE_MAX_NS   (2000 * NS_PER_MS)

static const char what[] = "answer of etcd";

struct etcd {
	struct fb_http *http;
	char *url;
	uint64_t retry_ms;
	const atomic_bool *hurry;
};

struct etcd *
etcd_new(const struct etcd_options *options)
{
	const struct fb_http_options http = {
		.ca = options->ca,
		.cert = options->cert,
		.key = options->key,
		.connect_ms = CONNECT_MS,
		.stall_ms = TIMEOUT_MS,
		.hurry = options->hurry,
	};
	struct etcd *etcd = fb_alloc(1, sizeof(*etcd));

	etcd->url = fb_strdup(options->url);
	etcd->http = fb_http_new(&http);
	etcd->retry_ms = options->retry_ms;
	etcd->hurry = options->hurry;
	return etcd;
}

void
etcd_free(struct etcd *etcd)
{
	if (etcd == NULL)
		return;
	fb_http_free(etcd->http);
	free(etcd->url);
	free(etcd);
}

const char *
etcd_url(const struct etcd *etcd)
{
	return etcd->url;
}

void
etcd_value_release(struct etcd_value *value)
{
	fb_buf_release(&value->bytes);
	*value = (struct etcd_value){ 0 };
}

void
etcd_outcome_release(struct etcd_outcome *outcome)
{
	for (size_t i = 0; i < ETCD_LOOKS_MAX; i++)
		etcd_value_release(&outcome->looks[i]);
}

/*
 * Asking.
 */

struct call {
	const char *path; /* "kv/txn" */
	const json_t *body;
	enum fb_step step;
	uint64_t budget_ms;
	unsigned tries; /* so many at most; 0: as the budget says */
};

/* etcd's own words, or the status; never what we sent. */
static int
fail_answer(const struct etcd *etcd, const struct fb_http_response *response,
    struct fb_error *err)
{
	FB_AUTO_JSON json_t *body = NULL;
	const char *text = NULL;
	struct fb_error ignored;
	enum fb_code code = FB_EPROTO;

	if (fb_json_parse(fb_buf_span(&response->body), ANSWER_MAX, what, &body,
	        &ignored) == FB_OK)
		text = json_string_value(json_object_get(body, "error"));
	if (response->status == 401 || response->status == 403)
		code = FB_EDENIED;
	if (text != NULL && strstr(text, "space exceeded") != NULL)
		code = FB_ENOSPACE;
	(void)fb_fail_id(err, code, "E-LEASE-ANSWER",
	    "the lease service at '%s' answers %d%s%.200s", etcd->url,
	    response->status, text != NULL ? ": " : "",
	    text != NULL ? text : "");
	return fb_hint(err, "see to etcd; nothing was written");
}

static bool
may_pass(
    int rc, const struct fb_error *err, const struct fb_http_response *response)
{
	if (rc == FB_OK)
		return response->status == 429 || response->status == 502 ||
		    response->status == 503 || response->status == 504;
	if (rc == FB_EUNREACH)
		return strcmp(err->id, "E-TLS") != 0;
	return rc == FB_EUNKNOWN || rc == FB_ETIMEOUT;
}

/* "database space exceeded" has the status of "too many requests". */
static bool
is_full(const struct fb_http_response *response)
{
	return response->body.len > 0 &&
	    strstr(fb_buf_str(&response->body), "space exceeded") != NULL;
}

static int
fail_away(const struct etcd *etcd, struct fb_error *err)
{
	err->code = FB_EUNREACH;
	err->id = "E-LEASE-AWAY";
	(void)fb_wrap(
	    err, "the lease service at '%s' does not answer", etcd->url);
	err->hint[0] = '\0';
	return fb_hint(err, "see to etcd, then run it again");
}

/* Half of it at least, the rest at random; false: the budget ends before. */
static bool
wait_again(const struct etcd *etcd, const struct call *call, unsigned tries,
    int64_t begin)
{
	int64_t pause = PAUSE_FIRST_NS, until;
	uint16_t dice;

	if (call->tries > 0 && tries >= call->tries)
		return false;
	for (unsigned i = 1; i < tries && pause < PAUSE_MAX_NS; i++)
		pause *= 2;
	fb_random(&dice, sizeof(dice));
	until = fb_clock_mono_ns() + pause / 2 + pause / 2 * dice / UINT16_MAX;
	for (;;) {
		int64_t budget = (int64_t)call->budget_ms * NS_PER_MS;
		int64_t now = fb_clock_mono_ns();

		if (etcd->hurry != NULL && atomic_load(etcd->hurry) &&
		    budget > HURRY_MS * NS_PER_MS)
			budget = HURRY_MS * NS_PER_MS;
		if (until > begin + budget)
			return false;
		if (now >= until)
			return true;
		fb_clock_wait(until);
	}
}

/* What is wrong with an answer is the server's fault, not stored bytes'. */
static int
bad_answer(const struct etcd *etcd, struct fb_error *err)
{
	err->code = FB_EPROTO;
	err->id = "E-LEASE-ANSWER";
	return fb_wrap(err, "the lease service at '%s'", etcd->url);
}

/* FB_OK: there is an answer of 200, or of 404, which is what a lease has that
 * is no more: then *ret_body is NULL. */
static int
ask(struct etcd *etcd, const struct call *call, json_t **ret_body,
    bool *ret_doubt, struct fb_error *err)
{
	static const char *const headers[] = { "content-type: application/json",
		NULL };
	FB_AUTO_HTTP_RESPONSE struct fb_http_response response = { 0 };
	FB_AUTO_FREE char *url = fb_format("%s/v3/%s", etcd->url, call->path);
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_http_request request = { .method = "POST",
		.url = url,
		.headers = headers,
		.step = call->step,
		.what = call->path,
		.timeout_ms = TIMEOUT_MS,
		.body_max = ANSWER_MAX };
	int64_t begin = fb_clock_mono_ns();

	fb_json_add(&text, call->body);
	request.body = fb_buf_span(&text);
	*ret_doubt = false;
	for (unsigned tries = 1;; tries++) {
		int rc = fb_http_send(etcd->http, &request, &response, err);

		if (rc == FB_OK && response.status == 200)
			return fb_json_parse(fb_buf_span(&response.body),
			           ANSWER_MAX, what, ret_body, err) < 0
			    ? bad_answer(etcd, err)
			    : FB_OK;
		if (rc == FB_OK && response.status == 404)
			return FB_OK;
		if (!may_pass(rc, err, &response) ||
		    (rc == FB_OK && is_full(&response)))
			return rc < 0 ? fb_wrap(err, "lease service")
			              : fail_answer(etcd, &response, err);
		*ret_doubt |= rc != FB_EUNREACH;
		if (wait_again(etcd, call, tries, begin))
			continue;
		if (rc == FB_OK)
			(void)fail_answer(etcd, &response, err);
		return fail_away(etcd, err);
	}
}

/* A 64-bit number, which is a text; one that is left out is 0. */
static int
take_number(
    const json_t *object, const char *key, uint64_t *ret, struct fb_error *err)
{
	const json_t *value = json_object_get(object, key);
	const char *text = json_string_value(value);

	*ret = 0;
	if (value == NULL)
		return FB_OK;
	if (text == NULL)
		return fb_fail(
		    err, FB_EPROTO, "%s: '%s' is no number", what, key);
	return fb_text_u64(
	    (struct fb_span){ (const uint8_t *)text, strlen(text) }, INT64_MAX,
	    ret, err);
}

/*
 * Leases.
 */

int
etcd_grant(struct etcd *etcd, uint64_t ttl_s, char id[ETCD_ID_SIZE],
    struct fb_error *err)
{
	FB_AUTO_FREE char *ttl = fb_format("%llu", (unsigned long long)ttl_s);
	FB_AUTO_JSON json_t *body = json_pack("{s:s}", "TTL", ttl);
	FB_AUTO_JSON json_t *answer = NULL;
	const struct call call = { .path = "lease/grant",
		.body = body,
		.step = FB_STEP_STORE,
		.budget_ms = etcd->retry_ms };
	const char *text;
	uint64_t number = 0;
	bool doubt;
	int rc = ask(etcd, &call, &answer, &doubt, err);

	if (rc < 0)
		return rc;
	rc = take_number(answer, "ID", &number, err);
	if (rc == FB_OK && number == 0)
		rc = fb_fail(err, FB_EPROTO, "%s: no lease is granted", what);
	if (rc < 0)
		return bad_answer(etcd, err);
	text = json_string_value(json_object_get(answer, "ID"));
	memcpy(id, text, strlen(text) + 1);
	return FB_OK;
}

int
etcd_keep(struct etcd *etcd, const char *id, uint64_t budget_ms,
    bool *ret_alive, struct fb_error *err)
{
	FB_AUTO_JSON json_t *body = json_pack("{s:s}", "ID", id);
	FB_AUTO_JSON json_t *answer = NULL;
	const struct call call = { .path = "lease/keepalive",
		.body = body,
		.step = FB_STEP_ASK,
		.budget_ms = budget_ms };
	uint64_t ttl = 0;
	bool doubt;
	int rc = ask(etcd, &call, &answer, &doubt, err);

	*ret_alive = false;
	if (rc < 0 || answer == NULL)
		return rc;
	rc = take_number(json_object_get(answer, "result"), "TTL", &ttl, err);
	*ret_alive = ttl > 0;
	return rc < 0 ? bad_answer(etcd, err) : FB_OK;
}

void
etcd_revoke(struct etcd *etcd, const char *id)
{
	FB_AUTO_JSON json_t *body = json_pack("{s:s}", "ID", id);
	FB_AUTO_JSON json_t *answer = NULL;
	const struct call call = { .path = "lease/revoke",
		.body = body,
		.step = FB_STEP_STORE,
		.tries = 1 };
	struct fb_error ignored;
	bool doubt;

	/* It ends by itself as well. */
	if (ask(etcd, &call, &answer, &doubt, &ignored) < 0)
		return;
}

/*
 * Keys and values.
 */

static json_t *
encoded(struct fb_span bytes)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };

	fb_base64_add(&text, bytes);
	return json_string(fb_buf_str(&text));
}

static json_t *
encoded_key(const char *key)
{
	return encoded((struct fb_span){ (const uint8_t *)key, strlen(key) });
}

/* Of the answer to a range of one key. */
static int
take_range(
    const json_t *range, struct etcd_value *ret_value, struct fb_error *err)
{
	const json_t *kvs = json_object_get(range, "kvs");
	const json_t *kv = json_array_get(kvs, 0);
	const char *text;
	int rc;

	etcd_value_release(ret_value);
	if (!json_is_object(range) || (kvs != NULL && !json_is_array(kvs)) ||
	    json_array_size(kvs) > 1)
		return fb_fail(err, FB_EPROTO, "%s: no value", what);
	if (json_array_size(kvs) == 0)
		return FB_OK;
	if ((rc = take_number(
	         kv, "create_revision", &ret_value->created, err)) < 0 ||
	    (rc = take_number(kv, "mod_revision", &ret_value->modified, err)) <
	        0)
		return rc;
	if (ret_value->created == 0 || ret_value->modified == 0)
		return fb_fail(
		    err, FB_EPROTO, "%s: a value without revisions", what);
	text = json_string_value(json_object_get(kv, "value"));
	return fb_base64_decode(
	    text != NULL ? text : "", &ret_value->bytes, err);
}

int
etcd_get(struct etcd *etcd, const char *key, struct etcd_value *ret_value,
    struct fb_error *err)
{
	FB_AUTO_JSON json_t *body = json_pack("{s:o}", "key", encoded_key(key));
	FB_AUTO_JSON json_t *answer = NULL;
	const struct call call = { .path = "kv/range",
		.body = body,
		.step = FB_STEP_ASK,
		.budget_ms = etcd->retry_ms };
	bool doubt;
	int rc = ask(etcd, &call, &answer, &doubt, err);

	if (rc < 0)
		return rc;
	return take_range(answer, ret_value, err) < 0 ? bad_answer(etcd, err)
	                                              : FB_OK;
}

static json_t *
condition_json(const struct etcd_if *one)
{
	bool created = one->field == ETCD_CREATED;
	FB_AUTO_FREE char *revision =
	    fb_format("%llu", (unsigned long long)one->revision);

	return json_pack("{s:o, s:s, s:s, s:s}", "key", encoded_key(one->key),
	    "result", "EQUAL", "target", created ? "CREATE" : "MOD",
	    created ? "create_revision" : "mod_revision", revision);
}

static json_t *
write_json(const struct etcd_write *one)
{
	json_t *body;

	if (one->remove)
		return json_pack("{s:{s:o}}", "request_delete_range", "key",
		    encoded_key(one->key));
	body = json_pack("{s:o, s:o}", "key", encoded_key(one->key), "value",
	    encoded(one->value));
	if (one->lease != NULL)
		(void)json_object_set_new(
		    body, "lease", json_string(one->lease));
	return json_pack("{s:o}", "request_put", body);
}

static json_t *
txn_json(const struct etcd_txn *txn)
{
	json_t *compare = json_array(), *success = json_array();
	json_t *failure = json_array();

	for (size_t i = 0; i < txn->if_count; i++)
		(void)json_array_append_new(
		    compare, condition_json(&txn->ifs[i]));
	for (size_t i = 0; i < txn->write_count; i++)
		(void)json_array_append_new(
		    success, write_json(&txn->writes[i]));
	for (size_t i = 0; i < txn->look_count; i++)
		(void)json_array_append_new(failure,
		    json_pack("{s:{s:o}}", "request_range", "key",
		        encoded_key(txn->looks[i])));
	return json_pack("{s:o, s:o, s:o}", "compare", compare, "failure",
	    failure, "success", success);
}

static int
take_outcome(const json_t *answer, const struct etcd_txn *txn,
    struct etcd_outcome *outcome, struct fb_error *err)
{
	const json_t *responses = json_object_get(answer, "responses");
	int rc = take_number(json_object_get(answer, "header"), "revision",
	    &outcome->revision, err);

	outcome->done = json_is_true(json_object_get(answer, "succeeded"));
	if (rc == FB_OK && outcome->revision == 0)
		rc = fb_fail(err, FB_EPROTO, "%s: no revision", what);
	if (rc == FB_OK && !outcome->done &&
	    json_array_size(responses) != txn->look_count)
		rc = fb_fail(err, FB_EPROTO, "%s: something is missing", what);
	for (size_t i = 0; rc == FB_OK && !outcome->done && i < txn->look_count;
	     i++)
		rc = take_range(json_object_get(json_array_get(responses, i),
		                    "response_range"),
		    &outcome->looks[i], err);
	return rc;
}

int
etcd_txn(struct etcd *etcd, const struct etcd_txn *txn,
    struct etcd_outcome *ret_outcome, struct fb_error *err)
{
	FB_AUTO_JSON json_t *body = txn_json(txn);
	FB_AUTO_JSON json_t *answer = NULL;
	const struct call call = { .path = "kv/txn",
		.body = body,
		.step = FB_STEP_STORE,
		.budget_ms = etcd->retry_ms };
	int rc;

	etcd_outcome_release(ret_outcome);
	*ret_outcome = (struct etcd_outcome){ .done = false };
	rc = ask(etcd, &call, &answer, &ret_outcome->doubt, err);
	if (rc < 0)
		return rc;
	if (answer == NULL) /* it was to be written under a lease that ended */
		return fb_fail_id(
		    err, FB_ENOTFOUND, "E-LEASE-ANSWER", "the lease has ended");
	return take_outcome(answer, txn, ret_outcome, err) < 0
	    ? bad_answer(etcd, err)
	    : FB_OK;
}

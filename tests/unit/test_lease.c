/*
 * A lease service and a bucket that answer as written down: in which order
 * what is decided where, what a lost answer means, and what is no answer.
 */
#include "http_script.h"

#include <stdio.h>

#include "../../src/store/etcd.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/base64.h"
#include "fleetbak/store/store.h"

static struct fb_error err;

#define CLOSE "Connection: close\r\n"

#define JSON(status, text)                \
	"HTTP/1.1 " status " X\r\n" CLOSE \
	"content-type: application/json\r\n\r\n" text

#define OK                                                             \
	"HTTP/1.1 200 OK\r\n" CLOSE "ETag: \"e1\"\r\nContent-Length: " \
	                            "0\r\n\r\n"
#define GONE "HTTP/1.1 404 Not Found\r\n" CLOSE "Content-Length: 0\r\n\r\n"
#define THEIRS                      \
	"HTTP/1.1 200 OK\r\n" CLOSE \
	"x-amz-meta-fleetbak-put: 00\r\nContent-Length: 5\r\n\r\n"

#define GRANT                                                 \
	JSON("200",                                           \
	    "{\"header\":{\"revision\":\"1\"},\"ID\":\"77\"," \
	    "\"TTL\":\"30\"}")
#define DONE(revision)                              \
	JSON("200",                                 \
	    "{\"header\":{\"revision\":\"" revision \
	    "\"},\"succeeded\":true,\"responses\":[]}")
#define HEADER  "{\"header\":{\"revision\":\"9\"},"
#define NOTHING "{\"response_range\":{}}"
/* {"bytes":"c28=","nonce":"<32 a>","size":2,"writer":"<32 b>"} */
#define INTENT                                                     \
	"eyJieXRlcyI6ImMyOD0iLCJub25jZSI6ImFhYWFhYWFhYWFhYWFhYWFh" \
	"YWFhYWFhYWFhYWFhYWFhIiwic2l6ZSI6Miwid3JpdGVyIjoiYmJiYmJi" \
	"YmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmIifQ=="
#define VALUE(revision, text)                                               \
	"{\"response_range\":{\"kvs\":[{\"key\":\"a\","                     \
	"\"create_revision\":\"" revision "\",\"mod_revision\":\"" revision \
	"\",\"value\":\"" text "\"}],\"count\":\"1\"}}"

static struct fb_store *
open_at(const struct script *script)
{
	FB_AUTO_FREE char *url = fb_format("http://127.0.0.1:%u", script->port);
	const struct fb_store_options options = { .endpoint = url,
		.credentials = "env",
		.proxy = "",
		.retry_ms = 3000,
		.etcd = url,
		.lease_ttl_ms = 600000 };
	struct fb_store *store;

	(void)setenv("AWS_ACCESS_KEY_ID", "AKID", 1);
	(void)setenv("AWS_SECRET_ACCESS_KEY", "hunter2hunter2", 1);
	(void)unsetenv("AWS_SESSION_TOKEN");
	(void)unsetenv("http_proxy");
	assert_ok(
	    fb_store_open("s3://bucket/pre", false, &options, &store, &err));
	fb_store_set_lease(store, "space");
	return store;
}

#define WITH_SCRIPT(...)                                      \
	static const char *const answers[] = { __VA_ARGS__ }; \
	struct script script;                                 \
	struct fb_store *store;                               \
	(void)state;                                          \
	script_start(&script, answers, FB_COUNT(answers));    \
	store = open_at(&script)

#define END_SCRIPT()           \
	fb_store_close(store); \
	script_end(&script)

/* Is that request the n-th, and does it say so? */
static void
asked(const struct script *script, size_t n, const char *begin,
    const char *within)
{
	if (strncmp(script->asked[n], begin, strlen(begin)) != 0 ||
	    (within != NULL && strstr(script->asked[n], within) == NULL))
		fail_msg("request %zu: %s", n, script->asked[n]);
}

static void
a_create_is_decided_before_it_is_put(void **state)
{
	FB_AUTO_BUF struct fb_buf key = { 0 };
	WITH_SCRIPT(GRANT, DONE("2"), DONE("3"), GONE, OK, DONE("4"), OK);

	assert_ok(fb_store_create(store, "a/b", SPAN("bytes"), &err));
	END_SCRIPT();
	fb_base64_add(&key, SPAN("fleetbak/space/intent/a/b"));
	asked(&script, 0, "POST /v3/lease/grant ", "{\"TTL\":\"600\"}");
	asked(&script, 1, "POST /v3/kv/txn ", "\"lease\":\"77\"");
	asked(&script, 2, "POST /v3/kv/txn ", fb_buf_str(&key));
	/* Only the writer that came at revision 2 decides. */
	asked(&script, 2, "POST ", "\"create_revision\":\"2\"");
	asked(&script, 2, "POST ", "\"create_revision\":\"0\"");
	asked(&script, 3, "HEAD /bucket/pre/a/b ", NULL);
	asked(&script, 4, "PUT /bucket/pre/a/b ", "x-amz-meta-fleetbak-put: ");
	asked(&script, 5, "POST /v3/kv/txn ", "\"mod_revision\":\"3\"");
	asked(&script, 5, "POST ", "request_delete_range");
	asked(&script, 6, "POST /v3/lease/revoke ", "{\"ID\":\"77\"}");
	script_release(&script);
}

static void
what_is_there_is_told(void **state)
{
	WITH_SCRIPT(GRANT, DONE("2"), DONE("3"), THEIRS, DONE("4"), OK);

	assert_fails(
	    FB_EEXISTS, fb_store_create(store, "k", SPAN("bytes"), &err));
	END_SCRIPT();
	script_release(&script);
}

static void
the_intent_of_a_dead_writer_is_finished(void **state)
{
	WITH_SCRIPT(GRANT, DONE("2"),
	    JSON("200",
	        HEADER
	        "\"responses\":[" VALUE("7", INTENT) "," VALUE("2", "") "]}"),
	    JSON("200", HEADER "\"count\":\"0\"}"), /* no such writer */
	    GONE, OK, DONE("9"), DONE("10"), THEIRS, DONE("11"), OK);

	assert_fails(
	    FB_EEXISTS, fb_store_create(store, "k", SPAN("mine"), &err));
	END_SCRIPT();
	asked(&script, 5, "PUT /bucket/pre/k ",
	    "x-amz-meta-fleetbak-put: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
	assert_string_equal(
	    script.asked[5] + strlen(script.asked[5]) - 2, "so");
	asked(&script, 6, "POST ", "\"mod_revision\":\"7\"");
	script_release(&script);
}

static void
who_was_asleep_comes_anew(void **state)
{
	WITH_SCRIPT(GRANT, DONE("2"),
	    JSON("200", HEADER "\"responses\":[" NOTHING "," NOTHING "]}"),
	    GRANT, DONE("12"), DONE("13"), GONE, OK, DONE("14"), OK);

	assert_ok(fb_store_create(store, "k", SPAN("bytes"), &err));
	END_SCRIPT();
	asked(&script, 5, "POST ", "\"create_revision\":\"12\"");
	script_release(&script);
}

static void
a_replace_is_decided_by_the_service(void **state)
{
	FB_AUTO_BUF struct fb_buf got = { 0 };
	char tag[FB_STORE_TAG_SIZE];
	WITH_SCRIPT(
	    JSON("200",
	        HEADER "\"kvs\":[{\"create_revision\":\"5\","
	               "\"mod_revision\":\"8\",\"value\":\"" INTENT "\"}]}"),
	    GRANT, DONE("10"), DONE("11"),
	    JSON("200",
	        HEADER "\"kvs\":[{\"create_revision\":\"5\","
	               "\"mod_revision\":\"11\",\"value\":\"" INTENT "\"}]}"),
	    OK,
	    JSON("200",
	        HEADER "\"kvs\":[{\"create_revision\":\"5\","
	               "\"mod_revision\":\"11\",\"value\":\"" INTENT "\"}]}"),
	    JSON("200",
	        HEADER
	        "\"responses\":[" VALUE("11", INTENT) "," VALUE("10", "") "]}"),
	    OK);

	assert_ok(fb_store_get(store, "gc/current", 100, &got, tag, &err));
	assert_string_equal(fb_buf_str(&got), "so");
	assert_ok(
	    fb_store_replace(store, "gc/current", SPAN("bytes"), tag, &err));
	assert_fails(FB_ECONFLICT,
	    fb_store_replace(store, "gc/current", SPAN("bytes"), tag, &err));
	END_SCRIPT();
	asked(&script, 3, "POST ", "\"mod_revision\":\"8\"");
	asked(&script, 5, "PUT /bucket/pre/gc/current ", NULL);
	script_release(&script);
}

static void
the_digest_of_the_bytes_needs_no_decision(void **state)
{
	WITH_SCRIPT(GONE, OK);

	assert_ok(fb_store_create(store,
	    "p/277089d91c0bdf4f2e6862ba7e4a07605119431f5d13f726dd352b06f1b206"
	    "a9.pack",
	    SPAN("bytes"), &err));
	END_SCRIPT();
	script_release(&script);
}

static struct etcd *
client(const struct script *script, uint64_t retry_ms)
{
	FB_AUTO_FREE char *url = fb_format("http://127.0.0.1:%u", script->port);
	const struct etcd_options options = { .url = url,
		.retry_ms = retry_ms };

	return etcd_new(&options);
}

#define WITH_ETCD(...)                                        \
	static const char *const answers[] = { __VA_ARGS__ }; \
	struct script script;                                 \
	struct etcd *etcd;                                    \
	(void)state;                                          \
	script_start(&script, answers, FB_COUNT(answers));    \
	etcd = client(&script, 2000)

#define END_ETCD()           \
	etcd_free(etcd);     \
	script_end(&script); \
	script_release(&script)

static void
a_lost_answer_leaves_a_doubt(void **state)
{
	AUTO_ETCD_OUTCOME struct etcd_outcome outcome = { .done = false };
	const struct etcd_txn txn = { .if_count = 0 };
	WITH_ETCD("", JSON("503", "{\"error\":\"no leader\"}"), DONE("5"));

	assert_ok(etcd_txn(etcd, &txn, &outcome, &err));
	assert_true(outcome.done && outcome.doubt);
	assert_int_equal(outcome.revision, 5);
	END_ETCD();
}

static void
what_etcd_refuses_is_said(void **state)
{
	char id[ETCD_ID_SIZE];
	WITH_ETCD(JSON("429",
	              "{\"error\":\"etcdserver: mvcc: database space "
	              "exceeded\",\"code\":8}"),
	    JSON("401", "{\"error\":\"etcdserver: invalid auth token\"}"),
	    JSON("400", "no json"));

	assert_fails(FB_ENOSPACE, etcd_grant(etcd, 5, id, &err));
	assert_string_equal(err.id, "E-LEASE-ANSWER");
	assert_non_null(strstr(err.msg, "space exceeded"));
	assert_fails(FB_EDENIED, etcd_grant(etcd, 5, id, &err));
	assert_fails(FB_EPROTO, etcd_grant(etcd, 5, id, &err));
	END_ETCD();
}

static void
what_makes_no_sense_is_no_answer(void **state)
{
	AUTO_ETCD_VALUE struct etcd_value value = { .created = 0 };
	char id[ETCD_ID_SIZE];
	bool alive;
	WITH_ETCD(JSON("200", "{\"ID\":77}"), JSON("200", "{}"),
	    JSON("200", "{\"ID\":\"99999999999999999999\"}"),
	    JSON("200", "{\"ID\":\"7\"} {}"), JSON("200", "[]"),
	    JSON("200", "{\"kvs\":{}}"), JSON("200", "{\"kvs\":[{},{}]}"),
	    JSON("200", "{\"kvs\":[{\"create_revision\":\"1\"}]}"),
	    JSON("200",
	        "{\"kvs\":[{\"create_revision\":\"1\","
	        "\"mod_revision\":\"1\",\"value\":\"a\"}]}"),
	    JSON("200", "{\"result\":{\"TTL\":\"-1\"}}"),
	    JSON("200", "{\"result\":{\"ID\":\"7\"}}"));

	for (int i = 0; i < 4; i++)
		assert_fails(FB_EPROTO, etcd_grant(etcd, 5, id, &err));
	for (int i = 0; i < 5; i++)
		assert_fails(FB_EPROTO, etcd_get(etcd, "k", &value, &err));
	assert_fails(FB_EPROTO, etcd_keep(etcd, "7", 1000, &alive, &err));
	assert_ok(etcd_keep(etcd, "7", 1000, &alive, &err));
	assert_false(alive);
	END_ETCD();
}

static void
nobody_there_is_said_within_the_budget(void **state)
{
	char id[ETCD_ID_SIZE];
	WITH_ETCD("");

	script_stop(&script);
	assert_fails(FB_EUNREACH, etcd_grant(etcd, 5, id, &err));
	assert_string_equal(err.id, "E-LEASE-AWAY");
	etcd_free(etcd);
}

static void
without_a_service_nothing_is_written(void **state)
{
	const struct fb_store_options options = { .proxy = "" };
	struct fb_store *store;

	(void)state;
	assert_ok(
	    fb_store_open("s3://bucket/pre", false, &options, &store, &err));
	assert_false(fb_store_has_lease(store));
	assert_ok(fb_store_ready(store, &err));
	fb_store_set_lease(store, "space");
	assert_fails(FB_ECONFIG, fb_store_create(store, "k", SPAN(""), &err));
	assert_string_equal(err.id, "E-LEASE-NONE");
	assert_fails(
	    FB_ECONFIG, fb_store_replace(store, "k", SPAN(""), "", &err));
	assert_fails(FB_ECONFIG, fb_store_remove(store, "k", &err));
	assert_fails(FB_ECONFIG, fb_store_ready(store, &err));
	fb_store_close(store);
}

static void
base64_is_read_as_it_is_written(void **state)
{
	static const struct {
		struct fb_span bytes;
		const char *text;
	} pairs[] = {
		{ { NULL, 0 }, "" },
		{ { (const uint8_t *)"f", 1 }, "Zg==" },
		{ { (const uint8_t *)"fo", 2 }, "Zm8=" },
		{ { (const uint8_t *)"foo", 3 }, "Zm9v" },
		{ { (const uint8_t *)"foobar", 6 }, "Zm9vYmFy" },
		{ { (const uint8_t *)"\0\0", 2 }, "AAA=" },
	};
	static const char *const others[] = { "Zg=", "Zg", "Zh==", "Zg==\n",
		" Zg=", "=", "====", "Z===", "Zm9v-", "Zm8=Zm8=" };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(pairs); i++) {
		FB_AUTO_BUF struct fb_buf text = { 0 };
		FB_AUTO_BUF struct fb_buf bytes = { 0 };

		fb_base64_add(&text, pairs[i].bytes);
		assert_string_equal(fb_buf_str(&text), pairs[i].text);
		fb_buf_add_str(&bytes, "x");
		assert_ok(fb_base64_decode(pairs[i].text, &bytes, &err));
		assert_int_equal(bytes.len, 1 + pairs[i].bytes.len);
		if (pairs[i].bytes.len > 0)
			assert_memory_equal(bytes.data + 1, pairs[i].bytes.ptr,
			    pairs[i].bytes.len);
	}
	for (size_t i = 0; i < FB_COUNT(others); i++) {
		FB_AUTO_BUF struct fb_buf bytes = { 0 };

		assert_fails(
		    FB_ECORRUPT, fb_base64_decode(others[i], &bytes, &err));
		assert_int_equal(bytes.len, 0);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_create_is_decided_before_it_is_put),
		cmocka_unit_test(what_is_there_is_told),
		cmocka_unit_test(the_intent_of_a_dead_writer_is_finished),
		cmocka_unit_test(who_was_asleep_comes_anew),
		cmocka_unit_test(a_replace_is_decided_by_the_service),
		cmocka_unit_test(the_digest_of_the_bytes_needs_no_decision),
		cmocka_unit_test(a_lost_answer_leaves_a_doubt),
		cmocka_unit_test(what_etcd_refuses_is_said),
		cmocka_unit_test(what_makes_no_sense_is_no_answer),
		cmocka_unit_test(nobody_there_is_said_within_the_budget),
		cmocka_unit_test(without_a_service_nothing_is_written),
		cmocka_unit_test(base64_is_read_as_it_is_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

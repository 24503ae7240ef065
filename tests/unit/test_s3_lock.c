/*
 * Locks and versions of a bucket against a server that answers as written
 * down: what a put says, what a lock is, which versions there are, what goes
 * and what is brought back.
 */
#include "http_script.h"

#include "../../src/store/s3.h"
#include "fleetbak/base/mem.h"

static struct fb_error err;

#define OK   "HTTP/1.1 200 OK\r\nETag: \"e1\"\r\nContent-Length: 0\r\n\r\n"
#define GONE "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
#define NONE "HTTP/1.1 204 No Content\r\n\r\n"
#define BODY(text) "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" text
#define REFUSAL(status, code, message)                                    \
	"HTTP/1.1 " status " X\r\nConnection: close\r\n\r\n"              \
	"<?xml version=\"1.0\"?><Error><Code>" code                       \
	"</Code><Message>" message "</Message></Error>"
#define DATE "Date: Sat, 28 Nov 2026 10:00:00 GMT\r\n"
#define LOCKED(until)                                                   \
	"HTTP/1.1 200 OK\r\n" DATE "x-amz-object-lock-mode: GOVERNANCE\r\n" \
	"x-amz-object-lock-retain-until-date: " until                   \
	"\r\nContent-Length: 7\r\n\r\n"
#define VERSIONING                                                   \
	BODY("<VersioningConfiguration><Status>Enabled</Status>"     \
	     "</VersioningConfiguration>")
#define LIST(text) \
	BODY("<ListVersionsResult>" text "</ListVersionsResult>")
#define VERSION(key, id, latest)                                        \
	"<Version><Key>pre/" key "</Key><VersionId>" id                 \
	"</VersionId><IsLatest>" latest "</IsLatest>"                   \
	"<LastModified>2026-11-28T10:00:00.500Z</LastModified>"         \
	"<Size>7</Size></Version>"
#define MARK(key, id)                                                   \
	"<DeleteMarker><Key>pre/" key "</Key><VersionId>" id            \
	"</VersionId><IsLatest>true</IsLatest></DeleteMarker>"

static struct fb_store *
open_at(const struct script *script, enum fb_lock_mode mode)
{
	FB_AUTO_FREE char *endpoint =
	    fb_format("http://127.0.0.1:%u", script->port);
	const struct fb_store_options options = { .endpoint = endpoint,
		.credentials = "env",
		.proxy = "",
		.lock_mode = mode,
		.lock_ms = 80000,
		.retry_ms = 3000 };
	struct fb_store *store;

	(void)setenv("AWS_ACCESS_KEY_ID", "AKID", 1);
	(void)setenv("AWS_SECRET_ACCESS_KEY", "hunter2hunter2", 1);
	(void)unsetenv("AWS_SESSION_TOKEN");
	assert_ok(
	    fb_store_open("s3://bucket/pre", false, &options, &store, &err));
	return store;
}

#define WITH_SCRIPT(mode, ...)                                \
	static const char *const answers[] = { __VA_ARGS__ }; \
	struct script script;                                 \
	FB_AUTO_STORE struct fb_store *store = NULL;          \
	script_start(&script, answers, FB_COUNT(answers));    \
	store = open_at(&script, mode)

#define ASKED(i, text) assert_non_null(strstr(script.asked[i], text))
#define NOT_ASKED(i, text) assert_null(strstr(script.asked[i], text))

static void
a_put_is_locked_and_has_its_checksum(void **state)
{
	WITH_SCRIPT(FB_LOCK_COMPLIANCE, OK, OK);
	(void)state;

	assert_ok(fb_store_create(store, "a/b", SPAN("bytes"), &err));
	assert_ok(fb_store_replace(store, "c", SPAN("bytes"), "e1", &err));
	script_end(&script);
	for (size_t i = 0; i < 2; i++) {
		ASKED(i, "\r\nx-amz-object-lock-mode: COMPLIANCE\r\n");
		ASKED(i, "\r\nx-amz-object-lock-retain-until-date: 2");
		/* openssl dgst -sha256 -binary | base64 */
		ASKED(i, "\r\nx-amz-checksum-sha256: "
		         "J3CJ2RwL308uaGK6fkoHYFEZQx9dE/cm3TUrBvGyBqk=\r\n");
		ASKED(i, "x-amz-object-lock-mode;");
	}
	script_release(&script);
}

static void
without_a_lock_nothing_is_said_of_one(void **state)
{
	WITH_SCRIPT(FB_LOCK_NONE, OK);
	(void)state;

	assert_ok(fb_store_create(store, "a", SPAN("bytes"), &err));
	script_end(&script);
	NOT_ASKED(0, "x-amz-object-lock");
	NOT_ASKED(0, "x-amz-checksum");
	script_release(&script);
}

/* radosgw does not say that the body may come, and each would take a second. */
static void
a_longer_lock_is_sent_without_asking(void **state)
{
	WITH_SCRIPT(FB_LOCK_GOVERNANCE, OK);
	(void)state;

	assert_ok(fb_store_extend(
	    store, "a", INT64_C(2000000000000000000), &err));
	script_end(&script);
	assert_null(strcasestr(script.asked[0], "\r\nexpect:"));
	script_release(&script);
}

/* As AWS answers where the bucket has a default retention. */
static void
a_server_that_wants_a_checksum_gets_it(void **state)
{
	WITH_SCRIPT(FB_LOCK_NONE,
	    REFUSAL("400", "InvalidRequest",
	        "Content-MD5 OR x-amz-checksum- HTTP header is required for "
	        "Put Object requests with Object Lock parameters"),
	    OK, OK);
	(void)state;

	assert_ok(fb_store_create(store, "a", SPAN("bytes"), &err));
	assert_ok(fb_store_create(store, "b", SPAN("bytes"), &err));
	script_end(&script);
	NOT_ASKED(0, "x-amz-checksum");
	ASKED(1, "\r\nx-amz-checksum-sha256: ");
	ASKED(2, "\r\nx-amz-checksum-sha256: ");
	script_release(&script);
}

static void
a_bucket_without_locks_says_what_to_do(void **state)
{
	WITH_SCRIPT(FB_LOCK_GOVERNANCE,
	    REFUSAL("400", "InvalidRequest", "no lock here"));
	(void)state;

	assert_fails(
	    FB_ECONFIG, fb_store_create(store, "a", SPAN("bytes"), &err));
	assert_string_equal(err.id, "E-S3-LOCK");
	assert_non_null(strstr(err.hint, "init"));
	script_end(&script);
	script_release(&script);
}

/* The server's clock decides, and not ours. */
static void
a_lock_ends_by_the_servers_clock(void **state)
{
	int64_t until_ns;
	uint64_t size;
	WITH_SCRIPT(FB_LOCK_NONE, LOCKED("2026-11-28T10:00:01.000Z"),
	    LOCKED("2026-11-28T10:00:00Z"),
	    "HTTP/1.1 200 OK\r\nx-amz-object-lock-legal-hold: ON\r\n"
	    "Content-Length: 7\r\n\r\n",
	    OK, GONE, LOCKED("tomorrow"));
	(void)state;

	assert_ok(fb_store_locked(store, "a", &size, &until_ns, &err));
	assert_int_equal(size, 7);
	assert_int_equal(until_ns / 1000000000, 1795860001);
	assert_ok(fb_store_locked(store, "a", &size, &until_ns, &err));
	assert_int_equal(until_ns, 0);
	assert_ok(fb_store_locked(store, "a", &size, &until_ns, &err));
	assert_true(until_ns == INT64_MAX);
	assert_ok(fb_store_locked(store, "a", &size, &until_ns, &err));
	assert_int_equal(until_ns, 0);
	assert_fails(FB_ENOTFOUND,
	    fb_store_locked(store, "a", &size, &until_ns, &err));
	assert_fails(
	    FB_EPROTO, fb_store_locked(store, "a", &size, &until_ns, &err));
	script_end(&script);
	script_release(&script);
}

static void
a_lock_is_made_longer(void **state)
{
	WITH_SCRIPT(FB_LOCK_GOVERNANCE, OK);
	(void)state;

	assert_ok(fb_store_extend(
	    store, "a", INT64_C(1795860001) * 1000000000, &err));
	script_end(&script);
	assert_ptr_equal(
	    strstr(script.asked[0], "PUT /bucket/pre/a?retention="),
	    script.asked[0]);
	ASKED(0, "<Mode>GOVERNANCE</Mode><RetainUntilDate>"
	         "2026-11-28T10:00:01Z</RetainUntilDate>");
	ASKED(0, "\r\nx-amz-checksum-sha256: ");
	NOT_ASKED(0, "x-amz-object-lock-mode");
	script_release(&script);
}

static void
times_are_read_strictly(void **state)
{
	static const char *const bad[] = { "", "2026-11-28", "x",
		"2026-11-28T10:00:01", "2026-11-28T10:00:01+01:00",
		"2026-11-28T10:00:01.Z", "2026-11-28T10:00:01Zx",
		"1960-01-01T00:00:00Z" };
	int64_t ns;

	(void)state;
	assert_true(s3_time("2026-11-28T10:00:01.123456789Z", &ns));
	assert_true(ns == INT64_C(1795860001) * 1000000000);
	assert_true(s3_time("2026-11-28T10:00:01+00:00", &ns));
	assert_true(s3_time("9999-01-01T00:00:00Z", &ns));
	assert_true(ns == INT64_MAX);
	for (size_t i = 0; i < FB_COUNT(bad); i++)
		assert_false(s3_time(bad[i], &ns));
}

static int
note_version(
    const struct fb_store_version *version, void *arg, struct fb_error *error)
{
	struct fb_buf *text = arg;

	(void)error;
	fb_buf_add_fmt(text, "%s %s%s%s\n", version->key, version->id,
	    version->removed ? " gone" : "", version->latest ? " now" : "");
	return FB_OK;
}

static void
versions_are_listed_over_pages(void **state)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	WITH_SCRIPT(FB_LOCK_NONE, VERSIONING,
	    LIST(MARK("a", "m") VERSION("a", "v2", "false")
	         VERSION(".probe-1", "p", "true")
	         "<IsTruncated>true</IsTruncated>"
	         "<NextKeyMarker>pre%2Fa</NextKeyMarker>"
	         "<NextVersionIdMarker>v2</NextVersionIdMarker>"),
	    LIST(VERSION("a", "v1", "false") VERSION("b%2Fc", "w", "true")));
	(void)state;

	assert_ok(fb_store_versions(store, "", note_version, &text, &err));
	assert_string_equal(fb_buf_str(&text),
	    "a m gone now\na v2\na v1\nb/c w now\n");
	script_end(&script);
	ASKED(1, "prefix=pre%2F&versions= ");
	ASKED(2, "key-marker=pre%2Fa&");
	ASKED(2, "version-id-marker=v2&");
	script_release(&script);
}

static void
a_list_that_does_not_end_is_refused(void **state)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
#define AGAIN                                                    \
	LIST(VERSION("a", "v", "true") "<IsTruncated>true"       \
	     "</IsTruncated><NextKeyMarker>pre/a</NextKeyMarker>")
	WITH_SCRIPT(FB_LOCK_NONE, VERSIONING, AGAIN, AGAIN);
	(void)state;

	assert_fails(FB_EPROTO,
	    fb_store_versions(store, "", note_version, &text, &err));
	script_end(&script);
	script_release(&script);
}

static void
a_bucket_without_versions_has_none(void **state)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	WITH_SCRIPT(FB_LOCK_NONE, BODY("<VersioningConfiguration/>"));
	(void)state;

	assert_ok(fb_store_versions(store, "", note_version, &text, &err));
	assert_int_equal(text.len, 0);
	script_end(&script);
	script_release(&script);
}

/* Or nothing that is removed would ever be freed. */
static void
what_is_removed_goes_with_its_versions(void **state)
{
	WITH_SCRIPT(FB_LOCK_NONE, VERSIONING,
	    LIST(VERSION("a", "v2", "true") VERSION("a", "v1", "false")
	         VERSION("ab", "w", "true")),
	    NONE, NONE);
	(void)state;

	assert_ok(fb_store_remove(store, "a", &err));
	script_end(&script);
	assert_int_equal(script.asked_count, 4);
	ASKED(2, "DELETE /bucket/pre/a?versionId=v1 ");
	ASKED(3, "DELETE /bucket/pre/a?versionId=v2 ");
	script_release(&script);
}

static void
what_may_not_go_is_hidden(void **state)
{
	WITH_SCRIPT(FB_LOCK_NONE, VERSIONING,
	    LIST(VERSION("a", "v1", "true")),
	    REFUSAL("403", "AccessDenied", "locked"), NONE);
	(void)state;

	assert_ok(fb_store_remove(store, "a", &err));
	script_end(&script);
	ASKED(2, "DELETE /bucket/pre/a?versionId=v1 ");
	ASKED(3, "DELETE /bucket/pre/a HTTP");
	script_release(&script);
}

static void
a_deleted_object_is_back_without_its_mark(void **state)
{
	WITH_SCRIPT(FB_LOCK_NONE, VERSIONING,
	    LIST(MARK("a", "m") VERSION("a", "v1", "false")), NONE);
	(void)state;

	assert_ok(fb_store_bring_back(store, "a", "v1", &err));
	script_end(&script);
	ASKED(2, "DELETE /bucket/pre/a?versionId=m ");
	script_release(&script);
}

static void
an_overwritten_object_is_copied_back(void **state)
{
	WITH_SCRIPT(FB_LOCK_GOVERNANCE, VERSIONING,
	    LIST(VERSION("a", "v2", "true") VERSION("a", "v/1", "false")),
	    BODY("<CopyObjectResult><ETag>x</ETag></CopyObjectResult>"),
	    LIST(VERSION("a", "v2", "true") VERSION("a", "v/1", "false")),
	    BODY("<Error><Code>InternalError</Code></Error>"),
	    LIST(VERSION("a", "v2", "true")));
	(void)state;

	assert_ok(fb_store_bring_back(store, "a", "v/1", &err));
	assert_fails(
	    FB_EFAILED, fb_store_bring_back(store, "a", "v/1", &err));
	assert_fails(
	    FB_ENOTFOUND, fb_store_bring_back(store, "a", "v1", &err));
	script_end(&script);
	ASKED(2, "PUT /bucket/pre/a HTTP");
	ASKED(2, "\r\nx-amz-copy-source: /bucket/pre/a?versionId=v%2F1\r\n");
	ASKED(2, "\r\nx-amz-object-lock-mode: GOVERNANCE\r\n");
	NOT_ASKED(2, "x-amz-checksum");
	script_release(&script);
}

static void
a_version_is_read_as_far_as_it_goes(void **state)
{
	char bytes[4];
	WITH_SCRIPT(FB_LOCK_NONE,
	    "HTTP/1.1 206 P\r\nContent-Length: 4\r\n\r\nabcd",
	    "HTTP/1.1 206 P\r\nContent-Length: 2\r\n\r\nab", GONE);
	(void)state;

	assert_ok(fb_store_read_version(store, "a", "v", 2, bytes, 4, &err));
	assert_memory_equal(bytes, "abcd", 4);
	assert_fails(FB_ECORRUPT,
	    fb_store_read_version(store, "a", "v", 2, bytes, 4, &err));
	assert_fails(FB_ENOTFOUND,
	    fb_store_read_version(store, "a", "v", 2, bytes, 4, &err));
	script_end(&script);
	ASKED(0, "GET /bucket/pre/a?versionId=v ");
	ASKED(0, "\r\nrange: bytes=2-5\r\n");
	script_release(&script);
}

/* Callers need not know what kind of store it is. */
static void
memory_knows_neither_locks_nor_versions(void **state)
{
	FB_AUTO_STORE struct fb_store *store = NULL;
	FB_AUTO_BUF struct fb_buf text = { 0 };
	int64_t until_ns = 1;
	uint64_t size;

	(void)state;
	assert_ok(fb_store_open("mem:", true, NULL, &store, &err));
	assert_ok(fb_store_create(store, "a", SPAN("bytes"), &err));
	assert_false(fb_store_locks(store));
	assert_ok(fb_store_locked(store, "a", &size, &until_ns, &err));
	assert_int_equal(size, 5);
	assert_int_equal(until_ns, 0);
	assert_ok(fb_store_versions(store, "", note_version, &text, &err));
	assert_int_equal(text.len, 0);
	assert_fails(FB_EUNSUP, fb_store_extend(store, "a", 1, &err));
	assert_fails(FB_EUNSUP, fb_store_bring_back(store, "a", "v", &err));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_put_is_locked_and_has_its_checksum),
		cmocka_unit_test(without_a_lock_nothing_is_said_of_one),
		cmocka_unit_test(a_longer_lock_is_sent_without_asking),
		cmocka_unit_test(a_server_that_wants_a_checksum_gets_it),
		cmocka_unit_test(a_bucket_without_locks_says_what_to_do),
		cmocka_unit_test(a_lock_ends_by_the_servers_clock),
		cmocka_unit_test(a_lock_is_made_longer),
		cmocka_unit_test(times_are_read_strictly),
		cmocka_unit_test(versions_are_listed_over_pages),
		cmocka_unit_test(a_list_that_does_not_end_is_refused),
		cmocka_unit_test(a_bucket_without_versions_has_none),
		cmocka_unit_test(what_is_removed_goes_with_its_versions),
		cmocka_unit_test(what_may_not_go_is_hidden),
		cmocka_unit_test(a_deleted_object_is_back_without_its_mark),
		cmocka_unit_test(an_overwritten_object_is_copied_back),
		cmocka_unit_test(a_version_is_read_as_far_as_it_goes),
		cmocka_unit_test(memory_knows_neither_locks_nor_versions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * The store in a bucket against a server that answers as written down: what is
 * tried again, what is looked up, and what S3's errors become.
 */
#include "http_script.h"

#include "fleetbak/base/clock.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/store/store.h"

static struct fb_error err;

#define OK   "HTTP/1.1 200 OK\r\nETag: \"e1\"\r\nContent-Length: 0\r\n\r\n"
#define GONE "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
#define TAKEN \
	"HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n"
#define BUSY "HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n"
#define OURS                                                    \
	"HTTP/1.1 200 OK\r\nx-amz-meta-fleetbak-put: %s\r\n"    \
	"Content-Length: 5\r\n\r\n"
#define THEIRS                                                       \
	"HTTP/1.1 200 OK\r\nx-amz-meta-fleetbak-put: 00\r\n"         \
	"Content-Length: 5\r\n\r\n"

/* An error with its XML. */
#define REFUSAL(status, code, more)                                       \
	"HTTP/1.1 " status " X\r\nConnection: close\r\n\r\n"              \
	"<?xml version=\"1.0\"?><Error><Code>" code                       \
	"</Code><Message>why &amp; so</Message>" more "</Error>"

static void
set_keys(void)
{
	(void)setenv("AWS_ACCESS_KEY_ID", "AKID", 1);
	(void)setenv("AWS_SECRET_ACCESS_KEY", "hunter2hunter2", 1);
	(void)unsetenv("AWS_SESSION_TOKEN");
	(void)unsetenv("http_proxy");
}

static struct fb_store *
open_at(const struct script *script, const char *url)
{
	FB_AUTO_FREE char *endpoint =
	    fb_format("http://127.0.0.1:%u", script->port);
	const struct fb_store_options options = { .endpoint = endpoint,
		.credentials = "env",
		.proxy = "",
		.retry_ms = 3000 };
	struct fb_store *store;

	set_keys();
	assert_ok(fb_store_open(url, false, &options, &store, &err));
	return store;
}

#define WITH_SCRIPT(...)                                              \
	static const char *const answers[] = { __VA_ARGS__ };         \
	struct script script;                                         \
	FB_AUTO_STORE struct fb_store *store = NULL;                  \
	script_start(&script, answers, FB_COUNT(answers));            \
	store = open_at(&script, "s3://bucket/pre")

#define END_SCRIPT()         \
	script_end(&script); \
	script_release(&script)

static void
a_create_says_what_it_asks_for(void **state)
{
	WITH_SCRIPT(OK);
	(void)state;

	assert_ok(fb_store_create(store, "a/b", SPAN("bytes"), &err));
	script_end(&script);
	assert_ptr_equal(strstr(script.asked[0], "PUT /bucket/pre/a/b HTTP/1.1"),
	    script.asked[0]);
	assert_non_null(strstr(script.asked[0], "\r\nif-none-match: *\r\n"));
	assert_non_null(strstr(script.asked[0],
	    "x-amz-content-sha256: 277089d91c0bdf4f2e6862ba7e4a07605119431f5d1"
	    "3f726dd352b06f1b206a9"));
	assert_non_null(strstr(script.asked[0],
	    "SignedHeaders=host;if-none-match;x-amz-content-sha256;x-amz-date;"
	    "x-amz-meta-fleetbak-put, "));
	assert_null(strstr(script.asked[0], "hunter2"));
	script_release(&script);
}

static void
a_taken_key_is_told(void **state)
{
	WITH_SCRIPT(TAKEN, THEIRS);
	(void)state;

	assert_fails(
	    FB_EEXISTS, fb_store_create(store, "k", SPAN("bytes"), &err));
	END_SCRIPT();
}

static void
a_create_whose_answer_was_lost_is_looked_up(void **state)
{
	WITH_SCRIPT("", TAKEN, OURS);
	(void)state;

	assert_ok(fb_store_create(store, "k", SPAN("bytes"), &err));
	script_end(&script);
	assert_ptr_equal(strstr(script.asked[2], "HEAD /bucket/pre/k "),
	    script.asked[2]);
	script_release(&script);
}

static void
what_another_put_there_is_not_ours(void **state)
{
	WITH_SCRIPT("", TAKEN, THEIRS);
	(void)state;

	assert_fails(
	    FB_EEXISTS, fb_store_create(store, "k", SPAN("bytes"), &err));
	END_SCRIPT();
}

static void
a_replace_whose_answer_was_lost_is_looked_up(void **state)
{
	WITH_SCRIPT(BUSY, TAKEN, OURS, TAKEN, THEIRS);
	(void)state;

	assert_ok(fb_store_replace(store, "k", SPAN("bytes"), "e1", &err));
	assert_fails(FB_ECONFLICT,
	    fb_store_replace(store, "k", SPAN("bytes"), "e1", &err));
	script_end(&script);
	assert_non_null(strstr(script.asked[0], "\r\nif-match: e1\r\n"));
	script_release(&script);
}

/* libcurl sends again by itself what a connection that was idle does not
 * answer: a replace has one of its own, a create is looked up. */
static void
a_lost_answer_to_nothing_is_looked_up(void **state)
{
	static const char ours[] =
	    "HTTP/1.1 200 OK\r\nx-amz-meta-fleetbak-put: %s\r\n"
	    "Content-Length: 0\r\n\r\n";
	const char *const answers[] = { GONE, "", TAKEN, ours, TAKEN, THEIRS,
		"", TAKEN, OURS };
	struct script script;
	FB_AUTO_STORE struct fb_store *store = NULL;
	uint64_t size;

	(void)state;
	script_start(&script, answers, FB_COUNT(answers));
	store = open_at(&script, "s3://bucket/pre");
	assert_fails(FB_ENOTFOUND, fb_store_head(store, "k", &size, &err));
	assert_ok(fb_store_replace(store, "k", SPAN(""), "e1", &err));
	assert_fails(
	    FB_EEXISTS, fb_store_create(store, "k", SPAN(""), &err));
	assert_ok(fb_store_create(store, "k", SPAN("bytes"), &err));
	END_SCRIPT();
}

static void
a_get_that_breaks_off_begins_again(void **state)
{
	FB_AUTO_BUF struct fb_buf got = { 0 };
	char tag[FB_STORE_TAG_SIZE];
	WITH_SCRIPT("HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: "
	            "close\r\n\r\nhalf",
	    "HTTP/1.1 200 OK\r\nETag: \"tag\"\r\nContent-Length: "
	    "9\r\n\r\nall of it",
	    GONE);
	(void)state;

	fb_buf_add_str(&got, "+");
	assert_ok(fb_store_get(store, "k", 100, &got, tag, &err));
	assert_string_equal(fb_buf_str(&got), "+all of it");
	assert_string_equal(tag, "tag");
	assert_fails(
	    FB_ENOTFOUND, fb_store_get(store, "k", 100, &got, tag, &err));
	assert_string_equal(fb_buf_str(&got), "+all of it");
	END_SCRIPT();
}

static void
a_range_is_what_was_asked_for(void **state)
{
	char bytes[4];
	WITH_SCRIPT("HTTP/1.1 206 P\r\nContent-Range: bytes 2-5/9\r\n"
	            "Content-Length: 4\r\n\r\nwxyz",
	    "HTTP/1.1 206 P\r\nContent-Range: bytes 0-3/9\r\n"
	    "Content-Length: 4\r\n\r\nwxyz",
	    "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n012345678",
	    "HTTP/1.1 206 P\r\nContent-Range: bytes 2-3/4\r\n"
	    "Content-Length: 2\r\n\r\nwx");
	(void)state;

	assert_ok(fb_store_get_range(store, "k", 2, bytes, 4, &err));
	assert_memory_equal(bytes, "wxyz", 4);
	assert_fails(
	    FB_EPROTO, fb_store_get_range(store, "k", 2, bytes, 4, &err));
	assert_fails(
	    FB_EPROTO, fb_store_get_range(store, "k", 2, bytes, 4, &err));
	assert_fails(
	    FB_ECORRUPT, fb_store_get_range(store, "k", 2, bytes, 4, &err));
	script_end(&script);
	assert_non_null(strstr(script.asked[0], "\r\nrange: bytes=2-5\r\n"));
	script_release(&script);
}

static int
add_key(const char *key, uint64_t size, void *arg, struct fb_error *e)
{
	(void)e;
	fb_buf_add_fmt(arg, "%s=%llu;", key, (unsigned long long)size);
	return FB_OK;
}

#define PAGE(body)                                             \
	"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"         \
	"<ListBucketResult xmlns=\"http://x\">" body           \
	"</ListBucketResult>"

static void
a_listing_goes_over_pages(void **state)
{
	FB_AUTO_BUF struct fb_buf got = { 0 };
	WITH_SCRIPT(
	    PAGE("<IsTruncated>true</IsTruncated><NextContinuationToken>a+/=&"
	         "amp;</NextContinuationToken><Contents><Key>pre/a-1</Key>"
	         "<Size>7</Size></Contents><Contents><Key>pre/%2Ehidden</Key>"
	         "<Size>1</Size></Contents>"),
	    PAGE("<Contents><Key>pre/a%2F2</Key><Size>8</Size></Contents>"),
	    PAGE("<Contents><Key>other</Key><Size>8</Size></Contents>"),
	    "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n<a/>",
	    "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n<!DOCTYPE a "
	    "[<!ENTITY b \"c\">]><a>&b;</a>");
	(void)state;

	assert_ok(fb_store_list(store, "a", add_key, &got, &err));
	assert_string_equal(fb_buf_str(&got), "a-1=7;a/2=8;");
	for (int i = 0; i < 3; i++)
		assert_fails(FB_EPROTO,
		    fb_store_list(store, "", add_key, &got, &err));
	assert_non_null(strstr(err.msg, "document type"));
	script_end(&script);
	assert_non_null(strstr(script.asked[0],
	    "GET /bucket/?encoding-type=url&list-type=2&max-keys=1000&prefix="
	    "pre%2Fa HTTP"));
	assert_non_null(strstr(script.asked[1],
	    "?continuation-token=a%2B%2F%3D%26&encoding-type=url&"));
	script_release(&script);
}

/* A server that begins again and again would be asked for ever. */
static void
a_listing_that_does_not_go_on_is_refused(void **state)
{
	FB_AUTO_BUF struct fb_buf got = { 0 };
	WITH_SCRIPT(PAGE("<IsTruncated>true</IsTruncated>"
	                 "<NextContinuationToken>t</NextContinuationToken>"),
	    PAGE("<IsTruncated>true</IsTruncated>"
	         "<NextContinuationToken>t</NextContinuationToken>"));
	(void)state;

	assert_fails(FB_EPROTO, fb_store_list(store, "", add_key, &got, &err));
	assert_non_null(strstr(err.msg, "does not go on"));
	script_end(&script);
	script_release(&script);
}

static void
refused(const char *answer, enum fb_code code, const char *id, const char *hint)
{
	FB_AUTO_BUF struct fb_buf got = { 0 };
	WITH_SCRIPT(NULL);

	(void)answers;
	script.answers = &answer;
	assert_fails(code, fb_store_get(store, "k", 100, &got, NULL, &err));
	assert_string_equal(err.id, id);
	if (strstr(err.hint, hint) == NULL)
		fail_msg("%s: %s (%s)", id, err.msg, err.hint);
	assert_null(strstr(err.msg, "hunter2"));
	END_SCRIPT();
}

/* The name says the digest, the server sees another one: was it the way, or is
 * it the file? */
static void
a_file_that_has_changed_is_not_stored_under_its_name(void **state)
{
	static const char key[] = "packs/00/"
	    "00000000000000000000000000000000000000000000000000000000000000ff"
	    ".pack";
	char path[] = "/tmp/fb-s3-XXXXXX";
	int fd = mkstemp(path);
	WITH_SCRIPT(REFUSAL("400", "XAmzContentSHA256Mismatch", ""),
	    REFUSAL("400", "XAmzContentSHA256Mismatch", ""),
	    REFUSAL("400", "XAmzContentSHA256Mismatch", ""));
	(void)state;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, "bytes", 5), 5);
	assert_fails(
	    FB_ECORRUPT, fb_store_create_file(store, key, path, 5, &err));
	assert_non_null(strstr(err.msg, "has changed"));
	assert_int_equal(close(fd), 0);
	assert_int_equal(unlink(path), 0);
	END_SCRIPT();
}

/* Once, and not until the budget of tries is used up. */
static void
an_endless_header_is_no_answer(void **state)
{
	static const char head[] = "HTTP/1.1 200 OK\r\nx-long: ";
	FB_AUTO_BUF struct fb_buf text = { 0 };

	(void)state;
	fb_buf_add_str(&text, head);
	for (size_t i = 0; i < 400000; i++)
		fb_buf_add(&text, "x", 1);
	fb_buf_add_str(&text, "\r\nContent-Length: 0\r\n\r\n");
	refused(fb_buf_str(&text), FB_EPROTO, fb_code_id(FB_EPROTO), "");
}

static void
an_error_says_what_to_do(void **state)
{
	(void)state;
	refused(REFUSAL("404", "NoSuchBucket", ""), FB_ENOREPO,
	    "E-S3-NO-BUCKET", "init");
	refused(REFUSAL("403", "AccessDenied", ""), FB_EDENIED, "E-S3-DENIED",
	    "policy");
	refused(REFUSAL("403", "SignatureDoesNotMatch", ""), FB_EDENIED,
	    "E-S3-DENIED", "secret");
	refused(REFUSAL("403", "InvalidAccessKeyId", ""), FB_EDENIED,
	    "E-S3-DENIED", "does not know");
	refused(REFUSAL("403", "RequestTimeTooSkewed", ""), FB_EUNREACH,
	    "E-S3-CLOCK", "clock");
	refused(REFUSAL("400", "AuthorizationHeaderMalformed",
	            "<Region>eu-1</Region>"),
	    FB_ECONFIG, "E-S3-REGION", "set region: eu-1");
	refused("HTTP/1.1 301 M\r\nx-amz-bucket-region: eu-2\r\n"
	        "Content-Length: 0\r\n\r\n",
	    FB_ECONFIG, "E-S3-REGION", "set region: eu-2");
	refused(REFUSAL("403", "QuotaExceeded", ""), FB_ENOSPACE, "E-S3-QUOTA",
	    "prune");
	refused(REFUSAL("501", "NotImplemented", ""), FB_EUNSUP, "E-S3-UNSUP",
	    "");
	refused(REFUSAL("400", "InvalidRequest", ""), FB_ECORRUPT,
	    "E-S3-UNREADABLE", "doctor --fix");
	refused("HTTP/1.1 400 B\r\nx-amz-request-id: tx1\r\n"
	        "Content-Length: 0\r\n\r\n",
	    FB_ECORRUPT, "E-S3-UNREADABLE", "doctor --fix");
	refused("HTTP/1.1 400 B\r\nContent-Length: 0\r\n\r\n", FB_EPROTO,
	    "E-S3-ANSWER", "");
	refused(REFUSAL("403", "InvalidObjectState", ""), FB_ECORRUPT,
	    "E-S3-UNREADABLE", "archive");
	refused(REFUSAL("400", "KMS.DisabledException", ""), FB_ECORRUPT,
	    "E-S3-UNREADABLE", "");
	refused(REFUSAL("418", "Teapot", ""), FB_EPROTO, "E-S3-ANSWER", "");
	assert_non_null(strstr(err.msg, "418 Teapot: why & so"));
}

static void
a_failing_server_has_a_budget(void **state)
{
	static const char *const answers[] = { BUSY, BUSY, BUSY, BUSY, BUSY,
		BUSY, BUSY, BUSY, BUSY, BUSY, BUSY, BUSY, BUSY, BUSY, BUSY,
		BUSY };
	struct fb_store_options options = { .credentials = "env",
		.proxy = "",
		.retry_ms = 1500 };
	int64_t before = fb_clock_mono_ns();
	FB_AUTO_STORE struct fb_store *store = NULL;
	FB_AUTO_FREE char *endpoint = NULL;
	struct script script;
	uint64_t size;

	(void)state;
	set_keys();
	script_start(&script, answers, FB_COUNT(answers));
	endpoint = fb_format("http://127.0.0.1:%u", script.port);
	options.endpoint = endpoint;
	assert_ok(fb_store_open("s3://b-1", false, &options, &store, &err));
	assert_fails(FB_EUNREACH, fb_store_head(store, "k", &size, &err));
	assert_string_equal(err.id, "E-S3-BUSY");
	assert_fails(FB_ETIMEOUT, fb_store_create(store, "k", SPAN(""), &err));
	assert_non_null(strstr(err.msg, "no answer says whether"));
	assert_true(fb_clock_mono_ns() - before < INT64_C(10000000000));
	fb_store_close(FB_STEAL(store));
	script_stop(&script);
	assert_in_range(script.asked_count, 4, 15);
	script_release(&script);
}

/* How often it asks a server that says this, and has 1.5 seconds. */
static size_t
asked_of(const char *answer, const char *then)
{
	const char *const answers[] = { answer, then, then, then, then, then,
		then, then, then, then, then, then, then, then, then, then };
	struct fb_store_options options = { .credentials = "env",
		.proxy = "",
		.retry_ms = 1500 };
	FB_AUTO_FREE char *endpoint = NULL;
	struct fb_store *store;
	struct script script;
	uint64_t size;
	size_t count;
	int rc;

	set_keys();
	script_start(&script, answers, FB_COUNT(answers));
	endpoint = fb_format("http://127.0.0.1:%u", script.port);
	options.endpoint = endpoint;
	assert_ok(fb_store_open("s3://b-1", false, &options, &store, &err));
	rc = fb_store_head(store, "k", &size, &err);
	assert_int_equal(rc, then == answer ? FB_EUNREACH : FB_OK);
	fb_store_close(store);
	script_stop(&script);
	count = script.asked_count;
	script_release(&script);
	return count;
}

#define BUSY_UNTIL(when) \
	"HTTP/1.1 503 X\r\nRetry-After: " when "\r\nContent-Length: 0\r\n\r\n"

static void
a_server_that_is_busy_says_for_how_long(void **state)
{
	static const char once[] = BUSY_UNTIL("1");
	static const char *const longer[] = { BUSY_UNTIL("300"),
		BUSY_UNTIL("Fri, 01 Jan 2100 00:00:00 GMT") };
	int64_t before = fb_clock_mono_ns();

	(void)state;
	assert_int_equal(asked_of(once, OK), 2);
	assert_true(fb_clock_mono_ns() - before >= INT64_C(1000000000));
	for (size_t i = 0; i < FB_COUNT(longer); i++)
		assert_int_equal(asked_of(longer[i], longer[i]), 2);
	/* What is past, or is no time, asks for nothing. */
	assert_in_range(asked_of(
	    BUSY_UNTIL("Fri, 01 Jan 2010 00:00:00 GMT"), OK), 2, 2);
	assert_in_range(asked_of(BUSY_UNTIL("soon"), OK), 2, 2);
}

static void
nobody_there_is_unreachable(void **state)
{
	static const char *const answers[] = { OK };
	FB_AUTO_STORE struct fb_store *store = NULL;
	struct script script;
	uint64_t size;

	(void)state;
	script_start(&script, answers, 1);
	store = open_at(&script, "s3://bucket");
	script_stop(&script); /* nobody listens on its port from here on */
	assert_int_equal(script.asked_count, 0);
	script_release(&script);
	assert_fails(FB_EUNREACH, fb_store_head(store, "k", &size, &err));
}

#define CANNOT REFUSAL("501", "NotImplemented", "")
#define SEEN                                                        \
	"HTTP/1.1 200 OK\r\nETag: \"e1\"\r\nContent-Length: 5\r\n" \
	"\r\n"

static void
without_conditions_it_is_looked_first(void **state)
{
	WITH_SCRIPT(CANNOT, GONE, OK, SEEN, SEEN, OK, SEEN);
	(void)state;

	/* One answer that says so, perhaps of something on the way, is no
	 * reason to overwrite what another host has made. */
	assert_fails(
	    FB_EUNSUP, fb_store_create(store, "k", SPAN("bytes"), &err));
	assert_false(fb_store_one_writer(store));
	fb_store_set_one_writer(store, true);
	assert_ok(fb_store_create(store, "k", SPAN("bytes"), &err));
	assert_fails(
	    FB_EEXISTS, fb_store_create(store, "k", SPAN("bytes"), &err));
	assert_ok(fb_store_replace(store, "k", SPAN("other"), "e1", &err));
	assert_fails(FB_ECONFLICT,
	    fb_store_replace(store, "k", SPAN("other"), "e0", &err));
	script_end(&script);
	assert_null(strstr(script.asked[2], "if-none-match"));
	assert_null(strstr(script.asked[5], "if-match"));
	script_release(&script);
}

#define BODY(text)                                          \
	"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" text

static void
a_bucket_is_tried_out(void **state)
{
	struct fb_store_traits traits;
	WITH_SCRIPT(GONE, PAGE(""), OK, TAKEN, TAKEN, OK, OK, OK, BODY("first"),
	    PAGE(""), OK, OK);
	(void)state;

	assert_fails(FB_EUNSUP, fb_store_probe(store, &traits, &err));
	assert_string_equal(err.id, "E-STORE-PROBE");
	assert_int_equal(traits.create_if, FB_TRAIT_YES);
	assert_int_equal(traits.replace_if, FB_TRAIT_YES);
	assert_int_equal(traits.read_after_write, FB_TRAIT_YES);
	assert_int_equal(traits.list_after_write, FB_TRAIT_NO);
	/* Two settings were asked for, and it was deleted. */
	assert_ok(fb_store_remove(store, "k", &err));
	script_end(&script);
	/* What something on the way keeps is asked for before it is there. */
	for (size_t i = 0; i < 2; i++) {
		size_t len = strcspn(script.asked[i], "\r");

		assert_memory_equal(script.asked[i], "GET ", 4);
		assert_memory_equal(
		    script.asked[i], script.asked[8 + i], len);
	}
	script_release(&script);
}

static void
a_server_that_ignores_conditions_is_refused(void **state)
{
	struct fb_store_traits traits;
	WITH_SCRIPT(GONE, PAGE(""), OK, OK, OK, OK, OK, OK, OK);
	(void)state;

	assert_fails(FB_EUNSUP, fb_store_probe(store, &traits, &err));
	assert_string_equal(err.id, "E-STORE-PROBE");
	assert_non_null(strstr(err.msg, "overwrites what is to be new"));
	END_SCRIPT();
}

/* As radosgw does; what was there is a version then. */
static void
conditions_that_are_ignored_where_versions_are_kept_are_done_without(
    void **state)
{
	struct fb_store_traits traits;
	WITH_SCRIPT(GONE, PAGE(""), OK, OK, OK, OK,
	    BODY("<VersioningConfiguration><Status>Enabled</Status>"
	         "</VersioningConfiguration>"),
	    OK, BODY("first"), PAGE(""),
	    BODY("<ListVersionsResult></ListVersionsResult>"));
	(void)state;

	/* The list does not show it, which is another matter. */
	assert_fails(FB_EUNSUP, fb_store_probe(store, &traits, &err));
	assert_null(strstr(err.msg, "condition"));
	assert_int_equal(traits.create_if, FB_TRAIT_NO);
	assert_true(fb_store_one_writer(store));
	END_SCRIPT();
}

static void
settings_of_a_bucket_are_seen(void **state)
{
	struct fb_store_traits traits;
	WITH_SCRIPT(GONE, PAGE(""), CANNOT, OK, CANNOT, CANNOT,
	    BODY("<VersioningConfiguration><Status>Enabled</Status>"
	         "</VersioningConfiguration>"),
	    BODY("<ObjectLockConfiguration><ObjectLockEnabled>Enabled"
	         "</ObjectLockEnabled><Rule><DefaultRetention><Mode>COMPLIANCE"
	         "</Mode><Years>2</Years></DefaultRetention></Rule>"
	         "</ObjectLockConfiguration>"),
	    BODY("first"), PAGE(""),
	    BODY("<ListVersionsResult></ListVersionsResult>"));
	(void)state;

	/* The list does not show it, which is another matter. */
	assert_fails(FB_EUNSUP, fb_store_probe(store, &traits, &err));
	assert_int_equal(traits.create_if, FB_TRAIT_NO);
	assert_int_equal(traits.versioning, FB_TRAIT_YES);
	assert_int_equal(traits.object_lock, FB_TRAIT_YES);
	assert_int_equal(traits.lock_days, 730);
	assert_int_equal(traits.lock_mode, FB_LOCK_COMPLIANCE);
	assert_true(fb_store_one_writer(store));
	END_SCRIPT();
}

static void
an_address_without_a_bucket_is_refused(void **state)
{
	struct fb_store *store;

	(void)state;
	assert_fails(
	    FB_ECONFIG, fb_store_open("s3:", false, NULL, &store, &err));
	assert_string_equal(err.id, "E-STORE-URL");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_create_says_what_it_asks_for),
		cmocka_unit_test(a_taken_key_is_told),
		cmocka_unit_test(a_create_whose_answer_was_lost_is_looked_up),
		cmocka_unit_test(what_another_put_there_is_not_ours),
		cmocka_unit_test(a_replace_whose_answer_was_lost_is_looked_up),
		cmocka_unit_test(a_lost_answer_to_nothing_is_looked_up),
		cmocka_unit_test(a_get_that_breaks_off_begins_again),
		cmocka_unit_test(a_range_is_what_was_asked_for),
		cmocka_unit_test(a_listing_goes_over_pages),
		cmocka_unit_test(a_listing_that_does_not_go_on_is_refused),
		cmocka_unit_test(
		    a_file_that_has_changed_is_not_stored_under_its_name),
		cmocka_unit_test(an_endless_header_is_no_answer),
		cmocka_unit_test(an_error_says_what_to_do),
		cmocka_unit_test(a_failing_server_has_a_budget),
		cmocka_unit_test(a_server_that_is_busy_says_for_how_long),
		cmocka_unit_test(nobody_there_is_unreachable),
		cmocka_unit_test(without_conditions_it_is_looked_first),
		cmocka_unit_test(a_bucket_is_tried_out),
		cmocka_unit_test(a_server_that_ignores_conditions_is_refused),
		cmocka_unit_test(
		    conditions_that_are_ignored_where_versions_are_kept_are_done_without),
		cmocka_unit_test(settings_of_a_bucket_are_seen),
		cmocka_unit_test(an_address_without_a_bucket_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

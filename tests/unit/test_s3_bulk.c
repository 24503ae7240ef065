/* Many objects removed with one request, as it goes over the wire. */
#include "http_script.h"

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/store/store.h"

static struct fb_error err;

#define BODY(text) "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" text
#define PLAIN      BODY("<VersioningConfiguration></VersioningConfiguration>")
#define KEEPS                                                    \
	BODY("<VersioningConfiguration><Status>Enabled</Status>" \
	     "</VersioningConfiguration>")
#define ALL_GONE BODY("<DeleteResult></DeleteResult>")
#define GONE     "HTTP/1.1 204 No Content\r\n\r\n"
#define BUSY     "HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n"
#define REFUSAL(status, code)                                \
	"HTTP/1.1 " status " X\r\nConnection: close\r\n\r\n" \
	"<?xml version=\"1.0\"?><Error><Code>" code "</Code></Error>"
#define FAILED(key, code)                                         \
	BODY("<DeleteResult><Error><Key>" key "</Key><Code>" code \
	     "</Code><Message>so</Message></Error></DeleteResult>")

static const char *const three[] = { "k/1", "k/2", "k/3" };

struct bulk {
	struct script script;
	struct fb_store *store;
	bool gone[3];
	struct fb_store_removal removal;
};

static void
start(struct bulk *bulk, const char *const *answers, size_t count)
{
	FB_AUTO_FREE char *endpoint = NULL;
	struct fb_store_options options = {
		.credentials = "env", .proxy = "", .retry_ms = 3000
	};

	*bulk = (struct bulk){ .removal = {
		                   .keys = three, .count = FB_COUNT(three) } };
	bulk->removal.gone = bulk->gone;
	script_start(&bulk->script, answers, count);
	endpoint = fb_format("http://127.0.0.1:%u", bulk->script.port);
	options.endpoint = endpoint;
	(void)setenv("AWS_ACCESS_KEY_ID", "AKID", 1);
	(void)setenv("AWS_SECRET_ACCESS_KEY", "hunter2hunter2", 1);
	(void)unsetenv("AWS_SESSION_TOKEN");
	(void)unsetenv("http_proxy");
	assert_ok(fb_store_open(
	    "s3://bucket/p&e", false, &options, &bulk->store, &err));
}

#define WITH(...)                                             \
	static const char *const answers[] = { __VA_ARGS__ }; \
	struct bulk bulk;                                     \
	(void)state;                                          \
	start(&bulk, answers, FB_COUNT(answers))

static void
end(struct bulk *bulk)
{
	fb_store_close(bulk->store);
	script_end(&bulk->script);
	script_release(&bulk->script);
}

static void
assert_gone(const struct bulk *bulk, bool first, bool second, bool third)
{
	assert_int_equal(bulk->gone[0], first);
	assert_int_equal(bulk->gone[1], second);
	assert_int_equal(bulk->gone[2], third);
}

/* Was it asked for by this method, of that key? */
static void
assert_asked(const struct bulk *bulk, size_t n, const char *line)
{
	assert_int_equal(strncmp(bulk->script.asked[n], line, strlen(line)), 0);
}

static void
one_request_says_what_is_to_go(void **state)
{
	struct fb_store_usage usage;
	WITH(PLAIN, ALL_GONE, ALL_GONE);

	assert_int_equal(fb_store_bulk(bulk.store), 1000);
	assert_ok(fb_store_remove_many(bulk.store, &bulk.removal, &err));
	assert_gone(&bulk, true, true, true);
	assert_ok(fb_store_remove_many(bulk.store, &bulk.removal, &err));
	fb_store_get_usage(bulk.store, &usage);
	assert_int_equal(usage.removes, 2);
	end(&bulk);
}

static void
the_request_is_as_s3_wants_it(void **state)
{
	const char *asked;
	WITH(PLAIN, ALL_GONE);

	assert_ok(fb_store_remove_many(bulk.store, &bulk.removal, &err));
	script_end(&bulk.script);
	asked = bulk.script.asked[1];
	assert_asked(&bulk, 1, "POST /bucket/?delete= HTTP/1.1\r\n");
	/* printf %s "<Delete ...>" | openssl md5 -binary | base64 */
	assert_non_null(
	    strstr(asked, "\r\ncontent-md5: VTxNaMDjjoJMYqtEWeiyxw==\r\n"));
	assert_non_null(strstr(asked, "content-md5;"));
	assert_null(strstr(asked, "\r\nExpect:"));
	assert_string_equal(strstr(asked, "\r\n\r\n") + 4,
	    "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
	    "<Quiet>true</Quiet>"
	    "<Object><Key>p&#38;e/k/1</Key></Object>"
	    "<Object><Key>p&#38;e/k/2</Key></Object>"
	    "<Object><Key>p&#38;e/k/3</Key></Object></Delete>");
	fb_store_close(bulk.store);
	script_release(&bulk.script);
}

static void
what_could_not_go_is_asked_why(void **state)
{
	WITH(PLAIN, FAILED("p&amp;e/k/2", "AccessDenied"),
	    REFUSAL("403", "AccessDenied"),
	    FAILED("p&amp;e/k/3", "InternalError"), GONE);

	assert_fails(
	    FB_EDENIED, fb_store_remove_many(bulk.store, &bulk.removal, &err));
	assert_string_equal(err.id, "E-S3-DENIED");
	assert_non_null(strstr(err.msg, "remove 'k/2'"));
	assert_gone(&bulk, true, false, true);
	assert_ok(fb_store_remove_many(bulk.store, &bulk.removal, &err));
	assert_gone(&bulk, true, true, true);
	script_stop(&bulk.script);
	assert_asked(&bulk, 2, "DELETE /bucket/p%26e/k/2 ");
	assert_asked(&bulk, 4, "DELETE /bucket/p%26e/k/3 ");
	fb_store_close(bulk.store);
	script_release(&bulk.script);
}

static void
a_server_that_has_no_such_request_is_asked_once(void **state)
{
	WITH(PLAIN, REFUSAL("501", "NotImplemented"), GONE, GONE, GONE, GONE,
	    GONE, GONE);

	assert_ok(fb_store_remove_many(bulk.store, &bulk.removal, &err));
	assert_gone(&bulk, true, true, true);
	assert_int_equal(fb_store_bulk(bulk.store), 1);
	assert_ok(fb_store_remove_many(bulk.store, &bulk.removal, &err));
	end(&bulk);
}

static void
an_answer_that_says_nothing_of_them_is_not_relied_on(void **state)
{
	static const char *const odd[] = { BODY("<html></html>"), BODY("x"),
		FAILED("p&amp;e/k/4", "AccessDenied"), FAILED("k/1", "X"),
		"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", GONE };
	static const char plain[] = PLAIN;

	(void)state;
	for (size_t i = 0; i < FB_COUNT(odd); i++) {
		const char *const answers[] = { plain, odd[i], GONE, GONE,
			GONE };
		struct bulk bulk;

		start(&bulk, answers, FB_COUNT(answers));
		assert_ok(
		    fb_store_remove_many(bulk.store, &bulk.removal, &err));
		assert_gone(&bulk, true, true, true);
		end(&bulk);
	}
}

/* What had no answer may have been done, and may be done again. */
static void
a_lost_answer_is_asked_for_again(void **state)
{
	WITH(PLAIN, "", BUSY, ALL_GONE);

	assert_ok(fb_store_remove_many(bulk.store, &bulk.removal, &err));
	assert_gone(&bulk, true, true, true);
	end(&bulk);
}

/* An error in an answer that began well passes, too. */
static void
an_error_of_the_moment_is_no_lack(void **state)
{
	WITH(PLAIN, BODY("<Error><Code>InternalError</Code></Error>"), GONE,
	    GONE, GONE);

	assert_ok(fb_store_remove_many(bulk.store, &bulk.removal, &err));
	assert_gone(&bulk, true, true, true);
	assert_int_equal(fb_store_bulk(bulk.store), 1000);
	end(&bulk);
}

/* A failure that names nothing may be that of any. */
static void
a_failure_of_nothing_is_not_relied_on(void **state)
{
	WITH(PLAIN,
	    BODY("<DeleteResult><Error><Code>AccessDenied</Code></Error>"
	         "</DeleteResult>"),
	    GONE, GONE, GONE);

	assert_ok(fb_store_remove_many(bulk.store, &bulk.removal, &err));
	assert_gone(&bulk, true, true, true);
	assert_asked(&bulk, 2, "DELETE");
	assert_int_equal(fb_store_bulk(bulk.store), 1);
	end(&bulk);
}

/* Says yes so many times. */
static int
so_often(void *arg, struct fb_error *check_err)
{
	unsigned *left = arg;

	if (*left == 0)
		return fb_fail(check_err, FB_ECONFLICT, "others have");
	--*left;
	return FB_OK;
}

static void
nothing_is_sent_again_that_is_forbidden_meanwhile(void **state)
{
	unsigned left = 1;
	WITH(PLAIN, "");

	bulk.removal.check = so_often;
	bulk.removal.arg = &left;
	assert_fails(FB_ECONFLICT,
	    fb_store_remove_many(bulk.store, &bulk.removal, &err));
	assert_gone(&bulk, false, false, false);
	end(&bulk);
}

/* Nor is that of one: asked for the bulk, for its own, and before that. */
static void
one_is_not_sent_again_that_is_forbidden_meanwhile(void **state)
{
	unsigned left = 3;
	WITH(PLAIN, FAILED("p&amp;e/k/2", "InternalError"), BUSY);

	bulk.removal.check = so_often;
	bulk.removal.arg = &left;
	assert_fails(FB_ECONFLICT,
	    fb_store_remove_many(bulk.store, &bulk.removal, &err));
	assert_gone(&bulk, true, false, true);
	end(&bulk);
}

/* All of them go there, and each is looked at. */
static void
where_versions_are_kept_it_goes_one_by_one(void **state)
{
	WITH(KEEPS, BODY("<ListVersionsResult></ListVersionsResult>"),
	    BODY("<ListVersionsResult></ListVersionsResult>"),
	    BODY("<ListVersionsResult></ListVersionsResult>"));

	assert_int_equal(fb_store_bulk(bulk.store), 1);
	assert_ok(fb_store_remove_many(bulk.store, &bulk.removal, &err));
	assert_gone(&bulk, true, true, true);
	end(&bulk);
}

static void
one_is_removed_as_ever(void **state)
{
	WITH(PLAIN, GONE);

	bulk.removal.count = 1;
	assert_ok(fb_store_remove_many(bulk.store, &bulk.removal, &err));
	assert_gone(&bulk, true, false, false);
	end(&bulk);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_request_says_what_is_to_go),
		cmocka_unit_test(the_request_is_as_s3_wants_it),
		cmocka_unit_test(what_could_not_go_is_asked_why),
		cmocka_unit_test(
		    a_server_that_has_no_such_request_is_asked_once),
		cmocka_unit_test(
		    an_answer_that_says_nothing_of_them_is_not_relied_on),
		cmocka_unit_test(a_lost_answer_is_asked_for_again),
		cmocka_unit_test(an_error_of_the_moment_is_no_lack),
		cmocka_unit_test(
		    nothing_is_sent_again_that_is_forbidden_meanwhile),
		cmocka_unit_test(
		    one_is_not_sent_again_that_is_forbidden_meanwhile),
		cmocka_unit_test(a_failure_of_nothing_is_not_relied_on),
		cmocka_unit_test(where_versions_are_kept_it_goes_one_by_one),
		cmocka_unit_test(one_is_removed_as_ever),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * The client of JSON APIs: what errors and lists look like, when it tries
 * again, how it goes on with what broke off.
 */
#include "http_script.h"

#include "../../src/driver/api.h"
#include "fleetbak/base/clock.h"
#include "fleetbak/base/mem.h"

static struct fb_error err;

/* ------------------------------------------------------------- errors */

static void
says(const char *body, const char *code, const char *message)
{
	struct fb_api_error error;

	fb_api_error_parse(
	    (struct fb_span){ (const uint8_t *)body, strlen(body) }, &error);
	assert_string_equal(error.code, code);
	assert_string_equal(error.message, message);
}

static void
errors_of_every_shape_are_read(void **state)
{
	struct fb_api_error error;

	(void)state;
	says("{\"error\":{\"code\":\"C\",\"message\":\"m\"}}", "C", "m");
	says("{\"error\":\"m\",\"code\":\"C\"}", "C", "m");
	says("{\"error\":\"C\",\"detail\":\"m\"}", "C", "m");
	says("{\"error\":\"C\",\"error_description\":\"m\"}", "C", "m");
	says("{\"error\":\"m\"}", "", "m");
	says("{\"message\":\"m\",\"code\":\"C\"}", "C", "m");
	says("{\"message\":\"m\"}", "", "m");
	says("{\"errors\":[\"m\",\"n\"]}", "", "m");
	says("{\"errors\":{\"field\":[\"m\"]}}", "", "field: m");
	says("{\"success\":false,\"msg\":\"m\"}", "", "m");
	says("{\"success\":true,\"errors\":{\"f\":\"m\"}}", "", "f: m");
	says("oh  no\n\x1b[2J\n", "", "oh no [2J");
	says("<html><body>x", "", "");
	says("", "", "");
	says("[1]", "", "");
	says("{\"errors\":[{\"message\":\"m\"}]}", "", "m");
	says("{\"message\":\"m\",\"errors\":{}}", "", "m");
	says("{\"error\":{\"detail\":\"m\"}}", "", "m");
	/* A control of two bytes is none of a terminal. */
	says("{\"message\":\"a\\u009b2Jb\"}", "", "a?2Jb");
	fb_api_error_parse(
	    SPAN("{\"message\":\"m\",\"retryable\":false,"
	         "\"retry_after\":7}"),
	    &error);
	assert_int_equal(error.retryable, 0);
	assert_int_equal(error.retry_after_ms, 7000);
	fb_api_error_parse(
	    SPAN("{\"message\":\"m\",\"retry_after\":99999999999}"), &error);
	assert_int_equal(error.retry_after_ms, 0);
	fb_api_error_parse(
	    SPAN("{\"error\":{\"code\":\"C\",\"request_id\":\"r\","
	         "\"retryable\":true,\"retry_after_ms\":70}}"),
	    &error);
	assert_string_equal(error.request_id, "r");
	assert_int_equal(error.retryable, 1);
	assert_int_equal(error.retry_after_ms, 70);
}

/* What is too long is cut, and not in the middle of a character. */
static void
a_long_message_is_cut_at_a_character(void **state)
{
	for (size_t pad = 0; pad < 3; pad++) {
		FB_AUTO_BUF struct fb_buf body = { 0 };
		struct fb_api_error error;
		size_t len;

		(void)state;
		fb_buf_add_str(&body, "{\"message\":\"");
		for (size_t i = 0; i < pad; i++)
			fb_buf_add_str(&body, "x");
		while (body.len < 2 * sizeof(error.message))
			fb_buf_add_str(&body, "\xe2\x82\xac");
		fb_buf_add_str(&body, "\"}");
		fb_api_error_parse(fb_buf_span(&body), &error);
		len = strlen(error.message);
		assert_true(len > sizeof(error.message) - 8);
		assert_int_equal((len - pad) % 3, 0);
	}
}

static void
an_answer_holds_its_object_or_is_it(void **state)
{
	static const char *const keys[] = { "data", "machine", NULL };
	FB_AUTO_JSON json_t *bare = json_pack("{s:i}", "id", 1);
	FB_AUTO_JSON json_t *held =
	    json_pack("{s:n,s:{s:i}}", "data", "machine", "id", 1);
	FB_AUTO_JSON json_t *list = json_pack("[i]", 1);

	(void)state;
	assert_ptr_equal(bare, fb_api_object(bare, keys));
	assert_ptr_equal(
	    json_object_get(held, "machine"), fb_api_object(held, keys));
	assert_null(fb_api_object(list, keys));
	assert_null(fb_api_object(NULL, keys));
}

/* --------------------------------------------------------------- pages */

static int
note_item(void *arg, const json_t *item, struct fb_error *unused)
{
	const json_t *id = json_object_get(item, "id");

	(void)unused;
	if (json_is_integer(id))
		fb_buf_add_fmt(arg, "%d ", (int)json_integer_value(id));
	else
		fb_buf_add_fmt(arg, "%s ", json_string_value(id));
	return FB_OK;
}

static const char *const list_keys[] = { "data", "servers", NULL };

static int
take_page(struct fb_page *page, const char *body, struct fb_buf *all,
    bool *ret_more)
{
	FB_AUTO_JSON json_t *json = json_loads(body, 0, NULL);

	assert_non_null(json);
	return fb_page_take(page, json, note_item, all, ret_more, &err);
}

static void
asks(const struct fb_page *page, const char *expected)
{
	FB_AUTO_BUF struct fb_buf query = { 0 };

	fb_page_query(page, &query);
	assert_string_equal(fb_buf_str(&query), expected);
}

static void
pages_of_every_style_are_gone_through(void **state)
{
	static const struct {
		enum fb_page_style style;
		const char *first, *one, *second, *two;
	} rows[] = {
		{ FB_PAGE_NUMBER, "page=1&per_page=2",
		    "{\"data\":[{\"id\":\"a\"},{\"id\":\"b\"}],"
		    "\"meta\":{\"total\":3,\"page\":1}}",
		    "page=2&per_page=2",
		    "{\"data\":[{\"id\":\"c\"}],\"meta\":{\"total\":3}}" },
		{ FB_PAGE_SIZE, "page=1&page_size=2",
		    "{\"data\":[{\"id\":\"a\"},{\"id\":\"b\"}],"
		    "\"page\":{\"total\":3}}",
		    "page=2&page_size=2",
		    "{\"data\":[{\"id\":\"b\"},{\"id\":\"c\"}],"
		    "\"page\":{\"total\":3}}" },
		{ FB_PAGE_OFFSET, "limit=2&offset=0",
		    "[{\"id\":\"a\"},{\"id\":\"b\"}]", "limit=2&offset=2",
		    "[{\"id\":\"c\"}]" },
		{ FB_PAGE_MAX, "max=2&offset=0",
		    "{\"servers\":[{\"id\":\"a\"},{\"id\":\"b\"}],"
		    "\"meta\":{\"total\":3,\"size\":2}}",
		    "max=2&offset=2",
		    "{\"servers\":[{\"id\":\"c\"}],\"meta\":{\"total\":3}}" },
		{ FB_PAGE_CURSOR, "limit=2",
		    "{\"data\":[{\"id\":\"a\"},{\"id\":\"b\"}],"
		    "\"next_cursor\":\"x/y\"}",
		    "limit=2&cursor=x%2Fy", "{\"data\":[{\"id\":\"c\"}]}" },
	};

	(void)state;
	for (size_t i = 0; i < FB_COUNT(rows); i++) {
		FB_AUTO_PAGE struct fb_page page = { .style = rows[i].style,
			.size = 2, .keys = list_keys, .id = "id" };
		FB_AUTO_BUF struct fb_buf all = { 0 };
		bool more;

		asks(&page, rows[i].first);
		assert_ok(take_page(&page, rows[i].one, &all, &more));
		assert_true(more);
		asks(&page, rows[i].second);
		assert_ok(take_page(&page, rows[i].two, &all, &more));
		assert_false(more);
		assert_string_equal(fb_buf_str(&all), "a b c ");
	}
}

/* What would cut a fleet short, or never end. */
static void
a_list_that_is_not_whole_is_refused(void **state)
{
	static const char *const bodies[] = {
		"{\"data\":[{\"id\":\"a\"}],\"meta\":{\"total\":2}}",
		"{\"data\":[],\"meta\":{\"total\":1}}",
		"{\"data\":{\"id\":\"a\"}}",
		"{\"data\":[{\"name\":\"a\"}]}",
		"7",
	};

	(void)state;
	for (size_t i = 0; i < FB_COUNT(bodies); i++) {
		FB_AUTO_PAGE struct fb_page page = { .style =
			                                 FB_PAGE_NONE,
			.keys = list_keys, .id = "id" };
		FB_AUTO_BUF struct fb_buf all = { 0 };
		FB_AUTO_JSON json_t *json =
		    json_loads(bodies[i], JSON_DECODE_ANY, NULL);
		bool more;

		assert_fails(FB_EPROTO,
		    fb_page_take(&page, json, note_item, &all, &more, &err));
		assert_string_equal(err.id, "E-API-LIST");
	}
}

static void
the_same_page_again_is_no_progress(void **state)
{
	FB_AUTO_PAGE struct fb_page page = { .style = FB_PAGE_OFFSET,
		.size = 1, .keys = list_keys, .id = "id" };
	FB_AUTO_BUF struct fb_buf all = { 0 };
	bool more;

	(void)state;
	assert_ok(take_page(&page, "[{\"id\":1}]", &all, &more));
	assert_true(more);
	assert_fails(
	    FB_EPROTO, take_page(&page, "[{\"id\":1}]", &all, &more));
}

static int
refuse_item(void *arg, const json_t *item, struct fb_error *why)
{
	(void)arg;
	(void)item;
	return fb_fail(why, FB_ECONFIG, "no");
}

/* What a list may cost is bounded, and who reads it may end it. */
static void
a_list_ends(void **state)
{
	FB_AUTO_PAGE struct fb_page page = { .style = FB_PAGE_CURSOR,
		.keys = list_keys, .id = "id" };
	FB_AUTO_BUF struct fb_buf all = { 0 };
	FB_AUTO_JSON json_t *one = json_pack("[{s:i}]", "id", 7);
	FB_AUTO_FREE char *cursor = fb_alloc(1, 5001);
	FB_AUTO_JSON json_t *far = NULL;
	bool more = true;

	(void)state;
	assert_fails(FB_ECONFIG,
	    fb_page_take(&page, one, refuse_item, NULL, &more, &err));
	(void)memset(cursor, 'x', 5000);
	far = json_pack("{s:[{s:i}],s:s}", "data", "id", 8, "next_cursor",
	    cursor);
	assert_fails(FB_EPROTO,
	    fb_page_take(&page, far, note_item, &all, &more, &err));
	page.style = FB_PAGE_OFFSET;
	page.size = 1;
	page.pages = FB_PAGES_MAX;
	assert_fails(
	    FB_EPROTO, take_page(&page, "[{\"id\":9}]", &all, &more));
}

static void
content_ranges_are_what_they_say(void **state)
{
	static const char *const bad[] = { "", "bytes", "bytes 1-0/2",
		"bytes 0-2/2", "bytes 0-1", "bytes */*", "items 0-1/2",
		"bytes 0-1/2x", "bytes -1/2",
		"bytes 0-99999999999999999999999/5" };
	uint64_t first, last, total;

	(void)state;
	assert_true(
	    fb_content_range_parse("bytes 1-2/9", &first, &last, &total));
	assert_int_equal(first + last + total, 12);
	assert_true(
	    fb_content_range_parse("bytes */9", &first, &last, &total));
	assert_int_equal(total, 9);
	assert_true(
	    fb_content_range_parse("bytes 0-0/*", &first, &last, &total));
	assert_int_equal(total, UINT64_MAX);
	for (size_t i = 0; i < FB_COUNT(bad); i++)
		assert_false(fb_content_range_parse(
		    bad[i], &first, &last, &total));
}

/* ------------------------------------------------------------- calls */

struct world {
	struct script script;
	char url[64];
	struct fb_api_options options;
	struct fb_api *api;
};

static void
begin(struct world *w, const char *const *answers, size_t count)
{
	script_start(&w->script, answers, count);
	(void)snprintf(w->url, sizeof(w->url), "http://127.0.0.1:%u/v1/",
	    w->script.port);
	w->options.name = "it";
	w->options.url = w->url;
	w->options.proxy = "";
	w->options.pause_ms = 2;
	w->api = fb_api_new(&w->options);
}

static void
end(struct world *w)
{
	fb_api_free(w->api);
	script_end(&w->script);
}

static bool
asked(const struct world *w, size_t n, const char *what)
{
	return strstr(w->script.asked[n], what) != NULL;
}

#define EMPTY_OK "HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\n{}"
#define BUSY     "HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n"
#define BUSY_SAYS_WHEN \
	"HTTP/1.1 503 X\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
#define MANY \
	"HTTP/1.1 429 X\r\nContent-Length: 25\r\n\r\n" \
	"{\"error\":{\"code\":\"SLOW\"}}"

static int
post(struct world *w, const char *key, bool safe,
    struct fb_api_answer *answer)
{
	FB_AUTO_JSON json_t *body = json_pack("{s:i}", "a", 1);
	struct fb_api_call call = { .method = "POST", .path = "/things",
		.body = body, .idempotency_key = key, .safe = safe };

	return fb_api_send(w->api, &call, answer, &err);
}

static void
what_may_be_done_twice_is_tried_again(void **state)
{
	static const char *const answers[] = { BUSY, "", EMPTY_OK };
	FB_AUTO_API_ANSWER struct fb_api_answer answer = { 0 };
	struct world w = { 0 };

	(void)state;
	begin(&w, answers, 3);
	assert_ok(post(&w, "k-1", false, &answer));
	end(&w);
	/* One that found its connection closed is libcurl's own. */
	assert_in_range(answer.tries, 2, 3);
	for (size_t i = 0; i < 3; i++) {
		assert_true(asked(&w, i, "POST /v1/things HTTP"));
		assert_true(asked(&w, i, "Idempotency-Key: k-1\r\n"));
		assert_true(asked(&w, i, "application/json\r\n"));
		assert_true(asked(&w, i, "\r\n\r\n{\"a\":1}"));
	}
	script_release(&w.script);
}

static void
what_may_not_be_done_twice_is_not(void **state)
{
	static const char *const lost[] = { "" };
	static const char *const busy[] = { BUSY };
	static const char *const broken[] = {
		"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n"
	};
	static const struct {
		const char *const *answers;
		int rc;
	} rows[] = { { lost, FB_EUNKNOWN }, { busy, FB_ERETRY },
		{ broken, FB_EUNKNOWN } };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(rows); i++) {
		FB_AUTO_API_ANSWER struct fb_api_answer answer = { 0 };
		struct world w = { 0 };

		begin(&w, rows[i].answers, 1);
		assert_fails(rows[i].rc, post(&w, NULL, false, &answer));
		end(&w);
		assert_int_equal(answer.tries, 1);
		script_release(&w.script);
	}
}

/* It did nothing, and says when to come again. */
static void
what_the_server_refused_to_begin_is_tried_when_it_says(void **state)
{
	static const char *const answers[] = { MANY, BUSY_SAYS_WHEN,
		EMPTY_OK };
	FB_AUTO_API_ANSWER struct fb_api_answer answer = { 0 };
	struct world w = { 0 };
	int64_t began = fb_clock_mono_ns();

	(void)state;
	begin(&w, answers, 3);
	assert_ok(post(&w, NULL, false, &answer));
	end(&w);
	assert_int_equal(answer.tries, 3);
	assert_true(fb_clock_mono_ns() - began >= 900000000);
	script_release(&w.script);
}

static void
what_says_that_it_may_be_tried_again_may_have_been_done(void **state)
{
	static const char *const answers[] = {
		"HTTP/1.1 502 X\r\nContent-Length: 28\r\n\r\n"
		"{\"error\":{\"retryable\":true}}",
		EMPTY_OK
	};
	FB_AUTO_API_ANSWER struct fb_api_answer answer = { 0 };
	FB_AUTO_API_ANSWER struct fb_api_answer next = { 0 };
	struct world w = { 0 };

	(void)state;
	begin(&w, answers, 2);
	assert_fails(FB_EUNKNOWN, post(&w, NULL, false, &answer));
	assert_int_equal(answer.tries, 1);
	assert_int_equal(answer.error.retryable, 1);
	assert_ok(post(&w, NULL, false, &next));
	end(&w);
	script_release(&w.script);
}

static void
a_wait_that_is_too_long_is_told_and_not_waited_for(void **state)
{
	static const char *const answers[] = {
		"HTTP/1.1 429 X\r\nRetry-After: 3600\r\n"
		"Content-Length: 0\r\n\r\n"
	};
	FB_AUTO_API_ANSWER struct fb_api_answer answer = { 0 };
	struct world w = { 0 };

	(void)state;
	begin(&w, answers, 1);
	assert_fails(FB_ERETRY, post(&w, "k", true, &answer));
	end(&w);
	assert_int_equal(answer.retry_after_ms, 3600000);
	script_release(&w.script);
}

static void
an_answer_that_fails_says_why(void **state)
{
	static const char *const answers[] = {
		"HTTP/1.1 409 X\r\nContent-Length: 43\r\n\r\n"
		"{\"error\":\"it is running\",\"code\":\"CONFLICT\"}",
		"HTTP/1.1 200 X\r\nContent-Length: 30\r\n\r\n"
		"{\"success\":false,\"msg\":\"nope\"}",
		"HTTP/1.1 200 X\r\nContent-Length: 5\r\n\r\n{\"a\":",
		"HTTP/1.1 307 X\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
	};
	static const int codes[] = { FB_ECONFLICT, FB_EFAILED, FB_EPROTO,
		FB_EPROTO };
	struct world w = { 0 };

	(void)state;
	begin(&w, answers, 4);
	for (size_t i = 0; i < 4; i++) {
		FB_AUTO_API_ANSWER struct fb_api_answer answer = { 0 };

		assert_fails(codes[i], post(&w, "k", true, &answer));
		if (i == 0) {
			assert_string_equal(answer.error.code, "CONFLICT");
			assert_string_equal(err.msg,
			    "it answers POST /things with 409: it is running");
		}
	}
	end(&w);
	script_release(&w.script);
}

static void
a_call_ends_when_it_is_called_off(void **state)
{
	static const char *const answers[] = { MANY };
	FB_AUTO_API_ANSWER struct fb_api_answer answer = { 0 };
	struct world w = { .options.pause_ms = 0 };
	atomic_bool cancel = true;
	struct fb_api_call call = { .method = "GET", .path = "/",
		.safe = true, .cancel = &cancel };
	int rc;

	(void)state;
	begin(&w, answers, 1);
	rc = fb_api_send(w.api, &call, &answer, &err);
	assert_true(rc == FB_ECANCELED || rc == FB_ERETRY);
	fb_api_free(w.api);
	script_stop(&w.script);
	script_release(&w.script);
}

/* Somebody listens, and never answers. */
static void
a_try_has_a_deadline_and_the_call_has_one(void **state)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	FB_AUTO_API_ANSWER struct fb_api_answer answer = { 0 };
	struct fb_api_options options = { .name = "it", .proxy = "",
		.pause_ms = 2, .step_ms = 60, .call_ms = 100 };
	struct fb_api_call call = { .method = "GET", .path = "/",
		.safe = true };
	int64_t began = fb_clock_mono_ns();
	struct fb_api *api;
	char url[64];

	(void)state;
	assert_int_equal(bind(fd, (void *)&at, len), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (void *)&at, &len), 0);
	(void)snprintf(
	    url, sizeof(url), "http://127.0.0.1:%u", ntohs(at.sin_port));
	options.url = url;
	api = fb_api_new(&options);
	assert_fails(
	    FB_ETIMEOUT, fb_api_send(api, &call, &answer, &err));
	/* What is left of the call is too little for a third one. */
	assert_in_range(answer.tries, 1, 2);
	assert_true(fb_clock_mono_ns() - began >= 60000000);
	fb_api_free(api);
	(void)close(fd);
}

/* --------------------------------------------------------------- tokens */

#define TOKEN(n) \
	"HTTP/1.1 200 X\r\nContent-Length: 77\r\n\r\n" \
	"{\"access_token\":\"token-" n "\",\"refresh_token\":\"refresh-" n \
	"\",\"expires_in\":600}"
#define NO "HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n"

static void
a_token_that_is_refused_is_refreshed_once(void **state)
{
	static const char *const answers[] = { TOKEN("1111"), EMPTY_OK, NO,
		TOKEN("2222"), EMPTY_OK, NO, NO, TOKEN("3333"), NO };
	struct world w = { .options = { .auth = FB_API_FORM,
		               .user = "sub\\u r", .secret = SPAN("p&ss"),
		               .token_path = "/oauth/token",
		               .token_form = "client_id=c" } };
	static const int codes[] = { FB_OK, FB_OK, FB_EDENIED };

	(void)state;
	begin(&w, answers, 9);
	for (size_t i = 0; i < 3; i++) {
		FB_AUTO_API_ANSWER struct fb_api_answer answer = { 0 };
		struct fb_api_call call = { .method = "GET", .path = "/x",
			.safe = true };

		assert_int_equal(
		    fb_api_send(w.api, &call, &answer, &err), codes[i]);
	}
	end(&w);
	assert_true(asked(&w, 0,
	    "grant_type=password&client_id=c&username=sub%5Cu%20r"
	    "&password=p%26ss"));
	assert_true(asked(&w, 1, "Authorization: Bearer token-1111\r\n"));
	assert_true(asked(&w, 3,
	    "grant_type=refresh_token&client_id=c"
	    "&refresh_token=refresh-1111"));
	assert_true(asked(&w, 4, "Bearer token-2222\r\n"));
	/* A refresh token that has ended: from the beginning. */
	assert_true(asked(&w, 6, "grant_type=refresh_token"));
	assert_true(asked(&w, 7, "grant_type=password"));
	script_release(&w.script);
}

static void
a_bearer_is_sent_with_every_request(void **state)
{
	static const char *const answers[] = { EMPTY_OK, NO };
	static const char *const more[] = { "X-Tenant: t", NULL };
	struct world w = { .options = { .auth = FB_API_BEARER,
		               .secret = SPAN("msk_secret"),
		               .headers = more } };
	FB_AUTO_API_ANSWER struct fb_api_answer answer = { 0 };
	struct fb_api_call call = { .method = "GET", .path = "/x",
		.safe = true };

	(void)state;
	begin(&w, answers, 2);
	assert_ok(fb_api_send(w.api, &call, &answer, &err));
	assert_fails(
	    FB_EDENIED, fb_api_send(w.api, &call, &answer, &err));
	end(&w);
	assert_true(asked(&w, 0, "Authorization: Bearer msk_secret\r\n"));
	assert_true(asked(&w, 0, "X-Tenant: t\r\n"));
	assert_false(asked(&w, 0, "ontent-Type"));
	script_release(&w.script);
}

/* ---------------------------------------------------------------- bytes */

static int
keep(void *arg, struct fb_span piece, struct fb_error *unused)
{
	(void)unused;
	fb_buf_add(arg, piece.ptr, piece.len);
	return FB_OK;
}

#define DATE "Last-Modified: Sun, 29 Nov 2026 00:00:00 GMT\r\n"

static void
what_broke_off_is_gone_on_with(void **state)
{
	static const char *const answers[] = {
		"HTTP/1.1 200 X\r\n" DATE "Content-Length: 10\r\n"
		"Connection: close\r\n\r\n0123",
		"HTTP/1.1 206 X\r\n" DATE "Content-Length: 6\r\n"
		"Content-Range: bytes 4-9/10\r\nConnection: close\r\n\r\n4",
		"HTTP/1.1 206 X\r\n" DATE "Content-Length: 5\r\n"
		"Content-Range: bytes 5-9/10\r\n\r\n56789",
	};
	FB_AUTO_BUF struct fb_buf all = { 0 };
	struct fb_api_fetch fetch = { .path = "/image", .end = UINT64_MAX,
		.total = UINT64_MAX, .sink = keep, .arg = &all };
	struct world w = { 0 };

	(void)state;
	begin(&w, answers, 3);
	assert_ok(fb_api_get_bytes(w.api, &fetch, &err));
	end(&w);
	assert_string_equal(fb_buf_str(&all), "0123456789");
	assert_int_equal(fetch.total, 10);
	assert_false(asked(&w, 0, "Range:"));
	assert_true(asked(&w, 1, "\r\nRange: bytes=4-\r\n"));
	assert_true(
	    asked(&w, 1, "If-Range: Sun, 29 Nov 2026 00:00:00 GMT\r\n"));
	assert_true(asked(&w, 2, "\r\nRange: bytes=5-\r\n"));
	script_release(&w.script);
}

static void
what_changed_is_not_mixed(void **state)
{
	static const char *const second[] = {
		"HTTP/1.1 200 X\r\n" DATE "Content-Length: 10\r\n\r\nabcdefghij",
		"HTTP/1.1 206 X\r\nLast-Modified: Mon\r\nContent-Length: 6\r\n"
		"Content-Range: bytes 4-9/10\r\n\r\nefghij",
		"HTTP/1.1 206 X\r\n" DATE "Content-Length: 7\r\n"
		"Content-Range: bytes 4-10/11\r\n\r\nefghijk",
		"HTTP/1.1 206 X\r\n" DATE "Content-Length: 6\r\n"
		"Content-Range: bytes 3-8/10\r\n\r\ndefghi",
		"HTTP/1.1 416 X\r\nContent-Length: 0\r\n\r\n",
	};

	(void)state;
	for (size_t i = 0; i < FB_COUNT(second); i++) {
		const char *const answers[] = {
			"HTTP/1.1 200 X\r\n" DATE "Content-Length: 10\r\n"
			"Connection: close\r\n\r\n0123",
			second[i]
		};
		FB_AUTO_BUF struct fb_buf all = { 0 };
		struct fb_api_fetch fetch = { .path = "/image",
			.end = UINT64_MAX, .total = UINT64_MAX,
			.sink = keep, .arg = &all };
		struct world w = { 0 };

		begin(&w, answers, 2);
		assert_fails(
		    FB_ECONFLICT, fb_api_get_bytes(w.api, &fetch, &err));
		end(&w);
		assert_string_equal(err.id, "E-API-CHANGED");
		assert_string_equal(fb_buf_str(&all), "0123");
		script_release(&w.script);
	}
}

static void
a_range_is_that_range(void **state)
{
	static const char *const answers[] = {
		"HTTP/1.1 206 X\r\n" DATE "Content-Length: 2\r\n"
		"Content-Range: bytes 4-5/10\r\n\r\n45",
		"HTTP/1.1 200 X\r\n" DATE "Content-Length: 10\r\n\r\n0123456789",
	};
	FB_AUTO_BUF struct fb_buf all = { 0 };
	struct fb_api_fetch fetch = { .path = "/image", .from = 4, .end = 6,
		.total = UINT64_MAX, .sink = keep, .arg = &all };
	struct world w = { 0 };

	(void)state;
	begin(&w, answers, 2);
	assert_ok(fb_api_get_bytes(w.api, &fetch, &err));
	assert_fails(FB_ECONFLICT, fb_api_get_bytes(w.api, &fetch, &err));
	end(&w);
	assert_true(asked(&w, 0, "\r\nRange: bytes=4-5\r\n"));
	assert_string_equal(fb_buf_str(&all), "45");
	script_release(&w.script);
}

/* --------------------------------------------------------------- events */

static int
until_ready(void *arg, const struct fb_sse_event *event, struct fb_error *unused)
{
	(void)unused;
	fb_buf_add(arg, event->data.ptr, event->data.len);
	return event->data.len == 5 ? FB_PENDING : FB_OK;
}

static void
events_come_until_somebody_has_seen_enough(void **state)
{
	static const char *const answers[] = {
		"HTTP/1.1 406 X\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\n"
		"Connection: close\r\n\r\n"
		": hi\r\n\r\ndata: a\r\n\r\ndata: ready\r\n\r\ndata: b\r\n\r\n",
		"HTTP/1.1 200 X\r\nConnection: close\r\n\r\ndata: x",
		"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n",
	};
	FB_AUTO_BUF struct fb_buf all = { 0 };
	struct world w = { 0 };
	enum fb_api_end how;

	(void)state;
	begin(&w, answers, 4);
	assert_ok(fb_api_events(w.api, "/events", 5000, NULL, until_ready,
	    &all, &how, &err));
	assert_int_equal(how, FB_API_CLOSED);
	assert_string_equal(fb_buf_str(&all), "aready");
	assert_ok(fb_api_events(w.api, "/events", 5000, NULL, until_ready,
	    &all, &how, &err));
	assert_int_equal(how, FB_API_ENDED);
	assert_string_equal(fb_buf_str(&all), "areadyx");
	assert_fails(FB_ENOTFOUND,
	    fb_api_events(w.api, "/events", 5000, NULL, until_ready, &all,
	        &how, &err));
	end(&w);
	assert_true(asked(&w, 0, "Accept: text/event-stream\r\n"));
	assert_true(asked(&w, 1, "event-stream, application/json"));
	script_release(&w.script);
}

static void
an_answer_is_bounded(void **state)
{
	static const char *const answers[] = {
		"HTTP/1.1 200 X\r\nContent-Length: 12\r\n\r\n{\"a\":\"bcdef\"}"
	};
	FB_AUTO_API_ANSWER struct fb_api_answer answer = { 0 };
	struct fb_api_call call = { .method = "GET", .path = "/",
		.answer_max = 4 };
	struct world w = { 0 };

	(void)state;
	begin(&w, answers, 1);
	assert_fails(FB_EPROTO, fb_api_send(w.api, &call, &answer, &err));
	end(&w);
	script_release(&w.script);
}

static void
a_list_is_asked_for_page_by_page(void **state)
{
	static const char *const answers[] = {
		"HTTP/1.1 200 X\r\nContent-Length: 21\r\n\r\n"
		"[{\"id\":\"a\"},{\"id\":2}]",
		"HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\n[]",
	};
	FB_AUTO_PAGE struct fb_page page = { .style = FB_PAGE_OFFSET,
		.size = 2, .keys = list_keys, .id = "id" };
	FB_AUTO_BUF struct fb_buf all = { 0 };
	struct world w = { 0 };

	(void)state;
	begin(&w, answers, 2);
	assert_ok(fb_api_list(
	    w.api, "/things", &page, NULL, note_item, &all, &err));
	end(&w);
	assert_string_equal(fb_buf_str(&all), "a 2 ");
	assert_true(asked(&w, 1, "GET /v1/things?limit=2&offset=2 HTTP"));
	script_release(&w.script);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(errors_of_every_shape_are_read),
		cmocka_unit_test(a_long_message_is_cut_at_a_character),
		cmocka_unit_test(an_answer_holds_its_object_or_is_it),
		cmocka_unit_test(pages_of_every_style_are_gone_through),
		cmocka_unit_test(a_list_that_is_not_whole_is_refused),
		cmocka_unit_test(the_same_page_again_is_no_progress),
		cmocka_unit_test(a_list_ends),
		cmocka_unit_test(content_ranges_are_what_they_say),
		cmocka_unit_test(what_may_be_done_twice_is_tried_again),
		cmocka_unit_test(what_may_not_be_done_twice_is_not),
		cmocka_unit_test(
		    what_the_server_refused_to_begin_is_tried_when_it_says),
		cmocka_unit_test(
		    what_says_that_it_may_be_tried_again_may_have_been_done),
		cmocka_unit_test(
		    a_wait_that_is_too_long_is_told_and_not_waited_for),
		cmocka_unit_test(an_answer_that_fails_says_why),
		cmocka_unit_test(a_call_ends_when_it_is_called_off),
		cmocka_unit_test(a_try_has_a_deadline_and_the_call_has_one),
		cmocka_unit_test(a_token_that_is_refused_is_refreshed_once),
		cmocka_unit_test(a_bearer_is_sent_with_every_request),
		cmocka_unit_test(what_broke_off_is_gone_on_with),
		cmocka_unit_test(what_changed_is_not_mixed),
		cmocka_unit_test(a_range_is_that_range),
		cmocka_unit_test(events_come_until_somebody_has_seen_enough),
		cmocka_unit_test(an_answer_is_bounded),
		cmocka_unit_test(a_list_is_asked_for_page_by_page),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* JSON is read strictly and written in one way only. */
#include "test.h"

#include "fleetbak/format/json.h"

static struct fb_error err;

static int
parse(const char *text, json_t **ret)
{
	return fb_json_parse(
	    (struct fb_span){ (const uint8_t *)text, strlen(text) }, 4096,
	    "test", ret, &err);
}

static void
what_is_not_one_document_is_refused(void **state)
{
	static const char *const bad[] = { "", " ", "{", "{}{}", "{} x",
		"{\"a\":1,\"a\":2}", "[1,]", "{'a':1}", "{\"a\":\"\\u0000\"}",
		"{\"a\":\"\xff\"}", "{\"a\":\"\xc0\x80\"}", "[01]", "[NaN]",
		"[99999999999999999999999]", "\"text\"", "[\"a\nb\"]",
		"{\"a\":\"\\" };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(bad); i++) {
		json_t *value = NULL;

		assert_fails(FB_ECORRUPT, parse(bad[i], &value));
		assert_null(value);
		assert_non_null(strstr(err.msg, "test: "));
	}
	(void)state;
}

static void
a_raw_nul_is_refused(void **state)
{
	json_t *value = NULL;

	(void)state;
	assert_fails(FB_ECORRUPT,
	    fb_json_parse(SPAN("{\"a\0\":1}"), 99, "t", &value, &err));
	assert_fails(
	    FB_ECORRUPT, fb_json_parse(SPAN("{}\0"), 99, "t", &value, &err));
	assert_null(value);
}

static void
size_and_depth_are_bounded(void **state)
{
	char deep[400];
	json_t *value = NULL;

	(void)state;
	assert_fails(
	    FB_ECORRUPT, fb_json_parse(SPAN("[1,2]"), 4, "t", &value, &err));
	memset(deep, '[', 65);
	memset(deep + 65, ']', 65);
	deep[130] = '\0';
	assert_fails(FB_ECORRUPT, parse(deep, &value));
	assert_non_null(strstr(err.msg, "64 levels"));
	memset(deep + 64, ']', 64);
	deep[128] = '\0';
	assert_ok(parse(deep, &value));
	fb_json_decrefp(&value);
	/* Brackets in a string are text. */
	memset(deep, '[', 200);
	memcpy(deep, "[\"\\\"", 4);
	memcpy(deep + 200, "\"]", 3);
	assert_ok(parse(deep, &value));
	fb_json_decrefp(&value);
	assert_null(value);
}

/* Text of one kind over and over, in brackets. */
static int
parse_list(const char *item, size_t count)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	json_t *value = NULL;
	int rc;

	fb_buf_add_str(&text, "[");
	for (size_t i = 0; i < count; i++) {
		fb_buf_add_str(&text, i > 0 ? "," : "");
		fb_buf_add_str(&text, item);
	}
	fb_buf_add_str(&text, "]");
	rc = fb_json_parse(
	    fb_buf_span(&text), 1u << 30, "list", &value, &err);
	json_decref(value);
	return rc;
}

static void
values_need_some_text_each(void **state)
{
	(void)state;
	assert_int_equal(parse_list("0", 1000), FB_OK);
	assert_int_equal(parse_list("0", 1000000), FB_ECORRUPT);
	assert_non_null(strstr(err.msg, "too many values"));
	assert_int_equal(parse_list("[]", 1000000), FB_ECORRUPT);
	assert_int_equal(parse_list("\"a,b,c\"", 10000), FB_OK);
	assert_int_equal(parse_list("{\"offset\":17}", 10000), FB_OK);
}

static void
the_message_says_line_and_column(void **state)
{
	json_t *value = NULL;

	(void)state;
	assert_fails(FB_ECORRUPT, parse("{\n  \"a\": x\n}", &value));
	assert_non_null(strstr(err.msg, "line 2, column 8"));
}

static void
the_canonical_form_is_sorted_and_tight(void **state)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	FB_AUTO_JSON json_t *value = NULL;

	(void)state;
	assert_ok(parse("{ \"b\" : [1, true, null, \"\\u00e4/\"],\n"
	                "\"a\": {\"z\":-1,\"y\":\"\\n\"} }",
	    &value));
	fb_json_add(&text, value);
	assert_string_equal(fb_buf_str(&text),
	    "{\"a\":{\"y\":\"\\n\",\"z\":-1},\"b\":[1,true,null,\"\xc3\xa4/\"]}");
}

static void
members_are_typed(void **state)
{
	FB_AUTO_JSON json_t *value = NULL;
	const char *str = NULL;
	json_t *part = NULL;
	uint64_t number = 0;
	bool flag = false;

	(void)state;
	assert_ok(parse("{\"s\":\"x\",\"n\":7,\"neg\":-1,\"r\":1.0,\"t\":true,"
	                "\"a\":[],\"o\":{}}",
	    &value));
	assert_ok(fb_json_str(value, "s", "w", &str, &err));
	assert_string_equal(str, "x");
	assert_ok(fb_json_str_opt(value, "none", "w", &str, &err));
	assert_null(str);
	assert_fails(
	    FB_ECORRUPT, fb_json_str_opt(value, "n", "w", &str, &err));
	assert_fails(FB_ECORRUPT, fb_json_str(value, "none", "w", &str, &err));
	assert_string_equal(err.msg, "w: member 'none' is missing");
	assert_ok(fb_json_u64(value, "n", "w", 7, &number, &err));
	assert_int_equal(number, 7);
	assert_fails(
	    FB_ECORRUPT, fb_json_u64(value, "n", "w", 6, &number, &err));
	assert_fails(
	    FB_ECORRUPT, fb_json_u64(value, "neg", "w", 9, &number, &err));
	assert_fails(
	    FB_ECORRUPT, fb_json_u64(value, "r", "w", 9, &number, &err));
	assert_ok(fb_json_bool(value, "t", "w", &flag, &err));
	assert_true(flag);
	assert_fails(FB_ECORRUPT, fb_json_bool(value, "n", "w", &flag, &err));
	assert_ok(fb_json_array(value, "a", "w", &part, &err));
	assert_fails(FB_ECORRUPT, fb_json_array(value, "o", "w", &part, &err));
	assert_ok(fb_json_object(value, "o", "w", &part, &err));
	assert_fails(
	    FB_ECORRUPT, fb_json_object(value, "a", "w", &part, &err));
	assert_fails(FB_ECORRUPT,
	    fb_json_str(json_object_get(value, "a"), "s", "w", &str, &err));
}

static void
an_unknown_member_is_refused(void **state)
{
	static const char *const keys[] = { "a", "b", NULL };
	FB_AUTO_JSON json_t *good = NULL;
	FB_AUTO_JSON json_t *bad = NULL;

	(void)state;
	assert_ok(parse("{\"a\":1}", &good));
	assert_ok(fb_json_only(good, "w", keys, &err));
	assert_ok(parse("{\"a\":1,\"c\":1}", &bad));
	assert_fails(FB_ECORRUPT, fb_json_only(bad, "w", keys, &err));
	assert_string_equal(err.msg, "w: unknown member 'c'");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_one_document_is_refused),
		cmocka_unit_test(a_raw_nul_is_refused),
		cmocka_unit_test(size_and_depth_are_bounded),
		cmocka_unit_test(values_need_some_text_each),
		cmocka_unit_test(the_message_says_line_and_column),
		cmocka_unit_test(the_canonical_form_is_sorted_and_tight),
		cmocka_unit_test(members_are_typed),
		cmocka_unit_test(an_unknown_member_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

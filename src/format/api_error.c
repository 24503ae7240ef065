/* The shapes in which APIs say that something went wrong. */
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/format/api.h"

/* Of an answer whose status says enough already. */
#define BODY_MAX ((size_t)1 << 20)

/* One line of printable text, cut at a character. */
static void
put(char *dst, size_t size, const char *text)
{
	const char *c = text;
	size_t len = 0;
	bool gap = false;

	for (; *c != '\0' && len + 2 < size; c++) {
		unsigned char byte = (unsigned char)*c;

		if (byte <= ' ' || byte == 0x7f) {
			gap = len > 0;
			continue;
		}
		if (gap)
			dst[len++] = ' ';
		gap = false;
		/* C1 controls are two bytes, the first one 0xc2. */
		if (byte == 0xc2 && (unsigned char)c[1] >= 0x80 &&
		    (unsigned char)c[1] < 0xa0) {
			dst[len++] = '?';
			c++;
			continue;
		}
		dst[len++] = *c;
	}
	/* No half of a character at the end. */
	if (*c != '\0') {
		while (len > 0 && ((unsigned char)dst[len - 1] & 0xc0) == 0x80)
			len--;
		if (len > 0 && ((unsigned char)dst[len - 1] & 0x80) != 0)
			len--;
	}
	dst[len] = '\0';
}

static bool
take(const json_t *object, const char *key, char *dst, size_t size)
{
	const char *text = json_string_value(json_object_get(object, key));

	if (text == NULL || text[0] == '\0')
		return false;
	put(dst, size, text);
	return dst[0] != '\0';
}

#define TAKE(object, key, member) \
	take(object, key, error->member, sizeof(error->member))

static void
take_hints(const json_t *object, struct fb_api_error *error)
{
	const json_t *again = json_object_get(object, "retryable");
	const json_t *ms = json_object_get(object, "retry_after_ms");
	const json_t *s = json_object_get(object, "retry_after");

	if (json_is_boolean(again))
		error->retryable = json_is_true(again);
	if (json_is_integer(ms) && json_integer_value(ms) > 0)
		error->retry_after_ms = (uint64_t)json_integer_value(ms);
	else if (json_is_integer(s) && json_integer_value(s) > 0 &&
	    json_integer_value(s) < INT32_MAX)
		error->retry_after_ms = (uint64_t)json_integer_value(s) * 1000;
	(void)TAKE(object, "request_id", request_id);
}

/* The first text of "errors". */
static void
take_errors(const json_t *errors, struct fb_api_error *error)
{
	const json_t *value = errors;
	void *first = json_object_iter((json_t *)(uintptr_t)errors);
	char field[64] = "", text[160] = "";

	if (json_is_object(errors)) {
		if (first == NULL)
			return;
		put(field, sizeof(field), json_object_iter_key(first));
		value = json_object_iter_value(first);
	}
	if (json_is_array(value))
		value = json_array_get(value, 0);
	if (json_is_object(value))
		value = json_object_get(value, "message");
	if (json_string_value(value) != NULL)
		put(text, sizeof(text), json_string_value(value));
	if (error->message[0] == '\0' && (field[0] != '\0' || text[0] != '\0'))
		(void)snprintf(error->message, sizeof(error->message),
		    "%s%s%s", field, field[0] != '\0' ? ": " : "", text);
}

static bool
holds_errors(const json_t *body)
{
	const json_t *errors = json_object_get(body, "errors");

	return json_array_size(errors) > 0 || json_object_size(errors) > 0;
}

static void
take_body(const json_t *body, struct fb_api_error *error)
{
	const json_t *inner = json_object_get(body, "error");

	take_hints(body, error);
	if (json_is_object(inner)) {
		take_hints(inner, error);
		(void)TAKE(inner, "code", code);
		if (!TAKE(inner, "message", message))
			(void)TAKE(inner, "detail", message);
	} else if (TAKE(body, "detail", message) ||
	    TAKE(body, "error_description", message)) {
		(void)TAKE(body, "error", code);
	} else {
		if (!TAKE(body, "error", message) &&
		    !TAKE(body, "message", message))
			(void)TAKE(body, "msg", message);
		(void)TAKE(body, "code", code);
	}
	if (holds_errors(body))
		take_errors(json_object_get(body, "errors"), error);
}

/* Text that is no JSON; of a page of HTML nothing is worth showing. */
static void
take_text(struct fb_span body, struct fb_api_error *error)
{
	char text[256];
	size_t len = body.len < sizeof(text) - 1 ? body.len : sizeof(text) - 1;

	if (len == 0)
		return;
	memcpy(text, body.ptr, len);
	text[len] = '\0';
	if (text[strspn(text, " \t\r\n")] != '<')
		put(error->message, sizeof(error->message), text);
}

void
fb_api_error_parse(struct fb_span body, struct fb_api_error *ret_error)
{
	FB_AUTO_JSON json_t *json = NULL;
	struct fb_error ignored = { 0 };

	*ret_error = (struct fb_api_error){ .retryable = -1 };
	if (body.len > 0 &&
	    fb_json_parse(body, BODY_MAX, "error", &json, &ignored) == FB_OK &&
	    json_is_object(json))
		take_body(json, ret_error);
	else if (json == NULL)
		take_text(body, ret_error);
}

bool
fb_api_is_failure(const json_t *body, struct fb_api_error *ret_error)
{
	if (!json_is_false(json_object_get(body, "success")) &&
	    !holds_errors(body))
		return false;
	*ret_error = (struct fb_api_error){ .retryable = -1 };
	take_body(body, ret_error);
	return true;
}

/*
 * JSON by jansson, made strict.
 */
#include "fleetbak/format/json.h"

#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"

/* Deeper than anything we write; shallow enough for any stack. */
#define DEPTH_MAX 64 /* a message says so */

void
fb_json_decrefp(json_t **value)
{
	json_decref(*value);
	*value = NULL;
}

/* A value takes jansson some 50 bytes.  A large document with values of less
 * text than this is none of ours, and would take memory many times its size. */
#define DENSE_MIN      65536
#define BYTES_PER_VALUE 4

/* jansson bounds nesting by 2048 only, and the number of values not at all:
 * look at what is outside strings before it builds anything. */
const char *
fb_json_shape_fault(struct fb_span text)
{
	size_t depth = 0, values = 1;
	bool quoted = false;

	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.ptr[i];

		if (quoted && c == '\\')
			i++;
		else if (c == '"')
			quoted = !quoted;
		else if (!quoted && (c == '[' || c == '{') &&
		    (values++, ++depth > DEPTH_MAX))
			return "it is nested deeper than 64 levels";
		else if (!quoted && (c == ']' || c == '}') && depth > 0)
			depth--;
		else if (!quoted && c == ',')
			values++;
	}
	return text.len > DENSE_MIN && values > text.len / BYTES_PER_VALUE
	    ? "it holds too many values for its size"
	    : NULL;
}

int
fb_json_parse(struct fb_span text, size_t max, const char *what,
    json_t **ret_value, struct fb_error *err)
{
	json_error_t why;
	const char *fault;
	json_t *value;

	if (text.len > max)
		return fb_fail(err, FB_ECORRUPT,
		    "%s: %zu bytes of JSON, at most %zu are allowed", what,
		    text.len, max);
	fault = fb_json_shape_fault(text);
	if (fault != NULL)
		return fb_fail(err, FB_ECORRUPT, "%s: JSON: %s", what, fault);
	value = json_loadb(text.len == 0 ? "" : (const char *)text.ptr,
	    text.len, JSON_REJECT_DUPLICATES, &why);
	if (value == NULL)
		return fb_fail(err, FB_ECORRUPT,
		    "%s: not valid JSON at line %d, column %d: %s", what,
		    why.line, why.column, why.text);
	*ret_value = value;
	return FB_OK;
}

static int
add_bytes(const char *bytes, size_t len, void *dst)
{
	fb_buf_add(dst, bytes, len);
	return 0;
}

void
fb_json_add(struct fb_buf *dst, const json_t *value)
{
	/* It fails on a value that contains itself, and when memory is out:
	 * half a document must not get anywhere. */
	if (json_dump_callback(value, add_bytes, dst,
	        JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY) != 0)
		/* uncovered: only a cycle or want of memory */
		abort();
}

static int
fail_type(
    const char *what, const char *key, const char *type, struct fb_error *err)
{
	return fb_fail(
	    err, FB_ECORRUPT, "%s: member '%s' is not %s", what, key, type);
}

static int
fail_absent(const char *what, const char *key, struct fb_error *err)
{
	return fb_fail(
	    err, FB_ECORRUPT, "%s: member '%s' is missing", what, key);
}

/* The member, or NULL with the reason raised. */
static json_t *
take(const json_t *object, const char *key, const char *what,
    struct fb_error *err)
{
	json_t *value;

	if (!json_is_object(object)) {
		(void)fb_fail(err, FB_ECORRUPT, "%s: not an object", what);
		return NULL;
	}
	value = json_object_get(object, key);
	if (value == NULL)
		(void)fail_absent(what, key, err);
	return value;
}

int
fb_json_str(const json_t *object, const char *key, const char *what,
    const char **ret, struct fb_error *err)
{
	const json_t *value = take(object, key, what, err);

	if (value == NULL)
		return FB_ECORRUPT;
	if (!json_is_string(value))
		return fail_type(what, key, "a string", err);
	*ret = json_string_value(value);
	return FB_OK;
}

int
fb_json_str_opt(const json_t *object, const char *key, const char *what,
    const char **ret, struct fb_error *err)
{
	if (json_is_object(object) && json_object_get(object, key) == NULL) {
		*ret = NULL;
		return FB_OK;
	}
	return fb_json_str(object, key, what, ret, err);
}

int
fb_json_u64(const json_t *object, const char *key, const char *what,
    uint64_t max, uint64_t *ret, struct fb_error *err)
{
	const json_t *value = take(object, key, what, err);
	json_int_t number;

	if (value == NULL)
		return FB_ECORRUPT;
	if (!json_is_integer(value))
		return fail_type(what, key, "an integer", err);
	number = json_integer_value(value);
	if (number < 0 || (uint64_t)number > max)
		return fb_fail(err, FB_ECORRUPT,
		    "%s: member '%s' is %lld, outside 0 to %llu", what, key,
		    (long long)number, (unsigned long long)max);
	*ret = (uint64_t)number;
	return FB_OK;
}

int
fb_json_bool(const json_t *object, const char *key, const char *what,
    bool *ret, struct fb_error *err)
{
	const json_t *value = take(object, key, what, err);

	if (value == NULL)
		return FB_ECORRUPT;
	if (!json_is_boolean(value))
		return fail_type(what, key, "true or false", err);
	*ret = json_is_true(value);
	return FB_OK;
}

int
fb_json_array(const json_t *object, const char *key, const char *what,
    json_t **ret_borrowed, struct fb_error *err)
{
	json_t *value = take(object, key, what, err);

	if (value == NULL)
		return FB_ECORRUPT;
	if (!json_is_array(value))
		return fail_type(what, key, "an array", err);
	*ret_borrowed = value;
	return FB_OK;
}

int
fb_json_object(const json_t *object, const char *key, const char *what,
    json_t **ret_borrowed, struct fb_error *err)
{
	json_t *value = take(object, key, what, err);

	if (value == NULL)
		return FB_ECORRUPT;
	if (!json_is_object(value))
		return fail_type(what, key, "an object", err);
	*ret_borrowed = value;
	return FB_OK;
}

static bool
among(const char *key, const char *const *keys)
{
	for (; *keys != NULL; keys++)
		if (strcmp(key, *keys) == 0)
			return true;
	return false;
}

int
fb_json_only(const json_t *object, const char *what, const char *const *keys,
    struct fb_error *err)
{
	const char *key;
	json_t *value;

	if (!json_is_object(object))
		return fb_fail(err, FB_ECORRUPT, "%s: not an object", what);
	/* jansson's iterator takes no const; it changes nothing. */
	json_object_foreach((json_t *)(uintptr_t)object, key, value)
	{
		(void)value;
		if (!among(key, keys))
			return fb_fail(err, FB_ECORRUPT,
			    "%s: unknown member '%s'", what, key);
	}
	return FB_OK;
}

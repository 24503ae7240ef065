/* The shapes of answers: envelopes, pages, and what is an error. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "miosa.h"

#include "fleetbak/base/mem.h"

static void
answer(struct miosa_request *request, int status, const char *type,
    const char *text)
{
	request->status = status;
	request->type = type;
	fb_buf_clear(&request->answer);
	fb_buf_add_str(&request->answer, text);
}

void
miosa_json(struct miosa_request *request, int status, json_t *json)
{
	FB_AUTO_FREE char *text = json_dumps(json, JSON_COMPACT);

	answer(request, status, "application/json; charset=utf-8", text);
	json_decref(json);
}

static bool
enveloped(const struct miosa_request *request, const char *mode)
{
	/* Without a rule, the first family's answers are bare. */
	bool bare = strcmp(request->part[0], "computers") == 0 &&
	    (request->parts < 3 ||
	        strcmp(request->part[2], "snapshots") != 0);

	return strcmp(request->on[MIOSA_ENVELOPE]
	               ? request->text[MIOSA_ENVELOPE]
	               : bare ? "bare"
	                      : "data",
	           mode) == 0;
}

void
miosa_object(struct miosa_request *request, int status, const char *name,
    json_t *object, json_t *beside)
{
	json_t *all;

	if (enveloped(request, "bare"))
		all = object;
	else
		all = json_pack("{s:o}",
		    enveloped(request, "named") ? name : "data", object);
	if (beside != NULL && all != object)
		(void)json_object_update(all, beside);
	json_decref(beside);
	miosa_json(request, status, all);
}

static size_t
query_number(
    const struct miosa_request *request, const char *name, size_t otherwise)
{
	FB_AUTO_FREE char *value = miosa_query(request, name);

	return value != NULL ? strtoul(value, NULL, 10) : otherwise;
}

/* What a style of pages is asked for by, and what it says of itself. */
static json_t *
page_of(const struct miosa_request *request, const json_t *list, size_t most,
    json_t **ret_meta)
{
	const char *style = request->text[MIOSA_PAGING];
	size_t all = json_array_size(list), size, from;
	bool meta = strncmp(style, "meta", 4) == 0;
	bool page = strncmp(style, "page", 4) == 0;
	json_int_t total = request->on[MIOSA_TOTAL]
	    ? request->argument[MIOSA_TOTAL]
	    : (json_int_t)all;
	json_t *part = json_array();

	size = query_number(request,
	    meta       ? "per_page"
	        : page ? "page_size"
	               : "limit",
	    20);
	size = size == 0 || size > most ? most : size;
	if (meta || page) {
		size_t number = query_number(request, "page", 1);

		from = (number > 0 ? number - 1 : 0) * size;
		*ret_meta = json_pack("{s:{s:I,s:I,s:I}}",
		    meta ? "meta" : "page", "total", total, "page",
		    (json_int_t)number, meta ? "per_page" : "page_size",
		    (json_int_t)size);
	} else if (strncmp(style, "cursor", 6) == 0) {
		from = query_number(request, "cursor", 0);
		*ret_meta = from + size < all
		    ? json_pack("{s:o,s:b}", "next_cursor",
		          json_sprintf("%zu", from + size), "has_more", 1)
		    : json_pack("{s:n,s:b}", "next_cursor", "has_more", 0);
	} else {
		from = query_number(request, "offset", 0);
		*ret_meta = json_object();
	}
	for (size_t i = from; i < from + size && i < all; i++)
		(void)json_array_append(part, json_array_get(list, i));
	return part;
}

/* "paging=STYLE[,MAX]"; a bare list has no room for what pages say. */
void
miosa_list(struct miosa_request *request, const char *name, json_t *list)
{
	FB_AUTO_FREE char *plural = fb_format("%ss", name);
	const char *max = strchr(request->text[MIOSA_PAGING], ',');
	size_t most = max != NULL ? strtoul(max + 1, NULL, 10) : 100;
	json_t *meta = NULL, *part = NULL, *all;
	const char *key = enveloped(request, "named") ? plural
	    : enveloped(request, "items")             ? "items"
	    : enveloped(request, "other")             ? "rows"
	                                              : "data";

	if (request->on[MIOSA_PAGING]) {
		part = page_of(request, list, most, &meta);
		json_decref(list);
		list = part;
	}
	all = enveloped(request, "bare") && json_object_size(meta) == 0
	    ? list
	    : json_pack("{s:o}", key, list);
	if (json_object_size(meta) > 0)
		(void)json_object_update(all, meta);
	json_decref(meta);
	miosa_json(request, 200, all);
}

static json_t *
shaped(const struct miosa_request *request, int64_t shape, const char *code,
    json_t *details, const char *text)
{
	json_t *error;

	switch (shape) {
	case 1:
		error = json_pack("{s:s,s:s,s:o,s:O*}", "code", code,
		    "message", text, "request_id",
		    json_sprintf("req_%lu", request->number), "details",
		    details);
		if (request->on[MIOSA_RETRY_MS])
			(void)json_object_update_new(error,
			    json_pack("{s:b,s:I}", "retryable", 1,
			        "retry_after_ms",
			        (json_int_t)
			            request->argument[MIOSA_RETRY_MS]));
		return json_pack("{s:o}", "error", error);
	case 3:
		return json_pack("{s:s,s:s}", "error", code, "detail", text);
	case 4:
		return json_pack("{s:s}", "error", text);
	case 5:
		return json_pack("{s:s,s:s}", "message", text, "code", code);
	case 6:
		return json_pack("{s:s}", "message", text);
	case 7:
		return json_pack("{s:[s]}", "errors", text);
	case 9:
		return json_pack("{s:{s:[s]}}", "errors", "base", text);
	default:
		error = json_pack("{s:s,s:s}", "error", text, "code", code);
		if (request->on[MIOSA_RETRY_MS])
			(void)json_object_set_new(error, "retry_after_ms",
			    json_integer((json_int_t)
			            request->argument[MIOSA_RETRY_MS]));
		return error;
	}
}

void
miosa_error_with(struct miosa_request *request, int status, const char *code,
    json_t *details, const char *text)
{
	int64_t shape = request->on[MIOSA_SHAPE]
	    ? request->argument[MIOSA_SHAPE]
	    : request->parts > 0 && strcmp(request->part[0], "snapshots") == 0
	    ? 1
	    : 2;
	FB_AUTO_FREE char *html =
	    fb_format("<html><body><h1>%d %s</h1></body></html>\n", status,
	        text);

	if (shape == 8)
		answer(request, status, "text/html", html);
	else if (shape == 10)
		answer(request, status, NULL, "");
	else
		miosa_json(request, status,
		    shaped(request, shape, code, details, text));
	json_decref(details);
}

void
miosa_error(struct miosa_request *request, int status, const char *code,
    const char *fmt, ...)
{
	char text[512];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	miosa_error_with(request, status, code, NULL, text);
}

bool
miosa_method(struct miosa_request *request, const char *method)
{
	return strcmp(request->head.method, method) == 0;
}

static int
hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0'
	    : c >= 'a' && c <= 'f'  ? c - 'a' + 10
	    : c >= 'A' && c <= 'F'  ? c - 'A' + 10
	                            : -1;
}

char *
miosa_decode(const char *text, size_t len)
{
	char *decoded = fb_alloc(len + 1, 1), *to = decoded;

	for (size_t i = 0; i < len; i++)
		if (text[i] == '%' && i + 2 < len &&
		    hex_digit(text[i + 1]) >= 0 &&
		    hex_digit(text[i + 2]) >= 0) {
			*to++ = (char)(hex_digit(text[i + 1]) * 16 +
			    hex_digit(text[i + 2]));
			i += 2;
		} else
			*to++ = text[i];
	return decoded;
}

char *
miosa_query(const struct miosa_request *request, const char *name)
{
	size_t len = strlen(name);
	const char *at = request->query;

	while (*at != '\0') {
		size_t size = strcspn(at, "&");

		if (strncmp(at, name, len) == 0 && at[len] == '=') {
			/* A form's "+" is a space. */
			FB_AUTO_FREE char *value =
			    strndup(at + len + 1, size - len - 1);

			for (char *c = value; *c != '\0'; c++)
				if (*c == '+')
					*c = ' ';
			return miosa_decode(value, strlen(value));
		}
		at += size + (at[size] == '&');
	}
	return NULL;
}

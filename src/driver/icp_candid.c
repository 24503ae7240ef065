/*
 * The text of Candid values, as the `icp` command prints what a canister has
 * answered: made JSON of, so that one reader serves all shapes of a registry.
 *
 * A record and a variant are objects, a vector and a blob arrays, an option is
 * what is in it or null.  A field that is known by the hash of its name only
 * gets that name when it is one of those that are looked for.
 */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"

#include "icp_internal.h"

#define DEPTH_MAX 32
#define WORD_MAX  64

struct reader {
	const char *at, *end;
	unsigned depth;
};

static json_t *read_value(struct reader *r);

/* White space, and comments to the end of the line. */
static void
skip(struct reader *r)
{
	while (r->at < r->end) {
		if (strchr(" \t\r\n", *r->at) != NULL && *r->at != '\0') {
			r->at++;
		} else if (r->end - r->at > 1 && r->at[0] == '/' &&
		    r->at[1] == '/') {
			while (r->at < r->end && *r->at != '\n')
				r->at++;
		} else {
			return;
		}
	}
}

static bool
take(struct reader *r, char wanted)
{
	skip(r);
	if (r->at == r->end || *r->at != wanted)
		return false;
	r->at++;
	return true;
}

static bool
is_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	    (c >= '0' && c <= '9') || c == '_' || c == '+' || c == '-' ||
	    c == '.';
}

/* A name, a number or a keyword; "" when there is none. */
static bool
read_word(struct reader *r, char word[WORD_MAX])
{
	size_t len = 0;

	skip(r);
	while (r->at < r->end && is_word(*r->at)) {
		if (len + 1 == WORD_MAX)
			return false;
		word[len++] = *r->at++;
	}
	word[len] = '\0';
	return true;
}

/* ---------------------------------------------------------------- strings */

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static void
add_utf8(struct fb_buf *dst, uint32_t c)
{
	uint8_t bytes[4];
	size_t len = 0;

	if (c < 0x80) {
		bytes[len++] = (uint8_t)c;
	} else if (c < 0x800) {
		bytes[len++] = (uint8_t)(0xc0 | c >> 6);
	} else if (c < 0x10000) {
		bytes[len++] = (uint8_t)(0xe0 | c >> 12);
		bytes[len++] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
	} else {
		bytes[len++] = (uint8_t)(0xf0 | c >> 18);
		bytes[len++] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
		bytes[len++] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
	}
	if (c >= 0x80)
		bytes[len++] = (uint8_t)(0x80 | (c & 0x3f));
	fb_buf_add(dst, bytes, len);
}

/* "u{1f600}", behind the backslash. */
static bool
read_unicode(struct reader *r, struct fb_buf *dst)
{
	uint32_t c = 0;
	int digit;

	r->at++;
	if (r->at == r->end || *r->at++ != '{')
		return false;
	while (r->at < r->end && (digit = hex_digit(*r->at)) >= 0) {
		c = c * 16 + (uint32_t)digit;
		if (c > 0x10ffff)
			return false;
		r->at++;
	}
	if (r->at == r->end || *r->at++ != '}')
		return false;
	add_utf8(dst, c);
	return true;
}

/* What is behind a backslash. */
static bool
read_escape(struct reader *r, struct fb_buf *dst)
{
	static const char letters[] = "nrt\\\"'", bytes[] = "\n\r\t\\\"'";
	const char *letter;
	uint8_t byte;

	if (r->at == r->end || *r->at == '\0')
		return false;
	if (*r->at == 'u')
		return read_unicode(r, dst);
	letter = strchr(letters, *r->at);
	if (letter != NULL) {
		fb_buf_add(dst, &bytes[letter - letters], 1);
		r->at++;
		return true;
	}
	if (r->end - r->at < 2 || hex_digit(r->at[0]) < 0 ||
	    hex_digit(r->at[1]) < 0)
		return false;
	byte = (uint8_t)(hex_digit(r->at[0]) * 16 + hex_digit(r->at[1]));
	fb_buf_add(dst, &byte, 1);
	r->at += 2;
	return true;
}

static bool
read_string(struct reader *r, struct fb_buf *dst)
{
	if (!take(r, '"'))
		return false;
	while (r->at < r->end && *r->at != '"') {
		if (*r->at != '\\') {
			fb_buf_add(dst, r->at++, 1);
			continue;
		}
		r->at++;
		if (!read_escape(r, dst))
			return false;
	}
	return take(r, '"');
}

/* NULL also when it is no UTF-8, or holds a NUL. */
static json_t *
read_text(struct reader *r)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };

	if (!read_string(r, &text) ||
	    (text.len > 0 && memchr(text.data, '\0', text.len) != NULL))
		return NULL;
	return json_string(text.len > 0 ? fb_buf_str(&text) : "");
}

static json_t *
read_blob(struct reader *r)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	json_t *list;

	if (!read_string(r, &bytes))
		return NULL;
	list = json_array();
	for (size_t i = 0; i < bytes.len; i++)
		(void)json_array_append_new(
		    list, json_integer(bytes.data[i]));
	return list;
}

/* ----------------------------------------------------------------- fields */

static uint32_t
hash_of(const char *name)
{
	uint32_t hash = 0;

	for (; *name != '\0'; name++)
		hash = hash * 223 + (uint8_t)*name;
	return hash;
}

static const char *
name_of(const char *word)
{
	static const char *const names[] = { "Ok", "Err", "pid", "role",
		"kind", "record", "parent_pid", "module_hash" };
	uint64_t hash = 0;

	for (const char *c = word; *c != '\0'; c++) {
		if (*c == '_')
			continue;
		if (*c < '0' || *c > '9' || hash > UINT32_MAX)
			return word;
		hash = hash * 10 + (uint64_t)(*c - '0');
	}
	for (size_t i = 0; i < FB_COUNT(names); i++)
		if (hash_of(names[i]) == hash)
			return names[i];
	return word;
}

/* KEY, and its value or null, into the object. */
static bool
read_field(struct reader *r, json_t *object)
{
	FB_AUTO_BUF struct fb_buf quoted = { 0 };
	char word[WORD_MAX];
	const char *key = word;
	json_t *value;

	skip(r);
	if (r->at < r->end && *r->at == '"') {
		if (!read_string(r, &quoted) ||
		    memchr(fb_buf_str(&quoted), '\0', quoted.len) != NULL)
			return false;
		key = fb_buf_str(&quoted);
	} else if (!read_word(r, word) || word[0] == '\0') {
		return false;
	}
	key = name_of(key);
	if (json_object_get(object, key) != NULL)
		return false;
	value = take(r, '=') ? read_value(r) : json_null();
	return value != NULL && json_object_set_new(object, key, value) == 0;
}

static bool
read_item(struct reader *r, json_t *list)
{
	json_t *value = read_value(r);

	return value != NULL && json_array_append_new(list, value) == 0;
}

/* "{ ITEM; ITEM; }" */
static json_t *
read_items(struct reader *r, json_t *into,
    bool (*read)(struct reader *, json_t *))
{
	bool good = take(r, '{');

	while (good && !take(r, '}'))
		good = read(r, into) && (take(r, ';') || *r->at == '}');
	if (good)
		return into;
	json_decref(into);
	return NULL;
}

/* ----------------------------------------------------------------- values */

/* A number: what fits is one, and the rest is text. */
static json_t *
number_of(const char *word)
{
	char digits[WORD_MAX];
	size_t len = 0;

	if (strspn(word, "0123456789") == 0 && word[0] != '-' &&
	    word[0] != '+')
		return NULL;
	for (; *word != '\0'; word++)
		if (*word != '_')
			digits[len++] = *word;
	digits[len] = '\0';
	if (len <= 18 && strspn(digits, "0123456789") == len)
		return json_integer(strtoll(digits, NULL, 10));
	return json_string(digits);
}

static json_t *
read_keyword(struct reader *r)
{
	char word[WORD_MAX];

	if (!read_word(r, word))
		return NULL;
	if (strcmp(word, "opt") == 0)
		return read_value(r);
	if (strcmp(word, "vec") == 0)
		return read_items(r, json_array(), read_item);
	if (strcmp(word, "record") == 0 || strcmp(word, "variant") == 0)
		return read_items(r, json_object(), read_field);
	if (strcmp(word, "blob") == 0)
		return read_blob(r);
	if (strcmp(word, "principal") == 0 || strcmp(word, "service") == 0)
		return read_text(r);
	if (strcmp(word, "null") == 0)
		return json_null();
	if (strcmp(word, "true") == 0 || strcmp(word, "false") == 0)
		return json_boolean(word[0] == 't');
	return number_of(word);
}

static json_t *
read_value(struct reader *r)
{
	char type[WORD_MAX];
	json_t *value = NULL;

	if (r->depth == DEPTH_MAX)
		return NULL;
	r->depth++;
	skip(r);
	if (r->at < r->end && *r->at == '"')
		value = read_text(r);
	else if (r->at < r->end)
		value = read_keyword(r);
	r->depth--;
	/* "12 : nat64" */
	if (value == NULL || !take(r, ':') ||
	    (read_word(r, type) && type[0] != '\0'))
		return value;
	json_decref(value);
	return NULL;
}

json_t *
fb_icp_candid(const char *text)
{
	struct reader r = { text, text + strlen(text), 0 };
	json_t *value = take(&r, '(') ? read_value(&r) : NULL;

	if (value != NULL) {
		(void)take(&r, ',');
		if (take(&r, ')')) {
			skip(&r);
			if (r.at == r.end)
				return value;
		}
	}
	json_decref(value);
	return NULL;
}

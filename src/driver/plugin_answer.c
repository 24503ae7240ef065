/* The lines that a plugin says. */
#include "plugin_answer.h"

#include <stdio.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/log.h"
#include "fleetbak/base/mem.h"

static const char *const verb_names[FB_PLUGIN_VERBS] = {
	[FB_PLUGIN_HELLO] = "hello",
	[FB_PLUGIN_PROBE] = "probe",
	[FB_PLUGIN_DISCOVER] = "discover",
	[FB_PLUGIN_POWER_GET] = "power_get",
	[FB_PLUGIN_STOP] = "stop",
	[FB_PLUGIN_START] = "start",
	[FB_PLUGIN_CREATE_SNAPSHOT] = "create_snapshot",
	[FB_PLUGIN_FIND_BY_TOKEN] = "find_by_token",
	[FB_PLUGIN_LIST_SNAPSHOTS] = "list_snapshots",
	[FB_PLUGIN_REMOVE_SNAPSHOT] = "remove_snapshot",
	[FB_PLUGIN_READ_BLOCKS] = "read_blocks",
	[FB_PLUGIN_READ_STREAM] = "read_stream",
	[FB_PLUGIN_RESTORE_CHECK] = "restore_check",
	[FB_PLUGIN_RESTORE_LIST] = "restore_list",
	[FB_PLUGIN_RESTORE_BEGIN] = "restore_begin",
	[FB_PLUGIN_WRITE_BLOCKS] = "write_blocks",
	[FB_PLUGIN_WRITE_STREAM] = "write_stream",
	[FB_PLUGIN_RESTORE_FINISH] = "restore_finish",
};

static const struct {
	const char *name;
	int code;
} answers[] = {
	{ "DONE", FB_OK },
	{ "PENDING", FB_PENDING },
	{ "RETRY_AFTER", FB_ERETRY },
	{ "CONFLICT", FB_ECONFLICT },
	{ "NOT_FOUND", FB_ENOTFOUND },
	{ "UNSUPPORTED", FB_EUNSUP },
	{ "UNREACHABLE", FB_EUNREACH },
	{ "AUTH", FB_EDENIED },
	{ "QUOTA", FB_ENOSPACE },
	{ "PROTOCOL", FB_EPROTO },
	{ "FAILED", FB_EFAILED },
	{ "UNKNOWN_OUTCOME", FB_EUNKNOWN },
	{ "TIMEOUT", FB_ETIMEOUT },
};

/* Longest wait that it may ask for. */
#define RETRY_MAX_MS 3600000

/* Items of one verb: machines, snapshots. */
#define ITEMS_MAX 1000000

const char *
fb_plugin_verb_name(enum fb_plugin_verb verb)
{
	return verb_names[verb];
}

void
fb_plugin_reply_release(struct fb_plugin_reply *reply)
{
	json_decref(reply->body);
	*reply = (struct fb_plugin_reply){ 0 };
}

int
fb_plugin_broken(struct fb_error *err)
{
	err->code = FB_EPROTO;
	err->id = "E-PLUGIN-ANSWER";
	if (err->hint[0] == '\0')
		(void)fb_hint(err, "'fleetbak driver test' names what a plugin "
		                   "does wrong");
	return FB_EPROTO;
}

struct decoder {
	struct fb_span rest;
	const struct fb_plugin_listener *listener;
	size_t line, warnings, items;
	uint64_t id; /* of the answer that is due */
};

/* Whatever it says as text, without secrets: in JSON one may hide behind
 * escapes.  How deep it goes fb_json_parse() has bounded. */
static void
redact_all(json_t *value) /* NOLINT(misc-no-recursion) */
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	const char *key;
	json_t *member;
	size_t index;
	void *next;

	json_object_foreach_safe(value, next, key, member)
		redact_all(member);
	json_array_foreach(value, index, member)
		redact_all(member);
	if (json_string_length(value) == 0) /* of what is none, too */
		return;
	fb_buf_add(
	    &text, json_string_value(value), json_string_length(value));
	fb_redact(&text);
	if (text.len != json_string_length(value) ||
	    memcmp(text.data, json_string_value(value), text.len) != 0)
		(void)json_string_setn(
		    value, (const char *)text.data, text.len);
}

static int
next_line(struct decoder *d, json_t **ret_line, struct fb_error *err)
{
	const uint8_t *end = d->rest.len > 0
	    ? memchr(d->rest.ptr, '\n', d->rest.len)
	    : NULL;
	struct fb_span line = { d->rest.ptr, 0 };
	int rc;

	d->line++;
	if (d->rest.len == 0)
		return fb_fail(err, FB_EPROTO, "it gave no answer %llu",
		    (unsigned long long)d->id);
	if (end == NULL)
		return fb_fail(err, FB_EPROTO,
		    "line %zu stops before its end", d->line);
	line.len = (size_t)(end - d->rest.ptr);
	d->rest.ptr += line.len + 1;
	d->rest.len -= line.len + 1;
	rc = fb_json_parse(line, FB_PLUGIN_LINE_MAX, "answer", ret_line, err);
	if (rc == FB_OK && !json_is_object(*ret_line))
		rc = fb_fail(err, FB_EPROTO, "it is no object");
	if (rc == FB_OK)
		redact_all(*ret_line);
	return rc < 0 ? fb_wrap(err, "line %zu", d->line) : FB_OK;
}

static int
take_warning(struct decoder *d, const json_t *line, struct fb_error *err)
{
	static const char *const keys[] = { "id", "path", "warn", NULL };
	const char *what, *path;
	int rc = fb_json_only(line, "warning", keys, err);

	if (rc == FB_OK)
		rc = fb_json_str(line, "warn", "warning", &what, err);
	if (rc == FB_OK)
		rc = fb_json_str_opt(line, "path", "warning", &path, err);
	if (rc == FB_OK && ++d->warnings > FB_PLUGIN_WARN_MAX)
		rc = fb_fail(err, FB_EPROTO, "more than %d warnings",
		    FB_PLUGIN_WARN_MAX);
	if (rc == FB_OK && d->listener != NULL && d->listener->warn != NULL)
		d->listener->warn(d->listener->arg, path, what);
	return rc;
}

static int
take_item(struct decoder *d, const json_t *line, struct fb_error *err)
{
	static const char *const keys[] = { "id", "item", NULL };
	json_t *item;
	int rc = fb_json_only(line, "item", keys, err);

	if (rc == FB_OK)
		rc = fb_json_object(line, "item", "item", &item, err);
	if (rc == FB_OK && ++d->items > ITEMS_MAX)
		rc = fb_fail(err, FB_EPROTO, "more than %d items", ITEMS_MAX);
	if (rc == FB_OK && (d->listener == NULL || d->listener->item == NULL))
		rc = fb_fail(err, FB_EPROTO, "the verb has no items");
	return rc == FB_OK
	    ? d->listener->item(d->listener->arg, item, err)
	    : rc;
}

static int
take_answer(const json_t *line, struct fb_plugin_reply *reply,
    struct fb_error *err)
{
	static const char *const keys[] = { "answer", "id", "result",
		"retry_ms", "text", NULL };
	const char *name, *text;
	int rc = fb_json_only(line, "answer", keys, err);

	if (rc == FB_OK)
		rc = fb_json_str(line, "answer", "answer", &name, err);
	if (rc == FB_OK)
		rc = fb_json_str_opt(line, "text", "answer", &text, err);
	if (rc == FB_OK && json_object_get(line, "retry_ms") != NULL)
		rc = fb_json_u64(line, "retry_ms", "answer", RETRY_MAX_MS,
		    &reply->retry_ms, err);
	if (rc == FB_OK && json_object_get(line, "result") != NULL)
		rc = fb_json_object(
		    line, "result", "answer", &reply->body, err);
	if (rc < 0) {
		reply->body = NULL;
		return rc;
	}
	json_incref(reply->body);
	(void)snprintf(reply->text, sizeof(reply->text), "%s",
	    text != NULL ? text : "");
	for (size_t i = 0; i < FB_COUNT(answers); i++) {
		if (strcmp(answers[i].name, name) != 0)
			continue;
		reply->answer = answers[i].name;
		reply->code = (enum fb_code)answers[i].code;
		return FB_OK;
	}
	return fb_fail(err, FB_EPROTO, "there is no answer '%.32s'", name);
}

/* Lines up to the answer that is due. */
static int
read_answer(
    struct decoder *d, struct fb_plugin_reply *reply, struct fb_error *err)
{
	for (;;) {
		FB_AUTO_JSON json_t *line = NULL;
		uint64_t id;
		bool last = false;
		int rc = next_line(d, &line, err);

		if (rc < 0)
			return rc;
		rc = fb_json_u64(line, "id", "answer", INT64_MAX, &id, err);
		if (rc == FB_OK && id != d->id)
			rc = fb_fail(err, FB_EPROTO,
			    "it has the id %llu, and %llu is due",
			    (unsigned long long)id, (unsigned long long)d->id);
		if (rc == FB_OK && json_object_get(line, "warn") != NULL)
			rc = take_warning(d, line, err);
		else if (rc == FB_OK && json_object_get(line, "item") != NULL)
			rc = take_item(d, line, err);
		else if (rc == FB_OK) {
			rc = take_answer(line, reply, err);
			last = true;
		}
		if (rc < 0)
			return fb_wrap(err, "line %zu", d->line);
		if (last)
			return FB_OK;
	}
}

static int
copy_text(const json_t *body, const char *key, char *dst, size_t size,
    struct fb_error *err)
{
	const char *text;
	int rc = fb_json_str(body, key, "hello", &text, err);

	if (rc == FB_OK && (text[0] == '\0' || strlen(text) >= size))
		rc = fb_fail(err, FB_EPROTO,
		    "hello: '%s' has 1 to %zu bytes", key, size - 1);
	if (rc == FB_OK)
		memcpy(dst, text, strlen(text) + 1);
	return rc;
}

static int
take_verbs(
    const json_t *body, struct fb_plugin_hello *hello, struct fb_error *err)
{
	const json_t *name;
	json_t *list;
	size_t index;
	int rc = fb_json_array(body, "verbs", "hello", &list, err);

	if (rc < 0)
		return rc;
	/* Verbs of a later protocol say nothing to this one. */
	json_array_foreach(list, index, name) {
		if (!json_is_string(name))
			return fb_fail(err, FB_EPROTO,
			    "hello: a verb is not a string");
		for (unsigned i = 0; i < FB_PLUGIN_VERBS; i++)
			if (strcmp(json_string_value(name), verb_names[i]) ==
			    0)
				hello->verbs |= 1u << i;
	}
	return FB_OK;
}

static int
take_hello(
    const json_t *body, struct fb_plugin_hello *hello, struct fb_error *err)
{
	static const char *const keys[] = { "changes", "name", "protocol",
		"resume", "verbs", "version", NULL };
	uint64_t protocol;
	int rc;

	if (body == NULL)
		return fb_fail(err, FB_EPROTO, "hello: it has no result");
	rc = fb_json_only(body, "hello", keys, err);
	if (rc == FB_OK)
		rc = fb_json_u64(
		    body, "protocol", "hello", INT64_MAX, &protocol, err);
	if (rc == FB_OK && protocol != FB_PLUGIN_PROTOCOL)
		rc = fb_fail(err, FB_EPROTO,
		    "hello: it speaks protocol %llu, this fleetbak %d",
		    (unsigned long long)protocol, FB_PLUGIN_PROTOCOL);
	if (rc == FB_OK)
		rc = copy_text(
		    body, "name", hello->name, sizeof(hello->name), err);
	if (rc == FB_OK)
		rc = copy_text(body, "version", hello->version,
		    sizeof(hello->version), err);
	if (rc == FB_OK)
		rc = take_verbs(body, hello, err);
	if (rc == FB_OK && json_object_get(body, "resume") != NULL)
		rc = fb_json_bool(body, "resume", "hello", &hello->resume, err);
	if (rc == FB_OK && json_object_get(body, "changes") != NULL)
		rc = fb_json_bool(
		    body, "changes", "hello", &hello->changes, err);
	return rc;
}

/* Whoever refused hello has not been asked for the verb: what he says is not
 * about it. */
static enum fb_code
code_of_hello(enum fb_code code)
{
	return code == FB_EDENIED || code == FB_EPROTO || code == FB_ERETRY
	    ? code
	    : FB_EUNREACH;
}

static int
read_all(struct decoder *d, bool verb, struct fb_plugin_hello *hello,
    struct fb_plugin_reply *reply, struct fb_error *err)
{
	const struct fb_plugin_listener *listener = d->listener;
	int rc;

	d->listener = NULL; /* hello has neither items nor a warner */
	d->id = 1;
	rc = read_answer(d, reply, err);
	if (rc < 0)
		return rc;
	if (reply->code == FB_PENDING)
		return fb_fail(err, FB_EPROTO, "hello cannot be pending");
	if (reply->code == FB_OK)
		rc = take_hello(reply->body, hello, err);
	if (rc == FB_OK && verb && reply->code == FB_OK) {
		fb_plugin_reply_release(reply);
		d->listener = listener;
		d->id = 2;
		rc = read_answer(d, reply, err);
	} else if (rc == FB_OK && verb) {
		reply->code = code_of_hello(reply->code);
		return FB_OK; /* what it says after a refusal is nothing */
	}
	if (rc == FB_OK && d->rest.len > 0)
		rc = fb_fail(err, FB_EPROTO,
		    "line %zu comes after the last answer", d->line + 1);
	return rc;
}

int
fb_plugin_decode(struct fb_span said, bool verb,
    const struct fb_plugin_listener *listener,
    struct fb_plugin_hello *ret_hello, struct fb_plugin_reply *ret_reply,
    struct fb_error *err)
{
	struct decoder d = { .rest = said, .listener = listener };
	int rc;

	*ret_hello = (struct fb_plugin_hello){ 0 };
	*ret_reply = (struct fb_plugin_reply){ 0 };
	rc = read_all(&d, verb, ret_hello, ret_reply, err);
	if (rc == FB_OK)
		return rc;
	fb_plugin_reply_release(ret_reply);
	return fb_plugin_broken(err);
}

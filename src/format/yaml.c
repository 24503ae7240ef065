/*
 * libyaml's events to a tree.
 */
#include "yaml_tree.h"

#include <string.h>

#include <yaml.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"

struct reader {
	yaml_parser_t parser;
	const char *path;
	struct fb_span text;
	size_t nodes;
	size_t index;  /* of a character ... */
	size_t offset; /* ... and of its first byte */
};

static int read_node(struct reader *in, const yaml_event_t *event,
    unsigned depth, struct fb_yaml_node **ret_node, struct fb_error *err);

void
fb_yaml_free(struct fb_yaml_node *node)
{
	if (node == NULL)
		return;
	for (size_t i = 0; i < node->count; i++) {
		if (node->keys != NULL)
			fb_yaml_free(node->keys[i]);
		fb_yaml_free(node->items[i]);
	}
	fb_freep(&node->keys);
	fb_freep(&node->items);
	fb_freep(&node->text);
	fb_freep(&node);
}

void
fb_yaml_freep(struct fb_yaml_node **node)
{
	fb_yaml_free(*node);
	*node = NULL;
}

const struct fb_yaml_node *
fb_yaml_get(const struct fb_yaml_node *map, const char *key)
{
	if (map->kind != FB_YAML_MAP)
		return NULL;
	for (size_t i = 0; i < map->count; i++)
		if (strcmp(map->keys[i]->text, key) == 0)
			return map->items[i];
	return NULL;
}

/* Length of the UTF-8 character at `at`, 0 if it is none or is NUL. */
static size_t
character_len(struct fb_span text, size_t at)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	uint8_t c = text.ptr[at];
	size_t len = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
	uint32_t value = len == 1 ? c : c & (0x7fu >> len);

	if (c == 0 || (c >= 0x80 && c < 0xc0) || c > 0xf4 ||
	    len > text.len - at)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if ((text.ptr[at + i] & 0xc0) != 0x80)
			return 0;
		value = value << 6 | (text.ptr[at + i] & 0x3fu);
	}
	if (value < least[len] || value > 0x10ffff ||
	    (value >= 0xd800 && value < 0xe000))
		return 0;
	return len;
}

/* Raise a syntax error at a byte of the file. */
static int
fail_at(const struct reader *in, size_t offset, const char *why,
    struct fb_error *err)
{
	size_t line = 1;
	size_t column = 1;

	for (size_t i = 0; i < offset && i < in->text.len; i++) {
		if (in->text.ptr[i] == '\n') {
			line++;
			column = 1;
		} else if ((in->text.ptr[i] & 0xc0) != 0x80) {
			column++;
		}
	}
	return fb_fail_id(err, FB_ECONFIG, "E-CFG-SYNTAX", "%s:%zu:%zu: %s",
	    in->path, line, column, why);
}

static int
check_text(const struct reader *in, struct fb_error *err)
{
	for (size_t i = 0; i < in->text.len;) {
		size_t len = character_len(in->text, i);

		if (len == 0)
			return fail_at(in, i,
			    in->text.ptr[i] == 0
			        ? "the file holds a NUL byte"
			        : "the file is not valid UTF-8",
			    err);
		i += len;
	}
	return FB_OK;
}

static int
fail_parser(const struct reader *in, struct fb_error *err)
{
	const yaml_parser_t *parser = &in->parser;
	const yaml_mark_t *mark = &parser->problem_mark;
	const char *problem =
	    parser->problem != NULL ? parser->problem : "no reason given";

	if (parser->error == YAML_READER_ERROR)
		return fail_at(in, parser->problem_offset, problem, err);
	(void)fb_fail_id(err, FB_ECONFIG, "E-CFG-SYNTAX",
	    "%s:%zu:%zu: not valid YAML: %s%s%s", in->path, mark->line + 1,
	    mark->column + 1, problem, parser->context != NULL ? ", " : "",
	    parser->context != NULL ? parser->context : "");
	if (strstr(problem, "cannot start any token") != NULL)
		return fb_hint(err,
		    "indent with spaces, never with tabs, and quote a value "
		    "that starts with a special character");
	return FB_ECONFIG;
}

static int
next_event(struct reader *in, yaml_event_t *event, struct fb_error *err)
{
	if (yaml_parser_parse(&in->parser, event) == 0)
		return fail_parser(in, err);
	return FB_OK;
}

/* libyaml counts characters; who edits a file needs bytes. */
static size_t
byte_of(struct reader *in, size_t index)
{
	if (index < in->index)
		/* uncovered: libyaml promises no order, but keeps one */
		in->index = in->offset = 0;
	while (in->index < index && in->offset < in->text.len) {
		in->offset += character_len(in->text, in->offset);
		in->index++;
	}
	return in->offset;
}

static int
fail_refused(const struct reader *in, const yaml_event_t *event,
    const char *what, const void *value, struct fb_error *err)
{
	(void)fb_fail_id(err, FB_ECONFIG, "E-CFG-SYNTAX",
	    "%s:%zu:%zu: %s '%.64s': not read here, a value stands for itself "
	    "only",
	    in->path, event->start_mark.line + 1,
	    event->start_mark.column + 1, what, (const char *)value);
	return fb_hint(err, "write the value out where it is used, in quotes "
	                    "if it starts with &, * or !");
}

/* Anchors make a file mean what it does not show; tags give types. */
static int
check_event(
    const struct reader *in, const yaml_event_t *event, struct fb_error *err)
{
	const yaml_char_t *anchor = NULL;
	const yaml_char_t *tag = NULL;

	switch (event->type) {
	case YAML_ALIAS_EVENT:
		return fail_refused(
		    in, event, "alias", event->data.alias.anchor, err);
	case YAML_SCALAR_EVENT:
		anchor = event->data.scalar.anchor;
		tag = event->data.scalar.tag;
		break;
	case YAML_SEQUENCE_START_EVENT:
		anchor = event->data.sequence_start.anchor;
		tag = event->data.sequence_start.tag;
		break;
	case YAML_MAPPING_START_EVENT:
		anchor = event->data.mapping_start.anchor;
		tag = event->data.mapping_start.tag;
		break;
	default: /* uncovered: nothing else can have either */
		break; /* uncovered: nothing else can have either */
	}
	if (anchor != NULL)
		return fail_refused(in, event, "anchor", anchor, err);
	if (tag != NULL)
		return fail_refused(in, event, "tag", tag, err);
	return FB_OK;
}

static int
read_scalar(struct reader *in, const yaml_event_t *event,
    struct fb_yaml_node *node, struct fb_error *err)
{
	const char *text = (const char *)event->data.scalar.value;

	yaml_scalar_style_t style = event->data.scalar.style;

	node->plain = style == YAML_PLAIN_SCALAR_STYLE;
	node->block = style == YAML_LITERAL_SCALAR_STYLE ||
	    style == YAML_FOLDED_SCALAR_STYLE;
	node->offset = byte_of(in, event->start_mark.index);
	node->length = byte_of(in, event->end_mark.index) - node->offset;
	if (strlen(text) != event->data.scalar.length)
		return fb_fail_id(err, FB_ECONFIG, "E-CFG-SYNTAX",
		    "%s:%zu:%zu: value '%.64s': holds a NUL byte", in->path,
		    node->line, node->column, text);
	node->text = fb_strdup(text);
	return FB_OK;
}

/* Room for one more; the slot is empty, so that a half-made node frees. */
static void
add_slot(struct fb_yaml_node *node)
{
	size_t count = node->count + 1;

	/* Powers of two: grow when the count reaches one. */
	if ((node->count & (node->count - 1)) == 0) {
		size_t room = node->count == 0 ? 1 : 2 * node->count;

		node->items =
		    fb_realloc(node->items, room, sizeof(*node->items));
		if (node->kind == FB_YAML_MAP)
			node->keys =
			    fb_realloc(node->keys, room, sizeof(*node->keys));
	}
	node->items[node->count] = NULL;
	if (node->kind == FB_YAML_MAP)
		node->keys[node->count] = NULL;
	node->count = count;
}

static int
check_key(const struct reader *in, const struct fb_yaml_node *map,
    const struct fb_yaml_node *key, struct fb_error *err)
{
	if (key->kind != FB_YAML_SCALAR)
		return fb_fail_id(err, FB_ECONFIG, "E-CFG-SYNTAX",
		    "%s:%zu:%zu: a %s stands where a key belongs", in->path,
		    key->line, key->column,
		    key->kind == FB_YAML_MAP ? "map" : "list");
	for (size_t i = 0; i + 1 < map->count; i++)
		if (strcmp(map->keys[i]->text, key->text) == 0)
			return fb_fail_id(err, FB_ECONFIG, "E-CFG-DUPLICATE",
			    "%s:%zu:%zu: key '%.64s': given twice, first in "
			    "line %zu, again in line %zu",
			    in->path, key->line, key->column, key->text,
			    map->keys[i]->line, key->line);
	return FB_OK;
}

static int
read_value(struct reader *in, unsigned depth, struct fb_yaml_node **ret_node,
    struct fb_error *err)
{
	FB_CLEANUP(yaml_event_delete) yaml_event_t event = { 0 };
	int rc = next_event(in, &event, err);

	return rc < 0 ? rc : read_node(in, &event, depth, ret_node, err);
}

/* The members of a list or a map, until it ends. */
static int
read_members(struct reader *in, unsigned depth, struct fb_yaml_node *node,
    struct fb_error *err)
{
	for (;;) {
		FB_CLEANUP(yaml_event_delete) yaml_event_t event = { 0 };
		struct fb_yaml_node **first;
		int rc = next_event(in, &event, err);

		if (rc < 0)
			return rc;
		if (event.type == YAML_SEQUENCE_END_EVENT ||
		    event.type == YAML_MAPPING_END_EVENT)
			return FB_OK;
		add_slot(node);
		first = node->kind == FB_YAML_MAP ? node->keys : node->items;
		rc = read_node(
		    in, &event, depth, &first[node->count - 1], err);
		if (rc == FB_OK && node->kind == FB_YAML_MAP)
			rc = check_key(
			    in, node, node->keys[node->count - 1], err);
		if (rc == FB_OK && node->kind == FB_YAML_MAP)
			rc = read_value(
			    in, depth, &node->items[node->count - 1], err);
		if (rc < 0)
			return rc;
	}
}

static int
read_node(struct reader *in, const yaml_event_t *event, unsigned depth,
    struct fb_yaml_node **ret_node, struct fb_error *err)
{
	FB_AUTO_YAML struct fb_yaml_node *node = NULL;
	int rc = check_event(in, event, err);

	if (rc < 0)
		return rc;
	if (depth >= FB_YAML_DEPTH_MAX || ++in->nodes > FB_YAML_NODES_MAX)
		return fb_fail_id(err, FB_ECONFIG, "E-CFG-SYNTAX",
		    "%s:%zu:%zu: more than %d levels or %d values", in->path,
		    event->start_mark.line + 1, event->start_mark.column + 1,
		    FB_YAML_DEPTH_MAX, FB_YAML_NODES_MAX);
	node = fb_alloc(1, sizeof(*node));
	node->line = event->start_mark.line + 1;
	node->column = event->start_mark.column + 1;
	if (event->type == YAML_SCALAR_EVENT) {
		rc = read_scalar(in, event, node, err);
	} else {
		node->kind = event->type == YAML_MAPPING_START_EVENT
		                 ? FB_YAML_MAP
		                 : FB_YAML_LIST;
		rc = read_members(in, depth + 1, node, err);
	}
	if (rc < 0)
		return rc;
	*ret_node = FB_STEAL(node);
	return FB_OK;
}

/* The events around the one document. */
static int
expect(struct reader *in, yaml_event_type_t wanted, const char *why,
    struct fb_error *err)
{
	FB_CLEANUP(yaml_event_delete) yaml_event_t event = { 0 };
	int rc = next_event(in, &event, err);

	if (rc < 0)
		return rc;
	if (event.type != wanted)
		return fb_fail_id(err, FB_ECONFIG, "E-CFG-SYNTAX",
		    "%s:%zu:%zu: %s", in->path, event.start_mark.line + 1,
		    event.start_mark.column + 1, why);
	return FB_OK;
}

static int
read_stream(struct reader *in, struct fb_yaml_node **ret_root,
    struct fb_error *err)
{
	FB_AUTO_YAML struct fb_yaml_node *root = NULL;
	int rc = check_text(in, err);

	if (rc == FB_OK)
		rc = expect(in, YAML_STREAM_START_EVENT, "no stream", err);
	if (rc == FB_OK)
		rc = expect(in, YAML_DOCUMENT_START_EVENT,
		    "the file is empty", err);
	if (rc == FB_OK)
		rc = read_value(in, 0, &root, err);
	if (rc == FB_OK)
		rc = expect(in, YAML_DOCUMENT_END_EVENT, "no end", err);
	if (rc == FB_OK)
		rc = expect(in, YAML_STREAM_END_EVENT,
		    "a second document: a file holds one", err);
	if (rc < 0)
		return rc;
	*ret_root = FB_STEAL(root);
	return FB_OK;
}

int
fb_yaml_parse(struct fb_span text, size_t max, const char *path,
    struct fb_yaml_node **ret_root, struct fb_error *err)
{
	static const uint8_t none[1] = { 0 };
	struct reader in = { .path = path, .text = text };
	int rc;

	if (text.len > max)
		return fb_fail_id(err, FB_ECONFIG, "E-CFG-SYNTAX",
		    "%s:1:1: the file has %zu bytes, at most %zu are read",
		    path, text.len, max);
	if (yaml_parser_initialize(&in.parser) == 0)
		/* uncovered: only want of memory */
		return fb_fail(err, FB_ESYS, "%s: cannot make a parser", path);
	/* Without this libyaml guesses, and reads UTF-16 too. */
	yaml_parser_set_encoding(&in.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(
	    &in.parser, text.len == 0 ? none : text.ptr, text.len);
	rc = read_stream(&in, ret_root, err);
	yaml_parser_delete(&in.parser);
	return rc;
}

struct fb_yaml_node
fb_yaml_join(const struct fb_yaml_node *node, struct fb_buf *text)
{
	struct fb_yaml_node joined = { .kind = FB_YAML_SCALAR,
		.line = node->line,
		.column = node->column };

	if (node->kind != FB_YAML_LIST || node->count == 0)
		return *node;
	for (size_t i = 0; i < node->count; i++) {
		if (node->items[i]->kind != FB_YAML_SCALAR)
			return *node;
		fb_buf_add_fmt(text, "%s%s", i > 0 ? ", " : "",
		    node->items[i]->text);
	}
	joined.text = (char *)text->data;
	return joined;
}

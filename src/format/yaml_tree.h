/*
 * The part of YAML that a configuration needs, as a tree that remembers where
 * everything stood.
 *
 * Maps, lists and scalars; a scalar is text, whatever its looks: the schema
 * gives it a type.  Anchors, aliases, tags and further documents are refused,
 * and so are duplicate keys, NUL and what is not UTF-8.
 */
#ifndef FB_FORMAT_YAML_TREE_H
#define FB_FORMAT_YAML_TREE_H

#include <stdbool.h>
#include <stddef.h>

#include "fleetbak/base/attr.h"
#include "fleetbak/base/buf.h"

struct fb_error;

#define FB_YAML_DEPTH_MAX 16
#define FB_YAML_NODES_MAX 20000

enum fb_yaml_kind { FB_YAML_SCALAR, FB_YAML_LIST, FB_YAML_MAP };

struct fb_yaml_node {
	enum fb_yaml_kind kind;
	bool plain; /* a scalar without quotes */
	bool block; /* a scalar of lines, after | or > */
	size_t line, column;   /* from 1 */
	size_t offset, length; /* of a scalar in the file, in bytes, with its
	                        * quotes */
	char *text;            /* of a scalar, without NUL inside */
	struct fb_yaml_node **keys;  /* of a map, as many as items */
	struct fb_yaml_node **items; /* of a list or a map */
	size_t count;
};

/*
 * Read one document of at most `max` bytes; `path` is for messages.
 * Owner:  *ret_root is the caller's.
 * Errors: FB_ECONFIG, ids E-CFG-SYNTAX and E-CFG-DUPLICATE.
 */
FB_MUST_USE int fb_yaml_parse(struct fb_span text, size_t max,
    const char *path, struct fb_yaml_node **ret_root, struct fb_error *err);
void fb_yaml_free(struct fb_yaml_node *node);
void fb_yaml_freep(struct fb_yaml_node **node);
#define FB_AUTO_YAML FB_CLEANUP(fb_yaml_freep)

/* The value of a key of a map, or NULL. */
const struct fb_yaml_node *fb_yaml_get(
    const struct fb_yaml_node *map, const char *key);

/* A list of scalars as the one scalar that they are with commas between them,
 * in `text`, which outlives the result; what is no such list as it is. */
struct fb_yaml_node fb_yaml_join(
    const struct fb_yaml_node *node, struct fb_buf *text);

#endif

/*
 * Elements of libvirt's XML: what its readers and writers have in common.
 */
#ifndef DRIVER_LIBVIRT_XML_PARTS_H
#define DRIVER_LIBVIRT_XML_PARTS_H

#include <libxml/parser.h>
#include <libxml/tree.h>
#include <stdbool.h>
#include <string.h>

#include "fleetbak/base/buf.h"
#include "fleetbak/base/mem.h"

/* Of a text in it that is looked at; libvirt allows fewer. */
#define FB_XML_TEXT_MAX 4096

static inline bool
is_named(const xmlNode *node, const char *name)
{
	return node->type == XML_ELEMENT_NODE &&
	    strcmp((const char *)node->name, name) == 0;
}

static inline xmlNode *
child_of(const xmlNode *node, const char *name)
{
	xmlNode *child = node != NULL ? node->children : NULL;

	while (child != NULL && !is_named(child, name))
		child = child->next;
	return child;
}

/* A copy, or NULL when it is absent, empty or unreasonably long. */
static inline char *
copy_text(xmlChar *text)
{
	const char *chars = (const char *)text;
	char *copy = NULL;

	if (chars != NULL && chars[0] != '\0' &&
	    strlen(chars) <= FB_XML_TEXT_MAX)
		copy = fb_strdup(chars);
	xmlFree(text);
	return copy;
}

static inline char *
attribute(const xmlNode *node, const char *name)
{
	return node == NULL
	    ? NULL
	    : copy_text(xmlGetNoNsProp(node, (const xmlChar *)name));
}

static inline char *
content(const xmlNode *node)
{
	return node == NULL ? NULL : copy_text(xmlNodeGetContent(node));
}

static inline bool
attribute_is(const xmlNode *node, const char *name, const char *value)
{
	FB_AUTO_FREE char *is = attribute(node, name);

	return is != NULL && strcmp(is, value) == 0;
}

/* libvirt_xml_host.c: fill domain->host, and free what is in it. */
struct fb_domain_host;
void read_host(const xmlNode *root, struct fb_domain_host *host);
void release_host(struct fb_domain_host *host);

/* Add its text, and free it. */
static inline void
write_document(xmlDoc *document, struct fb_buf *dst)
{
	xmlChar *text = NULL;
	int len = 0;

	xmlDocDumpMemory(document, &text, &len);
	if (text != NULL)
		fb_buf_add(dst, text, (size_t)len);
	xmlFree(text);
	xmlFreeDoc(document);
}

#endif

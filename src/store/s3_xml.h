/*
 * The XML of S3's answers, by expat: element by element, bounded, and without
 * document types, whose entities could be anything.
 */
#ifndef FB_SRC_STORE_S3_XML_H
#define FB_SRC_STORE_S3_XML_H

#include "fleetbak/base/buf.h"

struct fb_error;

/* Called at the end of each element: its path below the root element
 * ("Contents/Key"; "" is the root itself, whose name is `root`) and the text
 * right inside it, blanks included.  A negative return ends the reading. */
typedef int s3_xml_visit(void *arg, const char *root, const char *path,
    const char *text, struct fb_error *err);

/* Errors: FB_EPROTO, the visitor's. */
FB_MUST_USE int s3_xml_read(struct fb_span xml, s3_xml_visit *visit, void *arg,
    struct fb_error *err);

/* Of an element's text what fits into `size` bytes, the NUL included. */
void s3_copy_text(char *to, size_t size, const char *from);

#endif

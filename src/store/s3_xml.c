#include "s3_xml.h"

#include <stdlib.h>
#include <string.h>

#include <expat.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"

#define DEPTH_MAX     16
#define XML_PATH_SIZE 512
#define XML_TEXT_MAX  65536

struct reading {
	XML_Parser parser;
	s3_xml_visit *visit;
	void *arg;
	char root[XML_PATH_SIZE];
	char path[XML_PATH_SIZE];
	size_t ends[DEPTH_MAX]; /* of the path, before each open element */
	size_t depth;
	struct fb_buf text;
	int rc;
	struct fb_error *err;
};

static void
stop(struct reading *in, int rc)
{
	in->rc = rc;
	(void)XML_StopParser(in->parser, XML_FALSE);
}

static void XMLCALL
start_element(void *arg, const XML_Char *name, const XML_Char **attributes)
{
	struct reading *in = arg;
	size_t len = strlen(name);
	size_t end = strlen(in->path);

	(void)attributes;
	if (in->rc < 0)
		return;
	if (in->depth == DEPTH_MAX || end + len + 2 > XML_PATH_SIZE) {
		stop(in,
		    fb_fail(in->err, FB_EPROTO,
		        "the XML of the answer is too deep"));
		return;
	}
	fb_buf_clear(&in->text);
	if (in->depth == 0) {
		memcpy(in->root, name, len + 1);
	} else {
		if (end > 0)
			in->path[end] = '/';
		memcpy(in->path + end + (end > 0), name, len + 1);
	}
	in->ends[in->depth++] = end;
}

static void XMLCALL
end_element(void *arg, const XML_Char *name)
{
	struct reading *in = arg;
	int rc;

	(void)name;
	if (in->rc < 0)
		return;
	rc = in->visit(
	    in->arg, in->root, in->path, fb_buf_str(&in->text), in->err);
	in->path[in->ends[--in->depth]] = '\0';
	fb_buf_clear(&in->text);
	if (in->text.data != NULL)
		in->text.data[0] = '\0';
	if (rc < 0)
		stop(in, rc);
}

static void XMLCALL
add_text(void *arg, const XML_Char *text, int len)
{
	struct reading *in = arg;

	if (in->rc < 0)
		return;
	if (in->text.len + (size_t)len > XML_TEXT_MAX)
		stop(in,
		    fb_fail(in->err, FB_EPROTO,
		        "a text in the XML of the answer is too long"));
	else
		fb_buf_add(&in->text, text, (size_t)len);
}

static void XMLCALL
refuse_doctype(void *arg, const XML_Char *name, const XML_Char *system,
    const XML_Char *public, int internal)
{
	struct reading *in = arg;

	(void)name;
	(void)system;
	(void)public;
	(void)internal;
	stop(in,
	    fb_fail(in->err, FB_EPROTO,
	        "the XML of the answer has a document type"));
}

int
s3_xml_read(
    struct fb_span xml, s3_xml_visit *visit, void *arg, struct fb_error *err)
{
	struct reading in = { .visit = visit, .arg = arg, .err = err };
	enum XML_Status status;

	if (xml.len == 0 || xml.len > INT32_MAX)
		return fb_fail(
		    err, FB_EPROTO, "an answer of %zu bytes, no XML", xml.len);
	in.parser = XML_ParserCreate(NULL);
	if (in.parser == NULL)
		abort();
	XML_SetUserData(in.parser, &in);
	XML_SetElementHandler(in.parser, start_element, end_element);
	XML_SetCharacterDataHandler(in.parser, add_text);
	XML_SetStartDoctypeDeclHandler(in.parser, refuse_doctype);
	status =
	    XML_Parse(in.parser, (const char *)xml.ptr, (int)xml.len, XML_TRUE);
	if (in.rc == FB_OK && status != XML_STATUS_OK)
		in.rc = fb_fail(err, FB_EPROTO,
		    "the answer is not good XML: line %lu: %s",
		    XML_GetCurrentLineNumber(in.parser),
		    XML_ErrorString(XML_GetErrorCode(in.parser)));
	XML_ParserFree(in.parser);
	fb_buf_release(&in.text);
	return in.rc;
}

void
s3_copy_text(char *to, size_t size, const char *from)
{
	size_t len = strnlen(from, size - 1);

	memcpy(to, from, len);
	to[len] = '\0';
}

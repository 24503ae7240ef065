/* sessions/<sid>: the announcement of a writer or reader. */
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/format/json.h"
#include "fleetbak/format/register.h"

static const char what[] = "session";

void
fb_session_doc_encode(const struct fb_session_doc *doc, struct fb_buf *dst)
{
	FB_AUTO_JSON json_t *value = json_pack("{s:s,s:s,s:s,s:I,s:s,s:s,s:i}",
	    "fleet", doc->fleet, "host", doc->host, "kind", doc->kind, "pid",
	    (json_int_t)doc->pid, "started", doc->started, "tool", doc->tool,
	    "version", FB_FORMAT_VERSION);

	fb_json_add(dst, value);
	fb_buf_add_str(dst, "\n");
}

static int
take_text(const json_t *value, const char *key, char *dst, size_t size,
    struct fb_error *err)
{
	const char *text;
	int rc = fb_json_str(value, key, what, &text, err);

	if (rc < 0)
		return rc;
	if (strlen(text) >= size)
		return fb_fail(err, FB_ECORRUPT, "%s: '%s' is too long", what,
		    key);
	memcpy(dst, text, strlen(text) + 1);
	return FB_OK;
}

static int
take_all(const json_t *value, struct fb_session_doc *doc, struct fb_error *err)
{
	static const char *const keys[] = { "fleet", "host", "kind", "pid",
		"started", "tool", "version", NULL };
	uint64_t version;
	int64_t ignored;
	int rc = fb_json_u64(value, "version", what, UINT32_MAX, &version, err);

	if (rc < 0)
		return rc;
	if (version != FB_FORMAT_VERSION)
		return fb_fail(err,
		    version > FB_FORMAT_VERSION ? FB_ETOONEW : FB_ECORRUPT,
		    "%s: another version than this program's", what);
	if ((rc = fb_json_only(value, what, keys, err)) < 0 ||
	    (rc = take_text(value, "fleet", doc->fleet, sizeof(doc->fleet),
	         err)) < 0 ||
	    (rc = take_text(value, "host", doc->host, sizeof(doc->host),
	         err)) < 0 ||
	    (rc = take_text(value, "kind", doc->kind, sizeof(doc->kind),
	         err)) < 0 ||
	    (rc = take_text(value, "tool", doc->tool, sizeof(doc->tool),
	         err)) < 0 ||
	    (rc = take_text(value, "started", doc->started,
	         sizeof(doc->started), err)) < 0 ||
	    (rc = fb_json_u64(
	         value, "pid", what, INT64_MAX, &doc->pid, err)) < 0)
		return rc;
	return fb_time_parse(doc->started, &ignored, err);
}

int
fb_session_doc_decode(
    struct fb_span text, struct fb_session_doc *ret_doc, struct fb_error *err)
{
	struct fb_session_doc doc = { 0 };
	FB_AUTO_BUF struct fb_buf again = { 0 };
	FB_AUTO_JSON json_t *value = NULL;
	int rc = fb_json_parse(text, FB_SESSION_DOC_MAX, what, &value, err);

	if (rc < 0 || (rc = take_all(value, &doc, err)) < 0)
		return rc;
	fb_session_doc_encode(&doc, &again);
	if (again.len != text.len ||
	    memcmp(again.data, text.ptr, text.len) != 0)
		return fb_fail(
		    err, FB_ECORRUPT, "%s: not in canonical form", what);
	*ret_doc = doc;
	return FB_OK;
}

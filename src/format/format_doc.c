/* format/1.json: what kind of repository this is. */
#include <inttypes.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/text.h"
#include "fleetbak/format/json.h"
#include "fleetbak/format/pack.h"
#include "fleetbak/format/register.h"

static const char what[] = "format/1.json";

/* The only kind of lease service there is. */
#define LEASE "etcd"

static json_t *
to_json(const struct fb_format_doc *doc)
{
	json_t *value = json_pack("{s:{s:I,s:I,s:I,s:s},s:s,s:s,s:s,s:s,s:i}",
	    "chunking", "average", (json_int_t)doc->chunk_average, "max",
	    (json_int_t)doc->chunk_max, "min", (json_int_t)doc->chunk_min,
	    "rule", FB_CHUNKING_RULE, "created", doc->created, "domain",
	    doc->domain, "mode", doc->mode, "repository", doc->repository,
	    "version", FB_FORMAT_VERSION);

	if (strcmp(doc->mode, FB_MODE_ENCRYPTED) == 0)
		(void)json_object_set_new(
		    value, "domain_check", json_string(doc->domain_check));
	if (doc->one_writer)
		(void)json_object_set_new(value, "writers", json_integer(1));
	if (doc->leased)
		(void)json_object_set_new(value, "lease", json_string(LEASE));
	return value;
}

void
fb_format_doc_encode(const struct fb_format_doc *doc, struct fb_buf *dst)
{
	FB_AUTO_JSON json_t *value = to_json(doc);

	fb_json_add(dst, value);
	fb_buf_add_str(dst, "\n");
}

/* Copy a string of exactly `len` lower-case hex digits. */
static int
take_hex(const json_t *object, const char *key, size_t len, char *dst,
    struct fb_error *err)
{
	const char *text;
	int rc = fb_json_str(object, key, what, &text, err);

	if (rc < 0)
		return rc;
	if (strlen(text) != len || strspn(text, "0123456789abcdef") != len)
		return fb_fail(err, FB_ECORRUPT,
		    "%s: '%s' is not %zu hex digits", what, key, len);
	memcpy(dst, text, len + 1);
	return FB_OK;
}

/* What a newer program may have changed is asked first. */
static int
check_version(const json_t *value, struct fb_error *err)
{
	uint64_t version;
	int rc = fb_json_u64(value, "version", what, UINT32_MAX, &version, err);

	if (rc < 0)
		return rc;
	if (version > FB_FORMAT_VERSION)
		return fb_fail(err, FB_ETOONEW,
		    "%s: version %" PRIu64 " is newer than this program", what,
		    version);
	if (version != FB_FORMAT_VERSION)
		return fb_fail(err, FB_ECORRUPT, "%s: no version %" PRIu64,
		    what, version);
	return FB_OK;
}

static int
take_mode(const json_t *value, struct fb_format_doc *doc, struct fb_error *err)
{
	static const char *const clear_keys[] = { "chunking", "created",
		"domain", "lease", "mode", "repository", "version", "writers",
		NULL };
	static const char *const encrypted_keys[] = { "chunking", "created",
		"domain", "domain_check", "lease", "mode", "repository",
		"version", "writers", NULL };
	const char *mode;
	int rc = fb_json_str(value, "mode", what, &mode, err);

	if (rc < 0)
		return rc;
	if (strcmp(mode, FB_MODE_CLEAR) == 0) {
		memcpy(doc->mode, mode, sizeof(FB_MODE_CLEAR));
		return fb_json_only(value, what, clear_keys, err);
	}
	if (strcmp(mode, FB_MODE_ENCRYPTED) != 0)
		return fb_fail(err, FB_ETOONEW,
		    "%s: mode '%s' is newer than this program", what, mode);
	memcpy(doc->mode, mode, sizeof(FB_MODE_ENCRYPTED));
	rc = fb_json_only(value, what, encrypted_keys, err);
	if (rc < 0)
		return rc;
	return take_hex(value, "domain_check", sizeof(doc->domain_check) - 1,
	    doc->domain_check, err);
}

/* Absent: as many as like. */
static int
take_writers(
    const json_t *value, struct fb_format_doc *doc, struct fb_error *err)
{
	uint64_t writers = 0;
	int rc = FB_OK;

	if (json_object_get(value, "writers") == NULL)
		return FB_OK;
	rc = fb_json_u64(value, "writers", what, UINT32_MAX, &writers, err);
	if (rc == FB_OK && writers != 1)
		rc = fb_fail(err, FB_ECORRUPT, "%s: 'writers' is not 1", what);
	doc->one_writer = true;
	return rc;
}

/* Absent: the store's own conditions decide, or nobody does. */
static int
take_lease(const json_t *value, struct fb_format_doc *doc, struct fb_error *err)
{
	const char *kind;
	int rc = fb_json_str_opt(value, "lease", what, &kind, err);

	if (rc < 0 || kind == NULL)
		return rc;
	if (strcmp(kind, LEASE) != 0)
		return fb_fail(err, FB_ETOONEW,
		    "%s: lease service '%s' is newer than this program", what,
		    kind);
	if (doc->one_writer)
		return fb_fail(err, FB_ECORRUPT,
		    "%s: one writer needs no lease service", what);
	doc->leased = true;
	return FB_OK;
}

static int
take_chunking(
    const json_t *value, struct fb_format_doc *doc, struct fb_error *err)
{
	static const char *const keys[] = { "average", "max", "min", "rule",
		NULL };
	json_t *chunking;
	const char *rule;
	uint64_t min, average, max;
	int rc;

	if ((rc = fb_json_object(value, "chunking", what, &chunking, err)) <
	        0 ||
	    (rc = fb_json_str(chunking, "rule", what, &rule, err)) < 0)
		return rc;
	if (strcmp(rule, FB_CHUNKING_RULE) != 0)
		return fb_fail(err, FB_ETOONEW,
		    "%s: chunking rule '%s' is newer than this program", what,
		    rule);
	if ((rc = fb_json_only(chunking, what, keys, err)) < 0 ||
	    (rc = fb_json_u64(
	         chunking, "min", what, FB_CHUNK_MAX, &min, err)) < 0 ||
	    (rc = fb_json_u64(chunking, "average", what, FB_CHUNK_MAX,
	         &average, err)) < 0 ||
	    (rc = fb_json_u64(
	         chunking, "max", what, FB_CHUNK_MAX, &max, err)) < 0)
		return rc;
	if (min == 0 || min > average || average > max)
		return fb_fail(err, FB_ECORRUPT,
		    "%s: chunk sizes out of order", what);
	doc->chunk_min = (uint32_t)min;
	doc->chunk_average = (uint32_t)average;
	doc->chunk_max = (uint32_t)max;
	return FB_OK;
}

static int
take_created(
    const json_t *value, struct fb_format_doc *doc, struct fb_error *err)
{
	const char *created;
	int64_t ignored;
	int rc;

	if ((rc = fb_json_str(value, "created", what, &created, err)) < 0)
		return rc;
	rc = fb_time_parse(created, &ignored, err);
	if (rc < 0 || strlen(created) >= sizeof(doc->created))
		return fb_fail(err, FB_ECORRUPT, "%s: 'created' is no time",
		    what);
	memcpy(doc->created, created, strlen(created) + 1);
	return FB_OK;
}

/* Another spelling of the same document is another document. */
static int
check_canonical(const struct fb_format_doc *doc, struct fb_span text,
    struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf again = { 0 };

	fb_format_doc_encode(doc, &again);
	if (again.len != text.len ||
	    memcmp(again.data, text.ptr, text.len) != 0)
		return fb_fail(
		    err, FB_ECORRUPT, "%s: not in canonical form", what);
	return FB_OK;
}

int
fb_format_doc_decode(
    struct fb_span text, struct fb_format_doc *ret_doc, struct fb_error *err)
{
	struct fb_format_doc doc = { 0 };
	FB_AUTO_JSON json_t *value = NULL;
	int rc = fb_json_parse(text, FB_FORMAT_DOC_MAX, what, &value, err);

	if (rc < 0)
		return rc;
	if ((rc = check_version(value, err)) < 0 ||
	    (rc = take_mode(value, &doc, err)) < 0 ||
	    (rc = take_chunking(value, &doc, err)) < 0 ||
	    (rc = take_writers(value, &doc, err)) < 0 ||
	    (rc = take_lease(value, &doc, err)) < 0 ||
	    (rc = take_hex(value, "repository", 32, doc.repository, err)) <
	        0 ||
	    (rc = take_hex(value, "domain", 32, doc.domain, err)) < 0 ||
	    (rc = take_created(value, &doc, err)) < 0 ||
	    (rc = check_canonical(&doc, text, err)) < 0)
		return rc;
	*ret_doc = doc;
	return FB_OK;
}

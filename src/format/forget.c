/* Forgets, and what is being deleted. */
#include <inttypes.h>
#include <string.h>

#include "lines.h"

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/format/json.h"
#include "fleetbak/format/register.h"

void
fb_forget_encode_signed(const struct fb_forget *forget, struct fb_buf *dst)
{
	fb_buf_add_fmt(dst,
	    "fleetbak-forget 1\nsession %s\nrun %s\nfleet %s\n",
	    forget->session, forget->run, forget->fleet);
	fb_lines_add_digest(dst, "sums", &forget->sums);
	fb_buf_add_fmt(
	    dst, "time %s\nsigner %s\n", forget->time, forget->signer);
}

void
fb_forget_encode_signature(
    const struct fb_forget *forget, struct fb_buf *dst)
{
	fb_lines_add_signature(dst, forget->signature);
}

static int
decode_forget(struct fb_lines *lines, struct fb_forget *forget,
    size_t *ret_left, struct fb_error *err)
{
	struct fb_span line;
	int rc;

	if ((rc = fb_lines_next(lines, &line, err)) < 0 ||
	    (rc = fb_lines_version(lines, line, "fleetbak-forget", 1, err)) <
	        0 ||
	    (rc = fb_lines_run_id(lines, "session", forget->session, err)) <
	        0 ||
	    (rc = fb_lines_run_id(lines, "run", forget->run, err)) < 0 ||
	    (rc = fb_lines_name(lines, "fleet", forget->fleet, err)) < 0 ||
	    (rc = fb_lines_digest(lines, "sums", &forget->sums, err)) < 0 ||
	    (rc = fb_lines_time(lines, "time", forget->time, err)) < 0 ||
	    (rc = fb_lines_signer(lines, forget->signer, err)) < 0)
		return rc;
	*ret_left = lines->rest.len;
	rc = fb_lines_signature(lines, forget->signature, err);
	return rc < 0 ? rc : fb_lines_end(lines, err);
}

int
fb_forget_decode(struct fb_span text, struct fb_forget *ret_forget,
    struct fb_span *ret_signed, struct fb_error *err)
{
	struct fb_lines lines = { .what = "forget record", .rest = text };
	struct fb_forget forget = { 0 };
	size_t left = 0;
	int rc = decode_forget(&lines, &forget, &left, err);

	if (rc < 0)
		return rc;
	*ret_forget = forget;
	*ret_signed = (struct fb_span){ text.ptr, text.len - left };
	return FB_OK;
}

static const char *const phases[] = {
	[FB_GC_IDLE] = "idle",
	[FB_GC_CONDEMNED] = "condemned",
	[FB_GC_DELETE] = "delete",
};

void
fb_gc_doc_encode(const struct fb_gc_doc *doc, struct fb_buf *dst)
{
	char hex[FB_DIGEST_HEX_SIZE];
	FB_AUTO_JSON json_t *value = NULL;

	fb_digest_hex(&doc->set, hex);
	value = json_pack("{s:I,s:s,s:o,s:i}", "generation",
	    (json_int_t)doc->generation, "phase", phases[doc->phase], "set",
	    doc->phase == FB_GC_IDLE ? json_null() : json_string(hex),
	    "version", FB_FORMAT_VERSION);
	fb_json_add(dst, value);
	fb_buf_add_str(dst, "\n");
}

static int
decode_phase(const json_t *value, struct fb_gc_doc *doc, struct fb_error *err)
{
	const char *phase, *set;
	int rc = fb_json_str(value, "phase", "gc/current", &phase, err);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < FB_COUNT(phases); i++)
		if (strcmp(phases[i], phase) == 0) {
			doc->phase = (enum fb_gc_phase)i;
			break;
		} else if (i + 1 == FB_COUNT(phases)) {
			return fb_fail(err, FB_ECORRUPT,
			    "gc/current: no phase '%s'", phase);
		}
	if (doc->phase == FB_GC_IDLE)
		return json_is_null(json_object_get(value, "set"))
		    ? FB_OK
		    : fb_fail(err, FB_ECORRUPT,
		          "gc/current: a set while it is idle");
	rc = fb_json_str(value, "set", "gc/current", &set, err);
	if (rc < 0)
		return rc;
	rc = fb_digest_parse(
	    (struct fb_span){ (const uint8_t *)set, strlen(set) }, &doc->set,
	    err);
	return rc < 0 ? fb_fail(err, FB_ECORRUPT, "gc/current: set '%s': "
	                    "not a digest", set)
	              : FB_OK;
}

int
fb_gc_doc_decode(
    struct fb_span text, struct fb_gc_doc *ret_doc, struct fb_error *err)
{
	static const char *const keys[] = { "generation", "phase", "set",
		"version", NULL };
	static const char what[] = "gc/current";
	struct fb_gc_doc doc = { 0 };
	FB_AUTO_BUF struct fb_buf again = { 0 };
	FB_AUTO_JSON json_t *value = NULL;
	uint64_t version;
	int rc;

	if ((rc = fb_json_parse(
	         text, FB_FORMAT_DOC_MAX, what, &value, err)) < 0 ||
	    (rc = fb_json_u64(value, "version", what, UINT32_MAX, &version,
	         err)) < 0)
		return rc;
	if (version > FB_FORMAT_VERSION)
		return fb_fail(err, FB_ETOONEW,
		    "%s: version %" PRIu64 " is newer than this program",
		    what, version);
	if ((rc = fb_json_only(value, what, keys, err)) < 0 ||
	    (rc = fb_json_u64(value, "generation", what, INT64_MAX,
	         &doc.generation, err)) < 0 ||
	    (rc = decode_phase(value, &doc, err)) < 0)
		return rc;
	fb_gc_doc_encode(&doc, &again);
	if (again.len != text.len ||
	    memcmp(again.data, text.ptr, text.len) != 0)
		return fb_fail(
		    err, FB_ECORRUPT, "%s: not in canonical form", what);
	*ret_doc = doc;
	return FB_OK;
}

void
fb_gc_set_encode(const struct fb_gc_set *set, struct fb_buf *dst)
{
	fb_buf_add_fmt(dst,
	    "fleetbak-gc-set 1\ngeneration %" PRIu64 "\nforgotten %zu\n",
	    set->generation, set->forgotten.count);
	for (size_t i = 0; i < set->forgotten.count; i++)
		fb_buf_add_fmt(dst, "%s\n", set->forgotten.ids[i]);
	fb_lines_add_ids(dst, "packs", &set->packs);
	fb_lines_add_ids(dst, "recipes", &set->recipes);
	fb_buf_add_str(dst, "end\n");
}

static int
decode_forgotten(
    struct fb_lines *lines, struct fb_run_ids *list, struct fb_error *err)
{
	uint64_t count;
	int rc = fb_lines_u64(lines, "forgotten",
	    lines->rest.len / FB_RUN_ID_SIZE, &count, err);

	if (rc < 0 || count == 0)
		return rc;
	list->ids = fb_alloc((size_t)count, sizeof(*list->ids));
	for (size_t i = 0; i < count; i++) {
		struct fb_span line;

		rc = fb_lines_next(lines, &line, err);
		if (rc < 0)
			return rc;
		if (!fb_run_id_ok((const char *)line.ptr, line.len))
			return fb_lines_fail(
			    lines, err, "forgotten: not a session id");
		memcpy(list->ids[i], line.ptr, FB_RUN_ID_LEN);
		if (i > 0 && strcmp(list->ids[i - 1], list->ids[i]) >= 0)
			return fb_lines_fail(
			    lines, err, "forgotten: not in order");
		list->count = i + 1;
	}
	return FB_OK;
}

static int
decode_set(struct fb_lines *lines, struct fb_gc_set *set, struct fb_error *err)
{
	struct fb_span line;
	int rc;

	if ((rc = fb_lines_next(lines, &line, err)) < 0 ||
	    (rc = fb_lines_version(lines, line, "fleetbak-gc-set", 1, err)) <
	        0 ||
	    (rc = fb_lines_u64(lines, "generation", INT64_MAX,
	         &set->generation, err)) < 0 ||
	    (rc = decode_forgotten(lines, &set->forgotten, err)) < 0 ||
	    (rc = fb_lines_ids(lines, "packs", &set->packs, err)) < 0 ||
	    (rc = fb_lines_ids(lines, "recipes", &set->recipes, err)) < 0 ||
	    (rc = fb_lines_exactly(lines, "end", err)) < 0)
		return rc;
	return fb_lines_end(lines, err);
}

int
fb_gc_set_decode(
    struct fb_span text, struct fb_gc_set *ret_set, struct fb_error *err)
{
	struct fb_lines lines = { .what = "delete set", .rest = text };
	struct fb_gc_set set = { 0 };
	int rc = decode_set(&lines, &set, err);

	if (rc < 0) {
		fb_gc_set_release(&set);
		return rc;
	}
	*ret_set = set;
	return FB_OK;
}

void
fb_gc_set_release(struct fb_gc_set *set)
{
	fb_run_ids_release(&set->forgotten);
	fb_id_list_release(&set->packs);
	fb_id_list_release(&set->recipes);
}

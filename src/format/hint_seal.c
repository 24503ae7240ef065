/* The seal of hints. */
#include <inttypes.h>

#include "lines.h"

#include "fleetbak/base/err.h"

void
fb_hint_seal_encode_body(const struct fb_hint_seal *seal, struct fb_buf *dst)
{
	fb_buf_add_fmt(dst,
	    "fleetbak-hint-seal 1\nsession %s\nsize %" PRIu64 "\n",
	    seal->session, seal->size);
	fb_lines_add_digest(dst, "sha256", &seal->digest);
}

void
fb_hint_seal_encode_signed(const struct fb_hint_seal *seal, struct fb_buf *dst)
{
	fb_hint_seal_encode_body(seal, dst);
	if (seal->keyed)
		fb_lines_add_digest(dst, "domain", &seal->domain);
}

void
fb_hint_seal_encode_signature(
    const struct fb_hint_seal *seal, struct fb_buf *dst)
{
	fb_lines_add_signature(dst, seal->signature);
}

int
fb_hint_seal_decode(struct fb_span text, struct fb_hint_seal *ret_seal,
    struct fb_span *ret_signed, struct fb_error *err)
{
	struct fb_lines lines = { .what = "seal of hints", .rest = text };
	struct fb_hint_seal seal = { 0 };
	struct fb_span line;
	size_t left;
	int rc;

	if ((rc = fb_lines_next(&lines, &line, err)) < 0 ||
	    (rc = fb_lines_version(
	         &lines, line, "fleetbak-hint-seal", 1, err)) < 0 ||
	    (rc = fb_lines_run_id(&lines, "session", seal.session, err)) <
	        0 ||
	    (rc = fb_lines_u64(&lines, "size", INT64_MAX, &seal.size, err)) <
	        0 ||
	    (rc = fb_lines_digest(&lines, "sha256", &seal.digest, err)) < 0)
		return rc;
	seal.keyed = lines.rest.len > 0 && lines.rest.ptr[0] == 'd';
	if (seal.keyed &&
	    (rc = fb_lines_digest(&lines, "domain", &seal.domain, err)) < 0)
		return rc;
	left = lines.rest.len;
	if ((rc = fb_lines_signature(&lines, seal.signature, err)) < 0 ||
	    (rc = fb_lines_end(&lines, err)) < 0)
		return rc;
	*ret_seal = seal;
	*ret_signed = (struct fb_span){ text.ptr, text.len - left };
	return FB_OK;
}

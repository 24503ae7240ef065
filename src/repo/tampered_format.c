/* The format of a repository, and its signature: nothing is read without. */
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"

#include "tampered_impl.h"

static bool
format_ok(struct fb_store *store, const struct fb_trust *trust,
    const struct past_version *format, const struct past_version *signature,
    struct fb_digest want[2])
{
	FB_AUTO_BUF struct fb_buf text = { 0 }, signed_by = { 0 };
	struct fb_format_doc doc;
	struct fb_error why;

	if (format->removed || signature->removed ||
	    past_read(store, "format/1.json", format, FB_FORMAT_DOC_MAX, &text,
	        &why) < 0 ||
	    past_read(store, "format/1.json.sig", signature, FB_SIGNATURE_LEN,
	        &signed_by, &why) < 0 ||
	    fb_format_doc_decode(fb_buf_span(&text), &doc, &why) < 0 ||
	    fb_trust_verify(trust, fb_buf_span(&text), fb_buf_span(&signed_by),
	        NULL, &why) < 0)
		return false;
	fb_digest_of(fb_buf_span(&text), &want[0]);
	fb_digest_of(fb_buf_span(&signed_by), &want[1]);
	return true;
}

int
fb_tampered_format(struct fb_store *store, const struct fb_trust *trust,
    struct fb_tampered_list *ret_list, struct fb_error *err)
{
	FB_CLEANUP(past_release) struct past format = { 0 };
	FB_CLEANUP(past_release) struct past signature = { 0 };
	struct fb_digest want[2];
	bool found = false;
	int rc = past_load(store, "format/1.json", &format, err);

	*ret_list = (struct fb_tampered_list){ 0 };
	if (rc == FB_OK)
		rc = past_load(store, "format/1.json.sig", &signature, err);
	if (rc < 0 || format.count == 0 || signature.count == 0 ||
	    (!past_is_suspect(&format) && !past_is_suspect(&signature)))
		return rc;
	for (size_t i = format.count; !found && i-- > 0;)
		for (size_t k = signature.count; !found && k-- > 0;)
			found = format_ok(store, trust, &format.items[i],
			    &signature.items[k], want);
	if (!found)
		return FB_OK;
	rc = past_report(store, &format, &want[0], false, "", ret_list, err);
	if (rc == FB_OK)
		rc = past_report(
		    store, &signature, &want[1], false, "", ret_list, err);
	if (rc < 0)
		fb_tampered_release(ret_list);
	return rc;
}

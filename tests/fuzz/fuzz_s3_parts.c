/*
 * What a server answers about uploads in parts: the one that was begun, those
 * that there are, their parts, and whether the object is made, which a 200
 * alone does not say.  What is taken is bounded, and is one of them at most.
 */
#include "../../src/store/s3_parts.h"
#include "fuzz.h"

static void
visit_part(void *arg, uint64_t number, uint64_t size, const char *etag)
{
	size_t *count = arg;

	must(number <= INT64_MAX && size <= INT64_MAX);
	must(strlen(etag) < FB_STORE_TAG_SIZE && strchr(etag, '"') == NULL);
	++*count;
}

static int
visit_upload(const char *key, const char *upload, const char *begun, void *arg,
    struct fb_error *err)
{
	size_t *count = arg;

	(void)err;
	must(key[0] != '\0' && upload[0] != '\0');
	must(strlen(upload) < S3_UPLOAD_SIZE);
	must(strlen(begun) < FB_TIME_SIZE);
	++*count;
	return FB_OK;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct fb_span xml = { data, size };
	char upload[S3_UPLOAD_SIZE];
	struct fb_error err = { 0 };
	bool parts_more = false, uploads_more = false, done = false;
	size_t parts = 0, uploads = 0;
	int of_parts, of_uploads, of_begun, of_done;

	of_parts =
	    s3_parts_page(xml, visit_part, &parts, &parts_more, &err);
	must(of_parts == FB_OK || err.code == of_parts);
	of_uploads = s3_uploads_page(
	    xml, visit_upload, &uploads, &uploads_more, &err);
	must(of_uploads == FB_OK || err.code == of_uploads);
	of_begun = s3_begun_read(xml, upload, &err);
	must(of_begun < 0 || upload[0] != '\0');
	of_done = s3_completed_read(xml, &done, &err);
	must(of_done == FB_OK || !done);
	/* A text has one root. */
	must((of_parts == FB_OK) + (of_uploads == FB_OK) +
	        (of_begun == FB_OK) + (of_done == FB_OK && done) <=
	    1);
	return 0;
}

/* XML that an S3 server, or whoever answers in its place, sends: pages of a
 * listing, errors, roles.  A page that is read is written and read again, and
 * says the same; every error is one of ours, and says what it is. */
#include "../../src/store/s3.h"
#include "../../src/store/s3_sts.h"
#include "fuzz.h"

#define PREFIX "fleet/"

static int
visit_key(const char *key, uint64_t size, void *arg, struct fb_error *err)
{
	struct fb_buf *again = arg;

	(void)err;
	must(fb_store_key_ok(key));
	must(size <= INT64_MAX);
	fb_buf_add_fmt(again,
	    "<Contents><Key>" PREFIX "%s</Key><Size>%llu</Size></Contents>",
	    key, (unsigned long long)size);
	return FB_OK;
}

static void
read_page(struct fb_span xml)
{
	FB_AUTO_BUF struct fb_buf once = { 0 }, twice = { 0 };
	struct fb_error err = { 0 };

	fb_buf_add_str(&once, "<ListBucketResult>");
	fb_buf_add_str(&twice, "<ListBucketResult>");
	if (s3_list_page(xml, PREFIX, visit_key, &once, &err) < 0) {
		must(err.code < 0 && err.msg[0] != '\0');
		return;
	}
	fb_buf_add_str(&once, "</ListBucketResult>");
	must(s3_list_page(
	         fb_buf_span(&once), PREFIX, visit_key, &twice, &err) == FB_OK);
	fb_buf_add_str(&twice, "</ListBucketResult>");
	must(same_bytes(fb_buf_span(&once), fb_buf_span(&twice)));
}

static void
judge(struct fb_span xml, int status)
{
	static struct s3_store s3 = { .server = (char *)(uintptr_t) "http://s",
		.bucket = (char *)(uintptr_t) "b",
		.region = (char *)(uintptr_t) "r" };
	struct s3_answer answer = { .http.status = status };
	struct fb_error err = { 0 };

	fb_buf_add(&answer.http.body, xml.ptr, xml.len);
	if (s3_judge(&answer) != S3_DONE || status > 299) {
		must(s3_fail(&s3, &answer, &err) < 0);
		must(err.code < 0 && err.id != NULL && err.msg[0] != '\0');
	}
	must(memchr(answer.code, '\0', sizeof(answer.code)) != NULL);
	must(memchr(answer.region, '\0', sizeof(answer.region)) != NULL);
	must(memchr(answer.text, '\0', sizeof(answer.text)) != NULL);
	s3_answer_release(&answer);
}

static void
read_role(struct fb_span xml)
{
	FB_CLEANUP(s3_access_release) struct s3_access access = { 0 };
	struct fb_error err = { 0 };
	int64_t expires;

	if (s3_sts_parse(xml, &access, &expires, &err) == FB_OK)
		must(access.id != NULL && access.secret != NULL &&
		    access.token != NULL);
	else
		must(err.code == FB_EPROTO && access.id == NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const int statuses[] = { 200, 301, 400, 403, 404, 409, 500,
		503 };
	struct fb_span xml = { data, size };

	read_page(xml);
	for (size_t i = 0; i < FB_COUNT(statuses); i++)
		judge(xml, statuses[i]);
	read_role(xml);
	return 0;
}

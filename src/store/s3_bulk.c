/*
 * Removing many objects with one request (POST ?delete).  It says of each that
 * could not go that it could not; why not says its own DELETE, which follows:
 * so it does for all of them where a server has no such request.
 */
#include <string.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "fleetbak/crypto/base64.h"
#include "fleetbak/crypto/etag.h"
#include "s3.h"
#include "s3_xml.h"

#define BULK_MAX   1000 /* as many as S3 takes */
#define BULK_BYTES ((size_t)4 << 20)

size_t
s3_bulk(struct fb_store *store)
{
	struct s3_store *s3 = (struct s3_store *)store;

	return atomic_load(&s3->no_bulk) || s3_keeps_versions(s3) ? 1
	                                                          : BULK_MAX;
}

/* What a prefix may hold that XML has another use for. */
static void
add_escaped(struct fb_buf *dst, const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '&' || *text == '<' || *text == '>')
			fb_buf_add_fmt(dst, "&#%d;", *text);
		else
			fb_buf_add(dst, text, 1);
	}
}

static void
add_request(struct fb_buf *dst, const struct s3_store *s3,
    const struct fb_store_removal *removal)
{
	fb_buf_add_str(dst,
	    "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
	    "<Quiet>true</Quiet>");
	for (size_t i = 0; i < removal->count; i++) {
		fb_buf_add_str(dst, "<Object><Key>");
		add_escaped(dst, s3->prefix);
		add_escaped(dst, removal->keys[i]);
		fb_buf_add_str(dst, "</Key></Object>");
	}
	fb_buf_add_str(dst, "</Delete>");
}

/* S3 wants one of the two with it; where there is no MD5, the other. */
struct sums {
	struct fb_buf md5;
	char sha256[FB_DIGEST_BASE64_SIZE];
	struct s3_pair header;
};

static void
release_sums(struct sums *sums)
{
	fb_buf_release(&sums->md5);
}

static void
sum(struct fb_span body, struct sums *sums)
{
	struct fb_etag *etag = fb_etag_new();
	struct fb_error none = { 0 };
	uint8_t raw[FB_ETAG_LEN];
	char hex[FB_ETAG_SIZE];
	struct fb_digest digest;

	fb_etag_add(etag, body);
	fb_etag_end(etag, hex);
	if (fb_text_unhex((struct fb_span){ (const uint8_t *)hex, strlen(hex) },
	        raw, sizeof(raw), &none) == FB_OK) {
		fb_base64_add(&sums->md5, (struct fb_span){ raw, sizeof(raw) });
		sums->header =
		    (struct s3_pair){ "content-md5", fb_buf_str(&sums->md5) };
		return;
	}
	fb_digest_of(body, &digest);
	fb_digest_base64(&digest, sums->sha256);
	sums->header =
	    (struct s3_pair){ "x-amz-checksum-sha256", sums->sha256 };
}

/* The answer: whose removal failed. */
struct failures {
	const struct s3_store *s3;
	const struct fb_store_removal *removal;
	bool named; /* the failure at hand has a key */
	bool good;  /* it is such an answer */
	bool error; /* it is an error, after all */
	bool stray; /* it tells of something else than what was asked for */
};

static void
note_failure(struct failures *failures, const char *key)
{
	const struct fb_store_removal *removal = failures->removal;
	size_t len = strlen(failures->s3->prefix);

	if (strncmp(key, failures->s3->prefix, len) == 0)
		for (size_t i = 0; i < removal->count; i++) {
			if (strcmp(removal->keys[i], key + len) != 0)
				continue;
			removal->gone[i] = false;
			return;
		}
	failures->stray = true;
}

static int
take_failure(void *arg, const char *root, const char *path, const char *text,
    struct fb_error *err)
{
	struct failures *failures = arg;

	(void)err;
	failures->good |= strcmp(root, "DeleteResult") == 0;
	failures->error |= strcmp(root, "Error") == 0;
	if (!failures->good)
		return FB_OK;
	if (strcmp(path, "Error/Key") == 0) {
		note_failure(failures, text);
		failures->named = true;
	} else if (strcmp(path, "Error") == 0) {
		failures->stray |= !failures->named;
		failures->named = false;
	} else if (path[0] != '\0' && strncmp(path, "Error/", 6) != 0 &&
	    strncmp(path, "Deleted", 7) != 0) {
		failures->stray = true;
	}
	return FB_OK;
}

/* False: it says nothing of them that could be relied on. */
static bool
read_answer(struct s3_store *s3, const struct s3_answer *answer,
    const struct fb_store_removal *removal)
{
	struct failures failures = { .s3 = s3, .removal = removal };
	struct fb_error ignored = { 0 };
	int rc;

	memset(removal->gone, true, removal->count);
	rc = s3_xml_read(
	    fb_buf_span(&answer->http.body), take_failure, &failures, &ignored);
	if (rc == FB_OK && failures.good && !failures.stray)
		return true;
	memset(removal->gone, false, removal->count);
	/* An error of the moment is no sign that there is no such request. */
	return failures.error;
}

/* Was the request refused, so that others may do?  What keeps us from the
 * server, or from the bucket, keeps the others too. */
static bool
was_refused(int rc, const struct fb_error *err)
{
	return rc == FB_EUNSUP || rc == FB_EPROTO || rc == FB_EDENIED ||
	    strcmp(err->id, "E-S3-DIGEST") == 0 ||
	    strcmp(err->id, "E-S3-LOCK") == 0;
}

int
s3_remove_many(struct fb_store *store, const struct fb_store_removal *removal,
    struct fb_error *err)
{
	static const struct s3_pair query = { "delete", "" };
	struct s3_store *s3 = (struct s3_store *)store;
	FB_CLEANUP(release_sums) struct sums sums = { 0 };
	AUTO_ANSWER struct s3_answer answer = { 0 };
	FB_AUTO_BUF struct fb_buf body = { 0 };
	struct s3_ask ask = { .method = "POST",
		.query = &query,
		.query_count = 1,
		.headers = &sums.header,
		.header_count = 1,
		.straight = true,
		.body_max = BULK_BYTES,
		.check = removal->check,
		.check_arg = removal->arg };
	struct fb_error why = { 0 };
	bool refused, told;
	int rc;

	if (atomic_load(&s3->no_bulk))
		return FB_OK;
	add_request(&body, s3, removal);
	ask.body = fb_buf_span(&body);
	sum(ask.body, &sums);
	rc = s3_ask(s3, &ask, &answer, &why);
	refused = rc < 0 && !answer.stopped && was_refused(rc, &why);
	if (rc < 0 && !refused) {
		*err = why;
		return rc;
	}
	told = rc == FB_OK && answer.http.status == 200 &&
	    read_answer(s3, &answer, removal);
	/* Who may not do it to all of them may do it to each. */
	if (!told && rc != FB_EDENIED)
		atomic_store(&s3->no_bulk, true);
	return FB_OK;
}

/*
 * What S3's answers mean: which are tried again, and what the others are in
 * our own terms.
 */
#include <string.h>

#include "fleetbak/base/mem.h"
#include "s3.h"
#include "s3_xml.h"

static int
take_error(void *arg, const char *root, const char *path, const char *text,
    struct fb_error *err)
{
	struct s3_answer *answer = arg;

	(void)err;
	if (strcmp(root, "Error") != 0)
		return FB_OK;
	if (strcmp(path, "Code") == 0)
		s3_copy_text(answer->code, sizeof(answer->code), text);
	else if (strcmp(path, "Message") == 0)
		s3_copy_text(answer->text, sizeof(answer->text), text);
	else if (strcmp(path, "Region") == 0)
		s3_copy_text(answer->region, sizeof(answer->region), text);
	return FB_OK;
}

static void
read_error(struct s3_answer *answer)
{
	const char *region =
	    fb_http_header(&answer->http, "x-amz-bucket-region");
	struct fb_error ignored;

	answer->code[0] = answer->text[0] = answer->region[0] = '\0';
	if (region != NULL)
		s3_copy_text(answer->region, sizeof(answer->region), region);
	/* What is no XML is a proxy's: its status says enough. */
	if (answer->http.body.len > 0 &&
	    s3_xml_read(fb_buf_span(&answer->http.body), take_error, answer,
	        &ignored) < 0)
		answer->code[0] = '\0';
}

static bool
is_one_of(const char *code, const char *const *codes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(code, codes[i]) == 0)
			return true;
	return false;
}

enum s3_verdict
s3_judge(struct s3_answer *answer)
{
	static const char *const again[] = { "RequestTimeout", "InternalError",
		"OperationAborted", "ConditionalRequestConflict" };
	static const char *const slow[] = { "SlowDown", "ServiceUnavailable",
		"Throttling", "ThrottlingException", "TooManyRequests",
		"RequestLimitExceeded" };
	static const char *const keys[] = { "ExpiredToken", "InvalidToken",
		"TokenRefreshRequired", "InvalidAccessKeyId",
		"SignatureDoesNotMatch" };
	int status = answer->http.status;
	const char *code = answer->code;

	answer->code[0] = '\0';
	if (status >= 200 && status <= 299)
		return S3_DONE;
	read_error(answer);
	if (is_one_of(code, again, FB_COUNT(again)))
		return S3_AGAIN;
	if (is_one_of(code, slow, FB_COUNT(slow)) || status == 429 ||
	    status == 503)
		return S3_SLOW;
	if (is_one_of(code, keys, FB_COUNT(keys)))
		return S3_KEYS;
	if (status == 408 || status == 500 || status == 502 || status == 504)
		return S3_AGAIN;
	if (strcmp(code, "NoSuchBucket") == 0)
		return S3_FAIL;
	if (status == 304 || status == 404 || status == 409 || status == 412 ||
	    status == 416)
		return S3_DONE;
	return S3_FAIL;
}

static const struct {
	const char *code; /* of S3 */
	enum fb_code fails;
	const char *id, *hint;
} meanings[] = {
	{ "NoSuchBucket", FB_ENOREPO, "E-S3-NO-BUCKET",
	    "check the bucket's name and the endpoint; 'fleetbak init' makes "
	    "the bucket" },
	{ "RequestTimeTooSkewed", FB_EUNREACH, "E-S3-CLOCK",
	    "set this host's clock, or the server's; they are more than 15 "
	    "minutes apart" },
	{ "RequestExpired", FB_EUNREACH, "E-S3-CLOCK",
	    "set this host's clock, or the server's" },
	{ "InvalidAccessKeyId", FB_EDENIED, "E-S3-DENIED",
	    "the server does not know this access key; check 'credentials' "
	    "and 'endpoint'" },
	{ "SignatureDoesNotMatch", FB_EDENIED, "E-S3-DENIED",
	    "the secret does not belong to the access key; check "
	    "'credentials'" },
	{ "ExpiredToken", FB_EDENIED, "E-S3-DENIED",
	    "the keys have expired; get new ones" },
	{ "InvalidToken", FB_EDENIED, "E-S3-DENIED",
	    "the session token is not good; get new keys" },
	{ "TokenRefreshRequired", FB_EDENIED, "E-S3-DENIED",
	    "the keys have expired; get new ones" },
	{ "AccessDenied", FB_EDENIED, "E-S3-DENIED",
	    "these keys may not do that in this bucket; check its policy" },
	{ "AllAccessDisabled", FB_EDENIED, "E-S3-DENIED",
	    "the bucket's owner has switched it off" },
	{ "ProxyAuthenticationRequired", FB_EDENIED, "E-PROXY",
	    "put user and password of the proxy into http_proxy" },
	{ "PermanentRedirect", FB_ECONFIG, "E-S3-REGION", "" },
	{ "TemporaryRedirect", FB_ECONFIG, "E-S3-REGION", "" },
	{ "AuthorizationHeaderMalformed", FB_ECONFIG, "E-S3-REGION", "" },
	{ "IllegalLocationConstraintException", FB_ECONFIG, "E-S3-REGION", "" },
	{ "InvalidLocationConstraint", FB_ECONFIG, "E-S3-REGION", "" },
	{ "QuotaExceeded", FB_ENOSPACE, "E-S3-QUOTA",
	    "raise the quota, or make room: 'fleetbak prune'" },
	{ "InsufficientCapacity", FB_ENOSPACE, "E-S3-QUOTA",
	    "the server is full" },
	{ "XMinioStorageFull", FB_ENOSPACE, "E-S3-QUOTA",
	    "the server is full" },
	{ "XAmzContentSHA256Mismatch", FB_EUNREACH, "E-S3-DIGEST", "" },
	{ "BadDigest", FB_EUNREACH, "E-S3-DIGEST", "" },
	{ "NotImplemented", FB_EUNSUP, "E-S3-UNSUP", "" },
	{ "MethodNotAllowed", FB_EUNSUP, "E-S3-UNSUP", "" },
};

/* Where there is no code, as in the answer to a HEAD. */
static const char *
code_of(const struct s3_answer *answer)
{
	if (answer->code[0] != '\0')
		return answer->code;
	switch (answer->http.status) {
	case 301:
		return "PermanentRedirect";
	case 307:
		return "TemporaryRedirect";
	case 401:
	case 403:
		return "AccessDenied";
	case 405:
		return "MethodNotAllowed";
	case 407:
		return "ProxyAuthenticationRequired";
	case 501:
		return "NotImplemented";
	case 507:
		return "InsufficientCapacity";
	default:
		return "";
	}
}

static int
hint_region(const struct s3_store *s3, const struct s3_answer *answer,
    struct fb_error *err)
{
	if (answer->region[0] != '\0')
		return fb_hint(err, "set region: %.40s (it is %.40s now)",
		    answer->region, s3->region);
	return fb_hint(err,
	    "the bucket is in another region than %.40s, or "
	    "at another endpoint",
	    s3->region);
}

/* There is an object, and nobody gets its bytes: somebody has put it there with
 * a key of his own, the key it was encrypted with is gone, or it lies in an
 * archive. */
static bool
is_unreadable(const struct s3_ask *ask, const struct s3_answer *answer)
{
	const char *code = answer->code;

	if (ask->key == NULL ||
	    (ask->method[0] != 'G' && ask->method[0] != 'H'))
		return false;
	/* radosgw gives no reason; a proxy that does not would have no id. */
	if (answer->http.status == 400 && code[0] == '\0')
		return fb_http_header(&answer->http, "x-amz-request-id") !=
		    NULL;
	return strcmp(code, "InvalidRequest") == 0 ||
	    strcmp(code, "InvalidObjectState") == 0 ||
	    (strncmp(code, "KMS.", 4) == 0 &&
	        strstr(code, "Throttl") == NULL &&
	        strstr(code, "Internal") == NULL) ||
	    (strcmp(code, "AccessDenied") == 0 &&
	        strstr(answer->text, "kms:") != NULL);
}

int
s3_fail_asked(const struct s3_store *s3, const struct s3_ask *ask,
    const struct s3_answer *answer, struct fb_error *err)
{
	if (!is_unreadable(ask, answer))
		return s3_fail(s3, answer, err);
	(void)fb_fail_id(err, FB_ECORRUPT, "E-S3-UNREADABLE",
	    "%s: bucket '%s': its bytes are not given out: %s: %s", s3->server,
	    s3->bucket, answer->code,
	    answer->text[0] != '\0' ? answer->text
	                            : "the server gives no reason");
	return fb_hint(err,
	    "bring it back from the archive; or, where versions are kept: "
	    "fleetbak doctor --fix");
}

int
s3_fail(const struct s3_store *s3, const struct s3_answer *answer,
    struct fb_error *err)
{
	const char *code = code_of(answer);
	int status = answer->http.status;

	if (s3->lock_mode != FB_LOCK_NONE &&
	    strcmp(code, "InvalidRequest") == 0) {
		(void)fb_fail_id(err, FB_ECONFIG, "E-S3-LOCK",
		    "%s: bucket '%s': it takes no lock: %s", s3->server,
		    s3->bucket, answer->text);
		return fb_hint(err,
		    "object lock is switched on when a bucket is made, as "
		    "'fleetbak init' does; or take object_lock away");
	}
	for (size_t i = 0; i < FB_COUNT(meanings); i++) {
		if (strcmp(meanings[i].code, code) != 0)
			continue;
		(void)fb_fail_id(err, meanings[i].fails, meanings[i].id,
		    "%s: bucket '%s': %s: %s", s3->server, s3->bucket, code,
		    answer->text[0] != '\0' ? answer->text
		                            : "the server gives no reason");
		if (meanings[i].hint[0] != '\0')
			return fb_hint(err, "%s", meanings[i].hint);
		if (meanings[i].fails == FB_ECONFIG)
			return hint_region(s3, answer, err);
		return err->code;
	}
	if (status == 408 || status == 429 || status >= 500) {
		(void)fb_fail_id(err, FB_EUNREACH, "E-S3-BUSY",
		    "%s: bucket '%s': the server goes on answering %d %s",
		    s3->server, s3->bucket, status, code);
		return fb_hint(err, "try again later");
	}
	return fb_fail_id(err, FB_EPROTO, "E-S3-ANSWER",
	    "%s: bucket '%s': the server answers %d %s: %s", s3->server,
	    s3->bucket, status, code, answer->text);
}

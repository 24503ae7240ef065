/*
 * Opening a bucket: where it is, and that it is there.
 */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/mem.h"
#include "lease.h"
#include "s3.h"
#include "s3_sts.h"

#define RETRY_MS   300000 /* 5 min */
#define STALL_MS   30000
#define NS_PER_MS  1000000

#define REGION_DEFAULT "us-east-1"
#define AWS            ".amazonaws.com"

static bool
ends_with(const char *text, size_t len, const char *end)
{
	size_t end_len = strlen(end);

	return len >= end_len &&
	    strncmp(text + len - end_len, end, end_len) == 0;
}

/* The bucket's name stands in the path, unless it is AWS's server, which
 * wants it before its own; a name with dots fits no certificate there. */
static bool
in_path(const struct fb_store_options *options, const char *host,
    const char *bucket)
{
	switch (options->path_style) {
	case FB_PATH_STYLE_ON:
		return true;
	case FB_PATH_STYLE_OFF:
		return false;
	case FB_PATH_STYLE_AUTO:
		break;
	}
	return !ends_with(host, strcspn(host, ":/"), AWS) ||
	    strchr(bucket, '.') != NULL;
}

static void
place(struct s3_store *s3, const struct fb_store_options *options)
{
	FB_AUTO_FREE char *endpoint = options->endpoint != NULL
	    ? fb_strdup(options->endpoint)
	    : fb_format("https://s3.%s" AWS, s3->region);
	char *host = strstr(endpoint, "://");
	size_t scheme = host != NULL ? (size_t)(host + 3 - endpoint) : 0;
	bool path;

	host = endpoint + scheme;
	host[strcspn(host, "/")] = '\0';
	path = in_path(options, host, s3->bucket);
	s3->host =
	    fb_format("%s%s%s", path ? "" : s3->bucket, path ? "" : ".", host);
	s3->server = fb_format("%.*s%s", (int)scheme, endpoint, s3->host);
	s3->root = path ? fb_format("/%s/", s3->bucket) : fb_strdup("/");
}

/* Other servers than AWS's give roles where they give objects. */
static void
place_sts(struct s3_store *s3, const struct fb_store_options *options)
{
	const char *said = getenv("AWS_ENDPOINT_URL_STS");
	struct s3_sts_place place = { .region = s3->region,
		.ca = options->ca,
		.proxy = options->proxy };

	if (said != NULL && *said != '\0')
		place.endpoint = said;
	else if (!ends_with(s3->host, strcspn(s3->host, ":/"), AWS))
		place.endpoint = options->endpoint;
	s3_cred_set_sts(s3->cred, &place);
}

static struct s3_store *
make_store(
    const char *bucket, size_t len, const struct fb_store_options *options)
{
	struct s3_store *s3 = fb_alloc(1, sizeof(*s3));
	const char *prefix = bucket + len + (bucket[len] == '/');
	size_t prefix_len = strlen(prefix);
	uint64_t retry_ms =
	    options->retry_ms > 0 ? options->retry_ms : RETRY_MS;
	/* One that stands still leaves time for another. */
	const struct fb_http_options http = {
		.ca = options->ca,
		.proxy = options->proxy,
		.stall_ms = retry_ms / 2 < STALL_MS ? retry_ms / 2 + 1 : STALL_MS,
		.hurry = options->hurry,
	};

	s3->base.ops = &fb_s3_ops;
	s3->bucket = fb_format("%.*s", (int)len, bucket);
	s3->region = fb_strdup(
	    options->region != NULL ? options->region : REGION_DEFAULT);
	if (prefix_len > 0 && prefix[prefix_len - 1] == '/')
		prefix_len--;
	s3->prefix = fb_format(
	    "%.*s%s", (int)prefix_len, prefix, prefix_len > 0 ? "/" : "");
	place(s3, options);
	s3->cred = s3_cred_new(options->credentials, options->base_dir);
	place_sts(s3, options);
	s3->http = fb_http_new(&http);
	s3->retry_ns = retry_ms * NS_PER_MS;
	s3->hurry = options->hurry;
	s3->limit = S3_PARALLEL;
	s3->lock_mode = options->lock_mode;
	/* More than is wanted, so that it need not be made longer each night
	 * for what is used again. */
	s3->lock_ns =
	    (options->lock_ms + options->lock_ms / 8) * NS_PER_MS;
	if (options->etcd != NULL) {
		FB_AUTO_FREE char *where = fb_format("s3://%s/%.*s",
		    s3->bucket, (int)prefix_len, prefix);

		s3->lease = lease_new(options, where);
		s3->base.has_lease = true;
	}
	(void)pthread_mutex_init(&s3->lock, NULL);
	(void)pthread_cond_init(&s3->room, NULL);
	return s3;
}

/* The bucket, made if there is none.  AWS wants to be told which region it
 * was asked in; others do not know regions. */
static int
make_bucket(struct s3_store *s3, struct fb_error *err)
{
	static const struct s3_pair query[] = { { "list-type", "2" },
		{ "max-keys", "1" } };
	const struct s3_ask look = {
		.method = "GET", .query = query, .query_count = FB_COUNT(query)
	};
	AUTO_ANSWER struct s3_answer answer = { 0 };
	FB_AUTO_FREE char *where =
	    fb_format("<CreateBucketConfiguration><LocationConstraint>%s"
	              "</LocationConstraint></CreateBucketConfiguration>",
	        s3->region);
	static const struct s3_pair lock = {
		"x-amz-bucket-object-lock-enabled", "true"
	};
	struct s3_ask make = { .method = "PUT",
		.headers = &lock,
		.header_count = s3->lock_mode != FB_LOCK_NONE };
	int rc = s3_ask(s3, &look, &answer, err);

	if (rc != FB_ENOREPO)
		return rc == FB_OK && answer.http.status != 200
		    ? s3_fail(s3, &answer, err)
		    : rc;
	if (ends_with(s3->host, strlen(s3->host), AWS) &&
	    strcmp(s3->region, REGION_DEFAULT) != 0)
		make.body =
		    (struct fb_span){ (const uint8_t *)where, strlen(where) };
	rc = s3_ask(s3, &make, &answer, err);
	if (rc < 0)
		return fb_wrap(err, "make bucket '%s'", s3->bucket);
	if (answer.http.status >= 300 &&
	    strcmp(answer.code, "BucketAlreadyOwnedByYou") != 0)
		return s3_fail(s3, &answer, err);
	return FB_OK;
}

int
fb_store_s3_open(const char *rest, bool make,
    const struct fb_store_options *options, struct fb_store **ret_store,
    struct fb_error *err)
{
	const char *bucket = strncmp(rest, "//", 2) == 0 ? rest + 2 : "";
	size_t len = strcspn(bucket, "/");
	struct s3_store *s3;
	int rc = FB_OK;

	if (len == 0) {
		(void)fb_fail_id(err, FB_ECONFIG, "E-STORE-URL",
		    "'s3:%s' names no bucket", rest);
		return fb_hint(err, "write s3://bucket/prefix");
	}
	s3 = make_store(bucket, len, options);
	if (make)
		rc = make_bucket(s3, err);
	if (rc < 0)
		fb_s3_ops.close(&s3->base);
	else
		*ret_store = &s3->base;
	return rc;
}

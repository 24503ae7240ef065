/*
 * AWS Signature Version 4: what a request to S3 looks like when it is signed.
 * Pure: the time is passed in.  (libcurl's own signer of the versions in use
 * signs paths, queries and headers wrongly that this store needs.)
 */
#ifndef FB_SRC_STORE_S3_SIGN_H
#define FB_SRC_STORE_S3_SIGN_H

#include <stdbool.h>

#include "fleetbak/base/buf.h"
#include "fleetbak/crypto/digest.h"

struct s3_keys {
	const char *id;     /* AccessKeyId */
	const char *secret; /* SecretAccessKey */
};

/* Name and value: of a query, not encoded; of a header, as it is sent. */
struct s3_pair {
	const char *name, *value;
};

struct s3_signing {
	const char *method;
	const char *path;  /* canonical: s3_add_encoded(), with its slashes */
	const char *query; /* canonical: s3_add_query() */
	const struct s3_pair *headers; /* names in lower case, any order; "host"
	                                * and "x-amz-date" are among them */
	size_t header_count;           /* at most S3_HEADERS_MAX */
	const char *payload;           /* SHA-256 of the body in hex, or
	                                * "UNSIGNED-PAYLOAD" */
	const char *region;
	const char *service; /* "s3" */
};

#define S3_HEADERS_MAX 16

/* "20130524T000000Z" */
#define S3_DATE_SIZE 17
void s3_date(int64_t wall_ns, char text[S3_DATE_SIZE]);

/* Append percent-encoded: all but A-Z a-z 0-9 - . _ ~ and, with `path`, /. */
void s3_add_encoded(struct fb_buf *dst, const char *text, bool path);

/* Append the query of these pairs in its canonical form: encoded, sorted,
 * every name with a '='. */
void s3_add_query(
    struct fb_buf *dst, const struct s3_pair *pairs, size_t count);

/* Append the value of the Authorization header for a request at `date`, which
 * its x-amz-date header is too. */
void s3_add_authorization(struct fb_buf *dst, const struct s3_signing *signing,
    const struct s3_keys *keys, const char *date);

#endif

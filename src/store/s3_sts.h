/*
 * Keys for a time, from AWS's Security Token Service or a server that speaks
 * as it does: a role taken over with an identity token, or with other keys.
 */
#ifndef FB_SRC_STORE_S3_STS_H
#define FB_SRC_STORE_S3_STS_H

#include "s3_cred.h"

/* Where it is; all is borrowed. */
struct s3_sts_place {
	const char *endpoint; /* "https://host:port"; NULL: AWS's */
	const char *region;
	const char *ca, *proxy; /* as in fb_http_options */
};

struct s3_role {
	const char *arn;
	const char *session;        /* NULL: "fleetbak" */
	const char *external_id;    /* NULL: none */
	const char *token;          /* an identity token, or ... */
	const struct s3_access *as; /* ... keys to ask with */
};

/* Errors: FB_EDENIED, id E-S3-ROLE: it refuses; FB_EUNREACH, FB_ETIMEOUT;
 *         FB_EPROTO.  Tries more than once what may pass. */
FB_MUST_USE int s3_sts_assume(const struct s3_sts_place *place,
    const struct s3_role *role, struct s3_access *ret_access,
    int64_t *ret_expires_ns, struct fb_error *err);

/* The answer; what is in it is not checked yet. */
FB_MUST_USE int s3_sts_parse(struct fb_span xml, struct s3_access *ret_access,
    int64_t *ret_expires_ns, struct fb_error *err);

#endif

/*
 * The access keys of S3: found where the configuration says, kept while they
 * are good, read again before they expire, wiped when they are not needed.
 */
#ifndef FB_SRC_STORE_S3_CRED_H
#define FB_SRC_STORE_S3_CRED_H

#include <stdbool.h>
#include <stdint.h>

#include "fleetbak/base/buf.h"

struct fb_error;
struct s3_cred;

/* A copy of the keys, the caller's; wiped by s3_access_release(). */
struct s3_access {
	char *id, *secret;
	char *token; /* of a session; NULL: none */
};
void s3_access_release(struct s3_access *access);
#define AUTO_ACCESS FB_CLEANUP(s3_access_release)

/* `where` as in store.h's options; NULL: "auto".  Reads nothing yet. */
struct s3_cred *s3_cred_new(const char *where, const char *base_dir);
/* Where roles are taken over; once, before anything is asked for.  Without it
 * at AWS's in us-east-1. */
struct s3_sts_place;
void s3_cred_set_sts(struct s3_cred *cred, const struct s3_sts_place *place);
void s3_cred_free(struct s3_cred *cred);

/*
 * The keys to sign with now.
 * Errors:  FB_EKEY, id E-S3-KEYS: none found, or not readable; FB_ECONFIG;
 *          of roles those of s3_sts_assume().
 * Threads: any.
 */
FB_MUST_USE int s3_cred_get(struct s3_cred *cred, struct s3_access *ret_access,
    struct fb_error *err);

/* The server says that these have expired, or are none: read them again when
 * they are wanted next, unless that has been done since; false: reading again
 * gives nothing new. */
bool s3_cred_expired(struct s3_cred *cred, const struct s3_access *access);

/* What an INI section, lines without one, or the JSON of a credential process
 * say; FB_EKEY.  `profile` NULL: the first section, or none. */
FB_MUST_USE int s3_cred_parse(struct fb_span text, const char *profile,
    struct s3_access *ret_access, int64_t *ret_expires_ns,
    struct fb_error *err);

#endif

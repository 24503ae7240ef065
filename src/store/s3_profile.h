/*
 * A profile of AWS's shared files: what one section of an INI file says of
 * keys, or of how to get some.
 */
#ifndef FB_SRC_STORE_S3_PROFILE_H
#define FB_SRC_STORE_S3_PROFILE_H

#include "s3_cred.h"

struct s3_profile {
	struct s3_access access;
	char *role_arn;   /* a role to take over ... */
	char *source;     /* ... as this profile, */
	char *token_file; /* ... or as whom a token names */
	char *session;    /* what the role's session is called */
	char *external_id;
	char *process; /* a program that tells keys */
};
void s3_profile_release(struct s3_profile *profile);
#define AUTO_PROFILE FB_CLEANUP(s3_profile_release)

/* Take in what the section `name` says, on top of what is there; NULL: the
 * first section, or lines without one.  `text` is cut up. */
void s3_profile_read(char *text, const char *name, struct s3_profile *profile);

#endif

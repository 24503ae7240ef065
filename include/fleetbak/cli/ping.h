/*
 * One HTTP POST to somebody who is to be told something.
 */
#ifndef FB_CLI_PING_H
#define FB_CLI_PING_H

#include "fleetbak/base/buf.h"

struct fb_error;

/* What healthchecks.io reads of a body. */
#define FB_PING_BODY_MAX 100000

struct fb_ping {
	const char *url;  /* a secret: it is in no message */
	const char *type; /* of the body */
	uint64_t timeout_ms;
	struct fb_span body;
};

/* FB_OK for any answer of 2xx.  Errors: FB_EUNREACH, FB_ETIMEOUT; FB_EDENIED
 * for an answer of 4xx, FB_ERETRY for another. */
FB_MUST_USE int fb_ping(const struct fb_ping *ping, struct fb_error *err);

#endif

/*
 * HTTP (by libcurl): one request at a time per calling thread, over
 * connections that are kept for the next ones.
 *
 * A client has a pool of connections: a call takes one that is idle, or makes
 * one, and drives it (by libcurl's multi interface) in its own thread until
 * the answer is there or nobody waits for it any more.  HTTP/1.1, and HTTP/2
 * over TLS where the server speaks it; redirects are not followed, and
 * nothing is tried again: what a lost answer means, the caller knows.
 *
 * Every request passes the effects seam.  Threads: any.
 */
#ifndef FB_BASE_HTTP_H
#define FB_BASE_HTTP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fleetbak/base/buf.h"
#include "fleetbak/base/seam.h"

struct fb_error;
struct fb_http;

/* All texts are copied; all-zero is every default. */
struct fb_http_options {
	const char *ca;          /* PEM file of the only trusted authorities;
	                          * NULL: SSL_CERT_FILE, or the system's */
	const char *cert, *key;  /* of the client, PEM files; NULL: none */
	const char *proxy;       /* "http://host:port"; NULL: as HTTPS_PROXY,
	                          * http_proxy and NO_PROXY say; "": none */
	const char *unix_socket; /* path: connect there, whatever the host */
	uint64_t connect_ms;     /* to connect, TLS included; 0: 10 s */
	uint64_t stall_ms;       /* hardly a byte moved for so long; 0: 60 s */

	/* Set, by any thread: a transfer of which hardly a byte moved for 5
	 * seconds is given up (FB_ETIMEOUT).  It lives as long as the client; or
	 * NULL. */
	const atomic_bool *hurry;
};

/* The client; free it when no request is under way. */
struct fb_http *fb_http_new(const struct fb_http_options *options);
void fb_http_free(struct fb_http *http);
void fb_http_freep(struct fb_http **http);
#define FB_AUTO_HTTP FB_CLEANUP(fb_http_freep)

/* Takes the body of an answer with a status of 2xx, piece by piece; a
 * negative return ends the transfer and is what the call returns.  The
 * response has its status and its headers by then. */
typedef int fb_http_sink(void *arg, struct fb_span piece, struct fb_error *err);

struct fb_http_request {
	const char *method; /* "GET", "HEAD", "PUT", "POST", "PATCH", "DELETE" */
	const char *url;    /* sent as it is: encoded by the caller */
	const char *const *headers; /* "name: value", ends with NULL; or NULL */
	enum fb_step step;  /* FB_STEP_STORE, FB_STEP_DRIVER or FB_STEP_ASK */
	const char *what;   /* what it is about, for the seam; no secret */

	/* The body: from memory or, with body_path, from an open file. */
	struct fb_span body;
	const char *body_path; /* for messages; NULL: from memory */
	int body_fd;
	uint64_t body_offset, body_size;

	/* Send it without asking the server first, which some do not answer, so
	 * that a second is lost.  Only for what may be done twice: libcurl asks
	 * again by itself where a connection ends without an answer. */
	bool straight;

	/* Over a connection of its own: one that was idle and ends without an
	 * answer libcurl replaces and sends again, and says nothing. */
	bool once;

	uint64_t timeout_ms; /* for all of it; 0: no limit but the stall */
	uint64_t stall_ms;   /* as of the client; 0: the client's */
	/* Nothing need move for as long as `timeout_ms` lets it: the server
	 * works, and who goes away breaks what it does. */
	bool patient;
	const atomic_bool *cancel; /* set: it ends, FB_ECANCELED; may be NULL */
	size_t body_max;     /* of an answer that is kept; 0: 1 MiB */
	fb_http_sink *sink;  /* NULL: the body is kept in the response */
	void *sink_arg;
};

struct fb_http_response {
	int status;            /* 200, 404, ... */
	uint64_t retry_after_s; /* what Retry-After asks for, as a number or a
	                         * date; 0: nothing */
	struct fb_buf headers; /* "name: value", NUL, ...; use the function */
	struct fb_buf body;    /* what the sink did not take; that of a failed
	                        * request is cut at body_max */
};
void fb_http_response_release(struct fb_http_response *response);
#define FB_AUTO_HTTP_RESPONSE FB_CLEANUP(fb_http_response_release)

/* The value of a header, or NULL; `name` in lower case. */
const char *fb_http_header(
    const struct fb_http_response *response, const char *name);

/*
 * Send one request and take the answer, whatever its status.
 *
 * Owner:  `*ret_response` starts all-zero, or as an earlier call left it, and
 *         is the caller's.
 * Errors: FB_EUNREACH: nothing was sent: no such host, refused; with the id
 *         E-TLS the server's certificate is not believed, and another try
 *         will not help;
 *         FB_ECONFIG, id E-TLS-CA: the file of authorities is no such file;
 *         FB_EDENIED, id E-PROXY: the proxy does not connect us;
 *         FB_EUNKNOWN: the connection ended before the answer did;
 *         FB_ETIMEOUT: a deadline passed, with or without an effect;
 *         FB_ECANCELED: it was called off, with or without an effect;
 *         FB_EPROTO: the answer is too large, or none; the sink's own.
 */
FB_MUST_USE int fb_http_send(struct fb_http *http,
    const struct fb_http_request *request,
    struct fb_http_response *ret_response, struct fb_error *err);

#endif

/*
 * The client that drivers of systems with a JSON API share: over TCP, TLS or a
 * Unix socket, with or without credentials, patient where the server asks for
 * it and never twice where once may have been enough.
 *
 * A call is one or more tries.  What changes nothing ("safe"), and what carries
 * an idempotency key, is tried again when its answer is lost or the server is
 * in trouble; anything else only when nothing was sent, or the server said that
 * it did nothing (429, 503 with Retry-After).  Redirects are not followed.
 *
 * Threads: any.
 */
#ifndef FB_DRIVER_API_H
#define FB_DRIVER_API_H

#include <stdatomic.h>

#include "fleetbak/base/http.h"
#include "fleetbak/base/sse.h"
#include "fleetbak/format/api.h"

struct fb_api;

enum fb_api_auth {
	FB_API_OPEN,   /* none */
	FB_API_BEARER, /* "Authorization: Bearer <secret>" */
	FB_API_FORM,   /* a token for user and secret, by a form; it is
	                * refreshed before it ends and when it is refused */
};

/* All texts are copied; all-zero is every default. */
struct fb_api_options {
	const char *name; /* of the system, for messages: "computer-host" */
	const char *url;  /* "http[s]://host[:port][/prefix]", or
	                   * "unix:/path/of/socket" */
	const char *ca, *cert, *key, *proxy; /* as of fb_http_options */
	const char *const *headers; /* of every request; ends with NULL */

	enum fb_api_auth auth;
	struct fb_span secret;  /* the bearer token, or the user's password */
	const char *user;       /* FORM: its name; */
	const char *token_path; /* where tokens are: "/oauth/token"; */
	const char *token_form; /* and the constant part of the form:
	                         * "scope=write&client_id=morph-api" */

	uint64_t step_ms;  /* one try; 0: 60 s */
	uint64_t call_ms;  /* all tries of a call and what lies between; 0:
	                    * 5 min */
	uint64_t pause_ms; /* before the second try, then twice as long each
	                    * time; 0: 500 ms */
	uint64_t wait_max_ms; /* longest Retry-After that is waited for; 0:
	                       * 120 s */
};

struct fb_api *fb_api_new(const struct fb_api_options *options);
void fb_api_free(struct fb_api *api);
void fb_api_freep(struct fb_api **api);
#define FB_AUTO_API FB_CLEANUP(fb_api_freep)

struct fb_api_call {
	const char *method;
	const char *path;   /* "/machines/a%20b?x=y": encoded by the caller */
	const json_t *body; /* sent as JSON; NULL: no body, no Content-Type */
	const char *form;   /* or this one, encoded; NULL */
	const char *idempotency_key; /* NULL: none */
	const char *what;   /* for the seam: "machines" */
	bool safe;          /* may be done twice: see above */
	bool patient;       /* one try may take as long as step_ms says, and
	                     * nothing need move meanwhile */
	uint64_t step_ms, call_ms;  /* 0: those of the client */
	size_t answer_max;          /* bytes of the answer; 0: 1 MiB */
	const atomic_bool *cancel;  /* may be NULL */
};

struct fb_api_answer {
	int status;          /* 0: there was none */
	json_t *json;        /* NULL: none, or an empty body */
	struct fb_api_error error; /* of an answer that is a failure */
	uint64_t retry_after_ms;   /* what it asks for, waited for or not */
	unsigned tries;
};
void fb_api_answer_release(struct fb_api_answer *answer);
#define FB_AUTO_API_ANSWER FB_CLEANUP(fb_api_answer_release)

/*
 * Owner:  `*ret_answer` starts all-zero and is the caller's, also when the call
 *         fails: then it has the status and what the server said.
 * Errors: those of fb_http_send() when there was no answer (FB_EUNREACH,
 *         FB_EUNKNOWN, FB_ETIMEOUT, FB_ECANCELED, ...); FB_EPROTO an answer
 *         that is no JSON or a redirect; by status, id E-API-STATUS:
 *         401, 403 FB_EDENIED; 402, 413, 507 FB_ENOSPACE; 404, 410
 *         FB_ENOTFOUND; 405, 501 FB_EUNSUP; 409, 412, 423 FB_ECONFLICT; 429
 *         and 503 FB_ERETRY; 5xx of what is not safe FB_EUNKNOWN, else
 *         FB_EUNREACH; all others FB_EFAILED, as a body that says so.
 */
FB_MUST_USE int fb_api_send(struct fb_api *api,
    const struct fb_api_call *call, struct fb_api_answer *ret_answer,
    struct fb_error *err);

/*
 * All items of a list, page by page.  `path` has no query of its own, or
 * ends with "&".  Errors: as above; E-API-LIST; the visitor's.
 */
FB_MUST_USE int fb_api_list(struct fb_api *api, const char *path,
    struct fb_page *page, const atomic_bool *cancel, fb_page_visit *visit,
    void *arg, struct fb_error *err);

/* Bytes of something that may be large. */
struct fb_api_fetch {
	const char *path;
	const char *what;    /* for the seam */
	uint64_t from, end;  /* [from, end); end UINT64_MAX: to its end */
	/* Of what is meant: ETag or Last-Modified, and its size.  Filled in by
	 * the first answer when they are empty; later ones must agree. */
	char validator[128];
	uint64_t total;      /* UINT64_MAX: not known */
	uint64_t step_ms;    /* one try; 0: no limit but that bytes move */
	const atomic_bool *cancel;
	fb_http_sink *sink;
	void *arg;

	/* The server knows no ranges, and what it gives twice need not be the
	 * same: one try, and whoever asks begins anew. */
	bool whole;

	uint64_t got; /* out: bytes that the sink took */
	int status;   /* out: of the answer; 0: there was none */
	/* out: the answer says where it ends, so that one that was cut off is
	 * told from one that is whole. */
	bool framed;
};

/*
 * Stream it into the sink.  When the connection breaks it is gone on with from
 * where it stood, by Range and If-Range, as long as each try brings something;
 * but for what is `whole`.
 * Errors: as of fb_api_send(); FB_ECONFLICT, id E-API-CHANGED: what is there now is
 *         not what was begun with, or the server knows no ranges; the sink's.
 */
FB_MUST_USE int fb_api_get_bytes(struct fb_api *api,
    struct fb_api_fetch *fetch, struct fb_error *err);

/* What the events of a stream led to. */
enum fb_api_end {
	FB_API_ENDED,  /* it ended by itself: ask for the outcome */
	FB_API_CLOSED, /* the visitor returned FB_PENDING: it has seen enough */
};

/*
 * Read server-sent events, one try and no reconnecting: where the stream does
 * something, asking again would do it again.  `idle_ms`: no byte for so long
 * ends it, FB_ETIMEOUT, and so does what a call may take.  A 406 is answered by asking for JSON as well, once.
 */
FB_MUST_USE int fb_api_events(struct fb_api *api, const char *path,
    uint64_t idle_ms, const atomic_bool *cancel, fb_sse_visit *visit,
    void *arg, enum fb_api_end *ret_end, struct fb_error *err);

#endif

/* What the client's files share. */
#ifndef DRIVER_API_INTERNAL_H
#define DRIVER_API_INTERNAL_H

#include <pthread.h>

#include "api.h"

#define FB_API_HEADERS_MAX 16

struct fb_api {
	char *name, *base; /* base: "http://host/prefix", without "/" */
	char **headers;    /* ends with NULL */
	struct fb_http *http;
	uint64_t step_ms, call_ms, pause_ms, wait_max_ms;

	enum fb_api_auth auth;
	char *secret, *user, *token_path, *token_form;
	pthread_mutex_t lock; /* guards the rest */
	char *token, *refresh;
	int64_t ends_ns; /* monotonic: when the token is to be refreshed */
};

/* One request, as it goes over the wire. */
struct fb_api_try {
	const char *method, *path, *what;
	struct fb_span body;
	const char *lines[FB_API_HEADERS_MAX]; /* own headers; NULL behind */
	const char *accept;
	uint64_t timeout_ms, idle_ms;
	bool once, patient;
	size_t body_max;
	const atomic_bool *cancel;
	fb_http_sink *sink;
	void *arg;
};

/* The request, with credentials; again with new ones when they are refused. */
FB_MUST_USE int fb_api_try(struct fb_api *api, const struct fb_api_try *what,
    struct fb_http_response *ret_response, struct fb_error *err);

/* The error that a failed answer is. */
FB_MUST_USE int fb_api_fail(const struct fb_api *api, const char *method,
    const char *path, int status, const struct fb_api_error *error, bool safe,
    struct fb_error *err);

/* Wait before the next try; false: the deadline comes first, or `cancel`. */
bool fb_api_pause(struct fb_api *api, unsigned tries, uint64_t asked_ms,
    int64_t deadline_ns, const atomic_bool *cancel);

#endif

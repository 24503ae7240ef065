/* The client: where it connects, and with which credentials. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/log.h"
#include "fleetbak/base/mem.h"

#include "api_internal.h"

#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S  INT64_C(1000000000)

/* A token is refreshed before the server refuses it. */
#define TOKEN_MARGIN_S 30
#define TOKEN_MAX_S    (INT64_C(7) * 86400)

static void
wipe(char *text)
{
	if (text != NULL)
		explicit_bzero(text, strlen(text));
	free(text);
}

static char *
copy(const char *text)
{
	return text != NULL ? fb_strdup(text) : NULL;
}

static uint64_t
or_default(uint64_t value, uint64_t fallback)
{
	return value > 0 ? value : fallback;
}

/* A socket has no name of its own. */
static void
set_place(struct fb_api *api, const char *url, struct fb_http_options *http)
{
	size_t len;

	if (strncmp(url, "unix:", 5) == 0) {
		http->unix_socket = url + 5;
		http->proxy = "";
		api->base = fb_strdup("http://localhost");
		return;
	}
	api->base = fb_strdup(url);
	len = strlen(api->base);
	while (len > 0 && api->base[len - 1] == '/')
		api->base[--len] = '\0';
}

struct fb_api *
fb_api_new(const struct fb_api_options *options)
{
	struct fb_api *api = fb_alloc(1, sizeof(*api));
	struct fb_http_options http = { .ca = options->ca,
		.cert = options->cert,
		.key = options->key,
		.proxy = options->proxy };
	size_t count = 0;

	api->name = fb_strdup(options->name);
	set_place(api, options->url, &http);
	api->http = fb_http_new(&http);
	while (options->headers != NULL && options->headers[count] != NULL)
		count++;
	api->headers = fb_alloc(count + 1, sizeof(*api->headers));
	for (size_t i = 0; i < count; i++)
		api->headers[i] = fb_strdup(options->headers[i]);
	api->auth = options->auth;
	if (options->secret.len > 0)
		api->secret = fb_format("%.*s", (int)options->secret.len,
		    (const char *)options->secret.ptr);
	fb_redact_add(options->secret);
	api->user = copy(options->user);
	api->token_path = copy(options->token_path);
	api->token_form = copy(options->token_form);
	api->step_ms = or_default(options->step_ms, 60000);
	api->call_ms = or_default(options->call_ms, 300000);
	api->pause_ms = or_default(options->pause_ms, 500);
	api->wait_max_ms = or_default(options->wait_max_ms, 120000);
	(void)pthread_mutex_init(&api->lock, NULL);
	if (api->auth == FB_API_BEARER)
		api->token = copy(api->secret);
	return api;
}

void
fb_api_free(struct fb_api *api)
{
	if (api == NULL)
		return;
	fb_http_free(api->http);
	for (size_t i = 0; api->headers[i] != NULL; i++)
		free(api->headers[i]);
	free(api->headers);
	free(api->name);
	free(api->base);
	free(api->user);
	free(api->token_path);
	free(api->token_form);
	wipe(api->secret);
	wipe(api->token);
	wipe(api->refresh);
	(void)pthread_mutex_destroy(&api->lock);
	free(api);
}

void
fb_api_freep(struct fb_api **api)
{
	fb_api_free(*api);
	*api = NULL;
}

/* -------------------------------------------------------------- tokens */

static char *
redacted_copy(const char *text)
{
	fb_redact_add(
	    (struct fb_span){ (const uint8_t *)text, strlen(text) });
	return fb_strdup(text);
}

static int
take_token(struct fb_api *api, struct fb_span body, struct fb_error *err)
{
	FB_AUTO_JSON json_t *json = NULL;
	const char *token = NULL, *refresh = NULL;
	const json_t *expires;
	int64_t seconds;
	int rc = fb_json_parse(body, 1 << 16, "token", &json, err);

	if (rc == FB_OK)
		rc = fb_json_str(json, "access_token", "token", &token, err);
	if (rc == FB_OK)
		rc = fb_json_str_opt(
		    json, "refresh_token", "token", &refresh, err);
	if (rc == FB_OK && (token[0] == '\0' ||
	        token[strcspn(token, "\r\n")] != '\0'))
		rc = fb_fail(err, FB_EPROTO, "its token is none");
	if (rc < 0)
		return fb_fail(
		    err, FB_EPROTO, "what came in place of a token is none");
	expires = json_object_get(json, "expires_in");
	seconds = json_is_integer(expires) ? json_integer_value(expires)
	                                   : TOKEN_MAX_S;
	if (seconds > TOKEN_MAX_S)
		seconds = TOKEN_MAX_S;
	seconds = seconds > 2 * TOKEN_MARGIN_S ? seconds - TOKEN_MARGIN_S
	                                       : seconds / 2;
	wipe(api->token);
	wipe(api->refresh);
	api->token = redacted_copy(token);
	api->refresh = refresh != NULL ? redacted_copy(refresh) : NULL;
	api->ends_ns = fb_clock_mono_ns() + seconds * NS_PER_S;
	return FB_OK;
}

/* Ask for one; the lock is held.  FB_EDENIED: the credentials are refused. */
static int
ask_token(struct fb_api *api, bool by_refresh, struct fb_error *err)
{
	static const char *const lines[] = {
		"Content-Type: application/x-www-form-urlencoded",
		"Accept: application/json", NULL
	};
	FB_AUTO_HTTP_RESPONSE struct fb_http_response response = { 0 };
	FB_AUTO_FREE char *url = fb_format("%s%s", api->base, api->token_path);
	struct fb_api_error why;
	struct fb_buf form = { 0 };
	struct fb_http_request request = { .method = "POST",
		.url = url,
		.headers = lines,
		.step = FB_STEP_ASK,
		.what = "token",
		.timeout_ms = api->step_ms };
	int rc;

	fb_buf_add_fmt(&form, "grant_type=%s",
	    by_refresh ? "refresh_token" : "password");
	if (api->token_form != NULL)
		fb_buf_add_fmt(&form, "&%s", api->token_form);
	fb_buf_add_str(&form, by_refresh ? "&refresh_token=" : "&username=");
	fb_api_add_encoded(&form, by_refresh ? api->refresh : api->user);
	if (!by_refresh) {
		fb_buf_add_str(&form, "&password=");
		fb_api_add_encoded(&form, api->secret);
	}
	request.body = fb_buf_span(&form);
	rc = fb_http_send(api->http, &request, &response, err);
	explicit_bzero(form.data, form.len);
	fb_buf_release(&form);
	if (rc < 0)
		return rc;
	if (response.status == 200)
		return take_token(api, fb_buf_span(&response.body), err);
	fb_api_error_parse(fb_buf_span(&response.body), &why);
	rc = fb_fail_id(err,
	    response.status == 400 || response.status == 401 ||
	            response.status == 403
	        ? FB_EDENIED
	        : FB_EUNREACH,
	    "E-API-AUTH", "%s gives no token: status %d%s%s", api->name,
	    response.status, why.message[0] != '\0' ? ": " : "", why.message);
	return fb_hint(err, "see to its user and password");
}

/* The header with the token that is good now; the lock is held. */
static int
hold_token(struct fb_api *api, struct fb_error *err)
{
	struct fb_error ignored = { 0 };

	if (api->auth != FB_API_FORM ||
	    (api->token != NULL && fb_clock_mono_ns() < api->ends_ns))
		return FB_OK;
	if (api->refresh != NULL && ask_token(api, true, &ignored) == FB_OK)
		return FB_OK;
	return ask_token(api, false, err);
}

static int
authorization(struct fb_api *api, char **ret_line, struct fb_error *err)
{
	int rc;

	*ret_line = NULL;
	if (api->auth == FB_API_OPEN)
		return FB_OK;
	(void)pthread_mutex_lock(&api->lock);
	rc = hold_token(api, err);
	if (rc == FB_OK && api->token != NULL)
		*ret_line =
		    fb_format("Authorization: Bearer %s", api->token);
	(void)pthread_mutex_unlock(&api->lock);
	return rc;
}

/* The token that was sent is refused: unless another thread has a new one by
 * now, it ends here. */
static bool
renew(struct fb_api *api, const char *line)
{
	const char *sent = line != NULL ? strrchr(line, ' ') + 1 : "";

	if (api->auth != FB_API_FORM)
		return false;
	(void)pthread_mutex_lock(&api->lock);
	if (api->token != NULL && strcmp(api->token, sent) == 0)
		api->ends_ns = 0;
	(void)pthread_mutex_unlock(&api->lock);
	return true;
}

/* ------------------------------------------------------------- requests */

static int
try_once(struct fb_api *api, const struct fb_api_try *what,
    const char *authorization_line, struct fb_http_response *ret_response,
    struct fb_error *err)
{
	FB_AUTO_FREE char *url = fb_format("%s%s", api->base, what->path);
	FB_AUTO_FREE char *accept = fb_format("Accept: %s", what->accept);
	const char *lines[2 * FB_API_HEADERS_MAX] = { accept };
	size_t count = 1;
	struct fb_http_request request = { .method = what->method,
		.url = url,
		.headers = lines,
		.step = FB_STEP_ASK,
		.what = what->what,
		.body = what->body,
		.straight = true,
		.once = what->once,
		.timeout_ms = what->timeout_ms,
		.patient = what->patient,
		.stall_ms = what->idle_ms,
		.cancel = what->cancel,
		.body_max = what->body_max,
		.sink = what->sink,
		.sink_arg = what->arg };

	if (authorization_line != NULL)
		lines[count++] = authorization_line;
	for (size_t i = 0; what->lines[i] != NULL; i++)
		lines[count++] = what->lines[i];
	for (size_t i = 0;
	     api->headers[i] != NULL && count + 1 < FB_COUNT(lines); i++)
		lines[count++] = api->headers[i];
	return fb_http_send(api->http, &request, ret_response, err);
}

int
fb_api_try(struct fb_api *api, const struct fb_api_try *what,
    struct fb_http_response *ret_response, struct fb_error *err)
{
	for (int i = 0;; i++) {
		char *line;
		bool again;
		int rc = authorization(api, &line, err);

		if (rc < 0)
			return rc;
		rc = try_once(api, what, line, ret_response, err);
		again = rc == FB_OK && ret_response->status == 401 && i == 0 &&
		    renew(api, line);
		wipe(line);
		if (!again)
			return rc;
	}
}

/* Tokens: asked for with a form, and shown with each request. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "morpheus.h"

#include "fleetbak/base/mem.h"

#define TOKENS 32

static struct {
	const char *user, *password, *fixed;
	int64_t life_ms;
	/* The oldest one makes room. */
	struct token {
		char access[40], refresh[40];
		int64_t until_ms;
		bool refreshes;
	} tokens[TOKENS];
	size_t given;
} auth;

void
mo_auth_setup(
    const char *user, const char *password, const char *fixed, int64_t life_ms)
{
	auth.user = user;
	auth.password = password;
	auth.fixed = fixed;
	auth.life_ms = life_ms;
}

static void
make_token(char text[40], const char *prefix)
{
	unsigned char bytes[16];
	size_t at = 0;

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		abort();
	at = (size_t)snprintf(text, 40, "%s", prefix);
	for (size_t i = 0; i < sizeof(bytes); i++)
		at += (size_t)snprintf(text + at, 40 - at, "%02x", bytes[i]);
}

static void
give(struct mo_request *request)
{
	struct token *token = &auth.tokens[auth.given++ % TOKENS];

	make_token(token->access, "at-");
	make_token(token->refresh, "rt-");
	token->until_ms = now_ms() + auth.life_ms;
	token->refreshes = true;
	mo_answer(request, 200,
	    json_pack("{s:s,s:s,s:I,s:s,s:s}", "access_token", token->access,
	        "refresh_token", token->refresh, "expires_in",
	        (json_int_t)(auth.life_ms / 1000), "token_type", "bearer",
	        "scope", "write"));
}

static void
refuse(
    struct mo_request *request, int status, const char *error, const char *what)
{
	mo_answer(request, status,
	    json_pack("{s:s,s:s,s:b,s:s}", "error", error, "error_description",
	        what, "success", 0, "msg", what));
}

static void
refresh(struct mo_request *request, const char *form)
{
	FB_AUTO_FREE char *shown = mo_parameter(form, "refresh_token");

	for (size_t i = 0; shown != NULL && i < TOKENS; i++)
		if (auth.tokens[i].refreshes &&
		    strcmp(auth.tokens[i].refresh, shown) == 0) {
			give(request);
			return;
		}
	refuse(request, 401, "invalid_grant", "Invalid refresh token");
}

static bool
is(const char *a, const char *b)
{
	return a != NULL && strcmp(a, b) == 0;
}

static bool
is_form(const struct mo_request *request)
{
	FB_AUTO_FREE char *type = head_value(&request->head, "content-type");

	return type != NULL &&
	    strncasecmp(type, "application/x-www-form-urlencoded", 33) == 0;
}

void
mo_auth_token(struct mo_request *request)
{
	FB_AUTO_FREE char *form = fb_format("%.*s", (int)request->body.len,
	    request->body.len > 0 ? (const char *)request->body.data : "");
	FB_AUTO_FREE char *grant = mo_parameter(form, "grant_type");
	FB_AUTO_FREE char *client = mo_parameter(form, "client_id");
	FB_AUTO_FREE char *scope = mo_parameter(form, "scope");
	FB_AUTO_FREE char *user = mo_parameter(form, "username");
	FB_AUTO_FREE char *password = mo_parameter(form, "password");

	request->secret = true;
	if (!is_form(request) || !is(client, "morph-api")) {
		mo_log("! %lu no form of client morph-api\n", request->number);
		refuse(request, 400, "invalid_request", "Bad request");
	} else if (request->on[MO_EXPIRE_ALL] != NULL)
		refuse(request, 401, "invalid_grant", "Expired");
	else if (is(grant, "refresh_token"))
		refresh(request, form);
	else if (!is(grant, "password") || !is(scope, "write")) {
		mo_log("! %lu grant_type or scope\n", request->number);
		refuse(request, 400, "unsupported_grant_type", "Bad request");
	} else if (is(user, auth.user) && is(password, auth.password))
		give(request);
	else
		refuse(request, 401, "invalid_grant", "Bad credentials");
}

static void
expire(const struct mo_request *request)
{
	for (size_t i = 0; i < TOKENS; i++) {
		if (request->on[MO_EXPIRE] != NULL ||
		    request->on[MO_EXPIRE_ALL] != NULL)
			auth.tokens[i].until_ms = 0;
		if (request->on[MO_EXPIRE_ALL] != NULL)
			auth.tokens[i].refreshes = false;
	}
}

static bool
is_good(const struct mo_request *request, const char *shown)
{
	if (auth.fixed != NULL && strcmp(shown, auth.fixed) == 0)
		return true;
	for (size_t i = 0; i < TOKENS; i++)
		if (auth.tokens[i].access[0] != '\0' &&
		    strcmp(shown, auth.tokens[i].access) == 0)
			return now_ms() < auth.tokens[i].until_ms;
	mo_log("! %lu a token that nobody gave\n", request->number);
	return false;
}

bool
mo_auth_check(struct mo_request *request)
{
	FB_AUTO_FREE char *value = head_value(&request->head, "authorization");
	FB_AUTO_FREE char *in_query =
	    mo_parameter(request->query, "access_token");

	expire(request);
	if (in_query != NULL)
		mo_log("! %lu a token in the URL\n", request->number);
	if (value == NULL)
		mo_log("! %lu no token\n", request->number);
	else if (strncasecmp(value, "Bearer ", 7) != 0)
		mo_log("! %lu no bearer\n", request->number);
	else if (is_good(request, value + 7))
		return true;
	refuse(request, 401, "invalid_token", "Invalid access token");
	return false;
}

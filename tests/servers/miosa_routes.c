/* Who asks, and what; and what was done already under the same key. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "miosa.h"

#include "fleetbak/base/mem.h"

static bool
key_is(const char *given)
{
	FILE *file = fopen(miosa.key_file, "re");
	char line[256] = "";
	bool same = false;

	while (file != NULL && !same &&
	    fgets(line, sizeof(line), file) != NULL) {
		line[strcspn(line, "\r\n")] = '\0';
		same = line[0] != '\0' && strcmp(line, given) == 0;
	}
	if (file != NULL)
		(void)fclose(file);
	return same;
}

static bool
allowed(struct miosa_request *request)
{
	FB_AUTO_FREE char *given = head_value(&request->head, "Authorization");

	if (given != NULL && strncmp(given, "Bearer ", 7) == 0 &&
	    (miosa.key_file != NULL ? key_is(given + 7)
	                            : strcmp(given + 7, "msk_u_test") == 0))
		return true;
	miosa_error(
	    request, 401, "invalid_token", "The token is not valid");
	return false;
}

static bool
header_has(
    const struct miosa_request *request, const char *name, const char *word)
{
	FB_AUTO_FREE char *value = head_value(&request->head, name);

	return value != NULL && strcasestr(value, word) != NULL;
}

static bool
is_uuid4(const char *key)
{
	static const char form[] = "xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx";

	if (strlen(key) != sizeof(form) - 1)
		return false;
	for (size_t i = 0; form[i] != '\0'; i++)
		if (form[i] == 'x' ? strchr("0123456789abcdefABCDEF",
		                         key[i]) == NULL
		        : form[i] == 'y'
		        ? strchr("89abAB", key[i]) == NULL
		        : key[i] != form[i])
			return false;
	return true;
}

/* What makes something new: it must not be made twice. */
static bool
makes_new(const struct miosa_request *request)
{
	const char *last = request->part[request->parts - 1];

	return strcmp(last, "checkpoints") == 0 ||
	    (strcmp(last, "snapshots") == 0 && request->parts == 3) ||
	    (strcmp(last, "computers") == 0 && request->parts == 1) ||
	    strcmp(last, "fork") == 0 ||
	    (request->parts == 4 && strcmp(request->part[2], "restore") == 0) ||
	    (request->parts == 3 && strcmp(request->part[0], "snapshots") == 0 &&
	        strcmp(last, "restore") == 0);
}

static bool
gives_bytes(const struct miosa_request *request)
{
	const char *last = request->part[request->parts - 1];

	return strcmp(last, "export") == 0 || strcmp(last, "files") == 0 ||
	    strcmp(last, "download") == 0 || strcmp(last, "stream") == 0 ||
	    strcmp(last, "events") == 0;
}

/* A request's head says what the contract wants. */
static void
check_head_of(const struct miosa_request *request)
{
	FB_AUTO_FREE char *agent = head_value(&request->head, "User-Agent");
	FB_AUTO_FREE char *type = head_value(&request->head, "Content-Type");
	FB_AUTO_FREE char *key =
	    head_value(&request->head, "Idempotency-Key");
	bool post = strcmp(request->head.method, "POST") == 0;
	bool upload = strcmp(request->part[request->parts - 1], "upload") == 0;

	if (agent == NULL || agent[0] == '\0')
		miosa_complain(request, "no User-Agent");
	if (!gives_bytes(request) &&
	    !header_has(request, "Accept", "application/json"))
		miosa_complain(request, "does not accept application/json");
	if (request->body.len == 0 && type != NULL)
		miosa_complain(request, "a Content-Type without a body");
	if (request->body.len > 0 && !upload &&
	    (type == NULL ||
	        strncasecmp(type, "application/json", 16) != 0))
		miosa_complain(request, "a body without application/json");
	if (request->body.len > 0 && !upload && !json_is_object(request->json))
		miosa_complain(request, "a body that is no JSON object");
	if (!post && request->body.len > 0)
		miosa_complain(request, "a body where none belongs");
	if (key != NULL && (!post || !is_uuid4(key)))
		miosa_complain(request, "an Idempotency-Key that is none: %s",
		    key);
	if (post && makes_new(request) && key == NULL)
		miosa_complain(request, "makes something new without an "
		                        "Idempotency-Key");
	if (strstr(request->query, "msk_") != NULL)
		miosa_complain(request, "the key is in the query");
	for (const char *c = request->head.target; *c != '\0'; c++)
		if (*c <= ' ' || *c >= 0x7f || strchr("\"<>\\^`{|}", *c) != NULL)
			miosa_complain(request, "a byte that is not encoded");
}

static void
route(struct miosa_request *request)
{
	const char *first = request->part[0];

	if (strcmp(first, "computers") == 0)
		miosa_computers(request);
	else if (strcmp(first, "snapshots") == 0)
		miosa_account(request);
	else if (strcmp(first, "auth") == 0 && request->parts == 2 &&
	    strcmp(request->part[1], "sse-ticket") == 0 &&
	    miosa_method(request, "POST")) {
		FB_AUTO_FREE char *ticket = miosa_new_id("sset");

		(void)json_object_set_new(
		    miosa.tickets, ticket, json_true());
		miosa_json(request, 200,
		    json_pack("{s:s,s:i}", "ticket", ticket, "expires_in",
		        60));
	} else
		miosa_error(request, 404, "NOT_FOUND", "Not found");
}

/* The same key and payload: the same answer; another payload: 409. */
static bool
replayed(struct miosa_request *request, const char *key, const char *print)
{
	json_t *was = json_object_get(miosa.keys, key);

	if (was == NULL || request->on[MIOSA_FORGET_KEYS])
		return false;
	if (strcmp(miosa_get(was, "print"), print) != 0) {
		miosa_complain(request, "an Idempotency-Key of another "
		                        "payload");
		miosa_error(request, 409, "IDEMPOTENCY_PAYLOAD_MISMATCH",
		    "The key was used with another payload");
		return true;
	}
	miosa_effect("replay", key, NULL);
	fb_buf_add_str(&request->headers, "Idempotent-Replayed: true\r\n");
	request->status =
	    (int)json_integer_value(json_object_get(was, "status"));
	request->type = "application/json; charset=utf-8";
	fb_buf_add_str(&request->answer, miosa_get(was, "answer"));
	return true;
}

static void
route_post(struct miosa_request *request)
{
	FB_AUTO_FREE char *key =
	    head_value(&request->head, "Idempotency-Key");
	FB_AUTO_FREE char *body =
	    miosa_sha256(request->body.data, request->body.len);
	FB_AUTO_FREE char *print =
	    fb_format("POST %s %s", request->head.target, body);

	if (key != NULL && replayed(request, key, print))
		return;
	route(request);
	if (key != NULL && request->status < 300)
		(void)json_object_set_new(miosa.keys, key,
		    json_pack("{s:s,s:i,s:s}", "print", print, "status",
		        request->status, "answer",
		        fb_buf_str(&request->answer)));
}

void
miosa_route(struct miosa_request *request)
{
	if (strncmp(request->head.target, "/presigned/", 11) == 0) {
		miosa_presigned(request);
		return;
	}
	if (request->parts == 0 || request->parts == MIOSA_PARTS) {
		miosa_complain(request, "not below " MIOSA_BASE);
		request->parts = 0;
		miosa_error(request, 404, "NOT_FOUND", "Not found");
		return;
	}
	check_head_of(request);
	if (!allowed(request))
		return;
	if (request->on[MIOSA_NEED_JSON] &&
	    !header_has(request, "Accept", "json") &&
	    !header_has(request, "Accept", "*/*"))
		miosa_error(request, 406, "NOT_ACCEPTABLE",
		    "accepts [\"json\"]");
	else if (miosa_method(request, "POST"))
		route_post(request);
	else
		route(request);
	if (!miosa_method(request, "GET") || request->events != NULL)
		miosa_save();
}

/* What is asked, and done. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "morpheus.h"

#include "fleetbak/base/mem.h"

void
mo_answer(struct mo_request *request, int status, json_t *json)
{
	char *text = json_dumps(json, JSON_COMPACT);

	request->status = status;
	request->type = "application/json";
	fb_buf_clear(&request->answer);
	fb_buf_add_fmt(&request->answer, "%s\n", text);
	free(text);
	json_decref(json);
}

void
mo_answer_bad(struct mo_request *request, int status, const char *msg)
{
	mo_answer(
	    request, status, json_pack("{s:b,s:s}", "success", 0, "msg", msg));
}

static void
answer_good(struct mo_request *request)
{
	mo_answer(request, 200, json_pack("{s:b}", "success", 1));
}

static int
hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0'
	    : c >= 'a' && c <= 'f'  ? c - 'a' + 10
	    : c >= 'A' && c <= 'F'  ? c - 'A' + 10
	                            : -1;
}

char *
mo_parameter(const char *text, const char *name)
{
	size_t len = strlen(name);

	while (strncmp(text, name, len) != 0 || text[len] != '=') {
		text = strchr(text, '&');
		if (text == NULL)
			return NULL;
		text++;
	}
	text += len + 1;
	char *value = strndup(text, strcspn(text, "&")), *to = value;

	for (const char *c = value; *c != '\0'; c++)
		if (*c == '%' && hex_digit(c[1]) >= 0 && hex_digit(c[2]) >= 0) {
			*to++ = (char)(hex_digit(c[1]) * 16 + hex_digit(c[2]));
			c += 2;
		} else
			*to++ = *c == '+' ? ' ' : *c;
	*to = '\0';
	return value;
}

static int64_t
number_parameter(
    const struct mo_request *request, const char *name, int64_t otherwise)
{
	FB_AUTO_FREE char *value = mo_parameter(request->query, name);

	return value != NULL ? strtoll(value, NULL, 10) : otherwise;
}

static bool
is_asked_for(const struct mo_server *server, const struct mo_request *request)
{
	FB_AUTO_FREE char *vm = mo_parameter(request->query, "vm");
	FB_AUTO_FREE char *host = mo_parameter(request->query, "vmHypervisor");
	FB_AUTO_FREE char *name = mo_parameter(request->query, "name");
	FB_AUTO_FREE char *phrase = mo_parameter(request->query, "phrase");
	FB_AUTO_FREE char *power = mo_parameter(request->query, "powerState");

	return (vm == NULL || strcmp(vm, "true") != 0 || server->vm) &&
	    (host == NULL || strcmp(host, "true") != 0 || !server->vm) &&
	    (name == NULL || strcmp(name, server->name) == 0) &&
	    (phrase == NULL || strcasestr(server->name, phrase) != NULL) &&
	    (power == NULL || (strcmp(power, "on") == 0) == server->shown);
}

static void
list_servers(struct mo_request *request)
{
	int64_t max = number_parameter(request, "max", 25);
	int64_t offset = number_parameter(request, "offset", 0);
	int64_t most = mo_number(request, MO_PAGE, max), total = 0;
	json_t *list = json_array(), *meta, *json;

	if (request->on[MO_REPEAT] != NULL)
		offset = 0;
	for (size_t i = 0; i < MO_MAX; i++) {
		const struct mo_server *server = mo.servers[i];

		if (server == NULL || !is_asked_for(server, request))
			continue;
		if (total >= offset && total < offset + max &&
		    (int64_t)json_array_size(list) < most)
			(void)json_array_append_new(
			    list, mo_server_json(server, request));
		total++;
	}
	meta = json_pack("{s:I,s:I,s:I,s:I}", "offset", (json_int_t)offset,
	    "max", (json_int_t)max, "size", (json_int_t)json_array_size(list),
	    "total", (json_int_t)mo_number(request, MO_TOTAL, total));
	if (request->on[MO_NO_TOTAL] != NULL)
		(void)json_object_del(meta, "total");
	json = json_pack("{s:o,s:{},s:b,s:o}", "servers", list, "stats",
	    "multitenant", 0, "meta", meta);
	mo_answer(request, 200, json);
}

static bool
is_method(const struct mo_request *request, const char *method)
{
	return strcmp(request->head.method, method) == 0;
}

/* Those of one server, or of all of an instance. */
static void
list_snapshots(struct mo_request *request, int64_t server, int64_t instance)
{
	json_t *list = json_array();

	for (size_t i = 0; i < MO_MAX; i++) {
		const struct mo_snapshot *snapshot = mo.snapshots[i];

		if (snapshot != NULL && now_ms() >= snapshot->visible_ms &&
		    (snapshot->server->id == server ||
		        (instance != 0 &&
		            mo_instance_of(snapshot->server) == instance)))
			(void)json_array_append_new(
			    list, mo_snapshot_json(snapshot));
	}
	mo_answer(request, 200, json_pack("{s:o}", "snapshots", list));
}

static void
answer_processes(struct mo_request *request, json_t *ids)
{
	mo_answer(request, 200,
	    json_pack("{s:b,s:o}", "success", 1, "processIds", ids));
}

static void
snapshot_server(struct mo_request *request, struct mo_server *server)
{
	const struct mo_process *process = mo_snapshot_begin(server, request);

	answer_processes(request, json_pack("[I]", (json_int_t)process->id));
}

/* False: no such verb. */
static bool
set_power(
    struct mo_request *request, struct mo_server *server, const char *verb)
{
	bool stop = strcmp(verb, "stop") == 0;

	if (strcmp(verb, "restart") == 0)
		mo_log("! %lu a restart\n", request->number);
	else if (!stop && strcmp(verb, "start") != 0)
		return false;
	mo_power(server, !stop, request);
	return true;
}

static void
route_server(struct mo_request *request, int64_t id, const char *rest)
{
	struct mo_server *server = mo_server(id);

	if (server == NULL)
		mo_answer_bad(request, 404, "Server not found");
	else if (rest == NULL && is_method(request, "GET"))
		mo_answer(request, 200,
		    json_pack("{s:o,s:{}}", "server",
		        mo_server_json(server, request), "stats"));
	else if (rest == NULL)
		mo_answer_bad(request, 405, "Method not allowed");
	else if (strcmp(rest, "snapshots") == 0 && is_method(request, "GET"))
		list_snapshots(request, id, 0);
	else if (!is_method(request, "PUT"))
		mo_answer_bad(request, 405, "Method not allowed");
	else if (!server->vm) {
		mo_log("! %lu %s of a hypervisor\n", request->number, rest);
		mo_answer_bad(request, 400, "Not a VM");
	} else if (strcmp(rest, "snapshot") == 0)
		snapshot_server(request, server);
	else if (set_power(request, server, rest))
		answer_good(request);
	else
		mo_answer_bad(request, 404, "Not found");
}

static void
revert(struct mo_request *request, int64_t instance, int64_t id)
{
	struct mo_snapshot *snapshot = mo_snapshot(id);
	struct mo_server *server = snapshot != NULL ? snapshot->server : NULL;

	if (server == NULL || mo_instance_of(server) != instance) {
		mo_answer_bad(request, 404, "Snapshot not found");
		return;
	}
	if (strcmp(snapshot->status, "complete") != 0 ||
	    snapshot->remove_ms != 0 || mo_is_busy(server)) {
		mo_log("! %lu a revert now\n", request->number);
		mo_answer_bad(request, 400, "Snapshot is not ready");
		return;
	}
	/* It goes off, and is then what it was meant to be. */
	if (server->change_ms == 0)
		server->goal = server->on;
	server->on = server->shown = false;
	server->change_ms = server->shown_ms = 0;
	server->revert = snapshot;
	server->revert_ms = now_ms() + mo.revert_ms;
	(void)snprintf(server->revert_how, sizeof(server->revert_how), "%.15s",
	    request->on[MO_REVERT] != NULL ? request->on[MO_REVERT] : "");
	answer_good(request);
}

static void
each_of_instance(struct mo_request *request, int64_t instance, const char *verb)
{
	json_t *ids = json_array();

	for (size_t i = 0; i < MO_MAX; i++) {
		struct mo_server *server = mo.servers[i];

		if (server == NULL || mo_instance_of(server) != instance)
			continue;
		if (strcmp(verb, "snapshot") == 0)
			(void)json_array_append_new(ids,
			    json_integer(
			        (json_int_t)mo_snapshot_begin(server, request)
			            ->id));
		else if (!set_power(request, server, verb)) {
			json_decref(ids);
			mo_answer_bad(request, 404, "Not found");
			return;
		}
	}
	if (strcmp(verb, "snapshot") == 0) {
		answer_processes(request, ids);
		return;
	}
	json_decref(ids);
	mo_answer(
	    request, 200, json_pack("{s:b,s:{}}", "success", 1, "results"));
}

static void
route_instance(struct mo_request *request, int64_t id, const char *rest)
{
	json_t *json = mo_instance_json(id);

	if (json == NULL)
		mo_answer_bad(request, 404, "Instance not found");
	else if (rest == NULL && is_method(request, "GET")) {
		mo_answer(request, 200, json_pack("{s:o}", "instance", json));
		return;
	} else if (rest == NULL)
		mo_answer_bad(request, 405, "Method not allowed");
	else if (strcmp(rest, "snapshots") == 0 && is_method(request, "GET"))
		list_snapshots(request, 0, id);
	else if (strncmp(rest, "delete-", 7) == 0) {
		mo_log("! %lu %s\n", request->number, rest);
		mo_answer_bad(request, 403, "Everybody's snapshots");
	} else if (!is_method(request, "PUT"))
		mo_answer_bad(request, 405, "Method not allowed");
	else if (strncmp(rest, "revert-snapshot/", 16) == 0)
		revert(request, id, strtoll(rest + 16, NULL, 10));
	else
		each_of_instance(request, id, rest);
	json_decref(json);
}

static void
remove_snapshot(struct mo_request *request, struct mo_snapshot *snapshot)
{
	bool stays = mo_is(request, MO_DELETE, "stays");

	if (strcmp(snapshot->status, "creating") == 0) {
		mo_answer_bad(request, 400, "Snapshot is being created");
		return;
	}
	if (!stays && snapshot->remove_ms == 0)
		snapshot->remove_ms =
		    now_ms() + mo_number(request, MO_DELETE, mo.delete_ms);
	mo_answer(request, 200,
	    json_pack("{s:b,s:s}", "success", 1, "msg", "delete initiated"));
}

static void
route_snapshot(struct mo_request *request, int64_t id, const char *rest)
{
	struct mo_snapshot *snapshot = mo_snapshot(id);

	if (rest != NULL || snapshot == NULL || now_ms() < snapshot->visible_ms)
		mo_answer_bad(request, 404, "Snapshot not found");
	else if (is_method(request, "DELETE"))
		remove_snapshot(request, snapshot);
	else if (is_method(request, "GET"))
		mo_answer(request, 200,
		    json_pack("{s:o}", "snapshot", mo_snapshot_json(snapshot)));
	else
		mo_answer_bad(request, 405, "Method not allowed");
}

static void
route_process(struct mo_request *request, int64_t id, const char *rest)
{
	struct mo_process *process = mo_process(id);

	if (process == NULL)
		mo_answer_bad(request, 404, "Process not found");
	else if (rest == NULL && is_method(request, "GET"))
		mo_answer(request, 200,
		    json_pack("{s:o}", "process", mo_process_json(process)));
	else if (rest != NULL && strcmp(rest, "cancel") == 0 &&
	    is_method(request, "POST")) {
		if (process->stage < 3)
			(void)snprintf(process->final, 32, "cancelled");
		answer_good(request);
	} else
		mo_answer_bad(request, 405, "Method not allowed");
}

/* "/api/servers/12/stop": 12, and "stop" or NULL. */
static bool
is_below(const char *path, const char *prefix, int64_t *id, const char **rest)
{
	size_t len = strlen(prefix);
	char *end;

	if (strncmp(path, prefix, len) != 0 || path[len] < '0' ||
	    path[len] > '9')
		return false;
	*id = strtoll(path + len, &end, 10);
	if (*end != '/' && *end != '\0')
		return false;
	*rest = *end == '/' ? end + 1 : NULL;
	return true;
}

/* False: answered. */
static bool
is_json(struct mo_request *request)
{
	FB_AUTO_FREE char *type = head_value(&request->head, "content-type");

	if (request->body.len == 0)
		return true;
	if (type == NULL || strncasecmp(type, "application/json", 16) != 0 ||
	    !json_is_object(request->json)) {
		mo_log("! %lu a body that is no JSON\n", request->number);
		mo_answer_bad(request, 400, "Invalid JSON");
		return false;
	}
	return true;
}

void
mo_route(struct mo_request *request)
{
	const char *path = request->path, *rest;
	int64_t id;

	if (strcmp(path, "/oauth/token") == 0 && is_method(request, "POST"))
		mo_auth_token(request);
	else if (!mo_auth_check(request) || !is_json(request))
		return;
	else if (request->on[MO_REFUSED] != NULL)
		mo_answer_bad(request, 200, "The appliance is not able to");
	else if (request->on[MO_ERRORS] != NULL)
		mo_answer(request, 200,
		    json_pack("{s:b,s:{s:s}}", "success", 1, "errors", "name",
		        "must be another one"));
	else if (strcmp(path, "/api/servers") == 0 && is_method(request, "GET"))
		list_servers(request);
	else if (is_below(path, "/api/servers/", &id, &rest))
		route_server(request, id, rest);
	else if (is_below(path, "/api/instances/", &id, &rest))
		route_instance(request, id, rest);
	else if (is_below(path, "/api/snapshots/", &id, &rest))
		route_snapshot(request, id, rest);
	else if (is_below(path, "/api/processes/", &id, &rest))
		route_process(request, id, rest);
	else {
		mo_log("! %lu no such path\n", request->number);
		mo_answer_bad(request, 404, "Not found");
	}
}

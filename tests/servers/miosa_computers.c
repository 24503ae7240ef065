/* Computers: what they are said to be, and their power. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "miosa.h"

#include "fleetbak/base/mem.h"

static bool
is(const json_t *computer, const char *status)
{
	return strcmp(miosa_get(computer, "status"), status) == 0;
}

static bool
is_up(const json_t *computer)
{
	return is(computer, "running") || is(computer, "active");
}

/* Without what is only ours. */
json_t *
miosa_computer_json(const struct miosa_request *request, json_t *computer)
{
	const char *id = miosa_get(computer, "id");
	json_t *json = json_pack(
	    "{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:n,s:s,s:s,s:s,s:{},s:i,s:i}",
	    "id", id, "name", id, "slug", id, "status", "running",
	    "visibility", "private", "template_type", "miosa-desktop", "size",
	    "small", "tenant_id", "ten_1", "workspace_id", "project_id",
	    "prj_1", "owner_user_id", "usr_1", "ip_address", "10.0.0.7",
	    "metadata", "vcpus", 2, "memory_mb", 2048);
	const char *key;
	json_t *value;

	json_object_foreach(computer, key, value)
		if (key[0] != '_')
			(void)json_object_set(json, key, value);
	if (request->on[MIOSA_SAYS])
		miosa_set(json, "status", request->text[MIOSA_SAYS]);
	if (miosa_get(json, "status")[0] == '\0')
		(void)json_object_del(json, "status");
	return json;
}

static void
list_computers(struct miosa_request *request)
{
	json_t *list = json_array(), *computer;
	const char *id;

	json_object_foreach(miosa.computers, id, computer) {
		miosa_look(computer);
		(void)json_array_append_new(
		    list, miosa_computer_json(request, computer));
	}
	miosa_list(request, "computer", list);
}

/* Its disk is a snapshot's, or empty. */
json_t *
miosa_computer_add(const char *name, const char *snapshot)
{
	FB_AUTO_FREE char *id = miosa_new_id("comp");
	FB_AUTO_FREE char *dir = miosa_dir("computers", id);
	FB_AUTO_FREE char *from =
	    snapshot != NULL ? miosa_dir("snapshots", snapshot) : NULL;
	char now[40];
	json_t *computer;

	miosa_now(now);
	if (from != NULL)
		(void)miosa_copy_tree(from, dir);
	else
		(void)mkdir(dir, 0755);
	computer = json_pack("{s:s,s:s,s:s}", "id", id, "name",
	    name[0] != '\0' ? name : id, "created_at", now);
	(void)json_object_set_new(miosa.computers, id, computer);
	miosa_effect("create", id, snapshot);
	return computer;
}

static void
create_computer(struct miosa_request *request)
{
	const char *name = miosa_get(request->json, "name");
	json_t *given = json_object_get(request->json, "metadata");
	json_t *computer;

	if (name[0] == '\0') {
		miosa_error(request, 422, "VALIDATION_ERROR",
		    "name can't be blank");
		return;
	}
	computer = miosa_computer_add(name, NULL);
	if (json_is_object(given))
		(void)json_object_set(computer, "metadata", given);
	miosa_becomes(request, computer, "creating", "running");
	miosa_object(request, 201, "computer",
	    miosa_computer_json(request, computer), NULL);
}

static void
delete_computer(struct miosa_request *request, json_t *computer)
{
	FB_AUTO_FREE char *force = miosa_query(request, "force");
	FB_AUTO_FREE char *id = fb_strdup(miosa_get(computer, "id"));
	FB_AUTO_FREE char *dir = miosa_dir("computers", id);

	if (!is(computer, "stopped") &&
	    (force == NULL || strcmp(force, "true") != 0)) {
		miosa_error(
		    request, 409, "CONFLICT", "Computer is not stopped");
		return;
	}
	miosa_effect("destroy", id, NULL);
	miosa_remove_tree(dir);
	(void)json_object_del(miosa.computers, id);
	miosa_json(request, 200, json_pack("{s:b}", "ok", 1));
}

static void
power(struct miosa_request *request, json_t *computer, const char *what)
{
	const char *id = miosa_get(computer, "id");
	bool start = strcmp(what, "start") == 0;
	bool stop = strcmp(what, "stop") == 0;

	if (is(computer, "starting") || is(computer, "creating") ||
	    is(computer, "provisioning")) {
		if (start)
			miosa_complain(request, "a start while it starts");
		miosa_error(request, 409, "COMPUTER_STARTING",
		    "Computer is starting");
		return;
	}
	if (is(computer, "stopping")) {
		miosa_error(request, 409, "CONFLICT", "Computer is stopping");
		return;
	}
	if (start ? is_up(computer) : stop && !is_up(computer))
		miosa_effect(start ? "start-again" : "stop-again", id, NULL);
	else {
		miosa_effect(what, id, NULL);
		miosa_becomes(request, computer,
		    stop ? "stopping" : "starting",
		    stop ? "stopped" : "running");
	}
	miosa_json(request, 202, json_pack("{s:b}", "ok", 1));
}

static void
wrong_method(struct miosa_request *request)
{
	miosa_error(
	    request, 405, "METHOD_NOT_ALLOWED", "Method not allowed");
}

static void
one_computer(struct miosa_request *request, json_t *computer)
{
	const char *what = request->parts > 2 ? request->part[2] : "";

	if (request->parts == 2) {
		if (miosa_method(request, "GET"))
			miosa_object(request, 200, "computer",
			    miosa_computer_json(request, computer), NULL);
		else if (miosa_method(request, "DELETE"))
			delete_computer(request, computer);
		else
			wrong_method(request);
	} else if (strcmp(what, "checkpoints") == 0 ||
	    strcmp(what, "snapshots") == 0 || strcmp(what, "restore") == 0)
		miosa_computer_snapshots(request, computer);
	else if (strcmp(what, "files") == 0 && request->parts == 4)
		miosa_files(request, computer);
	else if (!miosa_method(request, "POST"))
		wrong_method(request);
	else if (request->parts == 3 &&
	    (strcmp(what, "start") == 0 || strcmp(what, "stop") == 0 ||
	        strcmp(what, "restart") == 0))
		power(request, computer, what);
	else if (strcmp(what, "exec") == 0 && request->parts == 3)
		miosa_exec(request, computer);
	else
		miosa_error(request, 404, "NOT_FOUND", "Not found");
}

void
miosa_computers(struct miosa_request *request)
{
	json_t *computer;

	if (request->parts == 1) {
		if (miosa_method(request, "GET"))
			list_computers(request);
		else if (miosa_method(request, "POST"))
			create_computer(request);
		else
			wrong_method(request);
		return;
	}
	computer = json_object_get(miosa.computers, request->part[1]);
	if (computer == NULL) {
		miosa_error(request, 404, "NOT_FOUND", "Not found");
		return;
	}
	miosa_look(computer);
	one_computer(request, computer);
}

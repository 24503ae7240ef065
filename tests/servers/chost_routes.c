/* What is asked, and the answers' shapes. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chost.h"

#include "fleetbak/base/mem.h"

void
chost_answer_json(struct chost_request *request, int status, json_t *json)
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
chost_answer_error(struct chost_request *request, const char *fmt, ...)
{
	char text[1024];
	va_list args;
	int status = 400;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (strstr(text, "not found") != NULL)
		status = 404;
	else if (strstr(text, "already exists") != NULL)
		status = 409;
	chost_answer_json(request, status, json_pack("{s:s}", "error", text));
}

static bool
is_method(const struct chost_request *request, const char *method)
{
	return strcmp(request->head.method, method) == 0;
}

static void
wrong_method(struct chost_request *request)
{
	chost_answer_json(request, 405,
	    json_pack("{s:s}", "error", "method not allowed"));
}

static void
no_route(struct chost_request *request)
{
	chost_answer_json(
	    request, 404, json_pack("{s:s}", "error", "route not found"));
}

static void
answer_text(struct chost_request *request, int status, const char *text)
{
	request->status = status;
	request->type = "text/plain; charset=utf-8";
	fb_buf_clear(&request->answer);
	fb_buf_add_str(&request->answer, text);
}

static void
list_machines(struct chost_request *request)
{
	json_t *list = json_array();

	for (size_t i = 0; i < CHOST_MAX; i++)
		if (chost.machines[i] != NULL)
			(void)json_array_append_new(
			    list, chost_machine_json(chost.machines[i]));
	chost_answer_json(request, 200, json_pack("{s:o}", "machines", list));
}

static void
get_machine(struct chost_request *request, struct chost_machine *machine)
{
	if (request->on[CHOST_DIE] &&
	    strcmp(machine->phase, "running") == 0)
		chost_phase(machine, "failed", "runtime is not running");
	chost_answer_json(request, 200,
	    json_pack("{s:o}", "machine", chost_machine_json(machine)));
}

static void
delete_machine(struct chost_request *request, const char *id)
{
	FB_AUTO_FREE char *dir =
	    fb_format("%s/machine-disks/%s", chost.dir, id);

	if (chost_machine(id) != NULL) {
		chost_machine_remove(id);
		chost_remove_dir(dir);
	}
	request->status = 204;
}

static void
start_machine(struct chost_request *request, struct chost_machine *machine)
{
	if (strcmp(machine->phase, "starting") == 0) {
		chost_log("! %lu start of %s while it is starting: the daemon "
		          "is dead\n", request->number, machine->id);
		exit(2);
	}
	if (strcmp(machine->phase, "stopped") != 0 &&
	    strcmp(machine->phase, "running") != 0) {
		chost_answer_error(request,
		    "machine \"%s\" is not startable from phase \"%s\"",
		    machine->id, machine->phase);
		return;
	}
	if (strcmp(machine->phase, "stopped") == 0) {
		chost_phase(machine,
		    request->on[CHOST_STARTING] ? "starting" : "running",
		    NULL);
		machine->starting_until_ms =
		    now_ms() + request->argument[CHOST_STARTING];
		chost_now(machine->started);
	}
	chost_answer_json(request, 200,
	    json_pack("{s:o}", "machine", chost_machine_json(machine)));
}

static void
stop_machine(struct chost_request *request, struct chost_machine *machine)
{
	chost_phase(machine, "stopped", NULL);
	machine->started[0] = '\0';
	request->status = 204;
}

static void
machine_snapshots(struct chost_request *request, const char *id)
{
	json_t *list = json_array();

	for (size_t i = 0; i < CHOST_MAX; i++)
		if (chost.snapshots[i] != NULL &&
		    strcmp(chost.snapshots[i]->machine, id) == 0)
			(void)json_array_append_new(list,
			    chost_snapshot_json(chost.snapshots[i]));
	chost_answer_json(
	    request, 200, json_pack("{s:o}", "snapshots", list));
}

static void
route_machine(struct chost_request *request, const char *id, char *rest)
{
	struct chost_machine *machine = chost_machine(id);

	if (machine != NULL)
		chost_refresh(machine);
	if (rest == NULL) {
		if (is_method(request, "DELETE"))
			delete_machine(request, id);
		else if (!is_method(request, "GET"))
			wrong_method(request);
		else if (machine == NULL)
			chost_answer_error(request, "store: not found");
		else
			get_machine(request, machine);
	} else if (strcmp(rest, "snapshots") == 0) {
		if (is_method(request, "GET"))
			machine_snapshots(request, id);
		else if (is_method(request, "POST"))
			chost_create(request, id);
		else
			wrong_method(request);
	} else if (strcmp(rest, "published-ports") == 0 &&
	    is_method(request, "GET"))
		chost_answer_json(request, 200, json_pack("{s:[]}", "ports"));
	else if (strcmp(rest, "start") != 0 && strcmp(rest, "stop") != 0)
		no_route(request);
	else if (!is_method(request, "POST"))
		wrong_method(request);
	else if (machine == NULL)
		chost_answer_error(request, "store: not found");
	else if (strcmp(rest, "start") == 0)
		start_machine(request, machine);
	else
		stop_machine(request, machine);
}

static void
delete_snapshot(struct chost_request *request, const char *id)
{
	FB_AUTO_FREE char *dir = fb_format("%s/snapshots/%s", chost.dir, id);

	if (chost_snapshot(id) == NULL) {
		chost_answer_error(request, "store: not found");
		return;
	}
	chost_snapshot_remove(id);
	chost_remove_dir(dir);
	request->status = 204;
}

static void
route_snapshot(struct chost_request *request, const char *id, char *rest)
{
	if (rest == NULL) {
		if (is_method(request, "DELETE"))
			delete_snapshot(request, id);
		else if (!is_method(request, "GET"))
			wrong_method(request);
		else if (chost_snapshot(id) == NULL)
			chost_answer_error(request, "store: not found");
		else
			chost_answer_json(request, 200,
			    json_pack("{s:o}", "snapshot",
			        chost_snapshot_json(chost_snapshot(id))));
	} else if (chost.seed_era)
		no_route(request);
	else if (strncmp(rest, "artifacts/", 10) == 0)
		chost_artifact(request, id, rest + 10);
	else if (strcmp(rest, "restore") == 0 && is_method(request, "POST"))
		chost_restore(request, id);
	else if (strcmp(rest, "upload") == 0 && is_method(request, "POST"))
		chost_upload(request, id);
	else if (strcmp(rest, "restore") == 0 || strcmp(rest, "upload") == 0)
		wrong_method(request);
	else
		no_route(request);
}

static int64_t
image_bytes(const char *machine, const char *name)
{
	FB_AUTO_FREE char *path = fb_format(
	    "%s/machine-disks/%s/%s.img", chost.dir, machine, name);
	int64_t size = chost_size(path);

	return size > 0 ? size : 0;
}

static void
storage_report(struct chost_request *request)
{
	json_t *machines = json_array(), *snapshots = json_array();
	char now[40];

	chost_now(now);
	for (size_t i = 0; i < CHOST_MAX; i++) {
		const struct chost_machine *machine = chost.machines[i];
		int64_t users = 0;

		for (size_t n = 0; machine != NULL && n < machine->users; n++) {
			FB_AUTO_FREE char *name = fb_format("user-%zu", n);

			users += image_bytes(machine->id, name);
		}
		if (machine != NULL)
			(void)json_array_append_new(machines,
			    json_pack("{s:s,s:I,s:I,s:i}", "machine_id",
			        machine->id, "system_bytes",
			        (json_int_t)image_bytes(machine->id, "system"),
			        "user_bytes", (json_int_t)users,
			        "runtime_bytes", 0));
		if (chost.snapshots[i] != NULL)
			(void)json_array_append_new(snapshots,
			    json_pack("{s:s,s:i}", "snapshot_id",
			        chost.snapshots[i]->id, "bytes", 1));
	}
	chost_answer_json(request, 200,
	    json_pack("{s:{s:s,s:I,s:[],s:o,s:o,s:i}}", "report",
	        "generated_at", now, "total_bytes", (json_int_t)0, "pools",
	        "machines", machines, "snapshots", snapshots,
	        "published_ports", 0));
}

/* "/machines/a/b/c": "a", and "b/c" or NULL. */
static bool
is_below(char *path, const char *prefix, char **id, char **rest)
{
	size_t len = strlen(prefix);

	if (strncmp(path, prefix, len) != 0)
		return false;
	*id = path + len;
	*rest = strchr(*id, '/');
	if (*rest != NULL)
		*(*rest)++ = '\0';
	return true;
}

void
chost_route(struct chost_request *request)
{
	char *path = request->path, *id, *rest;

	if (strstr(path, "//") != NULL || strstr(path, "/../") != NULL ||
	    strcmp(path, "/snapshots") == 0) {
		chost_log("! %lu a path that is not canonical\n",
		    request->number);
		fb_buf_add_str(&request->headers, "Location: /elsewhere\r\n");
		answer_text(request, 307, "");
	} else if (strcmp(path, "/health") == 0)
		chost_answer_json(request, 200, json_pack("{s:b}", "ok", 1));
	else if (strcmp(path, "/storage/report") == 0 && !chost.seed_era)
		storage_report(request);
	else if (strcmp(path, "/machines") == 0 && is_method(request, "GET"))
		list_machines(request);
	else if (strcmp(path, "/machines") == 0)
		wrong_method(request);
	else if (is_below(path, "/machines/", &id, &rest)) {
		if (id[0] == '\0')
			chost_answer_error(
			    request, "machine id is required: not found");
		else
			route_machine(request, id, rest);
	} else if (is_below(path, "/snapshots/", &id, &rest))
		route_snapshot(request, id, rest);
	else
		answer_text(request, 404, "404 page not found\n");
}

/* The snapshots of one computer: the seed's family, and the newer one. */
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "miosa.h"

#include "fleetbak/base/mem.h"

static bool
is_up(const json_t *computer)
{
	const char *status = miosa_get(computer, "status");

	return strcmp(status, "running") == 0 || strcmp(status, "active") == 0;
}

static bool
in_first(const struct miosa_request *request)
{
	return strcmp(request->part[2], "checkpoints") == 0;
}

static json_t *
says(const struct miosa_request *request, const json_t *snapshot)
{
	const char *status = request->on[MIOSA_SAYS]
	    ? request->text[MIOSA_SAYS]
	    : miosa_get(snapshot, "status");

	return status[0] != '\0' ? json_string(status) : NULL;
}

/* While it is made most of it is absent. */
static json_t *
first_json(const struct miosa_request *request, const json_t *snapshot)
{
	json_t *json = json_pack("{s:O,s:o*}", "id",
	    json_object_get(snapshot, "id"), "status",
	    says(request, snapshot));

	if (strcmp(miosa_get(snapshot, "status"), "creating") == 0)
		return json;
	(void)json_object_update_new(json,
	    json_pack("{s:O,s:O,s:O,s:O,s:O}", "computer_id",
	        json_object_get(snapshot, "computer_id"), "name",
	        json_object_get(snapshot, "name"), "description",
	        json_object_get(snapshot, "comment"), "size_bytes",
	        json_object_get(snapshot, "size_bytes"), "created_at",
	        json_object_get(snapshot, "created_at")));
	return json;
}

/* As the command-line client of the same family has it. */
static json_t *
cli_json(const struct miosa_request *request, const json_t *snapshot)
{
	return json_pack("{s:O,s:O,s:O,s:O,s:o*,s:O,s:O}", "id",
	    json_object_get(snapshot, "id"), "computer_id",
	    json_object_get(snapshot, "computer_id"), "comment",
	    json_object_get(snapshot, "comment"), "size_bytes",
	    json_object_get(snapshot, "size_bytes"), "state",
	    says(request, snapshot), "inserted_at",
	    json_object_get(snapshot, "created_at"), "updated_at",
	    json_object_get(snapshot, "updated_at"));
}

static json_t *
second_json(const struct miosa_request *request, const json_t *snapshot)
{
	json_t *size = json_object_get(snapshot, "size_bytes");

	return json_pack("{s:O,s:O,s:s,s:O,s:o*,s:i,s:i,s:O,s:O,s:s,s:o,s:n,"
	                 "s:n,s:O,s:O}",
	    "id", json_object_get(snapshot, "id"), "computer_id",
	    json_object_get(snapshot, "computer_id"), "tenant_id", "ten_1",
	    "comment", json_object_get(snapshot, "comment"), "status",
	    says(request, snapshot), "state_size_bytes", 1000,
	    "memory_size_bytes", 2000, "rootfs_size_bytes", size,
	    "compressed_size_bytes", size, "s3_bucket", "snapshots",
	    "s3_prefix", json_sprintf("s/%s", miosa_get(snapshot, "id")),
	    "parent_snapshot_id", "error", "created_at",
	    json_object_get(snapshot, "created_at"), "updated_at",
	    json_object_get(snapshot, "updated_at"));
}

static json_t *
snapshot_json(const struct miosa_request *request, const json_t *snapshot)
{
	return request->on[MIOSA_CLI_FIELDS] ? cli_json(request, snapshot)
	    : in_first(request)              ? first_json(request, snapshot)
	                                     : second_json(request, snapshot);
}

static const char *
name_of(const struct miosa_request *request)
{
	return in_first(request) ? "checkpoint" : "snapshot";
}

static bool
is_deleted(const json_t *snapshot)
{
	return strcmp(miosa_get(snapshot, "status"), "deleted") == 0;
}

static void
list(struct miosa_request *request, const char *computer)
{
	json_t *list = json_array(), *snapshot;
	const char *id;

	json_object_foreach(miosa.snapshots, id, snapshot) {
		if (strcmp(miosa_get(snapshot, "computer_id"), computer) != 0 ||
		    is_deleted(snapshot))
			continue;
		miosa_look(snapshot);
		(void)json_array_insert_new(
		    list, 0, snapshot_json(request, snapshot));
	}
	miosa_list(request, name_of(request), list);
}

/* nftw() hands nothing on; one request at a time makes snapshots. */
static int64_t tree_bytes;

static int
add_bytes(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)path;
	(void)type;
	(void)at;
	tree_bytes += st->st_size;
	return 0;
}

static int64_t
bytes_of(const char *dir)
{
	tree_bytes = 0;
	return nftw(dir, add_bytes, 16, FTW_PHYS) == 0 ? tree_bytes : 0;
}

static json_t *
add_snapshot(struct miosa_request *request, const char *computer)
{
	FB_AUTO_FREE char *id = miosa_new_id("snap");
	FB_AUTO_FREE char *from = miosa_dir("computers", computer);
	FB_AUTO_FREE char *to = miosa_dir("snapshots", id);
	const char *comment = miosa_get(request->json, "comment");
	char now[40];
	json_t *snapshot;

	miosa_now(now);
	if (comment[0] == '\0')
		comment = miosa_get(request->json, "description");
	if (!miosa_copy_tree(from, to))
		return NULL;
	snapshot = json_pack("{s:s,s:s,s:s,s:s,s:I,s:s}", "id", id,
	    "computer_id", computer, "name",
	    miosa_get(request->json, "name"), "comment", comment,
	    "size_bytes", (json_int_t)bytes_of(to), "created_at", now);
	(void)json_object_set_new(miosa.snapshots, id, snapshot);
	return snapshot;
}

static void
create(struct miosa_request *request, json_t *computer)
{
	const char *id = miosa_get(computer, "id");
	bool up = is_up(computer);
	json_t *snapshot;

	if (!in_first(request) && !up) {
		miosa_error(
		    request, 409, "CONFLICT", "Computer is not running");
		return;
	}
	if (strlen(miosa_get(request->json, "comment")) > 500) {
		miosa_error(request, 422, "VALIDATION_ERROR",
		    "comment should be at most 500 character(s)");
		return;
	}
	snapshot = add_snapshot(request, id);
	if (snapshot == NULL) {
		miosa_error(request, 500, "INTERNAL_ERROR", "No copy");
		return;
	}
	miosa_effect(up ? "snapshot-running" : "snapshot", id,
	    miosa_get(snapshot, "id"));
	miosa_becomes(request, snapshot, "creating", "ready");
	if (request->on[MIOSA_POLLS] && request->argument[MIOSA_POLLS] == 0)
		miosa_finish(snapshot);
	miosa_object(request, 201, name_of(request),
	    snapshot_json(request, snapshot), NULL);
}

static bool
is_ready(struct miosa_request *request, const json_t *snapshot)
{
	if (strcmp(miosa_get(snapshot, "status"), "ready") == 0)
		return true;
	miosa_error(request, 409, "SNAPSHOT_NOT_READY",
	    "Snapshot is not ready");
	return false;
}

/* In place: it stops, its disk is replaced, and it starts; or it is stopped
 * already, or must be. */
static bool
restore(struct miosa_request *request, json_t *computer, json_t *snapshot)
{
	const char *id = miosa_get(computer, "id");
	FB_AUTO_FREE char *dir = miosa_dir("computers", id);
	FB_AUTO_FREE char *from =
	    miosa_dir("snapshots", miosa_get(snapshot, "id"));
	bool up = is_up(computer);

	if (!is_ready(request, snapshot))
		return false;
	if (request->on[MIOSA_CONFLICT] &&
	    strcmp(miosa_get(computer, "status"), "stopped") != 0) {
		miosa_error(request, 409, "CONFLICT", "Computer is running");
		return false;
	}
	if (!up && strcmp(miosa_get(computer, "status"), "stopped") != 0) {
		miosa_complain(request, "a restore while it is %s",
		    miosa_get(computer, "status"));
		miosa_error(request, 409, "CONFLICT", "Computer is %s",
		    miosa_get(computer, "status"));
		return false;
	}
	if (up)
		miosa_effect("restore-stop", id, NULL);
	miosa_effect("restore", id, miosa_get(snapshot, "id"));
	miosa_remove_tree(dir);
	(void)miosa_copy_tree(from, dir);
	if (!up && request->on[MIOSA_STAYS])
		return true;
	miosa_effect("restore-start", id, NULL);
	miosa_becomes(request, computer, up ? "stopping" : "starting",
	    "running");
	return true;
}

/* The GET that restores. */
static void
restore_stream(struct miosa_request *request, json_t *computer,
    json_t *snapshot)
{
	static const struct miosa_event events[] = {
		{ "progress", "stopping", 0 },
		{ "progress", "restoring", 40 },
		{ "progress", "starting", 80 },
		{ "complete", "ready", 100 },
		{ 0 },
	};

	if (!restore(request, computer, snapshot))
		return;
	request->status = 200;
	request->subject = fb_strdup(miosa_get(snapshot, "id"));
	request->events = events;
}

static void
snapshot_events(struct miosa_request *request, const char *id)
{
	static const struct miosa_event events[] = {
		{ "snapshot_progress", "creating", 0 },
		{ "snapshot_progress", "uploading", 50 },
		{ "snapshot_progress", "ready", 100 },
		{ 0 },
	};
	FB_AUTO_FREE char *ticket = miosa_query(request, "ticket");

	if (ticket == NULL || json_object_del(miosa.tickets, ticket) != 0) {
		miosa_complain(request, "no ticket, or one that was used");
		miosa_error(request, 401, "invalid_token", "No ticket");
		return;
	}
	request->status = 200;
	request->subject = fb_strdup(id);
	request->events = events;
}

static void
delete(struct miosa_request *request, json_t *snapshot)
{
	FB_AUTO_FREE char *id = fb_strdup(miosa_get(snapshot, "id"));
	json_t *shown;

	if (!miosa_snapshot_delete(request, id))
		return;
	shown = json_object_get(miosa.snapshots, id);
	if (request->on[MIOSA_NO_CONTENT])
		request->status = 204;
	else if (in_first(request))
		miosa_json(request, 200, json_pack("{s:b}", "ok", 1));
	else
		miosa_object(request, 200, "snapshot",
		    snapshot_json(request, shown), NULL);
}

static void
one(struct miosa_request *request, json_t *computer, json_t *snapshot)
{
	const char *id = miosa_get(snapshot, "id");
	const char *what = request->parts > 4 ? request->part[4] : "";
	bool stream = request->parts == 6 && in_first(request) &&
	    strcmp(what, "restore") == 0 &&
	    strcmp(request->part[5], "stream") == 0;

	if (request->parts == 4 && miosa_method(request, "GET"))
		miosa_object(request, 200, name_of(request),
		    snapshot_json(request, snapshot), NULL);
	else if (request->parts == 4 && miosa_method(request, "DELETE"))
		delete(request, snapshot);
	else if (request->parts == 4)
		miosa_error(request, 405, "METHOD_NOT_ALLOWED", "No");
	else if (stream && miosa_method(request, "GET"))
		restore_stream(request, computer, snapshot);
	else if (request->parts > 5)
		miosa_error(request, 404, "NOT_FOUND", "Not found");
	else if (strcmp(what, "restore") == 0 && in_first(request) &&
	    miosa_method(request, "POST")) {
		if (restore(request, computer, snapshot))
			miosa_json(request, 202, json_pack("{s:b}", "ok", 1));
	} else if (strcmp(what, "export") == 0 && in_first(request) &&
	    miosa_method(request, "GET")) {
		if (is_ready(request, snapshot))
			miosa_export(request, id);
	} else if (strcmp(what, "events") == 0 && !in_first(request) &&
	    miosa_method(request, "GET"))
		snapshot_events(request, id);
	else
		miosa_error(request, 404, "NOT_FOUND", "Not found");
}

/* Into a new computer. */
void
miosa_restore_new(struct miosa_request *request, const char *id)
{
	json_t *snapshot = json_object_get(miosa.snapshots, id);
	json_t *computer;

	if (snapshot == NULL || is_deleted(snapshot)) {
		miosa_error(request, 404, "NOT_FOUND", "Not found");
		return;
	}
	miosa_look(snapshot);
	if (!is_ready(request, snapshot))
		return;
	computer = miosa_computer_add(miosa_get(request->json, "name"), id);
	miosa_becomes(request, computer, "provisioning", "running");
	miosa_json(request, 201,
	    json_pack("{s:o,s:{s:s,s:s}}", "data",
	        strcmp(request->part[request->parts - 1], "fork") == 0
	            ? json_pack("{s:s,s:O,s:s}", "machine_type", "computer",
	                  "id", json_object_get(computer, "id"), "state",
	                  "provisioning")
	            : miosa_computer_json(request, computer),
	        "snapshot", "id", id, "status", "ready"));
}

static bool
family_is_on(const char *family)
{
	const char *at = strstr(miosa.families, family);

	return at != NULL;
}

void
miosa_computer_snapshots(struct miosa_request *request, json_t *computer)
{
	const char *id = miosa_get(computer, "id");
	json_t *snapshot;

	if (!family_is_on(in_first(request) ? "checkpoints" : "snapshots")) {
		miosa_error(
		    request, miosa.off_status, "NOT_FOUND", "Not found");
		return;
	}
	if (strcmp(request->part[2], "restore") == 0) {
		if (request->parts == 4 && miosa_method(request, "POST"))
			miosa_restore_new(request, request->part[3]);
		else
			miosa_error(request, 404, "NOT_FOUND", "Not found");
		return;
	}
	if (request->parts == 3) {
		if (miosa_method(request, "GET"))
			list(request, id);
		else if (miosa_method(request, "POST"))
			create(request, computer);
		else
			miosa_error(
			    request, 405, "METHOD_NOT_ALLOWED", "No");
		return;
	}
	snapshot = json_object_get(miosa.snapshots, request->part[3]);
	if (snapshot == NULL ||
	    strcmp(miosa_get(snapshot, "computer_id"), id) != 0 ||
	    (is_deleted(snapshot) && in_first(request))) {
		miosa_error(request, 404, "NOT_FOUND", "Not found");
		return;
	}
	miosa_look(snapshot);
	one(request, computer, snapshot);
}

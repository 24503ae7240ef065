/* The snapshots of an account. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "miosa.h"

#include "fleetbak/base/mem.h"

static json_t *
account_json(const struct miosa_request *request, const json_t *snapshot)
{
	const char *of = miosa_get(snapshot, "computer_id");
	const json_t *computer = json_object_get(miosa.computers, of);
	json_t *resource = computer == NULL
	    ? json_null()
	    : json_pack("{s:s,s:s,s:s,s:s,s:s}", "type", "computer", "id", of,
	          "name", of, "state", miosa_get(computer, "status"),
	          "workspace_id", "ws_1");
	json_t *size = json_object_get(snapshot, "size_bytes");
	const char *status = request->on[MIOSA_SAYS]
	    ? request->text[MIOSA_SAYS]
	    : miosa_get(snapshot, "status");

	return json_pack("{s:O,s:o,s:o*,s:O,s:O,s:O,s:i,s:b,s:n,s:b,s:n,s:n,"
	                 "s:O,s:n,s:n}",
	    "id", json_object_get(snapshot, "id"), "resource", resource,
	    "status", status[0] != '\0' ? json_string(status) : NULL,
	    "comment", json_object_get(snapshot, "comment"), "size_bytes",
	    size, "disk_bytes", size, "memory_bytes", 2000, "keep", 0,
	    "named_snapshot", "browsable", !request->on[MIOSA_NOT_BROWSABLE],
	    "parent_snapshot_id", "error", "created_at",
	    json_object_get(snapshot, "created_at"), "expires_at",
	    "last_used_at");
}

static bool
is_deleted(const json_t *snapshot)
{
	return strcmp(miosa_get(snapshot, "status"), "deleted") == 0;
}

static json_t *
dependents(const struct miosa_request *request)
{
	return request->on[MIOSA_IN_USE]
	    ? json_pack("[{s:s,s:s,s:s}]", "type", "restore_in_progress",
	          "id", "rst_1", "label", "a restore")
	    : json_array();
}

/* True: it is gone; else it was answered. */
bool
miosa_snapshot_delete(struct miosa_request *request, const char *id)
{
	FB_AUTO_FREE char *dir = miosa_dir("snapshots", id);
	json_t *snapshot = json_object_get(miosa.snapshots, id);

	if (request->on[MIOSA_IN_USE]) {
		miosa_error_with(request, 409, "SNAPSHOT_IN_USE",
		    json_pack("{s:o}", "dependents", dependents(request)),
		    "Snapshot is in use");
		return false;
	}
	miosa_effect("delete", id, NULL);
	miosa_set(snapshot, "status", "deleted");
	(void)json_object_del(snapshot, "_then");
	miosa_remove_tree(dir);
	return true;
}

static void
list(struct miosa_request *request)
{
	FB_AUTO_FREE char *of = miosa_query(request, "resource_id");
	FB_AUTO_FREE char *words = miosa_query(request, "q");
	json_t *list = json_array(), *snapshot;
	const char *id;

	json_object_foreach(miosa.snapshots, id, snapshot) {
		if (is_deleted(snapshot) ||
		    (of != NULL &&
		        strcmp(miosa_get(snapshot, "computer_id"), of) != 0) ||
		    (words != NULL &&
		        strstr(miosa_get(snapshot, "comment"), words) == NULL))
			continue;
		miosa_look(snapshot);
		(void)json_array_insert_new(
		    list, 0, account_json(request, snapshot));
	}
	if (!request->on[MIOSA_PAGING]) {
		/* This family always has pages. */
		request->on[MIOSA_PAGING] = true;
		(void)snprintf(request->text[MIOSA_PAGING], MIOSA_TEXT,
		    "offset,200");
	}
	miosa_list(request, "snapshot", list);
}

static void
groups(struct miosa_request *request)
{
	json_t *all = json_object(), *list = json_array(), *snapshot, *group;
	const char *id;

	json_object_foreach(miosa.snapshots, id, snapshot) {
		const char *of = miosa_get(snapshot, "computer_id");
		json_int_t count;

		if (is_deleted(snapshot))
			continue;
		group = json_object_get(all, of);
		if (group == NULL) {
			group = json_pack("{s:s,s:n,s:i,s:i}", "resource_id",
			    of, "resource", "snapshot_count", 0,
			    "stored_bytes", 0);
			(void)json_object_set_new(all, of, group);
		}
		count = json_integer_value(
		    json_object_get(group, "snapshot_count"));
		(void)json_object_set_new(
		    group, "snapshot_count", json_integer(count + 1));
		(void)json_object_set(group, "latest_at",
		    json_object_get(snapshot, "created_at"));
	}
	json_object_foreach(all, id, group)
		(void)json_array_append(list, group);
	json_decref(all);
	miosa_json(request, 200, json_pack("{s:o}", "data", list));
}

static json_t *
wanted(const struct miosa_request *request)
{
	json_t *ids = json_object_get(request->json, "ids"), *snapshot;
	const char *of = miosa_get(request->json, "resource_id"), *id;
	json_t *list = json_array();

	if (json_is_array(ids)) {
		(void)json_array_extend(list, ids);
		return list;
	}
	if (of[0] == '\0' ||
	    strcmp(of, miosa_get(request->json, "confirm")) != 0)
		return list;
	json_object_foreach(miosa.snapshots, id, snapshot)
		if (!is_deleted(snapshot) &&
		    strcmp(miosa_get(snapshot, "computer_id"), of) == 0)
			(void)json_array_append_new(list, json_string(id));
	return list;
}

static void
delete_many(struct miosa_request *request)
{
	json_t *ids = wanted(request), *item, *gone = json_array();
	json_t *blocked = json_array(), *missing = json_array();
	size_t index;

	json_array_foreach(ids, index, item) {
		const char *id = json_string_value(item);
		json_t *snapshot = id != NULL
		    ? json_object_get(miosa.snapshots, id)
		    : NULL;

		if (snapshot == NULL || is_deleted(snapshot))
			(void)json_array_append(missing, item);
		else if (request->on[MIOSA_IN_USE])
			(void)json_array_append_new(blocked,
			    json_pack("{s:O,s:o}", "snapshot_id", item,
			        "dependents", dependents(request)));
		else if (miosa_snapshot_delete(request, id))
			(void)json_array_append(gone, item);
	}
	json_decref(ids);
	miosa_json(request,
	    json_array_size(gone) == 0 && json_array_size(blocked) > 0 ? 409
	                                                               : 200,
	    json_pack("{s:{s:o,s:o,s:o}}", "data", "deleted", gone, "blocked",
	        blocked, "not_found", missing));
}

static void
one(struct miosa_request *request, json_t *snapshot)
{
	const char *what = request->parts > 2 ? request->part[2] : "";
	bool get = miosa_method(request, "GET");

	if (request->parts == 2 && get)
		miosa_json(request, 200,
		    json_pack("{s:o,s:o}", "data",
		        account_json(request, snapshot), "dependents",
		        dependents(request)));
	else if (request->parts == 2 && miosa_method(request, "DELETE")) {
		if (miosa_snapshot_delete(request, request->part[1]))
			miosa_json(request, 200, json_pack("{s:b}", "ok", 1));
	} else if (request->parts == 2)
		miosa_error(request, 405, "METHOD_NOT_ALLOWED", "No");
	else if ((strcmp(what, "fork") == 0 || strcmp(what, "restore") == 0) &&
	    miosa_method(request, "POST"))
		miosa_restore_new(request, request->part[1]);
	else if ((strcmp(what, "tree") == 0 || strcmp(what, "files") == 0) &&
	    get)
		miosa_browse(request, snapshot);
	else
		miosa_error(request, 404, "NOT_FOUND", "Not found");
}

void
miosa_account(struct miosa_request *request)
{
	const char *second = request->parts > 1 ? request->part[1] : "";
	json_t *snapshot;

	if (strstr(miosa.families, "account") == NULL) {
		miosa_error(
		    request, miosa.off_status, "NOT_FOUND", "Not found");
		return;
	}
	if (request->parts == 1 && miosa_method(request, "GET")) {
		list(request);
		return;
	}
	if (request->parts == 2 && strcmp(second, "groups") == 0 &&
	    miosa_method(request, "GET")) {
		groups(request);
		return;
	}
	if (request->parts == 2 && strcmp(second, "delete") == 0 &&
	    miosa_method(request, "POST")) {
		delete_many(request);
		return;
	}
	snapshot = json_object_get(miosa.snapshots, second);
	if (request->parts > 3 || snapshot == NULL || is_deleted(snapshot)) {
		miosa_error(request, 404, "NOT_FOUND", "Not found");
		return;
	}
	miosa_look(snapshot);
	one(request, snapshot);
}

/* What the API says of each thing. */
#include <stdio.h>
#include <string.h>

#include "morpheus.h"

#include "fleetbak/base/mem.h"

static json_t *
volumes_json(const struct mo_server *server, json_int_t *ret_total)
{
	json_t *list = json_array();

	for (size_t i = 0; i < server->volume_count; i++) {
		const struct mo_volume *volume = &server->volumes[i];
		FB_AUTO_FREE char *external =
		    fb_format("vol-%lld", (long long)volume->id);
		json_t *doc =
		    json_array_get(json_object_get(server->doc, "volumes"), i);
		json_t *json = json_pack(
		    "{s:I,s:s,s:b,s:i,s:I,s:i,s:s,s:s,s:{s:i,s:s}}", "id",
		    (json_int_t)volume->id, "name", volume->name, "rootVolume",
		    json_is_true(json_object_get(doc, "root")), "unitNumber",
		    (int)i, "maxStorage", (json_int_t)volume->size,
		    "displayOrder", (int)i, "externalId", external, "uniqueId",
		    external, "datastore", "id", 3, "name", "pool");

		(void)json_object_set(
		    json, "typeId", json_object_get(doc, "typeId"));
		(void)json_array_append_new(list, json);
		*ret_total += volume->cd ? 0 : volume->size;
	}
	return list;
}

/* Only what VMs have. */
static void
add_of_vm(json_t *json, const struct mo_server *server,
    const struct mo_request *request)
{
	json_t *instance = json_object_get(server->doc, "instance");
	int64_t host = mo_number(request, MO_PARENT,
	    json_integer_value(json_object_get(server->doc, "host")));
	const struct mo_server *parent = mo_server(host);

	(void)json_object_set_new(json, "parentServer",
	    json_pack("{s:I,s:s}", "id", (json_int_t)host, "name",
	        parent != NULL ? parent->name : "?"));
	if (json_is_object(instance) && request->on[MO_NO_INSTANCE] == NULL)
		(void)json_object_set(json, "instance", instance);
}

json_t *
mo_server_json(const struct mo_server *server, const struct mo_request *request)
{
	FB_AUTO_FREE char *uuid =
	    fb_format("00000000-0000-4000-8000-%012lld", (long long)server->id);
	FB_AUTO_FREE char *external =
	    fb_format("domain-%lld", (long long)server->id);
	FB_AUTO_FREE char *mac =
	    fb_format("52:54:00:00:00:%02x", (unsigned)server->id & 0xff);
	const char *ip = json_string_value(json_object_get(server->doc, "ip"));
	const char *power = request->on[MO_POWER] != NULL
	    ? request->on[MO_POWER]
	    : server->shown ? "on"
	                    : "off";
	json_int_t total = 0;
	json_t *volumes = volumes_json(server, &total);
	json_t *json = json_pack("{s:I,s:s,s:s,s:s,s:s,s:{s:i,s:s},s:{s:s},"
	                         "s:s,s:s,s:i,s:i,s:I,s:I,s:s,s:o,s:[],"
	                         "s:[{s:s,s:s*}],s:[],s:[],s:[]}",
	    "id", (json_int_t)server->id, "uuid", uuid, "externalId", external,
	    "name", server->name, "hostname", server->name, "zone", "id", 1,
	    "name", "lab", "computeServerType", "code",
	    server->vm ? "mvm-vm" : "mvm-host", "status",
	    request->on[MO_STATUS] != NULL ? request->on[MO_STATUS]
	                                   : "provisioned",
	    "powerState", power, "maxCores", 2, "coresPerSocket", 1,
	    "maxMemory", (json_int_t)2147483648, "maxStorage", total,
	    "platform", "linux", "volumes", volumes, "controllers",
	    "interfaces", "macAddress", mac, "ipAddress", ip, "containers",
	    "tags", "labels");

	if (server->vm)
		add_of_vm(json, server, request);
	return json;
}

/* NULL: there is none. */
json_t *
mo_instance_json(int64_t id)
{
	json_t *servers = json_array(), *instance = NULL, *json;
	bool on = false;

	for (size_t i = 0; i < MO_MAX; i++) {
		if (mo.servers[i] == NULL || id == 0 ||
		    mo_instance_of(mo.servers[i]) != id)
			continue;
		instance = json_object_get(mo.servers[i]->doc, "instance");
		on = on || mo.servers[i]->shown;
		(void)json_array_append_new(
		    servers, json_integer((json_int_t)mo.servers[i]->id));
	}
	if (instance == NULL) {
		json_decref(servers);
		return NULL;
	}
	json = json_deep_copy(instance);
	(void)json_object_set_new(json, "servers", servers);
	(void)json_object_set_new(
	    json, "status", json_string(on ? "running" : "stopped"));
	return json;
}

static json_t *
file_json(const struct mo_snapshot *snapshot, size_t index)
{
	const struct mo_file *file = &snapshot->files[index];
	FB_AUTO_FREE char *name = fb_format("vd%c", (int)('a' + index));
	FB_AUTO_FREE char *external =
	    fb_format("file-%lld-%zu", (long long)snapshot->id, index);

	return json_pack("{s:I,s:s,s:s,s:s,s:s*,s:s*,s:{s:I},s:i}", "id",
	    (json_int_t)(snapshot->id * 10 + (int64_t)index), "name", name,
	    "type", file->volume->type, "externalId", external, "path",
	    file->path, "exportPath", file->export, "volume", "id",
	    (json_int_t)file->volume->id, "diskIndex", (int)index);
}

json_t *
mo_snapshot_json(const struct mo_snapshot *snapshot)
{
	FB_AUTO_FREE char *external =
	    fb_format("snap-%lld", (long long)snapshot->id);
	bool done = strcmp(snapshot->status, "creating") != 0;
	json_t *files = json_array();

	for (size_t i = 0; done && i < snapshot->file_count; i++)
		(void)json_array_append_new(files, file_json(snapshot, i));
	return json_pack("{s:I,s:s,s:s,s:s,s:s,s:n,s:s,s:s,s:{s:i,s:s},s:n,"
	                 "s:o,s:b,s:b,s:b,s:b,s:s}",
	    "id", (json_int_t)snapshot->id, "name", snapshot->name,
	    "description", snapshot->description, "externalId", external,
	    "status", snapshot->status, "state", "snapshotType", "vm",
	    "snapshotCreated", snapshot->created, "zone", "id", 1, "name",
	    "lab", "parentSnapshot", "snapshotFiles", files, "currentlyActive",
	    snapshot->active, "memorySnapshot", snapshot->memory, "forExport",
	    snapshot->for_export, "forBackup", 0, "dateCreated",
	    snapshot->created);
}

json_t *
mo_process_json(const struct mo_process *process)
{
	static const int percents[] = { 0, 0, 50, 100 };
	bool bad = strcmp(process->status, "failed") == 0;
	json_t *json =
	    json_pack("{s:I,s:{s:s,s:s},s:I,s:s,s:s*,s:i,s:s*,s:s,s:[]}", "id",
	        (json_int_t)process->id, "processType", "code",
	        "serverSnapshot", "name", "snapshot", "serverId",
	        (json_int_t)process->server->id, "status", process->status,
	        "reason", bad ? "the datastore is full" : NULL, "percent",
	        percents[process->stage], "error",
	        bad ? "no room for a snapshot" : NULL, "startDate",
	        process->began, "events");

	if (mo_instance_of(process->server) != 0)
		(void)json_object_set_new(json, "instanceId",
		    json_integer((json_int_t)mo_instance_of(process->server)));
	return json;
}

/* Servers, snapshots, processes, and what time brings. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "morpheus.h"

#include "fleetbak/base/mem.h"

struct mo mo = { .lock = PTHREAD_MUTEX_INITIALIZER, .next_id = 1000 };

void
mo_now(char text[40])
{
	struct timespec now;
	struct tm tm;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	(void)gmtime_r(&now.tv_sec, &tm);
	(void)strftime(text, 40, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

struct mo_server *
mo_server(int64_t id)
{
	for (size_t i = 0; i < MO_MAX; i++)
		if (mo.servers[i] != NULL && mo.servers[i]->id == id)
			return mo.servers[i];
	return NULL;
}

struct mo_snapshot *
mo_snapshot(int64_t id)
{
	for (size_t i = 0; i < MO_MAX; i++)
		if (mo.snapshots[i] != NULL && mo.snapshots[i]->id == id)
			return mo.snapshots[i];
	return NULL;
}

struct mo_process *
mo_process(int64_t id)
{
	for (size_t i = 0; i < 4 * (size_t)MO_MAX; i++)
		if (mo.processes[i] != NULL && mo.processes[i]->id == id)
			return mo.processes[i];
	return NULL;
}

int64_t
mo_instance_of(const struct mo_server *server)
{
	return json_integer_value(
	    json_object_get(json_object_get(server->doc, "instance"), "id"));
}

static size_t
free_slot(void *const *slots, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (slots[i] == NULL)
			return i;
	(void)fprintf(stderr, "morpheus: too many of them\n");
	exit(3);
}

bool
mo_is_busy(const struct mo_server *server)
{
	if (server->revert != NULL)
		return true;
	for (size_t i = 0; i < MO_MAX; i++)
		if (mo.snapshots[i] != NULL &&
		    mo.snapshots[i]->server == server &&
		    strcmp(mo.snapshots[i]->status, "creating") == 0)
			return true;
	return false;
}

void
mo_power(struct mo_server *server, bool on, struct mo_request *request)
{
	int64_t now = now_ms();

	if (on && mo_is_busy(server))
		mo_log("~ %lu start of %lld while something is under way\n",
		    request->number, (long long)server->id);
	if (request->on[MO_STUCK] != NULL ||
	    (server->change_ms == 0 && server->on == on) ||
	    (server->change_ms != 0 && server->goal == on))
		return;
	server->goal = on;
	server->change_ms = now + mo.power_ms;
	server->shown_ms =
	    server->change_ms + mo_number(request, MO_POWER_LAG, 0);
}

static void
advance_power(struct mo_server *server, int64_t now)
{
	if (server->change_ms != 0 && now >= server->change_ms) {
		if (server->on != server->goal)
			mo_log("= %s %lld\n", server->goal ? "start" : "stop",
			    (long long)server->id);
		server->on = server->goal;
		server->change_ms = 0;
	}
	if (server->shown_ms != 0 && now >= server->shown_ms) {
		server->shown = server->on;
		server->shown_ms = 0;
	}
	if (server->revert == NULL || now < server->revert_ms)
		return;
	if (strcmp(server->revert_how, "nothing") != 0) {
		mo_put_back(server->revert);
		mo_log("= revert %lld %s\n", (long long)server->id,
		    server->revert->name);
	}
	if (strcmp(server->revert_how, "off") != 0)
		server->on = server->shown =
		    server->goal || strcmp(server->revert_how, "on") == 0;
	server->revert = NULL;
}

static struct mo_snapshot *
add_snapshot(struct mo_server *server, char *name)
{
	struct mo_snapshot *snapshot = fb_alloc(1, sizeof(*snapshot));

	snapshot->id = mo.next_id++;
	snapshot->server = server;
	snapshot->name = name;
	snapshot->description = fb_strdup("");
	(void)snprintf(snapshot->status, 32, "creating");
	(void)snprintf(snapshot->final, 32, "complete");
	mo_now(snapshot->created);
	snapshot->active = true;
	mo.snapshots[free_slot((void *const *)mo.snapshots, MO_MAX)] = snapshot;
	return snapshot;
}

static void
free_snapshot(struct mo_snapshot *snapshot)
{
	for (size_t i = 0; i < 4 * (size_t)MO_MAX; i++)
		if (mo.processes[i] != NULL &&
		    mo.processes[i]->snapshot == snapshot)
			mo.processes[i]->snapshot = NULL;
	mo_unfreeze(snapshot);
	free(snapshot->name);
	free(snapshot->description);
	free(snapshot);
}

/* What looks like it, and is not it: a name around it, and a name it begins. */
static void
add_similar(const struct mo_snapshot *like)
{
	char *names[] = { fb_format("copy of %s", like->name),
		fb_format("%s-old", like->name),
		fb_format("%.*s", (int)strlen(like->name) - 1, like->name) };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct mo_snapshot *other =
		    add_snapshot(like->server, names[i]);

		other->for_export = true;
		mo_freeze(other);
		(void)snprintf(other->status, 32, "complete");
	}
}

static void
finish_snapshot(struct mo_process *process, int64_t now)
{
	struct mo_snapshot *snapshot = process->snapshot;
	bool done = strcmp(process->final, "failed") != 0 &&
	    strcmp(process->final, "cancelled") != 0;

	(void)snprintf(process->status, 32, "%s", process->final);
	if (snapshot == NULL)
		return;
	snapshot->visible_ms = now + snapshot->late_ms;
	if (!done) {
		(void)snprintf(snapshot->status, 32, "failed");
		return;
	}
	for (size_t i = 0; i < MO_MAX; i++)
		if (mo.snapshots[i] != NULL && mo.snapshots[i] != snapshot &&
		    mo.snapshots[i]->server == snapshot->server)
			mo.snapshots[i]->active = false;
	(void)snprintf(snapshot->status, 32, "%s", snapshot->final);
	mo_log("= snapshot %lld %s %s\n", (long long)snapshot->server->id,
	    snapshot->server->on ? "on" : "off", snapshot->name);
}

/* new, queued, running, and its end; the bytes are those of when it runs. */
static void
advance_process(struct mo_process *process, int64_t now)
{
	while (
	    process->stage < 3 && now >= process->began_ms + process->step_ms) {
		process->began_ms += process->step_ms;
		process->stage++;
		if (process->stage == 1)
			(void)snprintf(process->status, 32, "queued");
		else if (process->stage == 2) {
			(void)snprintf(process->status, 32, "running");
			if (process->snapshot != NULL &&
			    strcmp(process->final, "failed") != 0)
				mo_freeze(process->snapshot);
		} else
			finish_snapshot(process, now);
	}
}

void
mo_advance(void)
{
	int64_t now = now_ms();

	for (size_t i = 0; i < MO_MAX; i++)
		if (mo.servers[i] != NULL)
			advance_power(mo.servers[i], now);
	for (size_t i = 0; i < 4 * (size_t)MO_MAX; i++)
		if (mo.processes[i] != NULL)
			advance_process(mo.processes[i], now);
	for (size_t i = 0; i < MO_MAX; i++) {
		struct mo_snapshot *snapshot = mo.snapshots[i];

		if (snapshot == NULL || snapshot->remove_ms == 0 ||
		    now < snapshot->remove_ms ||
		    snapshot->server->revert == snapshot)
			continue;
		mo_log("= delete %lld %s\n", (long long)snapshot->server->id,
		    snapshot->name);
		mo.snapshots[i] = NULL;
		free_snapshot(snapshot);
	}
}

static const char *
text_of(json_t *json, const char *name)
{
	return json_string_value(json_object_get(json, name));
}

static void
check_name(const struct mo_server *server, const char *name,
    const struct mo_request *request)
{
	for (size_t i = 0; i < MO_MAX; i++)
		if (mo.snapshots[i] != NULL &&
		    mo.snapshots[i]->server == server &&
		    strcmp(mo.snapshots[i]->name, name) == 0)
			mo_log("! %lu another snapshot %s\n", request->number,
			    name);
	if (server->change_ms != 0)
		mo_log("~ %lu snapshot of %lld while its power changes\n",
		    request->number, (long long)server->id);
}

struct mo_process *
mo_snapshot_begin(struct mo_server *server, struct mo_request *request)
{
	json_t *asked = json_object_get(request->json, "snapshot");
	const char *name = text_of(asked, "name");
	const char *description = text_of(asked, "description");
	struct mo_process *process = fb_alloc(1, sizeof(*process));
	struct mo_snapshot *snapshot;
	char now[40];

	mo_now(now);
	if (name != NULL)
		check_name(server, name, request);
	snapshot = add_snapshot(server,
	    name != NULL ? fb_strdup(name)
	                 : fb_format("%s.%s", server->name, now));
	if (description != NULL) {
		free(snapshot->description);
		snapshot->description = fb_strdup(description);
	}
	snapshot->for_export =
	    json_is_true(json_object_get(asked, "forExport"));
	snapshot->memory =
	    json_is_true(json_object_get(asked, "memorySnapshot"));
	snapshot->with_cd = request->on[MO_CD] != NULL;
	snapshot->late_ms = mo_number(request, MO_LATE, 0);
	snapshot->visible_ms = snapshot->late_ms > 0 ? INT64_MAX : 0;
	if (request->on[MO_EXPORT] != NULL)
		(void)snprintf(
		    snapshot->how, 16, "%.15s", request->on[MO_EXPORT]);
	if (request->on[MO_SNAPSHOT] != NULL)
		(void)snprintf(
		    snapshot->final, 32, "%.31s", request->on[MO_SNAPSHOT]);
	process->id = mo.next_id++;
	process->server = server;
	process->snapshot = snapshot;
	process->began_ms = now_ms();
	process->step_ms = mo_number(request, MO_STEP, mo.step_ms);
	(void)snprintf(process->status, 32, "new");
	(void)snprintf(process->final, 32, "%.31s",
	    request->on[MO_PROCESS] != NULL ? request->on[MO_PROCESS]
	                                    : "complete");
	mo_now(process->began);
	mo.processes[free_slot(
	    (void *const *)mo.processes, 4 * (size_t)MO_MAX)] = process;
	if (request->on[MO_SIMILAR] != NULL)
		add_similar(snapshot);
	return process;
}

static void
load_volumes(struct mo_server *server)
{
	json_t *item;
	size_t index;

	json_array_foreach(json_object_get(server->doc, "volumes"), index, item)
	{
		struct mo_volume *volume =
		    &server->volumes[server->volume_count];
		const char *type = text_of(item, "type");

		if (server->volume_count == MO_DISKS)
			exit(3);
		server->volume_count++;
		volume->id = json_integer_value(json_object_get(item, "id"));
		volume->name = text_of(item, "name");
		volume->file = fb_strdup(text_of(item, "file"));
		volume->cd = json_is_true(json_object_get(item, "cd"));
		volume->type = type != NULL ? type : "file";
		volume->size = mo_size(server, volume->file);
	}
}

static void
load_server(json_t *doc, size_t index)
{
	struct mo_server *server = fb_alloc(1, sizeof(*server));
	const char *power = text_of(doc, "power");

	server->doc = json_incref(doc);
	server->id = json_integer_value(json_object_get(doc, "id"));
	server->name = text_of(doc, "name");
	server->vm = !json_is_true(json_object_get(doc, "hypervisor"));
	server->on = power == NULL || strcmp(power, "on") == 0;
	server->goal = server->shown = server->on;
	mo.servers[index] = server;
}

void
mo_load(void)
{
	FB_AUTO_FREE char *path = fb_format("%s/servers.json", mo.dir);
	json_t *list = json_load_file(path, 0, NULL);
	json_t *item;
	size_t index;

	if (!json_is_array(list) || json_array_size(list) > MO_MAX) {
		(void)fprintf(stderr, "morpheus: %s\n", path);
		exit(3);
	}
	json_array_foreach(list, index, item) {
		load_server(item, index);
	}
	for (size_t i = 0; i < json_array_size(list); i++) {
		struct mo_server *server = mo.servers[i];
		struct mo_server *host = mo_server(
		    json_integer_value(json_object_get(server->doc, "host")));

		server->dir =
		    text_of(host != NULL ? host->doc : server->doc, "dir");
		if (server->dir == NULL)
			server->dir = ".";
		load_volumes(server);
	}
	json_decref(list);
}

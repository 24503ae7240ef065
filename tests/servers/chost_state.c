/* Machines, snapshots, and what is under way. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "chost.h"

#include "fleetbak/base/mem.h"

struct chost chost = { .lock = PTHREAD_MUTEX_INITIALIZER };

void
chost_now(char text[40])
{
	struct timespec now;
	struct tm tm;
	char seconds[24];

	(void)clock_gettime(CLOCK_REALTIME, &now);
	(void)gmtime_r(&now.tv_sec, &tm);
	(void)strftime(seconds, sizeof(seconds), "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(text, 40, "%s.%09ldZ", seconds, now.tv_nsec);
}

struct chost_machine *
chost_machine(const char *id)
{
	for (size_t i = 0; i < CHOST_MAX; i++)
		if (chost.machines[i] != NULL &&
		    strcmp(chost.machines[i]->id, id) == 0)
			return chost.machines[i];
	return NULL;
}

static size_t
free_slot(void *const *slots)
{
	for (size_t i = 0; i < CHOST_MAX; i++)
		if (slots[i] == NULL)
			return i;
	(void)fprintf(stderr, "computer_host: too many of them\n");
	exit(3);
}

struct chost_machine *
chost_machine_add(const char *id)
{
	struct chost_machine *machine = fb_alloc(1, sizeof(*machine));

	machine->id = fb_strdup(id);
	machine->phase = fb_strdup("running");
	machine->kernel = fb_strdup("http://images.invalid/vmlinux");
	machine->rootfs = fb_strdup("http://images.invalid/rootfs.img");
	machine->memory_mib = 512;
	chost_now(machine->created);
	chost_now(machine->started);
	chost.machines[free_slot((void *const *)chost.machines)] = machine;
	return machine;
}

void
chost_machine_remove(const char *id)
{
	for (size_t i = 0; i < CHOST_MAX; i++) {
		struct chost_machine *machine = chost.machines[i];

		if (machine == NULL || strcmp(machine->id, id) != 0)
			continue;
		free(machine->id);
		free(machine->phase);
		free(machine->error);
		free(machine->kernel);
		free(machine->rootfs);
		json_decref(machine->guest);
		free(machine);
		chost.machines[i] = NULL;
	}
}

void
chost_phase(
    struct chost_machine *machine, const char *phase, const char *error)
{
	free(machine->phase);
	free(machine->error);
	machine->phase = fb_strdup(phase);
	machine->error = error != NULL ? fb_strdup(error) : NULL;
}

void
chost_refresh(struct chost_machine *machine)
{
	if (strcmp(machine->phase, "starting") == 0 &&
	    now_ms() >= machine->starting_until_ms)
		chost_phase(machine, "running", NULL);
}

struct chost_snapshot *
chost_snapshot(const char *id)
{
	for (size_t i = 0; i < CHOST_MAX; i++)
		if (chost.snapshots[i] != NULL &&
		    strcmp(chost.snapshots[i]->id, id) == 0)
			return chost.snapshots[i];
	return NULL;
}

void
chost_snapshot_add(const char *id, const char *machine)
{
	struct chost_snapshot *snapshot = fb_alloc(1, sizeof(*snapshot));

	snapshot->id = fb_strdup(id);
	snapshot->machine = fb_strdup(machine);
	chost_now(snapshot->created);
	chost.snapshots[free_slot((void *const *)chost.snapshots)] = snapshot;
}

void
chost_snapshot_remove(const char *id)
{
	for (size_t i = 0; i < CHOST_MAX; i++) {
		struct chost_snapshot *snapshot = chost.snapshots[i];

		if (snapshot == NULL || strcmp(snapshot->id, id) != 0)
			continue;
		free(snapshot->id);
		free(snapshot->machine);
		free(snapshot);
		chost.snapshots[i] = NULL;
	}
}

struct chost_op *
chost_op(const char *machine)
{
	for (size_t i = 0; i < CHOST_MAX; i++)
		if (chost.ops[i] != NULL &&
		    strcmp(chost.ops[i]->machine, machine) == 0)
			return chost.ops[i];
	return NULL;
}

void
chost_op_end(struct chost_op *op)
{
	for (size_t i = 0; i < CHOST_MAX; i++)
		if (chost.ops[i] == op)
			chost.ops[i] = NULL;
	free(op->machine);
	free(op->snapshot);
	free(op);
}

struct chost_op *
chost_op_begin(const char *machine, const char *type, const char *snapshot)
{
	struct chost_op *op = chost_op(machine);

	if (op != NULL) {
		chost_log("! 0 a %s takes the place of a pending %s of %s\n",
		    type, op->type, machine);
		chost_op_end(op);
	}
	op = fb_alloc(1, sizeof(*op));
	op->machine = fb_strdup(machine);
	op->snapshot = snapshot != NULL ? fb_strdup(snapshot) : NULL;
	op->type = type;
	op->held = true;
	chost_now(op->started);
	chost.ops[free_slot((void *const *)chost.ops)] = op;
	return op;
}

/* One operation whose request is over. */
static void
put_right(struct chost_op *op)
{
	struct chost_machine *machine = chost_machine(op->machine);
	char *dir;

	if (strcmp(op->type, "snapshot") == 0 &&
	    chost_snapshot(op->snapshot) == NULL) {
		dir = fb_format("%s/snapshots/%s", chost.dir, op->snapshot);
		chost_remove_dir(dir);
		free(dir);
	}
	if (machine != NULL)
		machine->paused = false;
	if (strcmp(op->type, "restore") == 0 && machine == NULL) {
		dir = fb_format(
		    "%s/machine-disks/%s", chost.dir, op->machine);
		chost_remove_dir(dir);
		free(dir);
	}
	chost_op_end(op);
}

/* Is it one that cannot be put right, by the rules? */
static bool
is_stuck(const struct chost_op *op)
{
	struct chost_request *request = fb_alloc(1, sizeof(*request));
	FB_AUTO_FREE char *target = fb_format("/machines/%s", op->machine);
	bool stuck;

	(void)snprintf(
	    request->head.method, sizeof(request->head.method), "RECONCILE");
	request->head.target = target;
	chost_rules_choose(request);
	stuck = request->on[CHOST_STUCK];
	free(request);
	return stuck;
}

/* The first one that fails is the end of this turn. */
void
chost_reconcile(void)
{
	(void)pthread_mutex_lock(&chost.lock);
	for (size_t i = 0; i < CHOST_MAX; i++) {
		if (chost.ops[i] == NULL || chost.ops[i]->held)
			continue;
		if (is_stuck(chost.ops[i]))
			break;
		put_right(chost.ops[i]);
	}
	(void)pthread_mutex_unlock(&chost.lock);
}

static json_t *
ports_json(void)
{
	return json_pack("[{s:s,s:i,s:i,s:s},{s:s,s:i,s:i,s:s}]", "name",
	    "ssh", "port", 2222, "host_port", 20000 + rand() % 1000,
	    "protocol", "tcp", "name", "vnc", "port", 6080, "host_port",
	    21000 + rand() % 1000, "protocol", "tcp");
}

json_t *
chost_machine_json(const struct chost_machine *machine)
{
	json_t *users = json_array();
	char *system = fb_format("%s-system", machine->id);

	for (size_t i = 0; i < machine->users; i++) {
		char *user = i == 0 ? fb_format("%s-workspace", machine->id)
		                    : fb_format("%s-data-%zu", machine->id, i);

		(void)json_array_append_new(users, json_string(user));
		free(user);
	}
	json_t *json = json_pack(
	    "{s:s,s:{s:s,s:s},s:s,s:o,s:s,s:o,s:s,s:s*,s:s,s:s*}", "id",
	    machine->id, "artifact", "kernel_image_url", machine->kernel,
	    "rootfs_url", machine->rootfs, "system_volume_id", system,
	    "user_volume_ids", users, "runtime_host", "127.0.0.1", "ports",
	    ports_json(), "phase", machine->phase, "error", machine->error,
	    "created_at", machine->created, "started_at",
	    machine->started[0] != '\0' ? machine->started : NULL);

	free(system);
	return json;
}

json_t *
chost_snapshot_json(const struct chost_snapshot *snapshot)
{
	return json_pack("{s:s,s:s,s:s,s:s}", "id", snapshot->id,
	    "machine_id", snapshot->machine, "source_runtime_host",
	    "127.0.0.1", "created_at", snapshot->created);
}

void
chost_load(void)
{
	char *path = fb_format("%s/machines.json", chost.dir);
	json_t *list = json_load_file(path, 0, NULL);
	json_t *item;
	size_t index;

	if (list == NULL) {
		(void)fprintf(stderr, "computer_host: %s\n", path);
		exit(3);
	}
	json_array_foreach(list, index, item) {
		struct chost_machine *machine = chost_machine_add(
		    json_string_value(json_object_get(item, "machine_id")));

		chost_phase(machine,
		    json_string_value(json_object_get(item, "phase")), NULL);
		machine->memory_mib = json_integer_value(
		    json_object_get(item, "memory_mib"));
		machine->storage_bytes = json_integer_value(
		    json_object_get(item, "storage_bytes"));
		machine->users = (size_t)json_integer_value(
		    json_object_get(item, "users"));
	}
	json_decref(list);
	free(path);
}

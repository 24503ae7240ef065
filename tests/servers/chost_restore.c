/* Restores: from a snapshot that is here, or from what URLs give. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "chost.h"

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"

/* As the daemon does, for any name; ours must be no path. */
static bool
fetch_artifact(struct chost_request *request, const char *dir,
    const json_t *item)
{
	const char *name = json_string_value(json_object_get(item, "name"));
	const char *url =
	    json_string_value(json_object_get(item, "download_url"));
	const char *wanted =
	    json_string_value(json_object_get(item, "sha256_hex"));
	FB_AUTO_FREE char *path = NULL;
	char why[256], hex[65];

	if (name == NULL || strchr(name, '/') != NULL ||
	    strstr(name, "..") != NULL) {
		chost_log("! %lu the artifact's name '%s' leads out of the "
		          "directory\n", request->number,
		    name != NULL ? name : "");
		chost_answer_error(request, "artifact: bad name");
		return false;
	}
	if (url == NULL || wanted == NULL)
		chost_log("! %lu an artifact without URL or digest\n",
		    request->number);
	path = fb_format("%s/%s", dir, name);
	if (!chost_fetch(url != NULL ? url : "", path, why)) {
		chost_answer_error(request, "download artifact \"%s\": %s",
		    name, why);
		return false;
	}
	(void)chost_sha256(path, hex);
	if (wanted != NULL && strcasecmp(hex, wanted) != 0) {
		chost_answer_error(request,
		    "artifact \"%s\" sha256 mismatch: got %s want %s", name,
		    hex, wanted);
		return false;
	}
	return true;
}

/* The directory of what was fetched stays there; its path, or NULL. */
static char *
fetch_all(struct chost_request *request, const char *snapshot,
    const char *machine, const json_t *list)
{
	char *dir = fb_format(
	    "%s/snapshots/%s/restores/%s", chost.dir, snapshot, machine);
	const json_t *item;
	size_t index;
	struct fb_error err;
	bool good = fb_io_mkdirs(dir, 0700, &err) == FB_OK;

	(void)pthread_mutex_unlock(&chost.lock);
	json_array_foreach(list, index, item)
		good = good && fetch_artifact(request, dir, item);
	(void)pthread_mutex_lock(&chost.lock);
	if (good)
		return dir;
	free(dir);
	return NULL;
}

static size_t
copy_disks(const char *from, const char *machine)
{
	FB_AUTO_FREE char *disks =
	    fb_format("%s/machine-disks/%s", chost.dir, machine);
	size_t users = 0;

	(void)mkdir(disks, 0755);
	for (size_t i = 0;; i++) {
		FB_AUTO_FREE char *name = i == 0
		    ? fb_strdup("system.img")
		    : fb_format("user-%zu.img", i - 1);
		FB_AUTO_FREE char *source = fb_format("%s/%s", from, name);
		FB_AUTO_FREE char *target = fb_format("%s/%s", disks, name);

		if (chost_size(source) < 0)
			break;
		(void)chost_copy(source, target);
		users = i;
	}
	return users;
}

static int64_t
number(const json_t *json, const char *key, int64_t fallback)
{
	const json_t *value = json_object_get(json, key);

	return value != NULL ? json_integer_value(value) : fallback;
}

static void
make_machine(struct chost_request *request, const char *id, const char *from)
{
	const json_t *artifact = json_object_get(request->json, "artifact");
	FB_AUTO_FREE char *system = fb_format("%s/system.img", from);
	int64_t storage = number(
	    request->json, "storage_bytes", INT64_C(10) << 30);
	struct chost_machine *machine;

	if (chost_size(system) < 0) {
		chost_answer_error(request,
		    "snapshot is missing system disk artifact");
		return;
	}
	if (storage < chost_size(system)) {
		chost_answer_error(request,
		    "storage_bytes is smaller than the system disk");
		return;
	}
	machine = chost_machine_add(id);
	machine->users = copy_disks(from, id);
	machine->memory_mib = number(request->json, "memory_mib", 512);
	machine->storage_bytes = storage;
	free(machine->kernel);
	free(machine->rootfs);
	machine->kernel = fb_strdup(json_string_value(
	    json_object_get(artifact, "kernel_image_url")));
	machine->rootfs = fb_strdup(
	    json_string_value(json_object_get(artifact, "rootfs_url")));
	machine->guest =
	    json_incref(json_object_get(request->json, "guest_config"));
	if (request->on[CHOST_FAILED])
		chost_phase(machine, "failed", "guest not ready");
	else if (request->on[CHOST_STARTING]) {
		chost_phase(machine, "starting", NULL);
		machine->starting_until_ms =
		    now_ms() + request->argument[CHOST_STARTING];
	}
	chost_answer_json(request, 201,
	    json_pack("{s:o}", "machine", chost_machine_json(machine)));
}

static bool
is_web(const json_t *artifact, const char *key)
{
	const char *url = json_string_value(json_object_get(artifact, key));

	return url != NULL && (strncmp(url, "http://", 7) == 0 ||
	    strncmp(url, "https://", 8) == 0);
}

static bool
check(struct chost_request *request, const char *snapshot, const char *id)
{
	const json_t *artifact = json_object_get(request->json, "artifact");
	const json_t *local = json_object_get(request->json, "local_snapshot");
	const json_t *durable = json_object_get(request->json, "snapshot");
	const json_t *source = local != NULL ? local : durable;
	const char *inner =
	    json_string_value(json_object_get(source, "snapshot_id"));

	if (id == NULL || id[0] == '\0' || strchr(id, '/') != NULL)
		chost_answer_error(request, "machine_id is required");
	else if (!is_web(artifact, "kernel_image_url") ||
	    !is_web(artifact, "rootfs_url"))
		chost_answer_error(
		    request, "artifact: kernel_image_url must be http(s)");
	else if (source == NULL)
		chost_answer_error(request,
		    "restore request must include local_snapshot or snapshot");
	else if (inner != NULL && inner[0] != '\0' &&
	    strcmp(inner, snapshot) != 0)
		chost_answer_error(request,
		    "snapshot id mismatch: path \"%s\" body \"%s\"", snapshot,
		    inner);
	else if (chost_machine(id) != NULL)
		chost_answer_error(
		    request, "machine \"%s\" already exists", id);
	else if (local != NULL && chost_snapshot(snapshot) == NULL)
		chost_answer_error(request,
		    "local snapshot restore unavailable: snapshot \"%s\" "
		    "snapshot is not present on this host", snapshot);
	else
		return true;
	return false;
}

void
chost_restore(struct chost_request *request, const char *snapshot)
{
	const char *id =
	    json_string_value(json_object_get(request->json, "machine_id"));
	const json_t *local = json_object_get(request->json, "local_snapshot");
	const json_t *durable = json_object_get(request->json, "snapshot");
	FB_AUTO_FREE char *from = NULL;
	struct chost_op *op;

	if (!check(request, snapshot, id))
		return;
	op = chost_op_begin(id, "restore", snapshot);
	if (local != NULL)
		from = fb_format("%s/snapshots/%s", chost.dir, snapshot);
	else
		from = fetch_all(request, snapshot, id,
		    json_object_get(durable, "artifacts"));
	if (from != NULL)
		make_machine(request, id, from);
	if (request->status == 201)
		chost_op_end(op);
	else
		op->held = false;
}

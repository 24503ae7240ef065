/* Snapshots: made, read and sent. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "chost.h"

#include "fleetbak/base/mem.h"

/* The name of an artifact's file: "disk-user-1" is "user-1.img". */
static char *
artifact_file(const char *snapshot, const char *id)
{
	if (strncmp(id, "disk-", 5) != 0)
		return NULL;
	return fb_format(
	    "%s/snapshots/%s/%s.img", chost.dir, snapshot, id + 5);
}

static json_t *
artifact_json(const char *snapshot, const char *id)
{
	FB_AUTO_FREE char *path = artifact_file(snapshot, id);
	FB_AUTO_FREE char *name = fb_format("%s.img", id + 5);
	char hex[65];

	(void)chost_sha256(path, hex);
	return json_pack("{s:s,s:s,s:s,s:I,s:s}", "id", id, "kind", "disk",
	    "name", name, "size_bytes", (json_int_t)chost_size(path),
	    "sha256_hex", hex);
}

static bool
clone_disks(const struct chost_machine *machine, const char *snapshot)
{
	bool good = true;

	for (size_t i = 0; i <= machine->users; i++) {
		FB_AUTO_FREE char *name = i == 0
		    ? fb_strdup("system")
		    : fb_format("user-%zu", i - 1);
		FB_AUTO_FREE char *from = fb_format("%s/machine-disks/%s/%s.img",
		    chost.dir, machine->id, name);
		FB_AUTO_FREE char *to = fb_format("%s/snapshots/%s/%s.img",
		    chost.dir, snapshot, name);

		good = good && chost_copy(from, to);
	}
	return good;
}

/* The client waits, or it has gone and takes the resume with it. */
static bool
client_waits(const struct chost_request *request, int64_t ms)
{
	int64_t until = now_ms() + ms;

	while (now_ms() < until) {
		if (end_wait(request->client, 10))
			return false;
	}
	return true;
}

static json_t *
created_json(const char *snapshot, size_t users)
{
	json_t *artifacts = json_array();

	(void)json_array_append_new(
	    artifacts, artifact_json(snapshot, "disk-system"));
	for (size_t i = 0; i < users; i++) {
		FB_AUTO_FREE char *id = fb_format("disk-user-%zu", i);

		(void)json_array_append_new(
		    artifacts, artifact_json(snapshot, id));
	}
	return json_pack("{s:o,s:o}", "snapshot",
	    chost_snapshot_json(chost_snapshot(snapshot)), "artifacts",
	    artifacts);
}

/* With the machine's operation in the journal; the lock is held. */
static void
create_journaled(struct chost_request *request,
    struct chost_machine *machine, const char *id, struct chost_op *op)
{
	FB_AUTO_FREE char *dir = fb_format("%s/snapshots/%s", chost.dir, id);
	bool waits = true;

	if (mkdir(dir, 0755) == -1) {
		chost_answer_error(request, "snapshot \"%s\" already exists",
		    id);
		return;
	}
	machine->paused = true;
	if (request->on[CHOST_SLOW]) {
		(void)pthread_mutex_unlock(&chost.lock);
		waits = client_waits(request, request->argument[CHOST_SLOW]);
		(void)pthread_mutex_lock(&chost.lock);
	}
	if (!waits) {
		chost_log("! %lu the client has gone, %s stays paused\n",
		    request->number, machine->id);
		chost_answer_error(request, "context canceled");
		return;
	}
	/* It was tried whether somebody works on the machine, and let go. */
	if (request->on[CHOST_RACE] && request->argument[CHOST_RACE] == 0) {
		chost_remove_dir(dir);
		machine->paused = false;
		chost_op_end(op);
		chost_answer_error(request, "clone disk: open system.img: no "
		                            "such file or directory");
		return;
	}
	if (!clone_disks(machine, id) || request->on[CHOST_CREATE_FAILS]) {
		chost_answer_error(
		    request, "clone disk: no space left on device");
		return;
	}
	machine->paused = false;
	chost_snapshot_add(id, machine->id);
	chost_op_end(op);
	chost_answer_json(request, 201, created_json(id, machine->users));
	if (request->on[CHOST_RACE])
		chost_remove_dir(dir);
}

static bool
is_plain_id(const char *id)
{
	static const char safe[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	                           "abcdefghijklmnopqrstuvwxyz0123456789_-";

	return id[strspn(id, safe)] == '\0' && id[0] != '-' && id[0] != '_' &&
	    strlen(id) <= 64;
}

void
chost_create(struct chost_request *request, const char *name)
{
	const char *id =
	    json_string_value(json_object_get(request->json, "snapshot_id"));
	struct chost_machine *machine = chost_machine(name);
	struct chost_op *op = chost_op(name);

	if (id == NULL || id[strspn(id, " \t\r\n")] == '\0') {
		chost_answer_error(request, "snapshot_id is required");
		return;
	}
	if (!is_plain_id(id))
		chost_log("! %lu snapshot id '%s' is one that the daemon "
		          "cannot bear\n", request->number, id);
	if (machine == NULL) {
		chost_answer_error(request, "store: not found");
		return;
	}
	chost_refresh(machine);
	if (strcmp(machine->phase, "running") != 0)
		chost_answer_error(
		    request, "machine \"%s\" is not running", name);
	else if (op != NULL)
		chost_answer_error(request,
		    "machine \"%s\" has a pending \"%s\" operation (started "
		    "%s)", name, op->type, op->started);
	else if (chost_snapshot(id) != NULL)
		chost_answer_error(
		    request, "snapshot \"%s\" already exists", id);
	else {
		op = chost_op_begin(name, "snapshot", id);
		create_journaled(request, machine, id, op);
		if (chost_op(name) == op)
			op->held = false;
	}
}

/* ----------------------------------------------------------- artifacts */

static void
add_date(struct fb_buf *dst, time_t when)
{
	struct tm tm;
	char text[64];

	(void)gmtime_r(&when, &tm);
	(void)strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	fb_buf_add_str(dst, text);
}

/* Is the range meant for what is there now? */
static bool
range_holds(const struct chost_request *request, const char *modified)
{
	FB_AUTO_FREE char *wanted = head_value(&request->head, "If-Range");

	return wanted == NULL || strcmp(wanted, modified) == 0;
}

static void
touch(const char *path, time_t old)
{
	struct timespec times[2] = { { .tv_sec = old + 60 },
		{ .tv_sec = old + 60 } };

	(void)utimensat(AT_FDCWD, path, times, 0);
}

/* A whole artifact, or the one range that was asked for. */
static void
serve_file(struct chost_request *request, const char *path, int64_t size,
    const char *modified)
{
	FB_AUTO_FREE char *range = head_value(&request->head, "Range");
	long long first = 0, last = size - 1;
	int got = 0;

	request->status = 200;
	request->file = fb_strdup(path);
	request->length = size;
	if (range == NULL || request->on[CHOST_NO_RANGE] ||
	    !range_holds(request, modified))
		return;
	got = sscanf(range, "bytes=%lld-%lld", &first, &last);
	if (got < 1)
		return;
	if (got == 1 || last >= size)
		last = size - 1;
	if (first >= size) {
		free(request->file);
		request->file = NULL;
		request->length = 0;
		request->status = 416;
		request->type = "text/plain; charset=utf-8";
		fb_buf_add_fmt(&request->headers,
		    "Content-Range: bytes */%lld\r\n", (long long)size);
		fb_buf_add_str(&request->answer,
		    "invalid range: failed to overlap\n");
		return;
	}
	request->status = 206;
	request->from = first;
	request->length = last - first + 1;
	fb_buf_add_fmt(&request->headers,
	    "Content-Range: bytes %lld-%lld/%lld\r\n", first, last,
	    (long long)size);
}

void
chost_artifact(
    struct chost_request *request, const char *snapshot, const char *id)
{
	FB_AUTO_FREE char *path = artifact_file(snapshot, id);
	FB_AUTO_BUF struct fb_buf modified = { 0 };
	int64_t size = path != NULL ? chost_size(path) : -1;
	struct stat st;

	if (strcmp(request->head.method, "GET") != 0) {
		chost_answer_json(request, 405,
		    json_pack("{s:s}", "error", "method not allowed"));
		return;
	}
	if (chost_snapshot(snapshot) == NULL || size < 0 ||
	    stat(path, &st) == -1) {
		chost_answer_error(request, chost_snapshot(snapshot) == NULL
		        ? "store: not found"
		        : "snapshot artifact not found");
		return;
	}
	add_date(&modified, st.st_mtim.tv_sec);
	fb_buf_add_fmt(&request->headers,
	    "Accept-Ranges: bytes\r\nLast-Modified: %s\r\n"
	    "Content-Disposition: attachment; filename=\"%s.img\"\r\n",
	    fb_buf_str(&modified), id + 5);
	request->type = "application/x-raw-disk-image";
	serve_file(request, path, size, fb_buf_str(&modified));
	if (request->on[CHOST_TOUCH])
		touch(path, st.st_mtim.tv_sec);
}

/* ------------------------------------------------------------- uploads */

static bool
upload_parts(struct chost_request *request, const char *path,
    const json_t *parts, json_t *completed)
{
	const json_t *part;
	size_t index;

	json_array_foreach(parts, index, part) {
		json_int_t number = json_integer_value(
		    json_object_get(part, "part_number"));
		int64_t offset = json_integer_value(
		    json_object_get(part, "offset_bytes"));
		int64_t size = json_integer_value(
		    json_object_get(part, "size_bytes"));
		char why[256];
		FB_AUTO_FREE char *etag = offset + size > chost_size(path)
		    ? NULL
		    : chost_put(json_string_value(
		                    json_object_get(part, "upload_url")),
		          path, offset, size, why);

		if (etag == NULL) {
			chost_answer_error(request, "upload part %lld %s",
			    (long long)number, why);
			return false;
		}
		(void)json_array_append_new(completed,
		    json_pack("{s:I,s:s}", "part_number", number, "etag",
		        etag));
	}
	return true;
}

void
chost_upload(struct chost_request *request, const char *snapshot)
{
	const json_t *list = json_object_get(request->json, "artifacts");
	json_t *answer = json_array();
	const json_t *item;
	size_t index;

	if (chost_snapshot(snapshot) == NULL) {
		json_decref(answer);
		chost_answer_error(request, "store: not found");
		return;
	}
	json_array_foreach(list, index, item) {
		const char *id = json_string_value(
		    json_object_get(item, "artifact_id"));
		const json_t *parts = json_object_get(item, "parts");
		json_t *completed = json_array();
		FB_AUTO_FREE char *path = artifact_file(snapshot, id);

		(void)json_array_append_new(answer,
		    json_pack("{s:s,s:o}", "artifact_id", id,
		        "completed_parts", completed));
		if (json_array_size(parts) == 0)
			chost_answer_error(
			    request, "upload session has no parts");
		if (json_array_size(parts) == 0 ||
		    !upload_parts(request, path, parts, completed)) {
			json_decref(answer);
			return;
		}
	}
	chost_answer_json(
	    request, 200, json_pack("{s:o}", "artifacts", answer));
}

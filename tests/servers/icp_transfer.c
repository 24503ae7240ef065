/* Snapshots to a directory and back, in the layout of the real command. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "icp.h"

#include "fleetbak/base/mem.h"

#define CHUNK 65536

const char *const icp_blobs[3] = { "wasm_module.bin", "wasm_memory.bin",
	"stable_memory.bin" };
static const char *const blob_names[3] = { "wasm_module", "wasm_memory",
	"stable_memory" };
static const char *const size_names[3] = { "wasm_module_size",
	"wasm_memory_size", "stable_memory_size" };

static int64_t passed; /* in this run, over all blobs */

static char *
in(const char *dir, const char *name)
{
	return fb_format("%s/%s", dir, name);
}

static void
save(const json_t *json, const char *dir, const char *name)
{
	FB_AUTO_FREE char *path = in(dir, name);

	if (json_dump_file(json, path, JSON_INDENT(2)) != 0)
		icp_error("failed to write %s", path);
}

static json_t *
load(const char *dir, const char *name)
{
	FB_AUTO_FREE char *path = in(dir, name);

	return json_load_file(path, 0, NULL);
}

/* One at a time in a directory; the file stays. */
static int
lock_dir(const char *dir)
{
	FB_AUTO_FREE char *path = in(dir, ".lock");
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	if (fd == -1 || flock(fd, LOCK_EX | LOCK_NB) == -1)
		icp_error("failed to lock %s", path);
	return fd;
}

/* Up to where the network breaks: "cut=N" bytes of this run. */
static bool
cut(void)
{
	return icp.on[ICP_CUT] && passed >= icp.argument[ICP_CUT];
}

/* From `at` on; returns up to where it went. */
static int64_t
copy(const char *from, const char *to, int64_t at, int64_t size)
{
	FB_AUTO_CLOSE int in_fd = open(from, O_RDONLY | O_CLOEXEC);
	FB_AUTO_CLOSE int out = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	uint8_t bytes[CHUNK];

	if (out == -1 || (in_fd == -1 && size > 0))
		icp_error("failed to open %s", in_fd == -1 ? from : to);
	while (at < size && !cut()) {
		ssize_t n = pread(in_fd, bytes, CHUNK, at);

		if (n <= 0)
			icp_error("failed to read %s", from);
		if (icp.on[ICP_CORRUPT] && passed == 0)
			bytes[0] ^= 1;
		if (pwrite(out, bytes, (size_t)n, at) != n)
			icp_error("failed to write %s", to);
		at += n;
		passed += n;
	}
	if (icp.on[ICP_SHORT] && size > 0)
		(void)!ftruncate(out, size - 1);
	return at;
}

static json_t *
metadata(json_t *snapshot, const char *dir)
{
	json_t *json = json_pack(
	    "{s:{s:n},s:O,s:[],s:[],s:i,s:s,s:s,s:s}", "source",
	    "taken_from_canister", "taken_at_timestamp",
	    json_object_get(snapshot, "taken_at_timestamp"), "globals",
	    "wasm_chunk_store", "canister_version", 1, "certified_data", "",
	    "global_timer", "inactive", "on_low_wasm_memory_hook_status",
	    "condition_not_satisfied");

	for (size_t i = 0; i < 3; i++) {
		int64_t size = icp_size(dir, icp_blobs[i]);

		(void)json_object_set_new(json, size_names[i],
		    json_integer(size > 0 ? (json_int_t)size : 0));
	}
	return json;
}

static bool
has_files(const char *dir)
{
	if (icp_size(dir, "metadata.json") >= 0)
		return true;
	for (size_t i = 0; i < 3; i++)
		if (icp_size(dir, icp_blobs[i]) >= 0)
			return true;
	return false;
}

/* What was begun goes on, whichever snapshot it was of. */
static json_t *
begin_download(json_t *snapshot, const char *from)
{
	json_t *json;

	if (!icp.resume) {
		if (has_files(icp.output))
			icp_error("Directory %s is not empty. Use --resume to "
			          "continue a previous download or choose an "
			          "empty directory.",
			    icp.output);
		json = metadata(snapshot, from);
		save(json, icp.output, "metadata.json");
		return json;
	}
	json = load(icp.output, "metadata.json");
	if (json == NULL)
		icp_error("Cannot resume: no existing download found in %s",
		    icp.output);
	if (!json_equal(json_object_get(json, "taken_at_timestamp"),
	        json_object_get(snapshot, "taken_at_timestamp")))
		icp_complain("a download goes on with another snapshot");
	return json;
}

static int64_t
frontier(const json_t *progress, size_t blob)
{
	return json_integer_value(json_object_get(
	    json_object_get(progress, blob_names[blob]), "frontier"));
}

static void
get_blobs(const json_t *meta, const char *from)
{
	json_t *progress = load(icp.output, ".download_progress.json");
	FB_AUTO_FREE char *done = in(icp.output, ".download_progress.json");

	if (progress == NULL)
		progress = json_object();
	for (size_t i = 0; i < 3; i++) {
		FB_AUTO_FREE char *a = in(from, icp_blobs[i]);
		FB_AUTO_FREE char *b = in(icp.output, icp_blobs[i]);
		int64_t size = json_integer_value(
		    json_object_get(meta, size_names[i]));
		int64_t at = copy(a, b, frontier(progress, i), size);

		(void)json_object_set_new(progress, blob_names[i],
		    json_pack("{s:I,s:[]}", "frontier", (json_int_t)at,
		        "ahead"));
		save(progress, icp.output, ".download_progress.json");
		if (at < size)
			icp_error("Failed to read snapshot data chunk at "
			          "offset %lld",
			    (long long)at);
	}
	json_decref(progress);
	(void)unlink(done);
}

void
icp_download(void)
{
	json_t *canister = icp_canister(3), *snapshot, *meta;
	const char *id = icp.count > 4 ? icp.words[4] : "";
	FB_AUTO_FREE char *from = icp_snapshot_dir(canister, id);
	FB_AUTO_FREE char *chunks = NULL;

	if (icp.output == NULL)
		icp_error("--output is missing");
	snapshot = icp_snapshot(canister, id);
	chunks = in(icp.output, "wasm_chunk_store");
	icp_tool((const char *const[]){ "mkdir", "-p", "--", chunks, NULL });
	FB_AUTO_CLOSE int lock = lock_dir(icp.output);

	(void)lock;
	meta = begin_download(snapshot, from);
	icp_effect("download", icp_get(canister, "id"), id);
	get_blobs(meta, from);
	json_decref(meta);
	(void)fprintf(stderr, "Snapshot downloaded to %s\n", icp.output);
}

/* The id of what is uploaded to. */
static json_t *
begin_upload(json_t *canister)
{
	json_t *progress;
	FB_AUTO_FREE char *id = NULL;

	if (icp.resume) {
		progress = load(icp.input, ".upload_progress.json");
		if (progress == NULL)
			icp_error("Cannot resume: no upload progress file "
			          "found in %s",
			    icp.input);
		return progress;
	}
	id = icp_add_snapshot(canister, true);
	icp_effect("upload", icp_get(canister, "id"), id);
	progress = json_pack("{s:s,s:b,s:i,s:i,s:i,s:[]}", "snapshot_id", id,
	    "metadata_uploaded", 1, "wasm_module_offset", 0,
	    "wasm_memory_offset", 0, "stable_memory_offset", 0,
	    "wasm_chunks_uploaded");
	save(progress, icp.input, ".upload_progress.json");
	return progress;
}

static void
put_blobs(const json_t *meta, json_t *progress, const char *to)
{
	for (size_t i = 0; i < 3; i++) {
		FB_AUTO_FREE char *a = in(icp.input, icp_blobs[i]);
		FB_AUTO_FREE char *b = in(to, icp_blobs[i]);
		FB_AUTO_FREE char *name =
		    fb_format("%s_offset", blob_names[i]);
		int64_t size = json_integer_value(
		    json_object_get(meta, size_names[i]));
		int64_t at;

		if (size > 0 && icp_size(icp.input, icp_blobs[i]) != size)
			icp_error("Missing required file: %s", a);
		at = copy(a, b,
		    json_integer_value(json_object_get(progress, name)), size);
		(void)json_object_set_new(
		    progress, name, json_integer((json_int_t)at));
		save(progress, icp.input, ".upload_progress.json");
		if (at < size)
			icp_error("Failed to upload snapshot data chunk at "
			          "offset %lld",
			    (long long)at);
	}
}

static void
end_upload(json_t *canister, const char *id, const char *dir)
{
	FB_AUTO_FREE char *progress = in(icp.input, ".upload_progress.json");
	json_t *snapshot = icp_snapshot(canister, id);
	json_int_t bytes = 0;

	for (size_t i = 0; i < 3; i++)
		bytes += icp_size(dir, icp_blobs[i]);
	(void)json_object_set_new(
	    snapshot, "total_size_bytes", json_integer(bytes));
	(void)json_object_set_new(snapshot, "incomplete", json_false());
	(void)unlink(progress);
	if (icp.json)
		fb_buf_add_fmt(&icp.out, "{\"snapshot_id\":\"%s\"}", id);
	else if (icp.quiet)
		fb_buf_add_fmt(&icp.out, "%s\n", id);
	else
		fb_buf_add_fmt(
		    &icp.out, "Snapshot %s uploaded successfully\n", id);
}

void
icp_upload(void)
{
	json_t *canister = icp_canister(3), *meta, *progress;
	FB_AUTO_FREE char *id = NULL, *to = NULL;

	if (icp.input == NULL)
		icp_error("--input is missing");
	meta = load(icp.input, "metadata.json");
	if (meta == NULL)
		icp_error("failed to read %s/metadata.json", icp.input);
	FB_AUTO_CLOSE int lock = lock_dir(icp.input);

	(void)lock;
	progress = begin_upload(canister);
	id = fb_strdup(icp_get(progress, "snapshot_id"));
	to = icp_snapshot_dir(canister, id);
	(void)icp_snapshot(canister, id);
	put_blobs(meta, progress, to);
	end_upload(canister, id, to);
	json_decref(meta);
	json_decref(progress);
}

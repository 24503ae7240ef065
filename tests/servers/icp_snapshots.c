/* Snapshots on the network. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "icp.h"

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"

#define SNAPSHOTS_MAX 10

static void
copy_blobs(const char *from, const char *to)
{
	FB_AUTO_FREE char *all = fb_format("%s/.", from);
	struct fb_error ignored = { 0 };

	(void)!fb_io_remove_tree(to, &ignored);
	icp_tool((const char *const[]){ "mkdir", "-p", "--", to, NULL });
	icp_tool((const char *const[]){ "cp", "-a", "--", all, to, NULL });
}

static json_int_t
total(const char *dir)
{
	json_int_t bytes = 0;

	for (size_t i = 0; i < 3; i++)
		if (icp_size(dir, icp_blobs[i]) > 0)
			bytes += icp_size(dir, icp_blobs[i]);
	return bytes;
}

/* Its id, which the caller frees.  What is uploaded is empty at first. */
char *
icp_add_snapshot(json_t *canister, bool uploaded)
{
	json_t *all = json_object_get(canister, "snapshots");
	json_int_t n =
	    json_integer_value(json_object_get(icp.state, "next")) + 1;
	char *id = fb_format("%016llx%02zx000000000000010101", (long long)n,
	    strlen(icp_get(canister, "id")));
	FB_AUTO_FREE char *from = icp_canister_dir(canister);
	FB_AUTO_FREE char *to = icp_snapshot_dir(canister, id);
	struct timespec now;

	if (json_object_size(all) >= SNAPSHOTS_MAX)
		icp_error("The replica returned a rejection error: reject code "
		          "CanisterError, reject message Canister %s has "
		          "reached the maximum number of snapshots allowed: "
		          "%d., error code Some(\"IC0529\")",
		    icp_get(canister, "id"), SNAPSHOTS_MAX);
	(void)clock_gettime(CLOCK_REALTIME, &now);
	if (!uploaded)
		copy_blobs(from, to);
	else
		icp_tool(
		    (const char *const[]){ "mkdir", "-p", "--", to, NULL });
	(void)json_object_set_new(icp.state, "next", json_integer(n));
	(void)json_object_set_new(all, id,
	    json_pack("{s:s,s:I,s:I,s:b}", "snapshot_id", id,
	        "taken_at_timestamp",
	        (json_int_t)now.tv_sec * 1000000000 + now.tv_nsec,
	        "total_size_bytes", uploaded ? (json_int_t)0 : total(to),
	        "incomplete", uploaded));
	return id;
}

static void
remove_snapshot(json_t *canister, const char *id)
{
	FB_AUTO_FREE char *dir = icp_snapshot_dir(canister, id);
	struct fb_error ignored = { 0 };

	(void)json_object_del(json_object_get(canister, "snapshots"), id);
	(void)!fb_io_remove_tree(dir, &ignored);
}

/* The oldest one that was there before. */
static void
vanish(json_t *canister, const char *keep)
{
	json_t *all = json_object_get(canister, "snapshots");
	const char *first = json_object_iter_key(json_object_iter(all));

	if (first != NULL && strcmp(first, keep) != 0) {
		FB_AUTO_FREE char *id = fb_strdup(first);

		remove_snapshot(canister, id);
	}
}

static json_t *
shown(const json_t *snapshot)
{
	return json_pack("{s:O,s:O,s:O}", "snapshot_id",
	    json_object_get(snapshot, "snapshot_id"), "taken_at_timestamp",
	    json_object_get(snapshot, "taken_at_timestamp"),
	    "total_size_bytes", json_object_get(snapshot, "total_size_bytes"));
}

static void
print(json_t *json)
{
	FB_AUTO_FREE char *text = json_dumps(json, JSON_COMPACT);

	fb_buf_add_str(&icp.out, text);
	json_decref(json);
}

void
icp_create(void)
{
	json_t *canister = icp_canister(3), *json;
	const char *of = icp_get(canister, "id");
	FB_AUTO_FREE char *id = NULL;

	icp_must_be_stopped(canister);
	id = icp_add_snapshot(canister, false);
	icp_effect("create", of, id);
	if (icp.replace != NULL) {
		(void)icp_snapshot(canister, icp.replace);
		remove_snapshot(canister, icp.replace);
	}
	if (icp.on[ICP_TWO])
		free(icp_add_snapshot(canister, false));
	if (icp.on[ICP_VANISH])
		vanish(canister, id);
	json = shown(icp_snapshot(canister, id));
	if (icp.on[ICP_WRONG_ID])
		(void)json_object_set_new(json, "snapshot_id",
		    json_string("00000000deadbeef00"));
	if (icp.json)
		print(json);
	else if (icp.quiet)
		fb_buf_add_fmt(&icp.out, "%s\n", icp_get(json, "snapshot_id"));
	else
		fb_buf_add_fmt(&icp.out,
		    "Created snapshot %s for canister %s (%s)\n"
		    "  Timestamp: 2026-01-01 00:00:00 UTC\n  Size: 2 MiB\n",
		    icp_get(json, "snapshot_id"), of, of);
	if (!icp.json)
		json_decref(json);
}

void
icp_list(void)
{
	json_t *canister = icp_canister(3), *list = json_array(), *snapshot;
	const char *of = icp_get(canister, "id"), *id;

	json_object_foreach(
	    json_object_get(canister, "snapshots"), id, snapshot) {
		(void)json_array_append_new(list, shown(snapshot));
		if (icp.quiet)
			fb_buf_add_fmt(&icp.out, "%s\n", id);
		else if (!icp.json)
			fb_buf_add_fmt(&icp.out,
			    "  %s: 2 MiB, taken at 2026-01-01 00:00:00 UTC\n",
			    id);
	}
	if (!icp.json && json_array_size(list) == 0)
		fb_buf_add_fmt(&icp.out,
		    "No snapshots found for canister %s (%s)\n", of, of);
	if (icp.json)
		print(json_pack("{s:O}", "snapshots", list));
	json_decref(list);
}

void
icp_restore(void)
{
	json_t *canister = icp_canister(3), *snapshot;
	const char *id = icp.count > 4 ? icp.words[4] : "";
	FB_AUTO_FREE char *to = icp_canister_dir(canister);
	FB_AUTO_FREE char *from = icp_snapshot_dir(canister, id);

	if (strcmp(icp_get(canister, "status"), "Running") == 0)
		icp_complain("a restore of a canister that runs");
	icp_must_be_stopped(canister);
	snapshot = icp_snapshot(canister, id);
	if (json_is_true(json_object_get(snapshot, "incomplete")))
		icp_error("The replica returned a rejection error: reject code "
		          "CanisterError, reject message The snapshot is not "
		          "complete, error code None");
	icp_effect("restore", icp_get(canister, "id"), id);
	copy_blobs(from, to);
	(void)fprintf(stderr, "Restored canister %s (%s) from snapshot %s\n",
	    icp_get(canister, "id"), icp_get(canister, "id"), id);
}

void
icp_delete(void)
{
	json_t *canister = icp_canister(3);
	const char *id = icp.count > 4 ? icp.words[4] : "";

	(void)icp_snapshot(canister, id);
	icp_effect("delete", icp_get(canister, "id"), id);
	remove_snapshot(canister, id);
	(void)fprintf(stderr, "Deleted snapshot %s from canister %s (%s)\n", id,
	    icp_get(canister, "id"), icp_get(canister, "id"));
}

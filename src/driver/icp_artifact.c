/* A snapshot's bytes: downloaded into the spool, summed by canic's rule, and
 * read from there. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/lock.h"
#include "fleetbak/base/mem.h"

#include "canic_internal.h"
#include "definition.h"
#include "icp_internal.h"
#include "tree_internal.h"

/* The last one begins anew. */
#define TRIES 4

/* What a run that died has left at work is waited for so long. */
#define LOCK_MS 60000

/* -------------------------------------------------------------- download */

/* Is there anything but the command's own lock? */
static bool
has_files(const char *dir)
{
	FB_AUTO_LISTING char **names = NULL;
	struct fb_error ignored = { 0 };

	if (fb_io_list(dir, &names, &ignored) < 0)
		return false;
	for (char **name = names; *name != NULL; name++)
		if (strcmp(*name, ".lock") != 0)
			return true;
	return false;
}

static int
download_once(struct fb_icp *icp, const char *machine,
    const struct fb_icp_record *record, const char *dir, bool resume,
    int lock_fd, struct fb_error *err)
{
	const char *const words[] = { "snapshot", "download", machine,
		fb_icp_fact(record->facts, "snapshot"), "--output", dir,
		resume ? "--resume" : NULL, NULL };
	struct fb_icp_how how = fb_icp_plain(icp->transfer_ms);
	int rc = FB_OK;

	how.lock_fd = lock_fd;
	if (!resume) {
		rc = fb_io_remove_tree(dir, err);
		if (rc == FB_OK)
			rc = fb_io_mkdirs(dir, 0700, err);
		if (rc == FB_OK)
			rc = fb_icp_record_set(
			    record, "downloading", json_true(), err);
	}
	return rc < 0 ? rc : fb_icp_run(icp, words, &how, NULL, err);
}

static int
download_locked(struct fb_icp *icp, const char *machine,
    const struct fb_icp_record *record, const char *dir, int lock_fd,
    struct fb_error *err)
{
	int rc = FB_OK;

	for (int i = 0; i < TRIES; i++) {
		bool begun = json_is_true(
		    json_object_get(record->facts, "downloading"));

		*err = (struct fb_error){ 0 };
		rc = download_once(icp, machine, record, dir,
		    i + 1 < TRIES && begun && has_files(dir), lock_fd, err);
		if (rc != FB_EFAILED && rc != FB_EUNKNOWN)
			return rc;
	}
	return rc;
}

/* The snapshot's own document says how long its parts are; it is all that says
 * so. */
static int
check_sizes(const char *dir, struct fb_error *err)
{
	static const char *const parts[] = { "wasm_module", "wasm_memory",
		"stable_memory" };
	FB_AUTO_FREE char *path = fb_format("%s/metadata.json", dir);
	FB_AUTO_JSON json_t *metadata = NULL;
	struct fb_error why = { 0 };
	int rc = fb_icp_read_facts(path, &metadata, &why);

	if (rc < 0)
		return fb_fail_id(err, FB_EPROTO, "E-ICP-ANSWER",
		    "what the icp command has downloaded is no snapshot: %.200s",
		    why.msg);
	for (size_t i = 0; i < FB_COUNT(parts); i++) {
		FB_AUTO_FREE char *key = fb_format("%s_size", parts[i]);
		FB_AUTO_FREE char *part = fb_format("%s/%s.bin", dir, parts[i]);
		const json_t *size = json_object_get(metadata, key);
		struct stat st = { 0 };

		if (!json_is_integer(size) || json_integer_value(size) == 0)
			continue;
		if (lstat(part, &st) != 0 ||
		    st.st_size != json_integer_value(size))
			return fb_fail_id(err, FB_EPROTO, "E-ICP-ANSWER",
			    "the icp command says that it has downloaded a "
			    "snapshot, and '%s' is not whole",
			    parts[i]);
	}
	return FB_OK;
}

static int
set_time(void *arg, const struct fb_tree_node *node, struct fb_error *err)
{
	const struct timespec *times = arg;

	return utimensat(node->dirfd, node->name, times,
	           AT_SYMLINK_NOFOLLOW) == 0
	    ? FB_OK
	    : fb_fail_sys(err, "cannot set the time of '%s'", node->path);
}

/* Whenever it was downloaded: the same snapshot is the same archive. */
static int
set_times(const json_t *facts, const char *dir, struct fb_error *err)
{
	json_int_t taken =
	    json_integer_value(json_object_get(facts, "taken_ns"));
	struct timespec times[2] = { { .tv_sec = taken / 1000000000,
		.tv_nsec = taken % 1000000000 } };
	struct fb_tree_walk walk = { .visit = set_time, .arg = times };

	times[1] = times[0];
	return fb_tree_walk(dir, &walk, err);
}

/* What canic would write down of it. */
static int
sum(const struct fb_icp_record *record, const char *dir, struct fb_error *err)
{
	const char *wanted = fb_icp_fact(record->facts, "checksum");
	char hex[FB_DIGEST_HEX_SIZE];
	struct fb_digest digest;
	uint64_t size = 0;
	int rc = fb_canic_sum(dir, &digest, &size, err);

	if (rc == FB_OK)
		rc = set_times(record->facts, dir, err);
	if (rc < 0)
		return rc;
	fb_digest_hex(&digest, hex);
	if (wanted[0] != '\0' && strcmp(wanted, hex) != 0)
		return fb_fail_id(err, FB_ECORRUPT, "E-ICP-CHECKSUM",
		    "the snapshot was downloaded once more, and is another "
		    "one than before");
	(void)json_object_set_new(
	    record->facts, "bytes", json_integer((json_int_t)size));
	(void)json_object_set_new(
	    record->facts, "downloading", json_false());
	(void)json_object_set_new(record->facts, "whole", json_true());
	return fb_icp_record_set(record, "checksum", json_string(hex), err);
}

static int
download(struct fb_icp *icp, const char *machine,
    const struct fb_icp_record *record, const char *dir, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_format("%s/lock", record->dir);
	FB_AUTO_CLOSE int lock_fd = -1;
	struct fb_error ignored = { 0 };
	int rc;

	if (json_is_true(json_object_get(record->facts, "whole")) &&
	    has_files(dir))
		return FB_OK;
	lock_fd = fb_lock_take(
	    path, LOCK_MS, NULL, "download of a snapshot", err);
	if (lock_fd < 0)
		return lock_fd;
	rc = download_locked(icp, machine, record, dir, lock_fd, err);
	if (rc == FB_OK)
		rc = check_sizes(dir, err);
	if (rc == FB_EPROTO) /* not gone on with: it would be there again */
		(void)!fb_icp_record_set(
		    record, "downloading", json_false(), &ignored);
	return rc < 0 ? rc : sum(record, dir, err);
}

/* ------------------------------------------------------------ definition */

/* What a restore needs to know. */
static json_t *
make_document(const struct fb_icp *icp, const struct fb_machine *machine,
    const json_t *facts)
{
	static const char *const copied[] = { "snapshot", "taken_ns", "size",
		"bytes", "checksum", "module_hash" };
	json_t *document = json_pack("{s:i,s:s,s:s,s:s,s:s}", "format", 1,
	    "canister", machine->id, "role", machine->role, "root", icp->root,
	    "identity",
	    fb_icp_is_fixed(icp, machine->id) ? "fixed" : "relocatable");

	if (machine->parent != NULL)
		(void)json_object_set_new(
		    document, "parent", json_string(machine->parent));
	if (icp->environment != NULL)
		(void)json_object_set_new(document, "environment",
		    json_string(icp->environment));
	if (icp->network != NULL)
		(void)json_object_set_new(
		    document, "network", json_string(icp->network));
	for (size_t i = 0; i < FB_COUNT(copied); i++) {
		json_t *value = json_object_get(facts, copied[i]);

		if (value != NULL)
			(void)json_object_set(document, copied[i], value);
	}
	return document;
}

static int
open_definition(const struct fb_icp *icp, const struct fb_machine *machine,
    const struct fb_icp_record *record, struct fb_artifact **ret_artifact,
    struct fb_error *err)
{
	FB_AUTO_JSON json_t *document =
	    make_document(icp, machine, record->facts);

	return fb_definition_open(record->dir, document, ret_artifact, err);
}

/* -------------------------------------------------------------- snapshot */

struct snapshot {
	struct fb_artifact base;
	char *dir;
	char checksum[FB_DIGEST_HEX_SIZE];
	bool produced;
};

/* What goes into the archive is what was summed. */
static int
snapshot_produce(struct fb_artifact *base, const struct fb_sink *sink,
    struct fb_error *err)
{
	struct snapshot *snapshot = (struct snapshot *)base;
	char hex[FB_DIGEST_HEX_SIZE];
	struct fb_digest digest;
	int rc = fb_canic_pack_tree(snapshot->dir, sink, &digest, err);

	if (rc < 0)
		return rc;
	fb_digest_hex(&digest, hex);
	if (strcmp(hex, snapshot->checksum) != 0)
		return fb_fail_id(err, FB_ECORRUPT, "E-ICP-CHECKSUM",
		    "'%s' changed after it was downloaded", snapshot->dir);
	snapshot->produced = true;
	return FB_OK;
}

/* Once it is read its room is given back; the platform still has it. */
static void
snapshot_close(struct fb_artifact *base)
{
	struct snapshot *snapshot = (struct snapshot *)base;
	struct fb_error ignored = { 0 };

	if (snapshot->produced)
		(void)!fb_io_remove_tree(snapshot->dir, &ignored);
	free(snapshot->dir);
	free(snapshot);
}

static const struct fb_artifact_ops snapshot_ops = {
	.produce = snapshot_produce,
	.close = snapshot_close,
};

int
fb_icp_open_volume(struct fb_driver *base, const struct fb_machine *machine,
    const struct fb_volume *volume, const char *token,
    struct fb_artifact **ret_artifact, struct fb_error *err)
{
	struct fb_icp *icp = (struct fb_icp *)base;
	FB_AUTO_ICP_RECORD struct fb_icp_record record = { 0 };
	FB_AUTO_FREE char *dir = NULL;
	struct snapshot *snapshot;
	int rc;

	if (token == NULL)
		return fb_fail(err, FB_EUNSUP,
		    "icp gives the bytes of snapshots only");
	rc = fb_icp_record_load(icp, machine->id, token, &record, err);
	if (rc == FB_OK && fb_icp_fact(record.facts, "snapshot")[0] == '\0')
		rc = fb_icp_find_by_token(base, machine, token, err);
	if (rc < 0)
		return rc;
	dir = fb_format("%s/artifact", record.dir);
	/* The definition has the checksum, which nobody knows before. */
	if (volume->kind != FB_VOLUME_DEFINITION ||
	    fb_icp_fact(record.facts, "checksum")[0] == '\0')
		rc = download(icp, machine->id, &record, dir, err);
	if (rc < 0)
		return rc;
	if (volume->kind == FB_VOLUME_DEFINITION)
		return open_definition(
		    icp, machine, &record, ret_artifact, err);
	snapshot = fb_alloc(1, sizeof(*snapshot));
	snapshot->base.ops = &snapshot_ops;
	snapshot->dir = FB_STEAL(dir);
	(void)snprintf(snapshot->checksum, sizeof(snapshot->checksum), "%s",
	    fb_icp_fact(record.facts, "checksum"));
	*ret_artifact = &snapshot->base;
	return FB_OK;
}

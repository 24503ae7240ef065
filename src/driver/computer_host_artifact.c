/* A snapshot's disks, read by ranges; and the definition. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/digest.h"

#include "computer_host_internal.h"
#include "local_internal.h"

struct disk {
	struct fb_artifact base;
	struct fb_chost *host;
	char *path;
	char validator[128]; /* of the answer that told its size */
	bool has_digest;     /* the host's own, of all of it */
	struct fb_digest digest;
	struct fb_digester *digester; /* of what was read in order */
	uint64_t digested;
};

/* Where a range goes. */
struct room {
	uint8_t *bytes;
	size_t len, used;
};

static int
take(void *arg, struct fb_span piece, struct fb_error *err)
{
	struct room *room = arg;

	if (piece.len > room->len - room->used)
		return fb_fail(err, FB_EPROTO, "more came than was asked for");
	memcpy(room->bytes + room->used, piece.ptr, piece.len);
	room->used += piece.len;
	return FB_OK;
}

/* The host has no tag for it and counts its age in seconds: the size and the
 * date must stay, and the digest decides where it is known. */
static int
check_digest(struct disk *disk, uint64_t offset, struct fb_span bytes,
    struct fb_error *err)
{
	struct fb_digest digest;

	if (offset != disk->digested)
		return FB_OK;
	fb_digester_add(disk->digester, bytes);
	disk->digested += bytes.len;
	if (disk->digested < disk->base.size || !disk->has_digest)
		return FB_OK;
	fb_digester_peek(disk->digester, &digest);
	if (fb_digest_cmp(&digest, &disk->digest) == 0)
		return FB_OK;
	(void)fb_fail_id(err, FB_EFAILED, "E-CHOST-DIGEST",
	    "what came of '%s' is not what the host hashed", disk->path);
	return fb_hint(err, "the disk or the memory of the host may be bad; "
			    "run the command again");
}

static int
disk_read(struct fb_artifact *artifact, uint64_t offset, void *bytes,
    size_t len, struct fb_error *err)
{
	struct disk *disk = (struct disk *)artifact;
	struct room room = { bytes, len, 0 };
	struct fb_api_fetch fetch = { .path = disk->path,
		.what = "artifact",
		.from = offset,
		.end = offset + len,
		.total = artifact->size,
		.sink = take,
		.arg = &room };
	int rc;

	if (len == 0)
		return FB_OK;
	memcpy(
	    fetch.validator, disk->validator, sizeof(fetch.validator));
	rc = fb_api_get_bytes(disk->host->api, &fetch, err);
	if (rc == FB_OK && room.used != len)
		rc = fb_fail(err, FB_EPROTO,
		    "'%s' ended at %" PRIu64, disk->path, offset + room.used);
	return rc < 0 ? rc
	              : check_digest(disk, offset,
	                    (struct fb_span){ bytes, len }, err);
}

/* It does not tell its holes. */
static int
disk_extent(struct fb_artifact *artifact, uint64_t from, uint64_t *ret_start,
    uint64_t *ret_end, struct fb_error *err)
{
	(void)err;
	*ret_end = artifact->size;
	*ret_start = from < artifact->size ? from : artifact->size;
	return FB_OK;
}

static void
disk_close(struct fb_artifact *artifact)
{
	struct disk *disk = (struct disk *)artifact;

	fb_digester_free(disk->digester);
	free(disk->path);
	free(disk);
}

static const struct fb_artifact_ops disk_ops = {
	.extent = disk_extent,
	.read = disk_read,
	.close = disk_close,
};

static void
find_digest(struct disk *disk, const char *sid, const char *id)
{
	FB_AUTO_FREE char *key = fb_format("%s/%s", sid, id);
	struct fb_error ignored = { 0 };
	const char *hex;

	(void)pthread_mutex_lock(&disk->host->lock);
	hex = json_string_value(json_object_get(disk->host->digests, key));
	disk->has_digest = hex != NULL &&
	    fb_digest_parse(
	        (struct fb_span){ (const uint8_t *)hex, strlen(hex) },
	        &disk->digest, &ignored) == FB_OK;
	(void)pthread_mutex_unlock(&disk->host->lock);
}

/* Its size and its date, by its first byte. */
static int
look(struct disk *disk, struct fb_error *err)
{
	uint8_t byte;
	struct room room = { &byte, 1, 0 };
	struct fb_api_fetch fetch = { .path = disk->path,
		.what = "artifact",
		.end = 1,
		.total = UINT64_MAX,
		.sink = take,
		.arg = &room };
	int rc = fb_api_get_bytes(disk->host->api, &fetch, err);

	if (rc < 0)
		return rc;
	if (fetch.total == UINT64_MAX || fetch.total > INT64_MAX ||
	    room.used != 1)
		return fb_fail(err, FB_EPROTO,
		    "computer-host does not tell the size of '%s'",
		    disk->path);
	disk->base.size = fetch.total;
	memcpy(
	    disk->validator, fetch.validator, sizeof(disk->validator));
	return FB_OK;
}

int
fb_chost_open_disk(struct fb_chost *host, const char *sid, const char *name,
    struct fb_artifact **ret_artifact, struct fb_error *err)
{
	FB_AUTO_FREE char *id = fb_format("disk-%s", name);
	FB_AUTO_FREE char *rest = fb_format("/artifacts/%s", id);
	struct disk *disk;
	int rc;

	if (!fb_chost_disk_ok(name))
		return fb_fail(err, FB_ENOTFOUND,
		    "a machine of computer-host has no disk '%.64s'", name);
	disk = fb_alloc(1, sizeof(*disk));
	disk->base.ops = &disk_ops;
	disk->host = host;
	disk->path = fb_chost_snapshot_path(sid, rest);
	disk->digester = fb_digester_new();
	find_digest(disk, sid, id);
	rc = look(disk, err);
	if (rc < 0) {
		disk_close(&disk->base);
		return rc;
	}
	*ret_artifact = &disk->base;
	return FB_OK;
}

/* ---------------------------------------------------------- definition */

/* It is written to a directory of its own, which goes with it. */
struct definition {
	struct fb_artifact base;
	char *dir; /* NULL: there is none */
	struct fb_artifact *tree;
};

static int
definition_produce(struct fb_artifact *artifact, const struct fb_sink *sink,
    struct fb_error *err)
{
	struct fb_artifact *tree = ((struct definition *)artifact)->tree;

	return tree->ops->produce(tree, sink, err);
}

static void
definition_close(struct fb_artifact *artifact)
{
	struct definition *definition = (struct definition *)artifact;
	struct fb_error ignored = { 0 };

	fb_artifact_closep(&definition->tree);
	if (definition->dir != NULL)
		(void)!fb_io_remove_tree(definition->dir, &ignored);
	free(definition->dir);
	free(definition);
}

static const struct fb_artifact_ops definition_ops = {
	.produce = definition_produce,
	.close = definition_close,
};

/* In the spool, where whatever a crash leaves is looked for. */
static int
make_dir(const struct fb_chost *host, char **ret_dir, struct fb_error *err)
{
	struct stat st;
	bool spool = host->spool != NULL && stat(host->spool, &st) == 0 &&
	    S_ISDIR(st.st_mode);
	char *dir = fb_format("%s/fleetbak-definition-XXXXXX",
	    spool ? host->spool : "/tmp");

	if (mkdtemp(dir) != NULL) {
		*ret_dir = dir;
		return FB_OK;
	}
	(void)fb_fail_sys(err, "cannot make the directory '%s'", dir);
	free(dir);
	return err->code;
}

static int
open_definition(struct fb_chost *host, const char *id,
    struct fb_artifact **ret_artifact, struct fb_error *err)
{
	static const char *const files[] = { "machine.json", NULL };
	static const struct timespec times[2] = { { 0 }, { 0 } };
	struct definition *definition = fb_alloc(1, sizeof(*definition));
	FB_AUTO_JSON json_t *document = NULL;
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	FB_AUTO_FREE char *path = NULL;
	int rc = fb_chost_definition(host, id, &document, err);

	definition->base.ops = &definition_ops;
	if (rc == FB_OK)
		rc = make_dir(host, &definition->dir, err);
	if (rc == FB_OK) {
		fb_json_add(&bytes, document);
		fb_buf_add_str(&bytes, "\n");
		path = fb_format("%s/machine.json", definition->dir);
		rc = fb_io_replace(path, fb_buf_span(&bytes), 0600, err);
	}
	if (rc < 0) {
		definition_close(&definition->base);
		return rc;
	}
	/* The same machine is the same archive in each night. */
	(void)utimensat(AT_FDCWD, path, times, 0);
	definition->tree =
	    fb_local_tree_artifact(definition->dir, NULL, files);
	*ret_artifact = &definition->base;
	return FB_OK;
}

int
fb_chost_open_volume(struct fb_driver *base, const struct fb_machine *machine,
    const struct fb_volume *volume, const char *token,
    struct fb_artifact **ret_artifact, struct fb_error *err)
{
	struct fb_chost *host = (struct fb_chost *)base;
	char sid[FB_CHOST_SID_SIZE];
	int rc;

	if (volume->kind == FB_VOLUME_DEFINITION)
		return open_definition(host, machine->id, ret_artifact, err);
	if (token == NULL)
		return fb_fail(err, FB_EUNSUP,
		    "computer-host gives the bytes of snapshots only");
	rc = fb_chost_find_sid(host, machine->id, token, sid, err);
	return rc < 0 ? rc
	              : fb_chost_open_disk(
	                    host, sid, volume->name, ret_artifact, err);
}

/* -------------------------------------------------- what must be there */

/* What is written is on the host already, or it is not the same. */
struct equal {
	struct fb_target base;
	struct fb_artifact *disk;
	uint64_t next; /* all before it was compared */
};

static int
differs(struct fb_error *err)
{
	(void)fb_fail_id(err, FB_ECONFLICT, "E-CHOST-DIFFERS",
	    "the snapshot on the host is not what was backed up");
	return fb_hint(err, "remove it there, and restore again: then the "
			    "bytes come from the repository");
}

/* [offset, offset + len) as `bytes`, NULL: zeros. */
static int
compare(struct equal *equal, uint64_t offset, const uint8_t *bytes,
    uint64_t len, struct fb_error *err)
{
	size_t step = (size_t)1 << 20;
	FB_AUTO_FREE uint8_t *there = fb_alloc(step, 1);
	FB_AUTO_FREE uint8_t *zeros = NULL;

	if (bytes == NULL)
		zeros = fb_alloc(step, 1);
	for (uint64_t done = 0; done < len; done += step) {
		int rc;

		if (len - done < step)
			step = (size_t)(len - done);
		rc = disk_read(equal->disk, offset + done, there, step, err);
		if (rc < 0)
			return rc;
		if (memcmp(there, bytes != NULL ? bytes + done : zeros,
		        step) != 0)
			return differs(err);
	}
	return FB_OK;
}

/* What is left out between two writes of one that is fresh is zeros. */
static int
equal_reach(struct equal *equal, uint64_t offset, struct fb_error *err)
{
	int rc = FB_OK;

	if (equal->base.fresh && offset > equal->next)
		rc = compare(
		    equal, equal->next, NULL, offset - equal->next, err);
	if (rc == FB_OK && offset > equal->next)
		equal->next = offset;
	return rc;
}

static int
equal_write(struct fb_target *target, uint64_t offset, const void *bytes,
    size_t len, struct fb_error *err)
{
	struct equal *equal = (struct equal *)target;
	int rc = equal_reach(equal, offset, err);

	if (rc == FB_OK)
		rc = compare(equal, offset, bytes, len, err);
	if (rc == FB_OK && offset + len > equal->next)
		equal->next = offset + len;
	return rc;
}

static int
equal_zero(struct fb_target *target, uint64_t offset, uint64_t len,
    struct fb_error *err)
{
	struct equal *equal = (struct equal *)target;
	int rc = equal_reach(equal, offset, err);

	if (rc == FB_OK)
		rc = compare(equal, offset, NULL, len, err);
	if (rc == FB_OK && offset + len > equal->next)
		equal->next = offset + len;
	return rc;
}

static int
equal_read(struct fb_target *target, uint64_t offset, void *bytes, size_t len,
    struct fb_error *err)
{
	return disk_read(
	    ((struct equal *)target)->disk, offset, bytes, len, err);
}

static int
equal_extent(struct fb_target *target, uint64_t from, uint64_t *ret_start,
    uint64_t *ret_end, struct fb_error *err)
{
	return disk_extent(((struct equal *)target)->disk, from, ret_start,
	    ret_end, err);
}

static int
equal_sync(struct fb_target *target, struct fb_error *err)
{
	return equal_reach((struct equal *)target, target->size, err);
}

static void
equal_close(struct fb_target *target)
{
	struct equal *equal = (struct equal *)target;

	fb_artifact_closep(&equal->disk);
	free(equal);
}

static const struct fb_target_ops equal_ops = {
	.extent = equal_extent,
	.read = equal_read,
	.write = equal_write,
	.zero = equal_zero,
	.sync = equal_sync,
	.close = equal_close,
};

struct fb_target *
fb_chost_target_equal(struct fb_artifact *disk, bool fresh)
{
	struct equal *equal = fb_alloc(1, sizeof(*equal));

	equal->base.ops = &equal_ops;
	equal->base.size = disk->size;
	equal->base.fresh = fresh;
	equal->disk = disk;
	/* Several threads read, in no order: nothing to hash. */
	((struct disk *)disk)->digested = UINT64_MAX;
	return &equal->base;
}

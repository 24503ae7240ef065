/* A snapshot's disks, read by ranges; and the definition. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/digest.h"

#include "computer_host_internal.h"
#include "definition.h"
#include "equal.h"

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

/* ------------------------------------------------------------- volumes */

static int
open_definition(struct fb_chost *host, const char *id,
    struct fb_artifact **ret_artifact, struct fb_error *err)
{
	FB_AUTO_JSON json_t *document = NULL;
	int rc = fb_chost_definition(host, id, &document, err);

	return rc < 0 ? rc
	              : fb_definition_open(
	                    host->spool, document, ret_artifact, err);
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

/* What is written is on the host already, or it is not the same. */
struct fb_target *
fb_chost_target_equal(struct fb_artifact *disk, bool fresh)
{
	static const struct fb_equal_words words = { "E-CHOST-DIFFERS",
		"the snapshot on the host is not what was backed up",
		"remove it there, and restore again: then the bytes come from "
		"the repository" };

	/* Several threads read, in no order: nothing to hash. */
	((struct disk *)disk)->digested = UINT64_MAX;
	return fb_target_equal(disk, fresh, &words);
}

#include "libvirt_record.h"

#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/digest.h"
#include "fleetbak/format/json.h"
#include "libvirt_files.h"

#define RECORD     "snapshot"
#define RECORD_MAX ((size_t)1 << 20)

/* So many places of a disk are compared, of so many bytes each. */
#define SAMPLES    8
#define SAMPLE_LEN ((size_t)4096)

/* While it is the same, nobody has written to the file; "": it is none, and
 * times tell nothing. */
static int
stamp_of(const struct fb_libvirt_driver *driver, const char *path,
    char **ret_stamp, struct fb_error *err)
{
	struct fb_libvirt_file file = { 0 };
	int rc = path[0] == '/'
	    ? fb_libvirt_file_look(driver, path, &file, err)
	    : FB_OK;

	if (rc == FB_OK)
		*ret_stamp = fb_strdup(file.stamp);
	return rc;
}

/*
 * The record.
 */

static void
put(json_t *object, const char *key, const char *text)
{
	(void)json_object_set_new(object, key, json_string(text));
}

static uint64_t
size_of(const struct fb_machine *machine, const char *target)
{
	for (size_t i = 0; i < machine->volume_count; i++)
		if (machine->volumes[i].kind == FB_VOLUME_DISK &&
		    strcmp(machine->volumes[i].name, target) == 0)
			return machine->volumes[i].size;
	return 0;
}

/* What it is read from: QEMU's socket, or its image while that stands still. */
static int
put_export(const struct fb_libvirt_made *made,
    const struct fb_domain_disk *disk, json_t *file, struct fb_error *err)
{
	FB_AUTO_FREE char *socket = fb_libvirt_socket(
	    made->driver, made->machine->id, made->verb->token);
	FB_AUTO_FREE char *path = NULL;
	FB_AUTO_FREE char *stamp = NULL;
	bool job = made->kind == FB_LIBVIRT_JOB;
	int rc = FB_OK;

	if (job)
		path = fb_format(
		    "nbd+unix:///%s?socket=%s", disk->target, socket);
	else
		rc = fb_libvirt_image(made->connection, disk, &path, err);
	if (rc == FB_OK)
		rc = stamp_of(made->driver, path, &stamp, err);
	if (rc < 0)
		return rc;
	put(file, "type",
	    job                                     ? "nbd"
	        : strcmp(disk->type, "block") == 0 ? "block"
	                                           : "file");
	put(file, "export_path", path);
	put(file, "stamp", stamp);
	return FB_OK;
}

int
fb_libvirt_write_record(
    const struct fb_libvirt_made *made, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_libvirt_part(made->driver,
	    made->machine->id, made->verb->token, RECORD);
	FB_AUTO_JSON json_t *record = json_object();
	FB_AUTO_BUF struct fb_buf text = { 0 };
	json_t *files = json_array();

	(void)json_object_set_new(
	    record, "for_backup", json_boolean(made->verb->for_backup));
	(void)json_object_set_new(
	    record, "for_export", json_boolean(made->verb->for_export));
	(void)json_object_set_new(record, "files", files);
	for (size_t i = 0; made->wanted[i] != NULL; i++) {
		const struct fb_domain_disk *disk =
		    fb_domain_disk(made->domain, made->wanted[i]);
		json_t *file = json_object();

		(void)json_array_append_new(files, file);
		put(file, "volume", made->wanted[i]);
		(void)json_object_set_new(file, "size",
		    json_integer((json_int_t)size_of(
		        made->machine, made->wanted[i])));
		if (disk != NULL && made->verb->for_export &&
		    put_export(made, disk, file, err) < 0)
			return err->code;
	}
	fb_json_add(&text, record);
	return fb_io_replace(path, fb_buf_span(&text), 0600, err);
}

struct export {
	char *path, *stamp;
	uint64_t size; /* 0: not known */
};

static void
release_export(struct export *export)
{
	free(export->path);
	free(export->stamp);
}
#define AUTO_EXPORT FB_CLEANUP(release_export)

static int
take_export(const json_t *file, struct export *ret, struct fb_error *err)
{
	static const char what[] = "the record of a capture";
	const char *path, *stamp;
	int rc = fb_json_u64(
	    file, "size", what, INT64_MAX, &ret->size, err);

	if (rc == FB_OK && json_object_get(file, "export_path") == NULL)
		return fb_fail(err, FB_EUNSUP,
		    "the capture was not made to be read from");
	if (rc == FB_OK)
		rc = fb_json_str(file, "export_path", what, &path, err);
	if (rc == FB_OK)
		rc = fb_json_str(file, "stamp", what, &stamp, err);
	if (rc < 0)
		return rc;
	ret->path = fb_strdup(path);
	ret->stamp = fb_strdup(stamp);
	return FB_OK;
}

static int
find_export(const struct fb_libvirt_driver *driver, const char *uuid,
    const char *token, const char *target, struct export *ret,
    struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_libvirt_part(driver, uuid, token, RECORD);
	FB_AUTO_BUF struct fb_buf text = { 0 };
	FB_AUTO_JSON json_t *record = NULL;
	json_t *files = NULL, *file;
	size_t i;
	int rc = fb_io_read_file(path, RECORD_MAX, &text, err);

	if (rc == FB_OK)
		rc = fb_json_parse(
		    fb_buf_span(&text), RECORD_MAX, path, &record, err);
	if (rc == FB_OK)
		rc = fb_json_array(record, "files", path, &files, err);
	if (rc < 0)
		return rc;
	json_array_foreach(files, i, file)
	{
		const char *is =
		    json_string_value(json_object_get(file, "volume"));

		if (is != NULL && strcmp(is, target) == 0)
			return take_export(file, ret, err);
	}
	return fb_fail(err, FB_ENOTFOUND, "the capture has no disk '%s'",
	    target);
}

/*
 * The proof.
 */

struct proven {
	struct fb_artifact base;
	const struct fb_libvirt_driver *driver;
	struct fb_artifact *disk;
	struct export export;
	uint64_t places[SAMPLES];
	size_t lengths[SAMPLES];
	struct fb_digest digests[SAMPLES];
	size_t count;
};

static int
check_stamp(const struct proven *proven, struct fb_error *err)
{
	const struct export *export = &proven->export;
	FB_AUTO_FREE char *now = NULL;
	int rc = stamp_of(proven->driver, export->path, &now, err);

	return rc < 0 || strcmp(now, export->stamp) == 0
	    ? rc
	    : fb_fail_id(err, FB_EFAILED, "E-EXPORT",
	          "somebody wrote to '%s' while it was to stand still",
	          export->path);
}

static int
read_sample(const struct proven *proven, size_t i, struct fb_digest *ret,
    struct fb_error *err)
{
	FB_AUTO_FREE uint8_t *bytes = fb_alloc(SAMPLE_LEN, 1);
	int rc = proven->disk->ops->read(proven->disk, proven->places[i],
	    bytes, proven->lengths[i], err);

	if (rc == FB_OK)
		fb_digest_of(
		    (struct fb_span){ bytes, proven->lengths[i] }, ret);
	return rc;
}

/* The first data from each eighth on. */
static int
take_samples(struct proven *proven, struct fb_error *err)
{
	struct fb_artifact *disk = proven->disk;
	uint64_t from = 0;
	int rc = FB_OK;

	for (size_t i = 0; rc == FB_OK && i < SAMPLES; i++) {
		uint64_t start, end, least = disk->size / SAMPLES * i;

		if (from < least)
			from = least;
		rc = disk->ops->extent(disk, from, &start, &end, err);
		if (rc < 0 || start == end)
			break;
		proven->places[proven->count] = start;
		proven->lengths[proven->count] = end - start < SAMPLE_LEN
		    ? (size_t)(end - start)
		    : SAMPLE_LEN;
		from = start + SAMPLE_LEN;
		rc = read_sample(proven, proven->count,
		    &proven->digests[proven->count], err);
		proven->count++;
	}
	return rc;
}

static int
proven_extent(struct fb_artifact *base, uint64_t from, uint64_t *ret_start,
    uint64_t *ret_end, struct fb_error *err)
{
	struct proven *proven = (struct proven *)base;

	return proven->disk->ops->extent(
	    proven->disk, from, ret_start, ret_end, err);
}

static int
proven_read(struct fb_artifact *base, uint64_t offset, void *bytes,
    size_t len, struct fb_error *err)
{
	struct proven *proven = (struct proven *)base;

	return proven->disk->ops->read(proven->disk, offset, bytes, len, err);
}

static int
proven_changed(struct fb_artifact *base, const char *since,
    struct fb_ranges *ret_changed, struct fb_error *err)
{
	struct proven *proven = (struct proven *)base;

	return proven->disk->ops->changed_blocks(
	    proven->disk, since, ret_changed, err);
}

/* What was given up for another reason says so when it is read. */
static int
proven_prove(struct fb_artifact *base, struct fb_error *err)
{
	struct proven *proven = (struct proven *)base;
	int rc = FB_OK;

	for (size_t i = 0; rc == FB_OK && i < proven->count; i++) {
		struct fb_digest now;

		rc = read_sample(proven, i, &now, err);
		if (rc == FB_OK &&
		    fb_digest_cmp(&now, &proven->digests[i]) != 0)
			rc = fb_fail_id(err, FB_EFAILED, "E-EXPORT",
			    "'%s' does not stand still: at %llu it is not "
			    "what it was",
			    proven->export.path,
			    (unsigned long long)proven->places[i]);
	}
	return rc < 0 ? rc : check_stamp(proven, err);
}

static void
proven_close(struct fb_artifact *base)
{
	struct proven *proven = (struct proven *)base;

	proven->disk->ops->close(proven->disk);
	release_export(&proven->export);
	free(proven);
}

static const struct fb_artifact_ops plain_ops = {
	.extent = proven_extent,
	.read = proven_read,
	.prove = proven_prove,
	.close = proven_close,
};

static const struct fb_artifact_ops changes_ops = {
	.extent = proven_extent,
	.read = proven_read,
	.changed_blocks = proven_changed,
	.prove = proven_prove,
	.close = proven_close,
};

int
fb_libvirt_prove(const struct fb_libvirt_driver *driver, const char *uuid,
    const char *token, const char *target, struct fb_artifact *owned_disk,
    struct fb_artifact **ret_artifact, struct fb_error *err)
{
	struct proven *proven = fb_alloc(1, sizeof(*proven));
	FB_AUTO_ARTIFACT struct fb_artifact *base = &proven->base;
	int rc;

	proven->base = *owned_disk;
	proven->base.ops = owned_disk->ops->changed_blocks != NULL
	    ? &changes_ops
	    : &plain_ops;
	proven->driver = driver;
	proven->disk = owned_disk;
	rc = find_export(driver, uuid, token, target, &proven->export, err);
	if (rc == FB_OK)
		rc = check_stamp(proven, err);
	if (rc == FB_OK && proven->export.size != 0 &&
	    proven->export.size != owned_disk->size)
		rc = fb_fail_id(err, FB_EFAILED, "E-EXPORT",
		    "'%s' has %llu bytes, and the disk %llu",
		    proven->export.path, (unsigned long long)owned_disk->size,
		    (unsigned long long)proven->export.size);
	if (rc == FB_OK)
		rc = take_samples(proven, err);
	if (rc < 0)
		return rc;
	*ret_artifact = FB_STEAL(base);
	return FB_OK;
}

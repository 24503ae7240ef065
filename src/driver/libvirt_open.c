/* Reading the volumes of a domain: from a capture, or from its images while
 * it is off. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "libvirt_checkpoint.h"
#include "libvirt_files.h"
#include "libvirt_internal.h"
#include "libvirt_overlay.h"
#include "libvirt_record.h"
#include "local_internal.h"

int
fb_libvirt_image(virConnectPtr connection, const struct fb_domain_disk *disk,
    char **ret_path, struct fb_error *err)
{
	virStoragePoolPtr pool;
	virStorageVolPtr volume = NULL;
	char *path = NULL;

	if (disk->pool == NULL || strcmp(disk->type, "volume") != 0) {
		*ret_path = fb_strdup(disk->source);
		return FB_OK;
	}
	pool = fb_libvirt.virStoragePoolLookupByName(connection, disk->pool);
	if (pool != NULL)
		volume =
		    fb_libvirt.virStorageVolLookupByName(pool, disk->volume);
	if (volume != NULL)
		path = fb_libvirt.virStorageVolGetPath(volume);
	if (path == NULL)
		(void)fb_libvirt_fail(err, false,
		    "cannot find the volume '%s' of pool '%s'", disk->volume,
		    disk->pool);
	else
		*ret_path = fb_strdup(path);
	free(path);
	if (volume != NULL)
		(void)fb_libvirt.virStorageVolFree(volume);
	if (pool != NULL)
		(void)fb_libvirt.virStoragePoolFree(pool);
	return *ret_path != NULL ? FB_OK : err->code;
}

/* Times do not tell of a device, so that this process is all that can know. */
static int
add_stamp(const struct fb_libvirt_driver *driver, const char *path,
    struct fb_buf *stamp, struct fb_error *err)
{
	struct fb_libvirt_file file;
	int rc = fb_libvirt_file_look(driver, path, &file, err);

	if (rc < 0)
		return rc;
	if (file.stamp[0] != '\0')
		fb_buf_add_fmt(stamp, "%s\n", file.stamp);
	else
		fb_buf_add_fmt(stamp, "%lld %lld\n", (long long)getpid(),
		    (long long)driver->opened_ns);
	return FB_OK;
}

int
fb_libvirt_stamp(const struct fb_libvirt_driver *driver,
    const struct fb_libvirt_ref *ref, struct fb_buf *ret_stamp,
    struct fb_error *err)
{
	FB_AUTO_DOMAIN struct fb_domain defined = { 0 };
	int rc = fb_libvirt_read(ref->domain, false, &defined, err);

	for (size_t i = 0; rc == FB_OK && i < defined.disk_count; i++) {
		const struct fb_domain_disk *disk = &defined.disks[i];
		FB_AUTO_FREE char *path = NULL;

		if (disk->device != FB_DOMAIN_DISK || disk->why != NULL ||
		    disk->network)
			continue;
		rc = fb_libvirt_image(ref->connection, disk, &path, err);
		if (rc == FB_OK)
			rc = add_stamp(driver, path, ret_stamp, err);
	}
	return rc;
}

/* The image of a domain that is off; while it is read it cannot start. */
static int
open_image(struct fb_libvirt_driver *driver, const char *uuid,
    const char *target, struct fb_libvirt_changes *changes,
    struct fb_artifact **ret_artifact, struct fb_error *err)
{
	FB_AUTO_REF struct fb_libvirt_ref ref = { 0 };
	FB_AUTO_DOMAIN struct fb_domain domain = { 0 };
	FB_AUTO_FREE char *path = NULL;
	const struct fb_domain_disk *disk;
	int state, rc = fb_libvirt_find(driver, uuid, &ref, err);

	if (rc == FB_OK)
		rc = fb_libvirt_state(ref.domain, &state, err);
	if (rc == FB_OK && !fb_libvirt_is_off(state))
		rc = fb_fail(err, FB_ECONFLICT,
		    "it is not off, so its images cannot be read");
	if (rc == FB_OK)
		rc = fb_libvirt_read(ref.domain, false, &domain, err);
	if (rc < 0)
		return rc;
	disk = fb_domain_disk(&domain, target);
	if (disk == NULL || disk->why != NULL || disk->network)
		return fb_fail(err, FB_ENOTFOUND,
		    "it has no disk '%s' that could be read", target);
	rc = fb_libvirt_image(ref.connection, disk, &path, err);
	return rc < 0
	    ? rc
	    : fb_libvirt_read_image(driver->far, path, disk->format, changes,
	          ret_artifact, err);
}

/* What the domain does not write could wait until it is up again. */
static int
open_definition(struct fb_libvirt_driver *driver, const char *uuid,
    const char *token, struct fb_artifact **ret_artifact, struct fb_error *err)
{
	FB_AUTO_FREE char *place =
	    fb_libvirt_part(driver, uuid, token, FB_LIBVIRT_DEFINITION);
	FB_AUTO_REF struct fb_libvirt_ref ref = { 0 };
	int rc = fb_libvirt_find(driver, uuid, &ref, err);

	if (rc == FB_OK)
		rc = fb_libvirt_keep_kernel(driver, ref.domain, place, err);
	if (rc == FB_OK)
		*ret_artifact = fb_local_tree_artifact(place, NULL, NULL);
	return rc;
}

static int
open_job(struct fb_libvirt_driver *driver, const char *uuid,
    const char *target, const char *token, struct fb_libvirt_changes *changes,
    struct fb_artifact **ret_artifact, struct fb_error *err)
{
	FB_AUTO_FREE char *socket = fb_libvirt_socket(driver, uuid, token);
	struct fb_artifact *disk = NULL;
	int rc = fb_libvirt_begin_watch(driver, err);

	if (rc == FB_OK)
		rc = fb_libvirt_read_job(
		    driver->far, socket, target, changes, &disk, err);
	if (rc == FB_OK)
		*ret_artifact = fb_libvirt_watch(driver, uuid, disk);
	return rc;
}

static int
open_frozen(struct fb_libvirt_driver *driver, const char *uuid,
    const char *target, const char *token, enum fb_libvirt_kind kind,
    struct fb_artifact **ret_artifact, struct fb_error *err)
{
	FB_AUTO_CHANGES struct fb_libvirt_changes changes = { 0 };
	int rc = fb_libvirt_read_changes(
	    driver, uuid, token, target, &changes, err);

	if (rc < 0)
		return rc;
	if (kind == FB_LIBVIRT_OVERLAY)
		return fb_libvirt_read_below(
		    driver, uuid, target, &changes, ret_artifact, err);
	return kind == FB_LIBVIRT_JOB
	    ? open_job(
	          driver, uuid, target, token, &changes, ret_artifact, err)
	    : open_image(
	          driver, uuid, target, &changes, ret_artifact, err);
}

int
fb_libvirt_open_volume(struct fb_driver *base, const struct fb_machine *machine,
    const struct fb_volume *volume, const char *token,
    struct fb_artifact **ret_artifact, struct fb_error *err)
{
	struct fb_libvirt_driver *driver = (struct fb_libvirt_driver *)base;
	struct fb_libvirt_changes unknown = { 0 };
	struct fb_artifact *disk = NULL;
	FB_AUTO_BUF struct fb_buf stamp = { 0 };
	enum fb_libvirt_kind kind;
	int rc;

	if (token == NULL)
		return open_image(driver, machine->id, volume->name, &unknown,
		    ret_artifact, err);
	/* A later run takes a capture over with it. */
	rc = fb_libvirt_hold(driver, machine->id, err);
	if (rc == FB_OK)
		rc = fb_libvirt_find_by_token(base, machine, token, err);
	if (rc == FB_OK)
		rc = fb_libvirt_read_kind(
		    driver, machine->id, token, &kind, &stamp, err);
	if (rc < 0)
		return rc;
	if (volume->kind == FB_VOLUME_DEFINITION)
		return open_definition(
		    driver, machine->id, token, ret_artifact, err);
	rc = open_frozen(
	    driver, machine->id, volume->name, token, kind, &disk, err);
	return rc < 0 ? rc
	              : fb_libvirt_prove(driver, machine->id, token,
	                    volume->name, disk, ret_artifact, err);
}

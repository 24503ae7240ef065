/*
 * What is made is a function of the backup's definition, the new name and the
 * restore's token, so that a restore which was cut off finds again what it
 * made.
 */
#include "libvirt_new.h"

#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/base/seam.h"
#include "libvirt_clash.h"
#include "libvirt_files.h"
#include "libvirt_fresh.h"
#include "libvirt_rest.h"
#include "libvirt_where.h"

struct making {
	struct fb_libvirt_driver *driver;
	const struct fb_restore_request *request;
	virConnectPtr connection;
	bool other;            /* another one than the backup's */
	struct fb_digest seed; /* of what it has instead */
	char uuid[FB_UUID_SIZE];
	const char *name;
	struct fb_domain then; /* in the backup */
	struct fb_domain made; /* as it is defined */
	struct fb_buf xml;     /* ... by this */
	struct fb_domain_place *places; /* of then.disks, those that change */
	struct fb_libvirt_where *wheres; /* of then.disks */
	char *nvram;
	struct fb_libvirt_boot boot;
	struct fb_libvirt_images *images; /* of others; once they are asked */
	size_t left_out; /* disks that are not in the backup */
};

static void
release_making(struct making *making)
{
	for (size_t i = 0;
	     making->wheres != NULL && i < making->then.disk_count; i++)
		fb_libvirt_where_release(&making->wheres[i]);
	free(making->wheres);
	free(making->places);
	free(making->nvram);
	fb_libvirt_boot_release(&making->boot);
	fb_libvirt_images_free(&making->images);
	fb_domain_release(&making->then);
	fb_domain_release(&making->made);
	fb_buf_release(&making->xml);
	fb_libvirt_disconnect(&making->connection);
}
#define AUTO_MAKING FB_CLEANUP(release_making)

/*
 * What it is to be.
 */

static const struct fb_volume *
volume_of(const struct making *making, const char *target)
{
	const struct fb_machine *machine = making->request->machine;

	for (size_t i = 0; i < machine->volume_count; i++)
		if (machine->volumes[i].kind == FB_VOLUME_DISK &&
		    strcmp(machine->volumes[i].name, target) == 0)
			return fb_volume_is_captured(&machine->volumes[i])
			    ? &machine->volumes[i]
			    : NULL;
	return NULL;
}

static bool
is_medium_gone(
    const struct making *making, const struct fb_domain_disk *disk)
{
	struct fb_libvirt_file file;
	struct fb_error ignored;

	return strcmp(disk->type, "file") == 0 && disk->source != NULL &&
	    disk->source[0] == '/' &&
	    (fb_libvirt_file_look(making->driver, disk->source, &file,
	         &ignored) < 0 ||
	        !file.there);
}

/* False: it stays as it is. */
static bool
place_disk(struct making *making, const struct fb_domain_disk *disk,
    struct fb_libvirt_where *where, struct fb_domain_place *place)
{
	const struct fb_libvirt_made made = { .driver = making->driver,
		.connection = making->connection,
		.request = making->request,
		.name = making->name,
		.uuid = making->uuid,
		.other = making->other };

	place->target = disk->target;
	place->kind = FB_PLACE_EMPTY;
	if (disk->device == FB_DOMAIN_CDROM ||
	    disk->device == FB_DOMAIN_FLOPPY)
		return is_medium_gone(making, disk);
	if (volume_of(making, disk->target) != NULL && disk->source != NULL) {
		fb_libvirt_where(&made, disk, where, place);
		return true;
	}
	/* Two domains that write to it would spoil it. */
	place->kind = FB_PLACE_NOWHERE;
	if (!making->other || disk->read_only)
		return false;
	making->left_out++;
	return true;
}

static char *
place_nvram(const struct making *making)
{
	const char *path = making->then.nvram;
	const char *slash = path != NULL ? strrchr(path, '/') : NULL;

	if (!making->other || slash == NULL)
		return NULL;
	if (making->then.nvram_is_block)
		return fb_format("%s/%s_VARS.fd",
		    making->driver->images[0] != '\0'
		        ? making->driver->images
		        : "/var/lib/libvirt/qemu/nvram",
		    making->name);
	return fb_format("%.*s/%s_VARS.fd", (int)(slash - path), path,
	    making->name);
}

/* A UUID of the kind that everybody may make as he likes (version 8). */
static void
choose_identity(struct making *making)
{
	const struct fb_restore_request *request = making->request;
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	uint8_t *b = making->seed.bytes;

	making->other = request->mode == FB_RESTORE_AS_NEW;
	making->name =
	    making->other ? request->new_id : making->then.name;
	memcpy(making->uuid, making->then.uuid, FB_UUID_SIZE);
	if (!making->other)
		return;
	fb_buf_add_fmt(&bytes, "fleetbak libvirt machine\n%s\n%s\n",
	    request->token, request->new_id);
	fb_digest_of(fb_buf_span(&bytes), &making->seed);
	if (request->keep_uuid)
		return;
	(void)snprintf(making->uuid, FB_UUID_SIZE,
	    "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-"
	    "%02x%02x%02x%02x%02x%02x",
	    b[0], b[1], b[2], b[3], b[4], b[5], (b[6] & 0x0f) | 0x80, b[7],
	    (b[8] & 0x3f) | 0x80, b[9], b[10], b[11], b[12], b[13], b[14],
	    b[15]);
}

static int
change_xml(struct making *making, struct fb_error *err)
{
	struct fb_domain *then = &making->then;
	struct fb_domain_change change = { .nvram = making->nvram,
		.kernel = making->boot.kernel.path,
		.initrd = making->boot.initrd.path };
	FB_AUTO_BUF struct fb_buf old = making->xml;
	size_t count = 0;
	int rc;

	making->xml = (struct fb_buf){ 0 };
	making->places =
	    fb_alloc(then->disk_count + 1, sizeof(*making->places));
	making->wheres =
	    fb_alloc(then->disk_count + 1, sizeof(*making->wheres));
	for (size_t i = 0; i < then->disk_count; i++)
		count += place_disk(making, &then->disks[i],
		    &making->wheres[i], &making->places[count]);
	change.request = making->request;
	change.places = making->places;
	change.place_count = count;
	if (making->other) {
		change.name = making->name;
		change.uuid = making->uuid;
		change.beside = &making->seed;
	}
	rc = fb_domain_change(fb_buf_span(&old), &change, &making->xml, err);
	return rc < 0 ? rc
	              : fb_domain_read(fb_buf_span(&making->xml),
	                    &making->made, err);
}

static int
read_definition(struct making *making, struct fb_error *err)
{
	const struct fb_restore_request *request = making->request;
	FB_AUTO_FREE char *path = NULL;
	int rc;

	if (request->definition_dir == NULL ||
	    request->definition_dir[0] == '\0') {
		(void)fb_fail_id(err, FB_EUNSUP, "E-RST-DEFINITION",
		    "the backup has no definition of it");
		return fb_hint(err, "restore its volumes with --target DIR");
	}
	path = fb_path_join(request->definition_dir, "domain.xml");
	rc = fb_io_read_file(path, FB_DOMAIN_XML_MAX, &making->xml, err);
	if (rc == FB_OK)
		rc = fb_domain_read(
		    fb_buf_span(&making->xml), &making->then, err);
	if (rc == FB_OK &&
	    strcmp(making->then.uuid, request->machine->id) != 0)
		rc = fb_fail(err, FB_ECORRUPT,
		    "it is of another domain, %s", making->then.uuid);
	return rc < 0 ? fb_wrap(err, "the backup's definition") : FB_OK;
}

static int
make_up(struct fb_libvirt_driver *driver,
    const struct fb_restore_request *request, struct making *making,
    struct fb_error *err)
{
	int rc;

	making->driver = driver;
	making->request = request;
	if (!request->all_volumes)
		return fb_fail(err, FB_EUNSUP, "its domain is not defined, "
		                               "and only a whole machine "
		                               "is made anew");
	rc = read_definition(making, err);
	if (rc == FB_OK)
		rc = fb_libvirt_connect(driver, &making->connection, err);
	if (rc < 0)
		return rc;
	choose_identity(making);
	making->nvram = place_nvram(making);
	rc = fb_libvirt_boot_find(making->driver, &making->then,
	    request->definition_dir, &making->boot, err);
	if (rc == FB_OK)
		rc = fb_libvirt_check_maps(request, &making->then, err);
	return rc < 0 ? rc : change_xml(making, err);
}

/*
 * What is there already.
 */

static bool
is_absent(void)
{
	const virError *error = fb_libvirt.virGetLastError();

	return error != NULL && error->code == VIR_ERR_NO_DOMAIN;
}

/* With a UUID that is kept it may be anybody's. */
static int
check_kept(const struct making *making, virDomainPtr *domain,
    struct fb_error *err)
{
	const char *name = fb_libvirt.virDomainGetName(*domain);

	if (!making->other || !making->request->keep_uuid ||
	    (name != NULL && strcmp(name, making->name) == 0 &&
	        fb_libvirt_fresh_is_claimed(
	            making->driver, making->request->token)))
		return FB_OK;
	(void)fb_fail_id(err, FB_EREFUSED, "E-RST-EXISTS",
	    "the domain '%s' has the UUID that was to be kept",
	    name != NULL ? name : "");
	fb_libvirt_let_go(domain);
	*domain = NULL;
	return fb_hint(err, "leave --keep-uuid out, or undefine that one");
}

/* *ret_domain: the one that this restore has defined, or NULL. */
static int
find_made(const struct making *making, virDomainPtr *ret_domain,
    struct fb_error *err)
{
	FB_AUTO_DOMAIN_REF virDomainPtr taken = NULL;

	*ret_domain = fb_libvirt.virDomainLookupByUUIDString(
	    making->connection, making->uuid);
	if (*ret_domain != NULL)
		return check_kept(making, ret_domain, err);
	if (!is_absent())
		return fb_libvirt_fail(err, false, "cannot find the domain");
	taken = fb_libvirt.virDomainLookupByName(
	    making->connection, making->name);
	if (taken == NULL)
		return is_absent() ? FB_OK
		                   : fb_libvirt_fail(err, false,
		                         "cannot find the domain");
	(void)fb_fail_id(err, FB_EREFUSED, "E-RST-EXISTS",
	    "a domain '%s' is defined already", making->name);
	return fb_hint(err, "choose another name with --as, or undefine it");
}

static const struct fb_libvirt_where *
where_of(const struct making *making, const char *target)
{
	for (size_t i = 0; i < making->then.disk_count; i++)
		if (strcmp(making->then.disks[i].target, target) == 0)
			return &making->wheres[i];
	return NULL;
}

static struct fb_libvirt_fresh
fresh_of(const struct making *making, const struct fb_volume *wanted,
    int lock_fd)
{
	const struct fb_libvirt_where *where =
	    where_of(making, wanted->name);

	return (struct fb_libvirt_fresh){
		.driver = making->driver,
		.connection = making->connection,
		.token = making->request->token,
		.target = wanted->name,
		.format = where->format,
		.size = wanted->size,
		.lock_fd = lock_fd,
		.path = where->path,
		.pool = where->pool,
		.volume = where->volume,
		.existing = where->existing,
	};
}

static int
ask_others(struct making *making, struct fb_error *err)
{
	return fb_libvirt_images_read(making->driver, making->connection,
	    making->uuid, &making->images, err);
}

/* The caller's; NULL: nobody has what it is going to have. */
static char *
find_clash(const struct making *making, const char *target)
{
	const struct fb_domain_disk *disk =
	    fb_domain_disk(&making->made, target);
	char *clash = disk != NULL
	    ? fb_libvirt_clash(making->images, making->connection, disk)
	    : NULL;

	return clash != NULL ? clash
	                     : fb_libvirt_clash_of_own(making->images,
	                           making->connection, &making->made, target);
}

/* The caller's; NULL: its image can be made. */
static char *
disk_problem(const struct making *making, const struct fb_volume *wanted)
{
	const struct fb_domain_disk *then =
	    fb_domain_disk(&making->then, wanted->name);
	const struct fb_libvirt_where *where;
	FB_AUTO_FREE char *clash = NULL;

	if (then == NULL || then->source == NULL)
		return fb_strdup("the backup's definition has no such disk");
	where = where_of(making, wanted->name);
	if (where->problem != NULL)
		return fb_strdup(where->problem);
	clash = find_clash(making, wanted->name);
	return clash == NULL ? NULL
	    : where->path != NULL
	    ? fb_format("'%s': %s", where->path, clash)
	    : fb_format("volume '%s' of pool '%s': %s", where->volume,
	          where->pool, clash);
}

static void
check_disk(const struct making *making, const struct fb_volume *wanted,
    bool finished, struct fb_restore_plan *plan,
    struct fb_restore_volume_plan *volume)
{
	struct fb_libvirt_fresh fresh;
	struct fb_error err = { 0 };
	uint64_t space = UINT64_MAX;
	bool made = false;

	volume->problem = disk_problem(making, wanted);
	if (volume->problem != NULL) {
		volume->location = fb_strdup(wanted->name);
		return;
	}
	fresh = fresh_of(making, wanted, -1);
	volume->location = fb_libvirt_fresh_text(&fresh);
	if (finished)
		return;
	if (fb_libvirt_fresh_check(&fresh, &made, &space, &err) < 0)
		volume->problem = fb_strdup(err.msg);
	volume->exists = made || fresh.existing;
	volume->need_bytes = volume->exists ? 0 : wanted->allocated;
	if (space < plan->space_bytes)
		plan->space_bytes = space;
}

/*
 * The definition, and what goes with it.
 */

static struct fb_libvirt_vars
vars_of(const struct making *making)
{
	return (struct fb_libvirt_vars){
		.driver = making->driver,
		.definition_dir = making->request->definition_dir,
		.domain = &making->made,
	};
}

/* The caller's; NULL: nothing is wrong with what goes with it. */
static char *
rest_problem(const struct making *making, struct fb_buf *text)
{
	struct fb_libvirt_vars vars = vars_of(making);
	const char *dir = making->request->definition_dir;
	struct fb_libvirt_past past = { .definition_dir = dir };
	char *problem = fb_libvirt_vars_check(&vars, text);

	if (problem == NULL)
		problem = fb_libvirt_tpm_check(
		    making->driver, &making->made, dir, text);
	if (problem == NULL)
		problem = fb_libvirt_host_check(
		    making->connection, &making->made);
	if (problem == NULL && making->request->keep_mac)
		problem = fb_libvirt_clash_of_macs(
		    making->connection, &making->made);
	fb_libvirt_boot_say(&making->boot, &making->then, text);
	if (!fb_libvirt_reaches(making->driver) && making->then.kernel != NULL)
		fb_buf_add_str(text, "; what it boots has to be there");
	fb_libvirt_past_check(&past, text);
	return problem;
}

static void
check_definition(
    const struct making *making, struct fb_restore_volume_plan *volume)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	size_t devices = making->then.host_devices;

	fb_buf_add_fmt(&text, "libvirt's domain '%s', UUID %s", making->name,
	    making->uuid);
	if (making->left_out > 0)
		fb_buf_add_fmt(&text, "; without %zu disk%s not in the backup",
		    making->left_out, making->left_out == 1 ? "" : "s");
	if (making->other && devices > 0)
		fb_buf_add_fmt(&text, "; without %zu device%s of the host",
		    devices, devices == 1 ? "" : "s");
	volume->problem = rest_problem(making, &text);
	volume->location = fb_strdup(fb_buf_str(&text));
}

int
fb_libvirt_new_check(struct fb_libvirt_driver *driver,
    const struct fb_restore_request *request, struct fb_restore_plan *ret_plan,
    struct fb_error *err)
{
	const struct fb_machine *machine = request->machine;
	AUTO_MAKING struct making making = { 0 };
	FB_AUTO_DOMAIN_REF virDomainPtr domain = NULL;
	int rc = make_up(driver, request, &making, err);

	if (rc == FB_OK)
		rc = find_made(&making, &domain, err);
	if (rc == FB_OK)
		rc = ask_others(&making, err);
	if (rc < 0)
		return rc;
	if (making.other)
		ret_plan->id = fb_strdup(making.uuid);
	ret_plan->space_bytes = UINT64_MAX;
	ret_plan->volumes = fb_alloc(
	    machine->volume_count, sizeof(*ret_plan->volumes));
	for (size_t i = 0; i < machine->volume_count; i++) {
		const struct fb_volume *wanted = &machine->volumes[i];
		struct fb_restore_volume_plan *volume =
		    &ret_plan->volumes[ret_plan->volume_count];

		if (!fb_volume_is_captured(wanted))
			continue;
		ret_plan->volume_count++;
		volume->volume = fb_strdup(wanted->name);
		if (wanted->kind == FB_VOLUME_DEFINITION)
			check_definition(&making, volume);
		else
			check_disk(&making, wanted, domain != NULL, ret_plan,
			    volume);
	}
	return FB_OK;
}

/*
 * Doing it.
 */

int
fb_libvirt_new_begin(struct fb_libvirt_driver *driver,
    const struct fb_restore_request *request, struct fb_error *err)
{
	AUTO_MAKING struct making making = { 0 };
	FB_AUTO_DOMAIN_REF virDomainPtr domain = NULL;
	int rc = make_up(driver, request, &making, err);

	return rc < 0 ? rc : find_made(&making, &domain, err);
}

int
fb_libvirt_new_open(struct fb_libvirt_driver *driver,
    const struct fb_restore_request *request, const struct fb_volume *wanted,
    const struct fb_verb *verb, struct fb_target **ret_target,
    struct fb_error *err)
{
	AUTO_MAKING struct making making = { 0 };
	FB_AUTO_FREE char *problem = NULL;
	FB_AUTO_TARGET struct fb_target *target = NULL;
	struct fb_libvirt_fresh fresh;
	int rc = make_up(driver, request, &making, err);

	if (rc == FB_OK)
		rc = ask_others(&making, err);
	if (rc < 0)
		return rc;
	problem = disk_problem(&making, wanted);
	if (problem != NULL)
		return fb_fail(err, FB_EUNSUP, "%s", problem);
	fresh = fresh_of(&making, wanted, verb->lock_fd);
	rc = fb_libvirt_fresh_open(&fresh, &target, err);
	/* A pool may give more, and a volume that is there have more. */
	if (rc == FB_OK && target->size > wanted->size &&
	    fresh.path == NULL)
		target->size = wanted->size;
	if (rc == FB_OK && target->size != wanted->size)
		rc = fb_fail_id(err, FB_ENOSPACE, "E-RST-SMALL",
		    "its image holds %llu bytes, the disk has %llu",
		    (unsigned long long)target->size,
		    (unsigned long long)wanted->size);
	if (rc == FB_OK)
		*ret_target = FB_STEAL(target);
	return rc;
}

static int
put_rest(const struct making *making, struct fb_error *err)
{
	struct fb_libvirt_vars vars = vars_of(making);
	const char *dir = making->request->definition_dir;
	int rc = fb_libvirt_vars_put(&vars, err);

	if (rc < 0)
		return fb_wrap(err, "the firmware's variables");
	rc = fb_libvirt_tpm_put(making->driver, &making->made, dir, err);
	return rc < 0 ? rc
	              : fb_libvirt_boot_put(making->driver,
	                    &making->boot, &making->then, dir, err);
}

static int
define(const struct making *making, virDomainPtr *ret_domain,
    struct fb_error *err)
{
	FB_AUTO_FREE char *step =
	    fb_format("libvirt define %s", making->name);
	int rc = put_rest(making, err);

	if (rc == FB_OK)
		rc = fb_seam_refuse(fb_seam(FB_STEP_DRIVER, step), err);
	if (rc < 0)
		return rc;
	*ret_domain = fb_libvirt.virDomainDefineXML(
	    making->connection, fb_buf_str(&making->xml));
	return *ret_domain != NULL
	    ? FB_OK
	    : fb_libvirt_fail(err, true, "cannot define it");
}

/* A pool that has its directory may list it; it is none of its own. */
static void
tell_pools(const struct making *making)
{
	for (size_t i = 0; i < making->made.disk_count; i++) {
		const struct fb_domain_disk *disk = &making->made.disks[i];
		FB_AUTO_FREE char *dir = NULL;
		virStoragePoolPtr pool;

		if (disk->source == NULL || disk->source[0] != '/' ||
		    volume_of(making, disk->target) == NULL)
			continue;
		dir = fb_strdup(disk->source);
		*strrchr(dir, '/') = '\0';
		pool = fb_libvirt.virStoragePoolLookupByTargetPath(
		    making->connection, dir);
		if (pool == NULL)
			continue;
		(void)fb_libvirt.virStoragePoolRefresh(pool, 0);
		(void)fb_libvirt.virStoragePoolFree(pool);
	}
}

int
fb_libvirt_new_finish(struct fb_libvirt_driver *driver,
    const struct fb_restore_request *request, struct fb_error *err)
{
	AUTO_MAKING struct making making = { 0 };
	FB_AUTO_DOMAIN_REF virDomainPtr domain = NULL;
	int rc = make_up(driver, request, &making, err);

	if (rc == FB_OK)
		rc = find_made(&making, &domain, err);
	if (rc == FB_OK && domain == NULL)
		rc = define(&making, &domain, err);
	if (rc < 0)
		return rc;
	tell_pools(&making);
	rc = fb_libvirt_new_try(driver, domain, request, making.uuid, err);
	return rc < 0 ? rc
	              : fb_libvirt_fresh_done(driver, request->token, err);
}

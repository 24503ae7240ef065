/*
 * Restoring a guest in place: into the images that its domain has, while it
 * is off; then its definition becomes what it was.  One that is gone, or new,
 * is made: libvirt_new.c.
 */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "libvirt_clash.h"
#include "libvirt_files.h"
#include "libvirt_fresh.h"
#include "libvirt_new.h"
#include "libvirt_rest.h"
#include "libvirt_where.h"

/* The domain as it is, and as the backup's definition has it. */
struct site {
	struct fb_libvirt_driver *driver;
	const struct fb_restore_request *request;
	struct fb_libvirt_ref ref;
	struct fb_domain now;
	struct fb_domain then; /* of a whole machine only, as it will be */
	struct fb_buf xml;     /* what `then` was read from */
	char *was_called;      /* its name in the backup, if that was another */
	struct fb_domain kept; /* `then`, before it got the names of now */
	struct fb_libvirt_boot boot;
	struct fb_libvirt_images *images; /* of others; once they are asked */
};

static void
release_site(struct site *site)
{
	fb_libvirt_ref_release(&site->ref);
	fb_domain_release(&site->now);
	fb_domain_release(&site->then);
	fb_domain_release(&site->kept);
	fb_buf_release(&site->xml);
	fb_libvirt_boot_release(&site->boot);
	fb_libvirt_images_free(&site->images);
	free(site->was_called);
}
#define AUTO_SITE FB_CLEANUP(release_site)

/* Is the domain made, or written over where it is? */
static int
is_made(struct fb_driver *base, const struct fb_restore_request *request,
    bool *ret_made, struct fb_error *err)
{
	struct fb_libvirt_driver *driver = (struct fb_libvirt_driver *)base;
	FB_AUTO_REF struct fb_libvirt_ref ref = { 0 };
	int rc;

	*ret_made = true;
	if (request->mode == FB_RESTORE_AS_NEW)
		return FB_OK;
	rc = fb_libvirt_find(driver, request->machine->id, &ref, err);
	*ret_made = rc == FB_ENOTFOUND;
	if (*ret_made)
		return FB_OK;
	/* Its end is one of what was made, too. */
	if (rc < 0 || fb_libvirt_reaches(driver) ||
	    fb_libvirt_fresh_is_claimed(driver, request->token))
		return rc;
	(void)fb_fail(err, FB_EUNSUP,
	    "its hypervisor is another host, and images that are there are "
	    "written over on another host over ssh only");
	return fb_hint(err, "a uri of the form qemu+ssh://HOST/system, or "
	                    "another guest of it: --as NEW --map "
	                    "'disk:*=POOL/' --map 'format:*=raw'");
}

/* It is the same domain under its new name, and so are its firmware's
 * variables where they are now; what it boots may have another place. */
static int
adapt(struct site *site, struct fb_error *err)
{
	struct fb_domain_change change = { 0 };
	FB_AUTO_BUF struct fb_buf xml = { 0 };
	int rc;

	if (strcmp(site->then.name, site->now.name) != 0)
		change.name = site->now.name;
	if (site->then.nvram != NULL && site->now.nvram != NULL &&
	    strcmp(site->then.nvram, site->now.nvram) != 0) {
		change.nvram = site->now.nvram;
		change.nvram_is_block = site->now.nvram_is_block;
	}
	change.request = site->request->map_count > 0 ? site->request : NULL;
	change.kernel = site->boot.kernel.path;
	change.initrd = site->boot.initrd.path;
	if (change.name == NULL && change.nvram == NULL &&
	    change.kernel == NULL && change.initrd == NULL &&
	    change.request == NULL)
		return FB_OK;
	rc = fb_domain_change(fb_buf_span(&site->xml), &change, &xml, err);
	if (rc < 0)
		return rc;
	if (change.name != NULL)
		site->was_called = fb_strdup(site->then.name);
	fb_buf_release(&site->xml);
	site->xml = xml;
	xml = (struct fb_buf){ 0 };
	site->kept = site->then;
	site->then = (struct fb_domain){ 0 };
	return fb_domain_read(fb_buf_span(&site->xml), &site->then, err);
}

static int
read_then(struct site *site, struct fb_error *err)
{
	const char *dir = site->request->definition_dir;
	FB_AUTO_FREE char *path = NULL;
	int rc;

	if (!site->request->all_volumes || dir == NULL || dir[0] == '\0')
		return FB_OK;
	path = fb_path_join(dir, "domain.xml");
	rc = fb_io_read_file(path, FB_DOMAIN_XML_MAX, &site->xml, err);
	if (rc == FB_OK)
		rc = fb_domain_read(
		    fb_buf_span(&site->xml), &site->then, err);
	if (rc == FB_OK && strcmp(site->then.uuid, site->now.uuid) != 0)
		rc = fb_fail(err, FB_ECORRUPT,
		    "it is of another domain, %s", site->then.uuid);
	if (rc == FB_OK)
		rc = fb_libvirt_boot_find(site->driver,
		    &site->then, dir, &site->boot, err);
	if (rc == FB_OK)
		rc = fb_libvirt_check_maps(
		    site->request, &site->then, err);
	if (rc == FB_OK)
		rc = adapt(site, err);
	return rc < 0 ? fb_wrap(err, "the backup's definition") : FB_OK;
}

static int
find_site(struct fb_driver *base, const struct fb_restore_request *request,
    struct site *site, struct fb_error *err)
{
	int rc;

	site->driver = (struct fb_libvirt_driver *)base;
	site->request = request;
	rc = fb_libvirt_find(
	    site->driver, request->machine->id, &site->ref, err);
	if (rc == FB_OK)
		rc = fb_libvirt_read(site->ref.domain, false, &site->now, err);
	return rc < 0 ? rc : read_then(site, err);
}

/* Its images stay where they are. */
static int
check_maps(const struct fb_libvirt_driver *driver,
    const struct fb_restore_request *request, struct fb_error *err)
{
	/* It is there because this restore has made it. */
	if (fb_libvirt_fresh_is_claimed(driver, request->token))
		return FB_OK;
	for (size_t i = 0; i < request->map_count; i++)
		if (strcmp(request->maps[i].kind, "network") != 0 &&
		    !fb_restore_map_places(request->maps[i].kind))
			return fb_fail_id(err, FB_EREFUSED, "E-RST-MAP",
			    "its domain is there, and its images stay where "
			    "they are: --map %s goes with one that is made",
			    request->maps[i].kind);
	return FB_OK;
}

/* Memory that was saved goes on with what the disks held then. */
static int
check_saved(const struct site *site, struct fb_error *err)
{
	if (fb_libvirt.virDomainHasManagedSaveImage(
	        site->ref.domain, 0) != 1)
		return FB_OK;
	(void)fb_fail_id(err, FB_ECONFLICT, "E-DOMAIN-SAVED",
	    "it was saved to disk with its memory, which would go on over "
	    "other disks");
	return fb_hint(err, "give the saved memory up: virsh "
	                    "managedsave-remove");
}

/* As the backup has it. */
static const struct fb_domain *
backup_of(const struct site *site)
{
	return site->kept.name != NULL ? &site->kept : &site->then;
}

static struct fb_libvirt_past
past_of(const struct site *site, int lock_fd)
{
	return (struct fb_libvirt_past){
		.connection = site->ref.connection,
		.domain = site->ref.domain,
		.now = &site->now,
		.local = site->driver->local,
		.definition_dir = site->request->definition_dir,
		.lock_fd = lock_fd,
	};
}

static struct fb_libvirt_vars
vars_of(const struct site *site)
{
	return (struct fb_libvirt_vars){
		.driver = site->driver,
		.definition_dir = site->request->definition_dir,
		.domain = &site->then,
		.own = site->now.nvram,
	};
}

/*
 * What would happen.
 */

static bool
same_image(const struct fb_domain_disk *a, const struct fb_domain_disk *b)
{
	return a->source != NULL && b->source != NULL &&
	    strcmp(a->source, b->source) == 0 &&
	    strcmp(a->type, b->type) == 0 && strcmp(a->format, b->format) == 0;
}

/* The caller frees; NULL: nothing is wrong. */
static char *
disk_problem(const struct site *site, const struct fb_domain_disk *disk,
    const struct fb_volume *wanted, const struct fb_volume *has)
{
	const struct fb_domain_disk *then =
	    fb_domain_disk(&site->then, wanted->name);

	if (disk == NULL)
		return fb_strdup("the domain has no such disk now");
	if (disk->why != NULL)
		return fb_strdup(disk->why);
	if (disk->network)
		return fb_strdup("a network disk cannot be written to: restore "
		                 "it with --target, or the machine with --as");
	if (site->then.name != NULL && then == NULL)
		return fb_strdup("the backup's definition has no such disk");
	if (then != NULL && !same_image(disk, then))
		return fb_format("the backup's definition names another "
		                 "image, %s '%s': restore the disks alone",
		    then->format, then->source != NULL ? then->source : "");
	if (has == NULL || strcmp(has->method, FB_METHOD_LEFT_OUT) == 0)
		return fb_strdup("it cannot be looked at");
	if (has->size != wanted->size)
		return fb_format("it holds %llu bytes now, and %llu in the "
		                 "backup",
		    (unsigned long long)has->size,
		    (unsigned long long)wanted->size);
	return NULL;
}

static const struct fb_volume *
volume_now(const struct fb_machine *now, const char *name)
{
	for (size_t i = 0; now != NULL && i < now->volume_count; i++)
		if (strcmp(now->volumes[i].name, name) == 0)
			return &now->volumes[i];
	return NULL;
}

static uint64_t
free_beside(const struct site *site, const char *path)
{
	FB_AUTO_FREE char *dir = fb_strdup(path);
	char *slash = strrchr(dir, '/');
	struct fb_error ignored;
	uint64_t space = 0;

	if (!fb_libvirt_reaches(site->driver))
		return UINT64_MAX;
	if (slash != NULL)
		slash[slash == dir ? 1 : 0] = '\0';
	(void)!fb_libvirt_file_space(site->driver, dir, &space, &ignored);
	return space;
}

/* What is written to the image others would read, through theirs above it. */
static char *
clash_of(const struct site *site, const struct fb_domain_disk *disk,
    const char *path)
{
	FB_AUTO_FREE char *clash =
	    fb_libvirt_clash(site->images, site->ref.connection, disk);

	return clash != NULL ? fb_format("'%s': %s", path, clash) : NULL;
}

static void
check_disk(const struct site *site, const struct fb_volume *wanted,
    struct fb_restore_plan *plan, struct fb_restore_volume_plan *volume)
{
	const struct fb_domain_disk *disk =
	    fb_domain_disk(&site->now, wanted->name);
	const struct fb_volume *has = volume_now(plan->now, wanted->name);
	FB_AUTO_FREE char *path = NULL;
	struct fb_error err = { 0 };
	uint64_t space;

	volume->problem = disk_problem(site, disk, wanted, has);
	if (volume->problem == NULL &&
	    fb_libvirt_image(site->ref.connection, disk, &path, &err) < 0)
		volume->problem = fb_strdup(err.msg);
	if (volume->problem == NULL)
		volume->problem = clash_of(site, disk, path);
	volume->location = fb_strdup(path != NULL ? path : wanted->name);
	if (volume->problem != NULL)
		return;
	volume->exists = true;
	if (strcmp(disk->type, "block") == 0)
		return;
	volume->need_bytes = wanted->size > has->allocated
	    ? wanted->size - has->allocated
	    : 0;
	if (volume->need_bytes > wanted->allocated)
		volume->need_bytes = wanted->allocated;
	space = free_beside(site, path);
	if (space < plan->space_bytes)
		plan->space_bytes = space;
}

static bool
is_redefined(const struct site *site)
{
	return fb_digest_cmp(&site->then.digest, &site->now.digest) != 0;
}

/* The caller's; NULL: nothing is wrong with what goes with it. */
static char *
rest_problem(const struct site *site, struct fb_buf *text)
{
	struct fb_libvirt_vars vars = vars_of(site);
	struct fb_libvirt_past past = past_of(site, -1);
	const char *dir = site->request->definition_dir;
	char *problem = fb_libvirt_vars_check(&vars, text);

	if (problem == NULL)
		problem = fb_libvirt_tpm_check(
		    site->driver, &site->then, dir, text);
	if (problem == NULL && is_redefined(site))
		problem = fb_libvirt_host_check(
		    site->ref.connection, &site->then);
	fb_libvirt_boot_say(&site->boot, backup_of(site), text);
	fb_libvirt_past_check(&past, text);
	return problem;
}

static void
check_definition(const struct site *site, struct fb_restore_volume_plan *volume)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };

	fb_buf_add_fmt(
	    &text, "libvirt's definition of '%s'", site->now.name);
	if (site->was_called != NULL)
		fb_buf_add_fmt(&text, ", which was called '%s' then",
		    site->was_called);
	volume->exists = true;
	if (!site->request->all_volumes)
		volume->problem = fb_strdup(
		    "it is restored with the whole machine only");
	else if (site->then.name != NULL)
		volume->problem = rest_problem(site, &text);
	volume->location = fb_strdup(fb_buf_str(&text));
}

static void
check_volume(const struct site *site, const struct fb_volume *wanted,
    struct fb_restore_plan *plan, struct fb_restore_volume_plan *volume)
{
	volume->volume = fb_strdup(wanted->name);
	if (wanted->kind == FB_VOLUME_DEFINITION)
		check_definition(site, volume);
	else
		check_disk(site, wanted, plan, volume);
}

/* One that is captured live is not stopped for a restore either. */
static int
check_state(const struct site *site, const struct fb_machine *now,
    struct fb_error *err)
{
	int state, rc = fb_libvirt_state(site->ref.domain, &state, err);

	if (rc < 0 || fb_libvirt_is_off(state) || now == NULL ||
	    (now->lifecycle != FB_LIFECYCLE_SNAPSHOT_LIVE &&
	        now->lifecycle != FB_LIFECYCLE_PAUSE_IN_CREATE))
		return rc;
	(void)fb_fail(err, FB_ECONFLICT,
	    "it runs, and its source says that it is not stopped");
	return fb_hint(err, "shut it down first");
}

int
fb_libvirt_restore_check(struct fb_driver *base, const struct fb_fleet *fleet,
    const struct fb_restore_request *request, struct fb_restore_plan *ret_plan,
    struct fb_error *err)
{
	const struct fb_machine *machine = request->machine;
	AUTO_SITE struct site site = { 0 };
	bool made;
	int rc = is_made(base, request, &made, err);

	if (rc == FB_OK && made)
		return fb_libvirt_new_check((struct fb_libvirt_driver *)base,
		    request, ret_plan, err);
	if (rc == FB_OK)
		rc = check_maps((struct fb_libvirt_driver *)base, request, err);
	if (rc == FB_OK)
		rc = find_site(base, request, &site, err);
	if (rc == FB_OK)
		rc = check_saved(&site, err);
	if (rc == FB_OK)
		rc = fb_libvirt_images_read(site.driver, site.ref.connection,
		    site.now.uuid, &site.images, err);
	if (rc < 0)
		return rc;
	ret_plan->now = fb_fleet_find(fleet, base->source, machine->id);
	rc = check_state(&site, ret_plan->now, err);
	if (rc < 0)
		return rc;
	ret_plan->space_bytes = UINT64_MAX;
	ret_plan->volumes = fb_alloc(
	    machine->volume_count, sizeof(*ret_plan->volumes));
	for (size_t i = 0; i < machine->volume_count; i++)
		if (fb_volume_is_captured(&machine->volumes[i]))
			check_volume(&site, &machine->volumes[i], ret_plan,
			    &ret_plan->volumes[ret_plan->volume_count++]);
	return FB_OK;
}

/*
 * Doing it.
 */

int
fb_libvirt_restore_begin(struct fb_driver *base,
    const struct fb_restore_request *request, const struct fb_verb *verb,
    struct fb_error *err)
{
	AUTO_SITE struct site site = { 0 };
	bool made;
	int rc = is_made(base, request, &made, err);

	(void)verb;
	if (rc == FB_OK && made)
		return fb_libvirt_new_begin(
		    (struct fb_libvirt_driver *)base, request, err);
	if (rc == FB_OK)
		rc = find_site(base, request, &site, err);
	return rc < 0 ? rc : check_saved(&site, err);
}

int
fb_libvirt_restore_open(struct fb_driver *base,
    const struct fb_restore_request *request, const struct fb_volume *wanted,
    const struct fb_verb *verb, struct fb_target **ret_target,
    struct fb_error *err)
{
	AUTO_SITE struct site site = { 0 };
	FB_AUTO_TARGET struct fb_target *target = NULL;
	FB_AUTO_FREE char *path = NULL;
	const struct fb_domain_disk *disk;
	bool made;
	int state, rc = is_made(base, request, &made, err);

	if (rc == FB_OK && made)
		return fb_libvirt_new_open((struct fb_libvirt_driver *)base,
		    request, wanted, verb, ret_target, err);
	if (rc == FB_OK)
		rc = find_site(base, request, &site, err);
	if (rc == FB_OK)
		rc = fb_libvirt_state(site.ref.domain, &state, err);
	if (rc == FB_OK && !fb_libvirt_is_off(state))
		rc = fb_fail(err, FB_ECONFLICT,
		    "it is not off, so its images cannot be written");
	if (rc == FB_OK && !fb_libvirt_reaches(site.driver))
		rc = fb_fail(err, FB_EUNSUP,
		    "its images are on a host that is not reached by ssh");
	if (rc < 0)
		return rc;
	disk = fb_domain_disk(&site.now, wanted->name);
	if (disk == NULL || disk->why != NULL || disk->network)
		return fb_fail(err, FB_ENOTFOUND,
		    "it has no disk '%s' that could be written",
		    wanted->name);
	rc = fb_libvirt_image(site.ref.connection, disk, &path, err);
	if (rc == FB_OK)
		rc = fb_libvirt_write_image(site.driver->far, path,
		    disk->format, &target, err);
	if (rc == FB_OK && target->size != wanted->size)
		rc = fb_fail_id(err, FB_ENOSPACE, "E-RST-SMALL",
		    "'%s' holds %llu bytes, the disk has %llu", path,
		    (unsigned long long)target->size,
		    (unsigned long long)wanted->size);
	if (rc == FB_OK)
		*ret_target = FB_STEAL(target);
	return rc;
}

static int
define(const struct site *site, struct fb_error *err)
{
	virDomainPtr defined;
	int rc;

	if (!is_redefined(site))
		return FB_OK;
	rc = fb_libvirt_effect(site->ref.domain, "define", err);
	if (rc < 0)
		return rc;
	defined = fb_libvirt.virDomainDefineXML(
	    site->ref.connection, fb_buf_str(&site->xml));
	if (defined == NULL)
		return fb_libvirt_fail(err, true, "cannot define it");
	(void)fb_libvirt.virDomainFree(defined);
	return FB_OK;
}

/* One that was made, and defined, by this restore before it was cut off. */
static int
finish_made(const struct site *site, const char *token, struct fb_error *err)
{
	int rc = fb_libvirt_new_try(site->driver, site->ref.domain,
	    site->request, site->request->machine->id, err);

	return rc < 0 ? rc : fb_libvirt_fresh_done(site->driver, token, err);
}

/* What libvirt knows of its snapshots is no reason to keep it down. */
static void
put_past(const struct site *site, const struct fb_verb *verb)
{
	struct fb_libvirt_past past = past_of(site, verb->lock_fd);
	struct fb_error why = { 0 };

	if (fb_libvirt_past_put(&past, &why) == FB_OK)
		return;
	(void)fb_wrap(&why, "the records of its snapshots");
	(void)fb_hint(&why,
	    "they are in snapshots/ of the backup's volume 'definition': "
	    "virsh snapshot-create --redefine takes them");
	if (verb->ret_missing != NULL)
		*verb->ret_missing = why;
}

/* What goes with the definition, and that itself. */
static int
put_rest(const struct site *site, const struct fb_verb *verb,
    struct fb_error *err)
{
	struct fb_libvirt_vars vars = vars_of(site);
	const char *dir = site->request->definition_dir;
	int rc = fb_libvirt_vars_put(&vars, err);

	if (rc < 0)
		return fb_wrap(err, "the firmware's variables");
	rc = fb_libvirt_tpm_put(site->driver, &site->then, dir, err);
	if (rc == FB_OK)
		rc = fb_libvirt_boot_put(site->driver,
		    &site->boot, backup_of(site), dir, err);
	if (rc == FB_OK)
		rc = define(site, err);
	if (rc == FB_OK)
		put_past(site, verb);
	return rc;
}

int
fb_libvirt_restore_finish(struct fb_driver *base,
    const struct fb_restore_request *request, const struct fb_verb *verb,
    struct fb_error *err)
{
	AUTO_SITE struct site site = { 0 };
	bool made;
	int rc = is_made(base, request, &made, err);

	if (rc == FB_OK && made)
		return fb_libvirt_new_finish(
		    (struct fb_libvirt_driver *)base, request, err);
	if (rc == FB_OK)
		rc = find_site(base, request, &site, err);
	if (rc < 0 || site.then.name == NULL)
		return rc;
	if (fb_libvirt_fresh_is_claimed(site.driver, verb->token))
		return finish_made(&site, verb->token, err);
	return put_rest(&site, verb, err);
}

/* A domain of libvirt as the fleet sees it. */
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/base/text.h"
#include "libvirt_checkpoint.h"
#include "libvirt_overlay.h"
#include "libvirt_rest.h"

/* A chain that is longer goes in a circle. */
#define CHAIN_MAX 200

#define SECTOR 512

/* What is looked at for one domain. */
struct look {
	const struct fb_libvirt_driver *driver;
	virConnectPtr connection;
	virDomainPtr ref;
	struct fb_domain defined; /* as it starts next time */
	struct fb_domain live;    /* as it runs; empty when it does not */
	bool running, saved, persistent;
	uint64_t scratch_free; /* bytes */
};

static void
release_look(struct look *look)
{
	fb_domain_release(&look->defined);
	fb_domain_release(&look->live);
}
#define AUTO_LOOK FB_CLEANUP(release_look)

static enum fb_volume_kind
kind_of(const struct fb_domain_disk *disk)
{
	return disk->device == FB_DOMAIN_CDROM ? FB_VOLUME_CDROM
	    : disk->device == FB_DOMAIN_FLOPPY ? FB_VOLUME_FLOPPY
	                                       : FB_VOLUME_DISK;
}

/* The pool that a disk's image is in, or NULL. */
static char *
find_pool(const struct look *look, const struct fb_domain_disk *disk)
{
	virStorageVolPtr volume = NULL;
	virStoragePoolPtr pool;
	char *name = NULL;

	if (disk->pool != NULL)
		return fb_strdup(disk->pool);
	if (disk->source == NULL || disk->source[0] != '/')
		return NULL;
	volume = fb_libvirt.virStorageVolLookupByPath(
	    look->connection, disk->source);
	if (volume == NULL)
		return NULL;
	pool = fb_libvirt.virStoragePoolLookupByVolume(volume);
	if (pool != NULL) {
		name = fb_strdup(fb_libvirt.virStoragePoolGetName(pool));
		(void)fb_libvirt.virStoragePoolFree(pool);
	}
	(void)fb_libvirt.virStorageVolFree(volume);
	return name;
}

/* Of a domain that is off only the pools know what is below an image. */
static unsigned
count_below(const struct look *look, const struct fb_domain_disk *disk)
{
	FB_AUTO_FREE char *path = NULL;
	struct fb_error ignored;
	unsigned count = 0;

	if (fb_libvirt_image(look->connection, disk, &path, &ignored) < 0)
		return 0;
	while (path != NULL && path[0] == '/' && count < CHAIN_MAX) {
		virStorageVolPtr image = fb_libvirt.virStorageVolLookupByPath(
		    look->connection, path);
		char *xml = image != NULL
		    ? fb_libvirt.virStorageVolGetXMLDesc(image, 0)
		    : NULL;

		free(path);
		path = xml != NULL ? fb_volume_backing((struct fb_span){
		                         (const uint8_t *)xml, strlen(xml) })
		                   : NULL;
		count += path != NULL;
		free(xml);
		if (image != NULL)
			(void)fb_libvirt.virStorageVolFree(image);
	}
	return count;
}

/* "qcow2 '/vm/a.qcow2', on 1 image below it, in pool 'vm'". */
static void
add_place(struct fb_buf *text, const struct look *look,
    const struct fb_domain_disk *disk)
{
	const struct fb_domain_disk *runs =
	    fb_domain_disk(&look->live, disk->target);
	unsigned backing = runs != NULL && runs->backing > disk->backing
	    ? runs->backing
	    : disk->backing;
	FB_AUTO_FREE char *pool = find_pool(look, disk);

	if (backing == 0 && !look->running && disk->source != NULL)
		backing = count_below(look, disk);
	fb_buf_add_fmt(text, "%s '%s'", disk->format,
	    disk->source != NULL ? disk->source : "");
	if (backing > 0)
		fb_buf_add_fmt(text, ", on %u image%s below it", backing,
		    backing == 1 ? "" : "s");
	if (pool != NULL)
		fb_buf_add_fmt(text, ", in pool '%s'", pool);
}

static bool
same_text(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* libvirt tells it of a domain's disk, but of a volume only while the domain
 * runs: then the pool does. */
static int
find_size(const struct look *look, const struct fb_domain_disk *disk,
    struct fb_volume *volume, struct fb_error *err)
{
	virStoragePoolPtr pool = NULL;
	virStorageVolPtr image = NULL;
	virStorageVolInfo stored;
	virDomainBlockInfo info;
	bool found = fb_libvirt.virDomainGetBlockInfo(
	                 look->ref, disk->target, &info, 0) == 0;

	if (!found)
		(void)fb_libvirt_fail(err, false, "its size is not known");
	if (!found && disk->pool != NULL)
		pool = fb_libvirt.virStoragePoolLookupByName(
		    look->connection, disk->pool);
	if (pool != NULL)
		image =
		    fb_libvirt.virStorageVolLookupByName(pool, disk->volume);
	if (image != NULL &&
	    fb_libvirt.virStorageVolGetInfo(image, &stored) == 0) {
		info.capacity = stored.capacity;
		info.allocation = stored.allocation;
		found = true;
	}
	if (image != NULL)
		(void)fb_libvirt.virStorageVolFree(image);
	if (pool != NULL)
		(void)fb_libvirt.virStoragePoolFree(pool);
	if (!found)
		return err->code;
	/* QEMU rounds up, libvirt does so only while it runs. */
	volume->size = (info.capacity + SECTOR - 1) / SECTOR * SECTOR;
	volume->allocated =
	    info.allocation < info.capacity ? info.allocation : info.capacity;
	return FB_OK;
}

/* It runs with another image than the one that it would start with. */
static bool
is_swapped(const struct look *look, const struct fb_domain_disk *disk)
{
	const struct fb_domain_disk *runs =
	    fb_domain_disk(&look->live, disk->target);

	return runs != NULL && !same_text(runs->source, disk->source);
}

/* What it overwrites while it is read needs room in scratch.  Without it QEMU
 * holds a guest, but with such a disk the guest gets an error, and its file system
 * is what suffers. */
bool
fb_libvirt_hands_errors(const struct fb_domain *domain)
{
	for (size_t i = 0; i < domain->disk_count; i++)
		if (domain->disks[i].device == FB_DOMAIN_DISK &&
		    domain->disks[i].why == NULL &&
		    domain->disks[i].hands_errors)
			return true;
	return false;
}

/* A job would be in the way when the guest's agent comes up again: libvirt
 * then takes it for absent until it is restarted itself. */
bool
fb_libvirt_reads_stopped(const struct fb_libvirt_driver *driver, bool live,
    const struct fb_domain *domain)
{
	return !live &&
	    (fb_libvirt_hands_errors(domain) ||
	        (domain->agent &&
	            !fb_libvirt_overlays(driver, live, domain)));
}

/* One that is not defined would be gone when it has stopped. */
static bool
is_live(const struct look *look)
{
	return look->driver->live || !look->persistent;
}

/* Whether it is up now decides nothing: one that is down because a run died
 * is started before it is captured. */
static bool
is_read_stopped(const struct look *look)
{
	return fb_libvirt_reads_stopped(
	    look->driver, is_live(look), &look->defined);
}

/* Of a disk that the XML allows: does it run as it is defined, and how large
 * is it?  *ret_why NULL: it can be captured.  That nobody could be asked says
 * nothing of the disk. */
static int
why_not(const struct look *look, const struct fb_domain_disk *disk,
    struct fb_volume *volume, char **ret_why, struct fb_error *err)
{
	struct fb_error why = { 0 };
	int rc;

	if (disk->why != NULL)
		*ret_why = fb_strdup(disk->why);
	else if (look->running &&
	    fb_domain_disk(&look->live, disk->target) == NULL)
		*ret_why = fb_strdup("it is attached only at the next start");
	else if (is_swapped(look, disk))
		*ret_why = fb_strdup("it runs with another image than its "
		                     "definition names");
	else if (disk->network && (!look->running || is_read_stopped(look)))
		*ret_why = fb_format("a network disk is read from a backup job "
		                     "only, and there is none of a machine "
		                     "that %s",
		    look->running ? "is read while it is down" : "is off");
	else if (is_live(look) && look->running &&
	    (disk->hands_errors ||
	        fb_domain_disk(&look->live, disk->target)->hands_errors))
		*ret_why = fb_strdup("the guest would get an error when "
		                     "scratch is full, by its error_policy, "
		                     "and it cannot be read from a guest that "
		                     "runs");
	/* A network disk's is known only while it runs, and would make it
	 * another machine when it does not. */
	if (*ret_why != NULL || disk->network)
		return FB_OK;
	rc = find_size(look, disk, volume, &why);
	if (rc == FB_EUNREACH)
		*err = why;
	else if (rc < 0)
		*ret_why = fb_strdup(why.msg);
	return rc == FB_EUNREACH ? rc : FB_OK;
}

/* Of the nearest directory that is there: it is made by the first capture. */
uint64_t
fb_libvirt_room(const char *path)
{
	FB_AUTO_FREE char *dir = fb_strdup(path);
	struct statvfs st;
	char *slash;

	while (statvfs(dir, &st) == -1) {
		slash = strrchr(dir, '/');
		if (slash == NULL || slash == dir)
			return 0;
		*slash = '\0';
	}
	return (uint64_t)st.f_bavail * st.f_frsize;
}

/* What it overwrites while it is read is no more than what it has. */
static void
add_room(struct fb_buf *note, const struct look *look,
    const struct fb_volume *volume)
{
	if (look->scratch_free >= volume->allocated)
		return;
	fb_buf_add_str(note, "; scratch has room for ");
	fb_text_add_size(note, look->scratch_free);
	fb_buf_add_str(note, " of what it overwrites meanwhile");
}

static void
add_way(struct fb_buf *note, const struct look *look,
    const struct fb_domain_disk *disk, const struct fb_volume *volume)
{
	bool overlay = fb_libvirt_overlays(
	    look->driver, is_live(look), &look->defined);
	bool running = look->running && !is_read_stopped(look);
	bool keeps =
	    look->running ? running : fb_libvirt_has_account(look->ref);

	if (!look->running)
		fb_buf_add_str(note, "; read while it is down");
	else if (running && overlay)
		fb_buf_add_str(note, "; it has a guest agent, so it is read "
		                     "below an overlay while the machine "
		                     "runs");
	else if (!running && fb_libvirt_hands_errors(&look->defined))
		fb_buf_add_str(note, "; the guest would get an error when "
		                     "scratch is full, by error_policy, so "
		                     "the machine stays down while it is "
		                     "read");
	else if (!running)
		fb_buf_add_str(note, "; it has a guest agent, so the machine "
		                     "stays down while it is read");
	else
		fb_buf_add_str(note, "; read from a backup job while the "
		                     "machine runs");
	/* Only QEMU tells what changed, and of this format only. */
	if (keeps && look->driver->checkpoints &&
	    strcmp(disk->format, "qcow2") == 0)
		fb_buf_add_str(note, ", what changed since its last run");
	else
		fb_buf_add_str(note, ", in full");
	if (running)
		add_room(note, look, volume);
}

static int
add_disk(const struct look *look, const struct fb_domain_disk *disk,
    const char *why, struct fb_machine *machine, struct fb_error *err)
{
	struct fb_volume *volume = fb_machine_add_volume(machine);
	FB_AUTO_BUF struct fb_buf note = { 0 };
	FB_AUTO_FREE char *found = NULL;
	int rc = FB_OK;

	volume->name = fb_strdup(disk->target);
	volume->kind = kind_of(disk);
	if (volume->kind != FB_VOLUME_DISK) {
		volume->method = "none";
		volume->note =
		    fb_strdup("removable: listed, never captured");
		return FB_OK;
	}
	if (why != NULL)
		found = fb_strdup(why);
	else
		rc = why_not(look, disk, volume, &found, err);
	if (rc < 0)
		return rc;
	add_place(&note, look, disk);
	if (found != NULL) {
		volume->method = FB_METHOD_LEFT_OUT;
		fb_buf_add_fmt(&note, "; not captured: %s", found);
	} else {
		volume->read_stopped = is_read_stopped(look);
		volume->method = volume->read_stopped ? "read-stopped"
		    : fb_libvirt_overlays(
		          look->driver, is_live(look), &look->defined)
		    ? "overlay"
		    : "backup-job";
		add_way(&note, look, disk, volume);
	}
	volume->note = fb_strdup(fb_buf_str(&note));
	return FB_OK;
}

static void
add_definition(const struct look *look, struct fb_machine *machine)
{
	struct fb_volume *volume = fb_machine_add_volume(machine);
	const char *files[] = { look->defined.nvram, look->defined.kernel,
		look->defined.initrd };
	FB_AUTO_BUF struct fb_buf note = { 0 };

	volume->name = fb_strdup(FB_LIBVIRT_DEFINITION);
	volume->kind = FB_VOLUME_DEFINITION;
	volume->method = "copy";
	if (look->defined.host_devices > 0)
		fb_buf_add_fmt(&note, "%zu device%s of the host %s passed "
		                      "through and not captured",
		    look->defined.host_devices,
		    look->defined.host_devices == 1 ? "" : "s",
		    look->defined.host_devices == 1 ? "is" : "are");
	for (size_t i = 0; i < 3; i++)
		if (files[i] != NULL &&
		    fb_libvirt_is_too_large(look->driver, files[i]))
			fb_buf_add_fmt(&note, "%s'%s' is not captured: it is "
			                      "no file, or larger than 64 MiB",
			    note.len > 0 ? "; " : "", files[i]);
	if (look->defined.nvram_elsewhere != NULL)
		fb_buf_add_fmt(&note, "%sthe firmware's variables are not "
		                      "captured: they are on a source of type "
		                      "'%s'", note.len > 0 ? "; " : "",
		    look->defined.nvram_elsewhere);
	fb_libvirt_tpm_note(look->driver, &look->defined, &note);
	fb_libvirt_past_note(look->ref, &note);
	if (note.len > 0)
		volume->note = fb_strdup(fb_buf_str(&note));
}

static bool
is_live_only(const struct look *look, const struct fb_domain_disk *disk)
{
	return fb_domain_disk(&look->defined, disk->target) == NULL;
}

static int
add_volumes(const struct look *look, struct fb_machine *machine,
    struct fb_error *err)
{
	int rc = FB_OK;

	for (size_t i = 0; rc == FB_OK && i < look->defined.disk_count; i++)
		rc = add_disk(
		    look, &look->defined.disks[i], NULL, machine, err);
	for (size_t i = 0; rc == FB_OK && i < look->live.disk_count; i++)
		if (is_live_only(look, &look->live.disks[i]))
			rc = add_disk(look, &look->live.disks[i],
			    "it is attached only until the machine stops",
			    machine, err);
	add_definition(look, machine);
	return rc;
}

static enum fb_lifecycle
lifecycle_of(const struct look *look)
{
	if (look->driver->live && !look->running)
		return FB_LIFECYCLE_READ_DOWN;
	if (is_live(look))
		return fb_libvirt_freezes(look->driver, &look->live)
		    ? FB_LIFECYCLE_PAUSE_IN_CREATE
		    : FB_LIFECYCLE_SNAPSHOT_LIVE;
	return is_read_stopped(look) ? FB_LIFECYCLE_STOP_COPY_START
	                             : FB_LIFECYCLE_STOP_SNAPSHOT_START;
}

/* What a stop and a start would take from a domain that runs. */
static int
check_live_only(const struct look *look, struct fb_error *err)
{
	for (size_t i = 0; i < look->live.disk_count; i++) {
		const struct fb_domain_disk *disk = &look->live.disks[i];

		if (disk->device == FB_DOMAIN_CDROM ||
		    disk->device == FB_DOMAIN_FLOPPY)
			continue;
		if (is_live_only(look, disk))
			(void)fb_fail_id(err, FB_ECONFLICT, "E-DISK-LIVE-ONLY",
			    "its disk '%s' is attached until it stops, and it "
			    "would start without it",
			    disk->target);
		else if (is_swapped(look,
		             fb_domain_disk(&look->defined, disk->target)))
			(void)fb_fail_id(err, FB_ECONFLICT, "E-DISK-LIVE-ONLY",
			    "its disk '%s' would start with another image "
			    "than it runs with",
			    disk->target);
		else
			continue;
		return fb_hint(err, "give it that disk for good (virsh "
		                    "attach-disk --config), or set capture: "
		                    "live");
	}
	return FB_OK;
}

/* Before anything is stopped: a run's token has this many bytes at most. */
static int
check_scratch(const struct look *look, const struct fb_machine *machine,
    struct fb_error *err)
{
	char token[FB_RUN_ID_LEN + sizeof(".99999")];

	if (is_read_stopped(look))
		return FB_OK;
	memset(token, '9', sizeof(token) - 1);
	token[sizeof(token) - 1] = '\0';
	return fb_libvirt_check_socket(
	    look->driver, machine->id, token, err);
}

static int
check_running(const struct look *look, const struct fb_machine *machine,
    struct fb_error *err)
{
	int rc = check_scratch(look, machine, err);

	if (rc == FB_OK &&
	    machine->lifecycle == FB_LIFECYCLE_SNAPSHOT_LIVE &&
	    look->driver->freeze == FB_LIBVIRT_FREEZE_REQUIRE) {
		(void)fb_fail_id(err, FB_ECONFLICT, "E-FREEZE",
		    "no guest agent answers that could freeze its file "
		    "systems");
		return fb_hint(err, "start qemu-guest-agent in the guest, or "
		                    "set freeze: try");
	}
	if (rc == FB_OK &&
	    machine->lifecycle != FB_LIFECYCLE_SNAPSHOT_LIVE &&
	    machine->lifecycle != FB_LIFECYCLE_PAUSE_IN_CREATE)
		rc = check_live_only(look, err);
	return rc < 0 ? rc
	              : fb_libvirt_check_job(
	                    look->driver, look->ref, machine->id, err);
}

/* What is wrong with the machine as a whole. */
static int
check(const struct look *look, const struct fb_machine *machine,
    struct fb_error *err)
{
	if (strpbrk(look->defined.name, "\t\r\n") != NULL)
		return fb_fail_id(err, FB_ECONFIG, "E-NAME",
		    "its name '%s' has a line break or a tabulator",
		    look->defined.name);
	if (!fb_libvirt_reaches(look->driver)) {
		(void)fb_fail(err, FB_EUNSUP,
		    "its hypervisor is another host, and disks are read from "
		    "another host over ssh only");
		return fb_hint(err, "a uri of the form qemu+ssh://HOST/system, "
		                    "or run fleetbak on that host");
	}
	if (look->saved) {
		(void)fb_fail_id(err, FB_ECONFLICT, "E-DOMAIN-SAVED",
		    "it was saved to disk with its memory, so its disks are "
		    "not at rest");
		return fb_hint(err, "virsh start it, or give the saved memory "
		                    "up: virsh managedsave-remove");
	}
	for (size_t i = 0; look->driver->refuse_left_out &&
	     i < machine->volume_count; i++)
		if (strcmp(machine->volumes[i].method, FB_METHOD_LEFT_OUT) ==
		    0) {
			(void)fb_fail_id(err, FB_EREFUSED, "E-DISK-LEFT-OUT",
			    "disk '%s' cannot be captured: %s",
			    machine->volumes[i].name,
			    machine->volumes[i].note);
			return fb_hint(err, "'uncaptured: note' of its source "
			                    "backs up the rest");
		}
	return look->running ? check_running(look, machine, err) : FB_OK;
}

static int
take_look(struct look *look, struct fb_machine *machine, struct fb_error *err)
{
	int state = VIR_DOMAIN_NOSTATE, reason = 0;
	int rc;

	if (fb_libvirt.virDomainGetState(look->ref, &state, &reason, 0) < 0)
		return fb_libvirt_fail(err, false, "cannot tell its state");
	machine->power = fb_libvirt_power(look->driver, machine->id, state);
	look->running = !fb_libvirt_is_off(state);
	look->scratch_free = look->driver->local
	    ? fb_libvirt_room(look->driver->scratch)
	    : UINT64_MAX;
	look->persistent = fb_libvirt.virDomainIsPersistent(look->ref) != 0;
	look->saved = !look->running &&
	    fb_libvirt.virDomainHasManagedSaveImage(look->ref, 0) == 1;
	rc = fb_libvirt_read_without(look->driver, look->ref, machine->id,
	    false, &look->defined, err);
	if (rc == FB_OK && look->running)
		rc = fb_libvirt_read_without(look->driver, look->ref,
		    machine->id, true, &look->live, err);
	return rc;
}

void
fb_libvirt_describe(const struct fb_libvirt_driver *driver,
    virConnectPtr connection, virDomainPtr domain, struct fb_machine *machine)
{
	AUTO_LOOK struct look look = { .driver = driver,
		.connection = connection,
		.ref = domain };
	struct fb_error err = { 0 };
	int rc = take_look(&look, machine, &err);

	if (rc == FB_OK) {
		machine->lifecycle = lifecycle_of(&look);
		machine->description = look.defined.digest;
		rc = add_volumes(&look, machine, &err);
	}
	if (rc == FB_OK)
		rc = check(&look, machine, &err);
	if (rc < 0)
		fb_machine_refuse(machine, &err);
}

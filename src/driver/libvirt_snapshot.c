/*
 * Captures of a domain.  What a capture needs lies in its place below the
 * scratch directory, whose name has the token; a file made last says that it
 * is whole, and of which kind it is:
 *
 *	job         a pull-mode backup job of libvirt, served by QEMU
 *	down        the domain was off and stays so; its images are read
 *	definition  every disk is read elsewhere
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/base/seam.h"
#include "libvirt_internal.h"
#include "local_internal.h"

/* QEMU's user passes through, and lists nothing. */
#define PLACE_MODE 0711
#define OWN_MODE   0700

#define WHOLE    "whole"
#define KIND_MAX 32

static const char kind_job[] = "job\n";
static const char kind_down[] = "down\n";
static const char kind_definition[] = "definition\n";

/* How long the end of a job may take: libvirt answers before it has ended,
 * and may be busy with the guest's agent for half a minute. */
#define END_NS  (INT64_C(90) * 1000000000)
#define LOOK_NS INT64_C(20000000)

char *
fb_libvirt_place(const struct fb_libvirt_driver *driver, const char *uuid,
    const char *name)
{
	return fb_format("%s/%s%s%s", driver->scratch, uuid,
	    name[0] != '\0' ? "/" : "", name);
}

static char *
part_of(const struct fb_libvirt_driver *driver, const char *uuid,
    const char *token, const char *name)
{
	return fb_format("%s/%s/%s/%s", driver->scratch, uuid, token, name);
}

char *
fb_libvirt_socket(const struct fb_libvirt_driver *driver, const char *uuid,
    const char *token)
{
	return part_of(driver, uuid, token, "q/nbd");
}

bool
fb_libvirt_is_ours_paused(
    const struct fb_libvirt_driver *driver, const char *uuid)
{
	FB_AUTO_FREE char *path =
	    fb_libvirt_place(driver, uuid, FB_LIBVIRT_PAUSED);
	struct fb_error ignored;
	struct stat st;

	return driver->local && fb_io_look(path, &st, &ignored) == FB_OK;
}

/* The socket that the domain's backup job has, or NULL. */
static char *
job_socket(virDomainPtr domain)
{
	char *xml = fb_libvirt.virDomainBackupGetXMLDesc(domain, 0);
	char *socket = NULL;

	if (xml != NULL)
		socket = fb_domain_backup_socket((struct fb_span){
		    (const uint8_t *)xml, strlen(xml) });
	free(xml);
	return socket;
}

enum fb_libvirt_job
fb_libvirt_job(const struct fb_libvirt_driver *driver, virDomainPtr domain,
    const char *uuid, const char *token)
{
	FB_AUTO_FREE char *socket = job_socket(domain);
	FB_AUTO_FREE char *own = fb_libvirt_socket(driver, uuid, token);
	FB_AUTO_FREE char *place = fb_libvirt_place(driver, uuid, "");
	size_t len = strlen(place);
	virDomainJobInfo info;

	if (socket != NULL)
		return strcmp(socket, own) == 0 ? FB_LIBVIRT_OUR_JOB
		    : strncmp(socket, place, len) == 0 && socket[len] == '/'
		    ? FB_LIBVIRT_OLD_JOB
		    : FB_LIBVIRT_FOREIGN_JOB;
	/* Asked before anything is begun: a second job would wait for the
	 * first one for half a minute, and then fail. */
	return fb_libvirt.virDomainGetJobInfo(domain, &info) == 0 &&
	        info.type != VIR_DOMAIN_JOB_NONE
	    ? FB_LIBVIRT_FOREIGN_JOB
	    : FB_LIBVIRT_NO_JOB;
}

int
fb_libvirt_check_job(const struct fb_libvirt_driver *driver,
    virDomainPtr domain, const char *uuid, struct fb_error *err)
{
	if (fb_libvirt_job(driver, domain, uuid, "") !=
	    FB_LIBVIRT_FOREIGN_JOB)
		return FB_OK;
	(void)fb_fail_id(err, FB_EBUSY, "E-DOMAIN-BUSY",
	    "a job that is not fleetbak's is under way on it");
	return fb_hint(err, "virsh domjobinfo shows it");
}

/* Ours, of this token or an old one. */
static int
end_job(virDomainPtr domain, struct fb_error *err)
{
	int64_t deadline = fb_clock_mono_ns() + END_NS;

	if (fb_libvirt_effect(domain, "abort-job", err) < 0)
		return err->code;
	if (fb_libvirt.virDomainAbortJob(domain) < 0) {
		FB_AUTO_FREE char *socket = NULL;
		int rc = fb_libvirt_fail(
		    err, true, "cannot end the backup job");

		socket = job_socket(domain);
		return socket != NULL ? rc : FB_OK;
	}
	for (;;) {
		FB_AUTO_FREE char *socket = job_socket(domain);
		int64_t now = fb_clock_mono_ns();

		if (socket == NULL)
			return FB_OK;
		if (now >= deadline)
			return fb_fail(err, FB_ETIMEOUT,
			    "the backup job does not end");
		fb_clock_wait(now + LOOK_NS);
	}
}

/*
 * Is it there?
 */

/* "" when it is not whole. */
static int
read_kind(const struct fb_libvirt_driver *driver, const char *uuid,
    const char *token, struct fb_buf *ret_kind, struct fb_error *err)
{
	FB_AUTO_FREE char *whole = part_of(driver, uuid, token, WHOLE);
	int rc = fb_io_read_file(whole, KIND_MAX, ret_kind, err);

	return rc == FB_ENOTFOUND ? FB_OK : rc;
}

static int
judge(struct fb_libvirt_driver *driver, const char *uuid, const char *token,
    struct fb_error *err)
{
	FB_AUTO_FREE char *place = fb_libvirt_place(driver, uuid, token);
	FB_AUTO_REF struct fb_libvirt_ref ref = { 0 };
	FB_AUTO_BUF struct fb_buf kind = { 0 };
	struct stat st;
	int state, rc = fb_io_look(place, &st, err);

	if (rc < 0)
		return rc;
	rc = read_kind(driver, uuid, token, &kind, err);
	if (rc == FB_OK)
		rc = fb_libvirt_find(driver, uuid, &ref, err);
	if (rc < 0)
		return rc;
	if (strcmp(fb_buf_str(&kind), kind_definition) == 0)
		return FB_OK;
	if (strcmp(fb_buf_str(&kind), kind_job) == 0) {
		if (fb_libvirt_job(driver, ref.domain, uuid, token) ==
		    FB_LIBVIRT_OUR_JOB)
			return FB_OK;
		return fb_fail(err, FB_EFAILED,
		    "its backup job has ended before it was read");
	}
	if (strcmp(fb_buf_str(&kind), kind_down) != 0)
		return fb_fail(
		    err, FB_EFAILED, "capture '%s' is not whole", token);
	rc = fb_libvirt_state(ref.domain, &state, err);
	if (rc == FB_OK && !fb_libvirt_is_off(state))
		rc = fb_fail(err, FB_EFAILED, "it was started meanwhile");
	return rc;
}

int
fb_libvirt_find_by_token(struct fb_driver *base,
    const struct fb_machine *machine, const char *token, struct fb_error *err)
{
	return judge(
	    (struct fb_libvirt_driver *)base, machine->id, token, err);
}

/*
 * Making it.
 */

struct capture {
	struct fb_libvirt_driver *driver;
	const struct fb_machine *machine;
	const char *uuid, *token;
	virDomainPtr domain;
	bool will_start;
	const char **wanted; /* targets for the job; ends with NULL */
	size_t wanted_count;
};

static int
write_xml(const struct capture *capture, bool live, const char *name,
    struct fb_error *err)
{
	FB_AUTO_FREE char *file =
	    fb_format("%s/%s", FB_LIBVIRT_DEFINITION, name);
	FB_AUTO_FREE char *path =
	    part_of(capture->driver, capture->uuid, capture->token, file);
	FB_AUTO_BUF struct fb_buf xml = { 0 };
	int rc = fb_libvirt_xml(capture->domain, live, &xml, err);

	return rc < 0 ? rc
	              : fb_io_replace(path, fb_buf_span(&xml), 0600, err);
}

bool
fb_libvirt_is_too_large(const char *path)
{
	struct stat st;

	return path[0] != '/' ||
	    (stat(path, &st) == 0 &&
	        (!S_ISREG(st.st_mode) ||
	            (uint64_t)st.st_size > FB_LIBVIRT_FILE_MAX));
}

/* A file that the domain starts with, into the definition under this name.
 * One that is not there, as an NVRAM before the first start, is none, and of
 * one that is too large the plan says so. */
static int
keep_file(const struct capture *capture, const char *from, const char *name,
    struct fb_error *err)
{
	FB_AUTO_FREE char *file =
	    fb_format("%s/%s", FB_LIBVIRT_DEFINITION, name);
	FB_AUTO_FREE char *path =
	    part_of(capture->driver, capture->uuid, capture->token, file);
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	int rc;

	if (from == NULL || fb_libvirt_is_too_large(from))
		return FB_OK;
	rc = fb_io_read_file(from, FB_LIBVIRT_FILE_MAX, &bytes, err);
	if (rc == FB_ENOTFOUND)
		return FB_OK;
	if (rc == FB_OK)
		rc = fb_io_replace(path, fb_buf_span(&bytes), 0600, err);
	return rc < 0 ? fb_wrap(err, "%s", name) : FB_OK;
}

/* What the guest itself writes. */
static int
keep_nvram(const struct capture *capture, struct fb_error *err)
{
	FB_AUTO_DOMAIN struct fb_domain defined = { 0 };
	int rc = fb_libvirt_read(capture->domain, false, &defined, err);

	return rc < 0 ? rc
	              : keep_file(capture, defined.nvram, FB_LIBVIRT_NVRAM,
	                    err);
}

/* What it does not write can wait until it is up again. */
static int
keep_kernel(struct fb_libvirt_driver *driver, const char *uuid,
    const char *token, struct fb_error *err)
{
	FB_AUTO_REF struct fb_libvirt_ref ref = { 0 };
	FB_AUTO_DOMAIN struct fb_domain defined = { 0 };
	struct capture capture = {
		.driver = driver, .uuid = uuid, .token = token
	};
	int rc = fb_libvirt_find(driver, uuid, &ref, err);

	if (rc == FB_OK)
		rc = fb_libvirt_read(ref.domain, false, &defined, err);
	if (rc == FB_OK)
		rc = keep_file(&capture, defined.kernel, "kernel", err);
	if (rc == FB_OK)
		rc = keep_file(&capture, defined.initrd, "initrd", err);
	return rc;
}

static int
make_place(const struct capture *capture, bool running, struct fb_error *err)
{
	FB_AUTO_FREE char *place =
	    fb_libvirt_place(capture->driver, capture->uuid, capture->token);
	FB_AUTO_FREE char *definition = part_of(capture->driver,
	    capture->uuid, capture->token, FB_LIBVIRT_DEFINITION);
	FB_AUTO_FREE char *own =
	    part_of(capture->driver, capture->uuid, capture->token, "q");
	int rc = fb_io_mkdirs(place, PLACE_MODE, err);

	if (rc == FB_OK)
		rc = fb_io_mkdirs(definition, OWN_MODE, err);
	if (rc == FB_OK)
		rc = fb_io_mkdirs(own, OWN_MODE, err);
	if (rc == FB_OK)
		rc = write_xml(capture, false, "domain.xml", err);
	if (rc == FB_OK && running)
		rc = write_xml(capture, true, "live.xml", err);
	return rc < 0 ? rc : keep_nvram(capture, err);
}

static int
make_whole(const struct capture *capture, const char *kind,
    struct fb_error *err)
{
	FB_AUTO_FREE char *path =
	    part_of(capture->driver, capture->uuid, capture->token, WHOLE);

	return fb_io_replace(path,
	    (struct fb_span){ (const uint8_t *)kind, strlen(kind) }, 0600,
	    err);
}

/* QEMU, which is another user, makes its socket there. */
static int
give_away(const struct capture *capture, const struct fb_domain *live,
    struct fb_error *err)
{
	FB_AUTO_FREE char *own =
	    part_of(capture->driver, capture->uuid, capture->token, "q");

	if (!live->has_owner || live->uid == geteuid())
		return FB_OK;
	if (fb_seam_fails(FB_STEP_RENAME, own) ||
	    chown(own, live->uid, live->gid) == -1)
		return fb_fail_sys(err,
		    "cannot give '%s' to the domain's user", own);
	return FB_OK;
}

static int
check_socket(const char *path, struct fb_error *err)
{
	if (strlen(path) < sizeof(((struct sockaddr_un *)NULL)->sun_path))
		return FB_OK;
	(void)fb_fail(err, FB_ECONFIG,
	    "'%s' is too long for the name of a socket", path);
	return fb_hint(err, "set 'scratch' of its source to a shorter path");
}

static int
begin_job(const struct capture *capture, struct fb_error *err)
{
	FB_AUTO_FREE char *socket = fb_libvirt_socket(
	    capture->driver, capture->uuid, capture->token);
	FB_AUTO_FREE char *own =
	    part_of(capture->driver, capture->uuid, capture->token, "q");
	FB_AUTO_DOMAIN struct fb_domain live = { 0 };
	FB_AUTO_BUF struct fb_buf xml = { 0 };
	int rc = check_socket(socket, err);

	if (rc == FB_OK)
		rc = fb_libvirt_read(capture->domain, true, &live, err);
	for (size_t i = 0; rc == FB_OK && i < capture->wanted_count; i++)
		if (fb_domain_disk(&live, capture->wanted[i]) == NULL)
			rc = fb_fail(err, FB_ESTALE,
			    "it has no disk '%s' any more",
			    capture->wanted[i]);
	if (rc == FB_OK)
		rc = give_away(capture, &live, err);
	if (rc < 0)
		return rc;
	fb_domain_backup_xml(&live, capture->wanted, socket, own, &xml);
	rc = fb_libvirt_effect(capture->domain, "backup-begin", err);
	if (rc == FB_OK &&
	    fb_libvirt.virDomainBackupBegin(
	        capture->domain, fb_buf_str(&xml), NULL, 0) < 0)
		rc = fb_libvirt_fail(
		    err, true, "cannot begin a backup job");
	return rc;
}

/* The claim comes first: a domain that is paused without it is somebody
 * else's. */
static int
start_paused(const struct capture *capture, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_libvirt_place(
	    capture->driver, capture->uuid, FB_LIBVIRT_PAUSED);
	struct fb_span token = { (const uint8_t *)capture->token,
		strlen(capture->token) };
	int rc = fb_io_replace(path, token, 0600, err);

	if (rc == FB_OK)
		rc = fb_libvirt_effect(capture->domain, "start-paused", err);
	if (rc == FB_OK &&
	    fb_libvirt.virDomainCreateWithFlags(
	        capture->domain, VIR_DOMAIN_START_PAUSED) < 0)
		rc = fb_libvirt_fail(err, true, "cannot start it paused");
	return rc;
}

/* The kind of capture that its state allows. */
static int
capture_now(const struct capture *capture, int state, struct fb_error *err)
{
	bool off = fb_libvirt_is_off(state);
	int rc = FB_OK;

	if (capture->wanted_count == 0)
		return make_whole(capture, kind_definition, err);
	if (off && !capture->will_start)
		return make_whole(capture, kind_down, err);
	if (off)
		rc = start_paused(capture, err);
	else if (!fb_libvirt_is_up(state) &&
	    !(state == VIR_DOMAIN_PAUSED &&
	        fb_libvirt_is_ours_paused(capture->driver, capture->uuid)))
		rc = fb_fail(err, FB_ECONFLICT, "it is paused or suspended");
	if (rc == FB_OK)
		rc = begin_job(capture, err);
	return rc < 0 ? rc : make_whole(capture, kind_job, err);
}

/* The disks for a job.  Not by what `machine` says of how they are read: it
 * may have been looked at when a run that died had stopped it. */
static int
choose_disks(struct capture *capture, struct fb_error *err)
{
	const struct fb_machine *machine = capture->machine;
	FB_AUTO_DOMAIN struct fb_domain defined = { 0 };
	int rc = fb_libvirt_read(capture->domain, false, &defined, err);

	capture->wanted = fb_alloc(
	    machine->volume_count + 1, sizeof(*capture->wanted));
	for (size_t i = 0; rc == FB_OK &&
	     !fb_libvirt_reads_stopped(capture->driver, &defined) &&
	     i < machine->volume_count; i++)
		if (machine->volumes[i].kind == FB_VOLUME_DISK &&
		    fb_volume_is_captured(&machine->volumes[i]))
			capture->wanted[capture->wanted_count++] =
			    machine->volumes[i].name;
	return rc;
}

/* What is there of this token, or of a run that died, goes first. */
static int
clear_way(const struct capture *capture, struct fb_error *err)
{
	FB_AUTO_FREE char *place =
	    fb_libvirt_place(capture->driver, capture->uuid, capture->token);
	int rc = fb_libvirt_check_job(
	    capture->driver, capture->domain, capture->uuid, err);

	if (rc == FB_OK &&
	    fb_libvirt_job(capture->driver, capture->domain, capture->uuid,
	        capture->token) != FB_LIBVIRT_NO_JOB)
		rc = end_job(capture->domain, err);
	return rc < 0 ? rc : fb_io_remove_tree(place, err);
}

int
fb_libvirt_create_snapshot(struct fb_driver *base,
    const struct fb_machine *machine, const struct fb_verb *verb,
    struct fb_error *err)
{
	FB_AUTO_REF struct fb_libvirt_ref ref = { 0 };
	FB_AUTO_FREE const char **wanted = NULL;
	struct capture capture = {
		.driver = (struct fb_libvirt_driver *)base,
		.machine = machine,
		.uuid = machine->id,
		.token = verb->token,
		.will_start = verb->will_start,
	};
	struct fb_error ignored = { 0 };
	int state, rc;

	if (judge(capture.driver, machine->id, verb->token, &ignored) == FB_OK)
		return FB_OK;
	rc = fb_libvirt_find(capture.driver, machine->id, &ref, err);
	if (rc < 0)
		return rc;
	capture.domain = ref.domain;
	rc = choose_disks(&capture, err);
	wanted = capture.wanted;
	if (rc == FB_OK)
		rc = clear_way(&capture, err);
	if (rc == FB_OK)
		rc = fb_libvirt_state(ref.domain, &state, err);
	if (rc == FB_OK)
		rc = make_place(&capture, !fb_libvirt_is_off(state), err);
	return rc < 0 ? rc : capture_now(&capture, state, err);
}

/*
 * The others.
 */

static bool
is_uuid_dir(const char *name)
{
	return strlen(name) == FB_UUID_LEN && fb_name_ok(name, FB_UUID_LEN);
}

static int
visit_machine(const struct fb_libvirt_driver *driver, const char *uuid,
    fb_driver_visit_token *visit, void *arg, struct fb_error *err)
{
	FB_AUTO_FREE char *place = fb_libvirt_place(driver, uuid, "");
	FB_AUTO_LISTING char **names = NULL;
	int rc = fb_io_list(place, &names, err);

	for (size_t i = 0; rc == FB_OK && names[i] != NULL; i++)
		if (strcmp(names[i], FB_LIBVIRT_PAUSED) != 0 &&
		    fb_name_ok(names[i], strlen(names[i])))
			rc = visit(uuid, names[i], arg, err);
	return rc == FB_ENOTFOUND ? FB_OK : rc;
}

int
fb_libvirt_list_snapshots(struct fb_driver *base,
    fb_driver_visit_token *visit, void *arg, struct fb_error *err)
{
	const struct fb_libvirt_driver *driver =
	    (struct fb_libvirt_driver *)base;
	FB_AUTO_LISTING char **names = NULL;
	int rc = fb_io_list(driver->scratch, &names, err);

	for (size_t i = 0; rc == FB_OK && names[i] != NULL; i++)
		if (is_uuid_dir(names[i]))
			rc = visit_machine(driver, names[i], visit, arg, err);
	return rc == FB_ENOTFOUND ? FB_OK : rc;
}

/* When it is the last one; a mark of a domain that runs again is stale. */
static int
leave_place(const struct fb_libvirt_driver *driver, virDomainPtr domain,
    const char *uuid, struct fb_error *err)
{
	FB_AUTO_FREE char *mark =
	    fb_libvirt_place(driver, uuid, FB_LIBVIRT_PAUSED);
	FB_AUTO_FREE char *place = fb_libvirt_place(driver, uuid, "");
	int state = VIR_DOMAIN_NOSTATE, rc = FB_OK;

	if (domain != NULL)
		rc = fb_libvirt_state(domain, &state, err);
	if (rc == FB_OK && state != VIR_DOMAIN_PAUSED)
		rc = fb_io_unlink(mark, err);
	if (rc == FB_OK && !fb_seam_fails(FB_STEP_RENAME, place))
		(void)rmdir(place); /* not empty: another one is there */
	return rc;
}

int
fb_libvirt_remove_snapshot(struct fb_driver *base,
    const struct fb_machine *machine, const struct fb_verb *verb,
    struct fb_error *err)
{
	struct fb_libvirt_driver *driver = (struct fb_libvirt_driver *)base;
	FB_AUTO_FREE char *place =
	    fb_libvirt_place(driver, machine->id, verb->token);
	FB_AUTO_REF struct fb_libvirt_ref ref = { 0 };
	int rc = fb_libvirt_find(driver, machine->id, &ref, err);

	if (rc == FB_OK &&
	    fb_libvirt_job(driver, ref.domain, machine->id, verb->token) ==
	        FB_LIBVIRT_OUR_JOB)
		rc = end_job(ref.domain, err);
	if (rc == FB_ENOTFOUND) /* the domain went, and its job with it */
		rc = FB_OK;
	if (rc == FB_OK)
		rc = fb_io_remove_tree(place, err);
	return rc < 0 ? rc
	              : leave_place(driver, ref.domain, machine->id, err);
}

/*
 * Reading.
 */

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

/* The image of a domain that is off; while it is read it cannot start. */
static int
open_image(struct fb_libvirt_driver *driver, const char *uuid,
    const char *target, struct fb_artifact **ret_artifact,
    struct fb_error *err)
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
	if (disk == NULL || disk->why != NULL)
		return fb_fail(err, FB_ENOTFOUND,
		    "it has no disk '%s' that could be read", target);
	rc = fb_libvirt_image(ref.connection, disk, &path, err);
	return rc < 0
	    ? rc
	    : fb_libvirt_read_image(path, disk->format, ret_artifact, err);
}

int
fb_libvirt_open_volume(struct fb_driver *base,
    const struct fb_machine *machine, const struct fb_volume *volume,
    const char *token, struct fb_artifact **ret_artifact, struct fb_error *err)
{
	struct fb_libvirt_driver *driver = (struct fb_libvirt_driver *)base;
	FB_AUTO_FREE char *socket = NULL;
	FB_AUTO_BUF struct fb_buf kind = { 0 };
	int rc;

	if (token == NULL)
		return open_image(
		    driver, machine->id, volume->name, ret_artifact, err);
	rc = judge(driver, machine->id, token, err);
	if (rc == FB_OK)
		rc = read_kind(driver, machine->id, token, &kind, err);
	if (rc < 0)
		return rc;
	if (volume->kind == FB_VOLUME_DEFINITION) {
		FB_AUTO_FREE char *place = part_of(
		    driver, machine->id, token, FB_LIBVIRT_DEFINITION);

		rc = keep_kernel(driver, machine->id, token, err);
		if (rc == FB_OK)
			*ret_artifact =
			    fb_local_tree_artifact(place, NULL, NULL);
		return rc;
	}
	if (strcmp(fb_buf_str(&kind), kind_job) != 0)
		return open_image(
		    driver, machine->id, volume->name, ret_artifact, err);
	socket = fb_libvirt_socket(driver, machine->id, token);
	return fb_libvirt_read_job(socket, volume->name, ret_artifact, err);
}

/*
 * Captures of a domain.  What a capture needs lies in its place below the
 * scratch directory, whose name has the token; a file made last says that it
 * is whole, and of which kind it is:
 *
 *	job         a pull-mode backup job of libvirt, served by QEMU
 *	overlay     its images, which are read while it writes above them
 *	down        the domain was off and stays so; its images are read
 *	definition  every disk is read elsewhere
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/seam.h"
#include "libvirt_checkpoint.h"
#include "libvirt_internal.h"
#include "libvirt_overlay.h"
#include "libvirt_record.h"

#define OWN_MODE 0700

/* The stamp of a job of a guest whose file systems were frozen. */
#define FROZEN "frozen\n"

/*
 * Is it there?
 */

static int
judge_job(struct fb_libvirt_driver *driver,
    const struct fb_libvirt_ref *ref, const char *uuid, const char *token,
    struct fb_error *err)
{
	enum fb_libvirt_job job;
	int rc = fb_libvirt_job(driver, ref->domain, uuid, token, &job, err);

	if (rc == FB_OK && job != FB_LIBVIRT_OUR_JOB)
		rc = fb_libvirt_check_full(driver, uuid, err);
	return rc < 0 || job == FB_LIBVIRT_OUR_JOB
	    ? rc
	    : fb_fail(err, FB_EFAILED,
	          "its backup job has ended before it was read");
}

/* It may have run meanwhile, and be off again. */
static int
judge_down(const struct fb_libvirt_driver *driver,
    const struct fb_libvirt_ref *ref, struct fb_span was,
    struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf stamp = { 0 };
	int state, rc = fb_libvirt_state(ref->domain, &state, err);

	if (rc == FB_OK && !fb_libvirt_is_off(state))
		return fb_fail(err, FB_EFAILED, "it was started meanwhile");
	if (rc == FB_OK)
		rc = fb_libvirt_stamp(driver, ref, &stamp, err);
	if (rc == FB_OK &&
	    (stamp.len != was.len ||
	        (was.len > 0 && memcmp(stamp.data, was.ptr, was.len) != 0)))
		rc = fb_fail(
		    err, FB_EFAILED, "somebody wrote to its images meanwhile");
	return rc;
}

static int
judge(struct fb_libvirt_driver *driver, const char *uuid, const char *token,
    struct fb_error *err)
{
	FB_AUTO_FREE char *place = fb_libvirt_place(driver, uuid, token);
	FB_AUTO_REF struct fb_libvirt_ref ref = { 0 };
	FB_AUTO_BUF struct fb_buf stamp = { 0 };
	enum fb_libvirt_kind kind;
	struct stat st;
	int rc = fb_io_look(place, &st, err);

	if (rc < 0)
		return rc;
	rc = fb_libvirt_read_kind(driver, uuid, token, &kind, &stamp, err);
	if (rc == FB_OK)
		rc = fb_libvirt_find(driver, uuid, &ref, err);
	if (rc < 0)
		return rc;
	if (kind == FB_LIBVIRT_DEFINITION_ONLY)
		return FB_OK;
	if (kind == FB_LIBVIRT_JOB)
		return judge_job(driver, &ref, uuid, token, err);
	if (kind == FB_LIBVIRT_OVERLAY)
		return fb_libvirt_overlay_check(
		    driver, ref.domain, uuid, token, err);
	if (kind == FB_LIBVIRT_DOWN)
		return judge_down(driver, &ref, fb_buf_span(&stamp), err);
	rc = fb_libvirt_check_full(driver, uuid, err);
	return rc < 0 ? rc
	              : fb_fail(err, FB_EFAILED, "capture '%s' is not whole",
	                    token);
}

/* Who had its guest until now may have ended it, or merged it. */
static int
hold_whole(struct fb_libvirt_driver *driver, const char *uuid,
    const char *token, struct fb_error *err)
{
	bool had = fb_libvirt_has_hold(driver, uuid);
	int rc = fb_libvirt_hold(driver, uuid, err);

	if (rc < 0 || had)
		return rc;
	rc = judge(driver, uuid, token, err);
	if (rc < 0)
		fb_libvirt_let_go_of(driver, uuid);
	return rc;
}

/* Somebody goes on with it: from now on it is looked after, however long it
 * takes until it is read. */
static int
take_over(struct fb_libvirt_driver *driver, const char *uuid,
    const char *token, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf stamp = { 0 };
	enum fb_libvirt_kind kind;
	int rc = hold_whole(driver, uuid, token, err);

	if (rc == FB_OK)
		rc = fb_libvirt_read_kind(
		    driver, uuid, token, &kind, &stamp, err);
	if (rc == FB_OK &&
	    (kind == FB_LIBVIRT_JOB || kind == FB_LIBVIRT_OVERLAY))
		rc = fb_libvirt_begin_watch(driver, err);
	return rc;
}

int
fb_libvirt_find_by_token(struct fb_driver *base,
    const struct fb_machine *machine, const char *token, struct fb_error *err)
{
	struct fb_libvirt_driver *driver = (struct fb_libvirt_driver *)base;
	int rc = judge(driver, machine->id, token, err);

	return rc < 0 ? rc : take_over(driver, machine->id, token, err);
}

/*
 * Making it.
 */

struct capture {
	struct fb_libvirt_driver *driver;
	const struct fb_machine *machine;
	const struct fb_verb *verb;
	const char *uuid, *token;
	const struct fb_libvirt_ref *ref;
	virDomainPtr domain; /* that one's */
	bool will_start;
	bool overlay; /* its disks are read below overlays */
	bool *ret_unclean;
	struct fb_error *ret_live; /* not NULL: it is to be frozen */
	const char **wanted; /* targets for the job; ends with NULL */
	size_t wanted_count;
};

static int
make_place(const struct capture *capture, bool running, struct fb_error *err)
{
	FB_AUTO_FREE char *definition = fb_libvirt_part(capture->driver,
	    capture->uuid, capture->token, FB_LIBVIRT_DEFINITION);
	int rc = fb_libvirt_make_place(
	    capture->driver, capture->uuid, capture->token, err);

	if (rc == FB_OK)
		rc = fb_io_mkdirs(definition, OWN_MODE, err);
	if (rc == FB_OK)
		rc = fb_libvirt_make_own(
		    capture->driver, capture->uuid, capture->token, err);
	return rc < 0 ? rc
	              : fb_libvirt_keep_definition(capture->driver,
	                    capture->domain, running, definition, err);
}

static int
write_record(const struct capture *capture, enum fb_libvirt_kind kind,
    struct fb_error *err)
{
	FB_AUTO_DOMAIN struct fb_domain domain = { 0 };
	struct fb_libvirt_made made = { .driver = capture->driver,
		.connection = capture->ref->connection,
		.machine = capture->machine,
		.verb = capture->verb,
		.kind = kind,
		.domain = &domain,
		.wanted = capture->wanted };
	int rc = fb_libvirt_read_without(capture->driver, capture->domain,
	    capture->uuid, true, &domain, err);

	return rc < 0 ? rc : fb_libvirt_write_record(&made, err);
}

static int
make_whole(const struct capture *capture, enum fb_libvirt_kind kind,
    const char *stamp, struct fb_error *err)
{
	int rc = write_record(capture, kind, err);

	return rc < 0
	    ? rc
	    : fb_libvirt_write_kind(capture->driver, capture->uuid,
	          capture->token, kind,
	          (struct fb_span){ (const uint8_t *)stamp, strlen(stamp) },
	          err);
}

static int
make_whole_down(const struct capture *capture, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf stamp = { 0 };
	FB_AUTO_DOMAIN struct fb_domain defined = { 0 };
	struct fb_libvirt_begin begin = { .driver = capture->driver,
		.domain = capture->domain,
		.machine = capture->machine,
		.verb = capture->verb,
		.live = &defined,
		.wanted = capture->wanted };
	int rc = fb_libvirt_stamp(capture->driver, capture->ref, &stamp, err);

	begin.stamp = fb_buf_str(&stamp);
	if (rc == FB_OK)
		rc = fb_libvirt_read(capture->domain, false, &defined, err);
	if (rc == FB_OK)
		rc = fb_libvirt_go_on_account(&begin, err);
	return rc < 0
	    ? rc
	    : make_whole(capture, FB_LIBVIRT_DOWN, begin.stamp, err);
}

/* QEMU, which is another user, makes its socket there. */
static int
give_away(const struct capture *capture, const struct fb_domain *live,
    struct fb_error *err)
{
	return live->has_owner
	    ? fb_libvirt_give_own(capture->driver, capture->uuid,
	          capture->token, live->uid, live->gid, err)
	    : FB_OK;
}

int
fb_libvirt_check_socket(const struct fb_libvirt_driver *driver,
    const char *uuid, const char *token, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_libvirt_socket(driver, uuid, token);

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
	FB_AUTO_FREE char *own = fb_libvirt_own(
	    capture->driver, capture->uuid, capture->token);
	FB_AUTO_DOMAIN struct fb_domain live = { 0 };
	struct fb_libvirt_begin begin = { .driver = capture->driver,
		.domain = capture->domain,
		.machine = capture->machine,
		.verb = capture->verb,
		.live = &live,
		.wanted = capture->wanted,
		.socket = socket,
		.scratch = own };
	int rc = fb_libvirt_check_socket(
	    capture->driver, capture->uuid, capture->token, err);

	if (rc == FB_OK)
		rc = fb_libvirt_read(capture->domain, true, &live, err);
	if (rc == FB_OK)
		rc = give_away(capture, &live, err);
	if (rc == FB_OK)
		rc = fb_libvirt_begin_watch(capture->driver, err);
	if (rc < 0)
		return rc;
	fb_libvirt_note_new_job(capture->driver, capture->uuid);
	return fb_libvirt_begin_backup(&begin, err);
}

static int
refuse_unfrozen(const struct fb_error *why, struct fb_error *err)
{
	*err = *why;
	(void)fb_wrap(err, "freeze: require");
	return err->code;
}

/* The job's moment is one at which the guest's file systems are frozen. */
static int
begin_job_frozen(const struct capture *capture, struct fb_error *err)
{
	bool required = capture->driver->freeze == FB_LIBVIRT_FREEZE_REQUIRE;
	struct fb_libvirt_freeze freeze = { .driver = capture->driver,
		.domain = capture->domain,
		.uuid = capture->uuid };
	struct fb_error failure = { 0 };
	int begun, rc = fb_libvirt_freeze_begin(&freeze, err);

	if (rc < 0)
		return rc;
	if (required && freeze.why.code < 0)
		return refuse_unfrozen(&freeze.why, err);
	begun = begin_job(capture, &failure);
	rc = fb_libvirt_freeze_end(&freeze, err);
	if (rc < 0)
		return rc;
	if (begun < 0) {
		*err = failure;
		return begun;
	}
	if (required && freeze.why.code < 0)
		return refuse_unfrozen(&freeze.why, err);
	*capture->ret_live = freeze.why;
	return make_whole(capture, FB_LIBVIRT_JOB,
	    freeze.why.code < 0 ? "" : FROZEN, err);
}

int
fb_libvirt_start_paused(const struct fb_libvirt_driver *driver,
    virDomainPtr domain, const char *uuid, const char *token,
    struct fb_error *err)
{
	FB_AUTO_FREE char *path =
	    fb_libvirt_place(driver, uuid, FB_LIBVIRT_PAUSED);
	struct fb_span bytes = { (const uint8_t *)token, strlen(token) };
	int rc = fb_io_replace(path, bytes, 0600, err);

	if (rc == FB_OK)
		rc = fb_libvirt_effect(domain, "start-paused", err);
	if (rc == FB_OK &&
	    fb_libvirt.virDomainCreateWithFlags(
	        domain, VIR_DOMAIN_START_PAUSED) < 0) {
		struct fb_error ignored;
		int state;

		rc = fb_libvirt_fail(err, true, "cannot start it paused");
		/* Then it is not, and whoever does so is somebody else. */
		if (fb_libvirt_state(domain, &state, &ignored) == FB_OK &&
		    fb_libvirt_is_off(state))
			(void)!fb_libvirt_forget(
			    driver, uuid, FB_LIBVIRT_PAUSED, &ignored);
	}
	return rc;
}

static int
begin_overlays(const struct capture *capture, struct fb_error *err)
{
	FB_AUTO_FREE char *own = fb_libvirt_own(
	    capture->driver, capture->uuid, capture->token);
	FB_AUTO_DOMAIN struct fb_domain live = { 0 };
	struct fb_libvirt_begin begin = { .driver = capture->driver,
		.domain = capture->domain,
		.machine = capture->machine,
		.verb = capture->verb,
		.live = &live,
		.wanted = capture->wanted };
	int rc = fb_libvirt_read(capture->domain, true, &live, err);

	if (rc == FB_OK)
		rc = give_away(capture, &live, err);
	if (rc == FB_OK)
		rc = fb_libvirt_begin_watch(capture->driver, err);
	fb_libvirt_note_new_job(capture->driver, capture->uuid);
	/* It is paused: what is written from now on goes above them. */
	if (rc == FB_OK)
		rc = fb_libvirt_begin_account(&begin, err);
	if (rc == FB_OK)
		rc = fb_libvirt_overlay_begin(capture->driver,
		    capture->domain, capture->uuid, capture->token, own,
		    capture->wanted, err);
	return rc < 0 ? rc : make_whole(capture, FB_LIBVIRT_OVERLAY, "", err);
}

/* libvirt may know nothing of it: that tells nothing. */
static bool
was_cut_off(int reason)
{
	switch (reason) {
	case VIR_DOMAIN_SHUTOFF_DESTROYED:
	case VIR_DOMAIN_SHUTOFF_CRASHED:
	case VIR_DOMAIN_SHUTOFF_MIGRATED: /* it runs, elsewhere */
	case VIR_DOMAIN_SHUTOFF_SAVED:
	case VIR_DOMAIN_SHUTOFF_DAEMON:
		return true;
	default:
		return false;
	}
}

/* How did it end?  libvirt does not remember after a restart of its own, nor
 * once it has started it paused. */
static int
tell_unclean(const struct capture *capture, struct fb_error *err)
{
	const struct fb_libvirt_driver *driver = capture->driver;
	bool unclean = fb_libvirt_was_unclean(driver, capture->uuid, "");
	int state, reason, rc = FB_OK;

	if (fb_libvirt.virDomainGetState(
	        capture->domain, &state, &reason, 0) < 0)
		return fb_libvirt_fail(err, false, "cannot tell its state");
	if (state != VIR_DOMAIN_SHUTOFF && state != VIR_DOMAIN_PAUSED)
		return FB_OK;
	if (state == VIR_DOMAIN_SHUTOFF &&
	    reason == VIR_DOMAIN_SHUTOFF_SHUTDOWN) {
		unclean = false;
		rc = fb_libvirt_forget(
		    driver, capture->uuid, FB_LIBVIRT_UNCLEAN, err);
	}
	if (state == VIR_DOMAIN_SHUTOFF && was_cut_off(reason)) {
		unclean = true;
		rc = fb_libvirt_note_unclean(driver, capture->uuid, "", err);
	}
	if (rc == FB_OK && unclean)
		rc = fb_libvirt_note_unclean(
		    driver, capture->uuid, capture->token, err);
	if (capture->ret_unclean != NULL)
		*capture->ret_unclean = unclean;
	return rc;
}

/* The kind of capture that its state allows. */
static int
capture_now(const struct capture *capture, int state, struct fb_error *err)
{
	bool off = fb_libvirt_is_off(state);
	int rc = tell_unclean(capture, err);

	if (rc < 0)
		return rc;
	/* What is stopped for it, or was off, has to be so still. */
	if (fb_libvirt_is_up(state) && !capture->driver->live &&
	    fb_libvirt.virDomainIsPersistent(capture->domain) == 1)
		return fb_fail(err, FB_ECONFLICT, "somebody started it");
	if (capture->wanted_count == 0)
		return make_whole(
		    capture, FB_LIBVIRT_DEFINITION_ONLY, "", err);
	if (off && !capture->will_start) {
		if (capture->ret_live != NULL)
			(void)fb_fail_id(capture->ret_live, FB_EFAILED,
			    "E-FREEZE", "it went down before it was frozen");
		return make_whole_down(capture, err);
	}
	if (off)
		rc = fb_libvirt_start_paused(capture->driver, capture->domain,
		    capture->uuid, capture->token, err);
	else if (!fb_libvirt_is_up(state) &&
	    !(state == VIR_DOMAIN_PAUSED &&
	        fb_libvirt_is_ours_paused(capture->driver, capture->uuid)))
		rc = fb_fail(err, FB_ECONFLICT, "it is paused or suspended");
	/* A guest that runs is never given one: it is not frozen. */
	if (rc == FB_OK && capture->overlay && fb_libvirt_is_up(state))
		return fb_fail(err, FB_ECONFLICT, "somebody started it");
	if (rc == FB_OK && capture->overlay)
		return begin_overlays(capture, err);
	if (rc == FB_OK && capture->ret_live != NULL)
		return begin_job_frozen(capture, err);
	if (rc == FB_OK)
		rc = begin_job(capture, err);
	return rc < 0 ? rc : make_whole(capture, FB_LIBVIRT_JOB, "", err);
}

/* A network disk is left out of one that is off, as it may have been; what must
 * not be read from a guest that runs may have been planned of one that was off. */
static bool
is_wanted(const struct fb_domain *defined, bool runs,
    const struct fb_volume *volume)
{
	const struct fb_domain_disk *disk =
	    fb_domain_disk(defined, volume->name);

	if (runs && disk != NULL && disk->hands_errors)
		return false;
	return fb_volume_is_captured(volume) ||
	    (disk != NULL && disk->network && disk->why == NULL);
}

/* The disks for a job.  Not by what `machine` says of how they are read: it
 * may have been looked at when a run that died had stopped it. */
static int
choose_disks(struct capture *capture, struct fb_error *err)
{
	const struct fb_machine *machine = capture->machine;
	FB_AUTO_DOMAIN struct fb_domain defined = { 0 };
	bool live = capture->driver->live ||
	    fb_libvirt.virDomainIsPersistent(capture->domain) == 0;
	int state, rc = fb_libvirt_read(capture->domain, false, &defined, err);

	if (rc == FB_OK)
		rc = fb_libvirt_state(capture->domain, &state, err);
	capture->overlay = rc == FB_OK &&
	    fb_libvirt_overlays(capture->driver, live, &defined);
	capture->wanted = fb_alloc(
	    machine->volume_count + 1, sizeof(*capture->wanted));
	for (size_t i = 0; rc == FB_OK &&
	     !fb_libvirt_reads_stopped(capture->driver, live, &defined) &&
	     i < machine->volume_count; i++)
		if (machine->volumes[i].kind == FB_VOLUME_DISK &&
		    is_wanted(&defined, live && !fb_libvirt_is_off(state),
		        &machine->volumes[i]))
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
	enum fb_libvirt_job job;
	int rc = fb_libvirt_check_job(
	    capture->driver, capture->domain, capture->uuid, err);

	if (rc == FB_OK)
		rc = fb_libvirt_job(capture->driver, capture->domain,
		    capture->uuid, capture->token, &job, err);
	if (rc == FB_OK && job != FB_LIBVIRT_NO_JOB)
		rc = fb_libvirt_end_job(capture->domain, err);
	if (rc == FB_OK)
		rc = fb_libvirt_merge(capture->driver, capture->domain,
		    capture->uuid, NULL, err);
	if (rc == FB_OK)
		rc = fb_libvirt_overlay_gone(capture->driver, capture->domain,
		    capture->uuid, capture->token, err);
	if (rc == FB_OK)
		rc = fb_libvirt_remove_own(
		    capture->driver, capture->uuid, capture->token, err);
	return rc < 0 ? rc : fb_io_remove_tree(place, err);
}

/* Of a capture that is there already. */
static int
tell_made(const struct capture *capture, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf stamp = { 0 };
	enum fb_libvirt_kind kind;
	int rc = fb_libvirt_read_kind(capture->driver, capture->uuid,
	    capture->token, &kind, &stamp, err);

	if (capture->ret_unclean != NULL)
		*capture->ret_unclean = fb_libvirt_was_unclean(
		    capture->driver, capture->uuid, capture->token);
	if (rc == FB_OK && capture->ret_live != NULL &&
	    strcmp(fb_buf_str(&stamp), FROZEN) != 0)
		(void)fb_fail_id(capture->ret_live, FB_EFAILED, "E-FREEZE",
		    "its file systems were not frozen");
	return rc;
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
		.verb = verb,
		.uuid = machine->id,
		.token = verb->token,
		.will_start = verb->will_start,
		.ret_unclean = verb->ret_unclean,
		.ret_live = verb->ret_live,
	};
	struct fb_error ignored = { 0 };
	int state, rc;

	if (fb_libvirt_find_by_token(base, machine, verb->token, &ignored) ==
	    FB_OK)
		return tell_made(&capture, err);
	rc = fb_libvirt_find(capture.driver, machine->id, &ref, err);
	if (rc < 0)
		return rc;
	capture.ref = &ref;
	capture.domain = ref.domain;
	rc = fb_libvirt_hold(capture.driver, machine->id, err);
	if (rc == FB_OK)
		rc = choose_disks(&capture, err);
	wanted = capture.wanted;
	if (rc == FB_OK)
		rc = fb_libvirt_thaw(capture.driver, ref.domain, machine->id,
		    capture.driver->freeze_timeout_ms, err);
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

/* When it is the last one; a mark of a domain that runs again is stale.  How
 * one ended that is off still is remembered: the next night needs it. */
static int
leave_place(const struct fb_libvirt_driver *driver, virDomainPtr domain,
    const char *uuid, struct fb_error *err)
{
	FB_AUTO_FREE char *place = fb_libvirt_place(driver, uuid, "");
	int state = VIR_DOMAIN_NOSTATE, rc = FB_OK;

	if (domain != NULL)
		rc = fb_libvirt_state(domain, &state, err);
	if (rc == FB_OK && state != VIR_DOMAIN_PAUSED)
		rc = fb_libvirt_forget(driver, uuid, FB_LIBVIRT_PAUSED, err);
	if (rc == FB_OK && (domain == NULL || fb_libvirt_is_up(state)))
		rc = fb_libvirt_forget(driver, uuid, FB_LIBVIRT_UNCLEAN, err);
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
	enum fb_libvirt_job job = FB_LIBVIRT_NO_JOB;
	int rc = fb_libvirt_hold(driver, machine->id, err);

	if (rc == FB_OK)
		rc = fb_libvirt_find(driver, machine->id, &ref, err);
	if (rc == FB_OK)
		rc = fb_libvirt_job(driver, ref.domain, machine->id,
		    verb->token, &job, err);
	if (rc == FB_OK && job == FB_LIBVIRT_OUR_JOB)
		rc = fb_libvirt_end_job(ref.domain, err);
	if (rc == FB_OK)
		rc = fb_libvirt_merge(
		    driver, ref.domain, machine->id, verb->token, err);
	if (rc == FB_OK)
		rc = fb_libvirt_overlay_gone(
		    driver, ref.domain, machine->id, verb->token, err);
	if (rc == FB_OK)
		rc = fb_libvirt_drop_checkpoints(
		    driver, ref.domain, machine->id, verb, err);
	if (rc == FB_ENOTFOUND && fb_libvirt_is_overlaid(driver, machine->id))
		return fb_libvirt_overlay_lost(driver, machine->id, err);
	if (rc == FB_ENOTFOUND) /* the domain went, and its job with it */
		rc = FB_OK;
	if (rc == FB_OK)
		rc = fb_libvirt_remove_own(
		    driver, machine->id, verb->token, err);
	if (rc == FB_OK)
		rc = fb_io_remove_tree(place, err);
	if (rc == FB_OK)
		rc = leave_place(driver, ref.domain, machine->id, err);
	if (rc == FB_OK)
		fb_libvirt_let_go_of(driver, machine->id);
	return rc;
}

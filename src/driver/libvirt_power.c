/* Is a domain up, and how it goes down and comes up. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "libvirt_internal.h"

/* Between two looks at a domain that is on its way. */
#define LOOK_NS INT64_C(50000000)

/* What a guest's agent is given before the power button is pressed. */
#define AGENT_NS (INT64_C(20) * 1000000000)

/* The button is pressed again: a guest that was booting did not see it. */
#define PRESS_NS (INT64_C(15) * 1000000000)

/* Switched off, it is off within this. */
#define FORCE_NS (INT64_C(60) * 1000000000)

/* A start that fails because the image is still held (by who has just read
 * it) is tried again for so long. */
#define START_NS (INT64_C(5) * 1000000000)

enum fb_power
fb_libvirt_power(const struct fb_libvirt_driver *driver, const char *uuid, int state)
{
	if (fb_libvirt_is_up(state))
		return FB_POWER_UP;
	if (fb_libvirt_is_off(state) ||
	    (state == VIR_DOMAIN_PAUSED &&
	        fb_libvirt_is_ours_paused(driver, uuid)))
		return FB_POWER_DOWN;
	return FB_POWER_UNKNOWN;
}

/* Its state.  A connection that broke is made anew: a daemon that is restarted
 * takes nothing from a domain. */
static int
look(struct fb_libvirt_driver *driver, const char *uuid,
    struct fb_libvirt_ref *ref, int *ret_state, struct fb_error *err)
{
	int rc = FB_EUNREACH;

	if (ref->domain != NULL)
		rc = fb_libvirt_state(ref->domain, ret_state, err);
	if (rc != FB_EUNREACH)
		return rc;
	fb_libvirt_ref_release(ref);
	rc = fb_libvirt_find(driver, uuid, ref, err);
	return rc < 0 ? rc : fb_libvirt_state(ref->domain, ret_state, err);
}

static bool
is_going(int state)
{
	return fb_libvirt_is_up(state) || state == VIR_DOMAIN_SHUTDOWN;
}

/* Look until what it was asked for, by whomever of us, has happened, or will
 * not happen any more. */
static int
look_settled(struct fb_libvirt_driver *driver, const char *uuid,
    struct fb_libvirt_ref *ref, int *ret_state, struct fb_error *err)
{
	for (;;) {
		int rc = look(driver, uuid, ref, ret_state, err);
		bool may_go = fb_libvirt_asked(driver, uuid) > 0;

		if (rc == FB_EUNREACH ? !may_go : rc < 0)
			return rc;
		if (rc == FB_OK && (!is_going(*ret_state) || !may_go))
			return fb_libvirt_forget(
			    driver, uuid, FB_LIBVIRT_ASKED, err);
		fb_clock_wait(fb_clock_mono_ns() + LOOK_NS);
	}
}

int
fb_libvirt_power_get(struct fb_driver *base, const struct fb_machine *machine,
    const struct fb_verb *verb, enum fb_power *ret_power, struct fb_error *err)
{
	struct fb_libvirt_driver *driver = (struct fb_libvirt_driver *)base;
	FB_AUTO_REF struct fb_libvirt_ref ref = { 0 };
	int state, rc;

	rc = verb->settle
	    ? look_settled(driver, machine->id, &ref, &state, err)
	    : look(driver, machine->id, &ref, &state, err);
	if (rc == FB_OK && state == VIR_DOMAIN_PAUSED) {
		rc = fb_libvirt_free_held_up(
		    driver, ref.domain, machine->id, err);
		if (rc == FB_OK)
			rc = fb_libvirt_state(ref.domain, &state, err);
	}
	if (rc < 0)
		return rc;
	*ret_power = fb_libvirt_power(driver, machine->id, state);
	/* It serves nobody. */
	if (*ret_power == FB_POWER_UP &&
	    fb_libvirt_is_frozen(driver, machine->id))
		*ret_power = FB_POWER_DOWN;
	/* Whoever pauses it from now on is somebody else. */
	return *ret_power == FB_POWER_UP
	    ? fb_libvirt_forget(driver, machine->id, FB_LIBVIRT_PAUSED, err)
	    : FB_OK;
}

static int64_t
deadline_of(const struct fb_verb *verb, uint64_t own_ms)
{
	uint64_t ms = verb->timeout_ms;

	if (ms == 0 || (own_ms != 0 && own_ms < ms))
		ms = own_ms;
	return ms == 0 ? INT64_MAX
	               : fb_clock_mono_ns() + (int64_t)ms * 1000000;
}

static int
check_cancel(const struct fb_verb *verb, struct fb_error *err)
{
	return verb->cancel != NULL && atomic_load(verb->cancel)
	    ? fb_fail(err, FB_ECANCELED, "canceled")
	    : FB_OK;
}

/*
 * Stopping.
 */

/* The call that asks the agent waits for it, up to a minute: it has a thread
 * of its own, which ends at the latest when the domain is off. */
struct asking {
	virDomainPtr domain;
	pthread_t thread;
	bool began;
};

static void *
ask_agent(void *arg)
{
	struct asking *asking = arg;

	(void)fb_libvirt.virDomainShutdownFlags(
	    asking->domain, VIR_DOMAIN_SHUTDOWN_GUEST_AGENT);
	(void)fb_libvirt.virDomainFree(asking->domain);
	return NULL;
}

static void
begin_asking(struct asking *asking, virDomainPtr domain)
{
	struct fb_error ignored;

	if (fb_libvirt_effect(domain, "agent-shutdown", &ignored) < 0 ||
	    fb_libvirt.virDomainRef(domain) < 0)
		return;
	asking->domain = domain;
	asking->began =
	    pthread_create(&asking->thread, NULL, ask_agent, asking) == 0;
	if (!asking->began)
		(void)fb_libvirt.virDomainFree(domain);
}

static void
end_asking(struct asking *asking)
{
	if (asking->began)
		(void)pthread_join(asking->thread, NULL);
}
#define AUTO_ASKING FB_CLEANUP(end_asking)

/* A hypervisor that has no button knows one way only. */
static bool
shut_down_somehow(virDomainPtr domain)
{
	const virError *error;

	if (fb_libvirt.virDomainShutdownFlags(
	        domain, VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN) == 0)
		return true;
	error = fb_libvirt.virGetLastError();
	return error != NULL && error->code == VIR_ERR_INVALID_ARG &&
	    fb_libvirt.virDomainShutdownFlags(domain, 0) == 0;
}

static int
press_button(virDomainPtr domain, struct fb_error *err)
{
	int rc = fb_libvirt_effect(domain, "power-button", err);

	if (rc == FB_OK && !shut_down_somehow(domain))
		rc = fb_libvirt_fail(
		    err, true, "cannot press its power button");
	return rc;
}

/* May it be shut down, and does that mean what it should? */
static int
check_stop(virDomainPtr domain, const struct fb_domain *live,
    struct fb_error *err)
{
	if (fb_libvirt.virDomainIsPersistent(domain) != 1)
		return fb_fail(err, FB_EUNSUP,
		    "it has no definition: it would be gone when it stops");
	if (!live->poweroff_destroys)
		return fb_fail(err, FB_EUNSUP,
		    "its on_poweroff is not 'destroy': it would not stay down");
	return FB_OK;
}

static int
await_off(struct fb_libvirt_driver *driver, const char *uuid,
    struct fb_libvirt_ref *ref, const struct fb_verb *verb, int64_t press,
    int64_t deadline, struct fb_error *err)
{
	struct fb_error refused = { 0 };

	for (;;) {
		int state, rc = look(driver, uuid, ref, &state, err);
		int64_t now = fb_clock_mono_ns();

		if (rc == FB_OK && fb_libvirt_is_off(state))
			return fb_libvirt_forget(
			    driver, uuid, FB_LIBVIRT_ASKED, err);
		if (rc < 0)
			return rc;
		rc = check_cancel(verb, err);
		if (rc < 0)
			return rc;
		if (now >= deadline)
			break;
		if (now >= press) {
			press = now + PRESS_NS;
			(void)!press_button(ref->domain, &refused);
		}
		fb_clock_wait(now + LOOK_NS);
	}
	(void)fb_fail(err, FB_ETIMEOUT, "it did not shut down in time%s%s",
	    refused.msg[0] != '\0' ? "; " : "", refused.msg);
	return fb_hint(err, "does the guest react to its power button?  Raise "
	                    "stop_timeout of its source, or set capture: live");
}

/* QEMU is asked to end, not killed: it writes out what it holds of the images.
 * One that is not on its way, but paused, is somebody's. */
static int
force_off(struct fb_libvirt_driver *driver, const char *uuid,
    struct fb_libvirt_ref *ref, const struct fb_verb *verb,
    struct fb_error *err)
{
	int state, rc = look(driver, uuid, ref, &state, err);

	if (rc == FB_OK && !fb_libvirt_is_off(state) && !is_going(state))
		return fb_fail(err, FB_ECONFLICT, "it is paused or suspended");
	if (rc == FB_OK)
		rc = fb_libvirt_check_job(driver, ref->domain, uuid, err);
	/* Should it go by itself after all, that is said too much. */
	if (rc == FB_OK && !fb_libvirt_is_off(state))
		rc = fb_libvirt_note_unclean(driver, uuid, "", err);
	if (rc == FB_OK)
		rc = fb_libvirt_effect(ref->domain, "destroy", err);
	if (rc == FB_OK && !fb_libvirt_is_off(state) &&
	    fb_libvirt.virDomainDestroyFlags(
	        ref->domain, VIR_DOMAIN_DESTROY_GRACEFUL) < 0)
		rc = fb_libvirt_fail(err, true, "cannot switch it off");
	/* It may have gone by itself. */
	if (rc < 0 && rc != FB_ECONFLICT)
		return rc;
	return await_off(driver, uuid, ref, verb, INT64_MAX,
	    fb_clock_mono_ns() + FORCE_NS, err);
}

/* It may go down late, but not for ever: as long again as it was given. */
static int
note_asked(const struct fb_libvirt_driver *driver, const char *uuid,
    int64_t press, int64_t deadline, struct fb_error *err)
{
	uint64_t span_ms = (uint64_t)(deadline - press) / 1000000;

	if (span_ms > UINT64_MAX - driver->stop_timeout_ms)
		span_ms = UINT64_MAX;
	else
		span_ms += driver->stop_timeout_ms;
	if (span_ms > FB_LIBVIRT_ASKED_MAX_MS)
		span_ms = FB_LIBVIRT_ASKED_MAX_MS;
	return fb_libvirt_note_asked(driver, uuid, span_ms, err);
}

static int
shut_down(struct fb_libvirt_driver *driver, const char *uuid,
    struct fb_libvirt_ref *ref, const struct fb_verb *verb,
    struct fb_error *err)
{
	AUTO_ASKING struct asking asking = { 0 };
	FB_AUTO_DOMAIN struct fb_domain live = { 0 };
	int64_t deadline = deadline_of(verb, driver->stop_timeout_ms);
	int64_t press = fb_clock_mono_ns();
	int rc = fb_libvirt_read(ref->domain, true, &live, err);

	if (rc == FB_OK)
		rc = check_stop(ref->domain, &live, err);
	if (rc == FB_OK)
		rc = note_asked(driver, uuid, press, deadline, err);
	if (rc < 0)
		return rc;
	if (live.agent_there) {
		int64_t half = press + (deadline - press) / 2;

		begin_asking(&asking, ref->domain);
		press = half < press + AGENT_NS ? half : press + AGENT_NS;
	}
	rc = await_off(driver, uuid, ref, verb, press, deadline, err);
	return rc == FB_ETIMEOUT && driver->force_off
	    ? force_off(driver, uuid, ref, verb, err)
	    : rc;
}

int
fb_libvirt_stop(struct fb_driver *base, const struct fb_machine *machine,
    const struct fb_verb *verb, struct fb_error *err)
{
	struct fb_libvirt_driver *driver = (struct fb_libvirt_driver *)base;
	FB_AUTO_REF struct fb_libvirt_ref ref = { 0 };
	int state, rc = look(driver, machine->id, &ref, &state, err);

	if (rc < 0)
		return rc;
	switch (fb_libvirt_power(driver, machine->id, state)) {
	case FB_POWER_DOWN:
		return FB_OK;
	case FB_POWER_UP:
		/* Its end would be the end of the job. */
		rc = fb_libvirt_check_job(
		    driver, ref.domain, machine->id, err);
		/* Frozen, it would not go down. */
		if (rc == FB_OK)
			rc = fb_libvirt_thaw(driver, ref.domain, machine->id,
			    driver->freeze_timeout_ms, err);
		if (rc == FB_OK)
			rc = fb_libvirt_hold(driver, machine->id, err);
		return rc < 0 ? rc
		              : shut_down(
		                    driver, machine->id, &ref, verb, err);
	case FB_POWER_UNKNOWN:
		break;
	}
	/* On its way down, it is waited for; paused, it is somebody's. */
	if (state == VIR_DOMAIN_SHUTDOWN)
		return await_off(driver, machine->id, &ref, verb, INT64_MAX,
		    deadline_of(verb, driver->stop_timeout_ms), err);
	return fb_fail(err, FB_ECONFLICT, "it is paused or suspended");
}

/*
 * Starting.
 */

static int
create(virDomainPtr domain, struct fb_error *err)
{
	int rc = fb_libvirt_effect(domain, "create", err);

	if (rc == FB_OK && fb_libvirt.virDomainCreateWithFlags(domain, 0) < 0)
		rc = fb_libvirt_fail(err, true, "cannot start it");
	return rc;
}

static int
resume(virDomainPtr domain, struct fb_error *err)
{
	int rc = fb_libvirt_effect(domain, "resume", err);

	if (rc == FB_OK && fb_libvirt.virDomainResume(domain) < 0)
		rc = fb_libvirt_fail(err, true, "cannot resume it");
	return rc;
}

/* Servers of ours on another host, whose connections were cut, keep its images
 * from it; what does not succeed here, the next start tells. */
static void
free_images(const struct fb_libvirt_driver *driver,
    const struct fb_libvirt_ref *ref)
{
	FB_AUTO_DOMAIN struct fb_domain domain = { 0 };
	struct fb_error ignored;

	if (driver->far == NULL || ref->domain == NULL ||
	    fb_libvirt_read(ref->domain, false, &domain, &ignored) < 0)
		return;
	for (size_t i = 0; i < domain.disk_count; i++) {
		const struct fb_domain_disk *disk = &domain.disks[i];
		FB_AUTO_FREE char *path = NULL;

		if (disk->source == NULL && strcmp(disk->type, "volume") != 0)
			continue;
		if (fb_libvirt_image(ref->connection, disk, &path,
		        &ignored) == FB_OK &&
		    path != NULL && path[0] == '/')
			(void)!fb_libvirt_far_end_image(
			    driver->far, path, &ignored);
	}
}

/* One step towards running; *ret_again: look again, later. */
static int
step_up(const struct fb_libvirt_driver *driver, virDomainPtr domain,
    const char *uuid, int state, bool *ret_again, struct fb_error *err)
{
	int rc = FB_OK;

	*ret_again = state == VIR_DOMAIN_SHUTDOWN;
	if (*ret_again)
		return FB_OK;
	if (fb_libvirt_is_off(state)) {
		rc = create(domain, err);
		if (rc == FB_OK) /* that was another life */
			rc = fb_libvirt_forget(
			    driver, uuid, FB_LIBVIRT_ASKED, err);
	} else if (state == VIR_DOMAIN_PAUSED &&
	    fb_libvirt_is_ours_paused(driver, uuid))
		rc = resume(domain, err);
	else if (!fb_libvirt_is_up(state))
		rc = fb_fail(err, FB_ECONFLICT,
		    "somebody paused or suspended it: it is left so");
	if (rc == FB_OK)
		rc = fb_libvirt_thaw(
		    driver, domain, uuid, driver->freeze_timeout_ms, err);
	if (rc == FB_OK)
		rc = fb_libvirt_forget(driver, uuid, FB_LIBVIRT_UNCLEAN, err);
	return rc < 0
	    ? rc
	    : fb_libvirt_forget(driver, uuid, FB_LIBVIRT_PAUSED, err);
}

int
fb_libvirt_start(struct fb_driver *base, const struct fb_machine *machine,
    const struct fb_verb *verb, struct fb_error *err)
{
	struct fb_libvirt_driver *driver = (struct fb_libvirt_driver *)base;
	FB_AUTO_REF struct fb_libvirt_ref ref = { 0 };
	int state, rc = FB_OK;
	int64_t deadline, give_up;
	bool again, freed = false;

	if (verb->settle)
		rc = look_settled(driver, machine->id, &ref, &state, err);
	if (rc < 0)
		return rc;
	deadline = deadline_of(verb, driver->start_timeout_ms);
	give_up = fb_clock_mono_ns() + START_NS;
	for (;;) {
		int64_t now = fb_clock_mono_ns();

		rc = look(driver, machine->id, &ref, &state, err);
		if (rc < 0)
			return rc;
		rc = step_up(
		    driver, ref.domain, machine->id, state, &again, err);
		if (rc == FB_OK && !again)
			return FB_OK;
		if (now >= deadline)
			return rc < 0 ? rc
			              : fb_fail(err, FB_ETIMEOUT,
			                    "it is still shutting down");
		if (rc == FB_ECONFLICT || (rc < 0 && now >= give_up))
			return rc;
		if (rc < 0 && !freed)
			free_images(driver, &ref);
		freed = freed || rc < 0;
		if (check_cancel(verb, err) < 0)
			return err->code;
		fb_clock_wait(now + LOOK_NS * 2);
	}
}

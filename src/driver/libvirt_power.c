/* Is a domain up, and how it goes down and comes up. */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "libvirt_internal.h"

/* Between two looks at a domain that is on its way. */
#define LOOK_NS INT64_C(50000000)

/* What a guest's agent is given before the power button is pressed. */
#define AGENT_NS (INT64_C(20) * 1000000000)

/* The button is pressed again: a guest that was booting did not see it. */
#define PRESS_NS (INT64_C(15) * 1000000000)

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

int
fb_libvirt_power_get(struct fb_driver *base, const struct fb_machine *machine,
    const struct fb_verb *verb, enum fb_power *ret_power, struct fb_error *err)
{
	struct fb_libvirt_driver *driver = (struct fb_libvirt_driver *)base;
	FB_AUTO_REF struct fb_libvirt_ref ref = { 0 };
	int rc = fb_libvirt_find(driver, machine->id, &ref, err);
	int state;

	(void)verb;
	if (rc == FB_OK)
		rc = fb_libvirt_state(ref.domain, &state, err);
	if (rc == FB_OK)
		*ret_power = fb_libvirt_power(driver, machine->id, state);
	return rc;
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
	return NULL;
}

static void
begin_asking(struct asking *asking, virDomainPtr domain)
{
	struct fb_error ignored;

	asking->domain = domain;
	asking->began =
	    fb_libvirt_effect(domain, "agent-shutdown", &ignored) == FB_OK &&
	    pthread_create(&asking->thread, NULL, ask_agent, asking) == 0;
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
await_off(virDomainPtr domain, const struct fb_verb *verb, int64_t press,
    int64_t deadline, struct fb_error *err)
{
	struct fb_error refused = { 0 };

	for (;;) {
		int state, rc = fb_libvirt_state(domain, &state, err);
		int64_t now = fb_clock_mono_ns();

		if (rc < 0 || fb_libvirt_is_off(state))
			return rc;
		rc = check_cancel(verb, err);
		if (rc < 0)
			return rc;
		if (now >= deadline)
			break;
		if (now >= press) {
			press = now + PRESS_NS;
			(void)!press_button(domain, &refused);
		}
		fb_clock_wait(now + LOOK_NS);
	}
	(void)fb_fail(err, FB_ETIMEOUT, "it did not shut down in time%s%s",
	    refused.msg[0] != '\0' ? "; " : "", refused.msg);
	return fb_hint(err, "does the guest react to its power button?  Raise "
	                    "stop_timeout of its source, or set capture: live");
}

static int
shut_down(const struct fb_libvirt_driver *driver, virDomainPtr domain,
    const struct fb_verb *verb, struct fb_error *err)
{
	AUTO_ASKING struct asking asking = { 0 };
	FB_AUTO_DOMAIN struct fb_domain live = { 0 };
	int64_t deadline = deadline_of(verb, driver->stop_timeout_ms);
	int64_t press = fb_clock_mono_ns();
	int rc = fb_libvirt_read(domain, true, &live, err);

	if (rc == FB_OK)
		rc = check_stop(domain, &live, err);
	if (rc < 0)
		return rc;
	if (live.agent_there) {
		int64_t half = press + (deadline - press) / 2;

		begin_asking(&asking, domain);
		press = half < press + AGENT_NS ? half : press + AGENT_NS;
	}
	return await_off(domain, verb, press, deadline, err);
}

int
fb_libvirt_stop(struct fb_driver *base, const struct fb_machine *machine,
    const struct fb_verb *verb, struct fb_error *err)
{
	struct fb_libvirt_driver *driver = (struct fb_libvirt_driver *)base;
	FB_AUTO_REF struct fb_libvirt_ref ref = { 0 };
	int rc = fb_libvirt_find(driver, machine->id, &ref, err);
	int state;

	if (rc == FB_OK)
		rc = fb_libvirt_state(ref.domain, &state, err);
	if (rc < 0)
		return rc;
	switch (fb_libvirt_power(driver, machine->id, state)) {
	case FB_POWER_DOWN:
		return FB_OK;
	case FB_POWER_UP:
		/* Its end would be the end of the job. */
		rc = fb_libvirt_check_job(
		    driver, ref.domain, machine->id, err);
		return rc < 0 ? rc
		              : shut_down(driver, ref.domain, verb, err);
	case FB_POWER_UNKNOWN:
		break;
	}
	/* On its way down, it is waited for; paused, it is somebody's. */
	if (state == VIR_DOMAIN_SHUTDOWN)
		return await_off(ref.domain, verb, INT64_MAX,
		    deadline_of(verb, driver->stop_timeout_ms), err);
	return fb_fail(err, FB_ECONFLICT, "it is paused or suspended");
}

/*
 * Starting.
 */

/* Whoever pauses it from now on is somebody else. */
static int
forget_pause(const struct fb_libvirt_driver *driver, const char *uuid,
    struct fb_error *err)
{
	FB_AUTO_FREE char *path =
	    fb_libvirt_place(driver, uuid, FB_LIBVIRT_PAUSED);

	return driver->local ? fb_io_unlink(path, err) : FB_OK;
}

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

/* One step towards running; *ret_again: look again, later. */
static int
step_up(const struct fb_libvirt_driver *driver, virDomainPtr domain,
    const char *uuid, int state, bool *ret_again, struct fb_error *err)
{
	int rc = FB_OK;

	*ret_again = state == VIR_DOMAIN_SHUTDOWN;
	if (*ret_again)
		return FB_OK;
	if (fb_libvirt_is_off(state))
		rc = create(domain, err);
	else if (state == VIR_DOMAIN_PAUSED &&
	    fb_libvirt_is_ours_paused(driver, uuid))
		rc = resume(domain, err);
	else if (!fb_libvirt_is_up(state))
		rc = fb_fail(err, FB_ECONFLICT,
		    "somebody paused or suspended it: it is left so");
	return rc < 0 ? rc : forget_pause(driver, uuid, err);
}

int
fb_libvirt_start(struct fb_driver *base, const struct fb_machine *machine,
    const struct fb_verb *verb, struct fb_error *err)
{
	struct fb_libvirt_driver *driver = (struct fb_libvirt_driver *)base;
	FB_AUTO_REF struct fb_libvirt_ref ref = { 0 };
	int64_t deadline = deadline_of(verb, driver->start_timeout_ms);
	int64_t give_up = fb_clock_mono_ns() + START_NS;
	int rc = fb_libvirt_find(driver, machine->id, &ref, err);
	bool again;
	int state;

	if (rc < 0)
		return rc;
	for (;;) {
		int64_t now = fb_clock_mono_ns();

		rc = fb_libvirt_state(ref.domain, &state, err);
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
		if (check_cancel(verb, err) < 0)
			return err->code;
		fb_clock_wait(now + LOOK_NS * 2);
	}
}

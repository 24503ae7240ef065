/*
 * File systems of a guest that runs, frozen by its agent for the moment of a
 * capture, and thawed whatever happens: by who froze them, at a deadline by a
 * thread of his, and after his death by whoever comes next.
 *
 * An agent does one thing after the other, and answers each question behind
 * those before it: one that did not answer in time may freeze yet, but not
 * after it has answered that it thawed.
 *
 * A guest may thaw by itself: Windows does so after ten seconds, and anybody in
 * it can.  So what is frozen is asked again at the end, and how many file systems
 * the thaw finds: what is not proven does not count as frozen.
 */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/format/json.h"
#include "libvirt_internal.h"

/* What an agent is given for an answer that takes it no time. */
#define ANSWER_S 5

/* An agent that hung while it froze is asked to thaw for so long at least. */
#define THAW_MS ((uint64_t)60000)

/* Between two of these questions. */
#define AGAIN_NS INT64_C(200000000)

#define MARK_MAX 64

bool
fb_libvirt_freezes(
    const struct fb_libvirt_driver *driver, const struct fb_domain *live)
{
	return driver->freeze != FB_LIBVIRT_FREEZE_NEVER && live->agent_there;
}

/* Without it some questions are waited for without an end.  It is the
 * domain's, for everybody. */
static void
set_patience(virDomainPtr domain, int seconds)
{
	(void)fb_libvirt.virDomainAgentSetResponseTimeout(domain, seconds, 0);
}

enum status { THAWED, FROZEN, SILENT };

static enum status
status_of(const char *answer)
{
	FB_AUTO_JSON json_t *root = json_loads(answer, 0, NULL);
	const char *status =
	    json_string_value(json_object_get(root, "return"));

	if (status == NULL)
		return SILENT;
	return strcmp(status, "thawed") == 0 ? THAWED : FROZEN;
}

static enum status
ask_status(virDomainPtr domain)
{
	enum status status = SILENT;
	char *answer;

	if (fb_libvirt.virDomainQemuAgentCommand == NULL)
		return SILENT;
	answer = fb_libvirt.virDomainQemuAgentCommand(
	    domain, "{\"execute\":\"guest-fsfreeze-status\"}", ANSWER_S, 0);
	if (answer != NULL)
		status = status_of(answer);
	free(answer);
	return status;
}

/*
 * The mark: which life of the domain it is of, by the boot of its host and by
 * libvirt's number.
 */

/* "": nobody knows. */
static void
boot_of(const struct fb_libvirt_driver *driver, char boot[FB_BOOT_ID_SIZE])
{
	static const char *const none[] = { NULL };
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_error ignored;

	if (driver->far == NULL) {
		fb_clock_boot_id(boot);
		return;
	}
	(void)!fb_libvirt_far_run(driver->far, "tell its boot",
	    "exec cat /proc/sys/kernel/random/boot_id", none,
	    (struct fb_span){ 0 }, MARK_MAX, &text, &ignored);
	(void)snprintf(boot, FB_BOOT_ID_SIZE, "%.*s",
	    (int)strcspn(fb_buf_str(&text), " \n"), fb_buf_str(&text));
}

/* `asks`: of the boot, too. */
static char *
life_of(const struct fb_libvirt_driver *driver, virDomainPtr domain, bool asks)
{
	char boot[FB_BOOT_ID_SIZE] = "";

	if (asks)
		boot_of(driver, boot);
	return fb_format("%s %u\n", boot, fb_libvirt.virDomainGetID(domain));
}

/* What is not known of both is no difference. */
static bool
is_another_life(const char *mark, const char *life)
{
	const char *mark_id = strchr(mark, ' '), *life_id = strchr(life, ' ');

	if (mark_id == NULL || life_id == NULL || strcmp(mark_id, life_id) != 0)
		return true;
	return mark_id != mark && life_id != life && strcmp(mark, life) != 0;
}

static int
put_mark(const struct fb_libvirt_freeze *freeze, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_libvirt_place(
	    freeze->driver, freeze->uuid, FB_LIBVIRT_FROZEN);
	FB_AUTO_FREE char *life =
	    life_of(freeze->driver, freeze->domain, true);
	int rc = fb_libvirt_make_place(
	    freeze->driver, freeze->uuid, "", err);

	return rc < 0
	    ? rc
	    : fb_io_replace(path,
	          (struct fb_span){ (const uint8_t *)life, strlen(life) },
	          0600, err);
}

bool
fb_libvirt_is_frozen(const struct fb_libvirt_driver *driver, const char *uuid)
{
	FB_AUTO_FREE char *path =
	    fb_libvirt_place(driver, uuid, FB_LIBVIRT_FROZEN);
	struct fb_error ignored;
	struct stat st;

	return fb_libvirt_reaches(driver) && fb_io_look(path, &st, &ignored) == FB_OK;
}

/* What was frozen is gone with the life that it was frozen in. */
static bool
is_over(const struct fb_libvirt_driver *driver, virDomainPtr domain,
    const char *uuid, bool asks)
{
	FB_AUTO_FREE char *path =
	    fb_libvirt_place(driver, uuid, FB_LIBVIRT_FROZEN);
	FB_AUTO_BUF struct fb_buf mark = { 0 };
	FB_AUTO_FREE char *life = life_of(driver, domain, asks);
	struct fb_error ignored;
	int state;

	if (fb_libvirt_state(domain, &state, &ignored) < 0)
		return false;
	return fb_libvirt_is_off(state) ||
	    (fb_io_read_file(path, MARK_MAX, &mark, &ignored) == FB_OK &&
	        is_another_life(fb_buf_str(&mark), life));
}

/*
 * Thawing.
 */

/* *ret_count: of how many file systems it was the end. */
static int
ask_thaw(virDomainPtr domain, int *ret_count, struct fb_error *err)
{
	int rc = fb_libvirt_effect(domain, "fsthaw", err);

	if (rc < 0)
		return rc;
	set_patience(domain, ANSWER_S);
	*ret_count = fb_libvirt.virDomainFSThaw(domain, NULL, 0, 0);
	if (*ret_count < 0)
		rc = fb_libvirt_fail(
		    err, true, "its agent does not thaw its file systems");
	set_patience(domain, VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK);
	return rc;
}

static int
thaw(const struct fb_libvirt_driver *driver, virDomainPtr domain,
    const char *uuid, uint64_t span_ms, int *ret_count, struct fb_error *err)
{
	int64_t end = fb_clock_mono_ns() + (int64_t)span_ms * 1000000;
	struct fb_error why = { 0 };

	if (!fb_libvirt_is_frozen(driver, uuid))
		return FB_OK;
	for (;;) {
		/* No guest waits for an answer of its host's. */
		if (is_over(driver, domain, uuid, driver->far == NULL) ||
		    ask_thaw(domain, ret_count, &why) == FB_OK ||
		    (driver->far != NULL &&
		        is_over(driver, domain, uuid, true)))
			return fb_libvirt_forget(
			    driver, uuid, FB_LIBVIRT_FROZEN, err);
		if (fb_clock_mono_ns() >= end)
			break;
		fb_clock_wait(fb_clock_mono_ns() + AGAIN_NS);
	}
	(void)fb_fail_id(err, FB_EFAILED, "E-THAW",
	    "its file systems may be frozen: %s", why.msg);
	return fb_hint(err, "virsh domfsthaw it, or look why its agent hangs; "
	                    "fleetbak recover tries it again");
}

int
fb_libvirt_thaw(const struct fb_libvirt_driver *driver, virDomainPtr domain,
    const char *uuid, uint64_t span_ms, struct fb_error *err)
{
	int ignored;

	return thaw(driver, domain, uuid, span_ms, &ignored, err);
}

/*
 * The thread that thaws at the deadline: whoever froze it waits for libvirt,
 * which may take its time.
 */

struct fb_libvirt_timer {
	struct fb_libvirt_freeze *freeze;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_t thread;
	struct timespec deadline; /* monotonic */
	bool over;  /* it is not needed any more */
	bool fired; /* it came to that */
};

static void *
watch(void *arg)
{
	struct fb_libvirt_timer *timer = arg;
	struct fb_error ignored;
	int rc = 0;

	(void)pthread_mutex_lock(&timer->lock);
	while (!timer->over && rc != ETIMEDOUT)
		rc = pthread_cond_timedwait(
		    &timer->changed, &timer->lock, &timer->deadline);
	timer->fired = !timer->over;
	(void)pthread_mutex_unlock(&timer->lock);
	if (timer->fired)
		(void)!fb_libvirt_thaw(timer->freeze->driver,
		    timer->freeze->domain, timer->freeze->uuid, THAW_MS,
		    &ignored);
	return NULL;
}

static int
begin_timer(struct fb_libvirt_freeze *freeze, int64_t deadline_ns,
    struct fb_error *err)
{
	struct fb_libvirt_timer *timer = fb_alloc(1, sizeof(*timer));
	pthread_condattr_t attributes;

	timer->freeze = freeze;
	timer->deadline =
	    (struct timespec){ deadline_ns / 1000000000,
		    deadline_ns % 1000000000 };
	(void)pthread_mutex_init(&timer->lock, NULL);
	(void)pthread_condattr_init(&attributes);
	(void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&timer->changed, &attributes);
	(void)pthread_condattr_destroy(&attributes);
	if (pthread_create(&timer->thread, NULL, watch, timer) != 0) {
		free(timer);
		return fb_fail(err, FB_ESYS, "cannot start a thread");
	}
	freeze->timer = timer;
	return FB_OK;
}

/* Did it come to that? */
static bool
end_timer(struct fb_libvirt_freeze *freeze)
{
	struct fb_libvirt_timer *timer = freeze->timer;
	bool fired;

	if (timer == NULL)
		return false;
	(void)pthread_mutex_lock(&timer->lock);
	timer->over = true;
	(void)pthread_cond_signal(&timer->changed);
	(void)pthread_mutex_unlock(&timer->lock);
	(void)pthread_join(timer->thread, NULL);
	fired = timer->fired;
	(void)pthread_cond_destroy(&timer->changed);
	(void)pthread_mutex_destroy(&timer->lock);
	free(FB_STEAL(freeze->timer));
	return fired;
}

/*
 * Freezing.
 */

static void FB_PRINTF(2, 3)
say_why(struct fb_libvirt_freeze *freeze, const char *fmt, ...)
{
	char text[FB_ERROR_MSG_SIZE];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	(void)fb_fail_id(&freeze->why, FB_EFAILED, "E-FREEZE", "%s", text);
	(void)fb_hint(&freeze->why,
	    "'virsh domfsfreeze' and 'virsh domfsthaw' show what its agent "
	    "says");
}

/* After a failure: an agent that says that nothing is frozen has done with
 * what it was asked for. */
static int
settle(struct fb_libvirt_freeze *freeze, struct fb_error *err)
{
	return ask_status(freeze->domain) == THAWED
	    ? fb_libvirt_forget(
	          freeze->driver, freeze->uuid, FB_LIBVIRT_FROZEN, err)
	    : fb_libvirt_thaw(freeze->driver, freeze->domain, freeze->uuid,
	          THAW_MS, err);
}

/* Its time begins when the mark is there: another host may take long to tell
 * which boot it is of. */
static int
ask_freeze(struct fb_libvirt_freeze *freeze, struct fb_error *err)
{
	struct fb_error failure = { 0 };
	int count, rc = put_mark(freeze, err);

	if (rc == FB_OK)
		rc = begin_timer(freeze,
		    fb_clock_mono_ns() +
		        (int64_t)freeze->driver->freeze_timeout_ms * 1000000,
		    err);
	if (rc == FB_OK)
		rc = fb_libvirt_effect(freeze->domain, "fsfreeze", err);
	if (rc < 0) /* it was not asked */
		return rc;
	set_patience(freeze->domain,
	    (int)((freeze->driver->freeze_timeout_ms + 999) / 1000));
	count = fb_libvirt.virDomainFSFreeze(freeze->domain, NULL, 0, 0);
	if (count < 0)
		(void)fb_libvirt_fail(&failure, true, "its agent");
	set_patience(
	    freeze->domain, VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK);
	freeze->count = count;
	if (count > 0)
		return FB_OK;
	if (count == 0)
		say_why(freeze, "its agent found no file system to freeze");
	else
		say_why(freeze, "its file systems were not frozen: %s",
		    failure.msg);
	(void)end_timer(freeze);
	return settle(freeze, err);
}

int
fb_libvirt_freeze_begin(struct fb_libvirt_freeze *freeze, struct fb_error *err)
{
	FB_AUTO_DOMAIN struct fb_domain live = { 0 };
	int rc = fb_libvirt_read(freeze->domain, true, &live, err);

	if (rc < 0)
		return rc;
	if (!live.agent_there) {
		say_why(freeze, "no guest agent answers that could freeze its "
		                "file systems");
		return FB_OK;
	}
	switch (ask_status(freeze->domain)) {
	case THAWED:
		break;
	case FROZEN:
		say_why(freeze, "somebody else has frozen its file systems");
		return FB_OK;
	case SILENT:
		say_why(freeze, "its guest agent says nothing");
		return FB_OK;
	}
	rc = ask_freeze(freeze, err);
	if (rc < 0)
		(void)end_timer(freeze);
	return rc;
}

/* All that was frozen is so until the thaw, by what the agent says of both; its
 * answer may be lost, and the next one is of another thaw. */
int
fb_libvirt_freeze_end(struct fb_libvirt_freeze *freeze, struct fb_error *err)
{
	bool begun = freeze->timer != NULL;
	bool fired = end_timer(freeze);
	bool frozen =
	    begun && !fired && ask_status(freeze->domain) == FROZEN;
	int count = 0;
	int rc = thaw(freeze->driver, freeze->domain, freeze->uuid, THAW_MS,
	    &count, err);

	if (fired)
		say_why(freeze,
		    "its file systems were thawed at the deadline, before it "
		    "was captured");
	else if (begun && (!frozen || count < freeze->count))
		say_why(freeze,
		    "its file systems were thawed by the guest itself, or by "
		    "somebody else, before it was captured");
	return rc;
}

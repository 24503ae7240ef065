/* The commands of a machine: status, stop and start. */
#include <poll.h>
#include <string.h>

#include "fleetbak/base/child.h"
#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "local_internal.h"

/* Exit codes of `status`, as of an LSB init script. */
#define EXIT_UP   0
#define EXIT_DOWN 3

/* A status that hangs is no answer. */
#define STATUS_MAX_MS 10000

/* Between two looks at a machine that is on its way, doubling. */
#define POLL_FIRST_MS 20
#define POLL_LAST_MS  1000

/* Of a command's output, what stands in the message. */
#define SHOWN_MAX 300

static uint64_t
now_ms(void)
{
	return (uint64_t)(fb_clock_mono_ns() / 1000000);
}

/* 0 means none. */
static uint64_t
smaller(uint64_t a, uint64_t b)
{
	if (a == 0 || b == 0)
		return a + b;
	return a < b ? a : b;
}

static int
run_command(const struct fb_local_found *found, char *const *argv,
    const struct fb_verb *verb, uint64_t timeout_ms,
    struct fb_child_result *result, struct fb_error *err)
{
	FB_AUTO_FREE char *machine =
	    fb_format("FLEETBAK_MACHINE=%s", found->spec->id);
	FB_AUTO_FREE char *token = fb_format("FLEETBAK_TOKEN=%s", verb->token);
	const char *const env[] = { machine, token, NULL };

	return fb_child_run(
	    &(struct fb_child_spec){ .argv = (const char *const *)argv,
	        .dir = found->dir,
	        .env = env,
	        .timeout_ms = timeout_ms,
	        .lock_fd = verb->lock_fd,
	        .service = argv == found->spec->start,
	        .cancel = verb->cancel },
	    result, err);
}

/* The last lines of what it said, on one line. */
static const char *
last_words(const struct fb_child_result *result, struct fb_buf *text)
{
	const struct fb_buf *said =
	    result->err.len > 0 ? &result->err : &result->out;
	size_t len = said->len;
	size_t from;

	while (len > 0 && said->data[len - 1] == '\n')
		len--;
	from = len > SHOWN_MAX ? len - SHOWN_MAX : 0;
	while (from < len && (said->data[from] & 0xc0) == 0x80)
		from++; /* not in the middle of a character of UTF-8 */
	if (len == 0)
		return "it said nothing";
	fb_buf_add_str(text, "it said: ");
	for (size_t i = from; i < len; i++)
		fb_buf_add(text, said->data[i] == '\n' ? " " : (const char *)
		    &said->data[i], 1);
	return fb_buf_str(text);
}

static char *
how_ended(const struct fb_child_result *result)
{
	if (result->timed_out)
		return fb_strdup("did not end in time and was killed");
	if (result->exit_code < 0)
		return fb_format("was ended by signal %d", result->signal);
	return fb_format("ended with exit code %d", result->exit_code);
}

static int
fail_command(const struct fb_local_found *found, const char *what,
    const struct fb_child_result *result, enum fb_code code,
    struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf words = { 0 };
	FB_AUTO_FREE char *how = how_ended(result);

	return fb_fail_id(err, code, "E-COMMAND",
	    "'%s' of machine '%s' %s; %s", what, found->spec->id, how,
	    last_words(result, &words));
}

/* FB_ECONFLICT (E-POWER-UNKNOWN) when it says neither up nor down. */
int
fb_local_status(const struct fb_local_found *found,
    const struct fb_verb *verb, enum fb_power *ret_power, struct fb_error *err)
{
	FB_AUTO_CHILD struct fb_child_result result = { 0 };
	FB_AUTO_BUF struct fb_buf words = { 0 };
	FB_AUTO_FREE char *how = NULL;
	int rc;

	*ret_power = FB_POWER_UNKNOWN;
	if (found->spec->status == NULL)
		return fb_fail_id(err, FB_ECONFLICT, "E-POWER-UNKNOWN",
		    "machine '%s' has no 'status' command", found->spec->id);
	rc = run_command(found, found->spec->status, verb,
	    smaller(verb->timeout_ms, STATUS_MAX_MS), &result, err);
	if (rc < 0) {
		err->code = FB_ECONFLICT;
		err->id = "E-POWER-UNKNOWN";
		return fb_wrap(err, "machine '%s': 'status' cannot be run",
		    found->spec->id);
	}
	if (result.exit_code == EXIT_UP && !result.timed_out)
		*ret_power = FB_POWER_UP;
	else if (result.exit_code == EXIT_DOWN && !result.timed_out)
		*ret_power = FB_POWER_DOWN;
	else {
		how = how_ended(&result);
		(void)fb_fail_id(err, FB_ECONFLICT, "E-POWER-UNKNOWN",
		    "machine '%s' is neither up nor down: 'status' %s; %s",
		    found->spec->id, how, last_words(&result, &words));
		return fb_hint(err, "'status' must end with 0 when it is up "
		                    "and with 3 when it is down");
	}
	return FB_OK;
}

int
fb_local_power_get(struct fb_driver *base, const struct fb_machine *machine,
    const struct fb_verb *verb, enum fb_power *ret_power, struct fb_error *err)
{
	FB_AUTO_FOUND struct fb_local_found found = { 0 };
	int rc = fb_local_find(
	    (struct fb_local_driver *)base, machine->id, &found, err);

	*ret_power = FB_POWER_UNKNOWN;
	if (rc < 0)
		return rc;
	/* That it cannot be told is an answer too. */
	rc = fb_local_status(&found, verb, ret_power, err);
	return rc == FB_ECONFLICT ? FB_OK : rc;
}

/* One of the two changes. */
struct change {
	const char *name;
	enum fb_power wanted;
	char *const *argv;
	uint64_t deadline; /* of the whole verb, monotonic ms; 0: none */
};

static uint64_t
time_left(const struct change *change)
{
	uint64_t now = now_ms();

	if (change->deadline == 0)
		return 0;
	return change->deadline > now ? change->deadline - now : 1;
}

/* Look until it is as wanted, or the deadline. */
static int
await(const struct fb_local_found *found, const struct change *change,
    const struct fb_verb *verb, struct fb_error *err)
{
	enum fb_power power;
	int wait = POLL_FIRST_MS;

	for (;;) {
		int rc = fb_local_status(found, verb, &power, err);

		if (rc == FB_OK && power == change->wanted)
			return FB_OK;
		if (verb->cancel != NULL && atomic_load(verb->cancel))
			return fb_fail(err, FB_ECANCELED, "canceled");
		if (change->deadline != 0 && now_ms() >= change->deadline)
			break;
		(void)poll(NULL, 0, wait);
		wait = wait * 2 > POLL_LAST_MS ? POLL_LAST_MS : wait * 2;
	}
	return fb_fail(err, FB_ETIMEOUT,
	    "machine '%s' is not %s in time, though '%s' has ended",
	    found->spec->id, fb_power_name(change->wanted), change->name);
}

static int
carry_out(const struct fb_local_found *found, const struct change *change,
    const struct fb_verb *verb, struct fb_error *err)
{
	FB_AUTO_CHILD struct fb_child_result result = { 0 };
	struct fb_error ignored;
	enum fb_power power;
	int rc = fb_local_status(found, verb, &power, err);

	if (rc == FB_OK && power == change->wanted)
		return FB_OK;
	rc = run_command(
	    found, change->argv, verb, time_left(change), &result, err);
	if (rc < 0)
		return fb_wrap(err, "'%s' cannot be run", change->name);
	if (result.exit_code == 0 && !result.timed_out)
		return await(found, change, verb, err);
	/* It failed; what counts is what the machine is now. */
	if (fb_local_status(found, verb, &power, &ignored) == FB_OK &&
	    power == change->wanted)
		return FB_OK;
	if (verb->cancel != NULL && atomic_load(verb->cancel))
		return fb_fail(err, FB_ECANCELED, "canceled");
	return fail_command(found, change->name, &result,
	    result.timed_out ? FB_ETIMEOUT : FB_EFAILED, err);
}

static int
change_power(struct fb_driver *base, const struct fb_machine *machine,
    const struct fb_verb *verb, bool up, struct fb_error *err)
{
	FB_AUTO_FOUND struct fb_local_found found = { 0 };
	struct change change = { .name = up ? "start" : "stop",
		.wanted = up ? FB_POWER_UP : FB_POWER_DOWN };
	uint64_t timeout;
	int rc = fb_local_find(
	    (struct fb_local_driver *)base, machine->id, &found, err);

	if (rc < 0)
		return rc;
	change.argv = up ? found.spec->start : found.spec->stop;
	if (change.argv == NULL)
		return fb_fail(err, FB_EUNSUP,
		    "machine '%s' has no '%s' command", machine->id,
		    change.name);
	timeout = smaller(verb->timeout_ms,
	    up ? found.spec->start_timeout_ms : found.spec->stop_timeout_ms);
	change.deadline = timeout != 0 ? now_ms() + timeout : 0;
	return carry_out(&found, &change, verb, err);
}

int
fb_local_stop(struct fb_driver *base, const struct fb_machine *machine,
    const struct fb_verb *verb, struct fb_error *err)
{
	return change_power(base, machine, verb, false, err);
}

int
fb_local_start(struct fb_driver *base, const struct fb_machine *machine,
    const struct fb_verb *verb, struct fb_error *err)
{
	return change_power(base, machine, verb, true, err);
}

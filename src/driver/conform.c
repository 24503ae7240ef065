/* The conformance suite: the protocol, and the questions. */
#include "fleetbak/driver/conform.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "conform_internal.h"
#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"

#define RAW_TIMEOUT_MS 30000

static void
report(struct suite *s, const char *name, enum fb_conform_result result,
    const char *why)
{
	struct fb_conform *c = s->conform;

	c->passed += result == FB_CONFORM_PASS;
	c->failed += result == FB_CONFORM_FAIL;
	c->skipped += result == FB_CONFORM_SKIP;
	c->report(c->arg, name, result, why);
}

void
fb_conform_pass(struct suite *s, const char *name)
{
	report(s, name, FB_CONFORM_PASS, "");
}

void
fb_conform_fail(struct suite *s, const char *name, const char *why)
{
	report(s, name, FB_CONFORM_FAIL, why);
}

void
fb_conform_skip(struct suite *s, const char *name, const char *why)
{
	report(s, name, FB_CONFORM_SKIP, why);
}

bool
fb_conform_check(struct suite *s, const char *name, int rc, int wanted,
    const struct fb_error *err)
{
	FB_AUTO_FREE char *why = NULL;

	if (rc == wanted) {
		fb_conform_pass(s, name);
		return true;
	}
	why = rc < 0
	    ? fb_format("%s: %s", err->id, err->msg)
	    : fb_format("it is done, and %s was wanted",
	          fb_code_name((enum fb_code)wanted));
	fb_conform_fail(s, name, why);
	return false;
}

bool
fb_conform_can(const struct suite *s, enum fb_plugin_verb verb)
{
	/* One that is built in answers FB_EUNSUP where it cannot. */
	return s->plugin == NULL ||
	    (s->hello.verbs & (1u << verb)) != 0;
}

/* ----------------------------------------------------------- raw lines */

/* The answers that some lines get, one JSON object each. */
static int
exchange(struct suite *s, const char *lines, struct fb_buf *said,
    struct fb_error *err)
{
	FB_AUTO_CHILD struct fb_child_result result = { 0 };
	struct fb_child_spec spec = {
		.argv = (const char *const *)s->plugin->argv,
		.dir = s->plugin->dir,
		.env = (const char *const *)s->plugin->env,
		.timeout_ms = RAW_TIMEOUT_MS,
		.lock_fd = -1,
		.cancel = s->conform->cancel,
		.input = { (const uint8_t *)lines, strlen(lines) },
		.stdout_max = FB_PLUGIN_LINE_MAX
	};
	int rc = fb_child_run(&spec, &result, err);

	if (rc == FB_OK && result.timed_out)
		rc = fb_fail(err, FB_ETIMEOUT,
		    "it does not end within %d ms after its input has",
		    RAW_TIMEOUT_MS);
	if (rc == FB_OK && result.exit_code != 0)
		rc = fb_fail(err, FB_EPROTO, "it ends with exit code %d",
		    result.exit_code);
	if (rc == FB_OK)
		fb_buf_add(said, result.out.data, result.out.len);
	return rc;
}

/* The next line is the answer `wanted` to the request `id`. */
static int
expect_line(struct fb_span *rest, uint64_t id, const char *wanted,
    struct fb_error *err)
{
	const uint8_t *end =
	    rest->len > 0 ? memchr(rest->ptr, '\n', rest->len) : NULL;
	FB_AUTO_JSON json_t *line = NULL;
	const char *answer;
	uint64_t got;
	int rc;

	if (end == NULL)
		return fb_fail(err, FB_EPROTO,
		    "there is no answer to request %" PRIu64, id);
	rc = fb_json_parse(
	    (struct fb_span){ rest->ptr, (size_t)(end - rest->ptr) },
	    FB_PLUGIN_LINE_MAX, "answer", &line, err);
	rest->len -= (size_t)(end - rest->ptr) + 1;
	rest->ptr = end + 1;
	if (rc == FB_OK)
		rc = fb_json_u64(line, "id", "answer", INT64_MAX, &got, err);
	if (rc == FB_OK)
		rc = fb_json_str(line, "answer", "answer", &answer, err);
	if (rc == FB_OK && (got != id || strcmp(answer, wanted) != 0))
		rc = fb_fail(err, FB_EPROTO,
		    "request %" PRIu64 " is answered with id %" PRIu64
		    " and %.32s instead of %s",
		    id, got, answer, wanted);
	return rc;
}

static char *
hello_line(const struct suite *s, const char *more)
{
	FB_AUTO_BUF struct fb_buf options = { 0 };

	fb_json_add(&options, s->plugin->options);
	return fb_format("{\"id\":1,\"verb\":\"hello\",\"source\":\"test\","
	                 "\"options\":%s,%s}\n",
	    fb_buf_str(&options), more);
}

/* `lines` after hello get these answers, and nothing else is said. */
static void
check_lines(struct suite *s, const char *name, const char *more,
    const char *lines, const char *const *wanted)
{
	FB_AUTO_FREE char *hello = hello_line(s, more);
	FB_AUTO_FREE char *input = fb_format("%s%s", hello, lines);
	FB_AUTO_BUF struct fb_buf said = { 0 };
	struct fb_error err = { 0 };
	struct fb_span rest;
	int rc = exchange(s, input, &said, &err);

	rest = fb_buf_span(&said);
	for (uint64_t id = 1; rc == FB_OK && wanted[id - 1] != NULL; id++)
		rc = expect_line(&rest, id, wanted[id - 1], &err);
	if (rc == FB_OK && rest.len > 0)
		rc = fb_fail(&err, FB_EPROTO, "it says more than its answers");
	(void)fb_conform_check(s, name, rc, FB_OK, &err);
}

static void
check_protocol(struct suite *s)
{
#define ONE "\"protocols\":[1]"
#define ANSWERS(...) ((const char *const[]){ __VA_ARGS__, NULL })
	check_lines(s, "hello-alone", ONE, "", ANSWERS("DONE"));
	check_lines(s, "hello-another-protocol", "\"protocols\":[99]", "",
	    ANSWERS("UNSUPPORTED"));
	check_lines(s, "hello-several-protocols", "\"protocols\":[1,99]", "",
	    ANSWERS("DONE"));
	check_lines(s, "hello-unknown-member", ONE ",\"later\":{\"x\":1}", "",
	    ANSWERS("DONE"));
	check_lines(s, "unknown-verb", ONE,
	    "{\"id\":2,\"verb\":\"no_such_verb\"}\n",
	    ANSWERS("DONE", "UNSUPPORTED"));
	check_lines(s, "several-requests", ONE,
	    "{\"id\":2,\"verb\":\"no_such_verb\"}\n"
	    "{\"id\":3,\"verb\":\"nor_this\",\"later\":true}\n",
	    ANSWERS("DONE", "UNSUPPORTED", "UNSUPPORTED"));
}

/* ------------------------------------------------------------ questions */

/* `first` and what is found now are the same. */
static void
check_again(struct suite *s)
{
	struct fb_fleet again = { 0 };
	struct fb_error err = { 0 };
	int rc = fb_driver_discover(s->driver, &again, &err);

	fb_fleet_settle(&again);
	if (rc == FB_OK && again.count != s->fleet.count)
		rc = fb_fail(&err, FB_EPROTO,
		    "%zu machines, and before it were %zu", again.count,
		    s->fleet.count);
	for (size_t i = 0; rc == FB_OK && i < again.count; i++) {
		const struct fb_machine *a = &s->fleet.machines[i],
					*b = &again.machines[i];

		if (strcmp(a->id, b->id) != 0 ||
		    a->volume_count != b->volume_count ||
		    fb_digest_cmp(&a->description, &b->description) != 0)
			rc = fb_fail(&err, FB_EPROTO,
			    "machine '%s' is described in another way", b->id);
	}
	(void)fb_conform_check(s, "discover-the-same-twice", rc, FB_OK, &err);
	fb_fleet_release(&again);
}

static void
check_machines(struct suite *s)
{
	struct fb_error err = { 0 };
	int rc = FB_OK;

	for (size_t i = 0; rc == FB_OK && i < s->fleet.count; i++)
		if (s->fleet.machines[i].problem != NULL) {
			err = *s->fleet.machines[i].problem;
			rc = err.code;
		}
	(void)fb_conform_check(s, "discover-machines", rc, FB_OK, &err);
	check_again(s);
	rc = FB_OK;
	for (size_t i = 0; rc == FB_OK && i < s->fleet.count; i++) {
		const struct fb_machine *machine = &s->fleet.machines[i];
		struct fb_verb verb = { .token = "", .lock_fd = -1 };
		enum fb_power power;

		rc = fb_driver_power_get(
		    s->driver, machine, &verb, &power, &err);
		if (rc == FB_OK && power != machine->power)
			rc = fb_fail(&err, FB_EPROTO,
			    "discover says that '%s' is %s, power_get %s",
			    machine->id, fb_power_name(machine->power),
			    fb_power_name(power));
	}
	(void)fb_conform_check(s, "power-as-discovered", rc, FB_OK, &err);
}

static int
count_token(const char *machine, const char *token, void *arg,
    struct fb_error *err)
{
	const struct suite *s = arg;

	(void)machine;
	return strcmp(token, s->other) == 0
	    ? fb_fail(err, FB_EPROTO, "it lists one that never was")
	    : FB_OK;
}

static void
check_unknown(struct suite *s)
{
	char id[] = "no-such-machine";
	struct fb_machine ghost = { .id = id };
	struct fb_verb verb = { .token = "", .timeout_ms = RAW_TIMEOUT_MS,
		.lock_fd = -1 };
	struct fb_error err = { 0 };
	enum fb_power power;
	int rc = fb_driver_power_get(s->driver, &ghost, &verb, &power, &err);

	(void)fb_conform_check(
	    s, "unknown-machine-power", rc, FB_ENOTFOUND, &err);
	verb.token = s->other;
	if (fb_conform_can(s, FB_PLUGIN_REMOVE_SNAPSHOT)) {
		rc = fb_driver_remove_snapshot(s->driver, &ghost, &verb, &err);
		(void)fb_conform_check(
		    s, "unknown-machine-remove", rc, FB_OK, &err);
	}
	if (s->fleet.count > 0 &&
	    fb_conform_can(s, FB_PLUGIN_FIND_BY_TOKEN)) {
		rc = fb_driver_find_by_token(
		    s->driver, &s->fleet.machines[0], s->other, &err);
		(void)fb_conform_check(
		    s, "unknown-snapshot", rc, FB_ENOTFOUND, &err);
	}
	if (fb_conform_can(s, FB_PLUGIN_LIST_SNAPSHOTS)) {
		rc = fb_driver_list_snapshots(
		    s->driver, count_token, s, &err);
		(void)fb_conform_check(s, "list-snapshots", rc, FB_OK, &err);
	}
}

/* The lines are a plugin's alone. */
static bool
greet(struct suite *s)
{
	struct fb_error err = { 0 };
	int rc;

	if (s->plugin == NULL)
		return true;
	rc = fb_plugin_greet(s->plugin, &s->hello, &err);
	if (!fb_conform_check(s, "hello", rc, FB_OK, &err))
		return false;
	check_protocol(s);
	return true;
}

static void
run_suite(struct suite *s)
{
	struct fb_error err = { 0 };
	int rc;

	if (!greet(s))
		return;
	rc = fb_driver_probe(s->driver, &err);
	if (!fb_conform_check(s, "probe", rc, FB_OK, &err))
		return;
	rc = fb_driver_discover(s->driver, &s->fleet, &err);
	fb_fleet_settle(&s->fleet);
	if (!fb_conform_check(s, "discover", rc, FB_OK, &err))
		return;
	check_machines(s);
	check_unknown(s);
	if (s->conform->machine != NULL)
		fb_conform_machine(s);
	else
		fb_conform_skip(s, "machine",
		    "name one with --machine to have it stopped, "
		    "snapshotted, started and read");
}

int
fb_conform_run(struct fb_conform *conform, struct fb_error *err)
{
	struct suite s = { .conform = conform };
	int64_t now = fb_clock_wall_ns();
	int rc = fb_driver_open(conform->source, &s.driver, err);

	if (rc < 0)
		return rc;
	s.driver->cancel = conform->cancel;
	conform->passed = conform->failed = conform->skipped = 0;
	if (s.driver->ops == &fb_plugin_ops)
		s.plugin = (struct fb_plugin *)s.driver;
	(void)snprintf(s.token, sizeof(s.token), "fbtest-%" PRId64, now);
	(void)snprintf(s.other, sizeof(s.other), "fbtest-%" PRId64 "x", now);
	run_suite(&s);
	fb_fleet_release(&s.fleet);
	fb_driver_close(s.driver);
	if (conform->cancel != NULL && atomic_load(conform->cancel))
		return fb_fail(err, FB_ECANCELED, "canceled");
	return FB_OK;
}

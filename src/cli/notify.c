/*
 * Telling others how a command went: 10 s for each try, 3 tries, and then a
 * warning.
 */
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/child.h"
#include "fleetbak/base/clock.h"
#include "fleetbak/base/log.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/cli/unattended.h"

#define TRIES      3
#define TRY_MS     10000
#define BETWEEN_NS INT64_C(500000000)

json_t *
fb_notify_document(const struct fb_cli *cli, const char *event)
{
	json_t *document = json_object();
	char now[FB_TIME_SIZE], host[256] = "?";

	(void)gethostname(host, sizeof(host) - 1);
	fb_time_format(fb_clock_wall_ns(), now);
	fb_json_put_str(document, "schema", "fleetbak.notify/1");
	fb_json_put_str(document, "event", event);
	fb_json_put_str(document, "fleet", cli->config->fleet_name);
	fb_json_put_str(document, "command", cli->command->name);
	fb_json_put_str(document, "host", host);
	fb_json_put_str(document, "time", now);
	(void)json_object_set(
	    document, "run", json_object_get(cli->members, "run"));
	return document;
}

static int
run_command(const struct fb_config_notify *notify, struct fb_span body,
    struct fb_error *err)
{
	FB_AUTO_CHILD struct fb_child_result result = { 0 };
	struct fb_child_spec spec = {
		.argv = (const char *const *)notify->command,
		.timeout_ms = TRY_MS,
		.grace_ms = 1000,
		.lock_fd = -1,
		.input = body,
	};
	int rc = fb_child_run(&spec, &result, err);

	if (rc < 0)
		return rc;
	if (result.timed_out)
		return fb_fail(err, FB_ETIMEOUT, "'%s' did not end in 10 s",
		    notify->command[0]);
	if (result.exit_code == 0)
		return FB_OK;
	if (result.signal != 0)
		return fb_fail(err, FB_EFAILED, "'%s' was ended by signal %d",
		    notify->command[0], result.signal);
	return fb_fail(err, FB_EFAILED,
	    "'%s' ended with exit status %d: %.200s", notify->command[0],
	    result.exit_code, fb_buf_str(&result.err));
}

/* What will not change is not tried again. */
static bool
is_final(int rc)
{
	return rc == FB_OK || rc == FB_ECONFIG || rc == FB_EKEY ||
	    rc == FB_ENOTFOUND || rc == FB_EDENIED;
}

static void
tell_one(
    struct fb_cli *cli, const struct fb_config_notify *notify, json_t *document)
{
	FB_AUTO_JSON json_t *own = json_deep_copy(document);
	FB_AUTO_BUF struct fb_buf body = { 0 };
	FB_AUTO_FREE char *text = NULL;
	struct fb_error err = { 0 };
	int rc = FB_EFAILED;

	if (!notify->summary) {
		(void)json_object_del(own, "summary");
		(void)json_object_del(own, "errors");
	}
	text = json_dumps(own, JSON_COMPACT | JSON_REAL_PRECISION(15));
	fb_buf_add_str(&body, text != NULL ? text : "{}");
	fb_buf_add_str(&body, "\n");
	fb_redact(&body);
	for (unsigned i = 0; i < TRIES; i++) {
		int64_t until = fb_clock_mono_ns() + BETWEEN_NS * i;

		while (fb_clock_mono_ns() < until)
			fb_clock_wait(until);
		rc = run_command(notify, fb_buf_span(&body), &err);
		if (is_final(rc))
			break;
	}
	if (rc == FB_OK)
		return;
	(void)fb_wrap(&err, "notify.%s could not be told", notify->name);
	(void)fb_hint(&err, "try it: fleetbak notify");
	fb_cli_warn(cli, NULL, &err);
}

/* The command `notify` is for all of them. */
static bool
wants_command(const struct fb_config_notify *notify, const char *name)
{
	bool wants = notify->commands == NULL || strcmp(name, "notify") == 0;

	for (char **word = notify->commands;
	     word != NULL && *word != NULL && !wants; word++)
		wants = strcmp(*word, name) == 0;
	return wants;
}

void
fb_notify(struct fb_cli *cli, enum fb_notify_on event, json_t *document)
{
	const struct fb_config *config = cli->config;

	for (size_t i = 0; i < config->notify_count; i++)
		if ((config->notify[i].on & (unsigned)event) != 0 &&
		    wants_command(&config->notify[i], cli->command->name))
			tell_one(cli, &config->notify[i], document);
}

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
#include "fleetbak/cli/ping.h"
#include "fleetbak/cli/unattended.h"
#include "fleetbak/crypto/sign.h"

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

/* The URL is the first line of what the reference names. */
static int
read_url(const struct fb_cli *cli, const struct fb_config_notify *notify,
    struct fb_buf *dst, struct fb_error *err)
{
	int rc =
	    fb_secret_read(notify->url, cli->config->base_dir, true, dst, err);

	if (rc < 0)
		return rc;
	dst->len = strcspn(fb_buf_str(dst), "\r\n");
	dst->data[dst->len] = '\0';
	if (strncmp(fb_buf_str(dst), "https://", 8) != 0 &&
	    strncmp(fb_buf_str(dst), "http://", 7) != 0)
		return fb_fail_id(err, FB_ECONFIG, "E-NOTIFY-URL",
		    "what %s names is not a URL", notify->url);
	return FB_OK;
}

static const char *
text_at(const json_t *document, const char *key)
{
	const char *text = json_string_value(json_object_get(document, key));

	return text != NULL ? text : "";
}

/* A version 4 UUID that is the same for the start and the end of one run. */
static void
run_uuid(struct fb_cli *cli, char text[40])
{
	uint8_t *b = cli->ping_id;

	if (!cli->has_ping_id)
		fb_random(b, sizeof(cli->ping_id));
	cli->has_ping_id = true;
	b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
	b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
	(void)snprintf(text, 40,
	    "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-"
	    "%02x%02x%02x%02x%02x%02x",
	    b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10],
	    b[11], b[12], b[13], b[14], b[15]);
}

/* What healthchecks want: URL/start, URL/EXITCODE; a used up budget is not
 * an incident. */
static int
ping(struct fb_cli *cli, const struct fb_config_notify *notify,
    const json_t *document, struct fb_error *err)
{
	FB_AUTO_SECRET struct fb_buf url = { 0 };
	const char *event = text_at(document, "event");
	const char *text = text_at(document, "summary");
	struct fb_ping request = { .type = "text/plain; charset=utf-8" };
	char id[40];
	int rc = read_url(cli, notify, &url, err);

	if (rc < 0)
		return rc;
	run_uuid(cli, id);
	if (strcmp(event, "start") == 0)
		fb_buf_add_str(&url, "/start");
	else if (strcmp(event, "failure") == 0)
		fb_buf_add_fmt(&url, "/%d",
		    (int)json_integer_value(
		        json_object_get(document, "exit_code")) &
		        255);
	else
		fb_buf_add_str(&url, "/0");
	fb_buf_add_fmt(&url, "?rid=%s", id);
	request.url = fb_buf_str(&url);
	request.timeout_ms = TRY_MS;
	request.body.ptr = (const uint8_t *)text;
	request.body.len = strlen(text);
	if (request.body.len > FB_PING_BODY_MAX)
		request.body.len = FB_PING_BODY_MAX;
	return fb_ping(&request, err);
}

static int
post(struct fb_cli *cli, const struct fb_config_notify *notify,
    struct fb_span body, struct fb_error *err)
{
	FB_AUTO_SECRET struct fb_buf url = { 0 };
	int rc = read_url(cli, notify, &url, err);

	if (rc < 0)
		return rc;
	return fb_ping(&(struct fb_ping){ .url = fb_buf_str(&url),
	                   .type = "application/json",
	                   .timeout_ms = TRY_MS,
	                   .body = body },
	    err);
}

static int
try_one(struct fb_cli *cli, const struct fb_config_notify *notify,
    const json_t *document, struct fb_span body, struct fb_error *err)
{
	switch (notify->type) {
	case FB_NOTIFY_EXEC:
		return run_command(notify, body, err);
	case FB_NOTIFY_HEALTHCHECKS:
		return ping(cli, notify, document, err);
	case FB_NOTIFY_WEBHOOK:
		break;
	}
	return post(cli, notify, body, err);
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
		rc = try_one(cli, notify, own, fb_buf_span(&body), &err);
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

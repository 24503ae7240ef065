/* One verb of a plugin: a process, its deadline, its answer. */
#include <string.h>
#include <strings.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/log.h"
#include "fleetbak/base/mem.h"
#include "plugin_internal.h"

/* Of what it wrote to standard error, what stands in a message. */
#define SHOWN_MAX 300

/* Between two calls of a verb that is pending. */
#define PENDING_MIN_MS 20
#define PENDING_MS     1000
#define TICK_MS        100 /* then it is looked whether all is off */

/* hello asks nobody. */
#define HELLO_TIMEOUT_MS 30000

static json_t *
hello_line(const struct fb_plugin *plugin)
{
	return json_pack("{s:i,s:s,s:[i],s:s,s:O}", "id", 1, "verb", "hello",
	    "protocols", FB_PLUGIN_PROTOCOL, "source", plugin->name,
	    "options", plugin->options);
}

static json_t *
verb_line(const struct fb_plugin_call *call, uint64_t timeout_ms)
{
	json_t *line = json_pack("{s:i,s:s}", "id", 2, "verb",
	    fb_plugin_verb_name(call->verb));

	if (call->params != NULL)
		(void)json_object_update(line, call->params);
	if (call->how != NULL && call->how->token[0] != '\0')
		(void)json_object_set_new(
		    line, "token", json_string(call->how->token));
	if (timeout_ms > 0)
		(void)json_object_set_new(line, "timeout_ms",
		    json_integer((json_int_t)timeout_ms));
	return line;
}

static void
add_line(struct fb_buf *dst, json_t *line)
{
	fb_json_add(dst, line);
	fb_buf_add_str(dst, "\n");
	json_decref(line);
}

/* The last words on standard error, on one line, without secrets. */
static void
add_words(struct fb_error *err, struct fb_buf *said)
{
	size_t len = said->len, from;
	FB_AUTO_BUF struct fb_buf text = { 0 };

	while (len > 0 && said->data[len - 1] == '\n')
		len--;
	if (len == 0)
		return;
	from = len > SHOWN_MAX ? len - SHOWN_MAX : 0;
	fb_buf_add(&text, said->data, len);
	/* Before it is cut: half a secret is one too. */
	fb_redact(&text);
	len = text.len;
	from = len > SHOWN_MAX ? len - SHOWN_MAX : 0;
	while (from < len && (text.data[from] & 0xc0) == 0x80)
		from++; /* not in the middle of a character of UTF-8 */
	for (size_t i = from; i < len; i++)
		if (text.data[i] == '\n' || text.data[i] == '\0')
			text.data[i] = ' ';
	{
		struct fb_error whole = *err;

		(void)fb_error_raise(err, whole.code, whole.id, whole.file,
		    whole.line, "%s; it said: %.*s", whole.msg,
		    (int)(len - from), (const char *)text.data + from);
		memcpy(err->hint, whole.hint, sizeof(err->hint));
		err->sys = whole.sys;
	}
}

/* It ended so that nothing it said counts. */
static int
judge_end(const struct fb_plugin_call *call,
    const struct fb_child_result *result, uint64_t timeout_ms,
    struct fb_error *err)
{
	const char *verb = fb_plugin_verb_name(call->verb);

	if (result->canceled)
		return fb_fail(err, FB_ECANCELED, "canceled");
	if (result->timed_out)
		return fb_fail_id(err, FB_ETIMEOUT, "E-PLUGIN-TIMEOUT",
		    "the plugin did not end %s within %llu ms and was killed",
		    verb, (unsigned long long)timeout_ms);
	if (result->exit_code == 0)
		return FB_OK;
	if (result->signal != 0)
		return fb_fail_id(err,
		    call->effect ? FB_EUNKNOWN : FB_EUNREACH, "E-PLUGIN-DIED",
		    "the plugin was ended by signal %d during %s",
		    result->signal, verb);
	return fb_fail_id(err, call->effect ? FB_EUNKNOWN : FB_EUNREACH,
	    "E-PLUGIN-DIED", "the plugin ended with exit code %d during %s",
	    result->exit_code, verb);
}

/* Its answers, into `reply`. */
static int
read_said(struct fb_plugin *plugin, const struct fb_plugin_call *call,
    struct fb_buf *said, struct fb_plugin_reply *reply, struct fb_error *err)
{
	struct fb_plugin_hello hello;
	int rc;

	fb_redact(said);
	rc = fb_plugin_decode(fb_buf_span(said), call->verb != FB_PLUGIN_HELLO,
	    &call->listener, &hello, reply, err);
	if (rc == FB_EPROTO && call->effect)
		err->code = FB_EUNKNOWN; /* it may have done it */
	if (rc == FB_OK && call->verb == FB_PLUGIN_HELLO &&
	    reply->code == FB_OK)
		plugin->hello = hello;
	return rc < 0 ? (int)err->code : rc;
}

static int
run_once(struct fb_plugin *plugin, const struct fb_plugin_call *call,
    uint64_t timeout_ms, struct fb_plugin_reply *reply, struct fb_error *err)
{
	FB_AUTO_CHILD struct fb_child_result result = { 0 };
	FB_AUTO_BUF struct fb_buf input = { 0 };
	struct fb_child_spec spec = { .argv = (const char *const *)plugin->argv,
		.dir = plugin->dir,
		.env = (const char *const *)plugin->env,
		.timeout_ms = timeout_ms,
		.lock_fd = call->how != NULL ? call->how->lock_fd : -1,
		.service = call->verb == FB_PLUGIN_START,
		.cancel = call->cancel,
		.pass = call->pass,
		.pass_count = call->pass != NULL ? 2 : 0,
		.stdout_max = call->said_max > 0 ? call->said_max
		                                 : FB_PLUGIN_LINE_MAX };
	int rc;

	add_line(&input, hello_line(plugin));
	if (call->verb != FB_PLUGIN_HELLO)
		add_line(&input, verb_line(call, timeout_ms));
	spec.input = fb_buf_span(&input);
	rc = fb_child_run(&spec, &result, err);
	if (rc == FB_EPROTO) { /* it says too much */
		(void)fb_plugin_broken(err);
		if (call->effect)
			err->code = FB_EUNKNOWN;
		rc = (int)err->code;
	} else if (rc < 0) { /* it was never started */
		err->code = call->effect ? FB_EFAILED : FB_EUNREACH;
		err->id = "E-PLUGIN-START";
		rc = (int)err->code;
	} else {
		rc = judge_end(call, &result, timeout_ms, err);
		if (rc == FB_OK)
			rc = read_said(
			    plugin, call, &result.out, reply, err);
	}
	if (rc < 0)
		add_words(err, &result.err);
	return rc;
}

/* Why it did not do it, in its own words. */
static int
fail_reply(const struct fb_plugin_call *call,
    const struct fb_plugin_reply *reply, struct fb_error *err)
{
	const char *verb = fb_plugin_verb_name(call->verb);

	return fb_fail(err, reply->code, "the plugin answers %s with %s%s%s",
	    verb, reply->answer, reply->text[0] != '\0' ? ": " : "",
	    reply->text);
}

static uint64_t
now_ms(void)
{
	return (uint64_t)(fb_clock_mono_ns() / 1000000);
}

int
fb_plugin_wait(uint64_t ms, const atomic_bool *cancel, struct fb_error *err)
{
	uint64_t until = now_ms() + ms;

	for (uint64_t now = now_ms(); now < until; now = now_ms()) {
		uint64_t step = until - now;

		if (cancel != NULL && atomic_load(cancel))
			return fb_fail(err, FB_ECANCELED, "canceled");
		if (step > TICK_MS)
			step = TICK_MS;
		fb_clock_wait((int64_t)(now + step) * 1000000);
	}
	return FB_OK;
}

static uint64_t
pause_of(const struct fb_plugin_reply *reply)
{
	uint64_t ms = reply->retry_ms > 0 ? reply->retry_ms : PENDING_MS;

	return ms < PENDING_MIN_MS ? PENDING_MIN_MS : ms;
}

/* What had pipes is over with them: the same request cannot be made again, but
 * by whoever reads a stream. */
static int
fail_pending(const struct fb_plugin_call *call,
    const struct fb_plugin_reply *reply, struct fb_error *err)
{
	if (call->ret_pause_ms != NULL) {
		*call->ret_pause_ms = pause_of(reply);
		return fail_reply(call, reply, err);
	}
	(void)fb_fail(err, FB_EPROTO, "the plugin answers %s with PENDING, "
	                              "which is over with its pipes",
	    fb_plugin_verb_name(call->verb));
	(void)fb_plugin_broken(err);
	return err->code = call->effect ? FB_EUNKNOWN : FB_EPROTO;
}

static int
call_until(struct fb_plugin *plugin, const struct fb_plugin_call *call,
    uint64_t timeout_ms, json_t **ret_result, struct fb_error *err)
{
	uint64_t began = now_ms();

	for (;;) {
		FB_AUTO_REPLY struct fb_plugin_reply reply = { 0 };
		uint64_t spent = now_ms() - began, pause;
		int rc;

		if (timeout_ms > 0 && spent >= timeout_ms)
			spent = timeout_ms - 1;
		rc = run_once(plugin, call,
		    timeout_ms > 0 ? timeout_ms - spent : 0, &reply, err);
		if (rc < 0)
			return rc;
		if (reply.code == FB_OK) {
			if (ret_result != NULL)
				*ret_result = FB_STEAL(reply.body);
			return FB_OK;
		}
		if (reply.code == FB_PENDING && call->pass != NULL)
			return fail_pending(call, &reply, err);
		if ((reply.code != FB_PENDING && reply.code != FB_ERETRY) ||
		    call->pass != NULL)
			return fail_reply(call, &reply, err);
		pause = pause_of(&reply);
		if (timeout_ms > 0 && now_ms() - began + pause >= timeout_ms) {
			(void)fail_reply(call, &reply, err);
			if (reply.code == FB_PENDING)
				err->code = FB_ETIMEOUT;
			return (int)err->code;
		}
		rc = fb_plugin_wait(pause, call->cancel, err);
		if (rc < 0)
			return rc;
	}
}

int
fb_plugin_greet(struct fb_plugin *plugin, struct fb_plugin_hello *ret_hello,
    struct fb_error *err)
{
	struct fb_plugin_call call = { .verb = FB_PLUGIN_HELLO };
	int rc = FB_OK;

	(void)pthread_mutex_lock(&plugin->lock);
	if (!plugin->greeted)
		rc = call_until(plugin, &call, HELLO_TIMEOUT_MS, NULL, err);
	plugin->greeted = plugin->greeted || rc == FB_OK;
	if (ret_hello != NULL)
		*ret_hello = plugin->hello;
	(void)pthread_mutex_unlock(&plugin->lock);
	/* Nothing but hello was asked for: whatever was wanted did not happen. */
	if (rc < 0 && rc != FB_EDENIED && rc != FB_EPROTO &&
	    rc != FB_ECANCELED)
		rc = err->code = FB_EUNREACH;
	return rc;
}

int
fb_plugin_can(
    struct fb_plugin *plugin, enum fb_plugin_verb verb, struct fb_error *err)
{
	struct fb_plugin_hello hello;
	int rc = fb_plugin_greet(plugin, &hello, err);

	if (rc == FB_OK && (hello.verbs & (1u << verb)) == 0)
		rc = fb_fail(err, FB_EUNSUP, "the plugin '%s' has no verb %s",
		    hello.name, fb_plugin_verb_name(verb));
	return rc;
}

int
fb_plugin_call(struct fb_plugin *plugin, const struct fb_plugin_call *call,
    json_t **ret_result, struct fb_error *err)
{
	struct fb_plugin_call own = *call;
	uint64_t timeout_ms = plugin->timeout_ms;
	int rc = fb_plugin_can(plugin, call->verb, err);

	if (rc < 0)
		return rc;
	if (call->how != NULL && call->how->timeout_ms > 0)
		timeout_ms = call->how->timeout_ms;
	if (own.cancel == NULL && call->how != NULL)
		own.cancel = call->how->cancel;
	return call_until(
	    plugin, &own, call->endless ? 0 : timeout_ms, ret_result, err);
}

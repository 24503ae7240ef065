/* A volume of a plugin that is read and written as one stream. */
#include <inttypes.h>
#include <stdlib.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "plugin_internal.h"

#define STEP (256u * 1024)

/* How often a stream that stopped is gone on with without a byte of gain. */
#define RESUMES_MAX 3

struct stream {
	struct fb_artifact base;
	struct fb_plugin *plugin;
	json_t *params;
	enum fb_volume_kind kind;
	const struct fb_sink *sink;
	struct fb_pipe *pipe;
	uint8_t *room;
	uint64_t at; /* bytes that came */
	unsigned resumes;
	uint64_t pause_ms; /* before it is asked again, being pending */
	bool can_resume, changed;
};

static void
pass_warning(void *arg, const char *path, const char *what)
{
	struct stream *s = arg;

	s->changed = true;
	if (s->sink->warn != NULL)
		s->sink->warn(s->sink->arg, path != NULL ? path : ".", what);
}

static int
open_at(struct stream *s, struct fb_error *err)
{
	struct fb_plugin_call call = { .verb = FB_PLUGIN_READ_STREAM,
		.params = s->params,
		.cancel = s->plugin->base.cancel,
		.ret_pause_ms = &s->pause_ms,
		.listener = { .arg = s, .warn = pass_warning } };

	fb_pipe_closep(&s->pipe);
	(void)json_object_set_new(
	    s->params, "offset", json_integer((json_int_t)s->at));
	return fb_pipe_open(s->plugin, &call, &s->pipe, err);
}

/* The process ended: was that all? */
static int
end_stream(struct stream *s, struct fb_error *err)
{
	static const char *const keys[] = { "bytes", NULL };
	FB_AUTO_JSON json_t *result = NULL;
	uint64_t bytes;
	int rc = fb_pipe_end(s->pipe, &result, err);

	if (rc != FB_OK || result == NULL)
		return rc;
	rc = fb_json_only(result, "result", keys, err);
	if (rc == FB_OK)
		rc = fb_json_u64(
		    result, "bytes", "result", INT64_MAX, &bytes, err);
	if (rc == FB_OK && bytes != s->at)
		rc = fb_fail(err, FB_EPROTO,
		    "the plugin counts %" PRIu64 " bytes, %" PRIu64 " came",
		    bytes, s->at);
	return rc < 0 ? fb_plugin_broken(err) : FB_OK;
}

/* Go on with what stopped like this, if that may be; else it is the error. */
static int
go_on(struct stream *s, int rc, struct fb_error *err)
{
	if (rc == FB_PENDING) {
		if (s->at > 0 && !s->can_resume) {
			(void)fb_fail(err, FB_EPROTO,
			    "the plugin has more to give later, and cannot "
			    "go on from byte %" PRIu64,
			    s->at);
			return fb_plugin_broken(err);
		}
		rc = fb_plugin_wait(s->pause_ms, s->plugin->base.cancel, err);
		return rc < 0 ? rc : open_at(s, err);
	}
	if (rc != FB_EUNREACH && rc != FB_ERETRY && rc != FB_ETIMEOUT)
		return rc;
	if (!s->can_resume || s->at == 0 || s->resumes++ >= RESUMES_MAX)
		return rc;
	return open_at(s, err);
}

static int
next(void *arg, struct fb_span *ret_bytes, struct fb_error *err)
{
	struct stream *s = arg;

	*ret_bytes = (struct fb_span){ s->room, 0 };
	if (s->pipe == NULL)
		return FB_OK;
	for (;;) {
		size_t len;
		int rc = fb_pipe_read(s->pipe, s->room, STEP, &len, err);

		if (rc == FB_OK && len > 0) {
			s->at += len;
			s->resumes = 0;
			ret_bytes->len = len;
			return FB_OK;
		}
		if (rc == FB_OK)
			rc = end_stream(s, err);
		if (rc == FB_OK) {
			fb_pipe_closep(&s->pipe);
			return FB_OK;
		}
		rc = go_on(s, rc, err);
		if (rc < 0)
			return rc;
	}
}

static int
give_raw(struct stream *s, const struct fb_pull *pull, struct fb_error *err)
{
	for (;;) {
		struct fb_span bytes;
		int rc = pull->next(pull->arg, &bytes, err);

		if (rc < 0 || bytes.len == 0)
			return rc;
		rc = s->sink->data(s->sink->arg, bytes.ptr, bytes.len, err);
		if (rc < 0)
			return rc;
	}
}

static int
stream_produce(struct fb_artifact *artifact, const struct fb_sink *sink,
    struct fb_error *err)
{
	struct stream *s = (struct stream *)artifact;
	struct fb_pull pull = { s, next };
	bool archive = s->kind == FB_VOLUME_TREE ||
	    s->kind == FB_VOLUME_DEFINITION;
	struct fb_plugin_hello hello;
	int rc = fb_plugin_greet(s->plugin, &hello, err);

	if (rc < 0)
		return rc;
	s->sink = sink;
	s->at = 0;
	s->can_resume = hello.resume;
	s->room = s->room != NULL ? s->room : fb_alloc(STEP, 1);
	rc = open_at(s, err);
	if (rc == FB_OK)
		rc = archive ? fb_plugin_tar(&pull, sink, err)
		             : give_raw(s, &pull, err);
	fb_pipe_closep(&s->pipe);
	return rc;
}

static bool
stream_changed(struct fb_artifact *artifact)
{
	return ((struct stream *)artifact)->changed;
}

static void
stream_close(struct fb_artifact *artifact)
{
	struct stream *s = (struct stream *)artifact;

	fb_pipe_closep(&s->pipe);
	json_decref(s->params);
	free(s->room);
	free(s);
}

static const struct fb_artifact_ops stream_ops = {
	.produce = stream_produce,
	.changed = stream_changed,
	.close = stream_close,
};

int
fb_plugin_open_stream(struct fb_plugin *plugin, json_t *params,
    enum fb_volume_kind kind, struct fb_artifact **ret_artifact,
    struct fb_error *err)
{
	struct stream *s;
	int rc = fb_plugin_can(plugin, FB_PLUGIN_READ_STREAM, err);

	if (rc < 0) {
		json_decref(params);
		return rc;
	}
	s = fb_alloc(1, sizeof(*s));
	s->base.ops = &stream_ops;
	s->plugin = plugin;
	s->params = params;
	s->kind = kind;
	*ret_artifact = &s->base;
	return FB_OK;
}

/* ------------------------------------------------------------- target */

struct writing {
	struct fb_target base;
	struct fb_plugin *plugin;
	json_t *params;
	struct fb_verb verb;
	char *token;
};

static void
pass_report(void *arg, const char *path, const char *what)
{
	struct writing *w = arg;

	if (w->base.report != NULL)
		w->base.report(
		    w->base.report_arg, path != NULL ? path : ".", what);
}

static int
take_counts(struct writing *w, const json_t *result, struct fb_error *err)
{
	static const char *const keys[] = { "removed", "unchanged_bytes",
		"written_bytes", NULL };
	uint64_t *const counts[] = { &w->base.removed,
		&w->base.unchanged_bytes, &w->base.written_bytes };
	int rc = FB_OK;

	if (result == NULL)
		return FB_OK;
	rc = fb_json_only(result, "result", keys, err);
	for (size_t i = 0; rc == FB_OK && i < FB_COUNT(counts); i++)
		if (json_object_get(result, keys[i]) != NULL)
			rc = fb_json_u64(result, keys[i], "result", INT64_MAX,
			    counts[i], err);
	return rc < 0 ? fb_plugin_broken(err) : FB_OK;
}

static int
writing_absorb(struct fb_target *target, const struct fb_pull *pull,
    struct fb_error *err)
{
	struct writing *w = (struct writing *)target;
	struct fb_plugin_call call = { .verb = FB_PLUGIN_WRITE_STREAM,
		.effect = true, .params = w->params, .how = &w->verb,
		.listener = { .arg = w, .warn = pass_report } };
	FB_AUTO_PIPE struct fb_pipe *pipe = NULL;
	FB_AUTO_JSON json_t *result = NULL;
	uint64_t bytes = 0;
	int rc;

	(void)json_object_set_new(
	    w->params, "partial", json_boolean(target->partial));
	rc = fb_pipe_open(w->plugin, &call, &pipe, err);
	while (rc == FB_OK) {
		struct fb_span piece;

		rc = pull->next(pull->arg, &piece, err);
		if (rc < 0 || piece.len == 0)
			break;
		bytes += piece.len;
		rc = fb_pipe_write(pipe, piece, err);
	}
	if (rc == FB_OK)
		rc = fb_pipe_end(pipe, &result, err);
	w->base.written_bytes = bytes;
	return rc == FB_OK ? take_counts(w, result, err) : rc;
}

/* What a plugin says is done is durable. */
static int
writing_sync(struct fb_target *target, struct fb_error *err)
{
	(void)target;
	(void)err;
	return FB_OK;
}

static void
writing_close(struct fb_target *target)
{
	struct writing *w = (struct writing *)target;

	json_decref(w->params);
	free(w->token);
	free(w);
}

static const struct fb_target_ops writing_ops = {
	.absorb = writing_absorb,
	.sync = writing_sync,
	.close = writing_close,
};

int
fb_plugin_target_stream(struct fb_plugin *plugin, json_t *params,
    const struct fb_verb *verb, struct fb_target **ret_target,
    struct fb_error *err)
{
	struct writing *w;
	int rc = fb_plugin_can(plugin, FB_PLUGIN_WRITE_STREAM, err);

	if (rc < 0) {
		json_decref(params);
		return rc;
	}
	w = fb_alloc(1, sizeof(*w));
	w->base.ops = &writing_ops;
	w->plugin = plugin;
	w->params = params;
	w->token = fb_strdup(verb->token);
	w->verb = *verb;
	w->verb.token = w->token;
	*ret_target = &w->base;
	return FB_OK;
}

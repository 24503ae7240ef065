/* A verb with pipes, run by a thread while another one reads and writes. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/group.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/base/seam.h"
#include "plugin_internal.h"

/* How often it is looked whether the caller wants no more. */
#define TICK_MS 100

/* What a plugin whose input has ended may take to end itself, when nobody
 * waits for its answer. */
#define LINGER_MS 2000

struct fb_pipe {
	struct fb_plugin *plugin;
	struct fb_plugin_call call;
	struct fb_verb how; /* the caller's may be gone before it has ended */
	char token[FB_NAME_MAX + 1];
	struct fb_group *group;
	const atomic_bool *cancel; /* the caller's, of call.how or else
	                            * call.cancel */
	atomic_bool stop;          /* ours */
	int to, from;    /* our ends; -1 once closed */
	int theirs[2];   /* open until it has ended: nobody gets SIGPIPE */
	int over[2];     /* readable once it has ended */
	json_t *result;
	int rc;
	struct fb_error err;
};

static void
close_one(int *fd)
{
	fb_closep(fd);
	*fd = -1;
}

static int
run(void *arg, struct fb_error *err)
{
	struct fb_pipe *pipe = arg;

	(void)err;
	pipe->rc = fb_plugin_call(
	    pipe->plugin, &pipe->call, &pipe->result, &pipe->err);
	close_one(&pipe->over[1]);
	return FB_OK;
}

static int
make_pair(int *ret_read, int *ret_write, struct fb_error *err)
{
	int ends[2];

	if (fb_seam_fails(FB_STEP_OPEN, "pipe") ||
	    pipe2(ends, O_CLOEXEC) == -1)
		return fb_fail_sys(err, "cannot make a pipe");
	*ret_read = ends[0];
	*ret_write = ends[1];
	return FB_OK;
}

int
fb_pipe_open(struct fb_plugin *plugin, const struct fb_plugin_call *call,
    struct fb_pipe **ret_pipe, struct fb_error *err)
{
	FB_AUTO_PIPE struct fb_pipe *pipe = fb_alloc(1, sizeof(*pipe));
	int rc;

	*pipe = (struct fb_pipe){ .plugin = plugin, .call = *call, .to = -1,
		.from = -1, .theirs = { -1, -1 }, .over = { -1, -1 },
		.cancel = call->cancel };
	if (call->how != NULL) {
		pipe->how = *call->how;
		(void)snprintf(pipe->token, sizeof(pipe->token), "%s",
		    call->how->token);
		pipe->how.token = pipe->token;
		pipe->cancel = call->how->cancel;
		pipe->call.how = &pipe->how;
	}
	pipe->call.params = json_incref(call->params);
	rc = make_pair(&pipe->theirs[0], &pipe->to, err);
	if (rc == FB_OK)
		rc = make_pair(&pipe->from, &pipe->theirs[1], err);
	if (rc == FB_OK)
		rc = make_pair(&pipe->over[0], &pipe->over[1], err);
	if (rc == FB_OK &&
	    (fcntl(pipe->to, F_SETFL, O_NONBLOCK) == -1 ||
	        fcntl(pipe->from, F_SETFL, O_NONBLOCK) == -1))
		rc = fb_fail_sys(err, "cannot set up a pipe");
	if (rc < 0)
		return rc;
	pipe->call.pass = pipe->theirs;
	pipe->call.cancel = &pipe->stop;
	pipe->call.endless = true;
	pipe->group = fb_group_new();
	fb_group_start(pipe->group, run, pipe);
	*ret_pipe = FB_STEAL(pipe);
	return FB_OK;
}

/* Wait for its end and take its word. */
static int
join(struct fb_pipe *pipe, struct fb_error *err)
{
	struct fb_error ignored;

	if (pipe->group != NULL)
		(void)!fb_group_wait(pipe->group, &ignored);
	pipe->group = NULL;
	if (pipe->rc < 0)
		*err = pipe->err;
	return pipe->rc;
}

/* It ended though more was to be read or written. */
static int
fail_early(struct fb_pipe *pipe, struct fb_error *err)
{
	int rc = join(pipe, err);

	if (rc < 0)
		return rc;
	(void)fb_fail(err, FB_EPROTO, "the plugin said that %s is done "
	                              "before it was",
	    fb_plugin_verb_name(pipe->call.verb));
	return fb_plugin_broken(err);
}

/* Wait until `fd` is ready; *ret_over when the process has ended and it is
 * not. */
static int
wait_ready(struct fb_pipe *pipe, int fd, short events, bool *ret_over,
    struct fb_error *err)
{
	int64_t began = fb_clock_mono_ns();

	*ret_over = false;
	for (;;) {
		struct pollfd polls[2] = { { fd, events, 0 },
			{ pipe->over[0], POLLIN, 0 } };
		int got = poll(polls, 2, TICK_MS);

		if (got == -1 && errno != EINTR)
			return fb_fail_sys(err, "cannot wait for a plugin");
		if (got > 0 && (polls[0].revents & events) != 0)
			return FB_OK;
		if (got > 0 && polls[1].revents != 0) {
			*ret_over = true;
			return FB_OK;
		}
		if (pipe->cancel != NULL && atomic_load(pipe->cancel)) {
			atomic_store(&pipe->stop, true);
			return fb_fail(err, FB_ECANCELED, "canceled");
		}
		if (fb_clock_mono_ns() - began <
		    (int64_t)pipe->plugin->stall_ms * 1000000)
			continue;
		atomic_store(&pipe->stop, true);
		return fb_fail_id(err, FB_ETIMEOUT, "E-PLUGIN-TIMEOUT",
		    "the plugin moved no byte of %s for %llu ms and was "
		    "killed",
		    fb_plugin_verb_name(pipe->call.verb),
		    (unsigned long long)pipe->plugin->stall_ms);
	}
}

int
fb_pipe_read(struct fb_pipe *pipe, void *bytes, size_t len, size_t *ret_len,
    struct fb_error *err)
{
	bool over = false;

	*ret_len = 0;
	for (;;) {
		ssize_t got = read(pipe->from, bytes, len);
		int rc;

		if (got > 0) {
			*ret_len = (size_t)got;
			return FB_OK;
		}
		if (got == -1 && errno != EAGAIN && errno != EINTR)
			return fb_fail_sys(err, "cannot read from a plugin");
		/* What it wrote before its end is in the pipe by then, and
		 * may have come after our last look. */
		if (over)
			return FB_OK;
		rc = wait_ready(pipe, pipe->from, POLLIN, &over, err);
		if (rc < 0)
			return rc;
	}
}

int
fb_pipe_write(
    struct fb_pipe *pipe, struct fb_span bytes, struct fb_error *err)
{
	while (bytes.len > 0) {
		ssize_t put = write(pipe->to, bytes.ptr, bytes.len);
		bool over;
		int rc;

		if (put > 0) {
			bytes.ptr += put;
			bytes.len -= (size_t)put;
			continue;
		}
		if (put == -1 && errno != EAGAIN && errno != EINTR)
			return fb_fail_sys(err, "cannot write to a plugin");
		rc = wait_ready(pipe, pipe->to, POLLOUT, &over, err);
		if (rc < 0)
			return rc;
		if (over)
			return fail_early(pipe, err);
	}
	return FB_OK;
}

bool
fb_pipe_spoke(const struct fb_pipe *pipe)
{
	struct pollfd look = { pipe->from, POLLIN, 0 };

	return poll(&look, 1, 0) > 0 && (look.revents & POLLIN) != 0;
}

/* What it did not read is lost: it has not taken all. */
static bool
left_unread(struct fb_pipe *pipe)
{
	struct pollfd look = { pipe->theirs[0], POLLIN, 0 };

	return poll(&look, 1, 0) > 0 && (look.revents & POLLIN) != 0;
}

int
fb_pipe_end(struct fb_pipe *pipe, json_t **ret_result, struct fb_error *err)
{
	bool over = false;
	size_t wasted = 0;
	int rc;

	close_one(&pipe->to);
	/* What it still writes is nobody's; that it goes on is a sign. */
	while (!over) {
		char waste[4096];
		size_t len;

		rc = fb_pipe_read(pipe, waste, sizeof(waste), &len, err);
		if (rc < 0)
			return rc;
		over = len == 0;
		wasted += len;
	}
	rc = join(pipe, err);
	/* One byte too many, and nobody knows which were the right ones. */
	if (rc == FB_OK && wasted > 0 &&
	    pipe->call.verb == FB_PLUGIN_READ_BLOCKS) {
		(void)fb_fail(err, FB_EPROTO,
		    "the plugin replies without being asked");
		rc = fb_plugin_broken(err);
	}
	if (rc == FB_OK && left_unread(pipe)) {
		(void)fb_fail(err, FB_EPROTO,
		    "the plugin said that %s is done and did not read all",
		    fb_plugin_verb_name(pipe->call.verb));
		rc = fb_plugin_broken(err);
	}
	if (rc == FB_OK && ret_result != NULL)
		*ret_result = FB_STEAL(pipe->result);
	return rc;
}

void
fb_pipe_close(struct fb_pipe *pipe)
{
	struct pollfd over = { pipe->over[0], POLLIN, 0 };
	struct fb_error ignored;
	/* The end of a stream that broke off would pass for that of all. */
	bool cut = pipe->call.verb == FB_PLUGIN_WRITE_STREAM && pipe->to >= 0;

	if (!cut)
		close_one(&pipe->to);
	close_one(&pipe->from); /* whoever still writes is not held up */
	if (pipe->group != NULL) {
		if (cut || poll(&over, 1, LINGER_MS) <= 0)
			atomic_store(&pipe->stop, true);
		(void)!join(pipe, &ignored);
	}
	close_one(&pipe->to);
	for (int i = 0; i < 2; i++)
		close_one(&pipe->theirs[i]);
	close_one(&pipe->over[0]);
	close_one(&pipe->over[1]);
	json_decref(pipe->result);
	json_decref(pipe->call.params);
	free(pipe);
}

void
fb_pipe_closep(struct fb_pipe **pipe)
{
	if (*pipe != NULL)
		fb_pipe_close(*pipe);
	*pipe = NULL;
}

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fleetbak/base/child.h"
#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/seam.h"
#include "spawn.h"

/* How often cancel, deadline and a child that closed its output are looked
 * at. */
#define TICK_MS 50

/* What is left in the pipes of an ended child is there already; who still
 * writes after that is a grandchild, and not waited for: so many looks that
 * find nothing, and no more than the largest pipe holds. */
#define DRAIN_MS    10
#define DRAIN_IDLE  10
#define DRAIN_LOOKS 128

#define READ_STEP 16384

enum { IN, OUT, ERR, STATUS, STREAMS, END = STREAMS, POLLED };

struct run {
	const struct fb_child_spec *spec;
	struct fb_child_result *result;
	int fds[STREAMS]; /* our ends; -1 once closed */
	pid_t pid;
	int pid_fd; /* readable once it has ended; -1: the kernel has none */
	bool ended; /* and reaped */
	size_t written;      /* of spec->input */
	int64_t deadline_ns; /* INT64_MAX: none */
	int64_t kill_ns;     /* when SIGKILL is due, INT64_MAX: not ending */
	bool killed;
	bool idle; /* the last look found nothing */
	bool overflow; /* of stdout_max */
	struct fb_spawn_fault fault;
	size_t fault_len;
	enum fb_fault scripted;
};

static int64_t
later(uint64_t ms)
{
	if (ms > INT64_MAX / 2000000)
		return INT64_MAX - 1;
	return fb_clock_mono_ns() + (int64_t)ms * 1000000;
}

static void
close_one(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

/* A pipe whose ends are above the standard descriptors, which the child
 * overwrites. */
static int
make_pipe(int ends[2], struct fb_error *err)
{
	bool failed;

	do
		failed = fb_seam_fails(FB_STEP_OPEN, "pipe") ||
		    pipe2(ends, O_CLOEXEC) == -1;
	while (failed && errno == EINTR);
	if (failed)
		return fb_fail_sys(err, "cannot make a pipe");
	for (int i = 0; i < 2; i++) {
		int low = ends[i];

		if (low > 2)
			continue;
		ends[i] = fcntl(low, F_DUPFD_CLOEXEC, 3);
		(void)close(low);
		if (ends[i] == -1) {
			int rc = fb_fail_sys(err, "cannot move a pipe");

			close_one(&ends[1 - i]);
			return rc;
		}
	}
	return FB_OK;
}

static int
start(struct run *run, struct fb_error *err)
{
	int theirs[STREAMS] = { -1, -1, -1, -1 };
	int rc = FB_OK;

	for (int i = 0; i < STREAMS && rc == FB_OK; i++) {
		int ends[2] = { -1, -1 };

		rc = make_pipe(ends, err);
		run->fds[i] = ends[i == IN ? 1 : 0];
		theirs[i] = ends[i == IN ? 0 : 1];
		if (rc == FB_OK &&
		    fcntl(run->fds[i], F_SETFL, O_NONBLOCK) == -1)
			rc = fb_fail_sys(err, "cannot set up a pipe");
	}
	if (rc == FB_OK) {
		run->pid = run->scripted == FB_FAULT_FAIL
		    ? -1
		    : fb_spawn(run->spec, theirs, theirs[STATUS]);
		if (run->scripted == FB_FAULT_FAIL)
			fb_seam_errno();
		if (run->pid == -1)
			rc = fb_fail_sys(
			    err, "cannot fork for '%s'", run->spec->argv[0]);
		else
			run->pid_fd = (int)syscall(SYS_pidfd_open, run->pid, 0);
	}
	for (int i = 0; i < STREAMS; i++)
		close_one(&theirs[i]);
	return rc;
}

/* Keep the last `max` bytes, moving them seldom. */
static void
keep_last(struct fb_buf *buf, size_t max, bool now)
{
	if (buf->len <= max || (!now && buf->len < 2 * max))
		return;
	memmove(buf->data, buf->data + buf->len - max, max);
	buf->len = max;
	buf->data[max] = '\0';
}

/* Stop the group: gently first, and so that who was stopped hears of it.  The
 * pid is ours until it is reaped, and after that the group's as long as
 * somebody is in it. */
static void
end_group(struct run *run)
{
	if (run->kill_ns != INT64_MAX)
		return;
	run->kill_ns = later(
	    run->spec->grace_ms ? run->spec->grace_ms : FB_CHILD_GRACE_MS);
	(void)kill(-run->pid, SIGTERM);
	(void)kill(-run->pid, SIGCONT);
}

static void
read_output(struct run *run, int stream)
{
	struct fb_buf *buf =
	    stream == OUT ? &run->result->out : &run->result->err;
	size_t max = stream == OUT ? run->spec->stdout_max : 0;
	ssize_t got;

	got = read(run->fds[stream], fb_buf_reserve(buf, READ_STEP), READ_STEP);
	if (got == -1 && (errno == EINTR || errno == EAGAIN))
		return;
	if (got <= 0) {
		close_one(&run->fds[stream]);
		return;
	}
	buf->len += (size_t)got;
	buf->data[buf->len] = '\0';
	if (max == 0) {
		keep_last(buf, FB_CHILD_OUTPUT_MAX, false);
	} else if (buf->len > max) {
		run->overflow = true;
		buf->len = max;
		end_group(run);
	}
}

static void
write_input(struct run *run)
{
	const struct fb_span *input = &run->spec->input;
	ssize_t put = 0;

	if (run->written < input->len)
		put = write(run->fds[IN], input->ptr + run->written,
		    input->len - run->written);
	if (put == -1 && (errno == EINTR || errno == EAGAIN))
		return;
	if (put > 0)
		run->written += (size_t)put;
	if (put == -1 || run->written == input->len)
		close_one(&run->fds[IN]); /* it need not want all of it */
}

static void
read_status(struct run *run)
{
	ssize_t got =
	    read(run->fds[STATUS], (uint8_t *)&run->fault + run->fault_len,
	        sizeof(run->fault) - run->fault_len);

	if (got == -1 && (errno == EINTR || errno == EAGAIN))
		return;
	if (got > 0)
		run->fault_len += (size_t)got;
	if (got <= 0 || run->fault_len == sizeof(run->fault))
		close_one(&run->fds[STATUS]);
}

static bool
is_heard(const struct run *run)
{
	return run->fds[OUT] >= 0 || run->fds[ERR] >= 0 ||
	    run->fds[STATUS] >= 0;
}

/* One look at all streams, waiting at most `wait_ms`; false when all that
 * can be read has ended. */
static bool
serve_streams(struct run *run, int wait_ms)
{
	struct pollfd polls[POLLED];

	for (int i = 0; i < STREAMS; i++)
		polls[i] = (struct pollfd){ run->fds[i],
			i == IN ? POLLOUT : POLLIN, 0 };
	polls[END] =
	    (struct pollfd){ run->ended ? -1 : run->pid_fd, POLLIN, 0 };
	run->idle = poll(polls, POLLED, wait_ms) <= 0;
	if (run->idle)
		memset(polls, 0, sizeof(polls));
	if (polls[IN].revents != 0)
		write_input(run);
	for (int i = OUT; i <= ERR; i++)
		if (polls[i].revents != 0)
			read_output(run, i);
	if (polls[STATUS].revents != 0)
		read_status(run);
	return is_heard(run);
}

static void
reap(struct run *run)
{
	pid_t pid;
	int status;

	if (run->ended)
		return;
	do
		pid = waitpid(run->pid, &status, WNOHANG);
	while (pid == -1 && errno == EINTR);
	if (pid == 0)
		return;
	run->ended = true;
	run->result->exit_code = -1;
	if (pid == run->pid && WIFEXITED(status))
		run->result->exit_code = WEXITSTATUS(status);
	if (pid == run->pid && WIFSIGNALED(status))
		run->result->signal = WTERMSIG(status);
	if (run->scripted == FB_FAULT_LOST || run->scripted == FB_FAULT_LATE) {
		run->result->exit_code = -1;
		run->result->signal = SIGKILL;
		run->result->timed_out = run->scripted == FB_FAULT_LATE;
	}
}

static void
watch_the_time(struct run *run)
{
	const atomic_bool *cancel = run->spec->cancel;
	int64_t now = fb_clock_mono_ns();

	if (run->kill_ns == INT64_MAX && !run->ended) {
		if (cancel != NULL && atomic_load(cancel)) {
			run->result->canceled = true;
			end_group(run);
		} else if (now >= run->deadline_ns) {
			run->result->timed_out = true;
			end_group(run);
		}
	}
	if (now >= run->kill_ns && !run->killed) {
		run->killed = true;
		(void)kill(-run->pid, SIGKILL);
	}
}

/* The child has ended, and so have those we told to end. */
static bool
is_over(struct run *run)
{
	if (!run->ended)
		return false;
	return run->kill_ns == INT64_MAX || run->killed ||
	    kill(-run->pid, 0) == -1;
}

static void
attend(struct run *run)
{
	int wait_ms = TICK_MS, silent_ms = run->pid_fd >= 0 ? TICK_MS : 1;

	while (!is_over(run)) {
		/* Between the end of its output and its own there is but a
		 * moment: where its end cannot be polled for, do not wait a
		 * whole tick for it. */
		bool silent = !serve_streams(run, wait_ms);

		wait_ms = silent ? silent_ms : TICK_MS;
		if (silent && silent_ms < TICK_MS)
			silent_ms *= 2;
		/* Who has ended is in time, however late we look: we may have
		 * been stopped meanwhile. */
		reap(run);
		watch_the_time(run);
	}
	close_one(&run->fds[IN]);
	/* Not by the clock: we may be the ones who are late.  Most have closed
	 * all by now, and nothing is waited for. */
	for (int looks = 0, idle = 0;
	     is_heard(run) && looks < DRAIN_LOOKS && idle < DRAIN_IDLE;
	     looks++) {
		(void)serve_streams(run, DRAIN_MS);
		idle += run->idle;
	}
}

static int
judge(struct run *run, struct fb_error *err)
{
	const struct fb_child_spec *spec = run->spec;

	keep_last(&run->result->err, FB_CHILD_OUTPUT_MAX, true);
	if (spec->stdout_max == 0)
		keep_last(&run->result->out, FB_CHILD_OUTPUT_MAX, true);
	if (run->fault_len == sizeof(run->fault)) {
		errno = run->fault.sys;
		if (run->fault.at_dir)
			return fb_fail_sys(err, "cannot run '%s' in '%s'",
			    spec->argv[0], spec->dir);
		return fb_fail_sys(err, "cannot run '%s'", spec->argv[0]);
	}
	if (run->overflow)
		return fb_fail(err, FB_EPROTO, "'%s' wrote more than %zu bytes",
		    spec->argv[0], spec->stdout_max);
	return FB_OK;
}

/* SIGPIPE is blocked while we write to a child that may not read; one that
 * came meanwhile is ours, and dropped. */
static void
restore_sigpipe(const sigset_t *before, bool was_pending)
{
	static const struct timespec now = { 0, 0 };
	sigset_t pipe_only;

	(void)sigemptyset(&pipe_only);
	(void)sigaddset(&pipe_only, SIGPIPE);
	if (!was_pending)
		(void)sigtimedwait(&pipe_only, NULL, &now);
	(void)pthread_sigmask(SIG_SETMASK, before, NULL);
}

int
fb_child_run(const struct fb_child_spec *spec, struct fb_child_result *result,
    struct fb_error *err)
{
	struct run run = { .spec = spec,
		.result = result,
		.fds = { -1, -1, -1, -1 },
		.pid_fd = -1,
		.deadline_ns = INT64_MAX,
		.kill_ns = INT64_MAX };
	sigset_t pipe_only, before, pending;
	int rc;

	if (spec->timeout_ms > 0)
		run.deadline_ns = later(spec->timeout_ms);
	(void)sigemptyset(&pipe_only);
	(void)sigaddset(&pipe_only, SIGPIPE);
	(void)pthread_sigmask(SIG_BLOCK, &pipe_only, &before);
	(void)sigemptyset(&pending);
	(void)sigpending(&pending);

	run.scripted = fb_seam(FB_STEP_CHILD, spec->argv[0]);
	rc = start(&run, err);
	if (rc == FB_OK) {
		attend(&run);
		rc = judge(&run, err);
	}
	for (int i = 0; i < STREAMS; i++)
		close_one(&run.fds[i]);
	close_one(&run.pid_fd);
	restore_sigpipe(&before, sigismember(&pending, SIGPIPE) == 1);
	return rc;
}

void
fb_child_result_release(struct fb_child_result *result)
{
	fb_buf_release(&result->out);
	fb_buf_release(&result->err);
}

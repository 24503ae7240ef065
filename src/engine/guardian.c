#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/seam.h"
#include "fleetbak/engine/recover.h"

/* What the run says when its obligations are met. */
#define FAREWELL 'x'

static const int ignored_signals[] = { SIGINT, SIGTERM, SIGHUP, SIGPIPE,
	SIGQUIT, SIGTSTP };

static void
set_signals(void (*handler)(int))
{
	struct sigaction action = { .sa_handler = handler };
	sigset_t none;

	for (size_t i = 0; i < FB_COUNT(ignored_signals); i++)
		(void)sigaction(ignored_signals[i], &action, NULL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Hold nothing of the run but the reading end: no lock, no terminal. */
static void
let_go(int keep)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)setsid();
	for (int fd = 0; fd <= 2; fd++)
		if (null >= 0)
			(void)dup2(null, fd);
	if (keep > 3)
		(void)close_range(3, (unsigned)keep - 1, 0);
	(void)close_range((unsigned)keep + 1, ~0u, 0);
}

/* Did the run take its leave, or did it die? */
static bool
wait_for_end(int fd)
{
	bool farewell = false;
	char byte;

	for (;;) {
		ssize_t got;

		do
			got = read(fd, &byte, 1);
		while (got == -1 && errno == EINTR);
		if (got <= 0)
			return farewell;
		farewell = byte == FAREWELL;
	}
}

static FB_NORETURN void
guard(int fd, const char *const *argv)
{
	set_signals(SIG_IGN);
	let_go(fd);
	if (wait_for_end(fd))
		_exit(0);
	set_signals(SIG_DFL);
	fb_seam_forget(); /* meant for the run that died */
	(void)execv(argv[0], (char *const *)argv);
	_exit(127);
}

int
fb_guardian_start(const char *const *argv, struct fb_guardian *ret_guardian,
    struct fb_error *err)
{
	sigset_t all, before;
	int ends[2];
	pid_t pid;

	/* A socket pair is a pipe that can be written without SIGPIPE. */
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == -1)
		return fb_fail_sys(err, "guardian: cannot make its pipe");
	/* Standard streams may be closed: keep clear of their numbers. */
	for (int i = 0; i < 2; i++)
		if (ends[i] <= 2) {
			int fd = fcntl(ends[i], F_DUPFD_CLOEXEC, 3);

			(void)close(ends[i]);
			ends[i] = fd;
		}
	/* No signal may hit it before it has learned to ignore them. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = fb_seam_fails(FB_STEP_CHILD, "guardian") ? -1 : fork();
	if (pid == 0)
		guard(ends[0], argv);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	(void)close(ends[0]);
	if (pid == -1) {
		fb_closep(&ends[1]);
		return fb_fail_sys(err, "guardian: cannot be started");
	}
	*ret_guardian = (struct fb_guardian){ ends[1], pid };
	return FB_OK;
}

void
fb_guardian_dismiss(struct fb_guardian *guardian)
{
	static const char farewell = FAREWELL;
	pid_t pid;

	if (guardian->pid <= 0)
		return;
	(void)send(guardian->pipe_fd, &farewell, 1, MSG_NOSIGNAL);
	(void)close(guardian->pipe_fd);
	do
		pid = waitpid(guardian->pid, NULL, 0);
	while (pid == -1 && errno == EINTR);
	*guardian = (struct fb_guardian){ -1, 0 };
}

void
fb_guardian_leave(struct fb_guardian *guardian)
{
	if (guardian->pid > 0)
		(void)close(guardian->pipe_fd);
	*guardian = (struct fb_guardian){ -1, 0 };
}

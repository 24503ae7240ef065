#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/log.h"
#include "fleetbak/cli/signal.h"

static atomic_bool *cancel_flag;
static atomic_int caught;
static bool in_journal; /* before signals are caught */

static void
ensure_open(int fd, int flags)
{
	if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
		(void)open("/dev/null", flags);
}

static void
on_pipe(int number)
{
	(void)number; /* the write says EPIPE */
}

void
fb_signal_prepare(void)
{
	/* In this order, because open() takes the lowest number.  A closed
	 * standard output becomes one that cannot be written, so that the
	 * answer is not lost without a word. */
	ensure_open(STDIN_FILENO, O_RDONLY);
	ensure_open(STDOUT_FILENO, O_RDONLY);
	ensure_open(STDERR_FILENO, O_WRONLY);
	/* Caught rather than ignored: children begin with the default. */
	(void)signal(SIGPIPE, on_pipe);
}

static void
on_signal(int number)
{
	static const char line[] =
	    "\nfleetbak: stopping in order; once more to abort\n";
	static const char journaled[] =
	    "<5>fleetbak: stopping in order; once more to abort\n";
	const char *text = in_journal ? journaled : line;
	int saved = errno;

	if (atomic_exchange(&caught, number) != 0) {
		fb_signal_die(number);
		return;
	}
	atomic_store(cancel_flag, true);
	if (write(STDERR_FILENO, text, strlen(text)) < 0)
		errno = saved; /* nobody to tell */
	errno = saved;
}

void
fb_signal_catch(atomic_bool *cancel)
{
	static const int numbers[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction action, before;

	cancel_flag = cancel;
	in_journal = fb_log_is_journal(STDERR_FILENO);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		if (sigaction(numbers[i], NULL, &before) < 0 ||
		    before.sa_handler == SIG_IGN)
			continue; /* nohup, or a shell's background job */
		memset(&action, 0, sizeof(action));
		action.sa_handler = on_signal;
		action.sa_flags = SA_RESTART;
		(void)sigemptyset(&action.sa_mask);
		(void)sigaction(numbers[i], &action, NULL);
	}
}

static void
on_moved(int number)
{
	(void)number;
	fb_log_reopen();
}

void
fb_signal_reopens_log(void)
{
	struct sigaction action;

	memset(&action, 0, sizeof(action));
	action.sa_handler = on_moved;
	action.sa_flags = SA_RESTART;
	(void)sigemptyset(&action.sa_mask);
	(void)sigaction(SIGHUP, &action, NULL);
}

int
fb_signal_caught(void)
{
	return atomic_load(&caught);
}

void
fb_signal_die(int number)
{
	sigset_t set;

	(void)signal(number, SIG_DFL);
	(void)sigemptyset(&set);
	(void)sigaddset(&set, number);
	(void)raise(number);
	(void)sigprocmask(SIG_UNBLOCK, &set, NULL);
	_exit(128 + number);
}

/*
 * One command of the program, disturbed or not.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "soak.h"

#define COMMAND_SECONDS 120 /* a command that takes longer hangs */

/* The first id that a command makes, so that a walk has the same each time;
 * but with a clock that was set back the program has to find one itself. */
static void
name_session(void)
{
	time_t seconds = (time_t)(walk.now_ms / 1000);
	char time[20], text[60];
	struct tm utc;

	if (walk.now_ms <= walk.newest_ms)
		return;
	(void)gmtime_r(&seconds, &utc);
	(void)strftime(time, sizeof(time), "%Y%m%d-%H%M%S", &utc);
	(void)snprintf(text, sizeof(text), "%s%03u-%08x", time,
	    (unsigned)(walk.now_ms % 1000), walk.commands);
	(void)setenv("FLEETBAK_SESSION", text, 1);
}

static void
set_environment(const struct harm *harm)
{
	char text[300];

	(void)clearenv();
	(void)setenv("PATH", "/usr/bin:/bin:/usr/sbin:/sbin", 1);
	(void)setenv("LC_ALL", "C", 1);
	(void)setenv("TZ", "UTC", 1);
	(void)snprintf(text, sizeof(text), "%lld.%03lld",
	    (long long)walk.now_ms / 1000, (long long)walk.now_ms % 1000);
	(void)setenv("FLEETBAK_CLOCK", text, 1);
	name_session();
	if (harm->kind == HARM_CRASH || harm->kind == HARM_SIGNAL) {
		(void)snprintf(
		    text, sizeof(text), "%u:%s", harm->at, harm->how);
		(void)setenv("FLEETBAK_CRASH", text, 1);
		(void)setenv("FLEETBAK_CRASH_LOG", path_of("steps"), 1);
	} else if (harm->kind == HARM_FAULT) {
		(void)snprintf(
		    text, sizeof(text), "%u:%s", harm->at, harm->how);
		(void)setenv("FLEETBAK_FAULT", text, 1);
	}
}

static void
open_as(int fd, const char *path, int flags)
{
	int got = open(path, flags, 0600);

	if (got == -1 || dup2(got, fd) == -1)
		_exit(126);
	if (got != fd)
		(void)close(got);
}

static pid_t
begin(const struct harm *harm, const char *const *words)
{
	const char *argv[40] = { walk.program, "-c", "fleetbak.yaml" };
	int argc = 3;
	pid_t pid;

	for (; *words != NULL; words++)
		argv[argc++] = *words;
	argv[argc] = NULL;
	pid = fork();
	if (pid == -1)
		fail("fork: %s", strerror(errno));
	if (pid != 0)
		return pid;
	open_as(0, "/dev/null", O_RDONLY);
	open_as(1, path_of("out"), O_WRONLY | O_CREAT | O_TRUNC);
	open_as(2, path_of("err"), O_WRONLY | O_CREAT | O_TRUNC);
	(void)setpgid(0, 0);
	set_environment(harm);
	if (chdir(walk.dir) == -1)
		_exit(126);
	(void)execv(walk.program, (char *const *)argv);
	_exit(127);
}

static void
watch(pid_t pid)
{
	int process = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd polled = { process, POLLIN, 0 };

	if (process == -1)
		fail("pidfd_open: %s", strerror(errno));
	if (poll(&polled, 1, COMMAND_SECONDS * 1000) == 0) {
		(void)kill(pid, SIGKILL);
		fail("a command hangs");
	}
	(void)close(process);
}

/* Did the program come as far as the step that the harm is at? */
static bool
came_to(const struct harm *harm)
{
	char *steps = read_file(path_of("steps"), NULL);
	unsigned count = 0;

	for (const char *at = steps; at != NULL && *at != '\0'; at++)
		count += *at == '\n';
	free(steps);
	return count >= harm->at;
}

static void
alarmed(int signal)
{
	(void)signal;
}

/* Guardians and commands of machines that a dead program left come to us;
 * nothing may stay for ever. */
static void
await_orphans(void)
{
	struct sigaction action = { .sa_handler = alarmed };
	pid_t pid;

	(void)sigaction(SIGALRM, &action, NULL);
	(void)alarm(COMMAND_SECONDS);
	while ((pid = waitpid(-1, NULL, 0)) > 0)
		continue;
	if (pid == -1 && errno != ECHILD)
		fail("a process of the dead program does not end");
	(void)alarm(0);
}

static void
check_output(const struct outcome *outcome)
{
	if (strstr(outcome->out, walk.secret) != NULL ||
	    strstr(outcome->err, walk.secret) != NULL)
		fail("the signing key stands in the output");
	if (strstr(outcome->err, "E-BUG") != NULL ||
	    strstr(outcome->out, "E-BUG") != NULL)
		fail("the program thinks that it has a bug");
}

static void
judge_status(struct outcome *outcome, const struct harm *harm, int status)
{
	int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;

	outcome->status = signal != 0 ? 128 + signal : WEXITSTATUS(status);
	switch (harm->kind) {
	case HARM_CRASH:
		outcome->disturbed = outcome->status == 137 && signal == 0;
		break;
	case HARM_SIGNAL:
		outcome->disturbed = came_to(harm);
		break;
	case HARM_DIE:
		outcome->disturbed =
		    !exists(path_of("machines/%s/die", harm->machine));
		break;
	case HARM_FAULT:
		/* What is only cut short is gone on with. */
		outcome->disturbed =
		    outcome->status != 0 && strcmp(harm->how, "short") != 0;
		break;
	case HARM_NONE:
		break;
	}
	if (outcome->status >= 126 && !outcome->disturbed)
		fail("it died: status %d", outcome->status);
	if (signal != 0 && signal != SIGKILL && signal != SIGINT &&
	    signal != SIGTERM)
		fail("it was killed by signal %d", signal);
}

void
run_program(
    struct outcome *outcome, const struct harm *harm, const char *const *words)
{
	static const struct harm none;
	int status;
	pid_t pid;

	if (harm == NULL)
		harm = &none;
	walk.faulted = walk.faulted || harm->kind == HARM_FAULT;
	*outcome = (struct outcome){ .first_new_run = walk.run_count,
		.first_event = walk.events };
	model_before_command();
	(void)unlink(path_of("steps"));
	walk.commands++;
	if (harm->kind == HARM_DIE)
		put_file(path_of("machines/%s/die", harm->machine), harm->how,
		    strlen(harm->how));
	pid = begin(harm, words);
	watch(pid);
	if (walk.now_ms > walk.newest_ms)
		walk.newest_ms = walk.now_ms;
	if (waitpid(pid, &status, 0) != pid)
		fail("waitpid");
	await_orphans();
	judge_status(outcome, harm, status);
	if (harm->kind == HARM_DIE)
		(void)unlink(path_of("machines/%s/die", harm->machine));
	outcome->out = read_file(path_of("out"), NULL);
	outcome->err = read_file(path_of("err"), NULL);
	check_output(outcome);
	count(words[0]);
	if (outcome->disturbed)
		count("disturbed");
}

void
outcome_release(struct outcome *outcome)
{
	free(outcome->out);
	free(outcome->err);
}

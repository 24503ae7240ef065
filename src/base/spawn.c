#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fleetbak/base/child.h"
#include "fleetbak/base/mem.h"
#include "spawn.h"

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1u << 2)
#endif

/* Everything the child needs, made before the fork. */
struct plan {
	const struct fb_child_spec *spec;
	const int *std;
	int status_fd;
	int lock_fd;
	long fd_limit;
	char **paths; /* to try in turn, ends with NULL */
	char **env;
};

static void
free_strings(char **strings)
{
	for (size_t i = 0; strings[i] != NULL; i++)
		free(strings[i]);
	free(strings);
}

static char **
add_string(char **strings, size_t count, char *string)
{
	strings = fb_realloc(strings, count + 2, sizeof(*strings));
	strings[count] = string;
	strings[count + 1] = NULL;
	return strings;
}

/* The absolute directories of PATH; others would depend on where we are. */
static char **
paths_of(const char *name)
{
	const char *path = getenv("PATH");
	char **paths = fb_alloc(1, sizeof(*paths));
	size_t count = 0;

	if (strchr(name, '/') != NULL)
		return add_string(paths, 0, fb_strdup(name));
	if (path == NULL)
		path = "/usr/local/bin:/usr/bin:/bin";
	while (*path != '\0') {
		size_t len = strcspn(path, ":");

		if (path[0] == '/' && len < PATH_MAX)
			paths = add_string(paths, count++,
			    fb_format("%.*s/%s", (int)len, path, name));
		path += len + (path[len] == ':');
	}
	return paths;
}

static bool
is_overridden(const char *entry, const char *const *added)
{
	size_t len = strcspn(entry, "=") + 1;

	for (; added != NULL && *added != NULL; added++)
		if (strncmp(entry, *added, len) == 0)
			return true;
	return false;
}

static char **
env_of(const char *const *added)
{
	char **env = fb_alloc(1, sizeof(*env));
	size_t count = 0;

	for (char **entry = environ; entry != NULL && *entry != NULL; entry++)
		if (!is_overridden(*entry, added))
			env = add_string(env, count++, fb_strdup(*entry));
	for (; added != NULL && *added != NULL; added++)
		env = add_string(env, count++, fb_strdup(*added));
	return env;
}

/* From here to exec_plan(): the child, async-signal-safe calls only. */

static void
report(const struct plan *plan, int at_dir, int sys)
{
	struct fb_spawn_fault fault = { at_dir, sys };

	(void)!write(plan->status_fd, &fault, sizeof(fault));
	_exit(127);
}

static void
mark_close_on_exec(const struct plan *plan)
{
	if (close_range(3, ~0u, CLOSE_RANGE_CLOEXEC) == -1)
		for (int fd = 3; fd < plan->fd_limit; fd++)
			(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
	if (plan->lock_fd > 2 && !plan->spec->service)
		(void)fcntl(plan->lock_fd, F_SETFD, 0);
	for (size_t i = 0; i < plan->spec->pass_count; i++)
		(void)fcntl(3 + (int)i, F_SETFD, 0);
}

/* Put what is passed in its place, and what lies there out of the way. */
static void
pass_descriptors(struct plan *plan)
{
	int clear = 3 + FB_CHILD_PASS_MAX;
	int away[FB_CHILD_PASS_MAX];

	if (plan->spec->pass_count == 0)
		return;
	plan->status_fd = fcntl(plan->status_fd, F_DUPFD_CLOEXEC, clear);
	if (plan->lock_fd > 2) /* the same open file: it holds the lock */
		plan->lock_fd = fcntl(plan->lock_fd, F_DUPFD_CLOEXEC, clear);
	for (size_t i = 0; i < plan->spec->pass_count; i++)
		away[i] = fcntl(plan->spec->pass[i], F_DUPFD_CLOEXEC, clear);
	for (size_t i = 0; i < plan->spec->pass_count; i++)
		if (dup2(away[i], 3 + (int)i) == -1)
			report(plan, 0, errno);
}

/* Hold the lock, and nothing else, until `command` has ended, then end like
 * it.  The group's SIGTERM is for the command; its SIGKILL ends us both. */
static void
hold_lock(const struct plan *plan, pid_t command)
{
	unsigned lock = (unsigned)plan->spec->lock_fd;
	struct sigaction action = { .sa_handler = SIG_DFL };
	const char *slash = strrchr(plan->spec->argv[0], '/');
	sigset_t all;
	int status;

	/* Who looks for the holder is told what it holds it for. */
	(void)prctl(PR_SET_NAME,
	    slash != NULL ? slash + 1 : plan->spec->argv[0], 0, 0, 0);
	for (int fd = 0; fd < plan->fd_limit && fd < 3; fd++)
		(void)close(fd);
	if (close_range(3, lock - 1, 0) == -1 ||
	    close_range(lock + 1, ~0u, 0) == -1)
		for (int fd = 3; fd < plan->fd_limit; fd++)
			if (fd != plan->spec->lock_fd)
				(void)close(fd);
	while (waitpid(command, &status, 0) == -1)
		if (errno != EINTR)
			_exit(127);
	if (WIFEXITED(status))
		_exit(WEXITSTATUS(status));
	(void)sigaction(WTERMSIG(status), &action, NULL);
	(void)sigfillset(&all);
	(void)sigprocmask(SIG_UNBLOCK, &all, NULL);
	(void)kill(getpid(), WTERMSIG(status));
	_exit(128 + WTERMSIG(status));
}

/* In the child: become the group's leader, and split off the lock's holder
 * where the command may leave a service behind. */
static void
split_holder(const struct plan *plan)
{
	pid_t command;

	(void)setpgid(0, 0);
	if (!plan->spec->service || plan->spec->lock_fd <= 3)
		return;
	command = fork();
	if (command > 0)
		hold_lock(plan, command);
}

static void
reset_signals(void)
{
	struct sigaction action = { .sa_handler = SIG_DFL };
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		(void)sigaction(sig, &action, NULL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Like execvp(3), but for its fallback to a shell, and but that a directory
 * of PATH that we may not look into is one where nothing is found. */
static void
exec_plan(struct plan *plan)
{
	int worst = ENOENT;
	struct stat st;

	split_holder(plan);
	for (int i = 0; i < 3; i++)
		if (dup2(plan->std[i], i) == -1)
			report(plan, 0, errno);
	pass_descriptors(plan);
	mark_close_on_exec(plan);
	if (plan->spec->dir != NULL && chdir(plan->spec->dir) == -1)
		report(plan, 1, errno);
	reset_signals();
	for (char **path = plan->paths; *path != NULL; path++) {
		(void)execve(*path, (char *const *)plan->spec->argv, plan->env);
		if (errno != EACCES && errno != ENOENT && errno != ENOTDIR)
			report(plan, 0, errno);
		if (errno == EACCES &&
		    (plan->paths[1] == NULL || stat(*path, &st) == 0))
			worst = EACCES;
	}
	report(plan, 0, worst);
}

pid_t
fb_spawn(const struct fb_child_spec *spec, const int std[3], int status_fd)
{
	struct plan plan = { spec, std, status_fd, spec->lock_fd,
		sysconf(_SC_OPEN_MAX), paths_of(spec->argv[0]),
		env_of(spec->env) };
	sigset_t all, before;
	pid_t pid;
	int sys;

	/* A handler of ours must not run in the child. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = fork();
	sys = errno;
	if (pid == 0)
		exec_plan(&plan);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);

	if (pid > 0) /* whoever comes first; the other is refused */
		(void)setpgid(pid, pid);
	free_strings(plan.paths);
	free_strings(plan.env);
	errno = sys;
	return pid;
}

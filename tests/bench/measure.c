/*
 * measure OUTPUT COMMAND [ARGUMENT ...] - run a command and append one line
 * to OUTPUT:
 *
 *	<wall seconds> <processor seconds> <peak KiB>
 *
 * Processor time is user and system of the command and the children it waited
 * for; the peak is the largest resident set of any one of them.  Exits as the
 * command did.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double
now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double
seconds(const struct timeval *t)
{
	return (double)t->tv_sec + (double)t->tv_usec / 1e6;
}

static int
append(const char *path, double wall, const struct rusage *usage)
{
	FILE *file = fopen(path, "a");

	if (file == NULL)
		return -1;
	fprintf(file, "%.3f %.3f %ld\n", wall,
	    seconds(&usage->ru_utime) + seconds(&usage->ru_stime),
	    usage->ru_maxrss);
	return fclose(file);
}

int
main(int argc, char **argv)
{
	struct rusage usage;
	double start = now();
	int status;
	pid_t pid;

	if (argc < 3) {
		fputs("usage: measure OUTPUT COMMAND [ARGUMENT ...]\n", stderr);
		return 2;
	}
	pid = fork();
	if (pid == 0) {
		(void)execvp(argv[2], argv + 2);
		fprintf(stderr, "measure: %s: %s\n", argv[2], strerror(errno));
		_exit(127);
	}
	if (pid < 0 || wait4(pid, &status, 0, &usage) < 0) {
		fprintf(stderr, "measure: %s\n", strerror(errno));
		return 127;
	}
	if (append(argv[1], now() - start, &usage) != 0) {
		fprintf(stderr, "measure: %s: %s\n", argv[1], strerror(errno));
		return 127;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

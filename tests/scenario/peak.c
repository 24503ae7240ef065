/*
 * peak FILE COMMAND [ARGUMENT ...] - run a command and write its largest
 * resident set, in KiB, to FILE; exits as the command did.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static int
write_peak(const char *path, long peak)
{
	FILE *file = fopen(path, "w");

	if (file == NULL)
		return -1;
	fprintf(file, "%ld\n", peak);
	return fclose(file);
}

int
main(int argc, char **argv)
{
	struct rusage usage;
	int status;
	pid_t pid;

	if (argc < 3) {
		fputs("usage: peak FILE COMMAND [ARGUMENT ...]\n", stderr);
		return 2;
	}
	pid = fork();
	if (pid == 0) {
		(void)execvp(argv[2], argv + 2);
		fprintf(stderr, "peak: %s: %s\n", argv[2], strerror(errno));
		_exit(127);
	}
	if (pid < 0 || wait4(pid, &status, 0, &usage) < 0 ||
	    write_peak(argv[1], usage.ru_maxrss) != 0) {
		fprintf(stderr, "peak: %s\n", strerror(errno));
		return 127;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

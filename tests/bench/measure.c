/*
 * measure [-q SECONDS] [-w MIB] OUTPUT COMMAND [ARGUMENT ...] - run a command
 * and append one line to OUTPUT:
 *
 *	<wall seconds> <processor seconds> <peak KiB> <others' load>
 *
 * Processor time is user and system of the command and the children it waited
 * for; the peak is the largest resident set of any one of them; the load is
 * what everything else kept busy meanwhile, in processors.  With -q it waits
 * up to SECONDS for that to fall under 0.3 before it starts; with -w it then
 * has the machine find so much memory, and gives it back: what a virtual
 * machine has given to its host, the host finds again page by page, and who
 * comes first would pay for it.  Exits as the command did.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define QUIET  0.3
#define SAMPLE 0.7

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

/* Processor seconds that the machine has spent on anything; 0: unknown. */
static double
busy(void)
{
	unsigned long long v[8] = { 0 };
	FILE *file = fopen("/proc/stat", "r");
	int n = 0;

	if (file == NULL)
		return 0;
	n = fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &v[0],
	    &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7]);
	(void)fclose(file);
	if (n != 8)
		return 0;
	/* 3 and 4 are idle; 7 is what the host gave to others. */
	return (double)(v[0] + v[1] + v[2] + v[5] + v[6] + v[7]) /
	    (double)sysconf(_SC_CLK_TCK);
}

static void
wait_for_quiet(double limit)
{
	double end = now() + limit, load;

	do {
		const struct timespec pause = { .tv_nsec =
			                            (long)(SAMPLE * 1e9) };
		double before = busy(), start = now();

		(void)nanosleep(&pause, NULL);
		load = (busy() - before) / (now() - start);
	} while (load >= QUIET && now() < end);
}

/* In a process of its own, so that it is nobody's peak. */
static void
find_memory(size_t bytes)
{
	pid_t pid = fork();

	if (pid == 0) {
		void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

		_exit(memory == MAP_FAILED);
	}
	if (pid > 0)
		(void)waitpid(pid, NULL, 0);
}

static int
append(const char *path, double wall, double all, const struct rusage *usage)
{
	double cpu = seconds(&usage->ru_utime) + seconds(&usage->ru_stime);
	double others = wall > 0.05 ? (all - cpu) / wall : 0;
	FILE *file = fopen(path, "a");

	if (file == NULL)
		return -1;
	fprintf(file, "%.4f %.4f %ld %.2f\n", wall, cpu, usage->ru_maxrss,
	    others > 0 ? others : 0);
	return fclose(file);
}

static int
run(const char *output, char **command)
{
	struct rusage usage;
	double before = busy(), start = now(), wall;
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		(void)execvp(command[0], command);
		fprintf(stderr, "measure: %s: %s\n", command[0],
		    strerror(errno));
		_exit(127);
	}
	if (pid < 0 || wait4(pid, &status, 0, &usage) < 0) {
		fprintf(stderr, "measure: %s\n", strerror(errno));
		return 127;
	}
	wall = now() - start;
	if (append(output, wall, busy() - before, &usage) != 0) {
		fprintf(stderr, "measure: %s: %s\n", output, strerror(errno));
		return 127;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int
main(int argc, char **argv)
{
	if (argc > 2 && strcmp(argv[1], "-q") == 0) {
		wait_for_quiet(strtod(argv[2], NULL));
		argc -= 2;
		argv += 2;
	}
	if (argc > 2 && strcmp(argv[1], "-w") == 0) {
		find_memory(strtoul(argv[2], NULL, 10) << 20);
		argc -= 2;
		argv += 2;
	}
	if (argc < 3) {
		fputs("usage: measure [-q SECONDS] [-w MIB] OUTPUT COMMAND "
		      "[ARGUMENT ...]\n", stderr);
		return 2;
	}
	return run(argv[1], argv + 2);
}

/*
 * What starts and stops a machine: `soak machine start|stop|status`, run by
 * the program in the machine's directory.
 *
 *	up            there while the machine is up
 *	shifty        its content changes whenever it stops or starts
 *	fail-stop ... what its owner broke
 *	die           "stop before 9 all": kill the program around that verb
 *
 * Each effect appends one line to ../../events, in one write:
 *	<id> stop <digest>      <id> start <digest before> <digest after>
 *	<id> stop-again         it was down already, and so on
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "soak.h"

static void
hex_of(char *text)
{
	struct digest digest;

	digest_machine(".", false, &digest);
	for (int i = 0; i < 32; i++)
		(void)sprintf(text + 2 * i, "%02x", digest.bytes[i]);
}

static void
add_event(const char *line)
{
	int fd = open("../../events", O_WRONLY | O_CREAT | O_APPEND, 0600);
	char text[300];
	int len = snprintf(
	    text, sizeof(text), "%s %s\n", getenv("FLEETBAK_MACHINE"), line);

	if (fd == -1 || write(fd, text, (size_t)len) != len)
		exit(9);
	(void)close(fd);
}

static void
append(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_APPEND);

	if (fd == -1)
		return;
	if (write(fd, text, strlen(text)) == -1)
		exit(9);
	(void)close(fd);
}

static void
shift_content(const char *verb)
{
	int fd;

	if (access("shifty", F_OK) != 0)
		return;
	append("data/log", verb);
	fd = open("disk.img", O_RDWR);
	if (fd != -1) {
		uint32_t n = 0;

		if (pread(fd, &n, sizeof(n), 5000) == -1)
			exit(9);
		n++;
		if (pwrite(fd, &n, sizeof(n), 5000) == -1)
			exit(9);
		(void)close(fd);
	}
}

/* Everybody else the program has started: its guardian. */
static void
kill_siblings(pid_t parent, int signal)
{
	char path[64], text[4096];
	DIR *dir;
	struct dirent *entry;

	(void)snprintf(path, sizeof(path), "/proc/%d/task", (int)parent);
	dir = opendir(path);
	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		char list[600];
		FILE *file;

		(void)snprintf(
		    list, sizeof(list), "%s/%s/children", path, entry->d_name);
		file = fopen(list, "r");
		if (file == NULL)
			continue;
		if (fgets(text, sizeof(text), file) != NULL)
			for (char *p = text, *end; *p != '\0'; p = end) {
				long pid = strtol(p, &end, 10);

				if (end == p)
					break;
				if (pid > 1 && pid != getpid())
					(void)kill((pid_t)pid, signal);
			}
		(void)fclose(file);
	}
	if (dir != NULL)
		(void)closedir(dir);
}

static void
maybe_die(const char *verb, const char *moment)
{
	char v[16], m[16], who[16];
	FILE *file = fopen("die", "r");
	int signal, n;
	pid_t parent = getppid();

	if (file == NULL)
		return;
	n = fscanf(file, "%15s %15s %d %15s", v, m, &signal, who);
	(void)fclose(file);
	if (n != 4 || strcmp(v, verb) != 0 || strcmp(m, moment) != 0)
		return;
	(void)unlink("die");
	if (strcmp(who, "all") == 0)
		kill_siblings(parent, signal);
	(void)kill(parent, signal);
}

static int
stop(void)
{
	char line[200] = "stop ";

	if (access("fail-stop", F_OK) == 0) {
		add_event("fail-stop");
		(void)fprintf(stderr, "will not stop\n");
		return 1;
	}
	maybe_die("stop", "before");
	if (access("up", F_OK) != 0) {
		add_event("stop-again");
		return 0;
	}
	shift_content("stop\n");
	hex_of(line + 5);
	add_event(line);
	(void)unlink("up");
	maybe_die("stop", "after");
	return 0;
}

static int
start(void)
{
	char line[200] = "start ";
	int fd;

	if (access("fail-start", F_OK) == 0) {
		add_event("fail-start");
		(void)fprintf(stderr, "will not start\n");
		return 1;
	}
	maybe_die("start", "before");
	if (access("up", F_OK) == 0) {
		add_event("start-again");
		return 0;
	}
	hex_of(line + 6);
	line[70] = ' ';
	shift_content("start\n");
	hex_of(line + 71);
	add_event(line);
	fd = open("up", O_WRONLY | O_CREAT, 0600);
	if (fd == -1)
		return 9;
	(void)close(fd);
	maybe_die("start", "after");
	return 0;
}

int
machine_main(int argc, char **argv)
{
	if (argc != 3)
		return 9;
	if (strcmp(argv[2], "start") == 0)
		return start();
	if (strcmp(argv[2], "stop") == 0)
		return stop();
	if (access("unknown", F_OK) == 0)
		return 9;
	return access("up", F_OK) == 0 ? 0 : 3;
}

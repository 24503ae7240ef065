/*
 * soak PROGRAM: walks until SOAK_SECONDS are over.
 *
 *	SOAK_SECONDS  how long (3600); no new walk begins after that
 *	SOAK_WALKS    or: so many walks
 *	SOAK_SEED     the first walk's seed; later walks count on
 *	SOAK_STEPS    one walk of so many steps, to replay
 *	SOAK_VERBOSE  print each step; SOAK_KEEP: leave a failed walk's files
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "soak.h"

#define WALK_STEPS   80
#define SETTLE_EVERY 20

struct walk walk;

static unsigned long long
number(const char *name, unsigned long long otherwise)
{
	const char *text = getenv(name);

	return text != NULL && *text != '\0' ? strtoull(text, NULL, 10)
	                                     : otherwise;
}

static void
make_directory(void)
{
	const char *base = getenv("TMPDIR");

	if (base == NULL || *base == '\0')
		base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	(void)snprintf(
	    walk.dir, sizeof(walk.dir), "%s/fleetbak-soak.XXXXXX", base);
	if (mkdtemp(walk.dir) == NULL) {
		perror(walk.dir);
		exit(2);
	}
}

/* A line out of the middle of the signing key: it is printed nowhere. */
static void
learn_secret(void)
{
	char *key = read_file(path_of("keys/sign.pem"), NULL);
	char *line = key != NULL ? strchr(key, '\n') : NULL;

	if (line == NULL || strlen(line) < 40)
		fail("no signing key");
	(void)snprintf(walk.secret, sizeof(walk.secret), "%.32s", line + 20);
	free(key);
}

static void
end_walk(void)
{
	for (size_t i = 0; i < walk.machine_count; i++)
		free(walk.machines[i].moments);
	for (size_t i = 0; i < walk.said_count; i++)
		free(walk.said[i]);
	free(walk.said);
	free(walk.runs);
	free(walk.step_ms);
	shell("chmod -R u+rwX '%s'", walk.dir);
	remove_tree(walk.dir);
}

static void
one_walk(const char *program, uint64_t seed, unsigned steps)
{
	struct outcome outcome;
	char self[400];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

	walk = (struct walk){
		.seed = seed, .steps = steps, .now_ms = INT64_C(1800000000000)
	};
	(void)snprintf(walk.program, sizeof(walk.program), "%s", program);
	make_directory();
	self[len > 0 ? len : 0] = '\0';
	(void)strcpy(walk.secret, "nothing is secret yet");
	if (symlink(self, path_of("keeper")) == -1)
		fail("symlink");
	runs_forget_all();
	random_begin(seed, 0);
	model_begin_step();
	world_make();
	RUN(&outcome, NULL, "init");
	if (outcome.status != 0)
		fail("init: exit %d", outcome.status);
	outcome_release(&outcome);
	learn_secret();
	for (walk.step = 1; walk.step <= steps; walk.step++) {
		random_begin(seed, walk.step);
		walk.now_ms += 1000 + random_below(100 * 60 * 1000);
		if (walk.step % SETTLE_EVERY == 0) {
			model_begin_step();
			step_settle();
		} else {
			model_begin_step();
			step_once();
			model_content();
		}
		count("steps");
	}
	end_walk();
	count("seeds");
}

int
main(int argc, char **argv)
{
	unsigned long long seconds = number("SOAK_SECONDS", 3600);
	unsigned long long seed =
	    number("SOAK_SEED", (unsigned long long)time(NULL));
	unsigned long long walks = number("SOAK_WALKS", 0);
	unsigned long long steps = number("SOAK_STEPS", 0);
	time_t end = time(NULL) + (time_t)seconds;
	char program[400];

	if (argc > 1 && strcmp(argv[1], "machine") == 0)
		return machine_main(argc, argv);
	if (argc != 2 || realpath(argv[1], program) == NULL) {
		(void)fprintf(stderr, "usage: soak PROGRAM\n");
		return 2;
	}
	/* Who outlives the program becomes ours. */
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (steps != 0)
		walks = 1;
	printf("soak: seed %llu\n", seed);
	(void)fflush(stdout);
	for (unsigned long long i = 0;
	     walks != 0 ? i < walks : time(NULL) < end; i++)
		one_walk(program, seed + i,
		    steps != 0 ? (unsigned)steps : WALK_STEPS);
	print_counts();
	return 0;
}

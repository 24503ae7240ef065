/*
 * The soak: a random walk over fleets, commands, faults and kills, against a
 * small model of what must be true.
 *
 * The program under test is the real binary, run as a child.  The machines
 * of the walk are directories in memory; what starts and stops them is this
 * program too, under the name "machine" (machine.c), so that every effect is
 * written down, in order, with the digest of the content at that moment.
 *
 * All that is random in a step comes from the walk's seed and the step's
 * number, and from nothing that was observed; clocks and session ids are
 * given to the program.  So a seed replays.
 *
 * Threads: one.
 */
#ifndef FB_SOAK_H
#define FB_SOAK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define MACHINES_MAX 10
#define RUNS_MAX     400
#define ID_MAX       40
#define RUN_MAX      40

struct digest {
	uint8_t bytes[32];
};

/* Content a machine had at some moment. */
struct moment {
	unsigned step;
	struct digest content;
	uint64_t event; /* number of the stop in the order of all effects */
	bool stop;      /* at a stop; else as it lay there in that step */
};

/* A machine that exists, or did. */
struct machine {
	char id[ID_MAX];
	bool present;
	bool commands;   /* it has start, stop and status */
	bool up;         /* what its owner wants */
	bool owed;       /* down, and fleetbak has to start it */
	int64_t owed_ms; /* since when, by the clock given */
	bool half;       /* restored in place, not finished */
	bool forgiving;  /* its power cannot be foretold for now */
	bool fail_stop, fail_start, unknown; /* what its owner broke */
	uint64_t last_stop, last_start;      /* numbers of effects */
	char pending[RUN_MAX]; /* id of its unfinished restore, "": none */
	struct digest pending_content;
	struct digest content;
	struct moment *moments;
	size_t moment_count;
};

/* What a committed run holds of one machine. */
struct kept {
	char id[ID_MAX];
	bool ok;
	bool torn; /* files of it were not read, and it was said */
	struct digest content;
	struct digest hello; /* of data/hello, where there is a tree */
	bool tree;
	bool up;
};

enum pending { NOT_PENDING, PENDING, ONE_WAY };

struct run {
	char id[RUN_MAX];
	struct kept kept[MACHINES_MAX * 2];
	size_t kept_count;
	bool partial;
	char started[32];
	enum pending pending;
	bool held, gone;
	int64_t pending_ms;
};

/* How a command is disturbed. */
enum harm_kind { HARM_NONE, HARM_CRASH, HARM_SIGNAL, HARM_DIE, HARM_FAULT };
struct harm {
	enum harm_kind kind;
	char text[120]; /* for the list of steps */
	unsigned at;    /* step of the program */
	const char *how;
	char machine[ID_MAX];
};

struct outcome {
	int status;     /* exit status, or 128 + signal */
	bool disturbed; /* a harm was done */
	char *out, *err;
	unsigned starts, stops; /* effects in all */
	size_t first_new_run;   /* in walk.runs */
	uint64_t first_event;
};

struct walk {
	uint64_t seed;
	unsigned step, steps;
	uint64_t random; /* of this step */
	char dir[200];
	char program[400];
	int64_t now_ms, newest_ms; /* the clock; the latest it said */
	unsigned jobs, level;
	int units; /* 0: none, 1: a subtree, 2: a label */
	struct machine machines[MACHINES_MAX * 4];
	size_t machine_count;
	struct run *runs;
	size_t run_count;
	unsigned commands; /* begun so far */
	uint64_t events; /* effects seen */
	off_t events_read;
	char secret[80];
	char **said; /* one line for each step */
	size_t said_count;
	bool keep_all;       /* the policy gives up nothing */
	bool stale_failures; /* a cut-off run may hold some */
	bool faulted;        /* a file may have been unreadable */
	int64_t *step_ms;    /* the clock of each step */
	size_t step_ms_count;
};

extern struct walk walk;

/* random.c */
void random_begin(uint64_t seed, uint64_t step);
uint64_t random_u64(void);
unsigned random_below(unsigned n);
bool random_chance(unsigned percent);
struct machine *random_machine(bool (*fits)(const struct machine *));

/* digest.c: of the volumes of a machine in `dir`, or restored there. */
void digest_machine(const char *dir, bool restored, struct digest *digest);
bool digest_file(const char *path, struct digest *digest);
bool digest_same(const struct digest *a, const struct digest *b);

/* machine.c: what starts and stops a machine, and says whether it is up. */
int machine_main(int argc, char **argv);

/* report.c */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void fail(const char *format, ...)
    __attribute__((format(printf, 1, 2)));
void count(const char *what);
void print_counts(void);

/* files.c */
char *path_of(const char *format, ...) __attribute__((format(printf, 1, 2)));
void put_file(const char *path, const void *bytes, size_t size);
char *read_file(const char *path, size_t *ret_size); /* NULL: none */
bool exists(const char *path);
void remove_tree(const char *path);
void copy_tree(const char *from, const char *to);
void shell(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* world.c: the outside actor. */
void world_make(void);
void world_write_config(void);
struct machine *world_add_machine(const char *id);
void world_remove_machine(struct machine *machine);
void world_rename_machine(struct machine *machine, const char *id);
void world_mutate(struct machine *machine);
void world_power(struct machine *machine, bool up);
void world_flag(struct machine *machine, const char *flag, bool on);
struct machine *find_machine(const char *id);
char *machine_dir(const struct machine *machine);
bool machine_is_up(const struct machine *machine);

/* exec.c: one command of the program. */
void run_program(
    struct outcome *outcome, const struct harm *harm, const char *const *argv);
/* Words after the program's name; ends with NULL. */
#define RUN(outcome, harm, ...) \
	run_program(            \
	    (outcome), (harm), (const char *const[]){ __VA_ARGS__, NULL })
void outcome_release(struct outcome *outcome);

/* model.c: what happened, and what may happen. */
void model_begin_step(void);
void model_before_command(void);
/* Read what the machines wrote down.  `restored`, a machine's id or NULL, is
 * being given the content `restoring`. */
void model_events(struct outcome *outcome, const char *restored,
    const struct digest *restoring);
/* Machines are up that must be.  `meets`: the command meets obligations. */
void model_power(const struct outcome *outcome, bool meets);
/* No content changed but where it was told. */
void model_content(void);
void model_no_effects(const struct outcome *outcome);
bool has_lost_parent(const struct machine *machine);
bool has_trouble(const struct machine *machine);
bool model_any_trouble(void);

/* runs.c: what is committed, and that it stays so. */
void runs_check(struct outcome *outcome);
const struct kept *run_keeps(const struct run *run, const char *id);
struct run *find_run(const char *id);
struct run *newest_with(const char *id);
struct run *newest_run(void);
void runs_forget_all(void);

/* look.c: list, status and show agree with the model. */
void step_look(void);

/* restore.c */
void step_restore_in_place(void);
void step_restore_new(void);
void step_restore_dir(void);
void step_resume(void);
void restore_finish_pending(void);

/* prune.c */
#define GRACE_MS (INT64_C(3600) * 1000) /* retention.grace */
void step_forget(void);
void step_hold(void);
void step_prune(void);

/* steps.c */
void step_once(void);
void step_settle(void);
void harm_choose(struct harm *harm, bool may_die);
void recover_clean(bool force);

#endif

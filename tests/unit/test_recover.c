#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "faults.h"
#include "fleetbak/base/clock.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/seam.h"
#include "fleetbak/engine/recover.h"
#include "fleetbak/format/json.h"

#define RUN     "20261121-013205123-3fa92c17"
#define RUN_TWO "20261121-023205123-3fa92c17"

static struct fb_error err;
static char dir[64];

/*
 * A source whose machines are files: "power-<id>" holds "up", "down" or
 * something else; "starts" gets a line for each start.  Its verbs stand in
 * for those of the driver layer, which is not linked into this test.
 */
static const char *machines[] = { "db", "web", "cache" };
static const char *parents[] = { NULL, "db", "web" };
static bool silent;
static bool twice; /* the source tells of the machine 'db' two times */
static bool mute; /* the machines do not say whether they are up */          /* the source does not answer */
static int start_answer;     /* what start returns ... */
static bool start_works;     /* ... and whether it starts */

static char *
file(const char *name)
{
	return fb_format("%s/%s", dir, name);
}

static void
put(const char *name, const char *text, int flags)
{
	FB_AUTO_FREE char *path = file(name);
	FB_AUTO_CLOSE int fd = open(
	    path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0600);

	if (fd == -1 || write(fd, text, strlen(text)) == -1)
		_exit(98);
}

static const char *
get(const char *name)
{
	static char text[256];
	FB_AUTO_FREE char *path = file(name);
	FB_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd == -1 ? 0 : read(fd, text, sizeof(text) - 1);

	text[got > 0 ? got : 0] = '\0';
	return text;
}

static void
set_power(const char *id, const char *power)
{
	FB_AUTO_FREE char *name = fb_format("power-%s", id);

	put(name, power, O_TRUNC);
}

int
fb_driver_open(const struct fb_config_source *source,
    struct fb_driver **ret_driver, struct fb_error *e)
{
	(void)e;
	*ret_driver = fb_alloc(1, sizeof(**ret_driver));
	(*ret_driver)->source = source->name;
	return FB_OK;
}

void
fb_driver_close(struct fb_driver *driver)
{
	free(driver);
}

int
fb_driver_discover(
    struct fb_driver *driver, struct fb_fleet *fleet, struct fb_error *e)
{
	(void)driver;
	if (silent)
		return fb_fail(e, FB_EUNREACH, "nobody there");
	if (twice)
		fb_fleet_add(fleet)->id = fb_strdup(machines[0]);
	for (size_t i = 0; i < FB_COUNT(machines); i++) {
		struct fb_machine *machine = fb_fleet_add(fleet);

		machine->id = fb_strdup(machines[i]);
		if (parents[i] != NULL)
			machine->parent = fb_strdup(parents[i]);
	}
	return FB_OK;
}

int
fb_driver_power_get(struct fb_driver *driver, const struct fb_machine *machine,
    const struct fb_verb *verb, enum fb_power *ret_power, struct fb_error *e)
{
	FB_AUTO_FREE char *name = fb_format("power-%s", machine->id);
	const char *text = get(name);

	(void)driver;
	(void)verb;
	if (mute)
		return fb_fail(e, FB_ETIMEOUT, "no answer");
	*ret_power = strcmp(text, "up") == 0 ? FB_POWER_UP
	    : strcmp(text, "down") == 0      ? FB_POWER_DOWN
	                                     : FB_POWER_UNKNOWN;
	return FB_OK;
}

int
fb_driver_start(struct fb_driver *driver, const struct fb_machine *machine,
    const struct fb_verb *verb, struct fb_error *e)
{
	FB_AUTO_FREE char *line = fb_format("%s ", machine->id);
	enum fb_fault fault = fb_seam(FB_STEP_DRIVER, "start");

	(void)driver;
	assert_string_equal(verb->token, "recover-" RUN);
	assert_int_equal(fault, FB_FAULT_NONE);
	put("starts", line, O_APPEND);
	if (start_works)
		set_power(machine->id, "up");
	return start_answer == FB_OK
	    ? FB_OK
	    : fb_fail(e, (enum fb_code)start_answer, "as told");
}

/* The engine of a fleet with that one source. */
static struct fb_config_source source;
static struct fb_config config;
static struct fb_engine engine;

static void
make_engine(void)
{
	source = (struct fb_config_source){ 0 };
	source.name = fb_strdup("lab");
	source.driver = fb_strdup("local");
	config = (struct fb_config){ .sources = &source, .source_count = 1 };
	config.fleet_name = fb_strdup("demo");
	config.state_dir = file("state");
	config.download.max_obligation_age_ms = 7 * 86400 * UINT64_C(1000);
	engine = (struct fb_engine){ .config = &config };
	silent = false;
	start_answer = FB_OK;
	start_works = true;
}

static int
make_dir(void **state)
{
	(void)state;
	(void)snprintf(dir, sizeof(dir), "/tmp/fb-recover-XXXXXX");
	if (mkdtemp(dir) == NULL)
		return -1;
	make_engine();
	return 0;
}

static int
remove_dir(void **state)
{
	(void)state;
	free(source.name);
	free(source.driver);
	free(config.fleet_name);
	free(config.state_dir);
	return fb_io_remove_tree(dir, &err);
}

static struct fb_journal *
open_journal(const char *run)
{
	FB_AUTO_FREE char *path =
	    fb_state_path(&engine, "runs/%s/journal", run);
	FB_AUTO_FREE char *parent = fb_state_path(&engine, "runs/%s", run);
	struct fb_journal *journal;
	int rc;

	assert_ok(fb_io_mkdirs(parent, 0700, &err));
	rc = fb_journal_open(path, NULL, NULL, &journal, &err);
	if (rc == FB_ENOTFOUND)
		rc = fb_journal_create(path, &journal, &err);
	assert_ok(rc);
	return journal;
}

static void
owe(const char *machine)
{
	FB_AUTO_JOURNAL struct fb_journal *journal = open_journal(RUN);

	assert_ok(fb_obligation_begin(journal, machine, &err));
}

static void
owe_as(json_t *owned_body)
{
	FB_AUTO_JOURNAL struct fb_journal *journal = open_journal(RUN);
	FB_AUTO_JSON json_t *body = owned_body;

	assert_ok(fb_journal_append(journal, "obligation", body, true, &err));
}

/* As a version wrote it that knew the wall clock only. */
static void
owe_since(const char *machine, const char *at)
{
	owe_as(json_pack("{s:s,s:s}", "at", at, "machine", machine));
}

/* "lab/db started, lab/web unknown" */
static const char *
draw(const struct fb_recover_report *report)
{
	static char text[512];
	size_t at = 0;

	text[0] = '\0';
	for (size_t i = 0; i < report->count; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at,
		    "%s%s %s", i > 0 ? ", " : "", report->items[i].machine,
		    fb_recovery_name(report->items[i].outcome));
	return text;
}

static const char *
recover(bool force)
{
	struct fb_recover_request request = { .force = force };
	struct fb_recover_report report;
	const char *text;

	assert_ok(fb_recover(&engine, &request, -1, &report, &err));
	text = draw(&report);
	fb_recover_report_release(&report);
	return text;
}

static const char *
list(void)
{
	struct fb_recover_report report;
	const char *text;

	assert_ok(fb_recover_list(&engine, &report, &err));
	text = draw(&report);
	fb_recover_report_release(&report);
	return text;
}

static void
a_stopped_machine_is_started_once(void **state)
{
	(void)state;
	set_power("db", "down");
	owe("lab/db");
	assert_string_equal(list(), "lab/db unknown");
	assert_string_equal(recover(false), "lab/db started");
	assert_string_equal(recover(false), "");
	assert_string_equal(list(), "");
	assert_string_equal(get("starts"), "db ");
}

static void
nothing_is_owed_where_nothing_was_begun(void **state)
{
	(void)state;
	set_power("db", "down");
	assert_string_equal(recover(false), "");
	fb_journal_close(open_journal(RUN));
	assert_string_equal(recover(false), "");
	assert_string_equal(get("starts"), "");
}

static void
what_is_up_is_discharged_without_a_start(void **state)
{
	(void)state;
	set_power("db", "up");
	owe("lab/db");
	assert_string_equal(recover(false), "lab/db seen-up");
	set_power("db", "down"); /* by somebody, later: not ours to start */
	assert_string_equal(recover(false), "");
	assert_string_equal(get("starts"), "");
}

static void
an_unknown_machine_is_not_touched(void **state)
{
	(void)state;
	set_power("db", "?");
	owe("lab/db");
	assert_string_equal(recover(true), "lab/db unknown");
	assert_string_equal(recover(false), "lab/db unknown");
	assert_string_equal(get("starts"), "");
}

static void
a_half_written_machine_stays_down(void **state)
{
	FB_AUTO_JOURNAL struct fb_journal *journal = NULL;

	(void)state;
	set_power("db", "down");
	owe("lab/db");
	journal = open_journal(RUN);
	assert_ok(fb_obligation_suspend(journal, "lab/db", &err));
	assert_string_equal(list(), "lab/db suspended");
	assert_string_equal(recover(true), "lab/db suspended");
	assert_string_equal(get("starts"), "");
}

static void
an_old_obligation_needs_a_word(void **state)
{
	(void)state;
	set_power("db", "down");
	owe_since("lab/db", "2020-01-01T00:00:00Z");
	assert_string_equal(list(), "lab/db too-old");
	assert_string_equal(recover(false), "lab/db too-old");
	assert_string_equal(get("starts"), "");
	assert_string_equal(recover(true), "lab/db started");
}

/* The wall clock may have been set, in this boot or while it was off. */
static void
the_age_within_a_boot_is_not_the_wall_clocks(void **state)
{
	char boot[FB_BOOT_ID_SIZE];

	(void)state;
	fb_clock_boot_id(boot);
	assert_string_not_equal(boot, "");
	set_power("db", "down");
	owe_as(json_pack("{s:s,s:s,s:I,s:s}", "at", "2020-01-01T00:00:00Z",
	    "boot", boot, "boot_ms",
	    (json_int_t)(fb_clock_boot_ns() / 1000000), "machine", "lab/db"));
	assert_string_equal(recover(false), "lab/db started");

	/* another boot: nothing else is known */
	set_power("db", "down");
	owe_as(json_pack("{s:s,s:s,s:I,s:s}", "at", "2020-01-01T00:00:00Z",
	    "boot", "cd5f6d2e-8b1f-4d2c-9b1a-1f0e3c1d2b3a", "boot_ms",
	    (json_int_t)0, "machine", "lab/db"));
	assert_string_equal(recover(false), "lab/db too-old");
	assert_string_equal(recover(true), "lab/db started");
}

static void
a_machine_that_is_gone_is_said_once(void **state)
{
	(void)state;
	owe("lab/old");
	assert_string_equal(recover(false), "lab/old gone");
	assert_string_equal(recover(false), "");
}

/* What another node has begun: it may see what this one does not. */
static void
a_machine_of_another_node_is_gone_when_somebody_says_so(void **state)
{
	FB_AUTO_JOURNAL struct fb_journal *journal = NULL;
	FB_AUTO_JSON json_t *none = json_object();

	(void)state;
	set_power("db", "down");
	owe("lab/old");
	owe("lab/db");
	journal = open_journal(RUN);
	assert_ok(fb_journal_append(journal, "adopted", none, true, &err));
	fb_journal_close(FB_STEAL(journal));
	assert_string_equal(
	    recover(false), "lab/old unknown, lab/db started");
	assert_string_equal(recover(false), "lab/old unknown");
	assert_string_equal(recover(true), "lab/old gone");
	assert_string_equal(recover(false), "");
}

static void
a_silent_source_is_no_proof_of_anything(void **state)
{
	(void)state;
	set_power("db", "down");
	owe("lab/db");
	owe("kvm/x"); /* not configured any more */
	silent = true;
	assert_string_equal(
	    recover(false), "lab/db unknown, kvm/x unknown");
	silent = false;
	assert_string_equal(recover(true), "lab/db started, kvm/x gone");
	assert_string_equal(recover(false), "");
}

static void
parents_start_before_children(void **state)
{
	(void)state;
	set_power("db", "down");
	set_power("web", "down");
	set_power("cache", "down");
	owe("lab/cache");
	owe("lab/web");
	owe("lab/db");
	assert_string_equal(recover(false),
	    "lab/db started, lab/web started, lab/cache started");
	assert_string_equal(get("starts"), "db web cache ");
}

static void
what_counts_is_whether_it_runs(void **state)
{
	(void)state;
	set_power("db", "down");
	owe("lab/db");
	start_answer = FB_EFAILED;
	start_works = false;
	assert_string_equal(recover(false), "lab/db failed");
	assert_string_equal(list(), "lab/db unknown");
	start_answer = FB_ETIMEOUT;
	start_works = true;
	assert_string_equal(recover(false), "lab/db started");
	assert_string_equal(list(), "");
}

static void
a_torn_journal_is_met_and_a_damaged_one_is_said(void **state)
{
	FB_AUTO_FREE char *torn = fb_format("state/runs/%s/journal", RUN);
	FB_AUTO_FREE char *bad = fb_format("state/runs/%s/journal", RUN_TWO);

	(void)state;
	set_power("db", "down");
	owe("lab/db");
	put(torn, "3 0123", O_APPEND);
	fb_journal_close(open_journal(RUN_TWO));
	put(bad, "9", 0); /* over the first byte */
	assert_string_equal(recover(false), "- unknown, lab/db started");
	assert_string_equal(list(), "- unknown");
}

/* Half a journal's obligations are none: what is owed is not known. */
static void
what_stands_before_damage_is_not_believed(void **state)
{
	(void)state;
	set_power("db", "down");
	owe("lab/db");
	owe("db"); /* no machine of any source */
	assert_string_equal(recover(false), "- unknown");
	assert_string_equal(get("starts"), "");
}

static void
runs_that_cannot_be_listed_are_an_error(void **state)
{
	FB_AUTO_FREE char *runs = fb_state_path(&engine, "runs");
	FB_AUTO_FREE char *parent = fb_state_path(&engine, "x");
	struct fb_recover_report report = { 0 };

	(void)state;
	*strrchr(parent, '/') = '\0';
	assert_ok(fb_io_mkdirs(parent, 0700, &err));
	assert_ok(fb_io_replace(runs, SPAN("no directory"), 0600, &err));
	assert_true(fb_recover_list(&engine, &report, &err) < 0);
	fb_recover_report_release(&report);
}

static void
an_obligation_needs_a_name_that_can_be_written(void **state)
{
	FB_AUTO_JOURNAL struct fb_journal *journal = open_journal(RUN);

	(void)state;
	assert_fails(
	    FB_EBUG, fb_obligation_begin(journal, "lab/\xff", &err));
	assert_string_equal(list(), "");
}

static void
what_cannot_be_asked_is_not_touched(void **state)
{
	(void)state;
	set_power("db", "down");
	owe("lab/db");
	mute = true;
	assert_string_equal(recover(false), "lab/db unknown");
	mute = false;
	assert_string_equal(get("starts"), "");
	assert_string_equal(recover(false), "lab/db started");
}

static void
of_two_machines_of_one_id_none_is_started(void **state)
{
	(void)state;
	set_power("db", "down");
	owe("lab/db");
	twice = true;
	assert_string_equal(recover(false), "lab/db unknown");
	twice = false;
	assert_string_equal(get("starts"), "");
}

static void
a_guardian_that_was_never_started_needs_no_farewell(void **state)
{
	struct fb_guardian none = { 0 };

	(void)state;
	fb_guardian_dismiss(&none);
	assert_int_equal(none.pid, 0);
	fb_guardian_leave(&none);
	assert_int_equal(none.pipe_fd, -1);
}

static void
a_hostile_record_is_refused(void **state)
{
	static const char *const bad[] = { "db", "/", "a/..", "../x", "a/b/c",
		"a/", "a/b\n" };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(bad); i++) {
		FB_AUTO_FREE char *path =
		    fb_state_path(&engine, "runs/%s", RUN);

		owe(bad[i]);
		assert_string_equal(list(), "- unknown");
		assert_ok(fb_io_remove_tree(path, &err));
	}
}

static void
a_dry_run_changes_nothing(void **state)
{
	struct fb_recover_request request = { .dry_run = true };
	struct fb_recover_report report;
	FB_AUTO_FREE char *name = fb_format("state/runs/%s/journal", RUN);
	FB_AUTO_FREE char *before = NULL;

	(void)state;
	set_power("db", "down");
	owe("lab/db");
	before = fb_strdup(get(name));
	assert_ok(fb_recover(&engine, &request, -1, &report, &err));
	assert_string_equal(draw(&report), "lab/db unknown");
	fb_recover_report_release(&report);
	assert_string_equal(get(name), before);
	assert_string_equal(get("starts"), "");
}

/*
 * What happens in processes of their own: this program, started again with
 * the directory and what to do.
 */
static pid_t
start_self(const char *what, const char *crash)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		if (crash != NULL)
			(void)setenv("FLEETBAK_CRASH", crash, 1);
		(void)execl(
		    "/proc/self/exe", "test_recover", what, dir, NULL);
		_exit(99);
	}
	return pid;
}

static int
wait_for(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void
a_recovery_cut_off_anywhere_starts_once(void **state)
{
	static const char *const modes[] = { "kill", "torn", "lost" };

	for (size_t m = 0; m < FB_COUNT(modes); m++)
		for (int step = 1, status = FB_EXIT_CRASH;
		     status == FB_EXIT_CRASH; step++) {
			FB_AUTO_FREE char *crash =
			    fb_format("%d:%s", step, modes[m]);

			set_power("db", "down");
			owe("lab/db");
			status = wait_for(start_self("recover", crash));
			assert_true(
			    status == 0 || status == FB_EXIT_CRASH);
			(void)recover(false);
			assert_string_equal(list(), "");
			assert_string_equal(get("power-db"), "up");
			assert_string_equal(get("starts"), "db ");
			(void)remove_dir(state);
			(void)make_dir(state);
		}
}

/* Waits for what a guardian writes into the pipe; "" when nobody came. */
static const char *
hear(int fd, int timeout_ms)
{
	static char text[64];
	struct pollfd ready = { fd, POLLIN, 0 };
	ssize_t got = 0;

	if (poll(&ready, 1, timeout_ms) == 1)
		got = read(fd, text, sizeof(text) - 1);
	text[got > 0 ? got : 0] = '\0';
	return text;
}

static const char *
die(const char *how)
{
	FB_AUTO_FREE char *path = file("fifo");
	FB_AUTO_CLOSE int fd = -1;

	if (mkfifo(path, 0600) == -1 && errno != EEXIST)
		fail();
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	(void)wait_for(start_self(how, NULL));
	/* A dismissed guardian was waited for: it can say no more. */
	return hear(fd, strcmp(how, "dismiss") == 0 ? 0 : 60000);
}

static void
the_guardian_acts_when_the_run_dies(void **state)
{
	(void)state;
	assert_string_equal(die("exit"), "guard");
	assert_string_equal(die("kill"), "guard");
	assert_string_equal(die("signal"), "guard");
}

static void
the_guardian_leaves_when_it_is_told_farewell(void **state)
{
	(void)state;
	assert_string_equal(die("dismiss"), "");
}

static void
a_guardian_that_cannot_act_says_so_by_its_end(void **state)
{
	static const char *const argv[] = { "/nowhere/fleetbak", NULL };
	struct fb_guardian guardian;
	pid_t pid;

	(void)state;
	assert_ok(fb_guardian_start(argv, &guardian, &err));
	pid = guardian.pid;
	fb_guardian_leave(&guardian);
	assert_int_equal(wait_for(pid), 127);
}

static void
a_guardian_without_a_pipe_is_not_started(void **state)
{
	static const char *const argv[] = { "/nowhere/fleetbak", NULL };
	struct rlimit before, none;
	struct fb_guardian guardian = { 0 };
	int rc;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){ 0, before.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	rc = fb_guardian_start(argv, &guardian, &err);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_fails(FB_ESYS, rc);
	assert_int_equal(guardian.pid, 0);
	/* Nor one without a process; the pipe is given back. */
	assert_true(faults_arm(faults_begin(), "EAGAIN"));
	rc = fb_guardian_start(argv, &guardian, &err);
	faults_disarm();
	assert_true(rc < 0);
	assert_non_null(strstr(err.msg, "guardian: cannot be started"));
	assert_int_equal(guardian.pid, 0);
}

/* A lock is free when the run is dead, whatever its guardian still does. */
static void
a_guardian_holds_nothing_of_the_run(void **state)
{
	static const char *const argv[] = { "/nowhere/fleetbak", NULL };
	struct fb_guardian guardian;
	int pipes[2];
	char byte;

	(void)state;
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	assert_ok(fb_guardian_start(argv, &guardian, &err));
	(void)close(pipes[1]);
	/* The end comes while it lives: it let go of the other end. */
	assert_int_equal(read(pipes[0], &byte, 1), 0);
	(void)close(pipes[0]);
	fb_guardian_dismiss(&guardian);
}

/* Who was started without standard streams must not lend it their numbers. */
static void
the_pipe_keeps_clear_of_closed_standard_streams(void **state)
{
	static const char *const argv[] = { "/nowhere/fleetbak", NULL };
	struct fb_guardian guardian;
	int saved[2], rc;

	(void)state;
	for (int fd = 0; fd < 2; fd++) {
		saved[fd] = fcntl(fd, F_DUPFD_CLOEXEC, 10);
		assert_true(saved[fd] >= 10);
	}
	(void)close(0);
	(void)close(1);
	rc = fb_guardian_start(argv, &guardian, &err);
	for (int fd = 0; fd < 2; fd++) {
		(void)dup2(saved[fd], fd);
		(void)close(saved[fd]);
	}
	assert_ok(rc);
	assert_true(guardian.pipe_fd > 2);
	fb_guardian_dismiss(&guardian);
}

static void
a_second_run_is_told_who_holds_the_lock(void **state)
{
	FB_AUTO_CLOSE int fd = -1;

	(void)state;
	assert_fails(
	    FB_ENOTFOUND, fb_state_lock(&engine, "recover", &err));
	assert_ok(fb_state_make(&engine, &err));
	fd = fb_state_lock(&engine, "download", &err);
	assert_true(fd >= 0);
	assert_fails(FB_EBUSY, fb_state_lock(&engine, "recover", &err));
	assert_string_equal(err.id, "E-LOCKED");
	assert_non_null(strstr(err.msg, "download"));
}

static void
a_living_child_of_a_dead_run_is_noticed(void **state)
{
	int fd, pipes[2];
	pid_t pid;
	char byte;

	(void)state;
	assert_ok(fb_state_make(&engine, &err));
	fd = fb_state_children(&engine, &err);
	assert_true(fd >= 0);
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		(void)close(pipes[1]);
		(void)!read(pipes[0], &byte, 1);
		_exit(0);
	}
	(void)close(fd); /* our run dies; its child lives on */
	assert_fails(FB_EBUSY, fb_state_children(&engine, &err));
	assert_string_equal(err.id, "E-CHILD-ALIVE");
	(void)close(pipes[1]);
	(void)close(pipes[0]);
	assert_int_equal(wait_for(pid), 0);
	fd = fb_state_children(&engine, &err);
	assert_true(fd >= 0);
	(void)close(fd);
}

static int
guarded_main(const char *how)
{
	char self[256] = { 0 };
	const char *argv[] = { self, "guard", dir, NULL };
	struct fb_guardian guardian;

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) == -1 ||
	    fb_guardian_start(argv, &guardian, &err) < 0)
		return 1;
	if (strcmp(how, "dismiss") == 0)
		fb_guardian_dismiss(&guardian);
	if (strcmp(how, "signal") == 0) {
		(void)kill(guardian.pid, SIGTERM);
		(void)kill(guardian.pid, SIGINT);
		(void)kill(guardian.pid, SIGHUP);
	}
	if (strcmp(how, "kill") == 0)
		(void)raise(SIGKILL);
	return 0;
}

static int
self_main(const char *what)
{
	make_engine();
	if (strcmp(what, "recover") == 0) {
		(void)recover(false);
		return 0;
	}
	if (strcmp(what, "guard") == 0) {
		put("fifo", "guard", 0);
		return 0;
	}
	return guarded_main(what);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_dir, remove_dir)

int
main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_torn_journal_is_met_and_a_damaged_one_is_said),
		TEST(a_hostile_record_is_refused),
		TEST(what_stands_before_damage_is_not_believed),
		TEST(runs_that_cannot_be_listed_are_an_error),
		TEST(an_obligation_needs_a_name_that_can_be_written),
		TEST(what_cannot_be_asked_is_not_touched),
		TEST(a_guardian_that_was_never_started_needs_no_farewell),
		TEST(of_two_machines_of_one_id_none_is_started),
		TEST(a_stopped_machine_is_started_once),
		TEST(nothing_is_owed_where_nothing_was_begun),
		TEST(what_is_up_is_discharged_without_a_start),
		TEST(an_unknown_machine_is_not_touched),
		TEST(a_half_written_machine_stays_down),
		TEST(an_old_obligation_needs_a_word),
		TEST(the_age_within_a_boot_is_not_the_wall_clocks),
		TEST(a_machine_that_is_gone_is_said_once),
		TEST(a_machine_of_another_node_is_gone_when_somebody_says_so),
		TEST(a_silent_source_is_no_proof_of_anything),
		TEST(parents_start_before_children),
		TEST(what_counts_is_whether_it_runs),
		TEST(a_dry_run_changes_nothing),
		TEST(a_recovery_cut_off_anywhere_starts_once),
		TEST(the_guardian_acts_when_the_run_dies),
		TEST(the_guardian_leaves_when_it_is_told_farewell),
		TEST(a_guardian_that_cannot_act_says_so_by_its_end),
		TEST(a_guardian_without_a_pipe_is_not_started),
		TEST(a_guardian_holds_nothing_of_the_run),
		TEST(the_pipe_keeps_clear_of_closed_standard_streams),
		TEST(a_second_run_is_told_who_holds_the_lock),
		TEST(a_living_child_of_a_dead_run_is_noticed),
	};

	if (argc == 3) {
		(void)snprintf(dir, sizeof(dir), "%s", argv[2]);
		return self_main(argv[1]);
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/seam.h"
#include "fleetbak/engine/engine.h"

static struct fb_error err;
static char dir[64];

/*
 * Sources that are names: "silent" does not answer, "closed" cannot even be
 * opened, any other has two machines.  The driver layer is not linked in.
 */
int
fb_driver_open(const struct fb_config_source *source,
    struct fb_driver **ret_driver, struct fb_error *e)
{
	if (strcmp(source->name, "closed") == 0)
		return fb_fail_id(e, FB_EDENIED, "E-SRC-DENIED", "no entry");
	*ret_driver = fb_alloc(1, sizeof(**ret_driver));
	(*ret_driver)->source = source->name;
	return FB_OK;
}

void
fb_driver_close(struct fb_driver *driver)
{
	free(driver);
}

static void
add_machine(struct fb_fleet *fleet, const char *id, const char *site)
{
	struct fb_machine *machine = fb_fleet_add(fleet);

	machine->id = fb_strdup(id);
	if (site == NULL)
		return;
	machine->labels.items = fb_alloc(1, sizeof(*machine->labels.items));
	machine->labels.items[0] =
	    (struct fb_label){ fb_strdup("site"), fb_strdup(site) };
	machine->labels.count = 1;
}

int
fb_driver_discover(
    struct fb_driver *driver, struct fb_fleet *fleet, struct fb_error *e)
{
	add_machine(fleet, "web", NULL);
	add_machine(fleet, "db", "own");
	if (strcmp(driver->source, "silent") == 0)
		return fb_fail(e, FB_EUNREACH, "nobody there");
	return FB_OK;
}

/* A configuration in the directory. */
static struct fb_config_repository repository;
static struct fb_config_source sources[3];
static struct fb_label labels[2];
static char *signer[2];
static struct fb_config config;
static struct fb_engine engine;

static char *
file(const char *name)
{
	return fb_format("%s/%s", dir, name);
}

static void
set_source(size_t i, const char *name)
{
	free(sources[i].name);
	sources[i].name = fb_strdup(name);
}

static void
make_engine(void)
{
	FB_AUTO_FREE char *repo = file("repo");

	labels[0] = (struct fb_label){ fb_strdup("rack"), fb_strdup("7") };
	labels[1] = (struct fb_label){ fb_strdup("site"), fb_strdup("a") };
	for (size_t i = 0; i < FB_COUNT(sources); i++) {
		sources[i] = (struct fb_config_source){ 0 };
		sources[i].driver = fb_strdup("local");
		sources[i].labels = (struct fb_labels){ labels, 2 };
	}
	set_source(0, "lab");
	set_source(1, "kvm");
	set_source(2, "zone");
	repository = (struct fb_config_repository){
		.name = fb_strdup("main"),
		.url = fb_format("file:%s", repo),
		.sign_with = fb_strdup("file:keys/sign.pem"),
	};
	signer[0] = fb_strdup("file:keys/sign.pub.pem");
	signer[1] = NULL;
	config = (struct fb_config){ .repositories = &repository,
		.repository_count = 1,
		.trusted_signers = signer,
		.trusted_signer_count = 1,
		.sources = sources,
		.source_count = FB_COUNT(sources),
		.base_dir = dir };
	config.fleet_name = fb_strdup("demo");
	config.state_dir = file("state");
	engine = (struct fb_engine){ .config = &config };
}

static int
make_dir(void **state)
{
	(void)state;
	/* Thousands of syncs: in memory if we may; the seam loses data for
	 * us, a disk need not. */
	(void)snprintf(dir, sizeof(dir), "/dev/shm/fb-engine-XXXXXX");
	if (mkdtemp(dir) == NULL) {
		(void)snprintf(dir, sizeof(dir), "/tmp/fb-engine-XXXXXX");
		if (mkdtemp(dir) == NULL)
			return -1;
	}
	make_engine();
	return 0;
}

static int
remove_dir(void **state)
{
	(void)state;
	for (size_t i = 0; i < FB_COUNT(sources); i++) {
		free(sources[i].name);
		free(sources[i].driver);
	}
	for (size_t i = 0; i < FB_COUNT(labels); i++) {
		free(labels[i].key);
		free(labels[i].value);
	}
	free(repository.name);
	free(repository.url);
	free(repository.sign_with);
	free(signer[0]);
	free(signer[1]);
	free(config.fleet_name);
	free(config.state_dir);
	return fb_io_remove_tree(dir, &err);
}

static bool
is_there(const char *name)
{
	FB_AUTO_FREE char *path = file(name);

	return access(path, F_OK) == 0;
}

static void
a_source_that_fails_fails_alone(void **state)
{
	struct fb_drivers drivers;
	struct fb_fleet fleet;

	(void)state;
	set_source(0, "silent");
	set_source(1, "closed");
	assert_ok(fb_engine_discover(&engine, &drivers, &fleet, &err));
	assert_int_equal(fleet.count, 2);
	assert_string_equal(fleet.machines[0].source, "zone");
	assert_int_equal(fleet.failure_count, 2);
	assert_string_equal(fleet.failures[0].source, "closed");
	assert_string_equal(fleet.failures[0].err.id, "E-SRC-DENIED");
	assert_string_equal(fleet.failures[1].source, "silent");
	assert_string_equal(fleet.failures[1].err.id, "E-SRC-UNREACHABLE");
	assert_null(fb_engine_driver(&engine, &drivers, "closed"));
	assert_non_null(fb_engine_driver(&engine, &drivers, "zone"));
	fb_fleet_release(&fleet);
	fb_drivers_close(&drivers);
}

static void
machines_get_the_labels_of_their_source_under_their_own(void **state)
{
	struct fb_drivers drivers;
	struct fb_fleet fleet;
	struct fb_machine *machine;

	(void)state;
	assert_ok(fb_engine_discover(&engine, &drivers, &fleet, &err));
	assert_int_equal(fleet.count, 6);
	assert_string_equal(fleet.name, "demo");
	machine = fb_fleet_find(&fleet, "lab", "db");
	assert_string_equal(machine->driver, "local");
	assert_int_equal(machine->labels.count, 2);
	assert_string_equal(machine->labels.items[0].key, "rack");
	assert_string_equal(machine->labels.items[1].value, "own");
	machine = fb_fleet_find(&fleet, "kvm", "web");
	assert_string_equal(machine->labels.items[1].value, "a");
	fb_fleet_release(&fleet);
	fb_drivers_close(&drivers);
}

static void
only_the_wanted_sources_are_asked(void **state)
{
	bool wanted[] = { false, true, false };
	struct fb_drivers drivers;
	struct fb_fleet fleet;

	(void)state;
	set_source(0, "silent");
	assert_ok(fb_engine_discover_only(
	    &engine, wanted, &drivers, &fleet, &err));
	assert_int_equal(fleet.count, 2);
	assert_int_equal(fleet.failure_count, 0);
	assert_string_equal(fleet.machines[0].source, "kvm");
	fb_fleet_release(&fleet);
	fb_drivers_close(&drivers);
}

static void
an_unknown_repository_names_the_nearest(void **state)
{
	struct fb_repo *repo;

	(void)state;
	engine.repository = "mian";
	assert_null(fb_engine_repo_config(&engine));
	assert_fails(FB_ECONFIG, fb_engine_repo(&engine, &repo, &err));
	assert_string_equal(err.id, "E-REPO-NAME");
	assert_non_null(strstr(err.hint, "main"));
}

static void
what_is_not_there_is_said_with_what_makes_it(void **state)
{
	struct fb_sign_key *key;
	struct fb_repo *repo;

	(void)state;
	assert_fails(FB_ENOREPO, fb_engine_repo(&engine, &repo, &err));
	assert_non_null(strstr(err.hint, "init"));
	assert_fails(FB_EKEY, fb_engine_sign_key(&engine, &key, &err));
	assert_non_null(strstr(err.msg, "keys/sign.pem"));
	assert_false(is_there("repo"));
	assert_false(is_there("state"));
}

static void
init_makes_keys_and_repository_once(void **state)
{
	struct fb_init_report report, again;
	FB_AUTO_REPO struct fb_repo *repo = NULL;
	FB_AUTO_FREE char *key = file("keys/sign.pem");
	struct stat st;

	(void)state;
	assert_ok(fb_engine_init(&engine, &report, &err));
	assert_true(report.made_key);
	assert_true(report.made_public);
	assert_true(report.made_repository);
	assert_int_equal(strlen(report.repository), 32);
	assert_int_equal(stat(key, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_ok(fb_engine_repo(&engine, &repo, &err));

	assert_ok(fb_engine_init(&engine, &again, &err));
	assert_false(again.made_key);
	assert_false(again.made_public);
	assert_false(again.made_repository);
	assert_string_equal(again.repository, report.repository);
	assert_string_equal(again.key_id, report.key_id);
}

static void
init_makes_a_lost_public_half_again(void **state)
{
	struct fb_init_report report, again;
	FB_AUTO_FREE char *public = file("keys/sign.pub.pem");
	FB_AUTO_BUF struct fb_buf before = { 0 };
	FB_AUTO_BUF struct fb_buf after = { 0 };

	(void)state;
	assert_ok(fb_engine_init(&engine, &report, &err));
	assert_ok(fb_io_read_file(public, 4096, &before, &err));
	assert_ok(fb_io_unlink(public, &err));
	assert_ok(fb_engine_init(&engine, &again, &err));
	assert_true(again.made_public);
	assert_false(again.made_key);
	assert_ok(fb_io_read_file(public, 4096, &after, &err));
	assert_string_equal(fb_buf_str(&before), fb_buf_str(&after));
}

static void
keys_that_do_not_belong_together_are_refused(void **state)
{
	struct fb_init_report report;
	FB_AUTO_FREE char *private = file("keys/sign.pem");

	(void)state;
	assert_ok(fb_engine_init(&engine, &report, &err));
	assert_ok(fb_io_unlink(private, &err));
	assert_fails(FB_EKEY, fb_engine_init(&engine, &report, &err));
	assert_string_equal(err.id, "E-KEY-MISMATCH");
	assert_false(is_there("keys/sign.pem"));

	/* Another private key than the public one's. */
	free(repository.sign_with);
	repository.sign_with = fb_strdup("file:keys/other.pem");
	free(signer[0]);
	signer[0] = fb_strdup("file:keys/other.pub.pem");
	assert_fails(
	    FB_EUNTRUSTED, fb_engine_init(&engine, &report, &err));
	free(signer[0]);
	signer[0] = fb_strdup("file:keys/sign.pub.pem");
	assert_fails(FB_EKEY, fb_engine_init(&engine, &report, &err));
	assert_string_equal(err.id, "E-KEY-MISMATCH");
}

static void
without_a_trusted_signer_nothing_is_made(void **state)
{
	struct fb_init_report report;

	(void)state;
	config.trusted_signer_count = 0;
	assert_fails(FB_EKEY, fb_engine_init(&engine, &report, &err));
	assert_string_equal(err.id, "E-KEY-TRUST");
	assert_false(is_there("keys"));
	assert_false(is_there("repo"));
}

static int
init_in_child(const char *crash)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		(void)setenv("FLEETBAK_CRASH", crash, 1);
		(void)execl("/proc/self/exe", "test_engine", dir, NULL);
		_exit(99);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void
an_init_cut_off_anywhere_is_finished_by_the_next(void **state)
{
	/* A torn write is a kill before any other step. */
	static const char *const modes[] = { "torn", "lost" };

	for (size_t m = 0; m < FB_COUNT(modes); m++)
		for (int step = 1, status = FB_EXIT_CRASH;
		     status == FB_EXIT_CRASH; step++) {
			FB_AUTO_FREE char *crash =
			    fb_format("%d:%s", step, modes[m]);
			struct fb_init_report report;
			struct fb_repo *repo = NULL;

			status = init_in_child(crash);
			assert_true(
			    status == 0 || status == FB_EXIT_CRASH);
			assert_ok(fb_engine_init(&engine, &report, &err));
			assert_ok(fb_engine_repo(&engine, &repo, &err));
			fb_repo_close(repo);
			(void)remove_dir(state);
			(void)make_dir(state);
		}
}

static int
child_main(void)
{
	struct fb_init_report report;

	make_engine();
	return fb_engine_init(&engine, &report, &err) == FB_OK ? 0 : 1;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_dir, remove_dir)

int
main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_source_that_fails_fails_alone),
		TEST(machines_get_the_labels_of_their_source_under_their_own),
		TEST(only_the_wanted_sources_are_asked),
		TEST(an_unknown_repository_names_the_nearest),
		TEST(what_is_not_there_is_said_with_what_makes_it),
		TEST(without_a_trusted_signer_nothing_is_made),
		TEST(keys_that_do_not_belong_together_are_refused),
		TEST(init_makes_keys_and_repository_once),
		TEST(init_makes_a_lost_public_half_again),
		TEST(an_init_cut_off_anywhere_is_finished_by_the_next),
	};

	if (argc == 2) {
		(void)snprintf(dir, sizeof(dir), "%s", argv[1]);
		return child_main();
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}

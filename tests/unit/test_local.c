/* The local driver's own promises; those of every driver: test_driver.c. */
#include "fleetbak/driver/driver.h"
#include "tree_tools.h"

static struct fb_error err;

struct lab {
	char *root;
	struct fb_config_source source;
	struct fb_driver *driver;
	struct fb_fleet fleet;
};

static struct lab *
open_lab(void)
{
	struct lab *lab = fb_alloc(1, sizeof(*lab));

	lab->root = new_dir();
	lab->source.name = fb_strdup("lab");
	lab->source.driver = fb_strdup("local");
	lab->source.options = json_pack("{s:s}", "root", lab->root);
	lab->source.labels.items =
	    fb_alloc(2, sizeof(*lab->source.labels.items));
	lab->source.labels.items[0] =
	    (struct fb_label){ fb_strdup("env"), fb_strdup("default") };
	lab->source.labels.items[1] =
	    (struct fb_label){ fb_strdup("site"), fb_strdup("a") };
	lab->source.labels.count = 2;
	assert_ok(fb_driver_open(&lab->source, &lab->driver, &err));
	return lab;
}

static void
close_lab(struct lab **lab_ptr)
{
	struct lab *lab = *lab_ptr;

	fb_fleet_release(&lab->fleet);
	fb_driver_close(lab->driver);
	fb_labels_release(&lab->source.labels);
	json_decref(lab->source.options);
	free(lab->source.name);
	free(lab->source.driver);
	drop_dir(&lab->root);
	free(lab);
}
#define AUTO_LAB FB_CLEANUP(close_lab)

/* A machine with a ctl script of this body and a disk and a tree. */
static void
put_machine(struct lab *lab, const char *id, const char *script,
    const char *more)
{
	FB_AUTO_FREE char *dir = fb_format("%s/%s", lab->root, id);
	FB_AUTO_FREE char *ctl = fb_format("%s/ctl", dir);
	FB_AUTO_FREE char *yaml = fb_format("id: %s\n%s%s"
	    "volumes:\n"
	    "  - {name: root, kind: disk, path: disk.img}\n"
	    "  - {name: data, kind: tree, path: data}\n",
	    id,
	    script != NULL
	        ? "start: [./ctl, start]\nstop: [./ctl, stop]\n"
	          "status: [./ctl, status]\n"
	        : "",
	    more);
	FB_AUTO_FREE char *body =
	    fb_format("#!/bin/sh\n%s", script != NULL ? script : "");

	put_dir(lab->root, id);
	put_dir(dir, "data");
	put_text(dir, "data/file", "content");
	put_text(dir, "disk.img", "0123456789");
	put_text(dir, "ctl", body);
	assert_int_equal(chmod(ctl, 0755), 0);
	put_text(dir, "machine.yaml", yaml);
}

#define SIMPLE                                                    \
	"case $1 in start) echo >up;; stop) rm -f up;; "          \
	"status) [ -f up ] || exit 3;; esac"

static struct fb_machine *
look(struct lab *lab, const char *id)
{
	struct fb_machine *machine;

	fb_fleet_release(&lab->fleet);
	lab->fleet = (struct fb_fleet){ 0 };
	assert_ok(fb_driver_discover(lab->driver, &lab->fleet, &err));
	fb_fleet_settle(&lab->fleet);
	machine = fb_fleet_find(&lab->fleet, "lab", id);
	assert_non_null(machine);
	return machine;
}

static struct fb_verb
verb(const char *token)
{
	return (struct fb_verb){ .token = token, .timeout_ms = 20000,
		.lock_fd = -1 };
}

/* ------------------------------------------------------------ discovery */

static void
a_root_that_is_missing_is_unreachable(void **state)
{
	AUTO_LAB struct lab *lab = open_lab();

	(void)state;
	assert_int_equal(rmdir(lab->root), 0);
	assert_fails(FB_EUNREACH, fb_driver_probe(lab->driver, &err));
	assert_string_equal(err.id, "E-SRC-UNREACHABLE");
	assert_fails(FB_EUNREACH,
	    fb_driver_discover(lab->driver, &lab->fleet, &err));
	assert_int_equal(mkdir(lab->root, 0700), 0);
}

static void
only_directories_with_a_machine_yaml_are_machines(void **state)
{
	AUTO_LAB struct lab *lab = open_lab();
	FB_AUTO_FREE char *link = fb_format("%s/link", lab->root);

	(void)state;
	put_machine(lab, "m1", SIMPLE, "");
	put_dir(lab->root, "plain");
	put_dir(lab->root, ".hidden");
	put_text(lab->root, ".hidden/machine.yaml", "id: hidden\n");
	put_text(lab->root, "file", "");
	assert_int_equal(symlink("m1", link), 0);
	assert_null(look(lab, "m1")->problem);
	assert_int_equal(lab->fleet.count, 1);
}

static void
a_malformed_machine_yaml_fails_its_machine_alone(void **state)
{
	AUTO_LAB struct lab *lab = open_lab();
	struct fb_machine *machine;

	(void)state;
	put_machine(lab, "good", SIMPLE, "");
	put_dir(lab->root, "bad");
	put_text(lab->root, "bad/machine.yaml", "id: [\n");
	put_dir(lab->root, "odd name\n");
	put_text(lab->root, "odd name\n/machine.yaml", "colour: red\n");
	machine = look(lab, "bad");
	assert_int_equal(machine->problem->code, FB_ECONFIG);
	assert_non_null(strstr(machine->problem->msg, "bad/machine.yaml:"));
	assert_int_equal(
	    look(lab, "odd_name_")->problem->code, FB_ECONFIG);
	assert_null(look(lab, "good")->problem);
}

static void
a_missing_volume_is_its_machines_problem(void **state)
{
	AUTO_LAB struct lab *lab = open_lab();
	FB_AUTO_FREE char *disk = fb_format("%s/m1/disk.img", lab->root);
	struct fb_machine *machine;

	(void)state;
	put_machine(lab, "m1", SIMPLE, "");
	assert_int_equal(unlink(disk), 0);
	machine = look(lab, "m1");
	assert_int_equal(machine->problem->code, FB_ENOTFOUND);
	assert_non_null(strstr(machine->problem->msg, "volume 'root'"));
	assert_int_equal(mkfifo(disk, 0600), 0); /* and does not hang */
	assert_int_equal(look(lab, "m1")->problem->code, FB_ECONFIG);
}

static void
labels_are_merged_and_the_machines_own_win(void **state)
{
	AUTO_LAB struct lab *lab = open_lab();
	struct fb_machine *machine;

	(void)state;
	put_machine(lab, "m1", SIMPLE, "labels: {env: prod, tier: web}\n");
	machine = look(lab, "m1");
	assert_int_equal(machine->labels.count, 3);
	assert_string_equal(fb_labels_get(&machine->labels, "env"), "prod");
	assert_string_equal(fb_labels_get(&machine->labels, "site"), "a");
	assert_string_equal(fb_labels_get(&machine->labels, "tier"), "web");
}

static void
the_description_is_what_machine_yaml_means(void **state)
{
	AUTO_LAB struct lab *lab = open_lab();
	struct fb_digest first;

	(void)state;
	put_machine(lab, "m1", SIMPLE, "");
	first = look(lab, "m1")->description;
	{
		FB_AUTO_FREE char *path =
		    fb_format("%s/m1/machine.yaml", lab->root);
		FB_AUTO_BUF struct fb_buf text = { 0 };

		assert_ok(fb_io_read_file(path, 65536, &text, &err));
		fb_buf_add_str(&text, "# a comment\n");
		put_file(lab->root, "m1/machine.yaml", text.data, text.len);
		assert_int_equal(fb_digest_cmp(&first,
		                     &look(lab, "m1")->description),
		    0);
		fb_buf_add_str(&text, "role: web\n");
		put_file(lab->root, "m1/machine.yaml", text.data, text.len);
		assert_int_not_equal(fb_digest_cmp(&first,
		                         &look(lab, "m1")->description),
		    0);
	}
}

static void
a_machine_without_commands_is_read_live(void **state)
{
	AUTO_LAB struct lab *lab = open_lab();
	FB_AUTO_ARTIFACT struct fb_artifact *artifact = NULL;
	struct fb_machine *machine;
	struct fb_verb v = verb("t1");
	struct fb_volume disk = { .name = (char[]){ "root" },
		.kind = FB_VOLUME_DISK };

	(void)state;
	put_machine(lab, "m1", NULL, "");
	machine = look(lab, "m1");
	assert_null(machine->problem);
	assert_int_equal(machine->power, FB_POWER_UNKNOWN);
	assert_int_equal(machine->lifecycle, FB_LIFECYCLE_SNAPSHOT_LIVE);
	assert_fails(
	    FB_EUNSUP, fb_driver_stop(lab->driver, machine, &v, &err));
	assert_ok(fb_driver_open_volume(
	    lab->driver, machine, &disk, NULL, &artifact, &err));
	assert_false(artifact->ops->changed(artifact));
	put_text(lab->root, "m1/disk.img", "changed, and longer");
	assert_true(artifact->ops->changed(artifact));
}

static void
many_machines_are_asked_at_once(void **state)
{
	AUTO_LAB struct lab *lab = open_lab();

	(void)state;
	for (int i = 0; i < 20; i++) {
		FB_AUTO_FREE char *id = fb_format("m%d", i);

		put_machine(lab, id, i % 2 ? SIMPLE : "exit 0", "");
	}
	for (int i = 0; i < 20; i += 7) {
		FB_AUTO_FREE char *id = fb_format("m%d", i);

		assert_int_equal(look(lab, id)->power,
		    i % 2 ? FB_POWER_DOWN : FB_POWER_UP);
	}
	assert_int_equal(lab->fleet.count, 20);
}

/* ---------------------------------------------------------------- power */

static void
an_unknown_power_state_is_a_problem_and_an_answer(void **state)
{
	AUTO_LAB struct lab *lab = open_lab();
	struct fb_machine *machine;
	struct fb_verb v = verb("");
	enum fb_power power = FB_POWER_UP;

	(void)state;
	put_machine(lab, "m1", "echo what\\?; exit 7", "");
	machine = look(lab, "m1");
	assert_int_equal(machine->problem->code, FB_ECONFLICT);
	assert_string_equal(machine->problem->id, "E-POWER-UNKNOWN");
	assert_non_null(strstr(machine->problem->msg, "exit code 7"));
	assert_non_null(strstr(machine->problem->msg, "what?"));
	assert_ok(fb_driver_power_get(
	    lab->driver, machine, &v, &power, &err));
	assert_int_equal(power, FB_POWER_UNKNOWN);
}

static void
a_status_that_is_not_there_is_unknown(void **state)
{
	AUTO_LAB struct lab *lab = open_lab();
	FB_AUTO_FREE char *ctl = fb_format("%s/m1/ctl", lab->root);

	(void)state;
	put_machine(lab, "m1", SIMPLE, "");
	assert_int_equal(unlink(ctl), 0);
	assert_string_equal(look(lab, "m1")->problem->id, "E-POWER-UNKNOWN");
}

static void
a_stop_that_fails_says_why(void **state)
{
	AUTO_LAB struct lab *lab = open_lab();
	struct fb_verb v = verb("t1");

	(void)state;
	put_machine(lab, "m1",
	    "case $1 in stop) echo one; echo out of luck >&2; exit 9;; esac",
	    "");
	assert_fails(FB_EFAILED,
	    fb_driver_stop(lab->driver, look(lab, "m1"), &v, &err));
	assert_string_equal(err.id, "E-COMMAND");
	assert_non_null(strstr(err.msg, "lab/m1: stop: "));
	assert_non_null(strstr(err.msg, "exit code 9"));
	assert_non_null(strstr(err.msg, "out of luck"));
}

static void
a_stop_that_fails_on_a_machine_that_is_down_after_all_is_done(void **state)
{
	AUTO_LAB struct lab *lab = open_lab();
	struct fb_verb v = verb("t1");

	(void)state;
	put_machine(lab, "m1",
	    "case $1 in stop) rm -f up; exit 9;; "
	    "status) [ -f up ] || exit 3;; esac",
	    "");
	put_text(lab->root, "m1/up", "");
	assert_ok(fb_driver_stop(lab->driver, look(lab, "m1"), &v, &err));
}

static void
a_stop_waits_until_status_says_down(void **state)
{
	AUTO_LAB struct lab *lab = open_lab();
	struct fb_verb v = verb("t1");

	(void)state;
	/* Down at the third question after the command has ended. */
	put_machine(lab, "m1",
	    "case $1 in stop) echo >stopping;; "
	    "status) [ -f stopping ] || exit 0; echo >>asked; "
	    "[ $(wc -l <asked) -lt 3 ] || exit 3;; esac",
	    "");
	assert_ok(fb_driver_stop(lab->driver, look(lab, "m1"), &v, &err));
}

static void
a_stop_that_hangs_is_ended_at_its_deadline(void **state)
{
	AUTO_LAB struct lab *lab = open_lab();
	struct fb_verb v = verb("t1");

	(void)state;
	put_machine(lab, "m1", "case $1 in stop) exec sleep 60;; esac",
	    "stop_timeout: 300ms\n");
	assert_fails(FB_ETIMEOUT,
	    fb_driver_stop(lab->driver, look(lab, "m1"), &v, &err));
	/* And one that ends, while its machine stays up. */
	put_text(lab->root, "m1/ctl", "#!/bin/sh\nexit 0\n");
	assert_fails(FB_ETIMEOUT,
	    fb_driver_stop(lab->driver, look(lab, "m1"), &v, &err));
}

static void
commands_know_machine_token_and_directory(void **state)
{
	AUTO_LAB struct lab *lab = open_lab();
	struct fb_verb v = verb("token-7");

	(void)state;
	put_machine(lab, "m1",
	    "case $1 in start) echo \"$FLEETBAK_MACHINE $FLEETBAK_TOKEN\" "
	    ">up;; status) [ -f up ] || exit 3;; esac",
	    "");
	assert_ok(fb_driver_start(lab->driver, look(lab, "m1"), &v, &err));
	assert_text(lab->root, "m1/up", "m1 token-7\n");
}

/* ------------------------------------------------------------ snapshots */

static void
half_a_snapshot_is_told_and_cleared_away(void **state)
{
	AUTO_LAB struct lab *lab = open_lab();
	struct fb_machine *machine;
	struct fb_verb v = verb("t1");

	(void)state;
	put_machine(lab, "m1", SIMPLE, "");
	machine = look(lab, "m1");
	put_dir(lab->root, "m1/.fleetbak");
	put_dir(lab->root, "m1/.fleetbak/m1");
	put_dir(lab->root, "m1/.fleetbak/m1/+t1");
	put_text(lab->root, "m1/.fleetbak/m1/+t1/root", "half");
	assert_fails(FB_EFAILED,
	    fb_driver_find_by_token(lab->driver, machine, "t1", &err));
	assert_ok(fb_driver_remove_snapshot(lab->driver, machine, &v, &err));
	assert_false(is_there(lab->root, "m1/.fleetbak"));
	put_dir(lab->root, "m1/.fleetbak");
	put_dir(lab->root, "m1/.fleetbak/m1");
	put_dir(lab->root, "m1/.fleetbak/m1/+t1");
	assert_ok(fb_driver_create_snapshot(lab->driver, machine, &v, &err));
	assert_ok(fb_driver_find_by_token(lab->driver, machine, "t1", &err));
	assert_false(is_there(lab->root, "m1/.fleetbak/m1/+t1"));
}

static void
our_own_directory_is_never_archived(void **state)
{
	AUTO_LAB struct lab *lab = open_lab();
	AUTO_CATCH struct catch c = { 0 };
	struct fb_sink sink = catch_sink(&c);
	FB_AUTO_ARTIFACT struct fb_artifact *artifact = NULL;
	struct fb_volume tree = { .name = (char[]){ "data" },
		.kind = FB_VOLUME_TREE };
	struct fb_machine *machine;

	(void)state;
	put_machine(lab, "m1", SIMPLE, "");
	put_dir(lab->root, "m1/data/.fleetbak");
	put_text(lab->root, "m1/data/.fleetbak/x", "");
	machine = look(lab, "m1");
	assert_ok(fb_driver_open_volume(
	    lab->driver, machine, &tree, NULL, &artifact, &err));
	assert_ok(artifact->ops->produce(artifact, &sink, &err));
	assert_null(strstr(fb_buf_str(&c.catalogue), "fleetbak"));
	assert_non_null(strstr(fb_buf_str(&c.catalogue), " file\n"));
}

static void
the_definition_holds_what_the_commands_name(void **state)
{
	AUTO_LAB struct lab *lab = open_lab();
	AUTO_CATCH struct catch c = { 0 };
	struct fb_sink sink = catch_sink(&c);
	FB_AUTO_ARTIFACT struct fb_artifact *artifact = NULL;
	struct fb_volume definition = { .name = (char[]){ "definition" },
		.kind = FB_VOLUME_DEFINITION };
	struct fb_machine *machine;
	struct fb_verb v = verb("t1");

	(void)state;
	put_machine(lab, "m1", SIMPLE, "");
	machine = look(lab, "m1");
	assert_ok(fb_driver_create_snapshot(lab->driver, machine, &v, &err));
	put_text(lab->root, "m1/ctl", "#!/bin/sh\nchanged later\n");
	assert_ok(fb_driver_open_volume(
	    lab->driver, machine, &definition, "t1", &artifact, &err));
	assert_ok(artifact->ops->produce(artifact, &sink, &err));
	assert_non_null(strstr(fb_buf_str(&c.catalogue), " ctl\n"));
	assert_non_null(strstr(fb_buf_str(&c.catalogue), " machine.yaml\n"));
	assert_null(strstr(fb_buf_str(&c.catalogue), "disk.img"));
	assert_null(memmem(c.bytes.data, c.bytes.len, "changed later", 13));
}

/* -------------------------------------------------------------- restore */

static struct fb_restore_request
request_for(const struct lab *lab, enum fb_restore_mode mode, const char *id)
{
	return (struct fb_restore_request){ .mode = mode,
		.machine = &lab->fleet.machines[0],
		.new_id = id,
		.all_volumes = true };
}

static const char *
problem_of(struct lab *lab, const struct fb_restore_request *request,
    const char *volume)
{
	static char problem[200];
	struct fb_restore_plan plan;

	problem[0] = '\0';
	assert_ok(fb_driver_restore_check(
	    lab->driver, &lab->fleet, request, &plan, &err));
	for (size_t i = 0; i < plan.volume_count; i++)
		if (strcmp(plan.volumes[i].volume, volume) == 0 &&
		    plan.volumes[i].problem != NULL)
			(void)snprintf(problem, sizeof(problem), "%s",
			    plan.volumes[i].problem);
	fb_restore_plan_release(&plan);
	return problem;
}

static void
a_taken_directory_is_no_place_for_a_new_machine(void **state)
{
	AUTO_LAB struct lab *lab = open_lab();
	FB_AUTO_FREE char *definition = NULL;
	struct fb_restore_plan plan;
	struct fb_restore_request request;
	struct fb_verb v = verb("r1");

	(void)state;
	put_machine(lab, "m1", SIMPLE, "");
	(void)look(lab, "m1");
	put_dir(lab->root, "m2");
	put_text(lab->root, "m2/precious", "x");
	definition = fb_format("%s/m1", lab->root);
	request = request_for(lab, FB_RESTORE_AS_NEW, "m2");
	request.definition_dir = definition;
	assert_fails(FB_EREFUSED,
	    fb_driver_restore_check(
	        lab->driver, &lab->fleet, &request, &plan, &err));
	assert_string_equal(err.id, "E-RST-EXISTS");
	assert_fails(FB_EREFUSED,
	    fb_driver_restore_begin(lab->driver, &request, &v, &err));
	assert_text(lab->root, "m2/precious", "x");
}

static void
a_new_machine_does_not_share_a_volume_with_the_old_one(void **state)
{
	AUTO_LAB struct lab *lab = open_lab();
	AUTO_DIR char *elsewhere = new_dir();
	FB_AUTO_FREE char *definition = fb_format("%s/m1", lab->root);
	FB_AUTO_FREE char *yaml = fb_format(
	    "id: m1\nvolumes:\n"
	    "  - {name: root, kind: disk, path: %s/disk.img}\n",
	    elsewhere);
	struct fb_restore_request request;
	struct fb_verb v = verb("r1");
	struct fb_target *target;

	(void)state;
	put_machine(lab, "m1", SIMPLE, "");
	put_text(elsewhere, "disk.img", "precious");
	put_text(lab->root, "m1/machine.yaml", yaml);
	assert_null(look(lab, "m1")->problem);
	request = request_for(lab, FB_RESTORE_AS_NEW, "m2");
	request.definition_dir = definition;
	assert_non_null(strstr(problem_of(lab, &request, "root"), "collide"));
	assert_fails(FB_EUNSUP,
	    fb_driver_restore_open(lab->driver, &request,
	        &lab->fleet.machines[0].volumes[1], &v, &target, &err));
	/* In place it is the machine's own. */
	request = request_for(lab, FB_RESTORE_IN_PLACE, "m1");
	request.definition_dir = definition;
	assert_string_equal(problem_of(lab, &request, "root"), "");
	assert_text(elsewhere, "disk.img", "precious");
}

static void
a_machine_that_is_gone_needs_its_definition(void **state)
{
	AUTO_LAB struct lab *lab = open_lab();
	AUTO_DIR char *definition = new_dir();
	FB_AUTO_FREE char *dir = fb_format("%s/m1", lab->root);
	FB_AUTO_FREE char *kept = fb_format("%s/kept", definition);
	struct fb_restore_request request;
	struct fb_restore_plan plan;
	struct fb_verb v = verb("r1");

	(void)state;
	put_machine(lab, "m1", SIMPLE, "");
	(void)look(lab, "m1");
	assert_int_equal(rename(dir, kept), 0);
	request = request_for(lab, FB_RESTORE_IN_PLACE, "m1");
	assert_fails(FB_EUNSUP,
	    fb_driver_restore_check(
	        lab->driver, &lab->fleet, &request, &plan, &err));
	assert_string_equal(err.id, "E-RST-DEFINITION");

	request.definition_dir = kept;
	assert_string_equal(problem_of(lab, &request, "root"), "");
	assert_false(is_there(lab->root, ".fleetbak-new"));
	assert_ok(fb_driver_restore_begin(lab->driver, &request, &v, &err));
	assert_false(is_there(lab->root, "m1"));
	assert_ok(fb_driver_restore_finish(lab->driver, &request, &v, &err));
	assert_true(is_there(lab->root, "m1/machine.yaml"));
	assert_true(is_there(lab->root, "m1/ctl"));
	assert_false(is_there(lab->root, ".fleetbak-new"));
}

static void
a_machine_that_lost_its_machine_yaml_gets_it_back(void **state)
{
	AUTO_LAB struct lab *lab = open_lab();
	AUTO_DIR char *definition = new_dir();
	FB_AUTO_FREE char *yaml = fb_format("%s/m1/machine.yaml", lab->root);
	FB_AUTO_FREE char *kept = fb_format("%s/machine.yaml", definition);
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_restore_request request;
	struct fb_verb v = verb("r1");

	(void)state;
	put_machine(lab, "m1", SIMPLE, "");
	(void)look(lab, "m1");
	assert_ok(fb_io_read_file(yaml, 65536, &text, &err));
	put_file(definition, "machine.yaml", text.data, text.len);
	put_text(lab->root, "m1/machine.yaml", "garbage: [");
	request = request_for(lab, FB_RESTORE_IN_PLACE, "m1");
	request.definition_dir = definition;
	assert_string_equal(problem_of(lab, &request, "root"), "");
	assert_ok(fb_driver_restore_begin(lab->driver, &request, &v, &err));
	assert_ok(fb_driver_restore_finish(lab->driver, &request, &v, &err));
	assert_null(look(lab, "m1")->problem);
	assert_text(lab->root, "m1/disk.img", "0123456789");
}

static void
what_is_of_another_kind_is_said_before(void **state)
{
	AUTO_LAB struct lab *lab = open_lab();
	FB_AUTO_FREE char *data = fb_format("%s/m1/data", lab->root);
	FB_AUTO_FREE char *definition = fb_format("%s/m1", lab->root);
	struct fb_restore_request request;

	(void)state;
	put_machine(lab, "m1", SIMPLE, "");
	(void)look(lab, "m1");
	assert_ok(fb_io_remove_tree(data, &err));
	put_text(lab->root, "m1/data", "a file now");
	request = request_for(lab, FB_RESTORE_IN_PLACE, "m1");
	request.definition_dir = definition;
	assert_non_null(
	    strstr(problem_of(lab, &request, "data"), "directory"));
}

/* ----------------------------------------------------------------- disks */

static void
a_target_fits_and_keeps_its_holes(void **state)
{
	AUTO_DIR char *dir = new_dir();
	FB_AUTO_FREE char *path = fb_format("%s/disk", dir);
	FB_AUTO_TARGET struct fb_target *fresh = NULL;
	FB_AUTO_TARGET struct fb_target *again = NULL;
	struct fb_target *taken = NULL;
	uint64_t start, end;
	struct stat st;

	(void)state;
	assert_ok(fb_target_open_file(path, 8 << 20, true, &fresh, &err));
	assert_true(fresh->fresh);
	assert_ok(fresh->ops->write(fresh, 4 << 20, "x", 1, &err));
	assert_ok(fresh->ops->sync(fresh, &err));
	assert_ok(fresh->ops->extent(fresh, 0, &start, &end, &err));
	assert_true(start <= 4 << 20 && start > 0 && end < 8 << 20);
	assert_fails(FB_EEXISTS,
	    fb_target_open_file(path, 8 << 20, true, &taken, &err));
	assert_null(taken);

	assert_ok(fb_target_open_file(path, 6 << 20, false, &again, &err));
	assert_false(again->fresh);
	assert_ok(again->ops->zero(again, 4 << 20, 65536, &err));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 6 << 20);
	assert_int_equal(st.st_blocks, 0);
	assert_fails(FB_EBUG,
	    again->ops->write(again, (6 << 20) - 1, "xy", 2, &err));
	assert_ok(again->ops->extent(again, 0, &start, &end, &err));
	assert_int_equal(start, 6 << 20);
	assert_int_equal(end, 6 << 20);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_root_that_is_missing_is_unreachable),
		cmocka_unit_test(
		    only_directories_with_a_machine_yaml_are_machines),
		cmocka_unit_test(
		    a_malformed_machine_yaml_fails_its_machine_alone),
		cmocka_unit_test(a_missing_volume_is_its_machines_problem),
		cmocka_unit_test(labels_are_merged_and_the_machines_own_win),
		cmocka_unit_test(the_description_is_what_machine_yaml_means),
		cmocka_unit_test(a_machine_without_commands_is_read_live),
		cmocka_unit_test(many_machines_are_asked_at_once),
		cmocka_unit_test(
		    an_unknown_power_state_is_a_problem_and_an_answer),
		cmocka_unit_test(a_status_that_is_not_there_is_unknown),
		cmocka_unit_test(a_stop_that_fails_says_why),
		cmocka_unit_test(
		    a_stop_that_fails_on_a_machine_that_is_down_after_all_is_done),
		cmocka_unit_test(a_stop_waits_until_status_says_down),
		cmocka_unit_test(a_stop_that_hangs_is_ended_at_its_deadline),
		cmocka_unit_test(commands_know_machine_token_and_directory),
		cmocka_unit_test(half_a_snapshot_is_told_and_cleared_away),
		cmocka_unit_test(our_own_directory_is_never_archived),
		cmocka_unit_test(the_definition_holds_what_the_commands_name),
		cmocka_unit_test(
		    a_taken_directory_is_no_place_for_a_new_machine),
		cmocka_unit_test(
		    a_new_machine_does_not_share_a_volume_with_the_old_one),
		cmocka_unit_test(a_machine_that_is_gone_needs_its_definition),
		cmocka_unit_test(
		    a_machine_that_lost_its_machine_yaml_gets_it_back),
		cmocka_unit_test(what_is_of_another_kind_is_said_before),
		cmocka_unit_test(a_target_fits_and_keeps_its_holes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

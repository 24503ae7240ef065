/*
 * What every driver promises.  A driver takes part by a harness, which makes
 * a source with one machine that is up; nothing else here knows drivers.
 */
#include <linux/btrfs.h>
#include <sys/ioctl.h>

#include "fleetbak/driver/driver.h"
#include "tree_tools.h"

static struct fb_error err;

/* The machine "m1" has a tree "data" with the file "file" in it and more,
 * and a disk "root" of at least 64 KiB. */
struct harness {
	const char *name;
	/* Make a source and say how it is configured. */
	void *(*setup)(struct fb_config_source *source);
	/* Change the machine's volumes from outside: other bytes at the start
	 * of the disk, other content of "file", a file "extra". */
	void (*meddle)(void *harness);
	void (*teardown)(void *harness, struct fb_config_source *source);
};

/* ---------------------------------------------------------------- local */

static const char ctl[] =
    "#!/bin/sh\n"
    "case $1 in\n"
    "start) echo >up ;;\n"
    "stop) rm -f up ;;\n"
    "status) [ -f up ] || exit 3 ;;\n"
    "esac\n";

static const char yaml[] =
    "# a machine\n"
    "id: m1\n"
    "role: web\n"
    "labels: {env: test}\n"
    "start: [./ctl, start]\n"
    "stop: [./ctl, stop]\n"
    "status: [./ctl, status]\n"
    "stop_timeout: 10s\n"
    "start_timeout: 10s\n"
    "volumes:\n"
    "  - {name: root, kind: disk, path: disk.img}\n"
    "  - {name: data, kind: tree, path: data, exclude: [\"*.tmp\"]}\n"
    "  - {name: cd, kind: cdrom, path: cd.iso}\n";

static void
put_disk(const char *dir, char byte)
{
	FB_AUTO_FREE char *bytes = fb_alloc(256 * 1024, 1);

	memset(bytes, byte, 4096);
	memset(bytes + 128 * 1024, 'd', 8192);
	put_file(dir, "m1/disk.img", bytes, 256 * 1024);
}

/* A subvolume where the file system has such (TMPDIR on btrfs). */
static void
put_subvolume(const char *dir, const char *name)
{
	FB_AUTO_CLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY);
	struct btrfs_ioctl_vol_args args = { .fd = 0 };

	assert_true(fd >= 0);
	memcpy(args.name, name, strlen(name));
	if (ioctl(fd, BTRFS_IOC_SUBVOL_CREATE, &args) == -1)
		put_dir(dir, name);
}

/* Does nothing where it is none. */
static void
drop_subvolume(const char *dir, const char *name)
{
	FB_AUTO_CLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY);
	struct btrfs_ioctl_vol_args args = { .fd = 0 };

	memcpy(args.name, name, strlen(name));
	(void)ioctl(fd, BTRFS_IOC_SNAP_DESTROY, &args);
}

static void *
local_setup(struct fb_config_source *source)
{
	char *root = new_dir();
	FB_AUTO_FREE char *script = fb_format("%s/m1/ctl", root);
	FB_AUTO_FREE char *machine = fb_format("%s/m1", root);

	put_dir(root, "m1");
	put_subvolume(machine, "data");
	put_dir(root, "m1/data/sub");
	put_text(root, "m1/machine.yaml", yaml);
	put_text(root, "m1/ctl", ctl);
	assert_int_equal(chmod(script, 0755), 0);
	put_text(root, "m1/up", "");
	put_disk(root, 'a');
	put_text(root, "m1/data/file", "before");
	put_text(root, "m1/data/sub/other", "stays");
	put_text(root, "m1/data/x.tmp", "never archived");
	*source = (struct fb_config_source){ .name = fb_strdup("lab"),
		.driver = fb_strdup("local"),
		.options = json_pack("{s:s}", "root", root) };
	return root;
}

static void
local_meddle(void *harness)
{
	const char *root = harness;

	put_disk(root, 'z');
	put_text(root, "m1/data/file", "AFTER!");
	put_text(root, "m1/data/extra", "extra");
}

static void
local_teardown(void *harness, struct fb_config_source *source)
{
	char *root = harness;
	FB_AUTO_FREE char *machine = fb_format("%s/m1", root);

	drop_subvolume(machine, "data");
	free(source->name);
	free(source->driver);
	json_decref(source->options);
	drop_dir(&root);
}

/* --------------------------------------------------------------- plugin */

/* The same directories, by tests/servers/plugin_dir.py. */
static void *
plugin_setup(struct fb_config_source *source)
{
	char *root = new_dir();

	put_dir(root, "m1");
	put_dir(root, "m1/data");
	put_dir(root, "m1/data/sub");
	put_text(root, "m1/up", "");
	put_disk(root, 'a');
	put_text(root, "m1/data/file", "before");
	put_text(root, "m1/data/sub/other", "stays");
	*source = (struct fb_config_source){ .name = fb_strdup("lab"),
		.driver = fb_strdup("plugin"),
		.base_dir = realpath("tests/servers", NULL),
		.options = json_pack("{s:[s],s:{s:s}}", "command",
		    "./plugin_dir.py", "options", "root", root) };
	assert_non_null(source->base_dir);
	return root;
}

static void
plugin_teardown(void *harness, struct fb_config_source *source)
{
	free(source->base_dir);
	local_teardown(harness, source);
}

static const struct harness harnesses[] = {
	{ "local", local_setup, local_meddle, local_teardown },
	{ "plugin", plugin_setup, local_meddle, plugin_teardown },
};

/* ---------------------------------------------------------------- stage */

struct stage {
	const struct harness *harness;
	void *state;
	struct fb_config_source source;
	struct fb_driver *driver;
	struct fb_fleet fleet;
	struct fb_machine *machine;
};

static void
look(struct stage *s)
{
	fb_fleet_release(&s->fleet);
	s->fleet = (struct fb_fleet){ 0 };
	assert_ok(fb_driver_discover(s->driver, &s->fleet, &err));
	fb_fleet_settle(&s->fleet);
	s->machine = fb_fleet_find(&s->fleet, "lab", "m1");
	assert_non_null(s->machine);
	assert_null(s->machine->problem);
}

static int
open_stage(void **state)
{
	const struct harness *harness = *state;
	struct stage *s = fb_alloc(1, sizeof(*s));

	s->harness = harness;
	s->state = harness->setup(&s->source);
	assert_ok(fb_driver_open(&s->source, &s->driver, &err));
	look(s);
	*state = s;
	return 0;
}

static int
close_stage(void **state)
{
	struct stage *s = *state;

	fb_fleet_release(&s->fleet);
	fb_driver_close(s->driver);
	s->harness->teardown(s->state, &s->source);
	free(s);
	return 0;
}

static struct fb_verb
verb(const char *token)
{
	return (struct fb_verb){ .token = token, .timeout_ms = 20000,
		.for_backup = true, .for_export = true,
		.lock_fd = -1 };
}

static const struct fb_volume *
volume(const struct stage *s, const char *name)
{
	for (size_t i = 0; i < s->machine->volume_count; i++)
		if (strcmp(s->machine->volumes[i].name, name) == 0)
			return &s->machine->volumes[i];
	fail_msg("no volume %s", name);
	return NULL;
}

static enum fb_power
power(const struct stage *s)
{
	struct fb_verb v = verb("");
	enum fb_power power;

	assert_ok(fb_driver_power_get(
	    s->driver, s->machine, &v, &power, &err));
	return power;
}

/* All bytes of a volume; of a tree its archive. */
static void
read_volume(const struct stage *s, const struct fb_volume *v,
    const char *token, struct catch *c)
{
	FB_AUTO_ARTIFACT struct fb_artifact *artifact = NULL;
	struct fb_sink sink = catch_sink(c);
	uint64_t at = 0, start, end;

	assert_ok(fb_driver_open_volume(s->driver, s->machine, v,
	    v->read_stopped ? NULL : token, &artifact, &err));
	if (v->kind != FB_VOLUME_DISK) {
		assert_ok(artifact->ops->produce(artifact, &sink, &err));
		return;
	}
	assert_int_equal(artifact->size, v->size);
	memset(fb_buf_reserve(&c->bytes, artifact->size), 0, artifact->size);
	c->bytes.len = artifact->size;
	while (at < artifact->size) {
		assert_ok(artifact->ops->extent(
		    artifact, at, &start, &end, &err));
		assert_true(start >= at && end >= start);
		assert_true(end <= artifact->size);
		assert_ok(artifact->ops->read(artifact, start,
		    c->bytes.data + start, end - start, &err));
		at = end;
	}
}

/* ---------------------------------------------------------------- tests */

static void
a_source_can_be_probed(void **state)
{
	struct stage *s = *state;

	assert_ok(fb_driver_probe(s->driver, &err));
}

static void
discovery_tells_the_same_twice(void **state)
{
	struct stage *s = *state;
	struct fb_digest first = s->machine->description;

	assert_int_equal(s->machine->power, FB_POWER_UP);
	assert_string_equal(s->machine->source, "lab");
	assert_int_equal(
	    volume(s, "definition")->kind, FB_VOLUME_DEFINITION);
	assert_int_equal(volume(s, "root")->kind, FB_VOLUME_DISK);
	assert_int_equal(volume(s, "data")->kind, FB_VOLUME_TREE);
	look(s);
	assert_int_equal(
	    fb_digest_cmp(&first, &s->machine->description), 0);
}

static void
each_volume_says_how_it_is_captured(void **state)
{
	struct stage *s = *state;

	for (size_t i = 0; i < s->machine->volume_count; i++) {
		const struct fb_volume *v = &s->machine->volumes[i];

		assert_non_null(v->method);
		if (!fb_volume_captured(v->kind))
			assert_string_equal(v->method, "none");
		if (v->read_stopped)
			assert_int_equal(s->machine->lifecycle,
			    FB_LIFECYCLE_STOP_COPY_START);
	}
}

static void
power_goes_down_and_up_and_twice_is_once(void **state)
{
	struct stage *s = *state;
	struct fb_verb v = verb("t1");

	for (int i = 0; i < 2; i++) {
		assert_ok(fb_driver_stop(s->driver, s->machine, &v, &err));
		assert_int_equal(power(s), FB_POWER_DOWN);
	}
	for (int i = 0; i < 2; i++) {
		assert_ok(fb_driver_start(s->driver, s->machine, &v, &err));
		assert_int_equal(power(s), FB_POWER_UP);
	}
}

static void
an_effect_without_a_token_is_refused(void **state)
{
	struct stage *s = *state;
	static const char *const bad[] = { "", "..", "a/b", "+x", "-x" };

	for (size_t i = 0; i < FB_COUNT(bad); i++) {
		struct fb_verb v = verb(bad[i]);

		assert_fails(FB_ECONFIG,
		    fb_driver_stop(s->driver, s->machine, &v, &err));
		assert_fails(FB_ECONFIG,
		    fb_driver_create_snapshot(
		        s->driver, s->machine, &v, &err));
		assert_fails(FB_ECONFIG,
		    fb_driver_remove_snapshot(
		        s->driver, s->machine, &v, &err));
	}
	assert_int_equal(power(s), FB_POWER_UP);
}

static void
a_machine_that_is_not_there_is_not_found(void **state)
{
	struct stage *s = *state;
	struct fb_machine ghost = *s->machine;
	struct fb_verb v = verb("t1");
	enum fb_power p;

	ghost.id = (char[]){ "ghost" };
	assert_fails(FB_ENOTFOUND,
	    fb_driver_power_get(s->driver, &ghost, &v, &p, &err));
	assert_fails(
	    FB_ENOTFOUND, fb_driver_stop(s->driver, &ghost, &v, &err));
	assert_fails(FB_ENOTFOUND,
	    fb_driver_create_snapshot(s->driver, &ghost, &v, &err));
	assert_ok(fb_driver_remove_snapshot(s->driver, &ghost, &v, &err));
}

static int
note_token(void *arg_machine, const char *token, void *arg,
    struct fb_error *error)
{
	(void)error;
	fb_buf_add_fmt(arg, "%s/%s\n", (const char *)arg_machine, token);
	return FB_OK;
}

static int
visit_token(const char *machine, const char *token, void *arg,
    struct fb_error *error)
{
	return note_token((void *)machine, token, arg, error);
}

static void
a_snapshot_is_found_by_its_token_until_removed(void **state)
{
	struct stage *s = *state;
	struct fb_verb v = verb("20261121-013205123-3fa92c17.1");
	FB_AUTO_BUF struct fb_buf list = { 0 };

	assert_fails(FB_ENOTFOUND,
	    fb_driver_find_by_token(s->driver, s->machine, v.token, &err));
	for (int i = 0; i < 2; i++) {
		assert_ok(fb_driver_create_snapshot(
		    s->driver, s->machine, &v, &err));
		assert_ok(fb_driver_find_by_token(
		    s->driver, s->machine, v.token, &err));
	}
	assert_fails(FB_ENOTFOUND,
	    fb_driver_find_by_token(s->driver, s->machine, "other", &err));
	assert_ok(fb_driver_list_snapshots(
	    s->driver, visit_token, &list, &err));
	assert_non_null(strstr(fb_buf_str(&list),
	    "m1/20261121-013205123-3fa92c17.1\n"));
	for (int i = 0; i < 2; i++) {
		assert_ok(fb_driver_remove_snapshot(
		    s->driver, s->machine, &v, &err));
		assert_fails(FB_ENOTFOUND,
		    fb_driver_find_by_token(
		        s->driver, s->machine, v.token, &err));
	}
	fb_buf_clear(&list);
	assert_ok(fb_driver_list_snapshots(
	    s->driver, visit_token, &list, &err));
	assert_int_equal(list.len, 0);
}

static void
two_snapshots_do_not_touch_each_other(void **state)
{
	struct stage *s = *state;
	struct fb_verb a = verb("a"), b = verb("b");

	assert_ok(fb_driver_create_snapshot(s->driver, s->machine, &a, &err));
	assert_ok(fb_driver_create_snapshot(s->driver, s->machine, &b, &err));
	assert_ok(fb_driver_remove_snapshot(s->driver, s->machine, &a, &err));
	assert_ok(fb_driver_find_by_token(s->driver, s->machine, "b", &err));
	assert_ok(fb_driver_remove_snapshot(s->driver, s->machine, &b, &err));
}

static void
a_volume_reads_the_same_twice(void **state)
{
	struct stage *s = *state;
	struct fb_verb v = verb("t1");

	assert_ok(fb_driver_stop(s->driver, s->machine, &v, &err));
	assert_ok(fb_driver_create_snapshot(s->driver, s->machine, &v, &err));
	for (size_t i = 0; i < s->machine->volume_count; i++) {
		AUTO_CATCH struct catch a = { 0 }, b = { 0 };
		const struct fb_volume *vol = &s->machine->volumes[i];

		if (!fb_volume_captured(vol->kind))
			continue;
		read_volume(s, vol, "t1", &a);
		read_volume(s, vol, "t1", &b);
		assert_true(a.bytes.len > 0);
		assert_int_equal(a.bytes.len, b.bytes.len);
		assert_memory_equal(
		    a.bytes.data, b.bytes.data, a.bytes.len);
		assert_string_equal(fb_buf_str(&a.warnings), "");
	}
	assert_ok(fb_driver_remove_snapshot(s->driver, s->machine, &v, &err));
}

static void
a_snapshot_does_not_follow_the_machine(void **state)
{
	struct stage *s = *state;
	struct fb_verb v = verb("t1");

	assert_ok(fb_driver_create_snapshot(s->driver, s->machine, &v, &err));
	for (size_t i = 0; i < s->machine->volume_count; i++) {
		AUTO_CATCH struct catch a = { 0 }, b = { 0 };
		const struct fb_volume *vol = &s->machine->volumes[i];

		if (!fb_volume_captured(vol->kind) || vol->read_stopped)
			continue;
		read_volume(s, vol, "t1", &a);
		s->harness->meddle(s->state);
		read_volume(s, vol, "t1", &b);
		assert_int_equal(a.bytes.len, b.bytes.len);
		assert_memory_equal(
		    a.bytes.data, b.bytes.data, a.bytes.len);
	}
	assert_ok(fb_driver_remove_snapshot(s->driver, s->machine, &v, &err));
}

static void
a_volume_that_is_not_captured_cannot_be_read(void **state)
{
	struct stage *s = *state;
	struct fb_artifact *artifact;
	struct fb_volume ghost = { .name = (char[]){ "ghost" },
		.kind = FB_VOLUME_DISK };

	assert_fails(FB_ENOTFOUND,
	    fb_driver_open_volume(
	        s->driver, s->machine, &ghost, NULL, &artifact, &err));
	assert_null(artifact);
}

/* -------------------------------------------------------------- restore */

#define VOLUMES 8

struct backup {
	struct catch volumes[VOLUMES];
	char *definition;
};

static void
release_backup(struct backup *b)
{
	for (size_t i = 0; i < VOLUMES; i++)
		catch_release(&b->volumes[i]);
	drop_dir(&b->definition);
}
#define AUTO_BACKUP FB_CLEANUP(release_backup)

/* Capture all of the machine, and leave it down. */
static void
back_up(struct stage *s, struct backup *b)
{
	struct fb_verb v = verb("t1");
	struct fb_tree_options options = { 0 };

	b->definition = new_dir();
	assert_true(s->machine->volume_count <= VOLUMES);
	assert_ok(fb_driver_stop(s->driver, s->machine, &v, &err));
	assert_ok(fb_driver_create_snapshot(s->driver, s->machine, &v, &err));
	for (size_t i = 0; i < s->machine->volume_count; i++) {
		const struct fb_volume *vol = &s->machine->volumes[i];

		if (!fb_volume_captured(vol->kind))
			continue;
		read_volume(s, vol, "t1", &b->volumes[i]);
		if (vol->kind == FB_VOLUME_DEFINITION)
			assert_ok(unpack(b->definition,
			    fb_buf_span(&b->volumes[i].bytes), &options, NULL,
			    &err));
	}
	assert_ok(fb_driver_remove_snapshot(s->driver, s->machine, &v, &err));
}

static void
write_volume(struct stage *s, const struct fb_restore_request *request,
    const struct fb_volume *vol, struct catch *c)
{
	FB_AUTO_TARGET struct fb_target *target = NULL;
	struct fb_verb v = verb("r1");
	struct feed feed = { fb_buf_span(&c->bytes), 65536 };
	struct fb_pull pull = { &feed, feed_next };

	assert_ok(fb_driver_restore_open(
	    s->driver, request, vol, &v, &target, &err));
	if (vol->kind == FB_VOLUME_DISK) {
		assert_int_equal(target->size, vol->size);
		assert_ok(target->ops->zero(target, 0, vol->size, &err));
		assert_ok(target->ops->write(
		    target, 0, c->bytes.data, c->bytes.len, &err));
	} else {
		assert_ok(target->ops->absorb(target, &pull, &err));
	}
	assert_ok(target->ops->sync(target, &err));
}

static void
assert_no_problem(struct stage *s, const struct fb_restore_request *request)
{
	struct fb_restore_plan plan;

	assert_ok(fb_driver_restore_check(
	    s->driver, &s->fleet, request, &plan, &err));
	for (size_t i = 0; i < plan.volume_count; i++) {
		assert_null(plan.volumes[i].problem);
		assert_non_null(plan.volumes[i].location);
	}
	assert_true(plan.space_bytes > 0);
	fb_restore_plan_release(&plan);
}

static void
restore(struct stage *s, const struct fb_restore_request *request,
    struct backup *b)
{
	struct fb_verb v = verb("r1");

	assert_no_problem(s, request);
	/* Twice: as after a crash. */
	for (int again = 0; again < 2; again++) {
		assert_ok(fb_driver_restore_begin(
		    s->driver, request, &v, &err));
		for (size_t i = 0; i < s->machine->volume_count; i++) {
			const struct fb_volume *vol = &s->machine->volumes[i];

			if (fb_volume_captured(vol->kind) &&
			    vol->kind != FB_VOLUME_DEFINITION)
				write_volume(
				    s, request, vol, &b->volumes[i]);
		}
	}
	assert_ok(fb_driver_restore_finish(s->driver, request, &v, &err));
	assert_ok(fb_driver_restore_finish(s->driver, request, &v, &err));
}

/* The machine `id` holds what was backed up. */
static void
assert_holds(struct stage *s, const char *id, struct backup *b)
{
	struct fb_fleet fleet = { 0 };
	struct fb_machine *old = s->machine, *machine;
	struct fb_verb v = verb("t2");

	assert_ok(fb_driver_discover(s->driver, &fleet, &err));
	fb_fleet_settle(&fleet);
	machine = fb_fleet_find(&fleet, "lab", id);
	assert_non_null(machine);
	assert_null(machine->problem);
	assert_int_equal(
	    fb_digest_cmp(&machine->description, &old->description), 0);
	s->machine = machine;
	assert_int_equal(power(s), FB_POWER_DOWN);
	assert_ok(fb_driver_create_snapshot(s->driver, machine, &v, &err));
	for (size_t i = 0; i < old->volume_count; i++) {
		AUTO_CATCH struct catch c = { 0 };
		const struct fb_volume *vol = &machine->volumes[i];

		if (!fb_volume_captured(vol->kind) ||
		    vol->kind == FB_VOLUME_DEFINITION)
			continue;
		read_volume(s, vol, "t2", &c);
		assert_int_equal(c.bytes.len, b->volumes[i].bytes.len);
		assert_memory_equal(
		    c.bytes.data, b->volumes[i].bytes.data, c.bytes.len);
	}
	assert_ok(fb_driver_remove_snapshot(s->driver, machine, &v, &err));
	assert_ok(fb_driver_start(s->driver, machine, &v, &err));
	assert_int_equal(power(s), FB_POWER_UP);
	s->machine = old;
	fb_fleet_release(&fleet);
}

static int
visit_path(void *arg, const char *path, struct fb_error *error)
{
	(void)error;
	fb_buf_add_fmt(arg, "%s\n", path);
	return FB_OK;
}

static void
a_machine_comes_back_in_place(void **state)
{
	struct stage *s = *state;
	AUTO_BACKUP struct backup b = { 0 };
	FB_AUTO_BUF struct fb_buf list = { 0 };
	struct fb_restore_request request = { .mode = FB_RESTORE_IN_PLACE,
		.machine = s->machine, .new_id = s->machine->id,
		.all_volumes = true };

	back_up(s, &b);
	request.definition_dir = b.definition;
	s->harness->meddle(s->state);
	assert_ok(fb_driver_restore_list(s->driver, &request,
	    volume(s, "data"), visit_path, &list, &err));
	assert_non_null(strstr(fb_buf_str(&list), "extra\n"));
	assert_null(strstr(fb_buf_str(&list), ".tmp"));
	restore(s, &request, &b);
	assert_holds(s, "m1", &b);
}

static void
a_machine_comes_back_as_a_new_one(void **state)
{
	struct stage *s = *state;
	AUTO_BACKUP struct backup b = { 0 };
	struct fb_restore_request request = { .mode = FB_RESTORE_AS_NEW,
		.machine = s->machine, .new_id = "m2", .all_volumes = true };
	struct fb_fleet fleet = { 0 };

	back_up(s, &b);
	request.definition_dir = b.definition;
	assert_no_problem(s, &request);
	restore(s, &request, &b);
	assert_holds(s, "m2", &b);
	assert_ok(fb_driver_discover(s->driver, &fleet, &err));
	assert_int_equal(fleet.count, 2);
	fb_fleet_release(&fleet);
}

static void
a_single_volume_comes_back_alone(void **state)
{
	struct stage *s = *state;
	AUTO_BACKUP struct backup b = { 0 };
	AUTO_CATCH struct catch c = { 0 };
	struct fb_restore_request request = { .mode = FB_RESTORE_IN_PLACE,
		.machine = s->machine, .new_id = s->machine->id };
	const struct fb_volume *vol = volume(s, "root");
	size_t index = (size_t)(vol - s->machine->volumes);
	struct fb_verb v = verb("r1");

	back_up(s, &b);
	request.definition_dir = b.definition;
	s->harness->meddle(s->state);
	assert_ok(fb_driver_restore_begin(s->driver, &request, &v, &err));
	write_volume(s, &request, vol, &b.volumes[index]);
	assert_ok(fb_driver_restore_finish(s->driver, &request, &v, &err));
	assert_ok(fb_driver_create_snapshot(s->driver, s->machine, &v, &err));
	read_volume(s, vol, "r1", &c);
	assert_memory_equal(c.bytes.data, b.volumes[index].bytes.data,
	    b.volumes[index].bytes.len);
	assert_ok(fb_driver_remove_snapshot(s->driver, s->machine, &v, &err));
}

static void
a_name_that_is_none_is_refused(void **state)
{
	struct stage *s = *state;
	struct fb_restore_plan plan;
	struct fb_verb v = verb("r1");
	struct fb_restore_request request = { .mode = FB_RESTORE_AS_NEW,
		.machine = s->machine, .new_id = "../m2",
		.all_volumes = true };

	assert_fails(FB_ECONFIG,
	    fb_driver_restore_check(
	        s->driver, &s->fleet, &request, &plan, &err));
	assert_fails(FB_ECONFIG,
	    fb_driver_restore_begin(s->driver, &request, &v, &err));
}

static int
run_suite(const struct harness *harness)
{
#define PROMISE(test)                                                     \
	{ #test, test, open_stage, close_stage, (void *)(uintptr_t)harness }
	const struct CMUnitTest tests[] = {
		PROMISE(a_source_can_be_probed),
		PROMISE(discovery_tells_the_same_twice),
		PROMISE(each_volume_says_how_it_is_captured),
		PROMISE(power_goes_down_and_up_and_twice_is_once),
		PROMISE(an_effect_without_a_token_is_refused),
		PROMISE(a_machine_that_is_not_there_is_not_found),
		PROMISE(a_snapshot_is_found_by_its_token_until_removed),
		PROMISE(two_snapshots_do_not_touch_each_other),
		PROMISE(a_volume_reads_the_same_twice),
		PROMISE(a_snapshot_does_not_follow_the_machine),
		PROMISE(a_volume_that_is_not_captured_cannot_be_read),
		PROMISE(a_machine_comes_back_in_place),
		PROMISE(a_machine_comes_back_as_a_new_one),
		PROMISE(a_single_volume_comes_back_alone),
		PROMISE(a_name_that_is_none_is_refused),
	};

	return cmocka_run_group_tests_name(harness->name, tests, NULL, NULL);
}

int
main(void)
{
	int failed = 0;

	for (size_t i = 0; i < FB_COUNT(harnesses); i++)
		failed += run_suite(&harnesses[i]);
	return failed;
}

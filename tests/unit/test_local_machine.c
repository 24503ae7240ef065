/* machine.yaml describes a machine wholly, or is refused. */
#include "test.h"

#include "fleetbak/format/config.h"

static struct fb_error err;

static int
parse(const char *text, struct fb_local_machine **ret)
{
	return fb_local_machine_parse(
	    (struct fb_span){ (const uint8_t *)text, strlen(text) }, "m.yaml",
	    ret, &err);
}

static void
refuses(const char *text, const char *id, const char *msg)
{
	struct fb_local_machine *machine = NULL;
	int rc = parse(text, &machine);

	if (rc == FB_OK)
		fb_local_machine_free(machine);
	assert_int_equal(rc, FB_ECONFIG);
	if (strstr(err.msg, msg) == NULL || strcmp(err.id, id) != 0)
		fail_msg("%s: %s\nwanted %s: %s", err.id, err.msg, id, msg);
}

static void
the_whole_of_a_machine_arrives(void **state)
{
	FB_AUTO_LOCAL_MACHINE struct fb_local_machine *machine = NULL;

	(void)state;
	assert_ok(parse("id: web-01\nrole: web\nparent: db-01\n"
	                "labels: {env: prod, app: shop}\n"
	                "start: [./ctl, start]\nstop: [./ctl, stop]\n"
	                "status: [./ctl, status]      # 0 up, 3 down\n"
	                "stop_timeout: 10s\nstart_timeout: 2min\n"
	                "volumes:\n"
	                "  - {name: root, kind: disk, path: disk.img}\n"
	                "  - {name: data, kind: tree, path: /srv/data, "
	                "exclude: [\"*.tmp\", cache]}\n"
	                "  - {name: cd,   kind: cdrom, path: debian.iso}\n"
	                "  - {name: fd,   kind: floppy, path: a.img}\n",
	    &machine));
	assert_string_equal(machine->id, "web-01");
	assert_string_equal(machine->role, "web");
	assert_string_equal(machine->parent, "db-01");
	assert_int_equal(machine->labels.count, 2);
	assert_string_equal(machine->labels.items[0].key, "app");
	assert_string_equal(fb_labels_get(&machine->labels, "env"), "prod");
	assert_string_equal(machine->stop[0], "./ctl");
	assert_string_equal(machine->stop[1], "stop");
	assert_null(machine->stop[2]);
	assert_string_equal(machine->status[1], "status");
	assert_string_equal(machine->start[1], "start");
	assert_int_equal(machine->stop_timeout_ms, 10000);
	assert_int_equal(machine->start_timeout_ms, 120000);
	assert_int_equal(machine->volume_count, 4);
	assert_int_equal(machine->volumes[0].kind, FB_LOCAL_DISK);
	assert_null(machine->volumes[0].exclude[0]);
	assert_int_equal(machine->volumes[1].kind, FB_LOCAL_TREE);
	assert_string_equal(machine->volumes[1].path, "/srv/data");
	assert_string_equal(machine->volumes[1].exclude[1], "cache");
	assert_null(machine->volumes[1].exclude[2]);
	assert_int_equal(machine->volumes[2].kind, FB_LOCAL_CDROM);
	assert_int_equal(machine->volumes[3].kind, FB_LOCAL_FLOPPY);
}

static void
an_id_alone_is_a_machine(void **state)
{
	FB_AUTO_LOCAL_MACHINE struct fb_local_machine *machine = NULL;

	(void)state;
	assert_ok(parse("id: 007\n", &machine));
	assert_string_equal(machine->id, "007");
	assert_string_equal(machine->role, "");
	assert_null(machine->parent);
	assert_null(machine->start);
	assert_int_equal(machine->stop_timeout_ms, 30000);
	assert_int_equal(machine->start_timeout_ms, 60000);
	assert_int_equal(machine->volume_count, 0);
}

/* Bytes id_offset .. id_length of the text are the id as it is written. */
static void
finds_id(const char *text, const char *written)
{
	FB_AUTO_LOCAL_MACHINE struct fb_local_machine *machine = NULL;

	assert_ok(parse(text, &machine));
	assert_int_equal(machine->id_length, strlen(written));
	assert_memory_equal(
	    text + machine->id_offset, written, strlen(written));
}

static void
the_id_can_be_found_again_in_the_bytes(void **state)
{
	(void)state;
	finds_id("id: web-01\n", "web-01");
	finds_id("# \xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\nrole: x\n"
	         "id:   \"web-01\"   # the id\n",
	    "\"web-01\"");
	finds_id("{role: y, id: 'web-01', parent: a}", "'web-01'");
	finds_id("role: y\r\nid: web-01\r\nparent: a\r\n", "web-01");
	finds_id("labels: {x: \"\xc3\xbc\"}\nid: web-01 # tail", "web-01");
	finds_id("\xef\xbb\xbfid: web-01\n", "web-01");
}

static void
half_of_the_commands_is_refused(void **state)
{
	(void)state;
	refuses("id: a\nstart: [./x]\nstop: [./x]\n", "E-CFG-MISSING",
	    "start, stop and status belong together, but there is no 'status'");
	refuses("id: a\nstatus: [./x]\n", "E-CFG-MISSING", "m.yaml:2:9: status");
	refuses("id: a\nstart: []\nstop: [a]\nstatus: [a]\n", "E-CFG-RANGE",
	    "m.yaml:2:8: start: an empty list");
	refuses("id: a\nstart: [\"\"]\nstop: [a]\nstatus: [a]\n", "E-CFG-TYPE",
	    "start '': must not be empty");
	refuses("id: a\nstart: ./ctl start\n", "E-CFG-TYPE",
	    "start './ctl start': a single value where a list belongs");
}

static void
bad_volumes_are_refused(void **state)
{
	(void)state;
	refuses("id: a\nvolumes: [{name: x, kind: disk, path: p}, "
	        "{name: x, kind: tree, path: q}]\n",
	    "E-CFG-DUPLICATE", "volumes.1.name 'x': another volume");
	refuses("id: a\nvolumes: [{name: definition, kind: disk, path: p}]\n",
	    "E-CFG-REFERENCE", "'definition': reserved");
	refuses("id: a\nvolumes: [{name: x, kind: disk, path: ../p}]\n",
	    "E-PATH", "m.yaml:2:39: volumes.0.path '../p': must not contain");
	refuses("id: a\nvolumes: [{name: x, kind: disk, path: /a/../p}]\n",
	    "E-PATH", "must not contain");
	refuses("id: a\nvolumes: [{name: x, kind: disk, path: \"\"}]\n",
	    "E-PATH", "the path is empty");
	refuses("id: a\nvolumes: [{name: x, kind: disc, path: p}]\n",
	    "E-CFG-REFERENCE", "'disc': unknown; known are: disk, tree");
	refuses("id: a\nvolumes: [{name: x, kind: disk, path: p, "
	        "exclude: [a]}]\n",
	    "E-CFG-KEY", "only a tree can leave files out, not a disk");
	refuses("id: a\nvolumes: [{name: x, kind: tree, path: p, "
	        "changed: [a]}]\n",
	    "E-CFG-KEY", "only a disk has a change map, not a tree");
	refuses("id: a\nvolumes: [{name: x, kind: disk, path: p, "
	        "changed: []}]\n",
	    "E-CFG-RANGE", "volumes.0.changed");
	refuses("id: a\nvolumes: [{kind: disk, path: p}]\n", "E-CFG-MISSING",
	    "m.yaml:2:11: setting 'volumes.0.name'");
	refuses("id: a\nvolumes: {x: y}\n", "E-CFG-TYPE", "a map where a list");
	refuses("id: a\nvolumes: [{name: ../x, kind: disk, path: p}]\n",
	    "E-NAME", "volumes.0.name '../x'");
	refuses("id: a\nvolumes: [{name: x, kind: disk, path: p, szie: 1}]\n",
	    "E-CFG-KEY", "key 'szie': unknown in volumes.0");
}

static void
bad_names_and_values_are_refused(void **state)
{
	(void)state;
	refuses("role: x\n", "E-CFG-MISSING", "setting 'id'");
	refuses("id: ../etc\n", "E-NAME", "m.yaml:1:5: id '../etc'");
	refuses("id: \"a\\nb\"\n", "E-CFG-TYPE", "newline");
	refuses("id: |-\n  a\n", "E-CFG-TYPE", "on the line of its key");
	refuses("id: a\nparent: a\n", "E-CFG-REFERENCE", "its own parent");
	refuses("id: a\nparent: b/c\n", "E-NAME", "parent 'b/c'");
	refuses("id: a\nlabels: {\"a b\": c}\n", "E-NAME", "label 'a b'");
	refuses("id: a\nlabels: {a: [c]}\n", "E-CFG-TYPE", "labels.a: a list");
	refuses("id: a\nstop_timeout: 30\n", "E-CFG-UNIT", "needs a unit");
	refuses("id: a\nstop_timeout: 0s\n", "E-CFG-RANGE", "at least 1 ms");
	refuses("id: a\nid: b\n", "E-CFG-DUPLICATE", "line 1");
	refuses("", "E-CFG-SYNTAX", "empty");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_whole_of_a_machine_arrives),
		cmocka_unit_test(an_id_alone_is_a_machine),
		cmocka_unit_test(the_id_can_be_found_again_in_the_bytes),
		cmocka_unit_test(half_of_the_commands_is_refused),
		cmocka_unit_test(bad_volumes_are_refused),
		cmocka_unit_test(bad_names_and_values_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The manifest: what is written, what is refused, what is given back. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "test.h"

#include "faults.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/manifest/manifest.h"

#define RUN   "20261121-013206456-00000001"
#define SID   "20261121-013205123-3fa92c17"
/* The structs own their strings; those of a test are literals. */
#define S(literal) ((char *)(uintptr_t)(literal))

#define OLDER "20261120-013206456-00000001"

struct place {
	char dir[64];
	char *manifest, *volumes;
};

static int
make_place(void **state)
{
	struct place *place = fb_alloc(1, sizeof(*place));

	(void)snprintf(
	    place->dir, sizeof(place->dir), "/tmp/fb-manifest-XXXXXX");
	if (mkdtemp(place->dir) == NULL)
		return -1;
	place->manifest = fb_format("%s/manifest.json", place->dir);
	place->volumes = fb_format("%s/VOLUMES", place->dir);
	*state = place;
	return 0;
}

static int
remove_place(void **state)
{
	struct place *place = *state;
	struct fb_error err = { 0 };
	int rc = fb_io_remove_tree(place->dir, &err);

	free(place->manifest);
	free(place->volumes);
	free(place);
	return rc;
}

/* A fleet of two machines and their heads, all static. */
static char *members_1[] = { S("lab/db-01") };
static char *members_2[] = { S("lab/web-01") };
static struct fb_manifest_unit units[] = {
	{ S("lab/db-01"), 1, members_1, 1 },
	{ S("lab/web-01"), 2, members_2, 1 },
};
static struct fb_manifest_source sources[] = {
	{ .name = S("lab"), .driver = S("local") },
};
static struct fb_predecessor predecessors[] = { { .run = OLDER } };

static struct fb_manifest_head
a_head(void)
{
	return (struct fb_manifest_head){ .run = RUN,
		.session = SID,
		.fleet = S("demo"),
		.tool_version = S("0.1.0"),
		.host = S("backup-1"),
		.started = "2026-11-21T01:32:06Z",
		.finished = "2026-11-21T01:33:00Z",
		.topology = { { 1 } },
		.topology_selection = { { 2 } },
		.topology_after = { { 1 } },
		.sources = sources,
		.source_count = 1,
		.predecessors = predecessors,
		.predecessor_count = 1,
		.units = units,
		.unit_count = 2 };
}

static struct fb_manifest_volume volumes_1[] = {
	{ .name = S("cd"), .kind = FB_VOLUME_CDROM, .size = 4096 },
	{ .name = S("data"),
	    .kind = FB_VOLUME_TREE,
	    .size = 10240,
	    .captured = true,
	    .method = S("reflink"),
	    .recipe = { { 3 } },
	    .root = { { 4 } },
	    .has_catalogue = true,
	    .catalogue_size = 99,
	    .catalogue_recipe = { { 5 } },
	    .catalogue_root = { { 6 } } },
	{ .name = S("root"),
	    .kind = FB_VOLUME_DISK,
	    .size = 1u << 20,
	    .captured = true,
	    .method = S("reflink"),
	    .recipe = { { 7 } },
	    .root = { { 8 } },
	    .has_flat = true,
	    .flat = { { 9 } },
	    .flat_by = S("fleetbak") },
};
static struct fb_manifest_volume volumes_2[] = {
	{ .name = S("root"),
	    .kind = FB_VOLUME_DISK,
	    .size = 512,
	    .captured = true,
	    .method = S("read-stopped"),
	    .recipe = { { 10 } },
	    .root = { { 11 } } },
};
static struct fb_label labels[] = { { S("env"), S("prod") },
	{ S("site"), S("a") } };

static struct fb_manifest_machine
a_machine(void)
{
	return (struct fb_manifest_machine){ .source = S("lab"),
		.driver = S("local"),
		.id = S("db-01"),
		.name = S("db-01"),
		.role = S("db"),
		.labels = { labels, 2 },
		.power = FB_POWER_UP,
		.lifecycle = FB_LIFECYCLE_STOP_SNAPSHOT_START,
		.level = FB_LEVEL_OFFLINE,
		.epoch = 1,
		.token = S("fb-1"),
		.downtime_ms = 1234,
		.snapshot_time = "2026-11-21T01:32:10Z",
		.volumes = volumes_1,
		.volume_count = 3 };
}

static struct fb_manifest_machine
another_machine(void)
{
	return (struct fb_manifest_machine){ .source = S("lab"),
		.driver = S("local"),
		.id = S("web-01"),
		.name = S("web-01"),
		.role = S(""),
		.parent = S("db-01"),
		.power = FB_POWER_DOWN,
		.lifecycle = FB_LIFECYCLE_READ_DOWN,
		.level = FB_LEVEL_OFFLINE,
		.epoch = 2,
		.snapshot_time = "2026-11-21T01:32:11Z",
		.volumes = volumes_2,
		.volume_count = 1 };
}

static int
write_all(struct place *place, const struct fb_manifest_head *head,
    const struct fb_manifest_machine *machines, size_t count,
    struct fb_error *err)
{
	struct fb_manifest_writer *writer;
	struct fb_digest manifest, volumes;
	int rc = fb_manifest_begin(
	    place->manifest, place->volumes, head, &writer, err);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < count; i++) {
		rc = fb_manifest_add(writer, &machines[i], err);
		if (rc < 0) {
			fb_manifest_abandon(writer);
			return rc;
		}
	}
	return fb_manifest_finish(writer, &manifest, &volumes, err);
}

static int
write_good(struct place *place, struct fb_error *err)
{
	struct fb_manifest_head head = a_head();
	struct fb_manifest_machine machines[] = { a_machine(),
		another_machine() };

	return write_all(place, &head, machines, 2, err);
}

static void
read_text(const char *path, struct fb_buf *dst)
{
	struct fb_error err = { 0 };

	assert_ok(fb_io_read_file(path, 1u << 24, dst, &err));
}

struct seen {
	size_t count;
	struct fb_digest digest;
};

static int
look_at(const struct fb_manifest_machine *machine, void *arg,
    struct fb_error *err)
{
	struct seen *seen = arg;

	(void)err;
	if (seen->count++ == 0) {
		assert_string_equal(machine->id, "db-01");
		assert_string_equal(machine->labels.items[1].value, "a");
		assert_null(machine->parent);
		assert_string_equal(machine->token, "fb-1");
		assert_int_equal(machine->volume_count, 3);
		assert_false(machine->volumes[0].captured);
		assert_true(machine->volumes[1].has_catalogue);
		assert_int_equal(machine->volumes[1].catalogue_size, 99);
		assert_true(machine->volumes[2].has_flat);
		assert_int_equal(machine->volumes[2].root.bytes[0], 8);
	} else {
		assert_string_equal(machine->parent, "db-01");
		assert_null(machine->token);
		assert_int_equal(machine->level, FB_LEVEL_OFFLINE);
	}
	return FB_OK;
}

static void
what_is_written_is_read_back(void **state)
{
	struct place *place = *state;
	FB_AUTO_BUF struct fb_buf text = { 0 };
	FB_AUTO_MANIFEST struct fb_manifest *manifest = NULL;
	const struct fb_manifest_head *head;
	struct seen seen = { 0 };
	struct fb_error err = { 0 };

	assert_ok(write_good(place, &err));
	read_text(place->manifest, &text);
	assert_ok(fb_manifest_parse(fb_buf_span(&text), &manifest, &err));
	head = fb_manifest_get_head(manifest);
	assert_string_equal(head->run, RUN);
	assert_string_equal(head->fleet, "demo");
	assert_int_equal(head->predecessor_count, 1);
	assert_int_equal(head->unit_count, 2);
	assert_false(head->partial);
	assert_ok(fb_manifest_machines(manifest, look_at, &seen, &err));
	assert_int_equal(seen.count, 2);
}

static void
volumes_are_lines_that_a_script_can_read(void **state)
{
	struct place *place = *state;
	FB_AUTO_BUF struct fb_buf text = { 0 }, json = { 0 };
	FB_AUTO_MANIFEST struct fb_manifest *manifest = NULL;
	struct fb_digest digest, there;
	struct fb_error err = { 0 };

	assert_ok(write_good(place, &err));
	read_text(place->volumes, &text);
	assert_non_null(strstr(fb_buf_str(&text),
	    "fleetbak-volumes 1\nlab/db-01 data tree 10240 03"));
	assert_non_null(strstr(fb_buf_str(&text), "\nlab/web-01 root disk 512"));
	assert_null(strstr(fb_buf_str(&text), " cd "));
	read_text(place->manifest, &json);
	assert_ok(fb_manifest_parse(fb_buf_span(&json), &manifest, &err));
	assert_ok(fb_manifest_volumes_digest(manifest, &digest, &err));
	fb_digest_of(fb_buf_span(&text), &there);
	assert_int_equal(fb_digest_cmp(&digest, &there), 0);
}

static void
each_machine_has_a_line_and_the_whole_is_json(void **state)
{
	struct place *place = *state;
	FB_AUTO_BUF struct fb_buf text = { 0 };
	FB_AUTO_JSON json_t *value = NULL;
	struct fb_error err = { 0 };
	const char *topology;

	assert_ok(write_good(place, &err));
	read_text(place->manifest, &text);
	assert_ok(fb_json_parse(
	    fb_buf_span(&text), 1u << 20, "manifest", &value, &err));
	assert_int_equal(
	    json_array_size(json_object_get(value, "machines")), 2);
	assert_ok(fb_json_str(json_object_get(value, "fleet"),
	    "topology_hash", "fleet", &topology, &err));
	assert_int_equal(strncmp(topology, "0100", 4), 0);
	assert_non_null(strstr(fb_buf_str(&text), "\"machines\":[\n{"));
	assert_non_null(strstr(fb_buf_str(&text), "},\n{\"desc"));
	assert_non_null(strstr(fb_buf_str(&text), "\n],\"partial\""));
}

static void
a_run_of_no_machine_can_be_written(void **state)
{
	struct place *place = *state;
	FB_AUTO_BUF struct fb_buf text = { 0 };
	FB_AUTO_MANIFEST struct fb_manifest *manifest = NULL;
	struct fb_manifest_head head = a_head();
	struct fb_error err = { 0 };

	head.unit_count = 0;
	assert_ok(write_all(place, &head, NULL, 0, &err));
	read_text(place->manifest, &text);
	assert_ok(fb_manifest_parse(fb_buf_span(&text), &manifest, &err));
}

static void
a_failed_machine_keeps_its_error_and_nothing_else(void **state)
{
	struct place *place = *state;
	FB_AUTO_BUF struct fb_buf text = { 0 };
	FB_AUTO_MANIFEST struct fb_manifest *manifest = NULL;
	struct fb_manifest_head head = a_head();
	struct fb_manifest_machine machines[] = { a_machine(),
		another_machine() };
	struct fb_error failure = { 0 };
	struct fb_error err = { 0 };

	head.partial = true;
	machines[0].failed = true;
	(void)fb_fail_id(&failure, FB_ETIMEOUT, "E-LOCAL-STOP",
	    "it \"did\" not stop");
	machines[0].failure = &failure;
	assert_ok(write_all(place, &head, machines, 2, &err));
	read_text(place->manifest, &text);
	assert_null(strstr(fb_buf_str(&text), "\"catalogue\":{"));
	assert_null(strstr(fb_buf_str(&text), "fb-1"));
	assert_non_null(strstr(fb_buf_str(&text),
	    "\"failure\":{\"code\":\"timeout\",\"id\":\"E-LOCAL-STOP\","
	    "\"message\":\"it \\\"did\\\" not stop\"}"));
	assert_ok(fb_manifest_parse(fb_buf_span(&text), &manifest, &err));
	assert_true(fb_manifest_get_head(manifest)->partial);
}

/* Spoil one thing; the rule must be named. */
typedef void spoil(struct fb_manifest_head *, struct fb_manifest_machine *);

#define SPOIL(name, statement)                            \
	static void name(struct fb_manifest_head *head,   \
	    struct fb_manifest_machine *machines)         \
	{                                                 \
		(void)head;                               \
		(void)machines;                           \
		statement;                                \
	}

static struct fb_manifest_volume bad_volumes[3];
static struct fb_manifest_unit bad_units[2];
static char *ghost[] = { S("lab/ghost") };
static char *both[] = { S("lab/db-01"), S("lab/web-01") };

#define VOLUME(n, statement)                                      \
	memcpy(bad_volumes, volumes_1, sizeof(bad_volumes));      \
	bad_volumes[n].statement;                                 \
	machines[0].volumes = bad_volumes
#define UNIT(n, statement)                                        \
	memcpy(bad_units, units, sizeof(bad_units));              \
	bad_units[n].statement;                                   \
	head->units = bad_units

SPOIL(bad_run, head->run[0] = 'x')
SPOIL(bad_session, head->session[5] = '/')
SPOIL(bad_fleet, head->fleet = S("../demo"))
SPOIL(bad_host, head->host = S("a\nb"))
SPOIL(bad_utf8, head->host = S("\xff\xfe"))
SPOIL(bad_time, memcpy(head->started, "yesterday", 10))
SPOIL(bad_snapshot_time, machines[0].snapshot_time[0] = 0)
SPOIL(bad_source, machines[0].source = S("other"))
SPOIL(bad_driver, machines[0].driver = S("other"))
SPOIL(bad_predecessor, memcpy(head->predecessors[0].run, RUN, 28))
SPOIL(bad_drift, head->topology_after.bytes[0] = 9)
SPOIL(bad_drift_flag, head->drift = true)
SPOIL(bad_unit_missing, head->unit_count = 1)
SPOIL(bad_unit_twice, UNIT(0, machines = both); bad_units[0].machine_count = 2)
SPOIL(bad_unit_ghost, UNIT(0, machines = ghost))
SPOIL(bad_unit_empty, UNIT(0, machine_count = 0))
SPOIL(bad_unit_order, UNIT(0, name = S("zzz")))
SPOIL(bad_epoch, machines[0].epoch = 5)
SPOIL(bad_id, machines[0].id = S("-rf"))
SPOIL(bad_parent, machines[0].parent = S("db-01"))
SPOIL(bad_twice, machines[1] = machines[0])
SPOIL(bad_volume_name, VOLUME(1, name = S("a/b")))
SPOIL(bad_volume_order, VOLUME(1, name = S("zz")))
SPOIL(bad_volume_twice, VOLUME(1, name = S("root")))
SPOIL(bad_removable, VOLUME(0, captured = true))
SPOIL(bad_uncaptured, VOLUME(2, captured = false))
SPOIL(bad_no_recipe, VOLUME(2, recipe.bytes[0] = 0))
SPOIL(bad_no_root, VOLUME(2, root.bytes[0] = 0))
SPOIL(bad_flat_by, VOLUME(2, flat_by = S("hearsay")))
SPOIL(bad_catalogue, VOLUME(2, has_catalogue = true);
      bad_volumes[2].catalogue_recipe.bytes[0] = 1;
      bad_volumes[2].catalogue_root.bytes[0] = 1)
SPOIL(bad_size, VOLUME(2, size = UINT64_MAX))
SPOIL(bad_no_failure, machines[0].failed = true; head->partial = true)
SPOIL(bad_partial, head->partial = true)
SPOIL(bad_hidden_failure, static struct fb_error failure;
      machines[0].failed = true;
      (void)fb_fail(&failure, FB_EFAILED, "broken");
      machines[0].failure = &failure)

static char much[5000];
static struct fb_manifest_source twins[2];
static struct fb_predecessor olders[2];
static struct fb_label odd_labels[1];
static char *three[] = { S("lab/db-01"), S("lab/zz-01") };

#define SOURCES(n)                                                \
	twins[0] = twins[1] = sources[0];                         \
	head->sources = twins;                                    \
	head->source_count = n

SPOIL(bad_host_empty, head->host = S(""))
SPOIL(bad_host_long, memset(much, 'a', sizeof(much) - 1); head->host = much)
SPOIL(bad_finished, memcpy(head->finished, "tomorrow", 9))
SPOIL(bad_source_twice, SOURCES(2))
SPOIL(bad_problem, SOURCES(1); twins[0].problem.code = FB_EUNREACH)
SPOIL(bad_source_name, SOURCES(1); twins[0].name = S("../lab"))
SPOIL(bad_predecessors, head->predecessor_count = 2000)
SPOIL(bad_predecessor_id, head->predecessors[0].run[0] = 'x')
SPOIL(bad_predecessor_order, olders[0] = olders[1] = predecessors[0];
      head->predecessors = olders; head->predecessor_count = 2)
SPOIL(bad_unit_epoch, UNIT(0, epoch = UINT64_MAX))
SPOIL(bad_unit_name, UNIT(0, name = S("")))
SPOIL(bad_unit_more, UNIT(0, machines = three); bad_units[0].machine_count = 2)
SPOIL(bad_parent_name, machines[0].parent = S("../db"))
SPOIL(bad_label, odd_labels[0].key = S("a\tb"); odd_labels[0].value = S("c");
      machines[0].labels.items = odd_labels; machines[0].labels.count = 1)
SPOIL(bad_method, VOLUME(2, method = S("a\nb")))
SPOIL(bad_changed, VOLUME(2, changed_files = UINT64_MAX))
SPOIL(bad_role, machines[0].role = S("a\nb"))

static void
each_rule_is_named_when_it_is_broken(void **state)
{
	static const struct {
		spoil *spoil;
		const char *rule;
	} cases[] = {
		{ bad_run, "M04" }, { bad_session, "M04" },
		{ bad_fleet, "M05" }, { bad_host, "M06" },
		{ bad_utf8, "M06" }, { bad_time, "M07" },
		{ bad_snapshot_time, "M07" }, { bad_size, "M08" },
		{ bad_source, "M09" }, { bad_driver, "M09" },
		{ bad_predecessor, "M10" }, { bad_drift, "M12" },
		{ bad_drift_flag, "M12" }, { bad_unit_missing, "M11" },
		{ bad_unit_twice, "M11" }, { bad_unit_ghost, "M11" },
		{ bad_unit_empty, "M11" }, { bad_unit_order, "M11" },
		{ bad_epoch, "M15" }, { bad_id, "M05" },
		{ bad_parent, "M16" }, { bad_twice, "M13" },
		{ bad_volume_name, "M05" }, { bad_volume_order, "M13" },
		{ bad_volume_twice, "M13" }, { bad_removable, "M17" },
		{ bad_uncaptured, "M17" }, { bad_no_recipe, "M18" },
		{ bad_no_root, "M18" }, { bad_flat_by, "M18" },
		{ bad_catalogue, "M17" }, { bad_no_failure, "M14" },
		{ bad_partial, "M19" }, { bad_hidden_failure, "M19" },
		{ bad_host_empty, "M06" }, { bad_host_long, "M06" },
		{ bad_finished, "M07" }, { bad_problem, "M14" },
		{ bad_source_twice, "M09" }, { bad_source_name, "M05" },
		{ bad_predecessors, "M10" },
		{ bad_predecessor_id, "M04" },
		{ bad_predecessor_order, "M10" },
		{ bad_unit_epoch, "M08" }, { bad_unit_name, "M06" },
		{ bad_unit_more, "M11" }, { bad_parent_name, "M05" },
		{ bad_label, "M06" }, { bad_role, "M06" },
		{ bad_method, "M06" }, { bad_changed, "M08" },
	};
	struct place *place = *state;

	for (size_t i = 0; i < FB_COUNT(cases); i++) {
		struct fb_predecessor older[1] = { predecessors[0] };
		struct fb_manifest_head head = a_head();
		struct fb_manifest_machine machines[] = { a_machine(),
			another_machine() };
		struct fb_error err = { 0 };
		FB_AUTO_FREE char *name = fb_format(
		    "manifest rule %s ", cases[i].rule);

		head.predecessors = older;
		cases[i].spoil(&head, machines);
		if (write_all(place, &head, machines, 2, &err) != FB_EBUG ||
		    strncmp(err.msg, name, strlen(name)) != 0)
			fail_msg("case %zu: %s", i, err.msg);
		assert_string_equal(err.id, "E-MANIFEST-RULE");
	}
}

static void
a_clock_that_was_set_back_does_not_lose_a_run(void **state)
{
	struct place *place = *state;
	struct fb_manifest_head head = a_head();
	struct fb_manifest_machine machines[] = { a_machine(),
		another_machine() };
	struct fb_error err = { 0 };

	memcpy(head.finished, "2026-11-20T01:33:00Z", 21);
	assert_ok(write_all(place, &head, machines, 2, &err));
}

static void
altered_bytes_are_refused(void **state)
{
	static const struct {
		const char *from, *to, *rule;
		int code;
	} cases[] = {
		{ "\"version\":1", "\"version\":2", "M01", FB_ETOONEW },
		{ "\"version\":1", "\"version\":0", "M01", FB_ECORRUPT },
		{ "\"version\":1", "\"version\":1,\"zoo\":1", "M02",
		    FB_ECORRUPT },
		{ "\"host\":\"backup-1\",", "", "M02", FB_ECORRUPT },
		{ "\"drift\":false", "\"drift\":0", "M02", FB_ECORRUPT },
		{ "\"downtime_ms\":1234", "\"downtime_ms\":-1", "M02",
		    FB_ECORRUPT },
		{ "\"downtime_ms\":1234", "\"downtime_ms\":12.5", "M02",
		    FB_ECORRUPT },
		{ "\"downtime_ms\":1234", "\"downtime_ms\":1234,\"x\":1",
		    "M02", FB_ECORRUPT },
		{ "\"power\":\"up\"", "\"power\":\"on\"", "M02",
		    FB_ECORRUPT },
		{ "\"description\":\"00", "\"description\":\"AA", "M02",
		    FB_ECORRUPT },
		{ "\"description\":\"00", "\"description\":\"0", "M02",
		    FB_ECORRUPT },
		{ "\"failure\":null", "\"failure\":{}", "M02", FB_ECORRUPT },
		{ "\"machines\":[\"lab/db-01\"]", "\"machines\":[7]", "M02",
		    FB_ECORRUPT },
		{ "{\"drift\"", "{ \"drift\"", "M03", FB_ECORRUPT },
		{ "\"downtime_ms\":1234", "\"downtime_ms\": 1234", "M03",
		    FB_ECORRUPT },
		{ "},\n{", "}\n,{", "M03", FB_ECORRUPT },
		{ "},\n{", "},{", "", FB_ECORRUPT },
		{ "\n],\"partial", "],\"partial", "M03", FB_ECORRUPT },
		{ "\"id\":\"db-01\"", "\"id\":\"../etc\"", "M05",
		    FB_ECORRUPT },
		{ "\"name\":\"data\"", "\"name\":\"da\\u0000\"", "",
		    FB_ECORRUPT },
		{ "\"kind\":\"cdrom\"", "\"kind\":\"disk\"", "M17",
		    FB_ECORRUPT },
		{ "\"partial\":false", "\"partial\":true", "M19",
		    FB_ECORRUPT },
	};
	struct place *place = *state;
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_error err = { 0 };

	assert_ok(write_good(place, &err));
	read_text(place->manifest, &text);
	for (size_t i = 0; i < FB_COUNT(cases); i++) {
		const char *all = fb_buf_str(&text);
		const char *at = strstr(all, cases[i].from);
		FB_AUTO_FREE char *bad = NULL;
		struct fb_manifest *manifest = NULL;

		if (at == NULL)
			fail_msg("case %zu: no '%s'", i, cases[i].from);
		bad = fb_format("%.*s%s%s", (int)(at - all), all, cases[i].to,
		    at + strlen(cases[i].from));
		assert_fails(cases[i].code,
		    fb_manifest_parse(
		        (struct fb_span){ (uint8_t *)bad, strlen(bad) },
		        &manifest, &err));
		if (strstr(err.msg, cases[i].rule) == NULL)
			fail_msg("case %zu: %s", i, err.msg);
	}
}

static void
every_cut_of_a_manifest_is_refused(void **state)
{
	struct place *place = *state;
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_manifest *manifest = NULL;
	struct fb_error err = { 0 };

	assert_ok(write_good(place, &err));
	read_text(place->manifest, &text);
	for (size_t len = 0; len < text.len; len++)
		assert_fails(FB_ECORRUPT,
		    fb_manifest_parse((struct fb_span){ text.data, len },
		        &manifest, &err));
}

static void
the_register_repeats_the_head(void **state)
{
	struct fb_manifest_head head = a_head();
	struct fb_register reg = { 0 };

	(void)state;
	fb_manifest_register(&head, &reg);
	assert_string_equal(reg.run, RUN);
	assert_string_equal(reg.session, SID);
	assert_string_equal(reg.fleet, "demo");
	assert_string_equal(reg.time, "2026-11-21T01:33:00Z");
	assert_true(fb_predecessors_same(
	    reg.predecessors, reg.predecessor_count, predecessors, 1));
	fb_register_release(&reg);
}

/* The words of a source or a machine may be any bytes. */
static void
odd_words_of_a_problem_do_not_lose_the_run(void **state)
{
	struct place *place = *state;
	struct fb_manifest_source away = sources[0];
	struct fb_manifest_head head = a_head();
	struct fb_manifest_machine machines[] = { a_machine(),
		another_machine() };
	FB_AUTO_MANIFEST struct fb_manifest *manifest = NULL;
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_error err = { 0 };

	(void)fb_fail(&away.problem, FB_EUNREACH, "away");
	memcpy(away.problem.msg, "\xff\n", 3);
	away.problem.id = NULL;
	head.sources = &away;
	head.partial = true;
	assert_ok(write_all(place, &head, machines, 2, &err));
	read_text(place->manifest, &text);
	assert_ok(fb_manifest_parse(fb_buf_span(&text), &manifest, &err));
	assert_int_equal(
	    fb_manifest_get_head(manifest)->sources[0].problem.code,
	    FB_EUNREACH);
}

/* Of these many the text of a machine, or of a head, is long. */
static struct fb_label *
make_labels(size_t count)
{
	struct fb_label *many = fb_alloc(count, sizeof(*many));

	for (size_t i = 0; i < count; i++)
		many[i] = (struct fb_label){ fb_format("k%05zu", i),
			fb_format("%01000zu", i) };
	return many;
}

static void
free_labels(struct fb_label *many, size_t count)
{
	struct fb_labels owned = { many, count };

	fb_labels_release(&owned);
}

static void
a_manifest_that_cannot_be_written_is_none(void **state)
{
	struct place *place = *state;
	unsigned refused = 0;
	struct fb_error err = { 0 };

	for (unsigned long at = faults_begin(); faults_arm(at, "ENOSPC");
	     at++) {
		FB_AUTO_MANIFEST struct fb_manifest *manifest = NULL;
		FB_AUTO_BUF struct fb_buf text = { 0 };
		int rc = write_good(place, &err);

		faults_disarm();
		if (rc < 0) {
			assert_fails(FB_ENOSPACE, rc);
			refused++;
			continue;
		}
		read_text(place->manifest, &text);
		assert_ok(fb_manifest_parse(
		    fb_buf_span(&text), &manifest, &err));
	}
	/* To open, to write and to sync, each of the two. */
	assert_true(refused >= 6);
	fb_manifest_abandon(NULL); /* of one that was never begun */
}

/* What is long is not held back until the end. */
static void
a_full_disk_is_told_while_machines_are_added(void **state)
{
	struct place *place = *state;
	struct fb_manifest_head head = a_head();
	struct fb_manifest_machine machine = a_machine();
	struct fb_label *many = make_labels(1100);
	struct fb_manifest_writer *writer;
	struct fb_error err = { 0 };

	machine.labels = (struct fb_labels){ many, 1100 };
	assert_ok(fb_manifest_begin(
	    "/dev/full", place->volumes, &head, &writer, &err));
	assert_fails(FB_ENOSPACE, fb_manifest_add(writer, &machine, &err));
	fb_manifest_abandon(writer);
	free_labels(many, 1100);
}

static void
a_machine_that_no_reader_takes_is_not_written(void **state)
{
	struct place *place = *state;
	struct fb_manifest_head head = a_head();
	struct fb_manifest_machine machines[] = { a_machine(),
		another_machine() };
	struct fb_label *many = make_labels(4400);
	struct fb_error err = { 0 };

	machines[0].labels = (struct fb_labels){ many, 4400 };
	assert_fails(FB_EBUG, write_all(place, &head, machines, 2, &err));
	assert_non_null(strstr(err.msg, "M03 (lines): machine 'lab/db-01'"));
	free_labels(many, 4400);
}

static void
a_head_that_no_reader_takes_is_not_written(void **state)
{
	enum { UNITS = 17000, SOURCES = 4097 };
	struct place *place = *state;
	struct fb_manifest_head head = a_head();
	struct fb_label *names = make_labels(UNITS);
	struct fb_manifest_unit *many = fb_alloc(UNITS, sizeof(*many));
	struct fb_manifest_source *away = fb_alloc(SOURCES, sizeof(*away));
	struct fb_error err = { 0 };

	for (size_t i = 0; i < UNITS; i++)
		many[i] = (struct fb_manifest_unit){ names[i].value, 1,
			&names[i].key, 1 };
	head.units = many;
	head.unit_count = UNITS;
	assert_fails(FB_EUNSUP, write_all(place, &head, NULL, 0, &err));
	assert_non_null(strstr(err.msg, "more units than a manifest"));
	head = a_head();
	for (size_t i = 0; i < SOURCES; i++) {
		away[i].name = names[i].key;
		away[i].driver = S("local");
	}
	head.sources = away;
	head.source_count = SOURCES;
	assert_fails(FB_ECORRUPT, write_all(place, &head, NULL, 0, &err));
	assert_non_null(strstr(err.msg, "4097 sources"));
	free(many);
	free(away);
	free_labels(names, UNITS);
}

/* A good manifest with `to` in the place of what stands from `from` up to
 * `end`. */
static void
alter(struct place *place, const char *from, const char *end,
    struct fb_span to, struct fb_buf *dst)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_error err = { 0 };
	const char *all, *at, *rest;

	assert_ok(write_good(place, &err));
	read_text(place->manifest, &text);
	all = fb_buf_str(&text);
	at = strstr(all, from);
	assert_non_null(at);
	rest = strstr(at, end);
	assert_non_null(rest);
	fb_buf_add(dst, all, (size_t)(at - all));
	fb_buf_add(dst, to.ptr, to.len);
	fb_buf_add_str(dst, rest);
}

static void
expect_refusal(const struct fb_buf *text, const char *why)
{
	struct fb_manifest *manifest = NULL;
	struct fb_error err = { 0 };

	assert_fails(FB_ECORRUPT,
	    fb_manifest_parse(fb_buf_span(text), &manifest, &err));
	if (strstr(err.msg, why) == NULL)
		fail_msg("%s", err.msg);
}

static void
a_line_without_end_is_refused_and_not_kept(void **state)
{
	FB_AUTO_BUF struct fb_buf text = { 0 }, line = { 0 };

	memset(fb_buf_reserve(&line, 18u << 20), 'x', 18u << 20);
	line.len = 18u << 20;
	alter(*state, "{\"description\":", "\n", fb_buf_span(&line), &text);
	expect_refusal(&text, "M03 (lines): the line at");
}

static void
a_list_longer_than_any_fleet_is_refused(void **state)
{
	static const char begin[] = "\"units\":[0", end[] = "]";
	FB_AUTO_BUF struct fb_buf text = { 0 }, list = { 0 };

	fb_buf_add_str(&list, begin);
	for (size_t i = 0; i < 1u << 20; i++)
		fb_buf_add(&list, ",  0", 4);
	fb_buf_add_str(&list, end);
	alter(*state, "\"units\":", ",\"version\"", fb_buf_span(&list),
	    &text);
	expect_refusal(&text, "'units' is too long");
}

static void
a_failed_machine_that_has_something_is_refused(void **state)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };

	alter(*state, "\"epoch\":1,\"failure\":null", ",\"volumes\"",
	    SPAN("\"epoch\":null,\"failure\":{\"code\":\"failed\","
	         "\"id\":\"E-COMMAND\",\"message\":\"it broke\"},"
	         "\"id\":\"db-01\",\"labels\":{},\"level\":null,"
	         "\"lifecycle\":\"stop-snapshot-start\",\"name\":\"db-01\","
	         "\"parent\":null,\"power\":\"up\",\"role\":\"db\","
	         "\"snapshot_time\":null,\"source\":\"lab\","
	         "\"start_timeout_ms\":0,\"stop_timeout_ms\":0,"
	         "\"token\":null"),
	    &text);
	expect_refusal(&text, "M17 (captures)");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read_back),
		cmocka_unit_test(volumes_are_lines_that_a_script_can_read),
		cmocka_unit_test(
		    each_machine_has_a_line_and_the_whole_is_json),
		cmocka_unit_test(a_run_of_no_machine_can_be_written),
		cmocka_unit_test(
		    a_failed_machine_keeps_its_error_and_nothing_else),
		cmocka_unit_test(each_rule_is_named_when_it_is_broken),
		cmocka_unit_test(
		    a_clock_that_was_set_back_does_not_lose_a_run),
		cmocka_unit_test(altered_bytes_are_refused),
		cmocka_unit_test(every_cut_of_a_manifest_is_refused),
		cmocka_unit_test(the_register_repeats_the_head),
		cmocka_unit_test(odd_words_of_a_problem_do_not_lose_the_run),
		cmocka_unit_test(a_manifest_that_cannot_be_written_is_none),
		cmocka_unit_test(a_full_disk_is_told_while_machines_are_added),
		cmocka_unit_test(
		    a_machine_that_no_reader_takes_is_not_written),
		cmocka_unit_test(a_head_that_no_reader_takes_is_not_written),
		cmocka_unit_test(a_line_without_end_is_refused_and_not_kept),
		cmocka_unit_test(a_list_longer_than_any_fleet_is_refused),
		cmocka_unit_test(
		    a_failed_machine_that_has_something_is_refused),
	};

	return cmocka_run_group_tests(tests, make_place, remove_place);
}

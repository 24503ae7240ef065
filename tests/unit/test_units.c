#include "test.h"

#include <stdio.h>
#include <stdlib.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/fleet/topology.h"

/* A text that may be written to, as the configuration has them. */
#define TEXT(literal) ((char[]){ literal })

static struct fb_error err;
static struct fb_fleet fleet;
static struct fb_units units;

static void
add(const char *id, const char *parent, const char *pair)
{
	struct fb_machine *machine = fb_fleet_add(&fleet);

	machine->source = fb_strdup("lab");
	machine->id = fb_strdup(id);
	machine->parent = parent != NULL ? fb_strdup(parent) : NULL;
	machine->selected = true;
	if (pair != NULL) {
		machine->labels.items =
		    fb_alloc(1, sizeof(*machine->labels.items));
		machine->labels.items[0] = (struct fb_label){
			fb_strdup("pair"), fb_strdup(pair) };
		machine->labels.count = 1;
	}
}

static int
make_fleet(void **state)
{
	(void)state;
	fleet = (struct fb_fleet){ 0 };
	add("db", NULL, "x");
	add("app", "db", NULL);
	add("web", "app", "y");
	add("alone", NULL, "x");
	add("zoo", NULL, NULL);
	fb_fleet_settle(&fleet);
	return 0;
}

static int
release_fleet(void **state)
{
	(void)state;
	fb_units_release(&units);
	fb_fleet_release(&fleet);
	return 0;
}

static int
make(struct fb_config_unit *configured, size_t count)
{
	struct fb_config config = { .units = configured, .unit_count = count };

	fb_units_release(&units);
	return fb_units_make(&fleet, &config, &units, &err);
}

/* "name: member member; name: ..." */
static const char *
drawn(void)
{
	static char text[512];
	size_t at = 0;

	text[0] = '\0';
	for (size_t u = 0; u < units.count; u++) {
		const struct fb_unit *unit = &units.items[u];

		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s:",
		    u > 0 ? "; " : "", unit->name);
		for (size_t i = 0; i < unit->count; i++) {
			const struct fb_machine *machine =
			    &fleet.machines[unit->members[i]];

			assert_int_equal(machine->unit, u);
			at += (size_t)snprintf(text + at, sizeof(text) - at,
			    " %s", machine->id);
		}
	}
	return text;
}

static void
a_machine_in_two_units_is_refused(void **state)
{
	struct fb_config_unit both[] = {
		{ TEXT("stack"), TEXT("db"), NULL },
		{ TEXT("pair"), NULL, TEXT("pair=x") },
	};

	(void)state;
	assert_fails(FB_ECONFIG, make(both, 2));
	assert_string_equal(err.id, "E-UNIT-OVERLAP");
	assert_int_equal(units.count, 0);
}

static void
a_lost_root_is_refused_unless_a_source_is_silent(void **state)
{
	struct fb_config_unit lost[] = { { TEXT("stack"), TEXT("dbx"), NULL } };

	(void)state;
	assert_fails(FB_ECONFIG, make(lost, 1));
	assert_string_equal(err.id, "E-SEL-NONE");
	fb_fleet_add_failure(&fleet)->source = fb_strdup("kvm");
	assert_ok(make(lost, 1));
	assert_int_equal(units.count, 5);
}

static void
each_machine_is_a_unit_by_itself(void **state)
{
	(void)state;
	assert_ok(make(NULL, 0));
	assert_string_equal(drawn(),
	    "lab/alone: alone; lab/app: app; lab/db: db; lab/web: web; "
	    "lab/zoo: zoo");
}

static void
a_subtree_stops_children_before_parents(void **state)
{
	struct fb_config_unit stack[] = { { TEXT("stack"), TEXT("db"), NULL } };

	(void)state;
	assert_ok(make(stack, 1));
	assert_string_equal(drawn(),
	    "lab/alone: alone; lab/zoo: zoo; stack: web app db");
}

static void
a_controller_stops_before_what_it_controls(void **state)
{
	struct fb_config_unit stack[] = { { TEXT("stack"), TEXT("db"), NULL } };

	(void)state;
	for (size_t i = 0; i < fleet.count; i++)
		fleet.machines[i].parent_first = true;
	assert_ok(make(stack, 1));
	assert_string_equal(drawn(),
	    "lab/alone: alone; lab/zoo: zoo; stack: db app web");
}

static void
a_label_makes_one_unit_for_each_value(void **state)
{
	struct fb_config_unit pairs[] = { { TEXT("by"), NULL, TEXT("pair") } };
	struct fb_config_unit one[] = { { TEXT("by"), NULL, TEXT("pair=x") } };

	(void)state;
	assert_ok(make(pairs, 1));
	assert_string_equal(drawn(),
	    "by-x: alone db; by-y: web; lab/app: app; lab/zoo: zoo");
	assert_ok(make(one, 1));
	assert_string_equal(drawn(),
	    "by: alone db; lab/app: app; lab/web: web; lab/zoo: zoo");
}

static void
only_selected_machines_are_members(void **state)
{
	struct fb_config_unit stack[] = {
		{ TEXT("stack"), TEXT("lab/db+"), NULL },
	};

	(void)state;
	fb_fleet_find(&fleet, "lab", "app")->selected = false;
	fb_fleet_find(&fleet, "lab", "zoo")->selected = false;
	assert_ok(make(stack, 1));
	assert_string_equal(drawn(), "lab/alone: alone; stack: web db");
	assert_true(fb_fleet_find(&fleet, "lab", "app")->unit == SIZE_MAX);
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, make_fleet, release_fleet)

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_machine_in_two_units_is_refused),
		TEST(a_lost_root_is_refused_unless_a_source_is_silent),
		TEST(each_machine_is_a_unit_by_itself),
		TEST(a_subtree_stops_children_before_parents),
		TEST(a_controller_stops_before_what_it_controls),
		TEST(a_label_makes_one_unit_for_each_value),
		TEST(only_selected_machines_are_members),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "test.h"

#include <stdio.h>
#include <stdlib.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/fleet/fleet.h"

static struct fb_error err;

static struct fb_machine *
add(struct fb_fleet *fleet, const char *source, const char *id,
    const char *parent)
{
	struct fb_machine *machine = fb_fleet_add(fleet);

	machine->source = fb_strdup(source);
	machine->id = fb_strdup(id);
	machine->parent = parent != NULL ? fb_strdup(parent) : NULL;
	return machine;
}

static void
assert_problem(
    const struct fb_fleet *fleet, const char *source, const char *id,
    const char *problem)
{
	const struct fb_machine *machine = fb_fleet_find(fleet, source, id);

	assert_non_null(machine);
	if (problem == NULL)
		assert_null(machine->problem);
	else
		assert_string_equal(machine->problem->id, problem);
}

static void
doubled_ids_are_a_problem_of_both(void **state)
{
	struct fb_fleet fleet = { 0 };

	(void)state;
	(void)add(&fleet, "lab", "web", NULL);
	(void)add(&fleet, "lab", "db", NULL);
	(void)add(&fleet, "lab", "web", NULL);
	(void)add(&fleet, "other", "web", NULL);
	fb_fleet_settle(&fleet);
	assert_string_equal(fleet.machines[1].problem->id, "E-TOPO-DUPLICATE");
	assert_string_equal(fleet.machines[2].problem->id, "E-TOPO-DUPLICATE");
	assert_problem(&fleet, "lab", "db", NULL);
	assert_problem(&fleet, "other", "web", NULL);
	fb_fleet_release(&fleet);
}

static void
a_missing_parent_is_a_problem_of_the_child(void **state)
{
	struct fb_fleet fleet = { 0 };

	(void)state;
	(void)add(&fleet, "lab", "web", "db");
	(void)add(&fleet, "other", "db", NULL);
	(void)add(&fleet, "other", "web", "db");
	fb_fleet_settle(&fleet);
	assert_problem(&fleet, "lab", "web", "E-TOPO-PARENT");
	assert_problem(&fleet, "other", "web", NULL);
	assert_problem(&fleet, "other", "db", NULL);
	fb_fleet_release(&fleet);
}

static void
a_cycle_is_a_problem_of_all_on_it_and_of_no_other(void **state)
{
	struct fb_fleet fleet = { 0 };

	(void)state;
	(void)add(&fleet, "lab", "a", "b");
	(void)add(&fleet, "lab", "b", "c");
	(void)add(&fleet, "lab", "c", "a");
	(void)add(&fleet, "lab", "child", "b");
	(void)add(&fleet, "lab", "self", "self");
	(void)add(&fleet, "lab", "top", NULL);
	fb_fleet_settle(&fleet);
	assert_problem(&fleet, "lab", "a", "E-TOPO-CYCLE");
	assert_problem(&fleet, "lab", "b", "E-TOPO-CYCLE");
	assert_problem(&fleet, "lab", "c", "E-TOPO-CYCLE");
	assert_problem(&fleet, "lab", "self", "E-TOPO-CYCLE");
	assert_problem(&fleet, "lab", "child", NULL);
	assert_problem(&fleet, "lab", "top", NULL);
	fb_fleet_release(&fleet);
}

static void
hostile_names_are_a_problem(void **state)
{
	static const char *const bad[] = { "", "..", "a/b", "-rf", "a\nb",
		"a b", "\xff" };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(bad); i++) {
		struct fb_fleet fleet = { 0 };
		struct fb_machine *machine = add(&fleet, "lab", "web", NULL);

		fb_machine_add_volume(machine)->name = fb_strdup(bad[i]);
		(void)add(&fleet, "lab", bad[i], NULL);
		fb_fleet_settle(&fleet);
		assert_problem(&fleet, "lab", "web", "E-NAME");
		assert_problem(&fleet, "lab", bad[i], "E-NAME");
		fb_fleet_release(&fleet);
	}
}

static void
a_problem_a_machine_has_is_kept(void **state)
{
	struct fb_fleet fleet = { 0 };
	struct fb_machine *machine = add(&fleet, "lab", "..", "none");

	(void)state;
	(void)fb_fail_id(&err, FB_ECONFIG, "E-CFG-KEY", "first");
	fb_machine_refuse(machine, &err);
	fb_fleet_settle(&fleet);
	assert_problem(&fleet, "lab", "..", "E-CFG-KEY");
	fb_fleet_release(&fleet);
}

static void
everything_is_sorted_and_nothing_is_null(void **state)
{
	struct fb_fleet fleet = { 0 };
	struct fb_machine *machine;

	(void)state;
	for (int i = 40; i > 0; i--) {
		FB_AUTO_FREE char *id = fb_format("m%02d", i);

		machine = add(&fleet, i % 2 ? "b" : "a", id, NULL);
		fb_machine_add_volume(machine)->name = fb_strdup("root");
		fb_machine_add_volume(machine)->name = fb_strdup("data");
	}
	fb_fleet_settle(&fleet);
	for (size_t i = 0; i < fleet.count; i++) {
		machine = &fleet.machines[i];
		assert_string_equal(machine->name, machine->id);
		assert_string_equal(machine->role, "");
		assert_string_equal(machine->volumes[0].name, "data");
		assert_ptr_equal(machine,
		    fb_fleet_find(&fleet, machine->source, machine->id));
	}
	assert_string_equal(fleet.machines[0].id, "m02");
	assert_null(fb_fleet_find(&fleet, "a", "m01"));
	fb_fleet_release(&fleet);
}

static void
words_come_back_as_they_went(void **state)
{
	enum fb_power power;
	enum fb_volume_kind kind;
	enum fb_lifecycle lifecycle;
	enum fb_level level;

	(void)state;
	for (int i = FB_POWER_UNKNOWN; i <= FB_POWER_DOWN; i++) {
		assert_ok(fb_power_parse(
		    fb_power_name((enum fb_power)i), &power, &err));
		assert_int_equal(power, i);
	}
	for (int i = FB_VOLUME_DISK; i <= FB_VOLUME_FLOPPY; i++) {
		assert_ok(fb_volume_kind_parse(
		    fb_volume_kind_name((enum fb_volume_kind)i), &kind, &err));
		assert_int_equal(kind, i);
	}
	for (int i = 0; i <= FB_LIFECYCLE_READ_DOWN; i++) {
		assert_ok(fb_lifecycle_parse(
		    fb_lifecycle_name((enum fb_lifecycle)i), &lifecycle, &err));
		assert_int_equal(lifecycle, i);
	}
	for (int i = 0; i <= FB_LEVEL_FUZZY; i++) {
		assert_ok(fb_level_parse(
		    fb_level_name((enum fb_level)i), &level, &err));
		assert_int_equal(level, i);
	}
	assert_fails(FB_ECORRUPT, fb_power_parse("UP", &power, &err));
	assert_fails(FB_ECORRUPT, fb_level_parse("", &level, &err));
}

/* The bound on memory is kept by saying no, not by hoping. */
static void
more_machines_than_fit_are_refused(void **state)
{
	struct fb_fleet fleet = { 0 };

	(void)state;
	for (int i = 0; i < FB_FLEET_MACHINES_MAX; i++)
		(void)fb_fleet_add(&fleet);
	assert_ok(fb_fleet_check_size(&fleet, &err));
	for (int i = 0; i < FB_FLEET_VOLUMES_MAX; i++)
		(void)fb_machine_add_volume(&fleet.machines[0]);
	assert_ok(fb_fleet_check_size(&fleet, &err));
	(void)fb_machine_add_volume(&fleet.machines[1]);
	assert_fails(FB_ECONFIG, fb_fleet_check_size(&fleet, &err));
	assert_string_equal(err.id, "E-FLEET-SIZE");
	fleet.machines[1].volume_count = 0;
	(void)fb_fleet_add(&fleet);
	assert_fails(FB_ECONFIG, fb_fleet_check_size(&fleet, &err));
	fb_fleet_release(&fleet);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(doubled_ids_are_a_problem_of_both),
		cmocka_unit_test(a_missing_parent_is_a_problem_of_the_child),
		cmocka_unit_test(
		    a_cycle_is_a_problem_of_all_on_it_and_of_no_other),
		cmocka_unit_test(hostile_names_are_a_problem),
		cmocka_unit_test(a_problem_a_machine_has_is_kept),
		cmocka_unit_test(more_machines_than_fit_are_refused),
		cmocka_unit_test(everything_is_sorted_and_nothing_is_null),
		cmocka_unit_test(words_come_back_as_they_went),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

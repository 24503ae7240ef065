#include "test.h"

#include <errno.h>
#include <stdlib.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/fleet/topology.h"

#define ZEROS "00000000000000000000000000000000" \
	"00000000000000000000000000000000"

static struct fb_machine *
add(struct fb_fleet *fleet, const char *source, const char *id,
    const char *parent, const char *role)
{
	struct fb_machine *machine = fb_fleet_add(fleet);

	machine->source = fb_strdup(source);
	machine->id = fb_strdup(id);
	machine->parent = parent != NULL ? fb_strdup(parent) : NULL;
	machine->role = fb_strdup(role);
	return machine;
}

static void
add_volume(struct fb_machine *machine, const char *name,
    enum fb_volume_kind kind, uint64_t size)
{
	struct fb_volume *volume = fb_machine_add_volume(machine);

	volume->name = fb_strdup(name);
	volume->kind = kind;
	volume->size = size;
}

static void
make_fleet(struct fb_fleet *fleet)
{
	struct fb_machine *machine = add(fleet, "lab", "web-01", "db", "web");

	add_volume(machine, "root", FB_VOLUME_DISK, 1073741824);
	add_volume(machine, "data", FB_VOLUME_TREE, 77);
	(void)add(fleet, "lab", "db", NULL, "");
	fb_fleet_settle(fleet);
}

static const char *
bytes_of(const struct fb_fleet *fleet, bool selected, struct fb_buf *dst)
{
	fb_buf_clear(dst);
	fb_topology_add(dst, fleet, selected);
	return fb_buf_str(dst);
}

static void
the_bytes_are_as_specified(void **state)
{
	struct fb_fleet fleet = { 0 };
	FB_AUTO_BUF struct fb_buf bytes = { 0 };

	(void)state;
	make_fleet(&fleet);
	fb_fleet_add_failure(&fleet)->source = fb_strdup("kvm");
	assert_string_equal(bytes_of(&fleet, false, &bytes),
	    "fleetbak-topology 1\n"
	    "machine 3:lab 2:db - 0: " ZEROS "\n"
	    "machine 3:lab 6:web-01 2:db 3:web " ZEROS
	    " 4:data tree 0 4:root disk 1073741824\n"
	    "source 3:kvm unreachable\n");
	fleet.machines[0].selected = true;
	assert_string_equal(bytes_of(&fleet, true, &bytes),
	    "fleetbak-topology 1\n"
	    "machine 3:lab 2:db - 0: " ZEROS "\n");
	fb_fleet_release(&fleet);
}

/* Two fleets that differ in where one field ends must differ in bytes. */
static void
no_name_forges_a_field_or_a_line(void **state)
{
	static const char *const ids[] = { "a b", "a", "a\nmachine", "1:a",
		"-", "", "a%20b", "a 0:" };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(ids); i++)
		for (size_t k = 0; k < FB_COUNT(ids); k++) {
			struct fb_fleet one = { 0 }, two = { 0 };
			FB_AUTO_BUF struct fb_buf a = { 0 };
			FB_AUTO_BUF struct fb_buf b = { 0 };
			FB_AUTO_BUF struct fb_buf diff = { 0 };
			bool same;

			(void)add(&one, "s", ids[i], ids[k], "");
			(void)add(&two, "s", ids[k], ids[i], "");
			fb_fleet_settle(&one);
			fb_fleet_settle(&two);
			same = strcmp(bytes_of(&one, false, &a),
			           bytes_of(&two, false, &b)) == 0;
			assert_int_equal(same, i == k);
			fb_topology_diff(&one, &two, &diff);
			assert_int_equal(diff.len == 0, i == k);
			fb_fleet_release(&one);
			fb_fleet_release(&two);
		}
}

static void
what_is_volatile_does_not_count(void **state)
{
	struct fb_fleet one = { 0 }, two = { 0 };
	FB_AUTO_BUF struct fb_buf a = { 0 };
	FB_AUTO_BUF struct fb_buf b = { 0 };

	(void)state;
	make_fleet(&one);
	make_fleet(&two);
	two.machines[0].power = FB_POWER_UP;
	two.machines[1].volumes[0].size = 12345; /* a tree's */
	assert_string_equal(
	    bytes_of(&one, false, &a), bytes_of(&two, false, &b));
	fb_fleet_release(&one);
	fb_fleet_release(&two);
}

/* Nor has it changed for all we know. */
static void
what_cannot_be_looked_at_is_no_change(void **state)
{
	struct fb_fleet old = { 0 }, new = { 0 };
	FB_AUTO_BUF struct fb_buf diff = { 0 };
	FB_AUTO_BUF struct fb_buf back = { 0 };
	struct fb_error broken = { 0 }, refused = { 0 };
	struct fb_machine *web;

	(void)state;
	make_fleet(&old);
	fb_fleet_settle(&old);
	make_fleet(&new);
	fb_fleet_settle(&new);
	errno = EIO;
	(void)fb_fail_sys(&broken, "cannot read it");
	(void)fb_fail(&refused, FB_ECONFIG, "it has no command");
	web = fb_fleet_find(&new, "lab", "web-01");
	web->description.bytes[0] = 0xab;
	fb_machine_refuse(web, &broken);
	assert_int_equal(fb_topology_diff(&old, &new, &diff), 0);
	assert_string_equal(
	    fb_buf_str(&diff), "! lab/web-01 cannot be looked at now\n");
	assert_int_equal(fb_topology_diff(&new, &old, &back), 0);
	assert_string_equal(
	    fb_buf_str(&back), "! lab/web-01 can be looked at again\n");

	web = fb_fleet_find(&new, "lab", "db");
	web->description.bytes[0] = 0xab;
	fb_machine_refuse(web, &refused);
	assert_int_equal(fb_topology_diff(&old, &new, &diff), 1);
	fb_fleet_release(&old);
	fb_fleet_release(&new);
}

static void
a_difference_is_said_in_facts(void **state)
{
	struct fb_fleet old = { 0 }, new = { 0 };
	FB_AUTO_BUF struct fb_buf diff = { 0 };
	struct fb_machine *web;

	(void)state;
	make_fleet(&old);
	(void)add(&old, "kvm", "x", NULL, "");
	(void)add(&old, "lab", "gone", NULL, "");
	fb_fleet_settle(&old);
	make_fleet(&new);
	(void)add(&new, "lab", "new", NULL, "");
	fb_fleet_add_failure(&new)->source = fb_strdup("kvm");
	fb_fleet_settle(&new);
	web = fb_fleet_find(&new, "lab", "web-01");
	web->volumes[1].size = 2147483648;
	web->description.bytes[0] = 0xab;
	add_volume(web, "swap", FB_VOLUME_DISK, 1);
	free(fb_fleet_find(&new, "lab", "db")->role);
	fb_fleet_find(&new, "lab", "db")->role = fb_strdup("db");

	fb_topology_diff(&old, &new, &diff);
	assert_string_equal(fb_buf_str(&diff),
	    "! source kvm cannot be asked\n"
	    "~ lab/db: role none -> db\n"
	    "- lab/gone gone\n"
	    "+ lab/new new\n"
	    "~ lab/web-01: definition 000000000000 -> ab0000000000\n"
	    "~ lab/web-01: disk 'root' 1073741824 -> 2147483648 bytes\n"
	    "~ lab/web-01: disk 'swap' new\n");
	fb_fleet_release(&old);
	fb_fleet_release(&new);
}

/* Nobody reads a hundred thousand lines, and they are not held either. */
static void
of_many_differences_the_first_are_said_and_the_rest_counted(void **state)
{
	struct fb_fleet none = { 0 }, many = { 0 };
	FB_AUTO_BUF struct fb_buf diff = { 0 };
	size_t lines = 0;

	(void)state;
	for (int i = 0; i < FB_TOPOLOGY_FACTS_MAX + 17; i++) {
		FB_AUTO_FREE char *id = fb_format("m%06d", i);

		(void)add(&many, "lab", id, NULL, "");
	}
	fb_fleet_settle(&many);
	fb_topology_diff(&none, &many, &diff);
	for (size_t i = 0; i < diff.len; i++)
		lines += diff.data[i] == '\n';
	assert_int_equal(lines, FB_TOPOLOGY_FACTS_MAX + 1);
	assert_non_null(strstr(fb_buf_str(&diff), "+ lab/m000199 new\n"));
	assert_non_null(strstr(fb_buf_str(&diff), "\nand 17 more\n"));
	fb_fleet_release(&many);
}

static void
the_digest_is_that_of_the_bytes(void **state)
{
	struct fb_fleet fleet = { 0 };
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	struct fb_digest streamed, whole;

	(void)state;
	make_fleet(&fleet);
	fb_fleet_add_failure(&fleet)->source = fb_strdup("kvm");
	fleet.machines[1].selected = true;
	for (int selected = 0; selected < 2; selected++) {
		(void)bytes_of(&fleet, selected, &bytes);
		fb_digest_of(fb_buf_span(&bytes), &whole);
		fb_topology_digest(&fleet, selected, &streamed);
		assert_int_equal(fb_digest_cmp(&whole, &streamed), 0);
	}
	fb_fleet_release(&fleet);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    of_many_differences_the_first_are_said_and_the_rest_counted),
		cmocka_unit_test(the_digest_is_that_of_the_bytes),
		cmocka_unit_test(no_name_forges_a_field_or_a_line),
		cmocka_unit_test(the_bytes_are_as_specified),
		cmocka_unit_test(what_is_volatile_does_not_count),
		cmocka_unit_test(what_cannot_be_looked_at_is_no_change),
		cmocka_unit_test(a_difference_is_said_in_facts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

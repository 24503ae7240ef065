#include "test.h"

#include "fleetbak/journal/lifecycle.h"

static struct fb_error err;

/* Rows: from; columns: to, in the order of the enum.  "x": may follow. */
static const char *const legal[] = {
	/*               P S s N n D G U C c V d R r F */
	/* planned */     "-x-x----x-----x",
	/* stopping */    "xxx---x-------x",
	/* stopped */     "x--x-xx-------x",
	/* snapshotting */ "x--xx-x-------x",
	/* snapshotted */ "x----xx-x-----x",
	/* draining */    "x----xx-x-----x",
	/* starting */    "x-----xx------x",
	/* up */          "x-------xx----x",
	/* copying */     "x-------xx----x",
	/* copied */      "x---------x---x",
	/* verified */    "-----------x--x",
	/* durable */     "------------xxx",
	/* releasing */   "------------xxx",
	/* released */    "--------------x",
	/* failed */      "x--------------",
};

static void
every_pair_of_states_is_as_the_table_says(void **state)
{
	(void)state;
	for (int from = 0; from < FB_MACHINE_STATE_COUNT; from++)
		for (int to = 0; to < FB_MACHINE_STATE_COUNT; to++)
			assert_int_equal(
			    fb_machine_step((enum fb_machine_state)from,
			        (enum fb_machine_state)to, &err),
			    legal[from][to] == 'x' ? FB_OK : FB_EBUG);
}

static void
a_state_is_its_own_name(void **state)
{
	enum fb_machine_state got;

	(void)state;
	for (int i = 0; i < FB_MACHINE_STATE_COUNT; i++) {
		const struct fb_lifecycle_row *row =
		    fb_lifecycle_row((enum fb_machine_state)i);

		assert_int_equal(row->state, i);
		assert_ok(fb_machine_state_parse(row->name, &got, &err));
		assert_int_equal(got, i);
	}
	assert_fails(
	    FB_ECORRUPT, fb_machine_state_parse("stoped", &got, &err));
}

static void
what_is_no_state_follows_none(void **state)
{
	(void)state;
	assert_fails(FB_EBUG,
	    fb_machine_step(FB_MACHINE_STATE_COUNT, FB_MACHINE_UP, &err));
	assert_fails(FB_EBUG,
	    fb_machine_step(FB_MACHINE_UP, FB_MACHINE_STATE_COUNT, &err));
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_no_state_follows_none),
		cmocka_unit_test(every_pair_of_states_is_as_the_table_says),
		cmocka_unit_test(a_state_is_its_own_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

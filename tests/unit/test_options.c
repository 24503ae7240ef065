#include "test.h"

#include <stdlib.h>

#include "fleetbak/cli/command.h"
#include "fleetbak/cli/option.h"

static struct fb_error err;
static struct fb_arguments args;

#define PARSE(...)                                                   \
	parse((const char *const[]){ "fleetbak", __VA_ARGS__, NULL })

static int
parse(const char *const *argv)
{
	int argc = 0;

	while (argv[argc] != NULL)
		argc++;
	fb_arguments_release(&args);
	err = (struct fb_error){ 0 };
	return fb_arguments_parse(argc, argv, &args, &err);
}

static void
options_stand_before_and_after_the_command(void **state)
{
	(void)state;
	assert_ok(PARSE("-c", "a.yaml", "download", "web-01", "--dry-run"));
	assert_string_equal(args.command, "download");
	assert_int_equal(args.count, 1);
	assert_string_equal(args.items[0], "web-01");
	assert_string_equal(fb_arguments_value(&args, FB_OPT_CONFIG), "a.yaml");
	assert_true(fb_arguments_on(&args, FB_OPT_DRY_RUN));
}

static void
a_value_has_four_spellings(void **state)
{
	(void)state;
	assert_ok(PARSE("download", "-j4"));
	assert_int_equal(args.options[FB_OPT_JOBS].number, 4);
	assert_ok(PARSE("download", "-j", "5"));
	assert_int_equal(args.options[FB_OPT_JOBS].number, 5);
	assert_ok(PARSE("download", "--jobs=6"));
	assert_int_equal(args.options[FB_OPT_JOBS].number, 6);
	assert_ok(PARSE("download", "--jobs", "7"));
	assert_int_equal(args.options[FB_OPT_JOBS].number, 7);
}

static void
switches_cluster_and_the_last_may_take_a_value(void **state)
{
	(void)state;
	assert_ok(PARSE("download", "-nqvvj3"));
	assert_true(fb_arguments_on(&args, FB_OPT_DRY_RUN));
	assert_true(fb_arguments_on(&args, FB_OPT_QUIET));
	assert_int_equal(args.options[FB_OPT_VERBOSE].times, 2);
	assert_int_equal(args.options[FB_OPT_JOBS].number, 3);
}

static void
nothing_is_abbreviated(void **state)
{
	(void)state;
	assert_fails(FB_ECONFIG, PARSE("download", "--dry"));
	assert_string_equal(err.id, "E-OPT-UNKNOWN");
	assert_fails(FB_ECONFIG, PARSE("down"));
	assert_string_equal(err.id, "E-CMD-UNKNOWN");
}

static void
a_misspelling_is_answered_with_the_nearest_name(void **state)
{
	static const struct {
		const char *wrong, *right;
	} options[] = { { "--dry-rum", "--dry-run" }, { "--jsno", "--json" },
		{ "--confg", "--config" }, { "--quit", "--quiet" },
		{ "--exit-cod", "--exit-code" }, { "--targt", "--target" } };
	static const struct {
		const char *wrong, *right;
	} commands[] = { { "downlaod", "download" }, { "retsore", "restore" },
		{ "stauts", "status" }, { "verfy", "verify" },
		{ "lst", "list" }, { "discovr", "discover" } };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(options); i++) {
		assert_fails(FB_ECONFIG, PARSE("download", options[i].wrong));
		assert_non_null(strstr(err.hint, options[i].right));
	}
	for (size_t i = 0; i < FB_COUNT(commands); i++) {
		assert_fails(FB_ECONFIG, PARSE(commands[i].wrong));
		assert_non_null(strstr(err.hint, commands[i].right));
	}
}

static void
a_single_value_given_twice_is_an_error(void **state)
{
	(void)state;
	assert_fails(FB_ECONFIG, PARSE("list", "-c", "a", "--config=b"));
	assert_string_equal(err.id, "E-OPT-TWICE");
	assert_ok(PARSE("restore", "m", "--volume", "a", "--volume=b"));
	assert_int_equal(args.options[FB_OPT_VOLUME].count, 2);
	assert_string_equal(args.options[FB_OPT_VOLUME].values[1], "b");
}

static void
a_switch_takes_no_value_and_has_a_no(void **state)
{
	(void)state;
	assert_fails(FB_ECONFIG, PARSE("download", "--dry-run=false"));
	assert_string_equal(err.id, "E-OPT-VALUE");
	assert_ok(PARSE("restore", "m", "--no-start"));
	assert_true(args.options[FB_OPT_START].set);
	assert_false(fb_arguments_on(&args, FB_OPT_START));
	assert_fails(FB_ECONFIG, PARSE("restore", "--start", "--no-start"));
	assert_string_equal(err.id, "E-OPT-TWICE");
	assert_fails(FB_ECONFIG, PARSE("restore", "--no-target"));
	assert_string_equal(err.id, "E-OPT-UNKNOWN");
}

static void
an_option_of_another_command_is_an_error(void **state)
{
	(void)state;
	assert_fails(FB_ECONFIG, PARSE("list", "--plan", "1"));
	assert_string_equal(err.id, "E-OPT-HERE");
	assert_non_null(strstr(err.hint, "download"));
}

static void
values_are_checked(void **state)
{
	(void)state;
	assert_fails(FB_ECONFIG, PARSE("list", "-o", "xml"));
	assert_string_equal(err.id, "E-OPT-VALUE");
	assert_fails(FB_ECONFIG, PARSE("download", "-j", "many"));
	assert_fails(FB_ECONFIG, PARSE("download", "-j", "-1"));
	assert_fails(FB_ECONFIG, PARSE("download", "--lock-wait", "30"));
	assert_fails(FB_ECONFIG, PARSE("download", "--config="));
	assert_fails(FB_ECONFIG, PARSE("download", "--config"));
	assert_string_equal(err.id, "E-OPT-VALUE");
	assert_ok(PARSE("download", "--lock-wait", "2min"));
	assert_int_equal(args.options[FB_OPT_LOCK_WAIT].number, 120000);
}

static void
after_two_dashes_all_are_arguments(void **state)
{
	(void)state;
	assert_ok(PARSE("download", "--", "-n", "--json"));
	assert_int_equal(args.count, 2);
	assert_string_equal(args.items[0], "-n");
	assert_false(fb_arguments_on(&args, FB_OPT_DRY_RUN));
}

static void
too_many_arguments_are_an_error(void **state)
{
	(void)state;
	assert_fails(FB_ECONFIG, PARSE("version", "now"));
	assert_string_equal(err.id, "E-CMD-ARGS");
}

/* One option, one letter, one kind, whatever the command. */
static void
a_name_means_the_same_everywhere(void **state)
{
	const struct fb_option *rows;
	size_t count = fb_option_rows(&rows);

	(void)state;
	for (size_t i = 0; i < count; i++) {
		for (size_t j = 0; j < i; j++) {
			if (rows[i].letter != 0 &&
			    rows[i].letter == rows[j].letter)
				assert_int_equal(rows[i].id, rows[j].id);
			if (rows[i].name == NULL || rows[j].name == NULL ||
			    strcmp(rows[i].name, rows[j].name) != 0)
				continue;
			assert_int_equal(rows[i].id, rows[j].id);
			assert_int_equal(rows[i].kind, rows[j].kind);
			assert_int_equal(rows[i].letter, rows[j].letter);
		}
	}
}

static void
every_option_has_a_row_and_every_row_a_command(void **state)
{
	const struct fb_option *rows;
	const struct fb_command *const *commands;
	size_t count = fb_option_rows(&rows);
	size_t command_count = fb_commands(&commands);

	(void)state;
	for (int id = 0; id < FB_OPT_COUNT; id++) {
		size_t found = 0;

		for (size_t i = 0; i < count; i++)
			found += rows[i].id == (enum fb_option_id)id;
		assert_true(found > 0);
	}
	for (size_t i = 0; i < count; i++) {
		size_t found = 0;

		for (size_t c = 0; c < command_count; c++)
			found += fb_option_in(&rows[i], commands[c]->name);
		assert_true(found > 0);
		assert_true(strlen(rows[i].help) < 70);
	}
}

static int
release_args(void **state)
{
	(void)state;
	fb_arguments_release(&args);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_stand_before_and_after_the_command),
		cmocka_unit_test(a_value_has_four_spellings),
		cmocka_unit_test(
		    switches_cluster_and_the_last_may_take_a_value),
		cmocka_unit_test(nothing_is_abbreviated),
		cmocka_unit_test(
		    a_misspelling_is_answered_with_the_nearest_name),
		cmocka_unit_test(a_single_value_given_twice_is_an_error),
		cmocka_unit_test(a_switch_takes_no_value_and_has_a_no),
		cmocka_unit_test(an_option_of_another_command_is_an_error),
		cmocka_unit_test(values_are_checked),
		cmocka_unit_test(after_two_dashes_all_are_arguments),
		cmocka_unit_test(too_many_arguments_are_an_error),
		cmocka_unit_test(a_name_means_the_same_everywhere),
		cmocka_unit_test(
		    every_option_has_a_row_and_every_row_a_command),
	};

	return cmocka_run_group_tests(tests, NULL, release_args);
}

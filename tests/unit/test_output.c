#include "test.h"

#include "fleetbak/cli/cli.h"
#include "fleetbak/cli/explain.h"
#include "fleetbak/cli/help.h"
#include "fleetbak/cli/show.h"

static const struct fb_column columns[] = { { "NAME", false },
	{ "SIZE", true }, { "NOTE", false } };

static void
add_row(struct fb_table *table, const char *a, const char *b, const char *c)
{
	fb_table_row(table);
	fb_table_cell(table, a, NULL);
	fb_table_cell(table, b, "12345");
	fb_table_cell(table, c, NULL);
}

static void
columns_are_aligned_and_lines_have_no_trailing_blanks(void **state)
{
	FB_AUTO_TABLE struct fb_table table = { .columns = columns,
		.column_count = 3 };
	FB_AUTO_BUF struct fb_buf text = { 0 };

	(void)state;
	add_row(&table, "web-01", "1 GiB", "");
	add_row(&table, "d\xc3\xbc", "12 GiB", "x");
	fb_table_add_text(&table, true, &text, NULL);
	assert_string_equal(fb_buf_str(&text),
	    "NAME      SIZE  NOTE\n"
	    "web-01   1 GiB\n"
	    "d\xc3\xbc      12 GiB  x\n");
}

static void
control_characters_never_reach_the_terminal(void **state)
{
	FB_AUTO_TABLE struct fb_table table = { .columns = columns,
		.column_count = 3 };
	FB_AUTO_BUF struct fb_buf text = { 0 };

	(void)state;
	add_row(&table, "a\033[2Jb", "1", "c\nd");
	fb_table_add_text(&table, false, &text, NULL);
	assert_string_equal(fb_buf_str(&text), "a?[2Jb  1  c?d\n");
}

static void
tsv_escapes_what_would_break_it_and_gives_exact_values(void **state)
{
	FB_AUTO_TABLE struct fb_table table = { .columns = columns,
		.column_count = 3 };
	FB_AUTO_BUF struct fb_buf text = { 0 };

	(void)state;
	add_row(&table, "a\tb", "1 GiB", "c\nd\\e");
	fb_table_add_tsv(&table, true, &text, NULL);
	assert_string_equal(fb_buf_str(&text),
	    "NAME\tSIZE\tNOTE\na\\tb\t12345\tc\\nd\\\\e\n");
}

static void
the_status_of_many_follows_the_rule(void **state)
{
	struct fb_tally tally = { 0 };

	(void)state;
	assert_int_equal(fb_tally_exit(&tally), 0);
	fb_tally_bad(&tally, FB_EUNREACH);
	assert_int_equal(fb_tally_exit(&tally), 15);
	fb_tally_bad(&tally, FB_ETIMEOUT);
	assert_int_equal(fb_tally_exit(&tally), 15); /* one common cause */
	fb_tally_bad(&tally, FB_EDENIED);
	assert_int_equal(fb_tally_exit(&tally), 1); /* none in common */
	fb_tally_good(&tally);
	assert_int_equal(fb_tally_exit(&tally), 3);
	fb_tally_bad(&tally, FB_ETOONEW);
	assert_int_equal(fb_tally_exit(&tally), 18);
	fb_tally_bad(&tally, FB_EKEY);
	assert_int_equal(fb_tally_exit(&tally), 12);
	fb_tally_bad(&tally, FB_EUNTRUSTED);
	assert_int_equal(fb_tally_exit(&tally), 13);
	fb_tally_bad(&tally, FB_ECORRUPT);
	assert_int_equal(fb_tally_exit(&tally), 14);
}

static void
something_good_that_is_not_quite_good_is_partial(void **state)
{
	struct fb_tally tally = { 0 };

	(void)state;
	fb_tally_trouble(&tally);
	assert_int_equal(fb_tally_exit(&tally), 3);
}

static void
every_code_has_a_status_of_the_table(void **state)
{
	const struct fb_exit_row *rows;
	size_t count = fb_exit_rows(&rows);

	(void)state;
	for (int code = FB_OK; code >= FB_EFAILED; code--) {
		size_t found = 0;

		for (size_t i = 0; i < count; i++)
			found += rows[i].exit == fb_exit_of((enum fb_code)code);
		assert_int_equal(found, 1);
	}
	assert_string_equal(fb_exit_name(3), "partial");
	assert_string_equal(fb_exit_name(130), "signal");
}

static void
explanations_are_sorted_and_whole(void **state)
{
	const struct fb_explanation *rows;
	size_t count = fb_explanations(&rows);

	(void)state;
	for (size_t i = 0; i < count; i++) {
		assert_true(rows[i].meaning[0] != '\0');
		assert_true(rows[i].causes[0] != '\0');
		assert_true(rows[i].advice[0] != '\0');
		if (i > 0)
			assert_true(strcmp(rows[i - 1].id, rows[i].id) < 0);
		assert_ptr_equal(fb_explanation_find(rows[i].id), &rows[i]);
	}
	for (int code = FB_OK; code >= FB_EFAILED; code--)
		assert_non_null(
		    fb_explanation_find(fb_code_id((enum fb_code)code)));
}

static size_t
lines_of(const struct fb_buf *text, size_t *ret_longest)
{
	size_t lines = 0, width = 0;

	*ret_longest = 0;
	for (size_t i = 0; i < text->len; i++) {
		if (text->data[i] == '\n') {
			lines++;
			width = 0;
		} else if (++width > *ret_longest) {
			*ret_longest = width;
		}
	}
	return lines;
}

static void
short_help_fits_a_screen(void **state)
{
	const struct fb_command *const *commands;
	size_t count = fb_commands(&commands), longest;
	FB_AUTO_BUF struct fb_buf text = { 0 };

	(void)state;
	fb_help_overview(&text, false);
	assert_true(lines_of(&text, &longest) <= 34);
	assert_true(longest <= 80);
	for (size_t i = 0; i < count; i++) {
		fb_buf_clear(&text);
		fb_help_command(&text, commands[i], false);
		assert_true(lines_of(&text, &longest) <= 30);
		assert_true(longest <= 100);
	}
}

static void
every_topic_has_a_text(void **state)
{
	const struct fb_help_topic *topics;
	size_t count = fb_help_topics(&topics), longest;

	(void)state;
	for (size_t i = 0; i < count; i++) {
		FB_AUTO_BUF struct fb_buf text = { 0 };

		assert_true(fb_help_topic(&text, topics[i].name));
		assert_true(lines_of(&text, &longest) > 5);
	}
	FB_AUTO_BUF struct fb_buf none = { 0 };

	assert_false(fb_help_topic(&none, "nonsense"));
}

static void
long_text_is_wrapped_and_examples_are_not(void **state)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };

	(void)state;
	fb_help_wrap(&text, "one two three\n\n  as it is, however long\nend",
	    2, 10);
	assert_string_equal(fb_buf_str(&text),
	    "  one two\n  three\n\n    as it is, however long\n  end\n");
}

static void
modes_read_like_those_of_ls(void **state)
{
	char text[11];

	(void)state;
	fb_cli_mode('f', 0644, text);
	assert_string_equal(text, "-rw-r--r--");
	fb_cli_mode('d', 01777, text);
	assert_string_equal(text, "drwxrwxrwt");
	fb_cli_mode('f', 04751, text);
	assert_string_equal(text, "-rwsr-x--x");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    columns_are_aligned_and_lines_have_no_trailing_blanks),
		cmocka_unit_test(control_characters_never_reach_the_terminal),
		cmocka_unit_test(
		    tsv_escapes_what_would_break_it_and_gives_exact_values),
		cmocka_unit_test(the_status_of_many_follows_the_rule),
		cmocka_unit_test(
		    something_good_that_is_not_quite_good_is_partial),
		cmocka_unit_test(every_code_has_a_status_of_the_table),
		cmocka_unit_test(explanations_are_sorted_and_whole),
		cmocka_unit_test(short_help_fits_a_screen),
		cmocka_unit_test(every_topic_has_a_text),
		cmocka_unit_test(long_text_is_wrapped_and_examples_are_not),
		cmocka_unit_test(modes_read_like_those_of_ls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/base/text.h"
#include "fleetbak/cli/cli.h"
#include "fleetbak/cli/explain.h"
#include "fleetbak/cli/help.h"

static void
explain_id(struct fb_cli *cli, const struct fb_explanation *row)
{
	struct fb_buf *text = &cli->text;

	fb_buf_add_fmt(text, "%s   %s   (exit %s)\n", row->id, row->title,
	    row->exit);
	fb_buf_add_str(text, "\nWhat it means\n");
	fb_help_wrap(text, row->meaning, 2, 79);
	fb_buf_add_str(text, "\nMost often\n");
	fb_help_wrap(text, row->causes, 2, 79);
	fb_buf_add_str(text, "\nTry\n");
	fb_help_wrap(text, row->advice, 2, 79);

	fb_json_put_str(cli->data, "id", row->id);
	fb_json_put_str(cli->data, "title", row->title);
	fb_json_put_str(cli->data, "exit", row->exit);
	fb_json_put_str(cli->data, "meaning", row->meaning);
	fb_json_put_str(cli->data, "causes", row->causes);
	fb_json_put_str(cli->data, "try", row->advice);
}

/* "19" or "stale-plan". */
static bool
explain_exit(struct fb_cli *cli, const char *what)
{
	const struct fb_exit_row *rows;
	size_t count = fb_exit_rows(&rows);
	char number[16];

	for (size_t i = 0; i < count; i++) {
		(void)snprintf(
		    number, sizeof(number), "%d", (int)rows[i].exit);
		if (strcmp(what, number) != 0 &&
		    strcmp(what, rows[i].name) != 0)
			continue;
		fb_buf_add_fmt(&cli->text,
		    "exit %s: %s\n\n%s\nTrying again helps: %s\n", number,
		    rows[i].name, rows[i].meaning, rows[i].retry);
		fb_json_put_u64(
		    cli->data, "exit_code", (uint64_t)rows[i].exit);
		fb_json_put_str(cli->data, "exit_name", rows[i].name);
		fb_json_put_str(cli->data, "meaning", rows[i].meaning);
		return true;
	}
	return false;
}

static void
explain_all(struct fb_cli *cli)
{
	static const struct fb_column columns[] = { { "ID", false },
		{ "EXIT", false }, { "MEANING", false } };
	FB_AUTO_TABLE struct fb_table table = { .columns = columns,
		.column_count = FB_COUNT(columns) };
	const struct fb_explanation *rows;
	size_t count = fb_explanations(&rows);

	json_decref(cli->data);
	cli->data = json_array();
	for (size_t i = 0; i < count; i++) {
		json_t *item = json_object();

		fb_table_row(&table);
		fb_table_cell(&table, rows[i].id, NULL);
		fb_table_cell(&table, rows[i].exit, NULL);
		fb_table_cell(&table, rows[i].title, NULL);
		fb_json_put_str(item, "id", rows[i].id);
		fb_json_put_str(item, "exit", rows[i].exit);
		fb_json_put_str(item, "title", rows[i].title);
		(void)json_array_append_new(cli->data, item);
	}
	fb_cli_add_table(cli, &table);
}

static int
fail_unknown(const char *id, struct fb_error *err)
{
	const struct fb_explanation *rows;
	size_t count = fb_explanations(&rows);
	FB_AUTO_FREE const char **names = fb_alloc(count, sizeof(*names));
	const char *near;

	for (size_t i = 0; i < count; i++)
		names[i] = rows[i].id;
	near = fb_name_nearest(id, names, count);
	(void)fb_fail_id(err, FB_ECONFIG, "E-EXPLAIN-UNKNOWN",
	    "there is no error id or exit code '%s'", id);
	if (near[0] != '\0')
		return fb_hint(err, "did you mean '%s'?", near);
	return fb_hint(err, "fleetbak explain lists them all");
}

static int
explain_run(struct fb_cli *cli, struct fb_error *err)
{
	const struct fb_explanation *row;

	cli->data = json_object();
	if (cli->args.count == 0) {
		explain_all(cli);
		return FB_OK;
	}
	row = fb_explanation_find(cli->args.items[0]);
	if (row != NULL)
		explain_id(cli, row);
	else if (!explain_exit(cli, cli->args.items[0]))
		return fail_unknown(cli->args.items[0], err);
	return FB_OK;
}

const struct fb_command fb_cmd_explain = {
	.name = "explain",
	.group = "Help",
	.args = "[ID | EXIT-CODE]",
	.args_max = 1,
	.help = "what an error means and what to do",
	.examples = "fleetbak explain E-LOCKED\tan error id\n"
		    "fleetbak explain 19\tan exit status\n"
		    "fleetbak explain\tall error ids\n",
	.about = "Every error fleetbak reports has an id that stays the same "
		 "for ever.  This says what it means, what it most often "
		 "comes from and what to try.  fleetbak-errors(7) holds the "
		 "same texts.",
	.run = explain_run,
};

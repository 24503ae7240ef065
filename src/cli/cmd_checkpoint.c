#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/text.h"
#include "fleetbak/cli/cli.h"
#include "fleetbak/cli/script.h"
#include "fleetbak/crypto/base64.h"
#include "fleetbak/journal/checkpoint.h"

static const char *const ends[] = { "open", "complete", "cleared" };

static json_t *
checkpoint_json(const struct fb_checkpoint *item)
{
	json_t *object = json_object();
	char time[FB_TIME_SIZE];

	fb_time_format_ms(item->time_ns, time);
	fb_json_put_u64(object, "id", item->id);
	fb_json_put_str(object, "label", item->label);
	fb_json_put_str(object, "time", time);
	fb_json_put_u64(object, "size", item->size);
	fb_json_put_digest(object, "sha256", &item->sha256);
	return object;
}

static int
open_to_change(struct fb_cli *cli, struct fb_checkpoints **ret,
    struct fb_error *err)
{
	return fb_checkpoints_open(cli->args.items[1],
	    fb_cli_script_wait_ms(cli), &cli->cancel, ret, err);
}

static int
run_init(struct fb_cli *cli, struct fb_error *err)
{
	FB_AUTO_CHECKPOINTS struct fb_checkpoints *all = NULL;

	return open_to_change(cli, &all, err);
}

static int
run_add(struct fb_cli *cli, struct fb_error *err)
{
	const char *label = fb_arguments_value(&cli->args, FB_OPT_LABEL);
	FB_AUTO_CHECKPOINTS struct fb_checkpoints *all = NULL;
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	uint64_t id = 0;
	/* Read first: nobody else has to wait for what feeds us. */
	int rc = fb_io_read_all(STDIN_FILENO, "standard input",
	    FB_CHECKPOINT_MAX + 1, &bytes, err);

	if (rc == FB_ECORRUPT)
		return fb_fail_id(err, FB_ECONFIG, "E-CHECKPOINT-SIZE",
		    "a checkpoint holds at most %u bytes", FB_CHECKPOINT_MAX);
	if (rc == FB_OK)
		rc = open_to_change(cli, &all, err);
	if (rc == FB_OK)
		rc = fb_checkpoints_add(all, label != NULL ? label : "",
		    fb_buf_span(&bytes), &id, err);
	if (rc < 0)
		return rc;
	cli->data = json_object();
	fb_json_put_u64(cli->data, "id", id);
	fb_buf_add_fmt(&cli->text, "%" PRIu64 "\n", id);
	return FB_OK;
}

static int
give_bytes(struct fb_cli *cli, uint64_t id, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf base64 = { 0 };
	struct fb_checkpoint item;
	int rc = fb_checkpoint_load(
	    cli->args.items[1], id, &item, &cli->text, err);

	if (rc < 0)
		return rc;
	if (fb_cli_json(cli)) {
		cli->data = checkpoint_json(&item);
		fb_base64_add(&base64, fb_buf_span(&cli->text));
		fb_json_put_str(cli->data, "data_base64", fb_buf_str(&base64));
	}
	return FB_OK;
}

static int
run_latest(struct fb_cli *cli, struct fb_error *err)
{
	return give_bytes(cli, 0, err);
}

static int
run_load(struct fb_cli *cli, struct fb_error *err)
{
	const char *text = cli->args.items[2];
	uint64_t id = 0;
	int rc = fb_text_u64(
	    (struct fb_span){ (const uint8_t *)text, strlen(text) },
	    INT64_MAX, &id, err);

	if (rc < 0 || id == 0)
		return fb_fail_id(err, FB_ECONFIG, "E-OPT-VALUE",
		    "'%s' is no number of a checkpoint", text);
	return give_bytes(cli, id, err);
}

static int
run_list(struct fb_cli *cli, struct fb_error *err)
{
	static const struct fb_column columns[] = { { "ID", true },
		{ "TIME", false }, { "SIZE", true }, { "LABEL", false } };
	FB_AUTO_TABLE struct fb_table table = { .columns = columns,
		.column_count = FB_COUNT(columns) };
	FB_AUTO_CHECKPOINTS struct fb_checkpoints *all = NULL;
	const struct fb_checkpoint *items;
	json_t *list = json_array();
	size_t count = 0;
	int rc = fb_checkpoints_look(cli->args.items[1], &all, err);

	if (rc < 0) {
		json_decref(list);
		return rc;
	}
	items = fb_checkpoints_list(all, &count);
	for (size_t i = 0; i < count; i++) {
		char time[FB_TIME_SIZE], text[FB_CLI_TEXT], exact[32];

		(void)json_array_append_new(list, checkpoint_json(&items[i]));
		fb_time_format_ms(items[i].time_ns, time);
		fb_table_row(&table);
		(void)snprintf(exact, sizeof(exact), "%" PRIu64, items[i].id);
		fb_table_cell(&table, exact, NULL);
		fb_table_cell(&table, fb_cli_time(cli, time, text), time);
		(void)snprintf(exact, sizeof(exact), "%" PRIu64, items[i].size);
		fb_table_cell(
		    &table, fb_cli_size(cli, items[i].size, text), exact);
		fb_table_cell(&table, items[i].label, NULL);
	}
	cli->data = json_pack("{s:s,s:o}", "state",
	    ends[fb_checkpoints_ended(all)], "checkpoints", list);
	if (count > 0)
		fb_cli_add_table(cli, &table);
	else if (!cli->quiet)
		fb_buf_add_fmt(&cli->summary, "no checkpoint: %s\n",
		    ends[fb_checkpoints_ended(all)]);
	return FB_OK;
}

static int
run_compact(struct fb_cli *cli, struct fb_error *err)
{
	FB_AUTO_CHECKPOINTS struct fb_checkpoints *all = NULL;
	int rc = open_to_change(cli, &all, err);

	if (rc == FB_OK)
		rc = fb_checkpoints_compact(
		    all, fb_arguments_value(&cli->args, FB_OPT_LABEL), err);
	return rc;
}

static int
finish(struct fb_cli *cli, enum fb_checkpoints_end how, struct fb_error *err)
{
	FB_AUTO_CHECKPOINTS struct fb_checkpoints *all = NULL;
	int rc = open_to_change(cli, &all, err);

	if (rc == FB_OK)
		rc = fb_checkpoints_finish(all, how, err);
	return rc;
}

static int
run_complete(struct fb_cli *cli, struct fb_error *err)
{
	return finish(cli, FB_CHECKPOINTS_COMPLETE, err);
}

static int
run_clear(struct fb_cli *cli, struct fb_error *err)
{
	return finish(cli, FB_CHECKPOINTS_CLEARED, err);
}

static const struct fb_script_verb verbs[] = {
	{ "init", 2, 2, true, run_init },
	{ "add", 2, 2, true, run_add },
	{ "latest", 2, 2, false, run_latest },
	{ "load", 3, 3, false, run_load },
	{ "list", 2, 2, false, run_list },
	{ "compact", 2, 2, true, run_compact },
	{ "complete", 2, 2, true, run_complete },
	{ "clear", 2, 2, true, run_clear },
};

static int
checkpoint_run(struct fb_cli *cli, struct fb_error *err)
{
	return fb_cli_script(cli, verbs, FB_COUNT(verbs), err);
}

const struct fb_command fb_cmd_checkpoint = {
	.name = "checkpoint",
	.group = "For scripts",
	.args = "VERB DIR [ID]",
	.args_max = 3,
	.help = "keep the steps of a script's own work",
	.examples =
	    "fleetbak checkpoint add DIR --label copied <state\tone more; its "
	    "number\n"
	    "fleetbak checkpoint latest DIR\tthe bytes of the newest\n"
	    "fleetbak checkpoint complete DIR\tthe work is done: remove all\n",
	.about =
	    "Keeps numbered steps of some work in a directory, so that after a "
	    "crash it goes on from the last one.  A step is any bytes, of "
	    "standard input, with a label; it is durable when its number is "
	    "printed, and found whole or not at all.\n"
	    "\n"
	    "Verbs: init, add, latest, load ID, list, compact, complete, clear. "
	    " Numbers are never given again.  Who changes waits 10 s for "
	    "others that do, or --lock-wait.",
	.words = "init add latest load list compact complete clear",
	.cancels = true,
	.run = checkpoint_run,
};

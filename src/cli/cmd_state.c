#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/cli/cli.h"
#include "fleetbak/cli/script.h"
#include "fleetbak/format/json.h"
#include "fleetbak/journal/state.h"

/* Most bytes of what `apply` reads. */
#define INPUT_MAX (256u << 20)

static int
open_to_change(struct fb_cli *cli, struct fb_state **ret, struct fb_error *err)
{
	return fb_state_open(cli->args.items[1], fb_cli_script_wait_ms(cli),
	    &cli->cancel, ret, err);
}

/* Standard input as a JSON object; nothing at all is an empty one. */
static int
read_entry(json_t **ret, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	int rc = fb_io_read_all(STDIN_FILENO, "standard input",
	    4 * FB_STATE_ENTRY_MAX, &text, err);

	if (rc == FB_OK && text.len == 0) {
		*ret = json_object();
		return FB_OK;
	}
	if (rc == FB_OK)
		rc = fb_json_parse(fb_buf_span(&text), text.len,
		    "standard input", ret, err);
	if (rc == FB_ECORRUPT) {
		struct fb_error inner = *err;

		return fb_fail_id(err, FB_ECONFIG, "E-STATE-CHANGE", "%s",
		    inner.msg);
	}
	return rc;
}

/* {"do": verb, key: second or third argument, ...} */
static json_t *
make_change(const struct fb_cli *cli, const char *const *keys)
{
	json_t *change = json_pack("{s:s}", "do", cli->args.items[0]);

	for (size_t i = 0; keys[i] != NULL; i++)
		(void)json_object_set_new(
		    change, keys[i], json_string(cli->args.items[2 + i]));
	return change;
}

static int
change_one(struct fb_cli *cli, const char *const *keys, bool has_entry,
    struct fb_error *err)
{
	FB_AUTO_STATE struct fb_state *state = NULL;
	FB_AUTO_JSON json_t *changes = json_array(), *entry = NULL;
	json_t *change = make_change(cli, keys);
	int rc = FB_OK;

	(void)json_array_append_new(changes, change);
	if (has_entry)
		rc = read_entry(&entry, err);
	if (rc == FB_OK && has_entry)
		(void)json_object_set(change, "entry", entry);
	if (rc == FB_OK)
		rc = open_to_change(cli, &state, err);
	if (rc == FB_OK)
		rc = fb_state_change(state, changes, true, err);
	return rc;
}

static const char *const kind_and_id[] = { "kind", "id", NULL };
static const char *const id_and_type[] = { "id", "type", NULL };
static const char *const only_id[] = { "id", NULL };

static int
run_with_entry(struct fb_cli *cli, struct fb_error *err)
{
	return change_one(cli, kind_and_id, true, err);
}

static int
run_delete(struct fb_cli *cli, struct fb_error *err)
{
	return change_one(cli, kind_and_id, false, err);
}

static int
run_begin(struct fb_cli *cli, struct fb_error *err)
{
	return change_one(cli, id_and_type, true, err);
}

static int
run_done(struct fb_cli *cli, struct fb_error *err)
{
	return change_one(cli, only_id, false, err);
}

/* A line: a change, or an array of those that belong together. */
static int
apply_line(struct fb_state *state, struct fb_span line, struct fb_error *err)
{
	FB_AUTO_JSON json_t *value = NULL, *changes = NULL;
	int rc = fb_json_parse(line, line.len, "change", &value, err);

	if (rc == FB_ECORRUPT) {
		struct fb_error inner = *err;

		return fb_fail_id(err, FB_ECONFIG, "E-STATE-CHANGE", "%s",
		    inner.msg);
	}
	if (rc < 0)
		return rc;
	changes = json_is_array(value) ? json_incref(value)
	                               : json_pack("[O]", value);
	return fb_state_change(state, changes, false, err);
}

static int
run_apply(struct fb_cli *cli, struct fb_error *err)
{
	FB_AUTO_STATE struct fb_state *state = NULL;
	FB_AUTO_BUF struct fb_buf text = { 0 };
	uint64_t lines = 0, made = 0;
	int rc, synced = FB_OK;
	struct fb_error sync_err;

	rc = fb_io_read_all(
	    STDIN_FILENO, "standard input", INPUT_MAX, &text, err);
	if (rc == FB_OK)
		rc = open_to_change(cli, &state, err);
	if (rc < 0)
		return rc;
	for (size_t at = 0; rc == FB_OK && at < text.len;) {
		const uint8_t *start = text.data + at;
		const uint8_t *end = memchr(start, '\n', text.len - at);
		size_t len = end != NULL ? (size_t)(end - start)
		                         : text.len - at;

		at += len + 1;
		lines++;
		if (len == 0)
			continue;
		rc = apply_line(state, (struct fb_span){ start, len }, err);
		if (rc == FB_OK)
			made++;
		else
			(void)fb_wrap(err, "line %" PRIu64, lines);
	}
	if (made > 0)
		synced = fb_state_sync(state, &sync_err);
	cli->data = json_object();
	fb_json_put_u64(cli->data, "applied", synced == FB_OK ? made : 0);
	if (!cli->quiet && synced == FB_OK)
		fb_buf_add_fmt(
		    &cli->summary, "%" PRIu64 " changes made\n", made);
	if (rc == FB_OK && synced < 0) {
		*err = sync_err;
		rc = synced;
	}
	return rc;
}

static int
run_get(struct fb_cli *cli, struct fb_error *err)
{
	FB_AUTO_STATE struct fb_state *state = NULL;
	enum fb_state_kind kind = FB_STATE_MACHINE;
	const json_t *entry = NULL;
	int rc = fb_state_kind_parse(cli->args.items[2], &kind, err);

	if (rc == FB_OK)
		rc = fb_state_look(cli->args.items[1], &state, err);
	if (rc == FB_OK)
		rc = fb_state_get(state, kind, cli->args.items[3], &entry, err);
	if (rc < 0)
		return rc;
	cli->data = json_deep_copy(entry);
	fb_json_add(&cli->text, entry);
	fb_buf_add_str(&cli->text, "\n");
	return FB_OK;
}

static int
run_list(struct fb_cli *cli, struct fb_error *err)
{
	FB_AUTO_STATE struct fb_state *state = NULL;
	enum fb_state_kind kind = FB_STATE_MACHINE;
	int rc = fb_state_kind_parse(cli->args.items[2], &kind, err);

	if (rc == FB_OK)
		rc = fb_state_look(cli->args.items[1], &state, err);
	if (rc < 0)
		return rc;
	cli->data = fb_state_list(
	    state, kind, fb_arguments_value(&cli->args, FB_OPT_MACHINE));
	for (size_t i = 0; i < json_array_size(cli->data); i++) {
		fb_json_add(&cli->text, json_array_get(cli->data, i));
		fb_buf_add_str(&cli->text, "\n");
	}
	return FB_OK;
}

static const struct fb_script_verb verbs[] = {
	{ "create", 4, 4, true, run_with_entry },
	{ "update", 4, 4, true, run_with_entry },
	{ "put", 4, 4, true, run_with_entry },
	{ "delete", 4, 4, true, run_delete },
	{ "get", 4, 4, false, run_get },
	{ "list", 3, 3, false, run_list },
	{ "begin", 4, 4, true, run_begin },
	{ "done", 3, 3, true, run_done },
	{ "apply", 2, 2, true, run_apply },
};

static int
state_run(struct fb_cli *cli, struct fb_error *err)
{
	return fb_cli_script(cli, verbs, FB_COUNT(verbs), err);
}

const struct fb_command fb_cmd_state = {
	.name = "state",
	.group = "For scripts",
	.args = "VERB DIR [KIND] [ID] [TYPE]",
	.args_max = 4,
	.help = "keep what a script knows of machines",
	.examples =
	    "fleetbak state create DIR machine web <entry.json\ta new one\n"
	    "fleetbak state begin DIR web snapshot </dev/null\tan operation "
	    "is pending\n"
	    "fleetbak state apply DIR <changes.ndjson\tmany, quickly\n",
	.about =
	    "Keeps entries about machines, volumes, snapshots, ports, mounts "
	    "and artifacts, and the operation that is pending on a machine, in "
	    "a directory.  Several processes may do so at once.  A change is "
	    "durable when the command succeeds.\n"
	    "\n"
	    "Verbs: create, update, put, delete (KIND ID), get KIND ID, list "
	    "KIND, begin MACHINE TYPE, done MACHINE, apply.  An entry is a "
	    "JSON object on standard input.  Who changes waits 10 s for others "
	    "that do, or --lock-wait.",
	.words = "create update put delete get list begin done apply",
	.cancels = true,
	.run = state_run,
};

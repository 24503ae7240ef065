/*
 * Metrics for the textfile collector of node_exporter: text format 0.0.4, no
 * timestamps.  What this command knows replaces what the file said of it; the
 * rest stays, so that the last success of a machine outlives failures.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/lock.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "fleetbak/cli/unattended.h"

#define FILE_MAX     (64U << 20)
#define LOCK_WAIT_MS 10000

/* In the order of the file. */
enum family {
	BUILD_INFO,
	LAST_RUN,
	LAST_RUN_EXIT,
	LAST_RUN_DURATION,
	LAST_SUCCESS,
	LAST_RUN_MACHINES,
	MACHINE_SUCCESS,
	MACHINE_RPO,
	MACHINE_VERIFIED,
	MACHINE_DOWNTIME,
	MACHINE_DURATION,
	MACHINE_SIZE,
	MACHINE_READ,
	MACHINE_STORED,
	MACHINE_SNAPSHOTS,
	REPO_STORED,
	REPO_LOGICAL,
	REPO_SNAPSHOTS,
	REPO_DAMAGED,
	FAMILIES,
};

static const struct {
	const char *name, *help;
} families[FAMILIES] = {
	[BUILD_INFO] = { "fleetbak_build_info",
	    "fleetbak version that wrote this file." },
	[LAST_RUN] = { "fleetbak_last_run_timestamp_seconds",
	    "End of the last run of a command, good or bad." },
	[LAST_RUN_EXIT] = { "fleetbak_last_run_exit_code",
	    "Exit status of the last run of a command (0 good, 3 some "
	    "machines failed, ...)." },
	[LAST_RUN_DURATION] = { "fleetbak_last_run_duration_seconds",
	    "How long the last run of a command took." },
	[LAST_SUCCESS] = { "fleetbak_last_success_timestamp_seconds",
	    "End of the last run of a command with exit status 0." },
	[LAST_RUN_MACHINES] = { "fleetbak_last_run_machines",
	    "Machines of the last download by result." },
	[MACHINE_SUCCESS] = { "fleetbak_machine_last_success_timestamp_seconds",
	    "Point in time of the machine's newest good backup; 0: never." },
	[MACHINE_RPO] = { "fleetbak_machine_rpo_seconds",
	    "Recovery point objective configured for the machine." },
	[MACHINE_VERIFIED] = { "fleetbak_machine_last_verified_timestamp_"
	                       "seconds",
	    "Last time stored data of the machine was read back and "
	    "matched." },
	[MACHINE_DOWNTIME] = { "fleetbak_machine_last_downtime_seconds",
	    "How long the machine was down for its newest backup." },
	[MACHINE_DURATION] = { "fleetbak_machine_last_duration_seconds",
	    "Duration of the machine's newest backup." },
	[MACHINE_SIZE] = { "fleetbak_machine_size_bytes",
	    "Size of the machine's newest backup when restored." },
	[MACHINE_READ] = { "fleetbak_machine_read_bytes",
	    "Bytes read from the source for the machine's newest backup." },
	[MACHINE_STORED] = { "fleetbak_machine_stored_bytes",
	    "Bytes the machine's newest backup added to the repository." },
	[MACHINE_SNAPSHOTS] = { "fleetbak_machine_snapshots",
	    "Snapshots kept for the machine, as the last prune saw them." },
	[REPO_STORED] = { "fleetbak_repo_stored_bytes",
	    "Bytes in the repository, as the last prune saw them." },
	[REPO_LOGICAL] = { "fleetbak_repo_logical_bytes",
	    "Restorable bytes of all snapshots in the repository, as the last "
	    "status --check saw them." },
	[REPO_SNAPSHOTS] = { "fleetbak_repo_snapshots",
	    "Snapshots in the repository." },
	[REPO_DAMAGED] = { "fleetbak_repo_damaged_objects",
	    "Objects found missing or altered by the last verify." },
};

/* The samples of each family: labels, as they stand in the file, to the text
 * of the value. */
struct sheet {
	json_t *samples[FAMILIES];
};

static void
set_sample(
    struct sheet *sheet, enum family family, const char *labels, double value)
{
	/* Seconds and bytes: whole numbers are written as such. */
	FB_AUTO_FREE char *text = floor(value) == value && fabs(value) < 9e15
	    ? fb_format("%.0f", value)
	    : fb_format("%.3f", value);

	(void)json_object_set_new(
	    sheet->samples[family], labels, json_string(text));
}

static void
add_label(struct fb_buf *dst, const char *key, const char *value)
{
	fb_buf_add_fmt(dst, "%s%s=\"", dst->len > 0 ? "," : "", key);
	for (; *value != '\0'; value++) {
		if (*value == '\\' || *value == '"')
			fb_buf_add(dst, "\\", 1);
		if (*value == '\n')
			fb_buf_add_str(dst, "\\n");
		else
			fb_buf_add(dst, value, 1);
	}
	fb_buf_add_str(dst, "\"");
}

/* fleet="F",KEY="VALUE" */
static char *
labels_of(const char *fleet, const char *key, const char *value)
{
	FB_AUTO_BUF struct fb_buf labels = { 0 };

	add_label(&labels, "fleet", fleet);
	if (key != NULL)
		add_label(&labels, key, value);
	return (char *)fb_buf_steal(&labels);
}

/* Of "source/id". */
static char *
machine_labels(const char *fleet, const char *name)
{
	FB_AUTO_BUF struct fb_buf labels = { 0 };
	size_t len = strcspn(name, "/");
	FB_AUTO_FREE char *source = fb_format("%.*s", (int)len, name);

	add_label(&labels, "fleet", fleet);
	add_label(&labels, "source", source);
	add_label(&labels, "machine", name[len] == '/' ? name + len + 1 : name);
	return (char *)fb_buf_steal(&labels);
}

/* "NAME{LABELS} VALUE": what is not one of ours is left out. */
static void
read_line(struct sheet *sheet, const char *line, size_t len)
{
	const char *open = memchr(line, '{', len);
	const char *close = memrchr(line, '}', len);
	FB_AUTO_FREE char *labels = NULL, *value = NULL;
	char *end;

	if (len == 0 || line[0] == '#' || open == NULL || close == NULL ||
	    close < open || close + 2 >= line + len || close[1] != ' ')
		return;
	labels = fb_format("%.*s", (int)(close - open - 1), open + 1);
	value = fb_format("%.*s", (int)(line + len - close - 2), close + 2);
	(void)strtod(value, &end);
	if (*end != '\0' || end == value)
		return;
	for (size_t i = 0; i < FAMILIES; i++)
		if (strlen(families[i].name) == (size_t)(open - line) &&
		    memcmp(families[i].name, line, (size_t)(open - line)) == 0)
			(void)json_object_set_new(
			    sheet->samples[i], labels, json_string(value));
}

static void
read_old(struct sheet *sheet, struct fb_span old)
{
	const char *at = (const char *)old.ptr;
	size_t left = old.len;

	while (left > 0) {
		const char *end = memchr(at, '\n', left);
		size_t len = end != NULL ? (size_t)(end - at) : left;

		read_line(sheet, at, len);
		len += end != NULL;
		at += len;
		left -= len;
	}
}

static double
number_of(const json_t *item, const char *key)
{
	return json_number_value(json_object_get(item, key));
}

/* Whole seconds. */
static double
seconds_of(const struct fb_metrics_input *in)
{
	int64_t seconds = in->now_ns / 1000000000;

	return (double)seconds;
}

static void
put_command(struct sheet *sheet, const struct fb_metrics_input *in)
{
	FB_AUTO_FREE char *labels =
	    labels_of(in->fleet, "command", in->command);
	FB_AUTO_BUF struct fb_buf build = { 0 };
	double now = seconds_of(in);

	add_label(&build, "version", FB_VERSION);
	add_label(&build, "fleet", in->fleet);
	(void)json_object_clear(sheet->samples[BUILD_INFO]);
	set_sample(sheet, BUILD_INFO, fb_buf_str(&build), 1);
	set_sample(sheet, LAST_RUN, labels, now);
	set_sample(sheet, LAST_RUN_EXIT, labels, in->status);
	set_sample(
	    sheet, LAST_RUN_DURATION, labels, (double)in->elapsed_ms / 1000.0);
	if (in->status == 0)
		set_sample(sheet, LAST_SUCCESS, labels, now);
}

static void
put_machine(
    struct sheet *sheet, const struct fb_metrics_input *in, const json_t *item)
{
	FB_AUTO_FREE char *labels = machine_labels(
	    in->fleet, json_string_value(json_object_get(item, "machine")));
	const json_t *time = json_object_get(item, "time");

	if (time != NULL) {
		set_sample(
		    sheet, MACHINE_SUCCESS, labels, json_number_value(time));
		set_sample(
		    sheet, MACHINE_SIZE, labels, number_of(item, "size"));
		set_sample(
		    sheet, MACHINE_READ, labels, number_of(item, "read"));
		set_sample(
		    sheet, MACHINE_STORED, labels, number_of(item, "stored"));
		set_sample(sheet, MACHINE_DOWNTIME, labels,
		    number_of(item, "downtime"));
		if (json_object_get(item, "duration") != NULL)
			set_sample(sheet, MACHINE_DURATION, labels,
			    number_of(item, "duration"));
	} else if (json_object_get(sheet->samples[MACHINE_SUCCESS], labels) ==
	    NULL) {
		set_sample(sheet, MACHINE_SUCCESS, labels, 0);
	}
}

/* Is this a machine of a source that could not be asked? */
static bool
is_away(const struct fb_metrics_input *in, const char *labels)
{
	const json_t *source;
	size_t i;

	json_array_foreach(json_object_get(in->facts, "unreachable"), i, source)
	{
		FB_AUTO_FREE char *head =
		    labels_of(in->fleet, "source", json_string_value(source));

		if (strncmp(labels, head, strlen(head)) == 0 &&
		    labels[strlen(head)] == ',')
			return true;
	}
	return false;
}

/* A machine that its source does not have any more pages nobody. */
static void
drop_left(struct sheet *sheet, const struct fb_metrics_input *in)
{
	FB_AUTO_FREE char *fleet = labels_of(in->fleet, NULL, NULL);
	FB_AUTO_JSON json_t *here = json_object();
	const char *labels;
	json_t *item;
	size_t i;
	void *next;

	json_array_foreach(json_object_get(in->facts, "machines"), i, item)
	{
		FB_AUTO_FREE char *own = machine_labels(in->fleet,
		    json_string_value(json_object_get(item, "machine")));

		(void)json_object_set_new(here, own, json_true());
	}
	for (enum family family = MACHINE_SUCCESS; family <= MACHINE_SNAPSHOTS;
	     family++)
		json_object_foreach_safe(
		    sheet->samples[family], next, labels, item)
		{
			if (strncmp(labels, fleet, strlen(fleet)) == 0 &&
			    json_object_get(here, labels) == NULL &&
			    !is_away(in, labels))
				(void)json_object_del(
				    sheet->samples[family], labels);
		}
}

static void
put_results(struct sheet *sheet, const struct fb_metrics_input *in)
{
	static const char *const names[] = { "ok", "failed", "skipped" };
	const json_t *machines = json_object_get(in->facts, "machines");
	size_t counts[FB_COUNT(names)] = { 0 }, i;
	const json_t *item;

	json_array_foreach(machines, i, item)
	{
		json_int_t result =
		    json_integer_value(json_object_get(item, "result"));

		if (result >= 0 && result < (json_int_t)FB_COUNT(names))
			counts[result]++;
		put_machine(sheet, in, item);
	}
	for (i = 0; i < FB_COUNT(names); i++) {
		FB_AUTO_FREE char *labels =
		    labels_of(in->fleet, "result", names[i]);

		set_sample(sheet, LAST_RUN_MACHINES, labels, (double)counts[i]);
	}
}

/* Every machine of the fleet that is known has its objective, and, after a
 * verify of all that found nothing, has been verified. */
static void
put_known(struct sheet *sheet, const struct fb_metrics_input *in)
{
	FB_AUTO_FREE char *fleet = labels_of(in->fleet, NULL, NULL);
	bool verified = json_is_true(json_object_get(in->facts, "verified"));
	const char *labels;
	json_t *item;

	if (in->rpo_ms == 0)
		(void)json_object_clear(sheet->samples[MACHINE_RPO]);
	json_object_foreach(sheet->samples[MACHINE_SUCCESS], labels, item)
	{
		if (strncmp(labels, fleet, strlen(fleet)) != 0)
			continue;
		if (in->rpo_ms > 0)
			set_sample(sheet, MACHINE_RPO, labels,
			    (double)in->rpo_ms / 1000.0);
		if (verified)
			set_sample(sheet, MACHINE_VERIFIED, labels,
			    seconds_of(in));
	}
}

/* What one command or another knows of the whole repository. */
static void
put_repo(struct sheet *sheet, const struct fb_metrics_input *in)
{
	static const struct {
		const char *fact;
		enum family family;
	} numbers[] = { { "damaged", REPO_DAMAGED },
		{ "repo_stored", REPO_STORED }, { "repo_logical", REPO_LOGICAL },
		{ "snapshots", REPO_SNAPSHOTS } };
	FB_AUTO_FREE char *labels = labels_of(in->fleet, "repo", in->repository);
	const json_t *item;
	size_t i;

	for (i = 0; i < FB_COUNT(numbers); i++) {
		const json_t *value =
		    json_object_get(in->facts, numbers[i].fact);

		if (value != NULL)
			set_sample(sheet, numbers[i].family, labels,
			    json_number_value(value));
	}
	json_array_foreach(json_object_get(in->facts, "kept"), i, item)
	{
		FB_AUTO_FREE char *machine = machine_labels(in->fleet,
		    json_string_value(json_object_get(item, "machine")));

		set_sample(sheet, MACHINE_SNAPSHOTS, machine,
		    number_of(item, "snapshots"));
	}
}

static void
add_sheet(struct fb_buf *dst, const struct sheet *sheet)
{
	for (size_t i = 0; i < FAMILIES; i++) {
		const char *labels;
		json_t *value;

		if (json_object_size(sheet->samples[i]) == 0)
			continue;
		fb_buf_add_fmt(dst, "# HELP %s %s\n# TYPE %s gauge\n",
		    families[i].name, families[i].help, families[i].name);
		json_object_foreach(sheet->samples[i], labels, value)
		    fb_buf_add_fmt(dst, "%s{%s} %s\n", families[i].name, labels,
		        json_string_value(value));
	}
}

void
fb_metrics_make(const struct fb_metrics_input *in, struct fb_buf *dst)
{
	struct sheet sheet;

	for (size_t i = 0; i < FAMILIES; i++)
		sheet.samples[i] = json_object();
	read_old(&sheet, in->old);
	put_command(&sheet, in);
	if (json_object_get(in->facts, "machines") != NULL)
		put_results(&sheet, in);
	if (json_is_true(json_object_get(in->facts, "whole")))
		drop_left(&sheet, in);
	put_known(&sheet, in);
	put_repo(&sheet, in);
	add_sheet(dst, &sheet);
	for (size_t i = 0; i < FAMILIES; i++)
		json_decref(sheet.samples[i]);
}

/* Two commands may end at once, and each keeps what the other wrote. */
static int
replace_file(
    struct fb_cli *cli, struct fb_metrics_input *in, struct fb_error *err)
{
	const char *path = cli->config->metrics_textfile;
	FB_AUTO_FREE char *lock_path =
	    fb_state_path(&cli->engine, "metrics.lock");
	FB_AUTO_BUF struct fb_buf old = { 0 }, text = { 0 };
	FB_AUTO_CLOSE int lock = -1;
	mode_t mask;
	int rc = fb_io_mkdirs(cli->config->state_dir, 0700, err);

	if (rc == FB_OK) {
		lock =
		    fb_lock_take(lock_path, LOCK_WAIT_MS, NULL, "metrics", err);
		rc = lock < 0 ? lock : FB_OK;
	}
	if (rc == FB_OK)
		rc = fb_io_read_file(path, FILE_MAX, &old, err);
	if (rc == FB_ENOTFOUND || rc == FB_ECORRUPT)
		rc = FB_OK; /* it begins anew */
	if (rc < 0)
		return rc;
	in->old = fb_buf_span(&old);
	fb_metrics_make(in, &text);
	/* The collector is another user.  No other thread makes files now. */
	mask = umask(022);
	rc = fb_io_replace(path, fb_buf_span(&text), 0644, err);
	(void)umask(mask);
	return rc;
}

void
fb_metrics_write(struct fb_cli *cli, int status)
{
	struct fb_metrics_input in = {
		.fleet = cli->config->fleet_name,
		.repository = cli->engine.repository != NULL
		    ? cli->engine.repository
		    : cli->config->repositories[0].name,
		.command = cli->command->name,
		.now_ns = fb_clock_wall_ns(),
		.elapsed_ms = cli->elapsed_ms,
		.rpo_ms = cli->config->rpo_ms,
		.status = status,
		.facts = cli->facts,
	};
	struct fb_error err = { 0 };

	if (cli->config->metrics_textfile == NULL ||
	    replace_file(cli, &in, &err) == FB_OK)
		return;
	(void)fb_wrap(&err, "metrics.textfile");
	(void)fb_hint(&err,
	    "the directory of the textfile collector has to be "
	    "writable for who runs fleetbak");
	fb_cli_warn(cli, NULL, &err);
}

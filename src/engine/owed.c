#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/format/json.h"
#include "owed.h"

/* Longest "source/id". */
#define MACHINE_MAX (2 * FB_NAME_MAX + 1)

static int
append(struct fb_journal *journal, const char *type, json_t *owned_body,
    struct fb_error *err)
{
	FB_AUTO_JSON json_t *body = owned_body;

	if (body == NULL)
		return fb_fail(
		    err, FB_EBUG, "obligation: a machine is no text");
	return fb_journal_append(journal, type, body, true, err);
}

int
fb_obligation_begin(
    struct fb_journal *journal, const char *machine, struct fb_error *err)
{
	char at[FB_TIME_SIZE], boot[FB_BOOT_ID_SIZE];

	fb_time_format_ms(fb_clock_wall_ns(), at);
	fb_clock_boot_id(boot);
	return append(journal, "obligation",
	    json_pack("{s:s,s:s,s:I,s:s}", "at", at, "boot", boot, "boot_ms",
	        (json_int_t)(fb_clock_boot_ns() / 1000000), "machine",
	        machine),
	    err);
}

int
fb_obligation_suspend(
    struct fb_journal *journal, const char *machine, struct fb_error *err)
{
	return append(journal, "suspended",
	    json_pack("{s:s}", "machine", machine), err);
}

int
fb_obligation_end(struct fb_journal *journal, const char *machine,
    const char *how, struct fb_error *err)
{
	char at[FB_TIME_SIZE];

	fb_time_format_ms(fb_clock_wall_ns(), at);
	return append(journal, "discharged",
	    json_pack("{s:s,s:s,s:s}", "at", at, "how", how, "machine",
	        machine),
	    err);
}

/* The list while one journal is read into it. */
struct fold {
	struct owed_list *list;
	size_t first; /* of this journal */
	const char *journal;
	const char *run;
	bool adopted;
};

static struct owed *
find_owed(const struct fold *fold, const char *machine)
{
	for (size_t i = fold->first; i < fold->list->count; i++)
		if (strcmp(fold->list->items[i].machine, machine) == 0)
			return &fold->list->items[i];
	return NULL;
}

static void
release_owed(struct owed *owed)
{
	free(owed->machine);
	free(owed->journal);
}

static struct owed *
add_owed(struct fold *fold, const char *machine)
{
	struct owed_list *list = fold->list;
	struct owed *owed = find_owed(fold, machine);

	if (owed != NULL)
		return owed;
	list->items = fb_realloc(
	    list->items, list->count + 1, sizeof(*list->items));
	owed = &list->items[list->count++];
	*owed = (struct owed){ .machine = fb_strdup(machine),
		.journal = fb_strdup(fold->journal) };
	(void)snprintf(owed->run, sizeof(owed->run), "%s", fold->run);
	return owed;
}

static void
drop_owed(struct fold *fold, struct owed *owed)
{
	struct owed *last = &fold->list->items[fold->list->count - 1];

	release_owed(owed);
	memmove(owed, owed + 1, (size_t)(last - owed) * sizeof(*owed));
	fold->list->count--;
}

static int
check_machine(const char *machine, struct fb_error *err)
{
	const char *slash = strchr(machine, '/');

	if (slash != NULL && strlen(machine) <= MACHINE_MAX &&
	    fb_name_ok(machine, (size_t)(slash - machine)) &&
	    fb_name_ok(slash + 1, strlen(slash + 1)))
		return FB_OK;
	return fb_fail(err, FB_ECORRUPT, "'%s' is no machine", machine);
}

/* When it began.  Journals of before know the wall clock only. */
static int
fold_age(struct owed *owed, const json_t *body, struct fb_error *err)
{
	const char *at, *boot;
	int rc = fb_json_str(body, "at", "obligation", &at, err);

	if (rc == FB_OK)
		rc = fb_time_parse(at, &owed->at, err);
	owed->boot[0] = '\0';
	if (rc < 0 || json_object_get(body, "boot") == NULL)
		return rc;
	rc = fb_json_str(body, "boot", "obligation", &boot, err);
	if (rc == FB_OK)
		rc = fb_json_u64(body, "boot_ms", "obligation", INT64_MAX,
		    &owed->boot_ms, err);
	if (rc == FB_OK)
		(void)snprintf(owed->boot, sizeof(owed->boot), "%s", boot);
	return rc;
}

static int
fold_record(
    const struct fb_journal_record *record, void *arg, struct fb_error *err)
{
	bool begins = strcmp(record->type, "obligation") == 0;
	bool suspends = strcmp(record->type, "suspended") == 0;
	bool ends = strcmp(record->type, "discharged") == 0;
	struct fold *fold = arg;
	const char *machine;
	struct owed *owed;
	int rc;

	fold->adopted |= strcmp(record->type, "adopted") == 0;
	if (!begins && !suspends && !ends)
		return FB_OK;
	rc = fb_json_str(record->body, "machine", record->type, &machine, err);
	if (rc == FB_OK)
		rc = check_machine(machine, err);
	if (rc < 0)
		return rc;
	if (ends) {
		owed = find_owed(fold, machine);
		if (owed != NULL)
			drop_owed(fold, owed);
		return FB_OK;
	}
	owed = add_owed(fold, machine);
	owed->suspended = suspends;
	if (!begins)
		return FB_OK;
	return fold_age(owed, record->body, err);
}

struct fb_recover_item *
owed_report(struct fb_recover_report *report, const char *machine,
    const char *run, enum fb_recovery outcome)
{
	struct fb_recover_item *item;

	report->items = fb_realloc(
	    report->items, report->count + 1, sizeof(*report->items));
	item = &report->items[report->count++];
	*item = (struct fb_recover_item){ .machine = fb_strdup(machine),
		.outcome = outcome };
	(void)snprintf(item->run, sizeof(item->run), "%s", run);
	return item;
}

static void
scan_journal(const struct fb_engine *engine, const char *kind, const char *run,
    struct owed_list *list, struct fb_recover_report *report)
{
	FB_AUTO_FREE char *path =
	    fb_state_path(engine, "%s/%s/journal", kind, run);
	struct fold fold = { list, list->count, path, run, false };
	struct fb_error why = { 0 };
	int rc = fb_journal_read(path, fold_record, &fold, &why);

	for (size_t i = fold.first; i < list->count; i++)
		list->items[i].adopted = fold.adopted;
	/* No journal: the run ended before it could do anything. */
	if (rc == FB_OK || rc == FB_ENOTFOUND)
		return;
	while (list->count > fold.first)
		drop_owed(&fold, &list->items[list->count - 1]);
	owed_report(report, "-", run, FB_RECOVERY_UNKNOWN)->err = why;
}

static int
is_run(const struct dirent *entry)
{
	return fb_run_id_ok(entry->d_name, strlen(entry->d_name));
}

static int
by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int
scan_kind(const struct fb_engine *engine, const char *kind,
    struct owed_list *list, struct fb_recover_report *report,
    struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_state_path(engine, "%s", kind);
	struct dirent **entries;
	int count = scandir(path, &entries, is_run, by_name);

	if (count == -1 && errno == ENOENT)
		return FB_OK;
	if (count == -1)
		return fb_fail_sys(err, "cannot read directory '%s'", path);
	for (int i = 0; i < count; i++) {
		scan_journal(engine, kind, entries[i]->d_name, list, report);
		free(entries[i]);
	}
	free(entries);
	return FB_OK;
}

int
owed_scan(const struct fb_engine *engine, struct owed_list *list,
    struct fb_recover_report *report, struct fb_error *err)
{
	int rc = scan_kind(engine, "runs", list, report, err);

	return rc < 0 ? rc : scan_kind(engine, "restores", list, report, err);
}

void
owed_release(struct owed_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		release_owed(&list->items[i]);
	free(list->items);
	*list = (struct owed_list){ 0 };
}

static uint64_t
age_ms(const struct owed *owed)
{
	uint64_t now_ms = (uint64_t)(fb_clock_boot_ns() / 1000000);
	int64_t age_ns = fb_clock_wall_ns() - owed->at;
	char boot[FB_BOOT_ID_SIZE];

	fb_clock_boot_id(boot);
	if (boot[0] != '\0' && strcmp(boot, owed->boot) == 0 &&
	    now_ms >= owed->boot_ms)
		return now_ms - owed->boot_ms;
	return age_ns > 0 ? (uint64_t)age_ns / 1000000 : 0;
}

bool
owed_too_old(const struct fb_engine *engine, const struct owed *owed)
{
	uint64_t max_ms = engine->config->download.max_obligation_age_ms;

	return max_ms > 0 && age_ms(owed) > max_ms;
}

int
fb_recover_list(const struct fb_engine *engine,
    struct fb_recover_report *report, struct fb_error *err)
{
	AUTO_OWED struct owed_list list = { 0 };
	int rc;

	*report = (struct fb_recover_report){ 0 };
	rc = owed_scan(engine, &list, report, err);
	for (size_t i = 0; rc == FB_OK && i < list.count; i++) {
		const struct owed *owed = &list.items[i];

		(void)owed_report(report, owed->machine, owed->run,
		    owed->suspended                ? FB_RECOVERY_SUSPENDED
		        : owed_too_old(engine, owed) ? FB_RECOVERY_TOO_OLD
		                                     : FB_RECOVERY_UNKNOWN);
	}
	return rc;
}

void
fb_recover_report_release(struct fb_recover_report *report)
{
	for (size_t i = 0; i < report->count; i++)
		free(report->items[i].machine);
	free(report->items);
	*report = (struct fb_recover_report){ 0 };
}

static const char *const recovery_names[] = {
	[FB_RECOVERY_STARTED] = "started",
	[FB_RECOVERY_SEEN_UP] = "seen-up",
	[FB_RECOVERY_FAILED] = "failed",
	[FB_RECOVERY_UNKNOWN] = "unknown",
	[FB_RECOVERY_TOO_OLD] = "too-old",
	[FB_RECOVERY_SUSPENDED] = "suspended",
	[FB_RECOVERY_GONE] = "gone",
	[FB_RECOVERY_RELIEVED] = "relieved",
	[FB_RECOVERY_BURDENED] = "burdened",
};

const char *
fb_recovery_name(enum fb_recovery recovery)
{
	return recovery < FB_COUNT(recovery_names) ? recovery_names[recovery]
	                                           : "?";
}

/* doctor: what is on this host, and the sources. */
#include "fleetbak/engine/doctor.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "fleetbak/base/buf.h"
#include "fleetbak/base/clock.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "fleetbak/engine/recover.h"
#include "fleetbak/engine/restore.h"

#include "doctor_impl.h"
#include "run.h"

/* The open packs of a run, and as many on their way to the store. */
#define STATE_SPACE (UINT64_C(512) << 20)

/* A metrics file that no night has written to. */
#define METRICS_OLD_S ((int64_t)2 * 24 * 3600)

#define OTHERS 077 /* rights of group and others */

const char *
fb_health_name(enum fb_health health)
{
	static const char *const names[] = { "ok", "warn", "fail" };

	return names[health];
}

static struct fb_doctor_item *
new_item(struct fb_doctor_report *report, bool part, const char *what,
    enum fb_health health, const char *fix)
{
	struct fb_doctor_item *item;

	report->items = fb_realloc(
	    report->items, report->count + 1, sizeof(*report->items));
	item = &report->items[report->count++];
	*item = (struct fb_doctor_item){ .part = part,
		.what = fb_strdup(what),
		.health = health,
		.fix = fix != NULL && fix[0] != '\0' ? fb_strdup(fix) : NULL };
	report->warnings += health == FB_HEALTH_WARN;
	report->failures += health == FB_HEALTH_FAIL;
	return item;
}

void
doctor_add(struct fb_doctor_report *report, bool part, const char *what,
    enum fb_health health, const char *fix, const char *fmt, ...)
{
	struct fb_doctor_item *item = new_item(report, part, what, health, fix);
	va_list args;

	va_start(args, fmt);
	if (vasprintf(&item->text, fmt, args) == -1)
		_exit(FB_EXIT_NOMEM);
	va_end(args);
}

void
doctor_add_error(struct fb_doctor_report *report, bool part, const char *what,
    enum fb_health health, const struct fb_error *why)
{
	struct fb_doctor_item *item =
	    new_item(report, part, what, health, why->hint);

	item->text = fb_format("%s: %s", why->id, why->msg);
	item->err = *why;
}

static void
look_at_configuration(
    const struct fb_engine *engine, struct fb_doctor_report *report)
{
	const struct fb_config *config = engine->config;

	doctor_add(report, false, "configuration", FB_HEALTH_OK, NULL,
	    "%s: fleet %s, %zu sources, %zu repositories", config->path,
	    config->fleet_name, config->source_count, config->repository_count);
	if (config->retention.keep.rule_count == 0)
		doctor_add(report, true, "retention", FB_HEALTH_OK, NULL,
		    "there is no retention.keep: all backups are kept");
}

static void
look_at_space(const char *dir, struct fb_doctor_report *report)
{
	FB_AUTO_BUF struct fb_buf size = { 0 };
	struct statvfs vfs;
	uint64_t space;

	if (statvfs(dir, &vfs) == -1)
		return;
	space = (uint64_t)vfs.f_bavail * vfs.f_frsize;
	fb_text_add_size(&size, space);
	if (space < STATE_SPACE)
		doctor_add(report, true, "space", FB_HEALTH_WARN,
		    "make room there, or move state_dir",
		    "%s free in %s: too little for the open packs",
		    fb_buf_str(&size), dir);
}

/* False: there is none to look into. */
static bool
look_at_state(const struct fb_engine *engine, struct fb_doctor_report *report)
{
	const char *dir = engine->config->state_dir;
	FB_AUTO_FREE char *chmod = fb_format("chmod 700 %s", dir);
	struct fb_error why = { 0 };
	struct stat st;

	if (lstat(dir, &st) == -1 && errno == ENOENT) {
		doctor_add(report, false, "state", FB_HEALTH_OK, NULL,
		    "%s is made by the first download", dir);
		return false;
	}
	if (access(dir, R_OK | W_OK | X_OK) == -1) {
		(void)fb_fail_sys(&why, "state_dir '%s' cannot be used", dir);
		doctor_add_error(report, false, "state", FB_HEALTH_FAIL, &why);
		return false;
	}
	if (stat(dir, &st) == 0 && (st.st_mode & OTHERS) != 0)
		doctor_add(report, false, "state", FB_HEALTH_WARN, chmod,
		    "others may look into %s", dir);
	else
		doctor_add(
		    report, false, "state", FB_HEALTH_OK, NULL, "%s", dir);
	look_at_space(dir, report);
	return true;
}

static void
look_at_obligations(
    const struct fb_engine *engine, struct fb_doctor_report *report)
{
	struct fb_recover_report owed = { 0 };
	struct fb_error why = { 0 };

	if (fb_recover_list(engine, &owed, &why) < 0)
		doctor_add_error(
		    report, true, "obligations", FB_HEALTH_FAIL, &why);
	else if (owed.count == 0)
		doctor_add(report, true, "obligations", FB_HEALTH_OK, NULL,
		    "nothing is owed");
	for (size_t i = 0; i < owed.count; i++) {
		const struct fb_recover_item *item = &owed.items[i];

		if (item->err.code < 0)
			doctor_add_error(report, true, "obligations",
			    FB_HEALTH_FAIL, &item->err);
		else if (item->outcome == FB_RECOVERY_SUSPENDED)
			doctor_add(report, true, "obligations", FB_HEALTH_WARN,
			    "fleetbak restore --resume finishes it",
			    "%s is half restored and kept down", item->machine);
		else
			doctor_add(report, true, "obligations", FB_HEALTH_FAIL,
			    item->outcome == FB_RECOVERY_TOO_OLD
			        ? "fleetbak recover --force"
			        : "fleetbak recover",
			    "%s was stopped by run %s and not started again",
			    item->machine, item->run);
	}
	fb_recover_report_release(&owed);
}

static void
look_at_unfinished(
    const struct fb_engine *engine, struct fb_doctor_report *report)
{
	FB_AUTO_FREE void *owned = NULL;
	char(*runs)[FB_RUN_ID_SIZE] = NULL;
	char **restores = NULL;
	struct fb_error why = { 0 };
	size_t count = 0;

	if (fb_run_unfinished(engine, &runs, &count, &why) < 0)
		doctor_add_error(
		    report, true, "unfinished", FB_HEALTH_FAIL, &why);
	owned = runs;
	for (size_t i = 0; i < count; i++)
		doctor_add(report, true, "unfinished", FB_HEALTH_WARN,
		    "fleetbak download", "run %s was cut off", runs[i]);
	count = 0;
	if (fb_restore_unfinished(engine, &restores, &count, &why) < 0)
		doctor_add_error(
		    report, true, "unfinished", FB_HEALTH_FAIL, &why);
	for (size_t i = 0; i < count; i++) {
		FB_AUTO_FREE char *fix =
		    fb_format("fleetbak restore --resume %s", restores[i]);

		doctor_add(report, true, "unfinished", FB_HEALTH_WARN, fix,
		    "restore %s was cut off", restores[i]);
		free(restores[i]);
	}
	free(restores);
}

/* What a run that is under way owes is its own affair. */
static bool
is_busy(const struct fb_engine *engine, struct fb_doctor_report *report)
{
	struct fb_error why = { 0 };
	int rc = fb_state_busy(engine, &why);

	if (rc == FB_OK)
		return false;
	if (rc == FB_EBUSY)
		doctor_add(
		    report, true, "lock", FB_HEALTH_OK, NULL, "%s", why.msg);
	else
		doctor_add_error(report, true, "lock", FB_HEALTH_FAIL, &why);
	return true;
}

static void
look_at_metrics(const struct fb_engine *engine, struct fb_doctor_report *report)
{
	const char *path = engine->config->metrics_textfile;
	FB_AUTO_BUF struct fb_buf age = { 0 };
	int64_t old_s;
	struct stat st;

	if (path == NULL)
		return;
	if (stat(path, &st) == -1) {
		doctor_add(report, false, "metrics", FB_HEALTH_WARN,
		    "fleetbak download writes it", "%s is not there yet", path);
		return;
	}
	old_s = fb_clock_wall_ns() / 1000000000 - st.st_mtim.tv_sec;
	fb_text_add_span(&age, old_s > 0 ? (uint64_t)old_s * 1000 : 0);
	doctor_add(report, false, "metrics",
	    old_s > METRICS_OLD_S ? FB_HEALTH_WARN : FB_HEALTH_OK,
	    old_s > METRICS_OLD_S ? "look at the timer: fleetbak config units"
	                          : NULL,
	    "%s, %s old", path, fb_buf_str(&age));
}

static void
look_at_source(const struct fb_fleet *fleet, const char *source,
    struct fb_doctor_report *report)
{
	FB_AUTO_FREE char *what = fb_format("source %s", source);
	size_t machines = 0;

	for (size_t i = 0; i < fleet->failure_count; i++)
		if (strcmp(fleet->failures[i].source, source) == 0) {
			doctor_add_error(report, false, what, FB_HEALTH_FAIL,
			    &fleet->failures[i].err);
			return;
		}
	for (size_t i = 0; i < fleet->count; i++)
		machines += strcmp(fleet->machines[i].source, source) == 0;
	doctor_add(report, false, what,
	    machines > 0 ? FB_HEALTH_OK : FB_HEALTH_WARN,
	    machines > 0 ? NULL : "look at where the source points",
	    "%zu machines", machines);
	for (size_t i = 0; i < fleet->count; i++)
		if (strcmp(fleet->machines[i].source, source) == 0 &&
		    fleet->machines[i].problem != NULL)
			doctor_add_error(report, true, fleet->machines[i].id,
			    FB_HEALTH_FAIL, fleet->machines[i].problem);
}

static void
look_at_sources(const struct fb_engine *engine, struct fb_doctor_report *report)
{
	struct fb_drivers drivers = { 0 };
	struct fb_fleet fleet = { 0 };
	struct fb_error why = { 0 };

	if (fb_engine_discover(engine, &drivers, &fleet, &why) < 0)
		doctor_add_error(
		    report, false, "sources", FB_HEALTH_FAIL, &why);
	else
		for (size_t i = 0; i < engine->config->source_count; i++)
			look_at_source(
			    &fleet, engine->config->sources[i].name, report);
	fb_fleet_release(&fleet);
	fb_drivers_close(&drivers);
}

static int
check_cancel(const struct fb_engine *engine, struct fb_error *err)
{
	return engine->cancel != NULL && atomic_load(engine->cancel)
	    ? fb_fail(err, FB_ECANCELED, "doctor was interrupted")
	    : FB_OK;
}

int
fb_doctor(const struct fb_engine *engine, struct fb_doctor_report *report,
    struct fb_error *err)
{
	const struct fb_config_repository *chosen;
	int rc = engine_need_repo(engine, &chosen, err);

	*report = (struct fb_doctor_report){ 0 };
	if (rc < 0)
		return rc;
	look_at_configuration(engine, report);
	if (look_at_state(engine, report) && !is_busy(engine, report)) {
		look_at_obligations(engine, report);
		look_at_unfinished(engine, report);
	}
	look_at_metrics(engine, report);
	look_at_sources(engine, report);
	for (size_t i = 0; i < engine->config->repository_count; i++) {
		struct fb_engine one = *engine;

		one.repository = engine->config->repositories[i].name;
		if (engine->repository != NULL &&
		    strcmp(engine->repository, one.repository) != 0)
			continue;
		rc = check_cancel(engine, err);
		if (rc < 0)
			return rc;
		doctor_look_at_repo(&one, report);
	}
	return FB_OK;
}

void
fb_doctor_report_release(struct fb_doctor_report *report)
{
	for (size_t i = 0; i < report->count; i++) {
		free(report->items[i].what);
		free(report->items[i].text);
		free(report->items[i].fix);
	}
	for (size_t i = 0; i < report->repo_count; i++) {
		free(report->repos[i].name);
		fb_tampered_release(&report->repos[i].tampered);
	}
	free(report->items);
	free(report->repos);
	*report = (struct fb_doctor_report){ 0 };
}

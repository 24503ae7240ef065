/*
 * copy: which runs, in which order, and under whose eyes.
 */
#include "fleetbak/engine/copy.h"

#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/rate.h"
#include "fleetbak/engine/limits.h"
#include "fleetbak/engine/reader.h"
#include "fleetbak/manifest/manifest.h"
#include "fleetbak/repo/clone.h"

#include "keys.h"

/* What one call of fb_copy_repo() holds. */
struct copying {
	struct fb_engine from_engine, to_engine;
	const struct fb_copy_repo_request *request;
	struct fb_copy_repo_report *report;
	struct fb_repo *from, *to; /* to: NULL with a dry run into nothing */
	struct fb_reader reader, writer; /* a session in each */
	bool has_reader, has_writer;
	char *spool_dir;
	struct fb_rate *read, *upload;
	struct fb_clone *clone;
	struct fb_run_ref *runs; /* oldest first; without what is borrowed */
	size_t run_count;
	const char *run;           /* at hand */
	uint64_t total;            /* of it */
	struct fb_lock_items used; /* dry run: all that was found there */
	bool looked; /* at the locks of what every restore needs */
};

static void
copying_release(struct copying *copying)
{
	struct fb_error ignored = { 0 };

	fb_clone_close(copying->clone);
	if (copying->has_writer)
		(void)!fb_reader_end(copying->to, &copying->writer, &ignored);
	if (copying->has_reader)
		(void)!fb_reader_end(copying->from, &copying->reader, &ignored);
	if (copying->spool_dir != NULL)
		(void)!fb_io_remove_tree(copying->spool_dir, &ignored);
	fb_repo_close(copying->to);
	fb_repo_close(copying->from);
	fb_rate_free(copying->read);
	fb_rate_free(copying->upload);
	free(copying->spool_dir);
	free(copying->runs);
	fb_lock_items_release(&copying->used);
}
#define AUTO_COPYING FB_CLEANUP(copying_release)

static int
open_from(struct copying *copying, struct fb_error *err)
{
	int rc = fb_engine_repo(&copying->from_engine, &copying->from, err);

	if (rc == FB_OK)
		rc = fb_reader_begin(&copying->from_engine, copying->from,
		    "copy", &copying->reader, err);
	copying->has_reader = rc == FB_OK;
	if (copying->has_reader)
		fb_reader_warn(&copying->from_engine, &copying->reader, "copy",
		    err);
	return rc;
}

/* What was seen there before was of another copy, on another disk say. */
static int
forget_memory(const struct copying *copying, struct fb_error *err)
{
	FB_AUTO_FREE char *memory = fb_state_memory(
	    &copying->to_engine, copying->from->format.repository);
	const struct fb_config_repository *config =
	    fb_engine_repo_config(&copying->to_engine);

	return config->copy_of != NULL ? fb_io_unlink(memory, err) : FB_OK;
}

/* The place of the copy, made into this repository if it is none. */
static int
make_to(struct copying *copying, struct fb_error *err)
{
	const struct fb_config_repository *config;
	FB_AUTO_STORE struct fb_store *store = NULL;
	uint64_t size;
	int rc = engine_need_repo(&copying->to_engine, &config, err);

	if (rc < 0)
		return rc;
	rc = engine_open_store(&copying->to_engine, config,
	    !copying->request->dry_run, &store, err);
	if (rc == FB_OK)
		rc = fb_store_head(store, "format/1.json", &size, err);
	copying->report->made = rc == FB_ENOTFOUND || rc == FB_ENOREPO;
	if (rc == FB_ENOREPO && copying->request->dry_run)
		return FB_OK;
	if (rc == FB_ENOTFOUND || rc == FB_OK)
		rc = copying->request->dry_run
		    ? FB_OK
		    : fb_clone_format(copying->from, store, err);
	if (rc == FB_OK && copying->report->made && !copying->request->dry_run)
		rc = forget_memory(copying, err);
	return rc < 0 ? fb_wrap(err, "repository '%s'", config->name) : FB_OK;
}

static int
refuse_other(const struct copying *copying, struct fb_error *err)
{
	(void)fb_fail_id(err, FB_EREFUSED, "E-COPY-OTHER",
	    "'%s' is another repository than '%s', not a copy of it",
	    copying->request->to, copying->request->from);
	return fb_hint(err,
	    "name a place that is empty, or holds a copy; it "
	    "needs no 'fleetbak init'");
}

static int
open_to(struct copying *copying, struct fb_error *err)
{
	int rc = make_to(copying, err);

	if (rc < 0 || (copying->request->dry_run && copying->report->made))
		return rc;
	rc = fb_engine_repo(&copying->to_engine, &copying->to, err);
	if (rc < 0)
		return rc;
	if (strcmp(copying->to->format.repository,
	        copying->from->format.repository) != 0)
		return refuse_other(copying, err);
	if (copying->request->dry_run)
		return FB_OK;
	rc = fb_reader_begin(
	    &copying->to_engine, copying->to, "copy", &copying->writer, err);
	copying->has_writer = rc == FB_OK;
	if (rc == FB_OK && !copying->writer.announced)
		return fb_wrap(err, "repository '%s'", copying->request->to);
	return rc;
}

static bool
is_wanted(const struct fb_copy_repo_request *request, const char *run)
{
	bool wanted = request->runs == NULL;

	for (size_t i = 0; i < request->run_count && !wanted; i++)
		wanted = strcmp(request->runs[i], run) == 0;
	return wanted;
}

static int
note_run(const struct fb_run_ref *run, void *arg, struct fb_error *err)
{
	struct copying *copying = arg;

	(void)err;
	if (run->damage != NULL) {
		fb_observe(&copying->from_engine.observer,
		    &(struct fb_event){
		        .kind = FB_EVENT_WARNING, .error = run->damage });
		return FB_OK;
	}
	if (!is_wanted(copying->request, run->run))
		return FB_OK;
	copying->runs = fb_realloc(
	    copying->runs, copying->run_count + 1, sizeof(*copying->runs));
	copying->runs[copying->run_count] = *run;
	copying->runs[copying->run_count].predecessors = NULL;
	copying->runs[copying->run_count++].predecessor_count = 0;
	return FB_OK;
}

/* They come newest first. */
static void
turn_round(struct copying *copying)
{
	for (size_t i = 0; i < copying->run_count / 2; i++) {
		size_t other = copying->run_count - 1 - i;
		struct fb_run_ref run = copying->runs[i];

		copying->runs[i] = copying->runs[other];
		copying->runs[other] = run;
	}
}

static void
on_progress(void *arg, uint64_t bytes)
{
	const struct copying *copying = arg;

	fb_observe(&copying->from_engine.observer,
	    &(struct fb_event){ .kind = FB_EVENT_PROGRESS,
	        .machine = copying->run,
	        .volume = "",
	        .done = bytes,
	        .total = copying->total });
}

static void
move_ids(struct fb_id_list *dst, const struct fb_id_list *src)
{
	for (size_t i = 0; i < src->count; i++)
		fb_id_list_add(dst, &src->ids[i]);
}

/* A dry run adds up what a copy looks at run by run. */
static void
collect(struct copying *copying, const struct fb_clone_found *found)
{
	struct fb_lock_items *used = &copying->used;

	used->common = true;
	move_ids(&used->packs, &found->packs);
	move_ids(&used->recipes, &found->recipes);
	for (size_t i = 0; i < found->key_count; i++)
		fb_lock_items_add(used, found->keys[i]);
}

/*
 * What was there and is used again is locked for longer before the run is
 * committed, as a download does it; where that fails the copy is worth more
 * than its locks, and the report says so.
 */
static int
renew_locks(
    void *arg, const struct fb_clone_found *found, struct fb_error *err)
{
	struct copying *copying = arg;
	const struct fb_lock_items items = { .packs = found->packs,
		.recipes = found->recipes,
		.keys = found->keys,
		.key_count = found->key_count,
		.common = !copying->looked && !copying->report->made };
	struct fb_lock_cost cost;
	struct fb_error why = { 0 };

	(void)err;
	if (copying->request->dry_run) {
		collect(copying, found);
		return FB_OK;
	}
	copying->looked = true;
	if (fb_locks_renew(
	        &copying->to_engine, copying->to, &items, &cost, &why) < 0) {
		cost.failed = cost.failed > 0 ? cost.failed : 1;
		cost.err = why;
	}
	fb_lock_cost_add(&copying->report->locks, &cost);
	return FB_OK;
}

/* In a dry run: what would have to be done. */
static int
weigh_locks(struct copying *copying, struct fb_error *err)
{
	struct fb_lock_items *used = &copying->used;

	fb_id_list_settle(&used->packs);
	fb_id_list_settle(&used->recipes);
	return fb_locks_weigh(&copying->to_engine, copying->to, used,
	    &copying->report->locks, err);
}

static int
open_clone(struct copying *copying, struct fb_error *err)
{
	const struct fb_engine *engine = &copying->from_engine;
	struct fb_clone_spec spec = {
		.from = copying->from,
		.to = copying->to,
		.session = copying->writer.session.id,
		.cancel = engine->cancel,
		.progress = on_progress,
		.use = renew_locks,
		.arg = copying,
	};

	if (copying->has_writer)
		copying->spool_dir = fb_state_path(
		    engine, "copy/%s", copying->writer.session.id);
	spec.spool_dir = copying->spool_dir;
	copying->read = fb_limits_rate(&engine->config->download.limit_read);
	copying->upload =
	    fb_limits_rate(&engine->config->download.limit_upload);
	spec.read = copying->read;
	spec.upload = copying->upload;
	return fb_clone_open(&spec, &copying->clone, err);
}

static enum fb_copy_outcome
outcome_of(enum fb_clone_state state, bool dry_run)
{
	switch (state) {
	case FB_CLONE_FORGOTTEN:
		return FB_COPY_FORGOTTEN;
	case FB_CLONE_THERE:
		return FB_COPY_THERE;
	case FB_CLONE_DAMAGED:
		return dry_run ? FB_COPY_PLANNED : FB_COPY_REPAIRED;
	case FB_CLONE_ABSENT:
		break;
	}
	return dry_run ? FB_COPY_PLANNED : FB_COPY_COPIED;
}

/* It is this run's trouble; the others may be whole. */
static bool
is_its_own(int rc)
{
	return rc == FB_ECORRUPT || rc == FB_EUNTRUSTED || rc == FB_ENOTFOUND ||
	    rc == FB_ETOONEW || rc == FB_EUNSUP;
}

static int
fail_item(struct copying *copying, struct fb_copy_item *item, int rc,
    struct fb_error *err)
{
	item->outcome = FB_COPY_FAILED;
	if (!is_its_own(rc))
		return rc;
	item->err = fb_error_keep(err);
	fb_observe(&copying->from_engine.observer,
	    &(struct fb_event){ .kind = FB_EVENT_MACHINE_FAILED,
	        .machine = item->run,
	        .error = err });
	return FB_OK;
}

static int
copy_one(struct copying *copying, const struct fb_run_ref *run,
    struct fb_copy_item *item, struct fb_error *err)
{
	bool dry = copying->request->dry_run;
	enum fb_clone_state state;
	int rc = fb_clone_weigh(
	    copying->clone, run, dry, &state, &item->missing, err);

	if (rc < 0)
		return fail_item(copying, item, rc, err);
	item->outcome = outcome_of(state, dry);
	if (state == FB_CLONE_THERE || state == FB_CLONE_FORGOTTEN)
		return FB_OK;
	copying->report->bytes += item->missing.bytes;
	if (dry)
		return FB_OK;
	copying->run = item->run;
	copying->total = item->missing.bytes;
	rc = fb_clone_run(copying->clone, run, err);
	if (rc < 0) {
		copying->report->bytes -= item->missing.bytes;
		return fail_item(copying, item, rc, err);
	}
	fb_observe(&copying->from_engine.observer,
	    &(struct fb_event){ .kind = FB_EVENT_MACHINE_OK,
	        .machine = item->run,
	        .text = "",
	        .done = item->missing.bytes });
	return FB_OK;
}

static int
copy_all(struct copying *copying, struct fb_error *err)
{
	struct fb_copy_repo_report *report = copying->report;
	int rc = FB_OK;

	report->items =
	    fb_alloc(copying->run_count + 1, sizeof(*report->items));
	for (size_t i = 0; i < copying->run_count; i++) {
		struct fb_copy_item *item = &report->items[report->count++];

		memcpy(item->run, copying->runs[i].run, sizeof(item->run));
		item->outcome = FB_COPY_SKIPPED;
		if (rc == FB_OK)
			rc = copy_one(copying, &copying->runs[i], item, err);
	}
	return rc;
}

/* What is there now is remembered, so that a rollback of the copy shows. */
static int
remember(struct copying *copying, struct fb_error *err)
{
	const struct fb_engine *engine = &copying->to_engine;
	FB_AUTO_FREE char *memory =
	    fb_state_memory(engine, copying->to->format.repository);
	bool known;
	int rc = fb_history_check(
	    copying->to, engine->config->fleet_name, memory, true, &known, err);

	if (rc != FB_EUNTRUSTED)
		return rc;
	(void)fb_wrap(err, "repository '%s'", copying->request->to);
	fb_observe(&engine->observer,
	    &(struct fb_event){ .kind = FB_EVENT_WARNING, .error = err });
	return FB_OK;
}

static int
run_copy(struct copying *copying, struct fb_error *err)
{
	int rc = open_from(copying, err);

	if (rc == FB_OK)
		rc = open_to(copying, err);
	if (rc == FB_OK)
		rc = fb_repo_runs(copying->from, note_run, copying, err);
	if (rc == FB_OK)
		rc = open_clone(copying, err);
	if (rc < 0)
		return rc;
	turn_round(copying);
	if (!copying->request->dry_run)
		rc = fb_clone_forgets(copying->clone, err);
	if (rc == FB_OK)
		rc = copy_all(copying, err);
	if (rc == FB_OK && copying->request->dry_run && copying->to != NULL)
		rc = weigh_locks(copying, err);
	if (rc == FB_OK && !copying->request->dry_run)
		rc = remember(copying, err);
	return rc;
}

int
fb_copy_repo(const struct fb_engine *engine,
    const struct fb_copy_repo_request *request,
    struct fb_copy_repo_report *report, struct fb_error *err)
{
	AUTO_COPYING struct copying copying = { .from_engine = *engine,
		.to_engine = *engine,
		.request = request,
		.report = report };
	int64_t began = fb_clock_mono_ns();
	int rc;

	copying.from_engine.repository = request->from;
	copying.to_engine.repository = request->to;
	fb_lock_cost_begin(&copying.to_engine, &report->locks);
	if (strcmp(request->from, request->to) == 0) {
		(void)fb_fail_id(err, FB_EREFUSED, "E-COPY-SELF",
		    "'%s' cannot be copied to itself", request->from);
		return fb_hint(
		    err, "name two repositories of the configuration");
	}
	rc = run_copy(&copying, err);
	report->elapsed_ms = (uint64_t)(fb_clock_mono_ns() - began) / 1000000;
	return rc;
}

void
fb_copy_repo_report_release(struct fb_copy_repo_report *report)
{
	for (size_t i = 0; i < report->count; i++)
		fb_error_drop(report->items[i].err);
	free(report->items);
	*report = (struct fb_copy_repo_report){ 0 };
}

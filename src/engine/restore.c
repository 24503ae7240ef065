#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/lock.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"
#include "restore_parts.h"

void
fb_rst_tell(struct fb_restore *r, const struct fb_event *event)
{
	(void)pthread_mutex_lock(&r->telling);
	fb_observe(&r->engine->observer, event);
	(void)pthread_mutex_unlock(&r->telling);
}

static struct fb_restore_result *
result_of(struct fb_restore *r, const struct fb_rst_machine *machine)
{
	return &r->report->results[machine - r->machines];
}

void
fb_rst_failed(struct fb_restore *r, const struct fb_rst_machine *machine,
    const struct fb_error *err)
{
	struct fb_restore_result *row = result_of(r, machine);
	struct fb_event event = { .kind = FB_EVENT_MACHINE_FAILED,
		.machine = machine->key, .error = err };

	row->result = FB_RESULT_FAILED;
	fb_error_drop(row->err);
	row->err = fb_error_keep(err);
	fb_rst_tell(r, &event);
}

void
fb_rst_succeeded(struct fb_restore *r, const struct fb_rst_machine *machine,
    const struct fb_rst_totals *totals)
{
	struct fb_restore_result *row = result_of(r, machine);
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_event event = { .kind = FB_EVENT_MACHINE_OK,
		.machine = machine->key };

	row->result = FB_RESULT_OK;
	row->read_bytes = totals->read_bytes;
	row->written_bytes = totals->written_bytes;
	row->same_bytes = totals->same_bytes;
	row->removed_files = totals->removed;
	fb_buf_add_str(&text, "wrote ");
	fb_text_add_size(&text, totals->written_bytes);
	if (totals->same_bytes > 0) {
		fb_buf_add_str(&text, ", left ");
		fb_text_add_size(&text, totals->same_bytes);
		fb_buf_add_str(&text, " as it was");
	}
	event.text = fb_buf_str(&text);
	fb_rst_tell(r, &event);
}

/* Locks, and what must be settled before machines are touched. */
struct holds {
	int lock_fd;
	struct fb_guardian guardian;
	bool guarded;
};

static int
settle_debts(struct fb_restore *r, struct fb_error *err)
{
	struct fb_recover_request request = { 0 };
	struct fb_recover_report report = { 0 };
	int rc = fb_recover(r->engine, &request, r->children_fd, &report, err);

	/* The guardian of a run that died waits for this one's lock. */
	if (rc == FB_OK)
		rc = fb_recover_relieve(
		    r->engine, r->children_fd, &report, err);
	fb_recover_report_release(&report);
	return rc;
}

static int
take_holds(struct fb_restore *r, struct holds *h, struct fb_error *err)
{
	int rc = FB_OK;

	/* Into a directory nothing of the fleet is touched: a restore may
	 * go on beside a download. */
	if (r->kind != FB_RESTORE_TO_DIR) {
		rc = fb_state_make(r->engine, err);
		if (rc < 0)
			return rc;
		h->lock_fd = fb_state_lock(r->engine, "restore", err);
		if (h->lock_fd < 0)
			return h->lock_fd;
		r->children_fd = fb_state_children(r->engine, err);
		if (r->children_fd < 0)
			return r->children_fd;
		rc = settle_debts(r, err);
	}
	if (rc >= 0)
		rc = fb_rst_claim(r, err);
	if (rc < 0)
		return rc;
	if (r->kind == FB_RESTORE_TO_MACHINE && r->engine->guardian_argv) {
		rc = fb_guardian_start(
		    r->engine->guardian_argv, &h->guardian, err);
		h->guarded = rc >= 0;
	}
	return rc;
}

static void
close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

static void
give_holds(struct fb_restore *r, struct holds *h)
{
	if (h->guarded)
		fb_guardian_dismiss(&h->guardian);
	close_fd(&r->own_fd);
	close_fd(&r->children_fd);
	close_fd(&h->lock_fd);
}

/* Announce the reading, then see that what was planned is still there. */
static int
begin_session(struct fb_restore *r, struct fb_error *err)
{
	int rc = fb_reader_begin(
	    r->engine, r->repo, "restore", &r->reader, err);

	if (rc == FB_OK)
		fb_reader_warn(r->engine, &r->reader, "restore", err);
	for (size_t i = 0; i < r->count && rc >= 0; i++) {
		bool forgotten;

		if (i > 0 && strcmp(r->machines[i].session,
		                 r->machines[i - 1].session) == 0)
			continue;
		rc = fb_repo_is_forgotten(
		    r->repo, r->machines[i].session, &forgotten, err);
		if (rc == FB_OK && forgotten)
			rc = fb_fail(err, FB_ESTALE,
			    "run %s is gone since the restore was planned",
			    r->machines[i].run);
	}
	return rc;
}

static void
end_session(struct fb_restore *r)
{
	struct fb_error err = { 0 };

	if (fb_reader_end(r->repo, &r->reader, &err) < 0)
		fb_rst_warn(r, NULL, &err);
}

/* With nothing left to do the journal has served.  If it cannot be cleared
 * away, the next restore does it; what was asked for is done. */
static void
end_journal(struct fb_restore *r)
{
	struct fb_error err = { 0 };
	int rc;

	for (size_t i = 0; i < r->count; i++)
		if (!r->machines[i].closed && r->machines[i].problem == NULL)
			return;
	r->report->unfinished = false;
	rc = fb_rst_note(r, "end", NULL, NULL, NULL, &err);
	if (rc >= 0)
		rc = fb_io_remove_tree(r->dir, &err);
	if (rc < 0)
		fb_rst_warn(r, NULL, &err);
}

static void
carry_out(struct fb_restore *r)
{
	struct fb_event event = { .kind = FB_EVENT_RUN_START,
		.text = r->id, .total = r->report->need_bytes };

	fb_rst_tell(r, &event);
	if (fb_store_is_far(r->repo->store))
		r->together = fb_volumes_new(r->repo, 0);
	if (r->kind == FB_RESTORE_TO_DIR)
		fb_rst_run_dir(r);
	else
		fb_rst_run_machines(r);
	fb_volumes_free(FB_STEAL(r->together));
	event.kind = FB_EVENT_RUN_END;
	fb_rst_tell(r, &event);
}

int
fb_restore_run(struct fb_restore *r, struct fb_restore_report *report,
    struct fb_error *err)
{
	int64_t began = fb_clock_mono_ns();
	struct holds holds = { .lock_fd = -1 };
	int rc;

	r->report = report;
	r->reader.lock_fd = -1;
	rc = take_holds(r, &holds, err);
	if (rc >= 0)
		fb_rst_sweep(r);
	if (rc >= 0)
		rc = begin_session(r, err);
	if (rc >= 0)
		rc = fb_rst_journal_open(r, err);
	if (rc >= 0) {
		report->unfinished = true;
		carry_out(r);
		end_journal(r);
	}
	end_session(r);
	give_holds(r, &holds);
	report->elapsed_ms =
	    (uint64_t)(fb_clock_mono_ns() - began) / 1000000;
	return rc;
}

void
fb_restore_free(struct fb_restore *r)
{
	struct fb_error err = { 0 };

	if (r == NULL)
		return;
	/* Definitions unpacked for a plan that was not carried out. */
	if (r->journal == NULL && !r->resumed && r->dir &&
	    fb_io_remove_tree(r->dir, &err) < 0)
		fb_rst_warn(r, NULL, &err);
	close_fd(&r->own_fd);
	fb_rst_others_free(r->others);
	fb_journal_close(r->journal);
	for (size_t i = 0; i < r->count; i++)
		fb_rst_machine_release(&r->machines[i]);
	free(r->machines);
	for (size_t i = 0; i < r->volume_count; i++)
		free(r->volumes[i]);
	free(r->volumes);
	for (size_t i = 0; i < r->path_count; i++)
		free(r->paths[i]);
	free(r->paths);
	if (r->discovered) {
		fb_drivers_close(&r->drivers);
		fb_fleet_release(&r->fleet);
	}
	free(r->directory);
	free(r->dir);
	fb_rst_maps_free(r);
	json_decref(r->spec);
	(void)pthread_mutex_destroy(&r->telling);
	(void)pthread_mutex_destroy(&r->alone);
	free(r);
}

void
fb_restore_report_release(struct fb_restore_report *report)
{
	for (size_t i = 0; i < report->action_count; i++) {
		free(report->actions[i].machine);
		free(report->actions[i].name);
		free(report->actions[i].volume);
		free(report->actions[i].origin);
		free(report->actions[i].origin_volume);
		free(report->actions[i].from);
		free(report->actions[i].to);
		free(report->actions[i].problem);
	}
	free(report->actions);
	for (size_t i = 0; i < report->removal_count; i++)
		free(report->removals[i]);
	free(report->removals);
	for (size_t i = 0; i < report->result_count; i++) {
		free(report->results[i].machine);
		free(report->results[i].origin);
		free(report->results[i].name);
		free(report->results[i].as);
		fb_error_drop(report->results[i].err);
	}
	free(report->results);
	memset(report, 0, sizeof(*report));
}

/*
 * Machines through their driver: as new, or in place.
 *
 * A family (machines that are each other's parents) is stopped children
 * first, written, and started parents first; where parents are controllers it
 * is the other way round.  From the first byte that is
 * written in place a machine is half-restored: its obligation is suspended
 * and it stays down until the restore is finished.
 */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "restore_parts.h"

/* Beside the machine's own timeout: asking, escalating. */
#define VERB_MARGIN_MS 30000
/* Making a frame or putting a definition into place. */
#define FRAME_MS 600000

/* One machine on its way through a family. */
struct walk {
	struct fb_restore *restore;
	struct fb_rst_machine *machine;
	struct fb_rst_totals totals;
	struct fb_error err; /* code < 0: it failed */
	bool touched;        /* bytes of it may have been changed */
	bool started;
};

static struct fb_verb
make_verb(const struct walk *w, const char *name, uint64_t timeout_ms,
    char token[FB_NAME_MAX + 1])
{
	const struct fb_restore *r = w->restore;

	fb_rst_token(r, w->machine, name, token);
	return (struct fb_verb){ .token = token, .timeout_ms = timeout_ms,
		.lock_fd = r->children_fd };
}

void
fb_rst_token(const struct fb_restore *restore,
    const struct fb_rst_machine *machine, const char *verb,
    char ret_token[FB_NAME_MAX + 1])
{
	(void)snprintf(ret_token, FB_NAME_MAX + 1, "%s-%zu-%s", restore->id,
	    (size_t)(machine - restore->machines), verb);
}

bool
fb_rst_starts_new(
    const struct fb_restore *restore, const struct fb_rst_machine *machine)
{
	if (restore->kind == FB_RESTORE_TO_NEW)
		return restore->start;
	return !restore->no_start &&
	    (restore->start || machine->record.power == FB_POWER_UP);
}

/* The machine that is started and stopped: as it is, or as it became. */
static const struct fb_machine *
acting_machine(struct walk *w)
{
	struct fb_rst_machine *m = w->machine;

	if (m->now && w->restore->kind == FB_RESTORE_TO_MACHINE)
		return m->now;
	m->result_model = m->model;
	m->result_model.id = m->plan.id != NULL ? m->plan.id : m->as;
	return &m->result_model;
}

static int
power_of(struct walk *w, enum fb_power *ret_power, struct fb_error *err)
{
	struct fb_verb verb = { .token = "", .timeout_ms = VERB_MARGIN_MS,
		.lock_fd = w->restore->children_fd };

	return fb_driver_power_get(w->machine->driver, acting_machine(w),
	    &verb, ret_power, err);
}

/* The same of a machine that is going to be overwritten, so it must be known;
 * but one without commands cannot be asked, nor stopped: the plan says so. */
static int
known_power(struct walk *w, enum fb_power *ret_power, struct fb_error *err)
{
	const struct fb_machine *now = w->machine->now;
	int rc = power_of(w, ret_power, err);

	if (rc < 0 || *ret_power != FB_POWER_UNKNOWN ||
	    (now && now->lifecycle == FB_LIFECYCLE_SNAPSHOT_LIVE))
		return rc;
	(void)fb_fail_id(err, FB_ECONFLICT, "E-RST-POWER",
	    "it is not known whether it is up");
	return fb_hint(err, "what is not surely down is not overwritten; see "
	                    "to its status command");
}

static int
note_act(struct walk *w, const char *verb, struct fb_error *err)
{
	return fb_rst_note(
	    w->restore, "act", w->machine, "verb", verb, err);
}

/* An effect whose outcome is not known: look at the machine. */
static int
observe_outcome(struct walk *w, int rc, enum fb_power wanted,
    struct fb_error *err)
{
	struct fb_error doubt = { 0 };
	enum fb_power power;

	if (rc != FB_EUNKNOWN && rc != FB_ETIMEOUT)
		return rc;
	if (power_of(w, &power, &doubt) < 0 || power != wanted)
		return rc;
	*err = (struct fb_error){ 0 };
	return FB_OK;
}

/* The machine is down when this returns FB_OK. */
static int
stop_machine(struct walk *w, struct fb_error *err)
{
	struct fb_rst_machine *m = w->machine;
	char token[FB_NAME_MAX + 1];
	struct fb_verb verb = make_verb(w, "stop",
	    m->model.stop_timeout_ms + VERB_MARGIN_MS, token);
	enum fb_power power;
	int rc;

	if (m->now && m->now->lifecycle == FB_LIFECYCLE_SNAPSHOT_LIVE)
		return FB_OK;
	rc = known_power(w, &power, err);
	if (rc < 0 || power == FB_POWER_DOWN)
		return rc;
	if (!m->owed && !m->suspended) {
		rc = fb_obligation_begin(w->restore->journal, m->key, err);
		m->owed = rc >= 0;
	}
	if (rc >= 0)
		rc = note_act(w, "stop", err);
	if (rc < 0)
		return rc;
	fb_rst_state(w->restore, m, "stopping");
	rc = fb_driver_stop(m->driver, acting_machine(w), &verb, err);
	return observe_outcome(w, rc, FB_POWER_DOWN, err);
}

/* What another restore left half would be started with a part of it. */
static int
refuse_part(const struct walk *w, struct fb_error *err)
{
	bool part = w->restore->volume_count > 0 ||
	    w->restore->path_count > 0 ||
	    (w->machine->across && !w->machine->covers);

	if (!part)
		return FB_OK;
	(void)fb_fail_id(err, FB_EREFUSED, "E-HALF-RESTORED",
	    "it is half restored, and a part does not make it whole");
	return fb_hint(err, "restore all of it in place, or resume what was "
			    "cut off: fleetbak status");
}

static int
note_before(struct walk *w, struct fb_error *err)
{
	struct fb_rst_machine *m = w->machine;
	bool half = false, was_up = false;
	int rc = FB_OK;

	if (m->noted)
		return FB_OK;
	m->existed = w->restore->kind == FB_RESTORE_TO_MACHINE && m->now;
	m->was = FB_POWER_DOWN;
	if (m->existed) {
		rc = known_power(w, &m->was, err);
		if (rc >= 0)
			rc = fb_rst_inherited(
			    w->restore, m, &half, &was_up, err);
		if (half && was_up)
			m->was = FB_POWER_UP;
		if (rc >= 0 && half)
			rc = refuse_part(w, err);
	}
	return rc < 0 ? rc : fb_rst_note_was(w->restore, m, err);
}

static int
prepare_machine(struct walk *w, struct fb_error *err)
{
	int rc = note_before(w, err);

	if (rc >= 0 && w->machine->existed && !w->machine->finished)
		rc = stop_machine(w, err);
	return rc;
}

static bool
wanted_up(const struct walk *w)
{
	const struct fb_restore *r = w->restore;
	const struct fb_rst_machine *m = w->machine;

	if (!m->existed)
		return fb_rst_starts_new(r, m);
	return !r->no_start && (r->start || m->was == FB_POWER_UP);
}

/* It is whole again: what was suspended is owed, or given up on purpose. */
static int
wake_obligation(struct walk *w, struct fb_error *err)
{
	struct fb_rst_machine *m = w->machine;
	int rc = FB_OK;

	if (m->suspended && wanted_up(w))
		rc = fb_obligation_begin(w->restore->journal, m->key, err);
	if (rc >= 0 && m->suspended) {
		m->owed = wanted_up(w);
		m->suspended = !m->owed;
	}
	return rc;
}

/* Start it when it shall be up; then nothing is owed any more. */
static int
start_machine(struct walk *w, struct fb_error *err)
{
	struct fb_rst_machine *m = w->machine;
	char token[FB_NAME_MAX + 1];
	struct fb_verb verb = make_verb(w, "start",
	    m->model.start_timeout_ms + VERB_MARGIN_MS, token);
	int rc = wake_obligation(w, err);

	if (rc < 0)
		return rc;
	if (wanted_up(w)) {
		fb_rst_state(w->restore, m, "starting");
		rc = note_act(w, "start", err);
		if (rc >= 0)
			rc = fb_driver_start(
			    m->driver, acting_machine(w), &verb, err);
		rc = observe_outcome(w, rc, FB_POWER_UP, err);
		if (rc < 0)
			return fb_hint(err,
			    "it is whole, but does not come up; see to it "
			    "and start it by hand");
		w->started = true;
	}
	if (m->owed || m->suspended)
		rc = fb_obligation_end(w->restore->journal, m->key,
		    w->started ? "started" : "given-up", err);
	if (rc >= 0)
		m->owed = m->suspended = false;
	return rc;
}

/* Nothing of it was changed: it gets back what it had. */
static void
put_back(struct walk *w)
{
	struct fb_rst_machine *m = w->machine;
	char token[FB_NAME_MAX + 1];
	struct fb_verb verb = make_verb(w, "start-again",
	    m->model.start_timeout_ms + VERB_MARGIN_MS, token);
	struct fb_error err = { 0 };
	int rc;

	if (!m->owed || m->suspended)
		return;
	verb.settle = true;
	rc = note_act(w, "start", &err);
	if (rc >= 0)
		rc = fb_driver_start(
		    m->driver, acting_machine(w), &verb, &err);
	rc = observe_outcome(w, rc, FB_POWER_UP, &err);
	if (rc >= 0)
		rc = fb_obligation_end(
		    w->restore->journal, m->key, "started", &err);
	if (rc < 0) {
		(void)fb_wrap(&err, "cannot start it again");
		fb_rst_warn(w->restore, m, &err);
		return;
	}
	m->owed = false;
}

/*
 * The verbs that write a restore are private to it and may be done again with
 * the same token, as --resume does.  So when an answer is lost or late, doing
 * it again finds out what came of it.
 */
#define VERB_TRIES 3

static bool
is_answered(int rc, int *tries)
{
	return (rc != FB_EUNKNOWN && rc != FB_ETIMEOUT) ||
	    ++*tries == VERB_TRIES;
}

static int
begin_machine(struct walk *w, const struct fb_restore_request *request,
    const struct fb_verb *verb, struct fb_error *err)
{
	int rc, tries = 0;

	do
		rc = fb_driver_restore_begin(
		    w->machine->driver, request, verb, err);
	while (!is_answered(rc, &tries));
	return rc;
}

static int
open_volume(struct walk *w, const struct fb_restore_request *request,
    size_t index, const struct fb_verb *verb, struct fb_target **ret_target,
    struct fb_error *err)
{
	int rc, tries = 0;

	do
		rc = fb_driver_restore_open(w->machine->driver, request,
		    w->machine->volumes[index].there, verb, ret_target, err);
	while (!is_answered(rc, &tries));
	return rc;
}

static int
finish_machine(struct walk *w, const struct fb_restore_request *request,
    const struct fb_verb *verb, struct fb_error *err)
{
	struct fb_error missing = { 0 };
	struct fb_verb finish = *verb;
	int rc, tries = 0;

	finish.ret_missing = &missing;
	do
		rc = fb_driver_restore_finish(
		    w->machine->driver, request, &finish, err);
	while (!is_answered(rc, &tries));
	if (rc >= 0 && missing.code < 0)
		fb_rst_warn(w->restore, w->machine, &missing);
	return rc;
}

static int
write_volume(struct walk *w, size_t index, struct fb_error *err)
{
	struct fb_restore *r = w->restore;
	struct fb_rst_machine *m = w->machine;
	struct fb_rst_volume *volume = &m->volumes[index];
	struct fb_restore_request request = fb_rst_request(r, m);
	FB_AUTO_TARGET struct fb_target *target = NULL;
	const char *name = volume->record->name;
	char token[FB_NAME_MAX + 1];
	struct fb_verb verb = make_verb(w, "restore", FRAME_MS, token);
	bool again = volume->begun;
	int rc = FB_OK;

	if (!volume->chosen || volume->whole)
		return FB_OK;
	/* The whole machine's definition goes in by restore_finish. */
	if (volume->record->kind == FB_VOLUME_DEFINITION &&
	    request.all_volumes)
		return FB_OK;
	if (!again)
		rc = fb_rst_note(r, "begun", m, "volume", name, err);
	if (rc >= 0)
		rc = open_volume(w, &request, index, &verb, &target, err);
	if (rc >= 0)
		rc = fb_rst_volume_to_target(
		    r, m, index, target, &w->totals, err);
	if (rc < 0)
		return rc;
	volume->whole = true;
	return fb_rst_note(r, "volume", m, "volume", name, err);
}

static int
write_machine(struct walk *w, struct fb_error *err)
{
	struct fb_restore *r = w->restore;
	struct fb_rst_machine *m = w->machine;
	struct fb_restore_request request = fb_rst_request(r, m);
	char token[FB_NAME_MAX + 1];
	struct fb_verb verb = make_verb(w, "restore", FRAME_MS, token);
	int rc = FB_OK;

	fb_rst_state(r, m, "writing");
	/* Before the first byte: a crash from here on leaves it down. */
	if (m->existed && !m->suspended) {
		rc = fb_obligation_suspend(r->journal, m->key, err);
		m->suspended = rc >= 0;
	}
	w->touched = true;
	if (rc >= 0)
		rc = note_act(w, "begin", err);
	if (rc >= 0)
		rc = begin_machine(w, &request, &verb, err);
	for (size_t i = 0; i < m->record.volume_count && rc >= 0; i++)
		rc = write_volume(w, i, err);
	if (rc >= 0)
		rc = fb_rst_note(r, "finishing", m, NULL, NULL, err);
	if (rc >= 0)
		rc = finish_machine(w, &request, &verb, err);
	if (rc >= 0)
		rc = fb_rst_note(r, "finished", m, NULL, NULL, err);
	m->finished = rc >= 0;
	return rc;
}

static int
close_machine(struct walk *w, const char *how, struct fb_error *err)
{
	int rc = fb_rst_note(
	    w->restore, "closed", w->machine, "how", how, err);

	w->machine->closed = rc >= 0;
	return rc;
}

/* Is there still something to do, and can it be done? */
static bool
goes_on(const struct walk *w)
{
	return w->err.code >= 0 && !w->machine->closed;
}

static void
check_cancel(struct walk *w)
{
	const atomic_bool *cancel = w->restore->engine->cancel;

	if (goes_on(w) && cancel && atomic_load(cancel))
		(void)fb_fail(&w->err, FB_ECANCELED, "canceled");
}

/* A step of the walk: it goes on, or its error is the machine's. */
static bool
take(struct walk *w, int (*step)(struct walk *, struct fb_error *))
{
	struct fb_error err = { 0 };

	if (step(w, &err) >= 0)
		return true;
	w->err = err;
	return false;
}

static int
end_machine(struct walk *w, struct fb_error *err)
{
	int rc = start_machine(w, err);

	if (rc >= 0 && w->machine->existed)
		rc = fb_rst_supersede(w->restore, w->machine, err);
	return rc < 0 ? rc : close_machine(w, "ok", err);
}

static void
stop_family(struct walk *walks, size_t count)
{
	for (size_t i = count; i-- > 0;) {
		struct walk *w = &walks[i];
		struct fb_event event = { .kind = FB_EVENT_MACHINE_START,
			.machine = w->machine->key };

		check_cancel(w);
		if (!goes_on(w))
			continue;
		fb_rst_tell(w->restore, &event);
		if (!take(w, prepare_machine))
			put_back(w);
	}
}

static void
write_family(struct walk *walks, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct walk *w = &walks[i];

		check_cancel(w);
		if (goes_on(w) && !w->machine->finished)
			(void)take(w, write_machine);
	}
}

static void
start_family(struct walk *walks, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct walk *w = &walks[i];

		if (goes_on(w))
			(void)take(w, end_machine);
		else
			put_back(w);
	}
}

/* Say how it went; a machine that was not touched needs no resuming. */
static void
report_walk(struct walk *w)
{
	struct fb_restore *r = w->restore;
	struct fb_rst_machine *m = w->machine;
	struct fb_error err = { 0 };

	if (w->err.code >= 0) {
		fb_rst_succeeded(r, m, &w->totals);
		return;
	}
	if (m->suspended || (w->touched && !m->existed) || m->finished)
		(void)fb_hint(&w->err,
		    "%s; go on with: fleetbak restore --resume %s",
		    m->suspended ? "it is half-restored and stays down"
		                 : "what was written stays", r->id);
	else if (!m->owed && w->err.code != FB_ECANCELED &&
	    close_machine(w, "failed", &err) < 0)
		fb_rst_warn(r, m, &err);
	fb_rst_failed(r, m, &w->err);
}

static void
run_family(struct fb_restore *r, size_t first, size_t count)
{
	FB_AUTO_FREE struct walk *walks = fb_alloc(count, sizeof(*walks));

	for (size_t i = 0; i < count; i++) {
		walks[i].restore = r;
		walks[i].machine = &r->machines[first + i];
		if (walks[i].machine->problem != NULL)
			walks[i].err = *walks[i].machine->problem;
	}
	stop_family(walks, count);
	write_family(walks, count);
	start_family(walks, count);
	for (size_t i = 0; i < count; i++) {
		r->report->results[first + i].started = walks[i].started;
		report_walk(&walks[i]);
	}
}

void
fb_rst_run_machines(struct fb_restore *r)
{
	for (size_t first = 0; first < r->count;) {
		size_t end = first + 1;

		while (end < r->count &&
		    r->machines[end].root == r->machines[first].root)
			end++;
		run_family(r, first, end - first);
		first = end;
	}
}

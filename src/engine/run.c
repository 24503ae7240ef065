/*
 * A download in progress: making one, its states, its small helpers.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/buf.h"
#include "fleetbak/base/text.h"
#include "fleetbak/engine/limits.h"
#include "run.h"

static void
make_rates(struct fb_run *run)
{
	const struct fb_config *config = run->engine->config;

	run->read_rate = fb_limits_rate(&config->download.limit_read);
	run->upload_rate = fb_limits_rate(&config->download.limit_upload);
	run->source_rates =
	    fb_alloc(config->source_count, sizeof(*run->source_rates));
	for (size_t s = 0; s < config->source_count; s++)
		run->source_rates[s] =
		    fb_limits_rate(&config->sources[s].limit_read);
}

static void
free_rates(struct fb_run *run)
{
	fb_rate_free(run->read_rate);
	fb_rate_free(run->upload_rate);
	for (size_t s = 0; s < run->engine->config->source_count; s++)
		fb_rate_free(run->source_rates[s]);
	free(run->source_rates);
}

int
fb_run_new(const struct fb_engine *engine, struct fb_repo *repo,
    const char *id, struct fb_run **ret_run, struct fb_error *err)
{
	struct fb_run *run;
	size_t len = strlen(id);

	if (!fb_run_id_ok(id, len))
		return fb_fail(err, FB_ECONFIG, "'%s' is not a run id", id);
	run = fb_alloc(1, sizeof(*run));
	run->engine = engine;
	run->repo = repo;
	run->children_fd = -1;
	memcpy(run->id, id, len + 1);
	run->dir = fb_state_path(engine, "runs/%s", id);
	make_rates(run);
	if (gethostname(run->host, sizeof(run->host) - 1) == -1)
		run->host[0] = '\0';
	(void)pthread_mutex_init(&run->lock, NULL);
	(void)pthread_cond_init(&run->changed, NULL);
	*ret_run = run;
	return FB_OK;
}

void
fb_run_number(const struct fb_engine *engine, const struct fb_plan *plan,
    char id[FB_RUN_ID_SIZE])
{
	const char *newest = plan->predecessor_count > 0
	    ? plan->predecessors[plan->predecessor_count - 1].run
	    : NULL;
	struct fb_error why = { 0 };

	if (fb_random_run_id_after(newest, id) <= FB_CLOCK_SLACK_NS)
		return;
	(void)fb_fail_id(&why, FB_ECONFLICT, "E-CLOCK",
	    "the newest run, %s, is later than this host's clock; this one "
	    "is numbered after it",
	    newest);
	(void)fb_hint(&why, "set the clock, if it is this one that is wrong");
	fb_observe(&engine->observer,
	    &(struct fb_event){ .kind = FB_EVENT_WARNING, .error = &why });
}

static void
free_machine(struct fb_machine *machine)
{
	struct fb_fleet one = { .machines = machine, .count = 1 };

	if (machine != NULL)
		fb_fleet_release(&one);
}

void
fb_part_reset(struct fb_part *part)
{
	free(part->token);
	*part = (struct fb_part){ .volume = part->volume };
}

void
fb_run_free(struct fb_run *run)
{
	if (run == NULL)
		return;
	fb_copier_close(run->copier);
	if (run->repo != NULL && run->repo->warn_arg == run)
		run->repo->warn = NULL;
	fb_journal_close(run->journal);
	fb_session_release(&run->session);
	free_rates(run);
	for (size_t i = 0; i < run->job_count; i++) {
		free(run->jobs[i].name);
		for (size_t k = 0; run->jobs[i].parts != NULL &&
		     k < run->jobs[i].machine->volume_count; k++)
			fb_part_reset(&run->jobs[i].parts[k]);
		free(run->jobs[i].parts);
		fb_error_drop(run->jobs[i].err);
		free_machine(run->jobs[i].machine);
	}
	free(run->jobs);
	for (size_t i = 0; i < run->unit_count; i++) {
		free(run->units[i].name);
		free(run->units[i].jobs);
	}
	free(run->units);
	for (size_t i = 0; i < run->failure_count; i++)
		free(run->failures[i].source);
	free(run->failures);
	for (size_t i = 0; i < run->source_count; i++) {
		free(run->sources[i].name);
		free(run->sources[i].driver);
	}
	free(run->sources);
	free(run->predecessors);
	free(run->dir);
	(void)pthread_cond_destroy(&run->changed);
	(void)pthread_mutex_destroy(&run->lock);
	free(run);
}

void
fb_run_freep(struct fb_run **run)
{
	fb_run_free(*run);
}

/* "source/id" by source, then id: the order of fleets and manifests. */
static int
compare_names(const char *a, const char *b)
{
	while (*a != '\0' && *a == *b) {
		a++;
		b++;
	}
	return (*a == '/' ? 1 : (unsigned char)*a) -
	    (*b == '/' ? 1 : (unsigned char)*b);
}

static int
compare_job(const void *key, const void *element)
{
	return compare_names(key, ((const struct fb_job *)element)->name);
}

struct fb_job *
fb_run_job(const struct fb_run *run, const char *name)
{
	if (run->job_count == 0)
		return NULL;
	return bsearch(name, run->jobs, run->job_count, sizeof(*run->jobs),
	    compare_job);
}

/* Why a machine must not be touched now, whatever the journal says. */
static const struct fb_error *
find_refusal(const struct fb_plan *plan, const struct fb_machine *machine)
{
	const struct fb_fleet *fleet = &plan->fleet;
	const struct fb_plan_machine *planned;

	for (size_t i = 0; i < fleet->failure_count; i++)
		if (strcmp(fleet->failures[i].source, machine->source) == 0)
			return &fleet->failures[i].err;
	planned = fb_plan_find(plan, machine->source, machine->id);
	if (planned == NULL || planned->refusal == NULL ||
	    strcmp(planned->refusal->id, "E-DOWNTIME") == 0)
		return NULL;
	return planned->refusal;
}

static bool
is_away(const struct fb_fleet *fleet, const char *source)
{
	for (size_t i = 0; i < fleet->failure_count; i++)
		if (strcmp(fleet->failures[i].source, source) == 0)
			return true;
	return false;
}

void
fb_run_bind(struct fb_run *run, const struct fb_plan *plan)
{
	for (size_t i = 0; i < run->job_count; i++) {
		struct fb_job *job = &run->jobs[i];

		job->now = fb_fleet_find(
		    &plan->fleet, job->machine->source, job->machine->id);
		job->planned = fb_plan_find(
		    plan, job->machine->source, job->machine->id);
		job->driver = fb_engine_driver(
		    run->engine, &plan->drivers, job->machine->source);
		job->refused = find_refusal(plan, job->machine);
		job->away = is_away(&plan->fleet, job->machine->source);
	}
}

void
fb_run_notify(struct fb_run *run, const struct fb_event *event)
{
	(void)pthread_mutex_lock(&run->lock);
	fb_observe(&run->engine->observer, event);
	(void)pthread_mutex_unlock(&run->lock);
}

/* Something that is not believed: nothing is lost by it. */
static void
warn(void *arg, const struct fb_error *err)
{
	fb_run_notify(arg,
	    &(struct fb_event){ .kind = FB_EVENT_WARNING, .error = err });
}

void
fb_run_hear_warnings(struct fb_run *run)
{
	run->repo->warn = warn;
	run->repo->warn_arg = run;
}

void
fb_run_announce(
    struct fb_run *run, const struct fb_job *job, enum fb_event_kind kind)
{
	uint64_t read_bytes = 0, new_bytes = 0, stored_bytes = 0;
	FB_AUTO_BUF struct fb_buf text = { 0 };

	for (size_t i = 0; i < job->machine->volume_count; i++) {
		const struct fb_part *part = &job->parts[i];

		read_bytes += part->read_bytes;
		new_bytes +=
		    part->result.new_bytes + part->catalogue.new_bytes;
		stored_bytes +=
		    part->result.stored_bytes + part->catalogue.stored_bytes;
	}
	fb_buf_add_str(&text, "read ");
	fb_text_add_size(&text, read_bytes);
	fb_buf_add_str(&text, ", new ");
	fb_text_add_size(&text, new_bytes);
	fb_buf_add_str(&text, ", stored ");
	fb_text_add_size(&text, stored_bytes);
	fb_run_notify(run,
	    &(struct fb_event){ .kind = kind,
	        .machine = job->name,
	        .text = fb_buf_str(&text),
	        .done = read_bytes,
	        .total = read_bytes });
}

/* How long it takes from its first step to its last byte. */
static void
note_time(struct fb_job *job)
{
	int64_t now = fb_clock_mono_ns();

	if (job->began_ns == 0)
		job->began_ns = now;
	if (job->state == FB_MACHINE_COPIED || job->state == FB_MACHINE_VERIFIED)
		job->took_ms = (uint64_t)(now - job->began_ns) / 1000000;
}

int
fb_run_state(struct fb_run *run, struct fb_job *job,
    enum fb_machine_state state, bool durable, struct fb_error *err)
{
	FB_AUTO_JSON json_t *body = NULL;
	int rc = fb_machine_step(job->state, state, err);

	if (rc < 0)
		return fb_wrap(err, "machine '%s'", job->name);
	job->state = state;
	note_time(job);
	body = fb_run_machine_json(job);
	rc = fb_journal_append(run->journal, "machine", body, durable, err);
	if (rc < 0)
		return rc;
	fb_run_notify(run,
	    &(struct fb_event){ .kind = FB_EVENT_STATE,
	        .machine = job->name,
	        .text = fb_lifecycle_row(state)->name });
	return FB_OK;
}

int
fb_run_fail(struct fb_run *run, struct fb_job *job,
    const struct fb_error *cause, struct fb_error *err)
{
	enum fb_machine_state before = job->state;
	int rc;

	if (job->state == FB_MACHINE_FAILED)
		return FB_OK;
	job->err = fb_error_keep(cause);
	rc = fb_run_state(run, job, FB_MACHINE_FAILED, true, err);
	if (rc < 0) { /* the run's trouble, not the machine's: it goes on */
		job->state = before;
		fb_error_drop(FB_STEAL(job->err));
		return rc;
	}
	fb_run_notify(run,
	    &(struct fb_event){ .kind = FB_EVENT_MACHINE_FAILED,
	        .machine = job->name,
	        .error = job->err });
	return FB_OK;
}

int
fb_run_fail_jobs(struct fb_run *run, bool all, const struct fb_error *cause,
    struct fb_error *err)
{
	int rc = FB_OK;

	for (size_t i = 0; rc == FB_OK && i < run->job_count; i++)
		if (all || fb_job_active(&run->jobs[i]))
			rc = fb_run_fail(run, &run->jobs[i], cause, err);
	return rc;
}

/* Another try for some of its machines takes nothing from the others. */
static bool
is_untouched(const struct fb_run *run, size_t unit)
{
	for (size_t i = 0; i < run->units[unit].count; i++) {
		enum fb_machine_state state =
		    run->jobs[run->units[unit].jobs[i]].state;

		if (state != FB_MACHINE_FAILED && state != FB_MACHINE_PLANNED)
			return false;
	}
	return true;
}

int
fb_run_retry_failed(struct fb_run *run, struct fb_error *err)
{
	int rc = FB_OK;

	for (size_t i = 0; rc == FB_OK && i < run->unit_count; i++) {
		size_t count = is_untouched(run, i) ? run->units[i].count : 0;

		for (size_t k = 0; rc == FB_OK && k < count; k++) {
			struct fb_job *job = &run->jobs[run->units[i].jobs[k]];

			if (job->state != FB_MACHINE_FAILED)
				continue;
			rc = fb_run_state(
			    run, job, FB_MACHINE_PLANNED, true, err);
			if (rc == FB_OK)
				fb_error_drop(FB_STEAL(job->err));
		}
	}
	return rc;
}

bool
fb_run_any_succeeded(const struct fb_run *run)
{
	for (size_t i = 0; i < run->job_count; i++)
		if (run->jobs[i].state >= FB_MACHINE_COPIED &&
		    run->jobs[i].state != FB_MACHINE_FAILED)
			return true;
	return false;
}

bool
fb_run_needs_guard(const struct fb_run *run)
{
	for (size_t i = 0; i < run->job_count; i++) {
		const struct fb_driver *driver = run->jobs[i].driver;

		switch (run->jobs[i].machine->lifecycle) {
		case FB_LIFECYCLE_STOP_SNAPSHOT_START:
		case FB_LIFECYCLE_STOP_COPY_START:
		case FB_LIFECYCLE_PAUSE_IN_CREATE:
			return true;
		case FB_LIFECYCLE_SNAPSHOT_LIVE:
			if (driver != NULL && driver->ops->relieve != NULL)
				return true;
			break;
		case FB_LIFECYCLE_READ_DOWN:
			break;
		}
	}
	return false;
}

void
fb_run_fatal(struct fb_run *run, const struct fb_error *cause)
{
	(void)pthread_mutex_lock(&run->lock);
	if (run->fatal.code == FB_OK)
		run->fatal = *cause;
	(void)pthread_cond_broadcast(&run->changed);
	(void)pthread_mutex_unlock(&run->lock);
}

bool
fb_run_stopping_locked(const struct fb_run *run)
{
	return run->fatal.code < 0 ||
	    (run->engine->cancel != NULL && atomic_load(run->engine->cancel));
}

bool
fb_run_stopping(struct fb_run *run)
{
	bool stopping;

	(void)pthread_mutex_lock(&run->lock);
	stopping = fb_run_stopping_locked(run);
	(void)pthread_mutex_unlock(&run->lock);
	return stopping;
}

void
fb_run_keep(struct fb_run *run, struct fb_copy *copy)
{
	(void)pthread_mutex_lock(&run->lock);
	run->kept = fb_realloc(
	    run->kept, run->kept_count + 1, sizeof(struct fb_copy *));
	run->kept[run->kept_count++] = copy;
	(void)pthread_mutex_unlock(&run->lock);
}

int
fb_run_save_kept(struct fb_run *run, struct fb_error *err)
{
	int rc = run->fatal.code < 0
	    ? FB_OK
	    : fb_copier_checkpoint(run->copier, err);

	for (size_t i = 0; i < run->kept_count; i++)
		fb_copy_abandon(run->kept[i]);
	free(FB_STEAL(run->kept));
	run->kept_count = 0;
	return rc;
}

void
fb_run_verb(const struct fb_run *run, const struct fb_job *job,
    uint64_t timeout_ms, struct fb_verb *ret_verb)
{
	*ret_verb = (struct fb_verb){ .token = job->token,
		.timeout_ms = timeout_ms,
		.lock_fd = run->children_fd,
		.owner = run->repo->format.repository };
}

void
fb_run_config_digest(
    const struct fb_engine *engine, char text[FB_DIGEST_HEX_SIZE])
{
	static const char *const others[] = { "notify", "metrics", "log" };
	static const char *const limits[] = { "limit_read", "limit_upload",
		"max_duration" };
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	FB_AUTO_JSON json_t *facts =
	    json_deep_copy(engine->config->effective);
	json_t *download = json_object_get(facts, "download");
	struct fb_digest digest;

	/* What is stored does not depend on these. */
	for (size_t i = 0; i < FB_COUNT(others); i++)
		(void)json_object_del(facts, others[i]);
	for (size_t i = 0; i < FB_COUNT(limits); i++)
		(void)json_object_del(download, limits[i]);
	fb_json_add(&bytes, facts);
	fb_buf_add_str(&bytes, fb_engine_repo_config(engine)->name);
	fb_digest_of(fb_buf_span(&bytes), &digest);
	fb_digest_hex(&digest, text);
}

void
fb_run_selection_digest(
    const struct fb_plan *plan, char text[FB_DIGEST_HEX_SIZE])
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	struct fb_digest digest;

	for (size_t i = 0; i < plan->machine_count; i++)
		fb_buf_add_fmt(&bytes, "%s/%s\n",
		    plan->machines[i].machine->source,
		    plan->machines[i].machine->id);
	fb_digest_of(fb_buf_span(&bytes), &digest);
	fb_digest_hex(&digest, text);
}

static void
copy_labels(struct fb_labels *to, const struct fb_labels *from)
{
	to->items = fb_alloc(from->count, sizeof(*to->items));
	to->count = from->count;
	for (size_t i = 0; i < from->count; i++)
		to->items[i] = (struct fb_label){
			fb_strdup(from->items[i].key),
			fb_strdup(from->items[i].value),
		};
}

static struct fb_machine *
copy_machine(const struct fb_machine *from)
{
	struct fb_machine *to = fb_alloc(1, sizeof(*to));

	*to = *from;
	to->source = fb_strdup(from->source);
	to->driver = fb_strdup(from->driver);
	to->id = fb_strdup(from->id);
	to->name = fb_strdup(from->name);
	to->role = fb_strdup(from->role);
	to->parent = from->parent ? fb_strdup(from->parent) : NULL;
	copy_labels(&to->labels, &from->labels);
	to->volumes = fb_alloc(from->volume_count, sizeof(*to->volumes));
	for (size_t i = 0; i < from->volume_count; i++) {
		to->volumes[i] = from->volumes[i];
		to->volumes[i].name = fb_strdup(from->volumes[i].name);
		to->volumes[i].note = NULL;
		to->volumes[i].token = NULL;
	}
	return to;
}

static void
adopt_failures(struct fb_run *run, const struct fb_fleet *fleet)
{
	run->failure_count = fleet->failure_count;
	run->failures =
	    fb_alloc(fleet->failure_count, sizeof(*run->failures));
	for (size_t i = 0; i < fleet->failure_count; i++) {
		run->failures[i].source = fb_strdup(fleet->failures[i].source);
		run->failures[i].err = fleet->failures[i].err;
	}
}

static void
adopt_sources(struct fb_run *run)
{
	const struct fb_config *config = run->engine->config;

	run->sources = fb_alloc(config->source_count, sizeof(*run->sources));
	for (size_t i = 0; i < config->source_count; i++)
		run->sources[run->source_count++] = (struct fb_run_source){
			fb_strdup(config->sources[i].name),
			fb_strdup(config->sources[i].driver),
		};
}

static void
adopt_units(struct fb_run *run, const struct fb_plan *plan)
{
	run->unit_count = plan->units.count;
	run->units = fb_alloc(plan->units.count, sizeof(*run->units));
	for (size_t i = 0; i < plan->units.count; i++) {
		const struct fb_unit *unit = &plan->units.items[i];

		run->units[i].name = fb_strdup(unit->name);
		run->units[i].jobs =
		    fb_alloc(unit->count, sizeof(*run->units[i].jobs));
		for (size_t k = 0; k < unit->count; k++) {
			const struct fb_machine *machine =
			    &plan->fleet.machines[unit->members[k]];
			FB_AUTO_FREE char *name = fb_format(
			    "%s/%s", machine->source, machine->id);
			struct fb_job *job = fb_run_job(run, name);

			if (job != NULL)
				run->units[i].jobs[run->units[i].count++] =
				    job->index;
		}
	}
}

static int
compare_jobs(const void *a, const void *b)
{
	return compare_names(((const struct fb_job *)a)->name,
	    ((const struct fb_job *)b)->name);
}

static void
adopt_machine(struct fb_job *job, const struct fb_plan_machine *planned)
{
	job->machine = copy_machine(planned->machine);
	job->name =
	    fb_format("%s/%s", job->machine->source, job->machine->id);
	job->lifecycle = job->machine->lifecycle;
	job->parts =
	    fb_alloc(job->machine->volume_count, sizeof(*job->parts));
	for (size_t k = 0; k < job->machine->volume_count; k++)
		job->parts[k].volume = &job->machine->volumes[k];
	job->machine->problem = fb_error_share(planned->refusal);
}

/* Two machines that claim one id (both are refused) are one entry. */
static bool
same_machine(
    const struct fb_plan_machine *a, const struct fb_plan_machine *b)
{
	return strcmp(a->machine->source, b->machine->source) == 0 &&
	    strcmp(a->machine->id, b->machine->id) == 0;
}

void
fb_run_adopt_plan(struct fb_run *run, const struct fb_plan *plan)
{
	run->topology = plan->topology;
	run->topology_selection = plan->topology_selection;
	run->predecessor_count = plan->predecessor_count;
	run->predecessors =
	    fb_alloc(plan->predecessor_count, sizeof(*run->predecessors));
	memcpy(run->predecessors, plan->predecessors,
	    plan->predecessor_count * sizeof(*run->predecessors));
	fb_run_config_digest(run->engine, run->config_digest);
	fb_run_selection_digest(plan, run->selection_digest);
	(void)snprintf(run->tool, sizeof(run->tool), "%s", FB_VERSION);
	adopt_sources(run);
	adopt_failures(run, &plan->fleet);

	run->jobs = fb_alloc(plan->machine_count, sizeof(*run->jobs));
	for (size_t i = 0; i < plan->machine_count; i++)
		if (i == 0 || !same_machine(&plan->machines[i - 1],
		                  &plan->machines[i]))
			adopt_machine(&run->jobs[run->job_count++],
			    &plan->machines[i]);
	qsort(run->jobs, run->job_count, sizeof(*run->jobs), compare_jobs);
	for (size_t i = 0; i < run->job_count; i++)
		run->jobs[i].index = i;
	adopt_units(run, plan);
}

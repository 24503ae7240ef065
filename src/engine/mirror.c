/*
 * The journal of a shard, told to the repository before anything depends on
 * it; and signs of life, where it has nothing to tell for long.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/group.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/format/json.h"
#include "shared.h"

/* With a machine down nobody waits longer than this for the repository. */
#define DOWN_WAIT_NS (INT64_C(20) * 1000000000)

struct fb_mirror {
	struct fb_run *run;
	struct fb_group *group; /* one who tells, and one who gives signs */
	uint64_t beat_ms;
	uint32_t next; /* object, by number */
	atomic_bool fenced;

	pthread_mutex_t lock; /* all below */
	pthread_cond_t changed;
	struct fb_buf noted; /* and not told yet */
	bool all;            /* it begins with the first record */
	bool urgent;         /* something depends on what is noted */
	char **down;         /* machines that are stopped */
	size_t down_count;
	uint64_t asked, answered; /* rounds of telling */
	struct fb_error answer;   /* of the last one */
	atomic_bool over;
};

static void
note_down(struct fb_mirror *mirror, const char *machine)
{
	mirror->down = fb_realloc(
	    mirror->down, mirror->down_count + 1, sizeof(*mirror->down));
	mirror->down[mirror->down_count++] = fb_strdup(machine);
}

static void
note_up(struct fb_mirror *mirror, const char *machine)
{
	for (size_t i = mirror->down_count; i-- > 0;) {
		if (strcmp(mirror->down[i], machine) != 0)
			continue;
		free(mirror->down[i]);
		mirror->down[i] = mirror->down[--mirror->down_count];
	}
}

static void
note(void *arg, uint64_t sequence, const char *type, const json_t *body)
{
	struct fb_mirror *mirror = arg;
	const char *state = json_string_value(json_object_get(body, "state"));
	const char *machine =
	    json_string_value(json_object_get(body, "machine"));

	/* How far a copy is helps only who has its spool. */
	if (strcmp(type, "checkpoint") == 0)
		return;
	(void)pthread_mutex_lock(&mirror->lock);
	fb_buf_add_fmt(
	    &mirror->noted, "%llu %s ", (unsigned long long)sequence, type);
	fb_json_add(&mirror->noted, body);
	fb_buf_add_str(&mirror->noted, "\n");
	/* A start is owed already: it waits for nobody. */
	if (state == NULL || strcmp(state, "starting") != 0)
		mirror->urgent = true;
	if (machine != NULL && state != NULL && strcmp(state, "stopped") == 0)
		note_down(mirror, machine);
	else if (machine != NULL && strcmp(type, "discharged") == 0)
		note_up(mirror, machine);
	(void)pthread_mutex_unlock(&mirror->lock);
}

/* Who takes the shard over fences the session first, and for ever; leases are
 * taken away when the run is sealed.  No effect may follow. */
static int
check_fence(struct fb_mirror *mirror, struct fb_error *err)
{
	const struct fb_run *run = mirror->run;
	struct fb_register reg = { 0 };
	int rc = fb_repo_register(run->repo, run->id, &reg, err);
	bool fenced = rc == FB_OK && reg.fence;

	fb_register_release(&reg);
	if (fenced)
		atomic_store(&mirror->fenced, true);
	if (fenced)
		return fb_fail_id(err, FB_ECONFLICT, "E-FENCED",
		    "shard %u of '%s' was taken over by another worker",
		    run->shard.number, run->shared);
	return rc == FB_ENOTFOUND ? FB_OK : rc;
}

static int
tell(struct fb_mirror *mirror, struct fb_error *err)
{
	const struct fb_run *run = mirror->run;
	FB_AUTO_BUF struct fb_buf text = { 0 };
	char key[SHARED_KEY_SIZE], number[24];
	bool all;
	int rc;

	(void)pthread_mutex_lock(&mirror->lock);
	text = mirror->noted;
	mirror->noted = (struct fb_buf){ 0 };
	all = mirror->all;
	(void)pthread_mutex_unlock(&mirror->lock);
	if (text.len == 0)
		return FB_OK;
	do { /* two who look after what is left are both told */
		(void)snprintf(number, sizeof(number), "%06u%s", mirror->next++,
		    all ? "-all" : "");
		shared_key(
		    run->shared, run->shard.number, run->lease, number, key);
		rc = shared_put(
		    run->engine, run->repo, key, fb_buf_span(&text), err);
	} while (rc == FB_EEXISTS && run->committed);
	(void)pthread_mutex_lock(&mirror->lock);
	if (rc == FB_OK) {
		mirror->all = false;
	} else { /* it must be told before what comes next is */
		fb_buf_add(&text, mirror->noted.data, mirror->noted.len);
		fb_buf_release(&mirror->noted);
		mirror->noted = text;
		text = (struct fb_buf){ 0 };
	}
	(void)pthread_mutex_unlock(&mirror->lock);
	return rc;
}

/* Tells what is noted, for all that have asked before. */
static int
tell_all(void *arg, struct fb_error *err)
{
	struct fb_mirror *mirror = arg;

	(void)err;
	(void)pthread_mutex_lock(&mirror->lock);
	for (;;) {
		struct fb_error why = { 0 };
		uint64_t asked = mirror->asked;
		int rc;

		if (asked == mirror->answered && atomic_load(&mirror->over))
			break;
		if (asked == mirror->answered) {
			(void)pthread_cond_wait(
			    &mirror->changed, &mirror->lock);
			continue;
		}
		mirror->urgent = false;
		(void)pthread_mutex_unlock(&mirror->lock);
		/* It counts only what was told before the fence. */
		rc = atomic_load(&mirror->fenced) ? FB_OK
		                                  : tell(mirror, &why);
		if (rc == FB_OK)
			rc = check_fence(mirror, &why);
		(void)pthread_mutex_lock(&mirror->lock);
		mirror->answered = asked;
		mirror->answer = rc < 0 ? why : (struct fb_error){ 0 };
		(void)pthread_cond_broadcast(&mirror->changed);
	}
	(void)pthread_mutex_unlock(&mirror->lock);
	return FB_OK;
}

static int
fail_down(struct fb_error *err)
{
	(void)fb_fail(err, FB_EUNREACH,
	    "the repository does not answer, and a machine is down meanwhile");
	return fb_hint(err, "it is started again; see to the repository");
}

/* With the lock held: until something changes, or a little later. */
static void
wait_changed(struct fb_mirror *mirror)
{
	struct timespec until;

	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec++;
	(void)pthread_cond_timedwait(&mirror->changed, &mirror->lock, &until);
}

/* Told, and the shard still ours. */
static int
flush(void *arg, struct fb_error *err)
{
	struct fb_mirror *mirror = arg;
	int64_t until = fb_clock_mono_ns() + DOWN_WAIT_NS;
	uint64_t round;
	int rc = FB_OK;

	(void)pthread_mutex_lock(&mirror->lock);
	if (!mirror->urgent && mirror->noted.len > 0) {
		(void)pthread_mutex_unlock(&mirror->lock);
		return FB_OK;
	}
	round = ++mirror->asked;
	(void)pthread_cond_broadcast(&mirror->changed);
	while (rc == FB_OK && mirror->answered < round) {
		bool down = mirror->down_count > 0;

		if (down && fb_clock_mono_ns() >= until) {
			rc = fail_down(err);
			break;
		}
		wait_changed(mirror);
	}
	if (rc == FB_OK && mirror->answer.code < 0) {
		*err = mirror->answer;
		rc = err->code;
	}
	(void)pthread_mutex_unlock(&mirror->lock);
	return rc;
}

static int
beat(struct fb_mirror *mirror, struct fb_error *err)
{
	const struct fb_run *run = mirror->run;
	char key[SHARED_KEY_SIZE], name[FB_RUN_ID_SIZE + 8] = "alive-";
	int rc = check_fence(mirror, err);

	if (rc < 0)
		return rc;
	fb_random_run_id(name + strlen(name));
	shared_key(run->shared, run->shard.number, run->lease, name, key);
	return fb_store_create(
	    run->repo->store, key, (struct fb_span){ 0 }, err);
}

/* That a sign of life fails is no harm, but for who takes over: the run is
 * told when the lease is lost. */
static int
live(void *arg, struct fb_error *err)
{
	struct fb_mirror *mirror = arg;
	int64_t next = fb_clock_mono_ns() + (int64_t)mirror->beat_ms * 1000000;

	(void)err;
	while (!atomic_load(&mirror->over)) {
		struct fb_error why = { 0 };

		fb_clock_wait(next);
		if (fb_clock_mono_ns() < next)
			continue;
		/* After a sleep: one sign, not all that were missed. */
		next = fb_clock_mono_ns() + (int64_t)mirror->beat_ms * 1000000;
		if (beat(mirror, &why) == FB_ECONFLICT) {
			fb_run_fatal(mirror->run, &why);
			break;
		}
	}
	return FB_OK;
}

static int
note_record(
    const struct fb_journal_record *record, void *arg, struct fb_error *err)
{
	(void)err;
	if (strcmp(record->type, "journal") != 0)
		note(arg, record->sequence, record->type, record->body);
	return FB_OK;
}

static int
visit_told(const char *key, uint64_t size, void *arg, struct fb_error *err)
{
	struct fb_mirror *mirror = arg;
	const char *rest = strrchr(key, '/') + 1;

	(void)size;
	(void)err;
	if (rest[0] >= '0' && rest[0] <= '9')
		mirror->next = (uint32_t)strtoul(rest, NULL, 10) + 1;
	return FB_OK;
}

/* After what was told before a crash. */
static int
find_next(struct fb_mirror *mirror, struct fb_error *err)
{
	const struct fb_run *run = mirror->run;
	char prefix[SHARED_KEY_SIZE];

	shared_key(run->shared, run->shard.number, run->lease, "", prefix);
	return fb_store_list(run->repo->store, prefix, visit_told, mirror, err);
}

int
fb_mirror_start(struct fb_run *run, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_format("%s/journal", run->dir);
	AUTO_SHARED struct shared shared = { 0 };
	struct fb_journal_mirror hooks = { note, flush, NULL };
	struct fb_mirror *mirror;
	pthread_condattr_t attr;
	int rc = shared_open(run->engine, run->repo, run->shared, &shared, err);

	if (rc < 0)
		return rc;
	mirror = fb_alloc(1, sizeof(*mirror));
	mirror->run = run;
	mirror->beat_ms = shared.dead_after_ms / 4 + 1;
	(void)pthread_mutex_init(&mirror->lock, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&mirror->changed, &attr);
	(void)pthread_condattr_destroy(&attr);
	run->mirror = mirror;
	hooks.arg = mirror;
	/* After a crash all of it once more, instead of what was told: of
	 * that, some may not have survived here. */
	mirror->all = true;
	rc = find_next(mirror, err);
	if (rc == FB_OK)
		rc = fb_journal_read(path, note_record, mirror, err);
	if (rc == FB_OK) {
		fb_journal_set_mirror(run->journal, &hooks);
		mirror->group = fb_group_new();
		fb_group_start(mirror->group, tell_all, mirror);
		fb_group_start(mirror->group, live, mirror);
		rc = flush(mirror, err);
	}
	return rc;
}

void
fb_mirror_stop(struct fb_run *run)
{
	struct fb_journal_mirror none = { NULL, NULL, NULL };
	struct fb_mirror *mirror = run->mirror;
	struct fb_error ignored = { 0 };

	if (mirror == NULL)
		return;
	run->mirror = NULL;
	(void)pthread_mutex_lock(&mirror->lock);
	atomic_store(&mirror->over, true);
	(void)pthread_cond_broadcast(&mirror->changed);
	(void)pthread_mutex_unlock(&mirror->lock);
	if (mirror->group != NULL)
		(void)!fb_group_wait(mirror->group, &ignored);
	if (atomic_load(&mirror->fenced))
		shared_tidy_part(run);
	fb_journal_set_mirror(run->journal, &none);
	fb_buf_release(&mirror->noted);
	while (mirror->down_count > 0)
		free(mirror->down[--mirror->down_count]);
	free(mirror->down);
	(void)pthread_mutex_destroy(&mirror->lock);
	(void)pthread_cond_destroy(&mirror->changed);
	free(mirror);
}

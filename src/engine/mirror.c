/*
 * The journal of a shard, told to the repository before anything depends on
 * it; and signs of life, where it has nothing to tell for long.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/group.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/format/json.h"
#include "shared.h"

struct fb_mirror {
	struct fb_run *run;
	struct fb_group *group;
	uint64_t beat_ms;
	pthread_mutex_t lock;    /* of what is noted */
	struct fb_buf noted;     /* and not told yet */
	bool all;                /* it begins with the first record */
	pthread_mutex_t telling; /* one at a time, in order */
	uint32_t next;           /* object, by number */
	atomic_bool over;
};

static void
note(void *arg, uint64_t sequence, const char *type, const json_t *body)
{
	struct fb_mirror *mirror = arg;

	/* How far a copy is helps only who has its spool. */
	if (strcmp(type, "checkpoint") == 0)
		return;
	(void)pthread_mutex_lock(&mirror->lock);
	fb_buf_add_fmt(
	    &mirror->noted, "%llu %s ", (unsigned long long)sequence, type);
	fb_json_add(&mirror->noted, body);
	fb_buf_add_str(&mirror->noted, "\n");
	(void)pthread_mutex_unlock(&mirror->lock);
}

/* Somebody has taken the shard over: no effect may follow. */
static int
check_lease(const struct fb_mirror *mirror, struct fb_error *err)
{
	const struct fb_run *run = mirror->run;
	char key[SHARED_KEY_SIZE];
	uint64_t size;
	int rc;

	shared_key(
	    run->shared, run->shard.number, run->lease + 1, "lease", key);
	rc = fb_store_head(run->repo->store, key, &size, err);
	if (rc == FB_ENOTFOUND)
		return FB_OK;
	if (rc < 0)
		return rc;
	return fb_fail_id(err, FB_ECONFLICT, "E-FENCED",
	    "shard %u of '%s' was taken over by another worker",
	    run->shard.number, run->shared);
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
		return FB_OK; /* somebody else has told it */
	(void)snprintf(number, sizeof(number), "%06u%s", mirror->next++,
	    all ? "-all" : "");
	shared_key(run->shared, run->shard.number, run->lease, number, key);
	rc = shared_put(run->engine, run->repo, key, fb_buf_span(&text), err);
	if (rc == FB_OK) {
		mirror->all = false;
		return FB_OK;
	}
	/* It must be told before what comes next is. */
	(void)pthread_mutex_lock(&mirror->lock);
	fb_buf_add(&text, mirror->noted.data, mirror->noted.len);
	fb_buf_release(&mirror->noted);
	mirror->noted = text;
	text = (struct fb_buf){ 0 };
	(void)pthread_mutex_unlock(&mirror->lock);
	return rc;
}

static int
flush(void *arg, struct fb_error *err)
{
	struct fb_mirror *mirror = arg;
	int rc;

	(void)pthread_mutex_lock(&mirror->telling);
	rc = tell(mirror, err);
	(void)pthread_mutex_unlock(&mirror->telling);
	return rc < 0 ? rc : check_lease(mirror, err);
}

static int
beat(struct fb_mirror *mirror, struct fb_error *err)
{
	const struct fb_run *run = mirror->run;
	char key[SHARED_KEY_SIZE], name[FB_RUN_ID_SIZE + 8] = "alive-";
	int rc;

	fb_random_run_id(name + strlen(name));
	shared_key(run->shared, run->shard.number, run->lease, name, key);
	rc = fb_store_create(run->repo->store, key, (struct fb_span){ 0 }, err);
	return rc < 0 ? rc : check_lease(mirror, err);
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
		next += (int64_t)mirror->beat_ms * 1000000;
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
	int rc = shared_open(run->engine, run->repo, run->shared, &shared, err);

	if (rc < 0)
		return rc;
	mirror = fb_alloc(1, sizeof(*mirror));
	mirror->run = run;
	mirror->beat_ms = shared.dead_after_ms / 4 + 1;
	(void)pthread_mutex_init(&mirror->lock, NULL);
	(void)pthread_mutex_init(&mirror->telling, NULL);
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
		rc = flush(mirror, err);
	}
	if (rc == FB_OK) {
		mirror->group = fb_group_new();
		fb_group_start(mirror->group, live, mirror);
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
	atomic_store(&mirror->over, true);
	if (mirror->group != NULL)
		(void)!fb_group_wait(mirror->group, &ignored);
	fb_journal_set_mirror(run->journal, &none);
	fb_buf_release(&mirror->noted);
	(void)pthread_mutex_destroy(&mirror->lock);
	(void)pthread_mutex_destroy(&mirror->telling);
	free(mirror);
}

/* Readers announce themselves; the dead are told from the living. */
#include "fleetbak/engine/reader.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/group.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/lock.h"
#include "fleetbak/base/mem.h"

#define ATTEMPTS   8
#define PATIENCE_S 2 /* then it is said that nobody answers */

/* The lock's file is the one that has the name: a sweep takes dead ones
 * away. */
static bool
is_linked(int fd, const char *path)
{
	struct stat here, there;

	return fstat(fd, &here) == 0 && stat(path, &there) == 0 &&
	    here.st_dev == there.st_dev && here.st_ino == there.st_ino;
}

/* A new id, and a lock under it.  Without a state directory that can be
 * written to there is none, and no harm. */
static void
take_lock(const struct fb_engine *engine, const struct fb_repo *repo,
    char id[FB_RUN_ID_SIZE], struct fb_reader *reader)
{
	FB_AUTO_FREE char *dir = fb_state_path(engine, "sessions");
	struct fb_error ignored = { 0 };

	if (fb_io_mkdirs(dir, 0700, &ignored) < 0)
		return;
	for (int i = 0; i < ATTEMPTS && reader->lock_fd < 0; i++) {
		fb_random_run_id(id);
		free(reader->lock_path);
		reader->lock_path = fb_format(
		    "%s/%s.%s", dir, id, repo->format.repository);
		reader->lock_fd = fb_lock_take(
		    reader->lock_path, 0, NULL, "reader", &ignored);
		if (reader->lock_fd >= 0 &&
		    !is_linked(reader->lock_fd, reader->lock_path)) {
			(void)close(reader->lock_fd);
			reader->lock_fd = -1;
		}
	}
}

/* Without its file nobody ends the session. */
static void
drop_lock(struct fb_reader *reader, bool ended)
{
	struct fb_error ignored = { 0 };

	if (reader->lock_fd >= 0) {
		if (ended)
			(void)!fb_io_unlink(reader->lock_path, &ignored);
		(void)close(reader->lock_fd);
	}
	reader->lock_fd = -1;
	fb_freep(&reader->lock_path);
}

/* What decides writes is not needed to read. */
static bool
is_of_lease(const struct fb_error *err)
{
	static const char *const ids[] = { "E-LEASE-ANSWER", "E-LEASE-AWAY",
		"E-LEASE-HELD", "E-LEASE-NONE", "E-LEASE-PLACE" };

	for (size_t i = 0; i < FB_COUNT(ids); i++)
		if (strcmp(err->id, ids[i]) == 0)
			return true;
	return false;
}

/* Writes to a server that is full hang, and what it holds can be read: nobody
 * should have to wait for room to get something back. */
static bool
may_go_on(int rc, const struct fb_error *err)
{
	return rc == FB_EDENIED || rc == FB_ENOSPACE || rc == FB_ETIMEOUT ||
	    (rc < 0 && (err->sys == EROFS || is_of_lease(err)));
}

static const char *
name_of(const struct fb_engine *engine)
{
	const struct fb_config_repository *config =
	    fb_engine_repo_config(engine);

	return config != NULL ? config->name : "";
}

static void
warn(const struct fb_engine *engine, const struct fb_error *why)
{
	fb_observe(&engine->observer,
	    &(struct fb_event){ .kind = FB_EVENT_WARNING, .error = why });
}

/* Somebody waits for a machine to come back, and a server that is full says
 * nothing for as long as it is asked: they are told what is waited for. */
struct patience {
	const struct fb_engine *engine;
	const char *kind;
	pthread_mutex_t lock; /* guards the rest */
	pthread_cond_t changed;
	bool answered;
};

static int
lose_patience(void *arg, struct fb_error *err)
{
	struct patience *patience = arg;
	int64_t until =
	    fb_clock_mono_ns() + INT64_C(1000000000) * PATIENCE_S;
	const struct timespec deadline = { until / 1000000000,
		until % 1000000000 };
	struct fb_error why = { 0 };
	bool answered;
	int rc = 0;

	(void)err;
	(void)pthread_mutex_lock(&patience->lock);
	while (!patience->answered && rc != ETIMEDOUT)
		rc = pthread_cond_timedwait(
		    &patience->changed, &patience->lock, &deadline);
	answered = patience->answered;
	(void)pthread_mutex_unlock(&patience->lock);
	if (answered)
		return FB_OK;
	(void)fb_fail_id(&why, FB_ETIMEOUT, "E-UNANNOUNCED",
	    "repository '%s' does not answer yet to the announcement of this "
	    "%s, which keeps a prune from deleting what it reads; waiting as "
	    "long as 'retry_for' says",
	    name_of(patience->engine), patience->kind);
	warn(patience->engine, &why);
	return FB_OK;
}

/* Announce it, and say so when that takes long. */
static int
announce(const struct fb_engine *engine, struct fb_repo *repo, const char *id,
    const char *kind, struct fb_session *ret_session, struct fb_error *err)
{
	struct patience patience = { .engine = engine,
		.kind = kind,
		.lock = PTHREAD_MUTEX_INITIALIZER };
	struct fb_group *group = NULL;
	struct fb_error ignored = { 0 };
	pthread_condattr_t monotonic;
	int rc;

	if (engine == NULL)
		return fb_session_begin(
		    repo, id, kind, "unknown", ret_session, err);
	(void)pthread_condattr_init(&monotonic);
	(void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&patience.changed, &monotonic);
	(void)pthread_condattr_destroy(&monotonic);
	group = fb_group_new();
	/* Without a thread it waits in silence. */
	(void)!fb_group_start(group, lose_patience, &patience);
	rc = fb_session_begin(repo, id, kind, engine->config->fleet_name,
	    ret_session, err);
	(void)pthread_mutex_lock(&patience.lock);
	patience.answered = true;
	(void)pthread_cond_signal(&patience.changed);
	(void)pthread_mutex_unlock(&patience.lock);
	(void)!fb_group_wait(group, &ignored);
	(void)pthread_cond_destroy(&patience.changed);
	(void)pthread_mutex_destroy(&patience.lock);
	return rc;
}

void
fb_reader_warn(const struct fb_engine *engine, const struct fb_reader *reader,
    const char *kind, const struct fb_error *err)
{
	struct fb_error why = { 0 };

	/* Who may only read knows that, and a medium that is read-only has
	 * nothing deleted. */
	if (engine == NULL || reader->announced || err->code == FB_EDENIED ||
	    err->sys == EROFS)
		return;
	(void)fb_fail_id(&why, err->code, "E-UNANNOUNCED",
	    "this %s could not be announced in repository '%s' and goes on "
	    "without: a prune meanwhile may delete what it reads (%s)",
	    kind, name_of(engine), err->msg);
	(void)fb_hint(&why,
	    "run no prune until it has ended; see whether the server is full");
	warn(engine, &why);
}

int
fb_reader_begin(const struct fb_engine *engine, struct fb_repo *repo,
    const char *kind, struct fb_reader *ret_reader, struct fb_error *err)
{
	char id[FB_RUN_ID_SIZE] = "";
	struct fb_error why = { 0 };
	int rc, over = FB_OK;

	*ret_reader = (struct fb_reader){ .lock_fd = -1 };
	if (engine != NULL)
		take_lock(engine, repo, id, ret_reader);
	rc = fb_store_ready(repo->store, err); /* no waiting, if it is not */
	if (rc == FB_OK)
		rc = announce(engine, repo,
		    ret_reader->lock_fd >= 0 ? id : "", kind,
		    &ret_reader->session, err);
	ret_reader->announced = rc == FB_OK;
	if (rc == FB_OK)
		return FB_OK;
	/* Announced, and then it could not learn what is being deleted. */
	if (rc != FB_EDENIED && ret_reader->session.id[0] != '\0')
		over = fb_session_end(repo, &ret_reader->session, &why);
	/* It may be announced: as long as we read nobody ends that, and then
	 * whoever sweeps. */
	ret_reader->doubtful = rc == FB_ETIMEOUT;
	if (!ret_reader->doubtful)
		drop_lock(ret_reader, over == FB_OK);
	return may_go_on(rc, err) ? FB_OK : rc;
}

int
fb_reader_end(
    struct fb_repo *repo, struct fb_reader *reader, struct fb_error *err)
{
	int rc = FB_OK;

	/* The lock last: who dies in between is swept. */
	if (reader->announced)
		rc = fb_store_ready(repo->store, err);
	if (reader->announced && rc == FB_OK)
		rc = fb_session_end(repo, &reader->session, err);
	reader->announced = false;
	drop_lock(reader, !reader->doubtful);
	fb_session_release(&reader->session);
	return rc;
}

/* "<session>.<repository>"; true: its reader died, and it is ended. */
static int
sweep_one(const struct fb_engine *engine, struct fb_repo *repo,
    const char *name, struct fb_error *err)
{
	struct fb_session session = { 0 };
	FB_AUTO_FREE char *path = NULL;
	FB_AUTO_CLOSE int fd = -1;
	int rc;

	if (strlen(name) <= FB_RUN_ID_SIZE ||
	    !fb_run_id_ok(name, FB_RUN_ID_LEN) ||
	    strcmp(name + FB_RUN_ID_SIZE, repo->format.repository) != 0)
		return FB_OK;
	path = fb_state_path(engine, "sessions/%s", name);
	fd = fb_lock_take(path, 0, NULL, "sweep", err);
	if (fd < 0)
		return fd == FB_EBUSY ? FB_OK : fd; /* it lives */
	memcpy(session.id, name, FB_RUN_ID_LEN);
	rc = fb_session_end(repo, &session, err);
	return rc < 0 ? rc : fb_io_unlink(path, err);
}

int
fb_reader_sweep(const struct fb_engine *engine, struct fb_repo *repo,
    struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_state_path(engine, "sessions");
	DIR *dir = opendir(path);
	struct dirent *entry;
	int rc = FB_OK;

	while (rc == FB_OK && dir != NULL && (entry = readdir(dir)) != NULL)
		rc = sweep_one(engine, repo, entry->d_name, err);
	if (dir != NULL)
		(void)closedir(dir);
	return rc < 0 ? fb_wrap(err, "readers that died") : FB_OK;
}

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "fleetbak/base/buf.h"
#include "fleetbak/base/clock.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/lock.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/engine/engine.h"

#define POLL_MS 50

char *
fb_state_path(const struct fb_engine *engine, const char *format, ...)
{
	FB_AUTO_FREE char *name = NULL;
	va_list args;

	va_start(args, format);
	if (vasprintf(&name, format, args) == -1)
		_exit(FB_EXIT_NOMEM);
	va_end(args);
	return fb_format("%s/%s", engine->config->state_dir, name);
}

char *
fb_state_memory(const struct fb_engine *engine, const char *repository)
{
	const struct fb_config_repository *config =
	    fb_engine_repo_config(engine);
	bool copy = config != NULL && config->copy_of != NULL;

	return fb_state_path(engine, "newest/%s.%s%s%s", repository,
	    engine->config->fleet_name, copy ? "." : "",
	    copy ? config->name : "");
}

int
fb_state_make(const struct fb_engine *engine, struct fb_error *err)
{
	int rc = fb_io_mkdirs(engine->config->state_dir, 0700, err);

	return rc < 0 ? fb_wrap(err, "state directory") : FB_OK;
}

int
fb_state_lock(const struct fb_engine *engine, const char *command,
    struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_state_path(engine, "lock");
	FB_AUTO_FREE char *note = NULL;
	char host[256] = "?", since[FB_TIME_SIZE];

	(void)gethostname(host, sizeof(host) - 1);
	fb_time_format(fb_clock_wall_ns(), since);
	note = fb_format("%s on %s since %s", command, host, since);
	return fb_lock_take(
	    path, engine->lock_wait_ms, engine->cancel, note, err);
}

int
fb_state_busy(const struct fb_engine *engine, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_state_path(engine, "lock");

	return fb_lock_look(path, err);
}

/* FB_PENDING: somebody else holds it. */
static int
try_lock(int fd, const char *path, struct fb_error *err)
{
	while (flock(fd, LOCK_EX | LOCK_NB) == -1) {
		if (errno == EWOULDBLOCK)
			return FB_PENDING;
		if (errno != EINTR)
			return fb_fail_sys(err, "cannot lock '%s'", path);
	}
	return FB_OK;
}

static int
wait_for_children(const struct fb_engine *engine, int fd, const char *path,
    struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf who = { 0 };
	int64_t start = fb_clock_mono_ns();

	for (;;) {
		int64_t waited = (fb_clock_mono_ns() - start) / 1000000;
		int rc = try_lock(fd, path, err);

		if (rc != FB_PENDING)
			return rc;
		if (engine->cancel != NULL && atomic_load(engine->cancel))
			return fb_fail(
			    err, FB_ECANCELED, "stopped on request");
		if ((uint64_t)waited >= engine->lock_wait_ms)
			break;
		(void)poll(NULL, 0, POLL_MS);
	}
	fb_lock_add_holders(&who, fd);
	(void)fb_fail_id(err, FB_EBUSY, "E-CHILD-ALIVE",
	    "a command that an earlier run started still lives%s%s and holds "
	    "'%s'",
	    who.len > 0 ? ": " : "", fb_buf_str(&who), path);
	return fb_hint(err,
	    "wait for it, or look at it (fuser %s) and end it", path);
}

int
fb_state_children(const struct fb_engine *engine, struct fb_error *err)
{
	FB_AUTO_FREE char *path = fb_state_path(engine, "children.lock");
	FB_AUTO_CLOSE int fd =
	    fb_io_open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600, err);
	int rc;

	if (fd < 0)
		return fd;
	rc = wait_for_children(engine, fd, path, err);
	if (rc < 0)
		return rc;

	/* A child inherits this very lock: it stays held until the last one
	 * that has the descriptor is gone.  Shared, so that the descriptor
	 * says "children live", not "I am alone". */
	while (flock(fd, LOCK_SH) == -1)
		if (errno != EINTR)
			return fb_fail_sys(err, "cannot lock '%s'", path);
	rc = fd;
	fd = -1;
	return rc;
}

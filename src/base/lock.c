#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fleetbak/base/buf.h"
#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/lock.h"
#include "fleetbak/base/text.h"

#define POLL_MAX_MS     50
#define HOLDER_TEXT_MAX 256

/* O_NONBLOCK: a fifo in the lock's place must not hold us up. */
static int
open_regular(const char *path, int flags, struct fb_error *err)
{
	struct stat st;
	int fd = fb_io_open(path,
	    flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0600, err);

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		return fd;
	(void)close(fd);
	return fb_fail(err, FB_ESYS, "lock '%s' is not a regular file", path);
}

/* What the holder wrote, in one line; lines are joined by commas. */
static void
read_holder(int fd, struct fb_buf *holder)
{
	char text[HOLDER_TEXT_MAX];
	ssize_t got = pread(fd, text, sizeof(text), 0);
	const char *end = text + (got > 0 ? got : 0);

	for (const char *line = text; line < end;) {
		const char *stop = memchr(line, '\n', (size_t)(end - line));

		if (stop == NULL)
			stop = end;
		fb_buf_add_str(holder, holder->len > 0 ? ", " : "");
		for (const char *p = line; p < stop; p++)
			if (*p == ' ')
				fb_buf_add(holder, p, 1);
			else
				fb_text_add_escaped(holder,
				    (struct fb_span){ (const uint8_t *)p, 1 });
		line = stop + 1;
	}
	if (holder->len == 0)
		fb_buf_add_str(holder, "another process");
}

/* FB_PENDING: another holds it. */
static int
try_lock(int fd, const char *path, int how, struct fb_error *err)
{
	while (flock(fd, how | LOCK_NB) == -1) {
		if (errno == EWOULDBLOCK)
			return FB_PENDING;
		if (errno != EINTR)
			return fb_fail_sys(err, "cannot lock '%s'", path);
	}
	return FB_OK;
}

/* Who only looks shares it, for a moment: that is no reason to give up. */
static int
take(int fd, const char *path, struct fb_error *err)
{
	int rc;

	while ((rc = try_lock(fd, path, LOCK_EX, err)) == FB_PENDING) {
		rc = try_lock(fd, path, LOCK_SH, err);
		if (rc != FB_OK)
			return rc;
		(void)flock(fd, LOCK_UN);
		(void)poll(NULL, 0, 1);
	}
	return rc;
}

static int
fail_held(int fd, const char *path, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf holder = { 0 };

	read_holder(fd, &holder);
	return fb_fail(err, FB_EBUSY, "'%s' is held by %s", path,
	    fb_buf_str(&holder));
}

int
fb_lock_look(const char *path, struct fb_error *err)
{
	int fd = open_regular(path, O_RDONLY, err);
	int rc;

	if (fd == FB_ENOTFOUND)
		return FB_OK;
	if (fd < 0)
		return fd;
	rc = try_lock(fd, path, LOCK_SH, err);
	if (rc == FB_PENDING)
		rc = fail_held(fd, path, err);
	(void)close(fd);
	return rc;
}

static int
wait_for(int fd, const char *path, uint64_t wait_ms,
    const atomic_bool *cancel, struct fb_error *err)
{
	int64_t start = fb_clock_mono_ns();
	int rc;

	while ((rc = take(fd, path, err)) == FB_PENDING) {
		uint64_t waited =
		    (uint64_t)(fb_clock_mono_ns() - start) / 1000000;
		uint64_t left = wait_ms > waited ? wait_ms - waited : 0;
		uint64_t pause;

		if (cancel != NULL && atomic_load(cancel))
			return fb_fail(err, FB_ECANCELED,
			    "stopped on request while waiting for '%s'", path);
		if (left == 0)
			return fail_held(fd, path, err);
		/* Late by a part of what was waited for at most. */
		pause = waited / 8 + 1;
		pause = pause < POLL_MAX_MS ? pause : POLL_MAX_MS;
		(void)poll(NULL, 0, (int)(left < pause ? left : pause));
	}
	return rc;
}

static int
write_holder(int fd, const char *path, const char *note, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };
	int rc = fb_io_truncate(fd, path, 0, err);

	if (rc < 0)
		return rc;
	fb_buf_add_fmt(&text, "pid %ld\n%s\n", (long)getpid(), note);
	return fb_io_pwrite_all(fd, path, fb_buf_span(&text), 0, err);
}

int
fb_lock_take(const char *path, uint64_t wait_ms, const atomic_bool *cancel,
    const char *note, struct fb_error *err)
{
	int fd = open_regular(path, O_RDWR | O_CREAT, err);
	int rc;

	if (fd < 0)
		return fd;
	rc = wait_for(fd, path, wait_ms, cancel, err);
	if (rc == FB_OK)
		rc = write_holder(fd, path, note, err);
	if (rc == FB_OK)
		return fd;
	(void)close(fd);
	return rc;
}

/* Has the process of this directory of /proc the file open?  Links are read
 * and not followed: what others have open may hang. */
static bool
has_open(int proc, const char *pid, const char *file)
{
	char path[64], target[PATH_MAX];
	DIR *dir = NULL;
	struct dirent *entry;
	bool found = false;
	ssize_t len;
	int fd;

	(void)snprintf(path, sizeof(path), "%.20s/fd", pid);
	fd = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		dir = fdopendir(fd);
	if (fd >= 0 && dir == NULL)
		(void)close(fd);
	while (dir != NULL && !found && (entry = readdir(dir)) != NULL) {
		len = readlinkat(
		    fd, entry->d_name, target, sizeof(target) - 1);
		target[len > 0 ? len : 0] = '\0';
		found = strcmp(target, file) == 0;
	}
	if (dir != NULL)
		(void)closedir(dir);
	return found;
}

static void
add_process(struct fb_buf *dst, int proc, const char *pid)
{
	char path[64], name[64];
	ssize_t got = -1;
	int fd;

	(void)snprintf(path, sizeof(path), "%.20s/comm", pid);
	fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		got = read(fd, name, sizeof(name));
		(void)close(fd);
	}
	if (got > 0 && name[got - 1] == '\n')
		got--;
	fb_buf_add_fmt(dst, "%spid %.20s", dst->len > 0 ? ", " : "", pid);
	if (got <= 0)
		return;
	fb_buf_add_str(dst, " (");
	fb_text_add_escaped(
	    dst, (struct fb_span){ (const uint8_t *)name, (size_t)got });
	fb_buf_add_str(dst, ")");
}

void
fb_lock_add_holders(struct fb_buf *dst, int fd)
{
	char path[64], file[PATH_MAX];
	struct dirent *entry;
	DIR *dir = opendir("/proc");
	ssize_t len;

	(void)snprintf(path, sizeof(path), "self/fd/%d", fd);
	len = dir == NULL
	    ? -1
	    : readlinkat(dirfd(dir), path, file, sizeof(file) - 1);
	file[len > 0 ? len : 0] = '\0';
	while (len > 0 && (entry = readdir(dir)) != NULL)
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' &&
		    strtol(entry->d_name, NULL, 10) != (long)getpid() &&
		    has_open(dirfd(dir), entry->d_name, file))
			add_process(dst, dirfd(dir), entry->d_name);
	if (dir != NULL)
		(void)closedir(dir);
}

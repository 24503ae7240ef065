#include <errno.h>
#include <fcntl.h>
#include <poll.h>
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

#define POLL_STEP_MS    50
#define HOLDER_TEXT_MAX 256

/* O_NONBLOCK: a fifo in the lock's place must not hold us up. */
static int
open_regular(const char *path, struct fb_error *err)
{
	struct stat st;
	int fd = fb_io_open(path,
	    O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0600, err);

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

static int
wait_for(int fd, const char *path, uint64_t wait_ms, struct fb_error *err)
{
	int64_t start = fb_clock_mono_ns();
	FB_AUTO_BUF struct fb_buf holder = { 0 };

	while (flock(fd, LOCK_EX | LOCK_NB) == -1) {
		uint64_t waited =
		    (uint64_t)(fb_clock_mono_ns() - start) / 1000000;
		uint64_t left = wait_ms > waited ? wait_ms - waited : 0;

		if (errno == EINTR)
			continue;
		if (errno != EWOULDBLOCK)
			return fb_fail_sys(err, "cannot lock '%s'", path);
		if (left == 0) {
			read_holder(fd, &holder);
			return fb_fail(err, FB_EBUSY, "'%s' is held by %s",
			    path, fb_buf_str(&holder));
		}
		(void)poll(
		    NULL, 0, left < POLL_STEP_MS ? (int)left : POLL_STEP_MS);
	}
	return FB_OK;
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
fb_lock_take(
    const char *path, uint64_t wait_ms, const char *note, struct fb_error *err)
{
	int fd = open_regular(path, err);
	int rc;

	if (fd < 0)
		return fd;
	rc = wait_for(fd, path, wait_ms, err);
	if (rc == FB_OK)
		rc = write_holder(fd, path, note, err);
	if (rc == FB_OK)
		return fd;
	(void)close(fd);
	return rc;
}

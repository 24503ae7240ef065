#include "fleetbak/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"

static struct {
	pthread_mutex_t lock;
	char *path; /* NULL: no file */
	int fd;     /* -1: it could not be opened anew */
} log_file = { .lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1 };

static atomic_bool moved;

bool
fb_log_is_journal(int fd)
{
	const char *stream = getenv("JOURNAL_STREAM");
	char own[64];
	struct stat st;

	if (stream == NULL || fstat(fd, &st) == -1)
		return false;
	(void)snprintf(own, sizeof(own), "%llu:%llu",
	    (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
	return strcmp(own, stream) == 0;
}

static int
open_file(const char *path, struct fb_error *err)
{
	return fb_io_open(
	    path, O_WRONLY | O_APPEND | O_CREAT | O_NOCTTY, 0640, err);
}

int
fb_log_open(const char *path, struct fb_error *err)
{
	int fd = open_file(path, err);

	if (fd < 0)
		return fd;
	fb_log_close();
	(void)pthread_mutex_lock(&log_file.lock);
	log_file.path = fb_strdup(path);
	log_file.fd = fd;
	(void)pthread_mutex_unlock(&log_file.lock);
	return FB_OK;
}

bool
fb_log_is_open(void)
{
	bool is_open;

	(void)pthread_mutex_lock(&log_file.lock);
	is_open = log_file.path != NULL;
	(void)pthread_mutex_unlock(&log_file.lock);
	return is_open;
}

void
fb_log_reopen(void)
{
	atomic_store(&moved, true);
}

void
fb_log_close(void)
{
	(void)pthread_mutex_lock(&log_file.lock);
	fb_closep(&log_file.fd);
	log_file.fd = -1;
	fb_freep(&log_file.path);
	(void)pthread_mutex_unlock(&log_file.lock);
}

/* A log is no reason to fail: what cannot be written is lost there, and it
 * stands on standard error. */
static void
put(int fd, const struct fb_buf *lines)
{
	size_t done = 0;

	while (done < lines->len) {
		ssize_t n = write(fd, lines->data + done, lines->len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		done += (size_t)n;
	}
}

/* Each line of `text` behind `before`. */
static void
add_lines(struct fb_buf *dst, const char *before, const char *text)
{
	while (*text != '\0') {
		size_t len = strcspn(text, "\n");

		fb_buf_add_str(dst, before);
		fb_buf_add(dst, text, len);
		fb_buf_add_str(dst, "\n");
		text += len;
		text += *text == '\n';
	}
}

static void
to_file(enum fb_log_level level, const char *text)
{
	FB_AUTO_BUF struct fb_buf lines = { 0 };
	struct fb_error ignored;
	char before[FB_TIME_SIZE + 16], now[FB_TIME_SIZE];

	(void)pthread_mutex_lock(&log_file.lock);
	if (log_file.path != NULL) {
		if (atomic_exchange(&moved, false)) {
			fb_closep(&log_file.fd);
			log_file.fd = open_file(log_file.path, &ignored);
		}
		fb_time_format(fb_clock_wall_ns(), now);
		(void)snprintf(before, sizeof(before), "%s %-7s ", now,
		    level <= FB_LOG_ERROR         ? "error"
		        : level == FB_LOG_WARNING ? "warning"
		                                  : "info");
		add_lines(&lines, before, text);
		if (log_file.fd >= 0)
			put(log_file.fd, &lines);
	}
	(void)pthread_mutex_unlock(&log_file.lock);
}

static void
to_stderr(enum fb_log_level level, const char *text)
{
	FB_AUTO_BUF struct fb_buf lines = { 0 };
	char before[8] = "";

	if (fb_log_is_journal(STDERR_FILENO))
		(void)snprintf(before, sizeof(before), "<%d>", (int)level);
	add_lines(&lines, before, text);
	put(STDERR_FILENO, &lines);
}

static void
redacted(const char *text, struct fb_buf *ret_text)
{
	fb_buf_add_str(ret_text, text);
	fb_redact(ret_text);
}

void
fb_log(enum fb_log_level level, const char *text)
{
	FB_AUTO_BUF struct fb_buf clean = { 0 };

	redacted(text, &clean);
	to_stderr(level, fb_buf_str(&clean));
	to_file(level, fb_buf_str(&clean));
}

void
fb_log_file(enum fb_log_level level, const char *text)
{
	FB_AUTO_BUF struct fb_buf clean = { 0 };

	if (!fb_log_is_open())
		return;
	redacted(text, &clean);
	to_file(level, fb_buf_str(&clean));
}

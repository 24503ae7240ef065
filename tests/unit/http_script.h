/*
 * An HTTP server of one test: it keeps what it was asked, and answers what the
 * test has written down, one answer per request, in their order.
 */
#ifndef UNIT_HTTP_SCRIPT_H
#define UNIT_HTTP_SCRIPT_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test.h"

#define SCRIPT_MAX 16

struct script {
	const char *const *answers; /* whole, with their head; "" hangs up; a
	                             * "%s" is the nonce that was put first */
	size_t count;
	int fd;
	unsigned port;
	pthread_t thread;
	char *asked[SCRIPT_MAX]; /* heads, and bodies */
	size_t asked_count;
};

static inline size_t
script_length(const char *head)
{
	const char *at = strcasestr(head, "\r\ncontent-length:");

	return at != NULL ? strtoul(at + 17, NULL, 10) : 0;
}

/* Read one request; false: the client has gone. */
static inline bool
script_read(int fd, struct fb_buf *request)
{
	const char *end = NULL;
	bool told = false;

	for (;;) {
		char bytes[4096];
		ssize_t got;

		end = strstr(fb_buf_str(request), "\r\n\r\n");
		if (end != NULL &&
		    strcasestr(fb_buf_str(request), "\r\nexpect: 100") !=
		        NULL &&
		    !told) {
			told = true;
			(void)!write(fd, "HTTP/1.1 100 Continue\r\n\r\n", 25);
		}
		if (end != NULL &&
		    request->len >=
		        (size_t)(end + 4 - fb_buf_str(request)) +
		            script_length(fb_buf_str(request)))
			return true;
		got = read(fd, bytes, sizeof(bytes));
		if (got <= 0)
			return false;
		fb_buf_add(request, bytes, (size_t)got);
	}
}

static inline void
script_answer(struct script *script, int fd, const char *answer)
{
	const char *hole = strstr(answer, "%s");
	const char *nonce = NULL;

	for (size_t i = script->asked_count; i-- > 0 && nonce == NULL;)
		nonce = strstr(script->asked[i], "fleetbak-put: ");
	if (hole == NULL || nonce == NULL) {
		(void)!write(fd, answer, strlen(answer));
		return;
	}
	(void)!write(fd, answer, (size_t)(hole - answer));
	(void)!write(fd, nonce + 14, 32);
	(void)!write(fd, hole + 2, strlen(hole + 2));
}

/* A connection that is made is answered rather than one that is idle. */
static inline bool
script_is_left(const struct script *script, int fd)
{
	struct pollfd both[2] = { { .fd = fd, .events = POLLIN },
		{ .fd = script->fd, .events = POLLIN } };

	(void)poll(both, 2, -1);
	return both[0].revents == 0;
}

static inline void *
script_run(void *arg)
{
	struct script *script = arg;
	int fd = -1;

	for (size_t n = 0; n < script->count;) {
		struct fb_buf request = { 0 };

		if (fd != -1 && script_is_left(script, fd)) {
			(void)close(fd);
			fd = -1;
		}
		if (fd == -1)
			fd = accept4(script->fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd == -1)
			break;
		fb_buf_add_str(&request, "");
		if (!script_read(fd, &request)) {
			fb_buf_release(&request);
			(void)close(fd);
			fd = -1;
			continue;
		}
		script->asked[script->asked_count++] =
		    (char *)fb_buf_steal(&request);
		if (script->answers[n][0] != '\0')
			script_answer(script, fd, script->answers[n]);
		if (script->answers[n][0] == '\0' ||
		    strstr(script->answers[n], "onnection: close") != NULL) {
			(void)close(fd);
			fd = -1;
		}
		n++;
	}
	if (fd >= 0)
		(void)close(fd);
	return NULL;
}

static inline void
script_start(
    struct script *script, const char *const *answers, size_t count)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);

	*script = (struct script){ .answers = answers, .count = count };
	assert_in_range(count, 1, SCRIPT_MAX);
	script->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(script->fd, (void *)&at, len), 0);
	assert_int_equal(listen(script->fd, 8), 0);
	assert_int_equal(getsockname(script->fd, (void *)&at, &len), 0);
	script->port = ntohs(at.sin_port);
	assert_int_equal(
	    pthread_create(&script->thread, NULL, script_run, script), 0);
}

/* Nobody answers from here on, and what was asked may be looked at. */
static inline void
script_stop(struct script *script)
{
	(void)shutdown(script->fd, SHUT_RDWR);
	(void)pthread_join(script->thread, NULL);
	(void)close(script->fd);
}

/* Every answer must have been fetched. */
static inline void
script_end(struct script *script)
{
	script_stop(script);
	assert_int_equal(script->asked_count, script->count);
}

static inline void
script_release(struct script *script)
{
	for (size_t i = 0; i < script->asked_count; i++)
		free(script->asked[i]);
}

#endif

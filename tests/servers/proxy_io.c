/* Ends of connections, with TLS or without. */
#include <errno.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "proxy.h"

int64_t
now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void
pause_ns(int64_t ns)
{
	struct timespec t = { ns / 1000000000, ns % 1000000000 };

	while (ns > 0 && nanosleep(&t, &t) == -1 && errno == EINTR)
		;
}

void
pause_ms(int64_t ms)
{
	pause_ns(ms * 1000000);
}

/* Receive something more; false at the end. */
bool
end_fill(struct end *end)
{
	uint8_t *to = fb_buf_reserve(&end->in, PIECE);
	ssize_t n;

	if (end->ssl != NULL)
		n = SSL_read(end->ssl, to, (int)PIECE);
	else
		do
			n = recv(end->fd, to, PIECE, 0);
		while (n == -1 && errno == EINTR);
	if (n <= 0) {
		end->ended = true;
		return false;
	}
	end->in.len += (size_t)n;
	return true;
}

bool
end_send(struct end *end, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;

	while (len > 0) {
		ssize_t n;

		if (end->ssl != NULL)
			n = SSL_write(
			    end->ssl, at, (int)(len < PIECE ? len : PIECE));
		else
			n = send(end->fd, at, len, MSG_NOSIGNAL);
		if (n == -1 && end->ssl == NULL && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

bool
end_wait(const struct end *end, int ms)
{
	struct pollfd poll_fd = { end->fd, POLLIN | POLLRDHUP, 0 };

	return end->in.len > 0 ||
	    (end->ssl != NULL && SSL_pending(end->ssl) > 0) ||
	    poll(&poll_fd, 1, ms) > 0;
}

void
end_close(struct end *end)
{
	if (end->ssl != NULL) {
		(void)SSL_shutdown(end->ssl);
		SSL_free(end->ssl);
	}
	if (end->fd != -1)
		(void)close(end->fd);
	fb_buf_release(&end->in);
	*end = (struct end){ .fd = -1 };
}

void
end_reset(struct end *end)
{
	struct linger now = { 1, 0 };

	if (end->fd != -1)
		(void)setsockopt(
		    end->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	if (end->ssl != NULL)
		SSL_set_quiet_shutdown(end->ssl, 1);
	end_close(end);
}

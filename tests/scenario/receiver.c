/*
 * Somebody who is told things, for scenarios.
 *
 *	receiver notify SOCKET FILE
 *		a supervisor: each datagram that comes to the socket is
 *		appended to FILE, a line "--" after it
 *	receiver http PORTFILE FILE ANSWER...
 *		an HTTP server on a port of 127.0.0.1 that it writes into
 *		PORTFILE: each request is appended to FILE, its head as it
 *		came, its body, a line "--".  The first request gets the first
 *		ANSWER, a status such as 200, and so on, the last one for ever;
 *		"hang" answers nothing until the client goes away.
 *
 * Both go on until they are killed.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MESSAGE_MAX (1 << 20)

static char message[MESSAGE_MAX + 1];

static void
die(const char *what)
{
	fprintf(stderr, "receiver: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void
record(const char *path, const char *text, size_t len)
{
	FILE *file = fopen(path, "a");

	if (file == NULL)
		die(path);
	(void)fwrite(text, 1, len, file);
	(void)fputs("\n--\n", file);
	if (fclose(file) != 0)
		die(path);
}

static void
supervise(const char *name, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	if (strlen(name) >= sizeof(address.sun_path))
		die("the path is too long");
	memcpy(address.sun_path, name, strlen(name));
	if (fd < 0 ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		die(name);
	for (;;) {
		ssize_t n = recv(fd, message, MESSAGE_MAX, 0);

		if (n < 0)
			die("recv");
		record(path, message, (size_t)n);
	}
}

/* The length of the body that the head promises. */
static size_t
promised(const char *head)
{
	const char *line = strcasestr(head, "\r\ncontent-length:");

	return line != NULL ? strtoul(line + 17, NULL, 10) : 0;
}

/* Read one request; 0 when the client went away before. */
static size_t
read_request(int fd)
{
	size_t used = 0;

	for (;;) {
		const char *end;
		ssize_t n;

		message[used] = '\0';
		end = strstr(message, "\r\n\r\n");
		if (end != NULL &&
		    used >= (size_t)(end + 4 - message) + promised(message))
			return used;
		n = recv(fd, message + used, MESSAGE_MAX - used, 0);
		if (n <= 0)
			return 0;
		used += (size_t)n;
	}
}

static void
answer(int fd, const char *status)
{
	char text[256];
	int len = snprintf(text, sizeof(text),
	    "HTTP/1.1 %s Said So\r\nContent-Length: 2\r\n"
	    "Connection: close\r\n\r\nOK",
	    status);

	if (strcmp(status, "hang") == 0) {
		while (recv(fd, text, sizeof(text), 0) > 0)
			;
		return;
	}
	(void)!send(fd, text, (size_t)len, MSG_NOSIGNAL);
}

static void
tell_port(int fd, const char *path)
{
	struct sockaddr_in address;
	socklen_t len = sizeof(address);
	char temp[4096];
	FILE *file;

	if (getsockname(fd, (struct sockaddr *)&address, &len) < 0)
		die("getsockname");
	(void)snprintf(temp, sizeof(temp), "%s.new", path);
	file = fopen(temp, "w");
	if (file == NULL ||
	    fprintf(file, "%d\n", ntohs(address.sin_port)) < 0 ||
	    fclose(file) != 0 || rename(temp, path) < 0)
		die(path);
}

static void
serve(const char *port_file, const char *path, char **answers)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(fd, 16) < 0)
		die("listen");
	tell_port(fd, port_file);
	for (;;) {
		int client = accept(fd, NULL, NULL);
		size_t len;

		if (client < 0)
			die("accept");
		len = read_request(client);
		if (len > 0) {
			record(path, message, len);
			answer(client, *answers);
			if (answers[1] != NULL)
				answers++;
		}
		(void)close(client);
	}
}

int
main(int argc, char **argv)
{
	(void)signal(SIGPIPE, SIG_IGN);
	if (argc == 4 && strcmp(argv[1], "notify") == 0)
		supervise(argv[2], argv[3]);
	if (argc >= 5 && strcmp(argv[1], "http") == 0)
		serve(argv[2], argv[3], argv + 4);
	fprintf(stderr, "usage: see tests/scenario/receiver.c\n");
	return 2;
}

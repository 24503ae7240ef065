/* The fault proxy; proxy.h says what it does. */
#include <arpa/inet.h>
#include <getopt.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy.h"

static _Noreturn void
die(const char *what)
{
	perror(what);
	exit(1);
}

/* The port is shared by two sockets: one holds it while nobody listens. */
static int
bind_port(in_port_t port)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = port };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd == -1 ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == -1 ||
	    bind(fd, (struct sockaddr *)&at, sizeof(at)) == -1)
		die("bind");
	return fd;
}

static in_port_t
hold_port(void)
{
	struct sockaddr_in at;
	socklen_t len = sizeof(at);
	int fd = bind_port(0);

	if (getsockname(fd, (struct sockaddr *)&at, &len) == -1)
		die("getsockname");
	return at.sin_port;
}

static int
listen_at(in_port_t port)
{
	int fd = bind_port(port);

	if (listen(fd, 128) == -1)
		die("listen");
	return fd;
}

static void
write_port(const char *path, in_port_t port)
{
	char name[4096];
	FILE *file;

	(void)snprintf(name, sizeof(name), "%s.new", path);
	file = fopen(name, "we");
	if (file == NULL || fprintf(file, "%d\n", ntohs(port)) < 0 ||
	    fclose(file) != 0 || rename(name, path) == -1)
		die(path);
}

static void *
run_client(void *arg)
{
	serve_client((int)(intptr_t)arg);
	return NULL;
}

static void
take_client(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	pthread_t thread;

	if (fd == -1)
		return;
	if (rules_refuse_once()) {
		struct end end = { .fd = fd };

		end_reset(&end);
		return;
	}
	if (pthread_create(&thread, NULL, run_client, (void *)(intptr_t)fd) !=
	    0)
		die("pthread_create");
	(void)pthread_detach(thread);
}

static _Noreturn void
run(in_port_t port, const char *port_file)
{
	int listener = -1;

	for (;;) {
		struct pollfd ready;

		rules_refresh();
		if (rules_refuse()) {
			if (listener != -1)
				(void)close(listener);
			listener = -1;
		} else if (listener == -1)
			listener = listen_at(port);
		if (port_file != NULL)
			write_port(port_file, port);
		port_file = NULL;
		ready = (struct pollfd){ listener, POLLIN, 0 };
		if (poll(&ready, 1, 10) > 0)
			take_client(listener);
	}
}

static SSL_CTX *
make_tls(const char *cert, const char *key)
{
	SSL_CTX *tls = SSL_CTX_new(TLS_server_method());

	if (tls == NULL || SSL_CTX_use_certificate_chain_file(tls, cert) != 1 ||
	    SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1) {
		(void)fprintf(stderr, "faultproxy: cannot use %s\n", cert);
		exit(1);
	}
	return tls;
}

static const struct option options[] = {
	{ "rules", required_argument, NULL, 'r' },
	{ "log", required_argument, NULL, 'l' },
	{ "port-file", required_argument, NULL, 'p' },
	{ "secrets", required_argument, NULL, 's' },
	{ "cert", required_argument, NULL, 'c' },
	{ "key", required_argument, NULL, 'k' },
	{ "seed", required_argument, NULL, 'n' },
	{ "plain", no_argument, NULL, 'q' },
	{ 0 },
};

int
main(int argc, char **argv)
{
	const char *values[128] = { ['r'] = "/dev/null", ['l'] = "/dev/null" };
	char *colon;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == '?')
			return 2;
		values[c] = optarg != NULL ? optarg : "";
	}
	if (argc - optind != 1 ||
	    (colon = strrchr(argv[optind], ':')) == NULL) {
		(void)fprintf(
		    stderr, "usage: faultproxy [option...] ADDRESS:PORT\n");
		return 2;
	}
	*colon = '\0';
	settings.address = argv[optind];
	settings.port = colon + 1;
	(void)signal(SIGPIPE, SIG_IGN);
	if (values['c'] != NULL && values['k'] != NULL)
		settings.tls = make_tls(values['c'], values['k']);
	log_open(values['l']);
	check_setup(values['s'], values['q'] != NULL);
	rules_open(values['r'],
	    values['n'] != NULL ? strtol(values['n'], NULL, 10) : 1);
	run(hold_port(), values['p']);
}

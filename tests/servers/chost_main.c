/* The stand-in for computer-host; chost.h says what it does. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "chost.h"

#include "fleetbak/base/mem.h"

#define BODY_MAX ((size_t)1 << 20)
#define SHOWN    2000

static unsigned long numbers;
static pthread_mutex_t numbers_lock = PTHREAD_MUTEX_INITIALIZER;

static _Noreturn void
die(const char *what)
{
	perror(what);
	exit(1);
}

static bool
take_body(
    void *arg, const void *raw, size_t raw_len, const void *body, size_t len)
{
	struct chost_request *request = arg;

	(void)raw;
	(void)raw_len;
	if (request->body.len + len > BODY_MAX)
		return false;
	fb_buf_add(&request->body, body, len);
	return true;
}

static int
hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0'
	    : c >= 'a' && c <= 'f'  ? c - 'a' + 10
	    : c >= 'A' && c <= 'F'  ? c - 'A' + 10
	                            : -1;
}

static char *
decode_path(const char *target)
{
	char *path = strndup(target, strcspn(target, "?"));
	char *to = path;

	for (const char *c = path; *c != '\0'; c++)
		if (*c == '%' && hex_digit(c[1]) >= 0 && hex_digit(c[2]) >= 0) {
			*to++ = (char)(hex_digit(c[1]) * 16 + hex_digit(c[2]));
			c += 2;
		} else
			*to++ = *c;
	*to = '\0';
	return path;
}

static bool
read_request(struct end *client, struct chost_request *request)
{
	if (!head_read(client, &request->head, false))
		return false;
	if (request->head.expect &&
	    !end_send(client, "HTTP/1.1 100 Continue\r\n\r\n", 25))
		return false;
	if (!body_read(client, &request->head, take_body, request))
		return false;
	request->client = client;
	request->path = decode_path(request->head.target);
	request->json = json_loadb((const char *)request->body.data,
	    request->body.len, JSON_DISABLE_EOF_CHECK, NULL);
	(void)pthread_mutex_lock(&numbers_lock);
	request->number = ++numbers;
	(void)pthread_mutex_unlock(&numbers_lock);
	return true;
}

static void
log_request(const struct chost_request *request, int status, int64_t bytes)
{
	char shown[SHOWN + 1];
	size_t len = request->body.len < SHOWN ? request->body.len : SHOWN;

	for (size_t i = 0; i < len; i++)
		shown[i] = request->body.data[i] < ' '
		    ? ' '
		    : (char)request->body.data[i];
	shown[len] = '\0';
	chost_log("%lu %s %s %d %lld %s\n", request->number,
	    request->head.method, request->head.target, status,
	    (long long)bytes, shown);
}

static bool
send_file(struct chost_request *request, int64_t len)
{
	uint8_t *bytes = fb_alloc(1, PIECE);
	int fd = open(request->file, O_RDONLY | O_CLOEXEC);
	int64_t at = request->from, end = at + len;
	int64_t bad = request->on[CHOST_CORRUPT]
	    ? request->argument[CHOST_CORRUPT]
	    : -1;
	bool good = fd >= 0;

	while (good && at < end) {
		size_t want =
		    end - at < (int64_t)PIECE ? (size_t)(end - at) : PIECE;
		ssize_t n = pread(fd, bytes, want, at);

		if (n > 0 && bad >= at && bad < at + n)
			bytes[bad - at] ^= 1;
		good = n > 0 && end_send(request->client, bytes, (size_t)n);
		at += n > 0 ? n : 0;
	}
	if (fd >= 0)
		(void)close(fd);
	free(bytes);
	return good;
}

/* False: the connection is over. */
static bool
send_answer(struct chost_request *request)
{
	struct fb_buf head = { 0 };
	bool file = request->file != NULL;
	int64_t len = file ? request->length : (int64_t)request->answer.len;
	int64_t sent = len;
	bool good;

	if (file && request->on[CHOST_CUT] &&
	    request->argument[CHOST_CUT] < len)
		sent = request->argument[CHOST_CUT];
	fb_buf_add_fmt(&head, "HTTP/1.1 %d X\r\n", request->status);
	if (request->status != 204)
		fb_buf_add_fmt(&head, "Content-Length: %lld\r\n",
		    (long long)len);
	if (request->type != NULL)
		fb_buf_add_fmt(&head, "Content-Type: %s\r\n", request->type);
	fb_buf_add(&head, request->headers.data, request->headers.len);
	fb_buf_add_str(&head, "\r\n");
	good = end_send(request->client, head.data, head.len);
	if (good && file)
		good = send_file(request, sent);
	else if (good && len > 0)
		good = end_send(
		    request->client, request->answer.data, (size_t)len);
	fb_buf_release(&head);
	log_request(request, request->status, sent);
	return good && sent == len;
}

static bool
instead(struct chost_request *request)
{
	if (request->on[CHOST_DELAY])
		pause_ms(request->argument[CHOST_DELAY]);
	if (request->on[CHOST_RESET]) {
		log_request(request, 0, 0);
		end_reset(request->client);
		return true;
	}
	if (request->on[CHOST_ERROR])
		chost_answer_json(request,
		    (int)request->argument[CHOST_ERROR],
		    json_pack("{s:s}", "error", "injected"));
	else if (request->on[CHOST_RAW]) {
		request->status = 200;
		for (int64_t i = 0; i < request->argument[CHOST_RAW]; i++)
			fb_buf_add_str(&request->answer, "{");
	}
	return false;
}

static bool
behind(struct chost_request *request)
{
	if (request->on[CHOST_LOST] || request->on[CHOST_LOST_HANG]) {
		log_request(request, 0, 0);
		if (request->on[CHOST_LOST_HANG])
			while (!end_wait(request->client, 100))
				;
		end_reset(request->client);
		return true;
	}
	return false;
}

static void
vanish(struct chost_request *request)
{
	char *id = strndup(request->path + strlen("/snapshots/"),
	    strcspn(request->path + strlen("/snapshots/"), "/"));
	char *dir = fb_format("%s/snapshots/%s", chost.dir, id);

	(void)pthread_mutex_lock(&chost.lock);
	chost_snapshot_remove(id);
	chost_remove_dir(dir);
	(void)pthread_mutex_unlock(&chost.lock);
	free(dir);
	free(id);
}

static bool
serve(struct chost_request *request)
{
	bool good;

	chost_rules_choose(request);
	if (instead(request))
		return false;
	if (request->status == 0) {
		(void)pthread_mutex_lock(&chost.lock);
		chost_route(request);
		(void)pthread_mutex_unlock(&chost.lock);
	}
	if (behind(request))
		return false;
	good = send_answer(request);
	if (request->on[CHOST_VANISH] && request->file != NULL)
		vanish(request);
	return good && !request->head.close;
}

static void
release(struct chost_request *request)
{
	head_clear(&request->head);
	fb_buf_release(&request->body);
	fb_buf_release(&request->headers);
	fb_buf_release(&request->answer);
	free(request->path);
	free(request->file);
	json_decref(request->json);
}

static void *
run_client(void *arg)
{
	struct end client = { .fd = (int)(intptr_t)arg };
	bool good = true;

	while (good) {
		struct chost_request request = { .head.length = -1 };

		good = read_request(&client, &request) && serve(&request);
		release(&request);
	}
	end_close(&client);
	return NULL;
}

static void
take_client(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	pthread_t thread;

	if (fd == -1)
		return;
	if (pthread_create(&thread, NULL, run_client, (void *)(intptr_t)fd) !=
	    0)
		die("pthread_create");
	(void)pthread_detach(thread);
}

static int
listen_unix(const char *path)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(at.sun_path))
		die(path);
	(void)snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	(void)unlink(path);
	if (fd == -1 || bind(fd, (struct sockaddr *)&at, sizeof(at)) == -1 ||
	    listen(fd, 64) == -1)
		die(path);
	return fd;
}

static int
listen_tcp(const char *port_file)
{
	struct sockaddr_in at = { .sin_family = AF_INET };
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char *name = fb_format("%s.new", port_file);
	FILE *file = fopen(name, "we");

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd == -1 || bind(fd, (struct sockaddr *)&at, len) == -1 ||
	    listen(fd, 64) == -1 ||
	    getsockname(fd, (struct sockaddr *)&at, &len) == -1 ||
	    file == NULL || fprintf(file, "%d\n", ntohs(at.sin_port)) < 0 ||
	    fclose(file) != 0 || rename(name, port_file) == -1)
		die(port_file);
	free(name);
	return fd;
}

static _Noreturn void
run(const int listeners[2], int64_t reconcile_ms)
{
	int64_t next = now_ms() + reconcile_ms;

	for (;;) {
		struct pollfd ready[2] = { { listeners[0], POLLIN, 0 },
			{ listeners[1], POLLIN, 0 } };

		if (poll(ready, 2, 20) > 0)
			for (size_t i = 0; i < 2; i++)
				if (ready[i].revents != 0)
					take_client(listeners[i]);
		if (now_ms() < next)
			continue;
		chost_reconcile();
		next = now_ms() + reconcile_ms;
	}
}

static const struct option options[] = {
	{ "socket", required_argument, NULL, 's' },
	{ "port-file", required_argument, NULL, 'p' },
	{ "rules", required_argument, NULL, 'r' },
	{ "log", required_argument, NULL, 'l' },
	{ "reconcile", required_argument, NULL, 'c' },
	{ "era", required_argument, NULL, 'e' },
	{ 0 },
};

int
main(int argc, char **argv)
{
	const char *values[128] = { ['r'] = "/dev/null", ['l'] = "/dev/null",
		['c'] = "5000", ['e'] = "head" };
	int listeners[2] = { -1, -1 }, c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == '?')
			return 2;
		values[c] = optarg;
	}
	if (argc - optind != 1 ||
	    (values['s'] == NULL && values['p'] == NULL)) {
		(void)fprintf(stderr,
		    "usage: computer_host --socket PATH [option...] DIR\n");
		return 2;
	}
	chost.dir = argv[optind];
	chost.seed_era = strcmp(values['e'], "seed") == 0;
	(void)signal(SIGPIPE, SIG_IGN);
	chost_rules_open(values['r']);
	chost_log_open(values['l']);
	chost_load();
	if (values['p'] != NULL)
		listeners[0] = listen_tcp(values['p']);
	if (values['s'] != NULL)
		listeners[1] = listen_unix(values['s']);
	run(listeners, strtoll(values['c'], NULL, 10));
}

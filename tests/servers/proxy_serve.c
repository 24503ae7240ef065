/* One client's connection: each request is passed on, or not. */
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy.h"

struct settings settings;

/* A request on its way. */
struct visit {
	struct end client, server; /* both outlive a request */
	struct head request, answer;
	struct choice choice;
	struct check check;
	int64_t began_ms;
	int64_t up, down; /* bytes of bodies passed on */
	int status;       /* sent to the client; 0: none */
	bool again;       /* another request may follow */
};

static bool
connect_server(struct end *server)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *at = NULL;
	int on = 1;

	if (server->fd != -1 && !end_wait(server, 0))
		return true; /* idle and not closed */
	end_close(server);
	if (getaddrinfo(settings.address, settings.port, &hints, &at) != 0)
		return false;
	server->fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (server->fd != -1 &&
	    connect(server->fd, at->ai_addr, at->ai_addrlen) == -1)
		end_close(server);
	freeaddrinfo(at);
	if (server->fd == -1)
		return false;
	(void)setsockopt(server->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return true;
}

/* Silence: for so long, until the rules change, or the client goes. */
static void
hang(const struct visit *visit)
{
	int64_t until = now_ms() + visit->choice.number;
	struct pollfd gone = { visit->client.fd, POLLRDHUP, 0 };

	while (!rules_changed(visit->choice.generation) &&
	    (visit->choice.number == 0 || now_ms() < until))
		if (poll(&gone, 1, 20) > 0)
			return;
}

/* The connection's end in place of what should come. */
static bool
give_up(struct visit *visit)
{
	end_reset(&visit->client);
	return false;
}

static bool
send_slowly(struct end *to, const void *bytes, size_t len, int64_t per_second)
{
	const uint8_t *at = bytes;
	size_t step = per_second < 20 ? 1 : (size_t)per_second / 20;

	while (len > 0) {
		size_t n = len < step ? len : step;

		if (!end_send(to, at, n))
			return false;
		pause_ns((int64_t)n * 1000000000 / (per_second + 1));
		at += n;
		len -= n;
	}
	return true;
}

/* Byte `number` of a body is another one, if it is among these. */
static void
corrupt(void *bytes, size_t len, int64_t passed, int64_t number)
{
	if (number >= passed && number < passed + (int64_t)len)
		((uint8_t *)bytes)[number - passed] ^= 0x20;
}

static bool
take_upload(
    void *arg, const void *raw, size_t raw_len, const void *body, size_t len)
{
	struct visit *visit = arg;
	const struct choice *choice = &visit->choice;
	bool sent;

	check_body(&visit->check, body, len);
	if (choice->fault == FAULT_RESET_UPLOAD &&
	    visit->up + (int64_t)len > choice->number) {
		size_t n = (size_t)(choice->number - visit->up);

		(void)end_send(&visit->server, raw, n);
		visit->up += (int64_t)n;
		end_reset(&visit->server);
		return give_up(visit);
	}
	if (choice->fault == FAULT_CORRUPT_UPLOAD)
		corrupt(
		    (void *)(uintptr_t)body, len, visit->up, choice->number);
	if (choice->fault == FAULT_SLOW_UPLOAD)
		sent =
		    send_slowly(&visit->server, raw, raw_len, choice->number);
	else
		sent = end_send(&visit->server, raw, raw_len);
	visit->up += (int64_t)len;
	return sent;
}

static bool
take_nothing(
    void *arg, const void *raw, size_t raw_len, const void *body, size_t len)
{
	struct visit *visit = arg;

	(void)raw;
	(void)raw_len;
	check_body(&visit->check, body, len);
	visit->up += (int64_t)len;
	return true;
}

static bool
send_continue(struct visit *visit)
{
	static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";

	return end_send(&visit->client, text, sizeof(text) - 1);
}

static bool
send_error(struct visit *visit)
{
	struct fb_buf xml = { 0 }, text = { 0 };
	const struct choice *choice = &visit->choice;
	bool sent;

	fb_buf_add_fmt(&xml,
	    "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>%s</Code>"
	    "<Message>a fault of a test</Message><RequestId>fault-%lu"
	    "</RequestId></Error>",
	    choice->text, visit->check.number);
	fb_buf_add_fmt(&text,
	    "HTTP/1.1 %lld Fault\r\nContent-Type: application/xml\r\n"
	    "Content-Length: %zu\r\n",
	    (long long)choice->number, xml.len);
	if (choice->seconds != 0)
		fb_buf_add_fmt(
		    &text, "Retry-After: %lld\r\n", (long long)choice->seconds);
	if (!visit->again)
		fb_buf_add_str(&text, "Connection: close\r\n");
	fb_buf_add_str(&text, "\r\n");
	if (strcmp(visit->request.method, "HEAD") != 0)
		fb_buf_add(&text, xml.data, xml.len);
	sent = end_send(&visit->client, text.data, text.len);
	visit->status = (int)choice->number;
	fb_buf_release(&xml);
	fb_buf_release(&text);
	return sent;
}

static bool
send_file(struct visit *visit)
{
	FILE *file = fopen(visit->choice.text, "re");
	char piece[4096];
	size_t n;

	if (file == NULL) {
		perror(visit->choice.text);
		exit(3);
	}
	while ((n = fread(piece, 1, sizeof(piece), file)) > 0)
		if (!end_send(&visit->client, piece, n))
			break;
	(void)fclose(file);
	visit->status = 1;
	visit->again = false;
	return true;
}

/* Without the server; its body is read, or there would be a reset. */
static bool
answer_ourselves(struct visit *visit)
{
	if (visit->choice.fault == FAULT_EARLY) {
		visit->again = false;
		return send_error(visit);
	}
	if (visit->request.expect && !send_continue(visit))
		return false;
	if (!body_read(&visit->client, &visit->request, take_nothing, visit))
		return false;
	check_end(&visit->check, true);
	if (visit->choice.fault == FAULT_ANSWER)
		return send_file(visit);
	return send_error(visit);
}

/* Read an answer that is not an interim one, which are passed on. */
static bool
read_answer(struct visit *visit)
{
	for (;;) {
		if (!head_read(&visit->server, &visit->answer, true))
			return false;
		if (visit->answer.status >= 200)
			return true;
		if (!end_send(&visit->client, visit->answer.text.data,
		        visit->answer.text.len))
			return false;
		if (visit->request.expect)
			return true;
	}
}

/* Pass the request on and read the head of its answer. */
static bool
ask_server(struct visit *visit)
{
	const struct head *request = &visit->request;

	if (!connect_server(&visit->server) ||
	    !end_send(&visit->server, request->text.data, request->text.len))
		return false;
	if (request->expect) {
		if (!read_answer(visit))
			return false;
		if (visit->answer.status >= 200) {
			visit->again = false; /* the body stays unread */
			return true;
		}
	}
	if (body_read(&visit->client, request, take_upload, visit))
		check_end(&visit->check, true);
	else if (visit->client.fd == -1 || visit->client.ended)
		return false;
	else
		visit->again = false; /* refused in the middle: why? */
	visit->request.expect = false;
	return read_answer(visit);
}

static bool
has_body(const struct visit *visit)
{
	return strcmp(visit->request.method, "HEAD") != 0 &&
	    visit->answer.status != 204 && visit->answer.status != 304;
}

static bool
take_answer(
    void *arg, const void *raw, size_t raw_len, const void *body, size_t len)
{
	struct visit *visit = arg;
	const struct choice *choice = &visit->choice;
	bool sent;

	if ((choice->fault == FAULT_CUT ||
	        choice->fault == FAULT_RESET_ANSWER) &&
	    visit->down + (int64_t)len > choice->number) {
		size_t n = (size_t)(choice->number - visit->down);

		(void)end_send(&visit->client, raw, n);
		visit->down += (int64_t)n;
		if (choice->fault == FAULT_RESET_ANSWER) {
			/* What was sent before is to arrive. */
			pause_ms(20);
			return give_up(visit);
		}
		return false;
	}
	if (choice->fault == FAULT_CORRUPT)
		corrupt(
		    (void *)(uintptr_t)body, len, visit->down, choice->number);
	if (choice->fault == FAULT_SLOW)
		sent =
		    send_slowly(&visit->client, raw, raw_len, choice->number);
	else
		sent = end_send(&visit->client, raw, raw_len);
	visit->down += (int64_t)len;
	return sent;
}

static bool
keep_body(
    void *arg, const void *raw, size_t raw_len, const void *body, size_t len)
{
	(void)raw;
	(void)raw_len;
	fb_buf_add(arg, body, len);
	return true;
}

/* A list without what is new; it is small enough to be held. */
static bool
send_list(struct visit *visit)
{
	struct fb_buf xml = { 0 };
	char length[32];
	bool sent = body_read(&visit->server, &visit->answer, keep_body, &xml);

	if (sent) {
		list_hide(&xml, visit->request.target, visit->choice.lag_ms);
		(void)snprintf(length, sizeof(length), "%zu", xml.len);
		if (visit->answer.chunked)
			head_set(&visit->answer, "Transfer-Encoding", NULL);
		head_set(&visit->answer, "Content-Length", length);
		sent = end_send(&visit->client, visit->answer.text.data,
		           visit->answer.text.len) &&
		    end_send(&visit->client, xml.data, xml.len);
		visit->down = (int64_t)xml.len;
	}
	fb_buf_release(&xml);
	return sent;
}

static void
shift_date(struct visit *visit)
{
	char *value = head_value(&visit->answer, "Date"), shifted[64];
	struct tm date = { 0 };
	time_t then;

	if (value != NULL &&
	    strptime(value, "%a, %d %b %Y %H:%M:%S", &date) != NULL) {
		then = timegm(&date) + visit->choice.date_shift;
		(void)gmtime_r(&then, &date);
		(void)strftime(shifted, sizeof(shifted),
		    "%a, %d %b %Y %H:%M:%S GMT", &date);
		head_set(&visit->answer, "Date", shifted);
	}
	free(value);
}

static bool
pass_answer(struct visit *visit)
{
	struct head *answer = &visit->answer;

	if (answer->status == 200 &&
	    (strcmp(visit->request.method, "PUT") == 0 ||
	        strcmp(visit->request.method, "POST") == 0))
		list_put(visit->request.target);
	if (visit->choice.fault == FAULT_LOST_HANG)
		hang(visit);
	if (visit->choice.fault == FAULT_LOST ||
	    visit->choice.fault == FAULT_LOST_HANG)
		return give_up(visit);
	if (visit->choice.date_shift != 0)
		shift_date(visit);
	visit->status = answer->status;
	if (visit->choice.lag_ms > 0 && has_body(visit) &&
	    strcmp(visit->request.method, "GET") == 0 &&
	    strstr(visit->request.target, "list-type=2") != NULL)
		return send_list(visit);
	if (!end_send(&visit->client, answer->text.data, answer->text.len))
		return false;
	if (!has_body(visit))
		return true;
	if (answer->length < 0 && !answer->chunked)
		visit->again = false;
	return body_read(&visit->server, answer, take_answer, visit);
}

static bool
serve_request(struct visit *visit)
{
	switch (visit->choice.fault) {
	case FAULT_HANG:
		hang(visit);
		return give_up(visit);
	case FAULT_RESET:
		return give_up(visit);
	case FAULT_ERROR:
	case FAULT_EARLY:
	case FAULT_ANSWER:
		return answer_ourselves(visit);
	case FAULT_DELAY:
		pause_ms(visit->choice.number);
		break;
	default:
		break;
	}
	if (!ask_server(visit))
		return give_up(visit);
	return pass_answer(visit);
}

static bool
next_request(struct visit *visit)
{
	unsigned long at_once;
	bool served;

	if (!head_read(&visit->client, &visit->request, false))
		return false;
	visit->began_ms = now_ms();
	visit->status = 0;
	visit->up = visit->down = 0;
	visit->again = !visit->request.close;
	visit->check = (struct check){ .number = log_number(&at_once) };
	rules_choose(&visit->request, &visit->choice);
	check_head(&visit->check, &visit->request);
	if (visit->choice.fault != FAULT_NONE)
		log_begin(
		    visit->check.number, visit->choice.fault, &visit->request);
	served = serve_request(visit);
	check_end(&visit->check, false);
	log_end(visit->check.number, visit->began_ms, &visit->request,
	    visit->status, visit->up, visit->down, visit->choice.fault,
	    at_once);
	if (!served || visit->answer.close)
		end_close(&visit->server);
	return served && visit->again && !visit->answer.close &&
	    visit->choice.fault != FAULT_CLOSE;
}

void
serve_client(int fd)
{
	struct visit visit = { .client = { .fd = fd }, .server = { .fd = -1 } };
	int on = 1;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (settings.tls != NULL) {
		visit.client.ssl = SSL_new(settings.tls);
		(void)SSL_set_fd(visit.client.ssl, fd);
		if (SSL_accept(visit.client.ssl) != 1)
			goto out; /* a client that does not trust us */
	}
	while (next_request(&visit))
		;
out:
	end_close(&visit.client);
	end_close(&visit.server);
	head_clear(&visit.request);
	head_clear(&visit.answer);
}

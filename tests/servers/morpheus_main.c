/*
 * A stand-in for a Morpheus appliance: its REST API, for tests.  Its servers'
 * disks are files, and what it is asked to do to them it does.
 *
 *	morpheus [option...] DIR
 *
 *	--port-file FILE  the port it got on 127.0.0.1, written when it is ready
 *	--rules FILE      what goes wrong; read again whenever it changes
 *	--log FILE        what was asked, and what was done
 *	--cert FILE --key FILE   speak TLS
 *	--seen-as PATH    where hosts have what is DIR/<dir of the host> here
 *	--user NAME --password WORD   (fleet, let-me-in)
 *	--token WORD      is good too, and for ever
 *	--token-life MS   of those that are given (3600000)
 *	--power MS        until a stop or a start has happened (60)
 *	--step MS         a process is new, queued, running for so long each
 *(40)
 *	--revert MS, --delete MS   until one has happened (60)
 *
 * DIR/servers.json is a list of
 *
 *	{"id": 1, "name": "h1", "hypervisor": true, "dir": "h1", "ip": "..."}
 *	{"id": 11, "name": "web", "host": 1, "power": "on",
 *	 "instance": {"id": 5, "name": "web"}, "style": "copy", "writes": true,
 *	 "volumes": [{"id": 101, "name": "root", "file": "web-0", "root": true,
 *	              "type": "file", "cd": false, "typeId": 1}]}
 *
 * "style" copy: a snapshot's bytes go to a new file; overlay: they stay in the
 * file that was live, and the machine goes on in a new one.  "path" of a
 * snapshot's file is where the machine goes on, "exportPath" its frozen bytes.
 * "type" block: these are behind a loop device; rbd: they are named
 * "pool/FILE@snap".  "writes": while it runs, the guest writes to its disks.
 *
 * A rule is "KIND[=ARGUMENT] [method=M] [path=GLOB] [skip=N] [times=N]", path
 * with its query; each that holds for a request is applied.
 *
 * Any request:
 *	error=STATUS      that answer, and nothing done
 *	error-late=STATUS done, and then that answer
 *	html=STATUS       a page in place of JSON, and nothing done
 *	raw=BYTES         so many bytes that are no JSON as the answer
 *	refused           200 with success:false, and nothing done
 *	errors            200 with success:true and errors, and nothing done
 *	reset             the connection is reset, and nothing done
 *	lost              done, and the connection is reset
 *	lost-hang         done, and silence
 *	delay=MS          later
 *	expire            the tokens that were given are so no longer
 *	expire-all        nor is any of them refreshed
 * Lists of servers, and a server:
 *	page=N            no more than N in a page
 *	total=N           meta.total is N        no-total    there is none
 *	repeat            every page is the first one
 *	power=WORD        powerState is WORD     status=WORD status is WORD
 *	no-instance       it is of no instance   parent=ID   on another host
 * A stop, a start:
 *	power-lag=MS      powerState says so MS after it happened
 *	stuck             nothing happens
 * A snapshot:
 *	step=MS           of its process
 *	process=WORD      how the process ends: failed and cancelled without a
 *	                  snapshot, every other word with one
 *	snapshot=WORD     what the snapshot's status ends as
 *	late=MS           it is listed MS after its process has ended
 *	similar           three others of similar names come with it
 *	cd                drives are among its files
 *	export=WORD       exportPath is missing, live (the same as path), link
 *(a link to the live disk), moving (its bytes change), gone (not there),
 *relative, odd (for a careless shell) Others: revert=WORD       nothing (is
 *done), off, on (is what the server is then) delete=stays      nothing is done;
 *delete=MS: after MS
 *
 * The log: "NUMBER METHOD TARGET STATUS BYTES AUTHORIZATION CONTENT-TYPE
 * DIGEST BODY" of a request, where AUTHORIZATION is its scheme, DIGEST the
 * first half of the body's SHA-256, BODY its first 2000 bytes in one line
 * ("-": none, or secret);
 * "= stop SERVER", "= start SERVER", "= snapshot SERVER on|off NAME",
 * "= revert SERVER NAME", "= delete SERVER NAME" when it happened;
 * "! NUMBER WHAT" for what no client may do, and "~ NUMBER WHAT" for what it
 * should have a reason for.
 */
#include <arpa/inet.h>
#include <getopt.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "morpheus.h"

#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/digest.h"

#define BODY_MAX ((size_t)1 << 20)
#define SHOWN    2000

static unsigned long numbers; /* the lock of `mo` guards it */
static SSL_CTX *tls;

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
	struct mo_request *request = arg;

	(void)raw;
	(void)raw_len;
	if (request->body.len + len > BODY_MAX)
		return false;
	fb_buf_add(&request->body, body, len);
	return true;
}

/* As the value of a parameter is decoded. */
static char *
decode_path(const char *target)
{
	FB_AUTO_FREE char *text =
	    fb_format("path=%.*s", (int)strcspn(target, "?"), target);

	return mo_parameter(text, "path");
}

static bool
read_request(struct end *client, struct mo_request *request)
{
	const char *query;

	if (!head_read(client, &request->head, false))
		return false;
	if (request->head.expect &&
	    !end_send(client, "HTTP/1.1 100 Continue\r\n\r\n", 25))
		return false;
	if (!body_read(client, &request->head, take_body, request))
		return false;
	request->client = client;
	request->path = decode_path(request->head.target);
	query = strchr(request->head.target, '?');
	request->query = fb_strdup(query != NULL ? query + 1 : "");
	if (request->body.len > 0)
		request->json = json_loadb((const char *)request->body.data,
		    request->body.len, 0, NULL);
	(void)pthread_mutex_lock(&mo.lock);
	request->number = ++numbers;
	(void)pthread_mutex_unlock(&mo.lock);
	return true;
}

/* The first word of a header's value, or "-"; the caller frees it. */
static char *
word_of(const struct mo_request *request, const char *header)
{
	FB_AUTO_FREE char *value = head_value(&request->head, header);

	return value != NULL && value[0] != '\0'
	    ? strndup(value, strcspn(value, " ;"))
	    : fb_strdup("-");
}

static void
digest_of(const struct mo_request *request, char hex[65])
{
	FB_AUTO_DIGESTER struct fb_digester *digester = fb_digester_new();
	struct fb_digest digest;

	if (request->body.len > 0)
		fb_digester_add(digester,
		    (struct fb_span){ request->body.data, request->body.len });
	fb_digester_peek(digester, &digest);
	fb_digest_hex(&digest, hex);
}

static void
log_request(const struct mo_request *request, int status)
{
	FB_AUTO_FREE char *auth = word_of(request, "authorization");
	FB_AUTO_FREE char *type = word_of(request, "content-type");
	size_t len = request->body.len < SHOWN ? request->body.len : SHOWN;
	char shown[SHOWN + 1], hex[65];

	for (size_t i = 0; i < len; i++)
		shown[i] = request->body.data[i] < ' '
		    ? ' '
		    : (char)request->body.data[i];
	shown[len] = '\0';
	digest_of(request, hex);
	mo_log("%lu %s %s %d %zu %s %s %.32s %s\n", request->number,
	    request->head.method, request->head.target, status,
	    status != 0 ? request->answer.len : 0, auth, type, hex,
	    len == 0 || request->secret ? "-" : shown);
}

/* False: the connection is over. */
static bool
send_answer(struct mo_request *request)
{
	struct fb_buf text = { 0 };
	bool good;

	fb_buf_add_fmt(&text,
	    "HTTP/1.1 %d X\r\nContent-Length: %zu\r\nContent-Type: %s\r\n\r\n",
	    request->status, request->answer.len,
	    request->type != NULL ? request->type : "application/json");
	fb_buf_add(&text, request->answer.data, request->answer.len);
	good = end_send(request->client, text.data, text.len);
	fb_buf_release(&text);
	return good;
}

/* What comes in place of anything done; false: the connection is over. */
static bool
instead(struct mo_request *request)
{
	if (request->on[MO_RESET] != NULL)
		return false;
	if (request->on[MO_ERROR] != NULL)
		mo_answer(request, (int)mo_number(request, MO_ERROR, 500),
		    json_pack("{s:s}", "msg", "injected"));
	else if (request->on[MO_HTML] != NULL) {
		request->status = (int)mo_number(request, MO_HTML, 502);
		request->type = "text/html";
		fb_buf_add_str(&request->answer, "<html>Bad Gateway</html>\n");
	} else if (request->on[MO_RAW] != NULL) {
		request->status = 200;
		for (int64_t i = 0; i < mo_number(request, MO_RAW, 0); i++)
			fb_buf_add_str(&request->answer, "{");
	}
	return true;
}

/* Done, and logged before anybody else is served. */
static bool
carry_out(struct mo_request *request)
{
	bool answered = instead(request);
	bool lost = request->on[MO_LOST] != NULL ||
	    request->on[MO_LOST_HANG] != NULL || !answered;

	(void)pthread_mutex_lock(&mo.lock);
	mo_advance();
	if (answered && request->status == 0)
		mo_route(request);
	if (request->on[MO_ERROR_LATE] != NULL)
		mo_answer(request, (int)mo_number(request, MO_ERROR_LATE, 500),
		    json_pack("{s:s}", "msg", "injected"));
	log_request(request, lost ? 0 : request->status);
	(void)pthread_mutex_unlock(&mo.lock);
	return !lost;
}

static bool
serve(struct mo_request *request)
{
	mo_rules_choose(request);
	pause_ms(mo_number(request, MO_DELAY, 0));
	if (!carry_out(request)) {
		while (request->on[MO_LOST_HANG] != NULL &&
		    !end_wait(request->client, 100))
			;
		end_reset(request->client);
		return false;
	}
	return send_answer(request) && !request->head.close;
}

static void
release(struct mo_request *request)
{
	head_clear(&request->head);
	fb_buf_release(&request->body);
	fb_buf_release(&request->answer);
	free(request->path);
	free(request->query);
	json_decref(request->json);
	for (size_t i = 0; i < MO_KINDS; i++)
		free(request->on[i]);
}

static void *
run_client(void *arg)
{
	struct end client = { .fd = (int)(intptr_t)arg };
	bool good = true;

	if (tls != NULL) {
		client.ssl = SSL_new(tls);
		(void)SSL_set_fd(client.ssl, client.fd);
		good = SSL_accept(client.ssl) == 1;
	}
	while (good) {
		struct mo_request request = { .head.length = -1 };

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

static void
open_tls(const char *cert, const char *key)
{
	tls = SSL_CTX_new(TLS_server_method());
	if (tls == NULL || SSL_CTX_use_certificate_chain_file(tls, cert) != 1 ||
	    SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1) {
		(void)fprintf(stderr, "morpheus: %s, %s\n", cert, key);
		exit(1);
	}
}

static _Noreturn void
run(int listener)
{
	for (;;) {
		struct pollfd ready = { listener, POLLIN, 0 };

		if (poll(&ready, 1, 20) > 0)
			take_client(listener);
		(void)pthread_mutex_lock(&mo.lock);
		mo_advance();
		mo_scribble();
		(void)pthread_mutex_unlock(&mo.lock);
	}
}

static const struct option options[] = {
	{ "port-file", required_argument, NULL, 'f' },
	{ "rules", required_argument, NULL, 'r' },
	{ "log", required_argument, NULL, 'l' },
	{ "cert", required_argument, NULL, 'c' },
	{ "key", required_argument, NULL, 'k' },
	{ "seen-as", required_argument, NULL, 'a' },
	{ "user", required_argument, NULL, 'u' },
	{ "password", required_argument, NULL, 'w' },
	{ "token", required_argument, NULL, 't' },
	{ "token-life", required_argument, NULL, 'e' },
	{ "power", required_argument, NULL, 'p' },
	{ "step", required_argument, NULL, 's' },
	{ "revert", required_argument, NULL, 'v' },
	{ "delete", required_argument, NULL, 'd' },
	{ 0 },
};

int
main(int argc, char **argv)
{
	const char *values[128] = { ['r'] = "/dev/null",
		['l'] = "/dev/null",
		['u'] = "fleet",
		['w'] = "let-me-in",
		['e'] = "3600000",
		['p'] = "60",
		['s'] = "40",
		['v'] = "60",
		['d'] = "60" };
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == '?')
			return 2;
		values[c] = optarg;
	}
	if (argc - optind != 1 || values['f'] == NULL) {
		(void)fprintf(stderr,
		    "usage: morpheus --port-file FILE [option...] DIR\n");
		return 2;
	}
	mo.dir = argv[optind];
	mo.seen_as = values['a'];
	mo.power_ms = strtoll(values['p'], NULL, 10);
	mo.step_ms = strtoll(values['s'], NULL, 10);
	mo.revert_ms = strtoll(values['v'], NULL, 10);
	mo.delete_ms = strtoll(values['d'], NULL, 10);
	(void)signal(SIGPIPE, SIG_IGN);
	mo_rules_open(values['r']);
	mo_log_open(values['l']);
	mo_auth_setup(values['u'], values['w'], values['t'],
	    strtoll(values['e'], NULL, 10));
	mo_load();
	if (values['c'] != NULL)
		open_tls(values['c'], values['k']);
	run(listen_tcp(values['f']));
}

/*
 * A stand-in for MIOSA: its HTTP API of computers and their snapshots, for
 * tests.  A computer is a directory; a snapshot is a copy of it.
 *
 *	miosa [option...] DIR
 *
 *	--port-file FILE  the port it got on 127.0.0.1, written when it is ready
 *	--port N          that port, instead of one that the kernel chooses
 *	--rules FILE      what goes wrong; read again whenever it changes
 *	--log FILE        one line for each request
 *	--key-file FILE   the keys that are valid, one a line, read for each
 *	                  request ("msk_u_test" without it)
 *	--families LIST   of "checkpoints,snapshots,account" (all of them)
 *	--off-status N    what the others answer: 404, or 405
 *
 * The base URL is http://127.0.0.1:PORT/api/v1.  DIR/machines.json lists what
 * is there when it begins, [{"id": "comp_a", "status": "running", ...}], any
 * member of a computer; contents are DIR/computers/ID/, a tree that tests may
 * write and read; snapshots' are DIR/snapshots/SID/.  DIR/state.json keeps all
 * when it is ended, also by SIGKILL, and begun again.
 *
 * DIR/effects has a line for each thing that was really done: "stop ID",
 * "start ID" ("stop-again", "start-again": it was so already), "restart ID",
 * "snapshot ID SID" of a stopped computer and "snapshot-running ID SID",
 * "restore ID SID", with "restore-stop ID" before it when it ran and
 * "restore-start ID" behind it, "delete SID", "create ID [SID]", "destroy
 * ID", "exec ID", "write PATH", "replay KEY" (an answer given once more).
 *
 * Statuses go on when they are looked at: what was begun is "creating",
 * "stopping", "starting" for one look, then what it becomes.  A restore in
 * place always ends with a running computer, as the contract's text has it
 * ("stays": only if it ran).  A snapshot of the second family needs a running
 * computer.  An export is a pax tar of the snapshot's tree ("./a"), the same
 * bytes each time.  Files of a snapshot: a file, or a tar of a folder;
 * symlinks are in the tar of their folder only.  Files and commands of a
 * computer need a running one: files/download, files/export (a URL without a
 * key), files/upload, files/write, exec (as root only: {"exit_code",
 * "stdout", "stderr"}, "timeout" in seconds).  Not there: sandboxes, named
 * snapshots, clone, resize, the tenant's stream of events.
 *
 * A rule is "KIND[=ARGUMENT] [method=M] [path=GLOB] [skip=N] [times=N]"; the
 * GLOB is of the whole target with its query ("*" passes "/"), and each rule
 * that holds for a request is applied.  A line that stands where it stood goes
 * on counting, unless a comment ("# ...") before it is another one.
 *
 *	error=STATUS[,CODE[,RETRY]]   that answer, and nothing done; RETRY is
 *	                  the Retry-After: seconds, or "date:SECONDS" from now
 *	raw=BYTES         so many bytes that are no JSON as the answer, with 200
 *	reset             the connection is reset, and nothing done
 *	lost              done, and the connection is reset
 *	lost-hang         done, and silence until the client goes
 *	delay=MS          later
 *	slow=N            the answer's body at N bytes a second
 *	cut=N             the answer's body ends behind N bytes
 *	corrupt=N         byte N of a file's body is another one
 *	no-range          the whole file, with 200, whatever Range says
 *	no-length         no Content-Length, and the end is the connection's
 *	chunked           no Content-Length, and chunks
 *	etag              files have an ETag, which If-Range is compared with
 *	touch             an export's bytes are others after this answer
 *	gone              the snapshot is gone after this answer
 *	shape=N           an error's body: 1-8 as the contract numbers them, 9
 *	                  errors by field, 10 empty
 *	retry-ms=N        errors of shape 1 and 2 say retry_after_ms
 *	envelope=MODE     bare, data, named; of lists also items, other (none
 *	                  that the contract has)
 *	paging=STYLE[,MAX]  lists have pages: meta, page, offset, cursor
 *	total=N           the total that pages claim
 *	polls=N           what this request begins is seen N times on its way
 *	becomes=STATUS    ... and becomes that; "-": no status at all
 *	says=STATUS       the status that is shown, whatever it is
 *	cli-fields        a snapshot as the command-line client has it ("state")
 *	no-content        a delete answers 204
 *	conflict          a restore in place of a running computer is a 409
 *	stays             a restore leaves a stopped computer stopped
 *	in-use            a snapshot has dependents: 409 for its deletion
 *	forget-keys       Idempotency-Keys mean nothing
 *	warming[=MS]      tree and files: 202
 *	not-browsable     browsable is false, tree and files fail
 *	tar-bytes=N tar-entries=N tar-dirs=N   more is 413 for a folder
 *	file-bytes=N      ... for a file
 *	tar-names=FORM    of a folder's tar: dot ("./a"), plain ("a"), base
 *	                  ("folder/a")
 *	evil              a tree has entries that nobody should obey
 *	need-json         406 unless Accept has JSON, also for a stream
 *	json-only         no forms: files/upload is 415
 *	gap=MS            between the events of a stream (10)
 *	sse=FLAG,...      its form: crlf, cr, split (3 bytes at a time),
 *	                  two-lines (of data), comment, ids (and retry), empty
 *	                  (an event without data), bom, text (no JSON), huge,
 *	                  no-done, after-done (an event behind [DONE]), open (the
 *	                  last frame has no end), stays-open; and its end:
 *	                  failed, unknown (status), eof (without the last event),
 *	                  reset, silent
 *
 * The log: "# NUMBER METHOD TARGET" when a request has come; "NUMBER METHOD
 * TARGET STATUS BYTES key=K accept=A type=T range=R if-range=I sha256=DIGEST
 * BODY" when it was answered (STATUS 0: it was not), "-" for what is absent,
 * BODY in one line and at most 2000 bytes of it; and "! NUMBER METHOD TARGET:
 * WHAT" for what no client may do: no User-Agent, an Accept without
 * application/json, a Content-Type without a body or a body without it,
 * something new without an Idempotency-Key that is a UUIDv4 or with one that
 * was used for another payload, bytes that are not encoded in a path, the key
 * in a query or sent to a foreign URL, a start while it starts, a restore
 * under way, a ticket that was used.
 */
#include <arpa/inet.h>
#include <getopt.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "miosa.h"

#include "fleetbak/base/mem.h"

static _Noreturn void
die(const char *what)
{
	perror(what);
	exit(1);
}

static void
retry_after(struct miosa_request *request, const char *text)
{
	char date[64];
	time_t then;
	struct tm tm;

	if (strncmp(text, "date:", 5) != 0) {
		fb_buf_add_fmt(
		    &request->headers, "Retry-After: %s\r\n", text);
		return;
	}
	then = time(NULL) + strtol(text + 5, NULL, 10);
	(void)gmtime_r(&then, &tm);
	(void)strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	fb_buf_add_fmt(&request->headers, "Retry-After: %s\r\n", date);
}

static void
inject(struct miosa_request *request)
{
	char code[MIOSA_TEXT] = "INJECTED";
	const char *at = strchr(request->text[MIOSA_ERROR], ',');

	if (at != NULL) {
		(void)snprintf(code, sizeof(code), "%.*s",
		    (int)strcspn(at + 1, ","), at + 1);
		at = strchr(at + 1, ',');
	}
	if (at != NULL)
		retry_after(request, at + 1);
	miosa_error(request, (int)request->argument[MIOSA_ERROR], code,
	    "injected");
}

/* True: there is no answer. */
static bool
instead(struct miosa_request *request)
{
	if (request->on[MIOSA_DELAY])
		pause_ms(request->argument[MIOSA_DELAY]);
	if (request->on[MIOSA_RESET]) {
		miosa_log_request(request, 0, 0);
		end_reset(request->client);
		return true;
	}
	if (request->on[MIOSA_ERROR])
		inject(request);
	else if (request->on[MIOSA_RAW]) {
		request->status = 200;
		request->type = "application/json";
		for (int64_t i = 0; i < request->argument[MIOSA_RAW]; i++)
			fb_buf_add_str(&request->answer, "{");
	}
	return false;
}

static bool
behind(struct miosa_request *request)
{
	if (!request->on[MIOSA_LOST] && !request->on[MIOSA_LOST_HANG])
		return false;
	miosa_log_request(request, 0, 0);
	if (request->on[MIOSA_LOST_HANG])
		while (!end_wait(request->client, 100))
			;
	end_reset(request->client);
	return true;
}

/* Its snapshot is gone, or its export another one. */
static void
afterwards(struct miosa_request *request)
{
	const char *id = request->parts > 3 ? request->part[3]
	    : request->parts > 1            ? request->part[1]
	                                    : "";
	FB_AUTO_FREE char *exported =
	    fb_format("%s/tmp/%s.export", miosa.dir, id);
	FILE *file;

	(void)pthread_mutex_lock(&miosa.lock);
	if (request->on[MIOSA_GONE]) {
		FB_AUTO_FREE char *dir = miosa_dir("snapshots", id);

		(void)json_object_del(miosa.snapshots, id);
		miosa_remove_tree(dir);
		(void)unlink(exported);
	}
	if (request->on[MIOSA_TOUCH] && access(exported, F_OK) == 0) {
		file = fopen(exported, "ae");
		if (file != NULL && fwrite((const char[512]){ 0 }, 1, 512,
		                        file) == 512)
			(void)fclose(file);
	}
	(void)pthread_mutex_unlock(&miosa.lock);
}

static bool
serve(struct miosa_request *request)
{
	bool good;

	miosa_rules_choose(request);
	if (instead(request))
		return false;
	if (request->status == 0) {
		(void)pthread_mutex_lock(&miosa.lock);
		miosa_route(request);
		(void)pthread_mutex_unlock(&miosa.lock);
	}
	if (behind(request))
		return false;
	if (request->events != NULL)
		good = miosa_send_events(request);
	else
		good = miosa_send(request);
	if (request->on[MIOSA_GONE] || request->on[MIOSA_TOUCH])
		afterwards(request);
	return good && !request->head.close;
}

static void *
run_client(void *arg)
{
	struct end client = { .fd = (int)(intptr_t)arg };
	bool good = true;

	while (good) {
		struct miosa_request *request = fb_alloc(1, sizeof(*request));

		request->head.length = -1;
		good = miosa_read(&client, request) && serve(request);
		miosa_release(request);
		free(request);
	}
	end_close(&client);
	return NULL;
}

static int
listen_tcp(int port, const char *port_file)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
		.sin_port = htons((uint16_t)port) };
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
	FB_AUTO_FREE char *name = fb_format("%s.new", port_file);
	FILE *file = fopen(name, "we");

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	if (fd == -1 || bind(fd, (struct sockaddr *)&at, len) == -1 ||
	    listen(fd, 64) == -1 ||
	    getsockname(fd, (struct sockaddr *)&at, &len) == -1)
		die("listen");
	miosa.port = ntohs(at.sin_port);
	if (file == NULL || fprintf(file, "%d\n", miosa.port) < 0 ||
	    fclose(file) != 0 || rename(name, port_file) == -1)
		die(port_file);
	return fd;
}

static _Noreturn void
run(int listener)
{
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		pthread_t thread;

		if (fd == -1)
			continue;
		if (pthread_create(&thread, NULL, run_client,
		        (void *)(intptr_t)fd) != 0)
			die("pthread_create");
		(void)pthread_detach(thread);
	}
}

static const struct option options[] = {
	{ "port-file", required_argument, NULL, 'p' },
	{ "port", required_argument, NULL, 'n' },
	{ "rules", required_argument, NULL, 'r' },
	{ "log", required_argument, NULL, 'l' },
	{ "key-file", required_argument, NULL, 'k' },
	{ "families", required_argument, NULL, 'f' },
	{ "off-status", required_argument, NULL, 'o' },
	{ 0 },
};

int
main(int argc, char **argv)
{
	const char *values[128] = { ['r'] = "/dev/null", ['l'] = "/dev/null",
		['n'] = "0", ['f'] = "checkpoints,snapshots,account",
		['o'] = "404" };
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == '?')
			return 2;
		values[c] = optarg;
	}
	if (argc - optind != 1 || values['p'] == NULL) {
		(void)fprintf(stderr,
		    "usage: miosa --port-file FILE [option...] DIR\n");
		return 2;
	}
	miosa.dir = argv[optind];
	miosa.key_file = values['k'];
	miosa.families = values['f'];
	miosa.off_status = (int)strtol(values['o'], NULL, 10);
	(void)signal(SIGPIPE, SIG_IGN);
	miosa_rules_open(values['r']);
	miosa_log_open(values['l']);
	miosa_load();
	run(listen_tcp((int)strtol(values['n'], NULL, 10), values['p']));
}

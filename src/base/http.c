#include "fleetbak/base/http.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "curl_late.h"

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"

#define CONNECT_MS 10000
#define STALL_MS   60000
#define STALL_RATE 128 /* bytes a second are hardly any */

/* While a transfer waits, it looks so often whether somebody hurries; then a
 * transfer that stands still for so long is given up. */
#define TURN_MS       500
#define NS_PER_S      INT64_C(1000000000)
#define HURRY_STALL_S 5

#define BODY_MAX    ((size_t)1 << 20)
#define HEADERS_MAX ((size_t)1 << 16)

#define RECEIVE_SIZE (256 << 10)
#define SEND_SIZE    (256 << 10)

#define IDLE_MAX 64

struct connection {
	struct connection *next; /* idle */
	CURL *curl;
	CURLM *multi; /* drives it, and keeps the connection itself */
	char why[CURL_ERROR_SIZE];
};

struct fb_http {
	char *ca, *cert, *key, *proxy, *unix_socket;
	long connect_ms, stall_s;
	const atomic_bool *hurry;

	pthread_mutex_t lock; /* all below */
	struct connection *idle;
	unsigned idle_count;
};

/* One request under way. */
struct exchange {
	const struct fb_http_request *request;
	struct fb_http_response *response;
	CURL *curl;
	uint64_t sent; /* bytes of the body, so far */
	int rc;        /* of our own part */
	struct fb_error *err;
};

static char *
copy(const char *text)
{
	return text != NULL ? fb_strdup(text) : NULL;
}

/* What OpenSSL's own programs take in place of the system's; NULL: nothing. */
static const char *
authorities(void)
{
	const char *file = getenv("SSL_CERT_FILE");

	return file != NULL && *file != '\0' ? file : NULL;
}

struct fb_http *
fb_http_new(const struct fb_http_options *options)
{
	struct fb_http *http = fb_alloc(1, sizeof(*http));
	uint64_t connect = options->connect_ms, stall = options->stall_ms;

	http->ca = copy(options->ca != NULL ? options->ca : authorities());
	http->cert = copy(options->cert);
	http->key = copy(options->key);
	http->proxy = copy(options->proxy);
	http->unix_socket = copy(options->unix_socket);
	http->connect_ms = (long)(connect > 0 ? connect : CONNECT_MS);
	http->stall_s = (long)((stall > 0 ? stall : STALL_MS) + 999) / 1000;
	http->hurry = options->hurry;
	(void)pthread_mutex_init(&http->lock, NULL);
	return http;
}

static void
free_connection(struct connection *connection)
{
	curl_easy_cleanup(connection->curl);
	(void)curl_multi_cleanup(connection->multi);
	free(connection);
}

void
fb_http_free(struct fb_http *http)
{
	if (http == NULL)
		return;
	while (http->idle != NULL) {
		struct connection *connection = http->idle;

		http->idle = connection->next;
		free_connection(connection);
	}
	(void)pthread_mutex_destroy(&http->lock);
	free(http->ca);
	free(http->cert);
	free(http->key);
	free(http->proxy);
	free(http->unix_socket);
	free(http);
}

void
fb_http_freep(struct fb_http **http)
{
	fb_http_free(*http);
	*http = NULL;
}

void
fb_http_response_release(struct fb_http_response *response)
{
	fb_buf_release(&response->headers);
	fb_buf_release(&response->body);
	response->status = 0;
}

const char *
fb_http_header(const struct fb_http_response *response, const char *name)
{
	const char *at = fb_buf_str(&response->headers);
	const char *end = at + response->headers.len;
	size_t len = strlen(name);

	for (; at < end; at += strlen(at) + 1)
		if (strncasecmp(at, name, len) == 0 && at[len] == ':')
			return at + len + 1 + strspn(at + len + 1, " \t");
	return NULL;
}

/* The latest one used goes first: others may be closed by now. */
static struct connection *
take_connection(struct fb_http *http)
{
	struct connection *connection;

	(void)pthread_mutex_lock(&http->lock);
	connection = http->idle;
	if (connection != NULL) {
		http->idle = connection->next;
		http->idle_count--;
	}
	(void)pthread_mutex_unlock(&http->lock);
	if (connection != NULL) {
		curl_easy_reset(connection->curl);
		return connection;
	}
	connection = fb_alloc(1, sizeof(*connection));
	connection->curl = curl_easy_init();
	connection->multi = curl_multi_init();
	if (connection->curl == NULL || connection->multi == NULL)
		abort();
	return connection;
}

static void
give_connection(struct fb_http *http, struct connection *connection)
{
	bool keep;

	(void)pthread_mutex_lock(&http->lock);
	keep = http->idle_count < IDLE_MAX;
	if (keep) {
		connection->next = http->idle;
		http->idle = connection;
		http->idle_count++;
	}
	(void)pthread_mutex_unlock(&http->lock);
	if (!keep)
		free_connection(connection);
}

static uint64_t
body_size(const struct fb_http_request *request)
{
	return request->body_path != NULL ? request->body_size
	                                  : request->body.len;
}

static size_t
give_body(char *bytes, size_t size, size_t count, void *arg)
{
	struct exchange *exchange = arg;
	const struct fb_http_request *request = exchange->request;
	uint64_t left = body_size(request) - exchange->sent;
	size_t len = size * count < left ? size * count : (size_t)left;
	size_t got = len;

	if (request->body_path == NULL) {
		if (len > 0)
			memcpy(bytes, request->body.ptr + exchange->sent, len);
	} else {
		exchange->rc = fb_io_pread(request->body_fd, request->body_path,
		    bytes, len, request->body_offset + exchange->sent, &got,
		    exchange->err);
		if (exchange->rc == FB_OK && got < len)
			exchange->rc = fb_fail(exchange->err, FB_ECORRUPT,
			    "'%s' has become shorter", request->body_path);
		if (exchange->rc < 0)
			return CURL_READFUNC_ABORT;
	}
	exchange->sent += got;
	return got;
}

static int
rewind_body(void *arg, curl_off_t offset, int origin)
{
	struct exchange *exchange = arg;

	if (origin != SEEK_SET || offset < 0 ||
	    (uint64_t)offset > body_size(exchange->request))
		return CURL_SEEKFUNC_FAIL;
	exchange->sent = (uint64_t)offset;
	return CURL_SEEKFUNC_OK;
}

static size_t
take_header(char *line, size_t size, size_t count, void *arg)
{
	struct exchange *exchange = arg;
	struct fb_buf *headers = &exchange->response->headers;
	size_t len = size * count;

	/* Those of a 100, or of a proxy, came before. */
	if (len > 5 && strncmp(line, "HTTP/", 5) == 0)
		fb_buf_clear(headers);
	while (len > 0 && strchr("\r\n \t", line[len - 1]) != NULL)
		len--;
	if (len == 0 || memchr(line, '\0', len) != NULL)
		return size * count;
	if (headers->len + len >= HEADERS_MAX) {
		exchange->rc = fb_fail(exchange->err, FB_EPROTO,
		    "the headers of the answer are too long");
		return 0;
	}
	fb_buf_add(headers, line, len);
	fb_buf_add(headers, "", 1);
	return size * count;
}

static bool
is_good(const struct exchange *exchange)
{
	long status = 0;

	(void)curl_easy_getinfo(
	    exchange->curl, CURLINFO_RESPONSE_CODE, &status);
	exchange->response->status = (int)status;
	return status >= 200 && status <= 299;
}

static size_t
take_body(char *bytes, size_t size, size_t count, void *arg)
{
	struct exchange *exchange = arg;
	const struct fb_http_request *request = exchange->request;
	struct fb_buf *body = &exchange->response->body;
	size_t len = size * count;
	size_t max = request->body_max > 0 ? request->body_max : BODY_MAX;
	size_t room = body->len < max ? max - body->len : 0;
	struct fb_span piece = { (const uint8_t *)bytes, len };
	bool good = is_good(exchange);

	if (good && request->sink != NULL) {
		exchange->rc =
		    request->sink(request->sink_arg, piece, exchange->err);
		return exchange->rc < 0 ? 0 : len;
	}
	if (good && len > room) {
		exchange->rc = fb_fail(exchange->err, FB_EPROTO,
		    "the answer is larger than %zu bytes", max);
		return 0;
	}
	fb_buf_add(body, bytes, len < room ? len : room);
	return len;
}

/* Descriptors of ours are not our children's. */
static curl_socket_t
open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	(void)arg;
	(void)purpose;
	return socket(address->family, address->socktype | SOCK_CLOEXEC,
	    address->protocol);
}

/* What libcurl refuses here, it would refuse of every request. */
static void
must(CURLcode rc)
{
	if (rc != CURLE_OK)
		abort();
}

#define SET(option, value) must(curl_easy_setopt(curl, option, value))

static void
set_client(CURL *curl, const struct fb_http *http, char *why)
{
	SET(CURLOPT_ERRORBUFFER, why);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	SET(CURLOPT_USERAGENT, "fleetbak/" FB_VERSION);
	SET(CURLOPT_PATH_AS_IS, 1L);
	SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
	SET(CURLOPT_TCP_NODELAY, 1L);
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_BUFFERSIZE, (long)RECEIVE_SIZE);
	SET(CURLOPT_UPLOAD_BUFFERSIZE, (long)SEND_SIZE);
	SET(CURLOPT_CONNECTTIMEOUT_MS, http->connect_ms);
	SET(CURLOPT_LOW_SPEED_LIMIT, (long)STALL_RATE);
	SET(CURLOPT_LOW_SPEED_TIME, http->stall_s);
	if (http->ca != NULL) {
		SET(CURLOPT_CAINFO, http->ca);
		SET(CURLOPT_CAPATH, NULL);
	}
	if (http->cert != NULL)
		SET(CURLOPT_SSLCERT, http->cert);
	if (http->key != NULL)
		SET(CURLOPT_SSLKEY, http->key);
	if (http->proxy != NULL)
		SET(CURLOPT_PROXY, http->proxy);
	if (http->unix_socket != NULL)
		SET(CURLOPT_UNIX_SOCKET_PATH, http->unix_socket);
}

static void
set_request(CURL *curl, struct exchange *exchange, struct curl_slist *headers)
{
	const struct fb_http_request *request = exchange->request;
	const char *method = request->method;
	uint64_t size = body_size(request);

	SET(CURLOPT_URL, request->url);
	SET(CURLOPT_HTTPHEADER, headers);
	SET(CURLOPT_HEADERFUNCTION, take_header);
	SET(CURLOPT_HEADERDATA, exchange);
	SET(CURLOPT_WRITEFUNCTION, take_body);
	SET(CURLOPT_WRITEDATA, exchange);
	if (request->once)
		SET(CURLOPT_FRESH_CONNECT, 1L);
	if (request->timeout_ms > 0)
		SET(CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
	if (request->stall_ms > 0) {
		/* A word now and then keeps it. */
		SET(CURLOPT_LOW_SPEED_LIMIT, 1L);
		SET(CURLOPT_LOW_SPEED_TIME,
		    (long)((request->stall_ms + 999) / 1000));
	}
	if (request->patient)
		SET(CURLOPT_LOW_SPEED_TIME, 0L);
	if (strcmp(method, "HEAD") == 0) {
		SET(CURLOPT_NOBODY, 1L);
		return;
	}
	if (size > 0 || method[0] == 'P') {
		SET(CURLOPT_UPLOAD, 1L);
		SET(CURLOPT_READFUNCTION, give_body);
		SET(CURLOPT_READDATA, exchange);
		SET(CURLOPT_SEEKFUNCTION, rewind_body);
		SET(CURLOPT_SEEKDATA, exchange);
		SET(CURLOPT_INFILESIZE_LARGE, (curl_off_t)size);
	}
	SET(CURLOPT_CUSTOMREQUEST, method);
}

/* The proxy says no, which another try does not change. */
static bool
proxy_refuses(CURL *curl)
{
	long status = 0;

	(void)curl_easy_getinfo(curl, CURLINFO_HTTP_CONNECTCODE, &status);
	return status >= 400 && status <= 499;
}

/* Why a request to `url` had no answer: the server's address is named, not
 * the path and the query. */
static int
fail(const struct exchange *exchange, CURLcode code, const char *why,
    struct fb_error *err)
{
	const atomic_bool *cancel = exchange->request->cancel;
	const char *url = exchange->request->url;
	const char *host = strstr(url, "://");
	size_t len = host != NULL ? (size_t)(host + 3 - url) : 0;
	curl_off_t connected = 0;
	int end;

	if (exchange->rc < 0)
		return exchange->rc;
	if (cancel != NULL && atomic_load(cancel))
		return fb_fail(err, FB_ECANCELED, "canceled");
	if (why[0] == '\0')
		why = curl_easy_strerror(code);
	end = (int)(len + strcspn(url + len, "/?"));
	(void)curl_easy_getinfo(
	    exchange->curl, CURLINFO_PRETRANSFER_TIME_T, &connected);
	if (proxy_refuses(exchange->curl)) {
		(void)fb_fail_id(
		    err, FB_EDENIED, "E-PROXY", "%.*s: %s", end, url, why);
		return fb_hint(err,
		    "the proxy must let it through, or NO_PROXY must name "
		    "the server");
	}
	switch (code) {
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CIPHER:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
		(void)fb_fail_id(
		    err, FB_EUNREACH, "E-TLS", "%.*s: %s", end, url, why);
		return fb_hint(err,
		    "the certificate must be for that name, "
		    "and of an authority that is trusted here");
	case CURLE_SSL_CACERT_BADFILE:
		(void)fb_fail_id(err, FB_ECONFIG, "E-TLS-CA",
		    "%.*s: the file of authorities: %s", end, url, why);
		return fb_hint(err, "it must hold certificates in PEM");
	case CURLE_OPERATION_TIMEDOUT:
		if (connected > 0)
			return fb_fail(
			    err, FB_ETIMEOUT, "%.*s: %s", end, url, why);
		break;
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_OUT_OF_MEMORY: /* a line that libcurl finds too long */
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_URL_MALFORMAT:
		return fb_fail(err, FB_EPROTO, "%.*s: %s", end, url, why);
	default:
		if (connected > 0)
			return fb_fail(
			    err, FB_EUNKNOWN, "%.*s: %s", end, url, why);
		break;
	}
	return fb_fail(err, FB_EUNREACH, "%.*s: %s", end, url, why);
}

/* Bytes that moved, of the answer and of the body. */
static uint64_t
moved(const struct exchange *exchange)
{
	curl_off_t down = 0, up = 0;

	(void)curl_easy_getinfo(
	    exchange->curl, CURLINFO_SIZE_DOWNLOAD_T, &down);
	(void)curl_easy_getinfo(exchange->curl, CURLINFO_SIZE_UPLOAD_T, &up);
	return (uint64_t)down + (uint64_t)up;
}

/* How the transfer ended, once none runs any more. */
static CURLcode
ended(CURLM *multi)
{
	const CURLMsg *message;
	CURLcode code = CURLE_OK;
	int left;

	while ((message = curl_multi_info_read(multi, &left)) != NULL)
		if (message->msg == CURLMSG_DONE)
			code = message->data.result;
	return code;
}

struct standstill {
	uint64_t moved;
	int64_t since_ns;
	bool watched;
};

/* Whether it was called off, or somebody hurries and hardly anything has moved
 * for too long. */
static bool
stands_still(const struct fb_http *http, const struct exchange *exchange,
    struct standstill *still)
{
	const atomic_bool *cancel = exchange->request->cancel;
	uint64_t now = moved(exchange);

	if (cancel != NULL && atomic_load(cancel))
		return true;
	if (http->hurry == NULL || !atomic_load(http->hurry))
		return false;
	if (still->watched && now - still->moved < HURRY_STALL_S * STALL_RATE)
		return fb_clock_mono_ns() - still->since_ns >
		    HURRY_STALL_S * NS_PER_S;
	*still = (struct standstill){ now, fb_clock_mono_ns(), true };
	return false;
}

/* One transfer, in turns, so that one that hangs is given up soon when
 * somebody hurries: a stop in order does not wait for a server. */
static CURLcode
perform(const struct fb_http *http, struct connection *connection,
    const struct exchange *exchange)
{
	struct standstill still = { 0 };
	CURLM *multi = connection->multi;
	CURLMcode rc = curl_multi_add_handle(multi, connection->curl);
	CURLcode code = CURLE_OPERATION_TIMEDOUT;
	int running = 1;

	while (rc == CURLM_OK && !stands_still(http, exchange, &still)) {
		rc = curl_multi_perform(multi, &running);
		if (running == 0)
			break;
		if (rc == CURLM_OK)
			rc = curl_multi_poll(multi, NULL, 0, TURN_MS, NULL);
	}
	if (rc != CURLM_OK)
		code = CURLE_FAILED_INIT; /* no memory, or poll() fails */
	else if (running == 0)
		code = ended(multi);
	else
		(void)snprintf(connection->why, sizeof(connection->why),
		    "hardly a byte moved for %d seconds after a stop was asked "
		    "for",
		    HURRY_STALL_S);
	(void)curl_multi_remove_handle(multi, connection->curl);
	return code;
}

static int
transfer(struct fb_http *http, struct exchange *exchange, struct fb_error *err)
{
	struct connection *connection = take_connection(http);
	struct curl_slist *headers = NULL;
	curl_off_t retry_after = 0;
	CURLcode code;
	long status = 0;
	int rc = FB_OK;

	for (const char *const *line = exchange->request->headers;
	     line != NULL && *line != NULL; line++)
		headers = curl_slist_append(headers, *line);
	if (exchange->request->straight)
		headers = curl_slist_append(headers, "Expect:");
	exchange->curl = connection->curl;
	connection->why[0] = '\0';
	set_client(connection->curl, http, connection->why);
	set_request(connection->curl, exchange, headers);
	code = perform(http, connection, exchange);
	(void)curl_easy_getinfo(
	    connection->curl, CURLINFO_RESPONSE_CODE, &status);
	(void)curl_easy_getinfo(
	    connection->curl, CURLINFO_RETRY_AFTER, &retry_after);
	if (code != CURLE_OK)
		rc = fail(exchange, code, connection->why, err);
	else if (status == 0)
		rc = fb_fail(err, FB_EPROTO, "an answer without a status");
	exchange->response->status = (int)status;
	exchange->response->retry_after_s =
	    retry_after > 0 ? (uint64_t)retry_after : 0;
	/* The list is the handle's as long as it may be used. */
	(void)curl_easy_setopt(connection->curl, CURLOPT_HTTPHEADER, NULL);
	curl_slist_free_all(headers);
	give_connection(http, connection);
	return rc;
}

static int
load(struct fb_error *err)
{
	const char *trouble = fb_curl_load();

	if (trouble == NULL)
		return FB_OK;
	(void)fb_fail_id(err, FB_ESYS, "E-LIBCURL",
	    "what speaks HTTP is not to be had: %s", trouble);
	return fb_hint(err, "install libcurl (Debian: libcurl4)");
}

int
fb_http_send(struct fb_http *http, const struct fb_http_request *request,
    struct fb_http_response *ret_response, struct fb_error *err)
{
	struct exchange exchange = {
		.request = request, .response = ret_response, .err = err
	};
	enum fb_fault fault;
	int rc;

	fb_buf_clear(&ret_response->headers);
	fb_buf_clear(&ret_response->body);
	ret_response->status = 0;
	rc = load(err);
	if (rc < 0)
		return rc;
	fault = fb_seam(request->step, request->what);
	rc = fb_seam_refuse(fault, err);
	if (rc == FB_OK)
		rc = fb_seam_answer(fault, transfer(http, &exchange, err), err);
	return rc;
}

/* Requests as they come, what is wrong with them, and answers as they go. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "miosa.h"

#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/digest.h"

#define BODY_MAX ((size_t)64 << 20)
#define SHOWN    ((size_t)2000)

static unsigned long numbers;
static pthread_mutex_t numbers_lock = PTHREAD_MUTEX_INITIALIZER;

char *
miosa_sha256(const void *bytes, size_t len)
{
	FB_AUTO_DIGESTER struct fb_digester *digester = fb_digester_new();
	struct fb_digest digest;
	char *hex = fb_alloc(65, 1);

	fb_digester_add(digester, (struct fb_span){ bytes, len });
	fb_digester_peek(digester, &digest);
	fb_digest_hex(&digest, hex);
	return hex;
}

static bool
take_body(
    void *arg, const void *raw, size_t raw_len, const void *body, size_t len)
{
	struct miosa_request *request = arg;

	(void)raw;
	(void)raw_len;
	if (request->body.len + len > BODY_MAX)
		return false;
	fb_buf_add(&request->body, body, len);
	return true;
}

static void
split_target(struct miosa_request *request)
{
	const char *target = request->head.target;
	const char *query = strchr(target, '?');
	size_t len = strcspn(target, "?");

	request->query = query != NULL ? query + 1 : "";
	if (strncmp(target, MIOSA_BASE, strlen(MIOSA_BASE)) != 0) {
		request->path = strndup(target, len);
		return;
	}
	request->path = strndup(
	    target + strlen(MIOSA_BASE), len - strlen(MIOSA_BASE));
	for (char *at = request->path; request->parts < MIOSA_PARTS;) {
		size_t size = strcspn(at, "/");

		request->part[request->parts++] = miosa_decode(at, size);
		at += size;
		if (*at++ == '\0')
			break;
	}
}

bool
miosa_read(struct end *client, struct miosa_request *request)
{
	if (!head_read(client, &request->head, false))
		return false;
	(void)pthread_mutex_lock(&numbers_lock);
	request->number = ++numbers;
	(void)pthread_mutex_unlock(&numbers_lock);
	miosa_log("# %lu %s %s\n", request->number, request->head.method,
	    request->head.target);
	if (request->head.expect &&
	    !end_send(client, "HTTP/1.1 100 Continue\r\n\r\n", 25))
		return false;
	if (!body_read(client, &request->head, take_body, request))
		return false;
	request->client = client;
	split_target(request);
	request->json = json_loadb((const char *)request->body.data,
	    request->body.len, JSON_REJECT_DUPLICATES, NULL);
	return true;
}

static void
add_header(struct fb_buf *line, const struct miosa_request *request,
    const char *header, const char *name)
{
	FB_AUTO_FREE char *value = head_value(&request->head, header);

	for (char *c = value; c != NULL && *c != '\0'; c++)
		if (*c <= ' ')
			*c = '_';
	fb_buf_add_fmt(line, " %s=%s", name, value != NULL ? value : "-");
}

void
miosa_log_request(
    const struct miosa_request *request, int status, int64_t bytes)
{
	FB_AUTO_BUF struct fb_buf line = { 0 };
	FB_AUTO_FREE char *digest =
	    miosa_sha256(request->body.data, request->body.len);
	size_t len = request->body.len < SHOWN ? request->body.len : SHOWN;

	fb_buf_add_fmt(&line, "%lu %s %s %d %lld", request->number,
	    request->head.method, request->head.target, status,
	    (long long)bytes);
	add_header(&line, request, "Idempotency-Key", "key");
	add_header(&line, request, "Accept", "accept");
	add_header(&line, request, "Content-Type", "type");
	add_header(&line, request, "Range", "range");
	add_header(&line, request, "If-Range", "if-range");
	fb_buf_add_fmt(&line, " sha256=%s ",
	    request->body.len > 0 ? digest : "-");
	for (size_t i = 0; i < len; i++)
		fb_buf_add(&line,
		    request->body.data[i] < ' ' ? (const uint8_t *)" "
		                                : &request->body.data[i],
		    1);
	miosa_log("%s\n", fb_buf_str(&line));
}

/* A body on its way: chunks, slowness, and the end before its end. */
struct sender {
	struct miosa_request *request;
	bool chunked;
	int64_t left; /* of it; then it is cut */
};

static bool
send_piece(struct sender *sender, const uint8_t *bytes, size_t len)
{
	struct end *client = sender->request->client;
	char frame[32];

	if (!sender->chunked)
		return end_send(client, bytes, len);
	(void)snprintf(frame, sizeof(frame), "%zx\r\n", len);
	return end_send(client, frame, strlen(frame)) &&
	    end_send(client, bytes, len) && end_send(client, "\r\n", 2);
}

/* False: it is cut, or nobody is there. */
static bool
send_bytes(struct sender *sender, const uint8_t *bytes, size_t len)
{
	struct miosa_request *request = sender->request;
	size_t step = request->on[MIOSA_SLOW] ? 1 + (size_t)
	    request->argument[MIOSA_SLOW] / 10 : len;

	while (len > 0) {
		size_t n = step < len ? step : len;

		if ((int64_t)n > sender->left)
			n = (size_t)sender->left;
		if (n == 0 || !send_piece(sender, bytes, n))
			return false;
		sender->left -= (int64_t)n;
		bytes += n;
		len -= n;
		if (request->on[MIOSA_SLOW] && len > 0)
			pause_ms(100);
	}
	return true;
}

static bool
send_file(struct sender *sender, int64_t len)
{
	struct miosa_request *request = sender->request;
	FB_AUTO_FREE uint8_t *bytes = fb_alloc(1, PIECE);
	FB_AUTO_CLOSE int fd = open(request->file, O_RDONLY | O_CLOEXEC);
	int64_t at = request->from, end = at + len;
	int64_t bad = request->on[MIOSA_CORRUPT]
	    ? request->argument[MIOSA_CORRUPT]
	    : -1;
	bool good = fd >= 0;

	while (good && at < end) {
		size_t want =
		    end - at < (int64_t)PIECE ? (size_t)(end - at) : PIECE;
		ssize_t n = pread(fd, bytes, want, at);

		if (n > 0 && bad >= at && bad < at + n)
			bytes[bad - at] ^= 1;
		good = n > 0 && send_bytes(sender, bytes, (size_t)n);
		at += n > 0 ? n : 0;
	}
	return good;
}

/* "Range: bytes=A-[B]" of a file. */
static void
take_range(struct miosa_request *request, const char *etag)
{
	FB_AUTO_FREE char *range = head_value(&request->head, "Range");
	FB_AUTO_FREE char *same = head_value(&request->head, "If-Range");
	long long from = 0, to = 0;
	int n;

	if (range == NULL || request->on[MIOSA_NO_RANGE] ||
	    (same != NULL && strcmp(same, etag) != 0))
		return;
	n = sscanf(range, "bytes=%lld-%lld", &from, &to);
	if (n < 1 || from < 0)
		return;
	if (from >= request->length) {
		fb_buf_add_fmt(&request->headers,
		    "Content-Range: bytes */%lld\r\n",
		    (long long)request->length);
		request->status = 416;
		free(request->file);
		request->file = NULL;
		return;
	}
	if (n == 1 || to >= request->length)
		to = request->length - 1;
	fb_buf_add_fmt(&request->headers,
	    "Content-Range: bytes %lld-%lld/%lld\r\n", from, to,
	    (long long)request->length);
	request->status = 206;
	request->from = from;
	request->length = to - from + 1;
}

static void
prepare_file(struct miosa_request *request)
{
	FB_AUTO_FREE char *etag = NULL;
	struct stat st = { 0 };

	(void)stat(request->file, &st);
	request->length = st.st_size;
	etag = fb_format("\"%llx-%llx-%llx\"", (long long)st.st_size,
	    (long long)st.st_mtim.tv_sec, (long long)st.st_mtim.tv_nsec);
	if (request->on[MIOSA_ETAG])
		fb_buf_add_fmt(&request->headers, "ETag: %s\r\n", etag);
	take_range(request, etag);
}

static bool
send_head(const struct sender *sender, int64_t len)
{
	const struct miosa_request *request = sender->request;
	FB_AUTO_BUF struct fb_buf head = { 0 };

	fb_buf_add_fmt(&head, "HTTP/1.1 %d X\r\nX-Request-ID: req_%lu\r\n",
	    request->status, request->number);
	if (sender->chunked)
		fb_buf_add_str(&head, "Transfer-Encoding: chunked\r\n");
	else if (request->on[MIOSA_NO_LENGTH] && request->status != 204)
		fb_buf_add_str(&head, "Connection: close\r\n");
	else if (request->status != 204)
		fb_buf_add_fmt(&head, "Content-Length: %lld\r\n",
		    (long long)len);
	if (request->type != NULL)
		fb_buf_add_fmt(&head, "Content-Type: %s\r\n", request->type);
	fb_buf_add(&head, request->headers.data, request->headers.len);
	fb_buf_add_str(&head, "\r\n");
	return end_send(request->client, head.data, head.len);
}

/* False: the connection is over. */
bool
miosa_send(struct miosa_request *request)
{
	struct sender sender = { .request = request, .left = INT64_MAX };
	int64_t len;
	bool good;

	if (request->file != NULL)
		prepare_file(request);
	len = request->file != NULL ? request->length
	                            : (int64_t)request->answer.len;
	sender.chunked =
	    request->on[MIOSA_CHUNKED] && request->status != 204;
	if (request->on[MIOSA_CUT])
		sender.left = request->argument[MIOSA_CUT];
	good = send_head(&sender, len);
	if (good && request->file != NULL)
		good = send_file(&sender, len);
	else if (good && len > 0)
		good = send_bytes(
		    &sender, request->answer.data, (size_t)len);
	if (good && sender.chunked)
		good = end_send(request->client, "0\r\n\r\n", 5);
	miosa_log_request(request, request->status,
	    request->on[MIOSA_CUT]
	        ? request->argument[MIOSA_CUT] - sender.left
	        : len);
	return good && !request->on[MIOSA_NO_LENGTH];
}

void
miosa_release(struct miosa_request *request)
{
	if (request->remove_file && request->file != NULL)
		(void)unlink(request->file);
	head_clear(&request->head);
	fb_buf_release(&request->body);
	fb_buf_release(&request->headers);
	fb_buf_release(&request->answer);
	for (size_t i = 0; i < request->parts; i++)
		free(request->part[i]);
	free(request->path);
	free(request->file);
	free(request->subject);
	json_decref(request->json);
}

/* Images: copied, hashed, fetched and sent. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "chost.h"

#include "fleetbak/base/err.h"
#include "fleetbak/base/http.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/digest.h"

int64_t
chost_size(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) ? st.st_size : -1;
}

bool
chost_copy(const char *from, const char *to)
{
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	ssize_t n = in >= 0 && out >= 0 ? 1 : -1;

	while (n > 0)
		n = copy_file_range(in, NULL, out, NULL, 1 << 24, 0);
	if (in >= 0)
		(void)close(in);
	if (out >= 0)
		(void)close(out);
	return n == 0;
}

bool
chost_sha256(const char *path, char hex[65])
{
	FB_AUTO_DIGESTER struct fb_digester *digester = fb_digester_new();
	FB_AUTO_FREE uint8_t *bytes = fb_alloc(1, PIECE);
	FB_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct fb_digest digest;
	ssize_t n = fd >= 0 ? 1 : -1;

	while (n > 0) {
		n = read(fd, bytes, PIECE);
		if (n > 0)
			fb_digester_add(digester,
			    (struct fb_span){ bytes, (size_t)n });
	}
	fb_digester_peek(digester, &digest);
	fb_digest_hex(&digest, hex);
	return n == 0;
}

void
chost_remove_dir(const char *path)
{
	struct fb_error ignored = { 0 };

	(void)!fb_io_remove_tree(path, &ignored);
}

static int
take(void *arg, struct fb_span piece, struct fb_error *err)
{
	FILE *file = arg;

	return fwrite(piece.ptr, 1, piece.len, file) == piece.len
	    ? FB_OK
	    : fb_fail(err, FB_ESYS, "write");
}

bool
chost_fetch(const char *url, const char *path, char why[256])
{
	struct fb_http_options options = { .proxy = "" };
	FB_AUTO_HTTP struct fb_http *http = fb_http_new(&options);
	FB_AUTO_HTTP_RESPONSE struct fb_http_response response = { 0 };
	FILE *file = fopen(path, "we");
	struct fb_http_request request = { .method = "GET", .url = url,
		.step = FB_STEP_ASK, .what = "fetch", .sink = take,
		.sink_arg = file };
	struct fb_error err = { 0 };
	int rc;

	if (file == NULL) {
		(void)snprintf(why, 256, "open: %s", strerror(errno));
		return false;
	}
	rc = fb_http_send(http, &request, &response, &err);
	(void)fclose(file);
	if (rc < 0)
		(void)snprintf(why, 256, "Get: %.200s", err.msg);
	else if (response.status < 200 || response.status > 299)
		(void)snprintf(why, 256, "download returned %d",
		    response.status);
	return rc == FB_OK && response.status >= 200 && response.status <= 299;
}

char *
chost_put(const char *url, const char *path, int64_t offset, int64_t size,
    char why[256])
{
	struct fb_http_options options = { .proxy = "" };
	FB_AUTO_HTTP struct fb_http *http = fb_http_new(&options);
	FB_AUTO_HTTP_RESPONSE struct fb_http_response response = { 0 };
	FB_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct fb_http_request request = { .method = "PUT", .url = url,
		.step = FB_STEP_ASK, .what = "put", .body_path = path,
		.body_fd = fd, .body_offset = (uint64_t)offset,
		.body_size = (uint64_t)size };
	struct fb_error err = { 0 };
	const char *etag = NULL;
	int rc = fb_http_send(http, &request, &response, &err);

	if (rc == FB_OK)
		etag = fb_http_header(&response, "etag");
	if (rc < 0)
		(void)snprintf(why, 256, "%.200s", err.msg);
	else if (response.status < 200 || response.status > 299)
		(void)snprintf(why, 256, "returned %d", response.status);
	else if (etag == NULL || etag[0] == '\0')
		(void)snprintf(why, 256, "returned empty etag");
	else
		return fb_strdup(etag);
	return NULL;
}

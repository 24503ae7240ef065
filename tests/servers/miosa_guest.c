/* Files and commands in a computer. */
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "miosa.h"

#include "fleetbak/base/mem.h"

static bool
is_up(const json_t *computer)
{
	return strcmp(miosa_get(computer, "status"), "running") == 0 ||
	    strcmp(miosa_get(computer, "status"), "active") == 0;
}

static void
make_parents(const char *path)
{
	FB_AUTO_FREE char *dir = fb_strdup(path);
	char *slash = strrchr(dir, '/');

	if (slash != NULL)
		*slash = '\0';
	(void)miosa_tool(
	    (const char *const[]){ "mkdir", "-p", "--", dir, NULL });
}

static void
write_file(struct miosa_request *request, const char *dir, const char *path,
    const void *bytes, size_t len, bool parents)
{
	FB_AUTO_FREE char *at = miosa_path(request, dir, path);
	FILE *file;

	if (at == NULL)
		return;
	if (parents)
		make_parents(at);
	file = fopen(at, "we");
	if (file == NULL) {
		miosa_error(request, 422, "VALIDATION_ERROR",
		    "No such directory");
		return;
	}
	(void)fwrite(bytes, 1, len, file);
	(void)fclose(file);
	miosa_effect("write", path, NULL);
	miosa_object(request, 200, "file",
	    json_pack("{s:s,s:I}", "path", path, "size", (json_int_t)len),
	    NULL);
}

static void
write_base64(struct miosa_request *request, const char *dir)
{
	const char *text = miosa_get(request->json, "content_base64");
	size_t len = strlen(text);
	FB_AUTO_FREE uint8_t *bytes = fb_alloc(len + 4, 1);
	int n = len > 0 ? EVP_DecodeBlock(
	    bytes, (const unsigned char *)text, (int)len) : 0;

	if (n < 0) {
		miosa_error(request, 422, "VALIDATION_ERROR", "No base64");
		return;
	}
	for (size_t i = len; i > 0 && text[i - 1] == '='; i--)
		n--;
	write_file(request, dir, miosa_get(request->json, "path"), bytes,
	    (size_t)n, true);
}

/* A part of a form: its bytes, without the line before the next boundary. */
static const uint8_t *
form_part(const struct miosa_request *request, const char *boundary,
    const char *name, size_t *ret_len)
{
	FB_AUTO_FREE char *wanted = fb_format("name=\"%s\"", name);
	FB_AUTO_FREE char *end = fb_format("\r\n--%s", boundary);
	const uint8_t *all = request->body.data, *at, *stop;
	size_t len = request->body.len;

	at = len > 0 ? memmem(all, len, wanted, strlen(wanted)) : NULL;
	if (at == NULL)
		return NULL;
	at = memmem(at, len - (size_t)(at - all), "\r\n\r\n", 4);
	if (at == NULL)
		return NULL;
	at += 4;
	stop = memmem(at, len - (size_t)(at - all), end, strlen(end));
	if (stop == NULL)
		return NULL;
	*ret_len = (size_t)(stop - at);
	return at;
}

static void
upload(struct miosa_request *request, const char *dir)
{
	FB_AUTO_FREE char *type = head_value(&request->head, "Content-Type");
	const char *boundary =
	    type != NULL ? strstr(type, "boundary=") : NULL;
	const uint8_t *file, *path, *dirs;
	size_t file_len = 0, path_len = 0, dirs_len = 0;

	if (boundary == NULL) {
		miosa_error(request, 415, "UNSUPPORTED", "No form");
		return;
	}
	boundary += strlen("boundary=");
	file = form_part(request, boundary, "file", &file_len);
	path = form_part(request, boundary, "path", &path_len);
	dirs = form_part(request, boundary, "create_dirs", &dirs_len);
	if (file == NULL || path == NULL) {
		miosa_error(
		    request, 422, "VALIDATION_ERROR", "file or path missing");
		return;
	}
	FB_AUTO_FREE char *name = strndup((const char *)path, path_len);

	write_file(request, dir, name, file, file_len,
	    dirs != NULL && dirs_len == 4 && memcmp(dirs, "true", 4) == 0);
}

static void
download(struct miosa_request *request, const char *dir)
{
	FB_AUTO_FREE char *path = miosa_query(request, "path");
	FB_AUTO_FREE char *at =
	    path != NULL ? miosa_path(request, dir, path) : NULL;
	struct stat st;

	if (at == NULL) {
		if (request->status == 0)
			miosa_error(request, 400, "MISSING_PARAM", "no path");
		return;
	}
	if (stat(at, &st) != 0 || !S_ISREG(st.st_mode)) {
		miosa_error(request, 404, "NOT_FOUND", "No such file");
		return;
	}
	request->status = 200;
	request->type = "application/octet-stream";
	request->file = fb_strdup(at);
}

/* A URL that needs no key, at another place. */
static void
presign(struct miosa_request *request, const char *dir)
{
	const char *path = miosa_get(request->json, "path");
	FB_AUTO_FREE char *at = miosa_path(request, dir, path);
	FB_AUTO_FREE char *ticket = NULL;
	char now[40];

	if (at == NULL)
		return;
	if (access(at, F_OK) != 0) {
		miosa_error(request, 404, "NOT_FOUND", "No such file");
		return;
	}
	ticket = miosa_new_id("url");
	miosa_now(now);
	(void)json_object_set_new(miosa.tickets, ticket, json_string(at));
	miosa_object(request, 200, "export",
	    json_pack("{s:o,s:s}", "url",
	        json_sprintf("http://127.0.0.1:%d/presigned/%s", miosa.port,
	            ticket),
	        "expires_at", now),
	    NULL);
}

void
miosa_presigned(struct miosa_request *request)
{
	const char *ticket = request->head.target + strlen("/presigned/");
	FB_AUTO_FREE char *given = head_value(&request->head, "Authorization");
	json_t *at = json_object_get(miosa.tickets, ticket);

	if (given != NULL)
		miosa_complain(request, "the key goes to a foreign URL");
	if (!json_is_string(at)) {
		miosa_error(request, 403, "FORBIDDEN", "AccessDenied");
		return;
	}
	request->status = 200;
	request->type = "application/octet-stream";
	request->file = fb_strdup(json_string_value(at));
	request->on[MIOSA_ETAG] = true;
}

void
miosa_files(struct miosa_request *request, json_t *computer)
{
	FB_AUTO_FREE char *dir =
	    miosa_dir("computers", miosa_get(computer, "id"));
	const char *what = request->part[3];
	bool post = miosa_method(request, "POST");

	if (!is_up(computer))
		miosa_error(
		    request, 409, "CONFLICT", "Computer is not running");
	else if (strcmp(what, "download") == 0 && miosa_method(request, "GET"))
		download(request, dir);
	else if (strcmp(what, "export") == 0 && post)
		presign(request, dir);
	else if (strcmp(what, "upload") == 0 && post &&
	    request->on[MIOSA_JSON_ONLY])
		miosa_error(request, 415, "UNSUPPORTED", "JSON only");
	else if (strcmp(what, "upload") == 0 && post)
		upload(request, dir);
	else if (strcmp(what, "write") == 0 && post)
		write_base64(request, dir);
	else
		miosa_error(request, 404, "NOT_FOUND", "Not found");
}

/*
 * Files into a running guest: the archive is written in pieces beside where it
 * goes, and unpacked there by tar.  How a command went is read from a file that
 * it writes: a deployment's clients do not agree on the unit of a timeout, and
 * what an answer to a command looks like is not documented.
 */
#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/base64.h"

#include "miosa_internal.h"

#define PIECE     ((size_t)1 << 20)

/* A command is waited for as long; and then for what it writes. */
#define UNPACK_MS (UINT64_C(3600) * 1000)
#define STATUS_MS 60000

/* Of a file that says how a command went. */
#define STATUS_MAX 64

struct guest {
	struct fb_target base;
	struct fb_miosa *miosa;
	char *computer, *root, *dir, *volume;
	unsigned pieces;
	struct fb_buf piece;
};

/* Between single quotes of a shell, and never above itself. */
bool
fb_miosa_root_ok(const char *path)
{
	size_t len = strlen(path);

	if (path[0] != '/' || len > 1024)
		return false;
	if (len > 1 && path[len - 1] == '/')
		return false;
	for (const char *c = path; *c != '\0'; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f || *c == '\'' ||
		    *c == '\\')
			return false;
	for (const char *c = path; c != NULL; c = strchr(c + 1, '/')) {
		size_t part = strcspn(c + 1, "/");

		if ((part == 1 && c[1] == '.') ||
		    (part == 2 && c[1] == '.' && c[2] == '.') ||
		    (part == 0 && len > 1))
			return false;
	}
	return true;
}

static char *
file_of(const struct guest *guest, const char *end)
{
	return fb_format("%s/%s.%s", guest->dir, guest->volume, end);
}

/* Writing the same file again changes nothing. */
static int
send_file(struct guest *guest, const char *file, struct fb_span bytes,
    struct fb_error *err)
{
	FB_AUTO_FREE char *path =
	    fb_miosa_path("computers", guest->computer, "/files/write");
	FB_AUTO_API_ANSWER struct fb_api_answer answer = { 0 };
	FB_AUTO_JSON json_t *body = NULL;
	FB_AUTO_BUF struct fb_buf text = { 0 };
	struct fb_api_call call = { .method = "POST", .path = path,
		.what = "files", .safe = true };

	fb_base64_add(&text, bytes);
	body = json_pack("{s:s,s:s}", "path", file, "content_base64",
	    fb_buf_str(&text));
	call.body = body;
	return fb_api_send(guest->miosa->api, &call, &answer, err);
}

static int
send_piece(struct guest *guest, struct fb_error *err)
{
	FB_AUTO_FREE char *end = fb_format("%08u", guest->pieces);
	FB_AUTO_FREE char *file = file_of(guest, end);
	int rc;

	if (guest->piece.len == 0)
		return FB_OK;
	rc = send_file(guest, file, fb_buf_span(&guest->piece), err);
	if (rc < 0)
		return rc;
	guest->base.written_bytes += guest->piece.len;
	guest->pieces++;
	fb_buf_clear(&guest->piece);
	return FB_OK;
}

/* As long as that is in milliseconds; where it is in seconds it is longer. */
static int
run(struct guest *guest, const char *command, struct fb_error *err)
{
	FB_AUTO_FREE char *path =
	    fb_miosa_path("computers", guest->computer, "/exec");
	FB_AUTO_JSON json_t *body = json_pack("{s:s,s:I}", "command", command,
	    "timeout", (json_int_t)UNPACK_MS);
	FB_AUTO_API_ANSWER struct fb_api_answer answer = { 0 };
	struct fb_api_call call = { .method = "POST", .path = path,
		.what = "exec", .body = body, .patient = true,
		.step_ms = UNPACK_MS, .call_ms = UNPACK_MS };

	return fb_api_send(guest->miosa->api, &call, &answer, err);
}

static int
read_piece(void *arg, struct fb_span piece, struct fb_error *err)
{
	struct fb_buf *text = arg;

	if (piece.len > STATUS_MAX - text->len)
		return fb_fail(err, FB_EPROTO, "a status is too long");
	fb_buf_add(text, piece.ptr, piece.len);
	return FB_OK;
}

/* "" while the command runs. */
static int
read_status(struct guest *guest, struct fb_buf *ret_text, struct fb_error *err)
{
	FB_AUTO_FREE char *file = file_of(guest, "status");
	FB_AUTO_FREE char *head = fb_miosa_path(
	    "computers", guest->computer, "/files/download?path=");
	FB_AUTO_BUF struct fb_buf path = { 0 };
	struct fb_api_fetch fetch = { .what = "files",
		.end = UINT64_MAX,
		.total = UINT64_MAX,
		.whole = true,
		.sink = read_piece,
		.arg = ret_text };
	int rc;

	fb_buf_add_str(&path, head);
	fb_api_add_encoded(&path, file);
	fb_buf_add_str(ret_text, "");
	fetch.path = fb_buf_str(&path);
	rc = fb_api_get_bytes(guest->miosa->api, &fetch, err);
	if (rc == FB_ENOTFOUND || rc == FB_EUNKNOWN || rc == FB_ERETRY ||
	    rc == FB_EUNREACH || rc == FB_ETIMEOUT) {
		*err = (struct fb_error){ 0 };
		fb_buf_clear(ret_text);
		fb_buf_add_str(ret_text, "");
		return FB_OK;
	}
	return rc;
}

static int
await_command(struct guest *guest, struct fb_error *err)
{
	struct fb_miosa_wait wait = fb_miosa_wait_until(STATUS_MS, 0, NULL);

	for (;;) {
		FB_AUTO_BUF struct fb_buf text = { 0 };
		int rc = read_status(guest, &text, err);

		if (rc == FB_OK && strcmp(fb_buf_str(&text), "0\n") == 0)
			return FB_OK;
		if (rc == FB_OK && text.len > 0 &&
		    text.data[text.len - 1] == '\n') {
			(void)fb_fail_id(err, FB_EFAILED, "E-MIOSA-GUEST",
			    "tar in computer '%s' ended with status %.*s",
			    guest->computer,
			    (int)strcspn(fb_buf_str(&text), "\n"),
			    fb_buf_str(&text));
			return fb_hint(err, "see whether there is tar in it, "
			    "and room in /tmp and where it goes");
		}
		if (rc == FB_OK)
			rc = fb_miosa_pause(&wait, "unpacking", err);
		if (rc == FB_ETIMEOUT)
			return fb_fail_id(err, FB_EFAILED, "E-MIOSA-GUEST",
			    "nothing in computer '%s' says how tar ended",
			    guest->computer);
		if (rc < 0)
			return rc;
	}
}

/* Both paths stand between single quotes, which neither has in it. */
static int
send_script(struct guest *guest, const char *script, const char *status,
    struct fb_error *err)
{
	FB_AUTO_FREE char *text = fb_format(
	    "mkdir -p '%s' &&\n"
	    "cat '%s/%s'.???????? | tar -xpf - -C '%s'\n"
	    "echo $? >'%s.new'\n"
	    "mv '%s.new' '%s'\n",
	    guest->root, guest->dir, guest->volume, guest->root, status,
	    status, status);

	return send_file(guest, script,
	    (struct fb_span){ (const uint8_t *)text, strlen(text) }, err);
}

/* A status of an earlier try must not be taken for that of this one.  Where the
 * answer is lost the command may run on: its status is waited for. */
static int
unpack(struct guest *guest, struct fb_error *err)
{
	FB_AUTO_FREE char *status = file_of(guest, "status");
	FB_AUTO_FREE char *script = file_of(guest, "sh");
	FB_AUTO_FREE char *clear = fb_format("rm -f '%s'", status);
	FB_AUTO_FREE char *command =
	    fb_format("sh '%s' >/dev/null 2>&1 </dev/null", script);
	FB_AUTO_FREE char *sweep = fb_format("rm -rf '%s'", guest->dir);
	struct fb_error ignored = { 0 };
	int rc = send_script(guest, script, status, err);

	if (rc == FB_OK)
		rc = run(guest, clear, err);
	if (rc == FB_OK)
		rc = run(guest, command, err);
	if (rc == FB_OK || rc == FB_EUNKNOWN || rc == FB_ETIMEOUT)
		rc = await_command(guest, err);
	if (rc == FB_OK)
		(void)!run(guest, sweep, &ignored);
	return rc;
}

static int
guest_absorb(struct fb_target *target, const struct fb_pull *pull,
    struct fb_error *err)
{
	struct guest *guest = (struct guest *)target;
	int rc = FB_OK;

	while (rc == FB_OK) {
		struct fb_span bytes;

		rc = pull->next(pull->arg, &bytes, err);
		if (rc < 0 || bytes.len == 0)
			break;
		while (rc == FB_OK && bytes.len > 0) {
			size_t room = PIECE - guest->piece.len;
			size_t len = bytes.len < room ? bytes.len : room;

			fb_buf_add(&guest->piece, bytes.ptr, len);
			bytes.ptr += len;
			bytes.len -= len;
			if (guest->piece.len == PIECE)
				rc = send_piece(guest, err);
		}
	}
	if (rc == FB_OK)
		rc = send_piece(guest, err);
	return rc < 0 ? rc : unpack(guest, err);
}

static int
guest_sync(struct fb_target *target, struct fb_error *err)
{
	return run((struct guest *)target, "sync", err);
}

static void
guest_close(struct fb_target *target)
{
	struct guest *guest = (struct guest *)target;

	fb_buf_release(&guest->piece);
	free(guest->computer);
	free(guest->root);
	free(guest->dir);
	free(guest->volume);
	free(guest);
}

static const struct fb_target_ops guest_ops = {
	.absorb = guest_absorb,
	.sync = guest_sync,
	.close = guest_close,
};

int
fb_miosa_target_guest(struct fb_miosa *miosa, const char *computer,
    const char *root, const char *token, const char *volume,
    struct fb_target **ret_target, struct fb_error *err)
{
	struct guest *guest;

	if (!fb_miosa_root_ok(root))
		return fb_fail(err, FB_ECORRUPT,
		    "'%.64s' is no place for files in a guest", root);
	guest = fb_alloc(1, sizeof(*guest));
	guest->base.ops = &guest_ops;
	guest->miosa = miosa;
	guest->computer = fb_strdup(computer);
	guest->root = fb_strdup(root);
	guest->dir = fb_format("/tmp/fleetbak-%s", token);
	guest->volume = fb_strdup(volume);
	*ret_target = &guest->base;
	return FB_OK;
}

/* A hypervisor's host, over ssh. */
#include "libvirt_far.h"

#include <libxml/uri.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/child.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/crypto/digest.h"

/* Nothing that is asked for is long work, but for its bytes: of so many in a
 * millisecond at least. */
#define RUN_MS 120000
#define PER_MS 64

/* ssh's own failures have this status. */
#define SSH_FAILED 255

/* Of the digest that tells the servers of an image from others. */
#define NAME_DIGITS 16

#define MACHINE_ID_MAX 4096
#define MARK_DIGITS    8

/* Of ssh and its options: more is never there. */
#define WORDS_MAX 32

/* Bytes both ways between a Unix socket and the standard streams.  Whoever
 * closes his end ends it. */
#define BRIDGE \
	"bridge() {\n" \
	"	if command -v python3 >/dev/null; then\n" \
	"		python3 -c '\n" \
	"import os, socket, sys, threading\n" \
	"s = socket.socket(socket.AF_UNIX)\n" \
	"s.connect(sys.argv[1])\n" \
	"def up():\n" \
	"    while True:\n" \
	"        b = os.read(0, 1 << 20)\n" \
	"        if not b:\n" \
	"            break\n" \
	"        s.sendall(b)\n" \
	"    s.shutdown(socket.SHUT_WR)\n" \
	"threading.Thread(target=up, daemon=True).start()\n" \
	"while True:\n" \
	"    b = memoryview(s.recv(1 << 20))\n" \
	"    if not b:\n" \
	"        break\n" \
	"    while b:\n" \
	"        b = b[os.write(1, b):]\n" \
	"' \"$1\"\n" \
	"	elif command -v socat >/dev/null; then\n" \
	"		socat - UNIX-CONNECT:\"$1\"\n" \
	"	elif command -v nc >/dev/null; then\n" \
	"		nc -N -U \"$1\"\n" \
	"	else\n" \
	"		echo 'none of python3, socat and nc is there' >&2\n" \
	"		exit 1\n" \
	"	fi\n" \
	"}\n"

static const char to_socket[] = BRIDGE "bridge \"$1\"\n";

/* A server whose connection was cut goes on waiting, and keeps its image.  Its
 * directory is ours alone, and a number in it may be another process's now. */
#define END_SERVERS \
	"serves() {\n" \
	"	grep -qsF \"$old/nbd\" \"/proc/$pid/cmdline\"\n" \
	"}\n" \
	"end_servers() {\n" \
	"	for old in \"${TMPDIR:-/tmp}/$1\".*; do\n" \
	"		[ -O \"$old\" ] && read -r pid <\"$old/pid\" || continue\n" \
	"		tries=0\n" \
	"		while serves; do\n" \
	"			[ $tries -gt 0 ] || kill \"$pid\"\n" \
	"			[ $tries -lt 100 ] || kill -9 \"$pid\"\n" \
	"			[ $tries -lt 200 ] || return 1\n" \
	"			tries=$((tries + 1))\n" \
	"			sleep 0.05\n" \
	"		done\n" \
	"		rm -rf \"$old\"\n" \
	"	done\n" \
	"}\n"

static const char end_image[] = END_SERVERS "end_servers \"$1\" 2>/dev/null\n";

/* The server's standard output must not be the one that the bytes go to; its
 * image is free again when this has ended.  Who writes is alone. */
static const char to_image[] = BRIDGE END_SERVERS
    "[ \"$3\" = --read-only ] || end_servers \"$5\" 2>/dev/null\n"
    "dir=$(mktemp -d \"${TMPDIR:-/tmp}/$5.XXXXXX\") || exit 1\n"
    "server=\n"
    "trap 'kill $server 2>/dev/null; wait; rm -rf \"$dir\"' EXIT\n"
    "trap 'exit 1' HUP INT TERM PIPE\n"
    "qemu-nbd --format \"$2\" \"$3\" ${4:+--bitmap \"$4\"} --socket \"$dir/nbd\" \"$1\" \\\n"
    "	</dev/null >/dev/null &\n"
    "server=$!\n"
    "echo $server >\"$dir/pid\"\n"
    "until [ -S \"$dir/nbd\" ]; do\n"
    "	kill -0 $server 2>/dev/null || exit 1\n"
    "	sleep 0.05\n"
    "done\n"
    "bridge \"$dir/nbd\"\n";

struct fb_libvirt_far {
	char *host; /* for messages */
	char *mark;
	char *words[WORDS_MAX]; /* ends with NULL */
	size_t count;
};

static void
add(struct fb_libvirt_far *far, const char *word)
{
	if (far->count < WORDS_MAX - 1)
		far->words[far->count++] = fb_strdup(word);
}

static void
add_two(struct fb_libvirt_far *far, const char *option, const char *value)
{
	add(far, option);
	add(far, value);
}

/* Tells what this host has on another one from what others have there. */
char *
fb_libvirt_far_mark(void)
{
	FB_AUTO_BUF struct fb_buf bytes = { 0 };
	char name[HOST_NAME_MAX + 1] = "", hex[FB_DIGEST_HEX_SIZE];
	struct fb_error ignored;
	struct fb_digest digest;

	(void)gethostname(name, sizeof(name) - 1);
	fb_buf_add_fmt(&bytes, "fleetbak %s\n", name);
	(void)!fb_io_read_file(
	    "/etc/machine-id", MACHINE_ID_MAX, &bytes, &ignored);
	fb_digest_of(fb_buf_span(&bytes), &digest);
	fb_digest_hex(&digest, hex);
	return fb_format("%.*s", MARK_DIGITS, hex);
}

/* The parameters that libvirt's remote driver gives to ssh. */
static void
add_parameter(struct fb_libvirt_far *far, const char *name, const char *value)
{
	if (strcmp(name, "keyfile") == 0)
		add_two(far, "-i", value);
	if (strcmp(name, "no_verify") == 0 && strcmp(value, "0") != 0)
		add(far, "-oStrictHostKeyChecking=no");
	if (strcmp(name, "command") == 0) {
		free(far->words[0]);
		far->words[0] = fb_strdup(value);
	}
}

static void
add_parameters(struct fb_libvirt_far *far, const char *query)
{
	FB_AUTO_FREE char *copy = fb_strdup(query != NULL ? query : "");
	char *state = NULL;

	for (char *part = strtok_r(copy, "&;", &state); part != NULL;
	     part = strtok_r(NULL, "&;", &state)) {
		char *equals = strchr(part, '=');
		char *value;

		if (equals == NULL)
			continue;
		*equals = '\0';
		value = xmlURIUnescapeString(equals + 1, 0, NULL);
		if (value != NULL)
			add_parameter(far, part, value);
		xmlFree(value);
	}
}

static void
add_host(struct fb_libvirt_far *far, const xmlURI *uri)
{
	const char *host = uri->server;
	size_t len = strlen(host);

	if (uri->user != NULL)
		add_two(far, "-l", uri->user);
	if (uri->port > 0) {
		FB_AUTO_FREE char *port = fb_format("%d", uri->port);

		add_two(far, "-p", port);
	}
	far->host = host[0] == '[' && host[len - 1] == ']'
	    ? fb_format("%.*s", (int)(len - 2), host + 1)
	    : fb_strdup(host);
	add(far, "--");
	add(far, far->host);
}

static bool
is_ssh(const xmlURI *uri)
{
	const char *plus =
	    uri->scheme != NULL ? strchr(uri->scheme, '+') : NULL;

	return plus != NULL && strcmp(plus, "+ssh") == 0 &&
	    uri->server != NULL && uri->server[0] != '\0' &&
	    uri->server[0] != '-';
}

static struct fb_libvirt_far *
begin_words(const char *mark)
{
	struct fb_libvirt_far *far = fb_alloc(1, sizeof(*far));

	far->mark = fb_strdup(mark);
	add(far, "ssh");
	add_two(far, "-T", "-enone");
	add(far, "-oBatchMode=yes");
	add(far, "-oConnectTimeout=30");
	add(far, "-oServerAliveInterval=15");
	return far;
}

struct fb_libvirt_far *
fb_libvirt_far_to_host(
    const char *host, const char *ssh_config, const char *mark)
{
	struct fb_libvirt_far *far;

	if (!fb_name_ok(host, strlen(host)))
		return NULL;
	far = begin_words(mark);
	if (ssh_config != NULL)
		add_two(far, "-F", ssh_config);
	add(far, "--");
	add(far, host);
	far->host = fb_strdup(host);
	return far;
}

struct fb_libvirt_far *
fb_libvirt_far_new(const char *text, const char *mark)
{
	xmlURI *uri = xmlParseURI(text);
	struct fb_libvirt_far *far = NULL;

	if (uri != NULL && is_ssh(uri)) {
		far = begin_words(mark);
		add_parameters(far, uri->query_raw);
		add_host(far, uri);
	}
	xmlFreeURI(uri);
	return far;
}

void
fb_libvirt_far_free(struct fb_libvirt_far *far)
{
	for (size_t i = 0; far != NULL && i < far->count; i++)
		free(far->words[i]);
	if (far != NULL) {
		free(far->host);
		free(far->mark);
	}
	free(far);
}

/* As one word of a shell's. */
static void
add_quoted(struct fb_buf *dst, const char *word)
{
	fb_buf_add_str(dst, " '");
	for (; *word != '\0'; word++)
		if (*word == '\'')
			fb_buf_add_str(dst, "'\\''");
		else
			fb_buf_add(dst, word, 1);
	fb_buf_add_str(dst, "'");
}

char **
fb_libvirt_far_words(const struct fb_libvirt_far *far, const char *script,
    const char *const *args)
{
	char **words = fb_alloc(far->count + 2, sizeof(*words));
	FB_AUTO_BUF struct fb_buf command = { 0 };

	fb_buf_add_str(&command, "exec sh -c");
	add_quoted(&command, script);
	add_quoted(&command, "fleetbak");
	for (size_t i = 0; args[i] != NULL; i++)
		add_quoted(&command, args[i]);
	for (size_t i = 0; i < far->count; i++)
		words[i] = fb_strdup(far->words[i]);
	words[far->count] = fb_strdup(fb_buf_str(&command));
	return words;
}

void
fb_libvirt_far_words_free(char ***words)
{
	for (size_t i = 0; *words != NULL && (*words)[i] != NULL; i++)
		free((*words)[i]);
	free(*words);
	*words = NULL;
}

static int
fail_run(const struct fb_libvirt_far *far, const char *what,
    const struct fb_child_result *result, struct fb_error *err)
{
	const char *said = fb_buf_str((struct fb_buf *)&result->err);

	if (result->timed_out)
		return fb_fail(err, FB_ETIMEOUT,
		    "cannot %s on '%s': it does not answer", what, far->host);
	if (result->exit_code == FB_FAR_NOTHING)
		return fb_fail(err, FB_ENOTFOUND,
		    "cannot %s on '%s': it is not there", what, far->host);
	if (result->exit_code != SSH_FAILED)
		return fb_fail(err,
		    strstr(said, "No space left") != NULL ? FB_ENOSPACE
		                                          : FB_EFAILED,
		    "cannot %s on '%s': %s", what, far->host, said);
	(void)fb_fail_id(err, FB_EUNREACH, "E-SRC-UNREACHABLE",
	    "cannot %s on '%s': ssh: %s", what, far->host, said);
	return fb_hint(err, "ssh to it as the source says, without a "
	                    "password, has to work");
}

int
fb_libvirt_far_run(const struct fb_libvirt_far *far, const char *what,
    const char *script, const char *const *args, struct fb_span input,
    size_t max, struct fb_buf *dst, struct fb_error *err)
{
	FB_AUTO_WORDS char **words = fb_libvirt_far_words(far, script, args);
	FB_AUTO_CHILD struct fb_child_result result = { 0 };
	struct fb_child_spec spec = {
		.argv = (const char *const *)words,
		.timeout_ms = RUN_MS + (input.len + max) / PER_MS,
		.lock_fd = -1,
		.input = input,
		.stdout_max = max > 0 ? max : 1,
	};
	int rc = fb_child_run(&spec, &result, err);

	if (rc == FB_ENOTFOUND)
		return fb_hint(err, "install openssh-client");
	if (rc < 0)
		return fb_wrap(err, "%s", what);
	if (result.exit_code != 0)
		return fail_run(far, what, &result, err);
	if (dst != NULL)
		fb_buf_add(dst, result.out.data, result.out.len);
	return FB_OK;
}

char **
fb_libvirt_far_to_socket(const struct fb_libvirt_far *far, const char *socket)
{
	const char *const args[] = { socket, NULL };

	return fb_libvirt_far_words(far, to_socket, args);
}

/* What the directories of an image's servers begin with. */
static char *
name_of(const struct fb_libvirt_far *far, const char *path)
{
	FB_AUTO_FREE char *text = fb_format("%s\n%s\n", far->mark, path);
	char hex[FB_DIGEST_HEX_SIZE];
	struct fb_digest digest;

	fb_digest_of((struct fb_span){ (const uint8_t *)text, strlen(text) },
	    &digest);
	fb_digest_hex(&digest, hex);
	return fb_format("fleetbak-%.*s", NAME_DIGITS, hex);
}

char **
fb_libvirt_far_to_image(const struct fb_libvirt_far *far, const char *path,
    const char *format, bool write, const char *bitmap)
{
	FB_AUTO_FREE char *name = name_of(far, path);
	const char *const args[] = { path, format,
		write ? "--discard=unmap" : "--read-only",
		bitmap != NULL ? bitmap : "", name, NULL };

	return fb_libvirt_far_words(far, to_image, args);
}

int
fb_libvirt_far_end_image(const struct fb_libvirt_far *far, const char *path,
    struct fb_error *err)
{
	FB_AUTO_FREE char *name = name_of(far, path);
	FB_AUTO_FREE char *what = fb_format("let go of '%s'", path);
	const char *const args[] = { name, NULL };

	return fb_libvirt_far_run(far, what, end_image, args,
	    (struct fb_span){ 0 }, 0, NULL, err);
}

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fleetbak/base/child.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/log.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/base/text.h"
#include "fleetbak/crypto/sign.h"

#define CREDENTIALS_DIR   "/etc/fleetbak/credentials"
#define COMMAND_TIME_MS   60000
#define COMMAND_WORDS_MAX 64

enum form { FORM_FILE, FORM_ENV, FORM_CMD, FORM_FD, FORM_CRED, FORMS };

static const char *const prefixes[FORMS] = {
	[FORM_FILE] = "file:",
	[FORM_ENV] = "env:",
	[FORM_CMD] = "cmd:",
	[FORM_FD] = "fd:",
	[FORM_CRED] = "cred:",
};

/* Nothing of the reference stands in the message: what is not a reference
 * may be the secret itself. */
static int
bad_reference(const char *why, struct fb_error *err)
{
	(void)fb_fail_id(err, FB_ECONFIG, "E-SECRET-REF",
	    "not a reference to a secret: %s", why);
	return fb_hint(err,
	    "secrets do not stand in the configuration; write file:PATH, "
	    "env:NAME, cmd:PROGRAM ARG..., fd:N or cred:NAME");
}

static struct fb_span
span_of(const char *text)
{
	return (struct fb_span){ (const uint8_t *)text, strlen(text) };
}

static bool
is_variable(const char *name)
{
	return name[strspn(name,
	           "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	           "0123456789_")] == '\0';
}

static int
split(const char *reference, enum form *ret_form, const char **ret_rest,
    struct fb_error *err)
{
	uint64_t fd;

	for (enum form form = 0; form < FORMS; form++) {
		size_t len = strlen(prefixes[form]);
		const char *rest = reference + len;

		if (strncmp(reference, prefixes[form], len) != 0)
			continue;
		if (rest[strspn(rest, " ")] == '\0')
			return bad_reference("nothing after the colon", err);
		if (form == FORM_FD &&
		    fb_text_u64(span_of(rest), INT_MAX, &fd, err) < 0)
			return bad_reference("fd: wants a number", err);
		if (form == FORM_ENV && !is_variable(rest))
			return bad_reference("env: wants a variable", err);
		if (form == FORM_CRED && !fb_name_ok(rest, strlen(rest)))
			return bad_reference("cred: wants a name", err);
		*ret_form = form;
		*ret_rest = rest;
		return FB_OK;
	}
	return bad_reference("it has none of the known forms", err);
}

int
fb_secret_check(const char *reference, struct fb_error *err)
{
	const char *rest;
	enum form form;

	return split(reference, &form, &rest, err);
}

/* A failure to read is the key's, whatever the system called it. */
static int
as_key_error(struct fb_error *err)
{
	err->code = FB_EKEY;
	err->id = "E-KEY";
	return FB_EKEY;
}

/* `others`: the bits of a mode that a private key must not have. */
static int
check_file(int fd, const char *path, mode_t others, struct fb_error *err)
{
	struct stat st;

	if (fstat(fd, &st) == -1) {
		(void)fb_fail_sys(err, "cannot read '%s'", path);
		return as_key_error(err);
	}
	if (!S_ISREG(st.st_mode))
		return fb_fail(err, FB_EKEY, "'%s' is not a file", path);
	if ((st.st_mode & others) != 0) {
		(void)fb_fail_id(err, FB_EKEY, "E-KEY-MODE",
		    "'%s' is open to others than its owner (mode %04o)", path,
		    (unsigned)st.st_mode & 07777);
		return fb_hint(err, "chmod 600 '%s'", path);
	}
	return FB_OK;
}

static int
read_path(
    const char *path, mode_t others, struct fb_buf *dst, struct fb_error *err)
{
	FB_AUTO_CLOSE int fd =
	    fb_io_open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, err);
	int rc;

	if (fd < 0)
		return as_key_error(err);
	rc = check_file(fd, path, others, err);
	if (rc == FB_OK &&
	    fb_io_read_all(fd, path, FB_SECRET_MAX, dst, err) < 0)
		rc = as_key_error(err);
	return rc;
}

static bool
is_blank(struct fb_span text)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.ptr[i] > ' ')
			return false;
	return true;
}

/*
 * Where systemd gives a file of root's to another user by an access list, the
 * list's mask stands where the group's bits are; the directory is closed to
 * all others.  Units of ours get an empty line for a file that is missing.
 */
static int
read_credential(const char *name, bool private_key, struct fb_buf *dst,
    struct fb_error *err)
{
	const char *given = getenv("CREDENTIALS_DIRECTORY");
	bool by_systemd = given != NULL && *given != '\0';
	FB_AUTO_FREE char *path =
	    fb_path_join(by_systemd ? given : CREDENTIALS_DIR, name);
	mode_t others = !private_key ? 0 : by_systemd ? 037 : 077;
	size_t before = dst->len;
	int rc = read_path(path, others, dst, err);

	if (rc < 0 ||
	    !is_blank((struct fb_span){
	        dst->data + before, dst->len - before }))
		return rc;
	(void)fb_fail_id(err, FB_EKEY, "E-KEY", "'%s' is empty", path);
	return by_systemd ? fb_hint(err,
	                        "was " CREDENTIALS_DIR "/%s there when the "
	                        "service was started?",
	                        name)
	                  : err->code;
}

static int
read_env(const char *name, struct fb_buf *dst, struct fb_error *err)
{
	const char *value = getenv(name);

	if (value == NULL)
		return fb_fail(err, FB_EKEY,
		    "the environment variable of 'env:' is not set");
	if (strlen(value) > FB_SECRET_MAX)
		return fb_fail(err, FB_EKEY, "'env:%s' is too long", name);
	fb_buf_add_str(dst, value);
	return FB_OK;
}

/*
 * A descriptor gives its bytes once, and a key is wanted more than once:
 * before the first stop, and to sign at the end.  So they are kept, for as
 * long as the process lives.
 */
struct kept {
	struct kept *next;
	uint64_t fd;
	struct fb_buf bytes;
};

static pthread_mutex_t kept_lock = PTHREAD_MUTEX_INITIALIZER;
static struct kept *kept_first;

static int
keep_fd(uint64_t fd, const char *number, const struct kept **ret_kept,
    struct fb_error *err)
{
	FB_AUTO_SECRET struct fb_buf bytes = { 0 };
	struct kept *kept = kept_first;

	while (kept != NULL && kept->fd != fd)
		kept = kept->next;
	if (kept == NULL) {
		(void)fb_buf_reserve(&bytes, FB_SECRET_MAX + 65536);
		if (fb_io_read_all(
		        (int)fd, number, FB_SECRET_MAX, &bytes, err) < 0)
			return as_key_error(err);
		kept = fb_alloc(1, sizeof(*kept));
		*kept = (struct kept){ kept_first, fd, bytes };
		bytes = (struct fb_buf){ 0 };
		kept_first = kept;
	}
	*ret_kept = kept;
	return FB_OK;
}

static int
read_fd(const char *number, struct fb_buf *dst, struct fb_error *err)
{
	const struct kept *kept;
	uint64_t fd;
	int rc = fb_text_u64(span_of(number), INT_MAX, &fd, err);

	if (rc < 0)
		return rc;
	(void)pthread_mutex_lock(&kept_lock);
	rc = keep_fd(fd, number, &kept, err);
	if (rc == FB_OK)
		fb_buf_add(dst, kept->bytes.data, kept->bytes.len);
	(void)pthread_mutex_unlock(&kept_lock);
	return rc;
}

/* The words of `text`, which is cut up; false when there are too many. */
static bool
split_words(char *text, const char *words[COMMAND_WORDS_MAX + 1])
{
	size_t count = 0;

	for (;;) {
		text += strspn(text, " ");
		if (*text == '\0')
			break;
		if (count == COMMAND_WORDS_MAX)
			return false;
		words[count++] = text;
		text += strcspn(text, " ");
		if (*text != '\0')
			*text++ = '\0';
	}
	words[count] = NULL;
	return true;
}

static int
read_command(const char *command, const char *dir, struct fb_buf *dst,
    struct fb_error *err)
{
	FB_AUTO_FREE char *text = fb_strdup(command);
	const char *words[COMMAND_WORDS_MAX + 1];
	struct fb_child_spec spec = { .argv = words,
		.dir = dir,
		.timeout_ms = COMMAND_TIME_MS,
		.lock_fd = -1,
		.stdout_max = FB_SECRET_MAX };
	struct fb_child_result result = { 0 };
	int rc;

	if (!split_words(text, words))
		return bad_reference("cmd: has too many words", err);
	/* Room for all of it now: growing would leave copies behind. */
	(void)fb_buf_reserve(&result.out, 2 * FB_SECRET_MAX);
	rc = fb_child_run(&spec, &result, err);
	if (rc < 0)
		rc = as_key_error(err);
	else if (result.exit_code != 0)
		rc = fb_fail(err, FB_EKEY, "'%s' %s (exit %d, signal %d)",
		    words[0], result.timed_out ? "took too long" : "failed",
		    result.exit_code, result.signal);
	else
		fb_buf_add(dst, result.out.data, result.out.len);
	fb_secret_release(&result.out);
	fb_child_result_release(&result);
	return rc;
}

int
fb_secret_read(const char *reference, const char *base_dir, bool private_key,
    struct fb_buf *dst, struct fb_error *err)
{
	FB_AUTO_FREE char *path = NULL;
	size_t before = dst->len;
	const char *rest;
	enum form form;
	int rc = split(reference, &form, &rest, err);

	if (rc < 0)
		return rc;
	/* As in read_command(); 65536 is what a read takes at once. */
	(void)fb_buf_reserve(dst, FB_SECRET_MAX + 65536);
	switch (form) {
	case FORM_FILE:
		path = fb_path_join(base_dir != NULL ? base_dir : "", rest);
		rc = read_path(path, private_key ? 077 : 0, dst, err);
		break;
	case FORM_ENV:
		rc = read_env(rest, dst, err);
		break;
	case FORM_CMD:
		rc = read_command(rest, base_dir, dst, err);
		break;
	case FORM_FD:
		rc = read_fd(rest, dst, err);
		break;
	default:
		rc = read_credential(rest, private_key, dst, err);
		break;
	}
	if (rc == FB_OK && dst->len == before)
		rc = fb_fail(err, FB_EKEY, "it is empty");
	if (rc < 0) {
		dst->len = before;
		return fb_wrap(err, "secret '%.*s...'",
		    (int)strlen(prefixes[form]), prefixes[form]);
	}
	if (private_key) /* it is not to stand in any text */
		fb_redact_add((struct fb_span){ dst->data + before,
		    dst->len - before });
	return FB_OK;
}

void
fb_secret_release(struct fb_buf *secret)
{
	if (secret->data != NULL)
		explicit_bzero(secret->data, secret->cap);
	fb_buf_release(secret);
}

/* One run of the `icp` command: its arguments, its deadline, its end. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/log.h"
#include "fleetbak/base/mem.h"

#include "icp_internal.h"

/* Of what it wrote to standard error, what stands in a message. */
#define SHOWN_MAX 300

/* Asked about itself it asks nobody. */
#define VERSION_MS 30000

#define ARGS_MAX 24

struct fb_icp_how
fb_icp_how(const struct fb_verb *verb, uint64_t timeout_ms)
{
	return (struct fb_icp_how){ .timeout_ms = timeout_ms,
		.cancel = verb->cancel,
		.lock_fd = verb->lock_fd };
}

struct fb_icp_how
fb_icp_plain(uint64_t timeout_ms)
{
	return (struct fb_icp_how){ .timeout_ms = timeout_ms, .lock_fd = -1 };
}

void
fb_icp_wait(uint64_t ms, const atomic_bool *cancel)
{
	int64_t until = fb_clock_mono_ns() + (int64_t)ms * INT64_C(1000000);

	while (fb_clock_mono_ns() < until &&
	    !(cancel != NULL && atomic_load(cancel)))
		fb_clock_wait(until);
}

/* ------------------------------------------------------------- its words */

/* The last of what it said on standard error, on one line. */
static void
last_words(struct fb_buf *said, struct fb_buf *ret_words)
{
	size_t len, from;

	fb_redact(said);
	len = said->len;
	while (len > 0 && strchr("\r\n ", said->data[len - 1]) != NULL)
		len--;
	from = len > SHOWN_MAX ? len - SHOWN_MAX : 0;
	while (from < len && (said->data[from] & 0xc0) == 0x80)
		from++; /* not in the middle of a character of UTF-8 */
	for (; from < len; from++) {
		uint8_t byte = said->data[from];

		if (byte == '\n' || byte == '\r' || byte == '\0')
			byte = ' ';
		fb_buf_add(ret_words, &byte, 1);
	}
}

static bool
says(const char *words, const char *const *any)
{
	for (; *any != NULL; any++)
		if (strcasestr(words, *any) != NULL)
			return true;
	return false;
}

/* Does a sentence of `words` begin at `at`? */
static bool
begins_sentence(const char *words, const char *at)
{
	static const char *const before[] = { ": ", "reject message " };

	for (size_t i = 0; i < FB_COUNT(before); i++) {
		size_t len = strlen(before[i]);

		if ((size_t)(at - words) >= len &&
		    memcmp(at - len, before[i], len) == 0)
			return true;
	}
	return at == words;
}

static bool
ends_sentence(const char *at)
{
	return at[0] == '\0' ||
	    (strchr(".,;", at[0]) != NULL &&
	        (at[1] == '\0' || at[1] == ' '));
}

/* Takes `sentence`. */
static bool
says_sentence(const char *words, char *sentence)
{
	FB_AUTO_FREE char *taken = sentence;
	size_t len = strlen(taken);
	const char *at = words;

	for (; (at = strcasestr(at, taken)) != NULL; at++)
		if (begins_sentence(words, at) && ends_sentence(at + len))
			return true;
	return false;
}

/*
 * Is what was asked about not there?  An identity, an environment or a file
 * may be not found too, and then nothing is known of the canister: only a
 * whole sentence that names the canister, or its snapshot, says so.
 */
static bool
says_gone(const char *words, const char *const *asked)
{
	bool of_snapshot =
	    asked[0] != NULL && strcmp(asked[0], "snapshot") == 0;
	const char *id = asked[0] == NULL ? NULL
	    : !of_snapshot                ? asked[1]
	    : asked[1] != NULL            ? asked[2]
	                                  : NULL;
	const char *snapshot = of_snapshot && id != NULL ? asked[3] : NULL;

	if (id == NULL)
		return false;
	if (says_sentence(words, fb_format("canister %s not found", id)) ||
	    says_sentence(words, fb_format("canister %s was not found", id)) ||
	    says_sentence(words,
	        fb_format("canister %s (%s) was not found", id, id)))
		return true;
	return snapshot != NULL && snapshot[0] != '-' &&
	    (says_sentence(
	         words, fb_format("snapshot %s not found", snapshot)) ||
	        says_sentence(words,
	            fb_format("snapshot %s was not found", snapshot)) ||
	        says_sentence(words,
	            fb_format("could not find the snapshot ID %s in "
	                      "canister %s",
	                snapshot, id)));
}

/*
 * Was nothing done, and will nothing be?  It says so of what it looks at before
 * it sends anything, and the platform does when it rejects what was sent.  A
 * network that was lost says nothing: the call may be on its way.
 */
static bool
says_refused(const char *words)
{
	static const char *const refused[] = { "error: unexpected argument",
		"error: unrecognized subcommand",
		"Error: no identity found with name",
		"Error: failed to load identity",
		"Error: project does not contain an environment named",
		"is currently running. Please stop",
		"is still stopping. Please wait",
		"rejection error: reject code CanisterError",
		"rejection error: reject code CanisterReject",
		"rejection error: reject code DestinationInvalid",
		"rejection error: reject code SysFatal", NULL };

	return says(words, refused);
}

/* It always ends with 1; only its words tell one reason from another. */
static int
in_words(const char *what, const char *const *asked, int exit_code,
    const char *words, struct fb_error *err)
{
	static const char *const denied[] = { "IC0512",
		"not a controller", "not one of the controllers",
		"only controllers of", NULL };

	if (says_gone(words, asked))
		return fb_fail(
		    err, FB_ENOTFOUND, "icp %s says: %s", what, words);
	if (says(words, denied)) {
		(void)fb_fail_id(err, FB_EDENIED, "E-ICP-CONTROLLER",
		    "icp %s says: %s", what, words);
		return fb_hint(
		    err, "give the source an identity that is a controller");
	}
	return fb_fail_id(err, FB_EFAILED, "E-ICP-FAILED",
	    "icp %s ended with exit code %d%s%s", what, exit_code,
	    words[0] != '\0' ? "; it said: " : "", words);
}

static int
judge(const char *what, const char *const *asked, uint64_t timeout_ms,
    struct fb_child_result *result, bool *ret_refused, struct fb_error *err)
{
	FB_AUTO_BUF struct fb_buf words = { 0 };

	if (result->canceled)
		return fb_fail(err, FB_ECANCELED, "canceled");
	if (result->timed_out)
		return fb_fail_id(err, FB_ETIMEOUT, "E-ICP-TIMEOUT",
		    "icp %s did not end within %llu ms and was killed", what,
		    (unsigned long long)timeout_ms);
	if (result->signal != 0)
		return fb_fail_id(err, FB_EUNKNOWN, "E-ICP-FAILED",
		    "icp %s was ended by signal %d", what, result->signal);
	if (result->exit_code == 0)
		return FB_OK;
	last_words(&result->err, &words);
	if (ret_refused != NULL)
		*ret_refused = says_refused(fb_buf_str(&words));
	return in_words(
	    what, asked, result->exit_code, fb_buf_str(&words), err);
}

/* ----------------------------------------------------------- the command */

struct arguments {
	const char *items[ARGS_MAX + 1];
	size_t count;
};

static void
add(struct arguments *args, const char *word)
{
	if (args->count < ARGS_MAX)
		args->items[args->count++] = word;
}

static void
add_option(struct arguments *args, const char *option, const char *value)
{
	if (value == NULL)
		return;
	add(args, option);
	add(args, value);
}

/* What is about every command stands before it, and where it is sent after
 * it. */
static void
make_arguments(const struct fb_icp *icp, const char *const *words,
    struct arguments *args)
{
	add(args, icp->command);
	add_option(args, "--identity-password-file", icp->password_file);
	add_option(args, "--project-root-override", icp->project);
	add(args, "canister");
	while (*words != NULL)
		add(args, *words++);
	add_option(args, "-e", icp->environment);
	add_option(args, "-n", icp->network);
	add_option(args, "-k", icp->root_key);
	add_option(args, "--identity", icp->identity);
}

static int
start(const struct fb_icp *icp, const struct arguments *args,
    const char *what, const struct fb_icp_how *how, uint64_t timeout_ms,
    struct fb_child_result *result, struct fb_error *err)
{
	struct fb_child_spec spec = { .argv = args->items,
		.dir = icp->dir,
		.timeout_ms = timeout_ms,
		.lock_fd = how->lock_fd,
		.cancel = how->cancel,
		.stdout_max =
		    how->answer_max > 0 ? how->answer_max : FB_ICP_ANSWER_MAX };
	struct fb_error why = { 0 };
	int rc = fb_child_run(&spec, result, &why);

	if (rc == FB_EPROTO)
		return fb_fail_id(err, FB_EPROTO, "E-ICP-ANSWER",
		    "icp %s says more than %zu bytes", what,
		    spec.stdout_max);
	if (rc == FB_OK)
		return FB_OK;
	(void)fb_fail_id(err, FB_EUNREACH, "E-ICP-COMMAND",
	    "the icp command cannot be started: %s", why.msg);
	return fb_hint(err, "install it, or name it: icp of the source");
}

int
fb_icp_gate(struct fb_icp *icp, struct fb_error *err)
{
	struct arguments args = { { icp->command, "--version" }, 2 };
	struct fb_icp_how how = fb_icp_plain(VERSION_MS);
	const char *const nobody[] = { NULL };
	FB_AUTO_CHILD struct fb_child_result result = { 0 };
	bool known;
	int rc;

	(void)pthread_mutex_lock(&icp->lock);
	known = icp->version_ok;
	(void)pthread_mutex_unlock(&icp->lock);
	if (known)
		return FB_OK;
	rc = start(
	    icp, &args, "--version", &how, VERSION_MS, &result, err);
	if (rc == FB_OK)
		rc = judge("--version", nobody, VERSION_MS, &result, NULL, err);
	if (rc == FB_OK)
		rc = fb_icp_check_version(fb_buf_span(&result.out), err);
	if (rc < 0)
		return rc;
	(void)pthread_mutex_lock(&icp->lock);
	icp->version_ok = true;
	(void)pthread_mutex_unlock(&icp->lock);
	return FB_OK;
}

/* "canister snapshot create ID", for messages. */
static char *
name_words(const char *const *words)
{
	FB_AUTO_BUF struct fb_buf text = { 0 };

	fb_buf_add_str(&text, "canister");
	for (; *words != NULL && (*words)[0] != '-'; words++)
		fb_buf_add_fmt(&text, " %s", *words);
	return (char *)fb_buf_steal(&text);
}

int
fb_icp_run(struct fb_icp *icp, const char *const *words,
    const struct fb_icp_how *how, struct fb_buf *ret_answer,
    struct fb_error *err)
{
	uint64_t timeout_ms =
	    how->timeout_ms > 0 ? how->timeout_ms : icp->command_ms;
	FB_AUTO_FREE char *what = name_words(words);
	FB_AUTO_CHILD struct fb_child_result result = { 0 };
	struct arguments args = { .count = 0 };
	int rc = fb_icp_gate(icp, err);

	if (rc < 0)
		return rc;
	make_arguments(icp, words, &args);
	rc = start(icp, &args, what, how, timeout_ms, &result, err);
	if (rc == FB_OK)
		rc = judge(what, words, timeout_ms, &result,
		    how->ret_refused, err);
	if (rc == FB_OK && ret_answer != NULL)
		fb_buf_add(ret_answer, result.out.data, result.out.len);
	return rc;
}

int
fb_icp_ask(struct fb_icp *icp, const char *const *words,
    const struct fb_icp_how *how, struct fb_buf *ret_answer,
    struct fb_error *err)
{
	int rc = fb_icp_run(icp, words, how, ret_answer, err);

	if (rc == FB_EFAILED || rc == FB_EUNKNOWN)
		rc = err->code = FB_EUNREACH;
	return rc;
}

/* ------------------------------------------------------------- questions */

int
fb_icp_status(struct fb_icp *icp, const char *id,
    const struct fb_icp_how *how, struct fb_icp_status *ret_status,
    struct fb_error *err)
{
	const char *const words[] = { "status", id, "--json", NULL };
	FB_AUTO_BUF struct fb_buf answer = { 0 };
	int rc = fb_icp_ask(icp, words, how, &answer, err);

	return rc < 0 ? rc
	              : fb_icp_parse_status(
	                    fb_buf_span(&answer), id, ret_status, err);
}

int
fb_icp_inventory(struct fb_icp *icp, const char *id,
    const struct fb_icp_how *how, struct fb_icp_inventory *ret_inventory,
    struct fb_error *err)
{
	const char *const words[] = { "snapshot", "list", id, "--json",
		NULL };
	FB_AUTO_BUF struct fb_buf answer = { 0 };
	struct fb_icp_how larger = *how;
	int rc;

	larger.answer_max = (size_t)1 << 20;
	rc = fb_icp_ask(icp, words, &larger, &answer, err);
	return rc < 0 ? rc
	              : fb_icp_parse_inventory(
	                    fb_buf_span(&answer), ret_inventory, err);
}

int
fb_icp_delete_snapshot(struct fb_icp *icp, const char *id,
    const char *snapshot, const struct fb_icp_how *how, struct fb_error *err)
{
	const char *const words[] = { "snapshot", "delete", id, snapshot,
		NULL };
	FB_AUTO_ICP_INVENTORY struct fb_icp_inventory now = { 0 };
	struct fb_error ignored = { 0 };
	int rc = fb_icp_inventory(icp, id, how, &now, err);

	if (rc < 0 || fb_icp_inventory_find(&now, snapshot) == NULL)
		return rc;
	rc = fb_icp_run(icp, words, how, NULL, err);
	if (rc == FB_OK || rc == FB_ECANCELED)
		return rc;
	fb_icp_inventory_release(&now);
	if (fb_icp_inventory(icp, id, how, &now, &ignored) < 0 ||
	    fb_icp_inventory_find(&now, snapshot) != NULL)
		return rc;
	*err = (struct fb_error){ 0 };
	return FB_OK;
}

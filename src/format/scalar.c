/*
 * One scalar's text, judged by the row of the table it belongs to.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/base/text.h"
#include "fleetbak/crypto/sign.h"

#include "schema.h"

#define TEXT_MAX     4096
#define ARGUMENT_MAX 65536

#define DIGITS "0123456789"

int
fb_scalar_fail(const struct fb_scalar *in, const char *id, struct fb_error *err,
    const char *fmt, ...)
{
	char why[256];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(why, sizeof(why), fmt, args);
	va_end(args);
	return fb_fail_id(err, FB_ECONFIG, id, "%s: %s '%.64s': %s", in->place,
	    in->what, in->text, why);
}

static int
check_integer(
    const struct fb_scalar *in, json_t **ret_value, struct fb_error *err)
{
	size_t digits = strspn(in->text, DIGITS);
	struct fb_span text = { (const uint8_t *)in->text, strlen(in->text) };
	uint64_t number;

	if (digits == 0 || digits != text.len ||
	    (digits > 1 && in->text[0] == '0'))
		return fb_scalar_fail(in, "E-CFG-TYPE", err,
		    "not a whole number in decimal digits");
	if (fb_text_u64(text, in->row->max, &number, err) < 0 ||
	    number < in->row->min)
		return fb_scalar_fail(in, "E-CFG-RANGE", err,
		    "must be %llu to %llu", (unsigned long long)in->row->min,
		    (unsigned long long)in->row->max);
	*ret_value = json_integer((json_int_t)number);
	return FB_OK;
}

static int
check_boolean(
    const struct fb_scalar *in, json_t **ret_value, struct fb_error *err)
{
	if (strcmp(in->text, "true") == 0)
		*ret_value = json_true();
	else if (strcmp(in->text, "false") == 0)
		*ret_value = json_false();
	else
		return fb_scalar_fail(
		    in, "E-CFG-TYPE", err, "write true or false");
	return FB_OK;
}

/* The two mistakes everybody makes have answers of their own. */
static int
check_span(const struct fb_scalar *in, struct fb_error *err)
{
	size_t digits = strspn(in->text, DIGITS ".");
	uint64_t ms;
	struct fb_error why;

	if (digits > 0 && in->text[digits] == '\0')
		return fb_scalar_fail(in, "E-CFG-UNIT", err,
		    "needs a unit: 30s, 5min, 26h, 7d");
	if (digits > 0 && strcmp(in->text + digits, "m") == 0)
		return fb_scalar_fail(in, "E-CFG-UNIT", err, "write min or mo");
	if (fb_text_span(in->text, &ms, &why) < 0)
		return fb_scalar_fail(in, "E-CFG-UNIT", err,
		    "not a span of time: write 30s, 5min, 26h, 7d");
	if (ms < in->row->min)
		return fb_scalar_fail(in, "E-CFG-RANGE", err,
		    "must be at least %llu ms",
		    (unsigned long long)in->row->min);
	return FB_OK;
}

static int
check_size(const struct fb_scalar *in, struct fb_error *err)
{
	uint64_t bytes;
	struct fb_error why;

	if (fb_text_size(in->text, &bytes, &why) < 0)
		return fb_scalar_fail(in, "E-CFG-UNIT", err,
		    "not a size: write 512, 64KiB, 1.5GiB, 10MB");
	return FB_OK;
}

static int
check_rate(const struct fb_scalar *in, struct fb_error *err)
{
	uint64_t bytes;
	struct fb_error why;

	if (fb_text_rate(in->text, &bytes, &why) < 0)
		return fb_scalar_fail(in, "E-CFG-UNIT", err,
		    "not a rate: write 20MiB/s, or 160Mbit/s");
	if (bytes < 1024)
		return fb_scalar_fail(
		    in, "E-CFG-RANGE", err, "must be 1KiB/s at least");
	return FB_OK;
}

/* A rate, which is most of them, or windows of time. */
static int
check_limits(const struct fb_scalar *in, struct fb_error *err)
{
	struct fb_limits limits;

	if (strpbrk(in->text, " ,") == NULL &&
	    strcmp(in->text, FB_LIMIT_UNLIMITED) != 0)
		return check_rate(in, err);
	if (fb_limits_parse(in->text, &limits, err) < 0)
		return fb_wrap(err, "%s: %s", in->place, in->what);
	return FB_OK;
}

static int
check_choice(const struct fb_scalar *in, struct fb_error *err)
{
	const char *const *choices = in->row->choices;
	FB_AUTO_BUF struct fb_buf known = { 0 };
	const char *near;
	size_t count = 0;

	for (; choices[count] != NULL; count++) {
		if (strcmp(in->text, choices[count]) == 0)
			return FB_OK;
		fb_buf_add_fmt(&known, "%s%s", count == 0 ? "" : ", ",
		    choices[count]);
	}
	near = fb_name_nearest(in->text, choices, count);
	(void)fb_scalar_fail(in, "E-CFG-REFERENCE", err,
	    "unknown; known are: %s", fb_buf_str(&known));
	return near[0] == '\0' ? FB_ECONFIG
	                       : fb_hint(err, "did you mean '%s'?", near);
}

static int
check_name(const struct fb_scalar *in, const char *text, size_t len,
    struct fb_error *err)
{
	if (fb_name_ok(text, len))
		return FB_OK;
	return fb_scalar_fail(in, "E-NAME", err,
	    "not a name: 1 to %d of A-Z a-z 0-9 . _ -, the first one a letter, "
	    "a digit or _",
	    FB_NAME_MAX);
}

/* [source/]id */
static int
check_machine(const struct fb_scalar *in, struct fb_error *err)
{
	const char *slash = strchr(in->text, '/');
	int rc = FB_OK;

	if (slash != NULL)
		rc = check_name(in, in->text, (size_t)(slash - in->text), err);
	if (rc == FB_OK) {
		const char *id = slash != NULL ? slash + 1 : in->text;

		rc = check_name(in, id, strlen(id), err);
	}
	return rc;
}

/* key or key=value */
static int
check_label(const struct fb_scalar *in, struct fb_error *err)
{
	size_t key = strcspn(in->text, "=");

	if (in->text[key] == '=' && in->text[key + 1] == '\0')
		return fb_scalar_fail(in, "E-CFG-TYPE", err,
		    "write key, or key=value with a value");
	return check_name(in, in->text, key, err);
}

static int
check_timezone(const struct fb_scalar *in, struct fb_error *err)
{
	static const char allowed[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" DIGITS
	    "_+-/";
	size_t len = strlen(in->text);

	if (len == 0 || len > 64 || strspn(in->text, allowed) != len ||
	    in->text[0] == '/' || strstr(in->text, "//") != NULL ||
	    in->text[len - 1] == '/')
		return fb_scalar_fail(in, "E-CFG-TYPE", err,
		    "not a time zone: write Europe/Berlin or UTC");
	if (!fb_clock_zone_known(in->text))
		return fb_scalar_fail(in, "E-CFG-REFERENCE", err,
		    "this host knows no such time zone");
	return FB_OK;
}

/* Absolute, without "." parts, doubled and trailing slashes. */
static char *
absolute_path(const char *base_dir, const char *path)
{
	FB_AUTO_FREE char *joined = fb_path_join(base_dir, path);
	FB_AUTO_BUF struct fb_buf out = { 0 };

	for (const char *at = joined; *at != '\0';) {
		size_t len = strcspn(at, "/");

		if (len > 0 && !(len == 1 && at[0] == '.')) {
			fb_buf_add_str(&out, "/");
			fb_buf_add(&out, at, len);
		}
		at += len + (at[len] == '/');
	}
	if (out.len == 0)
		fb_buf_add_str(&out, "/");
	return (char *)fb_buf_steal(&out);
}

static int
check_path(
    const struct fb_scalar *in, json_t **ret_value, struct fb_error *err)
{
	FB_AUTO_FREE char *path = NULL;

	if (in->text[0] == '\0')
		return fb_scalar_fail(in, "E-CFG-TYPE", err, "the path is empty");
	path = absolute_path(in->base_dir, in->text);
	*ret_value = json_string(path);
	return FB_OK;
}

/* Kept as written: what it is relative to, the reader knows. */
static int
check_raw_path(const struct fb_scalar *in, struct fb_error *err)
{
	for (const char *at = in->text; *at != '\0';) {
		size_t len = strcspn(at, "/");

		if (len == 2 && memcmp(at, "..", 2) == 0)
			return fb_scalar_fail(in, "E-PATH", err,
			    "must not contain '..': write where it really is");
		at += len + (at[len] == '/');
	}
	if (in->text[0] == '\0')
		return fb_scalar_fail(in, "E-PATH", err, "the path is empty");
	return FB_OK;
}

static int
check_url(const struct fb_scalar *in, json_t **ret_value, struct fb_error *err)
{
	FB_AUTO_FREE char *path = NULL;
	FB_AUTO_FREE char *url = NULL;
	const char *rest = in->text + strlen("file:");

	if (strncmp(in->text, "s3:", strlen("s3:")) == 0)
		return fb_scalar_check_bucket(in, ret_value, err);
	if (strncmp(in->text, "file:", strlen("file:")) != 0) {
		(void)fb_scalar_fail(in, "E-CFG-REFERENCE", err,
		    "unknown kind of repository; known are: file:PATH, "
		    "s3://BUCKET/PREFIX");
		return fb_hint(err, "write \"file:./repo\" for a directory "
		                    "beside the configuration");
	}
	if (strncmp(rest, "//", 2) == 0 && rest[2] != '/')
		return fb_scalar_fail(in, "E-CFG-REFERENCE", err,
		    "a file: URL has no host: write file:/path or file:./path");
	if (rest[0] == '\0')
		return fb_scalar_fail(
		    in, "E-CFG-TYPE", err, "the path is empty");
	path = absolute_path(in->base_dir, rest);
	url = fb_format("file:%s", path);
	*ret_value = json_string(url);
	return FB_OK;
}

/* The value may be the secret itself: no message shows it. */
static int
check_secret(const struct fb_scalar *in, struct fb_error *err)
{
	struct fb_error why;

	if (fb_secret_check(in->text, &why) == FB_OK)
		return FB_OK;
	(void)fb_fail_id(err, FB_ECONFIG, "E-CFG-SECRET",
	    "%s: %s: not a reference to a secret, and a secret itself does not "
	    "belong here (value not shown)",
	    in->place, in->what);
	return fb_hint(err, "write file:PATH, env:NAME, cmd:PROGRAM ARG..., "
	                    "fd:NUMBER or cred:NAME");
}

static int
check_policy(const struct fb_scalar *in, struct fb_error *err)
{
	struct fb_retention policy;

	if (fb_retention_parse(in->text, &policy, err) < 0)
		return fb_wrap(err, "%s: %s", in->place, in->what);
	return FB_OK;
}

static int
check_orphans(const struct fb_scalar *in, struct fb_error *err)
{
	size_t keep = strlen("keep ");
	uint64_t ms = 0;
	struct fb_error why;

	if (strncmp(in->text, "keep ", keep) != 0 ||
	    fb_text_span(in->text + keep, &ms, &why) < 0 || ms == 0)
		return fb_scalar_fail(
		    in, "E-CFG-TYPE", err, "write keep and a span: keep 90d");
	return FB_OK;
}

static int
check_percent(const struct fb_scalar *in, struct fb_error *err)
{
	struct fb_span digits = { (const uint8_t *)in->text,
		strspn(in->text, DIGITS) };
	uint64_t percent;
	struct fb_error why;

	if (digits.len == 0 || strcmp(in->text + digits.len, "%") != 0)
		return fb_scalar_fail(
		    in, "E-CFG-UNIT", err, "not a percentage: write 20%%");
	if (fb_text_u64(digits, 100, &percent, &why) < 0)
		return fb_scalar_fail(
		    in, "E-CFG-RANGE", err, "must be 0%% to 100%%");
	return FB_OK;
}

static int
check_amount(const struct fb_scalar *in, struct fb_error *err)
{
	uint64_t amount;
	struct fb_error why;

	if (fb_text_amount(in->text, &amount, &why) < 0)
		return fb_scalar_fail(in, "E-CFG-TYPE", err, "%s", why.msg);
	return FB_OK;
}

static int
check_kind(
    const struct fb_scalar *in, json_t **ret_value, struct fb_error *err)
{
	switch (in->row->kind) {
	case FB_SETTING_NAME:
		return check_name(in, in->text, strlen(in->text), err);
	case FB_SETTING_INTEGER:
		return check_integer(in, ret_value, err);
	case FB_SETTING_BOOLEAN:
		return check_boolean(in, ret_value, err);
	case FB_SETTING_SPAN:
		return check_span(in, err);
	case FB_SETTING_SIZE:
		return check_size(in, err);
	case FB_SETTING_LIMITS:
		return check_limits(in, err);
	case FB_SETTING_CHOICE:
		return check_choice(in, err);
	case FB_SETTING_PATH:
		return check_path(in, ret_value, err);
	case FB_SETTING_RAW_PATH:
		return check_raw_path(in, err);
	case FB_SETTING_URL:
		return check_url(in, ret_value, err);
	case FB_SETTING_SERVER:
		return fb_scalar_check_server(in, ret_value, err);
	case FB_SETTING_CREDENTIALS:
		return fb_scalar_check_credentials(in, err);
	case FB_SETTING_SECRET:
	case FB_SETTING_SECRETS:
	case FB_SETTING_REFERENCES:
		return check_secret(in, err);
	case FB_SETTING_TIMEZONE:
		return check_timezone(in, err);
	case FB_SETTING_MACHINE:
		return check_machine(in, err);
	case FB_SETTING_LABEL:
		return check_label(in, err);
	case FB_SETTING_POLICY:
		return check_policy(in, err);
	case FB_SETTING_ORPHANS:
		return check_orphans(in, err);
	case FB_SETTING_PERCENT:
		return check_percent(in, err);
	case FB_SETTING_AMOUNT:
		return check_amount(in, err);
	case FB_SETTING_SELECTOR:
	case FB_SETTING_VECTOR:
		if (in->text[0] == '\0')
			return fb_scalar_fail(
			    in, "E-CFG-TYPE", err, "must not be empty");
		return FB_OK;
	case FB_SETTING_STRING:
	case FB_SETTING_LABELS:
		return FB_OK;
	}
	/* uncovered: every kind has its case above */
	return fb_fail(err, FB_EBUG, "a setting without a type");
}

/* Control characters, ASCII's and Unicode's, and everything that some reader
 * takes for the end of a line. */
static bool
is_control(const char *c)
{
	const uint8_t *u = (const uint8_t *)c;

	return u[0] < 0x20 || u[0] == 0x7f || (u[0] == 0xc2 && u[1] < 0xa0) ||
	    (u[0] == 0xe2 && u[1] == 0x80 && (u[2] == 0xa8 || u[2] == 0xa9));
}

/* What no kind of value may hold.  An argument of a command may be a script
 * of several lines. */
static int
check_bytes(const struct fb_scalar *in, struct fb_error *err)
{
	bool argument = in->row->kind == FB_SETTING_VECTOR;
	size_t max = argument ? ARGUMENT_MAX : TEXT_MAX;

	if (strlen(in->text) > max)
		return fb_fail_id(err, FB_ECONFIG, "E-CFG-RANGE",
		    "%s: %s: longer than %zu bytes", in->place, in->what, max);
	for (const char *c = in->text; *c != '\0' && !argument; c++)
		if (is_control(c))
			return fb_fail_id(err, FB_ECONFIG, "E-CFG-TYPE",
			    "%s: %s: holds a control character or a newline",
			    in->place, in->what);
	return FB_OK;
}

int
fb_scalar_check(
    const struct fb_scalar *scalar, json_t **ret_value, struct fb_error *err)
{
	FB_AUTO_JSON json_t *value = NULL;
	int rc = check_bytes(scalar, err);

	if (rc == FB_OK)
		rc = check_kind(scalar, &value, err);
	if (rc < 0)
		return rc;
	if (value == NULL)
		value = json_string(scalar->text);
	/* NULL: text from outside the file that is not UTF-8. */
	if (value == NULL)
		return fb_fail_id(err, FB_ECONFIG, "E-CFG-TYPE",
		    "%s: %s: not valid UTF-8", scalar->place, scalar->what);
	*ret_value = FB_STEAL(value);
	return FB_OK;
}

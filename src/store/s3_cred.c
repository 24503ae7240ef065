#include "s3_cred.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/http.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"
#include "fleetbak/base/text.h"
#include "fleetbak/crypto/sign.h"
#include "fleetbak/format/json.h"

#define NS_PER_S INT64_C(1000000000)

/* Read again so long before they expire, or when a quarter of their life is
 * left. */
#define MARGIN_NS (300 * NS_PER_S)

/* Who tells no time may have changed its mind. */
#define KEEP_NS (900 * NS_PER_S)

#define KEY_MAX 4096
#define IMDS    "http://169.254.169.254"

struct s3_cred {
	char *where, *base_dir;
	pthread_mutex_t lock; /* all below */
	struct s3_access access;
	bool known, expired;
	int64_t loaded_ns, expires_ns; /* 0: not known */
};

static void
wipe(char **text)
{
	if (*text != NULL)
		explicit_bzero(*text, strlen(*text));
	free(*text);
	*text = NULL;
}

void
s3_access_release(struct s3_access *access)
{
	wipe(&access->id);
	wipe(&access->secret);
	wipe(&access->token);
}

static char *
copy(const char *text)
{
	return text != NULL ? fb_strdup(text) : NULL;
}

struct s3_cred *
s3_cred_new(const char *where, const char *base_dir)
{
	struct s3_cred *cred = fb_alloc(1, sizeof(*cred));

	cred->where = fb_strdup(where != NULL ? where : "auto");
	cred->base_dir = copy(base_dir);
	(void)pthread_mutex_init(&cred->lock, NULL);
	return cred;
}

void
s3_cred_free(struct s3_cred *cred)
{
	if (cred == NULL)
		return;
	s3_access_release(&cred->access);
	(void)pthread_mutex_destroy(&cred->lock);
	free(cred->where);
	free(cred->base_dir);
	free(cred);
}

static int
fail_keys(struct fb_error *err, const char *why)
{
	return fb_fail_id(err, FB_EKEY, "E-S3-KEYS", "no access key: %s", why);
}

/* What goes into a header, and into a signature. */
static bool
is_good(const char *text)
{
	size_t len = strnlen(text, KEY_MAX + 1);

	for (size_t i = 0; i < len; i++)
		if (text[i] <= ' ' || text[i] > '~')
			return false;
	return len > 0 && len <= KEY_MAX;
}

static int
check(struct s3_access *access, struct fb_error *err)
{
	if (access->id != NULL && access->secret != NULL &&
	    is_good(access->id) && is_good(access->secret) &&
	    (access->token == NULL || is_good(access->token)))
		return FB_OK;
	s3_access_release(access);
	return fail_keys(err,
	    "an id and a secret belong there, of printable "
	    "characters without spaces");
}

/* One line of an INI file, cut up; false: of no interest. */
static bool
split_line(char *line, char **ret_name, char **ret_value)
{
	char *sign = strchr(line, '=');
	size_t len;

	if (sign == NULL || line[0] == '#' || line[0] == ';')
		return false;
	*sign = '\0';
	for (len = (size_t)(sign - line);
	     len > 0 && strchr(" \t", line[len - 1]) != NULL; len--)
		line[len - 1] = '\0';
	*ret_name = line + strspn(line, " \t");
	*ret_value = sign + 1 + strspn(sign + 1, " \t");
	for (len = strlen(*ret_value);
	     len > 0 && strchr(" \t\r", (*ret_value)[len - 1]) != NULL; len--)
		(*ret_value)[len - 1] = '\0';
	return true;
}

static void
take(char **slot, const char *value)
{
	wipe(slot);
	*slot = fb_strdup(value);
}

/* Is `line` the head of this section? */
static bool
is_section(const char *line, const char *profile)
{
	size_t len = strlen(profile);

	line++;
	line += strspn(line, " \t");
	if (strncmp(line, "profile ", 8) == 0)
		line += 8 + strspn(line + 8, " \t");
	return strncmp(line, profile, len) == 0 &&
	    line[len + strspn(line + len, " \t")] == ']';
}

static void
read_lines(char *text, const char *profile, struct s3_access *access)
{
	bool inside = profile == NULL;
	bool any = false;
	char *rest = text;
	char *line, *name, *value;

	while ((line = strsep(&rest, "\n")) != NULL) {
		if (line[0] == '[') {
			if (profile == NULL && any)
				return; /* the first section has ended */
			inside = profile == NULL || is_section(line, profile);
		} else if (inside && split_line(line, &name, &value)) {
			any = true;
			if (strcasecmp(name, "aws_access_key_id") == 0)
				take(&access->id, value);
			else if (strcasecmp(name, "aws_secret_access_key") == 0)
				take(&access->secret, value);
			else if (strcasecmp(name, "aws_session_token") == 0)
				take(&access->token, value);
		}
	}
}

/* jansson's copies are not wiped by it. */
static void
take_json(json_t *object, const char *key, char **slot)
{
	const char *text = json_string_value(json_object_get(object, key));

	if (text == NULL)
		return;
	*slot = fb_strdup(text);
	explicit_bzero((char *)(uintptr_t)text, strlen(text));
}

static int
parse_json(struct fb_span text, struct s3_access *access, int64_t *expires_ns,
    struct fb_error *err)
{
	FB_AUTO_JSON json_t *object = NULL;
	const char *expires;
	struct fb_error why;

	if (fb_json_parse(text, FB_SECRET_MAX, "keys", &object, &why) < 0 ||
	    !json_is_object(object))
		return fail_keys(err, "it begins like JSON and is none");
	take_json(object, "AccessKeyId", &access->id);
	take_json(object, "SecretAccessKey", &access->secret);
	take_json(object, "SessionToken", &access->token);
	if (access->token == NULL)
		take_json(object, "Token", &access->token);
	expires = json_string_value(json_object_get(object, "Expiration"));
	if (expires != NULL && fb_time_parse(expires, expires_ns, &why) < 0)
		*expires_ns = 0;
	return FB_OK;
}

int
s3_cred_parse(struct fb_span text, const char *profile,
    struct s3_access *ret_access, int64_t *ret_expires_ns, struct fb_error *err)
{
	FB_AUTO_SECRET struct fb_buf copied = { 0 };
	struct s3_access access = { 0 };
	const char *start;
	int rc = FB_OK;

	*ret_expires_ns = 0;
	if (text.len == 0 || memchr(text.ptr, '\0', text.len) != NULL)
		return fail_keys(err, "it is empty, or no text");
	(void)fb_buf_reserve(&copied, text.len + 1);
	fb_buf_add(&copied, text.ptr, text.len);
	start = fb_buf_str(&copied);
	if (profile == NULL && start[strspn(start, " \t\r\n")] == '{')
		rc = parse_json(text, &access, ret_expires_ns, err);
	else
		read_lines((char *)copied.data, profile, &access);
	if (rc == FB_OK)
		rc = check(&access, err);
	if (rc == FB_OK)
		*ret_access = access;
	else
		s3_access_release(&access);
	return rc;
}

static int
load_env(struct s3_access *access, struct fb_error *err)
{
	const char *token = getenv("AWS_SESSION_TOKEN");

	access->id = copy(getenv("AWS_ACCESS_KEY_ID"));
	access->secret = copy(getenv("AWS_SECRET_ACCESS_KEY"));
	access->token = token != NULL && *token != '\0' ? copy(token) : NULL;
	if (access->id == NULL || access->secret == NULL) {
		s3_access_release(access);
		(void)fail_keys(err,
		    "AWS_ACCESS_KEY_ID and "
		    "AWS_SECRET_ACCESS_KEY are not both set");
		return fb_hint(err,
		    "set them, or say in 'credentials' where "
		    "the keys are");
	}
	return check(access, err);
}

static int
load_reference(struct s3_cred *cred, const char *reference, const char *profile,
    struct s3_access *access, struct fb_error *err)
{
	FB_AUTO_SECRET struct fb_buf text = { 0 };
	int rc = fb_secret_read(reference, cred->base_dir, true, &text, err);

	if (rc == FB_OK)
		rc = s3_cred_parse(fb_buf_span(&text), profile, access,
		    &cred->expires_ns, err);
	return rc;
}

static char *
profile_file(void)
{
	const char *file = getenv("AWS_SHARED_CREDENTIALS_FILE");
	const char *home = getenv("HOME");

	if (file != NULL && *file != '\0')
		return fb_format("file:%s", file);
	return fb_format(
	    "file:%s/.aws/credentials", home != NULL ? home : "/root");
}

static int
load_profile(struct s3_cred *cred, const char *profile,
    struct s3_access *access, struct fb_error *err)
{
	FB_AUTO_FREE char *reference = profile_file();
	int rc = load_reference(cred, reference, profile, access, err);

	return rc < 0 ? fb_wrap(err, "profile '%s'", profile) : rc;
}

/* One question to the metadata service, which is near or not there. */
static int
ask_imds(struct fb_http *http, const char *method, const char *path,
    const char *header, struct fb_http_response *response, struct fb_error *err)
{
	const char *base = getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT");
	const char *wait = getenv("AWS_METADATA_SERVICE_TIMEOUT");
	FB_AUTO_FREE char *url = fb_format(
	    "%s%s", base != NULL && *base != '\0' ? base : IMDS, path);
	const char *headers[] = { header, NULL };
	const struct fb_http_request request = {
		.method = method,
		.url = url,
		.headers = headers,
		.step = FB_STEP_ASK,
		.what = "metadata",
		.timeout_ms = wait != NULL && strspn(wait, "123456789") == 1 &&
		        wait[1] == '\0'
		    ? 1000 * (uint64_t)(wait[0] - '0')
		    : 1000,
		.body_max = FB_SECRET_MAX,
	};
	int rc = fb_http_send(http, &request, response, err);

	if (rc == FB_OK && response->status != 200)
		rc = fb_fail(
		    err, FB_EKEY, "'%s': status %d", path, response->status);
	if (rc == FB_OK && response->body.len > 0 &&
	    memchr(response->body.data, '\0', response->body.len) != NULL)
		rc = fb_fail(err, FB_EKEY, "'%s': no text", path);
	if (rc < 0) {
		(void)fb_wrap(err, "metadata service");
		err->code = FB_EKEY;
		err->id = "E-S3-KEYS";
		rc = FB_EKEY;
	}
	return rc;
}

static int
load_imds(struct s3_cred *cred, struct s3_access *access, struct fb_error *err)
{
	static const char roles[] =
	    "/latest/meta-data/iam/security-credentials/";
	const struct fb_http_options options = {
		.proxy = "", .connect_ms = 1000, .stall_ms = 2000
	};
	FB_AUTO_HTTP struct fb_http *http = fb_http_new(&options);
	FB_AUTO_HTTP_RESPONSE struct fb_http_response answer = { 0 };
	FB_AUTO_FREE char *token = NULL;
	FB_AUTO_FREE char *path = NULL;
	int rc = ask_imds(http, "PUT", "/latest/api/token",
	    "x-aws-ec2-metadata-token-ttl-seconds: 300", &answer, err);

	if (rc < 0)
		return rc;
	token = fb_format(
	    "x-aws-ec2-metadata-token: %.2048s", fb_buf_str(&answer.body));
	if (strpbrk(token, "\r\n") != NULL)
		return fail_keys(err, "the metadata service gives no token");
	rc = ask_imds(http, "GET", roles, token, &answer, err);
	if (rc < 0)
		return rc;
	path = fb_format("%s%.*s", roles,
	    (int)strcspn(fb_buf_str(&answer.body), "\r\n"),
	    fb_buf_str(&answer.body));
	if (strpbrk(path, " ?#") != NULL)
		return fail_keys(err, "the machine has no role");
	rc = ask_imds(http, "GET", path, token, &answer, err);
	if (rc == FB_OK)
		rc = s3_cred_parse(fb_buf_span(&answer.body), NULL, access,
		    &cred->expires_ns, err);
	explicit_bzero(token, strlen(token));
	if (answer.body.data != NULL)
		explicit_bzero(answer.body.data, answer.body.cap);
	return rc;
}

static int
load_auto(struct s3_cred *cred, struct s3_access *access, struct fb_error *err)
{
	const char *profile = getenv("AWS_PROFILE");
	struct fb_error first;

	if (getenv("AWS_ACCESS_KEY_ID") != NULL)
		return load_env(access, err);
	if (profile != NULL && *profile != '\0')
		return load_profile(cred, profile, access, err);
	if (load_profile(cred, "default", access, &first) == FB_OK ||
	    load_imds(cred, access, &first) == FB_OK)
		return FB_OK;
	(void)fail_keys(err,
	    "neither in the environment, nor in a profile, "
	    "nor from a metadata service");
	return fb_hint(err, "say in 'credentials' where the keys are");
}

static int
load(struct s3_cred *cred, struct s3_access *access, struct fb_error *err)
{
	const char *where = cred->where;

	cred->expires_ns = 0;
	if (strcmp(where, "env") == 0)
		return load_env(access, err);
	if (strcmp(where, "imds") == 0)
		return load_imds(cred, access, err);
	if (strcmp(where, "auto") == 0)
		return load_auto(cred, access, err);
	if (strncmp(where, "profile:", 8) == 0)
		return load_profile(cred, where + 8, access, err);
	return load_reference(cred, where, NULL, access, err);
}

/* With the lock held: are the ones we have good enough? */
static bool
is_fresh(const struct s3_cred *cred, int64_t now_ns)
{
	int64_t life = cred->expires_ns - cred->loaded_ns;

	if (!cred->known || cred->expired)
		return false;
	if (cred->expires_ns == 0)
		return now_ns - cred->loaded_ns < KEEP_NS;
	return now_ns <
	    cred->expires_ns - (life / 4 < MARGIN_NS ? life / 4 : MARGIN_NS);
}

static int
refresh(struct s3_cred *cred, struct fb_error *err)
{
	struct s3_access access = { 0 };
	int64_t now_ns = fb_clock_wall_ns();
	int64_t before = cred->expires_ns;
	int rc;

	if (is_fresh(cred, now_ns))
		return FB_OK;
	rc = load(cred, &access, err);
	if (rc < 0) {
		/* Those we have may still do. */
		cred->expires_ns = before;
		return cred->known && !cred->expired &&
		        (before == 0 || now_ns < before)
		    ? FB_OK
		    : fb_wrap(err, "credentials");
	}
	s3_access_release(&cred->access);
	cred->access = access;
	cred->known = true;
	cred->expired = false;
	cred->loaded_ns = now_ns;
	return FB_OK;
}

int
s3_cred_get(
    struct s3_cred *cred, struct s3_access *ret_access, struct fb_error *err)
{
	int rc;

	(void)pthread_mutex_lock(&cred->lock);
	rc = refresh(cred, err);
	if (rc == FB_OK)
		*ret_access = (struct s3_access){ copy(cred->access.id),
			copy(cred->access.secret), copy(cred->access.token) };
	(void)pthread_mutex_unlock(&cred->lock);
	return rc;
}

bool
s3_cred_expired(struct s3_cred *cred, const struct s3_access *access)
{
	struct fb_error ignored;
	bool same, changed = false;

	(void)pthread_mutex_lock(&cred->lock);
	same = cred->known && strcmp(cred->access.secret, access->secret) == 0;
	if (same) {
		cred->expired = true;
		changed = refresh(cred, &ignored) == FB_OK &&
		    strcmp(cred->access.secret, access->secret) != 0;
		cred->expired = false; /* the server's word is on these */
	}
	(void)pthread_mutex_unlock(&cred->lock);
	return changed || !same;
}

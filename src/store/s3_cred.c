#include "s3_cred.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
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
#include "s3_profile.h"
#include "s3_sts.h"

#define NS_PER_S INT64_C(1000000000)

/* Read again so long before they expire, or when a quarter of their life is
 * left. */
#define MARGIN_NS (300 * NS_PER_S)

/* Where reading them again failed and those we have still do, nobody is asked
 * for so long, or for a quarter of what is left: each question may take
 * seconds. */
#define PAUSE_NS (10 * NS_PER_S)

/* Who tells no time may have changed its mind. */
#define KEEP_NS (900 * NS_PER_S)

#define KEY_MAX   4096
#define TOKEN_MAX 20000

/* Profiles that a role is taken over through. */
#define PROFILES_MAX 4

#define IMDS    "http://169.254.169.254"

struct s3_cred {
	char *where, *base_dir;
	struct s3_sts_place sts; /* its texts are ours */
	char *sts_texts[4];
	pthread_mutex_t lock; /* all below */
	struct s3_access access;
	bool known, expired;
	int64_t loaded_ns, expires_ns; /* 0: not known */
	int64_t again_ns; /* not before then; 0: no such time */
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
	cred->sts.region = "us-east-1";
	(void)pthread_mutex_init(&cred->lock, NULL);
	return cred;
}

void
s3_cred_set_sts(struct s3_cred *cred, const struct s3_sts_place *place)
{
	const char *const texts[] = { place->endpoint, place->region, place->ca,
		place->proxy };

	for (size_t i = 0; i < FB_COUNT(texts); i++)
		cred->sts_texts[i] = copy(texts[i]);
	cred->sts = (struct s3_sts_place){ cred->sts_texts[0],
		cred->sts_texts[1], cred->sts_texts[2], cred->sts_texts[3] };
}

void
s3_cred_free(struct s3_cred *cred)
{
	if (cred == NULL)
		return;
	s3_access_release(&cred->access);
	(void)pthread_mutex_destroy(&cred->lock);
	for (size_t i = 0; i < FB_COUNT(cred->sts_texts); i++)
		free(cred->sts_texts[i]);
	free(cred->where);
	free(cred->base_dir);
	free(cred);
}

static int fail_keys(struct fb_error *err, const char *fmt, ...)
    FB_PRINTF(2, 3);

static int
fail_keys(struct fb_error *err, const char *fmt, ...)
{
	char why[256];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(why, sizeof(why), fmt, args);
	va_end(args);
	return fb_fail_id(err, FB_EKEY, "E-S3-KEYS", "no access key: %s", why);
}

static bool
is_text(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (text[i] <= ' ' || text[i] > '~')
			return false;
	return true;
}

/* What goes into a header, and into a signature. */
static bool
is_good(const char *text)
{
	size_t len = strnlen(text, KEY_MAX + 1);

	return len > 0 && len <= KEY_MAX && is_text(text, len);
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
	const char *expires, *code;
	struct fb_error why;

	if (fb_json_parse(text, FB_SECRET_MAX, "keys", &object, &why) < 0 ||
	    !json_is_object(object))
		return fail_keys(err, "it begins like JSON and is none");
	code = json_string_value(json_object_get(object, "Code"));
	if (code != NULL && strcmp(code, "Success") != 0)
		return fail_keys(err, "the metadata service says %.100s", code);
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
	AUTO_PROFILE struct s3_profile read = { 0 };
	struct s3_access access = { 0 };
	const char *start;
	int rc = FB_OK;

	*ret_expires_ns = 0;
	if (text.len == 0 || memchr(text.ptr, '\0', text.len) != NULL)
		return fail_keys(err, "it is empty, or no text");
	(void)fb_buf_reserve(&copied, text.len + 1);
	fb_buf_add(&copied, text.ptr, text.len);
	start = fb_buf_str(&copied);
	if (profile == NULL && start[strspn(start, " \t\r\n")] == '{') {
		rc = parse_json(text, &access, ret_expires_ns, err);
	} else {
		s3_profile_read((char *)copied.data, profile, &read);
		access = read.access;
		read.access = (struct s3_access){ 0 };
	}
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

/* The value of a variable; NULL when it is not set, or empty. */
static const char *
variable(const char *name)
{
	const char *value = getenv(name);

	return value != NULL && *value != '\0' ? value : NULL;
}

static char *
shared_file(const char *name, const char *leaf)
{
	const char *file = variable(name);
	const char *home = variable("HOME");

	if (file != NULL)
		return fb_format("file:%s", file);
	return fb_format(
	    "file:%s/.aws/%s", home != NULL ? home : "/root", leaf);
}

static bool
says_something(const struct s3_profile *profile)
{
	return profile->access.id != NULL || profile->role_arn != NULL ||
	    profile->process != NULL;
}

static int
read_shared(struct s3_cred *cred, const char *reference, const char *name,
    struct s3_profile *profile, struct fb_error *err)
{
	FB_AUTO_SECRET struct fb_buf text = { 0 };
	int rc = fb_secret_read(reference, cred->base_dir, true, &text, err);

	if (rc < 0)
		return rc;
	if (text.len > 0 && memchr(text.data, '\0', text.len) == NULL)
		s3_profile_read((char *)text.data, name, profile);
	return FB_OK;
}

/* Keys stand in one file, roles in the other, or all in one. */
static int
find_profile(struct s3_cred *cred, const char *name,
    struct s3_profile *profile, struct fb_error *err)
{
	FB_AUTO_FREE char *keys =
	    shared_file("AWS_SHARED_CREDENTIALS_FILE", "credentials");
	FB_AUTO_FREE char *config = shared_file("AWS_CONFIG_FILE", "config");
	struct fb_error other = { 0 };
	int rc = read_shared(cred, keys, name, profile, err);

	if ((rc < 0 && strcmp(err->id, "E-KEY-MODE") == 0) ||
	    (rc == FB_OK && says_something(profile)))
		return rc;
	if (read_shared(cred, config, name, profile, &other) < 0 &&
	    strcmp(other.id, "E-KEY-MODE") == 0) {
		*err = other;
		return err->code;
	}
	if (says_something(profile))
		return FB_OK;
	return rc < 0 ? rc
	              : fail_keys(err,
	                    "an id and a secret belong there, or a role");
}

/* Whoever an identity token names takes the role over. */
static int
load_web_identity(struct s3_cred *cred, const char *role_arn,
    const char *session, const char *file, struct s3_access *access,
    struct fb_error *err)
{
	FB_AUTO_SECRET struct fb_buf token = { 0 };
	FB_AUTO_FREE char *reference = fb_format("file:%s", file);
	struct s3_role role = { .arn = role_arn, .session = session };
	int rc = fb_secret_read(reference, cred->base_dir, false, &token, err);

	if (rc < 0)
		return rc;
	while (token.len > 0 && token.data[token.len - 1] <= ' ')
		token.data[--token.len] = '\0';
	if (token.len == 0 || token.len > TOKEN_MAX ||
	    !is_text(fb_buf_str(&token), token.len))
		return fail_keys(err, "'%s' holds no identity token", file);
	role.token = fb_buf_str(&token);
	return s3_sts_assume(
	    &cred->sts, &role, access, &cred->expires_ns, err);
}

static int load_profile(struct s3_cred *cred, const char *name, unsigned depth,
    struct s3_access *access, struct fb_error *err);

static int
load_role(struct s3_cred *cred, const char *name,
    const struct s3_profile *profile, unsigned depth, struct s3_access *access,
    struct fb_error *err)
{
	AUTO_ACCESS struct s3_access as = { 0 };
	struct s3_role role = { .arn = profile->role_arn,
		.session = profile->session,
		.external_id = profile->external_id,
		.as = &as };
	int rc;

	if (profile->token_file != NULL)
		return load_web_identity(cred, profile->role_arn,
		    profile->session, profile->token_file, access, err);
	if (profile->source == NULL)
		return fail_keys(err,
		    "its role_arn needs a source_profile or a "
		    "web_identity_token_file");
	if (strcmp(profile->source, name) != 0) {
		rc = load_profile(cred, profile->source, depth + 1, &as, err);
	} else {
		as = (struct s3_access){ copy(profile->access.id),
			copy(profile->access.secret),
			copy(profile->access.token) };
		rc = check(&as, err);
	}
	return rc < 0 ? rc
	              : s3_sts_assume(&cred->sts, &role, access,
	                    &cred->expires_ns, err);
}

static int
load_profile(struct s3_cred *cred, const char *name, unsigned depth,
    struct s3_access *access, struct fb_error *err)
{
	AUTO_PROFILE struct s3_profile profile = { 0 };
	FB_AUTO_FREE char *command = NULL;
	int rc = depth < PROFILES_MAX
	    ? find_profile(cred, name, &profile, err)
	    : fail_keys(err, "its source_profile leads too far");

	if (rc == FB_OK && profile.role_arn != NULL) {
		rc = load_role(cred, name, &profile, depth, access, err);
	} else if (rc == FB_OK && profile.access.id == NULL) {
		command = fb_format("cmd:%s", profile.process);
		rc = load_reference(cred, command, NULL, access, err);
	} else if (rc == FB_OK) {
		*access = profile.access;
		profile.access = (struct s3_access){ 0 };
	}
	if (rc == FB_OK)
		rc = check(access, err);
	return rc < 0 ? fb_wrap(err, "profile '%s'", name) : rc;
}

static int
load_web(struct s3_cred *cred, struct s3_access *access, struct fb_error *err)
{
	const char *role = variable("AWS_ROLE_ARN");
	const char *file = variable("AWS_WEB_IDENTITY_TOKEN_FILE");
	int rc;

	if (role == NULL || file == NULL)
		return fail_keys(err,
		    "AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE are not "
		    "both set");
	rc = load_web_identity(cred, role, variable("AWS_ROLE_SESSION_NAME"),
	    file, access, err);
	return rc == FB_OK ? check(access, err) : rc;
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
		rc = fb_fail(err, FB_EKEY, "'%s': it answers %d", path,
		    response->status);
	if (rc == FB_OK && response->body.len > 0 &&
	    memchr(response->body.data, '\0', response->body.len) != NULL)
		rc = fb_fail(err, FB_EKEY, "'%s': no text", path);
	if (rc == FB_OK)
		return FB_OK;
	(void)fb_wrap(err, "metadata service");
	err->code = FB_EKEY;
	err->id = "E-S3-KEYS";
	(void)fb_hint(err,
	    "is the service switched on, and has the machine a role? From "
	    "within a container its hop limit must be 2");
	return FB_EKEY;
}

static bool
is_switched_off(void)
{
	const char *off = variable("AWS_EC2_METADATA_DISABLED");

	return off != NULL && strcasecmp(off, "true") == 0;
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
	int rc;

	if (is_switched_off())
		return fail_keys(err,
		    "AWS_EC2_METADATA_DISABLED says that the metadata "
		    "service is not to be asked");
	rc = ask_imds(http, "PUT", "/latest/api/token",
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
	const char *profile = variable("AWS_PROFILE");
	struct fb_error first;

	if (getenv("AWS_ACCESS_KEY_ID") != NULL)
		return load_env(access, err);
	if (profile != NULL)
		return load_profile(cred, profile, 0, access, err);
	if (variable("AWS_WEB_IDENTITY_TOKEN_FILE") != NULL)
		return load_web(cred, access, err);
	if (load_profile(cred, "default", 0, access, &first) == FB_OK ||
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
	if (strcmp(where, "web-identity") == 0)
		return load_web(cred, access, err);
	if (strncmp(where, "profile:", 8) == 0)
		return load_profile(cred, where + 8, 0, access, err);
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
	bool does = cred->known && !cred->expired &&
	    (before == 0 || now_ns < before);
	int rc;

	if (is_fresh(cred, now_ns) || (does && now_ns < cred->again_ns))
		return FB_OK;
	rc = load(cred, &access, err);
	if (rc < 0) {
		cred->expires_ns = before;
		if (!does)
			return fb_wrap(err, "credentials");
		cred->again_ns = now_ns + PAUSE_NS;
		if (before != 0 && (before - now_ns) / 4 < PAUSE_NS)
			cred->again_ns = now_ns + (before - now_ns) / 4;
		return FB_OK;
	}
	cred->again_ns = 0;
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

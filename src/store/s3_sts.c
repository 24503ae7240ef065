#include "s3_sts.h"

#include <stdlib.h>
#include <string.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/http.h"
#include "fleetbak/base/mem.h"
#include "s3_sign.h"
#include "s3_xml.h"

#define TRIES       3
#define PAUSE_NS    INT64_C(300000000)
#define TIMEOUT_MS  10000
#define ANSWER_MAX  ((size_t)256 << 10)
#define HEADERS_MAX 8

/* An answer: keys, or why there are none. */
struct reading {
	struct s3_access access;
	char *expiration;
	char code[64], message[256];
};

static bool
ends_with(const char *path, const char *end)
{
	size_t len = strlen(path), end_len = strlen(end);

	return len >= end_len && strcmp(path + len - end_len, end) == 0 &&
	    (len == end_len || path[len - end_len - 1] == '/');
}

static void
replace(char **slot, const char *text)
{
	if (*slot != NULL)
		explicit_bzero(*slot, strlen(*slot));
	free(*slot);
	*slot = fb_strdup(text);
}

static int
take_element(void *arg, const char *root, const char *path, const char *text,
    struct fb_error *err)
{
	struct reading *reading = arg;

	(void)err;
	(void)root;
	if (ends_with(path, "Credentials/AccessKeyId"))
		replace(&reading->access.id, text);
	else if (ends_with(path, "Credentials/SecretAccessKey"))
		replace(&reading->access.secret, text);
	else if (ends_with(path, "Credentials/SessionToken"))
		replace(&reading->access.token, text);
	else if (ends_with(path, "Credentials/Expiration"))
		replace(&reading->expiration, text);
	else if (ends_with(path, "Code"))
		s3_copy_text(reading->code, sizeof(reading->code), text);
	else if (ends_with(path, "Message"))
		s3_copy_text(reading->message, sizeof(reading->message), text);
	return FB_OK;
}

static void
release_reading(struct reading *reading)
{
	s3_access_release(&reading->access);
	free(reading->expiration);
}

/* Some tell billionths of a second, which nobody needs. */
static int64_t
time_of(char *text)
{
	size_t dot = strcspn(text, "."), end = strcspn(text, "Z");
	struct fb_error ignored;
	int64_t ns;

	if (dot < end)
		memmove(text + dot, text + end, strlen(text + end) + 1);
	return fb_time_parse(text, &ns, &ignored) < 0 ? 0 : ns;
}

int
s3_sts_parse(struct fb_span xml, struct s3_access *ret_access,
    int64_t *ret_expires_ns, struct fb_error *err)
{
	FB_CLEANUP(release_reading) struct reading reading = { 0 };
	int rc = s3_xml_read(xml, take_element, &reading, err);

	*ret_expires_ns = 0;
	if (rc < 0)
		return rc;
	if (reading.access.id == NULL || reading.access.secret == NULL ||
	    reading.access.token == NULL)
		return fb_fail(err, FB_EPROTO, "the answer holds no keys");
	if (reading.expiration != NULL)
		*ret_expires_ns = time_of(reading.expiration);
	*ret_access = reading.access;
	reading.access = (struct s3_access){ 0 };
	return FB_OK;
}

static void
add_field(struct fb_buf *form, const char *name, const char *value)
{
	if (value == NULL)
		return;
	fb_buf_add_fmt(form, "%s%s=", form->len > 0 ? "&" : "", name);
	s3_add_encoded(form, value, false);
}

/* What is asked, and with which headers. */
struct asking {
	struct fb_buf form;
	char *endpoint, *host, *url;
	char *lines[HEADERS_MAX + 1];
	size_t line_count;
};

static void
release_asking(struct asking *asking)
{
	if (asking->form.data != NULL)
		explicit_bzero(asking->form.data, asking->form.cap);
	fb_buf_release(&asking->form);
	free(asking->endpoint);
	free(asking->host);
	free(asking->url);
	for (size_t i = 0; i < asking->line_count; i++) {
		explicit_bzero(asking->lines[i], strlen(asking->lines[i]));
		free(asking->lines[i]);
	}
}

static void
add_line(struct asking *asking, char *line)
{
	asking->lines[asking->line_count++] = line;
}

static void
sign(const struct s3_sts_place *place, const struct s3_access *as,
    struct asking *asking)
{
	const struct s3_keys keys = { as->id, as->secret };
	char date[S3_DATE_SIZE], payload[FB_DIGEST_HEX_SIZE];
	struct s3_pair headers[] = { { "host", asking->host },
		{ "x-amz-date", date }, { "x-amz-content-sha256", payload },
		{ "x-amz-security-token", as->token } };
	struct s3_signing signing = { .method = "POST",
		.path = "/",
		.query = "",
		.headers = headers,
		.header_count = FB_COUNT(headers) - (as->token == NULL),
		.payload = payload,
		.region = place->region,
		.service = "sts" };
	FB_AUTO_BUF struct fb_buf authorization = { 0 };
	struct fb_digest digest;

	fb_digest_of(fb_buf_span(&asking->form), &digest);
	fb_digest_hex(&digest, payload);
	s3_date(fb_clock_wall_ns(), date);
	s3_add_authorization(&authorization, &signing, &keys, date);
	for (size_t i = 0; i < signing.header_count; i++)
		add_line(asking,
		    fb_format("%s: %s", headers[i].name, headers[i].value));
	add_line(
	    asking, fb_format("authorization: %s", fb_buf_str(&authorization)));
}

static void
prepare(const struct s3_sts_place *place, const struct s3_role *role,
    struct asking *asking)
{
	const char *host;

	asking->endpoint = place->endpoint != NULL
	    ? fb_strdup(place->endpoint)
	    : fb_format("https://sts.%s.amazonaws.com", place->region);
	host = strstr(asking->endpoint, "://");
	host = host != NULL ? host + 3 : asking->endpoint;
	asking->host = fb_format("%.*s", (int)strcspn(host, "/"), host);
	asking->url = fb_format("%.*s%s/", (int)(host - asking->endpoint),
	    asking->endpoint, asking->host);
	add_field(&asking->form, "Action",
	    role->token != NULL ? "AssumeRoleWithWebIdentity" : "AssumeRole");
	add_field(&asking->form, "Version", "2011-06-15");
	add_field(&asking->form, "RoleArn", role->arn);
	add_field(&asking->form, "RoleSessionName",
	    role->session != NULL ? role->session : "fleetbak");
	add_field(&asking->form, "ExternalId", role->external_id);
	add_field(&asking->form, "WebIdentityToken", role->token);
	add_line(asking,
	    fb_strdup("content-type: application/x-www-form-urlencoded"));
	/* So small a body need not ask whether it is welcome. */
	add_line(asking, fb_strdup("expect:"));
	if (role->token == NULL)
		sign(place, role->as, asking);
}

static int
refuse(const struct asking *asking, const struct s3_role *role,
    const struct fb_http_response *answer, struct fb_error *err)
{
	FB_CLEANUP(release_reading) struct reading reading = { 0 };
	struct fb_error ignored;

	/* What is no XML is a proxy's, or no such service. */
	if (s3_xml_read(fb_buf_span(&answer->body), take_element, &reading,
	        &ignored) < 0)
		reading.code[0] = reading.message[0] = '\0';
	if (answer->status >= 500 || answer->status == 429 ||
	    strcmp(reading.code, "Throttling") == 0) {
		(void)fb_fail_id(err, FB_EUNREACH, "E-S3-BUSY",
		    "%s: the server goes on answering %d %s", asking->url,
		    answer->status, reading.code);
		return fb_hint(err, "try again later");
	}
	(void)fb_fail_id(err, FB_EDENIED, "E-S3-ROLE",
	    "%s: role '%s' is not given: %d %s: %s", asking->url, role->arn,
	    answer->status, reading.code,
	    reading.message[0] != '\0' ? reading.message
	                               : "the server gives no reason");
	if (role->token != NULL)
		return fb_hint(err,
		    "the identity token must be new, and the role must trust "
		    "who signed it");
	return fb_hint(err, "the role must trust whoever these keys are of");
}

static int
ask(struct fb_http *http, const struct asking *asking,
    struct fb_http_response *answer, struct fb_error *err)
{
	const struct fb_http_request request = {
		.method = "POST",
		.url = asking->url,
		.headers = (const char *const *)asking->lines,
		.step = FB_STEP_ASK,
		.what = "role",
		.body = fb_buf_span(&asking->form),
		.timeout_ms = TIMEOUT_MS,
		.body_max = ANSWER_MAX,
	};
	int rc = FB_OK;

	for (int tries = 1;; tries++) {
		int64_t until = fb_clock_mono_ns() + tries * PAUSE_NS;

		rc = fb_http_send(http, &request, answer, err);
		if ((rc == FB_OK && answer->status < 500) || tries == TRIES ||
		    (rc < 0 && strcmp(err->id, "E-TLS") == 0))
			break;
		while (fb_clock_mono_ns() < until)
			fb_clock_wait(until);
	}
	if (rc == FB_EUNKNOWN) { /* nothing was to be done */
		err->code = FB_EUNREACH;
		err->id = fb_code_id(FB_EUNREACH);
		rc = FB_EUNREACH;
	}
	return rc;
}

int
s3_sts_assume(const struct s3_sts_place *place, const struct s3_role *role,
    struct s3_access *ret_access, int64_t *ret_expires_ns, struct fb_error *err)
{
	const struct fb_http_options options = { .ca = place->ca,
		.proxy = place->proxy };
	FB_AUTO_HTTP struct fb_http *http = fb_http_new(&options);
	FB_AUTO_HTTP_RESPONSE struct fb_http_response answer = { 0 };
	FB_CLEANUP(release_asking) struct asking asking = { 0 };
	int rc;

	prepare(place, role, &asking);
	rc = ask(http, &asking, &answer, err);
	if (rc == FB_OK && answer.status != 200)
		rc = refuse(&asking, role, &answer, err);
	else if (rc == FB_OK)
		rc = s3_sts_parse(
		    fb_buf_span(&answer.body), ret_access, ret_expires_ns, err);
	if (answer.body.data != NULL)
		explicit_bzero(answer.body.data, answer.body.cap);
	return rc < 0 ? fb_wrap(err, "token service") : rc;
}

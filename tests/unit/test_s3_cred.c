/*
 * Where access keys are found, in which forms, and how long they are kept.
 */
#include "http_script.h"

#include "../../src/store/s3_cred.h"
#include "../../src/store/s3_sts.h"
#include "fleetbak/base/clock.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"

static struct fb_error err;

static void
forget_environment(void)
{
	(void)unsetenv("AWS_ACCESS_KEY_ID");
	(void)unsetenv("AWS_SECRET_ACCESS_KEY");
	(void)unsetenv("AWS_SESSION_TOKEN");
	(void)unsetenv("AWS_PROFILE");
}

static void
gives(const char *text, const char *profile, const char *id,
    const char *secret, const char *token)
{
	FB_CLEANUP(s3_access_release) struct s3_access access = { 0 };
	int64_t expires;

	assert_ok(s3_cred_parse(
	    (struct fb_span){ (const uint8_t *)text, strlen(text) }, profile,
	    &access, &expires, &err));
	assert_string_equal(access.id, id);
	assert_string_equal(access.secret, secret);
	if (token == NULL)
		assert_null(access.token);
	else
		assert_string_equal(access.token, token);
}

static void
keys_in_each_form(void **state)
{
	static const char two[] =
	    "# mine\n[default]\naws_access_key_id = A1\n"
	    "aws_secret_access_key=S1/+=\r\n\n[profile b]\n"
	    "  AWS_ACCESS_KEY_ID\t=A2  \naws_secret_access_key = S2\n"
	    "aws_session_token = T2\n";

	(void)state;
	gives(two, NULL, "A1", "S1/+=", NULL);
	gives(two, "default", "A1", "S1/+=", NULL);
	gives(two, "b", "A2", "S2", "T2");
	gives("aws_access_key_id=A\naws_secret_access_key=S", NULL, "A", "S",
	    NULL);
	gives(" {\"Version\":1,\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\","
	      "\"SessionToken\":\"T\",\"Expiration\":\"2026-11-28T00:00:00Z\"}",
	    NULL, "A", "S", "T");
}

static void
what_is_no_key_is_refused_and_not_shown(void **state)
{
	static const char *const texts[] = { "", "hunter2", "{\"hunter2",
		"{}", "aws_access_key_id=A\n",
		"aws_access_key_id=A\naws_secret_access_key=hunter2 x\n",
		"[x]\naws_access_key_id=A\naws_secret_access_key=hunter2\n" };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(texts); i++) {
		struct s3_access access = { 0 };
		int64_t expires;

		assert_fails(FB_EKEY,
		    s3_cred_parse((struct fb_span){ (const uint8_t *)texts[i],
		                      strlen(texts[i]) },
		        i == 6 ? "y" : NULL, &access, &expires, &err));
		assert_string_equal(err.id, "E-S3-KEYS");
		assert_null(strstr(err.msg, "hunter2"));
	}
}

static void
write_file(const char *path, const char *text)
{
	assert_ok(fb_io_replace(path,
	    (struct fb_span){ (const uint8_t *)text, strlen(text) }, 0600,
	    &err));
}

static void
keys_that_expire_are_read_again(void **state)
{
	char dir[] = "/tmp/fb-cred-XXXXXX";
	FB_AUTO_FREE char *path = NULL;
	FB_AUTO_FREE char *text = NULL;
	struct s3_access first = { 0 }, second = { 0 };
	char soon[FB_TIME_SIZE];
	struct s3_cred *cred;

	(void)state;
	forget_environment();
	assert_non_null(mkdtemp(dir));
	path = fb_format("%s/keys", dir);
	fb_time_format(fb_clock_wall_ns() - 1000000000, soon);
	text = fb_format("{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S1\","
	                 "\"Expiration\":\"%s\"}",
	    soon);
	write_file(path, text);
	cred = s3_cred_new("file:keys", dir);
	assert_ok(s3_cred_get(cred, &first, &err));
	assert_string_equal(first.secret, "S1");
	write_file(path, "aws_access_key_id=A\naws_secret_access_key=S2\n");
	assert_ok(s3_cred_get(cred, &second, &err));
	assert_string_equal(second.secret, "S2");
	/* Those are kept: nothing says that they expire. */
	write_file(path, "aws_access_key_id=A\naws_secret_access_key=S3\n");
	s3_access_release(&second);
	assert_ok(s3_cred_get(cred, &second, &err));
	assert_string_equal(second.secret, "S2");
	/* The server knows better. */
	assert_true(s3_cred_expired(cred, &second));
	assert_false(s3_cred_expired(cred, &first) &&
	    strcmp(first.secret, "S1") != 0);
	s3_access_release(&second);
	assert_ok(s3_cred_get(cred, &second, &err));
	assert_string_equal(second.secret, "S3");
	assert_false(s3_cred_expired(cred, &second));
	s3_access_release(&first);
	s3_access_release(&second);
	s3_cred_free(cred);
	assert_ok(fb_io_remove_tree(dir, &err));
}

static void
a_file_that_others_can_read_is_refused(void **state)
{
	char dir[] = "/tmp/fb-cred-XXXXXX";
	FB_AUTO_FREE char *path = NULL;
	struct s3_access access = { 0 };
	struct s3_cred *cred;

	(void)state;
	assert_non_null(mkdtemp(dir));
	path = fb_format("%s/keys", dir);
	assert_ok(fb_io_replace(path,
	    SPAN("aws_access_key_id=A\naws_secret_access_key=S\n"), 0644,
	    &err));
	cred = s3_cred_new("file:keys", dir);
	assert_fails(FB_EKEY, s3_cred_get(cred, &access, &err));
	assert_string_equal(err.id, "E-KEY-MODE");
	s3_cred_free(cred);
	assert_ok(fb_io_remove_tree(dir, &err));
}

static void
the_environment_and_a_command(void **state)
{
	FB_CLEANUP(s3_access_release) struct s3_access access = { 0 };
	struct s3_cred *cred = s3_cred_new("env", NULL);

	(void)state;
	forget_environment();
	assert_fails(FB_EKEY, s3_cred_get(cred, &access, &err));
	assert_string_equal(err.id, "E-S3-KEYS");
	(void)setenv("AWS_ACCESS_KEY_ID", "A", 1);
	(void)setenv("AWS_SECRET_ACCESS_KEY", "S", 1);
	(void)setenv("AWS_SESSION_TOKEN", "T", 1);
	assert_ok(s3_cred_get(cred, &access, &err));
	assert_string_equal(access.token, "T");
	s3_cred_free(cred);
	s3_access_release(&access);
	forget_environment();
	cred = s3_cred_new(
	    "cmd:echo {\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\"}",
	    NULL);
	assert_ok(s3_cred_get(cred, &access, &err));
	assert_string_equal(access.secret, "S");
	s3_cred_free(cred);
}

static void
set_clock(int seconds)
{
	FB_AUTO_FREE char *text = fb_format("%d", 2000000000 + seconds);

	assert_int_equal(setenv("FLEETBAK_CLOCK", text, 1), 0);
}

/* Whether who gives keys was asked; he fails unless told otherwise. */
static bool
was_asked(const char *dir)
{
	FB_AUTO_FREE char *path = fb_format("%s/asked", dir);

	return unlink(path) == 0;
}

/* Keys for 1000 s that cannot be renewed in their last quarter: they are used
 * to their end, and nobody is asked at each request. */
static void
keys_that_cannot_be_renewed_are_used(void **state)
{
	char dir[] = "/tmp/fb-cred-XXXXXX";
	FB_AUTO_FREE char *path = NULL;
	FB_AUTO_FREE char *program = NULL;
	struct s3_access access = { 0 };
	struct s3_cred *cred;

	(void)state;
	assert_non_null(mkdtemp(dir));
	path = fb_format("%s/give", dir);
	program = fb_format("cmd:/bin/sh %s", path);
	write_file(path,
	    "cd \"${0%/*}\"; >asked; [ -e good ] || exit 1\n"
	    "echo '{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\","
	    "\"Expiration\":\"2033-05-18T03:50:00Z\"}'\n");
	free(path);
	path = fb_format("%s/good", dir);
	write_file(path, "");
	set_clock(0);
	cred = s3_cred_new(program, NULL);
	assert_ok(s3_cred_get(cred, &access, &err));
	assert_true(was_asked(dir));
	s3_access_release(&access);
	assert_int_equal(unlink(path), 0);
	set_clock(700);
	assert_ok(s3_cred_get(cred, &access, &err));
	assert_false(was_asked(dir));
	s3_access_release(&access);
	for (int at = 760; at < 964; at += 3) {
		set_clock(at);
		assert_ok(s3_cred_get(cred, &access, &err));
		assert_int_equal(was_asked(dir), at % 12 == 4);
		s3_access_release(&access);
	}
	set_clock(1001);
	assert_fails(FB_EKEY, s3_cred_get(cred, &access, &err));
	write_file(path, "");
	set_clock(1002);
	assert_ok(s3_cred_get(cred, &access, &err));
	s3_access_release(&access);
	s3_cred_free(cred);
	(void)unsetenv("FLEETBAK_CLOCK");
	assert_ok(fb_io_remove_tree(dir, &err));
}

#define TEXT(text) \
	"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" text

static void
the_metadata_service(void **state)
{
	static const char *const answers[] = { TEXT("token"), TEXT("role\n"),
		TEXT("{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\","
		     "\"Token\":\"T\",\"Expiration\":\"2099-01-01T00:00:00Z\"}"),
		"HTTP/1.1 403 No\r\nConnection: close\r\n\r\n" };
	FB_CLEANUP(s3_access_release) struct s3_access access = { 0 };
	FB_AUTO_FREE char *at = NULL;
	struct s3_cred *cred = s3_cred_new("imds", NULL);
	struct script script;

	(void)state;
	script_start(&script, answers, FB_COUNT(answers));
	at = fb_format("http://127.0.0.1:%u", script.port);
	(void)setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", at, 1);
	assert_ok(s3_cred_get(cred, &access, &err));
	assert_string_equal(access.token, "T");
	assert_false(s3_cred_expired(cred, &access)); /* refused by now */
	s3_cred_free(cred);
	script_end(&script);
	assert_non_null(strstr(script.asked[0], "PUT /latest/api/token "));
	assert_non_null(strstr(script.asked[0],
	    "\r\nx-aws-ec2-metadata-token-ttl-seconds: 300\r\n"));
	assert_non_null(
	    strstr(script.asked[2], "\r\nx-aws-ec2-metadata-token: token\r\n"));
	assert_non_null(strstr(script.asked[2],
	    "GET /latest/meta-data/iam/security-credentials/role HTTP"));
	script_release(&script);
	(void)unsetenv("AWS_EC2_METADATA_SERVICE_ENDPOINT");
}

#define GIVEN(action)                                                  \
	"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n<" action           \
	"Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><"  \
	action "Result><Credentials><AccessKeyId>A</AccessKeyId>"         \
	"<SecretAccessKey>S</SecretAccessKey><SessionToken>T"             \
	"</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>"    \
	"</Credentials></" action "Result></" action "Response>"

/* A token service of our own, which forgets nothing that it is asked. */
static void
at_service(struct s3_cred *cred, struct script *script,
    const char *const *answers, size_t count)
{
	FB_AUTO_FREE char *at = NULL;

	script_start(script, answers, count);
	at = fb_format("http://127.0.0.1:%u", script->port);
	s3_cred_set_sts(cred,
	    &(struct s3_sts_place){ .endpoint = at, .region = "eu-x-1",
	        .proxy = "" });
}

static void
asked(const struct script *script, size_t n, const char *what)
{
	if (strstr(script->asked[n], what) == NULL) {
		print_error("not asked: %s\nbut: %s\n", what, script->asked[n]);
		fail();
	}
}

static void
an_identity_token_becomes_keys(void **state)
{
	static const char *const answers[] = {
		"HTTP/1.1 503 Slow\r\nConnection: close\r\n\r\n",
		GIVEN("AssumeRoleWithWebIdentity"),
		"HTTP/1.1 400 Bad\r\nConnection: close\r\n\r\n"
		"<ErrorResponse><Error><Code>ExpiredTokenException</Code>"
		"<Message>it is of yesterday</Message></Error></ErrorResponse>"
	};
	FB_CLEANUP(s3_access_release) struct s3_access access = { 0 };
	struct s3_cred *cred;
	char dir[] = "/tmp/fb-cred-XXXXXX";
	FB_AUTO_FREE char *path = NULL;
	struct script script;

	(void)state;
	forget_environment();
	assert_non_null(mkdtemp(dir));
	path = fb_format("%s/token", dir);
	assert_ok(fb_io_replace(path, SPAN("ey.J+.w/=\n"), 0644, &err));
	(void)setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/b k", 1);
	(void)setenv("AWS_WEB_IDENTITY_TOKEN_FILE", path, 1);
	(void)setenv("AWS_ROLE_SESSION_NAME", "night", 1);
	cred = s3_cred_new("web-identity", NULL);
	at_service(cred, &script, answers, FB_COUNT(answers));
	assert_ok(s3_cred_get(cred, &access, &err));
	assert_string_equal(access.id, "A");
	assert_string_equal(access.secret, "S");
	assert_string_equal(access.token, "T");
	/* The server finds them expired, and the service gives no more. */
	assert_false(s3_cred_expired(cred, &access));
	script_end(&script);
	asked(&script, 1, "POST / HTTP/1.1\r\n");
	asked(&script, 1,
	    "\r\ncontent-type: application/x-www-form-urlencoded\r\n");
	asked(&script, 1,
	    "\r\n\r\nAction=AssumeRoleWithWebIdentity&Version=2011-06-15"
	    "&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fb%20k"
	    "&RoleSessionName=night&WebIdentityToken=ey.J%2B.w%2F%3D");
	assert_null(strcasestr(script.asked[1], "\r\nauthorization:"));
	script_release(&script);
	s3_cred_free(cred);

	/* Refused at once it is an error, and the token is not in it. */
	cred = s3_cred_new("auto", NULL);
	at_service(cred, &script, answers + 2, 1);
	s3_access_release(&access);
	assert_fails(FB_EDENIED, s3_cred_get(cred, &access, &err));
	assert_string_equal(err.id, "E-S3-ROLE");
	assert_non_null(strstr(err.msg, "ExpiredTokenException"));
	assert_non_null(strstr(err.msg, "it is of yesterday"));
	assert_null(strstr(err.msg, "ey.J"));
	script_end(&script);
	script_release(&script);
	s3_cred_free(cred);

	assert_ok(fb_io_replace(path, SPAN("two words"), 0644, &err));
	cred = s3_cred_new("web-identity", NULL);
	assert_fails(FB_EKEY, s3_cred_get(cred, &access, &err));
	assert_string_equal(err.id, "E-S3-KEYS");
	s3_cred_free(cred);
	(void)unsetenv("AWS_ROLE_ARN");
	cred = s3_cred_new("web-identity", NULL);
	assert_fails(FB_EKEY, s3_cred_get(cred, &access, &err));
	s3_cred_free(cred);
	(void)unsetenv("AWS_WEB_IDENTITY_TOKEN_FILE");
	(void)unsetenv("AWS_ROLE_SESSION_NAME");
	assert_ok(fb_io_remove_tree(dir, &err));
}

static const char profiles[] =
    "[profile role]\nrole_arn = arn:r\nsource_profile = base\n"
    "external_id = e i\n"
    "[profile web]\nrole_arn = arn:w\nweb_identity_token_file = token\n"
    "[profile own]\nrole_arn = arn:o\nsource_profile = own\n"
    "aws_access_key_id = OWN\naws_secret_access_key = OWNS\n"
    "[profile bare]\nrole_arn = arn:b\n"
    "[profile round]\nrole_arn = arn:c\nsource_profile = trip\n"
    "[profile trip]\nrole_arn = arn:d\nsource_profile = round\n"
    "[profile program]\ncredential_process = /bin/echo "
    "aws_access_key_id=P\n";

static void
a_profile_takes_a_role_over(void **state)
{
	static const char *const answers[] = { GIVEN("AssumeRole"),
		GIVEN("AssumeRole"), GIVEN("AssumeRoleWithWebIdentity") };
	static const char *const names[] = { "profile:role", "profile:own",
		"profile:web" };
	static const char *const bad[] = { "profile:bare", "profile:round",
		"profile:nobody", "profile:program" };
	char dir[] = "/tmp/fb-cred-XXXXXX";
	FB_AUTO_FREE char *keys = NULL, *config = NULL, *token = NULL;
	struct script script;

	(void)state;
	forget_environment();
	assert_non_null(mkdtemp(dir));
	keys = fb_format("%s/credentials", dir);
	config = fb_format("%s/config", dir);
	token = fb_format("%s/token", dir);
	write_file(keys, "[base]\naws_access_key_id = B\n"
	                 "aws_secret_access_key = BS\n"
	                 "aws_session_token = BT\n");
	write_file(config, profiles);
	write_file(token, "jwt");
	(void)setenv("AWS_SHARED_CREDENTIALS_FILE", keys, 1);
	(void)setenv("AWS_CONFIG_FILE", config, 1);
	for (size_t i = 0; i < FB_COUNT(names); i++) {
		FB_CLEANUP(s3_access_release) struct s3_access access = { 0 };
		struct s3_cred *cred = s3_cred_new(names[i], dir);

		at_service(cred, &script, answers + i, 1);
		assert_ok(s3_cred_get(cred, &access, &err));
		assert_string_equal(access.token, "T");
		script_end(&script);
		if (i == 0) {
			asked(&script, 0,
			    "Action=AssumeRole&Version=2011-06-15&RoleArn="
			    "arn%3Ar&RoleSessionName=fleetbak&ExternalId="
			    "e%20i");
			asked(&script, 0, "x-amz-security-token: BT\r\n");
			asked(&script, 0,
			    "AWS4-HMAC-SHA256 Credential=B/");
			asked(&script, 0, "/eu-x-1/sts/aws4_request");
		} else if (i == 1) {
			asked(&script, 0, "Credential=OWN/");
		} else {
			asked(&script, 0, "&WebIdentityToken=jwt");
		}
		script_release(&script);
		s3_cred_free(cred);
	}
	for (size_t i = 0; i < FB_COUNT(bad); i++) {
		struct s3_access access = { 0 };
		struct s3_cred *cred = s3_cred_new(bad[i], dir);

		assert_fails(FB_EKEY, s3_cred_get(cred, &access, &err));
		assert_string_equal(err.id, "E-S3-KEYS");
		s3_cred_free(cred);
	}
	(void)unsetenv("AWS_SHARED_CREDENTIALS_FILE");
	(void)unsetenv("AWS_CONFIG_FILE");
	assert_ok(fb_io_remove_tree(dir, &err));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_in_each_form),
		cmocka_unit_test(what_is_no_key_is_refused_and_not_shown),
		cmocka_unit_test(keys_that_expire_are_read_again),
		cmocka_unit_test(a_file_that_others_can_read_is_refused),
		cmocka_unit_test(the_environment_and_a_command),
		cmocka_unit_test(keys_that_cannot_be_renewed_are_used),
		cmocka_unit_test(the_metadata_service),
		cmocka_unit_test(an_identity_token_becomes_keys),
		cmocka_unit_test(a_profile_takes_a_role_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

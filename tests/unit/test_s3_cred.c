/*
 * Where access keys are found, in which forms, and how long they are kept.
 */
#include "http_script.h"

#include "../../src/store/s3_cred.h"
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
	assert_non_null(
	    strstr(script.asked[2], "\r\nx-aws-ec2-metadata-token: token\r\n"));
	assert_non_null(strstr(script.asked[2],
	    "GET /latest/meta-data/iam/security-credentials/role HTTP"));
	script_release(&script);
	(void)unsetenv("AWS_EC2_METADATA_SERVICE_ENDPOINT");
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
		cmocka_unit_test(the_metadata_service),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

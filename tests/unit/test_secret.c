#include "test.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/crypto/sign.h"

static struct fb_error err;
static char dir[] = "/tmp/fb-secret-XXXXXX";

static void
write_file(const char *name, const char *text, mode_t mode)
{
	FB_AUTO_FREE char *path = fb_format("%s/%s", dir, name);
	struct fb_span bytes = { (const uint8_t *)text, strlen(text) };

	assert_ok(fb_io_replace(path, bytes, 0600, &err));
	assert_int_equal(chmod(path, mode), 0);
}

static int
make_dir(void **state)
{
	(void)state;
	if (mkdtemp(dir) == NULL)
		return -1;
	write_file("closed", "s3cret", 0600);
	write_file("open", "s3cret", 0644);
	write_file("empty", "", 0600);
	write_file("blank", "\n", 0600);
	write_file("masked", "s3cret", 0440);
	return 0;
}

static int
remove_dir(void **state)
{
	(void)state;
	return fb_io_remove_tree(dir, &err);
}

static void
assert_secret(const char *reference, const char *expected)
{
	FB_AUTO_SECRET struct fb_buf secret = { 0 };

	assert_ok(fb_secret_read(reference, dir, true, &secret, &err));
	assert_string_equal(fb_buf_str(&secret), expected);
}

static void
assert_no_secret(int code, const char *reference)
{
	FB_AUTO_SECRET struct fb_buf secret = { 0 };

	assert_fails(code, fb_secret_read(reference, dir, true, &secret, &err));
	assert_int_equal(secret.len, 0);
}

static void
every_form_is_read(void **state)
{
	FB_AUTO_FREE char *absolute = fb_format("file:%s/closed", dir);
	FB_AUTO_FREE char *by_fd = NULL;
	int ends[2];

	(void)state;
	assert_secret("file:closed", "s3cret");
	assert_secret(absolute, "s3cret");
	assert_int_equal(setenv("FB_SECRET", "from env", 1), 0);
	assert_secret("env:FB_SECRET", "from env");
	assert_secret("cmd:printf  %s|%s a b ", "a|b");
	assert_secret("cmd:cat closed", "s3cret");
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(write(ends[1], "piped", 5), 5);
	assert_int_equal(close(ends[1]), 0);
	by_fd = fb_format("fd:%d", ends[0]);
	assert_secret(by_fd, "piped");
	assert_secret(by_fd, "piped"); /* a pipe gives its bytes but once */
	assert_int_equal(close(ends[0]), 0);
	assert_int_equal(setenv("CREDENTIALS_DIRECTORY", dir, 1), 0);
	assert_secret("cred:closed", "s3cret");
}

static void
a_literal_secret_is_refused_and_never_shown(void **state)
{
	static const char *const bad[] = { "", "hunter2", "hunter2:file",
		"File:hunter2",
		"file:", "env:", "cmd:", "cmd:  ", "fd:", "fd:hunter2", "fd:-1",
		"fd:99999999999", "cred:", "cred:../hunter2", "cred:a/hunter2",
		"https://hunter2" };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(bad); i++) {
		assert_fails(FB_ECONFIG, fb_secret_check(bad[i], &err));
		assert_string_equal(err.id, "E-SECRET-REF");
		assert_null(strstr(err.msg, "hunter2"));
		assert_null(strstr(err.hint, "hunter2"));
		assert_no_secret(FB_ECONFIG, bad[i]);
	}
	assert_ok(fb_secret_check("file:/etc/key", &err));
	assert_ok(fb_secret_check("env:TOKEN", &err));
	assert_ok(fb_secret_check("cmd:pass show x", &err));
	assert_ok(fb_secret_check("fd:3", &err));
	assert_ok(fb_secret_check("cred:signing.key", &err));
}

static void
a_private_key_must_be_closed_to_others(void **state)
{
	FB_AUTO_SECRET struct fb_buf secret = { 0 };

	(void)state;
	assert_no_secret(FB_EKEY, "file:open");
	assert_string_equal(err.id, "E-KEY-MODE");
	assert_non_null(strstr(err.hint, "chmod 600"));
	assert_ok(fb_secret_read("file:open", dir, false, &secret, &err));
}

/* systemd may give a file of root's by an access list, whose mask looks like
 * what the group may do; and an empty line where there was no file. */
static void
a_credential_is_as_systemd_gives_it(void **state)
{
	(void)state;
	assert_int_equal(setenv("CREDENTIALS_DIRECTORY", dir, 1), 0);
	assert_secret("cred:masked", "s3cret");
	assert_no_secret(FB_EKEY, "cred:open");
	assert_string_equal(err.id, "E-KEY-MODE");
	assert_no_secret(FB_EKEY, "file:masked");
	assert_string_equal(err.id, "E-KEY-MODE");
	assert_no_secret(FB_EKEY, "cred:blank");
	assert_string_equal(err.id, "E-KEY");
	assert_non_null(strstr(err.msg, "blank' is empty"));
	assert_non_null(strstr(err.hint, "/etc/fleetbak/credentials/blank"));
}

static void
what_cannot_be_read_is_a_key_error(void **state)
{
	(void)state;
	assert_no_secret(FB_EKEY, "file:missing");
	assert_no_secret(FB_EKEY, "file:.");
	assert_no_secret(FB_EKEY, "file:empty");
	assert_no_secret(FB_EKEY, "env:FB_NOT_SET");
	assert_no_secret(FB_EKEY, "cmd:false");
	assert_no_secret(FB_EKEY, "cmd:fleetbak-no-such-program");
	assert_no_secret(FB_EKEY, "cmd:true");
	assert_no_secret(FB_EKEY, "fd:1000000");
}

static void
a_secret_has_a_largest_size(void **state)
{
	FB_AUTO_BUF struct fb_buf big = { 0 };

	(void)state;
	memset(fb_buf_reserve(&big, FB_SECRET_MAX + 1), 'x', FB_SECRET_MAX + 1);
	big.data[FB_SECRET_MAX + 1] = '\0';
	write_file("big", (const char *)big.data, 0600);
	assert_int_equal(setenv("FB_BIG", (const char *)big.data, 1), 0);
	for (int i = 0; i < 3; i++) {
		static const char *const references[] = { "file:big",
			"env:FB_BIG", "cmd:cat big" };
		FB_AUTO_SECRET struct fb_buf secret = { 0 };

		assert_int_equal(
		    fb_secret_read(references[i], dir, true, &secret, &err),
		    FB_EKEY);
	}
	assert_int_equal(unsetenv("FB_BIG"), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_form_is_read),
		cmocka_unit_test(a_literal_secret_is_refused_and_never_shown),
		cmocka_unit_test(a_private_key_must_be_closed_to_others),
		cmocka_unit_test(a_credential_is_as_systemd_gives_it),
		cmocka_unit_test(what_cannot_be_read_is_a_key_error),
		cmocka_unit_test(a_secret_has_a_largest_size),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}

/* What is run on a hypervisor's host is what libvirt runs there, and gets its
 * arguments as they are. */
#include "test.h"

#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../src/driver/libvirt_files.h"
#include "fleetbak/base/child.h"
#include "fleetbak/base/clock.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/text.h"

static struct fb_error err;

/* All words but the script's, with spaces between. */
static char *
words_of(const char *uri)
{
	static const char *const none[] = { NULL };
	struct fb_libvirt_far *far = fb_libvirt_far_new(uri, "mark");
	FB_AUTO_BUF struct fb_buf text = { 0 };
	FB_AUTO_WORDS char **words = NULL;

	if (far == NULL)
		return NULL;
	words = fb_libvirt_far_words(far, "true", none);
	for (size_t i = 0; words[i + 1] != NULL; i++)
		fb_buf_add_fmt(&text, "%s%s", i > 0 ? " " : "", words[i]);
	fb_libvirt_far_free(far);
	return fb_strdup(fb_buf_str(&text));
}

#define FIXED \
	" -T -enone -oBatchMode=yes -oConnectTimeout=30" \
	" -oServerAliveInterval=15"

static void
a_uri_says_how_its_host_is_reached(void **state)
{
	static const struct {
		const char *uri, *words;
	} cases[] = {
		{ "qemu+ssh://h/system", "ssh" FIXED " -- h" },
		{ "qemu+ssh://root@h:2222/system?keyfile=/a%20b",
		    "ssh" FIXED " -i /a b -l root -p 2222 -- h" },
		{ "qemu+ssh://h/session?no_verify=1&command=/x/ssh",
		    "/x/ssh" FIXED " -oStrictHostKeyChecking=no -- h" },
		{ "qemu+ssh://h/system?no_verify=0&no_tty=1&socket=/s",
		    "ssh" FIXED " -- h" },
		{ "qemu+ssh://[fe80::1]/system", "ssh" FIXED " -- fe80::1" },
		{ "qemu+tls://h/system", NULL },
		{ "qemu+libssh2://h/system", NULL },
		{ "qemu:///system", NULL },
		{ "qemu+ssh:///system", NULL },
		{ "qemu+ssh://-oProxyCommand=x/system", NULL },
		{ "no uri", NULL },
		{ "", NULL },
	};

	(void)state;
	for (size_t i = 0; i < FB_COUNT(cases); i++) {
		FB_AUTO_FREE char *words = words_of(cases[i].uri);

		if (cases[i].words == NULL)
			assert_null(words);
		else
			assert_string_equal(cases[i].words, words);
	}
}

/* The shell there gets what ssh would send to it. */
static void
run_script(const char *script, const char *const *args, struct fb_span input,
    struct fb_child_result *result)
{
	struct fb_libvirt_far *far =
	    fb_libvirt_far_new("qemu+ssh://h/system", "mark");
	FB_AUTO_WORDS char **words = fb_libvirt_far_words(far, script, args);
	size_t last = 0;

	fb_libvirt_far_free(far);
	while (words[last + 1] != NULL)
		last++;
	const char *const argv[] = { "sh", "-c", words[last], NULL };
	struct fb_child_spec spec = {
		.argv = argv, .timeout_ms = 60000, .lock_fd = -1,
		.input = input
	};

	assert_ok(fb_child_run(&spec, result, &err));
}

static void
arguments_come_as_they_are(void **state)
{
	static const char *const args[] = { "a b", "$HOME `x` \\", "it's",
		"", "-n", "two\nlines", "*", NULL };
	FB_AUTO_CHILD struct fb_child_result result = { 0 };

	(void)state;
	run_script("for word; do printf '<%s>' \"$word\"; done", args,
	    (struct fb_span){ 0 }, &result);
	assert_string_equal(
	    "<a b><$HOME `x` \\><it's><><-n><two\nlines><*>",
	    fb_buf_str(&result.out));
}

/* A program in ssh's place that runs what it is given here, or fails. */
static struct fb_libvirt_far *
far_with(const char *program)
{
	FB_AUTO_FREE char *uri =
	    fb_format("qemu+ssh://h/system?command=%s", program);

	return fb_libvirt_far_new(uri, "mark");
}

#define PROGRAM "/tmp/fleetbak-ssh.XXXXXX"

static void
make_program(char *path, const char *lines)
{
	FILE *file = fdopen(mkstemp(path), "w");

	(void)fprintf(file, "#!/bin/sh\n%s\n", lines);
	(void)fclose(file);
	(void)chmod(path, 0700);
}

static int
run_with(const char *lines, const char *script, struct fb_buf *out)
{
	static const char *const none[] = { NULL };
	char path[] = PROGRAM;
	struct fb_libvirt_far *far;
	int rc;

	make_program(path, lines);
	far = far_with(path);
	rc = fb_libvirt_far_run(far, "look", script, none,
	    SPAN("some bytes"), 10, out, &err);
	fb_libvirt_far_free(far);
	(void)unlink(path);
	return rc;
}

static void
how_a_script_ended_is_told(void **state)
{
	static const char here[] =
	    "while [ $# -gt 1 ]; do shift; done; exec sh -c \"$1\"";
	FB_AUTO_BUF struct fb_buf out = { 0 };

	(void)state;
	assert_ok(run_with(here, "cat", &out));
	assert_string_equal("some bytes", fb_buf_str(&out));
	assert_fails(FB_ENOTFOUND, run_with(here, "exit 44", &out));
	assert_fails(FB_EFAILED, run_with(here, "echo why >&2; exit 3", &out));
	assert_non_null(strstr(err.msg, "cannot look on 'h': why"));
	assert_fails(FB_ENOSPACE,
	    run_with(here, "echo No space left on device >&2; exit 1", &out));
	assert_fails(FB_EPROTO, run_with(here, "echo 1234567890", &out));
	assert_fails(
	    FB_EUNREACH, run_with("echo no route >&2; exit 255", "x", &out));
	assert_non_null(strstr(err.msg, "no route"));
	assert_string_equal("some bytes", fb_buf_str(&out));
}

/* In a directory of its own, what is in it and all that is beside it. */
static char *
what_is_in(const char *dir)
{
	FB_AUTO_FREE char *command =
	    fb_format("cd '%s' && ls && cat vars", dir);
	const char *const argv[] = { "sh", "-c", command, NULL };
	struct fb_child_spec spec = { .argv = argv, .lock_fd = -1 };
	FB_AUTO_CHILD struct fb_child_result result = { 0 };

	assert_ok(fb_child_run(&spec, &result, &err));
	return fb_strdup(fb_buf_str(&result.out));
}

static void
write_with(const char *lines, const char *path, const char *bytes, bool ok)
{
	char program[] = PROGRAM;
	struct fb_libvirt_driver driver = { 0 };
	struct fb_span span = { (const uint8_t *)bytes, strlen(bytes) };

	make_program(program, lines);
	driver.far = far_with(program);
	for (int over = 0; over < 2; over++) {
		int rc = over == 1
		    ? fb_libvirt_file_write_over(&driver, path, span, &err)
		    : fb_libvirt_file_replace(
		          &driver, path, span, 0600, 0700, &err);

		assert_int_equal(rc == FB_OK, ok);
	}
	fb_libvirt_far_free(driver.far);
	(void)unlink(program);
}

/* To what runs there a connection that ends is the end of its input. */
static void
what_is_cut_off_replaces_nothing(void **state)
{
	char dir[] = "/tmp/fleetbak-vars.XXXXXX";
	FB_AUTO_FREE char *path = NULL;
	FB_AUTO_FREE char *was = NULL;
	FB_AUTO_FREE char *cut = NULL;

	(void)state;
	assert_non_null(mkdtemp(dir));
	path = fb_format("%s/vars", dir);
	write_with(
	    "while [ $# -gt 1 ]; do shift; done; exec sh -c \"$1\"", path,
	    "what it was", true);
	was = what_is_in(dir);
	assert_string_equal("vars\nwhat it was", was);
	write_with("while [ $# -gt 1 ]; do shift; done\n"
	           "head -c 4 | sh -c \"$1\"",
	    path, "what it will be", false);
	cut = what_is_in(dir);
	assert_string_equal(was, cut);
	(void)unlink(path);
	assert_int_equal(rmdir(dir), 0);
}

/* Waits until a server is there, by the number of its process. */
static pid_t
await_server(const char *dir)
{
	FB_AUTO_FREE char *pattern = fb_format("%s/fleetbak-*/nbd", dir);
	FB_AUTO_BUF struct fb_buf text = { 0 };
	FB_AUTO_FREE char *path = NULL;
	uint64_t number;
	glob_t found;

	while (glob(pattern, 0, NULL, &found) != 0)
		fb_clock_wait(fb_clock_mono_ns() + 1000000);
	path = fb_format("%.*s/pid",
	    (int)(strlen(found.gl_pathv[0]) - strlen("/nbd")),
	    found.gl_pathv[0]);
	globfree(&found);
	while (strchr(fb_buf_str(&text), '\n') == NULL) {
		text.len = 0;
		(void)!fb_io_read_file(path, 32, &text, &err);
	}
	text.len = (size_t)(strchr(fb_buf_str(&text), '\n') -
	    fb_buf_str(&text));
	assert_ok(fb_text_u64(fb_buf_span(&text), INT_MAX, &number, &err));
	return (pid_t)number;
}

/* A directory that a server of this image had, whose number is another
 * process's now: this one's. */
static void
put_old_one(const char *dir)
{
	FB_AUTO_FREE char *pattern = fb_format("%s/fleetbak-*", dir);
	FB_AUTO_FREE char *old = NULL;
	FB_AUTO_FREE char *pid = NULL;
	glob_t found;
	FILE *file;

	assert_int_equal(glob(pattern, 0, NULL, &found), 0);
	old = fb_format("%.*s.AAAAAA",
	    (int)(strlen(found.gl_pathv[0]) - strlen(".XXXXXX")),
	    found.gl_pathv[0]);
	globfree(&found);
	assert_return_code(mkdir(old, 0700), errno);
	pid = fb_format("%s/pid", old);
	file = fopen(pid, "w");
	assert_non_null(file);
	(void)fprintf(file, "%ld\n", (long)getpid());
	(void)fclose(file);
}

/* What is run there, with standard input that stays open. */
static pid_t
start_server(const char *script, int *ret_input)
{
	int ends[2];
	pid_t pid;

	assert_return_code(pipe(ends), errno);
	pid = fork();
	assert_return_code(pid, errno);
	if (pid == 0) {
		(void)dup2(ends[0], STDIN_FILENO);
		(void)close(ends[0]);
		(void)close(ends[1]);
		(void)!freopen("/dev/null", "w", stdout);
		(void)execl("/bin/sh", "sh", "-c", script, NULL);
		_exit(127);
	}
	(void)close(ends[0]);
	*ret_input = ends[1];
	return pid;
}

/* Its standard streams stay open, as those of a connection that was cut. */
static void
a_server_that_was_cut_off_is_ended(void **state)
{
	char dir[] = "/tmp/fleetbak-far.XXXXXX", program[] = PROGRAM;
	FB_AUTO_FREE char *image = NULL;
	FB_AUTO_WORDS char **words = NULL;
	struct fb_libvirt_far *far;
	pid_t server;
	int input;
	size_t last = 0;
	pid_t pid;

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_return_code(setenv("TMPDIR", dir, 1), errno);
	make_program(program,
	    "while [ $# -gt 1 ]; do shift; done; exec sh -c \"$1\"");
	far = far_with(program);
	image = fb_format("%s/image", dir);
	assert_ok(fb_io_replace(image, SPAN("an image"), 0600, &err));
	words = fb_libvirt_far_to_image(far, image, "raw", true, NULL);
	while (words[last + 1] != NULL)
		last++;
	server = start_server(words[last], &input);
	pid = await_server(dir);
	assert_int_equal(kill(pid, 0), 0);
	put_old_one(dir);
	assert_ok(fb_libvirt_far_end_image(far, "/another", &err));
	assert_int_equal(kill(pid, 0), 0);
	assert_ok(fb_libvirt_far_end_image(far, image, &err));
	while (kill(pid, 0) == 0) /* until its parent knows */
		fb_clock_wait(fb_clock_mono_ns() + 1000000);
	(void)close(input);
	assert_int_equal(waitpid(server, NULL, 0), server);
	assert_int_equal(unlink(image), 0);
	assert_int_equal(rmdir(dir), 0); /* nothing else is there */
	fb_libvirt_far_free(far);
	(void)unlink(program);
	(void)unsetenv("TMPDIR");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_uri_says_how_its_host_is_reached),
		cmocka_unit_test(arguments_come_as_they_are),
		cmocka_unit_test(how_a_script_ended_is_told),
		cmocka_unit_test(what_is_cut_off_replaces_nothing),
		cmocka_unit_test(a_server_that_was_cut_off_is_ended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

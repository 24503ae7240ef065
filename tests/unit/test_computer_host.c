/*
 * Names that a computer-host gets from us: it joins them to paths, unchecked.
 * And what it is asked, and in which order, where that matters.
 */
#include <string.h>
#include <sys/stat.h>

#include "http_script.h"

#include "../../src/driver/computer_host_internal.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/base/name.h"

static struct fb_error err;

static void
ids_of_snapshots_are_safe_and_one_of_each(void **state)
{
	static const char *const machines[] = { "m1", "m2", ".hidden", "_" };
	static const char *const tokens[] = {
		"20261129-012345678-3fa92c17.1",
		"20261129-012345678-3fa92c17.18446744073709551615", ".", "..",
		"a_b", "a.b", "_", "a-b",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	};
	static const char *const owners[] = { NULL, "r1", "r2" };
	char sids[FB_COUNT(machines) * FB_COUNT(tokens) * FB_COUNT(owners)]
	         [FB_CHOST_SID_SIZE];
	size_t count = 0;

	(void)state;
	for (size_t m = 0; m < FB_COUNT(machines); m++)
		for (size_t t = 0; t < FB_COUNT(tokens); t++)
			for (size_t o = 0; o < FB_COUNT(owners); o++)
				fb_chost_sid(machines[m], tokens[t],
				    owners[o], sids[count++]);
	for (size_t i = 0; i < count; i++) {
		assert_in_range(strlen(sids[i]), 4, 64);
		assert_memory_equal(sids[i], "fb-", 3);
		assert_int_equal(strspn(sids[i],
		                     "abcdefghijklmnopqrstuvwxyz"
		                     "0123456789_-"),
		    strlen(sids[i]));
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(sids[i], sids[k]);
	}
}

static void
names_of_disks_are_no_paths(void **state)
{
	static const char *const good[] = { "system", "user-0", "user-7",
		"user-123" };
	static const char *const bad[] = { "", "system/../x", "user-", "user-x",
		"user-0/..", "user-01", "user-1234", "../../evil", "System",
		"definition", "memory", "user-0.img", "user--1" };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(good); i++)
		assert_true(fb_chost_disk_ok(good[i]));
	for (size_t i = 0; i < FB_COUNT(bad); i++)
		assert_false(fb_chost_disk_ok(bad[i]));
}

static void
addresses_to_serve_at_are_numbers(void **state)
{
	static const char *const good[] = { "127.0.0.1:0", "[::1]:8080",
		"192.0.2.1:65535" };
	static const char *const bad[] = { "", ":1", "localhost:1", "127.0.0.1",
		"127.0.0.1:", "127.0.0.1:http", "::1:x", "0.0.0.0:1", "0:1",
		"[::]:8080", "[::0]:1", "[::ffff:0.0.0.0]:1" };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(good); i++)
		assert_ok(fb_chost_serve_check(good[i], &err));
	for (size_t i = 0; i < FB_COUNT(bad); i++) {
		assert_fails(FB_ECONFIG, fb_chost_serve_check(bad[i], &err));
		assert_string_equal(err.id, "E-CHOST-SERVE");
	}
}

static void
what_a_source_says_is_checked_when_it_is_opened(void **state)
{
	static const char *const bad[] = { "{}",
		"{\"socket\":\"/s\",\"server\":\"http://127.0.0.1:1\"}",
		"{\"socket\":\"/s\",\"memory\":{\"m1\":\"much\"}}",
		"{\"socket\":\"/s\",\"storage\":{\"m1\":\"-1\"}}" };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(bad); i++) {
		struct fb_driver *driver = NULL;
		FB_AUTO_JSON json_t *options = json_loads(bad[i], 0, NULL);
		struct fb_config_source source = { .name = (char[]){ "lab" },
			.driver = (char[]){ "computer-host" },
			.options = options };

		assert_fails(
		    FB_ECONFIG, fb_driver_open(&source, &driver, &err));
		assert_null(driver);
	}
}

/* ------------------------------------------------------- what it is asked */

#define HEAD(status) \
	"HTTP/1.1 " status "\r\nConnection: close\r\nContent-Length: "
#define OTHERS "\"created_at\":\"2026-11-01T00:00:00Z\"}}"
#define RUNNING \
	HEAD("200 X") "77\r\n\r\n" \
	"{\"machine\":{\"id\":\"m1\",\"phase\":\"running\"," OTHERS
#define STOPPED \
	HEAD("200 X") "77\r\n\r\n" \
	"{\"machine\":{\"id\":\"m1\",\"phase\":\"stopped\"," OTHERS
#define FAILED \
	HEAD("200 X") "76\r\n\r\n" \
	"{\"machine\":{\"id\":\"m1\",\"phase\":\"failed\"," OTHERS
#define NO HEAD("400 X") "14\r\n\r\n{\"error\":\"no\"}"
#define NONE HEAD("200 X") "16\r\n\r\n{\"snapshots\":[]}"
#define DONE HEAD("204 X") "0\r\n\r\n"
#define GONE HEAD("404 X") "30\r\n\r\n{\"error\":\"machine: not found\"}"

struct lab {
	struct script script;
	struct fb_driver *driver;
	struct fb_machine machine;
	char id[3];
	/* Of a restore: */
	char spool[64], system[7];
	struct fb_volume volume;
	struct fb_restore_request request;
};

static struct fb_chost *
begin(struct lab *lab, const char *const *answers, size_t count)
{
	FB_AUTO_FREE char *text = NULL;
	FB_AUTO_JSON json_t *options = NULL;
	struct fb_config_source source = { .name = (char[]){ "lab" },
		.driver = (char[]){ "computer-host" } };

	script_start(&lab->script, answers, count);
	text = fb_format("{\"server\":\"http://127.0.0.1:%u\","
	                 "\"serve\":\"127.0.0.1:0\",\"spool\":\"%s\","
	                 "\"storage\":{\"m1\":\"4096\"}}",
	    lab->script.port, lab->spool);
	options = source.options = json_loads(text, 0, NULL);
	assert_ok(fb_driver_open(&source, &lab->driver, &err));
	(void)snprintf(lab->id, sizeof(lab->id), "m1");
	lab->machine.id = lab->id;
	return (struct fb_chost *)lab->driver;
}

static void
end(struct lab *lab)
{
	fb_driver_close(lab->driver);
	script_end(&lab->script);
	script_release(&lab->script);
}

static void
a_machine_that_may_go_down_late_is_not_up_yet(void **state)
{
	static const char *const answers[] = { RUNNING, RUNNING, STOPPED };
	struct fb_verb verb = { .token = "", .lock_fd = -1 };
	struct lab lab = { 0 };
	enum fb_power power;

	(void)state;
	begin(&lab, answers, 3)->settle_ms = 3600000;
	assert_ok(fb_chost_power_get(
	    lab.driver, &lab.machine, &verb, &power, &err));
	assert_int_equal(power, FB_POWER_UP);
	verb.settle = true;
	assert_ok(fb_chost_power_get(
	    lab.driver, &lab.machine, &verb, &power, &err));
	assert_int_equal(power, FB_POWER_DOWN);
	end(&lab);
}

static void
whether_it_stays_up_is_unknown_when_the_time_is_over(void **state)
{
	static const char *const answers[] = { RUNNING, RUNNING };
	struct fb_verb verb = { .token = "", .lock_fd = -1, .settle = true,
		.timeout_ms = 1 };
	struct lab lab = { 0 };
	enum fb_power power;

	(void)state;
	begin(&lab, answers, 2)->settle_ms = 3600000;
	assert_ok(fb_chost_power_get(
	    lab.driver, &lab.machine, &verb, &power, &err));
	assert_int_equal(power, FB_POWER_UNKNOWN);
	fb_driver_close(lab.driver);
	script_stop(&lab.script); /* one look, or two */
	script_release(&lab.script);
}

static void
it_is_up_once_it_was_long_enough(void **state)
{
	static const char *const answers[] = { RUNNING };
	struct fb_verb verb = { .token = "", .lock_fd = -1, .settle = true };
	struct lab lab = { 0 };
	enum fb_power power;

	(void)state;
	begin(&lab, answers, 1)->settle_ms = 0;
	assert_ok(fb_chost_power_get(
	    lab.driver, &lab.machine, &verb, &power, &err));
	assert_int_equal(power, FB_POWER_UP);
	end(&lab);
}

static void
what_goes_down_late_is_started_again(void **state)
{
	static const char *const answers[] = { RUNNING, STOPPED, STOPPED,
		DONE, RUNNING, GONE };
	struct fb_verb verb = { .token = "t", .lock_fd = -1, .settle = true };
	struct lab lab = { 0 };

	(void)state;
	begin(&lab, answers, 6)->settle_ms = 3600000;
	lab.machine.start_timeout_ms = 60000;
	assert_fails(FB_ENOTFOUND,
	    fb_chost_start(lab.driver, &lab.machine, &verb, &err));
	assert_memory_equal(
	    lab.script.asked[3], "POST /machines/m1/start ", 24);
	end(&lab);
}

/* -------------------------------------------------------- kept snapshots */

/* An answer with `text`; the caller frees. */
static char *
answer_of(const char *text)
{
	return fb_format(HEAD("200 X") "%zu\r\n\r\n%s", strlen(text), text);
}

static char *
snapshot_made(const char *sid, int day)
{
	FB_AUTO_FREE char *text = fb_format(
	    "{\"snapshot\":{\"id\":\"%s\",\"machine_id\":\"m1\","
	    "\"created_at\":\"2026-11-%02dT00:00:00Z\"}}", sid, day);

	return answer_of(text);
}

/* Two of ours, an older and a newer one of another repository. */
static void
the_kept_ones_of_others_stay(void **state)
{
	static const char *const tokens[] = { "t1", "t2", "t3", "t4" };
	static const char *const owners[] = { "r1", "r1", "r2", "r2" };
	static const int days[] = { 2, 3, 1, 4 };
	struct fb_verb verb = { .token = "t2", .lock_fd = -1, .owner = "r1" };
	char sids[4][FB_CHOST_SID_SIZE];
	const char *answers[6];
	FB_AUTO_FREE char *report = NULL;
	FB_AUTO_FREE char *first = NULL;
	FB_AUTO_FREE char *wanted = NULL;
	char *shown[4];
	struct lab lab = { 0 };

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		fb_chost_sid("m1", tokens[i], owners[i], sids[i]);
		answers[1 + i] = shown[i] = snapshot_made(sids[i], days[i]);
	}
	report = fb_format("{\"report\":{\"snapshots\":["
	                   "{\"snapshot_id\":\"%s\"},{\"snapshot_id\":\"%s\"},"
	                   "{\"snapshot_id\":\"%s\"},{\"snapshot_id\":\"%s\"}]}}",
	    sids[0], sids[1], sids[2], sids[3]);
	answers[0] = first = answer_of(report);
	answers[5] = DONE;
	begin(&lab, answers, 6)->keep = true;
	assert_ok(fb_chost_remove_snapshot(
	    lab.driver, &lab.machine, &verb, &err));
	wanted = fb_format("DELETE /snapshots/%s ", sids[0]);
	assert_memory_equal(
	    lab.script.asked[5], wanted, strlen(wanted));
	end(&lab);
	for (size_t i = 0; i < 4; i++)
		free(shown[i]);
}

/* ------------------------------------------------------ ends of restores */

static void
put(const char *dir, const char *name, const char *text)
{
	FB_AUTO_FREE char *path = fb_format("%s/%s", dir, name);
	struct fb_span bytes = { (const uint8_t *)text, strlen(text) };

	assert_ok(fb_io_replace(path, bytes, 0600, &err));
}

/* A restore of which `facts` are known, and whose disk is 8 KiB of zeros. */
static void
begin_restore(struct lab *lab, const char *facts, const char *const *answers,
    size_t count)
{
	FB_AUTO_FREE char *site = NULL;
	FB_AUTO_FREE char *disk = NULL;

	(void)snprintf(lab->spool, sizeof(lab->spool),
	    "/tmp/fleetbak-chost-XXXXXX");
	assert_non_null(mkdtemp(lab->spool));
	site = fb_format("%s/t1", lab->spool);
	disk = fb_format("%s/system.img", site);
	assert_int_equal(mkdir(site, 0700), 0);
	put(site, "restore.json", facts);
	put(site, "system.img", "");
	assert_int_equal(truncate(disk, 8192), 0);
	put(lab->spool, "machine.json", "{\"artifact\":{}}");
	begin(lab, answers, count)->settle_ms = 0;
	(void)snprintf(lab->system, sizeof(lab->system), "system");
	lab->volume = (struct fb_volume){ .name = lab->system,
		.kind = FB_VOLUME_DISK, .size = 8192 };
	lab->machine.volumes = &lab->volume;
	lab->machine.volume_count = 1;
	lab->request = (struct fb_restore_request){ .machine = &lab->machine,
		.token = "t1", .definition_dir = lab->spool,
		.all_volumes = true };
}

static int
finish(struct lab *lab)
{
	struct fb_verb verb = { .token = "t1", .lock_fd = -1 };

	return fb_chost_restore_finish(
	    lab->driver, &lab->request, &verb, &err);
}

static void
end_restore(struct lab *lab)
{
	end(lab);
	assert_ok(fb_io_remove_tree(lab->spool, &err));
}

static void
was_asked(const struct lab *lab, size_t index, const char *line)
{
	assert_memory_equal(lab->script.asked[index], line, strlen(line));
}

static void
a_machine_of_somebody_else_is_not_taken_for_ours(void **state)
{
	static const char *const answers[] = { GONE, GONE, NO, STOPPED };
	struct lab lab = { 0 };

	(void)state;
	begin_restore(&lab, "{\"was\":\"\",\"tries\":0}", answers, 4);
	assert_fails(FB_EFAILED, finish(&lab));
	assert_fails(FB_ECONFLICT, finish(&lab));
	was_asked(&lab, 2, "POST /snapshots/fbr-");
	/* The disk is larger than what is configured. */
	assert_non_null(
	    strstr(lab.script.asked[2], "\"storage_bytes\":8192"));
	end_restore(&lab);
}

static void
the_old_machine_is_looked_at_right_before_it_goes(void **state)
{
	static const char *const answers[] = { STOPPED, RUNNING };
	struct lab lab = { 0 };

	(void)state;
	begin_restore(&lab, "{\"was\":\"2026-11-01T00:00:00Z\"}", answers, 2);
	assert_fails(FB_ECONFLICT, finish(&lab));
	end_restore(&lab);
}

static void
the_snapshot_is_looked_for_before_the_old_machine_goes(void **state)
{
	static const char *const answers[] = { STOPPED, NONE };
	struct lab lab = { 0 };

	(void)state;
	begin_restore(&lab,
	    "{\"was\":\"2026-11-01T00:00:00Z\",\"local\":true}", answers, 2);
	lab.request.snapshot = "t0";
	assert_fails(FB_ENOTFOUND, finish(&lab));
	was_asked(&lab, 1, "GET /machines/m1/snapshots ");
	end_restore(&lab);
}

/* And it is ended once: the second time nothing is done. */
static void
what_was_asked_for_is_waited_for_and_then_ours(void **state)
{
	static const char *const answers[] = { GONE, RUNNING, RUNNING,
		RUNNING, DONE, STOPPED };
	struct lab lab = { 0 };

	(void)state;
	begin_restore(&lab, "{\"was\":\"\",\"asked\":true}", answers, 6);
	assert_ok(finish(&lab));
	was_asked(&lab, 4, "POST /machines/m1/stop ");
	assert_ok(finish(&lab));
	end_restore(&lab);
}

static void
what_came_up_may_be_stopped_again(void **state)
{
	static const char *const answers[] = { STOPPED, STOPPED, DONE };
	struct lab lab = { 0 };

	(void)state;
	begin_restore(&lab,
	    "{\"was\":\"\",\"made\":\"2026-11-01T00:00:00Z\",\"up\":true}",
	    answers, 3);
	assert_ok(finish(&lab));
	end_restore(&lab);
}

static void
only_a_failed_machine_of_ours_is_deleted(void **state)
{
	static const char *const answers[] = { FAILED, FAILED, GONE, GONE,
		GONE, NO };
	struct lab lab = { 0 };

	(void)state;
	begin_restore(&lab,
	    "{\"was\":\"\",\"made\":\"2026-11-01T00:00:00Z\"}", answers, 6);
	assert_fails(FB_EFAILED, finish(&lab));
	was_asked(&lab, 5, "POST /snapshots/fbr-");
	end_restore(&lab);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ids_of_snapshots_are_safe_and_one_of_each),
		cmocka_unit_test(names_of_disks_are_no_paths),
		cmocka_unit_test(addresses_to_serve_at_are_numbers),
		cmocka_unit_test(
		    what_a_source_says_is_checked_when_it_is_opened),
		cmocka_unit_test(
		    a_machine_that_may_go_down_late_is_not_up_yet),
		cmocka_unit_test(
		    whether_it_stays_up_is_unknown_when_the_time_is_over),
		cmocka_unit_test(it_is_up_once_it_was_long_enough),
		cmocka_unit_test(what_goes_down_late_is_started_again),
		cmocka_unit_test(the_kept_ones_of_others_stay),
		cmocka_unit_test(
		    a_machine_of_somebody_else_is_not_taken_for_ours),
		cmocka_unit_test(
		    the_old_machine_is_looked_at_right_before_it_goes),
		cmocka_unit_test(
		    the_snapshot_is_looked_for_before_the_old_machine_goes),
		cmocka_unit_test(
		    what_was_asked_for_is_waited_for_and_then_ours),
		cmocka_unit_test(what_came_up_may_be_stopped_again),
		cmocka_unit_test(only_a_failed_machine_of_ours_is_deleted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

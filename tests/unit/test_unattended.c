/*
 * Metrics that outlive failures, secrets that stay, words that are quoted.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fleetbak/base/log.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/cli/timetable.h"
#include "fleetbak/cli/unattended.h"
#include "test.h"

static void
make(const char *old, int status, const char *facts, struct fb_buf *dst)
{
	FB_AUTO_JSON json_t *known =
	    facts != NULL ? json_loads(facts, 0, NULL) : NULL;
	struct fb_metrics_input in = {
		.old = { (const uint8_t *)old, strlen(old) },
		.fleet = "f",
		.repository = "main",
		.command = "download",
		.now_ns = INT64_C(2000000000) * 1000000000,
		.elapsed_ms = 1500,
		.rpo_ms = 3600000,
		.status = status,
		.facts = known,
	};

	fb_buf_clear(dst);
	fb_metrics_make(&in, dst);
}

static bool
has(const struct fb_buf *text, const char *line)
{
	return strstr(fb_buf_str(text), line) != NULL;
}

#define SUCCESS    "fleetbak_machine_last_success_timestamp_seconds"
#define M(machine) "{fleet=\"f\",source=\"s\",machine=\"" machine "\"}"

static void
a_success_outlives_failures(void **state)
{
	FB_AUTO_BUF struct fb_buf first = { 0 }, then = { 0 };

	(void)state;
	make("", 0,
	    "{\"machines\":[{\"machine\":\"s/a\",\"result\":0,\"time\":77,"
	    "\"size\":5,\"read\":4,\"stored\":3,\"downtime\":0.25}]}",
	    &first);
	assert_true(has(&first, SUCCESS M("a") " 77\n"));
	assert_true(
	    has(&first, "fleetbak_machine_rpo_seconds" M("a") " 3600\n"));
	assert_true(has(&first, "_last_downtime_seconds" M("a") " 0.250\n"));
	assert_true(has(&first,
	    "fleetbak_last_success_timestamp_seconds"
	    "{fleet=\"f\",command=\"download\"} 2000000000"));
	make(fb_buf_str(&first), 3,
	    "{\"machines\":[{\"machine\":\"s/a\",\"result\":1},"
	    "{\"machine\":\"s/b\",\"result\":1}]}",
	    &then);
	assert_true(has(&then, SUCCESS M("a") " 77\n"));
	assert_true(has(&then, SUCCESS M("b") " 0\n"));
	assert_true(has(&then, "{fleet=\"f\",command=\"download\"} 3\n"));
	assert_true(has(&then, "result=\"failed\"} 2\n"));
	assert_true(has(&then,
	    "_last_success_timestamp_seconds{fleet=\"f\","
	    "command=\"download\"} 2000000000"));
	/* It ended before it knew any machine. */
	make(fb_buf_str(&then), 15, NULL, &first);
	assert_true(has(&first, SUCCESS M("a") " 77\n"));
}

static void
who_left_is_measured_no_more(void **state)
{
	static const char old[] = SUCCESS M(
	    "gone") " 1\n" SUCCESS
	            "{fleet=\"f\",source=\"away\",machine=\"x\"} 2\n" SUCCESS
	            "{fleet=\"other\",source=\"s\",machine=\"y\"} 3\n";
	FB_AUTO_BUF struct fb_buf text = { 0 };

	(void)state;
	make(old, 3,
	    "{\"whole\":true,\"unreachable\":[\"away\"],"
	    "\"machines\":[{\"machine\":\"s/a\",\"result\":1}]}",
	    &text);
	assert_false(has(&text, "machine=\"gone\""));
	assert_true(has(&text, "machine=\"x\"} 2\n"));
	assert_true(has(&text, "machine=\"y\"} 3\n"));
	make(old, 3, "{\"machines\":[{\"machine\":\"s/a\",\"result\":1}]}",
	    &text);
	assert_true(has(&text, SUCCESS M("gone") " 1\n"));
}

static void
what_is_not_ours_does_not_stay(void **state)
{
	static const char *const bad[] = { "other_metric{a=\"b\"} 1\n", SUCCESS,
		SUCCESS "{", SUCCESS "}{ 1\n", SUCCESS "{} \n",
		SUCCESS "{fleet=\"f\"} 1x\n", SUCCESS "{fleet=\"f\"}1\n",
		"\n\n{} 1\n", "} 1{" };
	FB_AUTO_BUF struct fb_buf nothing = { 0 }, text = { 0 };

	(void)state;
	make("", 0, NULL, &nothing);
	for (size_t i = 0; i < FB_COUNT(bad); i++) {
		make(bad[i], 0, NULL, &text);
		assert_string_equal(fb_buf_str(&text), fb_buf_str(&nothing));
	}
}

static void
names_are_escaped(void **state)
{
	FB_AUTO_BUF struct fb_buf text = { 0 }, again = { 0 };

	(void)state;
	make("", 0,
	    "{\"machines\":[{\"machine\":\"s/a\\\"}\\\\\\n b\","
	    "\"result\":1}]}",
	    &text);
	assert_true(has(&text,
	    SUCCESS "{fleet=\"f\",source=\"s\",machine="
	            "\"a\\\"}\\\\\\n b\"} 0\n"));
	make(fb_buf_str(&text), 0, NULL, &again);
	assert_true(has(&again,
	    SUCCESS "{fleet=\"f\",source=\"s\",machine="
	            "\"a\\\"}\\\\\\n b\"} 0\n"));
}

static void
secrets_stay(void **state)
{
	static const char pem[] = "-----BEGIN KEY-----\nAAAABBBBCCCC\r\n"
	                          "short\n-----END KEY-----\n";
	FB_AUTO_BUF struct fb_buf text = { 0 };

	(void)state;
	fb_redact_add((struct fb_span){ (const uint8_t *)pem, strlen(pem) });
	fb_redact_add(
	    (struct fb_span){ (const uint8_t *)"hunter2-hunter2", 15 });
	fb_buf_add_str(&text,
	    "a hunter2-hunter2AAAABBBBCCCC short "
	    "-----BEGIN KEY-----\n");
	fb_redact(&text);
	assert_string_equal(fb_buf_str(&text),
	    "a [secret][secret] short -----BEGIN KEY-----\n");
	fb_buf_clear(&text);
	fb_redact(&text);
	assert_int_equal(text.len, 0);
}

static void
a_log_file_is_opened_anew(void **state)
{
	char dir[] = "/tmp/fleetbak-log.XXXXXX";
	FB_AUTO_FREE char *path = NULL, *moved = NULL;
	struct fb_error err = { 0 };

	(void)state;
	assert_non_null(mkdtemp(dir));
	path = fb_format("%s/log", dir);
	moved = fb_format("%s/old", dir);
	assert_ok(fb_log_open(path, &err));
	assert_true(fb_log_is_open());
	fb_log_file(FB_LOG_INFO, "one\ntwo");
	assert_int_equal(rename(path, moved), 0);
	fb_log_reopen();
	fb_log_file(FB_LOG_ERROR, "three\n");
	assert_int_equal(access(path, F_OK), 0);
	fb_log_close();
	fb_log_file(FB_LOG_ERROR, "nobody");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(unlink(moved), 0);
	assert_int_equal(rmdir(dir), 0);
	assert_fails(FB_ENOTFOUND, fb_log_open(path, &err));
	assert_false(fb_log_is_open());
}

static void
words_are_quoted(void **state)
{
	static const char *const rows[][3] = {
		{ "/a/b-c", "/a/b-c", "/a/b-c" },
		{ "", "\"\"", "''" },
		{ "a b", "\"a b\"", "'a b'" },
		{ "50%", "\"50%%\"", "'50\\%'" },
		{ "$x\"y\\", "\"$$x\\\"y\\\\\"", "'$x\"y\\'" },
		{ "it's", "\"it's\"", "'it'\\''s'" },
		{ "a\tb", "\"a\\x09b\"", "'a\tb'" },
	};
	FB_AUTO_BUF struct fb_buf text = { 0 };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(rows); i++) {
		fb_buf_clear(&text);
		fb_timetable_quote(&text, rows[i][0]);
		assert_string_equal(fb_buf_str(&text), rows[i][1]);
		fb_buf_clear(&text);
		fb_timetable_quote_cron(&text, rows[i][0]);
		assert_string_equal(fb_buf_str(&text), rows[i][2]);
	}
}

/* What prune and status know stays until they know it anew. */
static void
the_repository_is_measured(void **state)
{
	FB_AUTO_BUF struct fb_buf pruned = { 0 }, then = { 0 };

	(void)state;
	make(SUCCESS M("a") " 77\n", 0,
	    "{\"kept\":[{\"machine\":\"s/a\",\"snapshots\":41}],"
	    "\"snapshots\":1187,\"repo_stored\":6155442913280}",
	    &pruned);
	assert_true(has(&pruned, "fleetbak_machine_snapshots" M("a") " 41\n"));
	assert_true(has(&pruned,
	    "fleetbak_repo_snapshots{fleet=\"f\",repo=\"main\"} 1187\n"));
	assert_true(has(&pruned,
	    "fleetbak_repo_stored_bytes{fleet=\"f\",repo=\"main\"} "
	    "6155442913280\n"));
	make(fb_buf_str(&pruned), 0,
	    "{\"snapshots\":1188,\"repo_logical\":5,\"machines\":[{"
	    "\"machine\":\"s/a\",\"result\":0,\"time\":78,"
	    "\"duration\":267.1}],\"whole\":true}",
	    &then);
	assert_true(has(&then, "fleetbak_machine_snapshots" M("a") " 41\n"));
	assert_true(has(&then,
	    "fleetbak_machine_last_duration_seconds" M("a") " 267.100\n"));
	assert_true(has(&then,
	    "fleetbak_repo_snapshots{fleet=\"f\",repo=\"main\"} 1188\n"));
	assert_true(has(&then,
	    "fleetbak_repo_logical_bytes{fleet=\"f\",repo=\"main\"} 5\n"));
	assert_true(has(&then, "fleetbak_repo_stored_bytes{"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_success_outlives_failures),
		cmocka_unit_test(the_repository_is_measured),
		cmocka_unit_test(who_left_is_measured_no_more),
		cmocka_unit_test(what_is_not_ours_does_not_stay),
		cmocka_unit_test(names_are_escaped),
		cmocka_unit_test(secrets_stay),
		cmocka_unit_test(a_log_file_is_opened_anew),
		cmocka_unit_test(words_are_quoted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

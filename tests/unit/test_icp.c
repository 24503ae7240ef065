/* What the icp command says, and what is new of it. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../src/driver/icp_internal.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "test.h"

static struct fb_error err;

#define ROOT "aaaaa-aa"
#define APP  "renrk-eyaaa-aaaaa-aaada-cai"

static struct fb_span
span(const char *text)
{
	return (struct fb_span){ (const uint8_t *)text, strlen(text) };
}

static void
only_versions_that_are_known_pass_the_gate(void **state)
{
	static const char *const good[] = { "icp 1.2.0", "icp 1.3.0\n",
		"1.2.0", "icp 1.10.3 (abc)", "icp 1.3.0-beta.1\n" };
	static const char *const bad[] = { "", "icp", "icp 1.1.9", "icp 0.9.9",
		"icp 2.0.0", "icp 1.2", "icp 1.2.", "icp 1.2.0x", "dfx 1.2.0",
		"icp 11.2.0", "icp 1.2.9999999", "icp -1.2.0",
		"icp 99999999999999999999.2.0" };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(good); i++)
		assert_ok(fb_icp_check_version(span(good[i]), &err));
	for (size_t i = 0; i < FB_COUNT(bad); i++) {
		assert_fails(
		    FB_EUNSUP, fb_icp_check_version(span(bad[i]), &err));
		assert_string_equal(err.id, "E-ICP-VERSION");
	}
}

static void
a_registry_is_read_in_both_of_its_shapes(void **state)
{
	static const char *const texts[] = {
		"{\"Ok\":[{\"pid\":\"" ROOT "\",\"role\":\"root\",\"record\":"
		"{\"kind\":\"root\",\"parent_pid\":null,\"module_hash\":null}},"
		"{\"pid\":\"" APP "\",\"role\":\"app\",\"kind\":\"singleton\","
		"\"record\":{\"parent_pid\":[\"" ROOT "\"],"
		"\"module_hash\":[1,171]}}]}",
		"[{\"pid\":\"" ROOT "\",\"role\":\"root\",\"kind\":\"root\"},"
		"{\"pid\":\"" APP "\",\"role\":\"app\",\"kind\":\"singleton\","
		"\"parent_pid\":\"" ROOT "\",\"module_hash\":\"0x01AB\"}]"
	};

	(void)state;
	for (size_t i = 0; i < FB_COUNT(texts); i++) {
		struct fb_icp_registry registry = { 0 };

		assert_ok(fb_icp_parse_registry(
		    span(texts[i]), &registry, &err));
		assert_int_equal(registry.count, 2);
		assert_string_equal(registry.rows[0].id, ROOT);
		assert_string_equal(registry.rows[0].role, "root");
		assert_string_equal(registry.rows[0].kind, "root");
		assert_null(registry.rows[0].parent);
		assert_string_equal(registry.rows[0].module, "");
		assert_string_equal(registry.rows[1].id, APP);
		assert_string_equal(registry.rows[1].parent, ROOT);
		assert_string_equal(registry.rows[1].module, "01ab");
		fb_icp_registry_release(&registry);
	}
}

static char *
made_of(const char *candid)
{
	FB_AUTO_JSON json_t *value = fb_icp_candid(candid);

	return value != NULL ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY)
	                     : fb_strdup("none");
}

static void
the_text_of_candid_is_read(void **state)
{
	static const char *const cases[][2] = {
		{ "(null)", "null" },
		{ "(opt \"a\",)", "\"a\"" },
		{ " ( 1_000 : nat64 ) // end", "1000" },
		{ "(99999999999999999999)", "\"99999999999999999999\"" },
		{ "(-5 : int)", "\"-5\"" },
		{ "(\"\\n\\\"\\u{e9}\\41\")", "\"\\n\\\"\303\251A\"" },
		{ "(blob \"\\00a\")", "[0,97]" },
		{ "(vec {})", "[]" },
		{ "(vec { true; false })", "[true,false]" },
		{ "(variant { Ok })", "{\"Ok\":null}" },
		{ "(record { \"a b\" = 1; c = principal \"aaaaa-aa\"; })",
		    "{\"a b\":1,\"c\":\"aaaaa-aa\"}" },
		/* By their hashes: Ok, pid. */
		{ "(variant { 17_724 = record { 5_593_163 = 1 } })",
		    "{\"Ok\":{\"pid\":1}}" },
		{ "", "none" },
		{ "(", "none" },
		{ "()", "none" },
		{ "(1) 2", "none" },
		{ "(vec { 1", "none" },
		{ "(vec { 1 2 })", "none" },
		{ "(record { a = 1; a = 2 })", "none" },
		{ "(\"\\u{110000}\")", "none" },
		{ "(\"\\00\")", "none" },
		{ "(\"\\ff\")", "none" },
		{ "(word)", "none" },
	};
	char deep[400] = "(";

	(void)state;
	for (size_t i = 0; i < FB_COUNT(cases); i++) {
		FB_AUTO_FREE char *made = made_of(cases[i][0]);

		assert_string_equal(made, cases[i][1]);
	}
	for (size_t i = 0; i < 90; i++)
		memcpy(deep + 1 + 4 * i, "opt ", 5);
	assert_null(fb_icp_candid(deep));
}

static void
a_registry_that_is_none_is_refused_as_a_whole(void **state)
{
	static const char *const bad[] = { "", "null", "{}", "{\"Err\":[]}",
		"[{}]", "[{\"pid\":\"../x\"}]", "[{\"pid\":\"--help\"}]",
		"[{\"pid\":\"" ROOT "\"},{\"pid\":7}]",
		"[{\"pid\":\"" ROOT "\",\"role\":[\"a\",\"b\"]}]",
		"[{\"pid\":\"" ROOT "\",\"role\":\"a\\nb\"}]",
		"[{\"pid\":\"" ROOT "\",\"parent_pid\":\"x\"}]",
		"[{\"pid\":\"" ROOT "\",\"module_hash\":\"0x0\"}]",
		"[{\"pid\":\"" ROOT "\",\"module_hash\":[256]}]",
		"[{\"pid\":\"" ROOT "\",\"module_hash\":[-1]}]",
		"[{\"pid\":\"" ROOT "\"}] x" };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(bad); i++) {
		struct fb_icp_registry registry = { 0 };

		assert_fails(FB_EPROTO,
		    fb_icp_parse_registry(span(bad[i]), &registry, &err));
		assert_null(registry.rows);
	}
}

static void
a_status_is_of_the_canister_that_was_asked_about(void **state)
{
	struct fb_icp_status status = { 0 };
	FB_AUTO_FREE char *first = NULL;

	(void)state;
	assert_ok(fb_icp_parse_status(
	    span("{\"id\":\"" APP "\",\"status\":\"Stopped\",\"settings\":"
	         "{\"controllers\":[\"b\",\"a\"]},\"module_hash\":\"0xAB01\","
	         "\"memory_size\":\"1_234_567\"}"),
	    APP, &status, &err));
	assert_int_equal(status.state, FB_ICP_STOPPED);
	assert_string_equal(status.module, "ab01");
	assert_int_equal(status.memory, 1234567);
	first = fb_strdup(
	    json_string_value(json_array_get(status.controllers, 0)));
	assert_string_equal(first, "a");
	fb_icp_status_release(&status);

	assert_fails(FB_EPROTO,
	    fb_icp_parse_status(
	        span("{\"id\":\"" ROOT "\",\"status\":\"Running\"}"), APP,
	        &status, &err));
	assert_fails(FB_EPROTO,
	    fb_icp_parse_status(
	        span("{\"id\":\"" APP "\",\"status\":\"Happy\"}"), APP,
	        &status, &err));
	/* What only says what is public says nothing of its state. */
	assert_fails(FB_EDENIED,
	    fb_icp_parse_status(
	        span("{\"id\":\"" APP "\",\"controllers\":[],"
	             "\"module_hash\":null}"),
	        APP, &status, &err));
	assert_string_equal(err.id, "E-ICP-CONTROLLER");
}

static void
ids_of_snapshots_are_names_and_each_is_there_once(void **state)
{
	static const char *const bad[] = { "[]", "{}", "{\"snapshots\":{}}",
		"{\"snapshots\":[{}]}",
		"{\"snapshots\":[{\"snapshot_id\":\"\"}]}",
		"{\"snapshots\":[{\"snapshot_id\":\"--replace\"}]}",
		"{\"snapshots\":[{\"snapshot_id\":\"a b\"}]}",
		"{\"snapshots\":[{\"snapshot_id\":\"a\"},"
		"{\"snapshot_id\":\"a\"}]}" };
	struct fb_icp_inventory inventory = { 0 };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(bad); i++) {
		assert_fails(FB_EPROTO,
		    fb_icp_parse_inventory(span(bad[i]), &inventory, &err));
		assert_null(inventory.items);
	}
	assert_ok(fb_icp_parse_inventory(
	    span("{\"snapshots\":[{\"snapshot_id\":\"0a\","
	         "\"taken_at_timestamp\":1700000000000000000,"
	         "\"total_size_bytes\":12},{\"snapshot_id\":\"0b\"}]}"),
	    &inventory, &err));
	assert_int_equal(inventory.count, 2);
	assert_int_equal(inventory.items[0].size, 12);
	assert_true(
	    inventory.items[0].taken_ns == UINT64_C(1700000000000000000));
	assert_int_equal(inventory.items[1].taken_ns, 0);
	fb_icp_inventory_release(&inventory);
}

/* The ids of `text`, apart by spaces, as an inventory. */
static struct fb_icp_inventory
inventory_of(const char *text)
{
	struct fb_icp_inventory inventory = { 0 };

	inventory.items = fb_alloc(10, sizeof(*inventory.items));
	while (*text != '\0') {
		size_t len = strcspn(text, " ");

		(void)snprintf(inventory.items[inventory.count++].id, 20,
		    "%.*s", (int)len, text);
		text += len;
		text += *text == ' ';
	}
	return inventory;
}

static void
what_is_new_is_what_was_not_there_before(void **state)
{
	static const struct {
		const char *before, *now, *one;
		size_t count;
		bool lost;
	} cases[] = {
		{ "", "", NULL, 0, false },
		{ "a", "a", NULL, 0, false },
		{ "", "b", "b", 1, false },
		{ "a", "a b", "b", 1, false },
		{ "a", "b a", "b", 1, false },
		{ "a", "a b c", "c", 2, false },
		{ "a", "b", "b", 1, true },
		{ "a c", "a", NULL, 0, true },
	};

	(void)state;
	for (size_t i = 0; i < FB_COUNT(cases); i++) {
		FB_AUTO_ICP_INVENTORY struct fb_icp_inventory before =
		    inventory_of(cases[i].before);
		FB_AUTO_ICP_INVENTORY struct fb_icp_inventory now =
		    inventory_of(cases[i].now);
		FB_AUTO_JSON json_t *ids = fb_icp_ids(&before);
		const struct fb_icp_snapshot *one;
		bool lost;

		assert_int_equal(fb_icp_new_ones(ids, &now, &one, &lost),
		    cases[i].count);
		assert_int_equal(lost, cases[i].lost);
		if (cases[i].one == NULL)
			assert_null(one);
		else
			assert_string_equal(one->id, cases[i].one);
	}
}

static void
what_a_source_says_is_checked_when_it_is_opened(void **state)
{
	static const char *const bad[] = { "{}", "{\"root_canister\":\"x\"}",
		"{\"root_canister\":\"" ROOT "\"}",
		"{\"root_canister\":\"" ROOT "\",\"spool\":\"/s\","
		"\"fixed\":[\"x\"]}",
		"{\"root_canister\":\"" ROOT "\",\"spool\":\"/s\","
		"\"icp_environment\":\"a\",\"icp_network\":\"b\"}",
		"{\"root_canister\":\"" ROOT "\",\"spool\":\"/s\","
		"\"icp_environment\":\"--help\"}",
		"{\"root_canister\":\"" ROOT "\",\"spool\":\"/s\","
		"\"root_key\":\"k\"}" };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(bad); i++) {
		struct fb_driver *driver = NULL;
		FB_AUTO_JSON json_t *options = json_loads(bad[i], 0, NULL);
		struct fb_config_source source = { .name = (char[]){ "ic" },
			.driver = (char[]){ "icp" },
			.options = options };

		assert_fails(
		    FB_ECONFIG, fb_driver_open(&source, &driver, &err));
		assert_null(driver);
	}
}

/* A command that keeps its one snapshot in a file, and says that it has made
 * that one when it was asked to make one. */
static const char old_one[] =
    "#!/bin/sh\n"
    "cd \"${0%/*}\" || exit 1\n"
    "case \"$*\" in\n"
    "--version) echo 'icp 1.3.0' ;;\n"
    "*status*) echo '{\"id\":\"" APP "\",\"status\":\"Stopped\"}' ;;\n"
    "*create*) echo '{\"snapshot_id\":\"old\"}' ;;\n"
    "*delete*) : >deleted ;;\n"
    "*list*) echo '{\"snapshots\":[{\"snapshot_id\":\"old\"}]}' ;;\n"
    "esac\n";

static void
what_was_there_before_is_never_taken_for_ours(void **state)
{
	char dir[] = "/tmp/fleetbak-icp-XXXXXX";
	struct fb_machine machine = { .id = (char[]){ APP } };
	struct fb_verb verb = { .token = "t", .lock_fd = -1 };
	struct fb_config_source source = { .name = (char[]){ "ic" },
		.driver = (char[]){ "icp" } };
	FB_AUTO_FREE char *command = NULL, *deleted = NULL;
	struct fb_driver *driver = NULL;

	(void)state;
	assert_non_null(mkdtemp(dir));
	command = fb_format("%s/icp", dir);
	deleted = fb_format("%s/deleted", dir);
	assert_ok(fb_io_replace(command,
	    (struct fb_span){ (const uint8_t *)old_one, strlen(old_one) },
	    0700, &err));
	source.options = json_pack("{s:s,s:s,s:s}", "icp", command, "spool",
	    dir, "root_canister", ROOT);
	assert_ok(fb_driver_open(&source, &driver, &err));
	assert_fails(FB_ECONFLICT,
	    driver->ops->create_snapshot(driver, &machine, &verb, &err));
	assert_string_equal(err.id, "E-ICP-AMBIGUOUS");
	(void)driver->ops->remove_snapshot(driver, &machine, &verb, &err);
	assert_int_not_equal(access(deleted, F_OK), 0);
	driver->ops->close(driver);
	json_decref(source.options);
	assert_ok(fb_io_remove_tree(dir, &err));
}

/* Its first download is none, and going on with that changes nothing. */
static const char bad_once[] =
    "#!/bin/sh\n"
    "[ \"$1\" != --version ] || { echo 'icp 1.3.0'; exit; }\n"
    "cd \"${0%/*}\" || exit 1\n"
    "case \"$*\" in\n"
    "*--resume*) ;;\n"
    "*) if [ -e once ]; then text='{}'; else text=x; fi\n"
    "	: >once\n"
    "	echo \"$text\" >\"$7/metadata.json\" ;;\n"
    "esac\n";

static void
a_download_that_is_none_is_not_gone_on_with(void **state)
{
	char dir[] = "/tmp/fleetbak-icp-XXXXXX";
	struct fb_machine machine = { .id = (char[]){ APP } };
	struct fb_volume volume = { .name = (char[]){ FB_ICP_SNAPSHOT },
		.kind = FB_VOLUME_TREE };
	struct fb_config_source source = { .name = (char[]){ "ic" },
		.driver = (char[]){ "icp" } };
	FB_AUTO_FREE char *command = NULL, *record = NULL;
	FB_AUTO_JSON json_t *facts = json_pack("{s:s}", "snapshot", "s1");
	struct fb_artifact *artifact = NULL;
	struct fb_driver *driver = NULL;

	(void)state;
	assert_non_null(mkdtemp(dir));
	command = fb_format("%s/icp", dir);
	assert_ok(fb_io_replace(command,
	    (struct fb_span){ (const uint8_t *)bad_once, strlen(bad_once) },
	    0700, &err));
	record = fb_format("%s/ic/captures/" APP "/t", dir);
	assert_ok(fb_io_mkdirs(record, 0700, &err));
	free(record);
	record = fb_format("%s/ic/captures/" APP "/t/record.json", dir);
	assert_ok(fb_icp_write_facts(record, facts, &err));
	source.options = json_pack("{s:s,s:s,s:s}", "icp", command, "spool",
	    dir, "root_canister", ROOT);
	assert_ok(fb_driver_open(&source, &driver, &err));
	assert_fails(FB_EPROTO,
	    driver->ops->open_volume(
	        driver, &machine, &volume, "t", &artifact, &err));
	assert_ok(driver->ops->open_volume(
	    driver, &machine, &volume, "t", &artifact, &err));
	artifact->ops->close(artifact);
	driver->ops->close(driver);
	json_decref(source.options);
	assert_ok(fb_io_remove_tree(dir, &err));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_versions_that_are_known_pass_the_gate),
		cmocka_unit_test(a_registry_is_read_in_both_of_its_shapes),
		cmocka_unit_test(the_text_of_candid_is_read),
		cmocka_unit_test(
		    a_registry_that_is_none_is_refused_as_a_whole),
		cmocka_unit_test(
		    a_status_is_of_the_canister_that_was_asked_about),
		cmocka_unit_test(
		    ids_of_snapshots_are_names_and_each_is_there_once),
		cmocka_unit_test(what_is_new_is_what_was_not_there_before),
		cmocka_unit_test(
		    what_a_source_says_is_checked_when_it_is_opened),
		cmocka_unit_test(
		    what_was_there_before_is_never_taken_for_ours),
		cmocka_unit_test(a_download_that_is_none_is_not_gone_on_with),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

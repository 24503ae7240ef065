/* A backup directory of canic's: its documents, its checksum, and what is
 * refused of either. */
#include "test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "fleetbak/driver/canic.h"
#include "fleetbak/driver/driver.h"

static struct fb_error err;

#define ROOT "rwlgt-iiaaa-aaaaa-aaaaa-cai"
#define HUB  "rrkah-fqaaa-aaaaa-aaaaq-cai"
#define APP  "ryjl3-tyaaa-aaaaa-aaaba-cai"
#define HASH "efdc3797c0b70f93aa4f54b971706884fad12ce9aa88409cea5c8f66115240f4"
#define SUM  "e4d330f138b8f1b3044e84b5dcbe4fd1cb7e043d0c20810c083d791b6de01266"

#define MEMBER(id, parent, role)                                            \
	"{\"role\":\"" role "\",\"canister_id\":\"" id                      \
	"\",\"parent_canister_id\":" parent ",\"subnet_canister_id\":null," \
	"\"controller_hint\":null,\"identity_mode\":\"fixed\","             \
	"\"verification_checks\":[{\"kind\":\"status\",\"roles\":[\"" role  \
	"\"]}],\"source_snapshot\":{\"snapshot_id\":\"s-" role              \
	"\",\"module_hash\":\"01ab\",\"code_version\":null,"                \
	"\"artifact_path\":\"" id "\",\"checksum_algorithm\":\"sha256\","   \
	"\"checksum\":\"" SUM "\"}}"

#define MANIFEST                                                            \
	"{\"manifest_version\":1,\"backup_id\":\"run-1\","                  \
	"\"created_at\":\"unix:1\",\"tool\":{\"name\":\"canic-cli\","       \
	"\"version\":\"0.35.10\"},\"source\":{\"environment\":\"local\","   \
	"\"root_canister\":\"" ROOT "\"},\"consistency\":"                  \
	"{\"backup_units\":[{\"unit_id\":\"u\",\"kind\":\"subtree\","       \
	"\"roles\":[\"hub\",\"app\"]}]},\"fleet\":{"                        \
	"\"topology_hash_algorithm\":\"sha256\",\"topology_hash_input\":"   \
	"\"plan\",\"discovery_topology_hash\":\"" HASH                      \
	"\",\"pre_snapshot_topology_hash\":\"" HASH                         \
	"\",\"topology_hash\":\"" HASH "\",\"members\":["                   \
	MEMBER(HUB, "\"" ROOT "\"", "hub") ","                              \
	MEMBER(APP, "\"" HUB "\"", "app")                                   \
	"]},\"verification\":{\"fleet_checks\":[],\"member_checks\":[]}}"

#define ROW(id, role)                                                       \
	"{\"canister_id\":\"" id "\",\"snapshot_id\":\"s-" role             \
	"\",\"state\":\"Durable\",\"temp_path\":null,\"artifact_path\":\"" id \
	"\",\"checksum_algorithm\":\"sha256\",\"checksum\":\"" SUM          \
	"\",\"updated_at\":\"unix:2\"}"

#define JOURNAL                                                          \
	"{\"journal_version\":1,\"backup_id\":\"run-1\","                \
	"\"discovery_topology_hash\":\"" HASH                            \
	"\",\"pre_snapshot_topology_hash\":\"" HASH "\",\"artifacts\":[" \
	ROW(HUB, "hub") "," ROW(APP, "app") "]}"

/* One replaced by the other wherever it is; it must be there. */
static char *
replaced(const char *text, const char *from, const char *to)
{
	FB_AUTO_BUF struct fb_buf out = { 0 };
	const char *at = strstr(text, from);

	assert_non_null(at);
	for (; at != NULL; at = strstr(text, from)) {
		fb_buf_add(&out, text, (size_t)(at - text));
		fb_buf_add_str(&out, to);
		text = at + strlen(from);
	}
	fb_buf_add_str(&out, text);
	return (char *)fb_buf_steal(&out);
}

static struct fb_span
span(const char *text)
{
	return (struct fb_span){ (const uint8_t *)text, strlen(text) };
}

static void
a_principal_has_one_form(void **state)
{
	static const char *const good[] = { "aaaaa-aa", "2vxsx-fae", ROOT,
		HUB, APP, "renrk-eyaaa-aaaaa-aaada-cai" };
	static const char *const bad[] = { "", "a", "aaaaaaa", "aaaaa-a",
		"aaaaa-aa-", "aaaaa--aa", "aaaaa-ab", "AAAAA-AA", "aaaaa-aaa",
		"rrkah-fqaaa-aaaaa-aaaaq-caj", "rrkah-fqaaa-aaaaa-aaaaqcai",
		"rrkah-fqaaa-aaaaa-aaaaq-cai-", " aaaaa-aa", "../..", "aaaaa",
		"aaaaa-aaaaa-aaaaa-aaaaa-aaaaa-aaaaa-aaaaa-aaaaa-aaaaa-aaaaa-"
		"aaaaa-aaaaa-aaaaa" };

	(void)state;
	for (size_t i = 0; i < FB_COUNT(good); i++)
		assert_true(fb_canic_principal_ok(good[i]));
	for (size_t i = 0; i < FB_COUNT(bad); i++)
		assert_false(fb_canic_principal_ok(bad[i]));
}

static void
a_manifest_is_read_under_both_names(void **state)
{
	FB_AUTO_FREE char *half = replaced(MANIFEST, "\"fleet\"",
	    "\"deployment\"");
	FB_AUTO_FREE char *later = replaced(
	    half, "\"fleet_checks\"", "\"deployment_checks\"");

	(void)state;
	for (int deployment = 0; deployment < 2; deployment++) {
		FB_AUTO_CANIC_MANIFEST struct fb_canic_manifest *m = NULL;
		FB_AUTO_CANIC_MANIFEST struct fb_canic_manifest *none = NULL;
		FB_AUTO_CANIC_JOURNAL struct fb_canic_journal *journal = NULL;
		const char *text = deployment ? later : MANIFEST;

		assert_ok(fb_canic_manifest_parse(
		    span(text), deployment != 0, &m, &err));
		assert_int_equal(m->count, 2);
		assert_string_equal(m->members[0].canister, HUB);
		assert_int_equal(m->members[0].parent_at, SIZE_MAX);
		assert_string_equal(m->members[0].parent, ROOT);
		assert_int_equal(m->members[1].parent_at, 0);
		assert_string_equal(m->members[1].module_hash, "01ab");
		assert_null(m->members[1].code_version);
		assert_true(m->members[1].fixed);
		assert_ok(fb_canic_journal_parse(
		    span(JOURNAL), deployment != 0, &journal, &err));
		assert_ok(fb_canic_agree(m, journal, &err));
		assert_fails(FB_ECORRUPT,
		    fb_canic_manifest_parse(
		        span(text), deployment == 0, &none, &err));
	}
}

struct edit {
	const char *from, *to, *says;
};

static void
what_breaks_a_rule_of_the_manifest_is_refused(void **state)
{
	static const struct edit bad[] = {
		{ "\"manifest_version\":1", "\"manifest_version\":2",
		    "version 2" },
		{ "\"run-1\"", "\" \"", "blank" },
		{ "\"run-1\"", "\"a\\u001b[2J\"", "not printable" },
		{ "\"unix:1\"", "7", "not a string" },
		{ "\"0.35.10\"", "\"\"", "blank" },
		{ "\"local\"", "null", "not a string" },
		{ "\"root_canister\":\"" ROOT "\"",
		    "\"root_canister\":\"root\"", "no principal" },
		{ "\"topology_hash\":\"e", "\"topology_hash\":\"f",
		    "three topology hashes differ" },
		{ "\"pre_snapshot_topology_hash\":\"e",
		    "\"pre_snapshot_topology_hash\":\"g", "hex digits" },
		{ "\"topology_hash_algorithm\":\"sha256\"",
		    "\"topology_hash_algorithm\":\"sha512\"", "not sha256" },
		{ "\"canister_id\":\"" APP "\"", "\"canister_id\":\"" HUB "\"",
		    "two members" },
		{ "\"canister_id\":\"" APP "\"", "\"canister_id\":\"app\"",
		    "no principal" },
		{ "\"role\":\"app\"", "\"role\":\"-rf\"", "is no name" },
		{ "\"role\":\"app\"", "\"role\":\"other\"",
		    "no member has role 'app'" },
		{ "\"subtree\",\"roles\":[\"hub\",\"app\"]",
		    "\"single\",\"roles\":[\"hub\"]",
		    "no unit has role 'app'" },
		{ "\"fixed\"", "\"movable\"", "identity_mode" },
		{ "\"kind\":\"status\"", "\"kind\":\"http\"", "not known" },
		{ "[{\"kind\":\"status\",\"roles\":[\"app\"]}]", "[]",
		    "is empty" },
		{ "{\"kind\":\"status\",\"roles\":[\"app\"]}",
		    "{\"kind\":\"status\",\"roles\":[\"app\",\"app\"]}",
		    "is repeated" },
		{ "{\"kind\":\"status\",\"roles\":[\"app\"]}",
		    "{\"kind\":\"status\",\"roles\":[\"db\"]}",
		    "no member has role 'db'" },
		{ "\"fleet_checks\":[]",
		    "\"fleet_checks\":[{\"kind\":\"status\",\"roles\":"
		    "[\"db\"]}]",
		    "no member has role 'db'" },
		{ "\"member_checks\":[]",
		    "\"member_checks\":[{\"role\":\"db\",\"checks\":"
		    "[{\"kind\":\"status\",\"roles\":[]}]}]",
		    "no member has role 'db'" },
		{ "\"artifact_path\":\"" APP "\"",
		    "\"artifact_path\":\"a/../../b\"", "does not stay" },
		{ "\"artifact_path\":\"" APP "\"", "\"artifact_path\":\"/b\"",
		    "does not stay" },
		{ "\"checksum\":\"" SUM "\"", "\"checksum\":\"abc\"",
		    "hex digits" },
		{ "[\"hub\",\"app\"]", "[\"hub\",\"hub\"]", "is repeated" },
		{ "[\"hub\",\"app\"]", "[\"hub\",\"app\",\"db\"]",
		    "no member has role 'db'" },
		{ "[\"hub\",\"app\"]", "[\"hub\"]", "omits canister '" APP },
		{ "[\"hub\",\"app\"]", "[]", "is empty" },
		{ "\"subtree\"", "\"forest\"", "neither single nor subtree" },
		{ "\"parent_canister_id\":\"" HUB "\"",
		    "\"parent_canister_id\":null", "not connected" },
		{ "\"parent_canister_id\":\"" ROOT "\"",
		    "\"parent_canister_id\":\"" APP "\"",
		    "among its own parents" },
		{ "\"verification\":{", "\"verification\":{},\"x\":{",
		    "'fleet_checks' is missing" },
		{ "\"tool\":{", "\"tool\":[{}],\"x\":{", "not an object" },
		{ "{\"manifest_version\"", "{\"deployment\":{},"
		                           "\"manifest_version\"",
		    "of another version" },
	};

	(void)state;
	for (size_t i = 0; i < FB_COUNT(bad); i++) {
		FB_AUTO_FREE char *text =
		    replaced(MANIFEST, bad[i].from, bad[i].to);
		FB_AUTO_CANIC_MANIFEST struct fb_canic_manifest *none = NULL;

		assert_fails(FB_ECORRUPT,
		    fb_canic_manifest_parse(span(text), false, &none, &err));
		assert_string_equal(err.id, "E-CANIC-FORMAT");
		if (strstr(err.msg, bad[i].says) == NULL)
			fail_msg("'%s' is not in '%s'", bad[i].says, err.msg);
		assert_null(none);
	}
}

static void
what_breaks_a_rule_of_the_journal_is_refused(void **state)
{
	static const struct edit bad[] = {
		{ "\"journal_version\":1", "\"journal_version\":0",
		    "version 0" },
		{ "\"Durable\"", "\"durable\"", "no state" },
		{ "\"checksum\":\"" SUM "\"", "\"checksum\":null",
		    "needs 'checksum'" },
		{ "\"Durable\"", "\"Downloaded\"", "needs 'temp_path'" },
		{ "\"sha256\"", "\"md5\"", "not sha256" },
		{ "\"unix:2\"", "\"\"", "blank" },
		{ ROW(APP, "app"), ROW(HUB, "hub"), "two rows" },
		{ "[" ROW(HUB, "hub") "," ROW(APP, "app") "]", "[]",
		    "is empty" },
		{ "\"artifact_path\":\"" APP "\"",
		    "\"artifact_path\":\"..\"", "does not stay" },
	};

	(void)state;
	for (size_t i = 0; i < FB_COUNT(bad); i++) {
		FB_AUTO_FREE char *text =
		    replaced(JOURNAL, bad[i].from, bad[i].to);
		FB_AUTO_CANIC_JOURNAL struct fb_canic_journal *none = NULL;

		assert_fails(FB_ECORRUPT,
		    fb_canic_journal_parse(span(text), false, &none, &err));
		assert_string_equal(err.id, "E-CANIC-FORMAT");
		if (strstr(err.msg, bad[i].says) == NULL)
			fail_msg("'%s' is not in '%s'", bad[i].says, err.msg);
		assert_null(none);
	}
}

/* --------------------------------------------------------------- bytes */

static char place[64];

static void
put(const char *name, const char *bytes)
{
	FB_AUTO_FREE char *path = fb_format("%s/%s", place, name);
	FB_AUTO_FREE char *dir = fb_format("%s/%s", place, name);

	*strrchr(dir, '/') = '\0';
	assert_ok(fb_io_mkdirs(dir, 0700, &err));
	assert_ok(fb_io_replace(path, span(bytes), 0600, &err));
}

static void
is_sum(const char *name, const char *wanted, uint64_t size)
{
	FB_AUTO_FREE char *path = fb_format("%s/%s", place, name);
	char hex[FB_DIGEST_HEX_SIZE];
	struct fb_digest digest;
	uint64_t found;

	assert_ok(fb_canic_sum(path, &digest, &found, &err));
	fb_digest_hex(&digest, hex);
	assert_string_equal(hex, wanted);
	assert_int_equal(found, size);
}

static int
make_place(void **state)
{
	(void)state;
	(void)snprintf(place, sizeof(place), "/tmp/fleetbak-canic-XXXXXX");
	return mkdtemp(place) == NULL;
}

static int
clear_place(void **state)
{
	(void)state;
	return fb_io_remove_tree(place, &err);
}

static void
the_checksum_is_canics(void **state)
{
	FB_AUTO_FREE char *empty = fb_format("%s/empty/in", place);

	(void)state;
	put("one/a.txt", "a");
	put("one/nested/b.txt", "b");
	is_sum("one", SUM, 2);
	put("two/a/b", "y");
	put("two/a.txt", "x");
	is_sum("two",
	    "c6f2b3f121129c86d82a1a7e5fd50e8af918f61c00ee2a8f0a49433358282c4c",
	    2);
	assert_ok(fb_io_mkdirs(empty, 0700, &err));
	is_sum("empty",
	    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
	    0);
	/* A file for itself. */
	put("abc", "abc");
	is_sum("abc",
	    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
	    3);
}

static void
a_directory_is_verified_member_by_member(void **state)
{
	FB_AUTO_CANIC_DIR struct fb_canic_dir dir = { 0 };
	FB_AUTO_FREE char *link = fb_format("%s/%s/z", place, HUB);
	uint64_t size;

	(void)state;
	assert_fails(FB_ECORRUPT, fb_canic_dir_open(place, &dir, &err));
	assert_string_equal(err.id, "E-CANIC-INCOMPLETE");
	put(FB_CANIC_MANIFEST_FLEET, MANIFEST);
	put(FB_CANIC_JOURNAL, JOURNAL);
	assert_ok(fb_canic_dir_open(place, &dir, &err));
	put(HUB "/a.txt", "a");
	put(HUB "/nested/b.txt", "b");
	assert_ok(fb_canic_verify(
	    &dir, &dir.manifest->members[0], &size, &err));
	assert_int_equal(size, 2);
	assert_fails(FB_ECORRUPT,
	    fb_canic_verify(&dir, &dir.manifest->members[1], &size, &err));
	assert_string_equal(err.id, "E-CANIC-INCOMPLETE");
	put(HUB "/a.txt", "A");
	assert_fails(FB_ECORRUPT,
	    fb_canic_verify(&dir, &dir.manifest->members[0], &size, &err));
	assert_string_equal(err.id, "E-CANIC-CHECKSUM");
	put(HUB "/a.txt", "a");
	assert_int_equal(symlink("a.txt", link), 0);
	assert_fails(FB_ECORRUPT,
	    fb_canic_verify(&dir, &dir.manifest->members[0], &size, &err));
	assert_string_equal(err.id, "E-CANIC-ENTRY");
	assert_int_equal(unlink(link), 0);
	put(HUB "/\xff", "a");
	assert_fails(FB_ECORRUPT,
	    fb_canic_verify(&dir, &dir.manifest->members[0], &size, &err));
	assert_string_equal(err.id, "E-CANIC-ENTRY");
}

/* Documents whose only checksum is `hex`. */
static void
put_documents(const char *hex)
{
	FB_AUTO_FREE char *manifest = replaced(MANIFEST, SUM, hex);
	FB_AUTO_FREE char *journal = replaced(JOURNAL, SUM, hex);

	put(FB_CANIC_MANIFEST_FLEET, manifest);
	put(FB_CANIC_JOURNAL, journal);
}

/* A reader of a snapshot, and somebody who writes to it meanwhile. */
struct reader {
	uint64_t bytes;
	bool documents;    /* of canic's are read, not files of a snapshot */
	const char *after; /* once this was read ... */
	const char *text;  /* ... it becomes this */
};

static int
take_bytes(void *arg, const void *bytes, size_t len, struct fb_error *error)
{
	struct reader *reader = arg;

	(void)bytes;
	(void)error;
	reader->bytes += len;
	return FB_OK;
}

static int
take_entry(void *arg, const struct fb_entry *entry, struct fb_error *error)
{
	struct reader *reader = arg;

	(void)error;
	if (reader->after != NULL && entry->path.len == strlen(reader->after) &&
	    memcmp(entry->path.ptr, reader->after, entry->path.len) == 0) {
		FB_AUTO_FREE char *name = fb_format("%s%s",
		    reader->documents ? "" : HUB "/", reader->after);

		put(name, reader->text);
	}
	return FB_OK;
}

/* Read a volume of the first canister as an import does. */
static int
read_volume(struct reader *reader)
{
	struct fb_config_source source = { .name = (char *)FB_CANIC_NAME,
		.driver = (char *)FB_CANIC_NAME,
		.options = json_pack("{s:s}", "dir", place) };
	struct fb_fleet fleet = { 0 };
	struct fb_artifact *artifact = NULL;
	struct fb_sink sink = { .arg = reader,
		.data = take_bytes,
		.entry = take_entry };
	const struct fb_volume *volume;
	struct fb_driver *driver;
	int rc;

	assert_ok(fb_driver_open(&source, &driver, &err));
	assert_ok(fb_driver_discover(driver, &fleet, &err));
	assert_string_equal(fleet.machines[0].id, HUB);
	volume = &fleet.machines[0].volumes[reader->documents ? 0 : 1];
	assert_string_equal(
	    volume->name, reader->documents ? "definition" : "snapshot");
	if (reader->documents && reader->text != NULL)
		put(reader->after, "{}");
	assert_ok(fb_driver_open_volume(driver, &fleet.machines[0], volume,
	    "token", &artifact, &err));
	rc = artifact->ops->produce(artifact, &sink, &err);
	fb_artifact_closep(&artifact);
	fb_driver_close(driver);
	fb_fleet_release(&fleet);
	json_decref(source.options);
	return rc;
}

static void
what_was_read_is_what_has_the_checksum(void **state)
{
	struct reader reader = { .after = "a.txt", .text = "a" };

	(void)state;
	put(HUB "/a.txt", "A");
	put(HUB "/nested/b.txt", "b");
	put(APP "/a.txt", "a");
	put_documents(SUM);
	assert_fails(FB_ECORRUPT, read_volume(&reader));
	assert_string_equal(err.id, "E-CANIC-CHECKSUM");
	/* It is whole again, and what becomes of it then is not asked. */
	reader.text = "later";
	assert_ok(read_volume(&reader));
	assert_true(reader.bytes > 4 * 512);
}

static void
remove_document(const char *name)
{
	FB_AUTO_FREE char *path = fb_format("%s/%s", place, name);

	assert_int_equal(unlink(path), 0);
}

static int
read_opened(struct fb_driver *driver, const struct fb_machine *machine)
{
	struct reader reader = { 0 };
	struct fb_sink sink = { .arg = &reader, .data = take_bytes };
	struct fb_artifact *artifact = NULL;
	int rc;

	assert_ok(fb_driver_open_volume(driver, machine, &machine->volumes[1],
	    "token", &artifact, &err));
	rc = artifact->ops->produce(artifact, &sink, &err);
	fb_artifact_closep(&artifact);
	return rc;
}

/* They grow with the fleet: read anew for each canister, a thousand canisters
 * would take a million rows.  Here they cannot be. */
static void
the_documents_are_read_once_for_all_canisters(void **state)
{
	struct fb_config_source source = { .name = (char *)FB_CANIC_NAME,
		.driver = (char *)FB_CANIC_NAME,
		.options = json_pack("{s:s}", "dir", place) };
	struct fb_fleet fleet = { 0 };
	struct fb_driver *driver;

	(void)state;
	put(HUB "/a.txt", "a");
	put(HUB "/nested/b.txt", "b");
	put(APP "/a.txt", "a");
	put(APP "/nested/b.txt", "b");
	put_documents(SUM);
	assert_ok(fb_driver_open(&source, &driver, &err));
	remove_document(FB_CANIC_MANIFEST_FLEET);
	remove_document(FB_CANIC_JOURNAL);
	assert_ok(fb_driver_discover(driver, &fleet, &err));
	assert_int_equal(fleet.count, 2);
	for (size_t i = 0; i < fleet.count; i++)
		assert_ok(read_opened(driver, &fleet.machines[i]));
	fb_driver_close(driver);
	fb_fleet_release(&fleet);
	json_decref(source.options);
}

static void
the_documents_that_are_stored_are_those_that_were_read(void **state)
{
	struct reader reader = { .documents = true };

	(void)state;
	put(HUB "/a.txt", "a");
	put(APP "/a.txt", "a");
	put_documents(SUM);
	assert_ok(read_volume(&reader));
	assert_true(reader.bytes > 4 * 512);
	reader.after = FB_CANIC_JOURNAL;
	reader.text = JOURNAL;
	assert_fails(FB_ESTALE, read_volume(&reader));
	assert_string_equal(err.id, "E-DRIFT");
	reader.after = FB_CANIC_MANIFEST_FLEET;
	reader.text = MANIFEST;
	assert_fails(FB_ESTALE, read_volume(&reader));
	assert_string_equal(err.id, "E-DRIFT");
}

/* Names of one file, a hole, an empty file: all the bytes that canic sums. */
static void
a_snapshot_of_any_files_is_read(void **state)
{
	FB_AUTO_FREE char *dir = fb_format("%s/" HUB, place);
	FB_AUTO_FREE char *large = fb_format("%s/large", dir);
	FB_AUTO_FREE char *first = fb_format("%s/a/first", dir);
	FB_AUTO_FREE char *second = fb_format("%s/a/second", dir);
	char hex[FB_DIGEST_HEX_SIZE];
	struct reader reader = { 0 };
	struct fb_digest digest;
	uint64_t size;

	(void)state;
	put(HUB "/a/first", "twice");
	assert_int_equal(link(first, second), 0);
	put(HUB "/large", "begin");
	assert_int_equal(truncate(large, 1 << 20), 0);
	put(HUB "/none", "");
	put(APP "/a", "a");
	assert_ok(fb_canic_sum(dir, &digest, &size, &err));
	fb_digest_hex(&digest, hex);
	put_documents(hex);
	assert_ok(read_volume(&reader));
	put(HUB "/a/second", "other");
	assert_fails(FB_ECORRUPT, read_volume(&reader));
	assert_string_equal(err.id, "E-CANIC-CHECKSUM");
}

static void
a_snapshot_may_be_one_file(void **state)
{
	struct reader reader = { 0 };

	(void)state;
	put(HUB, "abc");
	put(APP, "abc");
	put_documents("ba7816bf8f01cfea414140de5dae2223"
	              "b00361a396177a9cb410ff61f20015ad");
	assert_ok(read_volume(&reader));
	put(HUB, "abd");
	assert_fails(FB_ECORRUPT, read_volume(&reader));
	assert_string_equal(err.id, "E-CANIC-CHECKSUM");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_principal_has_one_form),
		cmocka_unit_test(a_manifest_is_read_under_both_names),
		cmocka_unit_test(
		    what_breaks_a_rule_of_the_manifest_is_refused),
		cmocka_unit_test(
		    what_breaks_a_rule_of_the_journal_is_refused),
		cmocka_unit_test_setup_teardown(
		    the_checksum_is_canics, make_place, clear_place),
		cmocka_unit_test_setup_teardown(
		    a_directory_is_verified_member_by_member, make_place,
		    clear_place),
		cmocka_unit_test_setup_teardown(
		    what_was_read_is_what_has_the_checksum, make_place,
		    clear_place),
		cmocka_unit_test_setup_teardown(
		    the_documents_are_read_once_for_all_canisters, make_place,
		    clear_place),
		cmocka_unit_test_setup_teardown(
		    the_documents_that_are_stored_are_those_that_were_read,
		    make_place, clear_place),
		cmocka_unit_test_setup_teardown(
		    a_snapshot_of_any_files_is_read, make_place, clear_place),
		cmocka_unit_test_setup_teardown(
		    a_snapshot_may_be_one_file, make_place, clear_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What is made of the icp command's words when it fails. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../src/driver/icp_internal.h"
#include "fleetbak/base/err.h"
#include "fleetbak/base/io.h"
#include "fleetbak/base/mem.h"
#include "test.h"

static struct fb_error err;

#define ROOT  "aaaaa-aa"
#define APP   "renrk-eyaaa-aaaaa-aaada-cai"
#define OTHER "rno2w-sqaaa-aaaaa-aaacq-cai"

#define REJECTED(code, message) \
	"Error: The replica returned a rejection error: reject code " code \
	", reject message " message ", error code Some(\"IC0000\")\n"

/* Fails with what is in "words" at all but a look.  Snapshot 0a is there when
 * there is a file "listed"; with a file "late" one comes about that was asked
 * for, but not before the second look. */
static const char command[] =
    "#!/bin/sh\n"
    "cd \"${0%/*}\" || exit 1\n"
    "fail() { cat words >&2; exit 1; }\n"
    "case \"$*\" in\n"
    "--version) echo 'icp 1.3.0' ;;\n"
    "*snapshot\\ create*) : >created; fail ;;\n"
    "*snapshot\\ delete*) fail ;;\n"
    "*snapshot\\ list*)\n"
    "	echo >>lists\n"
    "	id=\n"
    "	! [ -e listed ] || id='{\"snapshot_id\":\"0a\"}'\n"
    "	! [ -e late ] || ! [ -e created ] ||\n"
    "		[ \"$(wc -l <lists)\" -lt 3 ] ||\n"
    "		id='{\"snapshot_id\":\"0b\"}'\n"
    "	echo \"{\\\"snapshots\\\":[$id]}\" ;;\n"
    "*canister\\ status*)\n"
    "	echo '{\"id\":\"" APP "\",\"status\":\"Stopped\"}' ;;\n"
    "*) fail ;;\n"
    "esac\n";

struct place {
	char dir[40];
	struct fb_driver *driver;
	struct fb_config_source source;
	struct fb_machine machine;
	struct fb_verb verb;
};

static void
put(const struct place *place, const char *name, const char *text,
    unsigned mode)
{
	FB_AUTO_FREE char *path = fb_format("%s/%s", place->dir, name);

	assert_ok(fb_io_replace(path,
	    (struct fb_span){ (const uint8_t *)text, strlen(text) }, mode,
	    &err));
}

static bool
has(const struct place *place, const char *name)
{
	FB_AUTO_FREE char *path = fb_format("%s/%s", place->dir, name);

	return access(path, F_OK) == 0;
}

static void
begin(struct place *place)
{
	FB_AUTO_FREE char *path = NULL;

	*place = (struct place){ .dir = "/tmp/fleetbak-icp-XXXXXX",
		.verb = { .token = "t", .lock_fd = -1 } };
	place->source.name = fb_strdup("ic");
	place->source.driver = fb_strdup("icp");
	place->machine.id = fb_strdup(APP);
	assert_non_null(mkdtemp(place->dir));
	put(place, "icp", command, 0700);
	path = fb_format("%s/icp", place->dir);
	place->source.options = json_pack("{s:s,s:s,s:s}", "icp", path,
	    "spool", place->dir, "root_canister", ROOT);
	assert_ok(fb_driver_open(&place->source, &place->driver, &err));
}

static void
end(struct place *place)
{
	place->driver->ops->close(place->driver);
	json_decref(place->source.options);
	free(place->source.name);
	free(place->source.driver);
	free(place->machine.id);
	assert_ok(fb_io_remove_tree(place->dir, &err));
}

/* ------------------------------------------------------------- not there */

#define RECORD "ic/captures/" APP "/t"

static void
put_record(const struct place *place)
{
	FB_AUTO_FREE char *dir = fb_format("%s/" RECORD, place->dir);

	assert_ok(fb_io_mkdirs(dir, 0700, &err));
	put(place, RECORD "/record.json", "{\"snapshot\":\"0a\"}", 0600);
}

static void
only_what_was_asked_about_is_said_not_to_be_there(void **state)
{
	static const struct {
		int code;
		const char *words;
	} cases[] = {
		{ FB_ENOTFOUND, "Error: Canister " APP " was not found.\n" },
		{ FB_ENOTFOUND,
		    "Error: Canister " APP " (" APP ") was not found.\n" },
		{ FB_ENOTFOUND, REJECTED("DestinationInvalid",
		                    "Canister " APP " not found") },
		{ FB_ENOTFOUND, "canister " APP " not found; is it there?" },
		{ FB_ENOTFOUND, "Error: snapshot 0a was not found\n" },
		{ FB_ENOTFOUND,
		    REJECTED("CanisterReject", "Could not find the snapshot ID "
		                               "0a in canister " APP) },
		{ FB_EFAILED, "Error: identity 'operator' was not found\n" },
		{ FB_EFAILED, "Error: canister not found\n" },
		{ FB_EFAILED, "Error: no such snapshot\n" },
		{ FB_EFAILED, "Error: IC0301\n" },
		{ FB_EFAILED, "Error: Canister " OTHER " was not found.\n" },
		{ FB_EFAILED, "Error: Canister x" APP " was not found.\n" },
		{ FB_EFAILED, "Error: Canister " APP "-x was not found.\n" },
		{ FB_EFAILED, "Error: Canister " APP
		              " was not found in the environment 'here'\n" },
		{ FB_EFAILED, "Error: Canister " APP
		              ": identity 'operator' was not found\n" },
		{ FB_EFAILED, "Error: the key of canister " APP
		              " (operator was not found.\n" },
		{ FB_EFAILED, "Error: snapshot 0ab was not found\n" },
		{ FB_EFAILED,
		    REJECTED("CanisterReject", "Could not find the snapshot ID "
		                               "0a in canister " OTHER) },
		{ FB_EFAILED,
		    "Error: the key of canister " APP " was not found.\n" },
		{ FB_EFAILED, "Error: canister" },
		{ FB_EFAILED, "Error: canister " APP },
		{ FB_EFAILED, "" },
	};
	const char *const words[] = { "snapshot", "delete", APP, "0a", NULL };
	struct fb_icp_how how = fb_icp_plain(0);
	struct place place;

	(void)state;
	begin(&place);
	for (size_t i = 0; i < FB_COUNT(cases); i++) {
		put(&place, "words", cases[i].words, 0600);
		assert_fails(cases[i].code,
		    fb_icp_run((struct fb_icp *)place.driver, words, &how,
		        NULL, &err));
	}
	end(&place);
}

static void
a_snapshot_is_not_forgotten_for_what_else_is_not_there(void **state)
{
	struct place place;

	(void)state;
	begin(&place);
	put_record(&place);
	put(&place, "listed", "", 0600);
	put(&place, "words", "Error: identity 'operator' was not found\n",
	    0600);
	assert_fails(FB_EFAILED,
	    place.driver->ops->remove_snapshot(
	        place.driver, &place.machine, &place.verb, &err));
	assert_true(has(&place, RECORD "/record.json"));

	put(&place, "words", "Error: Canister " APP " was not found.\n", 0600);
	assert_ok(place.driver->ops->remove_snapshot(
	    place.driver, &place.machine, &place.verb, &err));
	assert_false(has(&place, RECORD));
	end(&place);
}

/* ------------------------------------------------- begun, and not heard of */

static size_t
looks(const struct place *place)
{
	FB_AUTO_FREE char *path = fb_format("%s/lists", place->dir);
	FB_AUTO_BUF struct fb_buf bytes = { 0 };

	assert_ok(fb_io_read_file(path, 1000, &bytes, &err));
	return bytes.len;
}

/* The call was sent, and then the network was lost. */
static void
a_create_that_failed_may_come_about_yet(void **state)
{
	struct place place;

	(void)state;
	begin(&place);
	put(&place, "late", "", 0600);
	put(&place, "words",
	    "Error: An error happened during communication with the replica\n",
	    0600);
	assert_ok(place.driver->ops->create_snapshot(
	    place.driver, &place.machine, &place.verb, &err));
	end(&place);
}

static void
what_was_never_asked_for_is_not_waited_for(void **state)
{
	static const char *const words[] = {
		REJECTED("CanisterError", "out of cycles"),
		REJECTED("CanisterReject", "no more"),
		"Error: no identity found with name `operator`\n",
		"Error: project does not contain an environment named 'here'\n",
		"Error: Canister " APP " (" APP ") is currently running. Please "
		"stop the canister first with `icp canister stop`.\n",
		"error: unexpected argument '--json' found\n",
	};

	(void)state;
	for (size_t i = 0; i < FB_COUNT(words); i++) {
		struct place place;

		begin(&place);
		put(&place, "words", words[i], 0600);
		assert_fails(FB_EFAILED,
		    place.driver->ops->create_snapshot(
		        place.driver, &place.machine, &place.verb, &err));
		assert_int_equal(looks(&place), 2); /* before, and after */
		end(&place);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    only_what_was_asked_about_is_said_not_to_be_there),
		cmocka_unit_test(
		    a_snapshot_is_not_forgotten_for_what_else_is_not_there),
		cmocka_unit_test(a_create_that_failed_may_come_about_yet),
		cmocka_unit_test(what_was_never_asked_for_is_not_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "test.h"

#include <errno.h>

static struct fb_error err;

static void
a_system_error_becomes_the_code_that_callers_switch_on(void **state)
{
	static const struct {
		int sys;
		enum fb_code code;
		const char *id;
	} cases[] = {
		{ ENOENT, FB_ENOTFOUND, "E-NOT-FOUND" },
		{ EEXIST, FB_EEXISTS, "E-EXISTS" },
		{ EACCES, FB_EDENIED, "E-DENIED" },
		{ EPERM, FB_EDENIED, "E-DENIED" },
		{ EROFS, FB_EDENIED, "E-DENIED" },
		{ ENOSPC, FB_ENOSPACE, "E-NO-SPACE" },
		{ EDQUOT, FB_ENOSPACE, "E-NO-SPACE" },
		{ EIO, FB_ESYS, "E-SYSTEM" },
	};

	(void)state;
	for (size_t i = 0; i < FB_COUNT(cases); i++) {
		errno = cases[i].sys;
		assert_fails(cases[i].code, fb_fail_sys(&err, "it"));
		assert_int_equal(err.code, cases[i].code);
		assert_int_equal(err.sys, cases[i].sys);
		assert_string_equal(err.id, cases[i].id);
		assert_non_null(strstr(err.file, "test_err.c"));
		assert_true(err.line > 0);
	}
}

static void
wrapping_puts_the_attempt_before_the_cause(void **state)
{
	(void)state;
	errno = ENOSPC;
	(void)fb_fail_sys(&err, "cannot write '%s'", "p/3f");
	assert_fails(FB_ENOSPACE, fb_wrap(&err, "host '%s'", "db1"));
	assert_string_equal(err.msg,
	    "host 'db1': cannot write 'p/3f': No space left on device");
	assert_int_equal(err.sys, ENOSPC);
}

static void
a_full_message_keeps_its_cause(void **state)
{
	char before[FB_ERROR_MSG_SIZE];

	(void)state;
	(void)fb_fail(&err, FB_ECORRUPT, "%0760d", 0);
	memcpy(before, err.msg, sizeof(before));
	assert_fails(FB_ECORRUPT, fb_wrap(&err, "a prefix without room"));
	assert_string_equal(err.msg, before);
}

static void
a_message_longer_than_its_room_is_cut(void **state)
{
	(void)state;
	(void)fb_fail(&err, FB_ECORRUPT, "%05000d", 0);
	assert_int_equal(strlen(err.msg), FB_ERROR_MSG_SIZE - 1);
	errno = EIO;
	(void)fb_fail_sys(&err, "%05000d", 0);
	assert_int_equal(strlen(err.msg), FB_ERROR_MSG_SIZE - 1);
	(void)fb_hint(&err, "%05000d", 0);
	assert_int_equal(strlen(err.hint), FB_ERROR_HINT_SIZE - 1);
}

static void
a_terminal_is_not_moved_by_a_message(void **state)
{
	(void)state;
	(void)fb_fail(&err, FB_ECORRUPT, "name '%s'", "\x1b[2J\r\n\x7f");
	(void)fb_wrap(&err, "file '%s'", "\x07");
	(void)fb_hint(&err, "rm '%s'", "\x1b");
	assert_string_equal(err.msg, "file '%07': name '%1b[2J%0d%0a%7f'");
	assert_string_equal(err.hint, "rm '%1b'");
}

/* What is no text goes into no journal, no manifest and no JSON. */
static void
a_message_is_always_text(void **state)
{
	(void)state;
	(void)fb_fail(&err, FB_EFAILED, "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\xa7");
	assert_string_equal(
	    err.msg, "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\xa7");
	/* stray, cut off, too long, a surrogate, beyond Unicode */
	(void)fb_fail(&err, FB_EFAILED,
	    "\xff \xa9 \xe2\x82 \xc0\x80 \xed\xa0\x80 \xf4\x90\x80\x80");
	assert_string_equal(err.msg,
	    "%ff %a9 %e2%82 %c0%80 %ed%a0%80 %f4%90%80%80");
	/* a control sequence in one character */
	(void)fb_fail(&err, FB_EFAILED, "\xc2\x9b" "2J");
	assert_string_equal(err.msg, "%c2%9b2J");
	/* the end of the room cuts no character and no escape in two */
	(void)fb_fail(&err, FB_EFAILED, "%0766d\xc3\xa9", 0);
	assert_int_equal(strlen(err.msg), FB_ERROR_MSG_SIZE - 2);
	(void)fb_fail(&err, FB_EFAILED, "%0765d\x1b", 0);
	assert_int_equal(strlen(err.msg), FB_ERROR_MSG_SIZE - 3);
}

static void
the_innermost_hint_stays(void **state)
{
	(void)state;
	(void)fb_fail(&err, FB_EKEY, "no");
	assert_string_equal(err.hint, "");
	assert_fails(FB_EKEY, fb_hint(&err, "inner"));
	assert_fails(FB_EKEY, fb_hint(&err, "outer"));
	assert_string_equal(err.hint, "inner");
	(void)fb_fail(&err, FB_EKEY, "another");
	assert_string_equal(err.hint, "");
}

static void
an_id_is_the_callers_or_the_codes(void **state)
{
	(void)state;
	(void)fb_fail_id(&err, FB_ECONFIG, "E-NAME", "no");
	assert_string_equal(err.id, "E-NAME");
	(void)fb_fail(&err, FB_EBUSY, "no");
	assert_string_equal(err.id, "E-LOCKED");
}

static void
every_code_has_a_name_and_an_id_of_its_own(void **state)
{
	(void)state;
	for (int a = FB_PENDING; a >= FB_EFAILED; a--) {
		assert_string_not_equal(fb_code_name(a), "unknown");
		assert_memory_equal(fb_code_id(a), "E-", 2);
		for (int b = FB_PENDING; b > a; b--) {
			assert_string_not_equal(
			    fb_code_name(a), fb_code_name(b));
			assert_string_not_equal(fb_code_id(a), fb_code_id(b));
		}
	}
	assert_string_equal(fb_code_name(FB_EFAILED - 1), "unknown");
}

static void
a_kept_error_lives_as_long_as_somebody_holds_it(void **state)
{
	const struct fb_error *one, *two;

	(void)state;
	assert_null(fb_error_keep(NULL));
	err = (struct fb_error){ 0 };
	assert_null(fb_error_keep(&err));
	assert_null(fb_error_share(NULL));
	fb_error_drop(NULL);
	(void)fb_fail_id(&err, FB_ETIMEOUT, "E-TIMEOUT", "too late");
	one = fb_error_keep(&err);
	err = (struct fb_error){ 0 };
	two = fb_error_share(one);
	assert_ptr_equal(one, two);
	fb_error_drop(one);
	assert_int_equal(two->code, FB_ETIMEOUT);
	assert_string_equal(two->msg, "too late");
	fb_error_drop(two);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
		    a_kept_error_lives_as_long_as_somebody_holds_it),
		cmocka_unit_test(
		    a_system_error_becomes_the_code_that_callers_switch_on),
		cmocka_unit_test(wrapping_puts_the_attempt_before_the_cause),
		cmocka_unit_test(a_full_message_keeps_its_cause),
		cmocka_unit_test(a_message_longer_than_its_room_is_cut),
		cmocka_unit_test(a_terminal_is_not_moved_by_a_message),
		cmocka_unit_test(a_message_is_always_text),
		cmocka_unit_test(the_innermost_hint_stays),
		cmocka_unit_test(an_id_is_the_callers_or_the_codes),
		cmocka_unit_test(every_code_has_a_name_and_an_id_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What every unit test includes: cmocka and its prerequisites, in order. */
#ifndef UNIT_TEST_H
#define UNIT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fleetbak/base/buf.h"
#include "fleetbak/base/err.h"

/* The bytes of a string literal, without its NUL. */
#define SPAN(literal) \
	((struct fb_span){ (const uint8_t *)(literal), sizeof(literal) - 1 })

#define assert_ok(call)                                                \
	do {                                                           \
		int rc_ = (call);                                      \
		if (rc_ != FB_OK) {                                    \
			print_error("%s: %s: %s\n", #call,             \
			    fb_code_name((enum fb_code)rc_), err.msg); \
			fail();                                        \
		}                                                      \
	} while (0)

#define assert_fails(expected, call) assert_int_equal((call), (expected))

#endif

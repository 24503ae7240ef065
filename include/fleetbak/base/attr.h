/*
 * Compiler attributes and scope-bound cleanup (GCC and Clang).
 *
 * A cleanup handler receives the address of the variable going out of scope.
 * Every handler accepts the variable's empty value (NULL, -1, all-zero), so a
 * variable is safe from the line that declares it.  Handlers never report:
 * work that can fail and matters (fsync, commit) is called by name before.
 */
#ifndef FB_BASE_ATTR_H
#define FB_BASE_ATTR_H

#define FB_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define FB_MUST_USE          __attribute__((warn_unused_result))
#define FB_NORETURN          __attribute__((noreturn))
#define FB_CLEANUP(handler)  __attribute__((cleanup(handler)))

/* Number of elements of an array (not of a pointer). */
#define FB_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Move a pointer out of a variable: yields its value, leaves NULL behind. */
#define FB_STEAL(ptr)                               \
	__extension__({                             \
		__typeof__(ptr) fb_stolen_ = (ptr); \
		(ptr) = NULL;                       \
		fb_stolen_;                         \
	})

#endif

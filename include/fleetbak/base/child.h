/*
 * Child processes: argument vectors, never a shell; a process group of their
 * own, a deadline, an escalation, bounded output.
 *
 * A child inherits only its standard streams, what `pass` names and `lock_fd`.  The lock is an
 * flock(2) on an open file: as long as any process of the child's tree lives,
 * it is held, so whoever cannot take it knows that a child still lives.
 */
#ifndef FB_BASE_CHILD_H
#define FB_BASE_CHILD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fleetbak/base/buf.h"

struct fb_error;

/* Output kept of each stream: the last bytes. */
#define FB_CHILD_OUTPUT_MAX 65536

/* Descriptors that a child is given beside its standard streams. */
#define FB_CHILD_PASS_MAX 2

/* Between SIGTERM and SIGKILL to the process group. */
#define FB_CHILD_GRACE_MS 5000

struct fb_child_spec {
	const char *const *argv;   /* ends with NULL; argv[0] with a slash is
	                            * relative to `dir` */
	const char *dir;           /* working directory, NULL: ours */
	const char *const *env;    /* "K=V" added to ours, ends with NULL; or
	                            * NULL */
	uint64_t timeout_ms;       /* 0: none */
	uint64_t grace_ms;         /* 0: FB_CHILD_GRACE_MS */
	int lock_fd;               /* stays open in the child; -1: none */
	bool service;              /* what it leaves running has no lock */
	const int *pass;           /* become its descriptors 3, 4, ...; ours,
	                            * close-on-exec, stay the caller's */
	size_t pass_count;         /* at most FB_CHILD_PASS_MAX */
	struct fb_span input;      /* written to its standard input */
	const atomic_bool *cancel; /* when set and true: end it; may be NULL */
	size_t stdout_max; /* 0: keep the last FB_CHILD_OUTPUT_MAX bytes; else
	                    * keep all, and more than this is FB_EPROTO */
};

struct fb_child_result {
	int exit_code;     /* 0..255, or -1 when a signal ended it */
	int signal;        /* the signal that ended it, 0 if none */
	bool timed_out;    /* ended by us, at the deadline */
	bool canceled;     /* ended by us, on cancel */
	struct fb_buf out; /* standard output, see stdout_max */
	struct fb_buf err; /* the last FB_CHILD_OUTPUT_MAX bytes of stderr */
};

/*
 * Run a child to its end.  FB_OK when it was started and has ended, however;
 * `result` says how.  At the deadline, or on cancel, its group gets SIGTERM,
 * then SIGKILL; a grandchild that keeps the output open does not hold us up,
 * and lives on when nobody ended the group.  An argv[0] without a slash is
 * looked for in the absolute directories of PATH.
 *
 * Owner:   `*result` starts all-zero and is the caller's: release it.
 * Errors:  FB_ENOTFOUND, FB_EDENIED, FB_ESYS when it cannot be started;
 *          FB_EPROTO when stdout_max is exceeded (it is killed).
 * Threads: any.
 */
FB_MUST_USE int fb_child_run(const struct fb_child_spec *spec,
    struct fb_child_result *result, struct fb_error *err);
void fb_child_result_release(struct fb_child_result *result);
#define FB_AUTO_CHILD FB_CLEANUP(fb_child_result_release)

#endif

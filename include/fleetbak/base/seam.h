/*
 * The effects seam: every step by which fleetbak changes the world, or learns
 * of it, passes here first, so that a test can make the world end, or lie.
 *
 * Crashes.  The *durable* steps (FB_STEP_WRITE .. FB_STEP_CHILD) are counted
 * over the whole process, in the order they are taken.  With
 * FLEETBAK_CRASH=<n>:<how> in the environment the n-th of them does not
 * happen: the process exits at once with status FB_EXIT_CRASH.  <how> is
 *
 *	kill   like kill -9: what was written stays written
 *	torn   the step, if it is a write, first puts down half of its bytes
 *	lost   like power loss: bytes and names that are not synced are what
 *	       they were before
 *
 *	SIGINT, SIGTERM, SIGHUP, SIGKILL
 *	       not the end: the process gets this signal, and takes the step
 *	       if it is still there
 *
 *	power  power loss, truly: the file system FLEETBAK_CRASH_PLACE lies on
 *	       is shut down; with "log" instead it writes its log first
 *
 * FLEETBAK_CRASH=<kind>.<n>:<how> is the n-th step of that kind, of any.
 * FLEETBAK_CRASH_LOG=<file> appends "<n> <kind> <what>[ <label>]" per durable
 * step.
 *
 * Faults.  All steps are counted, over all kinds and each kind by itself
 * (but for "mono", which the flow of time multiplies: only by itself).
 * FLEETBAK_FAULT=<fault>[,<fault>...] makes steps fail, where a <fault> is
 * [<kind>.]<n>[+]:<what>; the + means "and all after it".  <what> is
 *
 *	EIO, ENOSPC ...  it fails with this errno (seam.c has the list); a
 *	                 write that fails for want of room puts down half
 *	EINTR            it is interrupted: must be tried again
 *	short            a read or write moves half: must be gone on with
 *	timeout          ETIMEDOUT; a store or driver call did nothing
 *	lost             a store or driver call, or a child, is made and its
 *	                 answer lost: FB_EUNKNOWN
 *	late             the same, with FB_ETIMEOUT
 *	stop             the process stops itself (SIGSTOP) before the step,
 *	                 and takes it when it is let go on
 *	hang             the thread waits before the step until it is killed;
 *	                 the others go on
 *	+<s>, -<s>       a clock is <s> seconds further, from then on
 *
 * What makes no sense for a step changes nothing.  FLEETBAK_FAULT_LOG=<file>
 * appends "<n> <kind> <what>[ <label>]" per step.
 *
 * FLEETBAK_CLOCK=<seconds since 1970>[.<fraction>] fixes the wall clock.
 * FLEETBAK_SESSION=<id> fixes the first session id that is made.
 * FLEETBAK_PARTS=<bytes>: what is larger goes to S3 in parts as large as that.
 * All of it is built out unless FB_FAULTS is defined: a release build knows
 * no such variable.
 *
 * Threads: any.
 */
#ifndef FB_BASE_SEAM_H
#define FB_BASE_SEAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fleetbak/base/attr.h"

struct fb_error;

#define FB_EXIT_CRASH 137

enum fb_step {
	FB_STEP_WRITE,  /* bytes to a file that will be relied on */
	FB_STEP_SYNC,   /* fsync of a file or a directory */
	FB_STEP_RENAME, /* rename, link, unlink, mkdir, truncate, chmod ... */
	FB_STEP_STORE,  /* a store call with an effect */
	FB_STEP_DRIVER, /* a driver verb with an effect */
	FB_STEP_CHILD,  /* a child process is started */
	FB_STEP_ASK,    /* store or driver call without an effect */
	FB_STEP_READ,   /* bytes of a file, names of a directory */
	FB_STEP_LOOK,   /* facts about a file */
	FB_STEP_OPEN,   /* a file is opened */
	FB_STEP_ALLOC,  /* memory whose size came from outside */
	FB_STEP_CLOCK,  /* the wall clock is read */
	FB_STEP_MONO,   /* the other clock is read */
};

/* What is to become of a step. */
enum fb_fault {
	FB_FAULT_NONE,
	FB_FAULT_TORN,  /* write half, then fb_seam_crash() */
	FB_FAULT_FAIL,  /* fail; fb_seam_errno() sets why */
	FB_FAULT_HALF,  /* write half, then fail */
	FB_FAULT_SHORT, /* write or read half, then go on */
	FB_FAULT_LOST,  /* do it and forget the answer */
	FB_FAULT_LATE,
};

#ifdef FB_FAULTS
/* What in the environment is the seam's, with a comma at its end. */
#define FB_SEAM_VARIABLES                                                 \
	"FLEETBAK_CRASH", "FLEETBAK_CRASH_LOG", "FLEETBAK_CRASH_PLACE",   \
	    "FLEETBAK_FAULT", "FLEETBAK_FAULT_LOG", "FLEETBAK_CLOCK",     \
	    "FLEETBAK_SESSION", "FLEETBAK_ROWS", "FLEETBAK_PARTS",

/*
 * Announce one step, before it is taken; may not return.  Who calls this
 * does what the fault says; for most steps one of those below is all that is
 * needed.
 */
FB_MUST_USE enum fb_fault fb_seam(enum fb_step step, const char *what);

/* Say in the log, of the next step of this thread, what it is for. */
void fb_seam_label(const char *label);

/* A system call: true, with errno, when it is to fail instead. */
FB_MUST_USE bool fb_seam_fails(enum fb_step step, const char *what);

/* The same for a read of at most `*len` bytes, which may become fewer. */
FB_MUST_USE bool fb_seam_read_fails(const char *what, size_t *len);

/* A call that answers with a code, announced by fb_seam(): before it,
 * whether it is to be left out (then its error is raised); after it, what
 * its caller is told. */
FB_MUST_USE int fb_seam_refuse(enum fb_fault fault, struct fb_error *err);
FB_MUST_USE int fb_seam_answer(
    enum fb_fault fault, int rc, struct fb_error *err);

/* errno as the last fault of this thread wants it. */
void fb_seam_errno(void);

/* How many nanoseconds a clock is off. */
FB_MUST_USE int64_t fb_seam_clock(enum fb_step clock);

/* `fd` is about to be written; `fd` has been synced. */
void fb_seam_dirty(int fd);
void fb_seam_clean(int fd);
/* The whole file system of `fd` has been synced. */
void fb_seam_clean_all(int fd);

/* What `name` names is about to be removed, replaced or made, or made unless
 * it is there; `from` is about to become `to`; a tree is about to be removed.
 * Power loss takes it back unless the directory is synced before. */
void fb_seam_name(int dirfd, const char *name);
void fb_seam_made(int dirfd, const char *name);
void fb_seam_move(const char *from, const char *to);
void fb_seam_tree(const char *path);

/* For seam.c: the directory `st`, or all of its file system, is synced; the
 * power is lost. */
struct stat;
void fb_seam_names_kept(const struct stat *st, bool all);
void fb_seam_names_lost(void);

void fb_seam_crash(void);

/* Crashes and faults were meant for another process than this one. */
void fb_seam_forget(void);
#else
#define FB_SEAM_VARIABLES

static inline enum fb_fault
fb_seam(enum fb_step step, const char *what)
{
	(void)step;
	(void)what;
	return FB_FAULT_NONE;
}

static inline void
fb_seam_label(const char *label)
{
	(void)label;
}

static inline bool
fb_seam_fails(enum fb_step step, const char *what)
{
	(void)step;
	(void)what;
	return false;
}

static inline bool
fb_seam_read_fails(const char *what, size_t *len)
{
	(void)what;
	(void)len;
	return false;
}

/* Not `err`: a test has a variable of that name. */
static inline int
fb_seam_refuse(enum fb_fault fault, struct fb_error *error)
{
	(void)fault;
	(void)error;
	return 0;
}

static inline int
fb_seam_answer(enum fb_fault fault, int rc, struct fb_error *error)
{
	(void)fault;
	(void)error;
	return rc;
}

static inline void
fb_seam_errno(void)
{
}

static inline int64_t
fb_seam_clock(enum fb_step clock)
{
	(void)clock;
	return 0;
}

static inline void
fb_seam_dirty(int fd)
{
	(void)fd;
}

static inline void
fb_seam_clean(int fd)
{
	(void)fd;
}

static inline void
fb_seam_clean_all(int fd)
{
	(void)fd;
}

static inline void
fb_seam_name(int dirfd, const char *name)
{
	(void)dirfd;
	(void)name;
}

static inline void
fb_seam_made(int dirfd, const char *name)
{
	(void)dirfd;
	(void)name;
}

static inline void
fb_seam_move(const char *from, const char *to)
{
	(void)from;
	(void)to;
}

static inline void
fb_seam_tree(const char *path)
{
	(void)path;
}

static inline void
fb_seam_crash(void)
{
}

static inline void
fb_seam_forget(void)
{
}
#endif

#endif

/*
 * The effects seam: every step by which fleetbak changes the world, or learns
 * of it, passes here first, so that a test can make the world end, or lie.
 *
 * Steps are counted over the whole process, in the order they are taken.
 * With FLEETBAK_CRASH=<n>:<how> in the environment the n-th *durable* step
 * (FB_STEP_WRITE .. FB_STEP_CHILD) does not happen: the process exits at once
 * with status FB_EXIT_CRASH.  <how> is
 *
 *	kill   like kill -9: what was written stays written
 *	torn   the step, if it is a write, first puts down half of its bytes
 *	lost   like power loss: what was written but not synced is gone
 *
 * FLEETBAK_CRASH_LOG=<file> appends "<n> <kind> <what>[ <label>]" per durable
 * step.
 * FLEETBAK_CLOCK=<seconds since 1970>[.<fraction>] fixes the wall clock.
 * FLEETBAK_SESSION=<id> fixes the first session id that is made.
 * All of it is built out unless FB_FAULTS is defined: a release build knows
 * no such variable.
 *
 * Threads: any.
 */
#ifndef FB_BASE_SEAM_H
#define FB_BASE_SEAM_H

#define FB_EXIT_CRASH 137

enum fb_step {
	FB_STEP_WRITE,  /* bytes to a file that will be relied on */
	FB_STEP_SYNC,   /* fsync of a file or a directory */
	FB_STEP_RENAME, /* rename, link, unlink, mkdir, truncate, chmod ... */
	FB_STEP_STORE,  /* a store call with an effect */
	FB_STEP_DRIVER, /* a driver verb with an effect */
	FB_STEP_CHILD,  /* a child process is started */
	FB_STEP_READ,   /* store or driver call without an effect */
	FB_STEP_CLOCK,  /* the clock is read */
};

enum fb_fault { FB_FAULT_NONE, FB_FAULT_TORN };

#ifdef FB_FAULTS
/* Announce one step, before it is taken; may not return.  FB_FAULT_TORN:
 * write half, then call fb_seam_crash(). */
enum fb_fault fb_seam(enum fb_step step, const char *what);

/* Say in the log, of the next step of this thread, what it is for. */
void fb_seam_label(const char *label);

/* `fd` is about to be written; `fd` has been synced. */
void fb_seam_dirty(int fd);
void fb_seam_clean(int fd);
/* The whole file system of `fd` has been synced. */
void fb_seam_clean_all(int fd);

void fb_seam_crash(void);
#else
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
fb_seam_crash(void)
{
}
#endif

#endif

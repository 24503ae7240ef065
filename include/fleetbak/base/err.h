/*
 * Errors: a code to decide with, a sentence to show, an id to look up.
 *
 * A function that can fail returns int: FB_OK (0), or the negative
 * `enum fb_code` it also stored in the caller's `struct fb_error`.  The code
 * is for `switch`; the message is for people; the id ("E-CFG-KEY") is stable,
 * stands in text and JSON, and `fleetbak explain ID` says more about it.
 * Nothing below src/cli prints.
 *
 * The error is a plain value without heap memory: it needs no release, works
 * when memory is short, and can be copied from a worker thread to its parent.
 */
#ifndef FB_BASE_ERR_H
#define FB_BASE_ERR_H

#include <stdbool.h>

#include "fleetbak/base/attr.h"

enum fb_code {
	FB_PENDING = 1, /* a driver verb goes on; ask again */
	FB_OK = 0,
	FB_ESYS = -1,       /* a system call failed; see fb_error.sys */
	FB_ENOTFOUND = -2,  /* the named thing does not exist */
	FB_EEXISTS = -3,    /* the named thing exists already */
	FB_ECORRUPT = -4,   /* stored bytes contradict format, length or hash */
	FB_EUNTRUSTED = -5, /* signature missing, wrong, unknown, rolled back */
	FB_ECONFIG = -6,    /* configuration, option or selector is wrong */
	FB_EBUSY = -7,      /* held by another run; the message says whom */
	FB_ERETRY = -8,     /* transient: the same call may succeed later */
	FB_ECANCELED = -9,  /* stopped on request or because a sibling failed */
	FB_EUNSUP = -10,    /* the driver or store cannot do this */
	FB_EBUG = -11,      /* an invariant of fleetbak itself is broken */
	FB_ENOREPO = -12,   /* there is no repository there */
	FB_EKEY = -13,      /* a key does not fit or cannot be read */
	FB_EUNREACH = -14,  /* source or repository cannot be reached */
	FB_EDENIED = -15,   /* permission or credential refused */
	FB_ENOSPACE = -16,  /* disk full, quota, free-space check */
	FB_ETOONEW = -17,   /* a format newer than this program */
	FB_ESTALE = -18,    /* the world changed since the plan was made */
	FB_EREFUSED = -19,  /* a safety limit or missing consent stopped it */
	FB_EBUDGET = -20,   /* time or transfer budget used up */
	FB_ECONFLICT = -21, /* another state than the verb needs */
	FB_EPROTO = -22,    /* the other side broke its own contract */
	FB_EUNKNOWN = -23,  /* the effect may or may not have happened */
	FB_ETIMEOUT = -24,  /* a deadline passed */
	FB_EFAILED = -25,   /* the effect was tried and did not happen */
};

/* Bytes, including the final NUL. */
#define FB_ERROR_MSG_SIZE  768
#define FB_ERROR_HINT_SIZE 256

struct fb_error {
	enum fb_code code;
	int sys;        /* errno at the point of failure, 0 if none */
	const char *id; /* "E-CFG-KEY"; static memory; never NULL once raised */
	const char *file;            /* where the error was first raised ... */
	int line;                    /* ... for -vv and for bug reports */
	char msg[FB_ERROR_MSG_SIZE]; /* "outer: inner: cause", no newline */
	char hint[FB_ERROR_HINT_SIZE]; /* what to do, "" if nothing to say */
};

/*
 * Raise an error: fill `err` and return `code`.
 *
 * fb_fail() takes the code's own id ("E-CONFIG"); fb_fail_id() a finer one,
 * a string literal that the table of `fleetbak explain` knows.
 * fb_fail_sys() reads errno first, appends ": " and its text, and returns
 * FB_ENOTFOUND for ENOENT, FB_EEXISTS for EEXIST, FB_EDENIED for EACCES,
 * EPERM and EROFS, FB_ENOSPACE for ENOSPC, EDQUOT and EFBIG, FB_ESYS for the
 * rest.
 * Write the sentence in lower case, without a final stop, naming the object
 * in quotes: "cannot open '%s'".  Bytes from outside that are not printable
 * are shown escaped.
 */
#define fb_fail(err, code, ...) \
	fb_error_raise((err), (code), NULL, __FILE__, __LINE__, __VA_ARGS__)
#define fb_fail_id(err, code, id, ...) \
	fb_error_raise((err), (code), (id), __FILE__, __LINE__, __VA_ARGS__)
#define fb_fail_sys(err, ...) \
	fb_error_raise_sys((err), __FILE__, __LINE__, __VA_ARGS__)

/*
 * Say what was being attempted: prefix "<text>: " to the message and return
 * the code, unchanged.  When there is no room the prefix is dropped, so the
 * cause is never the part that gets lost.
 */
int fb_wrap(struct fb_error *err, const char *fmt, ...) FB_PRINTF(2, 3);

/* Say what to do about it, one line; the innermost hint stays.  Returns the
 * code, unchanged. */
int fb_hint(struct fb_error *err, const char *fmt, ...) FB_PRINTF(2, 3);

/* Stable lower-case name of a code ("not-found"), for logs and --json. */
const char *fb_code_name(enum fb_code code);

/* The id that fb_fail() gives errors of this code ("E-NOT-FOUND"). */
const char *fb_code_id(enum fb_code code);

/*
 * Errors that are kept, of machines for example: on the heap, only where there
 * is one, and once however many hold it.  fb_error_keep() copies an error
 * (NULL for NULL, and for one that was not raised), fb_error_share() makes one
 * more owner of a kept one, fb_error_drop() one less; each takes NULL.
 * Threads: any.
 */
const struct fb_error *fb_error_keep(const struct fb_error *err);
const struct fb_error *fb_error_share(const struct fb_error *kept);
void fb_error_drop(const struct fb_error *kept);

int fb_error_raise(struct fb_error *err, enum fb_code code, const char *id,
    const char *file, int line, const char *fmt, ...) FB_PRINTF(6, 7);
int fb_error_raise_sys(struct fb_error *err, const char *file, int line,
    const char *fmt, ...) FB_PRINTF(4, 5);

#endif

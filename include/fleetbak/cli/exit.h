/*
 * Exit statuses.  fleetbak(1), "EXIT STATUS", lists the same; no other is
 * used, except 128 + N for signal N, which the shell makes of our death.
 */
#ifndef FB_CLI_EXIT_H
#define FB_CLI_EXIT_H

#include <stdbool.h>
#include <stddef.h>

#include "fleetbak/base/err.h"

enum fb_exit {
	FB_EXIT_OK = 0,
	FB_EXIT_ERROR = 1,
	FB_EXIT_USAGE = 2,
	FB_EXIT_PARTIAL = 3,
	FB_EXIT_CHANGES = 4,
	FB_EXIT_NO_REPO = 10,
	FB_EXIT_LOCKED = 11,
	FB_EXIT_WRONG_KEY = 12,
	FB_EXIT_UNTRUSTED = 13,
	FB_EXIT_DAMAGED = 14,
	FB_EXIT_UNREACHABLE = 15,
	FB_EXIT_DENIED = 16,
	FB_EXIT_NO_SPACE = 17,
	FB_EXIT_TOO_NEW = 18,
	FB_EXIT_STALE_PLAN = 19,
	FB_EXIT_REFUSED = 20,
	FB_EXIT_BUDGET = 21,
};

struct fb_exit_row {
	enum fb_exit exit;
	const char *name;
	const char *meaning;
	const char *retry; /* does trying again help? */
};

/* The table, for `help exit-codes`, `explain` and the tests. */
size_t fb_exit_rows(const struct fb_exit_row **ret_rows);

/* "partial"; "signal" from 128 on. */
const char *fb_exit_name(int exit);

enum fb_exit fb_exit_of(enum fb_code code);

/*
 * The status of many: each machine (or source, or object) reports how it
 * fared.  Untrusted, damaged, wrong keys and formats too new always win; if
 * any succeeded, the other troubles are "partial"; if none did, the common
 * cause's, else "error".
 */
struct fb_tally {
	size_t good, bad;
	enum fb_exit worst;  /* of those that always win, or 0 */
	enum fb_exit common; /* cause shared by all the bad, or 1 */
	bool trouble;        /* something good is not quite good */
};
void fb_tally_good(struct fb_tally *tally);
void fb_tally_bad(struct fb_tally *tally, enum fb_code code);
/* It succeeded, with something the user must look at. */
void fb_tally_trouble(struct fb_tally *tally);
enum fb_exit fb_tally_exit(const struct fb_tally *tally);

#endif

/*
 * Options: one table makes the parser, -h, --help, the completions and the
 * check of the manual pages.
 */
#ifndef FB_CLI_OPTION_H
#define FB_CLI_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fleetbak/base/attr.h"

struct fb_error;

enum fb_option_id {
	/* for all commands */
	FB_OPT_CONFIG, FB_OPT_REPO, FB_OPT_SELECT, FB_OPT_DRY_RUN,
	FB_OPT_OUTPUT, FB_OPT_JSON, FB_OPT_QUIET, FB_OPT_VERBOSE, FB_OPT_YES,
	FB_OPT_HELP, FB_OPT_HELP_FULL, FB_OPT_VERSION, FB_OPT_SET,
	FB_OPT_COLOR, FB_OPT_PROGRESS, FB_OPT_UTC, FB_OPT_BYTES,
	FB_OPT_NO_HEADER, FB_OPT_LOCK_WAIT,
	/* for some */
	FB_OPT_ORIGIN, FB_OPT_SELECTION, FB_OPT_PLAN, FB_OPT_JOBS,
	FB_OPT_RESUME, FB_OPT_EXIT_CODE, FB_OPT_FILES, FB_OPT_CHECK,
	FB_OPT_SHORT, FB_OPT_SIGNATURES, FB_OPT_STRUCTURE, FB_OPT_PACKS,
	FB_OPT_FULL, FB_OPT_IN_PLACE, FB_OPT_AS, FB_OPT_TARGET,
	FB_OPT_VOLUME, FB_OPT_PATH, FB_OPT_RUN, FB_OPT_ALL, FB_OPT_START,
	FB_OPT_ALLOW_UNTRUSTED, FB_OPT_ALLOW_ROLLBACK, FB_OPT_FORCE,
	FB_OPT_GUARDIAN, FB_OPT_EXPLAIN, FB_OPT_MAX_REMOVE,
	FB_OPT_FENCE_AFTER, FB_OPT_FENCE, FB_OPT_UNDO, FB_OPT_REMOVE, FB_OPT_REASON,
	FB_OPT_WHY, FB_OPT_MAX_DURATION, FB_OPT_LIMIT_READ,
	FB_OPT_LIMIT_UPLOAD, FB_OPT_LOG_FILE, FB_OPT_UNIT, FB_OPT_PREFIX,
	FB_OPT_USER, FB_OPT_FROM, FB_OPT_TO,
	FB_OPT_SHARD, FB_OPT_DEAD_AFTER, FB_OPT_TAKE_OVER,
	FB_OPT_ATTEST, FB_OPT_FIX, FB_OPT_WASTE, FB_OPT_MACHINE,
	FB_OPT_OPTION, FB_OPT_MAP, FB_OPT_MAP_FILE, FB_OPT_KEEP_MAC,
	FB_OPT_KEEP_UUID, FB_OPT_BACKUP_FIRST, FB_OPT_LABEL,
	FB_OPT_COUNT,
};

enum fb_option_kind {
	FB_OPTION_SWITCH,  /* --x; with `negatable` also --no-x */
	FB_OPTION_COUNTED, /* -v, -vv */
	FB_OPTION_VALUE,   /* once */
	FB_OPTION_LIST,    /* repeatable */
	FB_OPTION_NUMBER,  /* once, an unsigned integer */
	FB_OPTION_SPAN,    /* once, "30s" */
	FB_OPTION_CHOICE,  /* once, one of `choices` */
};

struct fb_option {
	enum fb_option_id id;
	char letter; /* 0: none; the same meaning in every command */
	const char *name;
	const char *value; /* "FILE"; NULL for a switch */
	enum fb_option_kind kind;
	bool negatable;
	const char *help;     /* one line, no final stop */
	const char *choices;  /* "table tsv json", of a CHOICE */
	const char *commands; /* NULL: all; else "download restore" */
};

/* The table; one option may have a row for each group of commands. */
size_t fb_option_rows(const struct fb_option **ret_rows);
bool fb_option_in(const struct fb_option *option, const char *command);

struct fb_option_value {
	bool set;  /* given on the command line */
	bool on;   /* a switch: --x, not --no-x */
	unsigned times;
	uint64_t number; /* of a NUMBER; milliseconds of a SPAN */
	const char **values; /* of VALUE, LIST, CHOICE; borrowed from argv */
	size_t count;
};

struct fb_arguments {
	const char *command; /* first argument; NULL: none */
	const char **items;  /* the arguments after it; borrowed from argv */
	size_t count;
	struct fb_option_value options[FB_OPT_COUNT];
};

/*
 * Parse a command line (argv[0] is the program).  Options may stand anywhere
 * before "--"; nothing is abbreviated; "-j4", "-j 4", "--jobs=4" and
 * "--jobs 4" are the same, and switches cluster ("-nq").
 *
 * Errors: FB_ECONFIG: E-OPT-UNKNOWN and E-CMD-UNKNOWN with the nearest name,
 * E-OPT-VALUE, E-OPT-TWICE, E-OPT-HERE.
 * Owner:  release `args` in either case.
 */
FB_MUST_USE int fb_arguments_parse(int argc, const char *const *argv,
    struct fb_arguments *args, struct fb_error *err);
void fb_arguments_release(struct fb_arguments *args);

/* The value of an option that is given once; NULL when it was not. */
const char *fb_arguments_value(
    const struct fb_arguments *args, enum fb_option_id id);
bool fb_arguments_on(const struct fb_arguments *args, enum fb_option_id id);

#endif

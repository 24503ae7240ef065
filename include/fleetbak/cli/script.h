/*
 * Commands for scripts, whose first argument is a verb and whose second a
 * directory: checkpoint, state.
 */
#ifndef FB_CLI_SCRIPT_H
#define FB_CLI_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fleetbak/base/attr.h"

struct fb_cli;
struct fb_error;

struct fb_script_verb {
	const char *name;
	size_t args_min, args_max; /* the verb itself counts */
	bool changes; /* there is no dry run of it */
	int (*run)(struct fb_cli *cli, struct fb_error *err);
};

/* Run the verb that the arguments begin with.  Errors: FB_ECONFIG
 * (E-OPT-VALUE, E-OPT-HERE) with the verbs there are; those of the verb. */
FB_MUST_USE int fb_cli_script(struct fb_cli *cli,
    const struct fb_script_verb *verbs, size_t count, struct fb_error *err);

/* How long to wait for others: --lock-wait, or ten seconds. */
uint64_t fb_cli_script_wait_ms(const struct fb_cli *cli);

#endif

/*
 * Commands.  One file each, src/cli/cmd_<name>.c, exporting one constant;
 * adding a command is that file and one line in src/cli/command.c.
 */
#ifndef FB_CLI_COMMAND_H
#define FB_CLI_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

#include "fleetbak/base/attr.h"

struct fb_cli;
struct fb_error;

struct fb_command {
	const char *name;
	const char *group;    /* "Every day", for the overview */
	const char *args;     /* "[MACHINE ...]" */
	const char *help;     /* one line, no final stop */
	const char *examples; /* lines "command<TAB>what it does" */
	const char *about;    /* paragraphs for --help */
	const char *words;    /* first arguments, for completions; or NULL */
	size_t args_max;      /* 0: any number, given by SIZE_MAX */
	bool cancels;     /* looks at the cancel flag, so that a signal may be
	                   * answered by stopping in order */
	bool unattended;  /* a timer may run it: its end is told, measured,
	                   * and limited; see unattended.h */
	bool reads_state; /* says which machines are left half restored */
	/* FB_OK or a negative code; the answer goes to `cli`. */
	int (*run)(struct fb_cli *cli, struct fb_error *err);
};

extern const struct fb_command fb_cmd_init, fb_cmd_config, fb_cmd_discover,
    fb_cmd_topology, fb_cmd_plan, fb_cmd_download, fb_cmd_seal, fb_cmd_list,
    fb_cmd_show,
    fb_cmd_status, fb_cmd_verify, fb_cmd_restore, fb_cmd_recover, fb_cmd_keys,
    fb_cmd_prune, fb_cmd_forget, fb_cmd_hold, fb_cmd_copy, fb_cmd_import,
    fb_cmd_notify,
    fb_cmd_doctor, fb_cmd_driver, fb_cmd_checkpoint, fb_cmd_state,
    fb_cmd_explain, fb_cmd_version, fb_cmd_help;

size_t fb_commands(const struct fb_command *const **ret_commands);
const struct fb_command *fb_command_find(const char *name); /* NULL: none */
/* "" when nothing is near. */
const char *fb_command_nearest(const char *name);

/* The whole program: returns the exit status, or dies by the signal that
 * ended the work. */
int fb_cli_main(int argc, const char *const *argv);

/* `fleetbak __complete ...`: what could stand at the cursor. */
int fb_complete(int argc, const char *const *argv);

#endif

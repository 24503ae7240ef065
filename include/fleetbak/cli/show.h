/*
 * One machine of a manifest, and the files of its trees.
 */
#ifndef FB_CLI_SHOW_H
#define FB_CLI_SHOW_H

#include "fleetbak/cli/cli.h"
#include "fleetbak/manifest/manifest.h"

FB_MUST_USE int fb_cli_show_machine(struct fb_cli *cli, struct fb_repo *repo,
    const struct fb_manifest_machine *machine, struct fb_error *err);

/* The files whose path matches the second argument, or all. */
FB_MUST_USE int fb_cli_show_files(struct fb_cli *cli, struct fb_repo *repo,
    const struct fb_manifest_machine *machine, struct fb_error *err);

/* "-rw-r--r--"; `text` has 11 bytes. */
void fb_cli_mode(char type, unsigned mode, char text[11]);

#endif

/* The parts of `keys` that deal with encrypted repositories. */
#ifndef CLI_KEYS_RESEAL_H
#define CLI_KEYS_RESEAL_H

#include "fleetbak/cli/cli.h"

/* add, remove, rotate: seal the keys of what is stored again. */
FB_MUST_USE int fb_keys_reseal(struct fb_cli *cli, const char *what,
    const char *whom, struct fb_error *err);

/* sheet: how a stranger restores. */
FB_MUST_USE int fb_keys_sheet(struct fb_cli *cli, struct fb_error *err);

#endif

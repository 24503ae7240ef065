/*
 * What `download` and `plan` show, apart from doing it.
 */
#ifndef FB_CLI_DOWNLOAD_H
#define FB_CLI_DOWNLOAD_H

#include "fleetbak/cli/cli.h"
#include "fleetbak/engine/download.h"

/* The shard that --shard and --run, or the environment of Slurm or Kubernetes,
 * ask for.  FB_ECONFIG, id E-SHARD-NUMBER. */
FB_MUST_USE int fb_cli_shard(const struct fb_cli *cli,
    struct fb_download_request *request, struct fb_error *err);

/* What the workers of a closed run have left, see fb_shared_look_after().
 * FB_EFAILED, id E-SHARD-LEFT: not all of it could be done. */
FB_MUST_USE int fb_cli_look_after(
    struct fb_cli *cli, const char *shared, struct fb_error *err);

/* The request that the command line makes; borrows from `cli`. */
void fb_cli_download_request(
    const struct fb_cli *cli, struct fb_download_request *request);

/* Make the plan and show it: `download -n` and `plan`. */
FB_MUST_USE int fb_cli_plan(struct fb_cli *cli, struct fb_error *err);

/* Put a report into the answer, and the status it has. */
void fb_cli_download_report(
    struct fb_cli *cli, const struct fb_download_report *report, int rc);

#endif

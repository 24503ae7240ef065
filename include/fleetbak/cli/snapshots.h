/*
 * What the repository holds of the configured fleet: one row per machine and
 * committed run, from the signed manifests.
 */
#ifndef FB_CLI_SNAPSHOTS_H
#define FB_CLI_SNAPSHOTS_H

#include "fleetbak/cli/cli.h"
#include "fleetbak/manifest/manifest.h"

struct fb_snapshot {
	char run[FB_RUN_ID_SIZE];
	char *machine;   /* "source/id" */
	char time[32];   /* the moment the content is of */
	bool failed;
	const struct fb_error *failure; /* when failed */
	enum fb_level level;
	enum fb_lifecycle lifecycle;
	uint64_t downtime_ms, size, read_bytes, new_bytes, stored_bytes;
	bool selected;
};

struct fb_run_row {
	struct fb_run_ref ref; /* `damage` is not kept */
	char finished[32];
	bool partial, drift;
	bool pending, held;
	char pending_since[32]; /* "" when it is not */
	size_t good, failed;
	uint64_t size, stored_bytes;
	struct fb_error problem; /* code < 0: it cannot be read, or trusted */
};

struct fb_snapshots {
	struct fb_run_row *runs; /* newest first */
	size_t run_count;
	struct fb_snapshot *items; /* newest first */
	size_t count;
	struct fb_fleet fleet; /* every machine that occurs */
	struct fb_tally tally; /* manifests that could be read, or not */
};

/*
 * Read all manifests of the fleet; one that cannot be read is a warning and
 * counts in the tally.  Errors: what makes the listing itself impossible.
 */
FB_MUST_USE int fb_snapshots_load(struct fb_cli *cli, struct fb_repo *repo,
    struct fb_snapshots *snapshots, struct fb_error *err);
/* Of each machine only the newest row, and the newest good one: what is held
 * does not grow with the number of runs. */
FB_MUST_USE int fb_snapshots_load_newest(struct fb_cli *cli,
    struct fb_repo *repo, struct fb_snapshots *snapshots,
    struct fb_error *err);
/* "pending", "held", or NULL; with the members of the row's JSON. */
const char *fb_run_fate(const struct fb_run_row *row);
void fb_run_put_fate(json_t *object, const struct fb_run_row *row);

/* Mark the rows of the machines that the arguments and -s choose. */
FB_MUST_USE int fb_snapshots_select(const struct fb_cli *cli,
    struct fb_snapshots *snapshots, const char *const *machines,
    size_t machine_count, struct fb_error *err);
/* The machine "source/id" in the fleet; NULL when it is not there. */
const struct fb_machine *fb_snapshots_find(
    const struct fb_snapshots *snapshots, const char *name);
void fb_snapshots_release(struct fb_snapshots *snapshots);
#define FB_AUTO_SNAPSHOTS FB_CLEANUP(fb_snapshots_release)

/* "source/id" of a machine of a manifest; the caller frees. */
char *fb_snapshot_machine(const struct fb_manifest_machine *machine);
uint64_t fb_snapshot_size(const struct fb_manifest_machine *machine);
json_t *fb_snapshot_json(const struct fb_snapshot *snapshot);

#endif

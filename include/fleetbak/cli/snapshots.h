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
	char *name;      /* what people call it */
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
	struct fb_error *problem; /* NULL, or it cannot be read, or trusted */
};

struct fb_snapshots {
	struct fb_run_row *runs; /* newest first */
	size_t run_count;
	struct fb_snapshot *items; /* fb_snapshots_load_newest(): newest first */
	size_t count;
	struct fb_fleet fleet; /* ... and every machine that occurs */
	bool chosen; /* not all machines are selected */
	bool looked; /* all manifests were read once, warned of and counted */
	struct fb_tally tally; /* manifests that could be read, or not */
};

/* The fleet's runs, without a look at their manifests.  Errors: what makes
 * the listing itself impossible. */
FB_MUST_USE int fb_snapshots_load_runs(struct fb_cli *cli,
    struct fb_repo *repo, struct fb_snapshots *snapshots,
    struct fb_error *err);
/*
 * The same, and all manifests: of each machine the newest row, and the newest
 * good one, so that what is held does not grow with the number of runs.  A
 * manifest that cannot be read is a warning and counts in the tally.
 */
FB_MUST_USE int fb_snapshots_load_newest(struct fb_cli *cli,
    struct fb_repo *repo, struct fb_snapshots *snapshots,
    struct fb_error *err);

/*
 * Visit the row of each machine in each run that can be read, newest first;
 * those of one run are in memory.  `selected` is set in them by what
 * fb_snapshots_select() chose.  `visit` borrows the row.  With load_runs()
 * only, this is when manifests are read, warned of and counted.
 */
typedef int fb_snapshots_visit(const struct fb_snapshot *row, void *arg,
    struct fb_error *err);
FB_MUST_USE int fb_snapshots_each(struct fb_cli *cli, struct fb_repo *repo,
    struct fb_snapshots *snapshots, fb_snapshots_visit *visit, void *arg,
    struct fb_error *err);
/* Only the rows of this run of snapshots->runs. */
FB_MUST_USE int fb_snapshots_of_run(struct fb_cli *cli, struct fb_repo *repo,
    struct fb_snapshots *snapshots, struct fb_run_row *run,
    fb_snapshots_visit *visit, void *arg, struct fb_error *err);

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

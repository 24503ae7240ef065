/*
 * The manifest: the signed, immutable record of one run.
 *
 * Canonical JSON (sorted keys, no white space, UTF-8, one final newline),
 * but each element of "machines" stands on a line of its own, so that a
 * fleet of any size is read and written a machine at a time.  Every byte
 * comes from journaled facts.  Checked on write and on read by the same
 * rules; an error names the rule ("manifest rule M07: ...").
 * Spec: fleetbak-format(5), "Manifest".
 */
#ifndef FB_MANIFEST_MANIFEST_H
#define FB_MANIFEST_MANIFEST_H

#include <stdbool.h>
#include <stdint.h>

#include "fleetbak/crypto/digest.h"
#include "fleetbak/fleet/fleet.h"
#include "fleetbak/repo/repo.h"

struct fb_error;
struct fb_manifest_writer;
struct fb_manifest; /* an open one: head in memory, machines streamed */

/* One line of the manifest. */
#define FB_MANIFEST_MACHINE_MAX (4u << 20)

struct fb_manifest_unit {
	char *name;
	uint64_t epoch;      /* the one quiescence window of its snapshots */
	char **machines;     /* "source/id" */
	size_t machine_count;
};

struct fb_manifest_source {
	char *name, *driver;
	struct fb_error problem; /* code < 0: it could not be asked */
};

struct fb_manifest_head {
	char run[FB_RUN_ID_SIZE];
	char session[FB_RUN_ID_SIZE];
	char *fleet;
	char *tool_version;
	char *host;
	char started[32], finished[32];
	struct fb_shard_ref shard; /* the part of a run it records */
	struct fb_digest topology; /* whole fleet, before the first effect */
	struct fb_digest topology_selection;
	struct fb_digest topology_after;     /* after the last snapshot */
	bool drift;                          /* after differs */
	bool partial;                        /* some machine failed */
	struct fb_manifest_source *sources;
	size_t source_count;
	struct fb_predecessor *predecessors; /* newest runs its writer saw */
	size_t predecessor_count;
	struct fb_manifest_unit *units;
	size_t unit_count;
};

struct fb_manifest_volume {
	char *name;
	enum fb_volume_kind kind;
	uint64_t size;       /* bytes of the content (a tree: of its archive) */
	bool captured;       /* false: removable, listed only */
	char *method;
	struct fb_digest recipe, root;
	bool has_flat;
	struct fb_digest flat;
	char *flat_by;       /* "fleetbak" or "source" */
	bool has_catalogue;
	uint64_t catalogue_size;
	struct fb_digest catalogue_recipe, catalogue_root;
	char *change_token;  /* what the source said of the content, or NULL;
	                      * see driver/artifact.h */
	uint64_t read_bytes, new_bytes, stored_bytes;
	uint64_t changed_files; /* of a tree: changed or vanished while read */
};

struct fb_manifest_machine {
	char *source, *driver, *id, *name, *role, *parent; /* parent: NULL */
	struct fb_labels labels;
	struct fb_digest description;
	enum fb_power power; /* before the run: what it shall be afterwards */
	bool failed;
	const struct fb_error *failure; /* kept, when failed: id, message */
	enum fb_lifecycle lifecycle;
	enum fb_level level;
	uint64_t epoch;
	char *token;                /* of its snapshot */
	uint64_t downtime_ms;       /* 0 when it was not stopped */
	char snapshot_time[32];     /* the moment the content is of */
	uint64_t stop_timeout_ms, start_timeout_ms;
	struct fb_manifest_volume *volumes; /* sorted by name */
	size_t volume_count;
};

void fb_manifest_head_release(struct fb_manifest_head *head);
void fb_manifest_machine_release(struct fb_manifest_machine *machine);

/*
 * Write a manifest and the run's VOLUMES into two files: begin, machines in
 * order of source and id, finish (which checks the rules over the whole,
 * syncs the files and gives their digests).
 * Errors: FB_EBUG with the rule's name (E-MANIFEST-RULE).
 */
FB_MUST_USE int fb_manifest_begin(const char *manifest_path,
    const char *volumes_path, const struct fb_manifest_head *head,
    struct fb_manifest_writer **ret_writer, struct fb_error *err);
FB_MUST_USE int fb_manifest_add(struct fb_manifest_writer *writer,
    const struct fb_manifest_machine *machine, struct fb_error *err);
FB_MUST_USE int fb_manifest_finish(struct fb_manifest_writer *writer,
    struct fb_digest *ret_manifest, struct fb_digest *ret_volumes,
    struct fb_error *err);
void fb_manifest_abandon(struct fb_manifest_writer *writer);

/*
 * Open a run's manifest: signature, SHA256SUMS and digest are checked first
 * (FB_EUNTRUSTED, FB_ECORRUPT), then the rules (FB_ECORRUPT, FB_ETOONEW).
 * With `untrusted` a failing signature is only reported in *ret_doubt.
 */
FB_MUST_USE int fb_manifest_open(struct fb_repo *repo,
    const struct fb_run_ref *run, bool untrusted, struct fb_error *ret_doubt,
    struct fb_manifest **ret_manifest, struct fb_error *err);

/* The manifests of these runs are going to be opened, in this order:
 * fb_repo_read_ahead(), and fb_repo_read_ahead_end() after them. */
void fb_manifests_ahead(
    struct fb_repo *repo, const char *const *runs, size_t count);

/* The same of bytes that somebody else vouches for. */
FB_MUST_USE int fb_manifest_parse(struct fb_span text,
    struct fb_manifest **ret_manifest, struct fb_error *err);
void fb_manifest_close(struct fb_manifest *manifest);
void fb_manifest_closep(struct fb_manifest **manifest);
#define FB_AUTO_MANIFEST FB_CLEANUP(fb_manifest_closep)

const struct fb_manifest_head *fb_manifest_get_head(
    const struct fb_manifest *manifest);
const struct fb_digest *fb_manifest_digest(const struct fb_manifest *manifest);

/* The machines in order; a negative return stops.  `machine` is borrowed. */
typedef int fb_manifest_visit(const struct fb_manifest_machine *machine,
    void *arg, struct fb_error *err);
FB_MUST_USE int fb_manifest_machines(struct fb_manifest *manifest,
    fb_manifest_visit *visit, void *arg, struct fb_error *err);

/* The machines of several manifests, in one order. */
FB_MUST_USE int fb_manifests_merge(struct fb_manifest *const *manifests,
    size_t count, fb_manifest_visit *visit, void *arg, struct fb_error *err);

/* Fill run, session, fleet, time and predecessors of the register that
 * commits a run with this head; sums, signature and lists are left alone. */
void fb_manifest_register(
    const struct fb_manifest_head *head, struct fb_register *reg);

/* The bytes of VOLUMES that belong to the manifest: their digest. */
FB_MUST_USE int fb_manifest_volumes_digest(struct fb_manifest *manifest,
    struct fb_digest *ret_digest, struct fb_error *err);

/*
 * SHA256SUMS of a run: manifest, VOLUMES, recipes, packs, format/1.json and
 * restore.sh, sorted by path.
 */
FB_MUST_USE int fb_sums_write(struct fb_repo *repo, const char *run,
    const struct fb_digest *manifest, const struct fb_digest *volumes,
    const struct fb_id_list *recipes, const struct fb_id_list *packs,
    struct fb_buf *dst, struct fb_error *err);

/*
 * The history of a fleet: is anything missing, was it rolled back?
 *
 * `memory_path` is a file in the state directory that remembers the newest
 * run seen of this repository and fleet; it is read, and with `remember`
 * (a writer's call) moved forward, and a SHA256SUMS.sig that a crash left out
 * of the newest run is made.  *ret_known says, on failure too, whether there
 * was a memory to compare with.
 * Errors: FB_EUNTRUSTED, id E-ROLLBACK, when the newest remembered run, or a
 * predecessor that a manifest names, is gone without a forgets/ record.
 */
FB_MUST_USE int fb_history_check(struct fb_repo *repo, const char *fleet,
    const char *memory_path, bool remember, bool *ret_known,
    struct fb_error *err);

/* The same for one who deletes: a run that is there is to be listed too.
 * Errors: besides, FB_EBUSY, id E-LIST-BEHIND. */
FB_MUST_USE int fb_history_check_lists(struct fb_repo *repo, const char *fleet,
    const char *memory_path, struct fb_error *err);

/* Move the memory forward to the run that this session has committed: a list
 * may not show it yet. */
FB_MUST_USE int fb_history_remember(struct fb_repo *repo, const char *fleet,
    const char *memory_path, const char *session, struct fb_error *err);

/* A writer was told to go on without the runs that are missing: remember the
 * newest of those that are there. */
FB_MUST_USE int fb_history_accept(struct fb_repo *repo, const char *fleet,
    const char *memory_path, struct fb_error *err);

/* The newest runs of a fleet that no other run of it names as predecessor,
 * oldest first (the order of a manifest's predecessors).  A run whose
 * checksums do not hold counts as if it were not there. */
FB_MUST_USE int fb_history_heads(struct fb_repo *repo, const char *fleet,
    struct fb_predecessor **ret_heads, size_t *ret_count,
    struct fb_error *err);

/* One line of VOLUMES, cut up in place: the names that it begins with, which
 * are good ones; false: it is no such line. */
bool fb_volumes_line(char *line, char **ret_source, char **ret_machine,
    char **ret_volume);

bool fb_predecessors_same(const struct fb_predecessor *a, size_t a_count,
    const struct fb_predecessor *b, size_t b_count);

#endif

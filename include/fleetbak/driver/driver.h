/*
 * A driver finds the machines of one source, stops, snapshots, starts and
 * reads them, and writes them back.
 *
 * Every verb with an effect takes an operation token that is stable across
 * retries and was journaled before the call; it is a name (base/name.h).  A
 * verb answers FB_OK (done), FB_PENDING, FB_ERETRY, FB_ECONFLICT,
 * FB_ENOTFOUND, FB_EUNSUP, FB_EDENIED, FB_ENOSPACE, FB_EPROTO, FB_EFAILED,
 * FB_ETIMEOUT or FB_EUNKNOWN.  After FB_EUNKNOWN and FB_ETIMEOUT the engine
 * observes (power_get, find_by_token) before anything else: effects happen
 * once.
 *
 * Spec: fleetbak-driver(7).
 */
#ifndef FB_DRIVER_DRIVER_H
#define FB_DRIVER_DRIVER_H

#include <stdatomic.h>

#include "fleetbak/driver/artifact.h"
#include "fleetbak/driver/tree.h"
#include "fleetbak/fleet/fleet.h"
#include "fleetbak/format/config.h"

struct fb_driver;
struct fb_error;

/* What goes with every verb. */
struct fb_verb {
	const char *token;         /* "" for verbs without an effect */
	uint64_t timeout_ms;       /* deadline of the whole verb; 0: none */
	const atomic_bool *cancel; /* may be NULL */
	int lock_fd;               /* for children to hold; -1: none */
	bool will_start;           /* create_snapshot: the machine was stopped
	                            * for it, and start follows */
	/* create_snapshot: the caller removes it when it has what it needs;
	 * its volumes will be opened.  The driver keeps both with it. */
	bool for_backup, for_export;
	bool adopts;       /* create_snapshot: find_by_token says that it is
	                    * there; nothing is made, and what it is worth is
	                    * told */
	bool *ret_unclean; /* create_snapshot: set when it was off because it
	                    * was cut off, not shut down; may be NULL */
	/* create_snapshot, of a machine that is paused in it: set when it was
	 * not, to why; its snapshot is that of a live one.  May be NULL. */
	struct fb_error *ret_live;
	bool settle; /* power_get, start: a stop that was given up may bring
	              * it down yet; answer when it cannot any more */
	/* restore_finish: set when something is missing that the machine can
	 * be started without, to what.  May be NULL. */
	struct fb_error *ret_missing;
	/* A name: of the repository that the run is for.  What a driver keeps
	 * in a source from one run to the next is that repository's.  NULL:
	 * it keeps nothing. */
	const char *owner;
	/* create_snapshot: by the machine's volumes, the change token that the
	 * last run has of each, or NULL.  NULL: there is none. */
	const char *const *since;
};

typedef int fb_driver_visit_token(
    const char *machine, const char *token, void *arg, struct fb_error *err);

/* What is to become something else where it is restored: of a kind ("pool",
 * "network", "disk", "format"), the one called `from`, or with "*" all that no
 * other map names. */
struct fb_restore_map {
	const char *kind, *from, *to;
};
/* Does the kind say which machine and volumes it is restored to?  Then it is
 * not for drivers. */
bool fb_restore_map_places(const char *kind);
/* What it is to become, borrowed; NULL: nothing else. */
const char *fb_restore_mapped(const struct fb_restore_map *maps, size_t count,
    const char *kind, const char *name);

#define FB_TAKES(kind) (1u << (kind))

/* What a restore is to make. */
enum fb_restore_mode { FB_RESTORE_IN_PLACE, FB_RESTORE_AS_NEW };
struct fb_restore_request {
	enum fb_restore_mode mode;
	const struct fb_machine *machine; /* as the manifest records it */
	const char *new_id;  /* AS_NEW: the id it gets, or its name where the
	                      * source gives ids; else the old one */
	const char *token;   /* of the verbs below: of restore_begin,
	                      * restore_open and restore_finish */
	bool start;          /* one that is made is started afterwards */
	/* The token of the snapshot that it was read from, which a source may
	 * have kept; NULL: none. */
	const char *snapshot;
	/* The definition volume's archive, read and verified; empty when the
	 * backup has none. */
	const char *definition_dir; /* unpacked into this directory */
	bool all_volumes; /* the whole machine; else single volumes, which
	                   * must exist at the target */
	/* IN_PLACE: the bytes are another machine's, perhaps of another
	 * system.  `machine` is the one that is written, with the volumes of
	 * it that are, as it has them; there is no definition, and what it
	 * has besides stays. */
	bool across;
	/* Of drivers that take them (fb_driver_ops.maps); some are not
	 * for them (fb_restore_map_places). */
	const struct fb_restore_map *maps;
	size_t map_count;
	bool keep_mac, keep_uuid; /* AS_NEW: as in the backup */
};

/* One answer of restore_check: what will happen to a volume. */
struct fb_restore_volume_plan {
	char *volume;
	char *location;  /* where it will be written, for people */
	bool exists;     /* it is there now and will be changed */
	uint64_t need_bytes;  /* space it may take, at most */
	char *problem;   /* why not, or NULL */
};
struct fb_restore_plan {
	struct fb_machine *now; /* the machine as it is, or NULL; borrowed
	                         * from the fleet passed in */
	struct fb_restore_volume_plan *volumes;
	size_t volume_count;
	uint64_t space_bytes; /* free where it will be written */
	char *id; /* AS_NEW: the id that the source gives it; NULL: new_id */
};

struct fb_driver_ops {
	const char *name;
	/* Bits of FB_TAKES(): what of other systems it writes into a volume of
	 * that kind of a machine that is there (fb_restore_request.across). */
	unsigned takes;
	bool maps; /* a restore may map and keep what its request says */
	bool imports; /* see fb_driver_imports() */
	bool parents_first; /* see fb_machine.parent_first */

	int (*open)(const struct fb_config_source *source,
	    struct fb_driver **ret_driver, struct fb_error *err);

	/* Can the source be asked at all?  FB_EUNREACH, FB_EDENIED. */
	int (*probe)(struct fb_driver *, struct fb_error *);

	/* Append every machine, fully described, power included.  A machine
	 * that cannot be described is appended with its `problem`. */
	int (*discover)(struct fb_driver *, struct fb_fleet *, struct fb_error *);

	/* A question whose answer is lost (FB_EUNKNOWN, FB_ETIMEOUT,
	 * FB_EUNREACH) is asked again, three times in all, when that did not
	 * take long: this one, probe and find_by_token. */
	int (*power_get)(struct fb_driver *, const struct fb_machine *,
	    const struct fb_verb *, enum fb_power *ret_power, struct fb_error *);
	/* Done when it is down / up; FB_OK at once when it is so already. */
	int (*stop)(struct fb_driver *, const struct fb_machine *,
	    const struct fb_verb *, struct fb_error *);
	int (*start)(struct fb_driver *, const struct fb_machine *,
	    const struct fb_verb *, struct fb_error *);

	/* Freeze every volume whose method is a snapshot, under verb->token;
	 * FB_OK also when that snapshot exists already and is whole. */
	int (*create_snapshot)(struct fb_driver *, const struct fb_machine *,
	    const struct fb_verb *, struct fb_error *);
	/* FB_OK: it exists and is whole; FB_ENOTFOUND: no trace of it;
	 * FB_EFAILED: a part of it, which remove_snapshot clears away.  Asked
	 * by whoever goes on with it: a driver that relieves looks after its
	 * machine from then on. */
	int (*find_by_token)(struct fb_driver *, const struct fb_machine *,
	    const char *token, struct fb_error *);
	/* Every snapshot of ours in the source. */
	int (*list_snapshots)(struct fb_driver *, fb_driver_visit_token *,
	    void *arg, struct fb_error *);
	/* FB_OK also when there is none. */
	int (*remove_snapshot)(struct fb_driver *, const struct fb_machine *,
	    const struct fb_verb *, struct fb_error *);

	/* A run that died has left the snapshot verb->token behind.  Undo what
	 * may harm its machine while nobody looks after it: the snapshot may
	 * be gone then.  FB_OK also when there is nothing; *ret_done when
	 * there was. */
	int (*relieve)(struct fb_driver *, const struct fb_machine *,
	    const struct fb_verb *, bool *ret_done, struct fb_error *);

	/* Open a volume for reading: from the snapshot `token`, or, with NULL,
	 * live (a read_stopped volume; the engine stopped the machine). */
	int (*open_volume)(struct fb_driver *, const struct fb_machine *,
	    const struct fb_volume *, const char *token,
	    struct fb_artifact **ret_artifact, struct fb_error *);

	/* Say what a restore would do, before anything is touched. */
	int (*restore_check)(struct fb_driver *, const struct fb_fleet *,
	    const struct fb_restore_request *, struct fb_restore_plan *ret_plan,
	    struct fb_error *);
	/* In place: visit what a tree holds now and would lose if the archive
	 * lacked it (so not what it excludes).  Reads only. */
	int (*restore_list)(struct fb_driver *,
	    const struct fb_restore_request *, const struct fb_volume *,
	    fb_tree_visit *visit, void *arg, struct fb_error *);
	/* Make the machine's frame (AS_NEW, or a machine that is gone: hidden
	 * until restore_finish).  This, restore_open and restore_finish are
	 * idempotent under the token: when an answer is lost or late
	 * (FB_EUNKNOWN, FB_ETIMEOUT) they are called again. */
	int (*restore_begin)(struct fb_driver *,
	    const struct fb_restore_request *, const struct fb_verb *,
	    struct fb_error *);
	int (*restore_open)(struct fb_driver *,
	    const struct fb_restore_request *, const struct fb_volume *,
	    const struct fb_verb *, struct fb_target **ret_target,
	    struct fb_error *);
	/* Make it real: definition in place, machine visible; idempotent. */
	int (*restore_finish)(struct fb_driver *,
	    const struct fb_restore_request *, const struct fb_verb *,
	    struct fb_error *);

	/* Without a source: a machine's volumes lie in `dir`, disks as
	 * NAME.img and trees as NAME/, which will be called `final`.  Write
	 * beside them what starts it from there. */
	int (*restore_directory)(
	    const char *dir, const char *final, struct fb_error *);

	void (*close)(struct fb_driver *);
};

/* First member of every driver. */
struct fb_driver {
	const struct fb_driver_ops *ops;
	const char *source; /* its configured name */
	/* Set by whoever opened it: when it becomes true, what reads volumes
	 * ends with FB_ECANCELED, however long it would wait.  NULL: never. */
	const atomic_bool *cancel;
};

/* The registry: NULL when no driver has that name.  The names are those that
 * a configured source may have. */
const struct fb_driver_ops *fb_driver_find(const char *name);
size_t fb_driver_names(const char *const **ret_names);
/* Are the machines of this driver imported, once and for all?  Then they are
 * neither gone nor overdue when nothing comes after that. */
bool fb_driver_imports(const char *name);

void fb_restore_plan_release(struct fb_restore_plan *plan);

/*
 * The verbs, as callers use them: they check tokens and answers, pass the
 * seam, and wrap errors with source and machine.  NULL members answer
 * FB_EUNSUP.
 */
FB_MUST_USE int fb_driver_open(const struct fb_config_source *source,
    struct fb_driver **ret_driver, struct fb_error *err);
void fb_driver_close(struct fb_driver *driver);
FB_MUST_USE int fb_driver_probe(struct fb_driver *, struct fb_error *);
FB_MUST_USE int fb_driver_discover(
    struct fb_driver *, struct fb_fleet *, struct fb_error *);
FB_MUST_USE int fb_driver_power_get(struct fb_driver *,
    const struct fb_machine *, const struct fb_verb *, enum fb_power *,
    struct fb_error *);
FB_MUST_USE int fb_driver_stop(struct fb_driver *, const struct fb_machine *,
    const struct fb_verb *, struct fb_error *);
FB_MUST_USE int fb_driver_start(struct fb_driver *, const struct fb_machine *,
    const struct fb_verb *, struct fb_error *);
FB_MUST_USE int fb_driver_create_snapshot(struct fb_driver *,
    const struct fb_machine *, const struct fb_verb *, struct fb_error *);
FB_MUST_USE int fb_driver_find_by_token(struct fb_driver *,
    const struct fb_machine *, const char *token, struct fb_error *);
FB_MUST_USE int fb_driver_list_snapshots(struct fb_driver *,
    fb_driver_visit_token *, void *arg, struct fb_error *);
FB_MUST_USE int fb_driver_remove_snapshot(struct fb_driver *,
    const struct fb_machine *, const struct fb_verb *, struct fb_error *);
/* FB_OK without such a member: nothing of such a driver's does harm. */
FB_MUST_USE int fb_driver_relieve(struct fb_driver *,
    const struct fb_machine *, const struct fb_verb *, bool *ret_done,
    struct fb_error *);
FB_MUST_USE int fb_driver_open_volume(struct fb_driver *,
    const struct fb_machine *, const struct fb_volume *, const char *token,
    struct fb_artifact **, struct fb_error *);
FB_MUST_USE int fb_driver_restore_check(struct fb_driver *,
    const struct fb_fleet *, const struct fb_restore_request *,
    struct fb_restore_plan *, struct fb_error *);
FB_MUST_USE int fb_driver_restore_list(struct fb_driver *,
    const struct fb_restore_request *, const struct fb_volume *,
    fb_tree_visit *visit, void *arg, struct fb_error *);
FB_MUST_USE int fb_driver_restore_begin(struct fb_driver *,
    const struct fb_restore_request *, const struct fb_verb *,
    struct fb_error *);
FB_MUST_USE int fb_driver_restore_open(struct fb_driver *,
    const struct fb_restore_request *, const struct fb_volume *,
    const struct fb_verb *, struct fb_target **, struct fb_error *);
/* Of the driver of that name; nothing, where there is none. */
FB_MUST_USE int fb_driver_restore_directory(const char *driver,
    const char *dir, const char *final, struct fb_error *);
FB_MUST_USE int fb_driver_restore_finish(struct fb_driver *,
    const struct fb_restore_request *, const struct fb_verb *,
    struct fb_error *);

#endif

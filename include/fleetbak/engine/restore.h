/*
 * restore: always planned, journaled, resumable; every byte checked against
 * the signed manifest while it is written.
 */
#ifndef FB_ENGINE_RESTORE_H
#define FB_ENGINE_RESTORE_H

#include "fleetbak/engine/engine.h"
#include "fleetbak/manifest/manifest.h"

enum fb_restore_kind { FB_RESTORE_TO_MACHINE, FB_RESTORE_TO_NEW,
	FB_RESTORE_TO_DIR };

struct fb_restore_options {
	/* "MACHINE", "MACHINE@RUN", "MACHINE@latest", MACHINE being an id or a
	 * name, or source/ and one of them, of the manifest, also when the
	 * source is gone.  A name is the machine's that the newest run which
	 * knows it calls so. */
	const char *const *machines;
	size_t machine_count;
	const char *const *selectors;
	size_t selector_count;
	const char *run;   /* --run RUN or "latest"; with all: every machine */
	bool all;
	enum fb_restore_kind kind;
	const char *new_id;   /* TO_NEW */
	const char *directory; /* TO_DIR */
	const char *const *volumes; /* only these */
	size_t volume_count;
	const char *const *paths; /* only these of a tree */
	size_t path_count;
	bool start;      /* TO_NEW: start it afterwards */
	bool no_start;   /* in place: leave it down */
	bool untrusted;  /* --allow-untrusted: go on without a good signature */
	bool rollback;   /* --allow-rollback */
	/* "KIND:OLD=NEW" */
	const char *const *maps;
	size_t map_count;
	bool keep_mac, keep_uuid; /* TO_NEW */
	const char *resume; /* id of an unfinished restore, or NULL */
};

struct fb_restore_action {
	char *machine, *volume; /* that are written */
	char *origin, *origin_volume; /* in the backup, where it is another
	                               * machine's; else NULL */
	char *name;         /* what people call the machine */
	const char *action; /* "create", "rewrite", "mirror", "leave", "skip";
	                     * with volume "-": "stop", "start", "skip" */
	char *from, *to;
	uint64_t size, need_bytes;
	char *problem;      /* NULL: none */
};

struct fb_restore_result {
	char *origin; /* as of an action */
	char *machine, *as; /* as: the new id or directory */
	char *name;         /* as of an action */
	enum fb_result result;
	const struct fb_error *err; /* kept, when failed */
	uint64_t read_bytes;    /* fetched and opened from the repository */
	uint64_t written_bytes, same_bytes;
	uint64_t removed_files;
	bool started;
};

struct fb_restore_report {
	char id[FB_RUN_ID_SIZE]; /* of this restore */
	char run[FB_RUN_ID_SIZE];
	char run_time[32];
	char plan[17];           /* digest of the plan */
	enum fb_restore_kind kind; /* of a resumed one too */
	bool trusted, history_known;
	struct fb_restore_action *actions; /* the plan, in order */
	size_t action_count;
	char **removals; /* files a mirrored tree will lose: "MACHINE VOLUME
	                  * PATH" */
	size_t removal_count;
	uint64_t need_bytes, space_bytes;
	struct fb_restore_result *results;
	size_t result_count;
	bool unfinished; /* its id can be resumed */
	uint64_t elapsed_ms;
};

struct fb_restore; /* a planned restore */

/*
 * Plan: opens the manifest (FB_EUNTRUSTED unless told), checks targets, space
 * and what cannot be done, touches nothing.  An existing directory entry
 * DIR/MACHINE or NEW machine is FB_EREFUSED (E-RST-EXISTS).
 */
FB_MUST_USE int fb_restore_prepare(const struct fb_engine *engine,
    struct fb_repo *repo, const struct fb_restore_options *options,
    struct fb_restore **ret_restore, struct fb_restore_report *report,
    struct fb_error *err);

/* Carry it out, under the fleet's lock.  FB_OK when every machine was tried;
 * the results say how each fared. */
FB_MUST_USE int fb_restore_run(struct fb_restore *restore,
    struct fb_restore_report *report, struct fb_error *err);
void fb_restore_free(struct fb_restore *restore);
void fb_restore_report_release(struct fb_restore_report *report);

/* Unfinished restores of this state directory: ids, for status. */
FB_MUST_USE int fb_restore_unfinished(const struct fb_engine *engine,
    char ***ret_ids, size_t *ret_count, struct fb_error *err);

#endif

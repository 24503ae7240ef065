/*
 * A download in progress: what its parts share.  Private to src/engine.
 *
 * One thread at a time works on a job (a machine of the run); the journal,
 * the copier and the observer serialise themselves.  `lock` guards what all
 * threads write: the fatal error, the schedule of units.
 */
#ifndef FB_ENGINE_RUN_H
#define FB_ENGINE_RUN_H

#include <pthread.h>

#include "fleetbak/base/clock.h"
#include "fleetbak/base/rate.h"
#include "fleetbak/engine/download.h"
#include "fleetbak/engine/locks.h"
#include "fleetbak/engine/recover.h"
#include "fleetbak/engine/shard.h"
#include "fleetbak/journal/journal.h"
#include "fleetbak/journal/lifecycle.h"
#include "fleetbak/repo/copier.h"

/* A volume of a job: what has been captured of it. */
struct fb_part {
	const struct fb_volume *volume; /* as planned, in job->machine */
	bool done;           /* copied: `result` and the rest are valid */
	bool spooled;        /* replay: done once a checkpoint follows */
	struct fb_copy_result result;
	bool has_catalogue;
	struct fb_copy_result catalogue;
	uint64_t read_bytes;
	char *token;         /* what its source says of it; NULL: nothing */
	uint64_t changed_files;
	bool fuzzy;          /* it changed while it was read live */
	bool has_recipe;
	struct fb_digest recipe, catalogue_recipe;
};

/* Nothing has been captured of it. */
void fb_part_reset(struct fb_part *part);

struct fb_job {
	size_t index;                 /* in run->jobs: part of copy keys */
	char *name;                   /* "source/id" */
	struct fb_machine *machine;   /* as planned: journaled, owned */
	const struct fb_machine *now; /* as discovered; NULL when it is gone */
	const struct fb_plan_machine *planned; /* today; NULL: not selected */
	const struct fb_error *refused; /* today's reason not to touch it */
	bool away;                    /* its source does not answer today */
	struct fb_driver *driver;     /* NULL when its source is gone */
	enum fb_machine_state state;
	uint64_t epoch;               /* its unit's current window */
	char token[FB_NAME_MAX + 1];  /* of its snapshot; "" before */
	enum fb_lifecycle lifecycle;  /* really used */
	bool owes_start;              /* we stopped it: it must come up */
	bool owed_before;             /* a dead run did, and it is open */
	bool stop_failed;             /* and it may go down yet */
	bool unclean;                 /* it was cut off: as a power cut leaves it */
	bool unsure;                  /* ... or nobody knows */
	bool resumed;
	int64_t down_since_ns;        /* monotonic; 0: not down by us */
	int64_t owed_since_ns;        /* replay: when its start came to be owed */
	uint64_t downtime_ms;
	int64_t began_ns;             /* here, monotonic; 0: not yet */
	uint64_t took_ms;             /* here, until it was copied */
	char snapshot_time[FB_TIME_SIZE];
	struct fb_part *parts;        /* as many as machine->volume_count */
	const struct fb_error *err;   /* kept, when failed */
};

struct fb_mirror;

struct fb_run {
	const struct fb_engine *engine;
	struct fb_repo *repo;      /* borrowed from fb_download() */
	struct fb_session session;
	struct fb_journal *journal;
	struct fb_copier *copier;
	struct fb_shard_ref shard;        /* of[0] == 0: it is whole */
	char shared[FB_SHARED_NAME_SIZE]; /* the name the workers know it by */
	uint32_t lease;                   /* the epoch of ours on the shard */
	bool fenced;                      /* it was taken from us */
	bool adopted;                     /* another node has begun it */
	bool spool_lost;                  /* so that all of it has failed */
	struct fb_mirror *mirror;
	char id[FB_RUN_ID_SIZE];
	char *dir;                 /* state/runs/<id> */
	char started[FB_TIME_SIZE], finished[FB_TIME_SIZE];
	char host[65], tool[65];   /* tool: the version that began it */
	struct fb_run_source { char *name, *driver; } *sources; /* then */
	size_t source_count;
	char config_digest[FB_DIGEST_HEX_SIZE];
	char selection_digest[FB_DIGEST_HEX_SIZE];
	struct fb_digest topology, topology_selection, topology_after;
	bool drift;
	struct fb_predecessor *predecessors;
	size_t predecessor_count;
	struct fb_source_failure *failures; /* of sources, at the start */
	size_t failure_count;
	struct { char *name; size_t *jobs; size_t count; uint64_t epoch; } *units;
	size_t unit_count;
	struct fb_job *jobs;
	size_t job_count;
	struct fb_rate *read_rate;     /* NULL: no limit */
	struct fb_rate **source_rates; /* the same, by configured source */
	struct fb_rate *upload_rate;
	int children_fd;
	bool resumed, committed, ended;
	bool full;                 /* read what has not changed, too */
	bool effects;              /* the first effect is behind us */
	bool leaves_guard;         /* it ends, its guardian has work */
	struct fb_lock_cost locks; /* what was locked for longer */

	pthread_mutex_t lock;      /* guards the rest */
	pthread_cond_t changed;
	struct fb_error fatal;     /* stops the run as a whole */
	struct fb_copy **kept;     /* interrupted copies: to be resumed */
	size_t kept_count;
};

/* run.c: journaling and small helpers */
FB_MUST_USE int fb_run_new(const struct fb_engine *engine,
    struct fb_repo *repo, const char *id, struct fb_run **ret_run,
    struct fb_error *err);
void fb_run_free(struct fb_run *run);
void fb_run_freep(struct fb_run **run);
#define FB_AUTO_RUN FB_CLEANUP(fb_run_freep)
/* An id after all runs that the planned one follows, whatever the clock says:
 * what is newest is told by it.  A clock that is behind is warned of. */
void fb_run_number(const struct fb_engine *engine, const struct fb_plan *plan,
    char id[FB_RUN_ID_SIZE]);
/* Take the planned machines and units over as jobs. */
void fb_run_adopt_plan(struct fb_run *run, const struct fb_plan *plan);
struct fb_job *fb_run_job(const struct fb_run *run, const char *name);
/* Find each job's machine and driver in what was discovered now. */
void fb_run_bind(struct fb_run *run, const struct fb_plan *plan);
FB_MUST_USE int fb_run_state(struct fb_run *run, struct fb_job *job,
    enum fb_machine_state state, bool durable, struct fb_error *err);
/* Mark a job failed; its machine's obligation is not touched. */
FB_MUST_USE int fb_run_fail(struct fb_run *run, struct fb_job *job,
    const struct fb_error *cause, struct fb_error *err);
/* Fail every job that is active; with `all`, every one that has not failed. */
FB_MUST_USE int fb_run_fail_jobs(struct fb_run *run, bool all,
    const struct fb_error *cause, struct fb_error *err);
/* A run that was cut off goes on: what failed in it is tried again, unless
 * others of its unit, which has one window, are further than planned. */
FB_MUST_USE int fb_run_retry_failed(struct fb_run *run, struct fb_error *err);
/* Does any job stop its machine, or pause it, or may what it leaves harm it? */
bool fb_run_needs_guard(const struct fb_run *run);
bool fb_run_any_succeeded(const struct fb_run *run);
/* Was its session fenced off?  Then what it stored may be deleted, and it is
 * never committed; *ret_cause says so. */
FB_MUST_USE int fb_run_check_fence(const struct fb_run *run, bool *ret_fenced,
    struct fb_error *ret_cause, struct fb_error *err);
void fb_run_fatal(struct fb_run *run, const struct fb_error *cause);
bool fb_run_stopping(struct fb_run *run);
bool fb_run_stopping_locked(const struct fb_run *run); /* run->lock is held */
/* Keep an interrupted copy until fb_run_save_kept() has made it durable. */
void fb_run_keep(struct fb_run *run, struct fb_copy *copy);
FB_MUST_USE int fb_run_save_kept(struct fb_run *run, struct fb_error *err);
/* What the repository warns of goes to who watches the run. */
void fb_run_hear_warnings(struct fb_run *run);
void fb_run_notify(struct fb_run *run, const struct fb_event *event);
/* Say what has been read of a job's machine. */
void fb_run_announce(struct fb_run *run, const struct fb_job *job,
    enum fb_event_kind kind);
void fb_run_verb(const struct fb_run *run, const struct fb_job *job,
    uint64_t timeout_ms, struct fb_verb *ret_verb);
/* Digest of what must be the same for a cut-off run to be continued. */
void fb_run_config_digest(
    const struct fb_engine *engine, char text[FB_DIGEST_HEX_SIZE]);
void fb_run_selection_digest(
    const struct fb_plan *plan, char text[FB_DIGEST_HEX_SIZE]);

/* run_journal.c: facts to JSON and back */
json_t *fb_run_start_json(const struct fb_run *run);
json_t *fb_run_machine_json(const struct fb_job *job);
json_t *fb_run_part_json(const struct fb_job *job, size_t part);
FB_MUST_USE int fb_run_begin_journal(struct fb_run *run, struct fb_error *err);
/* Open the journal of a cut-off run and rebuild it; `*ret_checkpoint` is the
 * copier's newest state, or NULL. */
FB_MUST_USE int fb_run_replay(const struct fb_engine *engine,
    struct fb_repo *repo, const char *id, bool write, struct fb_run **ret_run,
    json_t **ret_checkpoint, struct fb_error *err);

/* window.c: stop, snapshot, read what must be read stopped, start */
FB_MUST_USE int fb_run_window(
    struct fb_run *run, size_t unit, struct fb_error *err);
/* Take over a snapshot that is there, and was not journaled: its driver knows
 * what it is worth. */
FB_MUST_USE int fb_run_adopt_snapshot(
    struct fb_run *run, struct fb_job *job, struct fb_error *err);
/* Start what failed to start, or went down late: before the run ends. */
void fb_run_settle(struct fb_run *run);

/* schedule.c: every unit, `jobs` at a time (0: as configured), until all are
 * through or the run stops.  FB_ECANCELED when it was interrupted. */
FB_MUST_USE int fb_run_units(
    struct fb_run *run, unsigned jobs, struct fb_error *err);

/* unit.c: one unit from where it is to copied */
FB_MUST_USE int fb_run_unit(
    struct fb_run *run, size_t unit, struct fb_error *err);
bool fb_job_active(const struct fb_job *job);
/* Does its machine run while it is captured? */
bool fb_job_is_live(const struct fb_job *job);
/* The consistency reached. */
enum fb_level fb_job_level(const struct fb_job *job);
bool fb_job_captures(const struct fb_job *job, size_t part, bool stopped);

/* past.c: what an earlier run has, noted in the plan and looked up */
void fb_plan_note_past(struct fb_plan_machine *planned,
    const struct fb_manifest_machine *then);
const struct fb_plan_past *fb_job_past(
    const struct fb_job *job, const struct fb_volume *volume);

/* capture.c: one volume into the copier */
FB_MUST_USE int fb_run_copy(struct fb_run *run, struct fb_job *job,
    size_t part, int64_t deadline_ns, struct fb_error *err);
void fb_run_copy_key(const struct fb_job *job, size_t part, bool catalogue,
    char *key, size_t size);

/* finish.c: recipes, manifest, commit, release */
FB_MUST_USE int fb_run_commit(struct fb_run *run, struct fb_error *err);
FB_MUST_USE int fb_run_release(struct fb_run *run, struct fb_error *err);
/* May there be a snapshot of it? */
bool fb_job_has_snapshot(const struct fb_job *job);
/* The guests of a run that was cut off are looked after from here on, not only
 * when their turn comes.  What that says counts then. */
void fb_run_take_over(const struct fb_run *run);
/* Is there a snapshot that could not be removed, or a start that is owed?
 * Then the run's directory is what remembers it. */
bool fb_job_holds(const struct fb_job *job);
bool fb_run_holds(const struct fb_run *run);
/* Nothing of that is to be done any more: somebody has said so. */
FB_MUST_USE int fb_job_give_up(
    struct fb_run *run, struct fb_job *job, struct fb_error *err);

/* publish.c: a run's records, then its register.  All may be done again. */
struct fb_publication {
	const char *run, *session, *fleet, *time;
	const struct fb_shard_ref *shard;
	const struct fb_predecessor *predecessors;
	size_t predecessor_count;
	const char *manifest_path, *volumes_path; /* files, whole and synced */
	struct fb_digest manifest, volumes;
	const struct fb_id_list *recipes, *packs;
};
FB_MUST_USE int fb_publish(const struct fb_engine *engine, struct fb_repo *repo,
    const struct fb_publication *what, struct fb_error *err);

/* spool.c: go on where the checkpoint was; NULL: at the beginning.  When the
 * spool is not what it says everything of the run fails: `spool_lost`. */
FB_MUST_USE int fb_run_open_copier(
    struct fb_run *run, const json_t *checkpoint, struct fb_error *err);

/* mirror.c: what the journal of a shard says, in the repository, before
 * anything depends on it; and signs of life.  Without a shard: nothing. */
FB_MUST_USE int fb_mirror_start(struct fb_run *run, struct fb_error *err);
void fb_mirror_stop(struct fb_run *run);

/* download_report.c: a machine of a run that was not committed is never ok */
void fb_run_report(
    const struct fb_run *run, struct fb_download_report *report);

/* Ids of runs in the state directory that have not ended, oldest first. */
FB_MUST_USE int fb_run_unfinished(const struct fb_engine *engine,
    char (**ret_ids)[FB_RUN_ID_SIZE], size_t *ret_count, struct fb_error *err);

#endif

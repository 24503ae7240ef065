/*
 * The miosa driver: computers of a MIOSA account, by its API.
 *
 * Deployments serve one of several families of paths: `checkpoints` of a
 * computer, which go back in place; `snapshots`, which become new computers;
 * and the account's own, which let one look into a snapshot.  A snapshot of
 * ours bears the token in its name or its comment, because the provider gives
 * its id.  Nothing that the provider says is "ready" but that word.
 *
 * Spec: fleetbak-driver(7), "miosa".
 */
#ifndef DRIVER_MIOSA_INTERNAL_H
#define DRIVER_MIOSA_INTERNAL_H

#include <pthread.h>

#include "api.h"
#include "fleetbak/driver/driver.h"

extern const struct fb_driver_ops fb_miosa_ops;

enum fb_miosa_family {
	FB_MIOSA_AUTO,
	FB_MIOSA_CHECKPOINTS,
	FB_MIOSA_SNAPSHOTS,
	FB_MIOSA_ACCOUNT, /* snapshots, and what the account knows of them */
};

/* What of a machine goes into the repository, and so what it can be replayed
 * to. */
enum fb_miosa_content {
	FB_MIOSA_BY_FAMILY,
	FB_MIOSA_EXPORT,   /* an opaque body, which nobody takes back */
	FB_MIOSA_FILES,    /* trees, which any guest takes back */
	FB_MIOSA_SNAPSHOT, /* the provider's id only */
};

struct fb_miosa {
	struct fb_driver base;
	char *name, *dir;
	struct fb_labels labels;
	struct fb_api *api;
	enum fb_miosa_content content;
	json_t *trees; /* names of volumes: where they are in a guest */
	char *spool;   /* a directory, or NULL */
	bool keep;     /* the newest snapshot stays with the provider */
	uint64_t create_ms, settle_ms;

	pthread_mutex_t lock;
	enum fb_miosa_family family; /* AUTO until it was asked for */
};

/* ------------------------------------------------------------- asking */

/* GET; the object in its envelope, a new reference. */
FB_MUST_USE int fb_miosa_get(struct fb_miosa *miosa, const char *path,
    json_t **ret_object, struct fb_error *err);
/* Something with an effect; `body`, `key` and `ret_answer` may be NULL. */
FB_MUST_USE int fb_miosa_do(struct fb_miosa *miosa, const char *method,
    const char *path, const json_t *body, const char *key,
    const atomic_bool *cancel, struct fb_api_answer *ret_answer,
    struct fb_error *err);
/* All items of a list, whichever style its pages have. */
FB_MUST_USE int fb_miosa_list(struct fb_miosa *miosa, const char *path,
    fb_page_visit *visit, void *arg, struct fb_error *err);

/* "/KIND/ID" and `rest`; the caller frees. */
char *fb_miosa_path(const char *kind, const char *id, const char *rest);
/* A key that is the same for the same words: a UUID. */
char *fb_miosa_key(const char *what, const char *id, const char *token);
/* A text of it, "" when there is none; borrowed. */
const char *fb_miosa_text(const json_t *object, const char *key);
/* May it be put into a path?  ".." would be taken for another one. */
bool fb_miosa_id_ok(const char *id);

/* Which family it is, by looking at a computer that is there. */
FB_MUST_USE int fb_miosa_family(struct fb_miosa *miosa, const char *computer,
    enum fb_miosa_family *ret_family, struct fb_error *err);

/* Waiting, longer each time; FB_ETIMEOUT behind the deadline. */
struct fb_miosa_wait {
	int64_t deadline_ns;
	const atomic_bool *cancel;
	uint64_t next_ms;
};
struct fb_miosa_wait fb_miosa_wait_until(
    uint64_t own_ms, uint64_t verb_ms, const atomic_bool *cancel);
FB_MUST_USE int fb_miosa_pause(
    struct fb_miosa_wait *wait, const char *what, struct fb_error *err);

/* ------------------------------------------------------------ machines */

enum fb_miosa_power {
	FB_MIOSA_PENDING, /* and every word that is not known */
	FB_MIOSA_UP,
	FB_MIOSA_DOWN,
	FB_MIOSA_HELD, /* paused: down, and its memory is not on its disk */
	FB_MIOSA_BAD,
};
enum fb_miosa_power fb_miosa_power_class(const char *status);

/* A computer as it is now.  FB_ENOTFOUND also of one that was destroyed. */
struct fb_miosa_computer {
	json_t *json;
	const char *id, *status; /* borrowed */
	enum fb_miosa_power power;
};
void fb_miosa_computer_release(struct fb_miosa_computer *computer);
#define FB_AUTO_MIOSA_COMPUTER FB_CLEANUP(fb_miosa_computer_release)
FB_MUST_USE int fb_miosa_computer(struct fb_miosa *miosa, const char *id,
    struct fb_miosa_computer *ret_computer, struct fb_error *err);
/* The same by its name, which must be one computer's; FB_ENOTFOUND. */
FB_MUST_USE int fb_miosa_named(struct fb_miosa *miosa, const char *name,
    char **ret_id, struct fb_error *err);

/* Without what passes, and without what may hold secrets. */
json_t *fb_miosa_definition(
    const struct fb_miosa *miosa, const json_t *computer);
FB_MUST_USE int fb_miosa_describe(struct fb_miosa *miosa,
    const json_t *computer, struct fb_machine *machine, struct fb_error *err);
/* Of `content`, as the family allows it.  FB_EUNSUP, E-MIOSA-CONTENT. */
FB_MUST_USE int fb_miosa_content_of(const struct fb_miosa *miosa,
    enum fb_miosa_family family, enum fb_miosa_content *ret_content,
    struct fb_error *err);

FB_MUST_USE int fb_miosa_bring_down(struct fb_miosa *miosa, const char *id,
    uint64_t timeout_ms, const atomic_bool *cancel, struct fb_error *err);
FB_MUST_USE int fb_miosa_bring_up(struct fb_miosa *miosa, const char *id,
    uint64_t timeout_ms, const atomic_bool *cancel, struct fb_error *err);

int fb_miosa_power_get(struct fb_driver *, const struct fb_machine *,
    const struct fb_verb *, enum fb_power *, struct fb_error *);
int fb_miosa_stop(struct fb_driver *, const struct fb_machine *,
    const struct fb_verb *, struct fb_error *);
int fb_miosa_start(struct fb_driver *, const struct fb_machine *,
    const struct fb_verb *, struct fb_error *);

/* ----------------------------------------------------------- snapshots */

enum fb_miosa_state {
	FB_MIOSA_MAKING, /* and every word that is not known */
	FB_MIOSA_READY,
	FB_MIOSA_BROKEN,
	FB_MIOSA_GONE, /* deleted, or being deleted */
};
enum fb_miosa_state fb_miosa_state_class(const char *status);
/* What a snapshot says of itself: `status`, or `state` of older ones. */
const char *fb_miosa_status_of(const json_t *snapshot);

/* The name of a token's snapshot, "fleetbak.OWNER.TOKEN"; `owner` as of
 * fb_verb.  And back: false, it is not one of ours. */
#define FB_MIOSA_OWNER_SIZE 9
char *fb_miosa_label(const char *owner, const char *token);
bool fb_miosa_label_parse(const char *label, char owner[FB_MIOSA_OWNER_SIZE],
    const char **ret_token);
/* That of a snapshot, in its name or its comment; NULL: none of ours. */
const char *fb_miosa_label_of(const json_t *snapshot);

/* The whole one of a token, whoever owns it; the caller frees.  FB_ENOTFOUND;
 * FB_EFAILED one that is not whole. */
FB_MUST_USE int fb_miosa_find(struct fb_miosa *miosa, const char *computer,
    const char *token, char **ret_sid, struct fb_error *err);
/* "/computers/ID/checkpoints/SID" and `rest`, as the family has it. */
char *fb_miosa_snapshot_path(enum fb_miosa_family family,
    const char *computer, const char *sid, const char *rest);

int fb_miosa_create_snapshot(struct fb_driver *, const struct fb_machine *,
    const struct fb_verb *, struct fb_error *);
int fb_miosa_find_by_token(struct fb_driver *, const struct fb_machine *,
    const char *token, struct fb_error *);
int fb_miosa_list_snapshots(
    struct fb_driver *, fb_driver_visit_token *, void *arg, struct fb_error *);
int fb_miosa_remove_snapshot(struct fb_driver *, const struct fb_machine *,
    const struct fb_verb *, struct fb_error *);

/* Look at the events of a snapshot that is being made until one says that it
 * is over, or nothing comes for a while: then its state is asked for. */
void fb_miosa_watch(struct fb_miosa *miosa, const char *computer,
    const char *sid, const atomic_bool *cancel);
/* Does the event say that the snapshot `sid` is over, well or not? */
bool fb_miosa_event_ends(const struct fb_sse_event *event, const char *sid);

/* ------------------------------------------------------------- reading */

int fb_miosa_open_volume(struct fb_driver *, const struct fb_machine *,
    const struct fb_volume *, const char *token, struct fb_artifact **,
    struct fb_error *);
/* The trees of a snapshot of the account's. */
FB_MUST_USE int fb_miosa_open_tree(struct fb_miosa *miosa, const char *sid,
    const char *root, struct fb_artifact **ret_artifact,
    struct fb_error *err);

/* What the provider lists of a directory of a snapshot. */
struct fb_miosa_entry {
	const char *name, *path; /* borrowed of the answer */
	enum fb_miosa_type {
		FB_MIOSA_FILE, FB_MIOSA_DIR, FB_MIOSA_LINK, FB_MIOSA_ODD,
	} type;
	uint64_t size;
	uint32_t mode;
};
/* Each of them, checked and in the order of their names; the caller frees the
 * array.  FB_EPROTO. */
FB_MUST_USE int fb_miosa_entries(const json_t *answer, const char *dir,
    struct fb_miosa_entry **ret_entries, size_t *ret_count,
    struct fb_error *err);

/* ----------------------------------------------------------- archiving */

/* One archive, of many that the provider packs. */
struct fb_miosa_tar;
FB_MUST_USE int fb_miosa_tar_new(const struct fb_sink *sink,
    struct fb_miosa_tar **ret_tar, struct fb_error *err);
FB_MUST_USE int fb_miosa_tar_end(
    struct fb_miosa_tar *tar, struct fb_error *err);
void fb_miosa_tar_free(struct fb_miosa_tar *tar);
void fb_miosa_tar_freep(struct fb_miosa_tar **tar);
#define FB_AUTO_MIOSA_TAR FB_CLEANUP(fb_miosa_tar_freep)

/* A directory or a file of which no more is known; `pull` NULL: a directory. */
FB_MUST_USE int fb_miosa_tar_add(struct fb_miosa_tar *tar, const char *path,
    uint32_t mode, uint64_t size, const struct fb_pull *pull,
    struct fb_error *err);

/*
 * All members of an archive of the directory `dir` of the snapshot, as `path`
 * of ours and what is below it ("." the root).  Its members are called as seen
 * from `dir`, with its last part before them, or with all of it: `names` (ends
 * with NULL), what is in `dir`, decides; *ret_seen[i] is set when names[i] came.
 * Errors: FB_EPROTO, id E-MIOSA-TAR; FB_ECONFLICT (nothing was written):
 * it cannot be told how they are called.
 */
FB_MUST_USE int fb_miosa_tar_merge(struct fb_miosa_tar *tar,
    const struct fb_pull *pull, const char *dir, const char *path,
    const char *const *names, bool *ret_seen, struct fb_error *err);

/* ----------------------------------------------------------- restoring */

int fb_miosa_restore_check(struct fb_driver *, const struct fb_fleet *,
    const struct fb_restore_request *, struct fb_restore_plan *,
    struct fb_error *);
int fb_miosa_restore_begin(struct fb_driver *,
    const struct fb_restore_request *, const struct fb_verb *,
    struct fb_error *);
int fb_miosa_restore_open(struct fb_driver *,
    const struct fb_restore_request *, const struct fb_volume *,
    const struct fb_verb *, struct fb_target **, struct fb_error *);
int fb_miosa_restore_finish(struct fb_driver *,
    const struct fb_restore_request *, const struct fb_verb *,
    struct fb_error *);

/* A target that sends an archive into a running guest in pieces, and has it
 * unpacked at `root` there. */
FB_MUST_USE int fb_miosa_target_guest(struct fb_miosa *miosa,
    const char *computer, const char *root, const char *token,
    const char *volume, struct fb_target **ret_target, struct fb_error *err);
/* Is it a path in a guest that a command may name? */
bool fb_miosa_root_ok(const char *path);

#endif

/*
 * The computer-host driver: machines of a Firecracker host daemon, by its API
 * over a Unix socket or TCP.
 *
 * The daemon snapshots running machines only, by pausing them inside the
 * request; the id of a snapshot is the caller's, made here of the token and
 * the machine, of letters that the daemon can bear.  Restored disks it fetches
 * by HTTP from us, or takes from a snapshot that it still has.
 *
 * Spec: fleetbak-driver(7), "computer-host".
 */
#ifndef DRIVER_COMPUTER_HOST_INTERNAL_H
#define DRIVER_COMPUTER_HOST_INTERNAL_H

#include <pthread.h>

#include "api.h"
#include "fleetbak/driver/driver.h"

extern const struct fb_driver_ops fb_computer_host_ops;

struct fb_chost {
	struct fb_driver base;
	char *name;
	struct fb_labels labels;
	struct fb_api *api;
	json_t *memory, *storage; /* by machine: sizes as text; or NULL */
	json_t *guests;           /* by machine: references to secrets */
	char *dir;                /* where references start */
	char *serve;              /* "ADDRESS:PORT", or NULL */
	char *spool;              /* directory, or NULL */
	bool keep;                /* the newest snapshot stays on the host */
	uint64_t create_ms;
	uint64_t settle_ms; /* how long a stop that was given up may come late */

	pthread_mutex_t lock;
	json_t *digests; /* "SID/ARTIFACT": SHA-256, as a create told it */
};

/* ------------------------------------------------------------- asking */

/* GET; *ret_object is the object under `key`, a new reference. */
FB_MUST_USE int fb_chost_get(struct fb_chost *host, const char *path,
    const char *key, json_t **ret_object, struct fb_error *err);

/* Something with an effect; `body` and ret_answer may be NULL.  The error is
 * as of fb_api_send(), put into words of ours where the text tells more. */
FB_MUST_USE int fb_chost_do(struct fb_chost *host, const char *method,
    const char *path, const json_t *body, uint64_t step_ms,
    struct fb_api_answer *ret_answer, struct fb_error *err);

/* "/machines/ID" and `rest`; the caller frees. */
char *fb_chost_machine_path(const char *id, const char *rest);
char *fb_chost_snapshot_path(const char *sid, const char *rest);

/* ------------------------------------------------------------ machines */

enum fb_chost_phase {
	FB_CHOST_STARTING,
	FB_CHOST_RUNNING,
	FB_CHOST_STOPPED,
	FB_CHOST_FAILED,
	FB_CHOST_OTHER, /* a word of another version */
};

/* What the daemon says of a machine now. */
struct fb_chost_machine {
	enum fb_chost_phase phase;
	json_t *json;     /* all of it; a reference */
	const char *text; /* of the phase, and ... */
	const char *error, *created; /* "" when not given; borrowed */
	size_t users;     /* disks besides the system's */
};
void fb_chost_machine_release(struct fb_chost_machine *machine);
#define FB_AUTO_CHOST_MACHINE FB_CLEANUP(fb_chost_machine_release)

/* Asked of the daemon, which looks at its runtime.  FB_ENOTFOUND. */
FB_MUST_USE int fb_chost_machine(struct fb_chost *host, const char *id,
    struct fb_chost_machine *ret_machine, struct fb_error *err);

/* Describe it into `machine`, which has its source by then. */
FB_MUST_USE int fb_chost_describe(struct fb_chost *host,
    const struct fb_chost_machine *now, struct fb_machine *machine,
    struct fb_error *err);

/* What a restore needs of it, as JSON: the definition. */
FB_MUST_USE int fb_chost_definition(struct fb_chost *host, const char *id,
    json_t **ret_definition, struct fb_error *err);

/* Wait until it is `wanted`, or failed, or the time is over. */
FB_MUST_USE int fb_chost_await(struct fb_chost *host, const char *id,
    enum fb_chost_phase wanted, uint64_t timeout_ms,
    const atomic_bool *cancel, struct fb_error *err);

/* Until the time is over, or it is called off. */
void fb_chost_wait(uint64_t ms, const atomic_bool *cancel);

/* Of the fleet's configuration: bytes, 0 when it does not say. */
uint64_t fb_chost_size_of(const json_t *map, const char *id);
/* The guest's configuration, or NULL; a new reference, holding secrets. */
FB_MUST_USE int fb_chost_guest(struct fb_chost *host, const char *id,
    json_t **ret_guest, struct fb_error *err);

/* ----------------------------------------------------------- snapshots */

#define FB_CHOST_SID_SIZE 65
/* The id that a token's snapshot of a machine has; `owner` as of fb_verb. */
void fb_chost_sid(const char *machine, const char *token, const char *owner,
    char sid[FB_CHOST_SID_SIZE]);
/* That of the one that is on the host, whoever owns it.  FB_ENOTFOUND. */
FB_MUST_USE int fb_chost_find_sid(struct fb_chost *host, const char *machine,
    const char *token, char sid[FB_CHOST_SID_SIZE], struct fb_error *err);
/* "system", "user-N": is it a disk's name?  The daemon joins such names to
 * paths as they are. */
bool fb_chost_disk_ok(const char *name);

int fb_chost_power_get(struct fb_driver *, const struct fb_machine *,
    const struct fb_verb *, enum fb_power *, struct fb_error *);
int fb_chost_stop(struct fb_driver *, const struct fb_machine *,
    const struct fb_verb *, struct fb_error *);
int fb_chost_start(struct fb_driver *, const struct fb_machine *,
    const struct fb_verb *, struct fb_error *);
int fb_chost_create_snapshot(struct fb_driver *, const struct fb_machine *,
    const struct fb_verb *, struct fb_error *);
int fb_chost_find_by_token(struct fb_driver *, const struct fb_machine *,
    const char *token, struct fb_error *);
int fb_chost_list_snapshots(
    struct fb_driver *, fb_driver_visit_token *, void *arg, struct fb_error *);
int fb_chost_remove_snapshot(struct fb_driver *, const struct fb_machine *,
    const struct fb_verb *, struct fb_error *);
int fb_chost_open_volume(struct fb_driver *, const struct fb_machine *,
    const struct fb_volume *, const char *token, struct fb_artifact **,
    struct fb_error *);

/* ------------------------------------------------------------- reading */

/* The disk `name` of a snapshot on the host, by ranges. */
FB_MUST_USE int fb_chost_open_disk(struct fb_chost *host, const char *sid,
    const char *name, struct fb_artifact **ret_artifact,
    struct fb_error *err);

/* ----------------------------------------------------------- restoring */

/* A target that takes what is written only where the snapshot's disk on the
 * host has the same bytes; takes `disk` over.  `fresh`: what is not written
 * are zeros. */
struct fb_target *fb_chost_target_equal(struct fb_artifact *disk, bool fresh);

int fb_chost_restore_check(struct fb_driver *, const struct fb_fleet *,
    const struct fb_restore_request *, struct fb_restore_plan *,
    struct fb_error *);
int fb_chost_restore_begin(struct fb_driver *,
    const struct fb_restore_request *, const struct fb_verb *,
    struct fb_error *);
int fb_chost_restore_open(struct fb_driver *,
    const struct fb_restore_request *, const struct fb_volume *,
    const struct fb_verb *, struct fb_target **, struct fb_error *);
int fb_chost_restore_finish(struct fb_driver *,
    const struct fb_restore_request *, const struct fb_verb *,
    struct fb_error *);

/* A restore under way, in the spool. */
struct fb_chost_site {
	char *dir;      /* <spool>/<token> */
	const char *id; /* of the machine that it makes */
	json_t *facts;  /* what was found when it began, and was done since */
};
void fb_chost_site_release(struct fb_chost_site *site);
#define FB_AUTO_CHOST_SITE FB_CLEANUP(fb_chost_site_release)
FB_MUST_USE int fb_chost_site_load(struct fb_chost *host,
    const struct fb_restore_request *request, struct fb_chost_site *ret_site,
    struct fb_error *err);
/* Durable. */
FB_MUST_USE int fb_chost_site_save(
    const struct fb_chost_site *site, struct fb_error *err);
/* It is finished: its disks go, and its facts stay for whoever did not hear of
 * that. */
FB_MUST_USE int fb_chost_site_close(
    const struct fb_chost_site *site, struct fb_error *err);

/* ------------------------------------------------------------- serving */

/* Files that the host may fetch, each once. */
struct fb_chost_served;
/* Is it an address to serve at?  FB_ECONFIG. */
FB_MUST_USE int fb_chost_serve_check(
    const char *address, struct fb_error *err);
FB_MUST_USE int fb_chost_serve(const char *address, const char *dir,
    struct fb_chost_served **ret_served, struct fb_error *err);
/* The URL of a file in the directory; the caller frees. */
char *fb_chost_served_url(struct fb_chost_served *served, const char *name);
void fb_chost_served_stop(struct fb_chost_served *served);
static inline void
fb_chost_served_stopp(struct fb_chost_served **served)
{
	fb_chost_served_stop(*served);
}
#define FB_AUTO_CHOST_SERVED FB_CLEANUP(fb_chost_served_stopp)

#endif

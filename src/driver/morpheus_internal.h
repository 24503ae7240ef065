/*
 * The morpheus driver: virtual machines ("servers") of a Morpheus appliance, by
 * its REST API; their bytes from the hypervisors, over ssh.
 *
 * The appliance gives no bytes.  A snapshot made for export names, for each
 * disk, a path on the hypervisor; some plugins of the appliance name the live
 * disk there, so that a path is read only as long as all signs say that nobody
 * writes to it.  What a call does is seen afterwards, in processes and lists
 * that lag behind.
 *
 * Spec: fleetbak-driver(7), "THE MORPHEUS DRIVER".
 */
#ifndef DRIVER_MORPHEUS_INTERNAL_H
#define DRIVER_MORPHEUS_INTERNAL_H

#include "api.h"
#include "libvirt_far.h"
#include "morpheus_ops.h"

struct fb_morpheus {
	struct fb_driver base;
	char *name;
	struct fb_labels labels;
	struct fb_api *api;
	char *ssh_config; /* path, or NULL */
	char *mark;       /* as of fb_libvirt_far_new() */
	bool qcow2;       /* what files hold: qcow2, else raw */
	bool keep;        /* the newest snapshot stays on the appliance */
	char **removable; /* patterns of volumes' names; ends with NULL */
	uint64_t create_ms, settle_ms, stop_ms, start_ms;
};

/* ------------------------------------------------------------- asking */

/* GET; *ret_object is the object under `key`, a new reference. */
FB_MUST_USE int fb_morpheus_get(struct fb_morpheus *m, const char *path,
    const char *key, json_t **ret_object, struct fb_error *err);
/* Something with an effect; `body` and ret_answer may be NULL.  `safe`: it may
 * be done twice. */
FB_MUST_USE int fb_morpheus_do(struct fb_morpheus *m, const char *method,
    const char *path, const json_t *body, bool safe,
    struct fb_api_answer *ret_answer, struct fb_error *err);
/* "/api/servers/ID" and `rest`; the caller frees. */
char *fb_morpheus_server_path(const char *id, const char *rest);

/* All servers, or all that are virtual machines. */
FB_MUST_USE int fb_morpheus_servers(struct fb_morpheus *m, bool machines,
    fb_page_visit *visit, void *arg, struct fb_error *err);

/* Waiting with pauses that get longer, until a deadline. */
struct fb_morpheus_wait {
	int64_t deadline_ns;
	uint64_t pause_ms;
	const atomic_bool *cancel;
};
struct fb_morpheus_wait fb_morpheus_wait_for(
    uint64_t ms, const atomic_bool *cancel);
/* FB_ETIMEOUT "`what` for too long", FB_ECANCELED. */
FB_MUST_USE int fb_morpheus_wait(struct fb_morpheus_wait *wait,
    const char *what, struct fb_error *err);

/* -1: it is no id. */
int64_t fb_morpheus_id(const json_t *object, const char *key);
/* "" where there is none. */
const char *fb_morpheus_text(const json_t *object, const char *key);

/* ------------------------------------------------------------ machines */

/* What the appliance says of a server now; texts are borrowed. */
struct fb_morpheus_server {
	json_t *json;
	enum fb_power power;
	const char *power_text, *status;
	const char *host; /* its hypervisor's name, "" */
	int64_t instance; /* -1: none */
};
void fb_morpheus_server_release(struct fb_morpheus_server *server);
#define FB_AUTO_MORPHEUS_SERVER FB_CLEANUP(fb_morpheus_server_release)
/* Takes its own reference.  FB_EPROTO. */
FB_MUST_USE int fb_morpheus_server_read(json_t *json,
    struct fb_morpheus_server *ret_server, struct fb_error *err);
/* Can there be a server of that id?  FB_ENOTFOUND. */
FB_MUST_USE int fb_morpheus_id_check(const char *id, struct fb_error *err);
/* Asked of the appliance.  FB_ENOTFOUND. */
FB_MUST_USE int fb_morpheus_server(struct fb_morpheus *m, const char *id,
    struct fb_morpheus_server *ret_server, struct fb_error *err);

/* Its volumes. */
struct fb_morpheus_volume {
	char *name;
	int64_t id;
	uint64_t size;
	bool removable;
	bool guessed; /* by its name alone */
};
struct fb_morpheus_volumes {
	struct fb_morpheus_volume *items;
	size_t count;
};
void fb_morpheus_volumes_release(struct fb_morpheus_volumes *volumes);
#define FB_AUTO_MORPHEUS_VOLUMES FB_CLEANUP(fb_morpheus_volumes_release)
FB_MUST_USE int fb_morpheus_volumes(const struct fb_morpheus *m,
    const json_t *server, struct fb_morpheus_volumes *ret_volumes,
    struct fb_error *err);

/* What it is, without what passes; a new reference. */
json_t *fb_morpheus_document(const json_t *server);
FB_MUST_USE int fb_morpheus_describe(struct fb_morpheus *m,
    const struct fb_morpheus_server *server, struct fb_machine *machine,
    struct fb_error *err);

/* Done when it is down / up. */
FB_MUST_USE int fb_morpheus_bring(struct fb_morpheus *m, const char *id,
    enum fb_power wanted, uint64_t timeout_ms, const atomic_bool *cancel,
    struct fb_error *err);

int fb_morpheus_power_get(struct fb_driver *, const struct fb_machine *,
    const struct fb_verb *, enum fb_power *, struct fb_error *);
int fb_morpheus_stop(struct fb_driver *, const struct fb_machine *,
    const struct fb_verb *, struct fb_error *);
int fb_morpheus_start(struct fb_driver *, const struct fb_machine *,
    const struct fb_verb *, struct fb_error *);

/* ----------------------------------------------------------- snapshots */

/* One of ours; its name is "fleetbak-MACHINE-OWNER-TOKEN". */
struct fb_morpheus_snapshot {
	json_t *json;
	int64_t id;
	const char *name, *status; /* borrowed */
};
void fb_morpheus_snapshot_release(struct fb_morpheus_snapshot *snapshot);
#define FB_AUTO_MORPHEUS_SNAPSHOT FB_CLEANUP(fb_morpheus_snapshot_release)

/* The name that a token's snapshot gets; `owner` as of fb_verb.  The caller
 * frees. */
char *fb_morpheus_name(
    const char *machine, const char *token, const char *owner);
/* The token in such a name of this machine's, or NULL; and whose it is, which
 * is not ended by NUL. */
const char *fb_morpheus_token_of(
    const char *name, const char *machine, const char **ret_owner);
bool fb_morpheus_is_whole(const struct fb_morpheus_snapshot *snapshot);

/* The one of this very token that is listed, and of several one that is whole,
 * and the first.  FB_ENOTFOUND. */
FB_MUST_USE int fb_morpheus_look(struct fb_morpheus *m, const char *machine,
    const char *token, struct fb_morpheus_snapshot *ret_snapshot,
    struct fb_error *err);

/* Where a volume of it is: texts are borrowed from its JSON. */
struct fb_morpheus_file {
	const char *path, *live, *type;
};
/* Errors: FB_EUNSUP, id E-MORPHEUS-EXPORT: there is no path that could be
 *         read, and E-MORPHEUS-LIVE: it is the live disk's. */
FB_MUST_USE int fb_morpheus_file_of(
    const struct fb_morpheus_snapshot *snapshot, int64_t volume,
    struct fb_morpheus_file *ret_file, struct fb_error *err);
/* The hypervisor that its disks are read on; "" nobody says. */
const char *fb_morpheus_host_of(const struct fb_morpheus_snapshot *snapshot,
    const struct fb_morpheus_server *server);

/* Each disk has a path that is frozen, and what was left out has none.
 * Errors: as of fb_morpheus_file_of() and fb_morpheus_look_at(). */
FB_MUST_USE int fb_morpheus_check_export(struct fb_morpheus *m,
    const char *machine, const struct fb_morpheus_snapshot *snapshot,
    struct fb_error *err);

int fb_morpheus_create_snapshot(struct fb_driver *,
    const struct fb_machine *, const struct fb_verb *, struct fb_error *);
int fb_morpheus_find_by_token(struct fb_driver *, const struct fb_machine *,
    const char *token, struct fb_error *);
int fb_morpheus_list_snapshots(
    struct fb_driver *, fb_driver_visit_token *, void *arg, struct fb_error *);
int fb_morpheus_remove_snapshot(struct fb_driver *,
    const struct fb_machine *, const struct fb_verb *, struct fb_error *);

/* ------------------------------------------------------------- reading */

struct fb_morpheus_place {
	struct fb_libvirt_far *far;
	char *record; /* of the snapshot, on the hypervisor */
	char *name;   /* of the volume's there */
	char *path, *live, *type;
};
void fb_morpheus_place_release(struct fb_morpheus_place *place);
#define FB_AUTO_MORPHEUS_PLACE FB_CLEANUP(fb_morpheus_place_release)
FB_MUST_USE int fb_morpheus_place(struct fb_morpheus *m, const char *host,
    const struct fb_morpheus_snapshot *snapshot, int64_t volume,
    struct fb_morpheus_place *ret_place, struct fb_error *err);
/* Is it frozen, by all that the hypervisor can tell, and what it was when this
 * was asked first?  *ret_qcow2: it begins as such an image.
 * Errors: FB_ECONFLICT, id E-MORPHEUS-LIVE; FB_EUNSUP, id E-MORPHEUS-FORMAT: it
 *         is an image that names another file; those of reaching it. */
FB_MUST_USE int fb_morpheus_look_at(const struct fb_morpheus_place *place,
    bool *ret_qcow2, struct fb_error *err);
/* Whoever of us still reads there ends, and what is known of it goes.  What
 * cannot be done is left. */
void fb_morpheus_let_go(struct fb_morpheus *m, const char *host,
    const struct fb_morpheus_snapshot *snapshot);

/* The volume `name` of a snapshot; it may be read from several threads. */
FB_MUST_USE int fb_morpheus_open_disk(struct fb_morpheus *m,
    const char *machine, const char *token, const char *name,
    struct fb_artifact **ret_artifact, struct fb_error *err);
int fb_morpheus_open_volume(struct fb_driver *, const struct fb_machine *,
    const struct fb_volume *, const char *token, struct fb_artifact **,
    struct fb_error *);

/* ----------------------------------------------------------- restoring */

int fb_morpheus_restore_check(struct fb_driver *, const struct fb_fleet *,
    const struct fb_restore_request *, struct fb_restore_plan *,
    struct fb_error *);
int fb_morpheus_restore_begin(struct fb_driver *,
    const struct fb_restore_request *, const struct fb_verb *,
    struct fb_error *);
int fb_morpheus_restore_open(struct fb_driver *,
    const struct fb_restore_request *, const struct fb_volume *,
    const struct fb_verb *, struct fb_target **, struct fb_error *);
int fb_morpheus_restore_finish(struct fb_driver *,
    const struct fb_restore_request *, const struct fb_verb *,
    struct fb_error *);

#endif

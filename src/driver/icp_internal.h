/*
 * The icp driver: canisters of the Internet Computer, by the `icp` command.
 *
 * The platform gives snapshots no names.  So before one is asked for, the
 * inventory is written down in the spool, durably; what is there afterwards and
 * was not before is ours when it is exactly one.  Bytes go through directories
 * in the spool, which the command fills and reads.
 *
 * Spec: fleetbak-driver(7), "icp".
 */
#ifndef DRIVER_ICP_INTERNAL_H
#define DRIVER_ICP_INTERNAL_H

#include <pthread.h>

#include "fleetbak/base/child.h"
#include "fleetbak/base/name.h"
#include "fleetbak/driver/driver.h"

extern const struct fb_driver_ops fb_icp_ops;

/* What the answer of a command may hold. */
#define FB_ICP_ANSWER_MAX   ((size_t)64 << 10)
#define FB_ICP_REGISTRY_MAX ((size_t)32 << 20)

/* Hex digits of a module's hash, with the NUL. */
#define FB_ICP_MODULE_SIZE 65

#define FB_ICP_SNAPSHOT "snapshot" /* the volume */

struct fb_icp {
	struct fb_driver base;
	char *name;
	struct fb_labels labels;
	char *command, *dir; /* runs in dir */
	char *root;          /* the canister whose registry is the fleet */
	char *environment, *network, *root_key; /* or NULL */
	char *identity, *password_file, *project; /* or NULL */
	char *spool;         /* of this source */
	json_t *fixed;       /* ids */
	uint64_t command_ms, stop_ms, start_ms, settle_ms, transfer_ms;

	pthread_mutex_t lock;
	bool version_ok; /* the gate was passed */
};

/* ------------------------------------------------- what the command says */

/* "icp 1.3.0": is it one that this driver speaks with, 1.2.0 and later 1.x?
 * FB_EUNSUP, E-ICP-VERSION. */
FB_MUST_USE int fb_icp_check_version(
    struct fb_span text, struct fb_error *err);

/* "(VALUE)", the text of Candid, as JSON; a new reference, NULL when it is
 * none.  See icp_candid.c. */
json_t *fb_icp_candid(const char *text);

struct fb_icp_row {
	char *id;
	char *role, *kind; /* "" when not told */
	char *parent;      /* or NULL */
	char module[FB_ICP_MODULE_SIZE]; /* "" when not told */
};
struct fb_icp_registry {
	struct fb_icp_row *rows;
	size_t count;
};
/* The rows of `canic_subnet_registry`.  FB_EPROTO, E-ICP-REGISTRY. */
FB_MUST_USE int fb_icp_parse_registry(struct fb_span text,
    struct fb_icp_registry *ret_registry, struct fb_error *err);
void fb_icp_registry_release(struct fb_icp_registry *registry);
#define FB_AUTO_ICP_REGISTRY FB_CLEANUP(fb_icp_registry_release)

enum fb_icp_state { FB_ICP_RUNNING, FB_ICP_STOPPING, FB_ICP_STOPPED };
struct fb_icp_status {
	enum fb_icp_state state;
	char module[FB_ICP_MODULE_SIZE]; /* "": it has none */
	uint64_t memory;                 /* bytes; 0: not told */
	json_t *controllers;             /* sorted texts, or NULL */
};
/* `canister status --json` of canister `id`.  FB_EPROTO (E-ICP-ANSWER);
 * FB_EDENIED (E-ICP-CONTROLLER) when only what is public is told. */
FB_MUST_USE int fb_icp_parse_status(struct fb_span text, const char *id,
    struct fb_icp_status *ret_status, struct fb_error *err);
void fb_icp_status_release(struct fb_icp_status *status);
#define FB_AUTO_ICP_STATUS FB_CLEANUP(fb_icp_status_release)
const char *fb_icp_state_name(enum fb_icp_state state);

struct fb_icp_snapshot {
	char id[FB_NAME_MAX + 1];
	uint64_t taken_ns; /* since 1970; 0: not told */
	uint64_t size;     /* 0: not told */
};
struct fb_icp_inventory {
	struct fb_icp_snapshot *items;
	size_t count;
};
/* `snapshot list --json`: each once.  FB_EPROTO, E-ICP-ANSWER. */
FB_MUST_USE int fb_icp_parse_inventory(struct fb_span text,
    struct fb_icp_inventory *ret_inventory, struct fb_error *err);
void fb_icp_inventory_release(struct fb_icp_inventory *inventory);
#define FB_AUTO_ICP_INVENTORY FB_CLEANUP(fb_icp_inventory_release)
const struct fb_icp_snapshot *fb_icp_inventory_find(
    const struct fb_icp_inventory *inventory, const char *id);

/* `snapshot create|upload --json`.  FB_EPROTO, E-ICP-ANSWER. */
FB_MUST_USE int fb_icp_parse_made(struct fb_span text,
    struct fb_icp_snapshot *ret_made, struct fb_error *err);

/* What is there now and was not in `before`, an array of ids.  *ret_lost: one
 * of those is gone. */
size_t fb_icp_new_ones(const json_t *before,
    const struct fb_icp_inventory *now, const struct fb_icp_snapshot **ret_one,
    bool *ret_lost);

/* ------------------------------------------------------------- asking */

/* How a command is run. */
struct fb_icp_how {
	uint64_t timeout_ms; /* 0: the source's */
	const atomic_bool *cancel;
	int lock_fd;
	size_t answer_max;   /* 0: FB_ICP_ANSWER_MAX */
	/* Or NULL; set when it failed and says positively that nothing came of
	 * it and nothing will. */
	bool *ret_refused;
};
struct fb_icp_how fb_icp_how(const struct fb_verb *verb, uint64_t timeout_ms);
/* Of what has no verb: no cancel, no lock. */
struct fb_icp_how fb_icp_plain(uint64_t timeout_ms);

/*
 * Run "icp canister WORDS...", in its environment; `words` ends with NULL, and
 * ret_answer, of standard output, may be NULL.
 * Errors: FB_EUNREACH (E-ICP-COMMAND) when it cannot be started; FB_ETIMEOUT,
 *         FB_ECANCELED; FB_EUNKNOWN when a signal ended it; by its words
 *         FB_ENOTFOUND, when they name the canister or the snapshot of
 *         `words`, and FB_EDENIED (E-ICP-CONTROLLER); else FB_EFAILED
 *         (E-ICP-FAILED).
 */
FB_MUST_USE int fb_icp_run(struct fb_icp *icp, const char *const *words,
    const struct fb_icp_how *how, struct fb_buf *ret_answer,
    struct fb_error *err);
/* The same of a question: what failed for any other reason is FB_EUNREACH. */
FB_MUST_USE int fb_icp_ask(struct fb_icp *icp, const char *const *words,
    const struct fb_icp_how *how, struct fb_buf *ret_answer,
    struct fb_error *err);
/* The version, once. */
FB_MUST_USE int fb_icp_gate(struct fb_icp *icp, struct fb_error *err);

FB_MUST_USE int fb_icp_status(struct fb_icp *icp, const char *id,
    const struct fb_icp_how *how, struct fb_icp_status *ret_status,
    struct fb_error *err);
FB_MUST_USE int fb_icp_inventory(struct fb_icp *icp, const char *id,
    const struct fb_icp_how *how, struct fb_icp_inventory *ret_inventory,
    struct fb_error *err);
/* FB_OK also when there is none.  What came of it is looked up. */
FB_MUST_USE int fb_icp_delete_snapshot(struct fb_icp *icp, const char *id,
    const char *snapshot, const struct fb_icp_how *how, struct fb_error *err);

/* Until the time is over, or it is called off. */
void fb_icp_wait(uint64_t ms, const atomic_bool *cancel);

/* ------------------------------------------------------------ machines */

int fb_icp_discover(
    struct fb_driver *, struct fb_fleet *, struct fb_error *);
int fb_icp_power_get(struct fb_driver *, const struct fb_machine *,
    const struct fb_verb *, enum fb_power *, struct fb_error *);
int fb_icp_stop(struct fb_driver *, const struct fb_machine *,
    const struct fb_verb *, struct fb_error *);
int fb_icp_start(struct fb_driver *, const struct fb_machine *,
    const struct fb_verb *, struct fb_error *);
/* Down when this is FB_OK. */
FB_MUST_USE int fb_icp_bring_down(struct fb_icp *icp, const char *id,
    const struct fb_verb *verb, struct fb_error *err);
/* May it be given to nobody but itself? */
bool fb_icp_is_fixed(const struct fb_icp *icp, const char *id);

/* ----------------------------------------------------------- snapshots */

/* What is known of one capture: spool/captures/MACHINE/TOKEN/record.json. */
struct fb_icp_record {
	char *dir;
	json_t *facts;
};
void fb_icp_record_release(struct fb_icp_record *record);
#define FB_AUTO_ICP_RECORD FB_CLEANUP(fb_icp_record_release)
/* FB_ENOTFOUND. */
FB_MUST_USE int fb_icp_record_load(const struct fb_icp *icp,
    const char *machine, const char *token, struct fb_icp_record *ret_record,
    struct fb_error *err);
/* Durable. */
FB_MUST_USE int fb_icp_record_save(
    const struct fb_icp_record *record, struct fb_error *err);
FB_MUST_USE int fb_icp_record_set(const struct fb_icp_record *record,
    const char *key, json_t *value, struct fb_error *err);
/* A text of it, "" when it has none. */
const char *fb_icp_fact(const json_t *facts, const char *key);
/* The ids of an inventory as an array. */
json_t *fb_icp_ids(const struct fb_icp_inventory *inventory);
/* Read a document of the spool's. */
FB_MUST_USE int fb_icp_read_facts(
    const char *path, json_t **ret_facts, struct fb_error *err);
FB_MUST_USE int fb_icp_write_facts(
    const char *path, const json_t *facts, struct fb_error *err);

int fb_icp_create_snapshot(struct fb_driver *, const struct fb_machine *,
    const struct fb_verb *, struct fb_error *);
int fb_icp_find_by_token(struct fb_driver *, const struct fb_machine *,
    const char *token, struct fb_error *);
int fb_icp_list_snapshots(
    struct fb_driver *, fb_driver_visit_token *, void *arg, struct fb_error *);
int fb_icp_remove_snapshot(struct fb_driver *, const struct fb_machine *,
    const struct fb_verb *, struct fb_error *);

/* ------------------------------------------------- reading, restoring */

int fb_icp_open_volume(struct fb_driver *, const struct fb_machine *,
    const struct fb_volume *, const char *token, struct fb_artifact **,
    struct fb_error *);

int fb_icp_restore_check(struct fb_driver *, const struct fb_fleet *,
    const struct fb_restore_request *, struct fb_restore_plan *,
    struct fb_error *);
int fb_icp_restore_begin(struct fb_driver *,
    const struct fb_restore_request *, const struct fb_verb *,
    struct fb_error *);
int fb_icp_restore_open(struct fb_driver *,
    const struct fb_restore_request *, const struct fb_volume *,
    const struct fb_verb *, struct fb_target **, struct fb_error *);
int fb_icp_restore_finish(struct fb_driver *,
    const struct fb_restore_request *, const struct fb_verb *,
    struct fb_error *);

#endif

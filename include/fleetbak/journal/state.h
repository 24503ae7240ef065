/*
 * A state store: what somebody knows about machines, volumes, snapshots,
 * published ports, mounts and artifacts, and which operation is pending on
 * which machine.
 *
 * It has the rules of computer-host's file store: ids are unique, what is not
 * there cannot be changed, a machine has one pending operation, an artifact is
 * put whether it was there or not.  It is a directory with a lock and a
 * journal (journal.h): a change is one record, however many entries it
 * touches, so that all of it is there after a crash or none.
 * Spec: fleetbak-state(1).
 */
#ifndef FB_JOURNAL_STATE_H
#define FB_JOURNAL_STATE_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fleetbak/base/attr.h"

struct fb_error;
struct fb_state;

enum fb_state_kind {
	FB_STATE_MACHINE,
	FB_STATE_VOLUME,
	FB_STATE_SNAPSHOT,
	FB_STATE_PORT,      /* its "host_port", 1 to 65535, is unique too */
	FB_STATE_MOUNT,
	FB_STATE_ARTIFACT,  /* ids are any text without control characters */
	FB_STATE_OPERATION, /* the id is that of the machine */
	FB_STATE_KIND_COUNT
};

/* "machine", "volume", ... */
const char *fb_state_kind_name(enum fb_state_kind kind);
FB_MUST_USE int fb_state_kind_parse(
    const char *name, enum fb_state_kind *ret_kind, struct fb_error *err);

/* Most bytes of an entry as canonical JSON, and of a change. */
#define FB_STATE_ENTRY_MAX  (256u << 10)
#define FB_STATE_CHANGE_MAX (512u << 10)

/*
 * Take the store to change it, waiting `wait_ms` for whoever has it; what is
 * missing of it is made (0700).
 *
 * Errors: FB_EBUSY (E-LOCKED) naming the holder; FB_ECANCELED; FB_ECORRUPT
 *         (E-JOURNAL, E-STATE: it is something else); FB_ETOONEW.
 * Threads: one at a time.
 */
FB_MUST_USE int fb_state_open(const char *dir, uint64_t wait_ms,
    const atomic_bool *cancel, struct fb_state **ret, struct fb_error *err);

/* The same to look at: the moment of the call, without a lock.  Errors:
 * FB_ENOTFOUND (E-STATE-NONE) when there is no store. */
FB_MUST_USE int fb_state_look(
    const char *dir, struct fb_state **ret, struct fb_error *err);

void fb_state_close(struct fb_state *state);
void fb_state_closep(struct fb_state **state);
#define FB_AUTO_STATE FB_CLEANUP(fb_state_closep)

/*
 * Make changes, all of them or, with an error, none.  `changes` is an array of
 * objects (borrowed):
 *
 *	{"do": "create", "kind": K, "id": I, "entry": {...}}
 *	{"do": "update", "kind": K, "id": I, "entry": {...}}  the whole of it
 *	{"do": "delete", "kind": K, "id": I}
 *	{"do": "put", "kind": "artifact", "id": I, "entry": {...}}
 *	{"do": "begin", "id": MACHINE, "type": T, "entry": {...}}
 *	{"do": "done", "id": MACHINE}  nothing pending: that is fine
 *
 * Members of entries that nobody here knows are kept.  Without `durable` they
 * survive a power cut with the next durable change, or fb_state_sync().
 *
 * Errors: FB_EEXISTS (E-STATE-EXISTS); FB_ENOTFOUND (E-STATE-NONE);
 *         FB_ECONFLICT (E-STATE-PENDING: an operation of another type);
 *         FB_ECONFIG (E-STATE-CHANGE: it is none; E-NAME); FB_ENOSPACE,
 *         FB_ESYS ...: what counts is what the next open finds, and this one
 *         takes no more.
 */
FB_MUST_USE int fb_state_change(struct fb_state *state, const json_t *changes,
    bool durable, struct fb_error *err);
FB_MUST_USE int fb_state_sync(struct fb_state *state, struct fb_error *err);

/* The entry of that id, borrowed until the next change.
 * Errors: FB_ENOTFOUND (E-STATE-NONE). */
FB_MUST_USE int fb_state_get(const struct fb_state *state,
    enum fb_state_kind kind, const char *id, const json_t **ret_entry,
    struct fb_error *err);

/* A new array of {"id", "entry"}, in the order in which they were made; with
 * `machine`, those whose "machine" it is (of machines and operations: whose id
 * it is).  Never NULL: of nothing it is empty. */
json_t *fb_state_list(const struct fb_state *state, enum fb_state_kind kind,
    const char *machine);

#endif

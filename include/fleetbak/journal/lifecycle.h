/*
 * The life of one machine in a run, as a table.
 *
 *	planned -> stopping -> stopped -> snapshotting -> snapshotted ->
 *	[draining ->] starting -> up -> copying -> copied -> verified ->
 *	durable -> releasing -> released
 *
 * "draining" reads, while it is stopped, what no snapshot holds.  A machine
 * that is not stopped skips stopping/stopped and starting/up.  A state in
 * "-ing" means: its effect may or may not have happened; the table's rule
 * says how to find out.  Every state may go to "failed" once the machine is
 * up again or owes nothing.
 */
#ifndef FB_JOURNAL_LIFECYCLE_H
#define FB_JOURNAL_LIFECYCLE_H

#include <stdbool.h>
#include <stddef.h>

#include "fleetbak/base/attr.h"

struct fb_error;

enum fb_machine_state {
	FB_MACHINE_PLANNED,
	FB_MACHINE_STOPPING,
	FB_MACHINE_STOPPED,
	FB_MACHINE_SNAPSHOTTING,
	FB_MACHINE_SNAPSHOTTED,
	FB_MACHINE_DRAINING,
	FB_MACHINE_STARTING,
	FB_MACHINE_UP,
	FB_MACHINE_COPYING,
	FB_MACHINE_COPIED,
	FB_MACHINE_VERIFIED,
	FB_MACHINE_DURABLE,
	FB_MACHINE_RELEASING,
	FB_MACHINE_RELEASED,
	FB_MACHINE_FAILED,
	FB_MACHINE_STATE_COUNT
};

enum fb_replay_rule {
	FB_REPLAY_FACT,      /* known: go on */
	FB_REPLAY_OBSERVE,   /* ask power_get */
	FB_REPLAY_BY_TOKEN,  /* ask find_by_token */
	FB_REPLAY_CONTENT,   /* content-addressed: do it again */
	FB_REPLAY_PRIVATE,   /* private and replaceable: do it again */
};

struct fb_lifecycle_row {
	enum fb_machine_state state;
	const char *name;        /* "stopping" */
	const char *intent;      /* what is journaled before the effect */
	const char *observation; /* how the effect shows afterwards */
	enum fb_replay_rule rule;
};
const struct fb_lifecycle_row *fb_lifecycle_row(enum fb_machine_state state);
FB_MUST_USE int fb_machine_state_parse(const char *name,
    enum fb_machine_state *ret_state, struct fb_error *err);

/* May `from` be followed by `to`?  FB_EBUG when the table says no. */
FB_MUST_USE int fb_machine_step(enum fb_machine_state from,
    enum fb_machine_state to, struct fb_error *err);

#endif

#include <string.h>

#include "fleetbak/base/err.h"
#include "fleetbak/journal/lifecycle.h"

static const struct fb_lifecycle_row rows[] = {
	{ FB_MACHINE_PLANNED, "planned", "the machine is part of the run",
	    "its record", FB_REPLAY_FACT },
	{ FB_MACHINE_STOPPING, "stopping", "obligation and token of the stop",
	    "its power state is down", FB_REPLAY_OBSERVE },
	{ FB_MACHINE_STOPPED, "stopped", "", "its power state is down",
	    FB_REPLAY_OBSERVE },
	{ FB_MACHINE_SNAPSHOTTING, "snapshotting", "token of the snapshot",
	    "the source finds the token", FB_REPLAY_BY_TOKEN },
	{ FB_MACHINE_SNAPSHOTTED, "snapshotted", "",
	    "the source finds the token", FB_REPLAY_BY_TOKEN },
	{ FB_MACHINE_DRAINING, "draining", "which volumes are read",
	    "nothing outside the run shows it", FB_REPLAY_PRIVATE },
	{ FB_MACHINE_STARTING, "starting", "token of the start",
	    "its power state is up", FB_REPLAY_OBSERVE },
	{ FB_MACHINE_UP, "up", "", "its power state is up",
	    FB_REPLAY_OBSERVE },
	{ FB_MACHINE_COPYING, "copying", "which volumes are read",
	    "packs and checkpoints", FB_REPLAY_CONTENT },
	{ FB_MACHINE_COPIED, "copied", "", "a record for each volume",
	    FB_REPLAY_FACT },
	{ FB_MACHINE_VERIFIED, "verified", "", "sizes and roots agree",
	    FB_REPLAY_CONTENT },
	{ FB_MACHINE_DURABLE, "durable", "", "packs and recipes are stored",
	    FB_REPLAY_FACT },
	{ FB_MACHINE_RELEASING, "releasing", "token of the snapshot",
	    "the source finds the token no more", FB_REPLAY_BY_TOKEN },
	{ FB_MACHINE_RELEASED, "released", "",
	    "the source finds the token no more", FB_REPLAY_FACT },
	{ FB_MACHINE_FAILED, "failed", "", "its record", FB_REPLAY_FACT },
};

#define TO(state) (1u << FB_MACHINE_##state)

/*
 * What may follow.  An "-ing" state may follow itself: its effect may have
 * happened or not, so its intent is recorded again.  "planned" follows again
 * what a resumed run cannot use any more, its own snapshot or that of another
 * machine of its unit, and a failure that a resumed run tries again: a new
 * epoch.
 */
static const unsigned followers[] = {
	[FB_MACHINE_PLANNED] =
	    TO(STOPPING) | TO(SNAPSHOTTING) | TO(COPYING) | TO(FAILED),
	[FB_MACHINE_STOPPING] = TO(STOPPING) | TO(STOPPED) | TO(STARTING) |
	    TO(PLANNED) | TO(FAILED),
	[FB_MACHINE_STOPPED] = TO(SNAPSHOTTING) | TO(DRAINING) |
	    TO(STARTING) | TO(PLANNED) | TO(FAILED),
	[FB_MACHINE_SNAPSHOTTING] = TO(SNAPSHOTTING) | TO(SNAPSHOTTED) |
	    TO(STARTING) | TO(PLANNED) | TO(FAILED),
	[FB_MACHINE_SNAPSHOTTED] = TO(DRAINING) | TO(STARTING) | TO(COPYING) |
	    TO(PLANNED) | TO(FAILED),
	[FB_MACHINE_DRAINING] = TO(DRAINING) | TO(STARTING) | TO(COPYING) |
	    TO(PLANNED) | TO(FAILED),
	[FB_MACHINE_STARTING] =
	    TO(STARTING) | TO(UP) | TO(PLANNED) | TO(FAILED),
	[FB_MACHINE_UP] = TO(COPYING) | TO(COPIED) | TO(PLANNED) | TO(FAILED),
	[FB_MACHINE_COPYING] =
	    TO(COPYING) | TO(COPIED) | TO(PLANNED) | TO(FAILED),
	[FB_MACHINE_COPIED] = TO(VERIFIED) | TO(PLANNED) | TO(FAILED),
	[FB_MACHINE_VERIFIED] = TO(DURABLE) | TO(FAILED),
	[FB_MACHINE_DURABLE] = TO(RELEASING) | TO(RELEASED) | TO(FAILED),
	[FB_MACHINE_RELEASING] = TO(RELEASING) | TO(RELEASED) | TO(FAILED),
	[FB_MACHINE_RELEASED] = TO(FAILED),
	[FB_MACHINE_FAILED] = TO(PLANNED),
};

_Static_assert(
    FB_COUNT(rows) == FB_MACHINE_STATE_COUNT, "a row for each state");
_Static_assert(
    FB_COUNT(followers) == FB_MACHINE_STATE_COUNT, "and its followers");

const struct fb_lifecycle_row *
fb_lifecycle_row(enum fb_machine_state state)
{
	return &rows[state];
}

int
fb_machine_state_parse(
    const char *name, enum fb_machine_state *ret_state, struct fb_error *err)
{
	for (size_t i = 0; i < FB_COUNT(rows); i++)
		if (strcmp(rows[i].name, name) == 0) {
			*ret_state = rows[i].state;
			return FB_OK;
		}
	return fb_fail(err, FB_ECORRUPT, "'%s' is no state of a machine", name);
}

int
fb_machine_step(enum fb_machine_state from, enum fb_machine_state to,
    struct fb_error *err)
{
	if (from >= FB_MACHINE_STATE_COUNT || to >= FB_MACHINE_STATE_COUNT)
		return fb_fail(err, FB_EBUG, "no such state of a machine");
	if ((followers[from] & (1u << to)) == 0)
		return fb_fail(err, FB_EBUG, "'%s' cannot follow '%s'",
		    rows[to].name, rows[from].name);
	return FB_OK;
}

/*
 * One change of a state, taken apart and checked by itself; whether the state
 * allows it is another question.
 */
#ifndef JOURNAL_STATE_CHANGE_H
#define JOURNAL_STATE_CHANGE_H

#include <stdbool.h>

#include "fleetbak/journal/state.h"

struct change {
	const char *verb, *id, *type;
	enum fb_state_kind kind;
	json_t *entry; /* borrowed; or NULL */
};

/* Errors: FB_ECONFIG (E-STATE-CHANGE, E-NAME). */
FB_MUST_USE int state_change_parse(
    const json_t *value, struct change *ret, struct fb_error *err);

/* Only its id and its entry.  The same errors. */
FB_MUST_USE int state_change_check(
    const struct change *change, struct fb_error *err);

/* "a change <why>", FB_ECONFIG. */
int state_change_fail(struct fb_error *err, const char *why);

/* The port of the host that an entry has, as text; false: it has none. */
#define STATE_PORT_KEY 24
bool state_port_key(const json_t *entry, char key[STATE_PORT_KEY]);

#endif
